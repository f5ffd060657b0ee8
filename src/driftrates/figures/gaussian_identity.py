"""Section 1: v = h^2 V for the Gaussian kernel, so both fields trace the same paths on clocks that differ by h^2; not for other kernels."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import seaborn as sns
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from driftrates import figures

_MARKERS = "os^Dv"


@figures.styled
def plot(data: Mapping[str, xr.Dataset]) -> Figure:
    """Paths under both fields for each kernel, and the largest distance between matching particles at matching times.

    Two simulations make a pair if one is conservative, the other displacement, and kernel, bandwidth and start agree; where
    several pairs have one kernel the first is drawn.
    """
    pairs = _pairs(data)
    figure = Figure(figsize=(figures.DOUBLE, 2.45), layout="constrained")
    axes = figure.subplots(1, len(pairs) + 1)
    for ax, pair in zip(axes, pairs.values(), strict=False):
        _paths(ax, *pair)
    for k, (kernel, pair) in enumerate(pairs.items()):
        time, distance = _distance(*pair)
        axes[-1].plot(
            time, distance, f"{_MARKERS[k % 5]}-", color=("black", *figures.PALETTE[4:8])[k % 5], label=figures.kernel_title(kernel)
        )
    integrators = [figures.experiment(ds)["integrator"] for pair in pairs.values() for ds in pair]
    if adaptive := [spec["rtol"] for spec in integrators if spec["method"] != "euler"]:
        axes[-1].axhline(min(adaptive), color="0.5", linestyle=":", linewidth=0.8, zorder=0, label="relative tolerance")
    figures.log_axis(axes[-1], "y", 7)
    axes[-1].set(xlabel="$t$ (time of the conservative flow)", ylabel="largest distance (length)", box_aspect=1)
    axes[-1].set_xlim(left=0)
    figures.letter(axes, [*(f"{figures.kernel_title(kernel)} kernel" for kernel in pairs), "distance at $t$ and $t / h^2$"])
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower left", ncols=4)
    figure.legend(*axes[-1].get_legend_handles_labels(), loc="outside lower right", ncols=3)
    sns.despine(fig=figure)
    return figure


def _pairs(data: Mapping[str, xr.Dataset]) -> dict[str, tuple[xr.Dataset, xr.Dataset]]:
    """(conservative, displacement) by name of the kernel. Raises ``ValueError`` if there is none."""
    found: dict[tuple, dict[str, xr.Dataset]] = {}
    for ds in data.values():
        spec = figures.experiment(ds)
        found.setdefault((spec["kernel"]["name"], spec["start_label"], float(ds["bandwidth"][0])), {})[spec["field"]] = ds
    pairs: dict[str, tuple[xr.Dataset, xr.Dataset]] = {}
    for (kernel, _, _), fields in found.items():
        if {"conservative", "displacement"} <= set(fields):
            pairs.setdefault(kernel, (fields["conservative"], fields["displacement"]))
    if not pairs:
        raise ValueError("gaussian_identity needs a conservative and a displacement simulation of one kernel, bandwidth and start_label")
    return pairs


def _paths(ax: Axes, score: xr.Dataset, displacement: xr.Dataset) -> None:
    start, points = figures.clouds(score).values[0], figures.target_points(score)
    tracked = figures.tracked_particles(start)
    ax.plot(*points.T, "o", markersize=1.8, color="0.82", markeredgewidth=0, label="data")
    ax.plot(*start.T, "o", markersize=1.3, color=figures.PALETTE[9], markeredgewidth=0, label="start")
    for ds, style in (
        (score, {"color": figures.FIELD_COLOURS["conservative"], "linewidth": 2.4, "solid_capstyle": "butt"}),
        (displacement, {"color": figures.FIELD_COLOURS["displacement"], "linewidth": 1.0, "marker": "o", "markevery": [-1]}),
    ):
        paths = np.moveaxis(figures.clouds(ds).values[:, tracked], 2, 0)
        ax.plot(*paths, **style, label=[figures.experiment(ds)["field"], *["_"] * (len(tracked) - 1)])
    figures.plane(ax, 1.08 * float(np.abs(start).max()))


def _distance(score: xr.Dataset, displacement: xr.Dataset) -> tuple[np.ndarray, np.ndarray]:
    """Times t > 0 of the conservative flow whose partner t / h^2 is stored too, and max_i |x_i(t) - x_i'(t / h^2)|."""
    h = float(score["bandwidth"][0])
    time = score["snapshot"].values
    here, there = np.nonzero(np.isclose(time[:, None], h**2 * displacement["snapshot"].values, rtol=1e-9, atol=0.0) & (time[:, None] > 0))
    gap = figures.clouds(score).values[here] - figures.clouds(displacement).values[there]
    return time[here], np.linalg.norm(gap, axis=2).max(axis=1)
