// Where models run: one device, the weights of the models that are loaded on it, and the thread
// that drives it. Role: the boundary below the scheduler, behind a table of functions so that what
// is in front does not know where the device is: in this process (replica_local.h) or elsewhere.
// What passes is plain data: numbers and arrays that the sender owns and leaves alone until the
// work is done. Models are named by their numbers (replica_spec.h). It knows no tokenizer, no text,
// no grammar, no request and no queue of them.
// Work is submitted and done later. Work that failed, was cancelled or lost, can be submitted again
// with the same data, here or to another replica, and has the same bits.
// A replica has lives, one after the other, from 1: where its device is in another process, each
// process that has it is one. What a life has in hand when it ends is done with ERR_LOST. Models
// stay loaded and places open across lives, the places with empty caches: what their storage held
// is gone. In between, the replica is down: what is submitted is done with ERR_LOST at once. The
// replica decides what has the device: it sets bulk batches and steps aside between layers for more
// urgent work (shares.h), each in a workspace of its own, and computes nothing twice. Thread rule:
// every function from any thread.
#ifndef TRINE_ENGINE_REPLICA_H
#define TRINE_ENGINE_REPLICA_H

#include "base/crash.h"
#include "compute/batch.h"
#include "engine/replica_spec.h"
#include "engine/shares.h"
#include "engine/step.h"

#include <stdatomic.h>

struct replica;

// A piece of work. Part of struct replica_batch or struct replica_step.
struct replica_work {
    // Set by the sender, and left alone until it is done.
    uint64_t model;   // loaded, and not unloaded before it is done
    enum share share; // of a step: SHARE_DECODE where it has any decoding, else SHARE_PREFILL
    // On the replica's thread, once, in any case: quick. It may submit.
    void (*done)(struct replica_work *w);
    void *ctx; // the sender's own
    // Whose it is, for a crash's report.
    char requests[CRASH_IDS][CRASH_ID_BYTES];
    size_t request_count;

    // Results, valid in done. ERR_CANCELLED: it was told to end; ERR_LOST: the life that was to
    // compute it has ended, or there is none; else as the device says.
    enum err err;
    struct errmsg msg;
    bool exposed; // ERR_LOST: that life had got it, and may have ended by it
    // When it was begun, on the monotonic clock; 0: not yet. Any time, from any thread.
    atomic_int_fast64_t began_us;

    // The replica's own.
    struct replica_work *next;
    uint64_t number; // of its submission
    atomic_bool cancelled;
    bool queued;
};

// Sequences to encode.
struct replica_batch {
    struct replica_work work;
    struct batch tokens;
    const int32_t *skip; // as in struct pool_args
    bool normalize;
    float *rows; // [S, dim], written
};

// A step of a generating model (step.h). Steps of one model come in the order of their submission.
struct replica_step {
    struct replica_work work;
    uint64_t place; // where: replica_open_steps
    // The life in which what the place's cache holds came to be: replica_health's when the place
    // was opened, or all that it held was forgotten. In another life the step is done with
    // ERR_LOST, and was not exposed.
    uint64_t life;
    struct step *step;
    double prompt_part; // of its time: what its prompts take, 0 to 1
    // On the replica's thread, quick: the forward is over, and the draw has not been released.
    void (*computed)(struct replica_step *s);

    // The replica's own.
    bool released, forwarded;
    struct replica_step *next_forwarded;
};

struct replica_stats {
    int64_t heartbeat_us; // when its thread last looked for work, or a forward came to a pause
    int64_t used_us[SHARE_COUNT]; // device time by what it was for
    uint64_t yields;              // pauses in which something else was computed
    size_t workspace_bytes;       // of encoding
};

// Of its kind and its device: the same as long as it is there.
struct replica_facts {
    char name[16];          // "cpu", "cuda": in x-compute-type
    char describe[160];     // "cpu, 2 threads, avx512"; "worker: cpu, 2 threads, avx512"
    size_t kv_block_tokens; // positions in a block of a cache, as the device likes them best
    // Steps of a model that go ahead of the results of the one at hand: 0 or 1. The device has work
    // while these are read.
    size_t steps_ahead;
    // Bulk batches that may be with it beside the one that is computed, so that it need not wait
    // for the next one: of a device in this process 0.
    size_t bulk_ahead;
    size_t batch_tokens; // of a bulk batch, as the device likes them best; 0: no wish
    // Of its own memory what may be used, for weights, workspaces and caches; 0: it has none, and
    // its models are in its process's.
    size_t memory_bytes;
};

enum replica_condition {
    REPLICA_UP,
    REPLICA_DOWN,     // comes again by itself
    REPLICA_GIVEN_UP, // when it is tried again says enum replica_again
};

// When one that is given up is tried again.
enum replica_again {
    REPLICA_AGAIN_LATER, // after a long while, or when that is asked for
    REPLICA_AGAIN_GONE,  // when its last process, which cannot be killed, is gone
    REPLICA_AGAIN_NEVER, // nothing can start one as long as this process lives
};

// What a life ended by.
enum replica_loss {
    LOSS_EXIT,
    LOSS_KILLED, // by a signal
    LOSS_HANG,
    LOSS_NUMBERS,  // its numbers were wrong
    LOSS_PROTOCOL, // what it sent broke a rule
    LOSS_MEMORY,
    LOSS_START, // it did not come up
    LOSS_COUNT,
};

struct replica_health {
    enum replica_condition condition;
    enum replica_again again; // GIVEN_UP
    // A process that takes work is there: while it is UP, but for a quarantine, which is UP without
    // one too.
    bool present;
    uint64_t life;                       // the present one, or the last one; 0: there was none yet
    int64_t expected_us;                 // DOWN: when it is likely to be up, on the monotonic clock
    int64_t pid;                         // of its process; 0: none of its own
    uint64_t starts, losses[LOSS_COUNT]; // lives begun and ended
    uint64_t completed; // batches and steps done in the present life, of one with a process
    int64_t down_us;    // without a working process, in all
    char why[256];      // of the last loss, one line
};

// What steps take.
struct replica_step_sizes {
    size_t block_bytes;     // of a block of the cache, what the device lays out beside it included
    size_t workspace_bytes; // of steps with their limits; SIZE_MAX: more than a size counts
};

// "exit", "killed", ...: a word for logs, and a metric's label.
const char *replica_loss_name(enum replica_loss loss);
// Adds a name to a work's requests where there is room; NULL is fine.
void replica_name_request(struct replica_work *w, const char *id);

struct replica_ops {
    enum err (*load)(struct replica *r, const struct replica_spec *spec, struct errmsg *msg);
    void (*unload)(struct replica *r, uint64_t model);
    size_t (*weight_bytes)(struct replica *r, uint64_t model);
    enum err (*size_batches)(struct replica *r, size_t tokens, struct errmsg *msg);
    enum err (*size_steps)(struct replica *r, uint64_t model, const struct step_limits *limits,
                           enum dtype kv_dtype, struct replica_step_sizes *out, struct errmsg *msg);
    enum err (*open_steps)(struct replica *r, uint64_t model,
                           const struct step_engine_options *options, uint64_t *place,
                           struct errmsg *msg);
    void (*close_steps)(struct replica *r, uint64_t place);
    size_t (*step_bytes)(struct replica *r, uint64_t place);
    void (*encode)(struct replica *r, struct replica_batch *b);
    void (*step)(struct replica *r, struct replica_step *s);
    void (*draw)(struct replica *r, struct replica_step *s);
    void (*cancel)(struct replica *r, struct replica_work *w);
    struct replica_stats (*stats)(struct replica *r);
    struct replica_health (*health)(struct replica *r);
    void (*watch)(struct replica *r, void (*changed)(void *ctx), void *ctx);
    void (*retry)(struct replica *r);
    void (*free)(struct replica *r);
};

// The head of every replica; a kind puts its own fields behind it.
struct replica {
    const struct replica_ops *ops;
    struct replica_facts facts;
};

static inline const struct replica_facts *replica_facts(const struct replica *r) {
    return &r->facts;
}
static inline struct replica_health replica_health(struct replica *r) { return r->ops->health(r); }
// changed is called behind every change of condition or life, on the replica's thread, which holds
// no lock then: quick. One watcher; NULL: none any more, and on return none is being called.
static inline void replica_watch(struct replica *r, void (*changed)(void *ctx), void *ctx) {
    r->ops->watch(r, changed, ctx);
}
// REPLICA_GIVEN_UP: it tries now, where it is not REPLICA_AGAIN_NEVER.
static inline void replica_retry(struct replica *r) { r->ops->retry(r); }

// Reads the model's weights and prepares them, on the calling thread: what is being computed goes
// on beside it. It has them until replica_unload. ERR_TOO_LARGE, ERR_NOMEM, and what its files give
// cause for.
static inline MUST_CHECK enum err replica_load(struct replica *r, const struct replica_spec *spec,
                                               struct errmsg *msg) {
    return r->ops->load(r, spec, msg);
}
// No work of it is submitted or in flight. Of a model that is not loaded: nothing happens.
static inline void replica_unload(struct replica *r, uint64_t model) { r->ops->unload(r, model); }
// Bytes of its weights; 0: it is not loaded.
static inline size_t replica_weight_bytes(struct replica *r, uint64_t model) {
    return r->ops->weight_bytes(r, model);
}
// Batches have at most this many tokens, or one sequence of a model's length. Before the first
// one; workspaces for what is loaded, and for what will be, follow from it. ERR_NOMEM.
static inline MUST_CHECK enum err replica_size_batches(struct replica *r, size_t tokens,
                                                       struct errmsg *msg) {
    return r->ops->size_batches(r, tokens, msg);
}
// What a block of the cache takes and the workspace of steps with these limits, of a loaded model
// that generates; makes nothing. ERR_UNSUPPORTED: there is no cache for its heads.
static inline MUST_CHECK enum err
replica_size_steps(struct replica *r, uint64_t model, const struct step_limits *limits,
                   enum dtype kv_dtype, struct replica_step_sizes *out, struct errmsg *msg) {
    return r->ops->size_steps(r, model, limits, kv_dtype, out, msg);
}
// Makes a cache of keys and values and a workspace for steps of a model; *place names them, and is
// never 0. ERR_NOMEM, ERR_TOO_LARGE.
static inline MUST_CHECK enum err replica_open_steps(struct replica *r, uint64_t model,
                                                     const struct step_engine_options *options,
                                                     uint64_t *place, struct errmsg *msg) {
    return r->ops->open_steps(r, model, options, place, msg);
}
// Lets them go, before the model is unloaded; no step of theirs is submitted.
static inline void replica_close_steps(struct replica *r, uint64_t place) {
    r->ops->close_steps(r, place);
}
// Of the workspace, the cache apart.
static inline size_t replica_step_bytes(struct replica *r, uint64_t place) {
    return r->ops->step_bytes(r, place);
}
// Takes work over until its done is called.
static inline void replica_encode(struct replica *r, struct replica_batch *b) {
    r->ops->encode(r, b);
}
static inline void replica_submit_step(struct replica *r, struct replica_step *s) {
    r->ops->step(r, s);
}
// Once a step: the masks are in its parts, draw as soon as the forward is over.
static inline void replica_draw_step(struct replica *r, struct replica_step *s) {
    r->ops->draw(r, s);
}
// Work that is submitted and not done: it ends at the next pause of its forward, or without one.
static inline void replica_cancel(struct replica *r, struct replica_work *w) {
    r->ops->cancel(r, w);
}
static inline struct replica_stats replica_read_stats(struct replica *r) {
    return r->ops->stats(r);
}
// All work is done. Unloads what is loaded still. NULL is fine.
static inline void replica_free(struct replica *r) {
    if (r)
        r->ops->free(r);
}

#endif
