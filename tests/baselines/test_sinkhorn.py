"""The Sinkhorn drift against POT's generic solver, finite differences and its limits."""

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from driftrates.baselines import sinkhorn
from driftrates.fields import DriftField, SmoothedPoints
from driftrates.kernels import Gaussian


@pytest.fixture
def clouds():
    rng = np.random.default_rng(4)
    return rng.standard_normal((7, 2)), 0.5 + rng.standard_normal((9, 2))


@pytest.mark.filterwarnings("ignore")
def test_plan_and_value_are_those_of_the_generic_solver(clouds):
    import ot

    x, y = clouds
    plan = sinkhorn.entropic_plan(x, y, 0.7, tolerance=1e-10)
    reference = ot.solve(cdist(x, y, "sqeuclidean") / 2, reg=0.7, reg_type="KL", tol=1e-12, max_iter=10_000)
    np.testing.assert_allclose(plan.weights / len(x), reference.plan, atol=1e-9)
    assert plan.value == pytest.approx(float(reference.value), abs=1e-9)
    np.testing.assert_allclose(plan.weights.sum(1), 1.0, rtol=1e-13)
    assert plan.misplaced <= 1e-10


def test_value_is_cost_plus_relative_entropy_of_the_plan(clouds):
    x, y = clouds
    plan = sinkhorn.entropic_plan(x, y, 0.4, tolerance=1e-10)
    joint = plan.weights / len(x)
    value = (joint * cdist(x, y, "sqeuclidean") / 2).sum() + 0.4 * (joint * np.log(joint * len(x) * len(y))).sum()
    assert plan.value == pytest.approx(value, abs=1e-9)


def test_drift_is_minus_n_times_every_component_of_the_gradient(clouds):
    x, y = clouds
    drift = sinkhorn.SinkhornDrift(y[None], 1.0, tolerance=1e-9).velocity(x[None])[0]
    exact = np.empty_like(x)
    for place in np.ndindex(x.shape):
        shift = np.zeros_like(x)
        shift[place] = 1e-4
        ahead, behind = (sinkhorn.sinkhorn_divergence(x + s * shift, y, 1.0) for s in (1, -1))
        exact[place] = -len(x) * (ahead - behind) / 2e-4
    np.testing.assert_allclose(drift, exact, atol=1e-7)


def test_drift_vanishes_on_its_data_and_tends_to_the_shift_of_means(clouds):
    x, y = clouds
    assert np.abs(sinkhorn.SinkhornDrift(x[None], 0.3, tolerance=1e-9).velocity(x[None])).max() < 1e-7
    far = sinkhorn.SinkhornDrift(y[None], 1e5, tolerance=1e-12).velocity(x[None])[0]
    np.testing.assert_allclose(far, np.broadcast_to(y.mean(0) - x.mean(0), x.shape), atol=1e-3)


def test_one_normalisation_is_the_displacement_field(clouds):
    x, y = clouds
    field = DriftField("displacement", SmoothedPoints(y[None], Gaussian(), 0.6), Gaussian(), 0.6)
    np.testing.assert_allclose(sinkhorn.once_normalised(x, y, 0.36), field.at_particles(x[None]).velocity[0], atol=1e-13)


def test_a_warm_start_saves_iterations_and_keeps_the_field(clouds):
    x, y = clouds
    drift = sinkhorn.SinkhornDrift(y[None], 0.5, tolerance=1e-8)
    cold, first = drift.velocity(x[None]), drift.sweeps
    warm = drift.velocity(x[None])
    assert drift.sweeps[0] < first[0]
    np.testing.assert_allclose(warm, cold, atol=1e-6)


def test_another_number_of_data_points_starts_afresh(clouds):
    x, y = clouds
    drift = sinkhorn.SinkhornDrift(y[None], 0.5, tolerance=1e-8)
    drift.velocity(x[None])
    drift.data = y[None, :5]
    fresh = sinkhorn.SinkhornDrift(y[None, :5], 0.5, tolerance=1e-8).velocity(x[None])
    np.testing.assert_allclose(drift.velocity(x[None]), fresh, atol=1e-6)


def test_bad_input_and_missed_tolerance_are_refused(clouds):
    x, y = clouds
    with pytest.raises(ValueError, match="one dimension"):
        sinkhorn.entropic_plan(x, y[:, :1], 0.1)
    with pytest.raises(ValueError, match="positive"):
        sinkhorn.entropic_plan(x, y, 0.0)
    with pytest.raises(ValueError, match="misplaced after 3 iterations"):
        sinkhorn.entropic_plan(x, y, 0.01, tolerance=1e-9, iterations=3)


def test_the_check_tells_the_drift_from_its_broken_forms():
    ds = sinkhorn.check_sinkhorn(seed=1, bandwidths=(0.8,), particles=6, points=7, directions=2)
    assert ds["sinkhorn_gradient"].max() < 1e-7 < 1e-4 < ds["sinkhorn_biased_gradient"].max()
    assert ds["sinkhorn_once"].max() < 1e-13 < 1e-2 < ds["sinkhorn_converged"].min()
