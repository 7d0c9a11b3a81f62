// See exposition.h: Prometheus text format 0.0.4.
#include "service/api/exposition.h"

#include "base/clock.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/utf8.h"
#include "service/api/api.h"
#include "service/api/exposition_internal.h"
#include "service/metrics.h"

#include <stddef.h>
#include <stdio.h>

void exposition_head(struct buf *out, const char *name, const char *type, const char *help) {
    buf_printf(out, "# HELP trine_%s %s\n# TYPE trine_%s %s\n", name, help, name, type);
}

static void one(struct buf *out, const char *name, const char *type, const char *help,
                double value) {
    exposition_head(out, name, type, help);
    buf_printf(out, "trine_%s %.17g\n", name, value);
}

static void status_label(int index, char out[12]) {
    if (metrics_statuses[index])
        snprintf(out, 12, "%d", metrics_statuses[index]);
    else
        snprintf(out, 12, "other");
}

// A label's value as the format has it; a name is the operator's and may hold anything.
static void put_label(struct buf *out, const char *name) {
    char tidy[256];
    snprintf(tidy, sizeof tidy, "%s", name);
    utf8_tidy(tidy);
    for (const char *p = tidy; *p; p++) {
        if (*p == '"' || *p == '\\')
            buf_putc(out, '\\');
        buf_putc(out, *p);
    }
}

// label: of each sample, "route=\"/x\"", or "".
static void put_histogram(const char *name, const char *label, const struct metrics_histogram *h,
                          struct buf *out) {
    const char *comma = *label ? "," : "";
    char braced[160] = "";
    uint64_t below = 0;
    if (*label)
        snprintf(braced, sizeof braced, "{%s}", label);
    for (int b = 0; b < METRICS_BOUNDS; b++) {
        below += h->by_duration[b];
        buf_printf(out, "trine_%s_bucket{%s%sle=\"%g\"} %llu\n", name, label, comma,
                   (double)metrics_bounds_us[b] / 1e6, (unsigned long long)below);
    }
    buf_printf(out,
               "trine_%s_bucket{%s%sle=\"+Inf\"} %llu\ntrine_%s_sum%s %.6f\n"
               "trine_%s_count%s %llu\n",
               name, label, comma, (unsigned long long)h->count, name, braced,
               (double)h->total_us / 1e6, name, braced, (unsigned long long)h->count);
}

// ---- models

static void put_model_labels(const struct model *m, struct buf *out) {
    buf_puts(out, "{model=\"");
    put_label(out, m->name);
    buf_printf(out, "\",task=\"%s\"", model_task_name(m->task));
}

// One sample for each model, of the counter that lies at `field`.
static void put_by_model(const struct service *s, const char *name, const char *help, size_t field,
                         double unit, struct buf *out) {
    exposition_head(out, name, "counter", help);
    for (struct model *m = NULL; (m = registry_next(s->models, m));) {
        struct metrics_model counts = metrics_read_model(s->metrics, m->id);
        uint64_t n = *(const uint64_t *)(const void *)((const char *)&counts + field);
        buf_printf(out, "trine_%s", name);
        put_model_labels(m, out);
        buf_printf(out, "} %.17g\n", (double)n * unit);
    }
}

static void put_models(const struct service *s, struct buf *out) {
    exposition_head(out, "model_requests_total", "counter",
                    "Answered requests that chose a model.");
    for (struct model *m = NULL; (m = registry_next(s->models, m));) {
        struct metrics_model counts = metrics_read_model(s->metrics, m->id);
        for (int k = 0; k < METRICS_STATUSES; k++) {
            char status[12];
            status_label(k, status);
            if (!counts.by_status[k])
                continue;
            buf_puts(out, "trine_model_requests_total");
            put_model_labels(m, out);
            buf_printf(out, ",status=\"%s\"} %llu\n", status,
                       (unsigned long long)counts.by_status[k]);
        }
    }
    put_by_model(s, "model_request_seconds_total", "Time of a model's requests, in all.",
                 offsetof(struct metrics_model, total_us), 1e-6, out);
    put_by_model(s, "model_input_tokens_total", "Tokens of a model's inputs and prompts.",
                 offsetof(struct metrics_model, tokens_in), 1, out);
    put_by_model(s, "model_cached_tokens_total", "Of these, the ones found computed.",
                 offsetof(struct metrics_model, tokens_cached), 1, out);
    put_by_model(s, "model_output_tokens_total", "Tokens that a model generated.",
                 offsetof(struct metrics_model, tokens_out), 1, out);
}

// ---- routes

static void put_requests(struct metrics *m, struct buf *out) {
    int routes = api_route_count();
    exposition_head(out, "requests_total", "counter", "Answered requests.");
    for (int r = 0; r < routes; r++) {
        struct metrics_route counts = metrics_read_route(m, r);
        for (int s = 0; s < METRICS_STATUSES; s++) {
            char status[12];
            status_label(s, status);
            if (counts.by_status[s])
                buf_printf(out, "trine_requests_total{route=\"%s\",status=\"%s\"} %llu\n",
                           api_route_name(r), status, (unsigned long long)counts.by_status[s]);
        }
    }
    exposition_head(out, "request_duration_seconds", "histogram",
                    "From the first byte to the answer.");
    for (int r = 0; r < routes; r++) {
        struct metrics_route counts = metrics_read_route(m, r);
        char label[128];
        snprintf(label, sizeof label, "route=\"%s\"", api_route_name(r));
        if (counts.duration.count)
            put_histogram("request_duration_seconds", label, &counts.duration, out);
    }
    exposition_head(out, "unknown_fields_total", "counter",
                    "Request fields that were taken without effect.");
    for (int r = 0; r < routes; r++) {
        uint64_t n = metrics_read_route(m, r).unknown_fields;
        if (n)
            buf_printf(out, "trine_unknown_fields_total{route=\"%s\"} %llu\n", api_route_name(r),
                       (unsigned long long)n);
    }
    one(out, "truncated_inputs_total", "counter", "Inputs cut to their model's length.",
        (double)metrics_read_cut(m));
}

// ---- what the service is made of

static void put_scheduler(const struct scheduler_stats *s, struct buf *out) {
    exposition_head(out, "jobs_total", "counter", "Jobs by how they ended.");
    const struct {
        const char *name;
        uint64_t n;
    } ends[] = {{"done", s->jobs_done},
                {"failed", s->jobs_failed},
                {"cancelled", s->jobs_cancelled},
                {"late", s->jobs_late},
                {"refused", s->jobs_refused}};
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++)
        buf_printf(out, "trine_jobs_total{outcome=\"%s\"} %llu\n", ends[i].name,
                   (unsigned long long)ends[i].n);
    one(out, "batches_total", "counter", "Forward passes.", (double)s->batches);
    one(out, "tokens_total", "counter", "Tokens computed.", (double)s->tokens);
    one(out, "sequences_total", "counter", "Sequences computed.", (double)s->sequences);
    one(out, "yields_total", "counter", "Bulk forwards that let interactive work pass.",
        (double)s->yields);
    one(out, "forwards_ended_total", "counter",
        "Forward passes that ended early: nobody waited for them, or the service stopped.",
        (double)(s->forwards_ended + s->generation.steps_ended));
    exposition_head(out, "device_seconds_total", "counter",
                    "Time the device computed, by kinds of work.");
    static const char *const kinds[SHARE_COUNT] = {"interactive", "decode", "prefill", "bulk"};
    for (int i = 0; i < SHARE_COUNT; i++)
        buf_printf(out, "trine_device_seconds_total{work=\"%s\"} %.6f\n", kinds[i],
                   (double)s->used_us[i] / 1e6);
    one(out, "device_busy_seconds_total", "counter", "Time the device computed.",
        (double)s->busy_us / 1e6);
    one(out, "queue_tokens", "gauge", "Tokens held by waiting requests.", (double)s->queued_tokens);
    one(out, "queue_jobs", "gauge", "Jobs that still have sequences to be taken into a batch.",
        (double)s->queued_jobs);
    one(out, "workspace_bytes", "gauge", "The engine's workspaces.", (double)s->workspace_bytes);
}

static void put_generation(struct metrics *m, const struct generation_stats *g, struct buf *out) {
    exposition_head(out, "generations_total", "counter", "Generations by how they ended.");
    const struct {
        const char *name;
        uint64_t n;
    } ends[] = {
        {"done", g->done}, {"failed", g->failed}, {"cancelled", g->cancelled}, {"late", g->late}};
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++)
        buf_printf(out, "trine_generations_total{outcome=\"%s\"} %llu\n", ends[i].name,
                   (unsigned long long)ends[i].n);
    one(out, "prompt_tokens_total", "counter", "Tokens of prompts, reused ones included.",
        (double)g->prompt_tokens);
    one(out, "cached_tokens_total", "counter", "Tokens of prompts that were found computed.",
        (double)g->cached_tokens);
    one(out, "output_tokens_total", "counter", "Tokens generated.", (double)g->output_tokens);
    one(out, "generation_steps_total", "counter", "Forward passes of generation.",
        (double)g->steps);
    one(out, "preemptions_total", "counter", "Sequences set back because the cache was full.",
        (double)g->preemptions);
    one(out, "drafted_tokens_total", "counter", "Tokens proposed by speculation.",
        (double)g->drafted);
    one(out, "accepted_tokens_total", "counter", "Of these, the ones that were right.",
        (double)g->accepted);
    one(out, "sequences_running", "gauge", "Sequences that are generated now.", (double)g->running);
    one(out, "sequences_waiting", "gauge", "Sequences that wait for room.", (double)g->waiting);
    one(out, "kv_blocks", "gauge", "Blocks of the key and value cache.", (double)g->kv_blocks);
    one(out, "kv_blocks_used", "gauge", "Blocks that running sequences refer to.",
        (double)g->kv_blocks_used);
    one(out, "kv_blocks_kept", "gauge", "Blocks kept only for reuse.", (double)g->kv_blocks_kept);
    one(out, "kv_bytes", "gauge", "Memory of the key and value cache.", (double)g->kv_bytes);
    struct metrics_histogram first = metrics_read_first_token(m), gap = metrics_read_gap(m);
    exposition_head(out, "first_token_seconds", "histogram",
                    "From a generation's submission to its first token.");
    put_histogram("first_token_seconds", "", &first, out);
    exposition_head(out, "inter_token_seconds", "histogram", "Between two tokens of a generation.");
    put_histogram("inter_token_seconds", "", &gap, out);
}

static void put_http(const struct http_server *server, struct buf *out) {
    struct http_stats h = http_read_stats(server);
    one(out, "http_requests_total", "counter", "Requests read from sockets.", (double)h.requests);
    one(out, "http_refused_connections_total", "counter", "Connections over the limit.",
        (double)h.refused_connections);
    one(out, "http_bad_framing_total", "counter", "Requests refused for their framing.",
        (double)h.bad_framing);
    one(out, "http_client_gone_total", "counter", "Clients that left before their answer.",
        (double)h.client_gone);
    one(out, "http_write_failed_total", "counter", "Answers that could not be written.",
        (double)h.write_failed);
    one(out, "http_let_go_connections_total", "counter",
        "Idle connections closed to make room for others.", (double)h.let_go_connections);
    one(out, "http_unread_bytes", "gauge", "Bytes of answers that wait for their readers.",
        (double)h.unread_bytes);
    one(out, "http_open_connections", "gauge", "Open connections.", (double)h.open_connections);
    one(out, "http_in_progress", "gauge", "Requests being answered.",
        (double)http_in_progress(server));
}

static void put_front(struct front *front, struct buf *out) {
    static const char *const queues[FRONT_QUEUES] = {"quick", "big_render", "big_parse"};
    struct front_stats f = front_read_stats(front);
    exposition_head(out, "front_tasks_total", "counter", "Tasks that the front pool ran.");
    for (int q = 0; q < FRONT_QUEUES; q++)
        buf_printf(out, "trine_front_tasks_total{queue=\"%s\"} %llu\n", queues[q],
                   (unsigned long long)f.run[q]);
    exposition_head(out, "front_queued", "gauge",
                    "Tasks that wait for a thread of the front pool.");
    for (int q = 0; q < FRONT_QUEUES; q++)
        buf_printf(out, "trine_front_queued{queue=\"%s\"} %zu\n", queues[q], f.queued[q]);
}

enum err api_metrics(struct api_request *q, struct api_error *err) {
    (void)err;
    const struct service *s = q->service;
    struct buf *out = &q->response.body;
    int state = atomic_load(&s->state);
    q->response.content_type = "text/plain; version=0.0.4; charset=utf-8";
    put_requests(s->metrics, out);
    // before that there is nothing to count; a service that never was ready has no scheduler
    if (state != SERVICE_LOADING && s->scheduler) {
        struct scheduler_stats st = scheduler_read_stats(s->scheduler);
        put_models(s, out);
        put_scheduler(&st, out);
        put_generation(s->metrics, &st.generation, out);
        put_http(s->http, out);
        exposition_put_workers(s->engine, &st, out);
    }
    put_front(s->front, out);
    one(out, "log_lines_dropped_total", "counter", "Log lines that a full sink did not take.",
        (double)log_dropped());
    one(out, "resident_bytes", "gauge", "Memory of the process.", (double)limits_resident());
    one(out, "uptime_seconds", "gauge", "Since the start.",
        (double)metrics_uptime_us(s->metrics) / 1e6);
    one(out, "ready", "gauge", "1 when models serve.", state == SERVICE_READY ? 1 : 0);
    return ERR_OK;
}
