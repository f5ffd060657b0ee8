"""The variational reading of drifting: B5 (drift against the W2 flow of the smoothed KL) and B6 (frozen field, full gradient)."""

from __future__ import annotations

import json
from collections.abc import Iterator

import numpy as np
import xarray as xr

from driftrates import kernels
from driftrates.claims.ledger import Construction, Data, Evidence, Identity, Inequality, Rate, statement
from driftrates.power_laws import replicate_exponent
from driftrates.variational.full_gradient import DriftLoss
from driftrates.variational.smoothed_kl import SMALL_STEP

_CHAPTER = "variational"
_PREDICTED = {"drift": -0.5, "w2_flow": -1.0}
_WORDS = {"drift": "the drift", "w2_flow": "the W2 flow"}
_LINEAR = 1e-3
"""Granted to decay exponents: modes of relative amplitude 1e-4 change each other's rates by about that over a decade."""
_INTEGRATED = 1e-5
"""Error of KL minus its integrated rate, over KL: integrator (1e-8) and lattice, whose rounding grows over some hundred steps."""
_FIRST_ORDER = 0.02
"""Granted to orders in eta: the next power of eta at eta <= 1e-2 h^2, where the field turns on the scale h^2."""
_STEP = 1e-30
_FALL = 10.0
"""D_N is called small where it fell by more than this."""
_SAMPLED = 0.02
"""Error of KL(q_h || p_h) by 1024 Sobol samples; others are granted the law of independent ones."""


@statement(
    _CHAPTER,
    "B5",
    "the drift V = grad log(p_h/q_h) (rate k^2 exp(-h^2 k^2/2)) is not the W2 gradient flow of KL(q_h || p_h), which moves along K_h * V"
    " (rate k^2 exp(-h^2 k^2)) and alone dissipates it for sure",
    "abstract of arXiv:2603.09936; exact form derived here",
)
def two_flows(data: Data) -> Iterator[Evidence]:
    g = data["gradient_flows"]
    for flow, other in (("drift", "w2_flow"), ("w2_flow", "drift")):
        for solver in g["solver"].values:
            fit, broken = g.sel(flow=flow, solver=solver), g.sel(flow=other, solver=solver)
            yield Rate(
                case=f"exponent, {flow}, {solver}",
                quantity=f"slope of log(rate / k^2) against h^2 k^2 for {_WORDS[flow]} near the uniform law; control: {_WORDS[other]}",
                slope=float(fit["exponent"]),
                interval=fit["exponent_interval"].values,
                predicted=_PREDICTED[flow],
                control=broken["exponent_interval"].values,
                cases=int(np.isfinite(fit["rate"]).sum()),
                upper_bound=False,
                tolerance=_LINEAR,
            )
        change, rate = ((g[name] - g[name].isel(output=0)) / g["kl"].isel(output=0) for name in ("kl", "kl_integral"))
        yield Identity(
            case=f"dissipation, {flow}",
            quantity=f"KL minus the integral of -(1/N) sum u . (K_h * V), over KL, {_WORDS[flow]}; control: the rate of {_WORDS[other]}",
            residual=(change - rate).sel(flow=flow).values,
            control=(change.sel(flow=flow) - rate.sel(flow=other)).values,
            tolerance=_INTEGRATED,
        )
    change = (g["kl"] - g["kl"].isel(output=0)) / g["kl"].isel(output=0)
    rise = change.max("output").sel(case="satellite")
    yield Construction(
        case="KL rises along the drift",
        quantity="rise of KL(q_h || p_h) over its start from a cloud at a light component; control: the W2 flow from the same cloud",
        effect=[rise.sel(flow="drift")],
        control=[rise.sel(flow="w2_flow")],
        threshold=10 * _INTEGRATED,
    )
    steps = g["kl"].diff("output")
    yield Inequality(
        case="dissipation of the W2 flow has a sign",
        quantity="change of KL(q_h || p_h) between outputs along the W2 flow against 0, every case; control: the drift",
        lhs=steps.sel(flow="w2_flow").values,
        rhs=0.0,
        control_lhs=steps.sel(flow="drift").values,
        control_rhs=0.0,
        uncertainty=_INTEGRATED * g["kl"].sel(flow="w2_flow").isel(output=[0]).values,
    )
    share, draws = g["rising_share"].sel(n_particles=2), int(g.attrs["draws"])
    yield Construction(
        case="the drift raises KL of two particles",
        quantity="share of random clouds with u . grad KL > 0, N = 2, u the drift, above half a cloud; control: u = K_h * V",
        effect=[share.sel(flow="drift")],
        control=[share.sel(flow="w2_flow")],
        threshold=0.5 / draws,
    )
    yield Construction(
        case="no functional",
        quantity="asymmetry of the drift's response to moved mass off the uniform law: no W2 gradient flow has any; control: the W2 flow",
        effect=[g["asymmetry"].sel(flow="drift", state="not_uniform")],
        control=[g["asymmetry"].sel(flow="w2_flow", state="not_uniform")],
        threshold=1e-6,
    )


@statement(
    _CHAPTER,
    "B6",
    "x + eta V is the proximal step of the frozen potential log(q_h/p_h), not the JKO step of KL(q_h || p_h), whose limit is K_h * V;"
    " descent through V as well stalls where V is small and p differs from q",
    "abstract of arXiv:2603.09936; exact form derived here",
)
def stop_gradient(data: Data) -> Iterator[Evidence]:
    yield from _proximal_steps(data["gradient_flows"])
    yield from _full_gradient(data["stop_gradient"])


def _proximal_steps(g: xr.Dataset) -> Iterator[Evidence]:
    small = g.sel(step=g["step"][g["step"] <= SMALL_STEP])
    for functional, flow, other in (("smoothed_kl", "w2_flow", "drift"), ("frozen_potential", "drift", "w2_flow")):
        for d in g["dimension"].values:
            found = small.sel(functional=functional, dimension=d)
            slope, interval = _order(found.sel(flow=flow))
            yield Rate(
                case=f"order, {functional}, d={d}",
                quantity=f"order in eta of the proximal step of {functional} minus the explicit step of {_WORDS[flow]};"
                f" control: minus that of {_WORDS[other]}",
                slope=slope,
                interval=interval,
                predicted=2.0,
                control=_order(found.sel(flow=other))[1],
                cases=found.sizes["step"] * found.sizes["step_replicate"],
                upper_bound=False,
                tolerance=_FIRST_ORDER,
            )
        least = small.sel(functional=functional).isel(step=0)
        error = least["step_distance"] / (float(least["step"]) * g.attrs["bandwidth"] ** 2 * least["speed"])
        yield Identity(
            case=f"limit, {functional}",
            quantity=f"|(x' - x)/eta - u| / |u| at the least eta, u of {_WORDS[flow]}; control: {_WORDS[other]}",
            residual=error.sel(flow=flow).values,
            control=error.sel(flow=other).values,
            tolerance=SMALL_STEP,
        )
    yield Identity(
        case="coupling",
        quantity="share of particles that an exact assignment sends elsewhere; control: the same cloud in reverse order",
        residual=g["reassigned"].values,
        control=g["reordered"].values,
        tolerance=1e-9,
    )


def _order(found: xr.Dataset) -> tuple[float, tuple[float, float]]:
    """Slope of log distance against log eta over the replicates, with its 95 % Student interval."""
    return replicate_exponent(found["step"].values, found["step_distance"].transpose("step", "step_replicate").values)


def _full_gradient(s: xr.Dataset) -> Iterator[Evidence]:
    distance, sampled = float(s.attrs["distance"]), _SAMPLED * np.sqrt(1024 / int(s.attrs["points"]))
    start, end = s.isel(time=0), s.isel(time=-1)
    excess = end["w2"] / (distance / 4)
    stalled = excess.where(start["squared_speed"] > _FALL * end["squared_speed"], 0.0)
    full, stopped = ({"descent": name} for name in ("full_gradient", "stop_gradient"))
    for spec in json.loads(s.attrs["kernels"]):
        residual, control = _derivative(s, spec)
        here = {"kernel": spec["name"]}
        yield Identity(
            case=f"derivative, {spec['name']}",
            quantity="N grad L minus complex steps of L, relative; control: -V / h^2 in the place of the gradient",
            residual=residual,
            control=control,
            tolerance=1e-10,
        )
        yield Construction(
            case=f"full gradient stalls between the modes, {spec['name']}",
            quantity="W2 to the data over a quarter of the modes' distance where D_N fell tenfold, else 0; control: start near the data",
            effect=stalled.sel(start="between", **full, **here).values,
            control=stalled.sel(start="near", **full, **here).values,
            threshold=1.0,
        )
        yield Construction(
            case=f"stop-gradient stalls too from one mode, {spec['name']}",
            quantity="the same for the stop-gradient drift, all of the cloud at one of two modes; control: start near the data",
            effect=stalled.sel(start="one_mode", **stopped, **here).values,
            control=stalled.sel(start="near", **stopped, **here).values,
            threshold=1.0,
        )
        for name in ("wide", "between"):
            final = end["kl"].sel(start=name, **here)
            yield Inequality(
                case=f"KL, {name}, {spec['name']}",
                quantity="KL(q_h || p_h) at the end: stop-gradient against full gradient from the same cloud; control: exchanged",
                lhs=final.sel(**stopped).values,
                rhs=final.sel(**full).values,
                uncertainty=sampled,
                control_lhs=final.sel(**full).values,
                control_rhs=final.sel(**stopped).values,
            )
        kl = s["kl"].sel(**here).transpose("descent", "replicate", "start", "time")
        rise = (kl - np.minimum.accumulate(kl.values, axis=-1)).max(("time", "start"))
        yield Construction(
            case=f"full gradient raises KL, {spec['name']}",
            quantity="rise of KL(q_h || p_h) over its least value before, from the worst start; control: the stop-gradient drift",
            effect=rise.sel(**full).values,
            control=rise.sel(**stopped).values,
            threshold=2 * sampled,
        )


def _derivative(s: xr.Dataset, spec: dict) -> tuple[np.ndarray, np.ndarray]:
    """Relative error of the gradient of L on part of a stored start, and what -V / h^2 in its place would give."""
    h, kernel = float(s.attrs["bandwidth"]), kernels.make(**spec)
    x, y = (s[name].isel(replicate=0).values for name in ("initial_cloud", "data"))
    x = x[s["start"].values.tolist().index("wide")][None, :8]
    loss, found = DriftLoss(y[None], kernel, h), np.empty(x.shape[1:])
    for i, k in np.ndindex(found.shape):
        moved = x.astype(complex)
        moved[0, i, k] += 1j * _STEP
        found[i, k] = x.shape[1] * loss.value(moved)[0].imag / _STEP
    size = np.abs(found).max()
    return (loss.gradient(x)[0] - found) / size, (-loss.velocity(x)[0] / h**2 - found) / size
