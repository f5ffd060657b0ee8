"""T6.9: the time average of D_lap and every term of its bound, with the constants of the paper and with those of X2."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import seaborn as sns
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from driftrates import figures
from driftrates.laplace.coercivity import velocity_bound

_TERMS = {
    "initial": ("$H^\\#_N(0) / (c\\, N T)$", figures.PALETTE[1], "s"),
    "stein_gap": ("$\\varepsilon_S / c$", figures.PALETTE[2], "^"),
    "speed_gap": ("$\\varepsilon_D$", figures.PALETTE[5], "v"),
    "residual": ("$(C / c)\\, \\delta$", figures.PALETTE[4], "D"),
    "total": ("right side", figures.PALETTE[3], "o"),
}
_SETS = {"paper": "L6.6", "sharpened": "X2"}


@figures.styled
def plot(data: Mapping[str, xr.Dataset]) -> Figure:
    """A column per dimension: the terms against N at the last T for both sets of constants, and against T at the largest N for X2's."""
    pairs = [(ds, data[f"entropy/{key.partition('/')[2]}"]) for key, ds in data.items() if key.startswith("coercivity/")]
    figure = Figure(figsize=(figures.DOUBLE, 6.2), layout="constrained")
    axes = figure.subplots(3, len(pairs), sharey="col", squeeze=False)
    for column, (measured, budget) in zip(axes.T, pairs, strict=True):
        later = budget.isel(time=slice(1, None), bandwidth=0)
        bounds = velocity_bound(measured.isel(bandwidth=0), later["initial_kl"], later["time"]).sel(region="effective")
        for ax, constants in zip(column, _SETS, strict=False):
            _lines(ax, "n_particles", later.isel(time=-1), bounds.sel(constants=constants).isel(time=-1))
            figures.log_ticks(ax, later["n_particles"].values)
            ax.margins(x=0.12)
            ax.set(xlabel="$N$")
        _lines(column[2], "time", later.isel(n_particles=-1), bounds.sel(constants="sharpened").isel(n_particles=-1))
        column[2].set(xlabel="horizon $T$")
        figures.log_axis(column[0], "y")
    for ax, text in zip(
        axes[:, 0], ("constants of L6.6, last $T$", "constants of X2, last $T$", "constants of X2, largest $N$"), strict=True
    ):
        ax.set(ylabel=f"{text}\nspeed$^2$ (length$^2$)")
    titles = [f"$d = {measured.attrs['dimension']}$, $h = {float(measured['bandwidth'][0]):g}$" for measured, _ in pairs]
    figures.letter(axes.flat, [*titles, *[""] * (2 * len(pairs))])
    handles = [Line2D([], [], color="black", marker="o", markerfacecolor="white", label="time average of $D_\\mathrm{lap}$")]
    handles += [Line2D([], [], color=colour, marker=marker, label=label) for label, colour, marker in _TERMS.values()]
    figure.legend(handles=handles, loc="outside lower center", ncols=6, columnspacing=1.2)
    sns.despine(fig=figure)
    return figure


def _lines(ax: Axes, dim: str, budget: xr.Dataset, bounds: xr.Dataset) -> None:
    x = budget[dim].values
    marked = np.arange(0, len(x), max(1, len(x) // 6)).tolist()
    values = budget["mean_squared_speed"].values
    ax.plot(x, values, color="black", marker="o", markerfacecolor="white", markevery=marked, zorder=3)
    for name, (_, colour, marker) in _TERMS.items():
        term = bounds[name].broadcast_like(budget[dim])
        ax.plot(x, term.values, color=colour, marker=marker, markevery=marked, linewidth=1.6 if name == "total" else 0.9)
