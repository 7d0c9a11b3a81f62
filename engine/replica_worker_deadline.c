// Deadlines of what the worker has. Of each share the first piece that it can compute is looked at:
// what is behind it is not late before it is. A step whose forward is over waits for its sender's
// masks, and so do the steps behind it in its place: nobody is late then.
#include "engine/replica_worker_internal.h"

#include "base/clock.h"

enum {
    UNMEASURED_US = 60000000, // for a model of which nothing was computed yet
    TIMES = 10,               // what was predicted, so often
    LEAST_PART = 20,          // of the time, one in so many counts whatever the worker says
    LOOK_MOST_US = 500000,
    LOOK_LEAST_US = 2000,
};

static struct worker_pace *pace_of(struct replica_worker *w, const struct worker_flight *f) {
    if (replica_is_step(f->work)) {
        struct worker_place *p = replica_worker_find_place(w, replica_step_of(f->work)->place);
        return p ? &p->pace : NULL;
    }
    struct worker_model *m = replica_worker_find_model(w, f->work->model);
    return m ? &m->pace : NULL;
}

static int64_t others_us(const struct replica_worker *w, enum share share) {
    int64_t sum = 0;
    for (int i = 0; i < SHARE_COUNT; i++)
        sum += i == (int)share ? 0 : w->stats.used_us[i];
    return sum;
}

void replica_worker_clock_start(struct replica_worker *w, struct worker_flight *f, int64_t now_us) {
    f->since_us = now_us;
    f->others_us = others_us(w, f->work->share);
}

void replica_worker_clock_allow(struct replica_worker *w, struct worker_flight *f) {
    const struct worker_pace *p = pace_of(w, f);
    double expected = UNMEASURED_US;
    if (p && p->tokens > 0) {
        double by_tokens = p->us / p->tokens * (double)f->tokens;
        expected = TIMES * (by_tokens > p->piece_us ? by_tokens : p->piece_us);
    }
    // a worker may be slow; it may not be slower than an hour a piece
    expected = expected > 3.6e9 ? 3.6e9 : expected;
    f->allowed_us = (int64_t)expected;
    if (f->allowed_us < w->options.watchdog_us)
        f->allowed_us = w->options.watchdog_us;
}

// What counts of the time since it could be begun.
static int64_t counted_us(const struct replica_worker *w, const struct worker_flight *f,
                          int64_t now_us) {
    int64_t all = now_us - f->since_us, own = all - (others_us(w, f->work->share) - f->others_us);
    return own > all / LEAST_PART ? own : all / LEAST_PART;
}

void replica_worker_clock_stop(struct replica_worker *w, struct worker_flight *f, int64_t now_us) {
    struct worker_pace *p = pace_of(w, f);
    double us = (double)counted_us(w, f, now_us);
    if (p && f->work->err == ERR_OK && f->tokens > 0) {
        bool first = p->tokens <= 0;
        p->us = 0.8 * p->us + us;
        p->tokens = 0.8 * p->tokens + (double)f->tokens;
        p->piece_us = first ? us : 0.8 * p->piece_us + 0.2 * us;
    }
    for (size_t i = 0; i < WORKER_FLIGHTS; i++) {
        struct worker_flight *o = &w->flights[i];
        // what was sent before it is not less late for its answer
        if (o->work && o->sequence > f->sequence && o->work->share == f->work->share)
            replica_worker_clock_start(w, o, now_us);
    }
}

// A step that waits for its sender.
static bool is_parked(const struct worker_flight *f) {
    return f->work && replica_is_step(f->work) && f->computed && !f->drawn;
}

static bool is_behind_parked(const struct replica_worker *w, const struct worker_flight *f) {
    for (size_t i = 0; i < WORKER_FLIGHTS; i++) {
        const struct worker_flight *o = &w->flights[i];
        if (is_parked(o) && o->sequence < f->sequence && replica_is_step(f->work) &&
            replica_step_of(o->work)->place == replica_step_of(f->work)->place)
            return true;
    }
    return false;
}

static const struct worker_flight *first_of(const struct replica_worker *w, enum share share) {
    const struct worker_flight *first = NULL;
    for (size_t i = 0; i < WORKER_FLIGHTS; i++) {
        const struct worker_flight *f = &w->flights[i];
        if (f->work && f->work->share == share && !is_parked(f) && !is_behind_parked(w, f) &&
            (!first || f->sequence < first->sequence))
            first = f;
    }
    return first;
}

void replica_worker_clock_check(struct replica_worker *w, int64_t now_us) {
    if (w->errand.sequence && w->errand.until_us && now_us > w->errand.until_us)
        replica_worker_errand_late(w);
    for (int i = 0; i < SHARE_COUNT && w->flight_count > 0; i++) {
        const struct worker_flight *f = first_of(w, (enum share)i);
        if (!f || counted_us(w, f, now_us) <= f->allowed_us)
            continue;
        replica_worker_lose(w, LOSS_HANG, "a %s of %zu tokens was not answered in %lld ms",
                            replica_is_step(f->work) ? "step" : "batch", f->tokens,
                            (long long)(f->allowed_us / 1000));
        return;
    }
}

int64_t replica_worker_clock_next(const struct replica_worker *w, int64_t now_us) {
    int64_t wait = w->options.watchdog_us / 4;
    wait = wait > LOOK_MOST_US ? LOOK_MOST_US : wait < LOOK_LEAST_US ? LOOK_LEAST_US : wait;
    return now_us + wait;
}
