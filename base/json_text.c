// See json_text.h.
#include "base/json_text.h"
#include "base/hex.h"

#include "base/buf.h"
#include "base/utf8.h"

#include <string.h>

void json_escape(struct buf *out, const char *s, size_t len) {
    static const char hex[] = "0123456789abcdef";
    size_t from = 0;
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)s[i];
        if (c >= 0x20 && c != '"' && c != '\\')
            continue;
        buf_append(out, s + from, i - from);
        from = i + 1;
        if (c == '"' || c == '\\')
            buf_append(out, (char[]){'\\', (char)c}, 2);
        else if (c == '\n')
            buf_append(out, "\\n", 2);
        else if (c == '\r')
            buf_append(out, "\\r", 2);
        else if (c == '\t')
            buf_append(out, "\\t", 2);
        else
            buf_append(out, (char[]){'\\', 'u', '0', '0', hex[c >> 4], hex[c & 15]}, 6);
    }
    buf_append(out, s + from, len - from);
}

void json_quote(struct buf *out, const char *s, size_t len) {
    buf_putc(out, '"');
    json_escape(out, s, len);
    buf_putc(out, '"');
}

int json_hex4(const char *p) {
    int x = 0;
    for (int i = 0; i < 4; i++) {
        int d = hex_value(p[i]);
        if (d < 0)
            return -1;
        x = x << 4 | d;
    }
    return x;
}

// Behind "\u".
static size_t decode_unicode(const char *s, size_t *at, char out[4]) {
    uint32_t cp = (uint32_t)json_hex4(s + *at);
    *at += 4;
    if (cp >= 0xd800 && cp < 0xdc00) { // its low half follows as "\u" and four digits
        uint32_t low = (uint32_t)json_hex4(s + *at + 2);
        cp = 0x10000 + ((cp - 0xd800) << 10) + (low - 0xdc00);
        *at += 6;
    }
    return utf8_encode(cp, out);
}

size_t json_decode_char(const char *s, size_t *at, char out[4]) {
    static const char letters[] = "bfnrt", bytes[] = "\b\f\n\r\t";
    char c = s[(*at)++];
    if (c == '\\') {
        c = s[(*at)++];
        if (c == 'u')
            return decode_unicode(s, at, out);
        const char *letter = strchr(letters, c);
        c = letter ? bytes[letter - letters] : c;
    }
    out[0] = c;
    return 1;
}

size_t json_decode(const char *s, size_t len, char *out) {
    size_t n = 0;
    for (size_t at = 0; at < len;) {
        const char *escape = memchr(s + at, '\\', len - at);
        size_t plain = escape ? (size_t)(escape - s) - at : len - at;
        memcpy(out + n, s + at, plain);
        n += plain;
        at += plain;
        if (escape) {
            char bytes[4];
            size_t k = json_decode_char(s, &at, bytes);
            memcpy(out + n, bytes, k);
            n += k;
        }
    }
    return n;
}
