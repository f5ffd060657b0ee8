"""Sums with a cut-off through sorted cells, O(n) at a fixed number of neighbours, for kernels whose decay falls fast, d <= 3.

Space is cut into rows of square cross-section along the first axis, and the sources are sorted by rows and along each. Then the
sources within the cut-off of a few neighbouring points are one interval per row, which the vectorised direct engine sums as it is.
What lies beyond is bounded by the kernel's decay and the fullest cell, so that the error is below a tolerance at every point.
"""

from __future__ import annotations

import math
from functools import cache, lru_cache, partial
from types import ModuleType

import numpy as np
from scipy.spatial import cKDTree

from driftrates import expressions
from driftrates.sums import costs, cpu, guard
from driftrates.sums.program import Program

_FARTHEST = 2e3
"""Largest cut-off, in units of h."""
_DISTANCES = np.geomspace(0.05, _FARTHEST, 2001)
_SUPPORTED = 100.0, math.log(1e-14)
"""A kernel is supported if all its columns are below the second number (logarithm) beyond the first (in units of h)."""
_CELLS_PER_AXIS = 2**19
_SOURCES_PER_RANGE = 24.0
"""Cost of one interval of sources beside that of one source in it."""
_INTERVALS_PER_CALL = 4_000_000
_SAMPLE = 400, 4000
"""Points and sources from which the number of pairs is predicted."""
_CALL, _POINT = 2.5e-3, 2e-7
"""Seconds on one thread: a call, and a point or source."""
_LEAST = 1e-100
"""Smallest absolute tolerance tried before the direct engine."""
_GAP = 1.5
"""Points of one vector follow each other within so many cut-offs along their row."""
_FEWEST = 300
"""Points below which sorting the sources does not pay."""
_MANY = 400.0
"""Neighbours above which the first cut-off serves the typical point only."""
_LONELY = 30.0
"""Neighbours above which hardly any point has none."""
_SPLITS = range(1, 9)
_MARGIN = 2 * _SPLITS[-1] + 3
"""Empty cells on each side of the sources, so that no neighbouring row of a point is one on the other side."""


def namespace() -> ModuleType:
    """Array namespace of this engine."""
    return np


def supports(program: Program) -> bool:
    """Whether this engine can do ``program``: d <= 3, and every column falls by 14 digits within 100 h."""
    return program.d <= 3 and bool(_envelope(program)[np.searchsorted(_DISTANCES, _SUPPORTED[0])] < _SUPPORTED[1])


def accumulate(
    program: Program,
    x: np.ndarray,
    y: np.ndarray,
    shift: np.ndarray,
    index: np.ndarray | None = None,
    *,
    rtol: float = 1e-10,
    tolerance: float | None = None,
) -> np.ndarray:
    """All columns of ``program``, (R, rows, n), for points x (R, n, d) and sources y (R or 1, m, d) in units of h.

    ``rtol``: accuracy of the sum of k relative to itself, and of every other column relative to the sum of k, at every point. Where
    that sum is too small for the first cut-off, larger ones follow, and at last the direct engine, as for rows with a ``shift``.
    ``tolerance``: absolute accuracy to begin with. Raises ``ValueError`` for a program that is not supported, or ``rtol`` outside
    (1e-13, 1).
    """
    guard.check("cells", supports(program), "a kernel that falls by 14 digits within 100 h, in d <= 3", rtol)
    out = np.empty((x.shape[0], program.rows, x.shape[1]), dtype=x.dtype)
    for r in range(x.shape[0]):
        points, sources = x[r], y[r if y.shape[0] > 1 else 0]
        out[r] = _replicate(program, points, sources, shift[r], index, rtol, tolerance)
    return out


nearest = cpu.nearest


def pairs(points: np.ndarray, sources: np.ndarray, cutoff: float) -> float:
    """Predicted number of pairs that a pass with this cut-off sums; points (n, d), sources (m, d) and cut-off in units of h."""
    return len(points) * _per_point(float(_densities(points, sources, cutoff).mean()), cutoff, sources.shape)[0]


def predicted_seconds(program: Program, points: np.ndarray, sources: np.ndarray, rtol: float) -> float:
    """Predicted time of `accumulate` on one thread for points (n, d) and sources (m, d) in units of h; infinite for the direct engine's."""
    if not _locatable(sources):
        return math.inf
    tolerance, radius, densities = _start(program, points, sources, rtol)
    if not math.isfinite(radius):
        return math.inf
    density, side = float(densities.mean()), radius / 4
    radius = reach(program, tolerance, len(sources), math.ceil(1 + 2 * densities.max() * side**program.d), side)
    each = math.ceil(sum(_per_point(density, radius, sources.shape)))
    once = _CALL + _POINT * (len(points) + len(sources)) + costs.direct_seconds(program, len(points), each, str(points.dtype))
    lonely = _lonely(program, points, sources) if density * _ball(program.d) * radius**program.d < _LONELY else 0.0
    # Sparse points without themselves are mostly summed twice; those with no other in sight several times, and at last directly.
    return (2 + 8 * lonely if tolerance < rtol else 1) * once + lonely * costs.direct_seconds(program, len(points), len(sources))


def within(
    program: Program, points: np.ndarray, sources: np.ndarray, shift: np.ndarray, index: np.ndarray | None, cutoff: float
) -> np.ndarray:
    """Columns of ``program``, (rows, n), over all sources within ``cutoff`` of each point, and some farther ones.

    One replicate: points (n, d), sources (m, d), shift (n,), index (n,) as in `accumulate`, all in units of h.
    """
    if len(points) <= _FEWEST or not _locatable(sources):
        return cpu.accumulate(program, points[None], sources[None], shift[None], index)[0]
    density = float(_densities(points, sources, cutoff).mean())
    cells = Cells(sources, cutoff / _split(points.shape[1], density * cutoff ** points.shape[1]))
    return cells.sums(program, points, shift, index, cutoff)


def reach(program: Program, tolerance: float, sources: int, fullest: int | None = None, side: float = math.inf) -> float:
    """Distance in units of h beyond which all ``sources`` together change no column by more than ``tolerance``; ``inf`` if beyond 2000.

    ``fullest``: largest number of sources in any cube of a lattice of cubes of this ``side``.
    """
    number = np.full(len(_DISTANCES), math.log(sources))
    if fullest is not None:
        # A ball meets no more cubes than fit into one that is larger by their diagonal.
        cubes = _ball(program.d) * (_DISTANCES / side + math.sqrt(program.d)) ** program.d
        number = np.minimum(number, np.log(fullest * cubes))
    # Summation by parts: at most so many sources lie within each distance, and what one adds falls with its distance.
    size = _envelope(program)
    with np.errstate(divide="ignore", invalid="ignore"):
        falls = size[:-1] + np.log(-np.expm1(size[1:] - size[:-1]))
    parts = np.append(np.where(np.isnan(falls), -np.inf, falls) + number[1:], size[-1] + number[-1])
    enough = np.flatnonzero(np.logaddexp.accumulate(parts[::-1])[::-1] <= math.log(tolerance))
    return float(_DISTANCES[enough[0]]) if enough.size else math.inf


class Cells:
    """Sources (m, d) in units of h, sorted by rows of square cross-section ``side`` along the first axis, and within each row."""

    def __init__(self, sources: np.ndarray, side: float) -> None:
        self.low, self.high = sources.min(0).astype(np.float64), sources.max(0).astype(np.float64)
        extent = self.high - self.low
        self.side = float(max(side, extent.max() / _CELLS_PER_AXIS))
        self.counts = np.floor(extent / self.side).astype(np.int64) + 1
        places = self.counts + 2 * _MARGIN
        self.strides = np.append(places[:0:-1].cumprod()[::-1], 1)[1:]
        # A key is a row and a bin along it, as fine as 62 bits allow.
        self.bits = min(20, 61 - math.ceil(np.log2(places.astype(float)).sum()))
        self.length = int(places[0]) << self.bits
        keys = self.keys(sources)
        self.order = np.argsort(keys)
        self.original, self.sorted_keys, self.sources = sources, keys[self.order], np.ascontiguousarray(sources[self.order])
        ends = np.flatnonzero(np.diff(self.sorted_keys >> self.bits))
        self.fullest = int(np.diff(ends, prepend=-1, append=len(keys) - 1).max())

    def keys(self, points: np.ndarray) -> np.ndarray:
        """Row and bin of points (n, d), as one integer; those far from all sources share a few places."""
        row = sum((self._cell(points[:, k + 1], k + 1, 0) * stride for k, stride in enumerate(self.strides)), 0)
        return row * self.length + self._cell(points[:, 0], 0, self.bits)

    def _cell(self, coordinate: np.ndarray, axis: int, bits: int) -> np.ndarray:
        place = np.floor((coordinate - self.low[axis]) * (2.0**bits / self.side))
        far = _MARGIN // 2 << bits
        return np.clip(place, -far, (int(self.counts[axis]) << bits) + far).astype(np.int64) + (_MARGIN << bits)

    def ranges(self, first: np.ndarray, last: np.ndarray, cutoff: float) -> np.ndarray:
        """Intervals (n, K, 2) of all sources within ``cutoff`` of the points with keys from ``first`` to ``last`` (n,) in one row each."""
        offsets, widths = _rows_within(len(self.low), self.side, cutoff)
        out = np.empty((len(first), len(widths), 2), dtype=np.int64)
        for k, (offset, width) in enumerate(zip(offsets @ self.strides, widths, strict=True)):
            bins = math.floor(width / self.side * 2**self.bits) + 2
            out[:, k, 0] = np.searchsorted(self.sorted_keys, first + (offset * self.length - bins), "left")
            out[:, k, 1] = np.searchsorted(self.sorted_keys, last + (offset * self.length + bins), "right")
        return out

    def sums(self, program: Program, points: np.ndarray, shift: np.ndarray, index: np.ndarray | None, cutoff: float) -> np.ndarray:
        """Columns of ``program``, (rows, n), over all sources within ``cutoff`` <= 8 sides of each point, and some farther ones."""
        n, lanes = len(points), cpu.lanes(points.dtype)
        if np.array_equal(points, self.original):
            order, keys, located = self.order, self.sorted_keys, self.sources
        else:
            keys = self.keys(np.clip(np.nan_to_num(points), self.low - 2 * _FARTHEST, self.high + 2 * _FARTHEST))
            order = np.argsort(keys)
            keys, located = keys[order], points[order]
        # Vectors of points that follow each other in one row; the last one before a gap is filled up with its first point.
        gap = int(_GAP * cutoff / self.side * 2**self.bits) + 1
        starts = np.flatnonzero(np.diff(keys, prepend=keys[0] - gap) >= gap)
        lengths = np.diff(starts, append=n)
        vectors = -(-lengths // lanes)
        slot = np.arange(n) + np.repeat((np.cumsum(vectors) - vectors) * lanes - starts, lengths)
        lane = np.full((int(vectors.sum()), lanes), -1)
        lane.flat[slot] = np.arange(n)
        first = lane[:, 0]
        last = np.append(first[1:], n) - 1
        lane = np.where(lane < 0, first[:, None], lane)
        first, last = keys[first], keys[last]
        lifts, own = shift[order], None
        if program.exclude_self:
            own = _inverse(self.order)[order if index is None else index[order]]
        found = np.empty((program.rows, lane.size), dtype=points.dtype)
        step = max(1, _INTERVALS_PER_CALL // len(_rows_within(len(self.low), self.side, cutoff)[1]))
        for begin in range(0, len(lane), step):
            part = slice(begin, begin + step)
            members = lane[part].ravel()
            found[:, begin * lanes : (begin + step) * lanes] = cpu.accumulate(
                program,
                located[members][None],
                self.sources[None],
                lifts[members][None],
                None if own is None else own[members],
                self.ranges(first[part], last[part], cutoff),
            )[0]
        return found[:, slot[_inverse(order)]]


def _replicate(
    program: Program,
    points: np.ndarray,
    sources: np.ndarray,
    shift: np.ndarray,
    index: np.ndarray | None,
    rtol: float,
    tolerance: float | None,
) -> np.ndarray:
    m, d = sources.shape
    direct = (shift != 0).all() or len(points) <= _FEWEST or not _locatable(sources)
    if not direct:
        tolerance, radius, densities = _start(program, points, sources, rtol, tolerance)
        direct = tolerance < _LEAST or not math.isfinite(radius)
    if direct:
        return cpu.accumulate(program, points[None], sources[None], shift[None], index)[0]
    split = _split(d, float(densities.mean()) * radius**d)
    cells = Cells(sources, radius / split)
    columns = cells.sums(program, points, shift, index, reach(program, tolerance, m, cells.fullest, cells.side))
    closer = partial(accumulate, rtol=rtol, tolerance=min(tolerance, 1e-3) ** 2)
    guard.recompute_doubtful(program, columns, points, sources, shift, index, tolerance, rtol, shift != 0, closer)
    return columns


def _start(
    program: Program, points: np.ndarray, sources: np.ndarray, rtol: float, tolerance: float | None = None
) -> tuple[float, float, np.ndarray]:
    """Absolute tolerance to begin with, a cut-off that keeps it, and densities of the sources at some points."""
    radius = reach(program, rtol if tolerance is None else tolerance, len(sources))
    densities = _densities(points, sources, radius)
    if tolerance is None:
        # Where there are many pairs, it pays to sum the rows far from most sources again.
        typical = float(np.median(densities)) * _mass(program) if densities.mean() * radius**program.d > _MANY else 0.0
        tolerance = rtol * max(typical / 4, 0.01 if program.exclude_self else 1.0)
        radius = reach(program, tolerance, len(sources))
    return tolerance, radius, densities


def _locatable(sources: np.ndarray) -> bool:
    """Whether sources (m, d) are finite, and so close to the origin that squares of distances are too."""
    return float(np.abs(sources).max()) < 1e100


@cache
def _columns(program: Program) -> list[np.ndarray]:
    """Logarithm of the largest value that a source at each of `_DISTANCES` adds to each column; the first is that of k."""
    s = _DISTANCES
    names = {"s": s, "s2": s * s, "rs": 1 / s, **program.constants}
    decay = -expressions.evaluate(program.exponent, names, np)
    with np.errstate(divide="ignore"):
        return [decay + np.log(np.abs(expressions.evaluate(c.weight, names, np)) * (s if c.vector else 1.0)) for c in program.columns]


@cache
def _envelope(program: Program) -> np.ndarray:
    """Logarithm of the largest value that a source at each of `_DISTANCES`, or farther, adds to any column."""
    return np.maximum.accumulate(np.max(_columns(program), axis=0)[::-1])[::-1]


@cache
def _mass(program: Program) -> float:
    """Integral of the kernel over space in units of h."""
    return _ball(program.d) * float(np.trapezoid(np.exp(_columns(program)[0]), _DISTANCES**program.d))


def _inverse(order: np.ndarray) -> np.ndarray:
    out = np.empty_like(order)
    out[order] = np.arange(len(order))
    return out


@lru_cache(maxsize=64)
def _rows_within(d: int, side: float, cutoff: float) -> tuple[np.ndarray, np.ndarray]:
    """Offsets (K, d - 1) of the rows within ``cutoff`` of a row, and how far (K,) along them the cut-off reaches."""
    across = np.arange(-math.ceil(cutoff / side), math.ceil(cutoff / side) + 1)
    offsets = np.stack(np.meshgrid(*[across] * (d - 1), indexing="ij"), -1).reshape(-1, d - 1) if d > 1 else np.zeros((1, 0), np.int64)
    rest = cutoff**2 - (np.maximum(np.abs(offsets) - 1, 0) ** 2).sum(1) * side**2
    return offsets[rest > 0], np.sqrt(rest[rest > 0])


def _split(d: int, neighbours: float) -> int:
    """Rows per cut-off that cost least where a cube with the cut-off's edge holds so many ``neighbours``."""
    return 1 if d == 1 else min(_SPLITS, key=lambda split: sum(_work(d, neighbours, split)))


def _work(d: int, neighbours: float, split: int) -> tuple[float, float]:
    """Pairs of each point, and the cost of their intervals in units of one pair."""
    widths = _rows_within(d, 1.0 / split, 1.0)[1]
    return float(neighbours * 2 * widths.sum() / split ** (d - 1)), _SOURCES_PER_RANGE * len(widths)


def _per_point(density: float, cutoff: float, shape: tuple[int, ...]) -> tuple[float, float]:
    """The two numbers of `_work` at the best split, for sources of ``shape`` (m, d)."""
    neighbours = density * cutoff ** shape[1]
    sums, intervals = _work(shape[1], neighbours, _split(shape[1], neighbours))
    return min(sums, float(shape[0])), intervals


def _densities(points: np.ndarray, sources: np.ndarray, cutoff: float) -> np.ndarray:
    """Sources per unit volume within ``cutoff`` of some of the points."""
    (some, sample), d = _sample(points, sources), sources.shape[1]
    counts = cKDTree(some).query_ball_point(sample, cutoff, return_length=True)
    return counts * (len(sources) / len(some) / (_ball(d) * cutoff**d))


def _lonely(program: Program, points: np.ndarray, sources: np.ndarray) -> float:
    """Share of the points without a source, other than one at the point itself, so near that its kernel is above `_LEAST`."""
    some, sample = _sample(points, sources)
    within = min(9, len(some))
    distance = cKDTree(some).query(sample, k=[within])[0][:, 0]
    with np.errstate(divide="ignore"):
        expected = (reach(program, _LEAST, 1) / distance) ** program.d * max(within - 1, 1) * len(sources) / len(some)
    return float(np.exp(-expected).mean())


def _sample(points: np.ndarray, sources: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Some of the sources, and some of the points."""
    sample = points[:: -(-len(points) // _SAMPLE[0])].astype(np.float64)
    return sources[:: -(-len(sources) // _SAMPLE[1])], np.clip(np.nan_to_num(sample), -1e100, 1e100)


def _ball(d: int) -> float:
    return math.pi ** (d / 2) / math.gamma(d / 2 + 1)
