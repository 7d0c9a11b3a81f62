// See decoder_config.h: config.json. Its keys, and what an absent one stands for, are tables
// (decoder_config_keys.c); here is what follows from them. What shapes can show wrong is then
// checked against the tensors. Source followed: transformers modeling_rope_utils.py
// (RotaryEmbeddingConfigMixin).
#include "weights/decoder_config.h"

#include "base/file.h"
#include "base/json.h"
#include "base/mem.h"
#include "weights/architectures.h"
#include "weights/decoder_config_internal.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { MAX_CONFIG_BYTES = 16 << 20 };
enum { HEAD_NONE, HEAD_LANGUAGE };

static const struct architecture known[] = {
    {"Qwen2ForCausalLM", "qwen2", DECODER_ARCH_QWEN2, HEAD_LANGUAGE},
    {"Qwen3ForCausalLM", "qwen3", DECODER_ARCH_QWEN3, HEAD_LANGUAGE},
    {"LlamaForCausalLM", "llama", DECODER_ARCH_LLAMA, HEAD_LANGUAGE},
    {"MistralForCausalLM", "mistral", DECODER_ARCH_MISTRAL, HEAD_LANGUAGE},
    {"Qwen2Model", NULL, DECODER_ARCH_QWEN2, HEAD_NONE},
    {"Qwen3Model", NULL, DECODER_ARCH_QWEN3, HEAD_NONE},
    {"LlamaModel", NULL, DECODER_ARCH_LLAMA, HEAD_NONE},
    {"MistralModel", NULL, DECODER_ARCH_MISTRAL, HEAD_NONE},
};
#define SUPPORTED                                                                                  \
    "Qwen2ForCausalLM, Qwen3ForCausalLM, LlamaForCausalLM, MistralForCausalLM, Qwen2Model, "       \
    "Qwen3Model, LlamaModel, MistralModel"
static const struct architectures architectures = {known, sizeof known / sizeof *known, SUPPORTED,
                                                   SUPPORTED};

// What is fixed in the code of an architecture, and no key says.
static const struct {
    bool qkv_bias, qk_norm;
} fixed_of[] = {
    [DECODER_ARCH_QWEN2] = {.qkv_bias = true},
    [DECODER_ARCH_QWEN3] = {.qk_norm = true},
    [DECODER_ARCH_LLAMA] = {0},
    [DECODER_ARCH_MISTRAL] = {0},
};

bool decoder_config_arch(const cJSON *root, enum decoder_arch *out) {
    const struct architecture *a;
    if (architectures_find(&architectures, root, &a, NULL))
        return false;
    *out = (enum decoder_arch)a->arch;
    return true;
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

static enum err derive_window(const struct decoder_said *said, struct decoder_config *c,
                              struct errmsg *msg) {
    size_t first = c->window > 0 && c->window_from < c->layers ? c->window_from : c->layers;
    enum err e = said->layer_types ? read_layer_types(said->layer_types, c, &first, msg) : ERR_OK;
    if (e)
        return e;
    if (first < c->layers && c->window == 0)
        return err_set(msg, ERR_INVALID,
                       "'layer_types' has sliding_attention, but no "
                       "'sliding_window' is used");
    c->window = first < c->layers ? c->window : 0;
    c->window_from = c->window ? first : 0;
    return ERR_OK;
}

static enum err read_scaling(const cJSON *root, const cJSON *dict, struct decoder_said *said,
                             struct errmsg *msg) {
    struct decoder_rope *r = &said->config.rope;
    size_t positions = said->config.max_positions;
    enum err e = key_rules_read(&decoder_rope_keys, dict, NULL, said, msg);
    if (e || r->scaling == DECODER_ROPE_NONE)
        return e;
    if (r->scaling != DECODER_ROPE_LINEAR) {
        r->original_max_positions = positions;
        e = key_rules_read(&decoder_rope_original_keys, root, dict, said, msg);
    }
    if (!e && r->scaling == DECODER_ROPE_YARN) // may be null: how far the context was stretched
        r->factor = fmax((double)positions / (double)r->original_max_positions, 1);
    if (!e)
        e = key_rules_read(&decoder_rope_factor_keys, dict, NULL, said, msg);
    if (!e && r->factor < 1)
        e = err_set(msg, ERR_INVALID, "'factor' of rope scaling is missing");
    if (!e && r->scaling == DECODER_ROPE_YARN) {
        e = key_rules_read(&decoder_rope_yarn_keys, dict, NULL, said, msg);
        // zero counts as absent there
        r->beta_fast = r->beta_fast > 0 ? r->beta_fast : 32;
        r->beta_slow = r->beta_slow > 0 ? r->beta_slow : 1;
    }
    if (e || r->scaling != DECODER_ROPE_LLAMA3)
        return e;
    e = key_rules_read(&decoder_rope_llama3_keys, dict, NULL, said, msg);
    if (!e && !(r->low_freq_factor > 0 && r->high_freq_factor > r->low_freq_factor))
        e = err_set(msg, ERR_INVALID,
                    "'low_freq_factor' (%g) must be there and below 'high_freq_factor' (%g)",
                    r->low_freq_factor, r->high_freq_factor);
    return e;
}

// transformers 4: rope_theta, and rope_scaling or null; 5: rope_parameters with both.
static enum err read_rope(const cJSON *root, struct decoder_said *said, struct errmsg *msg) {
    const cJSON *dict = said->rope_scaling, *item;
    if (!dict || (cJSON_IsObject(dict) && !dict->child))
        dict = said->rope_parameters;
    if (dict && !cJSON_IsObject(dict))
        return err_set(msg, ERR_INVALID, "'rope_scaling' and 'rope_parameters' must be objects");
    cJSON_ArrayForEach(item, dict) {
        if (cJSON_IsObject(item))
            return err_set(msg, ERR_UNSUPPORTED,
                           "rope_parameters by layer type ('%.64s') are not supported",
                           item->string);
    }
    enum err e = key_rules_read(&decoder_rope_turn_keys, dict, root, said, msg);
    if (!e && said->rotary_share < 1)
        e = err_set(msg, ERR_UNSUPPORTED, "partial_rotary_factor %g is not supported (1 is)",
                    said->rotary_share);
    return e || !dict ? e : read_scaling(root, dict, said, msg);
}

enum err decoder_config_finish(struct decoder_config *c, struct errmsg *msg) {
    const struct decoder_rope *r = &c->rope;
    if (c->kv_heads == 0)
        c->kv_heads = c->heads;
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
    if (r->scaling == DECODER_ROPE_YARN && stretched > (double)c->max_positions)
        c->max_positions =
            stretched < DECODER_MAX_POSITIONS ? (size_t)stretched : DECODER_MAX_POSITIONS;
    return ERR_OK;
}

static enum err read_said(const cJSON *root, struct decoder_said *said, struct errmsg *msg) {
    struct decoder_config *c = &said->config;
    const struct architecture *a = NULL;
    enum err e = architectures_read(&architectures, root, &a, msg);
    if (e)
        return e;
    c->arch = (enum decoder_arch)a->arch;
    c->causal_lm = a->head == HEAD_LANGUAGE;
    snprintf(c->architecture, sizeof c->architecture, "%s", a->name);
    e = key_rules_check(decoder_config_keys(c->arch), root, msg);
    return e ? e : key_rules_read(decoder_config_keys(c->arch), root, NULL, said, msg);
}

static enum err read_config(const char *name, const cJSON *root, struct decoder_config *out,
                            struct errmsg *msg) {
    struct decoder_said said = {0};
    struct decoder_config *c = &said.config;
    enum err e = read_said(root, &said, msg);
    if (e)
        return err_prefix(msg, e, "%s", name);
    c->qkv_bias = fixed_of[c->arch].qkv_bias || said.attention_bias;
    c->o_bias = said.attention_bias;
    c->qk_norm = fixed_of[c->arch].qk_norm;
    e = derive_window(&said, c, msg);
    if (!e)
        e = read_rope(root, &said, msg);
    if (!e)
        e = decoder_config_finish(c, msg);
    *out = *c;
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
    struct gguf *g;
    if (gguf_open(path, &g, NULL))
        return false;
    bool is = decoder_config_is_gguf(g);
    gguf_close(g);
    return is;
}

// One that cannot be run counts as a decoder too, so that its refusal says which decoders can.
static bool names_decoder(const cJSON *root) {
    enum decoder_arch arch;
    static const char suffix[] = "ForCausalLM";
    if (decoder_config_arch(root, &arch))
        return true;
    const char *name = architectures_name(root);
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

// What multiplies, divides or shifts: none is near where a double ends.
static bool rope_in_range(const struct decoder_rope *r) {
    const double any[] = {r->factor,    r->low_freq_factor, r->high_freq_factor,
                          r->beta_fast, r->beta_slow,       r->attention_factor,
                          r->mscale,    r->mscale_all_dim};
    for (size_t i = 0; i < sizeof any / sizeof *any; i++)
        if (!(fabs(any[i]) <= 1e15))
            return false;
    bool llama3 = r->scaling == DECODER_ROPE_LLAMA3;
    return r->scaling <= DECODER_ROPE_YARN && r->theta >= DECODER_MIN_THETA &&
           r->theta <= DECODER_MAX_THETA && (r->scaling == DECODER_ROPE_NONE || r->factor >= 1) &&
           (!llama3 || (r->low_freq_factor > 0 && r->high_freq_factor > r->low_freq_factor)) &&
           r->original_max_positions <= DECODER_MAX_POSITIONS;
}

bool decoder_config_in_range(const struct decoder_config *c) {
    return c->arch <= DECODER_ARCH_MISTRAL && c->hidden >= 1 && c->hidden <= DECODER_MAX_HIDDEN &&
           c->layers >= 1 && c->layers <= DECODER_MAX_LAYERS && c->heads >= 1 &&
           c->heads <= DECODER_MAX_HIDDEN && c->kv_heads >= 1 && c->heads % c->kv_heads == 0 &&
           c->head_dim >= 2 && c->head_dim % 2 == 0 && c->head_dim <= DECODER_MAX_HEAD_DIM &&
           c->ffn >= 1 && c->ffn <= DECODER_MAX_FFN && c->vocab >= 1 &&
           c->vocab <= DECODER_MAX_VOCAB && c->max_positions >= 1 &&
           c->max_positions <= DECODER_MAX_POSITIONS && c->norm_eps > 0 && c->norm_eps < 1 &&
           rope_in_range(&c->rope) && c->window <= INT32_MAX &&
           c->window_from <= DECODER_MAX_LAYERS;
}
