"""Constants of the predicted times, and what the dispatcher's choices lose: `python benchmarks/calibrate.py`.

    python benchmarks/calibrate.py                  both, on the whole grid of cases
    python benchmarks/calibrate.py --fit            only the constants: committed ones beside those that fit this machine
    python benchmarks/calibrate.py --output X.csv   the table of regrets as a file

Everything runs on one thread and is timed by processor time, the best of a few runs. Every prediction is linear in its constants, so
that they follow from the measured times by non-negative least squares of relative errors. Only their ratios matter for the choice.
The regret of a case is the time of the chosen engine, with what the choice itself took, over the time of the fastest one.
"""

from __future__ import annotations

import argparse
import itertools
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.optimize import nnls

from driftrates import kernels
from driftrates.sums import cells, costs, cpu, dispatch, ewald, line, nufft
from driftrates.sums.program import Program, compile_terms

ENGINES = {"cpu": cpu, "line": line, "nufft": nufft, "cells": cells, "ewald": ewald}
CONSTANTS = {
    "cpu": (costs, ("CALL", "OPERATION")),
    "line": (dispatch, ("_LINE_CALL", "_LINE_POINT", "_LINE_MOMENT")),
    "nufft": (nufft, ("_CALL", "_POINT", "_SPREAD", "_CELL", "_MODE")),
    "cells": (cells, ("_CALL", "_POINT")),
    "ewald": (ewald, ("_CALL", "_POINT", "_DIGIT")),
}


@dataclass(frozen=True)
class Case:
    """A sum over normal data: ``n`` points in ``d`` dimensions, ``replicates`` of them, of a kernel of width ``h``."""

    kernel: str
    d: int
    n: int
    h: float
    rtol: float
    replicates: int = 1

    def arrays(self) -> tuple[Program, np.ndarray]:
        x = np.random.default_rng(0).normal(size=(self.replicates, self.n, self.d)) / self.h
        return compile_terms(kernels.make(self.kernel), self.d, ("k", "kz"), True), x


def cases() -> Iterator[Case]:
    sizes, widths = (500, 3000, 20_000, 100_000), (0.003, 0.03, 0.15, 0.6)
    for kernel, d, n, h, rtol in itertools.product(("gaussian", "laplace"), (1, 2, 3), sizes, widths, (1e-5, 1e-9)):
        yield Case(kernel, d, n, h, rtol)
    for kernel, d, h in itertools.product(("gaussian", "laplace", "matern52"), (1, 2, 3), (0.1, 0.4)):
        yield Case(kernel, d, 1000, h, 1e-6, 20)
    yield Case("gaussian", 2, 1_000_000, 0.1, 1e-9)
    yield Case("gaussian", 1, 1_000_000, 0.06, 1e-9)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--fit", action="store_true", help="stop after the constants")
    parser.add_argument("--longest", type=float, default=1.5, help="runs predicted to take longer (seconds) are left out")
    parser.add_argument("--every", type=int, default=1, help="take only each so many-th case")
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    cpu.set_threads(1)
    table = pd.DataFrame(
        [row for case in itertools.islice(cases(), None, None, arguments.every) for row in measure(case, arguments.longest)]
    )
    fit(table)
    if arguments.fit:
        return
    found = regrets(table)
    print(found.to_string(index=False))
    long = found[found.best_seconds > 1e-3]
    print(f"\nbeyond 1 ms: {len(long)} cases, regret {long.regret.median():.2f} (median), {long.regret.quantile(0.9):.2f} (90 %), ", end="")
    print(
        f"{long.regret.max():.2f} (largest), above 1.3 in {(long.regret > 1.3).sum()}; the choice takes {long.choosing.max():.1%} at most"
    )
    if arguments.output:
        found.to_csv(arguments.output, index=False)


def measure(case: Case, longest: float) -> Iterator[dict[str, Any]]:
    """One row per engine that can do the case in time: seconds measured and predicted, and the derivatives of the prediction."""
    program, x = case.arrays()
    shift = np.zeros(x.shape[:2])
    choosing, (chosen, *_) = best(lambda: dispatch.choose(program, x, x, case.rtol))
    for name, engine in ENGINES.items():
        if name != "cpu" and not engine.supports(program):
            continue
        predicted = predict(name, program, x, case.rtol)
        if predicted > longest:
            continue
        options = {} if name in ("cpu", "line") else {"rtol": case.rtol}
        engine.accumulate(program, x, x, shift, **options)
        seconds, _ = best(lambda engine=engine, options=options: engine.accumulate(program, x, x, shift, **options))
        yield {
            **vars(case),
            "engine": name,
            "seconds": seconds,
            "predicted": predicted,
            "chosen": chosen,
            "choosing_seconds": choosing,
            "derivatives": derivatives(name, lambda name=name: predict(name, program, x, case.rtol)),
        }


def predict(name: str, program: Program, x: np.ndarray, rtol: float) -> float:
    if name == "cpu":
        return len(x) * costs.direct_seconds(program, x.shape[1], x.shape[1])
    if name == "line":
        return len(x) * dispatch.line_seconds(program, x.shape[1], x.shape[1])
    return sum(ENGINES[name].predicted_seconds(program, points, points, rtol) for points in x)


def best(call: Callable[[], Any], budget: float = 0.3) -> tuple[float, Any]:
    """Processor time of the fastest run, and what it returned."""
    spent, fastest, runs = 0.0, np.inf, 0
    while runs < 2 or (spent < budget and runs < 30):
        begin = time.process_time()
        result = call()
        seconds = time.process_time() - begin
        spent, fastest, runs = spent + seconds, min(fastest, seconds), runs + 1
    return max(fastest, 1e-7), result


def derivatives(name: str, prediction: Callable[[], float]) -> list[float]:
    """Of the predicted seconds by every constant of the engine: their coefficients, as the prediction is linear."""
    module, names = CONSTANTS[name]
    found, base = [], prediction()
    for constant in names:
        value = getattr(module, constant)
        setattr(module, constant, value * (1 + 1e-6))
        found.append((prediction() - base) / (value * 1e-6))
        setattr(module, constant, value)
    return found


def fit(table: pd.DataFrame) -> None:
    """Print for every constant its committed value and the one that fits."""
    for name, rows in table.groupby("engine"):
        module, names = CONSTANTS[name]
        committed = np.array([getattr(module, n) for n in names])
        coefficients, seconds = np.array(rows.derivatives.tolist()), rows.seconds.to_numpy()
        constant = rows.predicted.to_numpy() - coefficients @ committed
        # A weak pull towards the committed values holds what these cases do not determine.
        pull = 0.1 * np.eye(len(names))
        fitted, _ = nnls(
            np.vstack([coefficients * committed / seconds[:, None], pull]), np.append((seconds - constant) / seconds, pull.sum(1))
        )
        error = np.log2(rows.predicted / rows.seconds)
        print(f"{name}: predicted / measured between {2 ** error.min():.2f} and {2 ** error.max():.2f}, median {2 ** error.median():.2f}")
        for constant_name, old, factor in zip(names, committed, fitted, strict=True):
            print(f"    {constant_name} = {old:.3g}, fits: {old * factor:.3g}")


def regrets(table: pd.DataFrame) -> pd.DataFrame:
    """One row per case: engine chosen, fastest engine, and the ratio of their times."""
    keys = ["kernel", "d", "n", "h", "rtol", "replicates"]
    out = []
    for key, rows in table.groupby(keys, sort=False):
        seconds = dict(zip(rows.engine, rows.seconds, strict=True))
        fastest, chosen = min(seconds, key=seconds.__getitem__), rows.chosen.iloc[0]
        choosing = rows.choosing_seconds.iloc[0]
        taken = seconds.get(chosen, np.nan)
        out.append(
            {
                **dict(zip(keys, key, strict=True)),
                "chosen": chosen,
                "best": fastest,
                "best_seconds": seconds[fastest],
                "regret": (taken + choosing) / seconds[fastest],
                "choosing": choosing / taken,
                "others": ", ".join(
                    f"{n} {s:.2g} ({p / s:.2f})" for n, s, p in zip(rows.engine, rows.seconds, rows.predicted, strict=True)
                ),
            }
        )
    return pd.DataFrame(out)


if __name__ == "__main__":
    main()
