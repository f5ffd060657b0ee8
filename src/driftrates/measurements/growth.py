"""Growth exponents beta of the quadrature constants, L1 + L2 <= C h^-beta (R2.7), with a construction for each regime (X7, X8)."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from scipy import interpolate, stats

from driftrates import flow, kernels, random
from driftrates.fields import DriftField, SmoothedDensity
from driftrates.measurements.quadrature import hessians, operator_norms
from driftrates.sampling import sample_smoothed
from driftrates.targets import GaussianMixture

AMPLITUDE = 0.5
WAVE_SCALE = 0.5
GAP = 1.0
SPACING = 2.5
RELAXATION_TIME = 1.0
"""Density pi (1 + AMPLITUDE cos(x / l)) with l = WAVE_SCALE h^a; gap between two particles; lattice spacing in standard
deviations of K_h; time of the flow."""

REGIONS = {
    "window": "largest norm over the fixed set of points where the construction realises its regime",
    "particles": "largest norm over particles spread evenly over the cloud, its outermost ones included",
    "neighbourhood": "largest norm over samples x_i + h z, z distributed like K",
    "mean": "mean norm over the same samples, that is weighted by p_h",
}
QUANTITIES = {
    "stein_constant": ("L1 of A2.5, norm of the Hessian of T_pi b", "time^-1 length^-2"),
    "speed_constant": ("L2 of A2.5, norm of the Hessian of |b|^2", "time^-1 length^-2"),
    "sum_constant": ("norm of the first Hessian plus norm of the second, whose growth is beta of R2.7", "time^-1 length^-2"),
    "lipschitz": ("norm of the Jacobian of b", "time^-1"),
}


class Exponent(NamedTuple):
    """beta with its confidence interval [low, high], and the constant C of the fit L = C h^-beta."""

    beta: float
    low: float
    high: float
    constant: float


def growth_exponent(h: np.ndarray, constants: np.ndarray, *, confidence: float = 0.95, resamples: int = 2000, seed: int = 0) -> Exponent:
    """beta of constants ~ C h^-beta by weighted least squares on logarithms.

    h (H,) > 0, at least three different values; constants (R, H) > 0, one row per replicate. For R > 1 the means over the replicates
    of log L are weighted by their inverse variances and the interval is the percentile one of a bootstrap over replicates; for R = 1
    it is Student's from the residuals, a measure of curvature and not of chance. Raises ``ValueError`` for other shapes or values.
    """
    h, constants = np.asarray(h, float), np.atleast_2d(np.asarray(constants, float))
    if h.ndim != 1 or constants.shape[1:] != h.shape or len(np.unique(h)) < 3:
        raise ValueError(
            f"growth_exponent needs h (H,) with 3 different values or more and constants (R, H), not {h.shape}, {constants.shape}"
        )
    if not (np.isfinite(constants).all() and (constants > 0).all() and (h > 0).all()):
        raise ValueError("growth_exponent: h and the constants must be finite and positive")
    x, logs = -np.log(h), np.log(constants)
    if len(logs) == 1:
        fit = stats.linregress(x, logs[0])
        half = stats.t.ppf(0.5 + confidence / 2, len(h) - 2) * fit.stderr
        return Exponent(float(fit.slope), float(fit.slope - half), float(fit.slope + half), math.exp(fit.intercept))
    variance = logs.var(0, ddof=1)
    weight = 1 / np.maximum(variance, 1e-6 * variance.max()) if variance.max() > 0 else np.ones(len(h))
    weight /= weight.sum()
    centre = weight @ x
    coefficients = weight * (x - centre) / (weight @ (x - centre) ** 2)

    def slope(rows: np.ndarray, axis: int = -1) -> np.ndarray:
        return (logs[rows] @ coefficients).mean(axis)

    interval = stats.bootstrap(
        (np.arange(len(logs)),),
        slope,
        n_resamples=resamples,
        confidence_level=confidence,
        method="percentile",
        rng=random.generator(seed, "growth_exponent"),
    ).confidence_interval
    beta = float(slope(np.arange(len(logs))))
    return Exponent(beta, float(interval.low), float(interval.high), math.exp(weight @ logs.mean(0) - beta * centre))


@dataclass(frozen=True)
class Construction:
    """A family of clouds indexed by the bandwidth that realises one regime of R2.7.

    ``expected``: beta of L1 + L2 over the window as h tends to 0. ``cloud(h, replicate)`` gives (N, d), ``window(h)`` the fixed
    points (n, d); ``replicates`` 1 where nothing is random. ``scale`` is a of l(h) ~ h^a (NaN outside that regime).
    """

    regime: str
    kernel: str
    d: int
    expected: float
    bandwidths: tuple[float, ...]
    cloud: Callable[[float, int], np.ndarray]
    window: Callable[[float], np.ndarray]
    replicates: int = 1
    scale: float = math.nan

    @property
    def label(self) -> str:
        return f"{self.regime}{'' if math.isnan(self.scale) else f' a = {self.scale:g}'}, {self.kernel}, d = {self.d}"

    def field(self, h: float) -> DriftField:
        """The conservative field toward the standard Gaussian, smoothed by h where the kernel is Gaussian."""
        return _toward_normal(self.kernel, self.d, h)


def _toward_normal(kernel: str, d: int, h: float) -> DriftField:
    target = GaussianMixture(np.ones(1), np.zeros((1, d)), np.ones(1))
    smoothed = SmoothedDensity(target.smoothed(h) if kernel == "gaussian" else target, None)
    return DriftField("conservative", smoothed, kernels.make(kernel), h)


def quantile_cloud(density: Callable[[np.ndarray], np.ndarray], n: int) -> np.ndarray:
    """Midpoint quantiles (n, 1) of a positive density on the line (not normalised) within [-8, 8]."""
    x = np.linspace(-8, 8, 200_001)
    mass = interpolate.CubicSpline(x, density(x)).antiderivative()(x)
    inside = np.flatnonzero(np.diff(mass, prepend=-1.0) > 0)
    return interpolate.PchipInterpolator(mass[inside] / mass[-1], x[inside])((np.arange(n) + 0.5) / n)[:, None]


def _tensor(line: np.ndarray, d: int) -> np.ndarray:
    return np.stack(np.meshgrid(*[line.ravel()] * d, indexing="ij"), -1).reshape(-1, d)


def _normal(x: np.ndarray) -> np.ndarray:
    return np.exp(-0.5 * x * x)


def _steps(first: float, last: float, count: int = 6) -> tuple[float, ...]:
    return tuple(np.geomspace(first, last, count).tolist())


def _box(width: float, d: int) -> Callable[[float], np.ndarray]:
    return lambda h: _tensor(np.linspace(-width, width, 201 if d == 1 else 15), d)


def constructions(*, replicates: int, seed: int, relaxation: bool = True) -> list[Construction]:
    """All constructions, toward a standard Gaussian target.

    ``h_uniform``: midpoint quantiles of a fixed smooth density, spaced far below h. ``oscillation``: the same of
    pi (1 + cos(x / l) / 2) with l(h) = h^a / 2. ``kernel_scale``: a lattice of spacing 2.5 standard deviations of K_h. ``gap``: two
    particles at distance 1 (X7), seen in the middle half of the gap. ``iid``: independent draws from pi with N = h^-(d+4) (X8).
    ``relaxed``: the same after the flow has run for a unit time.
    """
    found = [_uniform(1, 20_000, _steps(0.02, 0.2)), _uniform(2, 150, _steps(0.06, 0.2, 5))]
    found += [_oscillation(a) for a in (0.1, 0.2, 0.3, 0.4)]
    for kernel, d in (("gaussian", 1), ("gaussian", 2), ("matern52", 1), ("matern72", 1), ("inverse_multiquadric", 1)):
        found += [_kernel_scale(kernel, d), _gap(kernel, d)]

    def independent(d: int, h: float, replicate: int) -> np.ndarray:
        return random.generator(seed, "growth", d, h, replicate).standard_normal((round(h ** -(d + 4)), d))

    def relaxed(h: float, replicate: int) -> np.ndarray:
        field, method = _toward_normal("gaussian", 1, h), flow.DormandPrince(rtol=1e-5, atol=1e-7)

        def velocity(t: np.ndarray, x: np.ndarray, _: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            return field.at_particles(x).velocity, np.zeros((len(x), 0))

        *_, last = flow.integrate(velocity, independent(1, h, replicate)[None], [RELAXATION_TIME], method)
        return last.state.x[0]

    for d, widths in ((1, _steps(0.1, 0.3)), (2, _steps(0.22, 0.45, 5))):
        found.append(Construction("iid", "gaussian", d, 2.0, widths, functools.partial(independent, d), _box(1.0, d), replicates))
    if relaxation:
        found.append(Construction("relaxed", "gaussian", 1, 0.0, _steps(0.2, 0.4, 5), relaxed, _box(1.0, 1), replicates))
    return found


def _uniform(d: int, side: int, widths: tuple[float, ...]) -> Construction:
    cloud = _tensor(quantile_cloud(lambda x: _normal((x + 0.8) / 0.9) + _normal((x - 0.9) / 0.8), side), d)
    return Construction("h_uniform", "gaussian", d, 0.0, widths, lambda h, _: cloud, _box(1.0 if d == 1 else 0.75, d))


def _oscillation(a: float) -> Construction:
    def cloud(h: float, _: int) -> np.ndarray:
        return quantile_cloud(lambda x: _normal(x) * (1 + AMPLITUDE * np.cos(x / (WAVE_SCALE * h**a))), 40_000)

    return Construction("oscillation", "gaussian", 1, 4 * a, _steps(0.002, 0.02), cloud, _box(1.0, 1), scale=a)


def _kernel_scale(kernel: str, d: int) -> Construction:
    spacing, side = SPACING * math.sqrt(kernels.make(kernel).second_moment(d) / d), 20 if d == 1 else 6
    lattice, cell = _tensor(np.arange(-side, side + 1.0), d), _tensor(np.linspace(0, 1, 61 if d == 1 else 13), d)
    return Construction("kernel_scale", kernel, d, 4.0, _steps(0.01, 0.1), lambda h, _: spacing * h * lattice, lambda h: spacing * h * cell)


def _gap(kernel: str, d: int) -> Construction:
    """Between the particles log p_h varies at scale h^2 / l (Gaussian), h (exponential tail) or l (algebraic tail)."""
    expected, widths = {"gaussian": (8.0, _steps(0.02, 0.08)), "inverse_multiquadric": (0.0, _steps(0.002, 0.02))}.get(
        kernel, (4.0, _steps(0.002, 0.02))
    )
    middle = np.linspace(-GAP / 4, GAP / 4, 51)

    def window(h: float) -> np.ndarray:
        return np.concatenate([middle, np.linspace(-4, 4, 41) * h**2 / GAP, np.linspace(-4, 4, 41) * h])[:, None] * np.eye(1, d)

    ends = np.array([[-GAP / 2], [GAP / 2]]) * np.eye(1, d)
    return Construction("gap", kernel, d, expected, widths, lambda h, _: ends, window)


def measure_norms(
    field: DriftField, cloud: np.ndarray, window: np.ndarray, *, particles: int, samples: int, seed: int
) -> dict[str, np.ndarray]:
    """`QUANTITIES` over `REGIONS`, each (4,), for one cloud (N, d) and a window (n, d).

    At most ``particles`` of the particles, in even steps along the first coordinate, and ``samples`` (a power of two) points x_i + h z.
    """
    order = np.argsort(cloud[:, 0], kind="stable")
    chosen = order[np.unique(np.linspace(0, len(cloud) - 1, min(particles, len(cloud))).round().astype(int))]
    index, z = sample_smoothed(field.kernel, field.h, cloud, samples, random.generator(seed, "measure_norms"))
    near = cloud[index] + field.h * z
    found = hessians(field, np.concatenate([window, cloud[chosen], near]), cloud)
    norms = {"stein_constant": operator_norms(found.stein), "speed_constant": operator_norms(found.speed)}
    norms |= {"sum_constant": norms["stein_constant"] + norms["speed_constant"], "lipschitz": operator_norms(found.jacobian)}
    cuts = [len(window), len(window) + len(chosen)]
    out = {}
    for name, values in norms.items():
        fixed, own, close = np.split(values, cuts)
        out[name] = np.array([fixed.max(), own.max(), close.max(), close.mean()])
    return out


def growth_regimes(
    *,
    replicates: int = 8,
    particles: int = 256,
    samples: int = 512,
    relaxation: bool = True,
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> xr.Dataset:
    """Constants against h and their growth exponents for all `constructions`.

    replicates (>= 2) of the random constructions; the rest as for `measure_norms` and `growth_exponent`. Returns a Dataset over
    (construction, replicate, level, region), NaN where a construction has fewer levels or replicates: `QUANTITIES`, and over
    (construction, region) their exponents ``<quantity>_beta`` with ``_beta_low`` and ``_beta_high``; ``bandwidth`` and
    ``n_particles`` over (construction, level); ``expected`` beta of the window. For the gap of the Gaussian kernel
    ``predicted_stein`` and ``predicted_lipschitz`` are l^4 / (8 h^8) and l^2 / (4 h^4) - 1 / h^2 of X7, the target left out.
    """
    if replicates < 2:
        raise ValueError(f"the growth exponents of random clouds need at least 2 replicates, not {replicates}")
    cases = constructions(replicates=replicates, seed=seed, relaxation=relaxation)
    levels = max(len(c.bandwidths) for c in cases)
    shape = (len(cases), replicates, levels, len(REGIONS))
    data = {name: np.full(shape, np.nan) for name in QUANTITIES}
    widths, sizes = np.full((len(cases), levels), np.nan), np.full((len(cases), levels), np.nan)
    betas = {f"{name}_beta{end}": np.full((len(cases), len(REGIONS)), np.nan) for name in QUANTITIES for end in ("", "_low", "_high")}
    for c, case in enumerate(cases):
        for level, h in enumerate(case.bandwidths):
            widths[c, level] = h
            for r in range(case.replicates):
                cloud = case.cloud(h, r)
                own = int(random.generator(seed, case.label, h, r).integers(2**31))
                norms = measure_norms(case.field(h), cloud, case.window(h), particles=particles, samples=samples, seed=own)
                sizes[c, level] = len(cloud)
                for name, values in norms.items():
                    data[name][c, r, level] = values
        used = slice(len(case.bandwidths))
        for name in QUANTITIES:
            for k in range(len(REGIONS)):
                values = data[name][c, : case.replicates, used, k]
                fit = growth_exponent(widths[c, used], values, confidence=confidence, resamples=resamples, seed=seed)
                for end, value in (("", fit.beta), ("_low", fit.low), ("_high", fit.high)):
                    betas[f"{name}_beta{end}"][c, k] = value
    gap = np.array([GAP if case.regime == "gap" and case.kernel == "gaussian" else math.nan for case in cases])[:, None]
    two, four = ("construction", "level"), ("construction", "replicate", "level", "region")
    variables: dict[str, Any] = {name: (four, data[name], {"long_name": text, "units": unit}) for name, (text, unit) in QUANTITIES.items()}
    for name, values in betas.items():
        quantity, _, end = name.partition("_beta")
        text = f"growth exponent beta: {QUANTITIES[quantity][0]}" + {"": "", "_low": ", lower end", "_high": ", upper end"}[end]
        variables[name] = (("construction", "region"), values, {"long_name": text, "units": "1"})
    for name, dims, values, text, unit in (
        ("bandwidth", two, widths, "bandwidth h", "length"),
        ("n_particles", two, sizes, "number of particles N", "1"),
        ("predicted_stein", two, gap**4 / (8 * widths**8), "l^4 / (8 h^8) of X7", "time^-1 length^-2"),
        ("predicted_lipschitz", two, gap**2 / (4 * widths**4) - widths**-2.0 + 0 * gap, "l^2 / (4 h^4) - 1 / h^2 of X7", "time^-1"),
        ("expected", ("construction",), np.array([case.expected for case in cases]), "beta of L1 + L2 expected over the window", "1"),
        ("scale", ("construction",), np.array([case.scale for case in cases]), "a of l(h) ~ h^a", "1"),
        ("dimension", ("construction",), np.array([case.d for case in cases], dtype=np.int64), "space dimension d", "1"),
        ("regime", ("construction",), np.array([case.regime for case in cases], dtype=object), "regime of R2.7", "1"),
        ("kernel", ("construction",), np.array([case.kernel for case in cases], dtype=object), "kernel", "1"),
    ):
        variables[name] = (dims, values, {"long_name": text, "units": unit})
    regions = "; ".join(f"{name}: {text}" for name, text in REGIONS.items())
    coordinates = {
        "construction": ("construction", np.array([c.label for c in cases], dtype=object), {"long_name": "construction", "units": "1"}),
        "region": ("region", np.array(list(REGIONS), dtype=object), {"long_name": regions, "units": "1"}),
    }
    attributes = {
        "seed": seed,
        "replicates": replicates,
        "particles": particles,
        "samples": samples,
        "confidence": confidence,
        "resamples": resamples,
    }
    attributes |= {"amplitude": AMPLITUDE, "wave_scale": WAVE_SCALE, "gap": GAP, "spacing": SPACING, "relaxation_time": RELAXATION_TIME}
    return xr.Dataset(variables, coordinates, attributes)
