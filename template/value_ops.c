// See value_ops.h.
#include "template/value_ops.h"

#include "template/chars.h"
#include "template/make.h"

#include <string.h>

bool value_dict_find_word(struct render *r, const struct value_dict *d, const char *key, size_t len,
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
    return render_charge(r, steps);
}

bool value_dict_find(struct render *r, const struct value_dict *d, struct value key,
                     struct value **found) {
    if (key.kind == VALUE_STRING)
        return value_dict_find_word(r, d, key.as.text->data, key.as.text->len, found);
    *found = NULL;
    if (key.kind == VALUE_DICT || (key.kind == VALUE_LIST && key.as.list->flavour == LIST_LIST))
        return render_fail(r, ERR_INVALID, "unhashable type: '%s'", value_type_name(key));
    for (size_t i = 0; i < d->count; i++) {
        bool same;
        if (!value_equal(r, d->entries[i].key, key, 0, &same) || !render_charge(r, 1))
            return false;
        if (same) {
            *found = &d->entries[i].value;
            return true;
        }
    }
    return true;
}

bool value_dict_put(struct render *r, struct value_dict *d, struct value key, struct value v) {
    struct value *found;
    if (!value_dict_find(r, d, key, &found))
        return false;
    if (found) {
        *found = v;
        return true;
    }
    if (d->count == d->cap) {
        size_t cap = d->cap ? d->cap * 2 : 4;
        struct value_entry *entries = render_alloc(r, cap, sizeof *entries);
        if (!entries)
            return false;
        if (d->count)
            memcpy(entries, d->entries, d->count * sizeof *entries);
        d->entries = entries;
        d->cap = cap;
    }
    d->entries[d->count++] = (struct value_entry){key, v};
    return true;
}

static bool dicts_equal(struct render *r, const struct value_dict *a, const struct value_dict *b,
                        size_t depth, bool *equal) {
    *equal = a->count == b->count;
    for (size_t i = 0; i < a->count && *equal; i++) {
        struct value *other;
        if (!value_dict_find(r, b, a->entries[i].key, &other))
            return false;
        *equal = other != NULL;
        if (other && !value_equal(r, a->entries[i].value, *other, depth + 1, equal))
            return false;
    }
    return true;
}

// Views of keys and items compare as sets in Python; here only lists and tuples and ranges do.
static bool lists_equal(struct render *r, const struct value_list *a, const struct value_list *b,
                        size_t depth, bool *equal) {
    *equal = a == b;
    if (a == b || a->flavour != b->flavour || a->flavour == LIST_ITERATOR ||
        a->flavour == LIST_VALUES)
        return true;
    if (a->flavour == LIST_KEYS || a->flavour == LIST_ITEMS)
        return render_fail(r, ERR_INVALID, "views of dicts are not compared here");
    *equal = a->count == b->count;
    for (size_t i = 0; i < a->count && *equal; i++)
        if (!value_equal(r, a->items[i], b->items[i], depth + 1, equal))
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

bool value_equal(struct render *r, struct value a, struct value b, size_t depth, bool *equal) {
    double x, y;
    *equal = false;
    if (!render_charge(r, 1) || !render_nest(r, depth))
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
        return render_charge(r, a.as.text->len / 64);
    case VALUE_LIST:
        return lists_equal(r, a.as.list, b.as.list, depth, equal);
    case VALUE_DICT:
        return dicts_equal(r, a.as.dict, b.as.dict, depth, equal);
    case VALUE_METHOD:
        return render_fail(r, ERR_INVALID, "methods are not compared here");
    default: // by identity
        *equal = a.as.dict == b.as.dict;
        return true;
    }
}

bool value_compare(struct render *r, struct value a, struct value b, const char *op, size_t depth,
                   int *order) {
    double x, y;
    if (!render_charge(r, 1) || !render_nest(r, depth))
        return false;
    if (a.kind == VALUE_UNDEFINED || b.kind == VALUE_UNDEFINED)
        return render_fail_undefined(r, a.kind == VALUE_UNDEFINED ? a.as.missing : b.as.missing);
    if (value_is_number(a, &x) && value_is_number(b, &y)) {
        if (x != x || y != y)
            return render_fail(r, ERR_INVALID, "'%s' with a number that is not one (nan)", op);
        *order = compare_numbers(a, b);
        return true;
    }
    if (a.kind == VALUE_STRING && b.kind == VALUE_STRING) {
        size_t n = a.as.text->len, m = b.as.text->len;
        *order = chars_compare(a.as.text->data, n, b.as.text->data, m);
        return render_charge(r, (n < m ? n : m) / 64);
    }
    bool sequences = (value_is_flavour(a, LIST_LIST) && value_is_flavour(b, LIST_LIST)) ||
                     (value_is_flavour(a, LIST_TUPLE) && value_is_flavour(b, LIST_TUPLE));
    if (!sequences)
        return render_fail(r, ERR_INVALID, "'%s' not supported between instances of '%s' and '%s'",
                           op, value_type_name(a), value_type_name(b));
    const struct value_list *l = a.as.list, *m = b.as.list;
    for (size_t i = 0; i < l->count && i < m->count; i++) {
        bool equal;
        if (!value_equal(r, l->items[i], m->items[i], depth + 1, &equal))
            return false;
        if (!equal)
            return value_compare(r, l->items[i], m->items[i], op, depth + 1, order);
    }
    *order = (l->count > m->count) - (l->count < m->count);
    return true;
}

bool value_contains(struct render *r, struct value haystack, struct value needle, bool *found) {
    *found = false;
    if (haystack.kind == VALUE_STRING) {
        if (needle.kind == VALUE_UNDEFINED)
            return render_fail(r, ERR_INVALID,
                               "'in <string>' requires string as left operand, not %s",
                               "Undefined");
        if (needle.kind != VALUE_STRING)
            return render_fail(r, ERR_INVALID,
                               "'in <string>' requires string as left operand, not %s",
                               value_type_name(needle));
        const struct value_text *h = haystack.as.text, *n = needle.as.text;
        if (!render_charge(r, (h->len / 16) * (1 + n->len / 64))) // before what may take minutes
            return false;
        *found = chars_find(h->data, h->len, n->data, n->len, 0) != SIZE_MAX;
        return true;
    }
    if (haystack.kind == VALUE_DICT) {
        struct value *hit;
        if (!value_dict_find(r, haystack.as.dict, needle, &hit))
            return false;
        *found = hit != NULL;
        return true;
    }
    if (haystack.kind == VALUE_UNDEFINED)
        return true;
    struct value_list *l;
    if (haystack.kind != VALUE_LIST)
        return render_fail(r, ERR_INVALID, "argument of type '%s' is not iterable",
                           value_type_name(haystack));
    if (!value_iterate(r, haystack, &l))
        return false;
    for (size_t i = 0; i < l->count && !*found; i++)
        if (!value_equal(r, l->items[i], needle, 0, found))
            return false;
    return true;
}

bool value_iterate(struct render *r, struct value v, struct value_list **out) {
    if (v.kind == VALUE_LIST && v.as.list->flavour != LIST_ITERATOR) {
        *out = v.as.list;
        return true;
    }
    struct value_list *l;
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
        const struct value_text *t = v.as.text;
        if (!render_charge(r, t->chars) || !make_list(r, LIST_LIST, t->chars, &l))
            return false;
        for (size_t at = 0; at < t->len;) {
            size_t n = chars_offset(t->data + at, t->len - at, 1);
            if (!make_text_view(r, t->data + at, n, &l->items[l->count++]))
                return false;
            at += n;
        }
    } else if (v.kind == VALUE_UNDEFINED) {
        if (!make_list(r, LIST_LIST, 0, &l))
            return false;
    } else {
        return render_fail(r, ERR_INVALID, "'%s' object is not iterable", value_type_name(v));
    }
    *out = l;
    return true;
}

bool value_length(struct render *r, struct value v, size_t *out) {
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
        return render_fail(r, ERR_INVALID, "object of type '%s' has no len()", value_type_name(v));
    return true;
}
