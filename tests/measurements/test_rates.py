import json

import numpy as np
import pytest
from scipy import integrate, optimize

from driftrates import simulate
from driftrates.measurements import rates
from driftrates.targets import GaussianMixture
from problems import gaussian_start, labelled, normal, problem


@pytest.mark.parametrize("d", [1, 2])
def test_the_volume_of_a_level_set_is_the_mean_of_the_reciprocal_density_inside(d: int) -> None:
    variances = np.array([0.7, 1.9])[:d]
    mixture = GaussianMixture(np.ones(1), np.zeros((1, d)), variances[None])
    n, h = np.array([40, 5000]), np.array([0.5, 0.2])
    found = rates.level_volume(simulate.Target(mixture, None), n, h)
    axis = np.linspace(-12, 12, 1201)
    x = np.stack(np.meshgrid(*(axis,) * d, indexing="ij"), -1).reshape(1, -1, d)
    density = np.exp(mixture.evaluate(x).log_density[0])
    for volume, level in zip(found, 1 / (n * h**d), strict=True):
        inside = (density > level).reshape((len(axis),) * d).astype(float)
        for _ in range(d):
            inside = integrate.trapezoid(inside, axis, axis=0)
        assert volume == pytest.approx(float(inside), rel=1e-2)
    assert np.isnan(rates.level_volume(simulate.Target(None, np.zeros((3, d))), n, h)).all()
    assert rates.level_volume(simulate.Target(mixture, None), np.array([1]), np.array([0.01])) == 0


@pytest.fixture(scope="module")
def ensembles():
    """One flow on the whole grid and one on its diagonal alone, as measured."""
    given = {"name": "r", "target": normal(1), "start": gaussian_start(1.5), "n_particles": [8, 16, 32], "replicates": 4}
    given |= {"bandwidth": {"prefactor": 1.6}, "times": {"stop": 1.0, "count": 6}, "integrator": {"rtol": 1e-4, "atol": 1e-6}}
    flows = [simulate.simulate_flow(problem(**given, entropy=True, paired=paired), seed=5) for paired in (False, True)]
    return [(flow, rates.measure_rates(flow, projections=4, resamples=49)) for flow in flows]


def test_pairs_are_measured_as_the_diagonal_of_the_grid(ensembles) -> None:
    (_, grid), (_, pairs) = ensembles
    assert labelled(pairs) and set(grid) - set(pairs) == {"distance"}
    for name in (*rates.CARRIERS, *rates.PATH_CARRIERS, "self_term", "late_reciprocal_kde", "stein_sup", "speed_effective"):
        assert "bandwidth" not in pairs[name].dims
        np.testing.assert_allclose(rates.diagonal(pairs[name]), rates.diagonal(grid[name]), rtol=1e-12, err_msg=name)
    for name in ("slope", "percentile", "curvature"):
        np.testing.assert_allclose(pairs[name].sel(path="diagonal"), grid[name].sel(path="diagonal"), rtol=1e-9, err_msg=name)
        assert np.isnan(pairs[name].sel(path=["fixed", "optimal"])).all()
    for name in ("self_constant", "quadrature_constant"):
        assert pairs.attrs[name] == pytest.approx(grid.attrs[name], rel=1e-12)
    for name in ("initial_term", "optimal_bandwidth", "level_volume", "local_slope", "local_error"):
        np.testing.assert_allclose(pairs[name], grid[name], rtol=1e-12, err_msg=name)


def test_the_late_reciprocal_density_is_the_recorded_one(ensembles) -> None:
    for flow, measured in ensembles:
        late = flow["reciprocal_kde"].sel(time=slice(0.8 - 1e-9, None)).integrate("time") / 0.2
        # Both are means over the last fifth: one by the trapezoidal rule, one carried along by the integrator.
        np.testing.assert_allclose(measured["late_reciprocal_kde"], late, rtol=2e-3)
        assert json.loads(measured.attrs["experiment"])["paired"] == ("bandwidth" not in measured.dims)


@pytest.mark.parametrize("d", [1, 2, 3, 5])
@pytest.mark.parametrize("beta", [0.0, 0.8, 1.6])
def test_optimal_bandwidth_minimises_the_bound_and_gives_the_rate(d: int, beta: float) -> None:
    a, c = 2.3, 0.7

    def bound(log_h: float, n: float) -> float:
        h = np.exp(log_h)
        return a / (n * h ** (d + 2)) + c * h ** (2 - beta)

    for n in (1e2, 1e5):
        best = optimize.minimize_scalar(bound, bounds=(-12, 4), args=(n,), method="bounded", options={"xatol": 1e-10})
        assert float(rates.optimal_bandwidth(n, d, a, c, beta)) == pytest.approx(np.exp(best.x), rel=1e-4)
    at_optimum = [bound(np.log(float(rates.optimal_bandwidth(n, d, a, c, beta))), n) for n in (1e3, 1e6)]
    assert np.log(at_optimum[1] / at_optimum[0]) / np.log(1e3) == pytest.approx(rates.predicted_exponent(d, beta), abs=1e-9)


def test_predicted_exponents_of_the_paper() -> None:
    assert rates.predicted_exponent(1, root=True) == pytest.approx(-1 / 5)
    assert rates.predicted_exponent(3, root=True) == pytest.approx(-1 / 7)
    assert rates.predicted_exponent(2, 2.0) == 0.0
    with pytest.raises(ValueError, match="0 <= beta < 2"):
        rates.optimal_bandwidth(10, 1, 1, 1, 2.0)
