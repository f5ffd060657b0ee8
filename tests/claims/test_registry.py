"""The registry of statements and the checks of the ledger know each other."""

import importlib
from collections import Counter

import pytest

from driftrates.claims import CHAPTERS, ledger, registry


def registered():
    found = []
    for chapter in CHAPTERS:
        importlib.import_module(f"driftrates.claims.{chapter}")
        found += ledger.statements(chapter)
    return found


def disagreements(ids, checks):
    """Ids without a check, checks without an id, and what stands twice."""
    return {
        "no check": set(ids) - set(checks),
        "no id": set(checks) - set(ids),
        "twice": {id for known in (ids, checks) for id, count in Counter(known).items() if count > 1},
    }


def test_every_statement_has_one_check_and_every_check_a_statement():
    assert disagreements(registry.IDS, registered()) == {"no check": set(), "no id": set(), "twice": set()}


@pytest.mark.parametrize(
    ("ids", "kind"),
    [((*registry.IDS, "T9.9"), "no check"), (registry.IDS[1:], "no id"), ((*registry.IDS, registry.IDS[0]), "twice")],
)
def test_a_disagreement_is_seen(ids, kind):
    assert disagreements(ids, registered())[kind]


def test_a_second_check_of_a_statement_is_refused():
    registered()
    with pytest.raises(ValueError, match="two checks claim the statement T3.1"):
        ledger.statement("elsewhere", "T3.1", "text", "source")(lambda data: [])


def test_every_verdict_has_one_outcome():
    verdicts = [v for group in ledger.OUTCOMES.values() for v in group]
    assert len(verdicts) == len(set(verdicts))
