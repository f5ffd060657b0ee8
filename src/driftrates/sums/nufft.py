"""Sums through the non-uniform FFT (finufft), O(n + m) at a fixed bandwidth, for kernels whose Fourier transform decays fast, d <= 3.

The sources' Fourier coefficients are multiplied by the transforms of the wanted rungs and evaluated at the points. The error is
absolute: about ``tolerance`` where one source at the point itself counts 1. Rows whose sum is so small that this would spoil its
relative accuracy are summed directly.
"""

from __future__ import annotations

import importlib.util
import math
from types import ModuleType
from typing import NamedTuple

import numpy as np

from driftrates.sums import cpu
from driftrates.sums.program import Program, polynomials

LARGEST_GRID = 2**27
"""Fourier modes above which memory is not spent."""
_FLOOR = 1e-14
_GUARD = 1e-3
"""Absolute over wanted relative tolerance: rows whose sum exceeds `_DOUBT` times this are kept."""
_DOUBT = 50.0


def namespace() -> ModuleType:
    """Array namespace of this engine."""
    return np


class Grid(NamedTuple):
    """Periodic box and modes for some points and sources in units of h: ``origin`` and ``period`` (d,), ``modes`` (d,) odd."""

    origin: np.ndarray
    period: np.ndarray
    modes: tuple[int, ...]


def supports(program: Program) -> bool:
    """Whether this engine can do ``program``: the Gaussian kernel in d <= 3, and finufft is installed."""
    return program.d <= 3 and program.exponent == "0.5*s2" and importlib.util.find_spec("finufft") is not None


def grid(x: np.ndarray, y: np.ndarray, tolerance: float) -> Grid:
    """A box around the sources y (m, d) and those points x (n, d) in their reach, all in units of h, and its modes.

    Its period keeps the images of the sources out of reach of these points.
    """
    reach = _reach(tolerance)
    low, high = y.min(0), y.max(0)
    low, high = np.minimum(low, np.maximum(x.min(0), low - reach)), np.maximum(high, np.minimum(x.max(0), high + reach))
    period = high - low + reach
    return Grid(low, period, tuple(2 * int(math.ceil(reach * p / (2 * math.pi))) + 1 for p in period))


def _reach(tolerance: float) -> float:
    """Distance in units of h at which the Gaussian falls to a third of ``tolerance``."""
    return math.sqrt(2 * math.log(3 / tolerance))


def absolute_tolerance(rtol: float) -> float:
    """Tolerance asked of the transforms for a relative accuracy ``rtol`` of the sums."""
    return max(_GUARD * rtol, _FLOOR)


def accumulate(
    program: Program, x: np.ndarray, y: np.ndarray, shift: np.ndarray, index: np.ndarray | None = None, *, rtol: float = 1e-10
) -> np.ndarray:
    """All columns of ``program``, (R, rows, n), for points x (R, n, d) and sources y (R or 1, m, d) in units of h.

    ``rtol``: accuracy of the sum of k relative to itself, and of the mean shift in units of h, at every point. Rows that ask for a
    ``shift``, and those whose sum the absolute error would spoil, come from the direct engine. Raises ``ValueError`` for a program
    that is not a Gaussian in d <= 3, ``rtol`` outside (1e-13, 1), or points so wide that the modes would not fit into memory.
    """
    if not supports(program):
        raise ValueError("the engine 'nufft' needs the Gaussian kernel in d <= 3, and the package finufft")
    if not 1e-13 <= rtol < 1:
        raise ValueError(f"the engine 'nufft' needs 1e-13 <= rtol < 1, not {rtol}")
    if (shift != 0).all():
        return cpu.accumulate(program, x, y, shift, index)
    tolerance = absolute_tolerance(rtol)
    out = np.empty((x.shape[0], program.rows, x.shape[1]), dtype=x.dtype)
    mass_row = program.slots["k"][0]
    for r in range(x.shape[0]):
        points, sources = x[r].astype(np.float64), y[r if y.shape[0] > 1 else 0].astype(np.float64)
        box = grid(points, sources, tolerance)
        if math.prod(box.modes) > LARGEST_GRID:
            raise ValueError(f"the engine 'nufft' would need {'x'.join(map(str, box.modes))} modes: use the direct engine, or a larger h")
        # Beyond, a point would see the images of the sources.
        inside = ((points >= box.origin) & (points <= box.origin + box.period - _reach(tolerance))).all(1) & (shift[r] == 0)
        columns = np.zeros((program.rows, len(points)))
        columns[:, inside] = _transform(program, points[inside], sources, box, tolerance)
        if program.exclude_self:
            _leave_out(program, columns, points, sources if index is None else sources[index])
        doubtful = np.flatnonzero(~inside | (columns[mass_row] < _DOUBT * tolerance / rtol))
        if doubtful.size:
            own = doubtful if index is None else index[doubtful]
            rows = points[doubtful][None], sources[None], shift[r][doubtful].astype(np.float64)[None]
            columns[:, doubtful] = cpu.accumulate(program, *rows, own if program.exclude_self else None)[0]
        out[r] = columns
    return out


nearest = cpu.nearest


def _transform(program: Program, points: np.ndarray, sources: np.ndarray, box: Grid, tolerance: float) -> np.ndarray:
    import finufft

    d = program.d
    angle = [np.ascontiguousarray(((p - box.origin) * (2 * np.pi / box.period)).T) for p in (points, sources)]
    axes = [2 * np.pi / p * np.arange(-(n // 2), n // 2 + 1) for n, p in zip(box.modes, box.period, strict=True)]
    forward = finufft.Plan(1, box.modes, eps=tolerance, isign=-1, nthreads=cpu.threads(), dtype="complex128")
    forward.setpts(*angle[1])
    spectrum = forward.execute(np.ones(len(sources), dtype=np.complex128)).reshape(box.modes)
    for axis, (k, p) in enumerate(zip(axes, box.period, strict=True)):
        spectrum *= (np.exp(-0.5 * k * k) * (math.sqrt(2 * math.pi) / p)).reshape([-1 if j == axis else 1 for j in range(d)])
    k = np.meshgrid(*axes, indexing="ij", sparse=True)
    k2 = sum(a * a for a in k)
    multipliers = []
    for column, powers in zip(program.columns, polynomials(program), strict=True):
        # Every rung of the Gaussian's ladder is the Gaussian: with G its sum, sum f z = grad G and sum f |z|^2 = (Laplacian + d) G.
        factor = powers.get(0, 0.0) + (powers.get(2, 0.0) * (d - k2) if 2 in powers else 0.0)
        multipliers += [1j * factor * a for a in k] if column.vector else [factor]
    # All results are real: two of them ride in one complex transform.
    packed = np.empty((-(-len(multipliers) // 2), *box.modes), dtype=np.complex128)
    for j in range(len(packed)):
        packed[j] = spectrum * multipliers[2 * j]
        if 2 * j + 1 < len(multipliers):
            packed[j] += 1j * (spectrum * multipliers[2 * j + 1])
    back = finufft.Plan(2, box.modes, n_trans=len(packed), eps=tolerance, isign=1, nthreads=cpu.threads(), dtype="complex128")
    back.setpts(*angle[0])
    found = back.execute(packed if len(packed) > 1 else packed[0]).reshape(len(packed), -1)
    return np.stack([found.real, found.imag], axis=1).reshape(-1, len(points))[: len(multipliers)]


def _leave_out(program: Program, columns: np.ndarray, points: np.ndarray, own: np.ndarray) -> None:
    """Take each point's own source (n, d) out of ``columns``, in place."""
    z = own - points
    s2 = (z * z).sum(1)
    decay, row = np.exp(-0.5 * s2), 0
    for column, powers in zip(program.columns, polynomials(program), strict=True):
        weight = decay * (powers.get(0, 0.0) + powers.get(2, 0.0) * s2)
        if column.vector:
            columns[row : row + program.d] -= weight * z.T
        else:
            columns[row] -= weight
        row += program.d if column.vector else 1
