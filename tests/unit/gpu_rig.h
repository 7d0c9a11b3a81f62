// What the tests of the CUDA kernels share: the GPU under test with one stream, matrices of each
// type that come from floats and go back to them. Role: tests/unit/test_gpu_*.c. What is allocated
// lives until gpu_rig_clear. Thread rule: main thread only.
#ifndef TRINE_TESTS_GPU_RIG_H
#define TRINE_TESTS_GPU_RIG_H

#include "tests/gpu/gpu_under_test.h"
#include "tests/unit/device_rig.h"

enum { GPU_RIG_MOST = 256 };
static struct gpu_rig {
    const struct gpu_api *api;
    struct gpu *gpu;
    struct gpu_stream *stream;
    struct gpu_event *event;
    void *device[GPU_RIG_MOST]; // what has been allocated
    void *host[GPU_RIG_MOST];   // copies in hand
    size_t device_count, host_count;
} gpu_rig;

static inline void gpu_rig_open(void) {
    gpu_rig.api = gpu_under_test();
    if (gpu_rig.api->open(0, &gpu_rig.gpu, NULL) != ERR_OK ||
        gpu_rig.api->stream_new(gpu_rig.gpu, &gpu_rig.stream) != ERR_OK ||
        gpu_rig.api->event_new(gpu_rig.gpu, &gpu_rig.event) != ERR_OK)
        abort();
}

// Waits for all that was asked; no launch failed, and none touched what is not its own.
static inline void gpu_rig_wait(void) {
    struct errmsg msg = {0};
    gpu_rig.api->record(gpu_rig.stream, gpu_rig.event);
    gpu_rig.api->wait(gpu_rig.event);
    CHECK_OK(gpu_rig.api->failure(gpu_rig.gpu, &msg), msg);
    CHECK(gpu_under_test_violations() == 0);
    while (gpu_rig.host_count)
        free(gpu_rig.host[--gpu_rig.host_count]);
}

static inline void gpu_rig_clear(void) {
    gpu_rig_wait();
    while (gpu_rig.device_count)
        gpu_rig.api->free(gpu_rig.gpu, gpu_rig.device[--gpu_rig.device_count]);
}

static inline void gpu_rig_close(void) {
    gpu_rig_clear();
    gpu_rig.api->event_free(gpu_rig.gpu, gpu_rig.event);
    gpu_rig.api->stream_free(gpu_rig.gpu, gpu_rig.stream);
    gpu_rig.api->close(gpu_rig.gpu);
}

// Device memory that holds nothing yet.
static inline void *gpu_rig_room(size_t bytes) {
    if (gpu_rig.device_count == GPU_RIG_MOST)
        abort();
    void *p = NULL;
    if (gpu_rig.api->alloc(gpu_rig.gpu, bytes ? bytes : 1, &p) != ERR_OK)
        abort();
    return gpu_rig.device[gpu_rig.device_count++] = p;
}
// What host memory holds is sent; the host's copy is kept until the wait.
static inline void gpu_rig_send(void *device, const void *host, size_t bytes) {
    if (gpu_rig.host_count == GPU_RIG_MOST)
        gpu_rig_wait();
    void *kept = rig_alloc(bytes, 1);
    memcpy(kept, host, bytes);
    gpu_rig.host[gpu_rig.host_count++] = kept;
    gpu_rig.api->copy_in(gpu_rig.stream, device, kept, bytes);
}
static inline void *gpu_rig_bytes(const void *host, size_t bytes) {
    void *p = gpu_rig_room(bytes);
    if (bytes)
        gpu_rig_send(p, host, bytes);
    return p;
}
static inline int32_t *gpu_rig_ints(const int32_t *x, size_t n) {
    return gpu_rig_bytes(x, n * sizeof *x);
}
static inline float *gpu_rig_f32(const float *x, size_t n) {
    return gpu_rig_bytes(x, n * sizeof *x);
}

static inline uint32_t gpu_rig_bits(float x) {
    uint32_t u;
    memcpy(&u, &x, sizeof u);
    return u;
}
static inline uint16_t gpu_rig_bf16(float x) {
    uint32_t u = gpu_rig_bits(x);
    return (uint16_t)((u + 0x7fffU + (u >> 16 & 1U)) >> 16);
}
// To nearest, ties to even; finite values of f16's range alone.
static inline uint16_t gpu_rig_f16(float x) {
    uint16_t sign = (uint16_t)(gpu_rig_bits(x) >> 16 & 0x8000U);
    double a = fabs((double)x);
    int exponent = 0;
    (void)frexp(a, &exponent);
    exponent = exponent < -13 ? -13 : exponent; // subnormal
    double steps = nearbyint(ldexp(a, 11 - exponent));
    if (steps == 2048) { // rounded up to the next power
        steps = 1024;
        exponent++;
    }
    uint32_t bits = (uint32_t)steps;
    return (uint16_t)(sign |
                      (bits < 1024 ? bits : ((uint32_t)(exponent + 14) << 10) + (bits - 1024)));
}
static inline float gpu_rig_from16(uint16_t bits, enum gpu_type type) {
    if (type == GPU_BF16) {
        uint32_t u = (uint32_t)bits << 16;
        float x;
        memcpy(&x, &u, sizeof x);
        return x;
    }
    int exponent = bits >> 10 & 31, fraction = bits & 1023;
    double a = exponent == 31  ? (fraction ? (double)NAN : (double)INFINITY)
               : exponent == 0 ? ldexp(fraction, -24)
                               : ldexp(1024 + fraction, exponent - 25);
    return (float)(bits & 0x8000 ? -a : a);
}
static inline uint16_t gpu_rig_to16(float x, enum gpu_type type) {
    return type == GPU_BF16 ? gpu_rig_bf16(x) : gpu_rig_f16(x);
}
// x as the type holds it.
static inline float gpu_rig_rounded(float x, enum gpu_type type) {
    return type == GPU_F32 ? x : gpu_rig_from16(gpu_rig_to16(x, type), type);
}
static inline void gpu_rig_round(float *x, size_t n, enum gpu_type type) {
    for (size_t i = 0; i < n; i++)
        x[i] = gpu_rig_rounded(x[i], type);
}
// n floats as the type: packed, to be freed.
static inline void *gpu_rig_narrowed(const float *x, size_t n, enum gpu_type type) {
    if (type == GPU_F32)
        return memcpy(rig_alloc(n, sizeof *x), x, n * sizeof *x);
    uint16_t *y = rig_alloc(n, sizeof *y);
    for (size_t i = 0; i < n; i++)
        y[i] = gpu_rig_to16(x[i], type);
    return y;
}

// A matrix whose rows are a multiple of 16 bytes apart; x NULL: it holds nothing yet.
static inline struct gpu_mat gpu_rig_mat(const float *x, size_t rows, size_t cols,
                                         enum gpu_type type) {
    size_t size = gpu_type_size(type), unit = 16 / size, ld = (cols + unit - 1) / unit * unit;
    struct gpu_mat m = {gpu_rig_room(rows * ld * size), rows, cols, ld, type};
    if (x && rows) {
        unsigned char *packed = gpu_rig_narrowed(x, rows * cols, type);
        for (size_t r = 0; r < rows; r++)
            gpu_rig_send((unsigned char *)m.data + r * ld * size, packed + r * cols * size,
                         cols * size);
        free(packed);
    }
    return m;
}
static inline struct gpu_mat gpu_rig_cols(struct gpu_mat m, size_t from, size_t cols) {
    m.data = (unsigned char *)m.data + from * gpu_type_size(m.type);
    m.cols = cols;
    return m;
}
// Its values as floats, packed, to be freed. Waits.
static inline float *gpu_rig_read(struct gpu_mat m) {
    size_t size = gpu_type_size(m.type), n = m.rows * m.cols;
    unsigned char *raw = rig_alloc(n, size);
    for (size_t r = 0; r < m.rows; r++)
        gpu_rig.api->copy_out(gpu_rig.stream, raw + r * m.cols * size,
                              (unsigned char *)m.data + r * m.ld * size, m.cols * size);
    gpu_rig_wait();
    float *x = rig_alloc(n, sizeof *x);
    for (size_t i = 0; i < n; i++) {
        if (m.type == GPU_F32)
            memcpy(&x[i], raw + 4 * i, 4);
        else {
            uint16_t bits;
            memcpy(&bits, raw + 2 * i, 2);
            x[i] = gpu_rig_from16(bits, m.type);
        }
    }
    free(raw);
    return x;
}

#endif
