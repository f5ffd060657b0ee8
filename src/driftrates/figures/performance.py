"""Throughput of the kernel sums beside peers, time against accuracy, scaling of a pass with N, and the ratios of all contenders."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
import seaborn as sns
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from driftrates import figures
from driftrates.performance import passes

_P = figures.PALETTE
_CURVES = {
    "driftrates cpu": ("direct", _P[0], "o", "-"),
    "driftrates nufft 1e-12": ("NUFFT, $10^{-12}$", _P[2], "s", "-"),
    "C++ AVX-512": ("C++ by hand", "black", "+", ":"),
    "torch.compile": ("torch.compile", _P[3], "^", "--"),
    "jax GEMM in scan": ("JAX, products", _P[1], "v", "--"),
    "numpy GEMM": ("NumPy, products", _P[4], "D", "--"),
    "scipy gaussian_kde": ("SciPy KDE ($S_0$)", _P[5], "<", "--"),
    "KeOps, fused": ("KeOps, fused", _P[9], ">", "--"),
    "scikit-learn KernelDensity": ("scikit-learn ($S_0$)", _P[7], "x", "--"),
}
"""Contenders of the panel of throughputs: label, colour, marker, dashes; those of this project first."""
_ENGINES = {
    "driftrates cpu": ("direct", _P[0], "o"),
    "driftrates nufft": ("NUFFT", _P[2], "s"),
    "driftrates cells": ("cells", _P[1], "D"),
    "driftrates ewald": ("Ewald split", _P[4], "^"),
    "driftrates line": ("line", _P[9], "v"),
    "scikit-learn KernelDensity": ("scikit-learn tree", _P[7], "x"),
}
_ABOVE = {"loc": "lower center", "bbox_to_anchor": (0.45, 1.09), "borderaxespad": 0.0, "columnspacing": 1.0}
_CASES = ((2, "float64", 1), (10, "float64", 1), (2, "float32", 1), (2, "float64", 2))
_CASE_MARKS = ("o", "s", "^", "x")


@figures.styled
def plot(data: Mapping[str, xr.Dataset]) -> Figure:
    """The Dataset of `passes.measure_performance`: above throughput and time against accuracy, below scaling and ratios."""
    (ds,) = data.values()
    rows = passes.frame(ds)
    figure = Figure(figsize=(figures.DOUBLE, 6.6), layout="constrained")
    # Rows of their own: the long labels of the last panel are no margin of the one above it.
    (throughput, accuracy), (scaling, ratios) = (f.subplots(1, 2) for f in figure.subfigures(2, 1, height_ratios=[1.0, 1.1]))
    _throughput(throughput, rows)
    _accuracy(accuracy, rows[rows["part"] == "accuracy"])
    _scaling(scaling, rows)
    largest = _ratios(ratios, rows[rows["part"] == "throughput"])
    titles = ("throughput, $d = 2$, float64, one thread", "time against accuracy, $d = 2$", "time of a pass and its exponent")
    titles += (rf"each at its largest $N \leq {_power(largest)}$",)
    figures.letter((throughput, accuracy, scaling, ratios), titles)
    for ax in (throughput, accuracy, scaling, ratios):
        sns.despine(ax=ax)
    return figure


def _throughput(ax: Axes, rows: pd.DataFrame) -> None:
    plain = rows[(rows["d"] == 2) & (rows["dtype"] == "float64") & (rows["threads"] == 1)]
    for name, (_, colour, marker, dashes) in _CURVES.items():
        own = plain[(plain["contender"] == name) & (plain["part"] == "throughput")].sort_values("n")
        ax.plot(own["n"], own["pairs_per_second"], marker=marker, color=colour, linestyle=dashes, zorder=3)
        live = plain[(plain["contender"] == name) & (plain["part"] == "live")]
        ax.plot(live["n"], live["pairs_per_second"], marker, color=colour, markerfacecolor="white", markersize=5, zorder=2)
    drawn = [style for name, style in _CURVES.items() if (plain["contender"] == name).any()]
    handles = [Line2D([], [], color=c, marker=m, linestyle=s, label=label) for label, c, m, s in drawn]
    handles.append(Line2D([], [], color="0.3", marker="o", markerfacecolor="white", linestyle="none", label="on this machine"))
    ax.legend(handles=handles, ncols=2, **_ABOVE)
    for which in "xy":
        figures.log_axis(ax, which, 9)
    ax.set(xlabel="$N$", ylabel="pairs of points per second (s$^{-1}$)")


def _accuracy(ax: Axes, rows: pd.DataFrame) -> None:
    """The largest N of each kernel in the plane, at Silverman's bandwidth, that the tree did too, and of the Laplace kernel."""
    rows = rows[(rows["d"] == 2) & (rows["bandwidth"] > 0.02)]
    handles = []
    for kernel, dashes in figures.KERNEL_DASHES.items():
        of_kernel = rows[rows["kernel"] == kernel]
        done = of_kernel[of_kernel["contender"].str.startswith("scikit-learn")] if kernel == "gaussian" else of_kernel
        if not len(done):
            continue
        n = int(done["n"].max())
        handles.append(Line2D([], [], color="0.3", linestyle=dashes, label=f"{figures.kernel_title(kernel)}, $N = {_power(n)}$"))
        for name, (_, colour, marker) in _ENGINES.items():
            own = of_kernel[(of_kernel["contender"] == name) & (of_kernel["n"] == n)].sort_values("rtol")
            if name == passes.BASE:  # exact to rounding at any time
                for seconds in own["seconds"]:
                    ax.axhline(seconds, color=colour, linestyle=dashes, linewidth=0.8)
            else:
                ax.plot(own["error"].clip(lower=1e-16), own["seconds"], marker=marker, color=colour, linestyle=dashes)
    shown = [_ENGINES[name] for name in _ENGINES if (rows["contender"] == name).any()]
    handles += [Line2D([], [], color=c, marker="" if label == "direct" else m, label=label) for label, c, m in shown]
    ax.legend(handles=handles, ncols=2, **_ABOVE)
    for which in "xy":
        figures.log_axis(ax, which, 9)
    ax.invert_xaxis()
    ax.set(xlabel="largest relative error of $S_0$", ylabel="time of a pass (s)")


def _power(n: int) -> str:
    exponent = int(np.floor(np.log10(n)))
    lead = round(n / 10**exponent, 3)
    return f"10^{exponent}" if lead == 1 else rf"{lead:g} \cdot 10^{exponent}"


def _scaling(ax: Axes, rows: pd.DataFrame) -> None:
    scaling, fits = rows[rows["part"] == "scaling"], rows[rows["part"] == "exponent"]
    for (name, d), own in scaling.groupby(["contender", "d"], sort=False):
        label, colour, marker = _ENGINES[name]
        fit = fits[(fits["contender"] == name) & (fits["d"] == d)]["exponent"]
        slope = f": {fit.iloc[0]:.2f}" if len(fit) else ""
        kernel, rtol = figures.kernel_title(own["kernel"].iloc[0]), own["rtol"].iloc[0]
        accuracy = f", $10^{{{round(np.log10(rtol))}}}$" if np.isfinite(rtol) else ""
        face = colour if d == 2 else "white"
        ax.plot(
            own["n"],
            own["seconds"],
            marker=marker,
            color=colour,
            markerfacecolor=face,
            linestyle="-" if d == 2 else "--",
            label=f"{label}, {kernel}, $d = {d}${accuracy}{slope}",
        )
    for which in "xy":
        figures.log_axis(ax, which, 9)
    ax.legend(**_ABOVE)
    ax.set(xlabel="$N$", ylabel="time of a pass (s)")


def _ratios(ax: Axes, rows: pd.DataFrame) -> int:
    """Draws them; returns the largest N that is looked at."""
    rows = rows[(rows["contender"] != passes.BASE) & (rows["n"] <= 10_000)]
    usual = rows[(rows["d"] == 2) & (rows["dtype"] == "float64") & (rows["threads"] == 1)].sort_values("n")
    slowest = usual.groupby("contender")["times_slower"].last().sort_values(ascending=False)
    names = {name: k for k, name in enumerate(slowest.index)}
    for k, ((d, dtype, threads), marker) in enumerate(zip(_CASES, _CASE_MARKS, strict=True)):
        own = rows[(rows["d"] == d) & (rows["dtype"] == dtype) & (rows["threads"] == threads) & rows["contender"].isin(names)]
        if own.empty:
            continue
        last = own.sort_values("n").groupby("contender").last()
        y = np.array([names[name] for name in last.index]) + 0.18 * (1.5 - k)
        spread = np.abs(last[["times_slower_low", "times_slower_high"]].to_numpy().T - last["times_slower"].to_numpy())
        label = f"$d = {d}$, {dtype}" + (f", {threads} threads" if threads > 1 else "")
        ax.errorbar(last["times_slower"], y, xerr=spread, fmt=marker, color=_P[(0, 1, 2, 4)[k]], elinewidth=0.7, label=label)
    ax.axvline(1.0, color="black", linewidth=0.6)
    ax.set_yticks(list(names.values()), [name.removeprefix("driftrates").lstrip(", ") for name in names])
    ax.tick_params(axis="y", length=0)
    ax.set(ylim=(-0.6, len(names) - 0.4), xlabel="times slower than the direct engine")
    figures.log_axis(ax, "x", 9)
    ax.legend(ncols=2, **{**_ABOVE, "bbox_to_anchor": (0.3, 1.09)})
    return int(rows["n"].max())
