// Products as the emulated GPU computes them. Role: gpu_api.h's gemm, in the order of sums that
// the kernel of few rows has (kernels.h), so that f32 bits do not depend on how many rows a product
// has. Thread rule: pure functions.
#ifndef TRINE_TESTS_GPU_EMULATED_GEMM_H
#define TRINE_TESTS_GPU_EMULATED_GEMM_H

#include "tests/gpu/emulated_gpu.h"

void gpu_emulated_gemm(const struct gpu_gemm *a);

#endif
