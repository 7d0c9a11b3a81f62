// See engine.h.
#include "cli/engine.h"

#include "base/limits.h"
#include "base/mem.h"
#include "hub/store.h"

enum err cli_engine_new(const struct cli_options *o, struct engine **out, struct errmsg *msg) {
    int threads = o->engine.threads, cpus = limits_read_cpus("");
    if (threads > cpus)
        log_event(LOG_LEVEL_WARN, "threads",
                  LOG_FIELDS(log_int("threads", threads), log_int("processors", cpus)),
                  "--threads %d: there are %d processors for this process; more threads than that "
                  "wait for each other",
                  threads, cpus);
    enum err e = engine_open(&o->engine, out, msg);
    if (e != ERR_IO)
        return e;
    struct errmsg why = *msg;
    return err_set(msg, e, "%s; raise it or lower --threads%s", why.text,
                   o->service.max_connections ? " or --max-connections" : "");
}

enum err cli_engine_open(const struct cli_options *o, struct cli_engine *e, struct errmsg *msg) {
    return cli_engine_open_for(TASK_GENERATE, o, e, msg);
}

enum err cli_engine_open_for(enum model_task task, const struct cli_options *o,
                             struct cli_engine *e, struct errmsg *msg) {
    *e = (struct cli_engine){0};
    const struct cli_model *m = &o->models[0];
    char *path = NULL;
    enum err err = store_resolve(m->spec, &path, msg);
    if (!err)
        err = cli_engine_new(o, &e->engine, msg);
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
        err = engine_add_model(e->engine, &options, &e->model, msg);
    if (!err)
        err = engine_start(e->engine, msg);
    mem_free(path);
    if (err) {
        cli_engine_close(e);
        return err;
    }
    e->device = e->engine->device;
    e->scheduler = e->engine->scheduler;
    return ERR_OK;
}

void cli_engine_close(struct cli_engine *e) {
    model_release(e->model);
    engine_close(e->engine);
    *e = (struct cli_engine){0};
}
