"""Explicit one-step methods: small frozen objects that declare their mathematical properties.

A method advances pairs ``y = (x (m, N, d), carried (m, Q))`` by pairs of slopes ``f = (velocity, rates)``, each of the m
replicates with its own time, step and number of stages. Carried integrals are part of the state in every stage, so that
they have the order of the particles.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, ClassVar, NamedTuple

import numpy as np

from driftrates.arrays import namespace

Pair = tuple[Any, Any]
Evaluate = Callable[[np.ndarray, Pair, np.ndarray], Pair]


class Attempt(NamedTuple):
    """Outcome of one trial step: the new state, its slopes where the method ends on them, the estimated local error."""

    y: Pair
    f: Pair | None
    error: Pair | None


def column(values: np.ndarray, like: Any) -> Any:
    """Host ``values`` (m,) in dtype and namespace of ``like``, shaped to multiply it replicate by replicate."""
    return namespace(like).asarray(values, dtype=like.dtype).reshape((-1,) + (1,) * (like.ndim - 1))


def increment(h: np.ndarray, weights: tuple[float, ...], slopes: list[Pair]) -> Pair:
    """h sum_j weights_j slopes_j, h (m,)."""

    def total(part: int) -> Any:
        terms = [k[part] if w == 1 else w * k[part] for w, k in zip(weights, slopes, strict=True) if w]
        return column(h, terms[0]) * sum(terms[1:], start=terms[0])

    return total(0), total(1)


def take(a: Any, rows: np.ndarray) -> Any:
    """Replicates ``rows`` (host indices) of ``a``."""
    return a[namespace(a).asarray(rows)]


def shift(y: Pair, change: Pair) -> Pair:
    """y + change."""
    return y[0] + change[0], y[1] + change[1]


def _positive(method: Any, *names: str) -> None:
    for name in names:
        value = getattr(method, name)
        if not (math.isfinite(value) and value > 0):
            raise ValueError(f"method {method.name!r} needs {name} > 0 and finite, not {value}")


@dataclass(frozen=True)
class Euler:
    """Explicit Euler, x + eta V(x): the discretisation of A, fixed step eta = ``step`` (float > 0).

    A step that would pass an output time is shortened to hit it.
    """

    step: float

    name: ClassVar[str] = "euler"
    order: ClassVar[int] = 1
    embedded_order: ClassVar[int | None] = None
    explicit: ClassVar[bool] = True

    def __post_init__(self) -> None:
        _positive(self, "step")

    def evaluations(self, stages: int = 1) -> int:
        """Right-hand sides per step."""
        return 1

    def stability_interval(self, stages: int = 1) -> float:
        """beta: steps of x' = -z x / h are not amplified for 0 <= z <= beta."""
        return 2.0

    def attempt(self, evaluate: Evaluate, t: Any, t_new: Any, y: Pair, f: Pair, h: np.ndarray, rows: Any, stages: Any) -> Attempt:
        """One step of every replicate: times t -> t_new (m,), state y with slopes f, steps h (m,), replicate numbers rows (m,)."""
        return Attempt(shift(y, increment(h, (1.0,), [f])), None, None)


@dataclass(frozen=True)
class DormandPrince:
    """Dormand-Prince 5(4), adaptive; the last stage is the first of the next step.

    ``rtol`` and ``atol`` (floats > 0) bound the local error of each step by atol + rtol |x| (root mean square over the
    particles' components) and of each carried integral by rtol max(1, |value|).
    """

    rtol: float = 1e-6
    atol: float = 1e-9

    name: ClassVar[str] = "dormand_prince"
    order: ClassVar[int] = 5
    embedded_order: ClassVar[int | None] = 4
    explicit: ClassVar[bool] = True

    NODES: ClassVar[tuple[float, ...]] = (0.0, 1 / 5, 3 / 10, 4 / 5, 8 / 9, 1.0)
    STAGES: ClassVar[tuple[tuple[float, ...], ...]] = (
        (),
        (1 / 5,),
        (3 / 40, 9 / 40),
        (44 / 45, -56 / 15, 32 / 9),
        (19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729),
        (9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656),
    )
    WEIGHTS: ClassVar[tuple[float, ...]] = (35 / 384, 0.0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84)
    ERROR: ClassVar[tuple[float, ...]] = (71 / 57600, 0.0, -71 / 16695, 71 / 1920, -17253 / 339200, 22 / 525, -1 / 40)

    def __post_init__(self) -> None:
        _positive(self, "rtol", "atol")

    def evaluations(self, stages: int = 7) -> int:
        """Right-hand sides per step, the one shared with the next step counted once."""
        return 6

    def stability_interval(self, stages: int = 7) -> float:
        """beta: steps of x' = -z x / h are not amplified for 0 <= z <= beta."""
        return 3.3065

    def attempt(self, evaluate: Evaluate, t: Any, t_new: Any, y: Pair, f: Pair, h: np.ndarray, rows: Any, stages: Any) -> Attempt:
        """As `Euler.attempt`, with the slopes at the end and the difference of the two embedded solutions."""
        slopes = [f]
        for node, weights in zip(self.NODES[1:], self.STAGES[1:], strict=True):
            slopes.append(evaluate(t + node * h, shift(y, increment(h, weights, slopes)), rows))
        new = shift(y, increment(h, self.WEIGHTS, slopes))
        slopes.append(evaluate(t_new, new, rows))
        return Attempt(new, slopes[-1], increment(h, self.ERROR, slopes))


_DAMPING = 2 / 13


@cache
def _chebyshev(stages: int) -> tuple[np.ndarray, float]:
    """Coefficients (mu, nu, mu~, gamma~, c) of the stages 0..s, (5, s + 1), and the real stability interval of RKC2."""
    w0 = 1 + _DAMPING / stages**2
    value, slope, bend = np.zeros((3, stages + 1))
    value[:2], slope[1] = (1.0, w0), 1.0
    for j in range(2, stages + 1):
        value[j] = 2 * w0 * value[j - 1] - value[j - 2]
        slope[j] = 2 * value[j - 1] + 2 * w0 * slope[j - 1] - slope[j - 2]
        bend[j] = 4 * slope[j - 1] + 2 * w0 * bend[j - 1] - bend[j - 2]
    w1 = slope[-1] / bend[-1]
    b = np.empty(stages + 1)
    b[2:] = bend[2:] / slope[2:] ** 2
    b[0], b[1] = b[2], 1 / w0
    mu, nu, mu_tilde, gamma_tilde, c = table = np.zeros((5, stages + 1))
    mu_tilde[1] = c[1] = b[1] * w1
    for j in range(2, stages + 1):
        mu[j] = 2 * w0 * b[j] / b[j - 1]
        nu[j] = -b[j] / b[j - 2]
        mu_tilde[j] = 2 * w1 * b[j] / b[j - 1]
        gamma_tilde[j] = -(1 - b[j - 1] * value[j - 1]) * mu_tilde[j]
        c[j] = mu[j] * c[j - 1] + nu[j] * c[j - 2] + mu_tilde[j] + gamma_tilde[j]
    return table, float((1 + w0) / w1)


@dataclass(frozen=True)
class RungeKuttaChebyshev:
    """RKC of second order (Sommeijer, Shampine & Verwer 1998): explicit, stable on a real interval growing as 0.65 stages^2.

    The number of stages, 2..``max_stages``, follows from step * spectral radius of the Jacobian, replicate by replicate.
    ``spectral_radius``: callable (t (m,), x (m, N, d)) -> (m,) giving an upper bound; without it a nonlinear power method
    estimates it. ``rtol`` and ``atol`` as in `DormandPrince`.
    """

    rtol: float = 1e-6
    atol: float = 1e-9
    max_stages: int = 250
    spectral_radius: Callable[[np.ndarray, Any], Any] | None = None

    name: ClassVar[str] = "rkc"
    order: ClassVar[int] = 2
    embedded_order: ClassVar[int | None] = 2
    explicit: ClassVar[bool] = True

    def __post_init__(self) -> None:
        _positive(self, "rtol", "atol")
        if self.max_stages < 2:
            raise ValueError(f"method 'rkc' needs max_stages >= 2, not {self.max_stages}")

    def evaluations(self, stages: int = 2) -> int:
        """Right-hand sides per step, the one shared with the next step counted once."""
        return stages

    def stability_interval(self, stages: int = 2) -> float:
        """beta: steps of x' = -z x / h are not amplified for 0 <= z <= beta; about 0.65 stages^2."""
        return _chebyshev(stages)[1]

    def stage_limit(self, dtype: Any) -> int:
        """``max_stages``, or fewer where the rounding errors of the stages would exceed the tolerance."""
        return max(2, min(self.max_stages, int(math.sqrt(self.rtol / (10 * np.finfo(dtype).eps)))))

    def stages(self, product: np.ndarray, limit: int) -> np.ndarray:
        """Stages (m,) whose stability interval holds ``product`` = step * spectral radius (m,), 2..``limit``.

        The interval is at least 0.65 (stages^2 - 1), within 0.5 %.
        """
        return np.clip(np.ceil(np.sqrt(1 + product / 0.65)), 2, limit).astype(int)

    def attempt(self, evaluate: Evaluate, t: Any, t_new: Any, y: Pair, f: Pair, h: np.ndarray, rows: Any, stages: np.ndarray) -> Attempt:
        """As `Euler.attempt` with stages (m,) per replicate; the error estimate is 0.8 (y - y_new) + 0.4 h (f + f_new)."""
        # Sorted by falling number of stages, the replicates still at work are a leading slice: one evaluation per stage.
        order = np.argsort(-stages, kind="stable")
        t, h, rows, stages = t[order], h[order], rows[order], stages[order]
        y, f = tuple(take(a, order) for a in y), tuple(take(a, order) for a in f)
        table = np.zeros((5, len(stages), stages[0] + 1))
        for i, s in enumerate(stages):
            table[:, i, : s + 1] = _chebyshev(int(s))[0]

        # The recursion runs on differences from y, whose rounding errors are relative to the change and not to y.
        older = tuple(namespace(a).zeros_like(a) for a in y)
        newer = increment(h * table[2, :, 1], (1.0,), [f])
        change = tuple(a.copy() for a in newer)
        for j in range(2, stages[0] + 1):
            m = int(np.searchsorted(-stages, -j, side="right"))
            mu, nu, mu_tilde, gamma_tilde, _ = table[:, :m, j]
            slope = evaluate(t[:m] + table[4, :m, j - 1] * h[:m], tuple(a[:m] + b[:m] for a, b in zip(y, newer, strict=True)), rows[:m])
            older, newer = (
                newer,
                tuple(
                    column(mu, n) * n[:m]
                    + column(nu, n) * o[:m]
                    + column(mu_tilde * h[:m], n) * s
                    + column(gamma_tilde * h[:m], n) * s0[:m]
                    for o, n, s, s0 in zip(older, newer, slope, f, strict=True)
                ),
            )
            for a, b in zip(change, newer, strict=True):
                a[:m] = b
        new = shift(y, change)
        end = evaluate(t_new[order], new, rows)
        error = tuple(0.4 * b - 0.8 * a for a, b in zip(change, increment(h, (1.0, 1.0), [f, end]), strict=True))
        back = np.argsort(order, kind="stable")
        return Attempt(*(tuple(take(a, back) for a in pair) for pair in (new, end, error)))


METHODS = {method.name: method for method in (Euler, DormandPrince, RungeKuttaChebyshev)}
