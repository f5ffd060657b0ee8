"""The chapter of the baselines on data whose verdict is known: broken data must turn the verdict."""

import numpy as np
import pytest
import xarray as xr

from driftrates.baselines import comparison
from driftrates.claims import judge, ledger


@pytest.fixture(scope="module")
def checks():
    return comparison.check_baselines(
        seed=1,
        sinkhorn={"directions": 1},
        affinity={"particles": 32, "replicates": 2},
        stein={"particles": (4,), "horizon": 0.5, "replicates": 2},
        discrepancy={"particles": 8},
    )


@pytest.fixture
def runs():
    """A Dataset of the study in which Sinkhorn covers every mode, local fields all but five at the least h, and cost is as 10 to 1."""
    fields, h, checkpoints = list(comparison.FIELDS), [0.3, 1.2], [0, 1, 2]
    sizes = (len(comparison.CONFIGURATIONS), len(fields), len(h), 4, len(checkpoints))
    jitter = 0.01 * np.random.default_rng(0).standard_normal(sizes[:4])
    w2, covered = np.empty(sizes), np.empty(sizes)
    w2[..., 0], covered[..., 0] = 3.0, 0
    for f, name in enumerate(fields):
        local = name in ("conservative", "displacement", "algorithm2_floored")
        w2[:, f, 0, :, 1:], covered[:, f, 0, :, 1:] = (1.0, 3) if local else (0.5, 8)
        w2[:, f, 1, :, 1:], covered[:, f, 1, :, 1:] = 0.5, 8
    w2[..., 1:] += jitter[..., None]
    pairs = np.broadcast_to(np.arange(3) * np.array([10.0 if name == "sinkhorn" else 1.0 for name in fields])[:, None, None, None], sizes)
    cells = ("configuration", "field", "bandwidth", "replicate", "checkpoint")
    variables = {"w2": (cells, w2), "mmd": (cells, w2), "covered": (cells, covered), "pairs": (cells, pairs.copy())}
    coordinates = {"configuration": list(comparison.CONFIGURATIONS), "field": fields, "bandwidth": h, "checkpoint": checkpoints}
    return xr.Dataset(variables, coordinates, {"evaluations": 2, "modes": 8})


def rows(checks, runs):
    return judge("baselines", {"baselines": checks, "field_comparison": runs}).set_index("id")


def test_every_statement_has_rows_and_every_control_is_caught(checks, runs):
    table = rows(checks, runs)
    assert {known.split("/")[0] for known in table.index} == {"B7", "Alg2", "SVGD", "MMD"} == set(ledger.statements("baselines"))
    assert (table["control"] == "caught").all()
    assert set(table.loc[table["kind"] == "identity", "verdict"]) == {"holds"}
    assert set(table.loc[table["kind"] == "construction", "verdict"]) == {"exhibited"}


def test_sinkhorn_is_better_after_equally_many_evaluations_but_not_at_equal_cost(checks, runs):
    table = rows(checks, runs)
    assert set(table["verdict"].filter(regex="B7/(uncovered|W2, )")) == {"attained"}
    assert set(table["verdict"].filter(regex="B7/W2 at equal cost")) == {"violated"}


@pytest.mark.parametrize(
    ("variable", "statement"),
    [
        ("sinkhorn_gradient", "B7/gradient"),
        ("sinkhorn_once", "B7/one normalisation"),
        ("loop_residual", "Alg2/loops"),
        ("stein_divergence", "SVGD/divergence"),
        ("discrepancy_gradient", "MMD/gradient"),
        ("discrepancy_dissipation", "MMD/dissipation"),
    ],
)
def test_a_wrong_identity_fails_alone(checks, runs, variable, statement):
    table = rows(checks.assign({variable: checks[variable] + 1e-3}), runs)
    assert list(table.index[table["verdict"] == "fails"]) == [statement]


def test_a_wrong_entropy_budget_fails_in_all_its_rows(checks, runs):
    table = rows(checks.assign(stein_path=checks["stein_path"] + 1e-3), runs)
    assert (table["verdict"] == "fails").sum() == 3 and set(table["verdict"].filter(like="SVGD/path")) == {"fails"}


def test_a_floor_that_changes_nothing_is_not_exhibited(checks, runs):
    table = rows(checks.assign(floor_ratio=checks["floor_ratio"] ** 0, floor_angle=0 * checks["floor_angle"]), runs)
    assert table.loc[["Alg2/size", "Alg2/direction"], "verdict"].tolist() == ["not exhibited"] * 2
    assert (table.loc[["Alg2/size", "Alg2/direction"], "control"] == "caught").all()


def test_a_worse_sinkhorn_drift_turns_the_verdicts(checks, runs):
    worse = runs["field"] == "sinkhorn"
    broken = runs.assign(w2=runs["w2"] + 2 * worse, covered=runs["covered"].where(~worse, 1.0))
    table = rows(checks, broken)
    assert set(table["verdict"].filter(regex="B7/(uncovered|W2)")) == {"violated"}
    assert table.loc["B7/far modes", "verdict"] == "not exhibited"


def test_noise_as_large_as_the_difference_decides_nothing_against_the_claim(checks, runs):
    noisy = runs.assign(w2=runs["w2"] + 3 * (runs["field"] == "sinkhorn") * (runs["replicate"] == 0))
    assert set(rows(checks, noisy)["verdict"].filter(regex="B7/W2, ")) <= {"attained", "holds"}
