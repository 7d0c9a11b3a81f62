// The tiles of a matrix product: up to TILE_ROWS rows x 2 vectors of outputs, whose sums stay in
// registers over all of k; included after a lanes_*.h and after what a step of the product is:
//   size_t tile_step(format)                          bytes of a panel that a step reads
//   void tile_weights(format, w, &w0, &w1)            those of a step, all outputs of a panel
//   VF tile_product(a, w, sum)                        sum + a w; a: the step's word of a row, to
//                                                     all lanes
// Why so: a panel of packed weights is read in order and a tile's inputs are broadcast in place, so
// nothing is packed at run time; all rows of a share pass a panel before the next panel is touched.
// A sum is one chain over ascending steps, whatever the tile's height: a row has the same bits in
// any tile.
#ifndef TRINE_COMPUTE_CPU_LANES_TILE_H
#define TRINE_COMPUTE_CPU_LANES_TILE_H

#include "compute/cpu/kernels.h"
#include "compute/cpu/lanes_math.h"

// Row i at x + i * ld, from three pointers and two strides (in bytes) that stay in registers: one
// pointer for each of 14 rows would not.
#define TILE_ROW(i)                                                                                \
    ((i) < 5    ? p0 + ((i) == 3 ? ld3 : (size_t)(i)*ld1)                                          \
     : (i) < 10 ? p5 + ((i) == 8 ? ld3 : (size_t)((i)-5) * ld1)                                    \
                : p10 + ((i) == 13 ? ld3 : (size_t)((i)-10) * ld1))
// A word moves as a float whatever it holds: loads and broadcasts keep every bit.
#define TILE_INPUT(i, at) (*(const float *)(const void *)(TILE_ROW(i) + (at) * sizeof(float)))

// The empty asm hides how the pointers depend on one another, or the compiler makes a pointer or an
// offset of each row again and spills them.
#define TILE_STEP(at)                                                                              \
    do {                                                                                           \
        __asm__("" : "+r"(p0), "+r"(p5), "+r"(p10), "+r"(ld1), "+r"(ld3));                         \
        VF w0, w1;                                                                                 \
        tile_weights(format, w + (at)*step, &w0, &w1);                                             \
        _Pragma("GCC unroll 16") for (int i = 0; i < rows; i++) {                                  \
            VF a = v_all(TILE_INPUT(i, at));                                                       \
            sum[i][0] = tile_product(a, w0, sum[i][0]);                                            \
            sum[i][1] = tile_product(a, w1, sum[i][1]);                                            \
        }                                                                                          \
    } while (0)

// out[i][0 .. PANEL) = the sum over k steps of row i's word and the outputs' weights, i < rows, a
// constant. On the way `lines` cache lines from `ahead` on are asked for with every fourth step.
INLINE void tile_body(const int rows, const enum dtype format, const float *x, size_t ld, size_t k,
                      const char *w, float *out, size_t ldo, const char *ahead, size_t lines) {
    VF sum[TILE_ROWS][2];
    const size_t step = tile_step(format);
#pragma GCC unroll 16
    for (int i = 0; i < rows; i++)
        sum[i][0] = sum[i][1] = v_zero();
    const char *p0 = (const char *)x;
    size_t ld1 = ld * sizeof(float), ld3 = 3 * ld1;
    const char *p5 = rows > 5 ? p0 + 5 * ld1 : p0, *p10 = rows > 10 ? p0 + 10 * ld1 : p0;
    size_t at = 0;
    for (; at + 4 <= k; at += 4) {
        for (size_t i = 0; i < lines; i++, ahead += LINE)
            __builtin_prefetch(ahead, 0, 2);
        TILE_STEP(0);
        TILE_STEP(1);
        TILE_STEP(2);
        TILE_STEP(3);
        p0 += 16, p5 += 16, p10 += 16, w += 4 * step;
    }
    for (; at < k; at++) {
        TILE_STEP(0);
        p0 += 4, p5 += 4, p10 += 4, w += step;
    }
#pragma GCC unroll 16
    for (int i = 0; i < rows; i++) {
        v_store(out + (size_t)i * ldo, sum[i][0]);
        v_store(out + (size_t)i * ldo + LANES, sum[i][1]);
    }
}

typedef void tile_fn(const float *x, size_t ld, size_t k, const char *w, float *out, size_t ldo,
                     const char *ahead, size_t lines);

#define TILE_OF(n, format, name)                                                                   \
    static void tile_##name##_##n(const float *x, size_t ld, size_t k, const char *w, float *out,  \
                                  size_t ldo, const char *ahead, size_t lines) {                   \
        tile_body(n, format, x, ld, k, w, out, ldo, ahead, lines);                                 \
    }
#if TILE_ROWS > 6
#define TILE_HEIGHTS(_, format, name)                                                              \
    _(1, format, name)                                                                             \
    _(2, format, name)                                                                             \
    _(3, format, name)                                                                             \
    _(4, format, name)                                                                             \
    _(5, format, name)                                                                             \
    _(6, format, name)                                                                             \
    _(7, format, name)                                                                             \
    _(8, format, name)                                                                             \
    _(9, format, name)                                                                             \
    _(10, format, name)                                                                            \
    _(11, format, name)                                                                            \
    _(12, format, name)                                                                            \
    _(13, format, name)                                                                            \
    _(14, format, name)
#else
#define TILE_HEIGHTS(_, format, name)                                                              \
    _(1, format, name)                                                                             \
    _(2, format, name)                                                                             \
    _(3, format, name)                                                                             \
    _(4, format, name)                                                                             \
    _(5, format, name)                                                                             \
    _(6, format, name)
#endif
#define TILE_NAMED(n, format, name) tile_##name##_##n,

// Tile i of n balanced ones over `rows`: 25 rows are 13 + 12, not 14 + 11.
INLINE size_t tile_height(size_t rows, size_t n, size_t i) {
    return rows / n + (i < rows % n ? 1 : 0);
}

// One vector of a tile on its way out.
INLINE VF finish(VF v, const float *bias, const float *residual, const enum activation f) {
    v = v_add(v, v_load(bias));
    if (residual)
        v = v_add(v, v_load(residual));
    return v_activate(f, v);
}

INLINE void finish_tile(const struct kernel_linear_share *s, const float *sums, size_t row,
                        size_t rows, size_t col, const enum activation f, const int add) {
    size_t cols = s->cols - col;
    const float *bias = s->bias + col;
    for (size_t i = 0; i < rows; i++, sums += PANEL) {
        float *y = s->y + (row + i) * s->ldy + col;
        const float *residual = add ? s->residual + (row + i) * s->ldr + col : NULL;
        if (cols >= PANEL) {
            v_store(y, finish(v_load(sums), bias, residual, f));
            v_store(y + LANES,
                    finish(v_load(sums + LANES), bias + LANES, add ? residual + LANES : NULL, f));
            continue;
        }
        for (size_t j = 0; j < cols; j += LANES) {
            VMASK some = v_first(at_most(cols - j, LANES));
            VF v = v_add(v_load(sums + j), v_load(bias + j));
            if (add)
                v = v_add(v, v_load_some(residual + j, some));
            v_store_some(y + j, v_activate(f, v), some);
        }
    }
}

// All panels of the share. x: rows of k steps, stride ldx words.
INLINE void run_tiles(const struct kernel_linear_share *s, tile_fn *const *tile, const float *x,
                      size_t ldx, size_t k, size_t step) {
    float sums[TILE_ROWS * PANEL] __attribute__((aligned(64)));
    size_t tiles = ceil_div(s->rows, TILE_ROWS);
    // A panel is used for only as long as few rows take, and the weights of all layers fit no
    // cache: the next panel comes from memory while this one is used, evenly over its tiles.
    size_t lines = (4 * step / LINE + tiles - 1) / tiles;
    for (size_t col = 0; col < s->cols; col += PANEL) {
        const char *w = (const char *)s->panels + col / PANEL * step * k, *next = w + step * k;
        for (size_t t = 0, row = 0; t < tiles; t++) {
            size_t rows = tile_height(s->rows, tiles, t);
            const char *ahead = next + t * lines * LINE * (k / 4);
            tile[rows](x + row * ldx, ldx, k, w, sums, PANEL, ahead, lines);
            if (s->residual)
                finish_tile(s, sums, row, rows, col, ACTIVATION_NONE, 1);
            else if (s->f == ACTIVATION_NONE)
                finish_tile(s, sums, row, rows, col, ACTIVATION_NONE, 0);
            else if (s->f == ACTIVATION_GELU)
                finish_tile(s, sums, row, rows, col, ACTIVATION_GELU, 0);
            else
                finish_tile(s, sums, row, rows, col, s->f, 0);
            row += rows;
        }
    }
}

#endif
