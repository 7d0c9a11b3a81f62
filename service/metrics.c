// See metrics.h. Counters are relaxed atomics: a reader may see one request's count before its
// duration, never a wrong number.
#include "service/metrics.h"

#include "base/clock.h"
#include "base/mem.h"

#include <pthread.h>
#include <stdatomic.h>

enum { OTHER_STATUS = 0 };

const int metrics_statuses[METRICS_STATUSES] = {0,   200, 204, 400, 401, 404, 405, 408, 413,
                                                415, 422, 424, 429, 431, 499, 500, 503, 504};
const int64_t metrics_bounds_us[METRICS_BOUNDS] = {1000,    2500,    5000,     10000,   25000,
                                                   50000,   100000,  250000,   500000,  1000000,
                                                   2500000, 5000000, 10000000, 60000000};

struct histogram {
    atomic_uint_fast64_t by_duration[METRICS_BOUNDS + 1];
    atomic_uint_fast64_t total_us;
};

struct route_counts {
    atomic_uint_fast64_t by_status[METRICS_STATUSES];
    struct histogram duration;
    atomic_uint_fast64_t unknown_fields;
};

struct metrics {
    pthread_mutex_t mutex;        // guards the models' counts
    struct metrics_model *models; // [model_count] owned; of those that were asked
    size_t model_count;
    struct route_counts routes[METRICS_MAX_ROUTES];
    struct histogram first_token, gap;
    atomic_uint_fast64_t cut;
    int64_t started_us;
};

struct metrics *metrics_new(void) {
    struct metrics *m = mem_calloc(1, sizeof *m);
    if (!m)
        return NULL;
    pthread_mutex_init(&m->mutex, NULL);
    m->started_us = clock_now_us();
    return m;
}

void metrics_free(struct metrics *m) {
    if (!m)
        return;
    pthread_mutex_destroy(&m->mutex);
    mem_free(m->models);
    mem_free(m);
}

static void add(atomic_uint_fast64_t *counter, uint64_t n) {
    atomic_fetch_add_explicit(counter, n, memory_order_relaxed);
}

static uint64_t get(atomic_uint_fast64_t *counter) {
    return atomic_load_explicit(counter, memory_order_relaxed);
}

static int status_index(int status) {
    for (int i = 1; i < METRICS_STATUSES; i++)
        if (metrics_statuses[i] == status)
            return i;
    return OTHER_STATUS;
}

// NULL: it was not asked yet. Mutex held.
static struct metrics_model *counts_of(const struct metrics *m, uint64_t model) {
    for (size_t i = 0; i < m->model_count; i++)
        if (m->models[i].model == model)
            return &m->models[i];
    return NULL;
}

// The same, made at first need; NULL: memory is out.
static struct metrics_model *counts_for(struct metrics *m, uint64_t model) {
    struct metrics_model *c = counts_of(m, model);
    if (c)
        return c;
    c = mem_realloc(m->models, m->model_count + 1, sizeof *m->models);
    if (!c)
        return NULL;
    m->models = c;
    c = &m->models[m->model_count++];
    *c = (struct metrics_model){.model = model};
    return c;
}

void metrics_count_model(struct metrics *m, uint64_t model, const struct metrics_use *use) {
    pthread_mutex_lock(&m->mutex);
    struct metrics_model *c = counts_for(m, model);
    if (c) {
        c->by_status[status_index(use->status)]++;
        c->total_us += use->total_us > 0 ? (uint64_t)use->total_us : 0;
        c->tokens_in += use->tokens_in;
        c->tokens_cached += use->tokens_cached;
        c->tokens_out += use->tokens_out;
    }
    pthread_mutex_unlock(&m->mutex);
}

void metrics_forget_model(struct metrics *m, uint64_t model) {
    pthread_mutex_lock(&m->mutex);
    struct metrics_model *c = counts_of(m, model);
    if (c)
        *c = m->models[--m->model_count];
    pthread_mutex_unlock(&m->mutex);
}

static void count_time(struct histogram *h, int64_t us, uint64_t n) {
    int b = 0;
    while (b < METRICS_BOUNDS && us > metrics_bounds_us[b])
        b++;
    add(&h->by_duration[b], n);
    add(&h->total_us, us > 0 ? (uint64_t)us * n : 0);
}

void metrics_count_request(struct metrics *m, int route, int status, int64_t total_us) {
    struct route_counts *r = &m->routes[route];
    add(&r->by_status[status_index(status)], 1);
    count_time(&r->duration, total_us, 1);
}

void metrics_count_unknown_fields(struct metrics *m, int route, size_t fields) {
    add(&m->routes[route].unknown_fields, fields);
}

void metrics_count_cut(struct metrics *m, size_t inputs) {
    if (inputs)
        add(&m->cut, inputs);
}

void metrics_count_first_token(struct metrics *m, int64_t us) {
    count_time(&m->first_token, us, 1);
}

void metrics_count_gap(struct metrics *m, int64_t us, size_t n) { count_time(&m->gap, us, n); }

// ---- read

static struct metrics_histogram read_histogram(struct histogram *h) {
    struct metrics_histogram out = {.total_us = get(&h->total_us)};
    for (int b = 0; b <= METRICS_BOUNDS; b++)
        out.count += out.by_duration[b] = get(&h->by_duration[b]);
    return out;
}

struct metrics_route metrics_read_route(struct metrics *m, int route) {
    struct route_counts *r = &m->routes[route];
    struct metrics_route out = {.duration = read_histogram(&r->duration),
                                .unknown_fields = get(&r->unknown_fields)};
    for (int i = 0; i < METRICS_STATUSES; i++)
        out.by_status[i] = get(&r->by_status[i]);
    return out;
}

struct metrics_model metrics_read_model(struct metrics *m, uint64_t model) {
    pthread_mutex_lock(&m->mutex);
    const struct metrics_model *c = counts_of(m, model);
    struct metrics_model out = c ? *c : (struct metrics_model){.model = model};
    pthread_mutex_unlock(&m->mutex);
    return out;
}

struct metrics_histogram metrics_read_first_token(struct metrics *m) {
    return read_histogram(&m->first_token);
}

struct metrics_histogram metrics_read_gap(struct metrics *m) {
    return read_histogram(&m->gap);
}

uint64_t metrics_read_cut(struct metrics *m) { return get(&m->cut); }

int64_t metrics_uptime_us(const struct metrics *m) { return clock_now_us() - m->started_us; }

int64_t metrics_started_wall_s(const struct metrics *m) {
    return clock_wall_s() - metrics_uptime_us(m) / 1000000;
}
