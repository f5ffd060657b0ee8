"""The fused CPU engine: each program becomes one vectorised machine-code loop, compiled for this host in about 0.1 s.

Each lane of a vector register holds one evaluation point; the loop runs over the sources, whose coordinates are
broadcast, so there are no horizontal reductions and no gathers. The instructions are written out through LLVM instead of left to
an auto-vectoriser because the latter reaches a quarter of the speed on the same loop and needs a compiler at the user's site.
Results do not depend on the number of threads: every point is summed by one thread in a fixed order.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from ctypes import CFUNCTYPE, c_int64, c_void_p
from functools import cache, lru_cache
from types import ModuleType
from typing import Any

import numpy as np

from driftrates.sums.program import Program

_SOURCES_PER_BLOCK = {"float64": 2048, "float32": 256}
_PAIRS_PER_TASK = 1_000_000
_ALIGNMENT = 16

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
    return ThreadPoolExecutor(_threads, thread_name_prefix="kernel-sums")


def accumulate(program: Program, x: np.ndarray, y: np.ndarray, shift: np.ndarray, index: np.ndarray | None = None) -> np.ndarray:
    """All columns of ``program``, (R, rows, n), for points x (R, n, d) and sources y (R or 1, m, d) in units of h.

    The decay is exp(shift - exponent) with shift (R, n). With ``program.exclude_self`` the source of the same index is
    left out; ``index`` (n,) gives the points' indices where they are not 0..n-1.
    """
    replicates, n, d = x.shape
    if d > 32:
        from driftrates.sums import reference

        return reference.accumulate(program, x, y, shift, index)
    dtype, m = str(x.dtype), y.shape[1]
    function, lanes = _compiled(program, dtype)
    padded = -(-n // _ALIGNMENT) * _ALIGNMENT
    points = np.zeros((replicates, d, padded), dtype=x.dtype)
    points[:, :, :n] = x.swapaxes(1, 2)
    lift = np.zeros((replicates, padded), dtype=x.dtype)
    lift[:, :n] = shift
    sources = np.ascontiguousarray(y)
    own = np.full(padded, -1, dtype=np.int64)
    if program.exclude_self:
        own[:n] = np.arange(n) if index is None else index
    by_vector = own.reshape(-1, lanes)
    first, last = by_vector.min(1), by_vector.max(1) + 1
    first[by_vector.min(1) < 0] = 0
    out = np.zeros((replicates, program.rows, padded), dtype=x.dtype)
    arrays = (points, sources, lift, own, first, last, out)
    strides = (d * padded, m * d if y.shape[0] > 1 else 0, padded, program.rows * padded)

    def task(r0: int, r1: int, v0: int, v1: int) -> None:
        function(*(a.ctypes.data for a in arrays), *strides, r0, r1, v0, v1, m, _SOURCES_PER_BLOCK[dtype], padded)

    vectors = padded // lanes
    if replicates * padded * m < 2 * _PAIRS_PER_TASK or _threads == 1:
        task(0, replicates, 0, vectors)
    else:
        step_v = min(vectors, max(1, _PAIRS_PER_TASK // (m * lanes)))
        step_r = max(1, _PAIRS_PER_TASK // (m * lanes * step_v))
        tasks = [
            _pool().submit(task, r, min(r + step_r, replicates), v, min(v + step_v, vectors))
            for r in range(0, replicates, step_r)
            for v in range(0, vectors, step_v)
        ]
        for t in tasks:
            t.result()
    return out[:, :, :n]


def nearest(x: np.ndarray, y: np.ndarray, index: np.ndarray | None = None) -> np.ndarray:
    """Smallest |y_j - x_i|^2 over j, (R, n); ``index`` (n,) gives each point's own source, which is left out."""
    from driftrates.sums import reference

    return reference.nearest(x, y, index)


@cache
def _compiled(program: Program, dtype: str) -> tuple[Any, int]:
    """(callable, lanes): the machine code of ``program`` for this host."""
    import llvmlite.binding as llvm

    from driftrates.sums import vector_ir

    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    features = llvm.get_host_cpu_features()
    lanes = vector_ir.lanes(features, dtype)
    machine = llvm.Target.from_default_triple().create_target_machine(
        cpu=llvm.get_host_cpu_name(), features=features.flatten(), opt=3, jit=True
    )
    module = llvm.parse_assembly(vector_ir.emit(program, dtype, lanes, bool(features.get("avx512f") and features.get("avx512dq"))))
    module.verify()
    options = llvm.create_pipeline_tuning_options(speed_level=3)
    options.loop_unrolling = False
    llvm.create_pass_builder(machine, options).getModulePassManager().run(module, llvm.create_pass_builder(machine, options))
    engine = llvm.create_mcjit_compiler(module, machine)
    engine.finalize_object()
    prototype = CFUNCTYPE(None, *[c_void_p] * 7, *[c_int64] * 11)
    function = prototype(engine.get_function_address("accumulate"))
    function.engine = engine  # the machine code lives as long as its engine
    return function, lanes
