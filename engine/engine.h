// The engine: a device, its replica, the models that are served and the scheduler of their work,
// put together. Role: what every command and the service open, and all that a program needs that
// has models compute; it knows no HTTP and no dialect. Jobs and generations go to `scheduler`,
// models are found in `models`.
// Thread rule: open, start, end and close from one thread, one after the other. Models are added
// and removed by any thread between these, while others are served: one is added after the other,
// a removal waits for nobody but its own model's work. What is made here by its own rules.
#ifndef TRINE_ENGINE_ENGINE_H
#define TRINE_ENGINE_ENGINE_H

#include "engine/registry.h"
#include "engine/scheduler.h"

struct engine_options {
    int threads; // of the device; 0: one for each CPU that this process may use
    // As struct scheduler_options has them.
    size_t max_batch_tokens, max_queue_tokens, kv_cache_mib, max_sequences;
    int kv_dtype; // enum kv_dtype
    bool no_speculation, share_prefixes;
};

struct engine {
    struct engine_options options;
    struct device *device;
    struct replica *replica; // of that device
    struct registry *models;
    struct scheduler *scheduler; // NULL until engine_start
    pthread_mutex_t adding;      // held while a model is added
};

// The device alone. ERR_NOMEM, ERR_IO (the system gives no more threads).
enum err engine_open(const struct engine_options *options, struct engine **out,
                     struct errmsg *msg) MUST_CHECK;
// Loads a model on the caller's thread, while others are served; then it is found by its names.
// *out, where it is not NULL: the model, held for the caller. On an error nothing of it stays:
// those of registry_check_names, model_load, replica_load and scheduler_add_model.
enum err engine_add_model(struct engine *e, const struct model_options *options, struct model **out,
                          struct errmsg *msg) MUST_CHECK;
// From the call on it is not found and no new work of it is taken (ERR_NOT_FOUND); returns when
// what was accepted is done and its weights, workspaces and cache are given back. What is left goes
// with its last holder. The caller holds it. ERR_NOT_FOUND: it is not served, or another removes
// it; ERR_UNAVAILABLE: the engine ends, and the model's memory goes with it.
enum err engine_remove_model(struct engine *e, struct model *m, struct errmsg *msg) MUST_CHECK;
// The scheduler of the models that were added, warm. Errors as scheduler_start and
// scheduler_wait_ready.
enum err engine_start(struct engine *e, struct errmsg *msg) MUST_CHECK;
// As scheduler_end: afterwards the scheduler refuses what comes, and its figures are still read.
void engine_end(struct engine *e, int64_t timeout_us);
// Nobody uses any part of it any more, nor a job of it. NULL is fine.
void engine_close(struct engine *e);

#endif
