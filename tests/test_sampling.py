import math

import numpy as np
import pytest
from scipy import integrate, stats

from driftrates import kernels
from driftrates.sampling import kernel_noise, sample_smoothed


@pytest.mark.parametrize("d", [1, 3])
@pytest.mark.parametrize(("name", "parameters"), [("laplace", {}), ("matern52", {}), ("inverse_multiquadric", {"dof": 6.0})])
def test_kernel_noise_has_the_kernels_radial_distribution(name, parameters, d):
    kernel = kernels.make(name, **parameters)
    z = kernel_noise(kernel, np.random.default_rng(0).standard_normal((20_000, d)))
    s = np.geomspace(1e-6, 1e5, 40_001)
    density = s**d * kernel.rung(s, d)
    cdf = integrate.cumulative_trapezoid(density, np.log(s), initial=0.0)
    radius = np.linalg.norm(z, axis=1)
    assert stats.kstest(radius, lambda r: np.interp(r, s, cdf / cdf[-1])).pvalue > 1e-3
    assert stats.kstest(radius, lambda r: np.interp(r / 1.05, s, cdf / cdf[-1])).pvalue < 1e-3
    assert (radius**2).mean() == pytest.approx(kernel.second_moment(d), rel=0.1)
    assert np.abs(z.mean(0)).max() < 0.05 * math.sqrt(kernel.second_moment(d))


def test_quantiles_of_the_kernels_radius_are_exact():
    kernel = kernels.make("inverse_multiquadric", dof=3.0)
    g = np.array([[1e-3], [0.1], [1.0], [3.0], [5.5]])
    z = kernel_noise(kernel, g)[:, 0]
    student = stats.t(3)
    np.testing.assert_allclose(student.sf(z * math.sqrt(3)), stats.norm.sf(g[:, 0]), rtol=1e-6)
    np.testing.assert_array_equal(kernel_noise(kernels.make("gaussian"), g), g)


def test_samples_visit_every_particle_equally():
    index, z = sample_smoothed(
        kernels.make("gaussian"), 0.35, np.random.default_rng(1).standard_normal((16, 2)), 256, np.random.default_rng(0)
    )
    np.testing.assert_array_equal(np.bincount(index), np.full(16, 16))
    assert z.shape == (256, 2)
    assert abs(z.std() - 1) < 0.05
