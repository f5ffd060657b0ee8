"""The fused engine for NVIDIA GPUs, through CuPy: no N x N array, one pass for all replicates, the same result every run."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from types import ModuleType
from typing import Any

import numpy as np

from driftrates.sums.cuda_source import THREADS, Source, accumulate_source, nearest_source
from driftrates.sums.program import Program

OPTIONS = {"float32": ("--ftz=true", "--prec-div=false", "--prec-sqrt=false"), "float64": ()}
"""Options of the CUDA compiler by dtype."""

_BLOCKS_PER_MULTIPROCESSOR = 16
_SMALLER = "use fewer particles (n_particles) or replicates in one experiment, or set device: cpu"
_REMEDY = "install it with pip install -e '.[cuda12]' or '.[cuda13]' on a machine with an NVIDIA GPU, or set device: cpu"


class Unavailable(RuntimeError):
    """CuPy or the GPU is missing."""


def available() -> bool:
    """Whether CuPy and a GPU that it can use are present."""
    try:
        namespace()
    except RuntimeError:
        return False
    return True


def device_name() -> str:
    """Name of the current GPU. Raises ``RuntimeError`` without one."""
    cupy = namespace()
    return cupy.cuda.runtime.getDeviceProperties(cupy.cuda.Device().id)["name"].decode()


def namespace() -> ModuleType:
    """CuPy. Raises `Unavailable` with the remedy where it or the GPU is missing."""
    try:
        import cupy
    except ImportError as error:
        raise Unavailable(f"the cuda engine needs CuPy: {_REMEDY}") from error
    if not cupy.is_available():
        raise Unavailable(f"CuPy finds no usable GPU for the cuda engine: {_REMEDY}")
    return cupy


def failure(error: BaseException) -> str | None:
    """What went wrong, with the remedy, where ``error`` says that the GPU failed (memory, driver, device lost); None for another error."""
    if isinstance(error, Unavailable):
        return str(error)
    kinds = {base.__name__ for base in type(error).__mro__ if base.__module__.partition(".")[0] in ("cupy", "cupy_backends")}
    if "OutOfMemoryError" in kinds:
        return f"the GPU ran out of memory: {_SMALLER}"
    if kinds & {"CUDARuntimeError", "CUDADriverError", "NVRTCError", "CompileException", "CuFFTError"}:
        text = " ".join(str(error).split())
        memory = "MemoryAllocation" in text or "OUT_OF_MEMORY" in text
        return f"the GPU failed ({text}): {_SMALLER if memory else 'check the driver with nvidia-smi, or set device: cpu'}"
    return None


def run(call: Callable[[str], Any], device: str, *, fall_back: bool) -> tuple[Any, str]:
    """``call(device)`` on ``cpu`` or ``gpu``, and the name of the device that did it.

    Where the GPU fails under way, ``call("cpu")`` starts again if ``fall_back``, with a line on standard output and in the name;
    else ``RuntimeError`` tells the remedy.
    """
    if device == "cpu":
        return call("cpu"), "cpu"
    try:
        return call("gpu"), device_name()
    except Exception as error:
        problem = failure(error)
        if problem is None:
            raise
        if not fall_back:
            raise RuntimeError(problem) from error
        print(f"{problem}; device: auto starts again on the CPU", flush=True)
    # Outside the handler, whose traceback would hold the arrays of the GPU.
    return call("cpu"), f"cpu ({problem.partition(': ')[0]})"


def accumulate(program: Program, x: Any, y: Any, shift: Any, index: Any | None = None) -> Any:
    """All columns of ``program``, (R, rows, n), for points x (R, n, d) and sources y (R or 1, m, d) in units of h.

    CuPy arrays, float32 or float64. The decay is exp(shift - exponent) with shift (R, n), at most 700 above the smallest
    exponent of any source that counts. With ``program.exclude_self`` the source of the same index is left out; ``index``
    (n,) gives the points' indices where they are not 0..n-1. Raises ``RuntimeError`` without a GPU.
    """
    xp = namespace()
    return _run(xp, accumulate_source(program, str(x.dtype)), x, y, xp.ascontiguousarray(shift, dtype=x.dtype), index)


def nearest(x: Any, y: Any, index: Any | None = None) -> Any:
    """Smallest |y_j - x_i|^2 over j, (R, n); ``index`` (n,) gives each point's own source, which is left out."""
    xp = namespace()
    source = nearest_source(x.shape[2], str(x.dtype), index is not None)
    return _run(xp, source, x, y, None, index)[:, 0]


def _run(xp: Any, source: Source, x: Any, y: Any, shift: Any | None, index: Any | None) -> Any:
    (replicates, n, d), m = x.shape, y.shape[1]
    x, y = xp.ascontiguousarray(x), xp.ascontiguousarray(y, dtype=x.dtype)
    out = xp.empty((replicates, source.rows, n), dtype=x.dtype)
    if out.size == 0:
        return out
    pairs, combine = _kernels(source.text, str(x.dtype))
    null = np.int64(0)
    threads = min(THREADS, -(-n // (32 * source.points)) * 32)
    blocks = -(-n // (threads * source.points))
    wanted = _BLOCKS_PER_MULTIPROCESSOR * _multiprocessors() * THREADS // (threads * blocks * replicates)
    chunk = -(-m // (source.tile * max(1, wanted))) * source.tile
    slices = -(-m // chunk)
    parts = out if slices == 1 else xp.empty((slices, *out.shape), dtype=x.dtype)
    arguments = (
        x,
        y,
        null if shift is None else shift,
        null if index is None else xp.ascontiguousarray(index, dtype=np.int64),
        parts,
        np.int32(n),
        np.int32(m),
        np.int32(blocks),
        np.int32(chunk),
        np.int64(m * d if y.shape[0] > 1 else 0),
    )
    pairs((blocks * replicates, slices), (threads,), arguments)
    if slices > 1:
        combine((-(-out.size // THREADS),), (THREADS,), (parts, out, np.int64(out.size), np.int32(slices)))
    return out


@cache
def _kernels(text: str, dtype: str) -> tuple[Any, Any]:
    module = namespace().RawModule(code=text, options=OPTIONS[dtype])
    return module.get_function("pairs"), module.get_function("combine")


@cache
def _multiprocessors() -> int:
    cupy = namespace()
    return int(cupy.cuda.Device().attributes["MultiProcessorCount"])
