"""Particles toward targets of fine structure: fixed, annealed, swept and reversed bandwidths at equal numbers of evaluations (B4).

Gaussian kernel, Euler steps of the displacement field with one and the same step at every bandwidth. The score field h^-2 v with steps
h^2 as large takes the same steps: at equal numbers of evaluations the clock has no say.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr
from scipy import special

from driftrates import kernels, random
from driftrates.fields import DriftField, SmoothedDensity, SmoothedPoints
from driftrates.spectral.mean_field import dataset
from driftrates.targets import GaussianMixture

GAUSSIAN = kernels.make("gaussian")
KINDS = ("fixed", "annealed", "swept", "reversed")
CASES = ((1, "density"), (2, "density"), (5, "density"), (5, "data"))
"""Dimension, and what the field knows of the target: its density, or a sample of it."""
WIDTH, REACH, START, MODES = 0.1, 2.0, 2.0, {1: 8, 2: 16, 5: 16}
"""Standard deviation of the modes, half the side of the cube of their means, standard deviation of the starts and first bandwidth of the
annealed, number of modes by dimension."""
_TRIES = 10000
"""Candidates for a mean after which modes that leave no room for another are drawn anew."""
PROJECTIONS, REFERENCE = 64, 64


@dataclass(frozen=True)
class Schedule:
    """Bandwidth against the number of evaluations n, displacement time eta n, of a ``kind`` of `KINDS`.

    fixed: ``least``; annealed: max(`START` e^(-r eta n), least), r = ``rate``; swept: the same again from `START` whenever ``least``
    is reached; reversed: from ``least`` up to `START` at the rate r, then `START`.
    """

    kind: str
    least: float
    rate: float = 0.0

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"unknown kind of schedule {self.kind!r}; known: {', '.join(KINDS)}")
        if not 0 < self.least <= START or self.kind != "fixed" and not self.rate > 0:
            raise ValueError(f"a schedule needs 0 < least <= {START:g}, and a rate > 0 unless it is fixed, not {self.least}, {self.rate}")

    def bandwidth(self, n: int, step: float) -> float:
        """h of evaluation n = 0, 1, ... for Euler steps of size ``step``."""
        if self.kind == "fixed":
            return self.least
        if self.kind == "reversed":
            return min(self.least * math.exp(self.rate * step * n), START)
        length = math.ceil(math.log(START / self.least) / (self.rate * step)) + 1
        n = n % length if self.kind == "swept" else n
        return max(START * math.exp(-self.rate * step * n), self.least)

    @property
    def title(self) -> str:
        if self.kind == "fixed":
            return f"fixed {self.least:g}"
        return f"{self.kind} to {self.least:g}, r = {self.rate:g}" if self.kind != "reversed" else f"reversed, r = {self.rate:g}"


def fine_mixture(d: int, seed: int) -> GaussianMixture:
    """Isotropic modes of `WIDTH`, unequal weights 1 : 2 : 3, means drawn in the cube of side 2 `REACH` and kept apart."""
    rng, means = random.generator(seed, "fine mixture", d), []
    apart = 0.35 if d == 1 else 0.7
    failed = 0
    while len(means) < MODES[d]:
        candidate = rng.uniform(-REACH, REACH, d)
        if all(np.linalg.norm(candidate - other) > apart for other in means):
            means.append(candidate)
            failed = 0
        elif (failed := failed + 1) == _TRIES:
            means, failed = [], 0
    return GaussianMixture(1.0 + np.arange(len(means)) % 3, np.array(means), np.full(len(means), WIDTH**2))


class Distance:
    """W2 (R,) of clouds (R, N, d) to a reference sample (m N, d): exact for d = 1, else the root mean square over random directions.

    Between N and m N equal weights the coupling is monotone, so that each particle meets m neighbours in rank; their means and
    variances are found once.
    """

    def __init__(self, reference: np.ndarray, n: int, seed: int) -> None:
        d = reference.shape[1]
        directions = random.generator(seed, "sliced_w2", d).standard_normal((d, PROJECTIONS)) if d > 1 else np.ones((1, 1))
        self.directions = directions / np.linalg.norm(directions, axis=0)
        groups = np.sort(reference @ self.directions, axis=0).reshape(n, -1, self.directions.shape[1])
        self.mean, self.variance = groups.mean(1), groups.var(1)

    def __call__(self, x: np.ndarray) -> np.ndarray:
        ranked = np.sort(x @ self.directions, axis=1)
        return np.sqrt(((ranked - self.mean) ** 2 + self.variance).mean((1, 2)))


def step(x: np.ndarray, target: GaussianMixture | np.ndarray, h: float, eta: float, clock: str = "displacement") -> np.ndarray:
    """One Euler step of clouds x (R, N, d) toward the smoothed density or data (R, M, d), displacement time eta in either ``clock``.

    ``clock`` is the field's name: displacement, or conservative, whose step is h^2 eta. Raises ``ValueError`` for another one.
    """
    if clock not in ("displacement", "conservative"):
        raise ValueError(f"the clock must be displacement or conservative, not {clock!r}")
    smoothed = SmoothedDensity(target.smoothed(h), h) if isinstance(target, GaussianMixture) else SmoothedPoints(target, GAUSSIAN, h)
    field = DriftField(clock, smoothed, GAUSSIAN, h)
    return x + (eta if clock == "displacement" else h**2 * eta) * field.at_particles(x).velocity


def follow(
    x: np.ndarray, target: GaussianMixture | np.ndarray, schedule: Schedule, eta: float, checkpoints: Sequence[int], distance: Distance
) -> np.ndarray:
    """Distances (R, C) of clouds from x (R, N, d) after each of the increasing numbers of evaluations ``checkpoints`` (C,)."""
    found = []
    for n in range(checkpoints[-1] + 1):
        if n in checkpoints:
            found.append(distance(x))
        if n < checkpoints[-1]:
            x = step(x, target, schedule.bandwidth(n, eta), eta)
    return np.stack(found, axis=1)


def measure_schedules(
    *,
    seed: int,
    particles: int = 256,
    pilots: int = 4,
    replicates: int = 8,
    checkpoints: Sequence[int] = (8, 16, 32, 64, 128),
    bandwidths: Sequence[float] = (0.1, 0.2, 0.3, 0.5, 0.8, 1.2, 2.0),
    rates: Sequence[float] = (0.025, 0.05, 0.1, 0.2, 0.4),
    least: Sequence[float] = (0.1, 0.3),
    eta: float = 1.0,
) -> xr.Dataset:
    """W2 to the unsmoothed target against the number of evaluations, for every schedule and every case of `CASES`.

    Fixed ``bandwidths``; annealed at every rate down to every value of ``least``, the first of which is the width of the modes; swept and
    reversed at the middle rate. For every number of evaluations the best fixed and the best annealed schedule are those of least mean on
    ``pilots`` of their own; they meet on ``replicates`` (>= 2) of which they share starts and data.

    Over (case, contender, replicate, checkpoint): ``contest``. Over (case, contender, checkpoint): ``gap``, its mean difference from the
    best fixed bandwidth, ``gap_error``, half the 95 % Student interval, ``choice``, a position in ``candidate``. Over (case, candidate,
    checkpoint): ``distance`` and ``distance_error`` over the replicates. Raises ``ValueError`` as `Schedule` does.
    """
    middle = rates[len(rates) // 2]
    schedules = [
        *(Schedule("fixed", h) for h in bandwidths),
        *(Schedule("annealed", low, r) for low in least for r in rates),
        Schedule("swept", least[-1], rates[-1]),
        Schedule("reversed", least[0], middle),
    ]
    annealed = [i for i, s in enumerate(schedules) if s.kind == "annealed"]
    contenders = {
        "best fixed": list(range(len(bandwidths))),
        "best annealed": annealed,
        "annealed to the width": [i for i in annealed if schedules[i].least == least[0]],
        "swept": [len(schedules) - 2],
        "reversed": [len(schedules) - 1],
    }
    marks = [0, *checkpoints]
    runs = np.empty((len(CASES), len(schedules), pilots + replicates, len(marks)))
    noise = np.empty((len(CASES), pilots + replicates))
    for c, (d, kind) in enumerate(CASES):
        print(f"d = {d}, {kind}", flush=True)
        mixture = fine_mixture(d, seed)
        distance = Distance(mixture.sample(random.generator(seed, "reference", d), (1, REFERENCE * particles))[0], particles, seed)
        draws = [random.generator(seed, "schedules", d, r) for r in range(pilots + replicates)]
        x = START * np.stack([draw.standard_normal((particles, d)) for draw in draws])
        noise[c] = distance(np.concatenate([mixture.sample(draw, (1, particles)) for draw in draws]))
        data = np.concatenate([mixture.sample(draw, (1, 4 * particles)) for draw in draws])
        for s, schedule in enumerate(schedules):
            runs[c, s] = follow(x, mixture if kind == "density" else data, schedule, eta, marks, distance)
    pilot, judged = runs[:, :, :pilots].mean(2), runs[:, :, pilots:]
    choice = np.stack([np.asarray(group)[pilot[:, group].argmin(1)] for group in contenders.values()], axis=1)
    contest = np.take_along_axis(judged, choice[:, :, None, :], axis=1)
    gap = contest - contest[:, :1]
    half = special.stdtrit(replicates - 1, 0.975) / math.sqrt(replicates)
    cells, each = ("case", "contender", "checkpoint"), ("case", "candidate", "checkpoint")
    text = "W2 to the unsmoothed target, sliced for d >= 2"
    made = {
        "distance": (each, judged.mean(2), f"{text}, mean over replicates", "length"),
        "distance_error": (each, half * judged.std(2, ddof=1), "half its 95 % interval", "length"),
        "contest": (("case", "contender", "replicate", "checkpoint"), contest, text, "length"),
        "gap": (cells, gap.mean(2), "mean difference from the best fixed bandwidth, same starts", "length"),
        "gap_error": (cells, half * gap.std(2, ddof=1), "half its 95 % interval", "length"),
        "choice": (cells, choice, "candidate chosen by the pilots", "1"),
        "sampling_distance": ("case", noise.mean(1), "the same distance of as many i.i.d. points of the target", "length"),
        "candidate_kind": ("candidate", np.array([s.kind for s in schedules]), "kind of schedule", "1"),
    }
    coordinates = {
        "case": ([f"d = {d}, {kind}" for d, kind in CASES], "dimension, and what the field knows of the target"),
        "candidate": ([s.title for s in schedules], "schedule"),
        "contender": (list(contenders), "schedule, chosen on pilots for every number of evaluations"),
        "checkpoint": (np.array(marks), "evaluations of the field"),
    }
    return dataset(made, coordinates, {"seed": seed, "width": WIDTH, "particles": particles, "step": eta})
