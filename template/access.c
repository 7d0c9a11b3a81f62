// Attributes and items, as jinja2's sandbox gives them. See access.h.
// `a.b` asks the object for an attribute first and for an item second; `a['b']` asks the other way
// round. So a dict's methods hide keys of the same name from `a.items`, and `a['items']` finds the
// method where there is no such key.
// Source followed: jinja2 3.1.6, sandbox.py (getattr, getitem).
#include "template/access.h"
#include "template/chars.h"
#include "template/functions.h"
#include "template/make.h"
#include "template/value_ops.h"

#include <stdlib.h>
#include <string.h>

static const char *owner_of(struct value v) {
    switch (v.kind) {
    case VALUE_NONE:
        return "None";
    case VALUE_DICT:
        return "dict object";
    case VALUE_LIST:
        return "list object";
    case VALUE_STRING:
        return "str object";
    default:
        return value_type_name(v);
    }
}

static bool loop_attribute(const struct value_loop *loop, const char *name, size_t len,
                           struct value *out) {
    static const struct value_missing before = {"", "there is no previous item"},
                                      after = {"", "there is no next item"};
    static const char *const names[] = {"index",  "index0",   "revindex", "revindex0",
                                        "first",  "last",     "length",   "depth",
                                        "depth0", "previtem", "nextitem"};
    size_t count = loop->items->count, i = loop->index, which = 0;
    while (which < 11 && (strlen(names[which]) != len || memcmp(names[which], name, len) != 0))
        which++;
    switch (which) {
    case 0:
        *out = value_int((int64_t)i + 1);
        return true;
    case 1:
        *out = value_int((int64_t)i);
        return true;
    case 2:
        *out = value_int((int64_t)(count - i));
        return true;
    case 3:
        *out = value_int((int64_t)(count - i) - 1);
        return true;
    case 4:
        *out = value_bool(i == 0);
        return true;
    case 5:
        *out = value_bool(i + 1 == count);
        return true;
    case 6:
        *out = value_int((int64_t)count);
        return true;
    case 7:
        *out = value_int(1); // of recursion, of which there is none
        return true;
    case 8:
        *out = value_int(0);
        return true;
    case 9:
        *out = (struct value){.kind = VALUE_UNDEFINED, .as.missing = &before};
        if (i > 0)
            *out = loop->items->items[i - 1];
        return true;
    case 10:
        *out = (struct value){.kind = VALUE_UNDEFINED, .as.missing = &after};
        if (i + 1 < count)
            *out = loop->items->items[i + 1];
        return true;
    default:
        return false;
    }
}

// Python's getattr. *found false: no such attribute.
static bool python_attribute(struct render *r, struct value v, const char *name, size_t len,
                             struct value *out, bool *found) {
    *found = true;
    if (v.kind == VALUE_NAMESPACE) {
        struct value *field;
        if (!value_dict_find_word(r, v.as.dict, name, len, &field))
            return false;
        if (field)
            *out = *field;
        *found = field != NULL;
        return true;
    }
    if (v.kind == VALUE_LOOP && loop_attribute(v.as.loop, name, len, out))
        return true;
    if (v.kind == VALUE_MACRO && len == 4 && memcmp(name, "name", 4) == 0)
        return make_text_view(r, v.as.macro->name, strlen(v.as.macro->name), out);
    const struct function *native;
    bool unsafe;
    *found = method_find(v, name, len, &native, &unsafe);
    if (!*found)
        return true;
    if (unsafe) {
        static const struct value_missing hidden = {"",
                                                    "access to a method that changes a value is "
                                                    "unsafe"};
        *out = (struct value){.kind = VALUE_UNDEFINED, .as.missing = &hidden};
        return true;
    }
    struct value_method *m = render_alloc(r, 1, sizeof *m);
    char *copy = render_alloc(r, len + 1, 1);
    if (!m || !copy)
        return false;
    memcpy(copy, name, len);
    *m = (struct value_method){v, native, copy};
    *out = (struct value){.kind = VALUE_METHOD, .as.method = m};
    return true;
}

// Python's v[key]. *found false: no such item, or v has none.
static bool python_item(struct render *r, struct value v, struct value key, struct value *out,
                        bool *found) {
    int64_t i;
    *found = false;
    if (v.kind == VALUE_DICT) {
        struct value *item;
        if (key.kind == VALUE_DICT || value_is_flavour(key, LIST_LIST))
            return true; // unhashable
        if (!value_dict_find(r, v.as.dict, key, &item))
            return false;
        if (item)
            *out = *item;
        *found = item != NULL;
        return true;
    }
    if (!value_is_integer(key, &i))
        return true;
    if (v.kind == VALUE_STRING) {
        const struct value_text *t = v.as.text;
        i += i < 0 ? (int64_t)t->chars : 0;
        if (i < 0 || i >= (int64_t)t->chars)
            return true;
        *found = true;
        bool ascii = t->chars == t->len;
        size_t at = ascii ? (size_t)i : chars_offset(t->data, t->len, (size_t)i);
        return render_charge(r, ascii ? 0 : t->len / 64) &&
               make_text_view(r, t->data + at, chars_offset(t->data + at, t->len - at, 1), out);
    }
    if (!value_is_flavour(v, LIST_LIST) && !value_is_flavour(v, LIST_TUPLE) &&
        !value_is_flavour(v, LIST_RANGE))
        return true;
    const struct value_list *l = v.as.list;
    i += i < 0 ? (int64_t)l->count : 0;
    if (i < 0 || i >= (int64_t)l->count)
        return true;
    *out = l->items[i];
    *found = true;
    return true;
}

bool access_attribute(struct render *r, struct value v, const char *name, size_t len,
                      struct value *out) {
    bool found;
    if (v.kind == VALUE_UNDEFINED)
        return render_fail_undefined(r, v.as.missing);
    if (!python_attribute(r, v, name, len, out, &found))
        return false;
    if (found)
        return true;
    if (v.kind == VALUE_DICT) {
        struct value *item;
        if (!value_dict_find_word(r, v.as.dict, name, len, &item))
            return false;
        if (item) {
            *out = *item;
            return true;
        }
    }
    return make_undefined(r, owner_of(v), name, len, out);
}

bool access_item(struct render *r, struct value v, struct value key, struct value *out) {
    bool found;
    if (v.kind == VALUE_UNDEFINED)
        return render_fail_undefined(r, v.as.missing);
    if (!python_item(r, v, key, out, &found))
        return false;
    if (found)
        return true;
    if (key.kind != VALUE_STRING)
        return make_undefined(r, owner_of(v), "an item", 7, out);
    const struct value_text *t = key.as.text;
    if (!python_attribute(r, v, t->data, t->len, out, &found))
        return false;
    return found || make_undefined(r, owner_of(v), t->data, t->len, out);
}

static bool get_part(struct render *r, struct value part, struct value fallback, struct value *v) {
    if (!access_item(r, *v, part, v))
        return false;
    bool given = fallback.kind != VALUE_ABSENT && fallback.kind != VALUE_NONE;
    if (v->kind == VALUE_UNDEFINED && given)
        *v = fallback;
    return true;
}

// A part of a path is an item's name, or an index when it is of digits.
bool access_path(struct render *r, struct value v, struct value path, struct value fallback,
                 struct value *out) {
    int64_t i;
    *out = v;
    if (value_is_integer(path, &i))
        return get_part(r, path, fallback, out);
    if (path.kind != VALUE_STRING)
        return render_fail(r, ERR_INVALID, "an attribute is named by a string or an integer");
    const char *s = path.as.text->data, *end = s + path.as.text->len;
    for (;;) {
        size_t n = 0;
        bool digits = true;
        for (; s + n < end && s[n] != '.'; n++)
            digits &= s[n] >= '0' && s[n] <= '9';
        struct value part;
        if (digits && n ? !make_integer(r, s, n, &part) : !make_text(r, s, n, &part))
            return false;
        if (!get_part(r, part, fallback, out))
            return false;
        if (s + n == end)
            return true;
        s += n + 1;
    }
}
