"""Configurations with something wrong in them: each resolves to what it says, or is refused in one line that names the place."""

import copy
import datetime
import json
import math
import os
import re
from collections import Counter
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from snakemake.common.configfile import load_configfile

from driftrates.pipeline import config, configfile, cost
from fuzzing import examples, outcome
from workflows import Workflow

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "config.yaml").read_text()
RAW = yaml.safe_load(TEXT)
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
    "field_maps": {"map": {"experiments": ["moons"], "box": 2.0, "loops": [{"centre": [0.0, 0.0], "radius": 1.0}]}},
    "kernels": [{"name": "gaussian"}, {"name": "inverse_multiquadric", "dof": 3.0}],
    "kernel_dimensions": [1, 2],
}
BASES = [SMALL] * 12 + [
    {"scale": "smoke", "seed": 1, "experiments": {name: experiment}, "measurements": RAW["measurements"]}
    for name, experiment in RAW["experiments"].items()
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
NUMBERS = [0, 1, -1, 2, 3, 7, 10**9, 10**12, 2**53 - 1, 2**53, 2**63, 10**18, 10**400, -(10**5000), 0.0, -0.0, 0.5, 1.0, 2.0, 8.0, 1e-3]
NUMBERS += [1e-16, 1e-100, 5e-324, 1e100, 1e154, 1e200, 1.7e308, -1e308, math.nan, math.inf, -math.inf]
TEXTS = [
    "",
    " ",
    "x",
    "no",
    "yes",
    "010",
    "1e-6",
    "1.0",
    "nan",
    "inf",
    "null",
    "a/b",
    "..",
    "../../etc/passwd",
    "/dev/zero",
    "a\n",
    "Ａ",
    "ключ",
]
TEXTS += [
    "\ud800",
    "\x1b[2J",
    "\x00",
    "\u202ex",
    "{x}",
    "<data>",
    "%s",
    "__import__('os').abort()",
    "x" * 300,
    "file",
    "gaussian",
    "laplace",
]
TEXTS += ["smoke", "paper", "float32", "moons", "digits", "eight_gaussians", "mixture", "http://x/y.csv", "~/x.csv", "C:\\x.npy"]
OTHERS = [
    None,
    True,
    False,
    [],
    {},
    [[]],
    [None],
    [True, False],
    [0],
    [1, 1.0],
    [True, 0.5],
    {"smoke": 1},
    {"smoke": 2, "paper": 3, "full": 4},
]
OTHERS += [{"smok": 1}, {"paper": 3}, {"smoke": {"smoke": {"smoke": 0.5}}}, {1: 2}, {True: 1}, {None: 1}, {(1, 2): 3}, {"name": "gaussian"}]
OTHERS += [
    {"name": "file", "path": "/etc/passwd"},
    {"name": "file", "path": "../../etc/passwd.csv"},
    {"name": "gaussian", "dimension": 10**6},
]
OTHERS += [
    {"name": "gaussian", "dimension": 10**12, "size": 2},
    {"name": "two_moons", "size": 10**12},
    {"name": "uniform", "dimension": 10**6},
]
OTHERS += [datetime.date(2020, 1, 1), b"x", 1j, (1, 2), {1, 2}, object(), "x" * 10**6, ENDLESS, LAUGHS, DEEP]
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


RESULTS = Counter()


@examples(250)
@given(mutated())
def test_a_changed_configuration_is_sound_or_refused(raw):
    resolved, message = outcome(config.resolve, raw, SCHEMA, check_device=False)
    RESULTS["sound" if message is None else "refused"] += 1
    if message is None:
        check_sound(raw, resolved)
    else:
        check_refusal(message, raw)


SNIPPETS = [
    "\t",
    "\x00",
    "\ufeff",
    "\x85",
    "\u2028",
    "\x1b",
    "\ud7ff",
    ": ",
    " #",
    "- ",
    "{",
    "}",
    "[",
    "]",
    ",",
    '"',
    "'",
    "|",
    ">",
    "%",
    "@",
    "`",
    "\n\n",
]
SNIPPETS += [
    "&a ",
    "*a",
    "*gaussian",
    "<<: *a",
    "<<: [1]",
    "? ",
    "---\n",
    "...\n",
    "%YAML 3.0\n",
    "!!python/object/apply:os.system [touch executed]",
]
SNIPPETS += [
    "!!python/name:os.system ",
    "!!python/tuple [1]",
    "!!binary aGk=",
    "!!set {a}",
    "!!timestamp 2020-01-01",
    "!!str ",
    "!!int ",
    "!!float 1",
]
SNIPPETS += [
    "!x ",
    "yes",
    "no",
    "on",
    "~",
    "010",
    "0x1f",
    "0b11",
    "1_000",
    "190:20:30",
    "1e-6",
    "1e400",
    "1.0e+400",
    "1.0e-400",
    ".inf",
    "-.nan",
]
SNIPPETS += [
    "2020-01-01",
    "2020-01-01 10:00:00",
    "9" * 50,
    "9" * 5000,
    "\nseed: 1\nseed: 2\n",
    "__use_yte__: true\n",
    '"?1+1": 2\n',
    "é",
    "𝔸",
    "\\ud800",
    '"\\ud800"',
]
SNIPPETS += ["[" * 3000, "{a: " * 3000, "&x [*x]", "a: &x {b: *x}\n", "\r", "\r\n", " ", "    ", "\n  experiments:\n", "\nexperiments:\n"]
WRITTEN = [yaml.safe_dump(SMALL), yaml.safe_dump(SMALL, default_flow_style=True), json.dumps(SMALL), TEXT[:3000], TEXT[-3000:]]


@st.composite
def damaged_text(draw):
    text = draw(st.sampled_from(WRITTEN))
    for _ in range(draw(st.integers(1, 2))):
        i = draw(st.integers(0, len(text)))
        piece = draw(st.sampled_from(SNIPPETS) | st.sampled_from(WRITTEN).map(lambda other: other[100:140]))
        text = text[:i] + piece + text[i + draw(st.sampled_from([0, 0, 1, 12])) :]
    return text


def plain(value):
    if isinstance(value, dict):
        return {key: plain(inner) for key, inner in value.items()}
    return list(map(plain, value)) if isinstance(value, list) else value


def loaded(path):
    """As Snakemake reads a file of the configuration."""
    try:
        return load_configfile(path), None
    except Exception as error:
        return None, error


@examples(250)
@given(text=damaged_text())
def test_a_damaged_file_means_what_snakemake_reads_or_is_refused(tmp_path_factory, text):
    path = tmp_path_factory.getbasetemp() / "config.yaml"
    path.write_text(text, encoding="utf-8", errors="surrogatepass", newline="")
    raw, message = outcome(configfile.read, path)
    RESULTS["read" if message is None else "unread"] += 1
    if message is not None:
        assert message.startswith(f"configuration, file {path}: ")
        return
    expected, error = loaded(path)
    assert error is None, error
    assert repr(raw) == repr(plain(expected))
    resolved, message = outcome(config.resolve, raw, SCHEMA, check_device=False)
    if message is None:
        check_sound(raw, resolved)
    else:
        check_refusal(message, raw)


FILES = {
    "empty": (b"", "is empty"),
    "blank": (b" \n# nothing\n", "is empty"),
    "list": (b"- seed: 1\n", "a mapping of keys to values is needed"),
    "text": (b"seed\n", "a mapping of keys to values is needed"),
    "number": (b"3\n", "a mapping of keys to values is needed"),
    "doubled key": (b"seed: 1\nscale: smoke\nseed: 2\n", "line 3: the key 'seed' stands twice"),
    "doubled key in JSON": (b'{"seed": 1, "seed": 2}', "the key 'seed' stands twice"),
    "doubled merge": (b"a: &a {x: 1}\nb:\n  <<: *a\n  <<: *a\n", "line 4: the key '<<' stands twice"),
    "octal": (b"seed: 010\n", "line 1: YAML does not read '010' as it stands"),
    "hexadecimal": (b"seed: 0x10\n", "does not read '0x10'"),
    "base sixty": (b"seed: 1:30\n", "does not read '1:30'"),
    "underscores": (b"seed: 1_0\n", "does not read '1_0'"),
    "too small": (b"seed: 1.0e-400\n", "too small for double precision"),
    "too small in JSON": (b'{"seed": 1e-400}', "too small for double precision"),
    "too many digits": (b"seed: " + b"9" * 5000, "too many digits"),
    "too many digits in JSON": (b'{"seed": ' + b"9" * 5000 + b"}", "too many digits"),
    "date": (b"seed: 2020-01-01\n", "read as a timestamp"),
    "binary": (b"seed: !!binary aGk=\n", "tag .* is not allowed"),
    "set": (b"seed: !!set {a}\n", "tag .* is not allowed"),
    "python object": (b'seed: !!python/object/apply:os.system ["touch executed"]\n', "tag .*os.system' is not allowed"),
    "python name": (b"seed: !!python/name:os.system\n", "tag .* is not allowed"),
    "python tuple": (b"seed: !!python/tuple [1, 2]\n", "tag .* is not allowed"),
    "own tag": (b"seed: !include other.yaml\n", "tag '!include' is not allowed"),
    "wrong tag": (b"seed: !!int x\n", "'x' is no int"),
    "null that is none": (b"seed: !!null x\n", "'x' is no null"),
    "template": (b'__use_yte__: true\nseed: ?__import__("os").system("touch executed")\n', "never executed"),
    "laughs": (b"a: &a [x]\n" + b"".join(b"%c: &%c [%s]\n" % (i, i, b"*%c," % (i - 1) * 9) for i in range(98, 110)), "more than"),
    "reference to itself": (b"a: &a {b: *a}\n", "has no end"),
    "reference to nothing": (b"a: *b\n", "undefined alias"),
    "word that is a truth value": (b"on: 1\n", "'on' is no key; put it in quotes"),
    "number as a key": (b"1: 1\n", "'1' is no key"),
    "list as a key": (b"? [1]\n: 1\n", "is no key"),
    "tab": (b"seed:\n\t- 1\n", "line 2: is not YAML"),
    "two documents": (b"seed: 1\n---\nseed: 2\n", "is not YAML"),
    "zero byte": (b"seed: 1\x00\n", "is not YAML"),
    "latin-1": (b"# \xe9\nseed: 1\n", "is not UTF-8 text"),
    "UTF-16": ("seed: 1\n".encode("utf-16"), "is not UTF-8 text"),
    "deep": (b"a: " + b"[" * 5000, "nested more than 64 levels"),
    "deep in JSON": (b'{"a":' * 5000 + b"1" + b"}" * 5000, "nested more than 64 levels"),
    "large": (b"# " + b"x" * 2**22, "is larger than"),
}  # fmt: skip


@pytest.mark.parametrize("case", FILES)
def test_files_that_would_mean_something_else_are_refused(case, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    content, expected = FILES[case]
    (tmp_path / "mine.yaml").write_bytes(content)
    raw, message = outcome(configfile.read, "mine.yaml")
    assert raw is None and re.match(f"configuration, file mine.yaml: .*{expected}", message), message
    assert not (tmp_path / "executed").exists()


def test_files_must_be_files(tmp_path):

    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path, tmp_path / "missing", "/dev/zero"):
        assert "there is no such file" in outcome(configfile.read, path)[1]


def test_the_configuration_of_the_project_is_read_as_snakemake_reads_it():
    assert configfile.read(ROOT / "config.yaml") == load_configfile(ROOT / "config.yaml") == RAW


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


TERMINAL = {
    "doubled key": ("seed: 20260522", "seed: 1\nseed: 2", "config.yaml: line 6: the key 'seed' stands twice in one mapping"),
    "tag": ("seed: 20260522", 'seed: !!python/object/apply:os.system ["touch executed"]', "os.system' is not allowed"),
    "template": ("seed: 20260522", '__use_yte__: true\n"?open(\'executed\', \'w\')": 1', "never executed"),
    "escape": ("seed: 20260522", '"\\e[2J\\ud800": 1', "configuration, \\x1b[2J\\ud800: is unknown"),
}  # fmt: skip


@pytest.mark.parametrize("case", TERMINAL)
def test_the_message_reaches_the_terminal_and_nothing_is_executed(case, tmp_path):
    workflow = Workflow.fresh(tmp_path / "workflow")
    old, new, expected = TERMINAL[case]
    workflow.edit("config.yaml", old, new)
    done = workflow.snakemake("--dry-run")
    assert done.returncode != 0 and "Traceback" not in done.stderr + done.stdout
    messages = [line for line in (done.stderr + done.stdout).splitlines() if line.startswith("configuration, ")]
    assert len(messages) == 1 and expected in messages[0], done.stderr + done.stdout
    assert not (workflow.folder / "executed").exists() and not (workflow.folder / "results").exists()
