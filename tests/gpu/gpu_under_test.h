// The GPU that a test or bench is about: the emulated one in ordinary builds, a real one where the
// same program is linked with that (make cuda-kit). Role: one name for both.
// Thread rule: as the GPU's.
#ifndef TRINE_TESTS_GPU_GPU_UNDER_TEST_H
#define TRINE_TESTS_GPU_GPU_UNDER_TEST_H

#ifdef __cplusplus
extern "C" {
#endif

#include "compute/cuda/gpu_api.h"

const struct gpu_api *gpu_under_test(void);
// Faults against the rules of memory and order that were found so far: a real one finds none by
// itself (compute-sanitizer does).
size_t gpu_under_test_violations(void);
// In f32 a row has the same bits by a few rows' kernel and by a large product, so that they do not
// depend on what else is in a batch. On a card the library's large products sum in an order of
// their own: there such a row is near, by the bar of f32.
bool gpu_under_test_keeps_bits(void);

#ifdef __cplusplus
}
#endif

#endif
