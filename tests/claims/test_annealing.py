"""The chapter of annealing on data whose verdict is known: broken data must turn the verdict."""

import numpy as np
import pytest
import xarray as xr

from driftrates.claims import judge, ledger
from driftrates.spectral import annealing, schedules


@pytest.fixture(scope="module")
def study():
    """A small study whose mean-field and particle times are the linear ones, and in which annealing wins for particles."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(annealing, "mean_field_times", _linear_times)
        patch.setattr(annealing, "particle_times", _particle_times)
        patch.setattr(schedules, "follow", _follow)
        mixtures = {"particles": 8, "pilots": 2, "replicates": 4, "checkpoints": (2, 4)}
        sizes = {"largest": 24, "mean_field_largest": 18, "particle_largest": 16}
        return annealing.measure_annealing(seed=1, resamples=19, mixtures=mixtures, **sizes)


def _linear_times(cutoffs, c, stop, *_, **__):
    fixed = [annealing.fixed_time(cutoffs, h, c) for h in (*annealing.FIXED, annealing.best_bandwidth(cutoffs))]
    times = np.stack([*fixed, *([annealing.annealed_time(int(k), annealing.START, r, c) for k in cutoffs] for r in annealing.RATES)])
    noise = np.exp(1e-3 * np.random.default_rng(0).standard_normal(times.shape))
    return np.where(times < 4000, times * noise, np.nan)


def _particle_times(cutoffs, c, stop, seed, n_particles, replicates, resamples):
    times = _linear_times(cutoffs, c, stop)
    noise = 1e-2 * np.random.default_rng(1).standard_normal((*times.shape, resamples))
    return times, times[..., None] * np.exp(noise)


def _follow(x, target, schedule, eta, checkpoints, distance):
    level = {"fixed": 0.2, "annealed": 0.1, "swept": 0.15, "reversed": 0.4}[schedule.kind]
    draws = 0.002 * np.random.default_rng(len(schedule.title)).standard_normal((len(x), len(checkpoints)))
    return level + draws


def rows(study: xr.Dataset):
    return judge("annealing", {"annealing": study}).set_index("id")


def test_linear_times_meet_every_statement_and_every_control_is_caught(study):
    table = rows(study)
    assert {known.split("/")[0] for known in table.index} == {"B4"} == set(ledger.statements("annealing"))
    assert (table["control"] == "caught").all(), table.index[table["control"] != "caught"].tolist()
    assert set(table["verdict"]) <= {"holds", "attained", "exhibited"}, table["verdict"].to_dict()


@pytest.mark.parametrize(
    ("variable", "statement"),
    [("quadrature", "integral, quadrature"), ("linearised", "integral, linearised"), ("searched_bandwidth", "best fixed")],
)
def test_a_wrong_number_turns_its_own_verdict(study, variable, statement):
    table = rows(study.assign({variable: study[variable] * 1.001}))
    assert list(table.index[table["verdict"] == "fails"]) == [f"B4/{statement}"]


def test_damping_beyond_the_cap_is_seen(study):
    table = rows(study.assign(nonlinear=study["nonlinear"] * 1.01))
    assert table.loc["B4/cap", "verdict"] == "violated"
    assert table.loc[["B4/integral, nonlinear", "B4/sweeps"], "verdict"].tolist() == ["fails"] * 2


def test_times_that_grow_otherwise_are_not_attained(study):
    times, cutoff = study["convergence_time"], study["cutoff"].values
    slow = times["schedule"].isin([name for name in times["schedule"].values if name.startswith("annealed")])
    broken = times * xr.where(slow, xr.DataArray(np.exp(0.005 * cutoff**2), dims="cutoff"), 1.0)
    resampled = broken.sel(equation="particles").values[..., None] * np.ones(19)
    fits = {name: (*rest[:2],) for name, rest in annealing.fit_laws(cutoff, broken.values, resampled).items()}
    table = rows(study.assign(convergence_time=broken, **fits))
    annealed = table.filter(regex="^B4/annealed", axis=0)
    assert len(annealed) == 9 and set(annealed["verdict"]) == {"not attained"}
    assert set(table.filter(regex="^B4/logarithmic", axis=0)["verdict"]) == {"not exhibited"}


def test_a_sweep_that_fails_is_counted(study):
    times = study["convergence_time"].copy()
    times.loc[{"schedule": "annealed 0.4", "equation": "particles", "cutoff": 9}] = np.nan
    table = rows(study.assign(convergence_time=times))
    assert table.loc["B4/one sweep converges, r = 0.4", "verdict"] == "violated"
    assert table.loc["B4/one sweep converges, r = 0.25", "verdict"] == "attained"


def test_a_study_in_which_nothing_converged_exhibits_no_gain(study):
    times = study["convergence_time"].where(study["equation"] != "particles")
    table = rows(study.assign(convergence_time=times))
    assert table.loc["B4/gain, particles", "verdict"] == "not exhibited"


def test_bounds_above_the_times_are_violated(study):
    assert rows(study.assign(lower_bound=1.5 * study["lower_bound"])).loc["B4/lower bound", "verdict"] == "violated"
    assert rows(study.assign(optimal_time=2 * study["optimal_time"])).loc["B4/optimal", "verdict"] == "violated"


def test_particles_decide_by_the_paired_difference(study):
    worse = study["contender"] == "best annealed"
    lost = study.assign(contest=study["contest"] + 0.2 * worse)
    assert set(rows(lost)["verdict"].filter(like="evaluations")) == {"violated"}
    wide = lost.assign(gap_error=study["gap_error"] + 0.3 * worse)
    assert "violated" not in set(rows(wide)["verdict"].filter(like="evaluations"))
