// See byte_level.h.
#include "tokenizer/byte_level.h"

#include "base/utf8.h"

#include <string.h>

size_t byte_level_decode(const char *piece, size_t len, char *out) {
    size_t n = 0;
    for (size_t at = 0; at < len;) {
        uint32_t cp;
        size_t size = utf8_decode(piece + at, len - at, &cp);
        int byte = size ? byte_level_byte(cp) : -1;
        if (byte < 0) {
            memcpy(out, piece, len);
            return len;
        }
        out[n++] = (char)byte;
        at += size;
    }
    return n;
}
