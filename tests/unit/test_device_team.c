// The compute threads: every task once, by one worker at a time, whatever the pauses between jobs;
// built with the thread sanitizer this also checks that results are handed over properly.
#define _POSIX_C_SOURCE 200809L
#include "base/clock.h"
#include "compute/cpu/team.h"
#include "tests/check.h"

#include <stdlib.h>
#include <time.h>

enum { TASKS = 1000, MAX_THREADS = 8 };

struct job {
    int done[TASKS];            // times, written by whoever has the task
    long input, sum[TASKS];     // plain memory on purpose: the team must order it
    int busy[MAX_THREADS * 16]; // by worker, on lines of their own
    int overlaps[MAX_THREADS * 16];
    int threads;
};

static void task(void *arg, size_t t, int worker) {
    struct job *j = arg;
    if (worker < 0 || worker >= j->threads)
        abort();
    j->overlaps[worker * 16] += j->busy[worker * 16]++;
    j->done[t]++;
    j->sum[t] = j->input + (long)t;
    j->busy[worker * 16]--;
}

static void pause_us(long us) {
    struct timespec t = {.tv_nsec = us * 1000};
    nanosleep(&t, NULL);
}

static void test_runs(int threads) {
    struct team *p;
    struct errmsg msg = {0};
    CHECK_OK(team_new(threads, &p, &msg), msg);
    CHECK_INT(team_threads(p), threads);
    struct job *j = calloc(1, sizeof *j);
    if (!j)
        abort();
    j->threads = threads;
    static const size_t counts[] = {0, 1, 2, 3, 7, 64, TASKS};
    bool ok = true;
    for (int round = 0; round < 700; round++) {
        size_t n = counts[(size_t)round % (sizeof counts / sizeof *counts)];
        memset(j->done, 0, sizeof j->done);
        j->input = round;
        team_run(p, n, task, j);
        for (size_t t = 0; t < TASKS; t++)
            ok = ok && j->done[t] == (t < n) && (t >= n || j->sum[t] == round + (long)t);
        // at once, while workers spin, about when they fall asleep, and when they sleep
        if (round % 10 == 0)
            pause_us(round % 40 == 0 ? 1000 : round % 100);
    }
    CHECK(ok);
    for (int w = 0; w < threads; w++)
        CHECK(j->overlaps[w * 16] == 0);
    team_free(p);
    free(j);
}

// An idle team uses no CPU: its workers sleep after their short spin.
static void test_idle(void) {
    struct team *p;
    struct errmsg msg = {0};
    CHECK_OK(team_new(4, &p, &msg), msg);
    pause_us(50 * 1000);
    struct timespec a, b;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &a);
    pause_us(200 * 1000);
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &b);
    double used = (double)(b.tv_sec - a.tv_sec) + (double)(b.tv_nsec - a.tv_nsec) * 1e-9;
    CHECK(used < 0.02);
    team_free(p);
}

// teams one after another and at once: nothing is shared between them
static void test_many(void) {
    struct team *p[6];
    struct errmsg msg = {0};
    struct job *j = calloc(1, sizeof *j);
    if (!j)
        abort();
    j->threads = MAX_THREADS;
    for (int i = 0; i < 6; i++)
        CHECK_OK(team_new(i + 1, &p[i], &msg), msg);
    for (int i = 0; i < 6; i++) {
        memset(j->done, 0, sizeof j->done);
        team_run(p[i], TASKS, task, j);
        CHECK(j->done[0] == 1 && j->done[TASKS - 1] == 1);
    }
    for (int i = 0; i < 6; i++)
        team_free(p[i]);
    team_free(NULL);
    free(j);
}

int main(void) {
    for (int threads = 1; threads <= MAX_THREADS; threads = threads * 2 - (threads > 2))
        test_runs(threads);
    test_idle();
    test_many();
    return check_done();
}
