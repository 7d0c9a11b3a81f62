// See integer.h.
#include "grammar/integer.h"

#include <string.h>

// Adds one to the magnitude.
static void increment(struct integer *v) {
    for (size_t i = v->n; i-- > 0;) {
        if (v->digits[i] != '9') {
            v->digits[i]++;
            return;
        }
        v->digits[i] = '0';
    }
    memmove(v->digits + 1, v->digits, v->n);
    v->digits[0] = '1';
    v->n++;
}

enum integer_read integer_from_lexeme(const char *text, size_t len, bool up, struct integer *out,
                                      bool *exact) {
    *out = (struct integer){0};
    size_t i = 0;
    bool negative = len > 0 && text[0] == '-';
    i += negative;
    size_t mantissa = i, point = len, end = i;
    for (; end < len && text[end] != 'e' && text[end] != 'E'; end++)
        if (text[end] == '.')
            point = end;
    if (point > end)
        point = end;
    long exponent = 0;
    if (end < len) {
        size_t k = end + 1;
        bool minus = text[k] == '-';
        k += minus || text[k] == '+';
        for (; k < len; k++)
            exponent = exponent > 100000000 ? exponent : exponent * 10 + (text[k] - '0');
        exponent = minus ? -exponent : exponent;
    }
    // Digit d of the mantissa stands whole = (digits before the point) + exponent - d places
    // before the decimal point.
    long whole = (long)(point - mantissa) + exponent, d = 0;
    bool fraction = false, large = false;
    for (i = mantissa; i < end; i++) {
        if (text[i] == '.')
            continue;
        if (d++ >= whole) {
            fraction |= text[i] != '0';
        } else if (out->n || text[i] != '0') {
            large |= out->n == INTEGER_DIGITS_MAX;
            if (!large)
                out->digits[out->n++] = text[i];
        }
    }
    for (; d < whole && out->n && !large; d++) {
        large = out->n == INTEGER_DIGITS_MAX;
        if (!large)
            out->digits[out->n++] = '0';
    }
    *exact = !fraction;
    out->negative = negative && out->n > 0;
    if (large)
        return INTEGER_LARGE;
    if (fraction && up != negative) {
        increment(out);
        out->negative = negative;
    }
    return out->n > INTEGER_DIGITS_MAX ? INTEGER_LARGE : INTEGER_READ;
}

static int compare_magnitude(const struct integer *a, const struct integer *b) {
    if (a->n != b->n)
        return a->n < b->n ? -1 : 1;
    return memcmp(a->digits, b->digits, a->n);
}

int integer_compare(const struct integer *a, const struct integer *b) {
    if (a->negative != b->negative)
        return a->negative ? -1 : 1;
    return a->negative ? compare_magnitude(b, a) : compare_magnitude(a, b);
}

static const struct expr *digits(struct expr_arena *a, char lo, char hi) {
    struct expr_range r = {(unsigned char)lo, (unsigned char)hi};
    return lo == hi ? expr_bytes(a, &lo, 1) : expr_class(a, &r, 1, false);
}

static const struct expr *seq(struct expr_arena *a, const struct expr *x, const struct expr *y) {
    const struct expr *both[] = {x, y};
    return expr_list(a, EXPR_SEQ, both, 2);
}

static const struct expr *any_digits(struct expr_arena *a, size_t n) {
    return expr_repeat(a, digits(a, '0', '9'), (uint32_t)n, (uint32_t)n);
}

// Makes the expression of the n-digit texts from lo to hi, leading zeros included; NULL stands for
// 00..0 or 99..9. It is made from the last digit to the first, in three forms: at least lo, at most
// hi, and between the two while their digits still agree.
static const struct expr *same_length(struct expr_arena *a, const char *lo, const char *hi,
                                      size_t n) {
    size_t agree = 0;
    while (agree < n && lo && hi && lo[agree] == hi[agree])
        agree++;
    if (agree == n)
        return expr_bytes(a, lo, n);
    const struct expr *at_least = expr_text(a, ""), *at_most = expr_text(a, "");
    for (size_t i = n; i-- > agree + 1;) {
        const struct expr *rest = any_digits(a, n - i - 1);
        char l = lo ? lo[i] : '0', h = hi ? hi[i] : '9';
        const struct expr *low[] = {seq(a, digits(a, l, l), at_least),
                                    l < '9' ? seq(a, digits(a, (char)(l + 1), '9'), rest) : rest};
        const struct expr *high[] = {seq(a, digits(a, h, h), at_most),
                                     h > '0' ? seq(a, digits(a, '0', (char)(h - 1)), rest) : rest};
        at_least = expr_list(a, EXPR_ALT, low, l < '9' ? 2 : 1);
        at_most = expr_list(a, EXPR_ALT, high, h > '0' ? 2 : 1);
    }
    // where the first digits differ; without lo the first digit of a number is not 0
    char l = lo ? lo[agree] : '1', h = hi ? hi[agree] : '9';
    const struct expr *parts[3];
    size_t count = 0;
    if (l == h) // only with one end absent
        return seq(a, digits(a, l, l), lo ? at_least : at_most);
    parts[count++] = seq(a, digits(a, l, l), at_least);
    if (l + 1 <= h - 1)
        parts[count++] =
            seq(a, digits(a, (char)(l + 1), (char)(h - 1)), any_digits(a, n - agree - 1));
    parts[count++] = seq(a, digits(a, h, h), at_most);
    const struct expr *tail = expr_list(a, EXPR_ALT, parts, count);
    return agree ? seq(a, expr_bytes(a, lo, agree), tail) : tail;
}

// Magnitudes from lo (at least 1) to hi.
static const struct expr *positive(struct expr_arena *a, const struct integer *lo,
                                   const struct integer *hi) {
    if (lo->n == hi->n)
        return same_length(a, lo->digits, hi->digits, lo->n);
    const struct expr *parts[3];
    size_t count = 0;
    parts[count++] = same_length(a, lo->digits, NULL, lo->n);
    if (hi->n - lo->n > 1)
        parts[count++] =
            seq(a, digits(a, '1', '9'),
                expr_repeat(a, digits(a, '0', '9'), (uint32_t)lo->n, (uint32_t)hi->n - 2));
    parts[count++] = same_length(a, NULL, hi->digits, hi->n);
    return expr_list(a, EXPR_ALT, parts, count);
}

// The end that is not given: as far as 64 bits go, and one digit beyond the other end.
static struct integer far_end(const struct integer *other, bool negative) {
    static const struct integer least = {true, 19, "9223372036854775808"};
    static const struct integer most = {false, 19, "9223372036854775807"};
    if (!other || other->negative != negative || other->n < least.n)
        return negative ? least : most;
    struct integer v = {.negative = negative, .n = other->n + 1};
    if (v.n > INTEGER_DIGITS_MAX)
        v.n = INTEGER_DIGITS_MAX;
    memset(v.digits, '9', v.n);
    return v;
}

const struct expr *integer_range(struct expr_arena *a, const struct integer *lo,
                                 const struct integer *hi) {
    struct integer low = lo ? *lo : far_end(hi, true), high = hi ? *hi : far_end(lo, false);
    static const struct integer one = {.n = 1, .digits = "1"};
    const struct expr *parts[3];
    size_t count = 0;
    if (low.negative) {
        const struct integer *least = high.negative ? &high : &one;
        parts[count++] = seq(a, expr_text(a, "-"), positive(a, least, &low));
    }
    if (!high.negative && (low.negative || low.n == 0))
        parts[count++] = expr_text(a, "0");
    if (!high.negative && high.n > 0)
        parts[count++] = positive(a, low.negative || low.n == 0 ? &one : &low, &high);
    return expr_list(a, EXPR_ALT, parts, count);
}
