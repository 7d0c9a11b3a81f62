// See parser.h: the text between quotes. Source followed: CPython 3.11's unicode-escape codec, to
// which jinja2's lexer gives its strings.
#include "base/hex.h"
#include "base/utf8.h"
#include "template/parser.h"

#include <string.h>

// \xNN, \uNNNN, \UNNNNNNNN: n digits at s.
static bool parse_hex(struct parser *p, const char *s, size_t left, size_t n, struct buf *out) {
    uint32_t cp = 0;
    for (size_t i = 0; i < n; i++) {
        int digit = i < left ? hex_value(s[i]) : -1;
        if (digit < 0)
            return parser_fail(p, ERR_INVALID, "an escape in a string wants %zu hex digits", n);
        cp = cp << 4 | (uint32_t)digit;
    }
    char utf8[4];
    if (cp > 0x10ffff || (cp >= 0xd800 && cp < 0xe000))
        return parser_fail(p, ERR_UNSUPPORTED, "an escape in a string names no character");
    buf_append(out, utf8, utf8_encode(cp, utf8));
    return true;
}

// As Python's unicode-escape codec reads it: an unknown escape stays as it is.
bool parser_string(struct parser *p, const struct lexer_token *t, struct buf *out) {
    static const char from[] = "\\'\"abfnrtv", to[] = "\\'\"\a\b\f\n\r\t\v";
    const char *s = t->text;
    for (size_t i = 0; i < t->len;) {
        if (s[i] != '\\') {
            buf_putc(out, s[i++]);
            continue;
        }
        char c = i + 1 < t->len ? s[i + 1] : '\0';
        const char *hit = c ? strchr(from, c) : NULL;
        size_t hex = c == 'x' ? 2 : c == 'u' ? 4 : c == 'U' ? 8 : 0;
        i += 2;
        if (hit) {
            buf_putc(out, to[hit - from]);
        } else if (c == '\n') {
            continue;
        } else if (hex) {
            if (!parse_hex(p, s + i, t->len - i, hex, out))
                return false;
            i += hex;
        } else if (c == 'N') {
            return parser_fail(p, ERR_UNSUPPORTED, "the escape \\N is not supported");
        } else if (c >= '0' && c <= '7') {
            uint32_t cp = (uint32_t)(c - '0');
            for (int k = 0; k < 2 && i < t->len && s[i] >= '0' && s[i] <= '7'; k++)
                cp = cp * 8 + (uint32_t)(s[i++] - '0');
            char utf8[4];
            buf_append(out, utf8, utf8_encode(cp, utf8));
        } else {
            buf_append(out, (char[]){'\\', c}, 2);
        }
    }
    return true;
}
