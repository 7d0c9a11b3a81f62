// See replica_wait.h.
#include "engine/replica_wait.h"

#include "base/clock.h"
#include "base/thread.h"

enum { LOOK_US = 20000 };

enum err replica_wait_begin(struct replica_wait *w) {
    *w = (struct replica_wait){0};
    pthread_mutex_init(&w->mutex, NULL);
    return thread_cond_init(&w->done);
}

void replica_wait_done(struct replica_work *work) {
    struct replica_wait *w = work->ctx;
    pthread_mutex_lock(&w->mutex);
    w->is_done = true;
    pthread_cond_signal(&w->done);
    pthread_mutex_unlock(&w->mutex);
}

enum err replica_wait_end(struct replica_wait *w, struct replica *r, struct replica_work *work,
                          bool (*ends)(void *ctx), void *ctx, struct errmsg *msg) {
    bool ended = false;
    pthread_mutex_lock(&w->mutex);
    while (!w->is_done) {
        if (thread_cond_wait_until(&w->done, &w->mutex, clock_now_us() + LOOK_US) || ended)
            continue;
        pthread_mutex_unlock(&w->mutex);
        if ((ended = ends && ends(ctx)))
            replica_cancel(r, work);
        pthread_mutex_lock(&w->mutex);
    }
    pthread_mutex_unlock(&w->mutex);
    pthread_cond_destroy(&w->done);
    pthread_mutex_destroy(&w->mutex);
    if (work->err == ERR_CANCELLED)
        return err_set(msg, ERR_UNAVAILABLE, "the service is stopping");
    if (work->err && msg)
        *msg = work->msg;
    return work->err;
}
