"""Kernels: profiles, Fourier transforms and the ladder of derivatives that every statistic of a smoothed measure is made from."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import seaborn as sns
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from driftrates import figures, kernels

_DISTANCES = np.linspace(0.0, 8.0, 401)
_SMALL_DISTANCES = np.geomspace(1e-2, 10.0, 200)
_WAVE_NUMBERS = np.geomspace(0.1, 50.0, 120)
_COLUMNS = 4


@figures.styled
def plot(data: Mapping[str, xr.Dataset]) -> Figure:
    """Every kernel of the Dataset of `assumptions.tabulate_kernels`, in the plane where its dimensions include 2; dashed if A2.1 fails."""
    (table,) = data.values()
    labels = [str(label) for label in table["kernel"].values]
    dimensions = table["dimension"].values.tolist()
    d = 2 if 2 in dimensions else dimensions[0]
    dashes = ["-" if good else "--" for good in table["satisfies_a21"].values]
    rows = -(-(len(labels) + 1) // _COLUMNS)
    figure = Figure(figsize=(figures.DOUBLE, 2.2 + 1.35 * rows), layout="constrained")
    figure.get_layout_engine().set(wspace=0.05)
    above, below = figure.subfigures(2, 1, height_ratios=[2.2, 1.35 * rows])
    profile, fourier = above.subplots(1, 2)
    ladders = below.subplots(rows, _COLUMNS, sharex=True, sharey=True, squeeze=False).ravel()
    styles = [{"color": figures.PALETTE[k % 10], "linestyle": dash} for k, dash in enumerate(dashes)]
    for label, style, ax in zip(labels, styles, ladders, strict=False):
        kernel = _kernel(label)
        values = kernel.rung(_DISTANCES, d)
        profile.plot(_DISTANCES, values / values[0], label=_title(label), **style)
        fourier.plot(_WAVE_NUMBERS, kernel.fourier(_WAVE_NUMBERS, d), **style)
        _ladder(ax, kernel, d)
    figures.log_axis(profile, "y")
    profile.set(xlabel="$|z|$ (units of $h$)", ylabel="$K(z) / K(0)$", ylim=(1e-6, 1.5))
    figures.log_axis(fourier, "x")
    figures.log_axis(fourier, "y")
    fourier.set(xlabel="$|k|$ (units of $1/h$)", ylabel=rf"$\widehat{{K}}(k)$, $d = {d}$", ylim=(1e-8, 1.5))
    title = None if table["satisfies_a21"].all() else "dashed: A2.1 fails"
    above.legend(*profile.get_legend_handles_labels(), loc="outside right upper", handlelength=2.4, title=title, alignment="left")
    for k, ax in enumerate(ladders):
        ax.set_visible(k < len(labels))
        ax.tick_params(labelbottom=k + _COLUMNS >= len(labels))
        ax.set(xlabel="$s = |z|$ (units of $h$)", ylabel="$f_n(s)$")
        ax.label_outer(remove_inner_ticks=False)
    figures.letter([profile, fourier, *ladders], ["profile", "Fourier transform", *map(_title, labels)])
    handles, names = ladders[0].get_legend_handles_labels()
    below.legend(handles, names, loc="lower right", title="rung of the ladder", ncols=2)
    for ax in (profile, fourier, *ladders):
        sns.despine(ax=ax)
    return figure


def _kernel(label: str) -> kernels.Kernel:
    """The kernel behind a label ``name`` or ``name(parameter=value, ...)``."""
    name, _, rest = label.rstrip(")").partition("(")
    return kernels.make(name, **{key: float(value) for key, value in (part.split("=") for part in rest.split(", ") if part)})


def _title(label: str) -> str:
    name, _, rest = label.rstrip(")").partition("(")
    return figures.kernel_title(name) + (f", {rest}" if rest else "")


def _ladder(ax: Axes, kernel: kernels.Kernel, d: int) -> None:
    orders = range(-1, len(kernel.prefactors) - 1)
    # Rungs may coincide (all of them for the Gaussian): the later ones are thinner.
    for n, colour in zip(orders, sns.color_palette("viridis", len(orders)), strict=True):
        ax.plot(_SMALL_DISTANCES, kernel.rung(_SMALL_DISTANCES, d, n), color=colour, linewidth=2.4 - 0.4 * (n + 1), label=f"$n = {n}$")
    figures.log_axis(ax, "x")
    figures.log_axis(ax, "y", 4)
    ax.set(ylim=(1e-6, 1e8))
