"""B5 and B6 (a): decay of modes and of KL under the drift and the W2 flow of the smoothed KL, and the proximal steps of two functionals."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import seaborn as sns
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from driftrates import figures

COLOURS = {"drift": figures.PALETTE[0], "w2_flow": figures.PALETTE[1]}
_NAMES = {"drift": "drift, $u = V$", "w2_flow": r"W2 flow, $u = K_h * V$"}
_EXPONENTS = {"drift": -0.5, "w2_flow": -1.0}
_TITLES = {"line": "KL, $d = 1$", "plane": "KL, $d = 2$", "satellite": "KL, light component"}
_FUNCTIONALS = {"smoothed_kl": ("s", r"JKO, KL$(q_h \| p_h)$"), "frozen_potential": ("^", r"frozen $\log(q_h / p_h)$")}
_SOLVERS = {"mean_field": ("o", 0), "particles": ("x", 2)}
_MARK = {"markersize": 3.0, "markerfacecolor": "none", "markeredgewidth": 0.7}


@figures.styled
def plot(data: Mapping[str, xr.Dataset]) -> Figure:
    """Decay, rates and steps of one Dataset of `smoothed_kl.measure_gradient_flows` above, KL along both flows below."""
    ds = data["gradient_flows"]
    figure = Figure(figsize=(figures.DOUBLE, 5.0), layout="constrained")
    top, bottom = figure.subplots(2, 3)
    _decay(top[0], ds)
    _rates(top[1], ds)
    _steps(top[2], ds)
    for ax, case in zip(bottom, ds["case"].values, strict=True):
        for flow, colour in COLOURS.items():
            at = ds.sel(flow=flow, case=case)
            ax.plot(ds["output_time"], at["kl"], color=colour)
            integrated = at["kl"].isel(output=0) + at["kl_integral"]
            ax.plot(ds["output_time"][::2], integrated[::2], ".", color="black", markersize=2.5)
        figures.log_axis(ax, "y")
        ax.set(xlabel="time (length$^2$)")
    bottom[0].set(ylabel=r"KL$(q_h \| p_h)$")
    handles = [Line2D([], [], color=colour, label=_NAMES[flow]) for flow, colour in COLOURS.items()]
    handles += [
        Line2D([], [], color="0.4", marker="o", linestyle="none", label="mean field", **_MARK),
        Line2D([], [], color="0.4", marker="x", linestyle="none", label="particles", **_MARK),
        Line2D([], [], color="0.4", linewidth=0.9, label="closed form (a, b)"),
        Line2D([], [], color="black", marker=".", linestyle="none", markersize=3, label="dissipation integrated"),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), columnspacing=1.1)
    titles = ["decay of modes", "decay rates", "proximal against explicit"]
    figures.letter([*top, *bottom], [*titles, *(_TITLES[str(case)] for case in ds["case"].values)])
    sns.despine(fig=figure)
    return figure


def _decay(ax: Axes, ds: xr.Dataset) -> None:
    at = ds.isel(bandwidth=0)
    h, last = float(at["bandwidth"]), int(np.isfinite(at["rate"].isel(flow=0, solver=0, replicate=0)).sum())
    times = at["decay_time"].values[1:]
    # A slow mode, the fastest of the drift, and the last one, where the two flows differ most.
    shown = dict(zip(sorted({1, round(np.sqrt(2) / h), last}), ("-", "--", ":"), strict=False))
    for k, dashes in shown.items():
        for flow, colour in COLOURS.items():
            rate = k**2 * np.exp(_EXPONENTS[flow] * (h * k) ** 2)
            ax.plot(times, np.exp(-rate * times), color=colour, linestyle=dashes, linewidth=0.9)
            for solver, (marker, first) in _SOLVERS.items():
                y = at["decay"].sel(flow=flow, solver=solver).isel(mode=k - 1).values[1:]
                ax.plot(times[first::4], y[first::4], marker, color=colour, **_MARK)
    figures.log_axis(ax, "x")
    ax.set(xlabel="time (length$^2$)", ylabel="modulus of the mode over its start", ylim=(0, 1.05))
    lines = [Line2D([], [], color="0.4", linestyle=dashes, label=f"$k = {k}$") for k, dashes in shown.items()]
    ax.legend(handles=lines, loc="lower left", title=f"$h = {h:g}$")


def _rates(ax: Axes, ds: xr.Dataset) -> None:
    k = np.arange(1, ds.sizes["mode"] + 1)
    for flow, colour in COLOURS.items():
        for solver, (marker, _) in _SOLVERS.items():
            rate = ds["rate"].sel(flow=flow, solver=solver).mean("replicate").values
            x, y = (ds["bandwidth"].values[:, None] * k) ** 2, rate / k**2
            kept = np.isfinite(y)
            ax.plot(x[kept], y[kept], marker, color=colour, **_MARK)
        line = np.linspace(0.0, float(np.max(x[kept])), 2)
        ax.plot(line, np.exp(_EXPONENTS[flow] * line), color=colour, linewidth=0.9)
        slope = f"slope ${float(ds['exponent'].sel(flow=flow, solver='particles')):.4f}$"
        place = {"x": 0.96, "y": 0.86, "ha": "right"} if flow == "drift" else {"x": 0.06, "y": 0.1, "ha": "left"}
        ax.text(s=slope, color=colour, transform=ax.transAxes, **place)
    figures.log_axis(ax, "y")
    ax.set(xlabel="$h^2 k^2$", ylabel=r"rate / $k^2$")


def _steps(ax: Axes, ds: xr.Dataset) -> None:
    at = ds.sel(dimension=2)
    step = ds["step"].values
    for functional, (marker, _) in _FUNCTIONALS.items():
        for flow, colour in COLOURS.items():
            distance = at["step_distance"].sel(functional=functional, flow=flow).mean("step_replicate").values
            ax.plot(step, distance, marker=marker, color=colour, linewidth=0.8, **_MARK)
    figures.log_axis(ax, "x")
    figures.log_axis(ax, "y")
    ax.set(xlabel=r"$\eta / h^2$", ylabel=r"$|x_\mathrm{prox} - (x + \eta u)|$, $d = 2$ (length)")
    handles = [
        Line2D([], [], color="0.4", marker=marker, linestyle="none", label=label, **_MARK) for marker, label in _FUNCTIONALS.values()
    ]
    ax.legend(handles=handles, loc="upper left")
    ax.text(0.3, 0.68, "order 1", transform=ax.transAxes, ha="right")
    ax.text(0.55, 0.28, "order 2", transform=ax.transAxes, ha="left")
