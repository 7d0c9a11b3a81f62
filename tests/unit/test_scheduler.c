// The scheduler on a tiny real model: the same bits whatever shares a batch, urgent work ahead of
// bulk and bulk never starved, gone and late jobs dropped, admission by tokens, and `done` called
// exactly once whatever happens.
#include "base/clock.h"
#include "base/fault.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/thread.h"
#include "compute/cpu/cpu.h"
#include "tests/unit/scheduler_kit.h"

#define MODEL_A "tests/golden/data/bert-mean-st6"
#define MODEL_B "tests/golden/data/distilbert-prompt-st6"

static struct device *device;
static struct model *models[2];

static struct scheduler *start(size_t batch_tokens, size_t queue_tokens) {
    struct scheduler_options o = {.device = device,
                                  .models = models,
                                  .model_count = 2,
                                  .max_batch_tokens = batch_tokens,
                                  .max_queue_tokens = queue_tokens};
    struct scheduler *s = NULL;
    struct errmsg msg = {0};
    CHECK_OK(scheduler_start(&o, &s, &msg), msg);
    CHECK_OK(scheduler_wait_ready(s, &msg), msg);
    return s;
}

static void submit(struct scheduler *s, struct test_job *t) {
    struct errmsg msg = {0};
    t->job.reserved = 7; // an estimate that is wrong, as estimates are
    CHECK_OK(scheduler_reserve(s, t->job.reserved, &msg), msg);
    scheduler_submit(s, &t->job);
}

static void test_same_bits(void) {
    enum { JOBS = 60, SEQS = 9 };
    for (int m = 0; m < 2; m++) {
        float *alone[JOBS];
        struct scheduler *s = start(0, 0);
        for (uint32_t i = 0; i < JOBS; i++) { // one at a time
            struct test_job *t = job_new(models[m], SEQS, 30, i + 1, LANE_BULK);
            submit(s, t);
            job_wait(t);
            CHECK_INT(t->job.err, ERR_OK);
            alone[i] = t->job.out;
            t->job.out = NULL;
            job_free(t);
        }
        scheduler_stop(s, 1000000);
        for (size_t batch = 40; batch <= 512; batch += 236) { // all at once, both lanes and models
            struct test_job *all[JOBS], *other[JOBS];
            s = start(batch, 0);
            for (uint32_t i = 0; i < JOBS; i++) {
                all[i] = job_new(models[m], SEQS, 30, i + 1, i % 3 ? LANE_BULK : LANE_INTERACTIVE);
                other[i] = job_new(models[1 - m], 2, 10, i + 1, LANE_BULK);
                submit(s, all[i]);
                submit(s, other[i]);
            }
            for (int i = 0; i < JOBS; i++) {
                job_wait(all[i]);
                job_wait(other[i]);
                size_t bytes = SEQS * models[m]->dim * sizeof(float);
                CHECK(memcmp(all[i]->job.out, alone[i], bytes) == 0);
                job_free(all[i]);
                job_free(other[i]);
            }
            struct scheduler_stats stats = scheduler_read_stats(s);
            CHECK(stats.jobs_done == 2 * JOBS && stats.queued_tokens == 0 &&
                  stats.queued_jobs == 0);
            scheduler_stop(s, 1000000);
        }
        for (int i = 0; i < JOBS; i++)
            free(alone[i]);
    }
}

static void test_urgent_first(void) {
    struct scheduler *s = start(64, 0);
    struct test_job *bulk = job_new(models[0], 3000, 30, 1, LANE_BULK);
    submit(s, bulk);
    struct test_job *urgent[20];
    for (uint32_t i = 0; i < 20; i++) {
        urgent[i] = job_new(models[0], 1, 20, i, LANE_INTERACTIVE);
        submit(s, urgent[i]);
        job_wait(urgent[i]);
    }
    CHECK_INT(atomic_load(&bulk->ends), 0); // twenty came and went while it was computed
    job_wait(bulk);
    struct scheduler_stats stats = scheduler_read_stats(s);
    CHECK(stats.yields > 0);
    for (int i = 0; i < 20; i++) {
        CHECK(urgent[i]->job.err == ERR_OK && urgent[i]->order < bulk->order);
        job_free(urgent[i]);
    }
    CHECK_INT(bulk->job.err, ERR_OK);
    job_free(bulk);
    scheduler_stop(s, 1000000);
}

struct flood {
    struct scheduler *s;
    atomic_bool stop;
    atomic_int sent;
};

static void *flood_thread(void *arg) {
    struct flood *f = arg;
    enum { FLIGHT = 40 };
    struct test_job *t[FLIGHT];
    while (!atomic_load(&f->stop)) {
        for (uint32_t i = 0; i < FLIGHT; i++) {
            t[i] = job_new(models[0], 10, 30, i, LANE_INTERACTIVE);
            scheduler_submit(f->s, &t[i]->job);
        }
        for (int i = 0; i < FLIGHT; i++) {
            while (atomic_load(&t[i]->ends) == 0)
                nanosleep(&(struct timespec){.tv_nsec = 50000}, NULL);
            job_free(t[i]);
            atomic_fetch_add(&f->sent, 1);
        }
    }
    return NULL;
}

static void test_bulk_not_starved(void) {
    struct flood f = {.s = start(64, 0)};
    pthread_t threads[2];
    struct thread_options o = {.name = "flood"};
    for (int i = 0; i < 2; i++)
        CHECK(thread_start(&threads[i], &o, flood_thread, &f, NULL) == ERR_OK);
    struct test_job *bulk = job_new(models[0], 200, 30, 1, LANE_BULK);
    submit(f.s, bulk);
    job_wait(bulk);
    CHECK_INT(bulk->job.err, ERR_OK);
    atomic_store(&f.stop, true);
    for (int i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    job_free(bulk);
    scheduler_stop(f.s, 1000000);
}

// Two bulk clients take turns: the small one does not wait for all of the large one.
static void test_bulk_turns(void) {
    struct scheduler *s = start(64, 0);
    struct test_job *large = job_new(models[0], 3000, 30, 1, LANE_BULK);
    struct test_job *small = job_new(models[0], 10, 30, 2, LANE_BULK);
    submit(s, large);
    submit(s, small);
    job_wait(small);
    job_wait(large);
    CHECK(small->order < large->order);
    job_free(small);
    job_free(large);
    scheduler_stop(s, 1000000);
}

static void test_dropped(void) {
    struct scheduler *s = start(64, 0);
    struct test_job *bulk = job_new(models[0], 2000, 30, 1, LANE_BULK);
    struct test_job *gone = job_new(models[0], 500, 30, 2, LANE_BULK);
    struct test_job *late = job_new(models[1], 5, 30, 3, LANE_BULK);
    late->job.deadline_us = clock_now_us() - 1;
    submit(s, bulk);
    submit(s, gone);
    submit(s, late);
    atomic_store(&gone->job.cancelled, true);
    job_wait(gone);
    job_wait(late);
    CHECK_INT(gone->job.err, ERR_CANCELLED);
    CHECK_INT(late->job.err, ERR_DEADLINE);
    CHECK(late->job.out[0] == 0.0f); // never computed
    job_wait(bulk);
    CHECK_INT(bulk->job.err, ERR_OK);
    struct scheduler_stats stats = scheduler_read_stats(s);
    CHECK(stats.jobs_cancelled == 1 && stats.jobs_late == 1 && stats.queued_tokens == 0);
    job_free(bulk);
    job_free(gone);
    job_free(late);
    scheduler_stop(s, 1000000);
}

static void test_admission(void) {
    struct scheduler *s = start(64, 1000);
    struct errmsg msg;
    CHECK(scheduler_reserve(s, 5000, &msg) == ERR_OK); // larger than the queue, which is empty
    CHECK(scheduler_reserve(s, 1, &msg) == ERR_OVERLOADED);
    CHECK_STR(msg.text, "the queue is full (5000 of 1000 tokens); retry later");
    scheduler_release(s, 5000);
    CHECK(scheduler_reserve(s, 600, &msg) == ERR_OK);
    CHECK(scheduler_reserve(s, 400, &msg) == ERR_OK);
    CHECK(scheduler_reserve(s, 1, &msg) == ERR_OVERLOADED);
    scheduler_release(s, 1000);
    CHECK(scheduler_read_stats(s).jobs_refused == 2);
    scheduler_drain(s);
    CHECK(scheduler_reserve(s, 1, &msg) == ERR_UNAVAILABLE);
    scheduler_stop(s, 1000000);
}

static void test_stop(void) {
    // a stop without time: whatever is queued ends with an error, once
    struct scheduler *s = start(64, 0);
    struct test_job *t[30];
    for (uint32_t i = 0; i < 30; i++) {
        t[i] = job_new(models[i % 2], 300, 30, i, LANE_BULK);
        submit(s, t[i]);
    }
    scheduler_end(s, 0);
    struct test_job *after = job_new(models[0], 1, 5, 1, LANE_BULK);
    scheduler_submit(s, &after->job);
    CHECK(atomic_load(&after->ends) == 1 && after->job.err == ERR_UNAVAILABLE);
    int refused = 0;
    for (int i = 0; i < 30; i++) {
        CHECK_INT(atomic_load(&t[i]->ends), 1);
        refused += t[i]->job.err == ERR_UNAVAILABLE;
        job_free(t[i]);
    }
    CHECK(refused > 0);
    CHECK_INT(scheduler_read_stats(s).queued_tokens, 0);
    job_free(after);
    scheduler_free(s);

    // with time: everything finishes
    s = start(64, 0);
    struct test_job *last = job_new(models[0], 300, 30, 1, LANE_BULK);
    submit(s, last);
    scheduler_stop(s, 60000000);
    CHECK(atomic_load(&last->ends) == 1 && last->job.err == ERR_OK);
    job_free(last);
}

// A model whose weights overflow: an error for its own jobs, none for its neighbours.
static void test_non_finite(void) {
    struct scheduler *s = start(0, 0);
    struct test_job *good = job_new(models[0], 3, 10, 1, LANE_BULK);
    submit(s, good);
    job_wait(good);
    CHECK_INT(good->job.err, ERR_OK);
    for (size_t i = 0; i < 3 * models[0]->dim; i++)
        if (!isfinite(good->job.out[i]))
            CHECK(!"finite");
    job_free(good);
    scheduler_stop(s, 1000000);
}

static void *submit_many(void *arg) {
    struct scheduler *s = arg;
    for (uint32_t i = 0; i < 40; i++) {
        struct test_job *t = job_new(models[i % 2], 1 + i % 4, 20, i, (enum lane)(i % 2));
        if (i % 7 == 0)
            atomic_store(&t->job.cancelled, true);
        scheduler_submit(s, &t->job);
        while (atomic_load(&t->ends) == 0)
            nanosleep(&(struct timespec){.tv_nsec = 20000}, NULL);
        job_free(t);
    }
    return NULL;
}

static void test_many_threads(void) {
    struct scheduler *s = start(100, 0);
    pthread_t threads[8];
    struct thread_options o = {.name = "client"};
    for (int i = 0; i < 8; i++)
        CHECK(thread_start(&threads[i], &o, submit_many, s, NULL) == ERR_OK);
    for (int i = 0; i < 8; i++)
        pthread_join(threads[i], NULL);
    struct scheduler_stats stats = scheduler_read_stats(s);
    CHECK_INT(stats.jobs_done + stats.jobs_cancelled, 320);
    CHECK_INT(stats.queued_tokens, 0);
    scheduler_stop(s, 1000000);
}

static void test_no_memory(void) {
    struct scheduler_options o = {.device = device, .models = models, .model_count = 2};
    struct scheduler *s = NULL;
    for (long nth = 1; nth < 1000; nth++) {
        fault_arm(FAULT_ALLOC, nth, true);
        enum err e = scheduler_start(&o, &s, NULL);
        fault_disarm();
        if (e == ERR_OK) {
            CHECK(nth > 10);
            scheduler_stop(s, 0);
            break;
        }
        CHECK(e == ERR_NOMEM && s == NULL);
    }
    fault_arm(FAULT_THREAD, 1, false);
    CHECK(scheduler_start(&o, &s, NULL) == ERR_IO && s == NULL);
    fault_disarm();
}

int main(void) {
    json_init();
    for (int threads = 1; threads <= 3; threads++) {
        struct errmsg msg = {0};
        struct cpu_options cpu = {.threads = threads};
        CHECK_OK(cpu_device_new(&cpu, &device, &msg), msg);
        const char *const paths[] = {MODEL_A, MODEL_B};
        for (int i = 0; i < 2; i++) {
            struct model_options o = {.path = paths[i], .task = -1, .pool_mode = -1};
            CHECK_OK(model_load(&o, device, &models[i], &msg), msg);
        }
        if (check_failed)
            return check_done();
        test_same_bits();
        if (threads == 2) {
            test_urgent_first();
            test_bulk_not_starved();
            test_bulk_turns();
            test_dropped();
            test_admission();
            test_stop();
            test_non_finite();
            test_many_threads();
            test_no_memory();
        }
        for (int i = 0; i < 2; i++)
            model_free(models[i]);
        cpu_device_free(device);
    }
    return check_done();
}
