"""Ensembles: what a Dataset of `simulate_flow` holds, how it is integrated, and which field an experiment stands for."""

import json
import math
import re

import numpy as np
import pytest

from driftrates import datasets, flow, kernels, simulate
from driftrates.fields import SmoothedDensity
from driftrates.laplace.closed_form import LaplaceSmoothedMixture
from driftrates.sums import dispatch
from driftrates.targets import GaussianMixture
from problems import DATA, EULER, MIXTURE, gaussian_start, laplace_trial, trial


@pytest.fixture(scope="module")
def plain():
    return simulate.simulate_flow(trial(bandwidth=[0.5, 0.8]), seed=7)


@pytest.fixture(scope="module")
def with_entropy():
    return simulate.simulate_flow(trial(entropy=True), seed=7)


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
    assert json.loads(plain.attrs["experiment"]) == trial(bandwidth=[0.5, 0.8])
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
        simulate.simulate_flow(trial(bandwidth={"prefactor": 1.2}, entropy=True, paired=paired), seed=7) for paired in (False, True)
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
    full, half = (simulate.simulate_flow(trial(replicates=1, cloud_dtype=dtype), seed=1)["cloud_13"] for dtype in (None, "float32"))
    assert (full.dtype, half.dtype) == (np.float64, np.float32)
    np.testing.assert_array_equal(full.astype(np.float32), half)


@pytest.mark.parametrize("method", ["dormand_prince", "rkc"])
def test_a_flow_of_transformed_sums_is_that_of_direct_ones(monkeypatch, method):
    given = {"n_particles": 200, "replicates": 2, "bandwidth": 0.4, "entropy": True}
    given["integrator"] = {"method": method, "rtol": 1e-5, "atol": 1e-7}
    direct = simulate.simulate_flow(trial(**given), seed=3)
    errors = []
    for accuracy in (1e-7, 1e-10):
        monkeypatch.setattr(dispatch, "choose", lambda program, x, *_: ["nufft"] * len(x))
        fast = simulate.simulate_flow(trial(**given, kernel_rtol=accuracy), seed=3)
        assert fast.attrs["engine"].startswith("nufft (") and "cpu" not in fast.attrs["engine"]
        errors.append(float(abs(fast["cloud_200"] - direct["cloud_200"]).max()))
        for name in (*simulate.OBSERVABLES, *simulate.ENTROPY_OBSERVABLES):
            np.testing.assert_allclose(fast[name], direct[name], rtol=100 * accuracy, atol=100 * accuracy, err_msg=name)
    assert 0 < errors[1] < 1e-8 and errors[0] < 1e-5


def test_stored_clouds_are_those_of_some_output_times():
    every = simulate.simulate_flow(trial(n_particles=8, replicates=1), seed=1)
    for keep, kept in ((1, [4]), (2, [0, 4]), (3, [0, 2, 4]), (9, range(5))):
        some = simulate.simulate_flow(trial(n_particles=8, replicates=1) | {"keep_clouds": keep}, seed=1)
        np.testing.assert_array_equal(some["snapshot"], every["time"][list(kept)])
        np.testing.assert_array_equal(some["cloud_8"], every["cloud_8"][:, :, list(kept)])


def test_logarithmic_output_times():
    spec = {"stop": 2.0, "count": 6, "spacing": "log", "first": 0.02}
    times = simulate.output_times(spec)
    assert len(times) == 6 and times[0] == 0 and times[1] == 0.02 and times[-1] == 2.0
    np.testing.assert_allclose(times[2:] / times[1:-1], 100**0.25)
    dataset = simulate.simulate_flow(trial(n_particles=8, replicates=1, times=spec), seed=1)
    np.testing.assert_array_equal(dataset["time"], times)


@pytest.mark.parametrize("spec", [trial(integrator=EULER), laplace_trial(integrator=EULER)], ids=lambda s: s["field"])
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
        spec = trial(n_particles=8, replicates=1, integrator=integrator, keep_clouds=2)
        ends[integrator["method"]] = simulate.simulate_flow(spec, seed=4)["cloud_8"].values[0, 0, -1]
    moved = np.abs(ends["rkc"] - simulate.initial_clouds(spec, 8, 2, seed=4)[0]).max()
    assert moved > 0.1
    np.testing.assert_allclose(ends["rkc"], ends["dormand_prince"], atol=1e-6)
    np.testing.assert_allclose(ends["euler"], ends["dormand_prince"], atol=1e-2 * moved)


@pytest.mark.parametrize("spec", [trial(entropy=True), laplace_trial()], ids=lambda s: s["field"])
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
    spec = trial(n_particles=4, integrator=integrator, times=times, dtype=dtype)
    with pytest.raises(
        flow.NonFiniteError, match=r"replicate \d: the (position|velocity) of particle \d is not finite at time \d+, step \d+"
    ) as caught:
        simulate.simulate_flow(spec, seed=1)
    assert "use a smaller step" in str(caught.value)


def test_build_field_follows_the_experiment():
    smoothed = simulate.build_field(trial(), 0.5, seed=1)
    assert isinstance(smoothed.target.density, GaussianMixture) and smoothed.target.h == 0.5
    np.testing.assert_allclose(smoothed.target.density.covariances, np.array([0.5, 0.7]) ** 2 + 0.25)
    raw = simulate.build_field(trial(smooth_target=False), 0.5, seed=1)
    np.testing.assert_allclose(raw.target.density.covariances, np.array([0.5, 0.7]) ** 2)
    assert raw.target.h is None
    data = simulate.build_field(laplace_trial(dtype="float32"), 0.5, seed=1)
    assert data.name == "displacement" and data.leave_one_out and data.h == 0.5 and data.kernel == kernels.Laplace()
    assert data.target.points.shape == (1, 24, 2) and data.target.points.dtype == np.float32
    np.testing.assert_array_equal(data.target.points[0], datasets.load(DATA, seed=1).astype(np.float32))
    assert simulate.make_kernel({"name": "smoothed_laplace", "eps": 0.3}) == kernels.SmoothedLaplace(0.3)


def test_a_mixture_on_the_line_is_smoothed_by_the_laplace_kernel():
    line = {"mixture": {"means": [[-1.0], [1.0]], "standard_deviations": [0.5, 0.3]}}
    spec = laplace_trial(target=line, start=gaussian_start(1.5))
    field = simulate.build_field(spec, 0.5, seed=1)
    assert isinstance(field.target, LaplaceSmoothedMixture) and field.target.h == 0.5
    np.testing.assert_allclose(field.target.mixture.covariances, [0.25, 0.09])
    raw = simulate.build_field(spec | {"smooth_target": False}, 0.5, seed=1)
    assert isinstance(raw.target, SmoothedDensity) and raw.target.h is None


def test_the_reference_is_the_sharp_smoothing_for_all_but_the_conservative_field():
    """log pi# = log (K#_h * p) - log ((d+1) h^2) with K#_h(z) = h (|z| + h) K_h(z), its score by differences; pi# = pi for Gauss."""
    x, e, h, data = np.random.default_rng(1).normal(size=(2, 5, 2)), 1e-6, 0.5, datasets.load(DATA, seed=1)

    def reference(at, **changes):
        field = simulate.build_field(trial(target={"data": DATA}, **changes), h, seed=1)
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
        simulate.simulate_flow(trial() | {"kernel": {"name": "box"}}, seed=1)
    with pytest.raises(ValueError, match="kernel 'laplace' has no Laplacian at its kink"):
        simulate.simulate_flow(trial(target={"data": DATA}, kernel={"name": "laplace"}) | {"entropy": True}, seed=1)
    with pytest.raises(ValueError, match="a closed-form target has no mean_shift under this kernel"):
        simulate.simulate_flow(trial(field="displacement") | {"kernel": {"name": "laplace"}, "smooth_target": False}, seed=1)
    with pytest.raises(ValueError, match="method 'euler' needs step > 0"):
        simulate.simulate_flow(trial() | {"integrator": {"method": "euler", "step": 0.0}}, seed=1)
