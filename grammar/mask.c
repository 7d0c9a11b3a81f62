// Which tokens may come next. Each way of reading the text so far (an item) adds its tokens: where
// it stands in a repeated leaf, by that leaf's table and a walk from where tokens leave the leaf;
// else by a walk over the trie that goes only where the grammar lets it. A budget of steps bounds
// what a hostile grammar can cost: when it is spent, the tokens of one byte still get their bits.
#include "grammar/state.h"

#include <string.h>

enum {
    STEPS_MAX = 2000000, // of a mask, some tens of milliseconds
    WIDE = 16,           // a leaf that as many bytes can begin is worth a table
};

struct walk {
    struct grammar_state *s;
    struct run *r;
    const struct grammar_vocab *v;
    uint32_t *mask;
    struct run_config at[GRAMMAR_TOKEN_MAX + 1];
    struct run_mark marks[GRAMMAR_TOKEN_MAX + 1];
    uint64_t steps_end;
};

static void set_tokens(struct walk *w, const struct vocab_node *n) {
    for (uint32_t k = 0; k < n->n; k++) {
        uint32_t id = (uint32_t)w->v->order[n->first + k];
        w->mask[id / 32] |= 1u << (id % 32);
    }
}

// Sets the tokens of nodes [from, to), children of a node at `depth` bytes where the text stands
// at c. shallow: only the nodes right below.
static void walk_nodes(struct walk *w, struct run_config c, uint32_t from, uint32_t to,
                       size_t depth, bool shallow) {
    struct run *r = w->r;
    w->at[depth] = c;
    w->marks[depth] = run_here(r);
    for (uint32_t i = from; i < to;) {
        const struct vocab_node *n = &w->v->nodes[i];
        run_back(r, w->marks[n->depth]);
        struct run_config next = run_step(r, w->at[n->depth], n->byte);
        if (next.n || next.may_end)
            set_tokens(w, n);
        if (next.n == 0 || shallow || n->skip == i + 1) {
            i = n->skip;
            continue;
        }
        w->at[n->depth + 1] = next;
        w->marks[n->depth + 1] = run_here(r);
        i++;
        if (r->steps > w->steps_end)
            break;
    }
    run_back(r, w->marks[depth]);
}

// The table of an item's leaf; *nomem when there should be one but memory is out.
static const struct loop_table *table_of(struct grammar_state *s, struct run_item item,
                                         bool *nomem) {
    const struct grammar_node *n = &s->g->nodes[item.pc];
    const struct grammar_dfa_state *start = &s->g->states[n->at];
    if (!(n->flags & GRAMMAR_PREFIX_FREE))
        return NULL;
    unsigned width = 0;
    for (uint32_t k = 0; k < start->n; k++)
        width += s->g->edges[start->first + k].hi - s->g->edges[start->first + k].lo + 1u;
    if (width < WIDE)
        return NULL;
    if (item.q < s->g->json_states) {
        // made when first needed; a cache does not change what a vocab is
        struct grammar_vocab *v = (struct grammar_vocab *)s->v;
        pthread_mutex_lock(&v->lock);
        if (!v->json[item.q])
            v->json[item.q] = loop_table_make(s->g, v, n->at, item.q);
        const struct loop_table *t = v->json[item.q];
        pthread_mutex_unlock(&v->lock);
        *nomem |= !t;
        return t;
    }
    if (item.q != n->at)
        return NULL;
    for (size_t i = 0; i < s->n_tables; i++)
        if (s->tables[i].start == n->at)
            return s->tables[i].table;
    if (s->n_tables == STATE_TABLES_MAX)
        return NULL;
    struct loop_table *t = loop_table_make(s->g, s->v, n->at, n->at);
    if (t) {
        s->tables[s->n_tables].start = n->at;
        s->tables[s->n_tables++].table = t;
    }
    return t;
}

static void set_inside(struct walk *w, const struct loop_table *t, uint32_t room) {
    if (room >= t->most) {
        for (size_t i = 0; i < t->words; i++)
            w->mask[i] |= t->inside[i];
        return;
    }
    for (uint32_t k = 0; k < t->begun[room + 1]; k++)
        w->mask[t->ids[k] / 32] |= 1u << (t->ids[k] % 32);
}

// The text behind an exit of a key: the key's bytes in the token count for what keys may follow.
static void leave_key(struct walk *w, struct run_item item, const struct loop_exit *exit,
                      uint32_t count) {
    struct run *r = w->r;
    const struct vocab_node *n = &w->v->nodes[exit->node];
    uint32_t id = (uint32_t)w->v->order[n->first];
    const char *bytes = w->v->bytes + w->v->at[id];
    for (size_t i = 0; i < exit->depth && item.top != RUN_NO_ROOM; i++)
        item.top = run_push_key_byte(r, item.top, (uint8_t)bytes[i]);
    if (item.top == RUN_NO_ROOM)
        return;
    struct run_config c = run_step(r, run_leave(r, item, count, true), n->byte);
    if (c.n || c.may_end)
        set_tokens(w, n);
    if (c.n)
        walk_nodes(w, c, exit->node + 1, n->skip, (size_t)exit->depth + 1, false);
}

static void set_exits(struct walk *w, const struct loop_table *t, struct run_item item,
                      struct run_config after, uint8_t byte) {
    struct run *r = w->r;
    const struct grammar_node *n = &r->g->nodes[item.pc];
    struct run_config c = {0};
    if (n->kind != GRAMMAR_KEY)
        c = run_step(r, after, byte);
    struct run_mark mark = run_here(r);
    for (uint32_t k = t->exit_at[byte]; k < t->exit_at[byte + 1]; k++) {
        const struct loop_exit *e = &t->exits[k];
        uint32_t count = item.count + e->count;
        if (count < n->min || count > n->max || r->steps > w->steps_end)
            continue;
        const struct vocab_node *node = &w->v->nodes[e->node];
        if (n->kind == GRAMMAR_KEY) {
            leave_key(w, item, e, count);
        } else {
            set_tokens(w, node);
            if (c.n && node->skip > e->node + 1)
                walk_nodes(w, c, e->node + 1, node->skip, (size_t)e->depth + 1, false);
        }
        run_back(r, mark);
    }
}

// Sets an item's tokens by a table; false when there is none that fits.
static bool by_table(struct walk *w, struct run_item item, bool *nomem) {
    struct run *r = w->r;
    const struct grammar_node *n = &r->g->nodes[item.pc];
    uint32_t room = n->max == GRAMMAR_INF ? GRAMMAR_INF : n->max - item.count;
    // A key must not reach its longest form unless it is fresh then: the walk sees to that.
    if (n->kind == GRAMMAR_KEY && --room < 1)
        return false;
    const struct loop_table *t = table_of(w->s, item, nomem);
    if (!t)
        return false;
    struct run_mark mark = run_here(r);
    struct run_config after = run_leave(r, item, n->min, false);
    uint32_t first[8], again[8];
    run_first(r, after, first);
    struct run_item begin = {item.pc, n->at, 0, item.top};
    run_first_of(r, begin, again);
    uint32_t both = 0;
    for (size_t i = 0; i < 8; i++)
        both |= first[i] & again[i];
    if (both == 0) {
        set_inside(w, t, room);
        for (unsigned b = 0; b < 256; b++)
            if (first[b / 32] >> (b % 32) & 1)
                set_exits(w, t, item, after, (uint8_t)b);
    }
    run_back(r, mark);
    return both == 0;
}

static void constrained_mask(struct walk *w, bool *nomem) {
    struct run *r = w->r;
    struct run_config now = w->s->now;
    struct run_mark bottom = run_here(r);
    for (uint32_t i = 0; i < now.n; i++) {
        struct run_item item = r->items[now.first + i];
        if (by_table(w, item, nomem))
            continue;
        // the others are walked together, from a configuration of their own at the top
        if (run_make_room(r))
            r->items[r->n_items++] = item;
    }
    struct run_config rest = {.first = bottom.items, .n = r->n_items - bottom.items};
    if (rest.n)
        walk_nodes(w, rest, 0, w->v->n_nodes, 0, false);
    run_back(r, bottom);
    if (r->steps > w->steps_end)
        walk_nodes(w, now, 0, w->v->n_nodes, 0, true);
}

static void clear_subtree(struct walk *w, uint32_t node) {
    const struct grammar_vocab *v = w->v;
    uint32_t skip = v->nodes[node].skip;
    size_t end = skip < v->n_nodes ? v->nodes[skip].first : v->n_order;
    for (size_t k = v->nodes[node].first; k < end; k++)
        w->mask[v->order[k] / 32] &= ~(1u << (v->order[k] % 32));
}

// Free text of which part of the marker stands: every token but those that would complete the
// marker and go on as the grammar does not.
static void free_mask(struct walk *w) {
    struct grammar_state *s = w->s;
    struct run *r = w->r;
    const struct grammar_vocab *v = w->v;
    size_t matched[GRAMMAR_TOKEN_MAX + 1], whole = s->g->marker_len;
    for (size_t i = 0; i < v->n_tokens; i++)
        w->mask[i / 32] |= 1u << (i % 32);
    matched[0] = s->matched;
    w->marks[0] = run_here(r);
    for (uint32_t i = 0; i < v->n_nodes;) {
        const struct vocab_node *n = &v->nodes[i];
        size_t d = n->depth;
        run_back(r, w->marks[d]);
        struct run_config c = {0};
        matched[d + 1] = whole;
        if (matched[d] == whole)
            c = run_step(r, w->at[d], n->byte);
        else if ((matched[d + 1] = state_match(s->g, matched[d], n->byte)) == whole)
            c = run_start(r, s->g->root);
        if (matched[d + 1] == whole && c.n == 0 && !c.may_end) {
            clear_subtree(w, i);
            i = n->skip;
        } else if (matched[d + 1] == 0 && !s->token_hides) {
            i = n->skip; // nothing below can complete it
        } else {
            w->at[d + 1] = c;
            w->marks[d + 1] = run_here(r);
            i++;
        }
    }
    run_back(r, w->marks[0]);
}

enum err grammar_mask(struct grammar_state *s, uint32_t *mask, bool *constrained) {
    const struct grammar_vocab *v = s->v;
    *constrained = true;
    if (s->free_text && !s->ended && s->matched == 0 && !s->token_hides) {
        *constrained = false;
        return ERR_OK;
    }
    size_t words = grammar_mask_words(v);
    memset(mask, 0, words * sizeof *mask);
    if (s->ended)
        return ERR_OK;
    struct walk w;
    w.s = s;
    w.r = &s->run;
    w.v = v;
    w.mask = mask;
    w.steps_end = s->run.steps + STEPS_MAX;
    bool nomem = false;
    s->run.nomem = false;
    if (s->free_text)
        free_mask(&w);
    else
        constrained_mask(&w, &nomem);
    for (size_t i = 0; i < v->n_ends && grammar_may_end(s); i++)
        mask[v->ends[i] / 32] |= 1u << (v->ends[i] % 32);
    if (nomem || s->run.nomem)
        return ERR_NOMEM;
    uint32_t any = 0;
    for (size_t i = 0; i < words; i++)
        any |= mask[i];
    return any ? ERR_OK : ERR_UNSUPPORTED;
}
