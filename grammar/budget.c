// See budget.h.
#include "grammar/budget.h"
#include "grammar/users.h"

#include <string.h>

enum { LOOK_AHEAD = 32 }; // bytes of a way that one token is looked for in

// ---- automata: the way with the fewest bytes, then its tokens

struct ways {
    const struct grammar *g;
    const struct grammar_vocab *v;
    bool alone[256];       // the byte is a token
    uint32_t child[256];   // of the trie's root, GRAMMAR_NONE: none
    uint32_t *first, *rev; // edges into a state, by a byte that is a token: from which
    uint32_t *order;       // [n_states] states by the bytes they need, those that end first
    uint32_t *to;          // [n_states] the next state on the way; GRAMMAR_NONE: not known
    uint8_t *by;           // [n_states] and the byte that leads there
};

static int usable_byte(const struct ways *w, const struct grammar_edge *e) {
    for (int b = e->lo; b <= e->hi; b++)
        if (w->alone[b])
            return b;
    return -1;
}

static void read_trie(struct ways *w) {
    const struct trie_node *nodes = w->v->trie.nodes;
    memset(w->child, 0xFF, sizeof w->child);
    for (uint32_t i = 0; i < w->v->trie.n_nodes; i = nodes[i].skip) {
        w->child[nodes[i].byte] = i;
        w->alone[nodes[i].byte] = nodes[i].n > 0;
    }
}

static void reverse_edges(struct ways *w) {
    const struct grammar *g = w->g;
    for (int pass = 0; pass < 2; pass++) {
        for (uint32_t q = 0; q < g->n_states; q++)
            for (uint32_t k = 0; k < g->states[q].n; k++) {
                const struct grammar_edge *e = &g->edges[g->states[q].first + k];
                if (usable_byte(w, e) < 0)
                    continue;
                if (pass == 0)
                    w->first[e->to + 1]++;
                else
                    w->rev[w->first[e->to]++] = q;
            }
        for (size_t q = 0; pass == 0 && q < g->n_states; q++)
            w->first[q + 1] += w->first[q];
    }
    // each start has moved to its end, so the start of this one is the end of the one before
    memmove(w->first + 1, w->first, g->n_states * sizeof *w->first);
    w->first[0] = 0;
}

static void set_way(struct ways *w, uint32_t q, uint32_t to) {
    const struct grammar_dfa_state *s = &w->g->states[q];
    for (uint32_t k = 0; k < s->n; k++) {
        const struct grammar_edge *e = &w->g->edges[s->first + k];
        int byte = e->to == to ? usable_byte(w, e) : -1;
        if (byte >= 0) {
            w->to[q] = to;
            w->by[q] = (uint8_t)byte;
            return;
        }
    }
}

// Goes backwards from the accepting states, breadth first. Returns how many states have a way to
// one.
static size_t find_ways(struct ways *w) {
    const struct grammar *g = w->g;
    size_t n = 0;
    for (uint32_t q = 0; q < g->n_states; q++) {
        w->to[q] = g->states[q].accept ? q : GRAMMAR_NONE;
        if (g->states[q].accept)
            w->order[n++] = q;
    }
    for (size_t i = 0; i < n; i++)
        for (uint32_t k = w->first[w->order[i]]; k < w->first[w->order[i] + 1]; k++)
            if (w->to[w->rev[k]] == GRAMMAR_NONE) {
                set_way(w, w->rev[k], w->order[i]);
                w->order[n++] = w->rev[k];
            }
    return n;
}

static uint32_t child_of(const struct ways *w, uint32_t node, uint8_t byte) {
    const struct trie_node *nodes = w->v->trie.nodes;
    for (uint32_t i = node + 1; i < nodes[node].skip; i = nodes[i].skip)
        if (nodes[i].byte >= byte)
            return nodes[i].byte == byte ? i : GRAMMAR_NONE;
    return GRAMMAR_NONE;
}

// The fewest tokens that spell the way out of q. The states further along the way are known.
static uint32_t tokens_from(const struct ways *w, const uint32_t *to_accept, uint32_t q) {
    uint32_t least = BUDGET_NEVER, node = w->child[w->by[q]];
    for (int i = 0; node != GRAMMAR_NONE && i < LOOK_AHEAD; i++) {
        q = w->to[q];
        if (w->v->trie.nodes[node].n && to_accept[q] < least)
            least = budget_sum(to_accept[q], 1);
        if (w->g->states[q].accept)
            break;
        node = child_of(w, node, w->by[q]);
    }
    return least;
}

static enum err count_states(const struct grammar *g, const struct grammar_vocab *v,
                             uint32_t *to_accept, struct errmsg *msg) {
    size_t n = g->n_states;
    struct ways w = {.g = g, .v = v};
    w.first = mem_calloc(n + 2, sizeof *w.first);
    w.rev = mem_calloc(g->n_edges + 1, sizeof *w.rev);
    w.order = mem_calloc(n + 1, sizeof *w.order);
    w.to = mem_calloc(n + 1, sizeof *w.to);
    w.by = mem_calloc(n + 1, sizeof *w.by);
    bool ok = w.first && w.rev && w.order && w.to && w.by;
    if (ok) {
        read_trie(&w);
        reverse_edges(&w);
        size_t known = find_ways(&w);
        for (size_t q = 0; q < n; q++)
            to_accept[q] = BUDGET_NEVER;
        for (size_t i = 0; i < known; i++) {
            uint32_t q = w.order[i];
            to_accept[q] = g->states[q].accept ? 0 : tokens_from(&w, to_accept, q);
        }
    }
    mem_free(w.first);
    mem_free(w.rev);
    mem_free(w.order);
    mem_free(w.to);
    mem_free(w.by);
    return ok ? ERR_OK : err_set(msg, ERR_NOMEM, "out of memory");
}

// ---- nodes

static uint32_t times(uint32_t count, uint32_t cost) {
    uint64_t product = (uint64_t)count * cost;
    return product < BUDGET_NEVER ? (uint32_t)product : BUDGET_NEVER;
}

static uint32_t missing(uint32_t min, uint32_t count) { return min > count ? min - count : 0; }

uint32_t budget_at(const struct grammar *g, const struct budget *b, uint32_t pc, uint32_t count) {
    const struct grammar_node *n = &g->nodes[pc];
    uint32_t each = 0, min = n->min;
    switch ((enum grammar_kind)n->kind) {
    case GRAMMAR_FAIL:
    case GRAMMAR_RET:
    case GRAMMAR_CALL:
    case GRAMMAR_SPLIT:
    case GRAMMAR_MORE:
        return b->to_end[pc];
    case GRAMMAR_KEY:
        min = BUDGET_KEY_CHARS;
        each = b->to_accept[n->at];
        break;
    case GRAMMAR_LEAF:
        each = b->to_accept[n->at];
        break;
    case GRAMMAR_REPEAT:
        each = b->to_end[n->at];
        break;
    }
    return budget_sum(times(missing(min, count), each), b->to_end[n->next]);
}

// The tokens of node i, once those of the nodes that it leads to are known; of a split the first
// known alternative is the least.
static uint32_t value_of(const struct grammar *g, const struct budget *b, uint32_t i) {
    const struct grammar_node *n = &g->nodes[i];
    uint32_t least = BUDGET_NEVER;
    switch ((enum grammar_kind)n->kind) {
    case GRAMMAR_FAIL:
        return BUDGET_NEVER;
    case GRAMMAR_RET:
        return 0;
    case GRAMMAR_CALL:
        return budget_sum(b->to_end[g->rules[n->at].start], b->to_end[n->next]);
    case GRAMMAR_MORE:
        return b->to_end[n->next];
    case GRAMMAR_SPLIT:
        for (uint32_t k = 0; k < n->min; k++) {
            uint32_t alt = b->to_end[g->alts[n->at + k]];
            least = alt < least ? alt : least;
        }
        return least;
    case GRAMMAR_KEY:
    case GRAMMAR_LEAF:
    case GRAMMAR_REPEAT:
        break;
    }
    return budget_at(g, b, i, 0);
}

struct queue { // a heap: the node with the fewest tokens on top
    struct waiting {
        uint32_t tokens, node;
    } * heap;
    size_t n;
};

static void put(struct queue *q, uint32_t node, uint32_t tokens) {
    size_t i = q->n++;
    for (; i > 0 && q->heap[(i - 1) / 2].tokens > tokens; i = (i - 1) / 2)
        q->heap[i] = q->heap[(i - 1) / 2];
    q->heap[i] = (struct waiting){tokens, node};
}

static struct waiting take(struct queue *q) {
    struct waiting top = q->heap[0], last = q->heap[--q->n];
    size_t i = 0;
    for (size_t k = 1; k < q->n; k = 2 * i + 1) {
        k += k + 1 < q->n && q->heap[k + 1].tokens < q->heap[k].tokens;
        if (q->heap[k].tokens >= last.tokens)
            break;
        q->heap[i] = q->heap[k];
        i = k;
    }
    q->heap[i] = last;
    return top;
}

// Knuth's form of Dijkstra's search: a sum is never less than its parts, so the least known value
// is final, and each node enters the queue once, when it has a value.
static enum err count_nodes(const struct grammar *g, struct budget *b, struct errmsg *msg) {
    struct grammar_users users;
    struct queue queue = {.heap = mem_calloc(g->n_nodes + 1, sizeof *queue.heap)};
    bool *put_in = mem_calloc(g->n_nodes + 1, sizeof *put_in);
    enum err e = ERR_NOMEM;
    if (!queue.heap || !put_in) {
        (void)err_set(msg, e, "out of memory");
        goto end;
    }
    e = grammar_users_make(g, &users, msg);
    if (e)
        goto end;
    for (uint32_t i = 0; i < g->n_nodes; i++) {
        b->to_end[i] = BUDGET_NEVER;
        put_in[i] = g->nodes[i].kind == GRAMMAR_RET;
        if (put_in[i])
            put(&queue, i, 0);
    }
    while (queue.n) {
        struct waiting known = take(&queue);
        b->to_end[known.node] = known.tokens;
        for (uint32_t k = users.first[known.node]; k < users.first[known.node + 1]; k++) {
            uint32_t user = users.list[k], tokens = put_in[user] ? 0 : value_of(g, b, user);
            if (put_in[user] || tokens == BUDGET_NEVER)
                continue;
            put_in[user] = true;
            put(&queue, user, tokens);
        }
    }
    grammar_users_free(&users);
end:
    mem_free(queue.heap);
    mem_free(put_in);
    return e;
}

enum err budget_make(const struct grammar *g, const struct grammar_vocab *v, struct budget *out,
                     struct errmsg *msg) {
    *out = (struct budget){.to_accept = mem_calloc(g->n_states + 1, sizeof *out->to_accept),
                           .to_end = mem_calloc(g->n_nodes + 1, sizeof *out->to_end)};
    enum err e = ERR_NOMEM;
    if (out->to_accept && out->to_end)
        e = count_states(g, v, out->to_accept, msg);
    else
        (void)err_set(msg, e, "out of memory");
    if (!e)
        e = count_nodes(g, out, msg);
    if (e)
        budget_free(out);
    return e;
}

void budget_free(struct budget *b) {
    mem_free(b->to_accept);
    mem_free(b->to_end);
    *b = (struct budget){0};
}
