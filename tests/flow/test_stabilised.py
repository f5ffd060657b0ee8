"""The stabilised method on stiff systems: evaluations, spectral radius, stage cap."""

import numpy as np
import pytest

from driftrates.flow import DormandPrince, RungeKuttaChebyshev, integrate
from flows import cloud, heat


def test_chebyshev_takes_a_stiff_system_with_far_fewer_evaluations():
    matrix, rhs = heat(40, 1e5)
    x0, stop = cloud(1, 40, 1), 0.1
    values, vectors = np.linalg.eigh(matrix)
    exact = vectors @ (np.exp(stop * values)[:, None] * (vectors.T @ x0[0]))
    seen = {}
    for method in (DormandPrince(1e-4, 1e-6), RungeKuttaChebyshev(1e-4, 1e-6)):
        (record,) = integrate(rhs, x0, [stop], method)
        assert np.abs(record.state.x[0] - exact).max() < 2e-4
        seen[method.name] = record.statistics.evaluations[0]
    assert 10 * seen["rkc"] < seen["dormand_prince"]
    assert 1.0 <= record.checkpoint.radius[0] / 1e5 <= 1.25
    assert record.statistics.rejected[0] < 0.2 * record.statistics.accepted[0]


def test_spectral_radius_is_estimated_where_the_state_hides_the_stiff_mode():
    matrix, rhs = heat(40, 1e5)
    smooth = np.linalg.eigh(matrix)[1][:, -1][None, :, None]
    (record,) = integrate(rhs, smooth, [1e-3], RungeKuttaChebyshev(1e-4, 1e-6))
    assert 1.0 <= record.checkpoint.radius[0] / 1e5 <= 1.25


def test_given_spectral_radius_replaces_the_estimate():
    _, rhs = heat(40, 1e4)
    calls = []

    def radius(t, x):
        calls.append((t.shape, x.shape))
        return np.full(len(x), 1.0e4)

    x0 = cloud(2, 40, 1)
    (given,) = integrate(rhs, x0, [0.02], RungeKuttaChebyshev(1e-4, 1e-6, spectral_radius=radius))
    (estimated,) = integrate(rhs, x0, [0.02], RungeKuttaChebyshev(1e-4, 1e-6))
    assert calls and all(t == x[:1] for t, x in calls)
    np.testing.assert_array_equal(given.checkpoint.radius, 1e4)
    assert (given.statistics.evaluations < estimated.statistics.evaluations).all()
    np.testing.assert_allclose(given.state.x, estimated.state.x, atol=1e-3)
    with pytest.raises(ValueError, match="spectral_radius must return 2 finite numbers"):
        list(integrate(rhs, x0, [0.02], RungeKuttaChebyshev(spectral_radius=lambda t, x: np.full(len(x), np.nan))))


def test_stage_cap_shortens_the_step_instead_of_losing_stability():
    _, rhs = heat(40, 1e5)
    x0 = cloud(1, 40, 1)
    (capped,) = integrate(rhs, x0, [0.02], RungeKuttaChebyshev(1e-3, 1e-5, max_stages=3))
    (free,) = integrate(rhs, x0, [0.02], RungeKuttaChebyshev(1e-3, 1e-5))
    assert capped.statistics.accepted[0] >= 0.02 * 1e5 / RungeKuttaChebyshev().stability_interval(3)
    assert capped.statistics.accepted[0] > 2 * free.statistics.accepted[0]
    np.testing.assert_allclose(capped.state.x, free.state.x, atol=1e-3)
