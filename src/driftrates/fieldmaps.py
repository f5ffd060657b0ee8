"""Maps of a frozen field in the plane: potential, velocity, curl, circulation around loops, ascent of the potential (Figure 1)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr
from scipy import special

from driftrates import flow, simulate
from driftrates.fields import DriftField

_LOOP_NODES = 4096
DISC_NODES = (400, 256)
"""Nodes of `flux_of_curl` in the radius and the angle."""


def circulation(field: DriftField, cloud: np.ndarray, centre: np.ndarray, radius: float) -> float:
    """Line integral of the frozen field around the circle, counter-clockwise, by the trapezoid rule; cloud (N, 2)."""
    angle = np.linspace(0, 2 * np.pi, _LOOP_NODES, endpoint=False)
    normal = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    tangent = np.stack([-normal[:, 1], normal[:, 0]], axis=1)
    velocity = field.at((centre + radius * normal)[None], cloud[None]).velocity[0]
    return float((velocity * tangent).sum(1).mean() * 2 * np.pi * radius)


def flux_of_curl(field: DriftField, cloud: np.ndarray, centre: np.ndarray, radius: float) -> float:
    """Integral of the curl over the disc (Stokes' other side), Gauss-Legendre in the radius, trapezoid in the angle."""
    node, weight = special.roots_legendre(DISC_NODES[0])
    r, w = radius * (node + 1) / 2, radius * weight / 2
    angle = np.linspace(0, 2 * np.pi, DISC_NODES[1], endpoint=False)
    points = centre + r[:, None, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    curl = field.curl(points.reshape(1, -1, 2), cloud[None])[0].reshape(len(r), len(angle))
    return float((curl.mean(1) * 2 * np.pi * r * w).sum())


def ascent(field: DriftField, cloud: np.ndarray, starts: np.ndarray, times: np.ndarray, *, turn: float = 0.0) -> np.ndarray:
    """log(pi / p_h) at the output ``times`` along trajectories of the frozen field from ``starts`` (n, 2), returned as (n, times).

    A kernel with a kink makes the score jump at every atom, where adaptive steps would chatter: Euler steps then.
    ``times`` are those of the score clock: a displacement field is divided by h^2.
    ``turn``: angle (radians) by which the velocity is rotated first; a gradient field ascends its potential for |turn| < pi / 2.
    """
    rotation = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])

    clock = field.h**2 if field.name == "displacement" else 1.0

    def rhs(t: Any, x: Any, replicates: Any) -> tuple[Any, Any]:
        return field.at(x, cloud[None]).velocity @ rotation / clock, np.zeros((1, 0))

    method = flow.DormandPrince(rtol=1e-8, atol=1e-10) if field.kernel.smoothness >= 2 else flow.Euler(times[-1] / 800)
    values = []
    for state, _, _ in flow.integrate(rhs, starts[None], times, method):
        at = field.at(state.x, cloud[None])
        values.append((at.target.log_density - at.model.log_density)[0])
    return np.array(values).T


def map_fields(spec: Mapping[str, Any], flows: Mapping[str, xr.Dataset]) -> xr.Dataset:
    """Maps of the experiments in ``spec["experiments"]`` at their first stored cloud, frozen; all in d = 2.

    ``spec``: ``experiments`` (names, keys of ``flows``), ``box`` (half width of the square map), ``points`` (per axis), ``loops``
    ([{centre, radius}]), ``tracked`` (number of particles followed through the frozen field), ``frozen_time``.
    Returns over (experiment, y, x): potential log(p_h/q_h), velocity, curl; over (experiment, loop): circulation and the flux of
    the curl through the loop; over (experiment, tracked, step): the potential along frozen-field trajectories, and along those
    of the field turned by 100 degrees (a control: a turned gradient is none).
    Raises ``ValueError`` for an experiment that is not planar.
    """
    axis = np.linspace(-spec["box"], spec["box"], spec["points"])
    grid = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(1, -1, 2)
    times = np.linspace(0, spec["frozen_time"], 41)
    found: dict[str, list[Any]] = {k: [] for k in ("potential", "velocity", "curl", "circulation", "flux", "ascent", "turned_ascent")}
    for name in spec["experiments"]:
        experiment, seed = json.loads(flows[name].attrs["experiment"]), int(flows[name].attrs["seed"])
        n, h = int(flows[name]["n_particles"][0]), float(flows[name]["bandwidth"][0])
        cloud = flows[name][f"cloud_{n}"].isel(bandwidth=0, replicate=0, snapshot=0).values.astype(float)
        if cloud.shape[1] != 2:
            raise ValueError(f"field_maps: experiment {name!r} lives in d = {cloud.shape[1]}; maps need d = 2")
        field = simulate.build_field({**experiment, "dtype": "float64"}, h, seed=seed)
        value = field.at(grid, cloud[None])
        found["potential"].append((value.target.log_density - value.model.log_density)[0].reshape(len(axis), -1))
        found["velocity"].append(value.velocity[0].reshape(len(axis), -1, 2))
        found["curl"].append(field.curl(grid, cloud[None])[0].reshape(len(axis), -1))
        loops = [(np.array(loop["centre"], float), float(loop["radius"])) for loop in spec["loops"]]
        found["circulation"].append([circulation(field, cloud, c, r) for c, r in loops])
        found["flux"].append([flux_of_curl(field, cloud, c, r) for c, r in loops])
        rank = np.argsort(cloud[:, 1], kind="stable")
        tracked = cloud[rank[np.linspace(0, n - 1, spec["tracked"]).astype(int)]]
        found["ascent"].append(ascent(field, cloud, tracked, times))
        found["turned_ascent"].append(ascent(field, cloud, tracked, times, turn=np.deg2rad(100)))
    labels = {
        "potential": (("experiment", "y", "x"), "potential log(p_h / q_h)", "1"),
        "velocity": (("experiment", "y", "x", "component"), "velocity of the frozen field", "length time^-1"),
        "curl": (("experiment", "y", "x"), "curl of the frozen field", "time^-1"),
        "circulation": (("experiment", "loop"), "circulation around the loop", "length^2 time^-1"),
        "flux": (("experiment", "loop"), "flux of the curl through the loop", "length^2 time^-1"),
        "ascent": (("experiment", "tracked", "step"), "potential along frozen-field trajectories", "1"),
        "turned_ascent": (("experiment", "tracked", "step"), "potential along trajectories of the field turned by 100 degrees", "1"),
    }
    coordinates = {
        "experiment": ("experiment", list(spec["experiments"]), {"long_name": "experiment", "units": "1"}),
        "x": ("x", axis, {"long_name": "x", "units": "length"}),
        "y": ("y", axis, {"long_name": "y", "units": "length"}),
        "step": ("step", times, {"long_name": "time in the frozen field, score clock", "units": "time"}),
        "radius": ("loop", [loop["radius"] for loop in spec["loops"]], {"long_name": "radius of the loop", "units": "length"}),
        "centre": (
            ("loop", "component"),
            [loop["centre"] for loop in spec["loops"]],
            {"long_name": "centre of the loop", "units": "length"},
        ),
    }
    variables = {k: (dims, np.array(found[k]), {"long_name": text, "units": unit}) for k, (dims, text, unit) in labels.items()}
    return xr.Dataset(variables, coordinates)
