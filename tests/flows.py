"""Right-hand sides with known solutions, and clouds to start them from, for the tests of the integrators."""

import math

import numpy as np
from scipy.integrate import quad

from driftrates.flow import DormandPrince, Euler, RungeKuttaChebyshev

ADAPTIVE = (DormandPrince, RungeKuttaChebyshev)


ALL = (Euler(0.01), DormandPrince(1e-7, 1e-9), RungeKuttaChebyshev(1e-5, 1e-7))


def by_name(method):
    return getattr(method, "name", None)


def cloud(replicates=3, particles=6, d=2, seed=0, dtype=np.float64):
    return np.random.default_rng(seed).normal(size=(replicates, particles, d)).astype(dtype)


def moderate(replicates=2):
    """Cloud in [0.3, 1.2], where the cubic field is not stiff."""
    return 0.3 + 0.3 * np.abs(cloud(replicates))


class Problem:
    """Right-hand side with its exact solution; the carried integral is that of sum |x|^2 and so has an exact value too.

    ``stop`` and the numbers of steps per method put an order test into the asymptotic range, above rounding.
    """

    def __init__(self, velocity, exact, energy, stop, **steps):
        self.velocity, self.exact, self.energy, self.stop, self.steps = velocity, exact, energy, stop, steps

    def __call__(self, t, x, replicates):
        return self.velocity(t, x), (x**2).sum(axis=(1, 2))[:, None]


def decay(rate, stop, **steps):
    return Problem(
        lambda t, x: -rate * x,
        lambda t, x0: x0 * math.exp(-rate * t),
        lambda t, x0: (x0**2).sum(axis=(1, 2)) * -math.expm1(-2 * rate * t) / (2 * rate),
        stop,
        **steps,
    )


def rotated(t, x):
    c, s = math.cos(t), math.sin(t)
    return x @ np.array([[c, s], [-s, c]])


def forced_energy(t, x0):
    return (x0**2).sum(axis=(1, 2)) * quad(lambda s: math.exp(2 * math.sin(3 * s) / 3), 0, t, epsabs=0, epsrel=1e-13)[0]


PROBLEMS = {
    "linear": decay(1.0, 1.0, euler=64, dormand_prince=6, rkc=32),
    "stiff": decay(80.0, 0.05, euler=200, dormand_prince=20, rkc=60),
    "rotation": Problem(
        lambda t, x: x @ np.array([[0.0, 1.0], [-1.0, 0.0]]),
        rotated,
        lambda t, x0: t * (x0**2).sum(axis=(1, 2)),
        1.0,
        euler=64,
        dormand_prince=6,
        rkc=32,
    ),
    "cubic": Problem(
        lambda t, x: -(x**3),
        lambda t, x0: x0 / np.sqrt(1 + 2 * t * x0**2),
        lambda t, x0: (np.log1p(2 * t * x0**2) / 2).sum(axis=(1, 2)),
        1.0,
        euler=100,
        rkc=50,
    ),
    "logistic": Problem(
        lambda t, x: x * (1 - x),
        lambda t, x0: x0 / (x0 + (1 - x0) * math.exp(-t)),
        lambda t, x0: (np.log1p(x0 * math.expm1(t)) - x0 / (x0 + (1 - x0) * math.exp(-t)) + x0).sum(axis=(1, 2)),
        2.0,
        euler=100,
        dormand_prince=12,
        rkc=40,
    ),
    "forced": Problem(
        lambda t, x: x * np.cos(3 * t)[:, None, None],
        lambda t, x0: x0 * math.exp(math.sin(3 * t) / 3),
        forced_energy,
        1.0,
        euler=100,
        dormand_prince=7,
        rkc=40,
    ),
}


def attraction(t, x, replicates):
    """Pairwise Gaussian attraction, its total divergence carried along: an interacting system."""
    z = x[:, None] - x[:, :, None]
    k = np.exp(-0.5 * (z**2).sum(axis=-1))
    return (k[..., None] * z).mean(axis=2) - 0.1 * x, (k * ((z**2).sum(axis=-1) - 2)).sum(axis=(1, 2))[:, None]


def heat(n, largest):
    """Diffusion on n cells scaled to eigenvalues down to -largest; velocity of x (m, n, 1), matrix."""
    matrix = np.diag(np.full(n, -2.0)) + np.diag(np.ones(n - 1), 1) + np.diag(np.ones(n - 1), -1)
    matrix *= largest / -np.linalg.eigvalsh(matrix)[0]
    return matrix, lambda t, x, replicates: (matrix @ x, np.zeros((len(x), 0)))
