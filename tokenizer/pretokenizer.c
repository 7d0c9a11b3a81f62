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

static enum err add_step(struct pretokenizer *out, struct pretokenizer_step step,
                         struct errmsg *msg) {
    if (out->count == PRETOKENIZER_STEPS_MAX)
        return err_set(msg, ERR_UNSUPPORTED, "more than %d pre_tokenizers", PRETOKENIZER_STEPS_MAX);
    out->steps[out->count++] = step;
    return ERR_OK;
}

static enum err parse_digits(const cJSON *json, struct pretokenizer *out, struct errmsg *msg) {
    bool each;
    enum err e = json_get_bool(json, "individual_digits", false, &each, msg);
    struct pretokenizer_step step = {each ? PRETOKENIZER_EACH_DIGIT : PRETOKENIZER_DIGITS,
                                     SPLIT_KINDS};
    return e ? e : add_step(out, step, msg);
}

static enum err parse_split(const cJSON *json, struct pretokenizer *out, struct errmsg *msg) {
    const char *regex = NULL, *behavior = NULL;
    bool invert = false;
    const cJSON *pattern = json_get(json, "pattern");
    enum err e = json_get_string(pattern, "Regex", NULL, &regex, msg);
    if (!e)
        e = json_get_string(json, "behavior", NULL, &behavior, msg);
    if (!e)
        e = json_get_bool(json, "invert", false, &invert, msg);
    if (e)
        return e;
    if (!regex || !behavior)
        return err_set(msg, ERR_UNSUPPORTED,
                       "Split without a 'pattern' of kind Regex and a 'behavior' is not supported");
    // what the patterns leave between matches is nothing, so to remove that is to isolate those
    if (strcmp(behavior, invert ? "Removed" : "Isolated") != 0)
        return err_set(msg, ERR_UNSUPPORTED, "Split with behavior '%s'%s is not supported",
                       behavior, invert ? ", inverted," : "");
    enum split_kind split = split_by_regex(regex);
    if (split == SPLIT_KINDS)
        return err_set(msg, ERR_UNSUPPORTED, "Split by the pattern %s is not supported", regex);
    return add_step(out, (struct pretokenizer_step){PRETOKENIZER_SPLIT, split}, msg);
}

static enum err parse_byte_level(const cJSON *json, struct pretokenizer *out, struct errmsg *msg) {
    bool use_regex;
    enum err e = json_get_bool(json, "add_prefix_space", true, &out->add_prefix_space, msg);
    if (!e)
        e = json_get_bool(json, "use_regex", true, &use_regex, msg);
    if (e)
        return e;
    if (out->add_prefix_space && out->count)
        return err_set(msg, ERR_UNSUPPORTED,
                       "ByteLevel with add_prefix_space behind another pre_tokenizer is not "
                       "supported");
    out->byte_level = true;
    struct pretokenizer_step step = {PRETOKENIZER_SPLIT, SPLIT_GPT2};
    return use_regex ? add_step(out, step, msg) : ERR_OK;
}

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
    if (out->byte_level)
        return err_set(msg, ERR_UNSUPPORTED, "pre_tokenizer '%s' behind ByteLevel is not supported",
                       type);
    if (strcmp(type, "ByteLevel") == 0)
        return parse_byte_level(json, out, msg);
    if (strcmp(type, "Digits") == 0)
        return parse_digits(json, out, msg);
    if (strcmp(type, "Split") == 0)
        return parse_split(json, out, msg);
    size_t k = 0, known = sizeof kinds / sizeof kinds[0];
    while (k < known && strcmp(kinds[k].type, type) != 0)
        k++;
    if (k == known)
        return err_set(msg, ERR_UNSUPPORTED,
                       "pre_tokenizer '%s' is not supported (supported: BertPreTokenizer, "
                       "ByteLevel, Digits, Sequence, Split, Whitespace, WhitespaceSplit)",
                       type);
    return add_step(out, (struct pretokenizer_step){kinds[k].kind, SPLIT_KINDS}, msg);
}

void pretokenizer_describe(const struct pretokenizer *p, struct buf *out) {
    if (!p->count && !p->byte_level)
        buf_puts(out, "none");
    for (size_t i = 0; i < p->count; i++) {
        const struct pretokenizer_step *s = &p->steps[i];
        buf_puts(out, i ? ", " : "");
        for (size_t k = 0; k < sizeof kinds / sizeof kinds[0]; k++)
            if (kinds[k].kind == s->kind)
                buf_puts(out, kinds[k].type);
        if (s->kind == PRETOKENIZER_SPLIT)
            buf_printf(out, "Split(%s)", split_name(s->split));
        else if (s->kind == PRETOKENIZER_DIGITS || s->kind == PRETOKENIZER_EACH_DIGIT)
            buf_printf(out, "Digits(individual %d)", s->kind == PRETOKENIZER_EACH_DIGIT);
    }
    if (p->byte_level)
        buf_printf(out, "%sByteLevel(add_prefix_space %d)", p->count ? ", " : "",
                   p->add_prefix_space);
}

struct pretokenizer_walk {
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

static enum err cut(const struct pretokenizer_walk *w, size_t step, size_t begin, size_t end);

static inline enum err give(const struct pretokenizer_walk *w, size_t step, size_t begin,
                            size_t end) {
    return step == w->p->count ? w->sink(w->context, begin, end) : cut(w, step, begin, end);
}

static enum err cut_matches(const struct pretokenizer_walk *w, size_t step, size_t begin,
                            size_t end) {
    enum split_kind kind = w->p->steps[step].split;
    enum err e = ERR_OK;
    for (size_t next; begin < end && !e; begin = next) {
        next = split_next(kind, w->text, begin, end);
        e = give(w, step + 1, begin, next);
    }
    return e;
}

static enum err cut_digits(const struct pretokenizer_walk *w, size_t step, size_t begin,
                           size_t end) {
    bool each = w->p->steps[step].kind == PRETOKENIZER_EACH_DIGIT, was = false;
    size_t from = begin;
    enum err e = ERR_OK;
    for (size_t at = begin, next; at < end && !e; at = next) {
        bool is = split_class_at(w->text, at, end, &next) & SPLIT_DIGIT;
        if (at > from && (is != was || (is && each))) {
            e = give(w, step + 1, from, at);
            from = at;
        }
        was = is;
    }
    return !e && from < end ? give(w, step + 1, from, end) : e;
}

// A run of one class is a word; spaces are dropped. The recursion is as deep as there are steps.
static enum err cut(const struct pretokenizer_walk *w, size_t step, size_t begin, size_t end) {
    if (step == w->p->count)
        return begin < end ? w->sink(w->context, begin, end) : ERR_OK;
    enum pretokenizer_kind kind = w->p->steps[step].kind;
    if (kind == PRETOKENIZER_SPLIT)
        return cut_matches(w, step, begin, end);
    if (kind == PRETOKENIZER_DIGITS || kind == PRETOKENIZER_EACH_DIGIT)
        return cut_digits(w, step, begin, end);
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
    struct pretokenizer_walk w = {p, text, sink, context};
    return cut(&w, 0, begin, end);
}
