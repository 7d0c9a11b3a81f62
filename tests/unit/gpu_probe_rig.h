// What the emulated GPU's own tests share: one GPU with two streams, and the count of violations.
// Role: tests/unit/test_gpu_emulated*.c. Thread rule: main thread only.
#ifndef TRINE_TESTS_GPU_PROBE_RIG_H
#define TRINE_TESTS_GPU_PROBE_RIG_H

#include "tests/check.h"
#include "tests/gpu/emulated_gpu.h"
#include "tests/gpu/probe.h"

#include <stdlib.h>

struct probe_rig {
    const struct gpu_api *api;
    struct gpu *g;
    struct gpu_stream *s, *other;
    struct gpu_event *e;
    float *x, *y; // device memory of PROBE_THREADS floats; x holds 0, 1, 2 ...
};

static inline struct gpu_emulated_settings probe_settings(uint64_t seed) {
    return (struct gpu_emulated_settings){
        .count = 1, .memory_bytes = 16 << 20, .seed = seed, .driver = 13000, .quiet = true};
}

static inline void probe_wait(const struct probe_rig *r) {
    r->api->record(r->s, r->e);
    r->api->wait(r->e);
}

// Where x holds nothing yet.
static inline struct probe_rig probe_open_empty(uint64_t seed) {
    struct gpu_emulated_settings set = probe_settings(seed);
    gpu_emulated_set(&set);
    gpu_emulated_forget();
    struct probe_rig r = {.api = gpu_emulated()};
    void *x = NULL, *y = NULL;
    if (r.api->open(0, &r.g, NULL) != ERR_OK || r.api->stream_new(r.g, &r.s) != ERR_OK ||
        r.api->stream_new(r.g, &r.other) != ERR_OK || r.api->event_new(r.g, &r.e) != ERR_OK ||
        r.api->alloc(r.g, PROBE_THREADS * sizeof *r.x, &x) != ERR_OK ||
        r.api->alloc(r.g, PROBE_THREADS * sizeof *r.y, &y) != ERR_OK)
        abort();
    r.x = x;
    r.y = y;
    return r;
}
static inline struct probe_rig probe_open(uint64_t seed) {
    struct probe_rig r = probe_open_empty(seed);
    float host[PROBE_THREADS];
    for (int i = 0; i < PROBE_THREADS; i++)
        host[i] = (float)i;
    r.api->copy_in(r.s, r.x, host, sizeof host);
    probe_wait(&r);
    return r;
}

// The violations that there were.
static inline size_t probe_close(struct probe_rig *r) {
    r->api->free(r->g, r->x);
    r->api->free(r->g, r->y);
    r->api->event_free(r->g, r->e);
    r->api->stream_free(r->g, r->s);
    r->api->stream_free(r->g, r->other);
    r->api->close(r->g);
    return gpu_emulated_violations();
}

// Violations, and the words of the first, with which it stands in failure() too.
static inline bool probe_said(const struct probe_rig *r, const char *words) {
    struct errmsg msg = {0};
    bool said = gpu_emulated_violations() > 0 && strstr(gpu_emulated_first_violation(), words) &&
                r->api->failure(r->g, &msg) == ERR_INTERNAL && strstr(msg.text, words);
    if (!said)
        fprintf(stderr, "    said \"%s\", wanted \"%s\"\n", gpu_emulated_first_violation(), words);
    return said;
}

// y, waited for.
static inline void probe_read(const struct probe_rig *r, float *host) {
    r->api->copy_out(r->s, host, r->y, PROBE_THREADS * sizeof *host);
    probe_wait(r);
}

#endif
