// See metrics.h. Counters are relaxed atomics: a reader may see one request's count before its
// duration, never a wrong number.
#include "service/metrics.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/utf8.h"
#include "service/api/api.h"
#include "service/front.h"
#include "service/service.h"

#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <unistd.h>

enum { OTHER_STATUS = 0 };

static const int statuses[] = {0,   200, 204, 400, 401, 404, 405, 408, 413,
                               415, 422, 424, 429, 431, 499, 500, 503, 504};
enum { STATUSES = sizeof statuses / sizeof *statuses };

// Upper bounds in microseconds, 1 ms to 60 s.
static const int64_t bounds_us[] = {1000,   2500,   5000,    10000,   25000,   50000,    100000,
                                    250000, 500000, 1000000, 2500000, 5000000, 10000000, 60000000};
enum { BOUNDS = sizeof bounds_us / sizeof *bounds_us };

struct route_counts {
    atomic_uint_fast64_t by_status[STATUSES];
    atomic_uint_fast64_t by_duration[BOUNDS + 1]; // the last one: longer than every bound
    atomic_uint_fast64_t total_us;
    atomic_uint_fast64_t unknown_fields;
};

struct histogram {
    atomic_uint_fast64_t by_duration[BOUNDS + 1];
    atomic_uint_fast64_t total_us;
};

struct model_counts {
    atomic_uint_fast64_t by_status[STATUSES];
    atomic_uint_fast64_t total_us, tokens_in, tokens_cached, tokens_out;
};

struct metrics {
    struct model_counts *models; // [model_count] owned
    size_t model_count;
    struct route_counts routes[METRICS_MAX_ROUTES];
    struct histogram first_token, gap;
    atomic_uint_fast64_t cut;
    int64_t started_us;
};

struct metrics *metrics_new(void) {
    struct metrics *m = mem_calloc(1, sizeof *m);
    if (m)
        m->started_us = clock_now_us();
    return m;
}

void metrics_free(struct metrics *m) {
    if (m)
        mem_free(m->models);
    mem_free(m);
}

enum err metrics_set_models(struct metrics *m, size_t models, struct errmsg *msg) {
    m->models = mem_calloc(models, sizeof *m->models);
    if (!m->models)
        return err_set(msg, ERR_NOMEM, "no memory for metrics");
    m->model_count = models;
    return ERR_OK;
}

static void add(atomic_uint_fast64_t *counter, uint64_t n) {
    atomic_fetch_add_explicit(counter, n, memory_order_relaxed);
}

static uint64_t get(atomic_uint_fast64_t *counter) {
    return atomic_load_explicit(counter, memory_order_relaxed);
}

static int status_index(int status) {
    for (int i = 1; i < STATUSES; i++)
        if (statuses[i] == status)
            return i;
    return OTHER_STATUS;
}

void metrics_count_model(struct metrics *m, size_t model, const struct model_use *use) {
    if (model >= m->model_count)
        return;
    struct model_counts *c = &m->models[model];
    add(&c->by_status[status_index(use->status)], 1);
    add(&c->total_us, use->total_us > 0 ? (uint64_t)use->total_us : 0);
    add(&c->tokens_in, use->tokens_in);
    add(&c->tokens_cached, use->tokens_cached);
    add(&c->tokens_out, use->tokens_out);
}

void metrics_count_request(struct metrics *m, int route, int status, int64_t total_us) {
    struct route_counts *r = &m->routes[route];
    add(&r->by_status[status_index(status)], 1);
    int b = 0;
    while (b < BOUNDS && total_us > bounds_us[b])
        b++;
    add(&r->by_duration[b], 1);
    add(&r->total_us, total_us > 0 ? (uint64_t)total_us : 0);
}

void metrics_count_unknown_fields(struct metrics *m, int route, size_t fields) {
    add(&m->routes[route].unknown_fields, fields);
}

void metrics_count_cut(struct metrics *m, size_t inputs) {
    if (inputs)
        add(&m->cut, inputs);
}

static void count_time(struct histogram *h, int64_t us, uint64_t n) {
    int b = 0;
    while (b < BOUNDS && us > bounds_us[b])
        b++;
    add(&h->by_duration[b], n);
    add(&h->total_us, us > 0 ? (uint64_t)us * n : 0);
}

void metrics_count_first_token(struct metrics *m, int64_t us) {
    count_time(&m->first_token, us, 1);
}

void metrics_count_gap(struct metrics *m, int64_t us, size_t n) { count_time(&m->gap, us, n); }

static void head(struct buf *out, const char *name, const char *type, const char *help) {
    buf_printf(out, "# HELP trine_%s %s\n# TYPE trine_%s %s\n", name, help, name, type);
}

static void one(struct buf *out, const char *name, const char *type, const char *help,
                double value) {
    head(out, name, type, help);
    buf_printf(out, "trine_%s %.17g\n", name, value);
}

static void status_label(int index, char out[12]) {
    if (index == OTHER_STATUS)
        snprintf(out, 12, "other");
    else
        snprintf(out, 12, "%d", statuses[index]);
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

// One sample for each model.
static void print_by_model(struct metrics *m, const struct service *s, const char *name,
                           const char *help, size_t field, double unit, struct buf *out) {
    head(out, name, "counter", help);
    for (size_t i = 0; i < m->model_count && i < s->model_count; i++) {
        atomic_uint_fast64_t *counter = (void *)((char *)&m->models[i] + field);
        buf_printf(out, "trine_%s{model=\"", name);
        put_label(out, s->models[i]->name);
        buf_printf(out, "\",task=\"%s\"} %.17g\n", task_name(s->models[i]->task),
                   (double)get(counter) * unit);
    }
}

static void print_models(struct metrics *m, const struct service *s, struct buf *out) {
    head(out, "model_requests_total", "counter", "Answered requests that chose a model.");
    for (size_t i = 0; i < m->model_count && i < s->model_count; i++) {
        for (int k = 0; k < STATUSES; k++) {
            uint64_t n = get(&m->models[i].by_status[k]);
            char status[12];
            status_label(k, status);
            if (!n)
                continue;
            buf_puts(out, "trine_model_requests_total{model=\"");
            put_label(out, s->models[i]->name);
            buf_printf(out, "\",task=\"%s\",status=\"%s\"} %llu\n", task_name(s->models[i]->task),
                       status, (unsigned long long)n);
        }
    }
    print_by_model(m, s, "model_request_seconds_total", "Time of a model's requests, in all.",
                   offsetof(struct model_counts, total_us), 1e-6, out);
    print_by_model(m, s, "model_input_tokens_total", "Tokens of a model's inputs and prompts.",
                   offsetof(struct model_counts, tokens_in), 1, out);
    print_by_model(m, s, "model_cached_tokens_total", "Of these, the ones found computed.",
                   offsetof(struct model_counts, tokens_cached), 1, out);
    print_by_model(m, s, "model_output_tokens_total", "Tokens that a model generated.",
                   offsetof(struct model_counts, tokens_out), 1, out);
}

static void print_requests(struct metrics *m, struct buf *out) {
    int routes = api_route_count();
    head(out, "requests_total", "counter", "Answered requests.");
    for (int r = 0; r < routes; r++) {
        for (int s = 0; s < STATUSES; s++) {
            uint64_t n = get(&m->routes[r].by_status[s]);
            char status[12];
            status_label(s, status);
            if (n)
                buf_printf(out, "trine_requests_total{route=\"%s\",status=\"%s\"} %llu\n",
                           api_route_name(r), status, (unsigned long long)n);
        }
    }
    head(out, "request_duration_seconds", "histogram", "From the first byte to the answer.");
    for (int r = 0; r < routes; r++) {
        uint64_t counts[BOUNDS + 1], all = 0;
        for (int b = 0; b <= BOUNDS; b++)
            all += counts[b] = get(&m->routes[r].by_duration[b]);
        if (!all)
            continue;
        uint64_t below = 0;
        for (int b = 0; b < BOUNDS; b++) {
            below += counts[b];
            buf_printf(out, "trine_request_duration_seconds_bucket{route=\"%s\",le=\"%g\"} %llu\n",
                       api_route_name(r), (double)bounds_us[b] / 1e6, (unsigned long long)below);
        }
        buf_printf(out,
                   "trine_request_duration_seconds_bucket{route=\"%s\",le=\"+Inf\"} %llu\n"
                   "trine_request_duration_seconds_sum{route=\"%s\"} %.6f\n"
                   "trine_request_duration_seconds_count{route=\"%s\"} %llu\n",
                   api_route_name(r), (unsigned long long)all, api_route_name(r),
                   (double)get(&m->routes[r].total_us) / 1e6, api_route_name(r),
                   (unsigned long long)all);
    }
    head(out, "unknown_fields_total", "counter", "Request fields that were taken without effect.");
    for (int r = 0; r < routes; r++) {
        uint64_t n = get(&m->routes[r].unknown_fields);
        if (n)
            buf_printf(out, "trine_unknown_fields_total{route=\"%s\"} %llu\n", api_route_name(r),
                       (unsigned long long)n);
    }
    one(out, "truncated_inputs_total", "counter", "Inputs cut to their model's length.",
        (double)get(&m->cut));
}

static void print_scheduler(const struct scheduler_stats *s, struct buf *out) {
    head(out, "jobs_total", "counter", "Jobs by how they ended.");
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
    head(out, "device_seconds_total", "counter", "Time the device computed, by kinds of work.");
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

static void print_histogram(struct histogram *h, const char *name, const char *help,
                            struct buf *out) {
    uint64_t below = 0;
    head(out, name, "histogram", help);
    for (int b = 0; b < BOUNDS; b++) {
        below += get(&h->by_duration[b]);
        buf_printf(out, "trine_%s_bucket{le=\"%g\"} %llu\n", name, (double)bounds_us[b] / 1e6,
                   (unsigned long long)below);
    }
    below += get(&h->by_duration[BOUNDS]);
    buf_printf(out, "trine_%s_bucket{le=\"+Inf\"} %llu\ntrine_%s_sum %.6f\ntrine_%s_count %llu\n",
               name, (unsigned long long)below, name, (double)get(&h->total_us) / 1e6, name,
               (unsigned long long)below);
}

static void print_generation(struct metrics *m, const struct generation_stats *g, struct buf *out) {
    head(out, "generations_total", "counter", "Generations by how they ended.");
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
    print_histogram(&m->first_token, "first_token_seconds",
                    "From a generation's submission to its first token.", out);
    print_histogram(&m->gap, "inter_token_seconds", "Between two tokens of a generation.", out);
}

static void print_http(const struct http_server *server, struct buf *out) {
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

static double resident_bytes(void) {
    FILE *f = fopen("/proc/self/statm", "re");
    long pages = 0;
    if (f) {
        if (fscanf(f, "%*s %ld", &pages) != 1)
            pages = 0;
        fclose(f);
    }
    return (double)pages * (double)sysconf(_SC_PAGE_SIZE);
}

int64_t metrics_started_wall_s(const struct metrics *m) {
    return clock_wall_s() - (clock_now_us() - m->started_us) / 1000000;
}

void metrics_print(struct metrics *m, const struct service *s, struct buf *out) {
    print_requests(m, out);
    // before that there is nothing to count; a service that never was ready has no scheduler
    if (atomic_load(&s->state) != SERVICE_LOADING && s->scheduler) {
        struct scheduler_stats st = scheduler_read_stats(s->scheduler);
        print_models(m, s, out);
        print_scheduler(&st, out);
        print_generation(m, &st.generation, out);
        print_http(s->http, out);
    }
    struct front_stats f = front_read_stats(s->front);
    static const char *const queues[FRONT_QUEUES] = {"quick", "big_render", "big_parse"};
    head(out, "front_tasks_total", "counter", "Tasks that the front pool ran.");
    for (int q = 0; q < FRONT_QUEUES; q++)
        buf_printf(out, "trine_front_tasks_total{queue=\"%s\"} %llu\n", queues[q],
                   (unsigned long long)f.run[q]);
    head(out, "front_queued", "gauge", "Tasks that wait for a thread of the front pool.");
    for (int q = 0; q < FRONT_QUEUES; q++)
        buf_printf(out, "trine_front_queued{queue=\"%s\"} %zu\n", queues[q], f.queued[q]);
    one(out, "log_lines_dropped_total", "counter", "Log lines that a full sink did not take.",
        (double)log_dropped());
    one(out, "resident_bytes", "gauge", "Memory of the process.", resident_bytes());
    one(out, "uptime_seconds", "gauge", "Since the start.",
        (double)(clock_now_us() - m->started_us) / 1e6);
    one(out, "ready", "gauge", "1 when models serve.",
        atomic_load(&s->state) == SERVICE_READY ? 1 : 0);
}
