"""B3': spectrum of the flow about a Gaussian target, and Gaussian clouds against their closure."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import seaborn as sns
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from driftrates import figures


@figures.styled
def plot(data: Mapping[str, xr.Dataset]) -> Figure:
    """`measure_hermite`: eigenvalues by degree and bandwidth; mean, variance and excess kurtosis of clouds that start Gaussian."""
    ds = data["hermite"]
    figure = Figure(figsize=(figures.DOUBLE, 2.7), layout="constrained")
    axes = figure.subplots(1, 4, width_ratios=[1.3, 1, 1, 1])
    colours = sns.color_palette("viridis", ds.sizes["bandwidth"] + 1)
    for b, h in enumerate(ds["bandwidth"].values):
        case = ds.isel(bandwidth=b)
        axes[0].plot(ds["degree"], case["closed_form"], color=colours[b], linewidth=0.9)
        axes[0].plot(ds["degree"], case["operator"], "+", color=colours[b], markersize=4)
        axes[0].plot(ds["degree"], case["nonlinear"], "o", color=colours[b], fillstyle="none", markersize=4)
        label = f"$h = {h:g}\\,s$"
        for ax, moment in zip(axes[1:], ("mean", "variance", "excess_kurtosis"), strict=True):
            _moment(ax, case, moment, colours[b], label)
    figures.log_axis(axes[0], "y", 6)
    axes[0].set(xlabel="degree $n$", ylabel=r"$\lambda_n$ (time$^{-1}$)", ylim=(float(ds["closed_form"].isel(degree=-1).max()) / 2e4, 2))
    axes[0].set_xticks(np.unique(np.linspace(1, ds.sizes["degree"], 5).round()))
    axes[0].minorticks_off()
    for ax, name in zip(axes[1:], ("mean over $s$", "variance over $s^2$", "excess kurtosis"), strict=True):
        ax.set(xlabel=r"$\lambda_1 t$", ylabel=name)
        ax.set_xticks(np.linspace(0, float(ds["unit"][-1]), 3))
    handles, labels = axes[1].get_legend_handles_labels()
    handles += [
        Line2D([], [], color="0.3", marker="+", linestyle="none", label="Hermite matrix"),
        Line2D([], [], color="0.3", marker="o", fillstyle="none", linestyle="none", label="full equation"),
        Line2D([], [], color="0.3", linewidth=0.9, label="closed form, closure"),
        Line2D([], [], color="0.3", linewidth=0.9, linestyle=":", label="Laplace kernel"),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=8, columnspacing=1.0)
    figures.letter(axes, ["spectrum", "mean", "variance", "shape"])
    sns.despine(fig=figure)
    return figure


def _moment(ax: Axes, case: xr.Dataset, moment: str, colour: object, label: str) -> None:
    for start in range(case.sizes["start"]):
        found = case["moments"].isel(start=start)
        ax.plot(case["unit"], found.sel(kernel="laplace", moment=moment), ":", color=colour, linewidth=0.9)
        marks = found.sel(kernel="gaussian", moment=moment)[::4]
        ax.plot(case["unit"][::4], marks, "o", color=colour, fillstyle="none", markersize=3.2)
        if moment in case["closed"]:
            exact = case["closure"].isel(start=start).sel(closed=moment)
            ax.plot(case["unit"], exact, color=colour, linewidth=0.9, label=label if start == 0 else None)
        else:
            ax.axhline(0.0, color="0.6", linewidth=0.6, zorder=0)
