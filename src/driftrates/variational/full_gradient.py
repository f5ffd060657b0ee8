"""B6: descent on the mean squared drift with and without the derivative through the field.

Stop-gradient training moves x_i along V(x_i; X). The full gradient descends L(X) = (1/2N) sum_i |V(x_i; X)|^2 with the derivative
through V, dx/dt = -N grad L = -J^T V with J = dV/dX: every critical point of L attracts, the barriers of p_h among them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from threadpoolctl import threadpool_limits

from driftrates import flow
from driftrates.fields import DriftField, SmoothedPoints
from driftrates.kernels import Kernel, make
from driftrates.measurements.transport import squared_w2
from driftrates.random import generator
from driftrates.sampling import sample_smoothed

METHODS = ("stop_gradient", "full_gradient")
STARTS = {
    "near": "the data, each point moved by 0.2 h",
    "wide": "a normal cloud as wide as the data",
    "one_mode": "a new sample of the right mode",
    "between": "a sample of one mode, half as wide, in the middle between the two",
}


@dataclass(frozen=True)
class DriftLoss:
    """L(X) = (1/2N) sum_i |V(x_i; X)|^2 of the conservative field V = s_p - s_q toward data y (1 or R, M, d), h > 0.

    Works on all pairs at once: meant for a few hundred points. The kernel needs the rungs 0 to 2; real or complex clouds.
    """

    data: np.ndarray
    kernel: Kernel
    h: float

    def velocity(self, x: np.ndarray) -> np.ndarray:
        """V at its own cloud x (R, N, d), unit 1/length. Raises ``ValueError`` where a particle is out of reach of all data."""
        return self._score(x, self.data)[0] - self._score(x, x)[0]

    def value(self, x: np.ndarray) -> np.ndarray:
        """L, (R,)."""
        return (self.velocity(x) ** 2).sum((1, 2)) / (2 * x.shape[1])

    def gradient(self, x: np.ndarray) -> np.ndarray:
        """N grad L = J^T V, (R, N, d), unit 1/length^3; J_ij = dV(x_i; X)/dx_j, the cloud moving with its particles."""
        target, to_data = self._score(x, self.data)
        model, to_cloud = self._score(x, x)
        v = target - model
        pairs = to_cloud(v)
        return (pairs.sum(2) - pairs.sum(1) - to_data(v).sum(2)) / self.h

    def _score(self, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, Any]:
        """Score s(x_i) of the points y, (R, N, d), and the map g -> w (R, N, M, d) with g_i . ds_i = sum_j w_ij . d(y_j - x_i) / h."""
        z = (y[:, None] - x[:, :, None]) / self.h
        d = x.shape[2]
        s = np.sqrt((z * z).sum(-1))
        f0, f1 = (self.kernel.rung(s, d, n) for n in (0, 1))
        mass = f0.sum(2)
        if not (mass.real > 0).all():
            raise ValueError("a particle is too far from the data for the kernel's sums: start nearer, or raise h")
        weight = f1 / mass[..., None]
        score = np.einsum("rij,rijk->rik", weight, z) / self.h

        def pull_back(g: np.ndarray) -> np.ndarray:
            along = np.einsum("rijk,rik->rij", z, g)
            radial = weight * (score * g).sum(-1)[..., None] - self.kernel.rung(s, d, 2) / mass[..., None] * along / self.h
            return radial[..., None] * z + (weight / self.h)[..., None] * g[:, :, None]

        return score, pull_back


def descend(loss: DriftLoss, x0: np.ndarray, times: Sequence[float], method: str, *, rtol: float = 1e-4) -> np.ndarray:
    """Clouds (T, R, N, d) at increasing ``times`` of the displacement clock, from x0 (R, N, d).

    ``stop_gradient``: dx/dt = h^2 V; ``full_gradient``: dx/dt = -h^4 N grad L, the descent on (1/2N) sum |h^2 V|^2: both rates are
    free of units. Raises ``ValueError`` for another method.
    """
    if method not in METHODS:
        raise ValueError(f"unknown method {method!r}; known: {', '.join(METHODS)}")

    data = np.broadcast_to(loss.data, (len(x0), *loss.data.shape[1:]))

    def rhs(t: np.ndarray, x: np.ndarray, replicates: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        if method == "full_gradient":
            moved = -(loss.h**4) * DriftLoss(data[replicates], loss.kernel, loss.h).gradient(x)
        else:
            target = SmoothedPoints(data[replicates], loss.kernel, loss.h)
            moved = loss.h**2 * DriftField("conservative", target, loss.kernel, loss.h).at_particles(x).velocity
        return moved, np.zeros((len(x), 0))

    scheme = flow.RungeKuttaChebyshev(rtol=rtol, atol=rtol * loss.h)
    return np.stack([record.state.x for record in flow.integrate(rhs, x0, times, scheme)])


def two_modes(n: int, distance: float, width: float, seed: int, replicate: int) -> np.ndarray:
    """n points (n, 2), half around (-distance/2, 0), the rest around (distance/2, 0), ``width`` their standard deviation per axis."""
    points = width * generator(seed, "two modes", replicate).standard_normal((n, 2))
    points[:, 0] += np.where(np.arange(n) < n // 2, -1, 1) * distance / 2
    return points


def start_cloud(name: str, data: np.ndarray, distance: float, width: float, h: float, seed: int, replicate: int) -> np.ndarray:
    """A start of `STARTS` for data (n, 2) of `two_modes`. Raises ``ValueError`` for an unknown name."""
    if name not in STARTS:
        raise ValueError(f"unknown start {name!r}; known: {', '.join(STARTS)}")
    noise = generator(seed, "start", name, replicate).standard_normal(data.shape)
    if name == "near":
        return data + 0.2 * h * noise
    if name == "wide":
        return noise * data.std(0)
    return width * noise + [distance / 2, 0.0] if name == "one_mode" else width / 2 * noise


def measure_stop_gradient(
    *,
    seed: int,
    kernels: Sequence[Mapping[str, Any]] = ({"name": "gaussian"}, {"name": "inverse_multiquadric", "dof": 3.0}),
    particles: int = 64,
    replicates: int = 4,
    bandwidth: float = 0.4,
    distance: float = 3.2,
    width: float = 0.4,
    horizon: float = 100.0,
    outputs: int = 13,
    points: int = 1024,
) -> xr.Dataset:
    """Stop-gradient drift and full gradient from every start of `STARTS`, toward two modes in the plane.

    Options as in the configuration; ``particles`` is both N and M, ``points`` a power of two. Over (kernel, descent, start, replicate,
    time), the clock of displacement: KL(q_h || p_h) by ``points`` Sobol samples of q_h, D_N, W2 to the data. The last
    ``cloud`` (kernel, descent, start, replicate, particle, component), the ``initial_cloud`` and ``data`` they belong to. Raises
    ``ValueError`` for two kernels of one name.
    """
    names = [spec["name"] for spec in kernels]
    if len(set(names)) < len(names):
        raise ValueError(f"kernels must differ in name, not {', '.join(names)}")
    times = np.concatenate([[0.0], np.geomspace(1e-3 * horizon, horizon, outputs - 1)])
    shape = (len(kernels), len(METHODS), len(STARTS), replicates)
    kl, speed, w2 = (np.empty((*shape, len(times))) for _ in range(3))
    clouds = np.empty((*shape, particles, 2))
    data = np.stack([two_modes(particles, distance, width, seed, r) for r in range(replicates)])
    initial = np.stack(
        [[start_cloud(name, data[r], distance, width, bandwidth, seed, r) for r in range(replicates)] for name in STARTS],
    )
    for k, spec in enumerate(kernels):
        # All starts of all replicates run in one ensemble.
        kernel, targets = make(**spec), np.tile(data, (len(STARTS), 1, 1))
        loss = DriftLoss(targets, kernel, bandwidth)
        for m, method in enumerate(METHODS):
            print(f"{kernel.name}: {method}", flush=True)
            with threadpool_limits(1, user_api="blas"):
                path = descend(loss, initial.reshape(targets.shape), times, method)
            clouds[k, m] = path[-1].reshape(clouds.shape[2:])
            for t, x in enumerate(path):
                speed[k, m, ..., t] = (loss.velocity(x) ** 2).sum(-1).mean(1).reshape(shape[2:])
                for place, cloud, points_p in zip(np.ndindex(shape[2:]), x, targets, strict=True):
                    w2[(k, m, *place, t)] = np.sqrt(squared_w2(cloud, points_p).squared_distance)
                    kl[(k, m, *place, t)] = smoothed_divergence(cloud, points_p, kernel, bandwidth, points, seed=seed)
    dims = ("kernel", "descent", "start", "replicate")
    variables = {
        "kl": ((*dims, "time"), kl, "KL(q_h || p_h)", "1"),
        "squared_speed": ((*dims, "time"), speed, "D_N, mean of |V|^2 over the cloud", "length^-2"),
        "w2": ((*dims, "time"), w2, "W2 between the cloud and the data", "length"),
        "cloud": ((*dims, "particle", "component"), clouds, "particles at the last time", "length"),
        "initial_cloud": (("start", "replicate", "particle", "component"), initial, "particles at time 0", "length"),
        "data": (("replicate", "particle", "component"), data, "data", "length"),
    }
    labels = {"kernel": names, "descent": list(METHODS), "start": list(STARTS)}
    texts = {"kernel": "kernel", "descent": "what is differentiated", "start": "cloud at time 0"}
    coordinates = {name: (name, values, {"long_name": texts[name], "units": "1"}) for name, values in labels.items()}
    coordinates["time"] = ("time", times, {"long_name": "time of the displacement clock", "units": "1"})
    attributes = {"seed": seed, "bandwidth": bandwidth, "distance": distance, "width": width, "points": points}
    packed = {name: (where, values, {"long_name": text, "units": unit}) for name, (where, values, text, unit) in variables.items()}
    return xr.Dataset(packed, coordinates, {**attributes, "kernels": json.dumps(list(kernels))})


def smoothed_divergence(cloud: np.ndarray, data: np.ndarray, kernel: Kernel, h: float, points: int, *, seed: int) -> float:
    """KL(q_h || p_h) of a cloud (N, d) and data (M, d) smoothed by K_h: mean of log(q_h / p_h) over ``points`` Sobol samples of q_h."""
    index, z = sample_smoothed(kernel, h, cloud, points, generator(seed, "smoothed divergence"))
    x = (cloud[index] + h * z)[None]
    q, p = (SmoothedPoints(each[None], kernel, h).statistic("score", x).log_density for each in (cloud, data))
    return float((q - p).mean())
