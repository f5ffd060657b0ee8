"""Without a GPU, and with one that fails: one line names the remedy, or the CPU takes over."""

from __future__ import annotations

import sys
import types

import numpy as np
import pytest

from driftrates import kernels
from driftrates.sums import cuda
from driftrates.sums.program import compile_terms

PROGRAM = compile_terms(kernels.make("gaussian"), 2, ("k", "kz"))


def _without_cupy(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", None)


def _without_gpu(monkeypatch):
    fake = types.ModuleType("cupy")
    fake.is_available = lambda: False
    monkeypatch.setitem(sys.modules, "cupy", fake)


@pytest.mark.parametrize(("hide", "cause"), [(_without_cupy, "needs CuPy"), (_without_gpu, "no usable GPU")])
def test_without_a_gpu_one_line_names_the_remedy(monkeypatch, hide, cause):
    hide(monkeypatch)
    assert cuda.available() is False
    x, shift = np.zeros((1, 3, 2)), np.zeros((1, 3))
    for call in (
        cuda.device_name,
        lambda: cuda.accumulate(PROGRAM, x, x, shift),
        lambda: cuda.nearest(x, x),
    ):
        with pytest.raises(RuntimeError, match=rf"{cause}.*\.\[cuda12\].*\.\[cuda13\].*device: cpu") as caught:
            call()
        assert "\n" not in str(caught.value)


def _error(name, module, text="", base=Exception):
    return type(name, (base,), {"__module__": module})(text)


OUT_OF_MEMORY = _error("OutOfMemoryError", "cupy.cuda.memory", "Out of memory allocating 9 bytes", MemoryError)
LOST = _error("CUDARuntimeError", "cupy_backends.cuda.api.runtime", "cudaErrorECCUncorrectable: uncorrectable\nECC error", RuntimeError)
FULL = _error("CUDARuntimeError", "cupy_backends.cuda.api.runtime", "cudaErrorMemoryAllocation: out of memory", RuntimeError)


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (OUT_OF_MEMORY, "ran out of memory"),
        (cuda.Unavailable("no usable GPU, set device: cpu"), "no usable GPU"),
        (LOST, "ECC error"),
        (FULL, "MemoryAllocation"),
    ],
)
def test_failing_gpu_falls_back_or_names_the_remedy(monkeypatch, capsys, error, cause):
    monkeypatch.setattr(cuda, "device_name", lambda: "a card")
    devices = []

    def call(device):
        devices.append(device)
        if device == "gpu":
            raise error
        return 7

    assert cuda.run(call, "cpu", fall_back=True) == (7, "cpu")
    value, name = cuda.run(call, "gpu", fall_back=True)
    assert value == 7 and name.startswith("cpu (") and "GPU" in name and devices == ["cpu", "gpu", "cpu"]
    line = capsys.readouterr().out
    assert cause in line and "starts again on the CPU" in line and line.count("\n") == 1
    with pytest.raises(RuntimeError, match=rf"{cause}.*device: cpu") as caught:
        cuda.run(call, "gpu", fall_back=False)
    assert "\n" not in str(caught.value) and devices[-1] == "gpu"
    assert ("n_particles" in str(caught.value)) == (error in (OUT_OF_MEMORY, FULL))
    assert cuda.run(lambda device: device, "gpu", fall_back=False) == ("gpu", "a card")


@pytest.mark.parametrize("error", [MemoryError("of the host"), ValueError("bad input"), FloatingPointError("not finite")])
def test_other_errors_pass_on_a_gpu(error):
    def call(device):
        raise error

    with pytest.raises(type(error)) as caught:
        cuda.run(call, "gpu", fall_back=True)
    assert caught.value is error
