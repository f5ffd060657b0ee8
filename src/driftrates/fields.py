"""Velocity fields of drifting models: a statistic of the smoothed data minus the same statistic of the smoothed cloud.

Three statistics of a measure mu smoothed by K_h, all from the sums of `driftrates.sums`, with Z = K_h * mu:

    score        s = grad log Z                                     conservative field        V = s_p - s_q
    mean_shift   m(x) = int K_h(x-y) (y-x) mu(dy) / Z(x)            displacement field        v = m_p - m_q
    sharp_score  s# = grad log (K#_h * mu), grad K#_h = -z K_h      sharp-normalised field    s#_p - s#_q
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np

from driftrates.arrays import namespace
from driftrates.kernels import Kernel
from driftrates.sums import Sums, kernel_sums

STATISTICS = {"conservative": "score", "displacement": "mean_shift", "sharp": "sharp_score"}
"""Statistic behind each field name."""

_TERMS = {
    "score": (("gz",), ("lap",)),
    "mean_shift": (("kz",), ("gz", "gzz")),
    "sharp_score": (("kz", "companion"), ("gzz",)),
}


class Statistic(NamedTuple):
    """One statistic of one smoothed measure at n points.

    ``value`` (R, n, d); ``divergence`` (R, n) with the measure held fixed; ``own`` (R, n) what to add to it where the point
    is itself an atom of the measure and moves with it (0 otherwise); ``log_density`` (R, n) = log (K_h * mu).
    ``divergence`` and ``own`` are None where they were not asked for.
    """

    value: Any
    divergence: Any
    own: Any
    log_density: Any


class Smoothed(Protocol):
    """A measure smoothed by K_h, whose statistics can be evaluated at any points x (R, n, d)."""

    def statistic(self, name: str, x: Any, *, divergence: bool = False) -> Statistic: ...

    def curl(self, name: str, x: Any) -> Any: ...

    def scale(self, x: Any) -> Any: ...


@dataclass(frozen=True)
class SmoothedPoints:
    """(1/M) sum_j delta_{y_j} smoothed by K_h; points (R or 1, M, d), h > 0.

    ``atoms``: the evaluation points are the points themselves, in order; ``leave_one_out`` (implies atoms): each is left out
    of its own sum and the rest weighted 1/(M-1). ``rtol``: relative accuracy asked of the sums, as for `kernel_sums`.
    """

    points: Any
    kernel: Kernel
    h: float
    atoms: bool = False
    leave_one_out: bool = False
    rtol: float | None = None

    def statistic(self, name: str, x: Any, *, divergence: bool = False) -> Statistic:
        """See `Statistic`. Raises ``ValueError`` for the divergence of the score of a kernel with a kink."""
        if name not in _TERMS:
            raise ValueError(f"unknown statistic {name!r}; known: {', '.join(_TERMS)}")
        plain, derived = _TERMS[name]
        wanted = ("k", *plain, *(derived if divergence else ()))
        scale, t = self._sums(x, wanted)
        xp, d, h = namespace(x), x.shape[2], self.h
        count = self.points.shape[1] - (1 if self.leave_one_out else 0)
        log_density = xp.log(t["k"]) + scale - _log_volume(self.kernel, d, h, count)
        at_zero = {n: float(self.kernel.rung(np.zeros(()), d, n)) for n in ((0, 1) if name == "score" else (0,))} if divergence else {}
        spread = None
        if name == "score":
            mass, value = t["k"], t["gz"] / (h * t["k"][..., None])
            if divergence:
                spread = t["lap"] / (h * h * mass) - (value * value).sum(-1)
                own = d * at_zero[1] / (h * h * mass)
        elif name == "mean_shift":
            mass, value = t["k"], h * t["kz"] / t["k"][..., None]
            if divergence:
                spread = t["gzz"] / mass - d - (value * t["gz"]).sum(-1) / (h * mass)
                own = d * at_zero[0] / mass
        else:
            mass, value = t["companion"], t["kz"] / (h * t["companion"][..., None])
            if divergence:
                spread = (t["gzz"] - d * t["k"]) / (h * h * mass) - (value * value).sum(-1)
                own = d * at_zero[0] / (h * h * mass)
        if not divergence:
            return Statistic(value, None, None, log_density)
        return Statistic(value, spread, own if self.atoms and not self.leave_one_out else xp.zeros_like(mass), log_density)

    def curl(self, name: str, x: Any) -> Any:
        """d_1 A_2 - d_2 A_1 of the statistic A in the plane, (R, n): m x grad log Z for the mean shift, 0 for the gradients.

        The Jacobian of m is symmetric but for the term -m (grad log Z)^T. Raises ``ValueError`` unless d = 2.
        """
        if x.shape[2] != 2:
            raise ValueError(f"curl needs points in the plane, not d = {x.shape[2]}")
        if name != "mean_shift":
            return namespace(x).zeros_like(x[..., 0])
        t = self._sums(x, ("k", "kz", "gz")).terms
        return (t["kz"][..., 0] * t["gz"][..., 1] - t["kz"][..., 1] * t["gz"][..., 0]) / t["k"] ** 2

    def scale(self, x: Any) -> Any:
        """alpha(x) = (K#_h * mu) / (K_h * mu) of L6.1, (R, n), unit length^2: m = alpha s#; h^2 for the Gaussian kernel."""
        t = self._sums(x, ("companion", "k")).terms
        return self.h**2 * t["companion"] / t["k"]

    def _sums(self, x: Any, terms: tuple[str, ...]) -> Sums:
        return kernel_sums(x, self.points, self.kernel, self.h, terms, exclude_self=self.leave_one_out, rtol=self.rtol)


@dataclass(frozen=True)
class SmoothedDensity:
    """A closed-form density, already smoothed, with the statistics that a Gaussian kernel of bandwidth h gives it.

    ``density`` offers ``evaluate(x) -> (log_density, score, laplacian)`` (`driftrates.targets.GaussianMixture`); ``h`` is the
    bandwidth that turns a score into a mean shift, m = h^2 s, or None where the kernel is not Gaussian: then only the score exists.
    """

    density: Any
    h: float | None

    def statistic(self, name: str, x: Any, *, divergence: bool = False) -> Statistic:
        """See `Statistic`. Raises ``ValueError`` for anything but the score where no Gaussian bandwidth is given."""
        log_density, score, laplacian = self.density.evaluate(x)
        xp = namespace(x)
        if name != "score" and self.h is None:
            raise ValueError(f"a closed-form target has no {name} under this kernel: use the Gaussian kernel, or data points")
        factor = self.h**2 if name == "mean_shift" else 1.0
        zero = xp.zeros_like(laplacian) if divergence else None
        return Statistic(factor * score, factor * laplacian if divergence else None, zero, log_density)

    def curl(self, name: str, x: Any) -> Any:
        """Zero, (R, n): every statistic of a Gaussian kernel is a gradient."""
        return namespace(x).zeros_like(x[..., 0])

    def scale(self, x: Any) -> Any:
        """alpha(x) = h^2, (R, n), unit length^2. Raises ``ValueError`` where no Gaussian bandwidth is given."""
        if self.h is None:
            raise ValueError("a closed-form target has no scale under this kernel: use the Gaussian kernel, or data points")
        return namespace(x).full_like(x[..., 0], self.h**2)


class FieldValue(NamedTuple):
    """A field at n points.

    ``velocity`` (R, n, d); ``divergence`` (R, n) of the frozen field; ``total_divergence`` (R, n) = div_{x_i} of the velocity of
    particle i, its own atom moving with it (equal to ``divergence`` away from the particles and for leave-one-out fields);
    ``target`` and ``model``: the two statistics.
    """

    velocity: Any
    divergence: Any
    total_divergence: Any
    target: Statistic
    model: Statistic


@dataclass(frozen=True)
class DriftField:
    """velocity(x) = statistic of ``target`` minus statistic of the cloud smoothed by K_h.

    name: ``conservative``, ``displacement`` or ``sharp``; ``leave_one_out`` drops each particle from its own sum (ODE (47)
    for the displacement field); ``rtol``: relative accuracy asked of the sums over the cloud, as for `kernel_sums`. Raises
    ``ValueError`` for an unknown name.
    """

    name: str
    target: Smoothed
    kernel: Kernel
    h: float
    leave_one_out: bool = False
    rtol: float | None = None

    def __post_init__(self) -> None:
        if self.name not in STATISTICS:
            raise ValueError(f"unknown field {self.name!r}; known: {', '.join(STATISTICS)}")

    def at_particles(self, x: Any, *, divergence: bool = False) -> FieldValue:
        """The field at its own cloud x (R, N, d), N >= 2: right-hand side of ODE (1) or (47)."""
        cloud = SmoothedPoints(x, self.kernel, self.h, atoms=True, leave_one_out=self.leave_one_out, rtol=self.rtol)
        return self._difference(cloud, x, divergence)

    def at(self, points: Any, x: Any, *, divergence: bool = False) -> FieldValue:
        """The field of the frozen cloud x (R, N, d) at any points (R, n, d); no particle is left out."""
        return self._difference(SmoothedPoints(x, self.kernel, self.h, rtol=self.rtol), points, divergence)

    def curl(self, points: Any, x: Any) -> Any:
        """Curl of the field of the frozen cloud x (R, N, 2) at points (R, n, 2), (R, n)."""
        name = STATISTICS[self.name]
        return self.target.curl(name, points) - SmoothedPoints(x, self.kernel, self.h, rtol=self.rtol).curl(name, points)

    def _difference(self, cloud: SmoothedPoints, x: Any, divergence: bool) -> FieldValue:
        statistic = STATISTICS[self.name]
        p = self.target.statistic(statistic, x, divergence=divergence)
        q = cloud.statistic(statistic, x, divergence=divergence)
        if not divergence:
            return FieldValue(p.value - q.value, None, None, p, q)
        frozen = p.divergence - q.divergence
        return FieldValue(p.value - q.value, frozen, frozen - q.own, p, q)


def _log_volume(kernel: Kernel, d: int, h: float, count: int) -> float:
    return math.log(count * kernel.normaliser(d)) + d * math.log(h)
