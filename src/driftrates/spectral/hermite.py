"""The flow linearised about a Gaussian target: Hermite spectrum, Gaussian closure (B3'); Gaussian kernel, displacement clock, d = 1.

About p = N(0, s^2), q = p (1 + phi) moves by d phi/dt = h^2 L P phi: P is the conditional mean given the smoothed point, L the
generator of the Ornstein-Uhlenbeck process of p. Both send He_n(x / s) to Hermite polynomials of degree n and below, so that the
eigenvalues stand on the diagonal. Several axes decouple where p, q and the kernel are products.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import xarray as xr
from scipy import integrate, special

from driftrates.spectral.linear import gaussian_target_rates
from driftrates.spectral.mean_field import FOLDINGS, dataset, decay_rate

SMALL, REACH, SPACING, STIFF = 1e-7, 10.0, 0.3, 100.0
"""Amplitude of a small perturbation; nodes reach so many standard deviations, and stand so many of the shortest lengths apart; ratio of
rates beyond which the slower one is not fitted."""
_STARTS = ((1.5, 0.3), (-0.7, 4.0))
_KERNELS = ("gaussian", "laplace")


def mean_shift(x: np.ndarray, y: np.ndarray, weights: np.ndarray, h: float, kernel: str = "gaussian") -> np.ndarray:
    """m_q (..., n) at x (..., n) of q = sum_j weights_j delta_{y_j}, y and weights (..., m); ``kernel`` gaussian or laplace.

    Raises ``ValueError`` for another kernel.
    """
    if kernel not in _KERNELS:
        raise ValueError(f"unknown kernel {kernel!r}; known: {', '.join(_KERNELS)}")
    z = y[..., None, :] - x[..., :, None]
    scaled = z / h
    k = np.exp(-0.5 * scaled * scaled) if kernel == "gaussian" else np.exp(-np.abs(scaled))
    k = k * weights[..., None, :]
    return (k * z).sum(-1) / k.sum(-1)


def nodes(h: float, width: float, mean: float = 0.0, reach: float = REACH) -> tuple[np.ndarray, np.ndarray]:
    """Equidistant nodes (m,) and weights (m,) that stand for N(mean, width^2) under a Gaussian kernel of bandwidth h, to rounding."""
    step = SPACING * min(h, width)
    y = np.arange(-math.ceil(reach * width / step), math.ceil(reach * width / step) + 1) * step
    weights = np.exp(-0.5 * (y / width) ** 2)
    return mean + y, weights / weights.sum()


def hermite(n: int, x: np.ndarray) -> np.ndarray:
    """He_n(x) / sqrt(n!), of unit norm under the standard Gaussian."""
    return special.eval_hermitenorm(n, x) / math.sqrt(math.factorial(n))


def hermite_operator(h: float, s: float, degree: int) -> np.ndarray:
    """Matrix (degree, degree) of the linearised flow between the normalised He_1 .. He_degree of x / s, by quadrature.

    The field that each polynomial causes is the complex-step derivative of the mean shift, tested against the gradients.
    """
    y, p = nodes(h, s, reach=REACH + degree / 4)
    n = np.arange(1, degree + 1)
    basis = np.stack([hermite(int(i), y / s) for i in n])
    slopes = np.stack([math.sqrt(i) * hermite(int(i) - 1, y / s) / s for i in n])
    field = -mean_shift(y[None], y[None], p * (1 + 1e-30j * basis), h).imag / 1e-30
    return slopes @ (p * field).T


def closure(h: float, s: float, mean: float, variance: float, times: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    """Mean and variance (T,) of a Gaussian cloud: dm/dt = -h^2 m/(s^2+h^2), dv/dt = 2 v h^2 [1/(v+h^2) - 1/(s^2+h^2)].

    Raises ``RuntimeError`` where the scheme fails.
    """

    def rhs(t: float, state: np.ndarray) -> list[float]:
        m, v = state
        return [-(h**2) * m / (s**2 + h**2), 2 * v * h**2 * (1 / (v + h**2) - 1 / (s**2 + h**2))]

    done = integrate.solve_ivp(rhs, (0, times[-1]), [mean, variance], "DOP853", t_eval=times, rtol=1e-12, atol=1e-14)
    if not done.success:
        raise RuntimeError(f"Gaussian closure from N({mean:g}, {variance:g}), h = {h:g}, s = {s:g}: {done.message}")
    return tuple(done.y)


def evolve(
    x0: np.ndarray,
    weights: np.ndarray,
    h: float,
    s: float,
    times: Sequence[float],
    *,
    unit: np.ndarray | float = 1.0,
    kernel: str = "gaussian",
) -> np.ndarray:
    """Characteristics (T, ..., m) of the mean-field equation from nodes x0 (..., m): the nodes move with v, their weights stay.

    ``unit`` (..., 1): each row's own unit of time. For ``kernel`` laplace the target is summed over nodes of its own.
    Raises ``ValueError`` for another kernel, `RuntimeError` where the scheme fails.
    """
    x0 = np.asarray(x0, float)
    y, p = nodes(h, s)

    def rhs(t: float, flat: np.ndarray) -> np.ndarray:
        x = flat.reshape(x0.shape)
        target = -(h**2) / (s**2 + h**2) * x if kernel == "gaussian" else mean_shift(x, y, p, h, kernel)
        return (unit * (target - mean_shift(x, x, weights, h, kernel))).ravel()

    # The kink of the Laplace kernel passes from node to node: a fine tolerance would be paid with tiny steps.
    tolerances = {"rtol": 1e-11, "atol": 1e-14} if kernel == "gaussian" else {"rtol": 1e-4, "atol": 1e-5}
    done = integrate.solve_ivp(rhs, (0, times[-1]), x0.ravel(), "DOP853", t_eval=times, **tolerances)
    if not done.success:
        raise RuntimeError(f"characteristics of the {kernel} kernel, h = {h:g}, s = {s:g}: {done.message}")
    return done.y.T.reshape(len(times), *x0.shape)


def nonlinear_rates(h: float, s: float, degrees: np.ndarray) -> np.ndarray:
    """Rates (n,) at which the coefficient of He_n decays in the full equation from p (1 + `SMALL` He_n), each in its own unit of time."""
    y, p = nodes(h, s)
    basis = np.stack([hermite(int(n), y / s) for n in degrees])
    weights = p * (1 + SMALL * basis)
    unit = 1 / gaussian_target_rates(degrees, h, s)
    times = np.linspace(0, FOLDINGS, 9)
    x = evolve(np.broadcast_to(y, weights.shape), weights, h, s, times, unit=unit[:, None])
    seen = [weights[i] @ hermite(int(n), x[:, i].T / s) - p @ basis[i] for i, n in enumerate(degrees)]
    return decay_rate(times, np.abs(np.stack(seen, axis=-1))).rate / unit


def measure_hermite(
    *, seed: int, bandwidths: Sequence[float] = (0.3, 0.5, 1.0, 2.0), degree: int = 20, fitted: int = 8, stop: float = 4.0
) -> xr.Dataset:
    """Spectrum about N(0, 1), and Gaussian clouds against their closure, for every bandwidth h (B3').

    degree: size of the matrix in the Hermite basis; fitted: degrees up to which a decay is fitted in the full equation, where it is not
    more than `STIFF` times slower than the fastest; stop: last time of the clouds in units of 1 / lambda_1. Nothing is random: ``seed``
    is recorded only.
    """
    n, h = np.arange(1, degree + 1), np.asarray(bandwidths, float)
    units, s = np.linspace(0, stop, 17), 1.0
    rates, operator, nonlinear = (np.full((len(h), degree), np.nan) for _ in range(3))
    moments = np.empty((len(h), len(_STARTS), len(_KERNELS), len(units), 4))
    exact = np.empty((len(h), len(_STARTS), len(units), 2))
    for i, width in enumerate(h):
        print(f"h = {width:g}", flush=True)
        rates[i] = gaussian_target_rates(n, width, s)
        operator[i] = _in_order(-np.linalg.eigvals(hermite_operator(width, s, degree)).real, rates[i])
        slow = np.flatnonzero(rates[i, :fitted] * STIFF > rates[i].max())
        nonlinear[i, slow] = nonlinear_rates(width, s, n[slow])
        times = units / rates[i, 0]
        for j, (mean, variance) in enumerate(_STARTS):
            exact[i, j] = np.stack(closure(width, s, mean, variance, times), axis=-1)
            y, p = nodes(width, math.sqrt(variance), mean)
            for a, kernel in enumerate(_KERNELS):
                moments[i, j, a] = _moments(evolve(y, p, width, s, times, kernel=kernel), p)
    made = {
        "closed_form": (("bandwidth", "degree"), rates, "eigenvalue lambda_n = n (h^2/s^2) (1 + h^2/s^2)^-n", "time^-1"),
        "operator": (("bandwidth", "degree"), operator, "eigenvalue of the linearised flow in the Hermite basis, by quadrature", "time^-1"),
        "nonlinear": (("bandwidth", "degree"), nonlinear, "decay rate of the coefficient of He_n in the full equation", "time^-1"),
        "moments": (("bandwidth", "start", "kernel", "unit", "moment"), moments, "moments of a cloud that starts Gaussian", "1"),
        "closure": (("bandwidth", "start", "unit", "closed"), exact, "mean and variance of that cloud by the Gaussian closure", "1"),
    }
    coordinates = {
        "bandwidth": (h, "bandwidth h over the standard deviation s of the target"),
        "degree": (n, "degree n of the Hermite polynomial"),
        "start": ([f"N({mean:g}, {variance:g})" for mean, variance in _STARTS], "law of the cloud at the start"),
        "kernel": (list(_KERNELS), "kernel"),
        "unit": (units, "time in units of 1 / lambda_1"),
        "moment": (["mean", "variance", "skewness", "excess_kurtosis"], "moment"),
        "closed": (["mean", "variance"], "moment"),
    }
    return dataset(made, coordinates, {"seed": seed, "small": SMALL})


def _in_order(found: np.ndarray, rates: np.ndarray) -> np.ndarray:
    """Eigenvalues in the order of the rates that they are nearest to in rank."""
    ordered = np.empty_like(found)
    ordered[np.argsort(rates)] = np.sort(found)
    return ordered


def _moments(x: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Mean, variance, skewness and excess kurtosis (T, 4) of nodes x (T, m)."""
    mean = x @ weights
    centred = x - mean[:, None]
    second, third, fourth = (centred**power @ weights for power in (2, 3, 4))
    return np.stack([mean, second, third / second**1.5, fourth / second**2 - 3], axis=-1)
