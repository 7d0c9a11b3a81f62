// What a test puts in the worker's way (tests/worker/faults.c). Role: functions that are called at
// the boundaries of messages and at the worker's start, none of which the product has: it is given
// no hooks at all. Every function may be NULL. What they do to the process, they do to it: they may
// end it, stop it, or never return.
// Thread rule: as said at each.
#ifndef TRINE_WORKER_HOOKS_H
#define TRINE_WORKER_HOOKS_H

#include "base/err.h"

#include <stddef.h>
#include <stdint.h>

struct channel_message;
struct region;
struct step;

struct worker_hooks {
    // System calls that the hooks need beside those of the sandbox.
    const int *calls;
    size_t call_count;
    // The door is closed, HELLO has come from this life's parent, nothing is made yet. Main.
    void (*start)(int socket, const struct region *region, uint64_t life);
    // In the place of a load, where it is not ERR_OK. The thread of controls.
    enum err (*load)(struct errmsg *msg);
    // Before and behind the receiving of a message. Main, which is the thread that computes.
    void (*receive)(void);
    void (*received)(const struct channel_message *m);
    // Results as they are about to be written and counted: of a batch, and of a step. Main.
    void (*rows)(uint64_t sequence, float *rows, size_t count);
    void (*drawn)(uint64_t sequence, struct step *s);
    // Before a message is sent: it may be changed, its payload replaced. Behind it. Whoever sends:
    // main, the thread of controls, the ticker.
    void (*send)(struct channel_message *m);
    void (*sent)(const struct channel_message *m);
};

#endif
