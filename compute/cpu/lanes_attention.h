// Attention of one head: blocks of keys against tiles of queries, online softmax (Milakov and
// Gimelshein 2018; Rabe and Staats 2021; Dao et al. 2022); included after lanes_linear.h, whose
// tile computes both products. No S x S matrix: the scratch holds one block of keys, of values, a
// tile's weights and each query's running maximum, sum and output. A block is KEY_BLOCK keys from
// the sequence's start on, so a query's bits depend on its own sequence only.
#ifndef TRINE_COMPUTE_CPU_LANES_ATTENTION_H
#define TRINE_COMPUTE_CPU_LANES_ATTENTION_H

#include "compute/cpu/lanes_linear.h"

#include <math.h>

enum {
    KEY_BLOCK = 128,
    WEIGHT_LD = KEY_BLOCK + 16, // rows of a tile's weights on different cache sets
    MAX_HEAD_DIM = 512,
};

struct lanes_attention_state {
    float *keys;    // [panels of KEY_BLOCK][head_dim][PANEL]
    float *values;  // [panels of head_dim][KEY_BLOCK][PANEL]
    float *out;     // [queries][width]: sums of weight x value so far
    float *weights; // [TILE_ROWS][WEIGHT_LD]
    float *most;    // [queries]: the largest score so far
    float *total;   // [queries]: the sum of weights so far
    size_t width;   // head_dim in whole panels
};

_Static_assert((2 * KEY_BLOCK + ATTENTION_QUERIES) * (MAX_HEAD_DIM + PANEL) +
                       TILE_ROWS * WEIGHT_LD + 2 * ATTENTION_QUERIES <=
                   KERNEL_SCRATCH,
               "attention's scratch");

static struct lanes_attention_state attention_begin(const struct kernel_attention_share *s) {
    size_t width = round_up(s->head_dim, PANEL);
    struct lanes_attention_state a = {.keys = s->scratch, .width = width};
    a.values = a.keys + KEY_BLOCK * width;
    a.out = a.values + KEY_BLOCK * width;
    a.weights = a.out + ATTENTION_QUERIES * width;
    a.most = a.weights + (size_t)TILE_ROWS * WEIGHT_LD;
    a.total = a.most + ATTENTION_QUERIES;
    return a;
}

// Keys [from, from + n) as panels [head_dim][PANEL]; keys behind the last are zero.
static void pack_keys(const struct kernel_attention_share *s, size_t from, size_t n, float *to) {
    for (size_t key = 0; key < n; key += LANES) {
        size_t keys = at_most(n - key, LANES);
        float *panel = to + key / PANEL * PANEL * s->head_dim + key % PANEL;
        for (size_t d = 0; d < s->head_dim; d += LANES) {
            size_t dims = at_most(s->head_dim - d, LANES);
            VMASK some = v_first(dims);
            VF block[LANES];
            for (size_t i = 0; i < LANES; i++)
                block[i] =
                    i < keys ? v_load_some(s->k + (from + key + i) * s->ldk + d, some) : v_zero();
            v_transpose(block);
            for (size_t i = 0; i < dims; i++)
                v_store(panel + (d + i) * PANEL, block[i]);
        }
    }
    if (n % PANEL && n % PANEL <= LANES) // the panel's other vector
        for (size_t d = 0; d < s->head_dim; d++)
            v_store(to + n / PANEL * PANEL * s->head_dim + d * PANEL + LANES, v_zero());
}

// Values [from, from + n) as panels [n][PANEL]; columns behind the last are zero.
static void pack_values(const struct kernel_attention_share *s, size_t from, size_t n, float *to) {
    for (size_t col = 0; col < s->head_dim; col += PANEL) {
        float *panel = to + col * KEY_BLOCK;
        size_t cols = s->head_dim - col;
        VMASK first = v_first(at_most(cols, LANES));
        VMASK second = v_first(cols <= LANES ? 0 : cols >= PANEL ? LANES : cols - LANES);
        for (size_t key = 0; key < n; key++) {
            const float *v = s->v + (from + key) * s->ldv + col;
            v_store(panel + key * PANEL, v_load_some(v, first));
            v_store(panel + key * PANEL + LANES,
                    cols > LANES ? v_load_some(v + LANES, second) : v_zero());
        }
    }
}

// Scores [n] of a tile's queries become weights e^(scale (score - most)) = 2^(rate (score - most));
// keep[i] is what query i's sums so far, made against an older maximum, are worth now. Each step
// runs over all rows before the next begins: alone, a row's maximum is a wait.
static void soften(const struct lanes_attention_state *a, size_t query, size_t rows, size_t n,
                   float rate, int first, float keep[LANES]) {
    size_t padded = round_up(n, LANES);
    VMASK inside = v_first(n + LANES - padded);
    float now[LANES] = {0};
    for (size_t i = 0; i < rows; i++) {
        float *score = a->weights + i * WEIGHT_LD, *last = score + padded - LANES;
        if (n < padded)
            v_store(last, v_pick(inside, v_load(last), v_all(-INFINITY)));
        VF high = v_load(score);
        for (size_t j = LANES; j < padded; j += LANES)
            high = v_max(high, v_load(score + j));
        now[i] = v_most(high); // a NaN may be lost here; its own weight is NaN, and so are the sums
    }
    VMASK some = v_first(rows);
    VF by = v_all(rate), before = first ? v_all(-INFINITY) : v_load_some(a->most + query, some);
    VF top = v_max(before, v_load(now));
    v_store_some(a->most + query, top, some);
    v_store(now, top);
    v_store(keep, v_exp2(v_mul(v_sub(before, top), by)));
    for (size_t i = 0; i < rows; i++) {
        float *score = a->weights + i * WEIGHT_LD;
        VF most = v_all(now[i]), sum = v_zero();
        for (size_t j = 0; j < padded; j += LANES) {
            VF w = v_exp2(v_mul(v_sub(v_load(score + j), most), by));
            v_store(score + j, w);
            sum = v_add(sum, w);
        }
        float total = v_sum(sum);
        a->total[query + i] = first ? total : a->total[query + i] * keep[i] + total;
    }
}

// Adds a tile's products with a block of values to its queries' sums; after the last block the sums
// divided by the weights' total are the output.
static void add_values(const struct kernel_attention_share *s,
                       const struct lanes_attention_state *a, size_t query, size_t rows, size_t n,
                       const float *keep, int first, int last) {
    float sums[TILE_ROWS * PANEL] __attribute__((aligned(64)));
    for (size_t col = 0; col < a->width; col += LANES) {
        if (col % PANEL == 0)
            tile_of[DTYPE_F32][rows](a->weights, WEIGHT_LD, n,
                                     (const char *)(a->values + col * KEY_BLOCK), sums, PANEL, NULL,
                                     0);
        if (col >= s->head_dim)
            return;
        VMASK some = v_first(at_most(s->head_dim - col, LANES));
        for (size_t i = 0; i < rows; i++) {
            float *so_far = a->out + (query + i) * a->width + col;
            VF sum = v_load(sums + i * PANEL + col % PANEL);
            if (!first)
                sum = v_fma(v_load(so_far), v_all(keep[i]), sum);
            if (last)
                v_store_some(s->out + (query + i) * s->ldo + col,
                             v_mul(sum, v_all(1.0F / a->total[query + i])), some);
            else
                v_store(so_far, sum);
        }
    }
}

static void attention(const struct kernel_attention_share *s) {
    struct lanes_attention_state a = attention_begin(s);
    size_t tiles = ceil_div(s->queries, TILE_ROWS);
    float rate = s->scale * 1.44269504F; // log2 e
    for (size_t from = 0; from < s->keys; from += KEY_BLOCK) {
        size_t n = at_most(s->keys - from, KEY_BLOCK);
        pack_keys(s, from, n, a.keys);
        pack_values(s, from, n, a.values);
        for (size_t t = 0, q = 0; t < tiles; t++) {
            size_t rows = tile_height(s->queries, tiles, t);
            float keep[LANES];
            for (size_t key = 0; key < n; key += PANEL)
                tile_of[DTYPE_F32][rows](s->q + q * s->ldq, s->ldq, s->head_dim,
                                         (const char *)(a.keys + key * s->head_dim),
                                         a.weights + key, WEIGHT_LD, NULL, 0);
            soften(&a, q, rows, n, rate, from == 0, keep);
            add_values(s, &a, q, rows, n, keep, from == 0, from + n == s->keys);
            q += rows;
        }
    }
}

#endif
