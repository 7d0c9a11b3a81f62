// See state.h and grammar.h.
#include "grammar/state.h"

#include <assert.h>
#include <string.h>

size_t state_match(const struct grammar *g, size_t matched, uint8_t byte) {
    // Falls back by trying: markers are short.
    for (;;) {
        if ((uint8_t)g->marker[matched] == byte)
            return matched + 1;
        if (matched == 0)
            return 0;
        size_t shorter = matched - 1;
        while (shorter > 0 && memcmp(g->marker, g->marker + matched - shorter, shorter) != 0)
            shorter--;
        matched = shorter;
    }
}

static bool some_token_hides(const struct grammar_vocab *v, const struct grammar *g) {
    for (size_t i = 0; i < v->trie.n_tokens; i++) {
        const char *bytes = v->trie.bytes + v->trie.at[i];
        size_t len = v->trie.at[i + 1] - v->trie.at[i];
        for (size_t k = 0; len > g->marker_len && k < len - g->marker_len; k++)
            if (memcmp(bytes + k, g->marker, g->marker_len) == 0)
                return true;
    }
    return false;
}

// Stands at the grammar's start, unless that is where the marker ends.
static enum err begin(struct grammar_state *s, struct errmsg *msg) {
    s->machine.nomem = false;
    if (!s->free_text)
        s->now = machine_compact(&s->machine, machine_start(&s->machine, s->g->root));
    return s->machine.nomem ? err_set(msg, ERR_NOMEM, "out of memory") : ERR_OK;
}

enum err grammar_state_new(const struct grammar *g, const struct grammar_vocab *v,
                           struct grammar_state **out, struct errmsg *msg) {
    *out = NULL;
    struct grammar_state *s = mem_calloc(1, sizeof *s);
    if (!s)
        return err_set(msg, ERR_NOMEM, "out of memory");
    s->g = g;
    s->v = v;
    s->left = SIZE_MAX;
    enum err e = machine_init(&s->machine, g, msg);
    if (e) {
        mem_free(s);
        return e;
    }
    s->free_text = g->marker != NULL;
    if (s->free_text)
        s->token_hides = some_token_hides(v, g);
    e = begin(s, msg);
    if (e)
        grammar_state_free(s);
    else
        *out = s;
    return e;
}

static enum err make_shared(struct grammar_state *s, struct errmsg *msg) {
    struct state_budget *b = mem_calloc(1, sizeof *b);
    if (!b)
        return err_set(msg, ERR_NOMEM, "out of memory");
    enum err e = budget_make(s->g, s->v, &b->budget, msg);
    if (e) {
        mem_free(b);
        return e;
    }
    s->budget = b;
    return ERR_OK;
}

static void drop_shared(struct state_budget *b) {
    if (!b || atomic_fetch_sub(&b->users, 1) > 1)
        return;
    budget_free(&b->budget);
    mem_free(b);
}

enum err grammar_state_limit(struct grammar_state *s, size_t tokens,
                             const struct grammar_state *like, struct errmsg *msg) {
    assert(!s->budget && (!like || (like->g == s->g && like->v == s->v)));
    enum err e = ERR_OK;
    if (like && like->budget)
        s->budget = like->budget;
    else
        e = make_shared(s, msg);
    if (e)
        return e;
    atomic_fetch_add(&s->budget->users, 1);
    s->machine.budget = &s->budget->budget;
    s->left = tokens;
    return begin(s, msg);
}

void grammar_state_free(struct grammar_state *s) {
    if (!s)
        return;
    for (size_t i = 0; i < s->n_tables; i++)
        loop_table_free(s->tables[i].table);
    machine_free(&s->machine);
    drop_shared(s->budget);
    mem_free(s);
}

// The machine's arrays hold what `now` needs and nothing else, so a mark is a copy of both.
struct grammar_mark {
    size_t left, matched;
    struct machine_config now;
    bool ended, free_text;
    struct machine_frame *frames;
    struct machine_item *items;
    uint32_t n_frames, n_items, cap_frames, cap_items;
};

void grammar_mark_free(struct grammar_mark *m) {
    if (!m)
        return;
    mem_free(m->frames);
    mem_free(m->items);
    mem_free(m);
}

// As much room as the machine has.
static bool fit_mark(struct grammar_mark *m, const struct machine *r) {
    if (m->cap_frames < r->n_frames) {
        struct machine_frame *frames = mem_realloc(m->frames, r->cap_frames, sizeof *frames);
        if (!frames)
            return false;
        m->frames = frames;
        m->cap_frames = r->cap_frames;
    }
    if (m->cap_items < r->n_items) {
        struct machine_item *items = mem_realloc(m->items, r->cap_items, sizeof *items);
        if (!items)
            return false;
        m->items = items;
        m->cap_items = r->cap_items;
    }
    return true;
}

enum err grammar_state_mark(const struct grammar_state *s, struct grammar_mark **mark) {
    struct grammar_mark *m = *mark ? *mark : mem_calloc(1, sizeof *m);
    const struct machine *r = &s->machine;
    *mark = m;
    if (!m || !fit_mark(m, r))
        return ERR_NOMEM;
    m->left = s->left;
    m->matched = s->matched;
    m->now = s->now;
    m->ended = s->ended;
    m->free_text = s->free_text;
    m->n_frames = r->n_frames;
    m->n_items = r->n_items;
    if (r->n_frames > 0)
        memcpy(m->frames, r->frames, r->n_frames * sizeof *m->frames);
    if (r->n_items > 0)
        memcpy(m->items, r->items, r->n_items * sizeof *m->items);
    return ERR_OK;
}

void grammar_state_go_back(struct grammar_state *s, const struct grammar_mark *m) {
    struct machine *r = &s->machine; // its arrays never shrink
    s->left = m->left;
    s->matched = m->matched;
    s->now = m->now;
    s->ended = m->ended;
    s->free_text = m->free_text;
    r->n_frames = m->n_frames;
    r->n_items = m->n_items;
    if (m->n_frames > 0)
        memcpy(r->frames, m->frames, m->n_frames * sizeof *m->frames);
    if (m->n_items > 0)
        memcpy(r->items, m->items, m->n_items * sizeof *m->items);
}

size_t grammar_state_mask_words(const struct grammar_state *s) { return grammar_mask_words(s->v); }

bool grammar_may_end(const struct grammar_state *s) {
    return s->ended || s->free_text || s->now.may_end;
}

bool grammar_must_end(const struct grammar_state *s) {
    return s->ended || (!s->free_text && s->now.n == 0);
}

// Whether the machine may take one more byte of a token.
static bool goes_further(const struct machine *r, uint64_t begun, uint64_t *look_at,
                         struct grammar_work *work) {
    if (machine_work(r) < *look_at)
        return true;
    work->done = machine_work(r) - begun;
    *look_at = machine_work(r) + GRAMMAR_WORK_SLICE;
    if (work->most && begun + work->most < *look_at)
        *look_at = begun + work->most;
    return (!work->most || work->done < work->most) &&
           (!work->go_on || work->go_on(work->ctx, work->done));
}

enum err grammar_accept_within(struct grammar_state *s, int32_t id, struct grammar_work *work) {
    const struct grammar_vocab *v = s->v;
    work->done = 0;
    if (s->ended || id < 0 || (size_t)id >= v->trie.n_tokens)
        return ERR_INVALID;
    if (v->is_end[id]) {
        s->ended = grammar_may_end(s);
        return s->ended ? ERR_OK : ERR_INVALID;
    }
    const uint8_t *bytes = (const uint8_t *)v->trie.bytes + v->trie.at[id];
    size_t len = v->trie.at[id + 1] - v->trie.at[id], i = 0;
    if (len == 0 && !s->free_text)
        return ERR_INVALID;
    struct machine *r = &s->machine;
    struct machine_mark mark = machine_here(r);
    struct machine_config c = s->now;
    uint64_t begun = machine_work(r), look_at = begun;
    size_t matched = s->matched;
    bool free_text = s->free_text;
    if (free_text && len == 0)
        matched = 0;
    for (; i < len && free_text; i++) {
        matched = state_match(s->g, matched, bytes[i]);
        if (matched == s->g->marker_len) {
            free_text = false;
            c = machine_start(r, s->g->root);
        }
    }
    r->nomem = false;
    enum err e = ERR_OK;
    for (; i < len && !e; i++) {
        if (!goes_further(r, begun, &look_at, work)) {
            e = ERR_CANCELLED;
            break;
        }
        c = machine_step(r, c, bytes[i]);
        if (c.n == 0 && (!c.may_end || i + 1 < len))
            e = r->nomem ? ERR_NOMEM : ERR_INVALID;
    }
    if (!e && r->nomem) // a way of reading the text was lost
        e = ERR_NOMEM;
    work->done = machine_work(r) - begun;
    if (e) {
        machine_back(r, mark);
        return e;
    }
    s->left -= s->left > 0 && s->left < SIZE_MAX;
    s->matched = matched;
    s->free_text = free_text;
    if (!free_text)
        s->now = machine_compact(r, c);
    return ERR_OK;
}

bool grammar_accept(struct grammar_state *s, int32_t id) {
    struct grammar_work all = {0};
    return grammar_accept_within(s, id, &all) == ERR_OK;
}
