// Damaged copies of a tiny model: what the encoder and the heads say when file and config.json
// disagree (FAULTS 49, 52 to 54), and every allocation and file call failing once.
#include "base/fault.h"
#include "base/json.h"
#include "compute/cpu/cpu.h"
#include "encoder/encoder.h"
#include "pooling/pooler.h"
#include "pooling/score_head.h"
#include "tests/unit/test_weights_files.h"

static struct device *device;

static void copy_model(const struct temp_folder *t, const char *model) {
    static const char *const files[] = {"config.json", "model.safetensors"};
    char from[128];
    for (size_t i = 0; i < 2; i++) {
        snprintf(from, sizeof from, "tests/golden/data/%s/%s", model, files[i]);
        temp_copy(t, files[i], from);
    }
}

// Replaces the first `from` in a file of the folder by `to`, of the same length.
static void replace(const struct temp_folder *t, const char *name, const char *from,
                    const char *to) {
    size_t n, len = strlen(from);
    char *bytes = temp_read(temp_path(t, name), &n);
    bool found = false;
    temp_must(len == strlen(to), "a replacement of the same length");
    for (size_t i = 0; !found && i + len <= n; i++)
        if ((found = memcmp(bytes + i, from, len) == 0))
            memcpy(bytes + i, to, len);
    temp_must(found, from);
    temp_write(t, name, bytes, n);
    mem_free(bytes);
}

struct loaded {
    struct encoder *encoder;
    struct score_head *head;
    struct pooling *pooler;
};

static void unload(struct loaded *l) {
    score_head_free(l->head);
    pooling_free(l->pooler);
    encoder_free(l->encoder);
}

static enum err load(const char *folder, struct loaded *l, struct errmsg *msg) {
    struct model_config c;
    struct weights *w = NULL;
    *l = (struct loaded){0};
    enum err e = model_config_load(folder, &c, msg);
    if (!e)
        e = weights_open(folder, &w, msg);
    if (!e)
        e = encoder_load(w, &c, (struct precision){0}, device, &l->encoder, msg);
    if (!e && c.classification)
        e = score_head_load(w, &c, encoder_pooler_weight(l->encoder), device, &l->head, msg);
    if (!e && !c.classification)
        e = pooling_load(folder, c.hidden, -1, device, &l->pooler, msg);
    if (!e)
        e = weights_check_all_taken(w, msg);
    weights_close(w);
    model_config_free(&c);
    return e;
}

static void refused(const struct temp_folder *t, enum err want, const char *part) {
    struct loaded l;
    struct errmsg msg = {0};
    CHECK_ERROR(load(t->path, &l, &msg), want, msg, part);
    unload(&l);
}

static void test_disagreement(void) {
    static const struct {
        const char *model, *file, *from, *to;
        enum err want;
        const char *part;
    } cases[] = {
        {"bert-cls-mean", "config.json", "\"hidden_size\": 24", "\"hidden_size\": 27", ERR_INVALID,
         "tensor 'embeddings.word_embeddings.weight': shape is [181, 24], config.json asks for "
         "[181, 27]"},
        {"bert-cls-mean", "config.json", "\"vocab_size\": 181", "\"vocab_size\": 180", ERR_INVALID,
         "shape is [181, 24], config.json asks for [180, 24]"},
        {"bert-cls-mean", "config.json", "\"intermediate_size\": 40", "\"intermediate_size\": 41",
         ERR_INVALID, "'encoder.layer.0.intermediate.dense.weight': shape is [40, 24], config"},
        {"bert-cls-mean", "config.json", "\"num_hidden_layers\": 1", "\"num_hidden_layers\": 2",
         ERR_NOT_FOUND, "tensor 'encoder.layer.1.attention.self.query.weight' is missing"},
        {"bert-cls-mean", "config.json", "\"max_position_embeddings\": 64",
         "\"max_position_embeddings\": 63", ERR_INVALID,
         "'embeddings.position_embeddings.weight': shape is [64, 24]"},
        {"bert-cls-mean", "config.json", "\"type_vocab_size\": 2", "\"type_vocab_size\": 3",
         ERR_INVALID, "'embeddings.token_type_embeddings.weight': shape is [2, 24]"},
        {"bert-cls-mean", "model.safetensors", "attention.self.value.bias",
         "attention.self.valuE.bias", ERR_NOT_FOUND,
         "model.safetensors: tensor 'encoder.layer.0.attention.self.value.bias' is missing"},
        {"bert-cls-mean", "model.safetensors", "pooler.dense.bias", "poolez.dense.bias",
         ERR_INVALID,
         "model.safetensors: tensor 'poolez.dense.bias' has no place in this architecture"},
        {"bert-classifier", "model.safetensors", "bert.pooler.dense.bias", "bert.poolez.dense.bias",
         ERR_NOT_FOUND, "tensor 'bert.pooler.dense.bias' is missing"},
        {"bert-classifier", "model.safetensors", "classifier.bias", "classifieR.bias",
         ERR_NOT_FOUND, "tensor 'classifier.bias' is missing"},
        {"distilbert-classifier", "model.safetensors", "pre_classifier.weight",
         "pre_classifieR.weight", ERR_NOT_FOUND, "tensor 'pre_classifier.weight' is missing"},
        {"distilbert-classifier", "config.json", "\"DistilBertForSequenceClassification\"",
         "\"DistilBertModel\"                    ", ERR_INVALID,
         "tensor 'classifier.bias' has no place in this architecture"},
        {"bert-cross-encoder", "config.json", "\"0\": \"LABEL_0\"", "\"1\": \"LABEL_0\"",
         ERR_INVALID, "config.json: 'id2label' has the key '1', not 0 to 0"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct temp_folder t = temp_new();
        struct loaded l;
        struct errmsg msg = {0};
        copy_model(&t, cases[i].model);
        CHECK_OK(load(t.path, &l, &msg), msg); // whole before it is damaged
        unload(&l);
        replace(&t, cases[i].file, cases[i].from, cases[i].to);
        refused(&t, cases[i].want, cases[i].part);
        temp_free(&t);
    }
}

static void test_not_finite(void) {
    struct temp_folder t = temp_new();
    struct errmsg msg = {0};
    struct weights *w = NULL;
    copy_model(&t, "bert-cls-mean");
    CHECK_OK(weights_open(t.path, &w, &msg), msg);
    // where the third value of a tensor lies in the file
    size_t n, at = 0;
    char *bytes = temp_read(temp_path(&t, "model.safetensors"), &n);
    const char *name = "encoder.layer.0.attention.output.dense.weight";
    for (size_t i = 0; i < weights_count(w); i++)
        if (strcmp(weights_at(w, i).name, name) == 0)
            at = weights_at(w, i).offset;
    weights_close(w);
    CHECK(at > 0 && at + 64 <= n);
    memcpy(bytes + at + 8, &(float){NAN}, 4);
    temp_write(&t, "model.safetensors", bytes, n);
    refused(&t, ERR_INVALID,
            "tensor 'encoder.layer.0.attention.output.dense.weight': non-finite at 2");
    memcpy(bytes + at + 8, &(float){-INFINITY}, 4);
    temp_write(&t, "model.safetensors", bytes, n);
    refused(&t, ERR_INVALID, "non-finite at 2");
    mem_free(bytes);
    temp_free(&t);
}

// Heads beyond what the kernels take are refused at load, before any tensor is looked up.
static void test_large_heads(void) {
    struct model_config c;
    struct weights *w = NULL;
    struct encoder *e = NULL;
    struct errmsg msg = {0};
    CHECK_OK(model_config_load("tests/golden/data/bert-cls-mean", &c, &msg), msg);
    CHECK_OK(weights_open("tests/golden/data/bert-cls-mean", &w, &msg), msg);
    c.hidden = 2 * (device->max_head_dim + 1);
    c.heads = 2;
    CHECK_ERROR(encoder_load(w, &c, (struct precision){0}, device, &e, &msg), ERR_UNSUPPORTED, msg,
                "over num_attention_heads 2: heads of ");
    CHECK(!e);
    weights_close(w);
    model_config_free(&c);
}

// Another process cuts the file short between opening it and binding (FAULTS 51, 52).
static void test_file_cut_while_loading(void) {
    static const off_t lengths[] = {0, 8, 9000}; // nothing, no header, half the tensors
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        struct temp_folder t = temp_new();
        struct model_config c;
        struct weights *w = NULL;
        struct encoder *e = NULL;
        struct errmsg msg = {0};
        copy_model(&t, "bert-cls-mean");
        CHECK_OK(model_config_load(t.path, &c, &msg), msg);
        CHECK_OK(weights_open(t.path, &w, &msg), msg);
        CHECK(truncate(temp_path(&t, "model.safetensors"), lengths[i]) == 0);
        CHECK_ERROR(encoder_load(w, &c, (struct precision){0}, device, &e, &msg), ERR_IO, msg,
                    "model.safetensors: shrank while it was read");
        CHECK(!e);
        weights_close(w);
        model_config_free(&c);
        temp_free(&t);
    }
}

// What was loaded owes nothing to the file any more.
static void test_file_goes_away(void) {
    struct temp_folder t = temp_new();
    struct loaded l;
    struct errmsg msg = {0};
    copy_model(&t, "bert-cls-mean");
    CHECK_OK(load(t.path, &l, &msg), msg);
    int32_t ids[3] = {2, 40, 3}, positions[3] = {0, 1, 2}, types[3] = {0}, cu[2] = {0, 3};
    struct batch b = {ids, positions, types, cu, 3, 1};
    struct arena ws;
    float before[24], after[24];
    CHECK_OK(device->ops->workspace_new(
                 device,
                 encoder_workspace_bytes(l.encoder, 3) + pooling_workspace_bytes(l.pooler, 1), &ws),
             msg);
    struct mat x = encoder_forward(l.encoder, &b, &ws, NULL);
    device->ops->read(device, pooling_apply(l.pooler, x, &b, NULL, true, &ws), before);
    CHECK_OK(device_sync(device, &msg), msg);
    CHECK(truncate(temp_path(&t, "model.safetensors"), 0) == 0);
    arena_reset(&ws);
    x = encoder_forward(l.encoder, &b, &ws, NULL);
    device->ops->read(device, pooling_apply(l.pooler, x, &b, NULL, true, &ws), after);
    CHECK_OK(device_sync(device, &msg), msg);
    CHECK(memcmp(before, after, sizeof before) == 0);
    // a workspace for fewer tokens is refused, and nothing is written
    ws.size -= 64;
    arena_reset(&ws);
    ws.used = pooling_workspace_bytes(l.pooler, 1);
    CHECK(!encoder_forward(l.encoder, &b, &ws, NULL).data);
    CHECK_ERROR(device_sync(device, &msg), ERR_INTERNAL, msg, "workspace of ");
    ws.size += 64;
    device->ops->workspace_free(device, &ws);
    CHECK(encoder_workspace_bytes(l.encoder, SIZE_MAX / 8) == SIZE_MAX);
    CHECK(encoder_weight_bytes(l.encoder) >= 4 * (181 + 64 + 2) * 24);
    unload(&l);
    refused(&t, ERR_INVALID, "model.safetensors: truncated: 0 bytes");
    temp_free(&t);
}

static void test_faults(void) {
    static const char *const folders[] = {"tests/golden/data/bert-cls-mean",
                                          "tests/golden/data/bert-bf16-sharded",
                                          "tests/golden/data/distilbert-classifier"};
    static const enum fault_site sites[] = {FAULT_ALLOC, FAULT_FILE};
    for (size_t f = 0; f < 3; f++) {
        for (size_t s = 0; s < 2; s++) {
            long n = 0;
            for (enum err e = ERR_NOMEM; e != ERR_OK && n < 5000;) {
                struct loaded l;
                struct errmsg msg = {0};
                fault_arm(sites[s], ++n, false);
                e = load(folders[f], &l, &msg);
                fault_disarm();
                if (e)
                    CHECK_ERROR(e, s == 0 ? ERR_NOMEM : ERR_IO, msg, "");
                unload(&l);
            }
            CHECK(n > 3 && n < 5000);
        }
    }
}

int main(void) {
    json_init();
    struct errmsg msg = {0};
    CHECK_OK(cpu_device_new(&(struct cpu_options){.threads = 1}, &device, &msg), msg);
    if (device) {
        test_disagreement();
        test_not_finite();
        test_large_heads();
        test_file_cut_while_loading();
        test_file_goes_away();
        test_faults();
    }
    cpu_device_free(device);
    return check_done();
}
