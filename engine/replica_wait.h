// One piece of work of a replica's and the thread that waits for its end: a first forward, a
// canary. Role: what stands in its `done`, and the wait. Thread rule: begun and waited for by one
// thread.
#ifndef TRINE_ENGINE_REPLICA_WAIT_H
#define TRINE_ENGINE_REPLICA_WAIT_H

#include "engine/replica.h"

#include <pthread.h>

struct replica_wait {
    pthread_mutex_t mutex;
    pthread_cond_t done;
    bool is_done;
};

// Before the work is submitted, with replica_wait_done as its `done` and the wait as its ctx.
// ERR_NOMEM.
enum err replica_wait_begin(struct replica_wait *w) MUST_CHECK;
void replica_wait_done(struct replica_work *work);
// Waits for it, and returns its error. ends: asked a few times a second; true: the work is
// cancelled, and ERR_UNAVAILABLE comes of it; NULL: nobody ends it.
enum err replica_wait_end(struct replica_wait *w, struct replica *r, struct replica_work *work,
                          bool (*ends)(void *ctx), void *ctx, struct errmsg *msg) MUST_CHECK;

#endif
