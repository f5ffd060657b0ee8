"""Carriers of a rate and the distance to the unsmoothed data over the (N, h) grid (C4.7, section 4.3)."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.patheffects import withStroke
from matplotlib.ticker import FixedLocator, LogLocator, NullFormatter, StrMethodFormatter

from driftrates import figures

_QUANTITIES = {
    "late_self_interaction": "late self-interaction\n(time$^{-1}$)",
    "late_stein_drift": "late $S_N$\n(time$^{-1}$)",
    "mean_squared_speed": "time-averaged $D_N$\n(time$^{-1}$)",
    "distance": "$W_2$ to unsmoothed\ntarget (length)",
}
_NONE = "0.8"


@figures.styled
def plot(data: Mapping[str, xr.Dataset]) -> Figure:
    """One column per Dataset of `rates.measure_rates`, one row and one colour scale per quantity; means over replicates."""
    figure = Figure(figsize=(figures.DOUBLE, 5.9), layout="constrained")
    axes = figure.subplots(len(_QUANTITIES), len(data), sharex=True, sharey=True, squeeze=False)
    for row, (name, label) in zip(axes, _QUANTITIES.items(), strict=True):
        means = [ds[name].mean("replicate") for ds in data.values()]
        positive = np.concatenate([m.values[m.values > 0] for m in means])
        norm = LogNorm(positive.min(), positive.max())
        for ax, mean in zip(row, means, strict=True):
            mesh = _map(ax, mean, norm)
        bar = figure.colorbar(mesh, ax=row, pad=0.01, aspect=14, label=label)
        bar.ax.yaxis.set_major_locator(LogLocator(numticks=6))
        bar.ax.yaxis.set_minor_formatter(NullFormatter())
    for column, ds in zip(axes.T, data.values(), strict=True):
        for ax in column:
            _paths(ax, ds)
    figures.letter(axes.flat, [f"$d = {ds.attrs['dimension']}$" for ds in data.values()] + [""] * (axes.size - len(data)))
    figures.log_axis(axes[0, 0], "x")
    figures.log_axis(axes[0, 0], "y")
    axes[0, 0].yaxis.set_major_locator(FixedLocator([0.1, 0.2, 0.5, 1.0, 2.0, 5.0]))
    axes[0, 0].yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    for ax in axes.flat:
        ax.set(xlabel="$N$", ylabel="$h$ (length)")
        ax.label_outer()
    handles = [
        Line2D(
            [], [], marker="o", color="black", markerfacecolor="white", markersize=3, linestyle="none", label=r"$h \propto N^{-1/(d+4)}$"
        ),
        Line2D([], [], color="black", linewidth=1.2, label="$h^*$ of (26)"),
        Patch(color=_NONE, label="mean not positive"),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=3)
    return figure


def _map(ax: Axes, mean: xr.DataArray, norm: LogNorm) -> QuadMesh:
    mean = mean.sortby("bandwidth").transpose("bandwidth", "n_particles")
    x, y = _edges(mean["n_particles"].values), _edges(mean["bandwidth"].values)
    ax.fill_between(x[[0, -1]], y[0], y[-1], color=_NONE, linewidth=0)
    return ax.pcolormesh(x, y, np.ma.masked_less_equal(mean.values, 0.0), norm=norm, cmap="viridis", rasterized=True)


def _edges(centres: np.ndarray) -> np.ndarray:
    """Edges of cells around logarithmically spaced centres."""
    logs = np.log(centres)
    middles = (logs[1:] + logs[:-1]) / 2
    return np.exp(np.concatenate([[2 * logs[0] - middles[0]], middles, [2 * logs[-1] - middles[-1]]]))


def _paths(ax: Axes, ds: xr.Dataset) -> None:
    sizes = ds["n_particles"].values
    ax.plot(sizes, ds["bandwidth"], "o", color="black", markerfacecolor="white", markersize=2.6, markeredgewidth=0.6)
    outline = [withStroke(linewidth=2.2, foreground="white")]
    ax.plot(sizes, ds["optimal_bandwidth"], color="black", linewidth=1.2, path_effects=outline)
