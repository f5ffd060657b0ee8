"""Passes of the integrators at equal accuracy against the bandwidth, work against accuracy, and where the stabilised method pays."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import seaborn as sns
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from driftrates import figures
from driftrates.figures.laplace_rates import plain_log

INTEGRATORS = {
    "euler": ("Euler", figures.PALETTE[0], "o", ":"),
    "dormand_prince": ("Dormand–Prince 5(4)", figures.PALETTE[1], "s", "--"),
    "rkc": ("Runge–Kutta–Chebyshev", figures.PALETTE[2], "^", "-"),
}
_ACCURACY = 1e-2
"""Error over h at which the passes are drawn: the value of the study nearest to it."""


@figures.styled
def plot(data: Mapping[str, xr.Dataset]) -> Figure:
    """Above the passes by h for each case; below errors by evaluations at the least h on the line and in the plane, and the saving."""
    (ds,) = data.values()
    figure = Figure(figsize=(figures.DOUBLE, 4.6), layout="constrained")
    axes = figure.subplots(2, 3)
    accuracy = float(ds["accuracy"].sel(accuracy=_ACCURACY, method="nearest"))
    cases = ds["case"].values.tolist()
    for ax, case in zip(axes[0], cases, strict=True):
        _passes(ax, ds.sel(case=case, rule="bandwidth", accuracy=accuracy))
    for ax, case in zip(axes[1], cases[:2], strict=False):
        _work(ax, ds.sel(case=case).isel(level=-1))
    _saving(axes[1, 2], ds.sel(case=cases[0], rule="bandwidth"))
    handles = axes[1, 0].get_legend_handles_labels()
    figure.legend(*handles, loc="outside lower center", ncols=3)
    least = [float(ds["bandwidth"].sel(case=case)[-1]) for case in cases[:2]]
    titles = [*(case.replace(", Gaussian", "").replace(", Laplace", " (Laplace)") for case in cases)]
    titles += [f"$d = {k + 1}$, $h = {h:g}$" for k, h in enumerate(least)] + ["saving by RKC, $d = 1$"]
    figures.letter(axes.ravel(), titles)
    sns.despine(fig=figure)
    return figure


def _passes(ax: Axes, ds: xr.Dataset) -> None:
    for name, (_, colour, marker, dashes) in INTEGRATORS.items():
        own = ds.sel(integrator=name)
        middle, value = own["passes"].mean("replicate", skipna=False), float(own["exponent"].sel(bound="value"))
        label = rf"$h^{{{-value:z.2f}}}$" if np.isfinite(value) else None
        ax.plot(ds["bandwidth"], middle, linestyle=dashes, marker=marker, color=colour, label=label)
    if ax.get_legend_handles_labels()[0]:
        ax.legend(loc="best")
    plain_log(ax, "x")
    plain_log(ax, "y")
    ax.set(xlabel="$h$ (length)", ylabel="evaluations per unit time")


def _work(ax: Axes, ds: xr.Dataset) -> None:
    for name, (label, colour, marker, dashes) in INTEGRATORS.items():
        own = ds.sel(integrator=name).mean("replicate", skipna=False).dropna("run", subset=["error"])
        ax.plot(own["evaluations"], own["error"], linestyle=dashes, marker=marker, color=colour, label=label)
    figures.log_axis(ax, "x")
    figures.log_axis(ax, "y")
    ax.set(xlabel="evaluations of the field", ylabel="error over $h$")


def _saving(ax: Axes, ds: xr.Dataset) -> None:
    colours = sns.color_palette("viridis", ds.sizes["level"] + 1)
    for k, colour in zip(range(ds.sizes["level"]), colours, strict=False):
        ax.plot(
            ds["accuracy"], ds["saving"].isel(level=k).mean("replicate"), "o-", color=colour, label=f"$h = {float(ds['bandwidth'][k]):g}$"
        )
    ax.axhline(1.0, color="0.4", linewidth=0.7, linestyle=":")
    figures.log_axis(ax, "x")
    plain_log(ax, "y")
    ax.legend(loc="upper center", ncols=3, columnspacing=0.8, handlelength=1.2)
    ax.set(ylim=(None, 4 * ax.get_ylim()[1]), xlabel="error over $h$", ylabel="evaluations, best other / RKC")
