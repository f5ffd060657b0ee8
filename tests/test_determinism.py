"""The same bits for any number of threads, in every process, and for every replicate whichever others are there."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from driftrates import kernels
from driftrates.random import generator
from driftrates.simulate import simulate_flow
from driftrates.sums import kernel_sums, nufft
from problems import gaussian_start, normal, problem

TERMS = ("k", "kz", "gz", "companion")
CASES = {
    # engine, kernel, d, points, dtype, relative accuracy, whether a point is left out of its own sum
    "reference": ("reference", "matern52", 2, 60, "float64", None, True),
    "cpu": ("cpu", "laplace", 2, 700, "float64", None, True),
    "cpu, single precision": ("cpu", "gaussian", 3, 700, "float32", None, False),
    "cpu, many dimensions": ("cpu", "inverse_multiquadric", 40, 600, "float64", None, True),
    "line": ("line", "matern32", 1, 3000, "float64", None, True),
    "cells": ("cells", "laplace", 2, 3000, "float64", 1e-6, False),
    "ewald": ("ewald", "matern32", 2, 2000, "float64", 1e-6, True),
    "nufft": ("nufft", "gaussian", 2, 3000, "float64", 1e-9, True),
    "nufft in space": ("nufft", "gaussian", 3, 800, "float64", 1e-6, False),
    "chosen": (None, "gaussian", 1, 3000, "float64", 1e-8, False),
    "chosen, exact": (None, "laplace", 1, 3000, "float64", None, True),
    "far away": ("cpu", "gaussian", 2, 300, "float64", None, False),
}
LAST_REPLICATES = 3


def sums(case, replicates=slice(None)):
    """Results of a case as one array per term, the logarithm of their scale first."""
    engine, kernel, d, n, dtype, rtol, exclude_self = CASES[case]
    x = generator(0, "determinism", case).normal(size=(LAST_REPLICATES, n, d)).astype(dtype)[replicates]
    y = x if exclude_self else x[:, : n // 2] + (200.0 if case == "far away" else 0.1)
    scale, terms = kernel_sums(x, y, kernels.make(kernel), 0.2 * d**0.5, TERMS, engine=engine, rtol=rtol, exclude_self=exclude_self)
    return [scale, *terms.values()]


def digest(case):
    return hashlib.sha256(b"".join(a.tobytes() for a in sums(case))).hexdigest()


def digests():
    return {case: digest(case) for case in CASES if nufft.installed() or CASES[case][0] not in ("nufft", "ewald")}


def test_threads_and_repetition_change_no_bit_of_a_sum(threads):
    found = []
    for count in (1, 2, 3, 1):
        threads(count)
        found.append(digests())
    assert found[0] == found[1] == found[2] == found[3]
    assert len(set(found[0].values())) == len(found[0])


@pytest.fixture(scope="module")
def expected():
    return str(digests())


@pytest.mark.parametrize(
    "environment",
    [
        {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "PYTHONHASHSEED": "1"},
        {"OMP_NUM_THREADS": "3", "OPENBLAS_NUM_THREADS": "3", "PYTHONHASHSEED": "2", "PYTHONOPTIMIZE": "1"},
    ],
)
def test_another_process_finds_the_same_bits(environment, expected):
    here = Path(__file__).parent
    path = os.pathsep.join([str(here), str(here.parent / "src")])
    code = "import test_determinism; print(test_determinism.digests())"
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": path, **environment}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == expected


@pytest.mark.parametrize("case", [c for c in CASES if CASES[c][0] not in (None, "nufft", "ewald") or nufft.installed()])
def test_a_replicate_does_not_depend_on_the_others(case):
    """Where the cost of all replicates decides, on the engine or on the parameters of the Ewald sum, to the accuracy asked for."""
    whole, (engine, *_, rtol, _) = sums(case), CASES[case]
    for r in range(LAST_REPLICATES):
        for alone, together in zip(sums(case, slice(r, r + 1)), whole, strict=True):
            if rtol is None or engine in ("nufft", "cells"):
                assert alone[0].tobytes() == together[r].tobytes(), case
            else:
                np.testing.assert_allclose(alone[0], together[r], rtol=0, atol=2 * rtol * abs(together[r]).max())


LONG = {"target": normal(1), "start": gaussian_start(2.0), "n_particles": [6000], "replicates": 3, "keep_clouds": 2}
FLOWS = {
    "exact sums": {"n_particles": [8, 16], "replicates": 4, "entropy": True},
    "fast sums": {**LONG, "times": {"stop": 0.01, "count": 2}, "kernel_rtol": 1e-9},
    "fast sums, Euler": {**LONG, "times": {"stop": 0.02, "count": 3}, "kernel_rtol": 1e-7, "integrator": {"method": "euler", "step": 0.01}},
    "stabilised": {"n_particles": 12, "replicates": 3, "integrator": {"method": "rkc"}, "times": {"stop": 1.0, "count": 3}},
}  # fmt: skip


@pytest.mark.parametrize("case", FLOWS)
def test_threads_change_no_bit_of_a_simulation(case, threads):
    experiment, found = problem(**FLOWS[case]), []
    for count in (1, 2, 3):
        threads(count)
        flow = simulate_flow(experiment, seed=3)
        found.append({name: v.values.tobytes() for name, v in flow.variables.items()} | {"engine": flow.attrs["engine"]})
    assert found[0] == found[1] == found[2]
    if "kernel_rtol" in FLOWS[case] and nufft.installed():
        assert "nufft" in found[0]["engine"]


@pytest.mark.parametrize("case", FLOWS)
def test_more_replicates_leave_the_first_as_they_were(case):
    few, many = (simulate_flow(problem(**{**FLOWS[case], "replicates": replicates}), seed=3) for replicates in (2, 5))
    for name in few.data_vars:
        if "replicate" in few[name].dims:
            np.testing.assert_array_equal(many[name].isel(replicate=slice(2)), few[name], err_msg=name)
