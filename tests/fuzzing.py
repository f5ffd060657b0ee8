"""What the tests under `fuzz` share: how many examples, what a refusal looks like, and when a configuration is sound."""

import copy
import math
import os
import re

import yaml
from hypothesis import HealthCheck, settings
from jsonschema import Draft202012Validator

from driftrates.pipeline import config, cost
from workflows import ROOT

SEARCH = int(os.environ.get("FUZZ_EXAMPLES", "0"))
"""Examples of a search with fresh random numbers; 0 for the fixed examples of every run of the tests."""


def examples(number):
    return settings(
        max_examples=SEARCH or number,
        derandomize=not SEARCH,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        print_blob=False,
    )


def outcome(function, *arguments, **options):
    """(result, None), or (None, message) where the input was refused; any other error passes through, and fails the test."""
    try:
        return function(*arguments, **options), None
    except ValueError as error:
        assert type(error) is ValueError, repr(error)
        message = str(error)
        assert message.isprintable() and len(message) < 2000, message
        return None, message


CONFIGURATION = yaml.safe_load((ROOT / "config.yaml").read_text())
SCHEMA = yaml.safe_load((ROOT / "workflow/schemas/config.schema.yaml").read_text())
VALIDATOR = Draft202012Validator(SCHEMA)
SMALL = {
    "scale": "smoke",
    "seed": 3,
    "experiments": {
        "plane": {
            "target": {"mixture": {"means": [[0.0, 0.0], [1.0, 0.0]], "standard_deviations": [1.0, 0.5], "weights": [0.3, 0.7]}},
            "start": {"gaussian": {"mean": 0.0, "standard_deviation": [1.5, 2.0]}},
            "field": "conservative",
            "kernel": {"name": "gaussian"},
            "bandwidth": {"prefactor": 1.0, "exponent": -0.2},
            "n_particles": {"smoke": 8, "paper": [32, 64], "full": 128},
            "times": {"stop": 1.0},
            "entropy": True,
            "measure": ["entropy", "occupancy"],
            "replicates": 2,
        },
        "moons": {
            "target": {"data": {"name": "two_moons", "size": 20, "noise": 0.1}},
            "start": {"data": {"name": "uniform", "low": -1.0}},
            "start_label": "shared",
            "field": "displacement",
            "kernel": {"name": "smoothed_laplace", "eps": 0.1},
            "bandwidth": [0.3, 0.5],
            "n_particles": [10, 20],
            "times": {"stop": 1, "count": 3, "spacing": "log", "first": 0.1},
            "integrator": {"method": "euler", "step": 0.1},
            "paired": True,
        },
    },
    "field_maps": {"map": {"experiments": ["plane"], "box": 2.0, "loops": [{"centre": [0.0, 0.0], "radius": 1.0}]}},
    "kernels": [{"name": "gaussian"}, {"name": "inverse_multiquadric", "dof": 3.0}],
    "kernel_dimensions": [1, 2],
}


def at_scale(value, scale):
    if isinstance(value, dict) and set(value) & set(config.SCALES):
        return at_scale(value[scale], scale)
    if isinstance(value, dict):
        return {k: at_scale(v, scale) for k, v in value.items()}
    return [at_scale(v, scale) for v in value] if isinstance(value, (list, tuple)) else value


def check_unchanged(written, resolved, path=()):
    """Every value as written stands in the result, of the same type."""
    if isinstance(written, dict) and path[-1:] != ("bandwidth",):
        assert isinstance(resolved, dict)
        for key in written:
            check_unchanged(written[key], resolved[key], (*path, key))
    elif isinstance(written, list):
        assert len(resolved) == len(written)
        for i, (a, b) in enumerate(zip(written, resolved, strict=True)):
            check_unchanged(a, b, (*path, i))
    elif path[-1:] != ("bandwidth",) or not isinstance(written, dict):
        assert type(written) is type(resolved) and written == resolved, (path, written, resolved)


def numbers(value):
    if isinstance(value, (dict, list)):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from numbers(inner)
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        yield value


def check_refusal(message, raw):
    place = re.match(r"configuration, (.+?)(\[\d+\])*: .{5,}", message)
    assert place, message
    first = re.split(r"[.\[]", place[1])[0]
    known = {*map(str, raw), *SCHEMA["properties"], "top level", "scale"} if isinstance(raw, dict) else {"top level"}
    named = (f"configuration, {config.one_line(str(key))[:40].strip()}" for key in known)
    assert first in known or any(map(message.startswith, named)), message


def check_sound(raw, resolved):
    check_unchanged(at_scale(raw, resolved["scale"]), resolved)
    plain = copy.deepcopy(resolved)
    for experiment in plain["experiments"].values():
        assert experiment.pop("name")
    assert not list(VALIDATOR.iter_errors(plain))
    assert all(math.isfinite(v) for v in numbers(plain))
    for name, experiment in resolved["experiments"].items():
        assert re.fullmatch(r"[A-Za-z][A-Za-z0-9_]{0,79}", name)
        assert 0 < cost.flow_memory_mib(experiment, seed=resolved["seed"]) <= config.LARGEST_MEMORY
        assert 0 < cost.flow_minutes(experiment, seed=resolved["seed"], gpu=False) <= 24 * 60


def sound_or_refused(raw):
    """Which of the two, checked."""
    resolved, message = outcome(config.resolve, raw, SCHEMA, check_device=False)
    if message is None:
        check_sound(raw, resolved)
        return "sound"
    check_refusal(message, raw)
    return "refused"
