"""`workflow/debug.py` runs the script of one job in its own process, as Snakemake would run it, beside the results."""

import subprocess
import sys

import pytest


def debug(workflow, *arguments, before=(), typed=None):
    command = [sys.executable, *before, "workflow/debug.py", *arguments, "--config", "scale=smoke"]
    return subprocess.run(command, **workflow.place(), input=typed, capture_output=True, text=True)


@pytest.mark.parametrize(
    ("job", "made", "heard"),
    [
        (["simulate_flow", "experiment=entropy_d1"], ["data/flow/entropy_d1.nc"], "entropy_d1: N = 16, h = 0.3"),
        (["measure_entropy", "experiment=entropy_d1"], ["data/entropy/entropy_d1.nc"], ""),
        (["study_growth"], ["data/growth.nc"], ""),
        (["judge_claims", "chapter=laplace_field"], ["data/claims/laplace_field.csv"], ""),
        (["figure1"], [f"figures/figure1.{suffix}" for suffix in ("svg", "pdf", "png")], ""),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_a_job_makes_the_bytes_of_the_workflow_elsewhere(smoke, tmp_path, job, made, heard):
    results = smoke.folder / "results"
    dates = {path: path.stat().st_mtime_ns for path in results.rglob("*")}
    done = debug(smoke, *job, "--output", tmp_path)
    assert done.returncode == 0, done.stderr
    assert heard in done.stdout
    assert {str(p.relative_to(tmp_path / "results")) for p in tmp_path.rglob("*") if p.is_file()} == set(made)
    for name in made:
        assert (tmp_path / "results" / name).read_bytes() == (results / name).read_bytes(), name
        assert str(tmp_path / "results" / name) in done.stdout
    assert {path: path.stat().st_mtime_ns for path in results.rglob("*")} == dates


def test_a_breakpoint_in_a_script_stops_there(smoke, tmp_path):
    typed = "b scripts/measure.py:13\nc\np 'stopped', snakemake.rule, 'path_residual' in measured\nq\n"
    done = debug(smoke, "measure_entropy", "experiment=entropy_d1", "--output", tmp_path, before=["-m", "pdb"], typed=typed)
    assert "('stopped', 'measure_entropy', True)" in done.stdout, done.stdout + done.stderr


def test_an_exception_reaches_the_debugger(smoke, tmp_path):
    (tmp_path / "results/data/entropy/entropy_d1.nc").mkdir(parents=True)
    job = ["measure_entropy", "experiment=entropy_d1", "--output", tmp_path]
    done = debug(smoke, *job, before=["-m", "pdb"], typed="c\np 'here', path.name\nq\n")
    assert "Uncaught exception. Entering post mortem debugging" in done.stdout
    assert "('here', 'entropy_d1.nc')" in done.stdout, done.stdout


@pytest.mark.parametrize(
    ("job", "message"),
    [
        (["measure_entrpy"], "there is no rule 'measure_entrpy' (did you mean 'measure_entropy'?)"),
        (["claims"], "rule claims runs no script"),
        (["measure_entropy"], "rule measure_entropy takes experiment=.., not none"),
        (["measure_entropy", "experiment=entropyd1"], "experiment=entropyd1 is not allowed (did you mean 'entropy_d1'?)"),
        (["measure_entropy", "entropy_d1"], "'entropy_d1' is not NAME=VALUE"),
        (["study_growth", "--configfile", "nowhere.yaml"], "nowhere.yaml"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_is_no_job_is_named(untouched, job, message):
    done = debug(untouched, *job)
    assert done.returncode != 0
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert not (untouched.folder / "results").exists()


def test_missing_inputs_are_named_with_the_command_that_makes_them(untouched):
    done = debug(untouched, "measure_entropy", "experiment=entropy_d1")
    assert done.returncode != 0
    command = done.stderr.strip().splitlines()[-1]
    assert command == "snakemake --cores all --config scale=smoke -- results/data/flow/entropy_d1.nc"
    assert untouched.plan("results/data/flow/entropy_d1.nc") == {"simulate_flow/entropy_d1"}
