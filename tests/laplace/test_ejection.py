"""Ejections: the limits far out against exact sums, the count by its definition, and a particle followed by hand."""

import math

import mpmath
import numpy as np
import pytest

from driftrates import flow
from driftrates.laplace import ejection


def make_pair(d, n=7, m=9, seed=0):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((n, d)), rng.standard_normal((m, d)) * 1.5


def exact_velocity(kernel, x, data, others, h):
    """m_p(x) - m_others(x) in 60 digits."""
    mpmath.mp.dps = 60

    def shift(points):
        weights, moments = mpmath.mpf(0), [mpmath.mpf(0)] * len(x)
        for y in points:
            z = [mpmath.mpf(float(b)) - mpmath.mpf(float(a)) for a, b in zip(x, y, strict=True)]
            s2 = sum(c * c for c in z) / mpmath.mpf(h) ** 2
            w = mpmath.exp(-mpmath.sqrt(s2) if kernel == "laplace" else -s2 / 2)
            weights, moments = weights + w, [a + w * c for a, c in zip(moments, z, strict=True)]
        return [a / weights for a in moments]

    return np.array([float(a - b) for a, b in zip(shift(data), shift(others), strict=True)])


@pytest.mark.parametrize("kernel", ["laplace", "gaussian"])
@pytest.mark.parametrize("d", [1, 2, 3])
def test_the_velocity_far_out_is_within_its_bound(kernel, d):
    others, data = make_pair(d)
    u = np.ones(d) / math.sqrt(d)
    for distance in (10.0, 100.0, 1e4):
        limit = ejection.asymptotic_velocity(kernel, 0.5, data, others, u, distance)
        exact = exact_velocity(kernel, data.mean(0) + distance * u, data, others, 0.5)
        assert np.linalg.norm(exact - limit.velocity) <= limit.bound + 1e-12
    assert limit.bound < 0.1 * np.linalg.norm(limit.velocity)


def test_on_the_line_the_laplace_limit_is_exact_outside_all_points():
    others, data = make_pair(1)
    x = max(others.max(), data.max()) + 0.01
    limit = ejection.asymptotic_velocity("laplace", 0.5, data, others, np.ones(1), 0.1)
    np.testing.assert_allclose(exact_velocity("laplace", [x], data, others, 0.5), limit.velocity, atol=1e-12)
    assert limit.bound == math.inf


def test_limits_exist_for_two_kernels():
    with pytest.raises(ValueError, match="laplace and gaussian"):
        ejection.asymptotic_velocity("sharp", 0.5, *make_pair(1), np.ones(1), 10.0)


def test_tilted_mean_goes_from_the_mean_to_the_extreme_point():
    points = np.random.default_rng(1).standard_normal((20, 2))
    np.testing.assert_allclose(ejection.tilted_mean(points, np.zeros(2)), points.mean(0))
    np.testing.assert_allclose(ejection.tilted_mean(points, np.array([1e5, 0.0])), points[np.argmax(points[:, 0])])


@pytest.mark.parametrize("d", [1, 3])
def test_settings_share_the_second_moment_and_the_unit(d):
    found = ejection.settings(0.4, d)
    moment = {name: s.kernel.second_moment(d) * s.h**2 for name, s in found.items()}
    assert moment["gaussian"] == pytest.approx(moment["laplace"])
    assert found["sharp"].factor == pytest.approx(0.4**2 * found["laplace"].kernel.companion_mass(d))


def test_a_lone_particle_leaves_where_it_is_left_out_and_returns_where_it_is_not():
    data = np.concatenate([np.linspace(-1, 1, 12), [4.0]])[None, :, None]
    start = np.concatenate([np.linspace(-1, 1, 9), [5.0]])[None, :, None]
    times = np.array([16.0, 32.0])
    setting = ejection.settings(0.4, 1)["laplace"]
    last = {mask: list(ejection.run(setting, start, data, loo, times, 0.05)) for mask, loo in ejection.MASKS.items()}
    gone = [cloud[0, -1, 0] for cloud in last["leave_one_out"]]
    expected = ejection.asymptotic_velocity("laplace", 0.4, data[0], last["leave_one_out"][1][0, :-1], np.ones(1), 100.0).velocity[0]
    assert (gone[1] - gone[0]) / 16 == pytest.approx(expected, rel=0.02) and expected > 1
    assert ejection.distances(last["full"][1], data).max() < 1.0
    adaptive = flow.integrate(
        lambda _, x, __: (ejection.velocity(setting, x, data, True), np.zeros((1, 0))), start, times, flow.DormandPrince(1e-6, 1e-8)
    )
    assert [record.state.x[0, -1, 0] for record in adaptive] == pytest.approx(gone, rel=0.01)


@pytest.fixture(scope="module")
def measured():
    options = {
        "dimensions": (1, 2),
        "n_particles": 10,
        "n_data": 12,
        "replicates": 16,
        "horizon": 32.0,
        "octaves": 3,
        "step": 0.25,
        "lone": 3,
    }
    return ejection.measure_ejections(**options, seed=20)


def test_every_variable_is_described_and_counts_agree(measured):
    for name, variable in measured.variables.items():
        assert variable.attrs["long_name"] and variable.attrs["units"], name
    np.testing.assert_array_equal(measured["ejections"], (measured["ejected"] > 0).sum("replicate"))
    ends = measured["share_interval"]
    assert (ends.sel(end="low") <= measured["share"]).all() and (measured["share"] <= ends.sel(end="high")).all()
    assert measured["ejections"].sel(mask="leave_one_out").sum() > 0 == measured["ejections"].sel(mask="full").sum()


def test_a_counted_particle_is_beyond_the_threshold(measured):
    last, counted = measured["distance"].isel(time=-1), measured["ejected"] > 0
    assert (last > measured["threshold"]).where(counted, True).all()
    escaped = measured["speed"].notnull()
    found = counted.sel(mask="leave_one_out", kernel=["gaussian", "laplace"]).rename(kernel="displacement")
    np.testing.assert_array_equal(escaped.transpose(*found.dims), found)


def test_a_lone_particle_far_out_is_attracted_with_its_self_term(measured):
    far = measured["radial_velocity"].isel(radius=-1)
    assert (far.sel(mask="full") < 0).all()
    assert (measured["deviation"] <= measured["deviation_bound"]).all()
    assert (measured["deviation_control"].isel(radius=-1) > measured["deviation_bound"].isel(radius=-1)).any()


@pytest.mark.parametrize("change", [{"octaves": 2}, {"dof": 2.0}, {"lone": 9}])
def test_bad_options_are_named(change):
    with pytest.raises(ValueError, match="ejections need"):
        ejection.measure_ejections(**{"replicates": 8, "seed": 1, **change})
