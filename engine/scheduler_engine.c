// See scheduler.h: the engine thread. It cuts batches from the lanes and has the generators compute
// their steps, in the order that shares.h gives. Every forward calls back at its pause points.
// There the time is booked, and what is more urgent, or due, is computed in the middle of it:
// interactive batches, which run to their end in a slot of their own, and steps, in their own
// workspaces (so bulk is set aside for both, a step for interactive batches, and a step of prompts
// alone for another model's decoding). So urgent work waits for a fraction of a layer, and nothing
// is ever computed twice. There, too, a forward ends that nobody waits for.
#include "engine/scheduler_internal.h"

#include "base/clock.h"
#include "base/crash.h"
#include "base/log.h"
#include "base/thread.h"

#include <string.h>

enum {
    WARM_UP_TOKENS = 64,
    SWEEP_US = 5000,       // how often queued jobs are looked over for gone or late ones
    HEARTBEAT_US = 500000, // an idle engine thread shows its life this often
    TEND_US = 20000,       // what waits for masks alone is looked over for gone ones this often
};

// ---- jobs

// Whether a queued job needs no computing any more: gone, late, or failed in a batch.
static bool is_over(void *ctx, struct job *job) {
    int64_t now = *(const int64_t *)ctx;
    if (job->err)
        return true;
    if (atomic_load(&job->cancelled))
        job->err = err_set(&job->msg, ERR_CANCELLED, "the client is gone");
    else if (job->deadline_us && now > job->deadline_us && job->taken == 0)
        job->err =
            err_set(&job->msg, ERR_DEADLINE, "the request's deadline passed while it waited");
    return job->err != ERR_OK;
}

static bool is_any(void *ctx, struct job *job) {
    (void)ctx;
    if (!job->err)
        job->err = err_set(&job->msg, ERR_UNAVAILABLE, "the service is stopping");
    return true;
}

// Takes jobs out of a lane; their rows in flight, if any, end them later. Mutex held.
static void sweep(struct scheduler *s, enum lane lane, bool (*over)(void *ctx, struct job *job),
                  int64_t now, struct job_list *list) {
    struct job_list out = {0};
    lane_queue_sweep(&s->lanes[lane], over, &now, &out);
    for (struct job *job = out.head, *next; job; job = next) {
        next = job->next;
        job->listed = false;
        if (job->taken == job->finished)
            scheduler_job_end(s, job, list);
    }
}

// Fills the lane's slot from its jobs in turn: all of one model and normalisation. A bulk job that
// gave some of its texts and has more goes to the end of its owner's, so that requests take turns.
// Mutex held. False: nothing to compute.
static bool cut_batch(struct scheduler *s, enum lane lane, int64_t now) {
    struct encode_slot *slot = &s->slots.items[lane];
    struct lane_queue *queue = &s->lanes[lane];
    encode_slot_clear(slot);
    lane_queue_begin(queue);
    bool full = false;
    for (struct job *job; !full && (job = lane_queue_next(queue));) {
        size_t taken = job->taken, tokens = slot->tokens;
        while (job->taken < job->seqs && encode_slot_add(&s->slots, slot, job, job->taken))
            job->taken++;
        if (job->taken > taken && job->started_us == 0)
            job->started_us = now;
        full = job->taken < job->seqs;
        enum lane_after after = LANE_LEAVES;
        if (full)
            after = lane == LANE_BULK && job->taken > taken ? LANE_TO_END : LANE_STAYS;
        else
            job->listed = false;
        lane_queue_took(queue, job, slot->tokens - tokens, after);
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
static void deliver_row(const struct encode_piece *piece, const float *row, enum err err,
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
    struct encode_slot *slot = &s->slots.items[lane];
    struct job_list list = {0};
    for (size_t i = 0; i < slot->seqs; i++)
        deliver_row(&slot->pieces[i], slot->rows + i * slot->pieces[i].job->model->dim, err, msg);
    pthread_mutex_lock(&s->mutex);
    for (size_t i = 0; i < slot->seqs; i++) {
        struct job *job = slot->pieces[i].job;
        size_t seq = slot->pieces[i].seq;
        size_t tokens = (size_t)(job->cu_seqlens[seq + 1] - job->cu_seqlens[seq]);
        scheduler_give_back(s, tokens, job->large);
        job->reserved -= tokens;
        job->finished++;
        if (job->finished == job->taken && !job->listed)
            scheduler_job_end(s, job, &list);
    }
    s->stats.batches++;
    s->stats.sequences += slot->seqs;
    s->stats.tokens += slot->tokens;
    pthread_mutex_unlock(&s->mutex);
    job_list_call_done(&list);
}

// ---- what computes

// A forward of the engine thread, while it computes or is set aside.
struct forward {
    struct scheduler *s;
    enum share share;            // of a step: DECODE where it has any decoding
    enum lane lane;              // LANE_COUNT: a step
    struct generator *generator; // of a step
};

// Who has work that is not under way.
static unsigned ready_shares(struct scheduler *s) {
    unsigned waiting = generators_ready(&s->generators);
    if (lane_queue_count(&s->lanes[LANE_INTERACTIVE]) > 0)
        waiting |= SHARE_BIT(SHARE_INTERACTIVE);
    if (lane_queue_count(&s->lanes[LANE_BULK]) > 0)
        waiting |= SHARE_BIT(SHARE_BULK);
    return waiting;
}

static unsigned step_shares(const struct generator *g) {
    double prompts = generator_prompt_part(g);
    return (prompts > 0 ? SHARE_BIT(SHARE_PREFILL) : 0) |
           (prompts < 1 ? SHARE_BIT(SHARE_DECODE) : 0);
}

static void book(struct scheduler *s, enum share share, unsigned waiting, int64_t us) {
    shares_book(&s->shares, share, waiting, us);
    atomic_fetch_add(&s->used_us[share], us);
}

// Books the time since the last lap to the forward that had the device.
static void lap(struct forward *f) {
    struct scheduler *s = f->s;
    int64_t now = clock_now_us(), us = now - s->lap_us;
    unsigned waiting = ready_shares(s) | s->under_way;
    s->lap_us = now;
    atomic_store(&s->heartbeat_us, now);
    if (f->lane < LANE_COUNT) {
        book(s, f->share, waiting, us);
        return;
    }
    double prompts = generator_prompt_part(f->generator);
    int64_t prefill = (int64_t)((double)us * prompts);
    f->share = prompts < 1 ? SHARE_DECODE : SHARE_PREFILL;
    s->under_way |= step_shares(f->generator);
    waiting |= s->under_way;
    if (prefill > 0)
        book(s, SHARE_PREFILL, waiting, prefill);
    if (us > prefill)
        book(s, SHARE_DECODE, waiting, us - prefill);
}

static bool run(struct scheduler *s, enum share share);

static bool nobody_waits(const struct forward *f) {
    if (f->lane == LANE_COUNT)
        return generator_is_gone(f->generator);
    const struct encode_slot *slot = &f->s->slots.items[f->lane];
    for (size_t i = 0; i < slot->seqs; i++)
        if (!atomic_load(&slot->pieces[i].job->cancelled))
            return false;
    return true;
}

// Records why a forward ends here; false where it goes on.
static bool must_end(const struct forward *f) {
    struct device *d = f->s->slots.device;
    if (atomic_load(&f->s->end_now))
        device_fail(d, ERR_UNAVAILABLE, "the service is stopping");
    else if (nobody_waits(f))
        device_fail(d, ERR_CANCELLED, "the client is gone");
    else
        return false;
    return true;
}

// What may be computed in the middle of it.
static unsigned may_pass(const struct forward *f) {
    if (f->lane == LANE_INTERACTIVE)
        return 0;
    unsigned urgent = SHARE_BIT(SHARE_INTERACTIVE);
    if (f->lane == LANE_BULK)
        return urgent | SHARE_BIT(SHARE_DECODE) | SHARE_BIT(SHARE_PREFILL);
    return f->share == SHARE_PREFILL ? urgent | SHARE_BIT(SHARE_DECODE) : urgent;
}

// Computes what goes before `f`, if anything does. True: something did.
static bool let_pass(struct forward *f) {
    struct scheduler *s = f->s;
    bool any = false;
    for (;;) {
        unsigned waiting = ready_shares(s) & may_pass(f);
        if (!waiting)
            return any;
        enum share next = shares_next(&s->shares, waiting | SHARE_BIT(f->share));
        if (next == f->share || !run(s, next))
            return any;
        any = true;
    }
}

// The pause of every forward.
static bool pause_forward(void *ctx) {
    struct forward *f = ctx;
    struct scheduler *s = f->s;
    lap(f);
    if (must_end(f))
        return false;
    if (!(ready_shares(s) & may_pass(f)))
        return true;
    // what runs inside syncs the device: what this one has recorded is kept out
    struct errmsg held;
    enum err failed = device_sync(s->slots.device, &held);
    bool yielded = let_pass(f);
    if (failed)
        device_fail(s->slots.device, failed, "%s", held.text);
    if (yielded) {
        pthread_mutex_lock(&s->mutex);
        s->stats.yields++;
        pthread_mutex_unlock(&s->mutex);
    }
    return !must_end(f);
}

static void count_end(struct scheduler *s, size_t tokens, enum err err, const char *why) {
    if (err != ERR_CANCELLED && err != ERR_UNAVAILABLE) {
        log_event(LOG_LEVEL_ERROR, "batch_failed",
                  LOG_FIELDS(log_size("tokens", tokens), log_string("error", why)),
                  "a batch of %zu tokens failed: %s", tokens, why);
        return;
    }
    log_debug("a batch of %zu tokens was ended: %s", tokens, why);
    pthread_mutex_lock(&s->mutex);
    s->stats.forwards_ended++;
    pthread_mutex_unlock(&s->mutex);
}

// For a crash's report. Returns what goes to crash_work_back_to.
static unsigned note_requests(const struct encode_slot *slot) {
    unsigned before = crash_work_on(slot->pieces[0].job->request_id);
    for (size_t i = 1; i < slot->seqs; i++)
        if (slot->pieces[i].job != slot->pieces[i - 1].job)
            crash_work_on(slot->pieces[i].job->request_id);
    return before;
}

// Cuts one batch from the lane, runs and delivers it. False: there was none.
static bool run_batch(struct scheduler *s, enum lane lane, enum share share) {
    struct job_list list = {0};
    int64_t now = clock_now_us();
    pthread_mutex_lock(&s->mutex);
    sweep(s, lane, is_over, now, &list);
    if (now - s->swept_us > SWEEP_US) { // the other lane may not get its turn soon
        s->swept_us = now;
        sweep(s, lane == LANE_BULK ? LANE_INTERACTIVE : LANE_BULK, is_over, now, &list);
    }
    bool any = cut_batch(s, lane, now), dropped = list.head != NULL;
    pthread_mutex_unlock(&s->mutex);
    job_list_call_done(&list);
    if (!any)
        return dropped;
    struct forward f = {.s = s, .share = share, .lane = lane};
    struct forward_hooks hooks = {.pause = pause_forward, .ctx = &f};
    struct errmsg msg = {0};
    s->under_way |= SHARE_BIT(share);
    unsigned before = note_requests(&s->slots.items[lane]);
    enum err err = encode_slot_run(&s->slots, &s->slots.items[lane], &hooks, &msg);
    if (err)
        count_end(s, s->slots.items[lane].tokens, err, msg.text);
    deliver(s, lane, err, &msg);
    crash_work_back_to(before);
    lap(&f); // handing many short results over is no small part of their cost
    s->under_way &= ~SHARE_BIT(share);
    return true;
}

static void say_if_idle(struct scheduler *s) {
    if (generators_busy(&s->generators))
        return;
    pthread_mutex_lock(&s->mutex); // scheduler_end may wait for that
    scheduler_give_back(s, 0, false);
    pthread_mutex_unlock(&s->mutex);
}

// Ends the generations that are over and wait for masks alone.
static void tend(struct scheduler *s) {
    if (!generators_busy(&s->generators))
        return;
    generators_tend(&s->generators);
    say_if_idle(s);
}

// One step of a generator that has such work. False: there was none to compute.
static bool run_step(struct scheduler *s, enum share share) {
    unsigned before = s->under_way;
    bool any = false;
    for (size_t i = 0; i < s->generators.count && !any; i++) {
        struct generator *g = generators_next(&s->generators, SHARE_BIT(share));
        if (!g)
            break;
        struct forward f = {.s = s, .share = share, .lane = LANE_COUNT, .generator = g};
        struct forward_hooks hooks = {.pause = pause_forward, .ctx = &f};
        any = generator_step(g, &hooks);
        lap(&f);
        s->under_way = before;
        if (!(step_shares(g) & SHARE_BIT(share))) // it had been due for what was not there
            shares_waive(&s->shares, share);
    }
    say_if_idle(s);
    return any;
}

static bool run(struct scheduler *s, enum share share) {
    switch (share) {
    case SHARE_INTERACTIVE:
        return run_batch(s, LANE_INTERACTIVE, share);
    case SHARE_BULK:
        return run_batch(s, LANE_BULK, share);
    default:
        return run_step(s, share);
    }
}

// ---- the thread

static bool pause_warm_up(void *ctx) {
    struct scheduler *s = ctx;
    atomic_store(&s->heartbeat_us, clock_now_us());
    if (!atomic_load(&s->end_now))
        return true;
    device_fail(s->slots.device, ERR_UNAVAILABLE, "the service is stopping");
    return false;
}

static enum err warm_up(struct scheduler *s, struct errmsg *msg) {
    struct forward_hooks hooks = {.pause = pause_warm_up, .ctx = s};
    for (size_t i = 0; i < s->options.model_count; i++) {
        if (s->options.models[i]->task == TASK_GENERATE)
            continue;
        enum err e =
            encode_slots_warm_up(&s->slots, s->options.models[i], WARM_UP_TOKENS, &hooks, msg);
        if (e)
            return e;
    }
    return generators_warm_up(&s->generators, &hooks, msg);
}

// Waits until there is work; false when the thread must end.
static bool wait_for_work(struct scheduler *s) {
    pthread_mutex_lock(&s->mutex);
    while (!s->stopping && !ready_shares(s)) {
        bool waits = generators_busy(&s->generators); // for masks
        int64_t now = clock_now_us();
        shares_forget(&s->shares);
        atomic_store(&s->heartbeat_us, now);
        thread_cond_wait_until(&s->wake, &s->mutex, now + (waits ? TEND_US : HEARTBEAT_US));
        if (!waits)
            continue;
        pthread_mutex_unlock(&s->mutex);
        tend(s);
        pthread_mutex_lock(&s->mutex);
    }
    bool go_on = !s->stopping;
    pthread_mutex_unlock(&s->mutex);
    return go_on;
}

static void run_next(struct scheduler *s) {
    tend(s);
    unsigned waiting = ready_shares(s);
    enum share next;
    s->lap_us = clock_now_us();
    atomic_store(&s->heartbeat_us, s->lap_us);
    while ((next = shares_next(&s->shares, waiting)) < SHARE_COUNT && !run(s, next))
        waiting &= ~SHARE_BIT(next); // all of it was gone, or waits for something else
}

void *scheduler_engine_thread(void *scheduler) {
    struct scheduler *s = scheduler;
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

    while (wait_for_work(s))
        run_next(s);

    generators_end(&s->generators, ERR_UNAVAILABLE, "the service is stopping");

    struct job_list list = {0};
    pthread_mutex_lock(&s->mutex);
    for (int lane = 0; lane < LANE_COUNT; lane++)
        sweep(s, (enum lane)lane, is_any, 0, &list);
    pthread_mutex_unlock(&s->mutex);
    job_list_call_done(&list);
    return NULL;
}
