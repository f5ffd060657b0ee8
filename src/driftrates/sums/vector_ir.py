"""LLVM code of a `Program`: one loop over replicates, blocks of sources and vectors of points.

`emit` writes a function ``accumulate`` whose inner loop costs, for the Gaussian kernel in float64 with AVX-512, 2 d + 12
instructions plus one per accumulator for each vector of eight pairs: as many as the same loop written by hand.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir

from driftrates import expressions
from driftrates.kernels import TINY
from driftrates.sums.program import Program
from driftrates.sums.vector_math import LOG2_E, Scaled, Vectors

_I64 = ir.IntType(64)
_ARRAYS = ("points", "sources", "shift", "own", "first", "last", "ranges", "out")
_STRIDES = ("points_stride", "sources_stride", "shift_stride", "ranges_stride", "out_stride", "vector_stride")
ARGUMENTS = (*_ARRAYS, *_STRIDES, "intervals", "m", "padded", "block", "flush")


def wide(features: Any) -> bool:
    """Does a host with these CPU ``features`` have the AVX-512 instructions that this module writes?"""
    return bool(features.get("avx512f") and features.get("avx512dq"))


def lanes(features: Any, dtype: str) -> int:
    """Points per vector for a host with these CPU ``features``: 64 bytes with AVX-512, 32 with AVX2, else 16."""
    return (64 if wide(features) else 32 if features.get("avx2") else 16) // np.dtype(dtype).itemsize


def emit(program: Program, dtype: str, lanes: int, avx512: bool, guarded: bool = True) -> str:
    """LLVM assembly of ``accumulate(arguments, r0, r1, v0, v1)``, which sums the replicates r0..r1 and vectors of points v0..v1.

    ``arguments`` is an array of int64, by the names in `ARGUMENTS`. First the addresses of points (R, d, padded), sources
    (R or 1, m, d), shift (R, padded), own (padded) index of each point's own source, first/last (V) the range of sources that
    needs the test against ``own``, ranges (R or 1, V or 1, intervals, 2) of the sources to sum, and out (R, rows, padded), added
    to; V = padded / lanes. Then the strides of replicates in points, sources, shift, ranges and out, and of vectors in ranges; the
    number of intervals and of sources, and ``padded``; ``block``: sources run by so many, which stay in the cache, with the
    vectors inside; ``flush``: sums are added to ``out`` after at most so many sources, which keeps their rounding errors small.
    Code that is not ``guarded`` (AVX-512 only) takes the shift as 0 and needs exponents below `LARGEST_EXPONENT`.
    """
    return _Emitter(program, dtype, lanes, avx512, guarded or not avx512).text()


class _Emitter(Vectors):
    def __init__(self, program: Program, dtype: str, lanes: int, avx512: bool, guarded: bool) -> None:
        super().__init__(dtype, lanes, avx512, guarded)
        self.program = program

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
        function = ir.Function(self.module, ir.FunctionType(ir.VoidType(), [integer, *[_I64] * 4]), "accumulate")
        arguments, r0, r1, v0, v1 = function.args
        self.b = b = ir.IRBuilder(function.append_basic_block("entry"))
        one, zero, width = (ir.Constant(_I64, k) for k in (1, 0, self.lanes))
        given = [self.load(arguments, ir.Constant(_I64, k), _I64) for k in range(len(ARGUMENTS))]
        points, sources, shift, own, first, last, ranges, out = (
            b.inttoptr(g, real if name in ("points", "sources", "shift", "out") else integer)
            for name, g in zip(_ARRAYS, given, strict=False)
        )
        sx, sy, ss, sr, so, sv, intervals, m, padded, block, flush = given[len(_ARRAYS) :]
        program, d = self.program, self.program.d

        def replicate(r: Any, _: list[Any]) -> list[Any]:
            x, y = b.gep(points, [b.mul(r, sx)]), b.gep(sources, [b.mul(r, sy)])
            lift, result = b.gep(shift, [b.mul(r, ss)]), b.gep(out, [b.mul(r, so)])

            def source_block(j0: Any, _: list[Any]) -> list[Any]:
                j1 = self.minimum(b.add(j0, block), m)

                def points_vector(v: Any, _: list[Any]) -> list[Any]:
                    i = b.mul(v, width)
                    coordinates = [self.load(x, b.add(i, b.mul(padded, ir.Constant(_I64, k))), self.vector) for k in range(d)]
                    raised = b.fmul(self.load(lift, i, self.vector), self.splat(LOG2_E)) if self.guarded else None
                    own_range = b.gep(ranges, [b.add(b.mul(r, sr), b.mul(v, sv))])

                    def pair(masked: bool) -> Any:
                        return lambda j, acc: self.pair(
                            j, acc, y, coordinates, raised, self.load(own, i, self.own_type) if masked else None
                        )

                    def chunk(start: Any, hi: Any) -> None:
                        stop = self.minimum(b.add(start, flush), hi)
                        sums = [self.splat(0)] * program.rows
                        if program.exclude_self:
                            low = self.minimum(self.maximum(self.load(first, v, _I64), start), stop)
                            high = self.minimum(self.maximum(self.load(last, v, _I64), low), stop)

                            def parts(part: Any, acc: list[Any]) -> list[Any]:
                                first_part = b.icmp_signed("==", part, zero)
                                end = b.select(first_part, low, stop)
                                acc = self.loop(b.select(first_part, start, high), end, one, acc, pair(False))
                                return self.loop(end, b.select(first_part, high, stop), one, acc, pair(True))

                            sums = self.loop(zero, ir.Constant(_I64, 2), one, sums, parts)
                        else:
                            sums = self.loop(start, stop, one, sums, pair(False))
                        for k, value in enumerate(sums):
                            offset = b.add(i, b.mul(padded, ir.Constant(_I64, k)))
                            total = self.fma(value, self.splat(self.factors[k]), self.load(result, offset, self.vector))
                            store = b.store(total, b.bitcast(b.gep(result, [offset]), self.vector.as_pointer()))
                            store.align = 8 if self.double else 4

                    def interval(k: Any, _: list[Any]) -> list[Any]:
                        at = b.add(k, k)
                        lo = self.maximum(self.load(own_range, at, _I64), j0)
                        hi = self.minimum(self.load(own_range, b.add(at, one), _I64), j1)
                        self.loop(lo, hi, flush, [], lambda start, _: chunk(start, hi) or [])
                        return []

                    return self.loop(zero, intervals, one, [], interval)

                return self.loop(v0, v1, one, [], points_vector)

            return self.loop(zero, m, block, [], source_block)

        state = None if self.guarded else self.flush_subnormals()
        self.loop(r0, r1, one, [], replicate)
        if state is not None:
            self.b.call(self.control("ldmxcsr"), [state])
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
        names = {name: Scaled(value) for name, value in program.constants.items()}
        texts = (program.exponent, *(c.weight for c in program.columns))
        used = set().union(*(expressions.names_in(t) for t in texts))
        rooted = bool(used & {"s", "rs"}) or any("sqrt" in t for t in texts)
        s2 = self.fma(z[0], z[0], self.splat(TINY[self.dtype])) if rooted else b.fmul(z[0], z[0])
        for c in z[1:]:
            s2 = self.fma(c, c, s2)
        if used & {"s", "rs"}:
            inverse = self.reciprocal_root(s2)
            root = b.fmul(s2, inverse)
            names |= {"rs": Scaled(1.0, inverse, root), "s": Scaled(1.0, root, inverse)}
        names["s2"] = Scaled(1.0, s2)
        exponent = self.expression(program.exponent, names)
        decay = self.exp2(self.splat(1) if exponent.value is None else exponent.value, -exponent.factor * LOG2_E, raised)
        if own is not None:
            other = b.icmp_signed("!=", own, self.broadcast(j))
            decay = b.select(other, decay, self.splat(0))
        results: list[Any] = []
        self.factors = []
        for column in program.columns:
            factor, value, _ = self.expression(column.weight, names)
            if column.vector:
                weight = decay if value is None else b.fmul(value, decay)
                results += [self.fma(weight, c, sums[len(results) + k]) for k, c in enumerate(z)]
            elif value is None:
                results.append(b.fadd(decay, sums[len(results)]))
            else:
                results.append(self.fma(value, decay, sums[len(results)]))
            self.factors += [factor] * (d if column.vector else 1)
        return results

    def control(self, name: str) -> ir.Function:
        name = f"llvm.x86.sse.{name}"
        kind = ir.FunctionType(ir.VoidType(), [ir.IntType(8).as_pointer()])
        return self.module.globals.get(name) or ir.Function(self.module, kind, name)

    def flush_subnormals(self) -> Any:
        """From here on subnormal numbers are 0, without the hundred cycles that each costs; returns where the former state lies."""
        b, word = self.b, ir.IntType(32)
        before, now = b.alloca(word), b.alloca(word)
        states = [b.bitcast(p, ir.IntType(8).as_pointer()) for p in (before, now)]
        b.call(self.control("stmxcsr"), [states[0]])
        b.store(b.or_(b.load(before), ir.Constant(word, 0x8040)), now)
        b.call(self.control("ldmxcsr"), [states[1]])
        return states[0]
