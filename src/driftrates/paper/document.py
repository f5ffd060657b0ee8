"""The paper as plain data: sections of numbered figures and tables, the ledger, the record of the run."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd

from driftrates.claims.registry import SECTIONS
from driftrates.paper import markup
from driftrates.paper.results import Results, number

PARTS = (
    *("abstract", "methods", "conservative", "occupancy", "laplace", "spectra", "variational", "training", "engines", "ledger"),
    "reproduction",
)
"""Texts in their order; the first has no section of its own, the last two are followed by tables made here."""

LEDGER_COLUMNS = ("id", "quantity", "measured", "predicted", "margin", "cases", "uncertainty", "verdict", "control")
_DIGITS = 4


@dataclass
class Table:
    """A table as text: columns, which of them hold numbers, rows; ``name`` is also its anchor; 0 as ``number``: it has none."""

    name: str
    number: int
    caption: list[markup.Inline]
    columns: list[str]
    numeric: list[bool]
    rows: list[list[str]]


@dataclass
class Section:
    """A part of the paper. ``blocks`` are those of `markup`, figures (kind "figure", name, number, caption) and tables ("table", name)."""

    name: str
    title: str
    blocks: list[dict[str, Any]]


@dataclass
class Document:
    """All that is laid out. ``ledger`` holds (section of the registry, Table) of every row of the ledger."""

    abstract: list[dict[str, Any]]
    sections: list[Section]
    tables: dict[str, Table]
    ledger: list[tuple[str, Table]]
    source: str
    scale: str
    figures: list[str] = field(default_factory=list)

    def data(self) -> dict[str, Any]:
        """The same as dictionaries and lists."""
        return asdict(self)


def assemble(
    results: Results, *, text: Path, captions: Path, figures: Sequence[str], tables: Sequence[str], settings: Mapping[str, Any]
) -> Document:
    """Fill the texts of `PARTS` (text/part.rst) with what ``results`` says; figures and tables follow their first mention.

    captions: folder with figure.rst and table_name.rst; figures and tables: all that the paper must hold, those that no text mentions
    in a section of their own. The text may call `Results.vocabulary`, ``fig`` and ``tab`` with names, and has ``settings``.
    Raises ``ValueError`` for a text that asks for what is unknown, and for faulty markup.
    """
    numbering = _Numbering(figures, tables)
    pages = jinja2.Environment(undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    pages.globals |= {**results.vocabulary(), **settings, "fig": numbering.figures, "tab": numbering.tables}
    parts = {part: _fill(pages, text / f"{part}.rst") for part in PARTS}
    left = numbering.mention_the_rest()
    if left:
        parts["further"] = markup.read(left, "further")

    read = {name: _caption(captions, f"table_{name}") for name in tables}
    made = {name: _table(name, numbering.number("table", name), read[name], _shown(results.tables[name])) for name in tables}
    made["statements"] = _table("statements", 0, ["Every statement of the ledger."], summary(results.claims))
    made["record"] = _table("record", 0, ["This run."], record(results, settings))
    made["stages"] = _table("stages", 0, ["Time and memory by stage."], stages(results.tables["runtime"]))

    placed: set[str] = set()
    sections = []
    for part, blocks in parts.items():
        title = next((markup.plain(b["children"]) for b in blocks if b["kind"] == "heading"), "")
        body = [b for b in blocks if b["kind"] != "heading"]
        sections.append(Section(part, title, list(_place(body, placed, captions, numbering))))
    own = {"ledger": ["statements"], "reproduction": ["record", "stages"]}
    for section in sections:
        section.blocks += [{"kind": "table", "name": name} for name in own.get(section.name, [])]
    by_section = [
        (section, _table(f"ledger-{i}", 0, [section], _shown(results.select(*ids)[list(LEDGER_COLUMNS)])))
        for i, (section, ids) in enumerate(SECTIONS.items())
    ]
    return Document(
        sections[0].blocks, sections[1:], made, by_section, results.provenance("source"), str(settings["scale"]), numbering.order["figure"]
    )


def summary(claims: pd.DataFrame) -> pd.DataFrame:
    """One row per statement of the ledger: what it says, its rows by verdict, the least margin in decades, its controls."""
    rows = []
    for section, ids in SECTIONS.items():
        for id in ids:
            own = claims[claims["id"].str.split("/").str[0] == id]
            verdicts = own["verdict"].value_counts()
            rows.append(
                {
                    "section": section,
                    "id": id,
                    "statement": own["statement"].iloc[0] if len(own) else "",
                    "checks": len(own),
                    "verdicts": ", ".join(f"{verdict} {n}" for verdict, n in sorted(verdicts.items(), key=lambda v: (-v[1], v[0]))),
                    "least margin": number(own["margin"].min()) if own["margin"].notna().any() else "",
                    "controls caught": f"{(own['control'] == 'caught').sum()} of {len(own)}",
                }
            )
    return pd.DataFrame(rows)


def record(results: Results, settings: Mapping[str, Any]) -> pd.DataFrame:
    """What a reader needs to repeat the run, from the provenance of the Datasets and the table of costs."""
    lines = {
        "software": results.provenance("source"),
        "libraries": results.provenance("versions"),
        "engines of the simulations": results.engines(),
        "devices": results.provenance("device"),
        "precision": results.provenance("dtype"),
        "seed": results.provenance("seed"),
        "scale": str(settings["scale"]),
        "Datasets": str(len(results.attributes)),
        "digest of the sources behind all Datasets": results.source_digest(),
        "time of all stages": results.total(),
        "largest stage": results.heaviest(),
    }
    return pd.DataFrame({"of this run": lines.keys(), "value": lines.values()})


def stages(runtime: pd.DataFrame) -> pd.DataFrame:
    """Jobs, seconds and peak memory of every stage, the costliest first."""
    grouped = runtime[runtime["stage"] != "total"].groupby("stage", sort=False)
    found = grouped.agg(jobs=("stage", "size"), seconds=("seconds", "sum"), peak=("peak_memory_mib", "max"))
    found = found.sort_values("seconds", ascending=False).reset_index()
    return found.assign(seconds=found["seconds"].map(lambda v: number(v, 3)), peak=found["peak"].map(lambda v: number(v, 3))).rename(
        columns={"seconds": "time (s)", "peak": "peak memory (MiB)"}
    )


class _Numbering:
    """Numbers figures and tables in the order in which the text mentions them."""

    def __init__(self, figures: Sequence[str], tables: Sequence[str]):
        self.known = {"figure": list(figures), "table": list(tables)}
        self.order: dict[str, list[str]] = {"figure": [], "table": []}

    def number(self, kind: str, name: str) -> int:
        if name not in self.known[kind]:
            raise ValueError(f"the text mentions the {kind} {name!r}, which this run does not make")
        if name not in self.order[kind]:
            self.order[kind].append(name)
        return self.order[kind].index(name) + 1

    def _mention(self, kind: str, names: Sequence[str]) -> str:
        shown = [f"`{kind.capitalize()} {self.number(kind, name)} <#{kind}-{name}>`__" for name in names]
        return " and ".join([", ".join(shown[:-1]), shown[-1]]) if len(shown) > 1 else shown[0]

    def figures(self, *names: str) -> str:
        return self._mention("figure", names)

    def tables(self, *names: str) -> str:
        return self._mention("table", names)

    def mention_the_rest(self) -> str:
        """A section that mentions what no text did, empty where nothing is left."""
        left = {kind: [name for name in known if name not in self.order[kind]] for kind, known in self.known.items()}
        lines = [f"See {self._mention(kind, names)}." for kind, names in left.items() if names]
        return "\n".join(["Further results", "===============", "", *lines]) if lines else ""


def _fill(pages: jinja2.Environment, path: Path) -> list[dict[str, Any]]:
    try:
        filled = pages.from_string(path.read_text(encoding="utf-8")).render()
    except (jinja2.TemplateError, ValueError, TypeError, KeyError) as error:
        raise ValueError(f"{path.name}: {error}") from error
    return markup.read(filled, path.name)


def _caption(folder: Path, name: str) -> list[markup.Inline]:
    path = folder / f"{name}.rst"
    if not path.is_file():
        raise ValueError(f"{path}: a caption is missing")
    blocks = markup.read(path.read_text(encoding="utf-8"), path.name)
    return [inline for block in blocks for inline in block["children"]]


def _place(blocks: Iterable[dict[str, Any]], placed: set[str], captions: Path, numbering: _Numbering) -> Iterator[dict[str, Any]]:
    """The blocks, each followed by the figures and tables that it mentions first."""
    for block in blocks:
        yield block
        for target in markup.links(block):
            kind, _, name = target.removeprefix("#").partition("-")
            if target in placed or kind not in numbering.known:
                continue
            placed.add(target)
            if kind == "figure":
                yield {"kind": "figure", "name": name, "number": numbering.number(kind, name), "caption": _caption(captions, name)}
            else:
                yield {"kind": "table", "name": name}


def _table(name: str, number: int, caption: list[markup.Inline], frame: pd.DataFrame) -> Table:
    text = frame.astype(str)
    numeric = [bool(text[c].map(lambda v: v in ("", "none") or v[0] in "0123456789−+∞–").all()) for c in text.columns]
    return Table(name, number, caption, [str(c) for c in text.columns], numeric, text.to_numpy().tolist())


def _shown(frame: pd.DataFrame) -> pd.DataFrame:
    """Every cell as text: floats with four digits, integers as such, nothing where there is no value, true minus signs."""
    return pd.DataFrame({str(name): _column(frame[name]) for name in frame.columns})


def _column(values: pd.Series) -> pd.Series:
    if not pd.api.types.is_numeric_dtype(values) or pd.api.types.is_bool_dtype(values):
        return values.map(lambda v: "" if v != v else _text(str(v)))
    whole = values.dropna().map(lambda v: float(v).is_integer() and abs(v) < 1e15).all()
    return values.map(lambda v: "" if v != v else str(int(v)).replace("-", "−") if whole else _trimmed(float(v)))


def _text(cell: str) -> str:
    """A minus sign before a number, where it is one."""
    return "".join("−" if c == "-" and cell[i + 1 : i + 2].isdigit() and not cell[:i][-1:].isalnum() else c for i, c in enumerate(cell))


def _trimmed(value: float) -> str:
    text = number(value, _DIGITS)
    return text.rstrip("0").rstrip(".") if "." in text and "×" not in text else text
