// The files that a load reads of a model, held open: with these in use, and with no path that leads
// anywhere, every kind of model loads and has the bits that it has otherwise; and they are these
// files and no others.
#include "engine/model_files.h"

#include "base/file.h"
#include "compute/cpu/cpu.h"
#include "engine/step_engine.h"
#include "tests/unit/test_gguf_kit.h"

#include <stdlib.h>
#include <unistd.h>

#define DATA "tests/golden/data/"
#define INDEX "model.safetensors.index.json"

enum { TOKENS = 6, FLOATS = 4096 };

static struct device *device;

// What a model gives for a text of a few tokens.
struct given {
    enum err err;
    struct errmsg msg;
    float rows[FLOATS];
};

static void encode(const struct replica_model *m, struct given *out) {
    int32_t ids[TOKENS], positions[TOKENS], types[TOKENS] = {0}, ends[2] = {0, TOKENS};
    for (int32_t i = 0; i < TOKENS; i++) {
        ids[i] = 3 + i;
        positions[i] = i;
    }
    struct batch b = {.ids = ids,
                      .positions = positions,
                      .type_ids = types,
                      .cu_seqlens = ends,
                      .tokens = TOKENS,
                      .seqs = 1};
    struct arena ws = {0};
    size_t bytes = replica_model_workspace_bytes(m, TOKENS, 1);
    CHECK_INT(device->ops->workspace_new(device, bytes, &ws), ERR_OK);
    out->err = replica_model_run(m, &b, NULL, true, &ws, NULL, out->rows, &out->msg);
    device->ops->workspace_free(device, &ws);
}

// The next token, and how likely it was.
static void step(const struct replica_model *m, struct given *out) {
    struct step_engine_options o = {.limits = {.block_tokens = 32,
                                               .max_tokens = TOKENS,
                                               .max_seqs = 1,
                                               .max_logits = 1,
                                               .max_context = 32},
                                    .blocks = 1,
                                    .kv_dtype = DTYPE_F32};
    struct step_engine *e = NULL;
    struct step *s = NULL;
    int32_t ids[TOKENS] = {3, 4, 5, 6, 7, 8}, block = 0;
    struct step_part part = {.sequence = 1,
                             .ids = ids,
                             .count = TOKENS,
                             .blocks = &block,
                             .block_count = 1,
                             .wanted = 1,
                             .draws = true,
                             .want_logprob = true,
                             .position = TOKENS,
                             .tokens = ids,
                             .prompt_len = TOKENS,
                             .sampling = {.top_p = 1, .repetition_penalty = 1}};
    CHECK_OK(step_engine_new(m, &o, &e, &out->msg), out->msg);
    CHECK_INT(step_new(&o.limits, &s), ERR_OK);
    struct step_part *p = step_add(s, &part);
    out->err = step_engine_forward(e, s, NULL, &out->msg);
    if (!out->err)
        out->err = step_engine_draw(e, s, &out->msg);
    if (!out->err && CHECK(p->drawn == 1)) {
        out->rows[0] = (float)p->results[0].id;
        out->rows[1] = p->results[0].logprob;
    }
    step_free(s);
    step_engine_free(e);
}

static struct given *load_and_run(const struct replica_spec *spec) {
    struct given *out = calloc(1, sizeof *out);
    struct replica_model *m = NULL;
    out->err = replica_model_load(spec, device, &m, &out->msg);
    if (out->err)
        return out;
    if (spec->task == TASK_GENERATE)
        step(m, out);
    else
        encode(m, out);
    replica_model_free(m);
    return out;
}

// Its files, told of their paths behind the model's.
static void check_names(const struct file_set *s, const char *path, const char *const *want) {
    size_t n = 0;
    while (want[n])
        n++;
    if (!CHECK(file_set_count(s) == n))
        fprintf(stderr, "    %s\n", path);
    for (size_t i = 0; i < file_set_count(s) && i < n; i++)
        CHECK_STR(file_set_path(s, i) + strlen(path) + (*want[i] != '\0'), want[i]);
}

// Where no relative path leads anywhere.
static void away(bool go) {
    static char home[4096];
    if (go)
        CHECK(getcwd(home, sizeof home) != NULL);
    CHECK_INT(chdir(go ? "/proc" : home), 0);
}

static void same_from_set(const struct model *m, const char *const *files) {
    struct replica_spec spec;
    struct file_set *s = NULL;
    struct errmsg msg = {0};
    model_spec(m, &spec);
    CHECK_OK(model_files_open(m, &s, &msg), msg);
    CHECK(file_set_recorded() == NULL);
    struct given *by_path = load_and_run(&spec);
    CHECK_OK(by_path->err, by_path->msg);
    if (!s) {
        free(by_path);
        return;
    }
    check_names(s, m->path, files);
    away(true);
    struct given *nothing = load_and_run(&spec);
    CHECK_INT(nothing->err, ERR_NOT_FOUND);
    (void)file_set_use(s);
    for (int life = 0; life < 2; life++) {
        struct given *got = load_and_run(&spec);
        CHECK_OK(got->err, got->msg);
        CHECK(memcmp(got->rows, by_path->rows, sizeof got->rows) == 0);
        free(got);
    }
    (void)file_set_use(NULL);
    spec.sources = s; // as whoever loads it in a worker's place does
    struct given *kept = load_and_run(&spec);
    CHECK_OK(kept->err, kept->msg);
    CHECK(memcmp(kept->rows, by_path->rows, sizeof kept->rows) == 0);
    CHECK(file_set_in_use() == NULL);
    away(false);
    free(kept);
    free(nothing);
    free(by_path);
    file_set_free(s);
}

static void served(const char *name, int task, const char *const *files) {
    char path[256];
    struct errmsg msg = {0};
    struct model *m = NULL;
    snprintf(path, sizeof path, DATA "%s", name);
    struct model_options o = {.path = path, .task = task, .pool_mode = -1};
    CHECK_OK(model_load(&o, &m, &msg), msg);
    if (m)
        same_from_set(m, files);
    model_release(m);
}

// One that has shapes and weights, and no tokenizer.
static void bare_decoder(const char *name, const char *const *files) {
    char path[256];
    struct errmsg msg = {0};
    snprintf(path, sizeof path, DATA "decoders/%s", name);
    struct model m = {.name = path,
                      .path = path,
                      .files = path,
                      .task = TASK_GENERATE,
                      .causal = true,
                      .precision = {.storage = WEIGHT_STORAGE_STORED}};
    CHECK_OK(decoder_config_load(path, &m.decoder_config, &msg), msg);
    m.max_length = m.decoder_config.max_positions;
    same_from_set(&m, files);
}

// Parts of a GGUF file: all of them come with the first.
static void parts(void) {
    static const char *const names[] = {"m-00001-of-00003.gguf", "m-00002-of-00003.gguf",
                                        "m-00003-of-00003.gguf", NULL};
    struct temp_folder t = temp_new();
    struct errmsg msg = {0};
    struct file_set *s = NULL;
    struct weights *w = NULL;
    char path[512];
    for (int i = 0; i < 3; i++) {
        struct kit k = {0};
        if (i == 0)
            kit_text(&k, "general.architecture", "llama");
        kit_int(kit_key(&k, "split.no", GGUF_U16), (uint64_t)i, 2);
        kit_int(kit_key(&k, "split.count", GGUF_U16), 3, 2);
        kit_int(kit_key(&k, "split.tensors.count", GGUF_I32), 2, 4);
        if (i != 1)
            kit_tensor(&k, i ? "blk.1.attn_q.weight" : "blk.0.attn_q.weight", 2, 32, 0, 256);
        kit_write(&k, &t, names[i]);
    }
    snprintf(path, sizeof path, "%s", temp_path(&t, names[0]));
    struct model m = {.path = path, .files = path, .task = TASK_GENERATE, .causal = true};
    CHECK_OK(model_files_open(&m, &s, &msg), msg);
    for (size_t i = 0; s && i < 3; i++)
        CHECK_STR(strrchr(file_set_path(s, i), '/') + 1, names[i]);
    for (int i = 0; i < 3; i++)
        CHECK_INT(remove(temp_path(&t, names[i])), 0);
    CHECK_INT(weights_open(path, &w, &msg), ERR_NOT_FOUND);
    (void)file_set_use(s);
    CHECK_OK(weights_open(path, &w, &msg), msg);
    CHECK(w && weights_count(w) == 2);
    weights_close(w);
    (void)file_set_use(NULL);
    file_set_free(s);
    temp_free(&t);
}

// What a load would refuse is refused, and nothing stays of it.
static void refused(void) {
    struct errmsg msg = {0};
    struct file_set *s = NULL;
    static char none[] = DATA "tokenizers";
    struct model m = {.path = none, .files = none, .task = TASK_GENERATE, .causal = true};
    CHECK_INT(model_files_open(&m, &s, &msg), ERR_NOT_FOUND);
    CHECK(s == NULL && file_set_recorded() == NULL);
}

#define WEIGHTS "model.safetensors"
#define NAMES(...)                                                                                 \
    (const char *const[]) { __VA_ARGS__, NULL }

int main(void) {
    struct errmsg msg = {0};
    CHECK_OK(cpu_device_new(&(struct cpu_options){.threads = 1}, &device, &msg), msg);
    if (!device)
        return check_done();
    served("bert-mean-st6", -1,
           NAMES(WEIGHTS, "modules.json", "1_Pooling/config.json", "2_Normalize/config.json"));
    served("bert-max-dense-st6", -1,
           NAMES(WEIGHTS, "modules.json", "1_Pooling/config.json", "2_Dense/config.json",
                 "2_Dense/" WEIGHTS));
    served("bert-mlm-mean-sqrt", -1,
           NAMES(WEIGHTS, "modules.json", "1_Pooling/config.json", "2_Dense/config.json",
                 "2_Dense/" WEIGHTS));
    served("distilbert-prompt-st6", -1,
           NAMES(WEIGHTS, "modules.json", "1_Pooling/config.json", "2_Normalize/config.json"));
    served("bert-bf16-sharded", -1,
           NAMES(INDEX, "model-00001-of-00003.safetensors", "model-00002-of-00003.safetensors",
                 "model-00003-of-00003.safetensors"));
    served("bert-classifier", -1, NAMES(WEIGHTS));
    served("bert-cross-encoder", -1, NAMES(WEIGHTS));
    served("gguf/bert-last-f16.gguf", -1, NAMES(""));
    served("causal/qwen3-embedding", -1, NAMES(WEIGHTS, "modules.json", "1_Pooling/config.json"));
    served("causal/qwen3-embedding.gguf", -1, NAMES(""));
    served("causal/qwen2-base-st6", -1, NAMES(WEIGHTS, "modules.json", "1_Pooling/config.json"));
    served("causal/qwen3-reranker", TASK_RERANK, NAMES(WEIGHTS));
    served("causal/qwen3-reranker.gguf", TASK_RERANK, NAMES(""));
    served("tiny_chat", -1, NAMES(WEIGHTS));
    bare_decoder("llama3-sharded", NAMES(INDEX, "model-00001-of-00002.safetensors",
                                         "model-00002-of-00002.safetensors"));
    bare_decoder("gguf-llama-rope-freqs/model.gguf", NAMES(""));
    bare_decoder("gguf-qwen2-mixed/model.gguf", NAMES(""));
    parts();
    refused();
    cpu_device_free(device);
    return check_done();
}
