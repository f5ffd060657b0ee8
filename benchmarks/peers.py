"""Who else can compute S0 = sum K, S1 = sum K (y - x), S2 = sum K |y - x|^2 of a Gaussian kernel: one factory per contender.

A factory takes points x (n, d), sources y (m, d) of one dtype, the bandwidth h and the number of threads, prepares what a user would keep
between calls, and returns a function without arguments. That function returns (S0, S1, S2), or S0 alone where the library has no more.
A factory raises ``ImportError`` where its package is missing, ``NotImplementedError`` where it cannot do the case.
"""

from __future__ import annotations

import ctypes
import math
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

PEERS: dict[str, Callable[..., Callable[[], Any]]] = {}
PACKAGES: dict[str, str] = {}
"""Distribution whose version is recorded with a contender."""

_BLOCK = 1_000_000


def peer(name: str, package: str) -> Callable[[Any], Any]:
    """Register a factory under ``name``."""

    def register(factory: Any) -> Any:
        PEERS[name], PACKAGES[name] = factory, package
        return factory

    return register


def _blocks(n: int, m: int, pairs: int = _BLOCK) -> list[slice]:
    rows = max(1, pairs // m)
    return [slice(i, min(i + rows, n)) for i in range(0, n, rows)]


def _engine(name: str, **options: Any) -> Callable[..., Callable[[], Any]]:
    def factory(x: np.ndarray, y: np.ndarray, h: float, threads: int) -> Callable[[], Any]:
        from driftrates import kernels
        from driftrates.sums import cpu, kernel_sums

        kernel = kernels.make("gaussian")
        cpu.set_threads(threads)

        def call() -> Any:
            scale, terms = kernel_sums(x[None], y[None], kernel, h, ("k", "kz", "gzz"), engine=name, **options)
            return terms["k"][0], h * terms["kz"][0], h * h * terms["gzz"][0]

        return call

    return factory


peer("driftrates cpu", "driftrates")(_engine("cpu"))
peer("driftrates nufft 1e-6", "finufft")(_engine("nufft", rtol=1e-6))
peer("driftrates nufft 1e-12", "finufft")(_engine("nufft", rtol=1e-12))


@peer("numpy broadcast", "numpy")
def numpy_broadcast(x: np.ndarray, y: np.ndarray, h: float, threads: int) -> Callable[[], Any]:
    c = x.dtype.type(-0.5 / (h * h))

    def call() -> Any:
        out = np.empty(len(x), x.dtype), np.empty_like(x), np.empty(len(x), x.dtype)
        for rows in _blocks(len(x), len(y), 200_000):
            z = y[None] - x[rows, None]
            r2 = (z * z).sum(-1)
            k = np.exp(c * r2)
            out[0][rows], out[1][rows], out[2][rows] = k.sum(1), np.einsum("ij,ijk->ik", k, z), (k * r2).sum(1)
        return out

    return call


def _gemm(xp: Any, exp: Callable[[Any], Any], x: Any, y: Any, h: float, empty: Callable[..., Any]) -> Callable[[], Any]:
    """|y - x|^2 from a matrix product, and the sums from a second one with the columns 1, y, |y|^2."""
    y2 = (y * y).sum(1)
    right = xp.concatenate([xp.ones_like(y2)[:, None], y, y2[:, None]], 1)
    d = x.shape[1]

    def call() -> Any:
        out = empty((len(x), d + 2))
        for rows in _blocks(len(x), len(y)):
            block = x[rows]
            x2 = (block * block).sum(1)
            k = exp((block @ y.T - 0.5 * y2[None] - 0.5 * x2[:, None]) / (h * h))
            s = k @ right
            out[rows, 0] = s[:, 0]
            out[rows, 1:-1] = s[:, 1:-1] - block * s[:, :1]
            out[rows, -1] = s[:, -1] - 2 * (block * s[:, 1:-1]).sum(1) + x2 * s[:, 0]
        return out[:, 0], out[:, 1:-1], out[:, -1]

    return call


@peer("numpy GEMM", "numpy")
def numpy_gemm(x: np.ndarray, y: np.ndarray, h: float, threads: int) -> Callable[[], Any]:
    return _gemm(np, np.exp, x, y, h, lambda shape: np.empty(shape, x.dtype))


@peer("scipy gaussian_kde (S0)", "scipy")
def scipy_kde(x: np.ndarray, y: np.ndarray, h: float, threads: int) -> Callable[[], Any]:
    from scipy.stats import gaussian_kde

    if x.dtype != np.float64:
        raise NotImplementedError("float64 only")
    kde = gaussian_kde(y.T, bw_method=1.0)
    # The library ties its bandwidth to the covariance of the data: set ours in its place.
    kde.covariance, kde.cho_cov = np.eye(x.shape[1]) * h * h, np.eye(x.shape[1]) * h
    kde.log_det = 2 * x.shape[1] * math.log(h * math.sqrt(2 * math.pi))
    factor = len(y) * (2 * math.pi * h * h) ** (x.shape[1] / 2)
    return lambda: kde(x.T) * factor


def _tree(rtol: float) -> Callable[..., Callable[[], Any]]:
    def factory(x: np.ndarray, y: np.ndarray, h: float, threads: int) -> Callable[[], Any]:
        from sklearn.neighbors import KernelDensity

        if x.dtype != np.float64:
            raise NotImplementedError("float64 only")
        tree = KernelDensity(bandwidth=h, rtol=rtol).fit(y)
        factor = len(y) * (2 * math.pi * h * h) ** (x.shape[1] / 2)
        return lambda: np.exp(tree.score_samples(x)) * factor

    return factory


peer("scikit-learn KernelDensity (S0)", "scikit-learn")(_tree(0.0))
peer("scikit-learn KernelDensity rtol 1e-6 (S0)", "scikit-learn")(_tree(1e-6))


@peer("KeOps fused", "pykeops")
def keops(x: np.ndarray, y: np.ndarray, h: float, threads: int) -> Callable[[], Any]:
    import pykeops
    from pykeops.numpy import Genred

    pykeops.set_verbose(False)
    d = x.shape[1]
    formula = "Exp(-G*SqDist(X,Y))*Concat(Concat(IntCst(1),Y-X),SqDist(X,Y))"
    fused = Genred(formula, [f"X=Vi({d})", f"Y=Vj({d})", "G=Pm(1)"], reduction_op="Sum", axis=1)
    gamma = np.array([0.5 / (h * h)], x.dtype)

    def call() -> Any:
        out = fused(x, y, gamma, backend="CPU")
        return out[:, 0], out[:, 1:-1], out[:, -1]

    return call


def _torch(x: np.ndarray, y: np.ndarray, threads: int) -> Any:
    import torch

    torch.set_num_threads(threads)
    return torch, torch.from_numpy(x), torch.from_numpy(y)


@peer("torch broadcast", "torch")
def torch_broadcast(x: np.ndarray, y: np.ndarray, h: float, threads: int) -> Callable[[], Any]:
    torch, a, b = _torch(x, y, threads)

    def call() -> Any:
        out = torch.empty((len(a), a.shape[1] + 2), dtype=a.dtype)
        for rows in _blocks(len(a), len(b), 200_000):
            z = b[None] - a[rows, None]
            r2 = (z * z).sum(-1)
            k = torch.exp(r2 * (-0.5 / (h * h)))
            out[rows, 0], out[rows, 1:-1], out[rows, -1] = k.sum(1), torch.einsum("ij,ijk->ik", k, z), (k * r2).sum(1)
        return out[:, 0].numpy(), out[:, 1:-1].numpy(), out[:, -1].numpy()

    return call


@peer("torch GEMM", "torch")
def torch_gemm(x: np.ndarray, y: np.ndarray, h: float, threads: int) -> Callable[[], Any]:
    torch, a, b = _torch(x, y, threads)
    call = _gemm(torch, torch.exp, a, b, h, lambda shape: torch.empty(shape, dtype=a.dtype))
    return lambda: tuple(t.numpy() for t in call())


@peer("torch.compile", "torch")
def torch_compile(x: np.ndarray, y: np.ndarray, h: float, threads: int) -> Callable[[], Any]:
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
    import jax

    if threads != 1:
        raise NotImplementedError("XLA takes its number of threads from the process")
    jax.config.update("jax_enable_x64", True)
    return jax, jax.numpy.asarray(x), jax.numpy.asarray(y)


@peer("jax GEMM in scan", "jax")
def jax_gemm(x: np.ndarray, y: np.ndarray, h: float, threads: int) -> Callable[[], Any]:
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


@peer("jax map of rows", "jax")
def jax_map(x: np.ndarray, y: np.ndarray, h: float, threads: int) -> Callable[[], Any]:
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


@peer("C++ AVX-512", "")
def native(x: np.ndarray, y: np.ndarray, h: float, threads: int) -> Callable[[], Any]:
    """benchmarks/native.cpp through the system's compiler."""
    compiler = shutil.which("g++") or shutil.which("clang++")
    if compiler is None:
        raise ImportError("no C++ compiler")
    if threads != 1 or x.dtype != np.float64 or x.shape[1] > 10:
        raise NotImplementedError("one thread, float64, d <= 10")
    folder = Path(tempfile.mkdtemp(prefix="driftrates-native-"))
    library = folder / "native.so"
    source = Path(__file__).with_name("native.cpp")
    flags = ["-O3", "-march=native", "-std=c++17", "-shared", "-fPIC", f"-DDIMENSION={x.shape[1]}"]
    done = subprocess.run([compiler, *flags, str(source), "-o", str(library)], capture_output=True, text=True)
    if done.returncode:
        raise NotImplementedError(done.stderr.strip().splitlines()[-1])
    function = ctypes.CDLL(str(library)).gaussian_sums
    function.argtypes = [ctypes.c_void_p] * 3 + [ctypes.c_int64] * 2
    scale = math.sqrt(math.log2(math.e) / 2) / h
    d, padded = x.shape[1], -(-len(x) // 8) * 8

    def call() -> Any:
        points = np.zeros((d, padded))
        points[:, : len(x)] = x.T * scale
        sources = np.ascontiguousarray(y * scale)
        out = np.empty((d + 2, padded))
        function(points.ctypes.data, sources.ctypes.data, out.ctypes.data, padded, len(y))
        return out[0, : len(x)], out[1:-1, : len(x)].T / scale, out[-1, : len(x)] / scale**2

    return call
