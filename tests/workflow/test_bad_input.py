"""Every case is one in the table of `tests/pipeline/test_config.py` as well: here the message has to reach the terminal, before any job."""

import pytest

from driftrates.sums import cuda

CASES = {
    "unknown key": ("seed: 20260522", "sede: 3", "configuration, sede: is unknown (did you mean 'seed'?); allowed: scale, device, seed"),
    "h = 0": (
        "    bandwidth: 0.7\n    n_particles: {smoke: 16",
        "    bandwidth: 0.0\n    n_particles: {smoke: 16",
        "configuration, experiments.entropy_d3.bandwidth: 0.0 is not allowed; allowed: a value > 0",
    ),
    "d that the data lacks": (
        "{name: digits, components: 10,",
        "{name: digits, components: 100,",
        "configuration, experiments.digits10_conservative.target.data: data set 'digits': components",
    ),
    "empty file": ("{name: digits, components: 10,", "{name: file, path: empty.csv,", "empty.csv"),
    "needed by a figure": (
        "  figure1_score_laplace:",
        "  figure1_score:",
        "'figure1_score_laplace' is no experiment (did you mean 'figure1_score'?)",
    ),
}


def refused(workflow, *arguments, **options):
    done = workflow.snakemake(*arguments, **options)
    assert done.returncode != 0
    assert "Traceback" not in done.stderr + done.stdout
    assert not (workflow.folder / "results").exists()
    messages = [line for line in done.stderr.splitlines() if line.startswith("configuration, ")]
    assert len(messages) == 1, done.stderr
    return messages[0]


@pytest.mark.parametrize("case", CASES)
def test_a_mistake_in_the_configuration_stops_the_run_with_one_message(untouched, tmp_path, case):
    old, new, message = CASES[case]
    workflow = untouched.copy(tmp_path / "workflow")
    (workflow.folder / "empty.csv").touch()
    workflow.edit("config.yaml", old, new)
    assert message in refused(workflow)


def test_a_gpu_that_is_not_there(untouched):
    if cuda.available():
        pytest.skip("this machine has a GPU")
    assert "configuration, device: gpu is asked for" in refused(untouched, config=["device=gpu"])


def test_an_experiment_that_a_figure_needs(untouched, tmp_path):
    workflow = untouched.copy(tmp_path / "workflow")
    workflow.edit("config.yaml", "  identity_displacement:\n", "  renamed:\n")
    assert "configuration, experiments: flow/identity_displacement is made by no experiment" in refused(workflow)
