"""A5.6 to C5.9: the distortion Lam(t) of a flow, what it says of distances and of p_h, and where it says nothing any more."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import seaborn as sns
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from driftrates import figures

_DASHES = ("-", "--", "-.")
"""By radius r0."""


@figures.styled
def plot(data: Mapping[str, xr.Dataset]) -> Figure:
    """A row per Dataset of `occupancy.measure_propagation`: separations within +-Lam, least p_h and its floor, failure bound."""
    figure = Figure(figsize=(figures.DOUBLE, 1.75 * len(data) + 0.4), layout="constrained")
    axes = figure.subplots(len(data), 3, squeeze=False, sharex="col")
    colours = figures.size_colours(np.unique(np.concatenate([ds["n_particles"].values for ds in data.values()])).tolist())
    titles = []
    for row, ds in zip(axes, data.values(), strict=True):
        for n in ds["n_particles"].values.tolist():
            case = ds.isel(bandwidth=0).sel(n_particles=n)
            _sandwich(row[0], case, colours[n])
            _floor(row[1], case, colours[n])
            _failure(row[2], case, colours[n])
        _finish(row)
        d = len(figures.experiment(ds)["target"]["mixture"]["means"][0])
        titles += [f"$d = {d}$, distances", f"$d = {d}$, least density", f"$d = {d}$, failure bound"]
    for ax in axes[-1]:
        ax.set(xlabel="$t$ (time)")
    figures.letter(axes.flat, titles)
    radii = next(iter(data.values()))["r0"].values
    grey = {"color": "0.4"}
    first = [Line2D([], [], color=colour, label=f"$N = {n}$") for n, colour in colours.items()]
    first.append(Line2D([], [], **grey, linestyle="--", linewidth=0.8, label=r"$\pm\Lambda(t)$"))
    second = [
        Line2D([], [], **grey, linestyle="--", linewidth=0.8, label="floor of P5.8"),
        Line2D([], [], **grey, linestyle=":", linewidth=0.8, label="radius not shrunk"),
    ]
    third = [Line2D([], [], **grey, linestyle=dashes, label=f"$r_0 = {r:g}$") for r, dashes in zip(radii, _DASHES, strict=False)]
    for handles, place in ((first, "left"), (second, "center"), (third, "right")):
        figure.legend(handles=handles, loc=f"outside lower {place}", ncols=len(handles), columnspacing=1.2)
    sns.despine(fig=figure)
    return figure


def _sandwich(ax: Axes, ds: xr.Dataset, colour: tuple[float, float, float]) -> None:
    time, lam = ds["time"].values, ds["distortion"].max("replicate").values
    for sign in (-1.0, 1.0):
        ax.plot(time, sign * lam, color=colour, linestyle="--", linewidth=0.8)
    for name in ("least_log_separation", "largest_log_separation"):
        ax.plot(time, ds[name].transpose("time", "replicate").values, color=colour, linewidth=0.7, alpha=0.8)


def _floor(ax: Axes, ds: xr.Dataset, colour: tuple[float, float, float]) -> None:
    time = ds["time"].values
    ax.plot(time, ds["least_density"].min("replicate"), color=colour)
    ax.plot(time, ds["density_floor"].max("r0").min("replicate"), color=colour, linestyle="--", linewidth=0.8)
    ax.plot(time, ds["density_floor_control"].max("r0").min("replicate"), color=colour, linestyle=":", linewidth=0.8)


def _failure(ax: Axes, ds: xr.Dataset, colour: tuple[float, float, float]) -> None:
    for r, dashes in zip(ds["r0"].values, _DASHES, strict=False):
        ax.plot(ds["time"], ds["iid_failure_bound"].sel(r0=r), color=colour, linestyle=dashes)


def _finish(row: np.ndarray) -> None:
    row[0].axhline(0.0, color="0.8", linewidth=0.6, zorder=0)
    row[0].set(ylabel=r"$\log\, |\Delta(t)| / |\Delta(0)|$")
    figures.log_axis(row[1], "y", 5)
    # Down to a whole power of ten, so that the axis has labels.
    row[1].set(ylabel="least $p_h(x_i)$ (length$^{-d}$)", ylim=(10 ** np.floor(np.log10(row[1].get_ylim()[0])), None))
    figures.log_axis(row[2], "y", 6)
    low, high = row[2].get_ylim()
    row[2].axhspan(1.0, max(1e3, 10 * high), color="0.93", zorder=0, linewidth=0)
    row[2].set(ylabel=r"$N e^{-\lambda / 8}$", ylim=(min(low, 0.1), 2 * high))
    row[2].text(0.97, 0.5, "vacuous", transform=row[2].transAxes, ha="right", va="center", fontsize=6.5)
    for ax in row:
        ax.set_xlim(left=0)
