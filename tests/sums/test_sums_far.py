"""Every engine where sums underflow: points on a source, far away, or with bandwidths far below the spacing."""

import mpmath
import numpy as np
import pytest

from driftrates import expressions, kernels
from driftrates.sums import TERMS
from summation import DTYPES, KERNELS, RTOL, brute_force, cloud, terms_of


def _exact_score(x, y, kernel, h, own=None):
    """(log of the sum k, vector gz / k) of one point in the arithmetic of mpmath, from the kernel's texts."""
    with mpmath.workdps(60):
        total, weighted = mpmath.mpf(0), [mpmath.mpf(0)] * len(x)
        for j, source in enumerate(y):
            if j == own:
                continue
            z = [(mpmath.mpf(float(b)) - mpmath.mpf(float(a))) / mpmath.mpf(h) for a, b in zip(x, source, strict=True)]
            s2 = mpmath.fsum(c * c for c in z)
            s = mpmath.sqrt(s2)
            names = {"s": s, "s2": s2, "rs": 1 / s, "d": mpmath.mpf(len(x)), **kernel.parameters}
            decay = mpmath.exp(-expressions.evaluate(kernel.exponent, names, mpmath))
            total += expressions.evaluate(kernel.prefactor(0), names, mpmath) * decay
            first = expressions.evaluate(kernel.prefactor(1), names, mpmath) * decay
            weighted = [w + first * c for w, c in zip(weighted, z, strict=True)]
        return float(mpmath.log(total)), np.array([float(w / total) for w in weighted])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", KERNELS)
def test_a_query_on_a_source(engine, name, dtype):
    """One pair at distance 0: K(0) and the Laplacian at 0 are met, every vector term vanishes."""
    kernel = kernels.make(name)
    for d in (1, 3):
        point = np.full((1, 1, d), 0.37, dtype)
        _, got = engine.sums(point, point, kernel, 0.5, terms_of(kernel))
        np.testing.assert_allclose(got["k"], float(kernel.rung(np.zeros(()), d)), rtol=RTOL[dtype])
        np.testing.assert_allclose(got["companion"], float(kernel.rung(np.zeros(()), d, -1)), rtol=RTOL[dtype])
        np.testing.assert_array_equal(got["kz"], 0)
        np.testing.assert_array_equal(got["gz"], 0)
        assert abs(got["gzz"].item()) < 1e-15
        if "lap" in got:
            np.testing.assert_allclose(got["lap"], kernel.laplacian_at_zero(d) * kernel.normaliser(d), rtol=RTOL[dtype])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("distance", [30, 1e3, 1e6])
@pytest.mark.parametrize("name", KERNELS)
def test_far_away_queries_keep_their_score(engine, name, distance, dtype):
    """Points at ``distance`` bandwidths: gz / k and log k + log_scale are those of exact arithmetic, near points stay plain."""
    kernel, h = kernels.make(name), 0.5
    y = cloud(5, dtype, 1, 23, 2)
    x = cloud(6, dtype, 1, 18, 2)
    far = [0, 4, 17]
    x[0, far] = np.array([[0.6, 0.8], [-1.0, 0.0], [0.0, -1.0]], dtype) * dtype_of(dtype, distance * h)
    log_scale, got = engine.sums(x, y, kernel, h, ("k", "gz", "kz"))
    assert (np.delete(log_scale[0], far) == 0).all()
    eps = float(np.finfo(dtype).eps)
    for i in far:
        log_k, score = _exact_score(x[0, i], y[0], kernel, h)
        # the weights of the sources are known up to the rounding of their exponents, and the sources differ by a few h
        weights = 2 * np.finfo("float64").eps * abs(log_k) * 10 / distance
        measured = got["gz"][0, i] / got["k"][0, i]
        assert np.isfinite(measured).all()
        assert np.abs(measured - score).max() <= (16 * eps + weights) * np.linalg.norm(score) * (1 + (dtype == "float32")), (
            measured,
            score,
        )
        sum_of_logs = np.log(np.float64(got["k"][0, i])) + np.float64(log_scale[0, i])
        assert sum_of_logs == pytest.approx(log_k, rel=8 * eps, abs=32 * eps)
        assert np.isfinite(got["kz"][0, i] / got["k"][0, i]).all()


def dtype_of(dtype, value):
    return np.dtype(dtype).type(value)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", KERNELS)
def test_bandwidth_far_below_the_spacing(engine, name, dtype):
    """With exclude_self every row underflows; the nearest neighbour's score is left, in each replicate by its own bandwidth."""
    kernel, h = kernels.make(name), np.array([1 / 1024, 1 / 2048])
    corners = np.stack(np.meshgrid(np.arange(4.0), np.arange(4.0)), -1).reshape(16, 2)
    x = (corners + 0.2 * np.random.default_rng(1).uniform(size=(2, 16, 2))).astype(dtype)
    log_scale, got = engine.sums(x, x, kernel, h, ("k", "gz"), exclude_self=True)
    if name != "inverse_multiquadric":
        assert (log_scale < 0).all()
    eps = float(np.finfo(dtype).eps)
    for r in range(2):
        for i in (0, 5, 15):
            log_k, score = _exact_score(x[r, i], x[r], kernel, h[r], own=i)
            measured = got["gz"][r, i] / got["k"][r, i]
            # algebraic tails: neighbours on all sides cancel in gz, each of size about k / 1000
            cancelled = np.linalg.norm(score) if name != "inverse_multiquadric" else 5 / 1000
            assert np.abs(measured - score).max() <= (16 * eps + 1e-15 * abs(log_k)) * cancelled
            assert np.log(np.float64(got["k"][r, i])) + np.float64(log_scale[r, i]) == pytest.approx(log_k, rel=8 * eps, abs=32 * eps)


def test_all_terms_of_a_shifted_row_share_its_scale(engine):
    """A cloud 60 h away underflows in part; true terms are value * exp(log_scale), compared in logarithms."""
    kernel = kernels.Gaussian()
    x, y = cloud(8, "float64", 2, 9, 2), cloud(9, "float64", 2, 12, 2)
    x[1, :4] += 60.0
    log_scale, got = engine.sums(x, y, kernel, 1.0, TERMS)
    assert (log_scale[0] == 0).all() and (log_scale[1, 4:] == 0).all() and (log_scale[1, :4] < -1000).all()
    expected, _ = brute_force(x, y, kernel, 1.0, TERMS)
    for term in TERMS:
        factor = np.exp(log_scale.astype(np.longdouble)).reshape(2, 9, *[1] * (got[term].ndim - 2))
        ratio = (got[term] * factor)[1, :4] / expected[term][1, :4]
        np.testing.assert_allclose(ratio.astype(float), 1, rtol=1e-10)
