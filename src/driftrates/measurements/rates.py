"""Rates: power laws in N with their uncertainty, the bound C4.7 and its optimal bandwidth (section 4.3)."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import xarray as xr
from scipy import stats

from driftrates import random, simulate
from driftrates.measurements import quadrature, transport
from driftrates.targets import kl_divergence


class PowerLaw(NamedTuple):
    """log value = intercept + slope log N, fitted to means over replicates.

    ``percentile`` and ``bca``: bootstrap intervals (low, high) of the slope; ``curvature`` the coefficient of (log N)^2 after
    centring, with ``curvature_p`` the p-value of its absence; ``leave_one_out`` (low, high) of the slope over all subsets of sizes
    with one N left out.
    """

    slope: float
    intercept: float
    percentile: tuple[float, float]
    bca: tuple[float, float]
    curvature: float
    curvature_p: float
    leave_one_out: tuple[float, float]


def fit_power_law(
    sizes: Sequence[float],
    values: Sequence[np.ndarray],
    *,
    confidence: float = 0.95,
    resamples: int = 999,
    seed: int = 0,
) -> PowerLaw:
    """Weighted log-log fit of E value against N.

    sizes: at least three different N > 0; values: for each N an array (R,) of independent positive replicates, R >= 4.
    Weights are the inverse variances of the log means (delta method). The bootstrap resamples replicates within each N.
    Raises ``ValueError`` where means are not positive and finite, since a power law has no meaning there.
    """
    samples = [np.asarray(v, float).ravel() for v in values]
    x = np.log(np.asarray(sizes, float))
    if len(x) != len(samples) or len(np.unique(x)) < 3 or min(map(len, samples)) < 4:
        raise ValueError("a power law needs at least three sizes with at least four replicates each")
    means = np.array([s.mean() for s in samples])
    if not (np.isfinite(means).all() and (means > 0).all()):
        raise ValueError(f"a power law needs positive finite means, not {means}")
    weights = np.array([(s.mean() / max(s.std(ddof=1), 1e-12 * s.mean())) ** 2 * len(s) for s in samples])
    weights = np.minimum(weights, 1e3 * np.median(weights))
    slope, intercept = _line(x, np.log(means), weights)

    def statistic(*groups: np.ndarray, axis: int = -1) -> np.ndarray:
        y = np.log(np.maximum(np.stack([g.mean(axis) for g in groups], axis=-1), 1e-300))
        return _line(x, y, weights)[0]

    def interval(method: str) -> tuple[float, float]:
        rng = random.generator(seed, "power law", method)
        try:
            found = stats.bootstrap(
                tuple(samples), statistic, n_resamples=resamples, confidence_level=confidence, method=method, vectorized=True, rng=rng
            ).confidence_interval
        except ValueError:
            return (np.nan, np.nan)
        return float(found.low), float(found.high)

    left_out = [_line(np.delete(x, k), np.delete(np.log(means), k), np.delete(weights, k))[0] for k in range(len(x))]
    curvature, curvature_p = _curvature(x, np.log(means), weights)
    return PowerLaw(
        float(slope),
        float(intercept),
        interval("percentile"),
        interval("BCa"),
        curvature,
        curvature_p,
        (float(min(left_out)), float(max(left_out))),
    )


def student_interval(samples: Sequence[float]) -> tuple[float, tuple[float, float]]:
    """Mean of independent samples (R,) and its 95 % interval (low, high) by Student's t. Raises ``ValueError`` for fewer than two."""
    values = np.asarray(samples, float).ravel()
    if len(values) < 2:
        raise ValueError(f"an interval of a mean needs at least two samples, not {len(values)}")
    mean, half = values.mean(), stats.t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / math.sqrt(len(values))
    return float(mean), (float(mean - half), float(mean + half))


def replicate_exponent(x: Sequence[float], values: np.ndarray) -> tuple[float, tuple[float, float]]:
    """`student_interval` of the exponents of x (K,) > 0 that least squares on logarithms give each column of values (K, R) > 0."""
    return student_interval(np.polyfit(np.log(x), np.log(values), 1)[0])


def local_exponents(sizes: Sequence[float], values: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Exponents (K - 1,) between neighbouring sizes (K,) of the means of positive values (R,) each, and half of their 95 % intervals.

    Delta method and Student's t with 2 (R - 1) degrees of freedom, R >= 2; NaN where a mean is not positive.
    """
    samples, gaps = [np.asarray(v, float) for v in values], np.diff(np.log(np.asarray(sizes, float)))
    means = np.array([v.mean() if v.mean() > 0 else np.nan for v in samples])
    squares = np.array([v.var(ddof=1) / len(v) for v in samples]) / means**2
    freedom = np.array([len(a) + len(b) - 2 for a, b in itertools.pairwise(samples)])
    return np.diff(np.log(means)) / gaps, stats.t.ppf(0.975, freedom) * np.sqrt(squares[1:] + squares[:-1]) / gaps


def _line(x: np.ndarray, y: np.ndarray, w: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Slope and intercept of weighted least squares along the last axis of y."""
    centre = (w * x).sum() / w.sum()
    slope = (w * (x - centre) * y).sum(-1) / (w * (x - centre) ** 2).sum()
    return slope, (w * y).sum(-1) / w.sum() - slope * centre


def _curvature(x: np.ndarray, y: np.ndarray, w: np.ndarray) -> tuple[float, float]:
    """Quadratic coefficient and the p-value of z = coefficient / standard error from the weights (inverse variances)."""
    if len(x) < 4:
        return np.nan, np.nan
    u = x - (w * x).sum() / w.sum()
    design = np.stack([np.ones_like(u), u, u * u], axis=1)
    covariance = np.linalg.inv(design.T @ (w[:, None] * design))
    coefficient = (covariance @ (design.T @ (w * y)))[2]
    return float(coefficient), float(2 * stats.norm.sf(abs(coefficient) / np.sqrt(covariance[2, 2])))


def predicted_exponent(d: int, beta: float = 0.0, *, root: bool = False) -> float:
    """Exponent of N in C4.7 at h = h*: -(2-beta)/(d+4-beta), half of it for the root rate; 0 for beta >= 2 (section 4.3)."""
    if beta >= 2:
        return 0.0
    return -(2 - beta) / (d + 4 - beta) / (2 if root else 1)


def optimal_bandwidth(n: np.ndarray, d: int, a: float, c_q: float, beta: float = 0.0) -> np.ndarray:
    """h* of (26): the minimiser of A / (N h^(d+2)) + C_Q h^(2 - beta); A, C_Q > 0, 0 <= beta < 2."""
    if not 0 <= beta < 2:
        raise ValueError(f"the bound has an interior minimiser for 0 <= beta < 2 only, not {beta}")
    return ((d + 2) * a / ((2 - beta) * c_q * np.asarray(n, float))) ** (1 / (d + 4 - beta))


def verdict(slope_low: float, slope_high: float, predicted: float) -> str:
    """How a measured exponent's interval stands to that of an upper bound: attained | faster than the bound | slower than predicted."""
    if slope_high < predicted:
        return "faster than the bound"
    return "slower than predicted" if slope_low > predicted else "attained"


CARRIERS = {
    "mean_stein_drift": ("time average of S_N", "time^-1"),
    "mean_squared_speed": ("time average of D_N", "length^2 time^-2"),
    "mean_self_interaction": ("time average of the self-interaction term", "time^-1"),
    "late_stein_drift": ("late-time S_N", "time^-1"),
    "late_squared_speed": ("late-time D_N", "length^2 time^-2"),
    "late_self_interaction": ("late-time self-interaction term", "time^-1"),
    "late_entropy_growth": ("late-time d(H_N/N)/dt", "time^-1"),
    "entropy_minimum": ("minimum over time of H_N / N", "1"),
}
"""What may carry a rate in N: long name and unit. Time averages of S_N and D_N also hold H_N(0)/(N T), which carries none."""


def measure_carriers(ensemble: xr.Dataset, *, late: float = 0.2) -> xr.Dataset:
    """`CARRIERS` per (bandwidth, n_particles, replicate) of a conservative ensemble simulated with ``entropy: true``.

    ``late`` is the share of the horizon, at its end, over which late-time values are averaged (0 < late < 1). The minimum of H_N/N
    is taken where the mean over replicates has it; ``minimum_time`` (bandwidth, n_particles) says when.
    """
    horizon = float(ensemble["time"][-1])
    end = ensemble.sel(time=slice((1 - late) * horizon * (1 - 1e-9), None))
    first = end.isel(time=0)["time"]
    span = horizon - float(first)
    out = {}
    for short, name in (("stein_drift", "integrated_stein_drift"), ("self_interaction", "integrated_self_interaction")):
        out[f"mean_{short}"] = ensemble[name].isel(time=-1) / horizon
        out[f"late_{short}"] = (ensemble[name].isel(time=-1) - ensemble[name].sel(time=first)) / span
    out["mean_squared_speed"] = ensemble["squared_speed"].integrate("time") / horizon
    out["late_squared_speed"] = end["squared_speed"].integrate("time") / span
    out["late_entropy_growth"] = out["late_self_interaction"] - out["late_stein_drift"]
    at = ensemble["entropy_path"].mean("replicate").argmin("time")
    out["entropy_minimum"] = ensemble["entropy_path"].isel(time=at)
    carriers = xr.Dataset({name: out[name].drop_vars("time", errors="ignore") for name in CARRIERS})
    for name, (text, unit) in CARRIERS.items():
        carriers[name].attrs = {"long_name": text, "units": unit}
    carriers["minimum_time"] = ensemble["time"][at].drop_vars("time")
    carriers["minimum_time"].attrs = {"long_name": "time of the minimum of H_N / N", "units": "time"}
    return carriers


PATH_CARRIERS = {
    "late_fisher": ("F_N of the last stored cloud", "length^2 time^-2"),
    "quadrature_gap": ("|S_N - F_N| of the last stored cloud", "time^-1"),
}
"""Carriers that are measured along h = h(N) only."""


_FEW = 2**14
"""Particles up to which L1 and L2 are looked for at 256 particles and as many points x_i + h z, beyond at 64: each costs N pairs."""


def diagonal(values: xr.DataArray) -> np.ndarray:
    """Values along h = h(N), with N first, whether every combination of bandwidth and N is there or only the pairs."""
    if "bandwidth" not in values.dims:
        return values.transpose("n_particles", ...).values
    both = values.transpose("bandwidth", "n_particles", ...).values
    return both[(np.arange(len(both)),) * 2]


PATHS = ("diagonal", "fixed", "optimal")
"""h = h_k at N = N_k; the middle bandwidth at every N; h* of (26) with the measured A and C_Q, interpolated in log h, for the N at
which it lies in the grid."""


def measure_rates(
    ensemble: xr.Dataset, *, replicates: int = 4, points: int = 1024, projections: int = 64, resamples: int = 999
) -> xr.Dataset:
    """Carriers of a rate in N, their power laws along `PATHS`, the terms of the bound C4.7, and the distance to the unsmoothed data.

    ``ensemble``: a conservative flow with ``entropy: true`` whose k-th bandwidth belongs to its k-th N (``bandwidth: {prefactor: ..}``),
    so that the grid holds h = h(N) on its diagonal; or that diagonal alone (``paired: true``), where there is no dimension bandwidth
    in what follows, and no ``distance``. F_N and the constants are measured on the last cloud of the first ``replicates``
    replicates of the diagonal; W2 to data (exact for d = 1, else sliced over ``projections`` directions) against as many points drawn
    from the target before smoothing as the largest N has particles.

    Over (bandwidth, n_particles, replicate): `CARRIERS`, ``distance``, ``late_reciprocal_kde`` R_N. Over (n_particles, path_replicate):
    `PATH_CARRIERS`, ``stein_sup``, ``speed_sup`` (L1, L2 over x_i + h z). Over (bandwidth, n_particles): ``initial_term`` C0/T,
    ``self_term`` A/(N h^(d+2)) with kappa the time average of R_N. Over (carrier, path): slope, intercept, intervals, curvature, the
    exponent ``predicted`` by C4.7 with beta = 0. Over (carrier, neighbours): ``local_slope`` between neighbouring N on the diagonal.
    Over n_particles: ``level_volume``, see `level_volume`.
    """
    experiment, seed = json.loads(ensemble.attrs["experiment"]), int(ensemble.attrs["seed"])
    d, sizes, bandwidths = ensemble.sizes["component"], ensemble["n_particles"].values, ensemble["bandwidth"].values
    grid = "bandwidth" in ensemble.dims
    if len(sizes) != len(bandwidths):
        raise ValueError("rates need one bandwidth per number of particles: bandwidth: {prefactor: ..} in the configuration")
    out = measure_carriers(ensemble)
    kernel, target = simulate.make_kernel(experiment["kernel"]), simulate.make_target(experiment["target"], seed=seed)
    scale = ensemble["bandwidth"] ** (d + 2) * ensemble["n_particles"]
    kappa = (ensemble["reciprocal_kde"].integrate("time") / float(ensemble["time"][-1])).mean("replicate")
    out["self_term"] = -kernel.laplacian_at_zero(d) * kappa / scale
    out["initial_term"] = _initial_term(experiment, ensemble, seed)
    out["late_reciprocal_kde"] = out["late_self_interaction"] * scale / -kernel.laplacian_at_zero(d)
    out["level_volume"] = ("n_particles", level_volume(target, sizes, bandwidths))
    if grid:
        out["distance"] = _distances(experiment, target, ensemble, seed, projections)
    path = _along_path(experiment, ensemble, seed, min(replicates, ensemble.sizes["replicate"]), points)
    out = out.merge(path)
    c_q = float(((path["stein_effective"] + path["speed_effective"]) * kernel.second_moment(d) / 2).mean())
    a = float(-kernel.laplacian_at_zero(d) * diagonal(kappa).mean())
    h_star = optimal_bandwidth(sizes, d, a, c_q)
    out["optimal_bandwidth"] = ("n_particles", h_star)
    fits = _fits(out, h_star, d, resamples, seed)
    out = out.merge(fits)
    labels = {
        "self_term": ("A / (N h^(d+2)) of C4.7 with kappa the time average of R_N", "time^-1"),
        "initial_term": ("C0 / T of C4.7, KL(rho_0 || pi) over the horizon", "time^-1"),
        **({"distance": ("W2 of the last cloud to the unsmoothed target (sliced for d >= 2)", "length")} if grid else {}),
        "late_reciprocal_kde": ("late-time R_N", "length^d"),
        "level_volume": ("volume of the region where the target exceeds 1 / (N h^d)", "length^d"),
        "optimal_bandwidth": ("h* of (26), beta = 0, with the measured A and C_Q", "length"),
        "stein_sup": ("L1 of A2.5 over x_i + h z", "time^-1 length^-2"),
        "speed_sup": ("L2 of A2.5 over x_i + h z", "time^-1 length^-2"),
        "stein_effective": ("2 |S_N - F_N| / (m2 h^2)", "time^-1 length^-2"),
        "speed_effective": ("2 |F_N - D_N| / (m2 h^2)", "time^-1 length^-2"),
        **PATH_CARRIERS,
    }
    for name, (text, unit) in labels.items():
        out[name].attrs = {"long_name": text, "units": unit}
    out.attrs = {
        "experiment": ensemble.attrs["experiment"],
        "seed": seed,
        "dimension": d,
        "self_constant": a,
        "quadrature_constant": c_q,
        "second_moment": kernel.second_moment(d),
    }
    return out


def _initial_term(experiment: dict, ensemble: xr.Dataset, seed: int) -> xr.DataArray:
    start = simulate.start_density(experiment, ensemble.sizes["component"])
    values = []
    for h in ensemble["bandwidth"].values:
        density = getattr(simulate.build_field(experiment, float(h), seed=seed).target, "density", None)
        values.append(math.nan if density is None else kl_divergence(start, density, seed=seed).value)
    return xr.DataArray(np.array(values) / float(ensemble["time"][-1]), dims=ensemble["bandwidth"].dims)


def level_volume(target: simulate.Target, sizes: np.ndarray, bandwidths: np.ndarray) -> np.ndarray:
    """Volume (K,) of {p > 1 / (N h^d)} for a target that is one Gaussian, else NaN: the mean of 1/p over a cloud that fills this region.

    It grows like (log N)^(d/2), and with it the R_N of a cloud that resembles the target: kappa of A2.3 is not uniform in N.
    """
    mixture = target.mixture
    if mixture is None or len(mixture.weights) > 1:
        return np.full(len(sizes), np.nan)
    d, peak = mixture.dimension, math.exp(float(mixture.evaluate(mixture.means[None]).log_density[0, 0]))
    radius = np.sqrt(2 * np.log(np.maximum(peak * sizes * bandwidths**d, 1.0)))
    return (radius * math.sqrt(math.pi)) ** d / math.gamma(d / 2 + 1) / (peak * (2 * math.pi) ** (d / 2))


def _distances(experiment: dict, target: simulate.Target, ensemble: xr.Dataset, seed: int, projections: int) -> xr.DataArray:
    sizes, d = ensemble["n_particles"].values, ensemble.sizes["component"]
    if target.points is not None:
        data = target.points
    else:
        data = target.mixture.sample(random.generator(seed, experiment["name"], "unsmoothed"), (1, int(4 * sizes.max())))[0]
    coordinates = [ensemble[c] for c in ("bandwidth", "n_particles")]
    values = np.zeros((*(c.size for c in coordinates), ensemble.sizes["replicate"]))
    for b, s, r in np.ndindex(values.shape):
        cloud = ensemble[f"cloud_{sizes[s]}"].isel(bandwidth=b, replicate=r, snapshot=-1).values.astype(float)
        values[b, s, r] = transport.w2_to_data(cloud, data, projections=None if d == 1 else projections, seed=seed)
    return xr.DataArray(values, dims=("bandwidth", "n_particles", "replicate"))


def _along_path(experiment: dict, ensemble: xr.Dataset, seed: int, replicates: int, points: int) -> xr.Dataset:
    names = (*PATH_CARRIERS, "stein_sup", "speed_sup", "stein_effective", "speed_effective")
    found = {name: np.zeros((ensemble.sizes["n_particles"], replicates)) for name in names}
    for k, (n, h) in enumerate(zip(ensemble["n_particles"].values, ensemble["bandwidth"].values, strict=True)):
        field = simulate.build_field(experiment, float(h), seed=seed)
        for r in range(replicates):
            place = {"bandwidth": k, "replicate": r, "snapshot": -1}
            cloud = ensemble[f"cloud_{n}"].isel(place, missing_dims="ignore").values.astype(float)
            probes = 256 if n <= _FEW else 64
            c = quadrature.constants(field, cloud, particles=probes, samples=probes, seed=seed, points=points, rtol=1e-5, rate=False)
            window = list(quadrature.REGIONS).index("neighbourhood")
            found["late_fisher"][k, r], found["quadrature_gap"][k, r] = c.fisher.value, c.stein_gap
            found["stein_sup"][k, r], found["speed_sup"][k, r] = c.stein[window], c.speed[window]
            factor = 2 / (field.kernel.second_moment(cloud.shape[1]) * h**2)
            found["stein_effective"][k, r], found["speed_effective"][k, r] = factor * c.stein_gap, factor * c.speed_gap
    return xr.Dataset({name: (("n_particles", "path_replicate"), values) for name, values in found.items()})


def _fits(measured: xr.Dataset, h_star: np.ndarray, d: int, resamples: int, seed: int) -> xr.Dataset:
    sizes, log_h = measured["n_particles"].values, np.log(measured["bandwidth"].values)
    carriers = [*CARRIERS, *PATH_CARRIERS]
    columns = {
        "slope": ("exponent of N", ()),
        "intercept": ("logarithm of the prefactor", ()),
        "percentile": ("bootstrap percentile interval of the exponent", ("end",)),
        "bca": ("bootstrap BCa interval of the exponent", ("end",)),
        "leave_one_out": ("extremes of the exponent with one N left out", ("end",)),
        "curvature": ("coefficient of (log N)^2", ()),
        "curvature_p": ("p-value of no curvature", ()),
    }
    arrays = {name: np.full((len(carriers), len(PATHS), *(2 for _ in extra)), np.nan) for name, (_, extra) in columns.items()}
    for c, carrier in enumerate(carriers):
        for p, path in enumerate(PATHS):
            inside, values = _on_path(measured[carrier], path, log_h, np.log(h_star))
            if inside.sum() < 3 or not all(np.isfinite(v).all() and v.mean() > 0 for v in values):
                continue
            fit = fit_power_law(sizes[inside], values, resamples=resamples, seed=seed)
            for name in columns:
                arrays[name][c, p] = getattr(fit, name)
    columns["local_slope"] = ("exponent between neighbouring N on the diagonal", ("neighbours",))
    columns["local_error"] = ("half of the 95 % interval of that exponent", ("neighbours",))
    local = [local_exponents(sizes, diagonal(measured[carrier])) for carrier in carriers]
    out = xr.Dataset({name: (("carrier", "path", *columns[name][1]), values) for name, values in arrays.items()})
    out["local_slope"], out["local_error"] = ((("carrier", "neighbours"), np.stack(each)) for each in zip(*local, strict=True))
    out["neighbours"] = np.sqrt(sizes[1:] * sizes[:-1])
    out["predicted"] = ("path", [predicted_exponent(d), -1.0, predicted_exponent(d)])
    out = out.assign_coords(carrier=carriers, path=list(PATHS), end=["low", "high"])
    for name, (text, _) in columns.items():
        out[name].attrs = {"long_name": text, "units": "1"}
    out["predicted"].attrs = {"long_name": "exponent of the N-dependent terms of the squared bound C4.7", "units": "1"}
    for name, text in (
        ("neighbours", "geometric mean of two neighbouring N"),
        ("carrier", "carrier of a rate"),
        ("path", "path in the (N, h) plane"),
        ("end", "end of an interval"),
    ):
        out[name].attrs = {"long_name": text, "units": "1"}
    return out


def _on_path(values: xr.DataArray, path: str, log_h: np.ndarray, log_star: np.ndarray) -> tuple[np.ndarray, list[np.ndarray]]:
    """Which N the path reaches inside the grid, and the replicates at each of them."""
    everywhere, nowhere = np.ones(len(log_h), bool), np.zeros(len(log_h), bool)
    if path == "diagonal":
        return everywhere, list(diagonal(values))
    if "bandwidth" not in values.dims:
        return nowhere, []
    both = values.transpose("bandwidth", "n_particles", ...).values
    if path == "fixed":
        return everywhere, list(both[len(log_h) // 2])
    order = np.argsort(log_h)
    inside = (log_star >= log_h.min()) & (log_star <= log_h.max())
    found = [np.array([np.interp(log_star[k], log_h[order], v) for v in both[order, k].T]) for k in np.flatnonzero(inside)]
    return inside, found
