// See cli_engine.h.
#include "cli/engine.h"

#include "base/mem.h"
#include "cli/advice.h"
#include "compute/cpu/cpu.h"
#include "hub/store.h"

enum err cli_engine_open(const struct cli_options *o, struct cli_engine *e, struct errmsg *msg) {
    return cli_engine_open_for(TASK_GENERATE, o, e, msg);
}

enum err cli_engine_open_for(enum task task, const struct cli_options *o, struct cli_engine *e,
                             struct errmsg *msg) {
    *e = (struct cli_engine){0};
    const struct cli_model *m = &o->models[0];
    char *path = NULL;
    enum err err = store_resolve(m->spec, &path, msg);
    if (!err)
        err = cli_device_new(o, &e->device, msg);
    struct model_options options = {
        .path = path,
        .name = m->name,
        .task = m->task,
        .to_embed = task == TASK_EMBED,
        .to_rerank = task == TASK_RERANK,
        .pool_mode = m->pool_mode,
        .max_length = m->max_length,
        .dtype = (enum model_dtype)o->dtype,
        .chat_template = m->chat_template,
    };
    if (!err)
        err = model_load(&options, e->device, &e->model, msg);
    struct scheduler_options s = {
        .device = e->device,
        .models = &e->model,
        .model_count = 1,
        .max_batch_tokens = o->service.max_batch_tokens,
        .kv_cache_bytes = o->service.kv_cache_mib << 20,
        .kv_dtype = (enum kv_dtype)o->service.kv_dtype,
        .max_sequences = o->service.max_sequences,
        .no_speculation = o->service.no_speculation,
    };
    if (!err)
        err = scheduler_start(&s, &e->scheduler, msg);
    if (!err)
        err = scheduler_wait_ready(e->scheduler, msg);
    mem_free(path);
    if (err)
        cli_engine_close(e);
    return err;
}

void cli_engine_close(struct cli_engine *e) {
    scheduler_stop(e->scheduler, 0); // NULL is fine
    model_release(e->model);
    cpu_device_free(e->device);
    *e = (struct cli_engine){0};
}
