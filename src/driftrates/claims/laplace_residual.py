"""The residual of T6.9: R6.10 (it stays as T -> infinity), X12 (D_lap does not stay with it); X11, ejections by leave-one-out fields."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import xarray as xr

from driftrates.claims.ledger import Construction, Data, Evidence, Identity, Inequality, Rate, statement
from driftrates.power_laws import replicate_exponent

_CHAPTER = "laplace_residual"
_STAYS = 0.5**0.5
"""Ratio of two octaves above which a term stays: the geometric middle of 1 and 1/2, the ratio of a term that falls like 1/T."""
_FAR = 10.0
"""One decade."""
_SMALLEST = 3
"""Mismatches, from the smallest on, that serve the power at mismatch 0."""
_LATE = 5
"""Output times of the last two octaves."""


def _octaves(values: xr.DataArray) -> xr.DataArray:
    """Median over replicates of the mean over the last octave relative to the one before, geometric means."""
    log = np.log(values)
    return np.exp((log.isel(time=slice(-2, None)).mean("time") - log.isel(time=slice(-4, -2)).mean("time")).median("replicate"))


def _power(mismatch: xr.DataArray, values: xr.DataArray) -> tuple[float, tuple[float, float]]:
    """Exponent of values (level, replicate) in the mismatch, with Student's 95 % interval over the replicates' own exponents."""
    return replicate_exponent(mismatch.values, values.transpose("level", "replicate").values)


@statement(
    _CHAPTER,
    "R6.10",
    "r = h (rho_p - rho_mu) s#_p; the delta term does not vanish as T -> infinity; it vanishes when the local radii align",
    "Remark 6.10",
)
def residual_term(data: Data) -> Iterator[Evidence]:
    m = data["mismatch"]
    for d in m["dimension"].values:
        at = m.sel(dimension=d)
        yield Identity(
            case=f"formula, d={d}",
            quantity="|r - h (rho_p - rho_mu) s#_p| over the largest |r|, rho by its definition; control: s#_mu in the place of s#_p",
            residual=at["identity_defect"].values,
            control=at["identity_control"].values,
            tolerance=1e-9,
        )
        smallest, following = (at["frozen_residual"].isel(level=level) for level in (1, 2))
        yield Identity(
            case=f"aligned, d={d}",
            quantity="delta of the cloud that is the data, over that at the smallest mismatch; control: that over the next",
            residual=(at["frozen_residual"].isel(level=0) / smallest).values,
            control=(smallest / following).values,
            tolerance=1e-12,
        )
        for kind in m["deformation"].values:
            used = at.sel(deformation=kind).isel(level=slice(1, 1 + _SMALLEST))
            slope, interval = _power(used["mismatch"], used["frozen_residual"])
            yield Rate(
                case=f"{kind}, d={d}",
                quantity="power of the mismatch with which delta vanishes, granted 0.1; control: the power of |rho_p - rho_mu|",
                slope=slope,
                interval=interval,
                predicted=2.0,
                control=_power(used["mismatch"], used["frozen_radius_gap"])[1],
                cases=_SMALLEST,
                upper_bound=False,
                tolerance=0.1,
            )
        moving = at.sel(case=at["field"] == "leave_one_out")
        yield Construction(
            case=f"long times, d={d}",
            quantity="delta of the last octave over the one before, every start, N, h; control: delta / T",
            effect=_octaves(moving["residual"]).values,
            control=_octaves(moving["residual"] / moving["time"]).values,
            threshold=_STAYS,
        )


@statement(_CHAPTER, "X12", "D_lap can fall far below delta, which is of floor type for E# and S# but not for D_lap", "own statement X12")
def no_floor(data: Data) -> Iterator[Evidence]:
    m = data["mismatch"]
    for d in m["dimension"].values:
        flows = m.sel(dimension=d, case=m["field"] == "leave_one_out")
        late = flows.isel(time=slice(-_LATE, None))
        yield Construction(
            case=f"D_lap, d={d}",
            quantity="delta over D_lap, median of the last two octaves, every start, N, h; control: delta over E#, its largest",
            effect=(late["residual"] / late["speed"]).median(("replicate", "time")).values,
            control=(late["residual"] / late["energy"]).max(("replicate", "time")).values,
            threshold=_FAR,
        )
        for name, other, text in (("energy", "residual", "E# / delta"), ("stein", "weighted_residual", "S# / int q# |r|^2 / alpha_mu")):
            yield Construction(
                case=f"{text.split(maxsplit=1)[0]}, d={d}",
                quantity=f"{text}, least of the last two octaves, every start, N, h, replicate; control: D_lap / delta",
                effect=(late[name] / late[other]).min(("replicate", "time")).values,
                control=(late["speed"] / late["residual"]).min(("replicate", "time")).values,
                threshold=1 / _FAR,
            )


@statement(
    _CHAPTER,
    "X11",
    "under a leave-one-out field a particle outside the hull can drift outward at constant speed; fields with the self term do not eject",
    "own statement X11",
)
def ejections(data: Data) -> Iterator[Evidence]:
    e = data["ejections"]
    for kernel in e["kernel"].values:
        counts = e["ejections"].sel(kernel=kernel)
        yield Construction(
            case=f"ejections, {kernel}",
            quantity="replicates with an ejection under the leave-one-out field, each dimension; control: self term kept, same starts",
            effect=counts.sel(mask="leave_one_out").values,
            control=counts.sel(mask="full").values,
            threshold=0.5,
        )
        radial = abs(e["radial_velocity"].sel(kernel=kernel)).isel(radius=slice(-5, None))
        expected = -2.0 if kernel == "sharp" else 0.0
        slopes = {
            mask: np.polyfit(np.log(e["radius"].values[-5:]), np.log(radial.sel(mask=mask).values.reshape(-1, 5).T), 1)[0]
            for mask in e["mask"].values
        }
        text = "R^-2, so not constant" if kernel == "sharp" else "constant"
        yield Rate(
            case=f"speed, {kernel}",
            quantity=f"power of R in the radial speed of a lone particle at distance R ({text}), granted 0.02; control: self term kept",
            slope=float(np.median(slopes["leave_one_out"])),
            interval=(slopes["leave_one_out"].min(), slopes["leave_one_out"].max()),
            predicted=expected,
            control=(slopes["full"].min(), slopes["full"].max()),
            cases=slopes["leave_one_out"].size,
            upper_bound=False,
            tolerance=0.02,
        )
    for kernel in e["displacement"].values:
        at = e.sel(displacement=kernel)
        yield Inequality(
            case=f"velocity, {kernel}",
            quantity="distance of a lone particle's velocity from its limit, against the bound; control: the limit of the other kernel",
            lhs=at["deviation"].values,
            rhs=at["deviation_bound"].values,
            control_lhs=at["deviation_control"].values,
            control_rhs=at["deviation_bound"].values,
        )
        final, predicted, bound = (at[name].values.ravel() for name in ("final_velocity", "predicted_velocity", "predicted_bound"))
        # A group that leaves together moves by other laws; 1e-9 is for the rounding of two mean shifts as large as the distance.
        known = bound < np.abs(predicted)
        if known.any():
            yield Inequality(
                case=f"velocity in the flow, {kernel}",
                quantity="ejected particles with a bound below the limit: |radial velocity - limit| against the bound; control: no drift",
                lhs=np.abs(final - predicted)[known],
                rhs=bound[known],
                uncertainty=1e-9,
                control_lhs=np.abs(final)[known],
                control_rhs=bound[known],
            )
