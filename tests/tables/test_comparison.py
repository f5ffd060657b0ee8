"""The tables of sections 6.6 and 6.7 from small studies."""

import pytest

from driftrates.laplace import comparison, rates
from driftrates.tables import comparison as tables


def test_rows_of_the_exponents():
    small = {"sizes": (6, 9, 12), "data_sizes": (8,), "replicates": 3, "horizon": 1.0, "samples": 16, "held_out": 64, "projections": 4}
    steps = {"step_particles": (6,), "step_bandwidths": (0.3, 0.6, 1.2), "halvings": 3, "resamples": 20}
    ds = rates.measure_laplace_rates(seed=2, **small, **steps, flights=((4, 3),), flight_replicates=2, flight_horizon=1.0)
    frame = tables.laplace_rate_exponents({"laplace_rates": ds})
    assert len(frame) == 4 * 3 * len(rates.CARRIERS) + len(rates.METHODS) * 3
    judged = frame[frame["verdict"] != ""]
    assert set(judged["verdict"]) <= {"attained", "faster than the bound", "slower than predicted", "not attained", "undecided"}
    assert (frame.loc[frame["rule for h"] == "fixed", "verdict"] == "").all()
    first = frame[(frame["quantity"] == "root energy") & (frame["rule for h"] == "bias")].iloc[0]
    value = float(ds["exponent"].isel(case=0).sel(rule="bias", carrier="root_energy", against="n", bound="value"))
    assert float(first["exponent of N"].split()[0]) == pytest.approx(value, abs=0.006)
    steps = frame[(frame["quantity"] == "stable step") & frame["case"].str.contains("conservative")].iloc[0]
    value = float(ds["step_exponent"].isel(step_dimension=0).sel(drift="conservative", quantity="stable_step", bound="value"))
    assert float(steps["exponent of 1/h"].split()[0]) == pytest.approx(-value, abs=0.006) and steps["predicted"] == "-2"


def test_rows_of_the_comparison():
    small = {"particles": 8, "data": 16, "held_out": 16, "replicates": 3, "evaluations": 4, "sizes": (6, 8, 12)}
    ds = comparison.measure_comparison(seed=4, **small, bandwidth_grid=(0.3, 0.6), factors=(0.25,), samples=16, resamples=20)
    frame = tables.method_comparison({"method_comparison": ds})
    assert list(frame["method"])[:5] == list(rates.METHODS) and len(frame) == 7
    assert list(frame["target"])[:5] == ["pi = K_h * p and pi# = K#_h * p"] * 2 + ["pi# = K#_h * p"] * 3
    assert frame.loc[3, "self-interaction"] == 0 and frame.loc[2, "delta / E#"] > 0 and frame.loc[0, "delta / E#"] == 0
    last = ds.isel(checkpoint=-1, drift=4)
    last = last.isel(bandwidth=int(last["best"]))
    assert float(frame.loc[4, "W2"].split()[0]) == pytest.approx(float(last["w2"].mean()), rel=5e-3)
    assert float(frame.loc[6, "W2"]) == pytest.approx(float(ds["floor_w2_data"].mean()), rel=5e-3)
