// Python's two ways to format a string. See format.h. What their small languages have and this file
// has not is an error of the rendering.
#include "template/format.h"
#include "template/chars.h"
#include "template/make.h"
#include "template/print.h"
#include "template/value_ops.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct spec {
    char fill[4];
    size_t fill_len;
    char align; // '<' '>' '^' '=', 0: by the value's kind
    char sign;  // '+', ' ' or 0
    bool alternate, comma;
    size_t width;
    int precision; // -1: none
    char type;     // 0: none
};

// Formatted text with its padding, to out. digits_at: where zeros go for '='.
static bool put_padded(struct render *r, struct buf *out, const char *s, size_t len,
                       size_t digits_at, const struct spec *f, char align) {
    size_t chars = chars_count(s, len);
    size_t pad = f->width > chars ? f->width - chars : 0;
    size_t left = align == '>' ? pad : align == '^' ? pad / 2 : 0;
    size_t inside = align == '=' ? pad : 0;
    if (f->width > r->max_bytes || out->len > r->max_bytes)
        return render_fail(r, ERR_TOO_LARGE, "a string of over %zu bytes", r->max_bytes);
    if (!render_charge(r, 1 + (f->width + len) / 16))
        return false;
    for (size_t i = 0; i < left; i++)
        buf_append(out, f->fill, f->fill_len);
    if (align != '=')
        digits_at = 0;
    buf_append(out, s, digits_at);
    for (size_t i = 0; i < inside; i++)
        buf_append(out, f->fill, f->fill_len);
    buf_append(out, s + digits_at, len - digits_at);
    for (size_t i = left + inside; i < pad; i++)
        buf_append(out, f->fill, f->fill_len);
    return true;
}

static void add_commas(char *s, size_t cap) {
    size_t start = *s == '-' || *s == '+' || *s == ' ', end = start, len = strlen(s);
    while (s[end] >= '0' && s[end] <= '9')
        end++;
    for (size_t at = end; at > start + 3 && len + 1 < cap; len++) {
        at -= 3;
        memmove(s + at + 1, s + at, len - at + 1);
        s[at] = ',';
    }
}

static bool put_number(struct render *r, struct buf *out, const char *body, bool negative,
                       const struct spec *f) {
    char s[800];
    const char *prefix = "";
    if (f->alternate && f->type == 'x')
        prefix = "0x";
    else if (f->alternate && f->type == 'X')
        prefix = "0X";
    else if (f->alternate && f->type == 'o')
        prefix = "0o";
    else if (f->alternate && f->type == 'b')
        prefix = "0b";
    char sign[2] = {negative ? '-' : f->sign, 0};
    snprintf(s, sizeof s, "%s%s%s", sign, prefix, body);
    if (f->comma)
        add_commas(s, sizeof s);
    size_t digits_at = strlen(sign) + strlen(prefix);
    return put_padded(r, out, s, strlen(s), digits_at, f, f->align ? f->align : '>');
}

static bool put_integer(struct render *r, struct buf *out, int64_t i, const struct spec *f) {
    char body[80];
    uint64_t u = i < 0 ? (uint64_t)0 - (uint64_t)i : (uint64_t)i;
    if (f->precision > 60)
        return render_fail(r, ERR_INVALID, "an integer with a precision of %d", f->precision);
    int digits = f->precision < 1 ? 1 : f->precision;
    switch (f->type) {
    case 'x':
        snprintf(body, sizeof body, "%0*llx", digits, (unsigned long long)u);
        break;
    case 'X':
        snprintf(body, sizeof body, "%0*llX", digits, (unsigned long long)u);
        break;
    case 'o':
        snprintf(body, sizeof body, "%0*llo", digits, (unsigned long long)u);
        break;
    case 'b': {
        size_t n = 64, k = 0;
        while (n > 1 && !(u >> (n - 1) & 1))
            n--;
        for (; n > 0; n--)
            body[k++] = (char)('0' + (u >> (n - 1) & 1));
        body[k] = '\0';
        break;
    }
    default:
        snprintf(body, sizeof body, "%0*llu", digits, (unsigned long long)u);
    }
    return put_number(r, out, body, i < 0, f);
}

static bool put_real(struct render *r, struct buf *out, double d, const struct spec *f) {
    char body[700];
    int precision = f->precision < 0 ? 6 : f->precision;
    if (precision > 300)
        return render_fail(r, ERR_INVALID, "a number with a precision of %d", precision);
    double u = fabs(d);
    bool negative = signbit(d) && !isnan(d), large = f->type >= 'A' && f->type <= 'Z';
    if (!isfinite(d)) {
        snprintf(body, sizeof body, "%s", isnan(d) ? large ? "NAN" : "nan" : large ? "INF" : "inf");
    } else {
        switch (f->type) {
        case 'e':
            snprintf(body, sizeof body, "%.*e", precision, u);
            break;
        case 'E':
            snprintf(body, sizeof body, "%.*E", precision, u);
            break;
        case 'g':
            snprintf(body, sizeof body, "%.*g", precision, u);
            break;
        case 'G':
            snprintf(body, sizeof body, "%.*G", precision, u);
            break;
        case '%':
            snprintf(body, sizeof body, "%.*f%%", precision, u * 100);
            break;
        default:
            snprintf(body, sizeof body, "%.*f", precision, u);
        }
    }
    return put_number(r, out, body, negative, f);
}

static bool put_text(struct render *r, struct buf *out, const struct value_text *t,
                     const struct spec *f) {
    size_t len = t->len;
    if (f->precision >= 0)
        len = chars_offset(t->data, t->len, (size_t)f->precision);
    return put_padded(r, out, t->data, len, 0, f, f->align ? f->align : '<');
}

static bool is_text_type(char type) { return type == 's' || type == 'r'; }

// repr() or str() of v, not through r->scratch, which the caller is filling.
static bool as_text(struct render *r, struct value v, bool repr, const struct value_text **out) {
    struct buf b = {0};
    struct value made;
    bool ok = repr ? print_repr(r, &b, v, 0) : print_value(r, &b, v);
    if (ok && b.failed)
        ok = render_fail(r, ERR_NOMEM, "no memory for a string");
    ok = ok && make_text(r, b.len ? b.data : "", b.len, &made);
    buf_free(&b);
    if (ok)
        *out = made.as.text;
    return ok;
}

// One value by a printf-like type.
static bool put_percent(struct render *r, struct buf *out, struct value v, struct spec *f) {
    const struct value_text *t;
    int64_t i;
    double d;
    if (is_text_type(f->type)) {
        if (!f->align)
            f->align = '>';
        return as_text(r, v, f->type == 'r', &t) && put_text(r, out, t, f);
    }
    bool number = value_is_number(v, &d);
    if (!number)
        return render_fail(r, ERR_INVALID, "%%%c format: a number is required, not %s", f->type,
                           value_type_name(v));
    if (strchr("eEfFgG", f->type))
        return put_real(r, out, d, f);
    if (!value_is_integer(v, &i)) {
        if (f->type != 'd' || !(fabs(d) < 9.2e18))
            return render_fail(r, ERR_INVALID, "%%%c format: an integer is required", f->type);
        i = (int64_t)d;
    }
    return put_integer(r, out, i, f);
}

static bool next_value(struct render *r, struct value args, size_t *used, struct value *out) {
    bool tuple = value_is_flavour(args, LIST_TUPLE);
    if (*used >= (tuple ? args.as.list->count : 1))
        return render_fail(r, ERR_INVALID, "not enough arguments for format string");
    *out = tuple ? args.as.list->items[*used] : args;
    ++*used;
    return true;
}

static size_t take_digits(const struct value_text *t, size_t at, size_t *out) {
    *out = 0;
    for (; at < t->len && t->data[at] >= '0' && t->data[at] <= '9'; at++)
        if (*out < 1000000000)
            *out = *out * 10 + (size_t)(t->data[at] - '0');
    return at;
}

// From behind '%' to behind the conversion's type.
static bool percent_item(struct render *r, const struct value_text *t, size_t *at,
                         struct value args, size_t *used, struct buf *out) {
    struct spec f = {.fill = " ", .fill_len = 1, .precision = -1};
    struct value v = {.kind = VALUE_ABSENT};
    bool zero = false;
    size_t i = *at, n;
    if (i < t->len && t->data[i] == '(') {
        size_t close = chars_find(t->data, t->len, ")", 1, i);
        struct value *found = NULL;
        if (close == SIZE_MAX)
            return render_fail(r, ERR_INVALID, "incomplete format key");
        if (args.kind != VALUE_DICT)
            return render_fail(r, ERR_INVALID, "format requires a mapping");
        if (!value_dict_find_word(r, args.as.dict, t->data + i + 1, close - i - 1, &found))
            return false;
        if (!found)
            return render_fail(r, ERR_INVALID, "a format key that is not there");
        v = *found;
        i = close + 1;
    }
    for (; i < t->len && strchr("-+ #0", t->data[i]) && t->data[i]; i++) {
        if (t->data[i] == '-')
            f.align = '<';
        else if (t->data[i] == '0')
            zero = true;
        else if (t->data[i] == '#')
            f.alternate = true;
        else if (f.sign != '+')
            f.sign = t->data[i];
    }
    i = take_digits(t, i, &f.width);
    if (i < t->len && t->data[i] == '.') {
        i = take_digits(t, i + 1, &n);
        f.precision = (int)(n > 1000000 ? 1000000 : n);
    }
    f.type = i < t->len ? t->data[i] : '\0';
    if (f.type == 'i' || f.type == 'u')
        f.type = 'd';
    if (!f.type || !strchr("dsrfFeEgGxXo", f.type))
        return render_fail(r, ERR_INVALID, "unsupported format character '%c'",
                           f.type > ' ' ? f.type : '?');
    *at = i + 1;
    if (zero && !f.align && !is_text_type(f.type)) {
        f.align = '=';
        f.fill[0] = '0';
    }
    if (v.kind == VALUE_ABSENT && !next_value(r, args, used, &v))
        return false;
    return put_percent(r, out, v, &f);
}

bool format_percent(struct render *r, const struct value_text *t, struct value args,
                    struct value *out) {
    struct buf made = {0};
    size_t used = 0, at = 0;
    bool ok = !t->safe || render_fail(r, ERR_INVALID, "'%%' of a string marked safe");
    while (ok && at < t->len) {
        size_t hit = chars_find(t->data, t->len, "%", 1, at);
        size_t end = hit == SIZE_MAX ? t->len : hit;
        buf_append(&made, t->data + at, end - at);
        at = end + 1;
        if (hit == SIZE_MAX)
            break;
        if (at < t->len && t->data[at] == '%') {
            buf_putc(&made, '%');
            at++;
        } else {
            ok = percent_item(r, t, &at, args, &used, &made);
        }
    }
    bool tuple = value_is_flavour(args, LIST_TUPLE);
    bool left = tuple ? used < args.as.list->count : used < 1 && args.kind != VALUE_DICT;
    if (ok && left)
        ok = render_fail(r, ERR_INVALID, "not all arguments converted during string formatting");
    if (ok && made.failed)
        ok = render_fail(r, ERR_NOMEM, "no memory for a string");
    ok = ok && make_text(r, made.len ? made.data : "", made.len, out);
    buf_free(&made);
    return ok;
}

static bool is_align(char c) { return c == '<' || c == '>' || c == '^' || c == '='; }

static bool parse_spec(struct render *r, const struct value_text *t, size_t at, size_t end,
                       struct spec *f) {
    struct value_text s = {.data = t->data, .len = end};
    size_t n = at < end ? chars_offset(t->data + at, end - at, 1) : 0;
    *f = (struct spec){.fill = " ", .fill_len = 1, .precision = -1};
    if (n && at + n < end && is_align(t->data[at + n])) {
        memcpy(f->fill, t->data + at, n);
        f->fill_len = n;
        f->align = t->data[at + n];
        at += n + 1;
    } else if (n && is_align(t->data[at])) {
        f->align = t->data[at++];
    }
    if (at < end && memchr("+- ", t->data[at], 3)) {
        f->sign = t->data[at] == '-' ? 0 : t->data[at];
        at++;
    }
    if (at < end && t->data[at] == '#') {
        f->alternate = true;
        at++;
    }
    if (at < end && t->data[at] == '0') {
        if (!f->align) {
            f->align = '=';
            f->fill[0] = '0';
            f->fill_len = 1;
        }
        at++;
    }
    at = take_digits(&s, at, &f->width);
    if (at < end && t->data[at] == ',') {
        f->comma = true;
        at++;
    }
    if (at < end && t->data[at] == '.') {
        size_t from = at + 1;
        at = take_digits(&s, from, &n);
        if (at == from)
            return render_fail(r, ERR_INVALID, "Format specifier missing precision");
        f->precision = (int)(n > 1000000 ? 1000000 : n);
    }
    if (at < end)
        f->type = t->data[at++];
    if (at < end || (f->type && !strchr("sdxXobfFeEgG%", f->type)) ||
        (f->comma && f->align == '=' && f->fill[0] == '0'))
        return render_fail(r, ERR_INVALID, "a format specifier that is not supported");
    return true;
}

// format(v, spec).
static bool put_braces(struct render *r, struct buf *out, struct value v, const struct spec *f,
                       bool plain) {
    const struct value_text *t;
    int64_t i;
    double d;
    if (plain)
        return as_text(r, v, false, &t) && put_text(r, out, t, f);
    if (v.kind == VALUE_STRING) {
        if ((f->type && f->type != 's') || f->align == '=' || f->sign || f->comma || f->alternate)
            return render_fail(r, ERR_INVALID, "a format specifier that strings do not have");
        return put_text(r, out, v.as.text, f);
    }
    if (value_is_integer(v, &i) && (!f->type || strchr("dxXob", f->type))) {
        if (f->precision >= 0 || (v.kind == VALUE_BOOL && !f->type))
            return render_fail(r, ERR_INVALID, "a format specifier that integers do not have");
        return put_integer(r, out, i, f);
    }
    if (value_is_number(v, &d) && f->type && strchr("eEfFgG%", f->type))
        return put_real(r, out, d, f);
    return render_fail(r, ERR_INVALID, "a format specifier that %s does not have",
                       value_type_name(v));
}

// The value that a field's name[0..len) means.
static bool field_value(struct render *r, const struct arguments *args, const char *name,
                        size_t len, size_t *automatic, struct value *out) {
    struct value_text t = {.data = name, .len = len};
    size_t index = 0;
    if (len == 0)
        index = (*automatic)++;
    else if (take_digits(&t, 0, &index) != len) {
        for (size_t i = args->positional; i < args->count; i++) {
            if (strlen(args->list[i].name) == len && memcmp(args->list[i].name, name, len) == 0) {
                *out = args->list[i].value;
                return true;
            }
        }
        return render_fail(r, ERR_INVALID, "format: no argument '%.*s'", len > 60 ? 60 : (int)len,
                           name);
    }
    if (index >= args->positional)
        return render_fail(r, ERR_INVALID, "Replacement index %zu out of range", index);
    *out = args->list[index].value;
    return true;
}

// From behind '{' to behind '}'.
static bool braces_item(struct render *r, const struct value_text *t, size_t *at, size_t *automatic,
                        const struct arguments *args, struct buf *out) {
    size_t close = chars_find(t->data, t->len, "}", 1, *at), name = *at;
    if (close == SIZE_MAX)
        return render_fail(r, ERR_INVALID, "expected '}' before end of string");
    while (name < close && t->data[name] != ':' && t->data[name] != '!')
        name++;
    for (size_t i = *at; i < close; i++)
        if (t->data[i] == '{' || (i < name && (t->data[i] == '.' || t->data[i] == '[')))
            return render_fail(r, ERR_INVALID, "format: nested fields are not supported");
    struct value v;
    struct spec f;
    const struct value_text *converted;
    if (!field_value(r, args, t->data + *at, name - *at, automatic, &v))
        return false;
    if (t->data[name] == '!') {
        char c = name + 1 < close ? t->data[name + 1] : '\0';
        if ((c != 'r' && c != 's') || (name + 2 < close && t->data[name + 2] != ':'))
            return render_fail(r, ERR_INVALID, "format: a conversion that is not supported");
        if (!as_text(r, v, c == 'r', &converted))
            return false;
        v = value_text(converted);
        name += 2;
    }
    size_t from = name < close ? name + 1 : close;
    *at = close + 1;
    return parse_spec(r, t, from, close, &f) && put_braces(r, out, v, &f, from == close);
}

bool format_braces(struct render *r, const struct value_text *t, const struct arguments *args,
                   struct value *out) {
    struct buf made = {0};
    size_t automatic = 0, at = 0;
    bool ok = true;
    while (ok && at < t->len) {
        char c = t->data[at];
        bool twice = at + 1 < t->len && t->data[at + 1] == c;
        if ((c == '{' || c == '}') && twice) {
            buf_putc(&made, c);
            at += 2;
        } else if (c == '}') {
            ok = render_fail(r, ERR_INVALID, "Single '}' encountered in format string");
        } else if (c == '{') {
            at++;
            ok = braces_item(r, t, &at, &automatic, args, &made);
        } else {
            buf_putc(&made, c);
            at++;
        }
    }
    if (ok && made.failed)
        ok = render_fail(r, ERR_NOMEM, "no memory for a string");
    ok = ok && make_text(r, made.len ? made.data : "", made.len, out);
    buf_free(&made);
    return ok;
}
