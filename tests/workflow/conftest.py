import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PARTS = ("Snakefile", "config.yaml", "workflow", "profiles", "envs", "src")


class Workflow:
    """A copy of the workflow and of the library in its own folder, run as a user would, at the smoke scale."""

    def __init__(self, folder):
        self.folder = folder

    @classmethod
    def fresh(cls, folder):
        for part in PARTS:
            source = ROOT / part
            if source.is_dir():
                shutil.copytree(source, folder / part, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
            else:
                folder.mkdir(parents=True, exist_ok=True)
                shutil.copy2(source, folder / part)
        return cls(folder)

    def copy(self, folder):
        """A copy with all results, dates and records."""
        shutil.copytree(self.folder, folder)
        return Workflow(folder)

    def snakemake(self, *arguments, config=(), cores=2):
        environment = {**os.environ, "PYTHONPATH": str(self.folder / "src")}
        command = [sys.executable, "-m", "snakemake", "--cores", str(cores), *arguments, "--config", "scale=smoke", *config]
        return subprocess.run(command, cwd=self.folder, env=environment, capture_output=True, text=True)

    def run(self, *arguments, **options):
        """Run to a good end; returns the stages run."""
        done = self.snakemake(*arguments, **options)
        assert done.returncode == 0, done.stderr[-4000:]
        return stages(done.stderr)

    def plan(self, *arguments, **options):
        """The stages that a run would run."""
        done = self.snakemake("--dry-run", *arguments, **options)
        assert done.returncode == 0, done.stderr[-4000:]
        return stages(done.stderr + done.stdout)

    def outputs(self):
        """Bytes of every result by its name; logs and costs differ from run to run."""
        results = self.folder / "results"
        kept = [p for part in ("data", "tables", "figures") for p in (results / part).rglob("*") if p.is_file() and p.stem != "runtime"]
        return {str(p.relative_to(results)): p.read_bytes() for p in kept}

    def edit(self, file, old, new):
        path = self.folder / file
        text = path.read_text()
        assert text.count(old) == 1, (file, old)
        path.write_text(text.replace(old, new))


def stages(log):
    """``stage`` or ``stage/wildcards`` of every job in Snakemake's messages, from the names of their logs."""
    return set(re.findall(r"^\s+log: results/logs/(\S+)\.log", log, re.MULTILINE))


@pytest.fixture(scope="session")
def smoke(tmp_path_factory):
    """The whole workflow, run once; not to be changed by a test."""
    workflow = Workflow.fresh(tmp_path_factory.mktemp("smoke") / "workflow")
    workflow.ran = workflow.run()
    return workflow


@pytest.fixture
def scratch(smoke, tmp_path):
    """A copy of the finished workflow to change."""
    return smoke.copy(tmp_path / "workflow")


@pytest.fixture(scope="session")
def untouched(tmp_path_factory):
    """A workflow that never ran; not to be changed by a test."""
    return Workflow.fresh(tmp_path_factory.mktemp("untouched") / "workflow")
