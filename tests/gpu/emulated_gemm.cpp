// Lane l of 32 sums the runs of 8 values number l, l + 32, ... of a row, in ascending order, by
// fmaf; then the lanes are put together by halves: 16, 8, 4, 2, 1.
#include "tests/gpu/emulated_gemm.h"
#include "tests/gpu/block_math.h"

#include <stdlib.h>

enum { RUN = 8, LANES = 32 };

// Row-major f32 of `type`'s values, columns past `in` up to `padded` zero.
static float *widened(enum gpu_type type, const void *p, size_t ld, size_t rows, size_t in,
                      size_t padded) {
    float *out = (float *)calloc(rows * padded + 1, sizeof *out);
    if (!out)
        abort();
    for (size_t r = 0; r < rows; r++) {
        for (size_t c = 0; c < in; c++) {
            size_t at = r * ld + c;
            out[r * padded + c] = type == GPU_F32 ? ((const float *)p)[at]
                                  : type == GPU_BF16
                                      ? __bfloat162float(((const __nv_bfloat16 *)p)[at])
                                      : __half2float(((const __half *)p)[at]);
        }
    }
    return out;
}

static float value(enum gpu_type type, const void *p, size_t at) {
    return type == GPU_F32    ? ((const float *)p)[at]
           : type == GPU_BF16 ? __bfloat162float(((const __nv_bfloat16 *)p)[at])
                              : __half2float(((const __half *)p)[at]);
}

static void store(enum gpu_type type, void *p, size_t at, float x) {
    if (type == GPU_F32)
        ((float *)p)[at] = x;
    else if (type == GPU_BF16)
        ((__nv_bfloat16 *)p)[at] = __float2bfloat16_rn(x);
    else
        ((__half *)p)[at] = __float2half_rn(x);
}

// x and w of `n` values.
static float dot(const float *x, const float *w, size_t n) {
    float lanes[LANES] = {0};
    for (size_t at = 0; at < n; at += RUN * LANES)
        for (size_t l = 0; l < LANES && at + l * RUN < n; l++)
            for (size_t i = 0; i < RUN && at + l * RUN + i < n; i++)
                lanes[l] = fmaf(x[at + l * RUN + i], w[at + l * RUN + i], lanes[l]);
    for (size_t half = LANES / 2; half > 0; half /= 2)
        for (size_t l = 0; l < half; l++)
            lanes[l] += lanes[l + half];
    return lanes[0];
}

static float activated(enum gpu_activation f, float x) {
    switch (f) {
    case GPU_RELU:
        return x > 0 ? x : 0;
    case GPU_GELU_TANH:
        return 0.5F * x * (1 + tanhf(0.7978845608028654F * (x + 0.044715F * x * x * x)));
    default:
        return x;
    }
}

void gpu_emulated_gemm(const struct gpu_gemm *a) {
    float *x = widened(a->type, a->x, a->ld_x, a->rows, a->in, a->in);
    float *w = widened(a->type, a->w, a->ld_w, a->out, a->in, a->in);
    enum gpu_type to = a->wide_out ? GPU_F32 : a->type;
    for (size_t r = 0; r < a->rows; r++) {
        for (size_t o = 0; o < a->out; o++) {
            float sum = dot(x + r * a->in, w + o * a->in, a->in);
            if (a->bias)
                sum += value(to, a->bias, o);
            sum = activated(a->activation, sum);
            if (a->residual)
                sum += value(to, a->residual, r * a->ld_residual + o);
            store(to, a->y, r * a->ld_y + o, sum);
        }
    }
    free(x);
    free(w);
}
