"""Regularised Laplace kernels: the quadrature bound L6.13 as the regularisation goes to zero, and the occupancy bound L6.14."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import xarray as xr

from driftrates.claims.ledger import Data, Evidence, Identity, Inequality, Rate, statement
from driftrates.laplace.regularised import SUPREMUM, bounds
from driftrates.power_laws import replicate_exponent

_CHAPTER = "regularised"
_SIGMAS = 6.0
"""Standard errors granted: with 8 scramblings, about one false alarm in 3700 comparisons of sides that are equal."""
_EXPONENT = 0.1
"""Granted to an exponent fitted where the next term is smaller by a factor of order eps; the powers to tell apart are 0, 1 and 2."""
_SMALLEST = 3
"""Values of eps, the smallest ones, to which exponents are fitted."""
_PARTS = {
    "stein": ("S", "|S_loo - S#|", "L1", "tau_1", 2),
    "speed": ("D", "|D_lap - E#|", "L2", "tau_2", 1),
}
"""Case, left side, constant, point error and the power of 1/eps of the constant near an atom."""


@statement(
    _CHAPTER,
    "L6.13",
    "|S_loo - S#| <= (m2#/2) h^2 L1 + tau_1 and |D_lap - E#| <= (m2#/2) h^2 L2 + tau_2",
    "Lemma 6.13",
)
def quadrature(data: Data) -> Iterator[Evidence]:
    m = data["regularised"].dropna("n_particles", subset=["stein_constant"])
    right = bounds(m)
    for name, (label, text, constant, tau, power) in _PARTS.items():
        gap, error, point = m[f"{name}_gap"], _SIGMAS * m[f"{name}_error"], m[f"{name}_point_error"]
        largest = right[name].sel(case="largest")
        for eps in m["epsilon"].values:
            at = {"epsilon": eps}
            yield Inequality(
                case=f"{label}, eps={eps:g}",
                quantity=f"{text} against (m2#/2) h^2 {constant} + {tau}, largest norm found, every d, N, cloud; control: {tau} alone",
                lhs=gap.sel(at).values,
                rhs=largest.sel(at).values,
                uncertainty=error.sel(at).values,
                control_lhs=gap.sel(at).values,
                control_rhs=point.sel(at).values,
            )
        part, mean = m[f"{name}_quadrature"], right[name].sel(case="mean") - point
        yield Inequality(
            case=f"{label}, mean",
            quantity=f"{text} without the point errors against the proof's mean of m2# h^2 |Hessian| / 2, every eps; control: eps h for h",
            lhs=part.values,
            rhs=mean.values,
            uncertainty=(error + _SIGMAS * right[f"{name}_error"]).values,
            control_lhs=part.values,
            control_rhs=(m["epsilon"] ** 2 * mean).transpose(*part.dims).values,
            control_uncertainty=error.values,
        )
        norms = m[f"{name}_constant"]
        found, clear = norms.sel(window=list(SUPREMUM)).max("window"), norms.sel(window="clear")
        least, following = np.sort(m["epsilon"].values)[:2]
        ratio = found / m[f"{name}_limit"]
        near, far = (eps**power * ratio.sel(epsilon=eps, drop=True) for eps in (least, following))
        # Linear in eps, the distance from the limit is least / (following - least) of this change; at least twice as much is granted.
        change = abs(near - far) * max(1.0, 2 * least / (following - least)) + least**2
        yield Identity(
            case=f"{label}, limit",
            quantity=f"eps^{power} {constant} over its limit from one atom alone, minus 1, smallest eps, at most "
            f"{float(abs(near - 1).max()):.1g}, in units of its change from the next eps; control: eps^{3 - power}",
            residual=((near - 1) / change).values,
            control=((least ** (3 - 2 * power) * near - 1) / change).values,
            tolerance=1.0,
        )
        for d in m["dimension"].values:
            yield _growth(
                f"{label}, exponent, d={d}",
                f"exponent of {constant} in 1/eps; control: more than h/4 from every atom",
                found.sel(dimension=d),
                clear.sel(dimension=d),
                power,
            )
            yield _growth(
                f"{label}, gap, d={d}",
                f"exponent of {text} in 1/eps; control: that of {constant}",
                gap.sel(dimension=d),
                found.sel(dimension=d),
                0,
            )
    mean = {name: m[f"{name}_constant"].sel(window="taylor") for name in _PARTS}
    for d in m["dimension"].values:
        yield _growth(
            f"S, mean exponent, d={d}",
            "exponent in 1/eps of the proof's mean of |Hessian T_pi# v|; control: that of |Hessian |v|^2|",
            mean["stein"].sel(dimension=d),
            mean["speed"].sel(dimension=d),
            1,
        )


def _growth(case: str, quantity: str, values: xr.DataArray, control: xr.DataArray, predicted: int) -> Rate:
    slope, interval = exponent(values)
    return Rate(
        case=case,
        quantity=quantity,
        slope=slope,
        interval=interval,
        predicted=float(predicted),
        control=exponent(control)[1],
        cases=values.size // values.sizes["epsilon"],
        upper_bound=False,
        tolerance=_EXPONENT,
    )


def exponent(values: xr.DataArray) -> tuple[float, tuple[float, float]]:
    """Mean over clouds of the slope of log values against log 1/eps at the smallest eps, and its 95 % interval (Student's t)."""
    chosen = values.sortby("epsilon").isel(epsilon=slice(None, _SMALLEST)).transpose("epsilon", ...)
    return replicate_exponent(1 / chosen["epsilon"].values, chosen.values.reshape(chosen.sizes["epsilon"], -1))


@statement(
    _CHAPTER,
    "L6.14",
    "#{j != i: |x_j - x_i| <= r0 h} >= c0 (N-1) h^d implies Z_{mu_-i}(x_i) >= c_d e^-r0 c0",
    "Lemma 6.14",
)
def occupancy(data: Data) -> Iterator[Evidence]:
    m = data["regularised"]
    for d in m["dimension"].values:
        at = m.sel(dimension=d)
        known = ~np.isnan(at["density"].values)
        density = at["density"].values[known]
        yield Inequality(
            case=f"d={d}",
            quantity="c_d e^-r0 c0 with i's own c0 against Z_{mu_-i}(x_i), every particle and r0; control: c_d e^-(r0/2) c0",
            lhs=at["floor"].values[known],
            rhs=density * (1 + 1e-12),
            control_lhs=at["half_floor"].values[known],
            control_rhs=density,
        )
        least = at.min("particle")
        used = least["floor"].values > 0
        if not used.any():
            continue
        yield Inequality(
            case=f"all i, d={d}",
            quantity=f"one c0 for all i against the least Z_{{mu_-i}}(x_i); c0 = 0 in {1 - used.mean():.0%} of (cloud, r0); "
            "control: c0 of the largest count",
            lhs=least["floor"].values[used],
            rhs=least["density"].values[used] * (1 + 1e-12),
            control_lhs=at["floor"].max("particle").values[used],
            control_rhs=least["density"].values[used],
        )
