"""Velocity fields against double loops over the formulas of the paper, which use the kernel's profile K and nothing else of the library."""

import math

import mpmath
import numpy as np
import pytest
from scipy import integrate, stats

from driftrates import kernels
from driftrates.fields import STATISTICS, DriftField, SmoothedDensity, SmoothedPoints
from fieldclouds import ALL, FIELDS, KERNELS, H, cloud, fields_of, has_divergence, mixture

GAUSSIAN = kernels.Gaussian()


def companion(kernel, s, d):
    """int_s^inf u K(u) du for an array of distances, with u = s + t / (1 - t)."""

    def integrand(t):
        u = s[:, None] + t / (1 - t)
        return u * kernel.rung(u, d) / (1 - t) ** 2

    return integrate.fixed_quad(integrand, 0, 1, n=200)[0]


def statistic(name, kernel, x, sources, own=()):
    """One statistic at x (d,) of the sources (m, d) with equal weights; ``own`` are the sources that lie at x."""
    d = len(x)
    others = [y for j, y in enumerate(sources) if j not in own]
    if name == "conservative":
        mass = sum(float(kernel.rung(np.linalg.norm(x - y) / H, d)) for y in sources)
        slope = np.zeros(d)
        for k in range(d):
            moved = x.astype(complex)
            moved[k] += 1e-40j
            slope[k] = sum(kernel.rung(np.sqrt(((moved - y) ** 2).sum()) / H, d).imag / 1e-40 for y in others)
        return slope / mass
    pull = sum(float(kernel.rung(np.linalg.norm(x - y) / H, d)) * (y - x) for y in sources)
    if name == "displacement":
        return pull / sum(float(kernel.rung(np.linalg.norm(x - y) / H, d)) for y in sources)
    return pull / (H**2 * companion(kernel, np.linalg.norm(x - sources, axis=1) / H, d).sum())


def smoothed_score(x, density):
    """Score of the mixture smoothed by the Gaussian kernel, by complex steps through its density."""

    def value(z):
        total = 0
        for w, m, c in zip(density.weights, density.means, density.covariances, strict=True):
            c = c + H**2 * np.eye(len(x))
            total = total + w * np.exp(-0.5 * (z - m) @ np.linalg.inv(c) @ (z - m)) / math.sqrt(np.linalg.det(c))
        return total

    steps = 1e-40j * np.eye(len(x))
    return np.array([value(x + step).imag / 1e-40 for step in steps]) / value(x)


def target_statistic(name, kernel, x, field, d):
    if isinstance(field.target, SmoothedPoints):
        return statistic(name, kernel, x, field.target.points[0])
    return smoothed_score(x, mixture(d)) * (H**2 if name == "displacement" else 1)


@pytest.mark.parametrize(("name", "leave_one_out"), FIELDS)
@pytest.mark.parametrize("kernel", ALL, ids=KERNELS)
def test_velocity_equals_the_double_loop(kernel, name, leave_one_out):
    for d in (1, 3):
        x, points = cloud(10 + d, 2, 5, d), cloud(20 + d, 2, 2, d)
        for field in fields_of(kernel, d, name, leave_one_out):
            at_particles, at_points = field.at_particles(x).velocity, field.at(points, x).velocity
            assert at_particles.shape == x.shape and at_points.shape == points.shape
            for r in range(2):
                for i in range(5):
                    if leave_one_out:
                        model = statistic(name, kernel, x[r, i], np.delete(x[r], i, axis=0))
                    else:
                        model = statistic(name, kernel, x[r, i], x[r], own=(i,))
                    expected = target_statistic(name, kernel, x[r, i], field, d) - model
                    np.testing.assert_allclose(at_particles[r, i], expected, rtol=1e-9, atol=1e-10)
                for i in range(2):
                    expected = target_statistic(name, kernel, points[r, i], field, d) - statistic(name, kernel, points[r, i], x[r])
                    np.testing.assert_allclose(at_points[r, i], expected, rtol=1e-9, atol=1e-10)


def test_closed_form_mean_shift_is_the_integral_over_the_density():
    """m(x) = int K_h(x - y) (y - x) pi(y) dy / Z(x) by quadrature in one dimension, and the sharp score the same over h^2."""
    density = mixture(1)
    smoothed = SmoothedDensity(density.smoothed(H), H)
    for x in (-1.5, 0.2, 2.0):

        def kernel_times_density(y, x=x):
            pi = sum(
                w * stats.norm.pdf(y, m[0], math.sqrt(c[0, 0]))
                for w, m, c in zip(density.weights, density.means, density.covariances, strict=True)
            )
            return stats.norm.pdf(x - y, scale=H) * pi

        mass = integrate.quad(kernel_times_density, -15, 15, points=[x], epsabs=0, epsrel=1e-11)[0]
        pull = integrate.quad(lambda y, x=x: (y - x) * kernel_times_density(y), -15, 15, points=[x], epsabs=1e-13)[0]
        at = np.full((1, 1, 1), x)
        assert smoothed.statistic("mean_shift", at).value.item() == pytest.approx(pull / mass, rel=1e-9)
        assert smoothed.statistic("sharp_score", at).value.item() == pytest.approx(pull / mass / H**2, rel=1e-9)
        assert smoothed.statistic("score", at).log_density.item() == pytest.approx(math.log(mass), abs=1e-10)


@pytest.mark.parametrize("leave_one_out", [False, True])
def test_gaussian_identity(leave_one_out):
    """v = h^2 V, divergences included, and the sharp field is V; with the Laplace kernel neither holds."""
    x = cloud(1, 2, 8, 2)
    for kernel, holds in ((GAUSSIAN, True), (kernels.Laplace(), False)):
        target = SmoothedPoints(cloud(2, 1, 9, 2), kernel, H)
        score, shift, sharp = (
            DriftField(n, target, kernel, H, leave_one_out).at_particles(x, divergence=holds)
            for n in ("conservative", "displacement", "sharp")
        )
        assert np.allclose(shift.velocity, H**2 * score.velocity, rtol=1e-10, atol=1e-12) == holds
        assert np.allclose(sharp.velocity, score.velocity, rtol=1e-10, atol=1e-12) == holds
        if holds:
            np.testing.assert_allclose(shift.divergence, H**2 * score.divergence, rtol=1e-9)
            np.testing.assert_allclose(shift.total_divergence, H**2 * score.total_divergence, rtol=1e-9)
            np.testing.assert_allclose(sharp.total_divergence, score.total_divergence, rtol=1e-9)


def test_scale_of_a_closed_form_target():
    """alpha = h^2 where the kernel is Gaussian; no scale is known otherwise."""
    x = cloud(1, 2, 4, 2)
    assert (SmoothedDensity(mixture(2), H).scale(x) == np.full((2, 4), H**2)).all()
    with pytest.raises(ValueError, match="no scale"):
        SmoothedDensity(mixture(2), None).scale(x)


@pytest.mark.parametrize("leave_one_out", [False, True])
@pytest.mark.parametrize("kernel", ALL, ids=KERNELS)
def test_mean_shift_is_the_scaled_sharp_score(kernel, leave_one_out):
    """L6.1, m = alpha s#; for the Laplace kernel alpha = h^2 + h rho with the local weighted radius rho of the double loop."""
    x = cloud(1, 2, 7, 3)
    measure = SmoothedPoints(x, kernel, H, atoms=True, leave_one_out=leave_one_out)
    alpha = measure.scale(x)
    np.testing.assert_allclose(
        measure.statistic("mean_shift", x).value, alpha[..., None] * measure.statistic("sharp_score", x).value, rtol=1e-11
    )
    if kernel.name == "gaussian":
        np.testing.assert_allclose(alpha, H**2, rtol=1e-12)
    if kernel.name == "laplace":
        distance = np.linalg.norm(x[:, :, None] - x[:, None], axis=-1)
        weight = np.exp(-distance / H) * (1 - np.eye(7) if leave_one_out else 1)
        np.testing.assert_allclose(alpha, H**2 + H * (weight * distance).sum(2) / weight.sum(2), rtol=1e-12)


def test_sharp_laplace_is_the_score_of_matern_three_halves():
    x, points = cloud(1, 2, 6, 2), cloud(2, 2, 5, 2)
    laplace, matern = SmoothedPoints(x, kernels.Laplace(), H), SmoothedPoints(x, kernels.Matern32(), H)
    sharp, score = laplace.statistic("sharp_score", points, divergence=True), matern.statistic("score", points, divergence=True)
    np.testing.assert_allclose(sharp.value, score.value, rtol=1e-11)
    np.testing.assert_allclose(sharp.divergence, score.divergence, rtol=1e-10)


def test_a_cloud_on_its_data_stands_still():
    for kernel in ALL:
        for name in STATISTICS:
            x = cloud(1, 1, 9, 2)
            velocity = DriftField(name, SmoothedPoints(x, kernel, H), kernel, H).at_particles(x).velocity
            np.testing.assert_allclose(velocity, 0, atol=1e-13)


def test_log_density_is_scipys_estimate():
    x, points = cloud(1, 1, 40, 1), cloud(2, 1, 9, 1)
    estimate = stats.gaussian_kde(x[0].T, bw_method=H / x[0].std(ddof=1))
    for name in ("score", "mean_shift", "sharp_score"):
        got = SmoothedPoints(x, GAUSSIAN, H).statistic(name, points).log_density
        np.testing.assert_allclose(got[0], estimate.logpdf(points[0].T), rtol=1e-12, atol=1e-13)


def test_log_density_with_the_constants_of_the_kernel_table():
    for d in (1, 2, 3):
        c = math.gamma(d / 2 + 1) / (math.factorial(d) * math.pi ** (d / 2))
        x, points = cloud(1, 1, 8, d), cloud(2, 1, 5, d)
        s = np.linalg.norm(points[0, :, None] - x[0], axis=-1) / H
        for kernel, values in ((kernels.Laplace(), c * np.exp(-s)), (kernels.Matern32(), c * (1 + s) * np.exp(-s) / (d + 1))):
            got = SmoothedPoints(x, kernel, H).statistic("mean_shift", points).log_density[0]
            np.testing.assert_allclose(got, np.log(values.mean(1) / H**d), rtol=1e-12, atol=1e-13)
        s = np.linalg.norm(x[0, :, None] - x[0], axis=-1) / H
        alone = SmoothedPoints(x, kernels.Laplace(), H, atoms=True, leave_one_out=True).statistic("mean_shift", x).log_density[0]
        np.testing.assert_allclose(alone, np.log((c * np.exp(-s)).sum(1) - c) - math.log(7 * H**d), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", KERNELS)
def test_smoothed_density_has_mass_one(name):
    measure = SmoothedPoints(np.array([[[-1.0], [0.3], [2.0]]]), kernels.make(name), H)
    mass = integrate.quad(
        lambda t: math.exp(measure.statistic("mean_shift", np.full((1, 1, 1), t)).log_density.item()),
        -300,
        300,
        points=[-1, 0.3, 2],
        limit=200,
    )[0]
    assert mass == pytest.approx(1, abs=1e-6)


MP = {
    "gaussian": (lambda s: mpmath.exp(-s * s / 2), lambda s: mpmath.exp(-s * s / 2)),
    "laplace": (lambda s: mpmath.exp(-s), lambda s: (1 + s) * mpmath.exp(-s)),
    "matern52": (lambda s: (1 + s + s * s / 3) * mpmath.exp(-s), lambda s: (5 + 5 * s + 2 * s * s + s**3 / 3) * mpmath.exp(-s)),
    "inverse_multiquadric": (lambda s: (1 + s * s) ** mpmath.mpf(-2.5), lambda s: (1 + s * s) ** mpmath.mpf(-1.5) / 3),
}
"""K and K# in two dimensions, not normalised (the multiquadric with its three degrees of freedom)."""


def exact_statistic(name, kernel, x, sources):
    """As `statistic`, at a point of mpmath numbers; h = 0.7 as the binary number that it is."""
    profile, primitive = MP[kernel.name]
    h, pairs = mpmath.mpf(H), [[mpmath.mpf(float(b)) - a for a, b in zip(x, y, strict=True)] for y in sources]
    radii = [mpmath.sqrt(mpmath.fsum(c * c for c in z)) / h for z in pairs]
    k = [profile(s) for s in radii]
    if name == "conservative":
        steep = [-mpmath.diff(profile, s) / s / h**2 for s in radii]
        return [mpmath.fsum(w * z[a] for w, z in zip(steep, pairs, strict=True)) / mpmath.fsum(k) for a in range(2)]
    mass = mpmath.fsum(k) if name == "displacement" else h**2 * mpmath.fsum(primitive(s) for s in radii)
    return [mpmath.fsum(w * z[a] for w, z in zip(k, pairs, strict=True)) / mass for a in range(2)]


@pytest.mark.parametrize("name", MP)
def test_a_thousand_bandwidths_away(name):
    """Values and divergences at single points and at a particle that is 1000 h from everything else."""
    kernel = kernels.make(name)
    data, x = cloud(1, 1, 6, 2), cloud(2, 1, 5, 2)
    points = 1000 * H * np.array([[[0.6, 0.8], [-1.0, 0.0]]])
    x[0, 2] = points[0, 0] + 0.1
    alone = SmoothedPoints(x, kernel, H, atoms=True, leave_one_out=True)
    for field_name, statistic_name in STATISTICS.items():
        measure, wanted = SmoothedPoints(data, kernel, H), has_divergence(kernel, field_name)
        for at, sources, got in (
            (points[0, 1], data[0], measure.statistic(statistic_name, points, divergence=wanted)),
            (x[0, 2], np.delete(x[0], 2, axis=0), alone.statistic(statistic_name, x, divergence=wanted)),
        ):
            i = 1 if got.value.shape[1] == 2 else 2
            assert all(np.isfinite(part).all() for part in got if part is not None)
            with mpmath.workdps(40):
                point = [mpmath.mpf(float(c)) for c in at]
                exact = exact_statistic(field_name, kernel, point, sources)
                size = float(mpmath.norm(exact))
                np.testing.assert_allclose(got.value[0, i], [float(v) for v in exact], atol=1e-10 * size)
                if wanted:
                    e, spread = mpmath.mpf("1e-10"), 0
                    for a in range(2):
                        up, down = ([c + sign * e * (b == a) for b, c in enumerate(point)] for sign in (1, -1))
                        difference = (
                            exact_statistic(field_name, kernel, up, sources)[a] - exact_statistic(field_name, kernel, down, sources)[a]
                        )
                        spread += difference / (2 * e)
                    # the divergence is a difference of terms as large as the squared score (h^2 more for the mean shift)
                    terms = size**2 / (H**2 if field_name == "displacement" else 1)
                    assert got.divergence[0, i] == pytest.approx(float(spread), abs=1e-11 * max(terms, 1)), (field_name, terms)


@pytest.mark.parametrize(("name", "leave_one_out"), FIELDS)
def test_single_precision(name, leave_one_out):
    for kernel in ALL:
        x, data = cloud(1, 2, 40, 2), cloud(2, 1, 30, 2)
        wanted = has_divergence(kernel, name)
        targets = {np.float64: SmoothedPoints(data, kernel, H), np.float32: SmoothedPoints(data.astype(np.float32), kernel, H)}
        values = {t: DriftField(name, p, kernel, H, leave_one_out).at_particles(x.astype(t), divergence=wanted) for t, p in targets.items()}
        single, double = values[np.float32], values[np.float64]
        for a, b in (
            (single.velocity, double.velocity),
            (single.total_divergence, double.total_divergence),
            (single.model.log_density, double.model.log_density),
        ):
            if a is not None:
                assert a.dtype == np.float32
                np.testing.assert_allclose(a, b, rtol=1e-4, atol=2e-5 * np.abs(b).max())
    density = SmoothedDensity(mixture(2).smoothed(H), H)
    single = DriftField(name, density, GAUSSIAN, H, leave_one_out).at_particles(x.astype(np.float32), divergence=True)
    assert {a.dtype for a in (*single[:3], *single.target, *single.model)} == {np.dtype(np.float32)}


def test_replicates_are_independent_and_share_or_own_their_target():
    kernel, x, own = kernels.Matern52(), cloud(1, 3, 6, 2), cloud(2, 3, 8, 2)
    for data in (own, own[:1]):
        together = DriftField("conservative", SmoothedPoints(data, kernel, H), kernel, H).at_particles(x, divergence=True)
        for r in range(3):
            target = SmoothedPoints(data[r % len(data)][None], kernel, H)
            single = DriftField("conservative", target, kernel, H).at_particles(x[r : r + 1], divergence=True)
            np.testing.assert_array_equal(together.velocity[r], single.velocity[0])
            np.testing.assert_array_equal(together.total_divergence[r], single.total_divergence[0])


def test_bad_input_is_refused():
    x, laplace = cloud(1, 1, 4, 2), kernels.Laplace()
    points = SmoothedPoints(x, laplace, H)
    with pytest.raises(ValueError, match="unknown field 'drift'; known: conservative, displacement, sharp"):
        DriftField("drift", points, laplace, H)
    with pytest.raises(ValueError, match="unknown statistic 'curl'; known: score, mean_shift, sharp_score"):
        points.statistic("curl", x)
    with pytest.raises(ValueError, match="kernel 'laplace' has no Laplacian at its kink"):
        DriftField("conservative", points, laplace, H).at_particles(x, divergence=True)
    with pytest.raises(ValueError, match="curl needs points in the plane, not d = 3"):
        space = cloud(1, 1, 4, 3)
        DriftField("displacement", SmoothedPoints(space, laplace, H), laplace, H).curl(space, space)
    with pytest.raises(ValueError, match="at least 2 points"):
        DriftField("displacement", points, laplace, H, leave_one_out=True).at_particles(x[:, :1])
    raw = SmoothedDensity(mixture(2), None)
    assert raw.statistic("score", x).value.shape == x.shape
    for name in ("displacement", "sharp"):
        with pytest.raises(ValueError, match="a closed-form target has no .* under this kernel: use the Gaussian kernel, or data points"):
            DriftField(name, raw, laplace, H).at_particles(x)
