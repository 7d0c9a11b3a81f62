// From rows of raw logits to tokens, on the card: plain data for it, and the launch. Role: the
// draw's part of kernels.h. The host's side lays out what is said here; draw.cu computes in the
// order of compute/sampling.h, by the CPU's own formulas (compute/cpu/sampling.c), each product and
// sum rounded by itself: what is compared with what, weights, penalties and the random number are
// the CPU's bits. Sums over a row are those of blocks of GPU_DRAW_BLOCK values, whose bits are the
// CPU's too, put together in f64 in an order that V alone decides: they differ from the CPU's by
// less than 2^-53 of the sum a block. So a token is another than the CPU's only where a draw, or
// the mass of top-p, falls so near to the border between two; see draw.cu.
// Thread rule: as kernels.h.
#ifndef TRINE_COMPUTE_CUDA_DRAW_STEP_H
#define TRINE_COMPUTE_CUDA_DRAW_STEP_H

#include "compute/cuda/kernels/kernels.h"

#ifdef __cplusplus
extern "C" {
#endif

enum {
    GPU_DRAW_BLOCK = 64,      // values that have a sum and a maximum of their own
    GPU_DRAW_CHUNK = 2048,    // of a row, that a block of threads looks at
    GPU_DRAW_VOCAB = 1 << 18, // the most
    GPU_DRAW_TOP = 20,        // alternatives at most
    GPU_DRAW_ROWS = 64,       // rows of a part that draws, at most
    GPU_DRAW_END_DRAWN = 0,   // as enum sampling_end
    GPU_DRAW_END_NONFINITE = 1,
    GPU_DRAW_END_OVERFLOW = 2,
    GPU_DRAW_END_NONE = 3,
};
#define GPU_DRAW_ABSENT 0xffffffffU

// Rows of one sequence. Arrays are places in `words`.
struct gpu_draw_part {
    uint64_t seed, position; // of the first row
    float by;                // 1 / temperature, at most FLT_MAX; 0: greedy
    float top_p, min_p;
    int32_t top_k; // 0: off
    float repetition, presence, frequency;
    int32_t scores;       // the tokens of `next` are given their logprobs: none is drawn
    int32_t penalizes;    // there is a history
    int32_t goes_on;      // ... that goes on with drawn[slot]
    int32_t said_below;   // ids from here on count for nothing in it
    int32_t bias_repeats; // an id is there twice
    int32_t slot;         // below 0: none
    uint32_t rows;
    uint32_t first;            // its first row in `results`
    uint32_t next;             // [rows], or [rows - 1] where it draws
    uint32_t ends, end_count;  // ids
    uint32_t bias, bias_count; // pairs: id, the float's bits
    uint32_t said, said_count; // pairs: id (each once, below V), times in the output
};

// One row of it. Those of a launch are simple first: argmax without a logprob.
struct gpu_draw_row {
    uint32_t logits;   // row of the logits
    uint32_t part;     // in `parts`
    uint32_t index;    // in the part
    uint32_t result;   // in `results`
    uint32_t mask;     // place of its bits, or ABSENT
    uint32_t adjusted; // which row of `adjusted` takes its logits with bias, penalties and mask;
                       // ABSENT: there are none of these, or nobody asks for them again
    uint32_t top;      // which row of `tops` is its own, or ABSENT
    uint32_t top_count;
    int32_t adjusts; // bias, penalties or mask
    int32_t logprob;
};

struct gpu_draw_result {
    int32_t id, end;
    float logprob;
    uint32_t top_count;
};

struct gpu_draw_top {
    int32_t id;
    float logprob;
};

struct gpu_draw_outcome {
    uint32_t drawn, failed;
};

struct gpu_draw_step {
    struct gpu_mat logits; // [R, V] f32 raw
    const struct gpu_draw_part *parts;
    size_t part_count;
    const struct gpu_draw_row *rows;
    size_t row_count;
    const uint32_t *words;
    size_t word_count;
    // [row_count] and [part_count], zero before: how much of a row, and of a part, is done.
    uint32_t *rows_done, *parts_done;
    int32_t *drawn; // [slots] the last token that a part drew; 0 where it drew none
    size_t slots;
    struct gpu_draw_result *results; // [row_count]
    struct gpu_draw_top *tops;       // [top_rows][GPU_DRAW_TOP]
    size_t top_rows;
    struct gpu_draw_outcome *outcomes; // [part_count]
    // Of the rows [from, from + count), which are one launch's; the first `simple` of them are.
    size_t from, count, simple;
    int weighs;      // one of them has a logprob, or is drawn from the weights of a whole row
    void *scratch;   // gpu_draw_scratch_bytes(V) of each of them
    float *adjusted; // [adjusted_rows][adjusted_ld], a multiple of 4
    size_t adjusted_rows, adjusted_ld;
};

size_t gpu_draw_scratch_bytes(size_t vocab); // a multiple of 256

// One launch where all rows are simple; else three, or two where none weighs.
void gpu_launch_draw(struct gpu_stream *s, const struct gpu_draw_step *a);

#ifdef __cplusplus
}
#endif

#endif
