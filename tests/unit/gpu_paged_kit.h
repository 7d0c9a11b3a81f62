// A paged cache on the emulated GPU, filled by kv_store, and attention over it in double precision.
// Role: what the tests of paged.cu share. The cache holds NaNs where nothing was stored, and tables
// name no block where a context has none. Thread rule: main thread only.
#ifndef TRINE_TESTS_GPU_PAGED_KIT_H
#define TRINE_TESTS_GPU_PAGED_KIT_H

#include "tests/unit/gpu_rig.h"

enum { PAGED_LAYERS = 2, PAGED_LAYER = 1, PAGED_SEQS = 6, NO_BLOCK = 1 << 28 };

struct paged_shape {
    size_t heads, kv_heads, head_dim, block_tokens;
    enum gpu_type cache, rows;
    size_t window;
};

// Sequences of `context` tokens, of which the last `step` are a step's.
struct paged_work {
    struct paged_shape shape;
    size_t seqs, tokens, stride;
    int32_t context[PAGED_SEQS], cu[PAGED_SEQS + 1];
    float *k[PAGED_SEQS], *v[PAGED_SEQS]; // [context, Hk*hd], as the cache holds them
    float *q;                             // [tokens, H*hd], of the step, as rows' type holds them
    int32_t *tables;                      // [seqs, stride]
    struct gpu_kv kv;
};

static inline size_t paged_rows_of(const struct paged_work *w, size_t s) {
    return (size_t)(w->cu[s + 1] - w->cu[s]);
}

// The slot of a position.
static inline int32_t paged_slot(const struct paged_work *w, size_t s, size_t position) {
    size_t tokens = w->shape.block_tokens;
    return w->tables[s * w->stride + position / tokens] * (int32_t)tokens +
           (int32_t)(position % tokens);
}

// Positions [from, to) of a sequence into the layer.
static inline void paged_store(struct paged_work *w, size_t s, size_t from, size_t to) {
    size_t width = w->shape.kv_heads * w->shape.head_dim, n = to - from;
    int32_t *slots = rig_alloc(n, sizeof *slots);
    for (size_t i = 0; i < n; i++)
        slots[i] = paged_slot(w, s, from + i);
    struct gpu_kv_store a = {
        .kv = w->kv,
        .layer = PAGED_LAYER,
        .k = gpu_rig_mat(w->k[s] + from * width, n, width, w->shape.rows),
        .v = gpu_rig_mat(w->v[s] + from * width, n, width, w->shape.rows),
        .slots = gpu_rig_ints(slots, n),
    };
    gpu_launch_kv_store(gpu_rig.stream, &a);
    free(slots);
}

// Contexts and steps; nothing is stored yet. Blocks are dealt in a random order, with some to
// spare.
static inline struct paged_work paged_work_new(struct paged_shape shape, const int32_t *context,
                                               const int32_t *step, size_t seqs) {
    struct paged_work w = {.shape = shape, .seqs = seqs};
    size_t width = shape.kv_heads * shape.head_dim, blocks = 3, longest = 1;
    for (size_t s = 0; s < seqs; s++) {
        size_t own = ((size_t)context[s] + shape.block_tokens - 1) / shape.block_tokens;
        w.context[s] = context[s];
        w.cu[s + 1] = w.cu[s] + step[s];
        w.k[s] = rig_floats((size_t)context[s] * width, 1);
        w.v[s] = rig_floats((size_t)context[s] * width, 1);
        gpu_rig_round(w.k[s], (size_t)context[s] * width, shape.rows);
        gpu_rig_round(w.v[s], (size_t)context[s] * width, shape.rows);
        blocks += own;
        longest = own > longest ? own : longest;
    }
    w.tokens = (size_t)w.cu[seqs];
    w.stride = longest + 1;
    w.q = rig_floats(w.tokens * shape.heads * shape.head_dim, 1);
    gpu_rig_round(w.q, w.tokens * shape.heads * shape.head_dim, shape.rows);
    int32_t *order = rig_alloc(blocks, sizeof *order);
    for (size_t i = 0; i < blocks; i++) {
        size_t at = rig_random() % (i + 1);
        order[i] = order[at];
        order[at] = (int32_t)i;
    }
    w.tables = rig_alloc(seqs * w.stride, sizeof *w.tables);
    size_t dealt = 0;
    for (size_t s = 0; s < seqs; s++)
        for (size_t i = 0; i < w.stride; i++)
            w.tables[s * w.stride + i] =
                i * shape.block_tokens < (size_t)context[s] ? order[dealt++] : NO_BLOCK;
    free(order);
    w.kv = (struct gpu_kv){NULL,           shape.cache,        PAGED_LAYERS, shape.kv_heads,
                           shape.head_dim, shape.block_tokens, blocks};
    size_t bytes =
        blocks * PAGED_LAYERS * 2 * width * shape.block_tokens * gpu_type_size(shape.cache);
    w.kv.data = gpu_rig_room(bytes);
    gpu_rig.api->fill(gpu_rig.stream, w.kv.data, 0xff, bytes); // NaN in each type
    return w;
}

static inline void paged_store_all(struct paged_work *w) {
    for (size_t s = 0; s < w->seqs; s++)
        if (w->context[s])
            paged_store(w, s, 0, (size_t)w->context[s]);
}

// Behind it nothing on the device is left.
static inline void paged_work_free(struct paged_work *w) {
    gpu_rig_clear();
    for (size_t s = 0; s < w->seqs; s++) {
        free(w->k[s]);
        free(w->v[s]);
    }
    free(w->q);
    free(w->tables);
}

// The step's results in double precision, from keys and values as the cache rounds them.
static inline float *paged_wanted(const struct paged_work *w) {
    const struct paged_shape *c = &w->shape;
    size_t hd = c->head_dim, width = c->kv_heads * hd, longest = 1;
    for (size_t s = 0; s < w->seqs; s++)
        longest = (size_t)w->context[s] > longest ? (size_t)w->context[s] : longest;
    double *scores = rig_alloc(longest, sizeof *scores), *sums = rig_alloc(hd, sizeof *sums);
    float *y = rig_alloc(w->tokens * c->heads * hd, sizeof *y);
    for (size_t s = 0; s < w->seqs; s++) {
        size_t rows = paged_rows_of(w, s), context = (size_t)w->context[s];
        for (size_t r = 0; context && r < rows; r++)
            for (size_t h = 0; h < c->heads; h++) {
                size_t position = context - rows + r, kv = h / (c->heads / c->kv_heads);
                size_t from = c->window && position >= c->window ? position - c->window + 1 : 0;
                size_t at = ((size_t)w->cu[s] + r) * c->heads * hd + h * hd;
                double largest = -INFINITY, sum = 0;
                for (size_t j = from; j <= position; j++) {
                    double dot = 0;
                    for (size_t d = 0; d < hd; d++)
                        dot += (double)w->q[at + d] *
                               (double)gpu_rig_rounded(w->k[s][j * width + kv * hd + d], c->cache);
                    scores[j] = dot / sqrt((double)hd);
                    largest = fmax(largest, scores[j]);
                }
                memset(sums, 0, hd * sizeof *sums);
                for (size_t j = from; j <= position; j++) {
                    double weight = exp(scores[j] - largest);
                    sum += weight;
                    for (size_t d = 0; d < hd; d++)
                        sums[d] += weight * (double)gpu_rig_rounded(
                                                w->v[s][j * width + kv * hd + d], c->cache);
                }
                for (size_t d = 0; d < hd; d++)
                    y[at + d] = (float)(sums[d] / sum);
            }
    }
    free(sums);
    free(scores);
    return y;
}

// The arguments for the step as it stands; contexts and cu_seqlens may be others for a while.
static inline struct gpu_paged_attention
paged_arguments(const struct paged_work *w, size_t tile_rows, bool split, size_t pieces) {
    const struct paged_shape *c = &w->shape;
    int32_t tiles[512];
    size_t count = 0;
    for (size_t s = 0; s < w->seqs; s++)
        for (size_t r = 0; r < paged_rows_of(w, s); r += tile_rows) {
            tiles[2 * count] = (int32_t)s;
            tiles[2 * count++ + 1] = w->cu[s] + (int32_t)r;
        }
    struct gpu_paged_attention a = {
        .kv = w->kv,
        .layer = PAGED_LAYER,
        .q = gpu_rig_mat(w->q, w->tokens, c->heads * c->head_dim, c->rows),
        .out = gpu_rig_mat(NULL, w->tokens, c->heads * c->head_dim, c->rows),
        .cu_seqlens = gpu_rig_ints(w->cu, w->seqs + 1),
        .context_lens = gpu_rig_ints(w->context, w->seqs),
        .block_tables = gpu_rig_ints(w->tables, w->seqs * w->stride),
        .table_stride = w->stride,
        .seqs = w->seqs,
        .tiles = gpu_rig_ints(tiles, 2 * count),
        .tile_rows = tile_rows,
        .tile_count = count,
        .heads = c->heads,
        .pieces = pieces,
        .split = split,
        .scale = (float)(1 / sqrt((double)c->head_dim)),
        .window = c->window,
    };
    if (split) {
        a.partial = gpu_rig_room(sizeof(float) *
                                 gpu_paged_partial_floats(count, c->heads, c->head_dim, pieces));
        a.done = gpu_rig_room(count * c->heads * sizeof *a.done);
        gpu_rig.api->fill(gpu_rig.stream, a.done, 0, count * c->heads * sizeof *a.done);
    }
    return a;
}

static inline float *paged_computed(const struct paged_work *w, size_t tile_rows, bool split,
                                    size_t pieces) {
    struct gpu_paged_attention a = paged_arguments(w, tile_rows, split, pieces);
    gpu_launch_paged_attention(gpu_rig.stream, &a);
    return gpu_rig_read(a.out);
}

// f32: sums of up to 1,100 numbers of about 1. Narrow rows round a result of size 1 to 4 by 2^-9 or
// 2^-12 of itself, and the matrix unit's weights (below 1) before it; a narrow cache is exact here.
static inline double paged_bound(const struct paged_shape *c) {
    enum gpu_type type = c->rows == GPU_BF16 || c->cache == GPU_BF16 ? GPU_BF16
                         : c->rows == GPU_F16 || c->cache == GPU_F16 ? GPU_F16
                                                                     : GPU_F32;
    return type == GPU_F32 ? 4e-6 : type == GPU_BF16 ? 0x1p-6 : 0x1p-9;
}

static inline void paged_check(const struct paged_work *w, const float *got, const float *want,
                               const char *what) {
    const struct paged_shape *c = &w->shape;
    double bound = paged_bound(c);
    if (!CHECK_NEAR(got, want, w->tokens * c->heads * c->head_dim, bound, bound > 1e-5 ? bound : 0))
        fprintf(stderr,
                "    %s: heads %zu/%zu of %zu, cache %d rows %d, blocks of %zu, window %zu\n", what,
                c->heads, c->kv_heads, c->head_dim, c->cache, c->rows, c->block_tokens, c->window);
}

#endif
