"""The entropy budget of the conservative flow (T3.1, R3.2, R4.8) from stored ensembles."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr
from scipy import special

from driftrates import simulate
from driftrates.sums import reference
from driftrates.sums.program import compile_terms
from driftrates.targets import GaussianMixture, kl_divergence

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


def particle_divergence(experiment: Mapping[str, Any], h: float, seed: int, cloud: np.ndarray, particle: int) -> float:
    """div_{x_i} of b(x_i; X) by complex steps: x_i is moved as an evaluation point and as an atom of the cloud (N, d)."""
    total = 0.0
    for k in range(cloud.shape[1]):
        moved = cloud.astype(complex)
        moved[particle, k] += 1j * _STEP
        total += score_difference(experiment, h, seed, moved[particle : particle + 1], moved)[0, k].imag / _STEP
    return total


def measure_entropy(ensemble: xr.Dataset, *, particles: int = 8, confidence: float = 0.95) -> xr.Dataset:
    """Entropy budget of a conservative ensemble that was simulated with ``entropy: true``.

    ``ensemble`` as `simulate.simulate_flow` returns it. Over (bandwidth, n_particles, time): H_N(t)/N = mean over replicates of
    the path entropy with its Student interval, the means of S_N and of the self-interaction term. Over (bandwidth, n_particles,
    replicate): the largest pathwise residual of T3.1 with and without the self-interaction term. Over (bandwidth, n_particles,
    snapshot): the relative difference between div_{x_i} b(x_i; X) by complex steps and div b + Laplacian K_h(0)/(N p_h) at
    ``particles`` particles of the first replicate, and the same with the self-interaction term left out.
    Raises ``ValueError`` for another field, without ``entropy``, or for a single replicate.
    """
    experiment, seed = json.loads(ensemble.attrs["experiment"]), int(ensemble.attrs["seed"])
    if experiment["field"] != "conservative" or experiment["leave_one_out"] or "entropy_path" not in ensemble:
        raise ValueError(
            f"experiment {experiment['name']!r}: the entropy budget needs field: conservative, leave_one_out: false, entropy: true"
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
    out["divergence_residual"], out["divergence_residual_without_self"] = _divergence_residuals(experiment, ensemble, seed, particles)
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
    for name, (text, unit) in labels.items():
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
        value, error = kl_divergence(start, density, seed=seed)[:2] if density is not None else (np.nan, np.nan)
        values.append(value)
        errors.append(error)
    coordinate = ensemble["bandwidth"]
    return xr.DataArray(values, [coordinate]), xr.DataArray(errors, [coordinate])


def _divergence_residuals(
    experiment: Mapping[str, Any], ensemble: xr.Dataset, seed: int, particles: int
) -> tuple[xr.DataArray, xr.DataArray]:
    coordinates = [ensemble[c] for c in ("bandwidth", "n_particles", "snapshot")]
    with_self = xr.DataArray(np.zeros([c.size for c in coordinates]), coordinates)
    without_self = with_self.copy()
    for b, h in enumerate(ensemble["bandwidth"].values):
        field = simulate.build_field(experiment, float(h), seed=seed)
        for s, n in enumerate(ensemble["n_particles"].values):
            for k in range(ensemble.sizes["snapshot"]):
                cloud = ensemble[f"cloud_{n}"].isel(bandwidth=b, replicate=0, snapshot=k).values.astype(float)
                value = field.at_particles(cloud[None], divergence=True)
                chosen = np.linspace(0, n - 1, min(particles, int(n))).astype(int)
                exact = np.array([particle_divergence(experiment, float(h), seed, cloud, i) for i in chosen])
                size = np.abs(exact).max()
                with_self[b, s, k] = np.abs(value.total_divergence[0, chosen] - exact).max() / size
                without_self[b, s, k] = np.abs(value.divergence[0, chosen] - exact).max() / size
    return with_self, without_self
