// Every operation of every kernel set against double precision, at sizes that divide nothing, and
// what a device refuses. Its threads share out every operation: the thread sanitizer looks on.
#include "tests/unit/device_rig.h"

enum { WORKSPACE = 8 << 20 };

// A chain of k multiply-adds of normals: partial sums of about sqrt(k), each rounded to 2^-25 of
// itself, make an error of about k 2^-25; five times that, since thousands are compared.
static double linear_tolerance(size_t k) { return 5 * 0x1p-25 * (double)k + 1e-6; }

static void test_linear(struct device *d) {
    static const size_t shapes[][3] = {// rows, in, out
                                       {1, 1, 1},     {1, 384, 1152}, {2, 3, 5},    {7, 20, 33},
                                       {13, 65, 31},  {14, 64, 32},   {15, 17, 97}, {25, 384, 64},
                                       {29, 100, 16}, {70, 33, 129},  {131, 48, 7}, {200, 12, 12},
                                       {2, 33000, 3}}; // no OpenBLAS call of it fits its scratch
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        size_t rows = shapes[i][0], in = shapes[i][1], out = shapes[i][2];
        struct arena ws = rig_workspace(d, WORKSPACE);
        struct errmsg msg = {0};
        float *x = rig_floats(rows * in, 1), *w = rig_floats(out * in, 1), *b = rig_floats(out, 1);
        float *r = rig_floats(rows * out, 1), *gamma = rig_floats(out, 1);
        float *beta = rig_floats(out, 1);
        float *want = rig_alloc(rows * out, sizeof *want),
              *got = rig_alloc(rows * out, sizeof *got);
        float *plain = rig_alloc(rows * out, sizeof *plain);
        struct weight *lw = rig_linear(d, w, b, out, in), *nobias = rig_linear(d, w, NULL, out, in);
        struct norm n = {rig_vector(d, gamma, out), rig_vector(d, beta, out), 1e-5F};
        struct mat mx = rig_mat(d, &ws, rows, in, x), my = rig_mat(d, &ws, rows, out, NULL);
        double tolerance = linear_tolerance(in);

        d->ops->linear(d, nobias, mx, my);
        d->ops->read(d, my, got);
        ref_linear(x, w, NULL, rows, in, out, want);
        CHECK_NEAR(got, want, rows * out, tolerance, 1e-6);

        d->ops->linear(d, lw, mx, my);
        d->ops->read(d, my, got);
        ref_linear(x, w, b, rows, in, out, plain);
        CHECK_NEAR(got, plain, rows * out, tolerance, 1e-6);

        for (int f = ACTIVATION_NONE; f <= ACTIVATION_SILU; f++) {
            device_linear_activate(d, lw, mx, (enum activation)f, my);
            d->ops->read(d, my, got);
            for (size_t j = 0; j < rows * out; j++)
                want[j] = (float)ref_activation((enum activation)f, (double)plain[j]);
            // slopes of the activations are below 1.2
            CHECK_NEAR(got, want, rows * out, 1.2 * tolerance, 1e-6);
        }

        struct mat mr = rig_mat(d, &ws, rows, out, r); // y is the residual
        device_linear_add_norm(d, lw, mx, mr, &n, mr);
        d->ops->read(d, mr, got);
        for (size_t j = 0; j < rows; j++) {
            for (size_t o = 0; o < out; o++)
                plain[j * out + o] += r[j * out + o];
            ref_norm(plain + j * out, gamma, beta, 1e-5, out, want + j * out);
        }
        if (out > 12) // a norm over few values divides by what may be nearly nothing
            CHECK_NEAR(got, want, rows * out, 8 * tolerance / sqrt((double)in), 1e-5);
        CHECK_OK(device_sync(d, &msg), msg);
        d->ops->weight_free(d, lw);
        d->ops->weight_free(d, nobias);
        d->ops->weight_free(d, (struct weight *)n.gamma);
        d->ops->weight_free(d, (struct weight *)n.beta);
        d->ops->workspace_free(d, &ws);
        free(x), free(w), free(b), free(r), free(gamma), free(beta);
        free(want), free(got), free(plain);
    }
}

static void attention_case(struct device *d, const int32_t *cu, size_t seqs, size_t heads,
                           size_t hd) {
    size_t tokens = (size_t)cu[seqs], width = heads * hd;
    struct arena ws = rig_workspace(d, WORKSPACE);
    float *qkv = rig_floats(tokens * 3 * width, 1.5F);
    float *want = rig_alloc(tokens * width, sizeof *want), *got = rig_alloc(tokens * width, 4);
    struct mat m = rig_mat(d, &ws, tokens, 3 * width, qkv), out = rig_mat(d, &ws, tokens, width, 0);
    struct attention_args a = {.q = mat_cols(m, 0, width),
                               .k = mat_cols(m, width, width),
                               .v = mat_cols(m, 2 * width, width),
                               .out = out,
                               .cu_seqlens = cu,
                               .seqs = seqs,
                               .heads = heads,
                               .head_dim = hd,
                               .scale = 1 / sqrtf((float)hd)};
    struct errmsg msg = {0};
    d->ops->attention(d, &a);
    CHECK_OK(device_sync(d, &msg), msg);
    d->ops->read(d, out, got);
    for (size_t s = 0; s < seqs; s++)
        ref_attention(qkv + (size_t)cu[s] * 3 * width, (size_t)(cu[s + 1] - cu[s]), heads, hd,
                      (double)a.scale, want + (size_t)cu[s] * width);
    // scores reach about 10: e^score carries 10 ulp of relative error, averaged over the keys
    CHECK_NEAR(got, want, tokens * width, 4e-6, 1e-5);
    d->ops->workspace_free(d, &ws);
    free(qkv), free(want), free(got);
}

static void test_attention(struct device *d) {
    static const size_t dims[] = {1, 7, 12, 16, 20, 32, 33, 48, 64, 80, 96, 128, 160};
    static const int32_t mixed[] = {0, 1, 9, 9, 40, 57, 72, 200, 205};
    for (size_t i = 0; i < sizeof dims / sizeof *dims; i++)
        attention_case(d, mixed, 8, 2, dims[i]);
    static const int32_t one[] = {0, 25}, block[] = {0, 128}, over[] = {0, 129},
                         longer[] = {0, 517};
    attention_case(d, one, 1, 12, 32);
    attention_case(d, block, 1, 3, 32);
    attention_case(d, over, 1, 3, 64);
    attention_case(d, longer, 1, 2, 32);
    static const int32_t longest[] = {0, 8192}; // far more keys than one block, no S x S anywhere
    attention_case(d, longest, 1, 1, 4);
    static const int32_t edge[] = {0, 100, 250, 260, 600, 601}; // sequences across query ranges
    attention_case(d, edge, 5, 2, 20);
}

static void test_rows(struct device *d) {
    static const size_t widths[] = {1, 5, 16, 33, 100, 312, 384, 1024};
    for (size_t i = 0; i < sizeof widths / sizeof *widths; i++) {
        size_t D = widths[i], rows = 21;
        struct arena ws = rig_workspace(d, WORKSPACE);
        struct errmsg msg = {0};
        float *x = rig_floats(rows * D, 3), *y = rig_floats(rows * D, 1), *gamma = rig_floats(D, 1);
        float *beta = rig_floats(D, 1), *want = rig_alloc(rows * D, 4),
              *got = rig_alloc(rows * D, 4);
        for (size_t j = 0; j < rows * D; j++)
            x[j] += 5; // a mean far from 0, which a one-pass variance would suffer from

        struct mat mx = rig_mat(d, &ws, rows, D, x), my = rig_mat(d, &ws, rows, D, y);
        struct norm n = {rig_vector(d, gamma, D), rig_vector(d, beta, D), 1e-12F};
        d->ops->layer_norm(d, &n, mx, my);
        d->ops->read(d, my, got);
        for (size_t r = 0; r < rows; r++)
            ref_norm(x + r * D, gamma, beta, 1e-12, D, want + r * D);
        if (D > 1) // the variance of one value is 0, or the square of a rounding error
            CHECK_NEAR(got, want, rows * D, D < 16 ? 1e-4 : 1e-5, 1e-6);

        my = rig_mat(d, &ws, rows, D, y);
        d->ops->add(d, mx, my);
        d->ops->read(d, my, got);
        for (size_t j = 0; j < rows * D; j++)
            want[j] = x[j] + y[j];
        CHECK(memcmp(got, want, rows * D * sizeof *got) == 0);

        struct mat less = rig_mat(d, &ws, rows, D, y);
        d->ops->subtract(d, mx, less, less);
        d->ops->read(d, less, got);
        for (size_t j = 0; j < rows * D; j++)
            CHECK(got[j] == x[j] - y[j]);

        d->ops->l2_normalize(d, my);
        d->ops->read(d, my, got);
        for (size_t r = 0; r < rows; r++) {
            double squares = 0;
            for (size_t j = 0; j < D; j++)
                squares += (double)want[r * D + j] * (double)want[r * D + j];
            for (size_t j = 0; j < D; j++)
                want[r * D + j] = (float)((double)want[r * D + j] / sqrt(squares));
        }
        CHECK_NEAR(got, want, rows * D, 2e-7, 2e-7);
        memset(my.data, 0, D * sizeof *my.data);
        d->ops->l2_normalize(d, my);
        d->ops->read(d, my, got);
        CHECK(got[0] == 0.0F && got[D - 1] == 0.0F);

        for (int f = ACTIVATION_NONE; f <= ACTIVATION_SILU; f++) {
            my = rig_mat(d, &ws, rows, D, y);
            d->ops->activate(d, (enum activation)f, my);
            d->ops->read(d, my, got);
            for (size_t j = 0; j < rows * D; j++)
                want[j] = (float)ref_activation((enum activation)f, (double)y[j]);
            CHECK_NEAR(got, want, rows * D, 2e-7, 4e-7);
        }
        CHECK_OK(device_sync(d, &msg), msg);
        d->ops->weight_free(d, (struct weight *)n.gamma);
        d->ops->weight_free(d, (struct weight *)n.beta);
        d->ops->workspace_free(d, &ws);
        free(x), free(y), free(gamma), free(beta), free(want), free(got);
    }
}

static void test_embed(struct device *d) {
    enum { VOCAB = 50, PLACES = 40, TYPES = 2, D = 45, TOKENS = 37 };
    struct arena ws = rig_workspace(d, WORKSPACE);
    struct errmsg msg = {0};
    size_t rows[3] = {VOCAB, PLACES, TYPES};
    float *t[3];
    struct embed_args a = {.count = 3};
    int32_t index[3][TOKENS];
    for (size_t i = 0; i < 3; i++) {
        t[i] = rig_floats(rows[i] * D, 1);
        struct weight_part part = {.w = {"t", t[i], DTYPE_F32, 2, {rows[i], D}, NULL, 0}};
        struct weight *w = NULL;
        CHECK_OK(d->ops->weight_prepare(d, WEIGHT_TABLE, &part, 1, PRECISION_F32, &w, &msg), msg);
        CHECK(d->ops->weight_bytes(w) >= rows[i] * D * 4 &&
              d->ops->weight_bytes(w) < rows[i] * D * 4 + 256);
        a.tables[i] = w;
        a.index[i] = index[i];
        for (size_t n = 0; n < TOKENS; n++)
            index[i][n] = (int32_t)(rig_random() % rows[i]);
    }
    float want[TOKENS * D], got[TOKENS * D];
    for (size_t n = 0; n < TOKENS; n++)
        for (size_t j = 0; j < D; j++)
            want[n * D + j] = t[0][(size_t)index[0][n] * D + j] +
                              t[1][(size_t)index[1][n] * D + j] + t[2][(size_t)index[2][n] * D + j];
    struct mat y = rig_mat(d, &ws, TOKENS, D, NULL);
    d->ops->embed(d, &a, y);
    d->ops->read(d, y, got);
    CHECK_OK(device_sync(d, &msg), msg);
    CHECK(memcmp(got, want, sizeof got) == 0); // the order of the sum is part of the contract
    for (size_t i = 0; i < 3; i++) {
        d->ops->weight_free(d, (struct weight *)a.tables[i]);
        free(t[i]);
    }
    d->ops->workspace_free(d, &ws);
}

static void ref_pool(enum pool_mode mode, const float *x, size_t from, size_t to, size_t D,
                     float *y) {
    for (size_t j = 0; j < D; j++) {
        double sum = 0, most = -INFINITY;
        for (size_t r = from; r < to; r++) {
            sum += (double)x[r * D + j];
            most = fmax(most, (double)x[r * D + j]);
        }
        double n = (double)(to - from);
        y[j] = mode == POOL_CLS    ? x[from * D + j]
               : mode == POOL_LAST ? x[(to - 1) * D + j]
               : mode == POOL_MAX  ? (float)most
               : mode == POOL_MEAN ? (float)(sum / n)
                                   : (float)(sum / sqrt(n));
    }
}

static void test_pool(struct device *d) {
    enum { SEQS = 5, D = 83, TOKENS = 60 };
    static const int32_t cu[SEQS + 1] = {0, 1, 8, 30, 33, TOKENS}, skip[SEQS] = {0, 3, 20, 0, 1};
    struct arena ws = rig_workspace(d, WORKSPACE);
    struct errmsg msg = {0};
    float *x = rig_floats((size_t)TOKENS * D, 1), want[SEQS * D], got[SEQS * D];
    struct mat mx = rig_mat(d, &ws, TOKENS, D, x), out = rig_mat(d, &ws, SEQS, D, NULL);
    for (int skipping = 0; skipping < 2; skipping++)
        for (int mode = POOL_CLS; mode <= POOL_MEAN_SQRT; mode++) {
            struct pool_args a = {.mode = (enum pool_mode)mode,
                                  .x = mx,
                                  .out = out,
                                  .cu_seqlens = cu,
                                  .skip = skipping ? skip : NULL,
                                  .seqs = SEQS};
            d->ops->pool(d, &a);
            d->ops->read(d, out, got);
            CHECK_OK(device_sync(d, &msg), msg);
            for (size_t s = 0; s < SEQS; s++) {
                size_t from = (size_t)cu[s];
                if (skipping)
                    from += (size_t)skip[s];
                ref_pool((enum pool_mode)mode, x, from, (size_t)cu[s + 1], D, want + s * D);
            }
            CHECK_NEAR(got, want, SEQS * D, 1e-6, 1e-6);
        }
    // A sequence that is all prompt has nothing to pool; that is said, not made a zero vector.
    static const int32_t all[SEQS] = {1, 0, 0, 0, 0};
    struct pool_args a = {.mode = POOL_MEAN, .x = mx, .out = out, .cu_seqlens = cu, .skip = all};
    a.seqs = SEQS;
    d->ops->pool(d, &a);
    CHECK(device_sync(d, &msg) == ERR_INVALID);
    CHECK_OK(device_sync(d, &msg), msg); // asked once, said once
    d->ops->workspace_free(d, &ws);
    free(x);
}

// Parts of several dtypes, joined at offsets that divide no panel, from unaligned memory.
static void test_prepare(struct device *d) {
    enum { IN = 37, A = 19, B = 30, C = 45, OUT = A + B + C, ROWS = 17 };
    static unsigned char file[4 + OUT * IN * 4 + OUT * 4];
    float *w = rig_floats((size_t)OUT * IN, 1), *bias = rig_floats(OUT, 1);
    struct errmsg msg = {0};
    // bf16 and f16 values that f32 holds exactly: multiples of 1/8 below 16
    for (size_t i = 0; i < (size_t)OUT * IN; i++)
        w[i] = roundf(w[i] * 8) / 8;
    unsigned char *at = file + 1;
    struct weight_part parts[3] = {{.w = {"a", at, DTYPE_F32, 2, {A, IN}, NULL, 0},
                                    .bias = {"a.bias", NULL, DTYPE_F32, 1, {A}, NULL, 0}}};
    memcpy(at, w, A * IN * 4);
    at += A * IN * 4;
    parts[1] = (struct weight_part){.w = {"b", at, DTYPE_BF16, 2, {B, IN}, NULL, 0}};
    for (size_t i = 0; i < B * IN; i++, at += 2) {
        uint32_t bits;
        memcpy(&bits, &w[A * IN + i], 4);
        uint16_t half = (uint16_t)(bits >> 16);
        memcpy(at, &half, 2);
    }
    parts[2] = (struct weight_part){.w = {"c", at, DTYPE_F16, 2, {C, IN}, NULL, 0}};
    for (size_t i = 0; i < C * IN; i++, at += 2) {
        uint32_t bits;
        memcpy(&bits, &w[(A + B) * IN + i], 4);
        uint16_t half = (uint16_t)(bits >> 16 & 0x8000U);
        if (bits << 1) // not zero
            half = (uint16_t)(half | (((bits >> 23 & 255U) - 112) << 10) | (bits >> 13 & 1023U));
        memcpy(at, &half, 2);
    }
    memcpy(at, bias + A, B * 4);
    parts[1].bias = (struct tensor){"b.bias", at, DTYPE_F32, 1, {B}, NULL, 0};
    memset(bias, 0, A * 4);
    memset(bias + A + B, 0, C * 4);

    struct weight *prepared = NULL;
    CHECK_OK(d->ops->weight_prepare(d, WEIGHT_LINEAR, parts, 3, PRECISION_F32, &prepared, &msg),
             msg);
    struct arena ws = rig_workspace(d, WORKSPACE);
    float *x = rig_floats((size_t)ROWS * IN, 1), want[ROWS * OUT], got[ROWS * OUT];
    struct mat mx = rig_mat(d, &ws, ROWS, IN, x), my = rig_mat(d, &ws, ROWS, OUT, NULL);
    d->ops->linear(d, prepared, mx, my);
    d->ops->read(d, my, got);
    ref_linear(x, w, bias, ROWS, IN, OUT, want);
    CHECK_NEAR(got, want, ROWS * OUT, linear_tolerance(IN), 1e-6);
    d->ops->weight_free(d, prepared);

    // A value that is not finite, by name and index; in a tail, and in a bias.
    uint16_t nan = 0x7e00;
    unsigned char *bad = (unsigned char *)(uintptr_t)parts[2].w.data + 2 * (C * IN - 1);
    unsigned char keep[4];
    memcpy(keep, bad, 2);
    memcpy(bad, &nan, 2);
    CHECK(d->ops->weight_prepare(d, WEIGHT_LINEAR, parts, 3, PRECISION_F32, &prepared, &msg) ==
          ERR_INVALID);
    CHECK(!prepared);
    char text[64];
    snprintf(text, sizeof text, "tensor 'c': non-finite at %d", C * IN - 1);
    CHECK_STR(msg.text, text);
    memcpy(bad, keep, 2);
    bad = (unsigned char *)(uintptr_t)parts[1].bias.data + 4 * 7;
    memcpy(bad, &(float){-INFINITY}, 4);
    CHECK(d->ops->weight_prepare(d, WEIGHT_LINEAR, parts, 3, PRECISION_F32, &prepared, &msg) ==
          ERR_INVALID);
    CHECK_STR(msg.text, "tensor 'b.bias': non-finite at 7");
    // The first of several, whichever thread saw which.
    enum { BIG = 3000, WIDE = 64 };
    float *big = rig_floats((size_t)BIG * WIDE, 1);
    big[100 * WIDE + 7] = big[5] = big[2999 * WIDE] = NAN;
    struct weight_part table = {.w = {"table", big, DTYPE_F32, 2, {BIG, WIDE}, NULL, 0}};
    CHECK(d->ops->weight_prepare(d, WEIGHT_TABLE, &table, 1, PRECISION_F32, &prepared, &msg) ==
          ERR_INVALID);
    CHECK_STR(msg.text, "tensor 'table': non-finite at 5");
    CHECK(d->ops->weight_prepare(d, WEIGHT_LINEAR, &table, 1, PRECISION_F32, &prepared, &msg) ==
          ERR_INVALID);
    CHECK_STR(msg.text, "tensor 'table': non-finite at 5");

    parts[1].w.shape[1] = IN - 1;
    CHECK(d->ops->weight_prepare(d, WEIGHT_LINEAR, parts, 3, PRECISION_F32, &prepared, &msg) ==
          ERR_INVALID);
    table.w.dtype = DTYPE_I64;
    CHECK(d->ops->weight_prepare(d, WEIGHT_TABLE, &table, 1, PRECISION_F32, &prepared, &msg) ==
          ERR_UNSUPPORTED);
    CHECK(d->ops->weight_prepare(d, WEIGHT_TABLE, &table, 0, PRECISION_F32, &prepared, &msg) ==
          ERR_INVALID);
    d->ops->workspace_free(d, &ws);
    free(w), free(bias), free(x), free(big);
}

// The fusions composed from the plain operations give what the plain operations give.
static void test_composed(struct device *d) {
    enum { ROWS = 9, IN = 33, OUT = 41 };
    struct device_ops plain = *d->ops;
    const struct device_ops *fused = d->ops;
    struct errmsg msg = {0};
    plain.linear_activate = NULL;
    plain.linear_add_norm = NULL;
    struct arena ws = rig_workspace(d, WORKSPACE);
    float *w = rig_floats((size_t)OUT * IN, 1), *v = rig_floats(OUT, 1),
          *x = rig_floats(ROWS * IN, 1);
    float got[ROWS * OUT], want[ROWS * OUT];
    struct weight *lw = rig_linear(d, w, v, OUT, IN);
    struct norm n = {rig_vector(d, v, OUT), rig_vector(d, v, OUT), 1e-5F};
    struct mat mx = rig_mat(d, &ws, ROWS, IN, x), y = rig_mat(d, &ws, ROWS, OUT, NULL);
    struct mat r = rig_mat(d, &ws, ROWS, OUT, w);
    device_linear_activate(d, lw, mx, ACTIVATION_GELU, y);
    d->ops->read(d, y, want);
    d->ops = &plain;
    device_linear_activate(d, lw, mx, ACTIVATION_GELU, y);
    d->ops->read(d, y, got);
    CHECK_NEAR(got, want, ROWS * OUT, 0, 0);
    d->ops = fused;
    device_linear_add_norm(d, lw, mx, r, &n, y);
    d->ops->read(d, y, want);
    d->ops = &plain;
    device_linear_add_norm(d, lw, mx, r, &n, y);
    d->ops->read(d, y, got);
    CHECK_NEAR(got, want, ROWS * OUT, 0, 0);
    CHECK_OK(device_sync(d, &msg), msg);
    device_linear_add_norm(d, lw, mx, r, &n, r);
    CHECK(device_sync(d, &msg) == ERR_UNSUPPORTED);
    d->ops = fused;
    // widths that do not agree
    device_linear_add_norm(d, lw, mx, mat_cols(r, 0, OUT - 1), &n, y);
    CHECK(device_sync(d, &msg) == ERR_INTERNAL);
    d->ops->layer_norm(d, &n, mx, mx);
    CHECK(device_sync(d, &msg) == ERR_INTERNAL);
    d->ops->weight_free(d, lw);
    d->ops->weight_free(d, (struct weight *)n.gamma);
    d->ops->weight_free(d, (struct weight *)n.beta);
    d->ops->workspace_free(d, &ws);
    free(w), free(v), free(x);
}

static void test_failures(struct device *d) {
    struct errmsg msg = {0};
    struct arena ws = rig_workspace(d, 4096);
    struct mat m = device_mat(d, &ws, 100, 100);
    CHECK(!m.data);
    device_fail(d, ERR_INVALID, "a later failure");
    CHECK(device_sync(d, &msg) == ERR_INTERNAL); // the first stays
    CHECK(strstr(msg.text, "100 x 100") != NULL);
    CHECK_OK(device_sync(d, &msg), msg);
    m = device_mat(d, &ws, SIZE_MAX / 2, 1000);
    CHECK(!m.data && device_sync(d, NULL) == ERR_INTERNAL);
    m = device_mat(d, &ws, 3, 17);
    CHECK(m.data && m.ld == 48 && m.rows == 3 && m.cols == 17);

    static const int32_t cu[] = {0, 3};
    struct attention_args a = {.q = m, .k = m, .v = m, .out = m, .cu_seqlens = cu, .seqs = 1};
    a.heads = 1, a.head_dim = 17, a.scale = 0;
    d->ops->attention(d, &a);
    CHECK(device_sync(d, NULL) == ERR_INTERNAL);
    a.head_dim = 100000, a.scale = 1;
    d->ops->attention(d, &a);
    CHECK(device_sync(d, NULL) == ERR_UNSUPPORTED);
    d->ops->subtract(d, m, m, mat_cols(m, 0, 16));
    CHECK(device_sync(d, NULL) == ERR_INTERNAL);
    d->ops->subtract(d, m, mat_rows(m, 0, 2), m);
    CHECK(device_sync(d, NULL) == ERR_INTERNAL);
    d->ops->workspace_free(d, &ws);
}

int main(void) {
    struct device *none = NULL;
    struct errmsg msg = {0};
    struct cpu_options unknown = {.isa = "avx1024"};
    CHECK(cpu_device_new(&unknown, &none, &msg) == ERR_UNSUPPORTED && !none);
    for (int i = 0; i < RIG_SETS; i++)
        for (int gemm = CPU_GEMM_OWN; gemm <= CPU_GEMM_OPENBLAS; gemm++) {
            struct device *d = rig_device(rig_sets[i], 3, (enum cpu_gemm)gemm);
            if (!d)
                continue;
            test_linear(d);
            test_prepare(d);
            test_composed(d);
            if (gemm == CPU_GEMM_OWN) { // the rest does not know the difference
                test_attention(d);
                test_rows(d);
                test_embed(d);
                test_pool(d);
                test_failures(d);
            }
            d->ops->free(d);
        }
    CHECK_STR(dtype_name(DTYPE_BF16), "bf16");
    CHECK_STR(dtype_name(DTYPE_COUNT), "unknown");
    return check_done();
}
