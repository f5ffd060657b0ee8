"""Integrals over q#, the constants of L6.6 and X2, and the bound T6.9, against direct sums and adaptive quadrature."""

import json
import math

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate

from driftrates import kernels, simulate
from driftrates.fields import DriftField, SmoothedPoints
from driftrates.laplace import coercivity
from driftrates.laplace.closed_form import LaplaceSmoothedMixture
from driftrates.targets import GaussianMixture
from problems import LEAVE_ONE_OUT, gaussian_start, problem

LAPLACE = kernels.make("laplace")


def make_field(d, h=0.6, leave_one_out=True, seed=3):
    data = np.random.default_rng(seed).standard_normal((1, 9, d))
    return DriftField("displacement", SmoothedPoints(data, LAPLACE, h), LAPLACE, h, leave_one_out)


def make_cloud(n, d, seed=0):
    return 1.3 * np.random.default_rng(seed).standard_normal((n, d)) + 0.3


def direct(x, points, h):
    """(m, alpha, density of the sharp smoothing) at one point x (d,) by plain sums over points (m, d)."""
    d = len(x)
    z = points - x
    r = np.sqrt((z * z).sum(1))
    k = np.exp(-r / h)
    ball = math.pi ** (d / 2) / math.gamma(d / 2 + 1)
    companion = h * (r + h) * k
    density = companion.sum() / (len(points) * (d + 1) * h**2 * math.factorial(d) * ball * h**d)
    return (k[:, None] * z).sum(0) / k.sum(), companion.sum() / k.sum(), density


def direct_integrands(x, field, cloud):
    """Every integrand at x (d,) times q#(x), by plain sums and central differences."""
    data, h, d, step = field.target.points[0], field.h, len(x), 1e-5

    def velocity(at):
        return direct(at, data, h)[0] - direct(at, cloud, h)[0]

    (m, alpha_p, _), (own, alpha, density) = direct(x, data, h), direct(x, cloud, h)
    v, sharp = m - own, m / alpha_p
    g, r = sharp - own / alpha, (alpha_p - alpha) * sharp
    shifts = step * np.eye(d)
    divergence = sum((velocity(x + e) - velocity(x - e))[k] / (2 * step) for k, e in enumerate(shifts))

    def log_smoothed(at):
        return math.log(np.exp(-np.sqrt(((data - at) ** 2).sum(1)) / h).sum())

    plain = np.array([(log_smoothed(x + e) - log_smoothed(x - e)) / (2 * step) for e in shifts])
    values = {
        "stein": divergence + sharp @ v,
        "coercive": v @ g,
        "plain_stein": divergence + plain @ v,
        "energy": v @ v,
        "residual": r @ r,
        "weighted_energy": v @ v / alpha,
        "weighted_residual": r @ r / alpha,
        "discrepancy": g @ g,
        "scaled_discrepancy": alpha**2 * (g @ g),
        "radius_gap": abs(alpha_p - alpha) / h,
        "sharp_score": math.sqrt(sharp @ sharp),
    }
    return {name: value * density for name, value in values.items()}


@pytest.mark.parametrize("d", [1, 2, 3])
def test_integrands_agree_with_plain_sums_and_differences(d):
    field, cloud = make_field(d), make_cloud(6, d)
    x = np.concatenate([make_cloud(4, d, 7), 5 * np.eye(d)])
    found = coercivity.integrands(field, x, cloud)
    for k, point in enumerate(x):
        want = direct_integrands(point, field, cloud)
        density = direct(point, cloud, field.h)[2]
        assert math.exp(found["log_density"][k]) == pytest.approx(density, rel=1e-12)
        assert found["scale"][k] == pytest.approx(direct(point, cloud, field.h)[1], rel=1e-12)
        for name, value in want.items():
            assert found[name][k] * density == pytest.approx(value, rel=1e-5, abs=1e-7 * density), name


def test_sharp_quotients_are_the_sharp_scores_and_the_density_is_matern():
    field, cloud = make_field(2), make_cloud(5, 2)
    x = make_cloud(8, 2, 2)
    found = coercivity.integrands(field, x, cloud)
    sharp = field.target.statistic("sharp_score", x[None]).value[0]
    assert found["sharp_score"] == pytest.approx(np.linalg.norm(sharp, axis=1), rel=1e-12)
    companion = SmoothedPoints(cloud[None], kernels.make("matern32"), field.h).statistic("score", x[None])
    assert found["log_density"] == pytest.approx(companion.log_density[0], rel=1e-12)


def test_line_rule_integrates_kinks_exactly():
    atoms = np.array([-1.0, 0.2, 0.21, 2.5])
    for order in (5, 8):
        x, weights = coercivity.line_rule(atoms, 0.7, order)
        assert len(x) % order == 0
        for atom in atoms:
            assert weights @ np.exp(-np.abs(x - atom) / 0.7) == pytest.approx(1.4, rel=1e-8)
    assert np.diff(np.sort(x)).max() <= 0.35


def test_integrals_on_the_line_agree_with_adaptive_quadrature():
    field, cloud = make_field(1), make_cloud(4, 1)
    found = coercivity.integrals(field, cloud)
    assert found.weights.sum() == pytest.approx(1, rel=1e-9)
    breaks = np.sort(np.concatenate([[-28.0, 28.0], cloud.ravel(), field.target.points.ravel()]))
    for name in ("coercive", "energy", "residual", "weighted_energy", "scaled_discrepancy"):
        want = sum(
            integrate.quad(lambda x, name=name: direct_integrands(np.array([x]), field, cloud)[name], a, b, epsrel=1e-9)[0]
            for a, b in zip(breaks[:-1], breaks[1:], strict=True)
        )
        assert found.value[name] == pytest.approx(want, rel=1e-7)
        assert abs(found.value[name] - want) <= found.error[name] + 1e-8 * abs(want)
    assert abs(found.stein_residual) <= max(10 * found.stein_residual_error, 1e-9)
    assert abs(found.value["plain_stein"] - found.value["coercive"]) > 1e-3


def test_a_density_on_the_line_takes_the_place_of_data():
    mixture = GaussianMixture([0.3, 0.7], [[-1.0], [1.0]], [[0.25], [0.5]])
    field = DriftField("displacement", LaplaceSmoothedMixture(mixture, 0.5), LAPLACE, 0.5, True)
    found = coercivity.integrals(field, make_cloud(5, 1))
    assert abs(found.stein_residual) < 1e-8
    assert found.stein_residual_error < 1e-6


@pytest.mark.parametrize("d", [2, 3])
def test_sampled_integrals_meet_their_errors_and_depend_on_the_seed_alone(d):
    field, cloud = make_field(d), make_cloud(8, d)
    found = coercivity.integrals(field, cloud, samples=1024, seed=1)
    fine = coercivity.integrals(field, cloud, samples=8192, seed=2)
    again = coercivity.integrals(field, cloud, samples=1024, seed=1)
    assert found.value == again.value
    assert abs(found.stein_residual) < 6 * found.stein_residual_error
    assert abs(found.value["plain_stein"] - found.value["coercive"]) > 6 * found.error["plain_stein"]
    for name, value in found.value.items():
        assert abs(value - fine.value[name]) < 8 * (found.error[name] + fine.error[name]), name
    assert sum(fine.error.values()) < sum(found.error.values())


def test_the_bound_on_delta_comes_from_other_points():
    field, cloud = make_field(2), make_cloud(8, 2)
    found = coercivity.integrals(field, cloud, samples=256, scramblings=5, seed=1)
    at = coercivity.integrands(field, found.points, cloud)
    assert found.suprema == {name: at[name][:512].max() for name in ("radius_gap", "sharp_score")}
    assert found.other_residual[0] == pytest.approx(at["residual"][512:].mean(), rel=1e-12)
    means = at["residual"].reshape(5, 256).mean(1)
    assert found.other_residual[1] == pytest.approx(means.std(ddof=1) / math.sqrt(3), rel=1e-12)
    line = coercivity.integrals(make_field(1), make_cloud(4, 1))
    assert line.other_residual == (line.value["residual"], line.error["residual"])
    assert line.suprema["radius_gap"] != coercivity.integrands(make_field(1), line.points, make_cloud(4, 1))["radius_gap"].max()


def test_few_corners_of_a_box_in_many_dimensions():
    field, cloud = make_field(20), make_cloud(4, 20)
    got = coercivity.scales(field, cloud, coercivity.integrals(field, cloud, samples=64, scramblings=2), samples=64)
    assert np.isfinite(got.upper).all() and (got.lower >= field.h**2).all()


@pytest.mark.parametrize("change", [{"samples": 100}, {"scramblings": 1}])
def test_points_that_are_no_scramblings_are_named(change):
    with pytest.raises(ValueError, match="scramblings >= 2 and samples a power of two"):
        coercivity.integrals(make_field(2), make_cloud(4, 2), **change)


vectors = st.lists(st.floats(-3, 3), min_size=2, max_size=2).map(np.array)


@settings(max_examples=200, deadline=None)
@given(g=vectors, r=vectors, alpha=st.floats(0.1, 5), below=st.floats(0.1, 1), above=st.floats(1, 10))
def test_both_sets_of_constants_bound_every_point(g, r, alpha, below, above):
    """L6.6 and X2 hold point by point for v = alpha g + r and a <= alpha <= A."""
    v, a, upper = alpha * g + r, alpha * below, alpha * above
    for make in coercivity.CONSTANTS.values():
        c, big = make(a, upper)
        assert v @ g >= c * (v @ v) - big * (r @ r) - 1e-9 * (1 + abs(v @ g) + big * (r @ r))
    (c, big), (sharp, less) = (make(a, upper) for make in coercivity.CONSTANTS.values())
    assert big / c == pytest.approx(2 + 2 * upper**2 / a**2)
    assert less / sharp == pytest.approx(upper / a)
    assert sharp >= c and less <= big


def test_scales_by_region():
    field, cloud = make_field(2), make_cloud(8, 2)
    found = coercivity.integrals(field, cloud, samples=512)
    got = coercivity.scales(field, cloud, found, samples=256)
    lower, upper, outside = (dict(zip(coercivity.REGIONS, values, strict=True)) for values in got[:3])
    at_particles = [direct(x, cloud, field.h)[1] for x in cloud]
    assert lower["particles"] == pytest.approx(min(at_particles)) and upper["particles"] == pytest.approx(max(at_particles))
    assert (got.lower >= field.h**2).all()
    assert upper["particles"] < upper["quantile"] < upper["box"]
    assert outside["quantile"] <= 1e-3 and outside["box"] <= outside["quantile"] < outside["particles"] < 1
    assert found.weights[found.scale > upper["quantile"]].sum() == pytest.approx(1e-3, abs=2 / len(found.scale))
    value = found.value
    assert upper["effective"] == pytest.approx(math.sqrt(value["scaled_discrepancy"] / value["discrepancy"]))
    assert found.scale.min() < upper["effective"] < found.scale.max()
    assert got.ray[-1] == pytest.approx(field.h**2 * coercivity.RAY[-1], rel=1e-3)


def experiment(d, **changes):
    base = {
        "name": "small",
        "target": {"data": {"name": "gaussian", "dimension": d, "size": 20}},
        "start": gaussian_start(1.8),
        **LEAVE_ONE_OUT,
        "bandwidth": [0.5, 0.9],
        "n_particles": [6, 10],
        "replicates": 3,
        "times": {"stop": 2.0, "count": 5},
        "integrator": {"rtol": 1e-4, "atol": 1e-6},
        "keep_clouds": 3,
    }
    return problem(**base | changes)


def simulated(d, **changes):
    return simulate.simulate_flow(experiment(d, **changes), seed=4)


@pytest.fixture(scope="module")
def measured():
    ensemble = simulated(2)
    return ensemble, coercivity.measure_coercivity(ensemble, replicates=2, samples=128, scramblings=4)


def test_measurement_holds_what_the_clouds_give(measured):
    ensemble, found = measured
    assert found["stein"].dims == ("bandwidth", "n_particles", "replicate", "snapshot")
    assert found["stein"].shape == (2, 2, 2, 3) and found["lower"].shape == (2, 2, 2, 3, 4)
    assert all("units" in found[name].attrs and "long_name" in found[name].attrs for name in found.variables)
    assert not any(np.isnan(found[name]).any() for name in found.data_vars)
    assert found.attrs["dimension"] == 2 and json.loads(found.attrs["experiment"])["name"] == "small"
    speed = ensemble["squared_speed"].sel(time=ensemble["snapshot"].values).rename(time="snapshot").isel(replicate=slice(2))
    assert found["leave_one_out_speed"].values == pytest.approx(speed.values, rel=1e-9)
    field = simulate.build_field(experiment(2), 0.9, seed=4)
    cloud = ensemble["cloud_10"].values[1, 1, 2]
    own = field.at_particles(cloud[None], divergence=True)
    sharp = field.target.statistic("sharp_score", cloud[None]).value
    stein = float((own.divergence + (sharp * own.velocity).sum(-1)).mean())
    assert float(found["leave_one_out_stein"][1, 1, 1, 2]) == pytest.approx(stein, rel=1e-10)
    assert found["stein_gap"].values == pytest.approx(abs(found["leave_one_out_stein"] - found["stein"]).values)
    assert found["speed_gap"].values == pytest.approx(abs(found["leave_one_out_speed"] - found["energy"]).values)


def test_chosen_snapshots_are_spread_and_coordinates_follow(measured):
    ensemble, _ = measured
    found = coercivity.measure_coercivity(ensemble, replicates=9, snapshots=2, samples=64, scramblings=2)
    assert found["snapshot"].values.tolist() == ensemble["snapshot"].values[[0, -1]].tolist()
    assert found.sizes["replicate"] == 3


def test_sides_and_bound_are_made_of_the_constants(measured):
    _, found = measured
    sides = coercivity.coercive_sides(found).sel(constants="sharpened", region="effective")
    harmonic = found["energy"] / found["weighted_energy"]
    assert sides["energy"].values == pytest.approx((found["energy"] / (2 * harmonic)).values)
    assert sides["energy"].values == pytest.approx((found["weighted_energy"] / 2).values)
    assert (sides["bound"] - sides["energy"] - found["stein"] + sides["rest"]).values == pytest.approx(0, abs=1e-12)
    time = xr.DataArray([0.5, 2.0], dims="time")
    bounds = coercivity.velocity_bound(found, xr.DataArray([0.2, 0.4], dims="bandwidth"), time)
    cell = bounds.sel(constants="paper", region="box").isel(bandwidth=1, n_particles=0, time=1)
    one = found.sel(region="box").isel(bandwidth=1, n_particles=0)
    a, upper = float(one["lower"].min()), float(one["upper"].max())
    c = a / (4 * upper**2)
    assert float(cell["initial"]) == pytest.approx(0.4 / (2 * c))
    assert float(cell["stein_gap"]) == pytest.approx(float(one["stein_gap"].max()) / c)
    assert float(cell["speed_gap"]) == pytest.approx(float(one["speed_gap"].max()))
    assert float(cell["residual"]) == pytest.approx((2 + 2 * upper**2 / a**2) * float(one["residual"].max()))
    assert float(cell["total"]) == pytest.approx(sum(float(cell[name]) for name in ("initial", "stein_gap", "speed_gap", "residual")))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"field": "sharp"}, "field: displacement"),
        ({"kernel": {"name": "gaussian"}}, "kernel laplace"),
        ({"leave_one_out": False}, "leave_one_out: true"),
    ],
)
def test_other_fields_are_refused(changes, message):
    ensemble = simulated(1, n_particles=[4], replicates=1, bandwidth=0.5, times={"stop": 0.1, "count": 2}, **changes)
    with pytest.raises(ValueError, match=message):
        coercivity.measure_coercivity(ensemble)
