// See trim.h.
#include "tokenizer/trim.h"

#include "base/utf8.h"
#include "tokenizer/unicode.h"

// How many spaces a token begins with, and how many it ends with.
static void count_spaces(const char *s, size_t len, size_t *leading, size_t *trailing) {
    size_t run = 0;
    bool all = true;
    *leading = 0;
    for (size_t at = 0; at < len;) {
        uint32_t cp = 0;
        size_t size = utf8_decode(s + at, len - at, &cp);
        // U+0120 is how a byte-level vocabulary writes a space
        bool space = (unicode_flags(cp) & UNICODE_WHITESPACE) || cp == 0x120;
        run = space ? run + 1 : 0;
        all = all && space;
        *leading += all;
        at += size ? size : 1;
    }
    *trailing = run;
}

static bool is_tail(struct text text, size_t at) {
    return at < text.len && utf8_is_tail(text.bytes[at]);
}

struct token_span trim_span(struct text text, const char *token, size_t len, bool first,
                            bool add_prefix_space, struct token_span span) {
    size_t leading, trailing;
    count_spaces(token, len, &leading, &trailing);
    if ((first || span.begin == 0) && add_prefix_space && leading == 1)
        leading = 0;
    for (; leading && span.begin < span.end; leading--)
        do
            span.begin++;
        while (is_tail(text, span.begin));
    uint32_t end = span.end;
    for (; trailing && end > 0; trailing--)
        do
            end--;
        while (end > 0 && is_tail(text, end));
    if (!trailing) // else there are fewer characters before it than spaces in it
        span.end = end > span.begin ? end : span.begin;
    return span;
}
