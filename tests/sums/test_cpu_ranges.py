"""Sums of the CPU engine over ranges of sources, one list for each vector of points."""

import dataclasses

import numpy as np
import pytest

from driftrates import kernels
from driftrates.sums import cpu, reference
from driftrates.sums.program import compile_terms
from summation import DTYPES, RTOL, cloud


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
