// Plans of large products (gemm_plans.h) over a cuBLASLt of the test's own: what the library is
// told means the product that was asked for; one plan and one algorithm for a bucket of rows; a
// store that stays within its size; failures in words, and nothing left behind.
#include "compute/cuda/gemm_plans.h"
#include "tests/check.h"
#include "tests/unit/fake_cublaslt.h"

enum { WORKSPACE = 1 << 20, ROWS = 5, OUT = 6, IN = 8, LD_X = 12, LD_W = 16, LD_Y = 10, LD_R = 7 };

static _Alignas(256) float x[4096], w[4096], y[4096], bias[4096], residual[4096];
static char workspace[WORKSPACE], stream;

static struct gemm_plans *plans_new(size_t capacity) {
    struct gemm_plans *p;
    struct errmsg msg;
    memset(&fake, 0, sizeof fake);
    CHECK_OK(gemm_plans_new(&fake_cublaslt, capacity, WORKSPACE, &p, &msg), msg);
    return p;
}

static void plans_free(struct gemm_plans *p) {
    gemm_plans_free(p);
    CHECK_INT(fake.objects, 0);
    CHECK_INT(fake.handles, 0);
}

static void run(struct gemm_plans *p, const struct gpu_gemm *a) {
    struct errmsg msg;
    CHECK_OK(gemm_plans_run(p, a, workspace, &stream, &msg), msg);
}

static void test_buckets(void) {
    size_t last = 0, sizes = 0;
    bool fits = true, close = true;
    for (size_t rows = 1; rows <= 5000; rows++) {
        size_t bucket = gemm_plans_bucket(rows);
        fits = fits && bucket >= rows && gemm_plans_bucket(bucket) == bucket && bucket >= last;
        close = close && bucket - rows <= rows / 8;
        sizes += bucket != last;
        last = bucket;
    }
    CHECK(fits);
    CHECK(close);
    CHECK_INT(gemm_plans_bucket(16), 16);
    CHECK_INT(gemm_plans_bucket(17), 18);
    CHECK_INT(gemm_plans_bucket(33), 36);
    CHECK_INT(gemm_plans_bucket(257), 288);
    CHECK(sizes < 90); // 16, then eight an octave
}

static void fill(void) {
    for (size_t i = 0; i < sizeof x / sizeof *x; i++) {
        x[i] = (float)(int)(i * 7 % 13) - 6;
        w[i] = (float)(int)(i * 5 % 11) - 5;
        bias[i] = (float)(int)(i % 5) - 2;
        residual[i] = (float)(int)(i * 3 % 17) - 8;
        y[i] = -1000;
    }
}

static void expect(const struct gpu_gemm *a, float (*f)(float)) {
    float got[ROWS * OUT], want[ROWS * OUT];
    bool kept = true;
    for (size_t r = 0; r < ROWS; r++) {
        for (size_t o = 0; o < OUT; o++) {
            float sum = a->bias ? bias[o] : 0;
            for (size_t i = 0; i < IN; i++)
                sum += x[r * LD_X + i] * w[o * LD_W + i];
            want[r * OUT + o] = f(sum) + (a->residual ? residual[r * LD_R + o] : 0);
            got[r * OUT + o] = y[r * LD_Y + o];
        }
        for (size_t o = OUT; o < LD_Y; o++)
            kept = kept && y[r * LD_Y + o] == -1000;
    }
    CHECK_NEAR(got, want, ROWS * OUT, 1e-4, 1e-6); // small integers but for gelu's tanh
    CHECK(kept);
}

static float same(float v) { return v; }
static float relu(float v) { return v > 0 ? v : 0; }
static float gelu(float v) { return fake_epilogue(CUBLASLT_EPILOGUE_GELU, v); }

// Odd strides, so that a row taken for a column is seen.
static void test_meaning(void) {
    struct gemm_plans *p = plans_new(64);
    struct gpu_gemm plain = {.type = GPU_F32,
                             .rows = ROWS,
                             .out = OUT,
                             .in = IN,
                             .x = x,
                             .w = w,
                             .y = y,
                             .ld_x = LD_X,
                             .ld_w = LD_W,
                             .ld_y = LD_Y};
    const struct {
        const void *bias, *residual;
        enum gpu_activation f;
        float (*means)(float);
    } cases[] = {
        {NULL, NULL, GPU_NONE, same},      {bias, NULL, GPU_NONE, same},
        {bias, residual, GPU_NONE, same},  {NULL, residual, GPU_NONE, same},
        {bias, NULL, GPU_RELU, relu},      {NULL, NULL, GPU_RELU, relu},
        {bias, NULL, GPU_GELU_TANH, gelu},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct gpu_gemm a = plain;
        fill();
        a.bias = cases[i].bias;
        a.residual = cases[i].residual;
        a.ld_residual = a.residual ? LD_R : 0;
        a.activation = cases[i].f;
        run(p, &a);
        expect(&a, cases[i].means);
        CHECK(a.residual || fake.beta == 0);
    }
    CHECK(fake.workspace == workspace && fake.workspace_bytes == WORKSPACE &&
          fake.stream == &stream);
    CHECK_INT(fake.pref.reduction, 0);
    CHECK_INT(fake.pref.workspace, WORKSPACE);

    // bf16 in, f32 out; the upper halves of small integers in f32 are they
    static _Alignas(256) uint16_t x16[ROWS * LD_X], w16[OUT * LD_W];
    fill();
    for (size_t i = 0; i < ROWS * LD_X; i++)
        fake_write(x16, CUBLASLT_R_16BF, i, x[i]);
    for (size_t i = 0; i < OUT * LD_W; i++)
        fake_write(w16, CUBLASLT_R_16BF, i, w[i]);
    struct gpu_gemm wide = plain;
    wide.type = GPU_BF16;
    wide.wide_out = true;
    wide.x = x16;
    wide.w = w16;
    wide.bias = bias;
    run(p, &wide);
    expect(&wide, same);
    CHECK_INT(fake.pref.align[0], 256);
    // the residual may be the output
    fill();
    struct gpu_gemm in_place = plain;
    for (size_t i = 0; i < ROWS * LD_Y; i++)
        y[i] = 1;
    in_place.residual = y;
    in_place.ld_residual = LD_Y;
    run(p, &in_place);
    CHECK(fake.c == y && fake.beta == 1);
    float sum = 1;
    for (size_t i = 0; i < IN; i++)
        sum += x[i] * w[i];
    CHECK(y[0] == sum);
    struct gpu_gemm none = plain;
    none.rows = 0;
    int before = fake.matmuls;
    run(p, &none);
    CHECK_INT(fake.matmuls, before);
    plans_free(p);
}

static struct gpu_gemm shape(enum gpu_type type, size_t rows, size_t out) {
    return (struct gpu_gemm){.type = type,
                             .rows = rows,
                             .out = out,
                             .in = 2,
                             .x = x,
                             .w = w,
                             .y = y,
                             .ld_x = 4,
                             .ld_w = 8,
                             .ld_y = out};
}

static void test_plans_are_kept(void) {
    struct gemm_plans *p = plans_new(256);
    for (size_t rows = 33; rows <= 36; rows++) {
        struct gpu_gemm a = shape(GPU_BF16, rows, 4);
        run(p, &a);
        CHECK_INT(fake.product_cols, rows);
        CHECK_INT(fake.algo.data[0], 362); // the bucket's, the third that was found
    }
    CHECK_INT(gemm_plans_count(p).made, 1);
    CHECK_INT(fake.heuristics, 1);
    CHECK_INT(fake.cols, 36);
    struct gpu_gemm a = shape(GPU_BF16, 37, 4);
    run(p, &a);
    CHECK_INT(gemm_plans_count(p).made, 2);
    // another bias is no other plan, and none is
    a.bias = bias;
    run(p, &a);
    a.bias = bias + 4;
    run(p, &a);
    CHECK_INT(gemm_plans_count(p).made, 3);
    CHECK_INT(fake.matmuls, 7);
    // what an algorithm depends on: alignment, strides, the kind of output
    a.x = (const char *)(const void *)x + 16;
    run(p, &a);
    CHECK_INT(gemm_plans_count(p).made, 4);
    CHECK_INT(fake.pref.align[1], 16);
    a.ld_x = 6;
    run(p, &a);
    CHECK_INT(gemm_plans_count(p).made, 5);
    plans_free(p);
}

// Bits of a row in f32 must not depend on how many others there are, nor on where they lie.
static void test_f32_has_one_algorithm(void) {
    struct gemm_plans *p = plans_new(256);
    static const size_t rows[] = {1, 9, 17, 100, 256, 300, 1000};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct gpu_gemm a = shape(GPU_F32, rows[i], 4);
        a.x = x + 4 * (i % 3);
        run(p, &a);
        CHECK_INT(fake.product_cols, rows[i]);
        CHECK_INT(fake.algo.data[0], 2562);
    }
    CHECK_INT(gemm_plans_count(p).made, 1);
    plans_free(p);
}

static void test_the_store_is_bounded(void) {
    struct gemm_plans *p = plans_new(32);
    size_t capacity = gemm_plans_count(p).capacity;
    CHECK(capacity >= 32 && capacity <= 64);
    struct gpu_gemm often = shape(GPU_BF16, 8, 3);
    for (size_t out = 4; out < 204; out++) {
        struct gpu_gemm a = shape(GPU_BF16, 8, out);
        run(p, &often);
        int asked = fake.heuristics;
        run(p, &often); // just used: it is never the one that gives way
        CHECK_INT(fake.heuristics, asked);
        run(p, &a);
    }
    struct gemm_plans_counts n = gemm_plans_count(p);
    CHECK(n.held <= capacity && n.held > capacity / 2);
    CHECK_INT(n.made - n.evicted, n.held);
    CHECK_INT(n.made, 201); // the one that is used often was made once
    CHECK_INT(fake.objects, 5 * n.held);
    // one that gave way comes back with the same algorithm
    struct gpu_gemm first = shape(GPU_BF16, 8, 4);
    run(p, &first);
    CHECK_INT(fake.algo.data[0], 82);
    plans_free(p);
}

static void test_failures(void) {
    struct errmsg msg;
    struct gemm_plans *p;
    memset(&fake, 0, sizeof fake);
    fake.fail_create = CUBLASLT_NOT_INITIALIZED;
    CHECK_ERROR(gemm_plans_new(&fake_cublaslt, 8, WORKSPACE, &p, &msg), ERR_UNSUPPORTED, msg,
                "cublasLtCreate: FAKE_STATUS (something else)");
    CHECK(!p);
    p = plans_new(8);
    struct gpu_gemm a = shape(GPU_BF16, 100, 4);
    fake.no_algorithm = true;
    CHECK_ERROR(gemm_plans_run(p, &a, workspace, &stream, &msg), ERR_UNSUPPORTED, msg,
                "bf16 of [100, 2] with [4, 2]");
    fake.no_algorithm = false;
    fake.fail_heuristic = 14;
    CHECK_ERROR(gemm_plans_run(p, &a, workspace, &stream, &msg), ERR_LOST, msg,
                "cublasLtMatmulAlgoGetHeuristic: FAKE_STATUS");
    fake.fail_heuristic = 0;
    fake.fail_desc = CUBLASLT_ALLOC_FAILED;
    CHECK_ERROR(gemm_plans_run(p, &a, workspace, &stream, &msg), ERR_NOMEM, msg, "FAKE_STATUS");
    fake.fail_desc = 0;
    CHECK_INT(fake.objects, 0); // nothing of a plan that could not be made
    CHECK_INT(gemm_plans_count(p).held, 0);
    run(p, &a);
    fake.fail_matmul = 13;
    CHECK_ERROR(gemm_plans_run(p, &a, workspace, &stream, &msg), ERR_LOST, msg,
                "cublasLtMatmul: FAKE_STATUS");
    fake.fail_matmul = 0;
    run(p, &a);
    CHECK_INT(gemm_plans_count(p).held, 1);
    plans_free(p);
    gemm_plans_free(NULL);
}

int main(void) {
    test_buckets();
    test_meaning();
    test_plans_are_kept();
    test_f32_has_one_algorithm();
    test_the_store_is_bounded();
    test_failures();
    return check_done();
}
