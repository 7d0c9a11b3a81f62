// What the tests of draws on the emulated GPU share: one card and one CPU device, and the same draw
// on both. Thread rule: main thread only.
#ifndef TRINE_TESTS_DRAW_RIG_H
#define TRINE_TESTS_DRAW_RIG_H

#include "compute/cuda/draw.h"
#include "tests/gpu/gpu_under_test.h"
#include "tests/unit/device_rig.h"

#include <stdlib.h>

struct draw_rig {
    const struct gpu_api *api;
    struct gpu *gpu;
    struct gpu_stream *stream;
    struct gpu_event *event;
    struct gpu_draw_limits limits;
    struct gpu_draw *draw;
    struct arena gpu_ws, cpu_ws;
    void *logits;
    size_t logit_bytes;
    struct device *cpu;
};

static inline bool draw_rig_open(struct draw_rig *r, struct gpu_draw_limits limits) {
    struct errmsg msg = {0};
    void *ws = NULL;
    *r = (struct draw_rig){.api = gpu_under_test(), .limits = limits};
    r->logit_bytes = limits.rows * mat_ld(limits.vocab, DTYPE_F32) * sizeof(float);
    size_t bytes = gpu_draw_bytes(&limits, limits.vocab);
    bool there = CHECK(r->api->open(0, &r->gpu, &msg) == ERR_OK) &&
                 CHECK(r->api->stream_new(r->gpu, &r->stream) == ERR_OK) &&
                 CHECK(r->api->event_new(r->gpu, &r->event) == ERR_OK) &&
                 CHECK(r->api->alloc(r->gpu, r->logit_bytes, &r->logits) == ERR_OK) &&
                 CHECK(r->api->alloc(r->gpu, bytes, &ws) == ERR_OK) &&
                 CHECK(gpu_draw_new(r->api, r->gpu, r->stream, &limits, &r->draw, &msg) == ERR_OK);
    r->gpu_ws = (struct arena){.base = ws, .size = bytes, .elsewhere = true};
    r->cpu = rig_device(NULL, 1, CPU_GEMM_AUTO);
    if (!there || !CHECK(r->cpu != NULL))
        return false;
    r->cpu_ws = rig_workspace(r->cpu, r->logit_bytes + (1 << 20) +
                                          r->cpu->ops->draw_bytes(r->cpu, limits.vocab));
    return true;
}

static inline void draw_rig_wait(struct draw_rig *r) {
    r->api->record(r->stream, r->event);
    r->api->wait(r->event);
}

static inline void draw_rig_close(struct draw_rig *r) {
    struct errmsg msg = {0};
    CHECK_OK(r->api->failure(r->gpu, &msg), msg);
    CHECK(gpu_under_test_violations() == 0);
    gpu_draw_free(r->draw);
    r->api->free(r->gpu, r->logits);
    r->api->free(r->gpu, r->gpu_ws.base);
    r->api->event_free(r->gpu, r->event);
    r->api->stream_free(r->gpu, r->stream);
    r->api->close(r->gpu);
    r->cpu->ops->workspace_free(r->cpu, &r->cpu_ws);
    r->cpu->ops->free(r->cpu);
}

// x: [rows, vocab] packed, which stays until the draw is delivered. Returns the ticket, 0: refused.
static inline uint64_t draw_rig_ask(struct draw_rig *r, const float *x, size_t rows, size_t vocab,
                                    struct draw_part *parts, size_t count) {
    struct draw_args a = {.parts = parts, .count = count};
    a.logits = (struct mat){r->logits, rows, vocab, mat_ld(vocab, DTYPE_F32), DTYPE_F32};
    for (size_t i = 0; i < rows; i++)
        r->api->copy_in(r->stream, (float *)r->logits + i * a.logits.ld, x + i * vocab,
                        vocab * sizeof *x);
    uint64_t ticket;
    struct errmsg msg = {0};
    CHECK_OK(gpu_draw_ask(r->draw, r->stream, &a, &r->gpu_ws, &ticket, &msg), msg);
    CHECK(r->gpu_ws.used == 0);
    return ticket;
}

static inline void draw_rig_gpu(struct draw_rig *r, const float *x, size_t rows, size_t vocab,
                                struct draw_part *parts, size_t count) {
    uint64_t ticket = draw_rig_ask(r, x, rows, vocab, parts, count);
    draw_rig_wait(r);
    gpu_draw_deliver(r->draw, ticket);
}

static inline void draw_rig_cpu(struct draw_rig *r, const float *x, size_t rows, size_t vocab,
                                struct draw_part *parts, size_t count) {
    struct errmsg msg = {0};
    arena_reset(&r->cpu_ws);
    struct draw_args a = {.parts = parts, .count = count};
    a.logits = rig_mat(r->cpu, &r->cpu_ws, rows, vocab, x);
    r->cpu->ops->draw(r->cpu, &a, &r->cpu_ws);
    CHECK_OK(device_sync(r->cpu, &msg), msg);
}

// The same tokens and ends; logprobs to the last bits of f32, as both take the logarithm in f64 of
// sums whose order differs.
static inline bool draw_rig_same(const struct draw_part *got, const struct draw_part *want) {
    if (got->drawn != want->drawn || got->failed != want->failed)
        return false;
    for (size_t i = 0; i < want->drawn + (want->failed ? 1 : 0); i++) {
        const struct sampling_result *g = &got->results[i], *w = &want->results[i];
        if (g->id != w->id || g->end != w->end || g->top_count != w->top_count ||
            !(fabsf(g->logprob - w->logprob) <= 1.2e-7F * fabsf(w->logprob)))
            return false;
        for (size_t k = 0; k < w->top_count; k++)
            if (g->top[k].id != w->top[k].id || !(fabsf(g->top[k].logprob - w->top[k].logprob) <=
                                                  1.2e-7F * fabsf(w->top[k].logprob)))
                return false;
    }
    return true;
}

#endif
