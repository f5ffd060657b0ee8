import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from driftrates.pipeline.digest import source_digest


def rules(workflow):
    """(name, text, script) of every rule with a script."""
    for path in sorted((workflow.folder / "workflow/rules").glob("*.smk")):
        for part in re.split(r"(?m)^(?= *rule\b)", path.read_text()):
            script = re.search(r"\"\.\./scripts/(\w+)\.py\"", part)
            if script:
                yield re.match(r" *rule ?(\w*)", part)[1], part, script[1]


def test_snakemake_finds_nothing_to_improve(untouched):
    done = untouched.snakemake("--lint")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "in a good condition" in done.stdout + done.stderr


def test_snakefmt_finds_nothing_to_change():
    command = [sys.executable, "-m", "snakefmt.snakefmt", "--check", "Snakefile", "workflow"]
    done = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("arguments", [["check"], ["format", "--check"]], ids=lambda arguments: arguments[0])
def test_ruff_finds_nothing_to_change(arguments):
    done = subprocess.run(
        [sys.executable, "-m", "ruff", *arguments, "--no-cache"], cwd=Path(__file__).parents[2], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_stage_has_one_name(untouched):
    found = list(rules(untouched))
    scripts = {p.stem for p in (untouched.folder / "workflow/scripts").glob("*.py")} - {"_stage"}
    assert {script for *_, script in found} == scripts
    for name, text, script in found:
        assert name in (script, ""), "a rule without a name of its own stands in a loop and is named by its figure or table"
        for place in ("logs", "benchmarks"):
            stem = "(measure|study)_" if script == "measure" else f"{script}[/.]"
            assert re.search(rf"\"<{place}>/{stem}", text), (script, place)
        assert f'stage_digest("{script}"' in text or re.search(rf"stage_digest\(\s*\"{script}\"", text), script


def test_scripts_touch_the_configuration_through_params_only(untouched):
    for path in (untouched.folder / "workflow/scripts").glob("*.py"):
        assert "snakemake.config" not in path.read_text(), path


@pytest.mark.parametrize("script", ["simulate_flow", "plot_figure", "judge_claims"])
def test_the_digest_of_a_stage_includes_its_script(untouched, tmp_path, script):
    folder = tmp_path / "scripts"
    folder.mkdir()
    for path in (untouched.folder / "workflow/scripts").glob("*.py"):
        (folder / path.name).write_text(path.read_text().replace("text = ", "text = '' + "))
    assert source_digest(folder / f"{script}.py") != source_digest(untouched.folder / f"workflow/scripts/{script}.py")


def test_the_root_snakefile_is_short_and_holds_the_default_target(untouched):
    text = (untouched.folder / "Snakefile").read_text()
    assert len(text.splitlines()) < 80
    assert "rule all:" in text


def test_the_default_profile_gives_a_reason_for_each_value(untouched):
    text = (untouched.folder / "profiles/default/profile.yaml").read_text()
    assert set(yaml.safe_load(text)) >= {"rerun-triggers", "max-checksum-file-size", "resources"}
    lines = text.splitlines()
    for i, line in enumerate(lines):
        if line and not line.startswith("#"):
            assert lines[i - 1].startswith("#"), line
