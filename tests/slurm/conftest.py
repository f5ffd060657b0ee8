import fcntl

import pytest

from clusters import Cluster, Submitted, obstacle


@pytest.fixture(scope="session")
def cluster(tmp_path_factory):
    """One cluster for all tests of this folder; a second process that runs them waits for the first."""
    pytest.importorskip("snakemake_executor_plugin_slurm", reason="pip install -c envs/pins.txt -e '.[slurm]'")
    if reason := obstacle():
        pytest.skip(reason)
    with open("/run/driftrates-slurm.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        cluster = Cluster(tmp_path_factory.mktemp("slurm"))
        try:
            cluster.start()
            yield cluster
        finally:
            cluster.stop()


@pytest.fixture
def idle(cluster):
    """The cluster with all nodes up and no job of another test."""
    cluster.clear()
    yield cluster
    cluster.clear()


@pytest.fixture(scope="session")
def untouched(tmp_path_factory):
    return Submitted.fresh(tmp_path_factory.mktemp("untouched") / "workflow")


@pytest.fixture
def scratch(untouched, tmp_path):
    return untouched.copy(tmp_path / "workflow")
