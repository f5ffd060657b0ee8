"""Arithmetic on vectors in LLVM code: exponential, logarithm, reciprocal and root to about two units in the last place.

Everything else is plain vector arithmetic that LLVM lowers for any host; these four have an AVX-512 form and a portable one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir
from numpy.polynomial import chebyshev

from driftrates import expressions

LOG2_E = math.log2(math.e)
RELAXED = ("contract", "reassoc", "arcp", "nsz")
"""Freedom for LLVM to rearrange sums and products, which only the arithmetic of kernels leaves it."""
_LOWEST_LOG2 = {"float64": -1000.0, "float32": -120.0}
LARGEST_EXPONENT = {"float64": 2.0**100, "float32": 2.0**50}
"""Exponents (base 2) up to which the code that is not ``guarded`` gives 0 or a number, never nan."""
LARGEST_DIVISOR = {"float64": 4.0**59, "float32": 4.0**15}
"""s^2 up to which that code can divide by its powers up to the fourth."""


class Scaled(NamedTuple):
    """factor * value, or the number ``factor`` alone; ``inverse`` is 1 / value where that is known."""

    factor: float
    value: Any = None
    inverse: Any = None


def _polynomial(half_width: float, degree: int) -> list[float]:
    """Coefficients of 2^r on |r| <= half_width, lowest first: the power series, its tail economised by Chebyshev polynomials.

    Only the tail, far below a rounding unit of the sum, passes through the change of basis: interpolation would cost 10 units.
    """
    series = np.array([(half_width * math.log(2)) ** k / math.factorial(k) for k in range(degree + 10)])
    tail = np.where(np.arange(len(series)) > degree, series, 0.0)
    series[: degree + 1] += chebyshev.cheb2poly(chebyshev.poly2cheb(tail)[: degree + 1])
    return [float(c) / half_width**k for k, c in enumerate(series[: degree + 1])]


class Vectors:
    """A builder ``b`` of code for vectors of so many ``lanes``, in AVX-512 instructions where ``avx512``; ``guarded`` bears infinities."""

    def __init__(self, dtype: str, lanes: int, avx512: bool, guarded: bool) -> None:
        self.dtype, self.lanes, self.avx512, self.guarded = dtype, lanes, avx512, guarded
        self.double = dtype == "float64"
        self.real = ir.DoubleType() if self.double else ir.FloatType()
        self.integer = ir.IntType(64 if self.double else 32)
        self.vector = ir.VectorType(self.real, lanes)
        self.integers = ir.VectorType(self.integer, lanes)
        self.mantissa = 52 if self.double else 23
        self.module = ir.Module()
        self.b: ir.IRBuilder

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

    def exp2(self, x: Any, factor: float, lift: Any = None) -> Any:
        """2^(factor x), or 2^(factor x + lift); relative error below 2 units in the last place.

        Where the result or its products could become subnormal it is 0 with a lift; without one the processor flushes them,
        and |factor x| must stay below `LARGEST_EXPONENT`.
        """
        b, bits, scale = self.b, self.mantissa, self.splat(factor)
        index_bits = 4 if self.avx512 else 0
        magic = self.splat(1.5 * 2.0 ** (bits - index_bits))
        if lift is None:
            rounded = self.fma(x, scale, magic)
            whole = b.fsub(rounded, magic)
            rest = self.fma(x, scale, b.fneg(whole))
        else:
            t = self.fma(x, scale, lift)
            rounded = b.fadd(t, magic)
            whole = b.fsub(rounded, magic)
            rest = b.fsub(t, whole)
        seen = None if lift is None else b.fcmp_ordered(">", t, self.splat(_LOWEST_LOG2[self.dtype]))
        if not self.avx512:
            power = self.horner(rest, _polynomial(0.5, 11 if self.double else 6))
            exponent = b.shl(b.bitcast(rounded, self.integers), self.isplat(bits))
            scaled = b.bitcast(b.add(b.bitcast(power, self.integers), exponent), self.vector)
            return b.select(seen, scaled, self.splat(0))
        root = self._sixteenth(b.bitcast(rounded, self.integers))
        power = self.fma(b.fmul(root, rest), self.horner(rest, _polynomial(1 / 32, 6 if self.double else 3)[1:]), root)
        mask = ir.IntType(self.lanes)
        chosen = ir.Constant(mask, -1) if seen is None else b.bitcast(seen, mask)
        name = f"llvm.x86.avx512.mask.scalef.{'pd' if self.double else 'ps'}.512"
        return self.call(name, power, whole, self.splat(0), chosen, ir.Constant(ir.IntType(32), 4))

    def _sixteenth(self, index: Any) -> Any:
        """2^(k / 16) for the low four bits k of ``index``."""
        powers = [2.0 ** (k / 16) for k in range(16)]
        if not self.double:
            return self.call("llvm.x86.avx512.permvar.sf.512", ir.Constant(self.vector, powers), index)
        low, high = (ir.Constant(self.vector, powers[k : k + 8]) for k in (0, 8))
        return self.call("llvm.x86.avx512.vpermi2var.pd.512", low, index, high)

    def log2(self, x: Any) -> Any:
        """Logarithm of x > 0 by x = m 2^e, log m = 2 artanh((m - 1) / (m + 1)), m in [1/sqrt 2, sqrt 2)."""
        b, bits = self.b, self.mantissa
        raw = b.bitcast(x, self.integers)
        offset = int(np.array(math.sqrt(0.5), self.dtype).view("i8" if self.double else "i4"))
        e = b.ashr(b.sub(raw, self.isplat(offset)), self.isplat(bits))
        m = b.bitcast(b.sub(raw, b.shl(e, self.isplat(bits))), self.vector)
        f = b.fmul(b.fsub(m, self.splat(1)), self.reciprocal(b.fadd(m, self.splat(1))))
        terms = 11 if self.double else 5
        series = self.horner(b.fmul(f, f), [2 / (2 * k + 1) / math.log(2) for k in range(terms)])
        return self.fma(f, series, b.sitofp(e, self.vector))

    def estimate(self, name: str, x: Any) -> Any:
        """1/x or 1/sqrt x to 14 bits."""
        kind = "pd" if self.double else "ps"
        return self.call(f"llvm.x86.avx512.{name}14.{kind}.512", x, self.splat(0), ir.Constant(ir.IntType(self.lanes), -1))

    def reciprocal(self, x: Any) -> Any:
        """1/x for normal x > 0, from y (1 + e) (1 + e^2) with e = 1 - x y."""
        if self.guarded:
            return self.b.fdiv(self.splat(1), x)
        y = self.estimate("rcp", x)
        e = self.fma(self.b.fneg(x), y, self.splat(1))
        y = self.fma(y, e, y)
        return self.fma(y, self.b.fmul(e, e), y) if self.double else y

    def reciprocal_root(self, x: Any) -> Any:
        """1/sqrt x for normal x > 0, from y (1 + e/2 + 3 e^2/8 + 5 e^3/16) with e = 1 - x y^2."""
        if not self.avx512:
            return self.b.fdiv(self.splat(1), self.intrinsic("sqrt", x))
        y = self.estimate("rsqrt", x)
        e = self.fma(self.b.fneg(self.b.fmul(x, y)), y, self.splat(1))
        return self.fma(self.b.fmul(y, e), self.horner(e, [1 / 2, 3 / 8, 5 / 16] if self.double else [1 / 2]), y)

    def expression(self, text: str, names: dict[str, Scaled]) -> Scaled:
        return expressions.fold(text, lambda leaf: names[leaf] if isinstance(leaf, str) else Scaled(leaf), self._apply)

    def _apply(self, operation: str, p: Scaled, q: Scaled | None = None) -> Scaled:
        b = self.b
        if operation == "neg":
            return Scaled(-p.factor, p.value, p.inverse)
        if operation == "div" and q is not None:
            if q.value is None:
                return Scaled(p.factor / q.factor, p.value)
            q = Scaled(1 / q.factor, q.inverse if q.inverse is not None else self.reciprocal(q.value), q.value)
            operation = "mul"
        if q is not None and operation == "mul":
            values = [v for v in (p.value, q.value) if v is not None]
            return Scaled(p.factor * q.factor, b.fmul(*values, RELAXED) if len(values) == 2 else values[0] if values else None)
        if q is not None:
            if p.value is None and q.value is None:
                return Scaled(p.factor + q.factor if operation == "add" else p.factor - q.factor)
            return Scaled(1.0, (b.fadd if operation == "add" else b.fsub)(self.emit(p), self.emit(q), RELAXED))
        if p.value is None:
            return Scaled(getattr(math, operation)(p.factor))
        if operation == "exp":
            return Scaled(1.0, self.exp2(p.value, p.factor * LOG2_E, self.splat(0)))
        if operation == "log":
            return Scaled(math.log(2), self.log2(self.emit(p)))
        inverse = self.reciprocal_root(self.emit(p))
        return Scaled(1.0, b.fmul(self.emit(p), inverse), inverse)

    def emit(self, scaled: Scaled) -> Any:
        if scaled.value is None:
            return self.splat(scaled.factor)
        return scaled.value if scaled.factor == 1 else self.b.fmul(scaled.value, self.splat(scaled.factor), RELAXED)

    def broadcast(self, scalar: Any) -> Any:
        b = self.b
        kind = ir.VectorType(scalar.type, self.lanes)
        single = b.insert_element(ir.Constant(kind, ir.Undefined), scalar, ir.Constant(ir.IntType(32), 0))
        return b.shuffle_vector(
            single, ir.Constant(kind, ir.Undefined), ir.Constant(ir.VectorType(ir.IntType(32), self.lanes), [0] * self.lanes)
        )
