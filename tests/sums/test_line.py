"""The exact engine on the line against the NumPy reference and against extended precision."""

import math

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from driftrates import kernels
from driftrates.sums import kernel_sums, line
from driftrates.sums.program import compile_terms
from summation import terms_of

NAMES = ("laplace", "matern32", "matern52", "matern72")


def both(x, y, kernel, h=1.0, **options):
    return (kernel_sums(x, y, kernel, h, terms_of(kernel), engine=name, **options) for name in ("reference", "line"))


def assert_close(slow, fast, rtol=1e-12):
    """Every term relative to the sum of the absolute values of its summands, of which the companion is an upper bound."""
    scale = np.exp(fast.log_scale - slow.log_scale)
    size = slow.terms["companion"] + slow.terms["k"]
    for term, expected in slow.terms.items():
        found = fast.terms[term]
        if found.ndim == 3:
            found, expected = found[..., 0], expected[..., 0]
        np.testing.assert_array_less(np.abs(found * scale - expected), 10 * rtol * size + 1e-290)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("exclude_self", [False, True])
def test_agrees_with_the_reference(name, exclude_self):
    rng = np.random.default_rng(1)
    x = 4 * rng.normal(size=(3, 257, 1))
    y = x if exclude_self else 4 * rng.normal(size=(1, 190, 1))
    assert_close(*both(x, y, kernels.make(name), 0.7, exclude_self=exclude_self))


@pytest.mark.parametrize("name", NAMES)
def test_points_that_coincide_with_sources(name):
    y = np.array([[[0.0], [1.0], [1.0], [1.0], [2.5]]])
    x = np.array([[[1.0], [0.0], [2.5], [-3.0], [9.0]]])
    assert_close(*both(x, y, kernels.make(name)))
    assert_close(*both(y, y, kernels.make(name), exclude_self=True))


@settings(max_examples=60, deadline=None)
@given(
    # Below 1e-150 h the reference rounds a distance to 0.
    st.lists(st.floats(-50, 50).map(lambda v: round(v, 9)), min_size=2, max_size=40),
    st.lists(st.floats(-400, 400).map(lambda v: round(v, 9)), min_size=1, max_size=20),
    st.sampled_from(NAMES),
    st.floats(0.05, 20),
)
def test_any_sources_and_points(sources, points, name, h):
    y, x = (np.array(v, float).reshape(1, -1, 1) for v in (sources, points))
    # Differences of coordinates are rounded in units of the coordinates.
    assert_close(*both(x, y, kernels.make(name), h), rtol=1e-14 * (1 + max(map(abs, sources + points)) / h))


def test_far_away_nothing_underflows():
    x, y = np.array([[[5000.0], [-9000.0], [800.0]]]), np.array([[[0.0], [1.0], [3.0]]])
    slow, fast = both(x, y, kernels.make("laplace"))
    np.testing.assert_allclose(fast.terms["gz"] / fast.terms["k"][..., None], slow.terms["gz"] / slow.terms["k"][..., None], rtol=1e-14)
    total = np.log(fast.terms["k"]) + fast.log_scale
    exact = [float(mpmath.log(sum(mpmath.exp(-abs(mpmath.mpf(p) - s)) for s in (0, 1, 3)))) for p in (5000, -9000, 800)]
    np.testing.assert_allclose(total[0], exact, rtol=1e-14)


def test_against_extended_precision():
    rng = np.random.default_rng(2)
    x, y = rng.normal(size=(1, 5, 1)), rng.normal(size=(1, 60, 1))
    found = kernel_sums(x, y, kernels.make("matern52"), 0.3, ("k", "gz"), engine="line").terms
    with mpmath.workdps(40):
        for i, point in enumerate(x[0, :, 0]):
            s = [(mpmath.mpf(v) - mpmath.mpf(point)) / mpmath.mpf(0.3) for v in y[0, :, 0]]
            mass = sum((1 + abs(z) + z * z / 3) * mpmath.exp(-abs(z)) for z in s)
            slope = sum((1 + abs(z)) / 3 * z * mpmath.exp(-abs(z)) for z in s)
            assert abs(found["k"][0, i] / float(mass) - 1) < 2e-14
            assert abs(found["gz"][0, i, 0] - float(slope)) < 2e-14 * float(mass)


def test_a_million_equal_gaps_add_up_no_rounding():
    """Below a point of an even lattice of step g, sum s^p e^-s has a closed form; a plain recursion is off by 1e-12 here."""
    n, g = 1_000_000, 2.0**-17
    x = (g * np.arange(n)).reshape(1, n, 1)
    program = compile_terms(kernels.make("matern32"), 1, ("k", "kz"))
    columns = line.accumulate(program, x, x, np.zeros((1, n)))[0]
    count = np.arange(0, n, 4321)

    def side(steps):  # sums of (1 + s) e^-s and (1 + s) s e^-s over s = g, 2 g, ..., steps g
        with mpmath.workdps(60):
            e, k = mpmath.mpf(g), mpmath.mpf(int(steps))
            sums = [mpmath.diff(lambda t: mpmath.expm1(-k * t) / mpmath.expm1(-t) * mpmath.exp(-t), e, p) * (-e) ** p for p in range(3)]
            return float(sums[0] + sums[1]), float(sums[1] + sums[2])

    below, above = (np.array([side(c) for c in steps]) for steps in (count, n - 1 - count))
    np.testing.assert_allclose(columns[0, count], 1 + below[:, 0] + above[:, 0], rtol=1e-13)
    mass = below[:, 1] + above[:, 1]
    assert (np.abs(columns[1, count] - (above[:, 1] - below[:, 1])) < 1e-13 * mass).all()


def test_many_sources_against_exact_summation():
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.normal(size=60_000), rng.normal(size=20_000) * 1e-9, 7 + rng.exponential(size=20_000)]).reshape(1, -1, 1) / 0.2
    found = line.accumulate(compile_terms(kernels.make("laplace"), 1, ("k",), True), x, x, np.zeros(x.shape[:2]))[0, 0]
    for i in range(0, 100_000, 9973):
        s = np.abs(np.delete(x[0, :, 0], i) - x[0, i, 0])
        assert abs(found[i] / math.fsum(np.exp(-s)) - 1) < 1e-13


def test_threads_and_replicates_change_nothing(threads):
    x = np.random.default_rng(0).normal(size=(5, 300, 1))
    program, shift = compile_terms(kernels.make("matern52"), 1, ("k", "gz", "lap")), np.zeros((5, 300))
    found = []
    for count in (1, 3):
        threads(count)
        found.append(line.accumulate(program, x, x[:1], shift))
    np.testing.assert_array_equal(*found)
    for r in range(5):
        np.testing.assert_array_equal(found[0][r], line.accumulate(program, x[r : r + 1], x[:1], shift[:1])[0])


def test_a_source_that_is_no_number_is_not_passed_over():
    program, x = compile_terms(kernels.make("laplace"), 1, ("k",)), np.zeros((2, 3, 1))
    y = np.array([[[0.0], [np.nan]], [[0.0], [1.0]]])
    found = line.accumulate(program, x, y, np.zeros((2, 3)))
    assert np.isnan(found[0]).all() and found[1] == pytest.approx(1 + np.exp(-1))


def test_a_point_that_is_no_number_has_no_sum():
    program = compile_terms(kernels.make("laplace"), 1, ("k", "kz"), False)
    x, y = np.array([[[np.nan], [-1.0]]]), np.array([[[0.0], [1.0]]])
    found = line.accumulate(program, x, y, np.zeros((1, 2)))
    assert np.isnan(found[0, :, 0]).all() and found[0, 0, 1] == pytest.approx(np.exp(-1) + np.exp(-2))
    alone = line.accumulate(compile_terms(kernels.make("laplace"), 1, ("k",), True), x, x, np.zeros((1, 2)))
    assert np.isnan(alone).all()


def test_what_it_does_not_do_is_said():
    assert not line.supports(compile_terms(kernels.make("gaussian"), 1, ("k",)))
    assert not line.supports(compile_terms(kernels.make("laplace"), 2, ("k",)))
    x = np.zeros((1, 3, 1))
    with pytest.raises(ValueError, match="engine 'line' needs d = 1"):
        kernel_sums(x, x, kernels.make("gaussian"), 1.0, ("k",), engine="line")
    with pytest.raises(ValueError, match="leaves a source out only where it lies at the point itself"):
        kernel_sums(x, x + 1.0, kernels.make("laplace"), 1.0, ("k",), engine="line", exclude_self=True)
