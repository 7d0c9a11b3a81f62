// One vector for each sequence. See kernels.h.
#include "compute/cuda/kernels/norm.cuh"
#include "compute/cuda/kernels/vector.cuh"

enum { POOL_THREADS = GPU_NORM_CHAINS, POOL_WARPS = POOL_THREADS / 32 };
// Blocks of a processor at the same time, at least: told so, the compiler takes the registers that
// the rest leaves, and all of a thread's loads are on their way at once.
enum { POOL_BLOCKS = 4 };
// Columns that a block may keep until it has them all, in shared memory.
static constexpr size_t POOL_KEPT = 24 * 1024;

// Rows [from, to) of sequence s take part; none: from = to.
static __device__ __forceinline__ void pooled_rows(const struct gpu_pool &a, size_t s, size_t *from,
                                                   size_t *to) {
    *from = (size_t)a.cu_seqlens[s];
    *to = (size_t)a.cu_seqlens[s + 1];
    if (a.skip) {
        size_t skip = (size_t)a.skip[s];
        *from += skip < *to - *from ? skip : *to - *from;
    }
    if (*from == *to)
        return;
    if (a.mode == GPU_POOL_CLS)
        *to = *from + 1;
    if (a.mode == GPU_POOL_LAST)
        *from = *to - 1;
}

// NaN of either stays.
static __device__ __forceinline__ float pool_max(float most, float x) {
    return x > most || x != x ? x : most;
}

template <int V, bool MAX>
static __device__ __forceinline__ void pool_add(float *sum, const float *v) {
#pragma unroll
    for (int i = 0; i < V; i++)
        sum[i] = MAX ? pool_max(sum[i], v[i]) : sum[i] + v[i];
}

// Adds COUNT rows, POOL_WARPS apart, which are all asked for before one is looked at.
template <typename T, int V, bool MAX, int COUNT>
static __device__ __forceinline__ void pool_some(const T *x, size_t ld, float *sum) {
    struct gpu_kept<T, V> rows[COUNT];
#pragma unroll
    for (int j = 0; j < COUNT; j++)
        rows[j].load(x + (size_t)j * POOL_WARPS * ld);
#pragma unroll
    for (int j = 0; j < COUNT; j++) {
        float v[V];
#pragma unroll
        for (int i = 0; i < V; i++)
            v[i] = rows[j].at(i);
        pool_add<V, MAX>(sum, v);
    }
}

// Adds rows of x in their order: the warp's own number and every POOL_WARPS-th behind it.
template <typename T, int V, bool WHOLE, bool MAX>
static __device__ __forceinline__ void pool_rows(const T *x, size_t ld, size_t rows, unsigned left,
                                                 float *sum) {
    const unsigned warp = threadIdx.x / 32;
    const size_t step = POOL_WARPS * ld;
    size_t count = rows > warp ? (rows - warp - 1) / POOL_WARPS + 1 : 0;
    x += warp * ld;
#pragma unroll
    for (int i = 0; i < V; i++)
        sum[i] = MAX ? -INFINITY : 0.0F;
    if constexpr (WHOLE) {
        for (; count >= 8; count -= 8, x += 8 * step)
            pool_some<T, V, MAX, 8>(x, ld, sum);
        if (count & 4) {
            pool_some<T, V, MAX, 4>(x, ld, sum);
            x += 4 * step;
        }
        if (count & 2) {
            pool_some<T, V, MAX, 2>(x, ld, sum);
            x += 2 * step;
        }
        if (count & 1)
            pool_some<T, V, MAX, 1>(x, ld, sum);
    } else {
        for (; count > 0; count--, x += step) {
            float v[V];
            gpu_load<V, false>(x, left, v);
            pool_add<V, MAX>(sum, v);
        }
    }
}

// The result of one column from the warps' sums, which are added in their order: the order is that
// of the sequence's own length, whatever block has the tile.
template <bool MAX>
static __device__ __forceinline__ float pool_value(enum gpu_pool_mode mode, const float *sums,
                                                   unsigned apart, size_t rows) {
    float all = sums[0];
#pragma unroll
    for (unsigned w = 1; w < POOL_WARPS; w++)
        all = MAX ? pool_max(all, sums[w * apart]) : all + sums[w * apart];
    if (mode == GPU_POOL_MEAN)
        all /= (float)rows;
    if (mode == GPU_POOL_MEAN_SQRT)
        all /= sqrtf((float)rows);
    return rows ? all : 0.0F;
}

template <typename T> static __device__ __forceinline__ void put(void *row, size_t at, float x) {
    ((T *)row)[at] = gpu_narrow<T>(x);
}
static __device__ __forceinline__ void put_as(enum gpu_type type, void *row, size_t at, float x) {
    GPU_BY_TYPE(type, put<T>(row, at, x));
}

// The row's values by all threads, to length 1.
static __device__ __forceinline__ void pool_normalize(const float *row, unsigned cols, float *sums,
                                                      enum gpu_type type, void *out) {
    float squares = gpu_norm_sum(row, cols, sums);
    float scale = squares == 0.0F ? 1.0F : 1.0F / sqrtf(squares);
    for (unsigned at = threadIdx.x; at < cols; at += POOL_THREADS)
        put_as(type, out, at, row[at] * scale);
}

// A tile of columns is what 32 lanes load at once. One block has the tiles blockIdx.y, + gridDim.y,
// ...; all of them, if it is to normalize: `kept` then holds the row until it is whole.
template <typename T, bool WHOLE, bool MAX>
static __global__ void __launch_bounds__(POOL_THREADS, POOL_BLOCKS)
    pool_kernel(const struct gpu_pool a, unsigned tiles) {
    constexpr unsigned V = gpu_run<T>::values, WIDTH = 32 * V;
    GPU_SHARED(shared);
    float *sums = (float *)shared, *kept = sums + POOL_WARPS * WIDTH;
    const unsigned cols = (unsigned)a.x.cols, lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    const size_t s = blockIdx.x;
    void *out = (char *)a.out.data + s * a.out.ld * (a.out.type == GPU_F32 ? 4 : 2);
    size_t from, to;
    pooled_rows(a, s, &from, &to);
    for (unsigned tile = blockIdx.y; tile < tiles; tile += gridDim.y) {
        unsigned at = tile * WIDTH + lane * V;
        float sum[V];
        pool_rows<T, V, WHOLE, MAX>((const T *)a.x.data + from * a.x.ld + at, a.x.ld,
                                    at < cols ? to - from : 0, at < cols ? cols - at : 0, sum);
#pragma unroll
        for (unsigned i = 0; i < V; i++)
            sums[(warp * V + i) * 32 + lane] = sum[i];
        __syncthreads();
        if (warp < V && at + warp < cols) { // warp i has value i of each run
            float x = pool_value<MAX>(a.mode, sums + threadIdx.x, WIDTH, to - from);
            if (a.normalize)
                kept[at + warp] = x;
            else
                put_as(a.out.type, out, at + warp, x);
        }
        __syncthreads();
    }
    if (a.normalize)
        pool_normalize(kept, cols, sums, a.out.type, out);
    if (threadIdx.x == 0 && blockIdx.y == 0 && from == to)
        atomicMax(a.bad, 1 + (int32_t)s);
}

template <typename T> static void launch(struct gpu_stream *s, const struct gpu_pool &a, bool all) {
    constexpr unsigned width = 32 * gpu_run<T>::values;
    unsigned tiles = (unsigned)gpu_ceil_div(a.x.cols, width);
    dim3 grid((unsigned)a.seqs, all ? 1 : tiles);
    size_t shared = ((size_t)POOL_WARPS * width + (a.normalize ? a.x.cols : 0)) * sizeof(float);
    bool whole = a.x.cols % (size_t)gpu_run<T>::values == 0 && gpu_rows_aligned(a.x);
    GPU_READS_MAT(s, a.x);
    GPU_READS(s, a.cu_seqlens, (a.seqs + 1) * sizeof *a.cu_seqlens);
    GPU_READS(s, a.skip, a.seqs * sizeof *a.skip);
    GPU_READS(s, a.bad, sizeof *a.bad);
    GPU_WRITES_SOME(s, a.bad, sizeof *a.bad);
    GPU_WRITES_MAT(s, a.out);
    if (a.mode == GPU_POOL_MAX && whole)
        GPU_LAUNCH(s, (pool_kernel<T, true, true>), grid, POOL_THREADS, shared, a, tiles);
    else if (a.mode == GPU_POOL_MAX)
        GPU_LAUNCH(s, (pool_kernel<T, false, true>), grid, POOL_THREADS, shared, a, tiles);
    else if (whole)
        GPU_LAUNCH(s, (pool_kernel<T, true, false>), grid, POOL_THREADS, shared, a, tiles);
    else
        GPU_LAUNCH(s, (pool_kernel<T, false, false>), grid, POOL_THREADS, shared, a, tiles);
}

// Few long sequences: a block for each tile of columns reads faster than one for all of them. The
// norm is a launch of its own then, which of f32 gives the same bits.
extern "C" void gpu_launch_pool(struct gpu_stream *s, const struct gpu_pool *a) {
    if (a->seqs == 0 || a->x.cols == 0)
        return;
    bool one_row = a->mode == GPU_POOL_CLS || a->mode == GPU_POOL_LAST;
    bool long_ones = !one_row && a->seqs < 64 && a->x.rows / a->seqs >= 1024;
    struct gpu_pool pool = *a;
    pool.out.rows = a->seqs;
    pool.normalize = a->normalize && !long_ones && a->x.cols <= POOL_KEPT;
    GPU_BY_TYPE(a->x.type, launch<T>(s, pool, pool.normalize));
    if (a->normalize && !pool.normalize)
        gpu_launch_l2_normalize(s, pool.out);
}
