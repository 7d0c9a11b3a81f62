// See gguf_rules.h.
#include "weights/gguf_rules.h"

#include <stdio.h>
#include <string.h>

// ---- of every file ----

static const struct key_rule file_list[] = {
    {.name = "general.architecture", .fate = KEY_HONOURED},
    {.name = "general.alignment", .fate = KEY_HONOURED},
    {.name = "general.sampling.temp", .fate = KEY_HONOURED},
    {.name = "general.sampling.top_k", .fate = KEY_HONOURED},
    {.name = "general.sampling.top_p", .fate = KEY_HONOURED},
    {.name = "general.sampling.min_p", .fate = KEY_HONOURED},
    {.name = "general.sampling.penalty_repeat", .fate = KEY_HONOURED},
    {.name = "general.sampling.xtc_probability", .fate = KEY_REFUSED, .neutral = "0"},
    {.name = "general.sampling.mirostat", .fate = KEY_REFUSED, .neutral = "0"},
    {.name = "general.sampling.*", .fate = KEY_NO_EFFECT}, // the order and knobs of the above
    {.name = "general.type", .fate = KEY_REFUSED, .neutral = "\"model\""},
    {.name = "general.*", .fate = KEY_NO_EFFECT},
    {.name = "split.*", .fate = KEY_HONOURED}, // gguf_split.c
    {.name = "quantize.*", .fate = KEY_NO_EFFECT},
    {.name = "imatrix.*", .fate = KEY_NO_EFFECT},
    {.name = "adapter.*", .fate = KEY_REFUSED},
    {.name = "tokenizer.chat_template", .fate = KEY_HONOURED},
    {.name = "tokenizer.chat_template.tool_use", .fate = KEY_HONOURED},
    {.name = "tokenizer.chat_template*", .fate = KEY_NO_EFFECT}, // for other names than those two
    {.name = "tokenizer.huggingface.json", .fate = KEY_NO_EFFECT},
    {.name = "tokenizer.rwkv.world", .fate = KEY_NO_EFFECT},
    {.name = "tokenizer.ggml.model", .fate = KEY_HONOURED},
    {.name = "tokenizer.ggml.pre", .fate = KEY_HONOURED},
    {.name = "tokenizer.ggml.tokens", .fate = KEY_HONOURED},
    {.name = "tokenizer.ggml.token_type", .fate = KEY_HONOURED},
    {.name = "tokenizer.ggml.merges", .fate = KEY_HONOURED},
    {.name = "tokenizer.ggml.bos_token_id", .fate = KEY_HONOURED},
    {.name = "tokenizer.ggml.eos_token_id", .fate = KEY_HONOURED},
    {.name = "tokenizer.ggml.eot_token_id", .fate = KEY_HONOURED},
    {.name = "tokenizer.ggml.eom_token_id", .fate = KEY_HONOURED},
    {.name = "tokenizer.ggml.padding_token_id", .fate = KEY_HONOURED},
    {.name = "tokenizer.ggml.unknown_token_id", .fate = KEY_HONOURED},
    {.name = "tokenizer.ggml.cls_token_id", .fate = KEY_HONOURED},
    {.name = "tokenizer.ggml.seperator_token_id", .fate = KEY_HONOURED}, // so it is spelled
    {.name = "tokenizer.ggml.mask_token_id", .fate = KEY_HONOURED},
    {.name = "tokenizer.ggml.add_bos_token", .fate = KEY_HONOURED},
    {.name = "tokenizer.ggml.add_eos_token", .fate = KEY_HONOURED},
    // of pairs: BERT's always have it, a causal model's are framed by their task
    {.name = "tokenizer.ggml.add_sep_token", .fate = KEY_NO_EFFECT},
    {.name = "tokenizer.ggml.suppress_tokens", .fate = KEY_REFUSED},
    {.name = "tokenizer.ggml.normalizer.lowercase", .fate = KEY_HONOURED},
    {.name = "tokenizer.ggml.normalizer.strip_accents", .fate = KEY_HONOURED},
    {.name = "tokenizer.ggml.scores", .fate = KEY_NO_EFFECT}, // of Unigram, which is refused
    {.name = "tokenizer.ggml.token_type_count", .fate = KEY_NO_EFFECT}, // the tensor has them
    {.name = "tokenizer.ggml.add_space_prefix", .fate = KEY_NO_EFFECT}, // SentencePiece's
    {.name = "tokenizer.ggml.remove_extra_whitespaces", .fate = KEY_NO_EFFECT},
    {.name = "tokenizer.ggml.escape_whitespaces", .fate = KEY_NO_EFFECT},
    {.name = "tokenizer.ggml.precompiled_charsmap", .fate = KEY_NO_EFFECT},
    {.name = "tokenizer.ggml.added_tokens", .fate = KEY_NO_EFFECT},
    {.name = "tokenizer.ggml.prefix_token_id", .fate = KEY_NO_EFFECT},
    {.name = "tokenizer.ggml.suffix_token_id", .fate = KEY_NO_EFFECT},
    {.name = "tokenizer.ggml.middle_token_id", .fate = KEY_NO_EFFECT},
    {.name = "tokenizer.ggml.fim_*", .fate = KEY_NO_EFFECT},
};
static const struct key_rules file_rules = {KEY_RULES(file_list)};

// ---- of an architecture ----

static const struct key_rule arch_list[] = {
    {.name = "vocab_size", .fate = KEY_NO_EFFECT}, // the tensors have it
    {.name = "tensor_data_layout", .fate = KEY_NO_EFFECT},
    {.name = "classifier.output_labels", .fate = KEY_NO_EFFECT}, // of heads that are refused
    // None of these is read by these architectures; a file that says them means more.
    {.name = "attention.scale", .fate = KEY_REFUSED, .neutral = "0"},
    {.name = "attention.clamp_kqv", .fate = KEY_REFUSED, .neutral = "0"},
    {.name = "attention.max_alibi_bias", .fate = KEY_REFUSED, .neutral = "0"},
    {.name = "attention.temperature_*", .fate = KEY_REFUSED, .neutral = "0"},
    {.name = "attn_logit_softcapping", .fate = KEY_REFUSED, .neutral = "0"},
    {.name = "final_logit_softcapping", .fate = KEY_REFUSED, .neutral = "0"},
    {.name = "logit_scale", .fate = KEY_REFUSED, .neutral = "1|0"},
    {.name = "embedding_scale", .fate = KEY_REFUSED, .neutral = "1|0"},
    {.name = "residual_scale", .fate = KEY_REFUSED, .neutral = "1|0"},
    {.name = "use_parallel_residual", .fate = KEY_REFUSED, .neutral = "false"},
    {.name = "nextn_predict_layers", .fate = KEY_REFUSED, .neutral = "0"},
    {.name = "rope.dimension_sections", .fate = KEY_REFUSED},
    {.name = "rope.scaling.alpha", .fate = KEY_REFUSED, .neutral = "0"},
    {.name = "dense_*", .fate = KEY_REFUSED},
};
const struct key_rules gguf_arch_keys = {KEY_RULES(arch_list)};

enum { MAX_KEY = 160 };

// The rules of one file's keys.
struct gguf_names {
    char arch[72]; // "qwen2."; "" when the file names none
    const struct key_rules *own;
};

static struct gguf_names names_of(const struct gguf *g, const struct key_rules *own) {
    struct gguf_names n = {"", own};
    struct gguf_string s = {0};
    if (!gguf_get_string(g, "general.architecture", &s, NULL) && s.bytes && s.len < 64)
        snprintf(n.arch, sizeof n.arch, "%.*s.", (int)s.len, s.bytes);
    return n;
}

// A key of the architecture has its own rules only, any other those of every file.
static const struct key_rule *rule_of(const struct gguf_names *n, const char *key) {
    size_t arch = strlen(n->arch);
    bool own = arch && strncmp(key, n->arch, arch) == 0;
    return own ? key_rules_find(n->own, key + arch) : key_rules_find(&file_rules, key);
}

static bool is_neutral(const struct gguf *g, const struct key_rule *r, const char *key) {
    int64_t i;
    double d;
    bool b;
    struct gguf_string s;
    char text[80];
    if (gguf_get_bool(g, key, false, &b, NULL) == ERR_OK)
        return key_rule_passes(r, b ? "true" : "false");
    if (gguf_get_int(g, key, INT64_MIN, INT64_MAX, 0, &i, NULL) == ERR_OK)
        snprintf(text, sizeof text, "%lld", (long long)i);
    else if (gguf_get_float(g, key, 0, &d, NULL) == ERR_OK)
        snprintf(text, sizeof text, "%.9g", d);
    else if (gguf_get_string(g, key, &s, NULL) == ERR_OK && s.len < 64)
        snprintf(text, sizeof text, "\"%.*s\"", (int)s.len, s.bytes);
    else
        return false;
    return key_rule_passes(r, text);
}

static bool read_key(const struct gguf *g, size_t i, char key[MAX_KEY]) {
    struct gguf_string s = gguf_key_at(g, i);
    int n = snprintf(key, MAX_KEY, "%.*s", (int)(s.len < MAX_KEY ? s.len : MAX_KEY), s.bytes);
    return n > 0 && n < MAX_KEY; // longer ones are nobody's
}

enum err gguf_rules_check(const struct gguf *g, const struct key_rules *own, struct errmsg *msg) {
    const struct gguf_names n = names_of(g, own);
    char key[MAX_KEY];
    for (size_t i = 0; i < gguf_key_count(g); i++) {
        const struct key_rule *r = read_key(g, i, key) ? rule_of(&n, key) : NULL;
        if (r && r->fate == KEY_REFUSED && !is_neutral(g, r, key))
            return err_set(msg, ERR_UNSUPPORTED,
                           "%s: key '%s' changes the numbers in a way that is not supported",
                           gguf_path(g), key);
    }
    return ERR_OK;
}

void gguf_rules_walk(const struct gguf *g, const struct key_rules *own, key_seen *see, void *ctx) {
    const struct gguf_names n = names_of(g, own);
    char key[MAX_KEY];
    for (size_t i = 0; i < gguf_key_count(g); i++) {
        const struct key_rule *r = read_key(g, i, key) ? rule_of(&n, key) : NULL;
        see(ctx, key,
            !r                       ? KEY_UNKNOWN
            : r->fate != KEY_REFUSED ? r->fate
            : is_neutral(g, r, key)  ? KEY_NO_EFFECT
                                     : KEY_REFUSED);
    }
}
