// Encoding jobs with their memory and an account of their ends, for tests of the scheduler.
#ifndef TRINE_TESTS_SCHEDULER_KIT_H
#define TRINE_TESTS_SCHEDULER_KIT_H

#include "engine/scheduler.h"
#include "tests/check.h"
#include "tests/kit/await.h"

#include <stdlib.h>

// A job with its memory and an account of its end.
struct test_job {
    struct job job;
    atomic_int ends;
    int order; // 1-based, of its end among all
};

static atomic_int end_counter;

static inline void job_on_done(struct job *job) {
    struct test_job *t = job->ctx;
    t->order = atomic_fetch_add(&end_counter, 1) + 1;
    atomic_fetch_add(&t->ends, 1);
}

static _Thread_local uint32_t random_state = 1;
static inline uint32_t random_next(void) {
    random_state = random_state * 1664525u + 1013904223u;
    return random_state >> 8;
}

// seqs sequences of 1 to max_len tokens, drawn from `seed`.
static inline struct test_job *job_new(const struct model *m, size_t seqs, size_t max_len,
                                       uint32_t seed, enum lane lane) {
    struct test_job *t = calloc(1, sizeof *t);
    struct job *j = &t->job;
    random_state = seed;
    j->cu_seqlens = calloc(seqs + 1, sizeof *j->cu_seqlens);
    for (size_t i = 0; i < seqs; i++)
        j->cu_seqlens[i + 1] = j->cu_seqlens[i] + 1 + (int32_t)(random_next() % max_len);
    size_t n = (size_t)j->cu_seqlens[seqs];
    j->ids = calloc(n, sizeof *j->ids);
    j->type_ids = calloc(n, sizeof *j->type_ids);
    for (size_t i = 0; i < n; i++)
        j->ids[i] = (int32_t)(random_next() % m->config.vocab);
    j->out = calloc(seqs * m->dim, sizeof *j->out);
    *j = (struct job){.model = m,
                      .ids = j->ids,
                      .type_ids = j->type_ids,
                      .cu_seqlens = j->cu_seqlens,
                      .seqs = seqs,
                      .normalize = true,
                      .out = j->out,
                      .lane = lane,
                      .done = job_on_done,
                      .ctx = t};
    return t;
}

static inline void job_free(struct test_job *t) {
    free(t->job.ids);
    free(t->job.type_ids);
    free(t->job.cu_seqlens);
    free(t->job.out);
    free(t);
}

static inline void job_wait(struct test_job *t) {
    WAIT_UNTIL(atomic_load(&t->ends) != 0);
    CHECK_INT(atomic_load(&t->ends), 1);
}

#endif
