// Products of bf16 pairs on AVX-512; see pair_kernels in kernels.h.
// Built with the set's own compiler flags; called only where the CPU has it.
#include "compute/cpu/lanes_avx512.h"

#include "compute/cpu/kernels.h"

INLINE __m512bh pairs_of(VF v) { return (__m512bh)v; }

INLINE size_t tile_step(const int format) {
    (void)format;
    return (size_t)2 * LANES * sizeof(uint32_t);
}

INLINE void tile_weights(const int format, const char *w, VF *w0, VF *w1) {
    (void)format;
    *w0 = v_load((const float *)(const void *)w);
    *w1 = v_load((const float *)(const void *)w + LANES);
}

INLINE VF tile_product(const int format, VF a, VF w, VF sum) {
    (void)format;
    return _mm512_dpbf16_ps(sum, pairs_of(a), pairs_of(w));
}

#include "compute/cpu/lanes_tile.h"

TILE_HEIGHTS(TILE_OF, 0, pairs)
static tile_fn *const tile_of[TILE_ROWS + 1] = {NULL, TILE_HEIGHTS(TILE_NAMED, 0, pairs)};

static void linear(const struct linear_share *s) {
    run_tiles(s, tile_of, s->acts, pair_stride(s->k), pair_words(s->k), tile_step(0));
}

static void round_row(const float *x, size_t k, uint32_t *to) {
    for (size_t at = 0; at < k; at += LANES) {
        size_t n = k - at < LANES ? k - at : LANES;
        __m256i v = (__m256i)_mm512_cvtneps_pbh(v_load_some(x + at, v_first(n)));
        _mm256_mask_storeu_epi32(to + at / 2, (__mmask8)v_first(pair_words(n)), v);
    }
}

static double probe(size_t rounds) {
    enum { CHAINS = 2 * TILE_ROWS - 4 };
    VF x = v_all(1e-9F), sum[CHAINS];
#pragma GCC unroll 24
    for (int i = 0; i < CHAINS; i++)
        sum[i] = v_all((float)i);
    for (size_t r = 0; r < rounds; r++) {
#pragma GCC unroll 24
        for (int i = 0; i < CHAINS; i++) {
            sum[i] = tile_product(0, x, x, sum[i]);
            __asm__ volatile("" : "+v"(sum[i])); // each round's work must be done
        }
    }
#pragma GCC unroll 24
    for (int i = 1; i < CHAINS; i++)
        sum[0] = v_add(sum[0], sum[i]);
    volatile float sink = v_sum(sum[0]);
    (void)sink;
    return (double)rounds * CHAINS * LANES * 4;
}

const struct pair_kernels pairs_avx512bf16 = {.linear = linear, .round = round_row, .probe = probe};
