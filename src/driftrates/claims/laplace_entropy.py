"""The joint entropy along the leave-one-out displacement flow: T6.3, X5."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import xarray as xr

from driftrates.claims.conservative import select
from driftrates.claims.entropy_budget import initial, path_tolerance
from driftrates.claims.ledger import Data, Evidence, Identity, statement

_CHAPTER = "laplace_entropy"
_LATE = 0.75
"""Share of the simulated time after which it counts as late."""
_OCTAVE = 1.0
"""Close means: within a factor of two."""


@statement(_CHAPTER, "T6.3", "(1/N) dH#_N/dt = -E S_loo, without a self-interaction term", "Theorem 6.3, (56)")
def entropy_identity(data: Data) -> Iterator[Evidence]:
    for name, budget in select(data, "entropy"):
        yield Identity(
            case=name,
            quantity="div_{x_i} v_i(x_i; X) by complex steps, relative error of div v_i; control: the full field's self-interaction added",
            residual=budget["divergence_residual"].values,
            control=budget["divergence_residual_with_self"].values,
            tolerance=1e-11,
        )
        yield Identity(
            case=f"full field, {name}",
            quantity="the same, full field: div v less its self-interaction; control: without it",
            residual=budget["divergence_residual_full"].values,
            control=budget["divergence_residual_full_field"].values,
            tolerance=1e-11,
        )
        yield Identity(
            case=f"path, {name}",
            quantity="entropy change along each trajectory against the integral of S_loo, per particle; control: the full field's "
            "self-interaction added, or the full field's S_N, whichever closes better",
            residual=budget["path_residual"].values,
            control=np.minimum(budget["path_residual_with_self"], budget["path_residual_full_field"]).values,
            tolerance=path_tolerance(budget),
        )
        yield _difference(name, budget)
        yield initial(
            f"initial, {name}",
            "|H#_N(0)/N - KL(rho_0 || pi#)| in standard errors, threshold at 0.1 % for all cases together; control: H#_N(0) = KL, not N KL",
            budget,
        )


def _difference(name: str, budget: xr.Dataset) -> Evidence:
    """H#_N(T) - H#_N(0) from the recorded rates alone; the trapezoid rule at twice the step tells its error."""
    change = budget["entropy"].isel(time=-1) - budget["entropy"].isel(time=0)

    def integral(variable: str, step: int) -> xr.DataArray:
        coarse = budget[variable].isel(time=slice(None, None, step))
        return coarse.integrate("time") if (budget.sizes["time"] - 1) % step == 0 else integral(variable, 1)

    fine, own = integral("stein_drift", 1), integral("full_self_interaction", 1)
    error = abs(fine - integral("stein_drift", 2)) + path_tolerance(budget)
    return Identity(
        case=f"difference, {name}",
        quantity="H#_N(T)/N - H#_N(0)/N against -int E S_loo dt by the trapezoid rule, in units of its change from twice the step; "
        "control: the full field's self-interaction added",
        residual=((change + fine) / error).values,
        control=((change + fine - own) / error).values,
        tolerance=1.0,
    )


@statement(
    _CHAPTER,
    "X5",
    "Leaving out hides the self-interaction: late -S_loo is close to d c_d R_N / (N h^d), which dominates eps_S",
    "own statement X5",
)
def hidden_self_interaction(data: Data) -> Iterator[Evidence]:
    for name, budget in select(data, "entropy"):
        for h in budget["bandwidth"].values:
            at = budget.sel(bandwidth=h)
            late = at.sel(time=slice(_LATE * float(at["time"][-1]), None)).mean("time")
            for label, suffix in (("mean", ""), ("median", "_median")):
                yield Identity(
                    case=f"{label}, {name}, h = {h:g}",
                    quantity=f"log2 of -S_loo over the term, {label} over replicates, last quarter of the times, every N; "
                    "control: the first time",
                    residual=_octaves(-late[f"stein_drift{suffix}"], late[f"hidden_term{suffix}"]),
                    control=_octaves(-at[f"stein_drift{suffix}"].isel(time=0), at[f"hidden_term{suffix}"].isel(time=0)),
                    tolerance=_OCTAVE,
                )
            last = at.isel(snapshot=-1, time=-1)
            yield Identity(
                case=f"particle, {name}, h = {h:g}",
                quantity="the same for the median over particles and replicates at the last time; control: at the first",
                residual=_octaves(-last["particle_stein_median"], last["particle_hidden_median"]),
                control=_octaves(-at["particle_stein_median"].isel(snapshot=0), at["particle_hidden_median"].isel(snapshot=0)),
                tolerance=_OCTAVE,
            )
            yield Identity(
                case=f"eps_S, {name}, h = {h:g}",
                quantity="log2 of E |S_loo - S#| over the term at the last time, every N; control: S# alone",
                residual=_octaves(last["stein_gap"], last["hidden_term"]),
                control=_octaves(last["sharp_stein"], last["hidden_term"]),
                tolerance=_OCTAVE,
            )


def _octaves(value: xr.DataArray, term: xr.DataArray) -> np.ndarray:
    """|log2 (value / term)|; infinite where the value is not positive."""
    ratio = (value / term).values
    return np.where(ratio > 0, np.abs(np.log2(np.where(ratio > 0, ratio, 1.0))), np.where(np.isnan(ratio), np.nan, np.inf))
