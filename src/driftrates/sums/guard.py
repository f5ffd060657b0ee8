"""Rows whose sum is so small that an engine's absolute error would spoil its relative accuracy: they are summed again, more exactly."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from driftrates.sums import cpu
from driftrates.sums.program import Program


def check(engine: str, supported: bool, needs: str, rtol: float) -> None:
    """Raises ``ValueError`` where ``engine`` cannot do a program because it ``needs`` something, or for ``rtol`` outside [1e-13, 1)."""
    if not supported:
        raise ValueError(f"the engine {engine!r} needs {needs}")
    if not 1e-13 <= rtol < 1:
        raise ValueError(f"the engine {engine!r} needs 1e-13 <= rtol < 1, not {rtol}")


def recompute_doubtful(
    program: Program,
    columns: np.ndarray,
    points: np.ndarray,
    sources: np.ndarray,
    shift: np.ndarray,
    index: np.ndarray | None,
    tolerance: float,
    rtol: float,
    also: np.ndarray | None = None,
    engine: Callable[..., np.ndarray] = cpu.accumulate,
) -> int:
    """Sum again, in place, the rows of ``columns`` whose relative error may exceed ``rtol``; returns how many.

    One replicate: columns (rows, n), points (n, d) and sources (m, d) in units of h, shift (n,), index (n,) as in the engines.
    ``tolerance``: bound of the absolute error of every column, so that a row is kept where its sum of k is at least
    ``tolerance / rtol``; ``also`` (n,): rows to sum again in any case. ``engine``: the function with the arguments of
    `cpu.accumulate` that sums them.
    """
    mass = columns[program.slots["k"][0]]
    doubtful = ~(mass >= tolerance / rtol)
    if also is not None:
        doubtful |= also
    rows = np.flatnonzero(doubtful)
    if rows.size:
        own = (rows if index is None else index[rows]) if program.exclude_self else None
        columns[:, rows] = engine(program, points[rows][None], sources[None], shift[rows][None], own)[0]
    return len(rows)
