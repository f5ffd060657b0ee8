"""Sums of the Laplace and the half-integer Matérn kernels in d = 2, 3 by an Ewald-type split, O(n log n) at a fixed bandwidth.

All rungs of these kernels' ladders are multiples of

    g_m(s) = int_0^inf (pi u)^-1/2 (2u)^m exp(-u - s^2 / 4u) du,    g_0 = e^-s,    -(1/s) g_m' = g_{m-1}.

The part u > u0 is smooth: its Fourier transform falls like exp(-u0 k^2) and the non-uniform FFT sums it. The part u < u0 falls like
exp(-s^2 / 4u0): the direct engine sums it over the neighbours within a cut-off, as exp(-u0 - s^2 / 4u0) times a polynomial of s.
A larger u0 needs fewer modes and more neighbours; the power of two is taken that is predicted to cost least.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from functools import cache, partial
from types import ModuleType

import numpy as np
from numpy.polynomial import chebyshev
from scipy import special
from scipy.spatial.distance import cdist

from driftrates import kernels
from driftrates.sums import cells, costs, cpu, guard, nufft
from driftrates.sums.program import Column, Program, compile_terms

_KERNELS = ("laplace", "matern32", "matern52", "matern72")
_SMALLEST, _LARGEST = -20, 0
"""Range of log2 u0."""
_MARGIN = 20.0
"""The short part's cut-off and polynomials are so many times more accurate than ``rtol``."""
_FINEST = 1e-12
"""Accuracy of a point's own short part, which is left out of sums that may be small."""
_SAMPLE = 64, 4000
"""Points and sources from which the number of neighbours is predicted."""
_NEIGHBOURS = 50
"""What finding the neighbours of a point costs, in pairs."""

# Seconds on one thread; see benchmarks/calibrate.py.
_CALL, _POINT, _DIGIT = 2e-3, 2.4e-7, 8.0


def namespace() -> ModuleType:
    """Array namespace of this engine."""
    return np


def supports(program: Program) -> bool:
    """Whether this engine can do ``program``: a Laplace or half-integer Matérn kernel in d = 2, 3, and finufft is installed."""
    return program.d in (2, 3) and _order(program) is not None and nufft.installed()


def accumulate(
    program: Program, x: np.ndarray, y: np.ndarray, shift: np.ndarray, index: np.ndarray | None = None, *, rtol: float = 1e-8
) -> np.ndarray:
    """All columns of ``program``, (R, rows, n), for points x (R, n, d) and sources y (R or 1, m, d) in units of h.

    ``rtol``: accuracy of the sum of k relative to itself, and of the mean shift in units of h, at every point. Rows that ask for a
    ``shift``, and those whose sum the absolute error would spoil, come from the direct engine. Raises ``ValueError`` for a program
    that is not supported, ``rtol`` outside [1e-13, 1), or sources that are not finite or so wide that no grid is affordable.
    """
    guard.check("ewald", supports(program), "a Laplace or half-integer Matérn kernel in d = 2 or 3, and the package finufft", rtol)
    if (shift != 0).all():
        return cpu.accumulate(program, x, y, shift, index)
    tolerance = nufft.absolute_tolerance(rtol, y.shape[1])
    splits = [best_split(program, x[r], y[r % len(y)], rtol)[0] for r in range(len(x))]
    boxes = [_box(program, x[r], y[r % len(y)], tolerance).up_to(_highest(u0, tolerance)) for r, u0 in enumerate(splits)]
    nufft.check_affordable("ewald", boxes, rtol)
    transforms = [
        nufft.Transform(box, partial(_multipliers, program, u0), f"{_order(program)} {u0}") for box, u0 in zip(boxes, splits, strict=True)
    ]
    columns, peaks = nufft.transform(x, y, transforms, tolerance)
    out = np.empty((x.shape[0], program.rows, x.shape[1]), dtype=x.dtype)
    for r, (found, peak) in enumerate(zip(columns, peaks, strict=True)):
        points, sources = (a.astype(np.float64, copy=False) for a in (x[r], y[r % len(y)]))
        u0, lift = splits[r], shift[r].astype(np.float64)
        short = short_program(program, u0, rtol)
        found += cells.within(short, points, sources, np.zeros(len(points)), index, cutoff(u0, rtol))
        if program.exclude_self:
            z = (sources if index is None else sources[index]) - points
            found -= nufft.single(program, z) - nufft.single(short_program(program, u0, _FINEST), z)
        also = ~boxes[r].inside(points) | (lift != 0)
        bound = nufft.error_bound(program, boxes[r], tolerance, peak)
        guard.recompute_doubtful(program, found, points, sources, lift, index, bound, rtol, also)
        out[r] = found
    return out


nearest = cpu.nearest


def predicted_seconds(program: Program, points: np.ndarray, sources: np.ndarray, rtol: float) -> float:
    """Predicted time on one thread for points (n, d) and sources (m, d) in units of h; infinite where it cannot be done."""
    return best_split(program, points, sources, rtol)[1]


def best_split(program: Program, points: np.ndarray, sources: np.ndarray, rtol: float) -> tuple[float, float]:
    """(u0, seconds) of the split that is predicted to cost least; seconds are infinite if no grid is affordable."""
    n, m = len(points), len(sources)
    tolerance = nufft.absolute_tolerance(rtol, m)
    box = _box(program, points, sources, tolerance)
    with np.errstate(all="ignore"):  # what is not finite has no neighbours
        s2 = cdist(points[:: -(-n // _SAMPLE[0])], sources[:: -(-m // _SAMPLE[1])], "sqeuclidean")
    operations = costs.operations(program) + _DIGIT * -math.log10(rtol) * len({c.weight for c in program.columns})

    @cache
    def seconds(exponent: int) -> float:
        if not _SMALLEST <= exponent <= _LARGEST:
            return math.inf
        u0 = 2.0**exponent
        smooth = nufft.seconds(program, n, m, box.up_to(_highest(u0, tolerance)), rtol)
        if not math.isfinite(smooth):
            return smooth
        pairs = n * min(m, _NEIGHBOURS + 2 * m * np.count_nonzero(s2 < cutoff(u0, rtol) ** 2) / s2.size)
        return smooth + _CALL + _POINT * (n + m) + costs.OPERATION * operations * pairs

    # The cost has a single minimum; at its small end no grid fits into memory.
    best = min(range(_LARGEST, _SMALLEST - 1, -4), key=seconds)
    best = min((best - 2, best, best + 2), key=seconds)
    best = min((best - 1, best, best + 1), key=seconds)
    return 2.0**best, seconds(best)


def cutoff(u0: float, rtol: float) -> float:
    """Distance in units of h at which exp(-u0 - s^2 / 4u0) falls to rtol / 20 of e^-s: so far the short part counts for any point."""
    return 2 * math.sqrt(u0) * (math.sqrt(math.log(_MARGIN / rtol)) + math.sqrt(u0))


@cache
def short_program(program: Program, u0: float, rtol: float) -> Program:
    """The part u < u0 of every column of ``program``."""
    order, degree_of = _order(program), {}
    for term, (row, _, vector) in program.layout:
        degree_of.setdefault((row, vector), term)
    norm = special.factorial2(2 * order - 1) if order else 1.0
    columns = []
    for (_, vector), term in sorted(degree_of.items()):
        rung = {"companion": -1, "k": 0, "kz": 0, "gz": 1, "gzz": 1, "lap": 2}[term]
        text = _weight(order - rung, u0, rtol, norm)
        if term == "gzz":
            text = f"({text})*s2"
        elif term == "lap":
            text = f"({text})*s2 - d*({_weight(order - 1, u0, rtol, norm)})"
        columns.append(Column(text, vector))
    return Program(program.d, f"{0.25 / u0!r}*s2 + {u0!r}", tuple(columns), (), program.exclude_self, program.layout)


def short_part(m: int, s: np.ndarray, u0: float) -> np.ndarray:
    """The part u < u0 of g_m, divided by exp(-u0 - s^2 / 4u0); s (n,) > 0 in units of h."""
    v, root = s / (2 * math.sqrt(u0)), math.sqrt(u0)
    near, far = special.erfcx(v - root), special.erfcx(v + root)
    below, here = (near + far) / (2 * s), (near - far) / 2
    for n in range(m + 1 if m >= 0 else 0):
        if n < m:
            below, here = here, (2 * n + 1) * here + s * s * below - 2 ** (n + 1) * u0 ** (n + 0.5) / math.sqrt(math.pi)
    return here if m >= 0 else below


def smooth_transform(m: int, d: int, k2: np.ndarray, u0: float) -> np.ndarray:
    """Fourier transform in d dimensions of the part u > u0 of g_m at squared wave numbers k2 (any shape), in units of 1/h^2."""
    a, x = m + (d + 1) / 2, u0 * (1 + k2)
    # Upper incomplete gamma function by its recursion, whose terms are all positive.
    start = 0.5 if d % 2 == 0 else 1.0
    decay = np.exp(-x)
    gamma = math.sqrt(math.pi) * special.erfc(np.sqrt(x)) if d % 2 == 0 else decay
    while start < a:
        gamma = start * gamma + x**start * decay
        start += 1
    return 2.0**m * (4 * math.pi) ** (d / 2) / math.sqrt(math.pi) * gamma / (1 + k2) ** a


@cache
def _order(program: Program) -> int | None:
    """nu - 1/2 of the kernel whose columns these are, or None."""
    terms = tuple(term for term, _ in program.layout)
    for name in _KERNELS:
        kernel = kernels.make(name)
        if program.exponent == kernel.exponent and ("lap" not in terms or kernel.smoothness >= 2):
            if program == compile_terms(kernel, program.d, terms, program.exclude_self):
                return kernel.order
    return None


@cache
def _weight(m: int, u0: float, rtol: float, norm: float) -> str:
    """Text in s of a polynomial (divided by s for m < 0) that is `short_part` / ``norm`` up to rtol / 20 of e^-s."""
    reach = cutoff(u0, rtol)
    s = reach * (0.5 - 0.5 * np.cos((np.arange(400) + 0.5) * np.pi / 400))
    wanted = short_part(m, s, u0) * (s if m < 0 else 1.0) / norm
    decay = np.exp(s - u0 - s * s / (4 * u0))
    weight = decay + 1e-3 * rtol
    t = 2 * s / reach - 1
    for degree in range(max(3, round(-math.log10(rtol))), 40):
        basis = chebyshev.chebvander(t, degree)
        found = np.linalg.lstsq(basis * weight[:, None], wanted * weight)[0]
        if (np.abs(basis @ found - wanted) * decay).max() < rtol / _MARGIN:
            break
    text, variable = "", f"({2 / reach!r}*s - 1)"
    for c in reversed(chebyshev.cheb2poly(found).tolist()):
        text = f"({c!r} + {variable}*{text})" if text else f"({c!r})"
    return f"rs*{text}" if m < 0 else text


def _highest(u0: float, tolerance: float) -> float:
    """Wave number in units of 1/h at which the smooth part's transform has fallen to a tenth of the tolerance."""
    return math.sqrt(math.log(10 / tolerance) / u0)


def _box(program: Program, points: np.ndarray, sources: np.ndarray, tolerance: float) -> nufft.Grid:
    """The box of the smooth part, with few modes."""
    return nufft.grid(points, sources, _padding(program, tolerance), 1.0)


@cache
def _padding(program: Program, tolerance: float) -> float:
    """Distance in units of h at which every column has fallen to a hundredth of the tolerance."""
    return cells.reach(program, tolerance / 100, 1)


def _multipliers(program: Program, u0: float, box: nufft.Grid) -> Iterable[tuple[np.ndarray, bool]]:
    """sum f_n z = grad sum f_{n-1}, and sum f_n |z|^2 = Laplacian sum f_{n-2} + d sum f_{n-1}."""
    order = _order(program)
    norm = special.factorial2(2 * order - 1) if order else 1.0
    # Even along every axis: only wave numbers >= 0 are computed.
    positive = np.meshgrid(
        *[np.arange(n // 2 + 1) * (2 * np.pi / p) for n, p in zip(box.modes, box.period, strict=True)], indexing="ij", sparse=True
    )
    mirror = np.ix_(*[np.abs(np.arange(-(n // 2), (n + 1) // 2)) for n in box.modes])
    k2 = sum(a * a for a in positive)

    @cache
    def rung(n: int) -> np.ndarray:
        return smooth_transform(order - n, program.d, k2, u0) / norm

    done = set()
    for term, (row, _, vector) in sorted(program.layout, key=lambda slot: slot[1][0]):
        if row in done:
            continue
        done.add(row)
        n = {"companion": -1, "k": 0, "kz": 0, "gz": 1, "gzz": 1, "lap": 1}[term]
        if vector:
            values = rung(n - 1)
        elif term == "gzz":
            values = program.d * rung(0) - k2 * rung(-1)
        elif term == "lap":
            values = -k2 * rung(0)
        else:
            values = rung(n)
        yield values[mirror], vector
