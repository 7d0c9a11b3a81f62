// What becomes of a generator when the device is gone that had its storage, and how generations go
// over to another one. See generator.h. A text's log, its place in the sequence of draws, its
// grammar and its drafts are the sequence's own, here; the device has nothing that cannot be
// computed from them again.
#include "engine/generator_internal.h"

#include "base/log.h"
#include "base/mem.h"

#include <assert.h>

// Those of the nth step in flight.
static void strike(struct generator *g, size_t nth) {
    const struct step *step = g->flights[(g->oldest + nth) % (1 + g->options.ahead)].step;
    for (size_t i = 0; i < step->seqs; i++)
        ((struct sequence *)step->parts[i].ctx)->struck = true;
}

static void count_death(struct sequence *s) {
    s->g->deaths += s->struck;
    s->struck = false;
}

void generator_lose(struct generator *g, const bool *exposed) {
    for (size_t i = 0; exposed && i < g->in_flight; i++)
        if (exposed[i])
            strike(g, i);
    generator_take_back(g);
    size_t interrupted = g->running_count;
    for (struct sequence *s = g->waiting; s; s = s->next) // rows of it may have been in flight
        count_death(s);
    while (g->running_count > 0) {
        struct sequence *s = g->running[g->running_count - 1];
        count_death(s);
        if (s->computed > s->replays)
            s->replays = s->computed;
        s->prefilled = false; // of several that share a prompt one computes it
        generator_put_back(g, s);
    }
    kv_blocks_forget(g->blocks);
    g->lost = true;
    pthread_mutex_lock(&g->mutex);
    g->stats.interrupted += interrupted;
    pthread_mutex_unlock(&g->mutex);
    generator_update_stats(g);
}

void generator_resume(struct generator *g, uint64_t life) {
    g->life = life;
    g->lost = false;
}

bool generator_is_lost(const struct generator *g) { return g->lost; }
uint64_t generator_life(const struct generator *g) { return g->life; }

// ---- going over

bool generator_has_room(const struct generator *g, const struct generation *n, size_t context) {
    size_t most = n->prompt_len + n->max_tokens;
    return (most < context ? most : context) <= g->context;
}

static enum err fit_blocks(struct sequence *s, size_t block_tokens) {
    size_t most = s->g->prompt_len + s->g->max_tokens;
    int32_t *blocks = mem_realloc(s->blocks, most / block_tokens + 2, sizeof *blocks);
    if (blocks)
        s->blocks = blocks;
    return blocks ? ERR_OK : ERR_NOMEM;
}

static const char *device_of(const struct generator *g) {
    return replica_facts(g->options.replica)->name;
}

// The tokens from here on are the other device's: whoever compares texts has to know where.
static void log_move(const struct generator *g, const struct generation *n,
                     const struct generator *to) {
    size_t tokens = atomic_load_explicit(&n->produced, memory_order_relaxed);
    log_event(LOG_LEVEL_INFO, "generation_moves",
              LOG_FIELDS(log_string("request_id", n->request_id ? n->request_id : ""),
                         log_string("from", device_of(g)), log_string("to", device_of(to)),
                         log_size("tokens", tokens), log_string("model", g->model->name)),
              "a text of model '%s' goes on from %s to %s behind %zu tokens", g->model->name,
              device_of(g), device_of(to), tokens);
}

// It is in no list.
static void hand_over(struct generator *g, struct sequence *s, struct generator *to) {
    assert(to->model == g->model && to->options.masks == g->options.masks);
    log_move(g, s->g, to);
    s->stepped = s->tried = 0; // steps of the other one
    s->passed_by = false;
    atomic_fetch_add(&to->count, 1); // before it is gone from the other: it is always with one
    atomic_fetch_sub(&g->count, 1);
    generator_wait(to, s);
    pthread_mutex_lock(&to->mutex);
    to->stats.handed_over++;
    pthread_mutex_unlock(&to->mutex);
}

void generator_sort_out(struct generator *g, struct generator *to, generator_decide *decide,
                        void *ctx) {
    generator_empty_inbox(g);
    for (struct sequence **at = &g->waiting; *at;) {
        struct sequence *s = *at;
        struct errmsg why = {0};
        enum generator_fate fate = decide(ctx, s->g, s->known, &why);
        if (fate == GENERATION_GOES_OVER && fit_blocks(s, to->block_tokens)) {
            fate = GENERATION_ENDS;
            err_set(&why, ERR_NOMEM, "no memory for a sequence of %zu tokens",
                    s->g->prompt_len + s->g->max_tokens);
        }
        if (fate == GENERATION_STAYS) {
            at = &s->next;
            continue;
        }
        *at = s->next;
        g->waiting_count--;
        if (fate == GENERATION_ENDS)
            generator_finish(g, s, GENERATION_FAILED, why.code, why.text);
        else
            hand_over(g, s, to);
    }
    generator_update_stats(g);
    if (to)
        generator_update_stats(to);
}

double generator_prompt_us(const struct generator *g) {
    return g->prefill_us > 0 ? g->prefill_us : g->warm_us;
}

size_t generator_tokens_due(const struct generator *g) {
    size_t tokens = 0;
    for (size_t i = 0; i < g->running_count; i++)
        tokens += sequence_pending(g->running[i]);
    for (const struct sequence *s = g->waiting; s; s = s->next)
        tokens += s->known;
    return tokens;
}

bool generator_waits(const struct generator *g) {
    return generator_count(g) > g->running_count + g->ended_count;
}
