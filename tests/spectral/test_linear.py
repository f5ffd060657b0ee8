"""Linear decay rates against quadratures, differences and formulas that use no Fourier transform of the kernel."""

import mpmath
import numpy as np
import pytest
from scipy import integrate, special

from driftrates import kernels
from driftrates.kernels import Kernel
from driftrates.spectral import linear

KAPPA = np.array([0.3, 1.0, 2.5, 6.0])


@pytest.mark.parametrize("name", kernels.names())
@pytest.mark.parametrize("d", [1, 2, 3])
def test_the_damping_is_minus_kappa_times_the_slope_of_the_transform(name, d):
    kernel = kernels.make(name)
    step = 1e-4 * KAPPA
    difference = -KAPPA * (kernel.fourier(KAPPA + step, d) - kernel.fourier(KAPPA - step, d)) / (2 * step)
    np.testing.assert_allclose(linear.damping(kernel, KAPPA, d), difference, rtol=1e-4)
    assert linear.damping(kernel, np.zeros(1), d)[0] == pytest.approx(0.0, abs=1e-11)


@pytest.mark.parametrize("kernel", [kernels.make("matern52"), kernels.make("smoothed_laplace"), linear.Triangle()])
def test_a_kernel_without_a_closed_form_has_its_damping_from_differences(kernel):
    generic = linear.damping.dispatch(Kernel)(kernel, np.append(KAPPA, 0.0), 1)
    np.testing.assert_allclose(generic[:-1], linear.damping(kernel, KAPPA, 1), rtol=1e-8)
    assert generic[-1] == 0.0


@pytest.mark.parametrize("field", ["displacement", "conservative", "sharp"])
@pytest.mark.parametrize("name", kernels.names())
@pytest.mark.parametrize("d", [1, 2, 3])
def test_rates_agree_with_the_quadrature_of_a_plane_wave(name, d, field):
    kernel, h, k = kernels.make(name), 0.5, np.array([0.7, 2.0, 8.0])
    np.testing.assert_allclose(linear.quadrature_rate(kernel, k, h, d, field), linear.rate(kernel, k, h, d, field), rtol=1e-8)


@pytest.mark.parametrize("name", ["gaussian", "laplace", "matern32"])
def test_the_displacement_rate_on_the_line_by_direct_integration(name):
    kernel, h, k = kernels.make(name), 0.7, 2.3
    # d/dt of the coefficient: -k int K_h(z) z sin(k z) dz, the field of a cosine seen at the quarter wave.
    value = 2 * integrate.quad(lambda z: z * np.sin(k * z) * float(kernel.value(np.asarray(z), h, 1)), 0, 40 * h, limit=400)[0]
    assert linear.rate(kernel, k, h) == pytest.approx(k * value, rel=1e-9)


def test_the_rate_in_the_plane_by_integration_over_the_plane():
    kernel, h, k = kernels.make("gaussian"), 0.8, 1.7
    z = np.linspace(-8, 8, 401)
    x, y = np.meshgrid(z, z)
    field = (kernel.value(np.hypot(x, y), h, 2) * x * np.sin(k * x)).sum() * (z[1] - z[0]) ** 2
    assert linear.rate(kernel, k, h, 2) == pytest.approx(k * field, rel=1e-10)


def test_closed_forms():
    h, k = 0.4, np.array([1.0, 3.0, 9.0])
    s = (h * k) ** 2
    for d in (1, 2, 3, 5):
        np.testing.assert_allclose(linear.rate(kernels.make("gaussian"), k, h, d), s * np.exp(-s / 2))
        laplace = kernels.make("laplace")
        displacement = (d + 1) * s * (1 + s) ** (-(d + 3) / 2)
        np.testing.assert_allclose(linear.rate(laplace, k, h, d), displacement)
        np.testing.assert_allclose(linear.rate(laplace, k, h, d, "conservative"), k**2 * (1 + s) ** (-(d + 1) / 2))
        np.testing.assert_allclose(linear.rate(laplace, k, h, d, "sharp"), displacement / ((d + 1) * h**2))
    assert linear.rate(kernels.make("laplace"), 1e6, h, 1, "conservative") == pytest.approx(1 / h**2)


def test_the_rate_of_the_inverse_multiquadric_against_mpmath():
    kernel, kappa = kernels.make("inverse_multiquadric"), 3.0
    mu = mpmath.mpf(kernel.dof) / 2

    def transform(k):
        return 2 / mpmath.gamma(mu) * (k / 2) ** mu * mpmath.besselk(mu, k)

    assert linear.rate(kernel, kappa, 1.0) == pytest.approx(float(-kappa * mpmath.diff(transform, kappa)), rel=1e-12)


def test_blind_kernels_have_the_transform_and_the_companion_that_they_claim():
    triangle, k = linear.Triangle(), np.array([0.5, 2.0, 9.0])
    direct = [2 * integrate.quad(lambda z, q=q: (1 - z) * np.cos(q * z), 0, 1)[0] for q in k]
    np.testing.assert_allclose(triangle.fourier(k, 1), direct, rtol=1e-10)
    np.testing.assert_allclose(linear.damping(triangle, np.array([2 * np.pi, 4 * np.pi]), 1), 0.0, atol=1e-15)
    assert triangle.second_moment(1) == pytest.approx(2 * integrate.quad(lambda z: z * z * (1 - z), 0, 1)[0])
    s = np.array([0.0, 0.3, 0.8, 1.5])
    companion = [integrate.quad(lambda u: u * (1 - u), v, 1)[0] if v < 1 else 0.0 for v in s]
    np.testing.assert_allclose(triangle.rung(s, 1, -1), companion, atol=1e-15)
    fejer = linear.Fejer()
    # int_0^inf (1 - cos s) / s^2 cos(k s) ds = pi (1 - k) / 2 for k < 1.
    np.testing.assert_allclose(linear.Rung(fejer, 0).rung(s, 1), 0.5 * special.spherical_jn(0, s / 2) ** 2)
    z = np.linspace(0, 4000, 4_000_001)
    assert 2 * integrate.simpson(fejer.rung(z, 1) * np.cos(0.4 * z), x=z) / np.pi == pytest.approx(fejer.fourier(0.4, 1), abs=1e-3)
    assert linear.damping(fejer, np.array([0.4, 2.0]), 1).tolist() == [0.4, 0.0]
    with pytest.raises(ValueError, match="no companion"):
        fejer.rung(s, 1, -1)


def test_the_largest_rate_about_a_gaussian_target_stands_next_to_its_place():
    n = np.arange(1, 60)
    for h in (0.2, 0.5, 0.9):
        rates = linear.gaussian_target_rates(n, h, 1.0)
        assert abs(n[rates.argmax()] - 1 / np.log1p(h**2)) < 1
    np.testing.assert_allclose(linear.gaussian_target_rates(n, 1.0, 2.0), n * 0.25 * 1.25**-n)


def test_an_unknown_field_is_refused():
    with pytest.raises(ValueError, match="unknown field 'drift'; known: conservative"):
        linear.rate(kernels.make("gaussian"), 1.0, 0.5, 1, "drift")
