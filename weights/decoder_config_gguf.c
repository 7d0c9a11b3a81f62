// See decoder_config.h: a GGUF file's metadata, and what its tensors' names say beyond it.
// Source followed: gguf-py's constants.py, and llama.cpp for what an absent key stands for and for
// keys that these architectures do not read (a sliding window).
#include "weights/decoder_config_internal.h"
#include "weights/gguf_keys.h"
#include "weights/gguf_rules.h"

#include <stdio.h>
#include <string.h>

static void read_architecture(struct gguf_keys *k, struct decoder_config *c) {
    static const char *const names[] = {"qwen2", "qwen3", "llama"};
    static const enum decoder_arch archs[] = {DECODER_ARCH_QWEN2, DECODER_ARCH_QWEN3,
                                              DECODER_ARCH_LLAMA};
    size_t i = gguf_keys_choose(k, names, 3, "qwen2, qwen3, llama are, and bert as an encoder");
    c->arch = archs[i];
    snprintf(c->architecture, sizeof c->architecture, "%s", k->arch);
}

static void read_shapes(struct gguf_keys *k, struct decoder_config *c) {
    c->hidden = gguf_keys_count(k, "embedding_length", DECODER_MAX_HIDDEN, 0);
    c->layers = gguf_keys_count(k, "block_count", DECODER_MAX_LAYERS, 0);
    c->ffn = gguf_keys_count(k, "feed_forward_length", DECODER_MAX_FFN, 0);
    c->heads = gguf_keys_count(k, "attention.head_count", DECODER_MAX_HIDDEN, 0);
    c->kv_heads = gguf_keys_count(k, "attention.head_count_kv", DECODER_MAX_HIDDEN, c->heads);
    c->max_positions = gguf_keys_count(k, "context_length", DECODER_MAX_POSITIONS, 0);
    if (k->failed)
        return;
    size_t even = c->hidden / c->heads;
    c->head_dim = gguf_keys_count(k, "attention.key_length", DECODER_MAX_HEAD_DIM, even);
    size_t value = gguf_keys_count(k, "attention.value_length", DECODER_MAX_HEAD_DIM, c->head_dim);
    size_t rotated = gguf_keys_count(k, "rope.dimension_count", DECODER_MAX_HEAD_DIM, c->head_dim);
    if (!k->failed && (value != c->head_dim || rotated != c->head_dim))
        k->failed = err_set(k->msg, ERR_UNSUPPORTED,
                            "%s: attention.key_length %zu, attention.value_length %zu and "
                            "rope.dimension_count %zu differ, which is not supported",
                            gguf_path(k->g), c->head_dim, value, rotated);
    c->norm_eps = (float)gguf_keys_float(k, "attention.layer_norm_rms_epsilon", 1e-30, 0.1, 0);
    if (!k->failed && !(c->norm_eps > 0))
        k->failed =
            err_set(k->msg, ERR_INVALID, "%s: key '%s.attention.layer_norm_rms_epsilon' is missing",
                    gguf_path(k->g), k->arch);
}

static void refuse_variants(struct gguf_keys *k) {
    char key[GGUF_KEY_SIZE];
    int64_t experts = 0;
    gguf_keys_expect(k, "attention.causal", true, "a decoder that is not causal is not supported");
    if (k->failed)
        return;
    gguf_keys_name(k, "expert_count", key);
    k->failed = gguf_get_int(k->g, key, 0, INT32_MAX, 0, &experts, k->msg);
    if (!k->failed && experts > 0)
        k->failed =
            err_set(k->msg, ERR_UNSUPPORTED, "%s: key '%s': a mixture of experts is not supported",
                    gguf_path(k->g), key);
}

// Of yarn's knobs, those that transformers has no like of must stand where they change nothing.
static void read_yarn(struct gguf_keys *k, struct decoder_config *c) {
    struct rope_config *rope = &c->rope;
    rope->original_max_positions = gguf_keys_count(k, "rope.scaling.original_context_length",
                                                   DECODER_MAX_POSITIONS, c->max_positions);
    rope->beta_fast = gguf_keys_float(k, "rope.scaling.yarn_beta_fast", 1e-6, 1e6, 32);
    rope->beta_slow = gguf_keys_float(k, "rope.scaling.yarn_beta_slow", 1e-6, 1e6, 1);
    rope->attention_factor = gguf_keys_float(k, "rope.scaling.yarn_attn_factor", 1e-6, 1e6, 0);
    rope->truncate = true;
    double ext = gguf_keys_float(k, "rope.scaling.yarn_ext_factor", -1e6, 1e6, 1);
    double attn = gguf_keys_float(k, "rope.scaling.attn_factor", -1e6, 1e6, 1);
    double log = gguf_keys_float(k, "rope.scaling.yarn_log_multiplier", -1e6, 1e6, 0);
    if (!k->failed &&
        (ext > 1 || (ext < 1 && ext >= 0) || attn < 1 || attn > 1 || log > 0 || log < 0))
        k->failed = err_set(k->msg, ERR_UNSUPPORTED,
                            "%s: keys '%s.rope.scaling.yarn_ext_factor', '.attn_factor' and "
                            "'.yarn_log_multiplier' are supported at 1, 1 and 0, not at %g, %g and "
                            "%g",
                            gguf_path(k->g), k->arch, ext, attn, log);
}

static void read_rope(struct gguf_keys *k, struct decoder_config *c) {
    struct rope_config *rope = &c->rope;
    struct gguf_string type = {0};
    char key[GGUF_KEY_SIZE];
    rope->theta = gguf_keys_float(k, "rope.freq_base", DECODER_MIN_THETA, DECODER_MAX_THETA, 1e4);
    double old = gguf_keys_float(k, "rope.scale_linear", 0, DECODER_MAX_FACTOR, 0);
    // 0 counts as absent
    rope->factor = gguf_keys_float(k, "rope.scaling.factor", 0, DECODER_MAX_FACTOR, old);
    gguf_keys_name(k, "rope.scaling.type", key);
    if (!k->failed)
        k->failed = gguf_get_string(k->g, key, &type, k->msg);
    if (k->failed)
        return;
    bool scaled = rope->factor > 0 && (rope->factor < 1 || rope->factor > 1);
    if (gguf_string_is(type, "none"))
        rope->scaling = ROPE_SCALING_NONE;
    else if (gguf_string_is(type, "yarn"))
        rope->scaling = ROPE_SCALING_YARN;
    else if (!type.bytes || gguf_string_is(type, "linear"))
        rope->scaling = scaled ? ROPE_SCALING_LINEAR : ROPE_SCALING_NONE;
    else
        k->failed = err_set(k->msg, ERR_UNSUPPORTED,
                            "%s: key '%s': '%.*s' is not supported (none, linear, yarn are)",
                            gguf_path(k->g), key, (int)(type.len < 64 ? type.len : 64), type.bytes);
    if (!k->failed && rope->scaling != ROPE_SCALING_NONE && rope->factor < 1)
        k->failed =
            err_set(k->msg, ERR_INVALID, "%s: '%s.rope.scaling.factor' is %g, not 1 or more",
                    gguf_path(k->g), k->arch, rope->factor);
    if (rope->scaling == ROPE_SCALING_YARN)
        read_yarn(k, c);
    if (rope->scaling == ROPE_SCALING_NONE)
        rope->factor = 0;
}

static void read_tensors(struct gguf_keys *k, struct decoder_config *c) {
    struct tensor t;
    char key[GGUF_KEY_SIZE];
    int64_t pooling = 0;
    c->vocab = gguf_keys_rows(k, "token_embd.weight", DECODER_MAX_VOCAB);
    if (k->failed)
        return;
    c->tied = !gguf_find_tensor(k->g, "output.weight", &t);
    c->qkv_bias = gguf_find_tensor(k->g, "blk.0.attn_q.bias", &t);
    c->o_bias = gguf_find_tensor(k->g, "blk.0.attn_output.bias", &t);
    c->mlp_bias = gguf_find_tensor(k->g, "blk.0.ffn_up.bias", &t);
    c->qk_norm = c->arch == DECODER_ARCH_QWEN3;
    // a file that pools its hidden states (1 to 3: mean, first, last) was made of an embedder
    gguf_keys_name(k, "pooling_type", key);
    k->failed = gguf_get_int(k->g, key, 0, INT32_MAX, 0, &pooling, k->msg);
    c->causal_lm = pooling < 1 || pooling > 3;
}

enum err decoder_config_read_gguf(const struct gguf *g, struct decoder_config *out,
                                  struct errmsg *msg) {
    struct gguf_keys k = {.g = g, .arch = "", .msg = msg};
    read_architecture(&k, out);
    if (!k.failed)
        k.failed = gguf_rules_check(g, msg);
    read_shapes(&k, out);
    refuse_variants(&k);
    read_rope(&k, out);
    read_tensors(&k, out);
    if (k.failed)
        return k.failed;
    enum err e = decoder_config_finish(out, msg);
    return e ? err_prefix(msg, e, "%s", gguf_path(g)) : ERR_OK;
}
