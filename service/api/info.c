// See info.h.
#include "service/api/info.h"

#include "base/clock.h"
#include "base/json_text.h"
#include "base/version.h"
#include "service/metrics.h"

#include <string.h>

enum {
    DEAD_US = 60000000, // a replica that has come to no pause point for so long hangs
};

static void put_string(struct buf *out, const char *s) { json_quote(out, s, strlen(s)); }

// As clients know the plain types; blocks by their own names ("q8_0").
static const char *dtype_label(enum dtype t) {
    switch (t) {
    case DTYPE_F32:
        return "float32";
    case DTYPE_F16:
        return "float16";
    case DTYPE_BF16:
        return "bfloat16";
    default:
        return dtype_name(t);
    }
}

// Of a generator, prompt and answer.
static size_t max_input_length(const struct api_request *q, const struct model *m) {
    return m->task == TASK_GENERATE ? scheduler_context(q->service->scheduler, m) : m->max_length;
}

static void put_model(const struct api_request *q, const struct model *m, struct buf *out) {
    buf_puts(out, "{\"id\":");
    put_string(out, m->name);
    buf_printf(out,
               ",\"object\":\"model\",\"created\":%lld,\"owned_by\":\"trine\",\"task\":\"%s\","
               "\"max_input_length\":%zu,\"dtype\":\"%s\",\"architecture\":",
               (long long)metrics_started_wall_s(q->service->metrics), model_task_name(m->task),
               max_input_length(q, m), dtype_label(m->dtype));
    put_string(out, model_architecture(m));
    if (m->task == TASK_EMBED)
        buf_printf(out, ",\"dimensions\":%zu,\"pooling\":\"%s\"", m->dim, m->pooling.mode_name);
    buf_puts(out, ",\"aliases\":[");
    for (size_t i = 0; i < m->alias_count; i++) {
        buf_puts(out, i ? "," : "");
        put_string(out, m->aliases[i]);
    }
    buf_puts(out, "]}");
}

enum err api_models(struct api_request *q, struct api_error *err) {
    (void)err;
    struct buf *out = &q->response.body;
    buf_puts(out, "{\"object\":\"list\",\"data\":[");
    const char *between = "";
    for (struct model *m = NULL; (m = registry_next(q->service->models, m));) {
        buf_puts(out, between);
        put_model(q, m, out);
        between = ",";
    }
    buf_puts(out, "]}");
    return ERR_OK;
}

enum err api_model(struct api_request *q, struct api_error *err) {
    const char *name = api_route_rest(q->route, q->http->path);
    struct model *m = service_find_model(q->service, name, TASK_EMBED);
    if (!m)
        return api_fail(err, ERR_NOT_FOUND, "model_not_found", "model",
                        "no such model is loaded; GET /v1/models lists those that are");
    put_model(q, m, &q->response.body);
    model_release(m);
    return ERR_OK;
}

static const char *label(const struct model *m, size_t i) {
    return m->config.label_names ? m->config.label_names[i] : "";
}

static void put_labels(const struct model *m, struct buf *out) {
    buf_puts(out, "{\"id2label\":{");
    for (size_t i = 0; i < m->dim; i++) {
        buf_printf(out, "%s\"%zu\":", i ? "," : "", i);
        put_string(out, label(m, i));
    }
    buf_puts(out, "},\"label2id\":{");
    for (size_t i = 0; i < m->dim; i++) {
        buf_puts(out, i ? "," : "");
        put_string(out, label(m, i));
        buf_printf(out, ":%zu", i);
    }
    buf_puts(out, "}}");
}

// The value of `model` in the query, percent-decoded; false when it is not there or too long.
static bool query_model(const char *query, char *out, size_t cap) {
    static const char key[] = "model=";
    const char *p = query;
    while (p && strncmp(p, key, sizeof key - 1) != 0) {
        p = strchr(p, '&');
        p = p ? p + 1 : NULL;
    }
    if (!p)
        return false;
    size_t n = 0;
    for (p += sizeof key - 1; *p && *p != '&'; p++, n++) {
        unsigned byte = (unsigned char)*p;
        if (*p == '%') {
            static const char digits[] = "0123456789abcdef";
            const char *high = p[1] ? strchr(digits, p[1] | 0x20) : NULL;
            const char *low = high && p[2] ? strchr(digits, p[2] | 0x20) : NULL;
            if (!low)
                return false;
            byte = (unsigned)((high - digits) << 4 | (low - digits));
            p += 2;
        }
        if (n + 1 >= cap)
            return false;
        out[n] = (char)byte;
    }
    out[n] = '\0';
    return true;
}

static void put_info(const struct api_request *q, const struct model *m, struct buf *out) {
    const struct service *s = q->service;
    const struct service_options *o = &s->options;
    buf_puts(out, "{\"model_id\":");
    put_string(out, m->name);
    buf_printf(out,
               ",\"model_sha\":null,\"model_dtype\":\"%s\",\"model_type\":", dtype_label(m->dtype));
    if (m->task == TASK_EMBED) {
        buf_printf(out, "{\"embedding\":{\"pooling\":\"%s\"}}", m->pooling.mode_name);
    } else if (m->task == TASK_GENERATE) {
        buf_printf(out, "{\"generator\":{\"context\":%zu,\"chat\":%s}}",
                   scheduler_context(s->scheduler, m), m->chat_template ? "true" : "false");
    } else {
        buf_puts(out, m->task == TASK_RERANK ? "{\"reranker\":" : "{\"classifier\":");
        put_labels(m, out);
        buf_putc(out, '}');
    }
    buf_printf(out,
               ",\"max_concurrent_requests\":%zu,\"max_input_length\":%zu,"
               "\"max_batch_tokens\":%zu,\"max_batch_requests\":null,"
               "\"max_client_batch_size\":%zu,\"auto_truncate\":true,\"tokenization_workers\":%zu,"
               "\"version\":\"%s\",\"sha\":\"%s\",\"docker_label\":null}",
               o->max_connections, max_input_length(q, m), scheduler_batch_tokens(s->scheduler),
               o->max_client_batch, front_read_stats(s->front).threads, version_number,
               version_commit);
}

enum err api_tei_info(struct api_request *q, struct api_error *err) {
    const struct service *s = q->service;
    char name[256];
    bool named = query_model(q->http->query, name, sizeof name) && service_model_name(s, name);
    struct model *m =
        named ? service_find_model(s, name, TASK_EMBED) : registry_next(s->models, NULL);
    if (!m)
        return api_fail(err, ERR_NOT_FOUND, "model_not_found", "model",
                        "no such model is loaded; GET /v1/models lists those that are");
    put_info(q, m, &q->response.body);
    model_release(m);
    return ERR_OK;
}

enum err api_root(struct api_request *q, struct api_error *err) {
    (void)err;
    q->response.content_type = "text/plain; charset=utf-8";
    buf_puts(&q->response.body, "trine is running\n");
    return ERR_OK;
}

enum err api_livez(struct api_request *q, struct api_error *err) {
    if (atomic_load(&q->service->state) == SERVICE_READY) {
        int64_t seen = scheduler_read_stats(q->service->scheduler).heartbeat_us;
        if (clock_now_us() - seen > DEAD_US)
            return api_fail(err, ERR_UNAVAILABLE, "engine_hangs", NULL,
                            "the engine has come to no pause point for a minute");
        if (engine_read_health(q->service->engine).over)
            return api_fail(err, ERR_UNAVAILABLE, "engine_over", NULL,
                            "nothing can compute until this program is started again");
    }
    buf_puts(&q->response.body, "{\"status\":\"alive\"}");
    return ERR_OK;
}

enum err api_readyz(struct api_request *q, struct api_error *err) {
    (void)err;
    int state = atomic_load(&q->service->state);
    struct engine_health health = {0};
    const char *status = state == SERVICE_LOADING ? "loading" : "draining";
    if (state == SERVICE_READY) {
        static const char *const states[] = {"ready", "degraded", "unavailable"};
        health = engine_read_health(q->service->engine);
        status = states[health.state];
    }
    if (state != SERVICE_READY || health.state == ENGINE_UNABLE) {
        q->response.status = 503;
        buf_puts(&q->response.headers, "Retry-After: 1\r\n");
    }
    struct buf *out = &q->response.body;
    buf_printf(out, "{\"status\":\"%s\"", status);
    if (state == SERVICE_READY) {
        buf_printf(out, ",\"device\":\"%s\"", replica_facts(q->service->engine->replica)->name);
        if (*health.why) {
            buf_puts(out, ",\"reason\":");
            put_string(out, health.why);
        }
    }
    buf_putc(out, '}');
    return ERR_OK;
}
