// Causal models against transformers in float32 (tools/make_decoder_goldens.py): logits of every
// position, greedy text, and the same bits alone, in chunks, among others, in whatever blocks and
// on however many threads.
#include "tests/golden/tiny_decoder.h"
#include "weights/binder.h"

static const char *const models[] = {
    "qwen2-tied",
    "qwen2-untied-bf16",
    "qwen2-window",
    "qwen2-long",
    "qwen2-yarn",
    "qwen3",
    "llama3-sharded",
    "llama-linear-biases",
    "gguf-llama-q8-0",
    "mistral-window-f16",
    "gguf-qwen2-mixed",
    "gguf-qwen3-f16",
    "gguf-llama-rope-freqs",
    "gguf-llama-k",
    "gguf-qwen2-k",
    "gguf-qwen3-iq4-nl",
};
enum { MODELS = sizeof models / sizeof *models };

// What each precision and cache may be off by. Logits reach 6. PERFORMANCE's bar for f32 is 2e-4;
// sums of 24 to 256 products in f32 stay far inside it. An f16 cache rounds keys and values to 11
// bits, bf16 activations to 8, int8 ones to 7, over two or three layers; these catch what is
// broken, the real measure is the divergence on a real model (tools/parity_decoder.py).
static const double F32_BAR = 6e-5, F16_CACHE_BAR = 2e-2, INT8_BAR = 0.8, NARROW_BAR = 0.12;

static double worst[5]; // largest differences seen, printed: f32, stored, f16 cache, int8, narrow

static void note_worst(int kind, const float *got, const float *want, size_t n) {
    for (size_t i = 0; i < n; i++)
        worst[kind] = fmax(worst[kind], fabs((double)got[i] - (double)want[i]));
}

// Each prompt alone, in one step, every row's logits: [TINY_PROMPTS] streams, the caller's.
static bool run_alone(const struct tiny_decoder *m, enum dtype cache, struct tiny_stream *out) {
    bool ok = true;
    for (size_t p = 0; p < TINY_PROMPTS; p++) {
        struct tiny_cache c = tiny_cache_new(m, cache, 0);
        out[p] = tiny_stream_of(m, m->prompt[p].ids, m->prompt[p].n);
        ok = ok && c.kv && tiny_run_streams(m, &c, &out[p], 1, NULL, NULL);
        m->device->ops->kv_free(m->device, c.kv);
    }
    return ok;
}

static void free_streams(struct tiny_stream *s, size_t n) {
    for (size_t i = 0; i < n; i++)
        tiny_stream_free(&s[i]);
}

static void check_logits(const struct tiny_decoder *m, const struct tiny_stream *alone, double bar,
                         int kind) {
    for (size_t p = 0; p < TINY_PROMPTS; p++) {
        size_t n = m->prompt[p].n * m->width;
        if (!CHECK_NEAR(alone[p].logits, m->prompt[p].want, n, bar, 0))
            fprintf(stderr, "    %s, prompt %zu, %s\n", m->folder, p, m->device->describe);
        note_worst(kind, alone[p].logits, m->prompt[p].want, n);
    }
}

// Wherever both have a row it has the same bits; on a card what the cache's numbers let be told
// apart.
static void check_same(const struct tiny_decoder *m, const struct tiny_stream *a,
                       const struct tiny_stream *b, enum dtype cache) {
    size_t V = m->config.vocab, both = 0, same = 0;
    double bar = cache == DTYPE_F32 ? F32_BAR : F16_CACHE_BAR;
    for (size_t i = 0; i < a->n; i++)
        if (a->have[i] && b->have[i]) {
            both++;
            same += test_device_same(a->logits + i * V, b->logits + i * V, V, bar);
        }
    if (!CHECK(same == both))
        fprintf(stderr, "    %s: %zu of %zu rows, %s\n", m->folder, same, both,
                m->device->describe);
}

// The prompts, twice each, cut by chance, in shuffled blocks: the bits of each alone.
static void check_any_way(const struct tiny_decoder *m, enum dtype cache,
                          const struct tiny_stream *alone) {
    for (uint32_t round = 0; round < 3; round++) {
        uint32_t seed = 77 * (round + 1);
        struct tiny_cache c = tiny_cache_new(m, cache, seed);
        struct tiny_stream s[2 * TINY_PROMPTS];
        for (size_t i = 0; i < 2 * TINY_PROMPTS; i++)
            s[i] =
                tiny_stream_of(m, m->prompt[i % TINY_PROMPTS].ids, m->prompt[i % TINY_PROMPTS].n);
        // one round only chunks one stream; the others mix all
        size_t count = round == 0 ? 1 : 2 * TINY_PROMPTS;
        if (c.kv && tiny_run_streams(m, &c, s, count, &seed, NULL))
            for (size_t i = 0; i < count; i++)
                check_same(m, &s[i], &alone[i % TINY_PROMPTS], cache);
        free_streams(s, 2 * TINY_PROMPTS);
        m->device->ops->kv_free(m->device, c.kv);
    }
}

static size_t largest(const float *x, size_t n) {
    size_t best = 0;
    for (size_t i = 1; i < n; i++)
        if (x[i] > x[best])
            best = i;
    return best;
}

// All prompts' texts at once: the reference's, up to the first step at which its two best lie
// closer than rounding could tell apart (twice the bar).
static void check_greedy(const struct tiny_decoder *m) {
    const cJSON *greedy = json_get(m->golden, "greedy"), *margins = json_get(m->golden, "margins");
    int steps = cJSON_GetArraySize(cJSON_GetArrayItem(greedy, 0)), compared = 0;
    struct tiny_cache c = tiny_cache_new(m, DTYPE_F32, 5);
    struct tiny_stream s[TINY_PROMPTS];
    int32_t ids[TINY_PROMPTS][TINY_BLOCK * TINY_STRIDE];
    bool follows[TINY_PROMPTS] = {true, true, true};
    for (size_t p = 0; p < TINY_PROMPTS; p++) {
        memcpy(ids[p], m->prompt[p].ids, sizeof ids[p]);
        s[p] = tiny_stream_of(m, ids[p], m->prompt[p].n + (size_t)steps);
        s[p].n = m->prompt[p].n;
    }
    for (int t = 0; t < steps; t++) {
        if (!tiny_run_streams(m, &c, s, TINY_PROMPTS, NULL, NULL))
            break;
        for (size_t p = 0; p < TINY_PROMPTS; p++) {
            size_t V = m->config.vocab;
            int32_t id = (int32_t)largest(s[p].logits + (s[p].n - 1) * V, V);
            double margin = cJSON_GetArrayItem(cJSON_GetArrayItem(margins, (int)p), t)->valuedouble;
            follows[p] = follows[p] && margin > 2 * F32_BAR;
            if (follows[p]) {
                CHECK_INT(id, cJSON_GetArrayItem(cJSON_GetArrayItem(greedy, (int)p), t)->valueint);
                compared++;
            }
            ids[p][s[p].n++] = id;
        }
    }
    CHECK(compared > 40); // of 72
    free_streams(s, TINY_PROMPTS);
    m->device->ops->kv_free(m->device, c.kv);
}

// The model's head, which decoder_encode does without.
static struct weight *head_of(const struct tiny_decoder *m) {
    struct errmsg msg = {0};
    struct weights *w = NULL;
    struct binder b = {.device = m->device, .msg = &msg};
    bool tied = m->config.tied;
    CHECK_OK(weights_open(m->path, &w, &msg), msg);
    b.from = w;
    binder_find_prefix(&b, "model.", "embed_tokens");
    b.bare = !tied;
    const struct binder_rows rows = {tied ? "embed_tokens" : "lm_head", m->config.vocab, 0};
    struct weight *head = binder_linear(&b, &rows, 1, m->config.hidden, false);
    CHECK_OK(b.failed, msg);
    weights_close(w);
    return head;
}

// Whole sequences without a cache, all in one batch.
static float *encode(const struct tiny_decoder *m, struct decoder *decoder, bool logits,
                     size_t prompts, size_t *width) {
    int32_t ids[TINY_STEP], positions[TINY_STEP], cu[TINY_PROMPTS + 1] = {0};
    struct batch b = {.ids = ids, .positions = positions, .cu_seqlens = cu, .seqs = prompts};
    for (size_t p = 0; p < prompts; p++) {
        for (size_t i = 0; i < m->prompt[p].n; i++, b.tokens++) {
            ids[b.tokens] = m->prompt[p].ids[i];
            positions[b.tokens] = (int32_t)i;
        }
        cu[p + 1] = (int32_t)b.tokens;
    }
    struct errmsg msg = {0};
    struct arena ws;
    struct device *d = m->device;
    CHECK_OK(d->ops->workspace_new(
                 d, decoder_workspace_bytes(decoder, b.tokens, logits ? b.tokens : 0), &ws),
             msg);
    struct mat y = decoder_encode(decoder, &b, &ws, NULL);
    struct weight *head = logits && y.data ? head_of(m) : NULL;
    if (head) {
        struct mat x = y;
        y = device_mat(d, &ws, x.rows, m->config.vocab);
        d->ops->linear(d, head, x, y);
        d->ops->weight_free(d, head);
    }
    CHECK_OK(device_sync(d, &msg), msg);
    *width = y.cols;
    float *out = calloc(y.rows * y.cols + 1, sizeof *out);
    if (CHECK(y.data && y.rows == b.tokens))
        d->ops->read(d, y, out);
    d->ops->workspace_free(d, &ws);
    return out;
}

static void check_encode(const struct tiny_decoder *m) {
    size_t width, at = 0;
    float *got = encode(m, m->decoder, m->config.causal_lm, TINY_PROMPTS, &width);
    CHECK_INT(width, m->width);
    for (size_t p = 0; p < TINY_PROMPTS; p++) {
        size_t n = m->prompt[p].n * width;
        if (!CHECK_NEAR(got + at, m->prompt[p].want, n, F32_BAR, 0))
            fprintf(stderr, "    %s, prompt %zu, %s\n", m->folder, p, m->device->describe);
        at += n;
    }
    free(got);
}

// The same model with fewer layers gives what the reference has after that layer.
static void check_layers(const struct tiny_decoder *m) {
    size_t floats, width, one = m->prompt[0].n * m->config.hidden;
    char *bytes = tiny_floats(m->folder, "golden-hidden.f32", &floats);
    const float *want = (const float *)(const void *)bytes;
    struct decoder_config config = m->config;
    CHECK_INT(floats, (config.layers + 1) * one);
    for (config.layers = 0; config.layers <= m->config.layers; config.layers++) {
        struct errmsg msg = {0};
        struct weights *w = NULL;
        struct decoder *cut = NULL;
        CHECK_OK(weights_open(m->path, &w, &msg), msg);
        CHECK_OK(decoder_load(w, &config, PRECISION_F32, m->device, &cut, &msg), msg);
        float *got = encode(m, cut, false, 1, &width);
        // normed values of about 1 to 4
        CHECK_NEAR(got, want + config.layers * one, one, 8e-6, 1e-6);
        free(got);
        decoder_free(cut);
        weights_close(w);
    }
    mem_free(bytes);
}

// Qwen3-Reranker's scheme: the share of "yes" in what follows the last token.
static void check_scores(const struct tiny_decoder *m, const struct tiny_stream *alone) {
    int yes = json_get(m->golden, "yes")->valueint, no = json_get(m->golden, "no")->valueint;
    for (size_t p = 0; p < TINY_PROMPTS; p++) {
        const float *row = alone[p].logits + (alone[p].n - 1) * m->config.vocab;
        double got = 1 / (1 + exp((double)row[no] - (double)row[yes]));
        double want = cJSON_GetArrayItem(json_get(m->golden, "scores"), (int)p)->valuedouble;
        CHECK(fabs(got - want) < 1e-5);
    }
}

// The test would notice: without its window, or its scaling, the model gives something else.
static void check_it_matters(const struct tiny_decoder *m) {
    struct tiny_decoder other = *m;
    if (m->config.window == 0 && m->config.rope.scaling == DECODER_ROPE_NONE)
        return;
    other.config.window = 0;
    other.config.rope.scaling = DECODER_ROPE_NONE;
    other.decoder = NULL;
    struct errmsg msg = {0};
    struct weights *w = NULL;
    CHECK_OK(weights_open(m->path, &w, &msg), msg);
    CHECK_OK(decoder_load(w, &other.config, PRECISION_F32, m->device, &other.decoder, &msg), msg);
    weights_close(w);
    size_t width;
    float *got = encode(&other, other.decoder, true, 1, &width);
    size_t end = (m->prompt[0].n - 1) * width;
    double most = 0;
    for (size_t i = 0; i < width; i++)
        most = fmax(most, fabs((double)got[end + i] - (double)m->prompt[0].want[end + i]));
    CHECK(most > 0.05);
    free(got);
    decoder_free(other.decoder);
}

struct urgent {
    const struct tiny_decoder *model;
    const struct tiny_stream *alone;
    size_t pauses;
};

static bool run_urgent(void *ctx) {
    struct urgent *u = ctx;
    struct tiny_cache c = tiny_cache_new(u->model, DTYPE_F32, 0);
    struct tiny_stream s = tiny_stream_of(u->model, u->model->prompt[1].ids, u->model->prompt[1].n);
    u->pauses++;
    if (tiny_run_streams(u->model, &c, &s, 1, NULL, NULL))
        check_same(u->model, &s, &u->alone[1], DTYPE_F32);
    tiny_stream_free(&s);
    u->model->device->ops->kv_free(u->model->device, c.kv);
    return true;
}

// Another forward inside the pauses disturbs neither.
static void check_pauses(const struct tiny_decoder *m, const struct tiny_stream *alone) {
    struct urgent u = {.model = m, .alone = alone};
    struct forward_hooks hooks = {run_urgent, &u};
    struct tiny_cache c = tiny_cache_new(m, DTYPE_F32, 0);
    struct tiny_stream s = tiny_stream_of(m, m->prompt[0].ids, m->prompt[0].n);
    if (tiny_run_streams(m, &c, &s, 1, NULL, &hooks))
        check_same(m, &s, &alone[0], DTYPE_F32);
    CHECK_INT(u.pauses, 2 * m->config.layers - 1);
    tiny_stream_free(&s);
    m->device->ops->kv_free(m->device, c.kv);
}

// Narrow floats kept narrow are the same numbers; block types meet f32 or int8 activations, bf16
// weights f32 or, where the CPU multiplies pairs of them, bf16 ones.
static void check_precision(const char *name, struct precision precision, double bar, int figure,
                            struct device *d) {
    struct tiny_decoder m;
    struct tiny_stream alone[TINY_PROMPTS] = {0};
    if (tiny_decoder_load(&m, name, precision, d) && run_alone(&m, DTYPE_F32, alone)) {
        check_logits(&m, alone, bar, figure);
        check_any_way(&m, DTYPE_F32, alone);
    }
    free_streams(alone, TINY_PROMPTS);
    tiny_decoder_free(&m);
}

static void check_model(const char *name, struct device *d) {
    struct tiny_decoder m;
    struct tiny_stream alone[TINY_PROMPTS] = {0}, half[TINY_PROMPTS] = {0};
    if (tiny_decoder_load(&m, name, PRECISION_F32, d) && run_alone(&m, DTYPE_F32, alone)) {
        check_logits(&m, alone, F32_BAR, 0);
        check_any_way(&m, DTYPE_F32, alone);
        check_greedy(&m);
        check_encode(&m);
        check_pauses(&m, alone);
        check_it_matters(&m);
        if (json_get(m.golden, "layers"))
            check_layers(&m);
        if (json_get(m.golden, "scores"))
            check_scores(&m, alone);
        if ((!test_device_is_gpu() || strncmp(name, "qwen3", 5) == 0) &&
            run_alone(&m, DTYPE_F16, half)) {
            check_logits(&m, half, F16_CACHE_BAR, 2);
            check_any_way(&m, DTYPE_F16, half);
        }
    }
    free_streams(alone, TINY_PROMPTS);
    free_streams(half, TINY_PROMPTS);
    tiny_decoder_free(&m);
}

// A base model: no head, whole sequences, the last token at unit length.
static void check_embedder(struct device *d) {
    struct tiny_decoder m;
    if (tiny_decoder_load(&m, "qwen3-embedder", PRECISION_F32, d)) {
        CHECK(!m.config.causal_lm);
        check_encode(&m);
        // and what asks it for logits is told
        struct tiny_step *b = calloc(1, sizeof *b);
        struct tiny_cache c = tiny_cache_new(&m, DTYPE_F32, 0);
        struct tiny_stream s = tiny_stream_of(&m, m.prompt[0].ids, 3);
        struct errmsg msg = {0};
        struct arena ws = {0};
        tiny_add(b, &c, &s, 3);
        tiny_want(b, NULL);
        CHECK(!decoder_forward(m.decoder, &b->step, c.kv, &ws, NULL).data);
        CHECK(device_sync(d, &msg) == ERR_INTERNAL && strstr(msg.text, "no head"));
        d->ops->kv_free(d, c.kv);
        tiny_stream_free(&s);
        free(b);
    }
    tiny_decoder_free(&m);
}

// One model on 1, 2 and 3 threads, of the best kernels and the portable ones: the same bits.
static void check_threads(const char *name, const char *isa) {
    struct tiny_stream first[TINY_PROMPTS] = {0};
    for (int threads = 1; threads <= 3; threads++) {
        struct errmsg msg = {0};
        struct device *d = NULL;
        struct tiny_decoder m;
        struct tiny_stream alone[TINY_PROMPTS] = {0};
        CHECK_OK(test_device_new(&(struct cpu_options){.threads = threads, .isa = isa}, &d, &msg),
                 msg);
        if (!d)
            break;
        if (tiny_decoder_load(&m, name, PRECISION_STORED, d) && run_alone(&m, DTYPE_F16, alone)) {
            for (size_t p = 0; threads > 1 && p < TINY_PROMPTS; p++)
                check_same(&m, &alone[p], &first[p], DTYPE_F16);
            if (threads > 1)
                check_any_way(&m, DTYPE_F16, first);
        }
        if (threads == 1)
            memcpy(first, alone, sizeof first);
        else
            free_streams(alone, TINY_PROMPTS);
        tiny_decoder_free(&m);
        test_device_free(d);
    }
    free_streams(first, TINY_PROMPTS);
}

static bool avx2_here(void) {
#if defined(__x86_64__)
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
#else
    return false;
#endif
}

static void on_device(const struct cpu_options *options) {
    struct errmsg msg = {0};
    struct device *d = NULL;
    if (options->isa && strcmp(options->isa, "avx2") == 0 && !avx2_here()) {
        check_skip("avx2");
        return;
    }
    CHECK_OK(test_device_new(options, &d, &msg), msg);
    for (size_t i = 0; d && i < MODELS; i++) {
        check_model(models[i], d);
        if (test_device_is_gpu()) // how it keeps a weight follows from the floats that it computes
                                  // in
            continue;
        check_precision(models[i], PRECISION_STORED, F32_BAR, 1, d);
        if (strncmp(models[i], "gguf-", 5) == 0)
            check_precision(models[i], PRECISION_INT8, INT8_BAR, 3, d);
        if (strstr(models[i], "bf16"))
            check_precision(models[i], PRECISION_NARROW, NARROW_BAR, 4, d);
    }
    if (d)
        check_embedder(d);
    test_device_free(d);
}

int main(void) {
    json_init();
    const struct cpu_options options[] = {{.threads = 1, .isa = "generic", .gemm = CPU_GEMM_OWN},
                                          {.threads = 2, .isa = "avx2"},
                                          {.threads = 2}};
    for (size_t i = test_device_is_gpu() ? 2 : 0; i < sizeof options / sizeof *options; i++)
        on_device(&options[i]);
    if (!test_device_is_gpu()) {
        check_threads("qwen3", NULL);
        check_threads("gguf-qwen2-mixed", NULL);
        check_threads("qwen2-untied-bf16", "generic");
    }
    printf("largest differences: f32 %.2g, stored %.2g, f16 cache %.2g, int8 %.2g, narrow %.2g\n",
           worst[0], worst[1], worst[2], worst[3], worst[4]);
    return check_done();
}
