"""Two processes run the tests (`-n 2` in pyproject.toml; `-n 0` for one, as a debugger needs it): what goes to which of them, and when."""

# Imported here, before the tests turn warnings into errors: its wheels announce the size of NumPy's structures once per process.
import netCDF4  # noqa: F401
import pytest

LONG = ("tests/workflow/", "tests/slurm/", "tests/faults/", "tests/paper/", "tests/fuzz/")
"""Folders that begin first, in this order; the tests of each share a run of the workflow, a cluster, or a machine's limits."""


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
