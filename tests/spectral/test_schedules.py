"""Bandwidth schedules, the distance to a reference, and the contest of schedules, against slow references."""

import math

import numpy as np
import pytest

from driftrates import random
from driftrates.measurements.transport import w2_to_data
from driftrates.spectral import schedules
from driftrates.spectral.schedules import START, Schedule


def test_schedules_run_from_start_to_least_and_back():
    def run(schedule, count):
        return np.array([schedule.bandwidth(n, 0.5) for n in range(count)])

    assert set(run(Schedule("fixed", 0.3), 5)) == {0.3}
    annealed = run(Schedule("annealed", 0.1, 0.4), 20)
    np.testing.assert_allclose(annealed, np.maximum(START * np.exp(-0.2 * np.arange(20)), 0.1))
    np.testing.assert_allclose(run(Schedule("reversed", 0.1, 0.4), 20), np.minimum(0.1 * np.exp(0.2 * np.arange(20)), START))
    swept = run(Schedule("swept", 0.1, 0.4), 40)
    length = int(np.argmax(annealed == 0.1)) + 1
    np.testing.assert_allclose(swept[:length], annealed[:length])
    np.testing.assert_array_equal(swept[length : 2 * length], swept[:length])


@pytest.mark.parametrize("bad", [("growing", 0.1, 0.1), ("fixed", 0.0, 0.0), ("fixed", 3.0, 0.0), ("annealed", 0.1, 0.0)])
def test_schedules_out_of_range_are_refused(bad):
    with pytest.raises(ValueError, match="schedule"):
        Schedule(*bad)


@pytest.mark.parametrize("d", [1, 2, 5])
def test_distance_is_that_of_the_transport_library(d):
    rng = np.random.default_rng(d)
    x, reference = rng.standard_normal((3, 20, d)), 0.5 + rng.standard_normal((140, d))
    found = schedules.Distance(reference, 20, seed=4)(x)
    expected = [w2_to_data(cloud, reference, projections=None if d == 1 else schedules.PROJECTIONS, seed=4) for cloud in x]
    np.testing.assert_allclose(found, expected, rtol=1e-10)


@pytest.mark.parametrize(("d", "seed"), [(1, 3), (2, 3), (5, 3), (1, 9), (2, 9), (1, 60), (2, 60)])
def test_mixtures_have_narrow_modes_apart(d, seed):
    mixture = schedules.fine_mixture(d, seed)
    gaps = np.linalg.norm(mixture.means[:, None] - mixture.means, axis=-1)[np.triu_indices(len(mixture.means), 1)]
    assert len(mixture.means) == schedules.MODES[d] and gaps.min() > 3 * schedules.WIDTH
    assert np.ptp(mixture.weights) > 0 and np.abs(mixture.means).max() <= schedules.REACH


@pytest.mark.parametrize(("d", "kind"), schedules.CASES)
def test_the_clock_has_no_say_at_equal_numbers_of_evaluations(d, kind):
    rng, mixture = random.generator(0, "clock test", d), schedules.fine_mixture(d, 0)
    target = mixture if kind == "density" else mixture.sample(rng, (2, 40))
    runs = [rng.standard_normal((2, 24, d))] * 2
    for n in range(6):
        h = Schedule("annealed", 0.1, 0.5).bandwidth(n, 1.0)
        runs = [schedules.step(x, target, h, 1.0, clock) for x, clock in zip(runs, ("displacement", "conservative"), strict=True)]
    np.testing.assert_allclose(*runs, rtol=1e-9, atol=1e-9)
    with pytest.raises(ValueError, match="clock"):
        schedules.step(runs[0], target, 0.3, 1.0, "sharp")


def test_a_step_is_a_mean_shift_of_data_less_that_of_the_cloud():
    rng = np.random.default_rng(0)
    x, data, h = rng.standard_normal((1, 7, 2)), rng.standard_normal((1, 9, 2)), 0.7

    def shift(at, points):
        weights = np.exp(-((at - points) ** 2).sum(-1) / (2 * h**2))
        return weights @ points / weights.sum() - at

    expected = [p + 0.5 * (shift(p, data[0]) - shift(p, x[0])) for p in x[0]]
    np.testing.assert_allclose(schedules.step(x, data, h, 0.5)[0], expected, rtol=1e-10)


def test_best_schedules_are_the_pilots_and_gaps_are_paired(monkeypatch):
    monkeypatch.setattr(schedules, "CASES", ((1, "density"), (2, "data")))
    seen = {}

    def follow(x, target, schedule, eta, checkpoints, distance):
        """Distances that single out one fixed and one annealed bandwidth, the pilots (first two clouds) another one than the rest."""
        good = schedule.title in ("fixed 0.5", "annealed to 0.1, r = 0.2")
        values = np.where(np.arange(len(x)) < 2, 1.0 - 0.5 * good, 1.0 + 0.5 * good) - 0.1 * (schedule.kind == "annealed")
        seen[schedule.title] = seen.get(schedule.title, 0) + 1
        return values[:, None] + 0.01 * np.arange(len(checkpoints)) + 0.001 * np.arange(len(x))[:, None]

    monkeypatch.setattr(schedules, "follow", follow)
    options = {"bandwidths": (0.3, 0.5), "rates": (0.1, 0.2), "least": (0.1, 0.3), "checkpoints": (1, 2)}
    out = schedules.measure_schedules(seed=1, particles=8, pilots=2, replicates=3, **options)
    titles = out["candidate"].values
    assert set(seen.values()) == {2}
    assert {titles[i] for i in out["choice"].sel(contender="best fixed").values.ravel()} == {"fixed 0.5"}
    assert {titles[i] for i in out["choice"].sel(contender="best annealed").values.ravel()} == {"annealed to 0.1, r = 0.2"}
    np.testing.assert_allclose(out["gap"].sel(contender="best annealed"), -0.1)
    np.testing.assert_allclose(out["gap_error"].sel(contender="best annealed"), 0.0, atol=1e-12)
    # Three replicates at 1.5 + 0.001 (2, 3, 4) + 0.01 c: half the Student interval is 4.303 * 0.001 / sqrt(3).
    np.testing.assert_allclose(out["distance_error"].sel(candidate="fixed 0.5"), 4.302653 * 1e-3 / math.sqrt(3), rtol=1e-4)


def test_runs_share_starts_and_keep_to_their_checkpoints(monkeypatch):
    monkeypatch.setattr(schedules, "CASES", ((1, "density"), (1, "data")))
    out = schedules.measure_schedules(
        seed=5, particles=32, pilots=1, replicates=2, checkpoints=(2, 6), bandwidths=(0.5, 1.2), rates=(0.2, 0.4), least=(0.1,)
    )
    assert out["checkpoint"].values.tolist() == [0, 2, 6]
    np.testing.assert_array_equal(out["distance"].isel(checkpoint=0), out["distance"][0, 0, 0])
    assert (out["distance"].isel(checkpoint=2) < out["distance"].isel(checkpoint=0)).all()
    assert (out["gap"].sel(contender="best fixed") == 0).all()
