"""The text of the paper as a page of Markdown: its sections with their figures, the ledger as counts, the record of the run."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import Any

from driftrates.claims.ledger import OUTCOMES
from driftrates.paper import markup
from driftrates.paper.document import LEDGER_COLUMNS, Document
from driftrates.store import replacing

_WRAPPED = {"strong": "**", "emph": "*", "math": "*"}
_PLACED = {"sub": "sub", "super": "sup"}
_SPECIAL = re.compile(r"([\\`*_\[\]|~$])")

_INTRODUCTION = """\
# Findings

<!-- Written by `snakemake findings`; every number is read from the results. -->

At scale *{scale}*. `snakemake paper` makes the same text with all tables and the whole ledger as PDF and HTML, after which tables are
numbered here."""


def write_findings(document: Document, path: str | Path, *, pictures: Collection[str]) -> None:
    """Write ``document`` as Markdown; figures whose names are in ``pictures`` are shown from ``figures/name.png`` beside the page.

    Of the tables the page holds the record of the run, and of the ledger the numbers of checks by outcome. Raises ``OSError`` where
    ``path`` cannot be written.
    """
    with replacing(path) as temporary:
        temporary.write_text("\n\n".join(_page(document, pictures)) + "\n", encoding="utf-8")


def inline(children: Iterable[markup.Inline], shown: Collection[str] = ()) -> str:
    """Inline elements of `markup` as Markdown with the HTML that GitHub renders; links lead to the figures ``shown``, others are text."""
    return "".join(_element(child, shown) for child in children)


def _page(document: Document, pictures: Collection[str]) -> Iterator[str]:
    shown = {name for name in document.figures if name in pictures}
    yield _INTRODUCTION.format(scale=document.scale)
    yield from _blocks(document.abstract, shown)
    for section in document.sections:
        yield f"## {inline([section.title])}"
        yield from _blocks(section.blocks, shown)
        if section.name == "ledger":
            yield _table(*_counts(document))
        if section.name == "reproduction":
            record = document.tables["record"]
            yield _table(record.columns, record.rows)


def _blocks(blocks: Iterable[dict[str, Any]], shown: Collection[str]) -> Iterator[str]:
    for block in blocks:
        match block["kind"]:
            case "paragraph":
                yield inline(block["children"], shown)
            case "list":
                yield "\n".join(f"* {inline(item, shown)}" for item in block["items"])
            case "figure" if block["name"] in shown:
                name, number = block["name"], block["number"]
                yield f'<a id="figure-{name}"></a>\n![Figure {number}](figures/{name}.png)'
                yield f"**Figure {number}.** {inline(block['caption'], shown)}"


def _counts(document: Document) -> tuple[list[str], list[list[str]]]:
    """Checks of every section of the registry by outcome, and how many controls were caught."""
    verdict, control = LEDGER_COLUMNS.index("verdict"), LEDGER_COLUMNS.index("control")
    ledger = [*document.ledger, ("All", None)]
    all_rows = [row for _, table in document.ledger for row in table.rows]
    lines = []
    for section, table in ledger:
        rows = table.rows if table else all_rows
        found = [sum(row[verdict] in verdicts for row in rows) for verdicts in OUTCOMES.values()]
        lines.append([section, *map(str, [len(rows), *found, sum(row[control] == "caught" for row in rows)])])
    return ["section", "checks", *OUTCOMES, "controls caught"], lines


def _table(columns: list[str], rows: list[list[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(cell if cell == '---' else _escaped(cell) for cell in line)} |" for line in lines)


def _element(child: markup.Inline, shown: Collection[str]) -> str:
    if isinstance(child, str):
        return _escaped(child)
    tag = child["tag"]
    if tag == "code":
        return f"`{markup.plain(child['children'])}`"
    inner = inline(child["children"], shown)
    if tag == "link":
        target = child["target"]
        local = target.startswith("#") and target.removeprefix("#figure-") not in shown
        return inner if local else f"[{inner}]({target})"
    if tag in _PLACED:
        return f"<{_PLACED[tag]}>{inner}</{_PLACED[tag]}>"
    return f"{_WRAPPED[tag]}{inner}{_WRAPPED[tag]}"


def _escaped(text: str) -> str:
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _SPECIAL.sub(r"\\\1", text)
