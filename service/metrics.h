// Counters of what was asked and answered, and their Prometheus text. Role: counts by route and
// status and keeps a histogram of durations; the scheduler's, HTTP's and the pool's own counters
// are read when the text is made. Thread rule: counting from any thread, without a lock.
#ifndef TRINE_SERVICE_METRICS_H
#define TRINE_SERVICE_METRICS_H

#include "base/buf.h"
#include "base/err.h"

#include <stdint.h>

struct metrics;
struct service;

enum { METRICS_MAX_ROUTES = 48 }; // api_route_count() is at most this

struct metrics *metrics_new(void);    // NULL: memory is out
void metrics_free(struct metrics *m); // NULL is fine

// Makes room for the counts of this many models. Before requests come. ERR_NOMEM.
enum err metrics_set_models(struct metrics *m, size_t models, struct errmsg *msg) MUST_CHECK;

// One answered request. route is api_route_index's; total_us from its first byte to its answer.
void metrics_count_request(struct metrics *m, int route, int status, int64_t total_us);
// The same of one model: its place among the service's; metrics_set_models comes first.
struct model_use {
    int status;
    int64_t total_us;
    size_t tokens_in, tokens_cached, tokens_out; // cached ones are among those that came in
};
void metrics_count_model(struct metrics *m, size_t model, const struct model_use *use);
void metrics_count_unknown_fields(struct metrics *m, int route, size_t fields);
void metrics_count_cut(struct metrics *m, size_t inputs);      // inputs that were truncated
void metrics_count_first_token(struct metrics *m, int64_t us); // from submission
// n tokens of a generation that came, on average, so long after the one before.
void metrics_count_gap(struct metrics *m, int64_t us, size_t n);

// When the program started, in seconds since 1970.
int64_t metrics_started_wall_s(const struct metrics *m);

// Prometheus text format 0.0.4 of these and of the service's parts.
void metrics_print(struct metrics *m, const struct service *s, struct buf *out);

#endif
