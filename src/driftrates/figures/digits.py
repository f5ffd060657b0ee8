"""Real input: clouds drifting onto the handwritten digits under each field, as points of a plane and as images."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import seaborn as sns
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from driftrates import figures
from driftrates.datasets import digits_basis


@figures.styled
def plot(data: Mapping[str, xr.Dataset]) -> Figure:
    """Points for the simulations on two components, images for those on more, and D_N(t) of both.

    Simulations on equally many components start from the same cloud. The images show the same particles in every panel.
    """
    planar = [ds for ds in data.values() if _components(ds) == 2]
    pictured = [ds for ds in data.values() if _components(ds) > 2]
    columns = 1 + max(len(planar), len(pictured))
    figure = Figure(figsize=(figures.DOUBLE, 5.4), layout="constrained")
    figure.get_layout_engine().set(wspace=0.04)
    points, images, curves = figure.subfigures(3, 1, height_ratios=[1.1, 1.0, 1.05])
    top, middle = (part.subplots(1, columns, squeeze=False)[0] for part in (points, images))
    bottom = curves.subplots(1, 2)

    reach = 1.05 * max(float(np.abs(figures.clouds(ds)).max()) for ds in planar)
    _cloud(top[0], planar[0], 0, "0.25")
    mosaic(middle[0], figures.clouds(pictured[0]).values[0])
    for ax, ds in zip(top[1:], planar, strict=True):
        _cloud(ax, ds, -1, figures.line_style(ds)["color"])
    for ax, ds in zip(middle[1:], pictured, strict=True):
        mosaic(ax, figures.clouds(ds).values[-1])
    for ax in top:
        figures.plane(ax, reach)
        ax.set(xlabel="component 1", ylabel="component 2")
        ax.label_outer()
    for ax, group in zip(bottom, (planar, pictured), strict=True):
        _speeds(ax, group)
    handles, labels = bottom[0].get_legend_handles_labels()
    curves.legend(handles, labels, loc="outside lower center", ncols=len(labels))
    titles = [["start", *(f"{_name(ds)}, $t = {float(ds['snapshot'][-1]):g}$" for ds in group)] for group in (planar, pictured)]
    figures.letter([*top, *middle, *bottom], [*titles[0], *titles[1], *(f"{_components(g[0])} components" for g in (planar, pictured))])
    return figure


def _components(ds: xr.Dataset) -> int:
    return figures.clouds(ds).sizes["component"]


def _name(ds: xr.Dataset) -> str:
    return figures.experiment(ds)["field"]


def _cloud(ax: Axes, ds: xr.Dataset, snapshot: int, colour: object) -> None:
    for points, shade, size in ((figures.target_points(ds), "0.82", 1.6), (figures.clouds(ds).values[snapshot], colour, 1.5)):
        ax.plot(*points.T, "o", markersize=size, markeredgewidth=0, color=shade)
    sns.despine(ax=ax)


def mosaic(ax: Axes, cloud: np.ndarray, rows: int = 4, columns: int = 5) -> None:
    """Particles of a cloud (N, components), evenly spread by index, as images."""
    chosen = np.linspace(0, len(cloud) - 1, rows * columns).astype(int)
    tiles = digits_basis(cloud.shape[1]).inverse(cloud[chosen].astype(float))
    tiles = np.pad(tiles, ((0, 0), (0, 1), (0, 1)), constant_values=np.nan)
    height, width = tiles.shape[1:]
    mosaic = tiles.reshape(rows, columns, height, width).swapaxes(1, 2).reshape(rows * height, columns * width)
    ax.imshow(mosaic[:-1, :-1], cmap="gray_r", vmin=0, vmax=16, interpolation="nearest")
    ax.set_axis_off()


def _speeds(ax: Axes, group: list[xr.Dataset]) -> None:
    for ds in group:
        speed = ds["squared_speed"].isel(bandwidth=0, n_particles=0).mean("replicate")
        sns.lineplot(x=speed["time"], y=speed, ax=ax, label=figures.describe(ds), legend=False, **figures.line_style(ds))
    figures.log_axis(ax, "y")
    ax.set(xlabel="$t$ (time)", ylabel="$D_N(t)$ (length$^2$ time$^{-2}$)")
    sns.despine(ax=ax)
