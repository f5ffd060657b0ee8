"""Errors of training by regression (Appendix A): Euler's error against the step, its bound, and what regression errors grow to."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import seaborn as sns
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from driftrates import figures

_KINDS = {
    "adversarial": ("worst case", figures.PALETTE[3], "o"),
    "constant": ("same error in every step", figures.PALETTE[1], "x"),
    "random sign": ("random sign", figures.PALETTE[0], "s"),
}


@figures.styled
def plot(data: Mapping[str, xr.Dataset]) -> Figure:
    """Four panels from `regression.measure_training_errors`: error against eta, against eta / h^2, bound over error, inexact regression."""
    (ds,) = data.values()
    figure = Figure(figsize=(figures.DOUBLE, 5.0), layout="constrained")
    axes = figure.subplots(2, 2)
    colours = sns.color_palette("viridis", ds.sizes["bandwidth"] + 1)
    _errors(axes[0, 0], ds, colours)
    _collapse(axes[0, 1], ds, colours)
    _bounds(axes[1, 0], ds, colours)
    _inexact(axes[1, 1], ds)
    figures.letter(
        axes.flat,
        ["Euler's scheme, order 1", r"breakdown at $\eta$ of order $h^2$", "bound over error", "inexact regression"],
    )
    sns.despine(fig=figure)
    return figure


def _errors(ax: Axes, ds: xr.Dataset, colours: list) -> None:
    eta = ds.attrs["horizon"] / ds["count"].values
    for case, colour in zip(ds["bandwidth"].values, colours, strict=False):
        mean = ds["euler_error"].sel(bandwidth=case).mean("replicate").values
        ax.plot(eta, mean, "o-", color=colour, markersize=2.6, label=f"$h = {case:g}$")
    guide = 0.5 * mean[-1] * eta / eta[-1]
    ax.plot(eta, guide, color="black", linestyle="--", linewidth=0.9, label="order 1")
    ax.set(xlabel=r"$\eta$ (time)", ylabel=r"$\max_k |X_k - X(t_k)|$ (length)")
    figures.log_axis(ax, "x")
    figures.log_axis(ax, "y")
    ax.legend(loc="upper left", ncols=2, columnspacing=1.0)
    ax.set_ylim(top=30 * float(ds["euler_error"].mean("replicate").max()))


def _collapse(ax: Axes, ds: xr.Dataset, colours: list) -> None:
    eta = ds.attrs["horizon"] / ds["count"].values
    for case, colour in zip(ds["bandwidth"].values, colours, strict=False):
        mean = ds["euler_error"].sel(bandwidth=case).mean("replicate").values
        ax.plot(eta / case**2, mean / eta * eta[-1] / mean[-1], "o-", color=colour, markersize=2.6)
        limit = ds["largest_step"].sel(bandwidth=case).median().item() / case**2
        ax.plot([limit, limit], [0.0, 0.06], color=colour, transform=ax.get_xaxis_transform(), linewidth=1.6)
    ax.axhline(1.0, color="black", linestyle="--", linewidth=0.9)
    ax.axvline(np.e, color="0.6", linestyle=":", linewidth=0.9)
    ax.set(xlabel=r"$\eta / h^2$", ylabel=r"(error / $\eta$) / its limit for small $\eta$")
    figures.log_axis(ax, "x")
    handles = [
        Line2D([], [], color="black", linestyle="--", linewidth=0.9, label="order 1"),
        Line2D([], [], color="0.6", linestyle=":", linewidth=0.9, label=r"$\eta = e\,h^2$"),
        Line2D([], [], color="0.3", marker="|", markersize=6, linestyle="none", markeredgewidth=1.6, label="largest stable step"),
    ]
    ax.legend(handles=handles, loc="upper left")


def _bounds(ax: Axes, ds: xr.Dataset, colours: list) -> None:
    eta = ds.attrs["horizon"] / ds["count"]
    for name, style in (("trajectory_bound", "-"), ("path_bound", ":")):
        ratio = (ds[name] / ds["euler_error"]).median("replicate")
        for case, colour in zip(ds["bandwidth"].values, colours, strict=False):
            ax.plot(eta, ratio.sel(bandwidth=case), color=colour, linestyle=style)
    ax.axhline(1.0, color="black", linewidth=0.6)
    ax.set(xlabel=r"$\eta$ (time)", ylabel=r"$C \eta e^{LT}$ / error")
    figures.log_axis(ax, "x")
    figures.log_axis(ax, "y", decades=6)
    handles = [
        Line2D([], [], color="0.3", linestyle="-", label="$L$ along the trajectory"),
        Line2D([], [], color="0.3", linestyle=":", label="$L$ largest norm of the Jacobian"),
    ]
    ax.set_ylim(top=1e4 * ax.get_ylim()[1])
    ax.legend(handles=handles, loc="upper left")


def _inexact(ax: Axes, ds: xr.Dataset) -> None:
    eta, size = ds.attrs["horizon"] / ds["inexact_count"], ds.attrs["error"]
    for kind, (label, colour, marker) in _KINDS.items():
        case = ds.sel(kind=kind)
        mean = case["typical_accumulated_error"].median("replicate") / size
        bound = case["inexact_trajectory_bound"].median("replicate") / size
        ax.plot(eta, mean, marker, color=colour, markersize=3.5, label=label, markerfacecolor="none")
        if kind != "constant":
            ax.plot(eta, bound, color=colour, linewidth=0.9, label=f"bound, {label}")
    for power in (-1.0, -0.5):
        anchor = ds["typical_accumulated_error"].sel(kind="adversarial" if power == -1 else "random sign").median("replicate")[-1] / size
        ax.plot(eta, 0.6 * float(anchor) * (eta / eta[-1]) ** power, color="black", linestyle="--", linewidth=0.7)
        text = r"$\eta^{-1}$" if power == -1 else r"$\eta^{-1/2}$"
        ax.annotate(text, (float(eta[-1]), 0.6 * float(anchor)), xytext=(0, -3), textcoords="offset points", va="top", fontsize=6.5)
    ax.set(xlabel=r"$\eta$ (time)", ylabel=r"accumulated error / $\max_k |e_k|$")
    figures.log_axis(ax, "x")
    figures.log_axis(ax, "y")
    ax.set_ylim(top=300 * ax.get_ylim()[1])
    ax.legend(loc="upper right", ncols=2, columnspacing=1.0)
