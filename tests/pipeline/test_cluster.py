"""The recovery of a killed submission, with commands that only pretend to be SLURM's."""

import os
import platform
import subprocess
import sys
import time
from pathlib import Path

import pytest

from driftrates.pipeline import cluster

HERE = platform.node()
QUEUE = 'case "$*" in *run-1*) test -e {cancelled} || printf "run-1\\nrun-1\\n";; esac'


class Folder:
    """A folder with the record of two runs, jobs of the first in the queue, and a lock; commands that only pretend to be SLURM's."""

    def __init__(self, folder):
        self.folder, self.bin, self.cancelled = folder, folder / "bin", folder / "cancelled"
        self.log, self.locks = folder / ".snakemake/log", folder / ".snakemake/locks"
        for path in (self.bin, self.log, self.locks):
            path.mkdir(parents=True)
        self.record("b", "run-0")
        self.record("a", "run-1")
        self.locks.joinpath("0.output.lock").touch()
        self.command("squeue", QUEUE.format(cancelled=self.cancelled))
        self.command("scancel", f'echo "$@" >> {self.cancelled}')
        self.command("snakemake", f'test "$*" = --unlock && rm {self.locks}/* && echo unlock >> {self.cancelled}')

    def command(self, name, script):
        path = self.bin / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    def record(self, name, run, host=HERE):
        path = self.log / f"{name}.snakemake.log"
        path.write_text(f"SNAKEMAKE\n=========\n  Host: {host}\nSLURM run ID: {run}\n")
        os.utime(path, (len(list(self.log.iterdir())),) * 2)

    def recover(self, **options):
        return cluster.recover(self.folder, command=[str(self.bin / "snakemake")], **options)


@pytest.fixture
def killed(tmp_path, monkeypatch):
    killed = Folder(tmp_path)
    monkeypatch.setenv("PATH", f"{killed.bin}:/usr/bin:/bin")
    return killed


def test_recover_cancels_by_name_then_unlocks(killed):
    assert killed.recover() == ["cancelled 2 jobs of the run run-1", "took off the lock"]
    assert killed.cancelled.read_text().splitlines() == ["--name run-1", "unlock"], "in this order, and no other run's jobs"
    assert cluster.recover(killed.folder, command=["false"]) == []


def test_recover_keeps_the_lock_while_jobs_live(killed):
    killed.command("scancel", "exit 0")
    with pytest.raises(RuntimeError, match="jobs of the run run-1 do not end"):
        killed.recover(patience=0.6)
    assert list(killed.locks.iterdir())


@pytest.mark.parametrize("script", ["echo 'Unable to contact slurm controller' >&2; exit 1", None])
def test_recover_keeps_the_lock_where_slurm_does_not_answer(killed, script, monkeypatch):
    if script:
        killed.command("squeue", script)
    else:
        killed.bin.joinpath("squeue").unlink()
        monkeypatch.setenv("PATH", str(killed.bin))
    why = "Unable to contact slurm controller" if script else "No such file or directory: 'squeue'"
    with pytest.raises(RuntimeError, match=f"squeue does not say so .*{why}.*snakemake --unlock"):
        killed.recover()
    assert list(killed.locks.iterdir()) and not killed.cancelled.exists()


@pytest.mark.parametrize("jobs", [True, False])
def test_recover_leaves_the_run_of_another_machine_alone(killed, jobs):
    """A folder that many machines share: the processes of the others cannot be seen."""
    if jobs:
        killed.record("a", "run-1", host="login2")
    else:
        killed.record("c", "run-2", host="login2")
        killed.command("squeue", "exit 0")
    with pytest.raises(RuntimeError, match="was started on login2, .*: recover there"):
        killed.recover()
    assert list(killed.locks.iterdir()) and not killed.cancelled.exists()
    assert killed.recover(any_host=True)[-1] == "took off the lock"


def test_recover_asks_nothing_of_slurm_where_no_run_used_it(killed):
    for path in killed.log.iterdir():
        path.write_text("SNAKEMAKE\n  Host: login2\n")
    killed.bin.joinpath("squeue").unlink()
    assert killed.recover() == ["took off the lock"]


@pytest.mark.parametrize(
    ("arguments", "refused"),
    [
        (["snakemake"], True),
        (["/somewhere/bin/snakemake", "--cores", "2"], True),
        (["snakemake", "--mode", "remote"], False),
        ([".snakemake/scripts/tmp1.measure.py"], False),
    ],
)
def test_recover_refuses_while_snakemake_runs(killed, arguments, refused):
    running = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)", *arguments], cwd=killed.folder)
    try:
        end = time.monotonic() + 10
        while b"time.sleep" not in Path(f"/proc/{running.pid}/cmdline").read_bytes() and time.monotonic() < end:
            time.sleep(0.01)
        if refused:
            with pytest.raises(RuntimeError, match=rf"still runs in .* \(process {running.pid}\)"):
                killed.recover()
        else:
            assert len(killed.recover()) == 2
    finally:
        running.kill()
        running.wait()


def test_the_command_line(killed, capsys, monkeypatch):
    monkeypatch.chdir(killed.folder)
    for lock in killed.locks.iterdir():
        lock.unlink()
    assert cluster.main(["recover"]) == 0
    assert capsys.readouterr().out.startswith("cancelled 2 jobs of the run run-1\nRun your command again")
    assert cluster.main(["recover"]) == 0
    assert "nothing to put right" in capsys.readouterr().out
    killed.command("squeue", "exit 1")
    assert cluster.main(["recover"]) == 1
    assert capsys.readouterr().err.startswith("recover: jobs of earlier runs may live")
