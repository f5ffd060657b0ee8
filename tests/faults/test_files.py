"""Results that are not what they should be, two runs at once, and clocks that jump."""

import os
import signal
import subprocess
import time

import netCDF4
import numpy as np
import pytest

SPOILT = "results/data/flow/figure1_conservative.nc"


def truncated(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 3 // 5])


def emptied(path):
    path.write_bytes(b"")


def damaged(path):
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle - 8000 : middle + 8000] = bytes(16000)
    path.write_bytes(content)


def foreign(path):
    path.unlink()
    with netCDF4.Dataset(path, "w") as file:
        file.createDimension("time", 3)
        file.createVariable("temperature", "f8", ("time",))[:] = 280.0


@pytest.mark.parametrize("spoil", [truncated, emptied, damaged, foreign])
def test_a_spoilt_file_is_named_with_its_remedy_by_the_stage_that_reads_it(scratch, finished, spoil):
    spoil(scratch.folder / SPOILT)
    done = scratch.snakemake("figure1")
    assert done.returncode != 0
    failed = [line for line in done.stderr.splitlines() if " failed: " in line]
    assert len(failed) == 1 and failed[0].startswith(f"figure1 failed: ValueError: {SPOILT} "), done.stderr[-3000:]
    assert "remove it and run the workflow again" in failed[0]
    assert "Traceback" not in done.stderr
    (scratch.folder / SPOILT).unlink()
    assert scratch.run("figure1") == {"simulate_flow/figure1_conservative", "plot_figure/figure1"}
    assert scratch.outputs() == finished.expected


def test_the_second_of_two_runs_in_one_folder_is_refused(workflow, finished):
    log = workflow.folder / "first.log"
    with log.open("w") as stream:
        command = workflow.command(*workflow.FLOWS, workflow.LONG)
        first = subprocess.Popen(command, **workflow.place(), stderr=stream, stdout=stream, start_new_session=True)
        try:
            locks = workflow.folder / ".snakemake/locks"
            while first.poll() is None and not (locks.is_dir() and any(locks.iterdir())):
                time.sleep(0.01)
            # Held, so that it cannot end before the second one, however slow, looks for the lock.
            os.killpg(first.pid, signal.SIGSTOP)
            second = workflow.snakemake(*workflow.FLOWS)
            os.killpg(first.pid, signal.SIGCONT)
            assert first.wait() == 0, log.read_text()[-3000:]
        finally:
            if first.poll() is None:
                os.killpg(first.pid, signal.SIGKILL)
            first.wait()
    assert second.returncode != 0
    assert "Error: Directory cannot be locked." in second.stderr and str(workflow.folder) in second.stderr
    assert "Traceback" not in second.stderr
    made = [name.removeprefix("results/") for name in (*workflow.FLOWS, workflow.LONG)]
    assert workflow.outputs() == {name: finished.expected[name] for name in made}


def test_wrong_dates_rerun_nothing(scratch):
    """Results of a clock that was two days ahead, and consumers that look older than what they were made from."""
    files = [p for p in (scratch.folder / "results").rglob("*") if p.is_file()]
    now = time.time()
    for path in files:
        os.utime(path, (now + 2 * 86400,) * 2)
    assert scratch.plan(*scratch.SHORT, scratch.LONG) == set()
    for path, days in zip(files, np.random.default_rng(0).permutation(len(files)), strict=True):
        os.utime(path, (now - 86400 * float(days),) * 2)
    assert scratch.plan(*scratch.SHORT, scratch.LONG) == set()


def test_a_clock_that_was_set_back_ends_in_one_message_and_its_remedy_helps(scratch, finished):
    """A figure is to be made from flows whose dates lie ahead."""
    ahead = time.time() + 86400
    for name in scratch.FLOWS:
        os.utime(scratch.folder / name, (ahead, ahead))
    for path in (scratch.folder / "results/figures").glob("figure1.*"):
        path.unlink()
    done = scratch.snakemake("figure1")
    assert done.returncode != 0 and "Traceback" not in done.stderr
    assert "This could indicate a clock skew problem" in done.stderr and "results/data/flow/figure1_" in done.stderr
    # As docs/faults.md says.
    subprocess.run("find results -newermt now -exec touch {} +", shell=True, cwd=scratch.folder, check=True)
    assert scratch.run("figure1") == {"plot_figure/figure1"}
    assert scratch.outputs() == finished.expected


def test_other_data_with_an_old_date_are_noticed(scratch):
    """A file of the user put back from a backup: its date lies before that of the results."""
    path = scratch.folder / "mine.csv"
    os.utime(path, (time.time() + 86400,) * 2)
    assert scratch.plan(*scratch.SHORT) == set()
    path.write_text("".join(f"{i},{i * i % 5}\n" for i in range(20)))
    os.utime(path, (time.time() - 30 * 86400,) * 2)
    assert scratch.plan(*scratch.SHORT) == {"simulate_flow/mine"}
