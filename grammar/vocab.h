// The inside of a vocabulary: a trie of its tokens' spellings, the tokens that end a text, and
// tables that say which tokens stay inside a JSON string: every grammar made from a schema has
// those automata. Thread rule: as grammar.h says. The tables are made at first need and kept.
#ifndef TRINE_GRAMMAR_VOCAB_H
#define TRINE_GRAMMAR_VOCAB_H

#include "grammar/loop_table.h"
#include "grammar/trie.h"

struct vocab_tables; // vocab.c's: what changes behind a vocabulary that does not

struct grammar_vocab {
    struct trie trie;
    int32_t *ends;
    size_t n_ends;
    bool *is_end; // [n_tokens]
    struct vocab_tables *tables;
};

// The table over the whole trie of the JSON leaf in state q < GRAMMAR_JSON_STATES. NULL: it is not
// made yet.
const struct loop_table *vocab_json_table(const struct grammar_vocab *v, uint32_t q);
// Makes that table, for the leaf at `start` of g, unless another thread has made it meanwhile. *out
// NULL: the leaf has none. ERR_NOMEM.
enum err vocab_json_table_make(const struct grammar_vocab *v, const struct grammar *g,
                               uint32_t start, uint32_t q,
                               const struct loop_table **out) MUST_CHECK;

#endif
