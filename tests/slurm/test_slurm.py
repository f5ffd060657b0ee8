"""The workflow on a real cluster: the bytes of a local run, and nothing lost when jobs, nodes or the submission die."""

import os
import re
import signal
import subprocess

import pytest

from clusters import wait_for
from driftrates import store
from driftrates.sums import cuda

SMALL = ("results/data/flow/figure1_conservative.nc", "results/data/observables/long_d1.nc", "results/data/kernels.nc")
"""Four jobs: two simulations on the GPU partition, a measurement of one of them, and the kernels."""
JOBS = 4
MORE = ("results/data/entropy/entropy_d1.nc", "results/tables/kernels.csv", "results/figures/kernel_profiles.svg")
"""Four more, of which the last two share one job of the cluster."""


@pytest.fixture(scope="session")
def local(cluster, untouched, tmp_path_factory):
    """What a run on this machine alone gives."""
    workflow = untouched.copy(tmp_path_factory.mktemp("local") / "workflow")
    workflow.complete(*SMALL, *MORE, slurm=False)
    return workflow.outputs()


def same(workflow, local):
    """Every result of the workflow is that of the local run, and nothing half-written lies beside."""
    outputs = workflow.outputs()
    assert set(outputs) <= set(local)
    assert not [name for name, content in outputs.items() if content != local[name]]
    assert {t.removeprefix("results/") for t in SMALL} <= set(outputs)


def test_the_cluster_gives_the_bytes_of_a_local_run(idle, scratch, local):
    messages = scratch.complete(*SMALL, *MORE)
    same(scratch, local)
    assert set(scratch.outputs()) == set(local)
    chosen = re.findall(r"Auto-selected partition '(\w+)' for job (\w+)", messages)
    assert {job for partition, job in chosen if partition == "gpu"} == {"simulate_flow"}
    assert "simulate_flow" not in {job for partition, job in chosen if partition == "cpu"}
    again = scratch.complete(*SMALL, *MORE)
    assert "Nothing to be done" in again
    assert scratch.submitted() == JOBS + 3


def test_a_rule_that_fails_once_and_a_job_that_exceeds_its_memory(idle, scratch, local):
    scratch.order("simulate_flow-figure1_conservative", "fail")
    killed = idle.killed_for_memory()
    if idle.cgroup:
        # More than the first attempt may take, and less than the second.
        scratch.order("measure_observables-long_d1", "allocate 2500")
    messages = scratch.complete(*SMALL)
    same(scratch, local)
    assert scratch.submitted() == JOBS + 1 + idle.cgroup
    assert messages.count("SLURM status is: 'FAILED'") == 1 + idle.cgroup
    if idle.cgroup:
        assert idle.killed_for_memory() == killed + 1, "ended by the limit of its memory, not by a fault of its own"
        memory = [int(m) for m in re.findall(r"rule measure_observables:.*?mem_mb=(\d+)", messages, re.DOTALL)]
        assert memory[1] == 2 * memory[0]


def test_a_cancelled_job_is_made_again(idle, scratch, local):
    scratch.order("tabulate_kernels", "wait never")
    run = scratch.start(*SMALL)
    scratch.struck("tabulate_kernels")
    ((job, _),) = idle.running("tabulate_kernels")
    subprocess.run(["scancel", job], check=True)
    scratch.finish(run)
    same(scratch, local)
    assert scratch.submitted() == JOBS + 1
    assert "CANCELLED" in scratch.messages()


def test_a_lost_node_whose_command_lives_on_beside_its_rerun(idle, scratch, local):
    """The rerun ends first; then the command of the lost node writes the same output once more."""
    scratch.order("measure_observables-long_d1", "wait released")
    run = scratch.start(*SMALL)
    scratch.struck("measure_observables-long_d1")
    ((_, node),) = idle.running("measure_observables")
    idle.lose(node)
    try:
        scratch.finish(run)
        same(scratch, local)
        assert scratch.submitted() == JOBS + 1
        assert "NODE_FAIL" in scratch.messages()
        before = scratch.dates()
        (scratch.folder / "faults/released").touch()
        late = scratch.folder / "results/data/observables/long_d1.nc"
        wait_for(lambda: late.stat().st_mtime_ns > before["data/observables/long_d1.nc"], 60, "the lost command did not write")
        same(scratch, local)
        changed = [name for name, date in scratch.dates().items() if date != before.get(name)]
        assert changed == ["data/observables/long_d1.nc"]
        store.read(late)
    finally:
        idle.restore(node)


def test_a_killed_submission_is_put_right(idle, scratch, local):
    scratch.order("simulate_flow-long_d1", "wait never")
    run = scratch.start(*SMALL)
    scratch.struck("simulate_flow-long_d1")
    done = [scratch.folder / name for name in ("results/data/flow/figure1_conservative.nc", "results/data/kernels.nc")]
    wait_for(lambda: all(p.exists() for p in done) and len(idle.queued()) == 1, 240, "the other jobs did not end")
    wait_for(lambda: len(re.findall(r"Finished jobid", scratch.messages())) >= 2, 60, "Snakemake did not see them end")
    os.killpg(run.pid, signal.SIGKILL)
    run.wait()
    assert len(idle.queued()) == 1, "the job of the killed submission runs on"
    before = scratch.dates()

    refused = scratch.start(*SMALL)
    assert refused.wait(300) != 0
    assert "locked" in scratch.messages().lower()

    recovered = scratch.complete("recover", slurm=False, arguments=["--nolock"])
    assert "cancelled 1 job of the run" in recovered
    assert "took off the lock" in recovered
    assert not idle.queued()

    scratch.complete(*SMALL)
    same(scratch, local)
    after = scratch.dates()
    assert {name for name in after if after[name] == before.get(name)} == set(before), "something finished was made again"
    assert scratch.submitted() == JOBS + 1


def test_preflight_says_what_this_cluster_lacks(idle, scratch):
    process, lacking = scratch.start("preflight", slurm=False), not cuda.available()
    assert (process.wait(300) != 0) == lacking
    messages = scratch.messages()
    assert ("a node of gpu has no usable CUDA" in messages) == lacking
    assert ("1 missing" if lacking else "Nothing is missing.") in messages
    assert "a node of cpu sees the folder and runs driftrates" in messages
    file = scratch.folder / "profiles/slurm/partitions.yaml"
    file.write_text(file.read_text().replace("  cpu:", "  long:"))
    process = scratch.start("preflight", slurm=False)
    assert process.wait(300) != 0
    assert "there is no partition long" in scratch.messages()
