// Which tokens may come next. Each way of reading the text so far (an item) adds its tokens. When
// the item is in a repeated leaf with a table, the table gives the tokens that stay inside, and a
// walk finds those that leave it; otherwise a walk over the trie goes where the grammar lets it. A
// budget of steps bounds what a hostile grammar can cost: when it is spent, the tokens of one byte
// still get their bits.
// That budget decides what is in a mask. Apart from it, a caller bounds how much work one call may
// do (struct grammar_work): when that runs out, the mask is given up, never cut.
#include "grammar/state.h"

#include <string.h>

enum {
    STEPS_MAX = 4000000, // of a mask, some tens of milliseconds
    WIDE = 16,           // a leaf that as many bytes can begin is worth a table,
    WORTH = 4096,        // for as many nodes of the trie
    WORDS_A_STEP = 32,   // of a mask, that are copied while the machine makes a step
    IDS_A_STEP = 8,
    NAMES_A_STEP = 4,
};

struct mask_walk {
    struct grammar_state *s;
    struct machine *r;
    const struct grammar_vocab *v;
    uint32_t *mask;
    struct machine_config at[GRAMMAR_TOKEN_MAX + 1];
    struct machine_mark marks[GRAMMAR_TOKEN_MAX + 1];
    uint64_t steps_end; // of the budget
    struct grammar_work *work;
    uint64_t begun, look_at; // of machine_work: where this began, and where to look next
    bool given_up;
    uint32_t below; // a token leaves fewer tokens to come; without a budget it is not looked at
};

// False, from then on: the caller's bound is used up, or it wants no more.
static bool look(struct mask_walk *w) {
    struct grammar_work *work = w->work;
    work->done = machine_work(w->r) - w->begun;
    w->given_up |= work->most && work->done >= work->most;
    if (!w->given_up && work->go_on)
        w->given_up = !work->go_on(work->ctx, work->done);
    w->look_at = machine_work(w->r) + GRAMMAR_WORK_SLICE;
    if (work->most && w->begun + work->most < w->look_at)
        w->look_at = w->begun + work->most;
    return !w->given_up;
}

static inline bool goes_further(struct mask_walk *w) {
    return !w->given_up && (machine_work(w->r) < w->look_at || look(w));
}

static inline bool spent(const struct mask_walk *w) { return machine_work(w->r) > w->steps_end; }

static bool fits(const struct mask_walk *w, struct machine_config c) {
    return !w->r->budget || machine_tokens_left(w->r, c) < w->below;
}

static void set_tokens(struct mask_walk *w, const struct trie_node *n) {
    for (uint32_t k = 0; k < n->n; k++) {
        uint32_t id = (uint32_t)w->v->trie.order[n->first + k];
        w->mask[id / 32] |= 1u << (id % 32);
    }
}

static void spread(struct mask_walk *w, struct machine_config c, struct trie_part part);

// Sets the tokens of a part of the trie when the text is at c. shallow: only those with one more
// byte, whatever it costs. only (may be NULL): a bit for each node that is to be looked at.
static void walk_nodes(struct mask_walk *w, struct machine_config c, struct trie_part part,
                       bool shallow, const uint32_t *only) {
    struct machine *r = w->r;
    w->at[part.depth] = c;
    w->marks[part.depth] = machine_here(r);
    for (uint32_t i = part.from; i < part.to && goes_further(w);) {
        const struct trie_node *n = &w->v->trie.nodes[i];
        uint32_t bit = i - part.from;
        if (only && !(only[bit / 32] >> (bit % 32) & 1)) {
            r->extra++;
            i = n->skip;
            continue;
        }
        machine_back(r, w->marks[n->depth]);
        struct machine_config next = machine_step(r, w->at[n->depth], n->byte);
        if (n->n && (next.n || next.may_end) && fits(w, next))
            set_tokens(w, n);
        if (next.n == 0 || shallow || n->skip == i + 1) {
            i = n->skip;
        } else if (n->skip - i > WORTH) {
            spread(w, next, (struct trie_part){i + 1, n->skip, n->depth + 1u});
            i = n->skip;
        } else {
            w->at[n->depth + 1] = next;
            w->marks[n->depth + 1] = machine_here(r);
            i++;
        }
        if (spent(w) && !shallow)
            break;
    }
    machine_back(r, w->marks[part.depth]);
}

// One of the vocabulary's own, made when first needed.
static const struct loop_table *json_table(struct mask_walk *w, uint32_t start, uint32_t q) {
    const struct loop_table *t = vocab_json_table(w->v, q);
    if (t || w->work->most) {
        w->given_up |= !t;
        return t;
    }
    w->r->nomem |= vocab_json_table_make(w->v, w->s->g, start, q, &t) == ERR_NOMEM;
    return t;
}

// The table of an item's leaf, NULL when it has none.
static const struct loop_table *table_of(struct mask_walk *w, struct machine_item item,
                                         struct trie_part part) {
    struct grammar_state *s = w->s;
    const struct grammar_node *n = &s->g->nodes[item.pc];
    const struct grammar_dfa_state *start = &s->g->states[n->at];
    unsigned width = 0;
    for (uint32_t k = 0; k < start->n; k++)
        width += s->g->edges[start->first + k].hi - s->g->edges[start->first + k].lo + 1u;
    if (!(n->flags & GRAMMAR_PREFIX_FREE) || width < WIDE)
        return NULL;
    if (item.q < s->g->json_states && part.depth == 0)
        return json_table(w, n->at, item.q);
    if (item.q != n->at)
        return NULL;
    for (size_t i = 0; i < s->n_tables; i++)
        if (s->tables[i].start == n->at && s->tables[i].from == part.from)
            return s->tables[i].table;
    if (s->n_tables == STATE_TABLES_MAX)
        return NULL;
    if (w->work->most) {
        w->given_up = true;
        return NULL;
    }
    struct loop_table *t;
    w->r->nomem |= loop_table_make(s->g, &w->v->trie, part, n->at, n->at, &t) == ERR_NOMEM;
    if (!w->r->nomem) { // that it has none is kept as well
        s->tables[s->n_tables].start = n->at;
        s->tables[s->n_tables].from = part.from;
        s->tables[s->n_tables++].table = t;
    }
    return t;
}

// How many tokens are to spare behind a token that stays inside the leaf and ends with a
// repetition; a token that ends within one may need up to t->far more. 0 or less: there is no room
// to stay inside.
static int64_t spare_inside(const struct mask_walk *w, struct machine_item item) {
    if (!w->r->budget)
        return BUDGET_NEVER;
    return (int64_t)w->below - machine_tokens_after(w->r, item, item.count + 1);
}

static void set_inside(struct mask_walk *w, const struct loop_table *t, struct machine_item item,
                       uint32_t room) {
    int64_t spare = spare_inside(w, item);
    const uint32_t *inside = spare <= t->far ? t->whole : t->inside;
    if (spare <= 0)
        return;
    if (room >= t->most) {
        w->r->extra += t->words / WORDS_A_STEP;
        for (size_t i = 0; i < t->words; i++)
            w->mask[i] |= inside[i];
        return;
    }
    w->r->extra += t->begun[room + 1] / IDS_A_STEP;
    for (uint32_t k = 0; k < t->begun[room + 1]; k++) {
        uint32_t id = (uint32_t)t->ids[k];
        w->mask[id / 32] |= inside[id / 32] & 1u << (id % 32);
    }
}

static bool goes_on(const struct mask_walk *w, const uint32_t first[8], uint32_t node) {
    const struct trie_node *nodes = w->v->trie.nodes;
    for (uint32_t i = node + 1; i < nodes[node].skip; i = nodes[i].skip)
        if (first[nodes[i].byte / 32] >> (nodes[i].byte % 32) & 1)
            return true;
    return false;
}

// The bytes that a token adds to a key before it leaves it.
static const char *exit_bytes(const struct mask_walk *w, const struct loop_table_exit *e,
                              size_t base) {
    uint32_t id = (uint32_t)w->v->trie.order[w->v->trie.nodes[e->node].first];
    return w->v->trie.bytes + w->v->trie.at[id] + base;
}

// Sets the tokens below an exit of a key that may end there. The bytes that the token adds to the
// key are pushed first, because the token may go on with further keys.
static void leave_key(struct mask_walk *w, struct machine_item item,
                      const struct loop_table_exit *e, uint32_t count, size_t base) {
    struct machine *r = w->r;
    const struct trie_node *n = &w->v->trie.nodes[e->node];
    const char *bytes = exit_bytes(w, e, base);
    for (size_t i = 0; i < e->depth - base && item.top != MACHINE_NO_ROOM; i++)
        item.top = machine_push_key_byte(r, item.top, (uint8_t)bytes[i]);
    if (item.top == MACHINE_NO_ROOM)
        return;
    struct machine_config c = machine_step(r, machine_leave(r, item, count, false), n->byte);
    if (c.n)
        walk_nodes(w, c, (struct trie_part){e->node + 1, n->skip, e->depth + 1u}, false, NULL);
}

static bool is_blocked(const struct machine_keys *keys, const char *bytes, size_t len) {
    for (size_t i = 0; i < keys->n; i++)
        if (keys->list[i].len == len && memcmp(keys->list[i].bytes, bytes, len) == 0)
            return true;
    return false;
}

static void set_exits(struct mask_walk *w, const struct loop_table *t, struct machine_item item,
                      struct machine_config after, uint8_t byte, size_t base) {
    struct machine *r = w->r;
    const struct grammar_node *n = &r->g->nodes[item.pc];
    struct machine_keys keys = {0};
    if (n->kind == GRAMMAR_KEY && !machine_keys_ahead(r, item, &keys))
        return;
    struct machine_config c = machine_step(r, after, byte);
    struct machine_mark mark = machine_here(r);
    uint32_t first[8];
    machine_first(r, c, first);
    bool in_budget = fits(w, c);
    for (uint32_t k = t->exit_at[byte]; k < t->exit_at[byte + 1] && goes_further(w); k++) {
        const struct loop_table_exit *e = &t->exits[k];
        uint32_t count = item.count + e->count;
        r->extra += 1 + keys.n / NAMES_A_STEP;
        if (count < n->min || count > n->max || spent(w))
            continue;
        if (n->kind == GRAMMAR_KEY && is_blocked(&keys, exit_bytes(w, e, base), e->depth - base))
            continue;
        const struct trie_node *node = &w->v->trie.nodes[e->node];
        if (in_budget)
            set_tokens(w, node);
        if (!goes_on(w, first, e->node))
            continue;
        if (n->kind == GRAMMAR_KEY)
            leave_key(w, item, e, count, base);
        else
            spread(w, c, (struct trie_part){e->node + 1, node->skip, e->depth + 1u});
        machine_back(r, mark);
    }
    machine_keys_free(&keys);
}

// The bytes that may follow the leaf of `item` when it ends; true when some of them may also begin
// another repetition.
static bool follows(struct mask_walk *w, struct machine_item item, struct machine_config after,
                    uint32_t first[8]) {
    uint32_t again[8], both = 0;
    machine_first(w->r, after, first);
    machine_first_of(w->r, (struct machine_item){item.pc, w->r->g->nodes[item.pc].at, 0, item.top},
                     again);
    for (size_t i = 0; i < 8; i++)
        both |= first[i] & again[i];
    return both != 0;
}

// Uses a table where a byte may both go on and leave: the tokens that stay inside are known, so
// only those that leave at some byte are walked. False when a limit leaves out some of those
// inside.
static bool by_walk_beyond(struct mask_walk *w, const struct loop_table *t,
                           struct machine_item item, uint32_t room, struct trie_part part) {
    struct machine *r = w->r;
    if (room < t->most || spare_inside(w, item) <= t->far || !machine_make_room(r))
        return false;
    set_inside(w, t, item, room);
    struct machine_config alone = {.first = r->n_items, .n = 1};
    r->items[r->n_items++] = item;
    walk_nodes(w, alone, part, false, t->beyond);
    return true;
}

// Sets an item's tokens by a table; false when there is none that fits.
static bool by_table(struct mask_walk *w, struct machine_item item, struct trie_part part) {
    struct machine *r = w->r;
    const struct grammar_node *n = &r->g->nodes[item.pc];
    uint32_t room = n->max == GRAMMAR_INF ? GRAMMAR_INF : n->max - item.count;
    // A key must not reach its longest form unless it is fresh then: the walk sees to that.
    if (n->kind == GRAMMAR_KEY && --room < 1)
        return false;
    const struct loop_table *t = table_of(w, item, part);
    if (!t)
        return w->given_up;
    struct machine_mark mark = machine_here(r);
    struct machine_config after = machine_leave(r, item, n->min, false);
    uint32_t first[8];
    bool done = true;
    if (follows(w, item, after, first)) {
        done = by_walk_beyond(w, t, item, room, part);
    } else {
        set_inside(w, t, item, room);
        struct machine_mark exits = machine_here(r);
        for (unsigned b = 0; b < 256; b++)
            if (first[b / 32] >> (b % 32) & 1) {
                set_exits(w, t, item, after, (uint8_t)b, part.depth);
                machine_back(r, exits);
            }
    }
    machine_back(r, mark);
    return done;
}

// As walk_nodes, but uses tables where they help. It calls itself at most once for each byte.
static void spread(struct mask_walk *w, struct machine_config c, struct trie_part part) {
    struct machine *r = w->r;
    if (part.to - part.from < WORTH) {
        walk_nodes(w, c, part, false, NULL);
        return;
    }
    struct machine_mark bottom = machine_here(r);
    for (uint32_t i = 0; i < c.n; i++) {
        struct machine_item item = r->items[c.first + i];
        // those without are walked together, from a configuration of their own at the top
        if (!by_table(w, item, part) && machine_make_room(r))
            r->items[r->n_items++] = item;
    }
    struct machine_config rest = {.first = bottom.items, .n = r->n_items - bottom.items};
    if (rest.n)
        walk_nodes(w, rest, part, false, NULL);
    machine_back(r, bottom);
}

static bool is_empty(const struct mask_walk *w) {
    uint32_t any = 0;
    for (size_t i = 0; i < grammar_mask_words(w->v); i++)
        any |= w->mask[i];
    return any == 0;
}

static void constrained_mask(struct mask_walk *w) {
    struct trie_part all = {0, w->v->trie.n_nodes, 0};
    spread(w, w->s->now, all);
    if (spent(w) && !w->given_up)
        walk_nodes(w, w->s->now, all, true, NULL);
}

// A token must leave room for the rest and the end token; when there is not that much room, it must
// at least bring the end nearer; when no token does, any is allowed.
static void limited_mask(struct mask_walk *w) {
    uint32_t left = machine_tokens_left(w->r, w->s->now);
    size_t room = w->s->left > 0 ? w->s->left - 1 : 0;
    w->below = room < BUDGET_NEVER && room > left ? (uint32_t)room : left;
    if (room >= BUDGET_NEVER || left == BUDGET_NEVER)
        w->below = BUDGET_NEVER + 1;
    constrained_mask(w);
    if (!w->given_up && is_empty(w) && !w->s->now.may_end) {
        w->below = BUDGET_NEVER + 1;
        w->steps_end = machine_work(w->r) + STEPS_MAX;
        constrained_mask(w);
    }
}

static void clear_subtree(struct mask_walk *w, uint32_t node) {
    const struct grammar_vocab *v = w->v;
    uint32_t skip = v->trie.nodes[node].skip;
    size_t end = skip < v->trie.n_nodes ? v->trie.nodes[skip].first : v->trie.n_order;
    for (size_t k = v->trie.nodes[node].first; k < end; k++)
        w->mask[v->trie.order[k] / 32] &= ~(1u << (v->trie.order[k] % 32));
}

// Free text that ends in a part of the marker: every token is allowed, except those that would
// complete the marker and go on against the grammar.
static void free_mask(struct mask_walk *w) {
    struct grammar_state *s = w->s;
    struct machine *r = w->r;
    const struct grammar_vocab *v = w->v;
    size_t matched[GRAMMAR_TOKEN_MAX + 1], whole = s->g->marker_len;
    for (size_t i = 0; i < v->trie.n_tokens; i++)
        w->mask[i / 32] |= 1u << (i % 32);
    matched[0] = s->matched;
    w->marks[0] = machine_here(r);
    r->extra += v->trie.n_tokens / WORDS_A_STEP;
    for (uint32_t i = 0; i < v->trie.n_nodes && goes_further(w);) {
        const struct trie_node *n = &v->trie.nodes[i];
        size_t d = n->depth;
        r->extra++;
        machine_back(r, w->marks[d]);
        struct machine_config c = {0};
        matched[d + 1] = whole;
        if (matched[d] == whole)
            c = machine_step(r, w->at[d], n->byte);
        else if ((matched[d + 1] = state_match(s->g, matched[d], n->byte)) == whole)
            c = machine_start(r, s->g->root);
        if (matched[d + 1] == whole && c.n == 0 && !c.may_end) {
            clear_subtree(w, i);
            i = n->skip;
        } else if (matched[d + 1] == 0 && !s->token_hides) {
            i = n->skip; // nothing below can complete it
        } else {
            w->at[d + 1] = c;
            w->marks[d + 1] = machine_here(r);
            i++;
        }
    }
    machine_back(r, w->marks[0]);
}

enum err grammar_mask_within(struct grammar_state *s, struct grammar_work *work, uint32_t *mask,
                             bool *constrained) {
    const struct grammar_vocab *v = s->v;
    *constrained = true;
    work->done = 0;
    if (s->free_text && !s->ended && s->matched == 0 && !s->token_hides) {
        *constrained = false;
        return ERR_OK;
    }
    size_t words = grammar_mask_words(v);
    memset(mask, 0, words * sizeof *mask);
    if (s->ended)
        return ERR_OK;
    uint64_t begun = machine_work(&s->machine);
    struct mask_walk w = {.s = s,
                          .r = &s->machine,
                          .v = v,
                          .mask = mask,
                          .steps_end = begun + STEPS_MAX,
                          .work = work,
                          .begun = begun,
                          .look_at = begun,
                          .below = BUDGET_NEVER + 1};
    s->machine.nomem = false;
    if (s->free_text)
        free_mask(&w);
    else if (s->machine.budget)
        limited_mask(&w);
    else
        constrained_mask(&w);
    work->done = machine_work(&s->machine) - begun;
    if (s->machine.nomem)
        return ERR_NOMEM;
    if (w.given_up)
        return ERR_CANCELLED;
    for (size_t i = 0; i < v->n_ends && grammar_may_end(s); i++)
        mask[v->ends[i] / 32] |= 1u << (v->ends[i] % 32);
    return is_empty(&w) ? ERR_UNSUPPORTED : ERR_OK;
}

enum err grammar_mask(struct grammar_state *s, uint32_t *mask, bool *constrained) {
    struct grammar_work all = {0};
    return grammar_mask_within(s, &all, mask, constrained);
}
