// See scheduler.h: what comes back from the replicas is handed out, or computed again; and what is
// queued or out is looked after, for those who do not wait any more.
#include "engine/scheduler_internal.h"

#include "base/clock.h"
#include "base/log.h"

#include <string.h>

static enum err say_late(struct job *job) {
    return err_set(&job->msg, ERR_DEADLINE, "the request's deadline passed while it waited");
}

// ---- rows

static bool row_is_finite(const float *row, size_t n) {
    float zero = 0;
    for (size_t i = 0; i < n; i++)
        zero += row[i] * 0.0f; // NaN once any is not finite
    return zero == 0.0f;
}

// Copies the rows to their jobs; those that are not finite are left out.
static void copy_rows(const struct encode_slot *slot) {
    for (size_t i = 0; i < slot->seqs; i++) {
        const struct encode_piece *p = &slot->pieces[i];
        size_t dim = p->job->model->dim;
        const float *row = slot->rows + i * dim;
        if (!p->job->err && row_is_finite(row, dim))
            memcpy(p->job->out + p->seq * dim, row, dim * sizeof *row);
    }
}

// What became of a piece, in its job. Mutex held.
static void note_piece(const struct batch_flight *f, struct encode_piece *p, const float *row) {
    struct job *job = p->job;
    const struct replica_work *w = &f->batch.work;
    int64_t began = atomic_load(&w->began_us);
    if (job->started_us == 0 && began)
        job->started_us = began;
    if (job->err)
        return;
    if ((w->err == ERR_CANCELLED || w->err == ERR_LOST) && f->s->stopping)
        job->err = err_set(&job->msg, ERR_UNAVAILABLE, "the service is stopping");
    else if (w->err == ERR_CANCELLED && !began && !atomic_load(&job->cancelled))
        job->err = say_late(job);
    else if (w->err == ERR_CANCELLED)
        job->err = err_set(&job->msg, ERR_CANCELLED, "the client is gone");
    else if (w->err)
        job->err = err_set(&job->msg, w->err, "%s", w->msg.text);
    else if (!row_is_finite(row, job->model->dim))
        job->err = err_set(&job->msg, ERR_NONFINITE, "model '%s' gave a result that is not finite",
                           job->model->name);
    else
        computed_add(&job->computed, replica_facts(f->replica)->name);
}

// One sequence of the job has come to its end. Mutex held.
static void finish_piece(struct scheduler *s, struct encode_piece *p, struct job_list *list) {
    struct job *job = p->job;
    size_t tokens = (size_t)(job->cu_seqlens[p->seq + 1] - job->cu_seqlens[p->seq]);
    scheduler_give_back(s, tokens, job->large);
    job->reserved -= tokens;
    job->finished++;
    if (job->finished == job->taken && !job->listed)
        scheduler_job_end(s, job, list);
}

// ---- again

struct still {
    struct scheduler *s;
    int64_t now;
    bool begun;
    bool waits; // for something to compute it: its deadline counts, whatever was computed before
    struct job_list *list;
};

// Whether somebody waits for the piece still; one for which nobody does ends here. Mutex held, as
// for all here.
static bool is_wanted(void *ctx, struct encode_piece *p) {
    struct still *c = ctx;
    struct job *job = p->job;
    bool late = (c->waits || (!c->begun && job->finished == 0)) && job_is_late(job, c->now);
    if (!job->err && atomic_load(&job->cancelled))
        job->err = err_set(&job->msg, ERR_CANCELLED, "the client is gone");
    else if (!job->err && late)
        job->err = say_late(job);
    if (!job->err)
        return true;
    finish_piece(c->s, p, c->list);
    return false;
}

// All that is left of the job is computed apart from here on.
static bool is_job(void *ctx, struct job *job) { return job == ctx; }

static void set_apart(struct scheduler *s, struct job *job) {
    struct job_list out = {0};
    lane_queue_sweep(&s->lanes[job->lane], is_job, job, &out);
    if (out.head)
        lane_queue_push(&s->apart, job);
}

// A life ended, or the quarantine, with this piece in hand.
static void note_death(struct batch_flight *f, struct job *job) {
    struct scheduler *s = f->s;
    if (f->site == &s->sites[SITE_SPARE] && s->options.spare_kind == SPARE_QUARANTINE) {
        if (!job->err)
            job->err = err_set(&job->msg, ERR_INTERNAL,
                               "the process that computes ended with this request in it, and a "
                               "second one that had nothing else did too");
        return;
    }
    if (job->died_in == f->life)
        return; // by another of its batches
    job->died_in = f->life;
    job->deaths++;
    if (job->deaths == DEATHS_MOST && !job->err)
        job->err = err_set(&job->msg, ERR_INTERNAL,
                           "the process that computes ended %d times with this request in it",
                           DEATHS_MOST);
    if (job->deaths == DEATHS_APART && job->listed && s->options.spare_kind != SPARE_NONE)
        set_apart(s, job);
}

static void fail_all(const struct encode_slot *slot, enum err e, const char *why) {
    for (size_t i = 0; i < slot->seqs; i++)
        if (!slot->pieces[i].job->err)
            slot->pieces[i].job->err = err_set(&slot->pieces[i].job->msg, e, "%s", why);
}

enum { LONE_TRIES = 3 }; // of a quarantine that does not come up

// What the loss means for those whose batch it was.
static void note_loss(struct batch_flight *f) {
    struct scheduler *s = f->s;
    bool lone = f == &s->lone;
    if (f->batch.work.exposed)
        for (size_t i = 0; i < f->slot->seqs; i++)
            note_death(f, f->slot->pieces[i].job);
    else if (lone && f->site == &s->sites[SITE_SPARE] && ++s->lone_refused == LONE_TRIES)
        fail_all(f->slot, ERR_UNAVAILABLE,
                 "the process that this request was to be computed in does not start; retry later");
    else
        return;
    if (lone)
        s->lone_refused = 0;
}

// One that was lost, or taken back from a replica that is left or for the sake of some of its jobs,
// is computed again without those that are over. False: that is not so.
static bool goes_again(struct batch_flight *f, struct job_list *list) {
    struct scheduler *s = f->s;
    const struct replica_work *w = &f->batch.work;
    bool lost = w->err == ERR_LOST, left = w->err && f->replica != f->site->replica;
    bool apart = f == &s->lone || (lost && w->exposed);
    if (s->stopping || (!lost && !left && w->err != ERR_CANCELLED))
        return false;
    struct still c = {.s = s,
                      .now = clock_now_us(),
                      .begun = !lost && atomic_load(&f->batch.work.began_us) != 0,
                      .waits = lost && apart,
                      .list = list};
    if (lost)
        note_loss(f);
    encode_slot_filter(f->slot, is_wanted, &c);
    if (f->slot->seqs == 0)
        return false;
    if (apart) {
        if (suspects_add(&s->suspects, f->slot)) {
            fail_all(f->slot, ERR_NOMEM, "no memory to compute the request again");
            encode_slot_filter(f->slot, is_wanted, &c);
        }
        scheduler_release_flight(f);
        return true;
    }
    f->lost = lost;
    f->state = FLIGHT_WAITS;
    f->replica = NULL;
    s->waiting++;
    return true;
}

// ---- and back

static void count_end(struct scheduler *s, const struct batch_flight *f) {
    const struct replica_work *w = &f->batch.work;
    size_t tokens = f->batch.tokens.tokens;
    if (w->err == ERR_CANCELLED)
        s->stats.forwards_ended += atomic_load(&w->began_us) != 0;
    else if (w->err != ERR_LOST)
        log_event(LOG_LEVEL_ERROR, "batch_failed",
                  LOG_FIELDS(log_size("tokens", tokens), log_string("error", w->msg.text)),
                  "a batch of %zu tokens failed: %s", tokens, w->msg.text);
}

static void deliver(struct scheduler *s, struct batch_flight *f) {
    struct encode_slot *slot = f->slot;
    const struct replica_work *w = &f->batch.work;
    struct job_list list = {0};
    if (!w->err)
        copy_rows(slot);
    pthread_mutex_lock(&s->mutex);
    s->lost -= w->err == ERR_LOST;
    if (!goes_again(f, &list)) {
        if (w->err)
            count_end(s, f);
        for (size_t i = 0; i < slot->seqs; i++) {
            struct encode_piece *p = &slot->pieces[i];
            note_piece(f, p, slot->rows + i * p->job->model->dim);
            finish_piece(s, p, &list);
        }
        if (w->err != ERR_LOST) {
            s->stats.batches++;
            s->stats.sequences += slot->seqs;
            s->stats.tokens += slot->tokens;
            f->site->tokens += slot->tokens;
            s->lone_refused = f == &s->lone ? 0 : s->lone_refused;
        }
        scheduler_release_flight(f);
    }
    scheduler_pump(s);
    pthread_cond_broadcast(&s->ready); // one may wait until a replica has no work
    pthread_mutex_unlock(&s->mutex);
    job_list_call_done(&list);
}

void scheduler_deliver(struct scheduler *s) {
    for (;;) {
        pthread_mutex_lock(&s->mutex);
        struct batch_flight *f = s->back;
        if (f && !(s->back = f->next))
            s->back_tail = &s->back;
        pthread_mutex_unlock(&s->mutex);
        if (!f)
            return;
        deliver(s, f);
    }
}

// ---- looking after them

enum {
    SWEEP_US = 5000,          // how often all that is queued and in flight is looked over
    SWEEP_REST = 20,          // a long look is followed by a rest of so many: it holds up others,
    SWEEP_LONGEST_US = 100000 // but of no more than this: who is late or gone is to be seen
};

static int64_t rest_after(int64_t took_us) {
    int64_t rest = took_us * SWEEP_REST;
    return rest < SWEEP_US ? SWEEP_US : rest < SWEEP_LONGEST_US ? rest : SWEEP_LONGEST_US;
}

struct sweep {
    struct scheduler *s;
    int64_t now;
    bool waits;    // for something to compute what is queued
    bool unserved; // nothing will
};

// Whether a queued job needs no computing any more: gone, late, or failed in a batch. Only the
// scheduler's thread says so in the job.
static bool is_over(void *ctx, struct job *job) {
    const struct sweep *w = ctx;
    if (job->err)
        return true;
    if (atomic_load(&job->cancelled))
        job->err = err_set(&job->msg, ERR_CANCELLED, "the client is gone");
    else if ((job->taken == 0 || w->waits) && job_is_late(job, w->now))
        job->err = say_late(job);
    else if (w->unserved)
        job->err = scheduler_say_unserved(&job->msg);
    return job->err != ERR_OK;
}

static bool is_any(void *ctx, struct job *job) {
    (void)ctx;
    if (!job->err)
        job->err = err_set(&job->msg, ERR_UNAVAILABLE, "the service is stopping");
    return true;
}

// Takes jobs out of a lane; their rows in flight, if any, end them later. Mutex held.
static void sweep_queue(struct sweep *w, struct lane_queue *queue,
                        bool (*over)(void *ctx, struct job *job), struct job_list *list) {
    struct job_list out = {0};
    lane_queue_sweep(queue, over, w, &out);
    for (struct job *job = out.head, *next; job; job = next) {
        next = job->next;
        job->listed = false;
        if (job->taken == job->finished)
            scheduler_job_end(w->s, job, list);
    }
}

static void sweep_queues(struct sweep *w, bool (*over)(void *ctx, struct job *job),
                         struct job_list *list) {
    for (int lane = 0; lane < LANE_COUNT; lane++)
        sweep_queue(w, &w->s->lanes[lane], over, list);
    if (lane_queue_count(&w->s->apart) > 0)
        sweep_queue(w, &w->s->apart, over, list);
}

// Of what waits to be computed again, what is over. Mutex held.
static void sweep_lost(struct sweep *w, struct job_list *list) {
    struct scheduler *s = w->s;
    struct still c = {.s = s, .now = w->now, .waits = true, .list = list};
    if (s->suspects.count > 0)
        suspects_filter(&s->suspects, is_wanted, &c);
    for (size_t i = 0; s->waiting > 0 && i < scheduler_flight_count(); i++) {
        struct batch_flight *f = scheduler_flight(s, i);
        if (f->state != FLIGHT_WAITS)
            continue;
        struct errmsg why = {0};
        if (w->unserved)
            fail_all(f->slot, scheduler_say_unserved(&why), why.text);
        c.waits = w->waits;
        encode_slot_filter(f->slot, is_wanted, &c);
        if (f->slot->seqs > 0)
            continue;
        s->waiting--;
        scheduler_release_flight(f);
    }
}

// Whether the flight is to come back: nobody waits for it, or for one that is not begun some do not
// any more, who are not to wait for the others' end. Mutex held.
static bool is_to_end(const struct batch_flight *f, int64_t now) {
    bool begun = atomic_load(&f->batch.work.began_us) != 0;
    size_t over = 0;
    for (size_t i = 0; i < f->slot->seqs; i++) {
        const struct job *job = f->slot->pieces[i].job;
        over +=
            atomic_load(&job->cancelled) || (!begun && job->finished == 0 && job_is_late(job, now));
    }
    return begun ? over == f->slot->seqs : over > 0;
}

void scheduler_sweep(struct scheduler *s) {
    struct job_list list = {0};
    struct sweep w = {.s = s};
    pthread_mutex_lock(&s->mutex);
    w.now = clock_now_us();
    w.waits = scheduler_where(s) == NULL;
    w.unserved = scheduler_is_unserved(s);
    sweep_lost(&w, &list);
    sweep_queues(&w, is_over, &list);
    for (size_t i = 0; i < scheduler_flight_count(); i++) {
        struct batch_flight *f = scheduler_flight(s, i);
        if (f->state != FLIGHT_OUT || f->told || !is_to_end(f, w.now))
            continue;
        f->told = true;
        s->stats.ends_asked++;
        replica_cancel(f->replica, &f->batch.work);
    }
    int64_t end = clock_now_us();
    s->sweep_at_us = end + rest_after(end - w.now);
    scheduler_pump(s); // what is gone may have stood before others
    pthread_mutex_unlock(&s->mutex);
    job_list_call_done(&list);
}

void scheduler_sweep_all(struct scheduler *s) {
    struct job_list list = {0};
    struct sweep w = {.s = s, .now = clock_now_us()};
    pthread_mutex_lock(&s->mutex);
    struct encode_slot of_suspects = {.pieces = s->suspects.pieces, .seqs = s->suspects.count};
    fail_all(&of_suspects, ERR_UNAVAILABLE, "the service is stopping");
    for (size_t i = 0; i < scheduler_flight_count(); i++)
        if (scheduler_flight(s, i)->state == FLIGHT_WAITS)
            fail_all(scheduler_flight(s, i)->slot, ERR_UNAVAILABLE, "the service is stopping");
    sweep_lost(&w, &list);
    sweep_queues(&w, is_any, &list);
    pthread_mutex_unlock(&s->mutex);
    job_list_call_done(&list);
}
