// See decoder_config.h: a GGUF file's metadata, and what its tensors' names say beyond it.
// Source followed: gguf-py's constants.py, and llama.cpp for what an absent key stands for and for
// keys that these architectures do not read (a sliding window).
#include "weights/decoder_config_internal.h"
#include "weights/gguf_keys.h"
#include "weights/gguf_rules.h"

#include <stdio.h>
#include <string.h>

static const char *const names[] = {"qwen2", "qwen3", "llama"};
enum { NAMES = sizeof names / sizeof *names };

bool decoder_config_is_gguf(const struct gguf *g) {
    struct gguf_keys k = {.g = g, .arch = ""};
    gguf_keys_choose(&k, names, NAMES, "");
    return k.failed == ERR_OK;
}

static void read_architecture(struct gguf_keys *k, struct decoder_config *c) {
    static const enum decoder_arch archs[NAMES] = {DECODER_ARCH_QWEN2, DECODER_ARCH_QWEN3,
                                                   DECODER_ARCH_LLAMA};
    size_t i = gguf_keys_choose(k, names, NAMES, "qwen2, qwen3, llama are, and bert as an encoder");
    c->arch = archs[i];
    snprintf(c->architecture, sizeof c->architecture, "%s", k->arch);
}

static void derive_shapes(struct gguf_keys *k, const struct decoder_said *said,
                          struct decoder_config *c) {
    if (k->failed)
        return;
    if (c->head_dim == 0)
        c->head_dim = c->hidden / c->heads;
    size_t value = said->value_dim ? said->value_dim : c->head_dim;
    size_t rotated = said->rotated_dim ? said->rotated_dim : c->head_dim;
    if (value != c->head_dim || rotated != c->head_dim)
        k->failed = err_set(k->msg, ERR_UNSUPPORTED,
                            "%s: attention.key_length %zu, attention.value_length %zu and "
                            "rope.dimension_count %zu differ, which is not supported",
                            gguf_path(k->g), c->head_dim, value, rotated);
}

// Of yarn's knobs, those that transformers has no like of must stand where they change nothing.
static void read_yarn(struct gguf_keys *k, struct decoder_said *said) {
    struct decoder_rope *rope = &said->config.rope;
    rope->original_max_positions = said->config.max_positions;
    rope->truncate = true;
    gguf_keys_read(k, &decoder_config_gguf_yarn_keys, said);
    double ext = said->yarn_ext, attn = said->yarn_attn, log = said->yarn_log;
    if (!k->failed &&
        (ext > 1 || (ext < 1 && ext >= 0) || attn < 1 || attn > 1 || log > 0 || log < 0))
        k->failed = err_set(k->msg, ERR_UNSUPPORTED,
                            "%s: keys '%s.rope.scaling.yarn_ext_factor', '.attn_factor' and "
                            "'.yarn_log_multiplier' are supported at 1, 1 and 0, not at %g, %g and "
                            "%g",
                            gguf_path(k->g), k->arch, ext, attn, log);
}

static void derive_rope(struct gguf_keys *k, struct decoder_said *said) {
    struct decoder_rope *rope = &said->config.rope;
    if (k->failed)
        return;
    bool scaled = rope->factor > 0 && (rope->factor < 1 || rope->factor > 1);
    if (said->gguf_rope == DECODER_GGUF_ROPE_YARN)
        rope->scaling = DECODER_ROPE_YARN;
    else if (said->gguf_rope != DECODER_GGUF_ROPE_NONE && scaled)
        rope->scaling = DECODER_ROPE_LINEAR;
    if (rope->scaling != DECODER_ROPE_NONE && rope->factor < 1)
        k->failed =
            err_set(k->msg, ERR_INVALID, "%s: '%s.rope.scaling.factor' is %g, not 1 or more",
                    gguf_path(k->g), k->arch, rope->factor);
    if (rope->scaling == DECODER_ROPE_YARN)
        read_yarn(k, said);
    if (rope->scaling == DECODER_ROPE_NONE)
        rope->factor = 0;
}

// What no key says.
static void read_tensors(struct gguf_keys *k, struct decoder_config *c) {
    struct tensor t;
    c->vocab = gguf_keys_rows(k, "token_embd.weight", DECODER_MAX_VOCAB);
    if (k->failed)
        return;
    c->tied = !gguf_find_tensor(k->g, "output.weight", &t);
    c->qkv_bias = gguf_find_tensor(k->g, "blk.0.attn_q.bias", &t);
    c->o_bias = gguf_find_tensor(k->g, "blk.0.attn_output.bias", &t);
    c->mlp_bias = gguf_find_tensor(k->g, "blk.0.ffn_up.bias", &t);
    c->qk_norm = c->arch == DECODER_ARCH_QWEN3;
}

enum err decoder_config_read_gguf(const struct gguf *g, struct decoder_config *out,
                                  struct errmsg *msg) {
    struct gguf_keys k = {.g = g, .arch = "", .msg = msg};
    struct decoder_said said = {0};
    struct decoder_config *c = &said.config;
    read_architecture(&k, c);
    if (!k.failed)
        k.failed = gguf_rules_check(g, &decoder_config_gguf_keys, msg);
    gguf_keys_read(&k, &decoder_config_gguf_keys, &said);
    derive_shapes(&k, &said, c);
    derive_rope(&k, &said);
    read_tensors(&k, c);
    if (k.failed)
        return k.failed;
    // a file that pools its hidden states (1 to 3: mean, first, last) was made of an embedder
    c->causal_lm = said.pooling < 1 || said.pooling > 3;
    enum err e = decoder_config_finish(c, msg);
    *out = *c;
    return e ? err_prefix(msg, e, "%s", gguf_path(g)) : ERR_OK;
}
