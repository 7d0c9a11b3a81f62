// Embedders against sentence-transformers in float32 (tools/make_goldens.py): every layer of one
// model, the vectors of each folder, and the same bits in whatever batch.
#include "tests/golden/tiny_model.h"

enum { MAX_SEQS = 16, MAX_DIM = 64 };

static const char *const models[] = {
    "bert-mean-st6", "bert-cls-st2",      "bert-max-dense-st6", "bert-mlm-mean-sqrt",
    "bert-last-f16", "bert-bf16-sharded", "bert-cls-mean",      "distilbert-prompt-st6",
};

static size_t all_sequences(const struct tiny_model *m, int which[MAX_SEQS]) {
    int n = cJSON_GetArraySize(json_get(m->golden, "ids"));
    if (!CHECK(n > 0 && n <= MAX_SEQS))
        n = 0;
    for (int i = 0; i < n; i++)
        which[i] = i;
    return (size_t)n;
}

// All texts in one ragged batch, as the folder says and normalised.
static void check_vectors(const struct tiny_model *m) {
    int which[MAX_SEQS];
    size_t n = all_sequences(m, which), dim = m->dim, len;
    float got[MAX_SEQS * MAX_DIM], unit[MAX_SEQS * MAX_DIM];
    struct tiny_batch b = tiny_batch_of(m, which, n);
    if (!tiny_run(m, &b, pooling_facts_of(m->pooler)->normalizes, NULL, got) ||
        !tiny_run(m, &b, true, NULL, unit)) {
        tiny_batch_free(&b);
        return;
    }
    const cJSON *vectors = json_get(m->golden, "vectors");
    for (size_t s = 0; s < n; s++) {
        float *want = tiny_numbers(cJSON_GetArrayItem(vectors, (int)s), &len);
        CHECK_INT(len, dim);
        // unnormalised values reach 10; the reference itself is 2.4e-6 from a float64 run of the
        // same model where a dense layer follows
        bool near = CHECK_NEAR(got + s * dim, want, dim, 1e-5, 1e-6);
        unit_length(want, dim);
        // the bar of docs/ for normalised embeddings; the reference's own noise is 2e-7
        near &= CHECK_NEAR(unit + s * dim, want, dim, 2e-6, 0);
        if (!near)
            fprintf(stderr, "    %s, text %zu, %s\n", m->folder, s, m->device->describe);
        free(want);
    }
    tiny_batch_free(&b);
}

// A sequence alone, first, last and in the middle of others: the same bits.
static void check_any_batch(const struct tiny_model *m) {
    static const int mixes[][4] = {{3, 7, 1, 0}, {0, 3, 5, 8}, {7, 9, 3, 2}, {5, 1, 7, 3}};
    float alone[MAX_DIM], mixed[4 * MAX_DIM];
    for (int s = 0; s < 4; s++) {
        int one = mixes[0][s];
        struct tiny_batch b = tiny_batch_of(m, &one, 1);
        bool ran = tiny_run(m, &b, true, NULL, alone);
        tiny_batch_free(&b);
        for (size_t i = 0; ran && i < sizeof mixes / sizeof *mixes; i++) {
            b = tiny_batch_of(m, mixes[i], 4);
            if (tiny_run(m, &b, true, NULL, mixed))
                for (size_t k = 0; k < 4; k++)
                    if (mixes[i][k] == one)
                        CHECK(test_device_same(alone, mixed + k * m->dim, m->dim, 2e-6));
            tiny_batch_free(&b);
        }
    }
}

// The same model with fewer layers gives what the reference has after that layer.
static void check_layers(const struct tiny_model *m) {
    const cJSON *layers = json_get(m->golden, "hidden");
    struct errmsg msg = {0};
    struct device *d = m->device;
    struct model_config config = m->config;
    int first = 0;
    struct tiny_batch b = tiny_batch_of(m, &first, 1);
    CHECK_INT(cJSON_GetArraySize(layers), m->config.layers + 1);
    for (config.layers = 0; config.layers <= m->config.layers; config.layers++) {
        struct weights *w = NULL;
        struct encoder *e = NULL;
        struct arena ws;
        size_t n;
        CHECK_OK(weights_open(m->folder, &w, &msg), msg);
        CHECK_OK(encoder_load(w, &config, (struct precision){0}, d, &e, &msg), msg);
        CHECK_OK(d->ops->workspace_new(d, encoder_workspace_bytes(e, b.batch.tokens), &ws), msg);
        struct mat x = encoder_forward(e, &b.batch, &ws, NULL);
        CHECK_OK(device_sync(d, &msg), msg);
        float *want = tiny_numbers(cJSON_GetArrayItem(layers, (int)config.layers), &n);
        float *got = malloc(n * sizeof *got);
        if (CHECK(n == x.rows * x.cols)) {
            d->ops->read(d, x, got);
            // normed values of about 1 to 4, after sums of 24 to 40 products in f32: eight units in
            // the last place of 4, since OpenBLAS sums in other orders than the reference
            CHECK_NEAR(got, want, n, 4e-6, 1e-6);
        }
        free(got);
        free(want);
        d->ops->workspace_free(d, &ws);
        encoder_free(e);
        weights_close(w);
    }
    tiny_batch_free(&b);
}

struct urgent {
    const struct tiny_model *model;
    struct tiny_batch batch;
    float first[MAX_DIM];
    int pauses;
    bool same;
};

static bool run_urgent(void *ctx) {
    struct urgent *u = ctx;
    float v[MAX_DIM];
    u->pauses++;
    u->same &= tiny_run(u->model, &u->batch, true, NULL, v) &&
               test_device_same(v, u->first, u->model->dim, 2e-6);
    return true;
}

// Another forward inside the pauses disturbs neither.
static void check_pauses(const struct tiny_model *m) {
    int urgent_text = 4, text = 6;
    struct urgent u = {.model = m, .batch = tiny_batch_of(m, &urgent_text, 1), .same = true};
    struct forward_hooks hooks = {run_urgent, &u};
    struct tiny_batch b = tiny_batch_of(m, &text, 1);
    float plain[MAX_DIM], paused[MAX_DIM];
    tiny_run(m, &u.batch, true, NULL, u.first);
    tiny_run(m, &b, true, NULL, plain);
    tiny_run(m, &b, true, &hooks, paused);
    CHECK(u.same);
    CHECK_INT(u.pauses, 2 * m->config.layers - 1);
    CHECK(test_device_same(plain, paused, m->dim, 2e-6));
    tiny_batch_free(&u.batch);
    tiny_batch_free(&b);
}

static void run(struct device *d) {
    for (size_t i = 0; i < sizeof models / sizeof *models; i++) {
        struct tiny_model m;
        if (tiny_load(&m, models[i], d)) {
            check_vectors(&m);
            check_any_batch(&m);
            check_pauses(&m);
            if (json_get(m.golden, "hidden"))
                check_layers(&m);
        }
        tiny_free(&m);
    }
}

int main(void) {
    json_init();
    tiny_on_devices(run);
    return check_done();
}
