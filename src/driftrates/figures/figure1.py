"""Figure 1: a thin vertical cloud drifting onto thin horizontal data, from the same particles under each field."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import seaborn as sns
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from driftrates import figures


@figures.styled
def plot(data: Mapping[str, xr.Dataset]) -> Figure:
    """A map of each simulation (data, start, end, four tracked particles) and the mean squared speeds D_N(t)."""
    figure = Figure(figsize=(figures.DOUBLE, 2.3), layout="constrained")
    axes = figure.subplots(1, len(data) + 1)
    reach = 1.05 * max(float(np.abs(figures.clouds(ds)).max()) for ds in data.values())
    for ax, ds in zip(axes, data.values(), strict=False):
        _map(ax, ds)
        figures.plane(ax, reach)
        ax.label_outer()
    _speeds(axes[-1], data)
    figures.letter(axes, [*map(figures.describe, data.values()), "mean squared speed"])
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower left", ncols=2, markerscale=1.4)
    figure.legend(*axes[-1].get_legend_handles_labels(), loc="outside lower right")
    sns.despine(fig=figure)
    return figure


def _map(ax: Axes, ds: xr.Dataset) -> None:
    clouds = figures.clouds(ds).values
    for points, label, colour, size in (
        (figures.target_points(ds), "data", "0.8", 7.0),
        (clouds[0], "start", figures.PALETTE[9], 2.0),
        (clouds[-1], "end", figures.PALETTE[1], 2.0),
    ):
        sns.scatterplot(x=points[:, 0], y=points[:, 1], color=colour, s=size, linewidth=0, ax=ax, label=label, legend=False)
    paths = clouds[:, figures.tracked_particles(clouds[0])]
    ax.plot(*np.moveaxis(paths, 2, 0), color="black", linewidth=0.8, label=["tracked particles", *["_"] * (paths.shape[1] - 1)])
    ax.plot(*paths[0].T, "o", markersize=3, color="white", markeredgecolor="black", markeredgewidth=0.7, label="their start")
    ax.plot(*paths[-1].T, "o", markersize=3, color="black", label="their end")


def _speeds(ax: Axes, data: Mapping[str, xr.Dataset]) -> None:
    for ds in data.values():
        speed = ds["squared_speed"].isel(bandwidth=0, n_particles=0, time=slice(1, None)).mean("replicate")
        sns.lineplot(x=speed["time"], y=speed, ax=ax, label=figures.describe(ds), legend=False, **figures.line_style(ds))
    figures.log_axis(ax, "x")
    figures.log_axis(ax, "y")
    ax.set(xlabel="$t$ (time)", ylabel="$D_N(t)$ (length$^2$ time$^{-2}$)", box_aspect=1)
