"""Who else can compute S0 = sum K, S1 = sum K (y - x), S2 = sum K |y - x|^2 of a Gaussian kernel: one factory per contender.

A factory takes points x (n, d), sources y (m, d) of one dtype, the bandwidth h and the number of threads, prepares what a user would keep
between calls, and returns a function without arguments. That function returns (S0, S1, S2), or S0 alone where the library has no more.
A factory raises ``ImportError`` where its package is missing, ``NotImplementedError`` where it cannot do the case. Those that need
no more than this project are in `driftrates.performance.passes`.
"""

from __future__ import annotations

import ctypes
import math
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from driftrates import kernels
from driftrates.performance import passes
from driftrates.performance.passes import Call, engine
from driftrates.sums import cpu, dense
from driftrates.sums.program import compile_terms


class Peer(NamedTuple):
    """A factory, the distribution whose version is recorded, and the largest error that its own accuracy allows in float64.

    ``outputs``: all, or S0 alone. ``compiles``: its first call does; ``slow_start``: for many seconds. ``parallel``: it can use
    several threads. ``order``: its time grows like N to this power. ``least``: points below which it is not worth its start.
    """

    factory: Callable[..., Call]
    package: str
    tolerance: float = 1e-9
    outputs: str = "all"
    compiles: bool = False
    slow_start: bool = False
    parallel: bool = True
    order: int = 2
    least: int = 0


PEERS: dict[str, Peer] = {}


def peer(name: str, package: str, **options: Any) -> Callable[[Any], Any]:
    """Register a factory under ``name``."""

    def register(factory: Any) -> Any:
        PEERS[name] = Peer(factory, package, **options)
        return factory

    return register


for name, (factory, package) in passes.LIVE.items():
    density = package == "scipy"
    PEERS[name] = Peer(factory, package, outputs="S0" if density else "all", parallel=not density)
for digits in (6, 12):
    peer(f"driftrates nufft 1e-{digits}", "finufft", tolerance=10.0 ** (1 - digits), order=1)(engine("nufft", rtol=10.0**-digits))
peer("driftrates cells 1e-12", "driftrates", tolerance=1e-11)(engine("cells", rtol=1e-12))
peer("driftrates, its choice at 1e-12", "driftrates", tolerance=1e-11, order=1)(engine(None, rtol=1e-12))


@peer("driftrates dense", "driftrates")
def matrix_products(x: np.ndarray, y: np.ndarray, h: float, threads: int) -> Call:
    """The form for many dimensions, wherever the line between it and the compiled one is drawn."""
    program = compile_terms(kernels.make("gaussian"), x.shape[1], ("k", "kz", "gzz"))
    cpu.set_threads(threads)

    def call() -> Any:
        columns = dense.accumulate(program, x[None] / h, y[None] / h, np.zeros((1, len(x)), x.dtype), run=cpu.run)[0]
        return columns[0], h * columns[1:-1].T, h * h * columns[-1]

    return call


def _blocks(n: int, m: int, pairs: int = 200_000) -> list[slice]:
    rows = max(1, pairs // m)
    return [slice(i, min(i + rows, n)) for i in range(0, n, rows)]


@peer("numpy broadcast", "numpy", parallel=False)
def numpy_broadcast(x: np.ndarray, y: np.ndarray, h: float, threads: int) -> Call:
    c = x.dtype.type(-0.5 / (h * h))

    def call() -> Any:
        out = np.empty(len(x), x.dtype), np.empty_like(x), np.empty(len(x), x.dtype)
        for rows in _blocks(len(x), len(y)):
            z = y[None] - x[rows, None]
            r2 = (z * z).sum(-1)
            k = np.exp(c * r2)
            out[0][rows], out[1][rows], out[2][rows] = k.sum(1), np.einsum("ij,ijk->ik", k, z), (k * r2).sum(1)
        return out

    return call


@peer("numexpr + GEMM", "numexpr")
def numexpr_gemm(x: np.ndarray, y: np.ndarray, h: float, threads: int) -> Call:
    """The squared distance and its exponential in one expression over blocks in the cache, the sums by a product."""
    import numexpr

    numexpr.set_num_threads(threads)
    d, c = x.shape[1], x.dtype.type(-0.5 / (h * h))
    y2 = (y * y).sum(1)
    right = np.concatenate([np.ones_like(y2)[:, None], y, y2[:, None]], 1)
    expression = f"exp(c * ({' + '.join(f'(x{k} - y{k}) ** 2' for k in range(d))}))"
    columns = {f"y{k}": np.ascontiguousarray(y[None, :, k]) for k in range(d)}

    def call() -> Any:
        out = np.empty((len(x), d + 2), x.dtype)
        for rows in _blocks(len(x), len(y)):
            block = x[rows]
            s = numexpr.evaluate(expression, {"c": c, **columns, **{f"x{k}": block[:, k, None] for k in range(d)}}) @ right
            out[rows, 0], out[rows, 1:-1] = s[:, 0], s[:, 1:-1] - block * s[:, :1]
            out[rows, -1] = s[:, -1] - 2 * (block * s[:, 1:-1]).sum(1) + (block * block).sum(1) * s[:, 0]
        return out[:, 0], out[:, 1:-1], out[:, -1]

    return call


def tree(rtol: float) -> passes.Factory:
    """S0 by scikit-learn's tree at a relative tolerance."""

    def factory(x: np.ndarray, y: np.ndarray, h: float, threads: int) -> Call:
        from sklearn.neighbors import KernelDensity

        if x.dtype != np.float64:
            raise NotImplementedError("float64 only")
        fitted = KernelDensity(bandwidth=h, rtol=rtol).fit(y)
        factor = len(y) * (2 * math.pi * h * h) ** (x.shape[1] / 2)
        return lambda: np.exp(fitted.score_samples(x)) * factor

    return factory


TREE = "scikit-learn KernelDensity"
peer(TREE, "scikit-learn", outputs="S0", parallel=False)(tree(0.0))
peer(f"{TREE} 1e-6", "scikit-learn", tolerance=1e-5, outputs="S0", parallel=False)(tree(1e-6))


_KERNEL = "Exp(-G*SqDist(X,Y))"


def _keops(*formulas: str) -> passes.Factory:
    def factory(x: np.ndarray, y: np.ndarray, h: float, threads: int) -> Call:
        import pykeops
        from pykeops.numpy import Genred

        pykeops.set_verbose(False)
        variables = [f"X=Vi({x.shape[1]})", f"Y=Vj({x.shape[1]})", "G=Pm(1)"]
        sums = [Genred(formula, variables, reduction_op="Sum", axis=1) for formula in formulas]
        gamma = np.array([0.5 / (h * h)], x.dtype)

        def call() -> Any:
            out = np.concatenate([s(x, y, gamma, backend="CPU") for s in sums], 1)
            return out[:, 0], out[:, 1:-1], out[:, -1]

        return call

    return factory


peer("KeOps, fused", "pykeops", slow_start=True)(_keops(f"{_KERNEL}*Concat(Concat(IntCst(1),Y-X),SqDist(X,Y))"))
peer("KeOps, separate", "pykeops", slow_start=True)(_keops(_KERNEL, f"{_KERNEL}*(Y-X)", f"{_KERNEL}*SqDist(X,Y)"))


def _torch(x: np.ndarray, y: np.ndarray, threads: int) -> Any:
    import torch

    torch.set_num_threads(threads)
    return torch, torch.from_numpy(x), torch.from_numpy(y)


@peer("torch broadcast", "torch")
def torch_broadcast(x: np.ndarray, y: np.ndarray, h: float, threads: int) -> Call:
    torch, a, b = _torch(x, y, threads)

    def call() -> Any:
        out = torch.empty((len(a), a.shape[1] + 2), dtype=a.dtype)
        for rows in _blocks(len(a), len(b)):
            z = b[None] - a[rows, None]
            r2 = (z * z).sum(-1)
            k = torch.exp(r2 * (-0.5 / (h * h)))
            out[rows, 0], out[rows, 1:-1], out[rows, -1] = k.sum(1), torch.einsum("ij,ijk->ik", k, z), (k * r2).sum(1)
        return out[:, 0].numpy(), out[:, 1:-1].numpy(), out[:, -1].numpy()

    return call


@peer("torch GEMM", "torch")
def torch_gemm(x: np.ndarray, y: np.ndarray, h: float, threads: int) -> Call:
    torch, a, b = _torch(x, y, threads)
    call = passes.gemm(torch, torch.exp, a, b, h, lambda shape: torch.empty(shape, dtype=a.dtype))
    return lambda: tuple(t.numpy() for t in call())


@peer("torch.compile", "torch", slow_start=True, least=1000)
def torch_compile(x: np.ndarray, y: np.ndarray, h: float, threads: int) -> Call:
    torch, a, b = _torch(x, y, threads)
    d, c = x.shape[1], -0.5 / (h * h)

    @torch.compile(dynamic=False)
    def sums(columns_x: Any, columns_y: Any) -> Any:
        z = [columns_y[k][None] - columns_x[k][:, None] for k in range(d)]
        r2 = sum(v * v for v in z)
        k = torch.exp(c * r2)
        return [k.sum(1), *((k * v).sum(1) for v in z), (k * r2).sum(1)]

    columns = [[t[:, k].contiguous() for k in range(d)] for t in (a, b)]

    def call() -> Any:
        out = [t.numpy() for t in sums(*columns)]
        return out[0], np.stack(out[1:-1], 1), out[-1]

    return call


def _jax(x: np.ndarray, y: np.ndarray, threads: int) -> Any:
    import jax  # whose threads are as many as the processors that the process may use

    jax.config.update("jax_enable_x64", True)
    return jax, jax.numpy.asarray(x), jax.numpy.asarray(y)


@peer("jax GEMM in scan", "jax", compiles=True)
def jax_gemm(x: np.ndarray, y: np.ndarray, h: float, threads: int) -> Call:
    jax, a, b = _jax(x, y, threads)
    xp, d = jax.numpy, x.shape[1]
    rows = math.gcd(len(x), 250) if len(x) >= 1000 else len(x)

    @jax.jit
    def sums(a: Any, b: Any) -> Any:
        b2 = (b * b).sum(1)
        right = xp.concatenate([xp.ones_like(b2)[:, None], b, b2[:, None]], 1)

        def step(_: Any, block: Any) -> Any:
            a2 = (block * block).sum(1)
            s = xp.exp((block @ b.T - 0.5 * b2[None] - 0.5 * a2[:, None]) / (h * h)) @ right
            first = s[:, 1:-1] - block * s[:, :1]
            second = s[:, -1] - 2 * (block * s[:, 1:-1]).sum(1) + a2 * s[:, 0]
            return None, xp.concatenate([s[:, :1], first, second[:, None]], 1)

        return jax.lax.scan(step, None, a.reshape(-1, rows, d))[1].reshape(-1, d + 2)

    def call() -> Any:
        out = np.asarray(sums(a, b))
        return out[:, 0], out[:, 1:-1], out[:, -1]

    return call


@peer("jax map of rows", "jax", compiles=True)
def jax_map(x: np.ndarray, y: np.ndarray, h: float, threads: int) -> Call:
    jax, a, b = _jax(x, y, threads)
    xp = jax.numpy

    @jax.jit
    def sums(a: Any, b: Any) -> Any:
        def row(point: Any) -> Any:
            z = b - point
            r2 = (z * z).sum(1)
            k = xp.exp(-0.5 / (h * h) * r2)
            return xp.concatenate([k.sum()[None], k @ z, (k @ r2)[None]])

        return jax.lax.map(row, a)

    def call() -> Any:
        out = np.asarray(sums(a, b))
        return out[:, 0], out[:, 1:-1], out[:, -1]

    return call


def compile_native(d: int, dtype: str, target: Path, *flags: str) -> Path:
    """benchmarks/native.cpp through the system's compiler: ``target``. Raises ``ImportError`` without one that knows AVX-512."""
    compiler = shutil.which("g++") or shutil.which("clang++")
    if compiler is None:
        raise ImportError("no C++ compiler")
    options = ["-O3", "-march=native", "-std=c++17", f"-DDIMENSION={d}", *(["-DSINGLE"] if dtype == "float32" else []), *flags]
    done = subprocess.run([compiler, *options, Path(__file__).with_name("native.cpp"), "-o", target], capture_output=True, text=True)
    if done.returncode:
        raise ImportError(done.stderr.strip().splitlines()[-1])
    return target


@cache
def _native(d: int, dtype: str) -> Any:
    with tempfile.TemporaryDirectory(prefix="driftrates-native-") as folder:
        function = ctypes.CDLL(str(compile_native(d, dtype, Path(folder) / "native.so", "-shared", "-fPIC"))).gaussian_sums
    function.argtypes = [ctypes.c_void_p] * 3 + [ctypes.c_int64] * 2
    return function


NATIVE = "C++ AVX-512"


@peer(NATIVE, "", parallel=False)
def native(x: np.ndarray, y: np.ndarray, h: float, threads: int) -> Call:
    """benchmarks/native.cpp, with the layout of its arrays made at each call."""
    d, lanes = x.shape[1], 64 // x.itemsize
    if d > 10:
        raise NotImplementedError("d <= 10")
    function, scale, padded = _native(d, str(x.dtype)), math.sqrt(math.log2(math.e) / 2) / h, -(-len(x) // lanes) * lanes

    def call() -> Any:
        points = np.zeros((d, padded), x.dtype)
        points[:, : len(x)] = x.T * scale
        sources = np.ascontiguousarray(y * x.dtype.type(scale))
        out = np.empty((d + 2, padded), x.dtype)
        function(points.ctypes.data, sources.ctypes.data, out.ctypes.data, padded, len(y))
        return out[0, : len(x)], out[1:-1, : len(x)].T / scale, out[-1, : len(x)] / scale**2

    return call
