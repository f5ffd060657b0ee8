"""Annealed bandwidths: B4."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import xarray as xr

from driftrates.claims.ledger import Construction, Data, Evidence, Identity, Inequality, Rate, statement
from driftrates.random import generator
from driftrates.spectral import schedules
from driftrates.spectral.annealing import EQUATIONS, LAWS, RATES, RTOL, annealed_time, rate_law
from driftrates.spectral.mean_field import SMALL

_NEGLIGIBLE = 10.0
"""Difference of Akaike's criterion beyond which a model has essentially no support."""


@statement(
    "annealing",
    "B4",
    "annealing sigma0 e^(-r t) damps mode k by exp{-(1/r) [e^(-sigma(T)^2 k^2/2) - e^(-sigma0^2 k^2/2)]}, at most e^(-1/r): time "
    "(1/r) log Kmax against exp(O(Kmax^2)) at fixed sigma; displacement clock, Gaussian kernel",
    "exact form derived here",
)
def annealing(data: Data) -> Iterator[Evidence]:
    o = data["annealing"]
    yield from _damping(o)
    yield from _growth(o)
    yield from _optimality(o)
    yield from _particles(o)


def _damping(o: xr.Dataset) -> Iterator[Evidence]:
    closed, nonlinear, score = (o[name].values for name in ("closed_form", "nonlinear", "score_clock"))
    # Curvature of the equation, and the error of the scheme over what is left of the wave.
    error = SMALL**2 + RTOL / (SMALL * math.exp(-closed.max()))
    for case, control, broken, tolerance in (
        ("quadrature", "the two terms exchanged", -closed, 1e-10),
        ("linearised", "score clock", score, 1e-10),
        ("nonlinear", "score clock", score, error),
    ):
        yield Identity(
            case=f"integral, {case}",
            quantity=f"logarithm of the damping minus the closed form, every mode, r and sweep; control: {control}",
            residual=o[case].values - closed,
            control=broken - o[case].values,
            tolerance=tolerance,
        )
    rate, sweeps = o["run_rate"].values[:, None], o["run_sweeps"].values[:, None]
    yield Inequality(
        case="cap",
        quantity="logarithm of the damping in the full equation <= sweeps / r; control: several sweeps against the cap of one",
        lhs=nonlinear,
        rhs=np.broadcast_to(sweeps / rate, nonlinear.shape),
        control_lhs=nonlinear[sweeps[:, 0] > 1],
        control_rhs=np.broadcast_to(1 / rate, nonlinear.shape)[sweeps[:, 0] > 1],
        uncertainty=error,
    )
    several = int(np.argmax(sweeps))
    single = int(np.flatnonzero((sweeps[:, 0] == 1) & np.isclose(rate[:, 0], rate[several, 0] / sweeps[several, 0]))[0])
    yield Identity(
        case="sweeps",
        quantity="damping by m sweeps at rate r in the full equation minus closed form of one at r / m, logarithms; control: one at r",
        residual=nonlinear[several] - closed[single],
        control=closed[several] / sweeps[several] - closed[single],
        tolerance=error,
    )


def _growth(o: xr.Dataset) -> Iterator[Evidence]:
    for equation in EQUATIONS[1:]:
        for schedule in o["schedule"].values.tolist():
            law, predicted = rate_law(schedule)
            if law == "power":
                continue
            case = o.sel(equation=equation, schedule=schedule, law=law)
            quantity = "log(K^2 time) in K^2" if law == "exponential" else "time in log K"
            yield Rate(
                case=f"{schedule}, {equation}",
                quantity=f"slope of {quantity}, prediction {'h^2 / 2' if law == 'exponential' else '1 / r'}; control: best fixed bandwidth",
                slope=float(case["slope"]),
                interval=case["slope_interval"].values,
                predicted=predicted,
                control=o["slope_interval"].sel(equation=equation, schedule="best fixed", law=law).values,
                cases=int(case["fitted"]),
                upper_bound=False,
            )
    told = o["support"].sel(equation=list(EQUATIONS[1:])).dropna("schedule", how="all").stack(run=("schedule", "equation")).dropna("run")
    for schedule, equation in told["run"].values:
        law = rate_law(schedule)[0]
        yield Construction(
            case=f"{law}, {schedule}, {equation}",
            quantity=f"Akaike's criterion of the best of the other laws less that of the {law} one; control: those others",
            effect=[-float(o["support"].sel(equation=equation, schedule=schedule, law=law))],
            control=-o["support"].sel(equation=equation, schedule=schedule, law=[other for other in LAWS if other != law]).values,
            threshold=_NEGLIGIBLE,
        )
    c, start = float(o.attrs["damping"]), float(o.attrs["start"])
    for r in RATES:
        expected = np.isfinite(o["convergence_time"].sel(schedule="best fixed")).values
        missing = expected & ~np.isfinite(o["convergence_time"].sel(schedule=f"annealed {r:g}").values)
        hopeless = [not math.isfinite(annealed_time(int(k), start, 1.0, c)) for k in o["cutoff"].values]
        yield Inequality(
            case=f"one sweep converges, r = {r:g}",
            quantity="number of Kmax that one sweep never reaches <= 0, every equation; control: r = 1, whose cap 1 / r is below c",
            lhs=missing.sum(1),
            rhs=np.zeros(len(EQUATIONS)),
            control_lhs=[np.sum(hopeless)],
            control_rhs=[0.0],
        )


def _optimality(o: xr.Dataset) -> Iterator[Evidence]:
    cutoff, bound, optimal = (o[name].values for name in ("cutoff", "lower_bound", "optimal_time"))
    yield Identity(
        case="best fixed",
        quantity="h = (4 log K / (K^2 - 1))^(1/2) over the best fixed bandwidth by a search, minus 1; control: h = 2^(1/2) / K",
        residual=(o["best_bandwidth"] / o["searched_bandwidth"]).values - 1,
        control=math.sqrt(2) / cutoff / o["searched_bandwidth"].values - 1,
        # Square root of the precision of the time: less flat than at a smooth minimum.
        tolerance=1e-6,
    )
    yield Inequality(
        case="lower bound",
        quantity="c (1 + 1/2 + ... + 1/K) <= least time of any schedule by linear programming; control: twice that bound",
        lhs=bound,
        rhs=optimal,
        control_lhs=2 * bound,
        control_rhs=optimal,
        uncertainty=1e-6 * optimal,
    )
    linear = o["convergence_time"].sel(equation="linear")
    yield Inequality(
        case="optimal",
        quantity="least time of any schedule by linear programming <= time of every schedule, linear; control: the lower bound",
        lhs=np.broadcast_to(optimal, linear.shape),
        rhs=linear.fillna(np.inf).values,
        control_lhs=optimal,
        control_rhs=bound,
        # Distance of the grid of bandwidths from a continuum.
        uncertainty=1e-3 * optimal,
    )
    for equation in EQUATIONS:
        times = o["convergence_time"].sel(equation=equation)
        gain = times.sel(schedule="best fixed") / times.sel(schedule=[f"annealed {r:g}" for r in RATES])
        reached = np.isfinite(gain).any("schedule").values
        last, first = (gain.isel(cutoff=i).values for i in ((np.flatnonzero(reached)[-1] if reached.any() else 0), 0))
        yield Construction(
            case=f"gain, {equation}",
            quantity="time of the best fixed bandwidth over the annealed time, largest Kmax, every r that converges; control: least Kmax",
            effect=last[np.isfinite(last)] if reached.any() else [math.nan],
            control=first[np.isfinite(first)] if np.isfinite(first).any() else [math.nan],
            threshold=1.0,
        )


def _particles(o: xr.Dataset) -> Iterator[Evidence]:
    marks = o["checkpoint"].values[o["checkpoint"].values > 0]
    for case in o["case"].values.tolist():
        for mark in (marks[0], marks[-1]):
            at = o.sel(case=case, checkpoint=mark)
            rival, ours, reversed_ = (
                float(at["contest"].sel(contender=name).mean()) for name in ("best fixed", "best annealed", "reversed")
            )
            yield Inequality(
                case=f"{case}, {mark} evaluations",
                quantity="W2 to the unsmoothed target, annealed <= best fixed, chosen by pilots, paired 95 %; control: bandwidth grows",
                lhs=[ours],
                rhs=[rival],
                control_lhs=[reversed_],
                control_rhs=[rival],
                uncertainty=[float(at["gap_error"].sel(contender="best annealed"))],
                control_uncertainty=[float(at["gap_error"].sel(contender="reversed"))],
            )
    residual, control = [], []
    for d, kind in schedules.CASES:
        rng, target = generator(0, "clock", d), schedules.fine_mixture(d, 0)
        data = target if kind == "density" else target.sample(rng, (1, 64))
        for h in (0.1, 0.5, 2.0):
            x = rng.standard_normal((1, 32, d))
            steps = [schedules.step(x, data, h, eta, clock) for eta, clock in ((1.0, "displacement"), (1.0, "conservative"))]
            wrong = schedules.step(x, data, h, 1 / h**2, "conservative")
            size = np.abs(steps[0] - x).max() + np.abs(x).max()
            residual.append(np.abs(steps[1] - steps[0]).max() / size)
            control.append(np.abs(wrong - steps[0]).max() / size)
    yield Identity(
        case="clock",
        quantity="Euler step h^2 of the score field minus step 1 of the displacement field, relative; control: step 1 of the score field",
        residual=residual,
        control=control,
        tolerance=1e-12,
    )
