"""What the text may ask of the results: every answer is a piece of a sentence, computed from the ledger, a table or provenance."""

from __future__ import annotations

import hashlib
import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from driftrates import store
from driftrates.claims import ledger
from driftrates.claims.registry import IDS

MISSING = "not measured at this scale"

PHRASES = {
    word: word if word in ("holds", "fails") else f"is {word}"
    for outcome, verdicts in ledger.OUTCOMES.items()
    for word in (outcome, *verdicts)
}
"""Every verdict and outcome of the ledger as the end of a sentence."""

_SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
_NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?")


def number(value: float, digits: int = 2) -> str:
    """``value`` with ``digits`` significant digits, as a power of ten where it is very large or small, with a true minus sign.

    No ``digits``: the nearest integer.
    """
    if not math.isfinite(value):
        return {math.inf: "∞", -math.inf: "−∞"}.get(value, "–")
    if value == 0 or not digits:
        return str(round(value)).replace("-", "−")
    mantissa, _, power = f"{value:.{digits - 1}e}".partition("e")
    exponent = int(power)
    if -4 < exponent < 5:
        text = f"{float(f'{mantissa}e{power}'):.{max(digits - 1 - exponent, 0)}f}"
    else:
        text = f"{mantissa.rstrip('0').rstrip('.') if '.' in mantissa else mantissa}×10{power_of(exponent)}"
    return text.replace("-", "−")


def power_of(exponent: int) -> str:
    """An integer as a superscript."""
    return str(exponent).translate(_SUPERSCRIPT)


def span(values: Iterable[float], digits: int = 2) -> str:
    """Least and largest of the finite ``values``, or the one value that they round to; `MISSING` where there is none."""
    finite = [v for v in map(float, values) if math.isfinite(v)]
    if not finite:
        return MISSING
    low, high = number(min(finite), digits), number(max(finite), digits)
    return low if low == high else f"{low} to {high}"


def enumerated(parts: list[str]) -> str:
    """A, B and C."""
    return " and ".join([", ".join(parts[:-1]), parts[-1]]) if len(parts) > 1 else "".join(parts)


@dataclass(frozen=True)
class Results:
    """The ledger (`ledger.COLUMNS`), the tables by name, and the provenance (global attributes) of the Datasets by name.

    Rows of the ledger are named by patterns: the id of a statement for all its rows, or id/case with * for any text. An answer
    without data is `MISSING`. All raise ``ValueError`` for a statement, table or column that is not known.
    """

    claims: pd.DataFrame
    tables: Mapping[str, pd.DataFrame]
    attributes: Mapping[str, Mapping[str, Any]]

    @classmethod
    def read(cls, claims: str | Path, tables: Mapping[str, str | Path], datasets: Mapping[str, str | Path]) -> Results:
        """From the files of the ledger, of the tables and of the Datasets. Raises as `store.read_csv` and `store.attributes`."""
        read = {name: store.read_csv(path) for name, path in tables.items()}
        return cls(store.read_csv(claims), read, {name: store.attributes(path) for name, path in datasets.items()})

    def vocabulary(self) -> dict[str, Callable[..., Any]]:
        """What the text may call, by name."""
        names = (
            *("checks", "statements", "outcomes", "outcome", "share", "controls", "verdicts", "measured", "least", "largest"),
            *("predicted", "times", "decades", "cases", "noted", "cells", "column", "intervals", "rows"),
            *("total", "heaviest", "stage_share", "provenance", "engines", "source_digest"),
        )
        return {name: getattr(self, name) for name in names} | {"number": number}

    def select(self, *patterns: str) -> pd.DataFrame:
        """Rows of the ledger; all of them without a pattern."""
        ids = self.claims["id"]
        chosen = pd.Series(not patterns, index=self.claims.index, dtype=bool)
        for pattern in patterns:
            statement, _, case = pattern.partition("/")
            if statement not in IDS:
                raise ValueError(f"the text asks for {pattern!r}, but the ledger knows no statement {statement!r}")
            own = [fnmatchcase(id, pattern) if case else id.split("/")[0] == statement for id in ids]
            chosen |= pd.Series(own, index=self.claims.index, dtype=bool)
        return self.claims[chosen]

    def checks(self, *patterns: str) -> str:
        """Number of rows."""
        return str(len(self.select(*patterns)))

    def statements(self) -> str:
        """Number of statements with a row."""
        return str(self.claims["id"].str.split("/").str[0].nunique())

    def outcomes(self, *patterns: str) -> str:
        """Numbers of rows by outcome (`ledger.OUTCOMES`): 3 confirmed, 1 loose and 2 contradicted."""
        verdicts = self.select(*patterns)["verdict"]
        counts = {outcome: int(verdicts.isin(known).sum()) for outcome, known in ledger.OUTCOMES.items()}
        return enumerated([f"{n} {outcome}" for outcome, n in counts.items() if n]) or MISSING

    def share(self, outcome: str, *patterns: str) -> str:
        """Percentage of the rows with this outcome."""
        rows = self.select(*patterns)
        return f"{number(100 * rows['verdict'].isin(ledger.OUTCOMES[outcome]).mean())} %" if len(rows) else MISSING

    def controls(self, *patterns: str) -> str:
        """How many negative controls were caught: all 12, or 11 of 12."""
        caught = self.select(*patterns)["control"] == "caught"
        if caught.empty:
            return MISSING
        return f"all {caught.size}" if caught.all() else f"{caught.sum()} of {caught.size}"

    def verdicts(self, *patterns: str) -> str:
        """What was concluded: "holds in all 4 checks", "is loose in 3 and holds in 1 of 4 checks"; by outcome where verdicts are many."""
        found = self.select(*patterns)["verdict"]
        if found.empty:
            return f"was {MISSING}"
        if found.nunique() > 2:
            found = found.map({verdict: outcome for outcome, verdicts in ledger.OUTCOMES.items() for verdict in verdicts})
        counts = sorted(found.value_counts().items(), key=lambda item: (-item[1], item[0]))
        total = {1: "the one check", 2: "both checks"}.get(len(found), f"all {len(found)} checks")
        phrases = [f"{PHRASES[word]} in {n if len(counts) > 1 else total}" for word, n in counts]
        return enumerated(phrases) + (f" of {len(found)} checks" if len(counts) > 1 else "")

    def outcome(self, *patterns: str) -> str:
        """The one outcome (`ledger.OUTCOMES`) of all rows, empty where there is none or more than one: what a condition asks."""
        verdicts = set(self.select(*patterns)["verdict"])
        return next((name for name, known in ledger.OUTCOMES.items() if verdicts and verdicts <= set(known)), "")

    def measured(self, *patterns: str, digits: int = 2) -> str:
        """Range of what was measured."""
        return span(self.select(*patterns)["measured"], digits)

    def least(self, *patterns: str, digits: int = 2) -> str:
        """The least of what was measured."""
        return span(self.select(*patterns)["measured"].nsmallest(1), digits)

    def largest(self, *patterns: str, digits: int = 2, base: float | None = None) -> str:
        """The largest of what was measured; with ``base`` the measured values are logarithms to it."""
        values = self.select(*patterns)["measured"].nlargest(1)
        return span(values if base is None else base**values, digits)

    def predicted(self, *patterns: str, digits: int = 2) -> str:
        """Range of what was predicted."""
        return span(self.select(*patterns)["predicted"], digits)

    def times(self, *patterns: str, digits: int = 2) -> str:
        """Range of the ratio of the sides of inequalities, each at its tightest case."""
        return span(10.0 ** self.select(*patterns)["margin"], digits)

    def decades(self, *patterns: str, digits: int = 2) -> str:
        """Range of the margins."""
        return span(self.select(*patterns)["margin"], digits)

    def cases(self, *patterns: str) -> str:
        """Sum of the cases behind the rows."""
        return str(int(self.select(*patterns)["cases"].sum()))

    def noted(self, words: str, *patterns: str, digits: int = 2) -> str:
        """Range of the numbers that follow ``words`` in the descriptions of what was measured."""
        found = (re.search(rf"{re.escape(words)}\s*({_NUMBER.pattern})", text) for text in self.select(*patterns)["quantity"])
        return span((float(match[1]) for match in found if match), digits)

    def _table(self, table: str, where: Mapping[str, Any]) -> pd.DataFrame:
        if table not in self.tables:
            raise ValueError(f"the text asks for the table {table!r}, which is none of {', '.join(self.tables)}")
        frame = self.tables[table]
        unknown = sorted({*where} - {*frame.columns})
        if unknown:
            raise ValueError(f"the text asks for {unknown[0]!r} of the table {table}, whose columns are {', '.join(frame.columns)}")
        for name, value in where.items():
            frame = frame[frame[name].map(lambda cell, v=value: _matches(cell, v)).astype(bool)]
        return frame

    def rows(self, table: str, **where: Any) -> str:
        """Number of rows of a table."""
        return str(len(self._table(table, where)))

    def column(self, table: str, name: str, **where: Any) -> list[Any]:
        """The different values of a column, in their order; floats that are whole numbers as such."""
        values = self._table(table, {name: "*", **where})[name].dropna().unique().tolist()
        return [int(v) if isinstance(v, float) and v.is_integer() else v for v in values]

    def cells(self, table: str, name: str, where: Mapping[str, Any] | None = None, digits: int = 2, **more: Any) -> str:
        """Range of a column over the rows of a table; of "3.1 ± 0.2" and "3.1 [2.9, 3.3]" the first number counts."""
        found = self._table(table, {name: "*", **(where or {}), **more})[name]
        return span((leading(cell) for cell in found), digits)

    def intervals(self, table: str, name: str, interval: str, where: Mapping[str, Any] | None = None, **more: Any) -> str:
        """Value and interval of the rows of a table, one after the other."""
        found = self._table(table, {name: "*", interval: "*", **(where or {}), **more})
        shown = [f"{number(leading(v), 3)} {str(i).replace('-', '−')}" for v, i in zip(found[name], found[interval], strict=True)]
        return enumerated(shown) or MISSING

    def _stages(self) -> pd.DataFrame:
        runtime = self._table("runtime", {})
        return runtime[runtime["stage"] != "total"]

    def total(self) -> str:
        """Sum of the time of all stages."""
        seconds = self._stages()["seconds"].sum()
        return f"{number(seconds / 3600)} hours" if seconds > 7200 else f"{number(seconds / 60)} minutes"

    def heaviest(self) -> str:
        """Peak memory of the largest stage, and its name."""
        stages = self._stages()
        worst = stages.loc[stages["peak_memory_mib"].idxmax()]
        return f"{number(worst['peak_memory_mib'], 3)} MiB ({' '.join([worst['stage'], worst['wildcards']]).strip()})"

    def stage_share(self, *stages: str) -> str:
        """Percentage of the time that went into stages whose names begin like one of these."""
        frame = self._stages()
        return f"{number(100 * frame.loc[frame['stage'].str.startswith(stages), 'seconds'].sum() / frame['seconds'].sum())} %"

    def provenance(self, name: str) -> str:
        """The different values of an attribute over all Datasets."""
        found = sorted({str(a[name]) for a in self.attributes.values() if a.get(name)})
        return "; ".join(found) or MISSING

    def engines(self) -> str:
        """Engines of the simulations (`sums.describe`), the busiest first, with the pairs that they summed."""
        pairs: Counter[str] = Counter()
        for served in (str(a.get("engine", "")) for name, a in self.attributes.items() if name.startswith("flow/")):
            for engine, count in re.findall(rf"(\w+) \(\d+ pass(?:es)?, ({_NUMBER.pattern}) pairs\)", served):
                pairs[engine] += float(count)
        return enumerated([f"{engine} ({number(n)} pairs)" for engine, n in pairs.most_common()]) or MISSING

    def source_digest(self) -> str:
        """One digest of the source digests of all Datasets."""
        lines = [f"{name} {a['source_digest']}\n" for name, a in sorted(self.attributes.items())]
        return hashlib.sha256("".join(lines).encode()).hexdigest()[:32]


def leading(cell: Any) -> float:
    """The first number of a cell, NaN where it has none."""
    if isinstance(cell, (int, float, np.number)):
        return float(cell)
    found = _NUMBER.search(str(cell).replace("−", "-"))
    return float(found[0]) if found else math.nan


def _matches(cell: Any, wanted: Any) -> bool:
    if isinstance(wanted, str):
        return fnmatchcase("" if cell != cell else str(cell), wanted)
    return isinstance(cell, (int, float, np.number)) and math.isclose(float(cell), wanted)
