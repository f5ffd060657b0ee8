"""Drift and W2 flow of the smoothed KL toward the uniform law on the circle: mean field and particles, decay of modes (B5).

The two damp mode k at rates k^2 e^{-h^2 k^2 / 2} and k^2 e^{-h^2 k^2} (score clock, Gaussian kernel).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from scipy import integrate

from driftrates import kernels
from driftrates.spectral.mean_field import PeriodicMeanField

FLOWS = ("drift", "w2_flow")
SOLVERS = ("mean_field", "particles")


def known_flow(flow_name: str) -> str:
    """``flow_name`` itself. Raises ``ValueError`` where it is none of `FLOWS`."""
    if flow_name not in FLOWS:
        raise ValueError(f"unknown flow {flow_name!r}; known: {', '.join(FLOWS)}")
    return flow_name


class SmoothedMeanField(PeriodicMeanField):
    """The mean-field equation whose velocity is smoothed once more: K_h * v."""

    def velocity(self, q: np.ndarray, t: float = 0.0) -> np.ndarray:
        """K_h * v (..., M)."""
        return self.smooth(super().velocity(q, t), t)


@dataclass(frozen=True)
class Circle:
    """Both flows toward the uniform law on the circle of length 2 pi, Gaussian kernel of bandwidth h, ``points`` (even) on the grid.

    A measure is its Fourier coefficients m_k = int e^{-ikx} dmu, k = 0..points/2; quadratures and derivatives are spectral.
    Raises ``ValueError`` for an odd number of points, and in its methods for a flow that is none of `FLOWS`.
    """

    h: float
    points: int = 128

    def __post_init__(self) -> None:
        if self.points % 2:
            raise ValueError(f"points must be even, not {self.points}")

    @cached_property
    def wave(self) -> np.ndarray:
        return np.arange(self.points // 2 + 1.0)

    @cached_property
    def damping(self) -> np.ndarray:
        """Fourier transform of K_h."""
        return kernels.make("gaussian").fourier(self.h * self.wave, 1)

    @cached_property
    def mean_field(self) -> dict[str, PeriodicMeanField]:
        """The mean-field equation of each flow."""
        equations = zip(FLOWS, (PeriodicMeanField, SmoothedMeanField), strict=True)
        return {name: equation(kernels.make("gaussian"), "conservative", self.h, self.points) for name, equation in equations}

    def predicted_rate(self, k: np.ndarray, flow_name: str) -> np.ndarray:
        """Decay rate of mode k near the uniform law, unit 1/time of the score clock."""
        return k**2 * np.exp(-((self.h * k) ** 2) * (0.5 if known_flow(flow_name) == "drift" else 1.0))

    def velocity(self, coefficients: np.ndarray, flow_name: str) -> np.ndarray:
        """Velocity on the grid: -grad log q_h, smoothed once more by K_h for the W2 flow."""
        return self.mean_field[known_flow(flow_name)].velocity(np.fft.irfft(coefficients, self.points))

    def mean_field_path(self, coefficients: np.ndarray, times: np.ndarray, flow_name: str) -> np.ndarray:
        """Coefficients (T, K) of the continuity equation dq/dt = -d/dx (q u[q]) from those of a density at time 0."""
        q = np.fft.irfft(self.points * coefficients, self.points)
        return np.fft.rfft(self.mean_field[known_flow(flow_name)].evolve(q, times, rtol=1e-12)) / self.points

    def particle_path(self, x: np.ndarray, times: np.ndarray, flow_name: str) -> np.ndarray:
        """Coefficients (T, K) of the empirical measure of particles from x (N,), each moved by the velocity at its place."""
        weight = np.where((self.wave > 0) & (self.wave < self.points // 2), 2.0, 1.0) / self.points

        def rhs(t: float, y: np.ndarray) -> np.ndarray:
            waves = self._waves(y)
            return (waves.conj() @ (weight * np.fft.rfft(self.velocity(waves.mean(0), flow_name)))).real

        found = integrate.solve_ivp(rhs, (times[0], times[-1]), x, method="DOP853", t_eval=times, rtol=1e-10, atol=1e-13)
        if not found.success:
            raise RuntimeError(f"particles on the circle, {flow_name}, h = {self.h:g}: {found.message}")
        return np.stack([self._waves(y).mean(0) for y in found.y.T])

    def _waves(self, x: np.ndarray) -> np.ndarray:
        return np.exp(-1j * np.outer(x, self.wave))

    def asymmetry(self, coefficients: np.ndarray, flow_name: str) -> float:
        """|S - S^T| / |S| of the response S(x, y) of the velocity at x to a displacement of mass at y; 0 for every W2 gradient flow."""
        known_flow(flow_name)
        density = np.fft.irfft(self.damping * coefficients, self.points)
        shifted = np.fft.irfft(self.damping, self.points)
        response = shifted[np.subtract.outer(np.arange(self.points), np.arange(self.points)) % self.points] / density[:, None]
        if flow_name == "w2_flow":
            response = np.fft.irfft(self.damping[:, None] * np.fft.rfft(response, axis=0), self.points, axis=0)
        derivative = 1j * np.where(self.wave < self.points // 2, self.wave, 0)
        for axis, along in ((0, derivative[:, None]), (1, derivative)):
            response = np.fft.irfft(along * np.fft.rfft(response, axis=axis), self.points, axis=axis)
        return float(np.linalg.norm(response - response.T) / np.linalg.norm(response))


class DecayRates(NamedTuple):
    """Modes ``modes`` (K,) of one path: ``rate`` (K,) by least squares over the first e-fold, ``decay`` (T, K) at ``times`` (T,)."""

    modes: np.ndarray
    rate: np.ndarray
    times: np.ndarray
    decay: np.ndarray


def decay_rates(circle: Circle, flow_name: str, solver: str, *, amplitude: float, particles: int, reach: float, rng: Any) -> DecayRates:
    """Rates of all modes with h k <= ``reach`` at once, from phases drawn by ``rng`` and relative amplitude ``amplitude`` << 1 each.

    Particles start equally spaced and displaced by the same perturbation: no sampling noise. Raises ``ValueError`` for another solver.
    """
    if solver not in SOLVERS:
        raise ValueError(f"unknown solver {solver!r}; known: {', '.join(SOLVERS)}")
    modes = np.arange(1, int(reach / circle.h) + 1)
    phases = rng.uniform(0, 2 * np.pi, len(modes))
    times = np.concatenate([[0.0], np.geomspace(0.02 / circle.predicted_rate(np.sqrt(2) / circle.h, "drift"), 1.0, 40)])
    if solver == "mean_field":
        coefficients = np.zeros(len(circle.wave), complex)
        coefficients[0], coefficients[modes] = 1.0, 0.5 * amplitude * np.exp(1j * phases)
        path = circle.mean_field_path(coefficients, times, flow_name)
    else:
        lattice = 2 * np.pi * np.arange(particles) / particles
        x = lattice - (amplitude / modes * np.sin(lattice[:, None] * modes + phases)).sum(1)
        path = circle.particle_path(x, times, flow_name)
    decay = np.abs(path[:, modes]) / np.abs(path[0, modes])
    rate = np.array([-np.polyfit(times[kept], np.log(values[kept]), 1)[0] for values in decay.T for kept in (values >= np.exp(-1),)])
    return DecayRates(modes, rate, times, decay)
