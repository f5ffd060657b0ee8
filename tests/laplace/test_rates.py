"""Rules for h, robust slopes, Lipschitz constants and the study of section 6.6 on small cases."""

import numpy as np
import pytest
import xarray as xr

from driftrates.laplace import rates
from driftrates.laplace.decomposition import laplace_radius

OPTIONS = {
    "sizes": (6, 9, 12),
    "data_sizes": (8, 16),
    "replicates": 3,
    "horizon": 2.0,
    "samples": 16,
    "held_out": 64,
    "projections": 4,
    "resamples": 50,
    "step_particles": (6, 6),
    "step_bandwidths": (0.3, 0.6, 1.2),
    "halvings": 3,
    "flights": ((4, 3),),
    "flight_replicates": 2,
    "flight_horizon": 2.0,
}


@pytest.fixture(scope="module")
def study() -> xr.Dataset:
    return rates.measure_laplace_rates(seed=2, **OPTIONS)


@pytest.mark.parametrize("d", [1, 2, 3])
def test_rules_agree_at_the_least_n_and_have_their_powers(d):
    sizes = [20, 10, 1000]
    for rule in rates.RULES:
        assert rates.bandwidths(rule, d, sizes, 0.7)[1] == pytest.approx(0.7, rel=1e-14)
    h = rates.bandwidths("occupancy", d, sizes, 0.7)
    np.testing.assert_allclose(h**d * sizes / np.log(sizes), h[0] ** d * sizes[0] / np.log(sizes[0]))
    h = rates.bandwidths("bias", d, sizes, 0.7)
    assert np.log(h[2] / h[1]) / np.log(100) == pytest.approx(-1 / (d + 4))
    with pytest.raises(ValueError, match="occupancy"):
        rates.bandwidths("log", d, sizes, 0.7)


def test_median_slopes_do_not_see_one_ejected_replicate():
    rng = np.random.default_rng(0)
    x = np.array([1.0, 2.0, 4.0, 8.0])
    values = 3 * x[:, None] ** -1.5 * np.exp(0.01 * rng.standard_normal((4, 9)))
    clean = rates.median_slope(x, values, resamples=200, seed=1)
    assert clean[0] == pytest.approx(-1.5, abs=0.02) and clean[1] <= clean[0] <= clean[2] and clean[2] - clean[1] < 0.1
    values[:, 0] *= np.array([1.0, 1e3, 1e6, 1e9])
    assert rates.median_slope(x, values, resamples=200, seed=1)[0] == pytest.approx(-1.5, abs=0.02)
    values[0, 0] = 0.0
    assert np.isnan(rates.median_slope(x, values, resamples=200, seed=1)).all()


@pytest.mark.parametrize("d", [1, 2, 3])
def test_lipschitz_constants_of_the_frozen_field_and_their_bound(d):
    rng = np.random.default_rng(d)
    data, cloud, points = rng.standard_normal((1, 9, d)), 1.3 * rng.standard_normal((7, d)), rng.standard_normal((5, d))
    field, h, step = rates.make_field("displacement, Laplace", 0.6, data), 0.6, 1e-5
    norms, bounds = [], []
    for x in points:
        ends = [[laplace_radius((x + s * step * e)[None], y, h)[0][0] for e in np.eye(d)] for y in (data[0], cloud) for s in (1, -1)]
        jacobian = (np.array(ends[0]) - ends[1] - np.array(ends[2]) + ends[3]).T / (2 * step)
        norms.append(np.linalg.svd(jacobian, compute_uv=False)[0])
        bounds.append(2 * sum(laplace_radius(x[None], y, h)[1][0] for y in (data[0], cloud)) / h)
    assert rates.lipschitz(field, cloud, points) == pytest.approx(max(norms), rel=1e-4)
    assert rates.lipschitz_bound(field, cloud, points) == pytest.approx(max(bounds), rel=1e-10)
    assert (np.array(norms) <= bounds).all()


def test_the_speed_is_that_of_leaving_each_particle_out():
    rng = np.random.default_rng(5)
    data, cloud, h = rng.standard_normal((1, 8, 2)), rng.standard_normal((1, 6, 2)), 0.5
    x = cloud[0]
    v = [laplace_radius(x[i : i + 1], data[0], h)[0][0] - laplace_radius(x[i : i + 1], np.delete(x, i, 0), h)[0][0] for i in range(6)]
    squared = (np.array(v) ** 2).sum(1)
    found = rates._along(rates.Case(2, 8, "target"), data, cloud, h)
    assert found["squared_speed"][0] == pytest.approx(squared.mean(), rel=1e-10)
    assert found["top_share"][0] == pytest.approx(squared.max() / squared.sum(), rel=1e-10)
    gaps = np.linalg.norm(x[:, None] - x, axis=-1) + 99 * np.eye(6)
    assert found["isolated"][0] == (gaps.min(1) > h).mean()
    far = np.array([[[0.0, 0.0], [1.0, 3.2], [-9.0, 0.0], [1.0, 0.0]]])
    assert rates._along(rates.Case(2, 8, "target"), data, far, h)["ejected"][0] == 0.5


def test_all_rules_are_the_same_flow_at_the_least_n(study):
    first = study.isel(n_particles=0)
    for name in ("squared_speed", "distance", "root_speed", "particle_speed"):
        values = first[name].transpose("rule", ...).values
        np.testing.assert_allclose(values[1:], values[:1].repeat(2, 0), rtol=1e-6)
    # On the line no random points enter the integrals.
    np.testing.assert_allclose(first["root_energy"].isel(case=0), first["root_energy"].isel(case=0, rule=[0] * 3), rtol=1e-6)


def test_cases_smaller_data_are_parts_of_larger_and_steps_are_in_order(study):
    assert [tuple(c) for c in zip(study["dimension"].values, study["points"].values, strict=True)] == [
        (1, 0),
        (1, 0),
        (2, 8),
        (2, 16),
        (3, 16),
    ]
    small, large = (rates._data(rates.Case(2, m, "target"), 2, 3) for m in (8, 16))
    np.testing.assert_array_equal(small, large[:, :8])
    assert (study["stable_step"] > 0).all() and (study["root_residual"] > 0).all()
    bounded = study[["lipschitz", "lipschitz_bound"]].sel(drift=list(rates.LAPLACE))
    assert (bounded["lipschitz"] <= bounded["lipschitz_bound"]).all()
    score, displacement = (study["stable_step"].sel(drift=name) for name in ("conservative", "displacement, Gaussian"))
    np.testing.assert_allclose(score, displacement * study["step_bandwidth"] ** 2, rtol=1e-6)


def test_everything_is_described_and_repeatable(study):
    assert all({"long_name", "units"} <= set(study[name].attrs) for name in [*study, *study.coords])
    again = rates.measure_laplace_rates(seed=2, **OPTIONS)
    xr.testing.assert_identical(study, again)


def test_exponents_belong_to_the_medians(study):
    case = study.isel(case=2)
    values = np.log(case["root_energy"].sel(rule="bias").median("replicate"))
    h = case["bandwidth"].sel(rule="bias").values
    slope = np.polyfit(np.log(1 / h), values, 1)[0]
    assert rates.with_interval(case["exponent"].sel(rule="bias", carrier="root_energy", against="1/h"))[0] == pytest.approx(slope, rel=1e-8)
    nominal = np.polyfit(
        -np.log(case["bandwidth"].sel(rule="occupancy")), np.log(case["root_energy"].sel(rule="fixed").median("replicate")), 1
    )
    assert float(case["exponent"].sel(rule="fixed", carrier="root_energy", against="1/h", bound="value")) == pytest.approx(
        nominal[0], rel=1e-8
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sizes": (8, 16)}, "3 sizes"),
        ({"step_replicates": 2}, "step_replicates"),
        ({"data_sizes": (8, 2**15)}, "data_sizes from 1 to 16384"),
    ],
)
def test_bad_options_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        rates.measure_laplace_rates(seed=1, **{**OPTIONS, **change})
    with pytest.raises(ValueError, match="unknown method"):
        rates.make_field("svgd", 1.0, np.zeros((1, 3, 2)))
