// What the tests of a GPU's weights and products share: an emulated GPU with a stream, matrices on
// it and back, and weights stored in every type. Thread rule: main thread only.
#ifndef TRINE_TESTS_GPU_WEIGHT_KIT_H
#define TRINE_TESTS_GPU_WEIGHT_KIT_H

#include "compute/blocks.h"
#include "compute/cuda/weight.h"
#include "compute/weight_parts.h"
#include "tests/check.h"
#include "tests/gpu/gpu_under_test.h"

#include <stdint.h>
#include <stdlib.h>

static uint64_t gpu_rig_seed = 88172645463325252U;
static inline uint64_t gpu_rig_random(void) {
    gpu_rig_seed ^= gpu_rig_seed << 13;
    gpu_rig_seed ^= gpu_rig_seed >> 7;
    gpu_rig_seed ^= gpu_rig_seed << 17;
    return gpu_rig_seed;
}
static inline float gpu_rig_normal(void) { // about
    double sum = 0;
    for (int i = 0; i < 12; i++)
        sum += (double)(gpu_rig_random() >> 11) * 0x1p-53;
    return (float)(sum - 6);
}
static inline void *gpu_rig_alloc(size_t count, size_t size) {
    void *p = calloc(count ? count : 1, size);
    if (!p)
        abort();
    return p;
}
static inline float *gpu_rig_floats(size_t n, float scale) {
    float *p = gpu_rig_alloc(n, sizeof *p);
    for (size_t i = 0; i < n; i++)
        p[i] = scale * gpu_rig_normal();
    return p;
}

struct gpu_rig {
    const struct gpu_api *api;
    struct gpu *gpu;
    struct gpu_stream *stream;
    struct gpu_event *event;
    struct gpu_weights *weights;
};

static inline struct gpu_rig gpu_rig_open(size_t piece_bytes) {
    struct gpu_rig r = {.api = gpu_under_test()};
    struct errmsg msg = {0};
    CHECK_OK(r.api->open(0, &r.gpu, &msg), msg);
    CHECK(r.api->stream_new(r.gpu, &r.stream) == ERR_OK);
    CHECK(r.api->event_new(r.gpu, &r.event) == ERR_OK);
    CHECK_OK(gpu_weights_new(r.api, r.gpu, true, piece_bytes, &r.weights, &msg), msg);
    return r;
}
static inline void gpu_rig_close(struct gpu_rig *r) {
    struct errmsg msg = {0};
    CHECK_OK(r->api->failure(r->gpu, &msg), msg);
    CHECK(gpu_under_test_violations() == 0);
    gpu_weights_free(r->weights);
    r->api->event_free(r->gpu, r->event);
    r->api->stream_free(r->gpu, r->stream);
    r->api->close(r->gpu);
}
static inline void gpu_rig_wait(struct gpu_rig *r) {
    r->api->record(r->stream, r->event);
    r->api->wait(r->event);
}

static inline float gpu_rig_value(enum gpu_type t, const void *p, size_t i) {
    uint32_t u = 0;
    if (t == GPU_F32)
        return ((const float *)p)[i];
    uint16_t h = ((const uint16_t *)p)[i];
    if (t == GPU_F16)
        return block_f16(h);
    u = (uint32_t)h << 16;
    float x;
    memcpy(&x, &u, sizeof x);
    return x;
}
// Rounded to nearest, of numbers that f16 holds normally: by trying the neighbours.
static inline uint16_t gpu_rig_near(enum gpu_type t, float x) {
    uint32_t u;
    memcpy(&u, &x, sizeof u);
    uint16_t h = (uint16_t)(u >> 16);
    if (t == GPU_F16) {
        float most = fminf(fabsf(x), 65504.0F);
        uint16_t low = 0;
        for (unsigned bit = 0x4000; bit; bit /= 2)
            if ((low | bit) < 0x7c00 && block_f16((uint16_t)(low | bit)) <= most)
                low = (uint16_t)(low | bit);
        h = (uint16_t)(low | (u >> 16 & 0x8000U));
    }
    uint16_t up = (uint16_t)(h + 1);
    double a = fabs((double)x - (double)gpu_rig_value(t, &h, 0));
    double b = fabs((double)x - (double)gpu_rig_value(t, &up, 0));
    return a < b || (a == b && h % 2 == 0) ? h : up;
}

// A matrix on the card with the numbers of x [rows, cols], its ld some values more than cols; what
// lies between rows is not written. x NULL: nothing is.
static inline struct gpu_mat gpu_rig_mat(struct gpu_rig *r, const float *x, size_t rows,
                                         size_t cols, enum gpu_type t) {
    struct gpu_mat m = {NULL, rows, cols, (cols + 15) / 8 * 8, t};
    size_t size = gpu_type_size(t);
    CHECK(r->api->alloc(r->gpu, rows * m.ld * size, &m.data) == ERR_OK);
    if (!x)
        return m;
    unsigned char *host = gpu_rig_alloc(rows * cols, size);
    for (size_t i = 0; i < rows * cols; i++)
        if (t == GPU_F32)
            ((float *)(void *)host)[i] = x[i];
        else
            ((uint16_t *)(void *)host)[i] = gpu_rig_near(t, x[i]);
    for (size_t i = 0; i < rows; i++)
        r->api->copy_in(r->stream, (char *)m.data + i * m.ld * size, host + i * cols * size,
                        cols * size);
    gpu_rig_wait(r);
    free(host);
    return m;
}
static inline void gpu_rig_read(struct gpu_rig *r, struct gpu_mat m, float *out) {
    size_t size = gpu_type_size(m.type);
    unsigned char *host = gpu_rig_alloc(m.rows * m.cols, size);
    for (size_t i = 0; i < m.rows; i++)
        r->api->copy_out(r->stream, host + i * m.cols * size, (char *)m.data + i * m.ld * size,
                         m.cols * size);
    gpu_rig_wait(r);
    for (size_t i = 0; i < m.rows * m.cols; i++)
        out[i] = gpu_rig_value(m.type, host, i);
    free(host);
}
static inline void gpu_rig_drop(struct gpu_rig *r, struct gpu_mat m) {
    r->api->free(r->gpu, m.data);
}

// All of a weight's numbers as f32, out[rows * cols], as the widen kernel gives them.
static inline void gpu_rig_widen(struct gpu_rig *r, const struct weight *w, float *out) {
    size_t ld = gpu_widened_ld(w->cols);
    struct gpu_mat all = {NULL, w->rows, w->cols, ld, GPU_F32};
    CHECK(r->api->alloc(r->gpu, w->rows * ld * sizeof(float), &all.data) == ERR_OK);
    for (size_t i = 0; i < w->segments; i++)
        gpu_launch_widen(r->stream, &w->segment[i].rows, 0, w->segment[i].rows.out, GPU_F32,
                         (float *)all.data + w->segment[i].first * ld);
    gpu_rig_read(r, all, out);
    gpu_rig_drop(r, all);
}

// ---- weights as a file stores them ----

struct gpu_rig_stored {
    enum dtype t;
    size_t out, in;
    unsigned char *data;
    float *values, *bias; // what it stands for
};

static inline bool gpu_rig_scale_behind(enum dtype t) {
    return t == DTYPE_Q2_K || t == DTYPE_Q3_K || t == DTYPE_Q6_K;
}

// Random numbers of about 0.3 / sqrt(in) of any type of floats or blocks.
static inline struct gpu_rig_stored gpu_rig_store(enum dtype t, size_t out, size_t in) {
    struct gpu_rig_stored n = {.t = t, .out = out, .in = in, .bias = gpu_rig_floats(out, 1)};
    size_t bytes = weight_stored_bytes(t, out * in), size = dtype_block_bytes(t);
    n.data = gpu_rig_alloc(bytes, 1);
    n.values = gpu_rig_alloc(out * in, sizeof(float));
    float scale = 0.3F / sqrtf((float)in);
    if (!dtype_is_block(t)) {
        enum gpu_type g = t == DTYPE_F32 ? GPU_F32 : t == DTYPE_F16 ? GPU_F16 : GPU_BF16;
        for (size_t i = 0; i < out * in; i++) {
            float x = scale * gpu_rig_normal();
            if (g == GPU_F32)
                memcpy(n.data + 4 * i, &x, 4);
            else
                ((uint16_t *)(void *)n.data)[i] = gpu_rig_near(g, x);
            n.values[i] = gpu_rig_value(g, n.data, i);
        }
        return n;
    }
    for (size_t i = 0; i < bytes; i++)
        n.data[i] = (unsigned char)(gpu_rig_random() >> 20);
    bool k = dtype_block(t) == 256;
    for (unsigned char *b = n.data; b < n.data + bytes; b += size) {
        float step = scale * (k ? 0.01F : 0.1F) * (1 + 0.2F * gpu_rig_normal());
        uint16_t d = gpu_rig_near(GPU_F16, step), m = gpu_rig_near(GPU_F16, step * (k ? 1.1F : -7));
        if (gpu_rig_scale_behind(t)) {
            memcpy(b + size - 2, t == DTYPE_Q2_K ? &m : &d, 2);
            if (t == DTYPE_Q2_K)
                memcpy(b + size - 4, &d, 2);
        } else {
            memcpy(b, &d, 2);
            if (t == DTYPE_Q4_1 || t == DTYPE_Q5_1 || t == DTYPE_Q4_K || t == DTYPE_Q5_K)
                memcpy(b + 2, &m, 2);
        }
    }
    for (size_t i = 0; i < out * in / UNIT; i++) {
        struct block_unit u;
        block_unit_read(t, n.data, i, &u);
        block_unit_values(t, &u, n.values + i * UNIT);
    }
    return n;
}
static inline void gpu_rig_stored_free(struct gpu_rig_stored *n) {
    free(n->data), free(n->values), free(n->bias);
}
static inline struct weight_part gpu_rig_part(const struct gpu_rig_stored *n, bool bias) {
    struct weight_part p = {.w = {"w", n->data, n->t, 2, {n->out, n->in}, NULL, 0}};
    if (bias)
        p.bias = (struct tensor){"b", n->bias, DTYPE_F32, 1, {n->out}, NULL, 0};
    return p;
}
static inline struct weight *gpu_rig_weight(struct gpu_rig *r, enum weight_kind kind,
                                            const struct weight_part *parts, size_t n,
                                            enum compute_floats floats) {
    struct weight *w = NULL;
    struct errmsg msg = {0};
    struct precision p = {.floats = floats};
    CHECK_OK(gpu_weight_new(r->weights, kind, parts, n, p, &w, &msg), msg);
    return w;
}

#endif
