"""The joint entropy along the conservative flow: T3.1, R3.2, R4.8."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator

import numpy as np
import xarray as xr
from scipy import special

from driftrates.claims.conservative import select
from driftrates.claims.ledger import Data, Evidence, Identity, statement

_CHAPTER = "entropy_budget"


def path_tolerance(budget: xr.Dataset) -> float:
    """What the integration leaves of an entropy balance per particle: 100 times its relative tolerance, times the entropy if above 1."""
    rtol = json.loads(budget.attrs["experiment"])["integrator"]["rtol"]
    return 100 * rtol * max(1.0, float(abs(budget["entropy"]).max()))


def initial(case: str, quantity: str, budget: xr.Dataset) -> Evidence:
    """H_N(0)/N against KL(rho_0 || pi) in standard errors; control: N times less."""
    first = budget.isel(time=0)
    deviation = np.hypot(first["entropy_error"], budget["initial_kl_error"])
    return Identity(
        case=case,
        quantity=quantity,
        residual=((first["entropy"] - budget["initial_kl"]) / deviation).values,
        control=((first["entropy"] - budget["initial_kl"] / budget["n_particles"]) / deviation).values,
        tolerance=float(special.stdtrit(int(budget.attrs["replicates"]) - 1, 1 - 0.001 / (2 * deviation.size))),
    )


@statement(_CHAPTER, "T3.1", "(1/N) dH_N/dt = -E S_N - Laplacian K(0) / (N h^(d+2)) E R_N", "Theorem 3.1, (11)(12)")
def entropy_identity(data: Data) -> Iterator[Evidence]:
    for name, budget in select(data, "entropy"):
        yield Identity(
            case=name,
            quantity="div_{x_i} b(x_i; X) by complex steps, relative error; control: no self-interaction term",
            residual=budget["divergence_residual"].values,
            control=budget["divergence_residual_without_self"].values,
            tolerance=1e-11,
        )
        yield Identity(
            case=f"path, {name}",
            quantity="entropy change along each trajectory against the integrated budget, per particle; control: no self-interaction term",
            residual=budget["path_residual"].values,
            control=budget["path_residual_without_self"].values,
            tolerance=path_tolerance(budget),
        )


@statement(_CHAPTER, "R3.2", "Gaussian kernel: the self-interaction term is d (2 pi)^(-d/2) E R_N / (N h^(d+2)) >= 0", "Remark 3.2")
def gaussian_correction(data: Data) -> Iterator[Evidence]:
    for name, budget in select(data, "entropy"):
        if json.loads(budget.attrs["experiment"])["kernel"]["name"] != "gaussian":
            continue
        d = int(budget.attrs["dimension"])
        scale = budget["n_particles"] * budget["bandwidth"] ** (d + 2)
        predicted = d * (2 * math.pi) ** (-d / 2) * budget["reciprocal_kde"] / scale
        size = abs(budget["self_interaction"]).max()
        yield Identity(
            case=name,
            quantity="relative error of the closed form; control: the opposite sign",
            residual=((budget["self_interaction"] - predicted) / size).values,
            control=((budget["self_interaction"] + predicted) / size).values,
            tolerance=1e-12,
        )


@statement(_CHAPTER, "R4.8", "i.i.d. start from rho_0: H_N(0) = N KL(rho_0 || pi)", "Remark 4.8")
def initial_entropy(data: Data) -> Iterator[Evidence]:
    for name, budget in select(data, "entropy"):
        if np.isnan(budget["initial_kl"]).any():
            continue
        text = "|H_N(0)/N - KL| in standard errors, threshold at 0.1 % for all cases together; control: H_N(0) = KL, not N KL"
        yield initial(name, text, budget)
