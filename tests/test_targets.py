import math

import mpmath
import numpy as np
import pytest
from scipy.stats import multivariate_normal

from driftrates import targets
from driftrates.targets import GaussianMixture, kl_divergence, mixture_from_config

FORMS = ["isotropic", "diagonal", "full"]


def make(form, k=3, d=2, seed=0):
    rng = np.random.default_rng(seed)
    weights, means = rng.uniform(0.2, 1, k), rng.normal(size=(k, d)) * 2
    if form == "isotropic":
        return GaussianMixture(weights, means, rng.uniform(0.3, 2, k))
    if form == "diagonal":
        return GaussianMixture(weights, means, rng.uniform(0.3, 2, (k, d)))
    a = rng.normal(size=(k, d, d))
    return GaussianMixture(weights, means, a @ a.swapaxes(1, 2) + 0.2 * np.eye(d))


def dense(m):
    k, d = m.means.shape
    if m.covariances.ndim == 3:
        return m.covariances
    return np.stack([np.diag(np.broadcast_to(m.covariances[i], d)) for i in range(k)])


def points(m, replicates=3, n=7, spread=3.0, seed=1):
    return spread * np.random.default_rng(seed).normal(size=(replicates, n, m.dimension))


def exact(m, x):
    """log-density, score and Laplacian at one point by high-precision central differences of the density's definition."""
    with mpmath.workdps(80):
        covariances = [mpmath.matrix(c.tolist()) for c in dense(m)]
        inverses = [c**-1 for c in covariances]
        d = m.dimension
        norms = [mpmath.mpf(w) / mpmath.sqrt((2 * mpmath.pi) ** d * mpmath.det(c)) for w, c in zip(m.weights, covariances, strict=True)]

        def log_density(at):
            total = mpmath.mpf(0)
            for norm, mean, inverse in zip(norms, m.means, inverses, strict=True):
                z = mpmath.matrix([a - mpmath.mpf(float(b)) for a, b in zip(at, mean, strict=True)])
                total += norm * mpmath.exp(-(z.T * inverse * z)[0] / 2)
            return mpmath.log(total)

        at, step = [mpmath.mpf(float(v)) for v in x], mpmath.mpf(10) ** -18
        centre, score, laplacian = log_density(at), [], mpmath.mpf(0)
        for i in range(d):
            up, down = (log_density([v + sign * step * (j == i) for j, v in enumerate(at)]) for sign in (1, -1))
            score.append(float((up - down) / (2 * step)))
            laplacian += (up - 2 * centre + down) / step**2
        return float(centre), np.array(score), float(laplacian)


@pytest.fixture(params=["numpy", "cupy"])
def xp(request):
    module = pytest.importorskip(request.param)
    if request.param == "cupy" and not module.cuda.is_available():
        pytest.skip("no CUDA device")
    return module


def host(a):
    return a.get() if hasattr(a, "get") else a


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("d", [1, 2, 5])
def test_density_agrees_with_scipy(form, d, xp):
    m = make(form, d=d)
    x = points(m)
    expected = sum(w * multivariate_normal(mu, c).pdf(x) for w, mu, c in zip(m.weights, m.means, dense(m), strict=True))
    np.testing.assert_allclose(np.exp(host(m.log_density(xp.asarray(x)))), expected.reshape(x.shape[:2]), rtol=1e-11)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("spread", [2.0, 2e3])
def test_score_and_laplacian_agree_with_high_precision_differences(form, spread, xp):
    m = make(form)
    x = points(m, 2, 3, spread)
    value = [host(a) for a in m.evaluate(xp.asarray(x))]
    assert [a.shape for a in value] == [(2, 3), (2, 3, 2), (2, 3)]
    for r, i in np.ndindex(2, 3):
        log_density, score, laplacian = exact(m, x[r, i])
        np.testing.assert_allclose(value[0][r, i], log_density, rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(value[1][r, i], score, rtol=1e-10, atol=1e-12)
        np.testing.assert_allclose(value[2][r, i], laplacian, rtol=1e-9, atol=1e-11)


def test_between_far_components_neither_underflow_nor_cancellation_shows():
    m = GaussianMixture([1, 1], [[-1000.0], [1000.0]], [1.0, 1.0])
    x = np.array([[[0.0], [1e-3], [300.0]]])
    log_density, score, laplacian = m.evaluate(x)
    tanh = np.tanh(1000 * x[0, :, 0])
    np.testing.assert_allclose(score[0, :, 0], 1000 * tanh - x[0, :, 0], rtol=1e-12, atol=1e-9)
    np.testing.assert_allclose(laplacian[0], 1e6 * (1 - tanh**2) - 1, rtol=1e-9)
    np.testing.assert_allclose(log_density[0, 0], -5e5 - 0.5 * math.log(2 * math.pi), rtol=1e-15)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_thousand_standard_deviations_away_the_widest_component_rules(dtype, xp):
    m = GaussianMixture([1, 1], [[0.0, 0.0], [1.0, 0.0]], [[1e-4, 4.0], [1.0, 1.0]])
    x = np.array([[[1000.0, 0.0], [-1000.0, 3.0]]], dtype)
    log_density, score, laplacian = (host(a) for a in m.evaluate(xp.asarray(x)))
    np.testing.assert_allclose(score, [[[-999.0, 0.0], [1001.0, -3.0]]], rtol=1e-6)
    np.testing.assert_allclose(laplacian, -2, rtol=1e-6)
    np.testing.assert_allclose(log_density[0, 0], -(999.0**2) / 2 - math.log(2 * math.pi) - math.log(2), rtol=1e-6)


@pytest.mark.parametrize("form", FORMS)
def test_float32_points_give_float32_results_of_float64_quality(form, xp):
    m = make(form)
    x = points(m).astype(np.float32)
    for single, double in zip(m.evaluate(xp.asarray(x)), m.evaluate(x.astype(np.float64)), strict=True):
        assert host(single).dtype == np.float32
        assert isinstance(single, xp.ndarray)
        np.testing.assert_allclose(host(single), double, rtol=2e-7, atol=1e-30)


@pytest.mark.parametrize("form", FORMS)
def test_blocks_do_not_show(form, monkeypatch):
    m = make(form)
    x = points(m, 4, 25)
    whole = m.evaluate(x)
    monkeypatch.setitem(targets._VALUES_PER_BLOCK, "numpy", 7 * m.means.size)
    for a, b in zip(whole, m.evaluate(x), strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(m.log_density(x), whole.log_density)
    np.testing.assert_array_equal(m.score(x), whole.score)
    np.testing.assert_array_equal(m.laplacian(x), whole.laplacian)


def test_the_three_forms_of_one_mixture_agree():
    variances = np.array([0.5, 2.0])
    means, x = np.array([[0.0, 1.0, 2.0], [-1.0, 0.0, 0.0]]), np.random.default_rng(0).normal(size=(1, 9, 3))
    forms = [variances, np.repeat(variances[:, None], 3, 1), variances[:, None, None] * np.eye(3)]
    results = [GaussianMixture([1, 2], means, c).smoothed(0.3).evaluate(x) for c in forms]
    for other in results[1:]:
        for a, b in zip(results[0], other, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-12)


@pytest.mark.parametrize("form", FORMS)
def test_smoothed_density_is_the_convolution_with_the_gaussian_kernel(form):
    m, h = make(form), 0.4
    x = points(m, 1, 5, 1.5)
    nodes, weights = np.polynomial.hermite_e.hermegauss(60)
    z = np.stack(np.meshgrid(nodes, nodes, indexing="ij"), -1).reshape(-1, 2)
    w = np.outer(weights, weights).ravel() / (2 * np.pi)
    convolution = np.exp(m.log_density(x[0][:, None] + h * z)) @ w
    np.testing.assert_allclose(np.exp(m.smoothed(h).log_density(x))[0], convolution, rtol=1e-9)
    assert m.smoothed(0.0).covariances.tolist() == m.covariances.tolist()


@pytest.mark.parametrize("h", [-0.1, math.nan, math.inf])
def test_smoothing_refuses_an_impossible_bandwidth(h):
    with pytest.raises(ValueError, match="bandwidth h"):
        make("isotropic").smoothed(h)


@pytest.mark.parametrize("form", FORMS)
def test_samples_have_the_mixture_s_moments(form):
    m = make(form)
    x = m.sample(np.random.default_rng(3), (4, 50_000))
    assert x.shape == (4, 50_000, 2)
    flat, n = x.reshape(-1, 2), 200_000
    mean = m.weights @ m.means
    covariance = np.einsum("k,kij->ij", m.weights, dense(m) + np.einsum("ki,kj->kij", m.means - mean, m.means - mean))
    assert (abs(flat.mean(0) - mean) < 5 * np.sqrt(np.diag(covariance) / n)).all()
    products = np.einsum("ni,nj->nij", flat - mean, flat - mean)
    assert (abs(products.mean(0) - covariance) < 5 * products.std(0) / math.sqrt(n)).all()
    # E[laplacian + |score|^2] = 0 (Stein's identity for b = score) ties the samples to the density.
    stein = m.laplacian(flat) + (m.score(flat) ** 2).sum(-1)
    assert abs(stein.mean()) < 5 * stein.std() / math.sqrt(n)


def test_samples_repeat_with_their_generator():
    m = make("full")
    a, b, c = (m.sample(np.random.default_rng(s), (2, 5)) for s in (0, 0, 1))
    np.testing.assert_array_equal(a, b)
    assert not np.array_equal(a, c)


def test_arrays_are_own_read_only_copies_with_weights_of_sum_one():
    means = np.zeros((2, 1))
    m = GaussianMixture([1, 3], means, [1, 4])
    means[:] = 7
    assert m.weights.tolist() == [0.25, 0.75]
    assert m.means.tolist() == [[0], [0]]
    assert m.dimension == 1
    with pytest.raises(ValueError, match="read-only"):
        m.means[0] = 1


@pytest.mark.parametrize(
    ("weights", "means", "covariances", "message"),
    [
        ([1, -1], [[0], [1]], [1, 1], "weights must be 2 positive"),
        ([1], [[0], [1]], [1, 1], "weights must be 2 positive"),
        ([1, math.nan], [[0], [1]], [1, 1], "weights must be finite"),
        ([1, "a"], [[0], [1]], [1, 1], "weights must be finite"),
        ([1, 1], [0, 1], [1, 1], "means must have the shape"),
        ([1, 1], [[0], [1, 2]], [1, 1], "means must be a regular array"),
        ([], np.empty((0, 2)), [], "means must have the shape"),
        ([1, 1], [[0, math.inf], [0, 0]], [1, 1], "means must be finite"),
        ([1, 1], [[0], [1]], [1, 0], "variances must be positive"),
        ([1, 1], [[0], [1]], [1, 1, 1], "covariances must have the shape"),
        ([1], [[0, 0]], [[[1, 0.5], [0, 1]]], r"covariances\[0\] is not symmetric"),
        ([1], [[0, 0]], [[[1, 2], [2, 1]]], r"covariances\[0\] is not positive definite"),
        ([1], [[0, 0]], [[[1, 1], [1, 1]]], r"covariances\[0\] is not positive definite"),
    ],
)
def test_impossible_mixtures_are_refused(weights, means, covariances, message):
    with pytest.raises(ValueError, match=message):
        GaussianMixture(weights, means, covariances)


@pytest.mark.parametrize("x", [np.zeros((1, 2, 3)), np.zeros((1, 2, 2), int), np.zeros(())])
def test_points_of_another_shape_or_dtype_are_refused(x):
    with pytest.raises(ValueError, match="points must be float64 or float32"):
        make("isotropic").evaluate(x)


def test_configuration_gives_every_form():
    one = mixture_from_config({"means": [0, 2], "standard_deviations": 0.5})
    assert (one.weights.tolist(), one.means.tolist(), one.covariances.tolist()) == ([0.5, 0.5], [[0], [2]], [0.25, 0.25])
    two = mixture_from_config({"weights": [1, 3], "means": [[0, 1], [2, 3]], "standard_deviations": [[1, 2], [3, 4]]})
    assert (two.weights.tolist(), two.covariances.tolist()) == ([0.25, 0.75], [[1, 4], [9, 16]])
    assert mixture_from_config({"means": [[0, 1], [2, 3]], "standard_deviations": [1, 3]}).covariances.tolist() == [1, 9]
    full = [[[2, 1], [1, 2]]]
    assert mixture_from_config({"means": [[0, 0]], "covariances": full}).covariances.tolist() == full


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"means": [[0]], "sigma": 1}, "unknown key 'sigma'"),
        ({"standard_deviations": 1}, "key means is missing"),
        ({"means": [[0]]}, "exactly one of the keys"),
        ({"means": [[0]], "standard_deviations": 1, "covariances": [1]}, "exactly one of the keys"),
        ({"means": [[0]], "standard_deviations": 0}, "standard_deviations must be positive"),
        ({"means": [[0]], "standard_deviations": [1, 2]}, "standard_deviations must be positive"),
        ({"means": [[0]], "standard_deviations": "1e-3"}, "standard_deviations must be finite numbers"),
        ({"means": [[0]], "standard_deviations": 1, "weights": [0]}, "weights must be"),
        ({"means": [[0], [1, 2]], "standard_deviations": 1}, "means must be a regular array"),
        ({"means": [[0, 0]], "covariances": [[[1, 2], [2, 1]]]}, "not positive definite"),
    ],
)
def test_bad_configuration_is_refused_by_key(config, message):
    with pytest.raises(ValueError, match=rf"^mixture: .*{message}"):
        mixture_from_config(config)


def kl_1d(rho0, pi):
    """Quadrature in high precision, apart from SciPy."""

    def density(m, x):
        terms = zip(m.weights, m.means[:, 0], dense(m)[:, 0, 0], strict=True)
        return mpmath.fsum(w * mpmath.exp(-((x - mu) ** 2) / (2 * v)) / mpmath.sqrt(2 * mpmath.pi * v) for w, mu, v in terms)

    def integrand(x):
        p = density(rho0, x)
        return p * mpmath.log(p / density(pi, x))

    reach = 12 * math.sqrt(max(rho0.covariances.max(), 1))
    marks = np.unique(np.concatenate([np.linspace(-reach, reach, 13), rho0.means[:, 0], pi.means[:, 0]]))
    with mpmath.workdps(25):
        return float(mpmath.quad(integrand, marks.tolist()))


@pytest.mark.parametrize("form", FORMS)
def test_kl_between_two_gaussians_is_the_closed_form(form):
    a, b = make(form, 1, 3), make(form, 1, 3, seed=5)
    x = a.sample(np.random.default_rng(0), (200_000,))
    ratio = a.log_density(x) - b.log_density(x)
    result = kl_divergence(a, b)
    assert (result.standard_error, result.method) == (0, "closed_form")
    assert abs(ratio.mean() - result.value) < 5 * ratio.std() / math.sqrt(len(x))
    assert abs(kl_divergence(a, a).value) < 1e-13


def test_kl_mixed_forms_and_a_value_by_hand():
    a = GaussianMixture([1], [[1.0, 0.0]], [4.0])
    b = GaussianMixture([1], [[0.0, 0.0]], [np.diag([1.0, 2.0])])
    assert kl_divergence(a, b).value == pytest.approx(0.5 * (4 + 2 + 1 - 2 + math.log(2) - 2 * math.log(4)), rel=1e-14)


@pytest.mark.parametrize("width", [1.0, 0.05])
def test_kl_in_one_dimension_agrees_with_high_precision_quadrature(width):
    rho0 = GaussianMixture([0.3, 0.7], [[-1.0], [2.0]], [1.0, width**2])
    pi = GaussianMixture([0.5, 0.5], [[0.0], [1.5]], [0.8, 0.3])
    result = kl_divergence(rho0, pi)
    assert result.method == "quadrature"
    assert result.value == pytest.approx(kl_1d(rho0, pi), rel=1e-10)
    assert result.standard_error < 1e-9
    assert abs(kl_divergence(pi, pi).value) < 1e-13


def test_kl_in_one_dimension_finds_a_component_much_narrower_than_the_range():
    rho0 = GaussianMixture([0.5, 0.5], [[0.0], [700.0]], [1.0, 1e-6])
    pi = GaussianMixture([1.0], [[0.0]], [1.0])
    far = kl_divergence(GaussianMixture([1], [[700.0]], [1e-6]), pi).value
    assert kl_divergence(rho0, pi).value == pytest.approx(0.5 * far - math.log(2), rel=1e-11)


def test_kl_in_two_dimensions_agrees_with_a_grid_within_its_standard_error():
    rho0, pi = make("full", 2), make("diagonal", 3, seed=7)
    axis = np.linspace(-25, 25, 1201)
    grid = np.stack(np.meshgrid(axis, axis, indexing="ij"), -1)
    log_rho0 = rho0.log_density(grid)
    expected = np.sum(np.exp(log_rho0) * (log_rho0 - pi.log_density(grid))) * (axis[1] - axis[0]) ** 2
    result = kl_divergence(rho0, pi, seed=4)
    assert result.method == "quasi_monte_carlo"
    assert 0 < result.standard_error < 1e-3 * expected
    assert abs(result.value - expected) < 5 * result.standard_error
    assert kl_divergence(rho0, pi, seed=4) == result
    assert kl_divergence(rho0, pi, seed=5).value != result.value


def test_kl_of_a_split_gaussian_in_five_dimensions_is_the_closed_form():
    a, b = make("full", 1, 5), make("full", 1, 5, seed=2)
    split = GaussianMixture([1, 2], np.repeat(a.means, 2, 0), np.repeat(a.covariances, 2, 0))
    result = kl_divergence(split, b)
    assert abs(result.value - kl_divergence(a, b).value) < 5 * result.standard_error


def test_kl_refuses_what_it_cannot_do():
    with pytest.raises(ValueError, match="different dimensions, 2 and 3"):
        kl_divergence(make("full"), make("full", d=3))
    for bad in ({"points": 1000}, {"scramblings": 1}, {"points": 0}):
        with pytest.raises(ValueError, match="power of two"):
            kl_divergence(make("full"), make("full"), **bad)
