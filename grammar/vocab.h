// The inside of a vocabulary: a trie of its tokens' spellings, which of them end a text, and tables
// of the automata that every grammar made from a schema has, which say which tokens stay inside a
// JSON string. Thread rule: as grammar.h says; the tables are made when first asked for and kept.
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

// The table of the leaf at `start` of g, from state q < GRAMMAR_JSON_STATES, over the whole trie.
// NULL: it is not made yet.
const struct loop_table *vocab_json_table(const struct grammar_vocab *v, uint32_t q);
// Makes it, unless another thread has meanwhile. *out NULL: there is none. ERR_NOMEM.
enum err vocab_json_table_make(const struct grammar_vocab *v, const struct grammar *g,
                               uint32_t start, uint32_t q,
                               const struct loop_table **out) MUST_CHECK;

#endif
