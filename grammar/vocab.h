// The inside of a vocab: a trie of the tokens' bytes in preorder, and tables that say for a state
// of the JSON string automaton which tokens stay inside the string.
#ifndef TRINE_GRAMMAR_VOCAB_H
#define TRINE_GRAMMAR_VOCAB_H

#include "grammar/program.h"
#include "grammar/table.h"

#include <pthread.h>
#include <stdatomic.h>

enum { GRAMMAR_TOKEN_MAX = 256 }; // bytes; a longer token is never allowed

struct vocab_node {
    uint32_t skip;  // the first node behind this one's subtree
    uint32_t first; // of its tokens, in order[]
    uint16_t n;     // tokens that end here: more than one where spellings repeat
    uint8_t depth;  // bytes on the way - 1: the root's children are at 0
    uint8_t byte;
};

struct grammar_vocab {
    struct vocab_node *nodes; // [n_nodes], preorder, without the root
    uint32_t n_nodes;
    int32_t *order; // [n_order] ids sorted by spelling: a subtree's tokens are neighbours
    size_t n_order;
    uint32_t *at; // [n_tokens + 1] into bytes
    char *bytes;
    size_t n_tokens;
    int32_t *ends;
    size_t n_ends;
    bool *is_end; // [n_tokens]
    size_t longest;
    // tables of the automata that every schema grammar has, made when first asked for (under the
    // lock) and kept
    pthread_mutex_t lock;
    _Atomic(struct loop_table *) json[GRAMMAR_JSON_STATES];
};

#endif
