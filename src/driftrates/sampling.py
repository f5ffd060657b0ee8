"""Random points distributed like a kernel, and like a cloud smoothed by it."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable

import numpy as np
from scipy import interpolate, special, stats
from scipy.stats import qmc

from driftrates.kernels import Kernel


def kernel_noise(kernel: Kernel, normals: np.ndarray) -> np.ndarray:
    """Points distributed like K from standard normal ones (n, d): the radius is mapped by matching quantiles."""
    if kernel.name == "gaussian":
        return normals
    radius = np.linalg.norm(normals, axis=1, keepdims=True)
    return normals * np.exp(_radial_map(kernel, normals.shape[1])(np.log(np.maximum(radius, 1e-12)))) / np.maximum(radius, 1e-12)


@functools.cache
def _radial_map(kernel: Kernel, d: int) -> Callable[[np.ndarray], np.ndarray]:
    """log |z| of the kernel as a function of log |g| of a standard normal g with the same quantile; linear beyond the table."""
    nodes, weights = special.roots_legendre(8)
    edges = np.log(np.geomspace(1e-5, 1e9, 1501))
    half = np.diff(edges)[:, None] / 2
    log_s = edges[:-1, None] + half * (1 + nodes)
    pieces = (half * weights * np.exp(d * log_s) * kernel.rung(np.exp(log_s), d)).sum(1)
    first = math.exp(d * edges[0]) * float(kernel.rung(np.zeros(()), d)) / d
    below = np.concatenate([[first], first + np.cumsum(pieces)])
    above = np.concatenate([np.cumsum(pieces[::-1])[::-1], [0.0]])
    lower, upper = below / (below + above), above / (below + above)
    normal = np.sqrt(np.where(lower < 0.5, stats.chi2.ppf(lower, d), stats.chi2.isf(upper, d)))
    kept = (upper > 1e-30) & (normal > 0)
    spline = interpolate.CubicSpline(np.log(normal[kept]), edges[kept])
    low, high = spline.x[[0, -1]]

    def radius(log_normal: np.ndarray) -> np.ndarray:
        inner = np.clip(log_normal, low, high)
        return spline(inner) + (log_normal - inner)

    return radius


def require_scramblings(samples: int, scramblings: int) -> None:
    """Raise ``ValueError`` unless ``scramblings`` >= 2, which their error needs, of ``samples`` = 2^k points."""
    if scramblings < 2 or samples < 1 or samples & (samples - 1):
        raise ValueError(f"needs scramblings >= 2 and samples a power of two, not scramblings: {scramblings}, samples: {samples}")


def sample_smoothed(kernel: Kernel, h: float, cloud: np.ndarray, n: int, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """(index, z): n (a power of two) scrambled Sobol samples cloud[index] + h z of p_h, index (n,) int, z (n, d) distributed like K.

    Every index is drawn n / N times, up to one.
    """
    u = qmc.Sobol(cloud.shape[1] + 1, rng=generator).random(n)
    order = np.argsort(cloud[:, 0], kind="stable")
    z = kernel_noise(kernel, special.ndtri(np.clip(u[:, 1:], 1e-12, 1 - 1e-12)))
    return order[(u[:, 0] * len(cloud)).astype(np.int64)], z
