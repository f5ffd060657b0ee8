"""X11: the outermost particle under six fields from the same start, and how often one is lost for ever."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import seaborn as sns
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from driftrates import figures

_KERNELS = {
    "gaussian": ("Gaussian", figures.PALETTE[0], "o"),
    "laplace": ("Laplace", figures.PALETTE[3], "s"),
    "sharp": ("sharp Laplace", figures.PALETTE[2], "^"),
}
_MASKS = {"leave_one_out": ("leave-one-out", "-"), "full": ("self term kept", "--")}


@figures.styled
def plot(data: Mapping[str, xr.Dataset]) -> Figure:
    """`laplace.ejection.measure_ejections`: distances in time by dimension, the shares with intervals, a lone particle's velocity."""
    e = data["ejections"]
    dimensions = e["dimension"].values.tolist()
    figure = Figure(figsize=(figures.DOUBLE, 4.3), layout="constrained")
    above, below = figure.subfigures(2, 1)
    paths = above.subplots(1, len(dimensions), sharey=True, squeeze=False)[0]
    for ax, d in zip(paths, dimensions, strict=True):
        _paths(ax, e.sel(dimension=d))
    paths[0].set(ylabel="distance of the outermost\nparticle from the data (length)")
    counts, speeds, limits = below.subplots(1, 3, width_ratios=[1.15, 1, 1])
    _counts(counts, e, dimensions)
    _speeds(speeds, e)
    _limits(limits, e)
    titles = [f"$d = {d}$, one start" for d in dimensions]
    figures.letter([*paths, counts, speeds, limits], [*titles, "ejections", "a lone particle far out", "ejected in the flow"])
    handles = [Line2D([], [], color=c, marker=marker, label=text) for text, c, marker in _KERNELS.values()]
    handles += [Line2D([], [], color="0.4", linestyle=dashes, label=text) for text, dashes in _MASKS.values()]
    handles.append(Line2D([], [], color="black", linestyle=":", label="counts as ejected beyond"))
    above.legend(handles=handles, loc="outside lower center", ncols=len(handles), columnspacing=1.2)
    sns.despine(fig=figure)
    return figure


def _paths(ax: Axes, at: xr.Dataset) -> None:
    """The start that most fields with a mask make lose a particle; among those the one that goes farthest under the Laplace kernel."""
    lost = (at["ejected"].sel(mask="leave_one_out") > 0).sum("kernel").values
    last = at["distance"].isel(time=-1).sel(mask="leave_one_out", kernel="laplace").values
    chosen = at.isel(replicate=int(np.lexsort([last, lost])[-1]))
    for kernel, (_, colour, _) in _KERNELS.items():
        for mask, (_, dashes) in _MASKS.items():
            ax.plot(chosen["time"], chosen["distance"].sel(kernel=kernel, mask=mask), color=colour, linestyle=dashes)
    ax.axhline(float(chosen["threshold"].sel(kernel="laplace")), color="black", linestyle=":", linewidth=0.9)
    figures.log_axis(ax, "x", 4)
    figures.log_axis(ax, "y", 6)
    ax.set(xlabel="$t$")


def _counts(ax: Axes, e: xr.Dataset, dimensions: list[int]) -> None:
    for k, (kernel, (_, colour, marker)) in enumerate(_KERNELS.items()):
        for m, mask in enumerate(_MASKS):
            at = e.sel(kernel=kernel, mask=mask)
            place = np.arange(len(dimensions)) + 0.13 * (2 * k + m - 2.5)
            share, (low, high) = at["share"].values, at["share_interval"].transpose("end", "dimension").values
            face = colour if mask == "leave_one_out" else "white"
            ax.errorbar(
                place, share, (share - low, high - share), fmt=marker, color=colour, markerfacecolor=face, markersize=3, elinewidth=0.8
            )
    ax.set_xticks(range(len(dimensions)), [f"$d = {d}$" for d in dimensions])
    ax.set(ylabel="share of starts", ylim=(-0.01, None))
    ax.text(0.02, 0.98, "open: self term kept", transform=ax.transAxes, va="top", fontsize=6.5)


def _speeds(ax: Axes, e: xr.Dataset) -> None:
    for kernel, (_, colour, _) in _KERNELS.items():
        for mask, (_, dashes) in _MASKS.items():
            values = abs(e["radial_velocity"].sel(kernel=kernel, mask=mask)).median(("dimension", "lone"))
            ax.plot(e["radius"], values, color=colour, linestyle=dashes)
    figures.log_axis(ax, "x", 5)
    figures.log_axis(ax, "y", 6)
    ax.set(xlabel="distance / reach of data and cloud", ylabel="|radial velocity| (length)")


def _limits(ax: Axes, e: xr.Dataset) -> None:
    reach = 0.0
    for kernel in e["displacement"].values:
        at, (_, colour, marker) = e.sel(displacement=kernel), _KERNELS[str(kernel)]
        known = (at["predicted_bound"] < abs(at["predicted_velocity"])).values
        predicted, speed = at["predicted_velocity"].values[known], at["speed"].values[known]
        ax.plot(predicted, speed, marker, color=colour, markersize=3, alpha=0.8, markeredgewidth=0)
        reach = max([reach, *predicted, *speed])
    reach = 1.08 * reach or 1.0
    ax.plot([0, reach], [0, reach], color="black", linewidth=0.7, zorder=0)
    ax.set(xlim=(0, reach), ylim=(0, reach), xlabel="limit at the horizon (length)", ylabel="speed, last octave (length)")
