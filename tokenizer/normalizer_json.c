// The normalizer section: parsing and describing. See normalizer.h.
#include "base/buf.h"
#include "base/mem.h"
#include "tokenizer/normalizer.h"

#include <string.h>

#define STEPS_MAX 32

static const struct {
    const char *type;
    enum normalizer_kind kind;
} kinds[] = {
    {"BertNormalizer", NORMALIZER_BERT},
    {"Lowercase", NORMALIZER_LOWERCASE},
    {"NFD", NORMALIZER_NFD},
    {"NFKD", NORMALIZER_NFKD},
    {"NFC", NORMALIZER_NFC},
    {"NFKC", NORMALIZER_NFKC},
    {"Strip", NORMALIZER_STRIP},
    {"StripAccents", NORMALIZER_STRIP_ACCENTS},
    {"Replace", NORMALIZER_REPLACE},
};

static enum err need_bool(const cJSON *json, const char *key, bool *out, struct errmsg *msg) {
    if (!json_get(json, key))
        return err_set(msg, ERR_INVALID, "'%s' is missing", key);
    return json_get_bool(json, key, false, out, msg);
}

static enum err parse_bert(const cJSON *json, struct normalizer_step *s, struct errmsg *msg) {
    enum err e = need_bool(json, "clean_text", &s->clean_text, msg);
    if (!e)
        e = need_bool(json, "handle_chinese_chars", &s->chinese, msg);
    if (!e)
        e = need_bool(json, "lowercase", &s->lowercase, msg);
    // null and absent mean: as lowercase
    return e ? e : json_get_bool(json, "strip_accents", s->lowercase, &s->strip_accents, msg);
}

static enum err parse_replace(const cJSON *json, struct normalizer_step *s, struct errmsg *msg) {
    const char *pattern, *content;
    const cJSON *object = json_get(json, "pattern");
    if (json_get(object, "Regex"))
        return err_set(msg, ERR_UNSUPPORTED,
                       "Replace with a Regex pattern is not supported (supported: String)");
    enum err e = json_get_string(object, "String", NULL, &pattern, msg);
    if (!e)
        e = json_get_string(json, "content", NULL, &content, msg);
    if (e)
        return e;
    if (!pattern || !*pattern || !content)
        return err_set(msg, ERR_INVALID, "Replace needs 'pattern' (not empty) and 'content'");
    s->pattern_len = strlen(pattern);
    s->content_len = strlen(content);
    s->pattern = mem_strndup(pattern, s->pattern_len);
    s->content = mem_strndup(content, s->content_len);
    return s->pattern && s->content ? ERR_OK : err_set(msg, ERR_NOMEM, "no memory for Replace");
}

static enum err parse_step(const cJSON *json, const char *type, struct normalizer *out,
                           struct errmsg *msg) {
    size_t k = 0, known = sizeof kinds / sizeof kinds[0];
    while (k < known && strcmp(kinds[k].type, type) != 0)
        k++;
    if (k == known)
        return err_set(msg, ERR_UNSUPPORTED,
                       "normalizer '%s' is not supported (supported: BertNormalizer, Lowercase, "
                       "NFC, NFD, NFKC, NFKD, Replace, Sequence, Strip, StripAccents)",
                       type);
    if (out->count == STEPS_MAX)
        return err_set(msg, ERR_UNSUPPORTED, "more than %d normalizers", STEPS_MAX);
    struct normalizer_step *s = &out->steps[out->count++];
    s->kind = kinds[k].kind;
    if (s->kind == NORMALIZER_BERT)
        return parse_bert(json, s, msg);
    if (s->kind == NORMALIZER_REPLACE)
        return parse_replace(json, s, msg);
    if (s->kind != NORMALIZER_STRIP)
        return ERR_OK;
    enum err e = need_bool(json, "strip_left", &s->left, msg);
    return e ? e : need_bool(json, "strip_right", &s->right, msg);
}

static enum err parse_any(const cJSON *json, struct normalizer *out, struct errmsg *msg) {
    const char *type;
    enum err e = json_get_string(json, "type", NULL, &type, msg);
    if (e)
        return e;
    if (!type)
        return err_set(msg, ERR_INVALID, "normalizer without a 'type'");
    if (strcmp(type, "Sequence") != 0)
        return parse_step(json, type, out, msg);
    const cJSON *list = json_get(json, "normalizers"), *item;
    if (!cJSON_IsArray(list))
        return err_set(msg, ERR_INVALID, "Sequence needs 'normalizers'");
    // JSON depth is at most 64, so nesting is too
    cJSON_ArrayForEach(item, list) {
        if ((e = parse_any(item, out, msg)))
            return e;
    }
    return ERR_OK;
}

enum err normalizer_parse(const cJSON *json, struct normalizer *out, struct errmsg *msg) {
    *out = (struct normalizer){0};
    if (!json)
        return ERR_OK;
    out->steps = mem_calloc(STEPS_MAX, sizeof *out->steps);
    if (!out->steps)
        return err_set(msg, ERR_NOMEM, "no memory for the normalizer");
    return parse_any(json, out, msg);
}

void normalizer_free(struct normalizer *n) {
    for (size_t i = 0; i < n->count; i++) {
        mem_free(n->steps[i].pattern);
        mem_free(n->steps[i].content);
    }
    mem_free(n->steps);
    *n = (struct normalizer){0};
}

void normalizer_describe(const struct normalizer *n, struct buf *out) {
    if (!n->count)
        buf_puts(out, "none");
    for (size_t i = 0; i < n->count; i++) {
        const struct normalizer_step *s = &n->steps[i];
        buf_puts(out, i ? ", " : "");
        for (size_t k = 0; k < sizeof kinds / sizeof kinds[0]; k++)
            if (kinds[k].kind == s->kind)
                buf_puts(out, kinds[k].type);
        if (s->kind == NORMALIZER_BERT)
            buf_printf(out,
                       "(clean_text %d, handle_chinese_chars %d, strip_accents %d, lowercase %d)",
                       s->clean_text, s->chinese, s->strip_accents, s->lowercase);
        else if (s->kind == NORMALIZER_STRIP)
            buf_printf(out, "(left %d, right %d)", s->left, s->right);
        else if (s->kind == NORMALIZER_REPLACE)
            buf_printf(out, "('%s' by '%s')", s->pattern, s->content);
    }
}
