"""A2.5 and L4.4: the quadrature constants L1, L2 by region against N, and which region's constant bounds the quadrature gap."""

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

_TITLES = {
    "particles": "at the particles",
    "neighbourhood": "over $x_i + h z$",
    "mean": "mean weighted by $p_h$",
    "taylor": "mean along $x_i + \\tau h z$",
    "effective": "effective",
}
_PARTS = {"stein": ("L_1", "o", "|S_N - F_N|"), "speed": ("L_2", "^", "|F_N - D_N|")}
_ERRORS = 4.0
"""A gap above its bound by more standard errors of both than this is beyond the noise of sampled constants."""
_NOISE, _CLEAR = figures.PALETTE[1], figures.PALETTE[3]


@figures.styled
def plot(data: Mapping[str, xr.Dataset]) -> Figure:
    """A column per region of `quadrature.REGIONS`: L1, L2 at the first and the last snapshot, and below both sides of L4.4."""
    regions = [str(name) for name in next(iter(data.values()))["region"].values]
    tested = [name for name in regions if name != "effective"]
    figure = Figure(figsize=(figures.DOUBLE, 5.0), layout="constrained")
    axes = figure.subplots(3, len(regions))
    styles = _styles(data)
    sizes = np.unique(np.concatenate([ds["n_particles"].values for ds in data.values()]))
    for row, (part, (name, *_)) in zip(axes[:2], _PARTS.items(), strict=True):
        for ax, region in zip(row, regions, strict=True):
            if ax is not row[0]:
                ax.sharey(row[0])
                ax.tick_params(labelleft=False)
            for key, ds in data.items():
                _against_size(ax, ds[f"{part}_constant"].sel(region=region), styles[key])
            figures.log_axis(ax, "y")
            figures.log_ticks(ax, sizes)
            ax.margins(0.1, 0.08)
        row[0].set(ylabel=f"${name}$ (time$^{{-1}}$ length$^{{-2}}$)")
    for ax in axes[0]:
        ax.tick_params(labelbottom=False)
    for ax in axes[1]:
        ax.set(xlabel="$N$")
    for ax, region in zip(axes[2], tested, strict=False):
        _dominance(ax, data, region)
    _same_limits(axes[2, : len(tested)])
    for ax in axes[2, 1 : len(tested)]:
        ax.tick_params(labelleft=False)
    axes[2, 0].set(ylabel="gap (time$^{-1}$)")
    for ax in axes[2, len(tested) :]:
        ax.set_axis_off()
    figures.letter(axes.flat, [*(_TITLES.get(region, region) for region in regions), *[""] * (len(regions) + len(tested))])
    legend = [Line2D([], [], **style, label=_label(data[key])) for key, style in styles.items()]
    legend += [
        Line2D([], [], color="0.4", marker="o", linewidth=0.0, label="last snapshot"),
        Line2D([], [], color="0.4", marker="o", fillstyle="none", linewidth=0.0, label="first snapshot"),
    ]
    figure.legend(handles=legend, loc="outside lower center", ncols=5)
    marks = [Line2D([], [], linewidth=0, color="0.4", marker=m, label=f"${gap}$") for _, m, gap in _PARTS.values()]
    marks += [
        Line2D([], [], linewidth=0, color=colour, marker="s", label=f"gap above bound,\n{text} the noise")
        for colour, text in ((_NOISE, "within"), (_CLEAR, "beyond"))
    ]
    marks.append(Line2D([], [], color="black", linewidth=0.7, label="gap = bound"))
    axes[2, -1].legend(handles=marks, loc="center left", bbox_to_anchor=(-0.1, 0.5))
    sns.despine(fig=figure)
    return figure


def _styles(data: Mapping[str, xr.Dataset]) -> dict[str, dict[str, Any]]:
    """Dimensions from dark to light for targets that are densities, one colour per kernel for a data set."""
    dense = [key for key, ds in data.items() if "data" not in figures.experiment(ds)["target"]]
    empirical = [key for key in data if key not in dense]
    styles: dict[str, dict[str, Any]] = {
        key: {"color": colour, "linestyle": "-"} for key, colour in zip(dense, sns.color_palette("viridis", len(dense) + 1), strict=False)
    }
    colours = [figures.PALETTE[k] for k in (1, 4, 5, 7)]
    return styles | {key: {"color": colours[k % len(colours)], "linestyle": "--"} for k, key in enumerate(empirical)}


def _label(ds: xr.Dataset) -> str:
    spec = figures.experiment(ds)
    if "data" in spec["target"]:
        return f"data, {figures.kernel_title(spec['kernel']['name'])}"
    return f"$d = {len(spec['target']['mixture']['means'][0])}$"


def _against_size(ax: Axes, constant: xr.DataArray, style: dict[str, Any]) -> None:
    mean = constant.isel(bandwidth=0).mean("replicate")
    for snapshot, width, fill in ((0, 0.5, "none"), (-1, 1.0, "full")):
        ax.plot(mean["n_particles"], mean.isel(snapshot=snapshot), marker="o", markersize=2.6, fillstyle=fill, **style, linewidth=width)


def _dominance(ax: Axes, data: Mapping[str, xr.Dataset], region: str) -> None:
    above = beyond = total = 0
    for part, (_, marker, _) in _PARTS.items():
        for ds in data.values():
            own = ds.sel(region=region)
            bound, gap = own[f"{part}_bound"], own[f"{part}_gap"]
            # The error of the constant in the units of its bound.
            error = own[f"{part}_constant_error"] * bound / own[f"{part}_constant"] + own["fisher_error"]
            exceeds, clearly = (gap > bound).values, (gap - bound > _ERRORS * error).values
            for chosen, colour, order in ((~exceeds, "0.45", 2), (exceeds & ~clearly, _NOISE, 3), (clearly, _CLEAR, 4)):
                points = bound.values[chosen], gap.values[chosen]
                ax.plot(*points, marker, color=colour, markersize=2.6, markeredgewidth=0.5, fillstyle="none", zorder=order)
            above, beyond, total = above + int(exceeds.sum()), beyond + int(clearly.sum()), total + int(np.isfinite(bound.values).sum())
    figures.log_axis(ax, "x", 4)
    figures.log_axis(ax, "y", 4)
    ax.set(xlabel="bound (time$^{-1}$)")
    text = f"above: {above} of {total}\nbeyond noise: {beyond}"
    ax.text(0.04, 0.98, text, transform=ax.transAxes, va="top", fontsize=6.0, linespacing=1.3)


def _same_limits(axes: np.ndarray) -> None:
    low = min(min(ax.get_xlim()[0], ax.get_ylim()[0]) for ax in axes)
    high = max(max(ax.get_xlim()[1], ax.get_ylim()[1]) for ax in axes)
    for ax in axes:
        ax.plot([low, high], [low, high], color="black", linewidth=0.7, zorder=1)
        ax.set(xlim=(low, high), ylim=(low, high), box_aspect=1)
