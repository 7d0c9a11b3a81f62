// See kernels.h. Products of few rows, and weights as plain numbers.
#include "compute/cuda/kernels/few.cuh"
#include "compute/cuda/kernels/vector.cuh"

void gpu_launch_few(struct gpu_stream *s, const struct gpu_few *a) {
    if (a->x.rows == 0 || a->w.out == 0)
        return;
    switch (a->w.format) {
#define GPU_FEW(F)                                                                                 \
    case F:                                                                                        \
        gpu_few_of<F>(s, a);                                                                       \
        break;
        GPU_EACH_FORMAT(GPU_FEW)
#undef GPU_FEW
    default:
        break;
    }
}

// A thread has one run of 8 values.
enum { GPU_WIDEN_THREADS = 256 };

template <typename T>
__global__ void __launch_bounds__(GPU_WIDEN_THREADS)
    gpu_widen_kernel(struct gpu_rows w, size_t from, size_t rows, T *out) {
    size_t runs = (w.in + GPU_RUN - 1) / GPU_RUN;
    size_t at = (size_t)blockIdx.x * GPU_WIDEN_THREADS + threadIdx.x;
    if (at >= rows * runs)
        return;
    float v[GPU_RUN];
    gpu_rows_value8(&w, from + at / runs, at % runs * GPU_RUN, v);
    gpu_store<GPU_RUN, true>(out + at * GPU_RUN, GPU_RUN, v);
}

void gpu_launch_widen(struct gpu_stream *s, const struct gpu_rows *w, size_t from, size_t rows,
                      enum gpu_type type, void *out) {
    size_t runs = rows * (gpu_widened_ld(w->in) / GPU_RUN);
    if (runs == 0)
        return;
    GPU_READS(s, (const char *)w->quants + from * w->quant_row_bytes, rows * w->quant_row_bytes);
    if (w->scales)
        GPU_READS(s, (const char *)w->scales + from * w->scale_row_bytes,
                  rows * w->scale_row_bytes);
    GPU_WRITES(s, out, runs * GPU_RUN * gpu_type_size(type));
    unsigned blocks = (unsigned)((runs + GPU_WIDEN_THREADS - 1) / GPU_WIDEN_THREADS);
    GPU_BY_TYPE(type, GPU_LAUNCH(s, gpu_widen_kernel<T>, blocks, GPU_WIDEN_THREADS, 0, *w, from,
                                 rows, (T *)out));
}
