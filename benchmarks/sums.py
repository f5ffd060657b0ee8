"""The kernel sums beside their peers: one command, one table.

    python benchmarks/sums.py                        everything within 15 minutes on two quiet cores; stored in benchmarks/results
    python benchmarks/sums.py --preset quick         2 minutes; --preset full: 60 minutes, up to 1e7 points in every sum of linear time
    python benchmarks/sums.py --parts throughput --dimensions 2 --sizes 1000 5000 --peers "numpy GEMM"       a part of it
    python benchmarks/sums.py --list                 the contenders and what is missing (extra `bench`)

Three parts: throughput of every contender by (d, N, dtype, threads), time against accuracy, and the scaling of a pass with N. Every
contender is first compared with the direct sums in float64. In each round all contenders of a case run once, one after the other, so that
a noisy minute falls on all; ratios are taken within a round, and medians and quartiles are stored. On one thread they share a process
that is held on one processor. On more, each has a process of its own, since their OpenMP runtimes disturb each other, and its waiting
threads sleep. The table is written after every case: an interrupted run keeps what it has.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import re
import sys
import time
from dataclasses import replace
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).parent))
import instructions  # noqa: E402
from peers import PEERS, TREE, tree  # noqa: E402
from presets import PRESETS, SCALING, Preset, Sweep  # noqa: E402
from processes import PROCESSORS, Alone, held, points, prepare  # noqa: E402

from driftrates import store  # noqa: E402
from driftrates.performance import passes  # noqa: E402
from driftrates.performance.passes import BASE  # noqa: E402

PARTS = ("scaling", "accuracy", "throughput")


class Stop(Exception):
    """The time of the preset is over."""


class Run:
    """The rows so far, where they are kept, and how long to go on."""

    def __init__(self, preset: Preset, output: Path | None) -> None:
        self.preset, self.output, self.rows = preset, output, []
        self.begin = time.monotonic()

    def check_time(self, what: str) -> None:
        """Raises `Stop`, naming what is left out first, where the preset's minutes are over."""
        if time.monotonic() - self.begin > 60 * self.preset.minutes:
            raise Stop(f"the {self.preset.minutes:g} minutes are over; left out: {what} and what follows it (--minutes allows more)")

    def add(self, rows: list[dict[str, Any]]) -> None:
        """Print the rows of a case, and keep all rows so far."""
        for row in rows:
            ratio = f", {row['times_slower']:8.2f} x" if "times_slower" in row else ""
            error = f", error {row['error']:.1e}" if "error" in row else ""
            what = f"{row['part']:10s} {row['kernel']:8s} d={row['d']:<2d} n={row['n']:<8d} {row['dtype']} threads={row['threads']}"
            print(
                f"{time.monotonic() - self.begin:5.0f} s  {what}  {row['contender']:34s} {row['seconds']:.3e} s{ratio}{error}", flush=True
            )
        self.rows += rows
        self.keep()

    def keep(self) -> None:
        if self.output and self.rows:
            store.write_csv(passes.tabulate(self.rows), self.output)


# The parts.


def throughput(run: Run) -> None:
    """Every contender by (d, N, dtype, threads)."""
    for sweep in run.preset.sweeps:
        for dtype in sweep.dtypes:
            for d in sweep.dimensions:
                last: dict[str, tuple[int, float]] = {}
                for n in sorted(sweep.sizes):
                    case = {"kernel": "gaussian", "d": d, "n": n, "bandwidth": passes.bandwidth(n, d), "dtype": dtype}
                    case["threads"] = sweep.threads
                    run.check_time(f"throughput at {case}")
                    run.add(compare(case, sweep, run.preset, last))


def compare(case: dict[str, Any], sweep: Sweep, preset: Preset, last: dict[str, tuple[int, float]]) -> list[dict[str, Any]]:
    """Rows of one case. ``last``: size and seconds at the size before of each contender, by which those too slow are left out."""
    names = [BASE, *(name for name in sweep.peers if name != BASE)]
    measures, about = {}, {}
    for name in names:
        n, seconds = last.get(name, (case["n"], 0.0))
        if seconds * (case["n"] / n) ** PEERS[name].order > sweep.slowest or case["n"] < PEERS[name].least:
            continue
        if not sweep.slow_starts and PEERS[name].slow_start or case["threads"] > 1 and not PEERS[name].parallel:
            continue
        try:
            if case["threads"] > 1:
                measures[name] = Alone(name, case)
                about[name] = measures[name].about
            else:
                with held(1):
                    measures[name], about[name] = prepare(name, case)
        except (ImportError, NotImplementedError, ValueError) as error:
            print(f"        {name} left out at d={case['d']} n={case['n']} {case['dtype']}: {error}", file=sys.stderr, flush=True)
            continue
        last[name] = case["n"], about[name]["about"]
    kept = {name: m for name, m in measures.items() if about[name]["about"] <= sweep.slowest}
    try:
        with held(1) if case["threads"] == 1 else contextlib.nullcontext():
            seconds = {name: about[name]["about"] for name in kept}
            times = passes.alternate(kept, seconds, rounds=preset.rounds, least=0.05, budget=preset.budget)
    finally:
        for m in measures.values():
            if isinstance(m, Alone):
                m.close()
    rows = []
    for name, found in times.items():
        row = {"part": "throughput", "contender": name, "outputs": PEERS[name].outputs, **case, "version": version(PEERS[name].package)}
        row |= {key: about[name][key] for key in ("first_call_seconds", "error")}
        row["instructions_per_pair"] = instructions.count(name, case["d"], case["dtype"])
        rows.append(row | passes.summarise(found, times.get(BASE), float(case["n"]) ** 2))
    return rows


def accuracy(run: Run) -> None:
    """Time against the error reached, one thread: engines and the tree by tolerance, and the direct engine where it is not too slow."""
    for kernel, d, n, h in run.preset.accuracy:
        run.check_time(f"accuracy of {kernel}, d={d}, n={n}")
        case = {"kernel": kernel, "d": d, "n": n, "bandwidth": h or passes.bandwidth(n, d), "dtype": "float64", "threads": 1}
        entries = [("driftrates cpu", "cpu", None)]
        entries += [(f"driftrates {e}", e, t) for e in ("nufft", "cells", "ewald") for t in run.preset.tolerances]
        entries += [(TREE, None, t) for t in run.preset.tolerances[::-1] if kernel == "gaussian" and n <= 10_000]
        run.add(one_by_one("accuracy", case, entries, run.preset))


def scaling(run: Run) -> None:
    """Seconds of a pass from N = 1e3 on, one thread, as long as a call takes no more than the preset's slowest; then exponents."""
    for contender, name, kernel, d, rtol in SCALING:
        rows: list[dict[str, Any]] = []
        for n in (10**k for k in range(3, 9) if 10**k <= run.preset.largest):
            growth = 10 if name != "cpu" else 100
            if rows and rows[-1]["seconds"] * growth > run.preset.slowest:
                break
            run.check_time(f"scaling of {contender}, {kernel}, d={d}, n={n}")
            case = {"kernel": kernel, "d": d, "n": n, "bandwidth": passes.bandwidth(n, d), "dtype": "float64", "threads": 1}
            found = one_by_one("scaling", case, [(contender, name, rtol)], run.preset)
            if not found:
                break
            rows += found
            run.add(found)
        run.rows += exponents(rows)
        run.keep()


def exponents(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One row with the exponent of the time between the least N of at least 1e5 (of the last three if there are none) and the largest."""
    chosen = [row for row in rows if row["n"] >= 100_000]
    chosen = chosen if len(chosen) > 1 else rows[-3:]
    if len(chosen) < 2:
        return []
    slope = np.polyfit(np.log([row["n"] for row in chosen]), np.log([row["seconds"] for row in chosen]), 1)[0]
    last = {key: chosen[-1][key] for key in ("contender", "outputs", "kernel", "d", "n", "bandwidth", "dtype", "threads", "rtol")}
    print(f"         exponent of {last['contender']}, {last['kernel']}, d={last['d']}: {slope:.2f} from {chosen[0]['n']} to {last['n']}")
    return [{**last, "part": "exponent", "exponent": float(slope)}]


def one_by_one(
    part: str, case: dict[str, Any], entries: list[tuple[str, str | None, float | None]], preset: Preset
) -> list[dict[str, Any]]:
    """Rows of engines (the tree where the engine is None) at their tolerances, each timed alone. What cannot do the case has no row."""
    x, rows, base = points(case["n"], case["d"]), [], None
    with held(1):
        for contender, name, rtol in entries:
            options = {} if rtol is None else {"rtol": rtol}
            factory = tree(rtol) if name is None else passes.engine(name, case["kernel"], **options)
            # The direct engine and the tree are predicted: their calls may take too long to try.
            rate = {"cpu": 1e-9, None: 1e-7}.get(name)
            if rate and rate * case["n"] ** 2 > preset.slowest:
                continue
            try:
                call = factory(x, x, case["bandwidth"], 1)
                begin = time.perf_counter()
                found = call()
                first = time.perf_counter() - begin
            except (ImportError, NotImplementedError, ValueError):
                continue
            relative, _ = passes.largest_error(found, x, case["bandwidth"], case["kernel"])
            measure = passes.timed(call)
            about = first if first > 0.5 else measure(1)
            repeats, rounds = max(1, round(0.05 / about)), int(np.clip(preset.budget / about, 2 if about < 5 else 1, preset.rounds))
            times = [measure(repeats) for _ in range(rounds)]
            base = times if name == "cpu" else base
            summary = passes.summarise(times, None, float(case["n"]) ** 2)
            ratio = {"times_slower": summary["seconds"] / np.median(base)} if base else {}
            package = "scikit-learn" if name is None else "finufft" if name in ("nufft", "ewald") else "driftrates"
            row = {"part": part, "contender": contender, "outputs": "S0" if name is None else "all", **case, "version": version(package)}
            row |= {"rtol": float("nan") if rtol is None else rtol, "error": relative, "first_call_seconds": first}
            rows.append(row | summary | ratio)
    return rows


# What the numbers depend on.


def version(package: str) -> str:
    try:
        return metadata.version(package) if package else "system compiler"
    except metadata.PackageNotFoundError:
        return "not installed"


def machine() -> dict[str, Any]:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.processor())
    features = next((line.partition(":")[2].split() for line in lines if line.startswith("flags")), [])
    packages = sorted({peer.package for peer in PEERS.values()} - {""})
    return {
        "date": datetime.now(UTC).isoformat(timespec="minutes"),
        "processor": model,
        "vector instructions": [f for f in ("avx2", "fma", "avx512f", "avx512dq", "neon") if f in features],
        "processors": len(PROCESSORS),
        "load": [round(v, 1) for v in os.getloadavg()] if hasattr(os, "getloadavg") else None,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "instructions_per_pair": "instructions of the innermost loop in the machine code, over the pairs that it treats at a time",
        "versions": {package: version(package) for package in packages},
    }


def default_output(about: dict[str, Any]) -> Path:
    """benchmarks/results/PROCESSOR-INSTRUCTIONS-DATE.csv"""
    best = next((name for name in ("avx512f", "avx2", "neon") if name in about["vector instructions"]), "generic")
    name = re.sub("[^a-z0-9]+", "-", re.sub(r"\((R|TM)\)|\b(processor|cpu)\b|@.*", "", about["processor"], flags=re.IGNORECASE).lower())
    return Path(__file__).parent / "results" / f"{name.strip('-') or 'cpu'}-{best}-{about['date'][:10]}.csv"


def chosen_preset(arguments: argparse.Namespace) -> Preset:
    """The preset, with what the command line says instead: one sweep for each number of threads."""
    preset = PRESETS[arguments.preset]
    given = {k: tuple(v) for k in ("dimensions", "sizes", "dtypes", "peers") if (v := getattr(arguments, k))}
    sweeps = preset.sweeps
    if given.keys() - {"peers"} or arguments.threads:
        sweeps = tuple(Sweep(threads=t, slowest=preset.slowest) for t in arguments.threads or [1])
    sweeps = tuple(replace(s, **given) for s in sweeps)
    changed = {k: v for k in ("minutes", "rounds") if (v := getattr(arguments, k)) is not None}
    return replace(preset, sweeps=sweeps, **changed)


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--preset", choices=list(PRESETS), default="standard")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--dimensions", type=int, nargs="+", help="of the throughput, instead of the preset's; likewise the next four")
    parser.add_argument("--sizes", type=int, nargs="+")
    parser.add_argument("--dtypes", nargs="+", choices=["float64", "float32"])
    parser.add_argument("--threads", type=int, nargs="+")
    parser.add_argument("--peers", nargs="+", choices=list(PEERS), metavar="PEER", help="names of --list")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--minutes", type=float, help="no case begins later than this")
    parser.add_argument("--output", type=Path, help="table (.csv) with a JSON beside it (default: benchmarks/results/MACHINE-DATE.csv)")
    parser.add_argument("--list", action="store_true")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    given = parse(arguments)
    if given.list:
        for name, peer in PEERS.items():
            print(f"{name:34s} {version(peer.package)}")
        return 0
    about = {**machine(), "preset": given.preset}
    output = given.output or default_output(about)
    output.parent.mkdir(parents=True, exist_ok=True)
    run = Run(chosen_preset(given), output)
    output.with_suffix(".json").write_text(json.dumps(about, indent=2) + "\n")
    print(f"preset {given.preset}: at most {run.preset.minutes:g} minutes; kept in {output}", flush=True)
    status = 0
    try:
        for part in (p for p in PARTS if p in given.parts):
            {"throughput": throughput, "accuracy": accuracy, "scaling": scaling}[part](run)
    except Stop as end:
        print(end, file=sys.stderr)
    except KeyboardInterrupt:
        print(f"interrupted: {len(run.rows)} rows are kept in {output}", file=sys.stderr)
        status = 130
    table = passes.tabulate(run.rows)
    columns = [
        "part",
        "contender",
        "kernel",
        "d",
        "n",
        "dtype",
        "threads",
        "rtol",
        "error",
        "seconds",
        "pairs_per_second",
        "times_slower",
        "exponent",
    ]
    with pd.option_context("display.float_format", "{:.3g}".format):
        print(table[columns].to_string(index=False))
    return status


if __name__ == "__main__":
    sys.exit(main())
