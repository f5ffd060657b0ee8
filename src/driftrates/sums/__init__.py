"""Sums over all pairs of a radial kernel and its derivatives, never as an N x N array.

With z = (y_j - x_i) / h and the rungs f_n of the kernel's ladder (`driftrates.kernels`), the terms are

    companion  sum f_-1          k    sum f_0         kz   sum f_0 z
    gz         sum f_1 z         gzz  sum f_1 |z|^2   lap  sum (f_2 |z|^2 - d f_1)

so that for Z(x) = sum_j f(|x - y_j| / h): grad Z = gz / h, Laplacian Z = lap / h^2.
"""

from __future__ import annotations

import threading
from typing import Any, NamedTuple

import numpy as np

from driftrates.kernels import Kernel
from driftrates.sums import cells, cpu, cuda, cunufft, dispatch, ewald, line, nufft, reference
from driftrates.sums.program import TERMS, Program, compile_terms

__all__ = ["ENGINES", "TERMS", "Sums", "describe", "engine_for", "kernel_sums", "work"]

_UNDERFLOW = {"d": 1e-200, "f": 1e-22}
"""Mass below which a row is lost, by the character of its dtype."""


class Sums(NamedTuple):
    """Sums of one call, all multiplied by the same factor exp(shift) in each row.

    ``log_scale`` (R, n): logarithm of that factor's inverse, i.e. true sum = value * exp(log_scale); 0 except for points
    so far from all sources that the plain sum would underflow. ``terms`` maps each wanted term to (R, n) or (R, n, d).
    """

    log_scale: Any
    terms: dict[str, Any]


_MODULES = {
    "reference": reference,
    "cpu": cpu,
    "line": line,
    "cells": cells,
    "nufft": nufft,
    "ewald": ewald,
    "cuda": cuda,
    "cunufft": cunufft,
}
_APPROXIMATE = ("cells", "nufft", "ewald", "cunufft")
ENGINES = tuple(_MODULES)


def engine_for(x: Any, name: str | None = None) -> Any:
    """The engine module of that name, or the direct one for the device of array ``x``. Raises ``ValueError`` for an unknown name."""
    if name is None:
        name = "cpu" if isinstance(x, np.ndarray) else "cuda"
    if name not in ENGINES:
        raise ValueError(f"unknown engine {name!r}; known: {', '.join(ENGINES)}")
    return _MODULES[name]


def kernel_sums(
    x: Any,
    y: Any,
    kernel: Kernel,
    h: Any,
    terms: tuple[str, ...],
    *,
    exclude_self: bool = False,
    engine: str | None = None,
    rtol: float | None = None,
) -> Sums:
    """Sums over the sources y at the points x.

    x (R, n, d) and y (R, m, d) or (1, m, d), both float64 or both float32, NumPy or CuPy; h (float > 0, or (R,)), with 1 / h in the
    range of the dtype; ``exclude_self`` drops j = i exactly and needs n = m >= 2. Results keep dtype and device of x.
    ``engine``: its name, or None for the one that `dispatch.choose` predicts to be the fastest for each replicate. ``rtol``
    (1e-13 to 1): accuracy asked of k relative to itself, and of the other terms relative to k, in units of h (near rounding terms with
    |z|^2 may be off by four times that); None: rounding accuracy, or the default of a named engine. On the CPU a replicate's result
    depends neither on the others nor on the threads.
    Raises ``ValueError`` for shapes, dtypes, bandwidths or terms outside these ranges, or what a named engine cannot do.
    """
    if x.ndim != 3 or y.ndim != 3 or x.shape[2] != y.shape[2] or y.shape[0] not in (1, x.shape[0]) or y.shape[1] == 0:
        raise ValueError(f"x {x.shape} and y {y.shape} are not (R, n, d) and (R or 1, m, d) with m > 0")
    if x.dtype != y.dtype or x.dtype.char not in _UNDERFLOW:
        raise ValueError(f"x ({x.dtype}) and y ({y.dtype}) must both be float64 or both float32")
    if exclude_self and x.shape[1] != y.shape[1]:
        raise ValueError(f"exclude_self needs as many points as sources, not {x.shape[1]} and {y.shape[1]}")
    if exclude_self and x.shape[1] < 2:
        raise ValueError("exclude_self needs at least 2 points: a single one has no other source")
    width = np.asarray(h, dtype=np.float64)
    if width.shape not in ((), (x.shape[0],)) or not (np.isfinite(width).all() and (width > 0).all()):
        raise ValueError(f"h must be a positive number or one per replicate, not {h!r}")

    if (width < 1 / float(np.finfo(x.dtype).max)).any():
        raise ValueError(f"h = {width.min():g} is so small that 1 / h is beyond the range of {x.dtype}")

    program = compile_terms(kernel, x.shape[2], terms, exclude_self)
    xp = engine_for(x, engine).namespace()
    scale = xp.asarray(1.0 / width, dtype=x.dtype).reshape(-1, 1, 1)
    xs = x * scale
    ys = xs if y is x else y * scale
    names = [engine] if engine else dispatch.choose(program, xs, ys, rtol)
    if len(set(names)) == 1:
        columns, shift = _sums(names[0], program, kernel, xs, ys, rtol)
    else:
        columns, shift = xp.empty((x.shape[0], program.rows, x.shape[1]), dtype=x.dtype), xp.empty(x.shape[:2], dtype=x.dtype)
        for name in sorted(set(names)):
            some = np.flatnonzero(np.array(names) == name)
            columns[some], shift[some] = _sums(name, program, kernel, xs[some], ys[some] if len(ys) > 1 else ys, rtol)
    return Sums(-shift, {t: _take(columns, program.slots[t]) for t in terms})


def _sums(name: str, program: Program, kernel: Kernel, x: Any, y: Any, rtol: float | None) -> tuple[Any, Any]:
    """Columns (R, rows, n) of ``program``, and their shift (R, n), by the engine ``name``; x (R, n, d) and y in units of h."""
    module = engine_for(x, name)
    shift = module.namespace().zeros(x.shape[:2], dtype=x.dtype)
    options = {"rtol": rtol} if name in _APPROXIMATE and rtol is not None else {}
    columns = module.accumulate(program, x, y, shift, **options)
    _record(name, x.shape[0] * x.shape[1] * y.shape[1])
    _recompute_underflown(module, program, kernel, x, y, columns, shift)
    return columns, shift


_WORK = np.zeros((len(ENGINES), 2), dtype=np.int64)
_LOCK = threading.Lock()


def work() -> np.ndarray:
    """What each of `ENGINES` has done in this process so far, (engines, 2): passes, and their points x sources."""
    with _LOCK:
        return _WORK.copy()


def describe(done: np.ndarray) -> str | None:
    """The engines of some `work` (the difference of two) in words, the busiest first; None where there was none."""
    used = sorted((-pairs, name, passes) for name, (passes, pairs) in zip(ENGINES, done.tolist(), strict=True) if passes)
    return ", ".join(f"{name} ({passes} pass{'es' * (passes > 1)}, {-pairs:.4g} pairs)" for pairs, name, passes in used) or None


def _record(name: str, pairs: int) -> None:
    with _LOCK:
        _WORK[ENGINES.index(name)] += (1, pairs)


def _take(columns: Any, slot: tuple[int, int]) -> Any:
    start, width, vector = slot
    return columns[:, start : start + width].swapaxes(1, 2) if vector else columns[:, start]


def _recompute_underflown(module: Any, program: Program, kernel: Kernel, x: Any, y: Any, columns: Any, shift: Any) -> None:
    """Second pass, in place, for the rows whose plain sum is lost: the nearest source's exponent is taken out first.

    It runs in float64, because differences of large exponents would be lost in float32.
    """
    xp = module.namespace()
    lost = columns[:, program.slots["k"][0]] < _UNDERFLOW[x.dtype.char]
    if not lost.any():
        return
    for r in np.flatnonzero(_to_host(lost.any(axis=1))):
        rows = xp.flatnonzero(lost[r] & xp.isfinite(x[r]).all(axis=1))
        if not rows.size:
            continue
        sources = y[r if y.shape[0] > 1 else 0][None].astype("float64")
        points = x[r][rows][None].astype("float64")
        index = rows if program.exclude_self else None
        nearest = module.nearest(points, sources, index)
        lift = -kernel.log_decay(xp.sqrt(nearest), program.d, xp)
        columns[r][:, rows] = module.accumulate(program, points, sources, lift, index)[0]
        shift[r][rows] = lift[0]


def _to_host(a: Any) -> np.ndarray:
    return a.get() if hasattr(a, "get") else np.asarray(a)
