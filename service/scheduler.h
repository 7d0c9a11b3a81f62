// The scheduler: a queue bounded by tokens, lanes by urgency, and one engine thread per device that
// cuts batches from many jobs. Role: decides what the device computes next, and nothing else.
// A batch is at most max_batch_tokens or one sequence. A bulk forward looks for interactive work
// between layers and lets it pass, in a second workspace; bulk keeps at least a tenth of the
// device's time. Cancelled and late jobs are dropped before they are computed.
// Thread rule: every function from any thread.
#ifndef TRINE_SERVICE_SCHEDULER_H
#define TRINE_SERVICE_SCHEDULER_H

#include "service/job.h"

struct scheduler;

struct scheduler_options {
    struct device *device;       // driven by the engine thread from start to stop
    struct model *const *models; // for the size of the workspaces
    size_t model_count;
    size_t max_batch_tokens; // 0: 512
    size_t max_queue_tokens; // 0: 1,048,576
};

struct scheduler_stats {
    uint64_t jobs_done, jobs_failed, jobs_cancelled, jobs_late, jobs_refused;
    uint64_t batches, tokens, sequences, yields;
    uint64_t busy_us;                  // device time
    size_t queued_tokens, queued_jobs; // now
    int64_t heartbeat_us;              // when the engine thread last looked at its queue
    size_t workspace_bytes;
};

// Starts the engine thread, which runs one warm-up batch per model before it takes jobs.
enum err scheduler_start(const struct scheduler_options *options, struct scheduler **out,
                         struct errmsg *msg) MUST_CHECK;
// Waits for the warm-up; its error is returned.
enum err scheduler_wait_ready(struct scheduler *s, struct errmsg *msg) MUST_CHECK;

// Admission, before tokenizing: holds `tokens` (an estimate: bytes / 4) of the queue's room.
// ERR_OVERLOADED when they do not fit, unless the queue is empty; ERR_UNAVAILABLE when draining.
enum err scheduler_reserve(struct scheduler *s, size_t tokens, struct errmsg *msg) MUST_CHECK;
void scheduler_release(struct scheduler *s, size_t tokens); // a reservation not used after all

// Hands a job over (job->reserved is corrected to its real token count first, which never fails).
// done will be called exactly once, whatever happens.
void scheduler_submit(struct scheduler *s, struct job *job);

// No new reservations; what is queued finishes.
void scheduler_drain(struct scheduler *s);
// Drains, then ends the engine thread after at most timeout_us; what is left gets ERR_UNAVAILABLE.
// The scheduler still answers (reserve and submit refuse, stats are read) until scheduler_free.
void scheduler_end(struct scheduler *s, int64_t timeout_us);
void scheduler_free(struct scheduler *s); // ended; NULL is fine
// Both in one.
void scheduler_stop(struct scheduler *s, int64_t timeout_us);

struct scheduler_stats scheduler_read_stats(struct scheduler *s);

#endif
