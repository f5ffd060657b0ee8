import itertools
import json
import math

import mpmath
import numpy as np
import pytest
import xarray as xr

from driftrates import kernels
from driftrates.fields import DriftField, SmoothedDensity, SmoothedPoints
from driftrates.measurements import fisher_discrepancy, observables, quadrature
from driftrates.measurements.quadrature import (
    REGIONS,
    constants,
    hessians,
    kde_log_derivatives,
    measure_constants,
    mixture_log_derivatives,
    operator_norms,
)
from driftrates.targets import GaussianMixture
from problems import problem

SMOOTH = [("gaussian", {}), ("matern52", {}), ("matern72", {}), ("inverse_multiquadric", {"dof": 3.0})]


def make_mixture(d):
    a = 0.4 * np.random.default_rng(d).standard_normal((2, d, d))
    return GaussianMixture([0.4, 0.6], np.stack([-np.ones(d), np.ones(d)]), a @ a.swapaxes(1, 2) + 0.5 * np.eye(d))


def make_field(d, kernel="gaussian", h=0.5, data=False, **parameters):
    kernel = kernels.make(kernel, **parameters)
    if data:
        target = SmoothedPoints(np.random.default_rng(5).standard_normal((1, 30, d)), kernel, h)
    else:
        target = SmoothedDensity(make_mixture(d), None)
    return DriftField("conservative", target, kernel, h)


def make_cloud(n, d, seed=0):
    return 1.2 * np.random.default_rng(seed).standard_normal((n, d))


def by_mpmath(log_density, x):
    """All log-derivatives at x (d,) by Taylor coefficients and differences in 40 digits."""
    d = len(x)

    def partial(*axes):
        orders = tuple(axes.count(k) for k in range(d))
        return float(mpmath.diff(log_density, tuple(x), orders) if d > 1 else mpmath.diff(log_density, x[0], orders[0]))

    with mpmath.workdps(40):
        known = {}

        def at(*axes):
            key = tuple(sorted(axes))
            if key not in known:
                known[key] = partial(*key)
            return known[key]

        axes = range(d)
        return (
            np.array([at(a) for a in axes]),
            np.array([[at(a, b) for b in axes] for a in axes]),
            np.array([[[at(a, b, c) for c in axes] for b in axes] for a in axes]),
            np.array([[sum(at(a, b, c, c) for c in axes) for b in axes] for a in axes]),
        )


PROFILES = {
    "gaussian": lambda s: mpmath.exp(-s * s / 2),
    "matern52": lambda s: (1 + s + s * s / 3) * mpmath.exp(-s),
    "matern72": lambda s: (1 + s + 2 * s * s / 5 + s**3 / 15) * mpmath.exp(-s),
    "inverse_multiquadric": None,
}


@pytest.mark.parametrize("d", [1, 2])
@pytest.mark.parametrize(("name", "parameters"), SMOOTH)
def test_kde_log_derivatives_agree_with_forty_digits(name, parameters, d):
    kernel, h, y = kernels.make(name, **parameters), 0.7, make_cloud(3, d, 1)
    profile = PROFILES[name] or (lambda s: (1 + s * s) ** (-mpmath.mpf(d + 3) / 2))

    def log_density(*x):
        return mpmath.log(sum(profile(mpmath.sqrt(sum((u - float(v)) ** 2 for u, v in zip(x, row, strict=True))) / h) for row in y))

    x = np.array([[0.3, -0.4], [2.5, 1.0]])[:, :d]
    found = kde_log_derivatives(x, y, kernel, h)
    for k, point in enumerate(x):
        for have, want in zip(found, by_mpmath(log_density, point), strict=True):
            np.testing.assert_allclose(have[k], want, rtol=1e-10, atol=1e-10 * np.abs(want).max())


def test_mixture_log_derivatives_agree_with_forty_digits():
    mixture, x = make_mixture(2), np.array([[0.2, -0.5], [3.0, 4.0]])
    precisions = np.linalg.inv(mixture.covariances)

    def log_density(*x):
        total = 0
        for w, m, c, p in zip(mixture.weights, mixture.means, mixture.covariances, precisions, strict=True):
            z = [u - float(v) for u, v in zip(x, m, strict=True)]
            q = sum(z[i] * z[j] * float(p[i, j]) for i in range(2) for j in range(2))
            total += float(w / math.sqrt(np.linalg.det(c))) * mpmath.exp(-q / 2)
        return mpmath.log(total)

    found = mixture_log_derivatives(x, mixture)
    for k, point in enumerate(x):
        for have, want in zip(found, by_mpmath(log_density, point), strict=True):
            np.testing.assert_allclose(have[k], want, rtol=1e-10, atol=1e-10 * np.abs(want).max())


@pytest.mark.parametrize("d", [1, 3, 5])
@pytest.mark.parametrize("variances", ["isotropic", "diagonal", "full"])
def test_mixture_and_kernel_density_agree_where_they_are_the_same(d, variances):
    y, h, x = make_cloud(12, d), 0.6, 1.5 * make_cloud(9, d, 1)
    shape = {"isotropic": np.full(12, h**2), "diagonal": np.full((12, d), h**2), "full": np.broadcast_to(h**2 * np.eye(d), (12, d, d))}
    one = mixture_log_derivatives(x, GaussianMixture(np.ones(12), y, shape[variances]))
    two = kde_log_derivatives(x, y, kernels.make("gaussian"), h)
    for a, b in zip(one, two, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-8, atol=1e-8 * np.abs(a).max())


@pytest.mark.parametrize("data", [False, True], ids=["mixture", "data"])
@pytest.mark.parametrize("d", [1, 2, 3, 5])
@pytest.mark.parametrize(("name", "parameters"), [SMOOTH[0], SMOOTH[2], SMOOTH[3]])
def test_hessians_agree_with_differences_of_the_field(name, parameters, d, data):
    field, cloud = make_field(d, name, data=data, **parameters), make_cloud(20, d)
    x = np.concatenate([cloud[:2], make_cloud(4, d, 3)])

    def values(x):
        v = field.at(x[None], cloud[None], divergence=True)
        return np.stack([v.divergence[0] + (v.target.value * v.velocity).sum(-1)[0], (v.velocity[0] ** 2).sum(-1)])

    def second(e):
        out = np.empty((2, len(x), d, d))
        for a, b in itertools.product(range(d), repeat=2):
            p, q = e * np.eye(d)[a], e * np.eye(d)[b]
            out[..., a, b] = (values(x + p + q) - values(x + p - q) - values(x - p + q) + values(x - p - q)) / (4 * e * e)
        return out

    differences = (4 * second(2e-3) - second(4e-3)) / 3
    found = hessians(field, x, cloud)
    for have, want in zip((found.stein, found.speed), differences, strict=True):
        np.testing.assert_allclose(have, want, atol=2e-6 * np.abs(want).max())
        np.testing.assert_allclose(have, have.swapaxes(1, 2), atol=1e-10 * np.abs(have).max())
    e = 1e-5
    jacobian = np.stack(
        [(field.at((x + e * u)[None], cloud[None]).velocity - field.at((x - e * u)[None], cloud[None]).velocity)[0] for u in np.eye(d)], -1
    )
    np.testing.assert_allclose(found.jacobian, jacobian / (2 * e), atol=1e-6 * np.abs(found.jacobian).max())


@pytest.mark.parametrize(("name", "parameters"), [SMOOTH[0], SMOOTH[2], SMOOTH[3]])
def test_the_fused_pass_on_the_line_agrees_with_the_general_one(name, parameters):
    kernel, x, y = kernels.make(name, **parameters), make_cloud(30, 1, 1) / 0.2, make_cloud(40, 1) / 0.2
    lift = np.random.default_rng(0).random(30)
    for fused, general in zip(quadrature._line_moments(x, y, kernel, lift), quadrature._moments(x, y, kernel, lift), strict=True):
        np.testing.assert_allclose(fused, general, rtol=1e-10, atol=1e-12 * np.abs(general).max())


@pytest.mark.parametrize(("name", "parameters"), SMOOTH)
def test_sources_left_out_do_not_matter(name, parameters):
    kernel, h, y = kernels.make(name, **parameters), 0.05, make_cloud(300, 2)
    x = np.concatenate([y[:20], make_cloud(20, 2, 1), [[9.0, -9.0]]])
    found = kde_log_derivatives(x, y, kernel, h)
    lift = -kernel.log_decay(np.linalg.norm(x[:, None] - y, axis=-1).min(1) / h, 2)
    everything = quadrature._cumulants(*quadrature._moments(x / h, y / h, kernel, lift))
    for have, want, power in zip(found, everything, (1, 2, 3, 4), strict=True):
        np.testing.assert_allclose(have, want / h**power, atol=1e-10 * np.abs(want).max() / h**power)
        assert np.isfinite(have).all()


@pytest.mark.parametrize("name", ["laplace", "matern32"])
def test_rough_kernels_are_refused(name):
    with pytest.raises(ValueError, match="L1 of A2.5 is infinite"):
        hessians(make_field(1, name), np.zeros((1, 1)), make_cloud(4, 1))


def test_other_fields_are_refused():
    field = make_field(1)
    with pytest.raises(ValueError, match="conservative field"):
        hessians(DriftField("displacement", field.target, field.kernel, field.h), np.zeros((1, 1)), make_cloud(4, 1))


def test_operator_norm_is_that_of_the_worst_direction():
    a = np.array([[[1.0, 2.0], [2.0, -3.0]], [[0.0, 0.0], [0.0, 0.0]]])
    t = np.linspace(0, math.pi, 10_001)
    v = np.stack([np.cos(t), np.sin(t)])
    expected = np.abs(np.einsum("an,ab,bn->n", v, a[0], v)).max()
    np.testing.assert_allclose(operator_norms(a), [expected, 0.0], rtol=1e-6)


@pytest.mark.parametrize("d", [1, 2, 3])
def test_one_particle_has_constant_hessians_and_makes_l44_an_equality(d):
    h, variance = 0.4, 1.3
    target = SmoothedDensity(GaussianMixture([1.0], np.zeros((1, d)), [variance]), None)
    field = DriftField("conservative", target, kernels.make("gaussian"), h)
    found = constants(field, np.full((1, d), 0.7), samples=256)
    slope = 1 / h**2 - 1 / variance
    np.testing.assert_allclose(found.speed[:3], 2 * slope**2, rtol=1e-10)
    np.testing.assert_allclose(found.stein[:3], 2 * slope / variance, rtol=1e-10)
    np.testing.assert_allclose(found.lipschitz[:3], slope, rtol=1e-10)
    assert np.isnan(found.lipschitz[3:]).all()
    # the constant of the proof is the same number up to the sampling of |z|^2; the gaps are attained
    np.testing.assert_allclose(found.speed[3], 2 * slope**2, atol=5 * found.speed_error[3])
    np.testing.assert_allclose([found.stein[4], found.speed[4]], [2 * slope / variance, 2 * slope**2], atol=6 * found.stein_error[4] + 1e-6)
    assert found.speed_gap == pytest.approx(d * h**2 * slope**2, abs=6 * found.fisher.error + 1e-8)


@pytest.mark.parametrize("kernel", ["gaussian", "matern52"])
def test_the_constant_of_the_proof_dominates_the_gap(kernel):
    smallest = {}
    for seed in range(4):
        field, cloud = make_field(1, kernel, h=0.3), make_cloud(25, 1, seed)
        found = constants(field, cloud, samples=1024, seed=seed)
        factor = 0.5 * field.kernel.second_moment(1) * field.h**2
        order = list(REGIONS)
        assert found.stein_gap <= factor * (found.stein[order.index("taylor")] + 4 * found.stein_error[order.index("taylor")])
        assert found.speed_gap <= factor * (found.speed[order.index("taylor")] + 4 * found.speed_error[order.index("taylor")])
        np.testing.assert_allclose(factor * found.stein[order.index("effective")], found.stein_gap, rtol=1e-12)
        assert found.stein[order.index("neighbourhood")] >= found.stein[order.index("mean")]
        smallest[seed] = found.stein[order.index("effective")] / found.stein[order.index("taylor")]
    assert min(smallest.values()) > 1e-4


def test_a_regional_constant_need_not_dominate():
    # two particles 5 h apart: T_pi b bends between them, where neither of them is
    h = 0.1
    field = DriftField("conservative", SmoothedDensity(GaussianMixture([1.0], [[0.0]], [1.0]), None), kernels.make("gaussian"), h)
    found = constants(field, np.array([[-2.5 * h], [2.5 * h]]), samples=4096)
    bound = dict(zip(REGIONS, 0.5 * h**2 * found.stein, strict=True))
    assert bound["particles"] < 0.2 * found.stein_gap
    assert bound["taylor"] > found.stein_gap
    assert bound["neighbourhood"] > 50 * found.stein_gap


def test_the_gap_has_the_constants_of_x7():
    h, gap = 0.05, 1.0
    field = DriftField("conservative", SmoothedDensity(GaussianMixture([1.0], [[0.0]], [1.0]), None), kernels.make("gaussian"), h)
    found = hessians(field, np.zeros((1, 1)), np.array([[-gap / 2], [gap / 2]]))
    # the target N(0, 1) adds -1 to u'' and -2 u'' to the Hessian of T_pi b
    slope = gap**2 / (4 * h**4) - 1 / h**2
    assert abs(found.jacobian.item()) == pytest.approx(slope + 1, rel=1e-12)
    assert abs(found.stein.item()) == pytest.approx(gap**4 / (8 * h**8) + 2 * (slope + 1), rel=1e-12)
    assert abs(found.stein.item()) == pytest.approx(gap**4 / (8 * h**8), rel=1e-4)


@pytest.fixture(scope="module")
def ensemble():
    labels = {"long_name": "x", "units": "1"}
    rng = np.random.default_rng(4)
    clouds = {
        f"cloud_{n}": (("bandwidth", "replicate", "snapshot", f"particle_{n}", "component"), rng.standard_normal((1, 2, 3, n, 2)))
        for n in (8, 20)
    }
    coordinates = {
        "bandwidth": ("bandwidth", np.array([0.5]), labels),
        "n_particles": ("n_particles", np.array([8, 20]), labels),
        "snapshot": ("snapshot", np.array([0.0, 1.0, 2.0]), labels),
    }
    return xr.Dataset(clouds, coordinates, {"experiment": json.dumps(problem()), "seed": 3})


def test_measured_constants_hold_both_sides_of_l44(ensemble):
    found = measure_constants(ensemble, replicates=2, snapshots=2, samples=256)
    assert dict(found.sizes) == {"bandwidth": 1, "n_particles": 2, "replicate": 2, "snapshot": 2, "region": 5}
    for name, variable in found.variables.items():
        assert variable.attrs["long_name"] and variable.attrs["units"], name
    proof, effective = found.sel(region="taylor"), found.sel(region="effective")
    for side in ("stein", "speed"):
        slack = 4 * proof[f"{side}_constant_error"] * 0.5 * 2 * 0.5**2
        assert (found[f"{side}_gap"] <= proof[f"{side}_bound"] + slack).all()
        np.testing.assert_allclose(effective[f"{side}_bound"], found[f"{side}_gap"], rtol=1e-12)
        assert (found[f"{side}_gap"] > 0).all()
    cloud = ensemble["cloud_20"].values[0, 1, 2]
    field = DriftField(
        "conservative", SmoothedDensity(GaussianMixture([1.0], np.zeros((1, 2)), [1.25]), None), kernels.make("gaussian"), 0.5
    )
    here = found.isel(bandwidth=0, n_particles=1, replicate=1, snapshot=1)
    assert here["stein_constant"].sel(region="particles") == pytest.approx(
        operator_norms(hessians(field, cloud, cloud).stein).max(), rel=1e-10
    )
    means, f = observables.particle_means(field, cloud), fisher_discrepancy.fisher(field, cloud)
    assert float(here["stein_gap"]) == pytest.approx(abs(means.stein_drift - f.value), rel=1e-5)
    assert float(here["speed_gap"]) == pytest.approx(abs(f.value - means.squared_speed), rel=1e-5)


def test_subsets_of_the_particles_are_drawn_without_replacement():
    field, cloud = make_field(2), make_cloud(50, 2)
    every, some = (constants(field, cloud, particles=p, samples=64, seed=1) for p in (50, 10))
    assert some.stein[0] <= every.stein[0]
    assert constants(field, cloud, particles=10, samples=64, seed=1).stein[0] == some.stein[0]
