// See kernels.h. Products of few rows, and weights as plain numbers.
#include "compute/cuda/kernels/few_mma.cuh"

// On matrix units, where they take x and the weight.
template <typename T, int OWN>
static bool on_matrix_units(struct gpu_stream *s, const struct gpu_few *a) {
    if (!gpu_has_mma(a->x.type))
        return false;
    switch (a->w.format) {
    case OWN:
        gpu_few_mma_launch<OWN, T>(s, a);
        return true;
#define GPU_FEW_MMA(F)                                                                             \
    case F:                                                                                        \
        gpu_few_mma_launch<F, T>(s, a);                                                            \
        return true;
        GPU_EACH_BLOCK_FORMAT(GPU_FEW_MMA)
#undef GPU_FEW_MMA
    default:
        return false;
    }
}

void gpu_launch_few(struct gpu_stream *s, const struct gpu_few *a) {
    if (a->x.rows == 0 || a->w.out == 0)
        return;
    if (a->x.type == GPU_BF16 && on_matrix_units<gpu_bf16, GPU_FORMAT_BF16>(s, a))
        return;
    if (a->x.type == GPU_F16 && on_matrix_units<gpu_f16, GPU_FORMAT_F16>(s, a))
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
template <typename T> struct alignas(16) gpu_plain_run { T v[GPU_RUN]; };

template <typename T>
__global__ void __launch_bounds__(GPU_WIDEN_THREADS)
    gpu_widen_kernel(struct gpu_rows w, size_t from, size_t rows, T *out) {
    size_t runs = (w.in + GPU_RUN - 1) / GPU_RUN;
    size_t at = (size_t)blockIdx.x * GPU_WIDEN_THREADS + threadIdx.x;
    if (at >= rows * runs)
        return;
    float v[GPU_RUN];
    gpu_rows_value8(&w, from + at / runs, at % runs * GPU_RUN, v);
    gpu_plain_run<T> run;
#pragma unroll
    for (int i = 0; i < GPU_RUN; i++)
        run.v[i] = gpu_narrow<T>(v[i]);
    ((gpu_plain_run<T> *)(void *)out)[at] = run;
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
