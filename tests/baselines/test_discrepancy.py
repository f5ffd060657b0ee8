"""The MMD flow against pairwise sums, differences and its dissipation."""

import numpy as np

from driftrates.baselines import discrepancy


def test_velocity_is_the_pairwise_sum():
    rng = np.random.default_rng(5)
    x, y = rng.standard_normal((2, 4, 3)), rng.standard_normal((1, 6, 3))
    velocity = discrepancy.discrepancy_field(x, y, 0.9)
    for r in range(2):
        for i in range(4):
            slow = sum(np.exp(-((p - x[r, i]) ** 2).sum() / 1.62) * (p - x[r, i]) / 0.81 for p in y[0]) / 6
            slow = slow - sum(np.exp(-((p - x[r, i]) ** 2).sum() / 1.62) * (p - x[r, i]) / 0.81 for p in x[r]) / 4
            np.testing.assert_allclose(velocity[r, i], slow, rtol=1e-11, atol=1e-14)


def test_a_cloud_on_its_data_rests_and_a_far_one_feels_itself_alone():
    x = np.random.default_rng(6).standard_normal((1, 5, 2))
    np.testing.assert_allclose(discrepancy.discrepancy_field(x, x, 0.5), 0.0, atol=1e-15)
    far = discrepancy.discrepancy_field(x, x + 1e3, 0.5)
    assert np.isfinite(far).all() and np.abs(far).max() > 1e-3
    assert (far * (x - x.mean(1, keepdims=True))).sum() > 0


def test_the_check_holds_and_its_broken_forms_do_not():
    ds = discrepancy.check_discrepancy(seed=2, particles=10, horizon=1.0)
    assert float(ds["discrepancy_gradient"]) < 1e-8 < 0.01 < float(ds["discrepancy_attraction"])
    assert float(ds["discrepancy_dissipation"]) < 1e-6 < 0.9 < float(ds["discrepancy_doubled"])
