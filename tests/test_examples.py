"""The examples run, and the guides do what they say: their files, code and commands are taken from docs/guides.md as they stand."""

import re
import runpy
import shlex
import subprocess
import sys

import matplotlib
import numpy as np
import pytest
import xarray as xr

from driftrates import store
from workflows import ROOT, Workflow

GUIDES = (ROOT / "docs/guides.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"(?ms)^```(\w+)\n(.*?)^```$", GUIDES)
PYTHON, YAML, COMMANDS = ([text for language, text in BLOCKS if language == wanted] for wanted in ("python", "yaml", "sh"))
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_runs_from_top_to_bottom(example, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    cells = re.split(r"(?m)^# %%", example.read_text())
    assert cells[0] == "" and cells[1].startswith(" [markdown]") and len(cells) > 4
    with matplotlib.rc_context({"backend": "agg"}):
        runpy.run_path(str(example))
        matplotlib.pyplot.close("all")
    assert capsys.readouterr().out
    (figure,) = tmp_path.iterdir()
    assert figure.name == f"{example.stem}.png" and figure.stat().st_size > 10_000


def test_the_guides_name_every_example():
    assert set(re.findall(r"\(\.\./examples/(\w+)\.py\)", GUIDES)) == {path.stem for path in EXAMPLES}


def test_links_lead_somewhere():
    headings = {re.sub(r"[^\w -]", "", h.lower()).replace(" ", "-") for h in re.findall(r"(?m)^#+ (.*)$", GUIDES)}
    links = re.findall(r"\]\(([^)]*)\)", GUIDES)
    assert len(links) > 10
    for link in links:
        assert link[1:] in headings if link.startswith("#") else (ROOT / "docs" / link).is_file(), link


@pytest.fixture(scope="module")
def guided(tmp_path_factory):
    """A fresh copy of the project with everything that the guides say to write."""
    workflow = Workflow.fresh(tmp_path_factory.mktemp("guides") / "workflow")
    for text in YAML:
        (workflow.folder / re.match(r"# (\w+\.yaml)\n", text)[1]).write_text(text)
    for text in PYTHON:
        place = re.match(r"# (src/\S+\.py), (at the end|above (\w+))\n(.*)", text, re.DOTALL)
        if place:
            path = workflow.folder / place[1]
            before, marker, after = path.read_text().partition(f"\n{place[3]} = " if place[3] else "\0")
            assert bool(marker) == bool(place[3]), place[1]
            path.write_text(f"{before}\n\n{place[4]}\n{marker}{after}")
    done = subprocess.run([sys.executable, "-c", snippet("mine.csv")], **workflow.place(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return workflow


def snippet(word):
    (text,) = (text for text in PYTHON if word in text)
    return text


def targets(command):
    """A line of the guides, `snakemake --cores all OPTIONS -- TARGETS`, as arguments for the smoke scale."""
    program, *arguments = shlex.split(command)
    assert program == "snakemake"
    return [word for word in arguments if word not in ("--cores", "all", "1")]


def test_own_data_target_kernel_experiment_and_larger_n_run(guided):
    wanted = ["results/data/flow/mine.nc", "results/data/entropy/more.nc", "results/data/flow/large.nc", "kernel_profiles"]
    assert all(any(target in command for command in COMMANDS) for target in wanted)
    files = [f"{name}.yaml" for name in ("mine", "more", "large")]
    guided.run(*wanted, "--configfile", *files)
    with xr.open_dataset(guided.folder / wanted[0]) as mine:
        assert mine["squared_speed"].dims == ("bandwidth", "n_particles", "replicate", "time")
        assert mine["cloud_200"].sizes["component"] == 2
    entropy = store.read(guided.folder / wanted[1])
    assert entropy["path_residual"].max() < 1e-5 < entropy["path_residual_without_self"].min()
    assert entropy["divergence_residual"].max() < 1e-8
    assert np.isfinite(store.read(guided.folder / wanted[2])["squared_speed"]).all()

    planned = guided.plan("claims", "constants", "--configfile", "more.yaml")
    new = {f"measure_{name}/more" for name in ("observables", "constants", "occupancy")}
    assert new | {"judge_claims/entropy_budget", "collect_claims", "write_table/constants"} <= planned
    assert not {"simulate_flow/more", "measure_entropy/more"} & planned

    # The plot is in a process of its own, which finds the library of the copy.
    done = subprocess.run([sys.executable, "-c", snippet("kernel_profiles")], **guided.place(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert all((guided.folder / f"talk.{suffix}").is_file() for suffix in ("svg", "pdf", "png"))
    guided.edit("src/driftrates/figures/__init__.py", '"font.size": 7.0', '"font.size": 8.0')
    assert guided.plan("results/figures/kernel_profiles.pdf") == {"plot_figure/kernel_profiles"}


def test_the_projects_own_checks_pass_on_the_kernel(guided):
    (command,) = (command.strip() for command in COMMANDS if command.startswith("pytest"))
    _, kernels, sums, _, chosen = shlex.split(command)
    options = ["-q", "-p", "no:cacheprovider", "--rootdir", ROOT, "-c", ROOT / "pyproject.toml", "-o", f"pythonpath={ROOT / 'tests'}"]
    tests = [ROOT / kernels, *(ROOT / sums).glob("test_sums*.py")]
    environment = {**guided.place()["env"], "PYTEST_ADDOPTS": ""}
    command = [sys.executable, "-m", "pytest", *options, *tests, "-k", chosen, "-n", "0"]
    done = subprocess.run([str(c) for c in command], cwd=guided.folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:]
    assert int(re.search(r"(\d+) passed", done.stdout)[1]) > 40


def test_every_command_of_the_guides_is_one(guided):
    lines = [line for block in COMMANDS for line in block.splitlines()]
    for line in lines:
        words = shlex.split(line)
        if words[0] == "snakemake" and "|" not in words:
            assert set(targets(line)) & {"--", "kernel_profiles"}, line
        else:
            assert words[0] in {"snakemake", "pytest", "python", "conda"}, line
        for word in words:
            if re.fullmatch(r"[\w./]+\.(py|yaml)", word):
                assert (guided.folder / word).is_file() or (ROOT / word).is_file(), word
