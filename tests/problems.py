"""Small experiments for the tests: what a test gives, completed and checked as the workflow does it."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import yaml

from driftrates.config import resolve


def normal(d: int) -> dict[str, Any]:
    """The target N(0, I) in dimension d."""
    return {"mixture": {"means": [[0.0] * d], "standard_deviations": [1.0]}}


def gaussian_start(standard_deviation: float | list[float]) -> dict[str, Any]:
    return {"gaussian": {"standard_deviation": standard_deviation}}


LEAVE_ONE_OUT: dict[str, Any] = {"field": "displacement", "leave_one_out": True, "kernel": {"name": "laplace"}}
"""The leave-one-out displacement field of the Laplace kernel."""

BASE: dict[str, Any] = {
    "target": normal(2),
    "start": gaussian_start(1.5),
    "field": "conservative",
    "kernel": {"name": "gaussian"},
    "bandwidth": 0.5,
    "n_particles": [8, 16],
    "times": {"stop": 1.0},
}
"""Values of the keys that a configuration must give; all others have defaults in the schema."""


def problem(**given: Any) -> dict[str, Any]:
    """The experiment of the given keys as ``resolve`` hands it to the stages; ``name`` is "problem" if left out."""
    name = given.pop("name", "problem")
    return resolve({"experiments": {name: {**BASE, **given}}}, _schema(), check_device=False)["experiments"][name]


@cache
def _schema() -> dict[str, Any]:
    return yaml.safe_load((Path(__file__).parents[1] / "workflow/schemas/config.schema.yaml").read_text())
