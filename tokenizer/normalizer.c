// See normalizer.h. Parsing is normalizer_json.c.
#include "tokenizer/normalizer.h"

#include "base/mem.h"
#include "base/utf8.h"
#include "tokenizer/unicode.h"

#include <string.h>

static uint32_t next_cp(const struct normal *n, size_t *at) {
    unsigned char c = (unsigned char)n->text[*at];
    if (c < 0x80) {
        *at += 1;
        return c;
    }
    uint32_t cp = 0;
    size_t size = utf8_decode(n->text + *at, n->len - *at, &cp);
    *at += size ? size : 1;
    return cp;
}

static void marks_push(struct normalizer_work *w, struct normalizer_marks *m,
                       struct normalizer_mark mark) {
    if (m->len == m->cap) {
        size_t cap = m->cap ? 2 * m->cap : 16;
        struct normalizer_mark *items =
            w->failed ? NULL : mem_realloc(m->items, cap, sizeof *items);
        if (!items) {
            w->failed = true;
            return;
        }
        m->items = items;
        m->cap = cap;
    }
    m->items[m->len++] = mark;
}

// A pass over one text: decomposed code points go, in canonical order, to the step that the kind
// asks for.
struct normalizer_pass {
    const struct normalizer_step *step;
    struct normalizer_work *work;
    struct normal_reader from;
    struct normal *out;
    bool compatibility, compose, bert;
    bool has_composee, has_last_ccc;
    struct normalizer_mark composee;
    uint8_t last_ccc;
};

static void put_lower(struct normal *out, uint32_t cp, struct token_span from) {
    uint32_t low[2];
    size_t n = unicode_lower(cp, low);
    for (size_t i = 0; i < n; i++)
        normal_put(out, low[i], from);
}

static void pass_write(struct normalizer_pass *p, uint32_t cp, long change) {
    struct token_span from = normal_take(&p->from, change);
    if (!p->bert)
        normal_put(p->out, cp, from);
    else if (cp >= 0x80 && (unicode_flags(cp) & UNICODE_NONSPACING))
        return;
    else if (p->step->lowercase)
        put_lower(p->out, cp, from);
    else
        normal_put(p->out, cp, from);
}

static void write_held(struct normalizer_pass *p) {
    pass_write(p, p->composee.cp, p->composee.change);
    for (size_t i = 0; i < p->work->held.len; i++)
        pass_write(p, p->work->held.items[i].cp, p->work->held.items[i].change);
    p->work->held.len = 0;
}

// Source followed: Recompositions::next of unicode-normalization-alignments.
static void pass_compose(struct normalizer_pass *p, struct normalizer_mark m) {
    if (!p->has_composee) {
        if (m.ccc) {
            pass_write(p, m.cp, m.change);
        } else {
            p->composee = m;
            p->has_composee = true;
        }
        return;
    }
    bool blocked = p->has_last_ccc && p->last_ccc >= m.ccc;
    uint32_t composed = blocked ? 0 : unicode_compose(p->composee.cp, m.cp);
    if (composed) {
        p->composee.cp = composed;
        p->composee.change += m.change - 1;
    } else if (m.ccc == 0) {
        write_held(p);
        p->composee = m;
        p->has_last_ccc = false;
    } else {
        marks_push(p->work, &p->work->held, m);
        p->last_ccc = m.ccc;
        p->has_last_ccc = true;
    }
}

static void pass_emit(struct normalizer_pass *p, struct normalizer_mark m) {
    if (p->compose)
        pass_compose(p, m);
    else
        pass_write(p, m.cp, m.change);
}

// Stable by combining class, linear however many marks stand in a row.
static void sort_marks(struct normalizer_work *w) {
    struct normalizer_marks *m = &w->pending;
    if (m->len <= 16) {
        for (size_t i = 1; i < m->len; i++) {
            struct normalizer_mark x = m->items[i];
            size_t k = i;
            for (; k > 0 && m->items[k - 1].ccc > x.ccc; k--)
                m->items[k] = m->items[k - 1];
            m->items[k] = x;
        }
        return;
    }
    size_t start[257] = {0};
    for (size_t i = 0; i < m->len; i++)
        start[m->items[i].ccc + 1]++;
    for (size_t c = 0; c < 256; c++)
        start[c + 1] += start[c];
    if (w->sorted.cap < m->cap) {
        struct normalizer_mark *items = mem_realloc(w->sorted.items, m->cap, sizeof *items);
        if (!items) {
            w->failed = true;
            return;
        }
        w->sorted.items = items;
        w->sorted.cap = m->cap;
    }
    for (size_t i = 0; i < m->len; i++)
        w->sorted.items[start[m->items[i].ccc]++] = m->items[i];
    w->sorted.len = m->len;
    struct normalizer_marks t = *m;
    *m = w->sorted;
    w->sorted = t;
}

static void pass_flush(struct normalizer_pass *p) {
    struct normalizer_marks *m = &p->work->pending;
    if (!m->len)
        return;
    sort_marks(p->work);
    for (size_t i = 0; i < m->len; i++)
        pass_emit(p, m->items[i]);
    m->len = 0;
}

static void pass_run(struct normalizer_pass *p, const struct normal *in) {
    p->from = (struct normal_reader){in, 0};
    p->work->pending.len = p->work->held.len = 0;
    for (size_t at = 0; at < in->len;) {
        uint32_t cp = next_cp(in, &at);
        uint32_t parts[UNICODE_DECOMPOSED_MAX];
        size_t n = unicode_decompose(cp, p->compatibility, parts);
        for (size_t i = 0; i < n; i++) {
            struct normalizer_mark m = {parts[i], unicode_combining_class(parts[i]), i > 0};
            if (m.ccc) {
                marks_push(p->work, &p->work->pending, m);
            } else {
                pass_flush(p);
                pass_emit(p, m);
            }
        }
    }
    pass_flush(p);
    if (p->has_composee)
        write_held(p);
}

static void clean_and_space(const struct normalizer_step *step, const struct normal *in,
                            struct normal *out) {
    for (size_t at = 0; at < in->len;) {
        struct token_span from = in->align[at];
        uint32_t cp = next_cp(in, &at);
        unsigned flags = unicode_flags(cp);
        if (step->clean_text && (flags & UNICODE_REMOVED))
            continue;
        if (step->clean_text && (flags & UNICODE_WHITESPACE))
            cp = ' ';
        bool apart = step->chinese && unicode_is_cjk(cp);
        if (apart)
            normal_put(out, ' ', from);
        normal_put(out, cp, from);
        if (apart)
            normal_put(out, ' ', from);
    }
}

static void lower_all(const struct normal *in, struct normal *out) {
    for (size_t at = 0; at < in->len;) {
        struct token_span from = in->align[at];
        put_lower(out, next_cp(in, &at), from);
    }
}

static void drop_marks(const struct normal *in, struct normal *out) {
    for (size_t at = 0; at < in->len;) {
        struct token_span from = in->align[at];
        uint32_t cp = next_cp(in, &at);
        if (!(unicode_flags(cp) & UNICODE_MARK))
            normal_put(out, cp, from);
    }
}

static void strip_ends(const struct normalizer_step *step, const struct normal *in,
                       struct normal *out) {
    size_t begin = 0, end = 0;
    bool seen = !step->left && !step->right;
    for (size_t at = 0; at < in->len;) {
        size_t was = at;
        if (unicode_flags(next_cp(in, &at)) & UNICODE_WHITESPACE)
            continue;
        begin = seen ? begin : was;
        end = at;
        seen = true;
    }
    if (seen && !step->left)
        begin = 0;
    if (seen && !step->right)
        end = in->len;
    // a text that is all space goes, whichever side is asked for
    for (size_t at = begin; at < end;) {
        struct token_span from = in->align[at];
        normal_put(out, next_cp(in, &at), from);
    }
}

static void replace_all(const struct normalizer_step *step, const struct normal *in,
                        struct normal *out) {
    struct normal content = {.text = step->content, .len = step->content_len};
    for (size_t at = 0; at < in->len;) {
        if (in->len - at >= step->pattern_len &&
            memcmp(in->text + at, step->pattern, step->pattern_len) == 0) {
            at += step->pattern_len;
            for (size_t c = 0; c < content.len;)
                normal_put(out, next_cp(&content, &c), in->align[at - 1]);
            continue;
        }
        struct token_span from = in->align[at];
        normal_put(out, next_cp(in, &at), from);
    }
}

// Rewrites the text once, through the spare buffer.
static void rewrite(const struct normalizer_step *step, struct normal *text,
                    struct normalizer_work *work, bool first_half) {
    struct normal *out = &work->spare;
    struct normalizer_pass p = {.step = step, .work = work, .out = out};
    normal_clear(out);
    switch (step->kind) {
    case NORMALIZER_BERT:
        p.bert = true;
        if (first_half)
            clean_and_space(step, text, out);
        else if (step->strip_accents)
            pass_run(&p, text);
        else
            lower_all(text, out);
        break;
    case NORMALIZER_LOWERCASE:
        lower_all(text, out);
        break;
    case NORMALIZER_NFD:
    case NORMALIZER_NFKD:
    case NORMALIZER_NFC:
    case NORMALIZER_NFKC:
        p.compatibility = step->kind == NORMALIZER_NFKD || step->kind == NORMALIZER_NFKC;
        p.compose = step->kind == NORMALIZER_NFC || step->kind == NORMALIZER_NFKC;
        pass_run(&p, text);
        break;
    case NORMALIZER_STRIP_ACCENTS:
        drop_marks(text, out);
        break;
    case NORMALIZER_STRIP:
        strip_ends(step, text, out);
        break;
    case NORMALIZER_REPLACE:
        replace_all(step, text, out);
        break;
    }
    normal_swap(text, out);
}

enum err normalizer_apply(const struct normalizer *n, struct normal *text,
                          struct normalizer_work *work) {
    work->failed = false;
    for (size_t i = 0; i < n->count && !text->failed; i++) {
        const struct normalizer_step *step = &n->steps[i];
        bool bert = step->kind == NORMALIZER_BERT;
        if (bert && (step->clean_text || step->chinese))
            rewrite(step, text, work, true);
        if (!text->failed && (!bert || step->strip_accents || step->lowercase))
            rewrite(step, text, work, false);
    }
    return text->failed || work->failed ? ERR_NOMEM : ERR_OK;
}

void normalizer_work_free(struct normalizer_work *work) {
    normal_free(&work->spare);
    mem_free(work->pending.items);
    mem_free(work->sorted.items);
    mem_free(work->held.items);
    *work = (struct normalizer_work){0};
}

bool normalizer_splits_at_spaces(const struct normalizer *n) {
    for (size_t i = 0; i < n->count; i++)
        if (n->steps[i].kind == NORMALIZER_STRIP || n->steps[i].kind == NORMALIZER_REPLACE)
            return false;
    return true;
}
