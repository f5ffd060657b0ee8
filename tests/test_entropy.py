"""The entropy budget: pathwise T3.1, the divergence in extended precision, the volume of the flow map, H_N(0) and R3.2."""

import math

import mpmath
import numpy as np
import pytest
from scipy import stats

from driftrates import entropy, flow, kernels, simulate

MEANS, WEIGHTS = [[-1.0, 0.0], [1.0, 0.5]], [0.4, 0.6]
COVARIANCES = [[[0.4, 0.1], [0.1, 0.3]], [[0.3, -0.1], [-0.1, 0.5]]]
MIXTURE = {"weights": WEIGHTS, "means": MEANS, "covariances": COVARIANCES}


def experiment(**changes):
    return {
        "name": "budget",
        "target": {"mixture": MIXTURE},
        "smooth_target": True,
        "start": {"gaussian": {"mean": 0.0, "standard_deviation": 1.5}},
        "field": "conservative",
        "leave_one_out": False,
        "kernel": {"name": "gaussian"},
        "bandwidth": 0.5,
        "n_particles": [8, 16],
        "replicates": 6,
        "times": {"stop": 1.0, "count": 6, "spacing": "linear"},
        "integrator": {"method": "dormand_prince", "rtol": 1e-9, "atol": 1e-11},
        "dtype": "float64",
        "entropy": True,
        "keep_clouds": 3,
        **changes,
    }


CASES = {
    "mixture": experiment(),
    "raw mixture": experiment(smooth_target=False, target={"mixture": {"means": MEANS, "standard_deviations": [0.5, 0.7]}}),
    "line": experiment(target={"mixture": {"means": [[-1.0], [1.2]], "standard_deviations": [0.5, 0.4]}}, bandwidth=[0.4, 0.8]),
    "five dimensions": experiment(
        target={"mixture": {"means": [[0.0] * 5], "standard_deviations": [1.0]}},
        bandwidth=1.0,
        start={"gaussian": {"mean": 0.0, "standard_deviation": 2.0}},
    ),
    "data": experiment(target={"data": {"name": "thin_horizontal", "size": 20}}, kernel={"name": "matern52"}, bandwidth=0.6),
    "smoothed laplace": experiment(target={"data": {"name": "two_moons", "size": 20}}, kernel={"name": "smoothed_laplace", "eps": 0.5}),
}


@pytest.fixture(scope="module", params=list(CASES))
def budget(request):
    spec = CASES[request.param]
    ensemble = simulate.simulate_flow(spec, seed=11)
    return spec, ensemble, entropy.measure_entropy(ensemble)


def test_pathwise_identity(budget):
    """T3.1 along every trajectory, at the accuracy of the integration; without the self-interaction term it fails by far."""
    _, ensemble, measured = budget
    assert (measured["path_residual"] < 2e-7).all()
    assert (measured["path_residual_without_self"] > 0.1).all()
    missing = abs(ensemble["integrated_self_interaction"]).max("time")
    np.testing.assert_allclose(measured["path_residual_without_self"], missing, atol=1e-6)


def test_divergence_at_the_particles(budget):
    """div_{x_i} b(x_i; X) = div b + Laplacian K_h(0) / (N p_h): to rounding with the last term, off by its size without."""
    _, _, measured = budget
    assert measured["divergence_residual"].dims == ("bandwidth", "n_particles", "snapshot")
    assert (measured["divergence_residual"] < 1e-12).all()
    assert (measured["divergence_residual_without_self"] > 1e-2).all()


def test_labels_and_shapes(budget):
    spec, ensemble, measured = budget
    for name, variable in measured.variables.items():
        assert variable.attrs["long_name"] and variable.attrs["units"], name
    assert measured["entropy"].dims == ("bandwidth", "n_particles", "time")
    assert measured["path_residual"].dims == ("bandwidth", "n_particles", "replicate")
    assert measured["initial_kl"].dims == ("bandwidth",)
    assert np.isfinite(measured["initial_kl"]).all() == ("mixture" in spec["target"])
    assert measured.attrs["experiment"] == ensemble.attrs["experiment"] and measured.attrs["seed"] == 11
    facts = {"dimension": ensemble.sizes["component"], "replicates": 6, "confidence": 0.95}
    assert {key: measured.attrs[key] for key in facts} == facts
    for name in ("stein_drift", "self_interaction", "reciprocal_kde"):
        np.testing.assert_allclose(measured[name], ensemble[name].mean("replicate"), rtol=1e-13)


def test_interval_is_students(budget):
    _, ensemble, _ = budget
    measured = entropy.measure_entropy(ensemble, particles=1, confidence=0.9)
    path = ensemble["entropy_path"].values
    for k in (0, 3):
        assert measured["entropy_error"].values[0, 1, k] == pytest.approx(stats.sem(path[0, 1, :, k]), rel=1e-10)
        low, high = stats.t.interval(0.9, 5, path[0, 1, :, k].mean(), stats.sem(path[0, 1, :, k]))
        assert measured["entropy_low"].values[0, 1, k] == pytest.approx(low, rel=1e-10)
        assert measured["entropy_high"].values[0, 1, k] == pytest.approx(high, rel=1e-10)
        assert measured["entropy"].values[0, 1, k] == pytest.approx((low + high) / 2, rel=1e-10)


# the slow path in extended precision ------------------------------------------------------------------------------


def exact_drift(kernel, h, target, i, cloud):
    """b(x_i; X) for a cloud of mpmath numbers, in the plane; target: "mixture" or points (M, 2)."""

    def kde_score(points, own=None):
        mass, pull = mpmath.mpf(0), [mpmath.mpf(0)] * 2
        for j, y in enumerate(points):
            z = [b - a for a, b in zip(cloud[i], y, strict=True)]
            s = mpmath.mpf(0) if j == own else mpmath.sqrt(z[0] ** 2 + z[1] ** 2) / h
            value = mpmath.exp(-s * s / 2) if kernel == "gaussian" else (1 + s + s * s / 3) * mpmath.exp(-s)
            steep = value if kernel == "gaussian" else (1 + s) / 3 * mpmath.exp(-s)  # -K'(s) / s
            mass += value
            pull = [p + steep * c / h**2 for p, c in zip(pull, z, strict=True)]
        return [p / mass for p in pull]

    if isinstance(target, str):
        total, score = mpmath.mpf(0), [mpmath.mpf(0)] * 2
        for w, m, c in zip(WEIGHTS, MEANS, COVARIANCES, strict=True):
            c = mpmath.matrix(c) + h**2 * mpmath.eye(2)
            z = mpmath.matrix(m) - mpmath.matrix(cloud[i])
            pull = c**-1 * z
            density = w * mpmath.exp(-(z.T * pull)[0] / 2) / mpmath.sqrt(mpmath.det(c))
            total += density
            score = [a + density * b for a, b in zip(score, pull, strict=True)]
        score = [a / total for a in score]
    else:
        score = kde_score([[mpmath.mpf(float(c)) for c in y] for y in target])
    return [a - b for a, b in zip(score, kde_score(cloud, own=i), strict=True)]


@pytest.mark.parametrize("case", ["mixture", "data"])
def test_complex_steps_against_differences_with_forty_digits(case):
    """N = 4 in the plane, each particle moved as a point and as an atom; the fast divergence agrees as well."""
    spec, h, n = CASES[case], CASES[case]["bandwidth"], 4
    cloud = simulate.initial_clouds(spec, n, 2, seed=11)[0]
    target = "mixture" if case == "mixture" else simulate.make_target(spec["target"], seed=11).points
    fast = simulate.build_field(spec, h, seed=11).at_particles(cloud[None], divergence=True)
    with mpmath.workdps(40):
        width, e = mpmath.mpf(h), mpmath.mpf("1e-12")
        exact_cloud = [[mpmath.mpf(float(c)) for c in row] for row in cloud]
        for i in range(n):
            drift = exact_drift(spec["kernel"]["name"], width, target, i, exact_cloud)
            np.testing.assert_allclose(fast.velocity[0, i], [float(v) for v in drift], rtol=1e-11, atol=1e-12)
            total = 0
            for k in range(2):
                ends = []
                for sign in (1, -1):
                    moved = [list(row) for row in exact_cloud]
                    moved[i][k] += sign * e
                    ends.append(exact_drift(spec["kernel"]["name"], width, target, i, moved)[k])
                total += (ends[0] - ends[1]) / (2 * e)
            slow = entropy.particle_divergence(spec, h, 11, cloud, i)
            assert slow == pytest.approx(float(total), rel=1e-13, abs=1e-13)
            assert fast.total_divergence[0, i] == pytest.approx(float(total), rel=1e-11)


def test_slow_velocity_is_the_fast_one():
    for spec in CASES.values():
        h = float(np.atleast_1d(spec["bandwidth"])[0])
        d = simulate.make_target(spec["target"], seed=11).dimension
        cloud = simulate.initial_clouds(spec, 9, d, seed=11)[0]
        slow = entropy.score_difference(spec, h, 11, cloud.astype(complex), cloud.astype(complex))
        assert (slow.imag == 0).all()
        fast = simulate.build_field(spec, h, seed=11).at_particles(cloud[None]).velocity[0]
        np.testing.assert_allclose(slow.real, fast, rtol=1e-11, atol=1e-12)


# the flow map -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", ["mixture", "data"])
def test_carried_divergence_is_the_log_volume_of_the_flow_map(case):
    """log |det dX(t) / dX(0)| = N int mean_i div_{x_i} b dt for N = 4, d = 2, by 16 neighbouring starts."""
    spec = {**CASES[case], "n_particles": 4, "replicates": 1, "integrator": {"method": "dormand_prince", "rtol": 1e-11, "atol": 1e-13}}
    ensemble = simulate.simulate_flow(spec, seed=11)
    start, field, e = ensemble["cloud_4"].values[0, 0, 0], simulate.build_field(spec, spec["bandwidth"], seed=11), 1e-4
    shifts = e * np.concatenate([np.eye(8), -np.eye(8)]).reshape(16, 4, 2)

    def rhs(t, x, replicates):
        return field.at_particles(x).velocity, np.zeros((len(x), 0))

    times = ensemble["time"].values
    for k, (state, _, _) in enumerate(flow.integrate(rhs, start + shifts, times, flow.DormandPrince(1e-11, 1e-13))):
        jacobian = (state.x[:8] - state.x[8:]).reshape(8, 8) / (2 * e)
        sign, volume = np.linalg.slogdet(jacobian)
        assert sign == 1
        assert volume == pytest.approx(4 * ensemble["integrated_divergence"].values[0, 0, 0, k], abs=1e-5)
    assert abs(volume) > 1


def test_entropy_path_is_the_change_of_variables(budget):
    """(log rho_t(X(t)) - sum log pi) / N with log rho_t = log rho_0 - log volume, at every time."""
    _, ensemble, _ = budget
    law = ensemble["entropy_path"] + ensemble["log_target"] + ensemble["integrated_divergence"]
    np.testing.assert_allclose(law, law.isel(time=0) + 0 * law, rtol=1e-12)


# closed forms -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", ["mixture", "raw mixture", "line", "five dimensions"])
def test_initial_entropy_is_the_divergence_of_the_laws(case):
    """R4.8: H_N(0) / N = KL(rho_0 || pi), within the interval of 300 clouds, which is narrow."""
    times = {"stop": 1e-3, "count": 2, "spacing": "linear"}
    spec = {**CASES[case], "replicates": 300, "n_particles": [16, 64], "times": times, "keep_clouds": 1}
    measured = entropy.measure_entropy(simulate.simulate_flow(spec, seed=3), particles=1, confidence=0.99)
    for b in range(measured.sizes["bandwidth"]):
        kl = float(measured["initial_kl"][b])
        assert measured["initial_kl_error"][b] < 2e-3 * kl
        for s in range(2):
            low, high = (float(measured[name][b, s, 0]) for name in ("entropy_low", "entropy_high"))
            assert low < kl < high and high - low < max(0.35 * kl, 0.03)
    if case == "five dimensions":
        start, spread = 2.0**2, 1 + 1.0**2
        assert kl == pytest.approx(2.5 * (start / spread - 1 + math.log(spread / start)), rel=1e-12)


@pytest.mark.parametrize("d", [1, 2, 3, 5])
def test_self_interaction_of_the_gaussian_kernel(d):
    """R3.2: the correction is + d (2 pi)^(-d/2) R_N / (N h^(d+2)), never negative."""
    assert -kernels.Gaussian().laplacian_at_zero(d) == pytest.approx(d * (2 * math.pi) ** (-d / 2), rel=1e-14)
    target = {"mixture": {"means": [[0.0] * d], "standard_deviations": [1.0]}}
    times = {"stop": 0.1, "count": 2, "spacing": "linear"}
    ensemble = simulate.simulate_flow(experiment(target=target, bandwidth=0.7, n_particles=8, replicates=2, times=times), seed=1)
    expected = d * (2 * math.pi) ** (-d / 2) / (8 * 0.7 ** (d + 2)) * ensemble["reciprocal_kde"]
    np.testing.assert_allclose(ensemble["self_interaction"], expected, rtol=1e-12)
    assert (ensemble["self_interaction"] > 0).all()
    bound = d / 0.7**2
    assert (ensemble["self_interaction"] <= bound * (1 + 1e-12)).all(), "X1: a particle sees itself"


def test_other_ensembles_are_refused():
    times = {"stop": 0.01, "count": 2, "spacing": "linear"}
    for changes in ({"field": "displacement"}, {"leave_one_out": True}, {"entropy": False}):
        ensemble = simulate.simulate_flow(experiment(n_particles=4, times=times, **changes), seed=1)
        with pytest.raises(ValueError, match="experiment 'budget': the entropy budget needs field: conservative"):
            entropy.measure_entropy(ensemble)
    with pytest.raises(ValueError, match="needs replicates >= 2"):
        entropy.measure_entropy(simulate.simulate_flow(experiment(n_particles=4, times=times, replicates=1), seed=1))
