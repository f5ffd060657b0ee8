// The yardstick of benchmarks/peers.py: fused Gaussian sums written by hand for AVX-512, one vector of points per loop over the sources.
// Coordinates come scaled so that the kernel is 2^(-r^2). Points (DIMENSION, n) with n a multiple of a vector, sources (m, DIMENSION).
#include <cstdint>
#include <immintrin.h>

#ifdef SINGLE
typedef float real;
typedef __m512 vector;
#define V(name) _mm512_##name##_ps
#else
typedef double real;
typedef __m512d vector;
#define V(name) _mm512_##name##_pd
static const double table[16] = {
    0x1.0000000000000p+0, 0x1.0b5586cf9890fp+0, 0x1.172b83c7d517bp+0, 0x1.2387a6e756238p+0, 0x1.306fe0a31b715p+0, 0x1.3dea64c123422p+0,
    0x1.4bfdad5362a27p+0, 0x1.5ab07dd485429p+0, 0x1.6a09e667f3bcdp+0, 0x1.7a11473eb0187p+0, 0x1.8ace5422aa0dbp+0, 0x1.9c49182a3f090p+0,
    0x1.ae89f995ad3adp+0, 0x1.c199bdd85529cp+0, 0x1.d5818dcfba487p+0, 0x1.ea4afa2a490dap+0};
#endif
static const int64_t lanes = sizeof(vector) / sizeof(real);

static inline vector polynomial(vector r, const real* c, int degree) {
    vector p = V(set1)(c[0]);
    for (int k = 1; k <= degree; ++k) p = V(fmadd)(p, r, V(set1)(c[k]));
    return p;
}

// 2^t as 2^whole times a polynomial on the rest; in float64 whole is in sixteenths, whose fraction chooses an entry of the table.
static inline vector exp2_vector(vector t) {
#ifdef SINGLE
    static const real c[] = {0x1.5bba12p-10f, 0x1.3cea88p-7f, 0x1.c6b752p-5f, 0x1.ebf9bcp-3f, 0x1.62e42ap-1f, 1.0f};
    const vector magic = V(set1)(0x1.8p23f);
    vector whole = V(sub)(V(add)(t, magic), magic);
    return V(scalef)(polynomial(V(sub)(t, whole), c, 5), whole);
#else
    static const real c[] = {0x1.5d87fe78a6731p-10, 0x1.3b2ab6fba4e77p-7, 0x1.c6b08d704a0c0p-5, 0x1.ebfbdff82c58fp-3, 0x1.62e42fefa39efp-1, 1.0};
    const vector magic = V(set1)(0x1.8p48);
    vector shifted = V(add)(t, magic), whole = V(sub)(shifted, magic);
    vector entry = _mm512_permutex2var_pd(_mm512_loadu_pd(table), _mm512_castpd_si512(shifted), _mm512_loadu_pd(table + 8));
    return V(scalef)(V(mul)(polynomial(V(sub)(t, whole), c, 5), entry), whole);
#endif
}

extern "C" void gaussian_sums(const real* x, const real* y, real* out, int64_t n, int64_t m) {
    const unsigned before = _mm_getcsr();
    _mm_setcsr(before | 0x8040);  // subnormal numbers, which cost a hundred cycles each, are 0
    for (int64_t i = 0; i < n; i += lanes) {
        vector point[DIMENSION], s1[DIMENSION], s0 = V(setzero)(), s2 = V(setzero)();
        for (int k = 0; k < DIMENSION; ++k) {
            point[k] = V(loadu)(x + k * n + i);
            s1[k] = V(setzero)();
        }
        for (int64_t j = 0; j < m; ++j) {
            vector z[DIMENSION], r2;
            for (int k = 0; k < DIMENSION; ++k) z[k] = V(sub)(V(set1)(y[j * DIMENSION + k]), point[k]);
            r2 = V(mul)(z[0], z[0]);
            for (int k = 1; k < DIMENSION; ++k) r2 = V(fmadd)(z[k], z[k], r2);
            vector kernel = exp2_vector(V(sub)(V(setzero)(), r2));
            s0 = V(add)(s0, kernel);
            for (int k = 0; k < DIMENSION; ++k) s1[k] = V(fmadd)(kernel, z[k], s1[k]);
            s2 = V(fmadd)(kernel, r2, s2);
        }
        V(storeu)(out + i, s0);
        for (int k = 0; k < DIMENSION; ++k) V(storeu)(out + (k + 1) * n + i, s1[k]);
        V(storeu)(out + (DIMENSION + 1) * n + i, s2);
    }
    _mm_setcsr(before);
}
