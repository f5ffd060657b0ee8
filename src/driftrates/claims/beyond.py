"""Statements found while checking the paper: X6 to X10 (X1 stands with occupancy)."""

from __future__ import annotations

import json
from collections.abc import Iterator

import numpy as np
import xarray as xr

from driftrates.claims.conservative import growth_rates, select
from driftrates.claims.ledger import Construction, Data, Evidence, Identity, Inequality, Rate, statement
from driftrates.fields import DriftField, SmoothedDensity
from driftrates.kernels import Gaussian
from driftrates.measurements.entropy import score_difference
from driftrates.measurements.quadrature import hessians, operator_norms
from driftrates.targets import GaussianMixture

_CHAPTER = "beyond"
_STEP = 1e-30


@statement(
    _CHAPTER,
    "X6",
    "H_N/N falls, has a minimum, then rises linearly; T4.1 is nearly attained around the minimum, loose later",
    "own statement X6",
)
def entropy_minimum(data: Data) -> Iterator[Evidence]:
    for name, budget in select(data, "entropy"):
        if not name.startswith("long"):
            continue
        mean, error = budget["entropy"], budget["change_error"]
        at = mean.argmin("time")
        lowest, error_there = mean.isel(time=at), error.isel(time=at)
        fall = (mean.isel(time=0) - lowest) / error_there
        rise = (mean.isel(time=-1) - lowest) / np.hypot(error.isel(time=-1), error_there)
        yield Construction(
            case=f"minimum, {name}",
            quantity="fall of H_N/N to its minimum and rise to the end, in standard errors; control: the budget without self-interaction",
            effect=np.stack([fall.values, rise.values]),
            control=_rise_without_self(budget),
            threshold=4.0,
        )
        half = budget.isel(time=slice(-12, None))
        rate = half["self_interaction"] - half["stein_drift"]
        yield Identity(
            case=f"linear, {name}",
            quantity="relative change of d(H_N/N)/dt over the last twelve output times; control: over all times",
            residual=((rate.max("time") - rate.min("time")) / rate.mean("time")).values,
            control=_relative_change(budget),
            tolerance=0.2,
        )
        ratio = _tightness(budget)
        yield Inequality(
            case=f"tightness, {name}",
            quantity="bound over measured time average of S_N (T4.1): at the minimum of H_N against the last T; control: exchanged",
            lhs=ratio.isel(time=at).values,
            rhs=ratio.isel(time=-1).values,
            control_lhs=ratio.isel(time=-1).values,
            control_rhs=ratio.isel(time=at).values,
        )


def _rise_without_self(budget: xr.Dataset) -> np.ndarray:
    """Rise after its minimum of the entropy that S_N alone would give, in standard errors."""
    alone = budget["initial_kl"] - budget["mean_stein_drift"] * budget["time"]
    error = np.hypot(budget["mean_stein_drift_error"].isel(time=-1) * float(budget["time"][-1]), budget["entropy_error"].isel(time=0))
    return ((alone.isel(time=-1) - alone.min("time")) / error).values


def _relative_change(budget: xr.Dataset) -> np.ndarray:
    rate = budget["self_interaction"] - budget["stein_drift"]
    return ((rate.max("time") - rate.min("time")) / abs(rate.mean("time"))).values


def _tightness(budget: xr.Dataset) -> xr.DataArray:
    bound = budget["initial_kl"] / budget["time"].where(budget["time"] > 0) + budget["mean_self_interaction"]
    return bound / budget["mean_stein_drift"]


@statement(
    _CHAPTER,
    "X7",
    "L1 grows without bound along anisotropic tails; in a gap l it is l^4 / (8 h^8), Lip(b) = l^2 / (4 h^4) - 1 / h^2: beta = 8",
    "own statement X7",
)
def gaps(data: Data) -> Iterator[Evidence]:
    growth = data["growth"]
    for name, predicted in (("stein_constant", "predicted_stein"), ("lipschitz", "predicted_lipschitz")):
        ratio = growth[name].sel(region="window").isel(replicate=0) / growth[predicted]
        narrow = ratio.values[np.isfinite(ratio.values)]
        yield Identity(
            case=name,
            quantity="measured over predicted minus 1, gaps of the Gaussian kernel at every h; control: half the gap",
            residual=narrow - 1,
            control=narrow * (16 if name == "stein_constant" else 4) - 1,
            tolerance=0.02,
        )
    yield from growth_rates(growth, ("gap",), "window", 0.25)
    isotropic, tilted = (_growth_along_a_ray(np.array([[1.0, c], [c, 1.0]])) for c in (0.0, 0.5))
    yield Rate(
        case="tails",
        quantity="power of the distance with which L1 + L2 grows along a normal of the hull, anisotropic target; control: isotropic target",
        slope=tilted,
        interval=(tilted, tilted),
        predicted=1.0,
        control=(isotropic, isotropic),
        cases=4,
        upper_bound=False,
        tolerance=0.05,
    )


def _growth_along_a_ray(covariance: np.ndarray) -> float:
    """Exponent of the two Hessian norms together along a ray normal to an edge of the hull of three particles, off its middle."""
    h, cloud = 0.5, np.array([[-0.5, 0.0], [0.5, 0.0], [0.0, -1.0]])
    density = GaussianMixture(np.ones(1), np.zeros((1, 2)), covariance[None]).smoothed(h)
    field = DriftField("conservative", SmoothedDensity(density, h), Gaussian(), h)
    distance = np.geomspace(128.0, 1024.0, 4)
    parts = hessians(field, np.stack([np.full(4, 0.15), distance], axis=1), cloud)
    return float(np.polyfit(np.log(distance), np.log(operator_norms(parts.stein) + operator_norms(parts.speed)), 1)[0])


@statement(
    _CHAPTER,
    "X8",
    "i.i.d. configurations along h = N^(-1/(d+4)) have beta = 2; after relaxation by the flow beta is near 0",
    "own statement X8",
)
def independent_and_relaxed(data: Data) -> Iterator[Evidence]:
    yield from growth_rates(data["growth"], ("iid", "relaxed"), "mean", 0.25)


@statement(_CHAPTER, "X9", "the N-particle ODE is not a gradient flow of (x_1..x_N): its Jacobian is not symmetric", "own statement X9")
def not_a_gradient_flow(data: Data) -> Iterator[Evidence]:
    for name, o in select(data, "flow"):
        experiment, seed = json.loads(o.attrs["experiment"]), int(o.attrs["seed"])
        n, h = int(o["n_particles"].min()), float(o["bandwidth"][0])
        cloud = o[f"cloud_{n}"].isel(bandwidth=0, replicate=0, snapshot=0).values.astype(float)
        jacobian = _jacobian(experiment, h, seed, cloud)
        frozen = _frozen_jacobian(experiment, h, seed, cloud)
        yield Construction(
            case=name,
            quantity="|J - J^T| / |J| of (b(x_1; X), ..., b(x_N; X)) by complex steps; control: the frozen field at each particle",
            effect=[np.linalg.norm(jacobian - jacobian.T) / np.linalg.norm(jacobian)],
            control=[np.linalg.norm(frozen - frozen.swapaxes(1, 2)) / np.linalg.norm(frozen)],
            threshold=1e-6,
        )


def _jacobian(experiment: dict, h: float, seed: int, cloud: np.ndarray) -> np.ndarray:
    columns = []
    for i, k in np.ndindex(cloud.shape):
        moved = cloud.astype(complex)
        moved[i, k] += 1j * _STEP
        columns.append(score_difference(experiment, h, seed, moved, moved).imag.ravel() / _STEP)
    return np.array(columns).T


def _frozen_jacobian(experiment: dict, h: float, seed: int, cloud: np.ndarray) -> np.ndarray:
    columns = []
    for k in range(cloud.shape[1]):
        moved = cloud.astype(complex)
        moved[:, k] += 1j * _STEP
        columns.append(score_difference(experiment, h, seed, moved, cloud.astype(complex)).imag / _STEP)
    return np.stack(columns, axis=2)


@statement(_CHAPTER, "X10", "late F_N lives almost wholly outside the convex hull of the cloud", "own statement X10")
def outside_the_hull(data: Data) -> Iterator[Evidence]:
    for name, o in select(data, "observables"):
        if not name.startswith("long"):
            continue
        share = o["fisher_outside"] / o["fisher"]
        yield Construction(
            case=name,
            quantity="share of F_N outside the hull at the last stored time; control: the start",
            effect=share.isel(snapshot=-1).values,
            control=share.isel(snapshot=0).values,
            threshold=0.9,
        )
