"""The reference engine: it is the others' oracle, so it is held against loops in extended and arbitrary precision itself."""

import mpmath
import numpy as np
import pytest

from driftrates import expressions, kernels
from driftrates.sums import reference
from driftrates.sums.program import compile_terms
from summation import program_of


def points(seed, *shape):
    return np.random.default_rng(seed).standard_normal(shape)


@pytest.mark.parametrize("dtype", ["float32", "float64", "longdouble"])
@pytest.mark.parametrize("name", kernels.names())
def test_columns_against_arbitrary_precision(name, dtype):
    """Each column is the sum of its own text, in 30 digits, over all pairs but the point's own."""
    d = 3
    program = program_of(name, d, exclude_self=True)
    x = points(1, 1, 4, d).astype(dtype)
    shift = np.array([[0.0, 0.25, 0.0, 1.5]], dtype)
    got = reference.accumulate(program, x, x, shift)
    assert got.shape == (1, program.rows, 4) and got.dtype == x.dtype
    with mpmath.workdps(30):
        for i in range(4):
            row = 0
            for column in program.columns:
                exact = [mpmath.mpf(0)] * (d if column.vector else 1)
                size = mpmath.mpf(0)
                for j in range(4):
                    if j == i:
                        continue
                    z = [mpmath.mpf(repr(float(b))) - mpmath.mpf(repr(float(a))) for a, b in zip(x[0, i], x[0, j], strict=True)]
                    s2 = mpmath.fsum(c * c for c in z)
                    names = {"s2": s2, "s": mpmath.sqrt(s2), "rs": 1 / mpmath.sqrt(s2), **program.constants}
                    exponent = expressions.evaluate(program.exponent, names, mpmath)
                    weight = expressions.evaluate(column.weight, names, mpmath) * mpmath.exp(mpmath.mpf(float(shift[0, i])) - exponent)
                    size += abs(weight) * (1 + mpmath.sqrt(s2))
                    exact = [e + weight * c for e, c in zip(exact, z if column.vector else [1], strict=True)]
                tolerance = 200 * float(size) * float(np.finfo(dtype if dtype == "float32" else "float64").eps)
                np.testing.assert_allclose(
                    got[0, row : row + len(exact), i].astype(float), [float(e) for e in exact], rtol=0, atol=tolerance
                )
                row += len(exact)
            assert row == program.rows


def test_long_double_is_carried_through():
    """The oracle of others must not fall back to float64: the Gaussian sum agrees beyond double precision."""
    if np.finfo("longdouble").eps > 1e-18:
        pytest.skip("long double is double on this machine")
    x = points(2, 1, 5, 2).astype("longdouble")
    program = compile_terms(kernels.Gaussian(), 2, ("k",))
    got = reference.accumulate(program, x, x, np.zeros((1, 5), "longdouble"))[0, 0]
    direct = np.exp(-((x[0, :, None] - x[0, None]) ** 2).sum(-1) / 2).sum(1)
    np.testing.assert_array_less(np.abs(got - direct), 1e-18 * 20)


@pytest.mark.parametrize("name", [n for n in kernels.names() if kernels.make(n).smoothness >= 2])
def test_terms_are_derivatives_of_the_plain_sum_by_complex_steps(name):
    """gz is the gradient of k, kz minus that of the companion, lap the divergence of gz: exact to rounding, with no difference."""
    d, step = 3, 1e-40
    program = program_of(name, d)
    x, y = points(3, 1, 6, d), points(4, 1, 9, d)
    plain = reference.accumulate(program, x, y, np.zeros((1, 6)))
    slots = program.slots
    laplacian = np.zeros(6)
    for a in range(d):
        moved = x.astype(complex)
        moved[..., a] += 1j * step
        slope = reference.accumulate(program, moved, y.astype(complex), np.zeros((1, 6), complex)).imag[0] / step
        gz, kz = slots["gz"][0] + a, slots["kz"][0] + a
        np.testing.assert_allclose(slope[slots["k"][0]], plain[0, gz], rtol=1e-11, atol=1e-12)
        np.testing.assert_allclose(slope[slots["companion"][0]], plain[0, kz], rtol=1e-11, atol=1e-12)
        laplacian += slope[gz]
    np.testing.assert_allclose(laplacian, plain[0, slots["lap"][0]], rtol=1e-11, atol=1e-12)


def test_blocks_and_row_indices_change_nothing(monkeypatch):
    program = program_of("matern52", 2, exclude_self=True)
    x = points(5, 2, 23, 2)
    shift = np.zeros((2, 23))
    whole, near = reference.accumulate(program, x, x, shift), reference.nearest(x, x, np.arange(23))
    rows = np.array([2, 3, 11, 22])
    monkeypatch.setattr(reference, "_PAIRS_PER_BLOCK", 23 * 2 * 5)
    np.testing.assert_allclose(reference.accumulate(program, x, x, shift), whole, rtol=1e-14, atol=1e-14)
    np.testing.assert_array_equal(reference.nearest(x, x, np.arange(23)), near)
    np.testing.assert_allclose(
        reference.accumulate(program, x[:, rows], x, shift[:, rows], rows), whole[:, :, rows], rtol=1e-14, atol=1e-14
    )
    np.testing.assert_array_equal(reference.nearest(x[:, rows], x, rows), near[:, rows])


def test_nearest_is_the_smallest_squared_distance():
    x, y = points(6, 2, 11, 3), points(7, 1, 13, 3)
    squared = ((x[:, :, None] - y[:, None]) ** 2).sum(-1)
    np.testing.assert_array_equal(reference.nearest(x, y), squared.min(2))
    assert (reference.nearest(x, x) == 0).all()
    assert (reference.nearest(x, x, np.arange(11)) > 0).all()


def test_shift_lifts_every_column_by_the_same_factor():
    program = program_of("smoothed_laplace", 2)
    x, y = points(8, 1, 7, 2), points(9, 1, 8, 2)
    shift = np.linspace(-2, 3, 7)[None]
    plain, lifted = reference.accumulate(program, x, y, np.zeros((1, 7))), reference.accumulate(program, x, y, shift)
    np.testing.assert_allclose(lifted, plain * np.exp(shift)[:, None], rtol=1e-13, atol=1e-14)
