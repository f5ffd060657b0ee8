import ast
import os

import pytest


def dependents(*stages):
    """What must follow: the runtime table looks at every stage, and the paper at every table."""
    return {*stages, "tabulate_runtime", "paper"}


def insert(workflow, module, function, line):
    """Put ``line`` at the beginning of a function's body."""
    path = workflow.folder / "src/driftrates" / module
    source = path.read_text()
    node = next(n for n in ast.parse(source).body if getattr(n, "name", None) == function)
    body = node.body[1:] if ast.get_docstring(node) is not None else node.body
    lines = source.splitlines(keepends=True)
    lines.insert(body[0].lineno - 1, " " * body[0].col_offset + line + "\n")
    path.write_text("".join(lines))


@pytest.mark.parametrize(
    ("module", "function", "expected"),
    [
        ("measurements/entropy.py", "measure_entropy", "measure_entropy"),
        ("measurements/occupancy.py", "measure_failures", "study_failures"),
        ("figures/figure1.py", "plot", "figure1"),
        ("pipeline/runtime.py", "tabulate", "tabulate_runtime"),
        ("store.py", "write_csv", None),
    ],
)
def test_editing_a_function_reruns_the_stages_that_use_it(scratch, smoke, module, function, expected):
    insert(scratch, module, function, "unused = 0")
    if expected is not None:
        expected = smoke.plan("--forcerun", expected)
        assert 0 < len(expected) < len(smoke.ran) / 2
    else:
        tables = ("judge_claims/", "collect_claims", "claims_overview", "write_table/", "tabulate_runtime", "paper")
        expected = {stage for stage in smoke.ran if stage.startswith(tables)}
    assert scratch.plan() == expected


def test_a_comment_or_a_docstring_reruns_nothing(scratch):
    files = [*(scratch.folder / "src").rglob("*.py"), *(scratch.folder / "workflow/scripts").glob("*.py")]
    assert len(files) > 30
    for path in files:
        text = path.read_text()
        docstring = ast.get_docstring(ast.parse(text), clean=False)
        if docstring:
            text = text.replace(docstring, docstring + " Edited.", 1)
        path.write_text(text + "\n\n# a comment\n")
    assert scratch.plan() == set()


def test_editing_what_no_stage_uses_reruns_nothing(scratch):
    with (scratch.folder / "src/driftrates/kernels.py").open("a") as stream:
        stream.write("\n\ndef never_used():\n    return 1\n")
    assert scratch.plan() == set()


def test_editing_the_script_of_a_stage_reruns_it(scratch):
    scratch.edit("workflow/scripts/collect_claims.py", "def main(snakemake):\n", "def main(snakemake):\n    unused = 0\n")
    assert scratch.plan() == dependents("collect_claims", "claims_overview")


def test_changing_a_value_of_one_experiment_reruns_its_dependents(scratch, smoke):
    expected = smoke.plan("--forcerun", "results/data/flow/entropy_d5.nc")
    before = scratch.outputs()
    path = scratch.folder / "config.yaml"
    text = path.read_text()
    start = text.index("  entropy_d5:")
    assert "\n    bandwidth: " in text[start:]
    line = text.index("    bandwidth: ", start)
    path.write_text(text[:line] + "    bandwidth: 1.25\n" + text[text.index("\n", line) + 1 :])
    ran = scratch.run()
    assert ran == expected
    assert {"simulate_flow/entropy_d5", "measure_entropy/entropy_d5", "judge_claims/entropy_budget"} <= ran
    after = scratch.outputs()
    changed = {name for name in before if before[name] != after[name]}
    assert {"data/flow/entropy_d5.nc", "data/entropy/entropy_d5.nc"} <= changed
    assert not any("figure1" in name or "digits" in name or "entropy_d1" in name for name in changed)
    assert scratch.plan() == set()


def test_what_is_measured_does_not_rerun_the_simulation(scratch):
    path = scratch.folder / "config.yaml"
    text = path.read_text()
    path.write_text(text.replace("    measure: [propagation, random_time]\n", "    measure: [occupancy, propagation, random_time]\n"))
    planned = scratch.plan()
    assert "measure_occupancy/propagation_d1" in planned
    assert not any(stage.startswith("simulate_flow") for stage in planned)


def test_the_seed_reruns_every_simulation_and_no_kernel_table(scratch, smoke):
    planned = scratch.plan(config=["seed=1"])
    assert {stage for stage in smoke.ran if stage.startswith("simulate_flow/")} <= planned
    assert not {"tabulate_kernels", "write_table/kernels"} & planned


def test_a_failing_stage_says_why_on_the_terminal_and_keeps_the_traceback_in_its_log(scratch):
    path = scratch.folder / "results/data/flow/entropy_d1.nc"
    path.write_bytes(path.read_bytes()[:5000])
    done = scratch.snakemake()
    assert done.returncode != 0
    lines = [line for line in done.stderr.splitlines() if line.startswith("measure_entropy entropy_d1 failed: ")]
    assert len(lines) == 1
    assert "ValueError: results/data/flow/entropy_d1.nc is truncated" in lines[0]
    assert "(log: results/logs/measure_entropy/entropy_d1.log)" in lines[0]
    assert "Traceback" in (scratch.folder / "results/logs/measure_entropy/entropy_d1.log").read_text()
    assert not (scratch.folder / "results/data/entropy/entropy_d1.nc").exists()


def test_the_users_own_data_file_is_an_input(scratch):
    data = scratch.folder / "mine.csv"
    data.write_text("".join(f"{i},{i * i % 7}\n" for i in range(20)))
    mine = scratch.folder / "mine.yaml"
    mine.write_text(
        "experiments:\n  mine:\n    target: {data: {name: file, path: mine.csv}}\n    start: {gaussian: {}}\n    field: sharp\n"
        "    kernel: {name: gaussian}\n    bandwidth: 2.0\n    n_particles: 8\n    times: {stop: 0.1, count: 3}\n"
    )
    overlay = ["--configfile", "config.yaml", "mine.yaml"]
    assert scratch.run(*overlay) == dependents("simulate_flow/mine")
    assert scratch.plan(*overlay) == set()
    data.write_text(data.read_text() + "3,3\n")
    later = data.stat().st_mtime + 10
    os.utime(data, (later, later))
    assert scratch.plan(*overlay) == dependents("simulate_flow/mine")
