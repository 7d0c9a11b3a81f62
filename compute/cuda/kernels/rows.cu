// What works on values one by one: activate, add, subtract, swiglu, gather, convert. See kernels.h.
// A thread takes a run of 16 bytes at a time, and as many runs as it takes.
#include "compute/cuda/kernels/math.cuh"
#include "compute/cuda/kernels/vector.cuh"

enum { THREADS = 256 };
static constexpr size_t MOST_BLOCKS = 1 << 13;

// Runs of all rows, counted through.
struct runs {
    size_t rows, cols, per_row;
    unsigned values; // in a run
    bool whole;
};

static struct runs runs_of(size_t rows, size_t cols, size_t values, bool aligned) {
    struct runs r = {rows, cols, gpu_ceil_div(cols, values), (unsigned)values,
                     aligned && cols % values == 0};
    return r;
}
static unsigned blocks_of(const struct runs &r) {
    size_t blocks = gpu_ceil_div(r.rows * r.per_row, THREADS);
    return (unsigned)(blocks < MOST_BLOCKS ? blocks : MOST_BLOCKS);
}

// The thread's first run, the one behind the last, and how far apart they are.
static __device__ __forceinline__ size_t run_first(void) {
    return (size_t)blockIdx.x * THREADS + threadIdx.x;
}
static __device__ __forceinline__ size_t run_end(const struct runs &r) {
    return r.rows * r.per_row;
}
static __device__ __forceinline__ size_t run_stride(void) { return (size_t)gridDim.x * THREADS; }
struct place {
    size_t row, at, left; // columns from there on
};
static __device__ __forceinline__ struct place place_of(const struct runs &r, size_t run) {
    size_t row = run / r.per_row, at = (run - row * r.per_row) * r.values;
    struct place p = {row, at, r.cols - at};
    return p;
}

// ---- in place

template <typename T>
static __global__ void __launch_bounds__(THREADS)
    activate_kernel(enum gpu_activation f, T *x, size_t ld, const struct runs r) {
    constexpr int V = gpu_run<T>::values;
    for (size_t run = run_first(); run < run_end(r); run += run_stride()) {
        struct place p = place_of(r, run);
        T *at = x + p.row * ld + p.at;
        float v[V];
        gpu_load_if<V>(r.whole, at, p.left, v);
#pragma unroll
        for (int i = 0; i < V; i++)
            v[i] = gpu_activate<T>(f, v[i]);
        gpu_store_if<V>(r.whole, at, p.left, v);
    }
}

extern "C" void gpu_launch_activate(struct gpu_stream *s, enum gpu_activation f, struct gpu_mat x) {
    if (x.rows == 0 || x.cols == 0 || f == GPU_NONE)
        return;
    struct runs r = runs_of(x.rows, x.cols, 16 / gpu_type_size(x.type), gpu_rows_aligned(x));
    GPU_WRITES_MAT(s, x);
    GPU_BY_TYPE(x.type, GPU_LAUNCH(s, activate_kernel<T>, blocks_of(r), THREADS, 0, f, (T *)x.data,
                                   x.ld, r));
}

// ---- two rows into one

// y = a + sign * b; y may be either.
template <typename T>
static __global__ void __launch_bounds__(THREADS)
    sum_kernel(const T *a, size_t ld_a, const T *b, size_t ld_b, float sign, T *y, size_t ld_y,
               const struct runs r) {
    constexpr int V = gpu_run<T>::values;
    for (size_t run = run_first(); run < run_end(r); run += run_stride()) {
        struct place p = place_of(r, run);
        float v[V], w[V];
        gpu_load_if<V>(r.whole, a + p.row * ld_a + p.at, p.left, v);
        gpu_load_if<V>(r.whole, b + p.row * ld_b + p.at, p.left, w);
#pragma unroll
        for (int i = 0; i < V; i++)
            v[i] += sign * w[i];
        gpu_store_if<V>(r.whole, y + p.row * ld_y + p.at, p.left, v);
    }
}

static void sum(struct gpu_stream *s, struct gpu_mat a, struct gpu_mat b, float sign,
                struct gpu_mat y) {
    if (y.rows == 0 || y.cols == 0)
        return;
    struct runs r = runs_of(y.rows, y.cols, 16 / gpu_type_size(y.type),
                            gpu_rows_aligned(a) && gpu_rows_aligned(b) && gpu_rows_aligned(y));
    GPU_READS_MAT(s, a);
    GPU_READS_MAT(s, b);
    GPU_WRITES_MAT(s, y);
    GPU_BY_TYPE(y.type, GPU_LAUNCH(s, sum_kernel<T>, blocks_of(r), THREADS, 0, (const T *)a.data,
                                   a.ld, (const T *)b.data, b.ld, sign, (T *)y.data, y.ld, r));
}

extern "C" void gpu_launch_add(struct gpu_stream *s, struct gpu_mat x, struct gpu_mat y) {
    sum(s, y, x, 1.0F, y);
}

extern "C" void gpu_launch_subtract(struct gpu_stream *s, struct gpu_mat a, struct gpu_mat b,
                                    struct gpu_mat y) {
    sum(s, a, b, -1.0F, y);
}

template <typename T>
static __global__ void __launch_bounds__(THREADS)
    swiglu_kernel(const T *gate, const T *up, size_t ld_x, T *y, size_t ld_y, const struct runs r) {
    constexpr int V = gpu_run<T>::values;
    for (size_t run = run_first(); run < run_end(r); run += run_stride()) {
        struct place p = place_of(r, run);
        float v[V], w[V];
        gpu_load_if<V>(r.whole, gate + p.row * ld_x + p.at, p.left, v);
        gpu_load_if<V>(r.whole, up + p.row * ld_x + p.at, p.left, w);
#pragma unroll
        for (int i = 0; i < V; i++)
            v[i] = gpu_silu<T>(v[i]) * w[i];
        gpu_store_if<V>(r.whole, y + p.row * ld_y + p.at, p.left, v);
    }
}

extern "C" void gpu_launch_swiglu(struct gpu_stream *s, struct gpu_mat gate_up, struct gpu_mat y) {
    if (y.rows == 0 || y.cols == 0)
        return;
    // Where the columns are whole runs, up begins at a 16-byte address as gate does.
    struct runs r = runs_of(y.rows, y.cols, 16 / gpu_type_size(y.type),
                            gpu_rows_aligned(gate_up) && gpu_rows_aligned(y));
    GPU_READS_MAT(s, gate_up);
    GPU_WRITES_MAT(s, y);
    GPU_BY_TYPE(y.type,
                GPU_LAUNCH(s, swiglu_kernel<T>, blocks_of(r), THREADS, 0, (const T *)gate_up.data,
                           (const T *)gate_up.data + y.cols, gate_up.ld, (T *)y.data, y.ld, r));
}

// ---- copies

// y[i] = x[rows[i]], or x[i] where rows is NULL.
template <typename X, typename T, int V>
static __global__ void __launch_bounds__(THREADS)
    copy_kernel(const X *x, size_t ld_x, const int32_t *rows, T *y, size_t ld_y,
                const struct runs r) {
    for (size_t run = run_first(); run < run_end(r); run += run_stride()) {
        struct place p = place_of(r, run);
        size_t from = rows ? (size_t)rows[p.row] : p.row;
        float v[V];
        gpu_load_if<V>(r.whole, x + from * ld_x + p.at, p.left, v);
        gpu_store_if<V>(r.whole, y + p.row * ld_y + p.at, p.left, v);
    }
}

template <typename X, int V>
static void copy_from(struct gpu_stream *s, struct gpu_mat x, const int32_t *rows, struct gpu_mat y,
                      const struct runs &r) {
    GPU_BY_TYPE(y.type, GPU_LAUNCH(s, (copy_kernel<X, T, V>), blocks_of(r), THREADS, 0,
                                   (const X *)x.data, x.ld, rows, (T *)y.data, y.ld, r));
}

// Rows may be of two types: runs are 8 values then, 16 bytes of the narrower.
static void copy(struct gpu_stream *s, struct gpu_mat x, const int32_t *rows, struct gpu_mat y) {
    if (y.rows == 0 || y.cols == 0)
        return;
    struct runs r = runs_of(y.rows, y.cols, 8, gpu_rows_aligned(x) && gpu_rows_aligned(y));
    GPU_READS_MAT(s, x);
    if (rows)
        GPU_READS(s, rows, y.rows * sizeof *rows);
    GPU_WRITES_MAT(s, y);
    GPU_BY_TYPE(x.type, (copy_from<T, 8>(s, x, rows, y, r)));
}

extern "C" void gpu_launch_gather(struct gpu_stream *s, struct gpu_mat x, const int32_t *rows,
                                  struct gpu_mat y) {
    copy(s, x, rows, y);
}

extern "C" void gpu_launch_convert(struct gpu_stream *s, struct gpu_mat x, struct gpu_mat y) {
    copy(s, x, NULL, y);
}
