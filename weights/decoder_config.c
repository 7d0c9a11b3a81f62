// See decoder_config.h: config.json. Absent keys take the values that transformers' configuration
// classes give them; what shapes can show wrong is then checked against the tensors.
// Source followed: transformers configuration_{qwen2,qwen3,llama,mistral}.py,
// modeling_rope_utils.py (RotaryEmbeddingConfigMixin).
#include "weights/decoder_config.h"

#include "base/file.h"
#include "base/json.h"
#include "base/mem.h"
#include "weights/config_keys.h"
#include "weights/decoder_config_internal.h"
#include "weights/gguf_keys.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { MAX_CONFIG_BYTES = 16 << 20 };

static const struct {
    const char *name, *model_type;
    enum decoder_arch arch;
    bool causal_lm;
} architectures[] = {
    {"Qwen2ForCausalLM", "qwen2", DECODER_ARCH_QWEN2, true},
    {"Qwen3ForCausalLM", "qwen3", DECODER_ARCH_QWEN3, true},
    {"LlamaForCausalLM", "llama", DECODER_ARCH_LLAMA, true},
    {"MistralForCausalLM", "mistral", DECODER_ARCH_MISTRAL, true},
    {"Qwen2Model", NULL, DECODER_ARCH_QWEN2, false},
    {"Qwen3Model", NULL, DECODER_ARCH_QWEN3, false},
    {"LlamaModel", NULL, DECODER_ARCH_LLAMA, false},
    {"MistralModel", NULL, DECODER_ARCH_MISTRAL, false},
};
enum { ARCHITECTURES = sizeof architectures / sizeof *architectures };
#define SUPPORTED                                                                                  \
    "Qwen2ForCausalLM, Qwen3ForCausalLM, LlamaForCausalLM, MistralForCausalLM, Qwen2Model, "       \
    "Qwen3Model, LlamaModel, MistralModel are"

// What an absent key stands for.
static const struct defaults {
    int64_t vocab, hidden, ffn, layers, heads;
    int64_t kv_heads; // 0: as many as heads
    int64_t head_dim; // 0: hidden / heads
    int64_t positions, window;
} defaults_of[] = {
    [DECODER_ARCH_QWEN2] = {151936, 4096, 22016, 32, 32, 32, 0, 32768, 4096},
    [DECODER_ARCH_QWEN3] = {151936, 4096, 22016, 32, 32, 32, 128, 32768, 4096},
    [DECODER_ARCH_LLAMA] = {32000, 4096, 11008, 32, 32, 0, 0, 2048, 0},
    [DECODER_ARCH_MISTRAL] = {32000, 4096, 14336, 32, 32, 8, 0, 131072, 4096},
};

static enum err read_architecture(const cJSON *root, struct decoder_config *c, struct errmsg *msg) {
    const cJSON *list = json_get(root, "architectures");
    const char *type;
    if (list && !(cJSON_IsArray(list) && (!list->child || cJSON_IsString(list->child))))
        return err_set(msg, ERR_INVALID, "'architectures' must be an array of strings");
    enum err e = json_get_string(root, "model_type", NULL, &type, msg);
    if (e)
        return e;
    const char *name = list && list->child ? list->child->valuestring : NULL;
    for (size_t i = 0; i < ARCHITECTURES; i++) {
        const char *own = name ? architectures[i].name : architectures[i].model_type;
        if (!own || strcmp(own, name ? name : type ? type : "") != 0)
            continue;
        c->arch = architectures[i].arch;
        c->causal_lm = architectures[i].causal_lm;
        snprintf(c->architecture, sizeof c->architecture, "%s", architectures[i].name);
        return ERR_OK;
    }
    if (!name && !type)
        return err_set(msg, ERR_INVALID, "neither 'architectures' nor 'model_type' is there");
    return err_set(msg, ERR_UNSUPPORTED, "%s '%.64s' is not supported (" SUPPORTED ")",
                   name ? "architecture" : "model_type", name ? name : type);
}

bool decoder_config_arch(const cJSON *root, enum decoder_arch *out) {
    struct decoder_config c = {0};
    if (read_architecture(root, &c, NULL))
        return false;
    *out = c.arch;
    return true;
}

// transformers goes by model_type, and would make another model of such a file.
static enum err check_type(const cJSON *root, const struct decoder_config *c, struct errmsg *msg) {
    const char *own = "", *type;
    for (size_t i = 0; i < ARCHITECTURES; i++)
        if (architectures[i].arch == c->arch && architectures[i].model_type)
            own = architectures[i].model_type;
    enum err e = json_get_string(root, "model_type", own, &type, msg);
    if (!e && strcmp(type, own) != 0)
        e = err_set(msg, ERR_UNSUPPORTED,
                    "model_type '%.64s' contradicts the architecture '%s', which is of '%s'", type,
                    c->architecture, own);
    return e;
}

static enum err read_count(const cJSON *root, const char *key, int64_t max, int64_t fallback,
                           size_t *out, struct errmsg *msg) {
    int64_t v;
    enum err e = json_get_int(root, key, 1, max, fallback, &v, msg);
    *out = (size_t)v;
    return e;
}

static enum err read_shapes(const cJSON *root, struct decoder_config *c, struct errmsg *msg) {
    const struct defaults *d = &defaults_of[c->arch];
    double eps = 1e-6;
    enum err e = read_count(root, "hidden_size", DECODER_MAX_HIDDEN, d->hidden, &c->hidden, msg);
    if (!e)
        e = read_count(root, "num_hidden_layers", DECODER_MAX_LAYERS, d->layers, &c->layers, msg);
    if (!e)
        e = read_count(root, "num_attention_heads", DECODER_MAX_HIDDEN, d->heads, &c->heads, msg);
    // null is as many as heads; only an absent key is the default
    bool null_kv = cJSON_IsNull(cJSON_GetObjectItemCaseSensitive(root, "num_key_value_heads"));
    int64_t kv = d->kv_heads == 0 || null_kv ? (int64_t)c->heads : d->kv_heads;
    if (!e)
        e = read_count(root, "num_key_value_heads", DECODER_MAX_HIDDEN, kv, &c->kv_heads, msg);
    if (!e)
        e = read_count(root, "head_dim", DECODER_MAX_HEAD_DIM, d->head_dim, &c->head_dim, msg);
    if (!e)
        e = read_count(root, "intermediate_size", DECODER_MAX_FFN, d->ffn, &c->ffn, msg);
    if (!e)
        e = read_count(root, "vocab_size", DECODER_MAX_VOCAB, d->vocab, &c->vocab, msg);
    if (!e)
        e = read_count(root, "max_position_embeddings", DECODER_MAX_POSITIONS, d->positions,
                       &c->max_positions, msg);
    if (!e)
        e = json_get_double(root, "rms_norm_eps", 1e-30, 0.1, 1e-6, &eps, msg);
    c->norm_eps = (float)eps;
    return e;
}

static enum err read_flags(const cJSON *root, struct decoder_config *c, struct errmsg *msg) {
    const char *act;
    bool attention = false, causal = true;
    enum err e = json_get_string(root, "hidden_act", "silu", &act, msg);
    if (!e && strcmp(act, "silu") != 0 && strcmp(act, "swish") != 0)
        e = err_set(msg, ERR_UNSUPPORTED, "hidden_act '%.64s' is not supported (silu, swish are)",
                    act);
    if (!e)
        e = json_get_bool(root, "tie_word_embeddings", false, &c->tied, msg);
    if (!e && (c->arch == DECODER_ARCH_QWEN3 || c->arch == DECODER_ARCH_LLAMA))
        e = json_get_bool(root, "attention_bias", false, &attention, msg);
    if (!e && c->arch == DECODER_ARCH_LLAMA)
        e = json_get_bool(root, "mlp_bias", false, &c->mlp_bias, msg);
    if (!e)
        e = json_get_bool(root, "is_causal", true, &causal, msg);
    if (!e && !causal) // some embedders: every token sees every other
        e = err_set(msg, ERR_UNSUPPORTED,
                    "'is_causal' false: a decoder that is not causal is not "
                    "supported");
    c->qkv_bias = c->arch == DECODER_ARCH_QWEN2 || attention;
    c->o_bias = attention;
    c->qk_norm = c->arch == DECODER_ARCH_QWEN3;
    return e;
}

// Where the windowed layers begin: layer_types says it for each layer, and what the forward pass
// knows is full attention up to a layer and windows from there on.
static enum err read_layer_types(const cJSON *list, struct decoder_config *c, size_t *from,
                                 struct errmsg *msg) {
    const cJSON *item;
    size_t i = 0;
    *from = c->layers;
    if (!cJSON_IsArray(list) || (size_t)cJSON_GetArraySize(list) != c->layers)
        return err_set(msg, ERR_INVALID, "'layer_types' must be an array of %zu strings",
                       c->layers);
    cJSON_ArrayForEach(item, list) {
        const char *type = cJSON_IsString(item) ? item->valuestring : "";
        bool sliding = strcmp(type, "sliding_attention") == 0;
        if (!sliding && strcmp(type, "full_attention") != 0)
            return err_set(msg, ERR_UNSUPPORTED,
                           "layer_types[%zu] '%.64s' is not supported (full_attention, "
                           "sliding_attention are)",
                           i, type);
        if (sliding && *from == c->layers)
            *from = i;
        else if (!sliding && *from < c->layers)
            return err_set(msg, ERR_UNSUPPORTED,
                           "layer_types[%zu] is full_attention behind sliding_attention, which is "
                           "not supported",
                           i);
        i++;
    }
    return ERR_OK;
}

static enum err read_window(const cJSON *root, struct decoder_config *c, struct errmsg *msg) {
    if (c->arch == DECODER_ARCH_LLAMA)
        return ERR_OK;
    bool qwen = c->arch != DECODER_ARCH_MISTRAL, use = true;
    enum err e = ERR_OK;
    if (qwen)
        e = json_get_bool(root, "use_sliding_window", false, &use, msg);
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(root, "sliding_window");
    int64_t window = 0, from = 0;
    if (!e && use && !cJSON_IsNull(item))
        e = json_get_int(root, "sliding_window", 1, INT32_MAX, defaults_of[c->arch].window, &window,
                         msg);
    if (!e && qwen && use)
        e = json_get_int(root, "max_window_layers", 0, DECODER_MAX_LAYERS, 28, &from, msg);
    const cJSON *types = json_get(root, "layer_types");
    size_t first = window > 0 && (size_t)from < c->layers ? (size_t)from : c->layers;
    if (!e && types) // a Mistral that has them is a Ministral to transformers, which reads them
        e = read_layer_types(types, c, &first, msg);
    if (e)
        return e;
    if (first < c->layers && window == 0)
        return err_set(msg, ERR_INVALID,
                       "'layer_types' has sliding_attention, but no "
                       "'sliding_window' is used");
    c->window = first < c->layers ? (size_t)window : 0;
    c->window_from = c->window ? first : 0;
    return ERR_OK;
}

static enum err read_rope_type(const cJSON *dict, enum rope_scaling *out, struct errmsg *msg) {
    static const char *const names[] = {[ROPE_SCALING_NONE] = "default",
                                        [ROPE_SCALING_LINEAR] = "linear",
                                        [ROPE_SCALING_LLAMA3] = "llama3",
                                        [ROPE_SCALING_YARN] = "yarn"};
    const char *name;
    enum err e = json_get_string(dict, json_get(dict, "rope_type") ? "rope_type" : "type",
                                 "default", &name, msg);
    if (e)
        return e;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(names[i], name) == 0) {
            *out = (enum rope_scaling)i;
            return ERR_OK;
        }
    return err_set(msg, ERR_UNSUPPORTED,
                   "rope type '%.64s' is not supported (default, linear, llama3, yarn are)", name);
}

static enum err read_original(const cJSON *root, const cJSON *dict, const struct decoder_config *c,
                              size_t *out, struct errmsg *msg) {
    static const char key[] = "original_max_position_embeddings";
    return read_count(json_get(root, key) ? root : dict, key, DECODER_MAX_POSITIONS,
                      (int64_t)c->max_positions, out, msg);
}

static enum err read_yarn(const cJSON *dict, struct rope_config *r, struct errmsg *msg) {
    enum err e = json_get_double(dict, "beta_fast", 0, 1e6, 32, &r->beta_fast, msg);
    if (!e)
        e = json_get_double(dict, "beta_slow", 0, 1e6, 1, &r->beta_slow, msg);
    if (!e)
        e = json_get_double(dict, "attention_factor", 1e-6, 1e6, 0, &r->attention_factor, msg);
    if (!e)
        e = json_get_double(dict, "mscale", 0, 1e6, 0, &r->mscale, msg);
    if (!e)
        e = json_get_double(dict, "mscale_all_dim", 0, 1e6, 0, &r->mscale_all_dim, msg);
    if (!e)
        e = json_get_bool(dict, "truncate", true, &r->truncate, msg);
    // zero counts as absent there
    r->beta_fast = r->beta_fast > 0 ? r->beta_fast : 32;
    r->beta_slow = r->beta_slow > 0 ? r->beta_slow : 1;
    return e;
}

static enum err read_scaling(const cJSON *root, const cJSON *dict, struct decoder_config *c,
                             struct errmsg *msg) {
    struct rope_config *r = &c->rope;
    enum err e = read_rope_type(dict, &r->scaling, msg);
    if (e || r->scaling == ROPE_SCALING_NONE)
        return e;
    if (r->scaling != ROPE_SCALING_LINEAR)
        e = read_original(root, dict, c, &r->original_max_positions, msg);
    double factor = 0; // yarn's may be null: how far the context was stretched
    if (!e && r->scaling == ROPE_SCALING_YARN)
        factor = fmax((double)c->max_positions / (double)r->original_max_positions, 1);
    if (!e)
        e = json_get_double(dict, "factor", 1, DECODER_MAX_FACTOR, factor, &r->factor, msg);
    if (!e && r->factor < 1)
        e = err_set(msg, ERR_INVALID, "'factor' of rope scaling is missing");
    if (!e && r->scaling == ROPE_SCALING_YARN)
        e = read_yarn(dict, r, msg);
    if (e || r->scaling != ROPE_SCALING_LLAMA3)
        return e;
    e = json_get_double(dict, "low_freq_factor", 1e-6, 1e6, 0, &r->low_freq_factor, msg);
    if (!e)
        e = json_get_double(dict, "high_freq_factor", 1e-6, 1e6, 0, &r->high_freq_factor, msg);
    if (!e && !(r->low_freq_factor > 0 && r->high_freq_factor > r->low_freq_factor))
        e = err_set(msg, ERR_INVALID,
                    "'low_freq_factor' (%g) must be there and below 'high_freq_factor' (%g)",
                    r->low_freq_factor, r->high_freq_factor);
    return e;
}

// transformers 4: rope_theta, and rope_scaling or null; 5: rope_parameters with both.
static enum err read_rope(const cJSON *root, struct decoder_config *c, struct errmsg *msg) {
    const cJSON *dict = json_get(root, "rope_scaling"), *item;
    if (!dict || (cJSON_IsObject(dict) && !dict->child))
        dict = json_get(root, "rope_parameters");
    if (dict && !cJSON_IsObject(dict))
        return err_set(msg, ERR_INVALID, "'rope_scaling' and 'rope_parameters' must be objects");
    cJSON_ArrayForEach(item, dict) {
        if (cJSON_IsObject(item))
            return err_set(msg, ERR_UNSUPPORTED,
                           "rope_parameters by layer type ('%.64s') are not supported",
                           item->string);
    }
    double rotary;
    enum err e = json_get_double(json_get(dict, "rope_theta") ? dict : root, "rope_theta",
                                 DECODER_MIN_THETA, DECODER_MAX_THETA, 1e4, &c->rope.theta, msg);
    if (!e)
        e = json_get_double(json_get(dict, "partial_rotary_factor") ? dict : root,
                            "partial_rotary_factor", 0, 1, 1, &rotary, msg);
    if (!e && rotary < 1)
        e = err_set(msg, ERR_UNSUPPORTED, "partial_rotary_factor %g is not supported (1 is)",
                    rotary);
    if (e || !dict)
        return e;
    return read_scaling(root, dict, c, msg);
}

enum err decoder_config_finish(struct decoder_config *c, struct errmsg *msg) {
    const struct rope_config *r = &c->rope;
    if (c->head_dim == 0) {
        if (c->hidden % c->heads != 0)
            return err_set(msg, ERR_INVALID,
                           "%zu attention heads do not divide the hidden size %zu", c->heads,
                           c->hidden);
        c->head_dim = c->hidden / c->heads;
    }
    if (c->heads % c->kv_heads != 0)
        return err_set(msg, ERR_INVALID, "%zu key/value heads do not divide %zu attention heads",
                       c->kv_heads, c->heads);
    if (c->head_dim % 2 != 0 || c->head_dim > DECODER_MAX_HEAD_DIM)
        return err_set(msg, ERR_INVALID, "a head's size is %zu: even ones up to %d are taken",
                       c->head_dim, DECODER_MAX_HEAD_DIM);
    double stretched = (double)r->original_max_positions * r->factor;
    if (r->scaling == ROPE_SCALING_YARN && stretched > (double)c->max_positions)
        c->max_positions =
            stretched < DECODER_MAX_POSITIONS ? (size_t)stretched : DECODER_MAX_POSITIONS;
    return ERR_OK;
}

static enum err read_config(const char *name, const cJSON *root, struct decoder_config *out,
                            struct errmsg *msg) {
    enum err e = cJSON_IsObject(root) ? ERR_OK : err_set(msg, ERR_INVALID, "not a JSON object");
    if (!e)
        e = read_architecture(root, out, msg);
    if (!e)
        e = check_type(root, out, msg);
    if (!e)
        e = key_rules_check(config_keys_decoder(out->arch), root, msg);
    if (!e)
        e = read_shapes(root, out, msg);
    if (!e)
        e = read_flags(root, out, msg);
    if (!e)
        e = read_window(root, out, msg);
    if (!e)
        e = read_rope(root, out, msg);
    if (!e)
        e = decoder_config_finish(out, msg);
    return e ? err_prefix(msg, e, "%s", name) : ERR_OK;
}

static enum err load_gguf(const char *path, struct decoder_config *out, struct errmsg *msg) {
    struct gguf *g;
    enum err e = gguf_open(path, &g, msg);
    if (!e)
        e = decoder_config_read_gguf(g, out, msg);
    gguf_close(g);
    return e;
}

static enum err parse_folder(const char *folder, cJSON **root, char **path, struct errmsg *msg) {
    *root = NULL;
    *path = file_join(folder, "config.json");
    if (!*path)
        return err_set(msg, ERR_NOMEM, "%s: no memory to open config.json", folder);
    return json_parse_file(*path, MAX_CONFIG_BYTES, root, msg);
}

enum err decoder_config_load(const char *path, struct decoder_config *out, struct errmsg *msg) {
    cJSON *root;
    char *file;
    *out = (struct decoder_config){0};
    if (file_exists(path) && !file_is_dir(path))
        return load_gguf(path, out, msg);
    enum err e = parse_folder(path, &root, &file, msg);
    if (!e)
        e = read_config(file, root, out, msg);
    cJSON_Delete(root);
    mem_free(file);
    return e;
}

enum err decoder_config_parse(const char *name, const char *text, size_t len,
                              struct decoder_config *out, struct errmsg *msg) {
    cJSON *root;
    *out = (struct decoder_config){0};
    enum err e = json_parse(text, len, &json_limits_file, &root, NULL, msg);
    if (e)
        return err_prefix(msg, e, "%s", name);
    e = read_config(name, root, out, msg);
    cJSON_Delete(root);
    return e;
}

static bool gguf_is_decoder(const char *path) {
    static const char *const names[] = {"qwen2", "qwen3", "llama"};
    struct gguf *g;
    if (gguf_open(path, &g, NULL))
        return false;
    struct gguf_keys k = {.g = g, .arch = ""};
    gguf_keys_choose(&k, names, sizeof names / sizeof *names, "");
    gguf_close(g);
    return k.failed == ERR_OK;
}

// One that cannot be run counts as a decoder too, so that its refusal says which decoders can.
static bool names_decoder(const cJSON *root) {
    struct decoder_config c;
    const cJSON *list = json_get(root, "architectures");
    static const char suffix[] = "ForCausalLM";
    if (read_architecture(root, &c, NULL) == ERR_OK)
        return true;
    const char *name =
        cJSON_IsArray(list) && cJSON_IsString(list->child) ? list->child->valuestring : "";
    size_t n = strlen(name), m = sizeof suffix - 1;
    return n > m && strcmp(name + n - m, suffix) == 0;
}

bool decoder_config_is_decoder(const char *path) {
    cJSON *root;
    char *file;
    if (file_exists(path) && !file_is_dir(path))
        return gguf_is_decoder(path);
    bool is = parse_folder(path, &root, &file, NULL) == ERR_OK && cJSON_IsObject(root) &&
              names_decoder(root);
    cJSON_Delete(root);
    mem_free(file);
    return is;
}
