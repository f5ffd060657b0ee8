"""Configurations with something wrong in them: each resolves to what it says, or is refused in one line that names the place."""

import copy
import datetime
import math
import re
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from driftrates.pipeline import config
from fuzzing import CONFIGURATION, SCHEMA, SMALL, check_sound, examples, outcome, sound_or_refused

BASES = [SMALL] * 12 + [
    {"scale": "smoke", "seed": 1, "experiments": {name: experiment}, "measurements": CONFIGURATION["measurements"]}
    for name, experiment in CONFIGURATION["experiments"].items()
]


def described_keys(schema):
    if isinstance(schema, dict):
        yield from schema.get("properties", {})
        for inner in schema.values():
            yield from described_keys(inner)


KEYS = sorted({*described_keys(SCHEMA), *config.SCALES, "path", "columns", "dimension", "components", "eps", "dof", "noise"})
ENDLESS = []
ENDLESS.append(ENDLESS)
LAUGHS = ["x"]
for _ in range(12):
    LAUGHS = [LAUGHS] * 9
DEEP = 1.0
for _ in range(5000):
    DEEP = [DEEP]
NUMBERS = [
    0, 1, -1, 2, 3, 7, 10**9, 10**12, 2**53 - 1, 2**53, 2**63, 10**18, 10**400, -(10**5000), 0.0, -0.0, 0.5, 1.0, 2.0, 8.0, 1e-3, 1e-16,
    1e-100, 5e-324, 1e100, 1e154, 1e200, 1.7e308, -1e308, math.nan, math.inf, -math.inf,
]  # fmt: skip
TEXTS = [
    "", " ", "x", "no", "yes", "010", "1e-6", "1.0", "nan", "inf", "null", "a/b", "..", "../../etc/passwd", "/dev/zero", "a\n", "Ａ",
    "ключ", "\ud800", "\x1b[2J", "\x00", "\u202ex", "{x}", "<data>", "%s", "__import__('os').abort()", "x" * 300, "file", "gaussian",
    "laplace", "smoke", "paper", "float32", "moons", "digits", "eight_gaussians", "mixture", "http://x/y.csv", "~/x.csv", "C:\\x.npy",
]  # fmt: skip
OTHERS = [
    None, True, False, [], {}, [[]], [None], [True, False], [0], [1, 1.0], [True, 0.5], {"smoke": 1}, {"smoke": 2, "paper": 3, "full": 4},
    {"smok": 1}, {"paper": 3}, {"smoke": {"smoke": {"smoke": 0.5}}}, {1: 2}, {True: 1}, {None: 1}, {(1, 2): 3}, {"name": "gaussian"},
    {"name": "file", "path": "/etc/passwd"}, {"name": "file", "path": "../../etc/passwd.csv"}, {"name": "gaussian", "dimension": 10**6},
    {"name": "gaussian", "dimension": 10**12, "size": 2}, {"name": "two_moons", "size": 10**12}, {"name": "uniform", "dimension": 10**6},
    datetime.date(2020, 1, 1), b"x", 1j, (1, 2), {1, 2}, object(), "x" * 10**6, ENDLESS, LAUGHS, DEEP,
]  # fmt: skip
ODD = st.sampled_from(NUMBERS) | st.sampled_from(TEXTS) | st.sampled_from(range(len(OTHERS))).map(lambda i: OTHERS[i])


def places(value, path=()):
    """Paths of all entries of nested mappings and lists."""
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield (*path, key)
        yield from places(inner, (*path, key))


def typo(draw, word):
    i, c = draw(st.integers(0, len(word))), draw(st.sampled_from("aZ_9 .-/\\é\u200b\n\x1b"))
    return draw(st.sampled_from([word[:i] + word[i + 1 :], word[:i] + c + word[i:], word.upper(), word + word, word[::-1], c]))


@st.composite
def mutated(draw):
    base = draw(st.sampled_from(BASES))
    raw = copy.deepcopy(base)
    for _ in range(draw(st.integers(1, 3))):
        path = draw(st.sampled_from(list(places(base))))
        parent = raw
        try:
            for key in path[:-1]:
                parent = parent[key]
            parent[path[-1]]
        except (LookupError, TypeError):  # an earlier change took the place away
            continue
        if not isinstance(parent, (dict, list)):
            continue
        old, kind = parent[path[-1]], draw(st.sampled_from(["odd", "odd", "odd", "delete", "rename", "insert", "scale", "wrap", "other"]))
        if kind == "delete":
            del parent[path[-1]]
        elif kind == "rename" and isinstance(parent, dict):
            parent[typo(draw, path[-1])] = parent.pop(path[-1])
        elif kind == "insert" and isinstance(parent, dict):
            parent[draw(st.sampled_from(KEYS) | st.sampled_from([1, None, True, 2.5, (1, 2)]))] = draw(ODD)
        elif kind == "scale" and isinstance(old, (int, float)) and not isinstance(old, bool):
            parent[path[-1]] = old * draw(st.sampled_from([-1, 0, 2, 10**3, 10**6, 10**12, 0.5, 1e-9, 1e30, 1e90]))
        elif kind == "wrap":
            parent[path[-1]] = draw(
                st.sampled_from([[old], [old, old], {"smoke": old}, {"paper": old}, {"smoke": old, "x": old}, config.shown(old)])
            )
        elif kind == "other":
            parent[path[-1]] = copy.deepcopy(draw(st.sampled_from([*base["experiments"].values(), *base.values()])))
        else:
            parent[path[-1]] = draw(ODD)
    return raw


def test_all_configurations_are_sound_before_they_are_changed():
    for raw in BASES[11:]:
        check_sound(raw, config.resolve(raw, SCHEMA, check_device=False))


def test_a_changed_configuration_is_sound_or_refused():
    found = Counter()

    @examples(250)
    @given(mutated())
    def check(raw):
        found[sound_or_refused(raw)] += 1

    check()
    assert min(found["sound"], found["refused"]) > 0.1 * found.total(), found


P = ("experiments", "plane")
VALUES = {
    "N = 10^12": ((*P, "n_particles"), 10**12, r"plane\.n_particles: .* allowed: a value <= |plane: would need about .* GiB of memory"),
    "M = 10^12": (("experiments", "moons", "target", "data", "size"), 10**12, "moons.target.data"),
    "start of 10^12": (("experiments", "moons", "n_particles"), [10**12], "moons"),
    "d = 10^6": ((*P, "target"), {"data": {"name": "gaussian", "dimension": 10**6, "size": 50}}, "from 1 to 10000"),
    "d = 10^12": ((*P, "target"), {"data": {"name": "gaussian", "dimension": 10**12, "size": 50}}, "from 1 to 10000"),
    "10^12 replicates": ((*P, "replicates"), 10**12, "plane: would need about .* GiB|plane.replicates"),
    "10^12 times": ((*P, "times", "count"), 10**12, "plane: would need about .* GiB|plane.times.count"),
    "10^30 steps": (("experiments", "moons", "integrator", "step"), 1e-30, "integrator.step: .* into more than"),
    "log times without a stop": (("experiments", "moons", "times", "count"), 2, "times.count: spacing: log needs at least 3"),
    "dimension of the table": (("kernel_dimensions",), [10**6], r"kernels\[0\]: .* leaves double precision in d = 1000000"),
    "no power of two": (("measurements",), {"entropy": {"samples": 500}}, r"entropy\.samples: 500 is not allowed; allowed: a power of two"),
    "samples": (("measurements",), {"entropy": {"samples": 10**12}}, r"measurements\.entropy\.samples: .* allowed: a value <="),
    "no experiments": (("experiments",), {}, "experiments: is empty; at least 1 entry"),
    "whole number as 8.0": ((*P, "n_particles"), 8.0, r"n_particles: 8\.0 is not allowed; allowed: a whole number"),
    "truth among numbers": ((*P, "target", "mixture", "standard_deviations"), [True, 0.5], "not true or false"),
    "name that ends a line": (("experiments", "a\n"), SMALL["experiments"]["moons"], "no name for this"),
    "name of 300 letters": (("experiments", "a" * 300), SMALL["experiments"]["moons"], "at most 80 characters"),
    "name with dots": (("experiments", "../x"), SMALL["experiments"]["moons"], "no name for this"),
    "escape in a key": (("\x1b[2J",), 1, r"\\x1b\[2J: is unknown"),
    "parameter that is no text": (("kernels",), [{"name": "gaussian", 3: 1.0}], r"kernels\[0\]: 3 is no key"),
    "huge": ((*P, "bandwidth"), 1e200, "plane.bandwidth: 1e\\+200 is not allowed; allowed: 0, or a magnitude from"),
    "square that overflows": (("experiments", "moons", "target", "data"), {"name": "thin_vertical", "standard_deviation_along": 1e160}, ""),
    "no mapping": ((), [1], "top level"),
}  # fmt: skip


@pytest.mark.parametrize("case", VALUES)
def test_values_beyond_any_machine_are_refused_before_work(case):
    path, value, expected = VALUES[case]
    raw = copy.deepcopy(SMALL)
    inner = raw
    for key in path[:-1]:
        inner = inner[key]
    if path:
        inner[path[-1]] = value
    _, message = outcome(config.resolve, raw if path else value, SCHEMA, check_device=False)
    assert message is not None and re.search(expected, message), message
