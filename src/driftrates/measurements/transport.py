"""Distances between clouds, and one explicit step of the flow seen as a transport (R4.6)."""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from scipy.optimize import linear_sum_assignment
from scipy.sparse.linalg import ArpackNoConvergence, LinearOperator, eigs
from scipy.spatial.distance import cdist

from driftrates import flow, kernels, simulate
from driftrates.arrays import namespace, to_host
from driftrates.fields import DriftField
from driftrates.labels import labelled
from driftrates.random import generator
from driftrates.sums import kernel_sums

LARGEST_ASSIGNMENT = 4096
"""Particles per cloud up to which the N x N costs of an exact assignment are held (128 MiB)."""

_DIFFERENCE = 1e-6
_REBOUND = 2.0
_FAR = 1e100
_NETWORK_STEPS = 10_000_000


class Coupling(NamedTuple):
    """``squared_distance`` W2^2, unit length^2; ``partner`` (N,): a_i is sent to b_partner[i]."""

    squared_distance: float
    partner: np.ndarray


def squared_w2(a: np.ndarray, b: np.ndarray) -> Coupling:
    """Exact W2^2 between two clouds of equal weights and sizes, a and b (N, d): by sorting for d = 1, else by assignment.

    Raises ``ValueError`` for clouds of other shapes, or with more than `LARGEST_ASSIGNMENT` points for d >= 2.
    """
    if a.ndim != 2 or a.shape != b.shape or not len(a):
        raise ValueError(f"exact W2 by assignment needs two clouds (N, d) of one shape, not {a.shape} and {b.shape}; use w2_to_data")
    n, d = a.shape
    if d == 1:
        rows, columns = np.argsort(a[:, 0], kind="stable"), np.argsort(b[:, 0], kind="stable")
        partner = np.empty(n, int)
        partner[rows] = columns
    else:
        _check_size(n, n)
        partner = linear_sum_assignment(cdist(a, b, "sqeuclidean"))[1]
    return Coupling(float(((a - b[partner]) ** 2).sum(1).mean()), partner)


def w2_to_data(cloud: np.ndarray, data: np.ndarray, *, projections: int | None = None, seed: int = 0) -> float:
    """W2 between a cloud (N, d) and data (M, d) with equal weights each, unit length: exact, or sliced where ``projections`` >= 1 is given.

    Exact: coupling of quantiles for d = 1, network simplex otherwise. Sliced: root of the mean of W2^2 over that many random
    directions, which depend on ``seed``; it is at most W2 / sqrt(d) up to the error of the mean, and costs no N x M array.
    Raises ``ValueError`` for other shapes, and where the exact problem is too large or does not converge.
    """
    if cloud.ndim != 2 or data.ndim != 2 or cloud.shape[1] != data.shape[1] or not (len(cloud) and len(data)):
        raise ValueError(f"W2 needs a cloud (N, d) and data (M, d) of one dimension, not {cloud.shape} and {data.shape}")
    # Compiling POT on its first import warns of escape sequences in its docstrings.
    with warnings.catch_warnings(action="ignore"):
        import ot
    if projections is not None:
        if projections < 1:
            raise ValueError(f"projections must be at least 1, not {projections}")
        directions = generator(seed, "sliced_w2", cloud.shape[1]).standard_normal((cloud.shape[1], projections))
        directions /= np.linalg.norm(directions, axis=0)
        return float(ot.sliced_wasserstein_distance(cloud, data, projections=directions, p=2))
    if cloud.shape[1] == 1:
        return math.sqrt(max(0.0, float(ot.emd2_1d(cloud[:, 0], data[:, 0], metric="sqeuclidean"))))
    if cloud.shape == data.shape:
        return math.sqrt(squared_w2(cloud, data).squared_distance)
    _check_size(len(cloud), len(data))
    weights = (np.full(len(points), 1 / len(points)) for points in (cloud, data))
    value, log = ot.emd2(*weights, cdist(cloud, data, "sqeuclidean"), numItermax=_NETWORK_STEPS, log=True)
    if log["warning"]:
        raise ValueError(f"exact W2 did not converge ({log['warning']}); give projections for the sliced distance")
    return math.sqrt(max(0.0, float(value)))


def _check_size(n: int, m: int) -> None:
    if n * m > LARGEST_ASSIGNMENT**2:
        raise ValueError(f"exact W2 between {n} and {m} points needs {n} x {m} costs; use fewer points, or w2_to_data with projections")


class SquaredDiscrepancy(NamedTuple):
    """Squared maximum mean discrepancy, (R,) each: ``biased`` (>= 0) with, ``unbiased`` without the pairs of a point with itself."""

    biased: Any
    unbiased: Any


def mmd2(x: Any, y: Any, h: float) -> SquaredDiscrepancy:
    """MMD^2 with the kernel exp(-|x - y|^2 / (2 h^2)): x (R, N, d) and y (R or 1, M, d), N, M >= 2, NumPy or CuPy; memory linear in N.

    Raises ``ValueError`` as `kernel_sums` does.
    """
    gaussian = kernels.make("gaussian")
    xp = namespace(x)

    def total(a: Any, b: Any, own: bool) -> Any:
        scale, terms = kernel_sums(a, b, gaussian, h, ("k",), exclude_self=own)
        return (terms["k"] * xp.exp(scale)).sum(1)

    n, m = x.shape[1], y.shape[1]
    within_x, within_y, across = total(x, x, True), total(y, y, True), total(x, y, False)
    return SquaredDiscrepancy(
        (within_x + n) / n**2 + (within_y + m) / m**2 - 2 * across / (n * m),
        within_x / (n * (n - 1)) + within_y / (m * (m - 1)) - 2 * across / (n * m),
    )


class Step(NamedTuple):
    """One step X -> X + eta b(X) of one cloud.

    ``squared_distance`` = W2^2(mu_N, mu_N^+) and ``bound`` = eta^2 D_N(X) of R4.6, unit length^2; ``reassigned``: share of the
    particles whose optimal partner is not their own image; ``growth`` = D_N(X^+) / D_N(X).
    """

    squared_distance: float
    bound: float
    reassigned: float
    growth: float


def one_step(field: DriftField, x: np.ndarray, eta: float) -> Step:
    """R4.6 for the cloud x (N, d), d >= 1, and eta > 0 (unit of time of ``field``); exact assignment, N up to `LARGEST_ASSIGNMENT`."""
    velocity = field.at_particles(x[None]).velocity[0]
    refined = x + eta * velocity
    return _step(field, x, velocity, refined, eta)


def _step(field: DriftField, x: np.ndarray, velocity: np.ndarray, refined: np.ndarray, eta: float) -> Step:
    speed = float((velocity**2).sum(1).mean())
    distance, partner = squared_w2(x, refined)
    after = float((field.at_particles(refined[None]).velocity ** 2).sum(-1).mean())
    return Step(distance, eta**2 * speed, float((partner != np.arange(len(x))).mean()), after / speed)


class Growth(NamedTuple):
    """D_N at the end of a run of Euler steps, relative to its start and to its least value on the way (1 while it falls), (R,) each."""

    overall: np.ndarray
    rebound: np.ndarray


def repeated_growth(field: DriftField, x: Any, eta: Any, count: int) -> Growth:
    """``count`` Euler steps of the clouds x (R, N, d), eta > 0 a number or (R,); both ratios ``inf`` where numbers overflow."""
    xp = namespace(x)
    eta = xp.broadcast_to(xp.asarray(eta, dtype=x.dtype), x.shape[:1]).reshape(-1, 1, 1)
    velocity = field.at_particles(x).velocity
    speed = before = least = (velocity**2).sum(-1).mean(1)
    lost = xp.zeros(len(x), bool)
    with np.errstate(all="ignore"):
        for _ in range(count):
            x = x + eta * velocity
            lost |= ~(abs(x) < _FAR).all((1, 2))
            # A lost replicate waits at the origin: kernel sums have no value where coordinates overflow.
            velocity = field.at_particles(xp.where(lost[:, None, None], 0.0, x)).velocity
            speed = (velocity**2).sum(-1).mean(1)
            least = xp.minimum(least, speed)
        ratios = [xp.where(lost, xp.inf, speed / reference) for reference in (before, least)]
    return Growth(*map(to_host, ratios))


def largest_stable_step(field: DriftField, x: Any, *, low: float, high: float, count: int = 48, halvings: int = 8) -> np.ndarray:
    """Largest eta in [low, high] for which D_N after ``count`` Euler steps is at most twice its least value on the way, (R,), x (R, N, d).

    By bisection in log eta: exact to the factor (high/low)^(2^-halvings) where stability is lost once. 0 where ``low`` is
    unstable, ``inf`` where ``high`` is stable. Raises ``ValueError`` unless 0 < low < high.
    """
    if not 0 < low < high:
        raise ValueError(f"the bracket of the largest stable step must be 0 < low < high, not {low!r} and {high!r}")
    left, right = np.full(len(x), math.log(low)), np.full(len(x), math.log(high))
    never = repeated_growth(field, x, np.exp(left), count).rebound > _REBOUND
    always = repeated_growth(field, x, np.exp(right), count).rebound <= _REBOUND
    for _ in range(halvings):
        middle = (left + right) / 2
        stable = repeated_growth(field, x, np.exp(middle), count).rebound <= _REBOUND
        left, right = np.where(stable, middle, left), np.where(stable, right, middle)
    return np.where(never, 0.0, np.where(always, np.inf, np.exp(left)))


def linear_step_limit(field: DriftField, x: np.ndarray) -> float:
    """2 / |mu|, mu the eigenvalue of least real part of the Jacobian of X -> b(X) at the cloud x (N, d), N d >= 4.

    Euler's scheme amplifies the mode of mu beyond this eta. The Jacobian acts by central differences; Arnoldi iteration. NaN where
    that does not converge, ``inf`` where no eigenvalue has a negative real part.
    """
    size = x.size
    step = _DIFFERENCE * max(1.0, float(np.abs(x).max()))

    def act(direction: np.ndarray) -> np.ndarray:
        shift = (step / np.abs(direction).max()) * direction.reshape(x.shape)
        ahead, behind = field.at_particles(np.stack([x + shift, x - shift])).velocity
        return (ahead - behind).ravel() * (np.abs(direction).max() / (2 * step))

    start = np.random.default_rng(0).standard_normal(size)
    try:
        values = eigs(LinearOperator((size, size), matvec=act, dtype=float), k=1, which="SR", v0=start, tol=1e-3, return_eigenvectors=False)
    except ArpackNoConvergence:
        return math.nan
    return 2 / abs(values[0]) if values[0].real < 0 else math.inf


def step_unit(experiment: Mapping[str, Any], h: float) -> float:
    """The time in which steps are measured: h^2 for fields that are differences of scores, 1 for the displacement field."""
    return 1.0 if experiment["field"] == "displacement" else h**2


def measure_one_step(
    ensemble: xr.Dataset, *, steps: Sequence[float] | None = None, replicates: int = 4, largest: int = 1024, repeats: int = 48
) -> xr.Dataset:
    """R4.6 on stored clouds of an ensemble of `simulate.simulate_flow`: one step X -> X + eta b(X), eta = step * h^2 (`step_unit`).

    steps: positive numbers (default 13 from 1e-3 to 10); the first ``replicates`` replicates and the sizes N <= ``largest`` are
    used. Over (bandwidth, n_particles, replicate, snapshot, step): W2^2, its bound eta^2 D_N, their ratio W2 / (eta sqrt D_N) (1 where
    the identity coupling is optimal), the share of reassigned particles, D_N after one step and after ``repeats`` steps over D_N before,
    and over its least value on the way.
    Without ``step``: D_N, the largest stable step (`largest_stable_step`) and the limit of the linearised scheme
    (`linear_step_limit`), both in the unit of ``step``. Raises ``ValueError`` where no size is small enough.
    """
    experiment, seed = json.loads(ensemble.attrs["experiment"]), int(ensemble.attrs["seed"])
    grid = np.geomspace(1e-3, 10.0, 13) if steps is None else np.asarray(steps, float)
    sizes = ensemble["n_particles"].values[ensemble["n_particles"].values <= largest]
    if not len(sizes):
        raise ValueError(f"every n_particles of the ensemble exceeds largest = {largest}; raise it or simulate smaller clouds")
    bandwidths, snapshots = ensemble["bandwidth"].values, ensemble["snapshot"].values
    used = min(replicates, ensemble.sizes["replicate"])
    shape = (len(bandwidths), len(sizes), used, len(snapshots))
    speed, stable, linear = np.empty(shape), np.empty(shape), np.empty(shape)
    distance, bound, reassigned, growth, repeated, rebound = (np.empty((*shape, len(grid))) for _ in range(6))
    for b, h in enumerate(bandwidths):
        field, unit = simulate.build_field({**experiment, "dtype": "float64"}, float(h), seed=seed), step_unit(experiment, float(h))
        for s, n in enumerate(sizes):
            clouds = ensemble[f"cloud_{n}"].values[b, :used].astype(float).reshape(-1, n, ensemble.sizes["component"])
            velocity = field.at_particles(clouds).velocity
            speed[b, s] = (velocity**2).sum(-1).mean(1).reshape(shape[2:])
            limit = largest_stable_step(field, clouds, low=1e-2 * unit, high=1e2 * unit, count=repeats)
            stable[b, s] = limit.reshape(shape[2:]) / unit
            linear[b, s] = np.reshape([linear_step_limit(field, cloud) / unit for cloud in clouds], shape[2:])
            for k, step in enumerate(grid):
                eta = step * unit
                run = repeated_growth(field, clouds, eta, repeats)
                repeated[b, s, ..., k], rebound[b, s, ..., k] = (ratio.reshape(shape[2:]) for ratio in run)
                taken = [_step(field, x, v, x + eta * v, eta) for x, v in zip(clouds, velocity, strict=True)]
                for out, values in zip((distance, bound, reassigned, growth), zip(*taken, strict=True), strict=True):
                    out[b, s, ..., k] = np.reshape(values, shape[2:])
    each = ("bandwidth", "n_particles", "replicate", "snapshot")
    variables = {
        "squared_distance": ((*each, "step"), distance, "W2^2 between the cloud and its refined cloud", "length^2"),
        "coupling_bound": ((*each, "step"), bound, "eta^2 D_N, the bound of R4.6", "length^2"),
        "distance_ratio": ((*each, "step"), np.sqrt(distance / bound), "W2 / (eta sqrt D_N)", "1"),
        "reassigned": ((*each, "step"), reassigned, "share of particles whose optimal partner is not their own image", "1"),
        "growth": ((*each, "step"), growth, "D_N after one step over D_N before", "1"),
        "repeated_growth": ((*each, "step"), repeated, f"D_N after {repeats} steps over D_N before, inf where numbers overflow", "1"),
        "repeated_rebound": ((*each, "step"), rebound, f"D_N after {repeats} steps over its least value on the way, or inf", "1"),
        "squared_speed": (each, speed, "D_N of the stored cloud", "length^2 time^-2"),
        "largest_stable_step": (
            each,
            stable,
            f"largest step with a rebound of at most {_REBOUND:g} in {repeats} steps, 0 or inf if beyond 0.01 or 100",
            "1",
        ),
        "linear_step_limit": (each, linear, "2 / |least eigenvalue of the Jacobian|, unit of step", "1"),
    }
    text = "step eta" if experiment["field"] == "displacement" else "step eta / h^2"
    out = labelled(variables, {"step": (grid, text, "1")}).assign_coords({name: ensemble[name] for name in ("bandwidth", "snapshot")})
    out = out.assign_coords(n_particles=("n_particles", sizes, ensemble["n_particles"].attrs))
    return out.assign_attrs(experiment=ensemble.attrs["experiment"], seed=seed)


def measure_random_time(
    experiment: Mapping[str, Any], *, seed: int, steps: Sequence[float] = (1e-3, 1e-2, 1e-1, 1.0), draws: int = 32, replicates: int = 4
) -> xr.Dataset:
    """R4.6 at a uniform random time of [0, T]: E W2^2(mu_N, mu_N^+) <= eta^2 (1/T) int_0^T D_N dt, the left side of (19) times eta^2.

    ``draws`` times, one uniform in each of as many equal parts of [0, T]; the integral of D_N is carried by the integrator. At most
    ``replicates`` replicates are integrated, in float64 on the CPU. Over (bandwidth, n_particles, replicate): the time average of
    D_N; with step besides: the mean of W2^2 over the draws, its standard error (from differences of neighbouring parts, which errs
    on the safe side), and the bound. Raises ``ValueError`` unless draws >= 2 is even.
    """
    if draws < 2 or draws % 2:
        raise ValueError(f"draws must be an even number >= 2, not {draws}")
    experiment = {**experiment, "replicates": min(replicates, experiment["replicates"]), "dtype": "float64"}
    horizon, grid = float(experiment["times"]["stop"]), np.asarray(steps, float)
    bandwidths = np.atleast_1d(np.asarray(experiment["bandwidth"], float))
    sizes = np.atleast_1d(experiment["n_particles"]).astype(np.int64)
    d = simulate.make_target(experiment["target"], seed=seed).dimension
    shape = (len(bandwidths), len(sizes), experiment["replicates"])
    average, distance = np.empty(shape), np.empty((*shape, len(grid), draws))
    for b, h in enumerate(bandwidths):
        field, unit = simulate.build_field(experiment, float(h), seed=seed), step_unit(experiment, float(h))

        def rhs(_: Any, x: np.ndarray, __: Any, field: DriftField = field) -> tuple[np.ndarray, np.ndarray]:
            velocity = field.at_particles(x).velocity
            return velocity, (velocity**2).sum(-1).mean(1)[:, None]

        for s, n in enumerate(sizes):
            times = horizon * (np.arange(draws) + generator(seed, experiment["name"], "random_time", n, float(h)).random(draws)) / draws
            x0 = simulate.initial_clouds(experiment, int(n), d, seed=seed)
            method = simulate.make_method(experiment["integrator"])
            for k, (state, _, _) in enumerate(flow.integrate(rhs, x0, [*times, horizon], method, carried=1, progress=True)):
                average[b, s] = state.carried[:, 0] / horizon
                if k == draws:
                    break
                velocity = field.at_particles(state.x).velocity
                for r, (x, v) in enumerate(zip(state.x, velocity, strict=True)):
                    distance[b, s, r, :, k] = [squared_w2(x, x + step * unit * v).squared_distance for step in grid]
    units = np.array([step_unit(experiment, float(h)) for h in bandwidths])[:, None, None, None]
    error = np.sqrt((np.diff(distance.reshape(*distance.shape[:-1], -1, 2))[..., 0] ** 2).sum(-1)) / draws
    each = ("bandwidth", "n_particles", "replicate")
    variables = {
        "average_squared_speed": (each, average, "time average of D_N", "length^2 time^-2"),
        "squared_distance": ((*each, "step"), distance.mean(-1), "mean of W2^2 over random times", "length^2"),
        "squared_distance_error": ((*each, "step"), error, "standard error of that mean", "length^2"),
        "coupling_bound": ((*each, "step"), (units * grid) ** 2 * average[..., None], "eta^2 times the time average of D_N", "length^2"),
    }
    coordinates = {
        "step": (grid, "step eta / h^2", "1"),
        "bandwidth": (bandwidths, "bandwidth h", "length"),
        "n_particles": (sizes, "number of particles N", "1"),
    }
    return labelled(variables, coordinates, {"experiment": json.dumps(experiment, sort_keys=True), "seed": seed, "draws": draws})
