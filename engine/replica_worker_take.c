// What comes back from the worker. Every message is held against what was sent, its bulk is copied
// out of the region before it is looked at, and numbers are held against the sentinel's before they
// are the sender's. What breaks a rule loses the life; then all that it had is done with ERR_LOST,
// this too. So a worker can spoil what it was given, and nothing else.
#include "engine/replica_worker_internal.h"

#include "base/clock.h"

#include <string.h>

static struct worker_flight *flight_at(struct replica_worker *w, uint64_t sequence, bool step) {
    for (size_t i = 0; i < WORKER_FLIGHTS; i++) {
        struct worker_flight *f = &w->flights[i];
        if (f->work && f->sequence == sequence && replica_is_step(f->work) == step)
            return f;
    }
    replica_worker_lose(w, LOSS_PROTOCOL, "it answered a request that it does not have (%llu)",
                        (unsigned long long)sequence);
    return NULL;
}

static bool is_canary(const struct replica_worker *w, const struct replica_work *work) {
    return work == &w->canary_batch.work || work == &w->canary_step.work;
}

// A copy of the answer's bulk in the thread's memory. Mutex held: what is copied is a block that
// nobody else looks at, and it is quick beside what it took to compute.
static bool copy_answer(struct replica_worker *w, const struct worker_flight *f,
                        const struct channel_message *m) {
    struct errmsg msg;
    enum err e = wire_check_answer(m, &f->block, f->offset, &msg);
    if (!e && m->bulk_length > 0)
        e = region_copy_out(w->region, m->bulk_offset, m->bulk_length, m->bulk_checksum, w->copy,
                            &msg);
    if (e)
        replica_worker_lose(w, LOSS_PROTOCOL, "an answer's data: %s", msg.text);
    return !e;
}

// Its sender takes that for the client's doing, and may send the work again for ever.
static enum err check_cancelled(const struct worker_flight *f, const struct wire_done *done,
                                struct errmsg *msg) {
    if (done->verdict.code != ERR_CANCELLED || f->cancel_sent)
        return ERR_OK;
    return err_set(msg, ERR_INVALID, "it cancelled what it was not told to");
}

// The work is over, and its block is free for others. Mutex held.
static struct replica_work *end_flight(struct replica_worker *w, struct worker_flight *f,
                                       const struct wire_done *done) {
    struct replica_work *work = f->work;
    work->err = done->verdict.code;
    work->msg = done->verdict;
    work->exposed = false;
    if (f->too_large && work->err == ERR_CANCELLED && !atomic_load(&work->cancelled))
        work->err = err_set(&work->msg, ERR_NOMEM,
                            "a step's masks are more than the memory shared with the worker takes");
    atomic_store(&work->began_us, done->began_us);
    replica_worker_clock_stop(w, f, clock_now_us());
    replica_worker_forget_flight(w, f);
    if (!is_canary(w, work))
        w->health.completed++;
    w->idle_since_us = clock_now_us();
    return work;
}

// ---- batches

static bool batch_is_right(struct replica_worker *w, const struct worker_flight *f) {
    const struct replica_batch *b = replica_batch_of(f->work);
    struct worker_model *m = replica_worker_find_model(w, f->work->model);
    if (!f->sentinel || !m)
        return m != NULL;
    const float *row = (const float *)(const void *)w->copy + b->tokens.seqs * m->wire.dim;
    bool normalised = m->wire.task == TASK_EMBED && b->normalize;
    if (replica_worker_truth_agrees(w, &m->truth[normalised], row, false))
        return true;
    replica_worker_lose(w, LOSS_NUMBERS,
                        "a sentinel of model '%s' has other numbers than it must have", m->name);
    return false;
}

static struct replica_work *take_batch(struct replica_worker *w, const struct channel_message *m) {
    struct worker_flight *f = flight_at(w, m->sequence, false);
    struct wire_done done;
    struct errmsg msg;
    if (!f || !copy_answer(w, f, m))
        return NULL;
    enum err e = wire_read_batch_done(m, &f->block, f->sent_us, clock_now_us(), &done, &msg);
    if (!e)
        e = check_cancelled(f, &done, &msg);
    if (e) {
        replica_worker_lose(w, LOSS_PROTOCOL, "a batch's answer: %s", msg.text);
        return NULL;
    }
    if (done.verdict.code == ERR_OK) {
        struct replica_batch *b = replica_batch_of(f->work);
        if (!batch_is_right(w, f))
            return NULL;
        const struct worker_model *model = replica_worker_find_model(w, f->work->model);
        memcpy(b->rows, w->copy, b->tokens.seqs * model->wire.dim * sizeof *b->rows);
    }
    return end_flight(w, f, &done);
}

// ---- steps

static struct replica_step *take_computed(struct replica_worker *w,
                                          const struct channel_message *m) {
    struct worker_flight *f = flight_at(w, m->sequence, true);
    if (!f)
        return NULL;
    if (f->computed) {
        replica_worker_lose(w, LOSS_PROTOCOL, "it computed a step twice");
        return NULL;
    }
    f->computed = true;
    struct replica_step *s = replica_step_of(f->work);
    return f->drawn || s->released ? NULL : s;
}

static bool step_is_right(struct replica_worker *w, const struct worker_flight *f,
                          struct worker_place *p) {
    float got[2];
    if (!f->sentinel)
        return true;
    replica_worker_sentinel_numbers(&f->copy->step->parts[f->copy->step->seqs - 1], got);
    if (replica_worker_truth_agrees(w, &p->truth, got, false))
        return true;
    replica_worker_lose(w, LOSS_NUMBERS,
                        "a sentinel of model %llu's steps has other numbers than it must "
                        "have",
                        (unsigned long long)p->wire.model);
    return false;
}

static struct replica_work *take_step(struct replica_worker *w, const struct channel_message *m) {
    struct worker_flight *f = flight_at(w, m->sequence, true);
    struct wire_done done;
    struct errmsg msg;
    if (!f || !copy_answer(w, f, m))
        return NULL;
    struct replica_step *s = replica_step_of(f->work);
    struct worker_place *p = replica_worker_find_place(w, s->place);
    if (!p) {
        replica_worker_lose(w, LOSS_PROTOCOL, "it answered a step of a place that is closed");
        return NULL;
    }
    if (!f->drawn && m->bulk_length > 0) { // the masks are its sender's still, who may write them
        replica_worker_lose(w, LOSS_PROTOCOL, "a step's answer: it drew before it was told to");
        return NULL;
    }
    struct step *sent = f->copy ? f->copy->step : s->step;
    enum err e = wire_read_step_done(m, w->copy, sent, p->wire.vocab, f->sent_us, clock_now_us(),
                                     &done, &msg);
    if (!e)
        e = check_cancelled(f, &done, &msg);
    if (e) {
        replica_worker_lose(w, LOSS_PROTOCOL, "a step's answer: %s", msg.text);
        return NULL;
    }
    if (done.verdict.code == ERR_OK) {
        if (!step_is_right(w, f, p))
            return NULL;
        if (f->copy)
            replica_worker_copy_results(f->copy, s->step);
    }
    return end_flight(w, f, &done);
}

// ---- the rest

static void take_progress(struct replica_worker *w, const struct channel_message *m) {
    struct replica_stats now;
    struct errmsg msg;
    int64_t now_us = clock_now_us();
    if (wire_read_progress(m, &w->stats, now_us - w->started_us, now_us, &now, &msg))
        replica_worker_lose(w, LOSS_PROTOCOL, "its progress: %s", msg.text);
    else
        w->stats = now;
}

void replica_worker_take(struct replica_worker *w, const struct channel_message *m) {
    struct replica_work *done = NULL;
    struct replica_step *computed = NULL;
    struct errmsg msg;
    pthread_mutex_lock(&w->mutex);
    if (w->losing || w->socket < 0) { // it has ended already
    } else if (wire_check_message(m, false, &msg)) {
        replica_worker_lose(w, LOSS_PROTOCOL, "%s", msg.text);
    } else if (m->life != w->health.life) {
        replica_worker_lose(w, LOSS_PROTOCOL, "a message of generation %llu",
                            (unsigned long long)m->life);
    } else {
        switch (m->type) {
        case WIRE_BATCH_DONE:
            done = take_batch(w, m);
            break;
        case WIRE_STEP_COMPUTED:
            computed = take_computed(w, m);
            break;
        case WIRE_STEP_DONE:
            done = take_step(w, m);
            break;
        case WIRE_PROGRESS:
            take_progress(w, m);
            break;
        default: // READY, ANSWER
            replica_worker_errand_answered(w, m);
            break;
        }
    }
    if (done) // its block and its place are free
        replica_worker_send_waiting(w);
    pthread_mutex_unlock(&w->mutex);
    if (computed)
        computed->computed(computed);
    if (done)
        done->done(done);
}
