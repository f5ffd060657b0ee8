"""Which engine is predicted to be the fastest for one call. Each offers its own prediction; here they are compared.

Predictions are for one thread, so that the choice, and with it the result, does not depend on the machine's cores.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from driftrates.sums import cells, costs, cunufft, ewald, line, nufft
from driftrates.sums.program import Program

_LINE_CALL, _LINE_POINT, _LINE_MOMENT = 1e-4, 4e-8, 3e-9
"""Seconds on one thread; see benchmarks/calibrate.py."""
_QUICKEST = 2e-4
"""Seconds below which no other engine than the direct one is considered."""
_LEAST = {"nufft": (3e-4, 3e-7), "cells": (6e-3, 1e-6), "ewald": (1e-2, 3e-6)}
"""Seconds, and seconds per point or source, below which an engine is not considered: it needs about a third of it at best, and
predicting its time would cost too much of what it can save."""
_ENGINES = {"nufft": nufft, "cells": cells, "ewald": ewald}


def choose(program: Program, x: Any, y: Any, rtol: float | None) -> list[str]:
    """Names (R,) of the engines for points x (R, n, d) and sources y (R or 1, m, d) in units of h, each from its own replicate alone.

    Only the direct and the line engine are accurate to rounding; the others are considered where ``rtol`` is given.
    """
    if not isinstance(x, np.ndarray):
        return cunufft.choose(program, x, y, rtol)
    if costs.direct_seconds(program, x.shape[1], y.shape[1], str(x.dtype)) <= _QUICKEST:
        return ["cpu"] * len(x)
    found = [predictions(program, x[r], y[r % len(y)], rtol) for r in range(len(x))]
    return [min(seconds, key=seconds.__getitem__) for seconds in found]


def predictions(program: Program, points: np.ndarray, sources: np.ndarray, rtol: float | None) -> dict[str, float]:
    """Predicted seconds on one thread of the engines that come into question for points (n, d) and sources (m, d) in units of h."""
    n, m = len(points), len(sources)
    direct = costs.direct_seconds(program, n, m, str(points.dtype))
    out = {"cpu": direct}
    if direct > _QUICKEST and points.dtype == np.float64 and line.supports(program) and not _left_out_elsewhere(program, points, sources):
        out["line"] = line_seconds(program, n, m)
    if rtol is None or not 1e-13 <= rtol < 1:
        return out
    for name, engine in _ENGINES.items():
        least, per_point = _LEAST[name]
        if min(out.values()) > least + per_point * (n + m) and engine.supports(program):
            out[name] = engine.predicted_seconds(program, points, sources, rtol)
    return out


def line_seconds(program: Program, points: int, sources: int) -> float:
    """Predicted time of the engine of the line on one thread."""
    return _LINE_CALL + (_LINE_POINT + _LINE_MOMENT * line.degree(program)) * (points + sources)


def _left_out_elsewhere(program: Program, points: np.ndarray, sources: np.ndarray) -> bool:
    return program.exclude_self and not np.array_equal(sources, points)
