"""The mean-field equation dq/dt = -d/dx (q v), v the drift of q toward p, on a periodic line, and the decay of its modes (B2, B3)."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from scipy import integrate, stats

from driftrates import kernels
from driftrates.fields import STATISTICS
from driftrates.flow import NonFiniteError
from driftrates.kernels import Kernel
from driftrates.spectral.linear import Fejer, Triangle, damping, quadrature_rate, rate

FIELDS = tuple(STATISTICS)
DIMENSIONS = (1, 2, 3)
SMALL = 1e-3
"""Relative amplitude of a mode whose linear decay is measured: the equation's own curvature then shows as SMALL^2."""
FLOOR = 1e-8
"""Transform of the kernel below which rounding, 1e-16 over it, would show in a measured rate."""
FOLDINGS = 4.0
ABOVE = 30.0
_RESOLVED = 1e-8
_BLIND = 3
_VISIBLE = 0.3
_MODES = 8
_LARGE = ((1, 0.5, 0.0), (2, 0.3, 1.0), (3, 0.2, 2.0))
"""Units of time over which a small wave is followed; how far a mode must stand above what feeds it, and above rounding; wave number
to which the probe kernels are blind, and amplitude of the wave there; modes recorded; waves (k, exponent, phase) of `large_start`."""


@dataclass(frozen=True, eq=False)
class PeriodicMeanField:
    """Mean-field flow of densities q (..., M) on M equidistant points of a periodic line.

    Convolutions with the periodised kernel are exact for trigonometric polynomials (its Fourier coefficients are K^(h k));
    the flux is cut off at two thirds of the wave numbers, so that products are free of aliasing to second order.

    kernel, field (a name of `fields.STATISTICS`, which fixes the clock), points M >= 8; ``h`` > 0: a number, an array that
    broadcasts against (..., 1), or a callable t -> either; ``target`` p (..., M) > 0, None for the uniform density; ``length`` of
    the period, a number or such an array. Raises ``ValueError`` for an unknown field or fewer points.
    """

    kernel: Kernel
    field: str
    h: float | np.ndarray | Callable[[float], Any]
    points: int
    target: np.ndarray | None = None
    length: float | np.ndarray = 2 * math.pi

    def __post_init__(self) -> None:
        if self.field not in STATISTICS:
            raise ValueError(f"unknown field {self.field!r}; known: {', '.join(STATISTICS)}")
        if self.points < 8:
            raise ValueError(f"points must be at least 8, not {self.points}")

    @property
    def grid(self) -> np.ndarray:
        """Points x (..., M) in [0, length)."""
        return np.arange(self.points) * (np.asarray(self.length) / self.points)

    @functools.cached_property
    def wave_numbers(self) -> np.ndarray:
        """Angular wave numbers k (..., M) in the order of the discrete transform."""
        return np.fft.fftfreq(self.points, 1 / self.points) * (2 * math.pi / np.asarray(self.length))

    @functools.cached_property
    def _gradient(self) -> np.ndarray:
        index = np.fft.fftfreq(self.points, 1 / self.points)
        return 1j * np.where(2 * np.abs(index) == self.points, 0.0, self.wave_numbers)

    @functools.cached_property
    def _kept(self) -> np.ndarray:
        return np.abs(np.fft.fftfreq(self.points, 1 / self.points)) < self.points / 3

    @functools.cached_property
    def _constant(self) -> tuple[Any, ...]:
        return self._at(self.h)

    def _at(self, h: Any) -> tuple[Any, ...]:
        """Multipliers of the denominator and the numerator of the statistic, and the statistic of the target."""
        k = np.abs(self.wave_numbers)
        kappa, square = h * k, np.where(k > 0, k, 1.0) ** 2
        mass = self.kernel.fourier(kappa, 1)
        if self.field == "conservative":
            multipliers = mass, self._gradient * mass
        else:
            at_zero = h**2 * self.kernel.companion_mass(1) if self.field == "sharp" else 0.0
            companion = np.where(k > 0, damping(self.kernel, kappa, 1) / square, at_zero)
            multipliers = (mass if self.field == "displacement" else companion), self._gradient * companion
        return *multipliers, 0.0 if self.target is None else self._ratio(self.target, *multipliers)

    def _ratio(self, q: np.ndarray, mass: np.ndarray, numerator: np.ndarray) -> np.ndarray:
        return self._convolve(q, numerator) / self._convolve(q, mass)

    def _convolve(self, q: np.ndarray, multiplier: np.ndarray) -> np.ndarray:
        if np.iscomplexobj(q):
            # Apart: a transform of both together would round the real part into a tiny imaginary step.
            return self._convolve(q.real, multiplier) + 1j * self._convolve(q.imag, multiplier)
        half = self.points // 2 + 1
        return np.fft.irfft(np.fft.rfft(q) * multiplier[..., :half], self.points)

    def smooth(self, q: np.ndarray, t: float = 0.0) -> np.ndarray:
        """K_h * q (..., M); for the sharp field K#_h * q."""
        return self._convolve(q, (self._at(self.h(t)) if callable(self.h) else self._constant)[0])

    def velocity(self, q: np.ndarray, t: float = 0.0) -> np.ndarray:
        """v (..., M), length/time of the field's clock; q may be complex, for derivatives by complex steps."""
        mass, numerator, target = self._at(self.h(t)) if callable(self.h) else self._constant
        return target - self._ratio(q, mass, numerator)

    def rhs(self, t: float, q: np.ndarray) -> np.ndarray:
        """dq/dt (..., M)."""
        return self._convolve(q * self.velocity(q, t), -self._gradient * self._kept)

    def evolve(self, q0: np.ndarray, times: Sequence[float], *, rtol: float = 1e-9, atol: float = 1e-13, unit: Any = 1.0) -> np.ndarray:
        """q at the increasing times (T, ..., M) from q0 (..., M) at time 0, by an explicit scheme of order 8.

        unit (number or array that broadcasts against q0): length of each row's own unit of ``times``; needs a constant h unless 1.
        Raises ``ValueError`` for a varying h with units, `flow.NonFiniteError` where a velocity is no finite number, `RuntimeError`
        where the scheme fails.
        """
        q0, unit = np.asarray(q0, float), np.asarray(unit, float)
        if callable(self.h) and (unit != 1).any():
            raise ValueError("a bandwidth that varies in time needs all rows in one unit of time")
        shape = np.broadcast_shapes(q0.shape, unit.shape)

        def flat(t: float, y: np.ndarray) -> np.ndarray:
            change = (unit * self.rhs(t, y.reshape(shape))).ravel()
            if not np.isfinite(change).all():
                raise NonFiniteError(f"mean-field flow of the {self.kernel.name} kernel: the density has no finite velocity at time {t:g}")
            return change

        start = np.broadcast_to(q0, shape).ravel()
        done = integrate.solve_ivp(flat, (0.0, times[-1]), start, "DOP853", t_eval=times, rtol=rtol, atol=atol)
        if not done.success:
            raise RuntimeError(f"mean-field flow of the {self.kernel.name} kernel: {done.message}")
        return done.y.T.reshape(len(times), *shape)


class Decay(NamedTuple):
    """``rate`` (...) of exp(-rate t) fitted on logarithms, its ``error`` (...): standard error of the slope."""

    rate: np.ndarray
    error: np.ndarray


def decay_rate(times: np.ndarray, amplitude: np.ndarray, where: np.ndarray | None = None) -> Decay:
    """Fit exp(-rate t) to amplitudes (T, ...) > 0 at the times (T,), those of the mask ``where`` (T, ...) only; NaN below 3 times."""
    columns = amplitude.reshape(len(times), -1)
    used = np.ones_like(columns, bool) if where is None else where.reshape(columns.shape)
    found = np.full((2, columns.shape[1]), np.nan)
    for c in range(columns.shape[1]):
        if used[:, c].sum() >= 3:
            fit = stats.linregress(times[used[:, c]], np.log(columns[used[:, c], c]))
            found[:, c] = -fit.slope, fit.stderr
    return Decay(*found.reshape(2, *amplitude.shape[1:]))


def mode(q: np.ndarray, j: Any = 1) -> np.ndarray:
    """|Fourier coefficient j| of densities q (..., M), twice over their mean: amplitude of the wave relative to the background."""
    spectrum = np.abs(np.fft.rfft(q))
    return 2 * spectrum[..., j] / spectrum[..., :1] if np.ndim(j) else 2 * spectrum[..., j] / spectrum[..., 0]


def operator_rates(kernel: Kernel, field: str, k: np.ndarray, h: float) -> tuple[np.ndarray, np.ndarray]:
    """Rates (K,) of integer wave numbers k from the Jacobian of the discretised equation at the uniform density, by complex steps.

    Also |J w - (w.J w) w| / |J w| (K,) for each wave w: 0 where the wave is an eigenvector.
    """
    flow = PeriodicMeanField(kernel, field, h, 4 * int(max(k)) + 8)
    jacobian = flow.rhs(0.0, 1.0 + 1e-30j * np.eye(flow.points)).imag.T / 1e-30
    waves = np.cos(np.outer(k, flow.grid)) * math.sqrt(2 / flow.points)
    moved = waves @ jacobian.T
    rates = -(moved * waves).sum(1)
    return rates, np.linalg.norm(moved + rates[:, None] * waves, axis=1) / np.linalg.norm(moved, axis=1)


def nonlinear_rates(kernel: Kernel, field: str, k: np.ndarray, h: float, points: int = 32) -> Decay:
    """Rates (K,) at wave numbers k fitted to the full equation on periods 2 pi / k, from waves of relative amplitude `SMALL`.

    Each row is followed over `FOLDINGS` times its predicted unit of time, so that the slowest modes are seen as well as the fastest.
    """
    k = np.asarray(k, float)[:, None]
    flow = PeriodicMeanField(kernel, field, h, points, length=2 * math.pi / k)
    times = np.linspace(0, FOLDINGS, 21)
    unit = 1 / rate(kernel, k, h, 1, field)
    amplitude = mode(flow.evolve(1 + SMALL * np.cos(k * flow.grid), times, unit=unit))
    return Decay(*(np.asarray(v) / unit[:, 0] for v in decay_rate(times, amplitude)))


def large_start(x: np.ndarray) -> np.ndarray:
    """A density far from uniform on [0, 2 pi), mean 1: exp of three waves."""
    q = np.exp(sum(a * np.cos(j * x - phase) for j, a, phase in _LARGE))
    return q / q.mean()


def _large_run(known: dict[str, Kernel], h: float, stop: float, points: int) -> dict[str, Any]:
    """Modes of the run from `large_start` toward the uniform density, and their late rates.

    A late rate is fitted where the density is within a tenth of uniform, and where the quadratic forcing of a mode by pairs of others is
    less than 1 / `ABOVE` of its own decay: otherwise a mode follows its neighbours, not its own rate.
    """
    times, waves = np.linspace(0, stop, 61), np.arange(1, points // 3)
    shape = (len(known), len(FIELDS), _MODES)
    amplitude, late, predicted = np.empty((*shape, len(times))), np.empty(shape), np.empty(shape)
    for i, kernel in enumerate(known.values()):
        for j, field in enumerate(FIELDS):
            flow = PeriodicMeanField(kernel, field, h, points)
            q = flow.evolve(large_start(flow.grid), times, rtol=_RESOLVED / 1e3)
            seen = mode(q, waves)
            own = rate(kernel, waves, h, 1, field)
            forcing = np.stack([n * _products(own / waves * seen, seen, n) for n in range(1, _MODES + 1)], -1)
            alone = ABOVE * forcing < (own * seen)[:, :_MODES]
            linear = (np.abs(q - 1).max(-1) < 0.1)[:, None] & alone & (seen[:, :_MODES] > _RESOLVED)
            late[i, j] = decay_rate(times, seen[:, :_MODES], linear).rate
            amplitude[i, j] = seen[:, :_MODES].T
            predicted[i, j] = own[:_MODES]
    dims = ("kernel", "field", "mode")
    return {
        "large_mode": ((*dims, "time"), amplitude, "relative amplitude of a mode in the run from a density far from uniform", "1"),
        "mode_rate": (dims, predicted, "linear decay rate of the mode in closed form", "time^-1"),
        "large_rate": (dims, late, "late decay rate in that run", "time^-1"),
    }


def _products(a: np.ndarray, b: np.ndarray, n: int) -> np.ndarray:
    """Half the sum of the products of entries of a and b (T, K) whose wave numbers 1..K differ by n or add up to n, (T,)."""
    total = (a[:, n:] * b[:, :-n]).sum(1) + (a[:, :-n] * b[:, n:]).sum(1)
    return 0.5 * (total + (a[:, : n - 1] * b[:, n - 2 :: -1][:, : n - 1]).sum(1) * (n > 1))


def _probes(known: dict[str, Kernel], h: float) -> dict[str, tuple[Kernel, float]]:
    """Kernel and bandwidth of each probe: the registered ones, two blind to `_BLIND`, a Gaussian of the triangle's variance."""
    period = 2 * math.pi / _BLIND
    blind = {"triangle": (Triangle(), period), "fejer": (Fejer(), 1 / (_BLIND - 0.5))}
    return {
        **{name: (kernel, h) for name, kernel in known.items()},
        **blind,
        "triangle_variance": (kernels.Gaussian(), period / math.sqrt(6)),
    }


def _perturbations(known: dict[str, Kernel], h: float, points: int) -> dict[str, Any]:
    """Root mean square of the field of q = p + a wave of wave number k, for p uniform and not, blind kernels among them (B2)."""
    probes = _probes(known, h)
    x, k = np.arange(points) * (2 * math.pi / points), np.arange(1, 13)[:, None]
    wave = np.cos(k * x)
    p = large_start(x)
    speed = np.empty((len(probes), 2, 2, len(k)))
    kept = np.empty((len(probes), 2, len(k)))
    smoothed = np.empty((len(probes), 2, points))
    fourier = np.stack([kernel.fourier(width * k[:, 0], 1) for kernel, width in probes.values()])
    for i, (kernel, width) in enumerate(probes.values()):
        flow = PeriodicMeanField(kernel, "conservative", width, points)
        smoothed[i] = flow.smooth(np.stack([p, p + _VISIBLE * wave[_BLIND - 1]]))
        for j, field in enumerate(FIELDS[:2]):
            for b, (target, size) in enumerate(((np.ones(points), SMALL), (p, _VISIBLE))):
                q = target + size * wave
                flow = PeriodicMeanField(kernel, field, width, points, target)
                speed[i, j, b] = np.sqrt((q * flow.velocity(q) ** 2).mean(-1))
            kept[i, j] = np.abs(flow.evolve(q, [1.0], rtol=1e-6)[-1] - p).mean(-1) / np.abs(q - p).mean(-1)
    dims = ("probe", "probe_field", "background", "probe_wave")
    return {
        "probe_fourier": (("probe", "probe_wave"), fourier, "Fourier transform of the kernel at h k", "1"),
        "probe_bandwidth": ("probe", np.array([width for _, width in probes.values()]), "bandwidth of the kernel", "length"),
        "probe_speed": (dims, speed, "root mean square of the field of p plus a wave of wave number k", "length time^-1"),
        "probe_distance": ("background", np.array([SMALL, _VISIBLE]) / math.pi, "total variation distance of q from p", "1"),
        "probe_kept": (
            ("probe", "probe_field", "probe_wave"),
            kept,
            "total variation distance at time 1 over that at time 0, p not uniform",
            "1",
        ),
        "probe_density": (("density", "x"), np.stack([p, p + _VISIBLE * wave[_BLIND - 1]]), "density over its mean", "1"),
        "probe_smoothed": (("probe", "density", "x"), smoothed, "density smoothed by the periodised kernel", "1"),
    }


def measure_spectra(
    *,
    seed: int,
    bandwidth: float = 0.5,
    wave_numbers: Sequence[int] = (1, 2, 3, 4, 6, 8, 10, 12, 16, 24, 32, 48),
    stop: float = 30.0,
    points: int = 128,
) -> xr.Dataset:
    """Decay rates of the modes of a uniform background by every method and for every registered kernel and field (B2, B3).

    bandwidth h > 0; wave_numbers (integers >= 1), those at which K^(h k) < `FLOOR` are not measured (NaN); stop, points: last time
    and grid of the run from `large_start`. Nothing is random: ``seed`` is recorded only.
    """
    h, k = bandwidth, np.unique(np.asarray(wave_numbers, int))
    known = {name: kernels.make(name) for name in kernels.names()}
    full = (len(known), len(FIELDS), len(DIMENSIONS), len(k))
    closed, quadrature = np.full(full, np.nan), np.full(full, np.nan)
    single = {name: np.full((len(known), len(FIELDS), len(k)), np.nan) for name in ("operator", "coupling", "nonlinear")}
    for i, (name, kernel) in enumerate(known.items()):
        print(f"rates of the {name} kernel", flush=True)
        for j, field in enumerate(FIELDS):
            for a, d in enumerate(DIMENSIONS):
                closed[i, j, a] = rate(kernel, k, h, d, field)
                seen = kernel.fourier(h * k, d) > FLOOR
                quadrature[i, j, a, seen] = quadrature_rate(kernel, k[seen], h, d, field)
            seen = kernel.fourier(h * k, 1) > FLOOR
            single["operator"][i, j], single["coupling"][i, j] = operator_rates(kernel, field, k, h)
            single["nonlinear"][i, j, seen] = nonlinear_rates(kernel, field, k[seen], h).rate
    fine = np.geomspace(k[0], k[-1], 121)
    curves = np.array([[rate(kernel, fine, h, 1, field) for field in FIELDS] for kernel in known.values()])
    rates = ("kernel", "field", "wave_number")
    where = ("kernel", "field", "dimension", "wave_number")
    made = {
        "curve": (("kernel", "field", "curve_wave"), curves, "closed form on a finer set of wave numbers, d = 1", "time^-1"),
        "closed_form": (where, closed, "decay rate from the Fourier transform of the kernel", "time^-1"),
        "quadrature": (where, quadrature, "decay rate from the linearised field of a plane wave, by quadrature", "time^-1"),
        "operator": (rates, single["operator"], "decay rate from the Jacobian of the discretised equation, d = 1", "time^-1"),
        "coupling": (rates, single["coupling"], "part of that Jacobian times a wave that is orthogonal to the wave", "1"),
        "nonlinear": (rates, single["nonlinear"], "decay rate fitted to the full mean-field equation, d = 1", "time^-1"),
        **_large_run(known, h, stop, points),
        **_perturbations(known, h, points),
    }
    probes, x = _probes(known, h), np.arange(points) * (2 * math.pi / points)
    coordinates = {
        "kernel": (list(known), "kernel"),
        "field": (list(FIELDS), "velocity field, which fixes the clock"),
        "dimension": (list(DIMENSIONS), "dimension d"),
        "wave_number": (k, "wave number |k| on the torus of length 2 pi"),
        "curve_wave": (fine, "wave number"),
        "mode": (np.arange(1, 1 + made["large_mode"][1].shape[2]), "wave number on the torus of length 2 pi"),
        "probe": (list(probes), "kernel, at the bandwidth of the study or one that makes it blind"),
        "probe_field": (list(FIELDS[:2]), "velocity field"),
        "probe_wave": (np.arange(1, 13), "wave number of the perturbation"),
        "density": (["p", "q"], "p not uniform, and p plus the wave to which the blind kernels are blind"),
        "background": (["uniform", "not uniform"], "density p"),
        "x": (x, "position on the torus"),
        "time": (np.linspace(0, stop, 61), "time"),
    }
    return dataset(made, coordinates, {"seed": seed, "bandwidth": h, "small": SMALL})


def dataset(variables: dict[str, Any], coordinates: dict[str, Any], attributes: dict[str, Any]) -> xr.Dataset:
    """Dataset from name -> (dims, values, long_name, units) and coordinates name -> (values, long_name)."""
    units = {
        "wave_number": "length^-1",
        "mode": "length^-1",
        "time": "time",
        "x": "length",
        "probe_wave": "length^-1",
        "curve_wave": "length^-1",
        "cutoff": "length^-1",
    }
    return xr.Dataset(
        {name: (dims, values, {"long_name": text, "units": unit}) for name, (dims, values, text, unit) in variables.items()},
        {name: (name, values, {"long_name": text, "units": units.get(name, "1")}) for name, (values, text) in coordinates.items()},
        attributes,
    )
