// See pretokenizer.h.
#include "tokenizer/pretokenizer.h"

#include "base/buf.h"
#include "base/utf8.h"
#include "tokenizer/unicode.h"

#include <string.h>

static const struct {
    const char *type;
    enum pretokenizer_kind kind;
} kinds[] = {
    {"BertPreTokenizer", PRETOKENIZER_BERT},
    {"Whitespace", PRETOKENIZER_WHITESPACE},
    {"WhitespaceSplit", PRETOKENIZER_WHITESPACE_SPLIT},
};

enum err pretokenizer_parse(const cJSON *json, struct pretokenizer *out, struct errmsg *msg) {
    const char *type;
    if (!json)
        return ERR_OK;
    enum err e = json_get_string(json, "type", NULL, &type, msg);
    if (e)
        return e;
    if (!type)
        return err_set(msg, ERR_INVALID, "pre_tokenizer without a 'type'");
    if (strcmp(type, "Sequence") == 0) {
        const cJSON *list = json_get(json, "pretokenizers"), *item;
        if (!cJSON_IsArray(list))
            return err_set(msg, ERR_INVALID, "Sequence needs 'pretokenizers'");
        // JSON depth is at most 64, so nesting is too
        cJSON_ArrayForEach(item, list) {
            if ((e = pretokenizer_parse(item, out, msg)))
                return e;
        }
        return ERR_OK;
    }
    size_t k = 0, known = sizeof kinds / sizeof kinds[0];
    while (k < known && strcmp(kinds[k].type, type) != 0)
        k++;
    if (k == known)
        return err_set(msg, ERR_UNSUPPORTED,
                       "pre_tokenizer '%s' is not supported (supported: BertPreTokenizer, "
                       "Sequence, Whitespace, WhitespaceSplit)",
                       type);
    if (out->count == PRETOKENIZER_STEPS_MAX)
        return err_set(msg, ERR_UNSUPPORTED, "more than %d pre_tokenizers", PRETOKENIZER_STEPS_MAX);
    out->steps[out->count++] = kinds[k].kind;
    return ERR_OK;
}

void pretokenizer_describe(const struct pretokenizer *p, struct buf *out) {
    if (!p->count)
        buf_puts(out, "none");
    for (size_t i = 0; i < p->count; i++)
        for (size_t k = 0; k < sizeof kinds / sizeof kinds[0]; k++)
            if (kinds[k].kind == p->steps[i])
                buf_printf(out, "%s%s", i ? ", " : "", kinds[k].type);
}

struct walk {
    const struct pretokenizer *p;
    const char *text;
    pretokenizer_sink *sink;
    void *context;
};

enum { CLASS_SPACE, CLASS_WORD, CLASS_OTHER, CLASS_ALONE };

static int class_of(enum pretokenizer_kind kind, uint32_t cp) {
    unsigned flags = unicode_flags(cp);
    if (flags & UNICODE_WHITESPACE)
        return CLASS_SPACE;
    if (kind == PRETOKENIZER_BERT)
        return flags & UNICODE_PUNCTUATION ? CLASS_ALONE : CLASS_WORD;
    if (kind == PRETOKENIZER_WHITESPACE)
        return flags & UNICODE_WORD ? CLASS_WORD : CLASS_OTHER;
    return CLASS_WORD;
}

// Runs of one class are a word, but for spaces, which go. Recursion is as deep as there are steps.
static enum err cut(const struct walk *w, size_t step, size_t begin, size_t end) {
    if (step == w->p->count)
        return begin < end ? w->sink(w->context, begin, end) : ERR_OK;
    enum pretokenizer_kind kind = w->p->steps[step];
    size_t from = begin;
    int run = CLASS_SPACE;
    for (size_t at = begin; at < end;) {
        uint32_t cp = (unsigned char)w->text[at];
        size_t size = cp < 0x80 ? 1 : utf8_decode(w->text + at, end - at, &cp);
        int class = class_of(kind, cp);
        if (class != run || class == CLASS_ALONE) {
            enum err e = run == CLASS_SPACE ? ERR_OK : cut(w, step + 1, from, at);
            if (e)
                return e;
            from = at;
            run = class;
        }
        at += size ? size : 1;
    }
    return run == CLASS_SPACE ? ERR_OK : cut(w, step + 1, from, end);
}

enum err pretokenizer_walk(const struct pretokenizer *p, const char *text, size_t begin, size_t end,
                           pretokenizer_sink *sink, void *context) {
    struct walk w = {p, text, sink, context};
    return cut(&w, 0, begin, end);
}
