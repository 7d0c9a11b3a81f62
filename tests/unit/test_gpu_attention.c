// Attention over ragged sequences on the emulated GPU, both kernels: against double precision, and
// for f32 the promise that a row's bits depend on its own sequence alone.
#include "tests/unit/gpu_rig.h"

struct shape {
    size_t heads, kv_heads, head_dim;
    enum gpu_type type;
    int causal;
    size_t window;
    bool slopes, bias;
};

// What one test computes: N tokens' q | k | v, and the terms of scores.
struct work {
    struct shape shape;
    size_t tokens, seqs, reach;
    int32_t cu[40];
    float *qkv, *slopes, *bias; // qkv [N, (H + 2 Hk) hd] as the type holds it
};

static struct work work_new(struct shape shape, const int32_t *lengths, size_t seqs) {
    struct work w = {.shape = shape, .seqs = seqs, .reach = 9};
    for (size_t s = 0; s < seqs; s++)
        w.cu[s + 1] = w.cu[s] + lengths[s];
    w.tokens = (size_t)w.cu[seqs];
    size_t width = (shape.heads + 2 * shape.kv_heads) * shape.head_dim;
    w.qkv = rig_floats(w.tokens * width, 1);
    gpu_rig_round(w.qkv, w.tokens * width, shape.type);
    w.slopes = rig_floats(shape.heads, 0.1F);
    w.bias = rig_floats(shape.heads * (2 * w.reach + 1), 1);
    return w;
}

static void work_free(struct work *w) {
    free(w->qkv);
    free(w->slopes);
    free(w->bias);
}

static bool sees(const struct shape *shape, long i, long j) {
    if (shape->causal)
        return j <= i && (!shape->window || i - j < (long)shape->window);
    return !shape->window || labs(i - j) <= (long)(shape->window / 2);
}

// One row of one head, in double precision.
static void wanted_row(const struct work *w, size_t seq, size_t i, size_t head, double *out) {
    const struct shape *c = &w->shape;
    size_t hd = c->head_dim, width = (c->heads + 2 * c->kv_heads) * hd;
    size_t start = (size_t)w->cu[seq], n = (size_t)w->cu[seq + 1] - start;
    size_t kv = head / (c->heads / c->kv_heads);
    const float *q = w->qkv + (start + i) * width + head * hd;
    double scores[512], largest = -INFINITY, sum = 0;
    for (size_t j = 0; j < n; j++) {
        const float *k = w->qkv + (start + j) * width + (c->heads + kv) * hd;
        double dot = 0;
        for (size_t d = 0; d < hd; d++)
            dot += (double)q[d] * (double)k[d];
        long at = (long)j - (long)i, reach = (long)w->reach;
        double score = dot / sqrt((double)hd);
        if (c->slopes)
            score -= (double)w->slopes[head] * (double)labs(at);
        if (c->bias)
            score +=
                (double)w->bias[head * (2 * w->reach + 1) + (size_t)(reach + (at < -reach  ? -reach
                                                                              : at > reach ? reach
                                                                                           : at))];
        scores[j] = sees(c, (long)i, (long)j) ? score : -INFINITY;
        largest = fmax(largest, scores[j]);
    }
    for (size_t d = 0; d < hd; d++)
        out[d] = 0;
    for (size_t j = 0; j < n; j++) {
        double weight = exp(scores[j] - largest);
        const float *v = w->qkv + (start + j) * width + (c->heads + c->kv_heads + kv) * hd;
        sum += weight;
        for (size_t d = 0; d < hd; d++)
            out[d] += weight * (double)v[d];
    }
    for (size_t d = 0; d < hd; d++)
        out[d] /= sum;
}

static float *wanted(const struct work *w) {
    const struct shape *c = &w->shape;
    float *y = rig_alloc(w->tokens * c->heads * c->head_dim, sizeof *y);
    double row[256];
    for (size_t s = 0; s < w->seqs; s++)
        for (size_t i = 0; i < (size_t)(w->cu[s + 1] - w->cu[s]); i++)
            for (size_t h = 0; h < c->heads; h++) {
                wanted_row(w, s, i, h, row);
                for (size_t d = 0; d < c->head_dim; d++)
                    y[(((size_t)w->cu[s] + i) * c->heads + h) * c->head_dim + d] = (float)row[d];
            }
    return y;
}

// The rows of sequence s from `from` to `to` (counted within it) go into tiles.
static size_t cut(int32_t *tiles, size_t count, size_t s, int32_t from, int32_t to) {
    for (int32_t row = from; row < to; row += GPU_ATTENTION_ROWS) {
        tiles[2 * count] = (int32_t)s;
        tiles[2 * count++ + 1] = row;
    }
    return count;
}

// What the kernel gives; begin and end: the rows of each sequence, cut there into two launches.
static float *computed(const struct work *w, int32_t parting) {
    const struct shape *c = &w->shape;
    size_t hd = c->head_dim, width = (c->heads + 2 * c->kv_heads) * hd;
    struct gpu_mat qkv = gpu_rig_mat(w->qkv, w->tokens, width, c->type);
    struct gpu_mat out = gpu_rig_mat(NULL, w->tokens, c->heads * hd, c->type);
    struct gpu_attention a = {
        .q = gpu_rig_cols(qkv, 0, c->heads * hd),
        .k = gpu_rig_cols(qkv, c->heads * hd, c->kv_heads * hd),
        .v = gpu_rig_cols(qkv, (c->heads + c->kv_heads) * hd, c->kv_heads * hd),
        .out = out,
        .cu_seqlens = gpu_rig_ints(w->cu, w->seqs + 1),
        .seqs = w->seqs,
        .heads = c->heads,
        .kv_heads = c->kv_heads,
        .head_dim = hd,
        .scale = (float)(1 / sqrt((double)hd)),
        .causal = c->causal,
        .window = c->window,
        .slopes = c->slopes ? gpu_rig_f32(w->slopes, c->heads) : NULL,
        .bias = c->bias ? gpu_rig_f32(w->bias, c->heads * (2 * w->reach + 1)) : NULL,
        .bias_reach = w->reach,
    };
    for (int part = 0; part < 2; part++) {
        int32_t tiles[256];
        size_t count = 0;
        for (size_t s = 0; s < w->seqs; s++) {
            int32_t n = w->cu[s + 1] - w->cu[s], at = parting < n ? parting : n;
            count = cut(tiles, count, s, part ? at : 0, part ? n : at);
        }
        a.tiles = gpu_rig_ints(tiles, 2 * count);
        a.tile_count = count;
        gpu_launch_attention(gpu_rig.stream, &a);
    }
    float *y = gpu_rig_read(out);
    gpu_rig_clear();
    return y;
}

// f32: sums of 300 numbers of about 1 and weights of exp, each within 1e-7 or so. bf16, f16: q, k
// and v are exact here; weights (below 1) and the result are rounded, by 2^-9 and 2^-12 of
// themselves, and values are of size 1 to 4.
static double bound(enum gpu_type type) {
    return type == GPU_F32 ? 4e-6 : type == GPU_BF16 ? 0x1p-6 : 0x1p-9;
}

static void test_against_double(struct shape shape, const int32_t *lengths, size_t seqs) {
    struct work w = work_new(shape, lengths, seqs);
    float *want = wanted(&w), *got = computed(&w, INT32_MAX);
    if (!CHECK_NEAR(got, want, w.tokens * shape.heads * shape.head_dim, bound(shape.type),
                    shape.type == GPU_F32 ? 0 : bound(shape.type)))
        fprintf(stderr, "    heads %zu/%zu of %zu, type %d, causal %d, window %zu, terms %d %d\n",
                shape.heads, shape.kv_heads, shape.head_dim, shape.type, shape.causal, shape.window,
                shape.slopes, shape.bias);
    free(got);
    free(want);
    work_free(&w);
}

// Sequences about the edges of tiles, and short ones between them.
static const int32_t SHORT[] = {1, 7, 64, 3, 65, 16, 1, 2};
static const int32_t LONG[] = {130, 5};

static void test_shapes(void) {
    static const size_t dims[] = {32, 64, 96, 128, 80, 20, 7, 256, 160};
    for (size_t d = 0; d < sizeof dims / sizeof *dims; d++)
        for (int type = GPU_F32; type <= GPU_F16; type++) {
            struct shape shape = {2, 1, dims[d], type, d % 2, 0, false, false};
            if (type == GPU_F16 && dims[d] > 128) // bf16 has shown it
                continue;
            test_against_double(shape, SHORT, 5);
        }
}

static void test_groups(void) {
    for (size_t group = 1; group <= 8; group++) {
        struct shape shape = {group, 1, 32, group % 2 ? GPU_F32 : GPU_BF16, 1, 0, false, false};
        test_against_double(shape, SHORT + 5, 3);
    }
    test_against_double((struct shape){6, 3, 32, GPU_F16, 0, 0, false, false}, SHORT, 3);
}

static void test_rules(void) {
    for (int type = GPU_F32; type <= GPU_F16; type++)
        for (int causal = 0; causal < 2; causal++) {
            struct shape shape = {1, 1, 32, type, causal, 0, false, false};
            static const size_t windows[] = {1, 20, 64, 130};
            for (size_t i = 0; i < sizeof windows / sizeof *windows; i++) {
                shape.window = windows[i];
                test_against_double(shape, LONG, 2);
            }
            shape.slopes = true;
            test_against_double(shape, LONG, 2);
            shape.bias = true;
            shape.window = 0;
            test_against_double(shape, LONG, 2);
        }
    static const int32_t longest[] = {300};
    test_against_double((struct shape){1, 1, 64, GPU_BF16, 1, 0, false, false}, longest, 1);
    test_against_double((struct shape){1, 1, 64, GPU_F32, 0, 0, false, false}, longest, 1);
}

// A row's bits in a batch, by itself, and cut where no tile begins.
static void test_bits(void) {
    struct shape shape = {2, 1, 48, GPU_F32, 1, 70, true, false};
    static const int32_t lengths[] = {3, 150, 40};
    for (int causal = 0; causal < 2; causal++) {
        shape.causal = causal;
        struct work w = work_new(shape, lengths, 3);
        size_t width = shape.heads * shape.head_dim, all = w.tokens * width;
        float *whole = computed(&w, INT32_MAX), *parted = computed(&w, 23);
        CHECK(memcmp(whole, parted, all * sizeof *whole) == 0);
        struct work alone = w;
        alone.seqs = 1;
        alone.tokens = 150;
        alone.cu[1] = 150;
        alone.qkv = w.qkv + 3 * (shape.heads + 2 * shape.kv_heads) * shape.head_dim;
        float *own = computed(&alone, INT32_MAX);
        CHECK(memcmp(whole + 3 * width, own, 150 * width * sizeof *own) == 0);
        free(own);
        free(parted);
        free(whole);
        work_free(&w);
    }
}

int main(void) {
    gpu_rig_open();
    test_shapes();
    test_groups();
    test_rules();
    test_bits();
    gpu_rig_close();
    return check_done();
}
