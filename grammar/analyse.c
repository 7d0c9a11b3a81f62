// Works out what a compiled grammar can do: how deep the stack must get, at the least, from each
// node to the end (so that a limit on depth never leads into a dead end, and what can never end is
// never entered); which nodes match the empty text; and whether a rule can call itself before it
// has matched anything. Two least fixpoints over the reversed dependencies, linear in practice.
#include "grammar/users.h"

#include <string.h>

struct analysis {
    struct grammar *g;
    struct grammar_users users;
    uint32_t *queue;
    bool *queued, *nullable;
};

static uint32_t most(uint32_t x, uint32_t y) { return x > y ? x : y; }

// The depth that node i needs, from what its dependencies are known to need.
static uint16_t need_of(const struct grammar *g, uint32_t i) {
    const struct grammar_node *n = &g->nodes[i];
    uint32_t need = GRAMMAR_NEED_NEVER, next = g->nodes[n->next].need;
    switch ((enum grammar_kind)n->kind) {
    case GRAMMAR_FAIL:
        break;
    case GRAMMAR_RET:
        need = 0;
        break;
    case GRAMMAR_LEAF:
    case GRAMMAR_KEY:
    case GRAMMAR_MORE:
        need = next;
        break;
    case GRAMMAR_CALL:
        need = most(next, (uint32_t)n->cost + g->nodes[g->rules[n->at].start].need);
        break;
    case GRAMMAR_REPEAT:
        need = n->min == 0 ? next : most(next, (uint32_t)n->cost + g->nodes[n->at].need);
        break;
    case GRAMMAR_SPLIT:
        for (uint32_t k = 0; k < n->min; k++) {
            uint16_t alt = g->nodes[g->alts[n->at + k]].need;
            need = alt < need ? alt : need;
        }
        break;
    }
    return need > GRAMMAR_DEPTH ? GRAMMAR_NEED_NEVER : (uint16_t)need;
}

static bool nullable_of(const struct analysis *a, uint32_t i) {
    const struct grammar *g = a->g;
    const struct grammar_node *n = &g->nodes[i];
    switch ((enum grammar_kind)n->kind) {
    case GRAMMAR_FAIL:
    case GRAMMAR_KEY:
        return false;
    case GRAMMAR_RET:
        return true;
    case GRAMMAR_LEAF:
        return n->min == 0 && a->nullable[n->next];
    case GRAMMAR_MORE:
        return a->nullable[n->next];
    case GRAMMAR_CALL:
        return a->nullable[g->rules[n->at].start] && a->nullable[n->next];
    case GRAMMAR_REPEAT:
        return (n->min == 0 || a->nullable[n->at]) && a->nullable[n->next];
    case GRAMMAR_SPLIT:
        for (uint32_t k = 0; k < n->min; k++)
            if (a->nullable[g->alts[n->at + k]])
                return true;
        return false;
    }
    return false;
}

// Repeats `update` until nothing changes: a node whose value changed wakes the nodes that depend on
// it. The queue is a ring of n slots; no node is in it twice.
static void fixpoint(struct analysis *a, bool (*update)(struct analysis *, uint32_t)) {
    size_t n = a->g->n_nodes, head = 0, waiting = n;
    for (size_t i = 0; i < n; i++) {
        a->queue[i] = (uint32_t)i; // builders work from the end: a node's successors come first
        a->queued[i] = true;
    }
    while (waiting) {
        uint32_t i = a->queue[head];
        head = head + 1 == n ? 0 : head + 1;
        waiting--;
        a->queued[i] = false;
        if (!update(a, i))
            continue;
        for (uint32_t k = a->users.first[i]; k < a->users.first[i + 1]; k++) {
            uint32_t p = a->users.list[k];
            if (a->queued[p])
                continue;
            a->queued[p] = true;
            a->queue[(head + waiting++) % n] = p;
        }
    }
}

static bool update_need(struct analysis *a, uint32_t i) {
    uint16_t need = need_of(a->g, i);
    bool changed = need < a->g->nodes[i].need;
    if (changed)
        a->g->nodes[i].need = need;
    return changed;
}

static bool update_nullable(struct analysis *a, uint32_t i) {
    bool changed = !a->nullable[i] && nullable_of(a, i);
    if (changed)
        a->nullable[i] = true;
    return changed;
}

// The k-th node that i leads to without matching anything; GRAMMAR_NONE behind the last.
static uint32_t left_step(const struct analysis *a, uint32_t i, uint32_t k) {
    const struct grammar *g = a->g;
    const struct grammar_node *n = &g->nodes[i];
    switch ((enum grammar_kind)n->kind) {
    case GRAMMAR_FAIL:
    case GRAMMAR_RET:
    case GRAMMAR_KEY:
        return GRAMMAR_NONE;
    case GRAMMAR_LEAF:
        return k == 0 && n->min == 0 ? n->next : GRAMMAR_NONE;
    case GRAMMAR_MORE:
        return k == 0 ? n->next : GRAMMAR_NONE;
    case GRAMMAR_SPLIT:
        return k < n->min ? g->alts[n->at + k] : GRAMMAR_NONE;
    case GRAMMAR_CALL:
    case GRAMMAR_REPEAT: {
        uint32_t inner = n->kind == GRAMMAR_CALL ? g->rules[n->at].start : n->at;
        bool skips = a->nullable[inner] || (n->kind == GRAMMAR_REPEAT && n->min == 0);
        return k == 0 ? inner : k == 1 && skips ? n->next : GRAMMAR_NONE;
    }
    }
    return GRAMMAR_NONE;
}

// A depth-first walk over left_step. A node that is met while it is still open closes a circle,
// which only calls can do. queue and `at` serve as the stack of nodes and of how far each has got.
static uint32_t find_left_recursion(struct analysis *a, uint32_t *at) {
    struct grammar *g = a->g;
    size_t n = g->n_nodes;
    enum { NEW, OPEN, DONE };
    uint8_t *colour = (uint8_t *)a->queued;
    memset(colour, NEW, n);
    for (uint32_t root = 0; root < n; root++) {
        size_t depth = 0;
        if (colour[root] == NEW) {
            a->queue[depth] = root;
            at[depth++] = 0;
            colour[root] = OPEN;
        }
        while (depth) {
            uint32_t i = a->queue[depth - 1], to = left_step(a, i, at[depth - 1]++);
            if (to == GRAMMAR_NONE) {
                colour[i] = DONE;
                depth--;
            } else if (colour[to] == NEW) {
                a->queue[depth] = to;
                at[depth++] = 0;
                colour[to] = OPEN;
            } else if (colour[to] == OPEN) {
                for (size_t d = depth; d-- > 0;)
                    if (g->nodes[a->queue[d]].kind == GRAMMAR_CALL)
                        return g->nodes[a->queue[d]].at;
            }
        }
    }
    return GRAMMAR_NONE;
}

enum err grammar_analyse(struct grammar *g, uint32_t *left, struct errmsg *msg) {
    size_t n = g->n_nodes;
    struct analysis a = {.g = g};
    uint32_t *at = mem_calloc(n, sizeof *at);
    a.queue = mem_calloc(n, sizeof *a.queue);
    a.queued = mem_calloc(n, sizeof *a.queued);
    a.nullable = mem_calloc(n, sizeof *a.nullable);
    enum err e = ERR_NOMEM;
    if (!at || !a.queue || !a.queued || !a.nullable) {
        (void)err_set(msg, e, "out of memory");
        goto end;
    }
    e = grammar_users_make(g, &a.users, msg);
    if (e)
        goto end;
    for (size_t i = 0; i < n; i++)
        g->nodes[i].need = GRAMMAR_NEED_NEVER;
    fixpoint(&a, update_need);
    fixpoint(&a, update_nullable);
    for (size_t i = 0; i < n; i++)
        if (g->nodes[i].kind == GRAMMAR_REPEAT && a.nullable[g->nodes[i].at]) {
            g->nodes[i].flags |= GRAMMAR_NULLABLE_BODY;
            g->nodes[i].min = 0;
        }
    *left = find_left_recursion(&a, at);
end:
    mem_free(at);
    grammar_users_free(&a.users);
    mem_free(a.queue);
    mem_free(a.queued);
    mem_free(a.nullable);
    return e;
}
