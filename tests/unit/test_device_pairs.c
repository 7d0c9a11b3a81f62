// bf16 weights with activations rounded to bf16: products of bf16 pairs where the kernel set has
// them, against double precision; elsewhere, and beside weights of other types, the very numbers of
// f32 activations. The same bits in any batch, at any place, on any number of threads.
#include "tests/unit/device_rig.h"

enum { MOST = 100, DEVICES = 3 };

static struct weight *prepare(struct device *d, const struct weight_part *parts, size_t n,
                              struct precision p) {
    struct weight *w = NULL;
    struct errmsg msg = {0};
    CHECK_OK(d->ops->weight_prepare(d, WEIGHT_LINEAR, parts, n, p, &w, &msg), msg);
    return w;
}

static float from_bf16(uint16_t h) {
    uint32_t bits = (uint32_t)h << 16;
    float f;
    memcpy(&f, &bits, sizeof f);
    return f;
}

// To the nearest, ties to even; f is finite.
static uint16_t to_bf16(float f) {
    uint32_t bits;
    memcpy(&bits, &f, sizeof bits);
    return (uint16_t)((bits + 0x7fffU + (bits >> 16 & 1U)) >> 16);
}

struct matrix {
    size_t out, in;
    uint16_t *stored;
    float *bias;
};

static struct matrix matrix_new(size_t out, size_t in) {
    struct matrix m = {out, in, rig_alloc(out * in, sizeof *m.stored), rig_floats(out, 1)};
    for (size_t i = 0; i < out * in; i++)
        m.stored[i] = to_bf16(rig_normal());
    return m;
}

static void matrix_free(struct matrix *m) { free(m->stored), free(m->bias); }

static struct weight_part part_of(const struct matrix *m) {
    return (struct weight_part){.w = {"w", m->stored, DTYPE_BF16, 2, {m->out, m->in}, NULL, 0},
                                .bias = {"b", m->bias, DTYPE_F32, 1, {m->out}, NULL, 0}};
}

static void check_products(const struct matrix *m, const float *x, size_t rows, const float *got) {
    for (size_t r = 0; r < rows; r++) {
        bool near = true;
        for (size_t o = 0; o < m->out; o++) {
            double sum = (double)m->bias[o], size = fabs(sum);
            for (size_t i = 0; i < m->in; i++) {
                double term = (double)from_bf16(m->stored[o * m->in + i]) *
                              (double)from_bf16(to_bf16(x[r * m->in + i]));
                sum += term;
                size += fabs(term);
            }
            // Roundings are 2^-24 of a partial sum each and mostly cancel: 1e-6 of the terms, where
            // an input that is not rounded as bf16 is would be off by 2^-9 of its own.
            near = near && fabs((double)got[r * m->out + o] - sum) <= 1e-6 * size;
        }
        CHECK(near);
    }
}

static void test_shape(struct device *const *devices, bool pairs, size_t out, size_t in,
                       size_t rows) {
    static const size_t batches[][2] = {// from, rows
                                        {0, 1},   {77, 1}, {0, 2},   {31, 3}, {5, 5},
                                        {20, 14}, {9, 16}, {60, 17}, {3, 40}};
    struct matrix m = matrix_new(out, in);
    struct weight_part part = part_of(&m);
    float *x = rig_floats(rows * in, 1), *want = rig_alloc(rows * out, 4);
    float *got = rig_alloc(rows * out, 4), *row = rig_alloc(in, 4);
    x[0] = 1.00390625F, x[in - 1] = 1.01171875F; // ties: down to 1, up to 1.015625
    for (size_t i = 0; i < DEVICES; i++) {
        struct device *d = devices[i];
        struct weight *w = prepare(d, &part, 1, PRECISION_NARROW);
        rig_run(d, w, x, rows, in, out, got);
        if (i == 0) {
            memcpy(want, got, rows * out * sizeof *got);
            if (pairs)
                check_products(&m, x, rows, got);
        }
        CHECK(memcmp(got, want, rows * out * sizeof *got) == 0);
        for (size_t b = 0; b < sizeof batches / sizeof *batches; b++) {
            size_t from = batches[b][0], n = batches[b][1];
            if (from + n > rows)
                continue;
            rig_run(d, w, x + from * in, n, in, out, got);
            CHECK(memcmp(got, want + from * out, n * out * sizeof *got) == 0);
        }
        if (!pairs) {
            struct weight *stored = prepare(d, &part, 1, PRECISION_STORED);
            rig_run(d, stored, x, rows, in, out, got);
            CHECK(memcmp(got, want, rows * out * sizeof *got) == 0);
            d->ops->weight_free(d, stored);
        }
        for (size_t o = 0; o < out; o++) { // rows come back from wherever they were put
            struct arena ws = rig_workspace(d, 4 << 20);
            int32_t at = (int32_t)o;
            struct mat y = rig_mat(d, &ws, 1, in, NULL);
            struct embed_args a = {.tables = {w}, .index = {&at}, .count = 1};
            d->ops->embed(d, &a, y);
            d->ops->read(d, y, row);
            bool same = true;
            for (size_t k = 0; k < in; k++)
                same = same && row[k] == from_bf16(m.stored[o * in + k]);
            CHECK(same);
            d->ops->workspace_free(d, &ws);
        }
        d->ops->weight_free(d, w);
    }
    free(x), free(want), free(got), free(row);
    matrix_free(&m);
}

static void test_fused(struct device *d) {
    enum { IN = 71, OUT = 45, ROWS = 19 };
    struct matrix m = matrix_new(OUT, IN);
    struct weight_part part = part_of(&m);
    struct weight *w = prepare(d, &part, 1, PRECISION_NARROW);
    float *x = rig_floats((size_t)ROWS * IN, 1);
    rig_check_fused(d, w, x, ROWS, IN, OUT);
    d->ops->weight_free(d, w);
    free(x);
    matrix_free(&m);
}

// Beside a part of another type the rows stay f32: all parts see the same ones.
static void test_mixed(struct device *d) {
    enum { IN = 33, OUT = 20, ROWS = 17 };
    struct matrix a = matrix_new(OUT, IN), b = matrix_new(OUT, IN);
    struct weight_part parts[2] = {part_of(&a), part_of(&b)};
    float *wide = rig_alloc((size_t)OUT * IN, 4), *x = rig_floats((size_t)ROWS * IN, 1);
    for (size_t i = 0; i < (size_t)OUT * IN; i++)
        wide[i] = from_bf16(b.stored[i]);
    parts[1].w.data = wide;
    parts[1].w.dtype = DTYPE_F32;
    struct weight *narrow = prepare(d, parts, 2, PRECISION_NARROW);
    struct weight *stored = prepare(d, parts, 2, PRECISION_STORED);
    float got[ROWS * 2 * OUT], want[ROWS * 2 * OUT];
    rig_run(d, narrow, x, ROWS, IN, (size_t)2 * OUT, got);
    rig_run(d, stored, x, ROWS, IN, (size_t)2 * OUT, want);
    CHECK(memcmp(got, want, sizeof got) == 0);
    d->ops->weight_free(d, narrow);
    d->ops->weight_free(d, stored);
    free(wide), free(x);
    matrix_free(&a), matrix_free(&b);
}

// Parts that begin inside a panel, one with rope's pairs side by side: each as it is alone.
static void test_joined(struct device *d) {
    enum { IN = 37, A = 20, B = 24, HD = 8, ROWS = 17 };
    struct matrix a = matrix_new(A, IN), b = matrix_new(B, IN);
    struct weight_part parts[2] = {part_of(&a), part_of(&b)};
    parts[1].interleaved_head_dim = HD;
    float *x = rig_floats((size_t)ROWS * IN, 1);
    float both[ROWS * (A + B)], one[ROWS * A], two[ROWS * B];
    struct weight *w = prepare(d, parts, 2, PRECISION_NARROW);
    struct weight *first = prepare(d, parts, 1, PRECISION_NARROW);
    parts[1].interleaved_head_dim = 0;
    struct weight *second = prepare(d, parts + 1, 1, PRECISION_NARROW);
    rig_run(d, w, x, ROWS, IN, A + B, both);
    rig_run(d, first, x, ROWS, IN, A, one);
    rig_run(d, second, x, ROWS, IN, B, two);
    for (size_t r = 0; r < ROWS; r++) {
        CHECK(memcmp(both + r * (A + B), one + r * A, sizeof(float) * A) == 0);
        for (size_t o = 0; o < B; o++) {
            size_t i = o % HD, stored = o - i + (i < HD / 2 ? 2 * i : 2 * (i - HD / 2) + 1);
            CHECK(both[r * (A + B) + A + o] == two[r * B + stored]);
        }
    }
    d->ops->weight_free(d, w);
    d->ops->weight_free(d, first);
    d->ops->weight_free(d, second);
    free(x);
    matrix_free(&a), matrix_free(&b);
}

int main(void) {
    static const int threads[DEVICES] = {1, 2, 3};
    for (int i = 0; i < RIG_ALL_SETS; i++) {
        struct device *devices[DEVICES];
        size_t count = 0;
        bool pairs = strcmp(rig_sets[i], "avx512bf16") == 0;
        while (count < DEVICES &&
               (devices[count] = rig_device(rig_sets[i], threads[count], CPU_GEMM_OWN)))
            count++;
        if (count == DEVICES) {
            test_shape(devices, pairs, 75, 45, MOST);
            test_shape(devices, pairs, 64, 256, MOST);
            test_shape(devices, pairs, 1, 1, MOST);
            test_shape(devices, pairs, 33, 2, 40);
            test_shape(devices, pairs, 130, 67, 3);
            test_mixed(devices[1]);
            test_joined(devices[1]);
        }
        if (count == DEVICES && pairs) {
            test_shape(devices, pairs, 33, 9001, 7);    // more than is packed at once
            test_shape(devices, pairs, 3, 80001, MOST); // than is prepared at once
            test_fused(devices[1]);
        }
        while (count > 0)
            cpu_device_free(devices[--count]);
    }
    return check_done();
}
