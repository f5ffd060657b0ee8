import csv
import importlib
import re
import xml.etree.ElementTree as ElementTree

import pytest
import yaml

from driftrates import store


def test_one_command_makes_every_result(smoke):
    config = yaml.safe_load((smoke.folder / "config.yaml").read_text())
    assert {f"simulate_flow/{name}" for name in config["experiments"]} <= smoke.ran
    results = smoke.folder / "results"
    for stage in smoke.ran:
        assert (results / f"logs/{stage}.log").is_file(), stage
        assert (results / f"benchmarks/{stage}.tsv").is_file(), stage
    for folder, suffixes in (("figures", {".pdf", ".svg", ".png"}), ("tables", {".csv", ".md", ".tex"})):
        files = list((results / folder).iterdir())
        for stem in {p.stem for p in files}:
            assert {p.suffix for p in files if p.stem == stem} == suffixes
    captions = {p.stem for p in (smoke.folder / "workflow/report").glob("*.rst")} - {"workflow", "table_schedule"}
    made = {prefix + p.stem for folder, prefix in (("figures", ""), ("tables", "table_")) for p in (results / folder).iterdir()}
    assert captions == made


def test_every_dataset_carries_its_provenance(smoke):
    files = sorted((smoke.folder / "results/data").rglob("*.nc"))
    assert len(files) > 15
    for path in files:
        attributes = store.attributes(path)
        assert re.fullmatch("[0-9a-f]{32}", attributes["source_digest"]), path
        assert "config" in attributes
    flow = store.attributes(smoke.folder / "results/data/flow/entropy_d1.nc")
    assert (flow["device"], flow["engine"]) != ("", "")


def test_figures_and_tables_can_be_read(smoke):
    for path in (smoke.folder / "results/figures").glob("*.svg"):
        assert ElementTree.parse(path).getroot().tag.endswith("svg")
    for path in (smoke.folder / "results/tables").glob("*.csv"):
        with path.open() as stream:
            rows = list(csv.DictReader(stream))
        assert rows, path
    runtime = store.read_csv(smoke.folder / "results/tables/runtime.csv")
    assert set(runtime["stage"]) - {"total"} == {stage.partition("/")[0] for stage in smoke.ran} - {"tabulate_runtime", "paper"}
    assert (runtime["seconds"] > 0).all()


def test_a_second_run_does_nothing(smoke):
    before = {p: p.stat().st_mtime_ns for p in (smoke.folder / "results").rglob("*")}
    done = smoke.snakemake()
    assert done.returncode == 0
    assert "Nothing to be done" in done.stderr + done.stdout
    assert before == {p: p.stat().st_mtime_ns for p in (smoke.folder / "results").rglob("*")}


def test_one_core_makes_the_same_bytes_as_two(smoke, tmp_path):
    again = type(smoke).fresh(tmp_path / "again")
    assert again.run(cores=1) == smoke.ran
    first, second = smoke.outputs(), again.outputs()
    assert len(first) > 40
    assert set(first) == set(second)
    assert [name for name in first if first[name] != second[name]] == []


def test_the_report_builds(scratch):
    scratch.run("--report", "results/report.html")
    report = (scratch.folder / "results/report.html").read_text()
    for path in [*(scratch.folder / "results/figures").glob("*.svg"), *(scratch.folder / "results/tables").glob("*.csv")]:
        assert path.name in report
    assert "{{" not in "".join(re.findall(r'"caption": "(.*?)"', report))


@pytest.mark.parametrize(
    ("target", "wanted"),
    [
        (["figure1"], {"plot_figure/figure1"}),
        (["results/figures/figure1.pdf"], {"plot_figure/figure1"}),
        (["kernels"], {"write_table/kernels", "tabulate_kernels"}),
        (["claims"], {"collect_claims"}),
        (["runtime"], {"tabulate_runtime"}),
    ],
)
def test_targets_by_name(untouched, smoke, target, wanted):
    planned = untouched.plan(*target)
    assert wanted <= planned <= smoke.ran
    last = {stage for stage in smoke.ran if stage.startswith(("plot_figure/", "write_table/", "collect_claims", "tabulate_runtime"))}
    if target != ["runtime"]:
        assert planned & last == wanted & last


def test_figures_and_tables_together_are_everything(untouched, smoke):
    config = yaml.safe_load((untouched.folder / "config.yaml").read_text())
    planned = untouched.plan("figures", "tables")
    left = smoke.ran - planned - {"paper"}
    assert all(stage.partition("/")[2] in config["experiments"] for stage in left)


def test_the_ledger_holds_every_statement_with_its_control(smoke):
    from driftrates import claims
    from driftrates.claims import ledger

    table = store.read_csv(smoke.folder / "results/tables/claims.csv")
    assert list(table.columns) == list(ledger.COLUMNS)
    assert table["id"].is_unique
    for chapter in claims.CHAPTERS:
        importlib.import_module(f"driftrates.claims.{chapter}")
        for known in ledger.statements(chapter):
            assert (table["id"].str.split("/").str[0] == known).any(), known
    assert set(table["control"]) <= {"caught", "MISSED"}
    # These need no statistics and no long horizon: they hold, and their broken forms fail, at any size.
    exact = table[(table["kind"] == "identity") & ~table["id"].str.startswith(("R4.8", "X6", "A5.6", "T6.3/initial"))]
    assert len(exact) > 30
    assert (exact["verdict"] == "holds").all(), exact[exact["verdict"] != "holds"]
    assert (exact["control"] == "caught").all(), exact[exact["control"] != "caught"]
    # Comparisons of methods and of schedules may go either way, as may X2 with a constant that does not serve the region.
    compared = ("X6", "X2/particles", "generator/", "B4/", "B7/W2")
    bounds = table[(table["kind"] == "inequality") & ~table["id"].str.startswith(compared)]
    assert not bounds["verdict"].isin(["violated", "undecided"]).any(), bounds[bounds["verdict"].isin(["violated", "undecided"])]
