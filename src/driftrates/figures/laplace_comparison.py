"""Section 6.7 as a picture: W2 and MMD to held-out data against cost and h by method, and the clouds that they end in."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import seaborn as sns
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from driftrates import figures
from driftrates.figures.laplace_rates import DRIFTS, plain_log

_METRICS = {"w2": "$W_2$ to held-out data (length)", "mmd": "MMD to held-out data"}
_FLOORS = {"fresh": ("fresh points, as many as particles", ":"), "data": ("the data themselves", "--")}


@figures.styled
def plot(data: Mapping[str, xr.Dataset]) -> Figure:
    """Above W2 and MMD by evaluations at the best h, and the last W2 by h; below the last clouds of the first replicate over the data."""
    (ds,) = data.values()
    figure = Figure(figsize=(figures.DOUBLE, 4.7), layout="constrained")
    above, below = figure.subfigures(2, 1, height_ratios=[2.7, 2.0])
    panels = above.subplots(1, 3)
    for ax, (metric, label) in zip(panels, _METRICS.items(), strict=False):
        _against_cost(ax, ds, metric)
        ax.set(xlabel="evaluations of the field", ylabel=label)
    _against_bandwidth(panels[2], ds)
    handles = [Line2D([], [], color=c, linestyle=s, marker=m, label=t) for t, c, m, s in DRIFTS.values()]
    handles += [Line2D([], [], color="black", linestyle=s, linewidth=0.9, label=t) for t, s in _FLOORS.values()]
    above.legend(handles=handles, loc="outside lower center", ncols=4)
    clouds = below.subplots(1, len(DRIFTS), sharey=True)
    reach = 1.15 * float(np.abs(ds["data"]).max())
    for ax, name in zip(clouds, DRIFTS, strict=True):
        ax.plot(*ds["data"].values.T, "o", color="0.8", markersize=1.6, markeredgewidth=0)
        ax.plot(*ds["cloud"].sel(drift=name).values.T, "o", color=DRIFTS[name][1], markersize=2, markeredgewidth=0)
        figures.plane(ax, reach)
        if ax is not clouds[0]:
            ax.set(ylabel="")
    titles = [f"best $h$, {ds.attrs['particles']} particles", "the same", f"after {ds.attrs['evaluations']} evaluations"]
    figures.letter([*panels, *clouds], [*titles, *(title.replace(", ", ",\n") for title, *_ in DRIFTS.values())])
    sns.despine(fig=figure)
    return figure


def _floors(ax: Axes, ds: xr.Dataset, metric: str) -> None:
    for name, (_, dashes) in _FLOORS.items():
        ax.axhline(float(ds[f"floor_{metric}_{name}"].mean()), color="black", linestyle=dashes, linewidth=0.9, zorder=1)


def _against_cost(ax: Axes, ds: xr.Dataset, metric: str) -> None:
    for k, name in enumerate(ds["drift"].values.tolist()):
        at = ds.isel(drift=k, bandwidth=int(ds["best"][k]), checkpoint=slice(1, None))
        _, colour, marker, dashes = DRIFTS[name]
        ax.fill_between(
            at["checkpoint"], *at[f"{metric}_interval"].transpose("end", "checkpoint").values, color=colour, alpha=0.15, linewidth=0
        )
        ax.plot(at["checkpoint"], at[metric].mean("replicate"), color=colour, marker=marker, linestyle=dashes)
    _floors(ax, ds, metric)
    figures.log_axis(ax, "x")
    plain_log(ax, "y")


def _against_bandwidth(ax: Axes, ds: xr.Dataset) -> None:
    last = ds.isel(checkpoint=-1)
    for k, name in enumerate(ds["drift"].values.tolist()):
        _, colour, marker, dashes = DRIFTS[name]
        own = last.isel(drift=k)
        ax.fill_between(
            own["own_bandwidth"], *own["w2_interval"].transpose("end", "bandwidth").values, color=colour, alpha=0.15, linewidth=0
        )
        ax.plot(own["own_bandwidth"], own["w2"].mean("replicate"), color=colour, marker=marker, linestyle=dashes)
    _floors(ax, ds, "w2")
    plain_log(ax, "x")
    ax.set(xlabel="$h$ of the method's kernel (length)", ylabel=_METRICS["w2"])
