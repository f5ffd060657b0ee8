"""Time integration: the declared properties of each method, the controller, resuming, and what ends a run."""

import math

import numpy as np
import pytest
from numpy.polynomial import chebyshev
from scipy.integrate import RK45, quad, solve_ivp

from driftrates.flow import (
    METHODS,
    Checkpoint,
    DormandPrince,
    Euler,
    IntegrationError,
    NonFiniteError,
    RungeKuttaChebyshev,
    State,
    integrate,
)

ADAPTIVE = (DormandPrince, RungeKuttaChebyshev)
ALL = (Euler(0.01), DormandPrince(1e-7, 1e-9), RungeKuttaChebyshev(1e-5, 1e-7))


def by_name(method):
    return getattr(method, "name", None)


def cloud(replicates=3, particles=6, d=2, seed=0, dtype=np.float64):
    return np.random.default_rng(seed).normal(size=(replicates, particles, d)).astype(dtype)


class Problem:
    """Right-hand side with its exact solution; the carried integral is that of sum |x|^2 and so has an exact value too.

    ``stop`` and the numbers of steps per method put an order test into the asymptotic range, above rounding.
    """

    def __init__(self, velocity, exact, energy, stop, **steps):
        self.velocity, self.exact, self.energy, self.stop, self.steps = velocity, exact, energy, stop, steps

    def __call__(self, t, x, replicates):
        return self.velocity(t, x), (x**2).sum(axis=(1, 2))[:, None]


def decay(rate, stop, **steps):
    return Problem(
        lambda t, x: -rate * x,
        lambda t, x0: x0 * math.exp(-rate * t),
        lambda t, x0: (x0**2).sum(axis=(1, 2)) * -math.expm1(-2 * rate * t) / (2 * rate),
        stop,
        **steps,
    )


def rotated(t, x):
    c, s = math.cos(t), math.sin(t)
    return x @ np.array([[c, s], [-s, c]])


def forced_energy(t, x0):
    return (x0**2).sum(axis=(1, 2)) * quad(lambda s: math.exp(2 * math.sin(3 * s) / 3), 0, t, epsabs=0, epsrel=1e-13)[0]


PROBLEMS = {
    "linear": decay(1.0, 1.0, euler=64, dormand_prince=6, rkc=32),
    "stiff": decay(80.0, 0.05, euler=200, dormand_prince=20, rkc=60),
    "rotation": Problem(
        lambda t, x: x @ np.array([[0.0, 1.0], [-1.0, 0.0]]),
        rotated,
        lambda t, x0: t * (x0**2).sum(axis=(1, 2)),
        1.0,
        euler=64,
        dormand_prince=6,
        rkc=32,
    ),
    "cubic": Problem(
        lambda t, x: -(x**3),
        lambda t, x0: x0 / np.sqrt(1 + 2 * t * x0**2),
        lambda t, x0: (np.log1p(2 * t * x0**2) / 2).sum(axis=(1, 2)),
        1.0,
        euler=100,
        rkc=50,
    ),
    "logistic": Problem(
        lambda t, x: x * (1 - x),
        lambda t, x0: x0 / (x0 + (1 - x0) * math.exp(-t)),
        lambda t, x0: (np.log1p(x0 * math.expm1(t)) - x0 / (x0 + (1 - x0) * math.exp(-t)) + x0).sum(axis=(1, 2)),
        2.0,
        euler=100,
        dormand_prince=12,
        rkc=40,
    ),
    "forced": Problem(
        lambda t, x: x * np.cos(3 * t)[:, None, None],
        lambda t, x0: x0 * math.exp(math.sin(3 * t) / 3),
        forced_energy,
        1.0,
        euler=100,
        dormand_prince=7,
        rkc=40,
    ),
}


def moderate(replicates=2):
    """Cloud in [0.3, 1.2], where the cubic field is not stiff."""
    return 0.3 + 0.3 * np.abs(cloud(replicates))


def fixed_steps(method, rhs, x0, stop, n, stages=None):
    """n equal steps by the method's own step function; final (x, carried), evaluations made by the steps, last attempt."""
    rows, h, calls = np.arange(len(x0)), np.full(len(x0), stop / n), 0

    def evaluate(t, y, replicates):
        nonlocal calls
        calls += 1
        return rhs(t, y[0], replicates)

    y = (x0, np.zeros((len(x0), 1)))
    f, calls = evaluate(np.zeros(len(x0)), y, rows), 0
    for k in range(n):
        t, t_new = np.full(len(x0), k * stop / n), np.full(len(x0), (k + 1) * stop / n)
        attempt = method.attempt(evaluate, t, t_new, y, f, h, rows, None if stages is None else np.full(len(x0), stages))
        y = attempt.y
        if k < n - 1:
            f = attempt.f or evaluate(t_new, y, rows)
    return y, calls, attempt


SCHEMES = [(Euler(1.0), None), (DormandPrince(), None), *((RungeKuttaChebyshev(), s) for s in (2, 3, 7, 20))]
ORDERS = [
    pytest.param(problem, method, stages, id=f"{name}-{method.name}-{stages or ''}")
    for name, problem in PROBLEMS.items()
    for method, stages in SCHEMES
    if method.name in problem.steps
]


@pytest.mark.parametrize("problem, method, stages", ORDERS)
def test_declared_order_is_the_measured_slope(problem, method, stages):
    x0, stop = moderate(), problem.stop
    n = problem.steps[method.name]
    errors = []
    for k in (n, 2 * n, 4 * n):
        y, _, _ = fixed_steps(method, problem, x0, stop, k, stages)
        errors.append((np.abs(y[0] - problem.exact(stop, x0)).max(), np.abs(y[1][:, 0] - problem.energy(stop, x0)).max()))
    slopes = np.log2(np.array(errors[:-1]) / np.array(errors[1:]))
    assert errors[-1][0] > 1e-14
    # A carried integral may converge faster where its leading error happens to cancel, never slower.
    assert np.abs(slopes[-1, 0] - method.order) < 0.2
    assert slopes[-1, 1] > method.order - 0.2


@pytest.mark.parametrize("method, stages", [(DormandPrince(), None), *((RungeKuttaChebyshev(), s) for s in (2, 3, 8))], ids=str)
def test_declared_embedded_order_is_the_slope_of_the_error_estimate(method, stages):
    x0 = 0.3 + np.abs(cloud())
    estimates = []
    for h in (0.02, 0.01, 0.005):
        _, _, attempt = fixed_steps(method, PROBLEMS["cubic"], x0, h, 1, stages)
        estimates.append([np.abs(e).max() for e in attempt.error])
    slopes = np.log2(np.array(estimates[:-1]) / np.array(estimates[1:]))
    assert np.abs(slopes[-1] - (method.embedded_order + 1)).max() < 0.2


@pytest.mark.parametrize("stages", [2, 3, 8, 40])
def test_chebyshev_error_estimate_covers_the_local_error(stages):
    problem, x0, h = PROBLEMS["cubic"], moderate(), 1e-2
    y, _, attempt = fixed_steps(RungeKuttaChebyshev(), problem, x0, h, 1, stages)
    ratio = attempt.error[0] / (problem.exact(h, x0) - y[0])
    assert 1 < ratio.min() and ratio.max() < 2


@pytest.mark.parametrize(
    "method, stages", [(Euler(1.0), 1), (DormandPrince(), 7), *((RungeKuttaChebyshev(), s) for s in (2, 3, 11))], ids=str
)
def test_declared_evaluations_are_the_calls_made(method, stages):
    n = 5
    _, calls, _ = fixed_steps(method, PROBLEMS["linear"], cloud(), 1.0, n, stages)
    shared = 0 if method.embedded_order else 1  # the first slopes are not counted by fixed_steps
    assert calls == n * method.evaluations(stages) - shared
    assert method.explicit


@pytest.mark.parametrize(
    "method, stages", [(Euler(1.0), 1), (DormandPrince(), 7), *((RungeKuttaChebyshev(), s) for s in (2, 3, 4, 5, 10, 31, 100))], ids=str
)
def test_declared_stability_interval_by_the_amplification_factor(method, stages):
    beta = method.stability_interval(stages)

    def amplification(z):
        z = np.asarray(z)

        def evaluate(t, y, rows):
            return -z[rows, None, None] * y[0], y[1]

        y = (np.ones((len(z), 1, 1)), np.zeros((len(z), 0)))
        rows, one = np.arange(len(z)), np.ones(len(z))
        return method.attempt(evaluate, 0 * one, one, y, evaluate(0, y, rows), one, rows, np.full(len(z), stages)).y[0][:, 0, 0]

    factors = amplification(np.linspace(0, beta, 1501))
    assert np.abs(factors).max() <= 1 + 1e-9
    assert np.abs(amplification(np.linspace(1.01, 1.2, 20) * beta)).max() > 1
    if isinstance(method, RungeKuttaChebyshev):
        w0 = 1 + 2 / 13 / stages**2
        unit = np.eye(stages + 1)[stages]
        value, slope, bend = (chebyshev.chebval(w0, chebyshev.chebder(unit, m)) for m in range(3))
        z = np.linspace(0, beta, 1501)
        b = bend / slope**2
        np.testing.assert_allclose(factors, 1 - b * value + b * chebyshev.chebval(w0 - slope / bend * z, unit), atol=1e-9)
        assert 0.65 * (stages**2 - 1) <= beta <= 0.67 * (stages**2 - 1)
        assert np.abs(factors[z > 0.5 * beta]).max() < 0.97


def test_dormand_prince_has_the_published_coefficients():
    np.testing.assert_allclose(DormandPrince.NODES, RK45.C, rtol=1e-15)
    np.testing.assert_allclose(DormandPrince.WEIGHTS, RK45.B, rtol=1e-15)
    np.testing.assert_allclose(np.abs(DormandPrince.ERROR), np.abs(RK45.E), rtol=1e-13)
    for i, weights in enumerate(DormandPrince.STAGES):
        np.testing.assert_allclose(weights, RK45.A[i, :i], rtol=1e-15)


@pytest.mark.parametrize("product", [0.0, 0.5, 1.9, 2.0, 37.0, 1e3, 4e4])
def test_chosen_stages_are_stable_and_not_many_more(product):
    method = RungeKuttaChebyshev()
    (s,) = method.stages(np.array([product]), 1000)
    assert method.stability_interval(s) >= product
    assert s <= 3 or method.stability_interval(s - 2) < product


@pytest.mark.parametrize("kind", ADAPTIVE, ids=by_name)
def test_error_is_proportional_to_the_tolerance(kind):
    x0, tolerances = 0.3 + np.abs(cloud(1)), np.array([1e-4, 1e-5, 1e-6, 1e-7])
    problem, errors, integrals = PROBLEMS["cubic"], [], []
    for tol in tolerances:
        (record,) = integrate(problem, x0, [1.0], kind(tol, tol), carried=1)
        errors.append(np.abs(record.state.x - problem.exact(1.0, x0)).max())
        integrals.append(np.abs(record.state.carried[:, 0] - problem.energy(1.0, x0)).max())
    # The local error is held at the tolerance, so the global one falls as tolerance^(order / (embedded order + 1)).
    expected = kind.order / (kind.embedded_order + 1)
    for measured in (errors, integrals):
        slope = np.polyfit(np.log(tolerances), np.log(measured), 1)[0]
        assert abs(slope - expected) < 0.2
    assert (np.array(errors) < 50 * tolerances**expected).all()


def attraction(t, x, replicates):
    """Pairwise Gaussian attraction, its total divergence carried along: an interacting system."""
    z = x[:, None] - x[:, :, None]
    k = np.exp(-0.5 * (z**2).sum(axis=-1))
    return (k[..., None] * z).mean(axis=2) - 0.1 * x, (k * ((z**2).sum(axis=-1) - 2)).sum(axis=(1, 2))[:, None]


@pytest.mark.parametrize("method", [DormandPrince(1e-11, 1e-12), RungeKuttaChebyshev(1e-9, 1e-10)], ids=by_name)
def test_agrees_with_scipy_at_tight_tolerance(method):
    x0, times = cloud(2), [0.4, 1.7]
    records = list(integrate(attraction, x0, times, method, carried=1))
    for r in range(2):

        def flat(t, y):
            velocity, rates = attraction(t, y[None, :-1].reshape(1, 6, 2), None)
            return np.append(velocity.ravel(), rates)

        exact = solve_ivp(flat, (0, 1.7), np.append(x0[r].ravel(), 0.0), "DOP853", times, rtol=1e-12, atol=1e-13).y
        for i, record in enumerate(records):
            tolerance = 1e-9 if method.order == 5 else 3e-6
            np.testing.assert_allclose(record.state.x[r].ravel(), exact[:-1, i], atol=tolerance, rtol=0)
            np.testing.assert_allclose(record.state.carried[r], exact[-1:, i], atol=30 * tolerance, rtol=0)


def heat(n, largest):
    """Diffusion on n cells scaled to eigenvalues down to -largest; velocity of x (m, n, 1), matrix."""
    matrix = np.diag(np.full(n, -2.0)) + np.diag(np.ones(n - 1), 1) + np.diag(np.ones(n - 1), -1)
    matrix *= largest / -np.linalg.eigvalsh(matrix)[0]
    return matrix, lambda t, x, replicates: (matrix @ x, np.zeros((len(x), 0)))


def test_chebyshev_takes_a_stiff_system_with_far_fewer_evaluations():
    matrix, rhs = heat(40, 1e5)
    x0, stop = cloud(1, 40, 1), 0.1
    values, vectors = np.linalg.eigh(matrix)
    exact = vectors @ (np.exp(stop * values)[:, None] * (vectors.T @ x0[0]))
    seen = {}
    for method in (DormandPrince(1e-4, 1e-6), RungeKuttaChebyshev(1e-4, 1e-6)):
        (record,) = integrate(rhs, x0, [stop], method)
        assert np.abs(record.state.x[0] - exact).max() < 2e-4
        seen[method.name] = record.statistics.evaluations[0]
    assert 10 * seen["rkc"] < seen["dormand_prince"]
    assert 1.0 <= record.checkpoint.radius[0] / 1e5 <= 1.25
    assert record.statistics.rejected[0] < 0.2 * record.statistics.accepted[0]


def test_spectral_radius_is_estimated_where_the_state_hides_the_stiff_mode():
    matrix, rhs = heat(40, 1e5)
    smooth = np.linalg.eigh(matrix)[1][:, -1][None, :, None]
    (record,) = integrate(rhs, smooth, [1e-3], RungeKuttaChebyshev(1e-4, 1e-6))
    assert 1.0 <= record.checkpoint.radius[0] / 1e5 <= 1.25


def test_given_spectral_radius_replaces_the_estimate():
    _, rhs = heat(40, 1e4)
    calls = []

    def radius(t, x):
        calls.append((t.shape, x.shape))
        return np.full(len(x), 1.0e4)

    x0 = cloud(2, 40, 1)
    (given,) = integrate(rhs, x0, [0.02], RungeKuttaChebyshev(1e-4, 1e-6, spectral_radius=radius))
    (estimated,) = integrate(rhs, x0, [0.02], RungeKuttaChebyshev(1e-4, 1e-6))
    assert calls and all(t == x[:1] for t, x in calls)
    np.testing.assert_array_equal(given.checkpoint.radius, 1e4)
    assert (given.statistics.evaluations < estimated.statistics.evaluations).all()
    np.testing.assert_allclose(given.state.x, estimated.state.x, atol=1e-3)
    with pytest.raises(ValueError, match="spectral_radius must return 2 finite numbers"):
        list(integrate(rhs, x0, [0.02], RungeKuttaChebyshev(spectral_radius=lambda t, x: np.full(len(x), np.nan))))


def test_stage_cap_shortens_the_step_instead_of_losing_stability():
    _, rhs = heat(40, 1e5)
    x0 = cloud(1, 40, 1)
    (capped,) = integrate(rhs, x0, [0.02], RungeKuttaChebyshev(1e-3, 1e-5, max_stages=3))
    (free,) = integrate(rhs, x0, [0.02], RungeKuttaChebyshev(1e-3, 1e-5))
    assert capped.statistics.accepted[0] >= 0.02 * 1e5 / RungeKuttaChebyshev().stability_interval(3)
    assert capped.statistics.accepted[0] > 2 * free.statistics.accepted[0]
    np.testing.assert_allclose(capped.state.x, free.state.x, atol=1e-3)


def test_stages_are_fewer_in_single_precision():
    method = RungeKuttaChebyshev(1e-4, 1e-6)
    assert method.stage_limit(np.float32) < 12 < method.stage_limit(np.float64) == 250


STIFFNESS = np.array([1.0, 300.0, 30.0, 3.0, 1000.0])


def mixed(numbers):
    """Replicates of very different stiffness; ``numbers`` says which ones the batch consists of."""

    def rhs(t, x, replicates):
        k = STIFFNESS.astype(x.dtype)[np.asarray(numbers)[replicates]][:, None, None]
        pull = np.roll(x, 1, axis=1) - x
        return k * (pull - x**3) + np.sin(t)[:, None, None], (k * x * pull).sum(axis=(1, 2))[:, None]

    return rhs


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("method", [Euler(1e-4), DormandPrince(1e-5, 1e-6), RungeKuttaChebyshev(1e-4, 1e-5)], ids=by_name)
def test_a_replicate_does_not_depend_on_the_others(method, dtype):
    x0, times = cloud(5, 37, 3, dtype=dtype), [0.0, 0.013, 0.05]
    together = list(integrate(mixed(range(5)), x0, times, method, carried=1))
    assert together[-1].state.x.dtype == dtype and together[-1].state.carried.dtype == np.float64
    if method.embedded_order:
        assert len(set(together[-1].statistics.evaluations)) > 2
    for r in range(5):
        alone = integrate(mixed([r]), x0[r : r + 1], times, method, carried=1)
        for many, one in zip(together, alone, strict=True):
            for a, b in zip(many.state + many.statistics + many.checkpoint, one.state + one.statistics + one.checkpoint, strict=True):
                np.testing.assert_array_equal(a[r], b[0])


def test_replicates_at_the_output_time_are_left_out():
    sizes = []

    def rhs(t, x, replicates):
        assert len(t) == len(x) == len(replicates) and (t <= 0.05).all()
        sizes.append(len(x))
        return mixed(range(5))(t, x, replicates)

    (record,) = integrate(rhs, cloud(5), [0.05], DormandPrince(1e-5, 1e-6), carried=1)
    assert max(sizes) == 5 and min(sizes) == 1
    assert sum(sizes) == record.statistics.evaluations.sum()


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("method", [Euler(1e-4), DormandPrince(1e-5, 1e-6), RungeKuttaChebyshev(1e-4, 1e-5)], ids=by_name)
def test_resuming_is_bit_identical(method, dtype, tmp_path):
    x0, times = cloud(5, dtype=dtype), [0.01, 0.02, 0.04, 0.05]
    straight = list(integrate(mixed(range(5)), x0, times, method, carried=1))
    *_, half = integrate(mixed(range(5)), x0, times[:2], method, carried=1)
    np.savez(tmp_path / "state.npz", *half.state)
    np.savez(tmp_path / "controller.npz", *half.checkpoint)
    state = State(*np.load(tmp_path / "state.npz", allow_pickle=False).values())
    controller = Checkpoint(*np.load(tmp_path / "controller.npz", allow_pickle=False).values())
    controller = controller._replace(fresh=controller.fresh.astype(np.int8))  # as NetCDF stores truth values
    resumed = list(integrate(mixed(range(5)), None, times[2:], method, start=state, controller=controller))
    for a, b in zip(straight[2:], resumed, strict=True):
        for left, right in zip(a.state + a.statistics + a.checkpoint, b.state + b.statistics + b.checkpoint, strict=True):
            assert left.dtype == right.dtype
            np.testing.assert_array_equal(left, right)
    if method.embedded_order:
        (cold,) = integrate(mixed(range(5)), None, times[3:], method, start=half.state)
        assert (cold.state.x != straight[-1].state.x).any()  # the checkpoint matters
        np.testing.assert_allclose(cold.state.x, straight[-1].state.x, atol=1e-2)


def test_records_do_not_change_afterwards():
    records = integrate(mixed(range(5)), cloud(5), [0.01, 0.02], DormandPrince(1e-5, 1e-6), carried=1)
    first = next(records)
    before = [a.copy() for a in first.state + first.checkpoint]
    next(records)
    for a, b in zip(first.state + first.checkpoint, before, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("method", ALL, ids=by_name)
def test_output_times_are_hit_exactly(method):
    times = [0.0, 0.1, 0.1 + 1e-9, 1 / 3, 0.7, math.sqrt(0.5), 1.0]
    x0 = moderate(3)
    late = 0.0

    def rhs(t, x, replicates):
        nonlocal late
        late = max(late, t.max())
        return PROBLEMS["cubic"](t, x, replicates)

    records = integrate(rhs, x0, times, method, carried=1)
    for time, record in zip(times, records, strict=True):
        np.testing.assert_array_equal(record.state.t, time)
        assert late <= time
        np.testing.assert_allclose(record.state.x, PROBLEMS["cubic"].exact(time, x0), atol=0.02)
    first = next(iter(integrate(rhs, x0, times, method, carried=1)))
    np.testing.assert_array_equal(first.state.x, x0)
    assert not first.statistics.evaluations.any()


@pytest.mark.parametrize("step, stop", [(0.1, 10.0), (1e-3, 1.0), (1 / 3, 1.0), (0.07, 0.5)])
def test_euler_is_the_paper_s_recursion(step, stop):
    x0 = cloud(2)
    (record,) = integrate(attraction, x0, [stop], Euler(step), carried=1)
    x, steps = x0, math.ceil(stop / step - 1e-9)
    for k in range(steps):
        eta = step if k < steps - 1 or abs(stop - steps * step) < 1e-9 else stop - k * step
        x = x + eta * attraction(None, x, None)[0]
    np.testing.assert_array_equal(record.state.x, x)
    assert (record.statistics.accepted == steps).all() and (record.statistics.evaluations == steps).all()


@pytest.mark.parametrize("kind", ADAPTIVE, ids=by_name)
def test_overflow_in_a_trial_step_is_a_rejection(kind):
    problem, x0 = PROBLEMS["cubic"], moderate()
    (begin,) = integrate(problem, x0, [0.0], kind(1e-6, 1e-8), carried=1)
    wild = begin.checkpoint._replace(step=np.array([1e11, 1e-3]))
    (record,) = integrate(problem, None, [1e12], kind(1e-6, 1e-8), start=begin.state, controller=wild, max_steps=10_000)
    assert record.statistics.rejected[0] > record.statistics.rejected[1]
    np.testing.assert_allclose(record.state.x, problem.exact(1e12, x0), atol=1e-6)


@pytest.mark.parametrize("method", ALL, ids=by_name)
def test_non_finite_values_name_replicate_particle_time_and_step(method):
    def rhs(t, x, replicates):
        velocity = -x.copy()
        bad = np.flatnonzero((replicates == 1) & (t > 0.5))
        velocity[bad, 4, 1] = np.nan
        return velocity, np.zeros((len(x), 0))

    with pytest.raises(
        NonFiniteError, match=r"replicate 1: the velocity of particle 4 is not finite at time 0\.5\d*, step \d+; use"
    ) as caught:
        list(integrate(rhs, cloud(), [0.25, 1.0], method))
    assert isinstance(caught.value, FloatingPointError)


def test_non_finite_starts_rates_and_positions_are_told_apart():
    x0 = cloud()
    x0[2, 3, 0] = np.inf
    with pytest.raises(NonFiniteError, match=r"replicate 2: the position of particle 3 is not finite at time 0, step 1"):
        integrate(attraction, x0, [1.0], DormandPrince(), carried=1)
    with pytest.raises(NonFiniteError, match=r"replicate 0: the rate 1 is not finite at time 0, step 1"):
        list(integrate(lambda t, x, r: (x, np.full((len(x), 2), [0.0, np.nan])), cloud(), [1.0], DormandPrince(), carried=2))
    with pytest.raises(NonFiniteError, match=r"the (position|velocity) of particle \d is not finite"):
        list(integrate(lambda t, x, r: (x**3, np.zeros((len(x), 0))), 5 + cloud(), [10.0], Euler(0.5)))


@pytest.mark.parametrize("kind", ADAPTIVE, ids=by_name)
def test_a_solution_that_ends_in_finite_time_ends_in_a_clear_error(kind):
    def blow_up(t, x, replicates):
        return x**2, np.zeros((len(x), 0))

    with pytest.raises(IntegrationError, match=r"replicate 0: the step size fell to .*, at time (1|0\.99)"):
        list(integrate(blow_up, np.ones((1, 3, 1)), [2.0], kind(1e-4, 1e-6)))


def test_underflow_of_the_step_is_an_error_with_its_remedy():
    def jump(t, x, replicates):
        return np.where(t > 0.5, 1e300, 1.0)[:, None, None] * np.ones_like(x), np.zeros((len(x), 0))

    with pytest.raises(
        IntegrationError, match=r"replicate 0: the step size fell to .*time 0\.5; use a larger h, a looser tolerance .* or method: rkc"
    ):
        list(integrate(jump, np.zeros((1, 2, 1)), [1.0], DormandPrince()))


@pytest.mark.parametrize("method", [Euler(0.01), DormandPrince(1e-10, 1e-12), RungeKuttaChebyshev(1e-9, 1e-9)], ids=by_name)
def test_too_many_steps_are_an_error_with_its_remedy(method):
    with pytest.raises(IntegrationError, match=r"10 steps \(max_steps\) did not reach time 1,.*use a larger h") as caught:
        list(integrate(attraction, cloud(), [1.0], method, carried=1, max_steps=10))
    assert ("method: rkc" in str(caught.value)) == (method.name != "rkc")


@pytest.mark.parametrize("times", [[], [0.2, 0.2], [0.3, 0.1], [-0.1, 1.0], [0.1, np.nan]])
def test_bad_times_are_refused_before_anything_runs(times):
    with pytest.raises(ValueError, match="times must be a strictly increasing list"):
        integrate(attraction, cloud(), times, Euler(0.1), carried=1)


def test_bad_arguments_are_refused():
    with pytest.raises(ValueError, match="step > 0"):
        Euler(0.0)
    with pytest.raises(ValueError, match="'rkc' needs atol > 0"):
        RungeKuttaChebyshev(atol=0.0)
    with pytest.raises(ValueError, match="max_stages >= 2"):
        RungeKuttaChebyshev(max_stages=1)
    with pytest.raises(ValueError, match="rtol = 1e-08 is below the rounding error of float32"):
        integrate(attraction, cloud(dtype=np.float32), [1.0], DormandPrince(1e-8), carried=1)
    with pytest.raises(ValueError, match="x0 must have the shape"):
        integrate(attraction, np.zeros((3, 2)), [1.0], Euler(0.1))
    with pytest.raises(ValueError, match=r"must return velocity \(3, 6, 2\) and rates \(3, 2\), not \(3, 6, 2\) and \(3, 1\)"):
        list(integrate(attraction, cloud(), [1.0], Euler(0.1), carried=2))
    (record,) = integrate(attraction, cloud(), [0.0], Euler(0.1), carried=1)
    with pytest.raises(ValueError, match="give start as well"):
        integrate(attraction, cloud(), [1.0], Euler(0.1), controller=record.checkpoint)
    smaller = record.checkpoint._replace(step=np.zeros(2))
    with pytest.raises(ValueError, match=r"controller.step has the shape \(2,\); the state given as start needs \(3,\)"):
        integrate(attraction, None, [1.0], Euler(0.1), start=record.state, controller=smaller)


def test_methods_are_found_by_name():
    assert {name: kind(0.5).name for name, kind in METHODS.items()} == {n: n for n in ("euler", "dormand_prince", "rkc")}


def test_progress_shows_on_stderr_only_when_asked_for(capsys):
    list(integrate(attraction, cloud(), [0.5, 1.0], Euler(0.1), carried=1))
    assert capsys.readouterr() == ("", "")
    list(integrate(attraction, cloud(), [0.5, 1.0], Euler(0.1), carried=1, progress=True))
    out, err = capsys.readouterr()
    assert out == "" and err.isascii()
    assert "flow (euler): 100%|####" in err and "t = 1 of 1" in err and "left]" in err


@pytest.mark.parametrize("method", ALL, ids=by_name)
def test_device_arrays_stay_on_the_device_and_agree_with_the_host(method):
    cupy = pytest.importorskip("cupy", reason="CuPy is not installed")
    if not cupy.cuda.is_available():
        pytest.skip("no CUDA device")

    def rhs(t, x, replicates):
        return -(x**3), (x**2).sum(axis=(1, 2))[:, None]

    x0 = cloud()
    (host,) = integrate(rhs, x0, [1.0], method, carried=1)
    (device,) = integrate(rhs, cupy.asarray(x0), [1.0], method, carried=1)
    assert isinstance(device.state.x, cupy.ndarray) and isinstance(device.state.carried, cupy.ndarray)
    np.testing.assert_allclose(device.state.x.get(), host.state.x, rtol=1e-6)
    np.testing.assert_allclose(device.state.carried.get(), host.state.carried, rtol=1e-6)
