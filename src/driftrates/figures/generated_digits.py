"""Handwritten digits out of one forward pass, as images, beside held-out data and exactly moved particles."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from driftrates import figures
from driftrates.datasets import digits_basis
from driftrates.figures.generators import field_title

_MOSAIC = (6, 5)
"""Rows and columns of images per panel."""


@figures.styled
def plot(data: Mapping[str, xr.Dataset]) -> Figure:
    """Above held-out data and the generator of every field, below the untrained network and the particles of every field."""
    (ds,) = data.values()
    fields = ds["field"].values.tolist()
    figure = Figure(figsize=(figures.DOUBLE, 3.9), layout="constrained")
    axes = figure.subplots(2, 1 + len(fields))
    clouds = {
        "held-out data": ds["held_out"],
        **{f"generator,\n{field_title(name)}": ds["generated"].sel(field=name) for name in fields},
        "untrained network": ds["untrained"],
        **{f"particles,\n{field_title(name)}": ds["moved"].sel(field=name) for name in fields},
    }
    for ax, cloud in zip(axes.flat, clouds.values(), strict=True):
        _images(ax, cloud.values)
    figures.letter(axes.flat, clouds)
    return figure


def _images(ax: Axes, cloud: np.ndarray) -> None:
    rows, columns = _MOSAIC
    chosen = np.linspace(0, len(cloud) - 1, rows * columns).astype(int)
    tiles = np.pad(digits_basis(cloud.shape[1]).inverse(cloud[chosen]), ((0, 0), (0, 1), (0, 1)), constant_values=np.nan)
    height, width = tiles.shape[1:]
    mosaic = tiles.reshape(rows, columns, height, width).swapaxes(1, 2).reshape(rows * height, columns * width)
    ax.imshow(mosaic[:-1, :-1], cmap="gray_r", vmin=0, vmax=16, interpolation="nearest")
    ax.set_axis_off()
