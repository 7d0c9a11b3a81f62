// The kernels of causal models: attention over a cache or over matrices, and operations on rows.
// Role: one thread's share of them, for each instruction set; kernels.h says what holds for all.
// Attention sees the positions in parts of CAUSAL_PART from position 0 on. Each part has a softmax
// of its own (largest score, sum of weights, weighted values); parts are joined in order. A row's
// bits so depend on its position and on what the cache holds, and on nothing else: not on which
// rows share the call, how the sequence was cut into steps, or which parts were computed apart.
// Thread rule: pure functions; scratch belongs to the calling thread.
#ifndef TRINE_COMPUTE_CPU_CAUSAL_H
#define TRINE_COMPUTE_CPU_CAUSAL_H

#include "compute/cpu/share.h"
#include "compute/tensor.h"

enum {
    CAUSAL_PART = 256,
    CAUSAL_MAX_HEAD_DIM = 256,
    CAUSAL_HEAD = 16,  // floats before a state's values: the largest score, the sum of weights
    CAUSAL_ALIGN = 16, // positions in a block, values in a row: multiples of it
};

// Columns that `cols` values take in a cache row or a state.
static inline size_t causal_width(size_t cols) { return round_up(cols, CAUSAL_ALIGN); }
// Floats of a row's state: CAUSAL_HEAD, then causal_width(head_dim) sums of weight x value. A sum
// of weights of 0 says that the row sees nothing there.
static inline size_t causal_state(size_t head_dim) { return CAUSAL_HEAD + causal_width(head_dim); }
// Rows that a share takes at most: what the scratch holds.
static inline size_t causal_rows(size_t head_dim) { return head_dim <= 128 ? 256 : 128; }

// Some rows of one sequence and one kv head. Row r is query r / group, head r % group of the group.
struct causal_share {
    const float *q; // [queries][group][head_dim], stride ldq between queries
    float *out;     // likewise, stride ldo
    size_t ldq, ldo;
    size_t group, head_dim;
    size_t row, rows; // [row, row + rows), at most causal_rows
    size_t position;  // of query 0
    size_t window;    // 0: all
    float scale;

    // The keys and values: a cache's blocks, position p in block table[p / block_tokens], its keys
    // as [head_dim][block_tokens], `values` bytes further its values as
    // [block_tokens][causal_width(head_dim)].
    const char *blocks; // block 0's keys of this layer and kv head; NULL: k and v instead
    size_t block_bytes, values, block_tokens;
    const int32_t *table;
    enum dtype dtype; // F32 or F16
    const float *k, *v;
    size_t ldk, ldv;

    size_t part_from, part_to; // parts to compute: all that the rows see, or some of them
    // NULL: out is written. Else [part_to - part_from][rows] states, the first row's at
    // `partials`, parts `part_stride` floats apart.
    float *partials;
    size_t part_stride;
    float *scratch; // KERNEL_SCRATCH floats
};

// The positions [*from, *to) that row r sees.
static inline void causal_range(const struct causal_share *s, size_t r, size_t *from, size_t *to) {
    *to = s->position + r / s->group + 1;
    *from = s->window && *to > s->window ? *to - s->window : 0;
}

struct causal_kernels {
    void (*attention)(const struct causal_share *s);
    // Joins the states that shares of the same rows left in `partials`, and writes out.
    void (*join)(const struct causal_share *s);
    // y = gamma x / sqrt(mean(x^2) + eps); y may be x
    void (*rms_norm)(const float *x, const float *gamma, float eps, float *y, size_t n);
    // x[i], x[i + half] turned by the angle of cos[i], sin[i], i < half
    void (*rope)(float *x, const float *cos, const float *sin, size_t half);
    void (*swiglu)(const float *gate, const float *up, float *y, size_t n); // silu(gate) * up
    void (*to_f16)(const float *x, uint16_t *half, size_t n); // to nearest, ties to even
};

extern const struct causal_kernels causal_generic;
#if defined(__x86_64__)
extern const struct causal_kernels causal_avx2, causal_avx512;
#endif

#endif
