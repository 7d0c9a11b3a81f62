// A text under a grammar, for fuzz targets: its tokens are chosen by the input's bytes, and the
// mask and the machine must agree on every token; or it is led to its end, where no mask may be
// empty and no token of one refused.
#ifndef TRINE_TESTS_FUZZ_GRAMMAR_WALK_H
#define TRINE_TESTS_FUZZ_GRAMMAR_WALK_H

#include "base/buf.h"
#include "grammar/grammar.h"

#include <stdlib.h>
#include <string.h>

enum { WALK_BYTES = 256, WALK_STEPS = 64 };

static const char *const walk_longer[] = {
    "\":",     "\", \"",   "{\"",         "ab",
    "abc",     "\"}",      "]}",          ", ",
    "12",      "\\u",      "\xC3\xA9",    "\xF0\x9F",
    "true",    "a\":1,\"", "<tool_call>", "tool_call>\n{\"name\": \"",
    "\n</tool"};

// All bytes, some longer tokens, an end token.
static inline struct grammar_vocab *grammar_walk_vocab(size_t *n) {
    static char bytes[WALK_BYTES];
    struct grammar_token tokens[WALK_BYTES + 32] = {{0}};
    size_t count = 0;
    for (size_t i = 0; i < WALK_BYTES; i++) {
        bytes[i] = (char)i;
        tokens[count++] = (struct grammar_token){&bytes[i], 1};
    }
    for (size_t i = 0; i < sizeof walk_longer / sizeof *walk_longer; i++)
        tokens[count++] = (struct grammar_token){walk_longer[i], strlen(walk_longer[i])};
    int32_t end = (int32_t)count++; // no bytes
    struct grammar_vocab *v = NULL;
    if (grammar_vocab_new(tokens, count, &end, 1, &v, NULL))
        exit(1);
    *n = count;
    return v;
}

static inline void grammar_walk_agree(const struct grammar *g, const struct grammar_vocab *v,
                                      const int32_t *taken, size_t n_taken, const uint32_t *mask,
                                      size_t n) {
    for (size_t id = 0; id < n; id++) {
        struct grammar_state *again = NULL;
        if (grammar_state_new(g, v, &again, NULL))
            exit(1);
        for (size_t i = 0; i < n_taken; i++)
            if (!grammar_accept(again, taken[i]))
                abort();
        if (grammar_accept(again, (int32_t)id) != (mask[id / 32] >> (id % 32) & 1))
            abort();
        grammar_state_free(again);
    }
}

// The text, if it ended (else no data). Every twentieth step compares the mask with each token
// tried.
static inline struct buf grammar_walk(const struct grammar *g, const uint8_t *choices,
                                      size_t n_choices, bool led) {
    static struct grammar_vocab *v;
    static size_t n;
    if (!v)
        v = grammar_walk_vocab(&n);
    struct buf text = {0};
    struct grammar_state *s = NULL;
    uint32_t mask[(WALK_BYTES + 32) / 32 + 1];
    int32_t taken[WALK_STEPS];
    bool ended = false;
    if (grammar_state_new(g, v, &s, NULL) ||
        (led && grammar_state_limit(s, WALK_STEPS, NULL, NULL)))
        exit(1);
    for (size_t i = 0; i < WALK_STEPS && !ended; i++) {
        bool constrained = false;
        if (grammar_mask(s, mask, &constrained))
            abort(); // every byte is a token: something must be able to follow
        if (!constrained)
            memset(mask, 0xFF, sizeof mask);
        else if (!led && n_choices < 400 && i % 20 == 5)
            grammar_walk_agree(g, v, taken, i, mask, n);
        size_t skip = n_choices ? choices[(i * 7 + 3) % n_choices] : i, id = n;
        for (size_t round = 0; id == n && round < 2; round++)
            for (size_t k = 0; k < n && id == n; k++)
                if ((mask[k / 32] >> (k % 32) & 1) && skip-- == 0)
                    id = k;
        for (size_t k = n; id == n && k-- > 0;) // fewer than that: the last, which likes to end
            if (mask[k / 32] >> (k % 32) & 1)
                id = k;
        if (id == n || !grammar_accept(s, (int32_t)id))
            abort();
        taken[i] = (int32_t)id;
        ended = id == n - 1;
        if (id < WALK_BYTES) {
            buf_putc(&text, (char)id);
        } else if (!ended) {
            buf_puts(&text, walk_longer[id - WALK_BYTES]);
        }
    }
    grammar_state_free(s);
    if (!ended)
        buf_free(&text);
    return text;
}

#endif
