// Products on the GPU: every format against double precision, with all that is done within a
// launch; where all is f32 a row's bits are the same however many rows there are, on either side of
// the border between the two ways.
#include "compute/cuda/linear.h"
#include "tests/unit/gpu_weight_kit.h"

enum { MOST = 33 };

static struct gpu_rig rig;
static struct gpu_products products;

struct ask {
    enum gpu_type x, y, residual; // types
    bool norm, swiglu, add, in_place;
    enum gpu_activation activation;
};

static double activated(enum gpu_activation f, double v) {
    switch (f) {
    case GPU_GELU:
        return v / 2 * (1 + erf(v / sqrt(2)));
    case GPU_GELU_TANH:
        return v / 2 * (1 + tanh(0.7978845608028654 * (v + 0.044715 * v * v * v)));
    case GPU_RELU:
        return v > 0 ? v : 0;
    case GPU_TANH:
        return tanh(v);
    case GPU_SILU:
        return v / (1 + exp(-v));
    default:
        return v;
    }
}

// A joined weight with what it stands for.
struct joined {
    struct gpu_rig_stored part[3];
    size_t parts, out, in;
    float *values, *bias, *gamma; // gamma on the host, and
    struct weight *w, *g;         // on the card
};

static struct joined join(const enum dtype *types, const size_t *outs, size_t n, size_t in,
                          bool bias, enum compute_floats floats) {
    struct joined j = {.parts = n, .in = in, .gamma = gpu_rig_floats(in, 0.5F)};
    struct weight_part p[3];
    for (size_t i = 0; i < n; i++) {
        j.part[i] = gpu_rig_store(types[i], outs[i], in);
        p[i] = gpu_rig_part(&j.part[i], bias);
        j.out += outs[i];
    }
    j.values = gpu_rig_alloc(j.out * in, sizeof(float));
    j.bias = gpu_rig_alloc(j.out, sizeof(float));
    for (size_t i = 0, row = 0; i < n; row += outs[i++]) {
        memcpy(j.values + row * in, j.part[i].values, outs[i] * in * sizeof(float));
        if (bias)
            memcpy(j.bias + row, j.part[i].bias, outs[i] * sizeof(float));
    }
    j.w = gpu_rig_weight(&rig, WEIGHT_LINEAR, p, n, floats);
    struct weight_part g = {.w = {"g", j.gamma, DTYPE_F32, 1, {in}, NULL, 0}};
    j.g = gpu_rig_weight(&rig, WEIGHT_VECTOR, &g, 1, floats);
    return j;
}

static void join_free(struct joined *j) {
    gpu_weight_free(rig.weights, j->w);
    gpu_weight_free(rig.weights, j->g);
    for (size_t i = 0; i < j->parts; i++)
        gpu_rig_stored_free(&j->part[i]);
    free(j->values), free(j->bias), free(j->gamma);
}

enum { EPS_OVER = 100000 };

// got[rows * outputs] of x's rows.
static void run(const struct joined *j, const struct ask *a, const float *x, const float *residual,
                size_t rows, float *got) {
    size_t outputs = a->swiglu ? j->out / 2 : j->out;
    struct gpu_mat from = gpu_rig_mat(&rig, x, rows, j->in, a->x);
    struct gpu_mat add = {0}, to;
    if (a->add)
        add = gpu_rig_mat(&rig, residual, rows, outputs, a->residual);
    to = a->in_place ? add : gpu_rig_mat(&rig, NULL, rows, outputs, a->y);
    struct gpu_linear_how how = {
        .activation = a->activation, .residual = add, .eps = 1.0F / EPS_OVER};
    how.swiglu = a->swiglu;
    if (a->norm) {
        how.gamma = gpu_weight_vector(j->g);
        how.normed = gpu_rig_mat(&rig, NULL, rows + 2, j->in, a->x);
    }
    if (a->swiglu)
        how.gate_up = gpu_rig_mat(&rig, NULL, rows + 2, j->out, a->y);
    struct errmsg msg = {0};
    CHECK_OK(gpu_linear(&products, j->w, from, &how, to, &msg), msg);
    gpu_rig_read(&rig, to, got);
    float *after = gpu_rig_alloc(rows * j->in, sizeof *after); // x is as it was
    gpu_rig_read(&rig, from, after);
    int changed = 0;
    for (size_t i = 0; i < rows * j->in; i++) {
        uint16_t narrow = a->x == GPU_F32 ? 0 : gpu_rig_near(a->x, x[i]);
        changed += after[i] != (a->x == GPU_F32 ? x[i] : gpu_rig_value(a->x, &narrow, 0));
    }
    CHECK_INT(changed, 0);
    free(after);
    gpu_rig_drop(&rig, from);
    gpu_rig_drop(&rig, to);
    if (a->add && !a->in_place)
        gpu_rig_drop(&rig, add);
    if (a->norm)
        gpu_rig_drop(&rig, how.normed);
    if (a->swiglu)
        gpu_rig_drop(&rig, how.gate_up);
}

// In double precision; size: what the sums' terms are in all.
static void reference(const struct joined *j, const struct ask *a, const float *x,
                      const float *residual, size_t rows, double *want, double *size) {
    size_t outputs = a->swiglu ? j->out / 2 : j->out;
    double *row = gpu_rig_alloc(j->in, sizeof *row), *sum = gpu_rig_alloc(j->out, sizeof *sum);
    double *most = gpu_rig_alloc(j->out, sizeof *most);
    for (size_t r = 0; r < rows; r++) {
        double square = 0;
        for (size_t i = 0; i < j->in; i++) {
            row[i] = (double)x[r * j->in + i];
            square += row[i] * row[i];
        }
        double scale = 1 / sqrt(square / (double)j->in + 1.0 / EPS_OVER);
        for (size_t i = 0; a->norm && i < j->in; i++)
            row[i] *= scale * (double)j->gamma[i];
        for (size_t o = 0; o < j->out; o++) {
            sum[o] = (double)j->bias[o];
            most[o] = fabs(sum[o]);
            for (size_t i = 0; i < j->in; i++) {
                double term = (double)j->values[o * j->in + i] * row[i];
                sum[o] += term;
                most[o] += fabs(term);
            }
        }
        for (size_t o = 0; o < outputs; o++) {
            double v = a->swiglu ? activated(GPU_SILU, sum[o]) * sum[o + outputs]
                                 : activated(a->activation, sum[o]);
            double m = a->swiglu ? most[o] * (1 + fabs(sum[o + outputs])) +
                                       most[o + outputs] * (1 + fabs(sum[o]))
                                 : most[o];
            if (a->add) {
                v += (double)residual[r * outputs + o];
                m += fabs((double)residual[r * outputs + o]);
            }
            want[r * outputs + o] = v;
            size[r * outputs + o] = m;
        }
    }
    free(row), free(sum), free(most);
}

static uint32_t bits_of(float x) {
    uint32_t u;
    memcpy(&u, &x, sizeof u);
    return u;
}

static bool is_exact(const struct joined *j, const struct ask *a) {
    return j->w->floats == GPU_F32 && a->x == GPU_F32 && a->y == GPU_F32 &&
           (!a->add || a->residual == GPU_F32);
}

// All rows at once, and some at a time.
static void check_product(const struct joined *j, const struct ask *a, const size_t *batches,
                          size_t count) {
    size_t outputs = a->swiglu ? j->out / 2 : j->out;
    float *x = gpu_rig_floats(MOST * j->in, 1), *add = gpu_rig_floats(MOST * outputs, 1);
    float *all = gpu_rig_alloc(MOST * outputs, sizeof *all);
    float *got = gpu_rig_alloc(MOST * outputs, sizeof *got);
    double *want = gpu_rig_alloc(MOST * outputs, sizeof *want);
    double *size = gpu_rig_alloc(MOST * outputs, sizeof *size);
    bool exact = is_exact(j, a), bits = exact && gpu_under_test_keeps_bits();
    // what a sum of f32 loses of its terms; narrow numbers round x, y, w and what is between
    bool f16 = j->w->floats == GPU_F16 || a->x == GPU_F16;
    bool bf16 = j->w->floats == GPU_BF16 || a->x == GPU_BF16 || a->y == GPU_BF16 ||
                (a->add && a->residual == GPU_BF16);
    double bar = exact ? 1e-6 : bf16 ? 0.012 : f16 || a->y == GPU_F16 ? 0.0016 : 1e-6;
    reference(j, a, x, add, MOST, want, size);
    run(j, a, x, add, MOST, all);
    int off = 0;
    for (size_t i = 0; i < MOST * outputs; i++)
        off += !(fabs((double)all[i] - want[i]) <= bar * (size[i] + fabs(want[i])));
    CHECK_INT(off, 0);
    for (size_t b = 0; b < count; b++) {
        size_t rows = batches[b], from = (MOST - rows) * (b % 3) / 2;
        run(j, a, x + from * j->in, add + from * outputs, rows, got);
        off = 0;
        for (size_t i = 0; i < rows * outputs; i++) {
            size_t at = from * outputs + i;
            off += bits ? bits_of(got[i]) != bits_of(all[at])
                        : !(fabs((double)got[i] - want[at]) <= bar * (size[at] + fabs(want[at])));
        }
        CHECK_INT(off, 0);
        if (off)
            fprintf(stderr, "    %d of %zu: rows %zu of [%zu, %zu], format %d, floats %d, x %d\n",
                    off, rows * outputs, rows, j->out, j->in, (int)j->w->segment[0].rows.format,
                    (int)j->w->floats, (int)a->x);
    }
    free(x), free(add), free(all), free(got), free(want), free(size);
}

static const size_t each_count[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 16};
static const size_t some_counts[] = {1, 3, 8, 9};
enum { EACH_COUNT = 10, SOME_COUNTS = 4 };

// Every format, plainly, of widths around the steps and their fours.
static void test_formats(enum dtype t) {
    static const size_t floats[] = {45, 64, 256, 896, 1000, 2304}, k[] = {256, 768, 2304},
                        plain[] = {32, 64, 896, 1056, 2304};
    bool block = dtype_is_block(t), super = dtype_block(t) == 256;
    const size_t *widths = !block ? floats : super ? k : plain;
    size_t count = !block ? 6 : super ? 3 : 5, out = 19;
    for (size_t i = 0; i < count; i++) {
        struct joined j = join(&t, &out, 1, widths[i], i % 2 == 0, COMPUTE_F32);
        struct ask a = {.norm = false};
        check_product(&j, &a, each_count, i == 0 ? EACH_COUNT : SOME_COUNTS);
        join_free(&j);
        j = join(&t, &out, 1, widths[i], i % 2 == 0, i % 2 ? COMPUTE_BF16 : COMPUTE_F16);
        a.x = j.w->floats;
        a.y = i % 3 ? j.w->floats : GPU_F32;
        check_product(&j, &a, i == 0 ? each_count : some_counts, i == 0 ? EACH_COUNT : SOME_COUNTS);
        join_free(&j);
    }
}

// What is done within a launch, and behind one where there are many rows.
static void test_fused(enum compute_floats floats, const enum dtype *types) {
    static const size_t outs[] = {24, 8, 16};
    enum { IN = 512 };
    for (size_t parts = 1; parts <= 3; parts += 2) {
        struct joined j = join(types, outs, parts, IN, true, floats);
        enum gpu_type t = j.w->floats;
        struct ask asks[] = {
            {.activation = GPU_GELU},
            {.activation = GPU_GELU_TANH},
            {.activation = GPU_RELU},
            {.activation = GPU_TANH},
            {.activation = GPU_SILU},
            {.add = true},
            {.add = true, .in_place = true},
            {.norm = true},
            {.norm = true, .swiglu = true},
            {.swiglu = true},
            {.norm = true, .add = true, .in_place = true},
        };
        for (size_t i = 0; i < sizeof asks / sizeof *asks; i++) {
            asks[i].x = asks[i].y = asks[i].residual = t;
            check_product(&j, &asks[i], some_counts, SOME_COUNTS);
        }
        join_free(&j);
    }
}

// Types of x, y and residual that are not the weight's.
static void test_types(void) {
    static const enum gpu_type types[] = {GPU_F32, GPU_BF16, GPU_F16};
    static const enum compute_floats floats[] = {COMPUTE_F32, COMPUTE_BF16, COMPUTE_F16};
    static const enum dtype stored[] = {DTYPE_F32, DTYPE_BF16, DTYPE_Q8_0};
    for (size_t f = 0; f < 3; f++)
        for (size_t x = 0; x < 3; x++)
            for (size_t y = 0; y < 3; y++) {
                size_t out = 21;
                struct joined j = join(&stored[(f + x) % 3], &out, 1, 96, true, floats[f]);
                struct ask a = {.x = types[x], .y = types[y], .activation = GPU_RELU};
                check_product(&j, &a, some_counts, SOME_COUNTS);
                a = (struct ask){
                    .x = types[x], .y = types[y], .add = true, .residual = types[(x + y) % 3]};
                check_product(&j, &a, some_counts, SOME_COUNTS);
                join_free(&j);
            }
}

// Rows longer than shared memory holds at once, more outputs than there are warps, and more of them
// than are made plain at once.
static void test_large(void) {
    enum dtype t = DTYPE_Q4_K;
    size_t out = 3;
    struct ask a = {.norm = true};
    struct joined j = join(&t, &out, 1, 47 * 256, true, COMPUTE_F32);
    check_product(&j, &a, some_counts, SOME_COUNTS);
    join_free(&j);
    a = (struct ask){.norm = false};
    t = DTYPE_F32;
    out = 801;
    j = join(&t, &out, 1, 1300, true, COMPUTE_F32);
    check_product(&j, &a, some_counts, SOME_COUNTS);
    join_free(&j);
    j = join(&t, &out, 1, 2600, true, COMPUTE_F16);
    a.x = GPU_F16;
    check_product(&j, &a, some_counts, SOME_COUNTS);
    join_free(&j);
    t = DTYPE_Q8_0;
    a.x = GPU_F32;
    struct gpu_products small = products;
    products.widened_bytes = 8 * 288 * sizeof(float);
    out = 19;
    j = join(&t, &out, 1, 288, true, COMPUTE_F32);
    check_product(&j, &a, some_counts, SOME_COUNTS);
    struct errmsg msg = {0};
    struct gpu_mat x = {j.w->memory, 9, 288, 288, GPU_F32}, y = {j.w->memory, 9, 19, 32, GPU_F32};
    products.widened_bytes -= 4;
    CHECK_ERROR(gpu_linear(&products, j.w, x, NULL, y, &msg), ERR_TOO_LARGE, msg, "288 numbers");
    products = small;
    products.rows_bytes = 100;
    x.type = GPU_BF16;
    CHECK_ERROR(gpu_linear(&products, j.w, x, NULL, y, &msg), ERR_TOO_LARGE, msg, "between types");
    products = small;
    join_free(&j);
}

static struct gpu_api failing;
static int calls, fail_at;
static enum err alloc_or_not(struct gpu *g, size_t bytes, void **out) {
    return ++calls == fail_at ? ERR_NOMEM : gpu_under_test()->alloc(g, bytes, out);
}

static void test_open(void) {
    failing = *rig.api;
    failing.alloc = alloc_or_not;
    struct gpu_products p;
    struct errmsg msg = {0};
    for (fail_at = 1; fail_at <= 2; fail_at++) {
        calls = 0;
        CHECK_ERROR(gpu_products_open(&p, &failing, rig.gpu, rig.stream, true, 4096, &msg),
                    ERR_NOMEM, msg, fail_at == 1 ? "67108864 bytes" : "4096 bytes");
        gpu_products_close(&p);
    }
    CHECK_OK(gpu_products_open(&p, &failing, rig.gpu, rig.stream, false, 0, &msg), msg);
    CHECK(!p.widened && !p.rows);
    gpu_products_close(&p);
}

int main(void) {
    rig = gpu_rig_open(1 << 20);
    struct errmsg msg = {0};
    CHECK_OK(gpu_products_open(&products, rig.api, rig.gpu, rig.stream, true, 1 << 19, &msg), msg);
    for (enum dtype t = DTYPE_F32; t < DTYPE_COUNT; t++)
        if (t <= DTYPE_BF16 || dtype_is_block(t))
            test_formats(t);
    test_fused(COMPUTE_F32, (enum dtype[]){DTYPE_F32, DTYPE_Q4_K, DTYPE_Q6_K});
    test_fused(COMPUTE_BF16, (enum dtype[]){DTYPE_Q4_0, DTYPE_BF16, DTYPE_Q6_K});
    test_fused(COMPUTE_F16, (enum dtype[]){DTYPE_F16, DTYPE_Q8_0, DTYPE_F32});
    test_types();
    test_large();
    test_open();
    gpu_products_close(&products);
    gpu_rig_close(&rig);
    return check_done();
}
