// See gpu_under_test.h: the emulated GPU.
#include "tests/gpu/gpu_under_test.h"

#include "tests/gpu/emulated_gpu.h"

const struct gpu_api *gpu_under_test(void) { return gpu_emulated(); }
size_t gpu_under_test_violations(void) { return gpu_emulated_violations(); }
bool gpu_under_test_keeps_bits(void) { return true; }
