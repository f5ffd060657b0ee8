"""Couplings against all permutations and linear programs, MMD against dense arrays, and one step against the bound of R4.6."""

import itertools
import math
from functools import partial

import numpy as np
import pytest
from scipy.optimize import linprog
from scipy.spatial.distance import cdist
from scipy.stats import wasserstein_distance

from driftrates import simulate
from driftrates.measurements import transport
from problems import labelled, problem

COARSE = {"rtol": 1e-5, "atol": 1e-6}


experiment = partial(
    problem,
    name="transport_test",
    n_particles=[24, 48],
    replicates=3,
    times={"stop": 2.0, "count": 11},
    integrator={"rtol": 1e-7, "atol": 1e-9},
    keep_clouds=3,
)


@pytest.fixture(scope="module")
def ensemble():
    return simulate.simulate_flow(experiment(), seed=4)


@pytest.fixture(scope="module")
def table(ensemble):
    return transport.measure_one_step(ensemble, steps=[1e-3, 0.1, 1.0, 10.0], replicates=2, repeats=48)


@pytest.fixture(scope="module")
def field():
    return simulate.build_field(experiment(), 0.5, seed=0)


@pytest.mark.parametrize("d", [1, 2, 3])
def test_squared_w2_is_the_best_of_all_permutations(d):
    rng = np.random.default_rng(d)
    a, b = rng.standard_normal((2, 6, d))
    cost = cdist(a, b, "sqeuclidean")
    best = min(cost[np.arange(6), list(p)].mean() for p in itertools.permutations(range(6)))
    coupling = transport.squared_w2(a, b)
    assert coupling.squared_distance == pytest.approx(best, rel=1e-14)
    assert cost[np.arange(6), coupling.partner].mean() == pytest.approx(best, rel=1e-14)


@pytest.mark.parametrize("d", [1, 2])
def test_squared_w2_of_a_translation_and_of_a_relabelling(d):
    rng = np.random.default_rng(d)
    a = rng.standard_normal((100, d))
    order = rng.permutation(100)
    assert transport.squared_w2(a, a[order]).squared_distance == 0.0
    moved = transport.squared_w2(a, a[order] + 7.0)
    assert moved.squared_distance == pytest.approx(49 * d, rel=1e-12)
    np.testing.assert_array_equal(order[moved.partner], np.arange(100))


def test_squared_w2_refuses_other_shapes_and_sizes(monkeypatch):
    for a, b in ((np.zeros((3, 2)), np.zeros((4, 2))), (np.zeros(3), np.zeros(3)), (np.zeros((0, 2)), np.zeros((0, 2)))):
        with pytest.raises(ValueError, match="two clouds"):
            transport.squared_w2(a, b)
    monkeypatch.setattr(transport, "LARGEST_ASSIGNMENT", 4)
    with pytest.raises(ValueError, match="5 x 5 costs"):
        transport.squared_w2(np.zeros((5, 2)), np.zeros((5, 2)))
    assert transport.squared_w2(np.zeros((5, 1)), np.ones((5, 1))).squared_distance == 1.0


def linear_program(a, b):
    n, m = len(a), len(b)
    rows = np.kron(np.eye(n), np.ones(m))
    columns = np.kron(np.ones(n), np.eye(m))
    marginals = np.concatenate([np.full(n, 1 / n), np.full(m, 1 / m)])
    return math.sqrt(linprog(cdist(a, b, "sqeuclidean").ravel(), A_eq=np.vstack([rows, columns]), b_eq=marginals).fun)


@pytest.mark.parametrize(("n", "m", "d"), [(5, 8, 1), (5, 8, 2), (9, 4, 3), (6, 6, 2)])
def test_w2_to_data_is_the_optimum_of_the_linear_program(n, m, d):
    rng = np.random.default_rng(n + d)
    a, b = rng.standard_normal((n, d)), 2 + rng.standard_normal((m, d))
    assert transport.w2_to_data(a, b) == pytest.approx(linear_program(a, b), rel=1e-7)


def test_w2_to_data_of_repeated_points_and_gaussian_quantiles():
    rng = np.random.default_rng(0)
    a = rng.standard_normal((40, 2))
    assert transport.w2_to_data(a, np.repeat(a, 3, axis=0)) == pytest.approx(0.0, abs=1e-6)
    x, y = rng.standard_normal((300, 1)), rng.standard_normal((200, 1))
    assert transport.w2_to_data(x, y) >= wasserstein_distance(x[:, 0], y[:, 0])  # W2 >= W1
    assert transport.w2_to_data(x, x[:200] * 0 + 5.0) == pytest.approx(math.sqrt(((x - 5.0) ** 2).mean()), rel=1e-12)


def test_sliced_w2_is_the_mean_over_its_directions_and_below_w2():
    rng = np.random.default_rng(2)
    a, b = rng.standard_normal((60, 3)), 1 + rng.standard_normal((45, 3))
    sliced = transport.w2_to_data(a, b, projections=4000, seed=1)
    assert sliced == transport.w2_to_data(a, b, projections=4000, seed=1) != transport.w2_to_data(a, b, projections=4000, seed=2)
    assert sliced <= transport.w2_to_data(a, b) / math.sqrt(3)
    # A translation by v is seen as v . direction: the mean of its square is |v|^2 / d.
    moved = transport.w2_to_data(a, a + [3.0, 0.0, 4.0], projections=20_000)
    assert moved == pytest.approx(5 / math.sqrt(3), rel=0.02)


def test_w2_to_data_refuses_what_it_cannot_do(monkeypatch):
    with pytest.raises(ValueError, match="of one dimension"):
        transport.w2_to_data(np.zeros((3, 2)), np.zeros((3, 1)))
    with pytest.raises(ValueError, match="projections must be at least 1"):
        transport.w2_to_data(np.zeros((3, 2)), np.zeros((3, 2)), projections=0)
    monkeypatch.setattr(transport, "LARGEST_ASSIGNMENT", 4)
    with pytest.raises(ValueError, match="5 and 6 points needs 5 x 6 costs"):
        transport.w2_to_data(np.zeros((5, 2)), np.zeros((6, 2)))
    monkeypatch.setattr(transport, "LARGEST_ASSIGNMENT", 100)
    monkeypatch.setattr(transport, "_NETWORK_STEPS", 1)
    with pytest.raises(ValueError, match="did not converge"), pytest.warns(UserWarning):
        transport.w2_to_data(np.random.default_rng(0).standard_normal((30, 2)), np.random.default_rng(1).standard_normal((40, 2)))


@pytest.mark.parametrize("d", [1, 3])
def test_mmd2_is_that_of_dense_arrays(d):
    rng = np.random.default_rng(d)
    x, y = rng.standard_normal((2, 30, d)), 0.5 + rng.standard_normal((1, 41, d))
    x[1, 0] = 1e3
    result = transport.mmd2(x, y, 0.7)
    for r in range(2):
        kxx, kyy, kxy = (np.exp(-cdist(a, b, "sqeuclidean") / (2 * 0.49)) for a, b in ((x[r], x[r]), (y[0], y[0]), (x[r], y[0])))
        biased = kxx.mean() + kyy.mean() - 2 * kxy.mean()
        unbiased = (kxx.sum() - 30) / (30 * 29) + (kyy.sum() - 41) / (41 * 40) - 2 * kxy.mean()
        assert result.biased[r] == pytest.approx(biased, rel=1e-11) and result.unbiased[r] == pytest.approx(unbiased, rel=1e-11)


def test_mmd2_unbiased_vanishes_on_average_for_equal_laws_and_the_biased_one_does_not():
    rng = np.random.default_rng(5)
    x, y = rng.standard_normal((2, 400, 50, 1))
    result = transport.mmd2(x, y, 1.0)
    error = result.unbiased.std(ddof=1) / 20
    assert abs(result.unbiased.mean()) < 4 * error and result.biased.mean() > 10 * error and (result.biased >= 0).all()
    assert transport.mmd2(x, 1 + y, 1.0).unbiased.mean() > 50 * error


def test_one_step_is_the_identity_coupling_while_small(field, ensemble):
    x = ensemble.cloud_48.isel(bandwidth=0, replicate=0, snapshot=0).values
    velocity = field.at_particles(x[None]).velocity[0]
    small = transport.one_step(field, x, 1e-4)
    assert small.bound == pytest.approx(1e-8 * (velocity**2).sum(1).mean(), rel=1e-13)
    assert small.squared_distance == pytest.approx(small.bound, rel=1e-9) and small.reassigned == 0 and 0.9 < small.growth < 1
    large = transport.one_step(field, x, 5.0)
    assert large.squared_distance < 0.9 * large.bound and large.reassigned > 0


def test_bound_of_r46_on_every_cloud(table):
    assert (table.squared_distance <= table.coupling_bound * (1 + 1e-9)).all()
    np.testing.assert_allclose(table.distance_ratio.sel(step=1e-3), 1.0, rtol=1e-6)
    assert (table.distance_ratio.sel(step=10.0).isel(snapshot=0) < 0.95).all()
    # Half the step in the bound is no bound.
    assert (table.squared_distance > table.coupling_bound / 4).any()
    np.testing.assert_allclose(table.coupling_bound, table.squared_speed * (table.step * 0.25) ** 2, rtol=1e-12)
    assert labelled(table) and table.sizes["replicate"] == 2


def test_steps_are_stable_below_and_unstable_beyond_the_measured_limit(field, table, ensemble):
    late = ensemble.cloud_48.isel(bandwidth=0, snapshot=-1).values[:2]
    limit = table.largest_stable_step.isel(bandwidth=0, n_particles=1, snapshot=-1).values
    assert ((limit > 1) & (limit < 10)).all()
    assert (transport.repeated_growth(field, late, 0.25 * limit / 1.1, 48).rebound <= 2).all()
    assert (transport.repeated_growth(field, late, 0.25 * limit * 1.1, 48).rebound > 2).all()
    # Near equilibrium the linearised scheme decides; growth by a factor in few steps needs a little more.
    linear = table.linear_step_limit.isel(bandwidth=0, n_particles=1, snapshot=-1).values
    assert ((linear < 1.05 * limit) & (linear > 0.6 * limit)).all()
    assert (table.repeated_growth.sel(step=10.0).isel(snapshot=-1) > 10).all() and (table.growth.sel(step=1e-3) < 1).all()
    assert (table.repeated_rebound >= 1).all()


def test_linear_limit_is_that_of_the_dense_jacobian(field):
    x = np.random.default_rng(3).standard_normal((10, 2))
    jacobian = np.empty((20, 20))
    for k in range(20):
        shift = np.zeros(20)
        shift[k] = 1e-6
        ahead, behind = field.at_particles(np.stack([x + shift.reshape(10, 2), x - shift.reshape(10, 2)])).velocity
        jacobian[:, k] = (ahead - behind).ravel() / 2e-6
    values = np.linalg.eigvals(jacobian)
    assert transport.linear_step_limit(field, x) == pytest.approx(2 / abs(values[values.real.argmin()]), rel=1e-3)


def test_steps_that_overflow_and_brackets_that_miss_are_said_so(field):
    x = np.random.default_rng(3).standard_normal((2, 10, 2))
    run = transport.repeated_growth(field, x, np.array([0.01, 1e60]), 40)
    assert run.overall[0] < 1 and run.rebound[0] == 1 and run.overall[1] == run.rebound[1] == math.inf
    assert (transport.largest_stable_step(field, x, low=1e-3, high=2e-3, count=20) == math.inf).all()
    assert (transport.largest_stable_step(field, x, low=1e3, high=2e3, count=20) == 0).all()
    with pytest.raises(ValueError, match="0 < low < high"):
        transport.largest_stable_step(field, x, low=1.0, high=0.5)


def test_one_step_measurement_refuses_only_large_clouds(ensemble):
    with pytest.raises(ValueError, match="exceeds largest = 8"):
        transport.measure_one_step(ensemble, largest=8)
    only = transport.measure_one_step(ensemble, largest=24, replicates=1, steps=[0.1], repeats=4)
    assert only.n_particles.values.tolist() == [24]


def test_the_unit_of_steps():
    assert transport.step_unit(experiment(), 0.5) == 0.25
    assert transport.step_unit(experiment(field="displacement"), 0.5) == 1.0


def test_one_dimension_goes_through_by_sorting():
    target = {"mixture": {"means": [[-1.0], [1.0]], "standard_deviations": [0.5, 0.5]}}
    ensemble = simulate.simulate_flow(experiment(target=target, n_particles=32, replicates=1), seed=1)
    table = transport.measure_one_step(ensemble, steps=[0.01, 1.0], repeats=4)
    assert (table.squared_distance <= table.coupling_bound * (1 + 1e-9)).all()


def test_random_time_version_is_attained_by_small_steps_and_a_bound_for_large_ones():
    spec = experiment(n_particles=32)
    p = transport.measure_random_time(spec, seed=6, steps=[1e-2, 30.0], draws=16, replicates=2)
    assert p.sizes["replicate"] == 2 and labelled(p)
    gap = p.squared_distance - p.coupling_bound
    assert (gap <= 4 * p.squared_distance_error + 1e-12).all()
    assert (abs(gap.sel(step=1e-2)) <= 4 * p.squared_distance_error.sel(step=1e-2)).all()
    assert (p.squared_distance_error < 0.2 * p.squared_distance).all()
    assert (p.squared_distance.sel(step=30.0) < 0.9 * p.coupling_bound.sel(step=30.0)).all()
    # The bound of half the step, the control, is exceeded beyond the error.
    small = p.sel(step=1e-2)
    assert (small.squared_distance - 4 * small.squared_distance_error > small.coupling_bound / 4).all()
    run = simulate.simulate_flow(experiment(n_particles=32, times={"stop": 2.0, "count": 401}), seed=6)
    average = run.squared_speed.integrate("time").isel(replicate=slice(2)).values / 2.0
    np.testing.assert_allclose(p.average_squared_speed.values, average, rtol=1e-3)


def test_data_targets_and_single_precision_experiments_are_measured_in_float64():
    spec = experiment(
        target={"data": {"name": "eight_gaussians", "size": 50}}, dtype="float32", integrator=COARSE, n_particles=16, replicates=1
    )
    one = transport.measure_one_step(simulate.simulate_flow(spec, seed=1), steps=[0.01, 1.0], repeats=4)
    assert (one.squared_distance <= one.coupling_bound * (1 + 1e-9)).all()
    random_time = transport.measure_random_time(spec, seed=1, steps=[0.01], draws=2)
    assert (random_time.squared_distance > 0).all()


def test_random_time_needs_an_even_number_of_draws():
    with pytest.raises(ValueError, match="even number"):
        transport.measure_random_time(experiment(), seed=1, draws=7)
