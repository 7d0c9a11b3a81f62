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

#endif
