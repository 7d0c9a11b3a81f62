// Weights that stay as they are stored: f16, bf16 and GGUF's block types, of every kernel set,
// against what gguf-py's dequantize gives and double precision; the same bits in any batch, at any
// place, on any number of threads.
#include "compute/blocks.h"
#include "tests/unit/device_rig.h"

#include <ctype.h>

enum { GOLDEN = 512 };

static struct weight *prepare(struct device *d, enum weight_kind kind,
                              const struct weight_part *parts, size_t n, struct precision p) {
    struct weight *w = NULL;
    struct errmsg msg = {0};
    CHECK_OK(d->ops->weight_prepare(d, kind, parts, n, p, &w, &msg), msg);
    return w;
}

static struct weight_part part_of(enum dtype t, const void *stored, size_t rows, size_t cols) {
    return (struct weight_part){.w = {"w", stored, t, 2, {rows, cols}, NULL, 0}};
}

static size_t stored_bytes(enum dtype t, size_t n) {
    return n / dtype_block(t) * dtype_block_bytes(t);
}

// Row `at` of w through the device's lookup.
static void look_up(struct device *d, const struct weight *w, int32_t at, size_t cols, float *out) {
    struct arena ws = rig_workspace(d, 1 << 20);
    struct mat y = rig_mat(d, &ws, 1, cols, NULL);
    struct embed_args a = {.tables = {w}, .index = {&at}, .count = 1};
    struct errmsg msg = {0};
    d->ops->embed(d, &a, y);
    CHECK_OK(device_sync(d, &msg), msg);
    d->ops->read(d, y, out);
    d->ops->workspace_free(d, &ws);
}

// Both ways a weight is kept, every value of the type, to the bit.
static const struct precision each_precision[] = {
    {.storage = WEIGHT_STORAGE_F32, .rounding = ACTIVATION_ROUNDING_NONE},
    {.storage = WEIGHT_STORAGE_STORED, .rounding = ACTIVATION_ROUNDING_NONE},
    {.storage = WEIGHT_STORAGE_STORED, .rounding = ACTIVATION_ROUNDING_INT8},
};
enum { EACH_PRECISION = sizeof each_precision / sizeof *each_precision };

static void test_golden(struct device *d, enum dtype t) {
    char path[96];
    snprintf(path, sizeof path, "tests/golden/data/blocks/%s.bin", dtype_name(t));
    for (char *c = path; *c; c++)
        *c = (char)tolower(*c);
    unsigned char file[GOLDEN * 8];
    FILE *f = fopen(path, "rb");
    size_t bytes = stored_bytes(t, GOLDEN);
    CHECK(f && fread(file, 1, sizeof file, f) == bytes + GOLDEN * 4);
    if (!f)
        return;
    fclose(f);
    float want[GOLDEN], got[GOLDEN];
    memcpy(want, file + bytes, sizeof want);
    for (int kind = WEIGHT_LINEAR; kind <= WEIGHT_TABLE; kind++)
        for (size_t p = 0; p < EACH_PRECISION; p++) {
            struct weight_part part = part_of(t, file, 1, GOLDEN);
            struct weight *w = prepare(d, (enum weight_kind)kind, &part, 1, each_precision[p]);
            look_up(d, w, 0, GOLDEN, got);
            for (size_t i = 0; i < GOLDEN; i++)
                CHECK(got[i] == want[i]); // 0 and -0 alike
            d->ops->weight_free(d, w);
        }
}

// ---- products ----

// A weight, as stored and as f32.
struct narrow {
    enum dtype t;
    size_t out, in;
    unsigned char *stored;
    float *values, *bias;
};

static uint16_t half_near(float v) { // of a normal range: by cutting
    uint32_t bits;
    memcpy(&bits, &v, 4);
    return (uint16_t)((bits >> 16 & 0x8000U) | (((bits >> 23 & 255U) - 112) << 10) |
                      (bits >> 13 & 1023U));
}

static void put16(unsigned char *to, uint16_t v) { memcpy(to, &v, 2); }

static struct narrow narrow_new(enum dtype t, size_t out, size_t in) {
    struct narrow n = {.t = t, .out = out, .in = in, .bias = rig_floats(out, 1)};
    size_t bytes = stored_bytes(t, out * in), size = dtype_block_bytes(t);
    n.stored = rig_alloc(bytes, 1);
    n.values = rig_alloc(out * in, sizeof(float));
    for (size_t i = 0; i < bytes; i++)
        n.stored[i] = (unsigned char)(rig_random() >> 20);
    bool k = dtype_block(t) == 256;
    for (unsigned char *b = n.stored; b < n.stored + bytes; b += size) {
        float scale = (k ? 0.004F : 0.1F) * (1 + 0.2F * rig_normal());
        uint16_t d = half_near(scale), m = half_near(scale * (k ? 1.1F : -7));
        if (t == DTYPE_F16) {
            put16(b, half_near(0.3F + 0.1F * rig_normal()));
        } else if (t == DTYPE_BF16) {
            b[1] = (unsigned char)((b[1] & 0x80U) | 0x3eU); // about 0.2
        } else if (t == DTYPE_Q2_K) {
            put16(b + 80, d), put16(b + 82, m);
        } else if (t == DTYPE_Q3_K || t == DTYPE_Q6_K) {
            put16(b + size - 2, d);
        } else {
            put16(b, d);
            if (t == DTYPE_Q4_1 || t == DTYPE_Q5_1 || t == DTYPE_Q4_K || t == DTYPE_Q5_K)
                put16(b + 2, m);
        }
    }
    return n;
}

static void narrow_free(struct narrow *n) { free(n->stored), free(n->values), free(n->bias); }

static struct weight *narrow_weight(struct device *d, const struct narrow *n, struct precision p) {
    struct weight_part part = part_of(n->t, n->stored, n->out, n->in);
    part.bias = (struct tensor){"b", n->bias, DTYPE_F32, 1, {n->out}, NULL, 0};
    return prepare(d, WEIGHT_LINEAR, &part, 1, p);
}

static void narrow_values(struct device *d, const struct narrow *n) {
    struct weight_part part = part_of(n->t, n->stored, n->out, n->in);
    struct weight *w = prepare(d, WEIGHT_TABLE, &part, 1, PRECISION_STORED);
    for (size_t r = 0; r < n->out; r++)
        look_up(d, w, (int32_t)r, n->in, n->values + r * n->in);
    d->ops->weight_free(d, w);
}

// x as the int8 products see it, in double.
static void rounded(const float *x, size_t n, double *out) {
    for (size_t at = 0; at < n; at += UNIT) {
        float most = 0;
        for (size_t i = 0; i < UNIT; i++)
            most = fmaxf(most, fabsf(x[at + i]));
        float steps = 127;
        double least = HUGE_VAL;
        for (int down = 0; most > 0 && down < 4; down++) {
            float c = 127 - (float)down;
            double loss = 0;
            for (size_t i = 0; i < UNIT; i++) {
                float v = x[at + i] * (c * (1 / most));
                loss += pow((double)(v - rintf(v)) * 127 / (double)c, 2);
            }
            if (loss < least) {
                least = loss;
                steps = c;
            }
        }
        for (size_t i = 0; i < UNIT; i++)
            out[at + i] =
                most > 0 ? (double)rintf(x[at + i] * (steps * (1 / most))) * (double)(most / steps)
                         : 0;
    }
}

static void ref_narrow(const struct narrow *n, const float *x, size_t rows, bool int8, float *y,
                       float *bound) {
    double *exact = rig_alloc(n->in, sizeof *exact);
    for (size_t r = 0; r < rows; r++) {
        for (size_t i = 0; i < n->in; i++)
            exact[i] = (double)x[r * n->in + i];
        if (int8)
            rounded(x + r * n->in, n->in, exact);
        for (size_t o = 0; o < n->out; o++) {
            double sum = (double)n->bias[o], size = fabs(sum);
            for (size_t i = 0; i < n->in; i++) {
                double term = (double)n->values[o * n->in + i] * exact[i];
                sum += term;
                size += fabs(term);
            }
            y[r * n->out + o] = (float)sum;
            bound[r * n->out + o] = (float)size;
        }
    }
    free(exact);
}

enum { MOST = 100 };

static bool runs_int8(enum dtype t, struct precision p) {
    return p.rounding & ACTIVATION_ROUNDING_INT8 && dtype_is_block(t);
}

static void test_type(struct device *const *devices, size_t count, enum dtype t, size_t out,
                      size_t in) {
    static const size_t batches[][2] = {// from, rows
                                        {0, 1},  {77, 1},  {0, 2},  {31, 3},  {5, 5},
                                        {9, 16}, {60, 17}, {3, 40}, {0, MOST}};
    struct device *d = devices[0];
    struct narrow n = narrow_new(t, out, in);
    narrow_values(d, &n);
    float *x = rig_floats(MOST * in, 1), *want = rig_alloc(MOST * out, 4);
    float *size = rig_alloc(MOST * out, 4), *all = rig_alloc(MOST * out, 4);
    float *got = rig_alloc(MOST * out, 4), *first = rig_alloc(MOST * out, 4);
    for (size_t i = 0; i < UNIT; i++)
        x[3 * in + i] = 0; // a block of nothing
    for (size_t each = 0; each < EACH_PRECISION; each++) {
        struct precision p = each_precision[each];
        ref_narrow(&n, x, MOST, runs_int8(t, p), want, size);
        for (size_t i = 0; i < count; i++) {
            struct weight *w = narrow_weight(devices[i], &n, p);
            rig_run(devices[i], w, x, MOST, in, out, all);
            if (i == 0) {
                memcpy(first, all, MOST * out * sizeof *all);
                // one chain of k sums: each rounding is 2^-24 of a partial sum at most
                for (size_t j = 0; j < MOST * out; j++)
                    CHECK(fabs((double)all[j] - (double)want[j]) <=
                          1e-6 * (double)size[j] + 1e-7 * fabs((double)want[j]));
            }
            for (size_t b = 0; b < sizeof batches / sizeof *batches; b++) {
                rig_run(devices[i], w, x + batches[b][0] * in, batches[b][1], in, out, got);
                CHECK(memcmp(got, first + batches[b][0] * out, batches[b][1] * out * 4) == 0);
            }
            if (p.storage == WEIGHT_STORAGE_STORED &&
                !dtype_is_block(t)) { // the very numbers of f32
                struct weight *wide = rig_linear(devices[i], n.values, n.bias, out, in);
                rig_run(devices[i], wide, x, MOST, in, out, got);
                CHECK(memcmp(got, first, MOST * out * sizeof *got) == 0);
                devices[i]->ops->weight_free(devices[i], wide);
            }
            devices[i]->ops->weight_free(devices[i], w);
        }
        // rounding x to int8 may move a sum by half a step of each block
        if (runs_int8(t, p)) {
            float *f32 = got, *unused = all;
            ref_narrow(&n, x, MOST, false, f32, unused);
            double off = 0, power = 0;
            for (size_t j = 0; j < MOST * out; j++) {
                off += ((double)first[j] - (double)f32[j]) * ((double)first[j] - (double)f32[j]);
                power += (double)f32[j] * (double)f32[j];
            }
            CHECK(sqrt(off / power) < 0.012);
        }
    }
    for (size_t i = 0; dtype_is_block(t) && i < count; i++) { // NARROW: the very numbers of INT8
        struct weight *w = narrow_weight(devices[i], &n, PRECISION_NARROW);
        rig_run(devices[i], w, x, MOST, in, out, got);
        CHECK(memcmp(got, first, MOST * out * sizeof *got) == 0);
        devices[i]->ops->weight_free(devices[i], w);
    }
    free(x), free(want), free(size), free(all), free(got), free(first);
    narrow_free(&n);
}

// Parts of different types, one with rope's pairs side by side; fused tails; a NaN in a row.
static void test_mixed(struct device *d) {
    enum { IN = 512, A = 48, B = 21, C = 40, OUT = A + B + C, ROWS = 19, HD = 12 };
    static const enum dtype types[][3] = {{DTYPE_Q4_K, DTYPE_Q4_K, DTYPE_Q6_K},
                                          {DTYPE_Q8_0, DTYPE_F32, DTYPE_Q4_1},
                                          {DTYPE_BF16, DTYPE_F16, DTYPE_BF16},
                                          {DTYPE_Q8_0, DTYPE_BF16, DTYPE_Q4_1}};
    static const size_t outs[] = {A, B, C};
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        struct narrow parts[3];
        struct weight_part p[3];
        float *x = rig_floats(ROWS * IN, 1), *values = rig_alloc((size_t)OUT * IN, 4);
        float bias[OUT], want[ROWS * OUT], got[ROWS * OUT];
        for (size_t j = 0, row = 0; j < 3; row += outs[j++]) {
            if (types[i][j] == DTYPE_F32) {
                parts[j] = (struct narrow){.t = DTYPE_F32, .out = outs[j], .in = IN};
                parts[j].values = rig_floats(outs[j] * IN, 1);
                parts[j].bias = rig_floats(outs[j], 1);
                p[j] = part_of(DTYPE_F32, parts[j].values, outs[j], IN);
            } else {
                parts[j] = narrow_new(types[i][j], outs[j], IN);
                narrow_values(d, &parts[j]);
                p[j] = part_of(types[i][j], parts[j].stored, outs[j], IN);
            }
            p[j].bias = (struct tensor){"b", parts[j].bias, DTYPE_F32, 1, {outs[j]}, NULL, 0};
            p[j].interleaved_head_dim = j == 0 ? HD : 0;
            for (size_t r = 0; r < outs[j]; r++) {
                size_t in_head = r % HD, from = r;
                if (j == 0)
                    from =
                        r - in_head + (in_head < HD / 2 ? 2 * in_head : 2 * (in_head - HD / 2) + 1);
                memcpy(values + (row + r) * IN, parts[j].values + from * IN, IN * 4);
                bias[row + r] = parts[j].bias[from];
            }
        }
        struct weight *w = prepare(d, WEIGHT_LINEAR, p, 3, PRECISION_STORED);
        struct weight *w8 = prepare(d, WEIGHT_LINEAR, p, 3, PRECISION_INT8);
        for (size_t r = 0; r < OUT; r++) { // rows come back from wherever they were put
            float row[IN];
            look_up(d, w, (int32_t)r, IN, row);
            CHECK_NEAR(row, values + r * IN, IN, 0, 0);
        }
        rig_run(d, w, x, ROWS, IN, OUT, got);
        ref_linear(x, values, bias, ROWS, IN, OUT, want);
        CHECK_NEAR(got, want, ROWS * OUT, 1e-3, 1e-5);
        rig_run(d, w8, x, ROWS, IN, OUT, got);
        CHECK_NEAR(got, want, ROWS * OUT, 6, 0); // of about 150: 2 % of the root mean square
        memcpy(want, got, sizeof want);
        struct weight *narrow = prepare(d, WEIGHT_LINEAR, p, 3, PRECISION_NARROW);
        rig_run(d, narrow, x, ROWS, IN, OUT, got); // one part of bf16 does not make it pairs
        CHECK(memcmp(got, want, sizeof want) == 0);
        d->ops->weight_free(d, narrow);

        rig_check_fused(d, w8, x, ROWS, IN, OUT);
        d->ops->weight_free(d, w);
        d->ops->weight_free(d, w8);
        for (size_t j = 0; j < 3; j++)
            narrow_free(&parts[j]);
        free(x), free(values);
    }
}

static void test_refused(struct device *d, enum dtype t) {
    enum { ROWS = 40, BAD = 33 };
    struct narrow n = narrow_new(t, ROWS, 512);
    struct weight_part p = part_of(t, n.stored, ROWS, 512);
    struct weight *w = NULL;
    struct errmsg msg = {0};
    size_t block = dtype_block(t), size = dtype_block_bytes(t), at = 512 / block * BAD + 1;
    bool behind = t == DTYPE_Q3_K || t == DTYPE_Q6_K || t == DTYPE_Q2_K;
    put16(n.stored + at * size + (behind ? size - 2 : 0), 0xfc00); // -Inf
    char text[64];
    snprintf(text, sizeof text, "tensor 'w': non-finite at %zu", at * block);
    for (int kind = WEIGHT_LINEAR; kind <= WEIGHT_TABLE; kind++) {
        CHECK(d->ops->weight_prepare(d, (enum weight_kind)kind, &p, 1, PRECISION_INT8, &w, &msg) ==
              ERR_INVALID);
        CHECK(!w);
        CHECK_STR(msg.text, text);
    }
    p.w.shape[1] = 500;
    CHECK(d->ops->weight_prepare(d, WEIGHT_LINEAR, &p, 1, PRECISION_F32, &w, &msg) == ERR_INVALID);
    p.w.shape[1] = 512;
    p.interleaved_head_dim = 48; // 40 rows are no heads of 48
    CHECK(d->ops->weight_prepare(d, WEIGHT_LINEAR, &p, 1, PRECISION_F32, &w, &msg) == ERR_INVALID);
    narrow_free(&n);
}

// What a weight takes: what is stored, and 6 % at most (q3_K) for its scales' bytes.
static void test_bytes(struct device *d, enum dtype t) {
    struct narrow n = narrow_new(t, 256, 512);
    struct weight *w = narrow_weight(d, &n, PRECISION_INT8);
    double stored = (double)stored_bytes(t, (size_t)256 * 512);
    CHECK((double)d->ops->weight_bytes(w) < 1.06 * stored + 256 * 4 + 512);
    d->ops->weight_free(d, w);
    narrow_free(&n);
}

int main(void) {
    static const int threads[] = {1, 2, 3};
    enum { DEVICES = 3 };
    for (int i = 0; i < RIG_SETS; i++) {
        struct device *devices[DEVICES];
        size_t count = 0;
        while (count < DEVICES &&
               (devices[count] = rig_device(rig_sets[i], threads[count], CPU_GEMM_OWN)))
            count++;
        for (enum dtype t = DTYPE_Q4_0; count == DEVICES && t < DTYPE_COUNT; t++) {
            bool k = dtype_block(t) == 256, plain = strcmp(rig_sets[i], "generic") == 0;
            test_golden(devices[0], t);
            test_type(devices, plain ? 2 : DEVICES, t, 37, k ? 512 : 288);
            if (!plain)
                test_type(devices, DEVICES, t, 100, k ? 256 : 32);
            test_refused(devices[1], t);
            test_bytes(devices[0], t);
        }
        if (count == DEVICES) {
            test_type(devices, DEVICES, DTYPE_F16, 75, 45);
            test_type(devices, DEVICES, DTYPE_BF16, 75, 45);
            test_mixed(devices[1]);
        }
        while (count > 0)
            cpu_device_free(devices[--count]);
    }
    return check_done();
}
