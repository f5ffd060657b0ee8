"""S_N, F_N and D_N of the conservative flow against time, and where F_N lives (L4.3, L4.4, X10)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import seaborn as sns
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, NullLocator

from driftrates import figures

_LINEAR = 0.01
"""Where the axis of S_N (time^-1) turns from linear to logarithmic: E S_N may be negative."""


@figures.styled
def plot(data: Mapping[str, xr.Dataset]) -> Figure:
    """One column per experiment, from its flow and its Dataset of `observables.measure_observables` (keys flow/.., observables/..).

    Above S_N and F_N, then D_N and F_N, below the share of F_N outside the hull of the cloud; F_N one marker per stored cloud.
    """
    pairs = [(flow, data["observables/" + key.removeprefix("flow/")]) for key, flow in data.items() if key.startswith("flow/")]
    figure = Figure(figsize=(figures.DOUBLE, 4.6), layout="constrained")
    axes = figure.subplots(3, len(pairs), sharex="col", sharey="row", squeeze=False)
    colours = figures.size_colours(np.unique(np.concatenate([flow["n_particles"].values for flow, _ in pairs])).tolist())
    for column, (flow, observed) in zip(axes.T, pairs, strict=True):
        for n in flow["n_particles"].values.tolist():
            _column(column, flow.isel(bandwidth=0).sel(n_particles=n), observed.isel(bandwidth=0).sel(n_particles=n), colours[n])
        column[0].axhline(0.0, color="0.8", linewidth=0.6, zorder=0)
        column[2].set(xlabel="$t$ (time)")
    axes[0, 0].set_yscale("asinh", linear_width=_LINEAR)
    axes[0, 0].yaxis.set_major_locator(FixedLocator([-1, -0.1, -0.01, 0, 0.01, 0.1, 1, 10, 100]))
    axes[0, 0].yaxis.set_major_formatter(lambda value, _: f"{value:g}".replace("-", "\N{MINUS SIGN}"))
    axes[0, 0].yaxis.set_minor_locator(NullLocator())
    for ax in axes[0]:
        ax.margins(y=0.06)
    axes[0, 0].set(ylabel="$S_N$, $F_N$ (time$^{-1}$)")
    figures.log_axis(axes[1, 0], "y")
    axes[1, 0].set(ylabel="$D_N$, $F_N$ (time$^{-1}$)")
    axes[2, 0].set(ylabel="share of $F_N$ outside hull", ylim=(-0.05, 1.05))
    titles = [f"$d = {flow.sizes['component']}$, $h = {float(flow['bandwidth'][0]):g}$" for flow, _ in pairs]
    figures.letter(axes.flat, titles + [""] * (2 * len(pairs)))
    legend = [Line2D([], [], color=colour, label=f"$N = {n}$") for n, colour in colours.items()]
    legend += [
        Line2D([], [], color="0.4", label=r"$\mathbb{E}\,S_N$ (first row), $\mathbb{E}\,D_N$ (second row)"),
        Line2D([], [], color="0.4", marker="o", markersize=4, markeredgecolor="white", linestyle="none", label="$F_N$ of one stored cloud"),
    ]
    figure.legend(handles=legend, loc="outside lower center", ncols=len(legend), columnspacing=1.4)
    sns.despine(fig=figure)
    return figure


def _column(column: np.ndarray, flow: xr.Dataset, observed: xr.Dataset, colour: Any) -> None:
    for ax, name in zip(column, ("stein_drift", "squared_speed"), strict=False):
        ax.plot(flow["time"], flow[name].mean("replicate"), color=colour)
        _clouds(ax, observed["fisher"], observed["fisher_error"], colour)
    share = observed["fisher_outside"] / observed["fisher"]
    column[2].plot(observed["snapshot"], share.mean("replicate"), color=colour, linewidth=0.8)
    _clouds(column[2], share, observed["fisher_outside_error"] / observed["fisher"], colour)


def _clouds(ax: Axes, value: xr.DataArray, error: xr.DataArray, colour: Any) -> None:
    """A marker with its numerical error for every (replicate, snapshot)."""
    time = value["snapshot"].broadcast_like(value).values.ravel()
    style = {"markersize": 3.2, "markeredgecolor": "white", "markeredgewidth": 0.4, "elinewidth": 0.7, "zorder": 3}
    ax.errorbar(time, value.values.ravel(), error.values.ravel(), fmt="o", color=colour, **style)
