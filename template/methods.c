// Methods of dicts, lists and loops, and which type has which. Python's own names are listed in
// full, because an attribute that exists hides an item of the same name (access.c).
#include "template/methods.h"
#include "template/make.h"
#include "template/value_ops.h"

#include <string.h>

#define METHOD(name)                                                                               \
    static bool name(struct render *r, struct value self, const struct arguments *args,            \
                     struct value *out)

bool method_name_in(const char *const *names, size_t n, const char *name, size_t len) {
    for (size_t i = 0; i < n; i++)
        if (strlen(names[i]) == len && memcmp(names[i], name, len) == 0)
            return true;
    return false;
}

METHOD(dict_get) {
    struct value v[2], *found;
    static const char *const names[] = {"key", "default"};
    if (args->positional < args->count)
        return render_fail(r, ERR_INVALID, "dict.get() takes no keyword arguments");
    if (!arguments_bind(r, "get", args, names, 2, 1, v) ||
        !value_dict_find(r, self.as.dict, v[0], &found))
        return false;
    *out = v[1].kind == VALUE_ABSENT ? value_none() : v[1];
    if (found)
        *out = *found;
    return true;
}

static bool dict_view(struct render *r, struct value self, const struct arguments *args,
                      enum value_list_flavour flavour, struct value *out) {
    const struct value_dict *d = self.as.dict;
    struct value_list *l, *pair;
    struct value unused[1];
    if (!arguments_bind(r, "the method", args, NULL, 0, 0, unused) ||
        !render_charge(r, d->count / 4) || !make_list(r, flavour, d->count, &l))
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

static bool occurrences(struct render *r, struct value self, const struct arguments *args,
                        size_t *count, size_t *first) {
    static const char *const names[] = {"value"};
    struct value v[1];
    *count = 0;
    if (!arguments_bind(r, "the method", args, names, 1, 1, v))
        return false;
    const struct value_list *l = self.as.list;
    for (size_t i = l->count; i-- > 0;) {
        bool equal;
        if (!value_equal(r, l->items[i], v[0], 0, &equal))
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
        return render_fail(r, ERR_INVALID, "the value is not in the list");
    *out = value_int((int64_t)first);
    return true;
}

METHOD(loop_cycle) {
    if (!args->positional || args->positional < args->count)
        return render_fail(r, ERR_INVALID, "no items for cycling given");
    *out = args->list[self.as.loop->index % args->positional].value;
    return true;
}

METHOD(loop_changed) {
    struct value_list *now;
    if (!make_list(r, LIST_TUPLE, args->count, &now))
        return false;
    for (size_t i = 0; i < args->count; i++)
        now->items[now->count++] = args->list[i].value;
    struct value v = value_list(now);
    bool equal;
    if (!value_equal(r, self.as.loop->changed, v, 0, &equal))
        return false;
    self.as.loop->changed = v;
    *out = value_bool(!equal);
    return true;
}

static const struct function dict_methods[] = {{"get", dict_get},
                                               {"keys", dict_keys},
                                               {"values", dict_values},
                                               {"items", dict_items},
                                               {"copy", dict_copy}};
static const struct function list_methods[] = {{"count", list_count}, {"index", list_index}};
static const struct function loop_methods[] = {{"cycle", loop_cycle}, {"changed", loop_changed}};

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

static bool list_method_find(const struct value_list *l, const char *name, size_t len,
                             const struct function **out, bool *unsafe) {
    switch (l->flavour) {
    case LIST_LIST:
        *unsafe = method_name_in(list_unsafe, COUNT(list_unsafe), name, len);
        if (*unsafe || method_name_in(list_foreign, COUNT(list_foreign), name, len))
            return true;
        break;
    case LIST_RANGE:
        if (method_name_in(range_foreign, COUNT(range_foreign), name, len))
            return true;
        break;
    case LIST_TUPLE:
        break;
    case LIST_ITERATOR:
        return false;
    default:
        return method_name_in(view_foreign, COUNT(view_foreign), name, len);
    }
    *out = function_find_in(list_methods, COUNT(list_methods), name, len);
    return *out != NULL;
}

bool method_find(struct value v, const char *name, size_t len, const struct function **out,
                 bool *unsafe) {
    *out = NULL;
    *unsafe = false;
    switch (v.kind) {
    case VALUE_STRING:
        *out = method_find_text(name, len);
        return *out || method_is_foreign_text(name, len);
    case VALUE_DICT:
        *unsafe = method_name_in(dict_unsafe, COUNT(dict_unsafe), name, len);
        *out = function_find_in(dict_methods, COUNT(dict_methods), name, len);
        return *unsafe || *out || method_name_in(dict_foreign, COUNT(dict_foreign), name, len);
    case VALUE_LIST:
        return list_method_find(v.as.list, name, len, out, unsafe);
    case VALUE_LOOP:
        *out = function_find_in(loop_methods, COUNT(loop_methods), name, len);
        return *out != NULL;
    case VALUE_BOOL:
    case VALUE_INT:
    case VALUE_BIG:
        return method_name_in(integer_foreign, COUNT(integer_foreign), name, len);
    case VALUE_FLOAT:
        return method_name_in(float_foreign, COUNT(float_foreign), name, len);
    case VALUE_MACRO:
        return method_name_in(macro_foreign, COUNT(macro_foreign), name, len);
    default:
        return false;
    }
}

bool method_is_known(const char *name, size_t len) {
    return method_find_text(name, len) ||
           function_find_in(dict_methods, COUNT(dict_methods), name, len) ||
           function_find_in(list_methods, COUNT(list_methods), name, len) ||
           function_find_in(loop_methods, COUNT(loop_methods), name, len) ||
           method_name_in(dict_unsafe, COUNT(dict_unsafe), name, len) ||
           method_name_in(list_unsafe, COUNT(list_unsafe), name, len);
}
