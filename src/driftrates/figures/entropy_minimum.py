"""The minimum of H_N / N and its linear rise (X6), and how tight T4.1 is up to every horizon."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import seaborn as sns
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from driftrates import figures

_TITLES = ("fall and rise", "linear rise", "parts of T4.1", "its tightness")


@figures.styled
def plot(data: Mapping[str, xr.Dataset]) -> Figure:
    """One row per Dataset of `entropy.measure_entropy`: H_N(t)/N on logarithmic and on linear axes, the parts of T4.1, their ratio."""
    figure = Figure(figsize=(figures.DOUBLE, 0.6 + 1.55 * len(data)), layout="constrained")
    axes = figure.subplots(len(data), len(_TITLES), sharex="col", squeeze=False)
    colours = figures.size_colours(np.unique(np.concatenate([ds["n_particles"].values for ds in data.values()])).tolist())
    for row, ds in zip(axes, data.values(), strict=True):
        ds = ds.isel(bandwidth=0).sel(time=slice(np.nextafter(0.0, 1.0), None))
        for n in ds["n_particles"].values.tolist():
            _entropy(row[0], row[1], ds.sel(n_particles=n), colours[n])
            _bound(row[2], row[3], ds.sel(n_particles=n), colours[n])
        row[2].plot(ds["time"], ds["initial_kl"] / ds["time"], color="black", linestyle="-.")
        row[3].axhline(1.0, color="0.8", linewidth=0.6, zorder=0)
        for ax in row[[0, 2, 3]]:
            figures.log_axis(ax, "x")
        for ax in row[[0, 2]]:
            figures.log_axis(ax, "y")
        for ax, label in zip(row, ("$H_N(t) / N$", "$H_N(t) / N$", "rate (time$^{-1}$)", "left side / right side"), strict=True):
            ax.set(ylabel=label)
        row[1].set(xlim=(0.0, None), ylim=(0.0, None))
        row[3].set(ylim=(0.0, 1.15))
    for ax, label in zip(axes[-1], ("$t$ (time)", "$t$ (time)", "$T$ (time)", "$T$ (time)"), strict=True):
        ax.set(xlabel=label)
    dimensions = [f"$d = {ds.attrs['dimension']}$" for ds in data.values()]
    figures.letter(axes.flat, [f"{dimensions[0]}, {title}" for title in _TITLES] + [d for d in dimensions[1:] for _ in _TITLES])
    _legend(figure, colours)
    sns.despine(fig=figure)
    return figure


def _entropy(logarithmic: Axes, linear: Axes, ds: xr.Dataset, colour: Any) -> None:
    time, minimum = ds["time"].values, int(ds["entropy"].argmin("time"))
    for ax in (logarithmic, linear):
        ax.fill_between(time, ds["entropy_low"], ds["entropy_high"], color=colour, alpha=0.25, linewidth=0)
        ax.plot(time, ds["entropy"], color=colour)
    marker = {"markersize": 3.5, "markeredgecolor": "white", "markeredgewidth": 0.5, "zorder": 4}
    logarithmic.plot(time[minimum], ds["entropy"][minimum], "o", color=colour, **marker)
    # The mean of self - S over the second half of the horizon, from the time averages.
    half = int(np.searchsorted(time, time[-1] / 2))
    budget = (time * (ds["mean_self_interaction"] - ds["mean_stein_drift"])).values
    slope = (budget[-1] - budget[half]) / (time[-1] - time[half])
    linear.plot(time, float(ds["entropy"][-1]) + slope * (time - time[-1]), color="black", linestyle=":", linewidth=0.8, zorder=3)


def _bound(parts: Axes, ratio: Axes, ds: xr.Dataset, colour: Any) -> None:
    time, left, error = ds["time"], ds["mean_stein_drift"], 2 * ds["mean_stein_drift_error"]
    right = ds["initial_kl"] / time + ds["mean_self_interaction"]
    parts.plot(time, left, color=colour)
    parts.plot(time, ds["mean_self_interaction"], color=colour, linestyle="--")
    ratio.fill_between(time, (left - error) / right, (left + error) / right, color=colour, alpha=0.25, linewidth=0)
    ratio.plot(time, left / right, color=colour)
    ratio.axvline(time[int(ds["entropy"].argmin("time"))], color=colour, linestyle=":", linewidth=0.8, zorder=0)


def _legend(figure: Figure, colours: Mapping[int, Any]) -> None:
    lines = [Line2D([], [], color=colour, label=f"$N = {n}$") for n, colour in colours.items()]
    lines += [
        Line2D([], [], color="0.4", marker="o", linestyle=":", linewidth=0.8, markersize=3.5, label="minimum of $H_N / N$"),
        Line2D([], [], color="black", linestyle=":", linewidth=0.8, label=r"late self-interaction $-\ \mathbb{E}\,S_N$ as slope"),
        Line2D([], [], color="0.4", label=r"time average of $\mathbb{E}\,S_N$: left side"),
        Line2D([], [], color="black", linestyle="-.", label="$H_N(0) / (N T)$"),
        Line2D([], [], color="0.4", linestyle="--", label="time average of the self-interaction"),
    ]
    figure.legend(handles=lines, loc="outside lower center", ncols=4, columnspacing=1.4)
