// See utf8.h. Ranges after Unicode 15, table 3-7 (well-formed UTF-8 byte sequences).
#include "base/utf8.h"

#include <string.h>

static bool tail(unsigned char c) { return (c & 0xc0) == 0x80; }

size_t utf8_decode(const char *s, size_t len, uint32_t *cp) {
    const unsigned char *p = (const unsigned char *)s;
    if (len == 0)
        return 0;
    uint32_t c = p[0];
    if (c < 0x80) {
        *cp = c;
        return 1;
    }
    if (c < 0xc2)
        return 0;
    if (c < 0xe0) {
        if (len < 2 || !tail(p[1]))
            return 0;
        *cp = (c & 0x1f) << 6 | (p[1] & 0x3fu);
        return 2;
    }
    if (c < 0xf0) {
        if (len < 3 || !tail(p[1]) || !tail(p[2]))
            return 0;
        uint32_t v = (c & 0x0f) << 12 | (p[1] & 0x3fu) << 6 | (p[2] & 0x3fu);
        if (v < 0x800 || (v >= 0xd800 && v < 0xe000))
            return 0;
        *cp = v;
        return 3;
    }
    if (c < 0xf5) {
        if (len < 4 || !tail(p[1]) || !tail(p[2]) || !tail(p[3]))
            return 0;
        uint32_t v = (c & 0x07) << 18 | (p[1] & 0x3fu) << 12 | (p[2] & 0x3fu) << 6 | (p[3] & 0x3fu);
        if (v < 0x10000 || v > 0x10ffff)
            return 0;
        *cp = v;
        return 4;
    }
    return 0;
}

size_t utf8_encode(uint32_t cp, char out[4]) {
    if (cp < 0x80) {
        out[0] = (char)cp;
        return 1;
    }
    if (cp < 0x800) {
        out[0] = (char)(0xc0 | cp >> 6);
        out[1] = (char)(0x80 | (cp & 0x3f));
        return 2;
    }
    if (cp < 0x10000) {
        out[0] = (char)(0xe0 | cp >> 12);
        out[1] = (char)(0x80 | (cp >> 6 & 0x3f));
        out[2] = (char)(0x80 | (cp & 0x3f));
        return 3;
    }
    out[0] = (char)(0xf0 | cp >> 18);
    out[1] = (char)(0x80 | (cp >> 12 & 0x3f));
    out[2] = (char)(0x80 | (cp >> 6 & 0x3f));
    out[3] = (char)(0x80 | (cp & 0x3f));
    return 4;
}

bool utf8_valid(const char *s, size_t len, size_t *bad) {
    size_t at = 0;
    while (at < len) {
        uint64_t eight;
        if (len - at >= sizeof eight) {
            memcpy(&eight, s + at, sizeof eight);
            if (!(eight & 0x8080808080808080u)) {
                at += sizeof eight;
                continue;
            }
        }
        uint32_t cp;
        size_t n = utf8_decode(s + at, len - at, &cp);
        if (n == 0) {
            if (bad)
                *bad = at;
            return false;
        }
        at += n;
    }
    return true;
}

// Bytes at p that begin a character and stop before its end; 0: another fault.
static size_t half_char(const unsigned char *p) {
    size_t want = p[0] >= 0xf0 ? 4 : p[0] >= 0xe0 ? 3 : 2, n = 1;
    if (p[0] < 0xc2 || p[0] > 0xf4)
        return 0;
    while (n < want && tail(p[n])) // the NUL behind the string is none
        n++;
    return n < want ? n : 0;
}

size_t utf8_tidy(char *s) {
    size_t len = strlen(s), from = 0, to = 0;
    while (from < len) {
        uint32_t cp = 0;
        size_t n = utf8_decode(s + from, len - from, &cp);
        if (n == 0 && (n = half_char((const unsigned char *)s + from))) {
            from += n;
            continue;
        }
        if (n == 0 || cp < 0x20 || (cp >= 0x7f && cp < 0xa0)) {
            s[to++] = '?';
            from += n ? n : 1;
            continue;
        }
        memmove(s + to, s + from, n);
        to += n;
        from += n;
    }
    s[to] = '\0';
    return to;
}
