// See value.h and run.h: what values are, not how they are computed.
#include "base/mem.h"
#include "template/run.h"
#include "template/text.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct growth {
    size_t used, cap;
    char data[];
};

bool value_is_integer(struct value v, int64_t *i) {
    if (v.kind == VALUE_BOOL)
        *i = v.as.truth;
    else if (v.kind == VALUE_INT)
        *i = v.as.integer;
    else
        return false;
    return true;
}

bool value_is_number(struct value v, double *f) {
    int64_t i;
    if (v.kind == VALUE_FLOAT)
        *f = v.as.real;
    else if (value_is_integer(v, &i))
        *f = (double)i;
    else
        return false;
    return true;
}

bool value_truth(struct value v) {
    switch (v.kind) {
    case VALUE_ABSENT:
    case VALUE_UNDEFINED:
    case VALUE_NONE:
        return false;
    case VALUE_BOOL:
        return v.as.truth;
    case VALUE_INT:
        return v.as.integer != 0;
    case VALUE_FLOAT:
        return v.as.real != 0;
    case VALUE_STRING:
        return v.as.text->len > 0;
    case VALUE_LIST:
        return v.as.list->flavour == LIST_ITERATOR || v.as.list->count > 0;
    case VALUE_DICT:
        return v.as.dict->count > 0;
    default:
        return true;
    }
}

const char *value_type_name(struct value v) {
    static const char *const lists[] = {"list",        "tuple",      "range",    "dict_keys",
                                        "dict_values", "dict_items", "generator"};
    switch (v.kind) {
    case VALUE_ABSENT:
    case VALUE_UNDEFINED:
        return "Undefined";
    case VALUE_NONE:
        return "NoneType";
    case VALUE_BOOL:
        return "bool";
    case VALUE_INT:
    case VALUE_BIG:
        return "int";
    case VALUE_FLOAT:
        return "float";
    case VALUE_STRING:
        return "str";
    case VALUE_LIST:
        return lists[v.as.list->flavour];
    case VALUE_DICT:
        return "dict";
    case VALUE_NAMESPACE:
        return "Namespace";
    case VALUE_MACRO:
        return "Macro";
    case VALUE_LOOP:
        return "LoopContext";
    case VALUE_FUNCTION:
        return "function";
    case VALUE_METHOD:
        return "method";
    }
    return "object";
}

bool value_is_word(struct value v, const char *s) {
    return v.kind == VALUE_STRING && v.as.text->len == strlen(s) &&
           memcmp(v.as.text->data, s, v.as.text->len) == 0;
}

static struct text *new_text(struct run *r, const char *s, size_t len) {
    struct text *t = run_alloc(r, 1, sizeof *t);
    if (!t)
        return NULL;
    *t = (struct text){.data = s, .len = len, .chars = text_count_chars(s, len)};
    return t;
}

bool make_text_view(struct run *r, const char *s, size_t len, struct value *out) {
    struct text *t = new_text(r, s, len);
    if (!t)
        return false;
    *out = value_text(t);
    return true;
}

static bool check_size(struct run *r, size_t len) {
    return len <= r->max_bytes ||
           run_fail(r, ERR_TOO_LARGE, "a string of over %zu bytes", r->max_bytes);
}

bool make_text(struct run *r, const char *s, size_t len, struct value *out) {
    if (!check_size(r, len) || !run_charge(r, len / 64))
        return false;
    char *copy = run_alloc(r, len + 1, 1);
    if (!copy)
        return false;
    if (len)
        memcpy(copy, s, len);
    return make_text_view(r, copy, len, out);
}

bool make_concat(struct run *r, const struct text *a, const char *b, size_t b_len,
                 struct value *out) {
    // both are in memory, so that their lengths' sum does not overflow
    if (!check_size(r, a->len + b_len))
        return false;
    struct text *t = run_alloc(r, 1, sizeof *t);
    if (!t)
        return false;
    size_t len = a->len + b_len;
    struct growth *g = a->growth;
    // a string that grows by steps is appended to in place when nothing was appended to it before
    bool in_place = g && a->data == g->data && g->used == a->len && g->cap - g->used >= b_len;
    if (!run_charge(r, (in_place ? b_len : len) / 64))
        return false;
    if (!in_place) {
        size_t cap = len < 64 ? len : len + len / 2;
        g = run_alloc(r, 1, sizeof *g + cap);
        if (!g)
            return false;
        g->cap = cap;
        if (a->len)
            memcpy(g->data, a->data, a->len);
    }
    if (b_len)
        memcpy(g->data + a->len, b, b_len);
    g->used = len;
    *t = (struct text){.data = g->data, .len = len, .growth = g, .safe = a->safe};
    t->chars = a->chars + text_count_chars(b, b_len);
    *out = value_text(t);
    return true;
}

bool make_captured(struct run *r, size_t start, struct value *out) {
    if (r->out->failed)
        return run_fail(r, ERR_NOMEM, "no memory for the output");
    size_t len = r->out->len - start;
    if (!make_text(r, len ? r->out->data + start : "", len, out))
        return false;
    r->out->len = start;
    return true;
}

bool make_scratched(struct run *r, bool safe, struct value *out) {
    if (r->scratch.failed)
        return run_fail(r, ERR_NOMEM, "no memory for a string");
    if (!make_text(r, r->scratch.len ? r->scratch.data : "", r->scratch.len, out))
        return false;
    ((struct text *)out->as.text)->safe = safe; // just made, ours alone
    return true;
}

bool make_list(struct run *r, enum list_flavour flavour, size_t cap, struct list **out) {
    struct list *l = run_alloc(r, 1, sizeof *l);
    *out = l;
    if (!l || !run_charge(r, cap / 8))
        return false;
    l->flavour = flavour;
    l->items = run_alloc(r, cap, sizeof *l->items);
    return l->items != NULL;
}

bool make_dict(struct run *r, size_t cap, struct dict **out) {
    struct dict *d = run_alloc(r, 1, sizeof *d);
    *out = d;
    if (!d)
        return false;
    d->cap = cap;
    d->entries = run_alloc(r, cap, sizeof *d->entries);
    return d->entries != NULL;
}

bool make_undefined(struct run *r, const char *owner, const char *name, size_t name_len,
                    struct value *out) {
    struct missing *m = run_alloc(r, 1, sizeof *m);
    char *copy = run_alloc(r, name_len + 1, 1);
    if (!m || !copy)
        return false;
    if (name_len)
        memcpy(copy, name, name_len);
    m->owner = owner;
    m->name = copy;
    *out = (struct value){.kind = VALUE_UNDEFINED, .as.missing = m};
    return true;
}

bool make_integer(struct run *r, const char *digits, size_t len, struct value *out) {
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
    char *copy = run_alloc(r, len + 2, 1);
    if (!copy)
        return false;
    copy[0] = '-';
    memcpy(copy + negative, digits, len);
    if (!make_text_view(r, copy, len + negative, out))
        return false;
    out->kind = VALUE_BIG;
    return true;
}

static bool make_json_text(struct run *r, const char *s, size_t len, bool copy, struct value *out) {
    return copy ? make_text(r, s, len, out) : make_text_view(r, s, len, out);
}

static bool make_json_scalar(struct run *r, const struct json_node *n, bool copy,
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
bool make_json(struct run *r, const struct json_node *node, bool copy, struct value *out) {
    if (!run_charge(r, 1))
        return false;
    if (node->kind == JSON_ARRAY) {
        struct list *l;
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
    struct dict *d;
    if (!make_dict(r, node->count, &d))
        return false;
    for (const struct json_node *n = node->child; n; n = n->next) {
        struct entry *e = &d->entries[d->count++]; // json_check has refused duplicates
        if (!make_json_text(r, n->key, n->key_len, copy, &e->key) ||
            !make_json(r, n, copy, &e->value))
            return false;
    }
    *out = value_dict(d);
    return true;
}

bool dict_find_word(struct run *r, const struct dict *d, const char *key, size_t len,
                    struct value **found) {
    *found = NULL;
    uint64_t steps = d->count / 8;
    for (size_t i = 0; i < d->count && !*found; i++) {
        const struct value *k = &d->entries[i].key;
        if (k->kind != VALUE_STRING || k->as.text->len != len)
            continue;
        steps += len / 64;
        if (memcmp(k->as.text->data, key, len) == 0)
            *found = &d->entries[i].value;
    }
    return run_charge(r, steps);
}

bool dict_find(struct run *r, const struct dict *d, struct value key, struct value **found) {
    if (key.kind == VALUE_STRING)
        return dict_find_word(r, d, key.as.text->data, key.as.text->len, found);
    *found = NULL;
    if (key.kind == VALUE_DICT || (key.kind == VALUE_LIST && key.as.list->flavour == LIST_LIST))
        return run_fail(r, ERR_INVALID, "unhashable type: '%s'", value_type_name(key));
    for (size_t i = 0; i < d->count; i++) {
        bool same;
        if (!values_equal(r, d->entries[i].key, key, 0, &same) || !run_charge(r, 1))
            return false;
        if (same) {
            *found = &d->entries[i].value;
            return true;
        }
    }
    return true;
}

bool dict_put(struct run *r, struct dict *d, struct value key, struct value v) {
    struct value *found;
    if (!dict_find(r, d, key, &found))
        return false;
    if (found) {
        *found = v;
        return true;
    }
    if (d->count == d->cap) {
        size_t cap = d->cap ? d->cap * 2 : 4;
        struct entry *entries = run_alloc(r, cap, sizeof *entries);
        if (!entries)
            return false;
        if (d->count)
            memcpy(entries, d->entries, d->count * sizeof *entries);
        d->entries = entries;
        d->cap = cap;
    }
    d->entries[d->count++] = (struct entry){key, v};
    return true;
}

static bool dicts_equal(struct run *r, const struct dict *a, const struct dict *b, size_t depth,
                        bool *equal) {
    *equal = a->count == b->count;
    for (size_t i = 0; i < a->count && *equal; i++) {
        struct value *other;
        if (!dict_find(r, b, a->entries[i].key, &other))
            return false;
        *equal = other != NULL;
        if (other && !values_equal(r, a->entries[i].value, *other, depth + 1, equal))
            return false;
    }
    return true;
}

// Views of keys and items compare as sets in Python; here only lists and tuples and ranges do.
static bool lists_equal(struct run *r, const struct list *a, const struct list *b, size_t depth,
                        bool *equal) {
    *equal = a == b;
    if (a == b || a->flavour != b->flavour || a->flavour == LIST_ITERATOR ||
        a->flavour == LIST_VALUES)
        return true;
    if (a->flavour == LIST_KEYS || a->flavour == LIST_ITEMS)
        return run_fail(r, ERR_INVALID, "views of dicts are not compared here");
    *equal = a->count == b->count;
    for (size_t i = 0; i < a->count && *equal; i++)
        if (!values_equal(r, a->items[i], b->items[i], depth + 1, equal))
            return false;
    return true;
}

static int compare_numbers(struct value a, struct value b) {
    int64_t i, j;
    if (value_is_integer(a, &i) && value_is_integer(b, &j))
        return (i > j) - (i < j);
    // a long double holds every int64 and every double exactly
    long double x = value_is_integer(a, &i) ? (long double)i : (long double)a.as.real;
    long double y = value_is_integer(b, &j) ? (long double)j : (long double)b.as.real;
    return (x > y) - (x < y);
}

bool values_equal(struct run *r, struct value a, struct value b, size_t depth, bool *equal) {
    double x, y;
    *equal = false;
    if (!run_charge(r, 1) || !run_nest(r, depth))
        return false;
    if (value_is_number(a, &x) && value_is_number(b, &y)) {
        *equal = x == x && y == y && compare_numbers(a, b) == 0;
        return true;
    }
    if (a.kind != b.kind)
        return true;
    switch (a.kind) {
    case VALUE_UNDEFINED:
    case VALUE_NONE:
        *equal = true;
        return true;
    case VALUE_STRING:
    case VALUE_BIG:
        if (a.as.text->len != b.as.text->len)
            return true;
        *equal = memcmp(a.as.text->data, b.as.text->data, a.as.text->len) == 0;
        return run_charge(r, a.as.text->len / 64);
    case VALUE_LIST:
        return lists_equal(r, a.as.list, b.as.list, depth, equal);
    case VALUE_DICT:
        return dicts_equal(r, a.as.dict, b.as.dict, depth, equal);
    case VALUE_METHOD:
        return run_fail(r, ERR_INVALID, "methods are not compared here");
    default: // by identity
        *equal = a.as.dict == b.as.dict;
        return true;
    }
}

bool values_compare(struct run *r, struct value a, struct value b, const char *op, size_t depth,
                    int *order) {
    double x, y;
    if (!run_charge(r, 1) || !run_nest(r, depth))
        return false;
    if (a.kind == VALUE_UNDEFINED || b.kind == VALUE_UNDEFINED)
        return fail_undefined(r, a.kind == VALUE_UNDEFINED ? a.as.missing : b.as.missing);
    if (value_is_number(a, &x) && value_is_number(b, &y)) {
        if (x != x || y != y)
            return run_fail(r, ERR_INVALID, "'%s' with a number that is not one (nan)", op);
        *order = compare_numbers(a, b);
        return true;
    }
    if (a.kind == VALUE_STRING && b.kind == VALUE_STRING) {
        size_t n = a.as.text->len, m = b.as.text->len;
        *order = text_compare(a.as.text->data, n, b.as.text->data, m);
        return run_charge(r, (n < m ? n : m) / 64);
    }
    bool sequences = (value_is_flavour(a, LIST_LIST) && value_is_flavour(b, LIST_LIST)) ||
                     (value_is_flavour(a, LIST_TUPLE) && value_is_flavour(b, LIST_TUPLE));
    if (!sequences)
        return run_fail(r, ERR_INVALID, "'%s' not supported between instances of '%s' and '%s'", op,
                        value_type_name(a), value_type_name(b));
    const struct list *l = a.as.list, *m = b.as.list;
    for (size_t i = 0; i < l->count && i < m->count; i++) {
        bool equal;
        if (!values_equal(r, l->items[i], m->items[i], depth + 1, &equal))
            return false;
        if (!equal)
            return values_compare(r, l->items[i], m->items[i], op, depth + 1, order);
    }
    *order = (l->count > m->count) - (l->count < m->count);
    return true;
}

bool value_contains(struct run *r, struct value haystack, struct value needle, bool *found) {
    *found = false;
    if (haystack.kind == VALUE_STRING) {
        if (needle.kind == VALUE_UNDEFINED)
            return run_fail(r, ERR_INVALID, "'in <string>' requires string as left operand, not %s",
                            "Undefined");
        if (needle.kind != VALUE_STRING)
            return run_fail(r, ERR_INVALID, "'in <string>' requires string as left operand, not %s",
                            value_type_name(needle));
        const struct text *h = haystack.as.text, *n = needle.as.text;
        if (!run_charge(r, (h->len / 16) * (1 + n->len / 64))) // before what may take minutes
            return false;
        *found = text_find(h->data, h->len, n->data, n->len, 0) != SIZE_MAX;
        return true;
    }
    if (haystack.kind == VALUE_DICT) {
        struct value *hit;
        if (!dict_find(r, haystack.as.dict, needle, &hit))
            return false;
        *found = hit != NULL;
        return true;
    }
    if (haystack.kind == VALUE_UNDEFINED)
        return true;
    struct list *l;
    if (haystack.kind != VALUE_LIST)
        return run_fail(r, ERR_INVALID, "argument of type '%s' is not iterable",
                        value_type_name(haystack));
    if (!value_iterate(r, haystack, &l))
        return false;
    for (size_t i = 0; i < l->count && !*found; i++)
        if (!values_equal(r, l->items[i], needle, 0, found))
            return false;
    return true;
}

bool value_iterate(struct run *r, struct value v, struct list **out) {
    if (v.kind == VALUE_LIST && v.as.list->flavour != LIST_ITERATOR) {
        *out = v.as.list;
        return true;
    }
    struct list *l;
    if (v.kind == VALUE_LIST) {
        if (!make_list(r, LIST_LIST, 0, &l))
            return false;
        l->items = v.as.list->items + v.as.list->at;
        l->count = v.as.list->count - v.as.list->at;
        v.as.list->at = v.as.list->count;
    } else if (v.kind == VALUE_DICT) {
        if (!make_list(r, LIST_LIST, v.as.dict->count, &l))
            return false;
        for (size_t i = 0; i < v.as.dict->count; i++)
            l->items[l->count++] = v.as.dict->entries[i].key;
    } else if (v.kind == VALUE_STRING) {
        const struct text *t = v.as.text;
        if (!run_charge(r, t->chars) || !make_list(r, LIST_LIST, t->chars, &l))
            return false;
        for (size_t at = 0; at < t->len;) {
            size_t n = text_offset(t->data + at, t->len - at, 1);
            if (!make_text_view(r, t->data + at, n, &l->items[l->count++]))
                return false;
            at += n;
        }
    } else if (v.kind == VALUE_UNDEFINED) {
        if (!make_list(r, LIST_LIST, 0, &l))
            return false;
    } else {
        return run_fail(r, ERR_INVALID, "'%s' object is not iterable", value_type_name(v));
    }
    *out = l;
    return true;
}

bool value_length(struct run *r, struct value v, size_t *out) {
    if (v.kind == VALUE_STRING)
        *out = v.as.text->chars;
    else if (v.kind == VALUE_DICT)
        *out = v.as.dict->count;
    else if (v.kind == VALUE_LIST && v.as.list->flavour != LIST_ITERATOR)
        *out = v.as.list->count;
    else if (v.kind == VALUE_UNDEFINED)
        *out = 0;
    else if (v.kind == VALUE_LOOP)
        *out = v.as.loop->items->count;
    else
        return run_fail(r, ERR_INVALID, "object of type '%s' has no len()", value_type_name(v));
    return true;
}

void record_undefined(struct run *r, const struct missing *m) {
    if (!m->owner)
        run_record(r, ERR_INVALID, "'%s' is undefined", m->name);
    else if (!*m->name)
        run_record(r, ERR_INVALID, "%s", m->owner);
    else
        run_record(r, ERR_INVALID, "'%s' has no attribute '%s'", m->owner, m->name);
}
