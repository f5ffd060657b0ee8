"""X11: particles that leave the data for ever under leave-one-out fields, counted beside the same fields with the self term kept.

Far outside, at x = R u, the kernel weights of a measure become those of its tilted law. For the Laplace kernel m(x) + x tends to the mean
of y under the weights exp(u.y / h), for the Gaussian kernel to the extreme point in the direction u. A lone particle under a leave-one-out
displacement field therefore moves with the velocity (mean or extreme point of the data) - (that of the other particles), whatever R; under
the sharp field the same difference of means, times R^-2, is left along u. With its own term kept, m_mu(x) vanishes instead and the
data pull.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from driftrates import flow, kernels, random
from driftrates.fields import DriftField, SmoothedPoints
from driftrates.kernels import Kernel
from driftrates.measurements.occupancy import exact_interval

MASKS = {"leave_one_out": True, "full": False}
MARGIN, GROWTH = 5.0, 1.0
"""A particle is ejected if its distance from the data exceeds the largest initial one by MARGIN bandwidths, farther than a cloud at rest
stands off its data, and has grown by more than GROWTH bandwidths over the last octave, which leaves out groups that stay where they are."""


class Setting(NamedTuple):
    """A field, its kernel and bandwidth, and the factor that brings its velocity to the unit of the displacement field (length)."""

    name: str
    kernel: Kernel
    h: float
    factor: float


def settings(h: float, d: int) -> dict[str, Setting]:
    """The three fields of X11 for bandwidth h of the Laplace kernel in d dimensions.

    The Gaussian kernel has the bandwidth h sqrt(d + 1), that is the second moment of the Laplace kernel; the sharp field is multiplied
    by (d + 1) h^2 = int K#_h, the scale alpha averaged over space.
    """
    laplace = kernels.Laplace()
    return {
        "gaussian": Setting("displacement", kernels.Gaussian(), h * math.sqrt(d + 1), 1.0),
        "laplace": Setting("displacement", laplace, h, 1.0),
        "sharp": Setting("sharp", laplace, h, (d + 1) * h**2),
    }


def velocity(setting: Setting, cloud: np.ndarray, data: np.ndarray, leave_one_out: bool) -> np.ndarray:
    """Velocities (R, N, d) of clouds (R, N, d) toward data (R, M, d)."""
    field = DriftField(setting.name, SmoothedPoints(data, setting.kernel, setting.h), setting.kernel, setting.h, leave_one_out)
    return setting.factor * field.at_particles(cloud).velocity


def tilted_mean(points: np.ndarray, theta: np.ndarray) -> np.ndarray:
    """Mean (d,) of points (n, d) under the weights exp(theta . y)."""
    exponent = points @ theta
    weight = np.exp(exponent - exponent.max())
    return weight @ points / weight.sum()


class Asymptotics(NamedTuple):
    """``velocity`` (d,) of a lone particle as R -> infinity in a direction, and how far it may be from that at R (``bound``, length)."""

    velocity: np.ndarray
    bound: float


def asymptotic_velocity(kernel: str, h: float, data: np.ndarray, others: np.ndarray, direction: np.ndarray, distance: float) -> Asymptotics:
    """Velocity far out of a particle at c + distance u, c the mean of the data (M, d), among others (N - 1, d); u a unit vector (d,).

    Displacement fields of the ``laplace`` and the ``gaussian`` kernel. With L the largest distance of a point from c and R > L:
    |x - y| = R - u.y + phi h with 0 <= phi <= L^2 / (2 (R - L) h), and a covariance is at most the product of the half ranges, so each
    tilted mean errs by at most L^3 / (4 (R - L) h). Gaussian: the weight of a point whose u.y is lower by gamma is at most
    exp((L^2 / 2 - R gamma) / h^2). ``bound`` is inf for R <= L. Raises ``ValueError`` for another kernel.
    """
    centre = data.mean(0)
    p, q = data - centre, others - centre
    reach = max(float(np.linalg.norm(y, axis=1).max()) for y in (p, q))
    if kernel == "laplace":
        limit = tilted_mean(p, direction / h) - tilted_mean(q, direction / h)
        return Asymptotics(limit, reach**3 / (2 * (distance - reach) * h) if distance > reach else math.inf)
    if kernel != "gaussian":
        raise ValueError(f"asymptotic_velocity knows the kernels laplace and gaussian, not {kernel!r}")
    limit, bound = np.zeros(len(direction)), 0.0
    for sign, y in ((1, p), (-1, q)):
        height = y @ direction
        order = np.argsort(height)
        limit += sign * y[order[-1]]
        gap = height[order[-1]] - height[order[:-1]]
        bound += 2 * reach * float(np.exp(np.minimum((reach**2 / 2 - distance * gap) / h**2, 0)).sum())
    return Asymptotics(limit, bound if distance > reach else math.inf)


def heavy_points(rng: np.random.Generator, size: int, d: int, dof: float) -> np.ndarray:
    """Student points (size, d) with ``dof`` degrees of freedom."""
    return rng.standard_normal((size, d)) * np.sqrt(dof / rng.chisquare(dof, (size, 1)))


def distances(cloud: np.ndarray, data: np.ndarray) -> np.ndarray:
    """Distance of each particle from the nearest data point, clouds (R, N, d) and data (R, M, d): (R, N)."""
    return np.sqrt(((cloud[:, :, None] - data[:, None]) ** 2).sum(-1)).min(2)


def run(setting: Setting, start: np.ndarray, data: np.ndarray, leave_one_out: bool, times: np.ndarray, step: float) -> Iterator[np.ndarray]:
    """Clouds (R, N, d) at the output times by Euler steps: between far atoms the fields switch too fast for adaptive ones."""

    def rhs(_: Any, x: np.ndarray, replicates: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return velocity(setting, x, data[replicates], leave_one_out), np.zeros((len(x), 0))

    for record in flow.integrate(rhs, start, times, flow.Euler(step)):
        yield record.state.x


def measure_ejections(
    *,
    dimensions: Sequence[int] = (1, 2, 3),
    n_particles: int = 32,
    n_data: int = 32,
    bandwidth: float = 0.5,
    dof: float = 3.0,
    replicates: int = 64,
    horizon: float = 128.0,
    octaves: int = 8,
    step: float = 0.1,
    lone: int = 8,
    confidence: float = 0.95,
    seed: int,
) -> xr.Dataset:
    """X11: ejections under {leave-one-out, full} x `settings`, from the same starts toward the same data, and a lone particle far out.

    Starts and data are independent samples of one Student law with ``dof`` > 2 degrees of freedom, new in every replicate; Euler ``step``
    in the unit of displacement time up to ``horizon``, four output times per octave over the last ``octaves`` >= 3. Ejection: `MARGIN`.
    Over (dimension, kernel, mask, replicate, time): ``distance`` of the outermost particle; without time: ``ejected`` particles;
    without replicate: ``ejections`` (replicates with at least one), their share with its exact interval. Of the outermost ejected
    particle under the leave-one-out displacement fields, at the horizon (NaN where there is none): outward ``speed`` over the last octave,
    ``final_velocity``, its limit by `asymptotic_velocity` and the error bound. A lone particle at distances up to 2^17 times the reach of
    ``lone`` starts: its radial velocity by mask, and the deviation from the limit. Raises ``ValueError`` for octaves < 3, dof <= 2 or
    lone > replicates.
    """
    if octaves < 3 or dof <= 2 or lone > replicates:
        raise ValueError(f"ejections need octaves >= 3, dof > 2 and lone <= replicates, not {octaves}, {dof} and {lone} > {replicates}")
    times = horizon * 2.0 ** np.arange(-octaves, 0.125, 0.25)
    middle = len(times) - 5
    labels, radii = list(settings(bandwidth, 1)), 2.0 ** np.arange(1, 18, 2)
    shape = (len(dimensions), len(labels), len(MASKS), replicates)
    outermost, ejected = np.full((*shape, len(times)), np.nan), np.zeros(shape, np.int64)
    threshold = np.empty((len(dimensions), len(labels), replicates))
    escape = np.full((4, len(dimensions), 2, replicates), np.nan)
    radial = np.empty((len(dimensions), len(labels), len(MASKS), lone, len(radii)))
    deviation, bound, broken = np.empty((3, len(dimensions), 2, lone, len(radii)))
    for i, d in enumerate(dimensions):
        rngs = [random.generator(seed, "ejections", d, r) for r in range(replicates)]
        data, start = (np.stack([heavy_points(rng, n, d, dof) for rng in rngs]) for n in (n_data, n_particles))
        first = distances(start, data).max(1)
        for k, (label, setting) in enumerate(settings(bandwidth, d).items()):
            threshold[i, k] = first + MARGIN * setting.h
            for m, (mask, loo) in enumerate(MASKS.items()):
                print(f"ejections: d = {d}, {label}, {mask}", flush=True)
                for t, cloud in enumerate(run(setting, start, data, loo, times, step)):
                    away = distances(cloud, data)
                    outermost[i, k, m, :, t] = away.max(1)
                    if t == middle:
                        before, cloud_before = away, cloud
                found = (away > threshold[i, k][:, None]) & (away > before + GROWTH * setting.h)
                ejected[i, k, m] = found.sum(1)
                if loo and label != "sharp":
                    for r in np.flatnonzero(found.any(1)):
                        out = int(np.argmax(np.where(found[r], away[r], -np.inf)))
                        escape[:, i, k, r] = _escape(label, setting, cloud[r], cloud_before[r], data[r], out, horizon / 2)
            for r in range(lone):
                radial[i, k, :, r], *errors = _lone(label, setting, start[r, 1:], data[r], radii)
                if errors:
                    deviation[i, k, r], bound[i, k, r], broken[i, k, r] = errors
    ejections = (ejected > 0).sum(-1)
    interval = np.array([exact_interval(int(count), replicates, confidence) for count in ejections.ravel()]).reshape(*ejections.shape, 2)
    cell, smooth = ("dimension", "kernel", "mask"), ("dimension", "displacement")
    variables = {
        "distance": ((*cell, "replicate", "time"), outermost, "distance of the outermost particle from the data", "length"),
        "ejected": ((*cell, "replicate"), ejected, "particles ejected at the horizon", "1"),
        "threshold": (("dimension", "kernel", "replicate"), threshold, "largest initial distance from the data plus 5 h", "length"),
        "ejections": (cell, ejections, "replicates with an ejected particle", "1"),
        "share": (cell, ejections / replicates, "their share", "1"),
        "share_interval": ((*cell, "end"), interval, f"exact {confidence:.0%} interval of that share", "1"),
        "speed": ((*smooth, "replicate"), escape[0], "outward speed of the outermost ejected particle, last octave", "length"),
        "final_velocity": ((*smooth, "replicate"), escape[1], "its radial velocity at the horizon", "length"),
        "predicted_velocity": ((*smooth, "replicate"), escape[2], "limit of that velocity far out", "length"),
        "predicted_bound": ((*smooth, "replicate"), escape[3], "bound of the distance from that limit", "length"),
        "radial_velocity": ((*cell, "lone", "radius"), radial, "radial velocity of a lone particle far out", "length"),
        "deviation": ((*smooth, "lone", "radius"), deviation, "distance of its velocity from the limit", "length"),
        "deviation_bound": ((*smooth, "lone", "radius"), bound, "bound of that distance", "length"),
        "deviation_control": ((*smooth, "lone", "radius"), broken, "distance of its velocity from the limit of the other kernel", "length"),
    }
    coordinates = {
        "dimension": ("dimension", np.asarray(dimensions, np.int64), "dimension d", "1"),
        "kernel": ("kernel", np.array(labels, object), "field by its kernel; sharp: sharp-normalised Laplace", "1"),
        "displacement": ("displacement", np.array(labels[:2], object), "displacement field by its kernel", "1"),
        "mask": ("mask", np.array(list(MASKS), object), "whether a particle is left out of its own sum", "1"),
        "end": ("end", np.array(["low", "high"], object), "end of the interval", "1"),
        "time": ("time", times, "time", "1"),
        "radius": ("radius", radii, "distance in units of the reach of data and cloud", "1"),
    }

    def described(table: dict[str, tuple]) -> dict[str, tuple]:
        return {name: (dims, values, {"long_name": text, "units": unit}) for name, (dims, values, text, unit) in table.items()}

    attributes = {"seed": seed, "bandwidth": bandwidth, "n_particles": n_particles, "n_data": n_data, "dof": dof, "step": step}
    return xr.Dataset(described(variables), described(coordinates), attributes)


def _escape(
    label: str, setting: Setting, cloud: np.ndarray, before: np.ndarray, data: np.ndarray, i: int, duration: float
) -> tuple[float, float, float, float]:
    """Speed over the last octave, radial velocity now, its limit and the bound of the difference, for particle i of a cloud (N, d)."""
    offset = cloud[i] - data.mean(0)
    distance = float(np.linalg.norm(offset))
    u = offset / distance
    now = velocity(setting, cloud[None], data[None], True)[0, i]
    limit = asymptotic_velocity(label, setting.h, data, np.delete(cloud, i, axis=0), u, distance)
    return float((cloud[i] - before[i]) @ u / duration), float(now @ u), float(limit.velocity @ u), limit.bound


def _lone(label: str, setting: Setting, others: np.ndarray, data: np.ndarray, radii: np.ndarray) -> tuple[np.ndarray, ...]:
    """Radial velocity (mask, radius) at radii times the reach, in the direction of the outermost data point; displacement fields: also
    deviation from the limit, its bound, and the deviation from the limit of the other kernel."""
    centre = data.mean(0)
    offsets = data - centre
    u = offsets[np.argmax((offsets**2).sum(1))]
    u = u / np.linalg.norm(u)
    reach = max(float(np.linalg.norm(y - centre, axis=1).max()) for y in (data, others))
    clouds = np.stack([np.concatenate([(centre + radius * reach * u)[None], others]) for radius in radii])
    moving = {loo: velocity(setting, clouds, data[None], loo)[:, 0] for loo in MASKS.values()}
    radial = np.stack([moving[loo] @ u for loo in MASKS.values()])
    if label == "sharp":
        return (radial,)
    limits = [asymptotic_velocity(label, setting.h, data, others, u, radius * reach) for radius in radii]
    swapped = "gaussian" if label == "laplace" else "laplace"
    other = asymptotic_velocity(swapped, setting.h, data, others, u, reach).velocity
    deviation = [float(np.linalg.norm(v - limit.velocity)) for v, limit in zip(moving[True], limits, strict=True)]
    # Both mean shifts are of the size of the distance: their difference keeps that much rounding.
    bound = [limit.bound + 1e-13 * radius * reach for limit, radius in zip(limits, radii, strict=True)]
    return radial, np.array(deviation), np.array(bound), np.linalg.norm(moving[True] - other, axis=1)
