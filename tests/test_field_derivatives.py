"""Divergence and curl of the velocity fields against differences, and the identities that name their parts."""

import numpy as np
import pytest

from driftrates import kernels
from driftrates.fields import STATISTICS, DriftField, SmoothedPoints
from fieldclouds import ALL, FIELDS, KERNELS, SMOOTH, H, cloud, fields_of, has_divergence


def slopes(function, points, e=1e-3):
    """d velocity_b / d point_a, (R, n, d (a), d (b)), by central differences of sixth order."""
    columns = []
    for k in np.eye(points.shape[2]):
        at = {c: function(points + c * e * k) for c in (-3, -2, -1, 1, 2, 3)}
        columns.append((45 * (at[1] - at[-1]) - 9 * (at[2] - at[-2]) + (at[3] - at[-3])) / (60 * e))
    return np.stack(columns, axis=2)


@pytest.mark.parametrize("name", SMOOTH)
def test_the_conservative_field_is_the_gradient_of_the_log_ratio(name):
    """And its value does not depend on whether the divergence is asked for as well."""
    kernel, x, points, e = kernels.make(name), cloud(1, 1, 6, 2), cloud(2, 1, 4, 2), 1e-5
    field = DriftField("conservative", SmoothedPoints(cloud(3, 1, 8, 2), kernel, H), kernel, H)

    def potential(at):
        value = field.at(at, x)
        return value.target.log_density - value.model.log_density

    slope = np.stack([(potential(points + e * k) - potential(points - e * k)) / (2 * e) for k in np.eye(2)], axis=-1)
    value = field.at(points, x, divergence=True)
    np.testing.assert_allclose(value.velocity, slope, atol=1e-8)
    np.testing.assert_allclose(field.at(points, x).velocity, value.velocity, rtol=1e-12, atol=1e-13)


def assert_refused(kernel, name, leave_one_out, method, *clouds):
    """There is no divergence, and it says why."""
    for field in fields_of(kernel, 1, name, leave_one_out):
        with pytest.raises(ValueError, match=f"kernel '{kernel.name}' has no Laplacian at its kink"):
            getattr(field, method)(*clouds, divergence=True)


@pytest.mark.parametrize(("name", "leave_one_out"), FIELDS)
@pytest.mark.parametrize("kernel", ALL, ids=KERNELS)
def test_divergence_of_the_frozen_field(kernel, name, leave_one_out):
    if not has_divergence(kernel, name):
        assert_refused(kernel, name, leave_one_out, "at", cloud(31, 2, 4, 1), cloud(11, 2, 6, 1))
        return
    for d in (1, 2):
        x, points = cloud(10 + d, 2, 6, d), cloud(30 + d, 2, 4, d)
        for field in fields_of(kernel, d, name, leave_one_out):
            gaps = np.linalg.norm(
                points[:, :, None] - np.concatenate([x, np.broadcast_to(cloud(d, 1, 9, d), (2, 9, d))], 1)[:, None], axis=-1
            )
            assert gaps.min() > 0.01
            value = field.at(points, x, divergence=True)
            jacobian = slopes(lambda p, f=field, x=x: f.at(p, x).velocity, points)
            np.testing.assert_allclose(value.divergence, np.trace(jacobian, axis1=2, axis2=3), rtol=2e-7, atol=2e-7)
            np.testing.assert_array_equal(value.total_divergence, value.divergence)


@pytest.mark.parametrize(("name", "leave_one_out"), FIELDS)
@pytest.mark.parametrize("kernel", ALL, ids=KERNELS)
def test_total_divergence_moves_the_particle_and_its_atom(kernel, name, leave_one_out):
    """div_{x_i} of particle i's velocity as a function of the whole cloud; the perturbed clouds are replicates."""
    if not has_divergence(kernel, name):
        assert_refused(kernel, name, leave_one_out, "at_particles", cloud(11, 1, 5, 1))
        return
    e, weights = 2e-3, {-3: -1, -2: 9, -1: -45, 1: 45, 2: -9, 3: 1}
    for d in (1, 2):
        n = 5
        x = cloud(10 + d, 1, n, d)
        for field in fields_of(kernel, d, name, leave_one_out):
            value = field.at_particles(x, divergence=True)
            expected = np.zeros(n)
            for i in range(n):
                for k in range(d):
                    moved = np.repeat(x, 6, axis=0)
                    moved[:, i, k] += e * np.array(list(weights))
                    expected[i] += field.at_particles(moved).velocity[:, i, k] @ np.array(list(weights.values())) / (60 * e)
            np.testing.assert_allclose(value.total_divergence[0], expected, rtol=1e-7, atol=1e-7)
            assert (value.total_divergence == value.divergence).all() == leave_one_out


@pytest.mark.parametrize("name", SMOOTH)
def test_own_atom_of_the_conservative_field_is_the_term_of_t31(name):
    """div_{x_i} b(x_i; X) = (div b)(x_i) + Laplacian K_h(0) / (N p_h(x_i)), with the density from the double loop."""
    kernel, d, x = kernels.make(name), 2, cloud(4, 1, 6, 2)
    field = DriftField("conservative", SmoothedPoints(cloud(5, 1, 7, d), kernel, H), kernel, H)
    value = field.at_particles(x, divergence=True)
    distance = np.linalg.norm(x[0, :, None] - x[0], axis=-1)
    density = kernel.value(distance, H, d).mean(1)
    expected = kernel.laplacian_at_zero(d) / H ** (d + 2) / (6 * density)
    np.testing.assert_allclose((value.total_divergence - value.divergence)[0], expected, rtol=1e-10)
    np.testing.assert_allclose(np.exp(value.model.log_density[0]), density, rtol=1e-12)


@pytest.mark.parametrize("kernel", ALL, ids=KERNELS)
def test_curl_is_the_antisymmetric_part_of_the_jacobian(kernel):
    x, points = cloud(12, 2, 6, 2), cloud(22, 2, 5, 2)
    for name in STATISTICS:
        for field in fields_of(kernel, 2, name, False):
            jacobian = slopes(lambda p, f=field, x=x: f.at(p, x).velocity, points)
            curl = field.curl(points, x)
            np.testing.assert_allclose(curl, jacobian[..., 0, 1] - jacobian[..., 1, 0], atol=2e-7)
            rotates = name == "displacement" and kernel.name != "gaussian"
            assert (np.abs(curl) > 1e-3).any() if rotates else (np.abs(curl) < 1e-12).all()


def test_curl_of_the_leave_one_out_mean_shift():
    """Point by point: the mean shift of the others, taken as a measure of its own."""
    kernel, x = kernels.Laplace(), cloud(3, 1, 6, 2)
    alone = SmoothedPoints(x, kernel, H, atoms=True, leave_one_out=True).curl("mean_shift", x)
    for i in range(6):
        rest = SmoothedPoints(np.delete(x, i, axis=1), kernel, H)
        assert alone[0, i] == pytest.approx(rest.curl("mean_shift", x[:, i : i + 1]).item(), rel=1e-12)


def test_curl_by_the_products_of_gradients():
    """R6.11: curl v = grad alpha_p x s#_p - grad alpha_mu x s#_mu for the Laplace kernel in the plane."""
    kernel, x, points, e = kernels.Laplace(), cloud(1, 1, 6, 2), cloud(2, 1, 5, 2), 1e-5
    field = DriftField("displacement", SmoothedPoints(cloud(3, 1, 8, 2), kernel, H), kernel, H)
    expected = 0
    for sign, measure in ((1, field.target), (-1, SmoothedPoints(x, kernel, H))):
        slope = np.stack([(measure.scale(points + e * k) - measure.scale(points - e * k)) / (2 * e) for k in np.eye(2)], axis=-1)
        score = measure.statistic("sharp_score", points).value
        expected = expected + sign * (slope[..., 0] * score[..., 1] - slope[..., 1] * score[..., 0])
    np.testing.assert_allclose(field.curl(points, x), expected, atol=1e-8)
