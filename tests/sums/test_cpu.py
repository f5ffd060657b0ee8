"""What is specific to the CPU engine: the code for every width of vector, its elementary functions, blocks, threads, memory."""

import dataclasses
import functools
import math
import os
import re
import signal
import threading
import time
import tracemalloc

import llvmlite.binding as llvm
import mpmath
import numpy as np
import pytest

from driftrates import kernels
from driftrates.sums import TERMS, cpu, dense, kernel_sums, machine, reference, vector_ir
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
    assert cpu._compiled(program, dtype).lanes == BITS[form] // (8 * np.dtype(dtype).itemsize)


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
    function = machine.compiled(text, "accumulate", 1, 4)
    replicates, n, d = x.shape
    assert n % lanes == 0 and y.shape[0] == replicates
    points, out = np.ascontiguousarray(x.swapaxes(1, 2)), np.zeros((replicates, program.rows, n), x.dtype)
    own, none = np.full(n, -1), np.zeros(n // lanes, np.int64)
    m = y.shape[1]
    everything = np.array([0, m])
    arrays = (points, y, shift, own, none, none, everything, out)
    arguments = np.array([*(a.ctypes.data for a in arrays), d * n, m * d, n, 0, program.rows * n, 0, 1, m, n, 7, 7])
    assert len(arguments) == len(vector_ir.ARGUMENTS)
    function(arguments.ctypes.data, 0, replicates, 0, n // lanes)
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


def _of_distance(x, factor):
    """2^(-factor s2) of one source at the distances x, by the code that needs no shift, and the exponent as that code has it."""
    program = Program(1, f"{factor * math.log(2)!r}*s2", (Column("1", False),), (), False, (("k", (0, 1, False)),))
    zero = np.zeros((1, 1, 1), x.dtype)
    return cpu.accumulate(program, x[None, :, None], zero, np.zeros((1, len(x)), x.dtype))[0, 0], factor * math.log(2) * math.log2(math.e)


@pytest.mark.parametrize("dtype", DTYPES)
def test_exponential_of_a_distance_is_exact_to_two_units(form, dtype):
    bits, limit = (20, 1000) if dtype == "float64" else (9, 119)
    x = np.round(np.random.default_rng(0).uniform(0, 1, 3000) * 2**bits) / 2**bits  # whose squares are exact
    x = np.concatenate([x, np.arange(17) / 16]).astype(dtype)
    got, exponent = _of_distance(x, float(limit))
    scale = np.asarray(exponent, dtype)
    with mpmath.workdps(40):
        worst = _ulps(got, [mpmath.mpf(2) ** -(mpmath.mpf(float(scale)) * mpmath.mpf(float(v)) ** 2) for v in x])
    assert worst < 2 if form == "avx512" else worst < limit / 2 + 2, worst


@pytest.mark.parametrize("dtype", DTYPES)
def test_exponential_of_any_distance_is_a_normal_number_or_zero(form, dtype):
    """Across the underflow, and up to distances whose squares overflow."""
    cut = 1000 if dtype == "float64" else 120
    around = np.sqrt(np.linspace(0.9, 1.3, 2001) * cut).astype(dtype)
    got, _ = _of_distance(around, 1.0)
    assert (got[around**2 < 0.99 * cut] > 0).all() and (got[around**2 > 1.2 * cut] == 0).all() and (np.diff(got) <= 0).all()
    assert (got[got > 0] >= np.finfo(dtype).tiny).all()
    for far in np.logspace(3, 160 if dtype == "float64" else 25, 80):
        x = np.asarray([0, 1, far], dtype)
        with np.errstate(over="ignore"):
            values = _of_distance(x, 1.0)[0]
        assert values[0] == 1 and 0.49 < values[1] < 0.51 and values[2] == 0, far


@pytest.mark.parametrize("name", ["inverse_multiquadric", "smoothed_laplace"])
def test_divisions_by_large_distances(name):
    """Where powers of 1 + s2 overflow, far sources still weigh nothing instead of being no numbers."""
    kernel = kernels.make(name)
    program = compile_terms(kernel, 2, TERMS)
    for far in np.logspace(1, 16, 31, dtype="float32"):
        x, shift = np.asarray([[[0, 0], [1, 0.5], [far, 1]]], "float32"), np.zeros((1, 3), "float32")
        assert_agrees(cpu.accumulate(program, x, x, shift), program, x, x, shift)


def test_the_processor_keeps_its_subnormal_numbers():
    x = cloud(0, "float32", 1, 100, 2)
    cpu.accumulate(compile_terms(kernels.Gaussian(), 2, ("k",)), 30 * x, 30 * x, np.zeros((1, 100), "float32"))
    smallest = np.full(64, np.finfo("float32").tiny)
    assert (smallest / 2 > 0).all()


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
            worst = _ulps(got, [function(mpmath.mpf(float(v)) + kernels.TINY[dtype]) for v in s2])
        assert worst < 4, (weight, worst)


# instructions and rounding ----------------------------------------------------------------------------------------


def _innermost(program, dtype):
    """The vector instructions, and the uses of the stack, of the loop over the sources."""
    features = machine.features()
    target = llvm.Target.from_default_triple().create_target_machine(cpu=llvm.get_host_cpu_name(), features=features.flatten(), opt=3)
    module = llvm.parse_assembly(vector_ir.emit(program, dtype, cpu.lanes(dtype), vector_ir.wide(features), False))
    options = llvm.create_pipeline_tuning_options(speed_level=3)
    options.loop_unrolling = False
    llvm.create_pass_builder(target, options).getModulePassManager().run(module, llvm.create_pass_builder(target, options))
    blocks, name = {}, ""
    for line in target.emit_assembly(module).split("\n"):
        if label := re.match(r"(\.?\w+):", line):
            name = label[1]
        elif line.startswith("\t") and not line.startswith("\t."):
            blocks.setdefault(name, []).append(line.strip())
    (body,) = [b for n, b in blocks.items() if any(re.fullmatch(rf"j\w+\s+{re.escape(n)}", t) for t in b) and any(t[0] == "v" for t in b)]
    arithmetic = [t for t in body if t.startswith("v") and not t.startswith(("vbroadcast", "vmov"))]
    return len(arithmetic), sum("%rsp" in t for t in body)


@pytest.mark.parametrize(
    ("kernel", "terms", "float64", "float32"),
    [
        (kernels.Gaussian(), ("k", "kz", "gzz"), 14, 11),
        (kernels.Laplace(), ("k", "kz"), 21, 16),
        (kernels.Laplace(), ("k", "kz", "gz"), 22, 17),
    ],
)
def test_instructions_of_one_vector_of_pairs(kernel, terms, float64, float32):
    """As few as by hand: differences 2 d, the exponential 12 or 9, the root 8 or 5, one for each accumulator."""
    if not vector_ir.wide(machine.features()):
        pytest.skip("no AVX-512 on this machine")
    vectors = sum(t != "k" and t != "gzz" for t in terms)
    for dtype, rest in (("float64", float64), ("float32", float32)):
        for d in (1, 2, 3):
            count, spilled = _innermost(compile_terms(kernel, d, terms), dtype)
            assert count <= (2 + vectors) * d + rest and spilled <= d // 3, (dtype, d, count, spilled)


@pytest.mark.parametrize("h", [1.0, 0.03])
def test_float32_sums_keep_their_figures_over_many_sources(form, h):
    """Sums of 50000 sources are as accurate as those of 256: partial sums are joined block by block."""
    x, y = cloud(1, "float32", 1, 32, 2) / np.float32(h), cloud(2, "float32", 1, 50_000, 2) / np.float32(h)
    program = compile_terms(kernels.Gaussian(), 2, ("k", "kz", "gzz"))
    got = cpu.accumulate(program, x, y, np.zeros((1, 32), "float32"))
    exact = reference.accumulate(program, x.astype(float), y.astype(float), np.zeros((1, 32)))
    mass = exact[:, :1] + exact[:, 3:]
    assert (np.abs(got - exact) / mass).max() < 2e-6


# blocks, own sources, threads -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("dtype", "block"), [("float64", 2048), ("float32", 256)])
@pytest.mark.parametrize("exclude_self", [False, True])
def test_around_the_boundary_of_a_block_of_sources(dtype, block, exclude_self):
    assert cpu._SOURCES_PER_SUM[dtype] == block and cpu._SOURCES_PER_BLOCK == 2048
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
    assert replicates * n * y.shape[1] > 6 * cpu._LEAST_PAIRS
    program = compile_terms(kernels.Gaussian(), 2, ("k", "gz"), exclude_self)
    found = []
    for count in (1, 2, 3):
        threads(count)
        found.append(cpu.accumulate(program, x, y, np.zeros((replicates, n), dtype)))
    assert found[0].tobytes() == found[1].tobytes() == found[2].tobytes()
    rows = slice(0, None, max(1, replicates // 3))
    assert_agrees(found[2][rows, :, -40:], program, x[rows, -40:], y[rows], np.zeros((len(x[rows]), 40), dtype), np.arange(n)[-40:])


@pytest.mark.parametrize("count", [2, 3, 16])
@pytest.mark.parametrize(
    ("replicates", "vectors", "ragged"), [(1, 1250, False), (7, 40, False), (5, 90, True), (400, 3, True), (2, 1, False)]
)
def test_the_tasks_are_all_pairs_once_and_end_small(threads, count, replicates, vectors, ragged):
    threads(count)
    rng = np.random.default_rng(3)
    ranges = np.array([[[[0, 10_000]]]])
    if ragged:
        ranges = np.stack([np.zeros((replicates, vectors, 2), int), rng.integers(0, 20_000, (replicates, vectors, 2))], -1)
    seen, tasks = np.zeros((replicates, vectors), int), cpu._tasks(ranges, replicates, vectors, 8)
    for r0, r1, v0, v1 in tasks or [(0, replicates, 0, vectors)]:
        assert 0 <= r0 < r1 and 0 <= v0 < v1
        seen[r0:r1, v0:v1] += 1
    assert (seen == 1).all()
    pairs = np.broadcast_to(8 * np.diff(ranges)[..., 0].sum(-1), seen.shape)
    assert bool(tasks) == (pairs.sum() >= 6 * cpu._LEAST_PAIRS)
    if tasks:
        r0, r1, v0, v1 = tasks[-1]
        assert pairs[r0:r1, v0:v1].sum() <= cpu._LEAST_PAIRS + pairs.max()


def test_after_an_error_no_further_call_begins(threads):
    threads(2)
    begun = []

    def call(i):
        begun.append(i)
        if i == 3:
            raise MemoryError("no room")
        time.sleep(0.001)

    with pytest.raises(MemoryError, match="no room"):
        cpu.run([functools.partial(call, i) for i in range(500)])
    assert 3 < len(begun) < 500
    assert cpu.run([functools.partial(pow, i, 2) for i in range(100)]) == [i * i for i in range(100)]


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


# ranges of sources ------------------------------------------------------------------------------------------------


def _by_vector(program, x, y, shift, index, ranges):
    """The sums over ``ranges`` by the reference: each vector of points against copies of its sources, one after the other."""
    width, n = cpu.lanes(x.dtype), x.shape[1]
    many = np.broadcast_to(ranges, (len(x), *ranges.shape[-3:]))
    out = np.zeros((len(x), program.rows, n))
    for r in range(len(x)):
        for v in range(-(-n // width)):
            points = slice(v * width, min((v + 1) * width, n))
            chosen = np.concatenate([np.arange(a, b) for a, b in many[r, v]])
            for i in range(points.start, points.stop):
                kept = chosen[chosen != index[i]] if program.exclude_self else chosen
                if len(kept):
                    rows = (x[r : r + 1, i : i + 1].astype(float), y[r % len(y)][None, kept].astype(float), shift[r : r + 1, i : i + 1])
                    out[r, :, i] = reference.accumulate(_all_kept(program), *rows)[0, :, 0]
    return out


def _all_kept(program):
    return dataclasses.replace(program, exclude_self=False)


def _random_ranges(rng, *shape, m):
    """Intervals of every length from empty to nearly all, and one in four empty."""
    ends = np.sort(rng.integers(0, m + 1, (*shape, 2)), axis=-1)
    ends[rng.random(shape) < 0.25, 1] = 0
    return ends


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("exclude_self", [False, True])
@pytest.mark.parametrize("replicates", [1, 3])
def test_ranges_restrict_each_vector_to_its_sources(form, dtype, exclude_self, replicates):
    rng, n, m = np.random.default_rng(7), 61, 700
    program = compile_terms(kernels.Matern52(), 2, ("k", "gz", "lap"), exclude_self)
    y = cloud(1, dtype, replicates, m, 2)
    index = rng.integers(0, m, n)
    x, shift = y[:, index], np.zeros((replicates, n), dtype)
    vectors = -(-n // cpu.lanes(dtype))
    for shape in ((vectors, 5), (replicates, vectors, 3), (vectors, 1)):
        ranges = _random_ranges(rng, *shape, m=m)
        got = cpu.accumulate(program, x, y, shift, index, ranges)
        expected = _by_vector(program, x, y, shift, index, ranges)
        size = np.abs(expected).max(axis=(0, 2))[None, :, None]
        assert got.dtype == x.dtype and (np.abs(got - expected) <= RTOL[dtype] * size).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("exclude_self", [False, True])
def test_ranges_that_hold_everything_or_nothing(dtype, exclude_self):
    program = compile_terms(kernels.Gaussian(), 2, ("k", "gz"), exclude_self)
    n = 100
    x, shift = cloud(1, dtype, 1, n, 2), np.zeros((1, n), dtype)
    vectors = -(-n // cpu.lanes(dtype))
    full = cpu.accumulate(program, x, x, shift)
    everything = np.tile(np.array([[0, 0], [0, 40], [40, 40], [40, 100], [7, 3]]), (vectors, 1, 1))
    np.testing.assert_allclose(cpu.accumulate(program, x, x, shift, ranges=everything), full, rtol=RTOL[dtype], atol=RTOL[dtype] * n)
    for shape in ((vectors, 4, 2), (vectors, 0, 2)):
        assert not cpu.accumulate(program, x, x, shift, ranges=np.zeros(shape, np.int64)).any()


def test_ranges_run_on_threads_with_the_same_bits(threads):
    rng, n, m = np.random.default_rng(0), 6000, 3000
    program = compile_terms(kernels.Gaussian(), 2, ("k", "gz"))
    x, y, shift = cloud(1, "float64", 2, n, 2), cloud(2, "float64", 2, m, 2), np.zeros((2, n))
    vectors = -(-n // cpu.lanes("float64"))
    for shape in ((vectors, 4), (2, vectors, 2)):
        ranges = _random_ranges(rng, *shape, m=m)
        ranges[..., : vectors // 3, :, :] = 0
        found = []
        for count in (1, 2, 5):
            threads(count)
            found.append(cpu.accumulate(program, x, y, shift, ranges=ranges))
        tasks = cpu._tasks(ranges if ranges.ndim == 4 else ranges[None], 2, vectors, cpu.lanes("float64"))
        assert len(tasks) > 4 and len({t.tobytes() for t in found}) == 1


def test_ranges_outside_the_sources_or_of_another_shape_are_refused():
    program = compile_terms(kernels.Gaussian(), 2, ("k",))
    x, shift = cloud(1, "float64", 1, 64, 2), np.zeros((1, 64))
    vectors = 64 // cpu.lanes("float64")
    for wrong in ([[-1, 3]], [[0, 65]]):
        with pytest.raises(ValueError, match="between 0 and the number of sources 64"):
            cpu.accumulate(program, x, x, shift, ranges=np.tile(np.array(wrong), (vectors, 1, 1)))
    for shape in ((vectors + 1, 1, 2), (vectors, 1, 3), (2, vectors, 1, 2), (vectors, 2)):
        with pytest.raises(ValueError, match="V = "):
            cpu.accumulate(program, x, x, shift, ranges=np.zeros(shape, np.int64))


# dimensions and memory --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("d", [32, 33])
@pytest.mark.parametrize("dtype", DTYPES)
def test_the_largest_compiled_dimension_and_products_of_matrices_beyond(monkeypatch, d, dtype):
    calls = []
    direct = dense.accumulate
    monkeypatch.setattr(dense, "accumulate", lambda *a: calls.append(1) or direct(*a))
    program = compile_terms(kernels.Gaussian(), d, ("k", "gz"), True)
    x, shift = cloud(d, dtype, 2, 20, d) / 4, np.zeros((2, 20), dtype)
    assert_agrees(cpu.accumulate(program, x, x, shift), program, x, x, shift)
    assert len(calls) == (d == 33)
    if d == 33:
        with pytest.raises(ValueError, match="at most 32 dimensions, not 33"):
            cpu.accumulate(program, x, x, shift, ranges=np.zeros((3, 1, 2), np.int64))


@pytest.mark.parametrize("d", [1, 2, 10, 11, 40])
def test_nearest_source(d):
    rng = np.random.default_rng(d)
    x, index = rng.normal(size=(2, 90, d)), np.arange(90)
    x[:, 7] = x[:, 3]
    for points, sources, own in ((x, x, index), (x[:, ::3], x[:1], index[::3]), (x, rng.normal(size=(1, 40, d)), None), (x, x, None)):
        expected = reference.nearest(points, sources, own)
        np.testing.assert_allclose(cpu.nearest(points, sources, own), expected, rtol=1e-13, atol=1e-300)
    assert cpu.nearest(x, x, index)[0, 7] == 0


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


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e12])
def test_a_replicate_that_runs_away_leaves_no_trace_in_the_others(bad):
    x, y = cloud(3, "float64", 3, 20, 2), cloud(4, "float64", 3, 30, 2)
    expected = kernel_sums(x, y, kernels.make("gaussian"), 0.5, ("k", "gz"))
    x[1, 7, 1] = bad
    found = kernel_sums(x, y, kernels.make("gaussian"), 0.5, ("k", "gz"))
    for term in ("k", "gz"):
        np.testing.assert_array_equal(found.terms[term][::2], expected.terms[term][::2])
        np.testing.assert_allclose(np.delete(found.terms[term][1], 7, 0), np.delete(expected.terms[term][1], 7, 0), rtol=1e-14)


@pytest.mark.parametrize("name", ["gaussian", "laplace"])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_what_is_no_number_is_not_passed_over(name, dtype):
    program = compile_terms(kernels.make(name), 2, ("k", "kz"))
    x, shift = cloud(5, dtype, 2, 30, 2), np.zeros((2, 30), dtype)
    spoilt = x.copy()
    spoilt[0, 3, 1] = np.nan
    found = cpu.accumulate(program, spoilt, x, shift)
    assert np.isnan(found[0, :, 3]).all() and np.isfinite(np.delete(found[0], 3, axis=1)).all()
    assert np.isnan(cpu.accumulate(program, x, spoilt[:1], shift)).all()
    found = cpu.accumulate(program, x, spoilt, shift)
    assert np.isnan(found[0]).all() and np.isfinite(found[1]).all()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no processes by forking here")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_process_starts_threads_of_its_own():
    before = cpu.threads()
    try:
        cpu.set_threads(2)
        assert cpu.run([lambda: 1, lambda: 2]) == [1, 2]
        child = os.fork()
        if not child:
            signal.alarm(20)
            os._exit(0 if cpu.run([lambda: 1, lambda: 2]) == [1, 2] else 1)
        assert os.waitpid(child, 0)[1] == 0
    finally:
        cpu.set_threads(before)


@pytest.mark.parametrize("threads", [1, 3])
def test_calls_run_on_the_threads_in_use_and_in_order(threads):
    before = cpu.threads()
    try:
        cpu.set_threads(threads)
        assert cpu.run([]) == [] and cpu.run([lambda i=i: i for i in range(20)]) == list(range(20))
        names = set(cpu.run([lambda: threading.current_thread().name for _ in range(20)]))
        assert all(name.startswith("kernel-sums") for name in names) is (threads > 1)
        with pytest.raises(ZeroDivisionError):
            cpu.run([lambda: 1, lambda: 1 / 0])
    finally:
        cpu.set_threads(before)
