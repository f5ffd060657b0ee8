"""The CUDA engine in three ways: machine code from NVRTC, the same source on the CPU, and a real GPU where there is one."""

from __future__ import annotations

import ctypes
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from driftrates import kernels
from driftrates.sums import cuda, kernel_sums, reference
from driftrates.sums.cuda_source import accumulate_source, nearest_source
from driftrates.sums.program import compile_terms
from summation import cloud, program_of, terms_of

DIMENSIONS = (1, 2, 3, 5, 10)
DTYPES = ("float32", "float64")
TOLERANCE = {"float32": 4e-6, "float64": 2e-13}


# Machine code without a GPU.


@pytest.fixture(scope="module")
def nvrtc():
    module = pytest.importorskip("cuda.bindings.nvrtc", reason="cuda-bindings is not installed (extra 'test')")
    try:
        module.nvrtcVersion()
    except RuntimeError as error:
        pytest.skip(f"the NVRTC library is not installed (extra 'test'): {error}")
    return module


def compile_cubin(nvrtc, source, arch, dtype):
    """Machine code and compiler log; a failure to compile fails the test with the log."""
    error, program = nvrtc.nvrtcCreateProgram(source.text.encode(), b"driftrates.cu", 0, [], [])
    assert error == nvrtc.nvrtcResult.NVRTC_SUCCESS
    options = [f"--gpu-architecture={arch}", "--ptxas-options=-v", *cuda.OPTIONS[dtype]]
    (result,) = nvrtc.nvrtcCompileProgram(program, len(options), [o.encode() for o in options])
    log = b" " * nvrtc.nvrtcGetProgramLogSize(program)[1]
    nvrtc.nvrtcGetProgramLog(program, log)
    log = log.decode()
    assert result == nvrtc.nvrtcResult.NVRTC_SUCCESS, log
    cubin = b" " * nvrtc.nvrtcGetCUBINSize(program)[1]
    nvrtc.nvrtcGetCUBIN(program, cubin)
    nvrtc.nvrtcDestroyProgram(program)
    return cubin, log


def assert_machine_code_without_spills(nvrtc, source, arch, dtype):
    cubin, log = compile_cubin(nvrtc, source, arch, dtype)
    assert cubin[:4] == b"\x7fELF"
    assert re.findall(r"Compiling entry function '(\w+)'", log) == ["combine", "pairs"]
    memory = re.findall(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads", log)
    assert memory == [("0", "0", "0")] * 2, log


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", kernels.names())
def test_every_kernel_compiles_for_sm_90(nvrtc, name, dtype):
    for d in DIMENSIONS:  # with exclude_self the source holds both loops, with and without the test for j = i
        assert_machine_code_without_spills(nvrtc, accumulate_source(program_of(name, d, True), dtype), "sm_90", dtype)


@pytest.mark.parametrize("arch", ["sm_75", "sm_80", "sm_90"])
def test_covering_set_compiles_for_every_architecture(nvrtc, arch):
    names = kernels.names()
    for i in range(max(len(names), 2 * len(DIMENSIONS))):
        dtype = DTYPES[i // len(DIMENSIONS) % 2]
        program = program_of(names[i % len(names)], DIMENSIONS[i % len(DIMENSIONS)], exclude_self=arch != "sm_90" and i % 2 == 0)
        assert_machine_code_without_spills(nvrtc, accumulate_source(program, dtype), arch, dtype)


@pytest.mark.parametrize("arch", ["sm_75", "sm_80", "sm_90"])
def test_nearest_compiles_for_every_architecture(nvrtc, arch):
    for dtype, d, exclude in (("float32", 10, False), ("float64", 2, True)):
        assert_machine_code_without_spills(nvrtc, nearest_source(d, dtype, exclude), arch, dtype)


def test_spills_are_seen(nvrtc):
    """Negative control: in 128 dimensions a point does not fit into the registers."""
    with pytest.raises(AssertionError, match="bytes stack frame"):
        assert_machine_code_without_spills(nvrtc, accumulate_source(program_of("gaussian", 128), "float64"), "sm_90", "float64")


# The same source on the CPU, and on a GPU where there is one.


class CpuDevice:
    """Stands in for the GPU: compiles the generated source with the host's C++ compiler and runs its blocks in turn."""

    namespace = np
    asarray = staticmethod(np.asarray)
    asnumpy = staticmethod(np.asarray)

    def __init__(self, folder, libraries):
        self.folder, self.libraries = folder, libraries
        self.launches = []
        self.multiprocessors = 4

    def kernels(self, text, dtype):
        if text not in self.libraries:
            stem = self.folder / f"pairs{len(self.libraries)}"
            shim = Path(__file__).with_name("cuda_shim.h").read_text()
            stem.with_suffix(".cpp").write_text(f"{shim}\n{text}\nSHIM_LAUNCHERS\n")
            command = ["g++", "-std=c++17", "-O1", "-w", "-shared", "-fPIC", "-o", f"{stem}.so", f"{stem}.cpp"]
            compiled = subprocess.run(command, check=False, capture_output=True, text=True)
            assert compiled.returncode == 0, compiled.stderr
            self.libraries[text] = ctypes.CDLL(f"{stem}.so")
        library = self.libraries[text]
        pairs = self._launcher(library.run_pairs, dtype, [np.ndarray] * 5 + [np.int32] * 4 + [np.int64])
        combine = self._launcher(library.run_combine, dtype, [np.ndarray] * 2 + [np.int64, np.int32])
        return pairs, combine

    def _launcher(self, function, dtype, signature):
        """Call like a CuPy kernel; a scalar of another width than the kernel's would be misread on a GPU and is refused."""

        def launch(grid, block, arguments):
            self.launches.append(grid)
            values = []
            for kind, value in zip(signature, arguments, strict=True):
                if isinstance(value, np.ndarray):
                    assert kind is np.ndarray and value.flags.c_contiguous and str(value.dtype) in (dtype, "int64")
                    values.append(ctypes.c_void_p(value.ctypes.data))
                elif kind is np.ndarray:
                    assert type(value) is np.int64 and value == 0
                    values.append(ctypes.c_void_p(0))
                else:
                    assert type(value) is kind
                    values.append({np.int32: ctypes.c_int, np.int64: ctypes.c_longlong}[kind](int(value)))
            function(grid[0], grid[1] if len(grid) > 1 else 1, block[0], *values)

        return launch


class Gpu:
    """The real device, with the launches left alone."""

    launches = None

    def __init__(self):
        self.namespace = cuda.namespace()
        self.asarray, self.asnumpy = self.namespace.asarray, self.namespace.asnumpy


@pytest.fixture(scope="session")
def build(tmp_path_factory):
    """Folder and collection of the libraries compiled so far."""
    return tmp_path_factory.mktemp("cuda_on_cpu"), {}


@pytest.fixture(params=["cpu", "gpu"])
def device(request, monkeypatch, build):
    """Where the generated source runs."""
    if request.param == "gpu":
        if not cuda.available():
            pytest.skip("no NVIDIA GPU with CuPy on this machine")
        return Gpu()
    if shutil.which("g++") is None:
        pytest.skip("no g++ on this machine to run the CUDA source on the CPU")
    stand_in = CpuDevice(*build)
    monkeypatch.setattr(cuda, "namespace", lambda: np)
    monkeypatch.setattr(cuda, "_kernels", stand_in.kernels)
    monkeypatch.setattr(cuda, "_multiprocessors", lambda: stand_in.multiprocessors)
    return stand_in


def oracle(program, x, y, shift, index=None):
    """Reference sums in float64, with the scale of each row: what rounding is measured against where terms cancel."""
    with np.errstate(over="ignore"):  # of own terms, before they are left out
        exact = reference.accumulate(program, *(a.astype(np.float64) for a in (x, y, shift)), index)
    return exact, np.abs(exact).max(axis=2, keepdims=True)


def assert_near(value, exact, scale, dtype):
    assert str(value.dtype) == dtype and value.shape == exact.shape
    np.testing.assert_array_less(np.abs(value - exact), TOLERANCE[dtype] * (np.abs(exact) + scale) + 1e-300)


@pytest.mark.parametrize(
    ("name", "d", "dtype", "exclude_self"),
    [
        ("gaussian", 1, "float32", True),
        ("gaussian", 2, "float64", False),
        ("laplace", 2, "float32", False),
        ("laplace", 3, "float64", True),
        ("matern52", 5, "float32", True),
        ("matern72", 5, "float64", False),
        ("inverse_multiquadric", 10, "float64", True),
        ("inverse_multiquadric", 2, "float32", False),
        ("smoothed_laplace", 3, "float64", False),
    ],
)
def test_accumulate_is_the_reference(device, name, d, dtype, exclude_self):
    program = program_of(name, d, exclude_self)
    for replicates, n, m, shared in ((3, 331, 331, False), (2, 37, 37, True), (1, 600, 600, True)):
        x = cloud(1, dtype, replicates, n, d)
        y = cloud(2, dtype, 1 if shared else replicates, m, d)
        y[0, :5] = x[0, :5]  # points on top of sources
        shift = np.abs(cloud(3, dtype, replicates, n))
        shift[0] = 0  # the first replicate takes the plain pass, in scaled coordinates, the others the lifted one
        value = cuda.accumulate(program, *map(device.asarray, (x, y, shift)))
        assert_near(device.asnumpy(value), *oracle(program, x, y, shift), dtype)
    if device.launches:
        assert device.launches[0][1] > 1, "the first case is meant to split the sources into slices"


@pytest.mark.parametrize("dtype", DTYPES)
def test_point_and_source_numbers_differ(device, dtype):
    program = program_of("gaussian", 2)
    for n, m in ((1, 1), (5, 700), (700, 5), (129, 257), (0, 4)):
        x, y, shift = cloud(4, dtype, 2, n, 2), cloud(5, dtype, 1, m, 2), np.zeros((2, n), dtype)
        value = device.asnumpy(cuda.accumulate(program, *map(device.asarray, (x, y, shift))))
        if n:
            assert_near(value, *oracle(program, x, y, shift), dtype)
        else:
            assert value.shape == (2, program.rows, 0)


def test_own_source_is_skipped_by_its_index(device):
    """A subset of points in any order: the huge own term never enters, so nothing is lost by subtraction."""
    program = program_of("gaussian", 2, exclude_self=True)
    y = cloud(6, "float64", 1, 300, 2)
    y[0, :40] += 30 * np.arange(1, 41)[:, None]  # from the next source, these are 42 bandwidths away
    index = np.random.default_rng(7).permutation(40)
    x = y[:, index]
    gap = reference.nearest(x, y, index)
    shift = 0.5 * gap
    arguments = [device.asarray(a) for a in (x, y, shift, index)]
    value = device.asnumpy(cuda.accumulate(program, *arguments))
    exact, _ = oracle(program, x, y, shift, index)
    np.testing.assert_allclose(value, exact, rtol=1e-10)
    k = program.slots["k"][0]
    assert (value[:, k] >= 1 - 1e-12).all() and (value[:, k] < 300).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("d", [1, 2, 10])
def test_nearest_is_the_reference(device, d, dtype):
    x, y = cloud(8, dtype, 3, 150, d), cloud(9, dtype, 3, 700, d)
    index = np.random.default_rng(10).permutation(700)[:150]
    y[:, index] = x
    for own in (None, index):
        value = device.asnumpy(cuda.nearest(device.asarray(x), device.asarray(y), None if own is None else device.asarray(own)))
        np.testing.assert_allclose(value, reference.nearest(x, y, own), rtol=10 * np.finfo(dtype).eps, atol=0)
    assert np.isinf(
        device.asnumpy(cuda.nearest(device.asarray(x[:1, :1]), device.asarray(x[:1, :1]), device.asarray(np.zeros(1, np.int64))))
    ).all()


@pytest.mark.parametrize(("name", "dtype"), [("gaussian", "float32"), ("gaussian", "float64"), ("laplace", "float64")])
@pytest.mark.parametrize("exclude_self", [False, True])
def test_kernel_sums_of_far_points(device, name, dtype, exclude_self):
    """Through the public door: bandwidths per replicate, far points recomputed in shifted form."""
    kernel, far = kernels.make(name), 300.0 if name == "laplace" else 25.0
    x = cloud(11, dtype, 2, 200, 2)
    x[:, 7] += far
    x[1, 90] -= 2 * far
    y = x if exclude_self else cloud(12, dtype, 1, 200, 2)
    h, terms = np.array([0.3, 0.5]), terms_of(kernel)
    got = kernel_sums(device.asarray(x), device.asarray(y), kernel, h, terms, exclude_self=exclude_self, engine="cuda")
    with np.errstate(over="ignore"):
        want = kernel_sums(x.astype(np.float64), y.astype(np.float64), kernel, h, terms, exclude_self=exclude_self, engine="reference")
    log_scale, mass = device.asnumpy(got.log_scale), device.asnumpy(got.terms["k"])
    assert str(log_scale.dtype) == dtype and (log_scale[:, 7] < 0).all()
    tolerance = {"float32": 2e-3, "float64": 1e-11}[dtype]  # the exponent itself, about 1e4, is rounded
    np.testing.assert_allclose(
        np.log(mass) + log_scale, np.log(want.terms["k"]) + want.log_scale, rtol=4e-7 if dtype == "float32" else 1e-13, atol=tolerance
    )
    for term in terms:
        value, exact = device.asnumpy(got.terms[term]), want.terms[term]
        ratio = (value.T / mass.T).T, (exact.T / want.terms["k"].T).T
        if value.ndim == 3:
            ratio = (value / mass[..., None], exact / want.terms["k"][..., None])
        np.testing.assert_allclose(*ratio, rtol=tolerance, atol=tolerance * np.abs(ratio[1]).max())


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["gaussian", "laplace"])
def test_shift_cancels_the_exponent_exactly(device, name, dtype):
    """One source, far away, its exponent taken out: the sum is 1, though the exponent's own rounding is far from 0."""
    kernel = kernels.make(name)
    far = np.linspace(900, 1100, 50).astype(dtype)
    shift = (0.5 * far * far if name == "gaussian" else far).astype(dtype)
    program = compile_terms(kernel, 1, ("k",))
    arguments = [device.asarray(a) for a in (far[None, :, None], np.zeros((1, 1, 1), dtype), shift[None])]
    value = device.asnumpy(cuda.accumulate(program, *arguments))
    # The Laplace distance is an approximate root: a few units in its last place.
    tolerance = 4 * np.finfo(dtype).eps * (1 if name == "gaussian" else 1100)
    np.testing.assert_allclose(value, 1, rtol=tolerance)


def test_float32_error_does_not_grow_with_the_number_of_sources(device):
    m = 100_000
    program = compile_terms(kernels.make("gaussian"), 1, ("k",))
    x, y = 0.1 * cloud(13, "float32", 1, 16, 1), 0.3 * cloud(14, "float32", 1, m, 1)
    shift = np.zeros((1, 16), "float32")
    if device.launches is not None:
        device.multiprocessors = 0  # one slice: the hardest case
    value = device.asnumpy(cuda.accumulate(program, *map(device.asarray, (x, y, shift))))[0, 0]
    exact = reference.accumulate(program, *(a.astype(np.float64) for a in (x, y, shift)))[0, 0]
    assert np.abs(value / exact - 1).max() < 1e-6
    weights = np.exp(-0.5 * (y[0, :, 0] - x[0, 0, 0]) ** 2)
    assert abs(np.cumsum(weights, dtype="float32")[-1] / exact[0] - 1) > 3e-6, "plain addition is meant to be worse"


def test_slices_change_only_rounding_and_runs_agree(device):
    program = program_of("laplace", 2)
    x, y, shift = cloud(15, "float64", 1, 64, 2), cloud(16, "float64", 1, 4000, 2), np.zeros((1, 64))
    arguments = [device.asarray(a) for a in (x, y, shift)]
    first, second = (device.asnumpy(cuda.accumulate(program, *arguments)) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    if device.launches is not None:
        device.multiprocessors = 0
        one = cuda.accumulate(program, *arguments)
        assert device.launches[0][1] > 1 and device.launches[-1][1] == 1
        np.testing.assert_allclose(one, first, rtol=1e-13, atol=1e-11)
