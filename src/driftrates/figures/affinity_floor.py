"""What the floor on affinities does to Algorithm 2 of Deng et al.: size and direction of the field against the distance to the data."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import seaborn as sns
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator

from driftrates import figures

_FORMS = {"paper": ("as printed", figures.PALETTE[4]), "floored": ("floored", figures.PALETTE[1])}
_MARKERS = "os^Dv"


@figures.styled
def plot(data: Mapping[str, xr.Dataset]) -> Figure:
    """`affinity.check_affinity`: ratio of the sizes and angle, means and ranges over samples, and an example of both fields."""
    (checks,) = data.values()
    figure = Figure(figsize=(figures.DOUBLE, 2.7), layout="constrained")
    axes = figure.subplots(1, 3)
    temperatures = checks["temperature"].values.tolist()
    colours = sns.color_palette("viridis", len(temperatures) + 1)
    for ax, name in zip(axes, ("floor_ratio", "floor_angle"), strict=False):
        for t, colour, marker in zip(temperatures, colours, _MARKERS, strict=False):
            values = checks[name].sel(temperature=t)
            x = values["distance"] / t
            ax.fill_between(x, values.min("sample"), values.max("sample"), color=colour, alpha=0.2, linewidth=0)
            ax.plot(x, values.mean("sample"), marker=marker, color=colour, label=f"$T = {t:g}$")
        ax.axvline(-2 * np.log(checks.attrs["floor"]), color="0.6", linewidth=0.8, linestyle="--", zorder=0)
        ax.set_xscale("symlog", linthresh=1.0)
        ax.set(xlabel="distance to the nearer cluster $/\\; T$", xlim=(-0.3, 1.4 * float(checks["distance"].max()) / min(temperatures)))
        ax.xaxis.set_major_locator(FixedLocator([0, 1, 10, 100]))
        ax.xaxis.set_minor_locator(FixedLocator([]))
    figures.log_axis(axes[0], "y")
    axes[0].set(ylabel="size as printed / size floored", ylim=(1e-6, 3.0))
    axes[1].set(ylabel="angle (degree)", ylim=(-4, 100))
    _example(axes[2], checks)
    figures.letter(axes, ["size", "direction", "example"])
    handles = [
        Line2D([], [], color=colour, marker=marker, label=f"$T = {t:g}$")
        for t, colour, marker in zip(temperatures, colours, _MARKERS, strict=False)
    ]
    handles.append(Line2D([], [], color="0.6", linewidth=0.8, linestyle="--", label="$e^{-D/2T}$ = floor"))
    handles += [Line2D([], [], color=colour, label=label) for label, colour in _FORMS.values()]
    handles += [Line2D([], [], color=c, marker=".", linestyle="none", label=label) for c, label in (("black", "cloud"), ("0.6", "data"))]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), columnspacing=1.2)
    sns.despine(fig=figure)
    return figure


def _example(ax: Axes, checks: xr.Dataset) -> None:
    cloud, data = checks["floor_cloud"].values, checks["floor_data"].values
    ax.plot(*data.T, ".", color="0.6", markersize=3, markeredgewidth=0)
    ax.plot(*cloud.T, ".", color="black", markersize=3, markeredgewidth=0)
    length = 0.35 * float(checks["distance"].max())
    for form, (_, colour) in _FORMS.items():
        mean = checks["floor_example"].sel(form=form).mean("point").values
        tip = length * mean / np.linalg.norm(mean)
        ax.annotate("", tip, (0.0, 0.0), arrowprops={"arrowstyle": "-|>", "color": colour, "linewidth": 1.4, "shrinkA": 4, "shrinkB": 0})
    ax.set(xlabel="$x_1$ (length)", ylabel="$x_2$ (length)")
    ax.set_aspect("equal", adjustable="datalim")
