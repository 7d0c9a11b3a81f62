// See generator.h. The scheduler's thread owns the running sequences (oldest first) and the waiting
// list; what other threads submit goes through an inbox under the mutex.
#include "engine/generator_internal.h"

#include "base/clock.h"
#include "base/mem.h"

#include <string.h>

const struct model *generator_model(const struct generator *g) { return g->model; }
size_t generator_context(const struct generator *g) { return g->context; }
size_t generator_count(const struct generator *g) { return atomic_load(&g->count); }
size_t generator_workspace_bytes(const struct generator *g) {
    return atomic_load(&g->workspace_bytes);
}
size_t generator_cache_bytes(const struct generator *g) { return g->cache_bytes; }
size_t generator_max_sequences(const struct generator *g) { return g->options.max_sequences; }
uint64_t generator_place(const struct generator *g) { return g->place; }

// ---- ends

void generator_release(struct generator *g, struct sequence *s) {
    if (s->released)
        return;
    s->released = true;
    size_t tokens = s->g->reserved;
    s->g->reserved = 0;
    g->options.release(g->options.ctx, tokens);
}

static void finish(struct generator *g, struct sequence *s) {
    struct generation *n = s->g;
    enum err err = n->err;
    int64_t now = clock_now_us();
    generator_release(g, s);
    n->total_us = now - n->submitted_us;
    if (n->started_us == 0)
        n->queue_us = n->total_us;
    pthread_mutex_lock(&g->mutex);
    if (err == ERR_OK)
        g->stats.done++;
    else if (err == ERR_CANCELLED)
        g->stats.cancelled++;
    else if (err == ERR_DEADLINE)
        g->stats.late++;
    else
        g->stats.failed++;
    pthread_mutex_unlock(&g->mutex);
    s->next = g->done;
    g->done = s;
    generator_free_done(g);
    atomic_fetch_sub(&g->count, 1);
    n->done(n);
}

void generator_free_done(struct generator *g) {
    for (struct sequence **at = &g->done; *at;) {
        struct sequence *s = *at;
        if (s->in_flight > 0) {
            at = &s->next;
            continue;
        }
        *at = s->next;
        sequence_free(s);
    }
}

void generator_finish(struct generator *g, struct sequence *s, enum generation_end end,
                      enum err err, const char *why) {
    sequence_unplace(s, g->blocks);
    s->g->end = end;
    s->g->err = err;
    if (err)
        err_set(&s->g->msg, err, "%s", why);
    if (!s->mask || masks_withdraw(g->options.masks, s->mask)) {
        finish(g, s);
        return;
    }
    s->next = g->ended;
    g->ended = s;
    g->ended_count++;
}

// Those whose masks have come back.
static void finish_ended(struct generator *g) {
    for (struct sequence **at = &g->ended; *at;) {
        struct sequence *s = *at;
        if (!masks_withdraw(g->options.masks, s->mask)) {
            at = &s->next;
            continue;
        }
        *at = s->next;
        g->ended_count--;
        finish(g, s);
    }
}

// What ends a sequence between steps.
struct ending {
    enum generation_end end;
    enum err err;
    const char *why;
};

static bool is_over(const struct sequence *s, int64_t now, struct ending *e) {
    const struct generation *n = s->g;
    if (atomic_load(&n->cancelled))
        *e = (struct ending){GENERATION_FAILED, ERR_CANCELLED, "the client is gone"};
    else if (atomic_load(&n->stop_wanted))
        *e = (struct ending){GENERATION_STOP, ERR_OK, ""};
    else if (n->deadline_us && now > n->deadline_us && s->known == n->prompt_len)
        *e = (struct ending){GENERATION_FAILED, ERR_DEADLINE,
                             "the request's deadline passed before its first token"};
    else
        return false;
    return true;
}

// ---- the inbox and the waiting list

static enum err check_prompt(const struct generator *g, struct generation *n) {
    size_t context = g->context;
    if (n->prompt_len > 0 && n->prompt_len + (n->max_tokens > 0) <= context)
        return ERR_OK;
    return err_set(&n->msg, ERR_INVALID,
                   "a prompt of %zu tokens does not fit the context of %zu of model '%s'",
                   n->prompt_len, context, g->model->name);
}

void generator_submit(struct generator *g, struct generation *n) {
    struct sequence *s = NULL;
    n->submitted_us = clock_now_us();
    n->started_us = n->first_us = 0;
    n->err = ERR_OK;
    n->deaths = 0;
    enum err e = check_prompt(g, n);
    uint64_t owner = g->options.share_prefixes ? 0 : n->owner;
    if (!e)
        e = sequence_new(n, g->model->decoder_config.vocab, g->block_tokens, owner, &s);
    if (e == ERR_NOMEM)
        err_set(&n->msg, e, "no memory for a sequence of %zu tokens",
                n->prompt_len + n->max_tokens);
    if (!e && s->mask)
        mask_job_try(s->mask, MASKS_WORK_MOST);
    pthread_mutex_lock(&g->mutex);
    if (!e) // the cache may have become smaller
        e = check_prompt(g, n);
    if (!e && g->closed) {
        e = g->closed;
        n->msg = g->closed_msg;
    }
    if (!e) {
        atomic_fetch_add(&g->count, 1);
        s->next = NULL;
        *g->inbox_tail = s;
        g->inbox_tail = &s->next;
    } else {
        g->stats.failed++;
    }
    pthread_mutex_unlock(&g->mutex);
    if (!e)
        return;
    sequence_free(s);
    g->options.release(g->options.ctx, n->reserved);
    n->reserved = 0;
    n->end = GENERATION_FAILED;
    n->err = e;
    n->done(n);
}

void generator_empty_inbox(struct generator *g) {
    pthread_mutex_lock(&g->mutex);
    struct sequence *s = g->inbox;
    g->inbox = NULL;
    g->inbox_tail = &g->inbox;
    pthread_mutex_unlock(&g->mutex);
    for (struct sequence *next; s; s = next) {
        next = s->next;
        generator_ask_mask(g, s);
        generator_wait(g, s);
    }
}

// Ends those that wait for nothing any more: gone, late, or stopped while they were set aside.
static void sweep_waiting(struct generator *g, int64_t now) {
    struct ending e;
    for (struct sequence **at = &g->waiting; *at;) {
        struct sequence *s = *at;
        if (!is_over(s, now, &e)) {
            at = &s->next;
            continue;
        }
        *at = s->next;
        g->waiting_count--;
        generator_finish(g, s, e.end, e.err, e.why);
    }
}

// ---- between steps

void generator_join(struct generator *g, int64_t now) {
    finish_ended(g);
    generator_empty_inbox(g);
    sweep_waiting(g, now);
    struct ending e;
    for (size_t i = 0; i < g->running_count;) {
        struct sequence *s = g->running[i];
        if (is_over(s, now, &e)) {
            generator_leave(g, i);
            generator_finish(g, s, e.end, e.err, e.why);
        } else {
            i++;
        }
    }
    if (!g->lost)
        generator_admit(g, now);
}

void generator_tend(struct generator *g) {
    generator_join(g, clock_now_us());
    generator_update_stats(g);
}

static void withdraw(struct generator *g, const struct sequence *s) {
    if (s->mask)
        (void)masks_withdraw(g->options.masks, s->mask);
}

// Of a sequence in no list, waiting for its mask.
static void end_now(struct generator *g, struct sequence *s, enum err err, const char *why) {
    if (s->mask)
        masks_recall(g->options.masks, s->mask);
    generator_finish(g, s, GENERATION_FAILED, err, why);
}

void generator_end_all(struct generator *g, enum err err, const char *why) {
    pthread_mutex_lock(&g->mutex);
    g->closed = err_set(&g->closed_msg, err, "%s", why);
    pthread_mutex_unlock(&g->mutex);
    generator_empty_inbox(g);
    // nobody's mask is waited for while another's is made that nobody wants
    for (size_t i = 0; i < g->running_count; i++)
        withdraw(g, g->running[i]);
    for (const struct sequence *s = g->waiting; s; s = s->next)
        withdraw(g, s);
    while (g->running_count > 0)
        end_now(g, g->running[--g->running_count], err, why);
    while (g->waiting) {
        struct sequence *s = g->waiting;
        g->waiting = s->next;
        g->waiting_count--;
        end_now(g, s, err, why);
    }
    for (struct sequence *s = g->ended; s; s = s->next)
        masks_recall(g->options.masks, s->mask);
    finish_ended(g);
    generator_update_stats(g);
}

static void count_left(struct generator *g, const struct sequence *s) {
    size_t pending = sequence_pending(s);
    g->stats.prompt_left += pending > 1 ? pending : 0;
    g->stats.output_left += s->g->prompt_len + s->g->max_tokens - s->known;
}

void generator_update_stats(struct generator *g) {
    pthread_mutex_lock(&g->mutex);
    g->stats.steps += g->tally.steps;
    g->stats.steps_ended += g->tally.ended;
    g->stats.output_tokens += g->tally.output;
    g->stats.drafted += g->tally.drafted;
    g->stats.accepted += g->tally.accepted;
    g->stats.replayed_tokens += g->tally.replayed;
    memset(&g->tally, 0, sizeof g->tally);
    g->stats.prompt_left = g->stats.output_left = 0;
    for (size_t i = 0; i < g->running_count; i++)
        count_left(g, g->running[i]);
    for (const struct sequence *s = g->waiting; s; s = s->next)
        count_left(g, s);
    g->stats.running = g->running_count;
    g->stats.waiting = g->waiting_count;
    g->stats.kv_blocks_used = kv_blocks_held(g->blocks);
    g->stats.kv_blocks_kept = kv_blocks_kept(g->blocks);
    pthread_mutex_unlock(&g->mutex);
}

void generator_add_stats(struct generator *g, struct generation_stats *sum) {
    pthread_mutex_lock(&g->mutex);
    const struct generation_stats *a = &g->stats;
    sum->done += a->done;
    sum->failed += a->failed;
    sum->cancelled += a->cancelled;
    sum->late += a->late;
    sum->prompt_tokens += a->prompt_tokens;
    sum->cached_tokens += a->cached_tokens;
    sum->output_tokens += a->output_tokens;
    sum->steps += a->steps;
    sum->steps_ended += a->steps_ended;
    sum->preemptions += a->preemptions;
    sum->drafted += a->drafted;
    sum->accepted += a->accepted;
    sum->interrupted += a->interrupted;
    sum->replayed_tokens += a->replayed_tokens;
    sum->handed_over += a->handed_over;
    sum->prompt_left += a->prompt_left;
    sum->output_left += a->output_left;
    sum->running += a->running;
    sum->waiting += a->waiting;
    sum->kv_blocks += a->kv_blocks;
    sum->kv_blocks_used += a->kv_blocks_used;
    sum->kv_blocks_kept += a->kv_blocks_kept;
    sum->kv_bytes += a->kv_bytes;
    sum->kv_tokens += a->kv_tokens;
    pthread_mutex_unlock(&g->mutex);
}
