// What `struct weight` is on the CPU device: data only. Role: shared by what makes weights
// (weight.h, weight_pack.h) and what multiplies with them. Thread rule: immutable once made.
#ifndef TRINE_COMPUTE_CPU_WEIGHT_LAYOUT_H
#define TRINE_COMPUTE_CPU_WEIGHT_LAYOUT_H

#include "compute/cpu/kernels.h"
#include "compute/cpu/slab.h"
#include "compute/cpu/team.h"

// Neighbouring outputs of one format, in whole panels (kernels.h, panels.h) of their own.
struct weight_segment {
    enum dtype format;
    size_t first, rows;   // outputs
    size_t panel, panels; // outputs in a panel; how many
    bool pairs; // of BF16, in all segments or none: two inputs side by side (kernels.h, pair_words)
    size_t panel_bytes;
    unsigned char *data;
    float *bias; // padded with zeros to whole panels
};

// What rows are made into before they meet a LINEAR.
enum weight_acts {
    ACTS_NONE,  // nothing
    ACTS_F32,   // groups of f32, for block types
    ACTS_INT8,  // groups of act_unit, for block types
    ACTS_PAIRS, // pairs of bf16
};

struct weight {
    enum weight_kind kind;
    size_t rows, cols; // LINEAR: outputs, inputs; TABLE: rows, D; VECTOR: 1, D
    // TABLE, VECTOR, and a LINEAR for OpenBLAS: plain rows. f32 but for a TABLE, which may be kept
    // as it was stored (stored != NULL, data == NULL).
    float *data;
    unsigned char *stored;
    enum dtype format; // of the plain rows
    float *bias;       // of a LINEAR for OpenBLAS
    // A LINEAR of our own.
    size_t segments; // 0: plain rows
    struct weight_segment *segment;
    enum weight_acts acts;
    size_t bytes; // of the block and this struct
    struct slab_block block;
};

// Of a segment of floats: bytes that an output takes of a step of the product; where the weight of
// input k and output j of a panel is, in bytes from the panel's begin.
static inline size_t segment_step(const struct weight_segment *s) {
    return s->pairs ? sizeof(uint32_t) : dtype_size(s->format);
}
static inline size_t segment_at(const struct weight_segment *s, size_t k, size_t j) {
    if (s->pairs)
        return (k / 2 * s->panel + j) * sizeof(uint32_t) + k % 2 * sizeof(uint16_t);
    return (k * s->panel + panel_place(s->format, s->panel, j)) * segment_step(s);
}

// Bytes of a row of w's acts. n rows take n times that, where n is whole groups or they are pairs.
static inline size_t weight_act_bytes(const struct weight *w) {
    if (w->acts == ACTS_PAIRS)
        return pair_stride(w->cols) * sizeof(uint32_t);
    return act_row_bytes(w->cols, w->acts == ACTS_INT8);
}

// What weight_new makes weights with.
struct weight_maker {
    const struct cpu_kernels *k;
    struct team *team;     // lent (team_run_beside)
    float *scratch;        // KERNEL_SCRATCH floats for each thread of the team,
    float *caller_scratch; // but for the caller, worker 0: the device may be driven meanwhile
    struct slab_list *slabs;
    bool plain; // a LINEAR of f32 in plain rows, for OpenBLAS
};

static inline float *weight_maker_scratch(const struct weight_maker *m, int worker) {
    return worker == 0 ? m->caller_scratch : m->scratch + (size_t)worker * KERNEL_SCRATCH;
}

#endif
