"""B7 and the baselines on mode coverage: clouds of every field after equally many evaluations, and W2 to held-out data on the way."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import seaborn as sns
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, NullFormatter, StrMethodFormatter

from driftrates import figures

_FIELDS: dict[str, tuple[str, dict[str, Any]]] = {
    "conservative": ("conservative", {"color": figures.FIELD_COLOURS["conservative"]}),
    "displacement": ("displacement", {"color": figures.FIELD_COLOURS["displacement"]}),
    "sharp": ("sharp", {"color": figures.FIELD_COLOURS["sharp"]}),
    "sinkhorn": ("Sinkhorn", {"color": "black", "linewidth": 1.6}),
    "algorithm2": ("Algorithm 2", {"color": figures.PALETTE[4]}),
    "algorithm2_floored": ("Algorithm 2, floored", {"color": figures.PALETTE[4], "linestyle": "--"}),
    "svgd": ("SVGD", {"color": figures.PALETTE[1]}),
    "mmd": ("MMD flow", {"color": figures.PALETTE[9]}),
}
_SHOWN = "balanced, displaced"


@figures.styled
def plot(data: Mapping[str, xr.Dataset]) -> Figure:
    """`comparison.compare_fields`: above, one replicate's clouds at the least bandwidth; below, means and ranges of W2, a row per bandwidth
    (the least and the largest)."""
    (runs,) = data.values()
    runs = runs.sortby("bandwidth")
    figure = Figure(figsize=(figures.DOUBLE, 6.6), layout="constrained")
    above, below = figure.subfigures(2, 1, height_ratios=[3.5, 3.1])
    panels = above.subplots(2, len(_FIELDS) // 2, sharex=True, sharey=True)
    for ax, name in zip(panels.flat, _FIELDS, strict=True):
        _cloud(ax, runs.sel(field=name, configuration=_SHOWN).isel(bandwidth=0))
    for ax in panels[1]:
        ax.set(xlabel="$x_1$ (length)")
    for ax in panels[:, 0]:
        ax.set(ylabel="$x_2$ (length)")
    chosen = sorted({0, runs.sizes["bandwidth"] - 1})
    curves = below.subplots(len(chosen), runs.sizes["configuration"], sharex=True, sharey=True, squeeze=False)
    for row, b in zip(curves, chosen, strict=True):
        for ax, configuration in zip(row, runs["configuration"].values.tolist(), strict=True):
            _distances(ax, runs.isel(bandwidth=b).sel(configuration=configuration))
        row[0].set(ylabel="distance $W_2$ (length)")
    for ax in curves[-1]:
        ax.set(xlabel="evaluations of the field")
    named = [label for label, _ in _FIELDS.values()]
    bandwidths = runs["bandwidth"].values
    titles = [f"{c}, $h = {bandwidths[b]:g}$" for b in chosen for c in runs["configuration"].values.tolist()]
    figures.letter([*panels.flat, *curves.flat], [*named, *titles])
    handles = [Line2D([], [], label=label, **style) for label, style in _FIELDS.values()]
    handles.append(Line2D([], [], color="0.4", linestyle=":", label="training data"))
    below.legend(handles=handles, loc="outside lower center", ncols=5, columnspacing=1.4)
    sns.despine(fig=figure)
    return figure


def _cloud(ax: Axes, run: xr.Dataset) -> None:
    name = str(run["field"].item())
    ax.plot(*run["data"].values.T, ".", color="0.7", markersize=2.2, markeredgewidth=0)
    ax.plot(*run["start"].values.T, ".", color="0.35", markersize=1.2, markeredgewidth=0)
    ax.plot(*run["cloud"].values.T, ".", color=_FIELDS[name][1]["color"], markersize=2.8, markeredgewidth=0)
    reach = 1.1 * max(np.abs(run[key].values).max() for key in ("data", "start"))
    ax.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal")
    ax.text(0.04, 0.04, f"{float(run['covered'].sel(checkpoint=run.attrs['evaluations'])[0]):.0f} of 8", transform=ax.transAxes)


def _distances(ax: Axes, runs: xr.Dataset) -> None:
    run = runs.isel(checkpoint=slice(1, None))
    for name, (_, style) in _FIELDS.items():
        w2 = run["w2"].sel(field=name).dropna("checkpoint")
        ax.fill_between(w2["checkpoint"], w2.min("replicate"), w2.max("replicate"), color=style["color"], alpha=0.15, linewidth=0)
        ax.plot(w2["checkpoint"], w2.mean("replicate"), **style)
    ax.axhline(float(runs["data_w2"].mean()), color="0.4", linestyle=":", linewidth=1.0)
    figures.log_axis(ax, "x")
    figures.log_axis(ax, "y")
    ax.yaxis.set_major_locator(FixedLocator([0.5, 1.0, 2.0, 4.0]))
    ax.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    ax.yaxis.set_minor_formatter(NullFormatter())
    ax.axvline(runs.attrs["evaluations"], color="0.85", linewidth=0.6, zorder=0)
