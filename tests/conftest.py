"""Two processes run the tests (`-n 2` in pyproject.toml; `-n 0` for one, as a debugger needs it): what goes to which of them, and when.

And the fixtures that several folders share.
"""

from dataclasses import dataclass

# Imported here, before the tests turn warnings into errors: its wheels announce the size of NumPy's structures once per process.
import netCDF4  # noqa: F401
import pytest

from driftrates import kernels
from driftrates.sums import cpu

LONG = ("tests/workflow/", "tests/slurm/", "tests/faults/", "tests/paper/", "tests/fuzz/")
"""Folders that begin first, in this order; the tests of each share a run of the workflow, a cluster, or a machine's limits."""


@pytest.fixture
def threads():
    """Sets the number of threads of the CPU engine; afterwards it is what it was."""
    before = cpu.threads()
    yield cpu.set_threads
    cpu.set_threads(before)


@pytest.fixture
def private_registry(monkeypatch):
    """Kernels that a test defines are unknown to the next."""
    monkeypatch.setattr(kernels, "_REGISTRY", dict(kernels._REGISTRY))


@pytest.fixture
def bumped(private_registry):
    """A kernel with its rungs and nothing else: moments and transform come from quadrature."""

    @dataclass(frozen=True)
    class Bumped(kernels.Kernel):
        """(1 + a s^2) e^(-s^2/2): transform e^(-k^2/2) (1 + a (d - k^2)) / (1 + a d), zero at k^2 = d + 1/a."""

        a: float = 0.25

        name = "bumped"
        exponent = "0.5*s2"
        prefactors = ("1 + 2*a + a*s2", "1 + a*s2", "1 - 2*a + a*s2", "1 - 4*a + a*s2")

    return Bumped


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config, items):
    """The long folders first, so that neither process works alone at the end."""
    if hasattr(config, "workerinput"):
        items.sort(key=lambda item: next((i for i, folder in enumerate(LONG) if item.nodeid.startswith(folder)), len(LONG)))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """A long folder, or any other module, goes to one process as a whole: what its tests share is made once."""
    from xdist.scheduler import LoadScopeScheduling

    class Scheduling(LoadScopeScheduling):
        def _split_scope(self, nodeid):
            return next((folder for folder in LONG if nodeid.startswith(folder)), nodeid.partition("::")[0])

    config.option.loadscopereorder = False
    return Scheduling(config, log)
