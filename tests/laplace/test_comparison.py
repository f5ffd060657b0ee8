"""The methods side by side: their common scales, costs and floors, and that the numbers are those of plain Euler runs."""

import numpy as np
import pytest
import xarray as xr

from driftrates import kernels
from driftrates.fields import SmoothedPoints
from driftrates.laplace import comparison
from driftrates.laplace.decomposition import laplace_radius
from driftrates.laplace.rates import METHODS, make_field
from driftrates.measurements import transport

OPTIONS = {
    "particles": 8,
    "data": 16,
    "held_out": 16,
    "replicates": 3,
    "evaluations": 6,
    "bandwidth_grid": (0.3, 0.6),
    "factors": (0.25, 0.5),
    "sizes": (6, 8, 12),
    "samples": 16,
    "resamples": 50,
}


@pytest.fixture(scope="module")
def table() -> xr.Dataset:
    return comparison.measure_comparison(seed=4, **OPTIONS)


def test_bandwidths_of_both_kernels_have_equal_second_moments():
    for method, (_, name, _) in METHODS.items():
        h = comparison.own_bandwidth(method, 0.4)
        assert h**2 * kernels.make(name).second_moment(2) == pytest.approx(0.4**2 * kernels.make("laplace").second_moment(2))


def test_alpha_is_one_for_scores_and_h2_plus_h_rho_for_displacements():
    rng = np.random.default_rng(0)
    data, cloud, points = (rng.standard_normal((1, n, 2)) for n in (9, 6, 4))
    for method in ("conservative", "sharp, Laplace"):
        assert (comparison.alpha(make_field(method, 0.5, data), points, cloud) == 1).all()
    np.testing.assert_allclose(comparison.alpha(make_field("displacement, Gaussian", 0.5, data), points, cloud), 0.25)
    field = make_field("leave-one-out, Laplace", 0.5, data)
    np.testing.assert_allclose(comparison.alpha(field, points, cloud)[0], 0.25 + 0.5 * laplace_radius(points[0], cloud[0], 0.5)[1])
    own = [0.25 + 0.5 * laplace_radius(x[None], np.delete(cloud[0], i, 0), 0.5)[1][0] for i, x in enumerate(cloud[0])]
    np.testing.assert_allclose(comparison.alpha(field, cloud, cloud, at_particles=True)[0], own)


def test_targets_are_named_by_what_their_statistics_are(table):
    for method, (_, kernel, _) in METHODS.items():
        plain, sharp = table["target_gap"].sel(drift=method, law=["pi", "pi#"]).values
        assert sharp < 1e-12 and (plain < 1e-12 if kernel == "gaussian" else plain > 0.01)
    data = np.random.default_rng(1).standard_normal((1, 9, 2))
    wrong = SmoothedPoints(2 * data, kernels.make("laplace"), 0.5)
    field = make_field("sharp, Laplace", 0.5, data)
    assert comparison.score_gap(field, data + 0.1, "pi#") < 1e-12
    assert abs(wrong.statistic("sharp_score", data + 0.1).value - field.target.statistic("sharp_score", data + 0.1).value).max() > 0.1


def test_costs_are_sums_per_pair_times_pairs(table):
    rows = {"conservative": 1 + 2, "displacement, Gaussian": 1 + 2, "sharp, Laplace": 1 + 2 + 1}
    for method, count in rows.items():
        assert comparison.rows_per_pair(method, 2) == count == int(table["rows"].sel(drift=method))
        assert int(table["pair_terms"].sel(drift=method)) == count * 8 * (8 + 16)


def test_lost_clouds_are_no_numbers_and_have_no_distance():
    data = np.random.default_rng(2).standard_normal((2, 9, 2))
    field = make_field("conservative", 0.2, data)
    end = comparison.euler(field, 3 * data[:, :5], np.array([1e-3, 1e4]), 4)
    assert np.isfinite(end[0]).all() and np.isnan(end[1]).all()
    for values in comparison._distances(end, data):
        assert np.isfinite(values[0]) and np.isnan(values[1])


def test_the_gaussian_displacement_is_the_conservative_method(table):
    one, other = (table.sel(drift=name) for name in ("conservative", "displacement, Gaussian"))
    np.testing.assert_allclose(one["w2"], other["w2"], rtol=1e-8)
    np.testing.assert_allclose(one["stable_step"], other["stable_step"] * one["own_bandwidth"] ** 2, rtol=1e-8)
    np.testing.assert_allclose(one["scaled_squared_speed"], other["scaled_squared_speed"], rtol=1e-6)
    np.testing.assert_allclose(one["self_interaction"], other["self_interaction"], rtol=1e-8)


def test_final_numbers_are_those_of_a_plain_run(table):
    (law,) = [comparison.data_law()]
    rng = [comparison.random.generator(4, "methods", r) for r in range(3)]
    start = np.stack([comparison.START_DEVIATION * g.standard_normal((8, 2)) for g in rng])
    points = np.stack([law.sample(g, (16,)) for g in rng])
    aim = np.stack([law.sample(g, (16,)) for g in rng])
    at = table.sel(drift="displacement, Laplace", bandwidth=0.6)
    field, x = make_field("displacement, Laplace", 0.6, points), start
    for _ in range(OPTIONS["evaluations"]):
        x = x + float(at["step_factor"] * at["stable_step"]) * field.at_particles(x).velocity
    np.testing.assert_allclose(at["w2"].isel(checkpoint=-1), [transport.w2_to_data(a, b) for a, b in zip(x, aim, strict=True)], rtol=1e-9)
    np.testing.assert_allclose(table["floor_w2_data"], [transport.w2_to_data(a, b) for a, b in zip(points, aim, strict=True)])
    first = table["w2"].isel(checkpoint=0)
    assert float((first - first.isel(drift=0, bandwidth=0)).max()) == 0
    low, high = (table["w2_interval"].sel(end=end) for end in ("low", "high"))
    mean = table["w2"].mean("replicate")
    assert ((low <= mean + 1e-12) & (mean <= high + 1e-12)).all()


def test_leaving_out_has_no_own_part_and_only_the_laplace_displacement_a_residual(table):
    assert (table["self_interaction"].sel(drift="leave-one-out, Laplace") == 0).all()
    assert (table["self_interaction"].drop_sel(drift="leave-one-out, Laplace") > 0).all()
    residual = table["residual_share"].max("replicate")
    assert {m for m in METHODS if float(residual.sel(drift=m)) > 1e-12} == {"displacement, Laplace", "leave-one-out, Laplace"}


def test_described_repeatable_and_bad_options_refused(table):
    assert all({"long_name", "units"} <= set(table[name].attrs) for name in [*table, *table.coords])
    xr.testing.assert_identical(table, comparison.measure_comparison(seed=4, **OPTIONS))
    with pytest.raises(ValueError, match="3 sizes"):
        comparison.measure_comparison(seed=4, **{**OPTIONS, "sizes": (6, 8)})
    with pytest.raises(ValueError, match="add smaller ones"):
        comparison._pilot("conservative", 0.3, 1, 6, 8, 8, 4, (1e7,))
