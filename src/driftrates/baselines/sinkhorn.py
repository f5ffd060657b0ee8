"""The Sinkhorn drift (B7): entropic transport of the cloud to the data minus entropic transport of the cloud to itself.

With OT_eps(mu, nu) = min_P <P, C> + eps KL(P | mu x nu), C = |x - y|^2 / 2, and the Sinkhorn divergence
S_eps = OT_eps(mu, nu) - OT_eps(mu, mu) / 2 - OT_eps(nu, nu) / 2, the drift

    V(x_i) = sum_j P^XY_ij y_j - sum_j P^XX_ij x_j,   rows of P normalised to one,

is -N times the gradient of S_eps(mu_N, nu) in x_i. Every plan comes from POT's solver in the log domain.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import xarray as xr
from scipy.spatial.distance import cdist
from scipy.special import softmax

from driftrates import datasets
from driftrates.fields import DriftField, SmoothedPoints
from driftrates.kernels import Gaussian
from driftrates.labels import labelled
from driftrates.random import generator

_STEP = 1e-4


class Plan(NamedTuple):
    """An entropic plan between uniform measures on x (N, d) and y (M, d).

    ``weights`` (N, M), rows summing to one; ``value`` OT_eps, unit length^2, from the dual potentials, exact to second order in their
    error; ``potentials`` to start a later call from; ``misplaced``: sum over columns of |column sum - 1/M|; ``iterations``.
    """

    weights: np.ndarray
    value: float
    potentials: tuple[np.ndarray, np.ndarray]
    misplaced: float
    iterations: int


def entropic_plan(
    x: np.ndarray,
    y: np.ndarray,
    eps: float,
    *,
    tolerance: float = 1e-3,
    iterations: int = 20_000,
    start: tuple[np.ndarray, np.ndarray] | None = None,
) -> Plan:
    """The plan for the cost |x - y|^2 / 2 at eps > 0 (length^2), to a misplaced mass of at most ``tolerance`` (of 1).

    Raises ``ValueError`` for other shapes or eps, and where ``iterations`` do not reach the tolerance.
    """
    if x.ndim != 2 or y.ndim != 2 or x.shape[1] != y.shape[1] or not (len(x) and len(y)):
        raise ValueError(f"a plan needs clouds (N, d) and (M, d) of one dimension, not {x.shape} and {y.shape}")
    if not (math.isfinite(eps) and eps > 0 and tolerance > 0):
        raise ValueError(f"eps and tolerance must be positive, not {eps!r} and {tolerance!r}")
    # Compiling POT on its first import warns of escape sequences in its docstrings.
    with warnings.catch_warnings(action="ignore"):
        import ot
    n, m = len(x), len(y)
    # POT stops by the Euclidean norm of the misplaced masses, their sum is at most sqrt(M) times that; the exponentials of the
    # potentials that it returns besides may overflow.
    with np.errstate(over="ignore"):
        weights, log = ot.bregman.sinkhorn_log(
            np.full(n, 1 / n),
            np.full(m, 1 / m),
            cdist(x, y, "sqeuclidean") / 2,
            eps,
            numItermax=iterations,
            stopThr=tolerance / math.sqrt(m),
            warmstart=start,
            log=True,
            warn=False,
        )
    misplaced = float(np.abs(weights.sum(0) - 1 / m).sum())
    if not misplaced <= tolerance:
        raise ValueError(
            f"Sinkhorn's iteration left {misplaced:.2g} of the mass misplaced after {iterations} iterations at eps = {eps:g} "
            f"(tolerance {tolerance:g}); use a larger eps, tolerance or number of iterations"
        )
    u, v = log["log_u"], log["log_v"]
    value = eps * float(u.mean() + math.log(n) + v.mean() + math.log(m))
    return Plan(n * weights, value, (u, v), misplaced, int(log["niter"]) + 1)


def sinkhorn_divergence(x: np.ndarray, y: np.ndarray, eps: float, *, tolerance: float = 1e-8) -> float:
    """S_eps between clouds x (N, d) and y (M, d), unit length^2. Raises ``ValueError`` as `entropic_plan` does."""
    across, own, other = (entropic_plan(a, b, eps, tolerance=tolerance).value for a, b in ((x, y), (x, x), (y, y)))
    return across - own / 2 - other / 2


@dataclass
class SinkhornDrift:
    """The drift toward data (R or 1, M, d) at eps > 0; plans start from those of the last call for clouds and data of the same shapes.

    ``sweeps`` (R,): half-iterations times entries of the plans of the last call, the exponentials evaluated per replicate.
    """

    data: np.ndarray
    eps: float
    tolerance: float = 1e-3
    sweeps: np.ndarray | None = None
    _starts: dict[tuple, tuple] = field(default_factory=dict, repr=False)

    def velocity(self, x: np.ndarray) -> np.ndarray:
        """V at the cloud's own particles x (R, N, d), same shape. Raises ``ValueError`` as `entropic_plan` does."""
        out, self.sweeps = np.empty_like(x), np.zeros(len(x))
        for r, cloud in enumerate(x):
            data = self.data[r if len(self.data) > 1 else 0]
            images = []
            for role, points in (("data", data), ("own", cloud)):
                key = (r, role, x.shape, points.shape)
                plan = entropic_plan(cloud, points, self.eps, tolerance=self.tolerance, start=self._starts.get(key))
                self._starts[key] = plan.potentials
                self.sweeps[r] += 2 * plan.iterations * plan.weights.size
                images.append(np.einsum("ij,jk->ik", plan.weights, points))
            out[r] = images[0] - images[1]
        return out


def once_normalised(x: np.ndarray, y: np.ndarray, eps: float) -> np.ndarray:
    """The drift with rows normalised once instead of converged plans, x (N, d), y (M, d): the displacement field of h^2 = eps."""
    images = [np.einsum("ij,jk->ik", softmax(-cdist(x, points, "sqeuclidean") / (2 * eps), axis=1), points) for points in (y, x)]
    return images[0] - images[1]


def check_sinkhorn(
    *, seed: int, bandwidths: tuple[float, ...] = (0.5, 0.8, 1.6), particles: int = 10, points: int = 14, directions: int = 4
) -> xr.Dataset:
    """B7 on a small cloud in the plane, relative residuals over bandwidth h (eps = h^2) and random directions of the whole cloud.

    The drift against central differences of S_eps, the same with the debiasing left out of the drift; the drift normalised once
    against the displacement field of the Gaussian kernel, and the converged drift against the latter.
    """
    rng = generator(seed, "sinkhorn", particles, points)
    y = datasets.load({"name": "eight_gaussians", "radius": 1.0, "size": points}, seed=seed)
    x = rng.standard_normal((particles, 2))
    along = rng.standard_normal((directions, particles, 2))
    shape = (len(bandwidths), directions)
    residual, biased = np.empty(shape), np.empty(shape)
    once, converged = np.empty(len(bandwidths)), np.empty(len(bandwidths))
    for b, h in enumerate(bandwidths):
        eps = h**2
        drift = SinkhornDrift(y[None], eps, tolerance=1e-8).velocity(x[None])[0]
        raw = entropic_plan(x, y, eps, tolerance=1e-8).weights @ y - x
        size = np.abs(drift).max() * np.sqrt((along**2).sum((1, 2)) * particles)
        slope = np.array([_difference(x, y, eps, u) for u in along])
        residual[b] = np.abs((drift * along).sum((1, 2)) + particles * slope) / size
        biased[b] = np.abs((raw * along).sum((1, 2)) + particles * slope) / size
        shift = DriftField("displacement", SmoothedPoints(y[None], Gaussian(), h), Gaussian(), h).at_particles(x[None]).velocity[0]
        once[b] = np.abs(once_normalised(x, y, eps) - shift).max() / np.abs(shift).max()
        converged[b] = np.abs(drift - shift).max() / np.abs(shift).max()
    labels = {
        "sinkhorn_gradient": (residual, "drift plus N times the gradient of the Sinkhorn divergence, relative"),
        "sinkhorn_biased_gradient": (biased, "the same with the drift's debiasing term left out"),
        "sinkhorn_once": (once, "drift normalised once minus the displacement field of h^2 = eps, relative"),
        "sinkhorn_converged": (converged, "converged drift minus that displacement field, relative"),
    }
    dims = ("check_bandwidth", "direction")
    data = {name: (dims[: values.ndim], values, text, "1") for name, (values, text) in labels.items()}
    return labelled(data, {"check_bandwidth": (list(bandwidths), "bandwidth h", "length")})


def _difference(x: np.ndarray, y: np.ndarray, eps: float, along: np.ndarray) -> float:
    ahead, behind = (sinkhorn_divergence(x + sign * _STEP * along, y, eps) for sign in (1, -1))
    return (ahead - behind) / (2 * _STEP)
