"""What a pass over all pairs accumulates, as text that every engine can compile."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

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
