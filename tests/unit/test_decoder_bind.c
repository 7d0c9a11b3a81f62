// Damaged copies of tiny causal models: what decoder_load says when file and config disagree
// (FAULTS 49, 52 to 54), what a forward refuses, and every allocation and file call failing once.
#include "base/fault.h"
#include "base/json.h"
#include "decoder/decoder.h"
#include "tests/kit/test_device.h"
#include "tests/precisions.h"
#include "tests/unit/test_weights_files.h"

#define MODELS "tests/golden/data/decoders/"

static struct device *device;

static void copy_model(const struct temp_folder *t, const char *model) {
    static const char *const files[] = {"config.json", "model.safetensors"};
    char from[160];
    for (size_t i = 0; i < 2; i++) {
        snprintf(from, sizeof from, MODELS "%s/%s", model, files[i]);
        temp_copy(t, files[i], from);
    }
}

static enum err load(const char *path, struct decoder **out, struct errmsg *msg) {
    struct decoder_config c;
    struct weights *w = NULL;
    *out = NULL;
    enum err e = decoder_config_load(path, &c, msg);
    if (!e)
        e = weights_open(path, &w, msg);
    if (!e)
        e = decoder_load(w, &c, PRECISION_STORED, device, out, msg);
    if (!e)
        e = weights_check_all_taken(w, msg);
    weights_close(w);
    return e;
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

static void test_disagreement(void) {
    static const struct {
        const char *model, *file, *from, *to;
        enum err want;
        const char *part;
    } cases[] = {
        {"qwen2-tied", "config.json", "\"hidden_size\": 40", "\"hidden_size\": 48", ERR_INVALID,
         "tensor 'model.embed_tokens.weight': shape is [71, 40], config.json asks for [71, 48]"},
        {"qwen2-tied", "config.json", "\"vocab_size\": 71", "\"vocab_size\": 72", ERR_INVALID,
         "shape is [71, 40], config.json asks for [72, 40]"},
        {"qwen2-tied", "config.json", "\"intermediate_size\": 51", "\"intermediate_size\": 52",
         ERR_INVALID, "'model.layers.0.mlp.gate_proj.weight': shape is [51, 40], config"},
        {"qwen2-tied", "config.json", "\"num_key_value_heads\": 2", "\"num_key_value_heads\": 1",
         ERR_INVALID, "'model.layers.0.self_attn.k_proj.weight': shape is [20, 40], config"},
        {"qwen2-yarn", "config.json", "\"num_hidden_layers\": 2", "\"num_hidden_layers\": 3",
         ERR_NOT_FOUND, "tensor 'model.layers.2.input_layernorm.weight' is missing"},
        {"qwen2-yarn", "config.json", "\"num_hidden_layers\": 2", "\"num_hidden_layers\": 1",
         ERR_INVALID, "has no place in this architecture"},
        {"qwen2-tied", "config.json", "\"tie_word_embeddings\": true",
         "\"tie_word_embeddingS\": true", ERR_NOT_FOUND, "tensor 'lm_head.weight' is missing"},
        {"qwen2-tied", "model.safetensors", "layers.1.self_attn.v_proj.bias",
         "layers.1.self_attn.v_proj.biaS", ERR_NOT_FOUND,
         "model.safetensors: tensor 'model.layers.1.self_attn.v_proj.bias' is missing"},
        {"qwen3", "config.json", "\"head_dim\": 14", "\"head_dim\": 12", ERR_INVALID,
         "'model.layers.0.self_attn.q_proj.weight': shape is [56, 25], config.json asks for "
         "[48, 25]"},
        {"qwen3", "model.safetensors", "layers.0.self_attn.k_norm.weight",
         "layers.0.self_attn.k_norM.weight", ERR_NOT_FOUND,
         "tensor 'model.layers.0.self_attn.k_norm.weight' is missing"},
        {"qwen3-embedder", "model.safetensors", "\"norm.weight", "\"norM.weight", ERR_NOT_FOUND,
         "tensor 'norm.weight' is missing"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct temp_folder t = temp_new();
        struct decoder *m;
        struct errmsg msg = {0};
        copy_model(&t, cases[i].model);
        CHECK_OK(load(t.path, &m, &msg), msg); // whole before it is damaged
        decoder_free(m);
        replace(&t, cases[i].file, cases[i].from, cases[i].to);
        CHECK_ERROR(load(t.path, &m, &msg), cases[i].want, msg, cases[i].part);
        decoder_free(m);
        temp_free(&t);
    }
}

// Where the bytes of a tensor lie in its file.
static size_t offset_of(const char *path, const char *name) {
    struct weights *w = NULL;
    struct errmsg msg = {0};
    size_t at = 0;
    CHECK_OK(weights_open(path, &w, &msg), msg);
    for (size_t i = 0; w && i < weights_count(w); i++)
        if (strcmp(weights_at(w, i).name, name) == 0)
            at = weights_at(w, i).offset;
    weights_close(w);
    CHECK(at > 0);
    return at;
}

static void poison(const struct temp_folder *t, const char *file, const char *path,
                   const char *name, float value) {
    size_t n, at = offset_of(path, name);
    char *bytes = temp_read(temp_path(t, file), &n);
    memcpy(bytes + at + 8, &value, sizeof value);
    temp_write(t, file, bytes, n);
    mem_free(bytes);
}

static void test_not_finite(void) {
    static const char *const names[] = {"model.embed_tokens.weight", "model.norm.weight",
                                        "model.layers.1.mlp.up_proj.weight"};
    for (size_t i = 0; i < 3; i++) {
        struct temp_folder t = temp_new();
        struct decoder *m;
        struct errmsg msg = {0};
        char part[128];
        copy_model(&t, "qwen2-tied");
        poison(&t, "model.safetensors", t.path, names[i], NAN);
        snprintf(part, sizeof part, "tensor '%s': non-finite at 2", names[i]);
        CHECK_ERROR(load(t.path, &m, &msg), ERR_INVALID, msg, part);
        CHECK(!m);
        temp_free(&t);
    }
}

static void test_rope_factors(void) {
    static const float bad[] = {NAN, 0, -1, INFINITY};
    for (size_t i = 0; i < 4; i++) {
        struct temp_folder t = temp_new();
        struct decoder *m;
        struct errmsg msg = {0};
        char path[128];
        temp_copy(&t, "model.gguf", MODELS "gguf-llama-rope-freqs/model.gguf");
        snprintf(path, sizeof path, "%s", temp_path(&t, "model.gguf"));
        CHECK_OK(load(path, &m, &msg), msg);
        decoder_free(m);
        poison(&t, "model.gguf", path, "rope_freqs.weight", bad[i]);
        CHECK_ERROR(load(path, &m, &msg), ERR_INVALID, msg, "tensor 'rope_freqs.weight': ");
        CHECK(!m);
        temp_free(&t);
    }
}

// Heads beyond what the kernels take are refused at load, before any tensor is looked up.
static void test_large_heads(void) {
    struct decoder_config c;
    struct weights *w = NULL;
    struct decoder *m = NULL;
    struct errmsg msg = {0};
    CHECK_OK(decoder_config_load(MODELS "qwen3", &c, &msg), msg);
    CHECK_OK(weights_open(MODELS "qwen3", &w, &msg), msg);
    c.head_dim = device->max_head_dim + 2;
    CHECK_ERROR(decoder_load(w, &c, PRECISION_F32, device, &m, &msg), ERR_UNSUPPORTED, msg,
                "Qwen3ForCausalLM: heads of ");
    CHECK(!m);
    weights_close(w);
}

// Another process cuts the file short between opening it and binding (FAULTS 51, 52).
static void test_file_cut_while_loading(void) {
    static const off_t lengths[] = {0, 8, 20000}; // nothing, no header, some of the tensors
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        struct temp_folder t = temp_new();
        struct decoder_config c;
        struct weights *w = NULL;
        struct decoder *m = NULL;
        struct errmsg msg = {0};
        copy_model(&t, "qwen2-tied");
        CHECK_OK(decoder_config_load(t.path, &c, &msg), msg);
        CHECK_OK(weights_open(t.path, &w, &msg), msg);
        CHECK(truncate(temp_path(&t, "model.safetensors"), lengths[i]) == 0);
        CHECK_ERROR(decoder_load(w, &c, PRECISION_F32, device, &m, &msg), ERR_IO, msg,
                    "model.safetensors: shrank while it was read");
        CHECK(!m);
        weights_close(w);
        temp_free(&t);
    }
}

// What a step may not be: rows of logits beyond its tokens, a workspace that is too small.
static void test_refused_steps(void) {
    struct decoder *m;
    struct errmsg msg = {0};
    struct kv_cache *kv = NULL;
    struct arena ws;
    CHECK_OK(load(MODELS "qwen2-tied", &m, &msg), msg);
    struct kv_shape shape = decoder_kv_shape(m, 16, 2, DTYPE_F32);
    CHECK_INT(shape.layers, 2);
    CHECK_INT(shape.kv_heads, 2);
    CHECK_INT(shape.head_dim, 10);
    CHECK_OK(device->ops->kv_new(device, &shape, &kv, &msg), msg);
    size_t bytes = decoder_workspace_bytes(m, 2, 1);
    CHECK_OK(device->ops->workspace_new(device, bytes, &ws), msg);
    int32_t ids[2] = {3, 4}, positions[2] = {0, 1}, cu[2] = {0, 2}, context[1] = {2};
    int32_t table[1] = {1}, slots[2] = {16, 17}, rows[3] = {1, 1, 1};
    struct decoder_step s = {ids, positions, slots, cu, context, table, 1, 2, 1, rows, 3};
    CHECK(!decoder_forward(m, &s, kv, &ws, NULL).data);
    CHECK_ERROR(device_sync(device, &msg), ERR_INTERNAL, msg, "logits of 3 rows of 2");
    s.logit_count = 1;
    for (size_t less = 64; less < bytes; less += bytes / 7) {
        arena_reset(&ws);
        ws.size = bytes - less;
        CHECK(!decoder_forward(m, &s, kv, &ws, NULL).data);
        CHECK_ERROR(device_sync(device, &msg), ERR_INTERNAL, msg, "workspace of ");
    }
    ws.size = bytes;
    arena_reset(&ws);
    CHECK(decoder_forward(m, &s, kv, &ws, NULL).data);
    CHECK_OK(device_sync(device, &msg), msg);
    device->ops->workspace_free(device, &ws);
    device->ops->kv_free(device, kv);
    CHECK(decoder_workspace_bytes(m, SIZE_MAX / 8, 1) == SIZE_MAX);
    CHECK(decoder_workspace_bytes(m, 1, SIZE_MAX / 8) == SIZE_MAX);
    CHECK(decoder_weight_bytes(m) >= 4 * 71 * 40);
    decoder_free(m);
    decoder_free(NULL);
}

// Tied embeddings are one copy.
static void test_tied_is_one_copy(void) {
    struct decoder *m;
    struct errmsg msg = {0};
    CHECK_OK(load(MODELS "gguf-qwen3-f16/model.gguf", &m, &msg), msg);
    struct decoder_config c;
    CHECK_OK(decoder_config_load(MODELS "gguf-qwen3-f16/model.gguf", &c, &msg), msg);
    CHECK(c.tied);
    size_t with = decoder_weight_bytes(m);
    decoder_free(m);
    struct weights *w = NULL;
    CHECK_OK(weights_open(MODELS "gguf-qwen3-f16/model.gguf", &w, &msg), msg);
    c.causal_lm = false; // no head at all
    CHECK_OK(decoder_load(w, &c, PRECISION_STORED, device, &m, &msg), msg);
    // a table in rows or panels and a bias of zeros: no second copy of 96 x 32
    CHECK(with < decoder_weight_bytes(m) + 96 * 32);
    decoder_free(m);
    weights_close(w);
}

static void test_faults(void) {
    static const char *const paths[] = {MODELS "qwen3", MODELS "llama3-sharded",
                                        MODELS "gguf-llama-rope-freqs/model.gguf",
                                        MODELS "gguf-qwen2-mixed/model.gguf"};
    static const enum fault_site sites[] = {FAULT_ALLOC, FAULT_FILE};
    for (size_t f = 0; f < sizeof paths / sizeof *paths; f++) {
        for (size_t s = 0; s < 2; s++) {
            long n = 0;
            for (enum err e = ERR_NOMEM; e != ERR_OK && n < 5000;) {
                struct decoder *m;
                struct errmsg msg = {0};
                fault_arm(sites[s], ++n, false);
                e = load(paths[f], &m, &msg);
                fault_disarm();
                if (e)
                    CHECK_ERROR(e, s == 0 ? ERR_NOMEM : ERR_IO, msg, "");
                decoder_free(m);
            }
            CHECK(n > 3 && n < 5000);
        }
    }
}

int main(void) {
    json_init();
    struct errmsg msg = {0};
    CHECK_OK(test_device_new(&(struct cpu_options){.threads = 1}, &device, &msg), msg);
    if (device) {
        test_disagreement();
        test_not_finite();
        test_rope_factors();
        test_large_heads();
        test_file_cut_while_loading();
        test_refused_steps();
        test_tied_is_one_copy();
        test_faults();
    }
    test_device_free(device);
    return check_done();
}
