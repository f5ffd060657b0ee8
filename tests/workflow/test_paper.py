import re

import pypdf
import pytest

from driftrates import store
from driftrates.paper import MISSING


@pytest.fixture(scope="module")
def typeset(smoke, tmp_path_factory):
    """A copy of the finished workflow to change."""
    return smoke.copy(tmp_path_factory.mktemp("paper") / "workflow")


def words(workflow):
    reader = pypdf.PdfReader(workflow.folder / "results/paper.pdf")
    return re.sub(r"\s+", " ", " ".join(page.extract_text() for page in reader.pages))


def test_the_paper_is_a_result_like_the_others(typeset, smoke):
    assert "paper" in smoke.ran
    assert typeset.plan("paper") == set()


def test_the_paper_holds_every_figure_and_table_of_the_workflow(typeset):
    results, said = typeset.folder / "results", words(typeset)
    page = (results / "paper.html").read_text()
    figures = {p.stem for p in (results / "figures").glob("*.svg")}
    tables = {p.stem for p in (results / "tables").glob("*.csv")} - {"claims", "schedule"}
    assert set(re.findall(r'id="figure-(\w+)"', page)) == figures
    assert set(re.findall(r'id="table-(\w+)"', page)) == tables
    for kind, names in (("Figure", figures), ("Table", tables)):
        assert [n for n in range(1, len(names) + 1) if f"{kind} {n}." not in said] == []
    assert len(page) < 25e6


def test_the_paper_says_what_the_ledger_says(typeset):
    ledger = store.read_csv(typeset.folder / "results/tables/claims.csv")
    said, page = words(typeset), (typeset.folder / "results/paper.html").read_text()
    statements = ledger["id"].str.split("/").str[0].nunique()
    for text in (said, re.sub(r"\s+", " ", page)):
        assert f"{len(ledger)} checks of {statements} statements were computed at scale" in text
    assert sum(map(int, re.findall(r"\((\d+) rows\)", page))) == len(ledger)
    for identity in ("T3.1", "R3.2"):
        rows = ledger["id"].str.split("/").str[0] == identity
        assert re.search(rf"\({re.escape(identity)}\) holds in all {rows.sum()} checks", said)
    # Every question of the text has an answer even at the smallest scale.
    assert MISSING not in said


def test_the_same_results_give_the_same_paper(typeset):
    before = {p: p.read_bytes() for p in (typeset.folder / "results").glob("paper.*")}
    assert len(before) == 2
    assert typeset.run("--force", "paper") == {"paper"}
    assert before == {p: p.read_bytes() for p in before}


@pytest.mark.parametrize("file", ["workflow/paper/methods.rst", "workflow/report/rates.rst"])
def test_a_new_word_in_a_text_or_caption_sets_the_paper_again(typeset, tmp_path, file):
    workflow = typeset.copy(tmp_path / "workflow")
    workflow.edit(file, (workflow.folder / file).read_text(), (workflow.folder / file).read_text() + "\nAnd more.\n")
    assert workflow.plan("paper") == {"paper"}
