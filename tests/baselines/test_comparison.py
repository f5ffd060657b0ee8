"""The comparison on mode coverage: its metrics, its common conditions, its costs."""

import numpy as np
import pytest
import xarray as xr

from driftrates.baselines import comparison

OPTIONS = {"particles": 16, "replicates": 2, "evaluations": 4, "extended": 8, "bandwidths": (0.6, 1.2), "factors": (0.5, 1.0)}


@pytest.fixture(scope="module")
def runs() -> xr.Dataset:
    return comparison.compare_fields(seed=3, **OPTIONS)


def test_modes_are_covered_by_half_of_their_fair_share_nearby():
    mixture = comparison.mode_mixture((1.0,) * 8)
    assert np.hypot(*mixture.means.T) == pytest.approx(comparison.RADIUS)
    every = np.repeat(mixture.means, 2, axis=0)[None]
    assert comparison.covered_modes(every, mixture) == [8]
    assert comparison.covered_modes(0 * every, mixture) == [0]
    half = np.concatenate([mixture.means, np.repeat(mixture.means[:1], 8, axis=0)])[None]
    assert comparison.covered_modes(half, mixture) == [8]
    assert comparison.covered_modes(half, mixture, share=0.6) == [1]
    uneven = comparison.mode_mixture((9.0, *(1.0,) * 7))
    assert comparison.covered_modes(half, uneven, share=1.0) == [8]


def test_all_fields_start_alike_and_are_measured_on_the_same_data(runs):
    first = runs.isel(checkpoint=0)
    for name in ("w2", "mmd", "covered"):
        assert np.ptp(first[name].values, axis=(1, 2)).max() == 0
    assert (first["pairs"] == 0).all()
    start = runs["start"].sel(configuration="balanced, displaced") - runs["start"].sel(configuration="balanced, centre")
    np.testing.assert_allclose(start, np.broadcast_to([1.25 * comparison.RADIUS, 0.0], start.shape), atol=1e-12)


def test_costs_are_counted_and_costly_fields_stop_early(runs):
    n, last = OPTIONS["particles"], runs.isel(checkpoint=-1)
    per = {"conservative": 2 * n**2, "sharp": 2 * n**2, "mmd": 2 * n**2, "svgd": n**2}
    for name, pairs in per.items():
        assert (last["pairs"].sel(field=name) == 8 * pairs).all()
    assert last["w2"].sel(field=list(comparison.COSTLY)).isnull().all()
    end = runs.sel(checkpoint=OPTIONS["evaluations"])
    assert (end["pairs"].sel(field="algorithm2") == 4 * 3 * 2 * n**2).all()
    assert (end["pairs"].sel(field="sinkhorn") >= 4 * 2 * 2 * n**2).all()
    assert np.isfinite(end["w2"]).all() and set(np.unique(runs["step_factor"])) <= set(OPTIONS["factors"])


def test_equal_cost_takes_the_last_checkpoint_within_the_budget(runs):
    cheap = comparison.at_equal_cost(runs)
    assert cheap.attrs["budget"] == 8 * OPTIONS["particles"] ** 2
    spent = runs["pairs"].mean("replicate")
    for cell in ({"field": "svgd"}, {"field": "sinkhorn"}, {"field": "conservative"}):
        place = {**cell, "configuration": "balanced, centre", "bandwidth": 0.6}
        within = runs["checkpoint"].values[(spent.sel(place) <= cheap.attrs["budget"]).values]
        np.testing.assert_array_equal(cheap["w2"].sel(place), runs["w2"].sel(place).sel(checkpoint=within.max()))


def test_the_displacement_field_takes_plain_euler_steps(runs):
    data, x = (runs[name].sel(configuration="balanced, centre").values[None].astype(float) for name in ("data", "start"))
    velocity, unit = comparison.make_field("displacement", 0.6, data, [comparison.mode_mixture((1.0,) * 8)])
    step = float(runs["step_factor"].sel(field="displacement", bandwidth=0.6)) * unit
    for _ in range(OPTIONS["evaluations"]):
        x = x + step * velocity(x)[0]
    stored = runs["cloud"].sel(configuration="balanced, centre", field="displacement", bandwidth=0.6)
    np.testing.assert_allclose(stored, x[0], rtol=1e-6, atol=1e-6)


def test_unknown_fields_and_unstable_steps_are_refused():
    with pytest.raises(ValueError, match="unknown field"):
        comparison.make_field("stein", 1.0, np.zeros((1, 4, 2)), [])
    with pytest.raises(ValueError, match="add smaller ones"):
        comparison._pilot("mmd", 0.6, 1, 8, 3, (1e8,))


def test_a_shorter_extension_than_the_comparison_is_refused():
    with pytest.raises(ValueError, match=r"extended \(3\) must be at least evaluations \(4\)"):
        comparison.compare_fields(seed=3, **{**OPTIONS, "extended": 3})


def test_results_are_equal_twice(runs):
    again = comparison.compare_fields(seed=3, **OPTIONS)
    xr.testing.assert_identical(runs, again)


def test_the_checks_of_all_baselines_stand_in_one_dataset():
    ds = comparison.check_baselines(
        seed=1,
        sinkhorn={"bandwidths": (1.6,), "directions": 1},
        affinity={"particles": 16, "replicates": 1},
        stein={"particles": (4,), "horizon": 0.2, "replicates": 1},
        discrepancy={"particles": 6},
    )
    assert {name.partition("_")[0] for name in ds} == {"sinkhorn", "floor", "loop", "stein", "discrepancy"}
    assert ds.attrs["seed"] == 1 and ds.attrs["floor"] == 1e-3
    assert all({"long_name", "units"} <= set(ds[name].attrs) for name in [*ds, *ds.coords])
