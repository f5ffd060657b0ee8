"""The whole process tree killed at random moments, again and again, until the documented command completes the work."""

import os
import re
import signal
import subprocess
import time
from pathlib import Path

import numpy as np

from driftrates import store

# What the killer waits for (files that appear or change) and how long after it at most; "early" waits for nothing.
MOMENTS = {
    "early": ((), 4.0),
    "job": ((".snakemake/incomplete/*",), 2.0),
    "write": (("results/data/**/.*", "results/figures/.*", "results/tables/.*"), 0.01),
    "output": (("results/data/**/[!.]*.nc", "results/figures/[!.]*", "results/tables/[!.]*"), 0.05),
    "checkpoint": (("results/checkpoints/*",), 0.2),
}
# The moment, and the how-manieth file of its kind starts the delay: jobs are finished before most kills.
KILLS = [("write", 1), ("early", 0), ("checkpoint", 2), ("output", 4), ("checkpoint", 1), ("job", 4), ("write", 3), ("output", 3)]


def found(workflow, patterns):
    files = set()
    for path in (p for pattern in patterns for p in workflow.folder.glob(pattern)):
        try:
            files.add((path, path.stat().st_mtime_ns))
        except FileNotFoundError:
            pass
    return files


def living(session):
    """Processes of a session that are not yet dead."""
    numbers = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, _, owner = path.read_text().rpartition(")")[2].split()[:4]
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(owner) == session and state not in "ZX":
            numbers.append(int(path.parent.name))
    return numbers


def run_and_kill(workflow, targets, kind, count, rng):
    """Start the workflow and kill all its processes at such a moment; its messages, and whether it was killed before its end."""
    patterns, delay = MOMENTS[kind]
    log = workflow.folder / "terminal.log"
    with log.open("w") as stream:
        before, new = found(workflow, patterns), set()
        process = subprocess.Popen(workflow.command(*targets), **workflow.place(), stderr=stream, stdout=stream, start_new_session=True)
        try:
            while process.poll() is None and len(new) < count:
                new |= found(workflow, patterns) - before
                time.sleep(0.004)
            time.sleep(delay * rng.random())
        finally:
            while alive := living(process.pid):
                for number in alive:
                    try:
                        os.kill(number, signal.SIGKILL)
                    except ProcessLookupError:
                        pass
            process.wait()
    return log.read_text(), process.returncode == -signal.SIGKILL


def stages_of(messages):
    """The stages started, and those of them that were finished."""
    started = {
        number: stage for stage, number in re.findall(r"^    log: results/logs/(\S+)\.log\n    jobid: (\d+)$", messages, re.MULTILINE)
    }
    return set(started.values()), {started[number] for number in re.findall(r"^Finished jobid: (\d+) ", messages, re.MULTILINE)}


def kill_until_complete(workflow, targets, expected, kinds, rng):
    """Numbers of kills, of jobs started, of jobs that killed runs had finished; ``expected``: every result by its name."""
    kills, starts, finished, resumed, kept = 0, 0, set(), 0, 0
    for kind, count in [*kinds, (None, 0)]:
        # As docs/faults.md says.
        done = workflow.snakemake("--unlock")
        assert done.returncode == 0, done.stderr
        if kind is None:
            last = workflow.snakemake(*targets)
            messages, killed = last.stderr, False
            assert last.returncode == 0, messages[-4000:]
        else:
            messages, killed = run_and_kill(workflow, targets, kind, count, rng)
        kills += killed
        started, ended = stages_of(messages)
        assert not started & finished, (kind, started & finished)
        assert " failed: " not in messages and "Error" not in messages, messages[-4000:]
        starts += len(started)
        finished |= ended
        kept += len(ended) if killed else 0
        # Whatever bears the name of a result is that result, at any moment.
        results = workflow.outputs()
        assert [name for name in results if results[name] != expected[name]] == [], kind
        for path in (workflow.folder / "results/data").rglob("[!.]*.nc"):
            store.attributes(path)
        log = workflow.folder / "results/logs/simulate_flow/long.log"
        resumed += "simulate_flow/long" in started and log.exists() and "going on at time" in log.read_text()
    assert set(results) == set(expected)
    assert not workflow.left_over() and not any((workflow.folder / "results/checkpoints").iterdir())
    return {"kills": kills, "starts": starts, "kept": kept, "resumed": resumed}


def test_killed_again_and_again_it_ends_in_the_same_bytes(workflow, finished):
    targets = [workflow.LONG, *workflow.SHORT]
    counted = kill_until_complete(workflow, targets, finished.expected, KILLS, np.random.default_rng(20260522))
    print(counted)
    assert counted["kills"] >= 5 and counted["kept"] >= 2
    # At most what ran at the moment of a kill, on two cores, was begun again.
    assert len(finished.ran) <= counted["starts"] <= len(finished.ran) + 2 * counted["kills"]
    assert counted["resumed"] >= 1
    done = workflow.snakemake(*targets)
    assert done.returncode == 0 and "Nothing to be done" in done.stderr


def test_the_documents_give_the_command():
    text = (Path(__file__).parents[2] / "docs/faults.md").read_text()
    assert "snakemake --unlock && snakemake --cores all`" in text
