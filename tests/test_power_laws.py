import numpy as np
import pytest

from driftrates import power_laws

SIZES = np.array([32, 64, 128, 256, 512])


def synthetic(exponent: float, rng: np.random.Generator, replicates: int = 24, spread: float = 0.4) -> list[np.ndarray]:
    return [n**exponent * rng.lognormal(-0.5 * spread**2, spread, replicates) for n in SIZES]


def test_exact_power_law_is_recovered() -> None:
    fit = power_laws.fit_power_law(SIZES, [np.full(5, 3.0 * n**-0.4) * np.linspace(0.99, 1.01, 5) for n in SIZES])
    assert fit.slope == pytest.approx(-0.4, abs=1e-12)
    assert np.exp(fit.intercept) == pytest.approx(3.0, rel=1e-12)
    assert fit.curvature == pytest.approx(0.0, abs=1e-12)
    assert fit.leave_one_out == pytest.approx((-0.4, -0.4), abs=1e-12)


def test_intervals_cover_a_known_exponent_as_often_as_they_say() -> None:
    rng = np.random.default_rng(7)
    trials = 120
    hits = {"percentile": 0, "bca": 0}
    for t in range(trials):
        fit = power_laws.fit_power_law(SIZES, synthetic(-0.4, rng), resamples=299, seed=t)
        for name in hits:
            low, high = getattr(fit, name)
            hits[name] += low <= -0.4 <= high
    for name, count in hits.items():
        assert 0.86 <= count / trials <= 0.995, (name, count)


def test_curvature_is_seen_and_a_straight_line_is_not_accused() -> None:
    rng = np.random.default_rng(1)
    straight = [power_laws.fit_power_law(SIZES, synthetic(-0.5, rng), resamples=99).curvature_p for _ in range(60)]
    assert np.mean(np.array(straight) < 0.05) < 0.2
    bent = [v * np.exp(0.3 * np.log(n / 128) ** 2) for v, n in zip(synthetic(-0.5, rng), SIZES, strict=True)]
    assert power_laws.fit_power_law(SIZES, bent, resamples=99).curvature_p < 1e-3


def test_exponents_between_neighbours_cover_the_truth_as_often_as_they_say() -> None:
    slope, _ = power_laws.local_exponents(SIZES, [np.full(4, 3.0 * n**-0.4) for n in SIZES])
    np.testing.assert_allclose(slope, -0.4)
    rng = np.random.default_rng(4)
    hits = []
    for _ in range(150):
        slope, error = power_laws.local_exponents(SIZES, synthetic(-0.4, rng, replicates=4, spread=0.2))
        hits.append(abs(slope + 0.4) <= error)
    assert 0.92 <= np.mean(hits) <= 0.99
    slope, error = power_laws.local_exponents([1, 2, 4], [np.ones(3), np.array([-3.0, 1.0, 1.0]), np.ones(3)])
    assert np.isnan([*slope, *error]).all()


def test_power_law_refuses_what_has_none() -> None:
    with pytest.raises(ValueError, match="positive finite means"):
        power_laws.fit_power_law(SIZES, [np.full(5, -1.0)] * 5)
    with pytest.raises(ValueError, match="three sizes"):
        power_laws.fit_power_law([1, 2], [np.ones(5)] * 2)


def test_verdicts_distinguish_the_three_cases() -> None:
    assert power_laws.verdict(-0.5, -0.4, -0.3) == "faster than the bound"
    assert power_laws.verdict(-0.5, -0.2, -0.3) == "attained"
    assert power_laws.verdict(-0.2, -0.1, -0.3) == "slower than predicted"


def test_student_intervals_and_exponents_over_replicates() -> None:
    samples = np.array([1.0, 2.0, 4.0])
    mean, (low, high) = power_laws.student_interval(samples)
    # Quantile of Student's t with 2 degrees of freedom, from a table.
    half = 4.302653 * np.std(samples, ddof=1) / np.sqrt(3)
    assert (mean, low, high) == pytest.approx((7 / 3, 7 / 3 - half, 7 / 3 + half))
    x = np.array([1.0, 2.0, 4.0, 8.0])
    slope, ends = power_laws.replicate_exponent(x, 3.0 * x[:, None] ** samples)
    assert (slope, *ends) == pytest.approx((mean, low, high))
    with pytest.raises(ValueError, match="at least two samples"):
        power_laws.student_interval([1.0])
