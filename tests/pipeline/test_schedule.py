"""The list schedule against cases that can be laid out by hand, bounds that hold for any, and a brute-force optimum."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from driftrates.pipeline import cost, schedule
from driftrates.pipeline.schedule import Job, growth, lay_out, plan, producer, tabulate


def job(name, seconds, *needs, gpu=False):
    return Job((name,), seconds, gpu, tuple((n,) for n in needs))


def test_a_chain_takes_the_sum_of_its_jobs():
    layout = lay_out([job("a", 3.0), job("b", 2.0, "a"), job("c", 1.0, "b")], 4, 2)
    assert layout.makespan == 6.0
    assert layout.cpu_idle == pytest.approx(1 - 6 / (6 * 8))
    assert layout.gpu_idle == 1.0


def test_gpus_and_slots_limit_what_runs_at_a_time():
    gpus = [job(f"g{i}", 1.0, gpu=True) for i in range(6)]
    assert lay_out(gpus, 1, 16).makespan == 6.0
    assert lay_out(gpus, 2, 16) == schedule.Layout(3.0, 0.0, 1 - 6 / (3 * 32))
    cpus = [job(f"c{i}", 1.0) for i in range(6)]
    assert lay_out(cpus, 1, 2).makespan == 3.0
    assert lay_out(cpus, 3, 2).makespan == 1.0
    assert lay_out(gpus + cpus, 1, 2).makespan == 6.0, "the slots beside the GPU's are used meanwhile"


def test_the_longest_chain_goes_first():
    jobs = [job("short1", 2.0), job("short2", 2.0), job("long", 1.0), job("behind", 4.0, "long")]
    assert lay_out(jobs, 1, 2).makespan == 5.0


def best(jobs, slots):
    """The shortest makespan without needs: every assignment to the slots."""
    return min(
        max(math.fsum(j.seconds for j, s in zip(jobs, chosen, strict=True) if s == slot) for slot in range(slots))
        for chosen in itertools.product(range(slots), repeat=len(jobs))
    )


@given(times=st.lists(st.floats(0.1, 9.0), min_size=1, max_size=6), slots=st.integers(1, 3))
@settings(max_examples=60, deadline=None)
def test_within_four_thirds_of_the_best_without_needs(times, slots):
    """Longest first: at most 4/3 - 1/(3 slots) of the optimum (Graham 1969)."""
    jobs = [job(str(i), t) for i, t in enumerate(times)]
    made, optimum = lay_out(jobs, 1, slots).makespan, best(jobs, slots)
    assert optimum - 1e-9 <= made <= (4 / 3 - 1 / (3 * slots)) * optimum + 1e-9


@given(data=st.data(), nodes=st.integers(1, 4), slots=st.integers(1, 3))
@settings(max_examples=60, deadline=None)
def test_bounds_for_any_jobs(data, nodes, slots):
    jobs = []
    for i in range(data.draw(st.integers(1, 12))):
        needs = data.draw(st.lists(st.sampled_from([j.run[0] for j in jobs]), unique=True, max_size=2)) if jobs else []
        jobs.append(job(str(i), data.draw(st.floats(0.1, 5.0)), *needs, gpu=data.draw(st.booleans())))
    layout = lay_out(jobs, nodes, slots)
    work = math.fsum(j.seconds for j in jobs)
    on_gpu = math.fsum(j.seconds for j in jobs if j.gpu)
    assert layout.makespan >= max(on_gpu / nodes, work / (nodes * slots)) - 1e-9
    assert layout.makespan <= work + 1e-9
    assert layout.gpu_idle == pytest.approx(1 - on_gpu / (nodes * layout.makespan))
    assert -1e-9 <= layout.gpu_idle <= 1 and -1e-9 <= layout.cpu_idle <= 1
    assert lay_out(jobs, nodes + 1, slots).makespan <= work + 1e-9


def test_a_circle_of_needs_is_refused():
    with pytest.raises(ValueError, match="go round in a circle"):
        lay_out([job("a", 1.0, "b"), job("b", 1.0, "a")], 1, 1)


@pytest.mark.parametrize(
    ("small", "large", "factor"),
    [
        ({"replicates": 2, "samples": 10}, {"replicates": 8, "samples": 10}, 4),
        ({"sizes": [3, 4], "samples": 10}, {"sizes": [6, 8], "samples": 20}, 4),
        ({"replicates": 2, "draws": 10}, {"replicates": 4, "draws": 70}, 14),
        ({"grid": [0.1, 0.2]}, {"grid": [0.1, 0.2, 0.3]}, 1.5),
        ({"horizon": 2.0, "name": "a", "on": True}, {"horizon": 6.0, "name": "b", "on": False}, 3),
        ({"inner": {"particles": 5}, "tolerance": 1e-3}, {"inner": {"particles": 10}, "tolerance": 1e-6}, 4),
        ({"a": 1}, {"a": 1}, 1),
        ({"delay": 0.0, "seeds": [0], "replicates": 0, "samples": 2}, {"delay": 1.0, "seeds": [3], "replicates": 4, "samples": 4}, 2),
    ],
)
def test_growth(small, large, factor):
    assert growth(small, large) == pytest.approx(factor)


@pytest.mark.parametrize(
    ("dataset", "run"),
    [
        ("flow/x", ("simulate_flow", "x")),
        ("fields/x", ("map_fields", "x")),
        ("entropy/x", ("measure_entropy", "x")),
        ("claims/x", ("judge_claims", "x")),
        ("growth", ("study_growth",)),
        ("kernels", ("tabulate_kernels",)),
    ],
)
def test_producer(dataset, run):
    assert producer(dataset) == run


def configured(sizes, replicates, samples):
    experiment = {
        "name": "x",
        "target": {"mixture": {"weights": [1.0], "means": [[0.0]], "standard_deviations": [1.0]}},
        "n_particles": sizes,
        "bandwidth": [0.5, 1.0],
        "replicates": replicates,
        "times": {"stop": 1.0, "count": 11, "spacing": "linear"},
        "integrator": {"method": "euler", "step": 0.01},
    }
    return {
        "seed": 1,
        "experiments": {"x": experiment},
        "measurements": {"entropy": {"samples": samples}, "growth": {"replicates": replicates}},
    }


SMALL, LARGE = configured([10, 20], 2, 100), configured([100, 200], 8, 300)
SECONDS = {("simulate_flow", "x"): 5.0, ("measure_entropy", "x"): 11.0, ("study_growth",): 3.0, ("judge_claims", "c"): 1.5}
NEEDS = {("measure_entropy", "x"): ["flow/x"], ("judge_claims", "c"): ["entropy/x", "growth"]}
EVALUATIONS = {"x": np.array([[100.0, 110.0], [100.0, 120.0]])}


def test_plan_by_hand():
    jobs = {j.run: j for j in plan(SMALL, LARGE, SECONDS, EVALUATIONS, NEEDS, rate=1e4)}
    start = schedule.START_SECONDS
    pairs = 8 * (100 * 101 * 200 + 200 * 201 * 230)
    assert jobs["simulate_flow", "x"].seconds == pytest.approx(start + pairs / 1e4)
    assert jobs["simulate_flow", "x"].gpu
    grown = 8 * (100 * 101 + 200 * 201) / (2 * (10 * 11 + 20 * 21))
    assert jobs["measure_entropy", "x"].seconds == pytest.approx(start + 10 * grown)
    assert jobs["study_growth",].seconds == pytest.approx(start + 2 * 4)
    assert jobs["judge_claims", "c"] == Job(("judge_claims", "c"), start + 0.5, False, (("measure_entropy", "x"), ("study_growth",)))


def test_cells_that_pair_bandwidths_with_sizes():
    """The k-th bandwidth belongs to the k-th size alone, and the evaluations have no axis of bandwidths."""
    small, large = configured([10, 20], 2, 100), configured([100, 200], 8, 100)
    for config in (small, large):
        config["experiments"]["x"]["paired"] = True
    run = ("simulate_flow", "x")
    jobs = plan(small, large, {run: 5.0}, {"x": np.array([100.0, 120.0])}, {}, rate=1e4, split="cell")
    assert [j.run for j in jobs] == [(*run, "0"), (*run, "1")]
    assert [j.seconds - schedule.START_SECONDS for j in jobs] == pytest.approx([8 * 100 * 101 * 100 / 1e4, 8 * 200 * 201 * 120 / 1e4])


def test_splitting_keeps_the_work_and_pays_the_starts():
    whole = plan(SMALL, LARGE, SECONDS, EVALUATIONS, NEEDS, rate=1e4)
    cells = plan(SMALL, LARGE, SECONDS, EVALUATIONS, NEEDS, rate=1e4, split="cell")
    parts = plan(SMALL, LARGE, SECONDS, EVALUATIONS, NEEDS, rate=1e4, split="replicate")
    assert [len(whole), len(cells), len(parts)] == [4, 4 + 4 + 2, 4 + 4 + 8 + 1]
    work = [math.fsum(j.seconds - schedule.START_SECONDS for j in jobs) for jobs in (whole, cells, parts)]
    assert work[1:] == pytest.approx([work[0]] * 2)
    by_run = {j.run: j for j in cells}
    assert by_run["measure_entropy", "x", "3"].needs == (("simulate_flow", "x", "3"),)
    assert len(by_run["judge_claims", "c"].needs) == 5


def test_a_run_without_a_time_is_named():
    with pytest.raises(ValueError, match="no time was measured for .*simulate_flow"):
        plan(SMALL, LARGE, {("measure_entropy", "x"): 1.0}, EVALUATIONS, NEEDS, rate=1e4)


def test_table():
    table = tabulate(SMALL, LARGE, SECONDS, EVALUATIONS, NEEDS, nodes=(1, 3), rates=(1e4,), slots=2)
    assert list(table.columns) == list(schedule.COLUMNS)
    assert list(table["job_per"]) == ["stage"] * 2 + ["cell"] * 2 + ["replicate"] * 2
    assert (table["makespan_hours"] >= table["bound_hours"] - 1e-12).all()
    assert (table["makespan_hours"] <= table["gpu_hours"] + table["cpu_hours"] + 1e-12).all()
    assert table["gpu_idle"].between(0, 1).all() and table["cpu_idle"].between(0, 1).all()
    one = table[table["nodes"] == 1]
    assert (table[table["nodes"] == 3]["gpu_idle"].to_numpy() > one["gpu_idle"].to_numpy()).all()


def test_cells_and_evaluations_of_the_example():
    assert [c.n for c in cost.cells(LARGE["experiments"]["x"], seed=1)] == [100, 200, 100, 200]
    assert cost.evaluations(LARGE["experiments"]["x"]) == 100
