"""Euler's error and inexact regression: orders, rigorous bounds, the worst errors against a brute-force search."""

import numpy as np
import pytest

from driftrates.training import errors

SMALL = {"bandwidths": (0.5, 0.6, 0.8), "particles": 8, "replicates": 4, "finest": 6, "inexact_particles": 5, "signs": 3, "seed": 1}


@pytest.fixture(scope="module")
def found():
    return errors.measure_training_errors(**SMALL)


def test_jacobian_is_that_of_the_score_by_complex_steps():
    h, x = 0.5, np.array([[-0.4], [0.1], [0.9]])

    def velocity(cloud):
        gaps = cloud[None, :] - cloud[:, None]
        k = np.exp(-(gaps**2) / (2 * h**2))
        own = (k * gaps).sum(1) / (h**2 * k.sum(1))
        means, variance = errors.MODES.means[:, 0], 0.16 + h**2
        shares = errors.MODES.weights * np.exp(-((cloud[:, None] - means) ** 2) / (2 * variance))
        return (shares * (means - cloud[:, None])).sum(1) / (variance * shares.sum(1)) - own

    columns = [velocity(x[:, 0] + 1e-30j * e).imag / 1e-30 for e in np.eye(3)]
    np.testing.assert_allclose(errors.jacobian(errors.toward_modes(h), x), np.array(columns).T, atol=1e-8)


def test_accumulation_is_the_recursion_it_solves():
    rate, eta, error = 3.0, 0.1, 0.0
    for _ in range(20):
        error = (1 + rate * eta) * error + 1.0
    assert errors.accumulation(rate, eta, 20) == pytest.approx(error, rel=1e-12)
    assert errors.exponential_accumulation(rate, eta, 2.0) > error
    assert errors.accumulation(1e-9, eta, 20) == pytest.approx(20, rel=1e-6)


def test_orders_of_both_schemes(found):
    assert abs(found["order"] - 1).max() < 0.1
    assert abs(found["heun_interval"].mean("end") - 2).max() < 0.25


def test_bounds_hold_on_every_trajectory(found):
    assert (found["trajectory_bound"] >= found["euler_error"]).all()
    assert (found["discrete_bound"] >= found["accumulated_error"]).all()
    assert (found["exponential_bound"] >= found["discrete_bound"]).all()
    assert (found["inexact_trajectory_bound"] >= found["accumulated_error"]).all()
    assert (found["path_bound"] >= found["euler_error"]).all()
    assert (found["typical_accumulated_error"] <= found["accumulated_error"] * (1 + 1e-12)).all()
    worst = found["accumulated_error"].sel(kind="adversarial")
    assert (worst >= found["accumulated_error"].sel(kind="random sign")).all()


def test_the_adversary_beats_random_and_greedy_errors():
    field, eta, count = errors.toward_modes(0.4), 0.05, 12
    x0 = 0.4 * np.random.default_rng(2).standard_normal((4, 1))
    exact, _, (adversarial, constant), _ = errors._errors(field, x0, eta, count)

    def reach(errors_of_steps):
        x = x0
        for step in errors_of_steps:
            x = x + eta * field.at_particles(x[None]).velocity[0] + 1e-6 * step
        return float(np.sqrt(((x - exact[-1]) ** 2).mean()))

    sizes = [np.sqrt((e**2).sum(-1).mean(-1)) for e in (adversarial, constant)]
    np.testing.assert_allclose(sizes, 1.0, rtol=1e-12)
    rng = np.random.default_rng(0)
    tried = rng.standard_normal((500, 1, 4, 1)).repeat(count, 1)
    tried /= np.sqrt((tried**2).mean((2, 3), keepdims=True))
    best = max(map(reach, tried))
    assert reach(adversarial) >= reach(constant) * (1 - 1e-6) >= best * (1 - 1e-3)
    assert reach(constant) < 1.2 * best


def test_the_lipschitz_constant_of_exact_regression_is_the_largest_stretching_of_small_changes():
    field, eta = errors.toward_modes(0.4), 0.05
    x0 = 0.4 * np.random.default_rng(2).standard_normal((4, 1))
    exact, _, _, norm = errors._errors(field, x0, eta, 6)
    rng, largest = np.random.default_rng(0), 0.0
    for x in exact[:-1]:
        u = rng.standard_normal((4000, 4, 1))
        u *= 1e-6 / np.linalg.norm(u, axis=1, keepdims=True)
        change = field.at_particles(x + u).velocity - field.at_particles(x - u).velocity
        largest = max(largest, float(np.linalg.norm(change, axis=1).max()) / 2e-6)
    assert largest <= norm * (1 + 1e-5) < 1.02 * largest


def test_the_largest_step_is_that_of_a_linear_decay():
    class Linear:
        def at_particles(self, x, divergence=False):
            return type("Value", (), {"velocity": -x})

    limit = errors._largest(Linear(), np.array([[1.0], [-0.5]]), 1.0)
    assert limit < 2.0 < limit * errors._SCAN[1] / errors._SCAN[0] * (1 + 1e-12)


def test_a_field_without_a_stable_step_is_refused():
    class Linear:
        def at_particles(self, x, divergence=False):
            return type("Value", (), {"velocity": x})

    with pytest.raises(ValueError, match="raise horizon"):
        errors._largest(Linear(), np.array([[1.0], [-0.5]]), 1e-3)


def test_too_coarse_grids_are_refused():
    with pytest.raises(ValueError, match="raise finest"):
        errors.measure_training_errors(**{**SMALL, "bandwidths": (0.1, 0.5, 0.8)})
