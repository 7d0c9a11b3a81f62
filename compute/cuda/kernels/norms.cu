// Norms of rows: layer_norm, rms_norm, l2_normalize. See kernels.h and norm_row.cuh.
#include "compute/cuda/kernels/norm_row.cuh"

// Row g of the launch is run g % runs of row g / runs.
struct norm_launch {
    struct norm_op op;
    const void *x, *residual; // or NULL
    void *y;
    size_t ld_x, ld_residual, ld_y;
    size_t rows; // runs and all
    unsigned runs, width;
    int warps;
};

template <typename T, int V, int RUNS, int CHAINS, bool WHOLE, bool HELD>
static __global__ void __launch_bounds__(GPU_NORM_CHAINS, NORM_BLOCKS)
    norm_kernel(const struct norm_launch a) {
    GPU_SHARED(shared);
    size_t g = norm_row_here(a.warps), row = g, at = 0;
    if (g >= a.rows)
        return;
    if (a.runs > 1) {
        row = g / a.runs;
        at = (g - row * a.runs) * a.width;
    }
    struct norm_rows<T> source = {
        (const T *)a.x + row *a.ld_x + at, a.residual
                                               ? (const T *)a.residual + row *a.ld_residual + at
                                               : NULL
    };
    norm_row<V, RUNS, CHAINS, WHOLE, HELD>(source, a.op, (T *)a.y + row * a.ld_y + at, a.width,
                                           norm_thread_here(a.warps) * V, a.warps, (float *)shared);
}

// How the row is read: see norm.cuh for what decides the order of its sums.
template <typename T>
static void launch_typed(struct gpu_stream *s, const struct norm_launch &a, bool aligned) {
    struct norm_shape shape = norm_shape_of(a.rows, a.warps);
    bool held = norm_lane_runs(a.width) <= NORM_LANE_RUNS;
    if (a.width <= GPU_NORM_NARROW)
        GPU_LAUNCH(s, (norm_kernel<T, 1, GPU_NORM_NARROW / 32, 1, false, true>), shape.blocks,
                   shape.threads, shape.shared, a);
    else if (aligned && held && a.width % NORM_RUN == 0)
        NORM_BY_RUNS(a.width, GPU_LAUNCH(s, (norm_kernel<T, NORM_RUN, RUNS, CHAINS, true, true>),
                                         shape.blocks, shape.threads, shape.shared, a));
    else if (a.warps < GPU_NORM_WARPS)
        GPU_LAUNCH(s, (norm_kernel<T, NORM_RUN, NORM_LANE_RUNS, NORM_LANE_RUNS, false, true>),
                   shape.blocks, shape.threads, shape.shared, a);
    else
        GPU_LAUNCH(s, (norm_kernel<T, NORM_RUN, 1, 1, false, false>), shape.blocks, shape.threads,
                   shape.shared, a);
}

static void launch(struct gpu_stream *s, const struct norm_op &op, struct gpu_mat x,
                   struct gpu_mat residual, struct gpu_mat y, size_t width) {
    if (x.rows == 0 || width == 0)
        return;
    size_t runs = x.cols / width;
    struct norm_launch a = {op,
                            x.data,
                            residual.data,
                            y.data,
                            x.ld,
                            residual.ld,
                            y.ld,
                            x.rows * runs,
                            (unsigned)runs,
                            (unsigned)width,
                            norm_warps(width)};
    bool aligned = gpu_rows_aligned(x) && gpu_rows_aligned(residual) && gpu_rows_aligned(y) &&
                   gpu_floats_aligned(op.gamma) && gpu_floats_aligned(op.beta);
    GPU_READS_MAT(s, x);
    GPU_READS_MAT(s, residual);
    GPU_READS(s, op.gamma, width * sizeof(float));
    GPU_READS(s, op.beta, width * sizeof(float));
    GPU_WRITES_MAT(s, y);
    GPU_BY_TYPE(x.type, launch_typed<T>(s, a, aligned));
}

extern "C" void gpu_launch_layer_norm(struct gpu_stream *s, const struct gpu_layer_norm *a) {
    struct norm_op op = {NORM_LAYER, a->gamma, a->beta, a->eps};
    launch(s, op, a->x, a->residual, a->y, a->x.cols);
}

extern "C" void gpu_launch_rms_norm(struct gpu_stream *s, const struct gpu_rms_norm *a) {
    struct norm_op op = {NORM_RMS, a->gamma, NULL, a->eps};
    launch(s, op, a->x, gpu_mat(), a->y, a->width);
}

extern "C" void gpu_launch_l2_normalize(struct gpu_stream *s, struct gpu_mat x) {
    struct norm_op op = {NORM_LENGTH, NULL, NULL, 0.0F};
    launch(s, op, x, gpu_mat(), x, x.cols);
}
