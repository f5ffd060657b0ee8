"""Decay rates of the mean-field equation linearised about a uniform background (B3), from the Fourier transform of the kernel.

A density (1 + e cos(k.x)) times a constant, e small, decays as exp(-rate t); with kappa = h |k| and K^ the transform of K:

    displacement   rate = -kappa K^'(kappa)                    displacement clock
    conservative   rate = |k|^2 K^(kappa)                      score clock
    sharp          rate = -kappa K^'(kappa) / (h^2 m2 / d)     score clock, kernel replaced by its companion K#
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import special
from scipy.differentiate import derivative

from driftrates.fields import STATISTICS
from driftrates.kernels import Gaussian, InverseMultiquadric, Kernel, Laplace, Matern32, Matern52, Matern72, SmoothedLaplace


@functools.singledispatch
def damping(kernel: Kernel, kappa: Any, d: int) -> np.ndarray:
    """-kappa dK^/dkappa at kappa (array >= 0) in dimension d >= 1: differences of `Kernel.fourier`, closed forms where known."""
    kappa = np.asarray(kappa, float)
    safe = np.where(kappa > 0, kappa, 1.0)
    slope = derivative(lambda u: kernel.fourier(np.exp(u), d), np.log(safe), initial_step=0.25).df
    return np.where(kappa > 0, -slope, 0.0)


@damping.register
def _(kernel: Gaussian, kappa: Any, d: int) -> np.ndarray:
    kappa = np.asarray(kappa, float)
    return kappa**2 * kernel.fourier(kappa, d)


@damping.register(Laplace)
@damping.register(Matern32)
@damping.register(Matern52)
@damping.register(Matern72)
def _(kernel: Any, kappa: Any, d: int) -> np.ndarray:
    kappa = np.asarray(kappa, float)
    return (2 * kernel.order + 1 + d) * kappa**2 / (1 + kappa**2) * kernel.fourier(kappa, d)


@damping.register
def _(kernel: InverseMultiquadric, kappa: Any, d: int) -> np.ndarray:
    kappa, mu = np.maximum(np.asarray(kappa, float), 1e-6), kernel.dof / 2
    return kappa * special.kve(mu - 1, kappa) / special.kve(mu, kappa) * kernel.fourier(kappa, d)


@damping.register
def _(kernel: SmoothedLaplace, kappa: Any, d: int) -> np.ndarray:
    kappa, nu = np.asarray(kappa, float), (d + 1) / 2
    root = np.sqrt(1 + kappa**2)
    ratio = special.kve(nu + 1, kernel.eps * root) / special.kve(nu, kernel.eps * root)
    return kernel.eps * kappa**2 / root * ratio * kernel.fourier(kappa, d)


def rate(kernel: Kernel, k: Any, h: float, d: int = 1, field: str = "displacement") -> np.ndarray:
    """Linear decay rate at wave numbers k (array >= 0, 1/length) for bandwidth h > 0 in dimension d, in the clock of ``field``.

    Raises ``ValueError`` for an unknown field.
    """
    return _rate(kernel.fourier, functools.partial(damping, kernel), kernel, k, h, d, field)


def quadrature_rate(kernel: Kernel, k: Any, h: float, d: int = 1, field: str = "displacement") -> np.ndarray:
    """`rate` by quadrature of the linearised field over a plane wave in R^d: no Fourier transform in closed form enters.

    The displacement field of a plane wave is int K_h(z) z sin(k.z) dz = k K^#_h(k), the score k K^(hk).
    """

    def damped(kappa: np.ndarray, d: int) -> np.ndarray:
        return kappa**2 * kernel.companion_mass(d) * Rung(kernel, -1).fourier(kappa, d)

    return _rate(Rung(kernel, 0).fourier, damped, kernel, k, h, d, field)


def _rate(fourier: Any, damped: Any, kernel: Kernel, k: Any, h: float, d: int, field: str) -> np.ndarray:
    if field not in STATISTICS:
        raise ValueError(f"unknown field {field!r}; known: {', '.join(STATISTICS)}")
    kappa = h * np.asarray(k, float)
    if field == "conservative":
        return kappa**2 * fourier(kappa, d) / h**2
    return damped(kappa, d) / (h**2 * kernel.companion_mass(d) if field == "sharp" else 1.0)


@dataclass(frozen=True)
class Rung(Kernel):
    """Rung n of the ladder of ``base`` as a kernel known by its values alone: every transform and moment is a quadrature."""

    base: Kernel
    n: int

    def rung(self, s: Any, d: int, n: int = 0, xp: Any = np) -> Any:
        return self.base.rung(s, d, self.n + n, xp)


@dataclass(frozen=True)
class Triangle(Kernel):
    """max(1 - s, 0) on the line: its transform (sin(k/2) / (k/2))^2 has double zeros at 2 pi n, so that both fields are blind there."""

    def rung(self, s: Any, d: int, n: int = 0, xp: Any = np) -> Any:
        u = xp.minimum(s, 1.0)
        return 1.0 - u if n == 0 else (1.0 - u) ** 2 * (1.0 + 2.0 * u) / 6.0

    def normaliser(self, d: int) -> float:
        return 1.0

    def second_moment(self, d: int) -> float:
        return 1 / 6

    def fourier(self, k: Any, d: int) -> np.ndarray:
        return np.sinc(np.asarray(k, float) / (2 * np.pi)) ** 2


@damping.register
def _(kernel: Triangle, kappa: Any, d: int) -> np.ndarray:
    half = np.asarray(kappa, float) / 2
    sine = np.sinc(half / np.pi)
    return 2 * sine * (sine - np.cos(half))


@dataclass(frozen=True)
class Fejer(Kernel):
    """(1 - cos s) / s^2 on the line: nonnegative and band-limited, transform max(1 - k, 0); no second moment."""

    def rung(self, s: Any, d: int, n: int = 0, xp: Any = np) -> Any:
        if n:
            raise ValueError("the Fejér kernel has no companion: its second moment diverges")
        return 0.5 * xp.sinc(s / (2 * np.pi)) ** 2

    def normaliser(self, d: int) -> float:
        return np.pi

    def second_moment(self, d: int) -> float:
        return np.inf

    def fourier(self, k: Any, d: int) -> np.ndarray:
        return np.maximum(1 - np.asarray(k, float), 0.0)


@damping.register
def _(kernel: Fejer, kappa: Any, d: int) -> np.ndarray:
    kappa = np.asarray(kappa, float)
    return np.where(kappa < 1, kappa, 0.0)


def gaussian_target_rates(n: Any, h: float, s: float) -> np.ndarray:
    """Eigenvalues n r (1 + r)^-n, r = h^2 / s^2, of the flow linearised about N(0, s^2), Gaussian kernel, displacement clock (B3').

    n (array of integers >= 1): degree of the leading Hermite polynomial. The largest stands at n next to 1 / log(1 + r).
    """
    n, r = np.asarray(n, float), (h / s) ** 2
    return n * r * (1 + r) ** -n
