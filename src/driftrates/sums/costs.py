"""Predicted time of the direct sums, by which the other engines are judged. `benchmarks/calibrate.py` measures the constants."""

from __future__ import annotations

from functools import cache

from driftrates import expressions
from driftrates.sums.program import Program

CALL, OPERATION = 3e-5, 2.2e-11
"""Seconds on one thread with AVX-512: a call, and one arithmetic operation of one pair in float64. Only ratios matter."""
_COMMON = 11
_COSTS = {"mul": 1.5, "sqrt": 10.0, "log": 30.0, "exp": 12.0, "div": 8.0}


@cache
def operations(program: Program) -> float:
    """Arithmetic operations of one pair of points; what occurs twice in the texts counts once."""
    texts = {program.exponent, *(c.weight for c in program.columns)}
    root = 12 if any({"s", "rs"} & expressions.names_in(t) for t in texts) else 0
    distinct: dict[str, float] = {}

    def apply(operation: str, *parts: str) -> str:
        text = f"{operation}({', '.join(parts)})"
        distinct[text] = _COSTS.get(operation, 0.0)
        return text

    for text in texts:
        expressions.fold(text, str, apply)
    return 2 * program.d + _COMMON + root + program.rows + sum(distinct.values())


def direct_seconds(program: Program, points: int, sources: int, dtype: str = "float64") -> float:
    """Predicted time of the direct engine for so many points and sources on one thread."""
    rate = OPERATION if dtype == "float64" else 0.4 * OPERATION
    return CALL + rate * operations(program) * points * sources
