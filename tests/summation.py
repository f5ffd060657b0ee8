"""Clouds for the tests of the sums, how exact each engine is, and what its sums are compared with."""

from __future__ import annotations

import numpy as np

from driftrates import kernels
from driftrates.sums import TERMS, engine_for, kernel_sums, reference
from driftrates.sums.program import compile_terms

DTYPES = ("float64", "float32")
KERNELS = kernels.names()
RTOL = {"float64": 2e-13, "float32": 1e-5}
BITS = {"avx512": 512, "avx2": 256, "sse": 128}
"""Width of a vector of the CPU by the instructions it has."""


def cloud(seed, dtype, *shape, width=1.0):
    return (width * np.random.default_rng(seed).standard_normal(shape)).astype(dtype)


def terms_of(kernel):
    return tuple(t for t in TERMS if t != "lap" or kernel.smoothness >= 2)


def program_of(name, d, exclude_self=False):
    """Every term of a kernel."""
    kernel = kernels.make(name)
    return compile_terms(kernel, d, terms_of(kernel), exclude_self)


class Backend:
    """One engine: arrays go to its device and come back, dtype and array type of every result are asserted."""

    def __init__(self, name):
        self.name = name
        self.module = engine_for(None, name)
        self.xp = self.module.namespace()

    def sums(self, x, y, kernel, h, terms, **options):
        """(log_scale, terms) on the host."""
        sent = self.xp.asarray(x), self.xp.asarray(y)
        before = [a.copy() for a in sent]
        result = kernel_sums(*sent, kernel, h, terms, engine=self.name, **options)
        assert all((a == b).all() for a, b in zip(sent, before, strict=True)), "the inputs were changed"
        assert set(result.terms) == set(terms)
        for array in (result.log_scale, *result.terms.values()):
            assert type(array) is type(sent[0]) and array.dtype == sent[0].dtype
        assert result.log_scale.shape == x.shape[:2]
        for term, array in result.terms.items():
            assert array.shape == (x.shape if term in ("kz", "gz") else x.shape[:2])
        return self.host(result.log_scale), {t: self.host(a) for t, a in result.terms.items()}

    def host(self, array):
        return array.get() if hasattr(array, "get") else array


def brute_force(x, y, kernel, h, terms, exclude_self=False):
    """(sums, sums of absolute values) by a loop over replicates and points in long double, from the kernel's rungs alone."""
    replicates, n, d = x.shape
    h = np.broadcast_to(np.asarray(h, dtype=np.longdouble), replicates)
    vector = ("kz", "gz")
    sums = {t: np.zeros((replicates, n, d) if t in vector else (replicates, n), np.longdouble) for t in terms}
    sizes = {t: np.zeros_like(a) for t, a in sums.items()}
    for r in range(replicates):
        sources = y[r if len(y) > 1 else 0].astype(np.longdouble)
        for i in range(n):
            others = np.delete(sources, i, axis=0) if exclude_self else sources
            z = (others - x[r, i].astype(np.longdouble)) / h[r]
            s = np.sqrt((z * z).sum(1))

            def rung(k, s=s):
                return kernel.rung(s, d, k)

            weights = {
                "companion": lambda: rung(-1),
                "k": lambda: rung(0),
                "kz": lambda z=z: rung(0)[:, None] * z,
                "gz": lambda z=z: rung(1)[:, None] * z,
                "gzz": lambda s=s: rung(1) * s * s,
                "lap": lambda s=s: rung(2) * s * s - d * rung(1),
            }
            for t in terms:
                values = weights[t]()
                sums[t][r, i], sizes[t][r, i] = values.sum(0), np.abs(values).sum(0)
                if t == "lap":
                    sizes[t][r, i] = (rung(2) * s * s + d * rung(1)).sum()
    return sums, sizes


def assert_close(got, expected, sizes, dtype, slack=1.0):
    """Errors are measured against the sum of absolute values: signed sums cancel."""
    for term, values in got.items():
        error = np.abs(values - expected[term]) / np.maximum(sizes[term], np.finfo(dtype).tiny)
        assert error.max() <= slack * RTOL[dtype], (term, float(error.max()))


def errors_of_the_mass(found, exact):
    """Largest error of every term of the results ``found``, relative to the sum of k at the same point."""
    scale, mass = np.exp(found.log_scale - exact.log_scale), exact.terms["k"]
    ratio = {}
    for term, values in exact.terms.items():
        vector = values.ndim == 3
        difference = np.abs(found.terms[term] * (scale[..., None] if vector else scale) - values)
        ratio[term] = float((difference / (mass[..., None] if vector else mass)).max())
    return ratio


def assert_agrees(got, program, x, y, shift, index=None):
    """Columns ``got`` against the reference in float64; errors are measured against the largest value of each column."""
    expected = reference.accumulate(program, x.astype(float), y.astype(float), shift.astype(float), index)
    assert got.dtype == x.dtype and got.shape == expected.shape
    size = np.abs(expected).max(axis=(0, 2))[None, :, None]
    assert (np.abs(got - expected) <= RTOL[str(x.dtype)] * size).all()
