"""Where the clouds of an ensemble begin, and that a replicate depends on nothing else in the experiment."""

import numpy as np
import pytest
from scipy import stats

from driftrates import simulate
from problems import EULER, trial


@pytest.mark.parametrize("integrator", [{"method": "dormand_prince"}, {"method": "rkc"}, EULER], ids=lambda i: i["method"])
def test_a_replicate_depends_on_nothing_else_in_the_experiment(integrator):
    """More replicates, sizes and bandwidths leave the bytes of what was there before; so does running it again."""
    small = {"n_particles": 13, "replicates": 2, "bandwidth": 0.5, "entropy": True, "integrator": integrator}
    alone, again = (simulate.simulate_flow(trial(**small), seed=7) for _ in range(2))
    grown = simulate.simulate_flow(trial(**{**small, "n_particles": [5, 13, 8], "replicates": 5, "bandwidth": [0.9, 0.5]}), seed=7)
    same = grown.isel(bandwidth=[1], n_particles=[1], replicate=slice(0, 2))
    for name in alone.data_vars:
        assert alone[name].values.tobytes() == again[name].values.tobytes()
        assert alone[name].values.tobytes() == same[name].values.tobytes(), name
    other = simulate.simulate_flow(trial(**small), seed=8)
    assert not (other["cloud_13"] == alone["cloud_13"]).any()


def test_starts_are_keyed_by_label_size_and_replicate():
    draws = {
        label: simulate.initial_clouds(trial(name=name) | {"start_label": given}, n, 2, seed=3)
        for label, name, given, n in [
            ("a", "a", None, 6),
            ("b", "b", None, 6),
            ("b as a", "b", "a", 6),
            ("larger", "a", None, 7),
        ]
    }
    assert draws["a"].shape == (3, 6, 2) and draws["a"].dtype == np.float64
    np.testing.assert_array_equal(draws["a"], draws["b as a"])
    for other in ("b", "larger"):
        assert not np.isin(draws["a"], draws[other]).any()
    assert len(np.unique(draws["a"])) == draws["a"].size


def test_the_gaussian_start_has_its_mean_and_deviations():
    start = {"gaussian": {"mean": [2.0, -1.0], "standard_deviation": 0.5}}
    x = simulate.initial_clouds(trial(start=start, replicates=40), 100, 2, seed=3).reshape(-1, 2)
    for axis, mean in enumerate((2.0, -1.0)):
        assert stats.kstest(x[:, axis], "norm", (mean, 0.5)).pvalue > 1e-3
    density = simulate.start_density(trial(start=start), 2)
    exact = stats.multivariate_normal([2.0, -1.0], 0.25 * np.eye(2)).logpdf(x)
    np.testing.assert_allclose(density.log_density(x[None])[0], exact, rtol=1e-12)


def test_a_start_drawn_from_data():
    spec = trial(start={"data": {"name": "thin_vertical"}}, replicates=2)
    assert simulate.start_density(spec, 2) is None
    x = simulate.initial_clouds(spec, 50, 2, seed=3)
    assert x.shape == (2, 50, 2) and not np.isin(x[0], x[1]).any()
    assert (x[..., 1].std(1) > 3 * x[..., 0].std(1)).all()
    np.testing.assert_array_equal(simulate.initial_clouds({**spec, "replicates": 1}, 50, 2, seed=3)[0], x[0])
