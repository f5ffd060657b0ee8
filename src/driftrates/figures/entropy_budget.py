"""The entropy budget of the conservative flow (T3.1, R3.2, R4.8): H_N / N and the two terms of its derivative, by dimension and N."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import seaborn as sns
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, NullLocator

from driftrates import figures

_LINEAR = 0.1
"""Where the axis of the rates (time^-1) turns from linear to logarithmic: E S_N may be negative."""


@figures.styled
def plot(data: Mapping[str, xr.Dataset]) -> Figure:
    """One column per Dataset of `entropy.measure_entropy`: above H_N(t)/N, below E S_N and the self-interaction term."""
    figure = Figure(figsize=(figures.DOUBLE, 3.7), layout="constrained")
    axes = figure.subplots(2, len(data), sharex="col", squeeze=False)
    for ax in axes[1, 1:]:
        ax.sharey(axes[1, 0])
        ax.tick_params(labelleft=False)
    colours = figures.size_colours(np.unique(np.concatenate([ds["n_particles"].values for ds in data.values()])).tolist())
    for (above, below), ds in zip(axes.T, data.values(), strict=True):
        for k, n in enumerate(ds["n_particles"].values.tolist()):
            _column(above, below, ds.isel(bandwidth=0, n_particles=k), colours[n])
        kl, error = float(ds["initial_kl"][0]), float(ds["initial_kl_error"][0])
        above.errorbar(0.0, kl, error, fmt="D", color="black", markersize=3, clip_on=False, zorder=5)
        above.axhline(0.0, color="0.8", linewidth=0.6, zorder=0)
        below.axhline(0.0, color="0.8", linewidth=0.6, zorder=0)
        below.set_yscale("asinh", linear_width=_LINEAR)
        below.yaxis.set_major_locator(FixedLocator([-1, -0.1, 0, 0.1, 1, 10, 100, 1000]))
        below.yaxis.set_major_formatter(lambda value, _: f"{value:g}".replace("-", "\N{MINUS SIGN}"))
        below.yaxis.set_minor_locator(NullLocator())
        below.margins(y=0.06)
        below.set(xlabel="$t$ (time)")
    axes[0, 0].set(ylabel="$H_N(t) / N$")
    axes[1, 0].set(ylabel="rate (time$^{-1}$)")
    figures.letter(axes.flat, [f"$d = {ds.attrs['dimension']}$" for ds in data.values()] + [""] * len(data))
    legend = [Line2D([], [], color=colour, label=f"$N = {n}$") for n, colour in colours.items()]
    legend += [
        Line2D([], [], color="black", marker="D", markersize=3, linestyle="none", label=r"$\mathrm{KL}(\rho_0 \,\|\, \pi)$"),
        Line2D([], [], color="0.4", label=r"$\mathbb{E}\, S_N$"),
        Line2D([], [], color="0.4", linestyle="--", label="self-interaction term"),
        Line2D([], [], color="0.4", linestyle=":", linewidth=0.8, label="minimum of $H_N / N$"),
    ]
    figure.legend(handles=legend, loc="outside lower center", ncols=len(legend), columnspacing=1.4)
    sns.despine(fig=figure)
    return figure


def _column(above: Axes, below: Axes, ds: xr.Dataset, colour: tuple[float, float, float]) -> None:
    time = ds["time"].values
    above.fill_between(time, ds["entropy_low"], ds["entropy_high"], color=colour, alpha=0.25, linewidth=0)
    above.plot(time, ds["entropy"], color=colour)
    below.plot(time, ds["stein_drift"], color=colour)
    below.plot(time, ds["self_interaction"], color=colour, linestyle="--")
    for ax in (above, below):
        ax.axvline(time[int(ds["entropy"].argmin("time"))], color=colour, linestyle=":", linewidth=0.8, zorder=0)
