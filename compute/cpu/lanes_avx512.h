// The vector of the AVX-512 kernels: 16 floats. Role: names the intrinsics that the shared kernel
// bodies (lanes_*.h) are written in; lanes_avx2.h gives the same names to 8 floats. Included by
// *_avx512*.c only.
#ifndef TRINE_COMPUTE_CPU_LANES_H
#define TRINE_COMPUTE_CPU_LANES_H

#include "compute/cpu/gelu_table.h"

#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>

#define LANES 16
#define TILE_ROWS 14 // 14 x 2 sums, 2 weights, 1 input: 31 of 32 registers
#define INLINE static inline __attribute__((always_inline))

#define VF __m512
#define VMASK __mmask16

INLINE VF v_zero(void) { return _mm512_setzero_ps(); }
INLINE VF v_all(float x) { return _mm512_set1_ps(x); }
INLINE VF v_load(const float *p) { return _mm512_loadu_ps(p); }
INLINE void v_store(float *p, VF v) { _mm512_storeu_ps(p, v); }

// The first n lanes, n in [0, LANES].
INLINE VMASK v_first(size_t n) { return (VMASK)((1U << n) - 1U); }
INLINE VF v_load_some(const float *p, VMASK m) { return _mm512_maskz_loadu_ps(m, p); }
INLINE void v_store_some(float *p, VF v, VMASK m) { _mm512_mask_storeu_ps(p, m, v); }
INLINE VF v_pick(VMASK m, VF yes, VF no) { return _mm512_mask_blend_ps(m, no, yes); }

INLINE VF v_add(VF a, VF b) { return _mm512_add_ps(a, b); }
INLINE VF v_sub(VF a, VF b) { return _mm512_sub_ps(a, b); }
INLINE VF v_mul(VF a, VF b) { return _mm512_mul_ps(a, b); }
INLINE VF v_div(VF a, VF b) { return _mm512_div_ps(a, b); }
INLINE VF v_fma(VF a, VF b, VF c) { return _mm512_fmadd_ps(a, b, c); }
INLINE VF v_fnma(VF a, VF b, VF c) { return _mm512_fnmadd_ps(a, b, c); }
INLINE VF v_fms(VF a, VF b, VF c) { return _mm512_fmsub_ps(a, b, c); }
// When either is NaN the result is b.
INLINE VF v_max(VF a, VF b) { return _mm512_max_ps(a, b); }
INLINE VF v_min(VF a, VF b) { return _mm512_min_ps(a, b); }
INLINE VF v_abs(VF a) { return _mm512_abs_ps(a); }
INLINE VF v_sign_of(VF magnitude, VF sign) {
    return _mm512_or_ps(v_abs(magnitude), _mm512_and_ps(sign, _mm512_set1_ps(-0.0F)));
}
INLINE VF v_round(VF a) {
    return _mm512_roundscale_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
// v less the integer nearest to it.
INLINE VF v_off(VF v) { return _mm512_reduce_ps(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
INLINE VMASK v_less(VF a, VF b) { return _mm512_cmp_ps_mask(a, b, _CMP_LT_OQ); }
INLINE VMASK v_is_nan(VF a) { return _mm512_cmp_ps_mask(a, a, _CMP_UNORD_Q); }

// v 2^n for integral n in [-252, 252].
INLINE VF v_scale2(VF v, VF n) { return _mm512_scalef_ps(v, n); }

// The sum of all lanes: halves, always in the same order.
INLINE float v_sum(VF v) {
    __m256 a = _mm256_add_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps(v, 1));
    __m128 b = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    b = _mm_add_ps(b, _mm_movehl_ps(b, b));
    return _mm_cvtss_f32(_mm_add_ss(b, _mm_movehdup_ps(b)));
}
// The sums of four vectors' lanes: halves, then neighbours.
INLINE void v_sum_four(const VF v[4], float out[4]) {
    __m256 h[4];
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++)
        h[i] = _mm256_add_ps(_mm512_castps512_ps256(v[i]), _mm512_extractf32x8_ps(v[i], 1));
    __m256 s = _mm256_hadd_ps(_mm256_hadd_ps(h[0], h[1]), _mm256_hadd_ps(h[2], h[3]));
    _mm_storeu_ps(out, _mm_add_ps(_mm256_castps256_ps128(s), _mm256_extractf128_ps(s, 1)));
}
// The largest lane; any of them, or NaN, when one is NaN.
INLINE float v_most(VF v) {
    __m256 a = _mm256_max_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps(v, 1));
    __m128 b = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    b = _mm_max_ps(b, _mm_movehl_ps(b, b));
    return _mm_cvtss_f32(_mm_max_ss(b, _mm_movehdup_ps(b)));
}

// Any lane's exponent is all ones: Inf or NaN.
INLINE VMASK v_not_finite(VF v) {
    const __m512i inf = _mm512_set1_epi32(0x7f800000);
    return _mm512_cmpeq_epi32_mask(_mm512_and_si512(_mm512_castps_si512(v), inf), inf);
}
INLINE int v_any(VMASK m) { return m != 0; }

INLINE VF v_from_f16(const void *p) {
    return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)p));
}
INLINE VF v_from_bf16(const void *p) {
    __m512i wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)p));
    return _mm512_castsi512_ps(_mm512_slli_epi32(wide, 16));
}
// 16 words of two values each: the low ones, the high ones.
INLINE void v_from_bf16_words(const void *p, VF *low, VF *high) {
    __m512i both = _mm512_loadu_si512(p);
    *low = _mm512_castsi512_ps(_mm512_slli_epi32(both, 16));
    *high = _mm512_castsi512_ps(_mm512_and_si512(both, _mm512_set1_epi32(-65536)));
}

// gelu_table[degree][piece], piece the low 4 bits of each lane of `at`.
INLINE VF v_gelu_coefficient(int degree, VF at) {
    return _mm512_permutexvar_ps(_mm512_castps_si512(at), _mm512_load_ps(gelu_table[degree]));
}

// A 16 x 16 block turned about its diagonal.
INLINE void v_transpose(VF r[LANES]) {
    __m512 a[16], b[16];
#pragma GCC unroll 8
    for (int i = 0; i < 8; i++) {
        a[2 * i] = _mm512_unpacklo_ps(r[2 * i], r[2 * i + 1]);
        a[2 * i + 1] = _mm512_unpackhi_ps(r[2 * i], r[2 * i + 1]);
    }
#pragma GCC unroll 4
    for (int i = 0; i < 16; i += 4) {
        b[i] = _mm512_castpd_ps(
            _mm512_unpacklo_pd(_mm512_castps_pd(a[i]), _mm512_castps_pd(a[i + 2])));
        b[i + 1] = _mm512_castpd_ps(
            _mm512_unpackhi_pd(_mm512_castps_pd(a[i]), _mm512_castps_pd(a[i + 2])));
        b[i + 2] = _mm512_castpd_ps(
            _mm512_unpacklo_pd(_mm512_castps_pd(a[i + 1]), _mm512_castps_pd(a[i + 3])));
        b[i + 3] = _mm512_castpd_ps(
            _mm512_unpackhi_pd(_mm512_castps_pd(a[i + 1]), _mm512_castps_pd(a[i + 3])));
    }
    // b[4 g + c], lane group l: column 4 l + c of rows 4 g .. 4 g + 3
#pragma GCC unroll 4
    for (int c = 0; c < 4; c++) {
        __m512 lo = _mm512_shuffle_f32x4(b[c], b[4 + c], 0x88);
        __m512 hi = _mm512_shuffle_f32x4(b[c], b[4 + c], 0xdd);
        __m512 lo2 = _mm512_shuffle_f32x4(b[8 + c], b[12 + c], 0x88);
        __m512 hi2 = _mm512_shuffle_f32x4(b[8 + c], b[12 + c], 0xdd);
        r[c] = _mm512_shuffle_f32x4(lo, lo2, 0x88);
        r[8 + c] = _mm512_shuffle_f32x4(lo, lo2, 0xdd);
        r[4 + c] = _mm512_shuffle_f32x4(hi, hi2, 0x88);
        r[12 + c] = _mm512_shuffle_f32x4(hi, hi2, 0xdd);
    }
}

// ---- integers: 64 bytes, or a word for each lane ----

#define VI __m512i

INLINE VI vi_load(const void *p) { return _mm512_loadu_si512(p); }
INLINE void vi_store(void *p, VI v) { _mm512_storeu_si512(p, v); }
INLINE VI vi_zero(void) { return _mm512_setzero_si512(); }
INLINE VI vi_all8(int x) { return _mm512_set1_epi8((char)x); }
INLINE VI vi_all32(int x) { return _mm512_set1_epi32(x); }
INLINE VI vi_and(VI a, VI b) { return _mm512_and_si512(a, b); }
INLINE VI vi_or(VI a, VI b) { return _mm512_or_si512(a, b); }
INLINE VI vi_add32(VI a, VI b) { return _mm512_add_epi32(a, b); }
INLINE VI vi_sub32(VI a, VI b) { return _mm512_sub_epi32(a, b); }
// By n bits, left (n > 0) or right; of 16-bit words: the neighbour's bits come in.
INLINE VI vi_shift(VI a, const int n) {
    return n >= 0 ? (__m512i)((__v32hu)a << n) : (__m512i)((__v32hu)a >> -n);
}
INLINE VI vi_shl32(VI a, int n) { return _mm512_sll_epi32(a, _mm_cvtsi32_si128(n)); }
INLINE VI vi_shr32(VI a, const int n) { return (__m512i)((__v16su)a >> n); }
// Each byte, below 16, by the table.
INLINE VI vi_lookup(const uint8_t table[16], VI a) {
    return _mm512_shuffle_epi8(
        _mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)(const void *)table)), a);
}
INLINE VF v_from_i32(VI a) { return _mm512_cvtepi32_ps(a); }
INLINE VF v_from_u8(const void *p) {
    return _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)p)));
}
INLINE VF v_from_i8(const void *p) {
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)p)));
}
// Rounded to nearest, |v| <= 127, to bytes at p; their sum.
INLINE int v_to_i8(VF v, int8_t *p) {
    __m512i i = _mm512_cvtps_epi32(v);
    _mm_storeu_si128((__m128i *)(void *)p, _mm512_cvtepi32_epi8(i));
    return _mm512_reduce_add_epi32(i);
}
// sum + the products of each lane's 4 unsigned bytes of w and 4 signed bytes of x.
INLINE VI vi_dot(VI sum, VI w, VI x) {
#ifdef __AVX512VNNI__
    return _mm512_dpbusd_epi32(sum, w, x);
#else
    // as 16-bit words, even bytes and odd ones: no sum of two saturates then
    __m512i low = _mm512_madd_epi16(_mm512_and_si512(w, _mm512_set1_epi16(255)),
                                    _mm512_srai_epi16(_mm512_slli_epi16(x, 8), 8));
    __m512i high = _mm512_madd_epi16(_mm512_srli_epi16(w, 8), _mm512_srai_epi16(x, 8));
    return _mm512_add_epi32(sum, _mm512_add_epi32(low, high));
#endif
}
// As vi_dot, for w below 64: no sum of two products leaves 16 bits.
INLINE VI vi_dot_small(VI sum, VI w, VI x) {
#ifdef __AVX512VNNI__
    return _mm512_dpbusd_epi32(sum, w, x);
#else
    __m512i words = _mm512_maddubs_epi16(w, x);
    return _mm512_add_epi32(sum, _mm512_madd_epi16(words, _mm512_set1_epi16(1)));
#endif
}

#endif
