"""What a simulation asks of a machine, from the configured sizes alone: field evaluations, pairs, memory, time."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from driftrates.simulate import make_target, output_times

PAIRS_PER_SECOND = {"cpu": 4.0e8, "gpu": 2.0e10}
"""Pairs of one thread and of one GPU in double precision with divergences: a low guess, since it sets limits and not schedules."""
TRANSFORM_PAIRS = {1: 600.0, 2: 2000.0, 3: 200000.0}
"""By dimension: pairs per point in the time that the non-uniform transform takes for it (10000 points, `benchmarks/results`)."""
START_SECONDS = 60.0
"""Start of Python, Snakemake and the GPU, on a slow file system."""
BASE_MIB = 1000
"""Two nested Snakemakes and the numerical libraries take 500 to 700 MiB before any data."""
STAGE_MINUTES = 480
"""Limit of a stage that knows no better; the default of `profiles/slurm`."""


class Cell(NamedTuple):
    """One (bandwidth, N) ensemble of an experiment: h, N, replicates, d, sources (points or components of the target)."""

    h: float
    n: int
    replicates: int
    d: int
    sources: int

    @property
    def pairs(self) -> float:
        """Pairs of one evaluation of the field, each of the particles against the cloud and against the target; or the pairs that take
        as long as the transform where that is faster (`TRANSFORM_PAIRS`)."""
        return float(self.replicates) * self.n * min(self.n + self.sources, TRANSFORM_PAIRS.get(self.d, math.inf))


def cells(experiment: Mapping[str, Any], *, seed: int) -> list[Cell]:
    """The ensembles of an experiment of the resolved configuration, bandwidths outermost as in `simulate.simulate_flow`."""
    target = make_target(experiment["target"], seed=seed)
    sources = len(target.mixture.weights) if target.points is None else len(target.points)
    sizes, bandwidths = np.atleast_1d(experiment["n_particles"]), np.atleast_1d(np.asarray(experiment["bandwidth"], float))
    pairs = zip(bandwidths, sizes, strict=True) if experiment.get("paired") else itertools.product(bandwidths, sizes)
    return [Cell(float(h), int(n), int(experiment["replicates"]), target.dimension, sources) for h, n in pairs]


def evaluations(experiment: Mapping[str, Any]) -> float:
    """Field evaluations of one replicate, a priori: exact for Euler, within a factor of three or so for an adaptive method.

    An adaptive method stops at every output time, at six evaluations a step; tighter tolerances take more steps between two stops, and
    a relaxing cloud is left with a step that the field's own rate (of order one) bounds.
    """
    times, integrator = experiment["times"], experiment["integrator"]
    if integrator["method"] == "euler":
        return float(np.ceil(np.diff(output_times(times)) / integrator["step"] - 1e-9).sum())
    finer = max(1.0, (1e-6 / integrator["rtol"]) ** 0.2)
    return 6 * (times["count"] - 1) * finer + 30 * min(times["stop"], 20.0) + 100


def flow_memory_mib(experiment: Mapping[str, Any], *, seed: int) -> int:
    """Memory of a simulation in MiB: `BASE_MIB`, twice what it stores, and the stages of the largest ensemble."""
    ensembles = cells(experiment, seed=seed)
    stored, width = _stored(experiment, ensembles), np.dtype(experiment["dtype"]).itemsize
    largest = max(c.replicates * c.n * c.d + c.sources * c.d for c in ensembles)
    return BASE_MIB + math.ceil((2 * stored + 40 * width * largest) / 2**20)


def stored_mib(experiment: Mapping[str, Any], *, seed: int) -> int:
    """Size of the stored clouds and observables in MiB, before compression: what a measurement reads."""
    return math.ceil(_stored(experiment, cells(experiment, seed=seed)) / 2**20)


def flow_minutes(experiment: Mapping[str, Any], *, seed: int, gpu: bool, threads: int = 1) -> int:
    """Limit of the run time of a simulation in minutes: four times what `PAIRS_PER_SECOND` predicts, from half an hour to a day."""
    rate = PAIRS_PER_SECOND["gpu"] if gpu else PAIRS_PER_SECOND["cpu"] * threads
    pairs = evaluations(experiment) * math.fsum(c.pairs for c in cells(experiment, seed=seed))
    return int(min(max(30, math.ceil(4 * (START_SECONDS + pairs / rate) / 60)), 24 * 60))


def measure_memory_mib(experiment: Mapping[str, Any], *, seed: int) -> int:
    """Memory of a measurement in MiB: it holds the stored flow, its results, and work of the same size."""
    return 2 * BASE_MIB + 4 * stored_mib(experiment, seed=seed)


def disk_mib(experiments: Mapping[str, Mapping[str, Any]], *, seed: int) -> int:
    """Room of all results in MiB: the clouds, as much again for what is measured on them, and half a GiB for all else."""
    return 512 + 2 * sum(stored_mib(e, seed=seed) for e in experiments.values())


def largest(experiments: Mapping[str, Mapping[str, Any]], *, seed: int, gpu: bool, threads: int = 4) -> list[str]:
    """Arguments of ``python -m driftrates.pipeline.cluster preflight``: the largest simulation, the largest measurement of each kind."""
    needs: dict[str, list[int]] = {}

    def add(stage: str, memory: int, minutes: int, width: int, gpus: int) -> None:
        request = [memory, minutes, width, gpus]
        needs[stage] = [max(pair) for pair in zip(needs.get(stage, request), request, strict=True)]

    for experiment in experiments.values():
        minutes = flow_minutes(experiment, seed=seed, gpu=gpu, threads=threads)
        add("simulate_flow", flow_memory_mib(experiment, seed=seed), minutes, threads, int(gpu))
        for measurement in experiment["measure"]:
            add(f"measure_{measurement}", measure_memory_mib(experiment, seed=seed), STAGE_MINUTES, 1, 0)
    return [f"--need={stage},{','.join(map(str, request))}" for stage, request in needs.items()]


def _stored(experiment: Mapping[str, Any], ensembles: list[Cell]) -> int:
    snapshots = min(experiment["keep_clouds"], experiment["times"]["count"])
    observables = 14 * 8 * sum(c.replicates for c in ensembles) * experiment["times"]["count"]
    width = np.dtype(experiment["dtype"]).itemsize
    return observables + snapshots * width * sum(c.replicates * c.n * c.d for c in ensembles)
