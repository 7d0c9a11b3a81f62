// The first forward of an encoder on a replica: pages, caches and kernels are warm afterwards.
// Thread rule: any thread; waits.
#ifndef TRINE_ENGINE_WARM_UP_H
#define TRINE_ENGINE_WARM_UP_H

#include "engine/model.h"
#include "engine/replica.h"

enum { WARM_UP_TOKENS = 64 };

// The model is loaded. ends: asked a few times a second; true: the forward is to end, and
// ERR_UNAVAILABLE comes of it.
enum err warm_up_encoder(struct replica *r, const struct model *m, bool (*ends)(void *ctx),
                         void *ctx, struct errmsg *msg) MUST_CHECK;

// Waits for work that was submitted with warm_up_done, for as long as `ends` lets it.
struct warm_up {
    pthread_mutex_t mutex;
    pthread_cond_t done;
    bool is_done;
};
enum err warm_up_begin(struct warm_up *w) MUST_CHECK; // ERR_NOMEM
void warm_up_done(struct replica_work *work);         // work->ctx: the struct warm_up
enum err warm_up_wait(struct warm_up *w, struct replica *r, struct replica_work *work,
                      bool (*ends)(void *ctx), void *ctx, struct errmsg *msg) MUST_CHECK;

#endif
