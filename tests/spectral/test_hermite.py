"""Spectrum about a Gaussian target and Gaussian closure, against formulas and an independent discretisation."""

import numpy as np
import pytest
from scipy import optimize

from driftrates.fields import DriftField, SmoothedDensity, SmoothedPoints
from driftrates.kernels import Gaussian
from driftrates.spectral import hermite
from driftrates.spectral.linear import gaussian_target_rates
from driftrates.targets import GaussianMixture


def test_nodes_stand_for_the_gaussian():
    y, w = hermite.nodes(0.5, 1.3, mean=0.4)
    assert w.sum() == pytest.approx(1.0)
    assert w @ y == pytest.approx(0.4) and w @ (y - 0.4) ** 2 == pytest.approx(1.69)
    x = np.linspace(-3, 3, 7)
    exact = 0.25 / (0.25 + 1.69) * (0.4 - x)
    np.testing.assert_allclose(hermite.mean_shift(x, y, w, 0.5), exact, atol=1e-12)


@pytest.mark.parametrize("kernel", ["gaussian", "laplace"])
def test_the_mean_shift_is_that_of_the_library(kernel):
    from driftrates import kernels

    x, y = np.linspace(-2, 2, 5), np.linspace(-3, 3, 9)
    value = SmoothedPoints(y[None, :, None], kernels.make(kernel), 0.7).statistic("mean_shift", x[None, :, None]).value
    np.testing.assert_allclose(hermite.mean_shift(x, y, np.ones(9), 0.7, kernel), value[0, :, 0], atol=1e-12)


@pytest.mark.parametrize("h", [0.4, 1.0, 1.5])
def test_the_operator_is_triangular_with_the_predicted_eigenvalues(h):
    n = np.arange(1, 11)
    matrix = hermite.hermite_operator(h, 1.0, 10)
    np.testing.assert_allclose(np.tril(matrix, -1), 0.0, atol=1e-12)
    np.testing.assert_allclose(np.sort(-np.linalg.eigvals(matrix).real), np.sort(gaussian_target_rates(n, h, 1.0)), rtol=1e-8)


def test_the_operator_scales_with_the_target():
    np.testing.assert_allclose(hermite.hermite_operator(1.0, 2.0, 5), hermite.hermite_operator(0.5, 1.0, 5), atol=1e-12)


def test_the_operator_against_a_finite_volume_matrix():
    h, x = 0.8, np.linspace(-7, 7, 561)
    step = x[1] - x[0]
    p = np.exp(-0.5 * x * x) / np.sqrt(2 * np.pi)
    faces = (x[1:] + x[:-1]) / 2

    def velocity(q):
        return -(h**2) / (1 + h**2) * faces - hermite.mean_shift(faces, x, q, h)

    phi = x**3 - 3 * x
    small = 1e-6
    # d phi / dt of q = p (1 + small phi), fluxes on the faces, p at the faces by its formula.
    at_faces = np.exp(-0.5 * faces**2) / np.sqrt(2 * np.pi)
    flux = at_faces * (velocity(p * (1 + small * phi)) - velocity(p)) / small
    change = -np.diff(flux) / step / p[1:-1]
    weight = p[1:-1] * step
    against = [(weight * change * basis[1:-1]).sum() for basis in (x, phi / np.sqrt(6))]
    matrix = hermite.hermite_operator(h, 1.0, 3)[[0, 2], 2] * np.sqrt(6)
    np.testing.assert_allclose(against, matrix, rtol=1e-3)


def test_coefficients_decay_at_the_eigenvalues_in_the_full_equation():
    n = np.arange(1, 7)
    np.testing.assert_allclose(hermite.nonlinear_rates(0.6, 1.0, n), gaussian_target_rates(n, 0.6, 1.0), rtol=1e-4)


def test_the_closure_is_exact_for_the_gaussian_kernel_only():
    h, times = 0.7, np.linspace(0, 5, 6)
    mean, variance = hermite.closure(h, 1.2, 1.0, 0.4, times)
    y, p = hermite.nodes(h, 0.4**0.5, 1.0)
    found = hermite._moments(hermite.evolve(y, p, h, 1.2, times), p)
    np.testing.assert_allclose(found[:, 0], mean, atol=1e-9)
    np.testing.assert_allclose(found[:, 1], variance, atol=1e-9)
    np.testing.assert_allclose(found[:, 2:], 0.0, atol=1e-9)
    laplace = hermite._moments(hermite.evolve(y, p, h, 1.2, times, kernel="laplace"), p)
    assert np.abs(laplace[:, 3]).max() > 0.1
    assert mean[-1] == pytest.approx(np.exp(-(h**2) / (1.44 + h**2) * 5))
    with pytest.raises(ValueError, match="unknown kernel 'matern32'; known: gaussian, laplace"):
        hermite.evolve(y, p, h, 1.2, times, kernel="matern32")


def test_a_scheme_that_fails_names_its_case(monkeypatch):
    monkeypatch.setattr(hermite.integrate, "solve_ivp", lambda *_, **__: optimize.OptimizeResult(success=False, message="too stiff"))
    with pytest.raises(RuntimeError, match=r"closure from N\(1, 0.4\), h = 0.7, s = 1.2: too stiff"):
        hermite.closure(0.7, 1.2, 1.0, 0.4, [0.0, 1.0])
    with pytest.raises(RuntimeError, match="laplace kernel, h = 0.7, s = 1.2: too stiff"):
        hermite.evolve(np.zeros(2), np.ones(2) / 2, 0.7, 1.2, [0.0, 1.0], kernel="laplace")


def test_the_field_of_the_closure_is_that_of_the_library_on_a_large_cloud():
    h, n = 0.7, 4000
    from scipy import stats

    cloud = (1.0 + 0.6 * stats.norm.ppf((np.arange(n) + 0.5) / n))[None, :, None]
    target = SmoothedDensity(GaussianMixture(np.ones(1), np.zeros((1, 1)), np.ones(1)).smoothed(h), h)
    field = DriftField("displacement", target, Gaussian(), h)
    v = field.at_particles(cloud).velocity[0, :, 0]
    assert v.mean() == pytest.approx(-(h**2) / (1 + h**2), rel=1e-3)
    x = cloud[0, :, 0]
    exact = 2 * 0.36 * h**2 * (1 / (0.36 + h**2) - 1 / (1 + h**2))
    assert 2 * ((x - x.mean()) * v).mean() == pytest.approx(exact, rel=5e-3)


def test_the_study_holds_what_it_says():
    ds = hermite.measure_hermite(seed=1, bandwidths=(0.7, 1.5), degree=8, fitted=4, stop=2.0)
    np.testing.assert_allclose(ds["operator"], ds["closed_form"], rtol=1e-7)
    seen = ds["nonlinear"].values
    assert np.isfinite(seen[0, :4]).all() and np.isnan(seen[:, 4:]).all()
    np.testing.assert_allclose((seen / ds["closed_form"].values)[np.isfinite(seen)], 1.0, rtol=1e-3)
    for variable in (*ds.data_vars.values(), *ds.coords.values()):
        assert variable.attrs["long_name"] and variable.attrs["units"]
