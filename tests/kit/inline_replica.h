// A replica for tests of generators and steps: of one model whose weights the test has bound, and
// without a thread. It makes storage for steps, and the test has them computed on its own thread,
// by the step engine of a place. Thread rule: one thread.
#ifndef TRINE_TESTS_KIT_INLINE_REPLICA_H
#define TRINE_TESTS_KIT_INLINE_REPLICA_H

#include "engine/generator_internal.h"
#include "engine/replica.h"
#include "engine/step_engine.h"

enum { INLINE_REPLICA_PLACES = 16 };

struct inline_replica {
    struct replica head;
    const struct replica_model *loaded;
    struct step_engine *engines[INLINE_REPLICA_PLACES]; // of the places from 1 on
};

// What it has of these facts is the device's as it is now. Nothing is to be freed.
void inline_replica_init(struct inline_replica *r, const struct replica_model *loaded);

// What computes a generator's steps.
struct step_engine *inline_replica_engine(const struct generator *g);
// Computes one step of it: the one that is in flight, if there is one, else a new one, and begins
// the next one behind its forward where that may be. False: there was nothing to compute. Where a
// pause ends it, or the device breaks, the generations in it end with what the device says.
bool inline_replica_step(struct generator *g, const struct forward_hooks *hooks);
// A first step.
enum err inline_replica_warm_up(struct generator *g, struct errmsg *msg) MUST_CHECK;

#endif
