"""Contenders in this process, which is then held on one processor, and in processes of their own."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

sys.path.insert(0, str(Path(__file__).parent))
from peers import PEERS  # noqa: E402

from driftrates.performance import passes  # noqa: E402

PROCESSORS = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else list(range(os.cpu_count() or 1))
FLOAT32 = 3e-3
"""Largest error allowed in float32, in units of the largest value of each sum."""


@contextlib.contextmanager
def held(threads: int) -> Iterator[None]:
    """This process on so many processors: nobody takes more threads than he says."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, PROCESSORS[-threads:])
    try:
        with threadpool_limits(threads):
            yield
    finally:
        if hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(0, PROCESSORS)


def points(n: int, d: int, dtype: str = "float64") -> np.ndarray:
    return np.random.default_rng(n).normal(size=(n, d)).astype(dtype)


def prepare(name: str, case: dict[str, Any]) -> tuple[Callable[[int], float], dict[str, Any]]:
    """`passes.timed` of a contender and what its first calls were: time and error. Raises ``ValueError`` for wrong sums."""
    peer = PEERS[name]
    x = points(case["n"], case["d"], case["dtype"])
    call = peer.factory(x, x, case["bandwidth"], case["threads"])
    begin = time.perf_counter()
    found = call()
    first = time.perf_counter() - begin
    relative, error = passes.largest_error(found, x, case["bandwidth"])
    allowed = max(peer.tolerance, FLOAT32 if case["dtype"] == "float32" else 0.0)
    if not error < allowed:
        raise ValueError(f"wrong by {error:.1e}, more than {allowed:.0e}")
    measure = passes.timed(call)
    # A first call that compiled says nothing about the next; one that took long without is not repeated for it.
    about = first if first > 1.0 and not (peer.compiles or peer.slow_start) else measure(1)
    return measure, {"first_call_seconds": first, "error": relative, "about": about}


class Alone:
    """A contender in a process of its own, with the interface of `prepare`'s first result."""

    def __init__(self, name: str, case: dict[str, Any]) -> None:
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        wanted = {"OMP_WAIT_POLICY": "passive", "KMP_BLOCKTIME": "0", "OMP_NUM_THREADS": str(case["threads"])}
        before = {key: os.environ.get(key) for key in wanted}
        os.environ.update(wanted)
        self.process = context.Process(target=_serve, args=(theirs, name, case), daemon=True)
        self.process.start()
        theirs.close()
        for key, value in before.items():
            os.environ.pop(key) if value is None else os.environ.__setitem__(key, value)
        self.about = self._answer()

    def __call__(self, repeats: int) -> float:
        self.connection.send(repeats)
        return self._answer()

    def _answer(self) -> Any:
        try:
            answer = self.connection.recv()
        except EOFError:
            raise ValueError("its process ended") from None
        if isinstance(answer, Exception):
            self.process.join()
            raise answer
        return answer

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self.connection.send(None)
        self.process.join(5)
        self.process.terminate()


def _serve(connection: Any, name: str, case: dict[str, Any]) -> None:
    with held(case["threads"]):
        try:
            measure, about = prepare(name, case)
        except Exception as error:  # the other process says why the contender is left out
            connection.send(type(error)(str(error)) if isinstance(error, ImportError | NotImplementedError) else ValueError(repr(error)))
            return
        connection.send(about)
        while (repeats := connection.recv()) is not None:
            connection.send(measure(repeats))
