import re

import pandas as pd
import pytest

from driftrates.claims.registry import IDS, SECTIONS
from driftrates.paper import MISSING, Results, assemble, markup
from driftrates.paper.document import PARTS, stages, summary
from papers import CAPTIONS, FIGURES, TABLES, TEXT, ledger_row

SETTINGS = {"scale": "smoke"}

NAMES = [
    *sorted(IDS, key=len, reverse=True),
    r"\(\d\d\)",
    r"section \d(\.\d)?",
    r"arXiv \d{4}\.\d{5} \(\d{4}\)",
    "of 2026",
    "Algorithm 2",
    "[BX]1 to [BX]\\d+",
]
"""Digits that name something: statements, equations, sections, papers and their year."""
ROLES = r":(sub|sup):`[^`]*`|`[^`<]*`"
"""Exponents, indices and formulas."""


def without_names(text):
    text = re.sub(r"\{\{.*?\}\}|\{%.*?%\}", "", text, flags=re.DOTALL)
    text = re.sub(ROLES, "", text)
    for name in NAMES:
        text = re.sub(rf"(?<!\w){name if chr(92) in name or ' ' in name else re.escape(name)}(?!\w)", "", text)
    return text


@pytest.mark.parametrize("part", PARTS)
def test_no_number_of_the_text_is_typed_by_hand(part):
    left = without_names((TEXT / f"{part}.rst").read_text())
    assert not re.findall(r".{0,40}\d.{0,20}", left)
    assert re.search(r"\d", without_names("It decays like N to the -0.35, as T4.1 says"))


@pytest.mark.parametrize("template", ["paper.typ", "paper.html"])
def test_templates_hold_the_layout_alone(template):
    text = re.sub(r"<style>.*?</style>|\{\{.*?\}\}|\{%.*?%\}", "", (TEXT / template).read_text(), flags=re.DOTALL)
    words = re.sub(r"<[^>]*>", " ", text) if template.endswith("html") else " ".join(re.findall(r"\[([^\[\]]*)\]", text))
    assert not re.search(r"(?<![\w#.(-])\d+(\.\d+)?(?!\w|[\w.]*(pt|in|em|%))", words)


def test_every_figure_and_table_is_mentioned_numbered_and_placed_once(document):
    blocks = [b for s in document.sections for b in s.blocks]
    figures = [(b["name"], b["number"]) for b in blocks if b["kind"] == "figure"]
    assert sorted(name for name, _ in figures) == sorted(FIGURES)
    assert [number for _, number in figures] == list(range(1, len(FIGURES) + 1))
    placed = [b["name"] for b in blocks if b["kind"] == "table"]
    assert sorted(placed) == sorted([*TABLES, "statements", "record", "stages"])
    assert sorted(t.number for t in document.tables.values() if t.number) == list(range(1, len(TABLES) + 1))
    assert [s.name for s in document.sections if s.name != "further"] == list(PARTS[1:])
    captions = [markup.plain(b["caption"]) for b in blocks if b["kind"] == "figure"]
    assert min(map(len, captions)) > 100


def test_a_figure_that_no_text_mentions_is_not_lost(results, tmp_path):
    for name in ("new", *FIGURES, *(f"table_{t}" for t in TABLES)):
        (tmp_path / f"{name}.rst").write_text("**A new figure (T4.1).** It shows something.")
    document = assemble(results, text=TEXT, captions=tmp_path, figures=[*FIGURES, "new"], tables=TABLES, settings=SETTINGS)
    last = document.sections[-1]
    assert last.name == "further"
    assert "new" in [b["name"] for b in last.blocks if b["kind"] == "figure"]


def test_the_text_says_what_the_results_say(document, results):
    said = markup.plain([i for b in document.abstract for i in b["children"]])
    assert f"{len(results.claims)} checks of {len(IDS)} statements" in said
    assert "−0.346 [−0.4, −0.3] (predicted −0.333) for d = 2." in said
    changed = Results(results.claims.assign(verdict="fails"), results.tables, results.attributes)
    again = assemble(changed, text=TEXT, captions=CAPTIONS, figures=FIGURES, tables=TABLES, settings=SETTINGS)
    assert "(T3.1) fails in both checks" in markup.plain([i for b in again.abstract for i in b["children"]])
    assert "(T3.1) holds in both checks" in said


def test_what_was_not_measured_is_said(results):
    nothing = Results(results.claims.iloc[:0], results.tables, results.attributes)
    document = assemble(nothing, text=TEXT, captions=CAPTIONS, figures=FIGURES, tables=TABLES, settings=SETTINGS)
    said = markup.plain([i for b in document.abstract for i in b["children"]])
    assert f"(T3.1) was {MISSING}" in said
    assert not any(t.rows for _, t in document.ledger)


def test_the_ledger_is_complete(document, results):
    assert [section for section, _ in document.ledger] == list(SECTIONS)
    assert [row[0] for _, table in document.ledger for row in table.rows] == results.claims["id"].tolist()
    table = document.tables["statements"]
    assert [row[1] for row in table.rows] == list(IDS)
    assert {row[4] for row in table.rows} == {"holds 2"}


def test_the_summary_counts_verdicts_margins_and_controls():
    claims = pd.DataFrame(
        [
            ledger_row("T4.1/a", "attained", margin=0.5),
            ledger_row("T4.1/b", "loose", margin=2.0, control="MISSED"),
            ledger_row("T4.1/c", "loose", margin=float("nan")),
        ]
    )
    found = summary(claims).set_index("id").loc["T4.1"]
    assert found.drop("section").tolist() == ["what T4.1/a says", 3, "loose 2, attained 1", "0.50", "2 of 3"]


def test_stages_add_up_to_the_run():
    runtime = pd.DataFrame(
        {"stage": ["a", "b", "a", "total"], "wildcards": ["x", "", "y", ""], "seconds": [1.0, 5.0, 2.0, 8.0]}
        | {"peak_memory_mib": [10.0, 5.0, 30.0, 30.0]}
    )
    assert stages(runtime).to_numpy().tolist() == [["b", 1, "5.00", "5.00"], ["a", 2, "3.00", "30.0"]]


def test_cells_of_tables_are_printed_for_reading(document):
    table = document.tables["growth_exponents"]
    assert table.columns == ["case", "value", "quantity"]
    assert table.rows[0] == ["only", "1.5", "−2×10⁻⁹"]
    assert table.numeric == [False, True, True]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{{ verdicts('T9.9') }}", "abstract.rst.*T9.9"),
        ("{{ unknown }}", "abstract.rst.*unknown"),
        ("{{ fig('nowhere') }}", "abstract.rst.*nowhere"),
        ("{{ checks(", "abstract.rst"),
    ],
)
def test_a_mistake_in_a_text_names_the_text(results, tmp_path, text, message):
    for part in PARTS:
        (tmp_path / f"{part}.rst").write_text(text)
    with pytest.raises(ValueError, match=message):
        assemble(results, text=tmp_path, captions=CAPTIONS, figures=FIGURES, tables=TABLES, settings=SETTINGS)


def test_a_missing_caption_is_named(results, tmp_path):
    with pytest.raises(ValueError, match="table_kernels.rst"):
        assemble(results, text=TEXT, captions=tmp_path, figures=FIGURES, tables=TABLES, settings=SETTINGS)
