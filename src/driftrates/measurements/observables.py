"""Observables S_N, F_N, D_N and R_N of the conservative flow (3)-(7) along its stored clouds."""

from __future__ import annotations

import itertools
import json
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from driftrates import random, simulate
from driftrates.fields import DriftField
from driftrates.measurements.fisher_discrepancy import evaluate, fisher, require_conservative


class Means(NamedTuple):
    """Sums over the particles of one cloud: ``stein_drift`` S_N (4), ``squared_speed`` D_N (6), ``reciprocal_kde`` R_N (7)."""

    stein_drift: float
    squared_speed: float
    reciprocal_kde: float


def particle_means(field: DriftField, cloud: np.ndarray) -> Means:
    """S_N, D_N and R_N of one cloud (N, d) under a conservative field; b, div b and p_h at the particles, the field held fixed."""
    require_conservative(field)
    at = evaluate(field, np.asarray(cloud, float), np.asarray(cloud, float))
    return Means(float(at.stein.mean()), float(at.speed.mean()), float((1 / at.density).mean()))


_VARIABLES = {
    "stein_drift": ("S_N, mean of T_pi b over the cloud (4)", "time^-1"),
    "fisher": ("F_N, integral of p_h |b|^2 (5)", "time^-1"),
    "fisher_error": ("error of F_N: last refinement, or one standard error", "time^-1"),
    "fisher_stein": ("integral of p_h T_pi b, equal to F_N by L4.3", "time^-1"),
    "fisher_stein_error": ("error of the integral of p_h T_pi b", "time^-1"),
    "fisher_outside": ("part of F_N outside the convex hull of the cloud", "time^-1"),
    "fisher_outside_error": ("error of that part", "time^-1"),
    "squared_speed": ("D_N, mean squared speed of the cloud (6)", "time^-1"),
    "reciprocal_kde": ("R_N, mean of 1 / p_h over the cloud (7)", "length^d"),
    "kl": ("KL(p_h || pi)", "1"),
    "kl_error": ("error of KL(p_h || pi)", "1"),
    "kl_rate": ("time derivative of KL(p_h || pi) along the flow, -(1/N) sum b . (K_h * b)", "time^-1"),
    "kl_rate_error": ("error of that derivative", "time^-1"),
}


class Configuration(NamedTuple):
    """One stored cloud (N, d) float64 with its field, its place in the Dataset and the labels of its random streams."""

    place: tuple[int, int, int, int]
    field: DriftField
    cloud: np.ndarray
    seed: int


def configurations(ensemble: xr.Dataset, *, replicates: int, snapshots: int | None) -> tuple[dict[str, Any], list[Configuration]]:
    """(coordinates, stored clouds) of a flow Dataset: the first ``replicates`` and ``snapshots`` stored times spread evenly.

    The first and last stored times are among them; None takes all. Raises ``ValueError`` where the ensemble is not conservative.
    """
    experiment, seed = json.loads(ensemble.attrs["experiment"]), int(ensemble.attrs["seed"])
    count = ensemble.sizes["snapshot"]
    chosen = np.unique(np.linspace(0, count - 1, min(count, snapshots or count)).round().astype(int))
    repeats = np.arange(min(replicates, ensemble.sizes["replicate"]))
    out = []
    for b, h in enumerate(ensemble["bandwidth"].values):
        field = simulate.build_field({**experiment, "dtype": "float64"}, float(h), seed=seed)
        require_conservative(field)
        for s, n in enumerate(ensemble["n_particles"].values):
            clouds = ensemble[f"cloud_{n}"].isel(bandwidth=b, snapshot=chosen).values
            for r, k in itertools.product(repeats, range(len(chosen))):
                own = int(random.generator(seed, "observables", float(h), int(n), int(r), int(chosen[k])).integers(2**31))
                out.append(Configuration((b, s, int(r), k), field, clouds[r, k].astype(np.float64), own))
    coordinates = {
        "bandwidth": ensemble["bandwidth"].variable,
        "n_particles": ensemble["n_particles"].variable,
        "replicate": ("replicate", repeats, {"long_name": "replicate", "units": "1"}),
        "snapshot": ensemble["snapshot"].isel(snapshot=chosen).variable,
    }
    return coordinates, out


def measure_observables(
    ensemble: xr.Dataset,
    *,
    replicates: int = 4,
    snapshots: int | None = None,
    rtol: float = 1e-7,
    max_points: int = 2**20,
    points: int = 2**12,
    scramblings: int = 8,
) -> xr.Dataset:
    """S_N, F_N with its parts, D_N, R_N and KL(p_h || pi) with its derivative along stored clouds of a conservative flow.

    ``ensemble`` as `simulate.simulate_flow` returns it; the first ``replicates`` and ``snapshots`` (None: all) stored times, see
    `configurations`; the rest as for `fisher_discrepancy.fisher`. Returns a Dataset over (bandwidth, n_particles, replicate, snapshot).
    """
    coordinates, clouds = configurations(ensemble, replicates=replicates, snapshots=snapshots)
    dims = ("bandwidth", "n_particles", "replicate", "snapshot")
    shape = tuple(len(coordinates[name][1]) if isinstance(coordinates[name], tuple) else coordinates[name].size for name in dims)
    data = {name: np.full(shape, np.nan) for name in _VARIABLES}
    for place, field, cloud, seed in clouds:
        means = particle_means(field, cloud)
        f = fisher(field, cloud, rtol=rtol, max_points=max_points, points=points, scramblings=scramblings, seed=seed)
        values = {
            **means._asdict(),
            "fisher": f.value,
            "fisher_error": f.error,
            "fisher_stein": f.stein,
            "fisher_stein_error": f.stein_error,
            "fisher_outside": f.outside,
            "fisher_outside_error": f.split_error,
            "kl": f.kl,
            "kl_error": f.kl_error,
            "kl_rate": f.kl_rate,
            "kl_rate_error": f.kl_rate_error,
        }
        for name, value in values.items():
            data[name][place] = value
    variables = {name: (dims, data[name], {"long_name": text, "units": unit}) for name, (text, unit) in _VARIABLES.items()}
    attributes = {"experiment": ensemble.attrs["experiment"], "seed": int(ensemble.attrs["seed"]), "method": f.method, "rtol": rtol}
    attributes |= {"max_points": max_points, "points": points, "scramblings": scramblings}
    return xr.Dataset(variables, coordinates, attributes)
