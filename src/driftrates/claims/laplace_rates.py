"""Bandwidth, step and residual of the Laplace displacement flow (section 6.6), its kinks (A6.2), the methods side by side (section 6.7)."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import xarray as xr

from driftrates.claims.ledger import Assumption, Construction, Data, Evidence, Identity, Inequality, Rate, statement
from driftrates.laplace.rates import LAPLACE, METHODS, STEP_TOLERANCE, case_label, with_interval

_CHAPTER = "laplace_rates"
_TWOFOLD = math.log10(2.0)
_SCALING = {"root_residual": "root residual velocity sqrt(delta)", "root_energy": "sqrt(E#)", "radius_gap": "e_rho, its q#-mean,"}
_DISPLACEMENTS = tuple(name for name, (field, *_) in METHODS.items() if field == "displacement")


@statement(
    _CHAPTER,
    "s6.6",
    "at h = C (log N / N)^(1/d) the root residual velocity scales like h where e_rho ~ h; a step of constant order is stable",
    "Section 6.6, (70)(71)",
)
def bandwidth_and_step(data: Data) -> Iterator[Evidence]:
    rates = data["laplace_rates"]
    for c in range(rates.sizes["case"]):
        yield from _scaling(rates.isel(case=c))
    for i in range(rates.sizes["step_dimension"]):
        yield from _steps(rates.isel(step_dimension=i))


def _scaling(case: xr.Dataset) -> Iterator[Evidence]:
    label, along = case_label(case), case["exponent"].sel(against="1/h")
    for carrier, text in _SCALING.items():
        value, *interval = with_interval(along.sel(rule="occupancy", carrier=carrier))
        yield Rate(
            case=f"{carrier}, {label}",
            quantity=f"exponent in 1/h of {text} median over replicates; control: the same N at fixed h",
            slope=value,
            interval=interval,
            predicted=-1.0,
            control=with_interval(along.sel(rule="fixed", carrier=carrier))[1:],
            cases=case.sizes["n_particles"],
        )
    path = case.sel(rule="occupancy")
    h = path["bandwidth"] / path["bandwidth"].isel(n_particles=0)
    gap = path["largest_radius_gap"].median("replicate")
    yield Assumption(
        case=f"largest_radius_gap, {label}",
        quantity="decades by which e_rho, largest over points of q#, exceeds C h with the C of the least N, granted a factor 2; "
        "control: a gap that does not depend on h",
        defects=np.log10((gap / gap.isel(n_particles=0) / h).values),
        control=-np.log10(h.values),
        tolerance=_TWOFOLD,
    )


def _steps(steps: xr.Dataset) -> Iterator[Evidence]:
    d = int(steps["step_dimension"])
    for quantity, text, sign in (
        ("stable_step", "exponent in h of the largest stable step", 1),
        ("lipschitz", "exponent in 1/h of Lip", -1),
    ):
        found = {m: _sorted_interval(steps["step_exponent"].sel(drift=m, quantity=quantity), sign) for m in METHODS}
        for method, (value, *interval) in found.items():
            displaced = method in _DISPLACEMENTS
            other = "conservative" if displaced else "displacement, Laplace"
            yield Rate(
                case=f"{quantity}, {method}, d={d}",
                quantity=f"{text}, N = {int(steps['step_particles'])}, granted {STEP_TOLERANCE}; control: {other}",
                slope=value,
                interval=interval,
                predicted=0.0 if displaced else 2.0,
                control=found[other][1:],
                cases=steps.sizes["step_bandwidth"],
                upper_bound=False,
                tolerance=STEP_TOLERANCE,
            )
    bound = steps["lipschitz_bound"].sel(drift=list(LAPLACE))
    score = steps["lipschitz"].sel(drift="conservative")
    yield Inequality(
        case=f"Lip by radii, d={d}",
        quantity="operator norm of the Jacobian against 2 (rho_p + rho_mu) / h, every h and replicate; control: the Gaussian score field",
        lhs=steps["lipschitz"].sel(drift=list(LAPLACE)).values,
        rhs=bound.values,
        control_lhs=score.values,
        control_rhs=bound.isel(drift=0).values,
    )


def _sorted_interval(exponent: xr.DataArray, sign: int) -> tuple[float, float, float]:
    """`with_interval` of sign * exponent."""
    value, low, high = with_interval(exponent)
    return (value, low, high) if sign > 0 else (-value, -high, -low)


@statement(
    _CHAPTER,
    "A6.2",
    "no collisions and no visits to data atoms, where the field is not differentiable",
    "Assumption 6.2",
)
def meetings(data: Data) -> Iterator[Evidence]:
    events = data["laplace_rates"]
    for k in range(events.sizes["flight"]):
        flight = events.isel(flight=k)
        field, d = str(flight["flight_field"].item()), int(flight["flight_dimension"])
        if "Gaussian" in field:
            continue
        label = f"{field}, d={d}, N={int(flight['flight_particles'])}, M={int(flight['flight_points'])}"
        kinds = {"collisions": "pairs of particles nearer than 1e-3 h", "visits": "particles nearer than 1e-3 h to a data atom"}
        if d == 1:
            kinds = {"order_changes": "pairs of particles that change their order", **kinds, "crossings": "passages through data atoms"}
        for kind, text in kinds.items():
            yield Assumption(
                case=f"{kind.replace('_', ' ')}, {label}",
                quantity=f"{text}, most of any flow; control: straight flights through data atoms",
                defects=flight[kind].values,
                control=flight[f"control_{kind}"].values,
                tolerance=0.5,
            )
        if d == 1 and float(flight["trials"].sel(place="elsewhere")) >= float(flight["trials"].sel(place="at_atom")):
            yield Construction(
                case=f"integrator, {label}",
                quantity="share of rejected steps at data atoms over the share elsewhere, near ends of 95 % intervals; control: Gaussian",
                effect=[rejection_ratio(flight)],
                control=[rejection_ratio(_smooth_twin(events, flight))],
                threshold=1.0,
            )


def rejection_ratio(flight: xr.Dataset) -> float:
    """Lower end of the share of rejected steps at data atoms over the upper end elsewhere; NaN where there were no such steps."""
    share = flight["rejected_share"]
    return float(share.sel(place="at_atom", end="low") / share.sel(place="elsewhere", end="high"))


def _smooth_twin(events: xr.Dataset, flight: xr.Dataset) -> xr.Dataset:
    """The flight under the Gaussian kernel with the same d, N and M."""
    same = events["flight_field"] == "full, Gaussian"
    for name in ("flight_dimension", "flight_particles", "flight_points"):
        same = same & (events[name] == flight[name].item())
    return events.isel(flight=int(np.flatnonzero(same.values)[0]))


@statement(
    _CHAPTER,
    "s6.7",
    "side by side: target pi or pi#, self-interaction, residual; displacements are compared after division by alpha^2",
    "Section 6.7",
)
def side_by_side(data: Data) -> Iterator[Evidence]:
    table = data["method_comparison"]
    gap = table["target_gap"]
    laplace = [m for m, (field, kernel, _) in METHODS.items() if kernel == "laplace"]
    gaussian = [m for m in METHODS if m not in laplace]
    for case, methods, law in (("pi", gaussian, "pi"), ("pi#", laplace, "pi#")):
        yield Identity(
            case=f"target {case}",
            quantity=f"h times the target's part of the field less alpha times the score of {case}, {', '.join(methods)}; control: Laplace "
            "fields against pi",
            residual=gap.sel(drift=methods, law=law).values,
            control=gap.sel(drift=laplace, law="pi").values,
            tolerance=1e-10,
        )
    full = [m for m, (*_, left_out) in METHODS.items() if not left_out]
    yield Identity(
        case="self-interaction",
        quantity="own part of the divergence of the leave-one-out field; control: the fields that leave nothing out",
        residual=table["self_interaction"].sel(drift="leave-one-out, Laplace").values,
        control=table["self_interaction"].sel(drift=full).values,
        tolerance=1e-12,
    )
    yield Identity(
        case="residual",
        quantity="delta / E# of all but the Laplace displacement; control: the Laplace displacement",
        residual=table["residual_share"].sel(drift=[m for m in METHODS if m not in LAPLACE]).values,
        control=table["residual_share"].sel(drift=list(LAPLACE)).values,
        tolerance=1e-12,
    )
    yield Identity(
        case="alpha^2",
        quantity="D of the Gaussian displacement field over h^4 D_N, less 1; control: not divided by h^4",
        residual=table["scaled_ratio"].values,
        control=table["unscaled_ratio"].values,
        tolerance=1e-12,
    )
    yield Identity(
        case="paths",
        quantity="Gaussian displacement at steps eta against the conservative field at h^2 eta, distance over h; control: Laplace kernel",
        residual=table["path_gap"].values,
        control=table["path_gap_laplace"].values,
        tolerance=1e-9,
    )
