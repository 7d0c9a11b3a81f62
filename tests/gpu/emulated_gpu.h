// A GPU that is emulated on the CPU: gpu_api.h's functions over block.cpp. Role: the CUDA backend
// and its kernels run in ordinary tests.
// Thread rule: gpu_api.h's; one lock serialises all that is emulated.
#ifndef TRINE_TESTS_GPU_EMULATED_GPU_H
#define TRINE_TESTS_GPU_EMULATED_GPU_H

#ifdef __cplusplus
extern "C" {
#endif

#include "compute/cuda/gpu_api.h"

const struct gpu_api *gpu_emulated(void);

// Violations so far, of all GPUs: touches without order, reads of what was never written, writes
// into guards, captures misused. A right program has none. The words of the first are in failure().
size_t gpu_emulated_violations(void);

#ifdef __cplusplus
}
#endif

#endif
