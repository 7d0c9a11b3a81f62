// See unicode.h.
#include "tokenizer/unicode.h"

#include <utf8proc.h>

size_t unicode_lower(uint32_t cp, uint32_t out[2]) {
    out[0] = cp;
    if (cp < 0x80) {
        if (cp >= 'A' && cp <= 'Z')
            out[0] = cp + 32;
        return 1;
    }
    if (!(unicode_flags(cp) & UNICODE_LOWERS))
        return 1;
    if (cp == 0x130) { // the only one that gives two
        out[0] = 'i';
        out[1] = 0x307;
        return 2;
    }
    size_t low = 0, high = unicode_lower_run_count;
    while (low < high) {
        size_t mid = (low + high) / 2;
        if (unicode_lower_runs[mid].last < cp)
            low = mid + 1;
        else
            high = mid;
    }
    // the flag says that a run holds cp, so `low` is it
    out[0] = (uint32_t)((int32_t)cp + unicode_lower_runs[low].delta);
    return 1;
}

static bool is_unknown(uint32_t cp) {
    size_t low = 0, high = unicode_unknown_count;
    while (low < high) {
        size_t mid = (low + high) / 2;
        if (unicode_unknown[mid].last < cp)
            low = mid + 1;
        else
            high = mid;
    }
    return low < unicode_unknown_count && unicode_unknown[low].first <= cp;
}

size_t unicode_decompose(uint32_t cp, bool compatibility, uint32_t out[UNICODE_DECOMPOSED_MAX]) {
    out[0] = cp;
    if (cp < 0x80 || (!compatibility && !(unicode_flags(cp) & UNICODE_DECOMPOSES)) ||
        is_unknown(cp))
        return 1;
    utf8proc_int32_t buf[UNICODE_DECOMPOSED_MAX];
    int last = 0;
    utf8proc_option_t options = UTF8PROC_STABLE | UTF8PROC_DECOMPOSE;
    if (compatibility)
        options |= UTF8PROC_COMPAT;
    utf8proc_ssize_t n =
        utf8proc_decompose_char((utf8proc_int32_t)cp, buf, UNICODE_DECOMPOSED_MAX, options, &last);
    if (n < 1 || n > UNICODE_DECOMPOSED_MAX)
        return 1;
    for (utf8proc_ssize_t i = 0; i < n; i++)
        out[i] = (uint32_t)buf[i];
    return (size_t)n;
}

uint8_t unicode_combining_class(uint32_t cp) {
    if (!(unicode_flags(cp) & UNICODE_DECOMPOSES))
        return 0;
    return (uint8_t)utf8proc_get_property((utf8proc_int32_t)cp)->combining_class;
}

uint32_t unicode_compose(uint32_t a, uint32_t b) {
    // nothing composes with ASCII behind; U+11A7 is the base that trailing jamo are counted from,
    // not the first of them, but utf8proc 2.8 drops it behind a syllable
    if (b < 0x80 || b == 0x11A7)
        return 0;
    utf8proc_int32_t pair[3] = {(utf8proc_int32_t)a, (utf8proc_int32_t)b, 0};
    utf8proc_ssize_t n = utf8proc_normalize_utf32(pair, 2, UTF8PROC_STABLE | UTF8PROC_COMPOSE);
    if (n != 1 || is_unknown((uint32_t)pair[0]))
        return 0;
    return (uint32_t)pair[0];
}
