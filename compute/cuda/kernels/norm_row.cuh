// The norm of one row by a group of warps. Role: what layer_norm, rms_norm, l2_normalize and embed
// share; where the row's numbers come from is its caller's (a source).
// How a row lies over threads follows from its columns alone, and so do the bits of its sums. It is
// norm.cuh's order: threads take runs of 8 values in turn, each 32 neighbouring runs are added by
// halves, and these sums in order; with 8 warps to a row a thread's runs are one chain, with fewer
// each is a chain of its own, as there are 256 chains. (Rows of at most 256: norms.cu.)
#ifndef TRINE_COMPUTE_CUDA_NORM_ROW_CUH
#define TRINE_COMPUTE_CUDA_NORM_ROW_CUH

#include "compute/cuda/kernels/norm.cuh"
#include "compute/cuda/kernels/vector.cuh"

enum { NORM_RUN = 8, NORM_LANE_RUNS = 4 };
// Blocks of 256 threads of a processor at the same time, at least: the compiler may take the
// registers that the rest leaves (without a word of it, it spills on some cards rather than to).
enum { NORM_BLOCKS = 2 };

// Warps for a row: 1, 2 or 8. With 8 a thread's runs are one chain.
static inline int norm_warps(size_t cols) {
    size_t runs = gpu_ceil_div(cols, NORM_RUN);
    return runs <= 32 * NORM_LANE_RUNS ? 1 : runs <= 64 * NORM_LANE_RUNS ? 2 : GPU_NORM_WARPS;
}
// Runs of a thread that holds its part of the row: 1 to NORM_LANE_RUNS; more: it cannot.
static inline size_t norm_lane_runs(size_t cols) {
    size_t a_step = (size_t)norm_warps(cols) * 32 * NORM_RUN;
    return cols == 0 ? 1 : gpu_ceil_div(cols, a_step);
}

// (x - mean) / sqrt(var + eps), x / sqrt(mean of squares + eps), x / length.
enum norm_kind { NORM_NONE, NORM_LAYER, NORM_RMS, NORM_LENGTH };

struct norm_op {
    enum norm_kind kind;
    const float *gamma, *beta; // or NULL
    float eps;
};

// RUNS runs of V values, from columns at + j * step on, as floats; what lies behind `cols` is 0. A
// source has this.
template <typename T> struct norm_rows {
    const T *x, *residual; // or NULL

    template <int V, int RUNS, bool WHOLE>
    __device__ __forceinline__ void load(unsigned at, unsigned step, unsigned cols,
                                         float *v) const {
        if constexpr (WHOLE) {
            struct gpu_kept<T, V> a[RUNS], b[RUNS];
            keep<V, RUNS>(x, at, step, cols, a);
            if (residual)
                keep<V, RUNS>(residual, at, step, cols, b);
#pragma unroll
            for (int i = 0; i < V * RUNS; i++)
                v[i] = a[i / V].at(i % V);
            if (residual)
#pragma unroll
                for (int i = 0; i < V * RUNS; i++)
                    v[i] += b[i / V].at(i % V);
        } else {
#pragma unroll
            for (int i = 0; i < V * RUNS; i++) {
                unsigned c = at + i / V * step + i % V;
                v[i] = c < cols ? gpu_widen(x[c]) : 0.0F;
                if (residual && c < cols)
                    v[i] += gpu_widen(residual[c]);
            }
        }
    }

    template <int V, int RUNS>
    static __device__ __forceinline__ void keep(const T *from, unsigned at, unsigned step,
                                                unsigned cols, struct gpu_kept<T, V> *runs) {
#pragma unroll
        for (int j = 0; j < RUNS; j++, at += step) {
            runs[j].fill(gpu_narrow<T>(0.0F));
            if (at < cols)
                runs[j].load(from + at);
        }
    }
};

// The chains' sums together, all threads of the row have it. A block with more than one warp to a
// row comes here as a whole; `shared` is this sum's own: GPU_NORM_CHAINS / 32 floats.
template <int CHAINS>
static __device__ __forceinline__ float norm_sum(const float *chains, int warps, float *shared) {
    float sums[CHAINS];
#pragma unroll
    for (int j = 0; j < CHAINS; j++)
        sums[j] = gpu_warp_sum(chains[j]);
    if (warps == 1) {
#pragma unroll
        for (int j = 1; j < CHAINS; j++)
            sums[0] += sums[j];
        return sums[0];
    }
    if (threadIdx.x % 32 == 0)
#pragma unroll
        for (int j = 0; j < CHAINS; j++)
            shared[j * warps + (int)threadIdx.x / 32] = sums[j];
    __syncthreads();
    float sum = shared[0];
    for (int i = 1; i < CHAINS * warps; i++)
        sum += shared[i];
    return sum;
}

// Adds what a pass sums up of the runs in v: the numbers, or the squares of what is about mean.
template <int V, int RUNS, bool WHOLE, bool SQUARES, int CHAINS>
static __device__ __forceinline__ void norm_add(const float *v, unsigned at, unsigned step,
                                                unsigned cols, float mean, float *chains) {
#pragma unroll
    for (int j = 0; j < RUNS; j++, at += step)
#pragma unroll
        for (int i = 0; i < V; i++) {
            float d = v[j * V + i];
            float *sum = chains + (CHAINS == 1 ? 0 : j);
            if (SQUARES) {
                d = at + (WHOLE ? 0 : (unsigned)i) < cols ? d - mean : 0.0F;
                *sum = fmaf(d, d, *sum);
            } else {
                *sum += d;
            }
        }
}

template <int V, int RUNS, bool WHOLE, typename T>
static __device__ __forceinline__ void norm_store(const struct norm_op &op, const float *v,
                                                  unsigned at, unsigned step, unsigned cols,
                                                  float mean, float scale, T *y) {
#pragma unroll
    for (int j = 0; j < RUNS; j++, at += step) {
        if (at >= cols)
            continue;
        float out[V], vector[V];
#pragma unroll
        for (int i = 0; i < V; i++)
            out[i] = (v[j * V + i] - mean) * scale;
        if (op.gamma) {
            gpu_load<V, WHOLE>(op.gamma + at, cols - at, vector);
#pragma unroll
            for (int i = 0; i < V; i++)
                out[i] *= vector[i];
        }
        if (op.beta) {
            gpu_load<V, WHOLE>(op.beta + at, cols - at, vector);
#pragma unroll
            for (int i = 0; i < V; i++)
                out[i] += vector[i];
        }
        gpu_store<V, WHOLE>(y + at, cols - at, out);
    }
}

static __device__ __forceinline__ float norm_scale(const struct norm_op &op, float squares,
                                                   unsigned cols) {
    if (op.kind == NORM_LENGTH)
        return squares == 0.0F ? 1.0F : 1.0F / sqrtf(squares);
    return gpu_norm_scale(squares, cols, op.eps);
}

// y = norm of the source's row, `cols` of them. first: the thread's first column. CHAINS: those of
// a thread, RUNS or 1. shared: 2 * GPU_NORM_WARPS floats. HELD: the threads hold the row, RUNS runs
// each; else it is read again for each pass, in pieces of what they hold.
template <int V, int RUNS, int CHAINS, bool WHOLE, bool HELD, typename S, typename T>
static __device__ __forceinline__ void norm_row(const S &source, const struct norm_op &op, T *y,
                                                unsigned cols, unsigned first, int warps,
                                                float *shared) {
    static_assert(CHAINS == 1 || (CHAINS == RUNS && HELD), "a chain goes on from piece to piece");
    const unsigned step = (unsigned)warps * 32 * V, piece = HELD ? cols : step * RUNS;
    float v[V * RUNS], mean = 0.0F, scale = 1.0F;
    if (HELD)
        source.template load<V, RUNS, WHOLE>(first, step, cols, v);
    if (op.kind == NORM_LAYER) {
        float chains[CHAINS] = {0.0F};
        for (unsigned from = 0; from < cols; from += piece) {
            if (!HELD)
                source.template load<V, RUNS, WHOLE>(from + first, step, cols, v);
            norm_add<V, RUNS, WHOLE, false, CHAINS>(v, from + first, step, cols, 0.0F, chains);
        }
        mean = norm_sum<CHAINS>(chains, warps, shared) / (float)cols;
    }
    if (op.kind != NORM_NONE) {
        float chains[CHAINS] = {0.0F};
        for (unsigned from = 0; from < cols; from += piece) {
            if (!HELD)
                source.template load<V, RUNS, WHOLE>(from + first, step, cols, v);
            norm_add<V, RUNS, WHOLE, true, CHAINS>(v, from + first, step, cols, mean, chains);
        }
        scale = norm_scale(op, norm_sum<CHAINS>(chains, warps, shared + GPU_NORM_WARPS), cols);
    }
    for (unsigned from = 0; from < cols; from += piece) {
        if (!HELD)
            source.template load<V, RUNS, WHOLE>(from + first, step, cols, v);
        norm_store<V, RUNS, WHOLE>(op, v, from + first, step, cols, mean, scale, y);
    }
}

// A launch for `rows` rows: a warp each, four to a block, or a block each.
struct norm_shape {
    unsigned blocks, threads;
    int warps;     // of a row
    size_t shared; // bytes
};
static inline struct norm_shape norm_shape_of(size_t rows, int warps) {
    unsigned rows_a_block = warps == 1 ? 4 : 1;
    struct norm_shape shape = {(unsigned)gpu_ceil_div(rows, rows_a_block),
                               32 * rows_a_block * (unsigned)warps, warps,
                               warps == 1 ? 0 : 2 * GPU_NORM_WARPS * sizeof(float)};
    return shape;
}

// The row of this thread's group, and its number in that.
static __device__ __forceinline__ size_t norm_row_here(int warps) {
    return warps == 1 ? (size_t)blockIdx.x * 4 + threadIdx.x / 32 : blockIdx.x;
}
static __device__ __forceinline__ unsigned norm_thread_here(int warps) {
    return warps == 1 ? threadIdx.x % 32 : threadIdx.x;
}

// Runs `body` with RUNS and CHAINS for threads that hold a row of so many columns.
#define NORM_BY_RUNS(cols, body)                                                                   \
    do {                                                                                           \
        if (norm_warps(cols) == GPU_NORM_WARPS) {                                                  \
            constexpr int CHAINS = 1;                                                              \
            if (norm_lane_runs(cols) <= 2) {                                                       \
                constexpr int RUNS = 2;                                                            \
                body;                                                                              \
            } else {                                                                               \
                constexpr int RUNS = 4;                                                            \
                body;                                                                              \
            }                                                                                      \
        } else if (norm_lane_runs(cols) <= 2) {                                                    \
            constexpr int RUNS = 2, CHAINS = 2;                                                    \
            body;                                                                                  \
        } else if (norm_lane_runs(cols) == 3) {                                                    \
            constexpr int RUNS = 3, CHAINS = 3;                                                    \
            body;                                                                                  \
        } else {                                                                                   \
            constexpr int RUNS = 4, CHAINS = 4;                                                    \
            body;                                                                                  \
        }                                                                                          \
    } while (0)

#endif
