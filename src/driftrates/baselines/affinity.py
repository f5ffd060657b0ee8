"""Algorithm 2 of Deng et al. 2026 (arXiv:2602.04770): drift by affinities normalised over rows and columns, with and without a floor.

With y the M positives and y- = x the N negatives, logits -|x_i - .| / T over positives and negatives together (a negative's own
distance raised by 1e6), A = sqrt(softmax over each row * softmax over each column), and

    V_i = (sum_k A-_ik) sum_j A+_ij y_j - (sum_j A+_ij) sum_k A-_ik x_k.

The algorithm as printed has no floor; released code takes max(A, 1e-3), the particle's own masked affinity included.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import xarray as xr

from driftrates import random
from driftrates.labels import labelled

TEMPERATURES = (0.02, 0.05, 0.2)
FLOOR = 1e-3
_MASK = 1e6


def affinity_field(x: np.ndarray, y: np.ndarray, temperature: float, *, floor: float = 0.0) -> np.ndarray:
    """V of Algorithm 2 at one temperature T > 0 (length), x (R, N, d), y (R or 1, M, d): (R, N, d), unit length.

    ``floor`` >= 0 bounds every affinity from below. Raises ``ValueError`` for N < 2, other shapes or values out of range.
    """
    if x.ndim != 3 or y.ndim != 3 or x.shape[2] != y.shape[2] or x.shape[1] < 2 or y.shape[0] not in (1, x.shape[0]):
        raise ValueError(f"x {x.shape} and y {y.shape} are not (R, N >= 2, d) and (R or 1, M, d)")
    if not (math.isfinite(temperature) and temperature > 0 and floor >= 0):
        raise ValueError(f"temperature must be positive and floor >= 0, not {temperature!r} and {floor!r}")
    m, n = y.shape[1], x.shape[1]
    both = np.concatenate([np.broadcast_to(y, (len(x), m, x.shape[2])), x], axis=1)
    distance = np.sqrt(sum((x[:, :, None, k] - both[:, None, :, k]) ** 2 for k in range(x.shape[2])))
    distance[:, np.arange(n), m + np.arange(n)] += _MASK
    distance *= -1 / temperature
    # Roots of the two softmaxes, not of their product, which would be lost long before.
    affinity = 1.0
    for axis in (1, 2):
        softmax = np.exp(distance - distance.max(axis, keepdims=True))
        affinity = affinity * np.sqrt(softmax / softmax.sum(axis, keepdims=True))
    affinity = np.maximum(affinity, floor)
    positive, negative = affinity[..., :m], affinity[..., m:]
    toward, away = (np.einsum("rij,rjk->rik", a, b) for a, b in ((positive, both[:, :m]), (negative, x)))
    return negative.sum(2)[..., None] * toward - positive.sum(2)[..., None] * away


def combined_field(x: np.ndarray, y: np.ndarray, temperatures: Sequence[float], *, floor: float = 0.0) -> np.ndarray:
    """Sum over ``temperatures`` of the fields, each divided by its root mean square over the cloud's components (a field of zeros is kept).

    Shapes and errors as `affinity_field`; dimensionless.
    """
    total = np.zeros_like(x)
    for temperature in temperatures:
        field = affinity_field(x, y, temperature, floor=floor)
        size = np.abs(field).max((1, 2), keepdims=True)
        field = field / np.where(size > 0, size, 1.0)
        total += field / np.where(size > 0, np.sqrt((field**2).mean((1, 2), keepdims=True)), 1.0)
    return total


def affinity_field_by_loops(x: np.ndarray, y: np.ndarray, temperature: float, *, floor: float = 0.0, masked: bool = True) -> np.ndarray:
    """`affinity_field` of one cloud x (N, d), y (M, d), one affinity at a time; ``masked`` false drops the mask (a control)."""
    n, points = len(x), np.concatenate([y, x])
    weights = np.empty((n, len(points)))
    for i in range(n):
        for j, point in enumerate(points):
            weights[i, j] = -(math.dist(x[i], point) + (_MASK if masked and j == len(y) + i else 0.0)) / temperature
    rows = [[math.exp(w - max(row)) / math.fsum(math.exp(v - max(row)) for v in row) for w in row] for row in weights]
    columns = [[math.exp(w - max(column)) / math.fsum(math.exp(v - max(column)) for v in column) for w in column] for column in weights.T]
    field = np.zeros_like(x)
    for i in range(n):
        affinity = [max(math.sqrt(rows[i][j] * columns[j][i]), floor) for j in range(len(points))]
        for j, point in enumerate(points):
            sign, other = (1, affinity[len(y) :]) if j < len(y) else (-1, affinity[: len(y)])
            field[i] += sign * math.fsum(other) * affinity[j] * point
    return field


def check_affinity(
    *,
    seed: int,
    temperatures: Sequence[float] = TEMPERATURES,
    distances: Sequence[float] = (0.0, 0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2),
    particles: int = 64,
    spread: float = 0.05,
    replicates: int = 4,
) -> xr.Dataset:
    """Paper form against floored form (`FLOOR`) where a cloud N(0, spread^2 I) in the plane is ``distances`` away from its data.

    The data are two clusters of the same spread, a quarter of the points at (distance, 0), the rest at (0, 1.5 distance): the paper
    form follows the nearer, the floor gives every point a weight. Over (temperature, distance, replicate): angle between the two
    fields as vectors of the whole cloud and the ratio of their sizes; one example of the normalised sums over temperatures at the
    largest distance; the vectorised field against loops, and against loops without the mask.
    """
    shape = (len(temperatures), len(distances), replicates)
    angle, ratio = np.empty(shape), np.empty(shape)
    m = 4 * (particles // 4)
    for r in range(replicates):
        rng = random.generator(seed, "affinity", particles, spread, r)
        x, noise = spread * rng.standard_normal((2, 1, m, 2))
        for k, distance in enumerate(distances):
            centres = np.repeat([[distance, 0.0], [0.0, 1.5 * distance]], [m // 4, m - m // 4], axis=0)
            y = noise + centres
            for t, temperature in enumerate(temperatures):
                angle[t, k, r], ratio[t, k, r] = _compare(*(affinity_field(x, y, temperature, floor=f) for f in (0.0, FLOOR)))
    example = np.stack([combined_field(x, y, temperatures, floor=f)[0] for f in (0.0, FLOOR)])
    few, data = x[0, :6], noise[0, :7] + spread
    loops = {
        masked: [affinity_field_by_loops(few, data, t, floor=f, masked=masked) for t in temperatures for f in (0.0, FLOOR)]
        for masked in (True, False)
    }
    fast = [affinity_field(few[None], data[None], t, floor=f)[0] for t in temperatures for f in (0.0, FLOOR)]
    residual, unmasked = ([_relative(a, b) for a, b in zip(fast, loops[masked], strict=True)] for masked in (True, False))
    variables = {
        "floor_angle": (("temperature", "distance", "sample"), angle, "angle between paper form and floored form", "degree"),
        "floor_ratio": (("temperature", "distance", "sample"), ratio, "size of the paper form over that of the floored form", "1"),
        "floor_cloud": (("point", "component"), x[0], "cloud of the example", "length"),
        "floor_data": (("point", "component"), y[0], "data of the example", "length"),
        "floor_example": (("form", "point", "component"), example, "normalised sum over temperatures", "1"),
        "loop_residual": (("loop_case",), residual, "vectorised field against loops, relative", "1"),
        "loop_residual_unmasked": (("loop_case",), unmasked, "the same without the mask in the loops", "1"),
    }
    coordinates = {
        "temperature": (list(temperatures), "temperature T", "length"),
        "distance": (list(distances), "distance to the nearer cluster", "length"),
        "form": (["paper", "floored"], "form of Algorithm 2", "1"),
    }
    return labelled(variables, coordinates, {"floor": FLOOR, "spread": spread})


def _compare(paper: np.ndarray, floored: np.ndarray) -> tuple[float, float]:
    sizes = [float(np.abs(f).max()) for f in (paper, floored)]
    units = [f / s for f, s in zip((paper, floored), sizes, strict=True)]
    norms = [float(np.sqrt((u**2).sum())) for u in units]
    cosine = float((units[0] * units[1]).sum()) / (norms[0] * norms[1])
    return math.degrees(math.acos(min(1.0, max(-1.0, cosine)))), sizes[0] * norms[0] / (sizes[1] * norms[1])


def _relative(value: np.ndarray, reference: np.ndarray) -> float:
    return float(np.abs(value - reference).max() / np.abs(reference).max())
