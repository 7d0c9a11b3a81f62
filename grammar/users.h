// Which nodes depend on a node: those that lead to it, and those that lead into a rule or body that
// it begins.
#ifndef TRINE_GRAMMAR_USERS_H
#define TRINE_GRAMMAR_USERS_H

#include "grammar/program.h"

struct grammar_users {
    uint32_t *first; // [n_nodes + 1] the users of node i are list[first[i] .. first[i + 1])
    uint32_t *list;
};

enum err grammar_users_make(const struct grammar *g, struct grammar_users *out,
                            struct errmsg *msg) MUST_CHECK;
void grammar_users_free(struct grammar_users *u);

#endif
