"""Annealed bandwidths, Gaussian kernel (B4): damping of every mode, and convergence times against the largest wave number Kmax.

Displacement clock throughout, in which an Euler step of the same size is stable at every bandwidth: time counts evaluations of the
field. About the uniform density of the torus [0, 2 pi) mode k decays at lambda(k; h) = h^2 k^2 exp(-h^2 k^2 / 2), so that h(t) damps
it by exp(-int_0^T lambda dt), whatever the order of the bandwidths. The convergence time for (Kmax, c) is the least T after which every
mode k = 1..Kmax is damped by at least e^-c:

    fixed h       c / min(lambda(1), lambda(Kmax)), exponential in Kmax^2
    best fixed h  h^2 = 4 log K / (K^2 - 1), T = c exp(h^2 / 2) (K^2 - 1) / (4 log K), K = Kmax
    annealed      (1 / r) log(h0 / h_T), h_T about sqrt(2 log(1 / (r c))) / Kmax; never where r c >= 1
    any h(t)      at least c (1 + 1/2 + ... + 1/Kmax), because sum_k lambda(k; h) / k <= 1 for every h
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import xarray as xr
from scipy import integrate, optimize, special, stats

from driftrates import kernels, random
from driftrates.spectral import particles
from driftrates.spectral.linear import rate
from driftrates.spectral.mean_field import SMALL, PeriodicMeanField, dataset, large_start, mode
from driftrates.spectral.schedules import measure_schedules

GAUSSIAN = kernels.make("gaussian")
START, LEAST, RTOL = 2.0, 0.25, 1e-12
"""First bandwidth h0 of every sweep on the torus; least value of a rough density relative to its mean; tolerance for small waves."""
SWEEPS = ((0.125, 1), (0.25, 1), (0.4, 1), (1.0, 4))
"""Rates r and numbers of sweeps whose damping is measured: the last damps like one sweep at r = 1/4, the `_COMPARED` run."""
FIXED, RATES = (0.25, 0.5, 1.0), tuple(r for r, sweeps in SWEEPS if sweeps == 1)
_COMPARED = 1
SCHEDULES = (*(f"fixed {h:g}" for h in FIXED), "best fixed", *(f"annealed {r:g}" for r in RATES))
EQUATIONS = ("linear", "mean field", "mean field, target not uniform", "particles")
LAWS = ("exponential", "power", "logarithmic")
"""T = a exp(b K^2) / K^2, T = a K^b, T = a + b log K."""
_SLOPE_UNITS = "length^2 (exponential), 1 (power), time (logarithmic)"
_NOISE_FREE, _LONGEST, _RESOLUTION = 1e-6, 1e12, 300
"""Misfit that counts as none; longest time that is kept; output times of a run."""


def annealed(h0: float, r: float) -> Callable[[float], float]:
    """t -> h0 exp(-r t)."""
    return lambda t: h0 * math.exp(-r * t)


def total_damping(k: Any, h0: float, r: float, stop: float) -> np.ndarray:
    """B4: int_0^stop lambda(k; h0 e^(-r t)) dt = (1/r) [exp(-h(stop)^2 k^2 / 2) - exp(-h0^2 k^2 / 2)], wave numbers k (array > 0)."""
    k = np.asarray(k, float)
    return (np.exp(-0.5 * (h0 * math.exp(-r * stop) * k) ** 2) - np.exp(-0.5 * (h0 * k) ** 2)) / r


def integrated_rate(k: np.ndarray, h0: float, r: float, stop: float, field: str = "displacement") -> np.ndarray:
    """int_0^stop of the rate of `linear.rate` at wave numbers k (K,) along h0 e^(-r t), by quadrature, in the clock of ``field``."""
    bandwidth = annealed(h0, r)
    quadrature = integrate.quad_vec(lambda t: rate(GAUSSIAN, k, bandwidth(t), 1, field), 0, stop, epsabs=1e-13, epsrel=1e-12, norm="max")
    return quadrature[0]


def linearised_damping(k: np.ndarray, h0: float, r: float, stop: float, nodes: int = 64) -> np.ndarray:
    """The same integral for the linearised discretised equation: complex steps about the uniform density, Gauss's rule in t."""
    points, weights = special.roots_legendre(nodes)
    flow = PeriodicMeanField(GAUSSIAN, "displacement", annealed(h0, r), 4 * int(k.max()) + 8)
    waves = np.cos(np.outer(k, flow.grid))
    slopes = np.stack([flow.rhs(t, 1 + 1e-30j * waves).imag / 1e-30 for t in stop / 2 * (1 + points)])
    return -stop / 2 * weights @ (slopes * waves).sum(-1) / (waves**2).sum(-1)


def nonlinear_damping(k: np.ndarray, h0: float, r: float, stop: float, sweeps: int = 1, points: int = 32) -> np.ndarray:
    """Log of the damping (K,) of waves of relative amplitude `SMALL` in the full mean-field equation, h swept ``sweeps`` times."""
    columns = np.asarray(k, float)[:, None]
    flow = PeriodicMeanField(GAUSSIAN, "displacement", annealed(h0, r), points, length=2 * math.pi / columns)
    q = 1 + SMALL * np.cos(columns * flow.grid)
    for _ in range(sweeps):
        q = flow.evolve(q, [stop], rtol=RTOL, atol=RTOL)[-1]
    return -np.log(mode(q) / SMALL)


def fixed_time(cutoff: Any, h: Any, c: float) -> np.ndarray:
    """Convergence time at the fixed bandwidth h for Kmax = ``cutoff`` (array >= 1): lambda has one maximum, so that an end is slowest."""
    slowest = np.minimum(rate(GAUSSIAN, 1.0, h), rate(GAUSSIAN, cutoff, h))
    with np.errstate(divide="ignore", over="ignore"):
        return c / np.asarray(slowest)


def best_bandwidth(cutoff: Any) -> np.ndarray:
    """The fixed bandwidth of least convergence time: lambda(1) = lambda(Kmax), h^2 = 4 log K / (K^2 - 1); sqrt(2) for Kmax = 1."""
    square = np.asarray(cutoff, float) ** 2
    return np.sqrt(np.where(square > 1, 2 * np.log(square) / np.where(square > 1, square - 1, 1.0), 2.0))


def annealed_time(cutoff: int, h0: float, r: float, c: float, sweeps: int = 1) -> float:
    """Convergence time of ``sweeps`` sweeps h0 e^(-r t), each stopped where the last mode is done; ``inf`` if r c / sweeps is too large."""
    k = np.arange(1, cutoff + 1)
    left = r * c / sweeps + np.exp(-0.5 * (h0 * k) ** 2)
    if (left >= 1).any():
        return math.inf
    return max(0.0, sweeps / r * math.log(h0 / (np.sqrt(-2 * np.log(left)) / k).min()))


def optimal_time(cutoff: int, c: float, *, bandwidths: int = 400) -> float:
    """Least convergence time of any schedule: dwell times at ``bandwidths`` values of h, by linear programming (order has no effect)."""
    k = np.arange(1, cutoff + 1)
    h = np.geomspace(0.5 / cutoff, 2.0, bandwidths)
    rates = rate(GAUSSIAN, k[:, None], h)
    found = optimize.linprog(np.ones(len(h)), A_ub=-rates, b_ub=np.full(len(k), -c), method="highs")
    if not found.success:
        raise RuntimeError(f"dwell times for Kmax = {cutoff}: {found.message}")
    return float(found.fun)


def lower_bound(cutoff: Any, c: float) -> np.ndarray:
    """c (1 + 1/2 + ... + 1/Kmax), below which no schedule converges: at most 1 = max_h sum_k lambda(k; h) / k is spent per unit of time."""
    return c * (special.digamma(np.asarray(cutoff, float) + 1) + np.euler_gamma)


def rough_start(x: np.ndarray, waves: int, seed: int, replicate: int = 0) -> np.ndarray:
    """Density on [0, 2 pi), mean 1 and least value `LEAST`: 1 plus waves 1..``waves`` of one amplitude and random phases."""
    phases = 2 * math.pi * random.generator(seed, "rough", waves, replicate).random(waves)
    wave = np.cos(np.outer(np.arange(1, waves + 1), x) - phases[:, None]).sum(0)
    return 1 - (1 - LEAST) * wave / wave.min()


def crossing_times(times: np.ndarray, amplitude: np.ndarray, c: float) -> np.ndarray:
    """First time (K,) at which all amplitudes 1..K of (T, K), relative to their start, are at most e^-c; NaN where that is never.

    Between the increasing ``times`` (T,) the logarithm of the largest is linear.
    """
    with np.errstate(divide="ignore"):
        excess = np.maximum.accumulate(np.log(amplitude / amplitude[0]), axis=1) + c
    found = np.full(excess.shape[1], np.nan)
    for j in np.flatnonzero((excess <= 0).any(0)):
        i = int(np.argmax(excess[:, j] <= 0))
        a, b = excess[i - 1, j], excess[i, j]
        found[j] = times[i - 1] + (times[i] - times[i - 1]) * a / (a - b)
    return found


def _grid(stop: float, count: int = _RESOLUTION) -> np.ndarray:
    return np.concatenate([[0.0], np.geomspace(0.5, stop, count)])


def mean_field_times(cutoffs: np.ndarray, c: float, stop: float, seed: int, starts: int, *, uniform: bool = True) -> np.ndarray:
    """Convergence times (schedule, cutoff) of the full equation from ``starts`` densities of `rough_start`, root mean square over them.

    Toward the uniform density, or toward one far from it (`large_start`), with modes of q - p. NaN where ``stop`` comes first.
    """
    top = int(cutoffs[-1])
    points = 2 ** math.ceil(math.log2(4 * top))
    x = np.arange(points) * (2 * math.pi / points)
    p = None if uniform else large_start(x)
    background = 1.0 if uniform else p
    q0 = background + np.min(background) * (np.stack([rough_start(x, top, seed, i) for i in range(starts)]) - 1)

    def follow(h: Any, rows: int, last: float) -> tuple[np.ndarray, np.ndarray]:
        times = _grid(last)
        flow = PeriodicMeanField(GAUSSIAN, "displacement", h, points, p)
        q = flow.evolve(np.broadcast_to(q0, (rows, *q0.shape)), times, rtol=1e-5, atol=1e-7)
        power = np.abs(np.fft.rfft(q - background)[..., 1 : top + 1]) ** 2
        return times, np.sqrt(power.mean(2))

    best = best_bandwidth(cutoffs)
    times, seen = follow(np.concatenate([FIXED, best])[:, None, None], len(FIXED) + len(best), stop)
    found = [crossing_times(times, seen[:, i], c)[cutoffs - 1] for i in range(seen.shape[1])]
    out = [*found[: len(FIXED)], np.array([found[len(FIXED) + i][i] for i in range(len(cutoffs))])]
    for r in RATES:
        times, seen = follow(annealed(START, r), 1, 1.2 * annealed_time(top, START, r, c))
        out.append(crossing_times(times, seen[:, 0], c)[cutoffs - 1])
    return np.stack(out)


def particle_amplitudes(x0: np.ndarray, h: Callable[[float], float], times: np.ndarray, waves: int) -> np.ndarray:
    """|modes 1..waves| (R, T, waves) of clouds x0 (R, N, 1) on the torus that drift toward the uniform density with bandwidth h(t).

    Raises ``RuntimeError`` where the scheme fails.
    """

    def rhs(t: float, flat: np.ndarray) -> np.ndarray:
        return particles.velocity(GAUSSIAN, "displacement", h(t), flat.reshape(x0.shape)).ravel()

    done = integrate.solve_ivp(rhs, (0.0, times[-1]), x0.ravel(), "RK45", t_eval=times, rtol=1e-4, atol=1e-5)
    if not done.success:
        raise RuntimeError(f"{x0.shape[1]} particles on the torus, bandwidth {h(0.0):g} at the start: {done.message}")
    clouds = done.y.T.reshape(len(times), *x0.shape)
    return np.stack([np.abs(particles.modes(cloud, np.arange(1, waves + 1))) for cloud in clouds], axis=1)


def particle_times(
    cutoffs: np.ndarray, c: float, stop: float, seed: int, n_particles: int, replicates: int, resamples: int
) -> tuple[np.ndarray, np.ndarray]:
    """Convergence times (schedule, cutoff) of i.i.d. particles, root mean square over replicates, and resampled ones.

    Each replicate has its own `rough_start`. The resampled (schedule, cutoff, resample) draw replicates with replacement.
    """
    top = int(cutoffs[-1])
    x = np.linspace(0, 2 * math.pi, 4096)
    x0 = np.empty((replicates, n_particles, 1))
    for r in range(replicates):
        distribution = integrate.cumulative_simpson(rough_start(x, top, seed, r), x=x, initial=0)
        draw = random.generator(seed, "annealed torus", r).random(n_particles)
        x0[r, :, 0] = np.interp(draw * distribution[-1], distribution, x)
    rng = random.generator(seed, "annealed torus", "resamples")
    chosen = [np.arange(replicates), *rng.integers(replicates, size=(resamples, replicates))]

    def times_of(h: Callable[[float], float], last: float, waves: int) -> np.ndarray:
        times = _grid(last, _RESOLUTION // 3)
        power = particle_amplitudes(x0, h, times, waves) ** 2
        return np.stack([crossing_times(times, np.sqrt(power[rows].mean(0)), c) for rows in chosen], axis=-1)

    found = np.full((len(SCHEDULES), len(cutoffs), len(chosen)), np.nan)
    for i, h in enumerate(FIXED):
        found[i] = times_of(lambda t, h=h: h, stop, top)[cutoffs - 1]
    for j, cutoff in enumerate(cutoffs):
        h = float(best_bandwidth(cutoff))
        found[len(FIXED), j] = times_of(lambda t, h=h: h, 2 * float(fixed_time(cutoff, h, c)), int(cutoff))[-1]
    for i, r in enumerate(RATES, len(FIXED) + 1):
        found[i] = times_of(annealed(START, r), 1.2 * annealed_time(top, START, r, c), top)[cutoffs - 1]
    return found[..., 0], found[..., 1:]


def rate_law(schedule: str) -> tuple[str, float]:
    """The law of `LAWS` that the linearised equation gives a schedule of `SCHEDULES`, and its slope.

    exp(b K^2) / K^2 with b = h^2 / 2; a + b log K with b = 1 / r; for the best fixed bandwidth a power that tends to 2, up to log K.
    """
    kind, _, value = schedule.partition(" ")
    if kind == "annealed":
        return "logarithmic", 1 / float(value)
    return ("power", 2.0) if kind == "best" else ("exponential", float(value) ** 2 / 2)


def fit_law(law: str, cutoff: np.ndarray, times: np.ndarray) -> tuple[float, float, float, float, float]:
    """Slope b of a law of `LAWS`, its 95 % interval (low, high), the misfit and the bend, from times (K,) > 0 at wave numbers (K,).

    Misfit: root mean square of log(time / fitted time). Bend: slope over the larger half of the wave numbers over that of the smaller.
    """
    k = np.asarray(cutoff, float)
    x = k**2 if law == "exponential" else np.log(k)
    y = {"exponential": np.log(times * k**2), "power": np.log(times), "logarithmic": times}[law]
    line = stats.linregress(x, y)
    half = stats.t.ppf(0.975, len(k) - 2) * line.stderr if len(k) > 2 else math.nan
    misfit = y - line.intercept - line.slope * x
    if law == "logarithmic":
        # In logarithms, like the others, with the least time and the slope kept positive.
        def residual(a: np.ndarray) -> np.ndarray:
            return np.log(np.exp(a[0]) + np.exp(a[1]) * (x - x[0])) - np.log(times)

        misfit = optimize.least_squares(residual, np.log([times[0], max(line.slope, 1e-3)])).fun
    m = (len(k) + 1) // 2
    lower, upper = (np.polyfit(x[s], y[s], 1)[0] for s in (slice(None, m), slice(-m, None)))
    return float(line.slope), line.slope - half, line.slope + half, float(np.sqrt((misfit**2).mean())), float(upper / lower)


def fit_laws(cutoffs: np.ndarray, times: np.ndarray, resampled: np.ndarray) -> dict[str, Any]:
    """`fit_law` for all times (equation, schedule, cutoff), intervals of particles from ``resampled`` (schedule, cutoff, resample).

    Fixed bandwidths are fitted where the mode Kmax is slower than the mode 1, others from Kmax = 3. ``support`` is the difference of
    Akaike's criterion between a law and the best of the others (negative: the law is supported), NaN below 4 points.
    """
    shape = (len(EQUATIONS), len(SCHEDULES), len(LAWS))
    slope, misfit, bend, support = (np.full(shape, np.nan) for _ in range(4))
    interval, count = np.full((*shape, 2), np.nan), np.zeros(shape[:2], int)
    for m, s in np.ndindex(*shape[:2]):
        first = 3 if s >= len(FIXED) else int(np.argmax(rate(GAUSSIAN, np.arange(1, 400), FIXED[s])[1:] < rate(GAUSSIAN, 1, FIXED[s]))) + 2
        used = np.isfinite(times[m, s]) & (cutoffs >= first)
        count[m, s] = used.sum()
        if used.sum() < 3:
            continue
        for i, law in enumerate(LAWS):
            slope[m, s, i], *interval[m, s, i], misfit[m, s, i], bend[m, s, i] = fit_law(law, cutoffs[used], times[m, s, used])
            if EQUATIONS[m] == "particles":
                drawn = resampled[s][used]
                drawn = drawn[:, np.isfinite(drawn).all(0)]
                interval[m, s, i] = np.percentile([fit_law(law, cutoffs[used], d)[0] for d in drawn.T], [2.5, 97.5])
        if used.sum() >= 4:
            criterion = 2 * used.sum() * np.log(np.maximum(misfit[m, s], _NOISE_FREE))
            support[m, s] = [value - np.delete(criterion, i).min() for i, value in enumerate(criterion)]
    dims = ("equation", "schedule", "law")
    return {
        "slope": (dims, slope, "slope b of a law of growth", _SLOPE_UNITS),
        "slope_interval": ((*dims, "end"), interval, "95 % interval of b, by resampled replicates for particles", _SLOPE_UNITS),
        "misfit": (dims, misfit, "root mean square of log(time / fitted time)", "1"),
        "bend": (dims, bend, "slope over the larger wave numbers over the slope over the smaller", "1"),
        "support": (dims, support, "Akaike's criterion less the best of the other laws", "1"),
        "fitted": (dims[:2], count, "number of wave numbers fitted", "1"),
    }


def measure_annealing(
    *,
    seed: int,
    damping: float = 2.0,
    largest: int = 64,
    mean_field_largest: int = 32,
    particle_largest: int = 16,
    starts: int = 4,
    stop: float = 1000.0,
    particle_stop: float = 600.0,
    n_particles: int = 1024,
    replicates: int = 8,
    resamples: int = 99,
    mixtures: dict[str, Any] | None = None,
) -> xr.Dataset:
    """Damping along annealed bandwidths, convergence times with their laws of growth, and `schedules.measure_schedules` (B4).

    damping c < 1 / max(RATES): every mode is damped to e^-c; largest, mean_field_largest, particle_largest: Kmax of each equation;
    starts: rough densities of the mean-field runs; stop, particle_stop: last time at fixed bandwidths; n_particles on the torus, replicates
    and resamples of them; mixtures: options of `schedules.measure_schedules`.
    Raises ``ValueError`` for a damping that one sweep does not reach.
    """
    if damping * max(RATES) + math.exp(-0.5 * START**2) >= 1:
        raise ValueError(f"one sweep at r = {max(RATES):g} never damps all modes by e^-{damping:g}: choose a smaller damping")
    c, cutoffs = damping, np.array([k for k in (*range(2, 21), 24, 28, 32, 40, 48, 64, 96, 128, 192, 256) if k <= largest])
    made = _measure_damping(np.arange(1, mean_field_largest + 1), c)
    times = np.full((len(EQUATIONS), len(SCHEDULES), len(cutoffs)), np.nan)
    times[0] = np.stack(
        [
            *(fixed_time(cutoffs, h, c) for h in (*FIXED, best_bandwidth(cutoffs))),
            *(np.array([annealed_time(int(k), START, r, c) for k in cutoffs]) for r in RATES),
        ]
    )
    times[0][times[0] > _LONGEST] = np.nan
    inside = cutoffs <= mean_field_largest
    for i, uniform in ((1, True), (2, False)):
        print(f"{EQUATIONS[i]}", flush=True)
        times[i][:, inside] = mean_field_times(cutoffs[inside], c, stop, seed, starts, uniform=uniform)
    inside = cutoffs <= particle_largest
    print(f"{n_particles} particles on the torus", flush=True)
    times[3][:, inside], drawn = particle_times(cutoffs[inside], c, particle_stop, seed, n_particles, replicates, resamples)
    resampled = np.full((len(SCHEDULES), len(cutoffs), resamples), np.nan)
    resampled[:, inside] = drawn
    optimal = np.array([optimal_time(int(k), c) for k in cutoffs])
    made |= {
        "convergence_time": (("equation", "schedule", "cutoff"), times, "least time after which all modes up to Kmax are damped", "time"),
        "optimal_time": ("cutoff", optimal, "least such time of any schedule in the linearised equation", "time"),
        "lower_bound": ("cutoff", lower_bound(cutoffs, c), "c (1 + 1/2 + ... + 1/Kmax)", "time"),
        "best_bandwidth": ("cutoff", best_bandwidth(cutoffs), "best fixed bandwidth", "length"),
        "searched_bandwidth": ("cutoff", _searched(cutoffs, c), "best fixed bandwidth by a search", "length"),
        **fit_laws(cutoffs, times, resampled),
    }
    coordinates = {
        "run": ([f"r = {r:g}, {sweeps} sweep{'s' * (sweeps > 1)}" for r, sweeps in SWEEPS], "annealing rate and number of sweeps"),
        "rival": (["best fixed", *(f"fixed {h:g}" for h in FIXED)], "fixed bandwidth"),
        "wave_number": (np.arange(1, mean_field_largest + 1), "wave number on the torus of length 2 pi"),
        "equation": (list(EQUATIONS), "equation"),
        "schedule": (list(SCHEDULES), "bandwidth in time: fixed h, best fixed h, or annealed at the rate r"),
        "cutoff": (cutoffs, "largest wave number Kmax"),
        "law": (list(LAWS), "law of growth with Kmax"),
        "end": (["low", "high"], "end of an interval"),
    }
    attributes = {"damping": c, "start": START, "n_particles": n_particles, "replicates": replicates}
    study = dataset(made, coordinates, {"seed": seed, **attributes})
    return study.merge(measure_schedules(seed=seed, **(mixtures or {})), combine_attrs="no_conflicts")


def _measure_damping(k: np.ndarray, c: float) -> dict[str, Any]:
    """Log damping (run, wave_number) of the sweeps of `SWEEPS`, each down to the bandwidth at which Kmax = max(k) converges."""
    closed, quadrature, linearised, nonlinear, score = (np.empty((len(SWEEPS), len(k))) for _ in range(5))
    lengths = np.array([annealed_time(int(k[-1]), START, r, c, sweeps) / sweeps for r, sweeps in SWEEPS])
    for i, ((r, sweeps), length) in enumerate(zip(SWEEPS, lengths, strict=True)):
        print(f"damping by {sweeps} sweeps at r = {r:g}", flush=True)
        closed[i] = sweeps * total_damping(k, START, r, length)
        quadrature[i], score[i] = (sweeps * integrated_rate(k, START, r, length, field) for field in ("displacement", "conservative"))
        linearised[i] = sweeps * linearised_damping(k, START, r, length)
        nonlinear[i] = nonlinear_damping(k, START, r, length, sweeps)
    dims = ("run", "wave_number")
    bandwidths = np.array([float(best_bandwidth(k[-1])), *FIXED])
    lasting = float(lengths[_COMPARED] * SWEEPS[_COMPARED][1])
    return {
        "closed_form": (dims, closed, "logarithm of the damping, closed form", "1"),
        "quadrature": (dims, quadrature, "logarithm of the damping, quadrature of the decay rate", "1"),
        "linearised": (dims, linearised, "logarithm of the damping, quadrature of the Jacobians of the discretised equation", "1"),
        "nonlinear": (dims, nonlinear, "logarithm of the damping of a small wave in the full equation", "1"),
        "score_clock": (dims, score, "logarithm of the damping by the score field over the same time", "1"),
        "fixed_damping": (
            ("rival", "wave_number"),
            lasting * rate(GAUSSIAN, k, bandwidths[:, None]),
            f"logarithm of the damping at a fixed bandwidth over {lasting:.1f} units of time, as long as the sweep at r = "
            f"{SWEEPS[_COMPARED][0]:g}",
            "1",
        ),
        "run_rate": ("run", np.array([r for r, _ in SWEEPS]), "annealing rate r", "time^-1"),
        "run_sweeps": ("run", np.array([sweeps for _, sweeps in SWEEPS]), "number of sweeps", "1"),
    }


def _searched(cutoffs: np.ndarray, c: float) -> np.ndarray:
    """Minimiser of `fixed_time` over h, by a bounded search in log h."""
    options = {"bounds": (math.log(1e-3), math.log(3.0)), "method": "bounded", "options": {"xatol": 1e-10}}
    return np.array(
        [math.exp(optimize.minimize_scalar(lambda u, k=k: math.log(fixed_time(k, math.exp(u), c)), **options).x) for k in cutoffs]
    )
