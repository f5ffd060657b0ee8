"""Blocks of sources on the CPU engine, a point's own source, dimensions, memory, and values that are not finite."""

import tracemalloc

import numpy as np
import pytest

from driftrates import kernels
from driftrates.sums import TERMS, cpu, dense, kernel_sums, reference
from driftrates.sums.program import compile_terms
from summation import DTYPES, RTOL, assert_agrees, cloud


@pytest.mark.parametrize("h", [1.0, 0.03])
def test_float32_sums_keep_their_figures_over_many_sources(form, h):
    """Sums of 50000 sources are as accurate as those of 256: partial sums are joined block by block."""
    x, y = cloud(1, "float32", 1, 32, 2) / np.float32(h), cloud(2, "float32", 1, 50_000, 2) / np.float32(h)
    program = compile_terms(kernels.Gaussian(), 2, ("k", "kz", "gzz"))
    got = cpu.accumulate(program, x, y, np.zeros((1, 32), "float32"))
    exact = reference.accumulate(program, x.astype(float), y.astype(float), np.zeros((1, 32)))
    mass = exact[:, :1] + exact[:, 3:]
    assert (np.abs(got - exact) / mass).max() < 2e-6


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


def test_a_replicate_alone_has_the_bits_it_has_among_others():
    kernel, x = kernels.Matern32(), cloud(0, "float64", 40, 130, 2)
    together = kernel_sums(x, x, kernel, 0.5, TERMS)
    alone = kernel_sums(x[7:8], x[7:8], kernel, 0.5, TERMS)
    for t in TERMS:
        assert together.terms[t][7].tobytes() == alone.terms[t][0].tobytes()


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
