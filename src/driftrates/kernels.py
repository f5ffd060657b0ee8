"""Radial kernels K(z) = f(|z|) / normaliser(d) and K_h(z) = h^-d K(z/h).

Each kernel is written down once, as text, in the variables ``s = |z|``, ``s2 = |z|^2``, ``rs = 1/|z|``, the dimension
``d`` and its own parameters. Every derivative that the project needs follows from the *ladder*

    f_n = (-(1/s) d/ds)^n f,   n = -1, 0, 1, ..., 4,   f_-1(s) = int_s^inf u f(u) du,

because grad f(|z|) = -z f_1, Hessian f(|z|) = z z^T f_2 - I f_1, and so on; f_-1 is the companion K#, grad K#(z) = -z K(z).
A rung is stored as a prefactor of one common decay: f_n = prefactor_n(s) exp(-exponent(s)), so that sums far from all
points can be shifted (log-sum-exp) before anything underflows.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields
from functools import cache
from typing import Any, ClassVar

import numpy as np
from scipy import special

from driftrates import expressions
from driftrates.messages import one_line, shown

TINY = {"float64": 1e-300, "float32": 1e-36}
"""|z|^2 is floored by this number, so that 1/|z| stays finite and z/|z| vanishes at z = 0."""

_REGISTRY: dict[str, type[Kernel]] = {}


@dataclass(frozen=True)
class Kernel:
    """A radial kernel; subclass, set ``name``, ``exponent`` and ``prefactors`` and it is known everywhere.

    ``exponent`` is increasing in s, ``prefactors`` holds the rungs n = -1, 0, 1, ... as far as they are wanted.
    ``smoothness`` is the number of continuous derivatives of K at 0 (``math.inf`` if analytic).
    The quadratures of this base class serve any kernel; closed forms override them.
    """

    name: ClassVar[str] = ""
    exponent: ClassVar[str] = ""
    prefactors: ClassVar[tuple[str, ...]] = ()
    smoothness: ClassVar[float] = math.inf

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if cls.name:
            if cls.name in _REGISTRY and _REGISTRY[cls.name].__qualname__ != cls.__qualname__:
                raise ValueError(f"a kernel named {cls.name!r} exists already")
            _REGISTRY[cls.name] = cls

    @property
    def parameters(self) -> dict[str, float]:
        """The kernel's own parameters by the names used in its expressions."""
        return {k: float(v) for k, v in asdict(self).items()}

    def prefactor(self, n: int) -> str:
        """Text of prefactor_n, -1 <= n. Raises ``ValueError`` for a rung that the kernel does not define."""
        _check_texts(type(self))
        if not -1 <= n < len(self.prefactors) - 1:
            raise ValueError(f"kernel {self.name!r} defines the rungs -1..{len(self.prefactors) - 2} of its ladder, not {n}")
        return self.prefactors[n + 1]

    def _names(self, s: Any, d: int, xp: Any) -> dict[str, Any]:
        s2 = xp.maximum(s * s, TINY["float64"])
        s = xp.sqrt(s2)
        return {"s": s, "s2": s2, "rs": 1.0 / s, "d": float(d), **self.parameters}

    def _evaluated(self, text: str, s: Any, d: int, xp: Any) -> Any:
        try:
            return expressions.evaluate(text, self._names(s, d, xp), xp)
        except ArithmeticError as error:
            raise ValueError(f"kernel {self.name!r}: {text!r} has no value in d = {d} ({error})") from None

    def log_decay(self, s: Any, d: int, xp: Any = np) -> Any:
        """-exponent(s), the logarithm of the common decay of all rungs; s (array of distances / h, >= 0)."""
        _check_texts(type(self))
        return -self._evaluated(self.exponent, s, d, xp) + 0.0 * s

    def rung(self, s: Any, d: int, n: int = 0, xp: Any = np) -> Any:
        """f_n(s), not normalised; s (array >= 0), d (int >= 1)."""
        return self._evaluated(self.prefactor(n), s, d, xp) * xp.exp(self.log_decay(s, d, xp))

    def value(self, r: Any, h: float, d: int, xp: Any = np) -> Any:
        """K_h at distance r (array, same unit as h > 0); unit: 1/length^d."""
        return self.rung(r / h, d, 0, xp) / (self.normaliser(d) * h**d)

    def check_dimension(self, d: int) -> None:
        """Raises ``ValueError`` where the integrals of the kernel over R^d leave the range of double precision."""
        try:
            with np.errstate(all="ignore"):
                good = 1e-300 < self.normaliser(d) < 1e300 and self.second_moment(d) > 0
        except (ArithmeticError, ValueError):
            good = False
        if not good:
            raise ValueError(f"the integral of kernel {self.name!r} with its parameters leaves double precision in d = {d}")

    def normaliser(self, d: int) -> float:
        """Integral of f(|z|) over R^d."""
        return self._radial_moment(d, 0, 0)

    def second_moment(self, d: int) -> float:
        """m2 = integral of |z|^2 K; ``inf`` where it diverges."""
        return self._radial_moment(d, 0, 2) / self.normaliser(d)

    def companion_mass(self, d: int) -> float:
        """Integral of K#_h over R^d in units of h^2: m2 / d by one integration by parts."""
        return self.second_moment(d) / d

    def laplacian_at_zero(self, d: int) -> float:
        """Laplacian of K at 0, -d f_1(0) / normaliser; ``-inf`` for a kink (Laplace), which A2.1 excludes."""
        if self.smoothness < 2:
            return -math.inf
        return float(-d * self.rung(np.zeros(()), d, 1) / self.normaliser(d))

    def lower_bound(self, r0: float, d: int) -> float:
        """k0 of (28): the largest constant with K >= k0 on |z| <= r0 (K decreases in |z|)."""
        return float(self.rung(np.asarray(float(r0)), d) / self.normaliser(d))

    def fourier(self, k: Any, d: int) -> np.ndarray:
        """Fourier transform of K (value 1 at k = 0) at angular wave numbers |k| (array >= 0)."""
        k = np.asarray(k, float)
        mass = self.normaliser(d)
        return np.array([self._hankel(ki, d) / mass if ki > 0 else 1.0 for ki in k.ravel()]).reshape(k.shape)

    def _hankel(self, k: float, d: int) -> float:
        nu, reach = d / 2 - 1, 300 / k
        edges = np.union1d(np.linspace(0, reach, 101), np.geomspace(1e-4 * min(reach, 1), reach, 80))
        nodes, weights = special.roots_legendre(24)
        half = np.diff(edges)[:, None] / 2
        s = (edges[:-1, None] + half * (1 + nodes)).ravel()
        # a cut-off that is smooth on the scale 1/k leaves no trace of an algebraic tail
        cut = 0.5 * special.erfc(20 * (s / reach - 0.75)) * (half * weights).ravel()
        return float((2 * math.pi) ** (d / 2) / k**nu * (cut * self.rung(s, d) * s ** (d / 2)) @ special.jv(nu, k * s))

    def _radial_moment(self, d: int, n: int, power: int) -> float:
        from scipy import integrate  # loads slowly, and most processes need no quadrature

        area = 2 * math.pi ** (d / 2) / math.gamma(d / 2)
        far, farther = self.rung(np.array([1e7, 1e8]), d, n)
        if farther > 0 and d + power + math.log10(farther / far) > -1e-6:
            return math.inf

        def integrand(s: float) -> float:
            return float(s ** (d - 1 + power) * self.rung(np.asarray(s), d, n))

        value = (
            integrate.quad(integrand, 0, 1, epsabs=0, epsrel=1e-12)[0]
            + integrate.quad(integrand, 1, np.inf, epsabs=0, epsrel=1e-11, limit=400)[0]
        )
        return area * value


@cache
def _check_texts(cls: type[Kernel]) -> None:
    """Raises ``ValueError`` unless the exponent and the prefactors of a kernel are expressions in the names that they may use."""
    known = ("s", "s2", "rs", "d", *(f.name for f in fields(cls)))
    for place, text in (("exponent", cls.exponent), *((f"prefactors[{i}]", text) for i, text in enumerate(cls.prefactors))):
        if not isinstance(text, str):
            raise ValueError(f"kernel {cls.name!r}, {place}: {shown(text)} is no text")
        try:
            unknown = sorted(expressions.names_in(text) - set(known))
        except ValueError as error:
            raise ValueError(one_line(f"kernel {cls.name!r}, {place}: {error}")) from None
        if unknown:
            raise ValueError(f"kernel {cls.name!r}, {place}: unknown name {unknown[0]!r} in {shown(text)}; known: {', '.join(known)}")


def make(name: str, **parameters: float) -> Kernel:
    """The kernel registered as ``name`` with its parameters.

    Raises ``ValueError`` naming what is known for an unknown kernel, an unknown parameter or a value out of range.
    """
    if name not in _REGISTRY:
        raise ValueError(f"unknown kernel {shown(name)}; known: {', '.join(names())}")
    cls = _REGISTRY[name]
    allowed = [f.name for f in fields(cls)]
    unknown = sorted(set(parameters) - set(allowed))
    if unknown:
        raise ValueError(f"kernel {name!r} has no parameter {shown(unknown[0])}; allowed: {', '.join(allowed) or 'none'}")
    return cls(**parameters)


def names() -> tuple[str, ...]:
    """Names of all registered kernels, in order of definition."""
    return tuple(_REGISTRY)


@dataclass(frozen=True)
class Gaussian(Kernel):
    """exp(-s^2/2): every rung of the ladder is the kernel itself."""

    name = "gaussian"
    exponent = "0.5*s2"
    prefactors = ("1",) * 6

    def normaliser(self, d: int) -> float:
        return (2 * math.pi) ** (d / 2)

    def second_moment(self, d: int) -> float:
        return float(d)

    def fourier(self, k: Any, d: int) -> np.ndarray:
        return np.exp(-0.5 * np.asarray(k, float) ** 2)


def _matern_rung(order: int) -> str:
    """Prefactor of the Matérn kernel nu = order + 1/2 (value 1 at 0), or of (-(1/s) d/ds)^m e^-s for order = -m."""
    if order >= 0:
        total = math.factorial(2 * order) / math.factorial(order)
        coefficients = [
            math.factorial(2 * order - i) * 2**i / (math.factorial(order - i) * math.factorial(i)) / total for i in range(order + 1)
        ]
        variable = "s"
    else:
        m = -order
        coefficients = [0.0] * m + [math.factorial(m - 1 + i) / (2**i * math.factorial(i) * math.factorial(m - 1 - i)) for i in range(m)]
        variable = "rs"
    text = repr(coefficients[-1])
    for c in reversed(coefficients[:-1]):
        text = f"{variable}*({text})" if c == 0 else f"({c!r} + {variable}*({text}))"
    return text


def _matern_ladder(order: int) -> tuple[str, ...]:
    """Rungs -1..4 of the Matérn kernel nu = order + 1/2: each rung is the next rougher kernel of the family."""
    rungs, factor = [], 2.0 * order + 1.0
    for step in range(order + 1, order - 5, -1):
        rungs.append(f"{factor!r}*({_matern_rung(step)})")
        factor /= max(2 * step - 1, 1)
    return tuple(rungs)


class _Matern(Kernel):
    """Matérn kernel nu = order + 1/2 in the scale e^-s of the Laplace kernel (nu = 1/2)."""

    order: ClassVar[int]
    exponent = "s"

    def normaliser(self, d: int) -> float:
        nu = self.order + 0.5
        return 2**d * math.pi ** (d / 2) * math.gamma(nu + d / 2) / math.gamma(nu)

    def second_moment(self, d: int) -> float:
        return float(d * (2 * self.order + 1 + d))

    def fourier(self, k: Any, d: int) -> np.ndarray:
        return (1 + np.asarray(k, float) ** 2) ** -(self.order + 0.5 + d / 2)


@dataclass(frozen=True)
class Laplace(_Matern):
    """e^-s, the kernel of the original drifting field; it has a kink at 0 and so fails A2.1."""

    name = "laplace"
    order = 0
    prefactors = _matern_ladder(0)
    smoothness = 0


@dataclass(frozen=True)
class Matern32(_Matern):
    """(1+s) e^-s, the sharp companion of the Laplace kernel."""

    name = "matern32"
    order = 1
    prefactors = _matern_ladder(1)
    smoothness = 2


@dataclass(frozen=True)
class Matern52(_Matern):
    """(1 + s + s^2/3) e^-s."""

    name = "matern52"
    order = 2
    prefactors = _matern_ladder(2)
    smoothness = 4


@dataclass(frozen=True)
class Matern72(_Matern):
    """(1 + s + 2 s^2/5 + s^3/15) e^-s."""

    name = "matern72"
    order = 3
    prefactors = _matern_ladder(3)
    smoothness = 6


@dataclass(frozen=True)
class InverseMultiquadric(Kernel):
    """(1 + s^2)^(-(d + dof)/2): the Student kernel; the second moment is finite for dof > 2."""

    dof: float = 3.0

    name = "inverse_multiquadric"
    exponent = "0.5*(d + dof)*log(1 + s2)"
    prefactors = (
        "(1 + s2)/(d + dof - 2)",
        "1",
        "(d + dof)/(1 + s2)",
        "(d + dof)*(d + dof + 2)/((1 + s2)*(1 + s2))",
        "(d + dof)*(d + dof + 2)*(d + dof + 4)/((1 + s2)*(1 + s2)*(1 + s2))",
        "(d + dof)*(d + dof + 2)*(d + dof + 4)*(d + dof + 6)/((1 + s2)*(1 + s2)*(1 + s2)*(1 + s2))",
    )

    def __post_init__(self) -> None:
        if not 2 < self.dof <= 80:
            raise ValueError(f"kernel 'inverse_multiquadric' needs 2 < dof <= 80 (finite second moment, no overflow), not {self.dof}")

    def normaliser(self, d: int) -> float:
        return math.pi ** (d / 2) * math.gamma(self.dof / 2) / math.gamma((d + self.dof) / 2)

    def second_moment(self, d: int) -> float:
        return d / (self.dof - 2)

    def fourier(self, k: Any, d: int) -> np.ndarray:
        k, mu = np.maximum(np.asarray(k, float), 1e-6), self.dof / 2
        return 2 / math.gamma(mu) * (k / 2) ** mu * special.kv(mu, k)


@dataclass(frozen=True)
class SmoothedLaplace(Kernel):
    """exp(-sqrt(s^2 + eps^2)): the Laplace kernel with its kink rounded off at the scale eps h."""

    eps: float = 0.1

    name = "smoothed_laplace"
    exponent = "sqrt(s2 + eps*eps)"
    prefactors = (
        "1 + sqrt(s2 + eps*eps)",
        "1",
        "1/sqrt(s2 + eps*eps)",
        "(1 + 1/sqrt(s2 + eps*eps))/(s2 + eps*eps)",
        "(1 + (3 + 3/sqrt(s2 + eps*eps))/sqrt(s2 + eps*eps))/((s2 + eps*eps)*sqrt(s2 + eps*eps))",
        "(1 + (6 + (15 + 15/sqrt(s2 + eps*eps))/sqrt(s2 + eps*eps))/sqrt(s2 + eps*eps))/((s2 + eps*eps)*(s2 + eps*eps))",
    )

    def __post_init__(self) -> None:
        if not self.eps > 0:
            raise ValueError(f"kernel 'smoothed_laplace' needs eps > 0, not {self.eps}")

    def _bessel(self, d: int, k: Any) -> Any:
        nu, root = (d + 1) / 2, np.sqrt(1 + np.asarray(k, float) ** 2)
        return 2 * (2 * math.pi) ** ((d - 1) / 2) * self.eps**nu * special.kv(nu, self.eps * root) / root**nu

    def normaliser(self, d: int) -> float:
        return float(self._bessel(d, 0.0))

    def second_moment(self, d: int) -> float:
        nu = (d + 1) / 2
        return float(d * self.eps * special.kv(nu + 1, self.eps) / special.kv(nu, self.eps))

    def fourier(self, k: Any, d: int) -> np.ndarray:
        return self._bessel(d, k) / self._bessel(d, 0.0)
