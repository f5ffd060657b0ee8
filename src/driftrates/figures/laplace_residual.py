"""R6.10 and X12: delta against the mismatch of local radii, delta, E# and D_lap for long times, and what is left of D_lap / delta."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import seaborn as sns
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from driftrates import figures

_INTEGRALS = {
    "residual": (r"$\delta$", figures.PALETTE[3], "o"),
    "energy": ("$E^\\#$", figures.PALETTE[0], "s"),
    "speed": (r"$D_\mathrm{lap}$", figures.PALETTE[2], "^"),
}
_DEFORMATIONS = {
    "scale": ("scale", figures.PALETTE[0]),
    "tails": ("heavy tails", figures.PALETTE[1]),
    "mass": ("misplaced mass", figures.PALETTE[4]),
}
_STARTS = {"wide": "-", "near": "--", "one_mode": ":"}
_WORDS = {"wide": "wide start", "near": "start at the data", "one_mode": "start in one mode"}


@figures.styled
def plot(data: Mapping[str, xr.Dataset]) -> Figure:
    """A row per dimension of `laplace.mismatch.measure_mismatch`: frozen clouds, integrals in time, top particle, D_lap / delta by case."""
    m = data["mismatch"]
    dimensions = m["dimension"].values.tolist()
    figure = Figure(figsize=(figures.DOUBLE, 1.85 * len(dimensions) + 0.75), layout="constrained")
    rows = figure.subplots(len(dimensions), 4, squeeze=False, sharex="col", sharey="col")
    colours = figures.size_colours(np.unique(m["n_particles"].values).tolist())
    titles = []
    for row, d in zip(rows, dimensions, strict=True):
        at = m.sel(dimension=d)
        _frozen(row[0], at)
        flows = at.sel(case=(at["field"] == "leave_one_out") & (at["bandwidth"] == m.attrs["bandwidth"]))
        wide = flows.sel(case=(flows["start"] == "wide") & (flows["n_particles"] == m.attrs["n_data"])).isel(case=0)
        _in_time(row[1], wide)
        _top(row[2], wide)
        _ratio(row[3], flows, colours)
        n = int(wide["n_particles"])
        titles += [f"$d = {d}$, frozen", f"$N = M = {n}$", f"$N = M = {n}$", r"every start, $N$"]
    for ax, label in zip(rows[-1], ("mismatch", "$t$", "$t$", "$t$"), strict=True):
        ax.set(xlabel=label)
    for row in rows:
        for ax, label in zip(
            row, (r"$\delta$, $E^\#$ (length$^2$)", "length$^2$", "share of the top particle", r"$D_\mathrm{lap}/\delta$"), strict=True
        ):
            ax.set(ylabel=label)
    figures.letter(rows.flat, titles)
    figure.legend(handles=_legend(colours), loc="outside lower center", ncols=6, columnspacing=1.2)
    sns.despine(fig=figure)
    return figure


def _frozen(ax: Axes, at: xr.Dataset) -> None:
    for kind in at["deformation"].values:
        used = at.sel(deformation=kind).isel(level=slice(1, None))
        x, colour = used["mismatch"].values, _DEFORMATIONS[str(kind)][1]
        for name, dashes, marker in (("residual", "-", "o"), ("energy", "--", "none")):
            ax.plot(x, used[f"frozen_{name}"].median("replicate"), dashes, marker=marker, color=colour, markersize=2.4, linewidth=0.9)
    x = at["mismatch"].isel(level=[1, -1]).min("deformation").values
    floor = float(at["frozen_residual"].isel(level=1).median("replicate").min())
    ax.plot(x, 0.2 * floor * (x / x[0]) ** 2, color="black", linestyle=":", linewidth=0.9)
    figures.log_axis(ax, "x", 4)
    figures.log_axis(ax, "y", 6)


def _in_time(ax: Axes, case: xr.Dataset) -> None:
    time = case["time"].values
    for name, (_, colour, marker) in _INTEGRALS.items():
        values = case[name].transpose("replicate", "time").values
        ax.fill_between(time, values.min(0), values.max(0), color=colour, alpha=0.15, linewidth=0)
        ax.plot(time, np.median(values, axis=0), color=colour, marker=marker, markersize=2, linewidth=0.9)
    figures.log_axis(ax, "x", 4)
    figures.log_axis(ax, "y", 6)


def _top(ax: Axes, case: xr.Dataset) -> None:
    time, share = case["time"].values, case["top_share"].transpose("replicate", "time").values
    colour = _INTEGRALS["speed"][1]
    ax.plot(time, share.T, color=colour, alpha=0.25, linewidth=0.6)
    ax.plot(time, np.median(share, axis=0), color=colour, marker="^", markersize=2)
    ax.axhline(1 / int(case["n_particles"]), color="black", linestyle="-.", linewidth=0.8)
    figures.log_axis(ax, "x", 4)
    ax.set(ylim=(0, 1.03))


def _ratio(ax: Axes, flows: xr.Dataset, colours: Mapping[int, tuple[float, float, float]]) -> None:
    time = flows["time"].values
    for c in range(flows.sizes["case"]):
        case = flows.isel(case=c)
        ratio = (case["speed"] / case["residual"]).median("replicate")
        ax.plot(time, ratio, color=colours[int(case["n_particles"])], linestyle=_STARTS[str(case["start"].item())], linewidth=0.9)
    energy = (flows["energy"] / flows["residual"]).transpose("case", "replicate", "time").values.reshape(-1, len(time))
    ax.fill_between(time, energy.min(0), energy.max(0), color=_INTEGRALS["energy"][1], alpha=0.2, linewidth=0)
    figures.log_axis(ax, "x", 4)
    figures.log_axis(ax, "y", 6)


def _legend(colours: Mapping[int, tuple[float, float, float]]) -> list[Line2D]:
    handles = [Line2D([], [], color=c, marker="o", markersize=2.4, label=text) for text, c in _DEFORMATIONS.values()]
    handles += [
        Line2D([], [], color="0.4", marker="o", markersize=2.4, label=r"$a, e$: $\delta$"),
        Line2D([], [], color="0.4", linestyle="--", label=r"$a, e$: $E^\#$"),
        Line2D([], [], color="black", linestyle=":", label="mismatch$^2$"),
    ]
    handles += [Line2D([], [], color=c, marker=marker, markersize=2.4, label=text) for text, c, marker in _INTEGRALS.values()]
    handles.append(Line2D([], [], color=_INTEGRALS["speed"][1], alpha=0.4, linewidth=0.6, label="$c, g$: one replicate"))
    handles.append(Line2D([], [], color="black", linestyle="-.", linewidth=0.8, label="$1/N$"))
    handles.append(Line2D([], [], color=_INTEGRALS["energy"][1], alpha=0.3, linewidth=5, label=r"$E^\#/\delta$, range"))
    handles += [Line2D([], [], color=c, label=f"$N = {n}$") for n, c in colours.items()]
    handles += [Line2D([], [], color="0.4", linestyle=dashes, label=_WORDS[name]) for name, dashes in _STARTS.items()]
    return handles
