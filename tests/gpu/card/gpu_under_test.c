// See gpu_under_test.h: a real GPU, through CUDA.
#include "tests/gpu/gpu_under_test.h"

#include "compute/cuda/cuda_api.h"

const struct gpu_api *gpu_under_test(void) { return &gpu_api_cuda; }
size_t gpu_under_test_violations(void) { return 0; }
bool gpu_under_test_keeps_bits(void) { return false; }
