// Weights of the GPU: what lies on the card is what the file holds, to the bit, of every type and
// width; joined, put back in order, and refused in the CPU's words.
#include "base/fault.h"
#include "base/file.h"
#include "compute/cuda/kernels/planes.h"
#include "compute/cuda/pack.h"
#include "tests/kit/scratch.h"
#include "tests/unit/gpu_weight_kit.h"

#include <ctype.h>
#include <pthread.h>
#include <unistd.h>

enum { GOLDEN = 512, SMALL = 4096 };

static void check_same(const float *got, const float *want, size_t n) {
    size_t other = 0;
    for (size_t i = 0; i < n; i++)
        other += !(got[i] == want[i]); // 0 and -0 alike
    CHECK_INT(other, 0);
}

// What gguf-py's dequantize gives.
static void test_golden(struct gpu_rig *r, enum dtype t) {
    char path[96];
    snprintf(path, sizeof path, "tests/golden/data/blocks/%s.bin", dtype_name(t));
    for (char *c = path; *c; c++)
        *c = (char)tolower(*c);
    unsigned char file[GOLDEN * 8];
    FILE *f = fopen(path, "rb");
    size_t bytes = weight_stored_bytes(t, GOLDEN);
    CHECK(f && fread(file, 1, sizeof file, f) == bytes + GOLDEN * 4);
    if (!f)
        return;
    fclose(f);
    float want[GOLDEN] = {0}, got[GOLDEN] = {0};
    memcpy(want, file + bytes, sizeof want);
    for (int kind = WEIGHT_LINEAR; kind <= WEIGHT_TABLE; kind++) {
        struct weight_part part = {.w = {"w", file, t, 2, {1, GOLDEN}, NULL, 0}};
        struct weight *w = gpu_rig_weight(r, (enum weight_kind)kind, &part, 1, COMPUTE_BF16);
        gpu_rig_widen(r, w, got);
        check_same(got, want, GOLDEN);
        gpu_weight_free(r->weights, w);
    }
}

// Widths around the packs of four steps and their ends, in pieces of a few rows.
static void test_widths(struct gpu_rig *r, enum dtype t) {
    static const size_t plain[] = {32, 64, 256, 288, 896, 1024, 1056, 1280, 1536},
                        k[] = {256, 512, 768, 1024, 1280, 2048, 2304};
    bool super = dtype_block(t) == 256;
    size_t count = super ? sizeof k / sizeof *k : sizeof plain / sizeof *plain;
    for (size_t i = 0; i < count; i++) {
        struct gpu_rig_stored n = gpu_rig_store(t, 13, super ? k[i] : plain[i]);
        float *got = gpu_rig_alloc(n.out * n.in, sizeof *got);
        struct weight_part part = gpu_rig_part(&n, false);
        struct weight *w = gpu_rig_weight(r, WEIGHT_TABLE, &part, 1, COMPUTE_F32);
        CHECK_INT(w->segments, 1);
        CHECK(gpu_format_is_block(w->segment[0].rows.format));
        // what is stored, the parts' scales in whole bytes, and the filling up of rows
        double stored = (double)weight_stored_bytes(t, n.out * n.in);
        CHECK((double)w->bytes < 1.06 * stored + (double)n.out * 46 + 512);
        gpu_rig_widen(r, w, got);
        check_same(got, n.values, n.out * n.in);
        gpu_weight_free(r->weights, w);
        gpu_rig_stored_free(&n);
        free(got);
    }
}

// Floats of each type into each, of odd widths; ties, subnormals and the largest included.
static void test_floats(struct gpu_rig *r) {
    static const enum dtype from[] = {DTYPE_F32, DTYPE_F16, DTYPE_BF16};
    static const enum compute_floats to[] = {COMPUTE_F32, COMPUTE_BF16, COMPUTE_F16,
                                             COMPUTE_DEVICE};
    static const enum gpu_type types[] = {GPU_F32, GPU_BF16, GPU_F16, GPU_BF16};
    static const float odd[] = {0,     1.00390625F, 1.01171875F,   1.00048828125F, 65504, 6e-8F,
                                1e-7F, 6.2e-5F,     1.4648437e-3F, -3.5e-6F,       -0.0F, 65472};
    static const size_t widths[] = {1, 5, 8, 45, 300};
    for (size_t f = 0; f < 3; f++)
        for (size_t c = 0; c < 4; c++)
            for (size_t i = 0; i < sizeof widths / sizeof *widths; i++) {
                struct gpu_rig_stored n = gpu_rig_store(from[f], 7, widths[i]);
                for (size_t j = 0; from[f] == DTYPE_F32 && j < 12 && j < n.out * n.in; j++) {
                    memcpy(n.data + 4 * j, &odd[j], 4);
                    n.values[j] = odd[j];
                }
                float *got = gpu_rig_alloc(n.out * n.in, sizeof *got);
                struct weight_part part = gpu_rig_part(&n, true);
                struct weight *w = gpu_rig_weight(r, WEIGHT_LINEAR, &part, 1, to[c]);
                CHECK_INT(w->floats, types[c]);
                for (size_t j = 0; types[c] != GPU_F32 && j < n.out * n.in; j++) {
                    uint16_t h = gpu_rig_near(types[c], n.values[j]);
                    n.values[j] = gpu_rig_value(types[c], &h, 0);
                }
                gpu_rig_widen(r, w, got);
                check_same(got, n.values, n.out * n.in);
                gpu_weight_free(r->weights, w);
                gpu_rig_stored_free(&n);
                free(got);
            }
}

// Parts of different types, one with rope's pairs side by side, one without a bias.
static void test_joined(struct gpu_rig *r) {
    enum { IN = 512, A = 48, B = 21, C = 40, OUT = A + B + C, HD = 12 };
    static const enum dtype types[][3] = {{DTYPE_Q4_K, DTYPE_Q4_K, DTYPE_Q6_K},
                                          {DTYPE_Q8_0, DTYPE_F32, DTYPE_Q4_1},
                                          {DTYPE_BF16, DTYPE_F16, DTYPE_F32}};
    static const size_t outs[] = {A, B, C}, segments[] = {2, 3, 1};
    for (size_t i = 0; i < 3; i++) {
        struct gpu_rig_stored parts[3];
        struct weight_part p[3];
        float *values = gpu_rig_alloc((size_t)OUT * IN, 4),
              *got = gpu_rig_alloc((size_t)OUT * IN, 4);
        float bias[OUT] = {0}, got_bias[OUT] = {0};
        for (size_t j = 0, row = 0; j < 3; row += outs[j++]) {
            parts[j] = gpu_rig_store(types[i][j], outs[j], IN);
            p[j] = gpu_rig_part(&parts[j], j != 1);
            p[j].interleaved_head_dim = j == 0 ? HD : 0;
            for (size_t k = 0; k < outs[j]; k++) {
                size_t in_head = k % HD, from = k;
                if (j == 0)
                    from =
                        k - in_head + (in_head < HD / 2 ? 2 * in_head : 2 * (in_head - HD / 2) + 1);
                memcpy(values + (row + k) * IN, parts[j].values + from * IN, IN * 4);
                bias[row + k] = j == 1 ? 0 : parts[j].bias[from];
            }
        }
        struct weight *w = gpu_rig_weight(r, WEIGHT_LINEAR, p, 3, COMPUTE_F32);
        CHECK_INT(w->segments, segments[i]);
        CHECK(w->bias && w->bias_floats == w->bias);
        gpu_rig_widen(r, w, got);
        check_same(got, values, (size_t)OUT * IN);
        struct gpu_mat b = {(void *)(uintptr_t)w->bias, 1, OUT, OUT, GPU_F32};
        gpu_rig_read(r, b, got_bias);
        check_same(got_bias, bias, OUT);
        gpu_weight_free(r->weights, w);
        w = gpu_rig_weight(r, WEIGHT_LINEAR, p, 3, COMPUTE_BF16);
        b = (struct gpu_mat){(void *)(uintptr_t)w->bias_floats, 1, OUT, OUT, GPU_BF16};
        gpu_rig_read(r, b, got_bias);
        for (size_t k = 0; k < OUT; k++) {
            uint16_t h = gpu_rig_near(GPU_BF16, bias[k]);
            bias[k] = gpu_rig_value(GPU_BF16, &h, 0);
        }
        check_same(got_bias, bias, OUT);
        gpu_weight_free(r->weights, w);
        for (size_t j = 0; j < 3; j++)
            gpu_rig_stored_free(&parts[j]);
        free(values), free(got);
    }
    float gamma[300] = {0}, got[300] = {0};
    for (size_t i = 0; i < 300; i++)
        gamma[i] = gpu_rig_normal();
    struct weight_part v = {.w = {"g", gamma, DTYPE_F32, 1, {300}, NULL, 0}};
    struct weight *w = gpu_rig_weight(r, WEIGHT_VECTOR, &v, 1, COMPUTE_F16); // f32 in any case
    struct gpu_mat m = {(void *)(uintptr_t)gpu_weight_vector(w), 1, 300, 300, GPU_F32};
    gpu_rig_read(r, m, got);
    check_same(got, gamma, 300);
    CHECK(!w->bias && w->rows == 1 && w->cols == 300);
    gpu_weight_free(r->weights, w);
}

static struct errmsg said;
static enum err try_part(struct gpu_rig *r, enum weight_kind kind, struct weight_part p,
                         enum compute_floats floats) {
    struct weight *w = NULL;
    said.text[0] = 0;
    struct precision precision = {.floats = floats};
    enum err e = gpu_weight_new(r->weights, kind, &p, 1, precision, &w, &said);
    CHECK((e == ERR_OK) == (w != NULL));
    gpu_weight_free(r->weights, w);
    return e;
}

static void test_refused_blocks(struct gpu_rig *r, enum dtype t) {
    enum { ROWS = 40, BAD = 33 };
    struct gpu_rig_stored n = gpu_rig_store(t, ROWS, 512);
    struct weight_part p = gpu_rig_part(&n, false);
    size_t block = dtype_block(t), size = dtype_block_bytes(t), at = 512 / block * BAD + 1;
    uint16_t inf = 0xfc00;
    memcpy(n.data + at * size + (gpu_rig_scale_behind(t) ? size - 2 : 0), &inf, 2);
    char text[64];
    snprintf(text, sizeof text, "tensor 'w': non-finite at %zu", at * block);
    for (int kind = WEIGHT_LINEAR; kind <= WEIGHT_TABLE; kind++) {
        CHECK_INT(try_part(r, (enum weight_kind)kind, p, COMPUTE_F32), ERR_INVALID);
        CHECK_STR(said.text, text);
    }
    p.w.shape[1] = 500;
    CHECK_INT(try_part(r, WEIGHT_LINEAR, p, COMPUTE_F32), ERR_INVALID);
    CHECK(strstr(said.text, "rows of 500 values") != NULL);
    p.w.shape[1] = 512;
    p.interleaved_head_dim = 48;
    CHECK_INT(try_part(r, WEIGHT_LINEAR, p, COMPUTE_F32), ERR_INVALID);
    CHECK_STR(said.text, "tensor 'w': 40 rows are not heads of 48");
    gpu_rig_stored_free(&n);
}

static void test_refused(struct gpu_rig *r) {
    struct gpu_rig_stored n = gpu_rig_store(DTYPE_F32, 24, 300);
    struct weight_part p = gpu_rig_part(&n, true);
    float *w = (float *)(void *)n.data;
    // the first one of the file, also where rows are taken in another order
    p.interleaved_head_dim = 12;
    w[300 * 3 + 7] = NAN;
    w[300 * 2 + 9] = INFINITY;
    CHECK_INT(try_part(r, WEIGHT_LINEAR, p, COMPUTE_BF16), ERR_INVALID);
    CHECK_STR(said.text, "tensor 'w': non-finite at 609");
    p.interleaved_head_dim = 0;
    CHECK_INT(try_part(r, WEIGHT_LINEAR, p, COMPUTE_F32), ERR_INVALID);
    CHECK_STR(said.text, "tensor 'w': non-finite at 609");
    w[300 * 3 + 7] = 0;
    w[300 * 2 + 9] = 65519.9F; // the nearest f16 is the largest one
    CHECK_INT(try_part(r, WEIGHT_LINEAR, p, COMPUTE_F16), ERR_OK);
    w[300 * 2 + 9] = -65520;
    CHECK_INT(try_part(r, WEIGHT_LINEAR, p, COMPUTE_BF16), ERR_OK);
    CHECK_INT(try_part(r, WEIGHT_LINEAR, p, COMPUTE_F16), ERR_UNSUPPORTED);
    CHECK_STR(said.text,
              "tensor 'w': the number at 609 is too large for f16; compute in bf16 or f32");
    w[300 * 2 + 9] = 3.4e38F;
    CHECK_INT(try_part(r, WEIGHT_LINEAR, p, COMPUTE_BF16), ERR_UNSUPPORTED);
    CHECK_STR(said.text, "tensor 'w': the number at 609 is too large for bf16; compute in f32");
    w[300 * 2 + 9] = 1;
    n.bias[20] = INFINITY;
    CHECK_INT(try_part(r, WEIGHT_LINEAR, p, COMPUTE_F32), ERR_INVALID);
    CHECK_STR(said.text, "tensor 'b': non-finite at 20");
    n.bias[20] = 0;
    p.w.dtype = DTYPE_I32;
    CHECK_INT(try_part(r, WEIGHT_LINEAR, p, COMPUTE_F32), ERR_UNSUPPORTED);
    CHECK(strstr(said.text, "tensor 'w': dtype ") != NULL);
    p.w.dtype = DTYPE_F32;
    p.bias.shape[0] = 23;
    CHECK_INT(try_part(r, WEIGHT_LINEAR, p, COMPUTE_F32), ERR_INVALID);
    CHECK_STR(said.text, "tensor 'b': not a bias for 'w'");
    p.bias = (struct tensor){0};
    p.w.shape[0] = SIZE_MAX / 64;
    CHECK_INT(try_part(r, WEIGHT_LINEAR, p, COMPUTE_F32), ERR_TOO_LARGE);
    p.w.shape[0] = 2;
    p.w.shape[1] = 1800; // 7200 bytes, a piece has 4096
    CHECK_INT(try_part(r, WEIGHT_LINEAR, p, COMPUTE_F32), ERR_TOO_LARGE);
    CHECK_STR(said.text, "tensor 'w': a row of 7200 bytes, at most 4096");
    struct weight *none = NULL;
    CHECK_INT(gpu_weight_new(r->weights, WEIGHT_LINEAR, &p, 0, (struct precision){0}, &none, &said),
              ERR_INVALID);
    CHECK_STR(said.text, "a weight of 0 parts");
    struct gpu_weights *old = NULL; // a card without bf16
    CHECK_OK(gpu_weights_new(r->api, r->gpu, false, SMALL, &old, &said), said);
    CHECK_INT(gpu_weight_new(old, WEIGHT_LINEAR, &p, 1, (struct precision){.floats = COMPUTE_BF16},
                             &none, &said),
              ERR_UNSUPPORTED);
    CHECK(strstr(said.text, "bf16") != NULL && !none);
    CHECK_INT(gpu_type_of(COMPUTE_DEVICE, false), GPU_F16);
    gpu_weights_free(old);
    gpu_rig_stored_free(&n);
}

// A file, whole and cut short while it is open.
static void test_file(struct gpu_rig *r) {
    struct gpu_rig_stored n = gpu_rig_store(DTYPE_Q4_0, 64, 512);
    size_t bytes = weight_stored_bytes(n.t, n.out * n.in);
    const char *path = scratch_path("w.bin");
    FILE *f = fopen(path, "wb");
    CHECK(f && fwrite("head", 1, 4, f) == 4 && fwrite(n.data, 1, bytes, f) == bytes);
    if (f)
        fclose(f);
    struct file file = {0};
    CHECK_OK(file_open(&file, path, &said), said);
    struct weight_part p = {.w = {"w", NULL, n.t, 2, {n.out, n.in}, &file, 4}};
    struct weight *w = gpu_rig_weight(r, WEIGHT_LINEAR, &p, 1, COMPUTE_DEVICE);
    float *got = gpu_rig_alloc(n.out * n.in, sizeof *got);
    gpu_rig_widen(r, w, got);
    check_same(got, n.values, n.out * n.in);
    gpu_weight_free(r->weights, w);
    CHECK(truncate(path, 9000) == 0);
    CHECK_INT(try_part(r, WEIGHT_LINEAR, p, COMPUTE_DEVICE), ERR_IO);
    CHECK(strstr(said.text, "w.bin") != NULL);
    file_close(&file);
    free(got);
    gpu_rig_stored_free(&n);
}

// ---- what fails ----

static struct gpu_api failing; // the emulated one, with some calls that fail
static int calls, fail_at;

static bool fails(void) { return ++calls == fail_at; }
static enum err alloc_or_not(struct gpu *g, size_t bytes, void **out) {
    return fails() ? ERR_NOMEM : gpu_under_test()->alloc(g, bytes, out);
}
static enum err alloc_host_or_not(struct gpu *g, size_t bytes, void **out) {
    return fails() ? ERR_NOMEM : gpu_under_test()->alloc_host(g, bytes, out);
}
static enum err stream_or_not(struct gpu *g, struct gpu_stream **out) {
    return fails() ? ERR_NOMEM : gpu_under_test()->stream_new(g, out);
}
static enum err event_or_not(struct gpu *g, struct gpu_event **out) {
    return fails() ? ERR_NOMEM : gpu_under_test()->event_new(g, out);
}

static enum err make_all(struct gpu_rig *r, const struct weight_part *p) {
    struct gpu_weights *m = NULL;
    struct weight *w = NULL;
    enum err e = gpu_weights_new(&failing, r->gpu, true, SMALL, &m, &said);
    if (e == ERR_OK)
        e = gpu_weight_new(m, WEIGHT_LINEAR, p, 1, (struct precision){0}, &w, &said);
    CHECK((e == ERR_OK) == (w != NULL));
    if (m)
        gpu_weight_free(m, w);
    gpu_weights_free(m);
    return e;
}

static void test_failures(struct gpu_rig *r) {
    failing = *r->api;
    failing.alloc = alloc_or_not;
    failing.alloc_host = alloc_host_or_not;
    failing.stream_new = stream_or_not;
    failing.event_new = event_or_not;
    struct gpu_rig_stored n = gpu_rig_store(DTYPE_Q6_K, 10, 256);
    struct weight_part p = gpu_rig_part(&n, true);
    int failures = 0;
    for (fail_at = 1;; fail_at++) {
        calls = 0;
        enum err e = make_all(r, &p);
        if (e == ERR_OK)
            break;
        failures++;
        CHECK_INT(e, ERR_NOMEM);
        CHECK(strstr(said.text, "bytes") != NULL);
        CHECK(strchr(said.text, '\n') == NULL);
    }
    CHECK_INT(failures, 6); // a stream, two pieces with an event each, the weight
    CHECK_STR(said.text, "no memory on the GPU for a weight of 2816 bytes");
    fail_at = 0;
    failures = 0;
    for (long nth = 1;; nth++) { // the host's
        fault_arm(FAULT_ALLOC, nth, false);
        enum err e = make_all(r, &p);
        fault_disarm();
        if (e == ERR_OK)
            break;
        failures++;
        CHECK_INT(e, ERR_NOMEM);
    }
    CHECK(failures >= 4);
    gpu_rig_stored_free(&n);
}

// Two threads make weights while a third drives a stream.
struct maker {
    struct gpu_rig *r;
    struct gpu_rig_stored stored;
    struct weight *w;
    enum err e;
};
static void *make_some(void *arg) {
    struct maker *m = arg;
    struct weight_part p = gpu_rig_part(&m->stored, true);
    for (int i = 0; i < 3 && m->e == ERR_OK; i++) {
        gpu_weight_free(m->r->weights, m->w);
        m->e =
            gpu_weight_new(m->r->weights, WEIGHT_LINEAR, &p, 1, (struct precision){0}, &m->w, NULL);
    }
    return NULL;
}
static void test_threads(struct gpu_rig *r) {
    static const enum dtype types[] = {DTYPE_Q5_K, DTYPE_BF16};
    struct maker m[2];
    pthread_t threads[2];
    float x[64] = {0}, got[64] = {0};
    for (size_t i = 0; i < 64; i++)
        x[i] = (float)i;
    for (size_t i = 0; i < 2; i++) {
        m[i] = (struct maker){.r = r, .stored = gpu_rig_store(types[i], 50, 512)};
        CHECK(pthread_create(&threads[i], NULL, make_some, &m[i]) == 0);
    }
    for (int i = 0; i < 20; i++) {
        struct gpu_mat y = gpu_rig_mat(r, x, 4, 16, GPU_F32);
        gpu_rig_read(r, y, got);
        check_same(got, x, 64);
        gpu_rig_drop(r, y);
    }
    for (size_t i = 0; i < 2; i++) {
        pthread_join(threads[i], NULL);
        CHECK_INT(m[i].e, ERR_OK);
        float *values = gpu_rig_alloc(m[i].stored.out * m[i].stored.in, 4);
        gpu_rig_widen(r, m[i].w, values);
        check_same(values, m[i].stored.values, m[i].stored.out * m[i].stored.in);
        gpu_weight_free(r->weights, m[i].w);
        gpu_rig_stored_free(&m[i].stored);
        free(values);
    }
}

int main(void) {
    struct gpu_rig r = gpu_rig_open(SMALL);
    for (enum dtype t = DTYPE_Q4_0; t < DTYPE_COUNT; t++) {
        test_golden(&r, t);
        test_widths(&r, t);
        test_refused_blocks(&r, t);
    }
    test_floats(&r);
    test_joined(&r);
    test_refused(&r);
    test_file(&r);
    test_failures(&r);
    test_threads(&r);
    gpu_rig_close(&r);
    return check_done();
}
