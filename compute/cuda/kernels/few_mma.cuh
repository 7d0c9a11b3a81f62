// The product of a few rows of narrow x on matrix units. Role: what few.cuh does, where x is bf16
// or f16 and the weight is that, or blocks, whose values are rounded to it as for products of many
// rows. A block has 16 outputs (of swiglu the gates and ups of 8) and up to 8 rows of x at once, so
// that further rows cost nothing but their own memory. Its eight warps share out the inputs: of
// each 256 warp w has those of runs 4 w .. 4 w + 3, one for each of the four lanes that hold an
// output; inputs lie in a lane's fragments in its own order, in weights and x alike. The warps'
// sums are added in their order.
#ifndef TRINE_COMPUTE_CUDA_FEW_MMA_CUH
#define TRINE_COMPUTE_CUDA_FEW_MMA_CUH

#include "compute/cuda/kernels/few.cuh"
#include "compute/cuda/kernels/mma.cuh"

enum {
    GPU_FEW_TILE = 16,                          // outputs of a block
    GPU_FEW_SUMS = GPU_FEW_TILE * GPU_FEW_ROWS, // numbers that each warp gives
};

static __device__ __forceinline__ uint32_t gpu_few_pair(float a, float b, gpu_bf16) {
    __nv_bfloat162 v = __floats2bfloat162_rn(a, b);
    uint32_t bits;
    memcpy(&bits, &v, sizeof bits);
    return bits;
}
static __device__ __forceinline__ uint32_t gpu_few_pair(float a, float b, gpu_f16) {
    __half2 v = __floats2half2_rn(a, b);
    uint32_t bits;
    memcpy(&bits, &v, sizeof bits);
    return bits;
}

// A run as fragments: values 2 i and 2 i + 1 in word i.
template <int F, typename T>
static __device__ __forceinline__ void gpu_few_words(const gpu_kept_run<F> &r, uint32_t to[4]) {
    if (F == GPU_FORMAT_BF16 || F == GPU_FORMAT_F16) {
#pragma unroll
        for (int i = 0; i < 4; i++)
            to[i] = r.main[i % gpu_words<F>::count];
        return;
    }
    float v[GPU_RUN];
    gpu_run_values<F>(r, v);
#pragma unroll
    for (int i = 0; i < 4; i++)
        to[i] = gpu_few_pair(v[2 * i], v[2 * i + 1], T());
}

// Values of x's rows from `from` on to shared memory, as T; rows of `stride` values.
template <typename T>
static __device__ __forceinline__ void gpu_few_stage_narrow(const struct gpu_few &a, size_t from,
                                                            size_t count, size_t stride,
                                                            const float *scales, T *xs) {
    const T *x = (const T *)a.x.data;
    for (size_t r = 0; r < a.x.rows; r++)
        for (size_t i = threadIdx.x; i < count; i += GPU_FEW_THREADS) {
            size_t k = from + i;
            float v = k < a.w.in ? gpu_widen(x[r * a.x.ld + k]) : 0.0f;
            if (a.gamma && k < a.w.in)
                v = v * scales[r] * a.gamma[k];
            xs[r * stride + i] = gpu_narrow<T>(v);
        }
}

// 32 inputs of two outputs against x: the run of this lane in each of them.
template <int F, typename T>
static __device__ __forceinline__ void gpu_few_multiply(const gpu_kept_run<F> &upper,
                                                        const gpu_kept_run<F> &lower, uint4 x,
                                                        float sums[4]) {
    uint32_t u[4], l[4];
    gpu_few_words<F, T>(upper, u);
    gpu_few_words<F, T>(lower, l);
    uint32_t first[4] = {u[0], l[0], u[1], l[1]}, second[4] = {u[2], l[2], u[3], l[3]};
    gpu_mma(sums, first, x.x, x.y, T());
    gpu_mma(sums, second, x.z, x.w, T());
}

// This warp's part of a tile's sums over values [from, from + count), which lie in xs: rows from
// q[0] and q[1] on are the lane's two outputs. x: this lane's row of it, or NULL.
template <int F, typename T>
static __device__ __forceinline__ void gpu_few_tile(const struct gpu_few &a,
                                                    const unsigned char *const (&q)[2],
                                                    const unsigned char *const (&s)[2], size_t from,
                                                    size_t count, const T *x, float sums[4]) {
    size_t begin = from / GPU_RUN, end = begin + (count + GPU_RUN - 1) / GPU_RUN;
    size_t whole = begin + count / GPU_FEW_FOUR * (4 * GPU_STEP_RUNS);
    int place = (int)(threadIdx.x / 32 * 4 + threadIdx.x % 4); // of the run in a step
    const uint4 none = make_uint4(0, 0, 0, 0);
    gpu_four<F> now[2];
    if (begin < whole)
#pragma unroll
        for (int j = 0; j < 2; j++)
            gpu_four_load<F>(q[j], s[j], a.w.in, begin, place, &now[j]);
    for (size_t first = begin; first < whole; first += 4 * GPU_STEP_RUNS) {
        gpu_four<F> next[2];
        size_t then = first + 4 * GPU_STEP_RUNS < whole ? first + 4 * GPU_STEP_RUNS : first;
#pragma unroll
        for (int j = 0; j < 2; j++)
            gpu_four_load<F>(q[j], s[j], a.w.in, then, place, &next[j]);
#pragma unroll
        for (int step = 0; step < 4; step++) {
            size_t run = first - begin + (size_t)(GPU_STEP_RUNS * step + place);
            uint4 v = x ? *(const uint4 *)(const void *)(x + run * GPU_RUN) : none;
            gpu_few_multiply<F, T>(gpu_four_run<F>(now[0], step), gpu_four_run<F>(now[1], step), v,
                                   sums);
        }
#pragma unroll
        for (int j = 0; j < 2; j++)
            now[j] = next[j];
    }
    // what is no four of whole steps; all lanes come to the matrix units
    for (size_t first = whole; first < end; first += GPU_STEP_RUNS) {
        size_t run = first + (size_t)place;
        gpu_kept_run<F> upper = {}, lower = {};
        uint4 v = none;
        if (run < end) {
            gpu_run_load<F>(q[0], s[0], a.w.in, run, &upper);
            gpu_run_load<F>(q[1], s[1], a.w.in, run, &lower);
            if (x)
                v = *(const uint4 *)(const void *)(x + (run - begin) * GPU_RUN);
        }
        gpu_few_multiply<F, T>(upper, lower, v, sums);
    }
}

// Values from row to row of x in shared memory: 64 bytes off whole lines, so that eight rows' runs
// lie in different banks.
static GPU_BOTH size_t gpu_few_stride(size_t piece) { return (piece + 63) / 64 * 64 + 32; }

template <int F, typename T>
__global__ void __launch_bounds__(GPU_FEW_THREADS, 2)
    gpu_few_mma_kernel(struct gpu_few a, struct gpu_few_plan plan) {
    GPU_SHARED(shared);
    float *all = (float *)(void *)shared, *sums = all + GPU_FEW_WARPS * GPU_FEW_SUMS;
    float *scales = sums + GPU_NORM_WARPS;
    T *xs = (T *)(void *)(scales + GPU_FEW_ROWS);
    int warp = (int)(threadIdx.x / 32), lane = (int)(threadIdx.x % 32);
    if (a.gamma)
        gpu_few_scales(a, scales, sums);
    size_t length = (a.w.in + GPU_RUN - 1) / GPU_RUN * GPU_RUN, stride = gpu_few_stride(plan.piece);
    const T *x = (size_t)(lane / 4) < a.x.rows ? xs + (size_t)(lane / 4) * stride : (const T *)0;
    size_t each = a.swiglu ? GPU_FEW_TILE / 2 : GPU_FEW_TILE;
    for (size_t turn = 0; turn < plan.turns; turn++) {
        size_t first = (blockIdx.x * plan.turns + turn) * each;
        if (first >= plan.outputs)
            break; // the whole block
        const unsigned char *q[2], *s[2];
#pragma unroll
        for (int j = 0; j < 2; j++) {
            size_t out = first + (size_t)(lane / 4) + (size_t)j * plan.pair;
            out = out < a.w.out ? out : 0; // its sums are not looked at
            q[j] = (const unsigned char *)a.w.quants + out * a.w.quant_row_bytes;
            s[j] = (const unsigned char *)a.w.scales + out * a.w.scale_row_bytes;
        }
        float mine[4] = {0, 0, 0, 0};
        for (size_t from = 0; from < length; from += plan.piece) {
            size_t count = length - from < plan.piece ? length - from : plan.piece;
            if (turn == 0 || count < length) {
                __syncthreads();
                gpu_few_stage_narrow<T>(a, from, count, stride, scales, xs);
                __syncthreads();
            }
            gpu_few_tile<F, T>(a, q, s, from, count, x, mine);
        }
        float *to = all + warp * GPU_FEW_SUMS + lane / 4 * GPU_FEW_ROWS + lane % 4 * 2;
        to[0] = mine[0];
        to[1] = mine[1];
        to[GPU_FEW_SUMS / 2] = mine[2];
        to[GPU_FEW_SUMS / 2 + 1] = mine[3];
        __syncthreads();
        size_t row = threadIdx.x % GPU_FEW_ROWS, place = threadIdx.x / GPU_FEW_ROWS;
        if (place < each && row < a.x.rows && first + place < plan.outputs) {
            float sum = 0.0f, up_sum = 0.0f;
            for (int w = 0; w < GPU_FEW_WARPS; w++) {
                const float *from = all + w * GPU_FEW_SUMS + place * GPU_FEW_ROWS + row;
                sum += from[0];
                if (a.swiglu)
                    up_sum += from[GPU_FEW_SUMS / 2];
            }
            gpu_few_finish(a, row, first + place, first + place + plan.pair, sum, up_sum);
        }
        __syncthreads(); // the sums have been read
    }
}

template <int F, typename T>
static void gpu_few_mma_launch(struct gpu_stream *s, const struct gpu_few *a) {
    size_t outputs = a->swiglu ? a->w.out / 2 : a->w.out;
    size_t each = a->swiglu ? GPU_FEW_TILE / 2 : GPU_FEW_TILE;
    size_t tiles = (outputs + each - 1) / each;
    struct gpu_few_plan plan = {gpu_few_piece(a->w.in, a->x.rows, sizeof(T)),
                                (tiles + GPU_FEW_BLOCKS - 1) / GPU_FEW_BLOCKS,
                                a->swiglu ? outputs : GPU_FEW_TILE / 2, outputs};
    size_t shared = (GPU_FEW_WARPS * GPU_FEW_SUMS + GPU_NORM_WARPS + GPU_FEW_ROWS) * sizeof(float) +
                    a->x.rows * gpu_few_stride(plan.piece) * sizeof(T);
    gpu_few_touches(s, a);
    GPU_LAUNCH(s, (gpu_few_mma_kernel<F, T>), (unsigned)((tiles + plan.turns - 1) / plan.turns),
               GPU_FEW_THREADS, shared, *a, plan);
}

#endif
