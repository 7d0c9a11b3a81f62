// See engine.h.
#include "engine/engine.h"

#include "base/log.h"
#include "base/mem.h"
#include "compute/cpu/cpu.h"
#include "engine/model_files.h"
#include "engine/replica_local.h"
#include "engine/replica_worker.h"

#include <stdio.h>

// Lives of a worker in a row that end without having computed anything: it is tried much less often
// then.
enum { GIVE_UP_AFTER = 8 };

static enum err open_local(struct engine *e, struct errmsg *msg) {
    struct cpu_options cpu = {.threads = e->options.threads};
    enum err err = cpu_device_new(&cpu, &e->device, msg);
    return err ? err : replica_local_new(e->device, &e->local, msg);
}

// The main worker, and the one for suspects where it is isolated. What a worker of another device
// computes is held against this process's CPU.
static enum err open_workers(struct engine *e, bool gpu, struct errmsg *msg) {
    const struct engine_worker_options *w = &e->options.worker;
    struct replica_worker_options options = {
        .spawner = w->spawner,
        .program = gpu ? w->gpu_program : w->program,
        .device = gpu ? w->card : NULL,
        .device_memory = gpu ? w->gpu_memory : 0,
        .threads = e->options.threads ? e->options.threads : limits_read_cpus(""),
        .watchdog_us = w->watchdog_us,
        .backoff_least_us = w->backoff_least_us,
        .backoff_most_us = w->backoff_most_us,
        .give_up_after = GIVE_UP_AFTER,
        .sentinel_us = w->sentinel_us,
        .reference = e->local,
    };
    enum err err = replica_worker_new(&options, &e->replica, msg);
    if (err || !e->options.isolate)
        return err;
    options.like = e->replica;
    options.quarantine = true;
    e->spare_kind = SPARE_QUARANTINE;
    return replica_worker_new(&options, &e->spare, msg);
}

// Whether the GPU may be left alone, for a reason that is logged.
static bool is_auto(const struct engine *e) { return e->options.device == ENGINE_DEVICE_AUTO; }

static enum err open_gpu(struct engine *e, struct errmsg *msg) {
    struct errmsg why = {0};
    bool there = e->options.worker.gpu_program != NULL;
    if (is_auto(e) && !there) {
        e->replica = e->local;
        return ERR_OK;
    }
    if (!there)
        return err_set(msg, ERR_NOT_FOUND, "there is no program for a GPU");
    enum err err = open_workers(e, true, &why);
    if (err && is_auto(e)) {
        log_event(LOG_LEVEL_WARN, "no_gpu", LOG_FIELDS(log_string("why", why.text)),
                  "no GPU is used, this process's CPU computes: %s", why.text);
        e->replica = e->local;
        return ERR_OK;
    }
    return err ? err_set(msg, err, "--device cuda: %s", why.text) : ERR_OK;
}

static enum err open_replicas(struct engine *e, struct errmsg *msg) {
    enum err err = e->options.isolate ? ERR_OK : open_local(e, msg);
    if (err)
        return err;
    if (e->options.isolate || e->options.device == ENGINE_DEVICE_WORKER)
        return open_workers(e, false, msg);
    if (e->options.device != ENGINE_DEVICE_CPU)
        return open_gpu(e, msg);
    e->replica = e->local;
    return ERR_OK;
}

enum err engine_open(const struct engine_options *options, struct engine **out,
                     struct errmsg *msg) {
    *out = NULL;
    struct engine *e = mem_calloc(1, sizeof *e);
    if (!e)
        return err_set(msg, ERR_NOMEM, "no memory for the engine");
    e->options = *options;
    pthread_mutex_init(&e->adding, NULL);
    enum err err = open_replicas(e, msg);
    if (!err && engine_has_worker(e) && e->local && e->options.fallback == ENGINE_FALLBACK_CPU) {
        e->spare = e->local;
        e->spare_kind = SPARE_CPU;
    }
    if (!err)
        err = registry_new(&e->models, msg);
    if (err) {
        engine_close(e);
        return err;
    }
    *out = e;
    return ERR_OK;
}

// --- models ---

// Bytes of other processes that compute for this one: what they hold now, or at least the weights
// that they have been given.
static size_t bytes_elsewhere(struct engine *e) {
    if (!engine_has_worker(e))
        return 0;
    size_t weights = 0, held = limits_resident_of(replica_health(e->replica).pid);
    if (replica_facts(e->replica)->memory_bytes) // they are in the device's
        return held;
    for (struct model *m = NULL; (m = registry_next(e->models, m));)
        weights += replica_weight_bytes(e->replica, m->id);
    return held > weights ? held : weights;
}

// The same, with what will be loaded later: on this process's CPU what generates, once it is first
// wanted there; in quarantine one model at a time.
static size_t bytes_elsewhere_later(struct engine *e) {
    size_t now = bytes_elsewhere(e), all = 0, missing = 0, largest = 0;
    for (struct model *m = NULL; (m = registry_next(e->models, m));) {
        size_t bytes = replica_weight_bytes(e->replica, m->id);
        all += bytes;
        largest = bytes > largest ? bytes : largest;
        if (e->spare_kind == SPARE_CPU && replica_weight_bytes(e->spare, m->id) == 0)
            missing += bytes;
    }
    size_t program = now > all ? now - all : 0; // (where weights are elsewhere: no quarantine)
    return now + missing + (e->spare_kind == SPARE_QUARANTINE ? program + largest : 0);
}

// What the device's own memory holds already. Caches are made last, and take what is left.
static void plan_room(struct engine *e, struct memory_plan *room) {
    memory_plan_begin_device(room, replica_facts(e->replica)->memory_bytes);
    for (struct model *m = NULL; (m = registry_next(e->models, m));)
        room->resident += replica_weight_bytes(e->replica, m->id);
    if (e->scheduler) {
        struct memory_plans plans = scheduler_memory(e->scheduler);
        room->resident += plans.device.workspaces + plans.device.caches;
    }
}

static enum err load_on(struct engine *e, struct replica *r, const struct model *m,
                        struct errmsg *msg) {
    struct replica_spec spec;
    model_spec(m, &spec);
    bool own = replica_facts(r)->memory_bytes > 0;
    if (own)
        plan_room(e, &spec.room);
    else
        spec.room.resident += bytes_elsewhere(e);
    enum err err = replica_load(r, &spec, msg);
    return own ? err : memory_plan_explain(err, "serve fewer models, or smaller ones", msg);
}

// On this process's CPU first: what a worker computes is held against that from its first row on.
// Where nothing is ever computed there, it is let go again.
static enum err load(struct engine *e, const struct model *m, struct errmsg *msg) {
    bool beside =
        e->local && engine_has_worker(e) && (m->task != TASK_GENERATE || e->options.warm_fallback);
    enum err err = beside ? load_on(e, e->local, m, msg) : ERR_OK;
    if (!err)
        err = load_on(e, e->replica, m, msg);
    if (!err && e->spare_kind == SPARE_QUARANTINE)
        err = load_on(e, e->spare, m, msg); // which reads nothing before it has work of it
    if (beside && (err || !e->spare))
        replica_unload(e->local, m->id);
    if (err)
        replica_unload(e->replica, m->id);
    return err;
}

// Of what the GPU does not come up with, or has no room for, that the CPU may have.
static bool is_for_cpu(const struct engine *e, enum err err) {
    return is_auto(e) && !e->options.isolate && engine_has_worker(e) && !e->scheduler &&
           (err == ERR_UNAVAILABLE || err == ERR_NOMEM || err == ERR_TOO_LARGE ||
            err == ERR_UNSUPPORTED);
}

// Before anything is served: this process's CPU has all models, and there is no other device.
static enum err leave_gpu(struct engine *e, const struct errmsg *why, struct errmsg *msg) {
    struct replica *gpu = e->replica;
    enum err err = ERR_OK;
    log_event(LOG_LEVEL_WARN, "gpu_left", LOG_FIELDS(log_string("why", why->text)),
              "the GPU is not used, this process's CPU computes: %s", why->text);
    snprintf(e->unused, sizeof e->unused, "%.290s", why->text);
    e->replica = e->local;
    e->spare = NULL;
    e->spare_kind = SPARE_NONE;
    replica_free(gpu);
    for (struct model *m = NULL; (m = registry_next(e->models, m));)
        if (!err && replica_weight_bytes(e->local, m->id) == 0)
            err = load_on(e, e->local, m, msg);
    return err;
}

static void unload(struct engine *e, const struct model *m) {
    replica_unload(e->replica, m->id);
    if (e->spare)
        replica_unload(e->spare, m->id);
}

// A model that is loaded, where nobody finds it yet.
static enum err serve(struct engine *e, const struct model *m, struct errmsg *msg) {
    struct errmsg why = {0};
    enum err err = load(e, m, &why);
    if (is_for_cpu(e, err)) {
        err = leave_gpu(e, &why, &why);
        if (!err && replica_weight_bytes(e->local, m->id) == 0)
            err = load_on(e, e->local, m, &why);
    }
    if (err)
        return err_set(msg, err, "%s", why.text);
    bool running = e->scheduler != NULL;
    if (running)
        err = scheduler_add_model(e->scheduler, m, msg);
    if (!err && !(err = registry_add(e->models, m, msg)))
        return ERR_OK;
    struct errmsg none;
    if (running && scheduler_remove_model(e->scheduler, m, &none) == ERR_UNAVAILABLE)
        return err; // its last work may not be over: engine_close unloads it
    unload(e, m);
    return err;
}

enum err engine_add_model(struct engine *e, const struct model_options *options, struct model **out,
                          struct errmsg *msg) {
    struct model *m = NULL;
    pthread_mutex_lock(&e->adding);
    enum err err = registry_check_names(e->models, options, 1, msg);
    if (!err)
        err = model_load(options, &m, msg);
    if (!err && engine_has_worker(e))
        err = model_files_open(m, &m->sources, msg);
    if (!err)
        err = serve(e, m, msg);
    pthread_mutex_unlock(&e->adding);
    if (out)
        *out = err ? NULL : m;
    if (err || !out)
        model_release(m);
    return err;
}

enum err engine_remove_model(struct engine *e, struct model *m, struct errmsg *msg) {
    if (!registry_remove(e->models, m))
        return err_set(msg, ERR_NOT_FOUND, "model '%s' is not served", m->name);
    enum err err = e->scheduler ? scheduler_remove_model(e->scheduler, m, msg) : ERR_OK;
    if (!err)
        unload(e, m);
    return err;
}

// --- from start to end ---

static enum err start_once(struct engine *e, struct errmsg *msg) {
    size_t n = registry_count(e->models), count = 0;
    struct model **models = mem_calloc(n, sizeof(struct model *));
    if (!models)
        return err_set(msg, ERR_NOMEM, "no memory for %zu models", n);
    for (struct model *m = NULL; (m = registry_next(e->models, m));)
        models[count++] = model_hold(m);
    const struct engine_options *o = &e->options;
    struct scheduler_options options = {
        .replica = e->replica,
        .spare = e->spare,
        .spare_kind = e->spare_kind,
        .warm_spare = o->warm_fallback,
        .elsewhere_bytes = bytes_elsewhere_later(e),
        .models = models,
        .model_count = count,
        .max_batch_tokens = o->max_batch_tokens,
        .max_queue_tokens = o->max_queue_tokens,
        .kv_cache_bytes = o->kv_cache_mib << 20,
        .kv_dtype = (enum kv_dtype)o->kv_dtype,
        .max_sequences = o->max_sequences,
        .no_speculation = o->no_speculation,
        .share_prefixes = o->share_prefixes,
    };
    enum err err = scheduler_start(&options, &e->scheduler, msg);
    if (!err)
        err = scheduler_wait_ready(e->scheduler, msg);
    while (count > 0)
        model_release(models[--count]);
    mem_free(models);
    return err;
}

static enum err start(struct engine *e, struct errmsg *msg) {
    struct errmsg why = {0};
    enum err err = start_once(e, &why);
    if (err && e->scheduler) { // not warm
        scheduler_stop(e->scheduler, 0);
        e->scheduler = NULL;
    }
    if (is_for_cpu(e, err) && !(err = leave_gpu(e, &why, &why)))
        err = start_once(e, &why);
    return err ? err_set(msg, err, "%s", why.text) : ERR_OK;
}

enum err engine_start(struct engine *e, struct errmsg *msg) {
    pthread_mutex_lock(&e->adding);
    enum err err = start(e, msg);
    pthread_mutex_unlock(&e->adding);
    return err;
}

void engine_end(struct engine *e, int64_t timeout_us) {
    if (e->scheduler)
        scheduler_end(e->scheduler, timeout_us);
}

void engine_close(struct engine *e) {
    if (!e)
        return;
    engine_end(e, 0);
    scheduler_free(e->scheduler);
    registry_free(e->models);
    if (e->spare != e->local)
        replica_free(e->spare); // it goes by the main one's facts
    if (engine_has_worker(e))
        replica_free(e->replica);
    replica_free(e->local);
    cpu_device_free(e->device);
    pthread_mutex_destroy(&e->adding);
    mem_free(e);
}
