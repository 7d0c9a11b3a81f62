// The owners of a generator's sequences, and their turns. Role: an account of how many sequences of
// each run, of the rows that each may add to a step, and of whose prompts are computed; which
// sequences these are is the generator's business. An owner is an API key, with the weight of its
// line in the key file, or, without a key, one request.
// Where several owners run, the decoding rows of a step are shared: each owner has its weight's
// part of TURNS_ROWS, and one at least, so that one with many texts slows another's by as much as
// half a step of full width, not by all its texts. What an owner leaves unused is not saved up, but
// for part of a row. Prompts are computed by turns: an owner's until it has had TURNS_PROMPT tokens
// times its weight or has none left, then the next one's, in the order in which they came. Thread
// rule: the scheduler's thread.
#ifndef TRINE_ENGINE_TURNS_H
#define TRINE_ENGINE_TURNS_H

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    TURNS_ROWS = 16,     // more rows than these cost a step clearly more than one
    TURNS_PROMPT = 2048, // tokens of prompts in a turn
};

struct turn {
    uint64_t owner;
    int weight;
    size_t running; // sequences
    double rows;    // that it may still add
    bool prompts;   // it has some to compute
};

struct turns {
    struct turn *items; // [count] in the order in which they came
    size_t count, cap;
    uint64_t prompt_owner; // whose turn it is, and tokens that are left of it
    double prompt_left;
};

// For at most this many owners at once. ERR_NOMEM.
enum err turns_init(struct turns *t, size_t cap) MUST_CHECK;
void turns_free(struct turns *t);

// Counts anew: begin, each running sequence, end (owners without any are forgotten).
void turns_begin(struct turns *t);
void turns_count(struct turns *t, uint64_t owner, int weight, bool prompt);
void turns_end(struct turns *t);

// NULL: none of its sequences runs.
struct turn *turns_find(const struct turns *t, uint64_t owner);
// Sequences that it runs, for each unit of weight.
double turns_load(const struct turns *t, uint64_t owner, int weight);
// The owner with the greatest load, when one sequence of it less and one more of `owner`'s would
// bring the two closer together or leave them as they are; NULL: nobody has to give way to `owner`.
const struct turn *turns_greedy(const struct turns *t, uint64_t owner, int weight);

// A step: what each may add of decoding rows, where there is more than one owner.
static inline bool turns_share(const struct turns *t) { return t->count > 1; }
void turns_grant_rows(struct turns *t);

// Whose prompts come first; NULL: nobody has any. Charged with what was computed of them.
struct turn *turns_prompt_owner(struct turns *t);
void turns_charge_prompt(struct turns *t, size_t tokens);

#endif
