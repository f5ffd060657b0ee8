"""What a pass over all pairs accumulates, as text that every engine can compile."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from driftrates import expressions
from driftrates.kernels import Kernel

TERMS = ("companion", "k", "kz", "gz", "gzz", "lap")

_RUNGS = {"companion": (-1,), "k": (0,), "kz": (0,), "gz": (1,), "gzz": (1,), "lap": (1, 2)}


@dataclass(frozen=True)
class Column:
    """One accumulator: sum of weight(s, s2, rs) * decay, times the vector z (d columns) if ``vector``."""

    weight: str
    vector: bool


@dataclass(frozen=True)
class Program:
    """A pass over all pairs in dimension ``d``: decay exp(-exponent) and the accumulators that it weights.

    ``slots`` maps a term to (first output row, number of rows, is a vector); terms that agree share rows.
    ``parameters`` are the kernel's own, by the names used in the texts. ``rows`` is the number of output rows.
    """

    d: int
    exponent: str
    columns: tuple[Column, ...]
    parameters: tuple[tuple[str, float], ...]
    exclude_self: bool
    layout: tuple[tuple[str, tuple[int, int, bool]], ...]

    @property
    def slots(self) -> dict[str, tuple[int, int, bool]]:
        return dict(self.layout)

    @property
    def rows(self) -> int:
        return sum(self.d if c.vector else 1 for c in self.columns)

    @property
    def constants(self) -> dict[str, float]:
        return {"d": float(self.d), **dict(self.parameters)}


@cache
def compile_terms(kernel: Kernel, d: int, terms: tuple[str, ...], exclude_self: bool = False) -> Program:
    """Program of the wanted terms; ``k`` is always accumulated, since underflow is seen in it.

    Raises ``ValueError`` for an unknown term, or one whose derivative the kernel does not have.
    """
    columns: dict[Column, int] = {}
    layout: dict[str, tuple[int, int, bool]] = {}
    row = 0
    for term in dict.fromkeys(("k", *terms)):
        if term not in TERMS:
            raise ValueError(f"unknown term {term!r}; known: {', '.join(TERMS)}")
        if term == "lap" and kernel.smoothness < 2:
            raise ValueError(f"kernel {kernel.name!r} has no Laplacian at its kink: term 'lap' is undefined")
        weights = [kernel.prefactor(n) for n in _RUNGS[term]]
        if term == "lap":
            text = f"({weights[1]})*s2 - d*({weights[0]})"
        elif term == "gzz":
            text = f"({weights[0]})*s2"
        else:
            text = weights[0]
        column = Column(text, term in ("kz", "gz"))
        if column not in columns:
            columns[column] = row
            row += d if column.vector else 1
        layout[term] = (columns[column], d if column.vector else 1, column.vector)
    return Program(d, kernel.exponent, tuple(columns), tuple(kernel.parameters.items()), exclude_self, tuple(layout.items()))


@cache
def polynomials(program: Program) -> tuple[dict[int, float], ...]:
    """Weight of every column as a Laurent polynomial of s, {power: coefficient}. Raises ``ValueError`` where one is none."""
    names = {"s": {1: 1.0}, "s2": {2: 1.0}, "rs": {-1: 1.0}, **{name: {0: value} for name, value in program.constants.items()}}
    out = []
    for column in program.columns:
        powers = expressions.fold(column.weight, lambda v: names[v] if isinstance(v, str) else {0: v}, _apply)
        out.append({k: v for k, v in powers.items() if v} or {0: 0.0})
    return tuple(out)


def _apply(operation: str, *arguments: dict[int, float]) -> dict[int, float]:
    first, second = arguments[0], arguments[-1]
    if operation == "neg":
        return {k: -v for k, v in first.items()}
    if operation in ("add", "sub"):
        sign = 1.0 if operation == "add" else -1.0
        return {k: first.get(k, 0.0) + sign * second.get(k, 0.0) for k in {*first, *second}}
    if operation == "div" and len(second) == 1:
        ((power, number),) = second.items()
        return {k - power: v / number for k, v in first.items()}
    if operation != "mul":
        raise ValueError(f"{operation} leaves the Laurent polynomials of s")
    product: dict[int, float] = {}
    for k, v in first.items():
        for j, w in second.items():
            product[k + j] = product.get(k + j, 0.0) + v * w
    return product
