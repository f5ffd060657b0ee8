"""CUDA C source of the pairwise passes, one translation unit per program and precision.

A block of threads holds ``POINTS`` points per thread in registers and streams the sources through a tile in shared
memory. The source has two kernels: ``pairs`` accumulates one slice of the sources, ``combine`` joins the slices in
their order. Outside the CUDA compiler the same text is plain C++ for a host that supplies the CUDA names.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cache
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from driftrates import expressions
from driftrates.kernels import TINY
from driftrates.sums.cuda_text import KERNELS, MATH_DOUBLE, MATH_FLOAT, PAIR
from driftrates.sums.program import Program

THREADS = 128
"""Most threads of a block."""
_REGISTERS = {"float32": 144, "float64": 60}  # numbers that a thread may hold: more would spill
_SHARED_BYTES = 16384


class Source(NamedTuple):
    """CUDA text with the numbers its launch needs: ``points`` per thread, sources per ``tile``, output ``rows``."""

    text: str
    points: int
    tile: int
    rows: int


class _Scaled(NamedTuple):
    """factor * text, or the plain number factor where text is empty: constants fold and divisions become products."""

    factor: float
    text: str = ""


_NOTHING = _Scaled(0.0)


@cache
def accumulate_source(program: Program, dtype: str) -> Source:
    """Source of ``accumulate`` for ``program`` in ``dtype`` (``float32`` or ``float64``)."""
    exponent = _lower(program.exponent, program, dtype)
    rate = exponent.factor / math.log(2) if exponent.text else 0.0
    roots = _uses(program, "s", "rs")
    # Coordinates in units in which the decay is 2^-s2 or 2^-s: one multiplication less for every pair.
    unit = {"s2": 1.0 if roots else math.sqrt(rate), "s": rate}.get(exponent.text, 1.0)
    floor = roots or any(mark in text for text in _texts(program) for mark in ("/", "log", "sqrt", "exp"))
    names = {
        "INITIAL": "0",
        "JOIN(a, b)": "((a) + (b))",
        "RATE": f"({_literal(-rate, dtype)})",
        "LIFT": _literal(1 / exponent.factor if rate else 0.0, dtype),
        "SCALE": _literal(unit, dtype),
        "EXCLUDE": f"{int(program.exclude_self)}",
        # Only expressions that are polynomials in s2 take s2 = 0 without a floor.
        "START": "TINY" if floor else "0",
    }
    if unit == 1:
        names["UNROLL"] = "2"  # longer statements for every pair, with enough to overlap among themselves
    square = "const REAL s2 = square(z), rs = inverse_length(s2);" if roots else "const REAL s2 = square(z);"
    on_line = program.d == 1 and not _uses(program, "rs")
    general = [square, f"const REAL s = {'fabs(z[0])' if on_line else 's2 * rs'};"] if roots else [square]
    # Negative from the start: the special-function unit takes no sign.
    if unit == 1:
        plain = _body(program, dtype, general, f"{_literal(-rate, dtype)} * {exponent.text or '0'}", {})
    elif exponent.text == "s2":
        plain = _body(program, dtype, ["const REAL t = minus_square(z);"], "t", {"s2": _Scaled(-(unit**-2), "t")}, 1 / unit)
    else:
        scaled = {"s": _Scaled(-1 / unit, "t"), "s2": _Scaled(unit**-2, "s2"), "rs": _Scaled(unit, "rs")}
        plain = _body(program, dtype, [square, f"const REAL t = {'-fabs(z[0])' if on_line else 's2 * -rs'};"], "t", scaled, 1 / unit)
    lifted = _body(program, dtype, general, f"fma({_literal(-rate, dtype)}, {exponent.text or '0'}, lift)", {})
    return _assemble(dtype, program.d, program.rows, names, plain, lifted)


@cache
def nearest_source(d: int, dtype: str, exclude: bool) -> Source:
    """Source of ``nearest`` in dimension ``d``; ``exclude`` leaves each point's own source out."""
    names = {"INITIAL": "INFINITE", "JOIN(a, b)": "((a) < (b) ? (a) : (b))", "RATE": "0", "LIFT": "0", "SCALE": "1"}
    body = ["if (!skip) sum[0] = JOIN(square(z), sum[0]);"], ["1"]
    return _assemble(dtype, d, 1, {**names, "EXCLUDE": f"{int(exclude)}", "START": "0"}, body, body)


def _body(
    program: Program, dtype: str, lines: list[str], power: str, names: Mapping[str, _Scaled], unit: float = 1.0
) -> tuple[list[str], list[str]]:
    """Statements of one pair after ``lines``, with decay 2^``power``, and the factors of the rows that they leave out.

    ``names``: what the variables of the program are in C, if not themselves; ``unit``: that of the coordinates.
    """
    lines, factors = [*lines, f"const REAL decay = skip ? 0 : power_of_2({power}, table);"], []
    for number, column in enumerate(program.columns):
        weight = _lower(column.weight, program, dtype, names)
        value, row = f"w{number}", len(factors)
        lines.append(f"const REAL {value} = {_multiply(weight, _Scaled(1.0, 'decay')).text};")
        if column.vector:
            lines += [f"sum[{row + k}] += {value} * z[{k}];" for k in range(program.d)]
            factors += [_literal(weight.factor * unit, dtype)] * program.d
        else:
            lines.append(f"sum[{row}] += {value};")
            factors.append(_literal(weight.factor, dtype))
    return lines, factors


def _assemble(dtype: str, d: int, rows: int, names: dict[str, str], *bodies: tuple[list[str], list[str]]) -> Source:
    """The translation unit; ``bodies``: those of the plain and of the lifted pass."""
    single = dtype == "float32"
    words = d + (2 if single else 1) * rows
    choices = (4, 2, 1) if single else (2, 1)
    points = next((q for q in choices if q * words <= _REGISTERS[dtype]), 1)
    size = 4 if single else 8
    tile = THREADS
    while tile > 16 and tile * d * size > _SHARED_BYTES:
        tile //= 2
    defines = {
        "REAL": "float" if single else "double",
        "SINGLE": f"{int(single)}",
        "TINY": _literal(TINY[dtype], dtype),
        "D": f"{d}",
        "ROWS": f"{rows}",
        "POINTS": f"{points}",
        "TILE": f"{tile}",
        "THREADS": f"{THREADS}",
        "UNROLL": f"{_unroll(dtype, points, words)}",
        **names,
    }
    preamble = "\n".join(f"#define {name} {value}" for name, value in defines.items())
    mathematics = MATH_FLOAT if single else MATH_DOUBLE.replace("@TABLE@", _table()).replace("@POLYNOMIAL@", _polynomial())
    pair = PAIR
    for name, (lines, factors) in zip(("PLAIN", "LIFTED"), bodies, strict=True):
        pair = pair.replace(f"@{name}@", "\n    ".join(lines)).replace(f"@{name}_FACTORS@", ", ".join(factors))
    return Source(f"{preamble}\n{mathematics}\n{pair}\n{KERNELS}", points, tile, rows)


def _unroll(dtype: str, points: int, words: int) -> int:
    """Sources per turn of the innermost loop."""
    if dtype == "float64":
        return 4 if points * words <= 64 else 2
    return 8 if points * words <= 64 else 4


def _texts(program: Program) -> list[str]:
    return [program.exponent, *(column.weight for column in program.columns)]


def _uses(program: Program, *names: str) -> bool:
    return any(not expressions.names_in(text).isdisjoint(names) for text in _texts(program))


def _literal(value: float, dtype: str) -> str:
    return repr(float(np.float32(value))) + "f" if dtype == "float32" else repr(float(value))


def _emit(value: _Scaled, dtype: str) -> str:
    if not value.text:
        return _literal(value.factor, dtype)
    if value.factor == 1:
        return value.text
    return f"({_literal(value.factor, dtype)} * {value.text})"


def _multiply(a: _Scaled, b: _Scaled) -> _Scaled:
    return _Scaled(a.factor * b.factor, f"({a.text} * {b.text})" if a.text and b.text else a.text or b.text)


def _lower(text: str, program: Program, dtype: str, names: Mapping[str, _Scaled] = MappingProxyType({})) -> _Scaled:
    """The expression in C, without division and square root proper, which are slow on a GPU in double precision.

    ``names``: what a name of the text is in C, if not itself.
    """
    constants = program.constants

    def leaf(name: str | float) -> _Scaled:
        if isinstance(name, str) and name not in constants:
            return names.get(name, _Scaled(1.0, name))
        return _Scaled(constants[name] if isinstance(name, str) else name)

    def apply(op: str, a: _Scaled, b: _Scaled = _NOTHING) -> _Scaled:
        if op == "neg":
            return _Scaled(-a.factor, a.text)
        if op == "mul":
            return _multiply(a, b)
        if op == "div":
            inverse = f"inverse_{b.text}" if b.text.startswith("root(") else f"inverse({b.text})"
            return _multiply(a, _Scaled(1 / b.factor, inverse if b.text else ""))
        if not (a.text or b.text):
            return _Scaled(
                {"add": a.factor + b.factor, "sub": a.factor - b.factor}[op] if op in ("add", "sub") else getattr(math, op)(a.factor)
            )
        if op in ("add", "sub"):
            return _Scaled(1.0, f"({_emit(a, dtype)} {'+' if op == 'add' else '-'} {_emit(b, dtype)})")
        if op == "log":
            return _Scaled(math.log(2), f"log2({_emit(a, dtype)})")
        return _Scaled(1.0, f"{'root' if op == 'sqrt' else op}({_emit(a, dtype)})")

    return expressions.fold(text, leaf, apply)


def _table() -> str:
    return ", ".join(repr(2.0 ** (k / 128)) for k in range(128))


def _polynomial() -> str:
    """2^r for |r| <= 1/256: the Taylor polynomial of degree 5 economised to degree 4, relative error 1e-16."""
    c = [math.log(2) ** k / math.factorial(k) for k in range(6)]
    a = 1 / 256
    c[3] += c[5] * 5 / 4 * a**2
    c[1] -= c[5] * 5 / 16 * a**4
    text = repr(c[4])
    for value in reversed(c[:4]):
        text = f"({value!r} + r * {text})"
    return text
