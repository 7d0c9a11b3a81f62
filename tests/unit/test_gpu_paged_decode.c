// A decoding step's attention in one launch on the emulated GPU: what turning, storing and
// attending by their own launches give, bit for bit in f32, and what double precision gives; the
// cache holds what they store; a launch that was captured once serves contexts that have grown.
#include "tests/unit/gpu_paged_kit.h"

struct decode {
    struct paged_work work; // its k and v at a sequence's last position are set by the launch
    bool normed;
    size_t width; // of qkv
    float *qkv, *cosines, *sines, *q_norm, *k_norm;
};

// Sequences whose last token is the step's; a context of 0 is a padding row.
static struct decode decode_new(struct paged_shape shape, const int32_t *context, size_t seqs,
                                bool normed) {
    static const int32_t one[PAGED_SEQS] = {1, 1, 1, 1, 1, 1};
    struct decode d = {.work = paged_work_new(shape, context, one, seqs), .normed = normed};
    size_t hd = shape.head_dim;
    d.width = (shape.heads + 2 * shape.kv_heads) * hd;
    d.qkv = rig_floats(seqs * d.width, 1);
    gpu_rig_round(d.qkv, seqs * d.width, shape.rows);
    d.cosines = rig_alloc(seqs * hd / 2, sizeof *d.cosines);
    d.sines = rig_alloc(seqs * hd / 2, sizeof *d.sines);
    for (size_t s = 0; s < seqs; s++)
        for (size_t i = 0; i < hd / 2; i++) {
            double angle = context[s] * pow(10000, -2.0 * (double)i / (double)hd);
            d.cosines[s * hd / 2 + i] = (float)cos(angle);
            d.sines[s * hd / 2 + i] = (float)sin(angle);
        }
    d.q_norm = rig_floats(hd, 1);
    d.k_norm = rig_floats(hd, 1);
    for (size_t s = 0; s < seqs; s++)
        if (context[s] > 1)
            paged_store(&d.work, s, 0, (size_t)context[s] - 1);
    return d;
}

static void decode_free(struct decode *d) {
    paged_work_free(&d->work);
    free(d->qkv);
    free(d->cosines);
    free(d->sines);
    free(d->q_norm);
    free(d->k_norm);
}

static int32_t *decode_slots(const struct decode *d) {
    int32_t slots[PAGED_SEQS];
    for (size_t s = 0; s < d->work.seqs; s++)
        slots[s] =
            d->work.context[s] ? paged_slot(&d->work, s, (size_t)d->work.context[s] - 1) : -1;
    return gpu_rig_ints(slots, d->work.seqs);
}

static struct gpu_decode_attention decode_arguments(const struct decode *d, bool split,
                                                    size_t pieces) {
    const struct paged_shape *c = &d->work.shape;
    size_t seqs = d->work.seqs, hd = c->head_dim;
    struct gpu_decode_attention a = {
        .paged = paged_arguments(&d->work, 1, split, pieces),
        .qkv = gpu_rig_mat(d->qkv, seqs, d->width, c->rows),
        .cos = gpu_rig_mat(d->cosines, seqs, hd / 2, GPU_F32),
        .sin = gpu_rig_mat(d->sines, seqs, hd / 2, GPU_F32),
        .slots = decode_slots(d),
        .q_norm = d->normed ? gpu_rig_f32(d->q_norm, hd) : NULL,
        .k_norm = d->normed ? gpu_rig_f32(d->k_norm, hd) : NULL,
        .norm_eps = 1e-6F,
    };
    a.paged.q.data = NULL; // none of these is read
    a.paged.cu_seqlens = a.paged.tiles = NULL;
    a.paged.tile_rows = 0;
    return a;
}

// All bytes of the cache.
static uint8_t *cache_read(const struct decode *d, size_t *bytes) {
    const struct gpu_kv *kv = &d->work.kv;
    *bytes = kv->blocks * kv->layers * 2 * kv->kv_heads * kv->block_tokens * kv->head_dim *
             gpu_type_size(kv->type);
    uint8_t *all = rig_alloc(*bytes, 1);
    gpu_rig.api->copy_out(gpu_rig.stream, all, kv->data, *bytes);
    gpu_rig_wait();
    return all;
}

// The same step by three launches, and the cache behind it.
static float *by_parts(const struct decode *d) {
    const struct paged_shape *c = &d->work.shape;
    size_t hd = c->head_dim;
    struct gpu_decode_attention a = decode_arguments(d, false, 1);
    struct gpu_turn turn = {.qk = gpu_rig_cols(a.qkv, 0, (c->heads + c->kv_heads) * hd),
                            .cos = a.cos,
                            .sin = a.sin,
                            .heads = c->heads,
                            .kv_heads = c->kv_heads,
                            .head_dim = hd,
                            .q_norm = a.q_norm,
                            .k_norm = a.k_norm,
                            .eps = a.norm_eps};
    gpu_launch_turn(gpu_rig.stream, &turn);
    struct gpu_kv_store store = {
        .kv = d->work.kv,
        .layer = PAGED_LAYER,
        .k = gpu_rig_cols(a.qkv, c->heads * hd, c->kv_heads * hd),
        .v = gpu_rig_cols(a.qkv, (c->heads + c->kv_heads) * hd, c->kv_heads * hd),
        .slots = a.slots,
    };
    gpu_launch_kv_store(gpu_rig.stream, &store);
    struct gpu_paged_attention paged = paged_arguments(&d->work, 1, false, 1);
    paged.q = gpu_rig_cols(a.qkv, 0, c->heads * hd);
    gpu_launch_paged_attention(gpu_rig.stream, &paged);
    return gpu_rig_read(paged.out);
}

// In double precision: what the launch does to q and k, into the work's own.
static void turn_head(const struct decode *d, const float *x, const float *gamma, size_t s,
                      float *y) {
    size_t hd = d->work.shape.head_dim, half = hd / 2;
    double sum = 0;
    for (size_t i = 0; i < hd; i++)
        sum += (double)x[i] * (double)x[i];
    double scale = 1 / sqrt(sum / (double)hd + 1e-6);
    for (size_t i = 0; i < half; i++) {
        double a = x[i], b = x[half + i];
        if (d->normed) {
            a *= scale * (double)gamma[i];
            b *= scale * (double)gamma[half + i];
        }
        double cosine = d->cosines[s * half + i], sine = d->sines[s * half + i];
        y[i] = (float)(a * cosine - b * sine);
        y[half + i] = (float)(b * cosine + a * sine);
    }
}

static float *decode_wanted(struct decode *d) {
    const struct paged_shape *c = &d->work.shape;
    size_t hd = c->head_dim, width = c->kv_heads * hd;
    for (size_t s = 0; s < d->work.seqs; s++) {
        const float *row = d->qkv + s * d->width;
        for (size_t h = 0; h < c->heads; h++)
            turn_head(d, row + h * hd, d->q_norm, s, d->work.q + (s * c->heads + h) * hd);
        if (!d->work.context[s])
            continue;
        size_t at = ((size_t)d->work.context[s] - 1) * width;
        for (size_t h = 0; h < c->kv_heads; h++)
            turn_head(d, row + (c->heads + h) * hd, d->k_norm, s, d->work.k[s] + at + h * hd);
        memcpy(d->work.v[s] + at, row + (c->heads + c->kv_heads) * hd, width * sizeof(float));
    }
    return paged_wanted(&d->work);
}

static void test_fused(struct paged_shape shape, const int32_t *context, size_t seqs, bool normed,
                       bool split) {
    struct decode d = decode_new(shape, context, seqs, normed);
    struct gpu_decode_attention a = decode_arguments(&d, split, 300 / GPU_PAGED_KEYS + 1);
    gpu_launch_decode_attention(gpu_rig.stream, &a);
    float *fused = gpu_rig_read(a.paged.out);
    size_t bytes;
    uint8_t *cache = cache_read(&d, &bytes);
    if (shape.rows == GPU_F32) {
        float *parts = by_parts(&d);
        uint8_t *then = cache_read(&d, &bytes);
        CHECK(memcmp(fused, parts, seqs * shape.heads * shape.head_dim * sizeof *fused) == 0);
        CHECK(memcmp(cache, then, bytes) == 0);
        free(then);
        free(parts);
    }
    float *want = decode_wanted(&d);
    paged_check(&d.work, fused, want, normed ? "fused, normed" : "fused");
    free(want);
    free(cache);
    free(fused);
    decode_free(&d);
}

static void test_shapes(void) {
    static const int32_t context[] = {1, 40, 0, 300, 256};
    static const size_t dims[] = {32, 64, 128, 80, 10, 256};
    for (size_t i = 0; i < sizeof dims / sizeof *dims; i++)
        for (int type = GPU_F32; type <= GPU_F16; type++)
            test_fused((struct paged_shape){4, 2, dims[i], 16, type, type, 0}, context, 5,
                       i % 2 == 0, (i + (size_t)type) % 2 == 0);
    // A narrow cache of f32 rows and the other way round, a window, many heads of one kv head.
    test_fused((struct paged_shape){3, 1, 64, 16, GPU_F16, GPU_F32, 0}, context, 5, true, true);
    test_fused((struct paged_shape){3, 1, 64, 16, GPU_F32, GPU_BF16, 0}, context, 5, true, true);
    test_fused((struct paged_shape){7, 1, 64, 16, GPU_BF16, GPU_BF16, 100}, context, 5, true, true);
    test_fused((struct paged_shape){18, 2, 32, 16, GPU_F32, GPU_F32, 0}, context, 5, true, true);
}

// One launch, captured: its tables, lengths and slots change behind it.
static void test_captured(void) {
    const struct gpu_api *api = gpu_rig.api;
    struct paged_shape shape = {4, 2, 32, 16, GPU_F32, GPU_F32, 0};
    static const int32_t first[] = {30, 0, 250}, then[] = {290, 2, 600};
    struct errmsg msg = {0};
    struct gpu_graph *graph = NULL;
    struct decode d = decode_new(shape, then, 3, true); // blocks for the longest
    size_t all = 3 * shape.heads * shape.head_dim * sizeof(float);
    for (size_t s = 0; s < 3; s++)
        d.work.context[s] = first[s];
    struct gpu_decode_attention a = decode_arguments(&d, true, 600 / GPU_PAGED_KEYS + 1);
    gpu_rig_wait();
    api->capture(gpu_rig.stream);
    gpu_launch_decode_attention(gpu_rig.stream, &a);
    CHECK_OK(api->capture_end(gpu_rig.stream, &graph, &msg), msg);
    for (int round = 0; round < 2; round++) {
        if (round) {
            int32_t slots[3];
            for (size_t s = 0; s < 3; s++) {
                d.work.context[s] = then[s];
                slots[s] = paged_slot(&d.work, s, (size_t)then[s] - 1);
                paged_store(&d.work, s, 0, (size_t)then[s] - 1); // the first round's ends too
            }
            gpu_rig_send((void *)(uintptr_t)a.paged.context_lens, then, sizeof then);
            gpu_rig_send((void *)(uintptr_t)a.slots, slots, sizeof slots);
        }
        api->graph_launch(gpu_rig.stream, graph);
        float *captured = gpu_rig_read(a.paged.out), *parts = by_parts(&d);
        CHECK(memcmp(captured, parts, all) == 0);
        free(parts);
        free(captured);
    }
    api->graph_free(gpu_rig.gpu, graph);
    decode_free(&d);
}

int main(void) {
    gpu_rig_open();
    test_shapes();
    test_captured();
    gpu_rig_close();
    return check_done();
}
