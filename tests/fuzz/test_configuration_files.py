"""Damaged files of the configuration: each is read as Snakemake reads it, or is refused in one line that names the place."""

import json
import os
import re
from collections import Counter

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from snakemake.common.configfile import load_configfile

from driftrates.pipeline import configfile
from fuzzing import CONFIGURATION, SMALL, examples, outcome, sound_or_refused
from workflows import ROOT, Workflow

TEXT = (ROOT / "config.yaml").read_text()
SNIPPETS = [
    "\t", "\x00", "\ufeff", "\x85", "\u2028", "\x1b", "\ud7ff", ": ", " #", "- ", "{", "}", "[", "]", ",", '"', "'", "|", ">", "%", "@",
    "`", "\n\n", "&a ", "*a", "*gaussian", "<<: *a", "<<: [1]", "? ", "---\n", "...\n", "%YAML 3.0\n",
    "!!python/object/apply:os.system [touch executed]", "!!python/name:os.system ", "!!python/tuple [1]", "!!binary aGk=", "!!set {a}",
    "!!timestamp 2020-01-01", "!!str ", "!!int ", "!!float 1", "!x ", "yes", "no", "on", "~", "010", "0x1f", "0b11", "1_000", "190:20:30",
    "1e-6", "1e400", "1.0e+400", "1.0e-400", ".inf", "-.nan", "2020-01-01", "2020-01-01 10:00:00", "9" * 50, "9" * 5000,
    "\nseed: 1\nseed: 2\n", "__use_yte__: true\n", '"?1+1": 2\n', "é", "𝔸", "\\ud800", '"\\ud800"', "[" * 3000, "{a: " * 3000, "&x [*x]",
    "a: &x {b: *x}\n", "\r", "\r\n", " ", "    ", "\n  experiments:\n", "\nexperiments:\n",
]  # fmt: skip
MAPS = TEXT[TEXT.index("\nfield_maps:") : TEXT.index("\nmeasurements:")]
WRITTEN = [yaml.safe_dump(SMALL), yaml.safe_dump(SMALL, default_flow_style=True), json.dumps(SMALL), TEXT[:3000], MAPS]


@st.composite
def damaged_text(draw):
    """A file with pieces put anywhere, or in the place of a value."""
    text = draw(st.sampled_from(WRITTEN))
    for _ in range(draw(st.integers(1, 2))):
        start = draw(st.integers(0, len(text)))
        anywhere = start, start + draw(st.sampled_from([0, 0, 1, 12]))
        values = [match.span() for match in re.finditer(r"(?<=: )[\w.]+", text)]
        start, stop = draw(st.sampled_from([anywhere, *values[:30]]))
        piece = draw(st.sampled_from([*SNIPPETS, *(other[100:140] for other in WRITTEN)]))
        text = text[:start] + piece + text[stop:]
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


@pytest.mark.parametrize("text", WRITTEN, ids=["blocks", "flow", "json", "beginning", "maps"])
def test_every_file_is_read_before_it_is_damaged(tmp_path, text):
    (tmp_path / "config.yaml").write_text(text, encoding="utf-8")
    raw = configfile.read(tmp_path / "config.yaml")
    assert raw == yaml.safe_load(text) and (raw == SMALL or set(raw) < set(CONFIGURATION))


def test_a_damaged_file_means_what_snakemake_reads_or_is_refused(tmp_path):
    path, found = tmp_path / "config.yaml", Counter()

    @examples(250)
    @given(damaged_text())
    def check(text):
        path.write_text(text, encoding="utf-8", errors="surrogatepass", newline="")
        raw, message = outcome(configfile.read, path)
        if message is not None:
            found["unread"] += 1
            assert message.startswith(f"configuration, file {path}: ")
            return
        expected, error = loaded(path)
        assert error is None, error
        assert repr(raw) == repr(plain(expected))
        found[sound_or_refused(raw)] += 1

    check()
    assert set(found) == {"unread", "refused", "sound"} and found["unread"] < 0.8 * found.total(), found


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
    assert configfile.read(ROOT / "config.yaml") == load_configfile(ROOT / "config.yaml") == CONFIGURATION


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
