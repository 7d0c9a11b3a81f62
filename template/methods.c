// Methods of dicts, lists and loops, and which type has which. Python's own names are listed whole,
// because an attribute that exists hides an item of its name (see access.c).
#include "template/methods.h"

#include <string.h>

#define METHOD(name)                                                                               \
    static bool name(struct run *r, struct value self, const struct arguments *args,               \
                     struct value *out)

bool name_in(const char *const *names, size_t n, const char *name, size_t len) {
    for (size_t i = 0; i < n; i++)
        if (strlen(names[i]) == len && memcmp(names[i], name, len) == 0)
            return true;
    return false;
}

METHOD(dict_get) {
    struct value v[2], *found;
    static const char *const names[] = {"key", "default"};
    if (args->positional < args->count)
        return run_fail(r, ERR_INVALID, "dict.get() takes no keyword arguments");
    if (!arguments_bind(r, "get", args, names, 2, 1, v) ||
        !dict_find(r, self.as.dict, v[0], &found))
        return false;
    *out = v[1].kind == VALUE_ABSENT ? value_none() : v[1];
    if (found)
        *out = *found;
    return true;
}

static bool dict_view(struct run *r, struct value self, const struct arguments *args,
                      enum list_flavour flavour, struct value *out) {
    const struct dict *d = self.as.dict;
    struct list *l, *pair;
    struct value unused[1];
    if (!arguments_bind(r, "the method", args, NULL, 0, 0, unused) ||
        !run_charge(r, d->count / 4) || !make_list(r, flavour, d->count, &l))
        return false;
    for (size_t i = 0; i < d->count; i++) {
        struct value *item = &l->items[l->count++];
        *item = flavour == LIST_VALUES ? d->entries[i].value : d->entries[i].key;
        if (flavour != LIST_ITEMS)
            continue;
        if (!make_list(r, LIST_TUPLE, 2, &pair))
            return false;
        pair->items[0] = d->entries[i].key;
        pair->items[1] = d->entries[i].value;
        pair->count = 2;
        *item = value_list(pair);
    }
    *out = value_list(l);
    return true;
}

METHOD(dict_keys) { return dict_view(r, self, args, LIST_KEYS, out); }
METHOD(dict_values) { return dict_view(r, self, args, LIST_VALUES, out); }
METHOD(dict_items) { return dict_view(r, self, args, LIST_ITEMS, out); }

METHOD(dict_copy) {
    struct value unused[1];
    *out = self; // nothing here changes a dict
    return arguments_bind(r, "copy", args, NULL, 0, 0, unused);
}

static bool occurrences(struct run *r, struct value self, const struct arguments *args,
                        size_t *count, size_t *first) {
    static const char *const names[] = {"value"};
    struct value v[1];
    *count = 0;
    if (!arguments_bind(r, "the method", args, names, 1, 1, v))
        return false;
    const struct list *l = self.as.list;
    for (size_t i = l->count; i-- > 0;) {
        bool equal;
        if (!values_equal(r, l->items[i], v[0], 0, &equal))
            return false;
        if (equal) {
            *first = i;
            ++*count;
        }
    }
    return true;
}

METHOD(list_count) {
    size_t count, first;
    if (!occurrences(r, self, args, &count, &first))
        return false;
    *out = value_int((int64_t)count);
    return true;
}

METHOD(list_index) {
    size_t count, first = 0;
    if (!occurrences(r, self, args, &count, &first))
        return false;
    if (!count)
        return run_fail(r, ERR_INVALID, "the value is not in the list");
    *out = value_int((int64_t)first);
    return true;
}

METHOD(loop_cycle) {
    if (!args->positional || args->positional < args->count)
        return run_fail(r, ERR_INVALID, "no items for cycling given");
    *out = args->list[self.as.loop->index % args->positional].value;
    return true;
}

METHOD(loop_changed) {
    struct list *now;
    if (!make_list(r, LIST_TUPLE, args->count, &now))
        return false;
    for (size_t i = 0; i < args->count; i++)
        now->items[now->count++] = args->list[i].value;
    struct value v = value_list(now);
    bool equal;
    if (!values_equal(r, self.as.loop->changed, v, 0, &equal))
        return false;
    self.as.loop->changed = v;
    *out = value_bool(!equal);
    return true;
}

static const struct native dict_methods[] = {{"get", dict_get},
                                             {"keys", dict_keys},
                                             {"values", dict_values},
                                             {"items", dict_items},
                                             {"copy", dict_copy}};
static const struct native list_methods[] = {{"count", list_count}, {"index", list_index}};
static const struct native loop_methods[] = {{"cycle", loop_cycle}, {"changed", loop_changed}};

// What the sandbox hides, and what is there and cannot be called here.
static const char *const dict_unsafe[] = {"clear", "pop", "popitem", "setdefault", "update"};
static const char *const dict_foreign[] = {"fromkeys"};
static const char *const list_unsafe[] = {"append", "clear", "pop",    "reverse",
                                          "insert", "sort",  "extend", "remove"};
static const char *const list_foreign[] = {"copy"};
static const char *const range_foreign[] = {"start", "stop", "step"};
static const char *const view_foreign[] = {"mapping", "isdisjoint"};
static const char *const integer_foreign[] = {
    "as_integer_ratio", "bit_count", "bit_length", "conjugate", "denominator",
    "from_bytes",       "imag",      "numerator",  "real",      "to_bytes"};
static const char *const float_foreign[] = {
    "as_integer_ratio", "conjugate", "fromhex", "hex", "imag", "is_integer", "real"};
static const char *const macro_foreign[] = {"arguments", "caller", "catch_kwargs", "catch_varargs",
                                            "explicit_caller"};

#define COUNT(a) (sizeof(a) / sizeof(a)[0])

static bool list_method_find(const struct list *l, const char *name, size_t len,
                             const struct native **out, bool *unsafe) {
    switch (l->flavour) {
    case LIST_LIST:
        *unsafe = name_in(list_unsafe, COUNT(list_unsafe), name, len);
        if (*unsafe || name_in(list_foreign, COUNT(list_foreign), name, len))
            return true;
        break;
    case LIST_RANGE:
        if (name_in(range_foreign, COUNT(range_foreign), name, len))
            return true;
        break;
    case LIST_TUPLE:
        break;
    case LIST_ITERATOR:
        return false;
    default:
        return name_in(view_foreign, COUNT(view_foreign), name, len);
    }
    *out = native_find(list_methods, COUNT(list_methods), name, len);
    return *out != NULL;
}

bool method_find(struct value v, const char *name, size_t len, const struct native **out,
                 bool *unsafe) {
    *out = NULL;
    *unsafe = false;
    switch (v.kind) {
    case VALUE_STRING:
        *out = text_method_find(name, len);
        return *out || text_method_is_foreign(name, len);
    case VALUE_DICT:
        *unsafe = name_in(dict_unsafe, COUNT(dict_unsafe), name, len);
        *out = native_find(dict_methods, COUNT(dict_methods), name, len);
        return *unsafe || *out || name_in(dict_foreign, COUNT(dict_foreign), name, len);
    case VALUE_LIST:
        return list_method_find(v.as.list, name, len, out, unsafe);
    case VALUE_LOOP:
        *out = native_find(loop_methods, COUNT(loop_methods), name, len);
        return *out != NULL;
    case VALUE_BOOL:
    case VALUE_INT:
    case VALUE_BIG:
        return name_in(integer_foreign, COUNT(integer_foreign), name, len);
    case VALUE_FLOAT:
        return name_in(float_foreign, COUNT(float_foreign), name, len);
    case VALUE_MACRO:
        return name_in(macro_foreign, COUNT(macro_foreign), name, len);
    default:
        return false;
    }
}

bool method_is_known(const char *name, size_t len) {
    return text_method_find(name, len) ||
           native_find(dict_methods, COUNT(dict_methods), name, len) ||
           native_find(list_methods, COUNT(list_methods), name, len) ||
           native_find(loop_methods, COUNT(loop_methods), name, len) ||
           name_in(dict_unsafe, COUNT(dict_unsafe), name, len) ||
           name_in(list_unsafe, COUNT(list_unsafe), name, len);
}
