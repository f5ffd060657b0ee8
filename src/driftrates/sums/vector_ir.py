"""LLVM code of a `Program`: one loop over replicates, blocks of sources and vectors of points.

`emit` writes a function ``accumulate`` whose inner loop costs, for the Gaussian kernel in float64 with AVX-512, 2 d + 14
instructions plus one per accumulator for each vector of eight pairs. Everything but the exponential, the logarithm and the
reciprocal square root is plain vector arithmetic that LLVM lowers for any host; those three have an AVX-512 form and a portable one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from llvmlite import ir
from numpy.polynomial import chebyshev

from driftrates import expressions
from driftrates.kernels import TINY
from driftrates.sums.program import Program

_I64 = ir.IntType(64)
_LOWEST_LOG2 = {"float64": -1000.0, "float32": -120.0}
_RELAXED = ("contract", "reassoc", "arcp", "nsz")


def lanes(features: Any, dtype: str) -> int:
    """Points per vector for a host with these CPU ``features``: 64 bytes with AVX-512, 32 with AVX2, else 16."""
    width = 64 if features.get("avx512f") and features.get("avx512dq") else 32 if features.get("avx2") else 16
    return width // np.dtype(dtype).itemsize


def emit(program: Program, dtype: str, lanes: int, avx512: bool) -> str:
    """LLVM assembly of ``accumulate(points, sources, shift, own, first, last, out, strides x 4, r0, r1, v0, v1, m, block, padded)``.

    Arrays: points (R, d, padded), sources (R or 1, m, d), shift (R, padded), own (padded) index of each point's own source,
    first/last (padded / lanes) the range of sources that needs the test against ``own``, out (R, rows, padded), added to.
    """
    return _Emitter(program, dtype, lanes, avx512).text()


def _polynomial(half_width: float, degree: int) -> list[float]:
    """Coefficients of 2^r on |r| <= half_width, lowest first: the power series, its tail economised by Chebyshev polynomials.

    Only the tail, far below a rounding unit of the sum, passes through the change of basis: interpolation would cost 10 units.
    """
    series = np.array([(half_width * math.log(2)) ** k / math.factorial(k) for k in range(degree + 10)])
    tail = np.where(np.arange(len(series)) > degree, series, 0.0)
    series[: degree + 1] += chebyshev.cheb2poly(chebyshev.poly2cheb(tail)[: degree + 1])
    return [float(c) / half_width**k for k, c in enumerate(series[: degree + 1])]


class _Emitter:
    def __init__(self, program: Program, dtype: str, lanes: int, avx512: bool) -> None:
        self.program, self.dtype, self.lanes, self.avx512 = program, dtype, lanes, avx512
        self.double = dtype == "float64"
        self.real = ir.DoubleType() if self.double else ir.FloatType()
        self.integer = _I64 if self.double else ir.IntType(32)
        self.vector = ir.VectorType(self.real, lanes)
        self.integers = ir.VectorType(self.integer, lanes)
        self.mantissa = 52 if self.double else 23
        self.module = ir.Module()
        self.b: ir.IRBuilder

    # vector arithmetic -------------------------------------------------------------------------------------------

    def splat(self, value: float) -> ir.Constant:
        return ir.Constant(self.vector, [float(value)] * self.lanes)

    def isplat(self, value: int) -> ir.Constant:
        return ir.Constant(self.integers, [value] * self.lanes)

    def call(self, name: str, *args: Any, result: Any = None) -> Any:
        function = self.module.globals.get(name) or ir.Function(
            self.module, ir.FunctionType(result or self.vector, [a.type for a in args]), name
        )
        return self.b.call(function, args)

    def intrinsic(self, name: str, *args: Any) -> Any:
        return self.call(f"llvm.{name}.v{self.lanes}f{64 if self.double else 32}", *args)

    def fma(self, a: Any, b: Any, c: Any) -> Any:
        return self.intrinsic("fma", a, b, c)

    def horner(self, x: Any, coefficients: Sequence[float]) -> Any:
        value = self.splat(coefficients[-1])
        for c in reversed(coefficients[:-1]):
            value = self.fma(value, x, self.splat(c))
        return value

    def exp2(self, t: Any) -> Any:
        """2^t; relative error below 2 units in the last place; 0 where 2^t or its products could become subnormal."""
        b, bits = self.b, self.mantissa
        seen = b.fcmp_ordered(">", t, self.splat(_LOWEST_LOG2[self.dtype]))
        index_bits = 4 if self.avx512 and self.double else 0
        magic = self.splat(1.5 * 2.0 ** (bits - index_bits))
        rounded = b.fadd(t, magic)
        whole = b.fsub(rounded, magic)
        rest = b.fsub(t, whole)
        if index_bits:
            power = self.horner(rest, _polynomial(1 / 32, 6))
            table = [ir.Constant(self.vector, [2.0 ** (k / 16) for k in range(o, o + 8)]) for o in (0, 8)]
            power = b.fmul(power, self.call("llvm.x86.avx512.vpermi2var.pd.512", table[0], b.bitcast(rounded, self.integers), table[1]))
            return self._scalef(power, whole, seen)
        power = self.horner(rest, _polynomial(0.5, 11 if self.double else 6))
        if self.avx512:
            return self._scalef(power, whole, seen)
        exponent = b.shl(b.bitcast(rounded, self.integers), self.isplat(bits))
        scaled = b.bitcast(b.add(b.bitcast(power, self.integers), exponent), self.vector)
        return b.select(seen, scaled, self.splat(0))

    def _scalef(self, power: Any, whole: Any, seen: Any) -> Any:
        """power * 2^floor(whole) where ``seen``, else 0, in one instruction."""
        name = f"llvm.x86.avx512.mask.scalef.{'pd' if self.double else 'ps'}.512"
        mask = self.b.bitcast(seen, ir.IntType(self.lanes))
        return self.call(name, power, whole, self.splat(0), mask, ir.Constant(ir.IntType(32), 4))

    def log(self, x: Any) -> Any:
        """Natural logarithm of x > 0 by x = m 2^e, log m = 2 artanh((m - 1) / (m + 1)), m in [1/sqrt 2, sqrt 2)."""
        b, bits = self.b, self.mantissa
        raw = b.bitcast(x, self.integers)
        offset = int(np.array(math.sqrt(0.5), self.dtype).view("i8" if self.double else "i4"))
        e = b.ashr(b.sub(raw, self.isplat(offset)), self.isplat(bits))
        m = b.bitcast(b.sub(raw, b.shl(e, self.isplat(bits))), self.vector)
        f = b.fdiv(b.fsub(m, self.splat(1)), b.fadd(m, self.splat(1)))
        terms = 11 if self.double else 5
        series = self.horner(b.fmul(f, f), [2 / (2 * k + 1) for k in range(terms)])
        return self.fma(b.sitofp(e, self.vector), self.splat(math.log(2)), b.fmul(f, series))

    def reciprocal_root(self, x: Any) -> Any:
        if not self.avx512:
            return self.b.fdiv(self.splat(1), self.intrinsic("sqrt", x))
        name = f"llvm.x86.avx512.rsqrt14.{'pd' if self.double else 'ps'}.512"
        y = self.call(name, x, self.splat(0), ir.Constant(ir.IntType(self.lanes), -1))
        for _ in range(2 if self.double else 1):
            error = self.fma(self.b.fneg(self.b.fmul(x, y)), y, self.splat(1))
            y = self.fma(self.b.fmul(y, self.splat(0.5)), error, y)
        return y

    def expression(self, text: str, names: dict[str, Any]) -> Any:
        b = self.b
        operations = {
            "add": lambda p, q: b.fadd(p, q, _RELAXED),
            "sub": lambda p, q: b.fsub(p, q, _RELAXED),
            "mul": lambda p, q: b.fmul(p, q, _RELAXED),
            "div": lambda p, q: b.fdiv(p, q, _RELAXED),
            "neg": b.fneg,
            "sqrt": lambda p: b.fmul(p, self.reciprocal_root(p)),
            "log": self.log,
            "exp": lambda p: self.exp2(b.fmul(p, self.splat(math.log2(math.e)))),
        }
        return expressions.fold(
            text,
            lambda leaf: names[leaf] if isinstance(leaf, str) else self.splat(leaf),
            lambda op, *args: operations[op](*args),
        )

    # loops -------------------------------------------------------------------------------------------------------

    def loop(self, start: Any, stop: Any, step: Any, carried: list[Any], body: Any) -> list[Any]:
        """for (i = start; i < stop; i += step) carried = body(i, carried); returns the values after the loop."""
        b, function = self.b, self.b.function
        before = b.block
        head, inside, after = (function.append_basic_block(n) for n in ("head", "body", "after"))
        b.branch(head)
        b.position_at_end(head)
        i = b.phi(_I64)
        i.add_incoming(start, before)
        phis = [b.phi(c.type) for c in carried]
        for phi, c in zip(phis, carried, strict=True):
            phi.add_incoming(c, before)
        b.cbranch(b.icmp_signed("<", i, stop), inside, after)
        b.position_at_end(inside)
        values = body(i, phis)
        i.add_incoming(b.add(i, step), b.block)
        for phi, v in zip(phis, values, strict=True):
            phi.add_incoming(v, b.block)
        b.branch(head)
        b.position_at_end(after)
        return phis

    def minimum(self, p: Any, q: Any) -> Any:
        return self.b.select(self.b.icmp_signed("<", p, q), p, q)

    def maximum(self, p: Any, q: Any) -> Any:
        return self.b.select(self.b.icmp_signed(">", p, q), p, q)

    def load(self, base: Any, offset: Any, element: Any) -> Any:
        b = self.b
        pointer = b.bitcast(b.gep(base, [offset]), element.as_pointer())
        value = b.load(pointer)
        value.align = 8 if base.type.pointee == _I64 or self.double else 4
        return value

    def text(self) -> str:
        real, integer = self.real.as_pointer(), _I64.as_pointer()
        kinds = [real, real, real, integer, integer, integer, real, *[_I64] * 11]
        function = ir.Function(self.module, ir.FunctionType(ir.VoidType(), kinds), "accumulate")
        points, sources, shift, own, first, last, out, sx, sy, ss, so, r0, r1, v0, v1, m, block, padded = function.args
        self.b = b = ir.IRBuilder(function.append_basic_block("entry"))
        one, zero, width = (ir.Constant(_I64, k) for k in (1, 0, self.lanes))
        program, d = self.program, self.program.d

        def replicate(r: Any, _: list[Any]) -> list[Any]:
            x, y = b.gep(points, [b.mul(r, sx)]), b.gep(sources, [b.mul(r, sy)])
            lift, result = b.gep(shift, [b.mul(r, ss)]), b.gep(out, [b.mul(r, so)])

            def source_block(j0: Any, _: list[Any]) -> list[Any]:
                j1 = self.minimum(b.add(j0, block), m)

                def points_vector(v: Any, _: list[Any]) -> list[Any]:
                    i = b.mul(v, width)
                    coordinates = [self.load(x, b.add(i, b.mul(padded, ir.Constant(_I64, k))), self.vector) for k in range(d)]
                    raised = b.fmul(self.load(lift, i, self.vector), self.splat(math.log2(math.e)))
                    sums = [self.splat(0)] * program.rows

                    def pair(masked: bool) -> Any:
                        return lambda j, acc: self.pair(
                            j, acc, y, coordinates, raised, self.load(own, i, self.own_type) if masked else None
                        )

                    if program.exclude_self:
                        lo = self.minimum(self.maximum(self.load(first, v, _I64), j0), j1)
                        hi = self.minimum(self.maximum(self.load(last, v, _I64), lo), j1)
                        sums = self.loop(j0, lo, one, sums, pair(False))
                        sums = self.loop(lo, hi, one, sums, pair(True))
                        sums = self.loop(hi, j1, one, sums, pair(False))
                    else:
                        sums = self.loop(j0, j1, one, sums, pair(False))
                    for k, value in enumerate(sums):
                        offset = b.add(i, b.mul(padded, ir.Constant(_I64, k)))
                        total = b.fadd(self.load(result, offset, self.vector), value)
                        store = b.store(total, b.bitcast(b.gep(result, [offset]), self.vector.as_pointer()))
                        store.align = 8 if self.double else 4
                    return []

                return self.loop(v0, v1, one, [], points_vector)

            return self.loop(zero, m, block, [], source_block)

        self.loop(r0, r1, one, [], replicate)
        b.ret_void()
        attributes = f'"min-legal-vector-width"="{512 if self.avx512 else 0}" "prefer-vector-width"="512" nounwind'
        lines = str(self.module).split("\n")
        return "\n".join(f"{line} {attributes}" if line.startswith("define") else line for line in lines)

    @property
    def own_type(self) -> ir.VectorType:
        return ir.VectorType(_I64, self.lanes)

    def pair(self, j: Any, sums: list[Any], y: Any, coordinates: list[Any], raised: Any, own: Any | None) -> list[Any]:
        """One source against one vector of points: the accumulators after it."""
        b, program = self.b, self.program
        d = program.d
        z = []
        for k in range(d):
            c = self.load(y, b.add(b.mul(j, ir.Constant(_I64, d)), ir.Constant(_I64, k)), self.real)
            z.append(b.fsub(self.broadcast(c), coordinates[k]))
        s2 = b.fmul(z[0], z[0])
        for c in z[1:]:
            s2 = self.fma(c, c, s2)
        names = {name: self.splat(value) for name, value in program.constants.items()}
        used = set().union(*(expressions.names_in(t) for t in (program.exponent, *(c.weight for c in program.columns))))
        if used & {"s", "rs"}:
            s2 = self.intrinsic("maxnum", s2, self.splat(TINY[self.dtype]))
            names["rs"] = self.reciprocal_root(s2)
            names["s"] = b.fmul(s2, names["rs"])
        names["s2"] = s2
        exponent = self.expression(program.exponent, names)
        scaled = b.fmul(exponent, self.splat(-math.log2(math.e)), _RELAXED)
        decay = self.exp2(b.fadd(scaled, raised, _RELAXED))
        if own is not None:
            other = b.icmp_signed("!=", own, self.broadcast(j))
            decay = b.select(other, decay, self.splat(0))
        results = []
        for column in program.columns:
            unit = column.weight == "1"
            weight = decay if unit else self.expression(column.weight, names)
            if column.vector:
                weight = weight if unit else b.fmul(weight, decay)
                results += [self.fma(weight, c, sums[len(results) + k]) for k, c in enumerate(z)]
            elif unit:
                results.append(b.fadd(decay, sums[len(results)]))
            else:
                results.append(self.fma(weight, decay, sums[len(results)]))
        return results

    def broadcast(self, scalar: Any) -> Any:
        b = self.b
        kind = ir.VectorType(scalar.type, self.lanes)
        single = b.insert_element(ir.Constant(kind, ir.Undefined), scalar, ir.Constant(ir.IntType(32), 0))
        return b.shuffle_vector(
            single, ir.Constant(kind, ir.Undefined), ir.Constant(ir.VectorType(ir.IntType(32), self.lanes), [0] * self.lanes)
        )
