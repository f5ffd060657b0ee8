"""Rates in N of the conservative flow (T4.5, C4.7, section 4.3): carriers along h = h(N), and the exponents along every path."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import seaborn as sns
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from driftrates import figures

_CARRIERS = {
    "mean_squared_speed": (r"$D_N$, time average", figures.PALETTE[0], "o"),
    "late_self_interaction": ("self-interaction, late", figures.PALETTE[1], "s"),
    "late_stein_drift": ("$S_N$, late", figures.PALETTE[2], "^"),
    "late_fisher": ("$F_N$, late", figures.PALETTE[4], "D"),
    "late_squared_speed": ("$D_N$, late", figures.PALETTE[5], "v"),
}
_OTHERS = {
    "mean_stein_drift": "$S_N$, time average",
    "mean_self_interaction": "self-interaction, time average",
    "quadrature_gap": "$|S_N - F_N|$, late",
    "late_entropy_growth": r"$\mathrm{d}(H_N / N) / \mathrm{d}t$, late",
    "entropy_minimum": "$H_N / N$, minimum",
}
_PATHS = {"diagonal": r"$h \propto N^{-1/(d+4)}$", "fixed": "$h$ fixed", "optimal": "$h = h^*$ of (26)"}


@figures.styled
def plot(data: Mapping[str, xr.Dataset]) -> Figure:
    """Above one panel per Dataset of `rates.measure_rates`: carriers against N; below the exponents by path, carrier and dimension."""
    figure = Figure(figsize=(figures.DOUBLE, 5.7), layout="constrained")
    figure.get_layout_engine().set(hspace=0.04)
    above, below = figure.subfigures(2, 1, height_ratios=[2.5, 3.2])
    panels = above.subplots(1, len(data), sharey=True, squeeze=False)[0]
    seen = np.concatenate([_carriers(ax, ds) for ax, ds in zip(panels, data.values(), strict=True)])
    # An interval over replicates may reach below 0.
    panels[0].set(ylim=(seen.min() / 3, seen.max() * 4))
    panels[0].set(ylabel="carrier of the rate (time$^{-1}$)")
    handles = [Line2D([], [], color=colour, marker=marker, label=label) for label, colour, marker in _CARRIERS.values()]
    handles += [
        Line2D([], [], color="0.4", marker="o", markerfacecolor="white", linestyle="none", label="minus a negative mean"),
        Line2D([], [], color="black", linestyle="--", label="exponent of C4.7, $-2/(d+4)$"),
    ]
    above.legend(handles=handles, loc="outside lower center", ncols=4, columnspacing=1.4)
    rows = below.subplots(1, len(_PATHS), sharex=True, sharey=True)
    colours = sns.color_palette("viridis", len(data) + 1)
    for ax, path in zip(rows, _PATHS, strict=True):
        _exponents(ax, path, list(data.values()), colours)
    seen = np.concatenate([[*ds["slope"].values.ravel(), *ds["predicted"].values, 0.0] for ds in data.values()])
    # An interval that leaves the panel is cut: its carrier follows no power law.
    rows[0].set(xlim=(np.nanmin(seen) - 0.2, np.nanmax(seen) + 0.2), ylim=(len(_CARRIERS) + len(_OTHERS) - 0.5, -0.5))
    names = {**{name: label for name, (label, *_) in _CARRIERS.items()}, **_OTHERS}
    rows[0].set_yticks(range(len(names)), names.values())
    handles = [
        Line2D([], [], color=c, marker="o", label=f"$d = {ds.attrs['dimension']}$") for ds, c in zip(data.values(), colours, strict=False)
    ]
    handles += [
        Line2D([], [], color="0.4", linewidth=0.9, label="BCa interval"),
        Patch(color="0.4", alpha=0.35, linewidth=0, label="percentile interval"),
        Line2D([], [], color="black", marker="|", markersize=6, linestyle="none", label="exponent of C4.7"),
    ]
    below.legend(handles=handles, loc="outside lower center", ncols=len(handles), columnspacing=1.4)
    figures.letter([*panels, *rows], [*(f"$d = {ds.attrs['dimension']}$" for ds in data.values()), *_PATHS.values()])
    sns.despine(fig=figure)
    for ax in rows:
        sns.despine(ax=ax, left=True)
        ax.tick_params(axis="y", length=0)
    return figure


def _carriers(ax: Axes, ds: xr.Dataset) -> np.ndarray:
    """Absolute means over replicates that were drawn."""
    sizes = ds["n_particles"].values
    drawn = []
    for name, (_, colour, marker) in _CARRIERS.items():
        values = ds[name].values if "bandwidth" not in ds[name].dims else np.stack([ds[name].values[k, k] for k in range(len(sizes))])
        mean = values.mean(1)
        sns.lineplot(
            x=np.repeat(sizes, values.shape[1]),
            y=values.ravel(),
            errorbar=("ci", 95),
            seed=0,
            ax=ax,
            color=colour,
            linewidth=0,
            legend=False,
        )
        for sign, face in ((1, colour), (-1, "white")):
            seen = sign * mean > 0
            ax.plot(sizes[seen], sign * mean[seen], marker, color=colour, markerfacecolor=face, markersize=3, markeredgewidth=0.8, zorder=3)
        fit = ds.sel(carrier=name, path="diagonal")
        ax.plot(sizes, np.exp(float(fit["intercept"])) * sizes ** float(fit["slope"]), color=colour, linewidth=0.9)
        drawn.append(np.abs(mean))
    guide = (sizes / sizes[0]) ** float(ds["predicted"].sel(path="diagonal"))
    ax.plot(sizes, 2.0 * max(values[0] for values in drawn) * guide, color="black", linestyle="--", linewidth=0.9)
    figures.log_axis(ax, "x")
    figures.log_axis(ax, "y")
    ax.set(xlabel="$N$")
    return np.concatenate(drawn)


def _exponents(ax: Axes, path: str, tables: list[xr.Dataset], colours: Any) -> None:
    names = [*_CARRIERS, *_OTHERS]
    offsets = np.linspace(-0.3, 0.3, len(tables)) if len(tables) > 1 else np.zeros(1)
    for ds, colour, offset in zip(tables, colours, offsets, strict=False):
        fits = ds.sel(path=path, carrier=names)
        y = np.arange(len(names)) + offset
        ax.hlines(y, *fits["percentile"].values.T, color=colour, alpha=0.35, linewidth=2.6)
        ax.hlines(y, *fits["bca"].values.T, color=colour, linewidth=0.9)
        ax.plot(fits["slope"], y, "o", color=colour, markersize=2.4)
        ax.plot(np.full(len(y), float(fits["predicted"])), y, "|", color="black", markersize=3.4, markeredgewidth=0.8)
    for k in range(0, len(names), 2):
        ax.axhspan(k - 0.5, k + 0.5, color="0.95", linewidth=0, zorder=-1)
    ax.axvline(0.0, color="0.8", linewidth=0.6, zorder=0)
    if not any(np.isfinite(ds["slope"].sel(path=path)).any() for ds in tables):
        ax.text(0.98, 0.5, "no power law:\nthe path\nleaves the grid", transform=ax.transAxes, ha="right", va="center")
    ax.set(xlabel="exponent of $N$")
