// Causal attention over the paged cache and over matrices: against double precision, and that a
// token's row has the same bits however its sequence was cut into steps, whatever else shared them,
// wherever its blocks lie and on any number of threads.
#include "tests/unit/device_rig.h"

enum { WORKSPACE = 8 << 20, LAYERS = 2, LAYER = 1, MAX_SEQS = 4, SINGLES = 40 };

struct scene {
    size_t heads, kv_heads, head_dim, block_tokens, window;
    enum dtype dtype;
    size_t seqs, len[MAX_SEQS];
    float *q[MAX_SEQS], *k[MAX_SEQS], *v[MAX_SEQS]; // [len][heads or kv heads][head_dim]
    size_t total;
};

// Values that f16 holds exactly, so that one reference serves both caches.
static float *halves(size_t n) {
    float *p = rig_floats(n, 1);
    for (size_t i = 0; i < n; i++)
        p[i] = roundf(p[i] * 64) / 64;
    return p;
}

static void scene_fill(struct scene *c) {
    c->total = 0;
    for (size_t s = 0; s < c->seqs; s++) {
        c->q[s] = halves(c->len[s] * c->heads * c->head_dim);
        c->k[s] = halves(c->len[s] * c->kv_heads * c->head_dim);
        c->v[s] = halves(c->len[s] * c->kv_heads * c->head_dim);
        c->total += c->len[s];
    }
}

static void scene_free(struct scene *c) {
    for (size_t s = 0; s < c->seqs; s++)
        free(c->q[s]), free(c->k[s]), free(c->v[s]);
}

static float scale_of(const struct scene *c) { return 1 / sqrtf((float)c->head_dim); }

// out: [all sequences' tokens][heads][head_dim]
static void reference(const struct scene *c, float *out) {
    size_t hd = c->head_dim, group = c->heads / c->kv_heads;
    for (size_t s = 0; s < c->seqs; s++)
        for (size_t i = 0; i < c->len[s]; i++)
            for (size_t h = 0; h < c->heads; h++, out += hd) {
                const float *q = c->q[s] + (i * c->heads + h) * hd;
                size_t from = c->window && i + 1 > c->window ? i + 1 - c->window : 0;
                double total = 0, most = -INFINITY, sum[256] = {0}, p[2048];
                for (size_t j = from; j <= i; j++) {
                    const float *k = c->k[s] + (j * c->kv_heads + h / group) * hd;
                    p[j] = 0;
                    for (size_t e = 0; e < hd; e++)
                        p[j] += (double)q[e] * (double)k[e] * (double)scale_of(c);
                    most = fmax(most, p[j]);
                }
                for (size_t j = from; j <= i; j++) {
                    const float *v = c->v[s] + (j * c->kv_heads + h / group) * hd;
                    total += p[j] = exp(p[j] - most);
                    for (size_t e = 0; e < hd; e++)
                        sum[e] += p[j] * (double)v[e];
                }
                for (size_t e = 0; e < hd; e++)
                    out[e] = (float)(sum[e] / total);
            }
}

struct paged {
    struct kv_cache *kv;
    int32_t *tables;
    size_t stride;
};

static void shuffle(int32_t *p, size_t n) {
    for (size_t i = n; i > 1; i--) {
        size_t j = rig_random() % i;
        int32_t keep = p[i - 1];
        p[i - 1] = p[j];
        p[j] = keep;
    }
}

// A cache whose blocks are dealt out at random and which holds NaN everywhere: what a block held
// for another sequence must not show.
static struct paged paged_new(struct device *d, const struct scene *c) {
    struct paged p = {.stride = 0};
    struct errmsg msg = {0};
    for (size_t s = 0; s < c->seqs; s++) {
        size_t blocks = (c->len[s] + c->block_tokens - 1) / c->block_tokens;
        p.stride = blocks > p.stride ? blocks : p.stride;
    }
    size_t blocks = p.stride * c->seqs + 2, width = c->kv_heads * c->head_dim;
    struct kv_shape shape = {LAYERS, c->kv_heads, c->head_dim, c->block_tokens,
                             blocks, c->dtype,    0,           0};
    CHECK_OK(d->ops->kv_new(d, &shape, &p.kv, &msg), msg);
    int32_t *numbers = rig_alloc(blocks, sizeof *numbers);
    for (size_t i = 0; i < blocks; i++)
        numbers[i] = (int32_t)i;
    shuffle(numbers, blocks);
    p.tables = rig_alloc(p.stride * c->seqs, sizeof *p.tables);
    memcpy(p.tables, numbers, p.stride * c->seqs * sizeof *numbers);
    int32_t *slots = rig_alloc(c->block_tokens, sizeof *slots);
    struct arena ws = rig_workspace(d, WORKSPACE);
    struct mat nan = rig_mat(d, &ws, c->block_tokens, width, NULL);
    for (size_t i = 0; i < c->block_tokens * nan.ld; i++)
        nan.data[i] = NAN;
    for (size_t b = 0; b < blocks; b++) {
        for (size_t i = 0; i < c->block_tokens; i++)
            slots[i] = (int32_t)(b * c->block_tokens + i);
        for (size_t layer = 0; layer < LAYERS; layer++) {
            struct kv_store_args a = {p.kv, layer, nan, nan, slots};
            d->ops->kv_store(d, &a);
        }
    }
    d->ops->workspace_free(d, &ws);
    free(numbers), free(slots);
    return p;
}

static void paged_free(struct device *d, struct paged *p) {
    d->ops->kv_free(d, p->kv);
    free(p->tables);
}

// One step: tokens [done[s], done[s] + n[s]) of the sequences in `order`.
static void step(struct device *d, const struct scene *c, const struct paged *p,
                 const int32_t *order, const size_t *done, const size_t *n, float *out) {
    size_t width = c->heads * c->head_dim, kv_width = c->kv_heads * c->head_dim, tokens = 0;
    for (size_t s = 0; s < c->seqs; s++)
        tokens += n[s];
    struct arena ws = rig_workspace(d, (tokens + 16) * (2 * width + 2 * kv_width + 64) * 4);
    struct mat q = rig_mat(d, &ws, tokens, width, NULL),
               k = rig_mat(d, &ws, tokens, kv_width, NULL);
    struct mat v = rig_mat(d, &ws, tokens, kv_width, NULL),
               y = rig_mat(d, &ws, tokens, width, NULL);
    int32_t *slots = rig_alloc(tokens, sizeof *slots), cu[MAX_SEQS + 1] = {0}, context[MAX_SEQS];
    int32_t *tables = rig_alloc(p->stride * c->seqs, sizeof *tables);
    for (size_t i = 0, row = 0; i < c->seqs; i++) {
        size_t s = (size_t)order[i];
        memcpy(tables + i * p->stride, p->tables + s * p->stride, p->stride * sizeof *tables);
        for (size_t t = done[s]; t < done[s] + n[s]; t++, row++) {
            memcpy(q.data + row * q.ld, c->q[s] + t * width, width * sizeof *out);
            memcpy(k.data + row * k.ld, c->k[s] + t * kv_width, kv_width * sizeof *out);
            memcpy(v.data + row * v.ld, c->v[s] + t * kv_width, kv_width * sizeof *out);
            slots[row] = p->tables[s * p->stride + t / c->block_tokens] * (int32_t)c->block_tokens +
                         (int32_t)(t % c->block_tokens);
        }
        cu[i + 1] = (int32_t)row;
        context[i] = (int32_t)(done[s] + n[s]);
    }
    struct kv_store_args store = {p->kv, LAYER, k, v, slots};
    d->ops->kv_store(d, &store);
    struct paged_attention_args a = {.kv = p->kv,
                                     .layer = LAYER,
                                     .q = q,
                                     .out = y,
                                     .cu_seqlens = cu,
                                     .context_lens = context,
                                     .block_tables = tables,
                                     .table_stride = p->stride,
                                     .seqs = c->seqs,
                                     .heads = c->heads,
                                     .scale = scale_of(c),
                                     .window = c->window};
    d->ops->paged_attention(d, &a);
    struct errmsg msg = {0};
    CHECK_OK(device_sync(d, &msg), msg);
    for (size_t i = 0, row = 0; i < c->seqs; i++) {
        size_t s = (size_t)order[i], first = 0;
        for (size_t before = 0; before < s; before++)
            first += c->len[before];
        for (size_t t = done[s]; t < done[s] + n[s]; t++, row++)
            memcpy(out + (first + t) * width, y.data + row * y.ld, width * sizeof *out);
    }
    d->ops->workspace_free(d, &ws);
    free(slots), free(tables);
}

// All sequences through the cache, in steps of up to `chunk` tokens of each; of long ones only the
// last come one at a time.
static void play(struct device *d, const struct scene *c, size_t chunk, bool random, float *out) {
    struct paged p = paged_new(d, c);
    size_t done[MAX_SEQS] = {0}, n[MAX_SEQS], left = c->total;
    int32_t order[MAX_SEQS];
    for (size_t s = 0; s < c->seqs; s++)
        order[s] = (int32_t)s;
    while (left > 0) {
        for (size_t s = 0; s < c->seqs; s++) {
            n[s] = random ? rig_random() % (chunk + 1) : chunk;
            if (chunk == 1 && done[s] == 0 && c->len[s] > 2 * SINGLES)
                n[s] = c->len[s] - SINGLES;
            if (random && rig_random() % 2)
                n[s] = n[s] > 0; // a token among the chunks
            n[s] = n[s] < c->len[s] - done[s] ? n[s] : c->len[s] - done[s];
            left -= n[s];
        }
        if (random)
            shuffle(order, c->seqs);
        step(d, c, &p, order, done, n, out);
        for (size_t s = 0; s < c->seqs; s++)
            done[s] += n[s];
    }
    paged_free(d, &p);
}

// The same without a cache.
static void whole(struct device *d, const struct scene *c, size_t piece, float *out) {
    size_t width = c->heads * c->head_dim, kv = c->kv_heads * c->head_dim;
    struct arena ws = rig_workspace(d, (c->total + 16) * (2 * width + 2 * kv + 64) * 4);
    struct mat qkv = rig_mat(d, &ws, c->total, width + 2 * kv, NULL);
    struct mat y = rig_mat(d, &ws, c->total, width, NULL);
    int32_t cu[MAX_SEQS + 1] = {0};
    for (size_t s = 0, row = 0; s < c->seqs; s++) {
        for (size_t t = 0; t < c->len[s]; t++, row++) {
            float *to = qkv.data + row * qkv.ld;
            memcpy(to, c->q[s] + t * width, width * sizeof *to);
            memcpy(to + width, c->k[s] + t * kv, kv * sizeof *to);
            memcpy(to + width + kv, c->v[s] + t * kv, kv * sizeof *to);
        }
        cu[s + 1] = (int32_t)row;
    }
    struct attention_args a = {.q = mat_cols(qkv, 0, width),
                               .k = mat_cols(qkv, width, kv),
                               .v = mat_cols(qkv, width + kv, kv),
                               .out = y,
                               .cu_seqlens = cu,
                               .seqs = c->seqs,
                               .heads = c->heads,
                               .kv_heads = c->kv_heads,
                               .head_dim = c->head_dim,
                               .scale = scale_of(c),
                               .causal = true,
                               .window = c->window};
    struct errmsg msg = {0};
    for (; a.begin < c->total; a.begin += piece) {
        a.end = a.begin + piece < c->total ? a.begin + piece : c->total;
        d->ops->attention(d, &a);
    }
    CHECK_OK(device_sync(d, &msg), msg);
    d->ops->read(d, y, out);
    d->ops->workspace_free(d, &ws);
}

static void test_scene(struct device *const *devices, size_t count, struct scene *c) {
    scene_fill(c);
    size_t n = c->total * c->heads * c->head_dim;
    float *want = rig_alloc(n, sizeof *want), *got = rig_alloc(n, sizeof *got);
    float *again = rig_alloc(n, sizeof *again);
    reference(c, want);
    play(devices[0], c, 4096, false, got);
    // scores reach about 5: e^score carries some ulp of relative error, averaged over the keys
    CHECK_NEAR(got, want, n, 3e-6, 1e-5);
    for (size_t i = 0; i < count; i++) {
        play(devices[i], c, 90, true, again);
        CHECK(memcmp(got, again, n * sizeof *got) == 0);
        play(devices[i], c, 1, false, again);
        CHECK(memcmp(got, again, n * sizeof *got) == 0);
        if (c->dtype != DTYPE_F32)
            continue;
        whole(devices[i], c, SIZE_MAX / 2, again);
        CHECK(memcmp(got, again, n * sizeof *got) == 0);
        whole(devices[i], c, ATTENTION_ROWS, again);
        CHECK(memcmp(got, again, n * sizeof *got) == 0);
    }
    free(want), free(got), free(again);
    scene_free(c);
}

static void test_scenes(struct device *const *devices, size_t count, bool plain) {
    static const struct scene scenes[] = {
        {4, 2, 6, 16, 0, DTYPE_F32, 3, .len = {40, 1, 300}},
        {3, 3, 10, 48, 0, DTYPE_F16, 2, .len = {290, 17}},
        {9, 3, 64, 32, 0, DTYPE_F16, 3, .len = {530, 70, 300}},
        {7, 1, 24, 32, 37, DTYPE_F32, 2, .len = {330, 60}},
        {2, 1, 80, 32, 300, DTYPE_F16, 2, .len = {700, 33}},
        {14, 2, 64, 64, 0, DTYPE_F32, 2, .len = {280, 9}},
        {2, 2, 256, 16, 0, DTYPE_F16, 1, .len = {270}},
        {1, 1, 128, 32, 1, DTYPE_F32, 1, .len = {50}},
        {4, 2, 16, 32, 0, DTYPE_F16, 2, .len = {1300, 1100}}, // parts computed apart
    };
    for (size_t i = 0; i < sizeof scenes / sizeof *scenes; i++) {
        struct scene c = scenes[i];
        for (size_t s = 0; s < c.seqs && plain; s++)
            c.len[s] = c.len[s] > 280 ? 280 : c.len[s];
        test_scene(devices, count, &c);
    }
}

// One NaN in a query spoils its row, in a key or a value the rows that see it, and no other.
static void test_nan(struct device *d) {
    enum { LEN = 300, AT = 261, WINDOW = 20 };
    for (int which = 0; which < 3; which++)
        for (int windowed = 0; windowed < 2; windowed++) {
            struct scene c = {2, 1, 24, 32, windowed ? WINDOW : 0, DTYPE_F16, 1, .len = {LEN}};
            scene_fill(&c);
            size_t width = c.heads * c.head_dim;
            float *out = rig_alloc(LEN * width, sizeof *out);
            if (which == 0)
                c.q[0][AT * width + 5] = NAN;
            else
                (which == 1 ? c.k : c.v)[0][AT * c.head_dim + 5] = NAN;
            for (int chunk = 64; chunk <= LEN; chunk += LEN - 64) {
                play(d, &c, (size_t)chunk, false, out);
                bool ok = true;
                for (size_t i = 0; i < LEN; i++)
                    for (size_t j = 0; j < width; j++) {
                        bool sees = i >= AT && (!windowed || i < AT + WINDOW);
                        bool spoiled = which == 0   ? i == AT && j < c.head_dim
                                       : which == 1 ? sees
                                                    : sees && j % c.head_dim == 5;
                        ok = ok && isnan(out[i * width + j]) == spoiled;
                    }
                CHECK(ok);
            }
            free(out);
            scene_free(&c);
        }
}

static void test_refusals(struct device *d) {
    struct errmsg msg = {0};
    struct kv_cache *kv = NULL;
    static const struct {
        struct kv_shape shape;
        enum err want;
    } bad[] = {
        {{0, 1, 8, 32, 4, DTYPE_F32, 0, 0}, ERR_INVALID},
        {{1, 1, 8, 24, 4, DTYPE_F32, 0, 0}, ERR_INVALID},
        {{1, 1, 8, 0, 4, DTYPE_F32, 0, 0}, ERR_INVALID},
        {{1, 1, 8, 32, 0, DTYPE_F32, 0, 0}, ERR_INVALID},
        {{1, 1, 8, 32, 4, DTYPE_BF16, 0, 0}, ERR_UNSUPPORTED},
        {{1, 1, 258, 32, 4, DTYPE_F16, 0, 0}, ERR_UNSUPPORTED},
        {{1, 1, 8, 32, (size_t)1 << 27, DTYPE_F32, 0, 0}, ERR_TOO_LARGE},
        {{SIZE_MAX / 8, 16, 128, 32, 1 << 20, DTYPE_F32, 0, 0}, ERR_TOO_LARGE},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        msg.text[0] = '\0';
        CHECK(d->ops->kv_new(d, &bad[i].shape, &kv, &msg) == bad[i].want && !kv && msg.text[0]);
    }
    // More than any machine has, though the sizes do not overflow.
    struct kv_shape huge = {1 << 6, 1 << 10, 256, 32, 1 << 20, DTYPE_F32, 0, 0};
    CHECK(d->ops->kv_new(d, &huge, &kv, &msg) == ERR_NOMEM && !kv);
    d->ops->kv_free(d, NULL);

    struct kv_shape shape = {1, 2, 8, 16, 4, DTYPE_F32, 0, 0};
    CHECK_OK(d->ops->kv_new(d, &shape, &kv, &msg), msg);
    struct arena ws = rig_workspace(d, 1 << 16);
    struct mat q = rig_mat(d, &ws, 2, 32, NULL), k = rig_mat(d, &ws, 2, 16, NULL);
    int32_t slots[] = {0, 64}, cu[] = {0, 2}, context[] = {2}, table[] = {4};
    struct kv_store_args store = {kv, 0, k, k, slots};
    d->ops->kv_store(d, &store); // slot 64 is behind the last
    CHECK(device_sync(d, &msg) == ERR_INTERNAL);
    slots[1] = 63, store.layer = 1;
    d->ops->kv_store(d, &store);
    CHECK(device_sync(d, &msg) == ERR_INTERNAL);
    struct paged_attention_args a = {.kv = kv, .q = q, .out = q, .cu_seqlens = cu};
    a.context_lens = context, a.block_tables = table, a.table_stride = 1, a.seqs = 1;
    a.heads = 4, a.scale = 1;
    d->ops->paged_attention(d, &a); // block 4 is behind the last
    CHECK(device_sync(d, &msg) == ERR_INTERNAL);
    table[0] = 0, context[0] = 1; // fewer than the step's
    d->ops->paged_attention(d, &a);
    CHECK(device_sync(d, &msg) == ERR_INTERNAL);
    context[0] = 17; // of two blocks
    d->ops->paged_attention(d, &a);
    CHECK(device_sync(d, &msg) == ERR_INTERNAL);
    context[0] = 2, a.heads = 3;
    d->ops->paged_attention(d, &a);
    CHECK(device_sync(d, &msg) == ERR_INTERNAL);
    a.heads = 4, a.seqs = 0, cu[0] = 0; // nothing to do is no failure
    a.q.rows = a.out.rows = 0;
    d->ops->paged_attention(d, &a);
    CHECK_OK(device_sync(d, &msg), msg);
    d->ops->kv_free(d, kv);
    d->ops->workspace_free(d, &ws);
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
        if (count == DEVICES) {
            test_scenes(devices, count, i == 0);
            test_nan(devices[1]);
            test_refusals(devices[0]);
        }
        while (count > 0)
            cpu_device_free(devices[--count]);
    }
    return check_done();
}
