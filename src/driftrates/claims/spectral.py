"""Drifting as score matching, and the spectra of its linearised flow: B1 to B3''."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import xarray as xr
from scipy import stats

from driftrates import kernels
from driftrates.claims.ledger import Assumption, Construction, Data, Evidence, Identity, Rate, statement
from driftrates.fields import DriftField, SmoothedPoints
from driftrates.random import generator
from driftrates.spectral.linear import Fejer, rate
from driftrates.spectral.mean_field import ABOVE, FLOOR, SMALL

_CHAPTER = "spectral"
_SOURCE = "exact form derived here"
_CLOCKS = {"displacement": "displacement clock", "conservative": "score clock", "sharp": "score clock, sharp-normalised"}
_OTHER_CLOCKS = {"displacement": ["conservative"], "conservative": ["displacement"], "sharp": ["conservative", "displacement"]}
_STEP = 1e-30


@statement(
    _CHAPTER,
    "B1",
    "with a Gaussian kernel the drift is exactly a score difference of smoothed distributions: v = h^2 grad log(p_h/q_h)",
    _SOURCE,
)
def score_difference(data: Data) -> Iterator[Evidence]:
    yield Identity(
        quantity="|v - h^2 grad log(p_h/q_h)| over the size of both terms, gradient by complex steps, d = 1, 2, 3, 5; control: Laplace",
        residual=np.concatenate([_score_residual("gaussian", d, h) for d in (1, 2, 3, 5) for h in (0.4, 1.0, 2.5)]),
        control=np.concatenate([_score_residual("laplace", d, h) for d in (1, 2, 3, 5) for h in (0.4, 1.0, 2.5)]),
        # Sums of 64 terms whose exponents reach a few tens.
        tolerance=1e-12,
    )


def _score_residual(name: str, d: int, h: float) -> np.ndarray:
    rng = generator(0, "score difference", d, h)
    data, cloud, points = (scale * rng.standard_normal((1, n, d)) for scale, n in ((1.0, 64), (1.3, 48), (1.2, 16)))
    kernel = kernels.make(name)
    value = DriftField("displacement", SmoothedPoints(data, kernel, h), kernel, h).at(points, cloud)
    gradients = np.empty((2, len(points[0]), d))
    for c in range(d):
        moved = points[0].astype(complex)
        moved[:, c] += 1j * _STEP
        for part, measure in zip(gradients, (data[0], cloud[0]), strict=True):
            part[:, c] = _log_smoothed(name, moved, measure, h).imag / _STEP
    size = h**2 * np.abs(gradients).sum((0, 2))
    return np.abs(value.velocity[0] - h**2 * (gradients[0] - gradients[1])).max(1) / size


def _log_smoothed(name: str, x: np.ndarray, y: np.ndarray, h: float) -> np.ndarray:
    """log sum_j K((x - y_j) / h) in plain NumPy, x complex."""
    square = (((x[:, None] - y) / h) ** 2).sum(-1)
    exponent = -0.5 * square if name == "gaussian" else -np.sqrt(square)
    shift = exponent.real.max(1, keepdims=True)
    return np.log(np.exp(exponent - shift).sum(1)) + shift[:, 0]


@statement(_CHAPTER, "B2", "V = 0 implies p = q if the Fourier transform of the kernel has no zero, and does not if it has one", _SOURCE)
def identifiability(data: Data) -> Iterator[Evidence]:
    kappa = np.linspace(0.01, 36, 3600)
    registered = [kernels.make(name) for name in kernels.names()]
    yield Assumption(
        case="no zero",
        quantity="share of wave numbers h k <= 36 with K^ <= 0, every registered kernel, d = 1, 2, 3; control: the Fejér kernel",
        defects=[(kernel.fourier(kappa, d) <= 0).mean() for kernel in registered for d in (1, 2, 3)],
        control=[(Fejer().fourier(kappa, 1) <= 0).mean()],
        tolerance=0.0,
    )
    o = data["spectra"]
    names = [str(name) for name in o["kernel"].values]
    k, h = o["probe_wave"].values, float(o.attrs["bandwidth"])
    for field in o["probe_field"].values.tolist():
        seen = o["probe_speed"].sel(probe=names, probe_field=field, background="uniform").values
        size = np.stack([rate(kernels.make(name), k, h, 1, field) / k for name in names]) * SMALL / np.sqrt(2)
        visible = o["probe_fourier"].sel(probe=names).values > FLOOR
        yield Identity(
            case=f"linear, {_CLOCKS[field]}",
            quantity="root mean square of the field of a small wave over its linear size minus 1; control: size for another kernel",
            residual=(seen / size)[visible] - 1,
            control=(seen / np.roll(size, 1, axis=0))[visible] - 1,
            # Curvature, and rounding of a field that is FLOOR of the wave.
            tolerance=SMALL**2 + 1e-15 / (SMALL * FLOOR),
        )
        far = o.sel(probe_field=field)
        speed, kept = far["probe_speed"].sel(background="not uniform"), far["probe_kept"]
        blind = {"triangle": k % 3 == 0, "fejer": k >= 3}
        unseen, unmoved = (np.concatenate([v.sel(probe=n).values[b] for n, b in blind.items()]) for v in (speed, kept))
        yield Construction(
            case=f"zero-free, {_CLOCKS[field]}",
            quantity="root mean square of the field of q = p + 0.3 cos(k x), p not uniform, every kernel and k; control: blind kernels",
            effect=speed.sel(probe=names).values,
            control=unseen,
            threshold=1e-12,
        )
        matched = {"probe": "triangle_variance", "probe_wave": 3}
        distance = float(o["probe_distance"].sel(background="not uniform"))
        yield Construction(
            case=f"zero, {_CLOCKS[field]}",
            quantity="total variation of p and q over that field, blind kernels; control: Gaussian of the triangle's variance",
            effect=distance / np.maximum(unseen, 1e-300),
            control=[distance / float(speed.sel(matched))],
            threshold=1e10,
        )
        yield Construction(
            case=f"stays, {_CLOCKS[field]}",
            quantity="share of the distance left at time 1 of the mean-field flow, blind kernels; control: Gaussian of that variance",
            effect=unmoved,
            control=[float(kept.sel(matched))],
            threshold=0.999,
        )


@statement(
    _CHAPTER,
    "B3",
    "a mode k of a uniform background decays at -|k| dk^/d|k| / k^(0) (displacement clock) or |k|^2 K^(h k) (score clock)",
    _SOURCE,
)
def spectra(data: Data) -> Iterator[Evidence]:
    o = data["spectra"]
    h, k = float(o.attrs["bandwidth"]), o["wave_number"].values.astype(float)
    names = [str(name) for name in o["kernel"].values]
    for name, field, formula in _formulas(h):
        # The Gaussian formula is the same in every dimension.
        words = "with the transform squared" if name == "gaussian" else "of the dimension below"
        predicted = np.stack([formula(k, d) for d in o["dimension"].values.tolist()])
        measured = o["quadrature"].sel(kernel=name, field=field).values
        used = np.isfinite(measured)
        yield Identity(
            case=f"formula, {name}, {_CLOCKS[field]}",
            quantity=f"formula over quadrature of the linearised field minus 1, d = 1, 2, 3; control: the formula {words}",
            residual=(predicted / measured - 1)[used],
            control=(predicted * np.exp(-((h * k) ** 2) / 2) / measured - 1)[used]
            if name == "gaussian"
            else (predicted[:-1] / measured[1:] - 1)[used[1:]],
            tolerance=1e-6,
        )
    for i, name in enumerate(names):
        for field in o["field"].values.tolist():
            case, other = o.sel(kernel=name, field=field), o.sel(kernel=name, field=_OTHER_CLOCKS[field])
            closed, line = case["closed_form"], case["closed_form"].sel(dimension=1)
            nonlinear = case["nonlinear"].values
            seen = np.isfinite(nonlinear)
            linear = np.concatenate([(case["quadrature"] / closed).values.ravel(), (case["operator"] / line).values[seen]]) - 1
            linear = np.concatenate([linear, case["coupling"].values[seen]])
            yield Identity(
                case=f"{name}, {_CLOCKS[field]}",
                quantity="quadrature (d = 1, 2, 3), Jacobian (d = 1) over closed form minus 1; part across the wave; control: other clocks",
                residual=linear[np.isfinite(linear)],
                control=(case["operator"] / other["closed_form"].sel(dimension=1)).isel(wave_number=seen).values - 1,
                # Rounding, 1e-16 over the smallest transform, times the terms of the sums.
                tolerance=1e-6,
            )
            wrong = o["closed_form"].sel(field=field, dimension=1).isel(kernel=i - 1).values
            yield Identity(
                case=f"nonlinear, {name}, {_CLOCKS[field]}",
                quantity="rate fitted to the full mean-field equation over the closed form minus 1; control: closed form of another kernel",
                residual=nonlinear[seen] / line.values[seen] - 1,
                control=nonlinear[seen] / wrong[seen] - 1,
                tolerance=SMALL**2 + 1e-9 / SMALL,
            )
    for field in o["field"].values.tolist():
        late = o["large_rate"].sel(field=field).values
        predicted = o["mode_rate"].sel(field=field).values
        used = np.isfinite(late)
        yield Identity(
            case=f"late, {_CLOCKS[field]}",
            quantity="late rate from a density far from uniform over the closed form minus 1; control: closed form of another kernel",
            residual=(late / predicted)[used] - 1,
            control=(late / np.roll(predicted, 1, axis=0))[used] - 1,
            tolerance=2 / ABOVE,
        )
    yield from _bottleneck(o, k, h)


def _formulas(h: float) -> Iterator[tuple[str, str, object]]:
    """The closed forms: Gaussian and Laplace, both clocks, and the sharp-normalised Laplace field."""
    yield "gaussian", "displacement", lambda k, d: (h * k) ** 2 * np.exp(-((h * k) ** 2) / 2)
    yield "gaussian", "conservative", lambda k, d: k**2 * np.exp(-((h * k) ** 2) / 2)
    yield "laplace", "displacement", lambda k, d: (d + 1) * (h * k) ** 2 * (1 + (h * k) ** 2) ** (-(d + 3) / 2)
    yield "laplace", "conservative", lambda k, d: k**2 * (1 + (h * k) ** 2) ** (-(d + 1) / 2)
    yield "laplace", "sharp", lambda k, d: k**2 * (1 + (h * k) ** 2) ** (-(d + 3) / 2)


def _bottleneck(o: xr.Dataset, k: np.ndarray, h: float) -> Iterator[Evidence]:
    """Growth of the time 1 / lambda with k, fitted to rates of the full equation."""
    for field in ("displacement", "conservative"):
        slopes = {}
        for name in ("gaussian", "laplace"):
            measured = o["nonlinear"].sel(kernel=name, field=field).values
            used = np.isfinite(measured)
            slopes[name] = stats.linregress((h * k[used]) ** 2, np.log((h * k[used]) ** 2 / measured[used]))
        found = {name: (fit.slope - 1.96 * fit.stderr, fit.slope + 1.96 * fit.stderr) for name, fit in slopes.items()}
        yield Rate(
            case=f"exponential, gaussian, {_CLOCKS[field]}",
            quantity="slope of log(h^2 k^2 time) in h^2 k^2, full equation; control: the Laplace kernel",
            slope=slopes["gaussian"].slope,
            interval=found["gaussian"],
            predicted=0.5,
            control=found["laplace"],
            cases=int(np.isfinite(o["nonlinear"].sel(kernel="gaussian", field=field)).sum()),
            upper_bound=False,
            tolerance=1e-4,
        )
        for name, nu in (("laplace", 0.5), ("matern32", 1.5), ("matern52", 2.5), ("matern72", 3.5)):
            order = 2 * nu + 1
            exponent, interval, least, cases = _algebraic(o, name, field, h * k)
            yield Rate(
                case=f"algebraic, {name}, {_CLOCKS[field]}",
                quantity="exponent of the time in k for the largest h k of the full equation; control: the Gaussian kernel",
                slope=exponent,
                interval=interval,
                predicted=order - (2 if field == "conservative" else 0),
                control=_algebraic(o, "gaussian", field, h * k)[1],
                cases=cases,
                upper_bound=False,
                # Distance of the local exponent from its limit at the smallest h k of the fit.
                tolerance=(order + 2) / (1 + least**2),
            )


def _algebraic(o: xr.Dataset, name: str, field: str, kappa: np.ndarray) -> tuple[float, tuple[float, float], float, int]:
    measured = o["nonlinear"].sel(kernel=name, field=field).values
    used = np.flatnonzero(np.isfinite(measured))[-3:]
    fit = stats.linregress(np.log(kappa[used]), -np.log(measured[used]))
    return fit.slope, (fit.slope - 1.96 * fit.stderr, fit.slope + 1.96 * fit.stderr), float(kappa[used[0]]), len(used)


@statement(
    _CHAPTER,
    "B3'",
    "target N(0, s^2), Gaussian kernel, displacement clock: eigenvalues n (h^2/s^2) (1 + h^2/s^2)^-n, and an exact Gaussian closure",
    _SOURCE,
)
def gaussian_target(data: Data) -> Iterator[Evidence]:
    o = data["hermite"]
    closed, h = o["closed_form"].values, o["bandwidth"].values[:, None]
    for method, tolerance, words in (
        ("operator", 1e-6, "matrix in the Hermite basis by quadrature"),
        # Error of the integrator over the amplitude of the perturbation.
        ("nonlinear", 1e-3, "decay of the coefficient of He_n in the full equation"),
    ):
        measured = o[method].values
        used = np.isfinite(measured) & (closed > FLOOR * closed.max(1, keepdims=True))
        yield Identity(
            case=method,
            quantity=f"{words} over lambda_n minus 1; control: lambda_n of the score clock",
            residual=(measured / closed)[used] - 1,
            control=(measured / (closed / h**2))[used] - 1,
            tolerance=tolerance,
        )
    moments = o["moments"]
    gap = moments.sel(moment=o["closed"].values).rename(moment="closed") - o["closure"]
    yield Identity(
        case="closure",
        quantity="mean and variance of a Gaussian cloud in the full equation minus the closure; control: the Laplace kernel",
        residual=gap.sel(kernel="gaussian").values,
        control=gap.sel(kernel="laplace").values,
        tolerance=1e-8,
    )
    shape = moments.sel(moment=["skewness", "excess_kurtosis"])
    yield Identity(
        case="stays Gaussian",
        quantity="skewness and excess kurtosis of that cloud; control: the Laplace kernel",
        residual=shape.sel(kernel="gaussian").values,
        control=shape.sel(kernel="laplace").values,
        tolerance=1e-8,
    )
    n, operator = o["degree"].values, o["operator"]
    peak = 1 / np.log1p(o["bandwidth"].values ** 2)
    reached = peak < n[-1]
    yield Identity(
        case="largest",
        quantity="degree of the largest measured eigenvalue minus 1 / log(1 + h^2/s^2); control: degree of the smallest",
        residual=(n[operator.values.argmax(1)] - peak)[reached],
        control=(n[operator.values.argmin(1)] - peak)[reached],
        tolerance=1.0,
    )
    largest, narrow = operator.max("degree"), o["bandwidth"].values < 1
    yield Construction(
        case="slow at high degree",
        quantity="largest measured eigenvalue over the one of the highest degree; control: over the one next to 1 / log(1 + h^2/s^2)",
        effect=(largest / operator.isel(degree=-1)).values,
        control=[float(largest[i] / operator[i].isel(degree=max(round(p), 1) - 1)) for i, p in enumerate(peak) if reached[i]],
        threshold=1.1,
    )
    first = (largest / operator.isel(degree=0)).values
    yield Construction(
        case="slow mean",
        quantity="largest measured eigenvalue over lambda_1 for h < s; control: h >= s, where the mean is the fastest",
        effect=first[narrow],
        control=first[~narrow],
        threshold=1.1,
    )


@statement(_CHAPTER, "B3''", "the empirical Fourier modes of N particles decay at lambda(k) down to a noise floor", _SOURCE)
def finite_particles(data: Data) -> Iterator[Evidence]:
    o = data["torus_particles"]
    h, k = float(o.attrs["bandwidth"]), o["wave_number"].values
    for pair in o["pair"].values.tolist():
        name, field = pair.split()
        case = o.sel(pair=pair)
        wrong = rate(kernels.make(name), k, h, 1, _OTHER_CLOCKS[field][0])
        yield Identity(
            case=f"quiet start, {name}, {_CLOCKS[field]}",
            quantity="decay rate of the mode over lambda(k) minus 1, particles at quantiles; control: lambda(k) of another clock",
            residual=(case["quiet_rate"] / case["predicted"]).values - 1,
            control=case["quiet_rate"].values / wrong - 1,
            tolerance=float(o.attrs["amplitude"]) ** 2,
        )
        slope, interval = _jackknife((case["noisy_rate"] / case["predicted"]).mean("wave_number").values)
        yield Rate(
            case=f"i.i.d. start, {name}, {_CLOCKS[field]}",
            quantity="decay rate of the mean mode over lambda(k), mean over k, jackknife interval; control: lambda(k) of another clock",
            slope=slope,
            interval=interval,
            predicted=1.0,
            control=_jackknife((case["noisy_rate"] / xr.DataArray(wrong, dims="wave_number")).mean("wave_number").values)[1],
            cases=case["noisy_rate"].size,
            upper_bound=False,
            tolerance=float(o.attrs["noisy_amplitude"]) ** 2,
        )
    for floor in o["floor"].values.tolist():
        name, field = floor.split()
        case = o.sel(floor=floor)
        start, end = (case["exponent_interval"].sel(stage=s).values for s in ("start", "end"))
        for stage, predicted, own, broken, words in (
            ("start", -0.5, start, end, "the modes of i.i.d. particles; control: the damped modes at the end"),
            ("end", -1.0, end, start, "the damped modes, forced by products of two others; control: the modes at the start"),
        ):
            yield Rate(
                case=f"noise at the {stage}, {name}",
                quantity=f"exponent in N of the root mean square of {words}",
                slope=float(case["exponent"].sel(stage=stage)),
                interval=own,
                predicted=predicted,
                control=broken,
                cases=o.sizes["size"],
                upper_bound=stage == "end",
            )
        kernel = kernels.make(name)
        late = case["noise"].sel(stage="end") * np.sqrt(o["size"])
        foldings = rate(kernel, o["mode"].values, h, 1, field) * float(o.attrs["stop"])
        if (foldings < 0.1).any():
            yield Construction(
                case=f"frozen noise, {name}",
                quantity="root mean square of modes with lambda(k) T < 0.1 at time T, in units of N^(-1/2); control: the damped modes",
                effect=late.values[:, foldings < 0.1],
                control=late.values[:, case["damped"].values],
                threshold=0.5,
            )


def _jackknife(left_out: np.ndarray) -> tuple[float, tuple[float, float]]:
    """Mean of the estimates with one replicate left out, and its 95 % interval by Student's t."""
    count = len(left_out)
    half = stats.t.ppf(0.975, count - 1) * left_out.std() * np.sqrt(count - 1)
    return float(left_out.mean()), (float(left_out.mean() - half), float(left_out.mean() + half))
