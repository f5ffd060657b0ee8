"""Every engine, through the one public call, against sums that are written out in extended precision."""

import tracemalloc
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from scipy.spatial import cKDTree

from driftrates import kernels
from driftrates.sums import ENGINES, TERMS, describe, engine_for, kernel_sums, work
from summation import DTYPES, KERNELS, assert_close, brute_force, cloud, terms_of


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("d", [1, 2, 3, 5, 10])
@pytest.mark.parametrize("name", KERNELS)
def test_all_terms(engine, name, d, dtype):
    """21 points and 35 sources: multiples of no vector length; self term in and out by one program each."""
    kernel = kernels.make(name)
    terms, h = terms_of(kernel), 0.8 if d < 10 else 1.6
    x, y = cloud(d, dtype, 2, 21, d), cloud(d + 100, dtype, 2, 35, d)
    log_scale, got = engine.sums(x, y, kernel, h, terms)
    assert (log_scale == 0).all()
    assert_close(got, *brute_force(x, y, kernel, h, terms), dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", KERNELS)
def test_self_term_kept_and_left_out(engine, name, dtype):
    """Points are their own sources, one of them twice: exclude_self deletes the row of the same index and no other."""
    kernel = kernels.make(name)
    terms = terms_of(kernel)
    x = cloud(3, dtype, 2, 19, 2)
    x[:, 7] = x[:, 11]
    for exclude_self in (False, True):
        _, got = engine.sums(x, x, kernel, 0.6, terms, exclude_self=exclude_self)
        assert_close(got, *brute_force(x, x, kernel, 0.6, terms, exclude_self), dtype)


@pytest.mark.parametrize("sizes", [(1, 1), (1, 2), (2, 1), (3, 16), (16, 3), (17, 33), (64, 1), (130, 517)])
def test_sizes_that_fill_no_vector(engine, sizes):
    kernel = kernels.Gaussian()
    n, m = sizes
    for dtype in DTYPES:
        x, y = cloud(n, dtype, 1, n, 2), cloud(m + 1000, dtype, 1, m, 2)
        _, got = engine.sums(x, y, kernel, 1.0, TERMS)
        assert_close(got, *brute_force(x, y, kernel, 1.0, TERMS), dtype)


@pytest.mark.parametrize("exclude_self", [False, True])
@pytest.mark.parametrize("h", [0.7, [0.5, 1.0, 2.5]])
def test_shared_sources_and_bandwidths_per_replicate(engine, h, exclude_self):
    kernel = kernels.Matern52()
    x, y = cloud(1, "float64", 3, 18, 3), cloud(2, "float64", 1, 18, 3)
    terms = terms_of(kernel)
    _, shared = engine.sums(x, y, kernel, np.array(h), terms, exclude_self=exclude_self)
    assert_close(shared, *brute_force(x, y, kernel, h, terms, exclude_self), "float64")
    _, own = engine.sums(x, np.repeat(y, 3, axis=0), kernel, np.array(h), terms, exclude_self=exclude_self)
    for r in range(3):
        _, single = engine.sums(x[r : r + 1], y, kernel, float(np.broadcast_to(h, 3)[r]), terms, exclude_self=exclude_self)
        for t in terms:
            np.testing.assert_allclose(shared[t][r], single[t][0], rtol=1e-11, atol=1e-12)
            np.testing.assert_allclose(own[t][r], single[t][0], rtol=1e-11, atol=1e-12)


def test_memory_layout_of_the_inputs_does_not_matter(engine):
    kernel = kernels.Matern32()
    x, y = cloud(1, "float64", 2, 18, 3), cloud(2, "float64", 2, 21, 3)
    _, plain = engine.sums(x, y, kernel, 1.0, TERMS)
    strided = np.repeat(x, 2, axis=1)[:, ::2], np.asfortranarray(y)
    assert not strided[0].flags.c_contiguous and not strided[1].flags.c_contiguous
    _, got = engine.sums(*strided, kernel, 1.0, TERMS)
    _, broadcast = engine.sums(x, np.broadcast_to(y[:1], y.shape), kernel, 1.0, TERMS)
    _, shared = engine.sums(x, y[:1], kernel, 1.0, TERMS)
    for t in TERMS:
        np.testing.assert_allclose(got[t], plain[t], rtol=1e-12, atol=1e-13)
        np.testing.assert_allclose(broadcast[t], shared[t], rtol=1e-13, atol=1e-13)


def test_same_call_same_bits(engine):
    kernel = kernels.Gaussian()
    for dtype in DTYPES:
        x = cloud(1, dtype, 2, 1500, 2)
        first, second = (engine.sums(x, x, kernel, 0.3, ("k", "gz"))[1] for _ in range(2))
        for t in first:
            np.testing.assert_array_equal(first[t], second[t])


def test_terms_wanted_alone_equal_terms_wanted_together(engine):
    x, y = cloud(1, "float64", 1, 20, 2), cloud(2, "float64", 1, 30, 2)
    for kernel in (kernels.Gaussian(), kernels.SmoothedLaplace()):
        _, together = engine.sums(x, y, kernel, 0.7, TERMS)
        for t in TERMS:
            _, alone = engine.sums(x, y, kernel, 0.7, (t,))
            np.testing.assert_allclose(alone[t], together[t], rtol=1e-13, atol=1e-13)


def test_kernel_parameters_reach_the_engine(engine):
    x, y = cloud(1, "float64", 1, 17, 2), cloud(2, "float64", 1, 9, 2)
    for kernel in (
        kernels.SmoothedLaplace(0.5),
        kernels.SmoothedLaplace(0.01),
        kernels.InverseMultiquadric(2.5),
        kernels.InverseMultiquadric(20.0),
    ):
        _, got = engine.sums(x, y, kernel, 1.0, TERMS)
        assert_close(got, *brute_force(x, y, kernel, 1.0, TERMS), "float64")


def test_nearest_source(engine):
    for dtype in DTYPES:
        x, y = cloud(1, dtype, 2, 150, 3), cloud(2, dtype, 2, 77, 3)
        for sources in (y, y[:1]):
            got = engine.host(engine.module.nearest(engine.xp.asarray(x), engine.xp.asarray(sources)))
            assert got.dtype == dtype
            for r in range(2):
                exact = cKDTree(sources[r % len(sources)].astype(float)).query(x[r].astype(float))[0]
                np.testing.assert_allclose(np.sqrt(got[r]), exact, rtol=20 * np.finfo(dtype).eps)
        rows = np.array([3, 40, 149])
        got = engine.host(engine.module.nearest(*(engine.xp.asarray(a) for a in (x[:1, rows], x[:1], rows))))
        exact = cKDTree(x[0].astype(float)).query(x[0, rows].astype(float), k=2)[0][:, 1]
        np.testing.assert_allclose(np.sqrt(got[0]), exact, rtol=20 * np.finfo(dtype).eps)


def test_twenty_thousand_sources_against_a_tree_and_without_a_matrix_of_pairs(engine):
    """Sums over neighbours within 9 h found by a KD-tree leave out less than 1e-13; peak memory stays far below n m numbers."""
    m, n, h = 20_000, 2_000 if engine.name == "reference" else 20_000, 0.05
    y = np.random.default_rng(0).uniform(-1, 1, (1, m, 2))
    x = y[:, :n]
    kernel = kernels.Gaussian()
    engine.sums(x[:, :20], y, kernel, h, ("k", "gz"))  # compiles
    on_gpu = hasattr(engine.xp, "get_default_memory_pool")
    if on_gpu:
        pool = engine.xp.get_default_memory_pool()
        pool.free_all_blocks()
        before = pool.total_bytes()
    tracemalloc.start()
    _, got = engine.sums(x, y, kernel, h, ("k", "gz"))
    peak = pool.total_bytes() - before if on_gpu else tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 200e6 < 8 * n * m, f"{peak / 1e6:.0f} MB"

    checked = np.arange(0, n, n // 500)
    tree = cKDTree(y[0])
    for i, neighbours in zip(checked, tree.query_ball_point(x[0, checked], 9 * h), strict=True):
        z = (y[0, neighbours] - x[0, i]) / h
        weight = np.exp(-0.5 * (z * z).sum(1))
        assert got["k"][0, i] == pytest.approx(weight.sum(), rel=1e-12)
        np.testing.assert_allclose(got["gz"][0, i], weight @ z, atol=1e-11 * weight.sum())


def test_the_default_engine_for_numpy_arrays_is_the_cpu():
    assert engine_for(np.zeros(1)).__name__.endswith("cpu")
    x = cloud(1, "float64", 1, 33, 2)
    default, named = (kernel_sums(x, x, kernels.Gaussian(), 1.0, ("k",), engine=e) for e in (None, "cpu"))
    np.testing.assert_array_equal(default.terms["k"], named.terms["k"])


X = np.zeros((2, 3, 2))


@pytest.mark.parametrize(
    ("x", "y", "h", "terms", "options", "message"),
    [
        (X[0], X, 1.0, ("k",), {}, r"x \(3, 2\) and y \(2, 3, 2\) are not \(R, n, d\) and \(R or 1, m, d\)"),
        (X, X[0], 1.0, ("k",), {}, "are not"),
        (X, X[..., :1], 1.0, ("k",), {}, "are not"),
        (X, np.zeros((3, 3, 2)), 1.0, ("k",), {}, "are not"),
        (X, X[:, :0], 1.0, ("k",), {}, "with m > 0"),
        (X, X.astype("float32"), 1.0, ("k",), {}, "must both be float64 or both float32"),
        (X.astype("int64"), X.astype("int64"), 1.0, ("k",), {}, "must both be float64"),
        (X.astype("float16"), X.astype("float16"), 1.0, ("k",), {}, "must both be float64"),
        (X, X[:, :2], 1.0, ("k",), {"exclude_self": True}, "exclude_self needs as many points as sources, not 3 and 2"),
        (X[:, :1], X[:, :1], 1.0, ("k",), {"exclude_self": True}, "exclude_self .* at least (2|two)"),
        (X, X, 0.0, ("k",), {}, "h must be a positive number or one per replicate, not 0.0"),
        (X, X, -1.0, ("k",), {}, "h must be a positive number"),
        (X, X, np.nan, ("k",), {}, "h must be a positive number"),
        (X, X, np.inf, ("k",), {}, "h must be a positive number"),
        (X, X, [1.0, 1.0, 1.0], ("k",), {}, "one per replicate"),
        (X, X, 1e-310, ("k",), {}, "h = 1e-310 is so small that 1 / h is beyond the range of float64"),
        (X.astype("float32"), X.astype("float32"), [1.0, 1e-40], ("k",), {}, "h = 1e-40 is so small .* float32"),
        (X, X, [1.0, 0.0], ("k",), {}, "h must be a positive number"),
        (X, X, 1.0, ("laplacian",), {}, "unknown term 'laplacian'; known: companion, k, kz"),
        (X, X, 1.0, ("k",), {"engine": "gpu"}, "unknown engine 'gpu'; known: reference, cpu, line, cells, nufft, ewald, cuda, cunufft"),
    ],
)
def test_bad_input_is_refused(x, y, h, terms, options, message):
    with pytest.raises(ValueError, match=message):
        kernel_sums(x, y, kernels.Gaussian(), h, terms, **{"engine": "reference", **options})


def test_a_kink_has_no_laplacian_and_a_short_ladder_says_so(private_registry):
    with pytest.raises(ValueError, match="kernel 'laplace' has no Laplacian at its kink: term 'lap' is undefined"):
        kernel_sums(X, X, kernels.Laplace(), 1.0, ("lap",))

    class Short(kernels.Kernel):
        name = "short"
        exponent = "0.5*s2"
        prefactors = ("1", "1", "1")

    kernel_sums(X, X, Short(), 1.0, ("gz",))
    with pytest.raises(ValueError, match=r"'short' defines the rungs -1\.\.1 of its ladder, not 2"):
        kernel_sums(X, X, Short(), 1.0, ("lap",))


def test_the_work_of_each_engine_is_counted():
    x = np.random.default_rng(0).normal(size=(2, 30, 2))
    before = work()
    for name, count in (("cpu", 2), ("nufft", 1), (None, 1)):
        for _ in range(count):
            kernel_sums(x, x[:1, :10], kernels.make("gaussian"), 0.5, ("k",), engine=name, rtol=1e-6)
    done = work() - before
    assert dict(zip(ENGINES, done.tolist(), strict=True)) == {**dict.fromkeys(ENGINES, [0, 0]), "cpu": [3, 1800], "nufft": [1, 600]}
    assert describe(done) == "cpu (3 passes, 1800 pairs), nufft (1 pass, 600 pairs)"
    assert describe(0 * done) is None


def test_the_work_of_many_threads_is_counted():
    x = np.zeros((1, 4, 1))
    before = work()
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: kernel_sums(x, x, kernels.make("gaussian"), 0.5, ("k",), engine="reference"), range(200)))
    assert (work() - before)[ENGINES.index("reference")].tolist() == [200, 3200]
