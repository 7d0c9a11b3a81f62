// Products of bf16 pairs on AVX-512; see pair_kernels in kernels.h.
// Built with the set's own compiler flags; called only where the CPU has it.
#include "compute/cpu/lanes_avx512.h"

#include "compute/cpu/kernels.h"
#include "compute/cpu/lanes_chains.h"
#include "compute/cpu/lanes_math.h"

INLINE size_t tile_step(const enum dtype format) {
    (void)format;
    return (size_t)PANEL * sizeof(uint32_t);
}

INLINE void tile_weights(const enum dtype format, const char *w, VF *w0, VF *w1) {
    (void)format;
    *w0 = v_load((const float *)(const void *)w);
    *w1 = v_load((const float *)(const void *)w + LANES);
}

INLINE VF tile_product(VF a, VF w, VF sum) {
    return _mm512_dpbf16_ps(sum, (__m512bh)a, (__m512bh)w);
}

#include "compute/cpu/lanes_tile.h"

TILE_HEIGHTS(TILE_OF, DTYPE_BF16, pairs)
static tile_fn *const tile_of[TILE_ROWS + 1] = {NULL, TILE_HEIGHTS(TILE_NAMED, DTYPE_BF16, pairs)};

static void linear(const struct kernel_linear_share *s) {
    run_tiles(s, tile_of, s->acts, pair_stride(s->k), pair_words(s->k), tile_step(DTYPE_BF16));
}

static void round_row(const float *x, size_t k, uint32_t *to) {
    for (size_t at = 0; at < k; at += LANES) {
        size_t n = at_most(k - at, LANES);
        __m256i v = (__m256i)_mm512_cvtneps_pbh(v_load_some(x + at, v_first(n)));
        _mm256_mask_storeu_epi32(to + at / 2, (__mmask8)v_first(pair_words(n)), v);
    }
}

static double probe(size_t rounds) {
    VF x = (VF)_mm512_set1_epi16(0x3089), total; // 1e-9 in both halves
    RUN_CHAINS(VF, rounds, v_all((float)i), tile_product(x, x, s), v_add, &total);
    volatile float sink = v_sum(total);
    (void)sink;
    return (double)rounds * CHAINS * LANES * 4;
}

const struct kernel_pairs pairs_avx512bf16 = {.linear = linear, .round = round_row, .probe = probe};
