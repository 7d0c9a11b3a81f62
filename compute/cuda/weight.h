// Prepared weights of the GPU. Role: parts of a file become rows on the card: joined, checked,
// floats as the type that is computed in, blocks in their planes (kernels/planes.h). What is read
// goes through two pieces of pinned memory, so that reading, packing and copying overlap and no
// more of a file is in memory than that.
// Thread rule: any threads; they take turns with the two pieces. A weight does not change once it
// is made.
#ifndef TRINE_COMPUTE_CUDA_WEIGHT_H
#define TRINE_COMPUTE_CUDA_WEIGHT_H

#include "compute/cuda/gpu_api.h"
#include "compute/device.h"

// Neighbouring outputs of one format.
struct gpu_segment {
    size_t first; // output; how many: rows.out
    struct gpu_rows rows;
};

struct weight {
    enum weight_kind kind;
    size_t rows, cols;    // LINEAR: outputs, inputs; TABLE: rows, D; VECTOR: 1, D
    enum gpu_type floats; // what its floats are, and what a product of many rows is computed in
    size_t segments;      // VECTOR, TABLE: one
    struct gpu_segment *segment;
    const float *bias;       // [rows], or NULL where no part has one
    const void *bias_floats; // the same in `floats`
    size_t bytes;            // resident
    void *memory;            // the card's, all of it
};

// The numbers of a VECTOR.
static inline const float *gpu_weight_vector(const struct weight *w) {
    return (const float *)w->segment[0].rows.quants;
}

// What weights of one GPU are made with.
struct gpu_weights;

enum { GPU_WEIGHT_PIECE = 8 << 20 };
// piece_bytes: of each of the two pieces of pinned memory, at least 4 KiB; bf16: what
// struct gpu_facts says. ERR_NOMEM.
enum err gpu_weights_new(const struct gpu_api *api, struct gpu *gpu, bool bf16, size_t piece_bytes,
                         struct gpu_weights **out, struct errmsg *msg) MUST_CHECK;
void gpu_weights_free(struct gpu_weights *m); // NULL is fine; its weights are freed before

// The type that is computed in. COMPUTE_DEVICE is bf16, where the card has it, else f16.
enum gpu_type gpu_type_of(enum compute_floats floats, bool bf16);

// Errors as weight_prepare's, and ERR_UNSUPPORTED: bf16 is asked for, the card has none; a number
// is too large for f16. ERR_LOST: the card failed meanwhile.
enum err gpu_weight_new(struct gpu_weights *m, enum weight_kind kind,
                        const struct weight_part *parts, size_t n, struct precision precision,
                        struct weight **out, struct errmsg *msg) MUST_CHECK;
void gpu_weight_free(struct gpu_weights *m, struct weight *w); // NULL is fine

#endif
