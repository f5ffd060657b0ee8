"""Observables along a flow, recomputed from its stored clouds by double loops and SciPy; integrals and entropy along its paths."""

import math

import numpy as np
import pytest
from scipy import stats

from driftrates import datasets, simulate
from problems import DATA, EULER, MIXTURE, laplace_trial, trial


def recomputed(spec, h, x):
    """D_N, R_N, mean log ratio, radius, S_N of one cloud (N, 2) for the conservative Gaussian field toward `MIXTURE`."""
    n, d = x.shape
    z = x[None] - x[:, None]
    weight = np.exp(-0.5 * (z**2).sum(-1) / h**2)
    mass = weight.sum(1)
    density = mass / (n * (2 * math.pi * h * h) ** (d / 2))
    score = (weight[..., None] * z).sum(1) / (h**2 * mass[:, None])
    laplacian = (weight * (z**2).sum(-1)).sum(1) / (h**4 * mass) - d / h**2 - (score**2).sum(1)
    parts = [
        (w / 3, np.array(m), s**2 + (h**2 if spec["smooth_target"] else 0))
        for w, m, s in zip(MIXTURE["weights"], MIXTURE["means"], MIXTURE["standard_deviations"], strict=True)
    ]
    each = np.array([w * stats.multivariate_normal(m, v * np.eye(2)).pdf(x) for w, m, v in parts])
    pi = each.sum(0)
    pi_score = sum(e[:, None] * (m - x) / v for e, (_, m, v) in zip(each, parts, strict=True)) / pi[:, None]
    # Laplacian of log pi = (Laplacian pi) / pi - |score|^2
    curvature = sum(e * (((x - m) ** 2).sum(1) / v**2 - d / v) for e, (_, m, v) in zip(each, parts, strict=True)) / pi
    b = pi_score - score
    stein = curvature - (pi_score**2).sum(1) - laplacian + (pi_score * b).sum(1)
    return {
        "squared_speed": (b**2).sum(1).mean(),
        "reciprocal_kde": (1 / density).mean(),
        "log_ratio": np.log(pi / density).mean(),
        "radius": np.linalg.norm(x, axis=1).max(),
        "stein_drift": stein.mean(),
        "self_interaction": d * (2 * math.pi) ** (-d / 2) / (n * h ** (d + 2)) * (1 / density).mean(),
        "log_target": np.log(pi).mean(),
    }


@pytest.mark.parametrize("smooth_target", [True, False])
def test_observables_from_the_stored_clouds(smooth_target):
    """S_N (4), D_N (6), R_N (7), the potential and the Gaussian self-interaction term of R3.2 at every output time."""
    spec = trial(entropy=True, smooth_target=smooth_target, replicates=2, bandwidth=[0.5, 0.8])
    dataset = simulate.simulate_flow(spec, seed=5)
    for b, h in enumerate((0.5, 0.8)):
        for s, n in enumerate((8, 13)):
            for r in range(2):
                for k in range(5):
                    expected = recomputed(spec, h, dataset[f"cloud_{n}"].values[b, r, k])
                    for name, value in expected.items():
                        assert dataset[name].values[b, s, r, k] == pytest.approx(value, rel=1e-10, abs=1e-12), name


def test_the_entropy_path_starts_at_the_mean_log_ratio_of_the_laws():
    dataset = simulate.simulate_flow(trial(entropy=True), seed=7)
    for s, n in enumerate((8, 13)):
        for r in range(3):
            x = dataset[f"cloud_{n}"].values[0, r, 0]
            start = stats.multivariate_normal([0, 0], np.diag([1.5**2, 0.8**2])).logpdf(x)
            log_target = dataset["log_target"].values[0, s, r, 0]
            assert dataset["entropy_path"].values[0, s, r, 0] == pytest.approx(start.mean() - log_target, rel=1e-12)
    for name in ("integrated_divergence", "integrated_stein_drift", "integrated_self_interaction"):
        assert (dataset[name].isel(time=0) == 0).all()


def test_integrated_rates_are_the_integrals_of_the_recorded_ones():
    """Simpson's rule over the recorded S_N and self-interaction; the same flow as without the carried integrals."""
    times = {"stop": 0.4, "count": 81}
    dataset = simulate.simulate_flow(trial(entropy=True, n_particles=8, times=times, keep_clouds=2), seed=7)
    for rate, integral in (("stein_drift", "integrated_stein_drift"), ("self_interaction", "integrated_self_interaction")):
        values = dataset[rate].values
        simpson = (values[..., 0:-1:2] + 4 * values[..., 1::2] + values[..., 2::2]).sum(-1) * 0.4 / 80 / 3
        np.testing.assert_allclose(dataset[integral].values[..., -1], simpson, rtol=1e-5)
    without = simulate.simulate_flow(trial(n_particles=8, times=times, keep_clouds=2), seed=7)
    np.testing.assert_allclose(without["cloud_8"], dataset["cloud_8"], atol=1e-6)


@pytest.mark.parametrize(
    "changes",
    [
        {"field": "displacement"},
        {"field": "sharp"},
        {"leave_one_out": True},
        {"field": "displacement", "target": {"data": DATA}, "kernel": {"name": "laplace"}},
        {"field": "displacement", "target": {"data": DATA}, "kernel": {"name": "laplace"}, "leave_one_out": True},
    ],
    ids=lambda c: "-".join(map(str, c)),
)
def test_entropy_along_the_paths_of_every_field(changes):
    """T3.1 and T6.3 pathwise: the change of the path entropy is the integrated self-interaction less the integrated S_N."""
    times = {"stop": 0.1, "count": 3}
    dataset = simulate.simulate_flow(trial(entropy=True, n_particles=8, times=times, **changes), seed=7)
    change = dataset["entropy_path"] - dataset["entropy_path"].isel(time=0)
    explained = dataset["integrated_self_interaction"] - dataset["integrated_stein_drift"]
    np.testing.assert_allclose(change, explained, atol=1e-6)
    assert abs(change).max() > 1e-3
    assert (dataset["self_interaction"] == 0).all() == changes.get("leave_one_out", False)


def test_the_leave_one_out_laplace_flow_and_its_density():
    """ODE (47): speeds from a double loop; R_N is that of the leave-one-out density."""
    dataset = simulate.simulate_flow(laplace_trial(n_particles=8, replicates=1, integrator=EULER), seed=2)
    data, h = datasets.load(DATA, seed=2), 0.5
    for k in range(5):
        x = dataset["cloud_8"].values[0, 0, k]
        speeds, densities = [], []
        for i in range(8):
            shift = []
            for sources in (data, np.delete(x, i, axis=0)):
                weight = np.exp(-np.linalg.norm(sources - x[i], axis=1) / h)
                shift.append(weight @ (sources - x[i]) / weight.sum())
            speeds.append(((shift[0] - shift[1]) ** 2).sum())
            densities.append(weight.mean() / (2 * math.pi * h * h))
        assert dataset["squared_speed"].values[0, 0, 0, k] == pytest.approx(np.mean(speeds), rel=1e-10)
        assert dataset["reciprocal_kde"].values[0, 0, 0, k] == pytest.approx(np.mean(1 / np.array(densities)), rel=1e-10)


def test_what_the_full_field_would_do_is_recorded_for_a_leave_one_out_field():
    """R_N with the full KDE, d K(0) R_N / (N h^d) and the mean of T_pi# of the full field, by double loops and differences."""
    dataset = simulate.simulate_flow(laplace_trial(n_particles=8, replicates=1, entropy=True), seed=2)
    assert set(simulate.FULL_OBSERVABLES) <= set(dataset.data_vars)
    data, h, n, e = datasets.load(DATA, seed=2), 0.5, 8, 1e-6

    def shift(at, sources):
        weight = np.exp(-np.linalg.norm(sources - at, axis=1) / h)
        return weight @ (sources - at) / weight.sum(), weight, np.linalg.norm(sources - at, axis=1)

    for k in (0, 4):
        x = dataset["cloud_8"].values[0, 0, k]
        reciprocal, stein = [], []
        for i in range(n):
            of_data, weight, distance = shift(x[i], data)
            alpha = h * h + h * (weight @ distance) / weight.sum()
            of_cloud, mass, _ = shift(x[i], x)
            reciprocal.append(n * 2 * math.pi * h * h / mass.sum())
            slopes = []
            for step in e * np.eye(2):
                moved = [shift(x[i] + sign * step, data)[0] - shift(x[i] + sign * step, x)[0] for sign in (1, -1)]
                slopes.append(((moved[0] - moved[1]) / (2 * e))[np.argmax(step)])
            stein.append(sum(slopes) + (of_data / alpha) @ (of_data - of_cloud))
        own = 2 * np.mean(reciprocal) / (2 * math.pi * n * h * h)
        at = dataset.isel(bandwidth=0, n_particles=0, replicate=0, time=k)
        assert at["full_reciprocal_kde"] == pytest.approx(np.mean(reciprocal), rel=1e-10)
        assert at["full_self_interaction"] == pytest.approx(own, rel=1e-10)
        assert at["full_stein_drift"] == pytest.approx(np.mean(stein), abs=1e-5)
    without = simulate.simulate_flow(laplace_trial(n_particles=8, replicates=1, leave_one_out=False, entropy=True), seed=2)
    assert not set(simulate.FULL_OBSERVABLES) & set(without.data_vars)
