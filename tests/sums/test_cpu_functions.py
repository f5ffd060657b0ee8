"""The CPU engine's exponential, logarithm and roots against extended precision, over the whole range of their arguments."""

import math

import mpmath
import numpy as np
import pytest

from driftrates import kernels
from driftrates.sums import TERMS, cpu
from driftrates.sums.program import Column, Program, compile_terms
from summation import DTYPES, assert_agrees, cloud


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
