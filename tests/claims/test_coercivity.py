"""The chapter on coercivity judged on small clouds; broken data must turn the verdicts."""

import numpy as np
import pytest

from driftrates import simulate
from driftrates.claims import judge, ledger
from driftrates.laplace.coercivity import measure_coercivity
from problems import small_laplace, speed_budget

STATEMENTS = {"L6.4", "A6.5", "L6.6", "X2", "X3", "A6.7", "C6.12", "T6.9"}


def make_data(d):
    times, integrator = {"stop": 6.0, "count": 7}, {"rtol": 1e-4, "atol": 1e-6}
    experiment = small_laplace(d, n_particles=[8, 24], times=times, integrator=integrator, keep_clouds=4)
    flow = simulate.simulate_flow(experiment, seed=8)
    budget = speed_budget(flow, initial_kl=0.1)
    name = f"small_d{d}"
    return {f"coercivity/{name}": measure_coercivity(flow, samples=512), f"entropy/{name}": budget}


@pytest.fixture(scope="module")
def data():
    return make_data(1) | make_data(2)


@pytest.fixture(scope="module", autouse=True)
def table(data):
    return judge("coercivity", data).set_index("id")


def rows_of(statement, data):
    """Rows of one statement by case."""
    return {found.case: found.row() for found in ledger.statements("coercivity")[statement].check(data)}


def test_every_statement_has_rows_and_every_control_is_caught(table):
    assert {known.split("/")[0] for known in table.index} == STATEMENTS == set(ledger.statements("coercivity"))
    assert (table["control"] == "caught").all()
    assert table.index.is_unique
    for known in ("L6.4/small_d1", "L6.4/small_d2", "X2/weighted, small_d2", "X3/effective, small_d1", "T6.9/paper, effective, small_d2"):
        assert table.loc[known, "verdict"] in ("holds", "attained", "loose"), known
    assert table.loc["X3/ray, small_d2", "verdict"] == "attained"
    assert table.loc["A6.5/a, small_d1", "verdict"] in ("attained", "holds")


@pytest.mark.parametrize(
    ("variable", "change", "statement", "verdict"),
    [
        ("stein_residual", lambda v: v + 0.1, "L6.4/small_d1", "fails"),
        ("stein_residual", lambda v: v + 1.0, "L6.4/small_d2", "fails"),
        ("lower", lambda v: v / 3, "A6.5/a, small_d1", "violated"),
        ("upper", lambda v: v / np.array([1.0, 1.0, 1.0, 8.0]), "A6.5/A, small_d2", "not satisfied"),
        ("residual", lambda v: 3 * v, "A6.5/delta, small_d1", "not satisfied"),
        ("other_residual", lambda v: 100 * v, "C6.12/B, small_d1", "violated"),
        ("other_residual", lambda v: 100 * v, "C6.12/B = 1/h, small_d2", "violated"),
        ("largest_sharp_score", lambda v: 2 * v, "C6.12/|s#|, small_d2", "violated"),
        ("stein", lambda v: v - 10.0, "X2/weighted, small_d1", "violated"),
        ("stein", lambda v: v - 10.0, "X2/box, small_d2", "violated"),
        ("stein", lambda v: v - 10.0, "L6.6/particles, small_d1", "violated"),
        ("stein", lambda v: v - 20.0, "X3/effective, small_d2", "violated"),
        ("ray_scale", lambda v: v**0.5, "X3/ray, small_d1", "not attained"),
        ("stein_gap", lambda v: 0 * v, "A6.7/eps_S, small_d2", "satisfied"),
        ("speed_gap", lambda v: 0 * v, "A6.7/eps_D, small_d1", "satisfied"),
    ],
)
def test_a_wrong_number_turns_the_verdict(data, table, variable, change, statement, verdict):
    key = f"coercivity/{statement.rpartition(', ')[2].rpartition('/')[2]}"
    broken = {**data, key: data[key].assign({variable: change(data[key][variable])})}
    known, _, case = statement.partition("/")
    assert table.loc[statement, "verdict"] != verdict
    assert rows_of(known, {k: ds for k, ds in broken.items() if k == key})[case]["verdict"] == verdict


def test_a_velocity_above_its_bound_is_violated(data):
    budget = data["entropy/small_d2"]
    rows = rows_of("T6.9", {**data, "entropy/small_d2": budget.assign(mean_squared_speed=1e4 * budget["mean_squared_speed"])})
    velocity = [row["verdict"] for case, row in rows.items() if case.endswith("sharpened, effective, small_d2")]
    assert velocity == ["violated", "violated"]


def test_a_control_that_cannot_be_told_apart_is_missed(data):
    measured = data["coercivity/small_d1"]
    still = {"coercivity/small_d1": measured.assign(plain_stein=measured["coercive"], radius_gap=measured["largest_radius_gap"] * 9)}
    assert rows_of("L6.4", still)["small_d1"]["control"] == "MISSED"
    assert rows_of("C6.12", still)["B, small_d1"]["control"] == "MISSED"
    slow = {"coercivity/small_d1": measured.assign(largest_sharp_score=measured["largest_sharp_score"] / 2)}
    assert rows_of("C6.12", slow)["|s#|, small_d1"]["control"] == "MISSED"
    observables = ("stein", "energy", "leave_one_out_stein", "leave_one_out_speed")
    alike = {"coercivity/small_d1": measured.assign({name: 0 * measured[name] + 1 for name in observables})}
    assert {row["control"] for row in rows_of("A6.7", alike).values()} == {"MISSED"}


def test_without_an_initial_entropy_there_is_no_bound(data):
    budget = data["entropy/small_d1"]
    absent = {**data, "entropy/small_d1": budget.assign(initial_kl=budget["initial_kl"] * np.nan)}
    kept = rows_of("T6.9", absent)
    assert kept and all(case.endswith("small_d2") for case in kept)
