"""The choice of the engine: never one that cannot do the work, the asymptotically cheaper one for many points."""

import numpy as np
import pytest

from driftrates import kernels
from driftrates.sums import costs, cpu, dispatch, kernel_sums, work
from driftrates.sums.program import compile_terms


def choose(kernel, n, d, rtol=None, h=0.3, dtype="float64", exclude_self=False, other=False):
    x = (np.random.default_rng(0).normal(size=(1, n, d)) / h).astype(dtype)
    y = x + 1 if other else x
    (name,) = dispatch.choose(compile_terms(kernels.make(kernel), d, ("k", "kz"), exclude_self), x, y, rtol)
    return name


@pytest.mark.parametrize(
    ("wanted", "arguments"),
    [
        ("cpu", {"kernel": "gaussian", "n": 100, "d": 2, "rtol": 1e-8}),
        ("nufft", {"kernel": "gaussian", "n": 100_000, "d": 1, "rtol": 1e-8}),
        ("nufft", {"kernel": "gaussian", "n": 100_000, "d": 2, "rtol": 1e-8}),
        ("nufft", {"kernel": "gaussian", "n": 200_000, "d": 3, "rtol": 1e-6}),
        ("cpu", {"kernel": "gaussian", "n": 100_000, "d": 2}),
        ("cpu", {"kernel": "gaussian", "n": 100_000, "d": 4, "rtol": 1e-6}),
        ("cells", {"kernel": "gaussian", "n": 100_000, "d": 2, "rtol": 1e-6, "h": 0.005}),
        ("cells", {"kernel": "laplace", "n": 100_000, "d": 3, "rtol": 1e-6, "h": 0.002}),
        ("ewald", {"kernel": "laplace", "n": 100_000, "d": 2, "rtol": 1e-6, "h": 0.147}),
        ("ewald", {"kernel": "matern52", "n": 100_000, "d": 2, "rtol": 1e-6, "h": 0.147}),
        ("cpu", {"kernel": "laplace", "n": 3_000, "d": 2, "rtol": 1e-6}),
        ("cpu", {"kernel": "gaussian", "n": 100_000, "d": 2, "rtol": 1e-15}),
        ("line", {"kernel": "laplace", "n": 100_000, "d": 1}),
        ("line", {"kernel": "matern72", "n": 100_000, "d": 1, "exclude_self": True}),
        ("cpu", {"kernel": "laplace", "n": 100_000, "d": 1, "exclude_self": True, "other": True}),
        ("cpu", {"kernel": "laplace", "n": 100_000, "d": 1, "dtype": "float32"}),
        ("cpu", {"kernel": "laplace", "n": 100_000, "d": 2}),
        ("cpu", {"kernel": "laplace", "n": 50, "d": 1}),
    ],
)
def test_the_choice(wanted, arguments):
    assert choose(**arguments) == wanted


def test_the_choice_does_not_depend_on_the_number_of_threads(threads):
    found = set()
    for count in (1, 4, 16):
        threads(count)
        found.add(tuple(choose("gaussian", n, 2, 1e-8) for n in (1000, 1500, 2000, 2500, 3000)))
    assert len(found) == 1


@pytest.mark.parametrize(("kernel", "d"), [("gaussian", 1), ("gaussian", 3), ("laplace", 2), ("smoothed_laplace", 2)])
def test_every_engine_that_is_considered_does_the_work(kernel, d):
    """The prediction knows what an engine can do: whatever it gives a finite time to agrees with the direct engine."""
    x = np.random.default_rng(0).normal(size=(1, 6000, d))
    program = compile_terms(kernels.make(kernel), d, ("k", "kz"))
    predicted = dispatch.predictions(program, x[0] / 0.5, x[0] / 0.5, 1e-6)
    exact = kernel_sums(x, x, kernels.make(kernel), 0.5, ("k",), engine="cpu").terms["k"]
    assert {"cpu"} < {name for name, seconds in predicted.items() if np.isfinite(seconds)}
    for name, seconds in predicted.items():
        assert seconds > 0
        if name != "cpu" and seconds < 5:
            found = kernel_sums(x, x, kernels.make(kernel), 0.5, ("k",), engine=name, rtol=1e-6).terms["k"]
            np.testing.assert_allclose(found, exact, rtol=1e-6)


def test_predictions_of_the_direct_engine_grow_with_its_work():
    gaussian, laplace = (compile_terms(kernels.make(name), 2, ("k",)) for name in ("gaussian", "laplace"))
    more = compile_terms(kernels.make("laplace"), 2, ("k", "kz", "gz", "gzz", "companion"))
    assert costs.operations(gaussian) < costs.operations(laplace) < costs.operations(more)
    # What two columns share is counted once: a vector costs its components, not its weight again.
    assert costs.operations(compile_terms(kernels.make("laplace"), 2, ("k", "kz"))) == costs.operations(laplace) + 2
    assert costs.direct_seconds(gaussian, 2000, 1000) > costs.direct_seconds(gaussian, 1000, 1000)
    assert costs.direct_seconds(gaussian, 10**4, 10**4, "float32") < costs.direct_seconds(gaussian, 10**4, 10**4)


@pytest.mark.parametrize(
    ("kernel", "rtol", "shape"), [("gaussian", 1e-6, (3, 5000, 2)), ("laplace", 1e-6, (2, 15_000, 2)), ("laplace", None, (8, 520, 1))]
)
@pytest.mark.parametrize("shared", [False, True])
def test_every_replicate_has_the_engine_and_the_result_that_it_has_alone(kernel, rtol, shape, shared):
    x = np.random.default_rng(0).normal(size=shape)
    x[1] *= 1e6  # as wide as no grid of the transform
    y = x[:1] if shared else x
    h, before = np.full(len(x), 0.3), work()
    together = kernel_sums(x, y, kernels.make(kernel), h, ("k", "kz"), rtol=rtol)
    used = work() - before
    assert rtol is None or shared or np.count_nonzero(used[:, 0]) > 1, "replicates of different engines are meant"
    for r in range(len(x)):
        alone = kernel_sums(x[r : r + 1], y if shared else x[r : r + 1], kernels.make(kernel), 0.3, ("k", "kz"), rtol=rtol)
        np.testing.assert_array_equal(together.log_scale[r], alone.log_scale[0])
        for term in ("k", "kz"):
            np.testing.assert_array_equal(together.terms[term][r], alone.terms[term][0])


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("kernel", ["gaussian", "laplace"])
def test_what_is_not_finite_reaches_an_engine_that_bears_it(kernel, bad):
    x = np.random.default_rng(0).normal(size=(1, 8000, 2))
    spoilt = x.copy()
    spoilt[0, 5] = bad
    exact = kernel_sums(x[:, :20], x, kernels.make(kernel), 0.2, ("k",), engine="cpu").terms["k"][0]
    found = kernel_sums(spoilt, x, kernels.make(kernel), 0.2, ("k",), rtol=1e-6).terms["k"][0, :20]
    np.testing.assert_allclose(np.delete(found, 5), np.delete(exact, 5), rtol=1e-6)
    assert not found[5] > 0
    sources = kernel_sums(x, spoilt, kernels.make(kernel), 0.2, ("k",), rtol=1e-6).terms["k"]
    assert np.isnan(sources).all() if np.isnan(bad) else np.isfinite(sources).all()


def test_the_chosen_engine_is_the_one_that_runs(monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("the direct engine was called")

    x = np.random.default_rng(0).normal(size=(1, 20_000, 1))
    monkeypatch.setattr(cpu, "accumulate", refuse)
    kernel_sums(x, x, kernels.make("laplace"), 0.3, ("k",))
    with pytest.raises(AssertionError, match="direct engine"):
        kernel_sums(x, x, kernels.make("laplace"), 0.3, ("k",), engine="cpu")
