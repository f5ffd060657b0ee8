"""Times of the kernel sums beside those of others: alternating runs, the contenders that need nothing but this package, stored tables.

`benchmarks/sums.py` measures every peer with it and stores a table of `COLUMNS`; a stage of the workflow sets a short run of its own
beside the newest such table. Sums are those of the Gaussian kernel unless a row says otherwise: S0 = sum K, S1 = sum K (y - x),
S2 = sum K |y - x|^2 at all points, with the points as sources and the bandwidth of `bandwidth`.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from scipy.stats import gaussian_kde
from threadpoolctl import threadpool_limits

from driftrates import kernels
from driftrates.labels import labelled
from driftrates.random import generator
from driftrates.sums import cpu, kernel_sums

Call = Callable[[], Any]
Factory = Callable[[np.ndarray, np.ndarray, float, int], Call]
"""Points x (n, d), sources y (m, d), h and threads to a function without arguments that returns (S0, S1, S2), or S0 alone."""

BASE = "driftrates cpu"
"""The contender by whose time the others are divided."""

COLUMNS: dict[str, tuple[type, str, str]] = {
    "part": (str, "what was measured: throughput, accuracy, scaling, exponent, or live for the run of this workflow", "1"),
    "contender": (str, "who computed the sums", "1"),
    "outputs": (str, "sums that it computed: all, or S0 alone", "1"),
    "kernel": (str, "kernel", "1"),
    "d": (int, "dimension", "1"),
    "n": (int, "number of points, and of sources", "1"),
    "bandwidth": (float, "bandwidth h", "length"),
    "dtype": (str, "floating-point type", "1"),
    "threads": (int, "threads", "1"),
    "rtol": (float, "relative accuracy asked for", "1"),
    "error": (float, "largest relative error of S0 at some of the points, the most remote ones among them", "1"),
    "version": (str, "version of the package", "1"),
    "first_call_seconds": (float, "time of the first call, compilation included", "s"),
    "seconds": (float, "time of a call, median", "s"),
    "seconds_low": (float, "time of a call, lower quartile", "s"),
    "seconds_high": (float, "time of a call, upper quartile", "s"),
    "pairs_per_second": (float, "points times sources over the median time", "s-1"),
    "times_slower": (float, "time over that of the direct engine in the same round, median", "1"),
    "times_slower_low": (float, "time over that of the direct engine in the same round, lower quartile", "1"),
    "times_slower_high": (float, "time over that of the direct engine in the same round, upper quartile", "1"),
    "exponent": (float, "exponent of the time in the number of points, fitted from 1e5 points on", "1"),
    "instructions_per_pair": (float, "machine instructions of the loop over the sources, by pair", "1"),
    "rounds": (int, "rounds of alternating runs", "1"),
}
"""Columns of a table of measurements: type, meaning, unit. Numbers that a row does not have are NaN."""

_SAMPLE = 256


def bandwidth(n: int, d: int) -> float:
    """Silverman's rule for normal data of unit width: every point has many neighbours."""
    return (4 / ((d + 2) * n)) ** (1 / (d + 4))


def engine(name: str | None, kernel: str = "gaussian", **options: Any) -> Factory:
    """Contender of an engine of this package by its name, or None for the one that it chooses itself.

    For the other kernels than the Gaussian one (S0, S1) are computed.
    """
    terms = ("k", "kz", "gzz") if kernel == "gaussian" else ("k", "kz")

    def factory(x: np.ndarray, y: np.ndarray, h: float, threads: int) -> Call:
        made = kernels.make(kernel)

        def call() -> Any:
            if cpu.threads() != threads:
                cpu.set_threads(threads)
            found = kernel_sums(x[None], y[None], made, h, terms, engine=name, **options).terms
            return tuple(h**power * found[term][0] for power, term in enumerate(terms))

        return call

    return factory


def gemm(xp: Any, exp: Callable[[Any], Any], x: Any, y: Any, h: float, empty: Callable[..., Any], pairs: int = 1_000_000) -> Call:
    """The usual form by matrix products: |y - x|^2 from one, the sums from a second with the columns 1, y, |y|^2, by blocks of points."""
    y2 = (y * y).sum(1)
    right = xp.concatenate([xp.ones_like(y2)[:, None], y, y2[:, None]], 1)
    rows = max(1, pairs // len(y))

    def call() -> Any:
        out = empty((len(x), x.shape[1] + 2))
        for i in range(0, len(x), rows):
            block = x[i : i + rows]
            x2 = (block * block).sum(1)
            k = exp((block @ y.T - 0.5 * y2[None] - 0.5 * x2[:, None]) / (h * h))
            s = k @ right
            out[i : i + rows, 0] = s[:, 0]
            out[i : i + rows, 1:-1] = s[:, 1:-1] - block * s[:, :1]
            out[i : i + rows, -1] = s[:, -1] - 2 * (block * s[:, 1:-1]).sum(1) + x2 * s[:, 0]
        return out[:, 0], out[:, 1:-1], out[:, -1]

    return call


def numpy_gemm(x: np.ndarray, y: np.ndarray, h: float, threads: int) -> Call:
    """`gemm` by NumPy."""
    return gemm(np, np.exp, x, y, h, lambda shape: np.empty(shape, x.dtype))


def scipy_kde(x: np.ndarray, y: np.ndarray, h: float, threads: int) -> Call:
    """S0 by `scipy.stats.gaussian_kde`. Raises ``NotImplementedError`` for float32."""
    if x.dtype != np.float64:
        raise NotImplementedError("float64 only")
    kde = gaussian_kde(y.T, bw_method=1.0)
    # The library ties its bandwidth to the covariance of the data: ours is set in its place.
    kde.covariance, kde.cho_cov = np.eye(x.shape[1]) * h * h, np.eye(x.shape[1]) * h
    kde.log_det = 2 * x.shape[1] * math.log(h * math.sqrt(2 * math.pi))
    factor = len(y) * (2 * math.pi * h * h) ** (x.shape[1] / 2)
    return lambda: kde(x.T) * factor


LIVE: dict[str, tuple[Factory, str]] = {
    BASE: (engine("cpu"), "driftrates"),
    "numpy GEMM": (numpy_gemm, "numpy"),
    "scipy gaussian_kde": (scipy_kde, "scipy"),
}
"""Contenders that need nothing but this package, each with its distribution."""


def largest_error(found: Any, x: np.ndarray, h: float, kernel: str = "gaussian") -> tuple[float, float]:
    """Largest relative error of S0, and largest error of any sum over its own largest value, at 256 points at most.

    Against the direct engine in float64; among the points are those farthest from the origin.
    """
    every = max(1, 2 * len(x) // _SAMPLE)
    remote = np.argpartition(-np.einsum("id,id->i", x, x), min(_SAMPLE // 2, len(x) - 1))[: _SAMPLE // 2]
    some = np.unique(np.concatenate([np.arange(0, len(x), every), remote]))
    points, sources = x[some].astype(np.float64), x.astype(np.float64)
    exact = engine("cpu", kernel)(points, sources, h, 1)()
    found = found if isinstance(found, tuple) else (found,)
    pairs = [(np.asarray(value)[some], right) for value, right in zip(found, exact, strict=False)]
    relative = np.abs(pairs[0][0] - exact[0]) / exact[0]
    return float(relative.max()), max(float(np.abs(value - right).max() / np.abs(right).max()) for value, right in pairs)


def timed(call: Call) -> Callable[[int], float]:
    """Seconds of one of so many calls. A pause lets the threads of others go to rest, and one call that does not count warms up."""

    def measure(repeats: int) -> float:
        time.sleep(0.02)
        begin = time.perf_counter()
        call()
        first = time.perf_counter() - begin
        if first > 1.0:  # long enough to be warm by itself
            return first
        begin = time.perf_counter()
        for _ in range(repeats):
            call()
        return (time.perf_counter() - begin) / repeats

    return measure


def alternate(
    measure: Mapping[str, Callable[[int], float]], seconds: Mapping[str, float], *, rounds: int, least: float, budget: float
) -> dict[str, list[float]]:
    """Seconds of a call by contender, one for each round that it takes part in; in a round all run one after the other.

    measure: contender to `timed`; seconds: about what a call takes. A run lasts at least ``least`` seconds. A contender takes part in
    ``rounds`` rounds, in fewer (2 at least) where these would last longer than ``budget`` seconds.
    """
    repeats = {name: max(1, round(least / seconds[name])) for name in measure}
    turns = {name: int(np.clip(budget / (repeats[name] * seconds[name]), min(2, rounds), rounds)) for name in measure}
    times: dict[str, list[float]] = {name: [] for name in measure}
    for k in range(rounds):
        for name, run in measure.items():
            if k < turns[name]:
                times[name].append(run(repeats[name]))
    return times


def summarise(times: Sequence[float], base: Sequence[float] | None, pairs: float) -> dict[str, float]:
    """Medians and quartiles of `alternate`'s times of a contender and of their ratios to those of the base in the same rounds."""
    low, middle, high = np.quantile(times, [0.25, 0.5, 0.75]).tolist()
    row = {"seconds": middle, "seconds_low": low, "seconds_high": high, "pairs_per_second": pairs / middle, "rounds": len(times)}
    if base:
        ratios = np.quantile([t / b for t, b in zip(times, base, strict=False)], [0.5, 0.25, 0.75]).tolist()
        row |= dict(zip(("times_slower", "times_slower_low", "times_slower_high"), ratios, strict=True))
    return row


def tabulate(rows: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """Rows as a table of `COLUMNS`: texts that a row lacks are empty, numbers NaN, counts 0."""
    empty = {str: "", int: 0, float: math.nan}
    rows = list(rows)
    table = {}
    for name, (kind, *_) in COLUMNS.items():
        table[name] = np.array([row.get(name, empty[kind]) for row in rows], dtype=object if kind is str else kind)
    return pd.DataFrame(table)


def read(path: str | Path) -> pd.DataFrame:
    """The table that `benchmarks/sums.py` wrote. Raises ``ValueError`` where a column is missing or is not what it should be."""
    kinds = {name: kind for name, (kind, *_) in COLUMNS.items()}
    missing = {name: [""] for name, kind in kinds.items() if kind is float}
    try:
        return tabulate(pd.read_csv(path, dtype=kinds, keep_default_na=False, na_values=missing)[list(kinds)].to_dict("records"))
    except (OSError, KeyError, ValueError) as error:
        raise ValueError(f"{path} is not a table of benchmarks/sums.py ({error}); measure again: python benchmarks/sums.py") from error


def newest(paths: Iterable[str | Path]) -> tuple[Path, dict[str, Any]]:
    """Of tables with a JSON beside them that names a processor (others are of a GPU) the latest one by its date, and that JSON.

    Raises ``ValueError`` where there is none.
    """
    found = []
    for path in map(Path, paths):
        beside = path.with_suffix(".json")
        about = json.loads(beside.read_text()) if beside.is_file() else {}
        if "processor" in about:
            found.append((about["date"], path.name, path, about))
    if not found:
        raise ValueError("benchmarks/results holds no table of the CPU with its JSON; measure one: python benchmarks/sums.py")
    *_, path, about = max(found, key=lambda entry: entry[:2])
    return path, about


def measure_live(sizes: Iterable[int], seconds: float, *, seed: int, contenders: Mapping[str, tuple[Factory, str]] = LIVE) -> pd.DataFrame:
    """One thread, float64, d = 2: rows of part "live" for each number of points, in about so many ``seconds`` altogether."""
    rows, sizes = [], list(sizes)
    share = seconds / (len(sizes) * len(contenders))
    before = cpu.threads()
    try:
        for n in sizes:
            x = generator(seed, "performance", n).normal(size=(n, 2))
            h = bandwidth(n, 2)
            with threadpool_limits(1):
                calls, about, first = {}, {}, {}
                for name, (factory, _) in contenders.items():
                    calls[name] = factory(x, x, h, 1)
                    begin = time.perf_counter()
                    found = calls[name]()
                    first[name] = time.perf_counter() - begin
                    about[name] = timed(calls[name])(1)
                    relative, error = largest_error(found, x, h)
                    if not error < 1e-9:
                        raise ValueError(f"{name} is wrong by {error:.1e} at n = {n}")
                    row = {"part": "live", "contender": name, "outputs": "all" if isinstance(found, tuple) else "S0", "error": relative}
                    row |= {"kernel": "gaussian", "d": 2, "n": n, "bandwidth": h, "dtype": "float64", "threads": 1}
                    rows.append({**row, "version": version(contenders[name][1]), "first_call_seconds": first[name]})
                # A quarter of the time has gone into the first calls and their checks.
                runs = alternate({k: timed(c) for k, c in calls.items()}, about, rounds=7, least=0.02, budget=0.75 * share)
            for row in rows[-len(contenders) :]:
                row |= summarise(runs[row["contender"]], runs.get(BASE), float(n) ** 2)
    finally:
        cpu.set_threads(before)
    return tabulate(rows)


def measure_performance(paths: Iterable[str | Path], *, seed: int, sizes: Sequence[int], seconds: float) -> xr.Dataset:
    """The newest committed table beside a run on this machine (`measure_live`), one row after the other along ``row``.

    Attributes: ``committed``, the JSON beside the table, and ``table``, its name.
    """
    path, about = newest(paths)
    frame = pd.concat([read(path), measure_live(sizes, seconds, seed=seed)], ignore_index=True)
    variables = {name: ("row", frame[name].to_numpy(), text, unit) for name, (_, text, unit) in COLUMNS.items()}
    coordinates = {"row": (np.arange(len(frame)), "row of the table", "1")}
    return labelled(variables, coordinates, {"committed": json.dumps(about, sort_keys=True), "table": path.name})


def frame(ds: xr.Dataset) -> pd.DataFrame:
    """The table of a Dataset of `measure_performance`."""
    return tabulate(ds[list(COLUMNS)].to_dataframe().to_dict("records"))
