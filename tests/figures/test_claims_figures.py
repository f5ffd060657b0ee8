"""The page of the whole ledger."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgba

from driftrates.claims import ledger, registry
from driftrates.figures import claims_overview
from pages import assert_panels_fit


def claims(verdicts=("holds", "violated", "loose")):
    rows = [
        {"id": f"{id}/{case}", "kind": "inequality", "verdict": verdict, "margin": margin}
        for id in registry.IDS
        for case, (verdict, margin) in enumerate(zip(verdicts, np.linspace(-8, 8, len(verdicts)), strict=True))
    ]
    return pd.DataFrame(rows)


def colours_of(figure):
    return [patch.get_facecolor() for ax in figure.axes for patch in ax.patches]


def test_every_statement_is_drawn_with_all_its_outcomes():
    figure = claims_overview.plot(claims())
    assert_panels_fit(figure)
    labels = [t.get_text() for ax in figure.axes for t in ax.get_yticklabels()]
    assert labels == list(registry.IDS)
    for outcome in ("confirmed", "contradicted", "loose"):
        assert colours_of(figure).count(to_rgba(claims_overview.COLOURS[outcome])) == len(registry.IDS)


def test_margins_stay_on_the_page_and_rates_have_none():
    table = claims()
    table.loc[table["id"].str.startswith("s4.3/"), "kind"] = "rate"
    marks = [line for ax in claims_overview.plot(table).axes[1::2] for line in ax.lines if line.get_marker() == "|"]
    values = np.concatenate([line.get_xdata() for line in marks])
    assert len(values) == len(table) - 3
    assert np.abs(values).max() == 6


def test_every_outcome_has_a_colour_of_its_own():
    assert set(claims_overview.COLOURS) == set(ledger.OUTCOMES)
    assert len({to_rgba(c) for c in claims_overview.COLOURS.values()}) == len(ledger.OUTCOMES)


def test_an_unknown_verdict_is_not_passed_over():
    with pytest.raises(ValueError, match="unknown verdict 'perhaps'"):
        claims_overview.plot(claims(("perhaps",)))
