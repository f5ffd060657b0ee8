"""One-step generators: a network regressed on the frozen targets x + eta V(x) of fresh noise batches, against particles moved exactly.

The network is scikit-learn's multilayer perceptron (rectified linear units, Adam), fitted by one `partial_fit` per batch; the
literature trains 32-256-256-256-2 with SiLU, batches of 2048 and 2000 steps. A sample costs one forward pass.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from scipy.spatial.distance import pdist
from sklearn.neural_network import MLPRegressor
from threadpoolctl import threadpool_limits

from driftrates import datasets, kernels
from driftrates.baselines.sinkhorn import SinkhornDrift
from driftrates.fields import DriftField, SmoothedPoints
from driftrates.labels import labelled
from driftrates.measurements import transport
from driftrates.random import generator

Velocity = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""A field: clouds x (R, N, d) and their data y (R, M, d) give velocities (R, N, d)."""

_TOLERANCE = 0.05
_AT_REST = 1e-3


class Training(NamedTuple):
    """How a field is trained: ``make(h)`` gives its velocity, ``step(h)`` its eta in its own clock.

    ``gaussian``: its bandwidth is sqrt(d + 1) times that of the Laplace kernels, which gives both kernels equal second moments.
    """

    make: Callable[[float], Velocity]
    step: Callable[[float], float]
    gaussian: bool = False

    def bandwidth(self, h: float, d: int) -> float:
        """The field's own bandwidth where Laplace kernels have h > 0, in dimension d."""
        return h * (d + 1) ** 0.5 if self.gaussian else h


def kernel_velocity(name: str, kernel: str, h: float) -> Velocity:
    """The field ``name`` of `driftrates.fields` with a kernel given by its name and h > 0, between clouds and their data."""
    smooth = kernels.make(kernel)

    def velocity(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return DriftField(name, SmoothedPoints(y, smooth, h), smooth, h).at_particles(x).velocity

    return velocity


def sinkhorn_velocity(h: float) -> Velocity:
    """The Sinkhorn drift with eps = h^2, plans to a misplaced mass of 5 %, each started from the last one of its shape."""
    drift: SinkhornDrift | None = None

    def velocity(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        nonlocal drift
        drift = drift or SinkhornDrift(y, h**2, tolerance=_TOLERANCE)
        drift.data = y
        return drift.velocity(x)

    return velocity


FIELDS: dict[str, Training] = {
    "conservative": Training(lambda h: kernel_velocity("conservative", "gaussian", h), lambda h: h**2, gaussian=True),
    "displacement": Training(lambda h: kernel_velocity("displacement", "laplace", h), lambda h: 1.0),
    # Where the data are spread over more than a bandwidth, alpha of L6.1 is above 3 h^2: no step is longer than a displacement.
    "sharp": Training(lambda h: kernel_velocity("sharp", "laplace", h), lambda h: 3 * h**2),
    "sinkhorn": Training(sinkhorn_velocity, lambda h: 1.0, gaussian=True),
}


class Generator:
    """f_theta from noise (N, k) to samples (N, d); ``evaluations`` counts the rows that the network's own prediction has been given.

    ``hidden`` widths, ``batch`` size B, Adam with ``rate`` > 0, single precision; the first step, toward the origin, makes the weights.
    """

    def __init__(self, noise: int, dimension: int, hidden: Sequence[int], batch: int, rate: float, seed: int) -> None:
        self.network = MLPRegressor(
            hidden_layer_sizes=tuple(hidden), alpha=0.0, batch_size=batch, learning_rate_init=rate, shuffle=False, random_state=seed
        )
        self.evaluations = 0
        predict = self.network.predict

        def counted(z: np.ndarray) -> np.ndarray:
            self.evaluations += len(z)
            return predict(z)

        self.network.predict = counted
        self._regress(np.zeros((batch, noise)), np.zeros((batch, dimension)))

    def __call__(self, z: np.ndarray) -> np.ndarray:
        return self.network.predict(z.astype(np.float32)).astype(float)

    def step(self, z: np.ndarray, y: np.ndarray, velocity: Velocity, eta: float) -> np.ndarray:
        """One step of the optimiser on the loss (72) at noise z (B, k) and data y (M, d); returns the frozen targets (B, d)."""
        x = self(z)
        target = x + eta * velocity(x[None], y[None])[0]
        self._regress(z, target)
        return target

    def _regress(self, z: np.ndarray, target: np.ndarray) -> None:
        self.network.partial_fit(z.astype(np.float32), target.astype(np.float32))


def exact_regression(x: np.ndarray, y: np.ndarray, velocity: Velocity, eta: float, steps: int) -> tuple[np.ndarray, int]:
    """x_i <- x_i + eta V(x_i; X) of (73) for clouds x (R, N, d) with data y (R, M, d): the clouds and how many steps they took.

    At most ``steps``; it stops where the root mean square step falls below 1e-3 of the data's standard deviation: nothing moves any more.
    """
    rest = _AT_REST * float(y.std())
    for step in range(steps):
        change = eta * velocity(x, y)
        x = x + change
        if np.sqrt((change**2).sum(-1).mean()) < rest:
            return x, step + 1
    return x, steps


def split(data: Mapping[str, Any], size: int, *, seed: int, replicate: int) -> tuple[np.ndarray, np.ndarray]:
    """Independent training and held-out samples (size, d) of a data set; of a finite one, disjoint parts of one permutation.

    Raises ``ValueError`` where a finite set holds fewer than 2 * size points, and for a size in ``data``.
    """
    if "size" in data:
        raise ValueError("size is not for the data of a generator: samples says how many are drawn")
    points = datasets.load({**data, "size": 2 * size}, seed=seed, labels=("generators", replicate))
    shuffled = generator(seed, "split", data["name"], replicate).permutation(points)
    return shuffled[:size], shuffled[size:]


def train_generators(
    data: Mapping[str, Any],
    *,
    bandwidth: float,
    noise: int = 4,
    hidden: Sequence[int] = (128, 128, 128),
    batch: int = 128,
    steps: int = 300,
    rate: float = 4e-3,
    samples: int = 256,
    replicates: int = 3,
    seed: int,
) -> xr.Dataset:
    """Generators of one data set under every field of `FIELDS`, beside exactly moved particles, from the same untrained network.

    data: a data set without size; ``samples`` (a multiple of ``batch``) training points, as many held out, as many generated; noise
    of ``noise`` standard normal components. Particles move in clouds of ``batch`` with as many training points each; a training step
    draws ``batch`` training points. Over (field, replicate): exact W2 and MMD to the held-out points of the generated samples and of
    the particles, the steps that these took, and the rms regression error of the last tenth of the steps over that of eta V. Over
    (replicate): W2 and MMD of the training points (the data's own sampling error) and of the untrained network. The clouds are those of the
    first replicate. The MMD has a Gaussian kernel with the median distance of the held-out points.
    Raises ``ValueError`` where samples is no multiple of batch, or the data are too few.
    """
    if samples % batch:
        raise ValueError(f"samples ({samples}) must be a multiple of batch ({batch}): particles move in clouds of that size")
    shape = (len(FIELDS), replicates)
    measured = {
        f"{m}_{who}": np.empty(shape if who in ("generator", "particles") else replicates)
        for m in ("w2", "mmd")
        for who in ("generator", "particles", "data", "untrained")
    }
    taken, errors, evaluations = np.empty(shape, int), np.empty(shape), np.empty(shape)
    clouds: dict[str, list[np.ndarray]] = {"generated": [], "moved": []}
    with threadpool_limits(1):
        for r in range(replicates):
            train, held_out = split(data, samples, seed=seed, replicate=r)
            width = float(np.median(pdist(held_out)))

            def record(who: str, cloud: np.ndarray, *place: int, held_out: np.ndarray = held_out, width: float = width) -> None:
                measured[f"w2_{who}"][place] = transport.w2_to_data(cloud, held_out)
                measured[f"mmd_{who}"][place] = float(transport.mmd2(cloud[None], held_out[None], width).biased[0]) ** 0.5

            record("data", train, r)
            z = generator(seed, "noise", data["name"], r).standard_normal((samples, noise))
            initial = int(generator(seed, "network", data["name"], r).integers(2**31))
            for f, (name, training) in enumerate(FIELDS.items()):
                h = training.bandwidth(bandwidth, train.shape[1])
                model = Generator(noise, train.shape[1], hidden, batch, rate, initial)
                start = model(z)
                if f == 0:
                    record("untrained", start, r)
                rng = generator(seed, "training", data["name"], name, r)
                errors[f, r] = _train(model, train, training.make(h), training.step(h), batch, steps, rng)
                before = model.evaluations
                made = model(z)
                evaluations[f, r] = (model.evaluations - before) / samples
                groups = (samples // batch, batch, -1)
                moved, taken[f, r] = exact_regression(
                    start.reshape(groups), train.reshape(groups), training.make(h), training.step(h), steps
                )
                moved = moved.reshape(samples, -1)
                record("generator", made, f, r)
                record("particles", moved, f, r)
                print(f"{data['name']}, {name}, replicate {r}: W2 {measured['w2_generator'][f, r]:.3g}", flush=True)
                if r == 0:
                    clouds["generated"].append(made)
                    clouds["moved"].append(moved)
                    untrained, shown = start, held_out
    labels = {"w2": ("W2", "length"), "mmd": ("MMD", "1")}
    whose = {
        "generator": "generated samples",
        "particles": "exactly moved particles",
        "data": "training points",
        "untrained": "untrained network",
    }
    each = ("field", "replicate")
    variables: dict[str, Any] = {
        name: (each[2 - values.ndim :], values, f"{labels[m][0]} to held-out points: {whose[who]}", labels[m][1])
        for name, values in measured.items()
        for m, _, who in [name.partition("_")]
    }
    variables |= {
        "particle_steps": (each, taken, "steps of the particles until at rest", "1"),
        "regression_error": (each, errors, "rms regression error over rms of eta V, last tenth of the steps", "1"),
        "evaluations": (each, evaluations, "network evaluations per generated sample", "1"),
        "generated": (("field", "sample", "component"), np.stack(clouds["generated"]), "generated samples, first replicate", "length"),
        "moved": (("field", "sample", "component"), np.stack(clouds["moved"]), "exactly moved particles, first replicate", "length"),
        "untrained": (("sample", "component"), untrained, "samples of the untrained network, first replicate", "length"),
        "held_out": (("sample", "component"), shown, "held-out points, first replicate", "length"),
    }
    names = np.array(list(FIELDS), dtype=object)
    attributes = {"seed": seed, "data": data["name"], "bandwidth": bandwidth, "steps": steps, "batch": batch, "samples": samples}
    return labelled(variables, {"field": (names, "velocity field", "1")}, attributes)


def _train(model: Generator, data: np.ndarray, velocity: Velocity, eta: float, batch: int, steps: int, rng: np.random.Generator) -> float:
    """Train in place; rms regression error over rms of eta V in the last tenth of the steps."""
    noise = model.network.n_features_in_
    missed = moved = 0.0
    for step in range(steps):
        z, y = rng.standard_normal((batch, noise)), data[rng.permutation(len(data))[:batch]]
        last = step >= steps - max(1, steps // 10)
        before = model(z) if last else None
        target = model.step(z, y, velocity, eta)
        if last:
            missed += float(((model(z) - target) ** 2).sum())
            moved += float(((before - target) ** 2).sum())
    return (missed / moved) ** 0.5
