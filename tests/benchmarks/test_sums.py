"""The benchmark of the sums on the CPU: contenders that agree, presets, what an interrupted run keeps. No test looks at a time."""

from __future__ import annotations

import dataclasses
import importlib
import sys
from pathlib import Path

import numpy as np
import pytest

from driftrates import kernels
from driftrates.performance import passes
from driftrates.sums import cpu, kernel_sums, machine, vector_ir

FOLDER = Path(__file__).parents[2] / "benchmarks"
sys.path.insert(0, str(FOLDER))
sums, peers, presets, processes, instructions = (
    importlib.import_module(name) for name in ("sums", "peers", "presets", "processes", "instructions")
)


pytestmark = pytest.mark.usefixtures("threads")

# Contenders.


# Peers warn of changes to come in what they themselves use.
@pytest.mark.filterwarnings("default::DeprecationWarning", "default::FutureWarning")
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", list(peers.PEERS))
def test_installed_contenders_agree_with_the_reference(name, dtype):
    rng, h = np.random.default_rng(2), 0.4
    x = rng.normal(size=(120, 2)).astype(dtype)
    try:
        call = peers.PEERS[name].factory(x, x, h, 1)
        found = call()
    except (ImportError, NotImplementedError) as error:
        pytest.skip(str(error))
    wide = x[None].astype(np.float64)
    exact = kernel_sums(wide, wide, kernels.make("gaussian"), h, ("k", "kz", "gzz"), engine="reference").terms
    assert isinstance(found, tuple) is (peers.PEERS[name].outputs == "all")
    found = found if isinstance(found, tuple) else (found,)
    tolerance = max(peers.PEERS[name].tolerance, processes.FLOAT32 if dtype == "float32" else 0.0)
    for power, (term, value) in enumerate(zip(("k", "kz", "gzz"), found, strict=False)):
        right = h**power * exact[term][0]
        assert np.asarray(value).shape == right.shape
        assert np.abs(value - right).max() < tolerance * np.abs(right).max()


def case(n=50, **given):
    return {"kernel": "gaussian", "d": 2, "n": n, "bandwidth": 0.4, "dtype": "float64", "threads": 1, **given}


def wrong(x, y, h, threads):
    exact = passes.numpy_gemm(x, y, h, threads)
    return lambda: tuple(s * (1 + 1e-6) for s in exact())


def test_a_wrong_contender_is_left_out(monkeypatch, capsys):
    """Negative control: one part in a million in float64."""
    monkeypatch.setitem(peers.PEERS, "wrong", peers.Peer(wrong, "numpy"))
    with pytest.raises(ValueError, match=r"wrong by 1\.0e-06, more than 1e-09"):
        processes.prepare("wrong", case())
    sweep = presets.Sweep(peers=("wrong", "numpy GEMM"))
    rows = sums.compare(case(), sweep, presets.PRESETS["quick"], {})
    assert {row["contender"] for row in rows} == {passes.BASE, "numpy GEMM"}
    assert "wrong left out at d=2 n=50 float64: wrong by" in capsys.readouterr().err


def test_what_was_too_slow_is_not_tried_again(monkeypatch):
    sweep = presets.Sweep(peers=("numpy GEMM", "numpy broadcast"), slowest=1.0)
    last = {"numpy GEMM": (25, 0.2), "numpy broadcast": (25, 0.3)}
    rows = sums.compare(case(), sweep, presets.PRESETS["quick"], last)
    assert {row["contender"] for row in rows} == {passes.BASE, "numpy GEMM"}  # 0.2 s becomes 0.8 s, 0.3 s becomes 1.2 s


def test_a_contender_in_a_process_of_its_own():
    alone = processes.Alone("numpy GEMM", case(threads=2))
    try:
        assert set(alone.about) == {"first_call_seconds", "error", "about"} and alone.about["error"] < 1e-9
        assert 0 < alone(2) < 60
    finally:
        alone.close()
    assert not alone.process.is_alive()
    with pytest.raises(NotImplementedError, match="float64 only"):
        processes.Alone("scipy gaussian_kde", case(dtype="float32", threads=2))


# Presets and the command line.


@pytest.mark.parametrize("name", list(presets.PRESETS))
def test_presets_name_what_there_is(name):
    preset = sums.chosen_preset(sums.parse(["--preset", name]))
    assert preset == presets.PRESETS[name]
    for sweep in preset.sweeps:
        assert set(sweep.peers) <= set(peers.PEERS) and set(sweep.dtypes) <= {"float64", "float32"}
    assert {kernel for kernel, *_ in preset.accuracy} <= set(kernels.names())
    assert all(1e-12 <= t <= 1e-3 for t in preset.tolerances)
    minutes = [known.minutes for known in presets.PRESETS.values()]
    assert minutes == sorted(minutes)
    assert any(2 in s.dimensions and 64 in s.sizes and s.threads == 1 for s in preset.sweeps), "the overhead of a call"


def test_the_command_line_replaces_sweeps():
    given = ["--preset", "quick", "--sizes", "10", "20", "--threads", "1", "2", "--peers", "numpy GEMM", "--rounds", "2", "--minutes", "1"]
    preset = sums.chosen_preset(sums.parse(given))
    assert [s.threads for s in preset.sweeps] == [1, 2]
    assert {(s.sizes, s.dimensions, s.peers) for s in preset.sweeps} == {((10, 20), (2,), ("numpy GEMM",))}
    assert (preset.rounds, preset.minutes) == (2, 1)


def test_the_list_names_every_contender(capsys):
    assert sums.main(["--list"]) == 0
    assert [line[:34].strip() for line in capsys.readouterr().out.splitlines()] == list(peers.PEERS)


def small(output, *more):
    return sums.main(["--preset", "quick", "--rounds", "1", "--output", str(output), *more])


def test_an_interrupted_run_keeps_what_it_has(tmp_path, monkeypatch, capsys):
    compare, cases = sums.compare, []

    def interrupted(case, *rest):
        cases.append(case["n"])
        if len(cases) == 2:
            raise KeyboardInterrupt
        return compare(case, *rest)

    monkeypatch.setattr(sums, "compare", interrupted)
    output = tmp_path / "new" / "table.csv"
    given = ["--parts", "throughput", "--sizes", "20", "30", "40", "--peers", "numpy GEMM"]
    assert small(output, *given) == 130
    assert cases == [20, 30] and "2 rows are kept in" in capsys.readouterr().err
    path, about = passes.newest([output])
    table = passes.read(path)
    assert table["n"].tolist() == [20, 20] and table["contender"].tolist() == [passes.BASE, "numpy GEMM"]
    assert table["times_slower"][0] == 1.0 and (table["seconds"] > 0).all() and (table["version"] != "").all()
    assert about["preset"] == "quick" and about["versions"]["numpy"] == np.__version__


def test_a_run_ends_with_its_minutes(tmp_path, capsys):
    assert small(tmp_path / "table.csv", "--minutes", "0", "--parts", "throughput", "--sizes", "20") == 0
    assert "the 0 minutes are over; left out: throughput at {'kernel': 'gaussian', 'd': 2, 'n': 20" in capsys.readouterr().err


def test_accuracy_and_scaling_have_their_rows(tmp_path, monkeypatch):
    quick = presets.PRESETS["quick"]
    little = dataclasses.replace(
        quick, accuracy=(("gaussian", 2, 300, None), ("laplace", 2, 300, None)), tolerances=(1e-3, 1e-9), largest=10_000
    )
    monkeypatch.setitem(presets.PRESETS, "quick", little)
    assert small(tmp_path / "table.csv", "--parts", "accuracy", "scaling") == 0
    table = passes.read(tmp_path / "table.csv")
    accuracy = table[(table["part"] == "accuracy") & (table["rtol"] == 1e-9)]
    assert {("gaussian", "driftrates cells"), ("laplace", "driftrates cells")} <= set(
        zip(accuracy["kernel"], accuracy["contender"], strict=True)
    )
    assert (accuracy["error"] < 3e-9).all()
    exponents = table[table["part"] == "exponent"]
    assert {(c, d) for c, _, _, d, _ in presets.SCALING} >= set(zip(exponents["contender"], exponents["d"], strict=True))
    assert len(exponents) >= 2 and np.isfinite(exponents["exponent"]).all()


def test_exponents_are_those_of_powers():
    rows = [{"n": n, "seconds": n**1.5 * (1 if n >= 100_000 else 1000), "rtol": 1e-6, **case(n)} for n in (1000, 100_000, 10**6, 10**7)]
    rows = [{"contender": "a", "outputs": "all", **row} for row in rows]
    (found,) = sums.exponents(rows)
    assert found["part"] == "exponent" and found["n"] == 10**7 and found["exponent"] == pytest.approx(1.5)
    assert sums.exponents(rows[:1]) == []


def test_committed_results_can_be_read():
    path, about = passes.newest(sorted((FOLDER / "results").glob("*.csv")))
    table = passes.read(path)
    assert {"throughput", "accuracy", "scaling", "exponent"} == set(table["part"])
    assert {"date", "processor", "versions", "system"} <= set(about) and "avx" in " ".join(about["vector instructions"])
    ours = table[(table["part"] == "throughput") & (table["contender"] == passes.BASE)]
    assert (ours["times_slower"] == 1).all() and (table.loc[table["part"] != "exponent", "seconds"] > 0).all()


def test_the_file_is_named_by_machine_and_date():
    about = {
        "processor": "Intel(R) Xeon(R) Processor @ 2.10GHz",
        "vector instructions": ["avx2", "avx512f"],
        "date": "2026-11-22T10:00+00:00",
    }
    assert sums.default_output(about) == FOLDER / "results/intel-xeon-avx512f-2026-11-22.csv"
    assert sums.default_output({**about, "processor": "", "vector instructions": []}).name == "cpu-generic-2026-11-22.csv"


# Instructions.


def test_instructions_of_the_engine_grow_with_the_dimension():
    if not (vector_ir.wide(machine.features()) or machine.features().get("avx2")):
        pytest.skip("no AVX on this machine")
    counts = [instructions.count(passes.BASE, d, "float64") * cpu.lanes("float64") for d in (1, 2, 3)]
    # At least the differences, the squared norm, the accumulators, and an exponential of ten.
    assert all(10 + 4 * d <= c <= 45 + 8 * d for d, c in zip((1, 2, 3), counts, strict=True))
    assert counts[0] < counts[1] < counts[2]
    assert np.isnan(instructions.count("numpy GEMM", 2, "float64"))


def test_the_innermost_loop_is_found():
    loop = ".L4:\n\tvmulpd\t%zmm0, %zmm1, %zmm2\n\tvaddpd\t%zmm2, %zmm3, %zmm3\n\taddq\t$8, %rax\n\t{jump}\n"
    text = "f:\n\tpushq\t%rbp\n.L3:\n\tmovq\t%rax, %rbx\n" + loop.format(jump="jne\t.L4") + ".L5:\n\taddq\t$1, %rcx\n\tjne\t.L3\n"
    assert len(instructions.innermost(text)) == 4
    with pytest.raises(ValueError, match="0 innermost loops"):
        instructions.innermost(loop.format(jump="jne\t.L9"))
    with pytest.raises(ValueError, match="2 innermost loops"):
        instructions.innermost(text + loop.replace("L4", "L7").format(jump="jne\t.L7"))
