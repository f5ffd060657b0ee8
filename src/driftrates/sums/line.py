"""Exact sums on the line in O((n + m) log m), for kernels that are a polynomial of s times e^-s: Laplace and half-integer Matérn.

With the sources sorted, every moment sum_{y <= t} (t - y)^p e^-(t-y) at a source t follows from the same moments at the source below
it. That recursion is associative, so that it is done by pairs, pairs of pairs, ...: whole arrays at a time, all terms positive.
"""

from __future__ import annotations

from math import comb
from types import ModuleType

import numpy as np

from driftrates.sums.program import Program, polynomials


def namespace() -> ModuleType:
    """Array namespace of this engine."""
    return np


def supports(program: Program) -> bool:
    """Whether this engine can do ``program``: one dimension, and every summand a polynomial of s times e^-s."""
    if program.d != 1 or program.exponent != "s":
        return False
    try:
        _coefficients(program)
    except ValueError:
        return False
    return True


def degree(program: Program) -> int:
    """Moments per point and side."""
    return max(map(len, _coefficients(program)))


def accumulate(program: Program, x: np.ndarray, y: np.ndarray, shift: np.ndarray, index: np.ndarray | None = None) -> np.ndarray:
    """All columns of ``program``, (R, rows, n), for points x (R, n, 1) and sources y (R or 1, m, 1) in units of h; float64 inside.

    The decay is exp(shift - s) with shift (R, n). With ``program.exclude_self`` the source of the same index, which must lie at the
    point itself, is left out; ``index`` (n,) gives the points' indices where they are not 0..n-1. Raises ``ValueError`` for a program
    that is not supported, or a source of the same index elsewhere.
    """
    if not supports(program):
        raise ValueError("the engine 'line' needs d = 1 and a kernel that is a polynomial of s times e^-s (laplace, matern32, ...)")
    coefficients = _coefficients(program)
    moments = degree(program)
    out = np.empty((x.shape[0], program.rows, x.shape[1]), dtype=x.dtype)
    for r, points in enumerate(x[:, :, 0].astype(np.float64)):
        sources = y[r if y.shape[0] > 1 else 0, :, 0].astype(np.float64)
        if program.exclude_self and (points != (sources if index is None else sources[index])).any():
            raise ValueError("the engine 'line' leaves a source out only where it lies at the point itself")
        # Ascending points look their sources up in the order of the memory.
        order, ordered = np.argsort(points), np.sort(sources)
        points, lift = points[order], shift[r].astype(np.float64)[order]
        first, last = np.searchsorted(ordered, points, "left"), np.searchsorted(ordered, points, "right")
        below = _moments(ordered, points, lift, first - 1, moments)
        above = _moments(-ordered[::-1], -points, lift, len(ordered) - last - 1, moments)
        at_point = last - first - int(program.exclude_self)
        row = 0
        for column, polynomial in zip(program.columns, coefficients, strict=True):
            sides = above - below if column.vector else above + below
            total = polynomial @ sides[: len(polynomial)]
            if not column.vector:
                total += polynomial[0] * at_point * np.exp(np.where(at_point > 0, lift, 0.0))
            out[r, row, order] = total
            row += 1
    return out


def nearest(x: np.ndarray, y: np.ndarray, index: np.ndarray | None = None) -> np.ndarray:
    """Smallest |y_j - x_i|^2 over j, (R, n); ``index`` (n,) gives each point's own source, which is left out."""
    out = np.empty(x.shape[:2], dtype=x.dtype)
    for r, points in enumerate(x[:, :, 0]):
        sources = y[r if y.shape[0] > 1 else 0, :, 0]
        order = np.argsort(sources, kind="stable")
        ordered = sources[order]
        place = np.searchsorted(ordered, points)
        candidates = np.clip(place[:, None] + np.arange(-2, 2), 0, len(ordered) - 1)
        gap = np.abs(ordered[candidates] - points[:, None])
        if index is not None:
            gap[order[candidates] == index[:, None]] = np.inf
        out[r] = gap.min(1) ** 2
    return out


def _moments(sources: np.ndarray, points: np.ndarray, lift: np.ndarray, last: np.ndarray, count: int) -> np.ndarray:
    """e^lift sum of s^p e^-s over the sources (ascending) up to ``last`` (n,), none where it is -1, as seen from the points."""
    own = np.zeros((count, len(sources)))
    own[0] = 1.0
    at_sources = _scan(np.diff(sources, prepend=sources[0]), own)
    none = last < 0
    return np.where(none, 0.0, _carried(at_sources[:, last], *np.where(none, 0.0, (points - sources[last], lift))))


def _scan(gap: np.ndarray, own: np.ndarray) -> np.ndarray:
    """Moments at every source from the moments ``own`` (p, m) of segments that end there, ``gap`` (m,) being their lengths."""
    m = len(gap)
    if m == 1:
        return own
    left, right = slice(0, m - m % 2, 2), slice(1, None, 2)
    halved = _scan(gap[left] + gap[right], _carried(own[:, left], gap[right]) + own[:, right])
    out = np.empty_like(own)
    out[:, 0], out[:, 1::2] = own[:, 0], halved
    out[:, 2::2] = _carried(halved[:, : (m - 1) // 2], gap[2::2]) + own[:, 2::2]
    return out


def _carried(moments: np.ndarray, distance: np.ndarray, lift: np.ndarray | float = 0.0) -> np.ndarray:
    """Moments (p, n) of the same sources as seen from ``distance`` (n,) further away."""
    powers = [np.exp(lift - distance)]
    for _ in moments[1:]:
        powers.append(powers[-1] * distance)
    out = powers[0] * moments
    for p in range(1, len(moments)):
        for q in range(p):
            out[p] += comb(p, q) * powers[p - q] * moments[q]
    return out


def _coefficients(program: Program) -> list[np.ndarray]:
    """Coefficients in s, lowest first, of every column: its weight, times s for a vector (whose sign is that of z)."""
    out = []
    for column, powers in zip(program.columns, polynomials(program), strict=True):
        shifted = {k + column.vector: v for k, v in powers.items()}
        if min(shifted) < 0:
            raise ValueError(f"{column.weight} is not a polynomial of s")
        out.append(np.array([shifted.get(k, 0.0) for k in range(max(shifted) + 1)]))
    return out
