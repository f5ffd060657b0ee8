"""Quadrature by the cloud under a Laplace kernel with its kink rounded off at the scale eps h (L6.13), and its occupancy (L6.14).

The companion's smoothing q# of the cloud is the density of x_j + h z, z distributed like the normalised K#, so that for any phi
int q# phi - (1/N) sum_i phi(x_i) is a mean of Taylor remainders, at most (m2#/2) h^2 sup |Hessian phi|. Here phi is T_pi# v or
|v|^2 of the full displacement field v = m_p - m_mu; leaving each particle out of its own sum changes phi(x_i) by a point error.

As eps -> 0 the norm of the Hessian near an atom a of the cloud (of the data) with share w_a of its own smoothing and m = m_mu (m_p) is
48 / (25 sqrt 5) |m(a)| w_a / (h^3 eps^2) for T_pi# v, half eps h from a, and 2 |v(a).m(a)| w_a / (h^2 eps) for |v|^2, at a.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from scipy import integrate

from driftrates import kernels, random, simulate
from driftrates.fields import DriftField, SmoothedPoints
from driftrates.kernels import Kernel
from driftrates.laplace.hessians import hessians
from driftrates.measurements.occupancy import counts
from driftrates.sampling import require_scramblings, sample_smoothed

STARTS = ("i.i.d.", "relaxed")
WINDOWS = {
    "particles": "largest norm over the particles",
    "near particles": "largest norm at eps h / 4 to 2 eps h from the particles where it should be largest",
    "near data": "the same about data atoms, and at the atoms",
    "sampled": "largest norm over points x_i + tau h z, and over points up to h from an atom, log-uniformly far",
    "clear": "largest norm over those of them more than h / 4 away from every atom",
    "taylor": "mean of |z|^2 times the norm at x_i + tau h z over m2#, z distributed like K#, tau of density 2 (1 - tau)",
}
SUPREMUM = tuple(WINDOWS)[:4]
"""Windows that together bound the supremum from below."""
_PEAK = 48 / (25 * math.sqrt(5))
"""Largest second derivative of t / sqrt(1 + t^2), at t = 1/2."""
_RINGS = (0.25, 0.5, 1.0, 2.0)
_DIRECTIONS, _CANDIDATES = 4, 8
_CLEAR = 0.25
_LAPLACE, _COMPANION = kernels.make("laplace"), kernels.make("matern32")


def companion_second_moment(kernel: Kernel, d: int) -> float:
    """m2#, the second moment of the normalised companion, for a kernel whose profile is the same in every dimension.

    Integrating by parts moves the companion's moments to those of the kernel two dimensions higher; d (d + 3) for Laplace.
    """
    return d / (d + 2) * kernel.second_moment(d + 2)


# both sides of L6.13 ----------------------------------------------------------------------------------------------------


class PointValues(NamedTuple):
    """T_pi# v and |v|^2 at n points, (R, n), with the mean shifts of data and cloud (R, n, d) and their log-densities (R, n) there."""

    stein: np.ndarray
    speed: np.ndarray
    shifts: tuple[np.ndarray, np.ndarray]
    log_densities: tuple[np.ndarray, np.ndarray]


def point_values(field: DriftField, clouds: np.ndarray, x: np.ndarray | None = None) -> PointValues:
    """Of the full field of the clouds (R, N, d) at x (R, n, d); of the field's own kind (leave-one-out or not) at the particles if None.

    At an atom the gradient of the exact Laplace kernel counts as 0 (the convention u = 0).
    """
    points = clouds if x is None else x
    value = field.at_particles(clouds, divergence=True) if x is None else field.at(points, clouds, divergence=True)
    sharp = value.target.value / field.target.scale(points)[..., None]
    stein = value.divergence + (sharp * value.velocity).sum(-1)
    both = value.target, value.model
    return PointValues(stein, (value.velocity**2).sum(-1), tuple(s.value for s in both), tuple(s.log_density for s in both))


def gaps(field: DriftField, clouds: np.ndarray, draws: Sequence[tuple[np.ndarray, np.ndarray]]) -> dict[str, np.ndarray]:
    """Left sides and point errors of L6.13 for clouds (R, N, d) and a leave-one-out displacement field, (R,) each.

    draws: per scrambling (index (R, n), z (R, n, d)), points x_index + h z of the cloud smoothed by the Matérn 3/2 kernel; importance
    weights make them points of q#. ``stein_gap`` |S_loo - S#|, ``speed_gap`` |D_lap - E#|; ``*_quadrature`` the part
    |(1/N) sum phi(x_i) - int q# phi|; ``*_point_error`` tau; ``*_error`` one standard error of the integrals over the scramblings.
    """
    d = clouds.shape[2]
    full, own = point_values(field, clouds, clouds), point_values(field, clouds)
    mass = field.kernel.normaliser(d) * field.kernel.companion_mass(d)
    plain = _COMPANION.normaliser(d)
    remainders: dict[str, list[np.ndarray]] = {"stein": [], "speed": []}
    for index, z in draws:
        s = np.linalg.norm(z, axis=-1)
        weight = field.kernel.rung(s, d, -1) / mass / (_COMPANION.rung(s, d) / plain)
        at = point_values(field, clouds, np.take_along_axis(clouds, index[..., None], 1) + field.h * z)
        for name, kept in remainders.items():
            base = np.take_along_axis(getattr(full, name), index, 1)
            kept.append((weight * (getattr(at, name) - base)).mean(1))
    found = {}
    for name, kept in remainders.items():
        remainder, error = np.mean(kept, 0), np.std(kept, 0, ddof=1) / math.sqrt(len(kept))
        difference = getattr(own, name) - getattr(full, name)
        found[f"{name}_gap"] = np.abs(difference.mean(1) - remainder)
        found[f"{name}_quadrature"] = np.abs(remainder)
        found[f"{name}_point_error"] = np.abs(difference).mean(1)
        found[f"{name}_error"] = error
    return found


@functools.cache
def _taylor_profile(kernel: Kernel, d: int) -> tuple[np.ndarray, np.ndarray]:
    """(log rho, t): the density t of rho = |tau z| where z has the density |z|^2 K# / m2# (K# normalised), tau the density 2 (1 - tau)."""
    log_r = np.linspace(math.log(1e-7), math.log(120.0), 6001)
    r = np.exp(log_r)
    profile = kernel.rung(r, d, -1)
    norm = integrate.simpson(r ** (d + 2) * profile, x=log_r)
    tails = [integrate.cumulative_simpson((r ** (k + 1) * profile)[::-1], x=-log_r[::-1], initial=0)[::-1] for k in (d, d - 1)]
    return log_r, 2 * (tails[0] - r * tails[1]) / norm


def _taylor_density(kernel: Kernel, rho: np.ndarray, d: int) -> np.ndarray:
    """Density of tau z per unit of solid angle and volume at |tau z| = rho, in units of h, without the area of the sphere."""
    log_r, profile = _taylor_profile(kernel, d)
    return np.interp(np.log(np.maximum(rho, 1e-300)), log_r, profile) / rho ** (d - 1)


def taylor_points(
    kernel: Kernel, h: float, cloud: np.ndarray, data: np.ndarray, samples: int, generator: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(x, weight, distance): ``samples`` points (n, d), their weights (n,) for means over x_i + tau h z, and to the nearest atom.

    Half of them are such points for eps = 0, half lie within h of an atom of cloud (N, d) or data (M, d), log-uniformly far from it
    down to eps h / 16: there the norms are so large that plain sampling would miss most of their mean.
    """
    d, half = cloud.shape[1], samples // 2
    atoms, least = np.concatenate([cloud, data]), kernel.parameters["eps"] / 16
    direction = generator.normal(size=(samples, d))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    tau = 1 - np.sqrt(1 - generator.random(half))
    shape = d + 2 + (generator.random(half) < (d + 2) / (d + 3))
    far = tau * generator.gamma(shape)
    near = least ** generator.permutation((np.arange(samples - half) + 0.5) / (samples - half))
    centre = np.concatenate([cloud[np.arange(half) % len(cloud)], atoms[generator.permutation(samples - half) % len(atoms)]])
    x = centre + h * np.concatenate([far, near])[:, None] * direction
    rho = np.maximum(np.linalg.norm(atoms - x[:, None], axis=-1) / h, 1e-12)
    own = rho[:, : len(cloud)]
    close = np.where((rho <= 1) & (rho >= least), rho**-d / -math.log(least), 0.0).mean(1)
    proposal = (_taylor_density(_LAPLACE, own, d).mean(1) + close) / 2
    return x, _taylor_density(kernel, own, d).mean(1) / proposal, h * rho.min(1)


class Constants(NamedTuple):
    """L1 (``stein``) and L2 (``speed``) by window (6,), the standard errors of the means, and the limits of eps^2 L1 and eps L2."""

    stein: np.ndarray
    speed: np.ndarray
    stein_error: float
    speed_error: float
    stein_limit: float
    speed_limit: float


def constants(field: DriftField, cloud: np.ndarray, *, samples: int = 1024, seed: int = 0) -> Constants:
    """L1, L2 of L6.13 over `WINDOWS` for one cloud (N, d). Random directions and points do not depend on eps, but for its scale."""
    d, h, data = cloud.shape[1], field.h, np.asarray(field.target.points[0], float)
    eps, generator = field.kernel.parameters["eps"], random.generator(seed, "regularised", "windows")
    turned = generator.normal(size=(_DIRECTIONS, d))
    turned /= np.linalg.norm(turned, axis=1, keepdims=True)
    rings, limits = [], []
    for k, atoms in ((1, cloud), (0, data)):
        at = point_values(field, cloud[None], atoms[None])
        shift = at.shifts[k][0]
        velocity = at.shifts[0][0] - at.shifts[1][0]
        share = field.kernel.value(0.0, h, d) / (len(atoms) * np.exp(at.log_densities[k][0]))
        size = np.linalg.norm(shift, axis=1)
        limit = np.stack([_PEAK * size * share / h**3, 2 * np.abs((velocity * shift).sum(1)) * share / h**2])
        limits.append(limit.max(1))
        chosen = np.unique(np.argsort(limit, axis=1)[:, -_CANDIDATES:])
        along = (shift / np.maximum(size, 1e-300)[:, None])[chosen, None]
        directions = np.concatenate([along, -along, np.broadcast_to(turned, (len(chosen), *turned.shape))], axis=1)
        around = atoms[chosen, None, None] + eps * h * np.array(_RINGS)[:, None] * directions[:, :, None]
        rings.append(np.concatenate([around.reshape(-1, d), atoms[chosen]] if k == 0 else [around.reshape(-1, d)]))
    sampled, weight, distance = taylor_points(field.kernel, h, cloud, data, samples, generator)
    parts = [cloud, *rings, sampled]
    cuts = np.cumsum([len(part) for part in parts])[:-1]
    found, errors = [], []
    for matrices in hessians(field, np.concatenate(parts), cloud):
        *windows, norms = np.split(np.abs(np.linalg.eigvalsh(matrices)).max(-1), cuts)
        clear = norms[distance > _CLEAR * h]
        weighted = weight * norms
        found.append(np.array([*(each.max() for each in windows), norms.max(), clear.max(initial=0.0), weighted.mean()]))
        errors.append(float(weighted.std(ddof=1) / math.sqrt(len(weighted))))
    return Constants(*found, *errors, *np.max(limits, axis=0))


# L6.14 ------------------------------------------------------------------------------------------------------------------


def occupancy_sides(clouds: np.ndarray, h: float, r0: float) -> dict[str, np.ndarray]:
    """Both sides of L6.14 at every particle of clouds (R, N, d), (R, N) each, unit length^-d.

    ``density`` Z_{mu_-i}(x_i); ``floor`` c_d e^-r0 c0 with the largest c0 that the count #{j != i: |x_j - x_i| <= r0 h} allows; the same
    with the kernel's value at half the radius (``half_floor``).
    """
    n, d = clouds.shape[1:]
    neighbours = counts(clouds, r0 * h)
    smoothed = SmoothedPoints(clouds, _LAPLACE, h, atoms=True, leave_one_out=True)
    unit = _LAPLACE.lower_bound(r0, d) / ((n - 1) * h**d)
    return {
        "density": np.exp(smoothed.statistic("mean_shift", clouds).log_density),
        "floor": unit * (neighbours - 1),
        "half_floor": math.exp(r0 / 2) * unit * (neighbours - 1),
    }


# the study --------------------------------------------------------------------------------------------------------------

_GAPS = {
    "stein_gap": ("|S_loo - S#|, left side of L6.13", "1"),
    "speed_gap": ("|D_lap - E#|, left side of L6.13", "length^2"),
    "stein_quadrature": ("|mean of T_pi# v over the particles - S#|", "1"),
    "speed_quadrature": ("|mean of |v|^2 over the particles - E#|", "length^2"),
    "stein_point_error": ("tau_1, mean over the particles of |T_pi# v_i - T_pi# v|", "1"),
    "speed_point_error": ("tau_2, mean over the particles of ||v_i|^2 - |v|^2|", "length^2"),
    "stein_error": ("one standard error of S#", "1"),
    "speed_error": ("one standard error of E#", "length^2"),
}
_CONSTANTS = {
    "stein": ("L1 of L6.13, norm of the Hessian of T_pi# v", "length^-2"),
    "speed": ("L2 of L6.13, norm of the Hessian of |v|^2", "1"),
}
_SCALARS = {
    "stein_constant_error": ("one standard error of the mean behind L1, window taylor", "length^-2"),
    "speed_constant_error": ("one standard error of the mean behind L2, window taylor", "1"),
    "stein_limit": ("limit of eps^2 L1 as eps -> 0", "length^-2"),
    "speed_limit": ("limit of eps L2 as eps -> 0", "1"),
}
_SIDES = {
    "density": "Z_{mu_-i}(x_i), right side of L6.14",
    "floor": "c_d e^-r0 c0, left side of L6.14",
    "half_floor": "c_d e^-(r0/2) c0",
}


def measure_regularised(
    *,
    seed: int,
    bandwidth: float = 0.7,
    dimensions: Sequence[int] = (1, 2, 3),
    sizes: Sequence[int] = (16, 64, 256),
    largest: int = 64,
    atoms: int = 32,
    epsilons: Sequence[float] = (1.0, 0.3, 0.1, 0.03, 0.01, 0.003, 0.001),
    replicates: int = 4,
    horizon: float = 4.0,
    samples: int = 1024,
    points: int = 512,
    scramblings: int = 8,
    r0: Sequence[float] = (0.5, 1.0, 2.0),
) -> xr.Dataset:
    """Both sides of L6.13 and of L6.14 for independent clouds and for the same clouds relaxed by ODE (47) with the exact kernel.

    bandwidth h (> 0, length); ``dimensions`` d; ``sizes`` N (>= 2), those up to ``largest`` with L1 and L2; ``atoms`` M data points of
    N(0, 1); ``epsilons`` (> 0) of the kernel exp(-sqrt(r^2 + eps^2)); ``replicates`` clouds from N(0, 1.5^2); ``horizon`` of the flow;
    ``samples`` per cloud of L1 and L2, ``points`` (a power of two) of each of ``scramblings`` >= 2 Sobol sequences of S# and E#; radii
    ``r0`` of L6.14. Returns a Dataset over (dimension, start, n_particles, replicate): gaps and point errors by epsilon and
    (``laplace_``) for the exact kernel with u = 0 at a particle's own kink; L1 and L2 by epsilon and window, NaN for larger N; the sides
    of L6.14 by r0 and particle, NaN beyond N. Raises ``ValueError`` where every size is above ``largest``, for other ``points`` and
    fewer ``scramblings``.
    """
    if min(sizes) > largest:
        raise ValueError(f"regularised: L6.13 needs one of the sizes up to largest, not sizes: {list(sizes)}, largest: {largest}")
    require_scramblings(points, scramblings)
    eps = np.sort(np.asarray(epsilons, float))[::-1]
    shape = (len(dimensions), len(STARTS), len(sizes), replicates)
    out = {name: np.full((*shape, len(eps)), np.nan) for name in (*_GAPS, *_SCALARS)}
    out |= {f"laplace_{name}": np.full(shape, np.nan) for name in _GAPS}
    out |= {f"{name}_constant": np.full((*shape, len(eps), len(WINDOWS)), np.nan) for name in _CONSTANTS}
    out |= {name: np.full((*shape, len(r0), max(sizes)), np.nan) for name in _SIDES}
    for (i, d), (j, n) in itertools.product(enumerate(dimensions), enumerate(sizes)):
        data, stored = _clouds(seed, bandwidth, int(d), int(n), atoms, replicates, horizon)
        for s, clouds in enumerate(stored):
            cell = (i, s, j)
            print(f"regularised: d = {d}, N = {n}, {STARTS[s]}", flush=True)
            values = _measure(
                clouds, data, bandwidth, eps, seed, samples=samples if n <= largest else 0, points=points, scramblings=scramblings
            )
            for name, found in values.items():
                out[name][cell] = found
            for k, radius in enumerate(r0):
                for name, found in occupancy_sides(clouds, bandwidth, float(radius)).items():
                    out[name][*cell, :, k, :n] = found
    attributes = {"seed": seed, "bandwidth": bandwidth, "atoms": atoms, "horizon": horizon}
    return _dataset(out, dimensions, sizes, replicates, eps, r0, attributes)


def _clouds(seed: int, h: float, d: int, n: int, atoms: int, replicates: int, horizon: float) -> tuple[np.ndarray, np.ndarray]:
    """Data (M, d) and the clouds (2, R, N, d): independent, and at the end of the flow of the exact leave-one-out field."""
    experiment = {
        "name": f"regularised_d{d}",
        "target": {"data": {"name": "gaussian", "dimension": d, "size": atoms}},
        "smooth_target": True,
        "start": {"gaussian": {"mean": 0.0, "standard_deviation": 1.5}},
        "field": "displacement",
        "leave_one_out": True,
        "kernel": {"name": "laplace"},
        "bandwidth": h,
        "n_particles": n,
        "replicates": replicates,
        "times": {"stop": horizon, "count": 2, "spacing": "linear"},
        "integrator": {"method": "dormand_prince", "rtol": 1e-4, "atol": 1e-6},
        "dtype": "float64",
        "entropy": False,
        "keep_clouds": 2,
    }
    flow = simulate.simulate_flow(experiment, seed=seed)
    stored = flow[f"cloud_{n}"].isel(bandwidth=0).transpose("snapshot", ...).values
    return np.asarray(simulate.make_target(experiment["target"], seed=seed).points, float), stored


def _measure(
    clouds: np.ndarray, data: np.ndarray, h: float, eps: np.ndarray, seed: int, *, samples: int, points: int, scramblings: int
) -> dict[str, np.ndarray]:
    """Everything about L6.13 for clouds (R, N, d), L1 and L2 if ``samples``: replicates first, then epsilon, then windows."""
    replicates, n, d = clouds.shape
    seeds = [int(random.generator(seed, "regularised", d, n, r).integers(2**31)) for r in range(replicates)]
    draws = []
    for k in range(scramblings):
        drawn = [sample_smoothed(_COMPANION, h, c, points, random.generator(own, "draws", k)) for c, own in zip(clouds, seeds, strict=True)]
        draws.append((np.stack([index for index, _ in drawn]), np.stack([z for _, z in drawn])))

    def field(kernel: Kernel) -> DriftField:
        return DriftField("displacement", SmoothedPoints(data[None], kernel, h), kernel, h, True)

    fields = [field(kernels.make("smoothed_laplace", eps=float(e))) for e in eps]
    sides = [gaps(f, clouds, draws) for f in fields]
    out = {name: np.stack([each[name] for each in sides], axis=1) for name in _GAPS}
    out |= {f"laplace_{name}": values for name, values in gaps(field(_LAPLACE), clouds, draws).items()}
    if not samples:
        return out
    found = [[constants(f, c, samples=samples, seed=own) for f in fields] for c, own in zip(clouds, seeds, strict=True)]
    for k, name in enumerate((*(f"{name}_constant" for name in _CONSTANTS), *_SCALARS)):
        out[name] = np.array([[each[k] for each in row] for row in found])
    return out


def _dataset(
    out: Mapping[str, np.ndarray],
    dimensions: Sequence[int],
    sizes: Sequence[int],
    replicates: int,
    eps: np.ndarray,
    r0: Sequence[float],
    attributes: Mapping[str, Any],
) -> xr.Dataset:
    cells = ("dimension", "start", "n_particles", "replicate")
    texts = {name: (cells + ("epsilon",), *text) for name, text in {**_GAPS, **_SCALARS}.items()}
    texts |= {f"laplace_{name}": (cells, f"{text}, exact kernel", unit) for name, (text, unit) in _GAPS.items()}
    texts |= {f"{name}_constant": ((*cells, "epsilon", "window"), *text) for name, text in _CONSTANTS.items()}
    texts |= {name: ((*cells, "r0", "particle"), text, "length^-d") for name, text in _SIDES.items()}
    variables = {name: (texts[name][0], values, {"long_name": texts[name][1], "units": texts[name][2]}) for name, values in out.items()}
    factor = [[companion_second_moment(kernels.make("smoothed_laplace", eps=float(e)), d) for e in eps] for d in dimensions]
    text = {"long_name": "m2#, second moment of the normalised companion", "units": "1"}
    variables["companion_second_moment"] = (("dimension", "epsilon"), np.array(factor), text)
    coordinates = {
        "dimension": (np.asarray(dimensions), "space dimension d", "1"),
        "start": (np.array(STARTS, dtype=object), "law of the clouds", "1"),
        "n_particles": (np.asarray(sizes), "number of particles N", "1"),
        "replicate": (np.arange(replicates), "replicate", "1"),
        "epsilon": (eps, "eps of the kernel exp(-sqrt(r^2 + eps^2)), r in units of h", "1"),
        "window": (np.array(list(WINDOWS), dtype=object), "; ".join(f"{k}: {v}" for k, v in WINDOWS.items()), "1"),
        "r0": (np.asarray(r0, float), "radius of L6.14 in units of h", "1"),
        "particle": (np.arange(max(sizes)), "particle", "1"),
    }
    described = {name: (name, values, {"long_name": text, "units": unit}) for name, (values, text, unit) in coordinates.items()}
    return xr.Dataset(variables, described, attributes)


def bounds(measured: xr.Dataset) -> xr.Dataset:
    """Right sides of L6.13 over (..., epsilon, case): ``stein`` and ``speed``, case ``largest`` with the supremum over `SUPREMUM`,
    ``mean`` with the constant of the proof, window taylor; ``*_error`` the standard error of the latter's L term, times m2# h^2 / 2."""
    factor = measured["companion_second_moment"] * measured.attrs["bandwidth"] ** 2 / 2
    out = {}
    for name in _CONSTANTS:
        norm = measured[f"{name}_constant"]
        cases = [norm.sel(window=list(SUPREMUM)).max("window"), norm.sel(window="taylor", drop=True)]
        both = xr.concat(cases, xr.Variable("case", ["largest", "mean"]))
        out[name] = (factor * both + measured[f"{name}_point_error"]).transpose(*measured[f"{name}_gap"].dims, "case")
        out[f"{name}_error"] = (factor * measured[f"{name}_constant_error"]).transpose(*measured[f"{name}_gap"].dims)
    return xr.Dataset(out)
