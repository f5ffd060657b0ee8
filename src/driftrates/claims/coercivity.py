"""Coercivity of the Laplace displacement field and its finite-particle bound: L6.4, A6.5, L6.6, A6.7, T6.9, C6.12, X2, X3."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import xarray as xr

from driftrates.claims.conservative import select
from driftrates.claims.ledger import LOOSE, Assumption, Data, Evidence, Identity, Inequality, Rate, statement
from driftrates.laplace.coercivity import CONSTANTS, coercive_sides, velocity_bound

_CHAPTER = "coercivity"
_CELLS = ("replicate", "snapshot")
_SIGMAS = 6.0
"""Standard errors granted: with 16 scramblings, about one false alarm in 10^5 comparisons, of which there are hundreds."""
_FOLLOWS = 0.5
"""Largest gap of an observable that follows another, relative to that: one that vanishes is off by 1, so the middle between 0 and 1."""
_SOURCES = {"paper": "L6.6", "sharpened": "X2"}
_NEAR, _FAR = slice(None, 4), slice(-5, None)
"""Distances up to h and from 512 h on of `laplace.coercivity.RAY`."""


@statement(_CHAPTER, "L6.4", "S# = int q# T_pi# v = int q# v.g for every configuration", "Lemma 6.4, (59)")
def integration_by_parts(data: Data) -> Iterator[Evidence]:
    for name, m in select(data, "coercivity"):
        noise = np.sqrt(m["stein_residual_error"] ** 2 + m["plain_stein_error"] ** 2 + m["coercive_error"] ** 2)
        size = float((abs(m["stein_residual"]) / abs(m["coercive"])).median())
        yield Identity(
            case=name,
            quantity=f"|S# - int q# v.g| in units of the quadrature error, median {size:.1g} of it; control: score of K_h * p",
            residual=(m["stein_residual"] / m["stein_residual_error"]).values,
            control=((m["plain_stein"] - m["coercive"]) / noise).values,
            tolerance=_SIGMAS,
        )


@statement(
    _CHAPTER, "A6.5", "a <= alpha_mu <= A and int q# |r|^2 <= delta over the configurations visited; a >= h^2", "Assumption 6.5, (60)(61)"
)
def scale_bounds(data: Data) -> Iterator[Evidence]:
    for name, m in select(data, "coercivity"):
        a, upper = m["lower"].min("region"), m["upper"]
        square = (m["bandwidth"] ** 2).broadcast_like(a).transpose(*a.dims)
        yield Inequality(
            case=f"a, {name}",
            quantity="h^2 against the least alpha_mu over cloud, box and q#; control: (d + 1) h^2, its value where q# is flat",
            lhs=square.values,
            rhs=a.values,
            uncertainty=1e-12 * square.values,
            control_lhs=((m.attrs["dimension"] + 1) * square).values,
            control_rhs=a.values,
        )
        effective = upper.sel(region="effective")
        yield Assumption(
            case=f"A, {name}",
            quantity="decades of the largest alpha_mu over the box above the effective one of X3, granted 1; control: 8192 h away",
            defects=np.log10((upper.sel(region="box") / effective).values),
            control=np.log10((m["ray_scale"].isel(distance=-1) / effective).values),
            tolerance=float(np.log10(LOOSE)),
        )
        yield Assumption(
            case=f"delta, {name}",
            quantity="int q# |r|^2 over E#, the field whose residual it is; control: over D_lap, the field at the particles",
            defects=(m["residual"] / m["energy"]).values,
            control=(m["residual"] / m["leave_one_out_speed"]).values,
            tolerance=1.0,
        )


def _sides(m: xr.Dataset, constants: str, region: str, name: str) -> Inequality:
    """c E# <= S# + C delta, against the same with alpha_mu taken for constant (A = a) and without delta."""
    side = coercive_sides(m).sel(constants=constants, region=region)
    flat = (CONSTANTS[constants](m["lower"], m["lower"])[0] * m["energy"]).sel(region=region)
    missed = float(m["uncovered"].sel(region=region).max())
    where = "A effective" if region == "effective" else f"A over '{region}', up to {missed:.1%} of q# outside [a, A]"
    error = side["energy_error"] + side["rest_error"]
    return Inequality(
        case=f"{region}, {name}",
        quantity=f"c E# against S# + C delta, {where}; control: A = a and no delta",
        lhs=side["energy"].values,
        rhs=side["rest"].values,
        uncertainty=_SIGMAS * error.values,
        control_lhs=flat.values,
        control_rhs=m["stein"].values,
        control_uncertainty=_SIGMAS * (m["stein_error"] + flat / m["energy"] * m["energy_error"]).values,
    )


@statement(_CHAPTER, "L6.6", "S# >= c* E# - C* delta, c* = a / (4 A^2), C* = a / (2 A^2) + 1 / (2 a)", "Lemma 6.6, (62)(63)")
def coercivity(data: Data) -> Iterator[Evidence]:
    for name, m in select(data, "coercivity"):
        for region in ("particles", "quantile", "box"):
            yield _sides(m, "paper", region, name)


@statement(
    _CHAPTER,
    "X2",
    "S# >= int q# (|v|^2 - |r|^2) / (2 alpha_mu) >= E# / (2 A) - delta / (2 a): C / c = A / a instead of 2 + 2 A^2 / a^2",
    "own statement X2",
)
def sharpened(data: Data) -> Iterator[Evidence]:
    for name, m in select(data, "coercivity"):
        half, rest = m["weighted_energy"] / 2, m["stein"] + m["weighted_residual"] / 2
        error = m["stein_error"] + (m["weighted_energy_error"] + m["weighted_residual_error"]) / 2
        yield Inequality(
            case=f"weighted, {name}",
            quantity="int q# |v|^2 / (2 alpha_mu) against S# + int q# |r|^2 / (2 alpha_mu); control: twice the left side, no residual",
            lhs=half.values,
            rhs=rest.values,
            uncertainty=_SIGMAS * error.values,
            control_lhs=2 * half.values,
            control_rhs=m["stein"].values,
        )
        for region in ("particles", "quantile", "box", "effective"):
            yield _sides(m, "sharpened", region, name)


@statement(
    _CHAPTER,
    "X3",
    "(60) fails on R^d: alpha_mu grows like h |x|; L6.6 holds with A_eff^2 = int q# alpha_mu^2 |g|^2 / int q# |g|^2",
    "own statement X3",
)
def unbounded_scale(data: Data) -> Iterator[Evidence]:
    for name, m in select(data, "coercivity"):
        near, far = (_exponents(m["ray_scale"].isel(distance=part)) for part in (_NEAR, _FAR))
        yield Rate(
            case=f"ray, {name}",
            quantity="power of the distance with which alpha_mu grows from 512 h to 8192 h along a ray; control: up to h",
            slope=float(far.mean()),
            interval=(far.min(), far.max()),
            predicted=1.0,
            control=(near.min(), near.max()),
            cases=far.size,
            upper_bound=False,
            tolerance=0.05,
        )
        yield _sides(m, "paper", "effective", name)


def _exponents(along: xr.DataArray) -> np.ndarray:
    return along.pipe(np.log).assign_coords(distance=np.log(along["distance"])).polyfit("distance", 1)["polyfit_coefficients"].values[0]


@statement(
    _CHAPTER,
    "A6.7",
    "the empirical observables follow the smoothed ones: |S_loo - S#| <= eps_S, |D_lap - E#| <= eps_D",
    "Assumption 6.7, (64)(65)",
)
def consistency(data: Data) -> Iterator[Evidence]:
    for name, m in select(data, "coercivity"):
        for case, what, empirical, smoothed in (("eps_S", "S#", "stein", "stein"), ("eps_D", "E#", "speed", "energy")):
            gap, of_cloud, size = m[f"{empirical}_gap"], m[f"leave_one_out_{empirical}"], abs(m[smoothed])
            shifted = abs(of_cloud - m[smoothed].roll(snapshot=1))
            median, noise = float((gap / size).median()), float((m[f"{smoothed}_error"] / gap).median())
            yield Assumption(
                case=f"{case}, {name}",
                quantity=f"{case} over the smoothed observable |{what}|, both of (64)(65) alike, median {median:.2g}, its own error "
                f"{noise:.1g} of it; control: {what} of the cloud stored before it (of the last for the first)",
                defects=(gap / size).values,
                control=(shifted / size).values,
                tolerance=_FOLLOWS,
            )


@statement(_CHAPTER, "C6.12", "delta <= h^2 e_rho^2 B^2 where |rho_p - rho_mu| <= e_rho and |s#_p| <= B", "Corollary 6.12")
def residual_by_radii(data: Data) -> Iterator[Evidence]:
    for name, m in select(data, "coercivity"):
        delta, noise = m["other_residual"], _SIGMAS * m["other_residual_error"]
        inverse = (1 / m["bandwidth"]).broadcast_like(delta).transpose(*delta.dims)
        mean = (m["bandwidth"] * m["radius_gap"] * m["sharp_score"]).transpose(*delta.dims) ** 2
        for case, bound in (("B", m["largest_sharp_score"]), ("B = 1/h", inverse)):
            yield Inequality(
                case=f"{case}, {name}",
                quantity="delta against h^2 e_rho^2 B^2, largest over other points of q# than delta's; control: q#-means in their place",
                lhs=delta.values,
                rhs=((m["largest_radius_gap"] * bound / inverse) ** 2).values,
                uncertainty=noise.values,
                control_lhs=delta.values,
                control_rhs=mean.values,
            )
        yield Inequality(
            case=f"|s#|, {name}",
            quantity="h |s#_p| against 1 over points of q#; control: against 1/2",
            lhs=(m["largest_sharp_score"] / inverse).values,
            rhs=np.ones(delta.shape),
            control_lhs=(m["largest_sharp_score"] / inverse).values,
            control_rhs=np.full(delta.shape, 0.5),
        )


@statement(
    _CHAPTER,
    "T6.9",
    "(1/T) int E D_lap dt <= (1/c*) [H#_N(0)/(N T) + eps_S] + eps_D + (C*/c*) delta, and its root",
    "Theorem 6.9, (66)-(68)",
)
def velocity(data: Data) -> Iterator[Evidence]:
    for name, m in select(data, "coercivity"):
        budget = data.get(f"entropy/{name}")
        if budget is None or np.isnan(budget["initial_kl"]).any():
            continue
        later = budget.isel(time=slice(1, None))
        speed = later["mean_squared_speed"]
        bounds = velocity_bound(m, later["initial_kl"], later["time"])
        least = m["lower"].min((*_CELLS, "region"))
        for constants, make in CONSTANTS.items():
            alone = later["initial_kl"] / (make(least, least)[0] * later["time"])
            for region in ("effective", "box"):
                terms = bounds.sel(constants=constants, region=region)
                root = sum(np.sqrt(terms[part]) for part in ("initial", "stein_gap", "speed_gap", "residual"))
                for form, left, right, broken in (
                    ("", speed, terms["total"], alone),
                    ("root, ", np.sqrt(speed), root, np.sqrt(alone)),
                ):
                    lhs, rhs, control = xr.broadcast(left, right, broken)
                    yield Inequality(
                        case=f"{form}{constants}, {region}, {name}",
                        quantity=f"time average of D_lap, every T, N, h, against the four terms, extrema over stored clouds, A {region}, "
                        f"constants of {_SOURCES[constants]}; control: initial term alone, A = a",
                        lhs=lhs.values,
                        rhs=rhs.transpose(*lhs.dims).values,
                        control_lhs=lhs.values,
                        control_rhs=control.transpose(*lhs.dims).values,
                    )
