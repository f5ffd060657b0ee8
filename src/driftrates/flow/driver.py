"""Integration of an ensemble from output time to output time, with step sizes chosen per replicate."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator, Sequence
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

from driftrates.arrays import namespace, to_host
from driftrates.flow.methods import DormandPrince, Euler, Pair, RungeKuttaChebyshev, column, increment, shift, take

Method = Euler | DormandPrince | RungeKuttaChebyshev

SAFETY, SMALLEST, LARGEST = 0.9, 0.2, 5.0
RADIUS_SAFETY, RADIUS_AGE, RADIUS_ITERATIONS, RADIUS_TOLERANCE = 1.25, 25, 50, 0.05


class NonFiniteError(FloatingPointError):
    """A velocity, rate or position became infinite or not a number."""


class IntegrationError(RuntimeError):
    """The step size became too small or the number of steps too large."""


class State(NamedTuple):
    """Times ``t`` (R,) on the host, particles ``x`` (R, N, d), running integrals ``carried`` (R, Q) float64."""

    t: np.ndarray
    x: Any
    carried: Any


class Statistics(NamedTuple):
    """Per replicate (R,) int64, since the start: accepted and rejected steps, evaluations of the right-hand side."""

    accepted: np.ndarray
    rejected: np.ndarray
    evaluations: np.ndarray


class Checkpoint(NamedTuple):
    """All that the next step depends on besides the state; plain arrays, zero where the method has no use for them.

    ``step`` (R,) proposed step, 0 if none yet; ``error`` (R,) last scaled error of the PI controller; ``velocity`` (R, N, d)
    and ``rates`` (R, Q) at the state, valid where ``fresh`` (R,) bool; ``radius`` (R,) spectral radius, estimated ``age``
    (R,) steps ago (-1: to be estimated) along ``direction`` (R, N, d); the counters of `Statistics`.
    """

    step: np.ndarray
    error: np.ndarray
    velocity: Any
    rates: Any
    fresh: np.ndarray
    radius: np.ndarray
    age: np.ndarray
    direction: Any
    accepted: np.ndarray
    rejected: np.ndarray
    evaluations: np.ndarray


class Record(NamedTuple):
    """What `integrate` yields at an output time."""

    state: State
    statistics: Statistics
    checkpoint: Checkpoint


def integrate(
    rhs: Callable[[np.ndarray, Any, np.ndarray], tuple[Any, Any]],
    x0: Any,
    times: Sequence[float],
    method: Method,
    *,
    carried: int = 0,
    progress: bool | None = None,
    max_steps: int = 1_000_000,
    start: State | None = None,
    controller: Checkpoint | None = None,
) -> Iterator[Record]:
    """Integrate dx/dt = velocity, d carried/dt = rates from x0 at time 0; yields a `Record` at each output time.

    rhs: callable (t (m,), x (m, N, d), replicates (m,) int) -> (velocity (m, N, d), rates (m, Q)); ``t`` and ``replicates``
        are host arrays, ``replicates`` numbers the replicates present, in any order. It returns new arrays and leaves x alone.
    x0: particles (R, N, d), NumPy or CuPy, float64 or float32 (other types become float64).
    times: strictly increasing, not before the start; the first may equal it. All are hit exactly.
    carried: number Q >= 0 of running integrals, all 0 at the start.
    progress: True shows a bar with the time left on stderr.
    max_steps: steps allowed per replicate, rejected ones included.
    start, controller: a yielded state (replaces ``x0`` and ``carried``) and its checkpoint; the continuation is then
        bit-identical to the uninterrupted run. Without the checkpoint the step sizes are found anew.

    A replicate's result does not depend on the others present. Raises ``ValueError`` for bad arguments at once and, while
    running, `NonFiniteError` or `IntegrationError`.
    """
    if start is None:
        if controller is not None:
            raise ValueError("controller belongs to a saved state: give start as well")
        xp = namespace(x0)
        x = xp.asarray(x0)
        if x.ndim != 3:
            raise ValueError(f"x0 must have the shape (replicates, particles, components), not {x.shape}")
        start = State(np.zeros(len(x)), x, xp.zeros((len(x), carried)))
    x = start.x if start.x.dtype in (np.float32, np.float64) else start.x.astype(np.float64)
    state = State(np.array(start.t, np.float64), x, namespace(x).asarray(start.carried, dtype=np.float64))
    grid = np.array(times, np.float64)
    if grid.ndim != 1 or not grid.size or not np.isfinite(grid).all() or (np.diff(grid) <= 0).any() or (grid[0] < state.t).any():
        raise ValueError("times must be a strictly increasing list of finite numbers that begins at or after the starting time")
    if method.embedded_order is not None and method.rtol < 4 * np.finfo(x.dtype).eps:
        raise ValueError(f"rtol = {method.rtol} is below the rounding error of {x.dtype}; use at least {4 * np.finfo(x.dtype).eps:.1e}")
    return _generate(_Run(rhs, method, state, controller, max_steps), grid, bool(progress))


def _generate(run: _Run, grid: np.ndarray, progress: bool) -> Iterator[Record]:
    begin = float(run.t.min())
    layout = "{desc}: {percentage:3.0f}%|{bar:20}| t = {n:.4g} of {total:.4g} [{elapsed}, {remaining} left]"
    bar = tqdm(
        desc=f"flow ({run.method.name})",
        total=float(grid[-1]),
        initial=begin,
        disable=not progress,
        file=sys.stderr,
        ascii=True,
        mininterval=2,
        miniters=0,
        bar_format=layout,
    )
    with bar:
        for target in grid:
            for reached in run.advance(float(target)):
                bar.update(reached - begin)
                begin = reached
            yield run.record()


class _Run:
    """State and controller of all replicates; ``rows`` are always host indices of the replicates concerned."""

    def __init__(self, rhs: Any, method: Method, state: State, controller: Checkpoint | None, max_steps: int) -> None:
        self.rhs, self.method, self.max_steps = rhs, method, max_steps
        self.t, self.y = state.t, (state.x, state.carried)
        n, xp = len(self.t), namespace(state.x)
        x, rates = xp.zeros_like(state.x), xp.zeros_like(state.carried)
        new = Checkpoint(np.zeros(n), np.ones(n), x, rates, np.zeros(n, bool), np.zeros(n), np.full(n, -1), x, *np.zeros((3, n), np.int64))
        self.memory = SimpleNamespace(**{k: a.copy() for k, a in new._asdict().items()})
        for name, a in controller._asdict().items() if controller else ():
            like = getattr(new, name)
            if a.shape != like.shape:
                raise ValueError(f"controller.{name} has the shape {a.shape}; the state given as start needs {like.shape}")
            setattr(self.memory, name, namespace(like).array(a, dtype=like.dtype))
        self.retry = np.zeros(n, bool)
        self._require_finite(np.arange(n), self.t, self.y)

    def record(self) -> Record:
        memory = {k: a.copy() for k, a in vars(self.memory).items()}
        state = State(self.t.copy(), self.y[0].copy(), self.y[1].copy())
        return Record(state, Statistics(*(memory[k].copy() for k in Statistics._fields)), Checkpoint(**memory))

    def advance(self, target: float) -> Iterator[float]:
        """Bring all replicates to ``target``; yields the time reached by the slowest after each round of steps."""
        memory, begin = self.memory, self.t.copy()
        first = memory.accepted.copy()
        while (rows := np.flatnonzero(self.t < target)).size:
            spent = memory.accepted[rows] + memory.rejected[rows]
            if (spent >= self.max_steps).any():
                self._fail(rows[int(np.argmax(spent))], f"{self.max_steps} steps (max_steps) did not reach time {target:.6g}")
            with np.errstate(over="ignore", invalid="ignore"):
                self._refresh(rows)
                if self.method.embedded_order is None:
                    self._fixed_step(rows, begin[rows], memory.accepted[rows] - first[rows], target)
                else:
                    self._adaptive_step(rows, target)
            yield float(self.t.min())

    def evaluate(self, t: np.ndarray, y: Pair, rows: np.ndarray) -> Pair:
        self.memory.evaluations[rows] += 1
        velocity, rates = self.rhs(t, y[0], rows)
        if velocity.shape != y[0].shape or rates.shape != y[1].shape:
            wanted = f"velocity {y[0].shape} and rates {y[1].shape}"
            raise ValueError(f"the right-hand side must return {wanted}, not {velocity.shape} and {rates.shape}")
        return velocity.astype(y[0].dtype, copy=False), rates.astype(y[1].dtype, copy=False)

    def _slopes(self, rows: np.ndarray) -> Pair:
        return self._take((self.memory.velocity, self.memory.rates), rows)

    def _take(self, pair: Pair, rows: np.ndarray) -> Pair:
        return pair if rows.size == len(self.t) else tuple(take(a, rows) for a in pair)

    def _store(self, pair: Pair, rows: np.ndarray, values: Pair) -> Pair:
        """``pair`` with the replicates ``rows`` replaced, without writing into arrays that others may hold."""
        if rows.size == len(self.t):
            return values
        result = tuple(a.copy() for a in pair)
        for a, v in zip(result, values, strict=True):
            a[namespace(a).asarray(rows)] = v
        return result

    def _refresh(self, rows: np.ndarray) -> None:
        """Slopes at the present state where no step has left them."""
        memory = self.memory
        rows = rows[~memory.fresh[rows]]
        if rows.size:
            y = self._take(self.y, rows)
            f = self.evaluate(self.t[rows], y, rows)
            self._require_finite(rows, self.t[rows], y, f)
            memory.velocity, memory.rates = self._store((memory.velocity, memory.rates), rows, f)
            memory.fresh[rows] = True

    def _fixed_step(self, rows: np.ndarray, begin: np.ndarray, done: np.ndarray, target: float) -> None:
        # Times count from the last output time, so that rounding errors do not add up to a spurious short step.
        step = self.method.step
        t = self.t[rows]
        last = done + 1 >= np.ceil((target - begin) / step - 1e-6)
        rest = target - (begin + done * step)
        h = np.where(last & (np.abs(rest - step) > 1e-6 * step), rest, step)
        y = self._take(self.y, rows)
        trial = self.method.attempt(self.evaluate, t, target, y, self._slopes(rows), h, rows, None)
        self._require_finite(rows, t, trial.y)
        self.y = self._store(self.y, rows, trial.y)
        self.t[rows] = np.where(last, target, begin + (done + 1) * step)
        self.memory.accepted[rows] += 1
        self.memory.fresh[rows] = False

    def _adaptive_step(self, rows: np.ndarray, target: float) -> None:
        method, memory = self.method, self.memory
        unset = rows[memory.step[rows] == 0]
        if unset.size:
            memory.step[unset] = self._first_step(unset)
        t, y, f = self.t[rows], self._take(self.y, rows), self._slopes(rows)
        remaining, proposed = target - t, memory.step[rows]
        wanted, stages = proposed, None
        if isinstance(method, RungeKuttaChebyshev):
            self._update_radius(rows, remaining)
            radius, limit = memory.radius[rows], method.stage_limit(y[0].dtype)
            longest = np.divide(method.stability_interval(limit), radius, out=np.full(len(rows), np.inf), where=radius > 0)
            wanted = np.minimum(wanted, longest)
        landing = wanted >= remaining * (1 - 1e-12)
        h = np.where(landing, remaining, np.minimum(wanted, np.maximum(remaining / 2, wanted / 2)))
        if isinstance(method, RungeKuttaChebyshev):
            stages = method.stages(h * radius, limit)
        t_new = np.where(landing, target, t + h)
        trial = method.attempt(self.evaluate, t, t_new, y, f, h, rows, stages)
        error = self._norm(trial.error, y, trial.y)
        finite = np.isfinite(error)
        accept = finite & (error <= 1)

        order = method.embedded_order + 1
        damped = np.maximum(error, 1e-10)
        growth = np.clip(SAFETY * _power(damped, -0.7 / order) * _power(memory.error[rows], 0.4 / order), SMALLEST, LARGEST)
        growth = np.where(self.retry[rows], np.minimum(growth, 1.0), growth)
        shrink = np.where(finite, np.clip(SAFETY * _power(damped, -1 / order), SMALLEST, SAFETY), 0.1)
        shortened = h < proposed
        step = np.where(accept, h * growth, h * shrink)
        # A step cut short by an output time or by the stage limit says little about the step that was proposed.
        memory.step[rows] = np.where(accept & shortened & (growth >= LARGEST), np.maximum(step, proposed), step)
        memory.error[rows] = np.where(accept & ~shortened, np.maximum(damped, 1e-4), memory.error[rows])
        memory.accepted[rows] += accept
        memory.rejected[rows] += ~accept
        self.retry[rows] = ~accept
        age = memory.age[rows]
        memory.age[rows] = np.where(accept, age + 1, np.where(age > 0, -1, age))

        good, kept = np.flatnonzero(accept), rows[accept]
        if kept.size:
            pick = (
                trial
                if kept.size == len(rows)
                else trial._replace(y=tuple(take(a, good) for a in trial.y), f=tuple(take(a, good) for a in trial.f))
            )
            self.y = self._store(self.y, kept, pick.y)
            memory.velocity, memory.rates = self._store((memory.velocity, memory.rates), kept, pick.f)
            self.t[kept] = t_new[accept]
        tiny = (self.t[rows] < target) & (memory.step[rows] < 4 * np.finfo(float).eps * np.maximum(np.abs(t), 1e-6 * abs(target)))
        if tiny.any():
            i = np.array([np.argmax(tiny)])
            # Stages after the first bad one spread it over all particles, so the culprit is looked for by a small Euler step.
            probe = shift(tuple(take(a, i) for a in y), increment(h[i], (1.0,), [tuple(take(a, i) for a in f)]))
            self._require_finite(rows[i], t[i], probe, self.evaluate(t[i] + h[i], probe, rows[i]))
            i = int(i[0])
            self._fail(rows[i], f"the step size fell to {memory.step[rows[i]]:.3g}")

    def _norm(self, e: Pair, y: Pair, y_new: Pair) -> np.ndarray:
        """Scaled size (m,) of ``e``: root mean square over the particles' components, largest over the integrals."""
        rtol, (x, carried), xp = self.method.rtol, y, namespace(y[0])
        q = e[0] / (self.method.atol + rtol * xp.maximum(xp.abs(x), xp.abs(y_new[0])))
        sizes = [_length(q).astype(np.float64)]
        if carried.shape[1]:
            scale = rtol * xp.maximum(1.0, xp.maximum(xp.abs(carried), xp.abs(y_new[1])))
            sizes.append((xp.abs(e[1]) / scale).max(axis=1))
        # One copy from a GPU for each attempted step: all that its acceptance depends on.
        size, *integrals = to_host(xp.stack(sizes))
        return np.maximum(size / math.sqrt(x[0].size), integrals[0]) if integrals else size / math.sqrt(x[0].size)

    def _first_step(self, rows: np.ndarray) -> np.ndarray:
        """First step (m,) from the sizes of the state, its slope and the change of the slope (Hairer, Norsett & Wanner II.4)."""
        y, f = self._take(self.y, rows), self._slopes(rows)
        size, speed = self._norm(y, y, y), self._norm(f, y, y)
        small = (size < 1e-5) | (speed < 1e-5)
        h = np.where(small, 1e-6, 0.01 * size / np.where(small, 1.0, speed))
        f_new = self.evaluate(self.t[rows] + h, shift(y, increment(h, (1.0,), [f])), rows)
        bend = np.maximum(speed, self._norm(tuple(b - a for a, b in zip(f, f_new, strict=True)), y, y) / h)
        flat = ~(bend > 1e-15)
        longer = np.where(flat, np.maximum(1e-6, 1e-3 * h), _power(0.01 / np.where(flat, 1.0, bend), 1 / (self.method.embedded_order + 1)))
        return np.where(np.isfinite(bend), np.minimum(100 * h, longer), h)

    def _update_radius(self, rows: np.ndarray, horizon: np.ndarray) -> None:
        memory = self.memory
        if self.method.spectral_radius is not None:
            radius = to_host(self.method.spectral_radius(self.t[rows], self._take(self.y, rows)[0]))
            if np.shape(radius) != rows.shape or not (np.isfinite(radius) & (radius >= 0)).all():
                raise ValueError(f"spectral_radius must return {len(rows)} finite numbers >= 0, not {radius}")
            memory.radius[rows] = radius
            return
        old = (memory.age[rows] < 0) | (memory.age[rows] >= RADIUS_AGE)
        if old.any():
            rows, horizon = rows[old], horizon[old]
            memory.radius[rows] = RADIUS_SAFETY * self._power_iteration(rows, horizon)
            memory.age[rows] = 0

    def _power_iteration(self, rows: np.ndarray, horizon: np.ndarray) -> np.ndarray:
        """Largest modulus (m,) of the Jacobian's eigenvalues, by differences of the velocity along its own changes."""
        x, velocity = self._take(self.y, rows)[0], self._slopes(rows)[0]
        xp = namespace(x)
        # A random start, the same for each replicate, has a part in every mode, which a symmetric state need not have.
        start = xp.asarray(np.random.default_rng(0).standard_normal(x.shape[1:]), dtype=x.dtype)
        direction = self._take((self.memory.direction,), rows)[0]
        length = to_host(_length(direction))
        direction = xp.where(column(length, x) > 0, direction, start)
        size = np.sqrt(np.finfo(x.dtype).eps) * to_host(_length(x)).astype(np.float64)
        size = np.where(size > 0, size, np.sqrt(np.finfo(x.dtype).eps))

        previous, peak = np.zeros((2, len(rows)))
        left = np.arange(len(rows))
        for iteration in range(RADIUS_ITERATIONS):
            near, at, t = take(x, left), rows[left], self.t[rows[left]]
            scaled = column(size[left] / to_host(_length(take(direction, left))), x) * take(direction, left)
            y = (near + scaled, self._take(self.y, at)[1])
            f = self.evaluate(t, y, at)
            self._require_finite(at, t, y, f)
            change = f[0] - take(velocity, left)
            length = to_host(_length(change)).astype(np.float64)
            sigma = length / size[left]
            moved = length > 0
            direction[xp.asarray(left[moved])] = take(change, np.flatnonzero(moved))
            peak[left] = np.maximum(peak[left], sigma) if iteration > 0.8 * RADIUS_ITERATIONS else sigma
            tolerance = RADIUS_TOLERANCE * np.maximum(sigma, 1 / horizon[left])
            done = ~moved | (iteration >= 2) & (np.abs(sigma - previous[left]) <= tolerance)
            previous[left] = sigma
            left = left[~done]
            if not left.size:
                break
        self.memory.direction = self._store((self.memory.direction,), rows, (direction,))[0]
        return peak

    def _require_finite(self, rows: np.ndarray, t: np.ndarray, *pairs: Pair) -> None:
        xp = namespace(pairs[0][0])
        kinds = (("position", "carried integral"), ("velocity", "rate"))
        checked = [(what, a) for kind, pair in zip(kinds, pairs, strict=False) for what, a in zip(kind, pair, strict=True)]
        bad = [~xp.isfinite(a).reshape(len(rows), math.prod(a.shape[1:])) for _, a in checked]
        for (what, a), b, where in zip(checked, bad, to_host(xp.stack([b.any(axis=1) for b in bad])), strict=True):
            if where.any():
                i = int(np.argmax(where))
                item = int(to_host(b[i]).argmax()) // (a.shape[2] if a.ndim == 3 else 1)
                place = f"{what} of particle {item}" if a.ndim == 3 else f"{what} {item}"
                step = int(self.memory.accepted[rows[i]] + self.memory.rejected[rows[i]]) + 1
                raise NonFiniteError(
                    f"replicate {rows[i]}: the {place} is not finite at time {t[i]:.6g}, step {step}; "
                    "use a smaller step, a larger h or method: rkc"
                )

    def _fail(self, row: int, what: str) -> None:
        remedy = "a larger step" if self.method.embedded_order is None else "a looser tolerance (rtol, atol)"
        stabilised = "" if isinstance(self.method, RungeKuttaChebyshev) else " or method: rkc"
        raise IntegrationError(f"replicate {row}: {what}, at time {self.t[row]:.6g}; use a larger h, {remedy}{stabilised}")


def _length(a: Any) -> Any:
    """Euclidean length of each replicate of ``a``."""
    xp = namespace(a)
    flat = xp.ascontiguousarray(a.reshape(len(a), -1))
    return xp.sqrt((flat * flat).sum(axis=1))


def _power(values: np.ndarray, exponent: float) -> np.ndarray:
    # Vectorised powers may round differently at other places of an array, and so tie a replicate to its neighbours.
    return np.array([math.pow(v, exponent) if math.isfinite(v) else 1.0 for v in values])
