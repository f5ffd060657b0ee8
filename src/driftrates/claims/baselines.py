"""The Sinkhorn drift (B7) and the fields that drifting is compared with: Algorithm 2 of Deng et al., SVGD, the MMD flow."""

from __future__ import annotations

import math
from collections.abc import Iterator

import xarray as xr
from scipy import special

from driftrates.baselines.comparison import at_equal_cost
from driftrates.claims.ledger import Construction, Data, Evidence, Identity, Inequality, statement

_CHAPTER = "baselines"
_CELLS = ("configuration", "bandwidth")


@statement(
    _CHAPTER,
    "B7",
    "the Sinkhorn drift is -N times the gradient of the Sinkhorn divergence; against displacement and conservative drift of h^2 = eps",
    "abstract of arXiv:2603.09936; own form B7",
)
def sinkhorn_drift(data: Data) -> Iterator[Evidence]:
    checks, runs = data["baselines"], data["field_comparison"]
    yield Identity(
        case="gradient",
        quantity="drift along random directions against central differences of S_eps, relative; control: no debiasing term in the drift",
        residual=checks["sinkhorn_gradient"].values,
        control=checks["sinkhorn_biased_gradient"].values,
        tolerance=1e-6,
    )
    yield Identity(
        case="one normalisation",
        quantity="drift normalised once against the displacement field of the Gaussian kernel, relative; control: the converged drift",
        residual=checks["sinkhorn_once"].values,
        control=checks["sinkhorn_converged"].values,
        tolerance=1e-12,
    )
    equal, start = runs.sel(checkpoint=runs.attrs["evaluations"]), runs.sel(checkpoint=0)
    cheap = at_equal_cost(runs)
    for rival in ("conservative", "displacement"):
        after = "after equally many evaluations"
        yield _no_worse(f"uncovered, {rival}", f"modes not covered {after}", _uncovered(equal), _uncovered(start), rival)
        yield _no_worse(f"W2, {rival}", f"W2 to held-out data {after}", equal["w2"], start["w2"], rival)
        yield _no_worse(f"W2 at equal cost, {rival}", "W2 to held-out data at equally many pairs", cheap["w2"], start["w2"], rival)
    gain = (_uncovered(equal).sel(field=["conservative", "displacement"]) - _uncovered(equal).sel(field="sinkhorn")).mean("replicate")
    gain = gain.sel(configuration="balanced, displaced").sortby("bandwidth")
    yield Construction(
        case="far modes",
        quantity="modes that the local fields miss and Sinkhorn covers from a displaced cloud, least h; control: largest h",
        effect=gain.isel(bandwidth=0).values,
        control=gain.isel(bandwidth=-1).values,
        threshold=1.0,
    )


def _uncovered(ds: xr.Dataset) -> xr.DataArray:
    return ds.attrs["modes"] - ds["covered"]


def _no_worse(case: str, quantity: str, values: xr.DataArray, start: xr.DataArray, rival: str) -> Inequality:
    """Sinkhorn's mean over replicates is at most the rival's, by intervals of the paired differences that hold in all cells together."""
    ours, theirs, still = (
        v.sel(field=name).transpose(*_CELLS, "replicate").values for v, name in ((values, "sinkhorn"), (values, rival), (start, "sinkhorn"))
    )
    count = ours.shape[-1]
    quantile = special.stdtrit(count - 1, 1 - 0.025 / ours[..., 0].size) / math.sqrt(count)
    return Inequality(
        case=case,
        quantity=f"{quantity}, Sinkhorn <= {rival}, every start and h, joint 95 % intervals; control: Sinkhorn's start",
        lhs=ours.mean(-1),
        rhs=theirs.mean(-1),
        control_lhs=still.mean(-1),
        control_rhs=theirs.mean(-1),
        uncertainty=quantile * (ours - theirs).std(-1, ddof=1),
        control_uncertainty=quantile * (still - theirs).std(-1, ddof=1),
    )


@statement(
    _CHAPTER,
    "Alg2",
    "Algorithm 2 as printed and with affinities floored at 1e-3 are two fields where clouds are far apart, in size and in direction",
    "Algorithm 2 of arXiv:2602.04770; own statement on the floor",
)
def affinity_floor(data: Data) -> Iterator[Evidence]:
    checks, runs = data["baselines"], data["field_comparison"]
    yield Identity(
        case="loops",
        quantity="vectorised field against one affinity at a time, both forms, relative; control: own distance not masked",
        residual=checks["loop_residual"].values,
        control=checks["loop_residual_unmasked"].values,
        tolerance=1e-12,
    )
    # Beyond this distance no affinity between the clouds, about exp(-distance / (2 T)), reaches the floor.
    far = (checks["distance"] >= -2 * checks["temperature"] * math.log(checks.attrs["floor"])).transpose("temperature", "distance").values
    near = (checks["distance"] == 0).values
    for case, name, quantity, threshold in (
        ("size", "floor_ratio", "size of the floored form over that of the paper form", 2.0),
        ("direction", "floor_angle", "angle between the two forms (degrees)", 30.0),
    ):
        values = checks[name].transpose("temperature", "distance", "sample").values
        values = 1 / values if case == "size" else values
        yield Construction(
            case=case,
            quantity=f"{quantity}, distance over 2 T log(1 / floor), every T; control: clouds on top of each other",
            effect=values[far],
            control=values[:, near],
            threshold=threshold,
        )
    covered = (
        runs["covered"].sel(checkpoint=runs.attrs["evaluations"], configuration="balanced, centre").sortby("bandwidth").mean("replicate")
    )
    gap = covered.sel(field="algorithm2") - covered.sel(field="algorithm2_floored")
    yield Construction(
        case="coverage",
        quantity="modes covered by the paper form and not by the floored one from the centre, least h; control: largest h",
        effect=[gap.isel(bandwidth=0)],
        control=[gap.isel(bandwidth=-1)],
        threshold=1.0,
    )


@statement(
    _CHAPTER,
    "SVGD",
    "dH_N/dt = -N E KSD^2 + (1/N) sum_i E[ -phi(0) Laplacian log pi(x_i) - Laplacian phi(0) ] along SVGD",
    "own baseline",
)
def stein_entropy(data: Data) -> Iterator[Evidence]:
    checks = data["baselines"]
    yield Identity(
        case="divergence",
        quantity="div_{x_i} of particle i's velocity by formula against complex steps, relative; control: own term left out",
        residual=checks["stein_divergence"].values,
        control=checks["stein_frozen"].values,
        tolerance=1e-11,
    )
    for case, control, left_out in (
        ("path", "uncorrected", "the correction"),
        ("path, score term", "without_target", "-phi(0) Laplacian log pi"),
        ("path, kernel term", "without_kernel", "-Laplacian phi(0)"),
    ):
        yield Identity(
            case=case,
            quantity=f"entropy change along each trajectory against its integrated budget, per particle; control: no {left_out}",
            residual=checks["stein_path"].values,
            control=checks[f"stein_{control}"].values,
            tolerance=100 * float(checks.attrs["stein_rtol"]),
        )


@statement(
    _CHAPTER,
    "MMD",
    "the MMD flow is -N times the gradient of MMD^2 / 2, and d/dt MMD^2 / 2 = -(1/N) sum_i |v_i|^2",
    "own baseline",
)
def discrepancy_flow(data: Data) -> Iterator[Evidence]:
    checks = data["baselines"]
    yield Identity(
        case="gradient",
        quantity="velocity against central differences of MMD^2 / 2, relative; control: self-repulsion left out",
        residual=[checks["discrepancy_gradient"]],
        control=[checks["discrepancy_attraction"]],
        tolerance=1e-7,
    )
    yield Identity(
        case="dissipation",
        quantity="fall of MMD^2 / 2 against the integrated mean squared speed, relative; control: twice the integral",
        residual=[checks["discrepancy_dissipation"]],
        control=[checks["discrepancy_doubled"]],
        tolerance=100 * float(checks.attrs["discrepancy_rtol"]),
    )
