"""Damping along annealed bandwidths, convergence times, and their laws, against slow references."""

import math

import numpy as np
import pytest
from scipy import integrate, optimize

from driftrates.spectral import annealing, particles, schedules


@pytest.mark.parametrize(("k", "h0", "r", "stop"), [(1, 2.0, 0.25, 16.0), (7, 2.0, 1.0, 3.0), (30, 0.5, 0.4, 9.0)])
def test_total_damping_is_the_integral_of_the_rate(k, h0, r, stop):
    def damping(t):
        square = (h0 * k * math.exp(-r * t)) ** 2
        return square * math.exp(-square / 2)

    exact = integrate.quad(damping, 0, stop, limit=200)[0]
    assert annealing.total_damping(k, h0, r, stop) == pytest.approx(exact, rel=1e-9)
    assert annealing.integrated_rate(np.array([k]), h0, r, stop)[0] == pytest.approx(exact, rel=1e-9)
    assert exact < 1 / r


def test_linearised_and_full_equations_agree_with_the_closed_form():
    k = np.array([1, 2, 5, 9])
    expected = annealing.total_damping(k, 2.0, 0.5, 5.0)
    np.testing.assert_allclose(annealing.linearised_damping(k, 2.0, 0.5, 5.0), expected, atol=1e-12)
    np.testing.assert_allclose(annealing.nonlinear_damping(k, 2.0, 0.5, 5.0), expected, atol=4e-6)
    np.testing.assert_allclose(annealing.nonlinear_damping(k, 2.0, 0.5, 5.0, sweeps=2), 2 * expected, atol=4e-6)


@pytest.mark.parametrize("cutoff", [1, 2, 5, 16])
def test_times_by_formula_are_those_of_a_scan_over_all_modes(cutoff):
    k, c = np.arange(1, cutoff + 1), 2.0
    for h in (0.3, 1.0, float(annealing.best_bandwidth(cutoff))):
        slowest = ((h * k) ** 2 * np.exp(-((h * k) ** 2) / 2)).min()
        assert annealing.fixed_time(cutoff, h, c) == pytest.approx(c / slowest, rel=1e-12)
    for r, sweeps in ((0.1, 1), (0.4, 1), (1.0, 4)):
        stop = annealing.annealed_time(cutoff, 2.0, r, c, sweeps)
        assert sweeps * annealing.total_damping(k, 2.0, r, stop / sweeps).min() == pytest.approx(c, rel=1e-9)
        assert sweeps * annealing.total_damping(k, 2.0, r, 0.99 * stop / sweeps).min() < c


def test_sweeps_that_cannot_reach_the_target_never_do():
    assert annealing.annealed_time(8, 2.0, 0.5, 2.0) == math.inf
    assert annealing.annealed_time(8, 2.0, 1.0, 2.0, sweeps=4) == annealing.annealed_time(8, 2.0, 0.25, 2.0)
    with pytest.raises(ValueError, match="smaller damping"):
        annealing.measure_annealing(seed=0, damping=2.4)


@pytest.mark.parametrize("cutoff", [2, 6, 20, 60])
def test_no_fixed_bandwidth_is_better_than_the_best(cutoff):
    h = np.geomspace(0.3, 3.0, 201) * annealing.best_bandwidth(cutoff)
    times = annealing.fixed_time(cutoff, h, 2.0)
    assert times.argmin() in range(98, 107) and times.min() >= annealing.fixed_time(cutoff, annealing.best_bandwidth(cutoff), 2.0) * (
        1 - 1e-9
    )
    formula = 2.0 * math.exp(annealing.best_bandwidth(cutoff) ** 2 / 2) * (cutoff**2 - 1) / (4 * math.log(cutoff))
    assert annealing.fixed_time(cutoff, annealing.best_bandwidth(cutoff), 2.0) == pytest.approx(formula, rel=1e-12)


def test_the_harmonic_bound_stands_below_every_schedule():
    h = np.geomspace(1e-3, 5, 400)
    k = np.arange(1, 20001)
    spent = np.array([((k * s) ** 2 * np.exp(-((k * s) ** 2) / 2) / k).sum() for s in h])
    assert spent.max() <= 1 + 1e-12
    for cutoff in (2, 8, 30):
        optimal = annealing.optimal_time(cutoff, 2.0)
        assert annealing.lower_bound(cutoff, 2.0) == pytest.approx(2 * (1 / np.arange(1, cutoff + 1)).sum())
        assert annealing.lower_bound(cutoff, 2.0) <= optimal
        known = [annealing.annealed_time(cutoff, 2.0, r, 2.0) for r in annealing.RATES]
        assert optimal <= 1.001 * min(*known, float(annealing.fixed_time(cutoff, annealing.best_bandwidth(cutoff), 2.0)))


def test_rough_starts_are_densities_with_a_flat_spectrum():
    x = np.arange(256) * (2 * math.pi / 256)
    q = annealing.rough_start(x, 8, seed=1)
    spectrum = np.abs(np.fft.rfft(q)) / len(x)
    assert q.min() == pytest.approx(annealing.LEAST) and spectrum[0] == pytest.approx(1)
    np.testing.assert_allclose(spectrum[1:9], spectrum[1])
    assert spectrum[9:].max() < 1e-12
    assert not np.allclose(q, annealing.rough_start(x, 8, seed=1, replicate=1))


def test_crossings_are_those_of_exponentials():
    times = np.concatenate([[0.0], np.geomspace(0.1, 20, 50)])
    rates = np.array([1.0, 0.5, 2.0, 0.01])
    found = annealing.crossing_times(times, 3 * np.exp(-rates * times[:, None]), 2.0)
    np.testing.assert_allclose(found, [2.0, 4.0, 4.0, math.nan], rtol=1e-12)


def test_small_densities_take_the_times_of_the_linearised_equation(monkeypatch):
    monkeypatch.setattr(annealing, "LEAST", 0.97)
    cutoffs = np.array([2, 4, 6])
    found = annealing.mean_field_times(cutoffs, 2.0, 40.0, 1, 1)
    best = annealing.best_bandwidth(cutoffs)
    for i, h in enumerate((*annealing.FIXED, best)):
        expected = annealing.fixed_time(cutoffs, h, 2.0)
        reached = expected < 40
        np.testing.assert_allclose(found[i][reached], expected[reached], rtol=3e-2)
        assert np.isnan(found[i][~reached]).all()
    for i, r in enumerate(annealing.RATES, len(annealing.FIXED) + 1):
        np.testing.assert_allclose(found[i], [annealing.annealed_time(int(k), 2.0, r, 2.0) for k in cutoffs], rtol=2e-2)


def test_particles_from_quantiles_follow_the_linearised_equation():
    u = (np.arange(400) + 0.5) / 400
    x0 = particles.wave_start(u, 3, 0.01)[None, :, None]
    times = np.array([0.0, 2.0, 6.0])
    seen = annealing.particle_amplitudes(x0, annealing.annealed(2.0, 0.3), times, 3)[0, :, 2]
    expected = [annealing.total_damping(3, 2.0, 0.3, t) for t in times]
    np.testing.assert_allclose(np.log(seen[0] / seen), expected, atol=0.02)


def test_particles_that_cannot_be_followed_are_named(monkeypatch):
    monkeypatch.setattr(annealing.integrate, "solve_ivp", lambda *_, **__: optimize.OptimizeResult(success=False, message="too stiff"))
    with pytest.raises(RuntimeError, match="4 particles on the torus, bandwidth 2 at the start: too stiff"):
        annealing.particle_amplitudes(np.zeros((1, 4, 1)), annealing.annealed(2.0, 0.3), np.array([0.0, 1.0]), 1)


@pytest.mark.parametrize(
    ("law", "values"),
    [
        ("exponential", lambda k: 2 * np.exp(0.125 * k**2) / k**2),
        ("power", lambda k: 3 * k**0.125),
        ("logarithmic", lambda k: 1.5 + 0.125 * np.log(k)),
    ],
)
def test_every_law_recovers_itself_and_is_the_one_supported(law, values):
    k = np.arange(4, 13)
    times = values(k)
    slope, low, high, misfit, bend = annealing.fit_law(law, k, times)
    assert slope == pytest.approx(0.125) and low <= slope <= high
    assert misfit < 1e-7 and bend == pytest.approx(1)
    noisy = times * np.exp(1e-3 * np.random.default_rng(0).standard_normal(len(k)))
    others = {other: annealing.fit_law(other, k, noisy)[3] for other in annealing.LAWS}
    assert min(others, key=others.get) == law


def test_resampled_replicates_give_the_intervals_of_particles():
    cutoffs = np.array([4, 6, 9, 13])
    shape = (len(annealing.EQUATIONS), len(annealing.SCHEDULES), 4)
    times = np.broadcast_to(8 * np.log(cutoffs), shape).copy()
    drawn = np.broadcast_to((np.linspace(7, 9, 41) * np.log(cutoffs)[:, None]), (*shape[1:], 41))
    fits = annealing.fit_laws(cutoffs, times, drawn)
    last = fits["slope_interval"][1][3, -1, 2]
    np.testing.assert_allclose(last, [7.05, 8.95])
    assert fits["support"][1][3, -1, 2] < -10 < 10 < fits["support"][1][3, -1, 0]
    assert fits["fitted"][1][0, 0] == 1 and np.isnan(fits["slope"][1][0, 0]).all()


def test_the_study_holds_every_part(monkeypatch):
    monkeypatch.setattr(schedules, "CASES", ((1, "density"),))
    mixtures = {"particles": 16, "pilots": 1, "replicates": 2, "checkpoints": (1, 2), "bandwidths": (0.5, 1.0), "rates": (0.2, 0.4)}
    sizes = {"largest": 6, "mean_field_largest": 5, "particle_largest": 4, "starts": 1, "stop": 20.0, "particle_stop": 12.0}
    study = annealing.measure_annealing(seed=2, n_particles=64, replicates=3, resamples=9, mixtures=mixtures, **sizes)
    assert study.sizes["case"] == 1 and study["cutoff"].values.tolist() == [2, 3, 4, 5, 6]
    assert np.isnan(study["convergence_time"].sel(equation="mean field", cutoff=6)).all()
    assert study["convergence_time"].sel(equation="linear", schedule="annealed 0.25").notnull().all()
    assert study["convergence_time"].sel(equation="particles", schedule="annealed 0.125", cutoff=2) == pytest.approx(7.0, rel=0.3)
    for name, variable in study.variables.items():
        assert {"long_name", "units"} <= set(variable.attrs), name
