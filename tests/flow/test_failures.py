"""What ends an integration, and what is refused before it begins."""

import numpy as np
import pytest

from driftrates.flow import DormandPrince, Euler, IntegrationError, NonFiniteError, RungeKuttaChebyshev, integrate
from flows import ADAPTIVE, ALL, PROBLEMS, attraction, by_name, cloud, moderate


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
