// Values as text: str() and repr() as Python prints them, and tojson as transformers sets it up
// (json.dumps). A value without a text of its own (a generator, a method: Python prints an address)
// is an error. See print.h.
// Source followed: transformers 5, chat_template_utils.py (tojson); CPython 3.11, json/encoder.py.
#include "template/print.h"
#include "base/utf8.h"
#include "template/chars.h"
#include "template/make.h"
#include "template/value_ops.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// The shortest digits that read back as f, laid out as Python's repr does.
static void print_float(struct buf *out, double f) {
    if (!isfinite(f)) {
        buf_puts(out, isnan(f) ? "nan" : f < 0 ? "-inf" : "inf");
        return;
    }
    char s[40];
    int precision = 0;
    do
        snprintf(s, sizeof s, "%.*e", precision, f);
    while (strtod(s, NULL) != f && ++precision < 17);
    char digits[32] = "0";
    size_t n = 0;
    const char *p = s;
    if (*p == '-')
        buf_putc(out, *p++);
    for (; *p != 'e'; p++)
        if (*p != '.' && n < sizeof digits - 1)
            digits[n++] = *p;
    int exponent = (int)strtol(p + 1, NULL, 10);
    while (n > 1 && digits[n - 1] == '0')
        n--;
    if (exponent < -4 || exponent >= 16) {
        buf_putc(out, digits[0]);
        if (n > 1)
            buf_putc(out, '.');
        buf_append(out, digits + 1, n - 1);
        buf_printf(out, "e%c%02d", exponent < 0 ? '-' : '+', abs(exponent));
        return;
    }
    if (exponent < 0) {
        buf_puts(out, "0.");
        for (int i = -1; i > exponent; i--)
            buf_putc(out, '0');
        buf_append(out, digits, n);
        return;
    }
    for (size_t i = 0; i <= (size_t)exponent; i++)
        buf_putc(out, i < n ? digits[i] : '0');
    buf_putc(out, '.');
    if (n > (size_t)exponent + 1)
        buf_append(out, digits + exponent + 1, n - (size_t)exponent - 1);
    else
        buf_putc(out, '0');
}

static void repr_text(struct buf *out, const struct value_text *t) {
    bool single = memchr(t->data, '\'', t->len), both = single && memchr(t->data, '"', t->len);
    char quote = single && !both ? '"' : '\'';
    if (t->safe)
        buf_puts(out, "Markup(");
    buf_putc(out, quote);
    for (size_t at = 0; at < t->len;) {
        uint32_t cp;
        size_t n = utf8_decode(t->data + at, t->len - at, &cp);
        if (n == 0)
            break; // strings here are valid
        if (cp == '\\' || cp == (unsigned char)quote)
            buf_append(out, (char[]){'\\', (char)cp}, 2);
        else if (cp == '\n' || cp == '\r' || cp == '\t')
            buf_puts(out, cp == '\n' ? "\\n" : cp == '\r' ? "\\r" : "\\t");
        else if (chars_is_printable(cp))
            buf_append(out, t->data + at, n);
        else if (cp < 0x100)
            buf_printf(out, "\\x%02x", cp);
        else
            buf_printf(out, cp < 0x10000 ? "\\u%04x" : "\\U%08x", cp);
        at += n;
    }
    buf_putc(out, quote);
    if (t->safe)
        buf_putc(out, ')');
}

static bool repr_dict(struct render *r, struct buf *out, const struct value_dict *d, size_t depth) {
    buf_putc(out, '{');
    for (size_t i = 0; i < d->count; i++) {
        if (i)
            buf_puts(out, ", ");
        if (!print_repr(r, out, d->entries[i].key, depth + 1))
            return false;
        buf_puts(out, ": ");
        if (!print_repr(r, out, d->entries[i].value, depth + 1))
            return false;
    }
    buf_putc(out, '}');
    return true;
}

static bool repr_list(struct render *r, struct buf *out, const struct value_list *l, size_t depth) {
    static const char *const open[] = {"[",           "(", "", "dict_keys([", "dict_values([",
                                       "dict_items(["};
    static const char *const close[] = {"]", ")", "", "])", "])", "])"};
    if (l->flavour == LIST_ITERATOR)
        return render_fail(r, ERR_INVALID, "a generator has no text: add '|list' or '|join'");
    if (l->flavour == LIST_RANGE) {
        buf_printf(out, "range(%lld, %lld", (long long)l->start, (long long)l->stop);
        if (l->step != 1)
            buf_printf(out, ", %lld", (long long)l->step);
        buf_putc(out, ')');
        return true;
    }
    buf_puts(out, open[l->flavour]);
    for (size_t i = 0; i < l->count; i++) {
        if (i)
            buf_puts(out, ", ");
        if (!print_repr(r, out, l->items[i], depth + 1))
            return false;
    }
    if (l->flavour == LIST_TUPLE && l->count == 1)
        buf_putc(out, ',');
    buf_puts(out, close[l->flavour]);
    return true;
}

static bool check_growth(struct render *r, const struct buf *out) {
    if (out->failed)
        return render_fail(r, ERR_NOMEM, "no memory for the output");
    if (out->len > r->max_bytes)
        return render_fail(r, ERR_TOO_LARGE, "over %zu bytes", r->max_bytes);
    return true;
}

bool print_repr(struct render *r, struct buf *out, struct value v, size_t depth) {
    if (!render_charge(r, 1) || !render_nest(r, depth) || !check_growth(r, out))
        return false;
    switch (v.kind) {
    case VALUE_STRING:
        repr_text(out, v.as.text);
        return render_charge(r, v.as.text->len / 16);
    case VALUE_LIST:
        return repr_list(r, out, v.as.list, depth);
    case VALUE_DICT:
        return repr_dict(r, out, v.as.dict, depth);
    case VALUE_NAMESPACE:
        buf_puts(out, "<Namespace ");
        if (!repr_dict(r, out, v.as.dict, depth))
            return false;
        buf_putc(out, '>');
        return true;
    case VALUE_UNDEFINED:
        buf_puts(out, "Undefined");
        return true;
    default:
        return print_value(r, out, v);
    }
}

bool print_value(struct render *r, struct buf *out, struct value v) {
    switch (v.kind) {
    case VALUE_ABSENT:
    case VALUE_UNDEFINED:
        return true;
    case VALUE_NONE:
        buf_puts(out, "None");
        return true;
    case VALUE_BOOL:
        buf_puts(out, v.as.truth ? "True" : "False");
        return true;
    case VALUE_INT:
        buf_printf(out, "%lld", (long long)v.as.integer);
        return true;
    case VALUE_FLOAT:
        print_float(out, v.as.real);
        return true;
    case VALUE_STRING:
    case VALUE_BIG:
        buf_append(out, v.as.text->data, v.as.text->len);
        return render_charge(r, v.as.text->len / 64) && check_growth(r, out);
    case VALUE_MACRO:
        buf_printf(out, "<Macro '%s'>", v.as.macro->name);
        return true;
    case VALUE_LOOP:
        buf_printf(out, "<LoopContext %zu/%zu>", v.as.loop->index + 1, v.as.loop->items->count);
        return true;
    case VALUE_FUNCTION:
    case VALUE_METHOD:
        return render_fail(r, ERR_INVALID, "a %s has no text: call it", value_type_name(v));
    default:
        return print_repr(r, out, v, 0);
    }
}

bool print_to_text(struct render *r, struct value v, const struct value_text **out) {
    if (v.kind == VALUE_STRING) {
        *out = v.as.text;
        return true;
    }
    buf_reset(&r->scratch);
    struct value made;
    if (!print_value(r, &r->scratch, v))
        return false;
    if (!make_scratched(r, false, &made))
        return false;
    *out = made.as.text;
    return true;
}

static void json_text(struct buf *out, const struct value_text *t, bool ensure_ascii) {
    buf_putc(out, '"');
    size_t from = 0;
    for (size_t at = 0; at < t->len;) {
        uint32_t cp;
        size_t n = utf8_decode(t->data + at, t->len - at, &cp);
        if (n == 0)
            break; // strings here are valid
        at += n;
        if (cp >= 0x20 && cp != '"' && cp != '\\' && !(ensure_ascii && cp > 0x7e))
            continue;
        buf_append(out, t->data + from, at - n - from);
        from = at;
        const char *plain = "\"\\\n\r\t\b\f", *letter = "\"\\nrtbf", *hit;
        if (cp && cp < 0x80 && (hit = strchr(plain, (int)cp)))
            buf_append(out, (char[]){'\\', letter[hit - plain]}, 2);
        else if (cp < 0x10000)
            buf_printf(out, "\\u%04x", cp);
        else
            buf_printf(out, "\\u%04x\\u%04x", 0xd800 + ((cp - 0x10000) >> 10),
                       0xdc00 + ((cp - 0x10000) & 0x3ff));
    }
    buf_append(out, t->data + from, t->len - from);
    buf_putc(out, '"');
}

static void json_line(struct buf *out, const struct print_json_style *style, size_t depth) {
    if (!style->pretty)
        return;
    buf_putc(out, '\n');
    for (size_t i = 0; i < depth; i++)
        buf_append(out, style->indent->data, style->indent->len);
}

static bool json_scalar(struct render *r, struct buf *out, struct value v, bool ascii) {
    switch (v.kind) {
    case VALUE_NONE:
        buf_puts(out, "null");
        return true;
    case VALUE_BOOL:
        buf_puts(out, v.as.truth ? "true" : "false");
        return true;
    case VALUE_FLOAT:
        if (isfinite(v.as.real))
            print_float(out, v.as.real);
        else
            buf_puts(out, isnan(v.as.real) ? "NaN" : v.as.real < 0 ? "-Infinity" : "Infinity");
        return true;
    case VALUE_INT:
    case VALUE_BIG:
        return print_value(r, out, v);
    case VALUE_STRING:
        json_text(out, v.as.text, ascii);
        return render_charge(r, v.as.text->len / 16);
    default:
        return render_fail(r, ERR_INVALID, "Object of type %s is not JSON serializable",
                           value_type_name(v));
    }
}

static bool json_key(struct render *r, struct buf *out, struct value key, bool ascii) {
    if (key.kind == VALUE_STRING)
        return json_scalar(r, out, key, ascii);
    if (key.kind == VALUE_LIST)
        return render_fail(r, ERR_INVALID, "keys must be str, int, float, bool or None, not %s",
                           value_type_name(key));
    buf_putc(out, '"');
    bool ok = json_scalar(r, out, key, ascii);
    buf_putc(out, '"');
    return ok;
}

// Entry indices by key, stable insertion is not needed: keys differ.
static bool sorted_entries(struct render *r, const struct value_dict *d, struct value_entry **out) {
    struct value_entry *e = render_alloc(r, d->count, sizeof *e),
                       *other = render_alloc(r, d->count, sizeof *e);
    if (!e || !other)
        return false;
    if (d->count)
        memcpy(e, d->entries, d->count * sizeof *e);
    for (size_t width = 1; width < d->count; width *= 2) {
        for (size_t low = 0; low < d->count; low += 2 * width) {
            size_t mid = low + width < d->count ? low + width : d->count;
            size_t high = mid + width < d->count ? mid + width : d->count;
            size_t i = low, j = mid;
            for (size_t k = low; k < high; k++) {
                int order = 0;
                if (i < mid && j < high && !value_compare(r, e[i].key, e[j].key, "<", 0, &order))
                    return false;
                other[k] = i < mid && (j >= high || order <= 0) ? e[i++] : e[j++];
            }
        }
        struct value_entry *swap = e;
        e = other;
        other = swap;
    }
    *out = e;
    return true;
}

static bool json_dict(struct render *r, struct buf *out, const struct value_dict *d,
                      const struct print_json_style *style, size_t depth) {
    struct value_entry *entries = d->entries;
    if (style->sort_keys && !sorted_entries(r, d, &entries))
        return false;
    buf_putc(out, '{');
    for (size_t i = 0; i < d->count; i++) {
        if (i)
            buf_append(out, style->item_separator->data, style->item_separator->len);
        json_line(out, style, depth + 1);
        if (!json_key(r, out, entries[i].key, style->ensure_ascii))
            return false;
        buf_append(out, style->key_separator->data, style->key_separator->len);
        if (!print_json(r, out, entries[i].value, style, depth + 1))
            return false;
    }
    if (d->count)
        json_line(out, style, depth);
    buf_putc(out, '}');
    return true;
}

bool print_json(struct render *r, struct buf *out, struct value v,
                const struct print_json_style *style, size_t depth) {
    if (!render_charge(r, 1) || !render_nest(r, depth) || !check_growth(r, out))
        return false;
    if (v.kind == VALUE_DICT)
        return json_dict(r, out, v.as.dict, style, depth);
    if (!value_is_flavour(v, LIST_LIST) && !value_is_flavour(v, LIST_TUPLE))
        return json_scalar(r, out, v, style->ensure_ascii);
    const struct value_list *l = v.as.list;
    buf_putc(out, '[');
    for (size_t i = 0; i < l->count; i++) {
        if (i)
            buf_append(out, style->item_separator->data, style->item_separator->len);
        json_line(out, style, depth + 1);
        if (!print_json(r, out, l->items[i], style, depth + 1))
            return false;
    }
    if (l->count)
        json_line(out, style, depth);
    buf_putc(out, ']');
    return true;
}
