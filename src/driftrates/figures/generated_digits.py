"""Handwritten digits out of one forward pass, as images, beside held-out data and exactly moved particles."""

from __future__ import annotations

from collections.abc import Mapping

import xarray as xr
from matplotlib.figure import Figure

from driftrates import figures
from driftrates.figures.digits import mosaic
from driftrates.figures.generators import field_title


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
        mosaic(ax, cloud.values, rows=6)
    figures.letter(axes.flat, clouds)
    return figure
