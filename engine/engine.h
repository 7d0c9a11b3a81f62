// The engine: where models are computed, the models that are served and the scheduler of their
// work, put together. Role: what every command and the service open, and all that a program needs
// that has models compute; it knows no HTTP and no dialect. Jobs and generations go to `scheduler`,
// models are found in `models`.
// Models are computed in one of four set-ups:
// - by this process's CPU: one replica, no other process;
// - isolated (`isolate`): by a worker process, and what one has died of by another one, alone, in
//   quarantine. This process has no device;
// - on a device in a worker process (ENGINE_DEVICE_WORKER), with this process's CPU for the numbers
//   that it is held against and, with ENGINE_FALLBACK_CPU, for what it cannot have. Encoders are
//   loaded on both from the start, generators on the CPU when it first needs them;
// - on a GPU (ENGINE_DEVICE_CUDA), which is the same with another program. ENGINE_DEVICE_AUTO has
//   that where there is the program, a card, and room for all models; else this process's CPU, and
//   why is said in one line of the log.
// Thread rule: open, start, end and close from one thread, one after the other. Models are added
// and removed by any thread between these, while others are served: one is added after the other,
// a removal waits for nobody but its own model's work. What is made here by its own rules.
#ifndef TRINE_ENGINE_ENGINE_H
#define TRINE_ENGINE_ENGINE_H

#include "engine/registry.h"
#include "engine/scheduler.h"

struct spawner;

enum engine_device {
    ENGINE_DEVICE_AUTO,
    ENGINE_DEVICE_CPU,
    ENGINE_DEVICE_WORKER,
    ENGINE_DEVICE_CUDA,
};
enum engine_fallback { ENGINE_FALLBACK_CPU, ENGINE_FALLBACK_REJECT };

// Of the worker process, as struct replica_worker_options has them.
struct engine_worker_options {
    const char *program;     // borrowed; with `isolate` and ENGINE_DEVICE_WORKER
    const char *gpu_program; // borrowed; with AUTO and CUDA. NULL: there is none
    const char *card;        // of it; borrowed. NULL: the first
    double gpu_memory;       // of the card's memory, over 0 to 1; 0: as the program has it
    struct spawner *spawner; // borrowed, and outlives the engine
    int64_t watchdog_us, backoff_least_us, backoff_most_us, sentinel_us;
};

struct engine_options {
    int threads; // of the device; 0: one for each CPU that this process may use
    bool isolate;
    int device;         // enum engine_device; WORKER and CUDA not with isolate, AUTO is CPU there
    int fallback;       // enum engine_fallback, of WORKER, CUDA and AUTO
    bool warm_fallback; // generators are loaded on this process's CPU too, from the start
    struct engine_worker_options worker;
    // As struct scheduler_options has them.
    size_t max_batch_tokens, max_queue_tokens, kv_cache_mib, max_sequences;
    int kv_dtype; // enum kv_dtype
    bool no_speculation, share_prefixes;
};

struct engine {
    struct engine_options options;
    struct device *device;   // this process's; NULL where it has none
    struct replica *local;   // of that device; NULL likewise
    struct replica *replica; // the main one, where all goes: local, or a worker
    struct replica *spare;   // for what that cannot have; NULL: there is none
    enum scheduler_spare spare_kind;
    char unused[300]; // ENGINE_DEVICE_AUTO: why the GPU that is there is not used; "": it is, or
                      // there is none
    struct registry *models;
    struct scheduler *scheduler; // NULL until engine_start
    pthread_mutex_t adding;      // held while a model is added
};

// The replicas alone; a worker process is up when it returns. ERR_NOMEM, ERR_IO (the system gives
// no more threads); and of a worker those of replica_worker_new, of which AUTO makes a line of the
// log.
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
// Nobody uses any part of it any more, nor a job of it. Workers end with it. NULL is fine.
void engine_close(struct engine *e);

// Whether it computes, and where: for probes. Any thread, until engine_close.
enum engine_state {
    ENGINE_WELL,
    ENGINE_DEGRADED, // the main replica is down: work waits for it, or the spare has it
    ENGINE_UNABLE,   // it is down or given up, and nothing computes in its place: work is refused
};
struct engine_health {
    enum engine_state state;
    bool over;     // UNABLE, until this program is started again
    char why[512]; // a sentence for people; "" where it is well
};
struct engine_health engine_read_health(struct engine *e);
// Of the device where all goes: "cpu", "cuda".
static inline const char *engine_device_name(const struct engine *e) {
    return replica_facts(e->replica)->name;
}
// The main replica is in another process.
static inline bool engine_has_worker(const struct engine *e) { return e->replica != e->local; }

#endif
