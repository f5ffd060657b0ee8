"""Every file under results/ belongs to a rule: nothing is left behind, and nothing is put there by hand."""


def orphans(workflow):
    """Files under results/ that are no output, log or benchmark of any job of the whole workflow."""
    done = workflow.snakemake("--list-untracked")
    assert done.returncode == 0, done.stderr
    listed = {line for line in done.stdout.splitlines() if line.startswith("results/")}
    # Snakemake lists the benchmarks that no rule reads. A stage has its log and its benchmark under one name.
    logs = {path.relative_to(workflow.folder / "results/logs") for path in (workflow.folder / "results/logs").rglob("*.log")}
    return listed - {f"results/benchmarks/{log.with_suffix('.tsv')}" for log in logs}


def test_every_result_has_a_rule(smoke):
    assert orphans(smoke) == set()


def test_files_of_an_experiment_that_is_gone_and_strays_are_found(scratch):
    strays = {
        "results/data/flow/retired.nc",
        "results/logs/simulate_flow/retired.log",
        "results/figures/figure1.jpeg",
        "results/tables/claims (copy).csv",
        "results/benchmarks/by_hand.tsv",
        "results/checkpoints/figure1_conservative.checkpoint",
        "results/notes.txt",
    }
    for name in strays:
        path = scratch.folder / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
    assert orphans(scratch) == strays
