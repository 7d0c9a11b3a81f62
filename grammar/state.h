// The inside of a state: the machine and, for tools with free text, how much of the marker stands.
#ifndef TRINE_GRAMMAR_STATE_H
#define TRINE_GRAMMAR_STATE_H

#include "grammar/machine.h"
#include "grammar/vocab.h"

#include <stdatomic.h>

enum { STATE_TABLES_MAX = 12 };

// A budget that states of one grammar share: it depends only on the grammar and the vocabulary.
struct state_budget {
    struct budget budget;
    atomic_uint users; // states; the last one frees it, on whichever thread that is
};

struct grammar_state {
    const struct grammar *g;
    const struct grammar_vocab *v;
    struct machine machine;
    struct state_budget *budget; // of grammar_state_limit; NULL: no limit
    size_t left; // tokens that may still come, the end's among them; SIZE_MAX: no limit
    struct machine_config now; // at the bottom of the machine's arrays
    bool ended;
    bool free_text;   // no marker yet
    bool token_hides; // some token holds the whole marker and more
    size_t matched;   // bytes of the marker that the free text ends with
    struct {
        uint32_t start, from;     // the leaf, and the part of the trie
        struct loop_table *table; // owned
    } tables[STATE_TABLES_MAX];
    size_t n_tables;
};

// How many bytes of the marker stand after one more byte.
size_t state_match(const struct grammar *g, size_t matched, uint8_t byte);

#endif
