// How many tokens a text still needs, at most, to come to its end. With it a mask can lead a text
// to an end within a number of tokens.
// Role: upper bounds for a grammar with a vocabulary, from one shortest way out of every automaton
// state and node. They hold unless a limit on depth or on an object's keys closes that way.
// Thread rule: immutable after making.
#ifndef TRINE_GRAMMAR_BUDGET_H
#define TRINE_GRAMMAR_BUDGET_H

#include "grammar/vocab.h"

enum {
    BUDGET_NEVER = 1 << 30, // no end, or further away than counts
    // A free key may have one code point, but must differ from the other keys of its object. So it
    // counts as this many: there are always some left of that length.
    BUDGET_KEY_CHARS = 3,
};

struct budget {
    uint32_t *to_accept; // [n_states] tokens from the state to an accepting one of its leaf
    uint32_t *to_end;    // [n_nodes] tokens from the node to the end of its rule or body
};

// ERR_NOMEM.
enum err budget_make(const struct grammar *g, const struct grammar_vocab *v, struct budget *out,
                     struct errmsg *msg) MUST_CHECK;
void budget_free(struct budget *b);

// Tokens from node pc, with `count` repetitions done, to the end of its rule or body.
uint32_t budget_at(const struct grammar *g, const struct budget *b, uint32_t pc, uint32_t count);

static inline uint32_t budget_sum(uint32_t x, uint32_t y) {
    return x < BUDGET_NEVER - y ? x + y : BUDGET_NEVER; // both at most BUDGET_NEVER
}

#endif
