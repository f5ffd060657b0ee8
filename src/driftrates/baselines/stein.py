"""Stein variational gradient descent (SVGD) and the entropy identity of its finite-particle flow.

With k(x, y) = phi(x - y), phi the Gaussian kernel exp(-|z|^2 / (2 h^2)), and s = grad log pi:

    dx_i/dt = (1/N) sum_j [ k(x_i, x_j) s(x_j) + grad_{x_j} k(x_j, x_i) ],
    dH_N/dt = -N E KSD^2 + (1/N) sum_i E[ -phi(0) Laplacian log pi(x_i) - Laplacian phi(0) ],

H_N the relative entropy of the joint law to pi^N and KSD^2 the kernel Stein discrepancy with its diagonal (a V-statistic).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from driftrates import flow, random
from driftrates.labels import labelled
from driftrates.targets import GaussianMixture

_COMPLEX_STEP = 1e-30


class Stein(NamedTuple):
    """SVGD at its own particles.

    ``velocity`` (R, N, d); ``divergence`` (R, N) = div_{x_i} of particle i's velocity, its own place in the sum included;
    ``squared_discrepancy`` (R,) = KSD^2 >= 0; ``correction`` (R,) = (1/N) sum_i [-phi(0) Laplacian log pi(x_i) - Laplacian phi(0)];
    ``log_target`` (R,) = sum_i log pi(x_i).
    """

    velocity: np.ndarray
    divergence: np.ndarray
    squared_discrepancy: np.ndarray
    correction: np.ndarray
    log_target: np.ndarray


def svgd(x: np.ndarray, target: GaussianMixture, h: float) -> Stein:
    """SVGD with the Gaussian kernel of bandwidth h > 0 at x (R, N, d) float64; holds R x N x N numbers.

    Raises ``ValueError`` where h or the dimension does not fit.
    """
    if not h > 0:
        raise ValueError(f"the bandwidth h must be positive, not {h!r}")
    density = target.evaluate(x)
    n, d = x.shape[1:]
    squares = sum((x[:, :, None, k] - x[:, None, :, k]) ** 2 for k in range(d)) / h**2
    kernel = np.exp(-0.5 * squares)
    along = (x * density.score).sum(-1, keepdims=True)
    mass, place, score, work = np.split(
        np.einsum("rij,rjk->rik", kernel, np.concatenate([np.ones_like(along), x, density.score, along], 2)), [1, 1 + d, 1 + 2 * d], axis=2
    )
    # grad phi(x_i - x_j) = -(x_i - x_j) k / h^2, and grad_{x_j} k(x_j, x_i) is its negative.
    velocity = (score + (x * mass - place) / h**2) / n
    pull = (work[..., 0] - (x * score).sum(-1)) / h**2
    spread = np.einsum("rij,rij->ri", kernel, squares - d) / h**2
    correction = -(density.laplacian - d / h**2).mean(1)
    divergence = (density.laplacian - d / h**2 + pull - spread) / n
    discrepancy = ((density.score * velocity).sum((1, 2)) + (pull - spread).sum(1) / n) / n
    return Stein(velocity, divergence, discrepancy, correction, density.log_density.sum(1))


def check_stein(
    *,
    seed: int,
    particles: tuple[int, ...] = (8, 32),
    bandwidth: float = 0.6,
    horizon: float = 2.0,
    replicates: int = 3,
    rtol: float = 1e-8,
) -> xr.Dataset:
    """The entropy identity of SVGD toward a mixture in the plane, per particle, over (stein_particles, trajectory).

    div_{x_i} against complex steps, at start and end; the change of (log rho_t(X(t)) - sum_i log pi(x_i(t))) / N along each
    trajectory up to ``horizon`` against the integrated right-hand side, and with the correction, or one of its two terms, left out.
    """
    target = _mixture()
    shape = (len(particles), replicates)
    names = ("divergence", "frozen", "path", "uncorrected", "without_target", "without_kernel")
    found = {name: np.empty(shape) for name in names}

    def rhs(_: Any, x: np.ndarray, __: Any) -> tuple[np.ndarray, np.ndarray]:
        value = svgd(x, target, bandwidth)
        rates = [value.divergence.sum(1), value.squared_discrepancy * x.shape[1], value.correction]
        return value.velocity, np.stack(rates, 1)

    for k, n in enumerate(particles):
        x0 = 1.5 * random.generator(seed, "svgd", n).standard_normal((replicates, n, 2))
        *_, last = flow.integrate(rhs, x0, [horizon], flow.DormandPrince(rtol=rtol, atol=rtol / 100), carried=3)
        end, carried = last.state.x, last.state.carried
        before, after = (svgd(x, target, bandwidth) for x in (x0, end))
        change = before.log_target - after.log_target - carried[:, 0]
        kernel_term = 2 / bandwidth**2 * horizon
        found["path"][k] = np.abs(change + carried[:, 1] - carried[:, 2]) / n
        found["uncorrected"][k] = np.abs(change + carried[:, 1]) / n
        found["without_target"][k] = np.abs(change + carried[:, 1] - kernel_term) / n
        found["without_kernel"][k] = np.abs(change + carried[:, 1] - (carried[:, 2] - kernel_term)) / n
        for r in range(replicates):
            exact = np.stack([_divergence(x[r], target, bandwidth) for x in (x0, end)])
            fast = np.stack([v.divergence[r] for v in (before, after)])
            own = np.stack([v.correction[r] for v in (before, after)])[:, None] / n
            found["divergence"][k, r] = np.abs(fast - exact).max() / np.abs(exact).max()
            found["frozen"][k, r] = np.abs(fast + own - exact).max() / np.abs(exact).max()
    labels = {
        "divergence": "div_{x_i} of SVGD by formula against complex steps, relative",
        "frozen": "the same without the particle's own term",
        "path": "entropy change along the trajectory against its integrated budget, per particle",
        "uncorrected": "the same without the correction",
        "without_target": "the same without -phi(0) Laplacian log pi",
        "without_kernel": "the same without -Laplacian phi(0)",
    }
    data = {f"stein_{k}": (("stein_particles", "trajectory"), v, labels[k], "1") for k, v in found.items()}
    sizes = (list(particles), "number of particles N", "1")
    return labelled(data, {"stein_particles": sizes}, {"stein_rtol": rtol, "stein_horizon": horizon})


def _mixture() -> GaussianMixture:
    covariances = np.array([[[0.4, 0.1], [0.1, 0.3]], [[0.3, -0.1], [-0.1, 0.5]]])
    return GaussianMixture(np.array([0.5, 0.5]), np.array([[-1.0, 0.0], [1.0, 0.5]]), covariances)


def _divergence(cloud: np.ndarray, target: GaussianMixture, h: float) -> np.ndarray:
    """div_{x_i} of SVGD's velocity of particle i by complex steps of a sum written out pair by pair, (N,) for a cloud (N, d)."""
    n, d = cloud.shape
    total = np.zeros(n)
    for i in range(n):
        for k in range(d):
            moved = cloud.astype(complex)
            moved[i, k] += 1j * _COMPLEX_STEP
            velocity = 0j
            for j in range(n):
                z = moved[i] - moved[j]
                weight = np.exp(-(z * z).sum() / (2 * h**2))
                velocity += weight * (_score(moved[j], target)[k] + z[k] / h**2) / n
            total[i] += velocity.imag / _COMPLEX_STEP
    return total


def _score(x: np.ndarray, target: GaussianMixture) -> np.ndarray:
    mass, slope = 0j, np.zeros(len(x), complex)
    for weight, mean, covariance in zip(target.weights, target.means, target.covariances, strict=True):
        pull = np.linalg.solve(covariance, mean - x)
        density = weight * np.exp(-0.5 * ((mean - x) * pull).sum()) / np.sqrt(np.linalg.det(covariance))
        mass, slope = mass + density, slope + density * pull
    return slope / mass
