"""The chapter on stop-gradient training on data whose verdict is known: broken data must turn the verdict."""

import pytest
import xarray as xr

from driftrates.claims import judge, ledger
from driftrates.training import errors, generator, regression


@pytest.fixture(scope="module")
def data():
    tiny = {"noise": 2, "hidden": (32,), "batch": 16, "steps": 150, "samples": 32, "replicates": 2, "rate": 0.01, "seed": 4}
    return {
        "regression": regression.measure_regression(batch=8, particles=8, steps=3, draws=1, seed=2),
        "training_errors": errors.measure_training_errors(
            bandwidths=(0.5, 0.6, 0.8), particles=8, replicates=4, finest=6, inexact_particles=5, signs=3, seed=1
        ),
        "generators_eight_gaussians": generator.train_generators({"name": "eight_gaussians"}, bandwidth=0.6, **tiny),
    }


def rows(data):
    return judge("training", data).set_index("id")


def test_every_statement_has_rows_and_the_identities_hold(data):
    table = rows(data)
    assert (
        {known.split("/")[0] for known in table.index}
        == set(ledger.statements("training"))
        == {
            "eq72",
            "eq73",
            "A-Euler",
            "A-inexact",
            "generator",
        }
    )
    exact = table[table["kind"].eq("identity") & ~table.index.str.startswith("A-")]
    assert (exact["verdict"] == "holds").all() and (exact["control"] == "caught").all()
    bounds = table[table.index.str.contains("bound, L sup|discrete|exponential")]
    assert not bounds["verdict"].isin(["violated", "undecided"]).any() and (bounds["control"] == "caught").all()
    assert (table[table.index.str.contains("order, h")]["verdict"] == "attained").all()
    assert table.loc["A-inexact/worst case", "verdict"] == "exhibited"


@pytest.mark.parametrize(
    ("source", "variable", "change", "statement", "verdict"),
    [
        ("regression", "frozen_departure", lambda v: v + 1e-3, "eq72/frozen, sharp", "fails"),
        ("regression", "library_departure", lambda v: v + 1e-3, "eq72/library, conservative", "fails"),
        ("regression", "step_departure", lambda v: v + 1e-3, "eq73/exact", "fails"),
        ("training_errors", "order_interval", lambda v: v + 0.5, "A-Euler/order, h=0.5", "not attained"),
        ("training_errors", "euler_error", lambda v: 1e4 * v, "A-Euler/bound, L sup along the solution, h=0.8", "violated"),
        ("training_errors", "path_lipschitz_interval", lambda v: 0 * v - 2, "A-Euler/Lipschitz constant", "attained"),
        ("training_errors", "largest_step", lambda v: 3 * v, "A-Euler/breakdown", "fails"),
        ("training_errors", "accumulated_error", lambda v: 1e4 * v, "A-inexact/adversarial, discrete", "violated"),
        ("training_errors", "exponential_bound", lambda v: 1e-4 * v, "A-inexact/constant, exponential", "violated"),
        ("training_errors", "accumulation_interval", lambda v: v + 3, "A-inexact/rate, constant", "not attained"),
        ("training_errors", "accumulated_error", lambda v: 1e-2 * v, "A-inexact/worst case", "not exhibited"),
        ("generators_eight_gaussians", "w2_generator", lambda v: v + 9, "generator/W2, sharp, eight_gaussians", "violated"),
        ("generators_eight_gaussians", "evaluations", lambda v: v + 1, "generator/evaluations, eight_gaussians", "fails"),
    ],
)
def test_a_wrong_number_turns_the_verdict(data, source, variable, change, statement, verdict):
    sound = rows(data).loc[statement, "verdict"]
    broken = {**data, source: data[source].assign({variable: change(data[source][variable])})}
    assert rows(broken).loc[statement, "verdict"] == verdict != sound


def test_a_difference_within_its_interval_decides_nothing_against_the_generator(data):
    found = data["generators_eight_gaussians"]
    seeds = xr.DataArray([0.0, 9.0], dims="replicate")
    wide = rows({**data, "generators_eight_gaussians": found.assign(w2_generator=found["w2_particles"] + seeds)})
    assert wide.loc["generator/W2, sharp, eight_gaussians", "verdict"] != "violated"
    same = rows({**data, "generators_eight_gaussians": found.assign(w2_generator=found["w2_particles"] + 0.1)})
    assert same.loc["generator/W2, sharp, eight_gaussians", "verdict"] == "violated"
    single = rows({**data, "generators_eight_gaussians": found.isel(replicate=[0])})
    assert single.loc["generator/W2, sharp, eight_gaussians", "verdict"] == "undecided"


def test_controls_are_missed_where_nothing_is_broken(data):
    same = data["regression"].assign(through_departure=data["regression"]["library_departure"])
    found = data["generators_eight_gaussians"]
    trained = found.assign(w2_untrained=0 * found["w2_untrained"])
    table = rows({**data, "regression": same, "generators_eight_gaussians": trained})
    assert (table[table.index.str.startswith("eq72")]["control"] == "MISSED").all()
    assert (table[table.index.str.startswith("generator/W2")]["control"] == "MISSED").all()
