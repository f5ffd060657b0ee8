"""Fields against each other on mode coverage: the same starts, data, held-out data, numbers of evaluations and, by their counts, cost."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from driftrates import kernels, random
from driftrates.baselines import KERNELS
from driftrates.baselines.affinity import FLOOR, TEMPERATURES, check_affinity, combined_field
from driftrates.baselines.discrepancy import check_discrepancy, discrepancy_field
from driftrates.baselines.sinkhorn import SinkhornDrift, check_sinkhorn
from driftrates.baselines.stein import check_stein, svgd
from driftrates.fields import DriftField, SmoothedPoints
from driftrates.labels import labelled
from driftrates.measurements.transport import mmd2, squared_w2
from driftrates.targets import GaussianMixture

RADIUS, DEVIATION, START_DEVIATION = 2.0, 0.2, 0.2
"""Circle of the eight modes, standard deviation of each, and of the starting clouds; unit of length."""

CONFIGURATIONS: dict[str, tuple[tuple[float, ...], tuple[float, float]]] = {
    "balanced, centre": ((1.0,) * 8, (0.0, 0.0)),
    "balanced, displaced": ((1.0,) * 8, (1.25 * RADIUS, 0.0)),
    "imbalanced, centre": ((8.0, 1.0, 4.0, 2.0) * 2, (0.0, 0.0)),
}
"""Weights of the modes and centre of the starting cloud: in the middle of the circle, or beyond the first mode."""

FIELDS = (*KERNELS, "sinkhorn", "algorithm2", "algorithm2_floored", "svgd", "mmd")
COSTLY = ("sinkhorn", "algorithm2", "algorithm2_floored")
_REACH, _FAR, _NEARLY = 4.0, 1e3, 1.02

Velocity = Callable[[np.ndarray], tuple[np.ndarray, Any]]
"""x (R, N, d) -> velocity (R, N, d) and the pairs that each replicate cost."""


def check_baselines(
    *,
    seed: int,
    sinkhorn: Mapping[str, Any] | None = None,
    affinity: Mapping[str, Any] | None = None,
    stein: Mapping[str, Any] | None = None,
    discrepancy: Mapping[str, Any] | None = None,
) -> xr.Dataset:
    """`check_sinkhorn`, `check_affinity`, `check_stein` and `check_discrepancy` with their options, in one Dataset."""
    parts = [(check_sinkhorn, sinkhorn), (check_affinity, affinity), (check_stein, stein), (check_discrepancy, discrepancy)]
    checked = [check(seed=seed, **(options or {})) for check, options in parts]
    return xr.merge(checked, combine_attrs="drop_conflicts").assign_attrs(seed=seed)


def mode_mixture(weights: Sequence[float]) -> GaussianMixture:
    """Isotropic Gaussians of standard deviation `DEVIATION`, evenly spaced on the circle of `RADIUS`, with these weights (any sum)."""
    angles = 2 * math.pi * np.arange(len(weights)) / len(weights)
    means = RADIUS * np.stack([np.cos(angles), np.sin(angles)], 1)
    return GaussianMixture(np.asarray(weights, float), means, np.full(len(weights), DEVIATION**2))


def covered_modes(x: np.ndarray, mixture: GaussianMixture, share: float = 0.5) -> np.ndarray:
    """Number (R,) of modes within four standard deviations of whose mean, nearest to it, lie at least ``share`` of their fair N w_k
    particles, x (R, N, 2)."""
    distance = np.sqrt(((x[:, :, None] - mixture.means) ** 2).sum(-1))
    owner = np.where(distance.min(2) <= _REACH * DEVIATION, distance.argmin(2), -1)
    counts = (owner[..., None] == np.arange(len(mixture.means))).sum(1)
    return (counts >= share * x.shape[1] * mixture.weights).sum(1)


def make_field(name: str, h: float, data: np.ndarray, mixtures: Sequence[GaussianMixture]) -> tuple[Velocity, float]:
    """A field of `FIELDS` at bandwidth h toward data (R, M, 2), one mixture per replicate for the score of SVGD, and its unit of step.

    The Sinkhorn drift has eps = h^2, Algorithm 2 the temperatures of the paper scaled so that the largest is h, SVGD and the MMD
    flow the Gaussian kernel. In its unit a step of 1 is about the largest that a cloud near its data bears: 1 for displacement and
    Sinkhorn, h^2 for scores, 3 h^2 for the sharp score in the plane, 4 h^2 for the MMD flow, 2 / (stiffness of the score) for SVGD,
    h / 4 for Algorithm 2, whose size is normalised. Pairs: kernel values or exponentials.
    Raises ``ValueError`` for an unknown name.
    """
    if name not in FIELDS:
        raise ValueError(f"unknown field {name!r}; known: {', '.join(FIELDS)}")
    m = data.shape[1]
    if name in KERNELS:
        kernel = kernels.make(KERNELS[name])
        field = DriftField(name, SmoothedPoints(data, kernel, h), kernel, h)
        unit = {"conservative": h**2, "displacement": 1.0, "sharp": 3 * h**2}[name]
        return lambda x: (field.at_particles(x).velocity, x.shape[1] * (x.shape[1] + m)), unit
    if name == "sinkhorn":
        drift = SinkhornDrift(data, h**2)
        return lambda x: (drift.velocity(x), drift.sweeps), 1.0
    if name == "mmd":
        return lambda x: (discrepancy_field(x, data, h), x.shape[1] * (x.shape[1] + m)), 4 * h**2
    if name == "svgd":
        groups = [(target, [r for r, own in enumerate(mixtures) if own is target]) for target in {id(t): t for t in mixtures}.values()]

        def stein(x: np.ndarray) -> tuple[np.ndarray, float]:
            velocity = np.empty_like(x)
            for target, rows in groups:
                velocity[rows] = svgd(x[rows], target, h).velocity
            return velocity, x.shape[1] ** 2

        return stein, 2 * DEVIATION**2
    temperatures = [t * h / max(TEMPERATURES) for t in TEMPERATURES]
    floor = FLOOR if name.endswith("floored") else 0.0
    return lambda x: (combined_field(x, data, temperatures, floor=floor), len(temperatures) * x.shape[1] * (x.shape[1] + m)), h / 4


def compare_fields(
    *,
    seed: int,
    particles: int = 128,
    replicates: int = 5,
    evaluations: int = 48,
    extended: int = 192,
    bandwidths: Sequence[float] = (0.3, 0.6, 1.2),
    factors: Sequence[float] = (0.25, 0.5, 1.0),
    metric_bandwidth: float = 0.5,
) -> xr.Dataset:
    """Euler steps of every field of `FIELDS` from the starts of `CONFIGURATIONS` toward ``particles`` data points.

    The step is the largest of ``factors`` (in the field's own unit, `make_field`) whose final W2 to held-out data is within 2 % of the
    least, over two pilots of its own, balanced, from the centre and displaced. Each replicate has its own start, data and held-out
    data, which all fields share. The fields of `COSTLY` take ``evaluations`` evaluations; the others go on to ``extended``, for
    comparison at equal cost.

    Over (configuration, field, bandwidth, replicate, checkpoint): W2 and MMD (``metric_bandwidth``) to held-out data of N points, modes
    covered, pairs spent. Besides: chosen factors, the same of the training data (their sampling error), clouds of the first replicate
    after ``evaluations``.
    Raises ``ValueError`` for extended < evaluations, where no factor gives a finite pilot, or as the fields do.
    """
    if extended < evaluations:
        raise ValueError(f"extended ({extended}) must be at least evaluations ({evaluations})")
    names = list(CONFIGURATIONS)
    mixtures = [mixture for name in names for mixture in [mode_mixture(CONFIGURATIONS[name][0])] * replicates]
    keys = [(name, r) for name in names for r in range(replicates)]
    data, held_out = (_draw(seed, role, keys, mixtures, particles) for role in ("data", "held_out"))
    starts = _starts(seed, keys, particles)
    grid = [*np.geomspace(1, evaluations, 7), *np.geomspace(evaluations, extended, 3)]
    checkpoints = np.unique([0, *np.round(grid).astype(int)])
    shape = (len(names), len(FIELDS), len(bandwidths), replicates, len(checkpoints))
    found = {name: np.full(shape, np.nan) for name in ("w2", "mmd", "covered", "pairs")}
    chosen = np.full(shape[1:3], np.nan)
    clouds = np.full((*shape[:3], particles, 2), np.nan, np.float32)
    measured = _Measure(held_out, mixtures, metric_bandwidth)
    for f, name in enumerate(FIELDS):
        for b, h in enumerate(bandwidths):
            count = evaluations if name in COSTLY else extended
            chosen[f, b] = _pilot(name, h, seed, particles, evaluations, factors)
            velocity, unit = make_field(name, h, data, mixtures)
            x, spent = starts.copy(), np.zeros(len(keys))
            begin = time.perf_counter()
            for k in range(count + 1):
                if k in checkpoints:
                    c = int(np.searchsorted(checkpoints, k))
                    for key, values in {**measured(x), "pairs": spent}.items():
                        found[key][:, f, b, :, c] = values.reshape(len(names), replicates)
                if k == evaluations:
                    clouds[:, f, b] = x[::replicates]
                    # Into the log only: results are compared byte by byte.
                    print(f"{name}, h = {h:g}: step {chosen[f, b]:g}, {k} evaluations in {time.perf_counter() - begin:.2f} s", flush=True)
                if k < count:
                    v, pairs = velocity(x)
                    x, spent = x + chosen[f, b] * unit * v, spent + pairs
    own = {key: values.reshape(len(names), replicates) for key, values in measured(data).items()}
    cells = ("configuration", "field", "bandwidth", "replicate", "checkpoint")
    labels = {
        "w2": ("W2 to held-out data", "length"),
        "mmd": (f"MMD to held-out data, Gaussian kernel of bandwidth {metric_bandwidth:g}", "1"),
        "covered": ("modes with at least half of their fair share of particles", "1"),
        "pairs": ("pairs evaluated since the start", "1"),
    }
    variables = {key: (cells, values, *labels[key]) for key, values in found.items()}
    for key, values in own.items():
        variables[f"data_{key}"] = (("configuration", "replicate"), values, f"{labels[key][0]}, of the training data", labels[key][1])
    variables |= {
        "step_factor": (cells[1:3], chosen, "step in the field's own unit, chosen by the pilot", "1"),
        "cloud": ((*cells[:3], "particle", "component"), clouds, "cloud of the first replicate", "length"),
        "data": (("configuration", "particle", "component"), data[::replicates], "its training data", "length"),
        "start": (("configuration", "particle", "component"), starts[::replicates], "its start", "length"),
    }
    coordinates = {
        "configuration": (names, "weights of the modes, place of the start", "1"),
        "field": (list(FIELDS), "field", "1"),
        "bandwidth": (list(bandwidths), "bandwidth h; eps = h^2, largest temperature = h", "length"),
        "checkpoint": (checkpoints, "evaluations of the field", "1"),
    }
    attributes = {"seed": seed, "evaluations": evaluations, "extended": extended, "modes": len(mixtures[0].means)}
    return labelled(variables, coordinates, attributes)


def at_equal_cost(ds: xr.Dataset) -> xr.Dataset:
    """w2, mmd and covered of a Dataset of `compare_fields` at each cell's last checkpoint within the cost that every field can spend.

    That cost, attribute ``budget``, is the least number of pairs that any field has spent at its own end, its mean over replicates.
    """
    spent = ds["pairs"].mean("replicate")
    budget = float(spent.max("checkpoint").min())
    last = (spent <= budget).cumsum("checkpoint").argmax("checkpoint")
    return ds[["w2", "mmd", "covered"]].isel(checkpoint=last).assign_attrs(budget=budget)


def _draw(seed: int, role: str, keys: Sequence[tuple], mixtures: Sequence[GaussianMixture], n: int) -> np.ndarray:
    draws = (random.generator(seed, "comparison", role, *key) for key in keys)
    return np.concatenate([mixture.sample(draw, (1, n)) for draw, mixture in zip(draws, mixtures, strict=True)])


def _starts(seed: int, keys: Sequence[tuple], n: int) -> np.ndarray:
    clouds = [random.generator(seed, "comparison", "start", r).standard_normal((n, 2)) for _, r in keys]
    centres = np.array([CONFIGURATIONS[name][1] for name, _ in keys])
    return centres[:, None] + START_DEVIATION * np.stack(clouds)


class _Measure:
    """Distances (R,) of clouds to held-out data and the modes that they cover."""

    def __init__(self, held_out: np.ndarray, mixtures: Sequence[GaussianMixture], h: float) -> None:
        self.held_out, self.mixtures, self.h = held_out, mixtures, h

    def __call__(self, x: np.ndarray) -> dict[str, np.ndarray]:
        return {
            "w2": np.array([math.sqrt(squared_w2(a, b).squared_distance) for a, b in zip(x, self.held_out, strict=True)]),
            "mmd": np.sqrt(np.maximum(mmd2(x, self.held_out, self.h).biased, 0.0)),
            "covered": np.array([covered_modes(a[None], m)[0] for a, m in zip(x, self.mixtures, strict=True)], float),
        }


def _pilot(name: str, h: float, seed: int, n: int, evaluations: int, factors: Sequence[float]) -> float:
    """The largest factor with nearly the least mean W2 at the end of two runs with data, held-out data and starts of their own."""
    keys = [(configuration, "pilot") for configuration in list(CONFIGURATIONS)[:2]]
    mixtures, count = [mode_mixture(CONFIGURATIONS[configuration][0]) for configuration, _ in keys], len(factors)
    data, held_out = (np.tile(_draw(seed, role, keys, mixtures, n), (count, 1, 1)) for role in ("data", "held_out"))
    velocity, unit = make_field(name, h, data, mixtures * count)
    x, step = np.tile(_starts(seed, keys, n), (count, 1, 1)), unit * np.repeat(np.asarray(factors, float), len(keys))[:, None, None]
    lost = np.zeros(len(x), bool)
    with np.errstate(all="ignore"):
        for _ in range(evaluations):
            x = x + step * velocity(x)[0]
            lost |= ~(np.abs(x) < _FAR).all((1, 2))
            x[lost] = 0.0
    distance = [math.inf if gone else math.sqrt(squared_w2(a, b).squared_distance) for a, b, gone in zip(x, held_out, lost, strict=True)]
    mean = np.reshape(distance, (count, len(keys))).mean(1)
    if not np.isfinite(mean).any():
        raise ValueError(f"{name} at h = {h:g} leaves every region with each of factors = {list(factors)}; add smaller ones")
    return float(max(factor for factor, w2 in zip(factors, mean, strict=True) if w2 <= _NEARLY * mean.min()))
