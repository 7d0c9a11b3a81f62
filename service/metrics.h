// Counters of what was asked and answered: by route, by model and by how long it took. Role: counts
// and is read; it knows a route by its index, a model by its id, and writes no text of its own.
// Thread rule: counting and reading from any thread; without a lock but for the models' counts, of
// which there are as many as models that were asked.
#ifndef TRINE_SERVICE_METRICS_H
#define TRINE_SERVICE_METRICS_H

#include "base/err.h"

#include <stddef.h>
#include <stdint.h>

struct metrics;

enum {
    METRICS_MAX_ROUTES = 48, // a route's index is below it
    METRICS_STATUSES = 18,
    METRICS_BOUNDS = 14,
};
extern const int metrics_statuses[METRICS_STATUSES];    // the first, 0: every other
extern const int64_t metrics_bounds_us[METRICS_BOUNDS]; // of histograms, 1 ms to 60 s

struct metrics *metrics_new(void);    // NULL: memory is out
void metrics_free(struct metrics *m); // NULL is fine

// ---- counting

// One answered request; total_us from its first byte to its answer.
void metrics_count_request(struct metrics *m, int route, int status, int64_t total_us);
// The same of one model, by its id. Where memory is out it is not counted.
struct metrics_use {
    int status;
    int64_t total_us;
    size_t tokens_in, tokens_cached, tokens_out; // cached ones are among those that came in
};
void metrics_count_model(struct metrics *m, uint64_t model, const struct metrics_use *use);
// A model that was removed: its counts go.
void metrics_forget_model(struct metrics *m, uint64_t model);
void metrics_count_unknown_fields(struct metrics *m, int route, size_t fields);
void metrics_count_cut(struct metrics *m, size_t inputs);      // inputs that were truncated
void metrics_count_first_token(struct metrics *m, int64_t us); // from submission
// n tokens of a generation that came, on average, so long after the one before.
void metrics_count_gap(struct metrics *m, int64_t us, size_t n);

// ---- reading

struct metrics_histogram {
    uint64_t by_duration[METRICS_BOUNDS + 1]; // up to each bound and over the one before; the last
                                              // one: longer than every bound
    uint64_t count, total_us;                 // of all of them
};
struct metrics_route {
    uint64_t by_status[METRICS_STATUSES];
    struct metrics_histogram duration;
    uint64_t unknown_fields;
};
struct metrics_model {
    uint64_t model; // its id
    uint64_t by_status[METRICS_STATUSES];
    uint64_t total_us, tokens_in, tokens_cached, tokens_out;
};
struct metrics_route metrics_read_route(struct metrics *m, int route);
// Zeros where it was not asked.
struct metrics_model metrics_read_model(struct metrics *m, uint64_t model);
struct metrics_histogram metrics_read_first_token(struct metrics *m);
struct metrics_histogram metrics_read_gap(struct metrics *m);
uint64_t metrics_read_cut(struct metrics *m);
int64_t metrics_uptime_us(const struct metrics *m);
// When the program started, in seconds since 1970.
int64_t metrics_started_wall_s(const struct metrics *m);

#endif
