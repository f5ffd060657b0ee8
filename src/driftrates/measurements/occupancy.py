"""How many neighbours a particle has, and what that says about 1 / p_h: A5.1 to C5.9, R5.4, R2.4 and X1, measured.

The chain of section 5: mass of small balls (A5.3, R5.4) -> neighbours of i.i.d. particles (P5.5) -> the model KDE is bounded below
(A5.1, P5.2) -> and stays so for as long as the flow distorts distances by no more than a known factor (A5.6, L5.7, P5.8, C5.9).
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from scipy import special
from scipy.spatial import cKDTree

from driftrates import datasets, flow, simulate
from driftrates.kernels import Kernel
from driftrates.labels import labelled
from driftrates.measurements.densities import BoxDensity, make_density, mass_constant
from driftrates.random import generator
from driftrates.sums import kernel_sums

_VALUES_PER_BLOCK = 2**20


def counts(cloud: np.ndarray, radius: float, *, workers: int = 1) -> np.ndarray:
    """n_i = #{j : |x_j - x_i| <= radius}, i included (A5.1): cloud (..., N, d) gives (..., N) integers.

    Clouds along the leading axes do not see each other. ``workers``: threads. Raises ``ValueError`` unless radius > 0.
    """
    if not (math.isfinite(radius) and radius > 0):
        raise ValueError(f"radius must be a positive number, not {radius!r}")
    n, d = cloud.shape[-2:]
    replicates = math.prod(cloud.shape[:-2])
    points = np.empty((replicates, n, d + 1))
    points[..., :d] = cloud.reshape(replicates, n, d)
    # A coordinate of its own keeps clouds apart without touching the distances within them.
    points[..., d] = 3 * radius * np.arange(replicates)[:, None]
    points = points.reshape(-1, d + 1)
    found = cKDTree(points, leafsize=64).query_ball_point(points, radius, return_length=True, workers=workers)
    return found.reshape(cloud.shape[:-1])


def reciprocal_density(cloud: np.ndarray, kernel: Kernel, h: float) -> np.ndarray:
    """1 / p_h(x_i), p_h the full KDE of the cloud: (R, N, d) gives (R, N), unit length^d."""
    scale, terms = kernel_sums(cloud, cloud, kernel, h, ("k",))
    n, d = cloud.shape[1:]
    return n * kernel.normaliser(d) * h**d * np.exp(-scale) / terms["k"]


def measure_mass(
    densities: Sequence[tuple[str, int]],
    *,
    radii: Sequence[float] = (0.05, 0.1, 0.2, 0.4),
    samples: Sequence[int] = (16, 64, 256),
    seed: int,
) -> xr.Dataset:
    """A5.3 and R5.4: the least mass of a ball B(x, r) over sample points x, beside rho_min theta omega_d r^d.

    densities: (name, dimension) of `make_density`; radii r > 0 in units of length (r = r0 h); samples: sizes n of the i.i.d. sets of x,
    each a part of the next. Over (density, radius, sample): the least of mu(B(x, r)) / r^d; over (density, radius): its infimum over
    the support, the constant c / r0^d of R5.4, the same without theta (the control), and whether r <= r*.
    """
    sizes = [int(n) for n in samples]
    shape = (len(densities), len(radii))
    least, infimum = np.empty((*shape, len(sizes))), np.empty(shape)
    constant, control, admissible = np.empty(shape), np.empty(shape), np.empty(shape, bool)
    for i, (name, d) in enumerate(densities):
        law = make_density(name, d)
        x = law.sample(generator(seed, "mass", name, d), (max(sizes),))
        for j, r in enumerate(radii):
            ratio = np.minimum.accumulate(law.mass(x, r)) / r**d
            least[i, j] = ratio[np.array(sizes) - 1]
            infimum[i, j] = law.least_mass(r) / r**d
            constant[i, j] = mass_constant(law, 1.0)
            control[i, j] = constant[i, j] / law.share
            admissible[i, j] = r <= law.reach
    dims = ("density", "radius")
    return labelled(
        {
            "least_mass": ((*dims, "sample"), least, "least mu(B(x, r)) / r^d over the first n sample points", "length^-d"),
            "infimum": (dims, infimum, "infimum of mu(B(x, r)) / r^d over the support", "length^-d"),
            "constant": (dims, constant, "rho_min theta omega_d of R5.4", "length^-d"),
            "constant_without_share": (dims, control, "rho_min omega_d, theta left out", "length^-d"),
            "admissible": (dims, admissible, "whether r <= r*", "1"),
        },
        {
            "density": (_names(densities), "law of the points", "1"),
            "radius": (np.asarray(radii, float), "radius r = r0 h of the ball", "length"),
            "sample": (np.array(sizes), "number n of sample points", "1"),
        },
        {"seed": seed},
    )


def measure_failures(
    densities: Sequence[tuple[str, int]],
    *,
    sizes: Sequence[int] = (64, 256, 1024),
    occupancy_ratios: Sequence[float] = (1.0, 4.0, 8.0, 16.0, 32.0),
    r0: float = 1.0,
    trials: int = 4000,
    points: int = 150_000,
    confidence: float = 0.95,
    seed: int,
    workers: int = 1,
) -> xr.Dataset:
    """P5.5: how often i.i.d. particles have min_i n_i < 1 + lambda/2, lambda = (N-1) c h^d, against N exp(-lambda/8).

    densities: (name, dimension) of `make_density` with a bounded support; sizes N; occupancy_ratios N h^d / log N, which give h; c by
    `mass_constant`. A cell has ``trials`` trials, fewer where they would need more than ``points`` particles; the ratios of one
    (density, N) share their clouds. Over (density, n_particles, occupancy_ratio): failures, their frequency with its exact
    (Clopper-Pearson) two-sided interval, the bound of P5.5, the exact union bound N P(Bin(N-1, c h^d) < lambda/2), and the control:
    frequency and bound with c taken without theta, as if the support had no boundary. Cells with r0 h > r* have no c:
    ``admissible`` is false and the numbers are NaN (failures -1). ``workers``: threads; the result does not depend on them.
    Raises ``ValueError`` for a density for which c = 0.
    """
    shape = (len(densities), len(sizes), len(occupancy_ratios))
    names = (
        "bandwidth occupation frequency frequency_low frequency_high bound union_bound"
        " frequency_without_share frequency_without_share_low bound_without_share"
    )
    out = {name: np.full(shape, np.nan) for name in names.split()}
    failures, performed, admissible = np.full(shape, -1), np.zeros(shape, int), np.zeros(shape, bool)
    for i, (name, d) in enumerate(densities):
        law = make_density(name, d)
        c = mass_constant(law, r0)
        if not c > 0:
            raise ValueError(f"density {name!r} has no positive lower bound on its support: A5.3 fails and P5.5 says nothing; use another")
        for j, n in enumerate(sizes):
            count = max(1, min(trials, points // n))
            clouds = law.sample(generator(seed, "failures", name, d, n), (count, n))
            for k, ratio in enumerate(occupancy_ratios):
                h = (ratio * math.log(n) / n) ** (1 / d)
                lam = (n - 1) * c * h**d
                out["bandwidth"][i, j, k], out["occupation"][i, j, k] = h, lam
                if r0 * h > law.reach:
                    continue
                admissible[i, j, k], performed[i, j, k] = True, count
                least = counts(clouds, r0 * h, workers=workers).min(1)
                failed = int((least < 1 + lam / 2).sum())
                failures[i, j, k] = failed
                cell = {name: values[i, j] for name, values in out.items()}
                cell["frequency"][k] = failed / count
                cell["frequency_low"][k], cell["frequency_high"][k] = exact_interval(failed, count, confidence)
                cell["bound"][k] = n * math.exp(-lam / 8)
                cell["union_bound"][k] = n * special.bdtr(math.ceil(lam / 2) - 1, n - 1, c * h**d)
                wide = lam / law.share
                broken = int((least < 1 + wide / 2).sum())
                cell["frequency_without_share"][k] = broken / count
                cell["frequency_without_share_low"][k] = exact_interval(broken, count, confidence)[0]
                cell["bound_without_share"][k] = n * math.exp(-wide / 8)
    dims = ("density", "n_particles", "occupancy_ratio")
    texts = {
        "bandwidth": ("bandwidth h", "length"),
        "occupation": ("lambda = (N - 1) c h^d", "1"),
        "frequency": ("frequency of min_i n_i < 1 + lambda / 2", "1"),
        "frequency_low": (f"lower end of its exact {confidence:.0%} interval", "1"),
        "frequency_high": (f"upper end of its exact {confidence:.0%} interval", "1"),
        "bound": ("N exp(-lambda / 8), the bound of P5.5", "1"),
        "union_bound": ("N P(Bin(N - 1, c h^d) < lambda / 2)", "1"),
        "frequency_without_share": ("frequency of the event with theta left out of c", "1"),
        "frequency_without_share_low": (f"lower end of its exact {confidence:.0%} interval", "1"),
        "bound_without_share": ("N exp(-lambda / 8) with theta left out of c", "1"),
    }
    variables = {name: (dims, out[name], *texts[name]) for name in out}
    variables["failures"] = (dims, failures, "trials with min_i n_i < 1 + lambda / 2, -1 where r0 h > r*", "1")
    variables["trials"] = (dims, performed, "number of trials", "1")
    variables["admissible"] = (dims, admissible, "whether r0 h <= r*", "1")
    coordinates = {
        "density": (_names(densities), "law of the points", "1"),
        "n_particles": (np.asarray(sizes, np.int64), "number of particles N", "1"),
        "occupancy_ratio": (np.asarray(occupancy_ratios, float), "N h^d / log N", "1"),
    }
    return labelled(variables, coordinates, {"seed": seed, "r0": r0, "confidence": confidence})


def exact_interval(successes: int, trials: int, confidence: float = 0.95) -> tuple[float, float]:
    """Two-sided Clopper-Pearson interval of a probability; with no success its upper end is 1 - ((1 - confidence)/2)^(1/trials)."""
    from scipy import stats  # loads slowly, and only this needs it

    interval = stats.binomtest(successes, trials).proportion_ci(confidence, "exact")
    return float(interval.low), float(interval.high)


def measure_occupancy(
    ensemble: xr.Dataset, *, r0: Sequence[float] = (1.0, 2.0, 3.0), kappa_factors: Sequence[float] = (1.0, 1.5, 2.0, 4.0)
) -> xr.Dataset:
    """A5.1, P5.2, X1 on every stored cloud of an ensemble of `simulate.simulate_flow`, and kappa, tau_kappa of A2.3, R2.4 over its times.

    Over (bandwidth, n_particles, replicate, snapshot): the least p_h(x_i), R_N and max 1/p_h(x_i); with r0 besides: the least
    count, c0 = min_i n_i / (N h^d), the floor k0 c0 of p_h, the bound 1/(k0 c0) of R_N, the number of particles below the floor
    k0 n_i / (N h^d) of their own count, and the floor with K(0) in the place of k0 (the control). Over (bandwidth, n_particles): the bound
    N h^d / K(0) of X1. kappa: time average of R_N (trapezoid over the output times), its mean over replicates and standard error;
    ``stopping_time``: first output time with R_N > factor * kappa, ``inf`` where the ensemble ends before (R2.4).
    """
    experiment = json.loads(ensemble.attrs["experiment"])
    kernel = simulate.make_kernel(experiment["kernel"])
    radii = np.asarray(r0, float)
    bandwidths, sizes = ensemble["bandwidth"].values, ensemble["n_particles"].values
    shape = (len(bandwidths), len(sizes), ensemble.sizes["replicate"], ensemble.sizes["snapshot"])
    floor_of_self = np.empty(shape[:2])
    inverse, largest = np.empty(shape), np.empty(shape)
    least_count, below = np.empty((*shape, len(radii)), int), np.empty((*shape, len(radii)), int)
    k0 = np.empty(len(radii))
    for s, n in enumerate(sizes):
        stored = ensemble[f"cloud_{n}"].values.astype(float)
        d = stored.shape[-1]
        k0[:] = [kernel.lower_bound(r, d) for r in radii]
        for b, h in enumerate(bandwidths):
            clouds = stored[b].reshape(-1, n, d)
            reciprocal = reciprocal_density(clouds, kernel, float(h))
            inverse[b, s] = reciprocal.mean(1).reshape(shape[2:])
            largest[b, s] = reciprocal.max(1).reshape(shape[2:])
            floor_of_self[b, s] = n * h**d / kernel.lower_bound(0.0, d)
            for k, r in enumerate(radii):
                found = counts(clouds, r * h)
                least_count[b, s, ..., k] = found.min(1).reshape(shape[2:])
                short = k0[k] * found * reciprocal > n * h**d * (1 + 1e-12)
                below[b, s, ..., k] = short.sum(1).reshape(shape[2:])
    cell = sizes[:, None, None, None] * bandwidths[:, None, None, None, None] ** d
    c0 = least_count / cell
    path = ensemble["reciprocal_kde"]
    horizon = float(path["time"][-1] - path["time"][0])
    kappa = (path.integrate("time") / horizon).transpose("bandwidth", "n_particles", "replicate").values
    mean = kappa.mean(-1)
    factors = np.asarray(kappa_factors, float)
    values = path.transpose("bandwidth", "n_particles", "replicate", "time").values
    above = values[..., None, :] > (mean[..., None] * factors)[:, :, None, :, None]
    tau = np.where(above.any(-1), path["time"].values[above.argmax(-1)], np.inf)
    cells, each = ("bandwidth", "n_particles"), ("bandwidth", "n_particles", "replicate", "snapshot")
    error = kappa.std(-1, ddof=1) / math.sqrt(shape[2]) if shape[2] > 1 else np.full_like(mean, np.inf)
    variables = {
        "least_density": (each, 1 / largest, "least p_h(x_i) of the cloud", "length^-d"),
        "reciprocal_kde": (each, inverse, "R_N, mean of 1 / p_h(x_i)", "length^d"),
        "largest_reciprocal": (each, largest, "largest 1 / p_h(x_i)", "length^d"),
        "least_count": ((*each, "r0"), least_count, "min_i n_i, neighbours within r0 h, itself included", "1"),
        "c0": ((*each, "r0"), c0, "c0 = min_i n_i / (N h^d)", "length^-d"),
        "density_floor": ((*each, "r0"), k0 * c0, "k0 c0, the lower bound of p_h of P5.2", "length^-d"),
        "density_floor_control": ((*each, "r0"), kernel.lower_bound(0.0, d) * c0, "K(0) c0, K(0) in the place of k0", "length^-d"),
        "reciprocal_bound": ((*each, "r0"), 1 / (k0 * c0), "1 / (k0 c0), the bound of R_N of P5.2", "length^d"),
        "below_own_floor": ((*each, "r0"), below, "particles with p_h(x_i) < k0 n_i / (N h^d)", "1"),
        "self_bound": (cells, floor_of_self, "N h^d / K(0), the bound of R_N of X1", "length^d"),
        "k0": (("r0",), k0, "k0 of (28), least K on the ball of radius r0", "1"),
        "kappa": ((*cells, "replicate"), kappa, "time average of R_N, trapezoid over the output times", "length^d"),
        "kappa_mean": (cells, mean, "kappa of A2.3, mean over replicates", "length^d"),
        "kappa_error": (cells, error, "standard error of kappa over replicates, inf for a single one", "length^d"),
        "stopping_time": ((*cells, "replicate", "kappa_factor"), tau, "first output time with R_N > factor kappa, inf if none", "time"),
        "stopped_share": ((*cells, "kappa_factor"), np.isfinite(tau).mean(2), "share of replicates with tau_kappa <= T", "1"),
    }
    out = labelled(
        variables,
        {"r0": (radii, "radius r0 in units of h", "1"), "kappa_factor": (factors, "threshold of R_N in units of kappa", "1")},
        {"experiment": ensemble.attrs["experiment"], "seed": ensemble.attrs["seed"]},
    )
    return out.assign_coords({name: ensemble[name] for name in ("bandwidth", "n_particles", "snapshot")})


class Extremes(NamedTuple):
    """Least and largest value over all pairs of a cloud, (R,) each."""

    least: np.ndarray
    largest: np.ndarray


def pair_ratios(a: np.ndarray, b: np.ndarray) -> Extremes:
    """Extremes over pairs i != j of |a_i - a_j| / |b_i - b_j|, for a, b (R, N, d), N >= 2, in blocks of rows.

    Pairs that coincide in b are left out.
    """
    replicates, n, d = b.shape
    least, largest = np.full(replicates, np.inf), np.zeros(replicates)
    step = max(1, _VALUES_PER_BLOCK // (replicates * n))
    for rows in (slice(i, i + step) for i in range(0, n - 1, step)):
        above, below = (sum((v[:, rows, None, k] - v[:, None, rows.start + 1 :, k]) ** 2 for k in range(d)) for v in (a, b))
        # Row i of a block meets the columns rows.start + 1, ...: each pair is seen, some of the block's own twice.
        apart = below > 0
        below = np.where(apart, below, 1.0)
        least = np.minimum(least, np.where(apart, above / below, np.inf).min((1, 2)))
        largest = np.maximum(largest, np.where(apart, above / below, 0.0).max((1, 2)))
    return Extremes(np.sqrt(least), np.sqrt(largest))


def start_law(experiment: Mapping[str, Any]) -> BoxDensity | None:
    """The law of a start that A5.3 can hold for, up to a translation (data set ``uniform``), or None."""
    spec = experiment["start"].get("data", {})
    if spec.get("name") != "uniform":
        return None
    given = {**datasets.describe("uniform").parameters, **spec}
    return BoxDensity(given["dimension"], (given["high"] - given["low"]) / 2)


def measure_propagation(experiment: Mapping[str, Any], *, seed: int, r0: Sequence[float] = (1.0, 2.0)) -> xr.Dataset:
    """A5.6, L5.7, P5.8, C5.9: an ensemble of ``experiment`` integrated with its realised distortion, every output time t as a horizon.

    l(t) = max over pairs |b_i - b_j| / |x_i - x_j|, and Lam(t) = int_0^t l is carried by the integrator with its error control, beside the
    trapezoid sum over the output times. Over (bandwidth, n_particles, replicate, time): both; the least and the largest
    log(|Delta(t)| / |Delta(0)|) over all pairs, which L5.7 places in [-Lam, Lam]; the least p_h(x_i) and the largest R_N at the
    output times up to t. With r0 besides: the least count at t = 0 within e^{-Lam(t)} r0 h, the floor k0 c0 of p_h and the
    bound 1/(k0 c0) of R_N of P5.8, and the floor with the radius r0 h not shrunk (the control). Over (bandwidth, n_particles,
    time, r0), C5.9 with the largest Lam of the replicates: the failure bound N exp(-lambda/8), the floor k0 (1 + lambda/2)/(N h^d),
    and the number of replicates below 1 + lambda/2 neighbours; lambda = 0, a vacuous bound, where the start has no bounded support
    or e^{-Lam} r0 h > r*.
    In float64, on the CPU; the cost grows with N^2 per step: meant for N up to a few hundred.
    """
    experiment = {**experiment, "dtype": "float64"}
    times = simulate.output_times(experiment["times"])
    bandwidths = np.atleast_1d(np.asarray(experiment["bandwidth"], float))
    sizes = np.atleast_1d(experiment["n_particles"]).astype(np.int64)
    d, kernel = simulate.make_target(experiment["target"], seed=seed).dimension, simulate.make_kernel(experiment["kernel"])
    radii, law = np.asarray(r0, float), start_law(experiment)
    k0 = np.array([kernel.lower_bound(r, d) for r in radii])
    constants = np.array([mass_constant(law, r) if law else 0.0 for r in radii])
    shape = (len(bandwidths), len(sizes), experiment["replicates"], len(times))
    lipschitz, distortion, closest, farthest, density, inverse = (np.empty(shape) for _ in range(6))
    near, common, near_whole = np.empty((*shape, len(radii)), int), np.empty((*shape, len(radii)), int), np.empty((*shape, len(radii)), int)
    for b, h in enumerate(bandwidths):
        field = simulate.build_field(experiment, float(h), seed=seed)

        def rhs(_: Any, x: np.ndarray, __: Any, field: Any = field) -> tuple[np.ndarray, np.ndarray]:
            velocity = field.at_particles(x).velocity
            return velocity, pair_ratios(velocity, x).largest[:, None]

        for s, n in enumerate(sizes):
            x0 = simulate.initial_clouds(experiment, int(n), d, seed=seed)
            records = flow.integrate(rhs, x0, times, simulate.make_method(experiment["integrator"]), carried=1, progress=True)
            for k, (state, _, _) in enumerate(records):
                value = field.at_particles(state.x)
                reciprocal = np.exp(-value.model.log_density)
                lipschitz[b, s, :, k] = pair_ratios(value.velocity, state.x).largest
                distortion[b, s, :, k] = state.carried[:, 0]
                separation = pair_ratios(state.x, x0)
                closest[b, s, :, k], farthest[b, s, :, k] = np.log(separation.least), np.log(separation.largest)
                density[b, s, :, k], inverse[b, s, :, k] = 1 / reciprocal.max(1), reciprocal.mean(1)
            shrinkage = np.exp(-np.minimum(distortion[b, s], 600.0)) * h
            for i, r in enumerate(radii):
                near_whole[b, s, ..., i] = counts(x0, r * h).min(1)[:, None]
                for k in range(len(times)):
                    near[b, s, :, k, i] = [counts(cloud, r * v).min() for cloud, v in zip(x0, shrinkage[:, k], strict=True)]
                    common[b, s, :, k, i] = counts(x0, r * shrinkage[:, k].min()).min(1)

    cell = sizes[:, None, None, None] * bandwidths[:, None, None, None, None] ** d
    worst = np.exp(-distortion.max(2))[..., None]
    reached = radii * worst * bandwidths[:, None, None, None] <= (law.reach if law else -1.0)
    lam = np.where(reached, (sizes[:, None, None] - 1) * constants * (worst * bandwidths[:, None, None, None]) ** d, 0.0)
    panels = np.diff(times) * (lipschitz[..., 1:] + lipschitz[..., :-1]) / 2
    trapezoid = np.concatenate([np.zeros((*panels.shape[:-1], 1)), np.cumsum(panels, axis=-1)], axis=-1)
    each, cells = ("bandwidth", "n_particles", "replicate", "time"), ("bandwidth", "n_particles")
    iid = (*cells, "time", "r0")
    variables = {
        "lipschitz": (each, lipschitz, "l(t), largest |b_i - b_j| / |x_i - x_j| over pairs", "time^-1"),
        "distortion": (each, distortion, "Lam(t), integral of l carried by the integrator", "1"),
        "distortion_trapezoid": (each, trapezoid, "Lam(t), trapezoid sum over the output times", "1"),
        "least_log_separation": (each, closest, "least log(|Delta(t)| / |Delta(0)|) over pairs", "1"),
        "largest_log_separation": (each, farthest, "largest log(|Delta(t)| / |Delta(0)|) over pairs", "1"),
        "least_density": (each, np.minimum.accumulate(density, -1), "least p_h(x_i) at the output times up to t", "length^-d"),
        "largest_reciprocal_kde": (each, np.maximum.accumulate(inverse, -1), "largest R_N at the output times up to t", "length^d"),
        "self_bound": (cells, cell[:, :, 0, 0, 0] / kernel.lower_bound(0.0, d), "N h^d / K(0), the bound of R_N of X1", "length^d"),
        "least_count": ((*each, "r0"), near, "min_i n_i at t = 0 within e^-Lam(t) r0 h", "1"),
        "density_floor": ((*each, "r0"), k0 * near / cell, "k0 c0 of P5.8, lower bound of p_h up to t", "length^-d"),
        "density_floor_control": ((*each, "r0"), k0 * near_whole / cell, "k0 c0 from the radius r0 h not shrunk", "length^-d"),
        "reciprocal_bound": ((*each, "r0"), cell / (k0 * near), "1 / (k0 c0) of P5.8, bound of R_N up to t", "length^d"),
        "iid_occupation": (iid, lam, "lambda = (N - 1) c h^d e^(-d Lam), Lam the largest of the replicates", "1"),
        "iid_failure_bound": (iid, sizes[:, None, None] * np.exp(-lam / 8), "N exp(-lambda / 8), failure probability of C5.9", "1"),
        "iid_density_floor": (iid, k0 * (1 + lam / 2) / cell[:, :, 0], "k0 (1 + lambda / 2) / (N h^d), floor of p_h of C5.9", "length^-d"),
        "iid_failures": (iid, (common < 1 + lam[:, :, None] / 2).sum(2), "replicates with min_i n_i < 1 + lambda / 2 at t = 0", "1"),
    }
    coordinates = {
        "bandwidth": (bandwidths, "bandwidth h", "length"),
        "n_particles": (sizes, "number of particles N", "1"),
        "time": (times, "time, or horizon", "time"),
        "r0": (radii, "radius r0 in units of h", "1"),
    }
    return labelled(variables, coordinates, {"experiment": json.dumps(experiment, sort_keys=True), "seed": seed})


def _names(densities: Sequence[tuple[str, int]]) -> list[str]:
    return [f"{name}_d{d}" for name, d in densities]
