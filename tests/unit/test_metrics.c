// Counters: what is counted by route and by model is what is read; each duration falls into one
// bucket, its bound included.
#include "service/metrics.h"
#include "tests/check.h"

enum { ROUTE = 3, OTHER = 4 };

static void test_routes(void) {
    struct metrics *m = metrics_new();
    const int last = METRICS_BOUNDS - 1;
    metrics_count_request(m, ROUTE, 200, metrics_bounds_us[0]); // a bound is its bucket's
    metrics_count_request(m, ROUTE, 200, metrics_bounds_us[0] + 1);
    metrics_count_request(m, ROUTE, 418, metrics_bounds_us[last] + 1); // no status of ours
    metrics_count_request(m, ROUTE, 504, -5);
    metrics_count_unknown_fields(m, ROUTE, 2);
    metrics_count_unknown_fields(m, ROUTE, 3);
    struct metrics_route r = metrics_read_route(m, ROUTE), none = metrics_read_route(m, OTHER);
    CHECK_INT(r.duration.by_duration[0], 2); // a clock that went back counts as no time
    CHECK_INT(r.duration.by_duration[1], 1);
    CHECK_INT(r.duration.by_duration[METRICS_BOUNDS], 1);
    CHECK_INT(r.duration.count, 4);
    CHECK_INT(r.duration.total_us, 2 * metrics_bounds_us[0] + 1 + metrics_bounds_us[last] + 1);
    CHECK_INT(r.unknown_fields, 5);
    uint64_t answered = 0;
    for (int i = 0; i < METRICS_STATUSES; i++) {
        int status = metrics_statuses[i];
        answered += r.by_status[i];
        CHECK_INT(r.by_status[i], status == 200 ? 2 : status == 504 || status == 0 ? 1 : 0);
    }
    CHECK_INT(answered, 4);
    CHECK(none.duration.count == 0 && none.unknown_fields == 0);
    metrics_free(m);
}

static void test_models(void) {
    struct metrics *m = metrics_new();
    const struct metrics_use use = {
        .status = 200, .total_us = 7, .tokens_in = 10, .tokens_cached = 4, .tokens_out = 2};
    for (uint64_t model = 1; model <= 20; model++)
        for (uint64_t i = 0; i < model; i++)
            metrics_count_model(m, model, &use);
    for (uint64_t model = 1; model <= 20; model++) {
        struct metrics_model c = metrics_read_model(m, model);
        CHECK_INT(c.tokens_in, 10 * model);
        CHECK_INT(c.tokens_cached, 4 * model);
        CHECK_INT(c.tokens_out, 2 * model);
        CHECK_INT(c.total_us, 7 * model);
    }
    metrics_forget_model(m, 7);
    CHECK_INT(metrics_read_model(m, 7).tokens_in, 0);
    CHECK_INT(metrics_read_model(m, 20).tokens_in, 200);
    CHECK_INT(metrics_read_model(m, 8).tokens_in, 80);
    metrics_free(m);
}

static void test_rest(void) {
    struct metrics *m = metrics_new();
    metrics_count_first_token(m, 1500);
    metrics_count_gap(m, 1000, 3);
    metrics_count_cut(m, 0);
    metrics_count_cut(m, 2);
    struct metrics_histogram first = metrics_read_first_token(m), gap = metrics_read_gap(m);
    CHECK(first.count == 1 && first.by_duration[1] == 1 && first.total_us == 1500);
    CHECK(gap.count == 3 && gap.by_duration[0] == 3 && gap.total_us == 3000);
    CHECK_INT(metrics_read_cut(m), 2);
    CHECK(metrics_uptime_us(m) >= 0 && metrics_started_wall_s(m) > 1600000000);
    metrics_free(m);
}

int main(void) {
    test_routes();
    test_models();
    test_rest();
    return check_done();
}
