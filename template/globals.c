// The functions that every template can call: those of jinja2 that chat templates use, and
// transformers' raise_exception and strftime_now. Source followed: jinja2 3.1.6, sandbox.py
// (safe_range); transformers 5, chat_template_utils.py.
#include "template/arguments.h"
#include "template/functions.h"
#include "template/make.h"
#include "template/print.h"
#include "template/render.h"
#include "template/value_ops.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#define FUNCTION(name)                                                                             \
    static bool name(struct render *r, struct value self, const struct arguments *args,            \
                     struct value *out)

enum { MAX_RANGE = 100000 };

FUNCTION(function_range) {
    (void)self;
    static const char *const names[] = {"start", "stop", "step"};
    struct value v[3];
    int64_t start = 0, stop = 0, step = 1;
    if (args->positional < args->count)
        return render_fail(r, ERR_INVALID, "range() takes no keyword arguments");
    if (!arguments_bind(r, "range", args, names, 3, 1, v))
        return false;
    int64_t *const to[] = {args->count == 1 ? &stop : &start, &stop, &step};
    for (size_t i = 0; i < args->count && i < 3; i++)
        if (!value_is_integer(v[i], to[i]))
            return render_fail(r, ERR_INVALID, "'%s' object cannot be interpreted as an integer",
                               value_type_name(v[i]));
    if (step == 0)
        return render_fail(r, ERR_INVALID, "range() arg 3 must not be zero");
    uint64_t span = 0, stride = step > 0 ? (uint64_t)step : (uint64_t)0 - (uint64_t)step;
    if (step > 0 ? start < stop : start > stop)
        span = step > 0 ? (uint64_t)stop - (uint64_t)start : (uint64_t)start - (uint64_t)stop;
    uint64_t count = span / stride + (span % stride != 0);
    if (count > MAX_RANGE)
        return render_fail(r, ERR_INVALID,
                           "Range too big. The sandbox blocks ranges larger than %d.", MAX_RANGE);
    struct value_list *l;
    if (!make_list(r, LIST_RANGE, (size_t)count, &l))
        return false;
    l->start = start;
    l->stop = stop;
    l->step = step;
    for (; l->count < count; l->count++)
        l->items[l->count] = value_int(start + (int64_t)l->count * step);
    *out = value_list(l);
    return true;
}

// dict(a mapping or pairs, name=value...).
static bool fill_dict(struct render *r, const char *what, const struct arguments *args,
                      struct value_dict *d) {
    struct value_list *l, *pair;
    if (args->positional > 1)
        return render_fail(r, ERR_INVALID, "%s expected at most 1 argument, got %zu", what,
                           args->positional);
    if (args->positional && args->list[0].value.kind == VALUE_DICT) {
        const struct value_dict *from = args->list[0].value.as.dict;
        for (size_t i = 0; i < from->count; i++)
            if (!value_dict_put(r, d, from->entries[i].key, from->entries[i].value))
                return false;
    } else if (args->positional) {
        if (!value_iterate(r, args->list[0].value, &l))
            return false;
        for (size_t i = 0; i < l->count; i++) {
            if (!value_iterate(r, l->items[i], &pair))
                return false;
            if (pair->count != 2)
                return render_fail(r, ERR_INVALID, "%s wants pairs, element %zu has length %zu",
                                   what, i, pair->count);
            if (!value_dict_put(r, d, pair->items[0], pair->items[1]))
                return false;
        }
    }
    for (size_t i = args->positional; i < args->count; i++) {
        struct value key;
        const char *name = args->list[i].name;
        if (!make_text_view(r, name, strlen(name), &key) ||
            !value_dict_put(r, d, key, args->list[i].value))
            return false;
    }
    return true;
}

FUNCTION(function_dict) {
    (void)self;
    struct value_dict *d;
    if (!make_dict(r, args->count, &d) || !fill_dict(r, "dict", args, d))
        return false;
    *out = value_dict(d);
    return true;
}

FUNCTION(function_namespace) {
    (void)self;
    struct value_dict *d;
    if (!make_dict(r, args->count, &d) || !fill_dict(r, "namespace", args, d))
        return false;
    for (size_t i = 0; i < d->count; i++)
        if (d->entries[i].key.kind == VALUE_STRING && d->entries[i].key.as.text->data[0] == '_')
            return render_fail(r, ERR_INVALID, "a namespace has no attributes that begin with '_'");
    *out = value_dict(d);
    out->kind = VALUE_NAMESPACE;
    return true;
}

FUNCTION(function_raise_exception) {
    (void)self;
    (void)out;
    static const char *const names[] = {"message"};
    struct value v[1];
    const struct value_text *t;
    if (!arguments_bind(r, "raise_exception", args, names, 1, 1, v) || !print_to_text(r, v[0], &t))
        return false;
    // the template's own words, for whoever sent the messages
    r->err = err_set(r->msg, ERR_INVALID, "%s", t->data);
    return false;
}

FUNCTION(function_strftime_now) {
    (void)self;
    static const char *const names[] = {"format"};
    struct value v[1];
    const struct value_text *t;
    struct tm tm;
    char made[4096];
    if (!arguments_bind(r, "strftime_now", args, names, 1, 1, v) ||
        !argument_text(r, "strftime_now's format", v[0], &t))
        return false;
    time_t seconds = (time_t)(r->now_us / 1000000);
    if (!localtime_r(&seconds, &tm))
        return render_fail(r, ERR_INVALID, "the clock shows no date");
    struct buf *b = &r->scratch;
    buf_reset(b);
    // what libc has not or Python's naive datetime has otherwise
    for (size_t i = 0; i < t->len; i++) {
        char next = i + 1 < t->len ? t->data[i + 1] : '\0';
        if (t->data[i] != '%' || !next) {
            buf_putc(b, t->data[i]);
            continue;
        }
        i++;
        if (next == 'f')
            buf_printf(b, "%06d", (int)(r->now_us % 1000000));
        else if (next != 'z' && next != 'Z')
            buf_append(b, (char[]){'%', next}, 2);
    }
    if (b->failed)
        return render_fail(r, ERR_NOMEM, "no memory for a string");
    // %p may be empty: a mark tells an empty result from one that does not fit
    buf_putc(b, '.');
    if (b->failed || memchr(b->data, '\0', b->len))
        return render_fail(r, ERR_INVALID, "a date's format with a NUL");
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
    size_t n = strftime(made, sizeof made, b->data, &tm);
#pragma GCC diagnostic pop
    if (n == 0)
        return render_fail(r, ERR_TOO_LARGE, "a date of over %zu bytes", sizeof made);
    return make_text(r, made, n - 1, out);
}

const struct function *function_find_in(const struct function *table, size_t n, const char *name,
                                        size_t len) {
    for (size_t i = 0; i < n; i++)
        if (strlen(table[i].name) == len && memcmp(table[i].name, name, len) == 0)
            return &table[i];
    return NULL;
}

const struct function *global_find(const char *name, size_t len) {
    static const struct function table[] = {{"range", function_range},
                                            {"dict", function_dict},
                                            {"namespace", function_namespace},
                                            {"raise_exception", function_raise_exception},
                                            {"strftime_now", function_strftime_now}};
    return function_find_in(table, sizeof table / sizeof table[0], name, len);
}
