// The rms norm of a row, as every kernel that norms does it, so that a row's bits are the same
// whether it was normed by a kernel of its own or by the product that reads it. Role: the order of
// the sum of squares, and the formula. Up to 256 values lane l of a warp takes those number l,
// l + 32, l + 64 ... in their order with fmaf, and the lanes are added by halves (16, 8, 4, 2, 1).
// Of more, the run of 8 values number r belongs to chain r % 256, a chain takes its values in their
// order with fmaf, each 32 neighbouring chains are added by halves, and the eight sums in order.
#ifndef TRINE_COMPUTE_CUDA_NORM_CUH
#define TRINE_COMPUTE_CUDA_NORM_CUH

#include "compute/cuda/kernels/dialect.cuh"

enum { GPU_NORM_CHAINS = 256, GPU_NORM_WARPS = GPU_NORM_CHAINS / 32, GPU_NORM_NARROW = 256 };

// One chain's part of the n values at x; a warp's lane's where n is at most GPU_NORM_NARROW.
template <typename T>
static __device__ __forceinline__ float gpu_norm_chain(const T *x, size_t n, int chain) {
    float sum = 0;
    if (n <= GPU_NORM_NARROW) {
        for (size_t i = (size_t)chain % 32; i < n; i += 32) {
            float v = gpu_widen(x[i]);
            sum = fmaf(v, v, sum);
        }
        return sum;
    }
    for (size_t at = (size_t)chain * 8; at < n; at += (size_t)GPU_NORM_CHAINS * 8)
        for (size_t i = at; i < at + 8 && i < n; i++) {
            float v = gpu_widen(x[i]);
            sum = fmaf(v, v, sum);
        }
    return sum;
}

// For a block of GPU_NORM_CHAINS threads, all of which call it (`sums`: GPU_NORM_WARPS floats of
// shared memory, free again when all have met once more): each has the row's sum.
template <typename T>
static __device__ __forceinline__ float gpu_norm_sum(const T *x, size_t n, float *sums) {
    float mine = gpu_warp_sum(gpu_norm_chain(x, n, (int)threadIdx.x));
    if (threadIdx.x % 32 == 0)
        sums[threadIdx.x / 32] = mine;
    __syncthreads();
    float sum = sums[0];
    for (int i = 1; i < GPU_NORM_WARPS && n > GPU_NORM_NARROW; i++)
        sum += sums[i];
    return sum;
}

// For one warp, whatever n is.
template <typename T>
static __device__ __forceinline__ float gpu_norm_sum_by_warp(const T *x, size_t n) {
    int lane = (int)(threadIdx.x % 32);
    float sum = gpu_warp_sum(gpu_norm_chain(x, n, lane));
    for (int i = 1; i < GPU_NORM_WARPS && n > GPU_NORM_NARROW; i++)
        sum += gpu_warp_sum(gpu_norm_chain(x, n, 32 * i + lane));
    return sum;
}

// What a row's values are multiplied with before gamma: y = (x * scale) * gamma.
static __device__ __forceinline__ float gpu_norm_scale(float sum, size_t n, float eps) {
    return 1.0f / sqrtf(sum / (float)n + eps);
}

#endif
