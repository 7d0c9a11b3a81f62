// See scheduler.h. Two lists of jobs (lanes) under one mutex; one engine thread that cuts batches
// from them and has the generators compute their steps. A bulk forward calls pause() between the
// parts of a layer, where waiting interactive batches run to their end in the other slot, and steps
// of generators in their own workspaces; a step lets interactive batches pass in the same way. So
// interactive work waits for a fraction of a layer, and nothing is ever computed twice.
#include "service/scheduler.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/thread.h"
#include "service/engine.h"
#include "service/generators.h"
#include "service/job_list.h"

#include <string.h>

enum {
    DEFAULT_BATCH_TOKENS = 512,
    DEFAULT_QUEUE_TOKENS = 1 << 20,
    WARM_UP_TOKENS = 64,
    SWEEP_US = 5000,           // how often queued jobs are looked over for gone or late ones
    HEARTBEAT_US = 500000,     // an idle engine thread shows its life this often
    SHARE_WINDOW_US = 2000000, // device time over which bulk's tenth is kept
    BULK_SHARE_DIVISOR = 10,
};

struct scheduler {
    struct scheduler_options options;
    struct engine engine;
    struct generators generators;
    struct memory_plan memory; // of the start
    pthread_t thread;
    pthread_mutex_t mutex; // guards everything below but what is marked
    pthread_cond_t wake;   // work came, or draining/stopping changed
    pthread_cond_t ready;  // the warm-up ended
    pthread_cond_t empty;  // nothing is held and no generation runs
    struct job_list lanes[LANE_COUNT];
    size_t held_tokens; // reserved or queued and not yet computed
    bool draining, stopping, warmed;
    enum err warm_err;
    struct errmsg warm_msg;
    struct scheduler_stats stats;
    // Read and written without the mutex.
    atomic_int_fast64_t heartbeat_us;
    atomic_uint_fast64_t busy_us;

    // The engine thread's own.
    int64_t swept_us;
    int64_t share_us[LANE_COUNT]; // device time lately, halved when it fills the window
    int64_t lap_us;               // since when the running slot has had the device
    bool bulk_waits;              // bulk was queued or set aside when the batch began
};

// ---- ends of jobs

// Mutex held.
static void give_back(struct scheduler *s, size_t tokens) {
    s->held_tokens -= tokens;
    if (s->held_tokens == 0 && !generators_busy(&s->generators))
        pthread_cond_broadcast(&s->empty);
}

// Gives back what the job still holds and counts its end. Mutex held; not listed any more.
static void job_end(struct scheduler *s, struct job *job, struct job_list *list) {
    int64_t now = clock_now_us();
    give_back(s, job->reserved);
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

// Takes a listed job out of the queue with an error; its rows in flight, if any, end it later.
static void job_drop(struct scheduler *s, struct job *before, struct job *job, enum err err,
                     const char *why, struct job_list *list) {
    if (!job->err)
        job->err = err_set(&job->msg, err, "%s", why);
    job_list_remove_after(&s->lanes[job->lane], before, job);
    job->listed = false;
    if (job->taken == job->finished)
        job_end(s, job, list);
}

// Looks a lane over for jobs that need no computing any more: gone, late, or failed in a batch.
static void sweep_lane(struct scheduler *s, enum lane lane, int64_t now, struct job_list *list) {
    struct job *before = NULL;
    for (struct job *job = s->lanes[lane].head, *next; job; job = next) {
        next = job->next;
        bool late = job->deadline_us && now > job->deadline_us && job->taken == 0;
        if (job->err)
            job_drop(s, before, job, job->err, job->msg.text, list);
        else if (atomic_load(&job->cancelled))
            job_drop(s, before, job, ERR_CANCELLED, "the client is gone", list);
        else if (late)
            job_drop(s, before, job, ERR_DEADLINE, "the request's deadline passed while it waited",
                     list);
        else
            before = job;
    }
}

static void drop_all(struct scheduler *s, struct job_list *list) {
    for (int lane = 0; lane < LANE_COUNT; lane++)
        while (s->lanes[lane].head)
            job_drop(s, NULL, s->lanes[lane].head, ERR_UNAVAILABLE, "the service is stopping",
                     list);
}

// ---- batches

// Fills the lane's slot from its jobs in order: all of the head job's model and normalisation. A
// bulk job that gave some of its texts and has more goes to the end, so that bulk clients take
// turns. Mutex held. False: nothing to compute.
static bool cut_batch(struct scheduler *s, enum lane lane, int64_t now) {
    struct engine_slot *slot = &s->engine.slots[lane];
    struct job_list *queue = &s->lanes[lane];
    engine_slot_clear(slot);
    const struct job *first = queue->head;
    if (!first)
        return false;
    const struct model *model = first->model;
    bool normalize = first->normalize;
    struct job *before = NULL, *last = queue->tail;
    for (struct job *job = queue->head, *next; job; job = next) {
        next = job == last ? NULL : job->next; // those moved to the end had their turn
        if (job->model != model || job->normalize != normalize) {
            before = job;
            continue;
        }
        size_t taken_before = job->taken;
        while (job->taken < job->seqs && engine_slot_add(&s->engine, slot, job, job->taken))
            job->taken++;
        if (job->taken > taken_before && job->started_us == 0)
            job->started_us = now;
        bool full = job->taken < job->seqs;
        if (!full) {
            job_list_remove_after(queue, before, job);
            job->listed = false;
        } else if (lane == LANE_BULK && job->taken > taken_before) {
            job_list_remove_after(queue, before, job);
            job_list_push(queue, job);
        } else {
            before = job;
        }
        if (full)
            break;
    }
    return slot->seqs > 0;
}

static bool row_is_finite(const float *row, size_t n) {
    float zero = 0;
    for (size_t i = 0; i < n; i++)
        zero += row[i] * 0.0f; // NaN once any is not finite
    return zero == 0.0f;
}

// One row to its job. Only the engine thread touches a submitted job's rows and error.
static void deliver_row(const struct engine_piece *piece, const float *row, enum err err,
                        const struct errmsg *msg) {
    struct job *job = piece->job;
    size_t dim = job->model->dim;
    if (job->err)
        return;
    if (err) {
        job->err = err;
        job->msg = *msg;
    } else if (!row_is_finite(row, dim)) {
        job->err = err_set(&job->msg, ERR_NONFINITE, "model '%s' gave a result that is not finite",
                           job->model->name);
    } else {
        memcpy(job->out + piece->seq * dim, row, dim * sizeof *row);
    }
}

// Hands the slot's rows to their jobs and ends those that are complete.
static void deliver(struct scheduler *s, enum lane lane, enum err err, const struct errmsg *msg) {
    struct engine_slot *slot = &s->engine.slots[lane];
    struct job_list list = {0};
    for (size_t i = 0; i < slot->seqs; i++)
        deliver_row(&slot->pieces[i], slot->rows + i * slot->pieces[i].job->model->dim, err, msg);
    pthread_mutex_lock(&s->mutex);
    for (size_t i = 0; i < slot->seqs; i++) {
        struct job *job = slot->pieces[i].job;
        size_t seq = slot->pieces[i].seq;
        size_t tokens = (size_t)(job->cu_seqlens[seq + 1] - job->cu_seqlens[seq]);
        give_back(s, tokens);
        job->reserved -= tokens;
        job->finished++;
        if (job->finished == job->taken && !job->listed)
            job_end(s, job, &list);
    }
    s->stats.batches++;
    s->stats.sequences += slot->seqs;
    s->stats.tokens += slot->tokens;
    pthread_mutex_unlock(&s->mutex);
    job_list_call_done(&list);
}

// ---- the engine thread

// Books the time since the last lap to the lane that had the device. Interactive time counts only
// while bulk waits: an idle bulk lane must not save up a right to the device, which would hold up
// interactive work once bulk comes.
static void lap(struct scheduler *s, enum lane lane) {
    int64_t now = clock_now_us(), us = now - s->lap_us;
    s->lap_us = now;
    if (lane == LANE_BULK || s->bulk_waits)
        s->share_us[lane] += us;
    atomic_fetch_add(&s->busy_us, (uint64_t)us);
    if (s->share_us[LANE_INTERACTIVE] + s->share_us[LANE_BULK] > SHARE_WINDOW_US)
        for (int i = 0; i < LANE_COUNT; i++)
            s->share_us[i] /= 2;
    atomic_store(&s->heartbeat_us, now);
}

static bool bulk_is_short(const struct scheduler *s) {
    int64_t bulk = s->share_us[LANE_BULK], all = bulk + s->share_us[LANE_INTERACTIVE];
    return bulk < all / BULK_SHARE_DIVISOR;
}

static void pause_bulk(void *ctx);

// Cuts one batch from the lane, runs and delivers it. False: there was none.
static bool run_one(struct scheduler *s, enum lane lane) {
    struct job_list list = {0};
    int64_t now = clock_now_us();
    pthread_mutex_lock(&s->mutex);
    sweep_lane(s, lane, now, &list);
    if (now - s->swept_us > SWEEP_US) { // the other lane may not get its turn soon
        s->swept_us = now;
        sweep_lane(s, lane == LANE_BULK ? LANE_INTERACTIVE : LANE_BULK, now, &list);
    }
    bool any = cut_batch(s, lane, now), dropped = list.head != NULL;
    pthread_mutex_unlock(&s->mutex);
    job_list_call_done(&list);
    if (!any)
        return dropped;
    struct forward_hooks hooks = {.pause = lane == LANE_BULK ? pause_bulk : NULL, .ctx = s};
    struct errmsg msg = {0};
    enum err err = engine_slot_run(&s->engine, &s->engine.slots[lane], &hooks, &msg);
    lap(s, lane);
    if (err)
        log_error("a batch of %zu tokens failed: %s", s->engine.slots[lane].tokens, msg.text);
    deliver(s, lane, err, &msg);
    return true;
}

// What runs inside a set-aside forward syncs the device: what that one has recorded is kept out.
struct set_aside {
    enum err failed;
    struct errmsg held;
};

static struct set_aside set_aside(struct scheduler *s) {
    struct set_aside a = {0};
    a.failed = device_sync(s->options.device, &a.held);
    return a;
}

static void take_up(struct scheduler *s, const struct set_aside *a) {
    if (a->failed)
        device_fail(s->options.device, a->failed, "%s", a->held.text);
}

static void pause_step(void *ctx) {
    struct scheduler *s = ctx;
    if (job_list_count(&s->lanes[LANE_INTERACTIVE]) == 0)
        return;
    struct set_aside a = set_aside(s);
    while (job_list_count(&s->lanes[LANE_INTERACTIVE]) > 0 && run_one(s, LANE_INTERACTIVE))
        ;
    take_up(s, &a);
}

// One step of a generator. False: there was none to compute.
static bool run_step(struct scheduler *s) {
    if (!generators_busy(&s->generators))
        return false;
    struct forward_hooks hooks = {.pause = pause_step, .ctx = s};
    bool any = generators_step(&s->generators, &hooks);
    lap(s, LANE_INTERACTIVE);
    if (!generators_busy(&s->generators)) { // scheduler_end may wait for that
        pthread_mutex_lock(&s->mutex);
        give_back(s, 0);
        pthread_mutex_unlock(&s->mutex);
    }
    return any;
}

static bool urgent_work_waits(struct scheduler *s) {
    return job_list_count(&s->lanes[LANE_INTERACTIVE]) > 0 || generators_busy(&s->generators);
}

static void pause_bulk(void *ctx) {
    struct scheduler *s = ctx;
    if (!urgent_work_waits(s))
        return;
    lap(s, LANE_BULK);
    struct set_aside a = set_aside(s);
    bool yielded = false;
    while (urgent_work_waits(s) && !bulk_is_short(s) &&
           (run_one(s, LANE_INTERACTIVE) || run_step(s)))
        yielded = true;
    take_up(s, &a);
    if (yielded) {
        pthread_mutex_lock(&s->mutex);
        s->stats.yields++;
        pthread_mutex_unlock(&s->mutex);
    }
}

static enum err warm_up(struct scheduler *s, struct errmsg *msg) {
    for (size_t i = 0; i < s->options.model_count; i++) {
        if (s->options.models[i]->task == TASK_GENERATE)
            continue;
        enum err e = engine_warm_up(&s->engine, s->options.models[i], WARM_UP_TOKENS, msg);
        if (e)
            return e;
    }
    return generators_warm_up(&s->generators, msg);
}

// Waits until there is work; false when the thread must end.
static bool wait_for_work(struct scheduler *s) {
    pthread_mutex_lock(&s->mutex);
    while (!s->stopping && !s->lanes[LANE_INTERACTIVE].head && !s->lanes[LANE_BULK].head &&
           !generators_busy(&s->generators)) {
        int64_t now = clock_now_us();
        atomic_store(&s->heartbeat_us, now);
        thread_cond_wait_until(&s->wake, &s->mutex, now + HEARTBEAT_US);
    }
    bool go_on = !s->stopping;
    pthread_mutex_unlock(&s->mutex);
    return go_on;
}

static void *engine_thread(void *arg) {
    struct scheduler *s = arg;
    struct errmsg msg = {0};
    enum err err = warm_up(s, &msg);
    pthread_mutex_lock(&s->mutex);
    s->warm_err = err;
    s->warm_msg = msg;
    s->warmed = true;
    if (err)
        s->draining = true;
    pthread_cond_broadcast(&s->ready);
    pthread_mutex_unlock(&s->mutex);

    while (wait_for_work(s)) {
        s->lap_us = clock_now_us();
        atomic_store(&s->heartbeat_us, s->lap_us);
        pthread_mutex_lock(&s->mutex);
        s->bulk_waits = s->lanes[LANE_BULK].head != NULL;
        pthread_mutex_unlock(&s->mutex);
        if (s->bulk_waits && bulk_is_short(s) && run_one(s, LANE_BULK))
            continue;
        if (!run_one(s, LANE_INTERACTIVE) && !run_step(s))
            run_one(s, LANE_BULK);
    }

    generators_end(&s->generators, ERR_UNAVAILABLE, "the service is stopping");

    struct job_list list = {0};
    pthread_mutex_lock(&s->mutex);
    drop_all(s, &list);
    pthread_mutex_unlock(&s->mutex);
    job_list_call_done(&list);
    return NULL;
}

// ---- from other threads

void scheduler_free(struct scheduler *s) {
    if (!s)
        return;
    engine_free(&s->engine);
    generators_free(&s->generators);
    pthread_cond_destroy(&s->wake);
    pthread_cond_destroy(&s->ready);
    pthread_cond_destroy(&s->empty);
    pthread_mutex_destroy(&s->mutex);
    mem_free(s);
}

static void release_generation(void *ctx, size_t tokens) { scheduler_release(ctx, tokens); }

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
    enum err e = engine_init(&s->engine, options->device, options->models, options->model_count,
                             s->options.max_batch_tokens, msg);
    s->memory.workspaces = engine_workspace_bytes(&s->engine);
    if (!e)
        e = generators_init(&s->generators, &s->options, &s->memory, release_generation, s, msg);
    if (e) {
        engine_free(&s->engine);
        mem_free(s);
        return e;
    }
    s->stats.workspace_bytes =
        engine_workspace_bytes(&s->engine) + generators_workspace_bytes(&s->generators);
    atomic_store(&s->heartbeat_us, clock_now_us());
    pthread_mutex_init(&s->mutex, NULL);
    // conditions can fail by memory alone, and glibc's never do: one check serves the three
    if (thread_cond_init(&s->wake) || thread_cond_init(&s->ready) || thread_cond_init(&s->empty))
        e = err_set(msg, ERR_NOMEM, "no memory for the scheduler");
    // the engine thread drives the device: it gets a roomy stack for deep forwards
    struct thread_options t = {.name = "engine", .stack_bytes = (size_t)2 << 20};
    if (!e)
        e = thread_start(&s->thread, &t, engine_thread, s, msg);
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
    enum err e = ERR_OK;
    pthread_mutex_lock(&s->mutex);
    size_t limit = s->options.max_queue_tokens;
    if (s->draining)
        e = err_set(msg, ERR_UNAVAILABLE, "the service is draining");
    else if (s->held_tokens > 0 && (s->held_tokens >= limit || tokens > limit - s->held_tokens))
        e = err_set(msg, ERR_OVERLOADED, "the queue is full (%zu of %zu tokens); retry later",
                    s->held_tokens, limit);
    else
        s->held_tokens += tokens;
    if (e == ERR_OVERLOADED)
        s->stats.jobs_refused++;
    pthread_mutex_unlock(&s->mutex);
    return e;
}

void scheduler_release(struct scheduler *s, size_t tokens) {
    pthread_mutex_lock(&s->mutex);
    give_back(s, tokens);
    pthread_mutex_unlock(&s->mutex);
}

void scheduler_submit(struct scheduler *s, struct job *job) {
    size_t tokens = (size_t)job->cu_seqlens[job->seqs];
    struct job_list list = {0};
    job->taken = job->finished = 0;
    job->started_us = 0;
    job->err = ERR_OK;
    job->submitted_us = clock_now_us();
    pthread_mutex_lock(&s->mutex);
    s->held_tokens = s->held_tokens - job->reserved + tokens;
    job->reserved = tokens;
    if (s->stopping) {
        job->err = err_set(&job->msg, ERR_UNAVAILABLE, "the service is stopping");
        job_end(s, job, &list);
    } else if (job->seqs == 0) {
        job_end(s, job, &list);
    } else {
        job_list_push(&s->lanes[job->lane], job);
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
    pthread_mutex_lock(&s->mutex);
    pthread_cond_signal(&s->wake);
    pthread_mutex_unlock(&s->mutex);
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
    while (!ended && (s->held_tokens > 0 || generators_busy(&s->generators)) &&
           thread_cond_wait_until(&s->empty, &s->mutex, until))
        ;
    s->stopping = true;
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
    stats.queued_tokens = s->held_tokens;
    stats.queued_jobs =
        job_list_count(&s->lanes[LANE_INTERACTIVE]) + job_list_count(&s->lanes[LANE_BULK]);
    pthread_mutex_unlock(&s->mutex);
    generators_add_stats(&s->generators, &stats.generation);
    stats.heartbeat_us = atomic_load(&s->heartbeat_us);
    stats.busy_us = atomic_load(&s->busy_us);
    return stats;
}
