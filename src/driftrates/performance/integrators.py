"""Passes of the integrators at equal accuracy: evaluations of the field per unit time as the bandwidth h tends to 0.

The Jacobian of the conservative field has eigenvalues down to about -1/h^2. Stability holds Euler's and Dormand-Prince's steps below a
multiple of h^2, hence passes ~ h^-2. A stabilised step tau takes about tau^(1/2) / h stages (stability grows as stages^2), so the passes
are h^-1 tau^(-1/2): h^-1 at a fixed accuracy in length, and h^(-5/4) at an error of eps h, to which a method of order two needs
tau ~ (eps h)^(1/2).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from driftrates import kernels, random
from driftrates.fields import DriftField, SmoothedDensity
from driftrates.flow.driver import Method, integrate
from driftrates.flow.methods import DormandPrince, Euler, RungeKuttaChebyshev
from driftrates.labels import labelled
from driftrates.laplace.closed_form import LaplaceSmoothedMixture
from driftrates.power_laws import replicate_exponent
from driftrates.targets import GaussianMixture

INTEGRATORS = ("euler", "dormand_prince", "rkc")
CONSERVATIVE, DISPLACEMENT = ("conservative, Gaussian", "displacement, Laplace")
CASES = {f"{CONSERVATIVE}, d = 1": 1, f"{CONSERVATIVE}, d = 2": 2, f"{DISPLACEMENT}, d = 1": 1}
"""Field and kernel with the dimension; the displacement field for contrast, since its Jacobian stays of order 1."""
RULES = {"bandwidth": "error below accuracy * h", "length": "error below accuracy * UNIT_LENGTH"}
UNIT_LENGTH, START_DEVIATION = 0.1, 1.5
"""Length in which a fixed accuracy is counted; standard deviation of the Gaussian start."""
EXPONENTS = {
    "euler": {"bandwidth": 2.0, "length": 2.0},
    "dormand_prince": {"bandwidth": 2.0, "length": 2.0},
    "rkc": {"bandwidth": 1.25, "length": 1.0},
}
"""Exponents of 1/h in the passes of the conservative field, Euler's and Dormand-Prince's as long as stability limits their steps."""

_LARGEST_STEP, _FINE, _COARSE = 4.0, math.sqrt(2.0), 4.0
"""First step of Euler's ladder over the unit of time (h^2, or 1 for displacements); between its steps where the error falls steeply, and
where it is proportional to the step."""
_RUN = {
    "error": ("root mean square error of the last positions over h", "1"),
    "evaluations": ("evaluations of the field, all counted", "1"),
    "in_steps": ("evaluations within trial steps", "1"),
    "for_radius": ("evaluations for the spectral radius", "1"),
    "accepted": ("accepted steps", "1"),
    "rejected": ("rejected steps", "1"),
}
_EQUAL = {
    "passes": ("evaluations of the field per unit time at equal accuracy", "time^-1"),
    "stages": ("mean evaluations per trial step of the cheapest run that is accurate enough", "1"),
    "radius_share": ("share of its evaluations that serve the spectral radius", "1"),
    "rejected_share": ("share of its trial steps that are rejected", "1"),
}
_REFERENCE, _RELAXING = 1e-2, 1e-4
"""Tolerance of the reference over the least one of the ladder; tolerance over h while the clouds relax."""


@dataclass(frozen=True)
class _TalliedChebyshev(RungeKuttaChebyshev):
    """Adds the stages of every trial step of replicate r to ``tally[r]``."""

    tally: Any = field(default=None, compare=False)

    def attempt(self, evaluate: Any, t: Any, t_new: Any, y: Any, f: Any, h: np.ndarray, rows: Any, stages: np.ndarray) -> Any:
        self.tally[rows] += stages
        return super().attempt(evaluate, t, t_new, y, f, h, rows, stages)


class Run(NamedTuple):
    """One integration: final clouds ``x`` (R, N, d); per replicate (R,) all ``evaluations`` of the field, those within trial steps
    (``in_steps``), those for the spectral radius (``for_radius``), and the numbers of ``accepted`` and ``rejected`` steps."""

    x: np.ndarray
    evaluations: np.ndarray
    in_steps: np.ndarray
    for_radius: np.ndarray
    accepted: np.ndarray
    rejected: np.ndarray


def run(drift: DriftField, x: np.ndarray, stop: float, method: Method) -> Run:
    """``drift`` from clouds x (R, N, d) to time ``stop`` > 0 in one piece, with its evaluations told apart by what they serve."""
    tally = np.zeros(len(x), np.int64)
    if isinstance(method, RungeKuttaChebyshev):
        method = _TalliedChebyshev(method.rtol, method.atol, method.max_stages, method.spectral_radius, tally)

    def velocity(t: np.ndarray, clouds: np.ndarray, _: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return drift.at_particles(clouds).velocity, np.zeros((len(clouds), 0))

    ((state, statistics, _),) = integrate(velocity, x, [stop], method)
    if not isinstance(method, RungeKuttaChebyshev):
        tally = method.evaluations() * (statistics.accepted + statistics.rejected)
        return Run(state.x, statistics.evaluations, tally, 0 * tally, statistics.accepted, statistics.rejected)
    # Besides stages and radius: the first slope, and one evaluation for the size of the first step.
    return Run(state.x, statistics.evaluations, tally, statistics.evaluations - tally - 2, statistics.accepted, statistics.rejected)


def evaluations_at(errors: Sequence[float], evaluations: Sequence[float], accuracy: float) -> float:
    """Evaluations at which the error falls to ``accuracy``, between runs of errors (K,) and evaluations (K,).

    Straight lines in logarithms between the runs that are more accurate than every cheaper one; between an unstable run and a stable one
    that understates what is needed. The cheapest run's evaluations where that is accurate enough already, NaN where no run is.
    """
    order = np.lexsort((errors, evaluations))
    error, spent = np.asarray(errors, float)[order], np.asarray(evaluations, float)[order]
    best = np.minimum.accumulate(np.where(np.isfinite(error), error, np.inf))
    reached = np.flatnonzero(best <= accuracy)
    if not reached.size:
        return math.nan
    k = int(reached[0])
    if k == 0 or not np.isfinite(best[k - 1]):
        return float(spent[k])
    before = int(np.flatnonzero(best == best[k - 1])[0])
    share = math.log(best[before] / accuracy) / math.log(best[before] / best[k])
    return float(spent[before] * (spent[k] / spent[before]) ** share)


def spectrum(drift: DriftField, x: np.ndarray) -> np.ndarray:
    """Eigenvalues (N d,) of the Jacobian of X -> b(X) at the cloud x (N, d), by central differences."""
    step, size = 1e-6 * drift.h, x.size
    columns = []
    for unit in np.array_split(step * np.eye(size), math.ceil(size / 64)):
        shift = unit.reshape(-1, *x.shape)
        ahead, behind = (drift.at_particles(x + sign * shift).velocity for sign in (1, -1))
        columns.append((ahead - behind).reshape(len(unit), size) / (2 * step))
    return np.linalg.eigvals(np.concatenate(columns).T)


def make_problem(case: str, h: float) -> DriftField:
    """The field of one of `CASES` toward two Gaussians smoothed by K_h."""
    d = CASES[case]
    weights, means, deviations = np.array([0.4, 0.6]), np.array([[-1.0, 0.0], [1.2, 0.5]])[:, :d], np.array([0.5, 0.4])
    law = GaussianMixture(weights, means, deviations**2)
    if case.startswith(CONSERVATIVE):
        return DriftField("conservative", SmoothedDensity(law.smoothed(h), h), kernels.make("gaussian"), h)
    return DriftField("displacement", LaplaceSmoothedMixture(law, h), kernels.make("laplace"), h)


def measure_integrators(
    *,
    seed: int,
    bandwidths: Sequence[float] = (0.2, 0.1, 0.05, 0.03, 0.02),
    plane_bandwidths: Sequence[float] = (0.4, 0.3, 0.2, 0.14, 0.1),
    particles: float = 6.0,
    plane_particles: float = 4.0,
    replicates: int = 6,
    tolerances: Sequence[float] = (1.0, 1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6),
    accuracies: Sequence[float] = (1e-1, 3e-2, 1e-2, 3e-3, 1e-3, 3e-4, 1e-4),
    most_evaluations: int = 6000,
    relaxation: float = 0.2,
    horizon: float = 0.5,
    displacement_horizon: float = 4.0,
    fitted: int = 3,
) -> xr.Dataset:
    """Euler, Dormand-Prince and RKC on `CASES`: work against accuracy for every h, and passes per unit time at equal accuracy.

    Clouds of ``particles`` h^-1 points on the line and ``plane_particles`` h^-2 in the plane, one for every level of ``bandwidths`` and
    ``plane_bandwidths`` (falling, as many of either), start from a Gaussian; for the conservative field they have relaxed for the time
    ``relaxation``, after which the stiff modes are at rest but still limit the step. Then over ``horizon``, in displacement time
    ``displacement_horizon``: the adaptive methods with rtol = atol = tolerance * h for all ``tolerances``, Euler with falling steps
    until its error is below the least accuracy or more than ``most_evaluations`` would be spent. Errors are root mean squares over the
    particles' components against Dormand-Prince at a hundredth of the least tolerance.

    Over (case, integrator, level, run, replicate): ``error`` over h, ``evaluations`` (rejected steps and the spectral radius included)
    and what they serve. Over (case, integrator, rule, accuracy, level, replicate): ``passes`` per unit time where the error falls to
    the accuracy by `RULES` (`evaluations_at`), and stages, share for the radius and share of rejected steps of the cheapest run that
    is accurate enough; ``saving``: passes of the cheaper of the other two over those of RKC. ``exponent`` (.., bound) of 1/h in the
    passes over the ``fitted`` last levels, with Student's interval over replicates. NaN where no run is accurate enough.
    ``stiffness`` and ``imaginary_part`` are those of the first replicate. Raises ``ValueError`` for fewer than two replicates, or
    levels that do not fall or are fewer than ``fitted``.
    """
    line, plane = np.asarray(bandwidths, float), np.asarray(plane_bandwidths, float)
    wanted = np.sort(np.asarray(accuracies, float))[::-1]
    if line.shape != plane.shape or (np.diff([line, plane]) >= 0).any() or replicates < 2 or not 2 <= fitted <= len(line):
        raise ValueError(
            "integrators needs replicates >= 2, and bandwidths and plane_bandwidths that fall, as many of either and at least fitted >= 2"
        )
    widths = np.stack([line if d == 1 else plane for d in CASES.values()])
    sizes = np.array(
        [np.maximum(4, np.round((particles / h, plane_particles / h**2)[d - 1])) for d, h in zip(CASES.values(), widths, strict=True)]
    )
    stops = [horizon if case.startswith(CONSERVATIVE) else displacement_horizon for case in CASES]
    ladders: dict[tuple[int, int, int], list[Run]] = {}
    errors: dict[tuple[int, int, int], np.ndarray] = {}
    found = {name: np.empty(widths.shape) for name in ("stiffness", "imaginary_part")}
    for (c, case), b in ((p, q) for p in enumerate(CASES) for q in range(len(line))):
        h, n, d, stop = widths[c, b], int(sizes[c, b]), CASES[case], stops[c]
        drift, stiff = make_problem(case, h), case.startswith(CONSERVATIVE)
        x = np.stack([START_DEVIATION * random.generator(seed, "integrators", n, r).standard_normal((n, d)) for r in range(replicates)])
        if stiff:
            x = run(drift, x, relaxation, RungeKuttaChebyshev(_RELAXING * h, _RELAXING * h)).x
        values = spectrum(drift, x[0])
        found["stiffness"][c, b], found["imaginary_part"][c, b] = np.abs(values).max(), np.abs(values.imag).max() / np.abs(values).max()
        tolerance = _REFERENCE * min(tolerances) * h
        exact = run(drift, x, stop, DormandPrince(tolerance, tolerance)).x
        aim = wanted[-1] * min(h, UNIT_LENGTH)
        ladders[c, 0, b] = _euler_ladder(drift, x, stop, exact, _LARGEST_STEP * (h**2 if stiff else 1.0), aim, most_evaluations)
        for k, kind in enumerate((DormandPrince, RungeKuttaChebyshev), start=1):
            ladders[c, k, b] = [run(drift, x, stop, kind(tol * h, tol * h)) for tol in tolerances]
        for k in range(len(INTEGRATORS)):
            errors[c, k, b] = np.array([_distance(one.x, exact) for one in ladders[c, k, b]]) / h
        print(f"{case}: h = {h:g}, N = {n}, |largest eigenvalue| = {found['stiffness'][c, b]:.3g}", flush=True)

    cells = (len(CASES), len(INTEGRATORS), len(RULES), len(wanted), len(line), replicates)
    at = {name: np.full(cells, np.nan) for name in _EQUAL}
    for (c, k, b), ladder in ladders.items():
        for rule, a, r in np.ndindex(len(RULES), len(wanted), replicates):
            accuracy = wanted[a] * (1.0 if rule == 0 else UNIT_LENGTH / widths[c, b])
            error, spent = errors[c, k, b][:, r], np.array([one.evaluations[r] for one in ladder])
            at["passes"][c, k, rule, a, b, r] = evaluations_at(error, spent, accuracy) / stops[c]
            if (error <= accuracy).any():
                one = ladder[int(np.argmin(np.where(error <= accuracy, spent, np.inf)))]
                trials = one.accepted[r] + one.rejected[r]
                shares = one.in_steps[r] / trials, one.for_radius[r] / one.evaluations[r], one.rejected[r] / trials
                for name, share in zip(list(_EQUAL)[1:], shares, strict=True):
                    at[name][c, k, rule, a, b, r] = share
    exponents = np.full((*cells[:4], 3), np.nan)
    for index in np.ndindex(*cells[:4]):
        values = at["passes"][index][-fitted:]
        if np.isfinite(values).all():
            value, ends = replicate_exponent(1 / widths[index[0], -fitted:], values)
            exponents[index] = value, *ends
    shape = (len(CASES), len(INTEGRATORS), len(line), max(map(len, ladders.values())), replicates)
    runs = {name: np.full(shape, np.nan) for name in _RUN}
    for (c, k, b), ladder in ladders.items():
        runs["error"][c, k, b, : len(ladder)] = errors[c, k, b]
        for name in list(_RUN)[1:]:
            runs[name][c, k, b, : len(ladder)] = [getattr(one, name) for one in ladder]
    variables = {name: (("case", "integrator", "level", "run", "replicate"), values, *_RUN[name]) for name, values in runs.items()}
    equal = ("case", "integrator", "rule", "accuracy", "level", "replicate")
    variables |= {name: (equal, values, *_EQUAL[name]) for name, values in at.items()}
    saving = np.fmin(at["passes"][:, 0], at["passes"][:, 1]) / at["passes"][:, 2]
    text = f"exponent of 1/h in the passes over the last {fitted} levels, with its 95 % interval"
    variables |= {
        "exponent": ((*equal[:4], "bound"), exponents, text, "1"),
        "saving": (("case", *equal[2:]), saving, "passes of the cheaper of Euler and Dormand-Prince over those of RKC", "1"),
        "bandwidth": (("case", "level"), widths, "bandwidth h", "length"),
        "n_particles": (("case", "level"), sizes.astype(np.int64), "number of particles N", "1"),
        "stiffness": (("case", "level"), found["stiffness"], "largest modulus of the Jacobian's eigenvalues at the start", "time^-1"),
        "imaginary_part": (("case", "level"), found["imaginary_part"], "largest imaginary part of its eigenvalues over that modulus", "1"),
    }
    coordinates = {
        "case": (np.array(list(CASES), object), "field, kernel and dimension", "1"),
        "integrator": (np.array(INTEGRATORS, object), "integrator", "1"),
        "rule": (np.array(list(RULES), object), "; ".join(f"{rule}: {text}" for rule, text in RULES.items()), "1"),
        "accuracy": (wanted, "error asked for, in units of h or of UNIT_LENGTH", "1"),
        "bound": (np.array(["value", "low", "high"], object), "exponent, ends of its interval", "1"),
    }
    return labelled(variables, coordinates, {"seed": seed, "unit_length": UNIT_LENGTH, "fitted": fitted})


def _euler_ladder(drift: DriftField, x: np.ndarray, stop: float, exact: np.ndarray, step: float, aim: float, most: int) -> list[Run]:
    """Euler from ``step`` down to the step at which every replicate's error is below ``aim``, or would take more than ``most`` steps."""
    ladder, last = [], np.full(len(x), np.inf)
    ratio = _FINE
    while stop <= most * step:
        ladder.append(run(drift, x, stop, Euler(step)))
        error = _distance(ladder[-1].x, exact)
        if (error <= aim).all():
            break
        ratio = _COARSE if ((error <= last) & (last <= ratio**1.5 * error)).all() else _FINE
        last, step = error, step / ratio
    return ladder


def _distance(x: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Root mean square difference (R,) over the particles' components."""
    return np.sqrt(((x - other) ** 2).mean((1, 2)))
