"""B4: convergence times at fixed and annealed bandwidths against Kmax, damping of every mode, and particles toward fine mixtures."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import seaborn as sns
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from driftrates import figures

_MARKERS = {"mean field": "o", "mean field, target not uniform": "x", "particles": "s"}
_BLUES, _REDS = sns.color_palette("Blues_d", 4), sns.color_palette("YlOrRd_d", 4)
_BEST, _ANY, _LONGEST = figures.PALETTE[2], "0.2", 2e3
_CONTENDERS = {
    "best fixed": (_BEST, "-", "o"),
    "best annealed": (_REDS[2], "-", "s"),
    "annealed to the width": (_REDS[1], "--", "D"),
    "swept": (figures.PALETTE[4], "-.", "^"),
    "reversed": ("0.5", ":", "v"),
}


@figures.styled
def plot(data: Mapping[str, xr.Dataset]) -> Figure:
    """`measure_annealing`: times against Kmax^2 and log Kmax, damping against k, W2 against the number of evaluations."""
    ds = data["annealing"]
    figure = Figure(figsize=(figures.DOUBLE, 5.8), layout="constrained")
    figure.get_layout_engine().set(hspace=0.05)
    above, below = figure.subfigures(2, 1, height_ratios=[1.3, 1.0])
    top, bottom = above.subplots(1, 3), below.subplots(1, ds.sizes["case"], sharey=True)
    colours = _colours(ds["schedule"].values.tolist())
    _times(top[0], ds, colours, [name for name in colours if name.startswith("fixed")])
    _times(top[1], ds, colours, [name for name in colours if not name.startswith("fixed")])
    _limits(top[0], top[1], ds)
    _damping(top[2], ds, colours)
    handles = [Line2D([], [], color=colour, label=_title(name)) for name, colour in colours.items()]
    handles += [Line2D([], [], color=_ANY, linestyle="--", label="any schedule"), Line2D([], [], color=_ANY, linestyle=":", label="bound")]
    handles += [Line2D([], [], color="0.3", marker=m, linestyle="none", fillstyle="none", label=name) for name, m in _MARKERS.items()]
    handles += [Line2D([], [], color=figures.PALETTE[4], marker="+", linestyle="none", label="4 sweeps, $r = 1$ (c)")]
    above.legend(handles=handles, loc="outside lower center", ncols=5, columnspacing=1.2)
    for ax, case in zip(bottom, ds["case"].values.tolist(), strict=True):
        _contest(ax, ds.sel(case=case))
    bottom[0].set_ylabel("$W_2$ to the target (length)")
    handles, labels = bottom[0].get_legend_handles_labels()
    below.legend(handles, labels, loc="outside lower center", ncols=4, columnspacing=1.2)
    titles = ["time, fixed $h$", "time, best fixed and annealed", "damping of mode $k$", *ds["case"].values.tolist()]
    figures.letter([*top, *bottom], titles)
    sns.despine(fig=figure)
    return figure


def _colours(schedules: list[str]) -> dict[str, tuple[float, float, float]]:
    fixed, annealed = ([name for name in schedules if name.startswith(kind)] for kind in ("fixed", "annealed"))
    return {**dict(zip(fixed, _BLUES[1:], strict=True)), "best fixed": _BEST, **dict(zip(annealed, _REDS, strict=False))}


def _title(schedule: str) -> str:
    kind, _, value = schedule.partition(" ")
    return schedule if kind == "best" else f"{kind}, ${'r' if kind == 'annealed' else 'h'} = {value}$"


def _times(ax: Axes, ds: xr.Dataset, colours: Mapping[str, tuple], schedules: list[str]) -> None:
    cutoff = ds["cutoff"].values
    for name in schedules:
        case = ds["convergence_time"].sel(schedule=name)
        line = case.sel(equation="linear").values
        ax.plot(cutoff[line < _LONGEST], line[line < _LONGEST], color=colours[name], linewidth=0.9)
        for equation, marker in _MARKERS.items():
            style = {"fillstyle": "none", "markersize": 3.2, "markeredgewidth": 0.7}
            ax.plot(cutoff, case.sel(equation=equation), marker, color=colours[name], **style)


def _limits(left: Axes, right: Axes, ds: xr.Dataset) -> None:
    """Axes on which the laws are straight: log T against Kmax^2, T against log Kmax."""
    fixed, annealed = ([name for name in ds["schedule"].values if name.startswith(kind)] for kind in ("fixed", "annealed"))
    times = ds["convergence_time"]
    seen = (times.sel(schedule=fixed) < _LONGEST).sel(equation=list(_MARKERS)).any("equation").sum("cutoff").max()
    reach = float(ds["cutoff"][int(seen)])
    left.set_xscale("function", functions=(lambda k: np.sign(k) * k**2, lambda u: np.sign(u) * np.sqrt(np.abs(u))))
    figures.log_axis(left, "y", 6)
    left.set_xticks([k for k in (4, 8, 12, 16) if k <= reach])
    left.set(xlim=(1, reach + 0.5), xlabel=r"$K_{\max}$ (length$^{-1}$), axis in $K_{\max}^2$", ylabel="convergence time (time)")
    right.plot(ds["cutoff"], ds["optimal_time"], "--", color=_ANY, linewidth=0.9)
    right.plot(ds["cutoff"], ds["lower_bound"], ":", color=_ANY, linewidth=0.9)
    right.set_xscale("log", base=2)
    right.xaxis.set_major_formatter("{x:g}")
    highest = float(times.sel(equation="linear", schedule=annealed).max())
    right.set(ylim=(0, 1.25 * highest), xlabel=r"$K_{\max}$ (length$^{-1}$), logarithmic", ylabel="convergence time (time)")


def _damping(ax: Axes, ds: xr.Dataset, colours: Mapping[str, tuple]) -> None:
    k = ds["wave_number"]
    for i, name in enumerate(ds["run"].values.tolist()):
        case, (rate, sweeps) = ds.sel(run=name), (float(ds[n][i]) for n in ("run_rate", "run_sweeps"))
        colour = colours.get(f"annealed {rate:g}", figures.PALETTE[4])
        if sweeps == 1:
            ax.plot(k, np.exp(-case["closed_form"]), color=colour, linewidth=0.9)
            ax.axhline(np.exp(-1 / rate), color=colour, linewidth=0.6, linestyle=(0, (1, 3)))
        style = {"fillstyle": "none", "markersize": 3.0 if sweeps == 1 else 4.5, "markeredgewidth": 0.7, "markevery": 2}
        ax.plot(k, np.exp(-case["nonlinear"]), "o" if sweeps == 1 else "+", color=colour, **style)
    for name in ds["rival"].values.tolist():
        ax.plot(k, np.exp(-ds["fixed_damping"].sel(rival=name)), color=colours[name], linewidth=0.9, linestyle="--")
    ax.axhline(np.exp(-float(ds.attrs["damping"])), color="k", linewidth=0.7)
    ax.text(float(k[0]), 1.2 * np.exp(-float(ds.attrs["damping"])), "target", fontsize=6, va="bottom")
    ax.set_xscale("log", base=2)
    ax.xaxis.set_major_formatter("{x:g}")
    figures.log_axis(ax, "y", 6)
    ax.set(xlabel="$k$ (length$^{-1}$)", ylabel="amplitude left", ylim=(2e-4, 1.6))


def _contest(ax: Axes, ds: xr.Dataset) -> None:
    n = ds["checkpoint"].values[1:]
    for i in np.flatnonzero(ds["candidate_kind"].values == "fixed"):
        ax.plot(n, ds["distance"][i, 1:], color="0.85", linewidth=0.7, label=None)
    for name, (colour, dashes, marker) in _CONTENDERS.items():
        mean = ds["contest"].sel(contender=name).mean("replicate")[1:]
        ax.plot(n, mean, dashes, marker=marker, color=colour, markersize=3.0, label=name)
        if name.startswith("best"):
            chosen = ds["choice"].sel(contender=name)[1:]
            half = [float(ds["distance_error"].sel(checkpoint=m)[int(i)]) for m, i in zip(n, chosen, strict=True)]
            ax.errorbar(n, mean, half, fmt="none", color=colour, elinewidth=0.7, capsize=1.5)
    ax.axhline(float(ds["sampling_distance"]), color="k", linestyle=":", linewidth=0.8, label="i.i.d. sample")
    ax.plot([], [], color="0.85", linewidth=0.7, label="every fixed $h$")
    figures.log_ticks(ax, n)
    ax.set_yscale("log")
    ax.set_yticks([0.02, 0.05, 0.1, 0.2, 0.5], ["0.02", "0.05", "0.1", "0.2", "0.5"])
    ax.yaxis.set_minor_locator(figures.LogLocator(numticks=1))
    ax.set_xlabel("evaluations")
