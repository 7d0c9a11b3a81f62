// Rows of tables summed, and normed where a model's embedding is. See kernels.h and norm_row.cuh.
#include "compute/cuda/kernels/blocks.cuh"
#include "compute/cuda/kernels/norm_row.cuh"

enum { TABLES = 3 };

struct embed_launch {
    struct gpu_embed a;
    struct norm_op op;
    int warps;
};

// The tables' rows for row n; one is -1 where there is none. All are asked for before one is looked
// at.
static __device__ __forceinline__ void embed_indices(const struct gpu_embed &a, size_t n,
                                                     int32_t *row) {
#pragma unroll
    for (int t = 0; t < TABLES; t++)
        row[t] = t < a.count ? a.index[t][n] : 0;
#pragma unroll
    for (int t = 0; t < TABLES; t++) {
        if (t >= a.count)
            break;
        size_t slot = (size_t)(-1 - (int64_t)row[t]);
        if (row[t] < 0 && a.drawn && slot < a.drawn_slots)
            row[t] = a.drawn[slot];
        if (row[t] >= 0 && (size_t)row[t] >= a.tables[t].out)
            row[t] = -1;
    }
}

// The sum of the tables' rows, as sources for norm_row: for tables of plain numbers and rows of
// whole runs, all loads at once; and for all others, a run at a time.
struct embed_rows {
    const struct gpu_embed &a;
    int32_t row[TABLES];
};

struct embed_plain : embed_rows {
    template <int V, int RUNS, typename W>
    static __device__ __forceinline__ void add(const W *w, unsigned at, unsigned step,
                                               unsigned cols, float *v) {
        struct gpu_kept<W, V> more[RUNS];
#pragma unroll
        for (int j = 0; j < RUNS; j++, at += step) {
            more[j].fill(gpu_narrow<W>(0.0F));
            if (at < cols)
                more[j].load(w + at);
        }
#pragma unroll
        for (int j = 0; j < RUNS; j++)
#pragma unroll
            for (int i = 0; i < V; i++)
                v[j * V + i] += more[j].at(i);
    }

    template <int V, int RUNS, bool WHOLE>
    __device__ __forceinline__ void load(unsigned at, unsigned step, unsigned cols,
                                         float *v) const {
#pragma unroll
        for (int i = 0; i < V * RUNS; i++)
            v[i] = 0.0F;
#pragma unroll
        for (int t = 0; t < TABLES; t++) {
            if (t >= a.count)
                break;
            const struct gpu_rows &w = a.tables[t];
            const void *p = (const char *)w.quants + (size_t)row[t] * w.quant_row_bytes;
            if (w.format == GPU_FORMAT_F32)
                add<V, RUNS>((const float *)p, at, step, cols, v);
            else if (w.format == GPU_FORMAT_BF16)
                add<V, RUNS>((const gpu_bf16 *)p, at, step, cols, v);
            else
                add<V, RUNS>((const gpu_f16 *)p, at, step, cols, v);
        }
    }
};

struct embed_any : embed_rows {
    template <int V, int RUNS, bool WHOLE>
    __device__ __forceinline__ void load(unsigned at, unsigned, unsigned cols, float *v) const {
        static_assert(V == NORM_RUN && RUNS == 1, "one run of blocks.cuh");
#pragma unroll
        for (int i = 0; i < V; i++)
            v[i] = 0.0F;
        if (at >= cols)
            return;
#pragma unroll
        for (int t = 0; t < TABLES; t++)
            if (t < a.count) {
                float more[V];
                gpu_rows_value8(&a.tables[t], (size_t)row[t], at, more);
#pragma unroll
                for (int i = 0; i < V; i++)
                    v[i] += more[i];
            }
    }
};

template <typename T, typename S, int RUNS, int CHAINS, bool WHOLE>
static __global__ void __launch_bounds__(GPU_NORM_CHAINS, NORM_BLOCKS)
    embed_kernel(const struct embed_launch e) {
    GPU_SHARED(shared);
    constexpr unsigned V = NORM_RUN;
    size_t n = norm_row_here(e.warps);
    if (n >= e.a.y.rows)
        return;
    const unsigned cols = (unsigned)e.a.y.cols, first = norm_thread_here(e.warps) * V;
    T *y = (T *)e.a.y.data + n * e.a.y.ld;
    S source = {{e.a, {0, 0, 0}}};
    embed_indices(e.a, n, source.row);
    if (source.row[0] < 0 || source.row[1] < 0 || source.row[2] < 0) { // all of the row's find so
        const float zeros[V] = {0.0F};
        for (unsigned at = first; at < cols; at += (unsigned)e.warps * 32 * V)
            gpu_store<V, WHOLE>(y + at, cols - at, zeros);
        if (first == 0)
            *e.a.bad = 1;
        return;
    }
    norm_row<V, RUNS, CHAINS, WHOLE, WHOLE>(source, e.op, y, cols, first, e.warps, (float *)shared);
}

static bool plain(const struct gpu_embed *a) {
    if (norm_lane_runs(a->y.cols) > NORM_LANE_RUNS || a->y.cols % NORM_RUN != 0 ||
        !gpu_rows_aligned(a->y) || !gpu_floats_aligned(a->gamma) || !gpu_floats_aligned(a->beta))
        return false;
    for (int t = 0; t < a->count; t++)
        if (a->tables[t].format > GPU_FORMAT_F16)
            return false;
    return true;
}

static void declare(struct gpu_stream *s, const struct gpu_embed *a) {
    (void)s;
    for (int t = 0; t < a->count; t++) {
        GPU_READS(s, a->index[t], a->y.rows * sizeof(int32_t));
        GPU_READS(s, a->tables[t].quants, a->tables[t].out * a->tables[t].quant_row_bytes);
        GPU_READS(s, a->tables[t].scales, a->tables[t].out * a->tables[t].scale_row_bytes);
    }
    GPU_READS_SOME(s, a->drawn, a->drawn_slots * sizeof(int32_t));
    GPU_READS(s, a->gamma, a->y.cols * sizeof(float));
    GPU_READS(s, a->beta, a->y.cols * sizeof(float));
    GPU_WRITES_SOME(s, a->bad, sizeof(int32_t));
    GPU_WRITES_MAT(s, a->y);
}

extern "C" void gpu_launch_embed(struct gpu_stream *s, const struct gpu_embed *a) {
    if (a->y.rows == 0 || a->y.cols == 0)
        return;
    struct embed_launch e = {
        *a, {a->gamma ? NORM_LAYER : NORM_NONE, a->gamma, a->beta, a->eps}, norm_warps(a->y.cols)};
    struct norm_shape shape = norm_shape_of(a->y.rows, e.warps);
    declare(s, a);
    if (plain(a))
        GPU_BY_TYPE(a->y.type,
                    NORM_BY_RUNS(a->y.cols,
                                 GPU_LAUNCH(s, (embed_kernel<T, embed_plain, RUNS, CHAINS, true>),
                                            shape.blocks, shape.threads, shape.shared, e)));
    else
        GPU_BY_TYPE(a->y.type, GPU_LAUNCH(s, (embed_kernel<T, embed_any, 1, 1, false>),
                                          shape.blocks, shape.threads, shape.shared, e));
}
