// See warm_up.h.
#include "engine/warm_up.h"

#include "base/clock.h"
#include "base/mem.h"
#include "base/thread.h"

enum { LOOK_US = 20000 };

enum err warm_up_begin(struct warm_up *w) {
    *w = (struct warm_up){0};
    pthread_mutex_init(&w->mutex, NULL);
    return thread_cond_init(&w->done);
}

void warm_up_done(struct replica_work *work) {
    struct warm_up *w = work->ctx;
    pthread_mutex_lock(&w->mutex);
    w->is_done = true;
    pthread_cond_signal(&w->done);
    pthread_mutex_unlock(&w->mutex);
}

enum err warm_up_wait(struct warm_up *w, struct replica *r, struct replica_work *work,
                      bool (*ends)(void *ctx), void *ctx, struct errmsg *msg) {
    bool ended = false;
    pthread_mutex_lock(&w->mutex);
    while (!w->is_done) {
        if (thread_cond_wait_until(&w->done, &w->mutex, clock_now_us() + LOOK_US) || ended)
            continue;
        pthread_mutex_unlock(&w->mutex);
        if ((ended = ends(ctx)))
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

enum err warm_up_encoder(struct replica *r, const struct model *m, bool (*ends)(void *ctx),
                         void *ctx, struct errmsg *msg) {
    int32_t ids[WARM_UP_TOKENS], positions[WARM_UP_TOKENS], types[WARM_UP_TOKENS] = {0};
    size_t n = m->max_length < WARM_UP_TOKENS ? m->max_length : WARM_UP_TOKENS;
    for (size_t i = 0; i < n; i++) {
        ids[i] = (int32_t)(i % model_vocab(m));
        positions[i] = (int32_t)i;
    }
    const int32_t cu_seqlens[2] = {0, (int32_t)n}, skip[1] = {0};
    struct warm_up w;
    float *row = mem_calloc(m->dim, sizeof *row);
    enum err e = row ? warm_up_begin(&w) : ERR_NOMEM;
    if (e) {
        mem_free(row);
        return err_set(msg, e, "no memory to warm model '%s' up", m->name);
    }
    struct replica_batch b = {
        .work = {.model = m->id, .share = SHARE_INTERACTIVE, .done = warm_up_done, .ctx = &w},
        .tokens = {ids, positions, types, cu_seqlens, n, 1},
        .skip = skip,
        .normalize = true,
        .rows = row,
    };
    replica_encode(r, &b);
    e = warm_up_wait(&w, r, &b.work, ends, ctx, msg);
    mem_free(row);
    return e;
}
