"""From evidence to verdicts: every branch of every kind, the negative controls, and the register of statements."""

import math

import numpy as np
import pytest

from driftrates import claims
from driftrates.claims import ledger
from driftrates.claims.ledger import ATTAINED, COLUMNS, LOOSE, VACUOUS, Assumption, Construction, Evidence, Identity, Inequality, Rate

NAN, INF = math.nan, math.inf
MEASURED = ("measured", "predicted", "margin", "cases", "uncertainty", "verdict", "control")


@pytest.fixture
def chapters(monkeypatch):
    """An empty register."""
    monkeypatch.setattr(ledger, "_CHAPTERS", {})
    return ledger._CHAPTERS


def identity(residual, control=1.0, tolerance=1e-3):
    return Identity(quantity="q", residual=residual, control=control, tolerance=tolerance).row()


def inequality(lhs, rhs, control_lhs=1.0, control_rhs=0.0, **options):
    return Inequality(quantity="q", lhs=lhs, rhs=rhs, control_lhs=control_lhs, control_rhs=control_rhs, **options).row()


def assumption(defects, control=1.0, tolerance=1e-3):
    return Assumption(quantity="q", defects=defects, control=control, tolerance=tolerance).row()


def construction(effect, control=0.0, threshold=1e-3):
    return Construction(quantity="q", effect=effect, control=control, threshold=threshold).row()


@pytest.mark.parametrize(
    ("low", "high", "upper_bound", "verdict"),
    [
        (-0.5, -0.3, True, "attained"),
        (-0.7, -0.6, True, "faster than the bound"),
        (-0.2, -0.1, True, "slower than predicted"),
        (-0.7, -0.6, False, "not attained"),
        (-0.2, -0.1, False, "not attained"),
        (NAN, -0.1, True, "undecided"),
        (-0.39, -0.35, False, "attained"),
    ],
)
def test_rates(low, high, upper_bound, verdict):
    options = {"predicted": -0.4, "cases": 5, "upper_bound": upper_bound, "tolerance": 0.02}
    row = Rate(quantity="q", slope=(low + high) / 2, interval=(low, high), control=(-1.0, -0.9), **options).row()
    assert row["verdict"] == verdict and row["control"] == "caught"
    for control in ((-0.5, -0.3), (NAN, -0.9)):
        assert Rate(quantity="q", slope=-0.4, interval=(low, high), control=control, **options).row()["control"] == "MISSED"


def test_the_control_of_an_inequality_may_have_its_own_uncertainty():
    assert inequality(1.0, 2.0, 1.0, 0.5, uncertainty=1.0)["control"] == "MISSED"
    assert inequality(1.0, 2.0, 1.0, 0.5, uncertainty=1.0, control_uncertainty=0.1)["control"] == "caught"


def test_a_probability_is_not_bounded_by_more_than_one():
    assert inequality([0.3, 0.0], [5.0, 2.0], ceiling=1.0)["verdict"] == "vacuous"
    row = inequality([0.3, 0.2, 0.0], [5.0, 0.6, 0.01], ceiling=1.0)
    assert (row["verdict"], row["measured"], row["predicted"]) == ("holds", 0.2, 0.6)
    assert inequality([0.3, 0.0], [5.0, 0.01], ceiling=1.0)["verdict"] == "holds"
    assert inequality([0.3, 0.2], [5.0, 0.1], ceiling=1.0)["verdict"] == "violated"


# identities and assumptions ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("judge", "good", "bad"), [(identity, "holds", "fails"), (assumption, "satisfied", "not satisfied")])
@pytest.mark.parametrize(
    ("values", "measured", "passes"),
    [
        ([0.0], 0.0, True),
        ([1e-5, 1e-4], 1e-4, True),
        (np.full((2, 3), 1e-3), 1e-3, True),
        ([1e-5, 1.1e-3], 1.1e-3, False),
        ([1e-5, NAN], INF, False),
        ([1e-5, INF], INF, False),
        (NAN, INF, False),
    ],
)
def test_largest_value_against_the_tolerance(judge, good, bad, values, measured, passes):
    row = judge(values)
    assert tuple(row) == MEASURED
    assert row["verdict"] == (good if passes else bad)
    assert row["measured"] == measured and row["predicted"] == 0 and row["uncertainty"] == 1e-3
    assert row["cases"] == np.size(values)


def test_residuals_have_no_sign():
    assert identity([-1.0, 1e-6])["verdict"] == "fails" and identity([-1e-4])["verdict"] == "holds"
    assert identity(0.0, control=-1.0)["control"] == "caught"


@pytest.mark.parametrize("judge", [identity, assumption])
@pytest.mark.parametrize(
    ("control", "verdict"),
    [
        (1.0, "caught"),
        ([1e-9, 2e-3], "caught"),
        (INF, "caught"),
        (1e-3, "MISSED"),
        ([0.0, 1e-4], "MISSED"),
        (NAN, "MISSED"),
        ([NAN, 1.0], "caught"),
    ],
)
def test_controls_must_break_the_tolerance(judge, control, verdict):
    """A control that could not be computed has caught nothing."""
    assert judge(0.0, control=control)["control"] == verdict


def test_margins_are_decades():
    assert identity([1e-6, 1e-9])["margin"] == pytest.approx(3)
    assert identity([1.0])["margin"] == pytest.approx(-3)
    assert identity([0.0])["margin"] == INF
    assert math.isnan(identity([NAN])["margin"])
    assert construction([0.1, 1.0])["margin"] == pytest.approx(2)
    assert inequality([1.0, 1.0], [100.0, 1000.0])["margin"] == pytest.approx(2)
    assert inequality([1.0, 5.0], [100.0, 0.5])["margin"] == pytest.approx(-1)


# inequalities -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lhs", "rhs", "uncertainty", "verdict", "tightest"),
    [
        # positive sides, by the smallest ratio
        ([1.0], [1.0], 0, "attained", 0),
        ([1.0, 1.0], [50.0, 1.05], 0, "attained", 1),
        ([1.0, 1.0], [1.2, 5000.0], 0, "holds", 0),
        ([1.0, 2.0], [40.0, 60.0], 0, "loose", 1),
        ([1e-3, 1.0], [2.0, 1e4], 0, "vacuous", 0),
        # the thresholds themselves
        ([1.0], [LOOSE], 0, "holds", 0),
        ([1.0], [VACUOUS], 0, "loose", 0),
        ([1.0], [ATTAINED], 0, "holds", 0),
        # violations: the worst one is shown
        ([1.0, 1.0, 1.0], [2.0, 0.9, 0.5], 0, "violated", 2),
        ([1.0], [-1.0], 0, "violated", 0),
        ([0.0], [-1e-12], 0, "violated", 0),
        ([1.0], [-INF], 0, "violated", 0),
        # uncertainty forgives a gap of its own size, case by case
        ([1.0], [0.9375], 0.0625, "attained", 0),
        ([1.0], [0.95], 0.04, "violated", 0),
        ([1.0, 1.0], [0.9, 0.9], [0.2, 0.0], "violated", 1),
        ([0.5], [-0.1], 1.0, "attained", 0),
        # negative sides and zeros: -5 <= -4.9 is tight, and a bound of the other sign has no ratio
        ([-5.0], [-4.9], 0, "attained", 0),
        ([-5.0], [-1.0], 0, "holds", 0),
        ([-5.0], [-0.1], 0, "loose", 0),
        ([0.0], [0.0], 0, "attained", 0),
        ([-1.0, -2.0], [1e6, 1e6], 0, "holds", None),
        ([0.0], [1e6], 0, "holds", 0),
        ([-1.0, 1.0], [1e6, 20.0], 0, "loose", 1),
        # a bound that is infinite says nothing; a missing number decides nothing
        ([1.0], [INF], 0, "vacuous", 0),
        ([-1.0], [INF], 0, "vacuous", 0),
        ([1.0, 1.0], [INF, 2.0], 0, "holds", 1),
        ([1.0, NAN], [2.0, 2.0], 0, "undecided", 1),
        ([1.0, 1.0], [2.0, NAN], 0, "undecided", 1),
        ([INF], [2.0], 0, "undecided", 0),
        ([INF], [INF], 0, "undecided", 0),
        ([2.0], [1.0], NAN, "undecided", 0),
        ([2.0], [1.0], INF, "undecided", 0),
    ],
)
def test_inequalities(lhs, rhs, uncertainty, verdict, tightest):
    row = inequality(lhs, rhs, uncertainty=uncertainty)
    assert tuple(row) == MEASURED
    assert row["verdict"] == verdict and row["cases"] == len(lhs)
    if tightest is not None:
        shown = (row["measured"], row["predicted"], row["uncertainty"])
        np.testing.assert_array_equal(shown, (lhs[tightest], rhs[tightest], np.broadcast_to(uncertainty, len(lhs))[tightest]))


def test_sides_of_an_inequality_broadcast():
    row = inequality(np.ones((3, 4)), np.array([[2.0], [3.0], [0.5]]), uncertainty=np.zeros(4))
    assert row["cases"] == 12 and row["verdict"] == "violated" and row["predicted"] == 0.5


@pytest.mark.parametrize(
    ("control_lhs", "control_rhs", "uncertainty", "verdict"),
    [
        (2.0, 1.0, 0, "caught"),
        ([0.0, 2.0], [1.0, 1.0], 0, "caught"),
        (INF, 1.0, 0, "caught"),
        (1.0, 1.0, 0, "MISSED"),
        (0.0, 1.0, 0, "MISSED"),
        (2.0, 1.0, 1.5, "MISSED"),
        (NAN, 1.0, 0, "MISSED"),
        (2.0, NAN, 0, "MISSED"),
        (2.0, 1.0, NAN, "MISSED"),
    ],
)
def test_controls_of_inequalities_must_break_by_more_than_the_uncertainty(control_lhs, control_rhs, uncertainty, verdict):
    assert inequality(1.0, 2.0, control_lhs, control_rhs, uncertainty=uncertainty)["control"] == verdict


# constructions ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("effect", "measured", "verdict"),
    [
        ([0.2, 0.1], 0.1, "exhibited"),
        ([0.2, 1e-3], 1e-3, "not exhibited"),
        ([0.2, -1.0], -1.0, "not exhibited"),
        ([0.2, NAN], NAN, "not exhibited"),
        ([0.2, INF], NAN, "not exhibited"),
    ],
)
def test_the_least_effect_must_exceed_the_threshold(effect, measured, verdict):
    row = construction(effect, control=[1e-6, 1e-5])
    assert tuple(row) == MEASURED
    np.testing.assert_array_equal(row["measured"], measured)
    assert row["verdict"] == verdict and row["cases"] == 2 and row["predicted"] == 1e-3 and row["uncertainty"] == 1e-5


@pytest.mark.parametrize(
    ("control", "verdict"), [(0.0, "caught"), ([1e-3, -1.0], "caught"), ([0.0, 2e-3], "MISSED"), (NAN, "MISSED"), (INF, "MISSED")]
)
def test_the_effect_must_be_absent_from_the_control(control, verdict):
    assert construction(0.1, control=control)["control"] == verdict


# the register -----------------------------------------------------------------------------------------------------


def test_a_ledger_has_a_row_per_evidence(chapters):
    @ledger.statement("trial", "T9.1", "a sum is symmetric", "section 9")
    def symmetric(data):
        yield Identity(quantity="a + b - b - a", case="d=1", residual=data["numbers"], control=data["numbers"] + 1, tolerance=1e-9)
        yield Identity(quantity="a + b - b - a", case="d=2", residual=data["numbers"], control=data["numbers"], tolerance=1e-9)

    @ledger.statement("trial", "T9.2", "one is less than two", "section 9")
    def ordered(data):
        return [Inequality(quantity="1", lhs=1.0, rhs=2.0, control_lhs=2.0, control_rhs=1.0)]

    @ledger.statement("other", "T9.3", "not asked for", "section 9")
    def never(data):
        raise AssertionError("a check of another chapter was run")

    assert symmetric.__name__ == "symmetric" and list(ledger.statements("trial")) == ["T9.1", "T9.2"]
    table = ledger.evaluate("trial", {"numbers": np.zeros(3)})
    assert tuple(table.columns) == COLUMNS
    assert COLUMNS == tuple(
        "id, kind, statement, quantity, measured, predicted, margin, cases, uncertainty, verdict, control, source".split(", ")
    )
    assert list(table["id"]) == ["T9.1/d=1", "T9.1/d=2", "T9.2"]
    assert list(table["kind"]) == ["identity", "identity", "inequality"]
    assert list(table["verdict"]) == ["holds", "holds", "holds"]
    assert list(table["control"]) == ["caught", "MISSED", "caught"]
    assert list(table["cases"]) == [3, 3, 1]
    assert set(table["source"]) == {"section 9"} and table["statement"][2] == "one is less than two"
    assert not table[["measured", "predicted", "uncertainty"]].isna().any(axis=None)


def test_every_kind_of_evidence_has_its_own_name():
    kinds = {cls.kind for cls in Evidence.__subclasses__()}
    assert kinds == {"identity", "inequality", "assumption", "construction", "rate"} and len(kinds) == len(Evidence.__subclasses__())


@pytest.mark.parametrize("chapter", ["trial", "other"])
def test_an_id_is_claimed_once(chapters, chapter):
    register = ledger.statement("trial", "T9.1", "a", "s")
    register(lambda data: [])
    with pytest.raises(ValueError, match="two checks claim the statement T9.1"):
        ledger.statement(chapter, "T9.1", "b", "s")(lambda data: [])


def test_a_statement_without_evidence_is_refused(chapters):
    ledger.statement("trial", "T9.1", "a", "s")(lambda data: [])
    with pytest.raises(ValueError, match="the check of statement T9.1 gave no evidence"):
        ledger.evaluate("trial", {})


@pytest.mark.parametrize(
    "evidence",
    [
        Identity(quantity="speed", residual=[], control=1.0, tolerance=1.0),
        Identity(quantity="speed", residual=0.0, control=np.zeros((0, 2)), tolerance=1.0),
        Inequality(quantity="speed", lhs=[], rhs=1.0, control_lhs=1.0, control_rhs=0.0),
        Assumption(quantity="speed", defects=[], control=1.0, tolerance=1.0),
        Construction(quantity="speed", effect=[], control=0.0, threshold=1.0),
    ],
    ids=lambda e: e.kind,
)
def test_evidence_without_cases_is_refused(evidence):
    with pytest.raises(ValueError, match="no cases of: speed"):
        evidence.row()


def test_an_unknown_chapter_is_refused():
    with pytest.raises(ValueError, match="unknown chapter 'nowhere'; known: foundations"):
        claims.judge("nowhere", {})
