"""L6.13 as the kernel's kink is restored, and L6.14: constants, gaps and their ratio against eps, point errors against N, both sides."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import seaborn as sns
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from driftrates import figures
from driftrates.laplace.regularised import bounds

_WINDOWS = {
    "near an atom": (["near particles", "near data"], figures.PALETTE[3], "o"),
    "at the particles": (["particles"], figures.PALETTE[0], "s"),
    "mean of the proof": (["taylor"], figures.PALETTE[2], "D"),
    "farther than $h/4$": (["clear"], "0.5", "v"),
}
_PARTS = {"stein": ("$|S_{loo} - S^\\#|$", "-", "o"), "speed": ("$|D_{lap} - E^\\#|$", "--", "s")}
_COLOURS = [figures.PALETTE[k] for k in (0, 1, 4, 2)]
_VACUOUS = 1e3


@figures.styled
def plot(data: Mapping[str, xr.Dataset]) -> Figure:
    """The Dataset of `laplace.regularised.measure_regularised`; lines are medians over clouds."""
    ds = data["regularised"]
    kept = ds.dropna("n_particles", subset=["stein_constant"])
    figure = Figure(figsize=(figures.DOUBLE, 4.9), layout="constrained")
    axes = figure.subplots(2, 3)
    d = int(ds["dimension"][min(1, ds.sizes["dimension"] - 1)])
    for ax, name, power, unit in ((axes[0, 0], "stein", 2, " (length$^{-2}$)"), (axes[0, 1], "speed", 1, "")):
        _constants(ax, kept.sel(dimension=d), name, power)
        ax.set(ylabel=f"$L_{3 - power}${unit}")
    colours = dict(zip(ds["dimension"].values.tolist(), _COLOURS, strict=False))
    _ratio(axes[0, 2], kept, colours)
    _gaps(axes[1, 0], kept, colours)
    _point_errors(axes[1, 1], ds, colours)
    _occupancy(axes[1, 2], ds, colours)
    titles = [f"$L_1$, $d = {d}$", f"$L_2$, $d = {d}$", "bound over gap", "gaps", "point errors", "L6.14"]
    figures.letter(axes.flat, titles)
    handles = [Line2D([], [], color=colour, marker=marker, label=label) for label, (_, colour, marker) in _WINDOWS.items()]
    handles += [Line2D([], [], color=colour, label=f"$d = {dim}$") for dim, colour in colours.items()]
    handles += [Line2D([], [], color="black", linestyle=dash, marker=marker, label=text) for text, dash, marker in _PARTS.values()]
    handles += [
        Line2D([], [], color="0.4", marker="o", linestyle="none", fillstyle=fill, label=str(start))
        for start, fill in zip(ds["start"].values, ("full", "none"), strict=True)
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=6, columnspacing=1.2)
    sns.despine(fig=figure)
    return figure


def _median(values: xr.DataArray, *keep: str) -> xr.DataArray:
    return values.median([dim for dim in values.dims if dim not in keep])


def _against_eps(ax: Axes) -> None:
    figures.log_axis(ax, "x")
    figures.log_axis(ax, "y")
    ax.invert_xaxis()
    ax.set(xlabel="$\\varepsilon$")


def _constants(ax: Axes, ds: xr.Dataset, name: str, power: int) -> None:
    eps = ds["epsilon"]
    for windows, colour, marker in _WINDOWS.values():
        ax.plot(eps, _median(ds[f"{name}_constant"].sel(window=windows).max("window"), "epsilon"), color=colour, marker=marker)
    limit = _median(ds[f"{name}_limit"].sel(epsilon=eps.min()))
    ax.plot(eps, limit / eps**power, color="black", linewidth=0.7, linestyle=":", zorder=3)
    ax.annotate(
        f"limit $\\propto \\varepsilon^{{-{power}}}$",
        (float(eps[eps.size // 2]), float(limit / eps[eps.size // 2] ** power)),
        xytext=(-4, 6),
        textcoords="offset points",
        ha="right",
        fontsize=6.5,
    )
    _against_eps(ax)


def _ratio(ax: Axes, ds: xr.Dataset, colours: Mapping[int, object]) -> None:
    right = bounds(ds)
    for name, (_, dash, marker) in _PARTS.items():
        # Curves that coincide stay visible by the size of their markers.
        for k, (d, colour) in reversed(list(enumerate(colours.items()))):
            ratio = _median((right[name].sel(case="largest") / ds[f"{name}_gap"]).sel(dimension=d), "epsilon")
            ax.plot(ds["epsilon"], ratio, color=colour, linestyle=dash, marker=marker, markersize=2.6 + 1.2 * k, linewidth=0.8)
    _against_eps(ax)
    top = max(ax.get_ylim()[1], 10 * _VACUOUS)
    ax.axhspan(_VACUOUS, top, color="0.93", zorder=0, linewidth=0)
    ax.set(ylim=(ax.get_ylim()[0], top))
    ax.text(0.03, 0.97, "vacuous", transform=ax.transAxes, ha="left", va="top", fontsize=6.5)
    ax.set(ylabel="right side / left side")


def _gaps(ax: Axes, ds: xr.Dataset, colours: Mapping[int, object]) -> None:
    for name, (_, dash, marker) in _PARTS.items():
        for d, colour in colours.items():
            at = ds.sel(dimension=d)
            ax.plot(ds["epsilon"], _median(at[f"{name}_gap"], "epsilon"), color=colour, linestyle=dash, marker=marker)
            exact = float(_median(at[f"laplace_{name}_gap"]))
            ax.plot([0.985, 1.02], [exact, exact], color=colour, linewidth=1.6, transform=ax.get_yaxis_transform(), clip_on=False)
    _against_eps(ax)
    low, high = np.log10(ax.get_ylim())
    ax.set(ylabel="left side (1, length$^2$)", ylim=(10 ** np.floor(low), 10 ** np.ceil(high)))


def _point_errors(ax: Axes, ds: xr.Dataset, colours: Mapping[int, object]) -> None:
    n = ds["n_particles"]
    for name, (_, dash, marker) in _PARTS.items():
        for d, colour in colours.items():
            errors = ds[f"laplace_{name}_point_error"].sel(dimension=d)
            for start, fill in zip(ds["start"].values, ("full", "none"), strict=True):
                values = _median(errors.sel(start=start), "n_particles")
                ax.plot(n, values, color=colour, linestyle=dash, marker=marker, fillstyle=fill, linewidth=0.8)
    top = float(_median(ds["laplace_stein_point_error"].max("dimension").isel(n_particles=0))) * 2
    ax.plot(n, top * n[0] / n, color="black", linewidth=0.7, linestyle=":")
    ax.text(1.6 * float(n[0]), top, "$N^{-1}$", va="center", fontsize=6.5)
    figures.log_axis(ax, "y")
    figures.log_ticks(ax, n.values)
    ax.set(xlabel="$N$", ylabel="$\\tau_1$ (1), $\\tau_2$ (length$^2$)")


def _occupancy(ax: Axes, ds: xr.Dataset, colours: Mapping[int, object]) -> None:
    for d, colour in reversed(colours.items()):
        x, y = ds["floor"].sel(dimension=d), ds["density"].sel(dimension=d)
        used = (x > 0).values & ~np.isnan(y.values)
        ax.plot(x.values[used], y.values[used], ".", color=colour, markersize=1.2, markeredgewidth=0, rasterized=True)
    for which in "xy":
        figures.log_axis(ax, which, 4)
    ends = [min(ax.get_xlim()[0], ax.get_ylim()[0]), max(ax.get_xlim()[1], ax.get_ylim()[1])]
    ax.plot(ends, ends, color="black", linewidth=0.7)
    ax.set(xlim=ends, ylim=ends, xlabel="$c_d e^{-r_0} c_0$ (length$^{-d}$)", ylabel="$Z_{\\mu_{-i}}(x_i)$ (length$^{-d}$)")
