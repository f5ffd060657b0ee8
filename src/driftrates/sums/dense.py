"""Sums in many dimensions, where matrix products beat differences: |x|^2 + |y|^2 - 2 x.y by blocks, and sum K (y - x) = K Y - x sum K.

Coordinates are taken from the mean of the sources. Pairs so close, against their distances from that mean, that the products would
lose figures are found block by block and summed from their differences instead. Arithmetic is in float64 always.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from typing import Any, NamedTuple

import numpy as np
from threadpoolctl import ThreadpoolController

from driftrates import expressions
from driftrates.kernels import TINY
from driftrates.sums.program import Program

_POINTS, _SOURCES = 128, 512
"""Pairs of one block, whose few arrays stay in the cache."""
_COORDINATES = 500_000
"""Coordinates of the close pairs that are summed from their differences at a time."""
_LOSS = 4000.0
"""Units of rounding that an exponent, or s^2 relatively, may lose."""
_NEGLIGIBLE = 50.0
"""A decay smaller than the largest of its row by exp of this does not count."""


class _Pairs(NamedTuple):
    """Points (n, d) and sources (m, d); x and y are the same from a common origin; left (n, d + 2) right (d + 2, m) is |y - x|^2."""

    points: np.ndarray
    sources: np.ndarray
    x: np.ndarray
    y: np.ndarray
    left: np.ndarray
    right: np.ndarray


def _prepare(points: np.ndarray, sources: np.ndarray) -> _Pairs:
    points, sources = points.astype(np.float64, copy=False), sources.astype(np.float64, copy=False)
    origin = sources.mean(0)
    x, y = points - origin, sources - origin
    x2, y2 = (np.einsum("id,id->i", a, a) for a in (x, y))
    left = np.column_stack([x, np.ones(len(x)), x2])
    return _Pairs(points, sources, x, y, left, np.vstack([-2 * y.T, y2, np.ones(len(y))]))


def _slices(n: int, size: int) -> list[slice]:
    return [slice(i, min(i + size, n)) for i in range(0, n, size)]


@cache
def _libraries() -> ThreadpoolController:
    return ThreadpoolController()


def accumulate(
    program: Program,
    x: np.ndarray,
    y: np.ndarray,
    shift: np.ndarray,
    index: np.ndarray | None = None,
    run: Callable[[list[Callable[[], Any]]], Any] = lambda calls: [call() for call in calls],
) -> np.ndarray:
    """All columns of ``program``, (R, rows, n), for points x (R, n, d) and sources y (R or 1, m, d) in units of h.

    The decay is exp(shift - exponent) with shift (R, n). With ``program.exclude_self`` the source of the same index is
    left out; ``index`` (n,) gives the points' indices where they are not 0..n-1. ``run`` calls independent functions.
    Against the largest value of its column a sum is accurate to about 1e-12. Memory is O((n + m) d) and one block per thread.
    """
    replicates, n, _ = x.shape
    out = np.zeros((replicates, program.rows, n), dtype=x.dtype)
    own = np.arange(n) if index is None else index
    with _libraries().limit(limits=1, user_api="blas"):  # the blocks have the threads: no result depends on their number
        for r in range(replicates):
            pairs = _prepare(x[r], y[r if y.shape[0] > 1 else 0])

            def block(rows: slice, r: int = r, pairs: _Pairs = pairs) -> None:
                left_out = own[rows] if program.exclude_self else None
                out[r, :, rows] = _block(program, pairs, rows, shift[r, rows].astype(np.float64), left_out)

            run([partial(block, rows) for rows in _slices(n, _POINTS)])
    return out


def _block(program: Program, pairs: _Pairs, rows: slice, shift: np.ndarray, own: np.ndarray | None) -> np.ndarray:
    """Columns of ``program``, (rows, points), of the points ``rows``."""
    x, left = pairs.x[rows], pairs.left[rows]
    out = np.zeros((program.rows, len(x)))
    for columns in _slices(len(pairs.y), _SOURCES):
        s2 = left @ pairs.right[:, columns]
        close = s2 < _close(program, float(left[:, -1].max() + pairs.right[-2, columns].max()))
        here = at = np.zeros(0, dtype=np.intp)
        if own is not None:
            (here,) = np.nonzero((own >= columns.start) & (own < columns.stop))
            at = own[here] - columns.start
            close[here, at] = False
        i, j = np.nonzero(close)
        absent = np.concatenate([here, i]), np.concatenate([at, j])
        approximate = np.maximum(s2[i, j], TINY["float64"])
        s2[absent] = 1.0
        names = _names(program, s2)
        exponent = expressions.evaluate(program.exponent, names, np)
        with np.errstate(over="ignore"):  # where the pair is absent
            decay = np.exp(shift[:, None] - exponent)
        decay[absent] = 0.0
        if len(i) > len(x):
            estimate = expressions.evaluate(program.exponent, _names(program, approximate), np)
            close[here, at] = True
            lowest = np.where(close, np.inf, exponent).min(1)
            np.minimum.at(lowest, i, estimate)
            counts = estimate < lowest[i] + _NEGLIGIBLE
            i, j = i[counts], j[counts]
        _products(program, names, decay, x, pairs.y[columns], out)
        for some in _slices(len(i), _COORDINATES // program.d):
            _differences(program, pairs, i[some], rows.start, j[some] + columns.start, shift, out)
    return out


def _products(program: Program, names: dict[str, Any], decay: np.ndarray, x: np.ndarray, y: np.ndarray, out: np.ndarray) -> None:
    """Add the sums over all pairs of a block by products of matrices."""
    mass: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    row = 0
    for column in program.columns:
        if column.weight not in mass:
            weighted = decay if column.weight == "1" else expressions.evaluate(column.weight, names, np) * decay
            mass[column.weight] = weighted, weighted.sum(1)
        weighted, total = mass[column.weight]
        if column.vector:
            out[row : row + program.d] += (weighted @ y - x * total[:, None]).T
            row += program.d
        else:
            out[row] += total
            row += 1


def _differences(program: Program, pairs: _Pairs, i: np.ndarray, start: int, j: np.ndarray, shift: np.ndarray, out: np.ndarray) -> None:
    """Add the sums over the pairs (i, j), i ascending and counted from ``start``, from the differences themselves."""
    z = pairs.sources[j] - pairs.points[start + i]
    names = _names(program, np.maximum(np.einsum("pd,pd->p", z, z), TINY["float64"]))
    decay = np.exp(shift[i] - expressions.evaluate(program.exponent, names, np))
    rows, first = np.unique(i, return_index=True)
    row = 0
    for column in program.columns:
        weighted = expressions.evaluate(column.weight, names, np) * decay
        if column.vector:
            out[row : row + program.d, rows] += np.add.reduceat(weighted[:, None] * z, first).T
            row += program.d
        else:
            out[row, rows] += np.add.reduceat(weighted, first)
            row += 1


def _names(program: Program, s2: np.ndarray) -> dict[str, Any]:
    names: dict[str, Any] = {"s2": s2, **program.constants}
    if _uses_root(program):
        names["s"] = np.sqrt(s2)
        names["rs"] = 1 / names["s"]
    return names


@cache
def _uses_root(program: Program) -> bool:
    return any(expressions.names_in(text) & {"s", "rs"} for text in (program.exponent, *(c.weight for c in program.columns)))


def _close(program: Program, square: float) -> float:
    """s^2 below which |x|^2 + |y|^2 = ``square`` makes the exponent, or s^2 relatively, lose more than _LOSS units of rounding."""
    return _closest(program, int(np.ceil(4 * np.log2(max(square, 1e-30)))))


@cache
def _closest(program: Program, quarters: int) -> float:
    # Exponents grow no faster than s^2, so that a change of s^2 changes one by at most that much times exponent / s^2, which decreases.
    s2 = 2.0 ** (np.arange(-400, 400) / 4)
    exponent = expressions.evaluate(program.exponent, _names(program, s2), np)
    lost = np.flatnonzero(2.0 ** (quarters / 4) * np.maximum(exponent, 1.0) > _LOSS * s2)
    return 0.0 if not len(lost) else np.inf if lost[-1] == len(s2) - 1 else float(s2[lost[-1] + 1])


def nearest(x: np.ndarray, y: np.ndarray, index: np.ndarray | None = None) -> np.ndarray:
    """Smallest |y_j - x_i|^2 over j, (R, n); ``index`` (n,) gives each point's own source, which is left out.

    Exact for the source found; which of several equally far ones, within rounding, is found does not matter here.
    """
    replicates, n, _ = x.shape
    out = np.empty((replicates, n), dtype=x.dtype)
    for r in range(replicates):
        pairs = _prepare(x[r], y[r if y.shape[0] > 1 else 0])
        for rows in _slices(n, max(1, _POINTS * _SOURCES // len(pairs.y))):
            s2 = pairs.left[rows] @ pairs.right
            if index is not None:
                s2[np.arange(len(s2)), index[rows]] = np.inf
            z = pairs.sources[s2.argmin(1)] - pairs.points[rows]
            out[r, rows] = np.einsum("id,id->i", z, z)
    return out
