// A replica with lives that end, for tests without processes: it has another one compute, and loses
// lives by chance or when it is told, as one does whose device is in a process. Role: everything
// that engine/replica.h says of lives, and nothing of how a process ends. What is with it when a
// life ends is thrown away, whatever became of it (rows and results are spoilt), and done with
// ERR_LOST; then it is down for a while; the next life has the same models, and the same places,
// empty.
// Thread rule: as replica.h; the functions here from any thread.
#ifndef TRINE_TESTS_KIT_LOSSY_REPLICA_H
#define TRINE_TESTS_KIT_LOSSY_REPLICA_H

#include "engine/replica.h"

struct lossy_options {
    struct replica *inner; // a replica_local; stays the caller's, who lets this one go first
    uint64_t seed;
    int per_thousand;     // of the pieces of work submitted, so many end a life (lossy_set_chance)
    int64_t down_most_us; // it is down for up to this long
    size_t steps_ahead, bulk_ahead;
    // Work that comes while it is down is held until it is up.
    bool quarantine;
    // A batch or step with this token in it ends the life that computes it; 0: none does.
    int32_t poison;
};

// What became of what it was given, so far.
struct lossy_counts {
    uint64_t batches, steps; // submitted
    uint64_t lost, exposed;  // pieces done with ERR_LOST; of them exposed
    uint64_t poisoned;       // lives that the poison ended
    uint64_t useful;         // lives that ended with work in hand, or done
    size_t most_at_once;     // pieces that were with it
    uint64_t past_the_life;  // steps that named a life before the present one
};

// ERR_NOMEM, ERR_IO (the system gives no more threads).
enum err lossy_replica_new(const struct lossy_options *options, struct replica **out,
                           struct errmsg *msg) MUST_CHECK;
// Lives end by chance from here on; 0: none does.
void lossy_set_chance(struct replica *r, int per_thousand);
// The present life ends, and the next one comes down_us later; negative: when lossy_raise says so.
// Nothing happens where there is none.
void lossy_lose(struct replica *r, int64_t down_us);
void lossy_raise(struct replica *r);
// It is down until replica_retry or lossy_raise.
void lossy_give_up(struct replica *r);
struct lossy_counts lossy_read_counts(struct replica *r);

#endif
