"""B2: a field that vanishes although p and q differ, under kernels whose Fourier transform has a zero."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import seaborn as sns
import xarray as xr
from matplotlib.figure import Figure

from driftrates import figures

_PROBES = {
    "gaussian": ("Gaussian", figures.PALETTE[0], "o"),
    "laplace": ("Laplace", figures.PALETTE[3], "s"),
    "matern52": ("Matérn 5/2", figures.PALETTE[2], "^"),
    "triangle_variance": ("Gaussian, variance of the triangle", figures.PALETTE[5], "v"),
    "triangle": ("triangle", figures.PALETTE[1], "D"),
    "fejer": ("Fejér (band-limited)", figures.PALETTE[4], "x"),
}
_ROUNDING = 1e-17


@figures.styled
def plot(data: Mapping[str, xr.Dataset]) -> Figure:
    """`measure_spectra`: densities and what the kernels leave of them; field against wave number; what is left of the distance."""
    ds = data["spectra"]
    figure = Figure(figsize=(figures.DOUBLE, 2.6), layout="constrained")
    axes = figure.subplots(1, 3)
    x = ds["x"].values
    for density, style in (("p", "-"), ("q", "--")):
        axes[0].plot(x, ds["probe_density"].sel(density=density), style, color="black", linewidth=0.9, label=f"${density}$")
    for probe in ("triangle", "gaussian"):
        case, colour = ds["probe_smoothed"].sel(probe=probe), _PROBES[probe][1]
        axes[0].plot(x, case.sel(density="p"), color=colour, linewidth=2.6, alpha=0.4)
        axes[0].plot(x, case.sel(density="q"), "--", color=colour, linewidth=0.9)
    axes[0].set(xlabel="$x$ (length)", ylabel="density over its mean")
    axes[0].set_xticks([0, np.pi, 2 * np.pi], ["0", r"$\pi$", r"$2\pi$"])
    axes[0].legend(loc="upper right", ncols=2)
    k = ds["probe_wave"].values
    for probe, (label, colour, marker) in _PROBES.items():
        case = ds.sel(probe=probe, probe_field="conservative")
        speed = np.maximum(case["probe_speed"].sel(background="not uniform").values, _ROUNDING)
        axes[1].plot(k, speed, marker + "-", color=colour, linewidth=0.8, fillstyle="none", label=label)
        axes[2].plot(k, case["probe_kept"], marker + "-", color=colour, linewidth=0.8, fillstyle="none")
    figures.log_axis(axes[1], "y", 6)
    for ax in axes[1:]:
        ax.set_xticks(k[2::3])
    axes[1].set(xlabel="$k$ (length$^{-1}$)", ylabel="r.m.s. of $V$ (length$^{-1}$)")
    axes[2].set(xlabel="$k$ (length$^{-1}$)", ylabel="share of the distance left at $t = 1$")
    figure.legend(*axes[1].get_legend_handles_labels(), loc="outside lower center", ncols=6, columnspacing=1.2)
    figures.letter(axes, ["smoothed densities, $k = 3$", "field of $q = p + 0.3 \\cos k x$", "mean-field flow"])
    sns.despine(fig=figure)
    return figure
