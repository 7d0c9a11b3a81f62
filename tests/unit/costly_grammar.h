// A grammar whose masks take a thread a while: many words that all begin alike.
#ifndef TRINE_TESTS_UNIT_COSTLY_GRAMMAR_H
#define TRINE_TESTS_UNIT_COSTLY_GRAMMAR_H

#include "base/buf.h"
#include "grammar/grammar.h"
#include "tests/check.h"

#include <string.h>

// So many words, or as many as take as long under the thread sanitizer, which makes each take
// some five times as long.
#if defined(__SANITIZE_THREAD__)
#define COSTLY_FOR_AS_LONG(words) ((words) / 5)
#else
#define COSTLY_FOR_AS_LONG(words) (words)
#endif

static inline struct grammar *costly_grammar(int words) {
    struct buf text = {0};
    struct grammar *g = NULL;
    struct errmsg msg = {0};
    buf_puts(&text, "root ::= x0");
    for (int i = 1; i < words; i++)
        buf_printf(&text, " | x%d", i);
    for (int i = 0; i < words; i++)
        buf_printf(&text, "\nx%d ::= ([a-m]+ | [f-z]+)+ \"%d\"", i, i);
    CHECK_OK(grammar_from_gbnf(text.data, strlen(text.data), &g, &msg), msg);
    buf_free(&text);
    return g;
}

#endif
