"""Finite particles on the torus [0, 2 pi): decay of their empirical Fourier modes and the noise floor (B3'')."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr
from scipy import optimize

from driftrates import flow, kernels, random
from driftrates.fields import STATISTICS, SmoothedPoints
from driftrates.kernels import Kernel
from driftrates.power_laws import fit_power_law
from driftrates.spectral.linear import damping, rate
from driftrates.spectral.mean_field import dataset, decay_rate

SERIES, IMAGES, NEGLIGIBLE = 128, 8, 1e-13
"""Most wave numbers of a Fourier series and most periods of a sum over images that are taken, and what may be left out of either."""
AMPLITUDE, NOISY_AMPLITUDE, DAMPED = 0.1, 0.3, 8.0
"""Relative amplitude of the wave, quiet and i.i.d. start; lambda(k) times the last time beyond which a mode has forgotten its start."""
_SPECTRUM = 32
PAIRS = (
    ("gaussian", "displacement"),
    ("gaussian", "conservative"),
    ("laplace", "displacement"),
    ("laplace", "sharp"),
    ("matern32", "displacement"),
)
FLOORS = (("gaussian", "displacement"), ("laplace", "displacement"))


def velocity(kernel: Kernel, field: str, h: float, x: np.ndarray) -> np.ndarray:
    """Field (R, N, 1) of clouds x (R, N, 1) on the torus toward the uniform density, each particle in its own sum.

    Sums over the periodised kernel up to `NEGLIGIBLE`: by its Fourier series where that ends within `SERIES` wave numbers, by images within
    `IMAGES` periods otherwise. Raises ``ValueError`` for an unknown field, and where neither is enough.
    """
    if field not in STATISTICS:
        raise ValueError(f"unknown field {field!r}; known: {', '.join(STATISTICS)}")
    orders, images = _reach(kernel, h)
    if orders is not None:
        return _by_series(kernel, field, h, x, orders)
    return _by_images(kernel, field, h, x, images)


@functools.lru_cache
def _reach(kernel: Kernel, h: float) -> tuple[int | None, int]:
    below = np.flatnonzero(kernel.fourier(h * np.arange(1, SERIES + 2), 1) < NEGLIGIBLE)
    if below.size:
        return int(below[0]), 0
    # Two particles in one period are up to 2 pi apart, so that of images -n..n the nearest that is left out is at 2 pi n.
    far = kernel.rung(2 * math.pi * np.arange(1, IMAGES + 1) / h, 1, -1) / kernel.rung(np.zeros(()), 1, -1)
    small = np.flatnonzero(far < NEGLIGIBLE)
    if not small.size:
        raise ValueError(
            f"the {kernel.name} kernel of bandwidth {h:g} reaches too far for a torus of length 2 pi, and is too rough for a series"
        )
    return None, int(small[0]) + 1


def _by_series(kernel: Kernel, field: str, h: float, x: np.ndarray, orders: int) -> np.ndarray:
    k = np.arange(1, orders + 1)
    mass, companion = kernel.fourier(h * k, 1), damping(kernel, h * k, 1) / k**2
    slope = mass if field == "conservative" else companion
    total = h**2 * kernel.companion_mass(1) if field == "sharp" else 1.0
    step = np.exp(1j * x[..., 0])
    wave, below, above = np.ones_like(step), np.full(step.shape, total), np.zeros(step.shape)
    for n in k:
        wave = wave * step
        seen = 2 * wave * wave.mean(1, keepdims=True).conj()
        below += (companion if field == "sharp" else mass)[n - 1] * seen.real
        above -= n * slope[n - 1] * seen.imag
    return -(above / below)[..., None]


def _by_images(kernel: Kernel, field: str, h: float, x: np.ndarray, images: int) -> np.ndarray:
    inside = np.mod(x, 2 * math.pi)
    points = np.concatenate([inside + 2 * math.pi * n for n in range(-images, images + 1)], axis=1)
    return -SmoothedPoints(points, kernel, h).statistic(STATISTICS[field], inside).value


def modes(x: np.ndarray, k: Any) -> np.ndarray:
    """Empirical Fourier modes (1/N) sum_j exp(-i k x_j) of clouds x (R, N, 1) at wave numbers k (K,): complex (R, K)."""
    return np.exp(-1j * x * np.asarray(k)).mean(1)


def wave_start(u: np.ndarray, k: Any, amplitude: float = AMPLITUDE) -> np.ndarray:
    """Quantiles at u (array in [0, 1)) of the density (1 + amplitude cos k x) / 2 pi on the torus, |amplitude| < 1."""
    goal = 2 * math.pi * u

    def excess(x: np.ndarray) -> np.ndarray:
        return x + amplitude * np.sin(k * x) / k - goal

    return optimize.newton(excess, goal, lambda x: 1 + amplitude * np.cos(k * x), tol=1e-13)


def _follow(kernel: Kernel, field: str, h: float, x0: np.ndarray, times: np.ndarray, unit: np.ndarray, k: Any) -> np.ndarray:
    """Modes (R, K, T) along the flow from x0 (R, N, 1); ``unit`` (R,): each replicate's unit of ``times``."""

    def rhs(t: Any, x: np.ndarray, replicates: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return unit[replicates, None, None] * velocity(kernel, field, h, x), np.zeros((len(x), 0))

    method = flow.DormandPrince(rtol=1e-5, atol=1e-7)
    return np.stack([modes(record.state.x, k) for record in flow.integrate(rhs, x0, times, method)], axis=-1)


def measure_particles(
    *,
    seed: int,
    bandwidth: float = 0.5,
    wave_numbers: Sequence[int] = (1, 2, 3, 4, 5, 6),
    n_particles: int = 512,
    replicates: int = 8,
    floor_sizes: Sequence[int] = (100, 200, 400, 700),
    floor_replicates: int = 24,
    stop: float = 40.0,
    resamples: int = 999,
) -> xr.Dataset:
    """Decay of the modes of N particles, and their noise, under the fields of `PAIRS` and `FLOORS` (B3'').

    Decay: from a wave of relative amplitude `AMPLITUDE`, quantiles without noise (quiet start), and from `replicates` i.i.d. clouds with
    `NOISY_AMPLITUDE`, each over its own unit of time 1 / lambda(k). Noise: root mean square of the modes of i.i.d. uniform clouds of
    ``floor_sizes`` particles at times 0 and ``stop``, and its exponents in N; clouds so small that the flow damps all their modes by then
    rest on a lattice and have none. Raises ``ValueError`` for fewer than 3 sizes.
    """
    if len(floor_sizes) < 3:
        raise ValueError(f"floor_sizes needs at least 3 numbers of particles for an exponent, not {list(floor_sizes)}")
    k, quiet_times, loud_times = np.asarray(wave_numbers, int), np.linspace(0, 4, 9), np.linspace(0, 1.5, 7)
    predicted, quiet = np.empty((len(PAIRS), len(k))), np.empty((len(PAIRS), len(k)))
    quiet_mode, loud = np.empty((len(PAIRS), len(k), len(quiet_times))), np.empty((len(PAIRS), len(k), replicates))
    centred = (np.arange(n_particles) + 0.5) / n_particles
    for i, (name, field) in enumerate(PAIRS):
        print(f"{n_particles} particles, {name} kernel, {field} field", flush=True)
        kernel = kernels.make(name)
        predicted[i] = rate(kernel, k, bandwidth, 1, field)
        x0 = np.stack([wave_start(centred, n) for n in k])[..., None]
        seen = _follow(kernel, field, bandwidth, x0, quiet_times, 1 / predicted[i], k)
        quiet_mode[i] = 2 * np.abs(seen[np.arange(len(k)), np.arange(len(k))])
        quiet[i] = decay_rate(quiet_times[quiet_times >= 1], quiet_mode[i].T[quiet_times >= 1]).rate * predicted[i]
        for a, n in enumerate(k):
            draws = (random.generator(seed, "torus", int(n), r).random(n_particles) for r in range(replicates))
            x0 = np.stack([wave_start(u, n, NOISY_AMPLITUDE) for u in draws])[..., None]
            unit = np.full(replicates, 1 / predicted[i, a])
            seen = _follow(kernel, field, bandwidth, x0, loud_times, unit, [n])[:, 0].real
            # Leaving one replicate out keeps the mean away from 0, where a single replicate may go.
            means = (seen.sum(0) - seen) / (replicates - 1)
            loud[i, a] = decay_rate(loud_times, means.T, means.T > 0).rate * predicted[i, a]

    sizes, spectrum = np.asarray(floor_sizes, int), np.arange(1, _SPECTRUM + 1)
    floor = np.empty((len(FLOORS), len(sizes), floor_replicates, 2, len(spectrum)))
    damped = np.zeros((len(FLOORS), len(spectrum)), bool)
    exponent, interval = np.empty((len(FLOORS), 2)), np.empty((len(FLOORS), 2, 2))
    for i, (name, field) in enumerate(FLOORS):
        for b, n in enumerate(sizes):
            print(f"noise of {n} particles, {name} kernel", flush=True)
            draws = [random.generator(seed, "torus noise", int(n), r).random((n, 1)) for r in range(floor_replicates)]
            x0 = 2 * math.pi * np.stack(draws)
            seen = _follow(kernels.make(name), field, bandwidth, x0, np.array([0.0, stop]), np.ones(floor_replicates), spectrum)
            floor[i, b] = np.abs(seen.swapaxes(1, 2)) ** 2
        damped[i] = rate(kernels.make(name), spectrum, bandwidth, 1, field) * stop > DAMPED
        for c in range(2):
            used = damped[i] if c else np.ones(len(spectrum), bool)
            power = [floor[i, b, :, c][:, used].mean(1) for b in range(len(sizes))]
            fit = fit_power_law(sizes, power, resamples=resamples, seed=seed)
            exponent[i, c], interval[i, c] = fit.slope / 2, np.array(fit.percentile) / 2
    pair, modes_of, noise = ("pair", "wave_number"), "relative amplitude of the wave, quiet start", ("floor", "size", "stage", "mode")
    made = {
        "predicted": (pair, predicted, "linear decay rate lambda(k)", "time^-1"),
        "quiet_rate": (pair, quiet, "decay rate from a quiet start", "time^-1"),
        "quiet_mode": ((*pair, "folding"), quiet_mode, modes_of, "1"),
        "noisy_rate": ((*pair, "left_out"), loud, "decay rate of the mean over i.i.d. starts but one", "time^-1"),
        "noise": (noise, np.sqrt(floor.mean(2)), "root mean square of the empirical modes of a cloud without a wave", "1"),
        "exponent": (("floor", "stage"), exponent, "exponent in N of the root mean square, start: all modes, end: damped ones", "1"),
        "exponent_interval": (("floor", "stage", "end"), interval, "bootstrap percentile interval of the exponent", "1"),
        "damped": (("floor", "mode"), damped, "whether lambda(k) times the last time exceeds the threshold", "1"),
    }
    coordinates = {
        "pair": ([f"{name} {field}" for name, field in PAIRS], "kernel and field"),
        "floor": ([f"{name} {field}" for name, field in FLOORS], "kernel and field"),
        "wave_number": (k, "wave number on the torus of length 2 pi"),
        "folding": (quiet_times, "time in units of 1 / lambda(k)"),
        "size": (sizes, "number of particles N"),
        "stage": (["start", "end"], "time of the clouds"),
        "mode": (spectrum, "wave number on the torus of length 2 pi"),
        "end": (["low", "high"], "end of an interval"),
    }
    attributes = {"seed": seed, "bandwidth": bandwidth, "n_particles": n_particles, "replicates": replicates, "stop": stop}
    return dataset(made, coordinates, {**attributes, "amplitude": AMPLITUDE, "noisy_amplitude": NOISY_AMPLITUDE})
