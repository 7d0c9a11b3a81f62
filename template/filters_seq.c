// Filters on sequences. Python computes some of them lazily; here they are computed at once and can
// be read once (LIST_ITERATOR). The two differ only when an element that would never have been
// reached has an error. Source followed: jinja2 3.1.6, filters.py.
#include "template/access.h"
#include "template/chars.h"
#include "template/filters.h"
#include "template/make.h"
#include "template/operators.h"
#include "template/print.h"
#include "template/value_ops.h"

#include <string.h>

static bool make_iterator(struct render *r, size_t cap, struct value_list **out) {
    return make_list(r, LIST_ITERATOR, cap, out);
}

FILTER(filter_length) {
    struct value unused[1];
    size_t n;
    if (!arguments_bind(r, "length", args, NULL, 0, 0, unused) || !value_length(r, self, &n))
        return false;
    *out = value_int((int64_t)n);
    return true;
}

FILTER(filter_join) {
    static const char *const names[] = {"d", "attribute"};
    struct value v[2];
    const struct value_text *between = NULL;
    struct value_list *l;
    if (!arguments_bind(r, "join", args, names, 2, 0, v) || !value_iterate(r, self, &l) ||
        !print_to_text(r, v[0], &between))
        return false;
    struct buf joined = {0};
    bool ok = true;
    for (size_t i = 0; i < l->count && ok; i++) {
        struct value item = l->items[i];
        const struct value_text *t = NULL;
        if (v[1].kind != VALUE_ABSENT && v[1].kind != VALUE_NONE)
            ok = access_path(r, item, v[1], value_absent(), &item);
        ok = ok && print_to_text(r, item, &t) && render_charge(r, 1 + between->len / 64);
        if (!ok)
            break;
        if (i)
            buf_append(&joined, between->data, between->len);
        buf_append(&joined, t->data, t->len);
        if (joined.len > r->max_bytes)
            ok = render_fail(r, ERR_TOO_LARGE, "a string of over %zu bytes", r->max_bytes);
    }
    if (ok && joined.failed)
        ok = render_fail(r, ERR_NOMEM, "no memory for a string");
    ok = ok && make_text(r, joined.len ? joined.data : "", joined.len, out);
    buf_free(&joined);
    return ok;
}

static bool no_item(struct render *r, struct value *out) {
    static const struct value_missing empty = {"", "the sequence was empty"};
    (void)r;
    *out = (struct value){.kind = VALUE_UNDEFINED, .as.missing = &empty};
    return true;
}

FILTER(filter_first) {
    struct value unused[1];
    struct value_list *l;
    if (!arguments_bind(r, "first", args, NULL, 0, 0, unused))
        return false;
    if (value_is_flavour(self, LIST_ITERATOR)) { // takes one and leaves the rest
        l = self.as.list;
        if (l->at == l->count)
            return no_item(r, out);
        *out = l->items[l->at++];
        return true;
    }
    if (!value_iterate(r, self, &l))
        return false;
    if (!l->count)
        return no_item(r, out);
    *out = l->items[0];
    return true;
}

FILTER(filter_last) {
    struct value unused[1];
    struct value_list *l;
    if (!arguments_bind(r, "last", args, NULL, 0, 0, unused))
        return false;
    if (value_is_flavour(self, LIST_ITERATOR))
        return render_fail(r, ERR_INVALID, "'generator' object is not reversible");
    if (!value_iterate(r, self, &l))
        return false;
    if (!l->count)
        return no_item(r, out);
    *out = l->items[l->count - 1];
    return true;
}

// A list of its own with the same elements.
static bool copy_list(struct render *r, const struct value_list *from,
                      enum value_list_flavour flavour, struct value_list **out) {
    if (!render_charge(r, from->count / 4) || !make_list(r, flavour, from->count, out))
        return false;
    if (from->count)
        memcpy((*out)->items, from->items, from->count * sizeof *from->items);
    (*out)->count = from->count;
    return true;
}

FILTER(filter_list) {
    struct value unused[1];
    struct value_list *l, *copy;
    if (!arguments_bind(r, "list", args, NULL, 0, 0, unused) || !value_iterate(r, self, &l) ||
        !copy_list(r, l, LIST_LIST, &copy))
        return false;
    *out = value_list(copy);
    return true;
}

static bool make_pair(struct render *r, struct value a, struct value b, struct value *out) {
    struct value_list *pair;
    if (!make_list(r, LIST_TUPLE, 2, &pair))
        return false;
    pair->items[0] = a;
    pair->items[1] = b;
    pair->count = 2;
    *out = value_list(pair);
    return true;
}

static bool make_pairs(struct render *r, const struct value_dict *d,
                       enum value_list_flavour flavour, struct value_list **out) {
    if (!render_charge(r, d->count) || !make_list(r, flavour, d->count, out))
        return false;
    for (size_t i = 0; i < d->count; i++)
        if (!make_pair(r, d->entries[i].key, d->entries[i].value, &(*out)->items[(*out)->count++]))
            return false;
    return true;
}

FILTER(filter_items) {
    static const struct value_dict empty = {0};
    struct value unused[1];
    struct value_list *l;
    if (!arguments_bind(r, "items", args, NULL, 0, 0, unused))
        return false;
    if (self.kind != VALUE_DICT && self.kind != VALUE_UNDEFINED)
        return render_fail(r, ERR_INVALID, "Can only get item pairs from a mapping.");
    if (!make_pairs(r, self.kind == VALUE_DICT ? self.as.dict : &empty, LIST_ITERATOR, &l))
        return false;
    *out = value_list(l);
    return true;
}

// What is compared for an element: the whole or an attribute, strings in lower case.
static bool sort_key(struct render *r, struct value item, struct value path, bool fold,
                     struct value *out) {
    *out = item;
    if (path.kind != VALUE_ABSENT && path.kind != VALUE_NONE &&
        !access_path(r, item, path, value_absent(), out))
        return false;
    return !fold || out->kind != VALUE_STRING || filter_change_case(r, *out, CHARS_LOWER, out);
}

struct filter_keyed {
    struct value key, item;
};

// Stable; descending when `reverse`, equal elements still in their order.
static bool sort_keyed(struct render *r, struct filter_keyed *e, size_t count, bool reverse) {
    struct filter_keyed *from = e, *to = render_alloc(r, count, sizeof *to);
    if (!to)
        return false;
    for (size_t width = 1; width < count; width *= 2) {
        for (size_t low = 0; low < count; low += 2 * width) {
            size_t mid = low + width < count ? low + width : count;
            size_t high = mid + width < count ? mid + width : count;
            size_t i = low, j = mid;
            for (size_t k = low; k < high; k++) {
                int order = 0;
                if (i < mid && j < high &&
                    !value_compare(r, from[i].key, from[j].key, "<", 0, &order))
                    return false;
                bool left = i < mid && (j >= high || (reverse ? order >= 0 : order <= 0));
                to[k] = left ? from[i++] : from[j++];
            }
        }
        struct filter_keyed *swap = from;
        from = to;
        to = swap;
    }
    if (from != e && count)
        memcpy(e, from, count * sizeof *e);
    return true;
}

static bool sort_list(struct render *r, struct value_list *l, struct value path, bool fold,
                      bool reverse) {
    struct filter_keyed *e = render_alloc(r, l->count, sizeof *e);
    if (!e)
        return false;
    for (size_t i = 0; i < l->count; i++) {
        e[i].item = l->items[i];
        if (!sort_key(r, l->items[i], path, fold, &e[i].key))
            return false;
    }
    if (!sort_keyed(r, e, l->count, reverse))
        return false;
    for (size_t i = 0; i < l->count; i++)
        l->items[i] = e[i].item;
    return true;
}

FILTER(filter_sort) {
    static const char *const names[] = {"reverse", "case_sensitive", "attribute"};
    struct value v[3];
    struct value_list *l, *copy;
    if (!arguments_bind(r, "sort", args, names, 3, 0, v) || !value_iterate(r, self, &l) ||
        !copy_list(r, l, LIST_LIST, &copy))
        return false;
    if (v[2].kind == VALUE_STRING && memchr(v[2].as.text->data, ',', v[2].as.text->len))
        return render_fail(r, ERR_INVALID, "sort by several attributes is not supported");
    if (!sort_list(r, copy, v[2], !value_truth(v[1]), value_truth(v[0])))
        return false;
    *out = value_list(copy);
    return true;
}

FILTER(filter_dictsort) {
    static const char *const names[] = {"case_sensitive", "by", "reverse"};
    struct value v[3];
    struct value_list *l;
    if (!arguments_bind(r, "dictsort", args, names, 3, 0, v))
        return false;
    bool by_key = v[1].kind == VALUE_ABSENT || value_is_word(v[1], "key");
    if (!by_key && !value_is_word(v[1], "value"))
        return render_fail(r, ERR_INVALID, "You can only sort by either \"key\" or \"value\"");
    if (self.kind == VALUE_UNDEFINED)
        return render_fail_undefined(r, self.as.missing);
    if (self.kind != VALUE_DICT)
        return render_fail(r, ERR_INVALID, "dictsort wants a dict, not %s", value_type_name(self));
    if (!make_pairs(r, self.as.dict, LIST_LIST, &l) ||
        !sort_list(r, l, value_int(by_key ? 0 : 1), !value_truth(v[0]), value_truth(v[2])))
        return false;
    *out = value_list(l);
    return true;
}

static bool min_or_max(struct render *r, struct value self, const struct arguments *args, bool most,
                       struct value *out) {
    static const char *const names[] = {"case_sensitive", "attribute"};
    struct value v[2], best, key;
    struct value_list *l;
    if (!arguments_bind(r, most ? "max" : "min", args, names, 2, 0, v) ||
        !value_iterate(r, self, &l))
        return false;
    if (!l->count)
        return no_item(r, out);
    for (size_t i = 0; i < l->count; i++) {
        int order = 0;
        if (!sort_key(r, l->items[i], v[1], !value_truth(v[0]), &key) ||
            (i && !value_compare(r, key, best, most ? ">" : "<", 0, &order)))
            return false;
        if (i == 0 || (most ? order > 0 : order < 0)) {
            best = key;
            *out = l->items[i];
        }
    }
    return true;
}

FILTER(filter_min) { return min_or_max(r, self, args, false, out); }
FILTER(filter_max) { return min_or_max(r, self, args, true, out); }

FILTER(filter_unique) {
    static const char *const names[] = {"case_sensitive", "attribute"};
    struct value v[2];
    struct value_list *l, *kept;
    struct value_dict *seen;
    if (!arguments_bind(r, "unique", args, names, 2, 0, v) || !value_iterate(r, self, &l) ||
        !make_iterator(r, l->count, &kept) || !make_dict(r, 0, &seen))
        return false;
    for (size_t i = 0; i < l->count; i++) {
        struct value key, *found;
        if (!sort_key(r, l->items[i], v[1], !value_truth(v[0]), &key) ||
            !value_dict_find(r, seen, key, &found))
            return false;
        if (found)
            continue;
        if (!value_dict_put(r, seen, key, value_none()))
            return false;
        kept->items[kept->count++] = l->items[i];
    }
    *out = value_list(kept);
    return true;
}

FILTER(filter_reverse) {
    struct value unused[1];
    struct value_list *l, *back;
    if (!arguments_bind(r, "reverse", args, NULL, 0, 0, unused) || !value_iterate(r, self, &l))
        return false;
    // jinja2 gives a list only for what cannot be read from its end
    bool is_list = value_is_flavour(self, LIST_ITERATOR);
    if (!render_charge(r, l->count / 4) ||
        !make_list(r, is_list ? LIST_LIST : LIST_ITERATOR, l->count, &back))
        return false;
    for (size_t i = l->count; i-- > 0;)
        back->items[back->count++] = l->items[i];
    *out = value_list(back);
    if (self.kind != VALUE_STRING)
        return true;
    struct arguments none = {0};
    return filter_join(r, *out, &none, out);
}

FILTER(filter_sum) {
    static const char *const names[] = {"attribute", "start"};
    struct value v[2];
    struct value_list *l;
    if (!arguments_bind(r, "sum", args, names, 2, 0, v) || !value_iterate(r, self, &l))
        return false;
    *out = v[1].kind == VALUE_ABSENT ? value_int(0) : v[1];
    if (out->kind == VALUE_STRING)
        return render_fail(r, ERR_INVALID, "sum() can't sum strings");
    for (size_t i = 0; i < l->count; i++) {
        struct value item = l->items[i];
        if ((v[0].kind != VALUE_ABSENT && v[0].kind != VALUE_NONE &&
             !access_path(r, item, v[0], value_absent(), &item)) ||
            !operator_binary(r, OPERATOR_ADD, *out, item, out))
            return false;
    }
    return true;
}

static bool map_attribute(struct render *r, struct value_list *l, const struct arguments *args,
                          struct value_list *made) {
    static const char *const names[] = {"attribute", "default"};
    struct value v[2];
    if (!arguments_bind(r, "map", args, names, 2, 1, v))
        return false;
    for (size_t i = 0; i < l->count; i++) {
        struct value *item = &made->items[made->count++];
        if (!access_path(r, l->items[i], v[0], v[1], item))
            return false;
    }
    return true;
}

FILTER(filter_map) {
    struct value_list *l, *made;
    if (!args->count)
        return render_fail(r, ERR_INVALID, "map requires a filter argument");
    if (!value_truth(self)) // none too gives nothing
        self = (struct value){.kind = VALUE_UNDEFINED};
    if (!value_iterate(r, self, &l) || !make_iterator(r, l->count, &made))
        return false;
    *out = value_list(made);
    if (!args->positional)
        return map_attribute(r, l, args, made);
    const struct value name = args->list[0].value; // the parser has seen that it is a known one
    const struct function *f = NULL;
    if (name.kind == VALUE_STRING)
        f = filter_find(name.as.text->data, name.as.text->len);
    if (!f)
        return render_fail(r, ERR_INVALID, "map with a filter that is not known");
    struct arguments rest = {args->list + 1, args->count - 1, args->positional - 1};
    for (size_t i = 0; i < l->count; i++)
        if (!render_charge(r, 1) || !f->call(r, l->items[i], &rest, &made->items[made->count++]))
            return false;
    return true;
}

// select, reject and their attr forms: the elements whose test gives `want`.
static bool choose(struct render *r, struct value self, const struct arguments *args,
                   bool by_attribute, bool want, struct value *out) {
    struct value_list *l, *made;
    size_t first = by_attribute ? 1 : 0;
    if (args->positional < first)
        return render_fail(r, ERR_INVALID, "Missing parameter for attribute name");
    const struct function *test = NULL;
    struct arguments rest = {0};
    if (args->positional > first) {
        struct value name = args->list[first].value;
        if (name.kind == VALUE_STRING)
            test = test_find(name.as.text->data, name.as.text->len);
        if (!test) // the parser has seen that it is a known one
            return render_fail(r, ERR_INVALID, "a test that is not known");
        rest = (struct arguments){args->list + first + 1, args->count - first - 1,
                                  args->positional - first - 1};
    }
    if (!value_truth(self)) // none too gives nothing
        self = (struct value){.kind = VALUE_UNDEFINED};
    if (!value_iterate(r, self, &l) || !make_iterator(r, l->count, &made))
        return false;
    for (size_t i = 0; i < l->count; i++) {
        struct value item = l->items[i], result;
        if (!render_charge(r, 1) ||
            (by_attribute && !access_path(r, item, args->list[0].value, value_absent(), &item)))
            return false;
        result = item;
        if (test && !test->call(r, item, &rest, &result))
            return false;
        if (value_truth(result) == want)
            made->items[made->count++] = l->items[i];
    }
    *out = value_list(made);
    return true;
}

FILTER(filter_select) { return choose(r, self, args, false, true, out); }
FILTER(filter_reject) { return choose(r, self, args, false, false, out); }
FILTER(filter_selectattr) { return choose(r, self, args, true, true, out); }
FILTER(filter_rejectattr) { return choose(r, self, args, true, false, out); }

// A list of from[start..end), filled up to `size` with fill unless that is None.
static bool cut(struct render *r, const struct value_list *from, size_t start, size_t end,
                size_t size, struct value fill, struct value *out) {
    struct value_list *l;
    if (fill.kind == VALUE_ABSENT || fill.kind == VALUE_NONE || size < end - start)
        size = end - start;
    if (!render_charge(r, size) || !make_list(r, LIST_LIST, size, &l))
        return false;
    while (l->count < size) {
        l->items[l->count] = start < end ? from->items[start++] : fill;
        l->count++;
    }
    *out = value_list(l);
    return true;
}

FILTER(filter_batch) {
    static const char *const names[] = {"linecount", "fill_with"};
    struct value v[2];
    int64_t n;
    struct value_list *l, *made;
    if (!arguments_bind(r, "batch", args, names, 2, 1, v) ||
        !argument_int(r, "batch's linecount", v[0], 0, &n) || !value_iterate(r, self, &l))
        return false;
    if (n < 1)
        return render_fail(r, ERR_INVALID, "batch of %lld", (long long)n);
    size_t step = (size_t)n, size = step < l->count ? step : l->count;
    if (v[1].kind != VALUE_ABSENT && v[1].kind != VALUE_NONE && l->count)
        size = step;
    if (!make_iterator(r, l->count / step + 1, &made))
        return false;
    for (size_t at = 0; at < l->count; at += step) {
        size_t end = l->count - at < step ? l->count : at + step;
        if (!cut(r, l, at, end, size, v[1], &made->items[made->count++]))
            return false;
        if (end == l->count)
            break;
    }
    *out = value_list(made);
    return true;
}

FILTER(filter_slice) {
    static const char *const names[] = {"slices", "fill_with"};
    struct value v[2];
    int64_t n;
    struct value_list *l, *made;
    if (!arguments_bind(r, "slice", args, names, 2, 1, v) ||
        !argument_int(r, "slice's slices", v[0], 0, &n) || !value_iterate(r, self, &l))
        return false;
    if (n < 1 || n > 100000)
        return render_fail(r, ERR_INVALID, "slice into %lld", (long long)n);
    size_t slices = (size_t)n, each = l->count / slices, extra = l->count % slices, at = 0;
    if (!make_iterator(r, slices, &made))
        return false;
    for (size_t i = 0; i < slices; i++) {
        size_t end = at + each + (i < extra);
        // jinja2 fills every slice behind the longer ones, also when there are none
        size_t size = end - at + (i >= extra);
        if (!cut(r, l, at, end, size, v[1], &made->items[made->count++]))
            return false;
        at = end;
    }
    *out = value_list(made);
    return true;
}
