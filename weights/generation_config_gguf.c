// See generation_config.h: a GGUF file's metadata.
// Source followed: gguf-py's constants.py for the keys; llama.cpp's llama-vocab.cpp for the tokens
// that end a text by their name, whatever the file says. Two rules are our own: a name that could
// be text ends nothing where the file has it as plain text, as "</s>" among Qwen2's (it is HTML
// there); and the marks between files of code (<|fim_pad|>, <|repo_name|>, <|file_sep|>) end
// nothing, for models list them among no end tokens and transformers goes on behind them.
#include "base/utf8.h"
#include "weights/generation_config_internal.h"
#include "weights/gguf_keys.h"

#include <string.h>

// With the wide bar and the block that stands for a space there.
static const char deepseek_end[] = "<\xef\xbd\x9c"
                                   "end\xe2\x96\x81of\xe2\x96\x81sentence\xef\xbd\x9c>";

static const char *const end_names[] = {
    "<|endoftext|>",
    "<|im_end|>",
    "<|eot_id|>",
    "<|eom_id|>",
    "<|end|>",
    "<|return|>",
    "<|call|>",
    "<|flush|>",
    "<|calls|>",
    "<|end_of_text|>",
    "<end_of_turn>",
    "</s>",
    "<eos>",
    "<EOT>",
    "_<EOT>",
    "[EOT]",
    "[EOS]",
    deepseek_end,
    "<end_of_utterance>",
};

// -1: absent.
static enum err read_id(const struct gguf *g, const char *key, size_t vocab, int64_t *out,
                        struct errmsg *msg) {
    enum err e = gguf_get_int(g, key, 0, INT32_MAX, -1, out, msg);
    if (!e && *out >= 0 && (uint64_t)*out >= vocab)
        return err_set(msg, ERR_INVALID, "%s: key '%s' is %lld, the model has %zu tokens",
                       gguf_path(g), key, (long long)*out, vocab);
    return e;
}

enum { TOKEN_NORMAL = 1 }; // of tokenizer.ggml.token_type

static bool is_end(struct gguf_string s, bool text) {
    bool marked = s.len > 4 && memcmp(s.bytes, "<|", 2) == 0; // nobody writes this
    for (size_t k = 0; k < sizeof end_names / sizeof *end_names; k++)
        if (gguf_string_is(s, end_names[k]))
            return marked || !text;
    return false;
}

static enum err read_ends(const struct gguf *g, const struct gguf_array *tokens, size_t vocab,
                          struct generation_config *c, struct errmsg *msg) {
    static const char *const keys[] = {"tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id",
                                       "tokenizer.ggml.eom_token_id"};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        int64_t id;
        enum err e = read_id(g, keys[i], vocab, &id, msg);
        if (!e && id >= 0)
            e = generation_config_add_eos(c, id, msg);
        if (e)
            return e;
    }
    struct gguf_array types;
    enum err failed = gguf_get_array(g, "tokenizer.ggml.token_type", GGUF_I32, &types, msg);
    if (failed)
        return failed;
    for (size_t i = 0; i < tokens->count && i < vocab; i++) {
        struct gguf_string s = gguf_array_string(tokens, i);
        if (s.len < 4 || (s.bytes[s.len - 1] != '>' && s.bytes[s.len - 1] != ']'))
            continue; // all of those names end so
        bool text = i < types.count && gguf_array_int(&types, i) == TOKEN_NORMAL;
        enum err e = is_end(s, text) ? generation_config_add_eos(c, (int64_t)i, msg) : ERR_OK;
        if (e)
            return e;
    }
    return ERR_OK;
}

static enum err read_tokens(const struct gguf *g, const struct gguf_array *tokens, size_t vocab,
                            struct generation_config *c, struct errmsg *msg) {
    const struct {
        const char *key;
        char **to;
    } list[] = {{"tokenizer.ggml.bos_token_id", &c->bos_token},
                {"tokenizer.ggml.eos_token_id", &c->eos_token},
                {"tokenizer.ggml.padding_token_id", &c->pad_token},
                {"tokenizer.ggml.unknown_token_id", &c->unk_token}};
    for (size_t i = 0; i < sizeof list / sizeof *list; i++) {
        int64_t id;
        enum err e = read_id(g, list[i].key, vocab, &id, msg);
        if (e)
            return e;
        if (id < 0 || (uint64_t)id >= tokens->count)
            continue;
        struct gguf_string s = gguf_array_string(tokens, (size_t)id);
        if (!utf8_valid(s.bytes, s.len, NULL) || memchr(s.bytes, '\0', s.len))
            return err_set(msg, ERR_INVALID, "%s: key '%s': token %lld is not UTF-8 text",
                           gguf_path(g), list[i].key, (long long)id);
        if ((e = generation_config_copy(s.bytes, s.len, list[i].to, NULL, msg)))
            return e;
    }
    return ERR_OK;
}

static enum err read_template(const struct gguf *g, const char *key, char **to, size_t *len,
                              struct errmsg *msg) {
    struct gguf_string s;
    enum err e = gguf_get_string(g, key, &s, msg);
    return e || !s.bytes ? e : generation_config_copy(s.bytes, s.len, to, len, msg);
}

static enum err read_float(const struct gguf *g, const char *key, double min, double max,
                           float *out, struct errmsg *msg) {
    double v;
    enum err e = gguf_get_float(g, key, 0, &v, msg);
    if (e || !gguf_has(g, key))
        return e;
    if (v < min || v > max)
        return err_set(msg, ERR_INVALID, "%s: key '%s': %g is not in %g to %g", gguf_path(g), key,
                       v, min, max);
    *out = (float)v;
    return ERR_OK;
}

static enum err read_sampling(const struct gguf *g, struct generation_config *c,
                              struct errmsg *msg) {
    int64_t top_k = -1;
    enum err e = read_float(g, "general.sampling.temp", 0, 1000, &c->temperature, msg);
    if (!e)
        e = read_float(g, "general.sampling.top_p", 0, 1, &c->top_p, msg);
    if (!e)
        e = read_float(g, "general.sampling.min_p", 0, 1, &c->min_p, msg);
    if (!e)
        e = read_float(g, "general.sampling.penalty_repeat", 1e-3, 1e3, &c->repetition_penalty,
                       msg);
    if (!e)
        e = gguf_get_int(g, "general.sampling.top_k", 0, INT32_MAX, -1, &top_k, msg);
    c->top_k = (int32_t)top_k;
    return e;
}

enum err generation_config_read_gguf(const struct gguf *g, size_t vocab,
                                     struct generation_config *out, struct errmsg *msg) {
    struct gguf_array tokens;
    enum err e = gguf_get_array(g, "tokenizer.ggml.tokens", GGUF_STRING, &tokens, msg);
    if (!e)
        e = read_ends(g, &tokens, vocab, out, msg);
    if (!e)
        e = read_tokens(g, &tokens, vocab, out, msg);
    if (!e)
        e = read_sampling(g, out, msg);
    if (!e)
        e = read_template(g, "tokenizer.chat_template", &out->chat_template,
                          &out->chat_template_len, msg);
    if (!e)
        e = read_template(g, "tokenizer.chat_template.tool_use", &out->tool_template,
                          &out->tool_template_len, msg);
    return e;
}
