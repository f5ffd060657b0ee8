"""The choice of the engine: never one that cannot do the work, the asymptotically cheaper one for many points."""

import numpy as np
import pytest

from driftrates import kernels
from driftrates.sums import cpu, dispatch, kernel_sums
from driftrates.sums.program import compile_terms


def choose(kernel, n, d, rtol=None, h=0.3, dtype="float64", exclude_self=False, other=False):
    x = (np.random.default_rng(0).normal(size=(1, n, d)) / h).astype(dtype)
    y = x + 1 if other else x
    return dispatch.choose(compile_terms(kernels.make(kernel), d, ("k", "kz"), exclude_self), x, y, rtol)


@pytest.mark.parametrize(
    ("wanted", "arguments"),
    [
        ("cpu", {"kernel": "gaussian", "n": 100, "d": 2, "rtol": 1e-8}),
        ("nufft", {"kernel": "gaussian", "n": 100_000, "d": 1, "rtol": 1e-8}),
        ("nufft", {"kernel": "gaussian", "n": 100_000, "d": 2, "rtol": 1e-8}),
        ("nufft", {"kernel": "gaussian", "n": 200_000, "d": 3, "rtol": 1e-6}),
        ("cpu", {"kernel": "gaussian", "n": 100_000, "d": 2}),
        ("cpu", {"kernel": "gaussian", "n": 100_000, "d": 4, "rtol": 1e-6}),
        ("cpu", {"kernel": "gaussian", "n": 5_000, "d": 3, "rtol": 1e-6, "h": 1e-5}),
        ("line", {"kernel": "laplace", "n": 100_000, "d": 1}),
        ("line", {"kernel": "matern72", "n": 100_000, "d": 1, "exclude_self": True}),
        ("cpu", {"kernel": "laplace", "n": 100_000, "d": 1, "exclude_self": True, "other": True}),
        ("cpu", {"kernel": "laplace", "n": 100_000, "d": 1, "dtype": "float32"}),
        ("cpu", {"kernel": "laplace", "n": 100_000, "d": 2, "rtol": 1e-6}),
        ("cpu", {"kernel": "laplace", "n": 50, "d": 1}),
    ],
)
def test_the_choice(wanted, arguments):
    assert choose(**arguments) == wanted


def test_the_chosen_engine_is_the_one_that_runs(monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("the direct engine was called")

    x = np.random.default_rng(0).normal(size=(1, 20_000, 1))
    monkeypatch.setattr(cpu, "accumulate", refuse)
    kernel_sums(x, x, kernels.make("laplace"), 0.3, ("k",))
    with pytest.raises(AssertionError, match="direct engine"):
        kernel_sums(x, x, kernels.make("laplace"), 0.3, ("k",), engine="cpu")
