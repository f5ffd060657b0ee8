"""Section 6.7: the methods of `rates.METHODS` side by side on the same starts, data and held-out data in the plane.

All take the same number of Euler steps, each with its own best stable step and bandwidth, both chosen on pilot data of their own.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence

import numpy as np
import xarray as xr
from scipy import stats

from driftrates import random
from driftrates.fields import STATISTICS, DriftField, SmoothedPoints
from driftrates.kernels import Kernel, make
from driftrates.laplace.decomposition import decompose
from driftrates.laplace.rates import METHODS, RULES, bandwidths, make_field, median_slope, natural_step
from driftrates.measurements import transport
from driftrates.measurements.transport import mmd2
from driftrates.sampling import sample_smoothed
from driftrates.sums.program import compile_terms
from driftrates.targets import GaussianMixture

RADIUS, DEVIATION, START_DEVIATION = 2.0, 0.3, 1.5
"""Circle of the eight modes of the data, standard deviation of each, and of the Gaussian starts; unit of length."""
METRIC_BANDWIDTH = 0.5
_PILOTS, _RELAXING = 4, 64
_TERMS = {"conservative": ("k", "gz"), "displacement": ("k", "kz"), "sharp": ("k", "kz", "companion")}
_FAR = 1e3
_TIMINGS = 15

CARRIERS = {
    "smoothed_speed": ("root of int q |v|^2 / alpha^2, q the cloud smoothed by the kernel whose score the field follows", "length^-1"),
    "distance": ("W2 to held-out data", "length"),
}
RATE_RULES = ("occupancy", "bias")
"""Of `rates.RULES`."""


def data_law() -> GaussianMixture:
    """Eight equal Gaussians on a circle."""
    angles = np.arange(8) * np.pi / 4
    return GaussianMixture(np.ones(8), RADIUS * np.stack([np.cos(angles), np.sin(angles)], 1), np.full(8, DEVIATION**2))


def own_bandwidth(method: str, h: float) -> float:
    """``h`` for the Laplace kernel, sqrt(3) h for the Gaussian one: equal second moments in the plane."""
    return h if METHODS[method][1] == "laplace" else float(np.sqrt(make("laplace").second_moment(2) / 2)) * h


def alpha(field: DriftField, points: np.ndarray, cloud: np.ndarray, *, at_particles: bool = False) -> np.ndarray:
    """alpha_mu of L6.1 at points (R, n, d), by which a displacement is divided to compare it with a score; 1 for scores."""
    if field.name != "displacement":
        return np.ones(points.shape[:2])
    left_out = at_particles and field.leave_one_out
    return SmoothedPoints(cloud, field.kernel, field.h, leave_one_out=left_out).scale(points)


def companion(field: DriftField) -> Kernel:
    """The kernel whose smoothing of the cloud has the score that ``field`` follows: K# but for the conservative field."""
    return field.kernel if field.name == "conservative" else _sharp(field.kernel)


def score_gap(field: DriftField, points: np.ndarray, law: str) -> float:
    """Largest h |statistic / scale - score| of the target over points (1, n, d), for the score of K_h * p ("pi") or of K#_h * p ("pi#")."""
    aim = field.target.statistic(STATISTICS[field.name], points)
    scale = field.target.scale(points)[..., None] if field.name == "displacement" else 1.0
    smoothed = SmoothedPoints(field.target.points, field.kernel if law == "pi" else _sharp(field.kernel), field.h)
    return float(field.h * np.linalg.norm(aim.value / scale - smoothed.statistic("score", points).value, axis=-1).max())


def _sharp(kernel: Kernel) -> Kernel:
    return make("matern32") if kernel.name == "laplace" else kernel


def rows_per_pair(method: str, d: int) -> int:
    """Numbers that one evaluation of the field accumulates for each pair of points."""
    name, kernel, left_out = METHODS[method]
    return compile_terms(make(kernel), d, _TERMS[name], left_out).rows


def euler(field: DriftField, x: np.ndarray, step: np.ndarray, count: int) -> np.ndarray:
    """``count`` Euler steps of clouds x (R, N, d) with a step per replicate (R,); NaN where a particle leaves every region."""
    lost = np.zeros(len(x), bool)
    for _ in range(count):
        x = x + step[:, None, None] * field.at_particles(x).velocity
        lost |= ~(np.abs(x) < _FAR).all((1, 2))
        x[lost] = 0.0
    x[lost] = np.nan
    return x


def measure_comparison(
    *,
    seed: int,
    particles: int = 128,
    data: int = 512,
    held_out: int = 1024,
    replicates: int = 8,
    evaluations: int = 128,
    bandwidth_grid: Sequence[float] = (0.06, 0.1, 0.17, 0.3, 0.5),
    factors: Sequence[float] = (0.25, 0.5, 0.9),
    sizes: Sequence[int] = (16, 32, 64, 128),
    rate_bandwidth: float = 0.6,
    samples: int = 256,
    resamples: int = 999,
) -> xr.Dataset:
    """The rows of the table of section 6.7, every number measured.

    For each method and h of ``bandwidth_grid`` (`own_bandwidth`), by pilots with data of their own: the largest Euler step that is
    stable from relaxed clouds, and the fraction of it in ``factors`` with the least final W2; the best h likewise. Then ``evaluations``
    steps of ``particles`` toward ``data`` points for each of ``replicates`` (start, data, held-out data): W2 and MMD to ``held_out``
    points over (drift, bandwidth, replicate, checkpoint), with bootstrap intervals of the means; ``floor_*`` the same of as many fresh
    points as particles, and of the data. At the best h at the end: `_AT_REST`. ``exponent`` (drift, rule, carrier, bound): slope of
    `CARRIERS` in N over ``sizes`` along `RATE_RULES`, ``rate_bandwidth`` at the least N. Seconds per evaluation go to the log only.
    Raises ``ValueError`` where no pilot stays finite, or for fewer than three sizes or replicates.
    """
    if min(len(set(sizes)), replicates) < 3:
        raise ValueError("method_comparison needs at least 3 sizes and 3 replicates")
    names, grid, law = list(METHODS), np.asarray(bandwidth_grid, float), data_law()
    draws = [random.generator(seed, "methods", r) for r in range(replicates)]
    start = np.stack([START_DEVIATION * rng.standard_normal((particles, 2)) for rng in draws])
    points, aim, fresh = (np.stack([law.sample(rng, (m,)) for rng in draws]) for m in (data, held_out, particles))
    checkpoints = np.unique(np.concatenate([[0], np.geomspace(1, evaluations, 7).round().astype(int)]))
    shape = (len(names), len(grid))
    stable, factor, pilot = np.empty(shape), np.empty(shape), np.empty(shape)
    found = {name: np.empty((*shape, replicates, len(checkpoints))) for name in ("w2", "mmd")}
    final = np.empty((*shape, replicates, particles, 2))
    for (k, method), (b, h) in ((p, q) for p in enumerate(names) for q in enumerate(grid)):
        width = own_bandwidth(method, h)
        stable[k, b], factor[k, b], pilot[k, b] = _pilot(method, width, seed, particles, data, held_out, evaluations, factors)
        field, x = make_field(method, width, points), start.copy()
        for c, count in enumerate(np.diff(checkpoints, prepend=0)):
            x = euler(field, x, np.full(replicates, factor[k, b] * stable[k, b]), int(count))
            found["w2"][k, b, :, c], found["mmd"][k, b, :, c] = _distances(x, aim)
        final[k, b] = x
    best = pilot.argmin(1)
    at_best: dict[str, list] = {}
    curves = np.empty((len(names), len(RATE_RULES), len(CARRIERS), len(sizes), replicates))
    exponents = np.empty((*curves.shape[:3], 3))
    for k, method in enumerate(names):
        b = best[k]
        field = make_field(method, own_bandwidth(method, grid[b]), points)
        for name, value in _at_rest(field, final[k, b], samples, seed).items():
            at_best.setdefault(name, []).append(value)
        for j, rule in enumerate(RATE_RULES):
            curves[k, j] = _curves(method, bandwidths(rule, 2, sizes, rate_bandwidth), seed, sizes, points, aim, evaluations, samples)
            for c in range(len(CARRIERS)):
                exponents[k, j, c] = median_slope(sizes, curves[k, j, c], resamples=resamples, seed=seed)
    _print_seconds([make_field(m, own_bandwidth(m, grid[b]), points[:1]) for m, b in zip(names, best, strict=True)], start[:1])
    cells = ("drift", "bandwidth", "replicate", "checkpoint")
    labels = {"w2": ("W2 to held-out data", "length"), "mmd": (f"MMD to held-out data, Gaussian kernel, h = {METRIC_BANDWIDTH:g}", "1")}
    variables = {name: (cells, values, *labels[name]) for name, values in found.items()}
    for name, values in found.items():
        text, unit = labels[name]
        interval = _interval(values, 2, resamples, seed)
        variables[f"{name}_interval"] = ((*cells[:2], "checkpoint", "end"), interval, f"bootstrap interval of the mean of {text}", unit)
    for what, clouds in (("fresh", fresh), ("data", points)):
        for name, values in zip(labels, _distances(clouds, aim), strict=True):
            text = "as many fresh points as particles" if what == "fresh" else "the data themselves"
            variables[f"floor_{name}_{what}"] = (("replicate",), values, f"{labels[name][0]}, of {text}", labels[name][1])
    widths = np.array([[own_bandwidth(m, h) for h in grid] for m in names])
    pairs = np.array([rows_per_pair(m, 2) for m in names])
    unit = np.array([[natural_step(make_field(m, h, points)) for h in row] for m, row in zip(names, widths, strict=True)])
    variables |= {
        "own_bandwidth": (cells[:2], widths, "bandwidth of the method's kernel", "length"),
        "stable_step": (cells[:2], stable, "largest stable Euler step from relaxed clouds, least over pilots", "time"),
        "natural_step": (cells[:2], unit, "1 for displacements, h^2 for scores", "time"),
        "step_factor": (cells[:2], factor, "share of it that was taken, chosen by pilots", "1"),
        "pilot": (cells[:2], pilot, "mean final W2 of the pilots", "length"),
        "best": (("drift",), best, "index of the best h, by pilots", "1"),
        "rows": (("drift",), pairs, "numbers accumulated per pair and evaluation", "1"),
        "pair_terms": (("drift",), pairs * particles * (particles + data), "pair terms per evaluation", "1"),
        "exponent": (("drift", "rule", "carrier", "bound"), exponents, "exponent in N along h = h(N), with bootstrap interval", "1"),
        **{name: (("drift", "rule", "n_particles", "replicate"), curves[:, :, c], *CARRIERS[name]) for c, name in enumerate(CARRIERS)},
        "cloud": (("drift", "particle", "component"), final[np.arange(len(names)), best, 0], "last cloud at the best h", "length"),
        "data": (("data_point", "component"), points[0], "its data", "length"),
    }
    for name, values in at_best.items():
        dims = ("drift", "replicate") if np.ndim(values[0]) else ("drift",)
        variables[name] = (dims, np.array(values), *_AT_REST[name])
    variables |= {name: (dims, values, *_CHECKS[name]) for name, (dims, values) in _checks(points, start, grid, evaluations, seed).items()}
    coordinates = {
        "drift": ("drift", np.array(names, object), "field and kernel", "1"),
        "bandwidth": ("bandwidth", grid, "bandwidth h of the Laplace kernel of equal second moment", "length"),
        "checkpoint": ("checkpoint", checkpoints, "evaluations of the field", "1"),
        "carrier": ("carrier", np.array(list(CARRIERS), object), "carrier of a rate", "1"),
        "rule": ("rule", np.array(RATE_RULES, object), "; ".join(f"{rule}: {RULES[rule]}" for rule in RATE_RULES), "1"),
        "n_particles": ("n_particles", np.asarray(sizes, np.int64), "number of particles N", "1"),
        "bound": ("bound", np.array(["value", "low", "high"], object), "slope, ends of its 95 % interval", "1"),
        "end": ("end", np.array(["low", "high"], object), "end of an interval", "1"),
        "law": ("law", np.array(["pi", "pi#"], object), "smoothing of the data: K_h * p, K#_h * p", "1"),
    }

    def described(table: dict[str, tuple]) -> dict[str, tuple]:
        return {name: (dims, values, {"long_name": label, "units": unit}) for name, (dims, values, label, unit) in table.items()}

    attributes = {"seed": seed, "particles": particles, "points": data, "held_out": held_out, "evaluations": evaluations}
    return xr.Dataset(described(variables), described(coordinates), attributes)


def _distances(clouds: np.ndarray, aim: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """W2 and MMD (R,) of clouds (R, N, 2) to held-out data; NaN for a cloud that is lost."""
    kept = np.isfinite(clouds).all((1, 2))
    w2, mmd = np.full((2, len(clouds)), np.nan)
    w2[kept] = [transport.w2_to_data(x, y) for x, y in zip(clouds[kept], aim[kept], strict=True)]
    if kept.any():
        mmd[kept] = np.sqrt(np.maximum(mmd2(clouds[kept], aim[kept], METRIC_BANDWIDTH).biased, 0.0))
    return w2, mmd


def _pilot(
    method: str, h: float, seed: int, n: int, m: int, held_out: int, evaluations: int, factors: Sequence[float]
) -> tuple[float, float, float]:
    """Largest step stable from relaxed clouds, best share of it, the mean W2 that it leads to; ``ValueError`` where no run stays finite."""
    law, draws = data_law(), [random.generator(seed, "methods pilot", r) for r in range(_PILOTS)]
    start = np.stack([START_DEVIATION * rng.standard_normal((n, 2)) for rng in draws])
    points, aim = (np.stack([law.sample(rng, (k,)) for rng in draws]) for k in (m, held_out))
    field = make_field(method, h, points)
    unit = natural_step(field)
    relaxed = euler(field, start, np.full(_PILOTS, unit / 4), _RELAXING)
    found = transport.largest_stable_step(field, relaxed, low=1e-2 * unit, high=1e2 * unit, count=32, halvings=6)
    stable = float(np.clip(found, 1e-2 * unit, 1e2 * unit).min())
    count = len(factors)
    field = make_field(method, h, np.tile(points, (count, 1, 1)))
    end = euler(field, np.tile(start, (count, 1, 1)), stable * np.repeat(np.asarray(factors, float), _PILOTS), evaluations)
    w2 = _distances(end, np.tile(aim, (count, 1, 1)))[0].reshape(count, _PILOTS).mean(1)
    if not np.isfinite(w2).any():
        raise ValueError(f"{method} at h = {h:g} leaves every region with each of factors = {list(factors)}; add smaller ones")
    return stable, float(factors[int(np.nanargmin(w2))]), float(np.nanmin(w2))


_AT_REST = {
    "self_interaction": ("mean over the particles of the own atom's part of div_{x_i} v_i, in displacement time", "1"),
    "hidden_self_interaction": ("d / N sum_j K_h(x_i - x_j) at 0, the same part that leaving out hides (X5)", "1"),
    "residual_share": ("delta / E# = int q# |r|^2 / int q# |v|^2", "1"),
    "squared_speed": ("mean of |v(x_i)|^2, in the field's own unit", "length^2 time^-2"),
    "scaled_squared_speed": ("mean of |v(x_i)|^2 / alpha(x_i)^2", "length^-2"),
    "top_share": ("largest share of one particle in it", "1"),
}


def _at_rest(field: DriftField, clouds: np.ndarray, samples: int, seed: int) -> dict[str, np.ndarray]:
    """What `_AT_REST` names, of clouds (R, N, 2), (R,) each."""
    value = field.at_particles(clouds, divergence=True)
    squared = (value.velocity**2).sum(-1)
    scaled = squared / alpha(field, clouds, clouds, at_particles=True) ** 2
    own = value.model.own
    if field.name != "displacement":
        own = own * SmoothedPoints(clouds, field.kernel, field.h).scale(clouds)
    full = SmoothedPoints(clouds, field.kernel, field.h, atoms=True).statistic("mean_shift", clouds, divergence=True)
    share = np.zeros(len(clouds))
    if field.name == "displacement":
        x = _noisy(_sharp(field.kernel), field, clouds, samples, seed)
        parts = decompose(field, x, clouds)
        share = (parts.residual**2).sum((1, 2)) / (parts.velocity**2).sum((1, 2))
    return {
        "self_interaction": own.mean(1),
        "hidden_self_interaction": full.own.mean(1),
        "residual_share": share,
        "squared_speed": squared.mean(1),
        "scaled_squared_speed": scaled.mean(1),
        "top_share": scaled.max(1) / scaled.sum(1),
    }


def _noisy(kernel: Kernel, field: DriftField, clouds: np.ndarray, samples: int, seed: int) -> np.ndarray:
    """Points (R, samples, 2) of the clouds smoothed by ``kernel``."""
    drawn = [
        sample_smoothed(kernel, field.h, cloud, samples, random.generator(seed, "methods quadrature", r)) for r, cloud in enumerate(clouds)
    ]
    return np.stack([cloud[index] + field.h * z for cloud, (index, z) in zip(clouds, drawn, strict=True)])


def _curves(
    method: str, widths: np.ndarray, seed: int, sizes: Sequence[int], points: np.ndarray, aim: np.ndarray, evaluations: int, samples: int
) -> np.ndarray:
    """`CARRIERS` after ``evaluations`` steps of half the natural one from independent points of the law, (carrier, N, R)."""
    out = np.empty((len(CARRIERS), len(sizes), len(points)))
    for s, (n, h) in enumerate(zip(sizes, widths, strict=True)):
        field = make_field(method, own_bandwidth(method, h), points)
        x = np.stack([data_law().sample(random.generator(seed, "methods rates", int(n), r), (int(n),)) for r in range(len(points))])
        x = euler(field, x, np.full(len(x), natural_step(field) / 2), evaluations)
        y = _noisy(companion(field), field, x, samples, seed)
        squared = (field.at(y, x).velocity ** 2).sum(-1) / alpha(field, y, x) ** 2
        out[:, s] = np.sqrt(squared.mean(1)), _distances(x, aim)[0]
    return out


_CHECKS = {
    "target_gap": ("largest h |statistic / scale - score of K_h * p or K#_h * p| of the target over its data points", "1"),
    "scaled_ratio": ("D of the Gaussian displacement field over alpha^2 D_N at the start, minus 1", "1"),
    "unscaled_ratio": ("the same without alpha^2", "1"),
    "path_gap": ("largest distance of the Gaussian displacement path from the conservative one at steps eta and h^2 eta, over h", "1"),
    "path_gap_laplace": ("the same for the Laplace displacement path", "1"),
}


def _checks(points: np.ndarray, start: np.ndarray, grid: np.ndarray, evaluations: int, seed: int) -> dict[str, tuple]:
    """What the methods have in common, exactly: their targets, alpha = h^2 of the Gaussian kernel, and equal paths."""
    middle = float(grid[len(grid) // 2])
    one = points[:1]
    targets = [[score_gap(make_field(m, own_bandwidth(m, middle), one), one + 0.1 * middle, law) for law in ("pi", "pi#")] for m in METHODS]
    ends, speeds = {}, {}
    for method in ("conservative", "displacement, Gaussian", "displacement, Laplace"):
        field = make_field(method, own_bandwidth(method, middle), points)
        step = np.full(len(start), 0.25 * natural_step(field))
        speeds[method] = (field.at_particles(start).velocity ** 2).sum((1, 2))
        ends[method] = euler(field, start.copy(), step, evaluations // 4)
    h = own_bandwidth("conservative", middle)
    ratio = speeds["displacement, Gaussian"] / speeds["conservative"]
    gaps = {m: np.linalg.norm(ends[m] - ends["conservative"], axis=-1).max(1) / h for m in ends}
    return {
        "target_gap": (("drift", "law"), np.array(targets)),
        "scaled_ratio": (("replicate",), ratio / h**4 - 1),
        "unscaled_ratio": (("replicate",), ratio - 1),
        "path_gap": (("replicate",), gaps["displacement, Gaussian"]),
        "path_gap_laplace": (("replicate",), gaps["displacement, Laplace"]),
    }


def _interval(values: np.ndarray, axis: int, resamples: int, seed: int) -> np.ndarray:
    found = stats.bootstrap(
        (values,),
        np.mean,
        axis=axis,
        n_resamples=resamples,
        method="percentile",
        vectorized=True,
        rng=random.generator(seed, "methods interval"),
    ).confidence_interval
    return np.stack([found.low, found.high], axis=-1)


def _print_seconds(fields: list[DriftField], x: np.ndarray) -> None:
    """Median seconds per evaluation over those of the first method, all in one alternating loop; into the log only, since results are
    compared byte by byte."""
    spent: list[list[float]] = [[] for _ in fields]
    for _ in range(_TIMINGS):
        for field, times in zip(fields, spent, strict=True):
            begin = time.perf_counter()
            field.at_particles(x)
            times.append(time.perf_counter() - begin)
    ratios = [statistics.median(b / a for a, b in zip(spent[0], times, strict=True)) for times in spent]
    print(
        "seconds per evaluation over those of the first method:", ", ".join(f"{m}: {v:.2f}" for m, v in zip(METHODS, ratios, strict=True))
    )
