"""Stop-gradient training as regression on the frozen targets x + eta V(x) (Appendix A): the gradient (72) and the step (73)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr
from scipy.interpolate import RBFInterpolator
from sklearn.neural_network import MLPRegressor
from threadpoolctl import threadpool_limits

from driftrates import datasets, kernels
from driftrates.baselines import KERNELS
from driftrates.fields import DriftField, SmoothedPoints
from driftrates.labels import labelled
from driftrates.random import generator

_DIFFERENCE = 1e-3
_COMPLEX_STEP = 1e-30
_CENTRAL = ((-2, 1 / 12), (-1, -2 / 3), (1, 2 / 3), (2, -1 / 12))


def data_field(name: str, data: np.ndarray, h: float) -> DriftField:
    """The field ``name`` (key of `KERNELS`) toward data (M, d) with bandwidth h > 0, under its kernel."""
    kernel = kernels.make(KERNELS[name])
    return DriftField(name, SmoothedPoints(data[None], kernel, h), kernel, h)


def forward(theta: np.ndarray, z: np.ndarray, shapes: Sequence[tuple[int, int]]) -> np.ndarray:
    """f_theta(z) of a tanh network: z (B, k), theta (P,) real or complex, the weight matrices of ``shapes`` first, then the intercepts."""
    sizes = [a * b for a, b in shapes]
    parts = np.split(theta, np.cumsum([*sizes, *(b for _, b in shapes)])[:-1])
    x = z
    for layer, shape in enumerate(shapes):
        x = x @ parts[layer].reshape(shape) + parts[len(shapes) + layer]
        x = np.tanh(x) if layer < len(shapes) - 1 else x
    return x


def parameters(network: MLPRegressor) -> np.ndarray:
    """theta (P,) of a fitted network in the order of `forward`."""
    return np.concatenate([a.ravel() for a in (*network.coefs_, *network.intercepts_)])


def gradients(field: DriftField, eta: float, *, batch: int, seed: int) -> dict[str, np.ndarray]:
    """The gradient (P,) of the loss (72) at theta of a small tanh network, four ways.

    ``frozen``: fourth-order differences of the loss with its target held fixed; ``formula``: -(2 eta / B) sum J^T V with J by complex
    steps; ``library``: from one step of scikit-learn's own network (its loss is half of (72)); ``through``: differences of the loss with
    the target recomputed at every theta, V differentiated as well.
    """
    rng = generator(seed, "stop_gradient", field.name)
    d = field.target.points.shape[2]
    z = rng.standard_normal((batch, 4))
    network = MLPRegressor(
        hidden_layer_sizes=(8,),
        activation="tanh",
        solver="sgd",
        momentum=0.0,
        nesterovs_momentum=False,
        alpha=0.0,
        learning_rate_init=0.1,
        batch_size=batch,
        shuffle=False,
        random_state=int(rng.integers(2**31)),
    ).partial_fit(z, rng.standard_normal((batch, d)))
    theta, shapes = parameters(network), [c.shape for c in network.coefs_]

    def velocity(x: np.ndarray) -> np.ndarray:
        return field.at_particles(x[None]).velocity[0]

    x = forward(theta, z, shapes)
    v = velocity(x)

    def loss(moved: np.ndarray, frozen: bool) -> float:
        out = forward(moved, z, shapes)
        target = x + eta * v if frozen else out + eta * velocity(out)
        return float(((out - target) ** 2).sum() / batch)

    directions = np.eye(len(theta))
    jacobian = np.stack([forward(theta + 1j * _COMPLEX_STEP * e, z, shapes).imag / _COMPLEX_STEP for e in directions])
    found = {"formula": -2 * eta / batch * (jacobian * v).sum((1, 2))}
    for name, frozen in (("frozen", True), ("through", False)):
        found[name] = (
            np.array([math.fsum(w * loss(theta + s * _DIFFERENCE * e, frozen) for s, w in _CENTRAL) for e in directions]) / _DIFFERENCE
        )
    network.partial_fit(z, x + eta * v)
    found["library"] = -2 * (parameters(network) - theta) / network.learning_rate_init
    return found


def regression_steps(
    field: DriftField, z: np.ndarray, x: np.ndarray, eta: float, count: int, features: int | None, *, seed: int
) -> np.ndarray:
    """``count`` regressions on frozen targets from the cloud x (N, d) at the noise z (N, k): departures from (73), (3, count).

    Exact regression (``features`` None) by radial-basis interpolation, else least squares on that many random features, drawn from
    ``seed``, whose error e is taken from the orthogonal projection and not from the fit. Rows: |f(z) - (x + eta V(x) + e)| along the
    regressed cloud; the same without e for inexact, with V of the first cloud for exact regression (the broken statement);
    |eta V + e|, the size of the step.
    """
    frequencies = generator(seed, "features", features or 0).standard_normal((z.shape[1] + 1, features or 1))
    design = np.cos(z @ frequencies[:-1] + 3 * frequencies[-1])
    basis = np.linalg.qr(design)[0]
    first = field.at_particles(x[None]).velocity[0]
    rows = []
    for _ in range(count):
        v = field.at_particles(x[None]).velocity[0]
        target = x + eta * v
        if features is None:
            new, error, broken = RBFInterpolator(z, target, kernel="linear")(z), 0.0, x + eta * first
        else:
            new = design @ np.linalg.lstsq(design, target, rcond=None)[0]
            error, broken = basis @ (basis.T @ target) - target, target
        rows.append([root_mean_square(new - target - error), root_mean_square(new - broken), root_mean_square(eta * v + error)])
        x = new
    return np.array(rows).T


def measure_regression(*, batch: int = 32, particles: int = 64, steps: int = 10, eta: float = 0.5, draws: int = 3, seed: int) -> xr.Dataset:
    """(72) and (73) for every field of `KERNELS`, toward eight Gaussians with h = 0.5; eta > 0 in units of h^2 (1 for the displacement).

    Over (field, draw): |gradient - formula| / |formula| of `gradients`. Over (field, draw, regressor, step): departures of
    `regression_steps` relative to the size of the step.
    """
    h, names, others = 0.5, list(KERNELS), ("frozen", "library", "through")
    data = datasets.load({"name": "eight_gaussians", "size": 4 * batch}, seed=seed, labels=("regression",))
    departures = {name: np.empty((len(names), draws)) for name in others}
    along = np.empty((len(names), draws, 2, 3, steps))
    with threadpool_limits(1):
        for f, r in np.ndindex(len(names), draws):
            field = data_field(names[f], data, h)
            step = eta * (1.0 if names[f] == "displacement" else h**2)
            rng = generator(seed, "regression", names[f], r)
            found = gradients(field, step, batch=batch, seed=int(rng.integers(2**31)))
            for name in others:
                departures[name][f, r] = np.linalg.norm(found[name] - found["formula"]) / np.linalg.norm(found["formula"])
            z = rng.standard_normal((particles, 4))
            cloud = np.tanh(z[:, :2]) + 0.5 * z[:, 2:]
            drawn = int(rng.integers(2**31))
            for k, features in enumerate((None, particles // 2)):
                along[f, r, k] = regression_steps(field, z, cloud, step, steps, features, seed=drawn)
    each = ("field", "draw")
    texts = {
        "frozen": "differences of the loss with its target frozen",
        "library": "one step of scikit-learn's network",
        "through": "differences of the loss, V differentiated as well",
    }
    variables: dict[str, Any] = {
        f"{name}_departure": (each, departures[name], f"|gradient by {texts[name]} - formula| / |formula| of (72)", "1") for name in others
    }
    four = (*each, "regressor", "step")
    scale = along[..., 2, :]
    variables["step_departure"] = (four, along[..., 0, :] / scale, "departure from (73) over the size of the step", "1")
    variables["broken_departure"] = (four, along[..., 1, :] / scale, "the same with V of the first cloud, or e left out", "1")
    return labelled(
        variables,
        {
            "field": (np.array(names, dtype=object), "velocity field", "1"),
            "regressor": (np.array(["exact", "inexact"], dtype=object), "interpolation, or least squares on half as many features", "1"),
        },
        {"seed": seed, "batch": batch, "particles": particles, "eta": eta, "bandwidth": h},
    )


def root_mean_square(change: np.ndarray) -> np.ndarray:
    """Root mean square over the particles of the lengths of ``change`` (..., N, d)."""
    return np.sqrt((change**2).sum(-1).mean(-1))
