// See decoder_config.h: a GGUF file's metadata, and what its tensors' names say beyond it.
// Source followed: gguf-py's constants.py, and llama.cpp for what an absent key stands for and for
// keys that these architectures do not read (a sliding window).
#include "weights/decoder_config_internal.h"

#include <stdio.h>
#include <string.h>

struct reader {
    const struct gguf *g;
    const char *arch;
    struct errmsg *msg;
    enum err failed; // the first; nothing is read after it
};

static const struct {
    const char *name;
    enum decoder_arch arch;
} architectures[] = {
    {"qwen2", DECODER_ARCH_QWEN2},
    {"qwen3", DECODER_ARCH_QWEN3},
    {"llama", DECODER_ARCH_LLAMA},
};

static void key_of(const struct reader *r, const char *name, char key[96]) {
    snprintf(key, 96, "%s.%s", r->arch, name);
}

// fallback 0: it must be there.
static size_t read_count(struct reader *r, const char *name, int64_t max, size_t fallback) {
    char key[96];
    int64_t v = 0;
    key_of(r, name, key);
    if (r->failed)
        return fallback;
    r->failed = gguf_get_int(r->g, key, 1, max, (int64_t)fallback, &v, r->msg);
    if (!r->failed && v == 0)
        r->failed = err_set(r->msg, ERR_INVALID, "%s: key '%s' is missing", gguf_path(r->g), key);
    return (size_t)v;
}

static double read_float(struct reader *r, const char *name, double min, double max,
                         double fallback) {
    char key[96];
    double v = fallback;
    key_of(r, name, key);
    if (r->failed)
        return fallback;
    r->failed = gguf_get_float(r->g, key, fallback, &v, r->msg);
    if (!r->failed && gguf_has(r->g, key) && !(v >= min && v <= max))
        r->failed = err_set(r->msg, ERR_INVALID, "%s: key '%s': %g is not in %g to %g",
                            gguf_path(r->g), key, v, min, max);
    return v;
}

static bool is(struct gguf_string s, const char *name) {
    return s.bytes && strlen(name) == s.len && memcmp(name, s.bytes, s.len) == 0;
}

static bool find_tensor(const struct gguf *g, const char *name, struct tensor *out) {
    for (size_t i = 0; i < gguf_tensor_count(g); i++) {
        *out = gguf_tensor_at(g, i);
        if (strcmp(out->name, name) == 0)
            return true;
    }
    return false;
}

static enum err read_architecture(struct reader *r, struct decoder_config *c) {
    struct gguf_string a;
    enum err e = gguf_get_string(r->g, "general.architecture", &a, r->msg);
    if (e)
        return e;
    if (!a.bytes)
        return err_set(r->msg, ERR_INVALID, "%s: key 'general.architecture' is missing",
                       gguf_path(r->g));
    for (size_t i = 0; i < sizeof architectures / sizeof *architectures; i++) {
        if (!is(a, architectures[i].name))
            continue;
        r->arch = architectures[i].name;
        c->arch = architectures[i].arch;
        snprintf(c->architecture, sizeof c->architecture, "%s", r->arch);
        return ERR_OK;
    }
    return err_set(r->msg, ERR_UNSUPPORTED,
                   "%s: architecture '%.*s' is not supported (qwen2, qwen3, llama are, and bert "
                   "as an encoder)",
                   gguf_path(r->g), (int)(a.len < 64 ? a.len : 64), a.bytes);
}

static void read_shapes(struct reader *r, struct decoder_config *c) {
    c->hidden = read_count(r, "embedding_length", DECODER_MAX_HIDDEN, 0);
    c->layers = read_count(r, "block_count", DECODER_MAX_LAYERS, 0);
    c->ffn = read_count(r, "feed_forward_length", DECODER_MAX_FFN, 0);
    c->heads = read_count(r, "attention.head_count", DECODER_MAX_HIDDEN, 0);
    c->kv_heads = read_count(r, "attention.head_count_kv", DECODER_MAX_HIDDEN, c->heads);
    c->max_positions = read_count(r, "context_length", DECODER_MAX_POSITIONS, 0);
    if (r->failed)
        return;
    size_t even = c->hidden / c->heads;
    c->head_dim = read_count(r, "attention.key_length", DECODER_MAX_HEAD_DIM, even);
    size_t value = read_count(r, "attention.value_length", DECODER_MAX_HEAD_DIM, c->head_dim);
    size_t rotated = read_count(r, "rope.dimension_count", DECODER_MAX_HEAD_DIM, c->head_dim);
    if (!r->failed && (value != c->head_dim || rotated != c->head_dim))
        r->failed = err_set(r->msg, ERR_UNSUPPORTED,
                            "%s: attention.key_length %zu, attention.value_length %zu and "
                            "rope.dimension_count %zu differ, which is not supported",
                            gguf_path(r->g), c->head_dim, value, rotated);
    c->norm_eps = (float)read_float(r, "attention.layer_norm_rms_epsilon", 1e-30, 0.1, 0);
    if (!r->failed && !(c->norm_eps > 0))
        r->failed =
            err_set(r->msg, ERR_INVALID, "%s: key '%s.attention.layer_norm_rms_epsilon' is missing",
                    gguf_path(r->g), r->arch);
}

static void refuse_variants(struct reader *r) {
    char key[96];
    int64_t experts = 0;
    bool causal = true;
    key_of(r, "expert_count", key);
    if (!r->failed)
        r->failed = gguf_get_int(r->g, key, 0, INT32_MAX, 0, &experts, r->msg);
    if (!r->failed && experts > 0)
        r->failed = err_set(r->msg, ERR_UNSUPPORTED,
                            "%s: key '%s': a mixture of experts is not "
                            "supported",
                            gguf_path(r->g), key);
    key_of(r, "attention.causal", key);
    if (!r->failed)
        r->failed = gguf_get_bool(r->g, key, true, &causal, r->msg);
    if (!r->failed && !causal)
        r->failed = err_set(r->msg, ERR_UNSUPPORTED,
                            "%s: key '%s': a decoder that is not causal is "
                            "not supported",
                            gguf_path(r->g), key);
}

// Of yarn's knobs, those that transformers has no like of must stand where they change nothing.
static void read_yarn(struct reader *r, struct decoder_config *c) {
    struct rope_config *rope = &c->rope;
    rope->original_max_positions = read_count(r, "rope.scaling.original_context_length",
                                              DECODER_MAX_POSITIONS, c->max_positions);
    rope->beta_fast = read_float(r, "rope.scaling.yarn_beta_fast", 1e-6, 1e6, 32);
    rope->beta_slow = read_float(r, "rope.scaling.yarn_beta_slow", 1e-6, 1e6, 1);
    rope->attention_factor = read_float(r, "rope.scaling.yarn_attn_factor", 1e-6, 1e6, 0);
    rope->truncate = true;
    double ext = read_float(r, "rope.scaling.yarn_ext_factor", -1e6, 1e6, 1);
    double attn = read_float(r, "rope.scaling.attn_factor", -1e6, 1e6, 1);
    double log = read_float(r, "rope.scaling.yarn_log_multiplier", -1e6, 1e6, 0);
    if (!r->failed &&
        (ext > 1 || (ext < 1 && ext >= 0) || attn < 1 || attn > 1 || log > 0 || log < 0))
        r->failed = err_set(r->msg, ERR_UNSUPPORTED,
                            "%s: keys '%s.rope.scaling.yarn_ext_factor', '.attn_factor' and "
                            "'.yarn_log_multiplier' are supported at 1, 1 and 0, not at %g, %g and "
                            "%g",
                            gguf_path(r->g), r->arch, ext, attn, log);
}

static void read_rope(struct reader *r, struct decoder_config *c) {
    struct rope_config *rope = &c->rope;
    struct gguf_string type = {0};
    char key[96];
    rope->theta = read_float(r, "rope.freq_base", DECODER_MIN_THETA, DECODER_MAX_THETA, 1e4);
    double old = read_float(r, "rope.scale_linear", 0, DECODER_MAX_FACTOR, 0);
    // 0 counts as absent
    rope->factor = read_float(r, "rope.scaling.factor", 0, DECODER_MAX_FACTOR, old);
    key_of(r, "rope.scaling.type", key);
    if (!r->failed)
        r->failed = gguf_get_string(r->g, key, &type, r->msg);
    if (r->failed)
        return;
    bool scaled = rope->factor > 0 && (rope->factor < 1 || rope->factor > 1);
    if (is(type, "none"))
        scaled = false;
    else if (is(type, "yarn"))
        rope->scaling = ROPE_SCALING_YARN;
    else if (!type.bytes || is(type, "linear"))
        rope->scaling = scaled ? ROPE_SCALING_LINEAR : ROPE_SCALING_NONE;
    else
        r->failed = err_set(r->msg, ERR_UNSUPPORTED,
                            "%s: key '%s': '%.*s' is not supported (none, linear, yarn are)",
                            gguf_path(r->g), key, (int)(type.len < 64 ? type.len : 64), type.bytes);
    if (!r->failed && rope->scaling != ROPE_SCALING_NONE && rope->factor < 1)
        r->failed =
            err_set(r->msg, ERR_INVALID, "%s: '%s.rope.scaling.factor' is %g, not 1 or more",
                    gguf_path(r->g), r->arch, rope->factor);
    if (rope->scaling == ROPE_SCALING_YARN)
        read_yarn(r, c);
    if (rope->scaling == ROPE_SCALING_NONE)
        rope->factor = 0;
}

static void read_tensors(struct reader *r, struct decoder_config *c) {
    struct tensor t;
    char key[96];
    int64_t pooling = 0;
    if (r->failed)
        return;
    if (!find_tensor(r->g, "token_embd.weight", &t) || t.rank != 2) {
        r->failed =
            err_set(r->msg, ERR_INVALID,
                    "%s: tensor 'token_embd.weight' of two dimensions is missing", gguf_path(r->g));
        return;
    }
    if (t.shape[0] > DECODER_MAX_VOCAB) {
        r->failed = err_set(r->msg, ERR_INVALID, "%s: tensor 'token_embd.weight': %zu rows",
                            gguf_path(r->g), t.shape[0]);
        return;
    }
    c->vocab = t.shape[0];
    c->tied = !find_tensor(r->g, "output.weight", &t);
    c->qkv_bias = find_tensor(r->g, "blk.0.attn_q.bias", &t);
    c->o_bias = find_tensor(r->g, "blk.0.attn_output.bias", &t);
    c->mlp_bias = find_tensor(r->g, "blk.0.ffn_up.bias", &t);
    c->qk_norm = c->arch == DECODER_ARCH_QWEN3;
    // a file that pools its hidden states (1 to 3: mean, first, last) was made of an embedder
    key_of(r, "pooling_type", key);
    r->failed = gguf_get_int(r->g, key, 0, INT32_MAX, 0, &pooling, r->msg);
    c->causal_lm = pooling < 1 || pooling > 3;
}

enum err decoder_config_read_gguf(const struct gguf *g, struct decoder_config *out,
                                  struct errmsg *msg) {
    struct reader r = {.g = g, .arch = "", .msg = msg};
    r.failed = read_architecture(&r, out);
    read_shapes(&r, out);
    refuse_variants(&r);
    read_rope(&r, out);
    read_tensors(&r, out);
    if (r.failed)
        return r.failed;
    enum err e = decoder_config_finish(out, msg);
    return e ? err_prefix(msg, e, "%s", gguf_path(g)) : ERR_OK;
}
