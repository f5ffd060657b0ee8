"""The parts of the Laplace displacement field in the plane, and on a ray that leaves the cloud and the data behind."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import seaborn as sns
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from driftrates import figures

PARTICLES = {"marker": "o", "facecolor": "white", "edgecolor": "black", "linewidth": 0.6, "s": 11}
DATA = {"marker": "x", "color": "black", "linewidth": 0.9, "s": 12}


@figures.styled
def plot(data: Mapping[str, xr.Dataset]) -> Figure:
    """|alpha_mu g|, |r|, both scales and the share of r of one Dataset of `decomposition.measure_decomposition`; sizes along its ray."""
    ds = next(iter(data.values()))
    h = float(ds.attrs["bandwidth"])
    figure = Figure(figsize=(figures.DOUBLE, 4.3), layout="constrained")
    axes = figure.subplots(2, 3)
    sizes = np.stack([ds["coherent"], ds["residual"]]) / h
    norm = LogNorm(float(np.quantile(sizes, 0.02)), float(sizes.max()))
    scales = np.stack([ds["model_scale"], ds["target_scale"]]) / h**2
    common = Normalize(1.0, float(scales.max()))
    panels = (
        (sizes[0], norm, "rocket", r"$|\alpha_\mu g|\,/\,h$"),
        (sizes[1], norm, "rocket", r"$|r|\,/\,h$"),
        (ds["share"].values, Normalize(0, 1), "mako", r"$|r|\,/\,(|\alpha_\mu g| + |r|)$"),
        (scales[0], common, "viridis", r"$\alpha_\mu / h^2$"),
        (scales[1], common, "viridis", r"$\alpha_p / h^2$"),
    )
    for ax, (values, scale, colours, label) in zip(axes.flat, panels, strict=False):
        plane_map(ax, ds, values, label, cmap=sns.color_palette(colours, as_cmap=True), norm=scale)
        atoms(ax, ds)
    _ray(axes[1, 2], ds, h)
    handles = [
        Line2D([], [], linestyle="none", marker="o", markerfacecolor="white", markeredgecolor="black", markersize=3.5, label="particles"),
        Line2D([], [], linestyle="none", marker="x", color="black", markersize=3.5, label="data points"),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=2)
    figures.letter(axes.flat, ["coherent part", "residual", "share of the residual", "scale of the cloud", "scale of the data", "far away"])
    return figure


def plane_map(ax: Axes, ds: xr.Dataset, values: Any, label: str, **colours: Any) -> None:
    """One quantity over the square of the Dataset, with its own colour bar."""
    axis = ds["x"].values
    half = (axis[1] - axis[0]) / 2
    extent = (axis[0] - half, axis[-1] + half) * 2
    image = ax.imshow(values, origin="lower", extent=extent, interpolation="nearest", **colours)
    figures.plane(ax, float(axis[-1]))
    bar = ax.figure.colorbar(image, cax=ax.inset_axes([1.04, 0.0, 0.05, 1.0]), label=label)
    bar.outline.set_visible(False)


def atoms(ax: Axes, ds: xr.Dataset) -> None:
    """Particles as circles, data points as crosses, black on a white ground."""
    ax.scatter(*ds["data"].values.T, marker="x", color="white", linewidth=2.0, s=16, zorder=3)
    ax.scatter(*ds["data"].values.T, zorder=4, **DATA)
    ax.scatter(*ds["cloud"].values.T, zorder=4, **PARTICLES)


def _ray(ax: Axes, ds: xr.Dataset, h: float) -> None:
    distance = ds["distance"].values / h
    for name, unit, label, colour, dashes in (
        ("velocity", h, "$|v|/h$", "black", "-"),
        ("coherent", h, r"$|\alpha_\mu g|/h$", figures.PALETTE[0], "--"),
        ("residual", h, "$|r|/h$", figures.PALETTE[3], "-."),
        ("model_scale", h**2, r"$\alpha_\mu/h^2$", figures.PALETTE[2], ":"),
    ):
        ax.plot(distance, ds[f"ray_{name}"].values / unit, dashes, color=colour, label=label)
    figures.log_axis(ax, "x")
    figures.log_axis(ax, "y")
    ax.set(xlabel="distance from the data / $h$", ylabel="size in units of $h$, $h^2$", box_aspect=1)
    ax.legend(loc="best")
    sns.despine(ax=ax)
