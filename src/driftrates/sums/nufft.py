"""Sums through the non-uniform FFT (finufft), O(n + m) at a fixed bandwidth, for kernels whose Fourier transform decays fast, d <= 3.

The sources' Fourier coefficients are multiplied by the transforms of the wanted rungs and evaluated at the points. The error is
absolute: below `NOISE` * tolerance * (largest sum of the kernel anywhere), wherever the sum is far below that largest one, and below
the tolerance relative to the sum elsewhere. Rows whose sum is so small that this would spoil their accuracy are summed directly.
Positions are rounded to 2e-16 of the box's period, which limits the width of the points.
Every transform runs on one thread, on chunks of points whose number depends on the sizes alone, and chunks are added in order: results
do not depend on the number of threads.
"""

from __future__ import annotations

import importlib.util
import math
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable
from functools import cache, partial
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
from scipy import fft

from driftrates import expressions
from driftrates.kernels import TINY
from driftrates.sums import costs, cpu, guard, near
from driftrates.sums.program import Program, polynomials

LARGEST_GRID = 2**27
"""Cells of the oversampled Fourier grids at work at a time above which memory is not spent."""
NOISE = 0.1
"""Bound of the error far below the peak, over tolerance * peak: 0.04 was measured for the sums of k, 0.1 for vectors, d <= 3."""
_EPSILON = float(np.finfo(np.float64).eps)
_FLOOR = 1e-14
_GUARD = 1e-3
_MANY = 5e5
_CLOUDS, _SPECTRA, _PLANS = 2, 2**28, 8
"""Clouds of sources that are remembered, bytes of Fourier coefficients of each, and plans of every thread."""

# Seconds on one thread; see benchmarks/calibrate.py.
_CALL, _POINT, _SPREAD, _CELL, _MODE = 2.5e-4, 6e-8, 7e-10, 1.6e-9, 1.2e-8


_Run = Callable[[list[Callable[[], Any]]], list[Any]]
"""Runs independent calls: in order, or in the threads."""


def namespace() -> ModuleType:
    """Array namespace of this engine."""
    return np


class Grid(NamedTuple):
    """Periodic box in units of h: ``low`` and ``high`` (d,) corners of its useful part, ``period`` (d,), ``modes`` (d,)."""

    low: tuple[float, ...]
    high: tuple[float, ...]
    period: tuple[float, ...]
    modes: tuple[int, ...]

    def up_to(self, highest: float) -> Grid:
        """The same box with the modes up to wave number ``highest`` in units of 1/h, and some more where the FFT is faster."""
        wanted = [highest * p / (2 * math.pi) for p in self.period]
        # Without a number of modes that fits into an integer the grid does not fit into memory either.
        modes = (fft.next_fast_len(2 * math.ceil(w) + 1) if w < LARGEST_GRID else 2 * LARGEST_GRID for w in wanted)
        return self._replace(modes=tuple(modes))

    def affordable(self, rtol: float) -> bool:
        """Whether the grid fits into memory, and its period is so short that rounded positions leave the accuracy ``rtol``."""
        return cells(self) <= LARGEST_GRID and 2 * _EPSILON * max(self.period) <= rtol

    def wave_numbers(self) -> list[np.ndarray]:
        """Wave numbers along every axis, ascending, in units of 1/h, shaped to broadcast against each other."""
        axes = (2 * np.pi / p * np.arange(-(n // 2), (n + 1) // 2) for n, p in zip(self.modes, self.period, strict=True))
        return np.meshgrid(*axes, indexing="ij", sparse=True)

    def inside(self, x: np.ndarray) -> np.ndarray:
        """Which points x (n, d) see no image of the sources, (n,)."""
        return ((x >= self.low) & (x <= self.high)).all(1)


class Transform(NamedTuple):
    """What is summed: a ``box``, and ``multipliers`` that give for it the Fourier transform of each column, real and even, and whether
    the column is its gradient. ``kernel`` tells one kernel's first column from another's.
    """

    box: Grid
    multipliers: Callable[[Grid], Iterable[tuple[np.ndarray, bool]]]
    kernel: str


class Spectrum(NamedTuple):
    """Fourier ``coefficients`` (modes) of the sources in a box, and the largest sum of the kernel in it, ``peak``."""

    coefficients: np.ndarray
    peak: float


def supports(program: Program) -> bool:
    """Whether this engine can do ``program``: the Gaussian kernel in d <= 3, and finufft is installed."""
    return program.d <= 3 and program.exponent == "0.5*s2" and installed()


@cache
def installed() -> bool:
    """Whether finufft can be imported."""
    return importlib.util.find_spec("finufft") is not None


def grid(x: np.ndarray, y: np.ndarray, reach: float, highest: float) -> Grid:
    """A box around the sources y (m, d) and those points x (n, d) that lie within ``reach`` of them, with modes up to ``highest``.

    Its period keeps the images of the sources at least ``reach`` away from these points. It grows beyond the sources by quarters
    of ``reach``, so that points which move slowly, and most replicates, keep it and what was computed for it. Points that are no
    numbers do not count; of such sources no grid is affordable.
    """
    step = reach / 4
    (low, high), (first, last) = _corners(y), _corners(x)
    with np.errstate(all="ignore"):
        low = low - step * np.nan_to_num(np.clip(np.ceil((low - first) / step), 0, 4))
        high = high + step * np.nan_to_num(np.clip(np.ceil((last - high) / step), 0, 4))
        period = np.nan_to_num(high - low + reach, nan=np.inf)
    return Grid(tuple(low.tolist()), tuple(high.tolist()), tuple(period.tolist()), ()).up_to(highest)


def _corners(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    # Axis by axis: many times faster than along the first axis of the whole array.
    return np.array([c.min() for c in x.T], dtype=np.float64), np.array([c.max() for c in x.T], dtype=np.float64)


def absolute_tolerance(rtol: float, sources: int = 1) -> float:
    """Tolerance asked of the transforms for a relative accuracy ``rtol`` of the sums.

    It is finer than that by the share of rows that may be summed directly; of many rows that share must be smaller.
    """
    return max(_GUARD * min(1.0, _MANY / sources) * rtol, _FLOOR)


def accumulate(
    program: Program, x: np.ndarray, y: np.ndarray, shift: np.ndarray, index: np.ndarray | None = None, *, rtol: float = 1e-10
) -> np.ndarray:
    """All columns of ``program``, (R, rows, n), for points x (R, n, d) and sources y (R or 1, m, d) in units of h.

    ``rtol``: accuracy of the sum of k relative to itself, and of the mean shift in units of h, at every point; terms with
    |z|^2 may be off by 4 ``rtol`` where it is near rounding. Rows that ask for a ``shift``, and those whose sum the absolute error
    would spoil, come from the direct engine. Raises ``ValueError`` for a program that is not a Gaussian in d <= 3, ``rtol`` outside
    [1e-13, 1), or sources that are not finite or so wide that no grid is affordable.
    """
    guard.check("nufft", supports(program), "the Gaussian kernel in d <= 3, and the package finufft", rtol)
    if (shift != 0).all():
        return cpu.accumulate(program, x, y, shift, index)
    tolerance = absolute_tolerance(rtol, y.shape[1])
    boxes = [box_of(x[r], y[r % len(y)], tolerance) for r in range(len(x))]
    check_affordable("nufft", boxes, rtol)
    transforms = [Transform(box, partial(_multipliers, program), program.exponent) for box in boxes]
    columns, peaks = transform(x, y, transforms, tolerance)
    for r, (found, peak) in enumerate(zip(columns, peaks, strict=True)):
        points, sources = (a.astype(np.float64, copy=False) for a in (x[r], y[r % len(y)]))
        if program.exclude_self:
            found -= single(program, (sources if index is None else sources[index]) - points)
        also = ~boxes[r].inside(points) | (shift[r] != 0)
        bound = error_bound(program, boxes[r], tolerance, peak)
        lift = shift[r].astype(np.float64)
        guard.recompute_doubtful(program, found, points, sources, lift, index, bound, rtol, also, partial(near.accumulate, rtol=rtol))
    # One replicate needs no copy, which at millions of points is as long as a transform.
    return columns[0][None].astype(x.dtype, copy=False) if len(columns) == 1 else np.stack(columns).astype(x.dtype, copy=False)


nearest = cpu.nearest


def box_of(points: np.ndarray, sources: np.ndarray, tolerance: float) -> Grid:
    """`grid` for the Gaussian kernel, points (n, d) and sources (m, d)."""
    return grid(points, sources, *(_reach(tolerance),) * 2)


def check_affordable(engine: str, boxes: list[Grid], rtol: float) -> None:
    """Raises ``ValueError`` where a box of the ``engine`` is not affordable for the accuracy ``rtol``."""
    for box in boxes:
        if not box.affordable(rtol):
            raise ValueError(
                f"the engine {engine!r} cannot keep rtol = {rtol:g} for sources that are not finite or as wide as {max(box.period):.3g} h "
                f"(at least {'x'.join(map(str, box.modes))} modes): use the direct engine, or a larger h"
            )


def error_bound(program: Program, box: Grid, tolerance: float, peak: float) -> float:
    """Bound of the absolute error of every column where the sum is far below its ``peak``, or left by a source that is left out."""
    # 0.5 was measured for the sums of k, and 1.2 for vectors, of this rounding times the value left out, d <= 2.
    return NOISE * tolerance * peak + (_EPSILON * max(box.period) if program.exclude_self else 0.0)


def transform(x: np.ndarray, y: np.ndarray, transforms: list[Transform], tolerance: float) -> tuple[list[np.ndarray], list[float]]:
    """Sums (rows, n) of every replicate x (R, n, d) over its sources in y (R or 1, m, d), and the largest of the first of these sums
    anywhere, by one of the ``transforms`` for each. Rows of points outside the box are 0.
    """
    shared = _remembered(y[0], transforms, tolerance) if len(y) == 1 and not (len(x) == 1 and np.array_equal(x, y)) else {}

    def one(r: int, run: _Run) -> tuple[np.ndarray, float]:
        spectrum = shared.get(_key(transforms[r])) or _spectrum(y[r % len(y)], transforms[r], tolerance, run)
        return _evaluate(x[r], transforms[r], spectrum.coefficients, tolerance, run), spectrum.peak

    if len(x) >= cpu.threads() and cpu.threads() * max(cells(t.box) for t in transforms) <= LARGEST_GRID:
        found = cpu.run([partial(one, r, _in_order) for r in range(len(x))])
    else:
        found = [one(r, cpu.run) for r in range(len(x))]
    return [f[0] for f in found], [f[1] for f in found]


def single(program: Program, z: np.ndarray) -> np.ndarray:
    """All columns (rows, n) of one source each at z (n, d) from its point, in units of h."""
    s2 = np.maximum((z * z).sum(1), TINY["float64"])
    names = {"s": np.sqrt(s2), "s2": s2, "rs": 1 / np.sqrt(s2), **program.constants}
    decay = np.exp(-expressions.evaluate(program.exponent, names, np))
    weights = [decay * expressions.evaluate(c.weight, names, np) for c in program.columns]
    return np.concatenate([w * z.T if c.vector else w[None] for c, w in zip(program.columns, weights, strict=True)])


def predicted_seconds(program: Program, points: np.ndarray, sources: np.ndarray, rtol: float) -> float:
    """Predicted time on one thread for points (n, d) and sources (m, d) in units of h; infinite where it cannot be done."""
    box = box_of(points, sources, absolute_tolerance(rtol, len(sources)))
    return seconds(program, len(points), len(sources), box, rtol)


def seconds(program: Program, points: int, sources: int, box: Grid, rtol: float) -> float:
    """Predicted time of a pass with this ``box`` on one thread; infinite where it is not affordable."""
    if not box.affordable(rtol):
        return math.inf
    tolerance = absolute_tolerance(rtol, sources)
    type_1, type_2 = (_transform_seconds(box, tolerance, n, upsampling(box, tolerance, n)) for n in (sources, points))
    # Of points like a normal sample in the plane, this part has a density so far below the largest.
    direct = costs.OPERATION * costs.operations(program) * NOISE * tolerance / rtol * points * sources
    return _CALL + type_1 + -(-program.rows // 2) * type_2 + _MODE * math.prod(box.modes) * (program.rows + 1) + direct


def _reach(tolerance: float) -> float:
    """Distance in units of h, and wave number in units of 1/h, at which the Gaussian falls to tolerance / 30."""
    return math.sqrt(2 * math.log(30 / tolerance))


def _multipliers(program: Program, box: Grid) -> Iterable[tuple[np.ndarray, bool]]:
    """Every rung of the Gaussian's ladder is the Gaussian: with G its sum, sum f z = grad G and sum f |z|^2 = (Laplacian + d) G."""
    k, gaussian = box.wave_numbers(), (2 * math.pi) ** (program.d / 2)
    for a in k:
        gaussian = gaussian * np.exp(-0.5 * a * a)
    k2 = sum(a * a for a in k)
    for column, powers in zip(program.columns, polynomials(program), strict=True):
        factor = powers.get(0, 0.0) + (powers[2] * (program.d - k2) if 2 in powers else 0.0)
        yield factor * gaussian, column.vector


def _key(transform: Transform) -> tuple[Grid, str]:
    return transform.box, transform.kernel


class _Cloud(NamedTuple):
    sources: np.ndarray
    spectra: OrderedDict[tuple[Grid, str], Spectrum]


_clouds: OrderedDict[Any, _Cloud] = OrderedDict()
_lock = threading.Lock()


def _remembered(sources: np.ndarray, transforms: list[Transform], tolerance: float) -> dict[tuple[Grid, str], Spectrum]:
    """Spectra of sources (m, d) that all replicates share: data stay the same during a run, and so do theirs."""
    head = (sources.shape, str(sources.dtype), sources[:16].tobytes(), tolerance)
    with _lock:
        if head not in _clouds or not np.array_equal(_clouds[head].sources, sources):
            _clouds[head] = _Cloud(sources.copy(), OrderedDict())
        _clouds.move_to_end(head)
        while len(_clouds) > _CLOUDS:
            _clouds.popitem(last=False)
        known, found = _clouds[head].spectra, {}
        for key, transform in {_key(t): t for t in transforms}.items():
            found[key] = known[key] = known.pop(key, None) or _spectrum(sources, transform, tolerance, cpu.run)
        size = sum(s.coefficients.nbytes for s in known.values())
        while size > _SPECTRA and len(known) > 1:
            size -= known.popitem(last=False)[1].coefficients.nbytes
        return found


def _spectrum(sources: np.ndarray, transform: Transform, tolerance: float, run: _Run) -> Spectrum:
    box = transform.box
    parts = _chunks(sources, box)
    total, *others = run([partial(_type_1, part, box, tolerance, len(sources)) for part in parts])
    for other in others:
        total += other
    total /= math.prod(box.period)
    first, _ = next(iter(transform.multipliers(box)))
    # On the grid of the box itself, whose cells are narrower than h, the largest sum shows.
    return Spectrum(total, float(np.abs(fft.ifftn(total * first)).max() * total.size))


def _evaluate(points: np.ndarray, transform: Transform, coefficients: np.ndarray, tolerance: float, run: _Run) -> np.ndarray:
    """Sums (rows, n) at points (n, d)."""
    box = transform.box
    k = box.wave_numbers()
    factors = [f for values, vector in transform.multipliers(box) for f in ([1j * a * values for a in k] if vector else [values])]
    # All results are real: two of them ride in one complex transform.
    packed = np.empty((-(-len(factors) // 2), *box.modes), dtype=np.complex128)
    for j, target in enumerate(packed):
        pair = factors[2 * j : 2 * j + 2]
        np.multiply(coefficients, pair[0] + 1j * pair[1] if len(pair) == 2 else pair[0], out=target)
    inside = box.inside(points)
    parts = _chunks(points if inside.all() else points[inside], box)
    found = np.empty((2 * len(packed), sum(map(len, parts))))
    places = np.cumsum([len(part) for part in parts])

    def one(part: np.ndarray, end: int) -> None:
        values = _type_2(part, box, tolerance, packed, len(points))
        found[0::2, end - len(part) : end], found[1::2, end - len(part) : end] = values.real, values.imag

    run([partial(one, part, int(end)) for part, end in zip(parts, places, strict=True) if len(part)])
    if found.shape[1] == len(points):
        return found[: len(factors)]
    out = np.zeros((len(factors), len(points)))
    out[:, inside] = found[: len(factors)]
    return out


def _type_1(sources: np.ndarray, box: Grid, tolerance: float, total: int) -> np.ndarray:
    plan = _plan(1, box, tolerance, 1, total)
    plan.setpts(*_angles(sources, box))
    return plan.execute(np.ones(len(sources), dtype=np.complex128)).reshape(box.modes)


def _type_2(points: np.ndarray, box: Grid, tolerance: float, packed: np.ndarray, total: int) -> np.ndarray:
    plan = _plan(2, box, tolerance, len(packed), total)
    plan.setpts(*_angles(points, box))
    return plan.execute(packed if len(packed) > 1 else packed[0]).reshape(len(packed), -1)


def _angles(points: np.ndarray, box: Grid) -> list[np.ndarray]:
    return [
        np.ascontiguousarray((c - o) * (2 * np.pi / p))
        for c, o, p in zip(points.T.astype(np.float64, copy=False), box.low, box.period, strict=True)
    ]


_local = threading.local()


def _plan(kind: int, box: Grid, tolerance: float, transforms: int, points: int) -> Any:
    """A plan of this thread, kept for the next call with the same modes."""
    import finufft

    known = _local.__dict__.setdefault("plans", OrderedDict())
    factor = upsampling(box, tolerance, points)
    key = (kind, box.modes, tolerance, transforms, factor)
    if key not in known:
        sign = -1 if kind == 1 else 1
        made = finufft.Plan(kind, box.modes, n_trans=transforms, eps=tolerance, isign=sign, nthreads=1, upsampfac=factor)
        if cells(box) > 2**20:
            return made
        known[key] = made
        if len(known) > _PLANS:
            known.popitem(last=False)
    known.move_to_end(key)
    return known[key]


def _chunks(points: np.ndarray, box: Grid) -> list[np.ndarray]:
    """Parts of the points so large that one transform of the grid each costs little beside them."""
    return np.array_split(points, min(64, max(1, len(points) // max(2**15, cells(box) // 2))))


def cells(box: Grid) -> int:
    """Cells of the grid at twice as many as modes along every axis."""
    return 2 ** len(box.modes) * math.prod(box.modes)


def upsampling(box: Grid, tolerance: float, points: int) -> float:
    """Oversampling of the grid at the smallest predicted cost: less needs a smaller grid and a wider spreading kernel."""
    return min(
        (_transform_seconds(box, tolerance, points, f), f) for f, finest in ((2.0, 0.0), (1.5, 1e-11), (1.25, 1e-9)) if tolerance >= finest
    )[1]


def _transform_seconds(box: Grid, tolerance: float, points: int, factor: float) -> float:
    d = len(box.modes)
    width = math.ceil(math.log(1 / tolerance) / (math.pi * math.sqrt(1 - 1 / factor))) + 1
    size = factor**d * math.prod(box.modes)
    return points * (_POINT + _SPREAD * width**d) + _CELL * size * math.log2(size)


def _in_order(calls: list[Callable[[], Any]]) -> list[Any]:
    return [call() for call in calls]
