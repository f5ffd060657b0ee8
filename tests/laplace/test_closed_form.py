"""A Gaussian mixture under the Laplace kernel: extended precision to 40 standard deviations, quadrature, differences, many points."""

import math

import mpmath
import numpy as np
import pytest
from scipy import integrate, special

from driftrates.fields import SmoothedPoints
from driftrates.kernels import Laplace
from driftrates.laplace.closed_form import LaplaceSmoothedMixture
from driftrates.targets import GaussianMixture

WEIGHTS, MEANS, DEVIATIONS = [0.4, 0.6], [-1.0, 1.2], [0.5, 0.4]
MIXTURE = GaussianMixture(WEIGHTS, np.array(MEANS)[:, None], np.array(DEVIATIONS) ** 2)
NAMES = ("score", "mean_shift", "sharp_score")
BANDWIDTHS = [0.02, 0.3, 0.6, 3.0]
FAR = [-21.0, 17.2, -16.0, 25.0, 60.0, -100.0]


def exact(x, h):
    """(value, divergence) by name, log-density and alpha with sixty digits."""
    with mpmath.workdps(60):
        x, h = mpmath.mpf(float(x)), mpmath.mpf(h)
        mass, moment, density = {1: 0, -1: 0}, {1: 0, -1: 0}, 0
        for w, m, s in zip(WEIGHTS, MEANS, DEVIATIONS, strict=True):
            w, m, s = map(mpmath.mpf, (w, m, s))
            a, t = s / h, (x - m) / s
            density += w * mpmath.npdf(t) / s
            for side in (1, -1):  # data left, right of x
                u, front = side * t - a, w * mpmath.exp(a * a / 2 - side * a * t)
                mass[side] += front * mpmath.ncdf(u)
                moment[side] += front * s * (u * mpmath.ncdf(u) + mpmath.npdf(u))
        total = mass[1] + mass[-1]
        z, g = total / (2 * h), (mass[-1] - mass[1]) / (h * total)
        shift, rho = (moment[-1] - moment[1]) / total, (moment[-1] + moment[1]) / total
        alpha = h * h + h * rho
        found = {
            "score": (g, (1 - density / z) / h**2 - g * g),
            "mean_shift": (shift, -1 + rho / h - shift * g),
            "sharp_score": (shift / alpha, (rho / h - 1) / alpha - (shift / alpha) ** 2),
        }
        return {k: tuple(map(float, v)) for k, v in found.items()}, float(mpmath.log(z)), float(alpha)


@pytest.mark.parametrize("h", BANDWIDTHS)
def test_against_sixty_digits_from_the_middle_to_forty_deviations(h):
    smoothed = LaplaceSmoothedMixture(MIXTURE, h)
    x = np.array([*np.linspace(-4, 4, 17), *FAR])[None, :, None]
    fast = {name: smoothed.statistic(name, x, divergence=True) for name in NAMES}
    alpha = smoothed.scale(x)
    units = {"score": (1 / h, 1 / h**2), "mean_shift": (h, 1.0), "sharp_score": (1 / h, 1 / h**2)}
    for i, point in enumerate(x[0, :, 0]):
        known, log_density, scale = exact(point, h)
        assert alpha[0, i] == pytest.approx(scale, rel=1e-13)
        for name in NAMES:
            assert fast[name].log_density[0, i] == pytest.approx(log_density, rel=1e-14, abs=2e-15)
            value, divergence = known[name]
            assert fast[name].value[0, i, 0] == pytest.approx(value, rel=1e-13, abs=1e-14 * units[name][0])
            assert fast[name].divergence[0, i] == pytest.approx(divergence, rel=1e-13, abs=3e-14 * units[name][1])
            assert fast[name].own[0, i] == 0


def test_every_value_is_finite_far_out_and_has_the_right_limit():
    """Beyond all data grad log Z -> -+ 1/h, and the mean shift falls with slope -1."""
    smoothed = LaplaceSmoothedMixture(MIXTURE, 0.3)
    x = np.array([-1e6, -300.0, 300.0, 1e6])[None, :, None]
    shift, score = smoothed.statistic("mean_shift", x, divergence=True), smoothed.statistic("score", x, divergence=True)
    np.testing.assert_allclose(score.value[0, :, 0], np.array([1, 1, -1, -1]) / 0.3, rtol=1e-14)
    np.testing.assert_allclose(shift.divergence, -1.0, rtol=1e-12)
    weighted = [np.array(WEIGHTS) * np.exp(np.array(DEVIATIONS) ** 2 / 0.18 + np.array(MEANS) * s / 0.3) for s in (-1, 1)]
    centres = [w @ (np.array(MEANS) + s * np.array(DEVIATIONS) ** 2 / 0.3) / w.sum() for s, w in zip((-1, 1), weighted, strict=True)]
    np.testing.assert_allclose((shift.value + x)[0, :, 0], [centres[0], centres[0], centres[1], centres[1]], rtol=1e-8)
    for name in NAMES:
        assert all(np.isfinite(part).all() for part in smoothed.statistic(name, x, divergence=True))


def test_against_quadrature():
    h = 0.3
    smoothed = LaplaceSmoothedMixture(MIXTURE, h)

    def density(y):
        return sum(w / s * math.exp(-0.5 * ((y - m) / s) ** 2) for w, m, s in zip(WEIGHTS, MEANS, DEVIATIONS, strict=True)) / math.sqrt(
            2 * math.pi
        )

    def mean(x, weight):
        parts = [integrate.quad(lambda y: weight(y - x) * math.exp(-abs(y - x) / h) * density(y), *ends) for ends in ((-9, x), (x, 9))]
        return sum(value for value, _ in parts) / (2 * h)

    for x in (-2.3, -0.4, 0.6, 1.3, 3.0):
        z, shift, rho = mean(x, lambda u: 1.0), mean(x, lambda u: u), mean(x, abs)
        point = np.full((1, 1, 1), x)
        assert smoothed.statistic("score", point).log_density[0, 0] == pytest.approx(math.log(z), rel=1e-7)
        assert smoothed.statistic("mean_shift", point).value[0, 0, 0] == pytest.approx(shift / z, rel=1e-6)
        assert smoothed.scale(point)[0, 0] == pytest.approx(h * h + h * rho / z, rel=1e-6)
        assert smoothed.statistic("sharp_score", point).value[0, 0, 0] == pytest.approx(shift / (h * h * z + h * rho), rel=1e-6)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("h", [0.3, 3.0])
def test_divergence_is_the_derivative_of_the_value(name, h):
    smoothed, e = LaplaceSmoothedMixture(MIXTURE, h), 1e-5
    x = np.linspace(-5, 5, 41)[None, :, None]
    slope = (smoothed.statistic(name, x + e).value - smoothed.statistic(name, x - e).value)[..., 0] / (2 * e)
    np.testing.assert_allclose(smoothed.statistic(name, x, divergence=True).divergence, slope, atol=1e-8 / min(h, 1) ** 2)


def test_scores_are_the_gradients_of_their_densities():
    """s = grad log (K_h * p) and s# = grad log (alpha K_h * p), grad K# = -z K."""
    smoothed, e = LaplaceSmoothedMixture(MIXTURE, 0.6), 1e-5
    x = np.linspace(-5, 5, 41)[None, :, None]

    def logs(at):
        plain = smoothed.statistic("score", at).log_density
        return {"score": plain, "sharp_score": plain + np.log(smoothed.scale(at))}

    above, below = logs(x + e), logs(x - e)
    for name in ("score", "sharp_score"):
        np.testing.assert_allclose(smoothed.statistic(name, x).value[..., 0], (above[name] - below[name]) / (2 * e), atol=1e-8)


def test_many_points_of_the_mixture_give_the_same():
    """Quantiles of each component as data points, to the accuracy of their spacing."""
    levels = (np.arange(4000) + 0.5) / 4000
    points = np.concatenate([m + s * special.ndtri(levels) for m, s in zip(MEANS, DEVIATIONS, strict=True)])
    even = GaussianMixture([1.0, 1.0], np.array(MEANS)[:, None], np.array(DEVIATIONS) ** 2)
    data, smoothed = SmoothedPoints(points[None, :, None], Laplace(), 0.5), LaplaceSmoothedMixture(even, 0.5)
    x = np.linspace(-2, 2, 33)[None, :, None]
    for name in ("mean_shift", "sharp_score"):
        a, b = data.statistic(name, x, divergence=True), smoothed.statistic(name, x, divergence=True)
        for part in (0, 1, 3):
            np.testing.assert_allclose(a[part], b[part], atol=4e-3)
    np.testing.assert_allclose(data.scale(x), smoothed.scale(x), rtol=2e-3)


def test_shapes_types_and_curl():
    smoothed = LaplaceSmoothedMixture(GaussianMixture([1.0], [[0.0]], np.ones((1, 1, 1))), 0.5)
    x = np.linspace(-2, 2, 12, dtype=np.float32).reshape(3, 4, 1)
    found = smoothed.statistic("mean_shift", x, divergence=True)
    assert found.value.shape == (3, 4, 1) and found.divergence.shape == found.log_density.shape == smoothed.scale(x).shape == (3, 4)
    assert all(part.dtype == np.float32 for part in (*found, smoothed.scale(x)))
    np.testing.assert_allclose(found.value, smoothed.statistic("mean_shift", x.astype(float)).value, rtol=1e-6, atol=1e-7)
    assert smoothed.statistic("mean_shift", x).divergence is None
    assert (smoothed.curl("mean_shift", x) == 0).all() and smoothed.curl("mean_shift", x).shape == (3, 4)


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="for d = 1 only, not d = 2"):
        LaplaceSmoothedMixture(GaussianMixture([1.0], [[0.0, 0.0]], [1.0]), 0.5)
    for h in (0.0, -1.0, math.nan, math.inf):
        with pytest.raises(ValueError, match="bandwidth h must be a finite number > 0"):
            LaplaceSmoothedMixture(MIXTURE, h)
    smoothed = LaplaceSmoothedMixture(MIXTURE, 0.5)
    with pytest.raises(ValueError, match="unknown statistic 'shift'"):
        smoothed.statistic("shift", np.zeros((1, 2, 1)))
    with pytest.raises(ValueError, match=r"points must have the shape \(\.\.\., 1\), not \(1, 2, 2\)"):
        smoothed.scale(np.zeros((1, 2, 2)))
