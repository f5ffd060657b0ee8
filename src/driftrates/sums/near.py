"""Gaussian sums at few points among many sources, of which only near ones count: what a transform leaves over for the direct engine."""

from __future__ import annotations

import math

import numpy as np
from scipy import ndimage

from driftrates.sums import cells, cpu
from driftrates.sums.program import Program

_MANY = 2e8
"""Pairs from which on it pays to look for the sources that count."""
_LEFT_OUT, _LEAST_SUM = 1e-17, 1e-3
"""Part of a sum of k that may be left out, and the smallest sum for which it is known to be no more."""
_LARGEST_GRID, _PAIRS_PER_CELL = 2**22, 20
"""Cells looked through at the most, and pairs that must be spared by each."""


def accumulate(
    program: Program, x: np.ndarray, y: np.ndarray, shift: np.ndarray, index: np.ndarray | None = None, *, rtol: float
) -> np.ndarray:
    """All columns of the Gaussian ``program``, (1, rows, n), at x (1, n, d) over y (1, m, d) in units of h, d <= 3, as `cpu.accumulate`.

    Where pairs are many, far sources are left out and the relative accuracy is ``rtol`` (1e-13 to 1, else ``ValueError`` there). What is
    left out is less than 1e-17 of the sum of k, and of it for the other terms in units of h. Points with a ``shift`` (1, n), and those
    whose sum is so small that this is not certain, are summed over all sources. ``index`` (n,) as in `cpu.accumulate`.
    """
    if program.exclude_self and index is None:
        index = np.arange(x.shape[1])
    kept = None if x.shape[1] * y.shape[1] < _MANY or shift.any() else _near(x[0], y[0])
    if kept is None or not 0 < 2 * kept.size <= y.shape[1]:
        return cpu.accumulate(program, x, y, shift, index)
    own = None
    if index is not None:
        own = np.searchsorted(kept, index)
        own[kept[np.minimum(own, kept.size - 1)] != index] = -1
    if x.shape[1] * kept.size < _MANY or own is not None and own.min() < 0:
        out = cpu.accumulate(program, x, y[:, kept], shift, own)
    else:
        out = cells.accumulate(program, x, y[:, kept], shift, own, rtol=rtol)
    weak = np.flatnonzero(~(out[0, program.slots["k"][0]] >= _LEAST_SUM))
    if weak.size:
        out[:, :, weak] = cpu.accumulate(program, x[:, weak], y, shift[:, weak], None if index is None else index[weak])
    return out


def _near(points: np.ndarray, sources: np.ndarray) -> np.ndarray | None:
    """Indices, ascending, of the sources (m, d) that count at some of the points (n, d); None where a grid would be too large."""
    # 1e3 exceeds the weight |z|^2 of a term at this reach.
    reach = math.sqrt(2 * math.log(1e3 * len(sources) / (_LEFT_OUT * _LEAST_SUM)))
    both = (points, sources)
    low, high = np.min([a.min(0) for a in both], axis=0), np.max([a.max(0) for a in both], axis=0)
    shape = np.floor((high - low) / reach) + 1
    if not np.prod(shape) <= min(_LARGEST_GRID, len(points) * len(sources) / _PAIRS_PER_CELL):
        return None
    wanted = np.zeros(shape.astype(int), dtype=bool)

    def cell(a: np.ndarray) -> tuple[np.ndarray, ...]:
        return tuple(((column - start) / reach).astype(np.int32) for column, start in zip(a.T, low, strict=True))

    wanted[cell(points)] = True
    return np.flatnonzero(ndimage.binary_dilation(wanted, np.ones((3,) * wanted.ndim))[cell(sources)])
