import shutil
import subprocess
from types import SimpleNamespace

import pytest

from workflows import Workflow, stages

EXPERIMENTS = """
checkpoint: {seconds: 1}
experiments:
  # Long enough to be interrupted between two checkpoints, with cells that are finished and cells that are not.
  long:
    target: {data: {name: eight_gaussians, size: 300}}
    start: {gaussian: {standard_deviation: 2.0}}
    field: displacement
    kernel: {name: laplace}
    bandwidth: [0.3, 0.5]
    n_particles: [150, 300]
    replicates: 4
    times: {stop: 20.0, count: 81}
    integrator: {method: euler, step: 0.02}
  mine:
    target: {data: {name: file, path: mine.csv}}
    start: {gaussian: {}}
    field: sharp
    kernel: {name: gaussian}
    bandwidth: 2.0
    n_particles: 8
    times: {stop: 0.1, count: 3}
"""


HEAD = """
set -e
mkdir -p results
run() { name=$1; shift; status=0; "$@" > $name.log 2>&1 || status=$?; echo $status > $name.status; }
"""


class Faulty(Workflow):
    """A workflow with an experiment that takes some seconds, and one with data of the user."""

    LONG = "results/data/flow/long.nc"
    FLOWS = tuple(f"results/data/flow/figure1_{name}.nc" for name in ("conservative", "displacement", "score_laplace"))
    SHORT = ("figure1", "gaussian_identity", "kernels", "results/data/occupancy/propagation_d1.nc", "results/data/flow/mine.nc")

    @classmethod
    def fresh(cls, folder):
        workflow = super().fresh(folder)
        (folder / "faults.yaml").write_text(EXPERIMENTS)
        (folder / "mine.csv").write_text("".join(f"{i},{i * i % 7}\n" for i in range(20)))
        return workflow

    def command(self, *arguments, **options):
        return super().command(*arguments, "--configfile", "faults.yaml", **options)

    def outputs(self):
        """The results without what a killed process left of its own."""
        return {name: content for name, content in super().outputs().items() if "/." not in name}

    def left_over(self):
        return [p for p in (self.folder / "results").rglob(".*") if p.is_file()]


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """The workflow, run without a fault, with its results as ``expected``; not to be changed by a test."""
    workflow = Faulty.fresh(tmp_path_factory.mktemp("finished") / "workflow")
    done = workflow.snakemake(*workflow.SHORT, workflow.LONG)
    assert done.returncode == 0, done.stderr[-4000:]
    workflow.ran, workflow.expected = stages(done.stderr), workflow.outputs()
    assert not workflow.left_over()
    return workflow


@pytest.fixture
def workflow(finished, tmp_path):
    """The same, before it ran."""
    shutil.copytree(finished.folder, tmp_path / "workflow", ignore=shutil.ignore_patterns("results", ".snakemake"))
    return Faulty(tmp_path / "workflow")


@pytest.fixture
def scratch(finished, tmp_path):
    """A copy of the finished one to change."""
    return finished.copy(tmp_path / "workflow")


@pytest.fixture
def in_own_mounts():
    """Runs a shell script that may mount; what it mounts ends with it. Its log and status by the name it gives to ``run NAME``.

    One stage at a time, so that it is no matter of chance which of them finds no room.
    """
    unshare = ["unshare", "--map-root-user", "--mount"]
    try:
        probe = subprocess.run([*unshare, "sh", "-c", "mount -t tmpfs tmpfs /mnt"], capture_output=True, text=True)
    except FileNotFoundError:
        pytest.skip("no unshare (util-linux) to mount a small disk with")
    if probe.returncode:
        pytest.skip(f"this machine lets no test mount a small disk: {probe.stderr.strip()}")

    def call(workflow, targets, script):
        command = [*unshare, "sh", "-c", HEAD + script, "sh", *workflow.command(*targets, cores=1)]
        subprocess.run(command, **workflow.place(), check=True)
        return {
            p.stem: SimpleNamespace(status=int(p.read_text()), log=p.with_suffix(".log").read_text())
            for p in workflow.folder.glob("*.status")
        }

    return call
