"""Random numbers that depend on what they are for, and on nothing else in a run."""

from __future__ import annotations

import hashlib
import json
import math

import numpy as np


def generator(seed: int, *labels: str | float) -> np.random.Generator:
    """Counter-based generator (Philox) keyed by a hash of the seed and the labels.

    seed (int), labels (texts and finite numbers, e.g. experiment, N, replicate): the stream depends on these alone, not on the
    order of calls, the device or the number of processes. Equal numbers are equal labels (2, 2.0, ``np.int64(2)``).
    Raises ``ValueError`` for a seed or a label of another kind.
    """
    if isinstance(seed, (bool, np.bool_)) or not isinstance(seed, (int, np.integer)):
        raise ValueError(f"seed must be an integer, not {seed!r}")
    text = json.dumps([int(seed), *map(_canonical, labels)])
    key = int.from_bytes(hashlib.sha256(text.encode()).digest()[:16], "big")
    return np.random.Generator(np.random.Philox(np.random.SeedSequence(key)))


def _canonical(label: str | float) -> str | float:
    if isinstance(label, np.generic):
        label = label.item()
    if isinstance(label, float) and math.isfinite(label):
        return int(label) if label.is_integer() else label
    if isinstance(label, str) or isinstance(label, int) and not isinstance(label, bool):
        return label
    raise ValueError(f"a label of a random stream must be a text or a finite number, not {label!r}")
