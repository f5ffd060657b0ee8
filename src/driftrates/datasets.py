"""Where clouds start and what they drift toward, by name: synthetic sets, the handwritten digits, and the user's own file.

A data set is named by a mapping ``{"name": ..., "size": M, <parameters of that name>}``; `NAMES` and `describe` list what is known.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from threadpoolctl import threadpool_limits

from driftrates import datafiles
from driftrates.messages import shown
from driftrates.random import generator
from driftrates.targets import GaussianMixture, mixture_from_config

Source = GaussianMixture | np.ndarray | Callable[[np.random.Generator, int], np.ndarray]
"""What a name stands for: a density, a finite table (M, d) of points, or a sampler (generator, size) -> (size, d)."""

MOST_NUMBERS = 10**8
"""Points times components of one data set or cloud that is drawn."""
LARGEST_DIMENSION = 10**4
LARGEST_COORDINATE = 1e100
"""Squares and products of a few coordinates stay in double precision."""

_MAKERS: dict[str, Callable[..., Source]] = {}


class Description(NamedTuple):
    """``parameters`` maps each key to its default; ``inspect.Parameter.empty`` marks one that must be given."""

    name: str
    summary: str
    parameters: dict[str, Any]


def _named(maker: Callable[..., Source]) -> Callable[..., Source]:
    _MAKERS[maker.__name__] = maker
    return maker


def describe(name: str) -> Description:
    """Summary and parameters of the data set ``name``; every set has the key ``size`` besides. Raises ``ValueError`` if unknown."""
    if name not in _MAKERS:
        raise ValueError(f"unknown data set {shown(name)}; known: {', '.join(_MAKERS)}")
    maker = _MAKERS[name]
    parameters = {key: p.default for key, p in inspect.signature(maker).parameters.items()}
    return Description(name, (inspect.getdoc(maker) or "").splitlines()[0], parameters)


def load(spec: Mapping[str, Any], *, seed: int, labels: tuple[str | float, ...] = ()) -> np.ndarray:
    """The points of a data set, (M, d) float64.

    spec: ``name``, ``size`` (M >= 2; may be left out for the finite sets ``digits`` and ``file``, whose subsamples are drawn without
    repetition) and the parameters of that name. The points depend on seed, name and labels, not on what was loaded before; give
    labels (experiment, role, replicate) where two uses of one name must be independent.
    Raises ``ValueError`` naming the key or the file, and what is allowed.
    """
    source = _source(spec)
    return _draw(source, _where(spec), _size(spec, source), generator(seed, "dataset", spec["name"], *labels))


def clouds(spec: Mapping[str, Any], *, seed: int, label: str, n_particles: int, replicates: int) -> np.ndarray:
    """Initial clouds (replicates, n_particles, d) float64, each drawn from spec as by `load`, keyed by (label, N, replicate).

    A file is read once. Raises ``ValueError`` as `load` does.
    """
    spec = {**spec, "size": n_particles}
    source = _source(spec)
    size = _size(spec, source)
    keys = ((label, "start", size, r) for r in range(_whole("replicates", replicates, 1)))
    return np.stack([_draw(source, _where(spec), size, generator(seed, "dataset", spec["name"], *key)) for key in keys])


def closed_form(spec: Mapping[str, Any]) -> GaussianMixture:
    """The density behind a spec, where it is a Gaussian mixture. Raises ``ValueError`` where it is not."""
    source = _source(spec)
    if not isinstance(source, GaussianMixture):
        raise ValueError(f"data set {spec['name']!r} is not a Gaussian mixture: it has no density in closed form")
    return source


def _source(spec: Mapping[str, Any]) -> Source:
    if not isinstance(spec, Mapping) or not isinstance(spec.get("name"), str):
        raise ValueError(f"a data set is a mapping with the key name (one of {', '.join(_MAKERS)}), not {shown(spec)}")
    name, known = spec["name"], describe(spec["name"]).parameters
    given = {key: value for key, value in spec.items() if key not in ("name", "size")}
    unknown = sorted(set(given) - set(known), key=str)
    if unknown:
        raise ValueError(f"data set {name!r} has no key {shown(unknown[0])}; allowed: {', '.join(['size', *known])}")
    missing = [key for key, default in known.items() if default is inspect.Parameter.empty and key not in given]
    if missing:
        raise ValueError(f"data set {name!r} needs the key {missing[0]!r}")
    try:
        return _MAKERS[name](**given)
    except ValueError as error:
        raise ValueError(f"data set {name!r}: {error}") from None


def _where(spec: Mapping[str, Any]) -> str:
    return f"data set {spec['name']!r}" + (f", file {spec['path']}" if "path" in spec else "")


def _size(spec: Mapping[str, Any], source: Source) -> int:
    size, finite = spec.get("size"), isinstance(source, np.ndarray)
    if size is None and finite:
        return len(source)
    if isinstance(size, bool) or not isinstance(size, (int, np.integer)) or size < 2:
        raise ValueError(f"{_where(spec)}: size must be an integer >= 2, not {shown(size)}")
    if finite and size > len(source):
        raise ValueError(f"{_where(spec)}: size is {size}, but there are only {len(source)} points")
    return int(size)


def _draw(source: Source, where: str, size: int, rng: np.random.Generator) -> np.ndarray:
    d = source.dimension if isinstance(source, GaussianMixture) else _drawn(source, 1, generator(0, "probe")).shape[1]
    if size * d > MOST_NUMBERS:
        raise ValueError(f"{where}: {size} points of {d} components are too many; at most {MOST_NUMBERS} numbers are held")
    points = _drawn(source, size, rng)
    if not np.abs(points).max() <= LARGEST_COORDINATE:
        most = f"{np.abs(points).max():g}"
        raise ValueError(f"{where}: a coordinate has the magnitude {most}; at most {LARGEST_COORDINATE:g} is allowed")
    return points


def _drawn(source: Source, size: int, rng: np.random.Generator) -> np.ndarray:
    if isinstance(source, GaussianMixture):
        return source.sample(rng, (size,))
    if isinstance(source, np.ndarray):
        return source.copy() if size == len(source) else source[rng.permutation(len(source))[:size]]
    return source(rng, size)


def _real(key: str, value: Any, *, above: float = -math.inf, least: float = -math.inf) -> float:
    good = isinstance(value, (int, float, np.number)) and not isinstance(value, bool) and math.isfinite(value)
    if not good or value <= above or value < least:
        bound = f" > {above:g}" if above > -math.inf else f" >= {least:g}" if least > -math.inf else ""
        raise ValueError(f"{key} must be a number{bound}, not {shown(value)}")
    return float(value)


def _whole(key: str, value: Any, low: int, high: int | None = None) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < low or high is not None and value > high:
        raise ValueError(f"{key} must be an integer {f'>= {low}' if high is None else f'from {low} to {high}'}, not {shown(value)}")
    return int(value)


def _per_axis(key: str, value: Any, d: int) -> np.ndarray:
    values = [_real(key, v) for v in value] if isinstance(value, (list, tuple, np.ndarray)) else [_real(key, value)] * d
    if len(values) != d:
        raise ValueError(f"{key} must be one number or {d} (the dimension), not {len(values)}")
    return np.array(values)


@_named
def eight_gaussians(radius: float = 2.0, standard_deviation: float = 0.2) -> Source:
    """Eight equal isotropic Gaussians on a circle."""
    angles = np.arange(8) * (np.pi / 4)
    means = _real("radius", radius, above=0) * np.stack([np.cos(angles), np.sin(angles)], 1)
    return GaussianMixture(np.ones(8), means, np.full(8, _real("standard_deviation", standard_deviation, above=0) ** 2))


@_named
def checkerboard(squares: int = 4, extent: float = 2.0, noise: float = 0.05) -> Source:
    """Uniform on every other square of a board [-extent, extent]^2 of squares x squares, plus Gaussian noise."""
    squares, extent, noise = _whole("squares", squares, 2, 1000), _real("extent", extent, above=0), _real("noise", noise, least=0)
    cells = np.argwhere(np.add.outer(np.arange(squares), np.arange(squares)) % 2 == 0)

    def draw(rng: np.random.Generator, size: int) -> np.ndarray:
        points = cells[rng.integers(len(cells), size=size)] + rng.random((size, 2))
        return extent * (2 * points / squares - 1) + noise * rng.standard_normal((size, 2))

    return draw


@_named
def two_moons(noise: float = 0.05) -> Source:
    """Two interleaving half circles of radius 1 about the origin, plus Gaussian noise."""
    noise = _real("noise", noise, least=0)

    def draw(rng: np.random.Generator, size: int) -> np.ndarray:
        angle, sign = np.pi * rng.random(size), 1.0 - 2 * rng.integers(2, size=size)
        points = sign[:, None] * (np.stack([np.cos(angle), np.sin(angle)], 1) - [0.5, 0.25])
        return points + noise * rng.standard_normal((size, 2))

    return draw


@_named
def swiss_roll(noise: float = 0.03) -> Source:
    """A planar spiral of one and a half turns from radius 1/3 to radius 1, plus Gaussian noise."""
    noise = _real("noise", noise, least=0)

    def draw(rng: np.random.Generator, size: int) -> np.ndarray:
        angle = 1.5 * np.pi * (1 + 2 * rng.random(size))
        points = (angle / (4.5 * np.pi))[:, None] * np.stack([np.cos(angle), np.sin(angle)], 1)
        return points + noise * rng.standard_normal((size, 2))

    return draw


def _thin(axis: int, along: float, across: float) -> Source:
    along, across = _real("standard_deviation_along", along, above=0), _real("standard_deviation_across", across, above=0)
    variances = [along**2, across**2] if axis == 0 else [across**2, along**2]
    return GaussianMixture(np.ones(1), np.zeros((1, 2)), np.array([variances]))


@_named
def thin_horizontal(standard_deviation_along: float = 1.0, standard_deviation_across: float = 0.05) -> Source:
    """Thin Gaussian cluster along the x-axis (Figure 1)."""
    return _thin(0, standard_deviation_along, standard_deviation_across)


@_named
def thin_vertical(standard_deviation_along: float = 1.0, standard_deviation_across: float = 0.05) -> Source:
    """Thin Gaussian cluster along the y-axis (Figure 1)."""
    return _thin(1, standard_deviation_along, standard_deviation_across)


@_named
def gaussian(dimension: int = 2, mean: float | list[float] = 0.0, standard_deviation: float | list[float] = 1.0) -> Source:
    """One Gaussian with independent axes; mean and standard_deviation are one number or one per axis."""
    d = _whole("dimension", dimension, 1, LARGEST_DIMENSION)
    deviations = _per_axis("standard_deviation", standard_deviation, d)
    if not (deviations > 0).all():
        raise ValueError(f"standard_deviation must be positive, not {shown(standard_deviation)}")
    return GaussianMixture(np.ones(1), _per_axis("mean", mean, d)[None], deviations[None] ** 2)


@_named
def mixture(means: list, weights: list | None = None, standard_deviations: Any = None, covariances: Any = None) -> Source:
    """Any Gaussian mixture; the keys of targets.mixture_from_config."""
    return mixture_from_config({"means": means, "weights": weights, "standard_deviations": standard_deviations, "covariances": covariances})


@_named
def uniform(dimension: int = 2, low: float = -1.0, high: float = 1.0) -> Source:
    """Uniform on the cube [low, high]^dimension."""
    d, low = _whole("dimension", dimension, 1, LARGEST_DIMENSION), _real("low", low)
    high = _real("high", high, above=low)
    return lambda rng, size: rng.uniform(low, high, (size, d))


@dataclass(frozen=True, eq=False)
class Basis:
    """Linear coordinates of data: samples = ((features - mean) / scale) axes^T.

    mean, scale (D,); axes (c, D) with orthonormal rows, or None for c = D without rotation; shape of one datum, of D entries.
    """

    mean: np.ndarray
    scale: np.ndarray
    axes: np.ndarray | None
    shape: tuple[int, ...]

    def transform(self, features: np.ndarray) -> np.ndarray:
        """features (..., D) to samples (..., c)."""
        z = (features - self.mean) / self.scale
        with threadpool_limits(1):
            return z if self.axes is None else z @ self.axes.T

    def inverse(self, samples: np.ndarray) -> np.ndarray:
        """samples (..., c) to data (..., *shape), the nearest point of the plane of the components in standardised units."""
        features = (samples if self.axes is None else samples @ self.axes) * self.scale + self.mean
        return features.reshape(*samples.shape[:-1], *self.shape)


def _fit_basis(values: np.ndarray, standardise: bool, components: int | None, shape: tuple[int, ...]) -> Basis:
    """Standardisation (a constant column keeps the scale 1) and principal components; the largest loading of each is positive."""
    mean, spread = values.mean(0), values.std(0)
    scale = np.where(np.ptp(values, 0) > 0, spread, 1.0) if standardise else np.ones_like(mean)
    basis = Basis(mean, scale, None, shape)
    if components is None:
        return basis
    if not np.ptp(values, 0).any():
        raise ValueError("all rows are equal: there are no principal components")
    # One thread: the last digits of LAPACK's result depend on their number, and outputs are compared byte by byte.
    with threadpool_limits(1):
        _, sizes, directions = np.linalg.svd(basis.transform(values), full_matrices=False)
    _whole("components", components, 1, int(np.sum(sizes > 1e-10 * sizes[0])))
    axes = directions[:components]
    largest = np.take_along_axis(axes, np.abs(axes).argmax(1)[:, None], 1)
    return Basis(mean, scale, axes * np.sign(largest), shape)


@cache
def _digits() -> np.ndarray:
    from sklearn.datasets import load_digits

    return load_digits().data


@cache
def digits_basis(components: int = 2) -> Basis:
    """Standardisation and principal components of the handwritten digits; ``inverse`` gives images (..., 8, 8), grey 0..16.

    Raises ``ValueError`` unless components is between 1 and the rank of the data.
    """
    return _fit_basis(_digits(), True, components, (8, 8))


@_named
def digits(components: int = 2) -> Source:
    """The 1797 handwritten digits of scikit-learn, standardised, on their first principal components."""
    return digits_basis(_whole("components", components, 1)).transform(_digits())


@_named
def file(
    path: str,
    variable: str | None = None,
    columns: list[str | int] | None = None,
    header: bool | None = None,
    delimiter: str = ",",
    dimension: int | None = None,
    standardise: bool = False,
    components: int | None = None,
) -> Source:
    """Rows of the user's own CSV (.csv), NumPy (.npy) or NetCDF (.nc) file.

    A relative path starts at the working directory. ``columns`` chooses by header name or by index from 0; ``header`` (CSV) is
    recognised if left out; ``variable`` (NetCDF) may be left out where there is one only; ``dimension`` states the number of columns to
    be found; ``standardise`` and ``components`` (principal components) act on all rows, before ``size`` takes a subsample.
    """
    if not isinstance(standardise, bool):
        raise ValueError(f"standardise must be true or false, not {shown(standardise)}")
    values, names = datafiles.read_table(path, variable=variable, columns=columns, header=header, delimiter=delimiter)
    try:
        if dimension is not None and values.shape[1] != _whole("dimension", dimension, 1):
            raise ValueError(f"{values.shape[1]} columns, but dimension says {dimension}; choose with columns")
        constant = np.flatnonzero(np.ptp(values, 0) == 0)
        if standardise and constant.size:
            raise ValueError(f"{names[constant[0]]} is constant: leave it out of columns or set standardise to false")
        if not standardise and components is None:
            return values
        return _fit_basis(values, standardise, components, values.shape[1:]).transform(values)
    except ValueError as error:
        raise ValueError(f"file {path}: {error}") from None


NAMES = tuple(_MAKERS)
