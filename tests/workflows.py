"""The workflow as a user runs it, in folders of the tests."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
PARTS = ("Snakefile", "config.yaml", "workflow", "profiles", "envs", "src", "benchmarks", "tests/reference")


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
        return type(self)(folder)

    def command(self, *arguments, config=(), cores=2):
        return [sys.executable, "-m", "snakemake", "--cores", str(cores), *arguments, "--config", "scale=smoke", *config]

    def place(self):
        """Where and with which environment `command` runs."""
        return {"cwd": self.folder, "env": {**os.environ, "PYTHONPATH": str(self.folder / "src")}}

    def snakemake(self, *arguments, **options):
        return subprocess.run(self.command(*arguments, **options), **self.place(), capture_output=True, text=True)

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
        files = [p for part in ("data", "tables", "figures") for p in (results / part).rglob("*") if p.is_file()]
        kept = [p for p in files if p.stem not in ("runtime", "performance")]
        return {str(p.relative_to(results)): p.read_bytes() for p in kept}

    def edit(self, file, old, new):
        path = self.folder / file
        text = path.read_text()
        assert text.count(old) == 1, (file, old)
        path.write_text(text.replace(old, new))


def stages(log):
    """``stage`` or ``stage/wildcards`` of every job in Snakemake's messages, from the names of their logs."""
    return set(re.findall(r"^\s+log: results/logs/(\S+)\.log", log, re.MULTILINE))
