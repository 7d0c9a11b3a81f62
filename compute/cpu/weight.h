// Prepared weights of the CPU device. Role: what `struct weight` is here, and how parts of a file
// become one. Thread rule: weight_new drives the pool, so as pool_run; reading is free.
#ifndef TRINE_COMPUTE_CPU_WEIGHT_H
#define TRINE_COMPUTE_CPU_WEIGHT_H

#include "compute/cpu/kernels.h"
#include "compute/cpu/pool.h"
#include "compute/cpu/slab.h"

struct weight {
    enum weight_kind kind;
    size_t rows, cols; // LINEAR: outputs, inputs; TABLE: rows, D; VECTOR: 1, D
    // TABLE, VECTOR, and a LINEAR for OpenBLAS (panel 0): plain rows, stride cols. A LINEAR of our
    // own: ceil(rows / panel) panels of [cols][panel], zero behind the last output.
    float *data;
    float *bias;  // LINEAR: padded with zeros to whole panels; in the same block as data
    size_t panel; // outputs in a panel, 0: plain rows
    size_t bytes; // of the block and this struct
    struct slab_block block;
};

// panel 0 keeps a LINEAR in plain rows. scratch: KERNEL_SCRATCH floats for each thread of the pool.
// Errors as weight_prepare.
enum err weight_new(const struct cpu_kernels *k, struct pool *pool, float *scratch,
                    struct slabs *slabs, enum weight_kind kind, const struct weight_part *parts,
                    size_t n, size_t panel, struct weight **out, struct errmsg *msg) MUST_CHECK;
void weight_free(struct slabs *slabs, struct weight *w); // NULL is fine

#endif
