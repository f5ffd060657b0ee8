import math

import pytest

from driftrates.pipeline.runtime import COLUMNS, tabulate

HEADER = "s\th:m:s\tmax_rss\tmax_vms\n"


def benchmark(folder, name, row):
    path = folder / f"{name}.tsv"
    path.write_text(HEADER + row)
    return path


def test_one_row_per_run_and_a_total(tmp_path):
    files = [
        benchmark(tmp_path, "a", "2.5\t0:00:02\t120.25\t300\n"),
        benchmark(tmp_path, "b", "0.5\t0:00:00\t80\t300\n"),
        benchmark(tmp_path, "c", "0.01\t0:00:00\tNA\tNA\n"),
    ]
    runs = [("simulate_flow", "first"), ("simulate_flow", "second"), ("tabulate_kernels",)]
    table = tabulate(runs, files, {runs[0]: {"engine": "cuda", "device": "some GPU", "title": "x"}})
    assert tuple(table.columns) == COLUMNS
    assert table.iloc[0].tolist() == ["simulate_flow", "first", 2.5, 120.25, "cuda", "some GPU"]
    assert table.iloc[1].tolist() == ["simulate_flow", "second", 0.5, 80.0, "", ""]
    assert table.iloc[2]["wildcards"] == ""
    assert math.isnan(table.iloc[2]["peak_memory_mib"])
    assert table.iloc[3][["stage", "seconds", "peak_memory_mib"]].tolist() == ["total", pytest.approx(3.01), 120.25]


def test_of_a_repeated_benchmark_the_last_row_counts(tmp_path):
    path = benchmark(tmp_path, "a", "1\t0\t10\t0\n2\t0\t20\t0\n")
    assert tabulate([("stage",)], [path], {}).iloc[0]["seconds"] == 2


@pytest.mark.parametrize("text", ["", "seconds\n1\n", HEADER, "s\tmax_rss\nmany\t3\n"])
def test_what_is_no_benchmark_is_named(tmp_path, text):
    path = tmp_path / "a.tsv"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"a\.tsv is not a benchmark file"):
        tabulate([("stage",)], [path], {})


def test_a_missing_benchmark_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"a\.tsv is not a benchmark file"):
        tabulate([("stage",)], [tmp_path / "a.tsv"], {})
