"""Rows of the ledger about rates, from power laws that are known: on a grid, and in pairs at large N."""

import numpy as np
import pytest

from driftrates import simulate
from driftrates.claims import conservative, occupancy
from driftrates.measurements import growth, rates
from problems import gaussian_start, normal, problem


@pytest.fixture(scope="module")
def data():
    found = {}
    for name, paired in (("d1", False), ("large_d1", True)):
        given = {"target": normal(1), "start": gaussian_start(1.4), "n_particles": [6, 12, 24], "replicates": 4, "paired": paired}
        given |= {"bandwidth": {"prefactor": 1.6}, "times": {"stop": 0.8, "count": 6}, "integrator": {"rtol": 1e-3, "atol": 1e-5}}
        flow = simulate.simulate_flow(problem(name=f"rates_{name}", **given, entropy=True), seed=3)
        ds = rates.measure_rates(flow, projections=2, resamples=29)
        # A late F_N that follows the prediction, then one that is slower, and a self-interaction ~ 1/N at fixed h.
        for carrier, slope in (("late_fisher", -0.4), ("quadrature_gap", -0.2)):
            place = {"carrier": carrier, "path": "diagonal"}
            ds["slope"].loc[place], ds["percentile"].loc[place] = slope, [slope - 0.05, slope + 0.05]
        if not paired:
            place = {"carrier": "late_self_interaction", "path": "fixed"}
            ds["slope"].loc[place], ds["percentile"].loc[place] = -1.0, [-1.02, -0.98]
        ds["local_slope"].loc[{"carrier": "late_fisher"}], ds["local_error"].loc[{"carrier": "late_fisher"}] = [-0.9, -0.38], [0.1, 0.05]
        found[f"rates/rates_{name}"] = ds
    found["growth"] = growth.growth_regimes(seed=1, replicates=2, particles=8, samples=8)
    return found


def rows(check, data):
    return {e.case: e.row() for e in check(data)}


def test_pairs_are_judged_beside_the_grid_with_its_control(data):
    found = rows(conservative.rate, data)
    for scope in ("d=1", "d=1, large N"):
        row = found[f"late_fisher, {scope}"]
        assert (row["verdict"], row["control"], row["predicted"]) == ("attained", "caught", pytest.approx(-0.4))
        assert found[f"quadrature_gap, {scope}"]["verdict"] == "slower than predicted"
    last = found["late_fisher, d=1, large N, last pair"]
    assert (last["measured"], last["verdict"]) == (pytest.approx(-0.38), "attained")
    assert "late_fisher, d=1, last pair" not in found


def test_without_a_grid_the_control_is_missed_and_not_forgotten(data):
    alone = {name: ds for name, ds in data.items() if name != "rates/rates_d1"}
    assert rows(conservative.rate, alone)["late_fisher, d=1, large N"]["control"] == "MISSED"


def test_bounds_hold_along_pairs_and_break_without_their_terms(data):
    found = rows(conservative.bound_on_grid, data)
    for case in ("squared, d=1", "root, d=1", "squared, d=1, large N"):
        assert found[case]["verdict"] in ("holds", "attained", "loose"), case
    grid, pairs = (found[f"squared, d=1{more}"] for more in ("", ", large N"))
    assert grid["cases"] == pairs["cases"] == 3
    # The two were simulated from different clouds of the same law.
    assert grid["predicted"] == pytest.approx(pairs["predicted"], rel=0.5)


def test_kappa_is_uniform_where_the_self_interaction_decays_as_predicted(data):
    with_slope = {name: ds.copy(deep=True) for name, ds in data.items() if name != "growth"}
    place = {"carrier": "late_self_interaction", "path": "diagonal"}
    for ds, slope in zip(with_slope.values(), (-0.4, -0.3), strict=True):
        ds["slope"].loc[place], ds["percentile"].loc[place] = slope, np.array([-0.01, 0.01]) + slope
    found = rows(occupancy.reciprocal_control, with_slope)
    assert found["uniform in N, d=1"]["verdict"] == "attained"
    assert found["uniform in N, d=1, large N"]["verdict"] == "not attained"
    assert {row["control"] for row in found.values()} == {"caught"}
