// See scheduler.h: submission, admission, and the beginning and end of a scheduler's life. Lanes of
// jobs under one mutex; the engine thread that computes them is scheduler_engine.c's.
#include "engine/scheduler_internal.h"

#include "base/clock.h"
#include "base/mem.h"
#include "base/thread.h"

enum {
    DEFAULT_BATCH_TOKENS = 512,
    DEFAULT_QUEUE_TOKENS = 1 << 20,
};

// ---- ends of jobs

void scheduler_give_back(struct scheduler *s, size_t tokens, bool large) {
    admission_give(&s->admission, tokens, large);
    if (admission_held(&s->admission) == 0 && !generators_busy(&s->generators))
        pthread_cond_broadcast(&s->empty);
}

void scheduler_job_end(struct scheduler *s, struct job *job, struct job_list *list) {
    int64_t now = clock_now_us();
    scheduler_give_back(s, job->reserved, job->large);
    job->reserved = 0;
    if (job->started_us == 0)
        job->started_us = now;
    job->queue_us = job->started_us - job->submitted_us;
    job->compute_us = now - job->started_us;
    if (job->err == ERR_OK)
        s->stats.jobs_done++;
    else if (job->err == ERR_CANCELLED)
        s->stats.jobs_cancelled++;
    else if (job->err == ERR_DEADLINE)
        s->stats.jobs_late++;
    else
        s->stats.jobs_failed++;
    job_list_push(list, job);
}

// ---- from other threads

void scheduler_free(struct scheduler *s) {
    if (!s)
        return;
    encode_slots_free(&s->slots);
    generators_free(&s->generators);
    pthread_cond_destroy(&s->wake);
    pthread_cond_destroy(&s->ready);
    pthread_cond_destroy(&s->empty);
    pthread_mutex_destroy(&s->mutex);
    mem_free(s);
}

static void wake_engine(void *ctx) {
    struct scheduler *s = ctx;
    pthread_mutex_lock(&s->mutex);
    pthread_cond_signal(&s->wake);
    pthread_mutex_unlock(&s->mutex);
}

static void release_generation(void *ctx, size_t tokens) { scheduler_release(ctx, tokens); }

static enum err init_generators(struct scheduler *s, struct errmsg *msg) {
    const struct scheduler_options *o = &s->options;
    struct generators_options g = {.replica = o->replica,
                                   .cache_bytes = o->kv_cache_bytes,
                                   .kv_dtype = o->kv_dtype,
                                   .max_sequences = o->max_sequences,
                                   .no_speculation = o->no_speculation,
                                   .share_prefixes = o->share_prefixes,
                                   .release = release_generation,
                                   .wake = wake_engine,
                                   .ctx = s};
    return generators_init(&s->generators, &g, o->models, o->model_count, &s->memory, msg);
}

enum err scheduler_start(const struct scheduler_options *options, struct scheduler **out,
                         struct errmsg *msg) {
    *out = NULL;
    struct scheduler *s = mem_calloc(1, sizeof *s);
    if (!s)
        return err_set(msg, ERR_NOMEM, "no memory for the scheduler");
    s->options = *options;
    if (s->options.max_batch_tokens == 0)
        s->options.max_batch_tokens = DEFAULT_BATCH_TOKENS;
    if (s->options.max_queue_tokens == 0)
        s->options.max_queue_tokens = DEFAULT_QUEUE_TOKENS;
    memory_plan_begin(&s->memory);
    s->admission.limit = s->options.max_queue_tokens;
    enum err e = encode_slots_init(&s->slots, options->replica, options->models,
                                   options->model_count, s->options.max_batch_tokens, msg);
    s->memory.workspaces = encode_slots_bytes(&s->slots);
    if (!e)
        e = init_generators(s, msg);
    if (e) {
        e = memory_plan_explain(e, "lower --kv-cache-mib, --max-sequences or --max-batch-tokens",
                                msg);
        encode_slots_free(&s->slots);
        mem_free(s);
        return e;
    }
    s->stats.workspace_bytes =
        encode_slots_bytes(&s->slots) + generators_workspace_bytes(&s->generators);
    atomic_store(&s->heartbeat_us, clock_now_us());
    pthread_mutex_init(&s->mutex, NULL);
    // conditions can fail by memory alone, and glibc's never do: one check serves the three
    if (thread_cond_init(&s->wake) || thread_cond_init(&s->ready) || thread_cond_init(&s->empty))
        e = err_set(msg, ERR_NOMEM, "no memory for the scheduler");
    // the engine thread drives the device: it gets a roomy stack for deep forwards
    struct thread_options t = {.name = "engine", .stack_bytes = (size_t)2 << 20};
    if (!e)
        e = thread_start(&s->thread, &t, scheduler_engine_thread, s, msg);
    if (e) {
        scheduler_free(s);
        return e;
    }
    *out = s;
    return ERR_OK;
}

enum err scheduler_wait_ready(struct scheduler *s, struct errmsg *msg) {
    pthread_mutex_lock(&s->mutex);
    while (!s->warmed)
        pthread_cond_wait(&s->ready, &s->mutex);
    enum err e = s->warm_err;
    if (e && msg)
        *msg = s->warm_msg;
    pthread_mutex_unlock(&s->mutex);
    return e;
}

enum err scheduler_reserve(struct scheduler *s, size_t tokens, struct errmsg *msg) {
    pthread_mutex_lock(&s->mutex);
    enum err e = s->draining ? err_set(msg, ERR_UNAVAILABLE, "the service is draining")
                             : admission_take(&s->admission, tokens, msg);
    if (e == ERR_OVERLOADED)
        s->stats.jobs_refused++;
    pthread_mutex_unlock(&s->mutex);
    return e;
}

void scheduler_release(struct scheduler *s, size_t tokens) {
    pthread_mutex_lock(&s->mutex);
    scheduler_give_back(s, tokens, admission_is_large(&s->admission, tokens));
    pthread_mutex_unlock(&s->mutex);
}

void scheduler_submit(struct scheduler *s, struct job *job) {
    size_t tokens = (size_t)job->cu_seqlens[job->seqs];
    struct job_list list = {0};
    job->taken = job->finished = 0;
    job->started_us = 0;
    job->cut = 0;
    job->err = ERR_OK;
    job->submitted_us = clock_now_us();
    if (tokens > INTERACTIVE_TOKENS)
        job->lane = LANE_BULK;
    pthread_mutex_lock(&s->mutex);
    admission_give(&s->admission, job->reserved, admission_is_large(&s->admission, job->reserved));
    job->reserved = tokens;
    job->large = admission_is_large(&s->admission, tokens);
    admission_add(&s->admission, tokens, job->large);
    if (s->stopping) {
        job->err = err_set(&job->msg, ERR_UNAVAILABLE, "the service is stopping");
        scheduler_job_end(s, job, &list);
    } else if (job->seqs == 0) {
        scheduler_job_end(s, job, &list);
    } else {
        lane_queue_push(&s->lanes[job->lane], job);
        job->listed = true;
        pthread_cond_signal(&s->wake);
    }
    pthread_mutex_unlock(&s->mutex);
    job_list_call_done(&list);
}

void scheduler_generate(struct scheduler *s, struct generation *g) {
    struct generator *one = generators_find(&s->generators, g->model);
    if (!one) {
        scheduler_release(s, g->reserved);
        g->reserved = 0;
        g->end = GENERATION_FAILED;
        g->err = err_set(&g->msg, ERR_UNSUPPORTED, "model '%s' does not generate", g->model->name);
        g->done(g);
        return;
    }
    generator_submit(one, g);
    wake_engine(s);
}

size_t scheduler_context(const struct scheduler *s, const struct model *m) {
    const struct generator *g = generators_find(&s->generators, m);
    return g ? generator_context(g) : 0;
}

void scheduler_cache(const struct scheduler *s, const struct model *m, size_t *bytes,
                     size_t *sequences) {
    const struct generator *g = generators_find(&s->generators, m);
    *bytes = g ? generator_cache_bytes(g) : 0;
    *sequences = g ? generator_max_sequences(g) : 0;
}

const struct memory_plan *scheduler_memory(const struct scheduler *s) { return &s->memory; }

void scheduler_drain(struct scheduler *s) {
    pthread_mutex_lock(&s->mutex);
    s->draining = true;
    pthread_mutex_unlock(&s->mutex);
}

void scheduler_end(struct scheduler *s, int64_t timeout_us) {
    int64_t until = clock_now_us() + timeout_us;
    pthread_mutex_lock(&s->mutex);
    bool ended = s->stopping;
    s->draining = true;
    while (!ended && (admission_held(&s->admission) > 0 || generators_busy(&s->generators)) &&
           thread_cond_wait_until(&s->empty, &s->mutex, until))
        ;
    s->stopping = true;
    atomic_store(&s->end_now, true);
    pthread_cond_signal(&s->wake);
    pthread_mutex_unlock(&s->mutex);
    if (!ended)
        pthread_join(s->thread, NULL);
}

void scheduler_stop(struct scheduler *s, int64_t timeout_us) {
    if (s)
        scheduler_end(s, timeout_us);
    scheduler_free(s);
}

struct scheduler_stats scheduler_read_stats(struct scheduler *s) {
    pthread_mutex_lock(&s->mutex);
    struct scheduler_stats stats = s->stats;
    stats.queued_tokens = admission_held(&s->admission);
    pthread_mutex_unlock(&s->mutex);
    stats.queued_jobs =
        lane_queue_count(&s->lanes[LANE_INTERACTIVE]) + lane_queue_count(&s->lanes[LANE_BULK]);
    generators_add_stats(&s->generators, &stats.generation);
    stats.heartbeat_us = atomic_load(&s->heartbeat_us);
    for (int i = 0; i < SHARE_COUNT; i++) {
        stats.used_us[i] = atomic_load(&s->used_us[i]);
        stats.busy_us += (uint64_t)stats.used_us[i];
    }
    return stats;
}
