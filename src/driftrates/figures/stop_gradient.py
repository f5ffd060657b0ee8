"""B6 (b): KL, D_N and W2 in time with and without the derivative through the field, and the clouds of a start that stalls."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import seaborn as sns
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from driftrates import figures

COLOURS = {"stop_gradient": figures.PALETTE[0], "full_gradient": figures.PALETTE[3]}
_NAMES = {"stop_gradient": "stop-gradient", "full_gradient": "full gradient"}
_ROWS = {"kl": r"KL$(q_h \| p_h)$", "squared_speed": "$D_N$ (length$^{-2}$)", "w2": "W2 to the data (length)"}
_TITLES = {"near": "near the data", "wide": "wide", "one_mode": "at one mode", "between": "between the modes"}
_DASHES = ("-", "--", ":", "-.")
_FLOOR = {"kl": 1e-3, "squared_speed": 1e-8}


@figures.styled
def plot(data: Mapping[str, xr.Dataset]) -> Figure:
    """Means over replicates of one Dataset of `full_gradient.measure_stop_gradient` by start, single replicates behind; clouds below."""
    ds = data["stop_gradient"]
    kernels, starts = ds["kernel"].values.tolist(), ds["start"].values.tolist()
    dashes = dict(zip(kernels, _DASHES, strict=False))
    figure = Figure(figsize=(figures.DOUBLE, 6.6), layout="constrained")
    above, below = figure.subfigures(2, 1, height_ratios=[5.0, 1.5])
    grid = above.subplots(len(_ROWS), len(starts), sharex=True, sharey="row", squeeze=False)
    for row, (name, label) in zip(grid, _ROWS.items(), strict=True):
        for ax, start in zip(row, starts, strict=True):
            _curves(ax, ds.sel(start=start)[name], dashes, _FLOOR.get(name, 0.0))
        row[0].set(ylabel=label)
        if name in _FLOOR:
            figures.log_axis(row[0], "y")
        else:
            row[0].set(ylim=(0, None))
    for ax in grid[-1]:
        ax.set(xlabel="time (displacement clock)")
    handles = [Line2D([], [], color=colour, label=_NAMES[name]) for name, colour in COLOURS.items()]
    handles += [Line2D([], [], color="0.4", linestyle=dashes[k], label=figures.kernel_title(k)) for k in kernels]
    above.legend(handles=handles, loc="outside lower center", ncols=len(handles))
    panels = below.subplots(1, 4, sharex=True, sharey=True)
    titles = _clouds(panels, ds, kernels)
    marks = [
        Line2D([], [], color="0.75", marker=".", linestyle="none", label="data"),
        Line2D([], [], color="black", marker="+", linestyle="none", label="start"),
        *(
            Line2D([], [], color=colour, marker="o", markerfacecolor="none", linestyle="none", label=_NAMES[name])
            for name, colour in COLOURS.items()
        ),
    ]
    below.legend(handles=marks, loc="outside lower center", ncols=len(marks))
    names = [_TITLES.get(start, start) for start in starts]
    figures.letter([*grid.ravel(), *panels], [*names, *[""] * (grid.size - len(names)), *titles])
    sns.despine(fig=figure)
    return figure


def _curves(ax: Axes, values: xr.DataArray, dashes: Mapping[str, Any], floor: float) -> None:
    time = values["time"].values[1:]
    for kernel, style in dashes.items():
        for name, colour in COLOURS.items():
            each = values.sel(kernel=kernel).sel(descent=name).transpose("replicate", "time").values[:, 1:]
            # A divergence by samples may end below 0.
            shown = np.where(each > floor, each, np.nan)
            ax.plot(time, shown.T, color=colour, linestyle=style, linewidth=0.4, alpha=0.4)
            mean = each.mean(0)
            ax.plot(time, np.where(mean > floor, mean, np.nan), color=colour, linestyle=style)
    figures.log_axis(ax, "x")


def _clouds(panels: Any, ds: xr.Dataset, kernels: list[str]) -> list[str]:
    """First replicate at the last time, from between the modes and the wide start, by kernel; ejected particles lie beyond the panel."""
    titles, reach = [], 1.3 * float(np.abs(ds["data"]).max())
    shown = [(start, kernel) for start in ("between", "wide") for kernel in (kernels[0], kernels[-1])]
    for ax, (start, kernel) in zip(panels, shown, strict=True):
        at = ds.sel(start=start).isel(replicate=0)
        ax.scatter(*at["data"].values.T, s=5, color="0.75", linewidth=0)
        ax.plot(*at["initial_cloud"].values.T, "+", color="black", markersize=2.5, markeredgewidth=0.4)
        for name, colour in COLOURS.items():
            x = at["cloud"].sel(kernel=kernel).sel(descent=name).values
            ax.plot(*x.T, "o", color=colour, markersize=2.2, markerfacecolor="none", markeredgewidth=0.6)
        ax.set(xlabel="$x_1$ (length)", aspect="equal", xlim=(-reach, reach), ylim=(-0.5 * reach, 0.7 * reach))
        ax.text(0.5, 0.98, f"start: {start}", transform=ax.transAxes, ha="center", va="top")
        titles.append(figures.kernel_title(kernel))
    panels[0].set(ylabel="$x_2$ (length)")
    return titles
