"""The Laplace displacement field: L6.1, the decomposition (53), its curl (R6.11), and when its residual vanishes (X4)."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import xarray as xr

from driftrates.claims.ledger import Construction, Data, Evidence, Identity, Inequality, statement
from driftrates.laplace.uniqueness import ZERO

_CHAPTER = "laplace_field"
_ROUNDINGS = 4.0
"""Units of the rounding error of the sums that are granted to a difference of two expressions in them."""

_SMOOTH = 1e-12
"""Granted where complex steps are compared with sums: rounding alone, magnified by the steps' slopes."""


@statement(_CHAPTER, "L6.1", "m_mu = alpha_mu s#_mu with alpha_mu = Z#/Z, for the Laplace kernel h^2 + h rho_mu", "Lemma 6.1, (50)(51)")
def scale(data: Data) -> Iterator[Evidence]:
    o = data["decomposition"]
    for place in o["place"].values.tolist():
        at = o.sel(place=place)
        yield Identity(
            case=f"shift, {place}",
            quantity="|m - alpha s#| in units of rounding, s# by complex steps of K#, all kernels, d = 1, 2, 3, 5; control: alpha = h^2",
            residual=(at["shift_gap"] / at["rounding"]).values,
            control=(at["unscaled_gap"] / at["rounding"]).values,
            tolerance=_ROUNDINGS,
        )
        unit = at["rounding"].sel(kernel="laplace")
        yield Identity(
            case=f"radius, {place}",
            quantity="|alpha / (h^2 + h rho) - 1| in units of rounding, Laplace, rho by plain sums, d = 1, 2, 3, 5; control: alpha = h^2",
            residual=(at["radius_gap"] / unit).values,
            control=(at["plain_gap"] / unit).values,
            tolerance=_ROUNDINGS,
        )


@statement(_CHAPTER, "eq53", "v = alpha_mu g + r exactly, everywhere, and v = alpha_p g + (alpha_p - alpha_mu) s#_mu", "(52)(53)")
def splits(data: Data) -> Iterator[Evidence]:
    o = data["decomposition"]
    for name, text, broken in (
        ("split", "alpha_mu g + r", "alpha_p in the place of alpha_mu"),
        ("other", "alpha_p g + (alpha_p - alpha_mu) s#_mu", "alpha_mu in the place of alpha_p"),
    ):
        for place in o["place"].values.tolist():
            at = o.sel(place=place)
            unit = at["rounding"].sel(kernel="laplace")
            yield Identity(
                case=f"{'mu' if name == 'split' else 'p'}, {place}",
                quantity=f"|v - ({text})| in units of rounding, v by plain sums, d = 1, 2, 3, 5; control: {broken} of the first term",
                residual=(at[f"{name}_gap"] / unit).values,
                control=(at[f"{name}_wrong"] / unit).values,
                tolerance=_ROUNDINGS,
            )


@statement(_CHAPTER, "R6.11", "d = 2: curl v = grad alpha_p x s#_p - grad alpha_mu x s#_mu, zero for Gaussian kernels", "Remark 6.11")
def curl(data: Data) -> Iterator[Evidence]:
    o = data["decomposition"]
    laplace, gaussian = o.sel(field="laplace"), o.sel(field="gaussian")
    formula, steps = (laplace[name].sel(measure="data") - laplace[name].sel(measure="cloud") for name in ("curl_formula", "curl_steps"))
    size, alone = float(abs(formula).max()), laplace["curl_formula"].sel(measure="data")
    for case, found, text in (
        ("formula", laplace["curl_sums"], "the curl from the kernel sums"),
        ("automatic differentiation", steps, "the curl by complex steps of v"),
    ):
        yield Identity(
            case=case,
            quantity=f"{text} minus the formula, over the largest curl; control: the formula without the cloud's term",
            residual=((found - formula) / size).values,
            control=((found - alone) / size).values,
            tolerance=_SMOOTH,
        )
    unit = laplace["flux_error"] + _SMOOTH * 2 * np.pi * laplace["radius"] * laplace["loop_speed"]
    yield Identity(
        case="circulation",
        quantity="circulation minus flux of the curl, in units of the quadrature error, all loops; control: curl of the opposite sign",
        residual=((laplace["circulation"] - laplace["flux"]) / unit).values,
        control=((laplace["circulation"] + laplace["flux"]) / unit).values,
        tolerance=1.0,
    )
    yield Identity(
        case="Gaussian, curl",
        quantity="curl v by complex steps, Gaussian kernel; control: Laplace kernel",
        residual=(gaussian["curl_steps"].sel(measure="data") - gaussian["curl_steps"].sel(measure="cloud")).values,
        control=steps.values,
        tolerance=_SMOOTH,
    )
    yield Identity(
        case="Gaussian, circulation",
        quantity="circulation over speed x length, Gaussian kernel, all loops; control: Laplace kernel",
        residual=_relative_circulation(gaussian),
        control=_relative_circulation(laplace),
        tolerance=_SMOOTH,
    )
    vanishing = laplace["zero_residual"].values <= _SMOOTH
    yield Construction(
        case="r = 0",
        quantity="h |curl v| / |v| where |r| / |v| is rounding, on lines through the plane; control: Gaussian kernel, same points",
        effect=np.where(vanishing, np.abs(laplace["zero_curl"].values), 0.0),
        control=np.abs(gaussian["zero_curl"].values),
        threshold=1e-6,
    )


def _relative_circulation(o: xr.Dataset) -> np.ndarray:
    return (o["circulation"] / (2 * np.pi * o["radius"] * o["loop_speed"])).values


@statement(
    _CHAPTER,
    "X4",
    "K_h*mu = (1 - h^2 Laplacian) Q_mu, so alpha_mu = (d+1) h^2 / (1 - h^2 Laplacian Q_mu / Q_mu), and delta = 0 only where mu = p",
    "own statement X4",
)
def uniqueness(data: Data) -> Iterator[Evidence]:
    o = data["decomposition"]
    unit = o["rounding"].sel(kernel="laplace") * (1 + o["dimension"] / o["circle"] ** 2)
    for case, name, text in (
        ("alpha", "laplacian_gap", "1 - h^2 Laplacian Q / Q - (d+1) h^2 / alpha"),
        ("smoothing", "smoothing_gap", "((1 - h^2 Laplacian) Q - K_h*mu) / Q"),
    ):
        yield Identity(
            case=case,
            quantity=f"{text} in units of rounding, Laplacian by Cauchy's integral, d = 1, 2, 3, 5; control: without the Laplacian",
            residual=_known(o[name] / unit),
            control=_known(o["laplacian_plain"] / unit),
            tolerance=_ROUNDINGS,
        )
    h, equal = float(o.attrs["bandwidth"]), o["case_particles"] == o["case_data"]
    reachable = o["case_particles"] % o["case_data"] == 0
    same, zero = o.isel(case=equal.values), ZERO * h**2
    radius = np.sqrt(2 * zero / same["curvature"] / same["case_particles"])
    yield Identity(
        case="zeros of delta",
        quantity="W2 to the data where a minimisation over clouds ends with delta = 0, in units that the curvature of delta allows; "
        "control: clouds with delta = 0 under the Gaussian kernel",
        residual=_known((same["minimum_distance"] / radius).where(same["minimum"] <= zero)),
        control=_known((same["start_distance"] / radius).where(same["gaussian_delta"] <= zero)),
        tolerance=2.0,
    )
    least = o["minimum"].min("start") / h**2
    yield Construction(
        case="N not a multiple of M",
        quantity="least delta / h^2 over clouds, every pair (N, M); control: N a multiple of M",
        effect=least.values[~reachable.values],
        control=least.values[reachable.values],
        threshold=ZERO,
    )
    near = same["near_distance"] ** 2 * same["curvature"]
    lhs, rhs, gaussian = xr.broadcast(near / 4, same["near_delta"], same["near_gaussian_delta"])
    yield Inequality(
        case="curvature",
        quantity="half the quadratic form's least value against delta of clouds 1e-3 h to 1e-1 h from the data; control: Gaussian kernel",
        lhs=lhs.values,
        rhs=rhs.values,
        control_lhs=lhs.values,
        control_rhs=gaussian.values,
    )
    ratio = o["curvature"] / o["stiffness"]
    yield Construction(
        case="Hessian",
        quantity="smallest over largest eigenvalue of the Hessian of delta at the data, N = M; control: every point taken twice, N = 2 M",
        effect=ratio.values[equal.values],
        control=ratio.values[(reachable & ~equal).values],
        threshold=1e-12,
    )


def _known(values: xr.DataArray) -> np.ndarray:
    flat = values.values.ravel()
    return flat[~np.isnan(flat)]
