// Row operations of causal models (causal.h) in vectors; included after a lanes_*.h. Sums run in
// lanes as in lanes_rows.h.
#ifndef TRINE_COMPUTE_CPU_LANES_CAUSAL_ROWS_H
#define TRINE_COMPUTE_CPU_LANES_CAUSAL_ROWS_H

#include "compute/cpu/causal.h"
#include "compute/cpu/lanes_math.h"

#include <math.h>
#include <string.h>

INLINE VMASK some_of(size_t n, size_t at) { return v_first(at_most(n - at, LANES)); }

static void rms_norm(const float *x, const float *gamma, float eps, float *y, size_t n) {
    VF squares = v_zero();
    for (size_t i = 0; i < n; i += LANES) {
        VF v = v_load_some(x + i, some_of(n, i));
        squares = v_fma(v, v, squares);
    }
    VF inv = v_all(1.0F / sqrtf(v_sum(squares) / (float)n + eps));
    for (size_t i = 0; i < n; i += LANES) {
        VMASK some = some_of(n, i);
        VF v = v_mul(v_load_some(x + i, some), inv);
        v_store_some(y + i, v_mul(v, v_load_some(gamma + i, some)), some);
    }
}

static void rope(float *x, const float *cos, const float *sin, size_t half) {
    for (size_t i = 0; i < half; i += LANES) {
        VMASK some = some_of(half, i);
        VF a = v_load_some(x + i, some), b = v_load_some(x + half + i, some);
        VF c = v_load_some(cos + i, some), s = v_load_some(sin + i, some);
        v_store_some(x + i, v_fms(a, c, v_mul(b, s)), some);
        v_store_some(x + half + i, v_fma(b, c, v_mul(a, s)), some);
    }
}

static void swiglu(const float *gate, const float *up, float *y, size_t n) {
    for (size_t i = 0; i < n; i += LANES) {
        VMASK some = some_of(n, i);
        VF g = v_load_some(gate + i, some);
        v_store_some(y + i, v_mul(v_gated(g, g), v_load_some(up + i, some)), some);
    }
}

INLINE void v_to_f16(uint16_t *p, VF v) {
#if LANES == 16
    _mm256_storeu_si256((__m256i *)(void *)p, _mm512_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT));
#else
    _mm_storeu_si128((__m128i *)(void *)p, _mm256_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT));
#endif
}

static void to_f16(const float *x, uint16_t *half, size_t n) {
    size_t whole = n / LANES * LANES;
    for (size_t i = 0; i < whole; i += LANES)
        v_to_f16(half + i, v_load(x + i));
    if (whole < n) {
        uint16_t tail[LANES];
        v_to_f16(tail, v_load_some(x + whole, v_first(n - whole)));
        memcpy(half + whole, tail, (n - whole) * sizeof *half);
    }
}

#endif
