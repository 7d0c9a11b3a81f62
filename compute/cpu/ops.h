// The CPU device's own fields and its table. Role: shared by cpu.c (which makes devices) and ops.c
// (which cuts operations into the shares that kernels.h computes).
#ifndef TRINE_COMPUTE_CPU_OPS_H
#define TRINE_COMPUTE_CPU_OPS_H

#include "compute/cpu/kernels.h"
#include "compute/cpu/pool.h"
#include "compute/cpu/slab.h"

#include <stdatomic.h>

enum {
    OPS_MAX_ROW_BLOCKS = 256,
    CPU_ACT_BYTES = 8 << 20, // of rows prepared for narrow weights
};

struct cpu_device {
    struct device base;
    const struct cpu_kernels *k;
    struct pool *pool;
    size_t openblas_rows;     // of a call, when linear goes through OpenBLAS; else 0
    struct slabs slabs;       // the memory of weights
    float *scratch;           // KERNEL_SCRATCH floats for each thread
    void *acts;               // CPU_ACT_BYTES, once a weight that needs them is prepared
    struct causal_plan *plan; // of causal attention
    // Shares of a linear_add_norm's row block that are still to be done; the last one normalises.
    atomic_uint left[OPS_MAX_ROW_BLOCKS];
};

extern const struct device_ops cpu_ops;

// What cutting an operation into shares counts with.
static inline size_t at_most(size_t a, size_t b) { return a < b ? a : b; }
static inline size_t at_least(size_t a, size_t b) { return a > b ? a : b; }
static inline size_t ceil_div(size_t a, size_t b) { return (a + b - 1) / b; }

// Whether S sequences lie one behind the other within `rows` rows.
static inline bool ops_sequences_fit(const int32_t *cu_seqlens, size_t seqs, size_t rows) {
    bool fit = cu_seqlens[0] >= 0 && (size_t)(uint32_t)cu_seqlens[seqs] <= rows;
    for (size_t s = 0; s < seqs; s++)
        fit = fit && cu_seqlens[s] <= cu_seqlens[s + 1];
    return fit;
}

#endif
