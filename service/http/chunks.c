// See chunks.h.
#include "service/http/chunks.h"

#include "base/hex.h"

#include <string.h>

enum { SKIPPED_MAX = 16384, DIGITS_MAX = 8 };

enum state {
    SIZE,      // hex digits
    BLANK,     // behind them: only an extension may follow
    EXTENSION, // to the line's end
    SIZE_LF,
    DATA,
    DATA_CR,
    DATA_LF,
    TRAILER, // a line's beginning
    TRAILER_LINE,
    TRAILER_LF,
    LAST_LF,
};

// What an extension and a trailer may hold, within a bound.
static bool skip(struct http_chunks *c, char byte) {
    unsigned char b = (unsigned char)byte;
    return (b == '\t' || (b >= ' ' && b != 0x7f)) && ++c->skipped <= SKIPPED_MAX;
}

// The next state, or -1.
static int step_size(struct http_chunks *c, char b) {
    int digit = c->state == SIZE ? hex_value(b) : -1;
    if (digit >= 0) {
        c->digits++;
        c->left = c->left << 4 | (uint64_t)digit;
        return c->left >> 4 * DIGITS_MAX == 0 && c->digits <= SKIPPED_MAX ? SIZE : -1;
    }
    if (c->digits == 0)
        return -1;
    if (b == '\r' && c->state != BLANK)
        return SIZE_LF;
    if (c->state == EXTENSION || b == ';')
        return skip(c, b) ? EXTENSION : -1;
    return (b == ' ' || b == '\t') && skip(c, b) ? BLANK : -1;
}

static int step(struct http_chunks *c, char b) {
    switch ((enum state)c->state) {
    case SIZE:
    case BLANK:
    case EXTENSION:
        return step_size(c, b);
    case SIZE_LF:
        return b != '\n' ? -1 : c->left ? DATA : TRAILER;
    case DATA_CR:
        return b == '\r' ? DATA_LF : -1;
    case DATA_LF:
        c->digits = 0;
        return b == '\n' ? SIZE : -1;
    case TRAILER:
        if (b == '\r')
            return LAST_LF;
        return skip(c, b) ? TRAILER_LINE : -1;
    case TRAILER_LINE:
        if (b == '\r')
            return TRAILER_LF;
        return skip(c, b) ? TRAILER_LINE : -1;
    case TRAILER_LF:
        return b == '\n' ? TRAILER : -1;
    case LAST_LF:
        c->done = b == '\n';
        return c->done ? LAST_LF : -1;
    case DATA:
        break;
    }
    return -1;
}

size_t http_chunks_take(struct http_chunks *c, char *bytes, size_t n) {
    size_t out = 0;
    for (size_t at = 0; at < n && !c->done && !c->bad;) {
        if (c->state == DATA) {
            size_t take = n - at < c->left ? n - at : (size_t)c->left;
            memmove(bytes + out, bytes + at, take);
            out += take;
            at += take;
            c->left -= take;
            if (c->left == 0)
                c->state = DATA_CR;
            continue;
        }
        int next = step(c, bytes[at++]);
        c->bad = next < 0;
        c->state = next;
    }
    return out;
}
