// Tiny kernels that the emulated GPU's own tests launch: right ones, and ones with one fault each.
#include "compute/cuda/kernels/dialect.cuh"
#include "tests/gpu/probe.h"

enum { THREADS = 128 };

template <typename T> static __global__ void scale_rows(struct gpu_mat x, float by) {
    T *row = (T *)x.data + blockIdx.x * x.ld;
    for (size_t c = threadIdx.x; c < x.cols; c += blockDim.x)
        row[c] = gpu_narrow<T>(gpu_widen(row[c]) * by);
}
void probe_scale(struct gpu_stream *s, struct gpu_mat x, float by) {
    GPU_READS_MAT(s, x);
    GPU_WRITES_MAT(s, x);
    GPU_BY_TYPE(x.type, GPU_LAUNCH(s, scale_rows<T>, (unsigned)x.rows, 64, 0, x, by));
}

// The block's sum, through warps and then shared memory; blocks add theirs, and the last one to be
// done tells: what paged attention and others rely on.
static __global__ void sum_blocks(const float *x, size_t n, float *parts, unsigned *done,
                                  float *out) {
    GPU_SHARED(shared);
    float *warps = (float *)shared;
    unsigned *last = (unsigned *)(warps + THREADS / 32);
    float sum = 0;
    for (size_t i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x)
        sum += x[i];
    sum = gpu_warp_sum(sum);
    if (threadIdx.x % 32 == 0)
        warps[threadIdx.x / 32] = sum;
    __syncthreads();
    if (threadIdx.x == 0) {
        parts[blockIdx.x] = warps[0] + warps[1] + warps[2] + warps[3];
        __threadfence();
        *last = atomicAdd(done, 1U) == gridDim.x - 1;
    }
    __syncthreads();
    if (!*last || threadIdx.x != 0)
        return;
    sum = 0;
    for (unsigned i = 0; i < gridDim.x; i++)
        sum += parts[i];
    *out = sum;
    *done = 0;
}
void probe_sum(struct gpu_stream *s, const float *x, size_t n, float *parts, unsigned *done,
               float *out) {
    GPU_READS(s, x, n * sizeof *x);
    GPU_WRITES(s, parts, PROBE_SUM_BLOCKS * sizeof *parts);
    GPU_READS(s, done, sizeof *done);
    GPU_WRITES(s, done, sizeof *done);
    GPU_WRITES(s, out, sizeof *out);
    GPU_LAUNCH(s, sum_blocks, PROBE_SUM_BLOCKS, THREADS, 5 * sizeof(float), x, n, parts, done, out);
}

// y[i] = x[n - 1 - i] within a block, through shared memory.
static __global__ void turn_block(const float *x, float *y, enum probe_fault fault) {
    GPU_SHARED(shared);
    float *kept = (float *)shared;
    unsigned t = threadIdx.x, n = blockDim.x;
    if (fault == PROBE_SHARED_BEYOND && t == 0)
        kept[n] = 1;
    kept[t] = x[t];
    if (fault == PROBE_SOME_AT_BARRIER ? t < 64 : fault != PROBE_NO_BARRIER)
        __syncthreads();
    y[t] = kept[n - 1 - t];
    if (fault == PROBE_WRITE_BEYOND && t == 0)
        y[n] = 1;
    if (fault == PROBE_WRITE_BEFORE && t == 0)
        y[-1] = 1;
}
void probe_turn(struct gpu_stream *s, const float *x, float *y, enum probe_fault fault) {
    if (fault != PROBE_UNDECLARED)
        GPU_READS(s, x, THREADS * sizeof *x);
    GPU_WRITES(s, y, THREADS * sizeof *y);
    size_t shared = fault == PROBE_SHARED_ABSENT ? 300 * 1024 : THREADS * sizeof *x;
    GPU_LAUNCH(s, turn_block, 1, THREADS, shared, x, y, fault);
}

// As turn_block, each warp by itself, with a meeting of its lanes only.
static __global__ void turn_warps(const float *x, float *y, enum probe_fault fault) {
    GPU_SHARED(shared);
    float *kept = (float *)shared;
    unsigned t = threadIdx.x, lane = t % 32;
    kept[t] = x[t];
    if (fault != PROBE_NO_BARRIER)
        __syncwarp();
    float v = kept[t - lane + 31 - lane];
    if (fault == PROBE_LANE_AWAY && t == 70)
        return;
    if (fault == PROBE_LANES_APART && lane < 16)
        v = __ballot_sync(0xffffffffU, 1) ? v : 0;
    else
        v = __shfl_sync(0xffffffffU, v, (int)lane);
    y[t] = v;
}
void probe_turn_warps(struct gpu_stream *s, const float *x, float *y, enum probe_fault fault) {
    GPU_READS(s, x, THREADS * sizeof *x);
    GPU_WRITES(s, y, THREADS * sizeof *y);
    GPU_LAUNCH(s, turn_warps, 1, THREADS, THREADS * sizeof *x, x, y, fault);
}

// Each thread counts its own place up, at y[its number in the grid].
static __global__ void count_places(int *y) {
    unsigned block = blockIdx.x + gridDim.x * (blockIdx.y + gridDim.y * blockIdx.z);
    unsigned thread = threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z);
    y[block * blockDim.x * blockDim.y * blockDim.z + thread]++;
}
void probe_places(struct gpu_stream *s, int *y, size_t bytes) {
    GPU_READS(s, y, bytes);
    GPU_WRITES(s, y, bytes);
    GPU_LAUNCH(s, count_places, dim3(2, 3, 4), dim3(5, 2, 3), 0, y);
}

// Collectives of a warp: y[32 k + lane] for each k of PROBE_COLLECTIVES.
static __global__ void meet_in_warp(int *y) {
    int lane = (int)threadIdx.x;
    unsigned all = 0xffffffffU;
    int k = 0;
    y[32 * k++ + lane] = __shfl_sync(all, lane, lane / 8 + 3);
    y[32 * k++ + lane] = __shfl_sync(all, lane, 9, 8);
    y[32 * k++ + lane] = __shfl_xor_sync(all, lane, 5);
    y[32 * k++ + lane] = __shfl_down_sync(all, lane, 3);
    y[32 * k++ + lane] = __shfl_up_sync(all, lane, 3, 16);
    y[32 * k++ + lane] = (int)__ballot_sync(all, lane % 3 == 0);
    y[32 * k++ + lane] = (int)__reduce_add_sync(all, (unsigned)lane);
    y[32 * k++ + lane] = (int)__reduce_max_sync(all, (unsigned)(lane * 7 % 32));
    y[32 * k++ + lane] = (int)__match_any_sync(all, (unsigned)lane % 5);
    unsigned half = lane < 16 ? 0x0000ffffU : 0xffff0000U;
    y[32 * k++ + lane] = __shfl_xor_sync(half, lane, 1);
    y[32 * k++ + lane] = __syncthreads_count(lane < 5);
    int pair[2] = {lane, -lane}, pairs[32][2];
    gpu_warp_gather(pair, sizeof pair, pairs);
    y[32 * k++ + lane] = pairs[31 - lane][1];
}
void probe_collectives(struct gpu_stream *s, int *y) {
    GPU_WRITES(s, y, (size_t)32 * PROBE_COLLECTIVES * sizeof *y);
    GPU_LAUNCH(s, meet_in_warp, 1, 32, 0, y);
}

template <typename T> static __global__ void narrow_all(const float *x, T *y, size_t n) {
    size_t i = (size_t)blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n)
        y[i] = gpu_narrow<T>(x[i]);
}
template <typename T> static __global__ void widen_all(const T *x, float *y, size_t n) {
    size_t i = (size_t)blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n)
        y[i] = gpu_widen(x[i]);
}
void probe_convert(struct gpu_stream *s, float *wide, void *narrow, size_t n, enum gpu_type type,
                   int widen) {
    unsigned blocks = (unsigned)((n + 255) / 256);
    if (widen) {
        GPU_READS(s, narrow, n * 2);
        GPU_WRITES(s, wide, n * sizeof *wide);
        if (type == GPU_BF16)
            GPU_LAUNCH(s, widen_all<gpu_bf16>, blocks, 256, 0, (const gpu_bf16 *)narrow, wide, n);
        else
            GPU_LAUNCH(s, widen_all<gpu_f16>, blocks, 256, 0, (const gpu_f16 *)narrow, wide, n);
        return;
    }
    GPU_READS(s, wide, n * sizeof *wide);
    GPU_WRITES(s, narrow, n * 2);
    if (type == GPU_BF16)
        GPU_LAUNCH(s, narrow_all<gpu_bf16>, blocks, 256, 0, wide, (gpu_bf16 *)narrow, n);
    else
        GPU_LAUNCH(s, narrow_all<gpu_f16>, blocks, 256, 0, wide, (gpu_f16 *)narrow, n);
}
