// The product of a few rows of x, as f32 arithmetic, of any format of weights. Role: the kernel
// that linear_few_*.cu compile for their formats; matrix units do it for narrow types
// (few_mma.cuh). A warp has OUTS outputs at a time (of swiglu the gate and the up of one), and
// streams their rows: four steps of 256 values are loaded at once, the next four while these are
// multiplied. x lies in shared memory as f32, normed if it is to be, in pieces where it is long.
#ifndef TRINE_COMPUTE_CUDA_FEW_CUH
#define TRINE_COMPUTE_CUDA_FEW_CUH

#include "compute/cuda/kernels/blocks.cuh"
#include "compute/cuda/kernels/math.cuh"
#include "compute/cuda/kernels/norm.cuh"

enum {
    GPU_FEW_WARPS = 8,
    GPU_FEW_THREADS = 32 * GPU_FEW_WARPS,
    GPU_FEW_SHARED = 40 << 10, // bytes of x at once
    GPU_FEW_FOUR = 4 * GPU_STEP,
#ifdef __CUDACC__
    GPU_FEW_BLOCKS = 1056, // at most, about: eight for each processor of a large card
#else
    GPU_FEW_BLOCKS = 48, // so that warps of small tests have more than one turn
#endif
};

// Values of a row that are in shared memory at once: all, or whole fours of steps.
static GPU_BOTH size_t gpu_few_piece(size_t in, size_t rows, size_t size) {
    size_t most = GPU_FEW_SHARED / size / rows;
    size_t all = (in + GPU_RUN - 1) / GPU_RUN * GPU_RUN;
    return all <= most ? all : most / GPU_FEW_FOUR * GPU_FEW_FOUR;
}

// What a kernel is given beside struct gpu_few.
struct gpu_few_plan {
    size_t piece;   // gpu_few_piece
    size_t turns;   // times OUTS outputs that a warp has, one after the other
    size_t pair;    // from a warp's output to its next one: 1, or swiglu's out / 2
    size_t outputs; // of a row of y
};

static __device__ __forceinline__ float gpu_few_x(const struct gpu_mat &x, size_t row, size_t k) {
    size_t at = row * x.ld + k;
    return x.type == GPU_F32    ? ((const float *)x.data)[at]
           : x.type == GPU_BF16 ? gpu_widen(((const gpu_bf16 *)x.data)[at])
                                : gpu_widen(((const gpu_f16 *)x.data)[at]);
}

static __device__ __forceinline__ void gpu_few_put(const struct gpu_mat &y, size_t row, size_t col,
                                                   float v) {
    size_t at = row * y.ld + col;
    if (y.type == GPU_F32)
        ((float *)y.data)[at] = v;
    else if (y.type == GPU_BF16)
        ((gpu_bf16 *)y.data)[at] = gpu_narrow<gpu_bf16>(v);
    else
        ((gpu_f16 *)y.data)[at] = gpu_narrow<gpu_f16>(v);
}

// The norm's scale of each row into scales[]; all threads of the block.
static __device__ __forceinline__ void gpu_few_scales(const struct gpu_few &a, float *scales,
                                                      float *sums) {
    for (size_t r = 0; r < a.x.rows; r++) {
        size_t at = r * a.x.ld;
        float sum = a.x.type == GPU_F32 ? gpu_norm_sum((const float *)a.x.data + at, a.w.in, sums)
                    : a.x.type == GPU_BF16
                        ? gpu_norm_sum((const gpu_bf16 *)a.x.data + at, a.w.in, sums)
                        : gpu_norm_sum((const gpu_f16 *)a.x.data + at, a.w.in, sums);
        if (threadIdx.x == 0)
            scales[r] = gpu_norm_scale(sum, a.w.in, a.eps);
        __syncthreads();
    }
}

// Values [from, from + count) of x's rows to shared memory, rows of `piece`; zeros behind them.
template <int ROWS>
static __device__ __forceinline__ void gpu_few_stage(const struct gpu_few &a, size_t from,
                                                     size_t count, size_t piece,
                                                     const float *scales, float *xs) {
    for (size_t r = 0; r < ROWS; r++)
        for (size_t i = threadIdx.x; i < count; i += GPU_FEW_THREADS) {
            size_t k = from + i;
            float v = r < a.x.rows && k < a.w.in ? gpu_few_x(a.x, r, k) : 0.0f;
            if (a.gamma && k < a.w.in)
                v = v * (r < a.x.rows ? scales[r] : 0.0f) * a.gamma[k];
            xs[r * piece + i] = v;
        }
}

// One step's run of each output against each row of x, at xs.
template <int F, int ROWS, int OUTS>
static __device__ __forceinline__ void gpu_few_run(const gpu_kept_run<F> (&runs)[OUTS],
                                                   const float *xs, size_t piece,
                                                   float (&acc)[OUTS][ROWS]) {
    float w[OUTS][GPU_RUN];
#pragma unroll
    for (int j = 0; j < OUTS; j++)
        gpu_run_values<F>(runs[j], w[j]);
#pragma unroll
    for (int r = 0; r < ROWS; r++) {
        float4 a = *(const float4 *)(const void *)(xs + (size_t)r * piece);
        float4 b = *(const float4 *)(const void *)(xs + (size_t)r * piece + 4);
        float x[GPU_RUN] = {a.x, a.y, a.z, a.w, b.x, b.y, b.z, b.w};
#pragma unroll
        for (int j = 0; j < OUTS; j++)
#pragma unroll
            for (int i = 0; i < GPU_RUN; i++)
                acc[j][r] = fmaf(w[j][i], x[i], acc[j][r]);
    }
}

// A warp's outputs over values [from, from + count) of their rows, which lie in xs.
template <int F, int ROWS, int OUTS>
static __device__ __forceinline__ void
gpu_few_walk(const struct gpu_few &a, const unsigned char *const (&q)[OUTS],
             const unsigned char *const (&s)[OUTS], size_t from, size_t count, size_t piece,
             const float *xs, float (&acc)[OUTS][ROWS]) {
    int lane = (int)(threadIdx.x % 32);
    size_t begin = from / GPU_RUN, end = begin + (count + GPU_RUN - 1) / GPU_RUN;
    size_t whole = begin + count / GPU_FEW_FOUR * (4 * GPU_STEP_RUNS);
    gpu_four<F> now[OUTS];
    if (begin < whole)
#pragma unroll
        for (int j = 0; j < OUTS; j++)
            gpu_four_load<F>(q[j], s[j], a.w.in, begin, lane, &now[j]);
    for (size_t first = begin; first < whole; first += 4 * GPU_STEP_RUNS) {
        gpu_four<F> next[OUTS];
        size_t then = first + 4 * GPU_STEP_RUNS < whole ? first + 4 * GPU_STEP_RUNS : first;
#pragma unroll
        for (int j = 0; j < OUTS; j++)
            gpu_four_load<F>(q[j], s[j], a.w.in, then, lane, &next[j]);
#pragma unroll
        for (int step = 0; step < 4; step++) {
            gpu_kept_run<F> runs[OUTS];
#pragma unroll
            for (int j = 0; j < OUTS; j++)
                runs[j] = gpu_four_run<F>(now[j], step);
            size_t run = first - begin + (size_t)(GPU_STEP_RUNS * step + lane);
            gpu_few_run<F, ROWS, OUTS>(runs, xs + run * GPU_RUN, piece, acc);
        }
#pragma unroll
        for (int j = 0; j < OUTS; j++)
            now[j] = next[j];
    }
    // what is no four of whole steps, run by run
    for (size_t run = whole + (size_t)lane; run < end; run += GPU_STEP_RUNS) {
        gpu_kept_run<F> runs[OUTS];
#pragma unroll
        for (int j = 0; j < OUTS; j++)
            gpu_run_load<F>(q[j], s[j], a.w.in, run, &runs[j]);
        gpu_few_run<F, ROWS, OUTS>(runs, xs + (run - begin) * GPU_RUN, piece, acc);
    }
}

// One number of y from its sum (and the one of up).
static __device__ __forceinline__ void gpu_few_finish(const struct gpu_few &a, size_t row,
                                                      size_t out, size_t up, float sum,
                                                      float up_sum) {
    float v = sum + (a.bias ? a.bias[out] : 0.0f);
    bool exact = a.y.type == GPU_F32;
    if (a.swiglu) {
        float u = up_sum + (a.bias ? a.bias[up] : 0.0f);
        v = (exact ? gpu_silu<float>(v) : gpu_silu<gpu_bf16>(v)) * u;
    } else {
        v = exact ? gpu_activate<float>(a.activation, v) : gpu_activate<gpu_bf16>(a.activation, v);
    }
    if (a.residual.data)
        v += gpu_few_x(a.residual, row, out);
    gpu_few_put(a.y, row, out, v);
}

template <int F, int ROWS, int OUTS>
__global__ void __launch_bounds__(GPU_FEW_THREADS, ROWS == 1 && F != GPU_FORMAT_F32 ? 2 : 1)
    gpu_few_kernel(struct gpu_few a, struct gpu_few_plan plan) {
    GPU_SHARED(shared);
    float *sums = (float *)(void *)shared, *scales = sums + GPU_NORM_WARPS;
    float *xs = scales + GPU_FEW_ROWS;
    int warp = (int)(threadIdx.x / 32), lane = (int)(threadIdx.x % 32);
    if (a.gamma)
        gpu_few_scales(a, scales, sums);
    size_t length = (a.w.in + GPU_RUN - 1) / GPU_RUN * GPU_RUN;
    for (size_t turn = 0; turn < plan.turns; turn++) {
        size_t unit = (blockIdx.x * plan.turns + turn) * GPU_FEW_WARPS + (size_t)warp;
        size_t first = a.swiglu ? unit : unit * OUTS;
        const unsigned char *q[OUTS], *s[OUTS];
        float acc[OUTS][ROWS];
#pragma unroll
        for (int j = 0; j < OUTS; j++) {
            size_t out = first + (size_t)j * plan.pair; // one past the end reads the first
            out = first < plan.outputs && out < a.w.out ? out : 0;
            q[j] = (const unsigned char *)a.w.quants + out * a.w.quant_row_bytes;
            s[j] = (const unsigned char *)a.w.scales + out * a.w.scale_row_bytes;
#pragma unroll
            for (int r = 0; r < ROWS; r++)
                acc[j][r] = 0.0f;
        }
        for (size_t from = 0; from < length; from += plan.piece) {
            size_t count = length - from < plan.piece ? length - from : plan.piece;
            if (turn == 0 || count < length) {
                __syncthreads();
                gpu_few_stage<ROWS>(a, from, count, plan.piece, scales, xs);
                __syncthreads();
            }
            if (first < plan.outputs)
                gpu_few_walk<F, ROWS, OUTS>(a, q, s, from, count, plan.piece, xs, acc);
        }
        // each number's lane finishes it
        float sum = 0.0f, up_sum = 0.0f;
#pragma unroll
        for (int j = 0; j < OUTS; j++)
#pragma unroll
            for (int r = 0; r < ROWS; r++) {
                float all = gpu_warp_sum(acc[j][r]);
                if (a.swiglu) {
                    if (lane == r && j == 0)
                        sum = all;
                    if (lane == r && j == 1)
                        up_sum = all;
                } else if (lane == j * ROWS + r) {
                    sum = all;
                }
            }
        size_t row = (size_t)(lane % ROWS), j = a.swiglu ? 0 : (size_t)(lane / ROWS);
        size_t out = first + j;
        if (lane < (a.swiglu ? ROWS : OUTS * ROWS) && row < a.x.rows && out < plan.outputs)
            gpu_few_finish(a, row, out, out + plan.pair, sum, up_sum);
    }
}

static inline void gpu_few_touches(struct gpu_stream *s, const struct gpu_few *a) {
    GPU_READS(s, a->w.quants, a->w.out * a->w.quant_row_bytes);
    if (a->w.scales)
        GPU_READS(s, a->w.scales, a->w.out * a->w.scale_row_bytes);
    if (a->bias)
        GPU_READS(s, a->bias, a->w.out * sizeof(float));
    if (a->gamma)
        GPU_READS(s, a->gamma, a->w.in * sizeof(float));
    if (a->residual.data)
        GPU_READS_MAT(s, a->residual);
    GPU_READS_MAT(s, a->x);
    GPU_WRITES_MAT(s, a->y);
    (void)s, (void)a;
}

template <int F, int ROWS, int OUTS>
static void gpu_few_launch(struct gpu_stream *s, const struct gpu_few *a) {
    size_t outputs = a->swiglu ? a->w.out / 2 : a->w.out;
    size_t units = a->swiglu ? outputs : (outputs + OUTS - 1) / OUTS;
    size_t each = (size_t)GPU_FEW_WARPS * GPU_FEW_BLOCKS;
    struct gpu_few_plan plan = {gpu_few_piece(a->w.in, ROWS, sizeof(float)),
                                (units + each - 1) / each, a->swiglu ? outputs : 1, outputs};
    size_t per_block = GPU_FEW_WARPS * plan.turns;
    size_t shared = (GPU_NORM_WARPS + GPU_FEW_ROWS + ROWS * plan.piece) * sizeof(float);
    gpu_few_touches(s, a);
    GPU_LAUNCH(s, (gpu_few_kernel<F, ROWS, OUTS>), (unsigned)((units + per_block - 1) / per_block),
               GPU_FEW_THREADS, shared, *a, plan);
}

// The launch of one format; rows of x and of y are a multiple of nothing.
template <int F> static void gpu_few_of(struct gpu_stream *s, const struct gpu_few *a) {
    if (a->x.rows > 4)
        gpu_few_launch<F, 8, 2>(s, a);
    else if (a->x.rows > 2)
        gpu_few_launch<F, 4, 2>(s, a);
    else if (a->x.rows == 2)
        gpu_few_launch<F, 2, 2>(s, a);
    else if (a->swiglu)
        gpu_few_launch<F, 1, 2>(s, a);
    else
        gpu_few_launch<F, 1, 1>(s, a);
}

#endif
