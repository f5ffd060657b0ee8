"""R2.7, X7, X8: the quadrature constants against h in constructions that realise each regime, and their growth exponents beta."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import seaborn as sns
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from driftrates import figures

_PANELS = {
    "smooth density": ("h_uniform",),
    "wave of length $\\propto h^a$": ("oscillation",),
    "lattice of spacing $\\propto h$": ("kernel_scale",),
    "gap of fixed width": ("gap",),
    "$N = h^{-(d+4)}$": ("iid", "relaxed"),
}
_WORDS = {"h_uniform": "smooth", "oscillation": "wave", "kernel_scale": "lattice", "iid": "i.i.d."}
_REGIONS = {
    "window": ("o", "black", "fixed window"),
    "particles": ("s", figures.PALETTE[0], "particles"),
    "neighbourhood": ("^", figures.PALETTE[1], "over $x_i + h z$"),
    "mean": ("D", figures.PALETTE[2], "mean weighted by $p_h$"),
}


@figures.styled
def plot(data: Mapping[str, xr.Dataset]) -> Figure:
    """`growth.growth_regimes`: L1 + L2 of the window by regime; exponents of every construction and region; the gap against X7."""
    ds = data["growth"]
    figure = Figure(figsize=(figures.DOUBLE, 6.0), layout="constrained")
    figure.get_layout_engine().set(hspace=0.03)
    above, below = figure.subfigures(2, 1, height_ratios=[1.0, 1.75])
    top = above.subplots(1, len(_PANELS))
    left, right = below.subplots(1, 2, width_ratios=[2.1, 1.0])
    for ax, regimes in zip(top, _PANELS.values(), strict=True):
        _constants(ax, ds.isel(construction=np.flatnonzero(np.isin(ds["regime"].values.astype(str), regimes))))
    top[0].set(ylabel="$L_1 + L_2$ (time$^{-1}$ length$^{-2}$)")
    order = [name for names in _PANELS.values() for name in names]
    _exponents(left, ds.isel(construction=np.argsort([order.index(str(name)) for name in ds["regime"].values], kind="stable")))
    _closed_form(right, ds)
    figures.letter([*top, left, right], [*_PANELS, "growth exponents", "gap, closed form"])
    below.legend(*left.get_legend_handles_labels(), loc="outside lower left", ncols=6, columnspacing=1.0)
    sns.despine(fig=figure)
    return figure


def _name(case: xr.Dataset, regime: bool = True) -> str:
    kind, kernel = str(case["regime"].values), str(case["kernel"].values)
    parts = [_WORDS.get(kind, kind)] if regime else []
    if np.isfinite(scale := float(case["scale"])):
        parts.append(f"$a = {scale:g}$")
    if kernel != "gaussian":
        parts.append(figures.kernel_title(kernel))
    if regime or not parts or int(case["dimension"]) > 1:
        parts.append(f"$d = {int(case['dimension'])}$")
    return ", ".join(parts)


def _constants(ax: Axes, ds: xr.Dataset) -> None:
    single = len(np.unique(ds["regime"].values.astype(str))) == 1
    for k, colour in enumerate([figures.PALETTE[i] for i in (0, 1, 2, 3, 4, 7)][: ds.sizes["construction"]]):
        # Curves may coincide: the later ones are thinner.
        width = 2.2 - 0.3 * k
        case = ds.isel(construction=k)
        h, values = case["bandwidth"].values, case["sum_constant"].sel(region="window")
        mean = np.exp(np.log(values).mean("replicate")).values
        used = np.isfinite(h)
        ax.plot(h[used], mean[used], "o-", color=colour, label=_name(case, not single), markersize=1.5 + width, linewidth=width)
        # Anchored at the smallest bandwidth, where the regime is approached.
        ax.plot(h[used], mean[used][0] * (h[used] / h[used][0]) ** -float(case["expected"]), ":", color="black", linewidth=0.7, zorder=4)
    _bandwidths(ax, ds["bandwidth"].values)
    figures.log_axis(ax, "y", 5)
    low, high = ax.get_ylim()
    low, high = low / 2, max(2 * high, 12 * low)
    # Room for the legend.
    ax.set_ylim(low, high * (high / low) ** (0.12 * ds.sizes["construction"]))
    ax.legend(loc="upper left", handlelength=0.8, handletextpad=0.4, fontsize=6.0, borderaxespad=0.0, labelspacing=0.2)


def _bandwidths(ax: Axes, h: np.ndarray) -> None:
    ends = [np.nanmin(h), np.nanmax(h)]
    ax.set(xscale="log", xlabel="$h$ (length)")
    ax.set_xticks(ends, [f"{h:g}" for h in ends])
    ax.minorticks_off()


def _exponents(ax: Axes, ds: xr.Dataset) -> None:
    cases = ds.sizes["construction"]
    for c in range(cases):
        ax.plot([float(ds["expected"][c])] * 2, [c - 0.42, c + 0.42], color="0.55", linewidth=2.2, solid_capstyle="butt", zorder=1)
        if c % 2:
            ax.axhspan(c - 0.5, c + 0.5, color="0.96", zorder=0)
    for k, (region, (marker, colour, _)) in enumerate(_REGIONS.items()):
        own = ds.sel(region=region)
        beta, low, high = (own[f"sum_constant_beta{end}"].values for end in ("", "_low", "_high"))
        place = np.arange(cases) + 0.2 * (k - 1.5)
        ax.errorbar(beta, place, xerr=(beta - low, high - beta), fmt=marker, color=colour, markersize=2.6, elinewidth=0.8, zorder=3)
    ax.set_yticks(range(cases), [_name(ds.isel(construction=c)) for c in range(cases)])
    ax.tick_params(axis="y", length=0)
    reach = np.concatenate([ds["sum_constant_beta"].values.ravel(), ds["expected"].values])
    ax.set(xlim=(reach.min() - 0.7, reach.max() + 0.7), ylim=(cases - 0.5, -0.5), xlabel=r"$\beta$ of $L_1 + L_2 \propto h^{-\beta}$")
    ax.axvline(2.0, color="black", linewidth=0.7, linestyle="--", zorder=1)
    for marker, colour, label in _REGIONS.values():
        ax.plot([], [], marker, color=colour, markersize=2.6, label=label)
    ax.plot([], [], color="0.55", linewidth=2.2, label="expected in the window")
    ax.plot([], [], color="black", linewidth=0.7, linestyle="--", label="border of section 4.3")


def _closed_form(ax: Axes, ds: xr.Dataset) -> None:
    gaps = ds.isel(construction=np.flatnonzero(np.isfinite(ds["predicted_stein"]).any("level").values)).sel(region="window")
    for quantity, predicted, colour, label in (
        ("stein_constant", "predicted_stein", figures.PALETTE[0], "$L_1$; $l^4 / (8 h^8)$"),
        ("lipschitz", "predicted_lipschitz", figures.PALETTE[1], r"$\mathrm{Lip}(b)$; $l^2 / (4 h^4) - 1 / h^2$"),
    ):
        for c, marker in zip(range(gaps.sizes["construction"]), "ox", strict=False):
            ax.plot(
                gaps["bandwidth"][c], gaps[quantity].isel(construction=c, replicate=0), marker, color=colour, fillstyle="none", markersize=4
            )
        ax.plot(gaps["bandwidth"][0], gaps[predicted][0], color=colour, linewidth=0.8, label=label)
    for d, marker in zip(gaps["dimension"].values, "ox", strict=False):
        ax.plot([], [], marker, color="0.4", fillstyle="none", markersize=4, label=f"measured, $d = {d}$")
    _bandwidths(ax, gaps["bandwidth"].values)
    figures.log_axis(ax, "y", 6)
    low, high = ax.get_ylim()
    ax.set(ylim=(low, high * (high / low) ** 0.25), ylabel="time$^{-1}$ length$^{-2}$ ($L_1$), time$^{-1}$ (Lip)")
    ax.legend(loc="upper right")
