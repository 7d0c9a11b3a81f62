// Cross-encoders and classifiers against transformers in float32 (tools/make_goldens.py): logits of
// text pairs, token types included, and the same bits in whatever batch.
#include "tests/golden/tiny_model.h"

enum { MAX_SEQS = 16, MAX_LABELS = 4 };

static const struct {
    const char *name;
    const char *labels[MAX_LABELS]; // as config.json names them
} models[] = {
    {"bert-cross-encoder", {"LABEL_0"}},
    {"bert-classifier", {"contradiction", "entailment", "neutral"}},
    {"distilbert-classifier", {"LABEL_0", "LABEL_1"}},
};

static void check_model(const struct tiny_model *m) {
    int which[MAX_SEQS];
    const cJSON *logits = json_get(m->golden, "logits");
    int n = cJSON_GetArraySize(logits);
    float got[MAX_SEQS * MAX_LABELS], alone[MAX_LABELS];
    if (!CHECK(n > 0 && n <= MAX_SEQS && m->dim <= MAX_LABELS))
        return;
    for (int s = 0; s < n; s++)
        which[s] = s;
    struct tiny_batch b = tiny_batch_of(m, which, (size_t)n);
    bool ran = tiny_run(m, &b, false, NULL, got);
    tiny_batch_free(&b);
    for (int s = 0; ran && s < n; s++) {
        size_t len;
        float *want = tiny_numbers(cJSON_GetArrayItem(logits, s), &len);
        const float *row = got + (size_t)s * m->dim;
        CHECK_INT(len, m->dim);
        // far inside the bar of 1e-4: two layers of 24 to 50 terms, logits of about 1
        CHECK_NEAR(row, want, m->dim, 5e-6, 0);
        free(want);
        b = tiny_batch_of(m, &s, 1);
        if (tiny_run(m, &b, false, NULL, alone))
            CHECK(test_device_same(alone, row, m->dim, 5e-6));
        tiny_batch_free(&b);
    }
}

static void run(struct device *d) {
    for (size_t i = 0; i < sizeof models / sizeof *models; i++) {
        struct tiny_model m;
        if (tiny_load(&m, models[i].name, d)) {
            CHECK(m.config.classification);
            for (size_t k = 0; k < m.config.labels; k++)
                CHECK_STR(m.config.label_names[k], models[i].labels[k]);
            check_model(&m);
        }
        tiny_free(&m);
    }
}

int main(void) {
    json_init();
    tiny_on_devices(run);
    return check_done();
}
