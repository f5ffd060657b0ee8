"""The split of the Laplace and Matérn kernels: its two parts against quadrature, its sums against the reference."""

import mpmath
import numpy as np
import pytest

from driftrates import kernels
from driftrates.sums import TERMS, ewald, kernel_sums, nufft
from driftrates.sums.program import compile_terms
from summation import errors_of_the_mass

LAPLACE_TERMS = tuple(t for t in TERMS if t != "lap")


def quadrature(m, log_weight, edges):
    """Integral of (pi u)^-1/2 (2u)^m exp(-u + log_weight(u)) between the edges, in v = log u."""

    def integrand(v):
        u = mpmath.fp.exp(v)
        return (2 * u) ** m * mpmath.fp.sqrt(u / mpmath.fp.pi) * mpmath.fp.exp(log_weight(u) - u)

    return mpmath.fp.quad(integrand, np.log(edges).tolist())


@pytest.mark.parametrize("m", [-1, 0, 1, 2, 4])
@pytest.mark.parametrize("u0", [2.0**-9, 2.0**-4, 0.5])
def test_both_parts_are_the_integrals_cut_at_u0(m, u0):
    for v2 in (0.01, 1.0, 9.0):
        exact = quadrature(m, lambda u, v2=v2: u0 + v2 - v2 * u0 / u, u0 * np.geomspace(1e-6, 1, 13))
        assert ewald.short_part(m, np.array([2 * np.sqrt(v2 * u0)]), u0)[0] == pytest.approx(exact, rel=1e-10, abs=1e-13)
    for d in (2, 3):
        for k2 in (0.0, 1.0, 9.0 / u0):
            edges = np.geomspace(u0, max(2 * u0, 60.0), 25)
            exact = quadrature(m, lambda u, d=d, k2=k2: d / 2 * mpmath.fp.log(4 * mpmath.fp.pi * u) - u * k2, edges)
            assert ewald.smooth_transform(m, d, np.array(k2), u0) == pytest.approx(exact, rel=1e-10)


@pytest.mark.parametrize("d", [2, 3])
def test_without_a_short_part_the_transform_is_the_kernel_s_own(d):
    k = np.array([0.0, 0.5, 2.0])
    for order, name in enumerate(("laplace", "matern32", "matern52")):
        kernel = kernels.make(name)
        whole = ewald.smooth_transform(order, d, k * k, 1e-12) / np.prod(np.arange(1, 2 * order, 2))
        np.testing.assert_allclose(whole / kernel.normaliser(d), kernel.fourier(k, d), rtol=1e-5)


@pytest.mark.parametrize("rtol", [1e-6, 1e-10])
@pytest.mark.parametrize("u0", [2.0**-14, 2.0**-6, 1.0])
def test_the_short_program_is_the_short_part_at_every_distance(rtol, u0):
    program = compile_terms(kernels.make("laplace"), 2, LAPLACE_TERMS)
    s = np.linspace(1e-3, 6, 3000) * ewald.cutoff(u0, rtol)
    found = nufft.single(ewald.short_program(program, u0, rtol), np.stack([s, 0 * s], 1))
    decay = np.exp(-u0 - s * s / (4 * u0))
    for term, m, power in (("companion", 1, 0), ("k", 0, 0), ("kz", 0, 1), ("gz", -1, 1), ("gzz", -1, 2)):
        exact = decay * ewald.short_part(m, s, u0) * s**power
        allowed = rtol / 20 * np.exp(-s) * np.maximum(s, 1.0) ** max(power + min(m, 0), 0) + 1e-15
        assert (np.abs(found[program.slots[term][0]] - exact) < 2 * allowed).all(), term


def compare(x, y, name, h, rtol, terms=LAPLACE_TERMS, **options):
    """Largest error of every term relative to the sum of k there, in units of ``rtol``."""
    exact, found = (kernel_sums(x, y, kernels.make(name), h, terms, engine=e, rtol=rtol, **options) for e in ("reference", "ewald"))
    return {term: error / rtol for term, error in errors_of_the_mass(found, exact).items()}


@pytest.mark.parametrize(("d", "n", "h", "rtol"), [(2, 1200, 0.2, 1e-6), (2, 1200, 0.2, 1e-10), (3, 350, 3.0, 1e-6), (3, 350, 3.0, 1e-8)])
@pytest.mark.parametrize("exclude_self", [False, True])
def test_keeps_the_accuracy_asked_for(d, n, h, rtol, exclude_self):
    rng = np.random.default_rng(d)
    x = rng.normal(size=(4 - d, n, d))
    y = x if exclude_self else rng.normal(size=(1, n // 2, d))
    error = compare(x, y, "laplace", h, rtol, exclude_self=exclude_self)
    assert error["k"] < 1 and error["companion"] < 1 and error["kz"] < 1 and error["gz"] < 1 and error["gzz"] < 1


@pytest.mark.parametrize("name", ["matern32", "matern52", "matern72"])
def test_the_smoother_kernels_of_the_family(name):
    x = np.random.default_rng(1).normal(size=(1, 500, 2))
    # Second moments of the wider kernels are several h^2.
    assert max(compare(x, x, name, 0.5, 1e-8, TERMS, exclude_self=True).values()) < 10


@pytest.mark.parametrize("distance", [2.0, 6.0, 40.0])
def test_points_far_from_all_sources(distance):
    y = np.random.default_rng(0).normal(size=(1, 400, 2))
    x = np.concatenate([y, y[:, :40] + distance], axis=1)
    assert max(compare(x, y, "laplace", 0.3, 1e-8).values()) < (distance / 0.3) ** 2


def test_clusters_beside_empty_space():
    rng = np.random.default_rng(0)
    x = np.concatenate([[0, 0] + 1e-3 * rng.normal(size=(400, 2)), [5, 1] + 0.3 * rng.normal(size=(400, 2)), [[2.5, 8.0], [2.5, -7.0]]])[
        None
    ]
    error = compare(x, x, "laplace", 0.2, 1e-8, exclude_self=True)
    assert error["k"] < 1 and error["kz"] < 40


def test_sources_left_out_that_lie_elsewhere():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(1, 600, 2))
    y = x + 0.05 * rng.normal(size=x.shape)
    assert max(compare(x, y, "laplace", 0.2, 1e-8, exclude_self=True).values()) < 1


def test_no_point_sees_an_image_of_the_sources():
    y = np.random.default_rng(0).normal(size=(1, 300, 2))
    x = np.repeat(np.linspace(-1.0, 14.0, 801), 2).reshape(1, -1, 2)
    assert compare(x, y, "laplace", 0.4, 1e-9, ("k",))["k"] < 1


def test_the_accuracy_does_not_hang_on_the_split(monkeypatch):
    x = np.random.default_rng(0).normal(size=(1, 500, 2))
    for exponent in (-7, -4, -1):
        monkeypatch.setattr(ewald, "best_split", lambda *_, exponent=exponent: (2.0**exponent, 1.0))
        assert max(compare(x, x, "laplace", 0.3, 1e-8).values()) < 1


def test_results_do_not_depend_on_the_number_of_threads(threads):
    x, found = np.random.default_rng(0).normal(size=(3, 4000, 2)), []
    for count in (1, 2, 5):
        threads(count)
        found.append(kernel_sums(x, x, kernels.make("laplace"), 0.1, ("kz",), engine="ewald", rtol=1e-6).terms["kz"])
    assert np.array_equal(found[0], found[1]) and np.array_equal(found[0], found[2])


def test_a_replicate_does_not_see_how_wide_the_others_are():
    x = np.random.default_rng(0).normal(size=(3, 3000, 2)) * np.array([0.2, 2, 0.2])[:, None, None]
    splits = [ewald.best_split(compile_terms(kernels.make("laplace"), 2, ("k",)), p, p, 1e-6)[0] for p in x / 0.2]
    assert len(set(splits)) > 1, "replicates of different splits are meant"
    together, *alone = (
        kernel_sums(p, p, kernels.make("laplace"), 0.2, ("k", "kz"), engine="ewald", rtol=1e-6).terms for p in (x, x[:1], x[1:2], x[2:])
    )
    for term in ("k", "kz"):
        np.testing.assert_array_equal(together[term], np.concatenate([a[term] for a in alone]))


def test_points_too_wide_for_any_grid_are_refused():
    program, x = compile_terms(kernels.make("laplace"), 2, ("k",)), np.random.default_rng(0).normal(size=(1, 400, 2))
    for scale in (1e7, 1e200):
        assert ewald.predicted_seconds(program, scale * x[0], scale * x[0], 1e-6) == np.inf
        with pytest.raises(ValueError, match=r"'ewald' cannot keep rtol = 1e-06 .* modes\): use the direct engine, or a larger h"):
            ewald.accumulate(program, scale * x, scale * x, np.zeros((1, 400)), rtol=1e-6)


def test_single_precision_in_and_out():
    x = np.random.default_rng(0).normal(size=(1, 500, 2)).astype(np.float32)
    found = kernel_sums(x, x, kernels.make("laplace"), 0.5, ("k", "kz"), engine="ewald", rtol=1e-6).terms
    exact = kernel_sums(x.astype(float), x.astype(float), kernels.make("laplace"), 0.5, ("k", "kz"), engine="reference").terms
    assert found["k"].dtype == np.float32
    np.testing.assert_allclose(found["k"], exact["k"], rtol=2e-6)


def test_what_it_does_not_do_is_said():
    for name, d in (("gaussian", 2), ("smoothed_laplace", 2), ("laplace", 1), ("laplace", 4)):
        assert not ewald.supports(compile_terms(kernels.make(name), d, ("k",)))
    x = np.random.default_rng(0).normal(size=(1, 5, 2))
    for name, rtol, message in (("gaussian", 1e-6, "needs a Laplace"), ("laplace", 1e-15, "1e-13 <= rtol < 1")):
        with pytest.raises(ValueError, match=message):
            kernel_sums(x, x, kernels.make(name), 1.0, ("k",), engine="ewald", rtol=rtol)
