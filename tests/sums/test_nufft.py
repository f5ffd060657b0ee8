"""The transform's sums against the direct engine: the accuracy asked for is kept at every point, near and far."""

import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from driftrates import kernels
from driftrates.sums import TERMS, cpu, kernel_sums, nufft
from driftrates.sums.program import compile_terms
from summation import errors_of_the_mass

GAUSSIAN = kernels.make("gaussian")


def compare(x, y, h, rtol, **options):
    """Largest error of every term relative to the sum of k there."""
    exact, found = (kernel_sums(x, y, GAUSSIAN, h, TERMS, engine=e, rtol=rtol, **options) for e in ("cpu", "nufft"))
    return errors_of_the_mass(found, exact)


@pytest.mark.parametrize("d", [1, 2, 3])
@pytest.mark.parametrize("rtol", [1e-4, 1e-8, 1e-11])
@pytest.mark.parametrize("exclude_self", [False, True])
def test_keeps_the_accuracy_asked_for(d, rtol, exclude_self):
    rng = np.random.default_rng(d)
    x = rng.normal(size=(2, 700, d))
    y = x if exclude_self else rng.normal(size=(1, 600, d))
    error = compare(x, y, 0.5, rtol, exclude_self=exclude_self)
    assert error["k"] < rtol
    # A component of the mean shift is a mean of |z|, which is a few h in the tails; second moments are its square.
    assert error["kz"] < 4 * rtol and error["gzz"] < 16 * rtol and error["lap"] < 16 * rtol


@pytest.mark.parametrize("distance", [3.0, 8.0, 30.0, 300.0])
def test_points_far_from_all_sources_are_summed_directly(distance):
    rng = np.random.default_rng(0)
    y = rng.normal(size=(1, 400, 2))
    x = np.concatenate([y, y[:, :20] + distance], axis=1)
    assert max(compare(x, y, 0.4, 1e-9).values()) < 1e-9 * (distance / 0.4) ** 2


@pytest.mark.parametrize("d", [1, 2])
def test_no_point_sees_an_image_of_the_sources(d):
    y = np.random.default_rng(0).normal(size=(1, 300, d))
    x = np.repeat(np.linspace(-1.0, 14.0, 801), d).reshape(1, -1, d)
    assert compare(x, y, 0.4, 1e-9)["k"] < 1e-9


def test_without_the_direct_sums_the_tail_would_be_lost(monkeypatch):
    rng = np.random.default_rng(0)
    y = rng.normal(size=(1, 400, 2))
    x = y + 3.0
    monkeypatch.setattr(nufft, "NOISE", 0.0)
    assert compare(x, y, 0.4, 1e-9)["k"] > 1e-7


@pytest.mark.parametrize("d", [1, 2, 3])
def test_the_tail_of_a_tight_cluster_keeps_its_accuracy(d):
    """The transform's error is absolute, and as large as the cluster: relative to the tail it would be a thousand times more."""
    rng = np.random.default_rng(0)
    y = 0.02 * rng.normal(size=(1, 20_000, d))
    x = np.zeros((1, 300, d))
    x[0, :, 0] = np.linspace(0, 6, 300)
    assert compare(x, y, 1.0, 1e-9)["k"] < 1e-9


def test_a_point_far_away_does_not_widen_the_grid():
    y = np.random.default_rng(0).normal(size=(400, 2))
    far = np.concatenate([y, [[1e6, 0.0]]])
    near = np.concatenate([y, [[100.0, 0.0]]])
    assert nufft.grid(far, y, 6.0, 6.0) == nufft.grid(near, y, 6.0, 6.0)


@pytest.mark.parametrize("shape", [(1, 90_000, 1), (1, 80_000, 2), (5, 3_000, 2), (3, 500, 3)])
def test_results_do_not_depend_on_the_number_of_threads(threads, shape):
    x, found = np.random.default_rng(0).normal(size=shape), []
    for count in (1, 2, 3):
        threads(count)
        found.append(kernel_sums(x, x, GAUSSIAN, 0.4, ("k", "kz"), engine="nufft", rtol=1e-6).terms["kz"])
    assert np.array_equal(found[0], found[1]) and np.array_equal(found[0], found[2])


def test_data_are_transformed_once_for_all_replicates_and_calls(monkeypatch):
    rng = np.random.default_rng(0)
    x, y, calls = rng.normal(size=(3, 500, 2)), rng.normal(size=(1, 40_000, 2)), []
    real = nufft._type_1
    monkeypatch.setattr(nufft, "_type_1", lambda *a: (calls.append(len(a[0])), real(*a))[1])

    def sums(sources):
        return kernel_sums(x, sources, GAUSSIAN, 0.4, ("kz",), engine="nufft", rtol=1e-6).terms["kz"]

    first = sums(y)
    assert sum(calls) == 40_000
    assert np.array_equal(first, sums(y)) and sum(calls) == 40_000
    changed = y.copy()
    changed[0, -1] += 1.0
    other = sums(changed)
    assert sum(calls) == 80_000 and not np.array_equal(first, other)
    nufft._clouds.clear()
    assert np.array_equal(other, sums(changed)) and sum(calls) == 120_000


def test_a_replicate_does_not_see_how_far_the_others_reach():
    """Each has a box of its own, even where all have the same sources."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(3, 500, 2)) * np.array([1, 5, 0.2])[:, None, None], rng.normal(size=(1, 600, 2))
    together = kernel_sums(x, y, GAUSSIAN, 0.4, ("k", "kz"), engine="nufft", rtol=1e-6)
    for r in range(3):
        nufft._clouds.clear()
        alone = kernel_sums(x[r : r + 1], y, GAUSSIAN, 0.4, ("k", "kz"), engine="nufft", rtol=1e-6)
        for term in ("k", "kz"):
            np.testing.assert_array_equal(together.terms[term][r], alone.terms[term][0])


def test_callers_at_the_same_time_transform_their_data_once(monkeypatch):
    rng, calls, real = np.random.default_rng(0), [], nufft._spectrum
    x, y = rng.normal(size=(2, 300, 1)), rng.normal(size=(1, 400, 1))
    expected = kernel_sums(x, y, GAUSSIAN, 0.4, ("k",), engine="nufft", rtol=1e-6).terms["k"]
    nufft._clouds.clear()
    monkeypatch.setattr(nufft, "_spectrum", lambda *a: (calls.append(1), time.sleep(0.05), real(*a))[2])
    with ThreadPoolExecutor(4) as pool:
        found = pool.map(lambda _: kernel_sums(x, y, GAUSSIAN, 0.4, ("k",), engine="nufft", rtol=1e-6).terms["k"], range(4))
        assert all(np.array_equal(values, expected) for values in found)
    assert len(calls) == len({nufft.box_of(p / 0.4, y[0] / 0.4, 1e-9) for p in x})


def test_spectra_beyond_the_memory_for_them_are_dropped(monkeypatch):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(1, 300, 2)), rng.normal(size=(1, 400, 2))
    monkeypatch.setattr(nufft, "_SPECTRA", 0)
    nufft._clouds.clear()
    for distance in (0.0, 3.0, 6.0):
        kernel_sums(x + distance, y, GAUSSIAN, 0.4, ("k",), engine="nufft", rtol=1e-6)
    ((_, spectra),) = nufft._clouds.values()
    assert len(spectra) == 1


def test_large_grids_are_not_at_work_at_the_same_time(monkeypatch, threads):
    x, sizes, run = np.random.default_rng(0).normal(size=(3, 400, 2)), [], cpu.run
    monkeypatch.setattr(cpu, "run", lambda calls: sizes.append(len(calls)) or run(calls))
    program = compile_terms(GAUSSIAN, 2, ("k",))
    threads(2)
    for limit, most in ((2**27, 3), (nufft.cells(nufft.box_of(x[0], x[0], 1e-9)), 1)):
        sizes.clear()
        monkeypatch.setattr(nufft, "LARGEST_GRID", max(limit, max(nufft.cells(nufft.box_of(p, p, 1e-9)) for p in x)))
        nufft.accumulate(program, x, x, np.zeros((3, 400)), rtol=1e-6)
        assert max(sizes) == most


@pytest.mark.parametrize(("width", "rtol"), [(3e4, 1e-10), (4e3, 1e-11), (600.0, 1e-12)])
def test_positions_that_are_rounded_in_a_wide_box_spoil_no_lone_point(width, rtol):
    """What is left of a point's own kernel is as large as this rounding: neighbours a few h away are a thousand times less."""
    x = np.sort(np.random.default_rng(0).uniform(0, width, size=(1, 2000, 1)), axis=1)
    assert compare(x, x, 1.0, rtol, exclude_self=True)["k"] < rtol
    with pytest.raises(ValueError, match="cannot keep rtol"):
        kernel_sums(x * 100, x * 100, GAUSSIAN, 1.0, ("k",), engine="nufft", rtol=rtol)


@pytest.mark.parametrize("factor", [1.25, 1.5, 2.0])
def test_every_oversampling_keeps_the_accuracy(monkeypatch, factor):
    x = np.random.default_rng(0).normal(size=(1, 400, 2))
    monkeypatch.setattr(nufft, "upsampling", lambda *_: factor)
    assert compare(x, x, 0.5, {1.25: 1e-6, 1.5: 1e-8, 2.0: 1e-11}[factor])["k"] < 1e-8


def test_less_oversampling_where_the_grid_is_the_cost():
    box = nufft.Grid((0.0,) * 3, (1.0,) * 3, (1.0,) * 3, (200,) * 3)
    assert nufft.upsampling(box, 1e-9, 1000) == 1.25
    assert nufft.upsampling(box, 1e-14, 1000) == 2.0
    assert nufft.upsampling(box._replace(modes=(50,) * 3), 1e-9, 10**6) == 2.0


def test_single_precision_in_and_out():
    x = np.random.default_rng(0).normal(size=(1, 500, 2)).astype(np.float32)
    found = kernel_sums(x, x, GAUSSIAN, 0.5, ("k", "kz"), engine="nufft", rtol=1e-6).terms
    exact = kernel_sums(x.astype(float), x.astype(float), GAUSSIAN, 0.5, ("k", "kz"), engine="cpu").terms
    assert found["k"].dtype == np.float32
    np.testing.assert_allclose(found["k"], exact["k"], rtol=1e-6)


def test_what_it_does_not_do_is_said():
    assert not nufft.supports(compile_terms(kernels.make("laplace"), 1, ("k",)))
    assert not nufft.supports(compile_terms(GAUSSIAN, 4, ("k",)))
    x = np.random.default_rng(0).normal(size=(1, 5, 3))
    for kernel, h, rtol, message in (
        (kernels.make("matern32"), 1.0, 1e-6, "needs the Gaussian kernel in d <= 3"),
        (GAUSSIAN, 1.0, 1e-15, "1e-13 <= rtol < 1"),
        (GAUSSIAN, 1e-4, 1e-6, r"modes\): use the direct engine"),
        (GAUSSIAN, 1e-200, 1e-6, r"modes\): use the direct engine"),
    ):
        with pytest.raises(ValueError, match=message):
            kernel_sums(x, x, kernel, h, ("k",), engine="nufft", rtol=rtol)
