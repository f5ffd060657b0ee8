"""Neighbour counts, least masses, Chernoff bounds and distortion, against brute force and closed forms."""

import itertools
import math
from functools import partial

import numpy as np
import pytest
import xarray as xr
from scipy.spatial.distance import cdist, pdist

from driftrates import kernels, simulate
from driftrates.measurements import occupancy
from problems import labelled, normal, problem

UNIFORM_START = {"data": {"name": "uniform", "dimension": 2, "low": -0.5, "high": 0.5}}
COARSE = {"rtol": 1e-5, "atol": 1e-6}


experiment = partial(
    problem,
    name="occupancy_test",
    bandwidth=[0.3, 0.6],
    n_particles=[32, 64],
    replicates=3,
    times={"stop": 1.0, "count": 11},
    integrator={"rtol": 1e-7, "atol": 1e-9},
    keep_clouds=4,
)


@pytest.fixture(scope="module")
def ensemble():
    return simulate.simulate_flow(experiment(), seed=4)


@pytest.fixture(scope="module")
def table(ensemble):
    return occupancy.measure_occupancy(ensemble, r0=[1.0, 3.0], kappa_factors=[0.5, 1.0, 100.0])


@pytest.fixture(scope="module")
def propagation():
    return occupancy.measure_propagation(experiment(start=UNIFORM_START, bandwidth=0.3, n_particles=96), seed=4)


@pytest.fixture(scope="module")
def failures():
    densities = [("uniform_cube", 1), ("uniform_cube", 2), ("truncated_gaussian", 1), ("uniform_ball", 2)]
    return occupancy.measure_failures(
        densities, sizes=(64, 256), occupancy_ratios=(1.0, 4.0, 10.0, 25.0), trials=1000, points=100_000, seed=8
    )


@pytest.mark.parametrize("d", [1, 2, 5])
def test_counts_are_those_of_brute_force(d):
    clouds = np.random.default_rng(d).standard_normal((3, 50, d))
    clouds[0, 7] = clouds[0, 11]
    for radius in (1e-3, 0.7, 100.0):
        expected = [(cdist(x, x) <= radius).sum(1) for x in clouds]
        np.testing.assert_array_equal(occupancy.counts(clouds, radius), expected)
        np.testing.assert_array_equal(occupancy.counts(clouds[1], radius, workers=2), expected[1])


def test_a_neighbour_at_the_radius_itself_counts():
    np.testing.assert_array_equal(occupancy.counts(np.array([[0.0], [0.5], [1.5]]), 0.5), [2, 2, 1])


@pytest.mark.parametrize("radius", [0.0, -1.0, math.inf, math.nan])
def test_counts_refuse_a_radius_that_is_not_positive(radius):
    with pytest.raises(ValueError, match="radius must be a positive number"):
        occupancy.counts(np.zeros((3, 2)), radius)


@pytest.mark.parametrize("name", ["gaussian", "matern52", "inverse_multiquadric"])
def test_reciprocal_density_is_that_of_the_full_kde(name):
    kernel, x = kernels.make(name), np.random.default_rng(0).standard_normal((2, 20, 3))
    x[0, 0] = 100.0  # alone: sees itself only
    expected = [1 / kernel.value(cdist(c, c), 0.4, 3).mean(1) for c in x]
    np.testing.assert_allclose(occupancy.reciprocal_density(x, kernel, 0.4), expected, rtol=1e-12)


def test_a53_holds_on_bounded_supports_and_fails_for_the_gaussian():
    ds = occupancy.measure_mass([("uniform_cube", 2), ("truncated_gaussian", 3), ("gaussian", 2)], radii=[0.1, 0.4], seed=3)
    bounded, gaussian = ds.sel(density=["uniform_cube_d2", "truncated_gaussian_d3"]), ds.sel(density="gaussian_d2")
    assert (bounded.least_mass >= bounded.constant * (1 - 5e-4)).all() and (bounded.infimum >= bounded.constant * (1 - 5e-4)).all()
    assert (bounded.infimum < bounded.constant_without_share).all()
    assert bounded.admissible.all() and not (gaussian.constant > 0).any() and (gaussian.infimum == 0).all()
    assert (ds.least_mass.diff("sample") <= 0).all()
    assert (gaussian.least_mass.isel(sample=-1) < 0.3 * gaussian.least_mass.isel(sample=0)).all()
    assert labelled(ds)


def test_failures_stay_below_the_bounds_of_p55(failures):
    cells = failures.where(failures.admissible, drop=False)
    for bound in (cells.bound, cells.union_bound):
        assert not (cells.frequency_low > bound).any()
    assert (cells.union_bound <= cells.bound * (1 + 1e-12)).where(failures.admissible, True).all()
    square = failures.sel(density="uniform_cube_d2", n_particles=256)
    lam = 255 * math.pi / 4 * square.occupancy_ratio * math.log(256) / 256
    np.testing.assert_allclose(square.occupation, lam, rtol=1e-12)
    np.testing.assert_allclose(square.bound, 256 * np.exp(-lam / 8), rtol=1e-12)
    # What the bounds say is not empty: at ratio 25 the probability is small, and fewer than 1 in 100 is established by counting.
    informative = failures.sel(density="uniform_cube_d1", n_particles=256, occupancy_ratio=25.0)
    assert informative.bound < 1e-4 and informative.failures == 0
    assert float(informative.frequency_high) == pytest.approx(1 - 0.025 ** (1 / int(informative.trials)), rel=1e-12)
    assert labelled(failures)


def test_the_constant_without_the_corner_is_caught(failures):
    caught = (failures.frequency_without_share_low > failures.bound_without_share).where(failures.admissible, False)
    assert caught.any(("n_particles", "occupancy_ratio")).all()


def test_frequency_of_two_points_is_their_exact_probability():
    ds = occupancy.measure_failures([("uniform_cube", 1)], sizes=(2,), occupancy_ratios=(0.5,), trials=4000, seed=1)
    h, lam = float(ds.bandwidth.item()), float(ds.occupation.item())
    assert h == pytest.approx(0.25 * math.log(2)) and lam == pytest.approx(h) and lam / 2 < 1
    # min n < 1 + lambda/2 means that the two points are not neighbours: probability (1 - h)^2.
    assert float(ds.frequency_low.item()) < (1 - h) ** 2 < float(ds.frequency_high.item())
    assert float(ds.union_bound.item()) == pytest.approx(2 * (1 - h))


def test_failures_depend_on_seed_density_and_size_alone(failures):
    again = occupancy.measure_failures(
        [("uniform_cube", 2)], sizes=(256,), occupancy_ratios=(4.0,), trials=1000, points=100_000, seed=8, workers=2
    )
    cell = {"density": "uniform_cube_d2", "n_particles": 256, "occupancy_ratio": 4.0}
    assert int(again.failures.sel(cell)) == int(failures.failures.sel(cell))


def test_balls_beyond_the_reach_are_marked_and_the_gaussian_is_refused(failures):
    beyond = failures.sel(density="uniform_ball_d2", n_particles=64, occupancy_ratio=25.0)
    assert not beyond.admissible and beyond.failures == -1 and beyond.trials == 0 and np.isnan(beyond.frequency)
    with pytest.raises(ValueError, match="'gaussian' has no positive lower bound"):
        occupancy.measure_failures([("gaussian", 1)], sizes=(64,), seed=0)


def test_p52_and_x1_hold_on_every_stored_cloud(table, ensemble):
    slack = 1 + 1e-12
    assert (table.density_floor <= table.least_density * slack).all()
    assert (table.reciprocal_kde <= table.reciprocal_bound * slack).all()
    assert (table.reciprocal_kde <= table.self_bound * slack).all()
    assert (table.below_own_floor == 0).all()
    assert (table.reciprocal_kde <= table.largest_reciprocal * slack).all()
    assert labelled(table)
    snapshots = ensemble.reciprocal_kde.sel(time=ensemble.snapshot)
    xr.testing.assert_allclose(table.reciprocal_kde, snapshots.drop_vars("time").transpose(*table.reciprocal_kde.dims), rtol=1e-11)


def test_p52_is_caught_with_the_kernel_at_zero(table):
    assert (table.density_floor_control > table.least_density).sel(r0=3.0).any()


def test_occupancy_of_one_cloud_by_hand(table, ensemble):
    x = ensemble.cloud_64.isel(bandwidth=1, replicate=2, snapshot=3).values
    at = table.isel(bandwidth=1, n_particles=1, replicate=2, snapshot=3).sel(r0=3.0)
    distance, h, d = cdist(x, x), 0.6, 2
    least = (distance <= 3 * h).sum(1).min()
    p = (np.exp(-0.5 * (distance / h) ** 2) / (2 * math.pi * h**2)).mean(1)
    assert int(at.least_count) == least and float(at.c0) == pytest.approx(least / (64 * h**d))
    assert float(at.least_density) == pytest.approx(p.min()) and float(at.reciprocal_kde) == pytest.approx((1 / p).mean())
    assert float(at.density_floor) == pytest.approx(math.exp(-4.5) / (2 * math.pi) * least / (64 * h**d))
    assert float(at.self_bound) == pytest.approx(64 * h**d * 2 * math.pi)


def test_kappa_and_stopping_times(table, ensemble):
    path = ensemble.reciprocal_kde.isel(bandwidth=0, n_particles=1)
    kappa = np.trapezoid(path.values, ensemble.time.values, axis=1) / 1.0
    at = table.isel(bandwidth=0, n_particles=1)
    np.testing.assert_allclose(at.kappa, kappa, rtol=1e-12)
    assert float(at.kappa_mean) == pytest.approx(kappa.mean())
    assert float(at.kappa_error) == pytest.approx(kappa.std(ddof=1) / math.sqrt(3))
    for r in range(3):
        for factor in table.kappa_factor.values:
            beyond = ensemble.time.values[path.values[r] > factor * kappa.mean()]
            assert float(at.stopping_time.isel(replicate=r).sel(kappa_factor=factor)) == (beyond[0] if len(beyond) else math.inf)
    assert (table.stopped_share.sel(kappa_factor=0.5) == 1).all() and (table.stopped_share.sel(kappa_factor=100.0) == 0).all()


def test_kappa_of_a_single_replicate_has_no_error():
    one = simulate.simulate_flow(experiment(replicates=1, bandwidth=0.5, n_particles=16, keep_clouds=2), seed=1)
    assert (occupancy.measure_occupancy(one).kappa_error == math.inf).all()


@pytest.mark.parametrize("d", [1, 3])
def test_pair_ratios_are_those_of_brute_force_in_any_blocks(d, monkeypatch):
    rng = np.random.default_rng(d)
    a, b = rng.standard_normal((2, 4, 33, d))
    expected = np.array([pdist(u) / pdist(v) for u, v in zip(a, b, strict=True)])
    for room in (1, 500, 2**20):
        monkeypatch.setattr(occupancy, "_VALUES_PER_BLOCK", room)
        ratios = occupancy.pair_ratios(a, b)
        np.testing.assert_allclose(ratios.least, expected.min(1), rtol=1e-13)
        np.testing.assert_allclose(ratios.largest, expected.max(1), rtol=1e-13)


def test_pairs_that_coincide_are_left_out():
    b = np.array([[[0.0], [0.0], [1.0]]])
    assert occupancy.pair_ratios(3 * b, b) == (np.array([3.0]), np.array([3.0]))


def test_the_sandwich_of_l57_and_its_broken_half(propagation):
    p = propagation
    slack = 1e-6
    assert (p.largest_log_separation <= p.distortion + slack).all() and (p.least_log_separation >= -p.distortion - slack).all()
    width = np.maximum(p.largest_log_separation, -p.least_log_separation)
    assert (width > p.distortion / 2 + slack).any("time").all()
    np.testing.assert_allclose(p.distortion, p.distortion_trapezoid, rtol=0.02)
    assert (p.distortion.diff("time") > 0).all() and labelled(p)


def test_distortion_against_a_straight_line_flow():
    # With one particle-pair far apart (no interaction) each x_i decays towards the Gaussian target: b = -x/(1 + h^2), Lam = t/(1 + h^2).
    far = {"data": {"name": "uniform", "dimension": 1, "low": 5000.0, "high": 10000.0}}
    spec = experiment(start=far, target=normal(1), bandwidth=0.1, n_particles=4, replicates=2)
    p = occupancy.measure_propagation(spec, seed=2)
    expected = p.time.values / (1 + 0.1**2)
    for values in (p.distortion.values, -p.least_log_separation.values, -p.largest_log_separation.values):
        np.testing.assert_allclose(values, np.broadcast_to(expected, values.shape), atol=2e-6)


def test_propagation_of_occupancy_p58(propagation):
    p, slack = propagation, 1 + 1e-9
    assert (p.density_floor <= p.least_density * slack).all() and (p.largest_reciprocal_kde <= p.reciprocal_bound * slack).all()
    assert (p.density_floor_control > p.least_density).any()
    assert (p.least_count.isel(time=0) > 1).all() and (p.least_count.isel(time=-1) == 1).any()
    assert (p.least_count.diff("time") <= 0).all()
    x0 = simulate.initial_clouds(experiment(start=UNIFORM_START), 96, 2, seed=4)
    at = p.isel(bandwidth=0, n_particles=0, replicate=1, time=3)
    radius = 2.0 * 0.3 * math.exp(-float(at.distortion))
    assert int(at.least_count.sel(r0=2.0)) == (cdist(x0[1], x0[1]) <= radius).sum(1).min()


def test_iid_form_c59(propagation):
    p, at = propagation, propagation.isel(bandwidth=0, n_particles=0, time=2).sel(r0=1.0)
    lam = 95 * math.pi / 4 * 0.3**2 * math.exp(-2 * float(at.distortion.max()))
    assert float(at.iid_occupation) == pytest.approx(lam, rel=1e-12)
    assert float(at.iid_failure_bound) == pytest.approx(96 * math.exp(-lam / 8), rel=1e-12)
    assert float(at.iid_density_floor) == pytest.approx(math.exp(-0.5) / (2 * math.pi) * (1 + lam / 2) / (96 * 0.09), rel=1e-12)
    x0 = simulate.initial_clouds(experiment(start=UNIFORM_START), 96, 2, seed=4)
    for k, r0 in itertools.product(range(p.sizes["time"]), (1.0, 2.0)):
        row = p.isel(bandwidth=0, n_particles=0, time=k).sel(r0=r0)
        radius = r0 * 0.3 * math.exp(-float(row.distortion.max()))
        least = np.array([(cdist(x, x) <= radius).sum(1).min() for x in x0])
        assert int(row.iid_failures) == (least < 1 + float(row.iid_occupation) / 2).sum()
    # A replicate that did not fail has the floor.
    kept = p.iid_failures == 0
    assert kept.any() and (p.iid_density_floor <= p.least_density.min("replicate") * (1 + 1e-9)).where(kept, True).all()


def test_data_targets_and_single_precision_experiments_are_measured_in_float64():
    target = {"data": {"name": "eight_gaussians", "size": 50}}
    spec = experiment(
        target=target,
        dtype="float32",
        integrator=COARSE,
        n_particles=8,
        replicates=1,
        bandwidth=0.5,
        times={"stop": 0.2, "count": 3},
    )
    assert (occupancy.measure_propagation(spec, seed=1).distortion.isel(time=-1) > 0).all()
    table = occupancy.measure_occupancy(simulate.simulate_flow(spec, seed=1))
    assert (table.below_own_floor == 0).all()


def test_iid_form_is_vacuous_for_a_gaussian_start():
    p = occupancy.measure_propagation(experiment(n_particles=8, bandwidth=0.5, times={"stop": 0.2, "count": 3}), seed=1)
    assert (p.iid_occupation == 0).all() and (p.iid_failure_bound == 8).all()
