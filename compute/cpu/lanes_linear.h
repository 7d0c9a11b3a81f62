// The product of f32 rows with weights of f32, f16 or bf16, as fused multiply-adds; included after
// a lanes_*.h.
#ifndef TRINE_COMPUTE_CPU_LANES_LINEAR_H
#define TRINE_COMPUTE_CPU_LANES_LINEAR_H

#include "compute/cpu/kernels.h"
#include "compute/cpu/lanes_math.h"

INLINE size_t tile_step(const enum dtype format) {
    return (size_t)PANEL * (format == DTYPE_F32 ? sizeof(float) : sizeof(uint16_t));
}

// One input's weights, all outputs of a panel.
INLINE void tile_weights(const enum dtype format, const char *w, VF *w0, VF *w1) {
    if (format == DTYPE_F32) {
        *w0 = v_load((const float *)(const void *)w);
        *w1 = v_load((const float *)(const void *)w + LANES);
    } else if (format == DTYPE_F16) {
        *w0 = v_from_f16(w);
        *w1 = v_from_f16(w + 2 * LANES);
    } else {
        v_from_bf16_words(w, w0, w1);
    }
}

INLINE VF tile_product(VF a, VF w, VF sum) { return v_fma(a, w, sum); }

#include "compute/cpu/lanes_tile.h"

TILE_HEIGHTS(TILE_OF, DTYPE_F32, f32)
TILE_HEIGHTS(TILE_OF, DTYPE_F16, f16)
TILE_HEIGHTS(TILE_OF, DTYPE_BF16, bf16)

static tile_fn *const tile_of[3][TILE_ROWS + 1] = {
    [DTYPE_F32] = {NULL, TILE_HEIGHTS(TILE_NAMED, DTYPE_F32, f32)},
    [DTYPE_F16] = {NULL, TILE_HEIGHTS(TILE_NAMED, DTYPE_F16, f16)},
    [DTYPE_BF16] = {NULL, TILE_HEIGHTS(TILE_NAMED, DTYPE_BF16, bf16)},
};

static void linear(const struct kernel_linear_share *s) {
    run_tiles(s, tile_of[s->format], s->x, s->ldx, s->k, tile_step(s->format));
}

#endif
