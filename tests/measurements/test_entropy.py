"""The entropy budget: pathwise T3.1, the divergence in extended precision, the volume of the flow map, H_N(0) and R3.2."""

import math
from functools import partial

import mpmath
import numpy as np
import pytest
from scipy import stats

from driftrates import flow, kernels, simulate
from driftrates.measurements import entropy
from driftrates.targets import GaussianMixture
from problems import LEAVE_ONE_OUT, gaussian_start, normal, problem

MEANS, WEIGHTS = [[-1.0, 0.0], [1.0, 0.5]], [0.4, 0.6]
COVARIANCES = [[[0.4, 0.1], [0.1, 0.3]], [[0.3, -0.1], [-0.1, 0.5]]]
MIXTURE = {"weights": WEIGHTS, "means": MEANS, "covariances": COVARIANCES}


experiment = partial(
    problem,
    name="budget",
    target={"mixture": MIXTURE},
    replicates=6,
    times={"stop": 1.0, "count": 6},
    integrator={"rtol": 1e-9, "atol": 1e-11},
    entropy=True,
    keep_clouds=3,
)


CASES = {
    "mixture": experiment(),
    "raw mixture": experiment(smooth_target=False, target={"mixture": {"means": MEANS, "standard_deviations": [0.5, 0.7]}}),
    "line": experiment(target={"mixture": {"means": [[-1.0], [1.2]], "standard_deviations": [0.5, 0.4]}}, bandwidth=[0.4, 0.8]),
    "five dimensions": experiment(target=normal(5), bandwidth=1.0, start=gaussian_start(2.0)),
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


def bandwidth_and_cloud(spec):
    """The first bandwidth of an experiment, and nine of its particles at the start, (9, d)."""
    d = simulate.make_target(spec["target"], seed=11).dimension
    return float(np.atleast_1d(spec["bandwidth"])[0]), simulate.initial_clouds(spec, 9, d, seed=11)[0]


def test_slow_velocity_is_the_fast_one():
    for spec in CASES.values():
        h, cloud = bandwidth_and_cloud(spec)
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
    times = {"stop": 0.1, "count": 2}
    ensemble = simulate.simulate_flow(experiment(target=normal(d), bandwidth=0.7, n_particles=8, replicates=2, times=times), seed=1)
    expected = d * (2 * math.pi) ** (-d / 2) / (8 * 0.7 ** (d + 2)) * ensemble["reciprocal_kde"]
    np.testing.assert_allclose(ensemble["self_interaction"], expected, rtol=1e-12)
    assert (ensemble["self_interaction"] > 0).all()
    bound = d / 0.7**2
    assert (ensemble["self_interaction"] <= bound * (1 + 1e-12)).all(), "X1: a particle sees itself"


# leave-one-out fields ---------------------------------------------------------------------------------------------

masked_experiment = partial(experiment, **LEAVE_ONE_OUT, integrator={"rtol": 1e-7, "atol": 1e-9})
LINE = {"mixture": {"means": [[-1.0], [1.2]], "standard_deviations": [0.5, 0.4]}}
PLANE = {"data": {"name": "eight_gaussians", "size": 30}}
MASKED_CASES = {
    "line": masked_experiment(target=LINE, bandwidth=[0.3, 0.6]),
    "data": masked_experiment(target=PLANE),
    "sharp": masked_experiment(field="sharp", target=PLANE, bandwidth=0.8),
    "gaussian kernel": masked_experiment(kernel={"name": "gaussian"}),
}


@pytest.fixture(scope="module", params=list(MASKED_CASES))
def masked(request):
    spec = MASKED_CASES[request.param]
    ensemble = simulate.simulate_flow(spec, seed=11)
    return spec, ensemble, entropy.measure_entropy(ensemble, particles=5, samples=64)


def test_masked_identity_and_what_breaks_it(masked):
    """T6.3: no self-interaction; adding the full field's, or taking the full field, fails by far."""
    _, ensemble, measured = masked
    assert (measured["path_residual"] < 1e-6).all() and (measured["divergence_residual"] < 1e-12).all()
    assert (measured["divergence_residual_full"] < 1e-12).all()
    for suffix in ("_with_self", "_full_field"):
        assert (measured[f"path_residual{suffix}"] > 1e-2).all(), suffix
        assert (measured[f"divergence_residual{suffix}"] > 1e-2).all(), suffix
    assert (measured["self_interaction"] == 0).all() and (measured["full_self_interaction"] > 0).all()
    assert not {"path_residual_without_self", "divergence_residual_without_self"} & set(measured)
    own = ensemble["full_self_interaction"].cumulative_integrate("time")
    np.testing.assert_allclose(measured["path_residual_with_self"], own.isel(time=-1), atol=1e-5)
    alike = ensemble.assign(full_stein_drift=ensemble["stein_drift"], full_self_interaction=0 * ensemble["full_self_interaction"])
    again = entropy.measure_entropy(alike, particles=1, samples=8)
    for suffix in ("_with_self", "_full_field"):
        np.testing.assert_array_equal(again[f"path_residual{suffix}"], measured["path_residual"])
    for name, variable in measured.variables.items():
        assert variable.attrs["long_name"] and variable.attrs["units"], name
        assert np.isfinite(variable).all(), name


def test_hidden_term_is_the_full_fields_self_interaction(masked):
    """d K(0) R_N / (N h^d), with R_N from the full KDE, for the displacement field."""
    spec, ensemble, measured = masked
    np.testing.assert_array_equal(measured["hidden_term"], measured["full_self_interaction"])
    np.testing.assert_array_equal(measured["hidden_term_median"], ensemble["full_self_interaction"].median("replicate"))
    if spec["field"] == "displacement":
        d = ensemble.sizes["component"]
        scale = d * kernels.make(**spec["kernel"]).value(0.0, 1.0, d) / (ensemble["n_particles"] * ensemble["bandwidth"] ** d)
        np.testing.assert_allclose(measured["hidden_term"], measured["full_reciprocal_kde"] * scale, rtol=1e-12)
    assert measured["hidden_term"].dims == measured["stein_drift"].dims == ("bandwidth", "n_particles", "time")


def test_masked_slow_velocity_is_the_fast_one():
    for spec in MASKED_CASES.values():
        h, cloud = bandwidth_and_cloud(spec)
        for left_out in (True, False):
            changed = {**spec, "leave_one_out": left_out}
            fast = simulate.build_field(changed, h, seed=11).at_particles(cloud[None]).velocity[0]
            slow = np.array([entropy.slow_velocity(changed, h, 11, cloud.astype(complex), i) for i in range(9)])
            assert (slow.imag == 0).all()
            np.testing.assert_allclose(slow.real, fast, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("left_out", [True, False])
def test_masked_divergence_against_differences_with_forty_digits(left_out):
    """The displacement of N = 4 particles toward points in the plane, each moved as a point and as an atom."""
    h, n, target = 0.5, 4, PLANE
    spec = {**MASKED_CASES["data"], "leave_one_out": left_out}
    cloud, points = simulate.initial_clouds(spec, n, 2, seed=11)[0], simulate.make_target(target, seed=11).points
    with mpmath.workdps(40):
        width, e = mpmath.mpf(h), mpmath.mpf("1e-12")

        def shift(x, sources):
            mass, total = mpmath.mpf(0), [mpmath.mpf(0)] * 2
            for y in sources:
                z = [mpmath.mpf(b) - a for a, b in zip(x, y, strict=True)]
                weight = mpmath.exp(-mpmath.sqrt(z[0] ** 2 + z[1] ** 2) / width)
                mass, total = mass + weight, [t + weight * c for t, c in zip(total, z, strict=True)]
            return [t / mass for t in total]

        data = [[float(c) for c in y] for y in points]
        for i in range(n):
            total = 0
            for k in range(2):
                ends = []
                for sign in (1, -1):
                    moved = [[mpmath.mpf(float(c)) for c in row] for row in cloud]
                    moved[i][k] += sign * e
                    others = [row for j, row in enumerate(moved) if j != i or not left_out]
                    ends.append(shift(moved[i], data)[k] - shift(moved[i], others)[k])
                total += (ends[0] - ends[1]) / (2 * e)
            assert entropy.particle_divergence(spec, h, 11, cloud, i) == pytest.approx(float(total), rel=1e-12)


@pytest.mark.parametrize("case", ["line", "data"])
def test_masked_divergence_is_the_log_volume_of_the_flow_map(case):
    """As for the conservative field; the displacement is Lipschitz, so that its flow has a volume almost everywhere."""
    spec = {**MASKED_CASES[case], "n_particles": 4, "replicates": 1, "bandwidth": 0.6}
    spec["integrator"] = {"method": "dormand_prince", "rtol": 1e-9, "atol": 1e-11}
    ensemble = simulate.simulate_flow(spec, seed=11)
    start, field, e = ensemble["cloud_4"].values[0, 0, 0], simulate.build_field(spec, 0.6, seed=11), 1e-4
    m = start.size
    shifts = e * np.concatenate([np.eye(m), -np.eye(m)]).reshape(2 * m, *start.shape)

    def rhs(t, x, replicates):
        return field.at_particles(x).velocity, np.zeros((len(x), 0))

    times = ensemble["time"].values
    for k, (state, _, _) in enumerate(flow.integrate(rhs, start + shifts, times, flow.DormandPrince(1e-9, 1e-11))):
        sign, volume = np.linalg.slogdet((state.x[:m] - state.x[m:]).reshape(m, m) / (2 * e))
        assert sign == 1
        assert volume == pytest.approx(4 * ensemble["integrated_divergence"].values[0, 0, 0, k], abs=1e-3)
    assert abs(volume) > 0.3


def test_sharp_stein_drift_is_the_integral_over_the_line():
    """S# = int q# T_pi# v = int q# v.g (59) by a fine grid, from points of q#; and its gap to S_loo."""
    spec = {**MASKED_CASES["line"], "bandwidth": 0.6, "n_particles": 8, "times": {"stop": 0.5, "count": 2, "spacing": "linear"}}
    ensemble = simulate.simulate_flow({**spec, "keep_clouds": 2, "replicates": 2}, seed=11)
    measured = entropy.measure_entropy(ensemble, particles=1, samples=4096)
    field, h, x = simulate.build_field(spec, 0.6, seed=11), 0.6, np.linspace(-20, 20, 80001)
    found = []
    for cloud in ensemble["cloud_8"].values[0, :, -1]:
        distance = np.abs(x[:, None] - cloud[:, 0])
        q = ((distance + h) * np.exp(-distance / h)).mean(1) / (4 * h**2)
        assert np.trapezoid(q, x) == pytest.approx(1, abs=1e-6)
        value = field.at(x[None, :, None], cloud[None], divergence=True)
        _, score = simulate.reference(field, x[None, :, None], value.target)
        found.append(np.trapezoid(q * (value.divergence + (score * value.velocity).sum(-1))[0], x))
    assert float(measured["sharp_stein"][0, 0, -1]) == pytest.approx(np.mean(found), rel=0.05)
    gap = np.abs(ensemble["stein_drift"].values[0, 0, :, -1] - found).mean()
    assert float(measured["stein_gap"][0, 0, -1]) == pytest.approx(gap, rel=0.05)


@pytest.mark.parametrize("d", [1, 3])
def test_initial_divergence_of_any_density(d):
    """Against the closed form between Gaussians: quadrature in d = 1, scrambled Sobol points with their error otherwise."""
    start = GaussianMixture([1.0], [[0.3] * d], [[1.5**2] * d])
    target = GaussianMixture([1.0], [[-0.2] * d], [[1.1**2] * d])
    found = entropy.initial_divergence(start, target.log_density, seed=1)
    exact = d * (math.log(1.1 / 1.5) + (1.5**2 + 0.5**2) / (2 * 1.1**2) - 0.5)
    if d == 1:
        assert found.value == pytest.approx(exact, rel=1e-10) and found.standard_error < 1e-8
    else:
        assert 0 < found.standard_error < 1e-2 * exact and abs(found.value - exact) < 5 * found.standard_error
    with pytest.raises(ValueError, match="one Gaussian with independent axes"):
        entropy.initial_divergence(GaussianMixture([1, 1], [[0.0] * d, [1.0] * d], [1.0, 1.0]), target.log_density, seed=1)


def test_masked_initial_entropy_is_the_divergence_from_the_sharp_target():
    times = {"stop": 1e-3, "count": 2, "spacing": "linear"}
    for case in ("line", "data"):
        spec = {**MASKED_CASES[case], "replicates": 300, "n_particles": 64, "times": times, "keep_clouds": 1}
        measured = entropy.measure_entropy(simulate.simulate_flow(spec, seed=3), particles=1, samples=8, confidence=0.999)
        for b in range(measured.sizes["bandwidth"]):
            low, high = (float(measured[name][b, 0, 0]) for name in ("entropy_low", "entropy_high"))
            assert low < float(measured["initial_kl"][b]) < high and high - low < 0.05


def test_other_ensembles_are_refused():
    times = {"stop": 0.01, "count": 2}
    for changes in ({"field": "displacement"}, {"leave_one_out": True}, {"entropy": False}):
        ensemble = simulate.simulate_flow(experiment(n_particles=4, times=times, **changes), seed=1)
        with pytest.raises(ValueError, match="experiment 'budget': the entropy budget needs field: conservative"):
            entropy.measure_entropy(ensemble)
    with pytest.raises(ValueError, match="needs replicates >= 2"):
        entropy.measure_entropy(simulate.simulate_flow(experiment(n_particles=4, times=times, replicates=1), seed=1))
