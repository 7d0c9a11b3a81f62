// The tokenizer that a GGUF file's metadata describes. It is written down as the tokenizer.json
// that the file was made from, and then read like one. Sources followed: llama.cpp,
// src/llama-vocab.cpp (its defaults for absent keys; control and user-defined tokens are found in
// any text; what each `pre` means: gguf_pre.c), and each model's own tokenizer.json. transformers
// (integrations/gguf) differs in four things, and we do not follow it there: it leaves out the
// normalizer (qwen2's NFC), ignore_merges (llama-bpe, tekken), the digits that stand apart (smollm,
// starcoder), and control tokens with characters outside the byte alphabet. A `pre` of "default",
// or none, is GPT-2's pattern, as in transformers.
#include "base/mem.h"
#include "base/utf8.h"
#include "tokenizer/gguf_pre.h"
#include "tokenizer/tokenizer_internal.h"
#include "weights/gguf.h"

#include <stdio.h>
#include <string.h>

#define KEY(name) "tokenizer.ggml." name

enum { TOKEN_CONTROL = 3, TOKEN_USER_DEFINED = 4, TOKEN_UNUSED = 5 }; // tokenizer.ggml.token_type

struct gguf_source {
    const struct gguf *g;
    struct gguf_array tokens, types; // types.data NULL: all are normal
    struct buf work;                 // one token at a time, with a NUL behind
};

static enum err find_pre(const struct gguf_source *s, struct gguf_pre *out, struct errmsg *msg) {
    struct gguf_string name;
    enum err e = gguf_get_string(s->g, KEY("pre"), &name, msg);
    if (e || gguf_pre_find(name.bytes, name.len, out))
        return e;
    return err_set(msg, ERR_UNSUPPORTED,
                   "tokenizer.ggml.pre '%.*s' is not supported: its split pattern is none of "
                   "GPT-2's, Qwen2's, Qwen3.5's, Llama-3's (cl100k), o200k's, Tekken's and "
                   "Seed-Coder's",
                   (int)(name.len < 64 ? name.len : 64), name.bytes);
}

// Reads token i into s->work.
static enum err read_token(struct gguf_source *s, size_t i, struct errmsg *msg) {
    struct gguf_string token = gguf_array_string(&s->tokens, i);
    buf_reset(&s->work);
    buf_append(&s->work, token.bytes, token.len);
    buf_putc(&s->work, '\0');
    if (s->work.failed)
        return err_set(msg, ERR_NOMEM, "no memory for a token");
    if (!utf8_valid(token.bytes, token.len, NULL) || memchr(token.bytes, '\0', token.len))
        return err_set(msg, ERR_INVALID, "token %zu is not valid UTF-8 without NUL", i);
    return ERR_OK;
}

static int64_t type_of(const struct gguf_source *s, size_t i) {
    return s->types.data ? gguf_array_int(&s->types, i) : 1;
}

static bool add_found(cJSON *list, const char *content, size_t id, bool special) {
    cJSON *t = cJSON_CreateObject();
    bool ok = t && cJSON_AddNumberToObject(t, "id", (double)id) &&
              cJSON_AddStringToObject(t, "content", content) &&
              cJSON_AddFalseToObject(t, "single_word") && cJSON_AddFalseToObject(t, "lstrip") &&
              cJSON_AddFalseToObject(t, "rstrip") && cJSON_AddFalseToObject(t, "normalized") &&
              cJSON_AddBoolToObject(t, "special", special);
    if (ok && cJSON_AddItemToArray(list, t))
        return true;
    cJSON_Delete(t);
    return false;
}

// llama.cpp's converters write this for a row of the model that has no token; it is no token here.
static bool is_padding(const struct gguf_source *s, size_t i) {
    char name[32];
    snprintf(name, sizeof name, "[PAD%zu]", i);
    return type_of(s, i) == TOKEN_UNUSED && strcmp(name, s->work.data) == 0;
}

static enum err add_tokens(struct gguf_source *s, cJSON *vocab, cJSON *added, struct errmsg *msg) {
    enum err e = ERR_OK;
    for (size_t i = 0; i < s->tokens.count && !e; i++) {
        e = read_token(s, i, msg);
        if (!e && is_padding(s, i))
            continue;
        int64_t type = type_of(s, i);
        bool found = type == TOKEN_CONTROL || type == TOKEN_USER_DEFINED;
        if (!e && (!cJSON_AddNumberToObject(vocab, s->work.data, (double)i) ||
                   (found && !add_found(added, s->work.data, i, type == TOKEN_CONTROL))))
            e = err_set(msg, ERR_NOMEM, "no memory for a vocabulary of %zu", s->tokens.count);
    }
    return e;
}

static enum err add_merges(struct gguf_source *s, cJSON *list, struct errmsg *msg) {
    struct gguf_array merges;
    enum err e = gguf_get_array(s->g, KEY("merges"), GGUF_STRING, &merges, msg);
    if (!e && !merges.data)
        return err_set(msg, ERR_INVALID, "tokenizer.ggml.merges is missing");
    struct gguf_source as_tokens = {s->g, merges, {0}, s->work};
    for (size_t i = 0; !e && i < merges.count; i++) {
        e = read_token(&as_tokens, i, msg);
        if (e) {
            err_prefix(msg, e, "tokenizer.ggml.merges");
            break;
        }
        cJSON *item = cJSON_CreateString(as_tokens.work.data);
        if (!item || !cJSON_AddItemToArray(list, item)) {
            cJSON_Delete(item);
            e = err_set(msg, ERR_NOMEM, "no memory for %zu merges", merges.count);
        }
    }
    s->work = as_tokens.work;
    return e;
}

// The ids that go before and after each text; -1: none.
static enum err read_ends(const struct gguf_source *s, const struct gguf_pre *pre, int64_t ends[2],
                          struct errmsg *msg) {
    static const char *const keys[2][2] = {{KEY("add_bos_token"), KEY("bos_token_id")},
                                           {KEY("add_eos_token"), KEY("eos_token_id")}};
    int64_t top = (int64_t)s->tokens.count - 1;
    for (size_t i = 0; i < 2; i++) {
        bool add;
        enum err e = gguf_get_bool(s->g, keys[i][0], i == 0 && pre->add_bos, &add, msg);
        if (!e)
            e = gguf_get_int(s->g, keys[i][1], 0, top, -1, &ends[i], msg);
        if (e)
            return e;
        if (add && ends[i] < 0)
            return err_set(msg, ERR_INVALID, "%s is set, but %s is missing", keys[i][0],
                           keys[i][1]);
        ends[i] = add ? ends[i] : -1;
    }
    return ERR_OK;
}

static void put_template(struct buf *b, const char *key, const int64_t ends[2], bool pair) {
    static const char *const names[2] = {"bos", "eos"};
    buf_printf(b, "\"%s\":[", key);
    for (int text = 0; text < (pair ? 2 : 1); text++) {
        if (ends[0] >= 0)
            buf_printf(b, "%s{\"SpecialToken\":{\"id\":\"%s\",\"type_id\":%d}},", text ? "," : "",
                       names[0], text);
        buf_printf(b, "%s{\"Sequence\":{\"id\":\"%c\",\"type_id\":%d}}",
                   text && ends[0] < 0 ? "," : "", 'A' + text, text);
        if (ends[1] >= 0)
            buf_printf(b, ",{\"SpecialToken\":{\"id\":\"%s\",\"type_id\":%d}}", names[1], text);
    }
    buf_puts(b, "]");
}

// Writes everything but the vocabulary and the merges.
static void put_parts(struct buf *b, const struct gguf_pre *pre, const int64_t ends[2]) {
    buf_printf(b, "{\"normalizer\":%s,\"pre_tokenizer\":{\"type\":\"Sequence\",\"pretokenizers\":[",
               pre->nfc ? "{\"type\":\"NFC\"}" : "null");
    if (pre->digits)
        buf_puts(b, "{\"type\":\"Digits\",\"individual_digits\":true},");
    if (pre->split != SPLIT_GPT2) {
        const char *regex = split_regex(pre->split);
        buf_puts(b, "{\"type\":\"Split\",\"behavior\":\"Isolated\",\"pattern\":{\"Regex\":");
        json_quote(b, regex, strlen(regex));
        buf_puts(b, "}},");
    }
    buf_printf(b,
               "{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"use_regex\":%s}]},"
               "\"decoder\":{\"type\":\"ByteLevel\"},\"added_tokens\":[],"
               "\"model\":{\"type\":\"BPE\",\"vocab\":{},\"merges\":[],\"ignore_merges\":%s}",
               pre->split == SPLIT_GPT2 ? "true" : "false", pre->ignore_merges ? "true" : "false");
    if (ends[0] >= 0 || ends[1] >= 0) {
        buf_puts(b, ",\"post_processor\":{\"type\":\"TemplateProcessing\",");
        put_template(b, "single", ends, false);
        buf_puts(b, ",");
        put_template(b, "pair", ends, true);
        buf_printf(b, ",\"special_tokens\":{\"bos\":{\"ids\":[%lld]},\"eos\":{\"ids\":[%lld]}}}",
                   (long long)ends[0], (long long)ends[1]);
    }
    buf_puts(b, "}");
}

static enum err read_bpe(struct gguf_source *s, cJSON **root, struct errmsg *msg) {
    struct gguf_pre pre;
    int64_t ends[2];
    struct buf parts = {0};
    enum err e = find_pre(s, &pre, msg);
    if (!e)
        e = read_ends(s, &pre, ends, msg);
    if (e)
        return e;
    put_parts(&parts, &pre, ends);
    e = parts.failed ? err_set(msg, ERR_NOMEM, "no memory for a tokenizer")
                     : json_parse(parts.data, parts.len, &json_limits_file, root, NULL, msg);
    buf_free(&parts);
    if (e)
        return e;
    cJSON *model = cJSON_GetObjectItem(*root, "model");
    e = add_tokens(s, cJSON_GetObjectItem(model, "vocab"),
                   cJSON_GetObjectItem(*root, "added_tokens"), msg);
    return e ? e : add_merges(s, cJSON_GetObjectItem(model, "merges"), msg);
}

// Puts a special token's spelling, found by its id, into config; without the key it is BERT's own.
static enum err name_special(struct gguf_source *s, const char *key, const char *name,
                             cJSON *config, struct errmsg *msg) {
    int64_t id;
    enum err e = gguf_get_int(s->g, key, 0, (int64_t)s->tokens.count - 1, -1, &id, msg);
    if (e || id < 0 || json_get(config, name))
        return e;
    e = read_token(s, (size_t)id, msg);
    return !e && !cJSON_AddStringToObject(config, name, s->work.data)
               ? err_set(msg, ERR_NOMEM, "no memory for a tokenizer")
               : e;
}

static bool is_bracketed(const char *token, size_t len) {
    return len > 2 && token[0] == '[' && token[len - 1] == ']';
}

// Writes vocab.txt as it was. U+2581 marks the pieces that begin a word; vocab.txt marks the
// others.
static enum err put_vocab_txt(struct gguf_source *s, struct buf *out, struct errmsg *msg) {
    static const char begins[] = "\xE2\x96\x81";
    enum err e = ERR_OK;
    for (size_t i = 0; i < s->tokens.count && !e; i++) {
        e = read_token(s, i, msg);
        if (e)
            break;
        const char *token = s->work.data;
        size_t len = strlen(token);
        if (strchr(token, '\n'))
            return err_set(msg, ERR_INVALID, "token %zu holds a line end", i);
        if (strncmp(token, begins, 3) == 0)
            buf_append(out, token + 3, len - 3);
        else
            buf_printf(out, "%s%s",
                       type_of(s, i) == TOKEN_CONTROL || is_bracketed(token, len) ? "" : "##",
                       token);
        buf_putc(out, '\n');
    }
    return !e && out->failed ? err_set(msg, ERR_NOMEM, "no memory for a vocabulary") : e;
}

static enum err read_bert(struct gguf_source *s, cJSON **root, struct errmsg *msg) {
    static const char *const specials[][2] = {
        {KEY("padding_token_id"), "pad_token"},   {KEY("unknown_token_id"), "unk_token"},
        {KEY("cls_token_id"), "cls_token"},       {KEY("bos_token_id"), "cls_token"},
        {KEY("seperator_token_id"), "sep_token"}, {KEY("eos_token_id"), "sep_token"},
        {KEY("mask_token_id"), "mask_token"}};
    cJSON *config = cJSON_CreateObject();
    struct buf vocab = {0};
    bool lower, strip = true;
    enum err e = gguf_get_bool(s->g, KEY("normalizer.lowercase"), true, &lower, msg);
    if (!e) // absent: as lowercase
        e = gguf_get_bool(s->g, KEY("normalizer.strip_accents"), lower, &strip, msg);
    if (!e && (!config || !cJSON_AddBoolToObject(config, "do_lower_case", lower) ||
               !cJSON_AddBoolToObject(config, "strip_accents", strip)))
        e = err_set(msg, ERR_NOMEM, "no memory for a tokenizer");
    for (size_t i = 0; i < sizeof specials / sizeof specials[0] && !e; i++)
        e = name_special(s, specials[i][0], specials[i][1], config, msg);
    if (!e)
        e = put_vocab_txt(s, &vocab, msg);
    if (!e)
        e = vocab_txt_to_json(vocab.data ? vocab.data : "", vocab.len, config, root, msg);
    buf_free(&vocab);
    cJSON_Delete(config);
    return e;
}

static enum err read_tree(struct gguf_source *s, cJSON **root, struct errmsg *msg) {
    struct gguf_string model;
    enum err e = gguf_get_string(s->g, KEY("model"), &model, msg);
    if (!e)
        e = gguf_get_array(s->g, KEY("tokens"), GGUF_STRING, &s->tokens, msg);
    if (!e)
        e = gguf_get_array(s->g, KEY("token_type"), GGUF_I32, &s->types, msg);
    if (e)
        return e;
    if (!model.bytes || !s->tokens.data)
        return err_set(msg, ERR_INVALID, "tokenizer.ggml.%s is missing",
                       model.bytes ? "tokens" : "model");
    if (s->tokens.count > VOCAB_ID_MAX)
        return err_set(msg, ERR_UNSUPPORTED, "tokenizer.ggml.tokens has %zu tokens, over %d",
                       s->tokens.count, VOCAB_ID_MAX);
    if (s->types.data && s->types.count != s->tokens.count)
        return err_set(msg, ERR_INVALID,
                       "tokenizer.ggml.token_type has %zu entries, tokenizer.ggml.tokens %zu",
                       s->types.count, s->tokens.count);
    if (model.len == 4 && memcmp(model.bytes, "gpt2", 4) == 0)
        return read_bpe(s, root, msg);
    if (model.len == 4 && memcmp(model.bytes, "bert", 4) == 0)
        return read_bert(s, root, msg);
    return err_set(msg, ERR_UNSUPPORTED,
                   "tokenizer.ggml.model '%.*s' is not supported (supported: bert, gpt2)",
                   (int)(model.len < 64 ? model.len : 64), model.bytes);
}

enum err tokenizer_load_gguf(const struct gguf *g, size_t vocab_size, struct tokenizer **out,
                             struct errmsg *msg) {
    struct gguf_source s = {.g = g};
    cJSON *root = NULL;
    *out = NULL;
    enum err e = read_tree(&s, &root, msg);
    if (!e)
        e = tokenizer_from_tree(root, NULL, vocab_size, out, msg);
    cJSON_Delete(root);
    buf_free(&s.work);
    return e ? err_prefix(msg, e, "%s", gguf_path(g)) : ERR_OK;
}
