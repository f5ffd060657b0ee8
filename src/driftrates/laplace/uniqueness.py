"""X4: delta = int q# |r|^2 vanishes for the Laplace kernel only where the cloud is the data; minimised over clouds on the line."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from scipy import optimize, special

from driftrates import random
from driftrates.fields import SmoothedPoints
from driftrates.kernels import Gaussian, Kernel, Laplace
from driftrates.measurements.transport import w2_to_data

CASES = ((3, 3), (4, 4), (5, 5), (6, 6), (6, 3), (2, 3), (4, 3), (5, 3))
"""(N, M): a cloud of N atoms can equal M data points in general position where N is a multiple of M."""

SIZES = (1e-3, 1e-2, 1e-1)
"""Distances of clouds from the data, in units of h, at which delta is compared with its curvature."""

_LEGENDRE, _LAGUERRE = special.roots_legendre(16), special.roots_laguerre(32)
_EVALUATIONS = 100
_STEP = 1e-7

ZERO = _STEP**2
"""delta / h^2 below this counts as zero: the slopes of the minimisation are central differences over _STEP h."""


class Minimum(NamedTuple):
    """End of a minimisation: ``cloud`` (N,), its ``delta``, and the ``path`` (steps, N) of accepted clouds, the start first."""

    cloud: np.ndarray
    delta: float
    path: np.ndarray


def weighted_residual(clouds: np.ndarray, data: np.ndarray, kernel: Kernel, h: float) -> np.ndarray:
    """r sqrt(q# w) at the nodes of a quadrature with weights w, (B, n), whose squares add up to delta; clouds (B, N), data (M,).

    Gauss-Legendre between neighbouring atoms, where the integrand is smooth, and Gauss-Laguerre outside, where it is a rational
    function times e^(-distance / h).
    """
    edges = np.sort(np.concatenate([clouds, np.broadcast_to(data, (len(clouds), len(data)))], axis=1), axis=1)
    gaps = np.diff(edges)[..., None]
    inside, weights = edges[:, :-1, None] + gaps * (_LEGENDRE[0] + 1) / 2, gaps * _LEGENDRE[1] / 2
    outside = h * _LAGUERRE[0]
    nodes = np.concatenate([inside.reshape(len(clouds), -1), edges[:, :1] - outside, edges[:, -1:] + outside], axis=1)[..., None]
    tail = np.broadcast_to(np.tile(h * _LAGUERRE[1] * np.exp(_LAGUERRE[0]), 2), (len(clouds), 2 * len(outside)))
    weights = np.concatenate([weights.reshape(len(clouds), -1), tail], axis=1)
    target, model = SmoothedPoints(data[None, :, None], kernel, h), SmoothedPoints(clouds[..., None], kernel, h)
    scale, smoothed = model.scale(nodes), model.statistic("mean_shift", nodes).log_density
    residual = (target.scale(nodes) - scale) * target.statistic("sharp_score", nodes).value[..., 0]
    density = np.exp(smoothed) * scale / (kernel.companion_mass(1) * h**2)
    return residual * np.sqrt(weights * density)


def residual_mass(clouds: np.ndarray, data: np.ndarray, kernel: Kernel, h: float) -> np.ndarray:
    """delta of (61), (B,), unit length^2: int q# |r|^2 on the line; clouds (B, N), data (M,)."""
    return (weighted_residual(clouds, data, kernel, h) ** 2).sum(1)


def minimise(start: np.ndarray, data: np.ndarray, kernel: Kernel, h: float) -> Minimum:
    """Minimise delta over clouds (N,) by Levenberg's trust region on `weighted_residual`, from ``start``."""
    path: list[np.ndarray] = []

    def slope(cloud: np.ndarray) -> np.ndarray:
        path.append(cloud.copy())
        steps = _STEP * h * np.eye(len(cloud))
        ends = weighted_residual(np.concatenate([cloud + steps, cloud - steps]), data, kernel, h)
        return ((ends[: len(cloud)] - ends[len(cloud) :]) / (2 * _STEP * h)).T

    found = optimize.least_squares(
        lambda cloud: weighted_residual(cloud[None], data, kernel, h)[0],
        start,
        slope,
        xtol=1e-15,
        ftol=1e-15,
        gtol=1e-15,
        max_nfev=_EVALUATIONS,
    )
    return Minimum(found.x, 2 * float(found.cost), np.array([*path, found.x]))


def curvature(data: np.ndarray, h: float) -> np.ndarray:
    """Hessian of delta over clouds at the data (M,), (M, M), Laplace kernel: 2 int q# (s#_p)^2 (d alpha / d x_i) (d alpha / d x_j).

    d alpha_mu / d x_i = sign(x_i - x) (K_i / sum K) (h + rho - |x_i - x|), since alpha = h^2 + h rho. It is singular where a point
    stands twice: pulling such a pair apart changes alpha in second order only.
    """
    edges = np.sort(data)
    gaps = np.diff(edges)[:, None]
    tail = h * _LAGUERRE[0]
    nodes = np.concatenate([(edges[:-1, None] + gaps * (_LEGENDRE[0] + 1) / 2).ravel(), edges[0] - tail, edges[-1] + tail])
    weights = np.concatenate([(gaps * _LEGENDRE[1] / 2).ravel(), np.tile(h * _LAGUERRE[1] * np.exp(_LAGUERRE[0]), 2)])
    offset = data - nodes[:, None]
    distance = np.abs(offset)
    share = np.exp(-distance / h)
    mass = share.sum(1, keepdims=True)
    rho = (share * distance).sum(1, keepdims=True) / mass
    slope = np.sign(offset) * share / mass * (h + rho - distance)
    sharp = (share * offset).sum(1) / (mass * (h**2 + h * rho)).sum(1)
    density = (mass * (h + rho)).sum(1) / (4 * h**2 * len(data))
    return 2 * (slope * (weights * density * sharp**2)[:, None]).T @ slope


def measure_uniqueness(*, seed: int, h: float, starts: int) -> dict[str, tuple[tuple[str, ...], Any, dict[str, str]]]:
    """Minima of delta over clouds for all `CASES`, from ``starts`` clouds each, as variables of a Dataset.

    The first start lies near the data (each point taken in turn), the others are random. The first direction is the softest one.

    Over (case, start): ``minimum`` of delta and its W2 ``minimum_distance`` to the data, the W2 ``start_distance`` and the
    ``gaussian_delta`` of the start under the Gaussian kernel; over (case, start, step) ``path_delta`` and ``path_distance``. Over
    (case, size, direction), for the cases with N = M and NaN otherwise: ``near_delta`` and ``near_gaussian_delta`` of clouds at the
    Euclidean distance ``near_distance`` from the data; over case, where N is a multiple of M: the smallest eigenvalue ``curvature``
    and the largest ``stiffness`` of the Hessian of delta at the data.
    """
    laplace, gaussian = Laplace(), Gaussian()
    shape, near = (len(CASES), starts), (len(CASES), len(SIZES), starts)
    found = {name: np.full(shape, np.nan) for name in ("minimum", "minimum_distance", "start_distance", "gaussian_delta")}
    found |= {name: np.full((*shape, _EVALUATIONS + 1), np.nan) for name in ("path_delta", "path_distance")}
    found |= {name: np.full(near, np.nan) for name in ("near_delta", "near_gaussian_delta")}
    found |= {name: np.full(len(CASES), np.nan) for name in ("curvature", "stiffness")}
    for c, (n, m) in enumerate(CASES):
        data = np.sort(random.generator(seed, "uniqueness data", m).uniform(-3 * h, 3 * h, m))
        rng = random.generator(seed, "uniqueness clouds", n, m)
        clouds = rng.uniform(-5 * h, 5 * h, (starts, n))
        clouds[0] = np.resize(data, n) + 0.3 * h * rng.normal(size=n)
        found["gaussian_delta"][c] = residual_mass(clouds, data, gaussian, h)

        def distance(cloud: np.ndarray, data: np.ndarray = data) -> float:
            return w2_to_data(cloud[:, None], data[:, None])

        for k, cloud in enumerate(clouds):
            end = minimise(cloud, data, laplace, h)
            found["minimum"][c, k], found["minimum_distance"][c, k] = end.delta, distance(end.cloud)
            found["start_distance"][c, k] = distance(cloud)
            found["path_delta"][c, k, : len(end.path)] = residual_mass(end.path, data, laplace, h)
            found["path_distance"][c, k, : len(end.path)] = [distance(step) for step in end.path]
        if n % m == 0:
            values, vectors = np.linalg.eigh(curvature(np.repeat(data, n // m), h))
            found["curvature"][c], found["stiffness"][c] = values[0], values[-1]
        if n == m:
            directions = rng.normal(size=(starts, n))
            directions[0] = vectors[:, 0]
            directions /= np.linalg.norm(directions, axis=1, keepdims=True)
            for s, size in enumerate(SIZES):
                moved = data + size * h * directions
                found["near_delta"][c, s] = residual_mass(moved, data, laplace, h)
                found["near_gaussian_delta"][c, s] = residual_mass(moved, data, gaussian, h)
    two, path, near_dims = ("case", "start"), ("case", "start", "step"), ("case", "size", "direction")
    labels = {
        "minimum": (two, "delta at the end of its minimisation over clouds", "length^2"),
        "minimum_distance": (two, "W2 of the data and the cloud at the end", "length"),
        "start_distance": (two, "W2 of the data and the cloud at the start", "length"),
        "gaussian_delta": (two, "delta of the starting cloud, Gaussian kernel", "length^2"),
        "path_delta": (path, "delta along the minimisation", "length^2"),
        "path_distance": (path, "W2 of the data and the cloud along the minimisation", "length"),
        "near_delta": (near_dims, "delta of clouds near the data", "length^2"),
        "near_gaussian_delta": (near_dims, "delta of the same clouds, Gaussian kernel", "length^2"),
        "curvature": (("case",), "smallest eigenvalue of the Hessian of delta over clouds at the data", "1"),
        "stiffness": (("case",), "largest eigenvalue of that Hessian", "1"),
    }
    variables = {k: (dims, found[k], {"long_name": text, "units": unit}) for k, (dims, text, unit) in labels.items()}
    sizes = np.array(CASES)
    variables["case_particles"] = (("case",), sizes[:, 0], {"long_name": "atoms of the cloud N", "units": "1"})
    variables["case_data"] = (("case",), sizes[:, 1], {"long_name": "data points M", "units": "1"})
    variables["near_distance"] = (("size",), h * np.array(SIZES), {"long_name": "distance of the cloud from the data", "units": "length"})
    return variables
