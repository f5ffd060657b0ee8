"""Everything that needs a GPU, in one command: `python benchmarks/gpu.py` checks the CUDA engines, then measures them.

    python benchmarks/gpu.py                     everything, about 20 minutes; results to benchmarks/results/CARD-DATE.{csv,json}
    python benchmarks/gpu.py --quick             a few sizes, at most about 4 minutes
    python benchmarks/gpu.py --only checks sums  some of the parts: checks, sums, nufft, flow

checks: every kernel, precision and dimension against the NumPy reference; 100 steps on the CPU and on the GPU.
sums: pairs per second of the direct engine beside KeOps and torch.compile where they are installed, as a fraction of the counted roofline.
nufft: the transform against the direct sums in time and error. flow: one simulation of an experiment from start to end, CPU and GPU.
A wrong result, and a GPU that is missing, end in one line and the exit status 1.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).parent))
import roofline  # noqa: E402

from driftrates import flow, kernels  # noqa: E402
from driftrates.fields import DriftField, SmoothedPoints  # noqa: E402
from driftrates.simulate import simulate_flow  # noqa: E402
from driftrates.sums import TERMS, cuda, cunufft, kernel_sums  # noqa: E402
from driftrates.sums.program import compile_terms  # noqa: E402

PARTS = ("checks", "sums", "nufft", "flow")
TOLERANCE = {"float64": 1e-11, "float32": 5e-4}
TRAJECTORY = 1e-10
EXPERIMENT = {
    "name": "gpu",
    "field": "conservative",
    "kernel": {"name": "gaussian"},
    "target": {"mixture": {"weights": [0.5, 0.5], "means": [[-1.5, 0.0], [1.5, 0.0]], "standard_deviations": [0.5, 0.5]}},
    "start": {"gaussian": {"mean": 0.0, "standard_deviation": 2.0}},
    "bandwidth": 0.3,
    "replicates": 4,
    "times": {"spacing": "linear", "stop": 1.0, "count": 5},
    "integrator": {"method": "dormand_prince", "rtol": 1e-8, "atol": 1e-10},
    "dtype": "float64",
    "entropy": False,
    "leave_one_out": False,
    "smooth_target": True,
    "keep_clouds": 2,
}


class Wrong(RuntimeError):
    """A result that disagrees with its reference."""


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a few sizes, minutes")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--output", type=Path, help="folder of the results (default benchmarks/results)")
    given = parser.parse_args(arguments)
    try:
        card = cuda.device_name()
        rows = []
        for part in (p for p in PARTS if p in given.only):
            begin = time.perf_counter()
            for row in {"checks": checks, "sums": throughput, "nufft": transform, "flow": simulation}[part](given.quick):
                rows.append({"part": part, **row})
                print("  ".join(f"{k}={v:.4g}" if isinstance(v, float) else f"{k}={v}" for k, v in rows[-1].items()), flush=True)
            print(f"{part}: {time.perf_counter() - begin:.0f} s", flush=True)
    except (cuda.Unavailable, Wrong) as error:
        sys.exit(f"benchmarks/gpu.py: {error}")
    write(rows, card, given.output or Path(__file__).parent / "results")


def write(rows: list[dict[str, Any]], card: str, folder: Path) -> Path:
    """Store the rows as CARD-DATE.csv with a JSON of what they depend on beside it; returns the path of the table."""
    from sums import version  # the neighbour of this script

    today = datetime.now(UTC).date().isoformat()
    path = folder / f"{re.sub('[^a-z0-9]+', '-', card.lower()).strip('-')}-{today}.csv"
    folder.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(rows).to_csv(path, index=False)
    packages = ("driftrates", "numpy", "cupy-cuda12x", "cupy-cuda13x", "cufinufft", "pykeops", "torch")
    about = {"date": today, "card": card, **properties(), "versions": {name: version(name) for name in packages}}
    path.with_suffix(".json").write_text(json.dumps(about, indent=2) + "\n")
    return path


def properties() -> dict[str, Any]:
    """Multiprocessors, highest clock in Hz, compute capability and driver of the present card."""
    cupy = cuda.namespace()
    about = cupy.cuda.Device().attributes
    return {
        "multiprocessors": int(about["MultiProcessorCount"]),
        "clock": 1e3 * int(about["ClockRate"]),
        "capability": [int(about["ComputeCapabilityMajor"]), int(about["ComputeCapabilityMinor"])],
        "driver": int(cupy.cuda.runtime.driverGetVersion()),
        "runtime": int(cupy.cuda.runtime.runtimeGetVersion()),
    }


def seconds(call: Callable[[], Any], rounds: int, least: float = 0.02) -> list[float]:
    """Seconds of a call by events on the GPU: ``rounds`` means over at least ``least`` seconds each, after a warm-up."""
    cupy = cuda.namespace()
    begin, end = cupy.cuda.Event(), cupy.cuda.Event()

    def timed(repeats: int) -> float:
        begin.record()
        for _ in range(repeats):
            call()
        end.record()
        end.synchronize()
        return 1e-3 * cupy.cuda.get_elapsed_time(begin, end) / repeats

    call()
    repeats = max(1, round(least / max(timed(1), 1e-6)))
    return [timed(repeats) for _ in range(rounds)]


# Checks.


def defined_terms(kernel: Any, d: int) -> tuple[str, ...]:
    """The terms that the kernel has."""
    defined = []
    for term in TERMS:
        try:
            compile_terms(kernel, d, (term,))
        except ValueError:
            continue
        defined.append(term)
    return tuple(defined)


def checks(quick: bool) -> Iterator[dict[str, Any]]:
    """Largest errors of every kernel, precision and dimension, and of trajectories. Raises `Wrong` beyond the tolerances."""
    xp, n = cuda.namespace(), 200 if quick else 700
    for name in kernels.names():
        kernel = kernels.make(name)
        for dtype in TOLERANCE:
            for d in (1, 2, 10) if quick else (*roofline.DIMENSIONS, 7):
                rng = np.random.default_rng(d)
                x = rng.normal(size=(2, n, d)).astype(dtype)
                x[1, :3] += 300  # far points are recomputed in shifted form
                for exclude_self in (False, True):
                    terms, h = defined_terms(kernel, d), np.array([0.7, 1.1])
                    # Points equal to sources have own terms of any size, which rounding in float32 leaves anywhere: excluded or far away.
                    y = x if exclude_self else rng.normal(size=(1, 2 * n, d)).astype(dtype)
                    found = kernel_sums(xp.asarray(x), xp.asarray(y), kernel, h, terms, exclude_self=exclude_self, engine="cuda")
                    wide = (a.astype(np.float64) for a in (x, y))
                    with np.errstate(over="ignore"):  # of own terms, before they are left out
                        exact = kernel_sums(*wide, kernel, h, terms, exclude_self=exclude_self, engine="reference")
                    error = largest_error(found, exact)
                    row = {"kernel": name, "dtype": dtype, "d": d, "exclude_self": exclude_self, "error": error}
                    if not error < TOLERANCE[dtype]:
                        raise Wrong(f"the cuda engine is wrong: {row}, more than {TOLERANCE[dtype]}")
                    yield row
    error = trajectory_error(100)
    if not error < TRAJECTORY:
        raise Wrong(f"trajectories on the CPU and on the GPU differ by {error:.1e} after 100 steps, more than {TRAJECTORY}")
    yield {"kernel": "gaussian", "dtype": "float64", "d": 2, "steps": 100, "error": error}


def largest_error(found: Any, exact: Any) -> float:
    """Largest error of the logarithm of the mass, relative to 1 or to it, and of any other term over the mass, likewise."""
    log_scale, mass = found.log_scale.get().astype(float), found.terms["k"].get().astype(float)
    off = np.log(mass) + log_scale - np.log(exact.terms["k"]) - exact.log_scale
    errors = [np.abs(off) / (1 + np.abs(exact.log_scale))]
    for name, value in exact.terms.items():
        vector = value.ndim == 3
        ours = found.terms[name].get().astype(float) / (mass[..., None] if vector else mass)
        theirs = value / (exact.terms["k"][..., None] if vector else exact.terms["k"])
        errors.append(np.abs(ours - theirs) / (1 + np.abs(theirs)))
    return float(max(e.max() for e in errors))


def trajectory_error(steps: int) -> float:
    """Relative difference of the particles after ``steps`` Euler steps of the conservative field on the CPU and on the GPU."""
    rng, kernel = np.random.default_rng(0), kernels.make("gaussian")
    x0, data = rng.normal(size=(2, 1000, 2)), 0.7 * rng.normal(size=(1, 1200, 2)) + 0.5
    ends = []
    for xp in (np, cuda.namespace()):
        field = DriftField("conservative", SmoothedPoints(xp.asarray(data), kernel, 0.4), kernel, 0.4, False)

        def rhs(t: Any, x: Any, rows: Any, field: Any = field, xp: Any = xp) -> Any:
            return field.at_particles(x).velocity, xp.zeros((len(x), 0))

        (record,) = flow.integrate(rhs, xp.asarray(x0), [0.01 * steps], flow.Euler(0.01))
        ends.append(record.state.x if xp is np else record.state.x.get())
    return float(np.abs(ends[0] - ends[1]).max() / np.abs(ends[0]).max())


# Throughput.


def throughput(quick: bool) -> Iterator[dict[str, Any]]:
    """Pairs per second of the direct pass (its transfers and the scaling of its arguments apart) and of peers, with quartiles."""
    xp, about = cuda.namespace(), properties()
    units = roofline.UNITS.get(tuple(about["capability"]))
    sizes = (1000, 10_000, 100_000) if quick else (1000, 3000, 10_000, 30_000, 100_000, 300_000, 1_000_000)
    for kernel, dtype in roofline.COUNTS:
        for d in (2, 3) if quick else roofline.DIMENSIONS:
            program = compile_terms(kernels.make(kernel), d, roofline.TERMS[kernel])
            card = roofline.Card(about["multiprocessors"], about["clock"], *units) if units else None
            bound = roofline.limit(roofline.COUNTS[kernel, dtype][d], card) if card else float("nan")
            for n in sizes:
                if n**2 > 2e12 / (1 if dtype == "float32" else 2) or quick and n**2 > 1e11:
                    continue
                x = xp.asarray(np.random.default_rng(n).normal(size=(1, n, d)) * 5, dtype=dtype)
                shift = xp.zeros((1, n), dtype=dtype)
                contenders = {"driftrates": lambda x=x, shift=shift, program=program: cuda.accumulate(program, x, x, shift)}
                if kernel == "gaussian" and n <= 100_000:
                    contenders |= peers(x)
                times = {name: seconds(call, 3 if quick else 7) for name, call in contenders.items()}
                for name, found in times.items():
                    low, middle, high = statistics.quantiles(found, n=4)
                    ours = statistics.median(times["driftrates"])
                    yield {
                        "contender": name,
                        "kernel": kernel,
                        "dtype": dtype,
                        "d": d,
                        "n": n,
                        "seconds": middle,
                        "seconds_low": low,
                        "seconds_high": high,
                        "pairs_per_second": n**2 / middle,
                        "fraction_of_roofline": n**2 / middle / bound,
                        "times_slower": middle / ours,
                    }


def peers(x: Any) -> dict[str, Callable[[], Any]]:
    """KeOps (one fused reduction, and one for each sum) and torch.compile on the points x (1, n, d), where they are installed."""
    calls: dict[str, Callable[[], Any]] = {}
    try:
        import torch
    except ImportError:
        return calls
    points = torch.as_tensor(x[0], device="cuda")
    d = points.shape[1]
    try:
        from pykeops.torch import Genred
    except ImportError:
        pass
    else:
        variables = [f"x = Vi({d})", f"y = Vj({d})"]
        weight = "Exp(-SqDist(x, y) * IntInv(2))"
        parts = [weight, f"{weight} * (y - x)", f"{weight} * SqDist(x, y)"]
        fused = Genred(f"Concat(Concat({parts[0]}, {parts[1]}), {parts[2]})", variables, reduction_op="Sum", axis=1)
        separate = [Genred(part, variables, reduction_op="Sum", axis=1) for part in parts]
        calls["KeOps, fused"] = lambda: fused(points, points, backend="GPU")
        calls["KeOps, separate"] = lambda: [reduction(points, points, backend="GPU") for reduction in separate]

    def sums(a: Any, b: Any) -> Any:
        z = b[None] - a[:, None]
        s2 = (z * z).sum(-1)
        w = torch.exp(-0.5 * s2)
        return w.sum(1), (w[..., None] * z).sum(1), (w * s2).sum(1)

    if len(points) <= 10_000:
        compiled = torch.compile(sums)
        calls["torch.compile"] = lambda: compiled(points, points)
    return calls


# The transform.


def transform(quick: bool) -> Iterator[dict[str, Any]]:
    """Seconds of the transform and of the direct engine, and the difference of their sums; nothing where cufinufft is missing."""
    xp = cuda.namespace()
    if cunufft.library() is None:
        print("nufft: cufinufft is not installed, or not its CUDA 12 libraries", flush=True)
        return
    for d in (2,) if quick else (1, 2, 3):
        for rtol in (1e-6,) if quick else (1e-6, 1e-10):
            for n in (10_000, 100_000) if quick else (10_000, 100_000, 1_000_000, 10_000_000):
                if d == 3 and n > 1_000_000:
                    continue
                program = compile_terms(kernels.make("gaussian"), d, roofline.TERMS["gaussian"])
                h = (4 / ((d + 2) * n)) ** (1 / (d + 4))
                x = xp.asarray(np.random.default_rng(n).normal(size=(1, n, d)) / h)
                shift = xp.zeros((1, n))
                found = cunufft.accumulate(program, x, x, shift, rtol=rtol)
                row = program.slots["k"][0]
                some = xp.arange(0, n, max(1, n // 2000))
                exact = cuda.accumulate(program, x[:, some], x, shift[:, some])
                error = float((xp.abs(found[:, row][:, some] - exact[:, row]) / exact[:, row]).max())
                if not error < rtol:
                    raise Wrong(f"the transform on the GPU is off by {error:.1e} at d = {d}, n = {n}, rtol = {rtol}")
                ours = statistics.median(seconds(lambda x=x, s=shift, p=program, t=rtol: cunufft.accumulate(p, x, x, s, rtol=t), 3))
                direct = float("nan")
                if n <= 300_000:
                    direct = statistics.median(seconds(lambda x=x, s=shift, p=program: cuda.accumulate(p, x, x, s), 3))
                (choice,) = cunufft.choose(program, x, x, rtol)
                yield {"d": d, "n": n, "rtol": rtol, "error": error, "seconds": ours, "seconds_direct": direct, "chosen": choice}


# One experiment.


def simulation(quick: bool) -> Iterator[dict[str, Any]]:
    """Seconds of one simulation on the GPU and, for the smallest size, on the CPU, with the difference of their observables."""
    for n in (1000,) if quick else (1000, 10_000, 100_000):
        results = {}
        for device in ("cpu", "gpu") if n == 1000 else ("gpu",):
            begin = time.perf_counter()
            results[device] = simulate_flow({**EXPERIMENT, "n_particles": [n]}, seed=1, device=device)
            row = {"device": device, "n": n, "seconds": time.perf_counter() - begin, "evaluations": int(results[device].evaluations.max())}
            if len(results) == 2:
                speeds = [r.squared_speed.values for r in results.values()]
                row["error"] = float(np.abs(speeds[0] - speeds[1]).max() / np.abs(speeds[0]).max())
                # Adaptive steps differ in rounding, which the tolerance of the integrator bounds.
                if not row["error"] < 1e-6:
                    raise Wrong(f"the simulation on the GPU differs from that on the CPU by {row['error']:.1e}")
            yield row


if __name__ == "__main__":
    main()
