// The CPU device's own fields. Role: what its operations work with; cpu.c makes one and has the
// table. Thread rule: as compute/device.h.
#ifndef TRINE_COMPUTE_CPU_CPU_DEVICE_H
#define TRINE_COMPUTE_CPU_CPU_DEVICE_H

#include "compute/cpu/kernels.h"
#include "compute/cpu/slab.h"
#include "compute/cpu/team.h"

#include <pthread.h>
#include <stdatomic.h>

enum {
    CPU_MAX_ROW_BLOCKS = 256,
    CPU_KV_BLOCK_TOKENS = 32,
    CPU_ACT_BYTES = 8 << 20, // of rows prepared for narrow weights
};

struct causal_plan; // ops_causal.h

struct cpu_device {
    struct device base;
    const struct cpu_kernels *k;
    struct team *team;
    size_t openblas_rows; // of a call, when linear goes through OpenBLAS; else 0
    const struct cpu_pages *pages;
    struct slab_list slabs; // the memory of weights
    float *scratch;         // KERNEL_SCRATCH floats for each thread
    void *acts;             // CPU_ACT_BYTES, once a weight that needs them is prepared
    // Weights are made and freed by any thread, one at a time: it guards slabs, making_scratch and
    // who sets acts (their readers have such a weight, which came behind it).
    pthread_mutex_t making;
    float *making_scratch;    // KERNEL_SCRATCH floats of the thread that makes one
    struct causal_plan *plan; // of causal attention
    // Shares of a linear_add_norm's row block that are still to be done; the last one normalises.
    atomic_uint left[CPU_MAX_ROW_BLOCKS];
};

static inline struct cpu_device *cpu_of(struct device *d) { return (struct cpu_device *)d; }

// The scratch of one of the team's threads.
static inline float *cpu_scratch(const struct cpu_device *c, int worker) {
    return c->scratch + (size_t)worker * KERNEL_SCRATCH;
}

#endif
