"""Rates at large N along h = h(N), beside those of the grid: carriers, exponents between neighbouring N, and R_N (s4.3, A2.3)."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import seaborn as sns
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from driftrates import figures
from driftrates.measurements.rates import diagonal

_CARRIERS = {
    "late_self_interaction": ("self-interaction, late", figures.PALETTE[1], "s"),
    "quadrature_gap": ("$|S_N - F_N|$, late", figures.PALETTE[2], "^"),
    "late_fisher": ("$F_N$, late", figures.PALETTE[4], "D"),
}
_R = figures.PALETTE[0]


@figures.styled
def plot(data: Mapping[str, xr.Dataset]) -> Figure:
    """One row per dimension of the Datasets of `rates.measure_rates`, those on a grid beside those with one bandwidth per N."""
    rows: dict[int, list[xr.Dataset]] = {}
    for ds in data.values():
        rows.setdefault(int(ds.attrs["dimension"]), []).append(ds)
    figure = Figure(figsize=(figures.DOUBLE, 0.9 + 2.1 * len(rows)), layout="constrained")
    panels = figure.subplots(len(rows), 3, sharex=True, squeeze=False)
    for axes, (d, found) in zip(panels, rows.items(), strict=True):
        for ds in found:
            large = "bandwidth" not in ds.dims
            _means(axes[0], ds, large)
            _locals(axes[1], ds, large)
            _reciprocal(axes[2], ds, large)
        axes[1].axhline(float(found[0]["predicted"].sel(path="diagonal")), color="black", linestyle="--", linewidth=0.9, zorder=1)
        axes[1].set(ylim=(-1.0, 0.1), ylabel="exponent between neighbours")
        axes[0].set(ylabel="carrier of the rate (time$^{-1}$)")
        axes[2].set(ylabel="late $R_N$ (length)" if d == 1 else f"late $R_N$ (length$^{d}$)", ylim=(0, None))
        figures.log_axis(axes[0], "y")
    for ax in panels[-1]:
        figures.log_axis(ax, "x")
        ax.set(xlabel="$N$")
    handles = [Line2D([], [], color=c, marker=m, linestyle="none", label=label) for label, c, m in _CARRIERS.values()]
    handles += [
        Line2D([], [], color=_R, marker="o", linestyle="none", label="$R_N$, late"),
        Line2D([], [], color="0.4", marker="o", markerfacecolor="white", linestyle="none", label="diagonal of the grid"),
        Line2D([], [], color="0.4", marker="o", label="large N, with fit"),
        Line2D([], [], color="black", linestyle="--", label="exponent of C4.7, $-2/(d+4)$"),
        Patch(color="0.4", alpha=0.35, linewidth=0, label="percentile interval of a fit"),
        Line2D([], [], color="black", linestyle=":", label=r"volume of $\{\pi > 1/(N h^d)\}$"),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=3, columnspacing=1.4)
    titles = ("along $h \\propto N^{-1/(d+4)}$", "exponents", "mean reciprocal density")
    figures.letter(list(panels.ravel()), [f"$d = {d}$, {title}" for d in rows for title in titles])
    sns.despine(fig=figure)
    return figure


def _face(colour: tuple[float, ...], large: bool) -> tuple[float, ...] | str:
    return colour if large else "white"


def _means(ax: Axes, ds: xr.Dataset, large: bool) -> None:
    sizes = ds["n_particles"].values
    for name, (_, colour, marker) in _CARRIERS.items():
        ax.plot(sizes, diagonal(ds[name]).mean(1), marker, color=colour, markerfacecolor=_face(colour, large), markersize=3, zorder=3)
        fit = ds.sel(carrier=name, path="diagonal")
        dashes = {"linewidth": 0.9} if large else {"linewidth": 0.5, "linestyle": ":"}
        ax.plot(sizes, np.exp(float(fit["intercept"])) * sizes ** float(fit["slope"]), color=colour, **dashes)
    if large:
        guide = (sizes / sizes[0]) ** float(ds["predicted"].sel(path="diagonal"))
        ax.plot(sizes, 2.0 * diagonal(ds["late_self_interaction"])[0].mean() * guide, color="black", linestyle="--", linewidth=0.9)


def _locals(ax: Axes, ds: xr.Dataset, large: bool) -> None:
    for name, (_, colour, marker) in _CARRIERS.items():
        fit = ds.sel(carrier=name, path="diagonal")
        ax.errorbar(
            ds["neighbours"],
            fit["local_slope"],
            fit["local_error"],
            fmt=marker,
            color=colour,
            markerfacecolor=_face(colour, large),
            markersize=3,
            ecolor=(*colour, 1.0 if large else 0.35),
            elinewidth=0.7,
            zorder=3 if large else 2,
        )
        ax.fill_between(ds["n_particles"].values[[0, -1]], *fit["percentile"].values, color=colour, alpha=0.35, linewidth=0)


def _reciprocal(ax: Axes, ds: xr.Dataset, large: bool) -> None:
    sizes = ds["n_particles"].values
    mean = diagonal(ds["late_reciprocal_kde"]).mean(1)
    ax.plot(sizes, mean, "o", color=_R, markerfacecolor=_face(_R, large), markersize=3, zorder=3)
    ax.plot(sizes, ds["level_volume"], color="black", linestyle=":", linewidth=0.9)
