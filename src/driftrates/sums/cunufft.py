"""The transform of `driftrates.sums.nufft` on a GPU, through cufinufft: boxes, tolerances and multipliers are the same.

Only the corners of the clouds and the number of doubtful rows go to the host. Wheels of cufinufft need the libraries of CUDA 12; those
that pip installs are found without a toolkit. The constants of `seconds` come from published rates and await a measurement.
"""

from __future__ import annotations

import importlib.util
import math
from collections import OrderedDict
from functools import cache
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from driftrates.arrays import to_host
from driftrates.sums import cuda, guard, nufft
from driftrates.sums.program import Program

_PLANS = 8
_DIRECT = 3e-13
_CALL, _SPREAD, _CELL = 5e-3, 2e-10, 2e-11
"""Seconds: one operation of one pair of the direct engine, one call, one point and one cell of its kernel, one cell and its FFT."""


def namespace() -> ModuleType:
    """CuPy; see `driftrates.sums.cuda.namespace`."""
    return cuda.namespace()


def supports(program: Program) -> bool:
    """Whether this engine can do ``program``: the Gaussian kernel in d <= 3, and cufinufft can be loaded."""
    return program.d <= 3 and program.exponent == "0.5*s2" and library() is not None


@cache
def library() -> ModuleType | None:
    """cufinufft, or None where it or the CUDA libraries that it is linked to are missing."""
    if importlib.util.find_spec("cufinufft") is None:
        return None
    try:
        # Its library has no search path of its own: what is loaded before it is found.
        from cuda.pathfinder import load_nvidia_dynamic_lib

        for name in ("cudart", "cufft"):
            load_nvidia_dynamic_lib(name)
    except (ImportError, RuntimeError):
        pass  # the system may have them
    try:
        import cufinufft
    except (ImportError, OSError):
        return None
    return cufinufft


def choose(program: Program, x: Any, y: Any, rtol: float | None) -> list[str]:
    """Names (R,): ``cunufft`` where it is predicted to be faster than ``cuda`` for x (R, n, d) and y (R or 1, m, d) in units of h."""
    n, m = x.shape[1], y.shape[1]
    direct = _DIRECT * n * m * (2 * program.d + 6 + program.rows)
    if rtol is None or not 1e-13 <= rtol < 1 or direct < _CALL or not supports(program):
        return ["cuda"] * len(x)
    boxes = _boxes(x, y, nufft.absolute_tolerance(rtol, m))
    return ["cunufft" if seconds(program, box, n, m, rtol) < direct else "cuda" for box in boxes]


def seconds(program: Program, box: nufft.Grid, points: int, sources: int, rtol: float) -> float:
    """Predicted seconds of one replicate; infinite where its ``box`` is not affordable."""
    if not box.affordable(rtol):
        return math.inf
    tolerance = nufft.absolute_tolerance(rtol, sources)
    transforms, width = math.ceil(program.rows / 2), math.ceil(math.log10(1 / tolerance)) + 1
    size = nufft.cells(box)
    return _CALL + _SPREAD * width**program.d * (sources + transforms * points) + _CELL * size * math.log2(size) * (1 + transforms)


def accumulate(program: Program, x: Any, y: Any, shift: Any, index: Any | None = None, *, rtol: float = 1e-10) -> Any:
    """All columns of ``program``, (R, rows, n), as `nufft.accumulate`, for CuPy arrays; the direct sums are those of the GPU.

    Raises ``ValueError`` like `nufft.accumulate`, ``RuntimeError`` without a GPU.
    """
    xp = namespace()
    guard.check(
        "cunufft", supports(program), "the Gaussian kernel in d <= 3, and the package cufinufft with the libraries of CUDA 12", rtol
    )
    if bool((shift != 0).all()):
        return cuda.accumulate(program, x, y, shift, index)
    tolerance = nufft.absolute_tolerance(rtol, y.shape[1])
    boxes = [_Box(*box) for box in _boxes(x, y, tolerance)]
    nufft.check_affordable("cunufft", boxes, rtol)
    out = xp.empty((x.shape[0], program.rows, x.shape[1]), dtype=x.dtype)
    spectra: dict[_Box, _Spectrum] = {}
    for r, box in enumerate(boxes):
        points, sources = x[r].astype(np.float64), y[r % len(y)].astype(np.float64)
        if len(y) > 1 or box not in spectra:
            spectra = {box: _spectrum(program, sources, box, tolerance)}
        spectrum = spectra[box]
        inside = box.inside(points)
        columns = xp.zeros((program.rows, x.shape[1]))
        columns[:, inside] = _evaluate(program, points[inside], box, spectrum.coefficients, tolerance)
        if program.exclude_self:
            columns -= nufft.single(program, (sources if index is None else sources[index]) - points)
        also = ~inside | (shift[r] != 0)
        bound = nufft.error_bound(program, box, tolerance, spectrum.peak)
        lift = shift[r].astype(np.float64)
        guard.recompute_doubtful(program, columns, points, sources, lift, index, bound, rtol, also, cuda.accumulate)
        out[r] = columns
    return out


nearest = cuda.nearest


class _Box(nufft.Grid):
    """The same box, with its arrays on the device."""

    def wave_numbers(self) -> list[Any]:
        xp = namespace()
        return [xp.asarray(k) for k in super().wave_numbers()]

    def inside(self, x: Any) -> Any:
        xp = namespace()
        return ((x >= xp.asarray(self.low)) & (x <= xp.asarray(self.high))).all(1)


class _Spectrum(NamedTuple):
    coefficients: Any
    peak: float


def _boxes(x: Any, y: Any, tolerance: float) -> list[nufft.Grid]:
    """`nufft.box_of` every replicate, from the corners of the clouds alone."""
    xp = namespace()
    corners = [a if len(a) == len(x) else xp.repeat(a, len(x), axis=0) for a in (x.min(1), x.max(1), y.min(1), y.max(1))]
    found = to_host(xp.stack(corners, axis=1)).astype(np.float64)
    return [nufft.box_of(c[:2], c[2:], tolerance) for c in found]


def _spectrum(program: Program, sources: Any, box: _Box, tolerance: float) -> _Spectrum:
    xp = namespace()
    plan = _plan(1, box, tolerance, 1)
    plan.setpts(*_angles(sources, box))
    coefficients = plan.execute(xp.ones(len(sources), dtype=np.complex128)) / math.prod(box.period)
    first, _ = next(iter(nufft._multipliers(program, box)))
    # On the grid of the box itself, whose cells are narrower than h, the largest sum shows.
    return _Spectrum(coefficients, float(xp.abs(xp.fft.ifftn(coefficients * first)).max()) * coefficients.size)


def _evaluate(program: Program, points: Any, box: _Box, coefficients: Any, tolerance: float) -> Any:
    """Sums (rows, n) at points (n, d) of the box."""
    xp = namespace()
    out = xp.zeros((2 * math.ceil(program.rows / 2), len(points)))
    if len(points):
        k = box.wave_numbers()
        factors = [f for values, vector in nufft._multipliers(program, box) for f in ([1j * a * values for a in k] if vector else [values])]
        # All results are real: two of them ride in one complex transform.
        packed = xp.empty((len(out) // 2, *box.modes), dtype=np.complex128)
        for j in range(len(packed)):
            pair = factors[2 * j : 2 * j + 2]
            packed[j] = coefficients * (pair[0] + 1j * pair[1] if len(pair) == 2 else pair[0])
        plan = _plan(2, box, tolerance, len(packed))
        plan.setpts(*_angles(points, box))
        found = plan.execute(packed)
        out[0::2], out[1::2] = found.real, found.imag
    return out[: program.rows]


def _angles(points: Any, box: nufft.Grid) -> list[Any]:
    xp, factors = namespace(), [2 * math.pi / p for p in box.period]
    return [xp.ascontiguousarray((points[:, k] - box.low[k]) * factors[k]) for k in range(points.shape[1])]


_plans: OrderedDict[Any, Any] = OrderedDict()


def _plan(kind: int, box: nufft.Grid, tolerance: float, transforms: int) -> Any:
    """A plan, kept for the next call with the same modes on the same GPU and stream."""
    xp = namespace()
    device, stream = (xp.cuda.Device().id, xp.cuda.get_current_stream().ptr) if hasattr(xp, "cuda") else (0, 0)
    key = (kind, box.modes, tolerance, transforms, device, stream)
    if key not in _plans:
        sign = -1 if kind == 1 else 1
        options = {"gpu_device_id": device, "gpu_stream": stream}
        made = library().Plan(kind, box.modes, n_trans=transforms, eps=tolerance, isign=sign, dtype="complex128", **options)
        if nufft.cells(box) > 2**24:
            return made
        _plans[key] = made
        if len(_plans) > _PLANS:
            _plans.popitem(last=False)
    _plans.move_to_end(key)
    return _plans[key]
