// Pooling on the card, on the emulated GPU: each mode against double precision, the bits of f32,
// and sequences that have nothing to pool.
#include "tests/unit/gpu_rows_kit.h"

enum { SEQS = 8 };
static const int32_t lens[SEQS] = {1, 2, 7, 8, 9, 33, 3, 16};
static const int32_t skips[SEQS] = {0, 1, 3, 0, 8, 1, 0, 5};

struct shape {
    enum gpu_pool_mode mode;
    enum gpu_type t, out;
    size_t cols, shift;
    bool skip, normalize;
};

static void expect(const struct shape *c, const float *x, double *want) {
    size_t at = 0;
    for (size_t s = 0; s < SEQS; s++) {
        size_t from = at + (c->skip ? (size_t)skips[s] : 0), to = at + (size_t)lens[s];
        at = to;
        if (c->mode == GPU_POOL_CLS)
            to = from + 1;
        if (c->mode == GPU_POOL_LAST)
            from = to - 1;
        double squares = 0, n = (double)(to - from), *w = want + s * c->cols;
        for (size_t i = 0; i < c->cols; i++) {
            w[i] = c->mode == GPU_POOL_MAX ? -(double)INFINITY : 0;
            for (size_t r = from; r < to; r++) {
                double v = (double)x[r * c->cols + i];
                w[i] = c->mode == GPU_POOL_MAX ? fmax(w[i], v) : w[i] + v;
            }
            w[i] /= c->mode == GPU_POOL_MEAN ? n : c->mode == GPU_POOL_MEAN_SQRT ? sqrt(n) : 1;
            squares += w[i] * w[i];
        }
        for (size_t i = 0; i < c->cols && c->normalize && squares > 0; i++)
            w[i] /= sqrt(squares);
    }
}

static size_t starts_of(const int32_t *of, size_t seqs, int32_t *starts) {
    starts[0] = 0;
    for (size_t s = 0; s < seqs; s++)
        starts[s + 1] = starts[s] + of[s];
    return (size_t)starts[seqs];
}

static int32_t number_at(const int32_t *p) {
    float *bits = gpu_rig_read((struct gpu_mat){(void *)(uintptr_t)p, 1, 1, 1, GPU_F32});
    int32_t number;
    memcpy(&number, bits, sizeof number);
    free(bits);
    return number;
}

// Sums of at most 33 numbers of about 1, in f32: their roundings are below 33 * 2^-24 * 6.
static void test_pool(struct shape c) {
    int32_t starts[SEQS + 1];
    size_t rows = starts_of(lens, SEQS, starts);
    struct kit_mat x = kit_random(rows, c.cols, c.t, c.shift, 1);
    double *want = rig_alloc(SEQS * c.cols, sizeof *want);
    expect(&c, x.x, want);
    struct gpu_mat out = kit_empty(SEQS, c.cols, c.out, c.shift);
    int32_t *bad = gpu_rig_ints(&(int32_t){0}, 1);
    struct gpu_pool a = {c.mode,
                         x.m,
                         out,
                         gpu_rig_ints(starts, SEQS + 1),
                         c.skip ? gpu_rig_ints(skips, SEQS) : NULL,
                         bad,
                         SEQS,
                         c.normalize};
    gpu_launch_pool(gpu_rig.stream, &a);
    if (!CHECK(kit_near(out, want, 5e-6, 1e-6)))
        fprintf(stderr, "    mode %d, skip %d, to length 1 %d\n", (int)c.mode, c.skip, c.normalize);
    CHECK(number_at(bad) == 0);
    free(want);
    free(x.x);
    gpu_rig_clear();
}

// A sequence alone, among others, and among such few long ones that the columns are spread over
// blocks and the norm is a launch of its own: the same bits. l2_normalize has them too.
static void test_bits(enum gpu_pool_mode mode, size_t cols, bool normalize) {
    static const int32_t of[] = {1100, 5, 2100}, many[] = {3, 1100, 9, 1, 2};
    int32_t starts[4], other[6];
    size_t rows = starts_of(of, 3, starts), rows_other = starts_of(many, 5, other);
    struct kit_mat x = kit_random(rows, cols, GPU_F32, 0, 1);
    float *y = rig_floats(rows_other * cols, 1);
    memcpy(y + 3 * cols, x.x, 1100 * cols * sizeof *y);
    struct kit_mat others = kit_of(y, rows_other, cols, GPU_F32, 1);
    struct gpu_mat out = kit_empty(3, cols, GPU_F32, 0), out_other = kit_empty(5, cols, GPU_F32, 0);
    struct gpu_mat alone = kit_empty(1, cols, GPU_F32, 0), apart = kit_empty(5, cols, GPU_F32, 0);
    int32_t *bad = gpu_rig_ints(&(int32_t){0}, 1);
    int32_t *at = gpu_rig_ints(starts, 4), *at_other = gpu_rig_ints(other, 6);
    struct gpu_pool few = {mode, x.m, out, at, NULL, bad, 3, normalize};
    struct gpu_pool more = {mode, others.m, out_other, at_other, NULL, bad, 5, normalize};
    struct gpu_pool one = {mode, x.m, alone, at, NULL, bad, 1, normalize};
    struct gpu_pool plain = more;
    one.x.rows = 1100;
    plain.out = apart;
    plain.normalize = 0;
    gpu_launch_pool(gpu_rig.stream, &few);
    gpu_launch_pool(gpu_rig.stream, &more);
    gpu_launch_pool(gpu_rig.stream, &one);
    gpu_launch_pool(gpu_rig.stream, &plain);
    CHECK(kit_same(alone, kit_rows(out, 0, 1)));
    CHECK(kit_same(alone, kit_rows(out_other, 1, 1)));
    if (normalize)
        gpu_launch_l2_normalize(gpu_rig.stream, apart);
    CHECK(kit_same(apart, out_other));
    CHECK(number_at(bad) == 0);
    free(x.x);
    free(y);
    gpu_rig_clear();
}

// Nothing left of sequences 1 (more is skipped than it has) and 3: the last one is told, they are
// zeros, the others are as ever.
static void test_empty(enum gpu_pool_mode mode, bool normalize) {
    enum { COLS = 40, N = 4 };
    static const int32_t of[N] = {2, 3, 1, 0}, skip[N] = {1, 7, 0, 0};
    int32_t starts[N + 1];
    size_t rows = starts_of(of, N, starts);
    struct kit_mat x = kit_random(rows, COLS, GPU_BF16, 0, 1);
    struct gpu_mat out = kit_empty(N, COLS, GPU_F32, 0);
    int32_t *bad = gpu_rig_ints(&(int32_t){0}, 1);
    struct gpu_pool a = {mode, x.m, out,      gpu_rig_ints(starts, N + 1), gpu_rig_ints(skip, N),
                         bad,  N,   normalize};
    gpu_launch_pool(gpu_rig.stream, &a);
    CHECK(number_at(bad) == 4);
    float *got = gpu_rig_read(out);
    size_t right = 0;
    for (size_t i = 0; i < COLS; i++) {
        right += got[COLS + i] == 0 && got[3 * COLS + i] == 0;
        right += normalize || (got[i] == x.x[COLS + i] && got[2 * COLS + i] == x.x[5 * COLS + i]);
    }
    CHECK(right == 2 * COLS);
    free(got);
    free(x.x);
    gpu_rig_clear();
}

// What is no number is not lost in a maximum.
static void test_max_of_none(void) {
    enum { ROWS = 20 };
    for (size_t where = 0; where < ROWS; where++) {
        float *values = rig_floats(ROWS, 1);
        values[where] = NAN;
        struct gpu_mat x = gpu_rig_mat(values, ROWS, 1, GPU_F32), y = kit_empty(1, 1, GPU_F32, 0);
        static const int32_t starts[2] = {0, ROWS};
        struct gpu_pool a = {GPU_POOL_MAX,
                             x,
                             y,
                             gpu_rig_ints(starts, 2),
                             NULL,
                             gpu_rig_ints(&(int32_t){0}, 1),
                             1,
                             0};
        gpu_launch_pool(gpu_rig.stream, &a);
        float *got = gpu_rig_read(y);
        CHECK(isnan(got[0]));
        free(got);
        free(values);
        gpu_rig_clear();
    }
}

int main(void) {
    static const size_t widths[] = {1, 3, 63, 64, 65, 384, 768, 1025};
    gpu_rig_open();
    struct gpu_pool none = {GPU_POOL_MEAN,
                            {NULL, 0, 64, 64, GPU_F32},
                            {NULL, 0, 64, 64, GPU_F32},
                            NULL,
                            NULL,
                            NULL,
                            0,
                            1};
    gpu_launch_pool(gpu_rig.stream, &none);
    size_t n = 0;
    for (enum gpu_pool_mode mode = GPU_POOL_CLS; mode <= GPU_POOL_MEAN_SQRT; mode++) {
        for (size_t w = 0; w < sizeof widths / sizeof *widths; w++)
            for (size_t t = 0; t < KIT_TYPES; t++, n++) {
                test_pool((struct shape){mode, kit_types[t], GPU_F32, widths[w], n % 2, n / 2 % 2,
                                         n / 4 % 2});
                test_pool((struct shape){mode, kit_types[t], kit_types[n / 3 % 3], widths[w], 0,
                                         n / 4 % 2, n / 2 % 2});
            }
        test_empty(mode, false);
        test_empty(mode, true);
    }
    static const size_t lengths[] = {5, 136, 260};
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        test_bits(GPU_POOL_MEAN, lengths[i], true);
        test_bits(GPU_POOL_MEAN, lengths[i], false);
        test_bits(GPU_POOL_MAX, lengths[i], true);
    }
    test_bits(GPU_POOL_LAST, 260, true);
    test_max_of_none();
    gpu_rig_close();
    return check_done();
}
