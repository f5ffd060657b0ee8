"""How errors of single training steps add up (Appendix A): Euler's scheme against the flow, and inexact regression.

A distance between two clouds is the root mean square over the particles' distances, |X - Y|^2 = (1/N) sum_i |x_i - y_i|^2.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import xarray as xr

from driftrates import flow, kernels
from driftrates.fields import DriftField, SmoothedDensity
from driftrates.labels import labelled
from driftrates.measurements import transport
from driftrates.power_laws import replicate_exponent
from driftrates.random import generator
from driftrates.targets import GaussianMixture
from driftrates.training.regression import root_mean_square

MODES = GaussianMixture(np.array([0.4, 0.6]), np.array([[-1.0], [1.2]]), np.array([0.16, 0.16]))
"""Target of the studies in time, before smoothing."""

ASYMPTOTIC = 0.25
"""Steps eta / h^2 up to which the order is fitted, a tenth of the stability limit e h^2 of the linearised flow on a uniform background."""

KINDS = ("adversarial", "constant", "random sign")

_SCAN, _RUN = np.geomspace(1.0, 6.0, 25), 150


def toward_modes(h: float) -> DriftField:
    """The conservative field with Gaussian kernel toward `MODES` smoothed by h."""
    return DriftField("conservative", SmoothedDensity(MODES.smoothed(h), h), kernels.make("gaussian"), h)


def jacobian(field: DriftField, x: np.ndarray, step: float = 1e-5) -> np.ndarray:
    """Derivative (N d, N d) of X -> b(X) at the cloud x (N, d), by central differences."""
    shifts = step * np.eye(x.size).reshape(x.size, *x.shape)
    ahead, behind = (field.at_particles(x + s).velocity for s in (shifts, -shifts))
    return ((ahead - behind) / (2 * step)).reshape(x.size, x.size).T


def accumulation(lipschitz: Any, eta: Any, count: Any) -> Any:
    """((1 + L eta)^count - 1) / (L eta): what one unit error per step can grow to in ``count`` steps, L = ``lipschitz`` > 0."""
    rate = lipschitz * eta
    return np.expm1(count * np.log1p(rate)) / rate


def exponential_accumulation(lipschitz: Any, eta: Any, horizon: float) -> Any:
    """(e^{L T} - 1) / (L eta), the upper bound of `accumulation` for T = ``horizon`` = eta count."""
    return np.expm1(lipschitz * horizon) / (lipschitz * eta)


def measure_training_errors(
    *,
    bandwidths: Sequence[float] = (0.3, 0.5, 0.8),
    particles: int = 64,
    replicates: int = 8,
    finest: int = 9,
    horizon: float = 1.0,
    error: float = 1e-4,
    inexact_bandwidth: float = 0.4,
    inexact_particles: int = 24,
    signs: int = 8,
    seed: int,
) -> xr.Dataset:
    """Euler's error on [0, T] against eta, and the accumulated error of inexact regression, toward `MODES` (d = 1).

    bandwidths h > 0; 2^2 .. 2^finest steps (finest >= 6); ``horizon`` T; replicates >= 4; ``error``: size of every regression error.
    Raises ``ValueError`` where fewer than three step sizes are below `ASYMPTOTIC` for the smallest h, or no step of the scan is stable.
    """
    counts = 2 ** np.arange(2, finest + 1)
    if (horizon / counts / min(bandwidths) ** 2 <= ASYMPTOTIC).sum() < 3 or replicates < 4:
        raise ValueError(
            "training_errors needs at least 4 replicates and 3 step sizes below h^2 / 4: raise finest, the bandwidths or replicates"
        )
    cells = [_euler_cell(toward_modes(h), particles, replicates, counts, horizon, seed) for h in bandwidths]
    variables = {
        name: (dims, np.stack([cell[name] for cell in cells]), text, unit)
        for name, (dims, text, unit) in {
            "euler_error": (("bandwidth", "count", "replicate"), "max_k |X_k - X(t_k)| of Euler's scheme", "length"),
            "heun_error": (("bandwidth", "count", "replicate"), "the same of Heun's scheme", "length"),
            "local_error": (("bandwidth", "count", "replicate"), "largest error of one Euler step along the solution", "length"),
            "trajectory_lipschitz": (
                ("bandwidth", "count", "replicate"),
                "max_k |b(X_k) - b(X(t_k))| / |X_k - X(t_k)|: L of this very error, which measures looseness only",
                "time^-1",
            ),
            "path_lipschitz": (("bandwidth", "replicate"), "largest spectral norm of the Jacobian along the solution", "time^-1"),
            "largest_step": (("bandwidth", "replicate"), f"largest eta for which D_N falls in {_RUN} steps from X(T)", "time"),
            "displacement_step": (("bandwidth", "replicate"), "the same of the displacement field, in its own clock", "1"),
            "order": (("bandwidth",), "order of Euler's scheme", "1"),
            "order_interval": (("bandwidth", "end"), "95 % interval of the order", "1"),
            "heun_interval": (("bandwidth", "end"), "95 % interval of the order of Heun's scheme", "1"),
        }.items()
    }
    widths = np.asarray(bandwidths, float)
    for name in ("path_lipschitz", "largest_step", "displacement_step"):
        slope, interval = replicate_exponent(widths, variables[name][1])
        variables[f"{name}_exponent"] = ((), slope, f"exponent in h of: {variables[name][2]}", "1")
        variables[f"{name}_interval"] = (("end",), np.array(interval), "95 % interval of that exponent", "1")
    coarse = counts[counts <= 128]
    field = toward_modes(inexact_bandwidth)
    noisy = _inexact(field, inexact_particles, replicates, coarse, horizon, error, signs, seed)
    variables |= noisy
    out = labelled(
        variables,
        {
            "bandwidth": (widths, "bandwidth h", "length"),
            "count": (counts, "steps on [0, T]", "1"),
            "inexact_count": (coarse, "steps on [0, T] of inexact regression", "1"),
            "kind": (np.array(KINDS, dtype=object), "how the regression errors are chosen", "1"),
            "end": (np.array(["low", "high"], dtype=object), "end of an interval", "1"),
        },
        {
            "seed": seed,
            "horizon": horizon,
            "error": error,
            "particles": particles,
            "inexact_bandwidth": inexact_bandwidth,
            "inexact_particles": inexact_particles,
        },
    )
    return out.assign(_bounds(out))


def _bounds(found: xr.Dataset) -> dict[str, xr.DataArray]:
    horizon, size = found.attrs["horizon"], found.attrs["error"]
    eta, inexact = horizon / found["count"], horizon / found["inexact_count"]
    bounds = {
        f"{name}_bound": (found["local_error"] * exponential_accumulation(found[f"{name}_lipschitz"], eta, horizon), text)
        for name, text in (("trajectory", "L along the trajectory: looseness only"), ("path", "L the largest norm of the Jacobian"))
    }
    bounds = {name: (values, f"local error (e^(LT) - 1) / (L eta), {text}") for name, (values, text) in bounds.items()}
    rate = found["inexact_path_lipschitz"]
    bounds["discrete_bound"] = (size * accumulation(rate, inexact, found["inexact_count"]), "max|e| ((1 + L eta)^k - 1) / (L eta)")
    bounds["exponential_bound"] = (size * exponential_accumulation(rate, inexact, horizon), "max|e| (e^(LT) - 1) / (L eta)")
    bounds["inexact_trajectory_bound"] = (
        size * exponential_accumulation(found["inexact_lipschitz"], inexact, horizon),
        "max|e| (e^(LT) - 1) / (L eta), L along the trajectory: looseness only",
    )
    order = ("bandwidth", "count", "kind", "inexact_count", "replicate")
    return {
        name: values.transpose(*order, missing_dims="ignore").assign_attrs(long_name=text, units="length")
        for name, (values, text) in bounds.items()
    }


def _start(h: float, n: int, replicates: int, seed: int, deviation: float = 1.0) -> np.ndarray:
    return deviation * np.stack([generator(seed, "training_errors", n, r).standard_normal((n, 1)) for r in range(replicates)])


def _solution(field: DriftField, x0: np.ndarray, horizon: float, count: int) -> np.ndarray:
    """X(t_k), (count + 1, R, N, d), to a relative error of 1e-10 per step."""

    def rhs(t: Any, x: Any, rows: Any) -> tuple[Any, Any]:
        return field.at_particles(x).velocity, np.zeros((len(x), 0))

    times = np.linspace(0.0, horizon, count + 1)[1:]
    return np.stack([x0, *(r.state.x for r in flow.integrate(rhs, x0, times, flow.DormandPrince(rtol=1e-10, atol=1e-12)))])


def _euler_cell(field: DriftField, n: int, replicates: int, counts: np.ndarray, horizon: float, seed: int) -> dict[str, np.ndarray]:
    x0 = _start(field.h, n, replicates, seed)
    solution = _solution(field, x0, horizon, int(counts[-1]))
    slopes = field.at_particles(solution.reshape(-1, n, 1)).velocity.reshape(solution.shape)
    shape = (len(counts), replicates)
    out = {name: np.empty(shape) for name in ("euler_error", "heun_error", "local_error", "trajectory_lipschitz")}
    for c, count in enumerate(counts):
        eta, stride = horizon / count, int(counts[-1] // count)
        exact, slope = solution[::stride], slopes[::stride]
        out["local_error"][c] = root_mean_square(exact[1:] - exact[:-1] - eta * slope[:-1]).max(0)
        x, y = x0, x0
        error, second, lipschitz = (np.zeros(replicates) for _ in range(3))
        for k in range(count):
            v, w = field.at_particles(x).velocity, field.at_particles(y).velocity
            gap = root_mean_square(x - exact[k])
            ratio = np.divide(root_mean_square(v - slope[k]), gap, out=np.zeros(replicates), where=gap > 0)
            lipschitz = np.maximum(lipschitz, ratio)
            x = x + eta * v
            y = y + eta / 2 * (w + field.at_particles(y + eta * w).velocity)
            error, second = np.maximum(error, root_mean_square(x - exact[k + 1])), np.maximum(second, root_mean_square(y - exact[k + 1]))
        out["euler_error"][c], out["heun_error"][c], out["trajectory_lipschitz"][c] = error, second, lipschitz
    moments = np.unique(np.linspace(0, 1, 9) ** 2 * counts[-1]).astype(int)
    out["path_lipschitz"] = np.array([max(np.linalg.norm(jacobian(field, solution[k, r]), 2) for k in moments) for r in range(replicates)])
    slow = replace(field, name="displacement")
    out["largest_step"] = np.array([_largest(field, x, field.h**2) for x in solution[-1]])
    out["displacement_step"] = np.array([_largest(slow, x, 1.0) for x in solution[-1]])
    used = horizon / counts / field.h**2 <= ASYMPTOTIC
    steps = horizon / counts[used]
    out["order"], out["order_interval"] = replicate_exponent(steps, out["euler_error"][used])
    out["heun_interval"] = replicate_exponent(steps, out["heun_error"][used])[1]
    return out


def _largest(field: DriftField, x: np.ndarray, unit: float) -> float:
    """Largest step of ``unit * _SCAN`` for which D_N is lower after `_RUN` steps from x (N, d) than before."""
    grown = transport.repeated_growth(field, np.repeat(x[None], len(_SCAN), 0), unit * _SCAN, _RUN).overall >= 1
    if grown.all():
        raise ValueError(f"D_N grows in {_RUN} steps from X(horizon) for every step from {unit * _SCAN[0]:g} on: raise horizon or h")
    return float(unit * _SCAN[np.flatnonzero(~grown)[-1]])


def _inexact(
    field: DriftField, n: int, replicates: int, counts: np.ndarray, horizon: float, size: float, signs: int, seed: int
) -> dict[str, Any]:
    starts = _start(field.h, n, replicates, seed, 0.5)
    shape = (len(KINDS), len(counts), replicates)
    worst, lipschitz, final, norm = np.empty(shape), np.empty(shape), np.empty(shape), np.empty(shape[1:])
    for c, count in enumerate(counts):
        for r, x0 in enumerate(starts):
            eta = horizon / count
            exact, slopes, chosen, norm[c, r] = _errors(field, x0, eta, int(count))
            rng = generator(seed, "signs", count, r)
            random = rng.choice([-1.0, 1.0], (signs, int(count), *x0.shape))
            for k, errors in enumerate((chosen[0][None], chosen[1][None], random / math.sqrt(x0.shape[1]))):
                x, reach, local = np.repeat(x0[None], len(errors), 0), np.zeros(len(errors)), np.zeros(len(errors))
                for step in range(count):
                    v, gap = field.at_particles(x).velocity, root_mean_square(x - exact[step])
                    local = np.maximum(local, np.divide(root_mean_square(v - slopes[step]), gap, out=np.zeros(len(gap)), where=gap > 0))
                    x = x + eta * v + size * errors[:, step]
                    reach = np.maximum(reach, root_mean_square(x - exact[step + 1]))
                worst[k, c, r], lipschitz[k, c, r], final[k, c, r] = reach.max(), local.max(), np.sqrt((reach**2).mean())
    fits = [replicate_exponent(horizon / counts, values) for values in final]
    dims = ("kind", "inexact_count", "replicate")
    return {
        "accumulated_error": (dims, worst, "largest max_k |X_k - exact X_k| over the draws of the regression errors", "length"),
        "typical_accumulated_error": (dims, final, "root mean square over the draws of max_k |X_k - exact X_k|", "length"),
        "inexact_lipschitz": (
            dims,
            lipschitz,
            "largest |b(X_k) - b(exact X_k)| / |X_k - exact X_k|: L of this very error, which measures looseness only",
            "time^-1",
        ),
        "inexact_path_lipschitz": (dims[1:], norm, "largest spectral norm of the Jacobian along exact regression", "time^-1"),
        "accumulation_exponent": (("kind",), np.array([slope for slope, _ in fits]), "exponent in eta of the accumulated error", "1"),
        "accumulation_interval": (("kind", "end"), np.array([interval for _, interval in fits]), "interval of that exponent", "1"),
    }


def _errors(
    field: DriftField, x0: np.ndarray, eta: float, count: int
) -> tuple[np.ndarray, np.ndarray, tuple[np.ndarray, np.ndarray], float]:
    """Euler's clouds (count + 1, N, d), velocities, the two worst sequences of unit errors of the linearised scheme, and the largest
    spectral norm of the Jacobian along these clouds.

    Adversarial: e_k along P_k^T w with P_k what carries an error of step k to the end, and w where the sum of all is largest;
    constant: one e for all steps, the leading right singular vector of sum_k P_k.
    """
    clouds, slopes, tangents = [x0], [], []
    for _ in range(count):
        slopes.append(field.at_particles(clouds[-1][None]).velocity[0])
        tangents.append(np.eye(x0.size) + eta * jacobian(field, clouds[-1]))
        clouds.append(clouds[-1] + eta * slopes[-1])
    carried = [np.eye(x0.size)]
    for tangent in tangents[:0:-1]:
        carried.append(carried[-1] @ tangent)
    carriers = np.stack(carried[::-1])
    left, _, right = np.linalg.svd(carriers.sum(0))
    w = left[:, 0]
    for _ in range(20):
        pull = np.einsum("kij,i->kj", carriers, w)
        pull /= np.linalg.norm(pull, axis=1, keepdims=True)
        w = np.einsum("kij,kj->i", carriers, pull)
        w /= np.linalg.norm(w)
    scale = math.sqrt(len(x0))
    adversarial = scale * pull.reshape(count, *x0.shape)
    constant = scale * np.repeat(right[0].reshape(1, *x0.shape), count, 0)
    norm = max(float(np.linalg.norm((t - np.eye(x0.size)) / eta, 2)) for t in tangents)
    return np.stack(clouds), np.stack(slopes), (adversarial, constant), norm
