// The CUDA names that the generated source uses, for a host compiler: the threads of a block are fibres on one core,
// which take turns at __syncthreads. Prepended to the source; afterwards `run_pairs` and `run_combine` launch its kernels.
#include <ucontext.h>

#include <cmath>
#include <cstdint>
#include <cstring>

#define __device__
#define __global__
#define __constant__ static const
#define __shared__ static
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __align__(bytes) __attribute__((aligned(bytes)))

using std::exp;
using std::exp2;
using std::fma;
using std::log2;

struct Index {
  unsigned x, y;
};
static Index blockIdx, threadIdx, blockDim, gridDim;

static inline int64_t bits(double v) {
  int64_t b;
  std::memcpy(&b, &v, 8);
  return b;
}
static inline int __double2hiint(double v) { return static_cast<int>(bits(v) >> 32); }
static inline int __double2loint(double v) { return static_cast<int>(bits(v)); }
static inline double __hiloint2double(int high, int low) {
  const int64_t b = static_cast<int64_t>(static_cast<uint64_t>(static_cast<uint32_t>(high)) << 32 | static_cast<uint32_t>(low));
  double v;
  std::memcpy(&v, &b, 8);
  return v;
}

static inline float __fmul_rn(float a, float b) { return a * b; }
static inline double __dmul_rn(double a, double b) { return a * b; }

namespace shim {
constexpr unsigned most_threads = 128, stack_bytes = 1 << 17;
static ucontext_t scheduler, fibres[most_threads];
static char stacks[most_threads][stack_bytes];
static bool done[most_threads];
static void (*body)(const void*);
static const void* captured;

static void fibre() {
  body(captured);
  done[threadIdx.x] = true;
}

template <class Kernel>
static void launch(unsigned width, unsigned height, unsigned threads, const Kernel& kernel) {
  body = [](const void* k) { (*static_cast<const Kernel*>(k))(); };
  captured = &kernel;
  gridDim = {width, height};
  blockDim = {threads, 1};
  for (blockIdx.y = 0; blockIdx.y < height; ++blockIdx.y)
    for (blockIdx.x = 0; blockIdx.x < width; ++blockIdx.x) {
      for (unsigned t = 0; t < threads; ++t) {
        done[t] = false;
        getcontext(&fibres[t]);
        fibres[t].uc_stack.ss_sp = stacks[t];
        fibres[t].uc_stack.ss_size = stack_bytes;
        fibres[t].uc_link = &scheduler;
        makecontext(&fibres[t], fibre, 0);
      }
      for (bool running = true; running;) {
        running = false;
        for (threadIdx.x = 0; threadIdx.x < threads; ++threadIdx.x)
          if (!done[threadIdx.x]) {
            swapcontext(&scheduler, &fibres[threadIdx.x]);
            running = running || !done[threadIdx.x];
          }
      }
    }
}
}  // namespace shim

static inline void __syncthreads() { swapcontext(&shim::fibres[threadIdx.x], &shim::scheduler); }
static inline int __syncthreads_or(int value) {
  static int any;
  if (threadIdx.x == 0) any = 0;
  __syncthreads();
  any |= value;
  __syncthreads();
  return any;
}

#define SHIM_LAUNCHERS                                                                                                                    \
  extern "C" void run_pairs(int width, int height, int threads, const REAL* x, const REAL* y, const REAL* shift, const long long* index,  \
                            REAL* out, int n, int m, int blocks, int chunk, long long y_stride) {                                         \
    shim::launch(width, height, threads, [=] { pairs(x, y, shift, index, out, n, m, blocks, chunk, y_stride); });                         \
  }                                                                                                                                       \
  extern "C" void run_combine(int width, int height, int threads, const REAL* parts, REAL* out, long long size, int slices) {             \
    shim::launch(width, height, threads, [=] { combine(parts, out, size, slices); });                                                     \
  }
