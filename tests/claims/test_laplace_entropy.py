"""T6.3 and X5 on small ensembles: what holds, and broken data that must turn the verdict."""

import numpy as np
import pytest

from driftrates import simulate
from driftrates.claims import judge, ledger
from driftrates.measurements import entropy
from problems import LEAVE_ONE_OUT, problem


@pytest.fixture(scope="module")
def budget():
    experiment = problem(
        name="line",
        target={"mixture": {"weights": [0.4, 0.6], "means": [[-1.0], [1.2]], "standard_deviations": [0.5, 0.4]}},
        start={"gaussian": {"mean": 1.0}},
        **LEAVE_ONE_OUT,
        bandwidth=[0.3, 0.6],
        n_particles=[16, 32],
        replicates=32,
        times={"stop": 10.0, "count": 21},
        integrator={"rtol": 1e-5, "atol": 1e-7},
        entropy=True,
        keep_clouds=3,
    )
    return entropy.measure_entropy(simulate.simulate_flow(experiment, seed=3), particles=4, samples=64)


def rows(budget):
    return judge("laplace_entropy", {"entropy/line": budget, "coercivity/line": budget}).set_index("id")


def test_everything_holds_on_the_line_and_its_controls_are_caught(budget):
    table = rows(budget)
    assert (table["verdict"] == "holds").all() and (table["control"] == "caught").all()
    assert {known.split("/")[0] for known in table.index} == set(ledger.statements("laplace_entropy")) == {"T6.3", "X5"}
    assert sum(known.startswith("X5/") for known in table.index) == 4 * budget.sizes["bandwidth"]


@pytest.mark.parametrize(
    ("broken", "turned"),
    [
        ({"divergence_residual": "divergence_residual_with_self"}, {"T6.3/line"}),
        ({"divergence_residual_full": "divergence_residual_full_field"}, {"T6.3/full field, line"}),
        ({"path_residual": "path_residual_full_field"}, {"T6.3/path, line"}),
        ({"initial_kl": 3.0}, {"T6.3/initial, line"}),
        ({"full_self_interaction": 0.0}, set()),
        ({"hidden_term": 4.0}, {f"X5/{case}, line, h = {h}" for case in ("mean", "eps_S") for h in (0.3, 0.6)}),
        ({"hidden_term_median": 0.2}, {f"X5/median, line, h = {h}" for h in (0.3, 0.6)}),
        ({"particle_stein_median": -1.0}, {f"X5/particle, line, h = {h}" for h in (0.3, 0.6)}),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_wrong_numbers_turn_their_own_verdicts_only(budget, broken, turned):
    data = budget.copy()
    for name, change in broken.items():
        data[name] = budget[change] if isinstance(change, str) else budget[name] * change
    table = rows(data)
    assert set(table.index[table["verdict"] == "fails"]) == turned


def test_a_budget_that_does_not_add_up_fails_from_its_recorded_rates(budget):
    data = budget.copy()
    data["stein_drift"] = budget["stein_drift"] - budget["full_self_interaction"]
    assert rows(data).loc["T6.3/difference, line", "verdict"] == "fails"


def test_controls_without_an_effect_are_missed(budget):
    data = budget.copy()
    data["divergence_residual_with_self"] = budget["divergence_residual"]
    data["divergence_residual_full_field"] = budget["divergence_residual_full"]
    data["path_residual_full_field"] = budget["path_residual"]
    data["full_self_interaction"] = 0 * budget["full_self_interaction"]
    data["sharp_stein"] = budget["stein_gap"]
    missed = set(rows(data).query("control == 'MISSED'").index)
    expected = {"T6.3/line", "T6.3/full field, line", "T6.3/path, line", "T6.3/difference, line"}
    expected |= {f"X5/eps_S, line, h = {h}" for h in (0.3, 0.6)}
    assert missed == expected


def test_a_missing_number_decides_nothing_in_favour(budget):
    data = budget.copy()
    data["stein_gap"] = budget["stein_gap"] * np.nan
    table = rows(data)
    assert (table.loc[[known for known in table.index if known.startswith("X5/eps_S")], "verdict"] == "fails").all()
