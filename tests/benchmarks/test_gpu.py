"""The benchmark of the GPU where there is none: one clear message, and its logic on arrays that act like CuPy's."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import devices
from driftrates import kernels
from driftrates.sums import cpu, cuda, cunufft, reference

SCRIPT = Path(__file__).parents[2] / "benchmarks/gpu.py"
sys.path.insert(0, str(SCRIPT.parent))
gpu = importlib.import_module("gpu")


@pytest.fixture
def card(monkeypatch):
    """A GPU whose direct sums are those of the CPU; ``spoil`` of the fixture, if set, changes their results."""
    state = types.SimpleNamespace(spoil=lambda columns: columns)

    def accumulate(program, x, y, shift, index=None):
        values = (None if a is None else a.values for a in (x, y, shift, index))
        return devices.Device(state.spoil(cpu.accumulate(program, *values)))

    def nearest(x, y, index=None):
        return devices.Device(reference.nearest(x.values, y.values, None if index is None else index.values))

    monkeypatch.setitem(sys.modules, "cupy", devices.namespace)
    monkeypatch.setattr(cuda, "namespace", lambda: devices.namespace)
    monkeypatch.setattr(cuda, "accumulate", accumulate)
    monkeypatch.setattr(cuda, "nearest", nearest)
    monkeypatch.setattr(cuda, "device_name", lambda: "NVIDIA H200 (stand-in)")
    monkeypatch.setattr(gpu, "properties", lambda: {"multiprocessors": 132, "clock": 1.98e9, "capability": [9, 0]})
    monkeypatch.setattr(gpu, "seconds", lambda call, rounds, least=0.0: (call(), [1e-3] * rounds)[1])
    monkeypatch.setattr(kernels, "names", lambda: ("gaussian", "laplace"))
    monkeypatch.setattr(cunufft, "library", lambda: None)
    return state


@pytest.mark.skipif(cuda.available(), reason="there is a GPU here")
def test_without_a_gpu_it_ends_in_one_line():
    ended = subprocess.run([sys.executable, SCRIPT, "--quick"], capture_output=True, text=True, timeout=120)
    assert ended.returncode == 1 and ended.stdout == ""
    assert ended.stderr.startswith("benchmarks/gpu.py: ") and ended.stderr.count("\n") == 1
    assert "cuda12" in ended.stderr and "GPU" in ended.stderr


def test_checks_and_simulation_pass_and_are_stored(card, tmp_path):
    gpu.main(["--quick", "--only", "checks", "flow", "nufft", "--output", str(tmp_path)])
    (table,) = tmp_path.glob("nvidia-h200-stand-in-*.csv")
    rows = pd.read_csv(table)
    checked = rows[rows.part == "checks"]
    assert len(checked) == 2 * 2 * 3 * 2 + 1 and 0 < checked.error.max() < 1e-4
    assert set(rows[rows.part == "flow"].device) == {"cpu", "gpu"}
    about = json.loads(table.with_suffix(".json").read_text())
    assert about["card"] == "NVIDIA H200 (stand-in)" and about["versions"]["numpy"] == np.__version__


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_wrong_sums_are_refused(card, dtype):
    """Negative control: one part in a million in float64, in a hundred in float32, of a single column."""
    size = {"float64": 1e-6, "float32": 1e-2}[dtype]

    def spoil(columns):
        if str(columns.dtype) == dtype:
            columns[:, -1] *= 1 + size
        return columns

    card.spoil = spoil
    with pytest.raises(gpu.Wrong, match=f"cuda engine is wrong.*'{dtype}'"):
        list(gpu.checks(True))


def test_wrong_trajectories_are_refused(card, monkeypatch):
    assert gpu.trajectory_error(3) < 1e-12
    monkeypatch.setattr(kernels, "names", lambda: ())
    monkeypatch.setattr(gpu, "trajectory_error", lambda steps: 1e-9)
    with pytest.raises(gpu.Wrong, match="differ by 1.0e-09 after 100 steps"):
        list(gpu.checks(True))


def test_throughput_is_a_fraction_of_the_roofline(card, monkeypatch):
    monkeypatch.setattr(gpu, "peers", lambda x: {"a peer": lambda: None})
    monkeypatch.setattr(cuda, "accumulate", lambda program, x, y, shift: None)
    rows = pd.DataFrame(gpu.throughput(True))
    ours = rows[(rows.contender == "driftrates") & (rows.n == 1000) & (rows.d == 2) & (rows.dtype == "float64")]
    bound = {kernel: gpu.roofline.limit(gpu.roofline.COUNTS[kernel, "float64"][2]) for kernel in ("gaussian", "laplace")}
    for row in ours.itertuples():
        assert row.pairs_per_second == pytest.approx(1e9)
        assert row.fraction_of_roofline == pytest.approx(1e9 / bound[row.kernel])
    assert set(rows[rows.contender == "a peer"].kernel) == {"gaussian"}
