"""The machine code of the CUDA engine has no more instructions than were counted, and what these allow follows from the card."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
roofline = importlib.import_module("roofline")


@pytest.fixture(scope="module")
def tools():
    module = pytest.importorskip("cuda.bindings.nvrtc", reason="cuda-bindings is not installed (extra 'test')")
    try:
        module.nvrtcVersion()
        roofline.disassembler()
    except (RuntimeError, FileNotFoundError) as error:
        pytest.skip(str(error))


@pytest.mark.parametrize(("kernel", "dtype"), list(roofline.COUNTS))
def test_no_more_instructions_per_pair_than_recorded(tools, kernel, dtype):
    for d, recorded in roofline.COUNTS[kernel, dtype].items():
        found = roofline.count(kernel, d, dtype)
        assert all(f <= 1.01 * r for f, r in zip(found, recorded, strict=True)), (d, found, recorded)
        # The multiplications and additions that the sums themselves need.
        least = 2 * d + (d + 2 if kernel == "gaussian" else 2 * d + 3)
        assert found.double + found.single >= least


def test_more_work_is_counted(tools, monkeypatch):
    """Negative control: one more term in the pass shows in the count."""
    few = roofline.count("gaussian", 2, "float32")
    monkeypatch.setitem(roofline.TERMS, "gaussian", ("k", "kz", "gzz", "lap"))
    more = roofline.count("gaussian", 2, "float32")
    assert more.single >= few.single + 2 and more.total > few.total and more.special == few.special


def test_unrolled_pairs_that_do_not_match_are_refused(tools, monkeypatch):
    """Negative control: a loop that is not the one over the sources has not as many powers of 2."""
    made = roofline.source("gaussian", 2, "float32")
    monkeypatch.setattr(roofline, "source", lambda *_: made._replace(points=3))
    with pytest.raises(ValueError, match="32 powers of 2 for 24 pairs"):
        roofline.count("gaussian", 2, "float32")


def test_limit_is_that_of_the_busiest_unit():
    lanes = 132 * 1.98e9
    assert roofline.limit(roofline.Counts(10, 0, 8, 1)) == pytest.approx(lanes * 128 / 10)
    assert roofline.limit(roofline.Counts(5, 0, 4, 1)) == pytest.approx(lanes * 16)
    assert roofline.limit(roofline.Counts(26, 16, 0, 0)) == pytest.approx(lanes * 4)
    ampere = roofline.Card(108, 1.41e9, *roofline.UNITS[8, 0])
    assert roofline.limit(roofline.Counts(26, 16, 0, 0), ampere) == pytest.approx(108 * 1.41e9 * 2)
