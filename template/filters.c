// Filters on single values, and the table of all filters.
// Source followed: jinja2 3.1.6, filters.py, without autoescape.
#include "template/filters.h"
#include "template/access.h"
#include "template/chars.h"
#include "template/eval.h"
#include "template/format.h"
#include "template/make.h"
#include "template/print.h"
#include "template/value_ops.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool none_allowed(struct render *r, const char *what, const struct arguments *args) {
    struct value unused[1];
    return arguments_bind(r, what, args, NULL, 0, 0, unused);
}

bool filter_change_case(struct render *r, struct value self, int to, struct value *out) {
    const struct value_text *t;
    if (!print_to_text(r, self, &t) || !render_charge(r, t->len / 4))
        return false;
    buf_reset(&r->scratch);
    chars_append_case(&r->scratch, t->data, t->len, (enum chars_case)to);
    return make_scratched(r, t->safe, out);
}

static FILTER(filter_upper) {
    return none_allowed(r, "upper", args) && filter_change_case(r, self, CHARS_UPPER, out);
}
static FILTER(filter_lower) {
    return none_allowed(r, "lower", args) && filter_change_case(r, self, CHARS_LOWER, out);
}
static FILTER(filter_capitalize) {
    return none_allowed(r, "capitalize", args) &&
           filter_change_case(r, self, CHARS_CAPITALIZE, out);
}

// Unlike str.title: words begin behind spaces, '-' and opening brackets only.
static FILTER(filter_title) {
    const struct value_text *t;
    if (!none_allowed(r, "title", args) || !print_to_text(r, self, &t) ||
        !render_charge(r, t->len / 4))
        return false;
    buf_reset(&r->scratch);
    for (size_t at = 0; at < t->len;) {
        size_t end = at;
        while (end < t->len && !memchr("-({[<", t->data[end], 5) &&
               chars_space_prefix(t->data + end, t->len - end) == 0)
            end++;
        // the first character in upper case (not title case), the rest lowered as a word of its own
        size_t head = end > at ? chars_offset(t->data + at, end - at, 1) : 0;
        chars_append_case(&r->scratch, t->data + at, head, CHARS_UPPER);
        chars_append_case(&r->scratch, t->data + at + head, end - at - head, CHARS_LOWER);
        at = end;
        size_t gap = at;
        for (;;) {
            size_t space = chars_space_prefix(t->data + gap, t->len - gap);
            gap += space;
            if (gap < t->len && memchr("-({[<", t->data[gap], 5))
                gap++;
            else if (!space)
                break;
        }
        buf_append(&r->scratch, t->data + at, gap - at);
        at = gap;
    }
    return make_scratched(r, false, out);
}

static FILTER(filter_trim) {
    static const char *const names[] = {"chars"};
    struct value v[1], method, stripped;
    const struct value_text *t;
    if (!arguments_bind(r, "trim", args, names, 1, 0, v) || !print_to_text(r, self, &t))
        return false;
    struct argument chars = {NULL, v[0]};
    struct arguments inner = {&chars, 1, 1};
    if (v[0].kind == VALUE_ABSENT)
        inner = (struct arguments){0};
    if (!access_attribute(r, value_text(t), "strip", 5, &method) ||
        !eval_call(r, method, &inner, &stripped))
        return false;
    *out = stripped;
    return true;
}

static FILTER(filter_replace) {
    static const char *const names[] = {"old", "new", "count"};
    struct value v[3], method;
    const struct value_text *t, *old, *new;
    if (!arguments_bind(r, "replace", args, names, 3, 2, v) || !print_to_text(r, self, &t) ||
        !print_to_text(r, v[0], &old) || !print_to_text(r, v[1], &new))
        return false;
    struct value_text plain = *t; // str(): the result is not marked safe
    plain.safe = false;
    struct argument list[3] = {{NULL, value_text(old)}, {NULL, value_text(new)}, {NULL, v[2]}};
    struct arguments inner = {list, 3, 3};
    if (v[2].kind == VALUE_ABSENT || v[2].kind == VALUE_NONE)
        inner.count = inner.positional = 2;
    struct value_method m = {value_text(&plain), NULL, "replace"};
    bool unsafe;
    method.kind = VALUE_METHOD;
    method.as.method = &m;
    return method_find(m.self, "replace", 7, &m.native, &unsafe) &&
           eval_call(r, method, &inner, out);
}

static FILTER(filter_default) {
    static const char *const names[] = {"default_value", "boolean"};
    struct value v[2];
    if (!arguments_bind(r, "default", args, names, 2, 0, v))
        return false;
    if (self.kind != VALUE_UNDEFINED && !(value_truth(v[1]) && !value_truth(self))) {
        *out = self;
        return true;
    }
    *out = v[0];
    return v[0].kind != VALUE_ABSENT || make_text_view(r, "", 0, out);
}

static FILTER(filter_string) {
    const struct value_text *t;
    if (!none_allowed(r, "string", args) || !print_to_text(r, self, &t))
        return false;
    *out = value_text(t);
    return true;
}

static FILTER(filter_safe) {
    const struct value_text *t;
    if (!none_allowed(r, "safe", args) || !print_to_text(r, self, &t) ||
        !make_text_view(r, t->data, t->len, out))
        return false;
    ((struct value_text *)out->as.text)->safe = true; // just made, ours alone
    return true;
}

static FILTER(filter_escape) {
    const struct value_text *t;
    if (!none_allowed(r, "escape", args) || !print_to_text(r, self, &t) ||
        (!t->safe && !make_escaped(r, t, &t)))
        return false;
    *out = value_text(t);
    return true;
}

// The text without spaces around it, when it is a number as Python's float() reads them.
static bool parse_real(const struct value_text *t, double *out) {
    char copy[400];
    size_t from = chars_space_prefix(t->data, t->len), n = 0;
    size_t end = t->len - (from < t->len ? chars_space_suffix(t->data, t->len) : 0);
    if (end <= from || end - from >= sizeof copy)
        return false;
    for (size_t i = from; i < end; i++) {
        char c = t->data[i];
        bool between = i > from && i + 1 < end && t->data[i - 1] >= '0' && t->data[i - 1] <= '9' &&
                       t->data[i + 1] >= '0' && t->data[i + 1] <= '9';
        if (c == '_' && between)
            continue;
        if (!c || c == 'x' || c == 'X' || c == 'p' || c == '(' || (unsigned char)c >= 0x80)
            return false; // C's own forms; digits of other scripts are not read here
        copy[n++] = c;
    }
    copy[n] = '\0';
    char *stop;
    *out = strtod(copy, &stop);
    return *stop == '\0';
}

// int() of a text in decimal, in *out; false when it is none.
static bool parse_decimal(struct render *r, const struct value_text *t, struct value *out) {
    size_t from = chars_space_prefix(t->data, t->len), n = 0;
    size_t end = t->len - (from < t->len ? chars_space_suffix(t->data, t->len) : 0);
    char copy[400];
    for (size_t i = from; i < end; i++) {
        char c = t->data[i];
        bool digit = c >= '0' && c <= '9', sign = i == from && (c == '-' || c == '+');
        bool between = c == '_' && i > from && i + 1 < end && t->data[i - 1] >= '0' &&
                       t->data[i - 1] <= '9' && t->data[i + 1] >= '0' && t->data[i + 1] <= '9';
        if (n == sizeof copy || (!digit && !sign && !between))
            return false;
        if (!between)
            copy[n++] = c;
    }
    if (!n || (n == 1 && (copy[0] == '-' || copy[0] == '+')))
        return false;
    return make_integer(r, copy, n, out);
}

// int() of a float; beyond 64 bits is an error, infinite or no number gives false in *ok.
static bool truncate_real(struct render *r, double f, struct value *out, bool *ok) {
    *ok = isfinite(f);
    if (!*ok)
        return true;
    if (f >= 9223372036854775808.0 || f < -9223372036854775808.0)
        return render_fail(r, ERR_INVALID, "an integer beyond 64 bits made of a float");
    *out = value_int((int64_t)f);
    return true;
}

static FILTER(filter_int) {
    static const char *const names[] = {"default", "base"};
    struct value v[2];
    int64_t base;
    double f;
    bool ok = false;
    if (!arguments_bind(r, "int", args, names, 2, 0, v) ||
        !argument_int(r, "int's base", v[1], 10, &base))
        return false;
    if (base != 10)
        return render_fail(r, ERR_INVALID, "int with a base other than 10 is not supported");
    *out = v[0].kind == VALUE_ABSENT ? value_int(0) : v[0];
    if (self.kind == VALUE_BIG) {
        *out = self;
    } else if (self.kind == VALUE_STRING) {
        struct value made;
        if (parse_decimal(r, self.as.text, &made))
            *out = made;
        else if (r->err)
            return false;
        else if (parse_real(self.as.text, &f) && !truncate_real(r, f, out, &ok))
            return false;
    } else if (self.kind == VALUE_FLOAT) {
        if (isinf(self.as.real))
            return render_fail(r, ERR_INVALID, "cannot convert float infinity to integer");
        return truncate_real(r, self.as.real, out, &ok);
    } else if (self.kind == VALUE_UNDEFINED) {
        return render_fail_undefined(r, self.as.missing);
    } else {
        int64_t i;
        if (value_is_integer(self, &i))
            *out = value_int(i);
    }
    return true;
}

static FILTER(filter_float) {
    static const char *const names[] = {"default"};
    struct value v[1];
    double f;
    if (!arguments_bind(r, "float", args, names, 1, 0, v))
        return false;
    if (self.kind == VALUE_UNDEFINED)
        return render_fail_undefined(r, self.as.missing);
    *out = v[0].kind == VALUE_ABSENT ? value_float(0) : v[0];
    if (value_is_number(self, &f) || (self.kind == VALUE_STRING && parse_real(self.as.text, &f)))
        *out = value_float(f);
    else if (self.kind == VALUE_BIG)
        *out = value_float(strtod(self.as.text->data, NULL));
    return true;
}

static FILTER(filter_abs) {
    int64_t i;
    if (!none_allowed(r, "abs", args))
        return false;
    if (self.kind == VALUE_UNDEFINED)
        return render_fail_undefined(r, self.as.missing);
    if (self.kind == VALUE_FLOAT)
        *out = value_float(fabs(self.as.real));
    else if (value_is_integer(self, &i) && i != INT64_MIN)
        *out = value_int(i < 0 ? -i : i);
    else
        return render_fail(r, ERR_INVALID, "bad operand type for abs(): '%s'",
                           value_type_name(self));
    return true;
}

static FILTER(filter_round) {
    static const char *const names[] = {"precision", "method"};
    struct value v[2];
    int64_t precision, i;
    double f;
    if (!arguments_bind(r, "round", args, names, 2, 0, v) ||
        !argument_int(r, "round's precision", v[0], 0, &precision))
        return false;
    if (self.kind == VALUE_UNDEFINED)
        return render_fail_undefined(r, self.as.missing);
    bool common = v[1].kind == VALUE_ABSENT || value_is_word(v[1], "common");
    if (!common && !value_is_word(v[1], "ceil") && !value_is_word(v[1], "floor"))
        return render_fail(r, ERR_INVALID, "method must be common, ceil or floor");
    if (!value_is_number(self, &f))
        return render_fail(r, ERR_INVALID, "round wants a number, not %s", value_type_name(self));
    if (precision < 0 || precision > 300)
        return render_fail(r, ERR_INVALID, "round to %lld places", (long long)precision);
    if (common && value_is_integer(self, &i)) {
        *out = value_int(i);
    } else if (common) {
        char s[700]; // the exact decimal, rounded half to even as Python's round
        snprintf(s, sizeof s, "%.*f", (int)precision, f);
        *out = value_float(isfinite(f) ? strtod(s, NULL) : f);
    } else {
        double scale = pow(10, (double)precision);
        bool up = value_is_word(v[1], "ceil");
        *out = value_float((up ? ceil(f * scale) : floor(f * scale)) / scale);
    }
    return true;
}

static FILTER(filter_indent) {
    static const char *const names[] = {"width", "first", "blank"};
    struct value v[3];
    int64_t width = 4;
    const struct value_text *t, *by = NULL;
    if (!arguments_bind(r, "indent", args, names, 3, 0, v) ||
        !argument_text(r, "what is indented", self, &t))
        return false;
    if (v[0].kind == VALUE_STRING)
        by = v[0].as.text;
    else if (!argument_int(r, "indent's width", v[0], 4, &width))
        return false;
    if (width > 1000)
        return render_fail(r, ERR_TOO_LARGE, "an indent of %lld", (long long)width);
    bool blank = value_truth(v[2]), first = value_truth(v[1]);
    struct buf *b = &r->scratch;
    buf_reset(b);
    for (size_t at = 0, line = 0;; line++) {
        size_t gap, len = chars_line(t->data + at, t->len - at, &gap);
        if (line)
            buf_putc(b, '\n');
        if (line ? blank || len : first) {
            if (by)
                buf_append(b, by->data, by->len);
            for (int64_t i = 0; i < width && !by; i++)
                buf_putc(b, ' ');
        }
        buf_append(b, t->data + at, len);
        at += len + gap;
        // what is indented gets a newline first, and \r\n is one break
        if (!gap || (at == t->len && t->data[at - 1] == '\r'))
            break;
        if (b->len > r->max_bytes)
            return render_fail(r, ERR_TOO_LARGE, "a string of over %zu bytes", r->max_bytes);
    }
    return render_charge(r, t->len / 4) && make_scratched(r, t->safe, out);
}

static FILTER(filter_format) {
    const struct value_text *t;
    struct value_list *l;
    struct value_dict *d;
    if (!print_to_text(r, self, &t))
        return false;
    if (args->positional < args->count) {
        if (args->positional)
            return render_fail(r, ERR_INVALID, "format takes arguments by position or by name");
        if (!make_dict(r, args->count, &d))
            return false;
        for (size_t i = 0; i < args->count; i++) {
            struct value key;
            const char *name = args->list[i].name;
            if (!make_text_view(r, name, strlen(name), &key) ||
                !value_dict_put(r, d, key, args->list[i].value))
                return false;
        }
        return format_percent(r, t, value_dict(d), out);
    }
    if (!make_list(r, LIST_TUPLE, args->count, &l))
        return false;
    for (size_t i = 0; i < args->count; i++)
        l->items[l->count++] = args->list[i].value;
    return format_percent(r, t, value_list(l), out);
}

static FILTER(filter_attr) {
    static const char *const names[] = {"name"};
    struct value v[1];
    const struct value_text *t;
    if (!arguments_bind(r, "attr", args, names, 1, 1, v) ||
        !argument_text(r, "an attribute's name", v[0], &t))
        return false;
    if (self.kind == VALUE_DICT) // attributes only, never items
        return method_find(self, t->data, t->len, &(const struct function *){NULL}, &(bool){false})
                   ? access_attribute(r, self, t->data, t->len, out)
                   : make_undefined(r, "dict object", t->data, t->len, out);
    return access_attribute(r, self, t->data, t->len, out);
}

const struct function *filter_find(const char *name, size_t len) {
    static const struct function table[] = {{"tojson", filter_tojson},
                                            {"from_json", filter_from_json},
                                            {"upper", filter_upper},
                                            {"lower", filter_lower},
                                            {"capitalize", filter_capitalize},
                                            {"title", filter_title},
                                            {"trim", filter_trim},
                                            {"replace", filter_replace},
                                            {"default", filter_default},
                                            {"d", filter_default},
                                            {"string", filter_string},
                                            {"safe", filter_safe},
                                            {"escape", filter_escape},
                                            {"e", filter_escape},
                                            {"int", filter_int},
                                            {"float", filter_float},
                                            {"abs", filter_abs},
                                            {"round", filter_round},
                                            {"indent", filter_indent},
                                            {"format", filter_format},
                                            {"attr", filter_attr},
                                            {"length", filter_length},
                                            {"count", filter_length},
                                            {"join", filter_join},
                                            {"first", filter_first},
                                            {"last", filter_last},
                                            {"list", filter_list},
                                            {"items", filter_items},
                                            {"dictsort", filter_dictsort},
                                            {"map", filter_map},
                                            {"select", filter_select},
                                            {"reject", filter_reject},
                                            {"selectattr", filter_selectattr},
                                            {"rejectattr", filter_rejectattr},
                                            {"unique", filter_unique},
                                            {"sort", filter_sort},
                                            {"reverse", filter_reverse},
                                            {"min", filter_min},
                                            {"max", filter_max},
                                            {"sum", filter_sum},
                                            {"batch", filter_batch},
                                            {"slice", filter_slice}};
    return function_find_in(table, sizeof table / sizeof table[0], name, len);
}
