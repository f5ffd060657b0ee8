"""Sums over cells with a cut-off against the NumPy reference: the accuracy asked for is kept at every point, near and far."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from driftrates import kernels
from driftrates.sums import cells, costs, cpu, kernel_sums, reference
from driftrates.sums.program import compile_terms
from summation import program_of

KERNELS = ("gaussian", "laplace", "matern52", "smoothed_laplace")
GAUSSIAN = kernels.make("gaussian")


def error(program, x, y, rtol, rows=None):
    """Largest error of any column, beyond its own rounding, relative to the sum of k; x (R, n, d) and y in units of h; at ``rows`` only."""
    rows = np.arange(x.shape[1]) if rows is None else rows
    exact = reference.accumulate(program, x[:, rows], y, np.zeros((len(x), len(rows))), rows)
    found = cells.accumulate(program, x, y, np.zeros(x.shape[:2]), rtol=rtol)[:, :, rows]
    assert np.isfinite(found).all()
    beyond = np.abs(found - exact) - 3e-13 * np.abs(exact).max(1, keepdims=True)
    return (beyond / np.maximum(exact[:, program.slots["k"][0]], 1e-290)[:, None]).max()


@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize("d", [1, 2, 3])
@pytest.mark.parametrize("exclude_self", [False, True])
def test_keeps_the_accuracy_asked_for(name, d, exclude_self):
    rng = np.random.default_rng(d)
    x = rng.normal(size=(1, 800, d))
    y = x if exclude_self else rng.normal(size=(1, 600, d))
    for h, rtol in ((0.2, 1e-3), (0.02, 1e-7), (0.02, 1e-12)):
        assert error(program_of(name, d, exclude_self), x / h, y / h, rtol) < rtol


@pytest.mark.parametrize("d", [1, 2, 3])
def test_clusters_and_points_far_from_all(d):
    rng = np.random.default_rng(0)
    centre = rng.integers(-3, 4, size=(1000, d)) * 10.0
    y = (centre + rng.normal(size=(1000, d)) * rng.choice([1e-9, 1e-3, 0.3], size=(1000, 1)))[None]
    far = np.zeros((40, d))
    far[:, 0] = np.geomspace(5, 1e12, 40) * np.where(np.arange(40) % 2, 1, -1)
    x = np.concatenate([y[0], y[0, :200] + 0.4, far, far[:, ::-1]])[None]
    assert error(program_of("gaussian", d), x / 0.1, y / 0.1, 1e-9) < 1e-9
    lone = np.concatenate([y[0], far])[None]
    assert error(program_of("gaussian", d, True), lone / 0.1, lone / 0.1, 1e-9) < 1e-9


@pytest.mark.parametrize("rtol", [1e-2, 1e-10])
def test_isolated_points_see_each_other_at_any_distance(rtol):
    """A chain of pairs ever farther apart: the sum without the point itself falls from 1 to below 1e-150."""
    distance = np.linspace(0.1, 27, 200)
    x = np.stack([np.arange(200) * 1e3, np.zeros(200)], 1)
    x = np.concatenate([x, x + np.stack([0 * distance, distance], 1)])[None]
    assert error(program_of("gaussian", 2, True), x, x, rtol) < max(rtol, 1e-12)


def test_points_that_coincide_and_points_in_one_cell():
    rng = np.random.default_rng(3)
    few = rng.normal(size=(25, 2))
    x = few[rng.integers(0, 25, 1200)][None]
    for scale in (1e-14, 1e-3, 1.0, 1e4):
        assert error(program_of("gaussian", 2, True), x * scale, x * scale, 1e-12) < 1e-12
    assert error(program_of("gaussian", 2, True), np.zeros((1, 500, 2)), np.zeros((1, 500, 2)), 1e-12) < 1e-12


def test_no_source_in_sight():
    program = program_of("gaussian", 2)
    x, y = np.random.default_rng(0).normal(size=(1, 700, 2)), np.full((1, 3, 2), 1e4)
    assert (cells.accumulate(program, x, y, np.zeros((1, 700)), rtol=1e-6) == 0).all()
    result = kernel_sums(x, y, GAUSSIAN, 1.0, ("k", "kz"), engine="cells", rtol=1e-6)
    exact = kernel_sums(x, y, GAUSSIAN, 1.0, ("k", "kz"), engine="reference")
    np.testing.assert_allclose(result.log_scale, exact.log_scale, rtol=1e-14)
    np.testing.assert_allclose(result.terms["kz"], exact.terms["kz"], rtol=1e-6)


def test_replicates_and_single_precision():
    rng = np.random.default_rng(5)
    x = rng.normal(size=(3, 800, 2))
    options = {"exclude_self": True, "rtol": 1e-6}
    found = kernel_sums(x, x, GAUSSIAN, np.array([0.01, 0.1, 1.0]), ("k", "gz", "lap"), engine="cells", **options)
    for r, h in enumerate((0.01, 0.1, 1.0)):
        alone = kernel_sums(x[r : r + 1], x[r : r + 1], GAUSSIAN, h, ("k", "gz", "lap"), engine="cells", **options)
        for term in ("k", "gz", "lap"):
            np.testing.assert_array_equal(found.terms[term][r], alone.terms[term][0])
    x = x[:1].astype(np.float32)
    found = kernel_sums(x, x, GAUSSIAN, 0.05, ("k", "kz"), engine="cells", rtol=1e-6).terms
    exact = kernel_sums(x.astype(float), x.astype(float), GAUSSIAN, 0.05, ("k", "kz"), engine="cpu").terms
    assert found["k"].dtype == np.float32
    np.testing.assert_allclose(found["k"], exact["k"], rtol=2e-5)


def test_a_hundred_thousand_points_and_any_number_of_threads(threads):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(1, 100_000, 2)) / 0.01
    rows = np.concatenate([np.arange(0, 100_000, 5000), np.argsort(-(x[0] ** 2).sum(1))[:20]])
    program = program_of("gaussian", 2, True)
    assert error(program, x, x, 1e-9, rows) < 1e-9
    found = []
    for count in (1, 3):
        threads(count)
        found.append(cells.accumulate(program, x, x, np.zeros(x.shape[:2]), rtol=1e-6))
    np.testing.assert_array_equal(*found)


def test_with_the_first_cut_off_only_lone_points_would_be_lost(monkeypatch):
    x = np.random.default_rng(0).normal(size=(1, 1000, 2)) / 0.005
    monkeypatch.setattr(cells.guard, "recompute_doubtful", lambda *arguments: 0)
    assert error(program_of("gaussian", 2, True), x, x, 1e-9) > 1e-3


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 3), st.integers(0, 10**6), st.floats(0.01, 30), st.integers(1, 8))
def test_every_source_within_the_cut_off_is_counted_once(d, seed, cutoff, split):
    rng = np.random.default_rng(seed)
    sources = rng.normal(size=(200, d)) * rng.choice([0.01, 1, 100], size=(200, 1))
    points = np.concatenate([sources[:50], rng.normal(size=(350, d)) * 50])
    found = cells.Cells(sources, cutoff / split)
    keys = found.keys(points)
    ranges = found.ranges(keys, keys, cutoff)
    seen = np.zeros((len(points), len(sources)), dtype=int)
    for i, intervals in enumerate(ranges):
        for start, stop in intervals:
            seen[i, found.order[start:stop]] += 1
    assert seen.max() <= 1
    assert seen[np.linalg.norm(points[:, None] - sources, axis=-1) < cutoff].all()


def test_within_a_large_cut_off_all_pairs_are_summed():
    rng = np.random.default_rng(7)
    x = rng.normal(size=(500, 3))
    program, shift = program_of("laplace", 3, True), np.zeros(500)
    exact = reference.accumulate(program, x[None], x[None], shift[None])[0]
    np.testing.assert_allclose(cells.within(program, x, x, shift, None, 20.0), exact, rtol=1e-11, atol=1e-11)
    part = rng.permutation(500)[:400]
    whole = cells.within(program, x, x, shift, None, 2.0)
    distance = np.linalg.norm(x[:, None] - x, axis=-1)
    near = (np.exp(-distance) * ((distance < 2.0) & (distance > 0))).sum(1)
    assert (whole[0] > near - 1e-12).all() and (whole[0] < np.exp(-distance).sum(1) - 1 + 1e-9).all()
    np.testing.assert_allclose(cells.within(program, x[part], x, shift[part], part, 20.0)[0], exact[0, part], rtol=1e-12)


@pytest.mark.parametrize("name", KERNELS)
def test_the_bound_beyond_the_cut_off_holds(name):
    """All sources as close behind the cut-off as it allows, seen from the origin."""
    program, rng = program_of(name, 2), np.random.default_rng(0)
    for tolerance in (1e-3, 1e-9):
        radius = cells.reach(program, tolerance, 5000)
        angle = rng.uniform(0, 2 * np.pi, 5000)
        y = 1.0001 * radius * np.stack([np.cos(angle), np.sin(angle)], 1)
        at_rim = reference.accumulate(program, np.zeros((1, 1, 2)), y[None], np.zeros((1, 1)))
        assert np.abs(at_rim).max() <= tolerance
        # An even field of sources, one in each unit cube.
        closer = cells.reach(program, tolerance, 90_000, 1, 1.0)
        y = np.stack(np.meshgrid(*[np.arange(-150.0, 150.0)] * 2), -1).reshape(-1, 2) + 0.5
        y = y[np.linalg.norm(y, axis=1) > closer]
        assert np.abs(reference.accumulate(program, np.zeros((1, 1, 2)), y[None], np.zeros((1, 1)))).max() <= tolerance
        assert closer < cells.reach(program, tolerance, 90_000)


def test_predicted_pairs_are_those_summed(monkeypatch):
    counted, ranges = [], cells.Cells.ranges

    def count(self, *arguments):
        out = ranges(self, *arguments)
        counted.append(cpu.lanes(np.float64) * float(np.maximum(out[..., 1] - out[..., 0], 0).sum()))
        return out

    monkeypatch.setattr(cells.Cells, "ranges", count)
    rng = np.random.default_rng(0)
    for d, scale in ((1, 1000.0), (2, 20.0), (3, 8.0)):
        x = scale * rng.normal(size=(20_000, d))
        counted.clear()
        cells.within(program_of("gaussian", d), x, x, np.zeros(len(x)), None, 5.0)
        assert 0.5 < cells.pairs(x, x, 5.0) / sum(counted) < 1.5
    program = program_of("gaussian", 2)
    seconds = [cells.predicted_seconds(program, x[:, :2] * s, x[:, :2] * s, 1e-6) for s in (10.0, 1.0, 0.1)]
    assert 0 < seconds[0] < seconds[1] < seconds[2] < np.inf


def test_points_that_see_no_other_are_predicted_to_be_summed_directly():
    program, rng = program_of("gaussian", 3, True), np.random.default_rng(0)
    lone = rng.normal(size=(5000, 3)) / 2e-4
    for x, least, most in ((lone, 0.95, 1), (np.repeat(lone[:200], 25, 0), 0, 0.01), (rng.uniform(0, 700, size=(5000, 3)), 0.4, 0.7)):
        distance = np.linalg.norm(x[:500, None] - x, axis=-1)
        share = (np.sort(distance, 1)[:, 1] > 21.4).mean()  # exp(-21.4^2 / 2) = 1e-100
        assert least <= share <= most and abs(cells._lonely(program, x, x) - share) < 0.1
    assert cells.predicted_seconds(program, lone, lone, 1e-9) > costs.direct_seconds(program, 5000, 5000)


def test_sources_whose_distances_overflow_are_left_to_the_direct_engine():
    program, x = program_of("gaussian", 2), 1e200 * np.random.default_rng(0).normal(size=(1, 600, 2))
    assert cells.predicted_seconds(program, x[0], x[0], 1e-6) == np.inf
    with np.errstate(over="ignore"):
        assert (cells.accumulate(program, x, x, np.zeros((1, 600)), rtol=1e-6)[0, 0] == 1).all()


def test_a_point_that_is_lost_does_not_spoil_its_neighbours():
    rng = np.random.default_rng(0)
    y = rng.normal(size=(1, 600, 2)) / 0.1
    x = y.copy()
    x[0, 10], x[0, 20] = np.nan, np.inf
    program = program_of("gaussian", 2)
    found = cells.accumulate(program, x, y, np.zeros((1, 600)), rtol=1e-9)
    good = np.isfinite(x[0]).all(1)
    whole = cells.accumulate(program, y, y, np.zeros((1, 600)), rtol=1e-9)
    np.testing.assert_allclose(found[0, 0, good], whole[0, 0, good], rtol=1e-9)


def test_what_it_does_not_do_is_said():
    assert not cells.supports(compile_terms(kernels.make("inverse_multiquadric"), 2, ("k",)))
    assert not cells.supports(compile_terms(GAUSSIAN, 4, ("k",)))
    x = np.zeros((1, 3, 2))
    with pytest.raises(ValueError, match="engine 'cells' needs a kernel that falls by 14 digits"):
        kernel_sums(x, x, kernels.make("inverse_multiquadric"), 1.0, ("k",), engine="cells", rtol=1e-6)
    with pytest.raises(ValueError, match="1e-13 <= rtol < 1"):
        cells.accumulate(program_of("gaussian", 2), x, x, np.zeros((1, 3)), rtol=2.0)
