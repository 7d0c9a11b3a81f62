// Makes nodes of expressions. A run of parts without rules becomes one automaton, a repetition of
// such a part a counted leaf, a rule a call; only what is left needs splits and counted bodies.
#include "grammar/expr.h"

enum { FOLD_COUNT = 4 }; // repetitions up to this many are written out inside an automaton

static bool foldable(const struct expr *e) {
    switch (e->kind) {
    case EXPR_BYTES:
    case EXPR_CLASS:
        return true;
    case EXPR_RULE:
        return false;
    case EXPR_REPEAT:
        if (e->max > FOLD_COUNT)
            return false;
        break;
    case EXPR_SEQ:
    case EXPR_ALT:
        break;
    }
    for (size_t i = 0; i < e->n; i++)
        if (!foldable(e->items[i]))
            return false;
    return true;
}

static uint32_t compile(struct grammar *g, struct expr_arena *a, const struct expr *e,
                        uint32_t next, bool fold);

static uint32_t compile_seq(struct grammar *g, struct expr_arena *a, const struct expr *e,
                            uint32_t next) {
    for (size_t end = e->n; end > 0 && !g->err;) {
        size_t first = end;
        while (first > 0 && foldable(e->items[first - 1]))
            first--;
        struct grammar_leaf leaf;
        if (end - first > 1 &&
            grammar_leaf_make(g, expr_list(a, EXPR_SEQ, e->items + first, end - first), &leaf)) {
            next = grammar_leaf_node(g, leaf, 1, 1, next);
            end = first;
        } else {
            // one part at a time where the run would not fold
            do
                next = compile(g, a, e->items[--end], next, true);
            while (end > first && !g->err);
        }
    }
    return next;
}

static uint32_t compile_alt(struct grammar *g, struct expr_arena *a, const struct expr *e,
                            uint32_t next) {
    uint32_t split = grammar_split_open(g, e->n);
    for (size_t i = 0; i < e->n && !g->err; i++)
        grammar_split_set(g, split, i, compile(g, a, e->items[i], next, true));
    return split;
}

static uint32_t compile_repeat(struct grammar *g, struct expr_arena *a, const struct expr *e,
                               uint32_t next) {
    struct grammar_leaf leaf;
    if (foldable(e->items[0]) && grammar_leaf_make(g, e->items[0], &leaf))
        return grammar_leaf_node(g, leaf, e->min, e->max, next);
    if (g->err)
        return next;
    if (e->min == 1 && e->max == 1)
        return compile(g, a, e->items[0], next, true);
    if (e->min == 0 && e->max == 1) {
        uint32_t alts[2] = {compile(g, a, e->items[0], next, true), next};
        return grammar_split(g, alts, 2);
    }
    return grammar_repeat(g, compile(g, a, e->items[0], 1, true), e->min, e->max, 1, next);
}

// The recursion is as deep as the expression; the parsers bound that.
static uint32_t compile(struct grammar *g, struct expr_arena *a, const struct expr *e,
                        uint32_t next, bool fold) {
    if (g->err)
        return next;
    struct grammar_leaf leaf;
    if (fold && foldable(e) && grammar_leaf_make(g, e, &leaf))
        return grammar_leaf_node(g, leaf, 1, 1, next);
    switch (e->kind) {
    case EXPR_BYTES:
    case EXPR_CLASS:
        return grammar_fail(g, ERR_INVALID, "the grammar has too long a literal or class");
    case EXPR_SEQ:
        return compile_seq(g, a, e, next);
    case EXPR_ALT:
        return compile_alt(g, a, e, next);
    case EXPR_REPEAT:
        return compile_repeat(g, a, e, next);
    case EXPR_RULE:
        return grammar_call(g, e->rule, 1, next);
    }
    return next;
}

uint32_t grammar_compile(struct grammar *g, struct expr_arena *a, const struct expr *e,
                         uint32_t next) {
    if (!e)
        return grammar_fail(g, ERR_NOMEM, "out of memory");
    return compile(g, a, e, next, true);
}
