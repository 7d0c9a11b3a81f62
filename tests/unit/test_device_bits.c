// A result row has the same bits alone, in any batch, at any place in it, on any number of threads.
#include "tests/unit/device_rig.h"

enum { WORKSPACE = 8 << 20 };

// What a batch of rows gives, for each operation with a matrix product.
struct products {
    const float *x, *residual, *w, *bias, *gamma;
    size_t in, out;
};

static void run_products(struct device *d, const struct products *p, size_t from, size_t rows,
                         float *y) {
    struct arena ws = rig_workspace(d, WORKSPACE);
    struct weight *w = rig_linear(d, p->w, p->bias, p->out, p->in);
    struct norm n = {rig_vector(d, p->gamma, p->out), rig_vector(d, p->bias, p->out), 1e-5F};
    struct mat x = rig_mat(d, &ws, rows, p->in, p->x + from * p->in);
    struct mat r = rig_mat(d, &ws, rows, p->out, p->residual + from * p->out);
    struct mat out = rig_mat(d, &ws, rows, p->out, NULL);
    struct errmsg msg = {0};
    d->ops->linear(d, w, x, out);
    d->ops->read(d, out, y);
    device_linear_activate(d, w, x, ACTIVATION_GELU, out);
    d->ops->read(d, out, y + rows * p->out);
    device_linear_add_norm(d, w, x, r, &n, r);
    d->ops->read(d, r, y + 2 * rows * p->out);
    CHECK_OK(device_sync(d, &msg), msg);
    d->ops->weight_free(d, w);
    d->ops->weight_free(d, (struct weight *)n.gamma);
    d->ops->weight_free(d, (struct weight *)n.beta);
    d->ops->workspace_free(d, &ws);
}

static void test_products(struct device *const *devices, size_t count) {
    static const size_t shapes[][2] = {{384, 384}, {33, 97}, {1536, 40}, {20, 7}, {64, 1}};
    static const size_t batches[][2] = {// from, rows
                                        {0, 1},  {5, 1},   {77, 1},  {0, 2},  {3, 4},  {10, 13},
                                        {7, 25}, {20, 29}, {40, 48}, {1, 64}, {0, 150}};
    enum { ROWS = 150 };
    for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++) {
        struct products p = {.in = shapes[s][0], .out = shapes[s][1]};
        p.x = rig_floats(ROWS * p.in, 1);
        p.residual = rig_floats(ROWS * p.out, 1);
        p.w = rig_floats(p.in * p.out, 1);
        p.bias = rig_floats(p.out, 1);
        p.gamma = rig_floats(p.out, 1);
        float *want = rig_alloc((size_t)3 * ROWS * p.out, sizeof *want);
        float *got = rig_alloc((size_t)3 * ROWS * p.out, sizeof *got);
        run_products(devices[0], &p, 0, ROWS, want);
        for (size_t i = 0; i < count; i++)
            for (size_t b = 0; b < sizeof batches / sizeof *batches; b++) {
                size_t from = batches[b][0], rows = batches[b][1], n = rows * p.out;
                run_products(devices[i], &p, from, rows, got);
                for (size_t op = 0; op < 3; op++)
                    CHECK(memcmp(got + op * n, want + (op * ROWS + from) * p.out,
                                 n * sizeof *got) == 0);
            }
        free((void *)p.x), free((void *)p.residual), free((void *)p.w), free((void *)p.bias);
        free((void *)p.gamma), free(want), free(got);
    }
}

// Sequences [first, first + n) of the lengths, attention and then each pool.
struct sequences {
    const float *qkv; // of all sequences
    const int32_t *cu;
    size_t heads, head_dim;
    size_t piece; // queries of a call; 0: all
};

static size_t run_sequences(struct device *d, const struct sequences *q, size_t first, size_t n,
                            float *y, float *pooled) {
    size_t width = q->heads * q->head_dim, from = (size_t)q->cu[first];
    size_t tokens = (size_t)q->cu[first + n] - from;
    int32_t cu[16];
    for (size_t i = 0; i <= n; i++)
        cu[i] = q->cu[first + i] - q->cu[first];
    struct arena ws = rig_workspace(d, WORKSPACE);
    struct mat qkv = rig_mat(d, &ws, tokens, 3 * width, q->qkv + from * 3 * width);
    struct mat out = rig_mat(d, &ws, tokens, width, NULL), row = rig_mat(d, &ws, n, width, NULL);
    struct attention_args a = {.q = mat_cols(qkv, 0, width),
                               .k = mat_cols(qkv, width, width),
                               .v = mat_cols(qkv, 2 * width, width),
                               .out = out,
                               .cu_seqlens = cu,
                               .seqs = n,
                               .heads = q->heads,
                               .head_dim = q->head_dim,
                               .scale = 0.25F};
    struct errmsg msg = {0};
    size_t piece = q->piece ? q->piece : tokens;
    for (; a.begin < tokens; a.begin += piece) {
        a.end = a.begin + piece < tokens ? a.begin + piece : tokens;
        d->ops->attention(d, &a);
    }
    d->ops->read(d, out, y);
    for (int mode = POOL_CLS; mode <= POOL_MEAN_SQRT; mode++) {
        struct pool_args p = {
            .mode = (enum pool_mode)mode, .x = out, .out = row, .cu_seqlens = cu, .seqs = n};
        d->ops->pool(d, &p);
        d->ops->l2_normalize(d, row);
        d->ops->read(d, row, pooled + (size_t)mode * n * width);
    }
    CHECK_OK(device_sync(d, &msg), msg);
    d->ops->workspace_free(d, &ws);
    return tokens;
}

static void test_sequences(struct device *const *devices, size_t count) {
    static const int32_t cu[] = {0, 25, 26, 34, 163, 291, 600, 617, 649};
    enum { SEQS = 8, MODES = POOL_MEAN_SQRT + 1 };
    static const size_t dims[] = {32, 20, 64};
    for (size_t h = 0; h < sizeof dims / sizeof *dims; h++) {
        struct sequences q = {.cu = cu, .heads = 3, .head_dim = dims[h]};
        size_t width = q.heads * q.head_dim, tokens = (size_t)cu[SEQS];
        q.qkv = rig_floats(tokens * 3 * width, 1.5F);
        float *want = rig_alloc(tokens * width, sizeof *want), *got = rig_alloc(tokens * width, 4);
        float *pool_want = rig_alloc(SEQS * MODES * width, 4);
        float *pool_got = rig_alloc(SEQS * MODES * width, 4);
        run_sequences(devices[0], &q, 0, SEQS, want, pool_want);
        for (size_t i = 0; i < count; i++)
            for (size_t first = 0; first < SEQS; first++)
                for (size_t n = 1; first + n <= SEQS; n += 2) {
                    q.piece = (first + n) % 3 * ATTENTION_ROWS;
                    size_t t = run_sequences(devices[i], &q, first, n, got, pool_got);
                    CHECK(memcmp(got, want + (size_t)cu[first] * width, t * width * 4) == 0);
                    for (size_t mode = 0; mode < MODES; mode++)
                        CHECK(memcmp(pool_got + mode * n * width,
                                     pool_want + (mode * SEQS + first) * width,
                                     n * width * 4) == 0);
                }
        free((void *)q.qkv), free(want), free(got), free(pool_want), free(pool_got);
    }
}

int main(void) {
    static const int threads[] = {1, 2, 3, 5};
    enum { DEVICES = 4 };
    for (int i = 0; i < RIG_SETS; i++)
        for (int gemm = CPU_GEMM_OWN; gemm <= CPU_GEMM_OPENBLAS; gemm++) {
            struct device *devices[DEVICES];
            size_t count = 0;
            while (count < DEVICES &&
                   (devices[count] = rig_device(rig_sets[i], threads[count], (enum cpu_gemm)gemm)))
                count++;
            if (count == DEVICES) {
                test_products(devices, count);
                if (gemm == CPU_GEMM_OWN)
                    test_sequences(devices, count);
            }
            while (count > 0)
                cpu_device_free(devices[--count]);
        }
    return check_done();
}
