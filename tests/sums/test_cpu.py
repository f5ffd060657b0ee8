"""What is specific to the CPU engine: the code for every width of vector, its elementary functions, blocks, threads, memory."""

import ctypes
import math
import tracemalloc

import llvmlite.binding as llvm
import mpmath
import numpy as np
import pytest

from driftrates import kernels
from driftrates.sums import TERMS, cpu, kernel_sums, reference, vector_ir
from driftrates.sums.program import Column, Program, compile_terms

DTYPES = ("float64", "float32")
RTOL = {"float64": 2e-13, "float32": 1e-5}
SWITCHED_OFF = {
    "avx512": (),
    "avx2": ("avx512",),
    "sse": ("avx512", "avx", "fma", "f16c", "xop", "vaes", "vpclmulqdq"),
}
"""CPU features that a host with no more than the named instructions lacks, by their beginnings."""
BITS = {"avx512": 512, "avx2": 256, "sse": 128}


def lacks(feature, form):
    return any(feature.startswith(p) for p in SWITCHED_OFF[form])


@pytest.fixture(params=list(SWITCHED_OFF))
def form(request, monkeypatch):
    """The engine as it compiles itself on a host of this kind; forms that this machine cannot run are skipped."""
    features = llvm.get_host_cpu_features()
    if BITS[request.param] == 512 and not (features.get("avx512f") and features.get("avx512dq")):
        pytest.skip("no AVX-512 on this machine")
    if BITS[request.param] == 256 and not features.get("avx2"):
        pytest.skip("no AVX2 on this machine")
    reduced = type(features)({k: v and not lacks(k, request.param) for k, v in features.items()})
    monkeypatch.setattr(llvm, "get_host_cpu_features", lambda: reduced)
    cpu._compiled.cache_clear()
    yield request.param
    cpu._compiled.cache_clear()


@pytest.fixture
def threads():
    before = cpu._threads
    yield cpu.set_threads
    cpu.set_threads(before)


def cloud(seed, dtype, *shape):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def assert_agrees(got, program, x, y, shift, index=None):
    """``got`` against the reference in float64; errors are measured against the largest value of each column."""
    expected = reference.accumulate(program, x.astype(float), y.astype(float), shift.astype(float), index)
    assert got.dtype == x.dtype and got.shape == expected.shape
    size = np.abs(expected).max(axis=(0, 2))[None, :, None]
    assert (np.abs(got - expected) <= RTOL[str(x.dtype)] * size).all()


# the code for every host ------------------------------------------------------------------------------------------


def test_lanes_follow_the_instructions_of_the_host():
    wide, middle = {"avx512f": True, "avx512dq": True, "avx2": True}, {"avx512f": True, "avx512dq": False, "avx2": True}
    for dtype, per_64_bytes in (("float64", 8), ("float32", 16)):
        assert [vector_ir.lanes(f, dtype) for f in (wide, middle, {})] == [per_64_bytes, per_64_bytes // 2, per_64_bytes // 4]


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_form_under_test_is_the_one_compiled(form, dtype):
    program = compile_terms(kernels.Gaussian(), 2, ("k",))
    assert cpu._compiled(program, dtype)[1] == BITS[form] // (8 * np.dtype(dtype).itemsize)


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_kernel_on_every_form(form, dtype):
    for kernel in map(kernels.make, kernels.names()):
        terms = tuple(t for t in TERMS if t != "lap" or kernel.smoothness >= 2)
        for d, exclude_self in ((1, False), (3, True)):
            program = compile_terms(kernel, d, terms, exclude_self)
            x = cloud(d, dtype, 2, 37, d)
            y = x if exclude_self else cloud(9, dtype, 1, 21, d)
            shift = np.full((2, 37), 0.25, dtype)
            assert_agrees(cpu.accumulate(program, x, y, shift), program, x, y, shift)


def _accumulate_by(text, lanes, program, x, y, shift):
    """``accumulate`` of the given assembly on its own: one block, one thread, no point left out."""
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    machine = llvm.Target.from_default_triple().create_target_machine(
        cpu=llvm.get_host_cpu_name(), features=llvm.get_host_cpu_features().flatten(), opt=2, jit=True
    )
    module = llvm.parse_assembly(text)
    module.verify()
    engine = llvm.create_mcjit_compiler(module, machine)
    engine.finalize_object()
    function = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * 7, *[ctypes.c_int64] * 11)(engine.get_function_address("accumulate"))
    replicates, n, d = x.shape
    assert n % lanes == 0 and y.shape[0] == replicates
    points, out = np.ascontiguousarray(x.swapaxes(1, 2)), np.zeros((replicates, program.rows, n), x.dtype)
    own, none = np.full(n, -1), np.zeros(n // lanes, np.int64)
    arrays = (points, y, shift, own, none, none, out)
    m = y.shape[1]
    function(*(a.ctypes.data for a in arrays), d * n, m * d, n, program.rows * n, 0, replicates, 0, n // lanes, m, 7, n)
    return out


@pytest.mark.parametrize(
    ("dtype", "lanes"), [("float64", 8), ("float64", 4), ("float64", 2), ("float32", 16), ("float32", 8), ("float32", 4)]
)
@pytest.mark.parametrize("name", ["gaussian", "laplace", "inverse_multiquadric"])
def test_the_portable_text_runs_at_any_width(name, dtype, lanes):
    kernel = kernels.make(name)
    program = compile_terms(kernel, 2, ("k", "kz", "gz", "companion"))
    text = vector_ir.emit(program, dtype, lanes, False)
    assert f"<{lanes} x {'double' if dtype == 'float64' else 'float'}>" in text and "avx512" not in text
    x, y, shift = cloud(1, dtype, 2, 32, 2), cloud(2, dtype, 2, 19, 2), np.zeros((2, 32), dtype)
    assert_agrees(_accumulate_by(text, lanes, program, x, y, shift), program, x, y, shift)


# elementary functions ---------------------------------------------------------------------------------------------


def _of_squares(weight, x, dtype):
    """``weight`` as a function of s2 = x^2, each x summed over the single source 0 with decay 1."""
    program = Program(1, "0*s2", (Column("1", False), Column(weight, False)), (), False, (("k", (0, 1, False)),))
    x = np.asarray(x, dtype)
    unit, value = cpu.accumulate(program, x[None, :, None], np.zeros((1, 1, 1), dtype), np.zeros((1, len(x)), dtype))[0]
    return x * x, unit, value


def _decay(shift):
    """exp(shift - 0) of one source, shift (n,)."""
    program = Program(1, "0*s2", (Column("1", False),), (), False, (("k", (0, 1, False)),))
    zero = np.zeros((1, 1, 1), shift.dtype)
    return cpu.accumulate(program, np.zeros((1, len(shift), 1), shift.dtype), zero, shift[None])[0, 0]


def _ulps(got, exact):
    """Largest distance to the exact values (mpmath numbers) in units in the last place of the result."""
    spacing = np.spacing(np.abs(got))
    assert np.isfinite(got).all()
    return max(abs(float((mpmath.mpf(float(g)) - e) / mpmath.mpf(float(s)))) for g, e, s in zip(got, exact, spacing, strict=True))


def _wide(dtype, low, high, count=1500):
    """Numbers spread evenly in the exponent, and the powers of two with their neighbours, all within 2^low..2^high."""
    rng = np.random.default_rng(3)
    powers = np.exp2(np.arange(math.ceil(low), math.floor(high), 7.0)).astype(dtype)
    near = [np.nextafter(powers, np.array(v, dtype)) for v in (0, np.inf)]
    return np.concatenate([np.exp2(rng.uniform(low, high, count)).astype(dtype), powers, *near])


@pytest.mark.parametrize("dtype", DTYPES)
def test_exponential_is_exact_to_two_units_over_the_whole_range(form, dtype):
    """The decay of a source at distance 0 is 2^(shift log2 e): from just above the cut to where the result's reciprocal nears it."""
    limit = 999.9 if dtype == "float64" else 119.9
    t = np.concatenate([np.random.default_rng(0).uniform(-limit, limit, 3000), np.arange(-16, 17) / 16, [limit, -limit, 1e-30]])
    shift = (t * math.log(2)).astype(dtype)
    exponents = shift * np.asarray(math.log2(math.e), dtype)
    assert exponents.dtype == dtype
    with mpmath.workdps(40):
        worst = _ulps(_decay(shift), [mpmath.mpf(2) ** mpmath.mpf(float(e)) for e in exponents])
    assert worst < 2, worst


@pytest.mark.parametrize("dtype", DTYPES)
def test_exponential_below_the_cut_is_zero(form, dtype):
    """Nothing in between: what is not 0 is a normal number far from underflow."""
    cut = 1000 if dtype == "float64" else 120
    far = np.asarray([-1.001 * cut * math.log(2), -1e4, -1e20, -1e30, -np.inf], dtype)
    np.testing.assert_array_equal(_decay(far), 0)
    around = _decay(np.linspace(-1.001 * cut, -0.999 * cut, 501, dtype=dtype) * np.asarray(math.log(2), dtype))
    assert around[0] == 0 and around[-1] > 0 and (np.diff(around) >= 0).all()
    assert (around[around > 0] >= 0.99 * 2.0**-cut).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_logarithm_over_the_whole_range(form, dtype):
    """Relative error, also next to 1 where the logarithm vanishes, of log x for x from the smallest to the largest."""
    high = 500 if dtype == "float64" else 60
    step = 2.0 ** np.arange(-20 if dtype == "float64" else -9, -2)
    x = np.concatenate([_wide(dtype, -high, high), np.asarray(1 + step, dtype), np.asarray(1 - step, dtype)])
    s2, unit, got = _of_squares("log(s2)", x[x != 1], dtype)
    np.testing.assert_allclose(unit, 1, rtol=2 * np.finfo(dtype).eps)
    with mpmath.workdps(40):
        worst = _ulps(got, [mpmath.log(mpmath.mpf(float(v))) for v in s2])
    assert worst < 5, worst


@pytest.mark.parametrize("dtype", DTYPES)
def test_roots_over_the_whole_range(form, dtype):
    high = 490 if dtype == "float64" else 58
    x = _wide(dtype, -high, high)
    for weight, function in (("rs", lambda v: 1 / mpmath.sqrt(v)), ("s", mpmath.sqrt), ("sqrt(s2)", mpmath.sqrt)):
        s2, _, got = _of_squares(weight, x, dtype)
        with mpmath.workdps(40):
            worst = _ulps(got, [function(mpmath.mpf(float(v))) for v in s2])
        assert worst < 4, (weight, worst)


# blocks, own sources, threads -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("dtype", "block"), [("float64", 2048), ("float32", 256)])
@pytest.mark.parametrize("exclude_self", [False, True])
def test_around_the_boundary_of_a_block_of_sources(dtype, block, exclude_self):
    assert cpu._SOURCES_PER_BLOCK[dtype] == block
    program = compile_terms(kernels.Matern52(), 2, ("k", "gz", "lap"), exclude_self)
    for m in (block - 1, block, block + 1, 2 * block, 2 * block + 1):
        y = cloud(m, dtype, 1, m, 2)
        index = np.unique(np.clip([0, 1, block - 2, block - 1, block, block + 1, 2 * block - 1, 2 * block, m - 1], 0, m - 1))
        x, shift = y[:, index], np.zeros((1, len(index)), dtype)
        got = cpu.accumulate(program, x, y, shift, index if exclude_self else None)
        assert_agrees(got, program, x, y, shift, index)


@pytest.mark.parametrize("dtype", DTYPES)
def test_own_sources_in_any_order(form, dtype):
    """Indices that are far apart, falling, shuffled or repeated in one vector each leave out exactly their own source."""
    program = compile_terms(kernels.Gaussian(), 2, ("k", "gz"), True)
    y = cloud(4, dtype, 2, 700, 2)
    rng = np.random.default_rng(0)
    for index in (
        np.array([699, 3, 250]),
        np.arange(699, -1, -7),
        rng.permutation(700),
        np.array([5, 5, 5, 600, 5]),
        np.array([0]),
        np.array([699]),
    ):
        x, shift = y[:, index], np.zeros((2, len(index)), dtype)
        got = cpu.accumulate(program, x, y, shift, index)
        assert_agrees(got, program, x, y, shift, index)
        kept = cpu.accumulate(compile_terms(kernels.Gaussian(), 2, ("k", "gz")), x, y, shift)
        np.testing.assert_allclose(kept[:, 0] - got[:, 0], 1, atol=RTOL[dtype] * kept[:, 0].max())


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(1, 2100, 1500), (3, 700, 1201), (70, 180, 180), (500, 17, 400)])
@pytest.mark.parametrize("exclude_self", [False, True])
def test_the_number_of_threads_changes_no_bit(threads, shape, dtype, exclude_self):
    replicates, n, m = shape
    y = cloud(2, dtype, replicates, max(m, n) if exclude_self else m, 2)
    x = y[:, :n] if exclude_self else cloud(1, dtype, replicates, n, 2)
    assert replicates * n * y.shape[1] > 2 * cpu._PAIRS_PER_TASK
    program = compile_terms(kernels.Gaussian(), 2, ("k", "gz"), exclude_self)
    found = []
    for count in (1, 2, 3):
        threads(count)
        found.append(cpu.accumulate(program, x, y, np.zeros((replicates, n), dtype)))
    assert found[0].tobytes() == found[1].tobytes() == found[2].tobytes()
    rows = slice(0, None, max(1, replicates // 3))
    assert_agrees(found[2][rows, :, -40:], program, x[rows, -40:], y[rows], np.zeros((len(x[rows]), 40), dtype), np.arange(n)[-40:])


def test_a_replicate_alone_has_the_bits_it_has_among_others():
    kernel, x = kernels.Matern32(), cloud(0, "float64", 40, 130, 2)
    together = kernel_sums(x, x, kernel, 0.5, TERMS)
    alone = kernel_sums(x[7:8], x[7:8], kernel, 0.5, TERMS)
    for t in TERMS:
        assert together.terms[t][7].tobytes() == alone.terms[t][0].tobytes()


def test_threads_must_be_positive(threads):
    for count in (0, -2):
        with pytest.raises(ValueError, match=f"threads must be at least 1, not {count}"):
            threads(count)


# dimensions and memory --------------------------------------------------------------------------------------------


def test_the_largest_compiled_dimension_and_the_reference_beyond():
    kernel = kernels.Gaussian()
    for d in (32, 33):
        program = compile_terms(kernel, d, ("k", "gz"), True)
        x, shift = cloud(d, "float64", 2, 20, d) / 4, np.zeros((2, 20))
        got = cpu.accumulate(program, x, x, shift)
        assert_agrees(got, program, x, x, shift)
        assert (got.tobytes() == reference.accumulate(program, x, x, shift).tobytes()) == (d == 33)


@pytest.mark.parametrize(("n", "m"), [(100_000, 24), (24, 100_000), (12_000, 12_000)])
def test_memory_grows_with_points_plus_sources(n, m):
    program = compile_terms(kernels.Gaussian(), 2, ("k", "gz"))
    x, y, shift = cloud(1, "float32", 1, n, 2), cloud(2, "float32", 1, m, 2), np.zeros((1, n), "float32")
    cpu.accumulate(program, x[:, :1], y[:, :1], shift[:, :1])
    tracemalloc.start()
    cpu.accumulate(program, x, y, shift)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 60 * (n + m) + 100_000, peak
