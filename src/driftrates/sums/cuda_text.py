"""The parts of the CUDA C source that no program changes; `driftrates.sums.cuda_source` fills in the places marked by @."""

MATH_FLOAT = r"""
#define INFINITE (1e30f * 1e30f)
struct Table {};

__device__ __forceinline__ float floored(float a) { return fmaxf(a, TINY); }

// A product that is rounded before it is used: contracted into an fma with the source, a point on top of it would not be at 0.
__device__ __forceinline__ float rounded_product(float a, float b) { return __fmul_rn(a, b); }

__device__ __forceinline__ float power_of_2(float t, Table) {
#ifdef __CUDACC__
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(t));
  return y;
#else
  return t < -126.0f ? 0.0f : exp2f(t);
#endif
}

__device__ __forceinline__ float inverse_length(float x) {
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

MATH_DOUBLE = r"""
#define INFINITE (1e300 * 1e300)
#define COPIES 16
typedef const double* Table;
__constant__ double POWERS[128] = {@TABLE@};

// The floor TINY, to the 21 bits of the high word: as integers, it leaves the double-precision pipe free.
__device__ __forceinline__ double floored(double a) {
  const unsigned high = __double2hiint(a), least = __double2hiint(TINY);
  return __hiloint2double(high > least ? high : least, __double2loint(a));
}

// A product that is rounded before it is used: contracted into an fma with the source, a point on top of it would not be at 0.
__device__ __forceinline__ double rounded_product(double a, double b) { return __dmul_rn(a, b); }

// A copy of the table for every second bank of shared memory, so that the lanes of a warp never meet in one.
// The high words lack k << 13: adding the number of 128ths << 13 then leaves the exponent.
__device__ __forceinline__ Table load_table(double (&powers)[128 * COPIES]) {
  for (int e = threadIdx.x; e < 128 * COPIES; e += blockDim.x) {
    const double power = POWERS[e / COPIES];
    powers[e] = __hiloint2double(__double2hiint(power) - (e / COPIES << 13), __double2loint(power));
  }
  return powers + threadIdx.x % COPIES;
}

// 2^t for t < 1023, floored at 2^-1020: nearest multiple of 1/128 by table, the rest by polynomial, the exponent by integers.
__device__ __forceinline__ double power_of_2(double t, Table table) {
  const unsigned high = __double2hiint(t), least = 0xC08FE000u;  // high word of -1020; grows as t falls
  t = __hiloint2double(high < least ? high : least, __double2loint(t));
  const double magic = 52776558133248.0, shifted = t + magic;  // 1.5 * 2^45: the low word counts 128ths
  const double r = t - (shifted - magic);
  const unsigned k = __double2loint(shifted);
  const double entry = table[k % 128 * COPIES];
  return __hiloint2double(__double2hiint(entry) + (k << 13), __double2loint(entry)) * @POLYNOMIAL@;
}

__device__ __forceinline__ double inverse_length(double x) {
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

PAIR = r"""
__device__ __forceinline__ REAL inverse_root(REAL x) { return inverse_length(floored(x)); }
__device__ __forceinline__ REAL root(REAL x) { return x * inverse_root(x); }
__device__ __forceinline__ REAL square(const REAL (&z)[D]) {
  REAL s2 = START;
#pragma unroll
  for (int k = 0; k < D; ++k) s2 += z[k] * z[k];
  return s2;
}

__device__ __forceinline__ REAL minus_square(const REAL (&z)[D]) {
  REAL t = 0;
#pragma unroll
  for (int k = 0; k < D; ++k) t -= z[k] * z[k];
  return t;
}

template <bool LIFTED>
__device__ __forceinline__ void pair(const REAL (&z)[D], REAL lift, bool skip, Table table, REAL (&sum)[ROWS]) {
  if (LIFTED) {
    @LIFTED@
  } else {
    @PLAIN@
  }
}

template <bool LIFTED>
__device__ __forceinline__ REAL row_factor(int c) {
  const REAL lifted[ROWS] = {@LIFTED_FACTORS@}, plain[ROWS] = {@PLAIN_FACTORS@};
  return LIFTED ? lifted[c] : plain[c];
}
"""

KERNELS = r"""
template <bool MAY_SKIP, bool LIFTED>
__device__ __forceinline__ void add_source(const REAL* source, int j, Table table, const REAL (&point)[POINTS][D],
                                           const REAL (&lift)[POINTS], const int (&own)[POINTS], REAL (&sum)[POINTS][ROWS]) {
#pragma unroll
  for (int q = 0; q < POINTS; ++q) {
    REAL z[D];
#pragma unroll
    for (int k = 0; k < D; ++k) z[k] = source[k] - point[q][k];
    pair<LIFTED>(z, lift[q], MAY_SKIP && own[q] == j, table, sum[q]);
  }
}

struct __align__(16) Load {
  REAL value[16 / sizeof(REAL)];
};

template <bool MAY_SKIP, bool LIFTED>
__device__ __forceinline__ void add_tile(const REAL* tile, int count, Table table, const REAL (&point)[POINTS][D],
                                         const REAL (&lift)[POINTS], const int (&own)[POINTS], REAL (&sum)[POINTS][ROWS]) {
  constexpr int unroll = MAY_SKIP || LIFTED ? 2 : UNROLL, loads = unroll * D * sizeof(REAL) / sizeof(Load);
  int j = 0;
#pragma unroll 1
  for (int turn = count / unroll; turn > 0; --turn, j += unroll, tile += unroll * D) {
    REAL source[unroll * D];
    if (loads * sizeof(Load) == sizeof(source)) {
#pragma unroll
      for (int l = 0; l < loads; ++l) {
        const Load load = ((const Load*)tile)[l];
#pragma unroll
        for (int v = 0; v < sizeof(Load) / sizeof(REAL); ++v) source[l * (sizeof(Load) / sizeof(REAL)) + v] = load.value[v];
      }
    } else {
#pragma unroll
      for (int l = 0; l < unroll * D; ++l) source[l] = tile[l];
    }
#pragma unroll
    for (int l = 0; l < unroll; ++l) add_source<MAY_SKIP, LIFTED>(source + l * D, j + l, table, point, lift, own, sum);
  }
#pragma unroll 1
  for (; j < count; ++j, tile += D) add_source<MAY_SKIP, LIFTED>(tile, j, table, point, lift, own, sum);
}

// Points b of replicate r against slice s of the sources. Coordinates are multiplied by SCALE; not where a lift, and so the
// exponent, is large: there the rounding of the products would show.
template <bool LIFTED>
__device__ __forceinline__ void stream(REAL* tile, Table table, const REAL* x, const REAL* y, const REAL* shift, const long long* index,
                                       REAL* out, int n, int first, int begin, int end) {
  const REAL scale = LIFTED ? 1 : SCALE;
  REAL point[POINTS][D], lift[POINTS], total[POINTS][ROWS];
  int own[POINTS];
#pragma unroll
  for (int q = 0; q < POINTS; ++q) {
    const int wanted = first + q * blockDim.x, i = wanted < n ? wanted : n - 1;
#pragma unroll
    for (int k = 0; k < D; ++k) point[q][k] = rounded_product(x[(long long)i * D + k], scale);
    lift[q] = LIFTED ? -RATE * (shift[i] * LIFT) : 0;
    own[q] = EXCLUDE ? (index ? (int)index[i] : i) : -1;
#pragma unroll
    for (int c = 0; c < ROWS; ++c) total[q][c] = INITIAL;
  }

  for (int start = begin; start < end; start += TILE) {
    const int count = end - start < TILE ? end - start : TILE;
    __syncthreads();
    for (int e = threadIdx.x; e < count * D; e += blockDim.x) tile[e] = rounded_product(y[(long long)start * D + e], scale);
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
      add_tile<true, LIFTED>(tile, count, table, point, lift, local, sum);
    else
      add_tile<false, LIFTED>(tile, count, table, point, lift, local, sum);
#if SINGLE
#pragma unroll
    for (int q = 0; q < POINTS; ++q)
#pragma unroll
      for (int c = 0; c < ROWS; ++c) total[q][c] = JOIN(total[q][c], sum[q][c]);
#endif
  }

#pragma unroll
  for (int q = 0; q < POINTS; ++q) {
    const int i = first + q * blockDim.x;
    if (i >= n) break;
    // What the rounding of lift lost, exactly: far from all sources it is not small. The fma in pair() keeps the rest.
    const REAL factor = LIFTED ? exp2(fma(-RATE, shift[i] * LIFT, -lift[q])) : REAL(1);
#pragma unroll
    for (int c = 0; c < ROWS; ++c) out[(long long)c * n + i] = total[q][c] * (row_factor<LIFTED>(c) * factor);
  }
}

// The bound of two blocks grants the registers that avoid spills.
// Block (b + blocks * r, s): points b of replicate r against slice s of the sources, chunk (a multiple of TILE) each.
extern "C" __global__ void __launch_bounds__(THREADS, 2)
pairs(const REAL* x, const REAL* y, const REAL* shift, const long long* index, REAL* out, int n, int m, int blocks, int chunk,
      long long y_stride) {
  __shared__ __align__(16) REAL tile[TILE * D];
#if SINGLE
  const Table table = {};
#else
  __shared__ double powers[128 * COPIES];
  const Table table = load_table(powers);
#endif
  const long long r = blockIdx.x / blocks, replicates = gridDim.x / blocks;
  const int first = (blockIdx.x % blocks) * (blockDim.x * POINTS) + threadIdx.x;
  const int begin = blockIdx.y * chunk, end = begin + chunk < m ? begin + chunk : m;
  x += r * n * D;
  y += r * y_stride;
  shift += r * n;
  out += (blockIdx.y * replicates + r) * ROWS * n;

  bool lifted = false;
  if (RATE != 0)
    for (int q = 0; q < POINTS; ++q)
      if (first + q * blockDim.x < n) lifted = lifted || shift[first + q * blockDim.x] != 0;
  if (RATE != 0 && __syncthreads_or(lifted))
    stream<true>(tile, table, x, y, shift, index, out, n, first, begin, end);
  else
    stream<false>(tile, table, x, y, shift, index, out, n, first, begin, end);
}

extern "C" __global__ void combine(const REAL* parts, REAL* out, long long size, int slices) {
  const long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= size) return;
  REAL value = parts[i];
  for (int s = 1; s < slices; ++s) value = JOIN(value, parts[s * size + i]);
  out[i] = value;
}
"""
