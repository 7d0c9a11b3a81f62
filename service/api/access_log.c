// See access_log.h.
#include "service/api/access_log.h"

#include "base/buf.h"
#include "base/log.h"
#include "service/api/api.h"
#include "service/keys.h"
#include "service/metrics.h"

#include <stdio.h>

static enum log_level level_of(const struct api_access *a) {
    if (a->status >= 500 && a->status != 504 && a->error) // a deadline is the client's wish
        return LOG_LEVEL_WARN;
    return a->probe ? LOG_LEVEL_DEBUG : LOG_LEVEL_INFO;
}

static const char *error_of(const struct api_access *a) {
    if (!a->error)
        return NULL;
    return a->error->slug ? a->error->slug : err_name(a->error->msg.code);
}

// " model=m key=k": what a line of text says beyond the status.
static void add_word(struct buf *out, const char *name, const char *value) {
    if (value)
        buf_printf(out, " %s=%.80s", name, value);
}

static void add_count(struct buf *out, const char *name, size_t n) {
    if (n)
        buf_printf(out, " %s=%zu", name, n);
}

static void write_line(const struct api_access *a, enum log_level level) {
    const char *key = a->key ? a->key->name : NULL, *model = a->model ? a->model->name : NULL;
    const char *route = api_route_name(a->route), *error = error_of(a);
    // a message may quote the request where it is the client's fault
    const char *why = level == LOG_LEVEL_WARN ? a->error->msg.text : NULL;
    double ms = (double)a->total_us / 1e3;
    struct buf rest = {0};
    add_word(&rest, "model", model);
    add_word(&rest, "key", key);
    add_count(&rest, "input_tokens", a->tokens_in);
    add_count(&rest, "cached_tokens", a->tokens_cached);
    add_count(&rest, "output_tokens", a->tokens_out);
    add_count(&rest, "truncated", a->truncated);
    add_word(&rest, "error", error);
    log_event(
        level, "request",
        LOG_FIELDS(
            log_string("id", a->http->id), log_string("method", a->http->method),
            log_string("route", route), log_int("status", a->status), log_real("duration_ms", ms),
            log_real("tokenize_ms", (double)a->tokenize_us / 1e3),
            log_real("queue_ms", (double)a->queue_us / 1e3),
            log_real("compute_ms", (double)a->compute_us / 1e3), log_string("model", model),
            log_string("key", key), log_size("input_tokens", a->tokens_in),
            log_size("cached_tokens", a->tokens_cached), log_size("output_tokens", a->tokens_out),
            log_size("truncated", a->truncated), log_bool("stream", a->stream),
            log_string("error", error), log_string("error_message", why)),
        "%.20s %s: %d in %.3f ms%s%s%s [%s]", a->http->method, route, a->status, ms,
        rest.len && !rest.failed ? rest.data : "", why ? ": " : "", why ? why : "", a->http->id);
    buf_free(&rest);
}

void api_access_note(const struct service *s, const struct api_access *a) {
    metrics_count_request(s->metrics, a->route, a->status, a->total_us);
    if (a->model) {
        const struct metrics_use use = {.status = a->status,
                                        .total_us = a->total_us,
                                        .tokens_in = a->tokens_in,
                                        .tokens_cached = a->tokens_cached,
                                        .tokens_out = a->tokens_out};
        metrics_count_model(s->metrics, a->model->id, &use);
    }
    enum log_level level = level_of(a);
    if (log_is_on(level))
        write_line(a, level);
}
