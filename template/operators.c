// Arithmetic and slices, as in Python. See operators.h. Integers have 64 bits: a result that does
// not fit is an error, never a wrong number.
#include "template/operators.h"

#include "template/arguments.h"
#include "template/chars.h"
#include "template/format.h"
#include "template/make.h"
#include "template/value_ops.h"

#include <math.h>
#include <string.h>

static bool fail_types(struct render *r, const char *op, struct value a, struct value b) {
    return render_fail(r, ERR_INVALID, "unsupported operand type(s) for %s: '%s' and '%s'", op,
                       value_type_name(a), value_type_name(b));
}

static bool fail_range(struct render *r) {
    return render_fail(r, ERR_INVALID, "integer arithmetic beyond 64 bits");
}

static bool add_texts(struct render *r, const struct value_text *a, const struct value_text *b,
                      struct value *out) {
    if (a->safe != b->safe) {
        if (!a->safe && !make_escaped(r, a, &a))
            return false;
        if (!b->safe && !make_escaped(r, b, &b))
            return false;
    }
    return make_concat(r, a, b->data, b->len, out);
}

static bool add_lists(struct render *r, const struct value_list *a, const struct value_list *b,
                      struct value *out) {
    struct value_list *l;
    if (!make_list(r, a->flavour, a->count + b->count, &l))
        return false;
    for (size_t i = 0; i < a->count; i++)
        l->items[l->count++] = a->items[i];
    for (size_t i = 0; i < b->count; i++)
        l->items[l->count++] = b->items[i];
    *out = value_list(l);
    return true;
}

static bool repeat(struct render *r, struct value v, int64_t times, struct value *out) {
    size_t n = times > 0 ? (size_t)times : 0;
    if (v.kind == VALUE_STRING) {
        const struct value_text *t = v.as.text;
        if (t->len && n > r->max_bytes / t->len)
            return render_fail(r, ERR_TOO_LARGE, "a string of over %zu bytes", r->max_bytes);
        if (!render_charge(r, n / 8))
            return false;
        buf_reset(&r->scratch);
        for (size_t i = 0; i < n && t->len; i++)
            buf_append(&r->scratch, t->data, t->len);
        return make_scratched(r, t->safe, out);
    }
    const struct value_list *l = v.as.list;
    struct value_list *made;
    if (l->count && n > SIZE_MAX / sizeof(struct value) / l->count)
        return render_fail(r, ERR_TOO_LARGE, "the template makes too much");
    if (!render_charge(r, l->count * n) || !make_list(r, l->flavour, l->count * n, &made))
        return false;
    while (made->count < l->count * n) {
        made->items[made->count] = l->items[made->count % l->count];
        made->count++;
    }
    *out = value_list(made);
    return true;
}

static int64_t floor_mod(int64_t a, int64_t b) {
    if (b == -1)
        return 0; // INT64_MIN % -1 is not defined in C
    int64_t m = a % b;
    return m && (m < 0) != (b < 0) ? m + b : m;
}

static bool integer_power(struct render *r, int64_t a, int64_t b, struct value *out) {
    int64_t result = 1;
    while (b > 0) {
        if ((b & 1) && __builtin_mul_overflow(result, a, &result))
            return fail_range(r);
        b >>= 1;
        if (b && __builtin_mul_overflow(a, a, &a))
            return fail_range(r);
    }
    *out = value_int(result);
    return true;
}

static bool fail_zero(struct render *r) { return render_fail(r, ERR_INVALID, "division by zero"); }

static bool float_binary(struct render *r, enum ast_operator op, double a, double b,
                         struct value *out) {
    double m;
    switch (op) {
    case OPERATOR_ADD:
        *out = value_float(a + b);
        return true;
    case OPERATOR_SUB:
        *out = value_float(a - b);
        return true;
    case OPERATOR_MUL:
        *out = value_float(a * b);
        return true;
    case OPERATOR_POW:
        if (a == 0 && b < 0)
            return render_fail(r, ERR_INVALID, "0.0 cannot be raised to a negative power");
        if (a < 0 && b != floor(b))
            return render_fail(r, ERR_INVALID, "complex numbers are not supported");
        m = pow(a, b);
        if (!isfinite(m) && isfinite(a) && isfinite(b))
            return render_fail(r, ERR_INVALID, "numerical result out of range");
        *out = value_float(m);
        return true;
    default:
        break;
    }
    if (b == 0)
        return fail_zero(r);
    if (op == OPERATOR_DIV) {
        *out = value_float(a / b);
        return true;
    }
    m = fmod(a, b); // as CPython's float_divmod
    double q = (a - m) / b;
    if (m != 0 && (b < 0) != (m < 0)) {
        m += b;
        q -= 1;
    } else if (m == 0) {
        m = copysign(0, b);
    }
    if (op == OPERATOR_MOD) {
        *out = value_float(m);
        return true;
    }
    double whole = q != 0 ? floor(q) : copysign(0, a / b);
    if (q != 0 && q - whole > 0.5)
        whole += 1;
    *out = value_float(whole);
    return true;
}

static bool integer_binary(struct render *r, enum ast_operator op, int64_t a, int64_t b,
                           struct value *out) {
    const int64_t exact = (int64_t)1 << 53;
    int64_t v = 0;
    bool over = false;
    switch (op) {
    case OPERATOR_ADD:
        over = __builtin_add_overflow(a, b, &v);
        break;
    case OPERATOR_SUB:
        over = __builtin_sub_overflow(a, b, &v);
        break;
    case OPERATOR_MUL:
        over = __builtin_mul_overflow(a, b, &v);
        break;
    case OPERATOR_POW:
        if (b >= 0)
            return integer_power(r, a, b, out);
        return float_binary(r, op, (double)a, (double)b, out);
    case OPERATOR_DIV:
        if (a > exact || a < -exact || b > exact || b < -exact)
            return render_fail(r, ERR_INVALID, "a division of integers beyond 53 bits");
        return float_binary(r, op, (double)a, (double)b, out);
    case OPERATOR_FLOORDIV:
    case OPERATOR_MOD:
        if (b == 0)
            return fail_zero(r);
        if (op == OPERATOR_MOD)
            v = floor_mod(a, b);
        else if (b == -1)
            over = __builtin_sub_overflow((int64_t)0, a, &v);
        else
            v = a / b - (a % b && (a % b < 0) != (b < 0));
        break;
    default:
        return render_fail(r, ERR_INTERNAL, "an operator that is none");
    }
    if (over)
        return fail_range(r);
    *out = value_int(v);
    return true;
}

static bool is_sequence(struct value v) {
    return value_is_flavour(v, LIST_LIST) || value_is_flavour(v, LIST_TUPLE);
}

bool operator_binary(struct render *r, enum ast_operator op, struct value a, struct value b,
                     struct value *out) {
    static const char *const words[] = {"+", "-", "*", "/", "//", "%", "**"};
    int64_t i, j;
    double x, y;
    if (a.kind == VALUE_STRING && op == OPERATOR_MOD)
        return format_percent(r, a.as.text, b, out);
    if (a.kind == VALUE_UNDEFINED || b.kind == VALUE_UNDEFINED)
        return render_fail_undefined(r, a.kind == VALUE_UNDEFINED ? a.as.missing : b.as.missing);
    if (value_is_integer(a, &i) && value_is_integer(b, &j))
        return integer_binary(r, op, i, j, out);
    if (value_is_number(a, &x) && value_is_number(b, &y))
        return float_binary(r, op, x, y, out);
    if (op == OPERATOR_ADD && a.kind == VALUE_STRING && b.kind == VALUE_STRING)
        return add_texts(r, a.as.text, b.as.text, out);
    if (op == OPERATOR_ADD && is_sequence(a) && is_sequence(b) &&
        a.as.list->flavour == b.as.list->flavour)
        return add_lists(r, a.as.list, b.as.list, out);
    if (op == OPERATOR_MUL && (a.kind == VALUE_STRING || is_sequence(a)) && value_is_integer(b, &j))
        return repeat(r, a, j, out);
    if (op == OPERATOR_MUL && (b.kind == VALUE_STRING || is_sequence(b)) && value_is_integer(a, &i))
        return repeat(r, b, i, out);
    if (a.kind == VALUE_BIG || b.kind == VALUE_BIG)
        return fail_range(r);
    return fail_types(r, words[op], a, b);
}

bool operator_negate(struct render *r, struct value a, struct value *out) {
    int64_t i;
    if (a.kind == VALUE_UNDEFINED)
        return render_fail_undefined(r, a.as.missing);
    if (a.kind == VALUE_FLOAT) {
        *out = value_float(-a.as.real);
        return true;
    }
    if (a.kind == VALUE_BIG || (value_is_integer(a, &i) && i == INT64_MIN))
        return fail_range(r);
    if (!value_is_integer(a, &i))
        return render_fail(r, ERR_INVALID, "bad operand type for unary -: '%s'",
                           value_type_name(a));
    *out = value_int(-i);
    return true;
}

// A bound of a slice: None or absent leaves `fallback`.
static bool slice_bound(struct render *r, struct value v, int64_t fallback, int64_t len,
                        int64_t low, int64_t high, int64_t *out) {
    *out = fallback;
    if (v.kind == VALUE_ABSENT || v.kind == VALUE_NONE)
        return true;
    if (!value_is_integer(v, out))
        return render_fail(r, ERR_INVALID, "slice indices must be integers or None");
    if (*out < 0)
        *out += len;
    *out = *out < low ? low : *out > high ? high : *out;
    return true;
}

bool operator_slice(struct render *r, struct value v, struct value start, struct value stop,
                    struct value step, struct value *out) {
    if (v.kind == VALUE_UNDEFINED)
        return render_fail_undefined(r, v.as.missing);
    bool ranged = value_is_flavour(v, LIST_RANGE);
    if (v.kind != VALUE_STRING && !is_sequence(v) && !ranged)
        return render_fail(r, ERR_INVALID, "'%s' object cannot be sliced", value_type_name(v));
    const struct value_text *t = v.kind == VALUE_STRING ? v.as.text : NULL;
    int64_t len = (int64_t)(t ? t->chars : v.as.list->count), by, from, to;
    if (!argument_int(r, "a slice's step", step, 1, &by))
        return false;
    if (by == INT64_MIN)
        by++; // either goes beyond any string
    if (by == 0)
        return render_fail(r, ERR_INVALID, "slice step cannot be zero");
    int64_t low = by < 0 ? -1 : 0, high = by < 0 ? len - 1 : len;
    if (!slice_bound(r, start, by < 0 ? len - 1 : 0, len, low, high, &from) ||
        !slice_bound(r, stop, by < 0 ? -1 : len, len, low, high, &to))
        return false;
    if (t && by == 1) {
        if (from >= to)
            return make_text_view(r, "", 0, out);
        bool ascii = t->chars == t->len;
        size_t a = ascii ? (size_t)from : chars_offset(t->data, t->len, (size_t)from);
        size_t b =
            ascii ? (size_t)to : a + chars_offset(t->data + a, t->len - a, (size_t)(to - from));
        if (!render_charge(r, t->len / 64) || !make_text_view(r, t->data + a, b - a, out))
            return false;
        ((struct value_text *)out->as.text)->safe = t->safe; // just made, ours alone
        return true;
    }
    struct value_list *l, *made;
    if (!value_iterate(r, v, &l))
        return false;
    size_t count = 0;
    if (by > 0 && from < to)
        count = (size_t)((to - from - 1) / by + 1);
    else if (by < 0 && from > to)
        count = (size_t)((from - to - 1) / -by + 1);
    if (!render_charge(r, count) || !make_list(r, t ? LIST_LIST : l->flavour, count, &made))
        return false;
    for (size_t i = 0; i < count; i++)
        made->items[made->count++] = l->items[from + (int64_t)i * by];
    *out = value_list(made);
    if (ranged) { // its words: not kept, a slice of a range prints as nothing here does
        made->start = count ? made->items[0].as.integer : v.as.list->start;
        made->step = v.as.list->step * by;
        made->stop = made->start + made->step * (int64_t)count;
    }
    if (!t)
        return true;
    buf_reset(&r->scratch);
    for (size_t i = 0; i < count; i++)
        buf_append(&r->scratch, made->items[i].as.text->data, made->items[i].as.text->len);
    return make_scratched(r, t->safe, out);
}
