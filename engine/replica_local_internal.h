// What the replica of a device of this process is made of. Role: shared by replica_local.c (models,
// workspaces, submission) and replica_run.c (the thread that drives the device).
#ifndef TRINE_ENGINE_REPLICA_LOCAL_INTERNAL_H
#define TRINE_ENGINE_REPLICA_LOCAL_INTERNAL_H

#include "engine/replica_kind.h"
#include "engine/replica_local.h"

// Two kinds of batches are under way at once, one in the middle of the other.
enum { REPLICA_LANES = 2 };
// Steps that a device may have at once: one computes, and one stands behind it.
enum { REPLICA_ASKED_MOST = 2 };

struct replica_forward;

// What the steps of a model have on the device.
struct replica_steps {
    struct replica_steps *next;
    uint64_t place;
    struct step_engine *engine;
    size_t first_slot, slots; // of the device; 0: it has none
};

struct replica_local {
    struct replica head;
    struct device *device;
    pthread_t thread;
    bool is_fed; // by `feed`, on a thread of the caller's; else `thread` is its own
    struct replica_feed feed;
    pthread_mutex_t loading; // one model at a time comes or goes
    pthread_mutex_t mutex;   // guards everything below but what is marked
    pthread_cond_t wake;     // work came, or the end
    struct replica_model **models;
    size_t model_count, model_room;
    struct replica_steps *steps;
    uint64_t places;                   // made so far
    size_t batch_tokens;               // 0: no batches yet
    size_t workspace_bytes;            // of each
    struct arena spare[REPLICA_LANES]; // takes its workspace's place before the next batch in it
    bool has_spare[REPLICA_LANES];
    struct replica_list queue[SHARE_COUNT]; // steps by their share
    struct replica_list dead;               // cancelled while they were queued, or to be drawn
    struct replica_step *forwarded;         // computed, and not drawn
    uint64_t submitted;                     // so far
    bool ending;
    // Read and written without the mutex.
    atomic_uint queued; // SHARE_BITs of the work in the queues, and DEAD_BIT
    atomic_int_fast64_t heartbeat_us;
    atomic_int_fast64_t used_us[SHARE_COUNT];
    atomic_uint_fast64_t yields;

    // The thread's own.
    struct arena workspaces[REPLICA_LANES];
    uint64_t workspace_count; // that were taken into use so far
    struct shares shares;
    int64_t lap_us;    // since when the forward that computes has had the device
    int64_t looked_us; // when the feed last looked for work
    // Steps of which all is asked of a device that keeps what it draws, oldest first; they are
    // finished by and by, while others are asked for.
    struct replica_step *asked[REPLICA_ASKED_MOST];
    size_t asked_count;
    int64_t step_us;             // what the last one took from its asking to its end
    unsigned under_way;          // SHARE_BITs of the forwards that compute or are set aside
    struct replica_forward *top; // the innermost of these
    unsigned expected;           // SHARE_BITs of steps that follow at once,
    int64_t expected_until_us;   // if they come before this
};

#define REPLICA_DEAD_BIT (1U << SHARE_COUNT)

static inline struct replica_local *replica_local_of(struct replica *r) {
    return (struct replica_local *)r;
}
static inline size_t replica_lane(enum share share) { return share == SHARE_BULK; }

// A loaded model, until it is unloaded; NULL: it is not loaded.
struct replica_model *replica_local_find(struct replica_local *l, uint64_t model);
// NULL: there is none such.
struct step_engine *replica_steps_at(struct replica_local *l, uint64_t place);
// The thread, until `ending`.
void *replica_run(void *local);

#endif
