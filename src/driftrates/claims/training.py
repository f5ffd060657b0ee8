"""Stop-gradient training (Appendix A): the gradient (72), exact and inexact regression (73), Euler's error, one-step generators."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from driftrates.claims.ledger import Construction, Data, Evidence, Identity, Inequality, Rate, statement
from driftrates.power_laws import student_interval

_CHAPTER = "training"
_GRANTED = 0.1
"""Granted to exponents fitted over less than a decade of h, as elsewhere in the ledger."""


@statement(_CHAPTER, "eq72", "the gradient of the loss with frozen target is -(2 eta / B) sum J^T V, without a derivative of V", "(72)")
def frozen_gradient(data: Data) -> Iterator[Evidence]:
    found = data["regression"]
    # Fourth-order differences with step 1e-3 err by 1e-12 / 1e-3 of the loss; the library's step is exact to rounding.
    for name, tolerance in (("frozen", 1e-8), ("library", 1e-11)):
        source = "differences of the frozen loss" if name == "frozen" else "one step of scikit-learn's network"
        for field in found["field"].values.tolist():
            case = found.sel(field=field)
            yield Identity(
                case=f"{name}, {field}",
                quantity=f"relative difference of the gradient by {source} and the formula; control: V differentiated as well",
                residual=case[f"{name}_departure"].values,
                control=case["through_departure"].values,
                tolerance=tolerance,
            )


@statement(_CHAPTER, "eq73", "exact regression moves x_i to x_i + eta V(x_i; X); with regression error e_i, to x_i + eta V + e_i", "(73)")
def regression_step(data: Data) -> Iterator[Evidence]:
    found = data["regression"]
    broken = {"exact": "V of the first cloud in every step", "inexact": "e left out"}
    for regressor, words in broken.items():
        case = found.sel(regressor=regressor)
        yield Identity(
            case=regressor,
            quantity=f"departure from (73) relative to the step, every field, draw and step; control: {words}",
            residual=case["step_departure"].values,
            control=case["broken_departure"].values,
            tolerance=1e-9,
        )


@statement(
    _CHAPTER,
    "A-Euler",
    "max_k |X_k - X(t_k)| <= C eta e^(LT) on fixed [0, T], of order 1 in eta; L ~ h^-2, so that eta / h^2 must be small for stability",
    "Appendix A",
)
def euler(data: Data) -> Iterator[Evidence]:
    found = data["training_errors"]
    for h in found["bandwidth"].values.tolist():
        case = found.sel(bandwidth=h)
        yield Rate(
            case=f"order, h={h:g}",
            quantity="order in eta of Euler's largest error, granted 0.05; control: Heun's scheme",
            slope=float(case["order"]),
            interval=case["order_interval"].values,
            predicted=1.0,
            control=case["heun_interval"].values,
            cases=case.sizes["count"] * case.sizes["replicate"],
            upper_bound=False,
            tolerance=0.05,
        )
    for h in found["bandwidth"].values.tolist():
        at = found.sel(bandwidth=h)
        yield Inequality(
            case=f"bound, L sup along the solution, h={h:g}",
            quantity="Euler's largest error against max local error (e^(LT) - 1) / (L eta), every eta; control: one local error",
            lhs=at["euler_error"].values,
            rhs=at["path_bound"].values * (1 + 1e-6),
            control_lhs=at["euler_error"].values,
            control_rhs=at["local_error"].values,
        )
    for case, name, other, predicted in (
        ("Lipschitz constant", "path_lipschitz", "largest_step", -2.0),
        ("stability limit", "largest_step", "displacement_step", 2.0),
    ):
        control = {"largest_step": "the stability limit", "displacement_step": "the displacement field in its own clock"}[other]
        yield Rate(
            case=case,
            quantity=f"exponent in h of the {case}, granted {_GRANTED}; control: {control}",
            slope=float(found[f"{name}_exponent"]),
            interval=found[f"{name}_interval"].values,
            predicted=predicted,
            control=found[f"{other}_interval"].values,
            cases=found[name].size,
            upper_bound=False,
            tolerance=_GRANTED,
        )
    unit = math.e * found["bandwidth"] ** 2
    yield Identity(
        case="breakdown",
        quantity="log of the largest stable step over e h^2 (uniform background), granted a factor 2; control: displacement clock",
        residual=np.log(found["largest_step"] / unit).values,
        control=np.log(found["displacement_step"] / unit).values,
        tolerance=math.log(2),
    )


@statement(
    _CHAPTER,
    "A-inexact",
    "inexact regression adds an error that accumulates like (e^(LT) - 1) / (L eta) max|e|",
    "Appendix A, own worst case",
)
def inexact(data: Data) -> Iterator[Evidence]:
    found = data["training_errors"]
    lhs, size = found["accumulated_error"], found.attrs["error"]
    for kind in found["kind"].values.tolist():
        for case in ("discrete", "exponential"):
            yield Inequality(
                case=f"{kind}, {case}",
                quantity="accumulated error, max|e| times growth, L largest |Jacobian| along exact regression; control: max|e| alone",
                lhs=lhs.sel(kind=kind).values,
                rhs=found[f"{case}_bound"].values * (1 + 1e-6),
                control_lhs=lhs.sel(kind=kind).values,
                control_rhs=np.full(lhs.sel(kind=kind).shape, size),
            )
    for kind in ("adversarial", "constant"):
        fit = found.sel(kind=kind)
        yield Rate(
            case=f"rate, {kind}",
            quantity=f"exponent in eta of the accumulated error, granted {_GRANTED}; control: errors of random sign",
            slope=float(fit["accumulation_exponent"]),
            interval=fit["accumulation_interval"].values,
            predicted=-1.0,
            control=found["accumulation_interval"].sel(kind="random sign").values,
            cases=lhs.sel(kind=kind).size,
            upper_bound=False,
            tolerance=_GRANTED,
        )
    finest = found.isel(inexact_count=-1)
    typical = finest["typical_accumulated_error"].sel(kind="random sign")
    yield Construction(
        case="worst case",
        quantity="adversarial over rms random-sign error of the same size, most steps; control: worst random draw over the rms",
        effect=(finest["accumulated_error"].sel(kind="adversarial") / typical).values,
        control=(finest["accumulated_error"].sel(kind="random sign") / typical).values,
        threshold=math.sqrt(float(finest["inexact_count"])) / 2,
    )


@statement(
    _CHAPTER,
    "generator",
    "a one-step generator regressed on frozen targets comes as near to the data as particles moved by exact regression, in one evaluation",
    "Appendix A, own comparison",
)
def generators(data: Data) -> Iterator[Evidence]:
    for key in sorted(data):
        if not key.startswith("generators_"):
            continue
        found, name = data[key], data[key].attrs["data"]
        for metric in ("w2", "mmd"):
            untrained = found[f"{metric}_untrained"].values
            for field in found["field"].values.tolist():
                ours, theirs = (found[f"{metric}_{who}"].sel(field=field).values for who in ("generator", "particles"))
                yield Inequality(
                    case=f"{metric.upper()}, {field}, {name}",
                    quantity=f"{metric.upper()} to held-out data, generator <= particles, 95 % interval of paired differences over seeds; "
                    "control: untrained",
                    lhs=ours.mean(),
                    rhs=theirs.mean(),
                    control_lhs=untrained.mean(),
                    control_rhs=theirs.mean(),
                    uncertainty=_half_width(ours - theirs),
                    control_uncertainty=_half_width(untrained - theirs),
                )
        yield Identity(
            case=f"evaluations, {name}",
            quantity="network evaluations per generated sample minus one; control: steps of the particles",
            residual=found["evaluations"].values - 1,
            control=found["particle_steps"].values - 1,
            tolerance=1e-12,
        )


def _half_width(differences: np.ndarray) -> float:
    """Of Student's 95 % interval; NaN for a single seed, which decides nothing."""
    if len(differences) < 2:
        return math.nan
    mean, (_, high) = student_interval(differences)
    return high - mean
