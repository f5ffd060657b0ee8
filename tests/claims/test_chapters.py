"""The checks of the chapters on data whose verdict is known: broken data must turn the verdict."""

import numpy as np
import pytest
import xarray as xr

from driftrates import simulate
from driftrates.claims import judge, ledger
from driftrates.measurements import entropy
from problems import normal, problem


@pytest.fixture(scope="module")
def budget():
    experiment = problem(
        name="line",
        target=normal(1),
        replicates=64,
        times={"stop": 0.3, "count": 7},
        integrator={"rtol": 1e-8, "atol": 1e-10},
        entropy=True,
    )
    return entropy.measure_entropy(simulate.simulate_flow(experiment, seed=3))


def rows(budget: xr.Dataset):
    return judge("entropy_budget", {"entropy/line": budget}).set_index("id")


def test_the_entropy_budget_holds_and_its_controls_are_caught(budget):
    table = rows(budget)
    assert (table["verdict"] == "holds").all()
    assert (table["control"] == "caught").all()
    assert {known.split("/")[0] for known in table.index} == set(ledger.statements("entropy_budget"))


@pytest.mark.parametrize(
    ("variable", "factor", "statement"),
    [
        ("divergence_residual", 1e6, "T3.1/line"),
        ("path_residual", 1e6, "T3.1/path, line"),
        ("self_interaction", 1.01, "R3.2/line"),
        ("initial_kl", 30.0, "R4.8/line"),
    ],
)
def test_a_wrong_number_turns_the_verdict(budget, variable, factor, statement):
    broken = budget.copy()
    broken[variable] = broken[variable] * factor
    table = rows(broken)
    assert table.loc[statement, "verdict"] == "fails"
    assert (table.drop(index=statement)["verdict"] == "holds").all()


def test_time_averages_are_those_of_the_trajectories(budget):
    times = budget["time"].values
    for name in ("squared_speed", "reciprocal_kde"):
        value, average = budget[name].values[0, 0], budget[f"mean_{name}"].values[0, 0]
        assert average[0] == value[0]
        for k in range(1, len(times)):
            assert average[k] == pytest.approx(np.trapezoid(value[: k + 1], times[: k + 1]) / times[k], rel=1e-12)
    drift = budget["mean_stein_drift"].values[0, 0]
    assert drift[-1] == pytest.approx(np.trapezoid(budget["stein_drift"].values[0, 0], times) / times[-1], rel=1e-2)


def test_an_ensemble_without_a_closed_form_target_has_no_initial_entropy(budget):
    data = budget.copy()
    data["initial_kl"] = data["initial_kl"] * np.nan
    assert "R4.8" in _ids(budget) and "R4.8" not in _ids(data)


def _ids(budget: xr.Dataset) -> list[str]:
    checked = [known.id for known in ledger.statements("entropy_budget").values() if list(known.check({"entropy/line": budget}))]
    return checked
