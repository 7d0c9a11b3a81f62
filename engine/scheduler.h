// The scheduler: a queue bounded by tokens, lanes by urgency, and batches cut from many jobs for a
// replica (replica.h), which computes them. Role: decides what goes to the replica, hands out what
// comes back, and nothing else.
// A batch is at most max_batch_tokens or one sequence. The replica has urgent work pass the other,
// and gives every kind its share of the device's time (shares.h); the owners of jobs take turns
// (lane_queue.h). Cancelled and late jobs are dropped before they are computed, and a forward that
// nobody waits for is told to end.
// A replica may be lost with what it has in hand, and come again (replica.h). Nothing is lost with
// it: batches are computed again, from the jobs' own arrays. What may have ended a life is computed
// apart, in the order of the deadlines: by the spare, or where there is none by the replica with
// nothing else in it. A job that was in hand when three lives ended, or in the quarantine when that
// did, ends with ERR_INTERNAL; one of these whose deadline passes, with ERR_DEADLINE. While the
// replica is down the spare has all, if it is the CPU, and less is let in, by how much slower it
// is; else what was accepted waits, and ends with ERR_UNAVAILABLE when the replica is given up.
// Thread rule: every function from any thread.
#ifndef TRINE_ENGINE_SCHEDULER_H
#define TRINE_ENGINE_SCHEDULER_H

#include "engine/generation.h"
#include "engine/job.h"
#include "engine/memory_plan.h"
#include "engine/replica.h"
#include "engine/shares.h"

struct scheduler;

// What there is beside the replica, for what that one cannot have: because it is down, or because
// it was lost with the work in it.
enum scheduler_spare {
    SPARE_NONE,
    SPARE_CPU,        // computes all while the replica is down; it never ends
    SPARE_QUARANTINE, // another process, for work that was in one that ended; one piece at a time
};

struct scheduler_options {
    struct replica *replica;
    struct replica *spare; // by its kind; NULL: none
    enum scheduler_spare spare_kind;
    bool warm_spare;        // models that generate are loaded on the spare as well, from the start
    size_t elsewhere_bytes; // of memory: what other processes hold to compute for this one
    struct model *const *models; // loaded on the replica; held from here on
    size_t model_count;
    size_t max_batch_tokens; // 0: as each replica likes them best, 512 where it does not say
    size_t max_queue_tokens; // 0: 1,048,576
    // Generation, for the models with TASK_GENERATE.
    size_t kv_cache_bytes; // of all models together; 0: a quarter of what is available, or less
    enum kv_dtype kv_dtype;
    size_t max_sequences; // running at once; 0: 32
    bool no_speculation;
    bool share_prefixes; // between owners (API keys) too
};

struct scheduler_stats {
    uint64_t jobs_done, jobs_failed, jobs_cancelled, jobs_late, jobs_refused;
    uint64_t batches, tokens, sequences, yields;
    uint64_t forwards_ended; // batches that ended at a pause: nobody waited, or the service stopped
    uint64_t ends_asked;     // batches and steps that were told to end so
    uint64_t moved;          // batches and steps that were taken back from a replica for another
    uint64_t busy_us;        // device time
    int64_t used_us[SHARE_COUNT];      // of it
    size_t queued_tokens, queued_jobs; // now
    // When the replica's thread last looked for work, or came to a pause point of a forward; or the
    // scheduler's at its queues, where that is seconds longer ago. These come at bounded times, so
    // one that is older than a minute means that a thread hangs.
    int64_t heartbeat_us;
    size_t workspace_bytes;
    // The replica and the spare (0: there is none), and what was lost with a life of the replica's
    // and computed again. What the spare computed, batches and sequences, by why the replica was
    // lost last.
    struct replica_health main, spare;
    uint64_t replayed_batches, replayed_tokens, fallbacks[LOSS_COUNT];
    size_t queue_limit; // tokens that are let in now, of either size (admission.h)
    struct generation_stats generation;
};

// Starts its thread, which has one warm-up batch per model computed before it takes jobs.
// ERR_TOO_LARGE when the memory that the models' work may take is more than there is
// (memory_plan.h).
enum err scheduler_start(const struct scheduler_options *options, struct scheduler **out,
                         struct errmsg *msg) MUST_CHECK;
// Waits for the warm-up; its error is returned.
enum err scheduler_wait_ready(struct scheduler *s, struct errmsg *msg) MUST_CHECK;

// Admission, before tokenizing: holds `tokens` (an estimate: bytes / 4) of the queue's room, which
// small and large requests each have for themselves (admission.h). ERR_OVERLOADED when they do not
// fit, ERR_UNAVAILABLE when draining; when the replica is given up and no CPU stands in; and where
// there is no spare at all, whenever the replica is down.
enum err scheduler_reserve(struct scheduler *s, size_t tokens, struct errmsg *msg) MUST_CHECK;
// A reservation not used after all: `tokens` exactly as they were reserved, for what is large and
// what is small is booked apart.
void scheduler_release(struct scheduler *s, size_t tokens);

// Hands a job over (job->reserved is corrected to its real token count first, which never fails).
// done will be called exactly once, whatever happens.
void scheduler_submit(struct scheduler *s, struct job *job);

// The same for a generation, whose reservation is given back with its first token.
void scheduler_generate(struct scheduler *s, struct generation *g);
// How many tokens a sequence of this model may have, prompt and output: the model's context, or
// what the whole cache holds when that is less. 0: the model does not generate.
size_t scheduler_context(struct scheduler *s, const struct model *m);
// Of such a model: the bytes of its cache, and how many sequences run at once.
void scheduler_cache(struct scheduler *s, const struct model *m, size_t *bytes, size_t *sequences);

// Tokens of a batch of the main replica's.
size_t scheduler_batch_tokens(const struct scheduler *s);

// Has one more model served, which is loaded on the replica: what it needs is made beside what is
// there, and the caches' memory is divided anew. Returns when it is warm and takes jobs. On an
// error all is as it was: ERR_TOO_LARGE (memory_plan.h, or a cache would be too small for a text
// that was accepted), ERR_NOMEM, ERR_UNAVAILABLE (the service is stopping), and what its first
// forward gives. One call at a time.
enum err scheduler_add_model(struct scheduler *s, const struct model *m,
                             struct errmsg *msg) MUST_CHECK;
// From the call on what is submitted for it ends with ERR_NOT_FOUND, in its done. Returns when all
// that was accepted is done and its cache is given back: it may be unloaded. The caller holds it.
// ERR_NOT_FOUND: it is not served; ERR_UNAVAILABLE: the service is stopping, and it may not be
// unloaded before the end.
enum err scheduler_remove_model(struct scheduler *s, const struct model *m,
                                struct errmsg *msg) MUST_CHECK;

// Has everything computed by another replica, on which all models are loaded, from here on. What is
// in flight is taken back and submitted again there; what the one before had computed already is
// handed out. Returns when that one has no work of this scheduler any more. Not while another
// thread is in scheduler_add_model, scheduler_remove_model or here. ERR_NOT_FOUND (a model is not
// loaded there), ERR_NOMEM: nothing has changed. ERR_UNAVAILABLE: the service is stopping, and the
// one before may have work until scheduler_end has returned.
enum err scheduler_use_replica(struct scheduler *s, struct replica *r,
                               struct errmsg *msg) MUST_CHECK;

// No new reservations; what is queued finishes.
void scheduler_drain(struct scheduler *s);
// Drains, then ends the thread after at most timeout_us: the forward that computes ends at its next
// pause point, and what is left gets ERR_UNAVAILABLE. The scheduler still answers (reserve
// and submit refuse, stats are read) until scheduler_free.
void scheduler_end(struct scheduler *s, int64_t timeout_us);
void scheduler_free(struct scheduler *s); // ended; NULL is fine
// Both in one.
void scheduler_stop(struct scheduler *s, int64_t timeout_us);

struct scheduler_stats scheduler_read_stats(struct scheduler *s);

// What the memory is for, as it was planned when a model came or went last.
struct memory_plans scheduler_memory(struct scheduler *s);

#endif
