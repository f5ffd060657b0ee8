"""Drift and W2 flow of the smoothed KL: closed forms, differences, an independent quadrature, proximal steps by brute force."""

import numpy as np
import pytest
from scipy import optimize

from driftrates import kernels
from driftrates.fields import DriftField, SmoothedDensity
from driftrates.measurements import fisher_discrepancy
from driftrates.targets import GaussianMixture
from driftrates.variational import smoothed_kl

GAUSSIAN = kernels.make("gaussian")
H = 0.5


def functional(d, n, kernel=GAUSSIAN, **options):
    rng = np.random.default_rng(d)
    mixture = GaussianMixture(np.array([0.4, 0.6]), np.array([[-1.0] * d, [1.0] * d]), np.full((2, d), 0.2)).smoothed(H)
    x = rng.normal(size=(n, d))
    return smoothed_kl.SmoothedKL.around(SmoothedDensity(mixture, H), kernel, H, x, **options), x


def test_an_unknown_flow_and_a_kernel_with_an_algebraic_tail_are_refused():
    f, x = functional(1, 4)
    with pytest.raises(ValueError, match="unknown flow 'euler'; known: drift, w2_flow"):
        smoothed_kl.dissipate(f, x, np.linspace(0, 0.1, 2), "euler")
    with pytest.raises(ValueError, match="algebraic tail"):
        functional(1, 4, kernels.make("inverse_multiquadric", dof=3.0))
    with pytest.raises(ValueError, match="at least two numbers up to 0.01"):
        smoothed_kl.measure_gradient_flows(seed=1, steps=[0.1, 0.2])


@pytest.mark.parametrize("d", [1, 2])
def test_value_gradient_and_smoothed_drift_against_differences_and_the_adaptive_quadrature(d):
    f, x = functional(d, 5, spacing=0.25 if d == 1 else 0.3)
    value, gradient = f.value(x)
    exact = fisher_discrepancy.fisher(DriftField("conservative", f.target, GAUSSIAN, H), x, rtol=1e-9)
    assert value == pytest.approx(exact.kl, abs=1e-8)
    assert -(f.drift(x) * f.smoothed_drift(x)).sum() / len(x) == pytest.approx(exact.kl_rate, abs=1e-7)
    np.testing.assert_allclose(-len(x) * gradient, f.smoothed_drift(x), atol=1e-7)
    for i, k in np.ndindex(x.shape):
        moved = [x + sign * 1e-5 * np.eye(x.size)[i * d + k].reshape(x.shape) for sign in (1, -1)]
        assert gradient[i, k] == pytest.approx((f.value(moved[0])[0] - f.value(moved[1])[0]) / 2e-5, abs=1e-8)


def test_kl_changes_by_its_integrated_rate_along_both_flows_and_falls_along_the_w2_flow():
    f, x = functional(1, 6, margin=1.5)
    for flow in smoothed_kl.FLOWS:
        found = smoothed_kl.dissipate(f, x, np.linspace(0, 0.4, 5), flow)
        np.testing.assert_allclose(found.kl - found.kl[0], found.integral, atol=1e-7)
        if flow == "w2_flow":
            assert (np.diff(found.kl) < 0).all() and (found.rate < 0).all()


def test_the_drift_raises_kl_from_a_light_component():
    f, x = smoothed_kl.make_functional("satellite", H, seed=0, particles=3, replicate=0)
    drift, w2 = (smoothed_kl.dissipate(f, x, np.array([0.0, 0.1]), flow).kl for flow in smoothed_kl.FLOWS)
    assert drift[1] > drift[0] + 0.01 and w2[1] < w2[0] - 0.01


def test_signs_are_those_of_differences_of_kl():
    share = smoothed_kl.survey_signs(H, [2], 60, seed=3)
    assert share.shape == (2, 1) and share[1, 0] == 0.0
    f = smoothed_kl.make_functional("line", H, seed=3, particles=2, replicate=0, margin=8.0)[0]
    clouds = np.clip(1.5 * smoothed_kl.generator(3, "survey of signs", 2).standard_normal((60, 2, 1)), -7.0, 7.0)
    rises = [f.value(x + 1e-5 * f.drift(x))[0] > f.value(x - 1e-5 * f.drift(x))[0] for x in clouds]
    assert share[0, 0] == np.mean(rises)


def test_the_jko_step_is_the_minimum_found_by_brute_force():
    f, x = functional(1, 2)
    eta = 0.1 * H**2
    new = smoothed_kl.proximal_step(f.value, x, eta)

    def objective(v):
        return ((v.reshape(2, 1) - x) ** 2).sum() / (4 * eta) + f.value(v.reshape(2, 1))[0]

    found = optimize.minimize(objective, x.ravel(), method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-14, "maxiter": 2000})
    np.testing.assert_allclose(new.ravel(), found.x, atol=1e-6)
    # Implicit Euler for the W2 flow.
    np.testing.assert_allclose((new - x) / eta, f.smoothed_drift(new), atol=1e-7)


def test_each_functional_has_its_own_limit():
    f, x = functional(2, 4, spacing=0.4)
    eta = 1e-3 * H**2
    fields = {"smoothed_kl": f.smoothed_drift(x), "frozen_potential": f.drift(x)}
    potentials = {"smoothed_kl": f.value, "frozen_potential": smoothed_kl.frozen_potential(f, x)}
    for name, potential in potentials.items():
        velocity = (smoothed_kl.proximal_step(potential, x, eta) - x) / eta
        error = {other: np.linalg.norm(velocity - u) / np.linalg.norm(u) for other, u in fields.items()}
        assert error.pop(name) < 5e-3 and min(error.values()) > 0.1
