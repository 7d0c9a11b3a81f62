// The scheduler on a tiny real model: the same bits whatever shares a batch, urgent work ahead of
// bulk and bulk never starved, gone and late jobs dropped, admission by tokens, and `done` called
// exactly once whatever happens.
#include "base/clock.h"
#include "base/fault.h"
#include "base/mem.h"
#include "base/thread.h"
#include "tests/unit/scheduler_rig.h"

#define MODEL_A "tests/golden/data/bert-mean-st6"
#define MODEL_B "tests/golden/data/distilbert-prompt-st6"

static struct scheduler *start(size_t batch_tokens, size_t queue_tokens) {
    struct scheduler_options o = {.replica = replica,
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
        static const size_t batches[] = {40, 276, 512, 4096}; // the last one is computed in pieces
        for (size_t b = 0; b < 4; b++) {                      // all at once, both lanes and models
            struct test_job *all[JOBS], *other[JOBS];
            s = start(batches[b], 0);
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
    struct test_job *bulk = job_new(models[0], 60000, 30, 1, LANE_BULK); // seconds of work
    submit(s, bulk);
    struct test_job *urgent[20];
    for (uint32_t i = 0; i < 20; i++) {
        urgent[i] = job_new(models[0], 1, 20, i, LANE_INTERACTIVE);
        submit(s, urgent[i]);
        job_wait(urgent[i]);
    }
    CHECK_INT(atomic_load(&bulk->ends), 0); // twenty came and went while it was computed
    CHECK(scheduler_read_stats(s).yields > 0);
    atomic_store(&bulk->job.cancelled, true);
    job_wait(bulk);
    for (int i = 0; i < 20; i++) {
        CHECK(urgent[i]->job.err == ERR_OK && urgent[i]->order < bulk->order);
        job_free(urgent[i]);
    }
    job_free(bulk);
    scheduler_stop(s, 1000000);
}

// Bulk's tenth of the device's time, as the scheduler books it, while short jobs never run out. The
// bar is at a third of it: the window is short.
static void test_bulk_not_starved(void) {
    enum { SHORT = 6000 };
    static struct test_job *t[SHORT];
    struct scheduler *s = start(64, 100000000);
    struct test_job *bulk = job_new(models[0], 120000, 30, 1, LANE_BULK);
    for (uint32_t i = 0; i < SHORT; i++)
        t[i] = job_new(models[0], 10, 30, i, LANE_INTERACTIVE);
    scheduler_submit(s, &bulk->job);
    for (uint32_t i = 0; i < SHORT; i++)
        scheduler_submit(s, &t[i]->job);
    struct scheduler_stats before = scheduler_read_stats(s), after = before;
    for (;;) { // the last look at which both had work
        struct scheduler_stats now = scheduler_read_stats(s);
        if (now.jobs_done + 100 > SHORT || atomic_load(&bulk->ends) ||
            now.busy_us - before.busy_us > 2000000)
            break;
        after = now;
        nanosleep(&(struct timespec){.tv_nsec = 100000}, NULL);
    }
    CHECK_INT(atomic_load(&bulk->ends), 0);
    int64_t share = after.used_us[SHARE_BULK] - before.used_us[SHARE_BULK];
    int64_t all = (int64_t)(after.busy_us - before.busy_us);
    CHECK(share * 30 > all);
    CHECK(after.used_us[SHARE_INTERACTIVE] - before.used_us[SHARE_INTERACTIVE] > share);
    atomic_store(&bulk->job.cancelled, true);
    for (int i = 0; i < SHORT; i++)
        atomic_store(&t[i]->job.cancelled, true);
    job_wait(bulk);
    for (int i = 0; i < SHORT; i++) {
        job_wait(t[i]);
        job_free(t[i]);
    }
    job_free(bulk);
    scheduler_stop(s, 1000000);
}

// Two bulk clients take turns: the small one does not wait for all of the large one.
static void test_bulk_turns(void) {
    struct scheduler *s = start(64, 0);
    struct test_job *large = job_new(models[0], 60000, 30, 1, LANE_BULK);
    struct test_job *small = job_new(models[0], 10, 30, 2, LANE_BULK);
    submit(s, large);
    submit(s, small);
    job_wait(small);
    CHECK_INT(small->job.err, ERR_OK);
    atomic_store(&large->job.cancelled, true);
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
    CHECK(scheduler_reserve(s, 150, &msg) == ERR_OK);
    CHECK(scheduler_reserve(s, 5000, &msg) == ERR_OK); // larger than the queue, and none such waits
    CHECK(scheduler_reserve(s, 300, &msg) == ERR_OVERLOADED); // behind it
    CHECK_STR(msg.text,
              "a request of some 300 tokens waits until other large ones are computed (5000 "
              "of 1000 tokens are held by them); retry later, or send less at once");
    for (int i = 0; i < 4; i++)
        CHECK(scheduler_reserve(s, 200, &msg) == ERR_OK); // small ones have room of their own
    CHECK(scheduler_reserve(s, 200, &msg) == ERR_OVERLOADED);
    CHECK_STR(msg.text, "the queue is full (950 of 1000 tokens); retry later");
    CHECK(scheduler_reserve(s, 50, &msg) == ERR_OK);
    CHECK(scheduler_reserve(s, 1, &msg) == ERR_OVERLOADED);
    CHECK_INT(scheduler_read_stats(s).queued_tokens, 6000);
    scheduler_release(s, 5000);
    CHECK(scheduler_reserve(s, 600, &msg) == ERR_OK); // and large ones theirs
    CHECK(scheduler_reserve(s, 400, &msg) == ERR_OK);
    CHECK(scheduler_reserve(s, 250, &msg) == ERR_OVERLOADED);
    scheduler_release(s, 600);
    scheduler_release(s, 400);
    scheduler_release(s, 150);
    scheduler_release(s, 50);
    for (int i = 0; i < 4; i++)
        scheduler_release(s, 200);
    CHECK_INT(scheduler_read_stats(s).queued_tokens, 0);
    CHECK(scheduler_read_stats(s).jobs_refused == 4);
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
    struct scheduler_options o = {.replica = replica, .models = models, .model_count = 2};
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
    for (int threads = 1; threads <= 3; threads++) {
        if (!rig_open(threads, MODEL_A, MODEL_B))
            return check_done();
        test_same_bits();
        if (threads == 2) {
            test_urgent_first();
            test_bulk_not_starved();
            test_bulk_turns();
            test_dropped();
            test_admission();
            test_stop();
            test_many_threads();
            test_no_memory();
        }
        rig_close();
    }
    return check_done();
}
