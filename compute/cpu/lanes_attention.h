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

struct attention_state {
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

static struct attention_state attention_begin(const struct attention_share *s) {
    size_t width = (s->head_dim + PANEL - 1) / PANEL * PANEL;
    struct attention_state a = {.keys = s->scratch, .width = width};
    a.values = a.keys + KEY_BLOCK * width;
    a.out = a.values + KEY_BLOCK * width;
    a.weights = a.out + ATTENTION_QUERIES * width;
    a.most = a.weights + (size_t)TILE_ROWS * WEIGHT_LD;
    a.total = a.most + ATTENTION_QUERIES;
    return a;
}

// Keys [from, from + n) as panels [head_dim][PANEL]; keys behind the last are zero.
static void pack_keys(const struct attention_share *s, size_t from, size_t n, float *to) {
    for (size_t key = 0; key < n; key += LANES) {
        size_t keys = n - key < LANES ? n - key : LANES;
        float *panel = to + key / PANEL * PANEL * s->head_dim + key % PANEL;
        for (size_t d = 0; d < s->head_dim; d += LANES) {
            size_t dims = s->head_dim - d < LANES ? s->head_dim - d : LANES;
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
static void pack_values(const struct attention_share *s, size_t from, size_t n, float *to) {
    for (size_t col = 0; col < s->head_dim; col += PANEL) {
        float *panel = to + col * KEY_BLOCK;
        size_t cols = s->head_dim - col;
        VMASK first = v_first(cols < LANES ? cols : LANES);
        VMASK second = v_first(cols <= LANES ? 0 : cols >= PANEL ? LANES : cols - LANES);
        for (size_t key = 0; key < n; key++) {
            const float *v = s->v + (from + key) * s->ldv + col;
            v_store(panel + key * PANEL, v_load_some(v, first));
            v_store(panel + key * PANEL + LANES,
                    cols > LANES ? v_load_some(v + LANES, second) : v_zero());
        }
    }
}

// Scores [n] of one query become weights e^(scale (score - most)); returns what the sums made
// against the older maximum are worth now.
static float soften(float *score, size_t n, float scale, float *most, float *total) {
    size_t whole = n / LANES * LANES;
    VMASK some = v_first(n - whole);
    VF high = v_all(*most);
    for (size_t i = 0; i < whole; i += LANES)
        high = v_max(high, v_load(score + i));
    if (whole < n)
        high = v_pick(some, v_max(high, v_load(score + whole)), high);
    // A NaN may be lost here, not below: its own weight is NaN, and so are total and output.
    float before = *most, now = v_most(high);
    VF top = v_all(now), by = v_all(scale), sum = v_zero();
    for (size_t i = 0; i < whole; i += LANES) {
        VF w = v_exp(v_mul(v_sub(v_load(score + i), top), by));
        v_store(score + i, w);
        sum = v_add(sum, w);
    }
    if (whole < n) {
        VF w = v_exp(v_mul(v_sub(v_load(score + whole), top), by));
        v_store(score + whole, w);
        sum = v_add(sum, v_pick(some, w, v_zero()));
    }
    float keep = before == -INFINITY ? 0.0F : expf((before - now) * scale);
    *most = now;
    *total = *total * keep + v_sum(sum);
    return keep;
}

// Adds one tile's products with a block of values to its queries' outputs.
static void add_values(const struct attention_state *a, size_t query, size_t rows, size_t n,
                       const float *keep, int first) {
    float sums[TILE_ROWS * PANEL] __attribute__((aligned(64)));
    for (size_t col = 0; col < a->width; col += PANEL) {
        tile_of[rows](a->weights, WEIGHT_LD, n, a->values + col * KEY_BLOCK, sums, PANEL);
        for (size_t i = 0; i < rows; i++) {
            float *out = a->out + (query + i) * a->width + col;
            VF s0 = v_load(sums + i * PANEL), s1 = v_load(sums + i * PANEL + LANES);
            if (!first) {
                VF k = v_all(keep[i]);
                s0 = v_fma(v_load(out), k, s0);
                s1 = v_fma(v_load(out + LANES), k, s1);
            }
            v_store(out, s0);
            v_store(out + LANES, s1);
        }
    }
}

static void attention(const struct attention_share *s) {
    struct attention_state a = attention_begin(s);
    size_t tiles = (s->queries + TILE_ROWS - 1) / TILE_ROWS;
    for (size_t q = 0; q < s->queries; q++) {
        a.most[q] = -INFINITY;
        a.total[q] = 0.0F;
    }
    for (size_t from = 0; from < s->keys; from += KEY_BLOCK) {
        size_t n = s->keys - from < KEY_BLOCK ? s->keys - from : KEY_BLOCK;
        pack_keys(s, from, n, a.keys);
        pack_values(s, from, n, a.values);
        for (size_t t = 0, q = 0; t < tiles; t++) {
            size_t rows = tile_height(s->queries, tiles, t);
            float keep[TILE_ROWS];
            for (size_t key = 0; key < n; key += PANEL)
                tile_of[rows](s->q + q * s->ldq, s->ldq, s->head_dim, a.keys + key * s->head_dim,
                              a.weights + key, WEIGHT_LD);
            for (size_t i = 0; i < rows; i++)
                keep[i] =
                    soften(a.weights + i * WEIGHT_LD, n, s->scale, &a.most[q + i], &a.total[q + i]);
            add_values(&a, q, rows, n, keep, from == 0);
            q += rows;
        }
    }
    for (size_t q = 0; q < s->queries; q++) {
        VF inv = v_all(1.0F / a.total[q]);
        for (size_t d = 0; d < s->head_dim; d += LANES) {
            VMASK some = v_first(s->head_dim - d < LANES ? s->head_dim - d : LANES);
            v_store_some(s->out + q * s->ldo + d, v_mul(v_load(a.out + q * a.width + d), inv),
                         some);
        }
    }
}

#endif
