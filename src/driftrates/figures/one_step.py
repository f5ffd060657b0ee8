"""R4.6: exact W2 of one step X -> X + eta b(X) against eta sqrt(D_N), from tiny steps to beyond stability, and at a random time."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import seaborn as sns
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from driftrates import figures

_REACH = 1e4
"""Growth of D_N is drawn between 1 / this and this; what is larger or overflows lies at the edge."""
_MARKERS = "os^Dv"
_POINT = {"linestyle": "none", "markersize": 2.6, "fillstyle": "none", "markeredgewidth": 0.5}

Colour = tuple[float, float, float]


@figures.styled
def plot(data: Mapping[str, xr.Dataset]) -> Figure:
    """A column per Dataset of `transport.measure_one_step`; the last column has the limits of stability and
    `transport.measure_random_time`."""
    steps = [ds for ds in data.values() if "largest_stable_step" in ds]
    random = [ds for ds in data.values() if "average_squared_speed" in ds]
    figure = Figure(figsize=(figures.DOUBLE, 4.5), layout="constrained")
    axes = figure.subplots(3, len(steps) + 1, squeeze=False)
    colours = figures.size_colours(np.unique(np.concatenate([ds["n_particles"].values for ds in data.values()])).tolist())
    for column, ds in zip(axes.T, steps, strict=False):
        for n in ds["n_particles"].values.tolist():
            _column(column, ds.isel(bandwidth=0).sel(n_particles=n), colours[n])
        for ax in column:
            figures.log_axis(ax, "x", 5)
            ax.set_xlim(float(ds["step"][0]) / 1.3, float(ds["step"][-1]) * 1.3)
        column[0].set(ylim=(-0.03, 1.08))
        column[1].set(ylim=(-0.04, 1.04))
        figures.log_axis(column[2], "y", 5)
        column[2].set(ylim=(1 / _REACH, _REACH))
        column[2].axhline(1.0, color="0.8", linewidth=0.6, zorder=0)
        column[-1].set(xlabel=r"$\eta / h^2$")
        for ax in column:
            ax.label_outer()
    for ax, text in zip(axes[:, 0], (r"$W_2 / (\eta \sqrt{D_N})$", "share reassigned", "growth of $D_N$"), strict=True):
        ax.set(ylabel=text)
    for ds, marker in zip(random, _MARKERS, strict=False):
        for n in ds["n_particles"].values.tolist():
            _random_time(axes[0, -1], ds.isel(bandwidth=0).sel(n_particles=n), colours[n], marker)
    figures.log_axis(axes[0, -1], "x", 5)
    axes[0, -1].set(ylim=(-0.03, 1.08), xlabel=r"$\eta / h^2$")
    _limits(axes[2, -1], steps, colours)
    names, blank = [f"$d = {_dimension(ds)}$" for ds in steps], [""] * len(steps)
    shown = [ax for ax in axes.flat if ax is not axes[1, -1]]
    figures.letter(shown, [*names, "random time", *blank, *blank, "stability limits"])
    legend = [Line2D([], [], color=colour, label=f"$N = {n}$") for n, colour in colours.items()]
    legend += [
        Line2D([], [], color="0.4", label="last snapshot"),
        Line2D([], [], color="0.4", linestyle="--", linewidth=0.7, label="first snapshot"),
        Line2D([], [], color="0.4", linestyle=":", label="after many steps"),
        Line2D([], [], color="0.4", linestyle="-.", linewidth=0.6, label="largest stable step"),
    ]
    dimensions = dict.fromkeys(map(_dimension, [*steps, *random]))
    legend += [Line2D([], [], color="0.4", **_POINT, marker=_MARKERS[k], label=f"$d = {d}$") for k, d in enumerate(dimensions)]
    axes[1, -1].set_axis_off()
    axes[1, -1].legend(handles=legend, loc="center left", bbox_to_anchor=(-0.15, 0.45))
    sns.despine(fig=figure)
    return figure


def _dimension(ds: xr.Dataset) -> int:
    return len(figures.experiment(ds)["target"]["mixture"]["means"][0])


def _column(column: np.ndarray, ds: xr.Dataset, colour: Colour) -> None:
    step = ds["step"].values
    for snapshot, style in ((0, {"linestyle": "--", "linewidth": 0.7}), (-1, {})):
        case = ds.isel(snapshot=snapshot).mean("replicate")
        column[0].plot(step, case["distance_ratio"], color=colour, **style)
        column[1].plot(step, case["reassigned"], color=colour, **style)
        column[2].plot(step, np.minimum(case["growth"], _REACH), color=colour, **style)
    late = ds.isel(snapshot=-1)
    column[2].plot(step, np.minimum(late["repeated_growth"].median("replicate"), _REACH), color=colour, linestyle=":")
    limit = late["largest_stable_step"].median("replicate")
    for ax in column:
        ax.axvline(limit, color=colour, linewidth=0.6, linestyle="-.", zorder=0)


def _random_time(ax: Axes, ds: xr.Dataset, colour: Colour, marker: str) -> None:
    ratio = np.sqrt(ds["squared_distance"] / ds["coupling_bound"]).mean("replicate")
    error = (0.5 * ds["squared_distance_error"] / np.sqrt(ds["squared_distance"] * ds["coupling_bound"])).mean("replicate")
    ax.errorbar(ds["step"], ratio, error, color=colour, marker=marker, markersize=2.8, fillstyle="none", linewidth=0.6)


def _limits(ax: Axes, steps: list[xr.Dataset], colours: Mapping[int, Colour]) -> None:
    for ds, marker in zip(steps, _MARKERS, strict=False):
        for n in ds["n_particles"].values.tolist():
            cell = ds.isel(bandwidth=0).sel(n_particles=n)
            x, y = cell["linear_step_limit"].values.ravel(), cell["largest_stable_step"].values.ravel()
            shown = np.isfinite(x) & np.isfinite(y) & (y > 0)
            ax.plot(x[shown], y[shown], color=colours[n], **_POINT, marker=marker)
    top = 1.05 * max(ax.get_xlim()[1], ax.get_ylim()[1])
    ax.plot([0, top], [0, top], color="black", linewidth=0.7, zorder=1)
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_locator(MaxNLocator(4, integer=True))
    ax.set(xlim=(0, top), ylim=(0, top), xlabel=r"linear limit $\eta / h^2$", ylabel=r"largest stable $\eta / h^2$")
