"""Which engine is predicted to be the fastest for one call."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from driftrates.sums import line, nufft
from driftrates.sums.program import Program

# Seconds on one thread of an AVX-512 machine; only their ratios matter. See benchmarks/.
_PAIR = 3e-11
"""One arithmetic operation of one pair in the direct engine."""
_DIRECT_CALL = 3e-5
_LINE_CALL, _LINE_POINT = 4e-4, 4e-7
"""Per point or source and moment."""
_NUFFT_CALL, _NUFFT_SPREAD, _NUFFT_POINT, _NUFFT_MODE = 4e-4, 2.5e-9, 1e-7, 1.5e-8


def choose(program: Program, x: Any, y: Any, rtol: float | None) -> str:
    """Name of the engine for points x (R, n, d) and sources y (R or 1, m, d) in units of h.

    Only the direct and the line engine are accurate to rounding; the transform is considered where ``rtol`` is given.
    """
    if not isinstance(x, np.ndarray):
        return "cuda"
    predicted = {"cpu": direct_cost(program, x.shape, y.shape)}
    if predicted["cpu"] > _LINE_CALL and x.dtype == np.float64 and line.supports(program) and not _left_out_elsewhere(program, x, y):
        predicted["line"] = x.shape[0] * (_LINE_CALL + _LINE_POINT * line.degree(program) * (x.shape[1] + y.shape[1]))
    if predicted["cpu"] > _NUFFT_CALL and rtol is not None and nufft.supports(program):
        predicted["nufft"] = nufft_cost(program, x, y, rtol)
    return min(predicted, key=predicted.__getitem__)


def direct_cost(program: Program, points: tuple[int, ...], sources: tuple[int, ...]) -> float:
    """Predicted seconds of the direct engine for shapes (R, n, d) and (R or 1, m, d)."""
    root = 0 if program.exponent == "0.5*s2" else 12
    return _DIRECT_CALL + _PAIR * points[0] * points[1] * sources[1] * (2 * program.d + 11 + root + program.rows)


def nufft_cost(program: Program, x: np.ndarray, y: np.ndarray, rtol: float) -> float:
    """Predicted seconds of the transform; infinite where its modes would not fit into memory."""
    tolerance, total = nufft.absolute_tolerance(rtol), 0.0
    width = (math.log10(1 / tolerance) + 1) ** program.d
    transforms = 1 + math.ceil(program.rows / 2)
    for r in range(x.shape[0]):
        modes = math.prod(nufft.grid(x[r], y[r if y.shape[0] > 1 else 0], tolerance).modes)
        if modes > nufft.LARGEST_GRID:
            return math.inf
        spread = y.shape[1] + x.shape[1] * (transforms - 1)
        total += _NUFFT_CALL + spread * (_NUFFT_SPREAD * width + _NUFFT_POINT) + _NUFFT_MODE * 2**program.d * modes * transforms
    return total


def _left_out_elsewhere(program: Program, x: np.ndarray, y: np.ndarray) -> bool:
    return program.exclude_self and not np.array_equal(np.broadcast_to(y, x.shape), x)
