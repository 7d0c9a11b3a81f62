// See engine.h.
#include "engine/engine.h"

#include "base/mem.h"
#include "compute/cpu/cpu.h"
#include "engine/replica_local.h"

enum err engine_open(const struct engine_options *options, struct engine **out,
                     struct errmsg *msg) {
    struct cpu_options cpu = {.threads = options->threads};
    *out = NULL;
    struct engine *e = mem_calloc(1, sizeof *e);
    if (!e)
        return err_set(msg, ERR_NOMEM, "no memory for the engine");
    e->options = *options;
    pthread_mutex_init(&e->adding, NULL);
    enum err err = cpu_device_new(&cpu, &e->device, msg);
    if (!err)
        err = replica_local_new(e->device, &e->replica, msg);
    if (!err)
        err = registry_new(&e->models, msg);
    if (err) {
        engine_close(e);
        return err;
    }
    *out = e;
    return ERR_OK;
}

// A model that is loaded, where nobody finds it yet.
static enum err serve(struct engine *e, const struct model *m, struct errmsg *msg) {
    struct replica_spec spec;
    model_spec(m, &spec);
    enum err err = replica_load(e->replica, &spec, msg);
    if (err)
        return memory_plan_explain(err, "serve fewer models, or smaller ones", msg);
    bool running = e->scheduler != NULL;
    if (running)
        err = scheduler_add_model(e->scheduler, m, msg);
    if (!err && !(err = registry_add(e->models, m, msg)))
        return ERR_OK;
    struct errmsg none;
    if (running && scheduler_remove_model(e->scheduler, m, &none) == ERR_UNAVAILABLE)
        return err; // its last work may not be over: engine_close unloads it
    replica_unload(e->replica, m->id);
    return err;
}

enum err engine_add_model(struct engine *e, const struct model_options *options, struct model **out,
                          struct errmsg *msg) {
    struct model *m = NULL;
    pthread_mutex_lock(&e->adding);
    enum err err = registry_check_names(e->models, options, 1, msg);
    if (!err)
        err = model_load(options, &m, msg);
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
        replica_unload(e->replica, m->id);
    return err;
}

static enum err start(struct engine *e, struct errmsg *msg) {
    size_t n = registry_count(e->models), count = 0;
    struct model **models = mem_calloc(n, sizeof(struct model *));
    if (!models)
        return err_set(msg, ERR_NOMEM, "no memory for %zu models", n);
    for (struct model *m = NULL; (m = registry_next(e->models, m));)
        models[count++] = model_hold(m);
    const struct engine_options *o = &e->options;
    struct scheduler_options options = {
        .replica = e->replica,
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
    replica_free(e->replica);
    cpu_device_free(e->device);
    pthread_mutex_destroy(&e->adding);
    mem_free(e);
}
