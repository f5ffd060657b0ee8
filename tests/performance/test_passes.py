"""How contenders are timed and stored. No test looks at a time."""

import json

import numpy as np
import pandas as pd
import pytest

from driftrates import kernels, store
from driftrates.performance import passes
from driftrates.sums import cpu, kernel_sums


def cloud(n, d, dtype="float64"):
    return np.random.default_rng(n + d).normal(size=(n, d)).astype(dtype)


def reference(x, h, kernel="gaussian"):
    terms = ("k", "kz", "gzz") if kernel == "gaussian" else ("k", "kz")
    wide = x[None].astype(np.float64)
    found = kernel_sums(wide, wide, kernels.make(kernel), h, terms, engine="reference").terms
    return tuple(h**p * found[t][0] for p, t in enumerate(terms))


@pytest.mark.parametrize("d", [1, 2, 4])
@pytest.mark.parametrize("name", passes.LIVE)
def test_contenders_of_this_package_agree_with_the_reference(name, d, threads):
    x, h = cloud(130, d), 0.4
    found = passes.LIVE[name][0](x, x, h, 1)()
    found = found if isinstance(found, tuple) else (found,)
    for value, exact in zip(found, reference(x, h), strict=False):
        np.testing.assert_allclose(value, exact, rtol=1e-10, atol=1e-12 * np.abs(exact).max())


def test_blocks_of_the_products_do_not_change_the_sums():
    x = cloud(101, 3)
    few = passes.gemm(np, np.exp, x, x, 0.5, np.empty, pairs=101 * 7)()
    for value, exact in zip(few, reference(x, 0.5), strict=True):
        np.testing.assert_allclose(value, exact, rtol=1e-10, atol=1e-11)


def test_engines_of_other_kernels(threads):
    x = cloud(150, 1)
    for value, exact in zip(passes.engine("line", "laplace")(x, x, 0.3, 1)(), reference(x, 0.3, "laplace"), strict=True):
        np.testing.assert_allclose(value, exact, rtol=1e-11, atol=1e-12)


def test_errors_are_seen_wherever_they_are(threads):
    """Negative controls: at the most remote point, in a sum other than S0, and of S0 alone."""
    x, h = cloud(3000, 2), 0.3
    sums = [np.array(s) for s in passes.engine("cpu")(x, x, h, 1)()]
    assert passes.largest_error(tuple(sums), x, h) == (0.0, 0.0)
    remote = np.argmax((x**2).sum(1))
    sums[0][remote] *= 1 + 1e-3
    relative, of_largest = passes.largest_error(tuple(sums), x, h)
    assert relative == pytest.approx(1e-3) and 0 < of_largest < 1e-4
    assert passes.largest_error(sums[0], x, h) == (relative, of_largest)
    sums[2] *= 1 + 1e-5
    assert passes.largest_error((sums[0], *sums[1:]), x, h)[1] >= 0.99e-5


def test_bandwidth_is_silvermans():
    assert passes.bandwidth(1000, 1) == pytest.approx((4 / 3000) ** 0.2)
    assert passes.bandwidth(10, 4) == pytest.approx((1 / 15) ** (1 / 8))


def test_a_round_runs_all_one_after_the_other():
    ran = []

    def contender(name, seconds):
        return lambda repeats: ran.append((name, repeats)) or seconds

    measure = {"fast": contender("fast", 0.01), "middle": contender("middle", 0.5), "slow": contender("slow", 9.0)}
    times = passes.alternate(measure, {"fast": 0.01, "middle": 0.5, "slow": 9.0}, rounds=4, least=0.05, budget=1.5)
    fast, middle, slow = ("fast", 5), ("middle", 1), ("slow", 1)
    assert ran == [fast, middle, slow, fast, middle, slow, fast, middle, fast]
    assert {name: len(t) for name, t in times.items()} == {"fast": 4, "middle": 3, "slow": 2}


def test_timed_warms_up_and_repeats(monkeypatch):
    monkeypatch.setattr(passes.time, "sleep", lambda seconds: None)
    calls = []
    assert passes.timed(lambda: calls.append(0))(5) >= 0
    assert len(calls) == 6


def test_summary_takes_ratios_within_rounds():
    row = passes.summarise([2.0, 6.0, 20.0], [1.0, 2.0, 5.0, 9.0], 60.0)
    assert row["seconds"] == 6.0 and row["pairs_per_second"] == 10.0 and row["rounds"] == 3
    assert (row["times_slower_low"], row["times_slower"], row["times_slower_high"]) == (2.5, 3.0, 3.5)
    assert "times_slower" not in passes.summarise([1.0], None, 1.0)


def rows():
    usual = {"part": "throughput", "kernel": "gaussian", "d": 2, "dtype": "float64", "threads": 1, "version": "1.10"}
    return [{**usual, "contender": name, "n": n, "seconds": s, "rounds": 3} for name, n, s in (("a", 10, 0.5), ("b, c", 1000, 1e-9))]


def test_a_table_is_read_as_it_was_written(tmp_path):
    table = passes.tabulate(rows())
    assert list(table.columns) == list(passes.COLUMNS)
    store.write_csv(table, tmp_path / "table.csv")
    pd.testing.assert_frame_equal(passes.read(tmp_path / "table.csv"), table)
    assert table["outputs"].tolist() == ["", ""] and table["error"].isna().all() and table["version"].tolist() == ["1.10", "1.10"]


def test_a_table_of_another_form_is_refused(tmp_path):
    path = tmp_path / "table.csv"
    store.write_csv(passes.tabulate(rows()).drop(columns="threads"), path)
    with pytest.raises(ValueError, match=r"table.csv is not a table of benchmarks/sums.py .*threads.*measure again"):
        passes.read(path)


def committed(folder, name, **about):
    store.write_csv(passes.tabulate(rows()), folder / f"{name}.csv")
    (folder / f"{name}.json").write_text(json.dumps(about))
    return folder / f"{name}.csv"


def test_the_newest_table_of_a_cpu_is_taken(tmp_path):
    old = committed(tmp_path, "z", processor="p", date="2026-01-31")
    new = committed(tmp_path, "b", processor="q", date="2026-02-01T10:00+00:00")
    card = committed(tmp_path, "card", card="H200", date="2027-01-01")
    bare = tmp_path / "bare.csv"
    bare.write_text("")
    assert passes.newest([bare, old, card, new]) == (new, {"processor": "q", "date": "2026-02-01T10:00+00:00"})
    with pytest.raises(ValueError, match=r"python benchmarks/sums.py"):
        passes.newest([card, bare])


def test_the_dataset_holds_the_committed_and_the_live_rows(tmp_path):
    path = committed(tmp_path, "machine", processor="p", date="2026-02-01")
    before = cpu.threads()
    ds = passes.measure_performance([path], seed=0, sizes=[40, 60], seconds=0.1)
    assert cpu.threads() == before
    assert (ds.attrs["table"], json.loads(ds.attrs["committed"])["processor"]) == ("machine.csv", "p")
    store.write(ds, tmp_path / "performance.nc", title="t", digest="0" * 32, params={})
    table = passes.frame(store.read(tmp_path / "performance.nc"))
    pd.testing.assert_frame_equal(table.iloc[:2], passes.tabulate(rows()))
    live = table[table["part"] == "live"]
    assert sorted(zip(live["contender"], live["n"], strict=True)) == sorted((c, n) for c in passes.LIVE for n in (40, 60))
    assert (live["rounds"] >= 2).all() and (live["error"] < 1e-9).all() and (live["seconds"] > 0).all()
    assert live["outputs"].tolist() == ["all", "all", "S0"] * 2


def test_a_wrong_contender_is_not_timed():
    wrong = {passes.BASE: (lambda x, y, h, threads: lambda: np.ones(len(x)), "numpy")}
    with pytest.raises(ValueError, match="driftrates cpu is wrong by .* at n = 50"):
        passes.measure_live([50], 0.1, seed=0, contenders=wrong)


def test_a_contender_keeps_its_threads_whatever_others_use(monkeypatch):
    x, used = np.random.default_rng(0).normal(size=(20, 2)), []
    sums = passes.kernel_sums
    monkeypatch.setattr(passes, "kernel_sums", lambda *args, **options: used.append(cpu.threads()) or sums(*args, **options))
    before = cpu.threads()
    try:
        two, one = passes.engine("cpu")(x, x, 0.5, 2), passes.engine("cpu")(x, x, 0.5, 1)
        passes.largest_error(two(), x, 0.5)
        two(), one(), two()
    finally:
        cpu.set_threads(before)
    assert used == [2, 1, 2, 1, 2]
