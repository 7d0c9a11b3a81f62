// What a machine has for computing on a GPU, as one JSON object: `trine-gpu --probe`. Role: looks
// at all that a start would need, the cards, the driver and cuBLASLt, and says what would be used,
// or why nothing can be. It opens no card (but the driver keeps a context for a moment where NVML
// is missing). Thread rule: from main.
#ifndef TRINE_COMPUTE_CUDA_PROBE_H
#define TRINE_COMPUTE_CUDA_PROBE_H

#include "base/buf.h"
#include "compute/cuda/gpu_api.h"

#include <stdbool.h>

// What a kind of GPU (gpu_api.h) says of itself beside its cards.
struct probe_kind {
    const struct gpu_api *api;
    int driver, runtime; // CUDA's versions, 13000 for 13.0; 0: none
    int least_driver;
    int least_major, least_minor; // compute capability
    size_t kernels;               // in this program
    bool cublaslt;                // products need it
};

// Appends the object, on lines of its own. True: at least one card can be used. out->failed: no
// memory.
bool probe_write(const struct probe_kind *kind, struct buf *out);
// Prints it; the exit status: 0: a card can be used, 1: none can, or there is no memory.
int probe_print(const struct probe_kind *kind);

#endif
