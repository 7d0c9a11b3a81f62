// Lane l of 32 sums the runs of 8 values number l, l + 32, ... of a row, in ascending order, by
// fmaf; then the lanes are put together by halves: 16, 8, 4, 2, 1. Rows are laid out first so that
// the lanes lie side by side: what a row's 256 values number 8 l + i are is at [i][l].
#include "tests/gpu/emulated_gemm.h"
#include "tests/gpu/block_math.h"

#include <stdlib.h>

enum { RUN = 8, LANES = 32, PANEL = RUN * LANES, TOGETHER = 2 };

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

// Rows as floats in whole panels, zero behind their end; `more` rows of zeros follow.
static float *laid_out(enum gpu_type type, const void *p, size_t ld, size_t rows, size_t in,
                       size_t more) {
    size_t padded = (in + PANEL - 1) / PANEL * PANEL;
    float *out = (float *)calloc((rows + more) * padded + 1, sizeof *out);
    if (!out)
        abort();
    for (size_t r = 0; r < rows; r++)
        for (size_t k = 0; k < in; k++)
            out[r * padded + k / PANEL * PANEL + k % RUN * LANES + k % PANEL / RUN] =
                value(type, p, r * ld + k);
    return out;
}

// The sums of TOGETHER rows of x (`padded` apart) with one of w.
__attribute__((optimize("O3"), no_sanitize("address", "undefined"))) static void
dots(const float *x, const float *w, size_t padded, float sums[TOGETHER]) {
    float lanes[TOGETHER][LANES] = {{0}};
    for (size_t at = 0; at < padded; at += LANES)
        for (size_t r = 0; r < TOGETHER; r++)
            for (size_t l = 0; l < LANES; l++)
                lanes[r][l] = __builtin_fmaf(x[r * padded + at + l], w[at + l], lanes[r][l]);
    for (size_t r = 0; r < TOGETHER; r++) {
        for (size_t step = LANES / 2; step > 0; step /= 2)
            for (size_t l = 0; l < step; l++)
                lanes[r][l] += lanes[r][l + step];
        sums[r] = lanes[r][0];
    }
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

static void finish(const struct gpu_gemm *a, size_t r, size_t o, float sum) {
    enum gpu_type to = a->wide_out ? GPU_F32 : a->type;
    if (a->bias)
        sum += value(to, a->bias, o);
    sum = activated(a->activation, sum);
    if (a->residual)
        sum += value(to, a->residual, r * a->ld_residual + o);
    store(to, a->y, r * a->ld_y + o, sum);
}

void gpu_emulated_gemm(const struct gpu_gemm *a) {
    size_t padded = (a->in + PANEL - 1) / PANEL * PANEL;
    float *x = laid_out(a->type, a->x, a->ld_x, a->rows, a->in, TOGETHER - 1);
    float *w = laid_out(a->type, a->w, a->ld_w, a->out, a->in, 0);
    // A few rows of x at a time, so that they stay near while w passes.
    enum { NEAR = 16 };
    for (size_t from = 0; from < a->rows; from += NEAR) {
        size_t to = from + NEAR < a->rows ? from + NEAR : a->rows;
        for (size_t o = 0; o < a->out; o++) {
            for (size_t r = from; r < to; r += TOGETHER) {
                float sums[TOGETHER];
                dots(x + r * padded, w + o * padded, padded, sums);
                for (size_t i = 0; i < TOGETHER && r + i < to; i++)
                    finish(a, r + i, o, sums[i]);
            }
        }
    }
    free(x);
    free(w);
}
