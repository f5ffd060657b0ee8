"""The transform's sums against the direct engine: the accuracy asked for is kept at every point, near and far."""

import numpy as np
import pytest

from driftrates import kernels
from driftrates.sums import TERMS, kernel_sums, nufft
from driftrates.sums.program import compile_terms

GAUSSIAN = kernels.make("gaussian")


def compare(x, y, h, rtol, **options):
    """Largest error of the mass relative to itself, and of every other term relative to the mass."""
    exact = kernel_sums(x, y, GAUSSIAN, h, TERMS, engine="cpu", **options)
    found = kernel_sums(x, y, GAUSSIAN, h, TERMS, engine="nufft", rtol=rtol, **options)
    scale, mass = np.exp(found.log_scale - exact.log_scale), exact.terms["k"]
    ratio = {}
    for name, values in exact.terms.items():
        vector = values.ndim == 3
        difference = np.abs(found.terms[name] * (scale[..., None] if vector else scale) - values)
        ratio[name] = float((difference / (mass[..., None] if vector else mass)).max())
    return ratio


@pytest.mark.parametrize("d", [1, 2, 3])
@pytest.mark.parametrize("rtol", [1e-4, 1e-8, 1e-11])
@pytest.mark.parametrize("exclude_self", [False, True])
def test_keeps_the_accuracy_asked_for(d, rtol, exclude_self):
    rng = np.random.default_rng(d)
    x = rng.normal(size=(2, 700, d))
    y = x if exclude_self else rng.normal(size=(1, 600, d))
    error = compare(x, y, 0.5, rtol, exclude_self=exclude_self)
    assert error["k"] < rtol
    # A component of the mean shift is a mean of |z|, which is a few h in the tails; second moments are its square.
    assert error["kz"] < 4 * rtol and error["gzz"] < 16 * rtol and error["lap"] < 16 * rtol


@pytest.mark.parametrize("distance", [3.0, 8.0, 30.0, 300.0])
def test_points_far_from_all_sources_are_summed_directly(distance):
    rng = np.random.default_rng(0)
    y = rng.normal(size=(1, 400, 2))
    x = np.concatenate([y, y[:, :20] + distance], axis=1)
    assert max(compare(x, y, 0.4, 1e-9).values()) < 1e-9 * (distance / 0.4) ** 2


@pytest.mark.parametrize("d", [1, 2])
def test_no_point_sees_an_image_of_the_sources(d):
    y = np.random.default_rng(0).normal(size=(1, 300, d))
    x = np.repeat(np.linspace(-1.0, 14.0, 801), d).reshape(1, -1, d)
    assert compare(x, y, 0.4, 1e-9)["k"] < 1e-9


def test_without_the_direct_sums_the_tail_would_be_lost(monkeypatch):
    rng = np.random.default_rng(0)
    y = rng.normal(size=(1, 400, 2))
    x = y + 3.0
    monkeypatch.setattr(nufft, "_DOUBT", 0.0)
    assert compare(x, y, 0.4, 1e-9)["k"] > 1e-7


def test_a_point_far_away_does_not_widen_the_grid():
    y = np.random.default_rng(0).normal(size=(400, 2))
    far = np.concatenate([y, [[1e6, 0.0]]])
    near = np.concatenate([y, [[100.0, 0.0]]])
    assert nufft.grid(far, y, 1e-9).modes == nufft.grid(near, y, 1e-9).modes


def test_single_precision_in_and_out():
    x = np.random.default_rng(0).normal(size=(1, 500, 2)).astype(np.float32)
    found = kernel_sums(x, x, GAUSSIAN, 0.5, ("k", "kz"), engine="nufft", rtol=1e-6).terms
    exact = kernel_sums(x.astype(float), x.astype(float), GAUSSIAN, 0.5, ("k", "kz"), engine="cpu").terms
    assert found["k"].dtype == np.float32
    np.testing.assert_allclose(found["k"], exact["k"], rtol=1e-6)


def test_what_it_does_not_do_is_said():
    assert not nufft.supports(compile_terms(kernels.make("laplace"), 1, ("k",)))
    assert not nufft.supports(compile_terms(GAUSSIAN, 4, ("k",)))
    x = np.random.default_rng(0).normal(size=(1, 5, 3))
    for kernel, h, rtol, message in (
        (kernels.make("matern32"), 1.0, 1e-6, "needs the Gaussian kernel in d <= 3"),
        (GAUSSIAN, 1.0, 1e-15, "1e-13 <= rtol < 1"),
        (GAUSSIAN, 1e-4, 1e-6, "modes: use the direct engine"),
    ):
        with pytest.raises(ValueError, match=message):
            kernel_sums(x, x, kernel, h, ("k",), engine="nufft", rtol=rtol)
