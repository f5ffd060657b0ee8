"""Exact Hessians of T_pi# v and |v|^2 for the displacement field of a smooth kernel, as L6.13 needs them."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from driftrates import expressions
from driftrates.fields import DriftField, SmoothedPoints
from driftrates.kernels import Kernel

_PAIRS_PER_BLOCK = 2**15
_FLOOR = 1e-60
"""Of |z|^2: its inverse stays finite, so that rungs singular at z = 0 times their vanishing offsets are 0."""


def hessians(field: DriftField, x: np.ndarray, cloud: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Hessians (n, d, d) of T_pi# v and of |v|^2 at points x (n, d), v the full displacement field of the cloud (N, d).

    Taylor polynomials of degree two along e_a and e_a + e_b, from the rungs -1..3 of the kernel; polarisation gives the rest.
    Raises ``ValueError`` for another field, a target that is not made of points, or a kernel with a kink.
    """
    if field.name != "displacement" or not isinstance(field.target, SmoothedPoints):
        raise ValueError("L6.13 needs field: displacement and a target of data points")
    if field.kernel.smoothness < 4:
        raise ValueError(f"kernel {field.kernel.name!r} has a kink: L1 and L2 of L6.13 are infinite for it; use smoothed_laplace")
    n, d = x.shape
    unit = np.eye(d)
    found = np.zeros((2, n, d, d))
    data = np.asarray(field.target.points[0], float)
    for rows in np.array_split(np.arange(n), max(1, n * max(len(data), len(cloud)) // _PAIRS_PER_BLOCK)):
        pairs = [_Pairs.make(x[rows] / field.h, y / field.h, field.kernel) for y in (data, cloud)]
        for a, b in itertools.combinations_with_replacement(range(d), 2):
            along = unit[a] if a == b else unit[a] + unit[b]
            found[0, rows, a, b], found[1, rows, a, b] = _second_derivatives(*(p.taylor(along) for p in pairs))
    found[0] /= field.h**2
    for a, b in itertools.combinations(range(d), 2):
        found[:, :, a, b] = found[:, :, b, a] = (found[:, :, a, b] - found[:, :, a, a] - found[:, :, b, b]) / 2
    return found[0], found[1]


_Series = tuple[Any, Any, Any]
"""Coefficients of 1, t and t^2."""


class _Pairs(NamedTuple):
    """Offsets z (n, m, d), squared distances (n, m) and rungs -1..3 (n, m), in units of h and of the nearest source's decay."""

    offset: np.ndarray
    square: np.ndarray
    rungs: tuple[np.ndarray, ...]

    @classmethod
    def make(cls, x: np.ndarray, y: np.ndarray, kernel: Kernel) -> _Pairs:
        offset = y - x[:, None]
        square = np.maximum((offset * offset).sum(-1), _FLOOR)
        s = np.sqrt(square)
        lift = kernel.log_decay(s.min(1, keepdims=True), x.shape[1])
        decay = np.exp(kernel.log_decay(s, x.shape[1]) - lift)
        names = {"s": s, "s2": square, "rs": 1 / s, "d": float(x.shape[1]), **kernel.parameters}
        return cls(offset, square, tuple(decay * expressions.evaluate(kernel.prefactor(n), names, np) for n in range(-1, 4)))

    def taylor(self, along: np.ndarray) -> tuple[_Series, _Series, _Series]:
        """Taylor coefficients along a direction (d,) of mean shift m (n, d), its divergence up to the constant -d (n,), s# (n, d)."""
        c, q = self.offset @ along, float(along @ along)

        def weights(n: int) -> _Series:
            f, g, k = self.rungs[n + 1 : n + 4]
            return f, g * c, (k * c * c - q * g) / 2

        def vector(w: _Series) -> _Series:
            plain, sums = [np.einsum("nm,nmd->nd", each, self.offset) for each in w], [each.sum(1)[:, None] for each in w]
            return plain[0], plain[1] - sums[0] * along, plain[2] - sums[1] * along

        w0, w1 = weights(0), weights(1)
        mass, companion = ([each.sum(1) for each in w] for w in (w0, weights(-1)))
        pull, slope = vector(w0), vector(w1)
        spread = (
            (w1[0] * self.square).sum(1),
            (w1[1] * self.square - 2 * c * w1[0]).sum(1),
            (w1[2] * self.square - 2 * c * w1[1] + q * w1[0]).sum(1),
        )
        shift = _quotient(pull, mass)
        inner = _inner(shift, slope)
        divergence = _quotient(tuple(a - b for a, b in zip(spread, inner, strict=True)), mass)
        return shift, divergence, _quotient(pull, companion)


def _second_derivatives(target: Any, model: Any) -> tuple[np.ndarray, np.ndarray]:
    velocity = tuple(a - b for a, b in zip(target[0], model[0], strict=True))
    stein = target[1][2] - model[1][2] + _inner(target[2], velocity)[2]
    return 2 * stein, 2 * _inner(velocity, velocity)[2]


def _inner(a: _Series, b: _Series) -> _Series:
    def dot(u: np.ndarray, v: np.ndarray) -> np.ndarray:
        return (u * v).sum(-1)

    return dot(a[0], b[0]), dot(a[0], b[1]) + dot(a[1], b[0]), dot(a[0], b[2]) + dot(a[1], b[1]) + dot(a[2], b[0])


def _quotient(a: _Series, b: Sequence[np.ndarray]) -> _Series:
    b = tuple(each.reshape(each.shape + (1,) * (a[0].ndim - 1)) for each in b)
    first = a[0] / b[0]
    second = (a[1] - first * b[1]) / b[0]
    return first, second, (a[2] - first * b[2] - second * b[1]) / b[0]
