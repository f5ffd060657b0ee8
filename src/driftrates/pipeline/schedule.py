"""How a larger scale would use a cluster: predicted time of each job, and a list schedule of all of them on some nodes."""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from graphlib import CycleError, TopologicalSorter
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from driftrates.pipeline import cost

START_SECONDS = 20.0
"""What every job takes before its work: the queue's answer, two Snakemakes, the libraries."""
PAIRED = ("particles", "sizes", "data")
"""Ends of the names of options that count the points of a cloud: a stage sums over their pairs."""
SPLITS = ("stage", "cell", "replicate")
COLUMNS = (
    "job_per",
    "gpu_pairs_per_second",
    "nodes",
    "jobs",
    "gpu_hours",
    "cpu_hours",
    "makespan_hours",
    "bound_hours",
    "gpu_idle",
    "cpu_idle",
)

Run = tuple[str, ...]


class Job(NamedTuple):
    """One job: seconds, whether it holds a GPU, and the runs that must end before it."""

    run: Run
    seconds: float
    gpu: bool
    needs: tuple[Run, ...]


class Layout(NamedTuple):
    """A schedule: seconds from first start to last end; shares of the GPUs and of the CPU slots that stand idle meanwhile."""

    makespan: float
    gpu_idle: float
    cpu_idle: float


def lay_out(jobs: Sequence[Job], nodes: int, slots: int) -> Layout:
    """List schedule on ``nodes`` equal nodes of one GPU and ``slots`` CPU slots each: whatever is ready and fits starts, first the job with
    the longest chain of work behind it.

    A GPU job holds the GPU of a node and one of its slots, any other job one slot. The makespan is at most twice the best one (Graham).
    Raises ``ValueError`` for needs that go round in a circle.
    """
    order = _chains(jobs)
    waiting = {job.run: len(job.needs) for job in jobs}
    behind: dict[Run, list[Job]] = {job.run: [] for job in jobs}
    for job in jobs:
        for run in job.needs:
            behind[run].append(job)
    ready: list[tuple[float, int, Job]] = []
    number = {job.run: i for i, job in enumerate(jobs)}

    def offer(job: Job) -> None:
        heapq.heappush(ready, (-order[job.run], number[job.run], job))

    for job in jobs:
        if not job.needs:
            offer(job)
    now, free, gpus = 0.0, np.full(nodes, slots), np.ones(nodes, dtype=int)
    ends: list[tuple[float, int, int]] = []
    while ready or ends:
        held = []
        while ready and free.any():
            entry = heapq.heappop(ready)
            job = entry[2]
            # CPU jobs go where no GPU is lost to them: to the node with most free slots, with a busy GPU before an idle one.
            fits = free * gpus if job.gpu else np.where(free > 0, 2 * free - gpus, 0)
            node = int(np.argmax(fits))
            if fits[node] <= 0:
                held.append(entry)
                continue
            free[node] -= 1
            gpus[node] -= job.gpu
            heapq.heappush(ends, (now + job.seconds, number[job.run], node))
        for entry in held:
            heapq.heappush(ready, entry)
        now, i, node = heapq.heappop(ends)
        job = jobs[i]
        free[node] += 1
        gpus[node] += job.gpu
        for follower in behind[job.run]:
            waiting[follower.run] -= 1
            if waiting[follower.run] == 0:
                offer(follower)
    span = max(now, 1e-300)
    on_gpu = math.fsum(job.seconds for job in jobs if job.gpu)
    return Layout(now, 1 - on_gpu / (span * nodes), 1 - math.fsum(job.seconds for job in jobs) / (span * nodes * slots))


def growth(small: Mapping[str, Any], large: Mapping[str, Any]) -> float:
    """How much longer a stage takes with the options ``large`` than with ``small``: the largest ratio of its numbers of replicates, times
    the largest ratio of another of its options.

    Numbers of particles or of data (`PAIRED`) count squared, other whole numbers once, summed over a list; a list of other numbers counts
    with its length. Equal options count nothing, nor do those that grow from zero.
    """
    first, second = dict(_flat(small)), dict(_flat(large))
    replicates, sizes = [1.0], [1.0]
    for key in first.keys() & second.keys():
        a, b = first[key], second[key]
        if a == b:
            continue
        kind, power = (replicates if "replicates" in key else sizes), 2 if key.endswith(PAIRED) else 1
        if all(isinstance(v, int) for v in [*a, *b]):
            before, after = (sum(v**power for v in values) for values in (a, b))
        else:
            before, after = (len(a), len(b)) if len(a) + len(b) > 2 else (a[0], b[0])
        if before > 0:
            kind.append(after / before)
    return max(replicates) * max(sizes)


def plan(
    small: Mapping[str, Any],
    large: Mapping[str, Any],
    seconds: Mapping[Run, float],
    evaluations: Mapping[str, np.ndarray],
    needs: Mapping[Run, Sequence[str]],
    *,
    rate: float,
    split: str = "stage",
) -> list[Job]:
    """The jobs of the configuration ``large`` from what the configuration ``small`` took.

    seconds (measured, of each run of the workflow at ``small``); evaluations (of each experiment at ``small``: (bandwidths, sizes), or
    (sizes,) where they are paired, the mean over replicates); needs (names of the Datasets that a run reads); rate (pairs per second of one
    GPU). A simulation takes its pairs over the rate, the evaluations of a cell scaled from the nearest cell measured by `cost.evaluations`.
    Any other stage takes what it took, less one second of start, times the `growth` of its options; a measurement of an experiment at least
    times the growth of that one's pairs, of its replicates only where it has no ``replicates`` of its own.

    split: "stage" (the workflow as it is: a job per experiment, measurement, study), "cell" (a job per (bandwidth, N) cell of an
    experiment and of its measurements, in proportion to their pairs) or "replicate" (and one per replicate of a study, in equal shares).
    """
    jobs, cells = [], {}

    def add(run: Run, parts: Sequence[float], gpu: bool, reads: Sequence[Run]) -> None:
        pieces = [math.fsum(parts)] if split == "stage" else parts
        cells[run] = tuple((*run, str(i)) for i in range(len(pieces))) if len(pieces) > 1 else (run,)
        for i, (part, time) in enumerate(zip(cells[run], pieces, strict=True)):
            # A cell of a measurement waits for the same cell of the simulation; anything else for all parts of what it reads.
            before = (cells[r][i : i + 1] if len(cells[r]) == len(pieces) > 1 else cells[r] for r in reads)
            jobs.append(Job(part, START_SECONDS + time, gpu, tuple(p for some in before for p in some)))

    for run, measured in _in_order(seconds, needs):
        stage, name, reads = run[0], run[-1], [producer(d) for d in needs.get(run, ())]
        if stage == "simulate_flow":
            add(run, list(_cell_seconds(small, large, name, evaluations[name], rate)), True, reads)
            continue
        kind, _, what = stage.partition("_")
        factor, shares = 1.0, np.ones(1)
        if kind in ("measure", "study"):
            factor = growth(small["measurements"][what], large["measurements"][what])
        if kind == "measure":
            own = "replicates" in large["measurements"][what]
            factor = max(factor, _pairs(large, name, own).sum() / _pairs(small, name, own).sum())
            shares = _pairs(large, name, own)
        elif kind == "study" and split == "replicate":
            counts = [n[0] for key, n in _flat(large["measurements"][what]) if key.endswith("replicates")]
            shares = np.ones(int(max(counts, default=1)))
        add(run, list(max(0.0, measured - 1.0) * factor * shares / shares.sum()), False, reads)
    return jobs


def tabulate(
    small: Mapping[str, Any],
    large: Mapping[str, Any],
    seconds: Mapping[Run, float],
    evaluations: Mapping[str, np.ndarray],
    needs: Mapping[Run, Sequence[str]],
    *,
    nodes: Iterable[int] = (1, 8, 64),
    rates: Iterable[float] = (2e10, 2e11),
    slots: int = 16,
) -> pd.DataFrame:
    """`COLUMNS` for each way to split (`plan`), rate and number of nodes with one GPU and ``slots`` CPU slots; idle shares in [0, 1].

    bound_hours is what no schedule can go below: the longest chain, or all work evenly on the GPUs or the slots.
    """
    rows = []
    for split in SPLITS:
        for rate in rates:
            jobs = plan(small, large, seconds, evaluations, needs, rate=rate, split=split)
            gpu, cpu = (math.fsum(j.seconds for j in jobs if j.gpu is kind) for kind in (True, False))
            for count in nodes:
                layout = lay_out(jobs, count, slots)
                bound = max(max(_chains(jobs).values()), gpu / count, (gpu + cpu) / (count * slots))
                hours = [t / 3600 for t in (gpu, cpu, layout.makespan, bound)]
                rows.append([split, rate, count, len(jobs), *hours, layout.gpu_idle, layout.cpu_idle])
    return pd.DataFrame(rows, columns=list(COLUMNS))


def producer(dataset: str) -> Run:
    """The run that makes a Dataset of the workflow: ("simulate_flow", "figure1") for "flow/figure1"."""
    kind, _, name = dataset.rpartition("/")
    if not kind:
        return ("tabulate_kernels",) if name == "kernels" else (f"study_{name}",)
    return ({"flow": "simulate_flow", "fields": "map_fields", "claims": "judge_claims"}.get(kind, f"measure_{kind}"), name)


def _cell_seconds(small: Mapping, large: Mapping, name: str, measured: np.ndarray, rate: float) -> Iterator[float]:
    old, new = small["experiments"][name], large["experiments"][name]
    scale = cost.evaluations(new) / cost.evaluations(old)
    ensembles = cost.cells(new, seed=large["seed"])
    measured, sizes = np.atleast_2d(measured), len(np.atleast_1d(new["n_particles"]))
    for i, cell in enumerate(ensembles):
        row, column = i // sizes, i % sizes
        count = measured[min(row, measured.shape[0] - 1), min(column, measured.shape[1] - 1)] * scale
        yield float(count) * cell.pairs / rate


def _pairs(config: Mapping[str, Any], name: str, of_one: bool) -> np.ndarray:
    """Pairs of each cell of an experiment, of one replicate or of all."""
    return np.array([c.pairs / (c.replicates if of_one else 1) for c in cost.cells(config["experiments"][name], seed=config["seed"])])


def _in_order(seconds: Mapping[Run, float], needs: Mapping[Run, Sequence[str]]) -> list[tuple[Run, float]]:
    """The runs, each after those that it reads."""
    order = TopologicalSorter({run: [producer(d) for d in needs.get(run, ())] for run in seconds})
    try:
        return [(run, seconds[run]) for run in order.static_order()]
    except CycleError as error:
        raise ValueError(f"the needs of {error.args[1][0]} go round in a circle") from None
    except KeyError as error:
        raise ValueError(f"no time was measured for {error}") from None


def _chains(jobs: Sequence[Job]) -> dict[Run, float]:
    """Seconds from the start of each job to the end of the longest chain that it opens."""
    behind: dict[Run, list[Run]] = {job.run: [] for job in jobs}
    seconds = {job.run: job.seconds for job in jobs}
    for job in jobs:
        for run in job.needs:
            behind[run].append(job.run)
    chains: dict[Run, float] = {}

    def chain(run: Run, above: frozenset[Run]) -> float:
        if run in above:
            raise ValueError(f"the needs of {run} go round in a circle")
        if run not in chains:
            chains[run] = seconds[run] + max((chain(r, above | {run}) for r in behind[run]), default=0.0)
        return chains[run]

    return {job.run: chain(job.run, frozenset()) for job in jobs}


def _flat(options: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, list]]:
    """Numeric options as lists of numbers."""
    for key, value in options.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
            continue
        numbers = list(_numbers(value))
        if numbers:
            yield f"{prefix}{key}", numbers


def _numbers(value: Any) -> Iterator[float]:
    if isinstance(value, bool) or isinstance(value, str):
        return
    if isinstance(value, (int, float)):
        yield value
    elif isinstance(value, (list, tuple)):
        for inner in value:
            yield from _numbers(inner)
