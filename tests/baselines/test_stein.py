"""SVGD against pair-by-pair sums, complex steps and Stein's identity."""

import numpy as np
import pytest

from driftrates.baselines import stein
from driftrates.targets import GaussianMixture

TARGET = GaussianMixture(np.array([0.3, 0.7]), np.array([[-1.0, 0.2], [0.8, -0.4]]), np.array([[0.5, 0.3], [0.2, 0.6]]))
H = 0.7


@pytest.fixture
def x():
    return np.random.default_rng(3).standard_normal((2, 5, 2))


def test_velocity_and_discrepancy_are_the_pairwise_sums(x):
    value = stein.svgd(x, TARGET, H)
    for r, cloud in enumerate(x):
        score = TARGET.score(cloud[None])[0]
        velocity, discrepancy = np.zeros_like(cloud), 0.0
        for i in range(5):
            for j in range(5):
                z = cloud[i] - cloud[j]
                k = np.exp(-(z @ z) / (2 * H**2))
                slope, laplacian = -z * k / H**2, k * (z @ z / H**4 - 2 / H**2)
                velocity[i] += (k * score[j] - slope) / 5
                discrepancy += (k * score[i] @ score[j] - score[i] @ slope + score[j] @ slope - laplacian) / 25
        np.testing.assert_allclose(value.velocity[r], velocity, rtol=1e-12, atol=1e-13)
        assert value.squared_discrepancy[r] == pytest.approx(discrepancy, rel=1e-12)


def test_divergence_is_that_of_complex_steps_and_the_correction_its_own_term(x):
    value = stein.svgd(x, TARGET, H)
    score, laplacian = TARGET.score(x), TARGET.laplacian(x)
    np.testing.assert_allclose(value.correction, (-laplacian + 2 / H**2).mean(1), rtol=1e-13)
    covariances = np.stack([np.diag(c) for c in TARGET.covariances])
    dense = GaussianMixture(TARGET.weights, TARGET.means, covariances)
    for r, cloud in enumerate(x):
        np.testing.assert_allclose(value.divergence[r], stein._divergence(cloud, dense, H), rtol=1e-11)
    # The identity at one instant: sum_i (div_i + s_i . v_i) = N KSD^2 - correction.
    drift = value.divergence.sum(1) + (score * value.velocity).sum((1, 2))
    np.testing.assert_allclose(drift, 5 * value.squared_discrepancy - value.correction, rtol=1e-11)


def test_discrepancy_of_target_samples_falls_like_one_over_n():
    sizes = (50, 400)
    means = [stein.svgd(TARGET.sample(np.random.default_rng(n), (12, n)), TARGET, H).squared_discrepancy.mean() for n in sizes]
    assert 4 < means[0] / means[1] < 16


def test_a_bandwidth_of_zero_is_refused(x):
    with pytest.raises(ValueError, match="positive"):
        stein.svgd(x, TARGET, 0.0)


def test_the_check_closes_the_budget_and_needs_both_terms():
    ds = stein.check_stein(seed=1, particles=(4, 6), horizon=0.3, replicates=2)
    assert ds["stein_divergence"].max() < 1e-12 < 0.01 < ds["stein_frozen"].min()
    assert ds["stein_path"].max() < 1e-7
    for broken in ("uncorrected", "without_target", "without_kernel"):
        assert ds[f"stein_{broken}"].min() > 1e-3
