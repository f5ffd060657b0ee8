"""The slow, clear engine in NumPy: the oracle of the tests. Works by blocks of points, in any float dtype."""

from __future__ import annotations

from types import ModuleType

import numpy as np

from driftrates import expressions
from driftrates.kernels import TINY
from driftrates.sums.program import Program

_PAIRS_PER_BLOCK = 1_000_000


def namespace() -> ModuleType:
    """Array namespace of this engine."""
    return np


def accumulate(program: Program, x: np.ndarray, y: np.ndarray, shift: np.ndarray, index: np.ndarray | None = None) -> np.ndarray:
    """All columns of ``program``, (R, rows, n), for points x (R, n, d) and sources y (R or 1, m, d) in units of h.

    The decay is exp(shift - exponent) with shift (R, n). With ``program.exclude_self`` the source of the same index is
    left out; ``index`` (n,) gives the points' indices where they are not 0..n-1.
    """
    replicates, n, d = x.shape
    out = np.zeros((replicates, program.rows, n), dtype=x.dtype)
    block = max(1, _PAIRS_PER_BLOCK // (y.shape[1] * d))
    own = np.arange(n) if index is None else index
    for r in range(replicates):
        sources = y[r if y.shape[0] > 1 else 0]
        for start in range(0, n, block):
            rows = slice(start, min(start + block, n))
            z = sources[None] - x[r, rows, None]
            s2 = np.maximum((z * z).sum(-1), TINY.get(str(x.real.dtype), 1e-300)) if x.dtype.kind == "f" else (z * z).sum(-1) + 1e-300
            s = np.sqrt(s2)
            names = {"s": s, "s2": s2, "rs": 1 / s, **program.constants}
            with np.errstate(over="ignore"):  # a point's own source, which is dropped below, lies far above a shift
                decay = np.exp(shift[r, rows, None] - expressions.evaluate(program.exponent, names, np))
            if program.exclude_self:
                decay[np.arange(decay.shape[0]), own[rows]] = 0
            row = 0
            for column in program.columns:
                weight = expressions.evaluate(column.weight, names, np) * decay
                if column.vector:
                    out[r, row : row + d, rows] = np.einsum("ij,ijk->ki", weight, z)
                    row += d
                else:
                    out[r, row, rows] = weight.sum(1)
                    row += 1
    return out


def nearest(x: np.ndarray, y: np.ndarray, index: np.ndarray | None = None) -> np.ndarray:
    """Smallest |y_j - x_i|^2 over j, (R, n); ``index`` (n,) gives each point's own source, which is left out."""
    replicates, n, _ = x.shape
    out = np.empty((replicates, n), dtype=x.dtype)
    block = max(1, _PAIRS_PER_BLOCK // (y.shape[1] * x.shape[2]))
    for r in range(replicates):
        sources = y[r if y.shape[0] > 1 else 0]
        for start in range(0, n, block):
            rows = slice(start, min(start + block, n))
            s2 = ((sources[None] - x[r, rows, None]) ** 2).sum(-1)
            if index is not None:
                s2[np.arange(s2.shape[0]), index[rows]] = np.inf
            out[r, rows] = s2.min(1)
    return out
