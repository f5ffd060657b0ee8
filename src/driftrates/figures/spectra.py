"""B3: decay rates of Fourier modes by every method, the bottleneck of the Gaussian kernel, and the noise of finite clouds."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import seaborn as sns
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from driftrates import figures

_COLOURS = {
    "gaussian": figures.PALETTE[0],
    "laplace": figures.PALETTE[3],
    "matern32": figures.PALETTE[1],
    "matern52": figures.PALETTE[2],
    "matern72": figures.PALETTE[4],
    "inverse_multiquadric": figures.PALETTE[5],
    "smoothed_laplace": figures.PALETTE[7],
}
_METHODS = {
    "quadrature": ("o", "quadrature"),
    "operator": ("+", "Jacobian"),
    "nonlinear": ("x", "full equation"),
    "particles": ("s", "particles"),
}
_SLOWEST = 1e-9
"""Smallest rate drawn: slower modes take longer than 1e9 units of time."""


@figures.styled
def plot(data: Mapping[str, xr.Dataset]) -> Figure:
    """`measure_spectra` and `measure_particles`: rates in both clocks, times, modes of one run, noise spectra and noise against N."""
    ds, cloud = data["spectra"], data["torus_particles"]
    figure = Figure(figsize=(figures.DOUBLE, 5.4), layout="constrained")
    figure.get_layout_engine().set(hspace=0.05)
    above, below = figure.subfigures(2, 1, height_ratios=[1.15, 1.0])
    top, bottom = above.subplots(1, 3), below.subplots(1, 3)
    _rates(top[0], ds, cloud, "displacement")
    _rates(top[1], ds, cloud, "conservative")
    _times(top[2], ds)
    handles = [Line2D([], [], color=colour, label=figures.kernel_title(name)) for name, colour in _COLOURS.items() if name in ds["kernel"]]
    handles += [
        Line2D([], [], color="0.3", marker=marker, linestyle="none", fillstyle="none", markersize=4, label=label)
        for marker, label in _METHODS.values()
    ]
    above.legend(handles=handles, loc="outside lower center", ncols=6, columnspacing=1.2)
    _run(bottom[0], ds)
    _noise(bottom[1], cloud)
    _floor(bottom[2], cloud)
    titles = [
        "displacement clock",
        "score clock",
        "time to decay, displacement",
        "far from uniform, Gaussian",
        "noise spectrum",
        "noise of damped modes",
    ]
    figures.letter([*top, *bottom], titles)
    sns.despine(fig=figure)
    return figure


def _rates(ax: Axes, ds: xr.Dataset, cloud: xr.Dataset, field: str) -> None:
    h = float(ds.attrs["bandwidth"])
    unit = 1.0 if field == "displacement" else h**2
    for name, colour in _COLOURS.items():
        if name not in ds["kernel"]:
            continue
        case = ds.sel(kernel=name, field=field)
        ax.plot(h * ds["curve_wave"], unit * case["curve"], color=colour, linewidth=0.9)
        seen = unit * case["closed_form"].sel(dimension=1).values > _SLOWEST
        kappa = h * ds["wave_number"].values
        for method, values in (
            ("quadrature", case["quadrature"].sel(dimension=1)),
            ("operator", case["operator"]),
            ("nonlinear", case["nonlinear"]),
        ):
            marker = _METHODS[method][0]
            ax.plot(kappa[seen], unit * values.values[seen], marker, color=colour, fillstyle="none", markersize=4.5, markeredgewidth=0.6)
        pair = f"{name} {field}"
        if pair in cloud["pair"]:
            k, rates = cloud["wave_number"].values, cloud["quiet_rate"].sel(pair=pair).values
            ax.plot(h * k, unit * rates, "s", color=colour, fillstyle="none", markersize=6, markeredgewidth=0.8)
    figures.log_axis(ax, "x")
    figures.log_axis(ax, "y", 6)
    ax.set(xlabel=r"$h\,k$", ylabel=r"$\lambda$ (time$^{-1}$)" if field == "displacement" else r"$h^2\lambda$")
    ax.set_ylim(_SLOWEST, 10)


def _times(ax: Axes, ds: xr.Dataset) -> None:
    kappa = float(ds.attrs["bandwidth"]) * ds["wave_number"].values
    for name in ("gaussian", "matern52", "matern32", "laplace"):
        if name not in ds["kernel"]:
            continue
        case = ds.sel(kernel=name, field="displacement")
        curve = case["curve"].where((case["curve"] > _SLOWEST / 10) & (case["curve_wave"] >= kappa[kappa >= 1][0]))
        ax.plot(float(ds.attrs["bandwidth"]) * ds["curve_wave"], 1 / curve, color=_COLOURS[name], linewidth=0.9)
        measured, used = 1 / case["nonlinear"].values, kappa >= 1
        ax.plot(kappa[used], measured[used], "x", color=_COLOURS[name], markersize=4.5, markeredgewidth=0.8)
    figures.log_axis(ax, "x")
    figures.log_axis(ax, "y", 6)
    ax.set(xlabel=r"$h\,k$", ylabel=r"$1 / \lambda$ (time)", ylim=(0.5, 1 / _SLOWEST))
    ax.text(
        0.04, 0.95, r"Gaussian: $e^{h^2 k^2 / 2} / (h k)^2$" + "\n" + r"Matérn $\nu$: $(h k)^{2 \nu + 1}$", transform=ax.transAxes, va="top"
    )


def _run(ax: Axes, ds: xr.Dataset) -> None:
    case = ds.sel(kernel="gaussian", field="displacement")
    t = ds["time"].values
    for n, colour in zip((1, 2, 3, 4, 6), sns.color_palette("viridis", 6), strict=False):
        seen = case["large_mode"].sel(mode=n).values
        ax.plot(t, seen, color=colour, label=f"$k = {n}$")
        ax.plot(t, seen[0] * np.exp(-float(case["mode_rate"].sel(mode=n)) * t), ":", color=colour, linewidth=0.8)
    figures.log_axis(ax, "y", 6)
    ax.set(xlabel="time (time)", ylabel="relative amplitude of mode $k$", ylim=(1e-9, 40))
    ax.legend(loc="upper right", ncols=3, columnspacing=0.9, handlelength=1.0, title=r"dotted: $e^{-\lambda(k) t}$")


def _noise(ax: Axes, cloud: xr.Dataset) -> None:
    sizes = cloud["size"].values
    for floor in cloud["floor"].values.tolist():
        name = floor.split()[0]
        for n, alpha in ((sizes[0], 0.45), (sizes[-1], 1.0)):
            late = cloud["noise"].sel(floor=floor, stage="end", size=n) * n**0.5
            ax.plot(cloud["mode"], late, color=_COLOURS[name], alpha=alpha, label=f"{figures.kernel_title(name)}, $N = {n}$")
        first = cloud["noise"].sel(floor=floor, stage="start", size=sizes[-1]) * sizes[-1] ** 0.5
    ax.plot(cloud["mode"], first, color="0.5", linewidth=0.8, linestyle="--", label=f"start, $N = {sizes[-1]}$")
    figures.log_axis(ax, "x")
    figures.log_axis(ax, "y", 6)
    ax.set(xlabel="$k$ (length$^{-1}$)", ylabel=r"$N^{1/2}$ r.m.s. of mode $k$")
    low, high = ax.get_ylim()
    # Room for the legend.
    ax.set_ylim(low * (low / high) ** 0.35, high)
    ax.legend(loc="lower right")


def _floor(ax: Axes, cloud: xr.Dataset) -> None:
    sizes = cloud["size"].values
    for floor in cloud["floor"].values.tolist():
        name = floor.split()[0]
        case = cloud.sel(floor=floor)
        for stage, marker in (("start", "o"), ("end", "D")):
            power = (case["noise"].sel(stage=stage) ** 2).isel(mode=np.flatnonzero(case["damped"].values)).mean("mode")
            slope = float(case["exponent"].sel(stage=stage))
            label = f"{figures.kernel_title(name)}, {stage}: {slope:.2f}" if stage == "end" else None
            ax.plot(sizes, np.sqrt(power), marker + "-", color=_COLOURS[name], markersize=3.2, label=label)
    start = float(cloud["exponent"].isel(floor=0).sel(stage="start"))
    reach = sizes[[0, -1]].astype(float)
    ax.plot(reach, reach**-0.5, "k--", linewidth=0.8, label=f"$N^{{-1/2}}$ (start: {start:.2f})")
    last = (
        float((cloud["noise"].sel(stage="end", size=sizes[0]) ** 2).isel(floor=0, mode=np.flatnonzero(cloud["damped"][0].values)).mean())
        ** 0.5
    )
    ax.plot(reach, last * reach[0] / reach, "k:", linewidth=0.9, label="$N^{-1}$")
    figures.log_axis(ax, "y", 6)
    figures.log_ticks(ax, sizes)
    ax.set(xlabel="$N$", ylabel="r.m.s. of the damped modes")
    low, high = ax.get_ylim()
    ax.set_ylim(low, high * (high / low) ** 0.05)
    ax.legend(loc="center left", bbox_to_anchor=(0.0, 0.52))
