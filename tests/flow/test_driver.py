"""Time integration: the controller, replicates on their own, resuming, output times."""

import math

import numpy as np
import pytest
from scipy.integrate import solve_ivp

from driftrates.flow import Checkpoint, DormandPrince, Euler, RungeKuttaChebyshev, State, integrate
from flows import ADAPTIVE, ALL, PROBLEMS, attraction, by_name, cloud, moderate


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
