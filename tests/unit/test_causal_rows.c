// The row operations of causal models against double precision, and halves to the bit.
#include "compute/cpu/causal.h"
#include "tests/unit/device_rig.h"

enum { WORKSPACE = 8 << 20 };

// Runs of gamma's length; rows alone have the bits that they have together.
static void test_rms_norm(struct device *d) {
    static const size_t shapes[][2] = {{1, 1},   {7, 1},   {64, 3},  {24, 5},
                                       {128, 2}, {896, 1}, {1000, 1}};
    enum { ROWS = 33 };
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        size_t run = shapes[i][0], runs = shapes[i][1], D = run * runs;
        struct arena ws = rig_workspace(d, WORKSPACE);
        struct errmsg msg = {0};
        float *x = rig_floats(ROWS * D, 3), *g = rig_floats(run, 1), *want = rig_alloc(ROWS * D, 4);
        float *got = rig_alloc(ROWS * D, 4), *alone = rig_alloc(D, 4);
        struct weight *gamma = rig_vector(d, g, run);
        struct mat mx = rig_mat(d, &ws, ROWS, D, x), my = rig_mat(d, &ws, ROWS, D, NULL);
        d->ops->rms_norm(d, gamma, 1e-6F, mx, my);
        d->ops->read(d, my, got);
        for (size_t at = 0; at < ROWS * D; at += run) {
            double squares = 0;
            for (size_t j = 0; j < run; j++)
                squares += (double)x[at + j] * (double)x[at + j] / (double)run;
            for (size_t j = 0; j < run; j++)
                want[at + j] = (float)((double)x[at + j] / sqrt(squares + 1e-6) * (double)g[j]);
        }
        CHECK_NEAR(got, want, ROWS * D, 1e-6, 1e-6);
        struct mat one = {mx.data + 5 * mx.ld, 1, D, mx.ld, DTYPE_F32}; // in place, alone
        d->ops->rms_norm(d, gamma, 1e-6F, one, one);
        d->ops->read(d, one, alone);
        CHECK(memcmp(alone, got + 5 * D, D * sizeof *got) == 0);
        mx.data[7 * mx.ld + D - 1] = NAN;
        d->ops->rms_norm(d, gamma, 1e-6F, mx, my);
        CHECK(isnan(my.data[7 * my.ld + D - run]) && isnan(my.data[7 * my.ld + D - 1]));
        CHECK(runs == 1 || !isnan(my.data[7 * my.ld]));
        CHECK_OK(device_sync(d, &msg), msg);
        d->ops->rms_norm(d, gamma, 1e-6F, mat_cols(mx, 0, D + 1), my);
        CHECK(device_sync(d, &msg) == ERR_INTERNAL);
        d->ops->weight_free(d, gamma);
        d->ops->workspace_free(d, &ws);
        free(x), free(g), free(want), free(got), free(alone);
    }
}

static void test_rope(struct device *d) {
    static const size_t dims[] = {2, 6, 10, 24, 64, 80, 128};
    enum { ROWS = 19, HEADS = 3 };
    for (size_t i = 0; i < sizeof dims / sizeof *dims; i++) {
        size_t hd = dims[i], half = hd / 2, D = HEADS * hd;
        struct arena ws = rig_workspace(d, WORKSPACE);
        struct errmsg msg = {0};
        float *x = rig_floats(ROWS * D, 2), *want = rig_alloc(ROWS * D, 4);
        float *got = rig_alloc(ROWS * D, 4);
        struct mat mx = rig_mat(d, &ws, ROWS, D, x), c = rig_mat(d, &ws, ROWS, half, NULL);
        struct mat s = rig_mat(d, &ws, ROWS, half, NULL);
        for (size_t r = 0; r < ROWS; r++)
            for (size_t j = 0; j < half; j++) {
                double angle = (double)r * pow(10000, -(double)j / (double)half);
                c.data[r * c.ld + j] = (float)cos(angle);
                s.data[r * s.ld + j] = (float)sin(angle);
                for (size_t h = 0; h < HEADS; h++) {
                    size_t at = r * D + h * hd + j;
                    double a = (double)x[at], b = (double)x[at + half];
                    want[at] = (float)(a * cos(angle) - b * sin(angle));
                    want[at + half] = (float)(b * cos(angle) + a * sin(angle));
                }
            }
        struct rope_args a = {mx, c, s, HEADS, hd};
        d->ops->rope(d, &a);
        d->ops->read(d, mx, got);
        CHECK_NEAR(got, want, ROWS * D, 1e-6, 1e-6);
        CHECK_OK(device_sync(d, &msg), msg);
        a.heads = HEADS + 1;
        d->ops->rope(d, &a);
        CHECK(device_sync(d, &msg) == ERR_INTERNAL);
        d->ops->workspace_free(d, &ws);
        free(x), free(want), free(got);
    }
}

static void test_swiglu_gather(struct device *d) {
    static const size_t widths[] = {1, 13, 64, 1000};
    enum { ROWS = 21 };
    for (size_t i = 0; i < sizeof widths / sizeof *widths; i++) {
        size_t F = widths[i];
        struct arena ws = rig_workspace(d, WORKSPACE);
        struct errmsg msg = {0};
        float *x = rig_floats(ROWS * 2 * F, 4), *want = rig_alloc(ROWS * F, 4);
        float *got = rig_alloc(ROWS * F, 4);
        struct mat mx = rig_mat(d, &ws, ROWS, 2 * F, x), my = rig_mat(d, &ws, ROWS, F, NULL);
        d->ops->swiglu(d, mx, my);
        d->ops->read(d, my, got);
        for (size_t r = 0; r < ROWS; r++)
            for (size_t j = 0; j < F; j++)
                want[r * F + j] =
                    (float)(ref_activation(ACTIVATION_SILU, (double)x[r * 2 * F + j]) *
                            (double)x[r * 2 * F + F + j]);
        CHECK_NEAR(got, want, ROWS * F, 1e-6, 6e-7);
        mx.data[3 * mx.ld] = NAN, mx.data[4 * mx.ld + F] = NAN;
        d->ops->swiglu(d, mx, my);
        CHECK(isnan(my.data[3 * my.ld]) && isnan(my.data[4 * my.ld]) && !isnan(my.data[5 * my.ld]));
        int32_t rows[] = {20, 0, 20, 7};
        struct mat few = rig_mat(d, &ws, 4, F, NULL);
        d->ops->gather(d, my, rows, few);
        for (size_t r = 0; r < 4; r++)
            CHECK(memcmp(few.data + r * few.ld, my.data + (size_t)rows[r] * my.ld, F * 4) == 0);
        CHECK_OK(device_sync(d, &msg), msg);
        rows[2] = 21;
        d->ops->gather(d, my, rows, few);
        CHECK(device_sync(d, &msg) == ERR_INTERNAL);
        rows[2] = -1;
        d->ops->gather(d, my, rows, few);
        CHECK(device_sync(d, &msg) == ERR_INTERNAL);
        d->ops->swiglu(d, my, my);
        CHECK(device_sync(d, &msg) == ERR_INTERNAL);
        d->ops->workspace_free(d, &ws);
        free(x), free(want), free(got);
    }
}

// The nearest half of every kind of float, ties to even, against a search by value.
static double half_value(unsigned h) {
    int e = (int)(h >> 10 & 31), m = (int)(h & 1023);
    return e ? ldexp(1 + ldexp(m, -10), e - 15) : ldexp(m, -24);
}

static void test_halves(const struct causal_kernels *k) {
    enum { FINITE = 0x7c00 };
    float x[3 * 21];
    uint16_t got[3 * 21];
    size_t wrong = 0;
    for (unsigned h = 0; h + 1 < FINITE; h++) {
        // the half itself, the tie above it, and the floats beside that
        float value = (float)half_value(h), tie = (float)((half_value(h) + half_value(h + 1)) / 2);
        x[0] = value, x[1] = tie, x[2] = nextafterf(tie, 0), x[3] = nextafterf(tie, 1e9F);
        unsigned want[] = {h, h % 2 ? h + 1 : h, h, h + 1};
        for (size_t i = 0; i < 4; i++)
            x[4 + i] = -x[i];
        k->to_f16(x, got, 8);
        for (size_t i = 0; i < 8; i++)
            wrong += got[i] != (want[i % 4] | (i < 4 ? 0U : 0x8000U));
    }
    CHECK(wrong == 0);
    static const float odd[] = {65504, 65519, 65520, 1e9F, INFINITY, 1e-45F, 2.9802322e-8F, 3e-8F};
    static const uint16_t want[] = {0x7bff, 0x7bff, 0x7c00, 0x7c00, 0x7c00, 0, 0, 1};
    for (size_t n = 1; n <= 8; n++) { // tails too
        memset(got, 0xff, sizeof got);
        k->to_f16(odd, got, n);
        CHECK(memcmp(got, want, n * sizeof *got) == 0 && got[n] == 0xffff);
    }
    float nan = NAN;
    k->to_f16(&nan, got, 1);
    CHECK((got[0] & 0x7c00) == 0x7c00 && (got[0] & 0x3ff));
}

int main(void) {
    for (int i = 0; i < RIG_SETS; i++) {
        struct device *d = rig_device(rig_sets[i], 3, CPU_GEMM_OWN);
        if (!d)
            continue;
        test_rms_norm(d);
        test_rope(d);
        test_swiglu_gather(d);
        cpu_device_free(d);
    }
    test_halves(&causal_generic);
#if defined(__x86_64__)
    if (rig_runs_here("avx2"))
        test_halves(&causal_avx2);
    if (rig_runs_here("avx512"))
        test_halves(&causal_avx512);
#endif
    return check_done();
}
