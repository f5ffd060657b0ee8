import math

import numpy as np
import pytest

from driftrates.measurements import growth
from driftrates.measurements.growth import constructions, growth_exponent, growth_regimes, measure_norms, quantile_cloud


def test_exponent_of_an_exact_power_law():
    h = np.array([0.1, 0.2, 0.3, 0.7])
    found = growth_exponent(h, 5.0 * h**-2.5)
    np.testing.assert_allclose(found, [2.5, 2.5, 2.5, 5.0], rtol=1e-6)
    rows = np.array([[1.0], [2.0], [4.0]]) * h**-2.5
    np.testing.assert_allclose(growth_exponent(h, rows, resamples=100), [2.5, 2.5, 2.5, 2.0], rtol=1e-9)


def test_noisy_levels_weigh_less():
    h, rng = np.geomspace(0.05, 0.5, 8), np.random.default_rng(0)
    noise = np.where(np.arange(8) < 2, 3.0, 0.01)
    logs = 1.5 * -np.log(h) + noise * rng.standard_normal((12, 8))
    found = growth_exponent(h, np.exp(logs), resamples=500)
    assert abs(found.beta - 1.5) < 0.02
    assert found.low < found.beta < found.high < 1.6


def test_the_bootstrap_interval_covers():
    h, rng = np.geomspace(0.05, 0.5, 6), np.random.default_rng(1)
    hits = 0
    for trial in range(200):
        logs = 2.0 * -np.log(h) + 0.3 * rng.standard_normal((16, 6))
        found = growth_exponent(h, np.exp(logs), confidence=0.9, resamples=300, seed=trial)
        hits += found.low <= 2.0 <= found.high
        assert not found.low <= 3.0 <= found.high
    assert 0.78 < hits / 200 < 0.97


@pytest.mark.parametrize(
    ("h", "constants", "message"),
    [
        ([0.1, 0.2], [1.0, 2.0], "3 different values"),
        ([0.1, 0.2, 0.2], [1.0, 2.0, 2.0], "3 different values"),
        ([0.1, 0.2, 0.3], [[1.0, 2.0]], "3 different values"),
        ([0.1, 0.2, 0.3], [1.0, 0.0, 2.0], "finite and positive"),
        ([0.1, 0.2, 0.3], [1.0, math.nan, 2.0], "finite and positive"),
    ],
)
def test_bad_data_are_refused(h, constants, message):
    with pytest.raises(ValueError, match=message):
        growth_exponent(np.array(h), np.array(constants))


def test_quantiles_are_those_of_the_density():
    from scipy import stats

    n = 400
    x = quantile_cloud(lambda x: np.exp(-0.5 * (x - 0.3) ** 2 / 0.49), n)[:, 0]
    np.testing.assert_allclose(x, 0.3 + 0.7 * stats.norm.ppf((np.arange(n) + 0.5) / n), atol=1e-9)


def test_the_oscillating_cloud_has_the_constants_of_its_closed_form():
    # K_h * [pi (1 + eps cos kx)] is pi_h (1 + eps A cos k'x) for a Gaussian pi
    case = next(c for c in constructions(replicates=2, seed=0, relaxation=False) if c.scale == 0.3)
    h = case.bandwidths[-1]
    k = 1 / (growth.WAVE_SCALE * h**0.3)
    amplitude, k = growth.AMPLITUDE * math.exp(-0.5 * k**2 * h**2 / (1 + h**2)), k / (1 + h**2)
    x = np.linspace(-1.1, 1.1, 40_001)
    step = x[1] - x[0]
    u = -np.log(1 + amplitude * np.cos(k * x))
    wave = amplitude * np.cos(k * x)
    first = amplitude * k * np.sin(k * x) / (1 + wave)
    second = k**2 * (wave + amplitude**2) / (1 + wave) ** 2
    stein = second - x / (1 + h**2) * first
    inside = np.abs(x) <= 1.0
    l1 = np.abs(np.gradient(np.gradient(stein, step), step))[inside].max()
    l2 = np.abs(np.gradient(np.gradient(first**2, step), step))[inside].max()
    assert np.abs(np.gradient(u, step) - first)[5:-5].max() < 1e-3 * np.abs(first).max()
    found = measure_norms(case.field(h), case.cloud(h, 0), case.window(h), particles=8, samples=8, seed=0)
    assert found["stein_constant"][0] == pytest.approx(l1, rel=0.01)
    assert found["speed_constant"][0] == pytest.approx(l2, rel=0.01)


@pytest.fixture(scope="module")
def regimes():
    return growth_regimes(replicates=3, particles=24, samples=64, relaxation=False, resamples=200)


def test_each_construction_has_its_exponent(regimes):
    window = regimes["sum_constant_beta"].sel(region="window")
    tolerance = {"h_uniform": 0.25, "oscillation": 0.08, "kernel_scale": 0.05, "gap": 0.25, "iid": 0.8}
    for c in range(regimes.sizes["construction"]):
        regime, expected = str(regimes["regime"].values[c]), float(regimes["expected"][c])
        assert float(window[c]) == pytest.approx(expected, abs=tolerance[regime]), str(regimes["construction"].values[c])
    uniform, scale, gap = (
        window[(regimes["regime"] == r).values & (regimes["kernel"] == "gaussian").values] for r in ("h_uniform", "kernel_scale", "gap")
    )
    assert float(uniform.max()) + 3 < float(scale.min()) < float(scale.max()) + 3 < float(gap.min())
    waves = window[(regimes["regime"] == "oscillation").values].values
    assert (np.diff(waves) > 0.25).all()


def test_independent_draws_are_at_the_border(regimes):
    mean = regimes["stein_constant_beta"].sel(region="mean")[(regimes["regime"] == "iid").values].values
    assert (np.abs(mean - 2) < 0.5).all()


def test_the_gap_has_the_constants_of_x7(regimes):
    gap = regimes.isel(construction=np.flatnonzero((regimes["regime"] == "gap").values & (regimes["kernel"] == "gaussian").values)).sel(
        region="window"
    )
    assert gap.sizes["construction"] == 2
    np.testing.assert_allclose(gap["stein_constant"].isel(replicate=0), gap["predicted_stein"], rtol=2e-3)
    np.testing.assert_allclose(gap["lipschitz"].isel(replicate=0), gap["predicted_lipschitz"], rtol=2e-3)
    assert (np.abs(gap["lipschitz_beta"] - 4) < 0.1).all()


def test_the_table_is_labelled_and_complete(regimes):
    for name, variable in regimes.variables.items():
        assert variable.attrs["long_name"] and variable.attrs["units"], name
    used = np.isfinite(regimes["bandwidth"]).sum("level")
    for c in range(regimes.sizes["construction"]):
        repeats = 3 if regimes["regime"].values[c] == "iid" else 1
        finite = np.isfinite(regimes["sum_constant"].values[c])
        assert finite[:repeats, : int(used[c])].all() and finite.sum() == repeats * int(used[c]) * 4
    assert (regimes["sum_constant_beta_low"] <= regimes["sum_constant_beta"] + 1e-12).all()
    assert regimes.attrs["replicates"] == 3 and regimes.attrs["samples"] == 64


def test_relaxation_flattens_the_density():
    cases = {c.regime: c for c in constructions(replicates=2, seed=0) if c.d == 1}
    h = 0.3
    before, after = (
        measure_norms(cases[name].field(h), cases[name].cloud(h, 0), cases[name].window(h), particles=64, samples=256, seed=0)
        for name in ("iid", "relaxed")
    )
    assert after["lipschitz"][3] < 0.5 * before["lipschitz"][3]
    assert after["speed_constant"][0] < 0.5 * before["speed_constant"][0]


def test_a_single_replicate_is_refused():
    with pytest.raises(ValueError, match="at least 2 replicates"):
        growth_regimes(replicates=1)
