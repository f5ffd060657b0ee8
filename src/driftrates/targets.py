"""What a cloud drifts toward, in closed form: Gaussian mixtures and their kernel-smoothed versions."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from scipy import linalg

from driftrates.arrays import namespace
from driftrates.messages import shown
from driftrates.random import generator as keyed_generator

_VALUES_PER_BLOCK = {"numpy": 2**16, "cupy": 2**24}
"""Size of the temporaries of one pass: within the cache of a core, or large enough to fill a GPU."""


class Evaluation(NamedTuple):
    """A log-density at points x (..., d): log_density (...), score = its gradient (..., d), laplacian = div score (...)."""

    log_density: Any
    score: Any
    laplacian: Any


@dataclass(frozen=True, eq=False)
class GaussianMixture:
    """sum_k w_k N(m_k, C_k) in R^d.

    weights (K,) positive, normalised to one here; means (K, d), unit: length; covariances (K, d, d) symmetric positive definite,
    (K, d) variances per axis or (K,) variances of isotropic components, unit: length^2. Stored as read-only float64.
    Raises ``ValueError`` naming the argument that is not so.
    """

    weights: np.ndarray
    means: np.ndarray
    covariances: np.ndarray

    def __post_init__(self) -> None:
        weights, means, covariances = (_numbers(name, getattr(self, name)) for name in ("weights", "means", "covariances"))
        if means.ndim != 2 or 0 in means.shape:
            raise ValueError(f"means must have the shape (components, dimension), not {means.shape}")
        k, d = means.shape
        if weights.shape != (k,) or not (weights > 0).all():
            raise ValueError(f"weights must be {k} positive numbers, one per row of means, not {weights.tolist()}")
        if covariances.shape not in ((k,), (k, d), (k, d, d)):
            raise ValueError(
                f"covariances must have the shape {(k,)}, {(k, d)} or {(k, d, d)} to go with means {means.shape}, not {covariances.shape}"
            )
        if covariances.ndim < 3:
            if not (covariances > 0).all():
                raise ValueError(f"covariances: variances must be positive, not {covariances.min()}")
        else:
            for i, c in enumerate(covariances):
                if not np.allclose(c, c.T, rtol=1e-10, atol=1e-12 * np.abs(c).max()):
                    raise ValueError(f"covariances[{i}] is not symmetric")
                if np.linalg.eigvalsh(c)[0] <= 1e-14 * np.abs(c).max():
                    raise ValueError(f"covariances[{i}] is not positive definite")
            covariances = (covariances + covariances.swapaxes(1, 2)) / 2
        for name, value in (("weights", weights / weights.sum()), ("means", means), ("covariances", covariances)):
            value.setflags(write=False)
            object.__setattr__(self, name, value)

    @property
    def dimension(self) -> int:
        """d, the number of components of a point."""
        return self.means.shape[1]

    @cached_property
    def _factors(self) -> np.ndarray:
        """Square roots of the covariances: Cholesky factors (K, d, d) or standard deviations (K, d)."""
        if self.covariances.ndim == 3:
            return np.linalg.cholesky(self.covariances)
        return np.sqrt(np.broadcast_to(self.covariances.reshape(len(self.weights), -1), self.means.shape))

    @cached_property
    def _precisions(self) -> np.ndarray:
        if self.covariances.ndim == 3:
            return np.stack([linalg.cho_solve((factor, True), np.eye(self.dimension)) for factor in self._factors])
        return self._factors**-2.0

    @cached_property
    def _log_determinants(self) -> np.ndarray:
        roots = np.diagonal(self._factors, axis1=1, axis2=2) if self._factors.ndim == 3 else self._factors
        return 2 * np.log(roots).sum(1)

    def _dense_covariances(self) -> np.ndarray:
        return self.covariances if self.covariances.ndim == 3 else np.eye(self.dimension) * (self._factors**2)[:, :, None]

    def evaluate(self, x: Any) -> Evaluation:
        """log-density, score and Laplacian of the log-density at x (R, n, d), NumPy or CuPy, float64 or float32.

        Results keep dtype and device of x; the arithmetic is float64. Written with responsibilities and with the Laplacian as a
        spread of the components' scores, so that nothing underflows or cancels far from all means.
        Raises ``ValueError`` for another dimension or dtype.
        """
        if x.ndim < 1 or x.shape[-1] != self.dimension or str(x.dtype) not in ("float64", "float32"):
            raise ValueError(f"points must be float64 or float32 of shape (..., {self.dimension}), not {x.dtype} {x.shape}")
        xp, dtype = namespace(x), x.dtype
        points = x.reshape(-1, self.dimension)
        log_density, score, laplacian = xp.empty(points.shape[0], dtype), xp.empty(points.shape, dtype), xp.empty(points.shape[0], dtype)
        traces = np.trace(self._precisions, axis1=1, axis2=2) if self._precisions.ndim == 3 else self._precisions.sum(1)
        logs = np.log(self.weights) - 0.5 * (self._log_determinants + self.dimension * math.log(2 * math.pi))
        means, precisions, traces, logs = (xp.asarray(a) for a in (self.means[:, None], self._precisions, traces[:, None], logs[:, None]))
        step = max(1, _VALUES_PER_BLOCK[xp.__name__] // self.means.size)
        for rows in (slice(i, i + step) for i in range(0, points.shape[0], step)):
            shifts = points[rows].astype(np.float64) - means
            own = -xp.einsum("kni,kij->knj", shifts, precisions) if precisions.ndim == 3 else -shifts * precisions[:, None]
            each = logs + 0.5 * (shifts * own).sum(-1)
            top = each.max(0)
            shares = xp.exp(each - top)
            total = shares.sum(0)
            shares /= total
            mean = (shares[..., None] * own).sum(0)
            log_density[rows] = top + xp.log(total)
            score[rows] = mean
            laplacian[rows] = (shares * (((own - mean) ** 2).sum(-1) - traces)).sum(0)
        return Evaluation(log_density.reshape(x.shape[:-1]), score.reshape(x.shape), laplacian.reshape(x.shape[:-1]))

    def log_density(self, x: Any) -> Any:
        """log pi at x (R, n, d): (R, n); see `evaluate`."""
        return self.evaluate(x).log_density

    def score(self, x: Any) -> Any:
        """s_pi = grad log pi at x (R, n, d): (R, n, d), unit 1/length; see `evaluate`."""
        return self.evaluate(x).score

    def laplacian(self, x: Any) -> Any:
        """Laplacian of log pi at x (R, n, d): (R, n), unit 1/length^2; see `evaluate`."""
        return self.evaluate(x).laplacian

    def smoothed(self, h: float) -> GaussianMixture:
        """K_h * pi for the Gaussian kernel of bandwidth h (float >= 0): covariances C_k + h^2 I."""
        if not (math.isfinite(h) and h >= 0):
            raise ValueError(f"the bandwidth h must be a finite number >= 0, not {h!r}")
        added = h**2 * np.eye(self.dimension) if self.covariances.ndim == 3 else h**2
        return GaussianMixture(self.weights, self.means, self.covariances + added)

    def sample(self, generator: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        """Independent points: shape (R, n) gives (R, n, d) float64, on the host."""
        chosen = generator.choice(len(self.weights), size=shape, p=self.weights)
        z = generator.standard_normal((*shape, self.dimension))
        return self.means[chosen] + _stretch(self._factors[chosen], z)


def _stretch(factors: np.ndarray, z: np.ndarray) -> np.ndarray:
    return np.einsum("...ij,...j->...i", factors, z) if factors.ndim > z.ndim else factors * z


def _numbers(name: str, value: Any) -> np.ndarray:
    """``value`` as a new float64 array of finite numbers."""
    if _holds_truth(value):
        raise ValueError(f"{name} must be finite numbers, not true or false")
    try:
        array = np.asarray(value)
    except ValueError:
        raise ValueError(f"{name} must be a regular array of numbers; its rows differ in length") from None
    if array.dtype.kind not in "iuf" or not np.isfinite(array).all():
        raise ValueError(f"{name} must be finite numbers, not {shown(value)}")
    return array.astype(np.float64)


def _holds_truth(value: Any) -> bool:
    """Whether a list holds true or false, which beside other numbers NumPy takes for 1 and 0."""
    return isinstance(value, bool) or isinstance(value, (list, tuple)) and any(map(_holds_truth, value))


def mixture_from_config(config: Mapping[str, Any]) -> GaussianMixture:
    """The mixture described by a configuration.

    Keys: ``means`` (K points; K numbers if d = 1); ``weights`` (K positive numbers; equal if left out); and either
    ``standard_deviations`` (one number, K numbers, or K rows of d) or ``covariances`` (K matrices d x d, K rows of d variances, or K
    variances). Raises ``ValueError`` naming the key that is unknown, missing or out of range.
    """
    unknown = sorted(set(config) - {"weights", "means", "standard_deviations", "covariances"}, key=str)
    if unknown:
        raise ValueError(f"mixture: unknown key {unknown[0]!r}; allowed: weights, means, standard_deviations, covariances")
    if config.get("means") is None:
        raise ValueError("mixture: the key means is missing: a list of points")
    spreads = [key for key in ("standard_deviations", "covariances") if config.get(key) is not None]
    if len(spreads) != 1:
        raise ValueError("mixture: give exactly one of the keys standard_deviations and covariances")
    try:
        means = _numbers("means", config["means"])
        means = means[:, None] if means.ndim == 1 else means
        spread = _numbers(spreads[0], config[spreads[0]])
        if spreads[0] == "standard_deviations":
            allowed = ((), means.shape[:1], means.shape)
            if spread.shape not in allowed or not (spread > 0).all():
                raise ValueError(
                    f"standard_deviations must be positive: one number, or an array {allowed[1]} or {allowed[2]} to go with the means"
                )
            spread = np.broadcast_to(spread, spread.shape or allowed[1]) ** 2
        weights = np.ones(len(means)) if config.get("weights") is None else config["weights"]
        return GaussianMixture(weights, means, spread)
    except ValueError as error:
        raise ValueError(f"mixture: {error}") from None


class Divergence(NamedTuple):
    """A value in nats with its uncertainty: zero (``method`` closed_form), the rule's error estimate (quadrature) or one standard
    error over independent scramblings (quasi_monte_carlo)."""

    value: float
    standard_error: float
    method: str


def kl_divergence(rho0: GaussianMixture, pi: GaussianMixture, *, seed: int = 0, points: int = 2**13, scramblings: int = 16) -> Divergence:
    """KL(rho0 || pi) = E_rho0 log(rho0 / pi), the H_N(0) / N of R4.8.

    Closed form between two Gaussians; adaptive Gauss-Kronrod quadrature for d = 1; otherwise scrambled Sobol points, ``points`` (a
    power of two) per component of rho0 and scrambling, with ``scramblings`` >= 2 of them, repeatable by ``seed``.
    Raises ``ValueError`` where the dimensions differ or these numbers are out of range.
    """
    if rho0.dimension != pi.dimension:
        raise ValueError(f"rho0 and pi live in different dimensions, {rho0.dimension} and {pi.dimension}")
    if len(rho0.weights) == len(pi.weights) == 1:
        return Divergence(_kl_gaussians(rho0, pi), 0.0, "closed_form")
    if rho0.dimension == 1:
        return _kl_quadrature(rho0, pi)
    from scipy.stats import qmc

    if points < 2 or points & (points - 1) or scramblings < 2:
        raise ValueError(f"points must be a power of two and scramblings at least 2, not {points} and {scramblings}")
    values = []
    for s in range(scramblings):
        normal = qmc.MultivariateNormalQMC(np.zeros(rho0.dimension), rng=keyed_generator(seed, "kl_divergence", s))
        z = normal.random(points)[None]
        x = rho0.means[:, None] + _stretch(np.repeat(rho0._factors[:, None], points, 1), np.repeat(z, len(rho0.weights), 0))
        values.append(float(rho0.weights @ (rho0.log_density(x) - pi.log_density(x)).mean(1)))
    return Divergence(float(np.mean(values)), float(np.std(values, ddof=1) / math.sqrt(scramblings)), "quasi_monte_carlo")


def _kl_gaussians(rho0: GaussianMixture, pi: GaussianMixture) -> float:
    gap = pi.means[0] - rho0.means[0]
    precision = pi._precisions[0] if pi._precisions.ndim == 3 else np.diag(pi._precisions[0])
    spread = np.sum(precision * (rho0._dense_covariances()[0] + np.outer(gap, gap)))
    return float(0.5 * (spread - pi.dimension + pi._log_determinants[0] - rho0._log_determinants[0]))


def _kl_quadrature(rho0: GaussianMixture, pi: GaussianMixture) -> Divergence:
    """Each component of rho0 in its own standardised coordinate, in pieces between the places where a component begins or ends."""
    from scipy import integrate  # loads slowly, and most processes need no quadrature

    marks = np.concatenate([(m.means + m._factors.reshape(-1, 1) * np.array([-6, -2, 0, 2, 6])).ravel() for m in (rho0, pi)])

    def mean_log_ratio(centre: float, width: float) -> tuple[float, float]:
        inner = (marks - centre) / width
        edges = np.unique(np.concatenate([[-12.0, 12.0], inner[abs(inner) < 12]]))
        sizes = np.diff(edges)

        def integrand(t: float) -> np.ndarray:
            z = edges[:-1] + t * sizes
            x = (centre + width * z)[:, None]
            return sizes * np.exp(-0.5 * z * z) / math.sqrt(2 * math.pi) * (rho0.log_density(x) - pi.log_density(x))

        pieces, error = integrate.quad_vec(integrand, 0, 1, epsabs=1e-13, epsrel=1e-12, norm="max", limit=2000)
        return float(pieces.sum()), float(error * len(pieces))

    each = [mean_log_ratio(centre, width) for centre, width in zip(rho0.means[:, 0], rho0._factors.reshape(-1), strict=True)]
    value, error = rho0.weights @ np.array(each)
    return Divergence(float(value), float(error), "quadrature")
