// See loop_table.h.
#include "grammar/loop_table.h"

#include "base/mem.h"

#include <string.h>

enum { DEAD = 255 };

// The leaf's automaton with 256-wide rows, for one walk over every node of the trie. Leaves with
// more states than DEAD get no table.
struct rows {
    uint8_t (*to)[256]; // local state or DEAD
    bool *ends;         // a repetition ends on entering the state
    uint32_t n;
};

// *fits: the leaf has few enough states for a table.
static enum err gather(const struct grammar *g, uint32_t start, uint32_t q, struct rows *rows,
                       uint8_t *start_at, uint8_t *q_at, bool *fits) {
    uint32_t *ids = mem_alloc(DEAD, sizeof *ids);
    rows->to = mem_alloc(DEAD, sizeof *rows->to);
    rows->ends = mem_calloc(DEAD, sizeof *rows->ends);
    bool made = ids && rows->to && rows->ends, ok = made;
    if (ok) {
        ids[rows->n++] = start;
        if (q != start)
            ids[rows->n++] = q;
        *start_at = 0;
        *q_at = q != start;
    }
    for (uint32_t i = 0; ok && i < rows->n; i++) {
        const struct grammar_dfa_state *s = &g->states[ids[i]];
        memset(rows->to[i], DEAD, 256);
        rows->ends[i] = s->accept;
        for (uint32_t k = 0; ok && k < s->n; k++) {
            const struct grammar_edge *e = &g->edges[s->first + k];
            uint32_t to = 0;
            while (to < rows->n && ids[to] != e->to)
                to++;
            ok = to < DEAD;
            if (ok && to == rows->n)
                ids[rows->n++] = e->to;
            if (ok)
                memset(rows->to[i] + e->lo, (int)to, (size_t)e->hi - e->lo + 1);
        }
    }
    mem_free(ids);
    *fits = ok;
    return made ? ERR_OK : ERR_NOMEM;
}

struct table_walk {
    const struct trie *trie;
    struct rows rows;
    struct trie_part part;
    struct loop_table *t;
    uint8_t start, q;
    // counted by the first pass, where to put the next by the second
    uint32_t inside_count[GRAMMAR_TOKEN_MAX + 2], exit_count[257];
};

// A token leaves the leaf at node i: marks the nodes on the way there, and all behind it.
static void mark_beyond(struct table_walk *w, const uint32_t *path, uint32_t i) {
    uint32_t *bits = w->t->beyond, from = w->part.from;
    const struct trie_node *n = &w->trie->nodes[i];
    for (size_t d = w->part.depth; d < n->depth; d++)
        bits[(path[d] - from) / 32] |= 1u << ((path[d] - from) % 32);
    for (uint32_t k = i; k < n->skip; k++)
        bits[(k - from) / 32] |= 1u << ((k - from) % 32);
}

// Pass 0 counts, pass 1 fills.
static void walk(struct table_walk *w, bool fill, uint32_t *most) {
    const struct trie *trie = w->trie;
    struct loop_table *t = w->t;
    uint8_t state[GRAMMAR_TOKEN_MAX + 1];
    uint16_t count[GRAMMAR_TOKEN_MAX + 1];
    uint32_t path[GRAMMAR_TOKEN_MAX + 1];
    state[w->part.depth] = w->q;
    count[w->part.depth] = 0;
    for (uint32_t i = w->part.from; i < w->part.to;) {
        const struct trie_node *n = &trie->nodes[i];
        uint8_t from = state[n->depth], to = w->rows.to[from][n->byte];
        uint16_t done = count[n->depth];
        path[n->depth] = i;
        if (to == DEAD) {
            if (fill)
                mark_beyond(w, path, i);
            if (from == w->start) { // the leaf may end before this byte
                if (fill)
                    t->exits[w->exit_count[n->byte]] = (struct loop_table_exit){i, done, n->depth};
                w->exit_count[n->byte]++;
            }
            i = n->skip;
            continue;
        }
        uint16_t begun = (uint16_t)(done + 1); // whether it ends here or is only under way
        if (w->rows.ends[to]) {
            to = w->start;
            done++;
        }
        state[n->depth + 1] = to;
        count[n->depth + 1] = done;
        for (uint16_t k = 0; k < n->n; k++) {
            int32_t id = trie->order[n->first + k];
            if (fill) {
                t->inside[id / 32] |= 1u << (id % 32);
                t->whole[id / 32] |= (uint32_t)(begun == done) << (id % 32);
                t->ids[w->inside_count[begun]] = id;
            }
            w->inside_count[begun]++;
        }
        *most = begun > *most ? begun : *most;
        i++;
    }
}

static void sum_up(uint32_t *counts, size_t n) {
    uint32_t at = 0;
    for (size_t i = 0; i < n; i++) {
        uint32_t c = counts[i];
        counts[i] = at;
        at += c;
    }
}

// The most bytes from a state to the end of a repetition. Every state has a way there; the rounds
// stop because no way is longer than there are states.
static uint32_t farthest(const struct rows *rows) {
    uint32_t bytes[DEAD], far = 0;
    bool changed = true;
    for (uint32_t q = 0; q < rows->n; q++)
        bytes[q] = rows->ends[q] ? 0 : DEAD;
    while (changed) {
        changed = false;
        for (uint32_t q = rows->n; q-- > 0;)
            for (unsigned b = 0; b < 256; b++) {
                uint8_t to = rows->to[q][b];
                if (to != DEAD && bytes[to] + 1 < bytes[q]) {
                    bytes[q] = bytes[to] + 1;
                    changed = true;
                }
            }
    }
    for (uint32_t q = 0; q < rows->n; q++)
        far = bytes[q] > far ? bytes[q] : far;
    return far;
}

static enum err make(struct table_walk *w) {
    struct loop_table *t = w->t;
    const struct trie *trie = w->trie;
    uint32_t *inside = w->inside_count, *exits = w->exit_count;
    walk(w, false, &t->most);
    sum_up(inside, GRAMMAR_TOKEN_MAX + 2);
    sum_up(exits, 257);
    t->words = (trie->n_tokens + 31) / 32;
    t->inside = mem_calloc(t->words, sizeof *t->inside);
    t->whole = mem_calloc(t->words, sizeof *t->whole);
    t->ids = mem_alloc(inside[t->most + 1] + 1, sizeof *t->ids);
    t->begun = mem_alloc((size_t)t->most + 2, sizeof *t->begun);
    t->exits = mem_alloc(exits[256] + 1, sizeof *t->exits);
    t->beyond = mem_calloc((w->part.to - w->part.from) / 32 + 1, sizeof *t->beyond);
    if (!t->inside || !t->whole || !t->ids || !t->begun || !t->exits || !t->beyond)
        return ERR_NOMEM;
    memcpy(t->begun, inside, ((size_t)t->most + 2) * sizeof *t->begun);
    memcpy(t->exit_at, exits, sizeof t->exit_at);
    t->far = farthest(&w->rows);
    walk(w, true, &t->most);
    return ERR_OK;
}

enum err loop_table_make(const struct grammar *g, const struct trie *trie, struct trie_part part,
                         uint32_t start, uint32_t q, struct loop_table **out) {
    struct table_walk w = {.trie = trie, .part = part, .t = mem_calloc(1, sizeof *w.t)};
    bool fits = false;
    enum err e = w.t ? gather(g, start, q, &w.rows, &w.start, &w.q, &fits) : ERR_NOMEM;
    if (!e && fits)
        e = make(&w);
    mem_free(w.rows.to);
    mem_free(w.rows.ends);
    bool made = !e && fits;
    if (!made)
        loop_table_free(w.t);
    *out = made ? w.t : NULL;
    return e;
}

void loop_table_free(struct loop_table *t) {
    if (!t)
        return;
    mem_free(t->inside);
    mem_free(t->whole);
    mem_free(t->ids);
    mem_free(t->begun);
    mem_free(t->exits);
    mem_free(t->beyond);
    mem_free(t);
}
