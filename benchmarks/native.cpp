// The yardstick of benchmarks/peers.py: fused Gaussian sums written by hand for AVX-512, one vector of 8 points per loop over the sources.
// Coordinates come scaled so that the kernel is 2^(-r^2). Points (DIMENSION, n) with n a multiple of 8, sources (m, DIMENSION).
#include <cstdint>
#include <immintrin.h>

static const double table[16] = {
    0x1.0000000000000p+0, 0x1.0b5586cf9890fp+0, 0x1.172b83c7d517bp+0, 0x1.2387a6e756238p+0, 0x1.306fe0a31b715p+0, 0x1.3dea64c123422p+0,
    0x1.4bfdad5362a27p+0, 0x1.5ab07dd485429p+0, 0x1.6a09e667f3bcdp+0, 0x1.7a11473eb0187p+0, 0x1.8ace5422aa0dbp+0, 0x1.9c49182a3f090p+0,
    0x1.ae89f995ad3adp+0, 0x1.c199bdd85529cp+0, 0x1.d5818dcfba487p+0, 0x1.ea4afa2a490dap+0};

// 2^t: the low four bits of t + 1.5 * 2^48 choose a sixteenth, the rest is a polynomial on [-1/32, 1/32].
static inline __m512d exp2_vector(__m512d t, __m512d low, __m512d high) {
    const __m512d magic = _mm512_set1_pd(0x1.8p48);
    __m512d shifted = _mm512_add_pd(t, magic);
    __m512d sixteenths = _mm512_sub_pd(shifted, magic);
    __m512d r = _mm512_sub_pd(t, sixteenths);
    __m512d p = _mm512_set1_pd(0x1.5d87fe78a6731p-10);
    p = _mm512_fmadd_pd(p, r, _mm512_set1_pd(0x1.3b2ab6fba4e77p-7));
    p = _mm512_fmadd_pd(p, r, _mm512_set1_pd(0x1.c6b08d704a0c0p-5));
    p = _mm512_fmadd_pd(p, r, _mm512_set1_pd(0x1.ebfbdff82c58fp-3));
    p = _mm512_fmadd_pd(p, r, _mm512_set1_pd(0x1.62e42fefa39efp-1));
    p = _mm512_fmadd_pd(p, r, _mm512_set1_pd(1.0));
    __m512d entry = _mm512_permutex2var_pd(low, _mm512_castpd_si512(shifted), high);
    return _mm512_scalef_pd(_mm512_mul_pd(p, entry), sixteenths);
}

extern "C" void gaussian_sums(const double* x, const double* y, double* out, int64_t n, int64_t m) {
    const __m512d low = _mm512_loadu_pd(table), high = _mm512_loadu_pd(table + 8);
    for (int64_t i = 0; i < n; i += 8) {
        __m512d point[DIMENSION], s1[DIMENSION], s0 = _mm512_setzero_pd(), s2 = _mm512_setzero_pd();
        for (int k = 0; k < DIMENSION; ++k) {
            point[k] = _mm512_loadu_pd(x + k * n + i);
            s1[k] = _mm512_setzero_pd();
        }
        for (int64_t j = 0; j < m; ++j) {
            __m512d z[DIMENSION], r2;
            for (int k = 0; k < DIMENSION; ++k) z[k] = _mm512_sub_pd(_mm512_set1_pd(y[j * DIMENSION + k]), point[k]);
            r2 = _mm512_mul_pd(z[0], z[0]);
            for (int k = 1; k < DIMENSION; ++k) r2 = _mm512_fmadd_pd(z[k], z[k], r2);
            __m512d kernel = exp2_vector(_mm512_sub_pd(_mm512_setzero_pd(), r2), low, high);
            s0 = _mm512_add_pd(s0, kernel);
            for (int k = 0; k < DIMENSION; ++k) s1[k] = _mm512_fmadd_pd(kernel, z[k], s1[k]);
            s2 = _mm512_fmadd_pd(kernel, r2, s2);
        }
        _mm512_storeu_pd(out + i, s0);
        for (int k = 0; k < DIMENSION; ++k) _mm512_storeu_pd(out + (k + 1) * n + i, s1[k]);
        _mm512_storeu_pd(out + (DIMENSION + 1) * n + i, s2);
    }
}
