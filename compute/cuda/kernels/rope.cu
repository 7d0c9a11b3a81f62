// Positions: rope's tables, and heads normed and turned. See kernels.h.
#include "compute/cuda/kernels/head.cuh"
#include "compute/cuda/kernels/norm.cuh"
#include "compute/cuda/kernels/vector.cuh"

enum { THREADS = 256 };

// ---- the tables

// One number of each, a thread. The product is rounded before it is an angle, as transformers has
// it: at far positions that is what the angle is.
static __global__ void __launch_bounds__(THREADS)
    rope_table_kernel(const struct gpu_rope_table a, unsigned half) {
    size_t all = a.cos.rows * half;
    for (size_t i = (size_t)blockIdx.x * THREADS + threadIdx.x; i < all;
         i += (size_t)gridDim.x * THREADS) {
        size_t n = i / half, at = i - n * half;
        float cosine, sine;
        sincosf(__fmul_rn((float)a.positions[n], a.inv_freq[at]), &sine, &cosine);
        ((float *)a.cos.data)[n * a.cos.ld + at] = cosine * a.scale;
        ((float *)a.sin.data)[n * a.sin.ld + at] = sine * a.scale;
    }
}

extern "C" void gpu_launch_rope_table(struct gpu_stream *s, const struct gpu_rope_table *a) {
    static constexpr size_t MOST_BLOCKS = 1 << 13;
    size_t blocks = gpu_ceil_div(a->cos.rows * a->cos.cols, THREADS);
    if (blocks == 0)
        return;
    GPU_READS(s, a->positions, a->cos.rows * sizeof *a->positions);
    GPU_READS(s, a->inv_freq, a->cos.cols * sizeof *a->inv_freq);
    GPU_WRITES_MAT(s, a->cos);
    GPU_WRITES_MAT(s, a->sin);
    GPU_LAUNCH(s, rope_table_kernel, (unsigned)(blocks < MOST_BLOCKS ? blocks : MOST_BLOCKS),
               THREADS, 0, *a, (unsigned)a->cos.cols);
}

// ---- turning

// A head is turned by `lanes` neighbouring threads of a warp, a power of two: each takes runs of
// both halves. Where all is f32 they are a whole warp, and take one value at a time: norm.cuh's
// order of a narrow row, which decoding steps give the same bits by.
struct turn_launch {
    struct gpu_turn a;
    unsigned lanes, heads; // of a row, q's and k's
    size_t all;            // heads of all rows
};

template <typename T> struct turn_run { static constexpr int values = gpu_run<T>::values; };
template <> struct turn_run<float> { static constexpr int values = 1; };

// A thread's runs [at, at + V) of both halves of a head.
template <typename T, int V, bool WHOLE> struct head_runs {
    float low[V], high[V];

    __device__ __forceinline__ void load(const T *head, unsigned at, unsigned half) {
        gpu_load<V, WHOLE>(head + at, half - at, low);
        gpu_load<V, WHOLE>(head + half + at, half - at, high);
    }
    __device__ __forceinline__ void store(T *head, unsigned at, unsigned half) const {
        gpu_store<V, WHOLE>(head + at, half - at, low);
        gpu_store<V, WHOLE>(head + half + at, half - at, high);
    }
    __device__ __forceinline__ float squares(float sum) const {
#pragma unroll
        for (int i = 0; i < V; i++)
            sum = fmaf(high[i], high[i], fmaf(low[i], low[i], sum));
        return sum;
    }
    __device__ __forceinline__ void norm(const float *gamma, float scale, unsigned at,
                                         unsigned half) {
        float g[V];
        gpu_load<V, WHOLE>(gamma + at, half - at, g);
#pragma unroll
        for (int i = 0; i < V; i++)
            low[i] = low[i] * scale * g[i];
        gpu_load<V, WHOLE>(gamma + half + at, half - at, g);
#pragma unroll
        for (int i = 0; i < V; i++)
            high[i] = high[i] * scale * g[i];
    }
    __device__ __forceinline__ void turn(const float *cosines, const float *sines, unsigned at,
                                         unsigned half) {
        float c[V], s[V];
        gpu_load<V, WHOLE>(cosines + at, half - at, c);
        gpu_load<V, WHOLE>(sines + at, half - at, s);
#pragma unroll
        for (int i = 0; i < V; i++) {
            float x = low[i];
            gpu_turn_pair(x, high[i], c[i], s[i], &low[i], &high[i]);
        }
    }
};

template <typename T, bool WHOLE>
static __global__ void __launch_bounds__(THREADS) turn_kernel(const struct turn_launch t) {
    constexpr unsigned V = turn_run<T>::values;
    const struct gpu_turn &a = t.a;
    const unsigned half = (unsigned)a.head_dim / 2, lane = threadIdx.x % t.lanes;
    const unsigned step = t.lanes * V, heads_a_block = THREADS / t.lanes;
    size_t i = (size_t)blockIdx.x * heads_a_block + threadIdx.x / t.lanes;
    bool mine = i < t.all; // the others meet their warp
    i = mine ? i : 0;
    size_t n = i / t.heads;
    unsigned h = (unsigned)(i - n * t.heads), first = mine ? lane * V : half;
    T *head = (T *)a.qk.data + n * a.qk.ld + h * a.head_dim;
    const float *gamma = h < a.heads ? a.q_norm : a.k_norm;
    const float *cosines = (const float *)a.cos.data + n * a.cos.ld;
    const float *sines = (const float *)a.sin.data + n * a.sin.ld;
    struct head_runs<T, V, WHOLE> x = {};
    if (first < half)
        x.load(head, first, half);
    float scale = 1.0F;
    if (a.q_norm) {
        float sum = 0.0F;
        if (V == 1) {
            sum = gpu_norm_sum_by_warp(head, a.head_dim);
            __syncwarp();
        } else {
            if (first < half)
                sum = x.squares(sum);
            for (unsigned at = first + step; at < half; at += step) {
                x.load(head, at, half);
                sum = x.squares(sum);
            }
            for (unsigned by = t.lanes / 2; by > 0; by /= 2)
                sum += __shfl_xor_sync(0xffffffffU, sum, (int)by);
        }
        scale = gpu_norm_scale(sum, a.head_dim, a.eps);
    }
    for (unsigned at = first; at < half; at += step) {
        if (step < half) // more runs than one: they are not held
            x.load(head, at, half);
        if (gamma)
            x.norm(gamma, scale, at, half);
        x.turn(cosines, sines, at, half);
        x.store(head, at, half);
    }
}

template <typename T>
static void launch(struct gpu_stream *s, const struct gpu_turn *a, struct gpu_mat turned) {
    constexpr size_t values = turn_run<T>::values;
    size_t heads = a->heads + a->kv_heads, half = a->head_dim / 2;
    unsigned lanes = values == 1 ? 32 : 1;
    while (lanes < 32 && lanes * values < half)
        lanes *= 2;
    struct turn_launch t = {*a, lanes, (unsigned)heads, a->qk.rows * heads};
    unsigned blocks = (unsigned)gpu_ceil_div(t.all, THREADS / lanes);
    GPU_READS_MAT(s, a->cos);
    GPU_READS_MAT(s, a->sin);
    GPU_READS(s, a->q_norm, a->head_dim * sizeof(float));
    GPU_READS(s, a->k_norm, a->head_dim * sizeof(float));
    GPU_WRITES_MAT(s, turned);
    if (values == 1 || (half % values == 0 && gpu_rows_aligned(turned) &&
                        gpu_rows_aligned(a->cos) && gpu_rows_aligned(a->sin) &&
                        gpu_floats_aligned(a->q_norm) && gpu_floats_aligned(a->k_norm)))
        GPU_LAUNCH(s, (turn_kernel<T, true>), blocks, THREADS, 0, t);
    else
        GPU_LAUNCH(s, (turn_kernel<T, values == 1>), blocks, THREADS, 0, t);
}

extern "C" void gpu_launch_turn(struct gpu_stream *s, const struct gpu_turn *a) {
    struct gpu_mat turned = a->qk;
    turned.cols = (a->heads + a->kv_heads) * a->head_dim;
    if (turned.rows > 0 && turned.cols > 0)
        GPU_BY_TYPE(turned.type, launch<T>(s, a, turned));
}

extern "C" void gpu_launch_rope(struct gpu_stream *s, const struct gpu_rope *a) {
    struct gpu_turn t = {a->x, a->cos, a->sin, a->heads, 0, a->head_dim, NULL, NULL, 0.0F};
    gpu_launch_turn(s, &t);
}
