"""Curl of the displacement field by kernel, circulation against flux, and delta minimised over clouds (R6.11, X4)."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import seaborn as sns
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Circle

from driftrates import figures
from driftrates.figures.laplace_decomposition import atoms, plane_map

_FLOOR = 1e-18
"""Where a circulation of exactly 0 is drawn on the logarithmic axis."""


@figures.styled
def plot(data: Mapping[str, xr.Dataset]) -> Figure:
    """Curl maps, Stokes' theorem and the minimisations of one Dataset of `decomposition.measure_decomposition`."""
    ds = next(iter(data.values()))
    figure = Figure(figsize=(figures.DOUBLE, 4.6), layout="constrained")
    above, below = figure.subfigures(2, 1, height_ratios=[1.1, 1.0])
    top, bottom = above.subplots(1, 3), below.subplots(1, 3)
    size = float(abs(ds["curl"]).max())
    for ax, values in zip(top, ds["curl"], strict=False):
        plane_map(ax, ds, values, r"$\mathrm{curl}\ v$", cmap=sns.color_palette("vlag", as_cmap=True), norm=Normalize(-size, size))
        atoms(ax, ds)
    for centre, radius in zip(ds["centre"].values, ds["radius"].values, strict=True):
        top[0].add_patch(Circle(centre, radius, fill=False, color="0.25", linewidth=0.6))
    top[0].scatter(*ds["zero_point"].values.T, s=4, color=figures.PALETTE[2], linewidth=0, zorder=5, label="$r = 0$")
    _stokes(top[2], ds)
    _descent(bottom[0], ds, "step")
    _descent(bottom[1], ds, "distance")
    _minima(bottom[2], ds)
    titles = [figures.kernel_title(str(name)) for name in ds["field"].values]
    figures.letter([*top, *bottom], [*titles, "around the loops", r"$\delta$ minimised", r"$\delta$ and distance", r"least $\delta$ found"])
    below.legend(*bottom[1].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    top[0].legend(loc="upper right", handletextpad=0.1, frameon=True, framealpha=0.9, edgecolor="none")
    for ax in (top[2], *bottom):
        sns.despine(ax=ax)
    return figure


def _stokes(ax: Axes, ds: xr.Dataset) -> None:
    for k, kind in enumerate(dict.fromkeys(ds["loop"].values.tolist())):
        chosen = ds.isel(loop=np.flatnonzero(ds["loop"].values == kind))
        size = np.abs(chosen["circulation"].sel(field="laplace"))
        ax.plot(chosen["radius"], size, "os^"[k], fillstyle="none", color=figures.PALETTE[(0, 3, 9)[k]], label=kind)
    gaussian = np.maximum(np.abs(ds["circulation"].sel(field="gaussian")), _FLOOR)
    ax.plot(ds["radius"], gaussian, ".", color="0.5", label="Gaussian kernel")
    ax.plot(ds["radius"], np.abs(ds["flux"]), "k_", markersize=6, label="flux of the curl")
    figures.log_axis(ax, "y", 6)
    ax.set(xlabel="radius of the loop (length)", ylabel="|circulation| (length$^2$)", box_aspect=1)
    ax.legend(loc="center right")


def _descent(ax: Axes, ds: xr.Dataset, against: str) -> None:
    """delta / h^2 along each minimisation, by whether a cloud of N atoms can equal M data points."""
    h = float(ds.attrs["bandwidth"])
    seen = set()
    for case in range(ds.sizes["case"]):
        label, colour = _kind(ds, case)
        delta, gap = ds["path_delta"].values[case] / h**2, ds["path_distance"].values[case] / h
        for values, far in zip(delta, gap, strict=True):
            x = np.arange(len(values)) if against == "step" else far
            ax.plot(x, values, color=colour, linewidth=0.6, label=None if label in seen else label)
            seen.add(label)
    figures.log_axis(ax, "y")
    ax.set(ylabel=r"$\delta / h^2$")
    if against == "step":
        ax.set(xlabel="step of the minimisation")
        return
    equal = np.flatnonzero((ds["case_particles"] == ds["case_data"]).values)
    for k, case in enumerate(equal):
        near = ds["near_distance"].values / h
        # W2 along the softest direction is the Euclidean distance over sqrt N
        root = np.sqrt(float(ds["case_particles"][case]))
        ax.plot(
            near / root,
            ds["near_delta"].values[case, :, 0] / h**2,
            "ko",
            fillstyle="none",
            markersize=3,
            zorder=4,
            label="softest direction" if k == 0 else None,
        )
    figures.log_axis(ax, "x")
    ax.set(xlabel=r"$W_2$ of cloud and data / $h$")


def _minima(ax: Axes, ds: xr.Dataset) -> None:
    h = float(ds.attrs["bandwidth"])
    for case in range(ds.sizes["case"]):
        ends = np.maximum(ds["minimum"].values[case] / h**2, 1e-36)
        ax.plot(
            np.full(len(ends), case) + np.linspace(-0.25, 0.25, len(ends)), np.sort(ends), ".", color=_kind(ds, case)[1], markersize=2.5
        )
    names = [f"{int(n)}, {int(m)}" for n, m in zip(ds["case_particles"], ds["case_data"], strict=True)]
    ax.set_xticks(range(ds.sizes["case"]), names)
    figures.log_axis(ax, "y")
    ax.set(xlabel="$N, M$", ylabel=r"$\delta / h^2$ at the end")


def _kind(ds: xr.Dataset, case: int) -> tuple[str, tuple[float, float, float]]:
    n, m = int(ds["case_particles"][case]), int(ds["case_data"][case])
    if n == m:
        return "$N = M$", figures.PALETTE[0]
    return ("$N = 2M$", figures.PALETTE[9]) if n % m == 0 else ("$N$ no multiple of $M$", figures.PALETTE[3])
