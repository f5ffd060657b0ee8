"""(72) against an independent derivative in mpmath's arithmetic and scikit-learn's own step; (73) against Euler's scheme."""

import mpmath
import numpy as np
import pytest
from sklearn.neural_network import MLPRegressor

from driftrates import flow
from driftrates.baselines import KERNELS
from driftrates.training import regression


@pytest.fixture(scope="module")
def data():
    return np.random.default_rng(0).standard_normal((12, 2))


@pytest.mark.parametrize("name", list(KERNELS))
def test_the_gradient_has_no_derivative_of_the_velocity(data, name):
    found = regression.gradients(regression.data_field(name, data, 0.7), 0.3, batch=6, seed=1)
    size = np.linalg.norm(found["formula"])
    assert size > 1e-3
    assert np.linalg.norm(found["frozen"] - found["formula"]) < 1e-8 * size
    assert np.linalg.norm(found["library"] - found["formula"]) < 1e-11 * size
    assert np.linalg.norm(found["through"] - found["formula"]) > 0.01 * size


def test_forward_is_the_librarys_network_and_its_derivative_that_of_high_precision(data):
    rng = np.random.default_rng(3)
    z = rng.standard_normal((5, 3))
    network = MLPRegressor(hidden_layer_sizes=(4,), activation="tanh", batch_size=5, random_state=0).partial_fit(z, data[:5])
    theta, shapes = regression.parameters(network), [c.shape for c in network.coefs_]
    np.testing.assert_allclose(regression.forward(theta, z, shapes), network.predict(z), rtol=1e-12)
    with mpmath.workdps(40):

        def output(value):
            hidden = []
            for unit in range(4):
                weights = [mpmath.mpf(value) if (row, unit) == (1, 2) else mpmath.mpf(network.coefs_[0][row, unit]) for row in range(3)]
                total = sum(w * mpmath.mpf(a) for w, a in zip(weights, z[0], strict=True)) + mpmath.mpf(network.intercepts_[0][unit])
                hidden.append(mpmath.tanh(total))
            return sum(a * mpmath.mpf(w) for a, w in zip(hidden, network.coefs_[1][:, 0], strict=True)) + network.intercepts_[1][0]

        exact = float(mpmath.diff(output, network.coefs_[0][1, 2]))
    moved = theta.astype(complex)
    moved[1 * 4 + 2] += 1e-30j
    assert regression.forward(moved, z, shapes)[0, 0].imag / 1e-30 == pytest.approx(exact, rel=1e-12)


def test_exact_regression_follows_eulers_scheme(data):
    field, rng = regression.data_field("conservative", data, 0.7), np.random.default_rng(5)
    x0, z, eta, count = rng.standard_normal((10, 2)), rng.standard_normal((10, 3)), 0.1, 4

    def rhs(t, x, rows):
        return field.at_particles(x).velocity, np.zeros((1, 0))

    *_, last = flow.integrate(rhs, x0[None], eta * np.arange(1, count + 1), flow.Euler(eta))
    steps = regression.regression_steps(field, z, x0, eta, count, None, seed=1)
    assert (steps[0] < 1e-11).all()
    assert steps[1, 0] < 1e-11 and steps[1, 1] > 1e-4, "the velocity of the first cloud serves the first step only"
    assert steps[2].sum() >= np.sqrt(((last.state.x[0] - x0) ** 2).sum(1).mean()), "the path is at least as long as its chord"


def test_inexact_regression_adds_its_error(data):
    field, rng = regression.data_field("displacement", data, 0.7), np.random.default_rng(5)
    z, x = rng.standard_normal((12, 3)), rng.standard_normal((12, 2))
    steps, others = (regression.regression_steps(field, z, x, 0.5, 3, 5, seed=seed) for seed in (1, 2))
    assert (steps[0] < 1e-11).all()
    assert (steps[1] > 1e-2).all(), "the error of the regression is not small"
    assert (steps[1] != others[1]).all(), "features come from the seed"


def test_measurement_has_labels_and_small_departures():
    found = regression.measure_regression(batch=6, particles=8, steps=3, draws=2, seed=2)
    assert all(v.attrs["long_name"] and v.attrs["units"] for v in found.data_vars.values())
    assert found["step_departure"].sizes == {"field": 3, "draw": 2, "regressor": 2, "step": 3}
    assert float(found["step_departure"].max()) < 1e-9 < float(found["broken_departure"].max())
    assert float(found["frozen_departure"].max()) < 1e-8
    assert found.identical(regression.measure_regression(batch=6, particles=8, steps=3, draws=2, seed=2))
