"""The entropy budget of the leave-one-out displacement flow (T6.3, X5), by dimension and N."""

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

_LINEAR = 0.03
"""Where the axis of the rates (time^-1) turns from linear to logarithmic: -E S_loo is negative early."""
_BUDGETS = {
    "leave-one-out field": ("", figures.PALETTE[0], "o"),
    "self-interaction added": ("_with_self", figures.PALETTE[3], "s"),
    "full field": ("_full_field", figures.PALETTE[1], "D"),
}


@figures.styled
def plot(data: Mapping[str, xr.Dataset]) -> Figure:
    """One column per Dataset of `entropy.measure_entropy` at its first bandwidth: H#_N/N, -E S_loo, the residuals of T6.3."""
    figure = Figure(figsize=(figures.DOUBLE, 5.2), layout="constrained")
    axes = figure.subplots(3, len(data), squeeze=False, sharey="row")
    colours = figures.size_colours(np.unique(np.concatenate([ds["n_particles"].values for ds in data.values()])).tolist())
    for (above, middle, below), ds in zip(axes.T, data.values(), strict=True):
        cell = ds.isel(bandwidth=0)
        for k, n in enumerate(ds["n_particles"].values.tolist()):
            _column(above, middle, cell.isel(n_particles=k), colours[n])
        kl = float(cell["initial_kl"])
        above.plot(0.0, kl, marker="D", color="black", markersize=3, linestyle="none", clip_on=False, zorder=5)
        figures.log_axis(above, "y")
        middle.axhline(0.0, color="0.8", linewidth=0.6, zorder=0)
        middle.set_yscale("asinh", linear_width=_LINEAR)
        middle.yaxis.set_major_locator(FixedLocator([-1, -0.1, 0, 0.1, 1]))
        middle.yaxis.set_major_formatter(lambda value, _: f"{value:g}".replace("-", "\N{MINUS SIGN}"))
        middle.yaxis.set_minor_locator(NullLocator())
        for ax in (above, middle):
            ax.set(xlabel="$t$ (time)")
        _residuals(below, cell)
    for ax in axes[:, 1:].flat:
        ax.tick_params(labelleft=False)
    for ax, label in zip(axes[:, 0], ["$H^\\sharp_N(t) / N$", "rate (time$^{-1}$)", "largest residual of T6.3"], strict=True):
        ax.set(ylabel=label)
    titles = [f"$d = {ds.attrs['dimension']}$, $h = {float(ds['bandwidth'][0]):g}$" for ds in data.values()]
    figures.letter(axes.flat, titles + [""] * (2 * len(data)))
    legend = [Line2D([], [], color=colour, label=f"$N = {n}$") for n, colour in colours.items()]
    legend += [
        _mark("black", ".", r"$H^\sharp_N(0)/N - \int \mathbb{E}\, S_\mathrm{loo}$"),
        _mark("black", "D", r"$\mathrm{KL}(\rho_0 \,\|\, \pi^\sharp)$"),
        Line2D([], [], color="0.4", label=r"$-\mathbb{E}\, S_\mathrm{loo}$"),
        Line2D([], [], color="0.4", linestyle="--", label=r"$d\, c_d\, \mathbb{E} R_N / (N h^d)$"),
        *(_mark(colour, marker, label) for label, (_, colour, marker) in _BUDGETS.items()),
        Line2D([], [], color="0.4", marker="o", markersize=3, linewidth=0.8, label="along trajectories"),
        Line2D([], [], color="0.4", marker="o", markersize=3, linewidth=0.8, linestyle=":", markerfacecolor="none", label="divergence"),
    ]
    figure.legend(handles=legend, loc="outside lower center", ncols=(len(legend) + 1) // 2, columnspacing=1.2)
    sns.despine(fig=figure)
    return figure


def _mark(colour: object, marker: str, label: str) -> Line2D:
    return Line2D([], [], color=colour, marker=marker, markersize=3, linestyle="none", label=label)


def _column(above: Axes, middle: Axes, ds: xr.Dataset, colour: tuple[float, float, float]) -> None:
    time = ds["time"].values
    above.fill_between(time, ds["entropy_low"], ds["entropy_high"], color=colour, alpha=0.25, linewidth=0)
    above.plot(time, ds["entropy"], color=colour)
    budget = (ds["entropy"].isel(time=0) - ds["mean_stein_drift"] * ds["time"]).values
    every = max(1, (len(time) - 1) // 8)
    above.plot(time[::every], budget[::every], color="black", marker=".", markersize=2.5, linestyle="none", zorder=4)
    middle.plot(time, -ds["stein_drift"], color=colour)
    middle.plot(time, ds["hidden_term"], color=colour, linestyle="--")


def _residuals(ax: Axes, ds: xr.Dataset) -> None:
    for suffix, colour, marker in _BUDGETS.values():
        style = {"color": colour, "marker": marker, "markersize": 3, "linewidth": 0.8}
        ax.plot(ds["n_particles"], ds[f"path_residual{suffix}"].max("replicate"), **style)
        ax.plot(ds["n_particles"], ds[f"divergence_residual{suffix}"].max("snapshot"), linestyle=":", markerfacecolor="none", **style)
    figures.log_ticks(ax, ds["n_particles"].values)
    figures.log_axis(ax, "y", decades=6)
    ax.set(xlabel="$N$")
