"""The entropy budget of the conservative flow (T3.1, R3.2, R4.8) and of the leave-one-out flows (T6.3, X5) from stored ensembles."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import xarray as xr
from scipy import special

from driftrates import random, sampling, simulate
from driftrates.fields import STATISTICS, DriftField
from driftrates.kernels import Gaussian, Kernel, Matern32, Matern52, Matern72
from driftrates.sums import reference
from driftrates.sums.program import compile_terms
from driftrates.targets import Divergence, GaussianMixture, kl_divergence

_STEP = 1e-30
"""Complex step: far below any rounding unit, because nothing is subtracted."""


def score_difference(experiment: Mapping[str, Any], h: float, seed: int, x: np.ndarray, cloud: np.ndarray) -> np.ndarray:
    """b(x; X) = s_pi - grad log p_h at complex points x (n, d) for one cloud X (N, d), complex too: an independent slow path."""
    kernel = simulate.make_kernel(experiment["kernel"])
    target = simulate.make_target(experiment["target"], seed=seed)
    if target.points is None:
        mixture = target.mixture.smoothed(h) if experiment["smooth_target"] else target.mixture
        score = _mixture_score(mixture, x)
    else:
        score = _kde_score(kernel, h, x, target.points.astype(complex))
    return score - _kde_score(kernel, h, x, cloud)


def _kde_score(kernel: Any, h: float, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    program = compile_terms(kernel, x.shape[1], ("gz", "k"))
    columns = reference.accumulate(program, x[None] / h, y[None] / h, np.zeros((1, len(x))))[0]
    (gz, width, _), (k, _, _) = program.slots["gz"], program.slots["k"]
    return (columns[gz : gz + width] / (h * columns[k])).T


def _mixture_score(mixture: GaussianMixture, x: np.ndarray) -> np.ndarray:
    d = x.shape[1]
    logs, scores = [], []
    for weight, mean, covariance in zip(mixture.weights, mixture.means, mixture.covariances, strict=True):
        full = covariance if np.ndim(covariance) == 2 else np.diag(np.broadcast_to(covariance, (d,)))
        pull = np.linalg.solve(full, (mean - x).T).T
        logs.append(np.log(weight) - 0.5 * ((mean - x) * pull).sum(1) - 0.5 * np.linalg.slogdet(full)[1])
        scores.append(pull)
    log = np.array(logs)
    share = np.exp(log - log.real.max(0))
    return np.einsum("kn,knd->nd", share / share.sum(0), np.array(scores))


def _shift_statistic(name: str, kernel: Kernel, h: float, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Mean shift or sharp score (n, d) of the points y (M, d), complex like x (n, d)."""
    d = x.shape[1]
    program = compile_terms(kernel, d, ("kz", "k", "companion"))
    nearest = np.sqrt(reference.nearest(x.real[None], y.real[None])) / h
    columns = reference.accumulate(program, x[None] / h, y[None] / h, -kernel.log_decay(nearest, d))[0]
    kz, mass, companion = (columns[slot : slot + width] for slot, width, _ in (program.slots[t] for t in ("kz", "k", "companion")))
    return (h * kz / mass if name == "mean_shift" else kz / (h * companion)).T


def _shift_statistic_on_the_line(name: str, mixture: GaussianMixture, h: float, x: np.ndarray) -> np.ndarray:
    """The same (n, 1) of a mixture under the Laplace kernel by Gauss-Legendre panels in the distance from the point: analytic in x."""
    sigma, mean = np.sqrt(mixture.covariances.reshape(-1)), mixture.means[:, 0]
    reach = abs(x.real - mean).max() + 12 * sigma.max()
    edges = np.linspace(0, reach, 2 * int(np.ceil(reach / min(h, sigma.min()))) + 1)
    nodes, weights = special.roots_legendre(16)
    half = np.diff(edges)[:, None] / 2
    z = (edges[:-1, None] + half * (1 + nodes)).ravel()
    decay = (half * weights).ravel() * np.exp(-z / h)
    right, left = (
        (mixture.weights / sigma * np.exp(-0.5 * ((x[..., None] + side * z[:, None] - mean) / sigma) ** 2)).sum(-1) for side in (1, -1)
    )
    mass, shift, distance = (right + left) @ decay, (right - left) @ (decay * z), (right + left) @ (decay * z)
    return (shift / mass if name == "mean_shift" else shift / (h * h * mass + h * distance))[:, None]


def slow_velocity(experiment: Mapping[str, Any], h: float, seed: int, cloud: np.ndarray, particle: int) -> np.ndarray:
    """Velocity (d,) of one particle of a complex cloud (N, d) under the field of an experiment: an independent slow path."""
    x = cloud[particle : particle + 1]
    others = np.delete(cloud, particle, axis=0) if experiment["leave_one_out"] else cloud
    name = STATISTICS[experiment["field"]]
    if name == "score":
        return score_difference(experiment, h, seed, x, others)[0]
    kernel, target = simulate.make_kernel(experiment["kernel"]), simulate.make_target(experiment["target"], seed=seed)
    if target.points is not None:
        value = _shift_statistic(name, kernel, h, x, target.points.astype(complex))
    elif kernel.name == "gaussian":
        value = _mixture_score(target.mixture.smoothed(h), x) * (h**2 if name == "mean_shift" else 1.0)
    else:
        value = _shift_statistic_on_the_line(name, target.mixture, h, x)
    return (value - _shift_statistic(name, kernel, h, x, others))[0]


def particle_divergence(experiment: Mapping[str, Any], h: float, seed: int, cloud: np.ndarray, particle: int) -> float:
    """div_{x_i} of the velocity of particle i by complex steps: x_i is moved as an evaluation point and as an atom of the cloud (N, d)."""
    total = 0.0
    for k in range(cloud.shape[1]):
        moved = cloud.astype(complex)
        moved[particle, k] += 1j * _STEP
        total += slow_velocity(experiment, h, seed, moved, particle)[k].imag / _STEP
    return total


def initial_divergence(
    start: GaussianMixture, log_density: Callable[[np.ndarray], np.ndarray], *, seed: int, points: int = 2**12, scramblings: int = 16
) -> Divergence:
    """KL(rho_0 || pi) for one Gaussian rho_0 with independent axes and any density, given by its logarithm: (1, n, d) -> (1, n).

    Gauss-Kronrod quadrature between -12 and 12 standard deviations in d = 1; else ``points`` (a power of two) scrambled Sobol points
    for each of ``scramblings`` >= 2 scramblings, whose scatter gives the standard error. Raises ``ValueError`` for another rho_0.
    """
    if len(start.weights) != 1 or start.covariances.ndim != 2:
        raise ValueError("rho_0 must be one Gaussian with independent axes")
    mean, deviation, d = start.means[0], np.sqrt(start.covariances[0]), start.dimension

    def log_ratio(z: np.ndarray) -> np.ndarray:
        x = (mean + deviation * z)[None]
        return (start.log_density(x) - log_density(x))[0]

    if d == 1:
        from scipy import integrate  # loads slowly, and most processes need no quadrature

        edges = np.linspace(-12.0, 12.0, 97)

        def pieces(t: float) -> np.ndarray:
            z = edges[:-1] + t * np.diff(edges)
            return np.diff(edges) * np.exp(-0.5 * z * z) / np.sqrt(2 * np.pi) * log_ratio(z[:, None])

        value, error = integrate.quad_vec(pieces, 0, 1, epsabs=1e-12, epsrel=1e-10, norm="max", limit=500)
        return Divergence(float(value.sum()), float(error * len(value)), "quadrature")
    from scipy.stats import qmc

    means = []
    for s in range(scramblings):
        normal = qmc.MultivariateNormalQMC(np.zeros(d), rng=random.generator(seed, "initial_divergence", s))
        means.append(log_ratio(normal.random(points)).mean())
    return Divergence(float(np.mean(means)), float(np.std(means, ddof=1) / np.sqrt(scramblings)), "quasi_monte_carlo")


_COMPANIONS = {"gaussian": Gaussian(), "laplace": Matern32(), "matern32": Matern52(), "matern52": Matern72()}
"""K# normalised, where it is a kernel of its own."""

_LEAVE_ONE_OUT_LABELS = {
    "full_stein_drift": ("E of the mean of T_pi# v for the full field at the same clouds", "time^-1"),
    "full_self_interaction": ("E of the self-interaction term of the full field at the same clouds", "time^-1"),
    "full_reciprocal_kde": ("E R_N with the full KDE", "length^d"),
    "stein_drift_median": ("median of S_loo over replicates", "time^-1"),
    "hidden_term": ("full field's self-interaction, E d K(0) R_N / (N h^d) of X5 in displacement time", "time^-1"),
    "hidden_term_median": ("the same with the median over replicates", "time^-1"),
    "path_residual_with_self": ("largest pathwise residual of T6.3 with the full field's self-interaction term added", "1"),
    "path_residual_full_field": ("largest pathwise residual of T6.3 with S_N of the full field in the place of S_loo", "1"),
    "divergence_residual_with_self": ("relative error of div v less the full field's self-interaction against complex steps", "1"),
    "divergence_residual_full": ("full field: relative error of div v less its self-interaction against complex steps", "1"),
    "divergence_residual_full_field": ("full field: the same without its self-interaction", "1"),
    "sharp_stein": ("E S#, S# = integral of q# v.g (59)", "time^-1"),
    "stein_gap": ("E |S_loo - S#|, the least eps_S of (64)", "time^-1"),
    "particle_stein_median": ("median of T_pi# v_i over particles and replicates", "time^-1"),
    "particle_hidden_median": ("median of the full field's self-interaction over particles and replicates", "time^-1"),
}


def measure_entropy(ensemble: xr.Dataset, *, particles: int = 8, samples: int = 512, confidence: float = 0.95) -> xr.Dataset:
    """Entropy budget of an ensemble that was simulated with ``entropy: true``.

    For the conservative field H_N is relative to pi = K_h * p (T3.1); for a leave-one-out displacement or sharp field it is H#_N,
    relative to pi# = K#_h * p / (companion_mass h^2) (T6.3), and there is no self-interaction.

    ``ensemble`` as `simulate.simulate_flow` returns it. Over (bandwidth, n_particles, time): H_N(t)/N = mean over replicates of
    the path entropy with its Student interval, the means of S_N and of the self-interaction term. Over (bandwidth, n_particles,
    replicate): the largest pathwise residual of T3.1 with and without the self-interaction term. Over (bandwidth, n_particles,
    snapshot): the relative difference between div_{x_i} b(x_i; X) by complex steps and div b + Laplacian K_h(0)/(N p_h) at
    ``particles`` particles of the first replicate, and the same with the self-interaction term left out.

    A leave-one-out field adds what breaks T6.3 and what X5 compares: the same residuals with the full field's self-interaction
    added and with the full field in place of the other; over (bandwidth, n_particles, time) that self-interaction; over
    (bandwidth, n_particles, snapshot) S# from ``samples`` (a power of two) points of q# per replicate, and its gap to S_loo (64).
    Raises ``ValueError`` for another field, without ``entropy``, or for a single replicate.
    """
    experiment, seed = json.loads(ensemble.attrs["experiment"]), int(ensemble.attrs["seed"])
    left_out = experiment["leave_one_out"]
    if (experiment["field"] == "conservative") == left_out or "entropy_path" not in ensemble:
        raise ValueError(
            f"experiment {experiment['name']!r}: the entropy budget needs field: conservative with leave_one_out: false, or another "
            "field with leave_one_out: true, and entropy: true"
        )
    if ensemble.sizes["replicate"] < 2:
        raise ValueError(f"experiment {experiment['name']!r}: the interval of H_N / N needs replicates >= 2")
    path = ensemble["entropy_path"]
    mean, error = path.mean("replicate"), path.std("replicate", ddof=1) / np.sqrt(path.sizes["replicate"])
    half_width = special.stdtrit(path.sizes["replicate"] - 1, 0.5 + confidence / 2) * error
    change = path - path.isel(time=0)
    explained = ensemble["integrated_self_interaction"] - ensemble["integrated_stein_drift"]
    out = xr.Dataset(
        {
            "entropy": mean,
            "entropy_error": error,
            "change_error": (path - path.isel(time=0)).std("replicate", ddof=1) / np.sqrt(path.sizes["replicate"]),
            "entropy_low": mean - half_width,
            "entropy_high": mean + half_width,
            "stein_drift": ensemble["stein_drift"].mean("replicate"),
            "self_interaction": ensemble["self_interaction"].mean("replicate"),
            "reciprocal_kde": ensemble["reciprocal_kde"].mean("replicate"),
            "squared_speed": ensemble["squared_speed"].mean("replicate"),
            **_time_averages(ensemble),
            "path_residual": abs(change - explained).max("time"),
            "path_residual_without_self": abs(change + ensemble["integrated_stein_drift"]).max("time"),
        }
    )
    out["initial_kl"], out["initial_kl_error"] = _initial_kl(experiment, ensemble, seed)
    out = out.assign(_divergence_residuals(experiment, ensemble, seed, particles))
    if left_out:
        out = out.drop_vars("path_residual_without_self")
        out = out.assign({**_hidden_self_interaction(ensemble, change), **_sharp_stein(experiment, ensemble, seed, samples)})
    labels = {
        "entropy": ("H_N(t) / N, mean of the path entropy over replicates", "1"),
        "entropy_error": ("standard error of H_N(t) / N", "1"),
        "change_error": ("standard error of (H_N(t) - H_N(0)) / N", "1"),
        "entropy_low": (f"H_N(t) / N, lower end of the {confidence:.0%} Student interval", "1"),
        "entropy_high": (f"H_N(t) / N, upper end of the {confidence:.0%} Student interval", "1"),
        "stein_drift": ("E S_N", "time^-1"),
        "self_interaction": ("-Laplacian K(0) / (N h^(d+2)) E R_N", "time^-1"),
        "reciprocal_kde": ("E R_N", "length^d"),
        "squared_speed": ("E D_N", "length^2 time^-2"),
        "mean_stein_drift": ("(1/T) int_0^T E S_N dt against T", "time^-1"),
        "mean_stein_drift_error": ("standard error of that", "time^-1"),
        "mean_self_interaction": ("(1/T) int_0^T of the self-interaction term against T", "time^-1"),
        "mean_squared_speed": ("(1/T) int_0^T E D_N dt against T", "length^2 time^-2"),
        "mean_reciprocal_kde": ("(1/T) int_0^T E R_N dt against T, the kappa of (8)", "length^d"),
        "path_residual": ("largest pathwise residual of T3.1, per particle", "1"),
        "path_residual_without_self": ("the same without the self-interaction term", "1"),
        "initial_kl": ("KL(rho_0 || pi) of R4.8", "1"),
        "initial_kl_error": ("standard error of KL(rho_0 || pi)", "1"),
        "divergence_residual": ("relative error of div b + Laplacian K_h(0) / (N p_h) against complex steps", "1"),
        "divergence_residual_without_self": ("the same without the self-interaction term", "1"),
    }
    if left_out:
        labels.update(
            {
                "entropy": ("H#_N(t) / N, mean of the path entropy over replicates", "1"),
                "stein_drift": ("E S_loo", "time^-1"),
                "self_interaction": ("self-interaction, zero for a leave-one-out field", "time^-1"),
                "reciprocal_kde": ("E R_N with the leave-one-out KDE", "length^d"),
                "path_residual": ("largest pathwise residual of T6.3, per particle", "1"),
                "initial_kl": ("KL(rho_0 || pi#)", "1"),
                "divergence_residual": ("relative error of div v against complex steps", "1"),
                **_LEAVE_ONE_OUT_LABELS,
            }
        )
    for name, (text, unit) in labels.items():
        if name not in out:
            continue
        out[name].attrs = {"long_name": text, "units": unit}
    out.attrs = {
        "experiment": ensemble.attrs["experiment"],
        "seed": seed,
        "dimension": ensemble.sizes["component"],
        "replicates": path.sizes["replicate"],
        "confidence": confidence,
    }
    return out


def _time_averages(ensemble: xr.Dataset) -> dict[str, xr.DataArray]:
    """Time averages up to every output time T, their limit at T = 0; S_N and the self-interaction from the integrator's own integrals."""
    horizon = ensemble["time"].where(ensemble["time"] > 0)
    replicates = ensemble.sizes["replicate"]
    stein = (ensemble["integrated_stein_drift"] / horizon).fillna(ensemble["stein_drift"])
    own = (ensemble["integrated_self_interaction"] / horizon).fillna(ensemble["self_interaction"])
    found = {
        "mean_stein_drift": stein.mean("replicate"),
        "mean_stein_drift_error": stein.std("replicate", ddof=1) / np.sqrt(replicates),
        "mean_self_interaction": own.mean("replicate"),
    }
    for name in ("squared_speed", "reciprocal_kde"):
        value = ensemble[name].mean("replicate")
        found[f"mean_{name}"] = (value.cumulative_integrate("time") / horizon).fillna(value)
    return found


def _initial_kl(experiment: Mapping[str, Any], ensemble: xr.Dataset, seed: int) -> tuple[xr.DataArray, xr.DataArray]:
    values, errors = [], []
    for h in ensemble["bandwidth"].values:
        field = simulate.build_field(experiment, float(h), seed=seed)
        start = simulate.start_density(experiment, ensemble.sizes["component"])
        density = getattr(field.target, "density", None)
        if field.name != "conservative":
            value, error = initial_divergence(start, functools.partial(_log_reference, field), seed=seed)[:2]
        else:
            value, error = kl_divergence(start, density, seed=seed)[:2] if density is not None else (np.nan, np.nan)
        values.append(value)
        errors.append(error)
    coordinate = ensemble["bandwidth"]
    return xr.DataArray(values, [coordinate]), xr.DataArray(errors, [coordinate])


def _log_reference(field: DriftField, x: np.ndarray) -> np.ndarray:
    return simulate.reference(field, x, field.target.statistic(STATISTICS[field.name], x))[0]


def _hidden_self_interaction(ensemble: xr.Dataset, change: xr.DataArray) -> dict[str, xr.DataArray]:
    """What the full field would add along the same trajectories, and X5's term.

    The trapezoid rule serves for the additions alone, the full field's drift less the other's: they vanish where the fields agree.
    """
    added = {"with_self": ensemble["full_self_interaction"], "full_field": ensemble["stein_drift"] - ensemble["full_stein_drift"]}
    defect = change + ensemble["integrated_stein_drift"]
    found = {name: ensemble[name].mean("replicate") for name in ("full_stein_drift", "full_self_interaction", "full_reciprocal_kde")}
    return {
        **found,
        "stein_drift_median": ensemble["stein_drift"].median("replicate"),
        "hidden_term": found["full_self_interaction"],
        "hidden_term_median": ensemble["full_self_interaction"].median("replicate"),
        **{f"path_residual_{name}": abs(defect - rate.cumulative_integrate("time")).max("time") for name, rate in added.items()},
    }


def _cells(ensemble: xr.Dataset) -> Iterator[tuple[tuple[int, int, int], float, np.ndarray]]:
    """(index over (bandwidth, n_particles, snapshot), h, clouds (R, N, d) of all replicates)."""
    for b, h in enumerate(ensemble["bandwidth"].values):
        for s, n in enumerate(ensemble["n_particles"].values):
            clouds = ensemble[f"cloud_{n}"].isel(bandwidth=b).values.astype(float)
            for k in range(ensemble.sizes["snapshot"]):
                yield (b, s, k), float(h), clouds[:, k]


def _by_snapshot(ensemble: xr.Dataset, names: tuple[str, ...]) -> dict[str, xr.DataArray]:
    coordinates = [ensemble[c] for c in ("bandwidth", "n_particles", "snapshot")]
    return {name: xr.DataArray(np.full([c.size for c in coordinates], np.nan), coordinates) for name in names}


def _divergence_residuals(experiment: Mapping[str, Any], ensemble: xr.Dataset, seed: int, particles: int) -> dict[str, xr.DataArray]:
    """Divergences of the fast path against complex steps, the self-interaction put in and left out, by variable name."""
    left_out, full = experiment["leave_one_out"], {**experiment, "leave_one_out": False}
    names = ("", "_with_self", "_full", "_full_field") if left_out else ("", "_without_self")
    found = _by_snapshot(ensemble, tuple(f"divergence_residual{name}" for name in names))
    for cell, h, clouds in _cells(ensemble):
        cloud = clouds[0]
        chosen = np.linspace(0, len(cloud) - 1, min(particles, len(cloud))).astype(int)
        value, plain = (simulate.build_field(e, h, seed=seed).at_particles(cloud[None], divergence=True) for e in (experiment, full))
        exact = np.array([particle_divergence(experiment, h, seed, cloud, i) for i in chosen])
        differences = {"": value.total_divergence[0, chosen] - exact, "_without_self": value.divergence[0, chosen] - exact}
        size = dict.fromkeys(names, np.abs(exact).max())
        if left_out:
            exact_full = np.array([particle_divergence(full, h, seed, cloud, i) for i in chosen])
            differences["_with_self"] = value.divergence[0, chosen] - plain.model.own[0, chosen] - exact
            differences["_full"] = plain.total_divergence[0, chosen] - exact_full
            differences["_full_field"] = plain.divergence[0, chosen] - exact_full
            size["_full"] = size["_full_field"] = np.abs(exact_full).max()
        for name in names:
            found[f"divergence_residual{name}"][cell] = np.abs(differences[name]).max() / size[name]
    return found


def _sharp_stein(experiment: Mapping[str, Any], ensemble: xr.Dataset, seed: int, samples: int) -> dict[str, xr.DataArray]:
    """S# = int q# v.g from points of q#, the gap of S_loo to it, and medians over particles."""
    companion = _COMPANIONS.get(experiment["kernel"]["name"])
    found = _by_snapshot(ensemble, ("sharp_stein", "stein_gap", "particle_stein_median", "particle_hidden_median"))
    for cell, h, clouds in _cells(ensemble):
        masked = simulate.build_field(experiment, h, seed=seed)
        full, sharp = replace(masked, leave_one_out=False), replace(masked, leave_one_out=False, name="sharp")
        value, plain = (field.at_particles(clouds, divergence=True) for field in (masked, full))
        _, score = simulate.reference(masked, clouds, value.target)
        stein = value.divergence + (score * value.velocity).sum(-1)
        found["particle_stein_median"][cell] = np.median(stein)
        found["particle_hidden_median"][cell] = np.median(plain.model.own)
        if companion is None:
            continue
        points = []
        for r, cloud in enumerate(clouds):
            generator = random.generator(seed, "sharp_stein", experiment["name"], h, len(cloud), cell[2], r)
            index, z = sampling.sample_smoothed(companion, h, cloud, samples, generator)
            points.append(cloud[index] + h * z)
        x = np.stack(points)
        of_cloud = (full.at(x, clouds).velocity * sharp.at(x, clouds).velocity).sum(-1).mean(1)
        found["sharp_stein"][cell] = of_cloud.mean()
        found["stein_gap"][cell] = np.abs(stein.mean(1) - of_cloud).mean()
    return found
