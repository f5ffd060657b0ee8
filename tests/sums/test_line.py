"""The exact engine on the line against the NumPy reference and against extended precision."""

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from driftrates import kernels
from driftrates.sums import TERMS, kernel_sums, line
from driftrates.sums.program import compile_terms

NAMES = ("laplace", "matern32", "matern52", "matern72")


def terms_of(kernel):
    return tuple(t for t in TERMS if t != "lap" or kernel.smoothness >= 2)


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


def test_what_it_does_not_do_is_said():
    assert not line.supports(compile_terms(kernels.make("gaussian"), 1, ("k",)))
    assert not line.supports(compile_terms(kernels.make("laplace"), 2, ("k",)))
    x = np.zeros((1, 3, 1))
    with pytest.raises(ValueError, match="engine 'line' needs d = 1"):
        kernel_sums(x, x, kernels.make("gaussian"), 1.0, ("k",), engine="line")
    with pytest.raises(ValueError, match="leaves a source out only where it lies at the point itself"):
        kernel_sums(x, x + 1.0, kernels.make("laplace"), 1.0, ("k",), engine="line", exclude_self=True)
