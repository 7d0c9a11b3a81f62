// What a fused decoding launch does on its way to attention: a head's norm and turn. Role: the
// first part of paged_plain.cuh's kernel; norm.cuh and head.cuh are what the row kernels go by too.
#ifndef TRINE_COMPUTE_CUDA_PAGED_DECODE_CUH
#define TRINE_COMPUTE_CUDA_PAGED_DECODE_CUH

#include "compute/cuda/kernels/head.cuh"
#include "compute/cuda/kernels/norm.cuh"
#include "compute/cuda/kernels/paged_place.cuh"

// A head of `head_dim` floats at x, in shared memory, normed where gamma is there and turned by the
// row's angles, by a whole warp. Each value goes to put(column, value).
template <typename PUT>
static __device__ __forceinline__ void
gpu_decode_head(const float *x, int head_dim, const float *gamma, float eps, const float *cosines,
                const float *sines, PUT put) {
    const int half = head_dim / 2;
    float scale = 1.0F;
    if (gamma)
        scale = gpu_norm_scale(gpu_norm_sum_by_warp(x, (size_t)head_dim), (size_t)head_dim, eps);
    for (int i = (int)threadIdx.x % 32; i < half; i += 32) {
        float a = x[i], b = x[half + i];
        if (gamma) {
            a = a * scale * gamma[i];
            b = b * scale * gamma[half + i];
        }
        float y, z;
        gpu_turn_pair(a, b, cosines[i], sines[i], &y, &z);
        put(i, y);
        put(half + i, z);
    }
}

#endif
