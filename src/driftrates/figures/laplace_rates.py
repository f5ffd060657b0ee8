"""Section 6.6 and A6.2: carriers along h = h(N), distances with M separated, admissible steps, and what data atoms do to the integrator."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import seaborn as sns
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, LogLocator, NullFormatter, NullLocator

from driftrates import figures

_CARRIERS = {
    "root_energy": (r"$\sqrt{E^\sharp}$", figures.PALETTE[0], "o"),
    "root_residual": (r"$\sqrt{\delta}$", figures.PALETTE[3], "s"),
    "radius_gap": (r"$e_\rho$, $q^\sharp$-mean", figures.PALETTE[2], "^"),
    "largest_radius_gap": (r"$e_\rho$, largest", figures.PALETTE[1], "v"),
    "root_speed": (r"$\sqrt{D_\mathrm{lap}}$", figures.PALETTE[4], "D"),
}
_RULES = {
    "occupancy": r"$h \propto (\log N / N)^{1/d}$",
    "bias": r"$h \propto N^{-1/(d+4)}$",
    "fixed": "$h$ fixed",
}
_DASHES = {"occupancy": "-", "bias": "--", "fixed": ":"}
DRIFTS = {
    "conservative": ("conservative", figures.PALETTE[0], "o", "-"),
    "displacement, Gaussian": ("displacement, Gaussian", figures.PALETTE[9], "x", "--"),
    "displacement, Laplace": ("displacement, Laplace", figures.PALETTE[3], "s", "-"),
    "leave-one-out, Laplace": ("the same, leave-one-out", figures.PALETTE[1], "D", "-"),
    "sharp, Laplace": ("sharp, Laplace", figures.PALETTE[2], "^", "-"),
}
"""Title, colour, marker and dashes of the methods of `laplace.rates.METHODS`."""


@figures.styled
def plot(data: Mapping[str, xr.Dataset]) -> Figure:
    """Nine panels from the Dataset of `laplace.rates.measure_laplace_rates`."""
    (ds,) = data.values()
    figure = Figure(figsize=(figures.DOUBLE, 7.0), layout="constrained")
    top, middle, bottom = figure.subfigures(3, 1, height_ratios=[2.4, 2.35, 2.3])
    cases = {
        int(d): int(np.flatnonzero((ds["dimension"] == d).values & (ds["start"] == "target").values)[-1]) for d in ds["dimension"].values
    }
    first = top.subplots(1, len(cases), sharey=True, squeeze=False)[0]
    for ax, c in zip(first, cases.values(), strict=True):
        _along(ax, ds.isel(case=c))
    first[0].set(ylabel="carrier at the end (length)")
    handles = [Line2D([], [], color=colour, marker=marker, label=label) for label, colour, marker in _CARRIERS.values()]
    top.legend(handles=[*handles, Line2D([], [], color="black", linestyle="--", label="$h$")], loc="outside lower center", ncols=6)
    second = middle.subplots(1, 3)
    line, plane = cases[min(cases)], np.flatnonzero((ds["dimension"] == 2).values)
    _rules(second[0], ds.isel(case=line))
    _points(second[1], ds.isel(case=plane))
    _ejected(second[2], ds, cases)
    handles = [Line2D([], [], color="0.3", linestyle=_DASHES[k], label=title) for k, title in _RULES.items()]
    handles += [Line2D([], [], color="0.3", linewidth=3, alpha=0.3, label="the data themselves")]
    middle.legend(handles=handles, loc="outside lower center", ncols=4)
    third = bottom.subplots(1, 3)
    for ax, i in zip(third[:2], range(ds.sizes["step_dimension"]), strict=False):
        _steps(ax, ds.isel(step_dimension=i))
    _rejected(third[2], ds)
    handles = [Line2D([], [], color=c, marker=m, linestyle=s, label=t) for t, c, m, s in DRIFTS.values()]
    handles += [Line2D([], [], color="black", linestyle=":", label="$h^2$")]
    bottom.legend(handles=handles, loc="outside lower center", ncols=6, columnspacing=1.0)
    titles = [_case_title(ds.isel(case=c)) for c in cases.values()]
    titles += [f"rules, {_case_title(ds.isel(case=line))}", "$d = 2$, by $M$", "ejected particles"]
    titles += [f"step, $d = {int(d)}$, $N = {int(n)}$" for d, n in zip(ds["step_dimension"], ds["step_particles"], strict=True)]
    figures.letter([*first, *second, *third], [*titles, "steps at data atoms, $d = 1$"])
    sns.despine(fig=figure)
    return figure


def _case_title(case: xr.Dataset) -> str:
    points = int(case["points"])
    return f"$d = {int(case['dimension'])}$, " + (f"$M = {points}$" if points else "smoothed law")


def plain_log(ax: Axes, which: str) -> None:
    """A logarithmic axis "x" or "y" of less than about two decades, with labels at 1, 2, 5 times powers of ten."""
    axis = ax.xaxis if which == "x" else ax.yaxis
    ax.set(**{f"{which}scale": "log"})
    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter("{x:g}")
    axis.set_minor_formatter(NullFormatter())


def _sizes(ax: Axes, sizes: np.ndarray) -> None:
    ax.set_xscale("log")
    ax.xaxis.set_major_locator(FixedLocator(sizes))
    ax.xaxis.set_major_formatter("{x:g}")
    ax.xaxis.set_minor_locator(NullLocator())
    ax.set(xlabel="$N$")


def _along(ax: Axes, case: xr.Dataset) -> None:
    path, h = case.sel(rule="occupancy"), case["bandwidth"].sel(rule="occupancy").values
    for carrier, (_, colour, marker) in _CARRIERS.items():
        values = path[carrier].values
        ax.plot(np.repeat(h, values.shape[1]), values.ravel(), marker, color=colour, markersize=2, markeredgewidth=0, alpha=0.35)
        middle = np.median(values, axis=1)
        ax.plot(h, middle, marker, color=colour, markersize=3)
        slope = float(path["exponent"].sel(carrier=carrier, against="1/h", bound="value"))
        ax.plot(h, np.exp(np.log(middle).mean() - slope * (np.log(h) - np.log(h).mean())), color=colour, linewidth=0.9)
    ax.plot(h, 1.7 * h, color="black", linestyle="--", linewidth=0.9)
    plain_log(ax, "x")
    figures.log_axis(ax, "y", decades=7)
    ax.set(xlabel=r"$h \propto (\log N / N)^{1/d}$ (length)")


def _band(ax: Axes, x: np.ndarray, values: np.ndarray, colour: object, dashes: str) -> None:
    """Medians over replicates with all replicates between thin bounds."""
    ax.fill_between(x, values.min(1), values.max(1), color=colour, alpha=0.15, linewidth=0)
    ax.plot(x, np.median(values, axis=1), color=colour, linestyle=dashes, marker="o", markersize=2.5)


def _rules(ax: Axes, case: xr.Dataset) -> None:
    n = case["n_particles"].values
    for rule, dashes in _DASHES.items():
        _band(ax, n, case["distance"].sel(rule=rule).values, figures.PALETTE[0], dashes)
    _sizes(ax, n)
    plain_log(ax, "y")
    ax.set(ylabel="$W_2$ to held-out data (length)")


def _points(ax: Axes, cases: xr.Dataset) -> None:
    n = cases["n_particles"].values
    for (c, m), colour in zip(enumerate(cases["points"].values), sns.color_palette("viridis", cases.sizes["case"] + 1), strict=False):
        for rule in ("occupancy", "fixed"):
            ax.plot(n, cases["distance"].isel(case=c).sel(rule=rule).median("replicate"), color=colour, linestyle=_DASHES[rule])
        ax.axhline(float(cases["data_distance"].isel(case=c).mean()), color=colour, linewidth=3, alpha=0.3)
        ax.plot([], [], color=colour, label=f"$M = {m}$")
    _sizes(ax, n)
    plain_log(ax, "y")
    ax.legend(loc="upper right")
    ax.set(ylabel="sliced $W_2$ (length)")


def _ejected(ax: Axes, ds: xr.Dataset, cases: dict[int, int]) -> None:
    n = ds["n_particles"].values
    for (d, c), colour in zip(cases.items(), (figures.PALETTE[0], figures.PALETTE[2], figures.PALETTE[3]), strict=False):
        for rule, dashes in _DASHES.items():
            share = ds["ejected"].isel(case=c, time=-1).sel(rule=rule).mean("replicate")
            ax.plot(n, 100 * share, color=colour, linestyle=dashes, label=f"$d = {d}$" if rule == "occupancy" else None)
    _sizes(ax, n)
    ax.legend(loc="upper left")
    ax.set(ylabel="beyond 6 deviations (%)", ylim=(-0.05, None))


def _steps(ax: Axes, steps: xr.Dataset) -> None:
    h = steps["step_bandwidth"].values
    for name, (_, colour, marker, dashes) in DRIFTS.items():
        values = steps["stable_step"].sel(drift=name).values
        ax.plot(h, np.median(values, axis=1), color=colour, marker=marker, linestyle=dashes)
        ax.plot(np.repeat(h, values.shape[1]), values.ravel(), marker, color=colour, markersize=1.8, alpha=0.35)
    ax.plot(h, 0.6 * h**2, color="black", linestyle=":", linewidth=0.9)
    plain_log(ax, "x")
    figures.log_axis(ax, "y")
    ax.set(xlabel="$h$ (length)", ylabel=r"largest stable $\eta$ (time)")


def _rejected(ax: Axes, ds: xr.Dataset) -> None:
    line = ds.isel(flight=np.flatnonzero((ds["flight_dimension"] == 1).values))
    labels = []
    for k in range(line.sizes["flight"]):
        flight = line.isel(flight=k)
        labels.append(f"{flight['flight_field'].item()}\n$N = {int(flight['flight_particles'])}$, $M = {int(flight['flight_points'])}$")
        for place, colour, shift in (("at_atom", figures.PALETTE[3], -0.15), ("elsewhere", figures.PALETTE[0], 0.15)):
            at = flight.sel(place=place)
            if float(at["trials"]) > 0:
                ax.hlines(k + shift, *(100 * at["rejected_share"].values), color=colour, linewidth=1.2)
                ax.plot(100 * float(at["rejected"] / at["trials"]), k + shift, "o", color=colour, markersize=3)
    ax.set_yticks(range(len(labels)), labels, fontsize=5.5)
    ax.set(xlabel="rejected steps (%)", ylim=(len(labels) - 0.5, -0.5))
    ax.plot([], [], "o", color=figures.PALETTE[3], markersize=3, label="past an atom")
    ax.plot([], [], "o", color=figures.PALETTE[0], markersize=3, label="elsewhere")
    ax.legend(loc="lower right", fontsize=5.5)
