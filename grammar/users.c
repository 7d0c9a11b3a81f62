// See users.h.
#include "grammar/users.h"

#include <string.h>

// Calls visit for each node that i depends on.
static void each_dependency(const struct grammar *g, uint32_t i,
                            void (*visit)(struct grammar_users *, uint32_t, uint32_t),
                            struct grammar_users *u) {
    const struct grammar_node *n = &g->nodes[i];
    switch ((enum grammar_kind)n->kind) {
    case GRAMMAR_FAIL:
    case GRAMMAR_RET:
        return;
    case GRAMMAR_SPLIT:
        for (uint32_t k = 0; k < n->min; k++)
            visit(u, i, g->alts[n->at + k]);
        return;
    case GRAMMAR_CALL:
        visit(u, i, g->rules[n->at].start);
        break;
    case GRAMMAR_REPEAT:
        visit(u, i, n->at);
        break;
    case GRAMMAR_LEAF:
    case GRAMMAR_KEY:
    case GRAMMAR_MORE:
        break;
    }
    visit(u, i, n->next);
}

static void count_user(struct grammar_users *u, uint32_t from, uint32_t to) {
    (void)from;
    u->first[to + 1]++;
}

static void put_user(struct grammar_users *u, uint32_t from, uint32_t to) {
    u->list[u->first[to]++] = from;
}

enum err grammar_users_make(const struct grammar *g, struct grammar_users *out,
                            struct errmsg *msg) {
    size_t n = g->n_nodes;
    *out = (struct grammar_users){.first = mem_calloc(n + 2, sizeof *out->first)};
    if (!out->first)
        return err_set(msg, ERR_NOMEM, "out of memory");
    for (uint32_t i = 0; i < n; i++)
        each_dependency(g, i, count_user, out);
    for (size_t i = 0; i < n; i++)
        out->first[i + 1] += out->first[i];
    out->list = mem_calloc((size_t)out->first[n] + 1, sizeof *out->list);
    if (!out->list) {
        grammar_users_free(out);
        return err_set(msg, ERR_NOMEM, "out of memory");
    }
    for (uint32_t i = 0; i < n; i++)
        each_dependency(g, i, put_user, out);
    // put_user has moved each start to its end, so the start of this one is the end of the one
    // before
    memmove(out->first + 1, out->first, n * sizeof *out->first);
    out->first[0] = 0;
    return ERR_OK;
}

void grammar_users_free(struct grammar_users *u) {
    mem_free(u->first);
    mem_free(u->list);
    *u = (struct grammar_users){0};
}
