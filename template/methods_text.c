// Methods of strings, as Python's str has them.
#include "template/chars.h"
#include "template/filters.h"
#include "template/format.h"
#include "template/make.h"
#include "template/methods.h"
#include "template/value_ops.h"

#include <string.h>

#define METHOD(name)                                                                               \
    static bool name(struct render *r, struct value self, const struct arguments *args,            \
                     struct value *out)

static bool no_arguments(struct render *r, const char *what, const struct arguments *args) {
    struct value unused[1];
    return arguments_bind(r, what, args, NULL, 0, 0, unused);
}

METHOD(text_upper) {
    return no_arguments(r, "upper", args) && filter_change_case(r, self, CHARS_UPPER, out);
}
METHOD(text_lower) {
    return no_arguments(r, "lower", args) && filter_change_case(r, self, CHARS_LOWER, out);
}
METHOD(text_title) {
    return no_arguments(r, "title", args) && filter_change_case(r, self, CHARS_TITLE, out);
}
METHOD(text_capitalize) {
    return no_arguments(r, "capitalize", args) &&
           filter_change_case(r, self, CHARS_CAPITALIZE, out);
}

// Most of str's methods take no argument by name.
static bool bind(struct render *r, const char *what, const struct arguments *args,
                 const char *const *names, size_t n, size_t required, struct value *out) {
    if (args->positional < args->count)
        return render_fail(r, ERR_INVALID, "str.%s() takes no keyword arguments", what);
    return arguments_bind(r, what, args, names, n, required, out);
}

// A part of t, marked safe as it is.
static bool make_part(struct render *r, const struct value_text *t, size_t from, size_t to,
                      struct value *out) {
    if (!make_text_view(r, t->data + from, to - from, out))
        return false;
    ((struct value_text *)out->as.text)->safe = t->safe; // just made, ours alone
    return true;
}

// Whether the character at t[at..] (n bytes) is one of chars.
static bool is_one_of(const struct value_text *t, size_t at, size_t n,
                      const struct value_text *chars) {
    for (size_t from = 0;;) {
        size_t hit = chars_find(chars->data, chars->len, t->data + at, n, from);
        if (hit == SIZE_MAX || n == 0)
            return false;
        if (((unsigned char)chars->data[hit] & 0xc0) != 0x80) // UTF-8: only whole characters match
            return true;
        from = hit + 1;
    }
}

static bool strip(struct render *r, struct value self, const struct arguments *args, bool left,
                  bool right, struct value *out) {
    static const char *const names[] = {"chars"};
    const struct value_text *t = self.as.text, *chars;
    struct value v[1];
    size_t from = 0, to = t->len;
    if (!bind(r, "strip", args, names, 1, 0, v) || !render_charge(r, t->len / 64))
        return false;
    if (v[0].kind == VALUE_ABSENT || v[0].kind == VALUE_NONE) {
        if (left)
            from = chars_space_prefix(t->data, t->len);
        if (right)
            to -= chars_space_suffix(t->data + from, t->len - from);
        return make_part(r, t, from, to, out);
    }
    if (!argument_text(r, "strip's characters", v[0], &chars) ||
        !render_charge(r, (t->len / 16) * (1 + chars->len / 64)))
        return false;
    while (left && from < to) {
        size_t n = chars_offset(t->data + from, to - from, 1);
        if (!is_one_of(t, from, n, chars))
            break;
        from += n;
    }
    while (right && to > from) {
        size_t at = to - 1;
        while (at > from && ((unsigned char)t->data[at] & 0xc0) == 0x80)
            at--;
        if (!is_one_of(t, at, to - at, chars))
            break;
        to = at;
    }
    return make_part(r, t, from, to, out);
}

METHOD(text_strip) { return strip(r, self, args, true, true, out); }
METHOD(text_lstrip) { return strip(r, self, args, true, false, out); }
METHOD(text_rstrip) { return strip(r, self, args, false, true, out); }

static bool add_part(struct render *r, struct value_list *l, size_t *cap,
                     const struct value_text *t, size_t from, size_t to) {
    if (l->count == *cap) {
        size_t more = *cap ? *cap * 2 : 8;
        struct value *items = render_alloc(r, more, sizeof *items);
        if (!items)
            return false;
        if (l->count)
            memcpy(items, l->items, l->count * sizeof *items);
        l->items = items;
        *cap = more;
    }
    return render_charge(r, 1) && make_part(r, t, from, to, &l->items[l->count++]);
}

static bool split_space(struct render *r, const struct value_text *t, int64_t most,
                        struct value_list *l) {
    size_t cap = 0, at = chars_space_prefix(t->data, t->len);
    while (at < t->len) {
        size_t end = at;
        if (most >= 0 && (int64_t)l->count == most) // the rest as it stands
            return add_part(r, l, &cap, t, at, t->len);
        while (end < t->len && !chars_space_prefix(t->data + end, t->len - end))
            end += chars_offset(t->data + end, t->len - end, 1);
        if (!add_part(r, l, &cap, t, at, end))
            return false;
        at = end + chars_space_prefix(t->data + end, t->len - end);
    }
    return true;
}

static bool rsplit_space(struct render *r, const struct value_text *t, int64_t most,
                         struct value_list *l) {
    size_t cap = 0, to = t->len - chars_space_suffix(t->data, t->len);
    while (to > 0) {
        size_t from = to;
        if (most >= 0 && (int64_t)l->count == most) // the rest as it stands
            return add_part(r, l, &cap, t, 0, to);
        while (from > 0 && !chars_space_suffix(t->data, from))
            from--; // through a character's bytes: none of them alone is a space
        if (!add_part(r, l, &cap, t, from, to))
            return false;
        to = from - chars_space_suffix(t->data, from);
    }
    return true;
}

static bool split_by(struct render *r, const struct value_text *t, const struct value_text *by,
                     int64_t most, struct value_list *l) {
    size_t cap = 0, at = 0;
    while (most < 0 || (int64_t)l->count < most) {
        size_t hit = chars_find(t->data, t->len, by->data, by->len, at);
        if (hit == SIZE_MAX)
            break;
        if (!add_part(r, l, &cap, t, at, hit))
            return false;
        at = hit + by->len;
    }
    return add_part(r, l, &cap, t, at, t->len);
}

static bool rsplit_by(struct render *r, const struct value_text *t, const struct value_text *by,
                      int64_t most, struct value_list *l) {
    size_t cap = 0, to = t->len;
    while (most < 0 || (int64_t)l->count < most) {
        size_t hit = chars_find_last(t->data, to, by->data, by->len);
        if (hit == SIZE_MAX)
            break;
        if (!add_part(r, l, &cap, t, hit + by->len, to))
            return false;
        to = hit;
    }
    return add_part(r, l, &cap, t, 0, to);
}

static bool split(struct render *r, struct value self, const struct arguments *args, bool from_end,
                  struct value *out) {
    static const char *const names[] = {"sep", "maxsplit"};
    const struct value_text *t = self.as.text, *by;
    struct value v[2];
    struct value_list *l;
    int64_t most;
    bool ok;
    if (!arguments_bind(r, "split", args, names, 2, 0, v) ||
        !argument_int(r, "maxsplit", v[1], -1, &most) || !make_list(r, LIST_LIST, 0, &l))
        return false;
    if (v[0].kind == VALUE_ABSENT || v[0].kind == VALUE_NONE) {
        if (!render_charge(r, t->len / 16))
            return false;
        ok = from_end ? rsplit_space(r, t, most, l) : split_space(r, t, most, l);
    } else {
        if (!argument_text(r, "a separator", v[0], &by))
            return false;
        if (!by->len)
            return render_fail(r, ERR_INVALID, "empty separator");
        if (!render_charge(r, (t->len / 16) * (1 + by->len / 64)))
            return false;
        ok = from_end ? rsplit_by(r, t, by, most, l) : split_by(r, t, by, most, l);
    }
    for (size_t i = 0; ok && from_end && i < l->count / 2; i++) {
        struct value swap = l->items[i];
        l->items[i] = l->items[l->count - 1 - i];
        l->items[l->count - 1 - i] = swap;
    }
    *out = value_list(l);
    return ok;
}

METHOD(text_split) { return split(r, self, args, false, out); }
METHOD(text_rsplit) { return split(r, self, args, true, out); }

METHOD(text_splitlines) {
    static const char *const names[] = {"keepends"};
    const struct value_text *t = self.as.text;
    struct value v[1];
    struct value_list *l;
    size_t cap = 0;
    if (!arguments_bind(r, "splitlines", args, names, 1, 0, v) || !render_charge(r, t->len / 16) ||
        !make_list(r, LIST_LIST, 0, &l))
        return false;
    for (size_t at = 0; at < t->len;) {
        size_t gap, len = chars_line(t->data + at, t->len - at, &gap);
        if (!add_part(r, l, &cap, t, at, at + len + (value_truth(v[0]) ? gap : 0)))
            return false;
        at += len + gap;
    }
    *out = value_list(l);
    return true;
}

static bool has_end(struct render *r, const struct value_text *t, const struct value_text *what,
                    bool at_start, bool *yes) {
    *yes = what->len <= t->len &&
           memcmp(at_start ? t->data : t->data + t->len - what->len, what->data, what->len) == 0;
    return render_charge(r, what->len / 64);
}

static bool check_end(struct render *r, struct value self, const struct arguments *args,
                      bool at_start, struct value *out) {
    static const char *const names[] = {"prefix"};
    struct value v[1];
    const struct value_text *what;
    if (!bind(r, at_start ? "startswith" : "endswith", args, names, 1, 1, v))
        return false;
    bool yes = false;
    if (value_is_flavour(v[0], LIST_TUPLE)) {
        for (size_t i = 0; i < v[0].as.list->count && !yes; i++) {
            if (!argument_text(r, "a prefix or suffix", v[0].as.list->items[i], &what) ||
                !has_end(r, self.as.text, what, at_start, &yes))
                return false;
        }
    } else {
        if (!argument_text(r, "a prefix or suffix", v[0], &what) ||
            !has_end(r, self.as.text, what, at_start, &yes))
            return false;
    }
    *out = value_bool(yes);
    return true;
}

METHOD(text_startswith) { return check_end(r, self, args, true, out); }
METHOD(text_endswith) { return check_end(r, self, args, false, out); }

static bool remove_end(struct render *r, struct value self, const struct arguments *args,
                       bool at_start, struct value *out) {
    static const char *const names[] = {"affix"};
    const struct value_text *t = self.as.text, *what;
    struct value v[1];
    bool yes;
    if (!bind(r, "the method", args, names, 1, 1, v) ||
        !argument_text(r, "a prefix or suffix", v[0], &what) ||
        !has_end(r, t, what, at_start, &yes))
        return false;
    size_t cut = yes ? what->len : 0;
    return make_part(r, t, at_start ? cut : 0, at_start ? t->len : t->len - cut, out);
}

METHOD(text_removeprefix) { return remove_end(r, self, args, true, out); }
METHOD(text_removesuffix) { return remove_end(r, self, args, false, out); }

static bool refuse_safe(struct render *r, const struct value_text *t, const char *method) {
    return !t->safe || render_fail(r, ERR_INVALID, "'%s' of a string marked safe", method);
}

METHOD(text_replace) {
    static const char *const names[] = {"old", "new", "count"};
    const struct value_text *t = self.as.text, *old, *new;
    struct value v[3];
    int64_t most, done = 0;
    if (!bind(r, "replace", args, names, 3, 2, v) || !refuse_safe(r, t, "replace") ||
        !argument_text(r, "what is replaced", v[0], &old) ||
        !argument_text(r, "the replacement", v[1], &new) ||
        !argument_int(r, "count", v[2], -1, &most) ||
        !render_charge(r, (t->len / 16) * (1 + old->len / 64)))
        return false;
    struct buf *b = &r->scratch;
    buf_reset(b);
    size_t at = 0;
    for (; most < 0 || done < most; done++) {
        size_t hit = chars_find(t->data, t->len, old->data, old->len, at);
        if (hit == SIZE_MAX)
            break;
        buf_append(b, t->data + at, hit - at);
        buf_append(b, new->data, new->len);
        at = hit + old->len;
        if (!old->len) { // between all characters, and at both ends
            size_t n = at < t->len ? chars_offset(t->data + at, t->len - at, 1) : 0;
            buf_append(b, t->data + at, n);
            at += n;
            if (!n)
                break;
        }
        if (b->len > r->max_bytes)
            return render_fail(r, ERR_TOO_LARGE, "a string of over %zu bytes", r->max_bytes);
        if (!render_charge(r, 1))
            return false;
    }
    buf_append(b, t->data + at, t->len - at);
    return make_scratched(r, false, out);
}

static bool find(struct render *r, struct value self, const struct arguments *args, bool last,
                 struct value *out) {
    static const char *const names[] = {"sub"};
    const struct value_text *t = self.as.text, *what;
    struct value v[1];
    if (!bind(r, "find", args, names, 1, 1, v) ||
        !argument_text(r, "what is looked for", v[0], &what) ||
        !render_charge(r, (t->len / 16) * (1 + what->len / 64)))
        return false;
    size_t hit = last ? chars_find_last(t->data, t->len, what->data, what->len)
                      : chars_find(t->data, t->len, what->data, what->len, 0);
    *out = value_int(hit == SIZE_MAX ? -1 : (int64_t)chars_count(t->data, hit));
    return true;
}

METHOD(text_find_method) { return find(r, self, args, false, out); }
METHOD(text_rfind) { return find(r, self, args, true, out); }

static bool fail_absent(struct render *r, const struct value *at) {
    return at->as.integer >= 0 || render_fail(r, ERR_INVALID, "substring not found");
}
METHOD(text_index) { return find(r, self, args, false, out) && fail_absent(r, out); }
METHOD(text_rindex) { return find(r, self, args, true, out) && fail_absent(r, out); }

METHOD(text_count) {
    static const char *const names[] = {"sub"};
    const struct value_text *t = self.as.text, *what;
    struct value v[1];
    if (!bind(r, "count", args, names, 1, 1, v) ||
        !argument_text(r, "what is counted", v[0], &what) ||
        !render_charge(r, (t->len / 16) * (1 + what->len / 64)))
        return false;
    int64_t n = what->len ? 0 : (int64_t)t->chars + 1;
    for (size_t at = 0; what->len; n++) {
        size_t hit = chars_find(t->data, t->len, what->data, what->len, at);
        if (hit == SIZE_MAX)
            break;
        at = hit + what->len;
    }
    *out = value_int(n);
    return true;
}

METHOD(text_join) {
    static const char *const names[] = {"iterable"};
    struct value v[1];
    struct value_list *l;
    if (!bind(r, "join", args, names, 1, 1, v) || !refuse_safe(r, self.as.text, "join") ||
        !value_iterate(r, v[0], &l))
        return false;
    for (size_t i = 0; i < l->count; i++)
        if (l->items[i].kind != VALUE_STRING)
            return render_fail(r, ERR_INVALID, "sequence item %zu: expected str instance, %s found",
                               i, value_type_name(l->items[i]));
    struct argument between = {NULL, self};
    struct arguments inner = {&between, 1, 1};
    struct value whole = value_list(l);
    return filter_join(r, whole, &inner, out);
}

METHOD(text_format) {
    return refuse_safe(r, self.as.text, "format") && format_braces(r, self.as.text, args, out);
}

static bool partition(struct render *r, struct value self, const struct arguments *args, bool last,
                      struct value *out) {
    static const char *const names[] = {"sep"};
    const struct value_text *t = self.as.text, *by;
    struct value v[1];
    struct value_list *l;
    if (!bind(r, "partition", args, names, 1, 1, v) ||
        !argument_text(r, "a separator", v[0], &by) ||
        !render_charge(r, (t->len / 16) * (1 + by->len / 64)) || !make_list(r, LIST_TUPLE, 3, &l))
        return false;
    if (!by->len)
        return render_fail(r, ERR_INVALID, "empty separator");
    size_t hit = last ? chars_find_last(t->data, t->len, by->data, by->len)
                      : chars_find(t->data, t->len, by->data, by->len, 0);
    size_t ends[4] = {0, hit, hit + by->len, t->len};
    if (hit == SIZE_MAX) {
        ends[1] = ends[2] = last ? 0 : t->len;
    }
    l->count = 3;
    *out = value_list(l);
    for (size_t i = 0; i < 3; i++)
        if (!make_part(r, t, ends[i], ends[i + 1], &l->items[i]))
            return false;
    return true;
}

METHOD(text_partition) { return partition(r, self, args, false, out); }
METHOD(text_rpartition) { return partition(r, self, args, true, out); }

const struct function *method_find_text(const char *name, size_t len) {
    static const struct function table[] = {{"strip", text_strip},
                                            {"lstrip", text_lstrip},
                                            {"rstrip", text_rstrip},
                                            {"split", text_split},
                                            {"rsplit", text_rsplit},
                                            {"splitlines", text_splitlines},
                                            {"startswith", text_startswith},
                                            {"endswith", text_endswith},
                                            {"removeprefix", text_removeprefix},
                                            {"removesuffix", text_removesuffix},
                                            {"upper", text_upper},
                                            {"lower", text_lower},
                                            {"title", text_title},
                                            {"capitalize", text_capitalize},
                                            {"replace", text_replace},
                                            {"find", text_find_method},
                                            {"rfind", text_rfind},
                                            {"index", text_index},
                                            {"rindex", text_rindex},
                                            {"count", text_count},
                                            {"join", text_join},
                                            {"format", text_format},
                                            {"partition", text_partition},
                                            {"rpartition", text_rpartition}};
    return function_find_in(table, sizeof table / sizeof table[0], name, len);
}

bool method_is_foreign_text(const char *name, size_t len) {
    static const char *const foreign[] = {
        "casefold",  "center",   "encode",    "expandtabs", "format_map", "isalnum",
        "isalpha",   "isascii",  "isdecimal", "isdigit",    "islower",    "isidentifier",
        "isnumeric", "isspace",  "istitle",   "isupper",    "ljust",      "maketrans",
        "rjust",     "swapcase", "translate", "zfill",      "isprintable"};
    return method_name_in(foreign, sizeof foreign / sizeof foreign[0], name, len);
}
