"""The ledger of the papers' statements: one module per chapter, one function per statement."""

from __future__ import annotations

import importlib

import pandas as pd

from driftrates.claims import ledger

CHAPTERS = (
    "foundations",
    "entropy_budget",
    "conservative",
    "occupancy",
    "beyond",
    "laplace_field",
    "laplace_entropy",
    "coercivity",
    "laplace_residual",
    "regularised",
    "laplace_rates",
    "spectral",
    "annealing",
    "variational",
    "baselines",
    "training",
)


def judge(chapter: str, data: ledger.Data) -> pd.DataFrame:
    """Ledger rows (`ledger.COLUMNS`) of one chapter from its Datasets, by name. Raises ``ValueError`` for an unknown chapter."""
    if chapter not in CHAPTERS:
        raise ValueError(f"unknown chapter {chapter!r}; known: {', '.join(CHAPTERS)}")
    importlib.import_module(f"driftrates.claims.{chapter}")
    return ledger.evaluate(chapter, data)
