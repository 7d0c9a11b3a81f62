// The replica that is a device of this process. Role: makes one (replica.h is how it is used).
// Thread rule: as replica.h.
#ifndef TRINE_ENGINE_REPLICA_LOCAL_H
#define TRINE_ENGINE_REPLICA_LOCAL_H

#include "engine/replica.h"
#include "engine/replica_model.h"
#include "engine/step_engine.h"

// Starts the thread that drives the device. The device stays the caller's, who lets the replica go
// first. ERR_NOMEM, ERR_IO (the system gives no more threads).
enum err replica_local_new(struct device *d, struct replica **out, struct errmsg *msg) MUST_CHECK;

// Where the thread that drives the device hears of work, when it is one of the caller's: of a
// socket, say, without another thread in between. Both functions are called on it, without a lock
// held, and may submit, release and cancel.
struct replica_feed {
    // There is nothing to compute: waits until something may have been submitted, or until
    // clock_now_us() is until_us (0: for ever). False: this is the end.
    bool (*wait)(void *ctx, int64_t until_us);
    // In a pause of a forward, every REPLICA_LOOK_US or so: quick, does not wait.
    void (*look)(void *ctx);
    void *ctx;
};
enum { REPLICA_LOOK_US = 100 };

// As replica_local_new, but without a thread: nothing is computed but by replica_local_drive.
enum err replica_local_new_fed(struct device *d, const struct replica_feed *feed,
                               struct replica **out, struct errmsg *msg) MUST_CHECK;
// Drives the device on this thread until the feed's wait says that this is the end. The feed,
// copied, is the only source of work then: other threads may load, size and open, not submit.
void replica_local_drive(struct replica *r);

#endif
