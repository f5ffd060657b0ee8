"""The full gradient: its derivative by complex steps and differences, its flow, what it is measured on."""

import numpy as np
import pytest

from driftrates import kernels
from driftrates.fields import DriftField, SmoothedPoints
from driftrates.measurements.observables import fisher
from driftrates.variational import full_gradient

KERNELS = {
    "gaussian": kernels.make("gaussian"),
    "inverse_multiquadric": kernels.make("inverse_multiquadric", dof=3.0),
    "matern52": kernels.make("matern52"),
}


def loss(kernel, m=7, d=2, h=0.6):
    return full_gradient.DriftLoss(np.random.default_rng(0).normal(size=(2, m, d)), kernel, h)


@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize("d", [1, 3])
def test_the_gradient_is_that_of_complex_steps_and_central_differences(name, d):
    f = loss(KERNELS[name], d=d)
    x = np.random.default_rng(1).normal(size=(2, 5, d))
    gradient = f.gradient(x)
    for i, k in np.ndindex(5, d):
        moved = x.astype(complex)
        moved[:, i, k] += 1e-30j
        np.testing.assert_allclose(gradient[:, i, k], 5 * f.value(moved).imag / 1e-30, rtol=1e-10, atol=1e-12)
        ahead, behind = x.copy(), x.copy()
        ahead[:, i, k] += 1e-5
        behind[:, i, k] -= 1e-5
        np.testing.assert_allclose(gradient[:, i, k], 5 * (f.value(ahead) - f.value(behind)) / 2e-5, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("name", KERNELS)
def test_the_velocity_is_that_of_the_drift_field(name):
    f = loss(KERNELS[name])
    x = np.random.default_rng(2).normal(size=(2, 5, 2))
    field = DriftField("conservative", SmoothedPoints(f.data, f.kernel, f.h), f.kernel, f.h)
    np.testing.assert_allclose(f.velocity(x), field.at_particles(x).velocity, rtol=1e-10, atol=1e-12)


def test_a_particle_beyond_the_reach_of_the_data_is_refused():
    with pytest.raises(ValueError, match="too far from the data"):
        loss(KERNELS["gaussian"]).gradient(np.full((2, 3, 2), 100.0))


def test_each_method_moves_along_its_own_field_and_the_loss_falls_under_the_full_gradient():
    f = loss(KERNELS["gaussian"])
    x = np.random.default_rng(3).normal(size=(2, 5, 2))
    t = 1e-4
    for method, field in (("stop_gradient", f.h**2 * f.velocity(x)), ("full_gradient", -(f.h**4) * f.gradient(x))):
        moved = full_gradient.descend(f, x, [t], method, rtol=1e-8)[0]
        np.testing.assert_allclose((moved - x) / t, field, atol=2e-3 * np.abs(field).max())
    path = full_gradient.descend(f, x, np.linspace(0, 3, 6), "full_gradient")
    assert (np.diff([f.value(each) for each in path], axis=0) < 0).all()
    with pytest.raises(ValueError, match="unknown method"):
        full_gradient.descend(f, x, [t], "half_gradient")


def test_a_collapsed_pair_climbs_to_the_barrier_under_the_full_gradient_and_leaves_it_under_the_drift():
    data = np.array([[[-1.0], [1.0]]])
    f = full_gradient.DriftLoss(data, KERNELS["gaussian"], 0.5)
    x = np.full((1, 2, 1), 0.05)
    full, stopped = (full_gradient.descend(f, x, [30.0], name)[0, 0, :, 0] for name in ("full_gradient", "stop_gradient"))
    np.testing.assert_allclose(full, 0.0, atol=1e-3)
    assert (abs(stopped) > 0.8).all()


def test_the_divergence_by_samples_is_that_of_the_adaptive_quadrature():
    rng = np.random.default_rng(4)
    cloud, data, h = rng.normal(size=(16, 2)), rng.normal(size=(16, 2)) + 0.5, 0.5
    kernel = KERNELS["gaussian"]
    exact = fisher(DriftField("conservative", SmoothedPoints(data[None], kernel, h), kernel, h), cloud, rtol=1e-5).kl
    assert full_gradient.smoothed_divergence(cloud, data, kernel, h, 1024, seed=1) == pytest.approx(exact, abs=0.02)
    assert full_gradient.smoothed_divergence(data, data, kernel, h, 64, seed=1) == 0.0


def test_the_study_starts_where_it_says_and_is_repeatable():
    options = {"particles": 8, "replicates": 2, "horizon": 2.0, "outputs": 4, "points": 64}
    first, again = (full_gradient.measure_stop_gradient(seed=5, **options) for _ in range(2))
    assert first.identical(again)
    assert first.sizes == {"kernel": 2, "descent": 2, "start": 4, "replicate": 2, "time": 4, "particle": 8, "component": 2}
    same = first[["kl", "w2"]].isel(time=0)
    assert (
        same.sel({"descent": "stop_gradient"}).drop_vars("descent").identical(same.sel({"descent": "full_gradient"}).drop_vars("descent"))
    )
    assert (first["initial_cloud"].sel(start="one_mode")[..., 0] > 0).all()
    assert abs(first["initial_cloud"].sel(start="between")[..., 0]).max() < 0.8
    assert (first["w2"].sel(start="near") < 0.3).all()
    with pytest.raises(ValueError, match="must differ in name"):
        full_gradient.measure_stop_gradient(seed=5, kernels=[{"name": "gaussian"}] * 2, **options)
    with pytest.raises(ValueError, match="unknown start"):
        full_gradient.start_cloud("far", np.zeros((2, 2)), 1.0, 1.0, 1.0, 0, 0)
