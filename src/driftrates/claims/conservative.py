"""The conservative method: quadrature (L4.3, L4.4), the bounds T4.1, T4.5, C4.7, the rates of section 4.3, one step (R4.6)."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import xarray as xr

from driftrates import kernels
from driftrates.claims.ledger import LOOSE, Assumption, Construction, Data, Evidence, Identity, Inequality, Rate, statement
from driftrates.fields import DriftField, SmoothedDensity
from driftrates.measurements import quadrature, rates
from driftrates.targets import GaussianMixture

_CHAPTER = "conservative"
_SIGMAS = 4.0
"""Standard errors granted to a mean; about one false alarm in 10^4 comparisons."""


def select(data: Data, measurement: str) -> Iterator[tuple[str, xr.Dataset]]:
    """(experiment, Dataset) of one measurement, in order of name."""
    for key in sorted(data):
        kind, _, name = key.partition("/")
        if kind == measurement:
            yield name, data[key]


def rate_scope(measured: xr.Dataset) -> str:
    """What the sub-rows of one Dataset of rates are called."""
    return f"d={measured.attrs['dimension']}" + ("" if "bandwidth" in measured.dims else ", large N")


def at_fixed_bandwidth(data: Data, d: int) -> np.ndarray:
    """Interval of the exponent of the late self-interaction at fixed h in dimension d; not finite where no grid was run."""
    found = [r.sel(carrier="late_self_interaction", path="fixed") for _, r in select(data, "rates") if r.attrs["dimension"] == d]
    return next((fit["percentile"].values for fit in found if np.isfinite(fit["slope"])), np.full(2, np.nan))


@statement(_CHAPTER, "T4.1", "(1/T) int E S_N dt <= H_N(0)/(N T) + |Laplacian K(0)| kappa / (N h^(d+2))", "Theorem 4.1, (14)")
def stein_bound(data: Data) -> Iterator[Evidence]:
    for name, budget in select(data, "entropy"):
        if np.isnan(budget["initial_kl"]).any():
            continue
        later = budget.isel(time=slice(1, None))
        initial = later["initial_kl"] / later["time"]
        lhs, rhs = xr.broadcast(later["mean_stein_drift"], initial + later["mean_self_interaction"])
        error = (_SIGMAS * later["mean_stein_drift_error"]).transpose(*lhs.dims)
        yield Inequality(
            case=name,
            quantity="time average of S_N against the bound, every T, N, h; control: no self-interaction term",
            lhs=lhs.values,
            rhs=rhs.values,
            uncertainty=error.values,
            control_lhs=lhs.values,
            control_rhs=initial.broadcast_like(lhs).transpose(*lhs.dims).values,
        )


@statement(_CHAPTER, "L4.3", "int p_h T_pi b dx = int p_h |b|^2 dx = F_N for every configuration", "Lemma 4.3, (15)")
def integration_by_parts(data: Data) -> Iterator[Evidence]:
    for name, o in select(data, "observables"):
        error = o["fisher_error"] + o["fisher_stein_error"] + 1e-10 * abs(o["fisher"])
        yield Identity(
            case=name,
            quantity="|int p_h T_pi b - F_N| in units of the quadrature error; control: S_N in the place of the integral",
            residual=((o["fisher_stein"] - o["fisher"]) / error).values,
            control=((o["stein_drift"] - o["fisher"]) / error).values,
            tolerance=6.0,
        )


@statement(
    _CHAPTER, "A2.5", "one L1 = sup |Hessian of T_pi b| and L2 = sup |Hessian of |b|^2| serve the region visited", "Assumption 2.5, (9)(10)"
)
def hessian_bounds(data: Data) -> Iterator[Evidence]:
    for name, c in select(data, "constants"):
        total = c["stein_constant"] + c["speed_constant"]
        window, mean = total.sel(region="neighbourhood"), total.sel(region="mean")
        yield Assumption(
            case=name,
            quantity="decades of the largest norm over samples x_i + h z above its p_h-mean, granted 1; control: two particles 12 h apart",
            defects=np.log10((window / mean).values),
            control=np.log10(_gap_excess()),
            tolerance=float(np.log10(LOOSE)),
        )


def _gap_excess() -> float:
    """Largest over mean norm between two particles 12 h apart under a wide target: the gap of X7."""
    h, cloud = 0.1, np.array([[-0.6], [0.6]])
    density = GaussianMixture(np.ones(1), np.zeros((1, 1)), np.ones(1)).smoothed(h)
    field = DriftField("conservative", SmoothedDensity(density, h), kernels.make("gaussian"), h)
    norms = quadrature.operator_norms(quadrature.hessians(field, np.linspace(-0.6, 0.6, 241)[:, None], cloud).stein)
    return float(norms.max() / norms[[0, -1]].mean())


@statement(_CHAPTER, "L4.4", "|S_N - F_N| <= (m2/2) L1 h^2 and |F_N - D_N| <= (m2/2) L2 h^2", "Lemma 4.4, (16)(17)")
def quadrature_error(data: Data) -> Iterator[Evidence]:
    for name, c in select(data, "constants"):
        for side in ("stein", "speed"):
            gap, bound, noise = c[f"{side}_gap"], c[f"{side}_bound"], _SIGMAS * c["fisher_error"]
            error = _SIGMAS * c[f"{side}_constant_error"] * bound / c[f"{side}_constant"].where(c[f"{side}_constant"] > 0)
            for region in ("neighbourhood", "taylor", "particles"):
                rhs = bound.sel(region=region)
                yield Inequality(
                    case=f"{side}, {region}, {name}",
                    quantity=f"gap against m2 L h^2 / 2, L over '{region}'; control: m2 L h^2 / 200, L over 'taylor'",
                    lhs=gap.values,
                    rhs=rhs.values,
                    uncertainty=(noise + error.sel(region=region).fillna(0)).transpose(*gap.dims).values,
                    control_lhs=gap.values,
                    control_rhs=(bound.sel(region="taylor") / 100).values,
                    control_uncertainty=(noise + error.sel(region="taylor").fillna(0) / 100).transpose(*gap.dims).values,
                )


@statement(_CHAPTER, "T4.5", "(1/T) int E F_N (or D_N) dt <= H_N(0)/(N T) + A/(N h^(d+2)) + (m2/2)(L1 (+ L2)) h^2", "Theorem 4.5, (18)(19)")
def fisher_bound(data: Data) -> Iterator[Evidence]:
    for name, budget in select(data, "entropy"):
        if f"constants/{name}" not in data or np.isnan(budget["initial_kl"]).any():
            continue
        c = data[f"constants/{name}"].sel(region="neighbourhood").max(("replicate", "snapshot"))
        last = budget.isel(time=-1)
        initial = (last["initial_kl"] / float(budget["time"][-1])).broadcast_like(last["mean_squared_speed"])
        initial = initial.transpose(*last["mean_squared_speed"].dims)
        terms = initial + last["mean_self_interaction"]
        yield Inequality(
            case=f"D_N, {name}",
            quantity="time average of D_N at the last T against (19), L over x_i + h z; control: the initial term alone",
            lhs=last["mean_squared_speed"].values,
            rhs=(terms + c["stein_bound"] + c["speed_bound"]).transpose(*last["mean_squared_speed"].dims).values,
            control_lhs=last["mean_squared_speed"].values,
            control_rhs=initial.values,
        )
        if f"observables/{name}" in data:
            o = data[f"observables/{name}"]
            horizon = float(o["snapshot"][-1])
            average = o["fisher"].mean("replicate").integrate("snapshot") / horizon
            yield Inequality(
                case=f"F_N, {name}",
                quantity="time average of F_N (trapezoid over stored times) against (18); control: the initial term alone",
                lhs=average.values,
                rhs=(terms + c["stein_bound"]).transpose(*average.dims).values,
                uncertainty=_SIGMAS * (o["fisher"].std("replicate").max("snapshot") / np.sqrt(o.sizes["replicate"])).values,
                control_lhs=average.values,
                control_rhs=initial.values,
            )


@statement(_CHAPTER, "C4.7", "(1/T) int E D_N dt <= C0/T + A/(N h^(d+2)) + Q(h) h^2, and its root", "Corollary 4.7, (20)-(23)")
def bound_on_grid(data: Data) -> Iterator[Evidence]:
    for _, r in select(data, "rates"):
        diagonal = rates.diagonal(r["self_term"]) + r["initial_term"].values
        q = (r["stein_sup"] + r["speed_sup"]).max("path_replicate") * r.attrs["second_moment"] / 2
        speed = rates.diagonal(r["mean_squared_speed"].mean("replicate"))
        rhs = diagonal + q.values * r["bandwidth"].values ** 2
        for case, power in (("squared", 1.0), ("root", 0.5)):
            yield Inequality(
                case=f"{case}, {rate_scope(r)}",
                quantity="time average of D_N along h = h(N) against the bound; control: C0/T alone",
                lhs=speed**power,
                rhs=rhs**power,
                control_lhs=speed**power,
                control_rhs=r["initial_term"].values ** power,
            )


@statement(
    _CHAPTER,
    "s4.3",
    "at h ~ N^(-1/(d+4)) the N-dependent terms of the squared bound decay like N^(-2/(d+4)) (beta = 0)",
    "Section 4.3, (24)-(27)",
)
def rate(data: Data) -> Iterator[Evidence]:
    for _, r in select(data, "rates"):
        d = r.attrs["dimension"]
        for carrier in ("late_fisher", "late_self_interaction", "late_squared_speed", "quadrature_gap"):
            fit = r.sel(carrier=carrier, path="diagonal")
            yield Rate(
                case=f"{carrier}, {rate_scope(r)}",
                quantity=f"exponent in N of {carrier} along h = h(N); control: exponent of the self term at fixed h",
                slope=float(fit["slope"]),
                interval=fit["percentile"].values,
                predicted=rates.predicted_exponent(d),
                control=at_fixed_bandwidth(data, d),
                cases=r.sizes["n_particles"],
            )
        if "bandwidth" not in r.dims:
            last = r.sel(carrier="late_fisher").isel(neighbours=-1)
            slope, error = float(last["local_slope"]), float(last["local_error"])
            yield Rate(
                case=f"late_fisher, {rate_scope(r)}, last pair",
                quantity="exponent of late F_N between the two largest N, h = h(N); control: exponent of the self term at fixed h",
                slope=slope,
                interval=(slope - error, slope + error),
                predicted=rates.predicted_exponent(d),
                control=at_fixed_bandwidth(data, d),
                cases=2,
            )
        n, h = r["n_particles"].values, r["optimal_bandwidth"].values
        dense, sparse = (n * width**d / np.log(n) for width in (h, n ** (-1 / d)))
        yield Construction(
            case=f"occupancy, {rate_scope(r)}",
            quantity="growth of N h*^d / log N from the least to the largest N; control: h = N^(-1/d)",
            effect=[dense[-1] / dense[0]],
            control=[sparse[-1] / sparse[0]],
            threshold=1.0,
        )
    yield from growth_rates(data["growth"], ("kernel_scale",), "window", 0.1, quantity="lipschitz", halved=True)


@statement(_CHAPTER, "R4.6", "W_2^2(mu_N, mu_N^+) <= eta^2 D_N for one step, and in the mean at a uniform random time", "Remark 4.6")
def one_step(data: Data) -> Iterator[Evidence]:
    for name, m in select(data, "one_step"):
        lhs, rhs = m["squared_distance"].values, m["coupling_bound"].values
        yield Inequality(
            case=name,
            quantity="W2^2 between a cloud and its refined cloud, eta/h^2 from 1e-3 to 10; control: half the step",
            lhs=lhs,
            rhs=rhs * (1 + 1e-9) + 1e-28,
            control_lhs=lhs,
            control_rhs=rhs / 4,
        )
    for name, m in select(data, "random_time"):
        lhs, rhs = m["squared_distance"].values, m["coupling_bound"].values
        yield Inequality(
            case=f"random time, {name}",
            quantity="mean of W2^2 over uniform random times against eta^2 times the time average of D_N; control: half the step",
            lhs=lhs,
            rhs=rhs,
            uncertainty=_SIGMAS * m["squared_distance_error"].values,
            control_lhs=lhs,
            control_rhs=rhs / 4,
        )


def growth_rates(
    growth: xr.Dataset, regimes: tuple[str, ...], region: str, tolerance: float, *, quantity: str = "sum_constant", halved: bool = False
) -> Iterator[Evidence]:
    """Growth exponents of L1 + L2 (or ``quantity``; ``halved``: half as fast) of some regimes, over one region of points."""
    name = "Lip(b)" if halved else "L1 + L2"
    for label in growth["construction"].values:
        row = growth.sel(construction=label)
        if str(row["regime"].item()) not in regimes:
            continue
        beta, *interval = (float(row[f"{quantity}_beta{end}"].sel(region=region)) for end in ("", "_low", "_high"))
        differs = abs(growth["expected"] - row["expected"]) > 2 * tolerance + 0.5
        akin = differs & growth["regime"].isin(regimes)
        other = growth.isel(construction=int(np.flatnonzero(akin if akin.any() else differs)[0]))
        elsewhere = region if akin.any() else "window"
        yield Rate(
            case=f"{name}, {label}" if halved else str(label),
            quantity=f"growth exponent of {name} over '{region}', granted {tolerance}; control: {str(other['construction'].item())}",
            slope=beta,
            interval=interval,
            predicted=float(row["expected"]) / (2 if halved else 1),
            control=tuple(float(other[f"{quantity}_beta_{end}"].sel(region=elsewhere)) for end in ("low", "high")),
            cases=int(np.isfinite(row["bandwidth"]).sum()),
            upper_bound=False,
            tolerance=tolerance,
        )


@statement(_CHAPTER, "R2.6", "log-derivatives that vary at scale h give L1 + L2 ~ h^-4", "Remark 2.6")
def kernel_scale(data: Data) -> Iterator[Evidence]:
    yield from growth_rates(data["growth"], ("kernel_scale",), "window", 0.1)


@statement(_CHAPTER, "R2.7", "L1 + L2 <= C h^-beta: beta = 0 (h-uniform regime), beta = 4 a (variation at scale h^a)", "Remark 2.7")
def growth_regimes(data: Data) -> Iterator[Evidence]:
    yield from growth_rates(data["growth"], ("h_uniform", "oscillation"), "window", 0.25)
