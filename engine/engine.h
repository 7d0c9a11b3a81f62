// The engine: a device, its replica, the models that are served and the scheduler of their work,
// put together. Role: what every command and the service open, and all that a program needs that
// has models compute; it knows no HTTP and no dialect. Jobs and generations go to `scheduler`,
// models are found in `models`. Thread rule: open, start, end and close from one thread, one after
// the other; models are added from any thread, one at a time, while others are served; what is made
// here by its own rules.
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
    pthread_mutex_t adding;
};

// The device alone. ERR_NOMEM, ERR_IO (the system gives no more threads).
enum err engine_open(const struct engine_options *options, struct engine **out,
                     struct errmsg *msg) MUST_CHECK;
// Loads a model on the caller's thread; then it is found by its names. *out, where it is not NULL:
// the model, held for the caller. Errors as model_load and registry_check_names.
enum err engine_add_model(struct engine *e, const struct model_options *options, struct model **out,
                          struct errmsg *msg) MUST_CHECK;
// The scheduler of the models that were added, warm. Errors as scheduler_start and
// scheduler_wait_ready.
enum err engine_start(struct engine *e, struct errmsg *msg) MUST_CHECK;
// As scheduler_end: afterwards the scheduler refuses what comes, and its figures are still read.
void engine_end(struct engine *e, int64_t timeout_us);
// Nobody uses any part of it any more, nor a job of it. NULL is fine.
void engine_close(struct engine *e);

#endif
