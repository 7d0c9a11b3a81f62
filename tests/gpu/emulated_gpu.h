// A GPU that is emulated on the CPU: gpu_api.h's functions over block.cpp. Role: the CUDA backend
// and its kernels run in ordinary tests, on a GPU that keeps no promise which gpu_api.h does not
// make.
// - Memory holds NaNs, is guarded, and under the address sanitizer closed to the host always and to
//   an operation but for what it says it touches.
// - What is asked of a stream is queued, and done as late, as early or as mixed as it can be
//   (TRINE_GPU_SEED): when a wait needs it. What a copy brings to the host is there behind the
//   wait that covers it, and garbage before.
// - Checked when asked, whatever the order of doing: each touch is ordered with those that it
//   must be, nothing is read that was never written, captures are kept to, memory of the host that
//   a copy works with does not change. A violation is counted, told on stderr once, and is the
//   GPU's failure (ERR_INTERNAL, with words).
// The environment, for a worker's process: TRINE_GPU_COUNT, TRINE_GPU_MEMORY (MiB), TRINE_GPU_SEED,
// TRINE_GPU_BF16=0, TRINE_GPU_DRIVER (12040, say), TRINE_GPU_FAULT=lost|hang|nomem|wrong@N.
// Thread rule: gpu_api.h's; one lock serialises all that is emulated. What follows the table below
// is for the test's main thread.
#ifndef TRINE_TESTS_GPU_EMULATED_GPU_H
#define TRINE_TESTS_GPU_EMULATED_GPU_H

#ifdef __cplusplus
extern "C" {
#endif

#include "compute/cuda/gpu_api.h"

const struct gpu_api *gpu_emulated(void);

struct gpu_emulated_settings {
    int count;           // 0: as without a GPU
    size_t memory_bytes; // of each
    uint64_t seed;
    bool no_bf16;
    int driver; // 13000
    bool quiet; // a violation is not told on stderr
};
// For what is opened from now on (the seed: for what is asked from now on).
void gpu_emulated_set(const struct gpu_emulated_settings *s);

// Of all GPUs together. LOST: from the nth kernel, product, copy or fill on that GPU has lost its
// context, as behind an illegal address. HANG: that one never ends. NOMEM: that allocation fails,
// the GPU is well. WRONG: that copy_out brings wrong bits.
enum gpu_emulated_fault {
    GPU_FAULT_NONE,
    GPU_FAULT_LOST,
    GPU_FAULT_HANG,
    GPU_FAULT_NOMEM,
    GPU_FAULT_WRONG,
    GPU_FAULT_COUNT,
};
// The nth from now (1: the next); 0: none any more.
void gpu_emulated_fault(enum gpu_emulated_fault kind, size_t nth);
// How many of what `kind` counts there have been.
size_t gpu_emulated_counted(enum gpu_emulated_fault kind);
void gpu_emulated_release(void); // what hangs goes on

// Violations so far, of all GPUs; a right program has none. The words of the first, or "".
size_t gpu_emulated_violations(void);
const char *gpu_emulated_first_violation(void);
void gpu_emulated_forget(void); // as if there had been none: failure() keeps its own

#ifdef __cplusplus
}
#endif

#endif
