import re

import pytest

from driftrates.claims.ledger import OUTCOMES
from driftrates.paper import Results, assemble, write_findings
from driftrates.paper.findings import inline
from driftrates.paper.markup import plain, read
from papers import CAPTIONS, FIGURES, ROOT, TABLES, TEXT

DOCS = ROOT / "docs"
PICTURES = sorted({p.stem for p in (DOCS / "figures").glob("*.png")} & {*FIGURES})
RESIDUE = re.compile(r"\{\{|\{%|%\}|\}\}|:sub:|:sup:|:math:|`__|`_\b|\\ |\bnan\b|\bNone\b|StrictUndefined")
"""What is left of a template or of reStructuredText."""


def rendered(document, path, pictures=PICTURES):
    write_findings(document, path, pictures=pictures)
    return path.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def page(document, tmp_path_factory):
    return rendered(document, tmp_path_factory.mktemp("findings") / "findings.md")


def linked(text):
    return re.findall(r"!\[[^\]]*\]\(([^)]*)\)", text)


def test_every_section_is_there_once_and_in_order(page, document):
    assert re.findall(r"(?m)^## (.*)$", page) == [s.title for s in document.sections]
    assert re.findall(r"(?m)^# (.*)$", page) == ["Findings"]


def test_nothing_is_left_of_templates_and_markup(page):
    assert not [line for line in page.splitlines() if RESIDUE.search(line)]
    for left in ("{{ checks() }}", "N\\ :sup:`2`", "`Figure 1 <#figure-x>`__", "an exponent nan"):
        assert RESIDUE.search(left)


def test_pictures_are_those_beside_the_page(page, document, tmp_path):
    assert sorted(linked(page)) == [f"figures/{name}.png" for name in PICTURES]
    assert not [target for target in linked(page) if not (DOCS / target).is_file()]
    without = rendered(document, tmp_path / "without.md", pictures=[])
    assert (linked(without), "](#" in without) == ([], False)


def test_links_within_the_page_lead_somewhere(page):
    targets, anchors = set(re.findall(r"\]\(#([^)]*)\)", page)), re.findall(r'<a id="([^"]*)">', page)
    assert targets == set(anchors) == {f"figure-{name}" for name in PICTURES}
    assert len(anchors) == len(set(anchors))


def test_the_page_says_what_the_results_say(page, results, tmp_path):
    changed = Results(results.claims.assign(verdict="fails"), results.tables, results.attributes)
    document = assemble(changed, text=TEXT, captions=CAPTIONS, figures=FIGURES, tables=TABLES, settings={"scale": "smoke"})
    again = rendered(document, tmp_path / "again.md")
    checks = len(results.claims)
    assert f"{checks} confirmed" in page and f"{checks} contradicted" in again
    assert "This identity holds in both checks" in page and "This identity fails in both checks" in again
    assert rendered(assemble_again(results), tmp_path / "same.md") == page


def assemble_again(results):
    return assemble(results, text=TEXT, captions=CAPTIONS, figures=FIGURES, tables=TABLES, settings={"scale": "smoke"})


def test_the_ledger_is_counted_by_outcome(page, results):
    columns = ["section", "checks", *OUTCOMES, "controls caught"]
    assert f"| {' | '.join(columns)} |" in page
    (line,) = re.findall(r"(?m)^\| All \|.*$", page)
    n = str(len(results.claims))
    assert [cell.strip() for cell in line.strip("|").split("|")] == ["All", n, n, *["0"] * (len(OUTCOMES) - 1), n]


def test_the_page_names_the_run_and_no_machine(page, results):
    assert "At scale *smoke*" in page
    assert results.source_digest() in page and results.provenance("source") in page
    assert not re.search(r"(?<!\w)/(home|work|tmp|root)/|20\d\d-\d\d-\d\d", page)


def test_inline_elements():
    (block,) = read(
        "**A** *b* `h = 1/N` x\\ :sub:`i` N\\ :sup:`2` ``a_b`` h* a < b \\|v\\| [1, 2] `Figure 1 <#figure-x>`__ `Table 1 <#table-t>`__"
    )
    assert inline(block["children"], {"x"}) == (
        "**A** *b* *h = 1/N* x<sub>i</sub> N<sup>2</sup> `a_b` h\\* a &lt; b \\|v\\| \\[1, 2\\] [Figure 1](#figure-x) Table 1"
    )
    assert "Figure 1" in plain(block["children"])


def test_the_page_of_the_repository_is_whole():
    text = (DOCS / "findings.md").read_text(encoding="utf-8")
    assert not [line for line in text.splitlines() if RESIDUE.search(line)]
    assert linked(text) and not [target for target in linked(text) if not (DOCS / target).is_file()]
    assert "At scale *paper*" in text
