// See scheduler.h: from the lanes to the replica and back. A batch is cut as late as it can be:
// when the replica has none of its lane. That is where a job comes to an empty lane, on its
// submitter's thread, or where the batch before it is done, on the replica's: so neither the device
// nor the job waits for the scheduler's thread, which hands the rows out.
#include "engine/scheduler_internal.h"

#include "base/clock.h"
#include "base/log.h"

#include <string.h>

// ---- jobs that are over

static bool is_late(const struct job *job, int64_t now) {
    return job->deadline_us && now > job->deadline_us;
}

// Whether a queued job needs no computing any more: gone, late, or failed in a batch. Only the
// scheduler's thread says so in the job.
static bool is_over(void *ctx, struct job *job) {
    int64_t now = *(const int64_t *)ctx;
    if (job->err)
        return true;
    if (atomic_load(&job->cancelled))
        job->err = err_set(&job->msg, ERR_CANCELLED, "the client is gone");
    else if (job->taken == 0 && is_late(job, now))
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

// ---- to the replica

// Fills a slot from the lane's jobs in turn: all of one model and normalisation. A bulk job that
// gave some of its texts and has more goes to the end of its owner's, so that requests take turns.
// Mutex held. False: nothing to compute.
static bool cut(struct scheduler *s, enum lane lane, struct encode_slot *slot) {
    struct lane_queue *queue = &s->lanes[lane];
    int64_t now = clock_now_us();
    encode_slot_clear(slot);
    lane_queue_begin(queue);
    bool full = false;
    for (struct job *job; !full && (job = lane_queue_next(queue));) {
        size_t taken = job->taken, tokens = slot->tokens;
        if (job->err || atomic_load(&job->cancelled) || (taken == 0 && is_late(job, now))) {
            lane_queue_took(queue, job, 0, LANE_STAYS);
            s->swept_us = 0; // it is to go soon
            scheduler_kick(s);
            continue;
        }
        while (job->taken < job->seqs && encode_slot_add(slot, job, job->taken))
            job->taken++;
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

static void on_done(struct replica_work *work);

// Mutex held.
static void send(struct batch_flight *f) {
    const struct encode_slot *slot = f->slot;
    encode_slot_fill(f->slot, &f->batch);
    f->batch.work.request_count = 0;
    for (size_t i = 0; i < slot->seqs && f->batch.work.request_count < CRASH_IDS; i++)
        if (i == 0 || slot->pieces[i].job != slot->pieces[i - 1].job)
            replica_name_request(&f->batch.work, slot->pieces[i].job->request_id);
    f->batch.work.share = f->lane == LANE_BULK ? SHARE_BULK : SHARE_INTERACTIVE;
    f->batch.work.done = on_done;
    f->batch.work.ctx = f;
    f->state = FLIGHT_OUT;
    f->told = false;
    f->replica = f->s->sites[SITE_MAIN].replica;
    replica_encode(f->replica, &f->batch);
}

// A flight for the lane's next batch; NULL: one is out, or the rows of all are being handed out.
static struct batch_flight *free_flight(struct scheduler *s, enum lane lane) {
    struct batch_flight *is_free = NULL;
    for (int i = 0; i < LANE_FLIGHTS; i++) {
        struct batch_flight *f = &s->flights[lane][i];
        if (f->state == FLIGHT_OUT)
            return NULL;
        if (f->state == FLIGHT_FREE)
            is_free = f;
    }
    return is_free;
}

void scheduler_pump(struct scheduler *s) {
    if (s->stopping || !s->warmed)
        return;
    for (int lane = 0; lane < LANE_COUNT; lane++) {
        if (lane_queue_count(&s->lanes[lane]) == 0)
            continue;
        struct batch_flight *f = free_flight(s, (enum lane)lane);
        if (f && cut(s, (enum lane)lane, f->slot))
            send(f);
    }
}

// On the replica's thread.
static void on_done(struct replica_work *work) {
    struct batch_flight *f = work->ctx;
    struct scheduler *s = f->s;
    pthread_mutex_lock(&s->mutex);
    f->state = FLIGHT_BACK;
    f->next = NULL;
    *s->back_tail = f;
    s->back_tail = &f->next;
    scheduler_pump(s);
    scheduler_kick(s);
    pthread_mutex_unlock(&s->mutex);
}

// ---- and back

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
    if (w->err == ERR_CANCELLED && f->s->stopping)
        job->err = err_set(&job->msg, ERR_UNAVAILABLE, "the service is stopping");
    else if (w->err == ERR_CANCELLED && !began && !atomic_load(&job->cancelled))
        job->err =
            err_set(&job->msg, ERR_DEADLINE, "the request's deadline passed while it waited");
    else if (w->err == ERR_CANCELLED)
        job->err = err_set(&job->msg, ERR_CANCELLED, "the client is gone");
    else if (w->err)
        job->err = err_set(&job->msg, w->err, "%s", w->msg.text);
    else if (!row_is_finite(row, job->model->dim))
        job->err = err_set(&job->msg, ERR_NONFINITE, "model '%s' gave a result that is not finite",
                           job->model->name);
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

struct still {
    struct scheduler *s;
    int64_t now;
    bool begun;
    struct job_list *list;
};

// Whether somebody waits for the piece still; one for which nobody does ends here.
static bool is_wanted(void *ctx, struct encode_piece *p) {
    struct still *c = ctx;
    struct job *job = p->job;
    bool late = !c->begun && job->finished == 0 && is_late(job, c->now);
    if (!job->err && atomic_load(&job->cancelled))
        job->err = err_set(&job->msg, ERR_CANCELLED, "the client is gone");
    else if (!job->err && late)
        job->err =
            err_set(&job->msg, ERR_DEADLINE, "the request's deadline passed while it waited");
    if (!job->err)
        return true;
    finish_piece(c->s, p, c->list);
    return false;
}

// One that was taken back, from a replica that is left or for the sake of some of its jobs, goes
// out again without those that are over. Mutex held. False: that is not so.
static bool goes_again(struct batch_flight *f, struct job_list *list) {
    struct scheduler *s = f->s;
    bool left = f->batch.work.err && f->replica != s->sites[SITE_MAIN].replica;
    if (s->stopping || (!left && f->batch.work.err != ERR_CANCELLED))
        return false;
    struct still c = {.s = s,
                      .now = clock_now_us(),
                      .begun = atomic_load(&f->batch.work.began_us) != 0,
                      .list = list};
    encode_slot_filter(f->slot, is_wanted, &c);
    if (f->slot->seqs == 0)
        return false;
    send(f);
    return true;
}

static void count_end(struct scheduler *s, const struct batch_flight *f) {
    const struct replica_work *w = &f->batch.work;
    size_t tokens = f->batch.tokens.tokens;
    if (w->err != ERR_CANCELLED)
        log_event(LOG_LEVEL_ERROR, "batch_failed",
                  LOG_FIELDS(log_size("tokens", tokens), log_string("error", w->msg.text)),
                  "a batch of %zu tokens failed: %s", tokens, w->msg.text);
    else if (atomic_load(&w->began_us))
        s->stats.forwards_ended++;
}

static void release_flight(struct batch_flight *f) {
    if (f->heir) {
        encode_slot_free(f->slot);
        f->slot = f->heir;
        f->heir = NULL;
    }
    f->state = FLIGHT_FREE;
}

static void deliver(struct scheduler *s, struct batch_flight *f) {
    struct encode_slot *slot = f->slot;
    struct job_list list = {0};
    if (!f->batch.work.err)
        copy_rows(slot);
    pthread_mutex_lock(&s->mutex);
    bool again = goes_again(f, &list);
    if (!again) {
        if (f->batch.work.err)
            count_end(s, f);
        for (size_t i = 0; i < slot->seqs; i++) {
            struct encode_piece *p = &slot->pieces[i];
            note_piece(f, p, slot->rows + i * p->job->model->dim);
            finish_piece(s, p, &list);
        }
        s->stats.batches++;
        s->stats.sequences += slot->seqs;
        s->stats.tokens += slot->tokens;
        release_flight(f);
        scheduler_pump(s);
    }
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

// Whether the flight is to come back: nobody waits for it, or for one that is not begun some do not
// any more, who are not to wait for the others' end. Mutex held.
static bool is_to_end(const struct batch_flight *f, int64_t now) {
    bool begun = atomic_load(&f->batch.work.began_us) != 0;
    size_t over = 0;
    for (size_t i = 0; i < f->slot->seqs; i++) {
        const struct job *job = f->slot->pieces[i].job;
        over += atomic_load(&job->cancelled) || (!begun && job->finished == 0 && is_late(job, now));
    }
    return begun ? over == f->slot->seqs : over > 0;
}

void scheduler_sweep(struct scheduler *s) {
    struct job_list list = {0};
    int64_t now = clock_now_us();
    pthread_mutex_lock(&s->mutex);
    s->swept_us = now;
    for (int lane = 0; lane < LANE_COUNT; lane++) {
        sweep(s, (enum lane)lane, is_over, now, &list);
        for (int i = 0; i < LANE_FLIGHTS; i++) {
            struct batch_flight *f = &s->flights[lane][i];
            if (f->state != FLIGHT_OUT || f->told || !is_to_end(f, now))
                continue;
            f->told = true;
            s->stats.ends_asked++;
            replica_cancel(f->replica, &f->batch.work);
        }
    }
    scheduler_pump(s); // what is gone may have stood before others
    pthread_mutex_unlock(&s->mutex);
    job_list_call_done(&list);
}

void scheduler_sweep_all(struct scheduler *s) {
    struct job_list list = {0};
    pthread_mutex_lock(&s->mutex);
    for (int lane = 0; lane < LANE_COUNT; lane++)
        sweep(s, (enum lane)lane, is_any, 0, &list);
    pthread_mutex_unlock(&s->mutex);
    job_list_call_done(&list);
}

void scheduler_call_back_flights(struct scheduler *s) {
    for (int lane = 0; lane < LANE_COUNT; lane++)
        for (int i = 0; i < LANE_FLIGHTS; i++) {
            struct batch_flight *f = &s->flights[lane][i];
            if (f->state != FLIGHT_OUT || f->told ||
                (!s->stopping && f->replica == s->sites[SITE_MAIN].replica))
                continue;
            f->told = true;
            s->stats.moved += !s->stopping;
            replica_cancel(f->replica, &f->batch.work);
        }
}

bool scheduler_has_flights_on(const struct scheduler *s, const struct replica *r) {
    for (int lane = 0; lane < LANE_COUNT; lane++)
        for (int i = 0; i < LANE_FLIGHTS; i++)
            if (s->flights[lane][i].state != FLIGHT_FREE && s->flights[lane][i].replica == r)
                return true;
    return false;
}

bool scheduler_has_flights(const struct scheduler *s) {
    for (int lane = 0; lane < LANE_COUNT; lane++)
        for (int i = 0; i < LANE_FLIGHTS; i++)
            if (s->flights[lane][i].state != FLIGHT_FREE)
                return true;
    return false;
}

// ---- their memory

enum err scheduler_make_room(struct scheduler *s, const struct encode_room *room) {
    struct encode_slot *made[LANE_COUNT][LANE_FLIGHTS] = {0};
    size_t most[LANE_COUNT];
    bool ok = true;
    most[LANE_BULK] = s->options.max_batch_tokens;
    most[LANE_INTERACTIVE] =
        most[LANE_BULK] < INTERACTIVE_TOKENS ? most[LANE_BULK] : INTERACTIVE_TOKENS;
    for (int lane = 0; lane < LANE_COUNT; lane++)
        for (int i = 0; i < LANE_FLIGHTS; i++)
            ok = ok && (made[lane][i] = encode_slot_new(room, most[lane]));
    pthread_mutex_lock(&s->mutex);
    for (int lane = 0; lane < LANE_COUNT; lane++)
        for (int i = 0; i < LANE_FLIGHTS; i++) {
            struct batch_flight *f = &s->flights[lane][i];
            if (!ok) {
                encode_slot_free(made[lane][i]);
                continue;
            }
            f->s = s;
            f->lane = (enum lane)lane;
            encode_slot_free(f->heir);
            f->heir = made[lane][i];
            if (f->state == FLIGHT_FREE)
                release_flight(f);
        }
    if (ok)
        s->room = *room;
    pthread_mutex_unlock(&s->mutex);
    return ok ? ERR_OK : ERR_NOMEM;
}

void scheduler_free_flights(struct scheduler *s) {
    for (int lane = 0; lane < LANE_COUNT; lane++)
        for (int i = 0; i < LANE_FLIGHTS; i++) {
            encode_slot_free(s->flights[lane][i].slot);
            encode_slot_free(s->flights[lane][i].heir);
        }
}
