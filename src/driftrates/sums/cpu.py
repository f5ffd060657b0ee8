"""The fused CPU engine: each program becomes one vectorised machine-code loop, compiled for this host in about 0.1 s.

Each lane of a vector register holds one evaluation point; the loop runs over the sources, whose coordinates are
broadcast, so there are no horizontal reductions and no gathers. The instructions are written out through LLVM instead of left to
an auto-vectoriser because the latter reaches a quarter of the speed on the same loop and needs a compiler at the user's site.
Results do not depend on the number of threads: every point is summed by one thread in a fixed order.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from ctypes import addressof, c_char
from functools import cache, lru_cache, partial
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
from scipy.spatial import KDTree

from driftrates import expressions
from driftrates.sums import dense, machine, reference
from driftrates.sums.program import Program

_SOURCES_PER_BLOCK = 2048
_SOURCES_PER_SUM = {"float64": 2048, "float32": 256}
_NAMES = {"d": "float64", "f": "float32"}
_LARGEST_COMPILED = 32
"""Dimensions up to which code is compiled. The bare form by matrix products draws level at about 33, `dense` with its checks later."""
_LARGEST_TREE = 10
_LEAST_PAIRS = 100_000
"""Of a task for one thread: 0.04 ms of work, where taking a task costs 3 us and waking a thread 50."""

_threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)


def namespace() -> ModuleType:
    """Array namespace of this engine."""
    return np


def set_threads(n: int) -> None:
    """Use n >= 1 threads from now on (default: the processors this process may use)."""
    if n < 1:
        raise ValueError(f"threads must be at least 1, not {n}")
    global _threads
    _threads = n
    _pool.cache_clear()


def threads() -> int:
    """Threads in use."""
    return _threads


@lru_cache(maxsize=1)
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(max(_threads - 1, 1), thread_name_prefix="kernel-sums")


# A child process has the pool of its parent, but not its threads.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pool.cache_clear)


def run(calls: Sequence[Callable[[], Any]]) -> list[Any]:
    """Results of independent ``calls``, in their order, on the threads in use; the calls themselves must not use them."""
    if len(calls) < 2 or _threads == 1:
        return [call() for call in calls]
    results: list[Any] = [None] * len(calls)
    left = iter(range(len(calls)))

    def work() -> None:
        try:
            for i in left:
                results[i] = calls[i]()
        finally:
            for _ in left:  # after an error or an interrupt nothing new begins
                pass

    # The calling thread works too: waking another one costs as much as 1e5 pairs.
    helpers: list[Future[None]] = []
    try:
        for _ in range(min(_threads, len(calls)) - 1):
            helpers.append(_pool().submit(work))
        work()
    finally:
        begun = [helper for helper in helpers if not helper.cancel()]
        wait(begun)
    for helper in begun:
        helper.result()
    return results


def lanes(dtype: Any) -> int:
    """Points per vector of this host for float64 or float32: the rows of ``ranges`` in `accumulate` belong to so many points each."""
    from driftrates.sums import vector_ir

    return vector_ir.lanes(machine.features(), str(np.dtype(dtype)))


def accumulate(
    program: Program, x: np.ndarray, y: np.ndarray, shift: np.ndarray, index: np.ndarray | None = None, ranges: np.ndarray | None = None
) -> np.ndarray:
    """All columns of ``program``, (R, rows, n), for points x (R, n, d) and sources y (R or 1, m, d) in units of h.

    The decay is exp(shift - exponent) with shift (R, n). With ``program.exclude_self`` the source of the same index is
    left out; ``index`` (n,) gives the points' indices where they are not 0..n-1.
    ``ranges``, int64 of shape (V, K, 2) or (R, V, K, 2) with V = ceil(n / lanes), restricts each vector of ``lanes`` successive
    points to the sources in K half-open intervals, summed in the given order; empty ones (stop <= start) cost next to nothing.
    Raises ``ValueError`` for ranges of another shape or beyond the sources.
    """
    replicates, n, d = x.shape
    if d > _LARGEST_COMPILED:
        if ranges is not None:
            raise ValueError(f"ranges need at most {_LARGEST_COMPILED} dimensions, not {d}")
        return dense.accumulate(program, x, y, shift, index, run)
    dtype, m = _NAMES[x.dtype.char], y.shape[1]
    guarded = np.count_nonzero(shift) > 0 or not _moderate(program, x, y, dtype)
    if guarded and replicates > 1:
        # The two codes round differently, and no replicate may depend on the others.
        chosen = [None if ranges is None else ranges[r] if ranges.ndim == 4 and len(ranges) > 1 else ranges for r in range(replicates)]
        each = [slice(r, r + 1) for r in range(replicates)]
        return np.concatenate(
            [accumulate(program, x[r], y[r] if len(y) > 1 else y, shift[r], index, c) for r, c in zip(each, chosen, strict=True)]
        )
    code = _compiled(program, dtype, guarded)
    width = code.lanes
    vectors = -(-n // width)
    padded = vectors * width
    if ranges is None:
        chosen = np.array([[[[0, m]]]], dtype=np.int64)
    else:
        chosen = _checked(ranges, replicates, n, m, width)
    if program.exclude_self:
        own, first, last = _same_indices(n, padded, width) if index is None else _own_sources(index, padded, width)
    else:
        own = first = last = None
    points = _padded(x.swapaxes(1, 2), padded)
    sources = np.ascontiguousarray(y)
    lift = _padded(shift, padded) if code.guarded else None
    out = np.zeros((replicates, program.rows, padded), dtype=x.dtype)
    block = max(m, 1) if ranges is not None else _SOURCES_PER_BLOCK
    arguments = np.array(
        [
            *(0 if a is None else _address(a) for a in (points, sources, lift, own, first, last, chosen, out)),
            *(d * padded, m * d if y.shape[0] > 1 else 0, padded, _stride(chosen, 0), program.rows * padded, _stride(chosen, 1)),
            *(chosen.shape[2], m, padded, block, _SOURCES_PER_SUM[dtype]),
        ],
        dtype=np.int64,
    )
    tasks = [] if _threads == 1 else _tasks(chosen, replicates, vectors, width)

    def part(task: tuple[int, ...], alive: tuple[Any, ...] = (points, sources, lift, own, first, last, chosen, out)) -> None:
        # The code has bare addresses: what they belong to lives as long as any thread may run it.
        code.function(_address(arguments), *task)

    run([partial(part, t) for t in tasks or [(0, replicates, 0, vectors)]])
    if guarded:  # the code takes what is no number as far away
        out[:, :, :n] += np.where(np.isnan(x).any(2) | np.isnan(y).any((1, 2))[:, None], np.nan, 0.0)[:, None].astype(x.dtype)
    return out[:, :, :n]


def _padded(a: np.ndarray, n: int) -> np.ndarray:
    """A copy whose last axis is filled up to n with zeros."""
    if a.shape[-1] == n:
        return np.ascontiguousarray(a)
    out = np.zeros((*a.shape[:-1], n), dtype=a.dtype)
    out[..., : a.shape[-1]] = a
    return out


def _address(a: np.ndarray) -> int:
    return addressof(c_char.from_buffer(a)) if a.size and a.flags.writeable else a.ctypes.data


def _own_sources(index: np.ndarray, padded: int, width: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Index of each point's own source, -1 for the filling, and by vector of points the range in which these indices lie."""
    own = np.full(padded, -1, dtype=np.int64)
    own[: len(index)] = index
    by_vector = own.reshape(-1, width)
    first, last = by_vector.min(1), by_vector.max(1) + 1
    first[first < 0] = 0
    return own, first, last


@lru_cache(maxsize=4)
def _same_indices(n: int, padded: int, width: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return _own_sources(np.arange(n), padded, width)


def _checked(ranges: np.ndarray, replicates: int, n: int, m: int, width: int) -> np.ndarray:
    """``ranges`` as (R or 1, V, K, 2). Raises ``ValueError`` for another shape or intervals beyond the sources."""
    chosen = np.ascontiguousarray(ranges if ranges.ndim == 4 else ranges[None], dtype=np.int64)
    if chosen.ndim != 4 or chosen.shape[0] not in (1, replicates) or chosen.shape[1] != -(-n // width) or chosen.shape[3] != 2:
        raise ValueError(f"ranges {ranges.shape} are not (V, K, 2) with V = {-(-n // width)}, one row for every {width} of {n} points")
    if chosen.size and (chosen.min() < 0 or chosen.max() > m):
        raise ValueError(f"ranges must lie between 0 and the number of sources {m}")
    return chosen


def _moderate(program: Program, x: np.ndarray, y: np.ndarray, dtype: str) -> bool:
    """Are all exponents certainly small enough for the code that is not guarded?"""
    squares = _square_sum(x)
    return 2 * (squares + (squares if y is x else _square_sum(y))) < _largest_distance(program, dtype)


def _square_sum(a: np.ndarray) -> float:
    # The product of long vectors would wake the threads of BLAS, which costs more than the sum.
    return float(np.vdot(a, a) if a.size < 4096 else np.einsum("rnd,rnd->", a, a))


@cache
def _largest_distance(program: Program, dtype: str) -> float:
    """An s^2 up to which the code without a guard is right: the exponent, which increases, is small enough; 0 without one."""
    from driftrates.sums import vector_math

    s2 = 4.0 ** np.arange(60)
    if any("/" in text for text in (program.exponent, *(c.weight for c in program.columns))):
        s2 = s2[s2 <= vector_math.LARGEST_DIVISOR[dtype]]
    names = {"s2": s2, "s": np.sqrt(s2), "rs": 1 / np.sqrt(s2), **program.constants}
    with np.errstate(all="ignore"):
        fits = np.broadcast_to(expressions.evaluate(program.exponent, names, np) < vector_math.LARGEST_EXPONENT[dtype] / 2, s2.shape)
    return float(np.max(s2, initial=0.0, where=fits))


def _stride(ranges: np.ndarray, axis: int) -> int:
    return ranges.strides[axis] // ranges.itemsize if ranges.shape[axis] > 1 else 0


def _tasks(ranges: np.ndarray, replicates: int, vectors: int, width: int) -> list[tuple[int, int, int, int]]:
    """(r0, r1, v0, v1) for the threads to take in turn: large ones first, then smaller, so that all threads end at about the same time."""
    if ranges.shape[1] == 1 and replicates * vectors * width * int(ranges[..., 1].max(initial=0)) < 6 * _LEAST_PAIRS:
        return []
    pairs = np.broadcast_to(width * np.maximum(ranges[..., 1] - ranges[..., 0], 0).sum(-1), (replicates, vectors)).ravel()
    before = np.cumsum(pairs) - pairs
    total = int(pairs.sum())
    if total < 6 * _LEAST_PAIRS:
        return []
    cuts = [0]
    while cuts[-1] < total:
        cuts.append(cuts[-1] + max((total - cuts[-1]) // (2 * _threads), _LEAST_PAIRS))
    starts = sorted(set(np.searchsorted(before, cuts[:-1]).tolist()) - {replicates * vectors})
    tasks = []
    for start, stop in zip(starts, [*starts[1:], replicates * vectors], strict=True):
        (r, v), (q, w) = divmod(start, vectors), divmod(stop, vectors)
        if r == q:
            tasks.append((r, r + 1, v, w))
            continue
        if v:
            tasks.append((r, r + 1, v, vectors))
        if r + (v > 0) < q:
            tasks.append((r + (v > 0), q, 0, vectors))
        if w:
            tasks.append((q, q + 1, 0, w))
    return tasks


def nearest(x: np.ndarray, y: np.ndarray, index: np.ndarray | None = None) -> np.ndarray:
    """Smallest |y_j - x_i|^2 over j, (R, n); ``index`` (n,) gives each point's own source, which is left out."""
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        with np.errstate(invalid="ignore"):  # a tree would refuse what the caller is to see as not finite
            return reference.nearest(x, y, index)
    if x.shape[2] > _LARGEST_TREE:
        return dense.nearest(x, y, index)
    out = np.empty(x.shape[:2], dtype=x.dtype)
    for r in range(len(x)):
        sources = y[r if y.shape[0] > 1 else 0]
        distance, found = KDTree(sources).query(x[r], k=[1] if index is None else [1, 2])
        second = 0 if index is None else (found[:, 0] == index).astype(int)
        out[r] = distance[np.arange(len(distance)), second] ** 2
    return out


class _Code(NamedTuple):
    """Machine code of a program: see `vector_ir.emit` for the function and what ``guarded`` means; ``lanes`` points per vector."""

    function: Any
    lanes: int
    guarded: bool


@cache
def _compiled(program: Program, dtype: str, guarded: bool = True) -> _Code:
    """The machine code of ``program`` for this host."""
    from driftrates.sums import vector_ir

    wide = vector_ir.wide(machine.features())
    assembly = vector_ir.emit(program, dtype, lanes(dtype), wide, guarded)
    return _Code(machine.compiled(assembly, "accumulate", 1, 4), lanes(dtype), guarded or not wide)
