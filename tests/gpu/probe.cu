// Tiny kernels that the emulated GPU's own test launches.
#include "compute/cuda/kernels/dialect.cuh"
#include "tests/gpu/probe.h"

template <typename T> __global__ void scale_rows(struct gpu_mat x, float by) {
    T *row = (T *)x.data + blockIdx.x * x.ld;
    for (size_t c = threadIdx.x; c < x.cols; c += blockDim.x)
        row[c] = gpu_narrow<T>(gpu_widen(row[c]) * by);
}
void probe_scale(struct gpu_stream *s, struct gpu_mat x, float by) {
    GPU_READS_MAT(s, x);
    GPU_WRITES_MAT(s, x);
    GPU_BY_TYPE(x.type, GPU_LAUNCH(s, scale_rows<T>, x.rows, 64, 0, x, by));
}

// out[0] = the sum of x [n] over a block of 128 threads: through warps, then shared memory.
__global__ void sum_block(const float *x, size_t n, float *out) {
    GPU_SHARED(shared);
    float *warps = (float *)shared;
    float sum = 0;
    for (size_t i = threadIdx.x; i < n; i += blockDim.x)
        sum += x[i];
    sum = gpu_warp_sum(sum);
    if (threadIdx.x % 32 == 0)
        warps[threadIdx.x / 32] = sum;
    __syncthreads();
    if (threadIdx.x == 0)
        *out = warps[0] + warps[1] + warps[2] + warps[3];
}
void probe_sum(struct gpu_stream *s, const float *x, size_t n, float *out) {
    GPU_READS(s, x, n * sizeof *x);
    GPU_WRITES(s, out, sizeof *out);
    GPU_LAUNCH(s, sum_block, 1, 128, 4 * sizeof(float), x, n, out);
}
