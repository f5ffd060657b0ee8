"""The flow of the maximum mean discrepancy: each particle follows -N times the gradient of MMD^2 / 2 of the Gaussian kernel.

    dx_i/dt = (1/M) sum_j k(x_i, y_j) (y_j - x_i) / h^2 - (1/N) sum_j k(x_i, x_j) (x_j - x_i) / h^2,   k = exp(-|x - y|^2 / (2 h^2)),

along which d/dt MMD^2 / 2 = -(1/N) sum_i |dx_i/dt|^2.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from driftrates import datasets, flow, random
from driftrates.arrays import namespace
from driftrates.kernels import Gaussian
from driftrates.labels import labelled
from driftrates.measurements.transport import mmd2
from driftrates.sums import kernel_sums

_STEP = 1e-5


def discrepancy_field(x: Any, y: Any, h: float) -> Any:
    """The velocity at the cloud's own particles x (R, N, d) toward y (R or 1, M, d): (R, N, d), unit 1/length.

    Raises ``ValueError`` as `kernel_sums` does.
    """
    xp = namespace(x)

    def mean(points: Any) -> Any:
        scale, terms = kernel_sums(x, points, Gaussian(), h, ("k", "kz"))
        return terms["kz"] * xp.exp(scale)[..., None] / (h * points.shape[1])

    return mean(y) - mean(x)


def check_discrepancy(*, seed: int, particles: int = 24, bandwidth: float = 0.8, horizon: float = 4.0, rtol: float = 1e-8) -> xr.Dataset:
    """The flow of MMD^2 / 2 on eight Gaussians, relative residuals.

    Velocity against central differences of `transport.mmd2`, also with the self-repulsion left out; the fall of MMD^2 / 2 over
    ``horizon`` against the integral of the mean squared speed, and of twice that.
    """
    y = datasets.load({"name": "eight_gaussians", "size": 2 * particles}, seed=seed)[None]
    x0 = random.generator(seed, "discrepancy", particles).standard_normal((1, particles, 2))
    shifts = _STEP * np.eye(2 * particles).reshape(-1, particles, 2)
    ahead, behind = (mmd2(x0 + sign * shifts, y, bandwidth).biased for sign in (1, -1))
    exact = -particles * ((ahead - behind) / (4 * _STEP)).reshape(particles, 2)
    velocity = discrepancy_field(x0, y, bandwidth)[0]
    scale, own = kernel_sums(x0, x0, Gaussian(), bandwidth, ("k", "kz"))
    attraction = velocity + (own["kz"] * np.exp(scale)[..., None])[0] / (bandwidth * particles)

    def rhs(_: Any, x: np.ndarray, __: Any) -> tuple[np.ndarray, np.ndarray]:
        v = discrepancy_field(x, y, bandwidth)
        return v, (v**2).sum(-1).mean(1)[:, None]

    *_, last = flow.integrate(rhs, x0, [horizon], flow.DormandPrince(rtol=rtol, atol=rtol / 100), carried=1)
    start, end = (float(mmd2(x, y, bandwidth).biased[0]) for x in (x0, last.state.x))
    spent, fall = float(last.state.carried[0, 0]), (start - end) / 2
    size = np.abs(exact).max()
    labels = {
        "discrepancy_gradient": (np.abs(velocity - exact).max() / size, "velocity against differences of MMD^2 / 2, relative"),
        "discrepancy_attraction": (np.abs(attraction - exact).max() / size, "the same without self-repulsion"),
        "discrepancy_dissipation": (abs(fall - spent) / fall, "fall of MMD^2 / 2 against the integrated mean squared speed, relative"),
        "discrepancy_doubled": (abs(fall - 2 * spent) / fall, "the same against twice the integral"),
    }
    return labelled({name: ((), value, text, "1") for name, (value, text) in labels.items()}, attributes={"discrepancy_rtol": rtol})
