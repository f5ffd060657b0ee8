"""Exact sums on the line in O((n + m) log m), for kernels that are a polynomial of s times e^-s: Laplace and half-integer Matérn.

With the sources sorted, every moment sum_{y <= t} (t - y)^p e^-(t-y) at a source t follows from the same moments at the source below
it: one walk along the line for the sources below the points and one, backwards, for those above, in machine code made for this host.
"""

from __future__ import annotations

from functools import cache, partial
from math import comb
from types import ModuleType
from typing import Any

import numpy as np
from llvmlite import ir

from driftrates.sums import cpu, machine
from driftrates.sums.program import Program, polynomials

_SHORT = 0.5
"""Gaps in units of h below which a moment is corrected by what it loses, instead of being multiplied."""


def namespace() -> ModuleType:
    """Array namespace of this engine."""
    return np


def supports(program: Program) -> bool:
    """Whether this engine can do ``program``: one dimension, and every summand a polynomial of s times e^-s."""
    if program.d != 1 or program.exponent != "s":
        return False
    try:
        _coefficients(program)
    except ValueError:
        return False
    return True


def degree(program: Program) -> int:
    """Moments per point and side."""
    return max(map(len, _coefficients(program)))


def accumulate(program: Program, x: np.ndarray, y: np.ndarray, shift: np.ndarray, index: np.ndarray | None = None) -> np.ndarray:
    """All columns of ``program``, (R, rows, n), for points x (R, n, 1) and sources y (R or 1, m, 1) in units of h; float64 inside.

    The decay is exp(shift - s) with shift (R, n). With ``program.exclude_self`` the source of the same index, which must lie at the
    point itself, is left out; ``index`` (n,) gives the points' indices where they are not 0..n-1. Raises ``ValueError`` for a program
    that is not supported, or a source of the same index elsewhere.
    """
    if not supports(program):
        raise ValueError("the engine 'line' needs d = 1 and a kernel that is a polynomial of s times e^-s (laplace, matern32, ...)")
    coefficients = _coefficients(program)
    moments = degree(program)
    above = np.array([np.pad(c, (0, moments - len(c))) for c in coefficients])
    vector = np.array([column.vector for column in program.columns])
    below = np.where(vector[:, None], -above, above)
    out = np.empty((x.shape[0], program.rows, x.shape[1]), dtype=x.dtype)

    def replicate(r: int) -> None:
        points = x[r, :, 0].astype(np.float64)
        sources = y[r if y.shape[0] > 1 else 0, :, 0].astype(np.float64)
        own = sources if index is None else sources[index]
        if program.exclude_self and not np.array_equal(points, own, equal_nan=True):
            raise ValueError("the engine 'line' leaves a source out only where it lies at the point itself")
        order = np.argsort(points)
        points, lift, sources = points[order], shift[r].astype(np.float64)[order], np.sort(sources)
        if not np.isfinite(sources[[0, -1]]).all():
            out[r] = np.nan
            return
        columns, passed = np.zeros((program.rows, len(points))), np.zeros(len(points), dtype=np.int64)
        _walk(sources, points, lift, below, columns, passed)
        _walk(-sources[::-1], -points[::-1], lift[::-1], above, columns[:, ::-1], passed[::-1])
        at_point = len(sources) - passed - int(program.exclude_self)
        if at_point.any():
            alike = at_point * np.exp(np.where(at_point > 0, lift, 0.0)) if lift.any() else at_point
            for row in np.flatnonzero(~vector & (above[:, 0] != 0)):
                columns[row] += above[row, 0] * alike
        columns[:, np.isnan(points)] = np.nan  # no source lies on either side of these
        for row, column in enumerate(columns):
            out[r, row, order] = column

    cpu.run([partial(replicate, r) for r in range(x.shape[0])])
    return out


def nearest(x: np.ndarray, y: np.ndarray, index: np.ndarray | None = None) -> np.ndarray:
    """Smallest |y_j - x_i|^2 over j, (R, n); ``index`` (n,) gives each point's own source, which is left out."""
    out = np.empty(x.shape[:2], dtype=x.dtype)
    for r, points in enumerate(x[:, :, 0]):
        sources = y[r if y.shape[0] > 1 else 0, :, 0]
        order = np.argsort(sources, kind="stable")
        ordered = sources[order]
        place = np.searchsorted(ordered, points)
        candidates = np.clip(place[:, None] + np.arange(-2, 2), 0, len(ordered) - 1)
        gap = np.abs(ordered[candidates] - points[:, None])
        if index is not None:
            gap[order[candidates] == index[:, None]] = np.inf
        out[r] = gap.min(1) ** 2
    return out


def _walk(sources: np.ndarray, points: np.ndarray, lift: np.ndarray, weights: np.ndarray, columns: np.ndarray, passed: np.ndarray) -> None:
    """Add the sources strictly below each point, both ascending: weights (rows, count) @ e^lift sum of s^p e^-s to ``columns`` (rows, n).

    Their number is added to ``passed`` (n,), which runs through the memory in the direction of ``columns``.
    """
    gap = np.diff(sources, prepend=sources[0])
    factor, long = np.expm1(-gap), gap >= _SHORT
    factor[long] = np.exp(-gap[long])
    arrays = [np.ascontiguousarray(a) for a in (sources, gap, factor, points, lift, weights)]
    addresses = [a.ctypes.data for a in (*arrays, columns, passed)]
    _machine_code(*weights.shape)(*addresses, len(sources), len(points), passed.strides[0] // passed.itemsize)


@cache
def _machine_code(rows: int, count: int) -> Any:
    return machine.compiled(_assembly(rows, count), "walk", 8, 3)


def _assembly(rows: int, count: int) -> str:
    """LLVM assembly of ``walk(sources, gap, factor, points, lift, weights, columns, passed, m, n, step)``, the arrays of `_walk`.

    A gap g takes a moment M_p to e^-g (M_p + T_p), T_p = sum_{q<p} binom(p, q) g^(p-q) M_q. A million short gaps in a row would
    add up the rounding errors of as many products; there M_p gains (e^-g - 1)(M_p + T_p) + T_p by a compensated addition instead.
    """
    module, real, integer = ir.Module(), ir.DoubleType(), ir.IntType(64)
    kinds = [real.as_pointer()] * 7 + [integer.as_pointer()] + [integer] * 3
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), kinds), "walk")
    sources, gaps, factors, points, lifts, weights, columns, passed, m, n, step_out = function.args
    exp = ir.Function(module, ir.FunctionType(real, [real]), "llvm.exp.f64")
    names = ("entry", "each_point", "find", "compare", "step", "arrived", "after")
    entry, each_point, find, compare, step, arrived, after = (function.append_basic_block(name) for name in names)
    b = ir.IRBuilder(entry)
    zero, one, none = ir.Constant(integer, 0), ir.Constant(integer, 1), ir.Constant(real, 0.0)
    i, j = b.alloca(integer), b.alloca(integer)
    moment, lost = ([b.alloca(real) for _ in range(count)] for _ in range(2))
    for variable in (i, j):
        b.store(zero, variable)
    for variable in (*moment, *lost):
        b.store(none, variable)

    def at(array: Any, place: Any) -> Any:
        return b.load(b.gep(array, [place]))

    def from_lower(p: int, distance: Any) -> Any:
        """T_p by Horner's rule."""
        total = none
        for q in range(p):
            total = b.fmul(b.fadd(total, b.fmul(ir.Constant(real, float(comb(p, q))), b.load(moment[q]))), distance)
        return total

    b.branch(each_point)
    b.position_at_end(each_point)
    point = b.load(i)
    b.cbranch(b.icmp_signed("<", point, n), find, after)

    b.position_at_end(find)
    b.cbranch(b.icmp_signed("<", b.load(j), m), compare, arrived)
    b.position_at_end(compare)
    b.cbranch(b.fcmp_ordered("<", at(sources, b.load(j)), at(points, point)), step, arrived)

    b.position_at_end(step)
    source = b.load(j)
    gap, factor = at(gaps, source), at(factors, source)
    short = b.fcmp_ordered("<", gap, ir.Constant(real, _SHORT))
    for p in reversed(range(count)):  # each needs the lower ones at the source before
        value, lower = b.load(moment[p]), from_lower(p, gap)
        gain = b.fadd(b.fmul(factor, b.fadd(value, lower)), b.select(short, b.fadd(lower, b.load(lost[p])), none))
        if p == 0:
            gain = b.fadd(gain, ir.Constant(real, 1.0))
        kept = b.select(short, value, none)
        total = b.fadd(kept, gain)
        b.store(total, moment[p])
        b.store(b.fsub(gain, b.fsub(total, kept)), lost[p])
    b.store(b.add(source, one), j)
    b.branch(find)

    b.position_at_end(arrived)
    count_below = b.load(j)
    some = b.icmp_signed(">", count_below, zero)
    last = at(sources, b.select(some, b.sub(count_below, one), zero))
    distance = b.select(some, b.fsub(at(points, point), last), none)
    scale = b.call(exp, [b.select(some, b.fsub(at(lifts, point), distance), none)])
    seen = [b.fmul(scale, b.fadd(b.load(moment[p]), from_lower(p, distance))) for p in range(count)]
    place = b.mul(point, step_out)
    for row in range(rows):
        target = b.gep(columns, [b.add(place, b.mul(n, ir.Constant(integer, row)))])
        value = none
        for p in range(count):
            value = b.fadd(value, b.fmul(at(weights, ir.Constant(integer, row * count + p)), seen[p]))
        b.store(b.fadd(b.load(target), b.select(some, value, none)), target)
    target = b.gep(passed, [place])
    b.store(b.add(b.load(target), count_below), target)
    b.store(b.add(point, one), i)
    b.branch(each_point)

    b.position_at_end(after)
    b.ret_void()
    return str(module)


def _coefficients(program: Program) -> list[np.ndarray]:
    """Coefficients in s, lowest first, of every column: its weight, times s for a vector (whose sign is that of z)."""
    out = []
    for column, powers in zip(program.columns, polynomials(program), strict=True):
        shifted = {k + column.vector: v for k, v in powers.items()}
        if min(shifted) < 0:
            raise ValueError(f"{column.weight} is not a polynomial of s")
        out.append(np.array([shifted.get(k, 0.0) for k in range(max(shifted) + 1)]))
    return out
