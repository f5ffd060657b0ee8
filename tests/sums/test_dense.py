"""Sums by products of matrices: as accurate as differences for points close, coincident, clustered or far, in bounded memory."""

import tracemalloc

import numpy as np
import pytest

from driftrates import kernels
from driftrates.sums import cpu, dense, kernel_sums, reference
from driftrates.sums.program import compile_terms
from summation import terms_of


def cloud(seed, *shape):
    return np.random.default_rng(seed).standard_normal(shape)


def assert_agrees(got, program, x, y, shift, index=None, rtol=1e-12):
    """Errors are measured against the largest value of each column and replicate."""
    expected = reference.accumulate(program, x.astype(float), y.astype(float), shift.astype(float), index)
    assert got.shape == expected.shape and got.dtype == x.dtype
    row = 0
    for column in program.columns:
        rows = slice(row, row + (program.d if column.vector else 1))
        size = np.abs(expected[:, rows]).max(axis=(1, 2), keepdims=True)
        assert (np.abs(got[:, rows] - expected[:, rows]) <= rtol * size).all(), (
            column,
            np.abs(got[:, rows] - expected[:, rows]).max() / size,
        )
        row = rows.stop


@pytest.fixture
def small_blocks(monkeypatch):
    monkeypatch.setattr(dense, "_POINTS", 16)
    monkeypatch.setattr(dense, "_SOURCES", 24)
    monkeypatch.setattr(dense, "_COORDINATES", 1000)


@pytest.mark.parametrize("d", [33, 64, 784])
@pytest.mark.parametrize("name", kernels.names())
def test_every_kernel_against_the_reference(small_blocks, name, d):
    """Far from the origin, with pairs that nearly or fully coincide, for bandwidths from wide to a quarter of the cloud."""
    kernel = kernels.make(name)
    terms = terms_of(kernel)
    for spread in (0.3, 4.0):
        x = (5 + cloud(d, 2, 50, d)) * spread / np.sqrt(d)
        x[:, 1], x[:, 2] = x[:, 0] + 1e-3 / np.sqrt(d), x[:, 0]
        y = np.concatenate([x[:1, 20:], x[:1, 20:] + 0.1 * cloud(1, 1, 30, d) / np.sqrt(d)], 1)
        shift = np.full((2, 50), 0.25)
        for sources, exclude_self in ((x, True), (x, False), (y, False)):
            program = compile_terms(kernel, d, terms, exclude_self)
            assert_agrees(dense.accumulate(program, x, sources, shift), program, x, sources, shift)


def test_tight_clusters_far_apart_are_summed_from_differences():
    """Every pair that counts is much closer than its distance from the centre: the products alone would lose all figures."""
    d = 40
    centres = 1e4 * cloud(0, 4, d)
    x = (centres[np.arange(60) % 4] + cloud(1, 60, d) / np.sqrt(d))[None]
    for name in ("gaussian", "laplace", "matern52"):
        program = compile_terms(kernels.make(name), d, ("k", "kz", "gz"), True)
        shift = np.zeros((1, 60))
        assert_agrees(dense.accumulate(program, x, x, shift), program, x, x, shift)


@pytest.mark.parametrize("exclude_self", [False, True])
def test_points_far_from_all_sources(exclude_self):
    """The nearest source is taken out of the exponent, through the whole call."""
    d, h = 50, 0.02
    x = cloud(3, 1, 40, d)
    x[0, 5] = x[0, 4] + 1e-3
    for y in (x,) if exclude_self else (x, cloud(4, 1, 70, d)):
        for kernel in (kernels.Gaussian(), kernels.Laplace()):
            got, expected = (kernel_sums(x, y, kernel, h, ("k", "gz"), exclude_self=exclude_self, engine=e) for e in ("cpu", "reference"))
            np.testing.assert_allclose(got.log_scale, expected.log_scale, rtol=1e-13)
            for term in ("k", "gz"):
                scale = np.abs(expected.terms[term]).max()
                np.testing.assert_allclose(got.terms[term], expected.terms[term], rtol=1e-8, atol=1e-10 * scale)


def test_own_sources_by_index(small_blocks):
    program = compile_terms(kernels.Matern52(), 36, ("k", "gz", "lap"), True)
    y = cloud(2, 2, 70, 36) / 3
    for index in (np.array([69, 3, 30, 3]), np.random.default_rng(0).permutation(70)):
        x, shift = y[:, index], np.zeros((2, len(index)))
        assert_agrees(dense.accumulate(program, x, y, shift, index), program, x, y, shift, index)


def test_float32_is_summed_in_float64():
    program = compile_terms(kernels.Gaussian(), 64, ("k", "kz"))
    x, shift = (cloud(1, 1, 50, 64) / 8).astype("float32"), np.zeros((1, 50), "float32")
    assert_agrees(dense.accumulate(program, x, x, shift), program, x, x, shift, rtol=1e-6)


def test_the_number_of_threads_changes_no_bit(small_blocks, threads):
    program = compile_terms(kernels.Gaussian(), 48, ("k", "gz"), True)
    x, shift = cloud(1, 2, 200, 48) / 4, np.zeros((2, 200))
    found = []
    for count in (1, 2, 3):
        threads(count)
        found.append(cpu.accumulate(program, x, x, shift).tobytes())
    assert len(set(found)) == 1


def test_memory_does_not_hold_all_pairs():
    """Not even where every pair is close."""
    program = compile_terms(kernels.Laplace(), 40, ("k", "gz"))
    n = 3000
    for x in (cloud(1, 1, n, 40), 1e3 + 1e-4 * cloud(1, 1, n, 40)):
        x[0, 0] = -x[0, 0]
        tracemalloc.start()
        dense.accumulate(program, x[:, :300], x, np.zeros((1, 300)))
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 8 * (8 * n * 40 + 16 * dense._POINTS * dense._SOURCES + 6 * dense._COORDINATES), peak
