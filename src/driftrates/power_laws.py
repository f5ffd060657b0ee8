"""Power laws fitted to replicates: exponents, their intervals, and how these stand to a predicted exponent."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats

from driftrates import random


class PowerLaw(NamedTuple):
    """log value = intercept + slope log N, fitted to means over replicates.

    ``percentile`` and ``bca``: bootstrap intervals (low, high) of the slope; ``curvature`` the coefficient of (log N)^2 after
    centring, with ``curvature_p`` the p-value of its absence; ``leave_one_out`` (low, high) of the slope over all subsets of sizes
    with one N left out.
    """

    slope: float
    intercept: float
    percentile: tuple[float, float]
    bca: tuple[float, float]
    curvature: float
    curvature_p: float
    leave_one_out: tuple[float, float]


def fit_power_law(
    sizes: Sequence[float],
    values: Sequence[np.ndarray],
    *,
    confidence: float = 0.95,
    resamples: int = 999,
    seed: int = 0,
) -> PowerLaw:
    """Weighted log-log fit of E value against N.

    sizes: at least three different N > 0; values: for each N an array (R,) of independent positive replicates, R >= 4.
    Weights are the inverse variances of the log means (delta method). The bootstrap resamples replicates within each N.
    Raises ``ValueError`` where means are not positive and finite, since a power law has no meaning there.
    """
    samples = [np.asarray(v, float).ravel() for v in values]
    x = np.log(np.asarray(sizes, float))
    if len(x) != len(samples) or len(np.unique(x)) < 3 or min(map(len, samples)) < 4:
        raise ValueError("a power law needs at least three sizes with at least four replicates each")
    means = np.array([s.mean() for s in samples])
    if not (np.isfinite(means).all() and (means > 0).all()):
        raise ValueError(f"a power law needs positive finite means, not {means}")
    weights = np.array([(s.mean() / max(s.std(ddof=1), 1e-12 * s.mean())) ** 2 * len(s) for s in samples])
    weights = np.minimum(weights, 1e3 * np.median(weights))
    slope, intercept = _line(x, np.log(means), weights)

    def statistic(*groups: np.ndarray, axis: int = -1) -> np.ndarray:
        y = np.log(np.maximum(np.stack([g.mean(axis) for g in groups], axis=-1), 1e-300))
        return _line(x, y, weights)[0]

    def interval(method: str) -> tuple[float, float]:
        rng = random.generator(seed, "power law", method)
        try:
            found = stats.bootstrap(
                tuple(samples), statistic, n_resamples=resamples, confidence_level=confidence, method=method, vectorized=True, rng=rng
            ).confidence_interval
        except ValueError:
            return (np.nan, np.nan)
        return float(found.low), float(found.high)

    left_out = [_line(np.delete(x, k), np.delete(np.log(means), k), np.delete(weights, k))[0] for k in range(len(x))]
    curvature, curvature_p = _curvature(x, np.log(means), weights)
    return PowerLaw(
        float(slope),
        float(intercept),
        interval("percentile"),
        interval("BCa"),
        curvature,
        curvature_p,
        (float(min(left_out)), float(max(left_out))),
    )


def student_interval(samples: Sequence[float]) -> tuple[float, tuple[float, float]]:
    """Mean of independent samples (R,) and its 95 % interval (low, high) by Student's t. Raises ``ValueError`` for fewer than two."""
    values = np.asarray(samples, float).ravel()
    if len(values) < 2:
        raise ValueError(f"an interval of a mean needs at least two samples, not {len(values)}")
    mean, half = values.mean(), stats.t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / math.sqrt(len(values))
    return float(mean), (float(mean - half), float(mean + half))


def replicate_exponent(x: Sequence[float], values: np.ndarray) -> tuple[float, tuple[float, float]]:
    """`student_interval` of the exponents of x (K,) > 0 that least squares on logarithms give each column of values (K, R) > 0."""
    return student_interval(np.polyfit(np.log(x), np.log(values), 1)[0])


def local_exponents(sizes: Sequence[float], values: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Exponents (K - 1,) between neighbouring sizes (K,) of the means of positive values (R,) each, and half of their 95 % intervals.

    Delta method and Student's t with 2 (R - 1) degrees of freedom, R >= 2; NaN where a mean is not positive.
    """
    samples, gaps = [np.asarray(v, float) for v in values], np.diff(np.log(np.asarray(sizes, float)))
    means = np.array([v.mean() if v.mean() > 0 else np.nan for v in samples])
    squares = np.array([v.var(ddof=1) / len(v) for v in samples]) / means**2
    freedom = np.array([len(a) + len(b) - 2 for a, b in itertools.pairwise(samples)])
    return np.diff(np.log(means)) / gaps, stats.t.ppf(0.975, freedom) * np.sqrt(squares[1:] + squares[:-1]) / gaps


def _line(x: np.ndarray, y: np.ndarray, w: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Slope and intercept of weighted least squares along the last axis of y."""
    centre = (w * x).sum() / w.sum()
    slope = (w * (x - centre) * y).sum(-1) / (w * (x - centre) ** 2).sum()
    return slope, (w * y).sum(-1) / w.sum() - slope * centre


def _curvature(x: np.ndarray, y: np.ndarray, w: np.ndarray) -> tuple[float, float]:
    """Quadratic coefficient and the p-value of z = coefficient / standard error from the weights (inverse variances)."""
    if len(x) < 4:
        return np.nan, np.nan
    u = x - (w * x).sum() / w.sum()
    design = np.stack([np.ones_like(u), u, u * u], axis=1)
    covariance = np.linalg.inv(design.T @ (w[:, None] * design))
    coefficient = (covariance @ (design.T @ (w * y)))[2]
    return float(coefficient), float(2 * stats.norm.sf(abs(coefficient) / np.sqrt(covariance[2, 2])))


def verdict(slope_low: float, slope_high: float, predicted: float) -> str:
    """How a measured exponent's interval stands to that of an upper bound: attained | faster than the bound | slower than predicted."""
    if slope_high < predicted:
        return "faster than the bound"
    return "slower than predicted" if slope_low > predicted else "attained"
