// See server.h: the port opens first, models load behind it, requests are answered when the warm-up
// has run, and a drain lets everything accepted finish.
#include "service/server.h"

#include "base/clock.h"
#include "base/log.h"
#include "service/api/api.h"
#include "service/api/cors.h"
#include "service/front.h"
#include "service/keys.h"
#include "service/metrics.h"

#include <malloc.h>
#include <string.h>
#include <time.h>

// A head and body must be whole within this: a client that drips holds a thread no longer.
static int read_timeout_ms(const struct service_options *o) {
    enum { MOST_S = 30 };
    return (o->request_timeout_s < MOST_S ? o->request_timeout_s : MOST_S) * 1000;
}

static enum err start_parts(struct service *s, struct errmsg *msg) {
    enum err e = ERR_OK;
    if (s->options.api_key_file)
        e = keys_load(s->options.api_key_file, &s->keys, msg);
    if (e)
        return e;
    s->metrics = metrics_new();
    if (!s->metrics)
        return err_set(msg, ERR_NOMEM, "no memory for metrics");
    struct front_options front = {0};
    e = front_start(&front, &s->front, msg);
    if (e)
        return e;
    struct http_options http = {
        .host = s->options.host,
        .port = s->options.port,
        .max_connections = s->options.max_connections,
        .max_body = s->options.max_body,
        .read_timeout_ms = read_timeout_ms(&s->options),
        .write_timeout_ms = s->options.request_timeout_s * 1000,
        .look = api_look,
        .put_headers = api_put_cors,
        .check_head = api_check_head,
        .handle = api_handle,
        .on_cut = api_note_cut,
        .ctx = s,
    };
    return s->options.no_port ? http_try(&http, msg) : http_start(&http, &s->http, msg);
}

enum err service_open(struct service *s, const struct service_options *options,
                      struct errmsg *msg) {
    *s = (struct service){.options = *options};
    atomic_store(&s->state, SERVICE_LOADING);
    enum err e = start_parts(s, msg);
    if (e)
        service_close(s);
    return e;
}

// What it does not chat for, or calls no tools for.
static void tell_of_chat(const struct model *m) {
    struct buf tools = {0};
    if (m->task != TASK_GENERATE)
        return;
    if (m->template_msg.code == ERR_NOT_FOUND)
        log_event(LOG_LEVEL_INFO, "no_chat",
                  LOG_FIELDS(log_string("model", m->name), log_string("why", m->template_msg.text)),
                  "model '%s' completes texts but cannot chat: %s", m->name, m->template_msg.text);
    else if (!m->chat_template)
        log_event(
            LOG_LEVEL_WARN, "no_chat",
            LOG_FIELDS(log_string("model", m->name), log_string("why", m->template_msg.text)),
            "model '%s' completes texts but cannot chat: %s; --chat-template FILE|chatml gives "
            "another template",
            m->name, m->template_msg.text);
    else if (m->template_msg.code)
        log_event(LOG_LEVEL_WARN, "no_tools",
                  LOG_FIELDS(log_string("model", m->name), log_string("why", m->template_msg.text)),
                  "model '%s' chats but takes no tools: %s", m->name, m->template_msg.text);
    if (!m->chat_template || m->template_msg.code)
        return;
    tool_form_describe(&m->tool_form, &tools);
    const char *form = tools.failed ? "" : tools.data;
    log_event(LOG_LEVEL_INFO, "chat_template",
              LOG_FIELDS(log_string("model", m->name), log_string("tools", form)),
              "model '%s': chat template: %s", m->name, form);
    buf_free(&tools);
}

static void tell_of_model(const struct model *m, size_t bytes, int64_t us) {
    long long ms = (long long)us / 1000;
    log_event(LOG_LEVEL_INFO, "model_loaded",
              LOG_FIELDS(log_string("model", m->name), log_string("task", model_task_name(m->task)),
                         log_string("architecture", model_architecture(m)),
                         log_size("layers", model_layers(m)), log_size("max_tokens", m->max_length),
                         log_size("weight_bytes", bytes), log_int("duration_ms", ms),
                         log_string("path", m->path)),
              "model '%s': %s, %s, %zu layers, %zu tokens at most, %zu MiB, loaded in %lld ms",
              m->name, model_task_name(m->task), model_architecture(m), model_layers(m),
              m->max_length, bytes >> 20, ms);
}

enum err service_load_models(struct service *s, struct engine *engine,
                             const struct model_options *options, size_t n, struct errmsg *msg) {
    s->engine = engine;
    s->models = engine->models;
    enum err e = registry_check_names(s->models, options, n, msg);
    for (size_t i = 0; i < n && !e; i++) {
        int64_t start = clock_now_us();
        struct model *m;
        e = engine_add_model(engine, &options[i], &m, msg);
        if (!e)
            tell_of_model(m, replica_weight_bytes(engine->replica, m->id), clock_now_us() - start);
        model_release(m);
    }
    for (struct model *m = NULL; !e && (m = registry_next(s->models, m));)
        tell_of_chat(m);
    return e;
}

static void warn_of_short_caches(const struct service *s) {
    for (struct model *m = NULL; (m = registry_next(s->models, m));) {
        size_t context = scheduler_context(s->scheduler, m);
        if (m->task == TASK_GENERATE && context < m->max_length)
            log_event(LOG_LEVEL_WARN, "short_cache",
                      LOG_FIELDS(log_string("model", m->name), log_size("cache_tokens", context),
                                 log_size("context", m->max_length)),
                      "model '%s': the KV cache holds %zu tokens, so no text may be longer, though "
                      "the model's context is %zu; raise --kv-cache-mib",
                      m->name, context, m->max_length);
    }
}

enum err service_make_ready(struct service *s, struct errmsg *msg) {
    enum err e = engine_start(s->engine, msg);
    s->scheduler = s->engine->scheduler;
    if (e == ERR_IO) { // its thread; connections have taken theirs before
        struct errmsg why = *msg;
        return err_set(msg, e, "%s; raise it or lower --max-connections", why.text);
    }
    // loading parsed megabytes of JSON; what that took goes back before requests come
    malloc_trim(0);
    if (!e)
        warn_of_short_caches(s);
    if (!e) // what was set before is seen by every thread that sees READY
        atomic_store(&s->state, SERVICE_READY);
    return e;
}

enum err service_remove_model(struct service *s, struct model *m, struct errmsg *msg) {
    enum err e = engine_remove_model(s->engine, m, msg);
    if (!e) {
        front_forget_model(s->front, m->id);
        metrics_forget_model(s->metrics, m->id);
    }
    return e;
}

// Probes say 503 while all else goes on, so that whoever looks at them sends nothing more here.
static void wait_delay(int64_t delay_us, int64_t until_us) {
    int64_t now = clock_now_us(), most = (until_us - now) / 2;
    int64_t nap_us = delay_us < most ? delay_us : most;
    struct timespec nap = {.tv_sec = nap_us / 1000000, .tv_nsec = nap_us % 1000000 * 1000};
    while (nap_us > 0 && nanosleep(&nap, &nap) != 0)
        ;
}

bool service_drain(struct service *s, int64_t delay_us, int64_t timeout_us) {
    int64_t until = clock_now_us() + timeout_us;
    atomic_store(&s->state, SERVICE_DRAINING);
    http_drain_begin(s->http);
    wait_delay(delay_us, until);
    bool drained = http_drain(s->http, until);
    if (s->scheduler) // last: until here it took what came
        scheduler_drain(s->scheduler);
    return drained;
}

void service_close(struct service *s) {
    // the scheduler ends what is left with an error, the front renders it, then sockets close
    if (s->engine)
        engine_end(s->engine, 0);
    if (s->http)
        http_stop(s->http, 1000000);
    front_stop(s->front);
    metrics_free(s->metrics);
    keys_free(s->keys);
    *s = (struct service){0};
}
