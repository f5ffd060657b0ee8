"""delta on the line: its quadrature, its curvature and its minima, against adaptive quadrature and finite differences."""

import numpy as np
import pytest
from scipy import integrate

from driftrates.kernels import Gaussian, Laplace
from driftrates.laplace import uniqueness

H = 0.5
DATA = np.array([-1.1, -0.2, 0.9])


def delta_by_quadrature(cloud, data):
    """int q# |r|^2 with every factor written out."""

    def parts(x, y):
        w = np.exp(-np.abs(y - x) / H)
        rho = (w * np.abs(y - x)).sum() / w.sum()
        return H**2 + H * rho, (w * (y - x)).sum() / w.sum()

    def integrand(x):
        (a_p, m_p), (a_q, _) = parts(x, data), parts(x, cloud)
        s = np.abs(cloud - x)
        density = (H * (H + s) * np.exp(-s / H) / (2 * H)).mean() / (2 * H**2)
        return density * ((a_p - a_q) * m_p / a_p) ** 2

    edges = np.sort(np.concatenate([cloud, data, [-25.0, 25.0]]))
    return sum(integrate.quad(integrand, a, b, epsabs=0, epsrel=1e-11)[0] for a, b in zip(edges[:-1], edges[1:], strict=True))


@pytest.mark.parametrize("cloud", [[-1.0, 0.0, 1.2], [0.4], [-2.0, -1.1, 0.3, 0.3, 1.0]])
def test_delta_is_the_integral(cloud):
    found = uniqueness.residual_mass(np.array([cloud]), DATA, Laplace(), H)
    assert found[0] == pytest.approx(delta_by_quadrature(np.array(cloud), DATA), rel=1e-8)


def test_delta_vanishes_at_the_data_and_for_the_gaussian_kernel():
    clouds = np.array([DATA[[2, 0, 1]], DATA + 0.3])
    same, moved = uniqueness.residual_mass(clouds, DATA, Laplace(), H)
    assert same < 1e-28 and moved > 1e-4
    assert (uniqueness.residual_mass(clouds, DATA, Gaussian(), H) < 1e-28).all()
    assert uniqueness.residual_mass(np.repeat(DATA, 2)[None], DATA, Laplace(), H)[0] < 1e-28


def test_curvature_is_the_hessian_of_delta():
    e, n = 1e-4, len(DATA)
    pairs = [(i, j) for i in range(n) for j in range(n)]
    signs = [(1, 1), (1, -1), (-1, 1), (-1, -1)]
    clouds = [DATA + e * (a * np.eye(n)[i] + b * np.eye(n)[j]) for i, j in pairs for a, b in signs]
    values = uniqueness.residual_mass(np.array(clouds), DATA, Laplace(), H).reshape(n, n, 4)
    expected = (values @ [1, -1, -1, 1]) / (4 * e**2)
    found = uniqueness.curvature(DATA, H)
    np.testing.assert_allclose(found, expected, rtol=0, atol=2e-3 * np.abs(found).max())
    assert np.linalg.eigvalsh(found)[0] > 1e-4
    doubled = np.linalg.eigvalsh(uniqueness.curvature(np.repeat(DATA, 2), H))
    assert (np.abs(doubled[:3]) < 1e-15).all() and doubled[3] > 1e-5


def test_minimisation_finds_the_data_or_stays_above_zero():
    reached = uniqueness.minimise(DATA[[1, 2, 0]] + 0.05, DATA, Laplace(), H)
    assert reached.delta < uniqueness.ZERO * H**2
    np.testing.assert_allclose(np.sort(reached.cloud), DATA, atol=1e-7)
    path = uniqueness.residual_mass(reached.path, DATA, Laplace(), H)
    assert path[-1] == pytest.approx(reached.delta, abs=1e-20) and (np.diff(path) <= 1e-25).all()
    fewer = uniqueness.minimise(np.array([-1.0, 1.0]), DATA, Laplace(), H)
    slope = [uniqueness.residual_mass((fewer.cloud + e * np.eye(2)), DATA, Laplace(), H) for e in (1e-4, -1e-4)]
    assert fewer.delta > 1e-6 and (np.minimum(*slope) >= fewer.delta).all()


def test_variables_of_the_study():
    found = uniqueness.measure_uniqueness(seed=3, h=H, starts=1)
    minimum, reached, near = (found[name][1] for name in ("minimum", "minimum_distance", "near_delta"))
    for c, (n, m) in enumerate(uniqueness.CASES):
        assert (minimum[c, 0] <= uniqueness.ZERO * H**2) == (n % m == 0)
        assert (reached[c, 0] < 1e-4 * H) == (n % m == 0)
        assert np.isfinite(near[c]).all() == (n == m)
        assert np.isfinite(found["curvature"][1][c]) == (n % m == 0)
    equal = [c for c, (n, m) in enumerate(uniqueness.CASES) if n == m]
    quadratic = found["curvature"][1][equal, None] * found["near_distance"][1] ** 2 / 2
    np.testing.assert_allclose(near[equal][:, :2, 0], quadratic[:, :2], rtol=0.2)
