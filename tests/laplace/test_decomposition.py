"""The decomposition (53) and its references, against double loops, finite differences and arithmetic of many digits."""

import math

import mpmath
import numpy as np
import pytest

from driftrates import kernels
from driftrates.fields import DriftField, SmoothedDensity, SmoothedPoints
from driftrates.laplace import decomposition
from driftrates.targets import GaussianMixture

H = 0.7
LAPLACE = kernels.Laplace()


def points(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape)


def field_of(kernel, data, name="displacement"):
    return DriftField(name, SmoothedPoints(data[None], kernel, H), kernel, H)


@pytest.fixture(scope="module")
def study():
    return decomposition.measure_decomposition(seed=5, bandwidth=0.6, points=9, probes=6, starts=2)


@pytest.mark.parametrize("d", [1, 2, 3, 5])
@pytest.mark.parametrize("distance", [0.0, 20.0, 1000.0])
def test_parts_equal_the_formulas_in_many_digits(d, distance):
    """(52) and (53) for the Laplace kernel, near the atoms and where every plain sum underflows."""
    data, cloud = points(1, 4, d), points(2, 3, d)
    x = points(3, 2, d) + distance * H * np.eye(d)[0]
    parts = decomposition.decompose(field_of(LAPLACE, data), x[None], cloud[None])
    with mpmath.workdps(40):
        for i, at in enumerate(x):

            def smooth(sources, at=at):
                offsets = [[mpmath.mpf(float(b)) - mpmath.mpf(float(a)) for a, b in zip(at, y, strict=True)] for y in sources]
                sizes = [mpmath.sqrt(mpmath.fsum(c * c for c in z)) for z in offsets]
                weights = [mpmath.exp(-s / mpmath.mpf(H)) for s in sizes]
                pull = [mpmath.fsum(w * z[a] for w, z in zip(weights, offsets, strict=True)) for a in range(d)]
                companion = mpmath.fsum(mpmath.mpf(H) * (s + mpmath.mpf(H)) * w for w, s in zip(weights, sizes, strict=True))
                mass = mpmath.fsum(weights)
                return [c / mass for c in pull], [c / companion for c in pull], companion / mass

            (m_p, s_p, a_p), (m_q, s_q, a_q) = smooth(data), smooth(cloud)
            expected = {
                "velocity": [p - q for p, q in zip(m_p, m_q, strict=True)],
                "gap": [p - q for p, q in zip(s_p, s_q, strict=True)],
                "residual": [(a_p - a_q) * p for p in s_p],
                "other_residual": [(a_p - a_q) * q for q in s_q],
                "target_sharp": s_p,
                "model_sharp": s_q,
                "target_scale": [a_p],
                "model_scale": [a_q],
            }
            for name, value in expected.items():
                size = 1.0 if name in ("gap", "target_sharp", "model_sharp") else 1.0 + distance
                found = np.atleast_1d(getattr(parts, name)[0, i])
                np.testing.assert_allclose(found, [float(v) for v in value], rtol=1e-12, atol=1e-13 * size, err_msg=name)
    np.testing.assert_allclose(parts.split, parts.velocity, atol=1e-13 * (1 + distance))
    np.testing.assert_allclose(parts.other_split, parts.velocity, atol=1e-13 * (1 + distance))
    np.testing.assert_array_equal(parts.coherent, parts.model_scale[..., None] * parts.gap)


def test_gaussian_parts_leave_no_residual():
    """Data or a smoothed mixture: alpha = h^2 on both sides, so v = h^2 g."""
    kernel, x, cloud = kernels.Gaussian(), points(1, 1, 5, 2), points(2, 1, 4, 2)
    mixture = GaussianMixture([1.0], [[0.3, -0.2]], 0.5 * np.eye(2)[None]).smoothed(H)
    for field in (field_of(kernel, points(3, 6, 2)), DriftField("displacement", SmoothedDensity(mixture, H), kernel, H)):
        parts = decomposition.decompose(field, x, cloud)
        np.testing.assert_allclose(parts.residual, 0, atol=1e-14)
        np.testing.assert_allclose(parts.coherent, parts.velocity, atol=1e-13)
        np.testing.assert_allclose(parts.target_scale, H**2)


def test_only_the_displacement_field_has_the_decomposition():
    with pytest.raises(ValueError, match="sharp"):
        decomposition.decompose(field_of(LAPLACE, points(1, 3, 2), "sharp"), points(2, 1, 2, 2), points(3, 1, 2, 2))


# references -----------------------------------------------------------------------------------------------------------


def test_laplace_radius_is_the_weighted_mean_distance():
    x, y = points(1, 3, 2), points(2, 5, 2)
    shift, rho = decomposition.laplace_radius(x, y, H)
    for i in range(3):
        r = [math.dist(x[i], at) for at in y]
        w = [math.exp(-s / H) for s in r]
        assert rho[i] == pytest.approx(sum(a * s for a, s in zip(w, r, strict=True)) / sum(w), rel=1e-13)
        np.testing.assert_allclose(shift[i], sum(a * (at - x[i]) for a, at in zip(w, y, strict=True)) / sum(w), rtol=1e-12)


@pytest.mark.parametrize("name", kernels.names())
def test_steps_agree_with_central_differences(name):
    kernel, x, y, e = kernels.make(name), points(11, 4, 2), points(12, 6, 2), 1e-5
    measure = SmoothedPoints(y[None], kernel, H)

    def slopes(function):
        return np.stack([(function(x + e * k) - function(x - e * k)) / (2 * e) for k in np.eye(2)], axis=-1)

    def log_companion(at):
        return np.log(kernel.rung(np.linalg.norm(at[:, None] - y, axis=-1) / H, 2, -1).sum(1))

    sharp = decomposition.sharp_score(kernel, x, y, H)
    np.testing.assert_allclose(sharp, slopes(log_companion), atol=1e-9)
    jacobian = slopes(lambda at: measure.statistic("mean_shift", at[None]).value[0])
    np.testing.assert_allclose(decomposition.curl_by_steps(kernel, x, y, H), jacobian[:, 1, 0] - jacobian[:, 0, 1], atol=1e-8)
    slope = slopes(lambda at: measure.scale(at[None])[0])
    cross = slope[:, 0] * sharp[:, 1] - slope[:, 1] * sharp[:, 0]
    np.testing.assert_allclose(decomposition.curl_by_formula(kernel, x, y, H), cross, atol=1e-8)


@pytest.mark.parametrize("d", [1, 2, 3])
def test_sharp_laplacian_is_that_of_the_smoothed_measure(d):
    """Second central differences of Q in many digits; Q itself from the profile (1 + s) e^-s."""
    x, y = points(21, 2, d), points(22, 3, d)
    laplacian, log_q = decomposition.sharp_laplacian(x, y, H)
    mass = (d + 1) * LAPLACE.normaliser(d) * H**d
    with mpmath.workdps(40):

        def smoothed(at):
            s = [mpmath.sqrt(mpmath.fsum((a - float(b)) ** 2 for a, b in zip(at, source, strict=True))) / mpmath.mpf(H) for source in y]
            return mpmath.fsum((1 + t) * mpmath.exp(-t) for t in s) / len(y)

        e = mpmath.mpf(10) ** -12
        for i in range(2):
            at = [mpmath.mpf(float(a)) for a in x[i]]
            total = mpmath.mpf(0)
            for k in range(d):
                ends = [smoothed([a + sign * e if j == k else a for j, a in enumerate(at)]) for sign in (1, -1)]
                total += (ends[0] - 2 * smoothed(at) + ends[1]) / e**2
            assert laplacian[i] == pytest.approx(float(mpmath.mpf(H) ** 2 * total / smoothed(at)), rel=1e-10, abs=1e-11)
            assert log_q[i] == pytest.approx(float(mpmath.log(smoothed(at) / mass)), abs=1e-12)


def test_zeros_of_the_residual_lie_where_the_scales_agree():
    data, cloud = points(31, 5, 2), 2 * points(32, 4, 2)
    field = field_of(LAPLACE, data)
    zeros = decomposition.zeros_of_residual(field, cloud, 3.0)
    assert len(zeros) > 5 and np.abs(zeros).max() <= 3.0
    rho = [decomposition.laplace_radius(zeros, y, H)[1] for y in (data, cloud)]
    np.testing.assert_allclose(rho[0], rho[1], rtol=1e-12)
    with pytest.raises(ValueError, match="another seed"):
        decomposition.zeros_of_residual(field, data, 3.0)


# the study ------------------------------------------------------------------------------------------------------------


def test_study_is_reproducible_and_labelled(study):
    again = decomposition.measure_decomposition(seed=5, bandwidth=0.6, points=9, probes=6, starts=2)
    assert again.identical(study)
    assert all({"long_name", "units"} <= set(v.attrs) for v in study.variables.values())
    assert not decomposition.measure_decomposition(seed=6, bandwidth=0.6, points=9, probes=1, starts=1)["cloud"].equals(study["cloud"])


def test_maps_hold_the_parts_at_their_grid_points(study):
    cloud, data, h = study["cloud"].values, study["data"].values, 0.6
    at = np.array([[study["x"].values[2], study["y"].values[7]]])
    (m_p, rho_p), (m_q, rho_q) = (decomposition.laplace_radius(at, y, h) for y in (data, cloud))
    alpha_p, alpha_q = h**2 + h * rho_p[0], h**2 + h * rho_q[0]
    here = study.isel(x=2, y=7)
    assert float(here["target_scale"]) == pytest.approx(alpha_p) and float(here["model_scale"]) == pytest.approx(alpha_q)
    assert float(here["velocity"]) == pytest.approx(np.linalg.norm(m_p - m_q))
    residual, coherent = np.linalg.norm((alpha_p - alpha_q) * m_p / alpha_p), np.linalg.norm(alpha_q * (m_p / alpha_p - m_q / alpha_q))
    assert float(here["residual"]) == pytest.approx(residual)
    assert float(here["coherent"]) == pytest.approx(coherent)
    assert float(here["share"]) == pytest.approx(residual / (residual + coherent))
    expected = [decomposition.curl_by_steps(LAPLACE, at, y, h)[0] for y in (data, cloud)]
    assert float(here["curl"].sel(field="laplace")) == pytest.approx(expected[0] - expected[1], abs=1e-12)


def test_probes_lie_where_they_should():
    cloud, data = decomposition.configuration(3, 2, H)
    for place in decomposition.PLACES:
        x = decomposition._probes(np.random.default_rng(1), place, cloud, data, H, 40)
        gaps = {name: np.linalg.norm(x[:, None] - y, axis=-1).min(1) / H for name, y in (("particles", cloud), ("data", data))}
        if place.startswith("near"):
            np.testing.assert_allclose(gaps[place.removeprefix("near ")], 1e-6, rtol=1e-6)
        elif place == "far away":
            np.testing.assert_allclose(np.linalg.norm(x, axis=1)[[0, -1]], [10 * H, 1000 * H])


def test_loops_avoid_the_atoms(study):
    atoms = np.concatenate([study["cloud"].values, study["data"].values])
    distance = np.linalg.norm(study["centre"].values[:, None] - atoms, axis=-1)
    radius = study["radius"].values[:, None]
    assert (np.abs(distance - radius) > 1e-3).all()
    inside = (distance < radius).sum(1)
    kinds = study["loop"].values
    assert (inside[kinds == "around an atom"] == 1).all() and (inside[kinds == "free of atoms"] == 0).all()
    assert (study["flux_error"].values[kinds != "around many atoms"] == 0).all()
