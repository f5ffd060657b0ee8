"""The figure and the table of the contenders from made-up measurements."""

import json

import numpy as np
import pytest

from driftrates import store
from driftrates.figures import performance as figure_module
from driftrates.performance import passes
from driftrates.tables.performance import peers
from pages import assert_panels_fit

CONTENDERS = [
    "driftrates cpu",
    "driftrates nufft 1e-12",
    "C++ AVX-512",
    "numpy GEMM",
    "scipy gaussian_kde",
    "scikit-learn KernelDensity 1e-6",
]


def rows():
    usual = {"kernel": "gaussian", "d": 2, "dtype": "float64", "threads": 1, "outputs": "all", "version": "1", "rounds": 5}
    for k, name in enumerate(CONTENDERS):
        for d, dtype, threads in ((2, "float64", 1), (10, "float64", 1), (2, "float32", 1), (2, "float64", 2)):
            for n in (64, 1000, 10_000) if k < 4 else (64, 1000):
                if name.startswith("sci") and (dtype, threads) != ("float64", 1):
                    continue
                ratio = {"times_slower": 1.0 + 2 * k, "times_slower_low": 1.0 + 1.9 * k, "times_slower_high": 1.0 + 2.2 * k}
                seconds = {"seconds": (1 + 2 * k) * n**2 * 1e-9, "pairs_per_second": 1e9 / (1 + 2 * k), "first_call_seconds": 0.25}
                case = {"d": d, "dtype": dtype, "threads": threads, "n": n, "contender": name}
                counted = {"instructions_per_pair": 3.75} if k == 0 else {}
                yield {**usual, "part": "throughput", **case, **ratio, **seconds, **counted}
    for kernel, contenders in (("gaussian", ("nufft", "cells")), ("laplace", ("ewald", "cells"))):
        case = {**usual, "part": "accuracy", "kernel": kernel, "n": 10_000, "bandwidth": 0.2}
        yield {**case, "contender": "driftrates cpu", "error": 0.0, "seconds": 0.06}
        for name in contenders:
            yield from (
                {**case, "contender": f"driftrates {name}", "rtol": t, "error": t / 3, "seconds": 0.01 - np.log(t)} for t in (1e-3, 1e-9)
            )
        if kernel == "gaussian":
            yield {**case, "contender": "scikit-learn KernelDensity", "rtol": 1e-6, "error": 1e-7, "seconds": 3.0}
    for d in (1, 2):
        case = {**usual, "d": d, "contender": "driftrates nufft", "rtol": 1e-12}
        yield from ({**case, "part": "scaling", "n": n, "seconds": d * 1e-6 * n} for n in (1000, 10_000, 100_000))
        yield {**case, "part": "exponent", "n": 100_000, "exponent": 0.875 + d / 8}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("results")
    store.write_csv(passes.tabulate(rows()), folder / "table.csv")
    (folder / "table.json").write_text(json.dumps({"processor": "a processor", "date": "2026-01-01"}))
    return {"performance": passes.measure_performance([folder / "table.csv"], seed=0, sizes=[100], seconds=0.05)}


def drawn_among(lines, values):
    return any(len(line) == len(values) and np.allclose(line, values, rtol=1e-12, atol=0) for line in lines)


def test_figure_is_labelled_fits_the_page_and_draws_the_measurements(data):
    figure = figure_module.plot(data)
    assert_panels_fit(figure)
    throughput, accuracy, scaling, ratios = figure.axes
    assert all(ax.get_xlabel() for ax in figure.axes) and all(ax.get_ylabel() for ax in figure.axes[:3])
    drawn = [line.get_ydata() for line in throughput.lines]
    assert drawn_among(drawn, [1e9] * 3) and drawn_among(drawn, [1e9 / 7] * 3) and not drawn_among(drawn, [1e9 / 11] * 2)
    live = passes.frame(data["performance"]).query("part == 'live'").set_index("contender")
    assert drawn_among(drawn, [live.loc["numpy GEMM", "pairs_per_second"]])
    assert {label.get_text() for label in throughput.get_legend().texts} >= {"direct", "SciPy KDE ($S_0$)", "on this machine"}
    assert "KeOps, fused" not in {label.get_text() for label in throughput.get_legend().texts}
    assert drawn_among([line.get_xdata() for line in accuracy.lines], [1e-9 / 3, 1e-3 / 3])
    texts = [label.get_text() for label in scaling.get_legend().texts]
    assert texts == ["NUFFT, Gaussian, $d = 1$, $10^{-12}$: 1.00", "NUFFT, Gaussian, $d = 2$, $10^{-12}$: 1.12"]
    assert [label.get_text() for label in ratios.get_yticklabels()][-1] == "nufft 1e-12"
    assert len(ratios.get_yticklabels()) == len(CONTENDERS) - 1


def test_table_gives_every_contender_with_its_ratios(data):
    table = peers(data).set_index("contender")
    assert table.index.tolist() == CONTENDERS
    assert table.columns.tolist() == [
        *("version", "sums", "d = 2, float64", "d = 10, float64", "d = 2, float32", "d = 2, float64, 2 threads"),
        *("64 points (us)", "first call (s)", "instructions per pair"),
    ]
    assert table.loc["C++ AVX-512", "d = 10, float64"] == "5 [4.8, 5.4]"
    assert table.loc["scipy gaussian_kde", "d = 2, float64"] == "9 [8.6, 9.8] (N = 1000)"
    assert table.loc["scipy gaussian_kde", "d = 2, float32"] == ""
    assert table.loc["driftrates cpu", "64 points (us)"] == "4.1" and table.loc["driftrates cpu", "first call (s)"] == "0.25"
    assert table["instructions per pair"].tolist() == ["3.75"] + [""] * 5


def test_the_ratios_name_the_largest_size_and_the_cases_that_were_measured(tmp_path):
    table = passes.tabulate(rows())
    quick = table[~(table["part"].eq("throughput") & ((table["n"] > 1000) | (table["d"] == 10)))]
    store.write_csv(quick, tmp_path / "table.csv")
    (tmp_path / "table.json").write_text(json.dumps({"processor": "a processor", "date": "2026-01-01"}))
    ratios = figure_module.plot(
        {"performance": passes.measure_performance([tmp_path / "table.csv"], seed=0, sizes=[100], seconds=0.05)}
    ).axes[3]
    assert ratios.get_title(loc="left").endswith(r"each at its largest $N \leq 10^3$")
    assert not any("d = 10" in text.get_text() for text in ratios.get_legend().get_texts())
