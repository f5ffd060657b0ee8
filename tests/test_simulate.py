"""Ensembles: what a Dataset of `simulate_flow` holds, recomputed from its stored clouds by double loops and SciPy."""

import json
import math
import re
from functools import partial

import numpy as np
import pytest
from scipy import stats

from driftrates import datasets, flow, kernels, simulate
from driftrates.fields import SmoothedDensity
from driftrates.laplace.closed_form import LaplaceSmoothedMixture
from driftrates.sums import dispatch
from driftrates.targets import GaussianMixture
from problems import LEAVE_ONE_OUT, gaussian_start, problem

MIXTURE = {"weights": [1.0, 2.0], "means": [[-1.0, 0.0], [1.0, 0.5]], "standard_deviations": [0.5, 0.7]}
DATA = {"name": "thin_horizontal", "size": 24}


experiment = partial(
    problem,
    name="trial",
    target={"mixture": MIXTURE},
    start=gaussian_start([1.5, 0.8]),
    n_particles=[8, 13],
    replicates=3,
    times={"stop": 0.4, "count": 5},
    integrator={"rtol": 1e-7, "atol": 1e-9},
    keep_clouds=5,
)
laplace = partial(experiment, target={"data": DATA}, **LEAVE_ONE_OUT)

EULER = {"method": "euler", "step": 0.05}


@pytest.fixture(scope="module")
def plain():
    return simulate.simulate_flow(experiment(bandwidth=[0.5, 0.8]), seed=7)


@pytest.fixture(scope="module")
def with_entropy():
    return simulate.simulate_flow(experiment(entropy=True), seed=7)


# what a Dataset holds ---------------------------------------------------------------------------------------------


def test_dimensions_units_and_attributes(plain, with_entropy):
    assert dict(plain.sizes) == {
        **{"bandwidth": 2, "n_particles": 2, "replicate": 3, "time": 5, "snapshot": 5, "component": 2},
        **{"particle_8": 8, "particle_13": 13},
    }
    for name in simulate.OBSERVABLES:
        assert plain[name].dims == ("bandwidth", "n_particles", "replicate", "time")
        assert plain[name].dtype == np.float64 and np.isfinite(plain[name]).all()
    assert not set(simulate.ENTROPY_OBSERVABLES) & set(plain)
    assert {*simulate.OBSERVABLES, *simulate.ENTROPY_OBSERVABLES, "evaluations", "cloud_8", "cloud_13"} == set(with_entropy.data_vars)
    for dataset in (plain, with_entropy):
        for variable in dataset.variables.values():
            assert variable.attrs["long_name"] and variable.attrs["units"]
        for name, variable in dataset.data_vars.items():
            assert not (variable == 0).all() and np.isfinite(variable).all(), name
    assert json.loads(plain.attrs["experiment"]) == experiment(bandwidth=[0.5, 0.8])
    assert plain.attrs["seed"] == 7
    passes, pairs = re.fullmatch(r"cpu \((\d+) passes, ([\d.e+]+) pairs\)", plain.attrs["engine"]).groups()
    # One pass for all replicates that are still at work, so fewer than their evaluations, and one more at each output time.
    assert plain["evaluations"].max("replicate").sum() + 4 * 5 <= int(passes) <= plain["evaluations"].sum() + 4 * 5
    own = (plain["evaluations"] + 5) * plain["n_particles"] ** 2
    assert float(pairs) == pytest.approx(float(own.sum()), rel=1e-3)
    assert plain["cloud_13"].dims == ("bandwidth", "replicate", "snapshot", "particle_13", "component")
    assert (plain["evaluations"] > 5 * 6).all()
    np.testing.assert_array_equal(plain["time"], np.linspace(0, 0.4, 5))
    np.testing.assert_array_equal(plain["snapshot"], plain["time"])


def test_paired_bandwidths_are_the_diagonal_of_the_grid():
    grid, pairs = (
        simulate.simulate_flow(experiment(bandwidth={"prefactor": 1.2}, entropy=True, paired=paired), seed=7) for paired in (False, True)
    )
    assert "bandwidth" not in pairs.dims and pairs["bandwidth"].dims == ("n_particles",)
    np.testing.assert_array_equal(pairs["bandwidth"], grid["bandwidth"])
    assert set(pairs.data_vars) == set(grid.data_vars)
    for name in (*simulate.OBSERVABLES, *simulate.ENTROPY_OBSERVABLES, "evaluations"):
        assert pairs[name].dims == grid[name].dims[1:]
        for k in range(2):
            np.testing.assert_array_equal(pairs[name][k], grid[name][k, k])
    for k, n in enumerate((8, 13)):
        np.testing.assert_array_equal(pairs[f"cloud_{n}"], grid[f"cloud_{n}"][k])


def test_clouds_are_stored_in_the_type_asked_for():
    full, half = (simulate.simulate_flow(experiment(replicates=1, cloud_dtype=dtype), seed=1)["cloud_13"] for dtype in (None, "float32"))
    assert (full.dtype, half.dtype) == (np.float64, np.float32)
    np.testing.assert_array_equal(full.astype(np.float32), half)


@pytest.mark.parametrize("method", ["dormand_prince", "rkc"])
def test_a_flow_of_transformed_sums_is_that_of_direct_ones(monkeypatch, method):
    given = {"n_particles": 200, "replicates": 2, "bandwidth": 0.4, "entropy": True}
    given["integrator"] = {"method": method, "rtol": 1e-5, "atol": 1e-7}
    direct = simulate.simulate_flow(experiment(**given), seed=3)
    errors = []
    for accuracy in (1e-7, 1e-10):
        monkeypatch.setattr(dispatch, "choose", lambda program, x, *_: ["nufft"] * len(x))
        fast = simulate.simulate_flow(experiment(**given, kernel_rtol=accuracy), seed=3)
        assert fast.attrs["engine"].startswith("nufft (") and "cpu" not in fast.attrs["engine"]
        errors.append(float(abs(fast["cloud_200"] - direct["cloud_200"]).max()))
        for name in (*simulate.OBSERVABLES, *simulate.ENTROPY_OBSERVABLES):
            np.testing.assert_allclose(fast[name], direct[name], rtol=100 * accuracy, atol=100 * accuracy, err_msg=name)
    assert 0 < errors[1] < 1e-8 and errors[0] < 1e-5


def test_stored_clouds_are_those_of_some_output_times():
    every = simulate.simulate_flow(experiment(n_particles=8, replicates=1), seed=1)
    for keep, kept in ((1, [4]), (2, [0, 4]), (3, [0, 2, 4]), (9, range(5))):
        some = simulate.simulate_flow(experiment(n_particles=8, replicates=1) | {"keep_clouds": keep}, seed=1)
        np.testing.assert_array_equal(some["snapshot"], every["time"][list(kept)])
        np.testing.assert_array_equal(some["cloud_8"], every["cloud_8"][:, :, list(kept)])


def test_logarithmic_output_times():
    spec = {"stop": 2.0, "count": 6, "spacing": "log", "first": 0.02}
    times = simulate.output_times(spec)
    assert len(times) == 6 and times[0] == 0 and times[1] == 0.02 and times[-1] == 2.0
    np.testing.assert_allclose(times[2:] / times[1:-1], 100**0.25)
    dataset = simulate.simulate_flow(experiment(n_particles=8, replicates=1, times=spec), seed=1)
    np.testing.assert_array_equal(dataset["time"], times)


# randomness -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("integrator", [{"method": "dormand_prince"}, {"method": "rkc"}, EULER], ids=lambda i: i["method"])
def test_a_replicate_depends_on_nothing_else_in_the_experiment(integrator):
    """More replicates, sizes and bandwidths leave the bytes of what was there before; so does running it again."""
    small = {"n_particles": 13, "replicates": 2, "bandwidth": 0.5, "entropy": True, "integrator": integrator}
    alone, again = (simulate.simulate_flow(experiment(**small), seed=7) for _ in range(2))
    grown = simulate.simulate_flow(experiment(**{**small, "n_particles": [5, 13, 8], "replicates": 5, "bandwidth": [0.9, 0.5]}), seed=7)
    same = grown.isel(bandwidth=[1], n_particles=[1], replicate=slice(0, 2))
    for name in alone.data_vars:
        assert alone[name].values.tobytes() == again[name].values.tobytes()
        assert alone[name].values.tobytes() == same[name].values.tobytes(), name
    other = simulate.simulate_flow(experiment(**small), seed=8)
    assert not (other["cloud_13"] == alone["cloud_13"]).any()


def test_starts_are_keyed_by_label_size_and_replicate():
    draws = {
        label: simulate.initial_clouds(experiment(name=name) | {"start_label": given}, n, 2, seed=3)
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
    x = simulate.initial_clouds(experiment(start=start, replicates=40), 100, 2, seed=3).reshape(-1, 2)
    for axis, mean in enumerate((2.0, -1.0)):
        assert stats.kstest(x[:, axis], "norm", (mean, 0.5)).pvalue > 1e-3
    density = simulate.start_density(experiment(start=start), 2)
    exact = stats.multivariate_normal([2.0, -1.0], 0.25 * np.eye(2)).logpdf(x)
    np.testing.assert_allclose(density.log_density(x[None])[0], exact, rtol=1e-12)


def test_a_start_drawn_from_data():
    spec = experiment(start={"data": {"name": "thin_vertical"}}, replicates=2)
    assert simulate.start_density(spec, 2) is None
    x = simulate.initial_clouds(spec, 50, 2, seed=3)
    assert x.shape == (2, 50, 2) and not np.isin(x[0], x[1]).any()
    assert (x[..., 1].std(1) > 3 * x[..., 0].std(1)).all()
    np.testing.assert_array_equal(simulate.initial_clouds({**spec, "replicates": 1}, 50, 2, seed=3)[0], x[0])


# observables ------------------------------------------------------------------------------------------------------


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
    spec = experiment(entropy=True, smooth_target=smooth_target, replicates=2, bandwidth=[0.5, 0.8])
    dataset = simulate.simulate_flow(spec, seed=5)
    for b, h in enumerate((0.5, 0.8)):
        for s, n in enumerate((8, 13)):
            for r in range(2):
                for k in range(5):
                    expected = recomputed(spec, h, dataset[f"cloud_{n}"].values[b, r, k])
                    for name, value in expected.items():
                        assert dataset[name].values[b, s, r, k] == pytest.approx(value, rel=1e-10, abs=1e-12), name


def test_the_entropy_path_starts_at_the_mean_log_ratio_of_the_laws(with_entropy):
    for s, n in enumerate((8, 13)):
        for r in range(3):
            x = with_entropy[f"cloud_{n}"].values[0, r, 0]
            start = stats.multivariate_normal([0, 0], np.diag([1.5**2, 0.8**2])).logpdf(x)
            log_target = with_entropy["log_target"].values[0, s, r, 0]
            assert with_entropy["entropy_path"].values[0, s, r, 0] == pytest.approx(start.mean() - log_target, rel=1e-12)
    for name in ("integrated_divergence", "integrated_stein_drift", "integrated_self_interaction"):
        assert (with_entropy[name].isel(time=0) == 0).all()


def test_integrated_rates_are_the_integrals_of_the_recorded_ones():
    """Simpson's rule over the recorded S_N and self-interaction; the same flow as without the carried integrals."""
    times = {"stop": 0.4, "count": 81}
    dataset = simulate.simulate_flow(experiment(entropy=True, n_particles=8, times=times, keep_clouds=2), seed=7)
    for rate, integral in (("stein_drift", "integrated_stein_drift"), ("self_interaction", "integrated_self_interaction")):
        values = dataset[rate].values
        simpson = (values[..., 0:-1:2] + 4 * values[..., 1::2] + values[..., 2::2]).sum(-1) * 0.4 / 80 / 3
        np.testing.assert_allclose(dataset[integral].values[..., -1], simpson, rtol=1e-5)
    without = simulate.simulate_flow(experiment(n_particles=8, times=times, keep_clouds=2), seed=7)
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
    dataset = simulate.simulate_flow(experiment(entropy=True, n_particles=8, times=times, **changes), seed=7)
    change = dataset["entropy_path"] - dataset["entropy_path"].isel(time=0)
    explained = dataset["integrated_self_interaction"] - dataset["integrated_stein_drift"]
    np.testing.assert_allclose(change, explained, atol=1e-6)
    assert abs(change).max() > 1e-3
    assert (dataset["self_interaction"] == 0).all() == changes.get("leave_one_out", False)


def test_the_leave_one_out_laplace_flow_and_its_density():
    """ODE (47): speeds from a double loop; R_N is that of the leave-one-out density."""
    dataset = simulate.simulate_flow(laplace(n_particles=8, replicates=1, integrator=EULER), seed=2)
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
    dataset = simulate.simulate_flow(laplace(n_particles=8, replicates=1, entropy=True), seed=2)
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
    without = simulate.simulate_flow(laplace(n_particles=8, replicates=1, leave_one_out=False, entropy=True), seed=2)
    assert not set(simulate.FULL_OBSERVABLES) & set(without.data_vars)


# integration ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("spec", [experiment(integrator=EULER), laplace(integrator=EULER)], ids=lambda s: s["field"])
def test_euler_is_x_plus_eta_v(spec):
    """(73) without error: eight steps by hand, and so the conservative Laplace field with its jumps as well."""
    for chosen in (spec, {**spec, "field": "conservative", "leave_one_out": False}):
        dataset = simulate.simulate_flow({**chosen, "n_particles": 8, "keep_clouds": 2}, seed=4)
        field = simulate.build_field(chosen, 0.5, seed=4)
        x = simulate.initial_clouds(chosen, 8, 2, seed=4)
        for _ in range(8):
            x = x + 0.05 * field.at_particles(x).velocity
        np.testing.assert_allclose(dataset["cloud_8"].values[0, :, -1], x, rtol=1e-12, atol=1e-12)


def test_the_methods_agree_on_one_flow():
    ends = {}
    for integrator in (
        {"method": "dormand_prince", "rtol": 1e-9, "atol": 1e-11},
        {"method": "rkc", "rtol": 1e-8, "atol": 1e-10},
        {"method": "euler", "step": 5e-4},
    ):
        spec = experiment(n_particles=8, replicates=1, integrator=integrator, keep_clouds=2)
        ends[integrator["method"]] = simulate.simulate_flow(spec, seed=4)["cloud_8"].values[0, 0, -1]
    moved = np.abs(ends["rkc"] - simulate.initial_clouds(spec, 8, 2, seed=4)[0]).max()
    assert moved > 0.1
    np.testing.assert_allclose(ends["rkc"], ends["dormand_prince"], atol=1e-6)
    np.testing.assert_allclose(ends["euler"], ends["dormand_prince"], atol=1e-2 * moved)


@pytest.mark.parametrize("spec", [experiment(entropy=True), laplace()], ids=lambda s: s["field"])
def test_single_precision_follows_double(spec):
    tolerances = {"method": "dormand_prince", "rtol": 1e-5, "atol": 1e-6}
    double, single = (simulate.simulate_flow({**spec, "integrator": tolerances, "dtype": t}, seed=7) for t in ("float64", "float32"))
    for n in (8, 13):
        assert single[f"cloud_{n}"].dtype == np.float32
        np.testing.assert_allclose(single[f"cloud_{n}"], double[f"cloud_{n}"], atol=2e-3)
    for name in set(double.data_vars) - {"evaluations", "cloud_8", "cloud_13"}:
        np.testing.assert_allclose(single[name], double[name], rtol=5e-3, atol=5e-3)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_simulation_that_leaves_the_finite_numbers_says_where(dtype):
    """Euler's steps are ten times too long: the cloud oscillates with growing amplitude until it overflows."""
    integrator, times = {"method": "euler", "step": 5.0}, {"stop": 5000.0, "count": 2}
    spec = experiment(n_particles=4, integrator=integrator, times=times, dtype=dtype)
    with pytest.raises(
        flow.NonFiniteError, match=r"replicate \d: the (position|velocity) of particle \d is not finite at time \d+, step \d+"
    ) as caught:
        simulate.simulate_flow(spec, seed=1)
    assert "use a smaller step" in str(caught.value)


# targets and kernels of an experiment -----------------------------------------------------------------------------


def test_build_field_follows_the_experiment():
    smoothed = simulate.build_field(experiment(), 0.5, seed=1)
    assert isinstance(smoothed.target.density, GaussianMixture) and smoothed.target.h == 0.5
    np.testing.assert_allclose(smoothed.target.density.covariances, np.array([0.5, 0.7]) ** 2 + 0.25)
    raw = simulate.build_field(experiment(smooth_target=False), 0.5, seed=1)
    np.testing.assert_allclose(raw.target.density.covariances, np.array([0.5, 0.7]) ** 2)
    assert raw.target.h is None
    data = simulate.build_field(laplace(dtype="float32"), 0.5, seed=1)
    assert data.name == "displacement" and data.leave_one_out and data.h == 0.5 and data.kernel == kernels.Laplace()
    assert data.target.points.shape == (1, 24, 2) and data.target.points.dtype == np.float32
    np.testing.assert_array_equal(data.target.points[0], datasets.load(DATA, seed=1).astype(np.float32))
    assert simulate.make_kernel({"name": "smoothed_laplace", "eps": 0.3}) == kernels.SmoothedLaplace(0.3)


def test_a_mixture_on_the_line_is_smoothed_by_the_laplace_kernel():
    line = {"mixture": {"means": [[-1.0], [1.0]], "standard_deviations": [0.5, 0.3]}}
    spec = laplace(target=line, start=gaussian_start(1.5))
    field = simulate.build_field(spec, 0.5, seed=1)
    assert isinstance(field.target, LaplaceSmoothedMixture) and field.target.h == 0.5
    np.testing.assert_allclose(field.target.mixture.covariances, [0.25, 0.09])
    raw = simulate.build_field(spec | {"smooth_target": False}, 0.5, seed=1)
    assert isinstance(raw.target, SmoothedDensity) and raw.target.h is None


def test_the_reference_is_the_sharp_smoothing_for_all_but_the_conservative_field():
    """log pi# = log (K#_h * p) - log ((d+1) h^2) with K#_h(z) = h (|z| + h) K_h(z), its score by differences; pi# = pi for Gauss."""
    x, e, h, data = np.random.default_rng(1).normal(size=(2, 5, 2)), 1e-6, 0.5, datasets.load(DATA, seed=1)

    def reference(at, **changes):
        field = simulate.build_field(experiment(target={"data": DATA}, **changes), h, seed=1)
        name = {"conservative": "score", "displacement": "mean_shift", "sharp": "sharp_score"}[field.name]
        return simulate.reference(field, at, field.target.statistic(name, at))

    distance = np.linalg.norm(x[:, :, None] - data, axis=-1)
    sharp = (h * (distance + h) * np.exp(-distance / h)).mean(-1) / (2 * math.pi * h**2) / (3 * h**2)
    for field in ("displacement", "sharp"):
        spec = {"field": field, "kernel": {"name": "laplace"}}
        log_density, score = reference(x, **spec)
        np.testing.assert_allclose(log_density, np.log(sharp), rtol=1e-12)
        for k in range(2):
            step = e * np.eye(2)[k]
            slope = (reference(x + step, **spec)[0] - reference(x - step, **spec)[0]) / (2 * e)
            np.testing.assert_allclose(score[..., k], slope, atol=1e-7)
        gauss, plain = (reference(x, field=name) for name in (field, "conservative"))
        for a, b in zip(gauss, plain, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-13)


def test_a_target_knows_its_dimension():
    assert simulate.make_target({"mixture": MIXTURE}, seed=1).dimension == 2
    assert simulate.make_target({"data": {"name": "digits", "size": 30, "components": 5}}, seed=1).dimension == 5


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="unknown kernel 'box'"):
        simulate.simulate_flow(experiment() | {"kernel": {"name": "box"}}, seed=1)
    with pytest.raises(ValueError, match="kernel 'laplace' has no Laplacian at its kink"):
        simulate.simulate_flow(experiment(target={"data": DATA}, kernel={"name": "laplace"}) | {"entropy": True}, seed=1)
    with pytest.raises(ValueError, match="a closed-form target has no mean_shift under this kernel"):
        simulate.simulate_flow(experiment(field="displacement") | {"kernel": {"name": "laplace"}, "smooth_target": False}, seed=1)
    with pytest.raises(ValueError, match="method 'euler' needs step > 0"):
        simulate.simulate_flow(experiment() | {"integrator": {"method": "euler", "step": 0.0}}, seed=1)
