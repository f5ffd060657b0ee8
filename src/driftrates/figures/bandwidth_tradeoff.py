"""The trade-off in h: terms of the bound C4.7 and its minimiser (26), measured D_N and S_N, distance to the unsmoothed target."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import seaborn as sns
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, NullLocator, StrMethodFormatter

from driftrates import figures

_LINEAR = 0.005
"""Where the axis of the rates (time^-1) turns from linear to logarithmic: the time average of S_N may be negative."""

_TERMS: dict[str, tuple[str, dict[str, Any]]] = {
    "initial_term": ("$C_0 / T$", {"color": "0.5", "linestyle": "-."}),
    "self_term": ("$A / (N h^{d+2})$", {"color": figures.PALETTE[1], "linestyle": "--"}),
    "quadrature_term": ("$Q h^2$, effective $Q$", {"color": figures.PALETTE[2], "linestyle": ":", "linewidth": 1.4}),
    "total": ("their sum", {"color": "black"}),
}
_MEASURED: dict[str, tuple[str, dict[str, Any]]] = {
    "mean_squared_speed": ("$D_N$, time average", {"color": figures.PALETTE[0], "marker": "o"}),
    "mean_stein_drift": ("$S_N$, time average", {"color": figures.PALETTE[4], "marker": "^"}),
}
_SUPREMUM = {"color": "black", "marker": "*", "linestyle": "none", "markersize": 6, "markerfacecolor": "white", "markeredgewidth": 0.8}
_SIZES: tuple[tuple[str, dict[str, Any]], ...] = (
    ("middle $N$", {"color": figures.PALETTE[5], "marker": "s"}),
    ("largest $N$", {"color": "black", "marker": "D"}),
)


@figures.styled
def plot(data: Mapping[str, xr.Dataset]) -> Figure:
    """One column per Dataset of `rates.measure_rates`: terms of the bound and time averages at a middle and at the largest N; distances.

    Q of the curves is the effective constant of the late clouds; a star has Q = (m2 / 2)(L1 + L2) with the extrema over x_i + h z.
    """
    figure = Figure(figsize=(figures.DOUBLE, 5.0), layout="constrained")
    axes = figure.subplots(3, len(data), sharex="col", sharey="row", squeeze=False)
    titles = []
    for column, ds in zip(axes.T, data.values(), strict=True):
        last = ds.sizes["n_particles"] - 1
        ds = ds.assign(quadrature_term=ds.attrs["quadrature_constant"] * ds["bandwidth"] ** 2)
        ds = ds.assign(total=ds["initial_term"] + ds["self_term"] + ds["quadrature_term"])
        chosen = []
        for ax, k in zip(column, (last // 2, last), strict=False):
            _supremum(ax, ds.isel(n_particles=k, bandwidth=k))
            chosen.append(ds.isel(n_particles=k).sortby("bandwidth"))
        for ax, one, (_, style) in zip(column, chosen, _SIZES, strict=False):
            _terms(ax, one)
            _averages(column[2], one["distance"], style)
            column[2].axvline(float(one["optimal_bandwidth"]), color=style["color"], linewidth=0.6, zorder=0)
        figures.log_axis(column[2], "x")
        column[2].xaxis.set_major_locator(FixedLocator([0.1, 0.2, 0.3, 0.5, 0.7, 1.0, 1.5, 2.0, 3.0]))
        column[2].xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        column[2].set(xlabel="$h$ (length)")
        titles.append([f"$d = {ds.attrs['dimension']}$, $N = {int(one['n_particles'])}$" for one in chosen] + [""])
    for ax in axes[:2, 0]:
        ax.set_yscale("asinh", linear_width=_LINEAR)
        ax.yaxis.set_major_locator(FixedLocator([-1, -0.1, -0.01, 0, 0.01, 0.1, 1, 10]))
        ax.yaxis.set_major_formatter(lambda value, _: f"{value:g}".replace("-", "\N{MINUS SIGN}"))
        ax.yaxis.set_minor_locator(NullLocator())
        ax.set(ylabel="rate (time$^{-1}$)")
    for ax in axes[:2].flat:
        ax.margins(y=0.08)
        ax.axhline(0.0, color="0.8", linewidth=0.6, zorder=0)
    figures.log_axis(axes[2, 0], "y")
    axes[2, 0].yaxis.set_major_locator(FixedLocator([0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0]))
    axes[2, 0].yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes[2, 0].set(ylabel="distance $W_2$ (length)")
    figures.letter(axes.flat, [title for row in zip(*titles, strict=True) for title in row])
    _legend(figure)
    sns.despine(fig=figure)
    return figure


def _terms(ax: Axes, ds: xr.Dataset) -> None:
    for name, (_, style) in _TERMS.items():
        ax.plot(ds["bandwidth"], ds[name], **style)
    for name, (_, style) in _MEASURED.items():
        _averages(ax, ds[name], style)
    ax.axvline(float(ds["optimal_bandwidth"]), color="black", linewidth=0.6, zorder=0)


def _supremum(ax: Axes, ds: xr.Dataset) -> None:
    """The bound where its constants were measured: N = N_k and h = h_k."""
    constant = ds.attrs["second_moment"] / 2 * (ds["stein_sup"] + ds["speed_sup"]).mean()
    ax.plot(ds["bandwidth"], ds["initial_term"] + ds["self_term"] + constant * ds["bandwidth"] ** 2, **_SUPREMUM)


def _averages(ax: Axes, values: xr.DataArray, style: Mapping[str, Any]) -> None:
    """Means over replicates with two standard errors."""
    error = 2 * values.std("replicate", ddof=1) / values.sizes["replicate"] ** 0.5
    ax.errorbar(values["bandwidth"], values.mean("replicate"), error, markersize=2.6, linewidth=0.8, elinewidth=0.8, **style)


def _legend(figure: Figure) -> None:
    handles = [Line2D([], [], label=label, **style) for label, style in _TERMS.values()]
    handles += [Line2D([], [], label="their sum, largest $Q$", **_SUPREMUM)]
    handles += [Line2D([], [], label=f"{label}", markersize=3, linewidth=0.8, **style) for label, style in _MEASURED.values()]
    handles += [Line2D([], [], label=f"distance, {label}", markersize=3, linewidth=0.8, **style) for label, style in _SIZES]
    handles += [Line2D([], [], color="black", linewidth=0.6, label="$h^*$ of (26)")]
    figure.legend(handles=handles, loc="outside lower center", ncols=5, columnspacing=1.2)
