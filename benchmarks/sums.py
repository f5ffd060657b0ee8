"""Throughput of the kernel sums beside their peers: `python benchmarks/sums.py` writes one table of paired, alternating runs.

    python benchmarks/sums.py --output benchmarks/results/NAME.csv         every peer that is installed, every case
    python benchmarks/sums.py --sizes 1000 5000 --dimensions 2             a part of it
    python benchmarks/sums.py --list                                       the contenders and what is missing

Every contender is first compared with the reference. In each round all contenders of a case run once, one after the other, so that a
noisy minute falls on all of them; ratios are taken within a round, and their median is reported with its quartiles.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

sys.path.insert(0, str(Path(__file__).parent))
from peers import PACKAGES, PEERS  # noqa: E402

from driftrates import kernels  # noqa: E402
from driftrates.sums import kernel_sums  # noqa: E402

BASE = "driftrates cpu"
ACCURACY = {"float64": 1e-9, "float32": 3e-3}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dimensions", type=int, nargs="+", default=[1, 2, 3, 5, 10])
    parser.add_argument("--sizes", type=int, nargs="+", default=[1000, 10000])
    parser.add_argument("--dtypes", nargs="+", choices=list(ACCURACY), default=list(ACCURACY))
    parser.add_argument("--threads", type=int, nargs="+", default=[1])
    parser.add_argument("--peers", nargs="+", choices=list(PEERS), default=list(PEERS))
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=0.05, help="least time of one measurement")
    parser.add_argument("--slowest", type=float, default=20.0, help="contenders slower than this (seconds a call) are left out of a case")
    parser.add_argument("--output", type=Path)
    parser.add_argument("--list", action="store_true")
    arguments = parser.parse_args()
    if arguments.list:
        for name, package in PACKAGES.items():
            print(f"{name:42s} {version(package)}")
        return
    rows = []
    for case in cases(arguments):
        rows += run(case, arguments)
    table = pd.DataFrame(rows)
    print(table.drop(columns=["pairs_per_second_low", "pairs_per_second_high"]).to_string(index=False))
    if arguments.output:
        arguments.output.parent.mkdir(parents=True, exist_ok=True)
        table.to_csv(arguments.output, index=False)
        arguments.output.with_suffix(".json").write_text(json.dumps(machine(), indent=2) + "\n")


def cases(arguments: argparse.Namespace) -> Iterator[dict[str, Any]]:
    for threads in arguments.threads:
        for dtype in arguments.dtypes:
            for d in arguments.dimensions:
                for n in arguments.sizes:
                    yield {"d": d, "n": n, "dtype": dtype, "threads": threads}


def run(case: dict[str, Any], arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Rows of one case: median pairs per second of every contender, and how many times slower than the base it is."""
    rng = np.random.default_rng(case["n"])
    x = rng.normal(size=(case["n"], case["d"])).astype(case["dtype"])
    # The width that Silverman's rule gives: every point has many neighbours.
    h = (4 / ((case["d"] + 2) * case["n"])) ** (1 / (case["d"] + 4))
    with threadpool_limits(case["threads"]):
        calls, notes = {}, {}
        for name in dict.fromkeys([BASE, *arguments.peers]):
            try:
                call = PEERS[name](x, x, h, case["threads"])
                begin = time.perf_counter()
                found = call()
                notes[name] = {"first_call_seconds": time.perf_counter() - begin}
                check(name, found, x, h)
            except (ImportError, NotImplementedError, ValueError) as error:
                print(f"{case}: {name} left out: {error}", file=sys.stderr)
                continue
            seconds = once(call)
            if seconds <= arguments.slowest:
                calls[name] = call, max(1, round(arguments.seconds / seconds))
        times: dict[str, list[float]] = {name: [] for name in calls}
        for _ in range(arguments.rounds):
            for name, (call, repeats) in calls.items():
                begin = time.perf_counter()
                for _ in range(repeats):
                    call()
                times[name].append((time.perf_counter() - begin) / repeats)
    rows = []
    for name, seconds in times.items():
        ratio = [a / b for a, b in zip(seconds, times[BASE], strict=True)]
        low, _, high = statistics.quantiles(seconds, n=4)
        rows.append(
            {
                **case,
                "contender": name,
                "version": version(PACKAGES[name]),
                "first_call_seconds": notes[name]["first_call_seconds"],
                "seconds": statistics.median(seconds),
                "pairs_per_second": case["n"] ** 2 / statistics.median(seconds),
                "pairs_per_second_low": case["n"] ** 2 / high,
                "pairs_per_second_high": case["n"] ** 2 / low,
                "times_slower": statistics.median(ratio),
                "times_slower_low": statistics.quantiles(ratio, n=4)[0],
                "times_slower_high": statistics.quantiles(ratio, n=4)[2],
                "rounds": arguments.rounds,
            }
        )
        print(f"{case}  {name:42s} {rows[-1]['pairs_per_second']:.3g} pairs/s, {rows[-1]['times_slower']:.2f} x slower", flush=True)
    return rows


def once(call: Callable[[], Any]) -> float:
    begin = time.perf_counter()
    call()
    return time.perf_counter() - begin


def check(name: str, found: Any, x: np.ndarray, h: float) -> None:
    """Raise ``ValueError`` where a contender's sums are wrong at the first points."""
    some = x[:64].astype(np.float64)
    terms = kernel_sums(some[None], x[None].astype(np.float64), kernels.make("gaussian"), h, ("k", "kz", "gzz"), engine="reference").terms
    found = found if isinstance(found, tuple) else (found,)
    tolerance = 1e-5 if "1e-6" in name else ACCURACY[str(x.dtype)]
    for value, exact in zip(found, (terms["k"][0], h * terms["kz"][0], h * h * terms["gzz"][0]), strict=False):
        error = np.abs(np.asarray(value)[:64] - exact).max() / np.abs(exact).max()
        if not error < tolerance:
            raise ValueError(f"wrong by {error:.1e}")


def version(package: str) -> str:
    try:
        return importlib.metadata.version(package) if package else "system compiler"
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def machine() -> dict[str, Any]:
    """What the numbers depend on."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.processor())
    features = next((line.partition(":")[2].split() for line in lines if line.startswith("flags")), [])
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "processor": model,
        "vector instructions": [f for f in ("avx2", "fma", "avx512f", "avx512dq", "neon") if f in features],
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "versions": {package: version(package) for package in sorted({*PACKAGES.values()} - {""})},
    }


if __name__ == "__main__":
    main()
