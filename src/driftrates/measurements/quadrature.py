"""The quadrature constants L1, L2 of A2.5 and the inequalities of L4.4, from exact Hessians of T_pi b and |b|^2.

With l = log pi, u = log(pi / p_h) and indices for partial derivatives (repeated ones summed), R2.6 gives

    Hessian (T_pi b)_ab = u_abcc + l_abc u_c + l_ac u_bc + l_bc u_ac + l_c u_abc
    Hessian |b|^2_ab    = 2 (u_ac u_bc + u_c u_abc)

so only log-derivatives up to order three and one contraction of the fourth are needed.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from scipy import linalg
from scipy.spatial import cKDTree

from driftrates import expressions, random
from driftrates.fields import DriftField, SmoothedPoints
from driftrates.kernels import Kernel
from driftrates.measurements import fisher_discrepancy, observables
from driftrates.sampling import sample_smoothed
from driftrates.sums import cpu
from driftrates.sums.program import Column, Program
from driftrates.targets import GaussianMixture

_PAIRS_PER_BLOCK = 2**15
_CELL = 4.0
"""Edge of the cells into which points are sorted, in units of h."""
_FLOOR = 1e-60
"""Of |z|^2: its inverse square stays finite, so that rungs singular at z = 0 times their vanishing tensors are 0."""


class LogDerivatives(NamedTuple):
    """Derivatives of a log-density at n points.

    ``gradient`` (n, d), ``hessian`` (n, d, d), ``third`` (n, d, d, d) and ``fourth`` (n, d, d), the fourth derivative with two of
    its indices contracted: the Hessian of the Laplacian.
    """

    gradient: np.ndarray
    hessian: np.ndarray
    third: np.ndarray
    fourth: np.ndarray


def kde_log_derivatives(points: np.ndarray, sources: np.ndarray, kernel: Kernel, h: float) -> LogDerivatives:
    """Log-derivatives of sum_j K((x - y_j) / h) at points x (n, d), sources y (m, d), h > 0.

    Sums of the kernel's derivatives up to order four, by blocks of points; the nearest source's exponent is taken out first, and
    sources so much farther that they are below rounding are left out.
    Raises ``ValueError`` for a kernel that is not C^4: A2.5 then fails with infinite constants.
    """
    if kernel.smoothness < 4:
        raise ValueError(f"kernel {kernel.name!r} has no fourth derivatives everywhere: L1 of A2.5 is infinite for it")
    d = points.shape[1]
    x, y = np.ascontiguousarray(points / h), np.ascontiguousarray(sources / h)
    nearest = cKDTree(y).query(x)[0]
    lift = -kernel.log_decay(nearest, d)
    if d == 1 and kernel.smoothness > 4:
        moments = _line_moments(x, y, kernel, lift)
    else:
        moments = tuple(np.empty((len(x),) + (d,) * order) for order in (1, 2, 3, 2))
        for rows, relevant in _neighbourhoods(x, y, nearest + fisher_discrepancy.kernel_reach(kernel, d)):
            for each, part in zip(moments, _moments(x[rows], y[relevant], kernel, lift[rows]), strict=True):
                each[rows] = part
    gradient, hessian, third, fourth = _cumulants(*moments)
    return LogDerivatives(gradient / h, hessian / h**2, third / h**3, fourth / h**4)


def _neighbourhoods(x: np.ndarray, y: np.ndarray, reach: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Blocks of points (indices into x) with the sources that matter there: those within ``reach`` (n,) of their bounding box."""
    _, groups = np.unique(np.floor(x / _CELL), axis=0, return_inverse=True)
    order = np.argsort(groups.ravel(), kind="stable")
    for cell in np.split(order, np.flatnonzero(np.diff(groups.ravel()[order])) + 1):
        outside = np.maximum(x[cell].min(0) - y, 0) + np.maximum(y - x[cell].max(0), 0)
        relevant = np.flatnonzero((outside * outside).sum(1) <= reach[cell].max() ** 2)
        for rows in np.array_split(cell, math.ceil(len(cell) * len(relevant) / _PAIRS_PER_BLOCK)):
            yield rows, relevant


def _rungs(kernel: Kernel, s2: np.ndarray, d: int, lift: np.ndarray) -> list[np.ndarray]:
    """f_0 .. f_4 of the ladder at squared distances s2 (n, m), times exp(lift) (n,); equal rungs share an array."""
    floored = np.maximum(s2, _FLOOR)
    s = np.sqrt(floored)
    names = {"s": s, "s2": floored, "rs": 1 / s, "d": float(d), **kernel.parameters}
    decay = np.exp(lift[:, None] - expressions.evaluate(kernel.exponent, names, np))
    texts = [kernel.prefactor(n) for n in range(5)]
    made = {text: decay if text == "1" else decay * expressions.evaluate(text, names, np) for text in dict.fromkeys(texts)}
    return [made[text] for text in texts]


def _moments(x: np.ndarray, y: np.ndarray, kernel: Kernel, lift: np.ndarray) -> tuple[np.ndarray, ...]:
    """Z_a, Z_ab, Z_abc, Z_abcc divided by Z = sum_j f(|y_j - x|), in units of h."""
    n, d = x.shape
    z = [y[:, a] - x[:, a, None] for a in range(d)]
    s2 = functools.reduce(np.add, (each * each for each in z))
    f0, f1, f2, f3, f4 = _rungs(kernel, s2, d, lift)
    f4 = f4 * s2
    zf, zz, zzz = np.empty((2, n, d)), np.empty((3, n, d, d)), np.empty((n, d, d, d))
    for a in range(d):
        zf[0, :, a], zf[1, :, a] = _dot(f1, z[a]), _dot(f2, z[a])
        for b in range(a, d):
            pair = z[a] * z[b]
            for k, weight in enumerate((f2, f3, f4)):
                zz[k, :, a, b] = zz[k, :, b, a] = _dot(weight, pair)
            pair *= f3
            for c in range(b, d):
                value = _dot(pair, z[c])
                for indices in itertools.permutations((a, b, c)):
                    zzz[:, *indices] = value
    mass = f0.sum(1)
    plain1, plain2, trace = ((each / mass)[:, None, None] for each in (f1.sum(1), f2.sum(1), np.einsum("naa->n", zz[1])))
    zf, zz, zzz = zf / mass[:, None], zz / mass[:, None, None], zzz / mass[:, None, None, None]
    unit = np.eye(d)
    fourth = zz[2] - trace * unit - (d + 4) * zz[1] + (d + 2) * plain2 * unit
    return zf[0], zz[0] - plain1 * unit, zzz - _symmetric_outer(unit, zf[1]), fourth


def _dot(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.einsum("nm,nm->n", a, b)


def _symmetric_outer(matrix: np.ndarray, vector: np.ndarray) -> np.ndarray:
    """matrix_ab vector_c + matrix_ac vector_b + matrix_bc vector_a, (n, d, d, d)."""
    t = matrix[..., :, :, None] * vector[..., None, None, :]
    return t + np.moveaxis(t, -1, -2) + np.moveaxis(t, -1, -3)


@functools.cache
def _line_program(kernel: Kernel) -> Program:
    """The derivatives of f(|y - x|) of order 0..4 on the line as accumulators of the fused engine; odd orders carry a factor z."""
    f = [f"({kernel.prefactor(n)})" for n in range(5)]
    columns = (
        Column(f[0], False),
        Column(f[1], True),
        Column(f"s2*{f[2]} - {f[1]}", False),
        Column(f"s2*{f[3]} - 3*{f[2]}", True),
        Column(f"s2*(s2*{f[4]} - 6*{f[3]}) + 3*{f[2]}", False),
    )
    return Program(1, kernel.exponent, columns, tuple(kernel.parameters.items()), False, ())


def _line_moments(x: np.ndarray, y: np.ndarray, kernel: Kernel, lift: np.ndarray) -> tuple[np.ndarray, ...]:
    n = len(x)
    mass, *derivatives = cpu.accumulate(_line_program(kernel), x[None], y[None], lift[None])[0]
    first, second, third, fourth = (each / mass for each in derivatives)
    return first.reshape(n, 1), second.reshape(n, 1, 1), third.reshape(n, 1, 1, 1), fourth.reshape(n, 1, 1)


def _cumulants(m1: np.ndarray, m2: np.ndarray, m3: np.ndarray, m4: np.ndarray) -> LogDerivatives:
    """Derivatives of log Z from those of Z divided by Z; m4 and the result's ``fourth`` are contracted over two indices."""
    outer = m1[:, :, None] * m1[:, None, :]
    square = (m1 * m1).sum(-1)[:, None, None]
    trace = np.trace(m2, axis1=1, axis2=2)[:, None, None]
    pulled = np.einsum("nab,nb->na", m2, m1)
    mixed = np.einsum("nabb,nc->nac", m3, m1)
    cross = pulled[:, :, None] * m1[:, None, :]
    third = m3 - _symmetric_outer(m2, m1) + 2 * outer[..., None] * m1[:, None, None, :]
    fourth = m4 - 2 * np.einsum("nabc,nc->nab", m3, m1) - mixed - mixed.swapaxes(1, 2) - trace * m2 - 2 * m2 @ m2
    fourth += 2 * (square * m2 + trace * outer) + 4 * (cross + cross.swapaxes(1, 2)) - 6 * square * outer
    return LogDerivatives(m1, m2 - outer, third, fourth)


def mixture_log_derivatives(points: np.ndarray, mixture: GaussianMixture) -> LogDerivatives:
    """Log-derivatives of a Gaussian mixture at points (n, d), from the spread of the components' scores about their mean."""
    d = mixture.dimension
    spread = mixture.covariances
    dense = spread if spread.ndim == 3 else np.eye(d) * np.broadcast_to(spread.reshape(len(spread), -1), mixture.means.shape)[:, None, :]
    precision = linalg.inv(dense)
    shift = points[:, None] - mixture.means
    own = -np.einsum("kab,nkb->nka", precision, shift)
    logs = np.log(mixture.weights) - 0.5 * np.linalg.slogdet(dense)[1] + 0.5 * (own * shift).sum(-1)
    share = np.exp(logs - logs.max(1, keepdims=True))
    share /= share.sum(1, keepdims=True)
    gradient = np.einsum("nk,nka->na", share, own)
    g = own - gradient[:, None]
    gg = g[..., :, None] * g[..., None, :]
    square = (g * g).sum(-1)[..., None, None]
    pulled = np.einsum("kab,nkb->nka", precision, g)
    cross = pulled[..., :, None] * g[..., None, :]
    trace = np.trace(precision, axis1=1, axis2=2)[:, None, None]
    second = gg - precision
    third = gg[..., None] * g[..., None, None, :] - _symmetric_outer(precision[None], g)
    fourth = square * gg - square * precision - trace * gg - 2 * (cross + cross.swapaxes(-1, -2)) + trace * precision
    fourth = fourth + 2 * precision @ precision
    hessian, third, fourth = (np.einsum("nk,nk...->n...", share, each) for each in (second, third, fourth))
    # the first moment vanishes after centring, so only the products of second moments remain
    fourth = fourth - np.trace(hessian, axis1=1, axis2=2)[:, None, None] * hessian - 2 * hessian @ hessian
    return LogDerivatives(gradient, hessian, third, fourth)


class Hessians(NamedTuple):
    """At n points: ``stein`` and ``speed`` (n, d, d), the Hessians of T_pi b and of |b|^2, and ``jacobian`` (n, d, d) of b."""

    stein: np.ndarray
    speed: np.ndarray
    jacobian: np.ndarray


def hessians(field: DriftField, points: np.ndarray, cloud: np.ndarray) -> Hessians:
    """Exact Hessians at points (n, d) for the cloud (N, d) frozen in a conservative field.

    Raises ``ValueError`` for another field or a kernel that is not C^4.
    """
    fisher_discrepancy.require_conservative(field)
    target = field.target
    if isinstance(target, SmoothedPoints):
        t = kde_log_derivatives(points, np.asarray(target.points[0], float), target.kernel, target.h)
    else:
        t = mixture_log_derivatives(points, target.density)
    q = kde_log_derivatives(points, cloud, field.kernel, field.h)
    u = LogDerivatives(*(a - b for a, b in zip(t, q, strict=True)))
    product = t.hessian @ u.hessian
    stein = u.fourth + np.einsum("nabc,nc->nab", t.third, u.gradient) + product + product.swapaxes(1, 2)
    stein += np.einsum("nabc,nc->nab", u.third, t.gradient)
    return Hessians(stein, 2 * (u.hessian @ u.hessian + np.einsum("nabc,nc->nab", u.third, u.gradient)), u.hessian)


def operator_norms(matrices: np.ndarray) -> np.ndarray:
    """Largest absolute eigenvalue of symmetric matrices (n, d, d), (n,)."""
    return np.abs(np.linalg.eigvalsh(matrices)).max(-1)


REGIONS = {
    "particles": "largest norm over the particles",
    "neighbourhood": "largest norm over samples x_i + h z, z distributed like K",
    "mean": "mean norm over the same samples, that is weighted by p_h",
    "taylor": "mean of |z|^2 times the norm at x_i + tau h z over m2, tau of density 2 (1 - tau): the constant of the proof of L4.4",
    "effective": "2 |S_N - F_N| / (m2 h^2) and 2 |F_N - D_N| / (m2 h^2)",
}


class Constants(NamedTuple):
    """L1, L2 and the Lipschitz constant of b for one cloud, each (5,) in the order of `REGIONS` (NaN where undefined).

    ``stein_error``, ``speed_error`` (5,): one standard error of the two means, 0 for the largest values, and for the effective
    constants what the error of F_N makes of them. ``stein_gap`` |S_N - F_N| and ``speed_gap`` |F_N - D_N| are the left sides of
    L4.4, ``fisher`` the F_N behind them.
    """

    stein: np.ndarray
    speed: np.ndarray
    lipschitz: np.ndarray
    stein_error: np.ndarray
    speed_error: np.ndarray
    stein_gap: float
    speed_gap: float
    fisher: fisher_discrepancy.Fisher


def constants(
    field: DriftField, cloud: np.ndarray, *, particles: int = 512, samples: int = 1024, seed: int = 0, **fisher: Any
) -> Constants:
    """L1, L2 of A2.5 over each of `REGIONS` for one cloud (N, d) frozen in a conservative field.

    At most ``particles`` of the particles, drawn without replacement, and ``samples`` (a power of two) points x_i + h z and as
    many x_i + tau h z; further keywords go to `fisher_discrepancy.fisher`. The largest norms over these points are lower bounds of suprema
    and grow with their number; the standard errors of the means miss peaks too narrow to be hit (gaps of 6 h and more).
    Raises ``ValueError`` as `hessians` and `fisher_discrepancy.fisher` do.
    """
    generator = random.generator(seed, "constants")
    chosen = np.arange(len(cloud)) if len(cloud) <= particles else generator.choice(len(cloud), particles, replace=False)
    index, z = sample_smoothed(field.kernel, field.h, cloud, samples, generator)
    tau = 1 - np.sqrt(1 - generator.random(samples))
    near, between = cloud[index] + field.h * z, cloud[index] + field.h * tau[:, None] * z
    m2 = field.kernel.second_moment(cloud.shape[1])
    parts = hessians(field, np.concatenate([cloud[chosen], near, between]), cloud)
    cuts = [len(chosen), len(chosen) + samples]
    means = observables.particle_means(field, cloud)
    f = fisher_discrepancy.fisher(field, cloud, **{"seed": seed, **fisher})
    scale = 2 / (m2 * field.h**2)
    gaps = {"stein": abs(means.stein_drift - f.value), "speed": abs(f.value - means.squared_speed), "jacobian": math.nan}
    found, errors = {}, {}
    for name, matrices in parts._asdict().items():
        own, close, middle = np.split(operator_norms(matrices), cuts)
        weighted = middle * (z * z).sum(1) / m2
        found[name] = np.array([own.max(), close.max(), close.mean(), weighted.mean(), scale * gaps[name]])
        spread = [a.std(ddof=1) / math.sqrt(samples) for a in (close, weighted)]
        errors[name] = np.array([0.0, 0.0, *spread, scale * f.error])
    found["jacobian"][3:] = np.nan
    return Constants(found["stein"], found["speed"], found["jacobian"], errors["stein"], errors["speed"], gaps["stein"], gaps["speed"], f)


_VARIABLES = {
    "stein_constant": ("L1 of A2.5, norm of the Hessian of T_pi b", "time^-1 length^-2"),
    "stein_constant_error": ("error of L1", "time^-1 length^-2"),
    "speed_constant": ("L2 of A2.5, norm of the Hessian of |b|^2", "time^-1 length^-2"),
    "speed_constant_error": ("error of L2", "time^-1 length^-2"),
    "lipschitz": ("norm of the Jacobian of b; undefined for the last two regions", "time^-1"),
    "stein_bound": ("m2 L1 h^2 / 2, right side of L4.4 (16)", "time^-1"),
    "speed_bound": ("m2 L2 h^2 / 2, right side of L4.4 (17)", "time^-1"),
}
_GAPS = {
    "stein_gap": ("|S_N - F_N|, left side of L4.4 (16)", "time^-1"),
    "speed_gap": ("|F_N - D_N|, left side of L4.4 (17)", "time^-1"),
    "fisher": ("F_N, integral of p_h |b|^2 (5)", "time^-1"),
    "fisher_error": ("error of F_N: last refinement, or one standard error", "time^-1"),
}


def measure_constants(
    ensemble: xr.Dataset,
    *,
    replicates: int = 2,
    snapshots: int | None = 3,
    particles: int = 512,
    samples: int = 1024,
    rtol: float = 1e-6,
    max_points: int = 2**20,
    points: int = 2**12,
    scramblings: int = 8,
) -> xr.Dataset:
    """L1, L2 of A2.5 by region and both sides of L4.4 along stored clouds of a conservative flow.

    ``ensemble`` as `simulate.simulate_flow` returns it; clouds as `observables.configurations` chooses them; the rest as for
    `constants`. Returns a Dataset over (bandwidth, n_particles, replicate, snapshot, region). L4.4 is the statement with the
    supremum; region ``taylor`` is dominated by it and still dominates the gap, the other regions need not.
    """
    coordinates, clouds = observables.configurations(ensemble, replicates=replicates, snapshots=snapshots)
    dims = ("bandwidth", "n_particles", "replicate", "snapshot")
    shape = tuple(len(ensemble[name]) for name in dims[:2]) + tuple(max(c.place[k] for c in clouds) + 1 for k in (2, 3))
    data = {name: np.full((*shape, len(REGIONS)), np.nan) for name in _VARIABLES} | {name: np.full(shape, np.nan) for name in _GAPS}
    options = {"rtol": rtol, "max_points": max_points, "points": points, "scramblings": scramblings}
    for place, field, cloud, seed in clouds:
        c = constants(field, cloud, particles=particles, samples=samples, seed=seed, **options)
        factor = 0.5 * field.kernel.second_moment(cloud.shape[1]) * field.h**2
        values = {
            "stein_constant": c.stein,
            "stein_constant_error": c.stein_error,
            "speed_constant": c.speed,
            "speed_constant_error": c.speed_error,
            "lipschitz": c.lipschitz,
            "stein_bound": factor * c.stein,
            "speed_bound": factor * c.speed,
            "stein_gap": c.stein_gap,
            "speed_gap": c.speed_gap,
            "fisher": c.fisher.value,
            "fisher_error": c.fisher.error,
        }
        for name, value in values.items():
            data[name][place] = value
    variables = {name: ((*dims, "region"), data[name], {"long_name": text, "units": unit}) for name, (text, unit) in _VARIABLES.items()}
    variables |= {name: (dims, data[name], {"long_name": text, "units": unit}) for name, (text, unit) in _GAPS.items()}
    coordinates["region"] = (
        "region",
        np.array(list(REGIONS), dtype=object),
        {"long_name": "; ".join(f"{k}: {v}" for k, v in REGIONS.items()), "units": "1"},
    )
    attributes = {"experiment": ensemble.attrs["experiment"], "seed": int(ensemble.attrs["seed"])}
    attributes |= {"particles": particles, "samples": samples, **options}
    return xr.Dataset(variables, coordinates, attributes)
