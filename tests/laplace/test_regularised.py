"""Taylor densities and both sides of L6.13 and L6.14, against adaptive quadrature and plain sums."""

import itertools
import math

import numpy as np
import pytest
import xarray as xr
from scipy import integrate

from driftrates import kernels
from driftrates.laplace import regularised
from driftrates.random import generator
from driftrates.sampling import sample_smoothed
from problems import make_cloud, make_field, make_kernel

H = 0.6
LAPLACE = kernels.make("laplace")


@pytest.mark.parametrize("d", [1, 2, 3])
@pytest.mark.parametrize("kernel", [LAPLACE, make_kernel(0.7), kernels.make("gaussian")])
def test_second_moment_of_the_companion(kernel, d):
    moments = [integrate.quad(lambda s, p=p: float(s ** (d - 1 + p) * kernel.rung(np.asarray(s), d, -1)), 0, 80)[0] for p in (0, 2)]
    assert regularised.companion_second_moment(kernel, d) == pytest.approx(moments[1] / moments[0], rel=1e-7)
    if kernel.name == "laplace":
        assert regularised.companion_second_moment(kernel, d) == pytest.approx(d * (d + 3))


@pytest.mark.parametrize("d", [1, 2, 3])
def test_taylor_density_reproduces_the_remainder_of_a_polynomial(d):
    """For phi = |x|^4: int K# phi = (m2#/2) times the mean of phi's second radial derivative, 12 |x|^2, over the density."""
    kernel = make_kernel(0.5)
    m2 = regularised.companion_second_moment(kernel, d)
    log_r, density = regularised._taylor_profile(kernel, d)
    weight = density * np.exp(log_r)
    assert integrate.simpson(weight, x=log_r) == pytest.approx(1, rel=1e-6)
    mass, fourth = (
        integrate.quad(lambda s, p=p: float(s ** (d - 1 + p) * kernel.rung(np.asarray(s), d, -1)), 0, 80, limit=200)[0] for p in (0, 4)
    )
    assert m2 / 2 * integrate.simpson(12 * np.exp(2 * log_r) * weight, x=log_r) == pytest.approx(fourth / mass, rel=1e-6)


@pytest.mark.parametrize("d", [1, 2, 3])
@pytest.mark.parametrize("eps", [1.0, 0.01])
def test_weights_turn_the_points_into_taylor_points(d, eps):
    kernel, cloud, data = make_kernel(eps), make_cloud(6, d), make_cloud(5, d, 9)
    x, weight, distance = regularised.taylor_points(kernel, H, cloud, data, 2**14, np.random.default_rng(1))
    assert (weight > 0).all() and weight.max() < 2.5
    assert weight.mean() == pytest.approx(1, abs=4 * weight.std() / 2**7)
    assert (weight[:, None] * x).mean(0) == pytest.approx(cloud.mean(0), abs=4 * (weight[:, None] * x).std() / 2**7)
    square = weight * (x**2).sum(1)
    log_r, density = regularised._taylor_profile(kernel, d)
    spread = H**2 * integrate.simpson(np.exp(3 * log_r) * density, x=log_r)
    assert square.mean() == pytest.approx((cloud**2).sum(1).mean() + spread, abs=4 * square.std() / 2**7)
    atoms = np.concatenate([cloud, data])
    assert distance == pytest.approx(np.linalg.norm(x[:, None] - atoms, axis=-1).min(1), abs=1e-10)


def line_gaps(field, cloud):
    """|S_loo - S#|, |D_lap - E#|, tau_1, tau_2 on the line by adaptive quadrature and plain sums."""
    data, h, kernel = field.target.points[0][:, 0], field.h, field.kernel
    y = cloud[:, 0]

    def shift(x, points):
        s = np.abs(points - x) / h
        k, slope = kernel.rung(s, 1, 0), kernel.rung(s, 1, 1)
        m = (k * (points - x)).sum() / k.sum()
        kinks = np.where(s > 0, slope * (points - x) / h**2, 0.0)
        return m, (kinks * (points - x)).sum() / k.sum() - 1 - m * kinks.sum() / k.sum(), (kernel.rung(s, 1, -1)).sum() * h**2 / k.sum()

    def phi(x, points):
        (m, dm, alpha), (own, d_own, _) = shift(x, data), shift(x, points)
        return np.array([dm - d_own + m / alpha * (m - own), (m - own) ** 2])

    mass = len(y) * kernel.normaliser(1) * kernel.companion_mass(1) * h
    breaks = np.unique(np.concatenate([y, data, [-40 * h, 40 * h]]))
    integral = np.zeros(2)
    for a, b in itertools.pairwise(breaks):
        for k in range(2):
            integral[k] += integrate.quad(
                lambda x, k=k: float(phi(x, y)[k] * kernel.rung(np.abs(y - x) / h, 1, -1).sum() / mass), a, b, epsabs=1e-9, limit=200
            )[0]
    full = np.array([phi(x, y) for x in y])
    own = np.array([phi(x, np.delete(y, k)) for k, x in enumerate(y)])
    return np.abs(own.mean(0) - integral), np.abs(own - full).mean(0)


@pytest.mark.parametrize("kernel", [LAPLACE, make_kernel(0.3), make_kernel(0.02)])
def test_gaps_on_the_line_agree_with_adaptive_quadrature(kernel):
    field, cloud = make_field(1, kernel), make_cloud(7, 1)
    index, z = zip(*(sample_smoothed(kernels.make("matern32"), H, cloud, 4096, generator(1, k)) for k in range(8)), strict=True)
    found = regularised.gaps(field, cloud[None], [(i[None], each[None]) for i, each in zip(index, z, strict=True)])
    wanted, errors = line_gaps(field, cloud)
    for k, name in enumerate(("stein", "speed")):
        assert found[f"{name}_error"][0] < 2e-3
        assert found[f"{name}_gap"][0] == pytest.approx(wanted[k], abs=6 * found[f"{name}_error"][0])
        assert found[f"{name}_point_error"][0] == pytest.approx(errors[k], rel=1e-9)


@pytest.mark.parametrize("d", [1, 2, 3])
def test_constants_near_atoms_tend_to_their_limits_and_elsewhere_do_not_grow(d):
    cloud = make_cloud(6, d)
    found = [regularised.constants(make_field(d, make_kernel(eps)), cloud, samples=256, seed=4) for eps in (1e-3, 1e-4)]
    for eps, c in zip((1e-3, 1e-4), found, strict=True):
        assert eps**2 * c.stein[:4].max() == pytest.approx(c.stein_limit, rel=20 * eps)
        assert eps * c.speed[:4].max() == pytest.approx(c.speed_limit, rel=20 * eps)
        assert (c.stein[4:5] < 100).all() and c.speed[5] < 20
    assert found[1].stein[5] > 3 * found[0].stein[5]


def test_occupancy_sides_are_plain_counts_and_sums():
    clouds, h, r0 = np.stack([make_cloud(9, 2), make_cloud(9, 2, 1)]), 0.5, 1.5
    sides = regularised.occupancy_sides(clouds, h, r0)
    unit = 1 / (2 * math.pi)
    for r, i in itertools.product(range(2), range(9)):
        distance = np.linalg.norm(np.delete(clouds[r], i, 0) - clouds[r, i], axis=1) / h
        count = (distance <= r0).sum()
        assert sides["density"][r, i] == pytest.approx(unit * np.exp(-distance).sum() / (8 * h**2))
        assert sides["floor"][r, i] == pytest.approx(unit * math.exp(-r0) * count / (8 * h**2))
        assert sides["half_floor"][r, i] == pytest.approx(unit * math.exp(-r0 / 2) * count / (8 * h**2))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sizes": [8], "largest": 4}, "one of the sizes up to largest"),
        ({"points": 24}, "power of two"),
        ({"scramblings": 1}, ">= 2"),
    ],
)
def test_options_that_leave_nothing_to_judge_are_named(change, message):
    with pytest.raises(ValueError, match=message):
        regularised.measure_regularised(seed=1, **change)


def test_the_study_is_complete_described_and_repeatable():
    options = {"dimensions": [1, 2], "sizes": [4, 6], "largest": 4, "atoms": 5, "epsilons": [0.01, 0.5, 0.1], "replicates": 2}
    options |= {"horizon": 0.5, "samples": 32, "points": 16, "scramblings": 2, "r0": [1.0]}
    ds = regularised.measure_regularised(seed=2, **options)
    xr.testing.assert_identical(ds, regularised.measure_regularised(seed=2, **options))
    for variable in (*ds.data_vars.values(), *ds.coords.values()):
        assert variable.attrs["long_name"] and variable.attrs["units"]
    assert ds["epsilon"].values.tolist() == [0.5, 0.1, 0.01]
    assert np.isfinite(ds["stein_gap"]).all() and np.isfinite(ds["laplace_speed_gap"]).all()
    assert np.isfinite(ds["stein_constant"].sel(n_particles=4)).all() and np.isnan(ds["stein_constant"].sel(n_particles=6)).all()
    assert np.isnan(ds["density"].sel(n_particles=4, particle=[4, 5])).all() and np.isfinite(ds["density"].sel(n_particles=6)).all()
    right = regularised.bounds(ds.sel(n_particles=[4]))
    one = {"dimension": 2, "epsilon": 0.1, "n_particles": 4, "replicate": 1, "start": "relaxed"}
    at = ds.sel(one)
    l_term = float(at["companion_second_moment"]) * ds.attrs["bandwidth"] ** 2 / 2 * at["stein_constant"].values[:4].max()
    assert float(right["stein"].sel({**one, "case": "largest"})) == pytest.approx(l_term + float(at["stein_point_error"]))
    assert (right["stein"].sel(case="largest") >= ds["stein_gap"].sel(n_particles=[4])).all()
