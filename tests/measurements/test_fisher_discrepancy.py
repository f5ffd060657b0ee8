import math

import numpy as np
import pytest
from scipy import integrate
from scipy.spatial import Delaunay

from driftrates import kernels
from driftrates.fields import DriftField, SmoothedDensity, SmoothedPoints
from driftrates.measurements import fisher_discrepancy
from driftrates.measurements.fisher_discrepancy import fisher, hull_membership
from driftrates.measurements.observables import particle_means
from driftrates.targets import GaussianMixture

H = 0.35
evaluate = fisher_discrepancy.evaluate


def mixture(d):
    return GaussianMixture([0.4, 0.6], np.stack([-np.ones(d), np.full(d, 0.8)]), np.array([0.5, 0.8]))


def make_field(d, kernel="gaussian", h=H, data=False, **parameters):
    kernel = kernels.make(kernel, **parameters)
    if data:
        target = SmoothedPoints(np.random.default_rng(5).standard_normal((1, 40, d)), kernel, h)
    else:
        target = SmoothedDensity(mixture(d).smoothed(h) if kernel.name == "gaussian" else mixture(d), None)
    return DriftField("conservative", target, kernel, h)


def make_cloud(n, d, seed=0):
    return 1.3 * np.random.default_rng(seed).standard_normal((n, d))


def integrands(field, cloud, x):
    """p_h times 1, |b|^2, T_pi b, log(p_h / pi) at x (n, d), from the kernel's values and differences of b alone."""
    e = 1e-4 * field.h
    n, d = x.shape

    def b(x):
        return field.at(x[None], cloud[None]).velocity[0]

    p = field.kernel.value(np.linalg.norm(x[:, None] - cloud, axis=-1), field.h, d).mean(1)
    target = field.target.statistic("score", x[None])
    divergence = sum((b(x + e * unit) - b(x - e * unit))[:, k] / (2 * e) for k, unit in enumerate(np.eye(d)))
    speed = (b(x) ** 2).sum(1)
    stein = divergence + (target.value[0] * b(x)).sum(1)
    return p * np.array([np.ones(n), speed, stein, np.log(p) - target.log_density[0]])


@pytest.mark.parametrize("data", [False, True], ids=["mixture", "data"])
@pytest.mark.parametrize(("name", "parameters"), [("gaussian", {}), ("matern52", {}), ("inverse_multiquadric", {"dof": 5.0})])
def test_trapezoid_agrees_with_adaptive_quadrature_on_the_line(name, parameters, data):
    field, cloud = make_field(1, name, data=data, **parameters), make_cloud(7, 1)
    found = fisher(field, cloud)
    marks, far = np.sort(cloud[:, 0]), {"gaussian": [10 * H], "matern52": [10 * H, 50 * H]}.get(name, [2, 10, 100, 1e4])
    edges = np.concatenate([marks[0] - np.flip(far), marks, marks[-1] + far])

    def integral(low, high):
        return integrate.quad_vec(
            lambda x: integrands(field, cloud, np.array([[x]]))[:, 0], low, high, epsabs=1e-9, epsrel=1e-9, limit=400, norm="max"
        )[0]

    pieces = np.array([integral(a, b) for a, b in zip(edges[:-1], edges[1:], strict=True)])
    np.testing.assert_allclose([found.mass, found.value, found.stein, found.kl], pieces.sum(0), rtol=2e-6)
    inside = pieces[len(far) : -len(far), 1].sum()
    assert abs(found.inside - inside) <= 2 * found.split_error + 1e-9
    assert found.inside + found.outside == pytest.approx(found.value, rel=1e-14)
    assert found.error <= 1e-8 * found.value
    assert found.method == "trapezoid"


def test_trapezoid_agrees_with_gauss_legendre_panels_in_the_plane():
    field, cloud = make_field(2), make_cloud(6, 2, 3)
    nodes, weights = np.polynomial.legendre.leggauss(10)
    edges = np.linspace(-7, 7, 71)
    x = (edges[:-1, None] + 0.1 * (1 + nodes)).ravel()
    w = np.tile(0.1 * weights, 70)
    grid = np.stack(np.meshgrid(x, x, indexing="ij"), -1).reshape(-1, 2)
    near = np.linalg.norm(grid[:, None] - cloud, axis=-1).min(1) < 9 * H
    values = integrands(field, cloud, grid[near])
    expected = values @ np.outer(w, w).ravel()[near]
    found = fisher(field, cloud)
    np.testing.assert_allclose([found.mass, found.value, found.stein, found.kl], expected, rtol=1e-6)


@pytest.mark.parametrize("d", [1, 2, 3, 5])
def test_one_particle_has_closed_forms(d):
    m, variance, h = np.full((1, d), 0.7), 1.3, 0.4
    field = DriftField(
        "conservative", SmoothedDensity(GaussianMixture([1.0], np.zeros((1, d)), [variance]), None), kernels.make("gaussian"), h
    )
    expected = (m**2).sum() / variance**2 + d * (1 / h - h / variance) ** 2
    kl = 0.5 * (d * h**2 / variance + (m**2).sum() / variance - d - d * math.log(h**2 / variance))
    rate = -(m**2).sum() / variance**2  # the particle's velocity is the score of pi, and so is the mean of b over p_h
    for method in ("trapezoid", "quasi_monte_carlo") if d < 3 else ("quasi_monte_carlo",):
        found = fisher(field, m, method=method)
        for value, error, exact in (
            (found.value, found.error, expected),
            (found.stein, found.stein_error, expected),
            (found.kl, found.kl_error, kl),
            (found.kl_rate, found.kl_rate_error, rate),
        ):
            assert abs(value - exact) <= 6 * error + 1e-9 * abs(exact)
        assert found.error < 0.003 * expected
        assert found.inside == 0.0
        assert found.outside == found.value


@pytest.mark.parametrize(
    ("d", "n", "kernel"), [(1, 30, "gaussian"), (2, 40, "gaussian"), (3, 5, "gaussian"), (1, 30, "matern72"), (2, 8, "matern72")]
)
def test_both_methods_agree_within_the_standard_error(d, n, kernel):
    field, cloud = make_field(d, kernel, h=0.5), make_cloud(n, d, 2)
    exact = fisher(field, cloud, method="trapezoid", rtol=1e-5)
    sampled = fisher(field, cloud, method="quasi_monte_carlo", points=2**13, seed=4)
    for name, error in (("value", "error"), ("stein", "stein_error"), ("kl", "kl_error"), ("kl_rate", "kl_rate_error")):
        allowed = 5 * getattr(sampled, error) + 2 * getattr(exact, error)
        assert abs(getattr(sampled, name) - getattr(exact, name)) <= allowed, name
        assert getattr(sampled, error) < 0.02 * abs(getattr(exact, name)) + 1e-3, name
    assert abs(sampled.inside - exact.inside) <= 5 * sampled.split_error + 2 * exact.split_error
    assert abs(exact.mass - 1) < 1e-5


@pytest.mark.parametrize("d", [1, 2])
def test_stein_integral_equals_fisher_and_needs_the_right_target(d):
    field, cloud = make_field(d), make_cloud(25, d, 1)
    found = fisher(field, cloud)
    assert found.stein == pytest.approx(found.value, rel=1e-9)
    # control: T of another target
    wrong = mixture(d).smoothed(1.2 * H)

    class Mismatched(SmoothedDensity):
        def statistic(self, name, x, *, divergence=False):
            own, other = super().statistic(name, x, divergence=divergence), wrong.evaluate(x)
            return own._replace(value=other.score)

    broken = DriftField("conservative", Mismatched(field.target.density, None), field.kernel, field.h)
    other = fisher(broken, cloud)
    assert abs(other.stein / other.value - 1) > 1e-3


def test_quasi_monte_carlo_is_seeded_and_its_error_is_honest():
    field, cloud = make_field(2), make_cloud(30, 2)
    exact = fisher(field, cloud).value
    runs = [fisher(field, cloud, method="quasi_monte_carlo", points=512, scramblings=8, seed=s) for s in range(40)]
    z = np.array([(r.value - exact) / r.error for r in runs])
    assert abs(z.mean()) < 0.6
    assert 0.7 < z.std() < 1.7
    assert fisher(field, cloud, method="quasi_monte_carlo", points=512, seed=3) == runs[3]
    assert runs[3].value != runs[4].value


def test_a_gap_is_resolved_where_low_order_gauss_hermite_fails():
    h, gap = 0.1, 0.6
    field, cloud = make_field(1, h=h), np.array([[-gap / 2], [gap / 2]])
    found = fisher(field, cloud)

    def integrand(x):
        return integrands(field, cloud, np.array([[x]]))[1, 0]

    brute = sum(integrate.quad(integrand, a, b, epsrel=1e-11, limit=800)[0] for a, b in ((-1.5, -0.3), (-0.3, 0), (0, 0.3), (0.3, 1.5)))
    assert found.value == pytest.approx(brute, rel=1e-8)
    nodes, weights = np.polynomial.hermite_e.hermegauss(6)
    x = (cloud + h * nodes).ravel()[:, None]
    hermite = np.tile(weights, 2) @ (field.at(x[None], cloud[None]).velocity[0, :, 0] ** 2) / (2 * math.sqrt(2 * math.pi))
    assert abs(hermite / brute - 1) > 0.01


@pytest.mark.parametrize("d", [1, 2])
def test_a_large_cloud_is_integrated_block_by_block(monkeypatch, d):
    field, cloud = make_field(d, h=0.1), make_cloud(60, d)
    whole = fisher(field, cloud, rtol=1e-6)
    monkeypatch.setattr(fisher_discrepancy, "_FEW", 8)
    seen = []
    monkeypatch.setattr(fisher_discrepancy, "evaluate", lambda *args: seen.append(len(args[2])) or evaluate(*args))
    parts = fisher(field, cloud, rtol=1e-6, rate=False)
    assert min(seen) < 30 and len(seen) > 4
    assert math.isnan(parts.kl_rate) and math.isfinite(whole.kl_rate)
    for name in set(whole._fields) - {"kl_rate", "kl_rate_error", "method"}:
        assert getattr(parts, name) == pytest.approx(getattr(whole, name), rel=1e-9, abs=1e-12), name


def test_an_unresolved_lattice_says_so():
    field, cloud = make_field(1, h=0.02), make_cloud(12, 1)
    found = fisher(field, cloud, max_points=1)
    assert found.error > 1e-8 * found.value
    assert abs(found.value - fisher(field, cloud).value) <= found.error


@pytest.mark.parametrize(("d", "kernel"), [(1, "gaussian"), (1, "matern72"), (2, "gaussian"), (2, "matern72"), (3, "gaussian")])
def test_kl_rate_is_the_derivative_of_kl_along_the_flow(d, kernel):
    field, cloud, e = make_field(d, kernel, h=0.6), make_cloud(4, d, 6), 1e-3
    options = {"method": "trapezoid", "rtol": 1e-6 if kernel == "gaussian" else 1e-5}
    found = fisher(field, cloud, **options)
    b = particle_velocity(field, cloud)
    later, earlier = (fisher(field, cloud + s * e * b, **options).kl for s in (1, -1))
    assert found.kl_rate == pytest.approx((later - earlier) / (2 * e), rel=1e-4)
    assert abs(found.kl_rate + particle_means(field, cloud).squared_speed) > 0.01  # control: K_h left out


def particle_velocity(field, cloud):
    return field.at(cloud[None], cloud[None]).velocity[0]


def test_particle_means_are_those_of_the_definition():
    field, cloud = make_field(2), make_cloud(15, 2)
    p, speed, stein, _ = (lambda v: (v[0], v[1] / v[0], v[2] / v[0], v[3]))(integrands(field, cloud, cloud))
    found = particle_means(field, cloud)
    assert found.stein_drift == pytest.approx(stein.mean(), rel=1e-6)
    assert found.squared_speed == pytest.approx(speed.mean(), rel=1e-12)
    assert found.reciprocal_kde == pytest.approx((1 / p).mean(), rel=1e-12)


@pytest.mark.parametrize(("d", "n"), [(2, 60), (3, 40), (5, 30)])
def test_hull_membership_agrees_with_a_triangulation(d, n):
    cloud = make_cloud(n, d)
    x = np.concatenate([make_cloud(2000, d, 9) * 0.7, cloud.mean(0, keepdims=True)])
    expected = Delaunay(cloud).find_simplex(x) >= 0
    np.testing.assert_array_equal(hull_membership(cloud)(x), expected.astype(float))
    assert 0 < expected.sum() < len(x)


def test_hull_of_a_line_counts_its_ends_by_half_and_a_flat_hull_is_empty():
    inside = hull_membership(np.array([[1.0], [-2.0], [0.3]]))
    np.testing.assert_array_equal(inside(np.array([[-2.1], [-2.0], [0.0], [1.0], [1.1]])), [0, 0.5, 1, 0.5, 0])
    assert not hull_membership(np.outer(np.arange(5.0), [1.0, 2.0]))(np.array([[1.0, 2.0]])).any()
    assert not hull_membership(np.eye(3))(np.full((1, 3), 1 / 3)).any()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"cloud": np.zeros(3)}, "cloud must be"),
        ({"cloud": np.full((3, 1), np.nan)}, "cloud must be"),
        ({"method": "hermite"}, "unknown method 'hermite'"),
        ({"points": 100}, "power of two"),
        ({"scramblings": 1}, "at least 2"),
    ],
)
def test_bad_arguments_are_refused(change, message):
    arguments = {"cloud": make_cloud(4, 1)} | change
    with pytest.raises(ValueError, match=message):
        fisher(make_field(1), **arguments)


def test_other_fields_are_refused():
    field = make_field(1)
    for other in (
        DriftField("displacement", field.target, field.kernel, H),
        DriftField("conservative", field.target, field.kernel, H, True),
    ):
        with pytest.raises(ValueError, match="conservative field with the full KDE"):
            fisher(other, make_cloud(4, 1))
        with pytest.raises(ValueError, match="conservative field with the full KDE"):
            particle_means(other, make_cloud(4, 1))


def test_the_reach_covers_the_kernel():
    assert 9 < fisher_discrepancy.kernel_reach(kernels.make("gaussian"), 2) < 12
    assert 45 < fisher_discrepancy.kernel_reach(kernels.make("laplace"), 1) < 70
    assert fisher_discrepancy.kernel_reach(kernels.make("inverse_multiquadric"), 1) == math.inf
