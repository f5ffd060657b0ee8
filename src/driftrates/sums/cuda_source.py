"""CUDA C source of the pairwise passes, one translation unit per program and precision.

A block of threads holds ``POINTS`` points per thread in registers and streams the sources through a tile in shared
memory. The source has two kernels: ``pairs`` accumulates one slice of the sources, ``combine`` joins the slices in
their order. Outside the CUDA compiler the same text is plain C++ for a host that supplies the CUDA names.
"""

from __future__ import annotations

import math
from functools import cache
from typing import NamedTuple

import numpy as np

from driftrates import expressions
from driftrates.kernels import TINY
from driftrates.sums.program import Program

THREADS = 128
"""Most threads of a block."""
_REGISTERS = {"float32": 144, "float64": 64}  # numbers that a thread may hold: more would spill
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
    texts = [program.exponent, *(column.weight for column in program.columns)]
    exponent = _lower(program.exponent, program, dtype)
    rate = -exponent.factor / math.log(2)
    body = []
    # Only expressions that are polynomials in s2 take s2 = 0 without a floor.
    if any(mark in text for text in texts for mark in ("/", "log", "sqrt", "exp")) or _uses(texts, "s", "rs"):
        body.append("s2 = floored(s2);")
    if _uses(texts, "s", "rs"):
        body.append("const REAL rs = inverse_root(s2), s = s2 * rs;")
    body.append(f"const REAL decay = skip ? 0 : power_of_2(fma({_literal(rate, dtype)}, {exponent.text or '1'}, lift), table);")
    row = 0
    for number, column in enumerate(program.columns):
        weight = _lower(column.weight, program, dtype)
        value = f"w{number}"
        body.append(f"const REAL {value} = {_emit(_multiply(weight, _Scaled(1.0, 'decay')), dtype)};")
        if column.vector:
            body += [f"sum[{row + k}] += {value} * z[{k}];" for k in range(program.d)]
            row += program.d
        else:
            body.append(f"sum[{row}] += {value};")
            row += 1
    names = {
        "INITIAL": "0",
        "JOIN(a, b)": "((a) + (b))",
        "RATE": f"({_literal(rate, dtype)})",
        "UNIT": _literal(1 / exponent.factor if exponent.text and rate else 0.0, dtype),
        "EXCLUDE": f"{int(program.exclude_self)}",
    }
    return _assemble(dtype, program.d, row, names, body)


@cache
def nearest_source(d: int, dtype: str, exclude: bool) -> Source:
    """Source of ``nearest`` in dimension ``d``; ``exclude`` leaves each point's own source out."""
    names = {"INITIAL": "INFINITE", "JOIN(a, b)": "((a) < (b) ? (a) : (b))", "RATE": "0", "UNIT": "0", "EXCLUDE": f"{int(exclude)}"}
    return _assemble(dtype, d, 1, names, ["if (!skip) sum[0] = JOIN(s2, sum[0]);"])


def _assemble(dtype: str, d: int, rows: int, names: dict[str, str], body: list[str]) -> Source:
    single = dtype == "float32"
    words = d + (2 if single else 1) * rows
    choices = (4, 2, 1) if single else (2, 1)
    points = next((q for q in choices if q * words <= _REGISTERS[dtype]), 1)
    size = 4 if single else 8
    unit = min(16 // size, 1 << (d - 1).bit_length())
    stride = -(-d // unit) * unit
    tile = THREADS
    while tile > 16 and tile * stride * size > _SHARED_BYTES:
        tile //= 2
    defines = {
        "REAL": "float" if single else "double",
        "SINGLE": f"{int(single)}",
        "TINY": _literal(TINY[dtype], dtype),
        "D": f"{d}",
        "STRIDE": f"{stride}",
        "ROWS": f"{rows}",
        "POINTS": f"{points}",
        "TILE": f"{tile}",
        "THREADS": f"{THREADS}",
        **names,
    }
    preamble = "\n".join(f"#define {name} {value}" for name, value in defines.items())
    preamble += f"\nconstexpr int UNROLL = {4 if points * words <= 64 else 2};"
    mathematics = _MATH_FLOAT if single else _MATH_DOUBLE.replace("@TABLE@", _table()).replace("@POLYNOMIAL@", _polynomial())
    pair = _PAIR.replace("@BODY@", "\n  ".join(body))
    return Source(f"{preamble}\n{mathematics}\n{pair}\n{_KERNELS}", points, tile, rows)


def _uses(texts: list[str], *names: str) -> bool:
    return any(not expressions.names_in(text).isdisjoint(names) for text in texts)


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


def _lower(text: str, program: Program, dtype: str) -> _Scaled:
    """The expression in C, without division and square root proper, which are slow on a GPU in double precision."""
    constants = program.constants

    def leaf(name: str | float) -> _Scaled:
        if isinstance(name, str) and name not in constants:
            return _Scaled(1.0, name)
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
    return ", ".join(repr(2.0 ** (k / 16)) for k in range(16))


def _polynomial() -> str:
    """2^r for |r| <= 1/32: the Taylor polynomial of degree 7 economised to degree 6, relative error 1e-17."""
    c = [math.log(2) ** k / math.factorial(k) for k in range(8)]
    a = 1 / 32
    c[5] += c[7] * 7 / 4 * a**2
    c[3] -= c[7] * 7 / 8 * a**4
    c[1] += c[7] * 7 / 64 * a**6
    text = repr(c[6])
    for value in reversed(c[:6]):
        text = f"({value!r} + r * {text})"
    return text


_MATH_FLOAT = r"""
#define INFINITE (1e30f * 1e30f)
struct Table {};

__device__ __forceinline__ float floored(float a) { return fmaxf(a, TINY); }

__device__ __forceinline__ float power_of_2(float t, Table) {
#ifdef __CUDACC__
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(t));
  return y;
#else
  return t < -126.0f ? 0.0f : exp2f(t);
#endif
}

__device__ __forceinline__ float inverse_root(float x) {
  x = floored(x);
#ifdef __CUDACC__
  float y;
  asm("rsqrt.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
#else
  return 1.0f / sqrtf(x);
#endif
}

__device__ __forceinline__ float inverse(float x) {
#ifdef __CUDACC__
  float y;
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
#else
  return 1.0f / x;
#endif
}
"""

_MATH_DOUBLE = r"""
#define INFINITE (1e300 * 1e300)
typedef const double* Table;
__constant__ double POWERS[16] = {@TABLE@};

// The floor TINY, to the 21 bits of the high word: as integers, it leaves the double-precision pipe free.
__device__ __forceinline__ double floored(double a) {
  const unsigned high = __double2hiint(a), least = __double2hiint(TINY);
  return __hiloint2double(high > least ? high : least, __double2loint(a));
}

// 2^t for t < 1023, floored at 2^-1021: nearest multiple of 1/16 by table, the rest by polynomial, the exponent by integers.
__device__ __forceinline__ double power_of_2(double t, Table table) {
  const unsigned high = __double2hiint(t), least = 0xC08FE000u;  // high word of -1020; grows as t falls
  t = __hiloint2double(high < least ? high : least, __double2loint(t));
  const double magic = 422212465065984.0, shifted = t + magic;  // 1.5 * 2^48: the low word counts sixteenths
  const int sixteenths = __double2loint(shifted);
  const double r = t - (shifted - magic);
  const double y = table[sixteenths & 15] * @POLYNOMIAL@;
  return __hiloint2double(__double2hiint(y) + ((sixteenths & ~15) << 16), __double2loint(y));
}

__device__ __forceinline__ double inverse_root(double x) {
  x = floored(x);
#ifdef __CUDACC__
  double y;
  asm("rsqrt.approx.ftz.f64 %0, %1;" : "=d"(y) : "d"(x));
  const double e = 1.0 - x * y * y;
  return y + y * e * (0.5 + 0.375 * e);
#else
  return 1.0 / sqrt(x);
#endif
}

__device__ __forceinline__ double inverse(double x) {
#ifdef __CUDACC__
  double y;
  asm("rcp.approx.ftz.f64 %0, %1;" : "=d"(y) : "d"(x));
  const double e = 1.0 - x * y;
  return y + y * (e + e * e);
#else
  return 1.0 / x;
#endif
}
"""

_PAIR = r"""
__device__ __forceinline__ REAL root(REAL x) { return x * inverse_root(x); }

__device__ __forceinline__ void pair(const REAL (&z)[D], REAL s2, REAL lift, bool skip, Table table, REAL (&sum)[ROWS]) {
  @BODY@
}
"""

_KERNELS = r"""
template <bool MAY_SKIP>
__device__ __forceinline__ void add_tile(const REAL (&tile)[TILE][STRIDE], int count, Table table, const REAL (&point)[POINTS][D],
                                         const REAL (&lift)[POINTS], const int (&own)[POINTS], REAL (&sum)[POINTS][ROWS]) {
#pragma unroll UNROLL
  for (int j = 0; j < count; ++j) {
#pragma unroll
    for (int q = 0; q < POINTS; ++q) {
      REAL z[D], s2 = 0;
#pragma unroll
      for (int k = 0; k < D; ++k) {
        z[k] = tile[j][k] - point[q][k];
        s2 += z[k] * z[k];
      }
      pair(z, s2, lift[q], MAY_SKIP && own[q] == j, table, sum[q]);
    }
  }
}

// The bound of two blocks grants the registers that avoid spills.
// Block (b + blocks * r, s): points b of replicate r against slice s of the sources, chunk (a multiple of TILE) each.
extern "C" __global__ void __launch_bounds__(THREADS, 2)
pairs(const REAL* x, const REAL* y, const REAL* shift, const long long* index, REAL* out, int n, int m, int blocks, int chunk,
      long long y_stride) {
  __shared__ __align__(16) REAL tile[TILE][STRIDE];
#if SINGLE
  const Table table = {};
#else
  __shared__ double table[16];
  if (threadIdx.x < 16) table[threadIdx.x] = POWERS[threadIdx.x];
#endif
  const long long r = blockIdx.x / blocks, replicates = gridDim.x / blocks;
  const int first = (blockIdx.x % blocks) * (blockDim.x * POINTS) + threadIdx.x;
  x += r * n * D;
  y += r * y_stride;

  REAL point[POINTS][D], lift[POINTS], total[POINTS][ROWS];
  int own[POINTS];
#pragma unroll
  for (int q = 0; q < POINTS; ++q) {
    const int wanted = first + q * blockDim.x, i = wanted < n ? wanted : n - 1;
#pragma unroll
    for (int k = 0; k < D; ++k) point[q][k] = x[(long long)i * D + k];
    lift[q] = RATE == 0 ? 0 : -RATE * (shift[r * n + i] * UNIT);
    own[q] = EXCLUDE ? (index ? (int)index[i] : i) : -1;
#pragma unroll
    for (int c = 0; c < ROWS; ++c) total[q][c] = INITIAL;
  }

  const int begin = blockIdx.y * chunk, end = begin + chunk < m ? begin + chunk : m;
  for (int start = begin; start < end; start += TILE) {
    const int count = end - start < TILE ? end - start : TILE;
    __syncthreads();
    for (int e = threadIdx.x; e < count * D; e += blockDim.x) tile[e / D][e % D] = y[(long long)start * D + e];
    __syncthreads();

    int local[POINTS];
    bool mine = false;
#pragma unroll
    for (int q = 0; q < POINTS; ++q) {
      local[q] = own[q] - start;
      mine = mine || (own[q] >= start && local[q] < count);
    }
#if SINGLE
    // Sums of one tile are closed before they join the total: rounding grows with TILE + m / TILE, not with m.
    REAL sum[POINTS][ROWS];
#pragma unroll
    for (int q = 0; q < POINTS; ++q)
#pragma unroll
      for (int c = 0; c < ROWS; ++c) sum[q][c] = INITIAL;
#else
    REAL (&sum)[POINTS][ROWS] = total;
#endif
    if (EXCLUDE && mine)
      add_tile<true>(tile, count, table, point, lift, local, sum);
    else
      add_tile<false>(tile, count, table, point, lift, local, sum);
#if SINGLE
#pragma unroll
    for (int q = 0; q < POINTS; ++q)
#pragma unroll
      for (int c = 0; c < ROWS; ++c) total[q][c] = JOIN(total[q][c], sum[q][c]);
#endif
  }

  out += (blockIdx.y * replicates + r) * ROWS * n;
#pragma unroll
  for (int q = 0; q < POINTS; ++q) {
    const int i = first + q * blockDim.x;
    if (i >= n) break;
    REAL factor = 1;
    if (RATE != 0) {
      // What the rounding of lift lost, exactly: far from all sources it is not small. The fma in pair() keeps the rest.
      const REAL shifted = shift[r * n + i] * UNIT;
      factor = exp2(fma(-RATE, shifted, -lift[q]));
    }
#pragma unroll
    for (int c = 0; c < ROWS; ++c) out[(long long)c * n + i] = total[q][c] * factor;
  }
}

extern "C" __global__ void combine(const REAL* parts, REAL* out, long long size, int slices) {
  const long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= size) return;
  REAL value = parts[i];
  for (int s = 1; s < slices; ++s) value = JOIN(value, parts[s * size + i]);
  out[i] = value;
}
"""
