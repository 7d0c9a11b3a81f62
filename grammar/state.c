// See state.h and grammar.h.
#include "grammar/state.h"

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
    for (size_t i = 0; i < v->n_tokens; i++) {
        const char *bytes = v->bytes + v->at[i];
        size_t len = v->at[i + 1] - v->at[i];
        for (size_t k = 0; len > g->marker_len && k < len - g->marker_len; k++)
            if (memcmp(bytes + k, g->marker, g->marker_len) == 0)
                return true;
    }
    return false;
}

// Stands at the grammar's start, unless that is where the marker ends.
static enum err begin(struct grammar_state *s, struct errmsg *msg) {
    s->run.nomem = false;
    if (!s->free_text)
        s->now = run_compact(&s->run, run_start(&s->run, s->g->root));
    return s->run.nomem ? err_set(msg, ERR_NOMEM, "out of memory") : ERR_OK;
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
    enum err e = run_init(&s->run, g, msg);
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

enum err grammar_state_limit(struct grammar_state *s, size_t tokens, struct errmsg *msg) {
    enum err e = budget_make(s->g, s->v, &s->budget, msg);
    if (e)
        return e;
    s->run.budget = &s->budget;
    s->left = tokens;
    return begin(s, msg);
}

void grammar_state_free(struct grammar_state *s) {
    if (!s)
        return;
    for (size_t i = 0; i < s->n_tables; i++)
        loop_table_free(s->tables[i].table);
    run_free(&s->run);
    budget_free(&s->budget);
    mem_free(s);
}

bool grammar_may_end(const struct grammar_state *s) {
    return s->ended || s->free_text || s->now.may_end;
}

bool grammar_must_end(const struct grammar_state *s) {
    return s->ended || (!s->free_text && s->now.n == 0);
}

bool grammar_accept(struct grammar_state *s, int32_t id) {
    const struct grammar_vocab *v = s->v;
    if (s->ended || id < 0 || (size_t)id >= v->n_tokens)
        return false;
    if (v->is_end[id]) {
        s->ended = grammar_may_end(s);
        return s->ended;
    }
    const uint8_t *bytes = (const uint8_t *)v->bytes + v->at[id];
    size_t len = v->at[id + 1] - v->at[id], i = 0;
    if (len == 0 && !s->free_text)
        return false;
    struct run_mark mark = run_here(&s->run);
    struct run_config c = s->now;
    size_t matched = s->matched;
    bool free_text = s->free_text;
    if (free_text && len == 0)
        matched = 0;
    for (; i < len && free_text; i++) {
        matched = state_match(s->g, matched, bytes[i]);
        if (matched == s->g->marker_len) {
            free_text = false;
            c = run_start(&s->run, s->g->root);
        }
    }
    for (; i < len; i++) {
        c = run_step(&s->run, c, bytes[i]);
        if (c.n == 0 && (!c.may_end || i + 1 < len)) {
            run_back(&s->run, mark);
            return false;
        }
    }
    s->left -= s->left > 0 && s->left < SIZE_MAX;
    s->matched = matched;
    s->free_text = free_text;
    if (!free_text)
        s->now = run_compact(&s->run, c);
    return true;
}
