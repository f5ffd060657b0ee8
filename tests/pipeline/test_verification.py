"""A machine is trusted when its numbers are those of the reference."""

import numpy as np
import pandas as pd
import pytest

from driftrates.pipeline import verification
from driftrates.sums import machine
from problems import normal, problem

KEYS = {"dataset": ["flow/a", "flow/a", "growth"], "variable": ["radius", "residual", "exponent"]}


def run(values, counts=(5, 5, 5)):
    return pd.DataFrame({**KEYS, "count": list(counts), "value": list(values)})


@pytest.fixture
def expected():
    return verification.reference([run([2.0, 1e-14, 3.0]), run([2.0 + 4e-10, 3e-14, 3.0])])


def test_tolerances_follow_the_spread_between_runs(expected):
    assert expected["rtol"][0] == pytest.approx(2e-8)
    assert np.isnan(expected["rtol"][1]) and expected["ceiling"][1] == pytest.approx(3e-12)
    assert expected["rtol"][2] == verification.FLOOR


@pytest.mark.parametrize(
    ("values", "counts", "verdicts"),
    [
        ([2.0, 1e-14, 3.0], (5, 5, 5), ["agrees", "agrees", "agrees"]),
        ([2.0 + 3e-8, 2e-12, 3.0], (5, 4, 5), ["agrees", "agrees", "agrees"]),
        ([2.0 + 5e-8, 1e-11, 3.0 + 1e-8], (5, 5, 5), ["differs", "differs", "differs"]),
        ([2.0, 1e-14, 3.0], (4, 5, 5), ["differs", "agrees", "agrees"]),
        ([np.nan, np.nan, 3.0], (5, 5, 5), ["differs", "differs", "agrees"]),
    ],
)
def test_quantities_are_judged_one_by_one(expected, values, counts, verdicts):
    assert verification.compare(run(values, counts), expected)["verdict"].tolist() == verdicts


def test_what_is_missing_counts_and_what_is_new_does_not(expected):
    computed = run([2.0, 1e-14, 3.0])
    computed.loc[2, "dataset"] = "mine"
    table = verification.compare(computed, expected).set_index("dataset")
    assert (table["verdict"]["growth"], table["verdict"]["mine"]) == ("missing", "unknown")
    with pytest.raises(ValueError, match="1 of 4 quantities are not those of the reference, first growth exponent"):
        verification.require(table.reset_index())
    verification.require(table.reset_index().query("dataset != 'growth'"))


def test_a_reference_needs_runs_of_the_same_quantities():
    with pytest.raises(ValueError, match="at least two runs"):
        verification.reference([run([1.0, 1.0, 1.0])])
    with pytest.raises(ValueError, match="same quantities"):
        verification.reference([run([1.0, 1.0, 1.0]), run([1.0, 1.0, 1.0]).iloc[:2]])


@pytest.fixture(scope="module")
def jobs():
    experiment = problem(name="line", target=normal(1), entropy=True, measure=["occupancy"])
    config = {"experiments": {"line": experiment}, "measurements": {"occupancy": {"r0": [1.0]}}, "seed": 4}
    return verification.plan(config, {"occupancy": "driftrates.measurements.occupancy:measure_occupancy"}, {}, {})


def test_every_dataset_of_an_experiment_is_computed(jobs):
    found = verification.compute(jobs[0])
    assert set(found["dataset"]) == {"flow/line", "occupancy/line"}
    assert (found["count"] > 0).any() and np.isfinite(found["value"]).all()
    assert found.loc[(found["dataset"] == "flow/line") & (found["variable"] == "squared_speed"), "value"].item() > 0


def test_other_instructions_give_the_same_numbers_up_to_rounding(jobs):
    newest, oldest = (verification.compute_all(jobs, without=w) for w in ((), ("avx", "fma")))
    if machine.features().get("avx"):
        assert (newest["value"] != oldest["value"]).any(), "the instructions were not left out"
    table = verification.reference([newest, oldest])
    flow = table[table["dataset"] == "flow/line"].set_index("variable")
    assert flow.loc["squared_speed", "rtol"] < 1e-6
    assert (verification.compare(oldest, table)["verdict"] == "agrees").all()


def test_processes_share_the_jobs_and_keep_their_order(jobs):
    several = [{**jobs[0], "name": name, "of_flow": {}} for name in "abc"]
    found = verification.compute_all(several, processes=2)
    assert list(dict.fromkeys(found["dataset"])) == ["flow/a", "flow/b", "flow/c"]
    pd.testing.assert_frame_equal(found, pd.concat([verification.compute(job) for job in several], ignore_index=True))


def test_a_process_that_fails_is_not_passed_over(jobs, capfd):
    with pytest.raises(RuntimeError, match="a process of the verification failed"):
        verification.compute_all([{"name": "none", "study": "driftrates.measurements.growth:no_such_study", "seed": 1, "options": {}}])
    assert "no_such_study" in capfd.readouterr().err
