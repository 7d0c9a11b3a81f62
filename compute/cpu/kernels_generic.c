// Plain C kernels: what each operation means. Role: the oracle that the vector kernels are tested
// against, and the way on a CPU for which there are no others. See kernels.h.
#include "compute/cpu/blocks_generic.h"
#include "compute/cpu/kernels.h"

#include <math.h>
#include <stdint.h>
#include <string.h>

enum { PANEL = 16, KEY_BLOCK = 128, MAX_HEAD_DIM = 4096 };

static float activation(enum activation f, float x) {
    const float rsqrt2 = 0.70710678118654752440F, sqrt_2_pi = 0.79788456080286535588F;
    switch (f) {
    case ACTIVATION_NONE:
        break;
    case ACTIVATION_GELU:
        return 0.5F * x * (1.0F + erff(x * rsqrt2));
    case ACTIVATION_GELU_TANH:
        return 0.5F * x * (1.0F + tanhf(sqrt_2_pi * (x + 0.044715F * x * x * x)));
    case ACTIVATION_RELU:
        return x < 0.0F ? 0.0F : x; // a NaN passes
    case ACTIVATION_TANH:
        return tanhf(x);
    case ACTIVATION_SILU:
        return x / (1.0F + expf(-x));
    }
    return x;
}

static void activate(enum activation f, float *x, size_t n) {
    for (size_t i = 0; i < n; i++)
        x[i] = activation(f, x[i]);
}

static float load_f32(enum dtype from, const unsigned char *src);

// One input's weights of a panel.
static void panel_row(enum dtype format, const unsigned char *w, float out[PANEL]) {
    if (format == DTYPE_F32) {
        memcpy(out, w, PANEL * sizeof *out);
        return;
    }
    for (size_t j = 0; j < PANEL; j++)
        out[j] = load_f32(format, w + 2 * panel_place(format, PANEL, j));
}

static void linear_row(const struct kernel_linear_share *s, size_t row, size_t panel) {
    const float *x = s->x + row * s->ldx;
    size_t size = PANEL * dtype_size(s->format);
    const unsigned char *w = (const unsigned char *)s->panels + panel * size * s->k;
    float sum[PANEL] = {0};
    for (size_t k = 0; k < s->k; k++, w += size) {
        float row_w[PANEL];
        panel_row(s->format, w, row_w);
        for (size_t j = 0; j < PANEL; j++)
            sum[j] += x[k] * row_w[j];
    }
    size_t from = panel * PANEL, n = at_most(s->cols - from, PANEL);
    float *y = s->y + row * s->ldy + from;
    const float *residual = s->residual ? s->residual + row * s->ldr + from : NULL;
    for (size_t j = 0; j < n; j++) {
        float v = sum[j] + s->bias[from + j];
        y[j] = residual ? v + residual[j] : v;
    }
    activate(s->f, y, n);
}

static void linear(const struct kernel_linear_share *s) {
    for (size_t panel = 0; panel * PANEL < s->cols; panel++)
        for (size_t row = 0; row < s->rows; row++)
            linear_row(s, row, panel);
}

static void linear_blocks(const struct kernel_linear_share *s) {
    blocks_generic_linear(&kernels_generic, s);
}

// One query, online softmax over blocks of keys (Milakov and Gimelshein 2018; Rabe and Staats
// 2021).
static void attention_query(const struct kernel_attention_share *s, size_t query) {
    const float *q = s->q + query * s->ldq;
    float *out = s->out + query * s->ldo, *sum = s->scratch, p[KEY_BLOCK];
    float most = -INFINITY, total = 0;
    memset(sum, 0, s->head_dim * sizeof *sum);
    for (size_t from = 0; from < s->keys; from += KEY_BLOCK) {
        size_t n = at_most(s->keys - from, KEY_BLOCK);
        float before = most;
        for (size_t i = 0; i < n; i++) {
            const float *k = s->k + (from + i) * s->ldk;
            float dot = 0;
            for (size_t d = 0; d < s->head_dim; d++)
                dot += q[d] * k[d];
            p[i] = dot * s->scale;
            if (!(p[i] <= most)) // a NaN wins
                most = p[i];
        }
        float keep = expf(before - most), block_total = 0;
        float *block = sum + s->head_dim; // summed apart: one chain over all keys drifts
        memset(block, 0, s->head_dim * sizeof *block);
        for (size_t i = 0; i < n; i++) {
            const float *v = s->v + (from + i) * s->ldv;
            float w = expf(p[i] - most);
            block_total += w;
            for (size_t d = 0; d < s->head_dim; d++)
                block[d] += w * v[d];
        }
        total = total * keep + block_total;
        for (size_t d = 0; d < s->head_dim; d++)
            sum[d] = sum[d] * keep + block[d];
    }
    for (size_t d = 0; d < s->head_dim; d++)
        out[d] = sum[d] / total;
}

static void attention(const struct kernel_attention_share *s) {
    for (size_t query = 0; query < s->queries; query++)
        attention_query(s, query);
}

static void sum_rows(const float *const *rows, size_t count, float *y, size_t n) {
    for (size_t i = 0; i < n; i++) {
        float sum = rows[0][i];
        for (size_t t = 1; t < count; t++)
            sum += rows[t][i];
        y[i] = sum;
    }
}

static void layer_norm(const float *x, const float *gamma, const float *beta, float eps, float *y,
                       size_t n) {
    float sum = 0, squares = 0;
    for (size_t i = 0; i < n; i++)
        sum += x[i];
    float mean = sum / (float)n;
    for (size_t i = 0; i < n; i++)
        squares += (x[i] - mean) * (x[i] - mean);
    float inv = 1.0F / sqrtf(squares / (float)n + eps);
    for (size_t i = 0; i < n; i++)
        y[i] = (x[i] - mean) * inv * gamma[i] + beta[i];
}

static void pool(enum pool_mode mode, const float *x, size_t ld, size_t rows, float *y, size_t n) {
    memcpy(y, x, n * sizeof *y);
    for (size_t r = 1; r < rows; r++)
        for (size_t i = 0; i < n; i++) {
            float v = x[r * ld + i];
            if (mode != POOL_MAX)
                y[i] += v;
            else if (!(v <= y[i])) // a NaN wins, and stays
                y[i] = isnan(y[i]) ? y[i] : v;
        }
    float scale = mode == POOL_MEAN        ? 1.0F / (float)rows
                  : mode == POOL_MEAN_SQRT ? 1.0F / sqrtf((float)rows)
                                           : 1.0F;
    for (size_t i = 0; i < n; i++)
        y[i] *= scale;
}

static void l2_normalize(float *x, size_t n) {
    float squares = 0;
    for (size_t i = 0; i < n; i++)
        squares += x[i] * x[i];
    if (squares == 0.0F)
        return;
    float inv = 1.0F / sqrtf(squares);
    for (size_t i = 0; i < n; i++)
        x[i] *= inv;
}

static float load_f32(enum dtype from, const unsigned char *src) {
    float v;
    uint16_t half;
    switch (from) {
    case DTYPE_F16:
        memcpy(&half, src, sizeof half);
        return block_f16(half);
    case DTYPE_BF16: {
        memcpy(&half, src, sizeof half);
        uint32_t bits = (uint32_t)half << 16;
        memcpy(&v, &bits, sizeof v);
        return v;
    }
    default:
        memcpy(&v, src, sizeof v);
        return v;
    }
}

static size_t convert(enum dtype from, const void *src, float *dst, size_t n) {
    const unsigned char *bytes = src;
    size_t size = dtype_size(from), bad = n;
    for (size_t i = n; i-- > 0;) {
        dst[i] = load_f32(from, bytes + i * size);
        if (!isfinite(dst[i]))
            bad = i;
    }
    return bad;
}

static volatile float sink; // keeps the probes' work from being dropped

static double probe_fma(size_t rounds) {
    float sum[64] = {0}, x = 1e-9F;
    for (size_t r = 0; r < rounds; r++) {
        for (size_t i = 0; i < 64; i++)
            sum[i] = sum[i] * 0.999F + x;
    }
    for (size_t i = 0; i < 64; i++)
        sink = sum[i];
    return (double)rounds * 64 * 2;
}

static double probe_dot(size_t rounds) {
    int32_t sum[64] = {0};
    for (size_t r = 0; r < rounds; r++)
        for (size_t i = 0; i < 64; i++)
            sum[i] += (int32_t)(r & 127U) * (int32_t)i;
    for (size_t i = 0; i < 64; i++)
        sink = (float)sum[i];
    return (double)rounds * 64 * 2;
}

static float probe_read(const float *p, size_t n) {
    float sum[64] = {0};
    for (size_t i = 0; i < n; i += 64)
        for (size_t j = 0; j < 64; j++)
            sum[j] += p[i + j];
    for (size_t j = 1; j < 64; j++)
        sum[0] += sum[j];
    return sum[0];
}

const struct cpu_kernels kernels_generic = {
    .name = "generic",
    .panel = PANEL,
    .tile_rows = 1,
    .max_head_dim = MAX_HEAD_DIM,
    .linear = linear,
    .linear_blocks = linear_blocks,
    .quantize = blocks_generic_quantize,
    .attention = attention,
    .activate = activate,
    .sum_rows = sum_rows,
    .layer_norm = layer_norm,
    .pool = pool,
    .l2_normalize = l2_normalize,
    .convert = convert,
    .causal = &causal_generic,
    .probe_fma = probe_fma,
    .probe_dot = probe_dot,
    .probe_read = probe_read,
};
