import pytest

from workflows import Workflow


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
