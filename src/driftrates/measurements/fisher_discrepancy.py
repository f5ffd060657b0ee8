"""The Fisher discrepancy F_N = int p_h |b|^2 of (5) by two independent methods, with L4.3, X9 and X10."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from scipy import optimize
from scipy.spatial import ConvexHull, QhullError, cKDTree
from scipy.spatial.distance import cdist
from threadpoolctl import threadpool_limits

from driftrates import random
from driftrates.fields import DriftField
from driftrates.kernels import Kernel
from driftrates.sampling import sample_smoothed

_POINTS_PER_BLOCK = 2**16
_PAIRS_PER_BLOCK = 2**22
_FEW = 2**14
"""Particles up to which every point of a lattice sees the whole cloud, and not only the particles in the kernel's reach."""
_CELL = 16.0
"""Edge of the cells of a lattice that share their particles, in units of h."""
_NEGLIGIBLE = 1e-18
_LONG_TAIL = 12.0
"""Reach in units of h from which on an axis is stretched."""
_FOLDS = 28.0
"""e-foldings of a stretched axis where the kernel's tail is algebraic."""


class Fisher(NamedTuple):
    """Integrals over p_h of one frozen cloud, each with its error: change under the last refinement, or one standard error.

    ``value`` F_N = int p_h |b|^2, split into ``inside`` and ``outside`` the convex hull of the cloud (``split_error`` of that
    split); ``stein`` int p_h T_pi b, equal to F_N by L4.3; ``kl`` KL(p_h || pi); ``kl_rate`` its time
    derivative along the flow, -(1/N) sum_i b(x_i) . (K_h * b)(x_i); ``mass`` int p_h. ``points`` where the field was evaluated.
    """

    value: float
    error: float
    inside: float
    outside: float
    split_error: float
    stein: float
    stein_error: float
    kl: float
    kl_error: float
    kl_rate: float
    kl_rate_error: float
    mass: float
    points: int
    method: str


def fisher(
    field: DriftField,
    cloud: np.ndarray,
    *,
    method: str | None = None,
    rtol: float = 1e-8,
    max_points: int = 2**22,
    points: int = 2**12,
    scramblings: int = 8,
    seed: int = 0,
    rate: bool = True,
) -> Fisher:
    """F_N and its companions for one cloud (N, d) frozen in a conservative field.

    ``trapezoid`` (default for d <= 2): a lattice around the cloud whose spacing is halved until F_N, the Stein integral, KL and
    the mass change by less than ``rtol``, or ``max_points`` would be passed (the error then says so); it converges like
    exp(-c / spacing) once the gap scale h^2 / l is resolved. ``quasi_monte_carlo`` (default for d >= 3): scrambled Sobol
    samples x_i + h z of p_h itself, ``points`` (a power of two) in each of ``scramblings`` >= 2, repeatable by ``seed``.
    The split at the hull is exact only to the order of the spacing. ``rate=False`` leaves ``kl_rate`` out of the lattice (NaN), whose
    cost and memory would grow like the points of an axis times N. Raises ``ValueError`` for another field, cloud or method.
    """
    require_conservative(field)
    cloud = np.asarray(cloud, float)
    if cloud.ndim != 2 or 0 in cloud.shape or not np.isfinite(cloud).all():
        raise ValueError(f"cloud must be finite numbers of shape (N, d), not {cloud.shape}")
    if points < 2 or points & (points - 1) or scramblings < 2:
        raise ValueError(f"points must be a power of two and scramblings at least 2, not {points} and {scramblings}")
    if method is None:
        method = "trapezoid" if cloud.shape[1] <= 2 else "quasi_monte_carlo"
    if method not in ("trapezoid", "quasi_monte_carlo"):
        raise ValueError(f"unknown method {method!r}; known: trapezoid, quasi_monte_carlo")
    with threadpool_limits(1, user_api="blas"):  # the products are small: threads of BLAS would fight those of the kernel sums
        if method == "trapezoid":
            return _trapezoid(field, cloud, rtol, max_points, rate)
        return _quasi_monte_carlo(field, cloud, points, scramblings, seed)


def require_conservative(field: DriftField) -> None:
    """Raise ``ValueError`` unless ``field`` is the conservative one with the full KDE."""
    if field.name != "conservative" or field.leave_one_out:
        raise ValueError(f"these observables belong to the conservative field with the full KDE, not to {field.name!r}")


class Pointwise(NamedTuple):
    """Values (n,) at points: velocity b (n, d), |b|^2, T_pi b, log p_h - log pi and p_h."""

    velocity: np.ndarray
    speed: np.ndarray
    stein: np.ndarray
    log_ratio: np.ndarray
    density: np.ndarray


def evaluate(field: DriftField, x: np.ndarray, cloud: np.ndarray, share: float = 1.0) -> Pointwise:
    """A conservative field of ``cloud`` (N, d), held fixed, at x (n, d); the cloud is a ``share`` of all particles, the rest far."""
    value = field.at(x[None], cloud[None], divergence=True)
    b, log_density = value.velocity[0], value.model.log_density[0] + math.log(share)
    return Pointwise(
        b,
        (b * b).sum(-1),
        value.divergence[0] + (value.target.value[0] * b).sum(-1),
        log_density - value.target.log_density[0],
        np.exp(log_density),
    )


def hull_membership(cloud: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """Function of points (n, d): 1 inside the convex hull of ``cloud`` (N, d), 0 outside, 1/2 at the ends of an interval (d = 1).

    A cloud without d + 1 points in general position has a hull of measure zero: 0 everywhere.
    """
    if np.ptp(cloud, axis=0).min() == 0:
        return lambda x: np.zeros(len(x))
    if cloud.shape[1] == 1:
        ends = np.array([cloud.min(), cloud.max()])
        slack = 1e-9 * np.ptp(ends)

        def between(x: np.ndarray) -> np.ndarray:
            depth = np.minimum(x[:, 0] - ends[0], ends[1] - x[:, 0])
            return np.heaviside(np.where(np.abs(depth) <= slack, 0.0, depth), 0.5)

        return between
    try:
        equations = ConvexHull(cloud).equations
    except QhullError:
        return lambda x: np.zeros(len(x))

    def inside(x: np.ndarray) -> np.ndarray:
        extended = np.concatenate([x, np.ones((len(x), 1))], 1)
        kept = np.flatnonzero(((x >= cloud.min(0)) & (x <= cloud.max(0))).all(1))
        for facets in np.array_split(equations, math.ceil(len(equations) / 64)):
            kept = kept[(facets @ extended[kept].T).max(0) <= 0]
        out = np.zeros(len(x))
        out[kept] = 1.0
        return out

    return inside


def kernel_reach(kernel: Kernel, d: int) -> float:
    """Distance in units of h beyond which s^(d+3) K(s) stays below 1e-18 K(0); ``inf`` for an algebraic tail."""
    s = np.geomspace(1.0, 200.0, 2000)
    negligible = s ** (d + 3) * kernel.rung(s, d) / kernel.rung(np.zeros(()), d) < _NEGLIGIBLE
    return float(s[np.argmax(negligible)]) if negligible[-1] else math.inf


class _Axis:
    """One axis of the lattice: equal steps, stretched exponentially outside the cloud where the kernel's tail is long.

    The ends of the cloud are nodes of every refinement.
    """

    def __init__(self, values: np.ndarray, h: float, reach: float) -> None:
        self.middle, self.half = (values.min() + values.max()) / 2, np.ptp(values) / 2
        self.width = 2 * h if reach > _LONG_TAIL else math.inf
        end, beyond = self.half, reach * h
        if math.isfinite(self.width):
            end = optimize.brentq(lambda t: self._map(np.array(t))[0] - self.half, 0.0, self.half) if self.half > 0 else 0.0
            beyond = self.width * (math.log1p(beyond / self.width) if math.isfinite(reach) else _FOLDS)
        cells = max(1, math.ceil(4 * end / h))
        self.step = 2 * end / cells if end > h / 8 else h / 2
        self.start = -end
        self.first, self.last = -math.ceil(beyond / self.step), cells + math.ceil(beyond / self.step)

    def _map(self, t: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        if math.isinf(self.width):
            return t, np.ones_like(t)
        up, down = (np.exp((sign * t - self.half) / self.width) for sign in (1, -1))
        return t + self.width * (up - down), 1 + up + down

    def nodes(self, level: int, offset: float) -> tuple[np.ndarray, np.ndarray]:
        """(x, dx/dt) on the lattice of spacing step / 2^level, shifted by ``offset`` spacings."""
        index = np.arange(self.first * 2**level, self.last * 2**level + 1) + offset
        x, slope = self._map(self.start + self.step / 2**level * index)
        return self.middle + x, slope


def _blocks(x: np.ndarray, kept: np.ndarray, cloud: np.ndarray, h: float, reach: float) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """``kept`` points of x (n, d) in blocks, with the particles that they see: all, or for a large cloud those in the kernel's reach."""
    if len(cloud) <= _FEW or not math.isfinite(reach):
        for rows in np.array_split(kept, math.ceil(len(kept) / _POINTS_PER_BLOCK)):
            yield rows, cloud
        return
    _, groups = np.unique(np.floor(x[kept] / (_CELL * h)), axis=0, return_inverse=True)
    order = np.argsort(groups.ravel(), kind="stable")
    for cell in np.split(order, np.flatnonzero(np.diff(groups.ravel()[order])) + 1):
        rows = kept[cell]
        low, high = x[rows].min(0) - reach * h, x[rows].max(0) + reach * h
        yield rows, cloud[((cloud >= low) & (cloud <= high)).all(1)]


def _trapezoid(field: DriftField, cloud: np.ndarray, rtol: float, max_points: int, rate: bool) -> Fisher:
    d = cloud.shape[1]
    reach = kernel_reach(field.kernel, d)
    axes = [_Axis(values, field.h, reach) for values in cloud.T]
    inside, tree = hull_membership(cloud), cKDTree(cloud)
    velocity = evaluate(field, cloud, cloud).velocity if rate else None

    def lattice(level: int, offset: tuple[float, ...]) -> tuple[np.ndarray, int]:
        nodes, slopes = zip(*(axis.nodes(level, o) for axis, o in zip(axes, offset, strict=True)), strict=True)
        x = np.stack(np.meshgrid(*nodes, indexing="ij"), -1).reshape(-1, d)
        weight = functools.reduce(np.multiply.outer, slopes).ravel()
        kept = np.arange(len(x))
        if math.isfinite(reach):
            kept = np.flatnonzero(np.isfinite(tree.query(x, distance_upper_bound=reach * field.h)[0]))
        total, flux = np.zeros(6), np.zeros(x.shape)
        for rows, seen in _blocks(x, kept, cloud, field.h, reach):
            at = evaluate(field, x[rows], seen, len(seen) / len(cloud))
            columns = np.stack([np.ones(len(rows)), at.speed, at.stein, at.log_ratio, at.speed * inside(x[rows])])
            total[:5] += columns @ (weight[rows] * at.density)
            flux[rows] = weight[rows, None] * at.velocity
        total[5] = -(velocity * _smooth_at_particles(field, cloud, nodes, flux)).sum() / len(cloud) if rate else np.nan
        return total, len(kept)

    sums, used = lattice(0, (0.0,) * d)
    cell, level, previous = math.prod(axis.step for axis in axes), 0, None
    while True:
        current = sums * cell
        change = np.abs(current - previous) if previous is not None else np.full(6, np.inf)
        resolved = (change[:4] <= rtol * np.maximum(np.abs(current[:4]), 1e-300)).all()
        if resolved or level >= 1 and used * 2**d > max_points:
            break
        for offset in itertools.product((0.0, 0.5), repeat=d):
            if any(offset):
                part, count = lattice(level, offset)
                sums, used = sums + part, used + count
        cell, level, previous = cell / 2**d, level + 1, current
    mass, value, stein, kl, within, rate = current.tolist()
    error = change.tolist()
    return Fisher(value, error[1], within, value - within, error[4], stein, error[2], kl, error[3], rate, error[5], mass, used, "trapezoid")


def _smooth_at_particles(field: DriftField, cloud: np.ndarray, nodes: Sequence[np.ndarray], flux: np.ndarray) -> np.ndarray:
    """sum over the lattice of K_h(x_i - y) flux(y), (N, d); the Gaussian kernel factorises over the axes."""
    h, d = field.h, cloud.shape[1]
    if field.kernel.name == "gaussian":
        factors = [np.exp(-0.5 * ((cloud[:, k, None] - x) / h) ** 2) / (math.sqrt(2 * math.pi) * h) for k, x in enumerate(nodes)]
        out = np.tensordot(factors[0], flux.reshape(*map(len, nodes), d), 1)
        for factor in factors[1:]:
            out = np.einsum("ia,ia...->i...", factor, out)
        return out
    x = np.stack(np.meshgrid(*nodes, indexing="ij"), -1).reshape(-1, d)
    out = np.zeros(cloud.shape)
    for rows in np.array_split(np.arange(len(x)), math.ceil(x.size * len(cloud) / _PAIRS_PER_BLOCK)):
        out += field.kernel.value(cdist(cloud, x[rows]), h, d) @ flux[rows]
    return out


def _quasi_monte_carlo(field: DriftField, cloud: np.ndarray, points: int, scramblings: int, seed: int) -> Fisher:
    inside, velocity = hull_membership(cloud), evaluate(field, cloud, cloud).velocity
    means = np.empty((scramblings, 5))
    for s in range(scramblings):
        index, z = sample_smoothed(field.kernel, field.h, cloud, points, random.generator(seed, "fisher", s))
        for rows in np.array_split(np.arange(points), math.ceil(points / _POINTS_PER_BLOCK)):
            x = cloud[index[rows]] + field.h * z[rows]
            at = evaluate(field, x, cloud)
            rate = -(velocity[index[rows]] * at.velocity).sum(-1)
            columns = np.stack([at.speed, at.stein, at.log_ratio, at.speed * inside(x), rate])
            means[s] = columns.sum(1) / points + (means[s] if rows[0] else 0.0)
    value, stein, kl, within, rate = means.mean(0).tolist()
    error = (means.std(0, ddof=1) / math.sqrt(scramblings)).tolist()
    return Fisher(
        value,
        error[0],
        within,
        value - within,
        error[3],
        stein,
        error[1],
        kl,
        error[2],
        rate,
        error[4],
        1.0,
        points * scramblings,
        "quasi_monte_carlo",
    )
