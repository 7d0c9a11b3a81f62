// See make.h.
#include "template/make.h"

#include "template/chars.h"

#include <stdlib.h>
#include <string.h>

struct value_growth {
    size_t used, cap;
    char data[];
};

static struct value_text *new_text(struct render *r, const char *s, size_t len) {
    struct value_text *t = render_alloc(r, 1, sizeof *t);
    if (!t)
        return NULL;
    *t = (struct value_text){.data = s, .len = len, .chars = chars_count(s, len)};
    return t;
}

bool make_text_view(struct render *r, const char *s, size_t len, struct value *out) {
    struct value_text *t = new_text(r, s, len);
    if (!t)
        return false;
    *out = value_text(t);
    return true;
}

static bool check_size(struct render *r, size_t len) {
    return len <= r->max_bytes ||
           render_fail(r, ERR_TOO_LARGE, "a string of over %zu bytes", r->max_bytes);
}

bool make_text(struct render *r, const char *s, size_t len, struct value *out) {
    if (!check_size(r, len) || !render_charge(r, len / 64))
        return false;
    char *copy = render_alloc(r, len + 1, 1);
    if (!copy)
        return false;
    if (len)
        memcpy(copy, s, len);
    return make_text_view(r, copy, len, out);
}

bool make_concat(struct render *r, const struct value_text *a, const char *b, size_t b_len,
                 struct value *out) {
    // both are in memory, so that their lengths' sum does not overflow
    if (!check_size(r, a->len + b_len))
        return false;
    struct value_text *t = render_alloc(r, 1, sizeof *t);
    if (!t)
        return false;
    size_t len = a->len + b_len;
    struct value_growth *g = a->growth;
    // a string that grows by steps is appended to in place when nothing was appended to it before
    bool in_place = g && a->data == g->data && g->used == a->len && g->cap - g->used >= b_len;
    if (!render_charge(r, (in_place ? b_len : len) / 64))
        return false;
    if (!in_place) {
        size_t cap = len < 64 ? len : len + len / 2;
        g = render_alloc(r, 1, sizeof *g + cap);
        if (!g)
            return false;
        g->cap = cap;
        if (a->len)
            memcpy(g->data, a->data, a->len);
    }
    if (b_len)
        memcpy(g->data + a->len, b, b_len);
    g->used = len;
    *t = (struct value_text){.data = g->data, .len = len, .growth = g, .safe = a->safe};
    t->chars = a->chars + chars_count(b, b_len);
    *out = value_text(t);
    return true;
}

bool make_captured(struct render *r, size_t start, struct value *out) {
    if (r->out->failed)
        return render_fail(r, ERR_NOMEM, "no memory for the output");
    size_t len = r->out->len - start;
    if (!make_text(r, len ? r->out->data + start : "", len, out))
        return false;
    r->out->len = start;
    return true;
}

bool make_scratched(struct render *r, bool safe, struct value *out) {
    if (r->scratch.failed)
        return render_fail(r, ERR_NOMEM, "no memory for a string");
    if (!make_text(r, r->scratch.len ? r->scratch.data : "", r->scratch.len, out))
        return false;
    ((struct value_text *)out->as.text)->safe = safe; // just made, ours alone
    return true;
}

bool make_list(struct render *r, enum value_list_flavour flavour, size_t cap,
               struct value_list **out) {
    struct value_list *l = render_alloc(r, 1, sizeof *l);
    *out = l;
    if (!l || !render_charge(r, cap / 8))
        return false;
    l->flavour = flavour;
    l->items = render_alloc(r, cap, sizeof *l->items);
    return l->items != NULL;
}

bool make_dict(struct render *r, size_t cap, struct value_dict **out) {
    struct value_dict *d = render_alloc(r, 1, sizeof *d);
    *out = d;
    if (!d)
        return false;
    d->cap = cap;
    d->entries = render_alloc(r, cap, sizeof *d->entries);
    return d->entries != NULL;
}

bool make_undefined(struct render *r, const char *owner, const char *name, size_t name_len,
                    struct value *out) {
    struct value_missing *m = render_alloc(r, 1, sizeof *m);
    char *copy = render_alloc(r, name_len + 1, 1);
    if (!m || !copy)
        return false;
    if (name_len)
        memcpy(copy, name, name_len);
    m->owner = owner;
    m->name = copy;
    *out = (struct value){.kind = VALUE_UNDEFINED, .as.missing = m};
    return true;
}

bool make_integer(struct render *r, const char *digits, size_t len, struct value *out) {
    bool negative = len && digits[0] == '-';
    if (negative || (len && digits[0] == '+'))
        digits++, len--;
    while (len > 1 && digits[0] == '0')
        digits++, len--;
    int64_t v = 0;
    bool fits = true;
    for (size_t i = 0; i < len && fits; i++)
        fits =
            !__builtin_mul_overflow(v, 10, &v) && !__builtin_sub_overflow(v, digits[i] - '0', &v);
    if (fits && (negative || v != INT64_MIN)) {
        *out = value_int(negative ? v : -v);
        return true;
    }
    char *copy = render_alloc(r, len + 2, 1);
    if (!copy)
        return false;
    copy[0] = '-';
    memcpy(copy + negative, digits, len);
    if (!make_text_view(r, copy, len + negative, out))
        return false;
    out->kind = VALUE_BIG;
    return true;
}

static bool make_json_text(struct render *r, const char *s, size_t len, bool copy,
                           struct value *out) {
    return copy ? make_text(r, s, len, out) : make_text_view(r, s, len, out);
}

static bool make_json_scalar(struct render *r, const struct json_node *n, bool copy,
                             struct value *out) {
    switch (n->kind) {
    case JSON_FALSE:
    case JSON_TRUE:
        *out = value_bool(n->kind == JSON_TRUE);
        return true;
    case JSON_NUMBER:
        if (strpbrk(n->text, ".eE")) {
            *out = value_float(strtod(n->text, NULL));
            return true;
        }
        return make_integer(r, n->text, n->len, out);
    case JSON_STRING:
        return make_json_text(r, n->text, n->len, copy, out);
    default:
        *out = value_none();
        return true;
    }
}

// Recursion is bounded: a tree is at most 64 deep.
bool make_json(struct render *r, const struct json_node *node, bool copy, struct value *out) {
    if (!render_charge(r, 1))
        return false;
    if (node->kind == JSON_ARRAY) {
        struct value_list *l;
        if (!make_list(r, LIST_LIST, node->count, &l))
            return false;
        for (const struct json_node *n = node->child; n; n = n->next)
            if (!make_json(r, n, copy, &l->items[l->count++]))
                return false;
        *out = value_list(l);
        return true;
    }
    if (node->kind != JSON_OBJECT)
        return make_json_scalar(r, node, copy, out);
    struct value_dict *d;
    if (!make_dict(r, node->count, &d))
        return false;
    for (const struct json_node *n = node->child; n; n = n->next) {
        struct value_entry *e = &d->entries[d->count++]; // json_check has refused duplicates
        if (!make_json_text(r, n->key, n->key_len, copy, &e->key) ||
            !make_json(r, n, copy, &e->value))
            return false;
    }
    *out = value_dict(d);
    return true;
}

bool make_escaped(struct render *r, const struct value_text *t, const struct value_text **out) {
    struct buf *b = &r->scratch;
    buf_reset(b);
    for (size_t i = 0; i < t->len; i++) {
        switch (t->data[i]) {
        case '&':
            buf_puts(b, "&amp;");
            break;
        case '<':
            buf_puts(b, "&lt;");
            break;
        case '>':
            buf_puts(b, "&gt;");
            break;
        case '\'':
            buf_puts(b, "&#39;");
            break;
        case '"':
            buf_puts(b, "&#34;");
            break;
        default:
            buf_putc(b, t->data[i]);
        }
    }
    struct value v;
    if (!render_charge(r, t->len / 4) || !make_scratched(r, true, &v))
        return false;
    *out = v.as.text;
    return true;
}
