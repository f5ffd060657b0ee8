"""The guard of the engines with an absolute error."""

import numpy as np
import pytest

from driftrates import kernels
from driftrates.sums import cpu, guard
from driftrates.sums.program import compile_terms


@pytest.mark.parametrize("exclude_self", [False, True])
def test_only_doubtful_rows_are_summed_again(exclude_self):
    rng = np.random.default_rng(0)
    program = compile_terms(kernels.make("gaussian"), 2, ("k", "kz"), exclude_self)
    x, shift = rng.normal(size=(300, 2)) * 3, np.zeros(300)
    exact = cpu.accumulate(program, x[None], x[None], shift[None])[0]
    columns = exact + 1e-3
    columns[0, 5] = np.nan
    also = np.arange(300) == 7
    count = guard.recompute_doubtful(program, columns, x, x, shift, None, 1e-3, 1e-4, also)
    again = (exact[0] + 1e-3 < 10) | also | (np.arange(300) == 5)
    assert count == again.sum() and 20 < count < 280
    np.testing.assert_allclose(columns[:, again], exact[:, again], rtol=1e-13, atol=1e-13)
    np.testing.assert_array_equal(columns[:, ~again], exact[:, ~again] + 1e-3)


def test_a_part_of_the_points_keeps_its_own_sources():
    rng = np.random.default_rng(1)
    program = compile_terms(kernels.make("gaussian"), 2, ("k",), True)
    x, part = rng.normal(size=(50, 2)), rng.permutation(50)[:20]
    columns = np.zeros((program.rows, 20))
    assert guard.recompute_doubtful(program, columns, x[part], x, np.zeros(20), part, 1e-9, 1e-6) == 20
    np.testing.assert_allclose(columns, cpu.accumulate(program, x[None], x[None], np.zeros((1, 50)))[0][:, part], rtol=1e-13)


def test_arguments_out_of_range_are_said():
    guard.check("one", True, "nothing", 1e-13)
    with pytest.raises(ValueError, match="engine 'one' needs 1e-13 <= rtol < 1, not 1e-14"):
        guard.check("one", True, "nothing", 1e-14)
    with pytest.raises(ValueError, match="engine 'one' needs a lot"):
        guard.check("one", False, "a lot", 0.1)
