// Expressions as a parser builds them, before they become automata.
// Role: a tree whose parts lie in one arena of blocks and are freed together. Sequences and
// alternatives hold arrays, so a long one is not a deep one.
// Thread rule: one builder.
#ifndef TRINE_GRAMMAR_EXPR_H
#define TRINE_GRAMMAR_EXPR_H

#include "grammar/program.h"

enum expr_kind {
    EXPR_BYTES,  // these bytes; none: the empty text
    EXPR_CLASS,  // one code point of the ranges
    EXPR_SEQ,    // all items
    EXPR_ALT,    // one item
    EXPR_REPEAT, // items[0], min to max times
    EXPR_RULE,   // a rule of the grammar
};

struct expr_range {
    uint32_t lo, hi;
};

struct expr {
    enum expr_kind kind;
    const char *bytes;
    const struct expr_range *ranges; // CLASS: sorted, disjoint
    const struct expr **items;
    size_t n; // bytes, ranges or items
    uint32_t min, max, rule;
};

struct expr_arena {
    struct expr_block *blocks;
    bool failed;
};

void expr_arena_free(struct expr_arena *a);
void *expr_alloc(struct expr_arena *a, size_t count, size_t size); // zeroed; NULL: memory is out

// All of these give NULL when memory is out or an argument is NULL (and a->failed is set).
const struct expr *expr_bytes(struct expr_arena *a, const char *bytes, size_t n); // copied
const struct expr *expr_text(struct expr_arena *a, const char *text);
const struct expr *expr_class(struct expr_arena *a, const struct expr_range *ranges, size_t n,
                              bool negated); // any order; copied
const struct expr *expr_list(struct expr_arena *a, enum expr_kind kind,
                             const struct expr *const *items, size_t n); // SEQ or ALT; copied
const struct expr *expr_repeat(struct expr_arena *a, const struct expr *item, uint32_t min,
                               uint32_t max);
const struct expr *expr_rule(struct expr_arena *a, uint32_t rule);

// leaf.c: the automaton of an expression without rules. Repetitions are written out, so keep their
// counts small. False: it would be out of proportion or has a rule (no error is kept), or memory is
// out (the error is kept in g).
bool grammar_leaf_make(struct grammar *g, const struct expr *e, struct grammar_leaf *out);
// compile.c: makes nodes for e that go on at `next`. `a` holds temporaries.
uint32_t grammar_compile(struct grammar *g, struct expr_arena *a, const struct expr *e,
                         uint32_t next);

#endif
