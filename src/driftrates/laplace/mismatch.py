"""R6.10 and X12: the residual delta of the Laplace displacement field against the mismatch of local radii, and for T -> infinity.

r = (alpha_p - alpha_mu) s#_p = h (rho_p - rho_mu) s#_p, and delta = int q# |r|^2 with q# the cloud smoothed by the sharp companion.
Data are two Gaussian modes. Clouds are either deformations of the data (frozen), or N particles that flow for a long time.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from scipy import stats

from driftrates import flow, kernels, random
from driftrates.fields import DriftField, SmoothedPoints
from driftrates.laplace.decomposition import laplace_radius
from driftrates.sampling import require_scramblings, sample_smoothed
from driftrates.sums import kernel_sums

CENTRE, DEVIATION = 1.5, 0.5
"""The modes of the data: Gaussians at -+CENTRE on the first axis, standard deviation DEVIATION, half of the points each."""

DEFORMATIONS = {
    "scale": "s: distances to the centre of the mode times 1 + s",
    "tails": "1 / dof: radii mapped from the Gaussian to Student's law of equal variance, by quantiles",
    "mass": "share of one mode's mass moved to the other mode, the same share at every point",
}
STARTS = {
    "wide": "one Gaussian about the origin, standard deviation 2",
    "near": "the data, repeated in order, with noise of standard deviation h / 5",
    "one_mode": "the law of one of the two modes",
}
FIELDS = {"leave_one_out": True, "full": False}

_QUANTITIES = {
    "residual": ("delta, integral of q# |r|^2 (61)", "length^2"),
    "energy": ("E#, integral of q# |v|^2", "length^2"),
    "stein": ("S#, integral of q# v.g (59)", "1"),
    "weighted_residual": ("integral of q# |r|^2 / alpha_mu", "1"),
}
_PATHS = {
    "speed": ("mean of |v(x_i)|^2 of the field that moves the cloud: D_lap (48) for the leave-one-out field", "length^2"),
    "top_share": ("share of one particle in that mean, the largest", "1"),
    "radius_gap": ("mean over the particles of |rho_p - rho_mu|", "length"),
    "distance": ("largest distance of a particle from the data", "length"),
}
_NOISE = 0.2
_TOLERANCE = {"rtol": 1e-5, "atol": 1e-7}


class Parts(NamedTuple):
    """Velocity v, gap g = s#_p - s#_mu and residual r at points, (R, n, d); alpha_p and alpha_mu, (R, n)."""

    velocity: np.ndarray
    gap: np.ndarray
    residual: np.ndarray
    target_scale: np.ndarray
    model_scale: np.ndarray


def parts(points: np.ndarray, cloud: np.ndarray, data: np.ndarray, h: float) -> Parts:
    """The parts of (53) under the Laplace kernel at points (R, n, d): cloud (R, N, d), data (R, M, d); one pass over each."""
    (shift_p, sharp_p, alpha_p), (shift_q, sharp_q, alpha_q) = (_statistics(points, y, h) for y in (data, cloud))
    return Parts(shift_p - shift_q, sharp_p - sharp_q, (alpha_p - alpha_q)[..., None] * sharp_p, alpha_p, alpha_q)


def _statistics(points: np.ndarray, y: np.ndarray, h: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    t = kernel_sums(points, y, kernels.Laplace(), h, ("k", "kz", "companion")).terms
    return h * t["kz"] / t["k"][..., None], t["kz"] / (h * t["companion"][..., None]), h**2 * t["companion"] / t["k"]


def integrals(cloud: np.ndarray, data: np.ndarray, h: float, *, samples: int, scramblings: int, seed: int) -> dict[str, np.ndarray]:
    """The integrals over q# of R clouds (R, N, d) against their data (R, M, d), (R, scramblings) each; means over the last axis.

    ``scramblings`` scrambled Sobol sequences of ``samples`` (a power of two) points, the same for every cloud of a given N: small
    differences between clouds are not lost in the error. Raises ``ValueError`` for other ``samples`` and fewer ``scramblings`` than 2.
    """
    require_scramblings(samples, scramblings)
    companion, n = kernels.make("matern32"), cloud.shape[1]
    place = np.arange(n, dtype=float)[:, None] * np.ones(cloud.shape[2])
    drawn = [sample_smoothed(companion, h, place, samples, random.generator(seed, "mismatch", n, k)) for k in range(scramblings)]
    points = np.concatenate([cloud[:, index] + h * z for index, z in drawn], axis=1)
    at = parts(points, cloud, data, h)
    residual = (at.residual**2).sum(-1)
    values = {
        "residual": residual,
        "energy": (at.velocity**2).sum(-1),
        "stein": (at.velocity * at.gap).sum(-1),
        "weighted_residual": residual / at.model_scale,
    }
    return {name: v.reshape(len(cloud), scramblings, samples).mean(-1) for name, v in values.items()}


def sample_modes(rng: np.random.Generator, size: int, d: int) -> tuple[np.ndarray, np.ndarray]:
    """Data (size, d), the modes in turn, and the centre (size, d) of the mode of each point."""
    centres = np.zeros((size, d))
    centres[:, 0] = CENTRE * np.where(np.arange(size) % 2, 1.0, -1.0)
    return centres + DEVIATION * rng.standard_normal((size, d)), centres


def deform(data: np.ndarray, centres: np.ndarray, kind: str, mismatch: float, *, copies: int = 128) -> np.ndarray:
    """The cloud made from data (N, d) by one of `DEFORMATIONS`, (N, d) or for ``mass`` (N copies, d); mismatch 0 is mu_N = p.

    ``mass`` moves round(mismatch copies) of the ``copies`` of each point of one mode. Raises ``ValueError`` for another kind, and
    unless 0 <= mismatch (< 1/2 for ``tails``, <= 1 for ``mass``).
    """
    limit = {"scale": math.inf, "tails": math.nextafter(0.5, 0), "mass": 1.0}
    if kind not in limit or not 0 <= mismatch <= limit[kind]:
        known = ", ".join(DEFORMATIONS)
        raise ValueError(f"deform: kind must be one of {known} and 0 <= mismatch <= {limit.get(kind)}, not {kind!r}, {mismatch}")
    if kind == "mass":
        cloud = np.repeat(data, copies, axis=0)
        moved = (np.arange(len(cloud)) % copies < round(mismatch * copies)) & (np.repeat(centres[:, 0], copies) > 0)
        cloud[moved, 0] -= 2 * CENTRE
        return cloud
    if mismatch == 0:
        return data.copy()
    offset = data - centres
    if kind == "scale":
        return centres + (1 + mismatch) * offset
    d = data.shape[1]
    dof, squared = 1 / mismatch, (offset**2).sum(1) / DEVIATION**2
    heavy = d * stats.f.isf(stats.chi2.sf(squared, d), d, dof) * (dof - 2) / dof
    return centres + offset * np.sqrt(heavy / squared)[:, None]


class Case(NamedTuple):
    """One flow: field of `FIELDS`, start of `STARTS`, numbers of particles and of data, bandwidth."""

    field: str
    start: str
    n: int
    h: float


def cases(sizes: Sequence[int], n_data: int, bandwidths: Sequence[float]) -> Iterator[Case]:
    """Both fields, every N, from the wide start at the middle bandwidth; at N = M and the largest N the other starts and bandwidths."""
    middle, chosen = bandwidths[len(bandwidths) // 2], dict.fromkeys([n_data, max(sizes)])
    for field in FIELDS:
        yield from (Case(field, "wide", n, middle) for n in sizes)
        yield from (Case(field, start, n, middle) for start in STARTS if start != "wide" for n in chosen)
    yield from (Case("leave_one_out", "wide", n, h) for h in bandwidths if h != middle for n in chosen)


def starts(case: Case, data: np.ndarray, *, seed: int) -> np.ndarray:
    """The clouds (R, N, d) from which a case starts, data (R, M, d); both fields and all bandwidths start alike but for ``near``."""
    replicates, _, d = data.shape
    drawn = []
    for r in range(replicates):
        rng = random.generator(seed, "mismatch start", case.start, case.n, d, r)
        noise = rng.standard_normal((case.n, d))
        if case.start == "wide":
            drawn.append(2.0 * noise)
        elif case.start == "near":
            drawn.append(np.resize(data[r], (case.n, d)) + _NOISE * case.h * noise)
        else:
            drawn.append(DEVIATION * noise + np.eye(d)[0] * CENTRE)
    return np.stack(drawn)


def run(case: Case, data: np.ndarray, times: np.ndarray, *, seed: int) -> Iterator[np.ndarray]:
    """The clouds (R, N, d) of a case at the output times, under the displacement field of the Laplace kernel."""
    kernel, loo = kernels.Laplace(), FIELDS[case.field]

    def rhs(_: Any, x: np.ndarray, replicates: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        field = DriftField("displacement", SmoothedPoints(data[replicates], kernel, case.h), kernel, case.h, loo)
        return field.at_particles(x).velocity, np.zeros((len(x), 0))

    x0 = starts(case, data, seed=seed)
    for record in flow.integrate(rhs, x0, times, flow.DormandPrince(**_TOLERANCE)):
        yield record.state.x


def along_path(case: Case, cloud: np.ndarray, data: np.ndarray) -> dict[str, np.ndarray]:
    """What `_PATHS` names for one cloud per replicate, (R,) each."""
    kernel = kernels.Laplace()
    field = DriftField("displacement", SmoothedPoints(data, kernel, case.h), kernel, case.h, FIELDS[case.field])
    squared = (field.at_particles(cloud).velocity ** 2).sum(-1)
    at = parts(cloud, cloud, data, case.h)
    distance = np.sqrt(((cloud[:, :, None] - data[:, None]) ** 2).sum(-1)).min(2).max(1)
    return {
        "speed": squared.mean(1),
        "top_share": squared.max(1) / np.maximum(squared.sum(1), 1e-300),
        "radius_gap": np.abs(at.target_scale - at.model_scale).mean(1) / case.h,
        "distance": distance,
    }


def identity_defects(cloud: np.ndarray, data: np.ndarray, h: float, points: np.ndarray) -> tuple[float, float]:
    """Largest |r - h (rho_p - rho_mu) s#_p| / max |r| over points (n, d), rho from plain sums; the same with s#_mu for s#_p."""
    at = parts(points[None], cloud[None], data[None], h)
    sharp = _statistics(points[None], data[None], h)[1][0]
    gap = h * (laplace_radius(points, data, h)[1] - laplace_radius(points, cloud, h)[1])[:, None]
    largest = np.linalg.norm(at.residual[0], axis=1).max()
    return tuple(float(np.linalg.norm(at.residual[0] - gap * s, axis=1).max() / largest) for s in (sharp, sharp - at.gap[0]))


def measure_mismatch(
    *,
    dimensions: Sequence[int] = (1, 2),
    n_data: int = 32,
    sizes: Sequence[int] = (16, 32, 48),
    bandwidths: Sequence[float] = (0.25, 0.5, 1.0),
    replicates: int = 8,
    horizon: float = 512.0,
    octaves: int = 11,
    particles: int = 64,
    levels: int = 7,
    samples: int = 256,
    scramblings: int = 4,
    seed: int,
) -> xr.Dataset:
    """R6.10, X12: delta, E#, S# and the squared speed against the mismatch of frozen clouds, and along flows up to a long time.

    Frozen: the ``particles`` data of each replicate deformed (`DEFORMATIONS`) by the mismatches 0 and 2^-levels, ..., 1/2 (2/5 for the
    tails), at the middle bandwidth. Flows: `cases` from N in ``sizes`` to ``n_data`` data, two output times in each of the last
    ``octaves`` octaves before ``horizon`` (the displacement field makes time dimensionless). ``samples`` (a power of two) and
    ``scramblings`` >= 2 as for `integrals`. Over (dimension, deformation, level, replicate): ``frozen_*``, without level the
    ``identity_defect`` of r = h (rho_p - rho_mu) s#_p and its control; over (dimension, case, replicate, time): the same integrals,
    their standard errors, and `_PATHS`. Raises ``ValueError`` unless sizes hold ``n_data``, bandwidths are odd in number, octaves >= 2
    and replicates >= 4, and for what `integrals` refuses.
    """
    require_scramblings(samples, scramblings)
    if n_data not in sizes or not len(bandwidths) % 2 or octaves < 2 or replicates < 4:
        raise ValueError("mismatch needs n_data among sizes, an odd number of bandwidths, octaves >= 2 and replicates >= 4")
    h, listed = float(bandwidths[len(bandwidths) // 2]), list(cases(sizes, n_data, bandwidths))
    times = horizon * 2.0 ** np.arange(-octaves, 0.25, 0.5)
    mismatch = np.stack([_levels(kind, levels) for kind in DEFORMATIONS])
    shape = (len(dimensions), len(DEFORMATIONS), levels + 1, replicates)
    frozen = {name: np.empty(shape) for name in ("residual", "energy", "radius_gap")}
    defects = np.empty((2, len(dimensions), len(DEFORMATIONS), replicates))
    long = (len(dimensions), len(listed), replicates, len(times))
    flowing = {name: np.empty(long) for name in (*_QUANTITIES, *(f"{name}_error" for name in _QUANTITIES), *_PATHS)}
    quadrature = {"samples": samples, "scramblings": scramblings, "seed": seed}
    for i, d in enumerate(dimensions):
        drawn = [sample_modes(random.generator(seed, "mismatch frozen", d, r), particles, d) for r in range(replicates)]
        data = np.stack([y for y, _ in drawn])
        for k, kind in enumerate(DEFORMATIONS):
            for j, value in enumerate(mismatch[k]):
                cloud = np.stack([deform(y, centres, kind, value, copies=2**levels) for y, centres in drawn])
                found = integrals(cloud, data, h, **quadrature)
                for name in ("residual", "energy"):
                    frozen[name][i, k, j] = found[name].mean(1)
                at = parts(cloud, cloud, data, h)
                frozen["radius_gap"][i, k, j] = np.abs(at.target_scale - at.model_scale).mean(1) / h
            points = [y + h * random.generator(seed, "mismatch points", d, r).standard_normal(y.shape) for r, y in enumerate(data)]
            defects[:, i, k] = np.transpose([identity_defects(c, y, h, x) for c, y, x in zip(cloud, data, points, strict=True)])
        small = np.stack([sample_modes(random.generator(seed, "mismatch data", d, r), n_data, d)[0] for r in range(replicates)])
        for c, case in enumerate(listed):
            print(f"mismatch: d = {d}, {case}", flush=True)
            for t, cloud in enumerate(run(case, small, times, seed=seed)):
                for name, found in integrals(cloud, small, case.h, **quadrature).items():
                    flowing[name][i, c, :, t] = found.mean(1)
                    flowing[f"{name}_error"][i, c, :, t] = found.std(1, ddof=1) / math.sqrt(scramblings)
                for name, values in along_path(case, cloud, small).items():
                    flowing[name][i, c, :, t] = values
    still, moving = ("dimension", "deformation", "level", "replicate"), ("dimension", "case", "replicate", "time")
    texts = {**_QUANTITIES, **_PATHS}
    texts |= {f"{name}_error": (f"standard error of: {text}", unit) for name, (text, unit) in _QUANTITIES.items()}
    variables = {f"frozen_{name}": (still, v, f"{texts[name][0]}, frozen cloud", texts[name][1]) for name, v in frozen.items()}
    variables |= {name: (moving, v, *texts[name]) for name, v in flowing.items()}
    text = "largest |r - h (rho_p - rho_mu) s#_p| over the largest |r|, largest mismatch"
    variables["identity_defect"] = (("dimension", "deformation", "replicate"), defects[0], text, "1")
    variables["identity_control"] = (("dimension", "deformation", "replicate"), defects[1], f"{text}, s#_mu in the place of s#_p", "1")
    variables["mismatch"] = (("deformation", "level"), mismatch, "; ".join(DEFORMATIONS.values()), "1")
    coordinates = {
        "dimension": ("dimension", np.asarray(dimensions, np.int64), "dimension d", "1"),
        "deformation": ("deformation", np.array(list(DEFORMATIONS), object), "how the cloud differs from the data", "1"),
        "time": ("time", times, "time", "1"),
        "field": ("case", np.array([c.field for c in listed], object), "field that moves the cloud", "1"),
        "start": ("case", np.array([c.start for c in listed], object), "; ".join(f"{k}: {v}" for k, v in STARTS.items()), "1"),
        "n_particles": ("case", np.array([c.n for c in listed], np.int64), "number of particles N", "1"),
        "bandwidth": ("case", np.array([c.h for c in listed]), "bandwidth h", "length"),
    }

    def described(table: dict[str, tuple]) -> dict[str, tuple]:
        return {name: (dims, values, {"long_name": label, "units": unit}) for name, (dims, values, label, unit) in table.items()}

    return xr.Dataset(
        described(variables), described(coordinates), {"seed": seed, "n_data": n_data, "particles": particles, "bandwidth": h}
    )


def _levels(kind: str, count: int) -> np.ndarray:
    largest = 0.4 if kind == "tails" else 0.5
    return np.concatenate([[0.0], largest * 2.0 ** np.arange(1 - count, 1)])
