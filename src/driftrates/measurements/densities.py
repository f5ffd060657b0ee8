"""Laws of i.i.d. particles for A5.3 and R5.4: their points, the mass they give to a ball, and its lower bound c h^d in closed form."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import special

_VALUES_PER_BLOCK = 2**20
_CELLS = 1024


def ball_volume(d: int) -> float:
    """omega_d, volume of the unit ball of R^d."""
    return math.pi ** (d / 2) / math.gamma(d / 2 + 1)


@dataclass(frozen=True)
class BoxDensity:
    """Product of equal laws on [-half_width, half_width]^d: uniform, or a centred normal cut to the box.

    dimension d >= 1; half_width > 0, ``inf`` for no cut; standard_deviation > 0, ``inf`` for the uniform law (not both).
    A law on a box whose density is log-concave puts the least mass into a ball when its centre is a corner (Prékopa), which is what
    `least_mass` uses; theta = 2^-d then serves up to ``reach`` = the side of the box. Raises ``ValueError`` for other values.
    """

    dimension: int
    half_width: float = 0.5
    standard_deviation: float = math.inf

    def __post_init__(self) -> None:
        sizes = (self.half_width, self.standard_deviation)
        if not (self.dimension >= 1 and min(sizes) > 0 and min(sizes) < math.inf):
            raise ValueError(f"a law on a box needs dimension >= 1, half_width > 0, standard_deviation > 0, one of them finite, not {self}")

    @property
    def reach(self) -> float:
        """r* of R5.4."""
        return 2 * self.half_width

    @property
    def share(self) -> float:
        """theta of R5.4: the part of a ball about a point of the box that lies in the box is at least this."""
        return 2.0**-self.dimension

    @property
    def least_density(self) -> float:
        """rho_min of R5.4; 0 where the support is unbounded."""
        edge, s = self.half_width, self.standard_deviation
        one = (
            0.5 / edge
            if s == math.inf
            else math.exp(-((edge / s) ** 2) / 2) / math.sqrt(2 * math.pi) / (s * (2 * special.ndtr(edge / s) - 1))
        )
        return one**self.dimension

    def _cumulative(self, t: np.ndarray) -> np.ndarray:
        edge, s = self.half_width, self.standard_deviation
        t = np.clip(t, -edge, edge)
        if s == math.inf:
            return 0.5 + 0.5 * t / edge
        low = special.ndtr(-edge / s)
        return (special.ndtr(t / s) - low) / (1 - 2 * low)

    def sample(self, rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        """Independent points, (*shape, d)."""
        u = rng.random((*shape, self.dimension))
        if self.standard_deviation == math.inf:
            return self.half_width * (2 * u - 1)
        low = special.ndtr(-self.half_width / self.standard_deviation)
        return self.standard_deviation * special.ndtri(low + (1 - 2 * low) * u)

    def mass(self, x: np.ndarray, radius: float) -> np.ndarray:
        """mu(B(x, radius)), (n,) for x (n, d): the laws of the (X_k - x_k)^2 convolved on a grid; relative error 1e-4, none for d = 1."""
        from scipy import signal  # loads slowly, and only this needs it

        edges = radius * np.sqrt(np.linspace(0, 1, _CELLS + 1))
        out = np.empty(len(x))
        step = max(1, _VALUES_PER_BLOCK // (_CELLS * self.dimension))
        for rows in (slice(i, i + step) for i in range(0, len(x), step)):
            centre = x[rows, :, None]
            cells = np.diff(self._cumulative(centre + edges) - self._cumulative(centre - edges), axis=-1)
            law = cells[:, 0]
            for k in range(1, self.dimension):
                law = signal.fftconvolve(law, cells[:, k], axes=-1)[:, :_CELLS]
            # Cells stand for their midpoints, so d of them meet the sphere at a whole or a half cell; one that it halves counts half.
            position = np.arange(_CELLS) + 0.5 * self.dimension
            out[rows] = law @ ((position < _CELLS) + 0.5 * (position == _CELLS))
        return out

    def least_mass(self, radius: float) -> float:
        """Infimum of mu(B(x, radius)) over the support, 0 if that is unbounded."""
        if self.half_width == math.inf:
            return 0.0
        return float(self.mass(np.full((1, self.dimension), self.half_width), radius)[0])


@dataclass(frozen=True)
class BallDensity:
    """Uniform law on the ball of the given radius (> 0) in R^d; theta at r* = radius [choice]."""

    dimension: int
    radius: float = 0.5

    def __post_init__(self) -> None:
        if not (self.dimension >= 1 and 0 < self.radius < math.inf):
            raise ValueError(f"the uniform law on a ball needs dimension >= 1 and a finite radius > 0, not {self}")

    @property
    def reach(self) -> float:
        """r* of R5.4."""
        return self.radius

    @property
    def share(self) -> float:
        """theta of R5.4: a smaller ball about a boundary point has a larger part inside, so r* decides."""
        return self.least_mass(self.radius)

    @property
    def least_density(self) -> float:
        """rho_min of R5.4."""
        return 1 / (ball_volume(self.dimension) * self.radius**self.dimension)

    def sample(self, rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        """Independent points, (*shape, d)."""
        z = rng.standard_normal((*shape, self.dimension))
        length = self.radius * rng.random(shape) ** (1 / self.dimension)
        return z * (length / np.linalg.norm(z, axis=-1))[..., None]

    def mass(self, x: np.ndarray, radius: float) -> np.ndarray:
        """mu(B(x, radius)), (n,) for x (n, d): two caps, in closed form."""
        a, b, d = self.radius, radius, self.dimension
        distance = np.maximum(np.linalg.norm(x, axis=1), 1e-300)
        plane = (distance + (a - b) * (a + b) / distance) / 2
        lens = (_cap(plane / a, d) * a**d + _cap((distance - plane) / b, d) * b**d) / a**d
        return np.where(distance <= abs(a - b), min(1.0, (b / a) ** d), np.where(distance >= a + b, 0.0, lens))

    def least_mass(self, radius: float) -> float:
        """Infimum of mu(B(x, radius)) over the support: at the boundary."""
        return float(self.mass(np.eye(1, self.dimension) * self.radius, radius)[0])


def _cap(height: np.ndarray, d: int) -> np.ndarray:
    """Part of the unit ball beyond the plane at the signed distance ``height`` from its centre."""
    height = np.clip(height, -1, 1)
    half = 0.5 * special.betainc((d + 1) / 2, 0.5, 1 - height**2)
    return np.where(height >= 0, half, 1 - half)


_DENSITIES = {
    "uniform_cube": lambda d: BoxDensity(d),
    "uniform_ball": lambda d: BallDensity(d),
    "truncated_gaussian": lambda d: BoxDensity(d, standard_deviation=0.5),
    "gaussian": lambda d: BoxDensity(d, math.inf, 0.5),
}


def make_density(name: str, dimension: int) -> BoxDensity | BallDensity:
    """A law for A5.3, of width 1: uniform_cube, uniform_ball, truncated_gaussian (cut at one standard deviation), or gaussian, whose
    support is unbounded so that A5.3 fails. Raises ``ValueError`` for another name."""
    if name not in _DENSITIES:
        raise ValueError(f"unknown density {name!r}; known: {', '.join(_DENSITIES)}")
    return _DENSITIES[name](dimension)


def mass_constant(density: BoxDensity | BallDensity, r0: float) -> float:
    """c = rho_min theta omega_d r0^d of R5.4, with mu(B(x, r0 h)) >= c h^d for r0 h <= ``density.reach``."""
    return density.least_density * density.share * ball_volume(density.dimension) * r0**density.dimension
