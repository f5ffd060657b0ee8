"""Tables against the Datasets they are made from."""

from functools import partial

import numpy as np
import pytest
import xarray as xr

from driftrates import simulate, store
from driftrates.measurements import growth, occupancy, quadrature, rates
from driftrates.tables import conservative as tables
from problems import gaussian_start, normal, problem

experiment = partial(
    problem,
    name="table_test",
    target=normal(1),
    start=gaussian_start(1.6),
    bandwidth={"prefactor": 1.6},
    n_particles=[8, 14, 24, 40],
    replicates=5,
    times={"stop": 1.0, "count": 6},
    integrator={"rtol": 1e-4, "atol": 1e-6},
    entropy=True,
)


@pytest.fixture(scope="module")
def fits() -> xr.Dataset:
    return rates.measure_rates(simulate.simulate_flow(experiment(), seed=3), points=64, projections=4, resamples=99)


@pytest.fixture(scope="module")
def measured() -> xr.Dataset:
    ensemble = simulate.simulate_flow(experiment(bandwidth=0.5, n_particles=[8, 16], replicates=2, entropy=False), seed=3)
    return quadrature.measure_constants(ensemble, particles=8, samples=32, rtol=1e-4, points=64)


def written(frame, tmp_path):
    paths = [tmp_path / f"t.{suffix}" for suffix in ("csv", "md", "tex")]
    store.write_table(frame, paths)
    return [path.read_text() for path in paths]


def test_rates_have_a_row_per_exponent_and_a_verdict_where_a_bound_has_one(fits, tmp_path):
    frame = tables.rate_exponents({"rates/d1": fits})
    assert len(frame) == int(np.isfinite(fits["slope"]).sum())
    assert set(frame["N"]) == {" to ".join(map(str, fits["n_particles"].values[[0, -1]]))}
    for row in frame.itertuples():
        fit = fits.sel(carrier=row.carrier.replace(" ", "_"), path=row.path)
        assert row.exponent == pytest.approx(float(fit["slope"]), abs=5e-4) and row.predicted == pytest.approx(
            float(fit["predicted"]), abs=5e-4
        )
        low, high = (float(v) for v in fit["bca"])
        if row.verdict == "faster than the bound":
            assert high < float(fit["predicted"])
        if row.verdict == "slower than predicted":
            assert low > float(fit["predicted"])
    of = frame.set_index(["carrier", "path"])["verdict"]
    assert (of["mean squared speed"] == "no bound of this exponent").all()
    assert of["late squared speed", "fixed"] == "no bound of this exponent" != of["late squared speed", "diagonal"]
    assert set(of["mean self interaction"]) <= {"attained", "slower than predicted", "faster than the bound"}
    assert all("mean self interaction" in text for text in written(frame, tmp_path))


@pytest.mark.parametrize(("shift", "expected"), [(-0.3, "faster than the bound"), (0.0, "attained"), (0.3, "slower than predicted")])
def test_the_verdict_follows_the_interval(fits, shift, expected):
    ds = fits.copy(deep=True)
    place = {"carrier": "late_fisher", "path": "diagonal"}
    ds["slope"].loc[place] = ds["predicted"].sel(path="diagonal") + shift
    ds["bca"].loc[place] = float(ds["predicted"].sel(path="diagonal")) + shift + np.array([-0.1, 0.1])
    frame = tables.rate_exponents({"rates/d1": ds}).set_index(["carrier", "path"])
    assert frame.loc[("late fisher", "diagonal"), "verdict"] == expected
    # Without a BCa interval the percentile interval decides.
    ds["percentile"].loc[place] = ds["bca"].loc[place]
    ds["bca"].loc[place] = np.nan
    frame = tables.rate_exponents({"rates/d1": ds}).set_index(["carrier", "path"])
    assert frame.loc[("late fisher", "diagonal"), "verdict"] == expected
    assert frame.loc[("late fisher", "diagonal"), "BCa interval"] == "none"


def test_constants_of_every_configuration_and_region(measured, tmp_path):
    frame = tables.constants({"constants/entropy_one": measured})
    assert len(frame) == 2 * len(quadrature.REGIONS) and set(frame["configuration"]) == {"entropy one"}
    effective = frame[frame["region"] == "effective"]
    np.testing.assert_allclose(effective[["gap / bound (16)", "gap / bound (17)"]], 1.0, rtol=5e-3)
    assert effective["Lip(b)"].isna().all()
    row = frame[(frame["N"] == 16) & (frame["region"] == "mean")].iloc[0]
    case = measured.sel(n_particles=16, region="mean").isel(bandwidth=0)
    assert row["L1"] == pytest.approx(float(case["stein_constant"].isel(snapshot=-1).mean()), rel=5e-3)
    assert row["gap / bound (17)"] == pytest.approx(float((case["speed_gap"] / case["speed_bound"]).max()), rel=5e-3)
    assert all("neighbourhood" in text for text in written(frame, tmp_path))


def test_failures_of_admissible_cells_and_their_verdicts(tmp_path):
    ds = occupancy.measure_failures(
        [("uniform_cube", 1), ("uniform_ball", 2)], sizes=(64,), occupancy_ratios=(1.0, 12.0, 25.0), trials=200, seed=2
    )
    frame = tables.occupancy_failures({"failures": ds})
    assert len(frame) == int(ds["admissible"].sum()) < ds["admissible"].size
    assert (frame["verdict"] == "vacuous").equals(frame["N exp(-lambda/8)"] >= 1)
    first = frame.iloc[0]
    assert (first["law"], first["d"], first["N"], first["verdict"]) == ("uniform cube", 1, 64, "vacuous")
    assert first["failures"] == int(ds["failures"].values.flat[0]) and first["frequency"] == pytest.approx(
        first["failures"] / first["trials"], rel=5e-3
    )
    broken = ds.copy(deep=True)
    broken["bound"] = 1e-3 * ds["frequency_low"].where(ds["frequency_low"] > 0, 1e-9)
    assert set(tables.occupancy_failures({"failures": broken})["verdict"]) == {"violated", "undecided"}
    assert all("uniform cube" in text for text in written(frame, tmp_path))


def test_growth_exponents_of_every_construction(tmp_path):
    ds = growth.growth_regimes(replicates=2, particles=8, samples=16, relaxation=False, resamples=50)
    frame = tables.growth_exponents({"growth": ds})
    assert len(frame) == ds.sizes["construction"] and set(growth.REGIONS) <= set(frame.columns)
    for row, beta in zip(frame["window"], ds["sum_constant_beta"].sel(region="window").values, strict=True):
        assert float(row.partition(" ")[0]) == pytest.approx(beta, abs=0.006)
    assert set(frame.loc[frame["regime"] == "oscillation", "a"]) == {"0.1", "0.2", "0.3", "0.4"}
    assert all("i.i.d." in text for text in written(frame, tmp_path))
