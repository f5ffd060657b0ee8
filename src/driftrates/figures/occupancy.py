"""Section 5.1 to 5.3: failures of occupancy against P5.5, R_N against P5.2 and X1, the least mass of a ball against R5.4."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import seaborn as sns
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from driftrates import figures

_WORDS = {"uniform_cube": "cube", "uniform_ball": "ball", "truncated_gaussian": "cut normal", "gaussian": "normal"}
_MARKERS = "os^Dv"


@figures.styled
def plot(data: Mapping[str, xr.Dataset]) -> Figure:
    """`occupancy.measure_failures` by law; below, `occupancy.measure_occupancy` by dimension and `occupancy.measure_mass`."""
    failures, mass = data["failures"], data["mass"]
    ensembles = [ds for key, ds in data.items() if key.startswith("occupancy/")]
    figure = Figure(figsize=(figures.DOUBLE, 4.0), layout="constrained")
    above, below = figure.subfigures(2, 1, height_ratios=[1.0, 1.15])
    top = above.subplots(1, failures.sizes["density"], sharey=True, squeeze=False)[0]
    bottom = below.subplots(1, 4)
    colours = figures.size_colours(failures["n_particles"].values.tolist())
    for ax, law in zip(top, failures["density"].values, strict=True):
        _failures(ax, failures.sel(density=law), colours)
    top[0].set(ylabel=r"P(min $n_i < 1 + \lambda / 2$)")
    legend = [Line2D([], [], color=colour, marker="o", linestyle="none", label=f"$N = {n}$") for n, colour in colours.items()]
    legend += [
        Line2D([], [], color="0.4", marker="v", linestyle="none", label="no failure: upper limit"),
        Line2D([], [], color="0.4", label=r"$N e^{-\lambda / 8}$"),
        Line2D([], [], color="0.4", linestyle=":", label="exact binomial, union"),
    ]
    above.legend(handles=legend, loc="outside lower center", ncols=len(legend), columnspacing=1.2)
    _reciprocal(bottom[:2], ensembles)
    _mass(bottom[2], bottom[3], mass)
    titles = ["P5.2", "X1", "R5.4", f"A5.3, $r = {float(mass['radius'][0]):g}$"]
    figures.letter([*top, *bottom], [*[""] * len(top), *titles])
    below.legend(*bottom[3].get_legend_handles_labels(), loc="outside lower right", ncols=7, columnspacing=0.8, handletextpad=0.4)
    sns.despine(fig=figure)
    return figure


def _law(name: str) -> str:
    stem, _, d = str(name).rpartition("_d")
    return f"{_WORDS.get(stem, stem)}, $d = {d}$"


def _failures(ax: Axes, ds: xr.Dataset, colours: Mapping[int, tuple[float, float, float]]) -> None:
    ratio = ds["occupancy_ratio"].values
    for k, (n, colour) in enumerate(colours.items()):
        cell = ds.sel(n_particles=n)
        used = cell["admissible"].values
        ax.plot(ratio[used], cell["bound"].values[used], color=colour, linewidth=0.9)
        ax.plot(ratio[used], cell["union_bound"].values[used], color=colour, linewidth=0.9, linestyle=":")
        # Side by side: intervals of one ratio would hide each other.
        place = ratio * 1.07 ** (k - 1)
        frequency, low, high = (cell[name].values for name in ("frequency", "frequency_low", "frequency_high"))
        some, none = used & (cell["failures"].values > 0), used & (cell["failures"].values == 0)
        error = (frequency[some] - low[some], high[some] - frequency[some])
        ax.errorbar(place[some], frequency[some], error, fmt="o", color=colour, markersize=2.4, elinewidth=0.8)
        ax.plot(place[none], high[none], "v", color=colour, markersize=3.2)
    ax.axhspan(1.0, 1e9, color="0.93", zorder=0, linewidth=0)
    figures.log_ticks(ax, ratio)
    figures.log_axis(ax, "y", 6)
    ax.set(xlabel="$N h^d / \\log N$", xlim=(ratio[0] / 1.3, ratio[-1] * 1.3), ylim=(1e-6, 1e5))
    ax.text(0.98, 0.98, _law(ds["density"].item()), transform=ax.transAxes, ha="right", va="top", fontsize=6.5)
    ax.label_outer()


def _reciprocal(axes: np.ndarray, ensembles: list[xr.Dataset]) -> None:
    palette = [figures.PALETTE[k] for k in (0, 1, 2, 4, 7)]
    for k, ds in enumerate(ensembles):
        d = len(figures.experiment(ds)["target"]["mixture"]["means"][0])
        style = {"color": palette[k % 5], "marker": _MARKERS[k % 5], "markersize": 2.2, "linestyle": "none", "fillstyle": "none"}
        style |= {"markeredgewidth": 0.4}
        found = ds["reciprocal_kde"]
        # The sharpest of the radii for each cloud.
        for ax, bound in zip(axes, (ds["reciprocal_bound"].min("r0"), ds["self_bound"]), strict=True):
            x, y = xr.broadcast(bound, found)
            ax.plot(x.values.ravel(), y.values.ravel(), **style, label=f"$d = {d}$", rasterized=True)
    for ax, text in zip(axes, ("$1 / (k_0 c_0)$ (length$^d$)", "$N h^d / K(0)$ (length$^d$)"), strict=True):
        figures.log_axis(ax, "x", 4)
        figures.log_axis(ax, "y", 4)
        low, high = min(ax.get_xlim()[0], ax.get_ylim()[0]), max(ax.get_xlim()[1], ax.get_ylim()[1])
        ax.plot([low, high], [low, high], color="black", linewidth=0.7)
        ax.set(xlabel=text, xlim=(low, high), ylim=(low, high))
    axes[0].set(ylabel="$R_N$ (length$^d$)")
    axes[0].legend(loc="upper left", handletextpad=0.2, markerscale=1.5)


def _mass(radii: Axes, samples: Axes, ds: xr.Dataset) -> None:
    smallest = ds.isel(radius=0)
    for k, name in enumerate(ds["density"].values):
        law = ds.sel(density=name)
        colour, marker = figures.PALETTE[(0, 1, 2, 3, 4, 5, 7)[k % 7]], _MARKERS[k % 5]
        constant = float(smallest["constant"].sel(density=name))
        if constant > 0:
            used = law["admissible"].values
            radii.plot(law["radius"][used], (law["infimum"] / law["constant"])[used], f"{marker}-", color=colour, label=_law(name))
            samples.axhline(constant, color=colour, linewidth=0.7, linestyle="--", zorder=1)
        samples.plot(law["sample"], smallest["least_mass"].sel(density=name), f"{marker}-", color=colour, label=_law(name))
    radii.axhline(1.0, color="black", linewidth=0.7, linestyle="--")
    for ax, values in ((radii, ds["radius"].values), (samples, ds["sample"].values)):
        figures.log_ticks(ax, values)
    radii.set(xlabel="radius $r$ (length)", ylabel="infimum / constant")
    figures.log_axis(samples, "y", 4)
    samples.set(xlabel="sample points", ylabel="least mass / $r^d$ (length$^{-d}$)")
