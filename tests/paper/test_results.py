import math

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from driftrates import sums
from driftrates.claims import ledger
from driftrates.paper.results import MISSING, PHRASES, Results, leading, number, span

SUPERSCRIPT = str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹−", "-0123456789-")


def row(id, verdict="holds", margin=1.0, measured=0.5, control="caught", quantity=""):
    return {
        "id": id,
        "quantity": quantity,
        "verdict": verdict,
        "margin": margin,
        "measured": measured,
        "predicted": 1.0,
        "control": control,
        "cases": 4,
    }


CLAIMS = pd.DataFrame(
    [
        row("T4.1/d=1", "attained", margin=0.0, measured=0.25),
        row("T4.1/d=2", "loose", margin=2.0, measured=1e-9),
        row("T4.1/d=3", "loose", margin=1.0, measured=3.0),
        row("T3.1/path, d=1", control="MISSED"),
        row("T3.1/path, d=2"),
        row("B3'/closure", "violated", margin=math.nan),
        row("B3''/floor", "undecided", quantity="a gap, median 4.6, its own error 1e-3 of it"),
    ]
)
TABLE = pd.DataFrame({"d": [1.0, 1.0, 2.0], "rule for h": ["a", "b", "a"], "W2": ["0.151 ± 0.04", "-2.5 [-3, -2]", ""], "n": [10, 20, 30]})
RESULTS = Results(CLAIMS, {"distances": TABLE}, {})


@given(st.floats(min_value=-1e12, max_value=1e12, allow_subnormal=False), st.integers(1, 6))
def test_a_number_says_its_value_to_its_digits(value, digits):
    mantissa, _, exponent = number(value, digits).partition("×10")
    shown = float(mantissa.translate(SUPERSCRIPT)) * 10.0 ** int(exponent.translate(SUPERSCRIPT) or 0)
    assert shown == pytest.approx(value, rel=0.5 * 10.0 ** (1 - digits) * 1.000001, abs=1e-300)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.0, "0"),
        (-0.348, "−0.35"),
        (1281.0, "1300"),
        (1.31e-15, "1.3×10⁻¹⁵"),
        (1e7, "1×10⁷"),
        (0.001, "0.0010"),
        (math.inf, "∞"),
        (math.nan, "–"),
    ],
)
def test_numbers_as_they_are_printed(value, shown):
    assert number(value) == shown


def test_a_span_names_one_value_once_and_leaves_out_what_is_no_number():
    assert span([3.0, math.nan, 1.0, math.inf]) == "1.0 to 3.0"
    assert span([2.001, 2.002]) == "2.0"
    assert span([math.nan]) == MISSING


def test_every_verdict_of_the_ledger_can_end_a_sentence():
    assert set(PHRASES) == {word for outcome, verdicts in ledger.OUTCOMES.items() for word in (outcome, *verdicts)}
    assert (PHRASES["holds"], PHRASES["not satisfied"], PHRASES["loose"]) == ("holds", "is not satisfied", "is loose")


def test_verdicts_count_every_row_of_the_statement_and_no_other():
    assert RESULTS.verdicts("T4.1") == "is loose in 2 and is attained in 1 of 3 checks"
    assert RESULTS.verdicts("T3.1/path*") == "holds in both checks"
    assert RESULTS.verdicts("B3'") == "is violated in the one check"
    assert RESULTS.verdicts("T4.1", "T3.1") == "is confirmed in 3 and is loose in 2 of 5 checks"
    assert RESULTS.verdicts("P5.2") == f"was {MISSING}"


def test_counts_of_the_ledger():
    assert (RESULTS.checks(), RESULTS.checks("T4.1"), RESULTS.statements(), RESULTS.cases("T4.1")) == ("7", "3", "4", "12")
    assert RESULTS.outcomes() == "3 confirmed, 2 loose, 1 contradicted and 1 undecided"
    assert (RESULTS.share("loose", "T4.1"), RESULTS.share("loose", "P5.2")) == ("67 %", MISSING)
    assert (RESULTS.controls(), RESULTS.controls("T4.1")) == ("6 of 7", "all 3")


def test_ranges_of_the_ledger():
    assert RESULTS.measured("T4.1") == "1×10⁻⁹ to 3.0"
    assert RESULTS.measured("T4.1/d=3", digits=0) == "3"
    assert RESULTS.times("T4.1", digits=1) == "1 to 100"
    assert RESULTS.decades("B3'") == MISSING
    assert RESULTS.predicted("T4.1/d=1") == "1.0"


def test_the_ends_of_a_range_and_powers():
    assert (RESULTS.least("T4.1"), RESULTS.largest("T4.1"), RESULTS.largest("T4.1", base=2, digits=1)) == ("1×10⁻⁹", "3.0", "8")
    assert RESULTS.least("P5.2") == RESULTS.largest("P5.2", base=2) == MISSING


def test_numbers_noted_beside_a_measurement():
    assert RESULTS.noted("median", "B3''") == "4.6"
    assert RESULTS.noted("its own error", "B3''", digits=1) == "0.001"
    assert RESULTS.noted("median", "T4.1") == MISSING


def test_a_condition_asks_for_the_one_outcome():
    assert RESULTS.outcome("T3.1", "T4.1/d=1") == "confirmed"
    assert RESULTS.outcome("B3'") == "contradicted"
    assert RESULTS.outcome("T4.1") == RESULTS.outcome("P5.2") == ""


def test_cells_are_chosen_by_columns():
    assert RESULTS.cells("distances", "W2", digits=3) == "−2.50 to 0.151"
    assert RESULTS.cells("distances", "W2", where={"rule for h": "a"}, d=1) == "0.15"
    assert RESULTS.cells("distances", "n", d=3) == RESULTS.intervals("distances", "n", "W2", d=3, n=20) == MISSING
    assert RESULTS.column("distances", "d") == [1, 2]
    assert RESULTS.rows("distances", n=20) == "1"
    assert RESULTS.intervals("distances", "n", "W2", d=1) == "10.0 0.151 ± 0.04 and 20.0 −2.5 [−3, −2]"


@pytest.mark.parametrize(
    ("asked", "named"),
    [
        (lambda: RESULTS.verdicts("T9.9"), "T9.9"),
        (lambda: RESULTS.cells("lengths", "W2"), "lengths"),
        (lambda: RESULTS.cells("distances", "W3"), "W3"),
        (lambda: RESULTS.rows("distances", day=1), "day"),
    ],
)
def test_what_is_not_known_is_named(asked, named):
    with pytest.raises(ValueError, match=named):
        asked()


def test_the_first_number_of_a_cell_counts():
    assert [leading(c) for c in (3, "1.5 [1, 2]", "-0.4", "−0.4", "8.3e5")] == [3.0, 1.5, -0.4, -0.4, 8.3e5]
    assert math.isnan(leading("none"))


def work(**engines):
    return np.array([engines.get(name, (0, 0)) for name in sums.ENGINES], dtype=np.int64)


def test_cost_and_provenance():
    runtime = pd.DataFrame(
        {"stage": ["simulate_flow", "plot_figure", "total"], "wildcards": ["mine", "rates", ""], "seconds": [90.0, 30.0, 120.0]}
        | {"peak_memory_mib": [150.0, 321.5, 321.5]}
    )
    attributes = {
        "flow/mine": {"engine": sums.describe(work(cpu=(2, 1000), line=(1, 5e7))), "source_digest": "1", "seed": "7"},
        "flow/yours": {"engine": sums.describe(work(cpu=(1, 500))), "source_digest": "2", "seed": "7"},
        "kernels": {"engine": "reference", "source_digest": "3"},
    }
    results = Results(CLAIMS, {"runtime": runtime}, attributes)
    assert results.total() == "2.0 minutes"
    assert results.heaviest() == "322 MiB (plot_figure rates)"
    assert results.stage_share("simulate_flow") == "75 %"
    assert results.provenance("seed") == "7"
    assert results.engines() == "line (5×10⁷ pairs) and cpu (1500 pairs)"
    changed = Results(CLAIMS, {}, {**attributes, "kernels": {"source_digest": "4"}})
    assert results.source_digest() != changed.source_digest()


def test_results_are_read_from_their_files(tmp_path):
    CLAIMS.to_csv(tmp_path / "claims.csv", index=False)
    TABLE.to_csv(tmp_path / "distances.csv", index=False)
    xr.Dataset(attrs={"source": "driftrates 1", "source_digest": "a", "seed": "7"}).to_netcdf(tmp_path / "kernels.nc")
    results = Results.read(tmp_path / "claims.csv", {"distances": tmp_path / "distances.csv"}, {"kernels": tmp_path / "kernels.nc"})
    assert (results.checks("T4.1"), results.cells("distances", "n", d=1), results.provenance("seed")) == ("3", "10 to 20", "7")
