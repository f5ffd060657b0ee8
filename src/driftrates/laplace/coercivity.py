"""Coercivity of the Laplace displacement field: L6.4, A6.5, L6.6, A6.7, C6.12, the bound T6.9, and X2, X3.

For a cloud with empirical measure mu, q# = K#_h * mu / ((d+1) h^2) is the density of x_j + h z, z distributed like the Matérn 3/2
kernel, and q# = alpha_mu Z_mu / ((d+1) h^2), so that the sums of the displacement field already hold it. With the full field
v = m_p - m_mu, g = s#_p - s#_mu and r = (alpha_p - alpha_mu) s#_p, all integrals are means over q#.
"""

from __future__ import annotations

import itertools
import json
import math
from typing import NamedTuple

import numpy as np
import xarray as xr
from scipy import special
from scipy.stats import qmc

from driftrates import kernels, random, simulate
from driftrates.fields import DriftField, SmoothedPoints
from driftrates.sampling import require_scramblings, sample_smoothed

REGIONS = {
    "particles": "over the particles",
    "quantile": "over all points but the 0.1 % of q# where alpha_mu is largest",
    "box": "over the bounding box of cloud and data, widened by 10 h on each side",
    "effective": "root of int q# alpha^2 |g|^2 / int q# |g|^2 (X3); least value over every point looked at",
}
_MARGIN = 10.0
_TAIL = 0.999
_CORNERED = 12
"""Largest dimension in which every corner of a box is looked at; there are 2^d of them."""
_REACH, _PIECE = 45.0, 0.5
"""Where (1 + s) e^-s is below rounding, and the longest piece of the line that one Gauss rule serves, in units of h."""
_ORDERS = (8, 5)
RAY = np.geomspace(1 / 8, 8192, 17)
"""Distances from the middle of the cloud at which alpha_mu is recorded, in units of h."""

_INTEGRANDS = {
    "stein": ("S#, integral of q# T_pi# v (59)", "1"),
    "coercive": ("integral of q# v.g (59)", "1"),
    "plain_stein": ("integral of q# T_pi v with the score of K_h * p in the place of the sharp one", "1"),
    "energy": ("E#, integral of q# |v|^2", "length^2"),
    "residual": ("delta, integral of q# |r|^2 (61)", "length^2"),
    "weighted_energy": ("integral of q# |v|^2 / alpha_mu", "1"),
    "weighted_residual": ("integral of q# |r|^2 / alpha_mu", "1"),
    "discrepancy": ("integral of q# |g|^2", "length^-2"),
    "scaled_discrepancy": ("integral of q# alpha_mu^2 |g|^2", "length^2"),
    "radius_gap": ("integral of q# |rho_p - rho_mu|", "length"),
    "sharp_score": ("integral of q# |s#_p|", "length^-1"),
}
_SUPREMA = {
    "radius_gap": ("e_rho of C6.12, largest |rho_p - rho_mu| over one half of the points of q#", "length"),
    "sharp_score": ("B of C6.12, largest |s#_p| over that half", "length^-1"),
}


class Integrals(NamedTuple):
    """Integrals over q# of one cloud: ``value`` and ``error`` by the names of `_INTEGRANDS`.

    C6.12 is judged on points apart: ``suprema`` come from the first half of the scramblings (d = 1: the lower order's nodes),
    ``other_residual`` is delta with its error from the second half (the higher order's).
    ``stein_residual`` = S# - int q# v.g with its own ``stein_residual_error``; ``points`` (n, d), ``weights`` (n,) of sum 1 and
    ``scale`` (n,) = alpha_mu there. Errors are one standard error over scramblings (d >= 2), or the change from a lower order (d = 1).
    """

    value: dict[str, float]
    error: dict[str, float]
    stein_residual: float
    stein_residual_error: float
    suprema: dict[str, float]
    other_residual: tuple[float, float]
    points: np.ndarray
    weights: np.ndarray
    scale: np.ndarray


def integrands(field: DriftField, x: np.ndarray, cloud: np.ndarray) -> dict[str, np.ndarray]:
    """Integrands of `_INTEGRANDS`, alpha_mu and log q# at points x (n, d), off the atoms, of a cloud (N, d)."""
    points, model = x[None], SmoothedPoints(cloud[None], field.kernel, field.h)
    value = field.at(points, cloud[None], divergence=True)
    of_target, alpha = field.target.scale(points)[0], model.scale(points)[0]
    velocity, log_density = value.velocity[0], value.model.log_density[0]
    sharp = value.target.value[0] / of_target[:, None]
    g = sharp - value.model.value[0] / alpha[:, None]
    plain = field.target.statistic("score", points).value[0]
    speed, gap = (velocity**2).sum(1), (g**2).sum(1)
    residual = (of_target - alpha) ** 2 * (sharp**2).sum(1)
    return {
        "stein": value.divergence[0] + (sharp * velocity).sum(1),
        "coercive": (velocity * g).sum(1),
        "plain_stein": value.divergence[0] + (plain * velocity).sum(1),
        "energy": speed,
        "residual": residual,
        "weighted_energy": speed / alpha,
        "weighted_residual": residual / alpha,
        "discrepancy": gap,
        "scaled_discrepancy": alpha**2 * gap,
        "radius_gap": np.abs(of_target - alpha) / field.h,
        "sharp_score": np.sqrt((sharp**2).sum(1)),
        "scale": alpha,
        "log_density": log_density + np.log(alpha / ((x.shape[1] + 1) * field.h**2)),
    }


def integrals(field: DriftField, cloud: np.ndarray, *, samples: int = 1024, scramblings: int = 16, seed: int = 0) -> Integrals:
    """Every integral of this module for one cloud (N, d) and a displacement field of the Laplace kernel.

    d = 1: Gauss-Legendre rules between neighbouring atoms of cloud and data, where the integrands are smooth. d >= 2: means over
    ``scramblings`` >= 2 scrambled Sobol sequences of ``samples`` (a power of two) points of q#.
    Raises ``ValueError`` for another field or kernel, other ``samples`` and fewer ``scramblings``.
    """
    require_laplace(field)
    require_scramblings(samples, scramblings)
    return _on_the_line(field, cloud) if cloud.shape[1] == 1 else _by_sampling(field, cloud, samples, scramblings, seed)


def require_laplace(field: DriftField) -> None:
    """Raise ``ValueError`` unless ``field`` is the displacement field of the Laplace kernel."""
    if field.name != "displacement" or field.kernel.name != "laplace":
        raise ValueError(f"coercivity needs field: displacement and the kernel laplace, not {field.name!r} with {field.kernel.name!r}")


def line_rule(atoms: np.ndarray, h: float, order: int) -> tuple[np.ndarray, np.ndarray]:
    """Nodes and weights (n,) of Gauss-Legendre rules of ``order`` nodes between neighbouring atoms (m,), in pieces of at most h / 2.

    The line is cut 45 h beyond the outermost atoms.
    """
    breaks = np.unique(np.concatenate([[atoms.min() - _REACH * h], atoms, [atoms.max() + _REACH * h]]))
    pieces = np.ceil(np.diff(breaks) / (_PIECE * h)).astype(int)
    share = np.arange(pieces.sum()) - np.repeat(np.cumsum(pieces) - pieces, pieces)
    width = np.repeat(np.diff(breaks) / pieces, pieces)
    nodes, weights = special.roots_legendre(order)
    left = np.repeat(breaks[:-1], pieces) + share * width
    return (left[:, None] + width[:, None] * (1 + nodes) / 2).ravel(), (width[:, None] / 2 * weights).ravel()


def _on_the_line(field: DriftField, cloud: np.ndarray) -> Integrals:
    atoms = np.concatenate([cloud.ravel(), np.asarray(getattr(field.target, "points", np.empty(0)), float).ravel()])
    found = []
    for order in _ORDERS:
        x, weights = line_rule(atoms, field.h, order)
        at = integrands(field, x[:, None], cloud)
        found.append((at, weights * np.exp(at["log_density"]), x))
    (at, weights, x), (coarse_at, coarse_weights, _) = found
    value = {name: float(weights @ at[name]) for name in _INTEGRANDS}
    coarse = {name: float(coarse_weights @ coarse_at[name]) for name in _INTEGRANDS}
    rounding = {name: 1e-12 * float(weights @ np.abs(at[name])) for name in _INTEGRANDS}
    error = {name: abs(value[name] - coarse[name]) + rounding[name] for name in _INTEGRANDS}
    suprema = {name: float(coarse_at[name].max()) for name in _SUPREMA}
    difference = value["stein"] - value["coercive"]
    step = abs(difference - coarse["stein"] + coarse["coercive"]) + rounding["stein"] + rounding["coercive"]
    own = value["residual"], error["residual"]
    return Integrals(value, error, difference, step, suprema, own, x[:, None], weights, at["scale"])


def _by_sampling(field: DriftField, cloud: np.ndarray, samples: int, scramblings: int, seed: int) -> Integrals:
    companion = kernels.make("matern32")
    points = []
    for k in range(scramblings):
        index, z = sample_smoothed(companion, field.h, cloud, samples, random.generator(seed, "coercivity", k))
        points.append(cloud[index] + field.h * z)
    x = np.concatenate(points)
    at = integrands(field, x, cloud)
    means = {name: at[name].reshape(scramblings, samples).mean(1) for name in _INTEGRANDS}
    root = math.sqrt(scramblings)
    error = {name: float(each.std(ddof=1) / root) for name, each in means.items()}
    value = {name: float(each.mean()) for name, each in means.items()}
    difference = means["stein"] - means["coercive"]
    half = scramblings // 2
    suprema = {name: float(at[name][: half * samples].max()) for name in _SUPREMA}
    delta = means["residual"]
    other = float(delta[half:].mean()), float(delta.std(ddof=1) / math.sqrt(scramblings - half))
    weights = np.full(len(x), 1 / len(x))
    step = float(difference.std(ddof=1) / root)
    return Integrals(value, error, float(difference.mean()), step, suprema, other, x, weights, at["scale"])


class Scales(NamedTuple):
    """a, A of (60) and the q#-mass where alpha_mu leaves [a, A], each (4,) in the order of `REGIONS`; ``ray`` (17,): alpha_mu at `RAY`."""

    lower: np.ndarray
    upper: np.ndarray
    uncovered: np.ndarray
    ray: np.ndarray


def scales(field: DriftField, cloud: np.ndarray, found: Integrals, *, samples: int = 1024, seed: int = 0) -> Scales:
    """alpha_mu by region for one cloud (N, d) whose integrals are ``found``; ``samples`` (a power of two) points fill the box.

    Extrema over points, so lower bounds of suprema; up to d = 12 the corners of the box, where alpha_mu is largest, are among them,
    above that two opposite ones.
    """
    n, d = cloud.shape
    model = SmoothedPoints(cloud[None], field.kernel, field.h)
    known = np.concatenate([cloud, np.asarray(getattr(field.target, "points", cloud), float).reshape(-1, d)])
    low, high = known.min(0) - _MARGIN * field.h, known.max(0) + _MARGIN * field.h
    filled = qmc.Sobol(d, rng=random.generator(seed, "coercivity", "box")).random(samples)
    corners = np.array(list(itertools.product((0.0, 1.0), repeat=d))) if d <= _CORNERED else np.array([[0.0] * d, [1.0] * d])
    box = low + (high - low) * np.concatenate([corners, filled])
    ray = cloud.mean(0) + RAY[:, None] * field.h * np.eye(d)[0]
    particles, boxed, along = np.split(model.scale(np.concatenate([cloud, box, ray])[None])[0], [n, n + len(box)])
    order = np.argsort(found.scale)
    tail = found.scale[order][min(int(np.searchsorted(np.cumsum(found.weights[order]), _TAIL)), len(order) - 1)]
    least = min(found.scale.min(), particles.min())
    effective = math.sqrt(found.value["scaled_discrepancy"] / found.value["discrepancy"])
    lower = np.array([particles.min(), least, min(boxed.min(), least), least])
    upper = np.array([particles.max(), tail, max(boxed.max(), particles.max()), effective])
    outside = [found.weights[(found.scale < a) | (found.scale > b)].sum() for a, b in zip(lower, upper, strict=True)]
    return Scales(lower, upper, np.array(outside), along)


def paper_constants(lower: xr.DataArray, upper: xr.DataArray) -> tuple[xr.DataArray, xr.DataArray]:
    """(c*, C*) of L6.6 (63): S# >= c* E# - C* delta with c* = a / (4 A^2), C* = a / (2 A^2) + 1 / (2 a)."""
    return lower / (4 * upper**2), lower / (2 * upper**2) + 1 / (2 * lower)


def sharpened_constants(lower: xr.DataArray, upper: xr.DataArray) -> tuple[xr.DataArray, xr.DataArray]:
    """(c, C) of X2: the same inequality with c = 1 / (2 A), C = 1 / (2 a)."""
    return 1 / (2 * upper), 1 / (2 * lower)


CONSTANTS = {"paper": paper_constants, "sharpened": sharpened_constants}


def upper_scale(measured: xr.Dataset, constants: str) -> xr.DataArray:
    """A by region for a set of `CONSTANTS`: X2's effective A is int q# |v|^2 / int q# |v|^2 / alpha_mu, L6.6's that of X3."""
    if constants == "paper":
        return measured["upper"]
    harmonic = measured["energy"] / measured["weighted_energy"]
    return measured["upper"].where(measured["region"] != "effective", harmonic)


def coercive_sides(measured: xr.Dataset) -> xr.Dataset:
    """S# >= c E# - C delta of L6.6 and X2 written as ``energy`` <= ``rest``: c E# and S# + C delta, over ``constants`` and ``region`` too.

    ``energy_error``, ``rest_error``: what the errors of E#, S# and delta make of them; ``bound`` = c E# - C delta.
    """
    found = []
    for name, make in CONSTANTS.items():
        c, big = make(measured["lower"], upper_scale(measured, name))
        sides = {
            "energy": c * measured["energy"],
            "rest": measured["stein"] + big * measured["residual"],
            "energy_error": c * measured["energy_error"],
            "rest_error": measured["stein_error"] + big * measured["residual_error"],
            "bound": c * measured["energy"] - big * measured["residual"],
        }
        found.append(xr.Dataset(sides).assign_coords(constants=name))
    return xr.concat(found, "constants")


def velocity_bound(measured: xr.Dataset, initial_kl: xr.DataArray, time: xr.DataArray) -> xr.Dataset:
    """The four terms of T6.9's right side and their ``total``, for times T > 0 and KL(rho_0 || pi#) = H#_N(0) / N.

    ``measured`` as `measure_coercivity` returns it; a, A, delta, eps_S and eps_D are extrema over its replicates and snapshots.
    Adds to the dimensions of its cells a dimension ``constants`` (`CONSTANTS`) and ``region``.
    """
    cells = ("replicate", "snapshot")
    lower = measured["lower"].min(cells)
    found = []
    for name, make in CONSTANTS.items():
        c, big = make(lower, upper_scale(measured, name).max(cells))
        terms = {
            "initial": initial_kl / (c * time),
            "stein_gap": measured["stein_gap"].max(cells) / c,
            "speed_gap": measured["speed_gap"].max(cells) + 0 * c,
            "residual": big / c * measured["residual"].max(cells),
        }
        found.append(xr.Dataset(terms).assign_coords(constants=name))
    out = xr.concat(found, "constants")
    out["total"] = sum(out[name] for name in ("initial", "stein_gap", "speed_gap", "residual"))
    return out


_VARIABLES = {
    **_INTEGRANDS,
    **{f"{name}_error": (f"error of {name.replace('_', ' ')}", unit) for name, (_, unit) in _INTEGRANDS.items()},
    "stein_residual": ("S# - integral of q# v.g", "1"),
    "stein_residual_error": ("error of that difference", "1"),
    **{f"largest_{name}": description for name, description in _SUPREMA.items()},
    "other_residual": ("delta (61) from the other half of the points", "length^2"),
    "other_residual_error": ("error of that delta", "length^2"),
    "leave_one_out_stein": ("S_loo, mean of T_pi# v_i over the particles", "1"),
    "leave_one_out_speed": ("D_lap, mean of |v_i|^2 over the particles (48)", "length^2"),
    "stein_gap": ("eps_S = |S_loo - S#| (64)", "1"),
    "speed_gap": ("eps_D = |D_lap - E#| (65)", "length^2"),
}
_REGIONAL = {
    "lower": ("a of (60), least alpha_mu", "length^2"),
    "upper": ("A of (60), largest alpha_mu", "length^2"),
    "uncovered": ("mass of q# where alpha_mu is outside [a, A]", "1"),
}


def measure_coercivity(
    ensemble: xr.Dataset, *, replicates: int = 4, snapshots: int | None = None, samples: int = 1024, scramblings: int = 16
) -> xr.Dataset:
    """Both sides of L6.4, L6.6 and C6.12, the constants of A6.5 and the gaps of A6.7 along stored clouds of ODE (47).

    ``ensemble`` as `simulate.simulate_flow` returns it, of the leave-one-out displacement field with the Laplace kernel; its first
    ``replicates`` and ``snapshots`` (None: all) stored times, spread evenly; the rest as for `integrals`. S# and E# belong to the
    full field, S_loo and D_lap to the leave-one-out field at the particles; the errors of eps_S and eps_D are those of S# and E#.
    Returns a Dataset over (bandwidth, n_particles, replicate, snapshot), a and A also over region. Time is dimensionless.
    Raises ``ValueError`` for another field or kernel.
    """
    experiment, seed = json.loads(ensemble.attrs["experiment"]), int(ensemble.attrs["seed"])
    count = ensemble.sizes["snapshot"]
    chosen = np.unique(np.linspace(0, count - 1, min(count, snapshots or count)).round().astype(int))
    used = min(replicates, ensemble.sizes["replicate"])
    dims = ("bandwidth", "n_particles", "replicate", "snapshot")
    shape = (ensemble.sizes["bandwidth"], ensemble.sizes["n_particles"], used, len(chosen))
    data = {name: np.full(shape, np.nan) for name in _VARIABLES}
    data |= {name: np.full((*shape, len(REGIONS)), np.nan) for name in _REGIONAL}
    rays = np.full((*shape, len(RAY)), np.nan)
    for b, h in enumerate(ensemble["bandwidth"].values):
        field = simulate.build_field({**experiment, "dtype": "float64"}, float(h), seed=seed)
        require_laplace(field)
        if not field.leave_one_out:
            raise ValueError(f"experiment {experiment['name']!r}: coercivity needs leave_one_out: true (ODE (47))")
        for s, n in enumerate(ensemble["n_particles"].values):
            clouds = ensemble[f"cloud_{n}"].isel(bandwidth=b, snapshot=chosen).values.astype(float)
            for r, k in itertools.product(range(used), range(len(chosen))):
                own = int(random.generator(seed, "coercivity", float(h), int(n), r, int(chosen[k])).integers(2**31))
                values, found = _measure(field, clouds[r, k], samples, scramblings, own)
                for name, value in values.items():
                    data[name][b, s, r, k] = value
                for name in _REGIONAL:
                    data[name][b, s, r, k] = getattr(found, name)
                rays[b, s, r, k] = found.ray
    variables = {name: (dims, data[name], {"long_name": text, "units": unit}) for name, (text, unit) in _VARIABLES.items()}
    variables |= {name: ((*dims, "region"), data[name], {"long_name": text, "units": unit}) for name, (text, unit) in _REGIONAL.items()}
    variables["ray_scale"] = (
        (*dims, "distance"),
        rays,
        {"long_name": "alpha_mu along a ray from the middle of the cloud", "units": "length^2"},
    )
    coordinates = {
        "bandwidth": ensemble["bandwidth"].variable,
        "n_particles": ensemble["n_particles"].variable,
        "replicate": ("replicate", np.arange(used), {"long_name": "replicate", "units": "1"}),
        "snapshot": ensemble["snapshot"].isel(snapshot=chosen).variable,
        "distance": ("distance", RAY, {"long_name": "distance in units of h", "units": "1"}),
        "region": (
            "region",
            np.array(list(REGIONS), dtype=object),
            {"long_name": "; ".join(f"{k}: {v}" for k, v in REGIONS.items()), "units": "1"},
        ),
    }
    attributes = {"experiment": ensemble.attrs["experiment"], "seed": seed, "dimension": ensemble.sizes["component"]}
    return xr.Dataset(variables, coordinates, attributes | {"samples": samples, "scramblings": scramblings})


def _measure(field: DriftField, cloud: np.ndarray, samples: int, scramblings: int, seed: int) -> tuple[dict[str, float], Scales]:
    found = integrals(field, cloud, samples=samples, scramblings=scramblings, seed=seed)
    own = field.at_particles(cloud[None], divergence=True)
    velocity = own.velocity[0]
    sharp = own.target.value[0] / field.target.scale(cloud[None])[0][:, None]
    stein = float((own.divergence[0] + (sharp * velocity).sum(1)).mean())
    speed = float((velocity**2).sum(1).mean())
    values = {
        **found.value,
        **{f"{name}_error": error for name, error in found.error.items()},
        "stein_residual": found.stein_residual,
        "stein_residual_error": found.stein_residual_error,
        **{f"largest_{name}": value for name, value in found.suprema.items()},
        "other_residual": found.other_residual[0],
        "other_residual_error": found.other_residual[1],
        "leave_one_out_stein": stein,
        "leave_one_out_speed": speed,
        "stein_gap": abs(stein - found.value["stein"]),
        "speed_gap": abs(speed - found.value["energy"]),
    }
    return values, scales(field, cloud, found, samples=samples, seed=seed)
