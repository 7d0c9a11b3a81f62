// What a struct scheduler is made of. Role: shared by scheduler.c (submission, admission, the ends
// of its life) and scheduler_engine.c (the engine thread: what is computed when).
#ifndef TRINE_ENGINE_SCHEDULER_INTERNAL_H
#define TRINE_ENGINE_SCHEDULER_INTERNAL_H

#include "engine/admission.h"
#include "engine/encode_slots.h"
#include "engine/generators.h"
#include "engine/lane_queue.h"
#include "engine/scheduler.h"
#include "engine/shares.h"

#include <pthread.h>

struct scheduler {
    struct scheduler_options options;
    struct encode_slots slots;
    struct generators generators;
    struct memory_plan memory; // of the start
    pthread_t thread;
    pthread_mutex_t mutex; // guards everything below but what is marked
    pthread_cond_t wake;   // work came, or draining/stopping changed
    pthread_cond_t ready;  // the warm-up ended
    pthread_cond_t empty;  // nothing is held and no generation runs
    struct lane_queue lanes[LANE_COUNT];
    struct admission admission; // tokens reserved, or queued and not yet computed
    bool draining, stopping, warmed;
    enum err warm_err;
    struct errmsg warm_msg;
    struct scheduler_stats stats;
    // Read and written without the mutex.
    atomic_bool end_now; // forwards end at their next pause point
    atomic_int_fast64_t heartbeat_us;
    atomic_int_fast64_t used_us[SHARE_COUNT];

    // The engine thread's own.
    int64_t swept_us;
    struct shares shares;
    int64_t lap_us;     // since when the forward that computes has had the device
    unsigned under_way; // SHARE_BITs of the forwards that compute or are set aside
};

// Gives tokens back; mutex held.
void scheduler_give_back(struct scheduler *s, size_t tokens, bool large);
// Gives back what the job still holds and counts its end. Mutex held; not listed any more.
void scheduler_job_end(struct scheduler *s, struct job *job, struct job_list *list);
// The engine thread, from the warm-up to the end of what is left.
void *scheduler_engine_thread(void *scheduler);

#endif
