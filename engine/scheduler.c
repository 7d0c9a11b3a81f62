// See scheduler.h: submission, admission, and the beginning and end of a scheduler's life.
#include "engine/scheduler_internal.h"

#include "base/clock.h"
#include "base/mem.h"
#include "base/thread.h"

enum {
    DEFAULT_BATCH_TOKENS = 512,
    DEFAULT_QUEUE_TOKENS = 1 << 20,
    LIVES_US = 2000000,
};

// ---- ends of jobs

void scheduler_give_back(struct scheduler *s, size_t tokens, bool large) {
    admission_give(&s->admission, tokens, large);
    if (admission_held(&s->admission) == 0 && !scheduler_generates(s))
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
    struct scheduler_model *m = scheduler_model_of(s, job->model->id);
    if (m && --m->jobs == 0 && m->leaving)
        scheduler_kick(s);
    job_list_push(list, job);
}

bool scheduler_generates(const struct scheduler *s) {
    for (int i = 0; i < SITE_COUNT; i++)
        if (generators_busy(&s->sites[i].generators))
            return true;
    return s->sorting;
}

struct generator *scheduler_generator_of(const struct scheduler *s, const struct model *m) {
    return generators_find(&s->sites[SITE_MAIN].generators, m);
}

void scheduler_kick(struct scheduler *s) {
    s->kicked = true;
    pthread_cond_signal(&s->wake);
}

void scheduler_wake(void *scheduler) {
    struct scheduler *s = scheduler;
    pthread_mutex_lock(&s->mutex);
    scheduler_kick(s);
    pthread_mutex_unlock(&s->mutex);
}

// ---- from other threads

void scheduler_free(struct scheduler *s) {
    if (!s)
        return;
    scheduler_watch_main(s, false);
    scheduler_free_flights(s);
    scheduler_stop_spare(s);
    for (int i = SITE_COUNT; i-- > 0;) // the spare's use main's masks
        generators_free(&s->sites[i].generators);
    spare_free(s->spare);
    scheduler_free_lines(s);
    while (s->model_count > 0)
        model_release(s->models[--s->model_count].model);
    mem_free(s->models);
    pthread_cond_destroy(&s->wake);
    pthread_cond_destroy(&s->ready);
    pthread_cond_destroy(&s->empty);
    pthread_mutex_destroy(&s->mutex);
    mem_free(s);
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
                                   .has_spare = o->spare != NULL,
                                   .spare_for_one = o->spare_kind == SPARE_QUARANTINE,
                                   .release = release_generation,
                                   .wake = scheduler_wake,
                                   .ctx = s};
    return generators_init(&s->sites[SITE_MAIN].generators, &g, o->models, o->model_count,
                           &s->memory, msg);
}

static enum err hold_models(struct scheduler *s) {
    const struct scheduler_options *o = &s->options;
    s->models = mem_calloc(o->model_count, sizeof *s->models);
    if (!s->models)
        return ERR_NOMEM;
    for (; s->model_count < o->model_count; s->model_count++)
        s->models[s->model_count].model = model_hold(o->models[s->model_count]);
    return ERR_OK;
}

// Everything but the thread.
static enum err prepare(struct scheduler *s, struct errmsg *msg) {
    const struct scheduler_options *o = &s->options;
    struct encode_room room = encode_room_for(o->models, o->model_count, scheduler_batch_most(s));
    enum err e = ERR_OK;
    for (int i = 0; i < SITE_COUNT && !e; i++)
        if (s->sites[i].replica)
            e = replica_size_batches(s->sites[i].replica, s->sites[i].batch_tokens, msg);
    if (!e && (scheduler_make_room(s, &room) || hold_models(s)))
        e = err_set(msg, ERR_NOMEM, "no memory for batches; lower --max-batch-tokens");
    size_t encoding;
    scheduler_plan_workspaces(s, &s->memory, &encoding);
    if (!e)
        e = init_generators(s, msg);
    if (!e && scheduler_make_lines(s))
        e = err_set(msg, ERR_NOMEM, "no memory for the generators");
    if (!e)
        e = scheduler_start_spare(s, msg);
    s->step_workspaces = memory_plans_of_replica(&s->memory)->workspaces - encoding;
    return memory_plan_explain(e, "lower --kv-cache-mib, --max-sequences or --max-batch-tokens",
                               msg);
}

static void look_at_facts(const struct scheduler *s, struct scheduler_site *site) {
    const struct replica_facts *f = site->replica ? replica_facts(site->replica) : NULL;
    if (!f)
        return;
    site->bulk_ahead = f->bulk_ahead;
    site->batch_tokens = s->options.max_batch_tokens ? s->options.max_batch_tokens
                         : f->batch_tokens           ? f->batch_tokens
                                                     : DEFAULT_BATCH_TOKENS;
}

static void begin_plans(struct scheduler *s) {
    struct replica *main = s->sites[SITE_MAIN].replica;
    size_t own = replica_facts(main)->memory_bytes;
    memory_plan_begin(&s->memory.machine);
    s->memory.machine.resident += s->options.elsewhere_bytes;
    s->memory.apart = own > 0;
    if (!s->memory.apart)
        return;
    memory_plan_begin_device(&s->memory.device, own);
    for (size_t i = 0; i < s->options.model_count; i++)
        s->memory.device.resident += replica_weight_bytes(main, s->options.models[i]->id);
}

enum err scheduler_start(const struct scheduler_options *options, struct scheduler **out,
                         struct errmsg *msg) {
    *out = NULL;
    struct scheduler *s = mem_calloc(1, sizeof *s);
    if (!s)
        return err_set(msg, ERR_NOMEM, "no memory for the scheduler");
    s->options = *options;
    s->sites[SITE_MAIN].replica = options->replica;
    s->sites[SITE_SPARE].replica = options->spare_kind == SPARE_NONE ? NULL : options->spare;
    for (int i = 0; i < SITE_COUNT; i++)
        look_at_facts(s, &s->sites[i]);
    s->sites[SITE_MAIN].health = replica_health(s->sites[SITE_MAIN].replica);
    scheduler_choose_flights(s);
    s->back_tail = &s->back;
    if (s->options.max_queue_tokens == 0)
        s->options.max_queue_tokens = DEFAULT_QUEUE_TOKENS;
    begin_plans(s);
    s->admission.full = s->admission.limit = s->options.max_queue_tokens;
    atomic_store(&s->heartbeat_us, clock_now_us());
    pthread_mutex_init(&s->mutex, NULL);
    enum err e = ERR_OK;
    // conditions can fail by memory alone, and glibc's never do: one check serves the three
    if (thread_cond_init(&s->wake) || thread_cond_init(&s->ready) || thread_cond_init(&s->empty))
        e = err_set(msg, ERR_NOMEM, "no memory for the scheduler");
    if (!e)
        e = prepare(s, msg);
    s->options.models = NULL; // the caller's, who may let them go
    struct thread_options t = {.name = "scheduler"};
    if (!e)
        scheduler_watch_main(s, true);
    if (!e)
        e = thread_start(&s->thread, &t, scheduler_run, s, msg);
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

// Whether nothing is accepted. Mutex held.
static enum err refuse_all(const struct scheduler *s, struct errmsg *msg) {
    if (s->draining)
        return err_set(msg, ERR_UNAVAILABLE, "the service is draining");
    bool is_down = s->sites[SITE_MAIN].health.condition != REPLICA_UP;
    if (scheduler_is_unserved(s) || (is_down && s->options.spare_kind == SPARE_NONE))
        return scheduler_say_unserved(msg);
    return ERR_OK;
}

enum err scheduler_reserve(struct scheduler *s, size_t tokens, struct errmsg *msg) {
    pthread_mutex_lock(&s->mutex);
    enum err e = refuse_all(s, msg);
    if (!e)
        e = admission_take(&s->admission, tokens, msg);
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
    job->deaths = 0;
    job->died_in = 0;
    job->err = ERR_OK;
    job->submitted_us = clock_now_us();
    job->listed = false;
    if (tokens > INTERACTIVE_TOKENS)
        job->lane = LANE_BULK;
    pthread_mutex_lock(&s->mutex);
    admission_give(&s->admission, job->reserved, admission_is_large(&s->admission, job->reserved));
    job->reserved = tokens;
    job->large = admission_is_large(&s->admission, tokens);
    admission_add(&s->admission, tokens, job->large);
    struct scheduler_model *m = scheduler_model_of(s, job->model->id);
    if (m)
        m->jobs++;
    if (s->stopping)
        job->err = err_set(&job->msg, ERR_UNAVAILABLE, "the service is stopping");
    else if (!m || m->leaving)
        job->err = err_set(&job->msg, ERR_NOT_FOUND, "model '%s' is not served any more",
                           job->model->name);
    if (job->err || job->seqs == 0) {
        scheduler_job_end(s, job, &list);
    } else {
        lane_queue_push(&s->lanes[job->lane], job);
        job->listed = true;
        scheduler_pump(s);
    }
    pthread_mutex_unlock(&s->mutex);
    job_list_call_done(&list);
}

static void refuse(struct scheduler *s, struct generation *g, enum err e) {
    scheduler_release(s, g->reserved);
    g->reserved = 0;
    g->end = GENERATION_FAILED;
    g->err = e;
    g->done(g);
}

void scheduler_generate(struct scheduler *s, struct generation *g) {
    const struct model *model = g->model; // submitted, g may be gone
    struct generator *one = NULL;
    enum err e = ERR_OK;
    pthread_mutex_lock(&s->mutex);
    struct scheduler_model *m = scheduler_model_of(s, model->id);
    if (!m || m->leaving)
        e = err_set(&g->msg, ERR_NOT_FOUND, "model '%s' is not served any more", model->name);
    else if (!(one = scheduler_generator_of(s, model)))
        e = err_set(&g->msg, ERR_UNSUPPORTED, "model '%s' does not generate", model->name);
    else
        m->jobs++;
    pthread_mutex_unlock(&s->mutex);
    if (e) {
        refuse(s, g, e);
        return;
    }
    generator_submit(one, g);
    pthread_mutex_lock(&s->mutex);
    if ((m = scheduler_model_of(s, model->id))) // the list may have moved; it is there still
        m->jobs--;
    scheduler_kick(s);
    pthread_mutex_unlock(&s->mutex);
}

size_t scheduler_context(struct scheduler *s, const struct model *m) {
    pthread_mutex_lock(&s->mutex);
    const struct generator *g = scheduler_generator_of(s, m);
    size_t context = g ? generator_context(g) : 0;
    pthread_mutex_unlock(&s->mutex);
    return context;
}

void scheduler_cache(struct scheduler *s, const struct model *m, size_t *bytes, size_t *sequences) {
    pthread_mutex_lock(&s->mutex);
    const struct generator *g = scheduler_generator_of(s, m);
    *bytes = g ? generator_cache_bytes(g) : 0;
    *sequences = g ? generator_max_sequences(g) : 0;
    pthread_mutex_unlock(&s->mutex);
}

struct memory_plans scheduler_memory(struct scheduler *s) {
    size_t encoding;
    pthread_mutex_lock(&s->mutex);
    struct memory_plans plans = s->memory;
    scheduler_plan_workspaces(s, &plans, &encoding);
    memory_plans_of_replica(&plans)->workspaces += s->step_workspaces;
    pthread_mutex_unlock(&s->mutex);
    return plans;
}

size_t scheduler_batch_tokens(const struct scheduler *s) {
    return s->sites[SITE_MAIN].batch_tokens;
}

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
    while (!ended && (admission_held(&s->admission) > 0 || scheduler_generates(s)) &&
           thread_cond_wait_until(&s->empty, &s->mutex, until))
        ;
    s->stopping = true; // before anybody sees it, what is with the replica is told to end
    scheduler_call_back_flights(s);
    scheduler_call_back_steps(s);
    scheduler_kick(s);
    pthread_cond_broadcast(&s->ready);
    pthread_mutex_unlock(&s->mutex);
    if (!ended)
        pthread_join(s->thread, NULL);
}

void scheduler_stop(struct scheduler *s, int64_t timeout_us) {
    if (s)
        scheduler_end(s, timeout_us);
    scheduler_free(s);
}

// What the site's replica and generators have done. Mutex held.
static void add_site(struct scheduler_site *site, struct scheduler_stats *stats) {
    if (!site->replica)
        return;
    const struct replica_stats *before = &site->before, r = replica_read_stats(site->replica);
    generators_add_stats(&site->generators, &stats->generation);
    stats->workspace_bytes += generators_workspace_bytes(&site->generators);
    stats->yields += r.yields - before->yields;
    for (int i = 0; i < SHARE_COUNT; i++) {
        stats->used_us[i] += r.used_us[i] - before->used_us[i];
        stats->busy_us += (uint64_t)(r.used_us[i] - before->used_us[i]);
    }
}

struct scheduler_stats scheduler_read_stats(struct scheduler *s) {
    pthread_mutex_lock(&s->mutex);
    struct scheduler_stats stats = s->stats;
    stats.queued_tokens = admission_held(&s->admission);
    stats.workspace_bytes = scheduler_workspace_bytes(s);
    for (int i = 0; i < SITE_COUNT; i++)
        add_site(&s->sites[i], &stats);
    stats.replayed_tokens += stats.generation.replayed_tokens;
    struct replica_stats r = replica_read_stats(s->sites[SITE_MAIN].replica);
    stats.queued_jobs = lane_queue_count(&s->lanes[LANE_INTERACTIVE]) +
                        lane_queue_count(&s->lanes[LANE_BULK]) + lane_queue_count(&s->apart);
    stats.queue_limit = s->admission.limit;
    stats.main = replica_health(s->sites[SITE_MAIN].replica);
    if (s->sites[SITE_SPARE].replica)
        stats.spare = replica_health(s->sites[SITE_SPARE].replica);
    pthread_mutex_unlock(&s->mutex);
    // the scheduler's thread looks at its queues far more often than this, if it lives; a replica
    // that is down has no life to show, and whoever watches over it sees to that
    int64_t own = atomic_load(&s->heartbeat_us);
    bool is_up = stats.main.condition == REPLICA_UP;
    stats.heartbeat_us = !is_up || own + LIVES_US < r.heartbeat_us ? own : r.heartbeat_us;
    return stats;
}
