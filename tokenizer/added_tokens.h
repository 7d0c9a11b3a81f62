// Added tokens: they are looked for in the text before (or after) it is normalized, and are never
// split.
// Role: which id each has, the search for them, and the pieces that the search cuts a text into.
// Source followed: huggingface/tokenizers, tokenizer/added_vocabulary.rs.
// Thread rule: immutable once built; a splits list belongs to its caller.
#ifndef TRINE_TOKENIZER_ADDED_TOKENS_H
#define TRINE_TOKENIZER_ADDED_TOKENS_H

#include "base/json.h"
#include "tokenizer/normalizer.h"
#include "tokenizer/vocab.h"

struct added_token {
    char *content; // owned
    size_t len;
    char
        *pattern; // owned: what is searched for and decoded, the normal form where it is normalized
    size_t pattern_len;
    int32_t id;
    bool single_word, lstrip, rstrip, normalized, special;
    bool skipped; // by a decode that skips special tokens
};

// A trie over bytes: one walk from a starting byte finds the longest token there.
struct added_matcher_node {
    int32_t child, next; // -1: none
    int32_t token;       // index of what ends here, -1
    unsigned char byte;
};
struct added_matcher {
    struct added_matcher_node *nodes; // [count], the root first; NULL when there is nothing to find
    size_t count, cap;
    bool first[256]; // bytes that a token begins with
};

struct added_tokens {
    struct added_token *items; // [count] ascending id
    size_t count;
    struct added_matcher raw, normalized;
    bool split_special; // special tokens are not looked for: what spells one is text
};

struct added_split {
    size_t begin, end;
    const struct added_token *token; // NULL: text between tokens
};
struct added_splits {
    struct added_split *items;
    size_t count, cap;
};

// json: the added_tokens array or NULL. Ids are as in Hugging Face: that of the model's piece, or
// the next free one; the number in the file is only read. ERR_INVALID, ERR_NOMEM; free it in either
// case.
enum err added_tokens_parse(const cJSON *json, const struct vocab *vocab,
                            const struct normalizer *normalizer, struct added_tokens *out,
                            struct errmsg *msg) MUST_CHECK;
void added_tokens_free(struct added_tokens *a);
const struct added_token *added_tokens_by_id(const struct added_tokens *a, int32_t id);

// Cuts a text into tokens and what lies between them, in order. A token that begins in spaces which
// the token before took (rstrip) overlaps it, as in Hugging Face. ERR_NOMEM.
enum err added_tokens_split(const struct added_tokens *a, const struct added_matcher *m,
                            const char *text, size_t len, struct added_splits *out) MUST_CHECK;

#endif
