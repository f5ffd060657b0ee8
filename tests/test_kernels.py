"""Every registered kernel against quadratures and derivatives that do not use its closed forms."""

import math

import mpmath
import numpy as np
import pytest
from scipy import integrate, special

from driftrates import expressions, kernels
from driftrates.kernels import Kernel

DIMENSIONS = (1, 2, 3, 5)
VARIANTS = {"inverse_multiquadric": [{}, {"dof": 7.5}], "smoothed_laplace": [{}, {"eps": 0.02}, {"eps": 1.5}]}
ALL = [kernels.make(name, **parameters) for name in kernels.names() for parameters in VARIANTS.get(name, [{}])]
each_kernel = pytest.mark.parametrize("kernel", ALL, ids=str)
each_dimension = pytest.mark.parametrize("d", DIMENSIONS)


def _matern(nu):
    return lambda s, d, p: 2 ** (1 - nu) / mpmath.gamma(nu) * s**nu * mpmath.besselk(nu, s)


PROFILES = {
    "gaussian": lambda s, d, p: mpmath.exp(-s * s / 2),
    "laplace": lambda s, d, p: mpmath.exp(-s),
    "matern32": _matern(mpmath.mpf(3) / 2),
    "matern52": _matern(mpmath.mpf(5) / 2),
    "matern72": _matern(mpmath.mpf(7) / 2),
    "inverse_multiquadric": lambda s, d, p: (1 + s * s) ** (-(d + p["dof"]) / 2),
    "smoothed_laplace": lambda s, d, p: mpmath.exp(-mpmath.sqrt(s * s + mpmath.mpf(p["eps"]) ** 2)),
}


def _exact_rung(kernel, n, s, d):
    """Rung n by the kernel's own text in the arithmetic of mpmath."""
    s = mpmath.mpf(s)
    names = {"s": s, "s2": s * s, "rs": 1 / s, "d": mpmath.mpf(d), **kernel.parameters}
    return expressions.evaluate(kernel.prefactor(n), names, mpmath) * mpmath.exp(-expressions.evaluate(kernel.exponent, names, mpmath))


def _radial_integral(g, d):
    """Integral of g(|z|) over R^d; s = u / (1 - u) makes algebraic tails polynomial."""
    area = 2 * math.pi ** (d / 2) / math.gamma(d / 2)
    return (
        area
        * integrate.quad(lambda u: g(u / (1 - u)) * (u / (1 - u)) ** (d - 1) / (1 - u) ** 2, 0, 1, epsabs=0, epsrel=1e-12, limit=300)[0]
    )


@each_kernel
@each_dimension
def test_profile_is_the_named_function(kernel, d):
    if kernel.name not in PROFILES:
        pytest.skip("no formula of its own in this file")
    for s in (0.03, 0.4, 1.0, 3.7, 20.0):
        np.testing.assert_allclose(
            float(kernel.rung(np.array(s), d)), float(PROFILES[kernel.name](mpmath.mpf(s), d, kernel.parameters)), rtol=1e-13
        )


@each_kernel
@each_dimension
def test_normalisation_and_second_moment(kernel, d):
    mass, s = kernel.normaliser(d), np.array([0.3, 2.0])
    np.testing.assert_allclose(kernel.value(s, 1.0, d), kernel.rung(s, d) / mass, rtol=1e-14)

    def value(s):
        return float(kernel.rung(np.asarray(s), d)) / mass

    assert _radial_integral(value, d) == pytest.approx(1, rel=1e-10)
    m2 = _radial_integral(lambda s: s * s * value(s), d)
    assert kernel.second_moment(d) == pytest.approx(m2, rel=1e-9)
    assert kernel.companion_mass(d) == pytest.approx(
        _radial_integral(lambda s: float(kernel.rung(np.asarray(s), d, -1)), d) / mass, rel=1e-9
    )


@each_kernel
@each_dimension
def test_quadratures_of_the_base_class_give_the_closed_forms(kernel, d):
    assert Kernel.normaliser(kernel, d) == pytest.approx(kernel.normaliser(d), rel=1e-10)
    assert Kernel.second_moment(kernel, d) == pytest.approx(kernel.second_moment(d), rel=1e-8)
    k = np.array([[0.0, 0.3], [1.0, 4.0]])
    np.testing.assert_allclose(Kernel.fourier(kernel, k, d), kernel.fourier(k, d), rtol=1e-8, atol=1e-10)


def _fourier_by_mixture(kernel, k, d):
    """Transform of K along one axis of R^d, as the cosine transform of K's one-dimensional marginal.

    The marginal over the d - 1 other axes is a radial integral; neither step uses Bessel functions.
    """
    nodes, weights = special.roots_legendre(16)

    def composite(edges):
        half = np.diff(edges)[:, None] / 2
        return (edges[:-1, None] + half * (1 + nodes)).ravel(), (half * weights).ravel()

    x, wx = composite(np.concatenate([np.geomspace(1e-3, 8, 25)[:-1], np.arange(8, 120, 1.5)]))
    x0, w0 = composite(np.array([0, 1e-3]))
    x, wx = np.concatenate([x0, x]), np.concatenate([w0, wx])
    if d == 1:
        marginal = kernel.rung(x, d)
    else:
        rho, wrho = composite(np.concatenate([[0], np.geomspace(1e-3, 1e4, 60)]))
        area = 2 * math.pi ** ((d - 1) / 2) / math.gamma((d - 1) / 2)
        marginal = area * kernel.rung(np.hypot(x[:, None], rho), d) @ (wrho * rho ** (d - 2))
    return 2 * (wx * marginal) @ np.cos(np.outer(x, k)) / kernel.normaliser(d)


@each_kernel
@each_dimension
def test_fourier_transform(kernel, d):
    k = np.array([0.05, 0.5, 1.0, 2.5, 6.0])
    np.testing.assert_allclose(kernel.fourier(k, d), _fourier_by_mixture(kernel, k, d), rtol=1e-6, atol=2e-7)
    assert float(np.asarray(kernel.fourier(np.array([0.0]), d))[0]) == pytest.approx(1, abs=1e-10)
    # curvature at k = 0 is -m2 / d
    assert 2 * (1 - float(np.asarray(kernel.fourier(np.array([1e-3]), d))[0])) / 1e-6 == pytest.approx(
        kernel.second_moment(d) / d, rel=3e-3
    )


@each_kernel
@pytest.mark.parametrize("n", range(5))
def test_ladder_is_the_repeated_derivative(kernel, n):
    """f_n = (-d/dt)^n f in t = s^2/2, since (1/s) d/ds = d/dt."""
    for d in (2, 5):
        for s in (0.1, 0.9, 2.5, 8.0):
            with mpmath.workdps(40):
                t = mpmath.mpf(s) ** 2 / 2
                exact = (-1) ** n * mpmath.diff(
                    lambda u, d=d: _exact_rung(kernel, 0, mpmath.sqrt(2 * u), d), t, n, h=t * mpmath.mpf("1e-7")
                )
            np.testing.assert_allclose(float(kernel.rung(np.array(s), d, n)), float(exact), rtol=1e-10)


@each_kernel
def test_companion_is_the_tail_integral_and_its_gradient_is_minus_z_k(kernel):
    for d in (1, 3):
        for s in (0.05, 1.3, 6.0):
            with mpmath.workdps(30):
                # in t = u^2/2 the companion is the integral of f from s^2/2; e^v covers its tail
                tail = mpmath.quad(lambda u, d=d: u * _exact_rung(kernel, 0, u, d), [s, s + 1, s + 4, s + 20, s + 200, mpmath.inf])
                slope = mpmath.diff(lambda u, d=d: _exact_rung(kernel, -1, u, d), mpmath.mpf(s))
            np.testing.assert_allclose(float(kernel.rung(np.array(s), d, -1)), float(tail), rtol=1e-10)
            np.testing.assert_allclose(float(slope), -s * float(kernel.rung(np.array(s), d)), rtol=1e-10)


@each_kernel
@each_dimension
def test_laplacian_at_zero(kernel, d):
    if kernel.smoothness < 2:
        assert kernel.laplacian_at_zero(d) == -math.inf
        return
    with mpmath.workdps(50):
        e = mpmath.mpf(10) ** -12
        second = 2 * (_exact_rung(kernel, 0, e, d) - _exact_rung(kernel, 0, e * mpmath.mpf(10) ** -12, d)) / e**2
    assert kernel.laplacian_at_zero(d) == pytest.approx(float(d * second) / kernel.normaliser(d), rel=1e-10)


@each_kernel
def test_declared_smoothness_is_where_the_ladder_stops_being_finite_at_zero(kernel):
    """K has 2 n continuous derivatives at 0 if and only if f_n(0) is finite: odd powers of s come from a pole."""
    for n in range(5):
        near = [abs(_exact_rung(kernel, n, mpmath.mpf(10) ** -k, 2)) for k in (20, 21)]
        finite = bool(near[1] < 5 * near[0] + 1e-30)
        assert finite == (2 * n <= kernel.smoothness), n


@each_kernel
@each_dimension
def test_lower_bound(kernel, d):
    for r0 in (0.5, 1.0, 2.0):
        k0 = kernel.lower_bound(r0, d)
        inside = kernel.value(np.linspace(0, r0, 101), 1.0, d)
        assert (inside >= k0 * (1 - 1e-14)).all() and float(kernel.value(np.array(r0 * 1.01), 1.0, d)) < k0


@each_kernel
@each_dimension
def test_bandwidth_scales_value_and_keeps_the_mass(kernel, d):
    r = np.array([0.0, 0.2, 1.5])
    np.testing.assert_allclose(kernel.value(r, 0.25, d), kernel.value(r / 0.25, 1.0, d) * 4.0**d, rtol=1e-14)


@each_kernel
def test_log_decay_bounds_the_exponential_and_stays_finite_far_away(kernel):
    s = np.array([0.0, 1e-3, 1.0, 30.0, 1e3, 1e6])
    decay = kernel.log_decay(s, 3)
    assert np.isfinite(decay).all() and (np.diff(decay) <= 0).all() and decay[-1] < decay[0]
    for si, got in zip(s[1:], decay[1:], strict=True):
        exact = mpmath.log(_exact_rung(kernel, 0, si, 3)) - mpmath.log(
            expressions.evaluate(kernel.prefactor(0), {"s": si, "s2": si * si, "rs": 1 / si, "d": 3.0, **kernel.parameters}, mpmath)
        )
        np.testing.assert_allclose(got, float(exact), rtol=1e-13, atol=1e-15)


def test_table_of_the_specification():
    """Rows of section 2: Laplacian at 0, m2, Fourier transform, k0 at r0, each as printed there."""
    k, r0 = np.array([0.0, 0.7, 3.0]), 0.8
    for d in DIMENSIONS:
        omega = math.pi ** (d / 2) / math.gamma(d / 2 + 1)
        c = 1 / (math.factorial(d) * omega)
        for kernel, at, laplacian, m2, fourier in (
            (
                kernels.Gaussian(),
                lambda r, d=d: (2 * math.pi) ** (-d / 2) * math.exp(-r * r / 2),
                -d * (2 * math.pi) ** (-d / 2),
                d,
                np.exp(-(k**2) / 2),
            ),
            (kernels.Laplace(), lambda r, c=c, d=d: c * math.exp(-r), -math.inf, d * (d + 1), (1 + k**2) ** (-(d + 1) / 2)),
            (
                kernels.Matern32(),
                lambda r, c=c, d=d: c * (1 + r) * math.exp(-r) / (d + 1),
                -c * d / (d + 1),
                d * (d + 3),
                (1 + k**2) ** (-(d + 3) / 2),
            ),
        ):
            np.testing.assert_allclose(kernel.value(np.array([0.0, 0.3, 5.0]), 1.0, d), [at(r) for r in (0.0, 0.3, 5.0)], rtol=1e-13)
            assert kernel.laplacian_at_zero(d) == pytest.approx(laplacian, rel=1e-13)
            assert kernel.second_moment(d) == pytest.approx(m2, rel=1e-14)
            assert kernel.lower_bound(r0, d) == pytest.approx(at(r0), rel=1e-13)
            np.testing.assert_allclose(kernel.fourier(k, d), fourier, rtol=1e-13)
        # companions: Gaussian K# = K, Laplace K# = (r + 1) K with mass d + 1
        s = np.array([0.0, 0.4, 3.0])
        np.testing.assert_allclose(kernels.Gaussian().rung(s, d, -1), kernels.Gaussian().rung(s, d), rtol=1e-15)
        np.testing.assert_allclose(kernels.Laplace().rung(s, d, -1), (s + 1) * kernels.Laplace().rung(s, d), rtol=1e-15)
        assert kernels.Laplace().companion_mass(d) == d + 1


def test_a_kernel_defined_by_the_user_is_registered_and_right(bumped):
    assert kernels.names()[-1] == "bumped"
    kernel = kernels.make("bumped", a=0.4)
    assert kernel.parameters == {"a": 0.4} and kernel == bumped(0.4) and hash(kernel) == hash(bumped(0.4))
    k = np.array([0.0, 1.0, 3.0])
    for d in DIMENSIONS:
        mass = 1 + 0.4 * d
        assert kernel.normaliser(d) == pytest.approx((2 * math.pi) ** (d / 2) * mass, rel=1e-12)
        assert kernel.second_moment(d) == pytest.approx((d + 0.4 * d * (d + 2)) / mass, rel=1e-12)
        assert kernel.companion_mass(d) == pytest.approx((1 + 2 * 0.4 + 0.4 * d) / mass, rel=1e-12)
        assert kernel.laplacian_at_zero(d) == pytest.approx(-d * (1 - 0.8) / kernel.normaliser(d), rel=1e-12)
        assert kernel.lower_bound(1.0, d) == pytest.approx(1.4 * math.exp(-0.5) / kernel.normaliser(d), rel=1e-12)
        np.testing.assert_allclose(kernel.fourier(k, d), np.exp(-(k**2) / 2) * (1 + 0.4 * (d - k**2)) / mass, atol=1e-10)
        assert kernel.fourier(k.reshape(3, 1), d).shape == (3, 1)
    with pytest.raises(ValueError, match=r"'bumped' defines the rungs -1\.\.2 of its ladder, not 3"):
        kernel.prefactor(3)


def test_a_divergent_second_moment_is_infinite(private_registry):
    class Cauchy(Kernel):
        name = "cauchy"
        exponent = "0.5*(d + 1)*log(1 + s2)"
        prefactors = ("0", "1")

    assert kernels.make("cauchy").normaliser(2) == pytest.approx(2 * math.pi, rel=1e-9)
    assert kernels.make("cauchy").second_moment(2) == math.inf


def test_two_kernels_of_one_name_are_refused(private_registry):
    with pytest.raises(ValueError, match="a kernel named 'gaussian' exists already"):

        class Other(Kernel):
            name = "gaussian"
            exponent = "s"
            prefactors = ("1", "1")

    assert kernels.make("gaussian") == kernels.Gaussian()


@pytest.mark.parametrize(
    ("name", "parameters", "message"),
    [
        ("gausian", {}, "unknown kernel 'gausian'; known: gaussian, laplace"),
        ("gaussian", {"eps": 1.0}, "kernel 'gaussian' has no parameter 'eps'; allowed: none"),
        ("smoothed_laplace", {"width": 1.0}, "no parameter 'width'; allowed: eps"),
        ("smoothed_laplace", {"eps": 0.0}, "eps > 0"),
        ("smoothed_laplace", {"eps": math.nan}, "eps > 0"),
        ("inverse_multiquadric", {"dof": 2.0}, "2 < dof <= 80"),
        ("inverse_multiquadric", {"dof": 81.0}, "2 < dof <= 80"),
    ],
)
def test_bad_kernels_are_refused(name, parameters, message):
    with pytest.raises(ValueError, match=message):
        kernels.make(name, **parameters)


def test_extreme_parameters_stay_finite():
    for d in DIMENSIONS:
        for kernel in (
            kernels.make("inverse_multiquadric", dof=80.0),
            kernels.make("smoothed_laplace", eps=1e-6),
            kernels.make("smoothed_laplace", eps=100.0),
        ):
            values = [
                kernel.normaliser(d),
                kernel.second_moment(d),
                kernel.laplacian_at_zero(d),
                *kernel.fourier(np.array([0.0, 1e-3, 1.0]), d),
            ]
            assert np.isfinite(values).all() and values[0] > 0 and values[3] == pytest.approx(1, abs=1e-9), kernel


@pytest.mark.parametrize("n", [-2, 5])
@each_kernel
def test_rungs_outside_the_ladder_are_refused(kernel, n):
    with pytest.raises(ValueError, match=f"rungs -1..4 of its ladder, not {n}"):
        kernel.prefactor(n)
