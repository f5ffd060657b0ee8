"""Assumption A2.1 on the kernel, checked by numbers: quadrature and finite differences of K alone against its closed forms.

A2.1 asks for a normalised, even kernel of class C^2 with finite Laplacian at 0 and finite second moment.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import xarray as xr
from scipy import integrate, optimize

from driftrates import kernels
from driftrates.kernels import Kernel

TOLERANCES = {"mass": 1e-9, "evenness": 1e-12, "moment": 1e-8, "divergence": 0.05, "hessian_jump": 0.02, "laplacian": 1e-5}
"""Largest deviations at which A2.1 counts as satisfied, relative to the closed form (see `tabulate_kernels`)."""

R0 = 1.0
_WAVE_NUMBERS = np.linspace(0.0, 12.0, 121)
_FOURIER_NOISE = 1e-9

_LONG_NAMES = {
    "mass_error": "integral of K minus 1",
    "evenness_error": "largest |K(z) - K(-z)| / K(0) at random points",
    "radiality_error": "largest |K(z) - K(Qz)| / K(0) at random points z and rotations Q",
    "second_moment": "second moment m2 of K in closed form",
    "second_moment_quadrature": "second moment m2 of K by quadrature",
    "value_at_zero": "K(0)",
    "laplacian_at_zero": "Laplacian of K at 0 in closed form",
    "laplacian_at_zero_difference": "Laplacian of K at 0 by extrapolated finite differences",
    "second_difference_exponent": "p in |second difference of K at 0 over e| ~ e^-p as e tends to 0 (kink: 1, C2: 0)",
    "gradient_jump": "jump of the radial derivative of K across 0, relative to K(0)",
    "hessian_jump": "second difference of K beside 0 minus the one across 0 at the smallest step, relative to the largest across 0",
    "fourier_minimum": "smallest Fourier transform of K on the grid of wave numbers",
    "fourier_positive": "Fourier transform of K is positive on the grid, up to rounding",
    "fourier_first_zero": "smallest wave number at which the Fourier transform of K vanishes; NaN if it does not on the grid",
    "lower_bound": "k0 with K >= k0 on |z| <= r0",
    "lower_bound_margin": "smallest K on |z| <= r0 by evaluation, divided by k0, minus 1",
    "companion_mass": "integral of the companion K# in units of h^2",
    "companion_mass_quadrature": "integral of the companion K# in units of h^2, by quadrature",
    "companion_second_moment": "second moment m2# of the normalised companion, by quadrature",
    "satisfies_a21": "K satisfies A2.1 in every dimension of the table",
    "reason": "why K fails A2.1, empty if it does not",
}


def tabulate_kernels(entries: list[dict[str, Any]], dimensions: list[int]) -> xr.Dataset:
    """Check A2.1 for each kernel and dimension.

    entries (list of ``{"name": ..., parameters}`` as for `kernels.make`), dimensions (list of int >= 1). Returns a Dataset over
    (kernel, dimension); ``satisfies_a21`` and ``reason`` are per kernel. The verdict is computed from K's values, moments and
    differences and `TOLERANCES`: it does not consult the kernel's declared smoothness, and it takes a feature of K narrower than
    about 1e-5 for a kink.
    Raises ``ValueError`` for an empty list, an unknown kernel or parameter, a repeated kernel or a dimension below 1.
    """
    if not entries or not dimensions:
        raise ValueError("a table of kernels needs at least one kernel and one dimension")
    if any(isinstance(d, bool) or int(d) != d or d < 1 for d in dimensions) or len(set(dimensions)) < len(dimensions):
        raise ValueError(f"dimensions must be different integers >= 1, not {dimensions}")
    if any("name" not in e for e in entries):
        raise ValueError(f"every kernel of a table needs a 'name', not {entries}")
    labels = [_label(**e) for e in entries]
    if len(set(labels)) < len(labels):
        raise ValueError(f"kernels must differ, not {labels}")

    table = [[_check(kernels.make(**e), int(d)) for d in dimensions] for e in entries]
    data: dict[str, Any] = {key: (("kernel", "dimension"), np.array([[cell[key] for cell in row] for row in table])) for key in table[0][0]}
    dataset = xr.Dataset(data, coords={"kernel": np.array(labels, dtype=object), "dimension": np.array(dimensions, dtype=np.int64)})
    reasons = [_reason(dataset, label) for label in labels]
    dataset["reason"] = ("kernel", np.array(reasons, dtype=object))
    dataset["satisfies_a21"] = ("kernel", np.array([not reason for reason in reasons]))
    for key, long_name in _LONG_NAMES.items():
        dataset[key].attrs = {"long_name": long_name, "units": "1"}
    dataset["kernel"].attrs = {"long_name": "kernel and its parameters", "units": "1"}
    dataset["dimension"].attrs = {"long_name": "space dimension d", "units": "1"}
    dataset.attrs = {"statement": "A2.1", "r0": R0, **{f"tolerance_{k}": v for k, v in TOLERANCES.items()}}
    return dataset


def _label(name: str, **parameters: float) -> str:
    return f"{name}({', '.join(f'{k}={v:g}' for k, v in parameters.items())})" if parameters else name


def _check(kernel: Kernel, d: int) -> dict[str, Any]:
    mass = kernel.normaliser(d)

    def value(r: Any) -> np.ndarray:
        return kernel.rung(np.asarray(r), d) / mass

    def at(points: np.ndarray) -> np.ndarray:
        return value(np.linalg.norm(points, axis=-1))

    k0, bound = float(value(0.0)), kernel.lower_bound(R0, d)
    rng = np.random.default_rng(d)
    z = rng.standard_normal((64, d))
    rotation = np.linalg.qr(rng.standard_normal((d, d)))[0]
    companion = _moment(kernel, d, -1, 0)
    fourier = np.asarray(kernel.fourier(_WAVE_NUMBERS, d))
    inside = value(np.linspace(0.0, R0, 201))
    return {
        "mass_error": _moment(kernel, d, 0, 0) - 1,
        "evenness_error": float(np.max(np.abs(at(z) - at(-z)))) / k0,
        "radiality_error": float(np.max(np.abs(at(z) - at(z @ rotation)))) / k0,
        "second_moment": kernel.second_moment(d),
        "second_moment_quadrature": _moment(kernel, d, 0, 2),
        "value_at_zero": k0,
        "laplacian_at_zero": kernel.laplacian_at_zero(d),
        **_smoothness_at_zero(value, d),
        "fourier_minimum": float(fourier.min()),
        "fourier_positive": bool(fourier.min() > -_FOURIER_NOISE),
        "fourier_first_zero": _first_zero(kernel, d, fourier),
        "lower_bound": bound,
        "lower_bound_margin": float(inside.min()) / bound - 1,
        "companion_mass": kernel.companion_mass(d),
        "companion_mass_quadrature": companion,
        "companion_second_moment": _moment(kernel, d, -1, 2) / companion,
    }


def _moment(kernel: Kernel, d: int, n: int, power: int) -> float:
    """Integral of |z|^power f_n(|z|) / normaliser over R^d; ``inf`` if the tail's local exponent says that it diverges."""
    far, farther = kernel.rung(np.array([1e7, 1e8]), d, n)
    if farther > 0 and d + power + math.log10(farther / far) > -1e-6:
        return math.inf
    area = 2 * math.pi ** (d / 2) / math.gamma(d / 2)

    def integrand(u: float) -> float:  # s = u / (1 - u) turns an algebraic tail into a power of 1 - u
        s = u / (1 - u)
        return s ** (d - 1 + power) * float(kernel.rung(np.asarray(s), d, n)) / (1 - u) ** 2

    value = integrate.quad(integrand, 0.0, 1.0, epsabs=0.0, epsrel=1e-11, limit=400)[0]
    return area * value / kernel.normaliser(d)


def _smoothness_at_zero(value: Callable[[float], np.ndarray], d: int) -> dict[str, float]:
    """Finite differences of K along a line through 0, by steps small enough to see 0 and large enough to outlive rounding."""

    k0 = float(value(0.0))

    def drop(e: float) -> float:
        return float(value(e)) - k0

    def across(e: float) -> float:
        return 2 * drop(e) / e**2

    def beside(e: float) -> float:
        return (drop(e) - 2 * drop(2 * e) + drop(3 * e)) / e**2

    step = 1.0
    while abs(drop(step)) > 1e-8 * k0 and step > 1e-12:
        step /= 2
    ratio = abs(across(step) / across(2 * step))
    exponent = math.log2(ratio) if ratio > 0 else -math.inf
    start = step * 2.0**10
    curvature = max(abs(across(step * 2.0**i)) for i in range(11))
    return {
        "laplacian_at_zero_difference": d * _extrapolate(across, start) if exponent < TOLERANCES["divergence"] else -math.inf,
        "second_difference_exponent": exponent,
        "gradient_jump": 2 * _extrapolate(lambda e: drop(e) / e, start) / k0,
        "hessian_jump": (beside(step) - across(step)) / curvature,
    }


def _extrapolate(g: Callable[[float], float], start: float, levels: int = 11) -> float:
    """Limit of g(e) as e -> 0 from e = start 2^-i by Richardson's scheme in powers of e; the entry of smallest estimated error."""
    best, error, previous = g(start), math.inf, [g(start)]
    for i in range(1, levels):
        row = [g(start * 2.0**-i)]
        for j, before in enumerate(previous, start=1):
            row.append(row[-1] + (row[-1] - before) / (2.0**j - 1))
            estimate = max(abs(row[-1] - row[-2]), abs(row[-1] - before))
            if estimate < error:
                best, error = row[-1], estimate
        previous = row
    return best


def _first_zero(kernel: Kernel, d: int, fourier: np.ndarray) -> float:
    negative = np.flatnonzero(fourier < -_FOURIER_NOISE)
    if negative.size == 0:
        return math.nan
    right = int(negative[0])
    left = int(np.flatnonzero(fourier[:right] > _FOURIER_NOISE)[-1])
    return float(optimize.brentq(lambda k: float(kernel.fourier(np.array([k]), d)[0]), _WAVE_NUMBERS[left], _WAVE_NUMBERS[right]))


def defects(table: xr.Dataset, kernel: str) -> dict[str, np.ndarray]:
    """What A2.1 asks against what the numbers of ``table`` say of one kernel, in units of the tolerance, per dimension.

    Keys: mass, even, C2, laplacian, moment; a value above 1 (or NaN) means that the kernel lacks it.
    Raises ``ValueError`` for a kernel that is not in the table.
    """
    labels = [str(label) for label in table["kernel"].values]
    if kernel not in labels:
        raise ValueError(f"the table of kernels has no {kernel!r}, only {', '.join(labels)}: add it to `kernels` in the configuration")
    row = {
        name: values.values.astype(float) for name, values in table.isel(kernel=labels.index(kernel)).items() if "dimension" in values.dims
    }
    d, moment, laplacian = table["dimension"].values, row["second_moment"], row["laplacian_at_zero"]
    with np.errstate(invalid="ignore", over="ignore"):
        scale = np.abs(laplacian) + row["value_at_zero"] * d**2 / moment
        found = {
            "mass": np.abs(row["mass_error"]) / TOLERANCES["mass"],
            "even": row["evenness_error"] / TOLERANCES["evenness"],
            "C2": np.maximum(
                row["second_difference_exponent"] / TOLERANCES["divergence"], np.abs(row["hessian_jump"]) / TOLERANCES["hessian_jump"]
            ),
            "laplacian": np.abs(row["laplacian_at_zero_difference"] - laplacian) / scale / TOLERANCES["laplacian"],
            "moment": np.abs(row["second_moment_quadrature"] - moment) / moment / TOLERANCES["moment"],
        }
    return {name: np.where(np.isfinite(values), values, np.inf) for name, values in found.items()}


def _reason(table: xr.Dataset, kernel: str) -> str:
    """What A2.1 asks and the kernel lacks, each with the first dimension where it fails and the number that says so."""
    row = table.sel(kernel=kernel)
    found = []
    for name, values in defects(table, kernel).items():
        failing = np.flatnonzero(values > 1)
        if failing.size:
            cell = {key: v.item() for key, v in row.isel(dimension=failing[0]).items() if v.ndim == 0}
            text = {
                "mass": "not normalised: integral - 1 = {mass_error:.3g}",
                "even": "not even: {evenness_error:.3g}",
                "C2": "not C2 at 0: second difference ~ e^-{second_difference_exponent:.3g}, slope jumps by {gradient_jump:.3g} K(0)",
                "laplacian": "Laplacian at 0 is {laplacian_at_zero_difference:.6g} by differences, {laplacian_at_zero:.6g} in closed form",
                "moment": "second moment is {second_moment_quadrature:.6g} by quadrature, {second_moment:.6g} in closed form",
            }[name]
            found.append(f"{text.format(**cell)} (d = {int(table['dimension'][failing[0]])})")
    return "; ".join(found)
