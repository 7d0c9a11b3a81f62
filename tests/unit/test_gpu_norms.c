// The card's norms of rows, on the emulated GPU: against double precision; the bits of f32 rows,
// which depend on the row alone; and those of rms norms, which are norm.cuh's order.
#include "tests/unit/gpu_rows_kit.h"

// Of each way to hold a row: a value or a run of 8 at a time, whole runs or not, 1, 2 or 8 warps,
// held or read again.
static const size_t widths[] = {1,   3,    63,   64,   65,   256,  257,  384,  768,
                                896, 1024, 1025, 1536, 2048, 2049, 3584, 4096, 8192};
enum { WIDTHS = sizeof widths / sizeof *widths };
static const size_t wide[] = {5000, 8193, 8200, 20001};
enum { WIDE = sizeof wide / sizeof *wide };
static const float eps = 1e-5F;

enum kind { LAYER, LAYER_RESIDUAL, RMS, LENGTH };

struct shape {
    enum kind kind;
    enum gpu_type t;
    size_t rows, cols, shift;
    bool in_place, beta;
};

static void expect(const struct shape *c, const float *x, const float *residual, const float *gamma,
                   const float *beta, double *want) {
    for (size_t r = 0; r < c->rows; r++) {
        double *w = want + r * c->cols, mean = 0, squares = 0, n = (double)c->cols;
        for (size_t i = 0; i < c->cols; i++) {
            w[i] = (double)x[r * c->cols + i];
            if (c->kind == LAYER_RESIDUAL)
                w[i] += (double)residual[r * c->cols + i];
            mean += w[i] / n;
        }
        for (size_t i = 0; i < c->cols; i++) {
            w[i] -= c->kind <= LAYER_RESIDUAL ? mean : 0;
            squares += w[i] * w[i];
        }
        double scale = c->kind == LENGTH ? 1 / sqrt(squares) : 1 / sqrt(squares / n + (double)eps);
        for (size_t i = 0; i < c->cols; i++) {
            w[i] *= scale * (c->kind == LENGTH ? 1 : (double)gamma[i]);
            w[i] += c->beta ? (double)beta[i] : 0;
        }
    }
}

static void launch(const struct shape *c, struct gpu_mat x, struct gpu_mat residual,
                   const float *gamma, const float *beta, struct gpu_mat y) {
    struct gpu_layer_norm layer = {x, residual, y, gamma, beta, eps};
    struct gpu_rms_norm rms = {x, y, gamma, c->cols, eps};
    if (c->kind <= LAYER_RESIDUAL)
        gpu_launch_layer_norm(gpu_rig.stream, &layer);
    else if (c->kind == RMS)
        gpu_launch_rms_norm(gpu_rig.stream, &rms);
    else
        gpu_launch_l2_normalize(gpu_rig.stream, y);
}

// Numbers about 3 of deviation 1, so that the mean matters: sums of n of them are off by about
// sqrt(n) units in the last place of 4 (2.4e-7), of which a mean keeps n's part; values come to 3
// of them, gammas are about 1.
static void test_norm(struct shape c) {
    size_t n = c.rows * c.cols;
    float *values = rig_floats(n, 1);
    for (size_t i = 0; i < n; i++)
        values[i] += 3;
    bool in_place = c.in_place || c.kind == LENGTH;
    struct kit_mat x = kit_of(values, c.rows, c.cols, c.t, c.shift);
    struct kit_mat residual = kit_random(c.rows, c.cols, c.t, 0, 1);
    struct gpu_mat y = in_place ? x.m : kit_empty(c.rows, c.cols, c.t, 0), none = {0};
    float *gamma = rig_floats(c.cols, 0.2F), *beta = rig_floats(c.cols, 0.2F);
    for (size_t i = 0; i < c.cols; i++)
        gamma[i] += 1;
    double *want = rig_alloc(n, sizeof *want);
    expect(&c, x.x, residual.x, gamma, beta, want);
    launch(&c, x.m, c.kind == LAYER_RESIDUAL ? residual.m : none, gpu_rig_f32(gamma, c.cols),
           c.beta ? gpu_rig_f32(beta, c.cols) : NULL, y);
    if (!CHECK(kit_near(y, want, 2e-6, 1e-6)))
        fprintf(stderr, "    kind %d, shift %zu\n", (int)c.kind, c.shift);
    free(want);
    free(gamma);
    free(beta);
    free(x.x);
    free(residual.x);
    gpu_rig_clear();
}

// Each row by itself, at another place of another launch: the same bits.
static void test_alone(enum kind kind, size_t cols, size_t shift) {
    enum { ROWS = 6 };
    struct shape c = {kind, GPU_F32, ROWS, cols, shift, false, kind != RMS};
    float *values = rig_floats(ROWS * cols, 2), *gamma = rig_floats(cols, 1);
    struct gpu_mat none = {0}, y = kit_empty(ROWS, cols, GPU_F32, 0);
    float *g = gpu_rig_f32(gamma, cols);
    struct kit_mat x = kit_of(values, ROWS, cols, GPU_F32, shift);
    struct kit_mat alone = kit_of(values + 4 * cols, 1, cols, GPU_F32, 0);
    struct gpu_mat one = kit_empty(1, cols, GPU_F32, shift);
    if (kind == LENGTH) {
        launch(&c, x.m, none, g, g, x.m);
        launch(&c, alone.m, none, g, g, alone.m);
        CHECK(kit_same(alone.m, kit_rows(x.m, 4, 1)));
    } else {
        launch(&c, x.m, none, g, c.beta ? g : NULL, y);
        launch(&c, alone.m, none, g, c.beta ? g : NULL, one);
        CHECK(kit_same(one, kit_rows(y, 4, 1)));
    }
    free(gamma);
    free(values);
    gpu_rig_clear();
}

// norm.cuh's text, in plain loops: the bits of f32 that other kernels count on.
static float squares_in_order(const float *x, size_t n) {
    float chains[256] = {0}, sums[8];
    size_t run = n <= 256 ? 1 : 8, count = n <= 256 ? 32 : 256;
    for (size_t i = 0; i < n; i++) {
        float *chain = &chains[i / run % count];
        *chain = fmaf(x[i], x[i], *chain);
    }
    for (size_t w = 0; w < 8; w++) {
        float *lanes = chains + 32 * w;
        for (size_t by = 16; by > 0; by /= 2)
            for (size_t l = 0; l < by; l++)
                lanes[l] += lanes[l + by];
        sums[w] = lanes[0];
    }
    float sum = sums[0];
    for (size_t w = 1; w < 8; w++)
        sum += sums[w];
    return sum;
}

static void test_rms_bits(size_t width, size_t runs, size_t shift) {
    enum { ROWS = 2 };
    size_t cols = width * runs;
    float *values = rig_floats(ROWS * cols, 2), *gamma = rig_floats(width, 1);
    float *want = rig_alloc(ROWS * cols, sizeof *want);
    for (size_t r = 0; r < ROWS * runs; r++) {
        const float *x = values + r * width;
        float scale = 1.0F / sqrtf(squares_in_order(x, width) / (float)width + eps);
        for (size_t i = 0; i < width; i++)
            want[r * width + i] = x[i] * scale * gamma[i];
    }
    struct kit_mat x = kit_of(values, ROWS, cols, GPU_F32, shift);
    struct gpu_rms_norm a = {x.m, x.m, gpu_rig_f32(gamma, width), width, eps};
    gpu_launch_rms_norm(gpu_rig.stream, &a);
    float *got = gpu_rig_read(x.m);
    if (!CHECK(memcmp(got, want, ROWS * cols * sizeof *got) == 0))
        fprintf(stderr, "    %zu runs of %zu\n", runs, width);
    free(got);
    free(want);
    free(gamma);
    free(values);
    gpu_rig_clear();
}

// A row of zeros has no direction; one of tiny numbers has.
static void test_zero_length(void) {
    enum { COLS = 384 };
    float x[2 * COLS] = {0};
    x[COLS + 5] = -1e-15F;
    struct gpu_mat m = gpu_rig_mat(x, 2, COLS, GPU_F32);
    gpu_launch_l2_normalize(gpu_rig.stream, m);
    float *got = gpu_rig_read(m);
    x[COLS + 5] = -1;
    CHECK(memcmp(got, x, sizeof x) == 0);
    free(got);
    gpu_rig_clear();
}

static void test_none(void) {
    struct gpu_mat none = {NULL, 0, 64, 64, GPU_BF16};
    struct gpu_layer_norm layer = {none, {0}, none, NULL, NULL, eps};
    struct gpu_rms_norm rms = {none, none, NULL, 64, eps};
    gpu_launch_layer_norm(gpu_rig.stream, &layer);
    gpu_launch_rms_norm(gpu_rig.stream, &rms);
    gpu_launch_l2_normalize(gpu_rig.stream, none);
    gpu_rig_wait();
}

int main(void) {
    gpu_rig_open();
    test_none();
    test_zero_length();
    for (enum kind kind = LAYER; kind <= LENGTH; kind++) {
        for (size_t w = 0; w < WIDTHS; w++)
            for (size_t t = 0; t < KIT_TYPES; t++)
                for (size_t shift = 0; shift < 2; shift++)
                    test_norm((struct shape){kind, kit_types[t], widths[w] > 2048 ? 1 : 5,
                                             widths[w], shift, (w + shift) % 2 == 0,
                                             kind <= LAYER_RESIDUAL && w % 3 != 0});
        for (size_t w = 0; w < WIDE; w++)
            test_norm((struct shape){kind, kit_types[w % 3], 2, wide[w], 0, true, false});
        for (size_t w = 0; w < WIDTHS; w++)
            test_alone(kind, widths[w], w % 2);
    }
    for (size_t w = 0; w < WIDTHS; w++)
        test_rms_bits(widths[w], 1, w % 2);
    for (size_t w = 0; w < WIDE; w++)
        test_rms_bits(wide[w], 1, 0);
    test_rms_bits(64, 6, 0);
    test_rms_bits(128, 3, 1);
    test_rms_bits(300, 2, 0);
    gpu_rig_close();
    return check_done();
}
