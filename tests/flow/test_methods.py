"""The declared properties of each method: order, error estimate, evaluations, stability interval, stages."""

import numpy as np
import pytest
from numpy.polynomial import chebyshev
from scipy.integrate import RK45

from driftrates.flow import METHODS, DormandPrince, Euler, RungeKuttaChebyshev
from flows import PROBLEMS, cloud, moderate


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


def test_stages_are_fewer_in_single_precision():
    method = RungeKuttaChebyshev(1e-4, 1e-6)
    assert method.stage_limit(np.float32) < 12 < method.stage_limit(np.float64) == 250


def test_methods_are_found_by_name():
    assert {name: kind(0.5).name for name, kind in METHODS.items()} == {n: n for n in ("euler", "dormand_prince", "rkc")}
