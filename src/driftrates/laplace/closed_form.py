"""The statistics of a Gaussian mixture on the line smoothed by the Laplace kernel, in closed form.

With a = sigma / h and t = (x - m) / sigma, one component N(m, sigma^2) has beside the point x the weights

    left  E[e^(-(x-Y)/h); Y < x] = e^(a^2/2 - a t) Phi(t - a),        right  E[e^((x-Y)/h); Y > x] = e^(a^2/2 + a t) Phi(-t - a),

an exponentially modified Gaussian each, and under either weight the mean distance sigma (u + phi(u) / Phi(u)) with u = t - a
or u = -t - a. All statistics of the mixture follow from these 2 K weights and distances.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import special

from driftrates.arrays import namespace, to_host
from driftrates.fields import Statistic
from driftrates.targets import GaussianMixture

_TERMS = 40
"""Of the continued fraction, which then is exact to rounding for w >= 3."""


@dataclass(frozen=True)
class LaplaceSmoothedMixture:
    """A Gaussian mixture p on the line smoothed by the Laplace kernel K_h(z) = e^(-|z|/h) / (2 h), h (float > 0, length).

    The protocol of `driftrates.fields.Smoothed` at points x (R, n, 1); float64 arithmetic on the host, results in dtype and
    namespace of x. Raises ``ValueError`` for another dimension, or for h not positive and finite.
    """

    mixture: GaussianMixture
    h: float

    def __post_init__(self) -> None:
        if self.mixture.dimension != 1:
            raise ValueError(f"the Laplace kernel smooths a mixture in closed form for d = 1 only, not d = {self.mixture.dimension}")
        if not (math.isfinite(self.h) and self.h > 0):
            raise ValueError(f"the bandwidth h must be a finite number > 0, not {self.h!r}")

    def statistic(self, name: str, x: Any, *, divergence: bool = False) -> Statistic:
        """See `driftrates.fields.Statistic`; raises ``ValueError`` for an unknown name."""
        h, points = self.h, _host(x)
        (left, right), (left_moment, right_moment), log_density = self._sides(points)
        if name == "score":
            value = (right - left) / h
            spread = (4 * left * right - np.exp(self.mixture.log_density(points) - log_density)) / h**2
        elif name == "mean_shift":
            value = right_moment - left_moment
            spread = 2 / h * (right_moment * left + left_moment * right) - 1
        elif name == "sharp_score":
            alpha = h * (h + left_moment + right_moment)
            value = (right_moment - left_moment) / alpha
            spread = (4 * left_moment * right_moment - h**2) / alpha**2
        else:
            raise ValueError(f"unknown statistic {name!r}; known: score, mean_shift, sharp_score")
        xp, dtype = namespace(x), x.dtype
        out = [xp.asarray(a, dtype=dtype) for a in (value[..., None], spread, 0 * spread, log_density)]
        return Statistic(out[0], *(out[1:3] if divergence else (None, None)), out[3])

    def curl(self, name: str, x: Any) -> Any:
        """Zero, (R, n): on the line every field is a gradient."""
        return namespace(x).zeros_like(x[..., 0])

    def scale(self, x: Any) -> Any:
        """alpha_p(x) = h^2 + h rho_p(x) of L6.1, (R, n), unit length^2."""
        _, moments, _ = self._sides(_host(x))
        return namespace(x).asarray(self.h * (self.h + moments.sum(0)), dtype=x.dtype)

    def _sides(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """At points (*S, 1): the shares of the weight left and right of each (2, *S), the two parts of its mean distance (2, *S) in
        length, log (K_h * p) (*S)."""
        sigma, mean = np.sqrt(self.mixture.covariances.reshape(-1)), self.mixture.means[:, 0]
        a, t = sigma / self.h, (points - mean) / sigma
        logs, distances = zip(*(_side(a, side * t) for side in (1, -1)), strict=True)
        logs = np.stack(logs) + np.log(self.mixture.weights)
        top = logs.max((0, -1), keepdims=True)
        weights = np.exp(logs - top)
        total = weights.sum((0, -1), keepdims=True)
        weights /= total
        log_density = (top + np.log(total))[0, ..., 0] - math.log(2 * self.h)
        return weights.sum(-1), (weights * np.stack(distances) * sigma).sum(-1), log_density


def _host(x: Any) -> np.ndarray:
    points = to_host(x).astype(np.float64)
    if points.ndim < 1 or points.shape[-1] != 1:
        raise ValueError(f"points must have the shape (..., 1), not {points.shape}")
    return points


def _side(a: np.ndarray, t: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(log weight, mean distance / sigma) of the data below t, for a = sigma / h, in units of the component's own sigma."""
    u = t - a
    # e^(t^2/2) e^(a^2/2 - a t) Phi(u) = erfcx(-u / sqrt 2) / 2 has no large terms to cancel, but overflows for large u
    log = np.where(
        u < 0,
        np.log(special.erfcx(-np.minimum(u, 0) / math.sqrt(2)) / 2) - t**2 / 2,
        special.log_ndtr(np.maximum(u, 0)) + a * (a / 2 - t),
    )
    near = np.maximum(u, -3)
    direct = near + np.exp(-(near**2) / 2 - special.log_ndtr(near)) / math.sqrt(2 * math.pi)
    far = u < -3
    direct[far] = _mean_excess(-u[far])
    return log, direct


def _mean_excess(w: np.ndarray) -> np.ndarray:
    """E[Z - w | Z > w] of a standard normal Z for w >= 3: the continued fraction 1/(w + 2/(w + 3/(w + ...)))."""
    excess = 1 / w
    for n in range(_TERMS, 0, -1):
        excess = 1 / (w + (n + 1) * excess)
    return excess
