// See scheduler.h: the scheduler's thread. It hands out what comes back from the replica, has the
// generators put their steps together and take what comes of them, and looks after what is queued
// and in flight. What it does takes microseconds; it computes nothing itself.
#include "engine/scheduler_internal.h"

#include "base/clock.h"
#include "base/thread.h"

enum {
    NAP_US = 5000,         // while something is queued or in flight
    HEARTBEAT_US = 500000, // an idle thread shows its life this often
    TEND_US = 20000,       // what waits for masks alone is looked over for gone ones this often
};

bool scheduler_is_stopping(void *scheduler) {
    struct scheduler *s = scheduler;
    atomic_store(&s->heartbeat_us, clock_now_us());
    pthread_mutex_lock(&s->mutex);
    bool stops = s->stopping;
    pthread_mutex_unlock(&s->mutex);
    return stops;
}

static enum err warm_up(struct scheduler *s, struct errmsg *msg) {
    for (size_t i = 0; i < s->model_count; i++) {
        const struct model *m = s->models[i].model;
        if (m->task == TASK_GENERATE)
            continue;
        enum err e = scheduler_warm_encoder(s, m, msg);
        if (e)
            return e;
    }
    return scheduler_warm_generators(s, msg);
}

// How long nothing has to be looked at. Mutex held.
static int64_t longest_nap(const struct scheduler *s) {
    if (scheduler_has_flights(s) || scheduler_has_steps(s) ||
        lane_queue_count(&s->lanes[LANE_INTERACTIVE]) > 0 ||
        lane_queue_count(&s->lanes[LANE_BULK]) > 0 || scheduler_has_lost(s))
        return NAP_US;
    return scheduler_generates(s) ? TEND_US : HEARTBEAT_US;
}

// Waits until there may be something to do; false when the thread must end.
static bool wait_for_work(struct scheduler *s) {
    int64_t now = clock_now_us();
    atomic_store(&s->heartbeat_us, now);
    pthread_mutex_lock(&s->mutex);
    if (!s->kicked)
        thread_cond_wait_until(&s->wake, &s->mutex, now + longest_nap(s));
    s->kicked = false;
    bool go_on = !s->stopping || scheduler_has_flights(s);
    pthread_mutex_unlock(&s->mutex);
    return go_on || scheduler_has_steps(s);
}

// Whoever cuts a batch may have found a job that is to go, and asks for it so.
static bool sweep_is_due(struct scheduler *s) {
    pthread_mutex_lock(&s->mutex);
    bool due = s->stopping || clock_now_us() >= s->sweep_at_us;
    pthread_mutex_unlock(&s->mutex);
    return due;
}

void *scheduler_run(void *scheduler) {
    struct scheduler *s = scheduler;
    struct errmsg msg = {0};
    enum err err = warm_up(s, &msg);
    pthread_mutex_lock(&s->mutex);
    s->warm_err = err;
    s->warm_msg = msg;
    s->warmed = true;
    for (int i = 0; i < SITE_COUNT; i++)
        if (s->sites[i].replica)
            scheduler_note_before(&s->sites[i]);
    if (err)
        s->draining = true;
    scheduler_pump(s);
    pthread_cond_broadcast(&s->ready);
    pthread_mutex_unlock(&s->mutex);

    while (wait_for_work(s)) {
        scheduler_deliver(s);
        scheduler_run_steps(s);
        scheduler_make_changes(s);
        scheduler_go_alone(s);
        if (sweep_is_due(s)) {
            scheduler_sweep(s);
            scheduler_look_over_steps(s);
            scheduler_measure(s);
        }
    }

    for (int i = 0; i < SITE_COUNT; i++)
        generators_end(&s->sites[i].generators, ERR_UNAVAILABLE, "the service is stopping");
    scheduler_sweep_all(s);
    scheduler_refuse_changes(s);
    return NULL;
}
