// The front pool: every task runs once, quick work goes first, and big work never takes the last
// thread.
#include "base/clock.h"
#include "base/fault.h"
#include "base/mem.h"
#include "service/front.h"
#include "tests/check.h"
#include "tests/kit/await.h"

#include <pthread.h>
#include <stdatomic.h>
#include <time.h>

struct counted {
    struct front_task task; // first
    atomic_int *runs, *gate;
    int order;
};

static atomic_int order_next;

static bool wait_for(atomic_int *value, int want) {
    WAIT_UNTIL(atomic_load(value) == want);
    return atomic_load(value) == want;
}

// Waits for its gate, if it has one, then counts itself.
static void run_counted(struct front_task *task, struct front_worker *w) {
    (void)w;
    struct counted *c = (struct counted *)(void *)task;
    while (c->gate && !atomic_load(c->gate))
        await_nap();
    c->order = atomic_fetch_add(&order_next, 1);
    atomic_fetch_add(c->runs, 1);
}

static struct front *start(int threads) {
    struct front_options options = {.threads = threads};
    struct front *f = NULL;
    struct errmsg msg = {0};
    CHECK_OK(front_start(&options, &f, &msg), msg);
    return f;
}

// What a large text leaves in a worker's own buffers.
static void run_large(struct front_task *task, struct front_worker *w) {
    struct counted *c = (struct counted *)(void *)task;
    struct encoding *e = front_worker_encoding(w, 1);
    struct buf *text = front_worker_text(w);
    CHECK(e->cap == 0 && text->cap == 0);
    e->ids = mem_alloc(1 << 20, sizeof *e->ids);
    e->cap = e->ids ? 1 << 20 : 0;
    CHECK(buf_reserve(text, 4 << 20));
    atomic_fetch_add(c->runs, 1);
}

// Every task finds the buffers as small as if none had been before it.
static void test_memory(void) {
    struct front *f = start(2);
    atomic_int runs = 0;
    for (int i = 0; f && i < 8; i++) {
        struct counted c = {.task.run = run_large, .runs = &runs};
        front_post(f, &c.task, FRONT_QUICK);
        CHECK(wait_for(&runs, i + 1));
    }
    front_stop(f);
}

struct poster {
    struct front *front;
    struct counted *tasks;
    size_t n;
};

static void *post_all(void *arg) {
    struct poster *p = arg;
    for (size_t i = 0; i < p->n; i++)
        front_post(p->front, &p->tasks[i].task, (enum front_queue)(i % FRONT_QUEUES));
    return NULL;
}

static void test_each_once(void) {
    enum { POSTERS = 4, EACH = 5000 };
    struct front *f = start(4);
    struct counted *tasks = mem_calloc(POSTERS * EACH, sizeof *tasks);
    atomic_int runs = 0;
    pthread_t threads[POSTERS];
    struct poster posters[POSTERS];
    if (!CHECK(tasks != NULL))
        return;
    for (size_t i = 0; i < POSTERS * EACH; i++)
        tasks[i] = (struct counted){.task.run = run_counted, .runs = &runs};
    for (size_t i = 0; i < POSTERS; i++) {
        posters[i] = (struct poster){f, tasks + i * EACH, EACH};
        CHECK(pthread_create(&threads[i], NULL, post_all, &posters[i]) == 0);
    }
    for (size_t i = 0; i < POSTERS; i++)
        pthread_join(threads[i], NULL);
    CHECK(wait_for(&runs, POSTERS * EACH));
    struct front_stats s = front_read_stats(f);
    CHECK_INT(s.run[FRONT_QUICK] + s.run[FRONT_BIG_RENDER] + s.run[FRONT_BIG_PARSE],
              POSTERS * EACH);
    CHECK_INT(s.queued[FRONT_QUICK] + s.queued[FRONT_BIG_RENDER] + s.queued[FRONT_BIG_PARSE], 0);
    front_stop(f);
    mem_free(tasks);
}

// With every thread that takes big work held, quick work still runs, and what is queued runs in
// the queues' order.
static void test_lanes(void) {
    struct front *f = start(3); // one of them takes quick work only
    atomic_int runs = 0, quick_runs = 0, gate = 0;
    struct counted held[4], quick[50], render;
    for (size_t i = 0; i < 4; i++)
        held[i] = (struct counted){.task.run = run_counted, .runs = &runs, .gate = &gate};
    render = (struct counted){.task.run = run_counted, .runs = &runs, .gate = &gate};
    for (size_t i = 0; i < 2; i++)
        front_post(f, &held[i].task, FRONT_BIG_PARSE);
    // until both threads that take big work are held
    WAIT_UNTIL(front_read_stats(f).run[FRONT_BIG_PARSE] >= 2);
    for (size_t i = 2; i < 4; i++)
        front_post(f, &held[i].task, FRONT_BIG_PARSE);
    front_post(f, &render.task, FRONT_BIG_RENDER);
    for (size_t i = 0; i < 50; i++) {
        quick[i] = (struct counted){.task.run = run_counted, .runs = &quick_runs};
        front_post(f, &quick[i].task, FRONT_QUICK);
    }
    CHECK(wait_for(&quick_runs, 50));
    CHECK_INT(atomic_load(&runs), 0);
    struct front_stats s = front_read_stats(f);
    CHECK_INT(s.queued[FRONT_BIG_PARSE], 2);
    CHECK_INT(s.queued[FRONT_BIG_RENDER], 1);
    atomic_store(&gate, 1);
    CHECK(wait_for(&runs, 5));
    CHECK(render.order < held[3].order); // renders before parses that came earlier
    front_stop(f);
}

static void test_stop_runs_the_rest(void) {
    struct front *f = start(2);
    atomic_int runs = 0;
    struct counted tasks[100];
    for (size_t i = 0; i < 100; i++) {
        tasks[i] = (struct counted){.task.run = run_counted, .runs = &runs};
        front_post(f, &tasks[i].task, FRONT_BIG_PARSE);
    }
    front_stop(f);
    CHECK_INT(atomic_load(&runs), 100);
    front_stop(NULL);
}

static void test_faults(void) {
    const enum fault_site sites[] = {FAULT_ALLOC, FAULT_THREAD};
    for (size_t site = 0; site < 2; site++) {
        for (long n = 1; n < 100; n++) {
            struct front_options options = {.threads = 3};
            struct front *f = NULL;
            struct errmsg msg = {0};
            fault_arm(sites[site], n, false);
            enum err e = front_start(&options, &f, &msg);
            bool reached = fault_calls(sites[site]) >= n;
            fault_disarm();
            if (!reached) {
                CHECK(n > 2 && e == ERR_OK);
                front_stop(f);
                break;
            }
            CHECK(e != ERR_OK && !f && msg.text[0]);
        }
    }
}

struct scratch_user {
    struct front_task task; // first
    const struct model *model;
    atomic_int *runs, *gate; // gate: it ends when this is not 0; NULL: at once
    long made;               // allocations for the scratch
};

static void run_scratch(struct front_task *task, struct front_worker *w) {
    struct scratch_user *u = (struct scratch_user *)(void *)task;
    struct tokenizer_scratch *scratch = NULL;
    fault_arm(FAULT_ALLOC, 1000000, false); // to count
    CHECK(front_worker_scratch(w, u->model, &scratch) == ERR_OK && scratch);
    u->made = fault_calls(FAULT_ALLOC);
    fault_disarm();
    atomic_fetch_add(u->runs, 1);
    while (u->gate && !atomic_load(u->gate))
        await_nap();
}

// Waits until no worker is in a task.
static void wait_idle(struct front *f) {
    WAIT_UNTIL(front_read_stats(f).idle >= 2);
    CHECK_INT(front_read_stats(f).idle, 2);
}

// A scratch belongs to a model, not to an address: it goes with the model, wherever its worker is.
static void test_scratches(void) {
    struct tokenizer *t = NULL;
    struct errmsg msg = {0};
    CHECK_OK(tokenizer_load("tests/golden/data/bert-last-f16", 0, &t, &msg), msg);
    struct model a = {.id = 1, .tokenizer = t}, b = {.id = 2, .tokenizer = t};
    struct front *f = start(2);
    atomic_int runs = 0, gate = 0;
    // by turns: whose scratch was made before
    const struct {
        const struct model *model;
        uint64_t forget; // before it, 0: none
        bool made;
    } turns[] = {{&a, 0, true},  {&a, 0, false}, {&b, 0, true}, {&a, 0, false}, {&a, 1, true},
                 {&b, 0, false}, {&b, 3, false}, {&b, 2, true}, {&a, 0, false}, {&b, 0, false}};
    enum { TURNS = sizeof turns / sizeof *turns };
    for (int i = 0; f && i < TURNS; i++) {
        struct scratch_user u = {.task.run = run_scratch, .model = turns[i].model, .runs = &runs};
        wait_idle(f);
        if (turns[i].forget)
            front_forget_model(f, turns[i].forget);
        front_post(f, &u.task, FRONT_BIG_PARSE); // one of the two takes these
        CHECK(wait_for(&runs, i + 1));
        wait_idle(f);
        CHECK_INT(u.made > 0, turns[i].made);
    }
    struct scratch_user during = {
        .task.run = run_scratch, .model = &a, .runs = &runs, .gate = &gate};
    front_post(f, &during.task, FRONT_BIG_PARSE);
    CHECK(wait_for(&runs, TURNS + 1));
    front_forget_model(f, 1);
    atomic_store(&gate, 1);
    wait_idle(f);
    struct scratch_user after = {.task.run = run_scratch, .model = &a, .runs = &runs};
    front_post(f, &after.task, FRONT_BIG_PARSE);
    CHECK(wait_for(&runs, TURNS + 2));
    wait_idle(f);
    CHECK(during.made == 0 && after.made > 0);
    front_stop(f);
    tokenizer_free(t);
}

// Not a check of speed, only its figure: from a post to the task's run on a sleeping thread.
static void print_wake(void) {
    struct front *f = start(4);
    int64_t total = 0;
    enum { N = 2000 };
    for (int i = 0; i < N; i++) {
        atomic_int runs = 0;
        struct counted c = {.task.run = run_counted, .runs = &runs};
        int64_t begin = clock_now_us();
        front_post(f, &c.task, FRONT_QUICK);
        while (!atomic_load(&runs))
            ;
        total += clock_now_us() - begin;
    }
    printf("post to run: %.1f us\n", (double)total / N);
    front_stop(f);
}

int main(void) {
    test_each_once();
    test_lanes();
    test_stop_runs_the_rest();
    test_faults();
    print_wake();
    test_memory();
    test_scratches();
    return check_done();
}
