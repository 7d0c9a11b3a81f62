// The turn of a head by rope. Role: the kernel that turns whole matrices (rows.cu) and the one that
// turns on the way to attention (paged_decode.cuh) give the same bits, as both do it by this.
// (Their norm by heads is norm.cuh's.)
#ifndef TRINE_COMPUTE_CUDA_HEAD_CUH
#define TRINE_COMPUTE_CUDA_HEAD_CUH

#include "compute/cuda/kernels/dialect.cuh"

// The pair (i, i + hd/2) of a head.
static __device__ __forceinline__ void gpu_turn_pair(float a, float b, float cosine, float sine,
                                                     float *y, float *z) {
    *y = fmaf(-b, sine, a * cosine);
    *z = fmaf(a, sine, b * cosine);
}

#endif
