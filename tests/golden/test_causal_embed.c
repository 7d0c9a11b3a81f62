// Causal models that embed and rerank (tools/make_causal_goldens.py): the tokens, the vectors and
// the scores that sentence-transformers and Qwen3-Reranker's model card give, from folders and from
// GGUF files; the same bits alone and in any batch; what is refused.
#include "tests/golden/tiny_model.h"

#include "engine/pair.h"
#include "engine/prompt.h"
#include "engine/replica_model.h"

#define DATA "tests/golden/data/causal/"

enum { MAX_SEQS = 32, MAX_TOKENS = 8192, MAX_DIM = 32 };

// Unit vectors: the bar of docs/ for encoders, whose sums are as long. Raw vectors reach 8. Scores'
// logits reach 5, of 14 products each; PERFORMANCE's bar is 1e-4.
static const double UNIT_BAR = 2e-6, RAW_BAR = 2e-5, LOGIT_BAR = 1e-5;
static double worst_unit, worst_logit;

// A model, and its weights on a device.
struct loaded {
    struct model *model;
    struct device *device;
    struct replica_model *weights;
};

static void unload(struct loaded *m) {
    if (!m)
        return;
    replica_model_free(m->weights);
    model_release(m->model);
    free(m);
}

static enum err load_model(const struct model_options *o, struct device *d, struct loaded **out,
                           struct errmsg *msg) {
    struct loaded *m = calloc(1, sizeof *m);
    struct replica_spec spec;
    m->device = d;
    enum err e = model_load(o, &m->model, msg);
    if (!e) {
        model_spec(m->model, &spec);
        spec.precision.floats = COMPUTE_F32; // on every device: the bars are f32's
        e = replica_model_load(&spec, d, &m->weights, msg);
    }
    if (e) {
        unload(m);
        m = NULL;
    }
    *out = m;
    return e;
}

static struct loaded *load(const char *name, struct device *d, struct model_options more) {
    struct errmsg msg = {0};
    struct loaded *m = NULL;
    char path[160];
    snprintf(path, sizeof path, DATA "%s", name);
    more.path = path;
    CHECK_OK(load_model(&more, d, &m, &msg), msg);
    return m;
}

static struct loaded *load_for(const char *name, struct device *d, int task) {
    return load(name, d, (struct model_options){.task = task, .pool_mode = -1});
}

static cJSON *golden_of(const char *name) {
    struct errmsg msg = {0};
    cJSON *root = NULL;
    char path[160];
    snprintf(path, sizeof path, DATA "%s/golden.json", name);
    CHECK_OK(json_parse_file(path, 1 << 20, &root, &msg), msg);
    return root;
}

// Sequences end to end.
struct rows {
    int32_t ids[MAX_TOKENS], positions[MAX_TOKENS], types[MAX_TOKENS], cu[MAX_SEQS + 1];
    size_t seqs;
};

static void add(struct rows *r, const int32_t *ids, size_t n) {
    int32_t at = r->cu[r->seqs];
    if (!CHECK(r->seqs < MAX_SEQS && (size_t)at + n <= MAX_TOKENS))
        return;
    for (size_t i = 0; i < n; i++) {
        r->ids[(size_t)at + i] = ids[i];
        r->positions[(size_t)at + i] = (int32_t)i;
    }
    r->cu[++r->seqs] = at + (int32_t)n;
}

static void check_ids(const struct loaded *m, const int32_t *got, size_t n, const cJSON *want) {
    bool same = (int)n == cJSON_GetArraySize(want);
    const cJSON *id = want ? want->child : NULL;
    for (size_t i = 0; same && i < n; i++, id = id->next)
        same = got[i] == id->valueint;
    if (!CHECK(same))
        fprintf(stderr, "    %s: %zu tokens for %d\n", m->model->path, n, cJSON_GetArraySize(want));
}

// [seqs, dim] into out, from a workspace of exactly the bytes that the model asks for.
static bool run(const struct loaded *m, const struct rows *r, bool normalize, float *out) {
    struct errmsg msg = {0};
    struct arena ws;
    struct forward_hooks none = {0};
    struct batch b = {r->ids, r->positions, r->types, r->cu, (size_t)r->cu[r->seqs], r->seqs};
    size_t bytes = replica_model_workspace_bytes(m->weights, b.tokens, b.seqs);
    if (!CHECK(m->device->ops->workspace_new(m->device, bytes, &ws) == ERR_OK))
        return false;
    enum err e = replica_model_run(m->weights, &b, NULL, normalize, &ws, &none, out, &msg);
    CHECK_OK(e, msg);
    CHECK(test_device_is_gpu() ? ws.used <= ws.size : ws.used == ws.size);
    m->device->ops->workspace_free(m->device, &ws);
    return e == ERR_OK;
}

// Each sequence alone, and all of them backwards: the bits of `all`.
static void check_any_batch(const struct loaded *m, const struct rows *r, const float *all) {
    static struct rows some;
    float out[MAX_SEQS * MAX_DIM];
    double bar = m->model->task == TASK_RERANK ? LOGIT_BAR : UNIT_BAR;
    some = (struct rows){0};
    for (size_t i = r->seqs; i-- > 0;)
        add(&some, r->ids + r->cu[i], (size_t)(r->cu[i + 1] - r->cu[i]));
    if (run(m, &some, true, out))
        for (size_t i = 0; i < r->seqs; i++)
            CHECK(test_device_same(out + i * m->model->dim, all + (r->seqs - 1 - i) * m->model->dim,
                                   m->model->dim, bar));
    for (size_t i = 0; i < r->seqs; i++) {
        some = (struct rows){0};
        add(&some, r->ids + r->cu[i], (size_t)(r->cu[i + 1] - r->cu[i]));
        if (run(m, &some, true, out))
            CHECK(test_device_same(out, all + i * m->model->dim, m->model->dim, bar));
    }
}

// The case's texts as tokens; each is checked.
static void encode_texts(const struct loaded *m, const cJSON *c, struct rows *r) {
    struct tokenizer_scratch *scratch = NULL;
    struct encoding e = {0};
    struct buf joined = {0};
    struct errmsg msg = {0};
    struct tokenizer_options options = {.add_special_tokens = true,
                                        .truncate = TRUNCATE_LONGEST_FIRST,
                                        .max_length = m->model->max_length};
    const cJSON *text, *ids = json_get(c, "ids")->child, *texts = json_get(c, "texts");
    *r = (struct rows){0};
    CHECK(tokenizer_scratch_new(m->model->tokenizer, &scratch) == ERR_OK);
    cJSON_ArrayForEach(text, texts) {
        struct text t = {text->valuestring, strlen(text->valuestring)};
        CHECK_OK(prompt_encode(m->model, scratch, json_get(c, "prompt")->valuestring, t, NULL,
                               &options, &joined, &e, &msg),
                 msg);
        check_ids(m, e.ids, e.len, ids);
        add(r, e.ids, e.len);
        ids = ids->next;
    }
    encoding_free(&e);
    buf_free(&joined);
    tokenizer_scratch_free(scratch);
}

static void check_vectors(const struct loaded *m, const cJSON *c, const struct rows *r) {
    float raw[MAX_SEQS * MAX_DIM], unit[MAX_SEQS * MAX_DIM];
    if (!run(m, r, m->model->pooling.normalizes, raw) || !run(m, r, true, unit))
        return;
    for (size_t s = 0; s < r->seqs; s++) {
        size_t n;
        float *want = tiny_numbers(cJSON_GetArrayItem(json_get(c, "vectors"), (int)s), &n);
        CHECK_INT(n, m->model->dim);
        bool near = CHECK_NEAR(raw + s * m->model->dim, want, m->model->dim, RAW_BAR, 1e-6);
        unit_length(want, m->model->dim);
        near &= CHECK_NEAR(unit + s * m->model->dim, want, m->model->dim, UNIT_BAR, 0);
        for (size_t i = 0; i < m->model->dim; i++)
            worst_unit =
                fmax(worst_unit, fabs((double)unit[s * m->model->dim + i] - (double)want[i]));
        if (!near)
            fprintf(stderr, "    %s, text %zu, %s\n", m->model->path, s, m->device->describe);
        free(want);
    }
    check_any_batch(m, r, unit);
}

static void check_embedder(const char *name, bool has_file, struct device *d) {
    static struct rows r;
    char file[64];
    snprintf(file, sizeof file, "%s.gguf", name);
    struct loaded *m = load_for(name, d, -1); // modules.json says what it is for
    struct loaded *g = has_file ? load_for(file, d, -1) : NULL;
    cJSON *golden = golden_of(name);
    const cJSON *c, *cases = json_get(golden, "cases");
    if (m && CHECK(m->model->task == TASK_EMBED)) {
        CHECK_STR(m->model->pooling.mode_name, "lasttoken");
        CHECK_INT(m->model->max_length, json_get(golden, "max_length")->valueint);
        cJSON_ArrayForEach(c, cases) {
            encode_texts(m, c, &r);
            check_vectors(m, c, &r);
            if (!g)
                continue;
            encode_texts(g, c, &r);
            float a[MAX_SEQS * MAX_DIM], b[MAX_SEQS * MAX_DIM];
            if (run(m, &r, true, a) && run(g, &r, true, b))
                CHECK(test_device_same(a, b, r.seqs * m->model->dim, 2e-6));
        }
    }
    if (has_file && CHECK(g && g->model->task == TASK_EMBED)) {
        CHECK_STR(g->model->pooling.mode_name, "lasttoken");
        CHECK(g->model->pooling.normalizes);
    }
    cJSON_Delete(golden);
    unload(m);
    unload(g);
}

// The case's pairs as tokens, each checked against prefix + ids + suffix.
static void encode_pairs(const struct loaded *m, const cJSON *golden, const cJSON *c,
                         struct rows *r) {
    struct tokenizer_scratch *scratch = NULL;
    struct encoding q = {0}, e = {0}, pair = {0};
    struct buf work = {0};
    struct errmsg msg = {0};
    struct tokenizer_options options = {.truncate = TRUNCATE_ONLY_SECOND,
                                        .max_length = m->model->max_length};
    const cJSON *text, *ids = json_get(c, "ids")->child, *documents = json_get(c, "documents");
    const cJSON *prefix = json_get(golden, "prefix"), *suffix = json_get(golden, "suffix");
    size_t before = (size_t)cJSON_GetArraySize(prefix), behind = (size_t)cJSON_GetArraySize(suffix);
    const char *query = json_get(c, "query")->valuestring;
    *r = (struct rows){0};
    CHECK(tokenizer_scratch_new(m->model->tokenizer, &scratch) == ERR_OK);
    CHECK_INT(pair_special_count(m->model), before + behind);
    CHECK_OK(pair_encode_query(m->model, scratch, NULL, (struct text){query, strlen(query)}, &work,
                               &q, &msg),
             msg);
    cJSON_ArrayForEach(text, documents) {
        struct text t = {text->valuestring, strlen(text->valuestring)};
        CHECK_OK(pair_encode_document(m->model, scratch, t, &work, &e, &msg), msg);
        CHECK_OK(pair_assemble(m->model, &q, &e, &options, &pair, &msg), msg);
        if (CHECK(pair.len >= before + behind)) {
            check_ids(m, pair.ids, before, prefix);
            check_ids(m, pair.ids + before, pair.len - before - behind, ids);
            check_ids(m, pair.ids + pair.len - behind, behind, suffix);
        }
        CHECK(pair.truncated == (pair.full_len > m->model->max_length));
        add(r, pair.ids, pair.len);
        ids = ids->next;
    }
    encoding_free(&q);
    encoding_free(&e);
    encoding_free(&pair);
    buf_free(&work);
    tokenizer_scratch_free(scratch);
}

static void check_scores(const struct loaded *m, const cJSON *c, const float *got, size_t seqs) {
    size_t n;
    float *want = tiny_numbers(json_get(c, "logits"), &n);
    float *scores = tiny_numbers(json_get(c, "scores"), &n);
    CHECK_INT(n, seqs);
    if (!CHECK_NEAR(got, want, seqs, LOGIT_BAR, 1e-6))
        fprintf(stderr, "    %s, %s\n", m->model->path, m->device->describe);
    for (size_t i = 0; i < seqs; i++) {
        worst_logit = fmax(worst_logit, fabs((double)got[i] - (double)want[i]));
        CHECK(fabs(1 / (1 + exp(-(double)got[i])) - (double)scores[i]) < 3e-6);
    }
    free(want);
    free(scores);
}

static void check_reranker(struct device *d) {
    static struct rows r;
    struct loaded *m = load_for("qwen3-reranker", d, TASK_RERANK);
    struct loaded *g = load_for("qwen3-reranker.gguf", d, TASK_RERANK);
    cJSON *golden = golden_of("qwen3-reranker");
    const cJSON *c, *cases = json_get(golden, "cases");
    if (m && g)
        cJSON_ArrayForEach(c, cases) {
            float got[MAX_SEQS], other[MAX_SEQS];
            encode_pairs(m, golden, c, &r);
            if (run(m, &r, false, got)) {
                check_scores(m, c, got, r.seqs);
                check_any_batch(m, &r, got);
            }
            encode_pairs(g, golden, c, &r);
            if (run(g, &r, false, other))
                CHECK(test_device_same(got, other, r.seqs, LOGIT_BAR));
        }
    cJSON_Delete(golden);
    unload(m);
    unload(g);
}

static void refused(const char *name, struct device *d, struct model_options o, enum err want,
                    const char *words) {
    struct errmsg msg = {0};
    struct loaded *m = NULL;
    char path[160];
    snprintf(path, sizeof path, DATA "%s", name);
    o.path = path;
    CHECK_ERROR(load_model(&o, d, &m, &msg), want, msg, words);
    unload(m);
}

static void check_options(struct device *d) {
    // the same causal model does each of three jobs
    static const int tasks[] = {-1, TASK_GENERATE, TASK_EMBED, TASK_RERANK};
    static const enum model_task want[] = {TASK_GENERATE, TASK_GENERATE, TASK_EMBED, TASK_RERANK};
    size_t bytes[4] = {0};
    for (int i = 0; i < 4; i++) {
        struct loaded *m = load_for("qwen3-reranker", d, tasks[i]);
        if (m)
            CHECK(m->model->task == want[i]);
        bytes[i] = m ? m->weights->weight_bytes : 0;
        unload(m);
    }
    CHECK(bytes[2] < bytes[1] && bytes[3] < bytes[1]); // neither holds the whole head
    struct loaded *m = load("qwen3-reranker", d,
                            (struct model_options){.task = TASK_EMBED, .pool_mode = POOL_MEAN});
    if (m) {
        CHECK_STR(m->model->pooling.mode_name, "mean");
        CHECK(m->model->pooling.normalizes && m->model->dim == 14);
    }
    unload(m);
    struct model_options none = {.task = -1, .pool_mode = -1}, o = none;
    o.task = TASK_CLASSIFY;
    refused("qwen3-reranker", d, o, ERR_UNSUPPORTED, "cannot be used to classify");
    o.task = TASK_RERANK;
    refused("qwen2-base-st6", d, o, ERR_UNSUPPORTED, "cannot be used to rerank");
    refused("qwen3-embedding", d, o, ERR_UNSUPPORTED, "'yes' and 'no'");
    o.task = TASK_GENERATE;
    refused("qwen2-base-st6", d, o, ERR_UNSUPPORTED, "cannot be used to generate");
    o = none;
    o.task = TASK_RERANK;
    o.max_length = 49;
    refused("qwen3-reranker", d, o, ERR_INVALID, "49 tokens leaves no room beside 49");
    o = none;
    o.max_length = 1;
    refused("qwen3-embedding", d, o, ERR_INVALID, "1 tokens leaves no room beside 1");
}

// A query that leaves no room is an error: only a document is cut.
static void check_long_query(struct device *d) {
    struct errmsg msg = {0};
    struct model_options o = {.task = TASK_RERANK, .pool_mode = -1, .max_length = 120};
    struct loaded *m = load("qwen3-reranker", d, o);
    if (!m)
        return;
    size_t room = 120 - pair_special_count(m->model) - PROMPT_MIN_DOCUMENT;
    CHECK_OK(prompt_check_query(m->model, room, &msg), msg);
    CHECK_ERROR(prompt_check_query(m->model, room + 1, &msg), ERR_INVALID, msg, "never cut");
    unload(m);
}

static void on_device(struct device *d) {
    check_embedder("qwen3-embedding", true, d);
    check_embedder("qwen2-base-st6", false, d);
    check_reranker(d);
}

int main(void) {
    json_init();
    tiny_on_devices(on_device);
    struct errmsg msg = {0};
    struct device *d = NULL;
    CHECK_OK(test_device_new(&(struct cpu_options){.threads = 2}, &d, &msg), msg);
    if (d) {
        check_options(d);
        check_long_query(d);
    }
    test_device_free(d);
    printf("largest differences: unit vectors %.2g, logits %.2g\n", worst_unit, worst_logit);
    return check_done();
}
