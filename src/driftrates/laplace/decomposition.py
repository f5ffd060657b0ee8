"""The exact splits of the displacement field, v = alpha_mu g + r (53), the scales of L6.1 and the curl of R6.11, with slow references.

With the sharp scores s# and the scales alpha of data p and cloud mu: g = s#_p - s#_mu, r = (alpha_p - alpha_mu) s#_p (52).
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from scipy import optimize

from driftrates import fieldmaps, kernels, random
from driftrates.fieldmaps import circulation, flux_of_curl
from driftrates.fields import DriftField, SmoothedPoints
from driftrates.kernels import Kernel, Laplace
from driftrates.laplace.uniqueness import measure_uniqueness
from driftrates.sums import reference
from driftrates.sums.program import compile_terms

DIMENSIONS = (1, 2, 3, 5)
PLACES = ("random", "near particles", "near data", "far away")
CURL_KERNELS = ("laplace", "gaussian")
LOOPS = ("around an atom", "free of atoms", "around many atoms")

_PARTICLES, _DATA = 8, 12
_NEAR, _FAR = 1e-6, (10.0, 1e3)
_CLEARANCE = 0.05
_STEP = 1e-30
_NODES = 48
_LINES, _SCAN = 24, 401


class Decomposition(NamedTuple):
    """The parts of v at n points: ``velocity``, ``gap`` g, ``residual`` r, ``other_residual`` (alpha_p - alpha_mu) s#_mu,
    ``target_sharp`` s#_p and ``model_sharp`` s#_mu, (R, n, d); ``target_scale`` alpha_p and ``model_scale`` alpha_mu, (R, n)."""

    velocity: Any
    gap: Any
    residual: Any
    other_residual: Any
    target_sharp: Any
    model_sharp: Any
    target_scale: Any
    model_scale: Any

    @property
    def coherent(self) -> Any:
        """alpha_mu g, (R, n, d): the part that pulls toward the data by the gap of the sharp scores alone."""
        return self.model_scale[..., None] * self.gap

    @property
    def split(self) -> Any:
        """alpha_mu g + r of (53), (R, n, d)."""
        return self.coherent + self.residual

    @property
    def other_split(self) -> Any:
        """alpha_p g + (alpha_p - alpha_mu) s#_mu, (R, n, d)."""
        return self.target_scale[..., None] * self.gap + self.other_residual


def decompose(field: DriftField, points: Any, cloud: Any) -> Decomposition:
    """The parts (52), (53) of the displacement field of the frozen cloud (R, N, d) at points (R, n, d), no particle left out.

    Raises ``ValueError`` for another field.
    """
    if field.name != "displacement":
        raise ValueError(f"the decomposition (53) is that of the displacement field, not of {field.name!r}")
    model = SmoothedPoints(cloud, field.kernel, field.h)
    sharp_p, sharp_q = (measure.statistic("sharp_score", points).value for measure in (field.target, model))
    scale_p, scale_q = field.target.scale(points), model.scale(points)
    excess = (scale_p - scale_q)[..., None]
    velocity = field.at(points, cloud).velocity
    return Decomposition(velocity, sharp_p - sharp_q, excess * sharp_p, excess * sharp_q, sharp_p, sharp_q, scale_p, scale_q)


# slow references ------------------------------------------------------------------------------------------------------


def laplace_radius(x: np.ndarray, y: np.ndarray, h: float) -> tuple[np.ndarray, np.ndarray]:
    """(m, rho) of the Laplace kernel at x (n, d): mean shift (n, d) and local weighted radius (n,) of the sources y (M, d)."""
    offset = y[None] - x[:, None]
    r = np.sqrt((offset**2).sum(-1))
    weight = np.exp((r.min(1, keepdims=True) - r) / h)
    weight /= weight.sum(1, keepdims=True)
    return (weight[..., None] * offset).sum(1), (weight * r).sum(1)


def _sums(kernel: Kernel, x: np.ndarray, y: np.ndarray, h: float, *terms: str) -> list[np.ndarray]:
    """Sums of the slow engine at real or complex x (n, d), the decay of the nearest source taken out: (n,) or (n, d) each."""
    program = compile_terms(kernel, x.shape[1], terms)
    nearest = np.sqrt(reference.nearest(x.real[None] / h, y[None] / h))
    rows = reference.accumulate(program, x[None] / h, y[None] / h, -kernel.log_decay(nearest, x.shape[1]))[0]
    found = []
    for term in terms:
        start, width, vector = program.slots[term]
        found.append(rows[start : start + width].T if vector else rows[start])
    return found


def _slopes(function: Any, x: np.ndarray) -> np.ndarray:
    """d function / d x_a at x (n, d) by complex steps, the axis a last; function maps (n, d) to (n, ...)."""
    return np.stack([function(x + 1j * _STEP * e).imag / _STEP for e in np.eye(x.shape[1])], axis=-1)


def sharp_score(kernel: Kernel, x: np.ndarray, y: np.ndarray, h: float) -> np.ndarray:
    """grad log (K#_h * mu) at x (n, d) by complex steps through the sum of the companion K# alone, (n, d)."""
    return _slopes(lambda z: np.log(_sums(kernel, z, y, h, "companion")[0]), x)


def curl_by_steps(kernel: Kernel, x: np.ndarray, y: np.ndarray, h: float) -> np.ndarray:
    """d_1 m_2 - d_2 m_1 at x (n, 2), not at a source, by complex steps through the mean shift m, (n,)."""

    def shift(z: np.ndarray) -> np.ndarray:
        mass, pull = _sums(kernel, z, y, h, "k", "kz")
        return h * pull / mass[:, None]

    jacobian = _slopes(shift, x)
    return jacobian[:, 1, 0] - jacobian[:, 0, 1]


def curl_by_formula(kernel: Kernel, x: np.ndarray, y: np.ndarray, h: float) -> np.ndarray:
    """grad alpha x s# of R6.11 at x (n, 2), not at a source: both factors by complex steps, (n,)."""

    def scale(z: np.ndarray) -> np.ndarray:
        mass, companion = _sums(kernel, z, y, h, "k", "companion")
        return h**2 * companion / mass

    slope, sharp = _slopes(scale, x), sharp_score(kernel, x, y, h)
    return slope[:, 0] * sharp[:, 1] - slope[:, 1] * sharp[:, 0]


def sharp_laplacian(x: np.ndarray, y: np.ndarray, h: float) -> tuple[np.ndarray, np.ndarray]:
    """h^2 (Laplacian Q) / Q and log Q at x (n, d), (n,) each; Q is the measure of y (M, d) smoothed by (1 + s) e^-s, normalised.

    Cauchy's integral over a circle of half the distance to the nearest source in the complex plane of each coordinate: only
    values of Q enter. Rounding errors are magnified by (h / that radius)^2.
    """
    d = x.shape[1]
    offset = (y[None] - x[:, None]) / h
    distance = np.sqrt((offset**2).sum(-1))
    nearest = distance.min(1)
    radius = np.minimum(2.0, nearest / 2)
    turn = np.exp(2j * np.pi * np.arange(_NODES) / _NODES)
    centre = ((1 + distance) * np.exp(nearest[:, None] - distance)).mean(1)
    total = np.zeros(len(x))
    for k in range(d):
        moved = offset[:, :, k, None] - radius[:, None, None] * turn
        s = np.sqrt((offset**2).sum(-1)[..., None] - offset[:, :, k, None] ** 2 + moved**2)
        values = ((1 + s) * np.exp(nearest[:, None, None] - s)).mean(1)
        total += 2 * (values * turn**-2).mean(1).real / radius**2
    return total / centre, np.log(centre / ((d + 1) * Laplace().normaliser(d) * h**d)) - nearest


# the study -------------------------------------------------------------------------------------------------------------


def measure_decomposition(*, seed: int, bandwidth: float = 0.5, points: int = 121, probes: int = 100, starts: int = 16) -> xr.Dataset:
    """Everything that L6.1, (53), R6.11 and X4 are judged by, and the maps of the figures.

    bandwidth h (> 0, length), points (>= 2) per axis of the maps, probes (>= 1) per place and dimension, starts (>= 1) of each
    minimisation of `uniqueness.measure_uniqueness`. The dimensions of the Dataset: ``kernel``, ``dimension``, ``place`` and ``probe`` of
    the identities, whose differences come relative to the size of what is compared, with ``rounding``, the relative error that
    floating-point sums may have there; ``x`` and ``y`` of the maps; ``distance`` along a ray; ``curl_probe``, ``loop`` and ``zero``
    (points with r = 0), each for the kernels ``field``; those of `uniqueness.measure_uniqueness`. ``cloud`` and ``data`` of the plane.
    """
    variables: dict[str, tuple[tuple[str, ...], Any, dict[str, str]]] = {}

    def add(name: str, dims: tuple[str, ...], values: Any, text: str, unit: str = "1") -> None:
        variables[name] = (dims, values, {"long_name": text, "units": unit})

    _identities(add, seed, bandwidth, probes)
    coordinates = _plane(add, seed, bandwidth, points, probes)
    variables |= measure_uniqueness(seed=seed, h=bandwidth, starts=starts)
    for name, dims, values, text in (
        ("kernel", "kernel", list(kernels.names()), "kernel of the identities"),
        ("dimension", "dimension", np.array(DIMENSIONS), "space dimension d"),
        ("place", "place", list(PLACES), "where the probes lie"),
        ("field", "field", list(CURL_KERNELS), "kernel of the displacement field"),
        ("measure", "measure", ["data", "cloud"], "smoothed measure"),
    ):
        coordinates[name] = (dims, values, {"long_name": text, "units": "1"})
    return xr.Dataset(variables, coordinates, {"seed": seed, "bandwidth": bandwidth})


def configuration(seed: int, d: int, h: float) -> tuple[np.ndarray, np.ndarray]:
    """Small cloud (N, d) and data set (M, d) of different width and centre, so that the local radii differ, at the scale of h."""
    rng = random.generator(seed, "decomposition", d)
    shift = h * np.eye(d)[0]
    return 2.4 * h * rng.normal(size=(_PARTICLES, d)) - shift, 1.4 * h * rng.normal(size=(_DATA, d)) + shift


def _probes(rng: np.random.Generator, place: str, cloud: np.ndarray, data: np.ndarray, h: float, count: int) -> np.ndarray:
    d = cloud.shape[1]
    direction = rng.normal(size=(count, d))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    if place == "random":
        return 4 * h * rng.uniform(-1, 1, (count, d))
    if place == "far away":
        return h * np.geomspace(*_FAR, count)[:, None] * direction
    near = cloud if place == "near particles" else data
    return near[np.arange(count) % len(near)] + _NEAR * h * direction


def _identities(add: Any, seed: int, h: float, count: int) -> None:
    """Differences of both sides of L6.1, (53) and X4 at the probes, each in units of what it is compared with."""
    eps, laplace = np.finfo(float).eps, Laplace()
    full = (len(kernels.names()), len(DIMENSIONS), len(PLACES), count)
    found = {name: np.full(full, np.nan) for name in ("shift", "shift_unscaled", "rounding")}
    names = ("radius", "radius_plain", "split", "split_wrong", "other", "other_wrong", "laplacian", "laplacian_plain", "smoothing")
    found |= {name: np.full(full[1:], np.nan) for name in (*names, "clearance")}
    for (i, d), (j, place) in ((a, b) for a in enumerate(DIMENSIONS) for b in enumerate(PLACES)):
        cloud, data = configuration(seed, d, h)
        x = _probes(random.generator(seed, "probes", d, place), place, cloud, data, h, count)
        reach = np.linalg.norm(np.concatenate([cloud, data])[None] - x[:, None], axis=-1)
        for k, name in enumerate(kernels.names()):
            kernel, mu = kernels.make(name), SmoothedPoints(cloud[None], kernels.make(name), h)
            m, scale = mu.statistic("mean_shift", x[None]).value[0], mu.scale(x[None])[0][:, None]
            sharp, size = sharp_score(kernel, x, cloud, h), np.maximum(np.linalg.norm(m, axis=1), h)
            found["shift"][k, i, j] = np.linalg.norm(m - scale * sharp, axis=1) / size
            found["shift_unscaled"][k, i, j] = np.linalg.norm(m - h**2 * sharp, axis=1) / size
            found["rounding"][k, i, j] = eps * (len(data) - kernel.log_decay(reach.max(1) / h, d))
        mu, field = SmoothedPoints(cloud[None], laplace, h), DriftField("displacement", SmoothedPoints(data[None], laplace, h), laplace, h)
        parts = Decomposition(*(part[0] for part in decompose(field, x[None], cloud[None])))
        (pull_p, rho_p), (pull_q, rho_q) = laplace_radius(x, data, h), laplace_radius(x, cloud, h)
        alpha_p, alpha_q, scales = h**2 + h * rho_p, h**2 + h * rho_q, (parts.target_scale, parts.model_scale)
        found["radius"][i, j] = np.maximum(*(np.abs(s / a - 1) for s, a in zip(scales, (alpha_p, alpha_q), strict=True)))
        found["radius_plain"][i, j] = np.maximum(*(np.abs(1 - h**2 / s) for s in scales))
        size = np.linalg.norm(pull_p, axis=1) + np.linalg.norm(pull_q, axis=1) + h
        wrong = (parts.target_scale - parts.model_scale)[:, None] * parts.gap
        for name, split, broken in (("split", parts.split, parts.split + wrong), ("other", parts.other_split, parts.other_split - wrong)):
            found[name][i, j] = np.linalg.norm(split - (pull_p - pull_q), axis=1) / size
            found[f"{name}_wrong"][i, j] = np.linalg.norm(broken - (pull_p - pull_q), axis=1) / size
        nearest = np.linalg.norm(cloud[None] - x[:, None], axis=-1).min(1) / h
        clear = nearest > _CLEARANCE
        lap, log_q = sharp_laplacian(x[clear], cloud, h)
        scale, log_z = parts.model_scale[clear], mu.statistic("mean_shift", x[None]).log_density[0, clear]
        found["laplacian"][i, j, clear] = np.abs(1 - lap - (d + 1) * h**2 / scale)
        found["laplacian_plain"][i, j, clear] = np.abs(1 - (d + 1) * h**2 / scale)
        found["smoothing"][i, j, clear] = np.abs(1 - lap - np.exp(log_z - log_q))
        found["clearance"][i, j] = np.where(clear, np.minimum(2.0, nearest / 2), np.nan)
    four, three = ("kernel", "dimension", "place", "probe"), ("dimension", "place", "probe")
    add("shift_gap", four, found["shift"], "|m - alpha s#| over the larger of |m| and h")
    add("unscaled_gap", four, found["shift_unscaled"], "|m - h^2 s#| over the larger of |m| and h")
    add("rounding", four, found["rounding"], "machine epsilon times (atoms + largest exponent of the decay)")
    add("radius_gap", three, found["radius"], "|alpha / (h^2 + h rho) - 1|, the larger of cloud and data")
    add("plain_gap", three, found["radius_plain"], "|1 - h^2 / alpha|, the larger of cloud and data")
    add("split_gap", three, found["split"], "|v - alpha_mu g - r| over |m_p| + |m_mu| + h")
    add("split_wrong", three, found["split_wrong"], "|v - alpha_p g - r| over |m_p| + |m_mu| + h")
    add("other_gap", three, found["other"], "|v - alpha_p g - (alpha_p - alpha_mu) s#_mu| over |m_p| + |m_mu| + h")
    add("other_wrong", three, found["other_wrong"], "|v - alpha_mu g - (alpha_p - alpha_mu) s#_mu| over |m_p| + |m_mu| + h")
    add("laplacian_gap", three, found["laplacian"], "|1 - h^2 Laplacian Q / Q - (d + 1) h^2 / alpha|, cloud")
    add("laplacian_plain", three, found["laplacian_plain"], "|1 - (d + 1) h^2 / alpha|, cloud")
    add("smoothing_gap", three, found["smoothing"], "|(1 - h^2 Laplacian) Q - K_h * mu| over Q, cloud")
    add("circle", three, found["clearance"], "radius of the circles of Cauchy's integral over h")


def _plane(add: Any, seed: int, h: float, points: int, probes: int) -> dict[str, Any]:
    """Maps, ray, curls, loops and zeros of r in the plane; returns the coordinates."""
    cloud, data = configuration(seed, 2, h)
    atoms = np.concatenate([cloud, data])
    box = 1.15 * float(np.abs(atoms).max())
    axis = np.linspace(-box, box, points)
    grid = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
    fields = {
        name: DriftField("displacement", SmoothedPoints(data[None], k, h), k, h) for name in CURL_KERNELS for k in [kernels.make(name)]
    }
    laplace = fields["laplace"]
    distance = h * np.geomspace(0.1, 1e3, 200)
    ray = data.mean(0) + distance[:, None] * np.array([0.6, 0.8])
    for prefix, dims, x, shape in (("", ("y", "x"), grid, (points, points)), ("ray_", ("distance",), ray, (len(ray),))):
        parts = decompose(laplace, x[None], cloud[None])
        size = {k: np.linalg.norm(v[0], axis=1).reshape(shape) for k, v in _vectors(parts).items()}
        place = "on a ray" if prefix else "in the plane"
        for name, text, unit in (
            ("velocity", "|v|", "length"),
            ("gap", "|g|", "length^-1"),
            ("coherent", "|alpha_mu g|", "length"),
            ("residual", "|r|", "length"),
        ):
            add(prefix + name, dims, size[name], f"{text} {place}", unit)
        add(prefix + "share", dims, size["residual"] / (size["coherent"] + size["residual"]), f"|r| / (|alpha_mu g| + |r|) {place}")
        for name, scale in (("model_scale", parts.model_scale), ("target_scale", parts.target_scale)):
            add(prefix + name, dims, scale[0].reshape(shape), f"{'alpha_mu' if name[0] == 'm' else 'alpha_p'} {place}", "length^2")
    curls = np.array([f.curl(grid[None], cloud[None])[0].reshape(points, points) for f in fields.values()])
    add("curl", ("field", "y", "x"), curls, "curl v")
    add("cloud", ("particle", "component"), cloud, "particles", "length")
    add("data", ("atom", "component"), data, "data points", "length")

    candidates = random.generator(seed, "curl probes").uniform(-box, box, (8 * probes, 2))
    probe = candidates[_distance(candidates, atoms) > _CLEARANCE * h][:probes]
    add("curl_sums", ("field", "curl_probe"), [f.curl(probe[None], cloud[None])[0] for f in fields.values()], "curl v by the kernel sums")
    for name, by, text in (("formula", curl_by_formula, "grad alpha x s#"), ("steps", curl_by_steps, "complex steps of m")):
        values = [[by(f.kernel, probe, points, h) for points in (data, cloud)] for f in fields.values()]
        add(f"curl_{name}", ("field", "measure", "curl_probe"), values, f"curl m of data and cloud by {text}")

    loops = _loops(cloud, data, grid, box, h)
    kinds = [kind for kind, _, _ in loops]
    around = [[circulation(f, cloud, centre, radius) for _, centre, radius in loops] for f in fields.values()]
    add("circulation", ("field", "loop"), around, "circulation of v around closed loops", "length^2")
    through = [flux_of_curl(laplace, cloud, centre, radius) for _, centre, radius in loops]
    add("flux", ("loop",), through, "flux of curl v through them, Laplace kernel", "length^2")
    speed = [[_mean_speed(f, cloud, centre, radius) for _, centre, radius in loops] for f in fields.values()]
    add("loop_speed", ("field", "loop"), speed, "mean |v| on the loop", "length")
    jump = float(np.abs(curls[0]).max())
    errors = [_flux_error(atoms, jump, centre, radius) for _, centre, radius in loops]
    add(
        "flux_error", ("loop",), errors, "atoms inside but not at the centre, times the largest |curl v| and the area of a cell", "length^2"
    )
    add("centre", ("loop", "component"), np.array([centre for _, centre, _ in loops]), "centre of the loop", "length")
    add("radius", ("loop",), np.array([radius for *_, radius in loops]), "radius of the loop", "length")

    zeros = zeros_of_residual(laplace, cloud, box)
    parts = decompose(laplace, zeros[None], cloud[None])
    size = {k: np.linalg.norm(v[0], axis=1) for k, v in _vectors(parts).items()}
    add("zero_point", ("zero", "component"), zeros, "points with r = 0", "length")
    add("zero_residual", ("zero",), size["residual"] / size["velocity"], "|r| / |v| there")
    curl = []
    for field in fields.values():
        speed = np.linalg.norm(field.at(zeros[None], cloud[None]).velocity[0], axis=1)
        curl.append((curl_by_steps(field.kernel, zeros, data, h) - curl_by_steps(field.kernel, zeros, cloud, h)) * h / speed)
    add("zero_curl", ("field", "zero"), curl, "h curl v / |v| there")
    labels = {"x": (axis, "x_1"), "y": (axis, "x_2"), "distance": (distance, "distance from the mean of the data along the ray")}
    coordinates = {k: (k, v, {"long_name": text, "units": "length"}) for k, (v, text) in labels.items()}
    return {**coordinates, "loop": ("loop", np.array(kinds, dtype=object), {"long_name": "what the loop encloses", "units": "1"})}


def _vectors(parts: Decomposition) -> dict[str, np.ndarray]:
    return {"velocity": parts.velocity, "gap": parts.gap, "coherent": parts.coherent, "residual": parts.residual}


def _distance(x: np.ndarray, atoms: np.ndarray) -> np.ndarray:
    return np.linalg.norm(x[:, None] - atoms, axis=-1).min(1)


def _loops(cloud: np.ndarray, data: np.ndarray, grid: np.ndarray, box: float, h: float) -> list[tuple[str, np.ndarray, float]]:
    """(kind, centre, radius): around single atoms, in the largest gaps between them, and around many; none runs through an atom."""
    atoms, loops = np.concatenate([cloud, data]), []
    for centre in (*cloud[:3], *data[:3]):
        loops.append((LOOPS[0], centre, float(np.sort(np.linalg.norm(atoms - centre, axis=1))[1]) / 2))
    inner = grid[np.linalg.norm(grid, axis=1) < 0.6 * box]
    for _ in range(3):
        room = _distance(inner, np.concatenate([atoms, *([c] for kind, c, _ in loops if kind == LOOPS[1])]))
        loops.append((LOOPS[1], inner[room.argmax()], 0.7 * float(_distance(inner[[room.argmax()]], atoms)[0])))
    for radius in (1.0 * h, 2.0 * h, 4.0 * h):
        reach = np.sort(np.append(np.linalg.norm(atoms - data.mean(0), axis=1), [0.0, 99 * h]))
        k = int(np.searchsorted(reach, radius))
        # midway between the atoms inside and those outside
        loops.append((LOOPS[2], data.mean(0), float(min((reach[k - 1] + reach[k]) / 2, reach[k - 1] + h))))
    return loops


def _flux_error(atoms: np.ndarray, jump: float, centre: np.ndarray, radius: float) -> float:
    """Error of the product rule of `flux_of_curl`: the curl jumps at an atom, hence in one cell, unless that is the centre."""
    away = np.linalg.norm(atoms - centre, axis=1)
    return ((away > 0) & (away < radius)).sum() * jump * np.pi * radius**2 / math.prod(fieldmaps.DISC_NODES)


def _mean_speed(field: DriftField, cloud: np.ndarray, centre: np.ndarray, radius: float) -> float:
    angle = np.linspace(0, 2 * np.pi, 256, endpoint=False)
    circle = centre + radius * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    return float(np.linalg.norm(field.at(circle[None], cloud[None]).velocity[0], axis=1).mean())


def zeros_of_residual(field: DriftField, cloud: np.ndarray, box: float) -> np.ndarray:
    """Points (n, 2) with alpha_p = alpha_mu, hence r = 0, by root search along horizontal lines of the square [-box, box]^2.

    Raises ``ValueError`` where no line crosses such a point.
    """
    model = SmoothedPoints(cloud[None], field.kernel, field.h)

    def excess(x: np.ndarray) -> np.ndarray:
        return (field.target.scale(x[None]) - model.scale(x[None]))[0]

    along, zeros = np.linspace(-box, box, _SCAN), []
    for height in box * (np.arange(_LINES) - (_LINES - 1) / 2) / (_LINES / 2):
        values = excess(np.stack([along, np.full(_SCAN, height)], axis=1))
        for k in np.flatnonzero(values[:-1] * values[1:] < 0):
            root = optimize.brentq(lambda a, y=height: float(excess(np.array([[a, y]]))[0]), along[k], along[k + 1], xtol=1e-15, rtol=1e-14)
            zeros.append([root, height])
    if not zeros:
        raise ValueError("decomposition: alpha_p and alpha_mu agree on no line through the map; choose another seed")
    return np.array(zeros)
