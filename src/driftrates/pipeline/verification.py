"""Does this machine compute what the reference machine computed? The experiments at the smoke scale against stored numbers."""

from __future__ import annotations

import importlib
import pickle
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import llvmlite.binding as llvm
import numpy as np
import pandas as pd
import xarray as xr

from driftrates import simulate
from driftrates.sums import cpu

FLOOR, FACTOR, NOISE = 1e-9, 100.0, 0.05
"""Relative tolerance granted at least; tolerance over the spread between instruction sets; spread above which a quantity is noise."""
COLUMNS = ("dataset", "variable", "count", "value", "rtol", "ceiling")


def plan(
    config: Mapping[str, Any],
    measurements: Mapping[str, str],
    experiment_measurements: Mapping[str, str],
    studies: Mapping[str, str],
) -> list[dict[str, Any]]:
    """Independent jobs that `compute` understands, from a resolved configuration (`config.resolve`).

    The three mappings give the function, "module:name", of each measurement of a flow, of an experiment, and of each study.
    """
    jobs = []
    for name, experiment in config["experiments"].items():
        wanted = experiment["measure"]
        jobs.append(
            {
                "name": name,
                "experiment": {k: v for k, v in experiment.items() if k != "measure"},
                "seed": config["seed"],
                "of_flow": {m: (measurements[m], config["measurements"][m]) for m in wanted if m in measurements},
                "of_experiment": {m: (f, config["measurements"][m]) for m, f in experiment_measurements.items() if m in wanted},
            }
        )
    jobs += [{"name": s, "study": f, "seed": config["seed"], "options": config["measurements"][s]} for s, f in studies.items()]
    return jobs


def compute(job: Mapping[str, Any]) -> pd.DataFrame:
    """``dataset, variable, count, value`` of one job of `plan`: finite numbers of each variable and their root mean square."""
    rows: list[tuple[str, str, int, float]] = []
    for name, dataset in _datasets(job):
        for variable, array in dataset.data_vars.items():
            if array.dtype.kind in "fiu":
                finite = array.values[np.isfinite(array.values)].astype(float)
                rows.append((name, str(variable), finite.size, float(np.sqrt(np.mean(finite**2))) if finite.size else 0.0))
    return pd.DataFrame(rows, columns=list(COLUMNS[:4]))


def compute_all(jobs: Sequence[Mapping[str, Any]], *, processes: int = 1, without: Sequence[str] = ()) -> pd.DataFrame:
    """The rows of all ``jobs``, in their order, on ``processes`` >= 1 processes with one thread each.

    ``without``: beginnings of the names of CPU features ("avx512", "avx2", ...) that the kernel sums shall not use.
    Raises ``RuntimeError`` where one of the processes fails; what it has to say stands on stderr.
    """
    with tempfile.TemporaryDirectory() as folder:
        workers = []
        for k in range(processes):
            path = Path(folder) / f"{k}.pickle"
            path.write_bytes(pickle.dumps((jobs[k::processes], tuple(without))))
            # A program of its own, since a process of `multiprocessing` would run the caller's script once more.
            workers.append((path, subprocess.Popen([sys.executable, "-m", "driftrates.pipeline.verification", path])))
        codes = [worker.wait() for _, worker in workers]
        if any(codes):
            raise RuntimeError("a process of the verification failed")
        tables: list[Any] = [None] * len(jobs)
        for k, (path, _) in enumerate(workers):
            tables[k::processes] = pickle.loads(path.read_bytes())
    return pd.concat(tables, ignore_index=True)


def _prepare(without: tuple[str, ...]) -> None:
    cpu.set_threads(1)
    if without:
        found = llvm.get_host_cpu_features()
        found.update({name: False for name in found if name.startswith(without)})
        llvm.get_host_cpu_features = lambda: found


def _datasets(job: Mapping[str, Any]) -> Iterator[tuple[str, xr.Dataset]]:
    seed = job["seed"]
    if "study" in job:
        yield job["name"], _function(job["study"])(seed=seed, **job["options"])
        return
    flow = simulate.simulate_flow(job["experiment"], seed=seed)
    yield f"flow/{job['name']}", flow
    for measurement, (function, options) in job["of_flow"].items():
        yield f"{measurement}/{job['name']}", _function(function)(flow, **options)
    for measurement, (function, options) in job["of_experiment"].items():
        yield f"{measurement}/{job['name']}", _function(function)(job["experiment"], seed=seed, **options)


def _function(path: str) -> Any:
    module, name = path.split(":")
    return getattr(importlib.import_module(module), name)


def reference(runs: Iterable[pd.DataFrame]) -> pd.DataFrame:
    """The reference (`COLUMNS`) from the same quantities computed with several instruction sets, the first of which gives the values.

    ``rtol`` is `FACTOR` times the largest relative difference between the runs, at least `FLOOR`. Where they differ by more than
    `NOISE` (a residual of rounding errors, a choice between equals) only a ``ceiling`` is kept: `FACTOR` times the largest value.
    Raises ``ValueError`` unless there are at least two runs of the same quantities.
    """
    first, *others = runs
    keys = list(COLUMNS[:2])
    if not others or any(not first[keys].equals(other[keys]) for other in others):
        raise ValueError("a reference needs at least two runs of the same quantities")
    values = np.stack([first["value"], *(other["value"] for other in others)])
    spread = np.abs(values - values[0]).max(0) / np.where(values[0] > 0, values[0], 1.0)
    steady = (spread <= NOISE) & np.all([first["count"].values == other["count"].values for other in others], axis=0)
    return first.assign(
        count=np.where(steady, first["count"], -1),
        rtol=np.where(steady, np.maximum(FLOOR, FACTOR * spread), np.nan),
        ceiling=np.where(steady, np.nan, FACTOR * values.max(0)),
    )[list(COLUMNS)]


def compare(computed: pd.DataFrame, expected: pd.DataFrame) -> pd.DataFrame:
    """``expected`` (`reference`) beside what was ``computed``, with the verdict of each quantity: agrees | differs | missing | unknown.

    ``unknown`` is a quantity that the reference does not hold.
    """
    both = expected.merge(computed, how="outer", on=["dataset", "variable"], suffixes=("", "_computed"), indicator=True, sort=False)
    close = (both["value_computed"] - both["value"]).abs() <= both["rtol"] * both["value"].abs()
    agrees = np.where(both["rtol"].notna(), close & (both["count"] == both["count_computed"]), both["value_computed"] <= both["ceiling"])
    verdict = np.select(
        [both["_merge"] == "left_only", both["_merge"] == "right_only", agrees], ["missing", "unknown", "agrees"], default="differs"
    )
    return both.drop(columns="_merge").assign(verdict=verdict)


def require(compared: pd.DataFrame) -> None:
    """Raise ``ValueError`` naming the first quantities of `compare` that are missing or differ, if any. Unknown ones are let pass."""
    bad = compared[compared["verdict"].isin(["missing", "differs"])]
    if bad.empty:
        return
    shown = [
        f"{row.dataset} {row.variable} ({row.value_computed:.10g} instead of {row.value:.10g})"
        for row in bad.head(3).itertuples(index=False)
    ]
    raise ValueError(
        f"{len(bad)} of {len(compared)} quantities are not those of the reference, first {', '.join(shown)}; "
        "with a changed configuration or library that is to be expected, else do not trust this machine's results"
    )


if __name__ == "__main__":
    exchange = Path(sys.argv[1])
    wanted, left_out = pickle.loads(exchange.read_bytes())
    _prepare(left_out)
    exchange.write_bytes(pickle.dumps([compute(job) for job in wanted]))
