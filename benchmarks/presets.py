"""What `benchmarks/sums.py` measures in 2, 15 and 60 minutes on two quiet cores."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from peers import PEERS  # noqa: E402


@dataclass(frozen=True)
class Sweep:
    """Cases of the throughput: every combination. ``slowest``: seconds of a call that are still waited for."""

    dimensions: tuple[int, ...] = (2,)
    sizes: tuple[int, ...] = (1000, 10_000)
    dtypes: tuple[str, ...] = ("float64",)
    threads: int = 1
    slowest: float = 1.5
    slow_starts: bool = True
    peers: tuple[str, ...] = tuple(PEERS)


@dataclass(frozen=True)
class Preset:
    """What is measured: sweeps, (kernel, d, n, h) of the accuracy with its tolerances, and the largest N of the scaling."""

    minutes: float
    sweeps: tuple[Sweep, ...]
    accuracy: tuple[tuple[str, int, int, float | None], ...]
    tolerances: tuple[float, ...]
    largest: int
    slowest: float
    rounds: int = 7
    budget: float = 2.0


_WITHOUT_SEPARATE = tuple(name for name in PEERS if name != "KeOps, separate")
"""Each of its reductions compiles as long as the fused one."""
_CURVE = (64, 100, 300, 1000, 3000, 10_000, 30_000, 100_000)
PRESETS = {
    "quick": Preset(
        minutes=2,
        sweeps=(Sweep(sizes=(64, 1000, 3000), slow_starts=False, slowest=0.5), Sweep(threads=2, sizes=(3000,), slow_starts=False)),
        accuracy=(("gaussian", 2, 3000, None), ("laplace", 2, 3000, None)),
        tolerances=(1e-3, 1e-6, 1e-12),
        largest=100_000,
        slowest=1.0,
        rounds=5,
        budget=0.3,
    ),
    "standard": Preset(
        minutes=15,
        sweeps=(
            Sweep(sizes=_CURVE, slowest=7.0),
            Sweep(threads=2, sizes=(3000, 10_000), slowest=2.0),
            Sweep(dimensions=(1, 3), slow_starts=False),
            Sweep(dimensions=(10,), peers=_WITHOUT_SEPARATE),
            Sweep(dtypes=("float32",), peers=_WITHOUT_SEPARATE),
            Sweep(dtypes=("float32",), dimensions=(10,), slow_starts=False),
        ),
        accuracy=(("gaussian", 2, 10_000, None), ("gaussian", 2, 100_000, 0.01), ("laplace", 2, 30_000, None)),
        tolerances=(1e-3, 1e-6, 1e-9, 1e-12),
        largest=10_000_000,
        slowest=30.0,
    ),
    "full": Preset(
        minutes=60,
        sweeps=(
            Sweep(sizes=_CURVE, slowest=20.0),
            Sweep(threads=2, sizes=(1000, 10_000, 100_000), slowest=4.0),
            Sweep(dimensions=(1, 3, 5, 10), sizes=(1000, 10_000), slowest=4.0),
            Sweep(dtypes=("float32",), dimensions=(1, 2, 3, 5, 10), slowest=4.0),
        ),
        accuracy=(
            *(("gaussian", d, n, None) for d in (1, 2, 3) for n in (10_000, 100_000)),
            ("gaussian", 2, 100_000, 0.01),
            *(("laplace", d, 30_000, None) for d in (2, 3)),
        ),
        tolerances=(1e-3, 1e-4, 1e-6, 1e-8, 1e-10, 1e-12),
        largest=10_000_000,
        slowest=60.0,
        budget=4.0,
    ),
}
SCALING = (
    ("driftrates cpu", "cpu", "gaussian", 2, None),
    ("driftrates nufft", "nufft", "gaussian", 1, 1e-12),
    ("driftrates nufft", "nufft", "gaussian", 2, 1e-12),
    ("driftrates line", "line", "laplace", 1, None),
    ("driftrates ewald", "ewald", "laplace", 2, 1e-6),
)
"""(contender, engine, kernel, d, rtol) of the times of one pass against N."""
