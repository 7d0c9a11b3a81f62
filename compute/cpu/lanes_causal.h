// Attention of causal models (causal.h) in vectors; included after a lanes_*.h. A tile of rows
// (queries, each with the group's heads) meets the cache where it lies: keys turned, values in
// rows, halves widened in registers. Every score and every sum of values is one chain of fused
// multiply-adds, over ascending columns and ascending positions, whatever the tile; a row's sum has
// the positions that it sees and no other, so that nothing stale is ever multiplied, not even by 0.
#ifndef TRINE_COMPUTE_CPU_LANES_CAUSAL_H
#define TRINE_COMPUTE_CPU_LANES_CAUSAL_H

#include "compute/cpu/causal.h"
#include "compute/cpu/kernels.h"
#include "compute/cpu/lanes_math.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>

enum {
    WEIGHT_LD = CAUSAL_PART + 16, // rows of a tile's weights on different cache sets
    QUERY_LD = LANES,             // a tile's queries are turned: [head_dim][QUERY_LD]
    SPAN = 32,                    // positions, where the keys are packed here
    MAX_SPANS = CAUSAL_PART / CAUSAL_ALIGN,
    WIDE_ROWS = LANES == 16 ? 6 : 2, // of a tile of four vectors
    AHEAD = 2,                       // spans that are fetched before they are met
};
_Static_assert(TILE_ROWS <= QUERY_LD, "a tile's queries");

INLINE VF cache_load(const char *from, size_t i, const int half) {
    return half ? v_from_f16(from + i * 2) : v_load((const float *)(const void *)from + i);
}

// out[i][0 .. vecs LANES) = (out or 0) + sum over t < n of x(i, t) w[t][0 .. vecs LANES), w's rows
// ldw values apart; x(i, t) is x[t QUERY_LD + i] for keys, x[i WEIGHT_LD + t] for values. `ahead`
// is what is met later, fetched row by row: pieces of a few KiB are too short for the processor's
// own guesses, and few rows do little with each byte.
INLINE void cache_tile(const int rows, const int vecs, const int half, const int keys,
                       const float *x, const char *w, const char *ahead, size_t ldw, size_t n,
                       float *out, size_t ldo) {
    VF sum[TILE_ROWS][4];
    const size_t row_step = keys ? 1 : WEIGHT_LD, step = keys ? QUERY_LD : 1;
#pragma GCC unroll 16
    for (int i = 0; i < rows; i++)
#pragma GCC unroll 4
        for (int j = 0; j < vecs; j++)
            sum[i][j] = keys ? v_zero() : v_load(out + (size_t)i * ldo + (size_t)j * LANES);
    for (size_t t = 0; t < n; t++, x += step, w += ldw * (half ? 2 : 4)) {
        VF row[4];
        for (int j = 0; j < vecs * LANES * (half ? 2 : 4); j += 64)
            __builtin_prefetch(ahead + j);
        ahead += ldw * (half ? 2 : 4);
#pragma GCC unroll 4
        for (int j = 0; j < vecs; j++)
            row[j] = cache_load(w, (size_t)j * LANES, half);
#pragma GCC unroll 16
        for (int i = 0; i < rows; i++) {
            VF a = v_all(x[(size_t)i * row_step]);
#pragma GCC unroll 4
            for (int j = 0; j < vecs; j++)
                sum[i][j] = v_fma(a, row[j], sum[i][j]);
        }
    }
#pragma GCC unroll 16
    for (int i = 0; i < rows; i++)
#pragma GCC unroll 4
        for (int j = 0; j < vecs; j++)
            v_store(out + (size_t)i * ldo + (size_t)j * LANES, sum[i][j]);
}

typedef void cache_tile_fn(const float *x, const char *w, const char *ahead, size_t ldw, size_t n,
                           float *out, size_t ldo);

#define CACHE_TILE(rows, vecs, half, keys)                                                         \
    static void cache_tile_##keys##half##_##vecs##_##rows(const float *x, const char *w,           \
                                                          const char *ahead, size_t ldw, size_t n, \
                                                          float *out, size_t ldo) {                \
        cache_tile(rows, vecs, half, keys, x, w, ahead, ldw, n, out, ldo);                         \
    }
#define CACHE_KINDS(rows, vecs)                                                                    \
    CACHE_TILE(rows, vecs, 0, 0)                                                                   \
    CACHE_TILE(rows, vecs, 0, 1) CACHE_TILE(rows, vecs, 1, 0) CACHE_TILE(rows, vecs, 1, 1)
#define CACHE_NARROW(rows) CACHE_KINDS(rows, 1) CACHE_KINDS(rows, 2)
CACHE_NARROW(1)
CACHE_NARROW(2)
CACHE_NARROW(3)
CACHE_NARROW(4)
CACHE_NARROW(5)
CACHE_NARROW(6)
CACHE_KINDS(1, 4)
CACHE_KINDS(2, 4)
#if TILE_ROWS > 6
CACHE_NARROW(7)
CACHE_NARROW(8)
CACHE_NARROW(9)
CACHE_NARROW(10)
CACHE_NARROW(11)
CACHE_NARROW(12)
CACHE_NARROW(13)
CACHE_NARROW(14)
CACHE_KINDS(3, 4)
CACHE_KINDS(4, 4)
CACHE_KINDS(5, 4)
CACHE_KINDS(6, 4)
#define CACHE_ROWS(kind, vecs)                                                                     \
    {                                                                                              \
        cache_tile_##kind##_##vecs##_1, cache_tile_##kind##_##vecs##_2,                            \
            cache_tile_##kind##_##vecs##_3, cache_tile_##kind##_##vecs##_4,                        \
            cache_tile_##kind##_##vecs##_5, cache_tile_##kind##_##vecs##_6,                        \
            cache_tile_##kind##_##vecs##_7, cache_tile_##kind##_##vecs##_8,                        \
            cache_tile_##kind##_##vecs##_9, cache_tile_##kind##_##vecs##_10,                       \
            cache_tile_##kind##_##vecs##_11, cache_tile_##kind##_##vecs##_12,                      \
            cache_tile_##kind##_##vecs##_13, cache_tile_##kind##_##vecs##_14                       \
    }
#define CACHE_WIDE(kind)                                                                           \
    {                                                                                              \
        cache_tile_##kind##_4_1, cache_tile_##kind##_4_2, cache_tile_##kind##_4_3,                 \
            cache_tile_##kind##_4_4, cache_tile_##kind##_4_5, cache_tile_##kind##_4_6              \
    }
#else
#define CACHE_ROWS(kind, vecs)                                                                     \
    {                                                                                              \
        cache_tile_##kind##_##vecs##_1, cache_tile_##kind##_##vecs##_2,                            \
            cache_tile_##kind##_##vecs##_3, cache_tile_##kind##_##vecs##_4,                        \
            cache_tile_##kind##_##vecs##_5, cache_tile_##kind##_##vecs##_6                         \
    }
#define CACHE_WIDE(kind)                                                                           \
    { cache_tile_##kind##_4_1, cache_tile_##kind##_4_2 }
#endif

// [keys][half][1, 2 or 4 vectors][rows - 1]
static cache_tile_fn *const cache_tiles[2][2][3][TILE_ROWS] = {
    {{CACHE_ROWS(00, 1), CACHE_ROWS(00, 2), CACHE_WIDE(00)},
     {CACHE_ROWS(01, 1), CACHE_ROWS(01, 2), CACHE_WIDE(01)}},
    {{CACHE_ROWS(10, 1), CACHE_ROWS(10, 2), CACHE_WIDE(10)},
     {CACHE_ROWS(11, 1), CACHE_ROWS(11, 2), CACHE_WIDE(11)}},
};

// The product over `cols` columns, a multiple of CAUSAL_ALIGN.
INLINE void cache_product(const int keys, int half, size_t rows, const float *x, const char *w,
                          const char *ahead, size_t ldw, size_t n, size_t cols, float *out,
                          size_t ldo) {
    for (size_t c = 0; c < cols;) {
        size_t left = (cols - c) / LANES;
        int kind = left >= 4 && rows <= WIDE_ROWS ? 2 : left >= 2 ? 1 : 0;
        size_t at = c * (half ? 2 : 4);
        cache_tiles[keys][half][kind][rows - 1](x, w + at, ahead + at, ldw, n, out + c, ldo);
        c += (size_t)LANES << kind;
    }
}

// Neighbouring positions of a part that lie together, counted from the part's first.
struct lanes_span {
    const char *k, *v;
    size_t ldk, from, to;
};

struct lanes_causal_work {
    float *queries; // [tiles][head_dim][QUERY_LD], times scale log2 e
    float *states;  // [rows][size]: what is joined so far
    float *part;    // [TILE_ROWS][size]: a tile's states of one part
    float *weights; // [TILE_ROWS][WEIGHT_LD]
    float *k, *v;   // a part's, packed as a cache of SPAN positions' blocks
    size_t size, width, tiles;
    struct lanes_span spans[MAX_SPANS + 1];
    const char *next[AHEAD];  // keys of the part behind this one; NULL: there are none to fetch
    size_t span_count, begin; // begin: the part's first position
    int half;
};

_Static_assert((256 + TILE_ROWS) * 128 / TILE_ROWS * QUERY_LD + 256 * 144 +
                       TILE_ROWS * (144 + WEIGHT_LD) + 2 * 256 * 128 <=
                   KERNEL_SCRATCH,
               "attention's scratch, heads of 128");
_Static_assert((128 + TILE_ROWS) * 256 / TILE_ROWS * QUERY_LD + 128 * 272 +
                       TILE_ROWS * (272 + WEIGHT_LD) + 2 * 256 * 256 <=
                   KERNEL_SCRATCH,
               "attention's scratch, heads of 256");

static struct lanes_causal_work causal_begin(const struct causal_share *s) {
    struct lanes_causal_work a = {.size = causal_state(s->head_dim),
                                  .width = causal_width(s->head_dim),
                                  .tiles = ceil_div(s->rows, TILE_ROWS),
                                  .half = s->dtype == DTYPE_F16};
    a.queries = s->scratch;
    a.states = a.queries + a.tiles * s->head_dim * QUERY_LD;
    a.part = a.states + s->rows * a.size;
    a.weights = a.part + TILE_ROWS * a.size;
    a.k = a.weights + (size_t)TILE_ROWS * WEIGHT_LD;
    a.v = a.k + CAUSAL_PART * s->head_dim;
    float by = s->scale * 1.44269504F; // log2 e
    for (size_t i = 0; i < s->rows; i++) {
        size_t r = s->row + i;
        const float *q = s->q + r / s->group * s->ldq + r % s->group * s->head_dim;
        float *to = a.queries + i / TILE_ROWS * s->head_dim * QUERY_LD + i % TILE_ROWS;
        for (size_t d = 0; d < s->head_dim; d++)
            to[d * QUERY_LD] = q[d] * by;
        a.states[i * a.size + 1] = 0;
    }
    return a;
}

// Positions [from, to) of the part, from a multiple of SPAN; keys behind the last are zero.
static void weight_pack_part(const struct causal_share *s, const struct lanes_causal_work *a,
                             size_t from, size_t to) {
    size_t hd = s->head_dim;
    for (size_t at = from; at < to; at += LANES) {
        size_t n = at_most(to - at, LANES);
        float *panel = a->k + at / SPAN * SPAN * hd + at % SPAN;
        for (size_t d = 0; d < hd; d += LANES) {
            size_t dims = at_most(hd - d, LANES);
            VMASK some = v_first(dims);
            VF block[LANES];
            for (size_t i = 0; i < LANES; i++)
                block[i] =
                    i < n ? v_load_some(s->k + (a->begin + at + i) * s->ldk + d, some) : v_zero();
            v_transpose(block);
            for (size_t i = 0; i < dims; i++)
                v_store(panel + (d + i) * SPAN, block[i]);
        }
    }
    for (size_t at = from; at < to; at++)
        for (size_t d = 0; d < a->width; d += LANES) {
            VMASK some = v_first(d >= hd ? 0 : at_most(hd - d, LANES));
            v_store(a->v + at * a->width + d,
                    v_load_some(s->v + (a->begin + at) * s->ldv + d, some));
        }
}

static const char *block_of(const struct causal_share *s, size_t position) {
    return s->blocks + (size_t)s->table[position / s->block_tokens] * s->block_bytes;
}

// Where positions [from, to) of the part lie.
static void find_spans(const struct causal_share *s, struct lanes_causal_work *a, size_t from,
                       size_t to) {
    a->span_count = 0;
    memset(a->next, 0, sizeof a->next);
    if (!s->blocks) {
        from = from / SPAN * SPAN;
        weight_pack_part(s, a, from, to);
        for (size_t at = from; at < to; at += SPAN)
            a->spans[a->span_count++] = (struct lanes_span){(const char *)(a->k + at * s->head_dim),
                                                            (const char *)(a->v + at * a->width),
                                                            SPAN, at, at_most(at + SPAN, to)};
        return;
    }
    size_t bytes = a->half ? 2 : 4;
    for (size_t at = from / CAUSAL_ALIGN * CAUSAL_ALIGN; at < to;) {
        size_t p = a->begin + at, in = p % s->block_tokens, end = at + s->block_tokens - in;
        const char *block = block_of(s, p);
        end = at_most(end, to);
        a->spans[a->span_count++] =
            (struct lanes_span){block + in * bytes, block + s->values + in * a->width * bytes,
                                s->block_tokens, at, end};
        at = end;
    }
    size_t behind = a->begin + CAUSAL_PART, unused, end;
    causal_range(s, s->row + s->rows - 1, &unused, &end);
    end = at_most(end, s->part_to * CAUSAL_PART);
    for (size_t i = 0; i < AHEAD && behind < end; i++, behind += s->block_tokens)
        a->next[i] = block_of(s, behind);
}

// What is fetched while span i's keys, or its values, are met.
static const char *ahead_of_keys(const struct lanes_causal_work *a, size_t i) {
    size_t to = i + AHEAD;
    return to < a->span_count ? a->spans[to].k : a->spans[(to - a->span_count) % a->span_count].v;
}

static const char *ahead_of_values(const struct lanes_causal_work *a, size_t i) {
    size_t to = i + AHEAD;
    const char *next = to < a->span_count ? a->spans[to].v : a->next[(to - a->span_count) % AHEAD];
    return next ? next : a->spans[i].v;
}

// What row i of the share sees of the part, counted from the part's first position; false: nothing.
INLINE bool seen(const struct causal_share *s, const struct lanes_causal_work *a, size_t i,
                 size_t *from, size_t *to) {
    causal_range(s, s->row + i, from, to);
    *from = at_least(*from, a->begin) - a->begin;
    *to = at_least(*to, a->begin) - a->begin;
    *to = at_most(*to, CAUSAL_PART);
    return *from < *to;
}

// A tile's scores of positions [from, to) of the part, and of more around them.
static void score(const struct causal_share *s, const struct lanes_causal_work *a, size_t tile,
                  size_t rows, size_t from, size_t to) {
    const float *q = a->queries + tile * s->head_dim * QUERY_LD;
    for (size_t i = 0; i < a->span_count; i++) {
        const struct lanes_span *p = &a->spans[i];
        if (p->to <= from || p->from >= to)
            continue;
        size_t begin = from > p->from ? from / CAUSAL_ALIGN * CAUSAL_ALIGN : p->from;
        size_t cols = causal_width(at_most(to, p->to) - begin);
        cache_product(1, a->half, rows, q, p->k + (begin - p->from) * (a->half ? 2 : 4),
                      ahead_of_keys(a, i), p->ldk, s->head_dim, cols, a->weights + begin,
                      WEIGHT_LD);
    }
}

INLINE VF masked(VF v, size_t at, size_t from, size_t to) {
    VF out = v_all(-INFINITY);
    if (at + LANES > to)
        v = v_pick(v_first(at < to ? to - at : 0), v, out);
    if (at < from)
        v = v_pick(v_first(at_most(from - at, LANES)), out, v);
    return v;
}

// Scores of positions [first, last) become weights 2^(score - most), 0 where row i does not see;
// most and the weights' sum go to the row's state.
static void soften(const struct causal_share *s, const struct lanes_causal_work *a, size_t row,
                   size_t rows, size_t first, size_t last, float *states) {
    first = first / LANES * LANES;
    for (size_t i = 0; i < rows; i++) {
        float *w = a->weights + i * WEIGHT_LD;
        size_t from, to;
        seen(s, a, row + i, &from, &to);
        VF high = v_all(-INFINITY);
        for (size_t j = first; j < last; j += LANES) {
            VF v = v_load(w + j);
            if (j < from || j + LANES > to)
                v_store(w + j, v = masked(v, j, from, to));
            high = v_max(high, v);
        }
        states[i * a->size] =
            v_most(high); // a NaN may be lost here; its weight is NaN, and the sum
    }
    for (size_t i = 0; i < rows; i++) {
        float *w = a->weights + i * WEIGHT_LD;
        VF most = v_all(states[i * a->size]), sum = v_zero();
        for (size_t j = first; j < last; j += LANES) {
            VF v = v_exp2(v_sub(v_load(w + j), most));
            v_store(w + j, v);
            sum = v_add(sum, v);
        }
        states[i * a->size + 1] = v_sum(sum);
    }
}

// Adds weight x value of positions [from, to) to the sums of rows [row, row + rows) of the tile.
static void add_values(const struct lanes_causal_work *a, size_t row, size_t rows, size_t from,
                       size_t to, float *states) {
    float *sums = states + row * a->size + CAUSAL_HEAD;
    size_t bytes = a->half ? 2 : 4;
    for (size_t i = 0; i < a->span_count; i++) {
        const struct lanes_span *p = &a->spans[i];
        if (p->to <= from || p->from >= to)
            continue;
        size_t begin = at_least(from, p->from), end = at_most(to, p->to);
        cache_product(0, a->half, rows, a->weights + row * WEIGHT_LD + begin,
                      p->v + (begin - p->from) * a->width * bytes, ahead_of_values(a, i), a->width,
                      end - begin, a->width, sums, a->size);
    }
}

// The positions that all rows of the tile see at once, those that only some see a query at a time:
// first those before, then those behind, so that each row's sum runs over ascending positions.
static void sum_values(const struct causal_share *s, const struct lanes_causal_work *a, size_t row,
                       size_t rows, float *states) {
    size_t all_from, all_to, from, to, unused;
    seen(s, a, row + rows - 1, &all_from, &unused);
    seen(s, a, row, &unused, &all_to);
    for (size_t i = 0; i < rows; i++)
        memset(states + i * a->size + CAUSAL_HEAD, 0, a->width * sizeof *states);
    bool shared = all_from < all_to;
    for (int behind = 0; behind < 2; behind++) {
        for (size_t i = 0, n; i < rows; i += n) {
            n = s->group - (s->row + row + i) % s->group;
            n = at_most(n, rows - i);
            if (!seen(s, a, row + i, &from, &to))
                continue;
            if (shared && !behind)
                to = all_from;
            else if (behind)
                from = shared ? all_to : to;
            if (from < to)
                add_values(a, i, n, from, to, states);
        }
        if (shared && !behind)
            add_values(a, 0, rows, all_from, all_to, states);
    }
}

static void join_state(const struct lanes_causal_work *a, float *so_far, const float *part) {
    if (part[1] == 0.0F)
        return;
    if (so_far[1] == 0.0F) {
        memcpy(so_far, part, a->size * sizeof *part);
        return;
    }
    VF most = v_max(v_all(part[0]), v_all(so_far[0]));
    VF old = v_exp2(v_sub(v_all(so_far[0]), most)), new = v_exp2(v_sub(v_all(part[0]), most));
    float total[LANES];
    v_store(total, v_fma(v_all(so_far[1]), old, v_mul(v_all(part[1]), new)));
    so_far[1] = total[0];
    v_store(total, most);
    so_far[0] = total[0];
    for (size_t d = CAUSAL_HEAD; d < a->size; d += LANES)
        v_store(so_far + d, v_fma(v_load(so_far + d), old, v_mul(v_load(part + d), new)));
}

static void causal_finish(const struct causal_share *s, size_t row, const float *state) {
    float *out = s->out + row / s->group * s->ldo + row % s->group * s->head_dim;
    VF by = v_all(1.0F / state[1]);
    for (size_t d = 0; d < s->head_dim; d += LANES) {
        VMASK some = v_first(at_most(s->head_dim - d, LANES));
        v_store_some(out + d, v_mul(v_load(state + CAUSAL_HEAD + d), by), some);
    }
}

// One part of one tile of rows, to `states`.
static void causal_tile(const struct causal_share *s, const struct lanes_causal_work *a,
                        size_t tile, float *states) {
    size_t row = tile * TILE_ROWS, rows = at_most(s->rows - row, TILE_ROWS);
    size_t from, to, unused;
    seen(s, a, row, &from, &unused);
    seen(s, a, row + rows - 1, &unused, &to);
    if (from >= to) {
        for (size_t i = 0; i < rows; i++)
            states[i * a->size + 1] = 0;
        return;
    }
    score(s, a, tile, rows, from, to);
    soften(s, a, row, rows, from, to, states);
    sum_values(s, a, row, rows, states);
    for (size_t i = 0; i < rows; i++)
        if (!seen(s, a, row + i, &from, &to))
            states[i * a->size + 1] = 0;
}

static void causal_attention(const struct causal_share *s) {
    struct lanes_causal_work a = causal_begin(s);
    for (size_t p = s->part_from; p < s->part_to; p++) {
        size_t from, to, unused;
        a.begin = p * CAUSAL_PART;
        seen(s, &a, 0, &from, &unused);
        seen(s, &a, s->rows - 1, &unused, &to);
        if (from < to)
            find_spans(s, &a, from, to);
        for (size_t t = 0; t < a.tiles; t++) {
            size_t row = t * TILE_ROWS;
            float *part = a.part;
            if (s->partials)
                part = s->partials + (p - s->part_from) * s->part_stride + row * a.size;
            causal_tile(s, &a, t, part);
            for (size_t i = row; i < s->rows && i < row + TILE_ROWS && !s->partials; i++)
                join_state(&a, a.states + i * a.size, part + (i - row) * a.size);
        }
    }
    for (size_t i = 0; i < s->rows && !s->partials; i++)
        causal_finish(s, s->row + i, a.states + i * a.size);
}

static void causal_join(const struct causal_share *s) {
    struct lanes_causal_work a = {.size = causal_state(s->head_dim)};
    for (size_t i = 0; i < s->rows; i++) {
        float *state = s->scratch;
        state[1] = 0;
        for (size_t p = 0; p < s->part_to - s->part_from; p++)
            join_state(&a, state, s->partials + p * s->part_stride + i * a.size);
        causal_finish(s, s->row + i, state);
    }
}

#endif
