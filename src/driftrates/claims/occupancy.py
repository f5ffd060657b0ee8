"""Occupancy: neighbours keep the reciprocal KDE bounded (A5.1 to C5.9), kappa and its stopping times (A2.3, R2.4), X1."""

from __future__ import annotations

import json
from collections.abc import Iterator

import numpy as np
import xarray as xr

from driftrates.claims.conservative import at_fixed_bandwidth, rate_scope, select
from driftrates.claims.ledger import Assumption, Data, Evidence, Identity, Inequality, Rate, statement
from driftrates.kernels import Gaussian
from driftrates.measurements.occupancy import reciprocal_density
from driftrates.measurements.rates import predicted_exponent
from driftrates.simulate import make_kernel, make_target

_GAUSSIAN = Gaussian()
_CHAPTER = "occupancy"


@statement(_CHAPTER, "A2.3", "(1/T) int E R_N dt <= kappa", "Assumption 2.3, (8)")
def reciprocal_control(data: Data) -> Iterator[Evidence]:
    for name, o in select(data, "occupancy"):
        kappa = o["kappa_mean"].values
        yield Inequality(
            case=name,
            quantity="measured kappa against the bound N h^d / K(0) that needs no assumption; control: that bound at N = 1",
            lhs=kappa,
            rhs=o["self_bound"].values,
            control_lhs=kappa,
            control_rhs=(o["self_bound"] / o["n_particles"]).values,
        )
    for _, r in select(data, "rates"):
        d = r.attrs["dimension"]
        fit = r.sel(carrier="late_self_interaction", path="diagonal")
        shift = predicted_exponent(d)
        yield Rate(
            case=f"uniform in N, {rate_scope(r)}",
            quantity="exponent in N of the late R_N along h = h(N); control: at fixed h, with the exponent of the diagonal",
            slope=float(fit["slope"]) - shift,
            interval=fit["percentile"].values - shift,
            predicted=0.0,
            control=at_fixed_bandwidth(data, d) - shift,
            cases=r.sizes["n_particles"],
            upper_bound=False,
            tolerance=0.02,
        )


@statement(_CHAPTER, "R2.4", "tau_kappa, the first time with R_N > kappa, is not reached for kappa large enough", "Remark 2.4")
def stopping_times(data: Data) -> Iterator[Evidence]:
    for name, o in select(data, "occupancy"):
        share = o["stopped_share"]
        yield Assumption(
            case=name,
            quantity="share of replicates with R_N > 4 kappa up to T (kappa measured, output times); control: the factor 1",
            defects=share.sel(kappa_factor=4.0).values,
            control=share.sel(kappa_factor=1.0).values,
            tolerance=0.0,
        )


@statement(_CHAPTER, "X1", "R_N <= N h^d / K(0), so the self-interaction term is at most |Laplacian K(0)| / (K(0) h^2)", "own statement X1")
def self_occupancy(data: Data) -> Iterator[Evidence]:
    for name, o in select(data, "occupancy"):
        lhs, rhs = xr.broadcast(o["largest_reciprocal"], o["self_bound"])
        yield Inequality(
            case=name,
            quantity="largest 1/p_h(x_i) against N h^d / K(0); control: N - 1 in the place of N for two particles 50 h apart",
            lhs=lhs.values,
            rhs=rhs.values * (1 + 1e-12),
            control_lhs=reciprocal_density(np.array([[[0.0], [50.0]]]), _GAUSSIAN, 1.0),
            control_rhs=1 / _GAUSSIAN.lower_bound(0.0, 1),
        )


@statement(_CHAPTER, "P5.2", "n_i >= c0 N h^d for all i implies p_h(x_i) >= k0 c0 and R_N <= 1/(k0 c0)", "Proposition 5.2, (29)-(32)")
def occupancy_bound(data: Data) -> Iterator[Evidence]:
    for name, o in select(data, "occupancy"):
        lhs, rhs, broken = xr.broadcast(o["density_floor"], o["least_density"], o["density_floor_control"])
        yield Inequality(
            case=f"density, {name}",
            quantity="k0 c0 against the least p_h(x_i) of every stored cloud; control: K(0) in the place of k0",
            lhs=lhs.values,
            rhs=rhs.values * (1 + 1e-12),
            control_lhs=broken.values,
            control_rhs=rhs.values,
        )
        lhs, rhs = xr.broadcast(o["reciprocal_kde"], o["reciprocal_bound"])
        yield Inequality(
            case=f"R_N, {name}",
            quantity="R_N against 1/(k0 c0) of every stored cloud; control: the largest 1/p_h(x_i) against 1/(K(0) c0)",
            lhs=lhs.values,
            rhs=rhs.values * (1 + 1e-12),
            control_lhs=o["largest_reciprocal"].broadcast_like(rhs).transpose(*rhs.dims).values,
            control_rhs=1 / o["density_floor_control"].transpose(*rhs.dims).values,
        )


@statement(_CHAPTER, "A5.1", "K >= k0 on |z| <= r0, with at least c0 N h^d particles in every ball of radius r0 h", "Assumption 5.1, (28)")
def kernel_floor(data: Data) -> Iterator[Evidence]:
    for name, o in select(data, "occupancy"):
        experiment, radii = json.loads(o.attrs["experiment"]), o["r0"].values
        kernel = make_kernel(experiment["kernel"])
        d = make_target(experiment["target"], seed=int(o.attrs["seed"])).dimension
        least = [float(kernel.value(np.linspace(0, r, 201), 1.0, d).min()) for r in radii]
        yield Inequality(
            case=name,
            quantity="k0 against the least K on |z| <= r0, every r0; control: k0 of half the radius",
            lhs=o["k0"].values,
            rhs=np.array(least) * (1 + 1e-12),
            control_lhs=[kernel.lower_bound(float(r) / 2, d) for r in radii],
            control_rhs=least,
        )


@statement(_CHAPTER, "A5.3", "mu(B(x, r0 h)) >= c h^d for mu-almost every x, with some c > 0", "Assumption 5.3, (33)")
def ball_mass(data: Data) -> Iterator[Evidence]:
    mass = data["mass"]

    def missing_share(label: str) -> np.ndarray:
        row = mass.sel(density=label)
        used = row["admissible"].values.astype(bool) | (row["constant"].values == 0)
        infimum = row["infimum"].values
        return (1 - np.divide(row["constant"].values, infimum, out=np.zeros_like(infimum), where=infimum > 0))[used]

    for label in mass["density"].values:
        yield Assumption(
            case=str(label),
            quantity="1 - c / infimum of the ball masses (1: there is no floor); control: the Gaussian",
            defects=missing_share(str(label)),
            control=missing_share("gaussian_d1"),
            tolerance=0.9,
        )


@statement(_CHAPTER, "R5.4", "density >= rho_min on A, |A n B(x,r)| >= theta omega_d r^d: c = rho_min theta omega_d r0^d", "Remark 5.4")
def ball_mass_constant(data: Data) -> Iterator[Evidence]:
    mass = data["mass"]
    for label in mass["density"].values:
        row = mass.sel(density=label)
        used = row["admissible"].values.astype(bool)
        if not float(row["constant"].max()) > 0:
            continue
        infimum = row["infimum"].values[used] * (1 + 1e-4)
        yield Inequality(
            case=str(label),
            quantity="c / r0^d against the infimum of the ball masses; control: theta left out",
            lhs=np.broadcast_to(row["constant"].values, used.shape)[used],
            rhs=infimum,
            control_lhs=np.broadcast_to(row["constant_without_share"].values, used.shape)[used],
            control_rhs=infimum,
        )


@statement(_CHAPTER, "P5.5", "P(min_i n_i < 1 + lambda/2) <= N exp(-lambda/8), lambda = (N-1) c h^d", "Proposition 5.5, (34)-(37)")
def failure_probability(data: Data) -> Iterator[Evidence]:
    f = data["failures"]
    for label in f["density"].values:
        row = f.sel(density=label)
        used = row["admissible"].values.astype(bool)
        frequency, low, high = (row[k].values[used] for k in ("frequency", "frequency_low", "frequency_high"))
        wide_low, wide = row["frequency_without_share_low"].values[used], row["bound_without_share"].values[used]
        for case, bound in (("Chernoff", "bound"), ("binomial", "union_bound")):
            yield Inequality(
                case=f"{case}, {label}",
                quantity=f"failure frequency (upper limits to {high.max():.2g}) against the {case} union bound; control: no theta in c",
                lhs=frequency,
                rhs=row[bound].values[used],
                uncertainty=frequency - low,
                ceiling=1.0,
                control_lhs=wide_low,
                control_rhs=wide,
                control_uncertainty=0.0,
            )


@statement(_CHAPTER, "L5.7", "e^-Lam(t) |Delta(0)| <= |Delta(t)| <= e^Lam(t) |Delta(0)| for every pair", "Lemma 5.7, (40)")
def distortion(data: Data) -> Iterator[Evidence]:
    for name, p in select(data, "propagation"):
        later = p.isel(time=slice(1, None))
        bound = later["distortion"].values * (1 + 1e-5) + 1e-9
        for case, sign in (("upper", later["largest_log_separation"].values), ("lower", -later["least_log_separation"].values)):
            yield Inequality(
                case=f"{case}, {name}",
                quantity="extreme log separation of all pairs against the realised Lam(t); control: Lam(t) / 2",
                lhs=sign,
                rhs=bound,
                control_lhs=sign,
                control_rhs=bound / 2,
            )


@statement(_CHAPTER, "A5.6", "|b(x_i) - b(x_j)| <= l(t) |x_i - x_j| for every pair, Lam(t) = int_0^t l", "Assumption 5.6, (38)(39)")
def lipschitz_integral(data: Data) -> Iterator[Evidence]:
    for name, p in select(data, "propagation"):
        later = p.isel(time=slice(1, None))
        yield Identity(
            case=name,
            quantity="Lam(t): integrator's integral against the trapezoid sum over output times, relative; control: l(0) t",
            residual=((later["distortion_trapezoid"] - later["distortion"]) / later["distortion"]).isel(time=-1).values,
            control=((later["lipschitz"].isel(time=0) * later["time"] - later["distortion"]) / later["distortion"]).isel(time=-1).values,
            tolerance=0.1,
        )


@statement(
    _CHAPTER, "P5.8", "occupancy at scale e^-Lam(T) r0 h at t = 0 keeps p_h >= k0 c0 and R_N <= 1/(k0 c0) up to T", "Proposition 5.8"
)
def propagation(data: Data) -> Iterator[Evidence]:
    for name, p in select(data, "propagation"):
        kernel = make_kernel(json.loads(p.attrs["experiment"])["kernel"])
        k0 = [kernel.lower_bound(float(r0), 1) / kernel.lower_bound(0.0, 1) for r0 in p["r0"]]
        lhs, rhs, broken = xr.broadcast(p["density_floor"], p["least_density"], p["density_floor_control"] / xr.DataArray(k0, dims="r0"))
        yield Inequality(
            case=name,
            quantity="k0 c0 from the shrunken balls at t = 0 against the least p_h(x_i) up to t; control: radius not shrunk, K(0) for k0",
            lhs=lhs.values,
            rhs=rhs.values * (1 + 1e-9),
            control_lhs=broken.values,
            control_rhs=rhs.values,
        )


@statement(
    _CHAPTER, "C5.9", "i.i.d. start: P5.8's floor fails with probability at most N exp(-lambda/8) at the shrunken radius", "Corollary 5.9"
)
def iid_propagation(data: Data) -> Iterator[Evidence]:
    broken = data["failures"].where(data["failures"]["admissible"] > 0)
    for name, p in select(data, "propagation"):
        share = p["iid_failures"] / p.sizes["replicate"]
        bound = p["iid_failure_bound"]
        noise = np.sqrt((bound * (1 - bound)).clip(min=1e-12) / p.sizes["replicate"])
        yield Inequality(
            case=name,
            quantity="share of replicates below the floor's count against N exp(-lambda/8); control: P5.5 without theta",
            lhs=share.values,
            rhs=bound.values,
            uncertainty=4 * noise.values,
            ceiling=1.0,
            control_lhs=broken["frequency_without_share_low"].fillna(0).values,
            control_rhs=broken["bound_without_share"].fillna(np.inf).values,
            control_uncertainty=0.0,
        )
