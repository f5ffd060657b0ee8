"""L6.6 and X2: S# and its lower bounds over stored clouds, and the slack of the bounds by the region that gives A."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import seaborn as sns
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, NullLocator

from driftrates import figures
from driftrates.laplace.coercivity import coercive_sides

_BOUNDS = {
    "paper": ("$c^* E^\\# - C^* \\delta$ (L6.6)", figures.PALETTE[3], "v"),
    "sharpened": ("$E^\\# / (2A) - \\delta / (2a)$ (X2)", figures.PALETTE[0], "s"),
}
_WEIGHTED = ("$\\int q^\\# (|v|^2 - |r|^2) / (2 \\alpha_\\mu)$ (X2)", figures.PALETTE[2], "D")
_DECADES = 4
"""Decades above which values are drawn on logarithmic axes of either sign."""
_REGIONS = {"particles": "particles", "quantile": "99.9 %", "box": "box", "effective": "effective"}


@figures.styled
def plot(data: Mapping[str, xr.Dataset]) -> Figure:
    """A column per Dataset of `laplace.coercivity.measure_coercivity`: above S# and its bounds in time, below the slack of every cloud."""
    found = [ds for ds in data.values() if "stein" in ds]
    figure = Figure(figsize=(figures.DOUBLE, 4.5), layout="constrained")
    axes = figure.subplots(2, len(found), squeeze=False)
    for ds, above, below in zip(found, *axes, strict=True):
        sides = coercive_sides(ds)
        _in_time(above, ds, sides)
        _slack(below, ds, sides)
        below.tick_params(labelleft=below is axes[1, 0])
    ends = np.array([ax.get_ylim() for ax in axes[1]])
    for ax in axes[1]:
        ax.set_ylim(ends.min(), ends.max())
    axes[0, 0].set(ylabel="$S^\\#$ and lower bounds")
    axes[1, 0].set(ylabel="upper side / lower side")
    titles = [f"$d = {ds.attrs['dimension']}$, $h = {float(ds['bandwidth'][0]):g}$, $N = {int(ds['n_particles'][-1])}$" for ds in found]
    figures.letter(axes.flat, [*titles, *(f"$d = {ds.attrs['dimension']}$" for ds in found)])
    handles = [Line2D([], [], color="black", marker="o", label="$S^\\#$")]
    handles += [Line2D([], [], color=colour, marker=marker, label=label) for label, colour, marker in (_WEIGHTED, *_BOUNDS.values())]
    figure.legend(handles=handles, loc="outside lower center", ncols=4, columnspacing=1.4)
    sns.despine(fig=figure)
    return figure


def _in_time(ax: Axes, ds: xr.Dataset, sides: xr.Dataset) -> None:
    """Means over replicates at the first bandwidth and the largest N, A effective."""
    cell = {"bandwidth": 0, "n_particles": -1}
    bounds = sides["bound"].isel(cell).sel(region="effective").mean("replicate")
    stein = ds["stein"].isel(cell).mean("replicate")
    weighted = ((ds["weighted_energy"] - ds["weighted_residual"]) / 2).isel(cell).mean("replicate")
    drawn = [(stein, "black", "o"), (weighted, *_WEIGHTED[1:])]
    drawn += [(bounds.sel(constants=name), colour, marker) for name, (_, colour, marker) in _BOUNDS.items()]
    for values, colour, marker in drawn:
        ax.plot(ds["snapshot"], values, color=colour, marker=marker)
    reach = np.ceil(np.log10(max(float(abs(values).max()) for values, *_ in drawn)))
    threshold = 10.0 ** (reach - _DECADES)
    ax.set_yscale("symlog", linthresh=threshold, linscale=0.4)
    powers = 10.0 ** np.arange(reach - _DECADES + 1, reach + 1)
    ax.yaxis.set_major_locator(FixedLocator([*-powers, 0.0, *powers]))
    ax.yaxis.set_minor_locator(NullLocator())
    ax.axhline(0.0, color="0.8", linewidth=0.6, zorder=0)
    ax.set(xlabel="time")


def _slack(ax: Axes, ds: xr.Dataset, sides: xr.Dataset) -> None:
    generator = np.random.default_rng(0)
    ratio = sides["rest"] / sides["energy"]
    for name, shift in (("paper", -0.18), ("sharpened", 0.18)):
        for k, region in enumerate(_REGIONS):
            _cloud_of_points(ax, k + shift, ratio.sel(constants=name, region=region), _BOUNDS[name][1], generator)
    weighted = (2 * ds["stein"] + ds["weighted_residual"]) / ds["weighted_energy"]
    _cloud_of_points(ax, len(_REGIONS), weighted, _WEIGHTED[1], generator)
    ax.axhline(1.0, color="black", linewidth=0.7, zorder=0)
    figures.log_axis(ax, "y")
    ax.set_xticks(range(len(_REGIONS) + 1), [*_REGIONS.values(), "weighted"], rotation=40, ha="right", rotation_mode="anchor")
    ax.tick_params(axis="x", length=0)
    ax.set(xlim=(-0.6, len(_REGIONS) + 0.6), xlabel="region of $A$")


def _cloud_of_points(ax: Axes, x: float, values: Any, colour: Any, generator: np.random.Generator) -> None:
    y = values.values.ravel()
    ax.plot(x + generator.uniform(-0.12, 0.12, y.size), y, ".", color=colour, markersize=1.8, alpha=0.5, markeredgewidth=0)
    ax.hlines(np.median(y), x - 0.16, x + 0.16, color=colour, linewidth=1.4)
