"""Engines under test: each that runs here, and the CPU's as it compiles itself on other hosts."""

import llvmlite.binding as llvm
import pytest

from driftrates.sums import cpu, machine, vector_ir
from summation import BITS, Backend

SWITCHED_OFF = {
    "avx512": (),
    "avx2": ("avx512",),
    "sse": ("avx512", "avx", "fma", "f16c", "xop", "vaes", "vpclmulqdq"),
}
"""CPU features that a host with no more than the named instructions lacks, by their beginnings."""


def lacks(feature, form):
    return any(feature.startswith(p) for p in SWITCHED_OFF[form])


@pytest.fixture(params=list(SWITCHED_OFF))
def form(request, monkeypatch):
    """The engine as it compiles itself on a host of this kind; forms that this machine cannot run are skipped."""
    features = llvm.get_host_cpu_features()
    if BITS[request.param] == 512 and not vector_ir.wide(features):
        pytest.skip("no AVX-512 on this machine")
    if BITS[request.param] == 256 and not features.get("avx2"):
        pytest.skip("no AVX2 on this machine")
    reduced = type(features)({k: v and not lacks(k, request.param) for k, v in features.items()})
    monkeypatch.setattr(llvm, "get_host_cpu_features", lambda: reduced)
    machine.features.cache_clear()
    cpu._compiled.cache_clear()
    yield request.param
    machine.features.cache_clear()
    cpu._compiled.cache_clear()


@pytest.fixture(scope="module", params=["reference", "cpu", "cuda"])
def engine(request):
    if request.param == "cuda":
        from driftrates.sums import cuda

        if not cuda.available():
            pytest.skip("no GPU, or no CuPy, on this machine")
    return Backend(request.param)
