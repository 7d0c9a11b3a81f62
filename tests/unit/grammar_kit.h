// What the tests of grammars share: a small vocabulary, and whether a grammar takes a text.
#ifndef TRINE_TESTS_UNIT_GRAMMAR_KIT_H
#define TRINE_TESTS_UNIT_GRAMMAR_KIT_H

#include "base/buf.h"
#include "grammar/grammar.h"
#include "tests/check.h"

#include <stdlib.h>

enum { KIT_LONGER = 26, KIT_END = 256 + KIT_LONGER, KIT_CONTROL, KIT_TOKENS, KIT_WORDS = 9 };

static const char *const kit_longer[KIT_LONGER] = {
    "\": ",        "\", \"",   "{\"",      "ab",         "abc",
    "\"}",         "]}",       ", ",       "12",         "\\u",
    "\xC3\xA9",    "\xF0\x9F", "true",     "a\": 1, \"", "false}",
    "<tool_call>", "call>\n{", "\n</tool", "  ",         "\\ud83d\\ude00",
    "name",        "\x9F\x98", "},{",      "[1, 2",      "\"\"",
    "\n\n"};

// Every byte, longer tokens, an end token and a control token: [KIT_TOKENS].
static inline const struct grammar_token *kit_tokens(void) {
    static struct grammar_token tokens[KIT_TOKENS];
    static char bytes[256];
    for (int i = 0; i < 256; i++) {
        bytes[i] = (char)i;
        tokens[i] = (struct grammar_token){&bytes[i], 1};
    }
    for (int i = 0; i < KIT_LONGER; i++)
        tokens[256 + i] = (struct grammar_token){kit_longer[i], strlen(kit_longer[i])};
    return tokens;
}

static inline struct grammar_vocab *kit_vocab(void) {
    static struct grammar_vocab *v;
    if (v)
        return v;
    int32_t end = KIT_END;
    struct errmsg msg = {0};
    CHECK_OK(grammar_vocab_new(kit_tokens(), KIT_TOKENS, &end, 1, &v, &msg), msg);
    CHECK_INT(grammar_mask_words(v), KIT_WORDS);
    return v;
}

static inline bool kit_in(const uint32_t *mask, int32_t id) {
    return mask[id / 32] >> (id % 32) & 1;
}

static inline void kit_token(int32_t id, const char **bytes, size_t *len) {
    static char byte;
    if (id < 256) {
        byte = (char)id;
        *bytes = &byte;
        *len = 1;
    } else {
        *bytes = id < KIT_END ? kit_longer[id - 256] : "";
        *len = strlen(*bytes);
    }
}

// 'y' when the grammar takes the text whole, 'p' when it takes it as a beginning, 'n' when not; by
// single bytes, or by the longest token of each place. '!' when a mask and the machine disagree.
static inline char kit_takes_by(const struct grammar *g, const char *text, size_t len,
                                bool longest) {
    struct grammar_state *s = NULL;
    struct errmsg msg = {0};
    if (grammar_state_new(g, kit_vocab(), &s, &msg))
        return '!';
    char answer = 'y';
    for (size_t i = 0; i < len && answer == 'y';) {
        int32_t id = (unsigned char)text[i];
        size_t most = 1;
        for (int k = 0; k < KIT_LONGER && longest; k++) {
            size_t n = strlen(kit_longer[k]);
            if (n > most && n <= len - i && memcmp(kit_longer[k], text + i, n) == 0) {
                most = n;
                id = 256 + k;
            }
        }
        uint32_t mask[KIT_WORDS];
        bool constrained = false;
        bool masked =
            grammar_mask(s, mask, &constrained) == ERR_OK && (!constrained || kit_in(mask, id));
        bool taken = grammar_accept(s, id);
        answer = masked != taken ? '!' : taken ? 'y' : 'n';
        i += most;
    }
    if (answer == 'y' && !grammar_may_end(s))
        answer = 'p';
    grammar_state_free(s);
    return answer;
}

static inline char kit_takes(const struct grammar *g, const char *text) {
    char a = kit_takes_by(g, text, strlen(text), false);
    char b = kit_takes_by(g, text, strlen(text), true);
    // where a byte is refused, the token that holds it is as well, perhaps earlier
    return a == b ? a : '!';
}

static inline enum err kit_schema(const char *schema, struct buf *warnings, struct grammar **g,
                                  struct errmsg *msg) {
    struct json_tree *t = NULL;
    *g = NULL;
    enum err e = json_tree_parse(schema, strlen(schema), &json_limits_request, &t, NULL, msg);
    if (!e)
        e = grammar_from_schema(json_tree_root(t), warnings, g, msg);
    json_tree_free(t);
    return e;
}

#endif
