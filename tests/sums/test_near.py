"""Sums over near sources against those over all."""

import numpy as np
import pytest

from driftrates import kernels
from driftrates.sums import TERMS, cpu, near, reference
from driftrates.sums.program import compile_terms


@pytest.fixture
def pairs(monkeypatch):
    """Pairs of every direct sum of the module, which looks for near sources among few."""
    counted, accumulate = [], cpu.accumulate

    def counting(program, x, y, shift, index=None, ranges=None):
        if ranges is None:
            counted.append(x.shape[1] * y.shape[1])
        return accumulate(program, x, y, shift, index, ranges)

    monkeypatch.setattr(near, "_MANY", 1.6e6)
    monkeypatch.setattr(near, "_PAIRS_PER_CELL", 1)
    monkeypatch.setattr(near.cpu, "accumulate", counting)
    yield counted


def tails(d, exclude_self):
    """A program, a normal cloud of which a few points lie apart, the points of its outskirts, and their shift."""
    program = compile_terms(kernels.make("gaussian"), d, TERMS, exclude_self)
    y = 25 * np.random.default_rng(d).normal(size=(1, 4000, d))
    y[0, :5] += 400
    index = np.flatnonzero(np.abs(y[0, :, 0]) > 40)
    return program, y[:, index], y, np.zeros((1, len(index))), index


@pytest.mark.parametrize("d", [1, 2, 3])
@pytest.mark.parametrize("exclude_self", [False, True])
@pytest.mark.parametrize("many", [1.6e6, 0])
def test_sums_over_near_sources_are_those_over_all(pairs, monkeypatch, d, exclude_self, many):
    monkeypatch.setattr(near, "_MANY", many)
    program, x, y, shift, index = tails(d, exclude_self)
    x = x + 0.3  # not the place of any source
    found = near.accumulate(program, x, y, shift, index if exclude_self else None, rtol=1e-13)
    exact = reference.accumulate(program, x, y, shift, index if exclude_self else None)
    np.testing.assert_allclose(found, exact, rtol=1e-12, atol=1e-12 * exact[0, 0].max())
    np.testing.assert_allclose(found[0, 0], exact[0, 0], rtol=1e-12, atol=1e-300)
    weak = (exact[0, 0] < near._LEAST_SUM).sum()
    if many:
        assert pairs[0] < 0.5 * x.shape[1] * y.shape[1] and pairs[1:] == ([weak * y.shape[1]] if weak else [])
    else:
        assert x.shape[1] * y.shape[1] not in pairs


@pytest.mark.parametrize("d", [1, 2])
def test_sums_over_near_sources_would_miss_what_counts_if_the_reach_were_shorter(pairs, monkeypatch, d):
    program, x, y, shift, _ = tails(d, False)
    exact = reference.accumulate(program, x, y, shift)[0, 0]
    monkeypatch.setattr(near, "_LEFT_OUT", 1e9)
    assert not np.allclose(near.accumulate(program, x, y, shift, rtol=1e-13)[0, 0], exact, rtol=1e-13, atol=0)


def test_all_sources_are_summed_where_near_ones_are_unknown(pairs):
    program, x, y, shift, _ = tails(2, False)
    wide = y.copy()
    wide[0, 7] = 1e9  # no grid for this
    near.accumulate(program, x, wide, shift, rtol=1e-13)
    near.accumulate(program, y, y, np.zeros((1, 4000)), rtol=1e-13)  # all are near
    near.accumulate(program, x, y, shift + 1.0, rtol=1e-13)
    empty = near.accumulate(program, x[:, :2] + 900, y, shift[:, :2], rtol=1e-13)  # none is near
    n = x.shape[1]
    assert pairs == [n * 4000, 4000 * 4000, n * 4000, 2 * 4000]
    assert np.isfinite(empty).all()
    lost = near.accumulate(program, np.where(np.arange(n)[:, None] == 3, np.nan, x), y, shift, rtol=1e-13)
    assert np.isnan(lost[0, 0, 3]) and np.isfinite(np.delete(lost[0, 0], 3)).all()


def test_each_point_leaves_itself_out_where_no_index_is_given(pairs, monkeypatch):
    monkeypatch.setattr(near, "_MANY", 0)
    program = compile_terms(kernels.make("gaussian"), 2, ("k",), True)
    y = np.random.default_rng(1).normal(size=(1, 4000, 2))
    y[0, 1000:] += 300
    y[0, 5] = 150  # alone
    found = near.accumulate(program, y[:, :50], y, np.zeros((1, 50)), rtol=1e-13)
    np.testing.assert_allclose(found, reference.accumulate(program, y[:, :50], y, np.zeros((1, 50))), rtol=1e-12, atol=1e-300)
