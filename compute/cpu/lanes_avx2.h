// The vector of the AVX2 kernels: 8 floats. Role and names as in lanes_avx512.h. Included by
// *_avx2.c only.
#ifndef TRINE_COMPUTE_CPU_LANES_H
#define TRINE_COMPUTE_CPU_LANES_H

#include "compute/cpu/gelu_table.h"

#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>

#define LANES 8
#define TILE_ROWS 6 // 6 x 2 sums, 2 weights, 1 input: 15 of 16 registers
#define INLINE static inline __attribute__((always_inline))

#define VF __m256
#define VMASK __m256 // all bits of a lane set: yes

INLINE VF v_zero(void) { return _mm256_setzero_ps(); }
INLINE VF v_all(float x) { return _mm256_set1_ps(x); }
INLINE VF v_load(const float *p) { return _mm256_loadu_ps(p); }
INLINE void v_store(float *p, VF v) { _mm256_storeu_ps(p, v); }

// The first n lanes, n in [0, LANES].
INLINE VMASK v_first(size_t n) {
    const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    return _mm256_castsi256_ps(_mm256_cmpgt_epi32(_mm256_set1_epi32((int)n), lane));
}
INLINE VF v_load_some(const float *p, VMASK m) {
    return _mm256_maskload_ps(p, _mm256_castps_si256(m));
}
INLINE void v_store_some(float *p, VF v, VMASK m) {
    _mm256_maskstore_ps(p, _mm256_castps_si256(m), v);
}
INLINE VF v_pick(VMASK m, VF yes, VF no) { return _mm256_blendv_ps(no, yes, m); }

INLINE VF v_add(VF a, VF b) { return _mm256_add_ps(a, b); }
INLINE VF v_sub(VF a, VF b) { return _mm256_sub_ps(a, b); }
INLINE VF v_mul(VF a, VF b) { return _mm256_mul_ps(a, b); }
INLINE VF v_div(VF a, VF b) { return _mm256_div_ps(a, b); }
INLINE VF v_fma(VF a, VF b, VF c) { return _mm256_fmadd_ps(a, b, c); }
INLINE VF v_fnma(VF a, VF b, VF c) { return _mm256_fnmadd_ps(a, b, c); }
INLINE VF v_fms(VF a, VF b, VF c) { return _mm256_fmsub_ps(a, b, c); }
// When either is NaN the result is b.
INLINE VF v_max(VF a, VF b) { return _mm256_max_ps(a, b); }
INLINE VF v_min(VF a, VF b) { return _mm256_min_ps(a, b); }
INLINE VF v_abs(VF a) { return _mm256_andnot_ps(_mm256_set1_ps(-0.0F), a); }
INLINE VF v_sign_of(VF magnitude, VF sign) {
    return _mm256_or_ps(v_abs(magnitude), _mm256_and_ps(sign, _mm256_set1_ps(-0.0F)));
}
INLINE VF v_round(VF a) {
    return _mm256_round_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
// v less the integer nearest to it.
INLINE VF v_off(VF v) { return _mm256_sub_ps(v, v_round(v)); }
INLINE VMASK v_less(VF a, VF b) { return _mm256_cmp_ps(a, b, _CMP_LT_OQ); }
INLINE VMASK v_is_nan(VF a) { return _mm256_cmp_ps(a, a, _CMP_UNORD_Q); }

// v 2^n for integral n in [-252, 252]: in two factors, so that subnormal results come out right.
INLINE VF v_scale2(VF v, VF n) {
    __m256i i = _mm256_cvtps_epi32(n), half = _mm256_srai_epi32(i, 1), one = _mm256_set1_epi32(127);
    __m256i rest = _mm256_sub_epi32(i, half);
    v = _mm256_mul_ps(v, _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(half, one), 23)));
    return _mm256_mul_ps(v,
                         _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(rest, one), 23)));
}

// The sum of all lanes: halves, always in the same order.
INLINE float v_sum(VF v) {
    __m128 b = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    b = _mm_add_ps(b, _mm_movehl_ps(b, b));
    return _mm_cvtss_f32(_mm_add_ss(b, _mm_movehdup_ps(b)));
}
// The sums of four vectors' lanes: neighbours first.
INLINE void v_sum_four(const VF v[4], float out[4]) {
    __m256 s = _mm256_hadd_ps(_mm256_hadd_ps(v[0], v[1]), _mm256_hadd_ps(v[2], v[3]));
    _mm_storeu_ps(out, _mm_add_ps(_mm256_castps256_ps128(s), _mm256_extractf128_ps(s, 1)));
}
// The largest lane; any of them, or NaN, when one is NaN.
INLINE float v_most(VF v) {
    __m128 b = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    b = _mm_max_ps(b, _mm_movehl_ps(b, b));
    return _mm_cvtss_f32(_mm_max_ss(b, _mm_movehdup_ps(b)));
}

// Any lane's exponent is all ones: Inf or NaN.
INLINE VMASK v_not_finite(VF v) {
    const __m256i inf = _mm256_set1_epi32(0x7f800000);
    return _mm256_castsi256_ps(
        _mm256_cmpeq_epi32(_mm256_and_si256(_mm256_castps_si256(v), inf), inf));
}
INLINE int v_any(VMASK m) { return _mm256_movemask_ps(m) != 0; }

INLINE VF v_from_f16(const void *p) { return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)p)); }
INLINE VF v_from_bf16(const void *p) {
    __m256i wide = _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)p));
    return _mm256_castsi256_ps(_mm256_slli_epi32(wide, 16));
}
// 8 words of two values each: the low ones, the high ones.
INLINE void v_from_bf16_words(const void *p, VF *low, VF *high) {
    __m256i both = _mm256_loadu_si256((const __m256i *)p);
    *low = _mm256_castsi256_ps(_mm256_slli_epi32(both, 16));
    *high = _mm256_castsi256_ps(_mm256_and_si256(both, _mm256_set1_epi32(-65536)));
}

// gelu_table[degree][piece], piece the low 4 bits of each lane of `at`: bit 3 picks the half.
INLINE VF v_gelu_coefficient(int degree, VF at) {
    __m256i i = _mm256_castps_si256(at);
    __m256 low = _mm256_permutevar8x32_ps(_mm256_load_ps(gelu_table[degree]), i);
    __m256 high = _mm256_permutevar8x32_ps(_mm256_load_ps(gelu_table[degree] + 8), i);
    return _mm256_blendv_ps(low, high, _mm256_castsi256_ps(_mm256_slli_epi32(i, 28)));
}

// An 8 x 8 block turned about its diagonal.
INLINE void v_transpose(VF r[LANES]) {
    __m256 a[8], b[8];
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        a[2 * i] = _mm256_unpacklo_ps(r[2 * i], r[2 * i + 1]);
        a[2 * i + 1] = _mm256_unpackhi_ps(r[2 * i], r[2 * i + 1]);
    }
#pragma GCC unroll 2
    for (int i = 0; i < 8; i += 4) {
        b[i] = _mm256_shuffle_ps(a[i], a[i + 2], 0x44);
        b[i + 1] = _mm256_shuffle_ps(a[i], a[i + 2], 0xee);
        b[i + 2] = _mm256_shuffle_ps(a[i + 1], a[i + 3], 0x44);
        b[i + 3] = _mm256_shuffle_ps(a[i + 1], a[i + 3], 0xee);
    }
#pragma GCC unroll 4
    for (int c = 0; c < 4; c++) {
        r[c] = _mm256_permute2f128_ps(b[c], b[4 + c], 0x20);
        r[4 + c] = _mm256_permute2f128_ps(b[c], b[4 + c], 0x31);
    }
}

// ---- integers: 32 bytes, or a word for each lane ----

#define VI __m256i

INLINE VI vi_load(const void *p) { return _mm256_loadu_si256((const __m256i *)p); }
INLINE void vi_store(void *p, VI v) { _mm256_storeu_si256((__m256i *)p, v); }
INLINE VI vi_zero(void) { return _mm256_setzero_si256(); }
INLINE VI vi_all8(int x) { return _mm256_set1_epi8((char)x); }
INLINE VI vi_all32(int x) { return _mm256_set1_epi32(x); }
INLINE VI vi_and(VI a, VI b) { return _mm256_and_si256(a, b); }
INLINE VI vi_or(VI a, VI b) { return _mm256_or_si256(a, b); }
INLINE VI vi_add32(VI a, VI b) { return _mm256_add_epi32(a, b); }
INLINE VI vi_sub32(VI a, VI b) { return _mm256_sub_epi32(a, b); }
// By n bits, left (n > 0) or right; of 16-bit words: the neighbour's bits come in.
INLINE VI vi_shift(VI a, const int n) {
    return n >= 0 ? _mm256_slli_epi16(a, n) : _mm256_srli_epi16(a, -n);
}
INLINE VI vi_shl32(VI a, int n) { return _mm256_sll_epi32(a, _mm_cvtsi32_si128(n)); }
INLINE VI vi_shr32(VI a, const int n) { return _mm256_srli_epi32(a, n); }
// Each byte, below 16, by the table.
INLINE VI vi_lookup(const uint8_t table[16], VI a) {
    return _mm256_shuffle_epi8(
        _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)(const void *)table)), a);
}
INLINE VF v_from_i32(VI a) { return _mm256_cvtepi32_ps(a); }
INLINE VF v_from_u8(const void *p) {
    return _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)p)));
}
INLINE VF v_from_i8(const void *p) {
    return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)p)));
}
// Rounded to nearest, |v| <= 127, to bytes at p; their sum.
INLINE int v_to_i8(VF v, int8_t *p) {
    __m256i i = _mm256_cvtps_epi32(v);
    __m128i low = _mm256_castsi256_si128(i), high = _mm256_extracti128_si256(i, 1);
    __m128i words = _mm_packs_epi32(low, high), sum = _mm_add_epi32(low, high);
    _mm_storel_epi64((__m128i *)(void *)p, _mm_packs_epi16(words, words));
    sum = _mm_add_epi32(sum, _mm_shuffle_epi32(sum, 0x4e));
    return _mm_cvtsi128_si32(_mm_add_epi32(sum, _mm_shuffle_epi32(sum, 0xb1)));
}
// sum + the products of each lane's 4 unsigned bytes of w and 4 signed bytes of x: as 16-bit words,
// even bytes and odd ones, since vpmaddubsw saturates.
INLINE VI vi_dot(VI sum, VI w, VI x) {
    __m256i low = _mm256_madd_epi16(_mm256_and_si256(w, _mm256_set1_epi16(255)),
                                    _mm256_srai_epi16(_mm256_slli_epi16(x, 8), 8));
    __m256i high = _mm256_madd_epi16(_mm256_srli_epi16(w, 8), _mm256_srai_epi16(x, 8));
    return _mm256_add_epi32(sum, _mm256_add_epi32(low, high));
}
// As vi_dot, for w below 64: no sum of two products leaves 16 bits.
INLINE VI vi_dot_small(VI sum, VI w, VI x) {
    __m256i words = _mm256_maddubs_epi16(w, x);
    return _mm256_add_epi32(sum, _mm256_madd_epi16(words, _mm256_set1_epi16(1)));
}

#endif
