"""Passes of the integrators at equal accuracy: counts, interpolation, reference, and the shape of what is measured."""

import numpy as np
import pytest
from scipy.integrate import solve_ivp

from driftrates import kernels
from driftrates.fields import DriftField, SmoothedDensity
from driftrates.flow import DormandPrince, Euler, RungeKuttaChebyshev
from driftrates.performance import integrators
from driftrates.power_laws import replicate_exponent
from driftrates.targets import GaussianMixture
from problems import labelled

LINE = f"{integrators.CONSERVATIVE}, d = 1"
SMALL = {
    "bandwidths": (0.2, 0.1, 0.05),
    "plane_bandwidths": (0.6, 0.5, 0.4),
    "replicates": 2,
    "tolerances": (1.0, 1e-1, 1e-2, 1e-3, 1e-4),
    "accuracies": (1e-1, 1e-2),
    "most_evaluations": 400,
}


@pytest.fixture(scope="module")
def study():
    return integrators.measure_integrators(seed=3, **SMALL)


def cloud(replicates, particles, d=1):
    return np.random.default_rng(5).normal(size=(replicates, particles, d))


class Counting:
    """A field that counts the replicates of which it is evaluated."""

    def __init__(self, field):
        self.field, self.h, self.calls = field, field.h, 0

    def at_particles(self, x):
        self.calls += len(x)
        return self.field.at_particles(x)


@pytest.mark.parametrize(
    "method",
    [Euler(0.01), DormandPrince(1e-3, 1e-3), RungeKuttaChebyshev(1e-2, 1e-2), RungeKuttaChebyshev(1e-1, 1e-1)],
    ids=lambda m: f"{m.name}-{getattr(m, 'rtol', '')}",
)
def test_every_evaluation_is_counted_and_told_apart(method):
    field = Counting(integrators.make_problem(LINE, 0.1))
    found = integrators.run(field, cloud(3, 20), 0.3, method)
    assert found.evaluations.sum() == field.calls
    rest = found.evaluations - found.in_steps - found.for_radius
    assert (rest == {"euler": 0, "dormand_prince": 2, "rkc": 2}[method.name]).all()
    assert (found.for_radius > 0).all() == (method.name == "rkc")


def test_a_given_radius_leaves_no_evaluation_for_it():
    field = integrators.make_problem(LINE, 0.1)
    method = RungeKuttaChebyshev(1e-2, 1e-2, spectral_radius=lambda t, x: np.full(len(x), 150.0))
    found = integrators.run(field, cloud(2, 20), 0.3, method)
    assert not found.for_radius.any() and (found.in_steps >= 2 * found.accepted).all()


def test_evaluations_are_interpolated_between_runs_that_pay():
    errors, spent = [1e-1, 5e-1, 1e-3, 1e-5], [10, 20, 1000, 100_000]
    assert integrators.evaluations_at(errors, spent, 1e-2) == pytest.approx(100)
    assert integrators.evaluations_at(errors, spent, 1e-3) == pytest.approx(1000)
    assert integrators.evaluations_at(errors[::-1], spent[::-1], 1e-4) == pytest.approx(10_000)
    assert integrators.evaluations_at(errors, spent, 1.0) == 10
    assert np.isnan(integrators.evaluations_at(errors, spent, 1e-6))
    assert integrators.evaluations_at([np.nan, 1e-2], [5, 50], 1e-1) == 50


def test_spectrum_of_two_particles_at_one_place():
    h = 0.3
    target = GaussianMixture(np.ones(1), np.zeros((1, 1)), np.ones(1)).smoothed(h)
    field = DriftField("conservative", SmoothedDensity(target, h), kernels.make("gaussian"), h)
    centre, apart = -1 / (1 + h**2), 1 / h**2 - 1 / (1 + h**2)
    values = integrators.spectrum(field, np.full((2, 1), 0.4))
    np.testing.assert_allclose(np.sort(values.real), [centre, apart], rtol=1e-5)


def test_errors_agree_with_scipy_as_reference():
    field, x = integrators.make_problem(LINE, 0.1), cloud(2, 15)
    exact = [
        solve_ivp(
            lambda t, y: field.at_particles(y.reshape(1, -1, 1)).velocity.ravel(), (0, 0.2), c.ravel(), "DOP853", rtol=1e-11, atol=1e-11
        )
        for c in x
    ]
    found = integrators.run(field, x, 0.2, DormandPrince(1e-9, 1e-9)).x
    assert integrators._distance(found, np.stack([e.y[:, -1, None] for e in exact])).max() < 1e-7


def test_exponents_and_savings_are_those_of_the_passes(study):
    assert labelled(study)
    at = study.sel(case=LINE, rule="bandwidth", accuracy=1e-1)
    for name in integrators.INTEGRATORS:
        own = at.sel(integrator=name)
        value, ends = replicate_exponent(1 / own["bandwidth"].values, own["passes"].transpose("level", "replicate").values)
        np.testing.assert_allclose(own["exponent"], [value, *ends])
    passes = at["passes"]
    cheaper = np.minimum(passes.sel(integrator="euler"), passes.sel(integrator="dormand_prince"))
    np.testing.assert_allclose(at["saving"], cheaper / passes.sel(integrator="rkc"))


def test_the_stabilised_method_pays_where_the_field_is_stiff(study):
    at = study.sel(case=LINE, rule="bandwidth", accuracy=1e-1).mean("replicate")
    passes = at["passes"].isel(level=-1)
    assert passes.sel(integrator="rkc") < 0.5 * passes.sel(integrator="dormand_prince")
    exponent = at["exponent"].sel(bound="value")
    assert exponent.sel(integrator="rkc") < exponent.sel(integrator="dormand_prince") - 0.4
    scaled = study["stiffness"] * study["bandwidth"] ** 2
    assert ((scaled.sel(case=LINE) > 0.7) & (scaled.sel(case=LINE) < 1.6)).all()
    assert (study["stiffness"].isel(case=-1) < 1.6).all() and (study["imaginary_part"].isel(case=slice(2)) < 0.15).all()


def test_errors_fall_along_every_ladder(study):
    for name in integrators.INTEGRATORS:
        error = study["error"].sel(integrator=name).isel(case=0, level=0).mean("replicate").dropna("run")
        assert error[-1] < 0.1 * error[0]


@pytest.mark.parametrize("wrong", [{"replicates": 1}, {"bandwidths": (0.1, 0.2, 0.3)}, {"bandwidths": (0.2, 0.1)}, {"fitted": 4}], ids=str)
def test_bad_options_are_refused(wrong):
    with pytest.raises(ValueError, match="integrators needs replicates >= 2"):
        integrators.measure_integrators(seed=0, **{**SMALL, **wrong})
