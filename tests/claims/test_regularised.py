"""The chapter on regularised kernels judged on small clouds; broken data must turn the verdicts."""

import numpy as np
import pytest

from driftrates.claims import judge, ledger
from driftrates.laplace.regularised import measure_regularised

OPTIONS = {"dimensions": [1, 2], "sizes": [8, 16], "largest": 16, "atoms": 8, "epsilons": [0.3, 0.01, 0.003, 0.001], "replicates": 3}


@pytest.fixture(scope="module")
def data():
    return {"regularised": measure_regularised(seed=4, samples=512, points=128, **OPTIONS)}


@pytest.fixture(scope="module", autouse=True)
def table(data):
    return judge("regularised", data).set_index("id")


def rows_of(statement, data):
    return {found.case: found.row() for found in ledger.statements("regularised")[statement].check(data)}


def test_every_statement_has_rows_and_every_control_is_caught(table):
    assert {known.split("/")[0] for known in table.index} == {"L6.13", "L6.14"} == set(ledger.statements("regularised"))
    assert (table["control"] == "caught").all()
    assert table.index.is_unique
    assert table.loc["L6.13/S, eps=0.001", "verdict"] == "vacuous"
    assert table.loc["L6.13/S, limit", "verdict"] == table.loc["L6.13/D, limit", "verdict"] == "holds"
    for known in ("L6.13/S, mean", "L6.13/D, mean", "L6.13/D, eps=0.3", "L6.14/d=1", "L6.14/d=2", "L6.14/all i, d=1"):
        assert table.loc[known, "verdict"] in ("attained", "holds", "loose"), known
    for part, d in (("S", 1), ("S", 2), ("D", 1), ("D", 2)):
        assert table.loc[f"L6.13/{part}, exponent, d={d}", "verdict"] == "attained"
        assert table.loc[f"L6.13/{part}, gap, d={d}", "verdict"] == "attained"


@pytest.mark.parametrize(
    ("variable", "change", "statement", "verdict"),
    [
        ("stein_gap", lambda v: v + 1e4, "L6.13/S, eps=0.3", "violated"),
        ("speed_gap", lambda v: v + 1e3, "L6.13/D, eps=0.3", "violated"),
        ("stein_quadrature", lambda v: v + 1e4, "L6.13/S, mean", "violated"),
        ("speed_quadrature", lambda v: v + 1e4, "L6.13/D, mean", "violated"),
        ("stein_limit", lambda v: 1.02 * v, "L6.13/S, limit", "fails"),
        ("speed_limit", lambda v: 1.02 * v, "L6.13/D, limit", "fails"),
        ("stein_constant", lambda v: v * v["epsilon"], "L6.13/S, exponent, d=1", "not attained"),
        ("speed_constant", lambda v: v * v["epsilon"], "L6.13/D, exponent, d=2", "not attained"),
        ("stein_gap", lambda v: v / v["epsilon"], "L6.13/S, gap, d=2", "not attained"),
        ("stein_constant", lambda v: v * v["epsilon"], "L6.13/S, mean exponent, d=1", "not attained"),
        ("floor", lambda v: 5 * v, "L6.14/d=1", "violated"),
        ("floor", lambda v: 200 * v + 1, "L6.14/all i, d=2", "violated"),
    ],
)
def test_a_wrong_number_turns_the_verdict(data, table, variable, change, statement, verdict):
    ds = data["regularised"]
    known, _, case = statement.partition("/")
    assert table.loc[statement, "verdict"] != verdict
    broken = change(ds[variable]).transpose(*ds[variable].dims)
    assert rows_of(known, {"regularised": ds.assign({variable: broken})})[case]["verdict"] == verdict


def test_a_control_that_cannot_be_told_apart_is_missed(data):
    ds = data["regularised"]
    blunt = ds.assign(half_floor=ds["floor"], stein_point_error=ds["stein_gap"] + 1, speed_limit=0 * ds["speed_limit"])
    rows = rows_of("L6.14", {"regularised": blunt}) | rows_of("L6.13", {"regularised": blunt})
    for case in ("d=1", "S, eps=0.3"):
        assert rows[case]["control"] == "MISSED"
    level = ds["floor"].min("particle") + 0 * ds["floor"]
    rows = rows_of("L6.14", {"regularised": ds.assign(floor=level.transpose(*ds["floor"].dims))})
    assert rows["all i, d=2"]["control"] == "MISSED"


def test_sizes_without_constants_are_left_to_the_occupancy(data):
    ds = data["regularised"].copy(deep=True)
    for name in ("stein_constant", "speed_constant"):
        ds[name].loc[{"n_particles": 16}] = np.nan
    rows = rows_of("L6.13", {"regularised": ds})
    assert rows["S, eps=0.3"]["cases"] == ds["stein_gap"].isel(epsilon=0).size // 2
    assert rows_of("L6.14", {"regularised": ds})["d=1"]["cases"] == int(np.isfinite(ds["density"].sel(dimension=1)).sum())
