"""Threads of the CPU engine: the same bits for any number of them, tasks that end small, errors, and processes by forking."""

import functools
import os
import signal
import threading
import time

import numpy as np
import pytest

from driftrates import kernels
from driftrates.sums import cpu, kernel_sums
from driftrates.sums.program import compile_terms
from summation import DTYPES, assert_agrees, cloud


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(1, 2100, 1500), (3, 700, 1201), (70, 180, 180), (500, 17, 400)])
@pytest.mark.parametrize("exclude_self", [False, True])
def test_the_number_of_threads_changes_no_bit(threads, shape, dtype, exclude_self):
    replicates, n, m = shape
    y = cloud(2, dtype, replicates, max(m, n) if exclude_self else m, 2)
    x = y[:, :n] if exclude_self else cloud(1, dtype, replicates, n, 2)
    assert replicates * n * y.shape[1] > 6 * cpu._LEAST_PAIRS
    program = compile_terms(kernels.Gaussian(), 2, ("k", "gz"), exclude_self)
    found = []
    for count in (1, 2, 3):
        threads(count)
        found.append(cpu.accumulate(program, x, y, np.zeros((replicates, n), dtype)))
    assert found[0].tobytes() == found[1].tobytes() == found[2].tobytes()
    rows = slice(0, None, max(1, replicates // 3))
    assert_agrees(found[2][rows, :, -40:], program, x[rows, -40:], y[rows], np.zeros((len(x[rows]), 40), dtype), np.arange(n)[-40:])


@pytest.mark.parametrize("count", [2, 3, 16])
@pytest.mark.parametrize(
    ("replicates", "vectors", "ragged"), [(1, 1250, False), (7, 40, False), (5, 90, True), (400, 3, True), (2, 1, False)]
)
def test_the_tasks_are_all_pairs_once_and_end_small(threads, count, replicates, vectors, ragged):
    threads(count)
    rng = np.random.default_rng(3)
    ranges = np.array([[[[0, 10_000]]]])
    if ragged:
        ranges = np.stack([np.zeros((replicates, vectors, 2), int), rng.integers(0, 20_000, (replicates, vectors, 2))], -1)
    seen, tasks = np.zeros((replicates, vectors), int), cpu._tasks(ranges, replicates, vectors, 8)
    for r0, r1, v0, v1 in tasks or [(0, replicates, 0, vectors)]:
        assert 0 <= r0 < r1 and 0 <= v0 < v1
        seen[r0:r1, v0:v1] += 1
    assert (seen == 1).all()
    pairs = np.broadcast_to(8 * np.diff(ranges)[..., 0].sum(-1), seen.shape)
    assert bool(tasks) == (pairs.sum() >= 6 * cpu._LEAST_PAIRS)
    if tasks:
        r0, r1, v0, v1 = tasks[-1]
        assert pairs[r0:r1, v0:v1].sum() <= cpu._LEAST_PAIRS + pairs.max()


@pytest.mark.parametrize("count", [1, 3])
def test_calls_run_on_the_threads_in_use_and_in_order(threads, count):
    threads(count)
    assert cpu.run([]) == [] and cpu.run([lambda i=i: i for i in range(20)]) == list(range(20))
    names = set(cpu.run([lambda: threading.current_thread().name for _ in range(20)]))
    assert all(name.startswith("kernel-sums") for name in names) is (count > 1)
    with pytest.raises(ZeroDivisionError):
        cpu.run([lambda: 1, lambda: 1 / 0])


@pytest.mark.parametrize("caller", [True, False], ids=["caller", "helper"])
def test_after_an_error_no_further_call_begins(threads, caller):
    """Whichever thread meets it."""
    threads(2)
    begun = []

    def call(i):
        begun.append(i)
        if i >= 3 and (threading.current_thread() is threading.main_thread()) is caller:
            raise MemoryError("no room")
        time.sleep(0.001)

    with pytest.raises(MemoryError, match="no room"):
        cpu.run([functools.partial(call, i) for i in range(500)])
    assert 3 < len(begun) < 500
    assert cpu.run([functools.partial(pow, i, 2) for i in range(100)]) == [i * i for i in range(100)]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no processes by forking here")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_process_starts_threads_of_its_own(threads):
    threads(2)
    assert cpu.run([lambda: 1, lambda: 2]) == [1, 2]
    child = os.fork()
    if not child:
        signal.alarm(20)
        os._exit(0 if cpu.run([lambda: 1, lambda: 2]) == [1, 2] else 1)
    assert os.waitpid(child, 0)[1] == 0


def test_threads_must_be_positive(threads):
    for count in (0, -2):
        with pytest.raises(ValueError, match=f"threads must be at least 1, not {count}"):
            threads(count)


def test_an_error_waits_for_the_calls_that_have_begun(threads):
    threads(3)
    barrier, ended = threading.Barrier(3), []

    def call(i):
        barrier.wait(10)
        if i == 0:
            raise MemoryError("no room")
        time.sleep(0.2)
        ended.append(i)

    with pytest.raises(MemoryError, match="no room"):
        cpu.run([functools.partial(call, i) for i in range(3)])
    assert sorted(ended) == [1, 2]


def test_no_intervals_are_no_pairs(threads):
    program = compile_terms(kernels.Gaussian(), 2, ("k",))
    x = cloud(1, "float64", 1, 3, 2)
    for count in (1, 2):
        threads(count)
        assert not cpu.accumulate(program, x, x, np.zeros((1, 3)), None, np.zeros((1, 0, 2), int)).any()


@pytest.mark.parametrize("wide", [200.0, 300.0, 400.0])
def test_a_replicate_alone_is_guarded_as_among_others(wide):
    kernel = kernels.make("inverse_multiquadric")
    x = cloud(0, "float32", 2, 2200, 2, width=wide)
    together, alone = kernel_sums(x, x, kernel, 1.0, ("k", "gz")), kernel_sums(x[:1], x[:1].copy(), kernel, 1.0, ("k", "gz"))
    one = x[:1].copy()
    same = kernel_sums(one, one, kernel, 1.0, ("k", "gz"))
    for t in ("k", "gz"):
        assert together.terms[t][0].tobytes() == alone.terms[t][0].tobytes() == same.terms[t][0].tobytes()
