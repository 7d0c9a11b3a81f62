// What the device tests share: random matrices, weights made from arrays, and each operation in
// double precision. Thread rule: main thread only.
#ifndef TRINE_TESTS_DEVICE_RIG_H
#define TRINE_TESTS_DEVICE_RIG_H

#include "compute/cpu/cpu.h"
#include "tests/check.h"
#include "tests/precisions.h"

#include <stdint.h>
#include <stdlib.h>

static uint64_t rig_seed = 88172645463325252U;

static inline uint64_t rig_random(void) {
    rig_seed ^= rig_seed << 13;
    rig_seed ^= rig_seed >> 7;
    rig_seed ^= rig_seed << 17;
    return rig_seed;
}
// About normal, standard deviation 1.
static inline float rig_normal(void) {
    double sum = 0;
    for (int i = 0; i < 12; i++)
        sum += (double)(rig_random() >> 11) * 0x1p-53;
    return (float)(sum - 6);
}

static inline void *rig_alloc(size_t count, size_t size) {
    void *p = calloc(count ? count : 1, size);
    if (!p)
        abort();
    return p;
}

static inline float *rig_floats(size_t n, float scale) {
    float *p = rig_alloc(n, sizeof *p);
    for (size_t i = 0; i < n; i++)
        p[i] = scale * rig_normal();
    return p;
}

// The kernel sets to test; those this CPU lacks are counted as skipped. threads 0: all CPUs. The
// last one differs from the one before in bf16 pairs only: test_device_pairs alone takes all. The
// thread sanitizer looks at the pool and not at numbers: one will do.
static const char *const rig_sets[] = {"generic", "avx2", "avx512", "avx512vnni", "avx512bf16"};
#if defined(__SANITIZE_THREAD__)
enum { RIG_SETS = 1, RIG_ALL_SETS = 1 };
#else
enum { RIG_SETS = 4, RIG_ALL_SETS = 5 };
#endif

// Asked of the CPU, not of the code under test: a set that is refused where it would run is a
// failure. All CPUs with AVX2 have F16C.
static inline bool rig_runs_here(const char *isa) {
    if (!isa || strcmp(isa, "generic") == 0) // NULL: the best there is
        return true;
#if defined(__x86_64__)
    bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    if (strcmp(isa, "avx2") == 0)
        return avx2;
    bool avx512 = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                  __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
    if (strcmp(isa, "avx512") == 0)
        return avx512;
    return avx512 && __builtin_cpu_supports("avx512vnni") &&
           (strcmp(isa, "avx512vnni") == 0 || __builtin_cpu_supports("avx512bf16"));
#else
    return false;
#endif
}

static inline struct device *rig_device(const char *isa, int threads, enum cpu_gemm gemm) {
    if (!rig_runs_here(isa)) {
        check_skip(isa);
        return NULL;
    }
    struct cpu_options options = {.threads = threads, .isa = isa, .gemm = gemm};
    struct device *d = NULL;
    struct errmsg msg = {0};
    enum err e = cpu_device_new(&options, &d, &msg);
    CHECK_OK(e, msg);
    return d;
}

static inline struct arena rig_workspace(struct device *d, size_t bytes) {
    struct arena a = {0};
    if (d->ops->workspace_new(d, bytes, &a) != ERR_OK)
        abort();
    return a;
}

static inline struct mat rig_mat(struct device *d, struct arena *ws, size_t rows, size_t cols,
                                 const float *from) {
    struct mat m = device_mat(d, ws, rows, cols);
    if (!m.data)
        abort();
    for (size_t r = 0; r < rows && from; r++)
        memcpy(m.data + r * m.ld, from + r * cols, cols * sizeof *from);
    return m;
}

static inline struct weight *rig_linear(struct device *d, const float *w, const float *bias,
                                        size_t out, size_t in) {
    struct weight_part part = {.w = {"w", w, DTYPE_F32, 2, {out, in}, NULL, 0},
                               .bias = {"b", bias, DTYPE_F32, 1, {out}, NULL, 0}};
    struct weight *prepared = NULL;
    struct errmsg msg = {0};
    CHECK_OK(d->ops->weight_prepare(d, WEIGHT_LINEAR, &part, 1, PRECISION_F32, &prepared, &msg),
             msg);
    return prepared;
}

static inline struct weight *rig_vector(struct device *d, const float *v, size_t n) {
    struct weight_part part = {.w = {"v", v, DTYPE_F32, 1, {n}, NULL, 0}};
    struct weight *prepared = NULL;
    struct errmsg msg = {0};
    CHECK_OK(d->ops->weight_prepare(d, WEIGHT_VECTOR, &part, 1, PRECISION_F32, &prepared, &msg),
             msg);
    return prepared;
}

static inline double ref_activation(enum activation f, double x) {
    switch (f) {
    case ACTIVATION_NONE:
        break;
    case ACTIVATION_GELU:
        return 0.5 * x * erfc(-x * 0.70710678118654752440);
    case ACTIVATION_GELU_TANH:
        return 0.5 * x * (1 + tanh(0.79788456080286535588 * (x + 0.044715 * x * x * x)));
    case ACTIVATION_RELU:
        return x > 0 ? x : 0;
    case ACTIVATION_TANH:
        return tanh(x);
    case ACTIVATION_SILU:
        return x / (1 + exp(-x));
    }
    return x;
}

// y = x w' + b
static inline void ref_linear(const float *x, const float *w, const float *b, size_t rows,
                              size_t in, size_t out, float *y) {
    for (size_t r = 0; r < rows; r++)
        for (size_t o = 0; o < out; o++) {
            double sum = b ? (double)b[o] : 0;
            for (size_t k = 0; k < in; k++)
                sum += (double)x[r * in + k] * (double)w[o * in + k];
            y[r * out + o] = (float)sum;
        }
}

static inline void ref_norm(const float *x, const float *gamma, const float *beta, double eps,
                            size_t n, float *y) {
    double mean = 0, var = 0;
    for (size_t i = 0; i < n; i++)
        mean += (double)x[i] / (double)n;
    for (size_t i = 0; i < n; i++)
        var += ((double)x[i] - mean) * ((double)x[i] - mean) / (double)n;
    for (size_t i = 0; i < n; i++)
        y[i] =
            (float)(((double)x[i] - mean) / sqrt(var + eps) * (double)gamma[i] + (double)beta[i]);
}

// y = x w' + b by the device, in a workspace of its own.
static inline void rig_run(struct device *d, const struct weight *w, const float *x, size_t rows,
                           size_t in, size_t out, float *y) {
    struct arena ws = rig_workspace(d, device_mat_bytes(rows, in) + device_mat_bytes(rows, out));
    struct mat mx = rig_mat(d, &ws, rows, in, x), my = rig_mat(d, &ws, rows, out, NULL);
    struct errmsg msg = {0};
    d->ops->linear(d, w, mx, my);
    CHECK_OK(device_sync(d, &msg), msg);
    d->ops->read(d, my, y);
    d->ops->workspace_free(d, &ws);
}

// What is fused with a product, against the product alone; a NaN and an infinity stay in their
// rows; what lies behind a row's last value is not read. rows >= 7, in >= 8.
static inline void rig_check_fused(struct device *d, const struct weight *w, const float *x,
                                   size_t rows, size_t in, size_t out) {
    size_t n = rows * out;
    float *want = rig_alloc(n, sizeof *want), *got = rig_alloc(n, sizeof *got);
    float *res = rig_floats(n, 1);
    struct arena ws =
        rig_workspace(d, device_mat_bytes(rows, in) + 2 * device_mat_bytes(rows, out));
    struct mat mx = rig_mat(d, &ws, rows, in, x), my = rig_mat(d, &ws, rows, out, res);
    struct mat mr = rig_mat(d, &ws, rows, out, res);
    struct errmsg msg = {0};
    rig_run(d, w, x, rows, in, out, want);
    for (size_t r = 0; r < rows; r++)
        for (size_t i = in; i < mx.ld; i++)
            mx.data[r * mx.ld + i] = NAN;
    device_linear_add(d, w, mx, my, my);
    d->ops->read(d, my, got);
    for (size_t j = 0; j < n; j++)
        CHECK(got[j] == want[j] + res[j]);
    float *gamma = rig_floats(out, 1), *beta = rig_floats(out, 1), *normed = rig_alloc(out, 4);
    struct weight *scale = rig_vector(d, gamma, out), *shift = rig_vector(d, beta, out);
    struct norm norm = {scale, shift, 1e-5F};
    device_linear_add_norm(d, w, mx, mr, &norm, my);
    for (size_t r = 0; r < rows; r++) {
        ref_norm(got + r * out, gamma, beta, 1e-5, out, normed);
        CHECK_NEAR(my.data + r * my.ld, normed, out, 1e-5, 1e-5);
    }
    device_linear_activate(d, w, mx, ACTIVATION_SILU, my);
    d->ops->read(d, my, got);
    for (size_t j = 0; j < n; j++)
        CHECK(fabs((double)got[j] - ref_activation(ACTIVATION_SILU, (double)want[j])) <
              1e-6 * (1 + fabs((double)want[j])));
    mx.data[5 * mx.ld + 7] = NAN;
    mx.data[6 * mx.ld + in - 1] = INFINITY;
    d->ops->linear(d, w, mx, my);
    d->ops->read(d, my, got);
    for (size_t o = 0; o < out; o++) {
        CHECK(isnan(got[5 * out + o]) && !isfinite(got[6 * out + o]));
        CHECK(got[4 * out + o] == want[4 * out + o]);
    }
    CHECK_OK(device_sync(d, &msg), msg);
    d->ops->workspace_free(d, &ws);
    d->ops->weight_free(d, scale);
    d->ops->weight_free(d, shift);
    free(want), free(got), free(res), free(gamma), free(beta), free(normed);
}

// One sequence: qkv [S][3 width] -> out [S][width].
static inline void ref_attention(const float *qkv, size_t S, size_t heads, size_t hd, double scale,
                                 float *out) {
    size_t width = heads * hd;
    double *p = rig_alloc(S, sizeof *p);
    for (size_t h = 0; h < heads; h++)
        for (size_t i = 0; i < S; i++) {
            double most = -INFINITY, total = 0;
            for (size_t j = 0; j < S; j++) {
                p[j] = 0;
                for (size_t d = 0; d < hd; d++)
                    p[j] += (double)qkv[i * 3 * width + h * hd + d] *
                            (double)qkv[j * 3 * width + width + h * hd + d];
                p[j] *= scale;
                most = fmax(most, p[j]);
            }
            for (size_t j = 0; j < S; j++)
                total += p[j] = exp(p[j] - most);
            for (size_t d = 0; d < hd; d++) {
                double sum = 0;
                for (size_t j = 0; j < S; j++)
                    sum += p[j] * (double)qkv[j * 3 * width + 2 * width + h * hd + d];
                out[i * width + h * hd + d] = (float)(sum / total);
            }
        }
    free(p);
}

#endif
