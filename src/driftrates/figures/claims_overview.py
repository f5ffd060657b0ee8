"""The whole ledger on one page: every statement by section, what was concluded in how many cases, and by what margin."""

from __future__ import annotations

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from driftrates import figures
from driftrates.claims import ledger
from driftrates.claims.registry import SECTIONS

COLOURS = {
    "confirmed": figures.PALETTE[0],
    "faster than the bound": figures.PALETTE[9],
    "loose": figures.PALETTE[8],
    "vacuous": "0.75",
    "contradicted": figures.PALETTE[3],
    "undecided": "white",
}
"""Colour of each group of verdicts (`ledger.OUTCOMES`)."""

_COLUMNS = 3
_DECADES = 6.0


@figures.styled
def plot(claims: pd.DataFrame) -> Figure:
    """A line per statement of the ledger ``claims`` (`ledger.COLUMNS`): its rows by outcome, and their margins in decades.

    Rates are left out of the margins, since theirs are differences of exponents; margins beyond 6 decades are drawn there.
    Raises ``ValueError`` for a verdict that `ledger.OUTCOMES` does not know.
    """
    claims = claims.assign(statement_id=claims["id"].str.split("/").str[0], outcome=claims["verdict"].map(_outcome))
    lines = _lines()
    figure = Figure(figsize=(figures.DOUBLE, 0.75 + 0.155 * max(map(len, lines))), layout="constrained")
    axes = figure.subplots(1, 2 * _COLUMNS, width_ratios=[1.0, 1.1] * _COLUMNS)
    for shares, margins, column in zip(axes[::2], axes[1::2], lines, strict=True):
        for y, (text, is_title) in enumerate(column):
            if is_title:
                title = shares.text(-0.35, y, text, fontweight="bold", va="center", transform=shares.get_yaxis_transform())
                title.set_in_layout(False)
            else:
                _statement(shares, margins, y, claims[claims["statement_id"] == text])
        _frame(shares, margins, [("" if is_title else text) for text, is_title in column], max(map(len, lines)))
    handles = [
        Patch(facecolor=COLOURS[o], edgecolor="0.3", linewidth=0.4, label=o) for o in ledger.OUTCOMES if (claims["outcome"] == o).any()
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles))
    return figure


def _outcome(verdict: str) -> str:
    for outcome, verdicts in ledger.OUTCOMES.items():
        if verdict in verdicts:
            return outcome
    raise ValueError(f"the ledger has an unknown verdict {verdict!r}")


def _lines() -> list[list[tuple[str, bool]]]:
    """(text, is a section's title) of every line, in columns of about equal height; a section may go on in the next column."""
    lines = [line for section, ids in SECTIONS.items() for line in [(section, True), *((id, False) for id in ids)]]
    height, columns = -(-len(lines) // _COLUMNS), []
    while lines:
        cut = min(height, len(lines))
        if cut < len(lines) and lines[cut - 1][1]:  # no title without a statement under it
            cut -= 1
        columns.append(lines[:cut])
        lines = lines[cut:]
    if len(columns) > _COLUMNS:
        columns[_COLUMNS - 1 :] = [sum(columns[_COLUMNS - 1 :], [])]
    return columns


def _statement(shares: Axes, margins: Axes, y: int, rows: pd.DataFrame) -> None:
    left = 0.0
    for outcome in ledger.OUTCOMES:
        width = (rows["outcome"] == outcome).mean() if len(rows) else 0.0
        if width:
            shares.barh(y, width, left=left, height=0.72, color=COLOURS[outcome], edgecolor="0.3", linewidth=0.3)
        left += width
    shares.text(1.04, y, str(len(rows)), va="center", fontsize=5.5, color="0.3").set_in_layout(False)
    rows = rows[rows["kind"] != "rate"]
    for outcome in [o for o in ledger.OUTCOMES if (rows["outcome"] == o).any()]:
        values = np.clip(rows.loc[rows["outcome"] == outcome, "margin"].dropna(), -_DECADES, _DECADES)
        margins.plot(
            values, np.full(len(values), y), "|", color=COLOURS[outcome] if outcome != "undecided" else "0.3", markersize=5, alpha=0.8
        )


def _frame(shares: Axes, margins: Axes, labels: list[str], height: int) -> None:
    for ax in (shares, margins):
        ax.set(ylim=(height - 0.5, -0.5))
    ticks = [y for y, label in enumerate(labels) if label]
    shares.set(xlim=(0.0, 1.15), xticks=[0.0, 1.0], xlabel="share")
    shares.set_yticks(ticks, [labels[y] for y in ticks])
    shares.tick_params(axis="y", length=0)
    margins.set(xlim=(-_DECADES * 1.05, _DECADES * 1.05), xticks=[-5, 0, 5], yticks=[], xlabel="margin (decades)")
    margins.patch.set_visible(False)
    margins.axvline(0.0, color="0.7", linewidth=0.6, zorder=0)
    sns.despine(ax=shares, left=True)
    sns.despine(ax=margins, left=True)
