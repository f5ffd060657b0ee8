"""The leave-one-out Laplace displacement flow along rules h = h(N), and the admissible steps of all fields: section 6.6, (70)(71).

Data follow two Gaussian modes (`law`). In d = 1 the target is that law smoothed in closed form, otherwise M points of it, drawn anew for
each replicate. All rules agree at the least N, and the horizon is the same for every N.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from scipy import stats
from scipy.spatial import cKDTree

from driftrates import flow, kernels, random
from driftrates.fields import DriftField, SmoothedPoints
from driftrates.laplace.closed_form import LaplaceSmoothedMixture
from driftrates.laplace.coercivity import integrals
from driftrates.laplace.events import measure_events
from driftrates.measurements import transport
from driftrates.targets import GaussianMixture

DEVIATION = 0.5
"""Standard deviation of the two modes at -1 and 1 on the first axis."""
REACH = 6.0
"""Particles farther from both modes than this many standard deviations count as ejected."""

RULES = {"occupancy": "C (log N / N)^(1/d)", "bias": "C N^(-1/(d+4))", "fixed": "C"}
STARTS = {"target": "independent points of the unsmoothed law", "wide": "one Gaussian about the origin, standard deviation 1.5"}
METHODS = {
    "conservative": ("conservative", "gaussian", False),
    "displacement, Gaussian": ("displacement", "gaussian", False),
    "displacement, Laplace": ("displacement", "laplace", False),
    "leave-one-out, Laplace": ("displacement", "laplace", True),
    "sharp, Laplace": ("sharp", "laplace", False),
}
"""field, kernel and leave_one_out of the methods that are compared."""
LAPLACE = ("displacement, Laplace", "leave-one-out, Laplace")
"""The methods that move along the Laplace displacement field."""

CARRIERS = {
    "root_residual": ("sqrt(delta), root residual velocity", "length"),
    "root_energy": ("sqrt(E#)", "length"),
    "root_speed": ("sqrt(D_lap)", "length"),
    "particle_speed": ("median over the particles of |v_i(x_i)|", "length"),
    "radius_gap": ("e_rho as the q#-mean of |rho_p - rho_mu|", "length"),
    "largest_radius_gap": ("e_rho as the largest |rho_p - rho_mu| over points of q#", "length"),
    "distance": ("W2 to held-out unsmoothed data, sliced for d >= 2", "length"),
}
_PATHS = {
    "squared_speed": ("D_lap (48), mean of |v_i(x_i)|^2", "length^2"),
    "top_share": ("largest share of one particle in D_lap", "1"),
    "ejected": (f"share of particles farther than {REACH:g} standard deviations from both modes", "1"),
    "isolated": ("share of particles with no other within h", "1"),
}
LARGEST_DATA = 2**14
_TOLERANCE = {"rtol": 1e-4, "atol": 1e-6}
_LATE = (0.25, 0.5, 1.0)
_RELAXING = 64
_DIFFERENCE = 1e-6


class Case(NamedTuple):
    """Dimension, number of data points (0: the law itself, smoothed in closed form) and start of `STARTS`."""

    dimension: int
    points: int
    start: str


def law(d: int) -> GaussianMixture:
    """Two equal isotropic Gaussians at -1 and 1 on the first axis of R^d."""
    means = np.zeros((2, d))
    means[:, 0] = -1.0, 1.0
    return GaussianMixture(np.ones(2), means, np.full(2, DEVIATION**2))


def bandwidths(rule: str, d: int, sizes: Sequence[int], first: float) -> np.ndarray:
    """h(N) by one of `RULES`, with the C for which the least N has the bandwidth ``first`` (> 0). ``ValueError`` for another rule."""
    n = np.asarray(sizes, float)
    if rule not in RULES:
        raise ValueError(f"unknown rule {rule!r}; known: {', '.join(RULES)}")
    shape = {"occupancy": (np.log(n) / n) ** (1 / d), "bias": n ** (-1 / (d + 4)), "fixed": np.ones_like(n)}[rule]
    return first * shape / shape[n.argmin()]


def make_field(method: str, h: float, data: np.ndarray) -> DriftField:
    """The field of one of `METHODS` toward data (R or 1, M, d). Raises ``ValueError`` for another method."""
    if method not in METHODS:
        raise ValueError(f"unknown method {method!r}; known: {', '.join(METHODS)}")
    name, kernel, left_out = METHODS[method]
    return DriftField(name, SmoothedPoints(data, kernels.make(kernel), h), kernels.make(kernel), h, left_out)


def natural_step(field: DriftField) -> float:
    """1 for displacements, h^2 for differences of scores: the unit in which steps are looked for."""
    return 1.0 if field.name == "displacement" else field.h**2


def median_slope(x: Sequence[float], values: np.ndarray, *, resamples: int, seed: int) -> tuple[float, float, float]:
    """Slope of log(median over replicates) against log x with its 95 % bootstrap percentile interval, values (len(x), R >= 3).

    Medians, since single replicates eject particles. NaN where a value is not positive and finite.
    """
    abscissa = np.log(np.asarray(x, float))
    centred = abscissa - abscissa.mean()
    if not (np.isfinite(values).all() and (values > 0).all()):
        return math.nan, math.nan, math.nan

    def slope(*groups: np.ndarray, axis: int = -1) -> np.ndarray:
        y = np.log(np.stack([np.median(g, axis) for g in groups], axis=-1))
        return y @ centred / (centred @ centred)

    rng = random.generator(seed, "median slope")
    found = stats.bootstrap(tuple(values), slope, n_resamples=resamples, method="percentile", vectorized=True, rng=rng)
    return float(slope(*values)), float(found.confidence_interval.low), float(found.confidence_interval.high)


def measure_laplace_rates(
    *,
    seed: int,
    sizes: Sequence[int] = (16, 30, 56, 104, 194, 362),
    data_sizes: Sequence[int] = (64, 256, 1024),
    replicates: int = 7,
    bandwidth: float = 0.8,
    horizon: float = 64.0,
    samples: int = 256,
    scramblings: int = 4,
    held_out: int = 4096,
    projections: int = 16,
    resamples: int = 999,
    step_particles: Sequence[int] = (64, 128),
    step_bandwidths: Sequence[float] = (0.1, 0.18, 0.32, 0.56, 1.0),
    step_replicates: int = 3,
    halvings: int = 6,
    flights: Sequence[Sequence[int]] = ((8, 4), (32, 128)),
    flight_replicates: int = 16,
    flight_horizon: float = 20.0,
) -> xr.Dataset:
    """Section 6.6 and A6.2: carriers along h = h(N), admissible steps against h, and events of `events.measure_events`.

    Cases: d = 1 toward the smoothed law from both `STARTS`; d = 2 toward each M of ``data_sizes``; d = 3 toward the largest. For each
    case, rule of `RULES` and N of ``sizes``: `CARRIERS` of the last cloud at time ``horizon``, `_PATHS` at a quarter, half and the whole
    of it, the distance of the data themselves; ``bandwidth`` is h at the least N. E# and delta as in `coercivity.integrals`.
    ``exponent`` (case, rule, carrier, against, bound): slope of the medians with its interval (value, low, high), against N or 1/h; under
    the fixed rule, whose h does not vary, against 1/h of the rule "occupancy" at the same N.
    ``stable_step``, ``linear_step``, ``lipschitz`` with `lipschitz_bound` (step_dimension, drift, step_bandwidth, step_replicate) for
    ``step_particles`` in d = 1, 2, ..., and ``step_exponent`` in h.
    Raises ``ValueError`` for fewer than three sizes, bandwidths or replicates, and for data sizes beyond `LARGEST_DATA`.
    """
    if min(len(set(sizes)), len(set(step_bandwidths)), replicates, step_replicates) < 3:
        raise ValueError("laplace_rates needs at least 3 sizes, 3 step_bandwidths, 3 replicates and 3 step_replicates")
    if not 1 <= min(data_sizes) <= max(data_sizes) <= LARGEST_DATA:
        raise ValueError(f"laplace_rates needs data_sizes from 1 to {LARGEST_DATA}, not {list(data_sizes)}")
    cases = [Case(1, 0, start) for start in STARTS] + [Case(2, m, "target") for m in data_sizes] + [Case(3, max(data_sizes), "target")]
    shape = (len(cases), len(RULES), len(sizes), replicates)
    widths = np.array([[bandwidths(rule, case.dimension, sizes, bandwidth) for rule in RULES] for case in cases])
    carriers = {name: np.empty(shape) for name in CARRIERS}
    paths = {name: np.empty((*shape, len(_LATE))) for name in _PATHS}
    own = np.full((len(cases), replicates), np.nan)
    for c, case in enumerate(cases):
        data = _data(case, replicates, seed)
        aim = law(case.dimension).sample(
            random.generator(seed, "held out", case.dimension), (held_out * (16 if case.dimension == 1 else 1),)
        )
        sliced = {"projections": None if case.dimension == 1 else projections, "seed": seed}
        if data is not None:
            own[c] = [transport.w2_to_data(y, aim, **sliced) for y in data]
        for k, s in np.ndindex(shape[1:3]):
            h = float(widths[c, k, s])
            start = _starts(case, int(sizes[s]), replicates, seed)
            for t, cloud in enumerate(_flow(case, data, start, h, horizon)):
                for name, values in _along(case, data, cloud, h).items():
                    paths[name][c, k, s, :, t] = values
            carriers["distance"][c, k, s] = [transport.w2_to_data(x, aim, **sliced) for x in cloud]
            carriers["root_speed"][c, k, s] = np.sqrt(paths["squared_speed"][c, k, s, :, -1])
            velocity = _field(case, data, h).at_particles(cloud).velocity
            carriers["particle_speed"][c, k, s] = np.median(np.sqrt((velocity**2).sum(-1)), axis=1)
            for r, x in enumerate(cloud):
                field = _field(case, data if data is None else data[r : r + 1], h)
                label = int(random.generator(seed, "rates quadrature", *case, k, int(sizes[s]), r).integers(2**31))
                found = integrals(field, x, samples=samples, scramblings=scramblings, seed=label)
                carriers["root_residual"][c, k, s, r] = math.sqrt(found.value["residual"])
                carriers["root_energy"][c, k, s, r] = math.sqrt(found.value["energy"])
                carriers["radius_gap"][c, k, s, r] = found.value["radius_gap"]
                carriers["largest_radius_gap"][c, k, s, r] = found.suprema["radius_gap"]
        print(f"laplace_rates: {case} done", flush=True)
    cells = ("case", "rule", "n_particles", "replicate")
    variables = {name: (cells, v, *CARRIERS[name]) for name, v in carriers.items()}
    variables |= {name: ((*cells, "time"), v, *_PATHS[name]) for name, v in paths.items()}
    variables["bandwidth"] = (cells[:3], widths, "bandwidth h", "length")
    variables["data_distance"] = (("case", "replicate"), own, "W2 of the data themselves to the held-out data", "length")
    exponents = _exponents(np.asarray(sizes, float), widths, carriers, resamples, seed)
    text = "slope of log(median) with its bootstrap interval"
    variables["exponent"] = (("case", "rule", "carrier", "against", "bound"), exponents, text, "1")
    variables |= _steps(seed, step_particles, np.asarray(step_bandwidths, float), step_replicates, halvings, resamples)
    coordinates = {
        "dimension": ("case", np.array([case.dimension for case in cases]), "dimension d", "1"),
        "points": ("case", np.array([case.points for case in cases]), "number M of data points, 0 for the law itself", "1"),
        "start": ("case", np.array([case.start for case in cases], object), _legend(STARTS), "1"),
        "rule": ("rule", np.array(list(RULES), object), _legend(RULES), "1"),
        "n_particles": ("n_particles", np.asarray(sizes, np.int64), "number of particles N", "1"),
        "time": ("time", horizon * np.array(_LATE), "time", "1"),
        "carrier": ("carrier", np.array(list(CARRIERS), object), "carrier of a rate", "1"),
        "against": ("against", np.array(["n", "1/h"], object), "abscissa of the slope", "1"),
        "bound": ("bound", np.array(["value", "low", "high"], object), "slope, ends of its 95 % interval", "1"),
        "drift": ("drift", np.array(list(METHODS), object), "field and kernel", "1"),
        "step_bandwidth": ("step_bandwidth", np.asarray(step_bandwidths, float), "bandwidth h", "length"),
        "step_dimension": ("step_dimension", np.arange(1, 1 + len(step_particles)), "dimension d", "1"),
        "step_particles": ("step_dimension", np.asarray(step_particles, np.int64), "number of particles N", "1"),
        "quantity": ("quantity", np.array(list(_STEP_QUANTITIES), object), "what an exponent in h belongs to", "1"),
    }

    def described(table: dict[str, tuple]) -> dict[str, tuple]:
        return {name: (dims, values, {"long_name": label, "units": unit}) for name, (dims, values, label, unit) in table.items()}

    out = xr.Dataset(described(variables), described(coordinates), {"seed": seed, "horizon": horizon})
    return out.merge(measure_events(seed=seed, cells=flights, replicates=flight_replicates, horizon=flight_horizon))


def case_label(case: xr.Dataset) -> str:
    """One case of `measure_laplace_rates` in a few words."""
    points = int(case["points"])
    start = "" if str(case["start"].item()) == "target" else ", wide start"
    return f"d={int(case['dimension'])}, {f'M={points}' if points else 'law'}{start}"


def with_interval(exponent: xr.DataArray) -> tuple[float, float, float]:
    """Value and ends of an exponent along its dimension ``bound``."""
    value, low, high = exponent.sel(bound=["value", "low", "high"]).values
    return float(value), float(low), float(high)


def _legend(table: dict[str, str]) -> str:
    return "; ".join(f"{name}: {text}" for name, text in table.items())


def _data(case: Case, replicates: int, seed: int) -> np.ndarray | None:
    """Data (R, M, d) of a case; the smaller sets are the beginnings of the larger ones."""
    if not case.points:
        return None
    draws = (random.generator(seed, "rates data", case.dimension, r) for r in range(replicates))
    return np.stack([law(case.dimension).sample(rng, (LARGEST_DATA,))[: case.points] for rng in draws])


def _starts(case: Case, n: int, replicates: int, seed: int) -> np.ndarray:
    """Starts (R, N, d), the same under every rule and for every M."""
    clouds = []
    for r in range(replicates):
        rng = random.generator(seed, "rates start", case.start, case.dimension, n, r)
        clouds.append(1.5 * rng.standard_normal((n, case.dimension)) if case.start == "wide" else law(case.dimension).sample(rng, (n,)))
    return np.stack(clouds)


def _field(case: Case, data: np.ndarray | None, h: float) -> DriftField:
    kernel = kernels.make("laplace")
    target = LaplaceSmoothedMixture(law(case.dimension), h) if data is None else SmoothedPoints(data, kernel, h)
    return DriftField("displacement", target, kernel, h, True)


def _flow(case: Case, data: np.ndarray | None, start: np.ndarray, h: float, horizon: float) -> Iterator[np.ndarray]:
    def rhs(_: Any, x: np.ndarray, replicates: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        field = _field(case, data if data is None else data[replicates], h)
        return field.at_particles(x).velocity, np.zeros((len(x), 0))

    for record in flow.integrate(rhs, start, horizon * np.array(_LATE), flow.DormandPrince(**_TOLERANCE)):
        yield record.state.x


def _along(case: Case, data: np.ndarray | None, cloud: np.ndarray, h: float) -> dict[str, np.ndarray]:
    squared = (_field(case, data, h).at_particles(cloud).velocity ** 2).sum(-1)
    centres = law(case.dimension).means
    away = np.linalg.norm(cloud[:, :, None] - centres, axis=-1).min(2)
    nearest = np.stack([cKDTree(x).query(x, k=2)[0][:, 1] for x in cloud])
    return {
        "squared_speed": squared.mean(1),
        "top_share": squared.max(1) / np.maximum(squared.sum(1), 1e-300),
        "ejected": (away > REACH * DEVIATION).mean(1),
        "isolated": (nearest > h).mean(1),
    }


def _exponents(sizes: np.ndarray, widths: np.ndarray, carriers: dict[str, np.ndarray], resamples: int, seed: int) -> np.ndarray:
    rules = list(RULES)
    out = np.empty((*widths.shape[:2], len(CARRIERS), 2, 3))
    for c, k, name in np.ndindex(out.shape[:3]):
        h = widths[c, rules.index("occupancy") if rules[k] == "fixed" else k]
        for j, x in enumerate((sizes, 1 / h)):
            out[c, k, name, j] = median_slope(x, carriers[list(CARRIERS)[name]][c, k], resamples=resamples, seed=seed)
    return out


# admissible steps ------------------------------------------------------------------------------------------------------

STEP_TOLERANCE = 0.25
"""Granted to exponents over one decade of h, at whose ends the kernel meets the spacing of the particles and the width of the data."""
_STEP_QUANTITIES = {
    "stable_step": ("largest stable Euler step from relaxed clouds, transport.largest_stable_step", "time"),
    "linear_step": ("limit of the linearised Euler step there, transport.linear_step_limit", "time"),
    "lipschitz": ("largest operator norm of the frozen field's Jacobian at points x_i + h z", "time^-1"),
}
_BOUND = ("bound of that norm for the Laplace displacement field, largest 2 (rho_p + rho_mu) / h at these points", "time^-1")


def lipschitz(field: DriftField, cloud: np.ndarray, points: np.ndarray) -> float:
    """Largest operator norm of the Jacobian of the frozen field of a cloud (N, d) over points (n, d), by central differences."""
    step = _DIFFERENCE * field.h
    shifts = step * np.eye(cloud.shape[1])
    ahead, behind = (
        field.at((points[:, None] + s * shifts).reshape(1, -1, cloud.shape[1]), cloud[None]).velocity.reshape(len(points), *shifts.shape)
        for s in (1, -1)
    )
    return float(np.linalg.norm((ahead - behind) / (2 * step), ord=2, axis=(1, 2)).max())


def lipschitz_bound(field: DriftField, cloud: np.ndarray, points: np.ndarray) -> float:
    """Largest 2 (rho_p + rho_mu) / h over points (n, d): it bounds the Jacobian of the Laplace displacement field of a cloud (N, d).

    The Jacobian of m_mu is Cov(z, z / |z|) / h - I for z = y - x under the weights of the mean shift, and |Cov| <= 2 E|z| = 2 rho_mu.
    """
    measures = (field.target, SmoothedPoints(cloud[None], field.kernel, field.h))
    return float((2 * sum(m.scale(points[None])[0] / field.h**2 - 1 for m in measures)).max())


def _steps(seed: int, particles: Sequence[int], widths: np.ndarray, replicates: int, halvings: int, resamples: int) -> dict[str, tuple]:
    shape = (len(particles), len(METHODS), len(widths), replicates)
    found, bound = {name: np.empty(shape) for name in _STEP_QUANTITIES}, np.full(shape, np.nan)
    for i, n in enumerate(particles):
        d = i + 1
        draws = [random.generator(seed, "rates steps", d, r) for r in range(replicates)]
        data, start = (np.stack([law(d).sample(rng, (m,)) for rng in draws]) for m in (4 * n, n))
        noise = np.stack([rng.standard_normal((n, d)) for rng in draws])
        for (k, method), (b, h) in ((p, q) for p in enumerate(METHODS) for q in enumerate(widths)):
            field = make_field(method, float(h), data)
            unit, x = natural_step(field), start.copy()
            for _ in range(_RELAXING):
                x = x + unit / 4 * field.at_particles(x).velocity
            stable = transport.largest_stable_step(field, x, low=1e-2 * unit, high=1e2 * unit, count=32, halvings=halvings)
            found["stable_step"][i, k, b] = stable
            for r in range(replicates):
                alone = make_field(method, float(h), data[r : r + 1])
                found["linear_step"][i, k, b, r] = transport.linear_step_limit(alone, x[r])
                points = x[r] + h * noise[r]
                found["lipschitz"][i, k, b, r] = lipschitz(alone, x[r], points)
                if method in LAPLACE:
                    bound[i, k, b, r] = lipschitz_bound(alone, x[r], points)
    exponents = np.empty((*shape[:2], len(_STEP_QUANTITIES), 3))
    for i, k, q in np.ndindex(exponents.shape[:3]):
        values = found[list(_STEP_QUANTITIES)[q]][i, k]
        exponents[i, k, q] = median_slope(widths, values, resamples=resamples, seed=seed)
    cells = ("step_dimension", "drift", "step_bandwidth", "step_replicate")
    variables = {name: (cells, v, *_STEP_QUANTITIES[name]) for name, v in found.items()}
    variables["lipschitz_bound"] = (cells, bound, *_BOUND)
    variables["step_exponent"] = ((*cells[:2], "quantity", "bound"), exponents, "exponent in h with its bootstrap interval", "1")
    return variables
