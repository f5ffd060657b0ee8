"""The frozen fields of Figure 1: potential, curl, circulation around closed loops, ascent of the potential."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import seaborn as sns
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle

from driftrates import figures

_FLOOR = 1e-17
"""Where a circulation of exactly 0 is drawn on the logarithmic axis."""

_MARKERS = "os^DvP"


@figures.styled
def plot(data: Mapping[str, xr.Dataset]) -> Figure:
    """Maps, circulation, ascent of one Dataset of `fieldmaps.map_fields`; with their simulations it names fields and shows clouds.

    The potential is that of the first experiment, the curl that of the experiment where it is largest.
    """
    maps = next(ds for ds in data.values() if "potential" in ds)
    names = [str(name) for name in maps["experiment"].values]
    flows = {name: data[f"flow/{name}"] for name in names if f"flow/{name}" in data}
    titles = [figures.describe(flows[name]) if name in flows else name.replace("_", " ") for name in names]
    rotating = int(abs(maps["curl"]).max(("x", "y")).argmax("experiment"))

    figure = Figure(figsize=(figures.DOUBLE, 3.9), layout="constrained")
    figure.get_layout_engine().set(wspace=0.05)
    above, below = figure.subfigures(2, 1, height_ratios=[1.2, 1.0])
    top, bottom = above.subplots(1, 3), below.subplots(1, len(names), squeeze=False)[0]
    _coloured(top[0], maps, maps["potential"][0], r"$\log(p_h / q_h)$")
    velocity = maps["velocity"][0].values
    top[0].streamplot(
        maps["x"].values,
        maps["y"].values,
        velocity[..., 0],
        velocity[..., 1],
        color="0.15",
        linewidth=0.45,
        arrowsize=0.5,
        density=0.8,
    )
    _coloured(top[1], maps, maps["curl"][rotating], "curl (time$^{-1}$)")
    for centre, radius in zip(maps["centre"].values, maps["radius"].values, strict=True):
        top[1].add_patch(Circle(centre, radius, fill=False, color="black", linewidth=0.8))
    for ax, name in ((top[0], names[0]), (top[1], names[rotating])):
        if name in flows:
            for points, colour in (
                (figures.target_points(flows[name]), "black"),
                (figures.clouds(flows[name]).values[0], figures.PALETTE[2]),
            ):
                ax.scatter(*points.T, s=0.8, color=colour, linewidth=0)
        figures.plane(ax, float(maps["x"].max()))
    _circulation(top[2], maps, titles)
    for k, ax in enumerate(bottom):
        _ascent(ax, maps.isel(experiment=k))
    figures.letter(
        [*top, *bottom],
        [titles[0], titles[rotating], "around the loops", *titles],
    )
    bottom[0].legend(loc="best")
    for ax in (top[2], *bottom):
        sns.despine(ax=ax)
    return figure


def _coloured(ax: Axes, maps: xr.Dataset, values: xr.DataArray, label: str) -> None:
    x, y, top = maps["x"], maps["y"], float(abs(values).max()) or 1.0
    dx, dy = float(x[1] - x[0]) / 2, float(y[1] - y[0]) / 2
    extent = (float(x[0]) - dx, float(x[-1]) + dx, float(y[0]) - dy, float(y[-1]) + dy)
    cmap = sns.color_palette("vlag", as_cmap=True)
    image = ax.imshow(values, origin="lower", extent=extent, cmap=cmap, vmin=-top, vmax=top)
    bar = ax.figure.colorbar(image, cax=ax.inset_axes([1.04, 0.0, 0.05, 1.0]), label=label)
    bar.outline.set_visible(False)


def _circulation(ax: Axes, maps: xr.Dataset, titles: list[str]) -> None:
    radius = maps["radius"].values
    for k, title in enumerate(titles):
        size = np.maximum(np.abs(maps["circulation"].values[k]), _FLOOR)
        ax.plot(radius, size, _MARKERS[k % len(_MARKERS)], fillstyle="none", color=figures.PALETTE[(0, 3, 9, 2)[k % 4]], label=title)
    flux = np.abs(maps["flux"].values)
    shown = flux > 0
    ax.plot(np.broadcast_to(radius, flux.shape)[shown], flux[shown], "k_", markersize=6, label="flux of the curl")
    figures.log_axis(ax, "y", 6)
    ax.set(xlim=(0, 1.15 * radius.max()), ylim=(_FLOOR / 3, None), xlabel="radius of the loop (length)")
    ax.set(ylabel="|circulation| (length$^2$ time$^{-1}$)", box_aspect=1)
    ax.legend(loc="center left")


def _ascent(ax: Axes, maps: xr.Dataset) -> None:
    time, values = maps["step"].values, maps["ascent"].values
    for k, u in enumerate(values):
        falling = np.flatnonzero(np.diff(u) < 0)
        ax.plot(time, u, color="0.35", linewidth=0.9, label="tracked particles" if k == 0 else None)
        pieces = np.stack([[time[falling], time[falling + 1]], [u[falling], u[falling + 1]]])
        ax.plot(*pieces, color=figures.PALETTE[3], linewidth=2.0, solid_capstyle="butt")
    ax.plot([], [], color=figures.PALETTE[3], linewidth=2.0, label="potential falls")
    ax.plot(np.zeros(len(values)), values[:, 0], "o", color="white", markeredgecolor="black", markeredgewidth=0.6)
    ax.set(xlabel="time in the frozen field", ylabel=r"$\log(p_h / q_h)$ on the way")
