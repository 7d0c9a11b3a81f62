// See team.h.
#define _GNU_SOURCE // sched_getcpu, pthread_setaffinity_np
#include "compute/cpu/team.h"

#include "base/clock.h"
#include "base/mem.h"
#include "base/thread.h"

#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>

enum { SPIN_US = 50, LINE = 64, STACK_BYTES = 256 << 10 };

// What different threads write lies on different cache lines.
struct team {
    team_fn *fn; // the open job; written by the caller while nobody is inside
    void *job;
    unsigned generation;
    int caller_cpu; // that the workers are kept off, -1 at first

    _Alignas(LINE) atomic_uint open; // the open job's generation, 0 when closed
    atomic_bool stop;
    // Whether team_run was ever called, and whether team_run_beside has the team.
    atomic_bool driven, lent;
    _Alignas(LINE) atomic_int inside;   // workers that may touch the job
    _Alignas(LINE) atomic_int sleepers; // workers in cond_wait, or on their way

    pthread_mutex_t mutex;
    pthread_cond_t wake;
    int threads, started; // started: workers that run
    int cpus;             // that this process may use
    cpu_set_t allowed;
    struct worker {
        _Alignas(LINE) atomic_size_t next; // the next of its own tasks
        size_t end;                        // of them; written as the job's fields are
        struct team *team;
        pthread_t thread;
        int index, cpu; // cpu: its own, where there is one for each thread
    } * workers;
};

static inline void relax(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

static inline void wait_a_turn(unsigned turns) {
    relax();
    if (turns % 1024 == 0)
        sched_yield(); // who is waited for may be off the CPU when others use this machine
}

// Its own tasks first, then what the others have left.
static void take_tasks(struct team *t, int worker) {
    for (int i = 0; i < t->threads; i++) {
        int owner = worker + i < t->threads ? worker + i : worker + i - t->threads;
        struct worker *w = &t->workers[owner];
        for (;;) {
            size_t task = atomic_fetch_add_explicit(&w->next, 1, memory_order_relaxed);
            if (task >= w->end)
                break;
            t->fn(t->job, task, worker);
        }
    }
}

static void sleep_until_open(struct team *t, unsigned seen) {
    pthread_mutex_lock(&t->mutex);
    atomic_fetch_add(&t->sleepers, 1);
    for (;;) {
        unsigned g = atomic_load(&t->open);
        if ((g && g != seen) || atomic_load(&t->stop))
            break;
        pthread_cond_wait(&t->wake, &t->mutex);
    }
    atomic_fetch_sub(&t->sleepers, 1);
    pthread_mutex_unlock(&t->mutex);
}

static void *work(void *arg) {
    struct worker *w = arg;
    struct team *t = w->team;
    unsigned seen = 0;
    int64_t idle_since = clock_now_us();
    for (unsigned turns = 1;; turns++) {
        unsigned g = atomic_load_explicit(&t->open, memory_order_acquire);
        if (g && g != seen) {
            // First announce, then look again: the caller closes, then looks who is inside.
            atomic_fetch_add(&t->inside, 1);
            if (atomic_load(&t->open) == g)
                take_tasks(t, w->index);
            atomic_fetch_sub(&t->inside, 1);
            seen = g;
            idle_since = clock_now_us();
            continue;
        }
        if (atomic_load_explicit(&t->stop, memory_order_relaxed))
            return NULL;
        relax();
        if (turns % 32 == 0 && clock_now_us() - idle_since > SPIN_US) {
            sleep_until_open(t, seen);
            idle_since = clock_now_us();
        }
    }
}

static void confine(struct worker *w, const cpu_set_t *set) {
    (void)pthread_setaffinity_np(w->thread, sizeof *set, set); // refused: only slower
}

// A kernel may wake a worker on the CPU that runs the caller and leave it there for many
// milliseconds, with another CPU idle (seen on a 2-CPU virtual machine, Linux 6.18): half the
// speed, whenever work comes after a pause. So the workers are kept off the caller's CPU: each on
// one of its own where there are as many as threads (when the caller has moved onto a worker's,
// that one takes the caller's old one), else on any but the caller's.
static void place_workers(struct team *t) {
    int now = sched_getcpu();
    if (now < 0 || now == t->caller_cpu || t->cpus < t->threads || t->cpus < 2 ||
        !CPU_ISSET((size_t)now, &t->allowed))
        return;
    int before = t->caller_cpu;
    t->caller_cpu = now;
    cpu_set_t set = t->allowed;
    CPU_CLR((size_t)now, &set);
    int next = 0;
    for (int i = 1; i <= t->started; i++) {
        struct worker *w = &t->workers[i];
        if (t->cpus > t->threads) {
            confine(w, &set);
            continue;
        }
        if (before >= 0 && w->cpu != now)
            continue;
        if (before >= 0) {
            w->cpu = before;
        } else {
            while (next == now || !CPU_ISSET((size_t)next, &t->allowed))
                next++;
            w->cpu = next++;
        }
        cpu_set_t one;
        CPU_ZERO(&one);
        CPU_SET((size_t)w->cpu, &one);
        confine(w, &one);
    }
}

static void run_alone(size_t tasks, team_fn *fn, void *job) {
    for (size_t t = 0; t < tasks; t++)
        fn(job, t, 0);
}

static void run_together(struct team *t, size_t tasks, team_fn *fn, void *job) {
    t->fn = fn;
    t->job = job;
    place_workers(t);
    t->generation += t->generation == ~0U ? 2 : 1; // never 0
    size_t each = tasks / (size_t)t->threads, more = tasks % (size_t)t->threads, from = 0;
    for (int i = 0; i < t->threads; i++) {
        struct worker *w = &t->workers[i];
        atomic_store_explicit(&w->next, from, memory_order_relaxed);
        from += each + ((size_t)i < more ? 1 : 0);
        w->end = from;
    }
    atomic_store(&t->open, t->generation);
    if (atomic_load(&t->sleepers) > 0) {
        pthread_mutex_lock(&t->mutex);
        pthread_cond_broadcast(&t->wake);
        pthread_mutex_unlock(&t->mutex);
    }
    take_tasks(t, 0);
    atomic_store(&t->open, 0);
    for (unsigned turns = 1; atomic_load(&t->inside) > 0; turns++)
        wait_a_turn(turns);
}

void team_run(struct team *t, size_t tasks, team_fn *fn, void *job) {
    if (!atomic_load_explicit(&t->driven, memory_order_relaxed))
        atomic_store(&t->driven, true);
    for (unsigned turns = 1; atomic_load(&t->lent); turns++)
        wait_a_turn(turns);
    if (t->started == 0 || tasks <= 1)
        run_alone(tasks, fn, job);
    else
        run_together(t, tasks, fn, job);
}

// First it announces itself, then it looks: team_run says that it drives, then looks.
void team_run_beside(struct team *t, size_t tasks, team_fn *fn, void *job) {
    bool together = t->started > 0 && tasks > 1;
    if (together) {
        atomic_store(&t->lent, true);
        together = !atomic_load(&t->driven);
    }
    if (together)
        run_together(t, tasks, fn, job);
    atomic_store(&t->lent, false);
    if (!together)
        run_alone(tasks, fn, job);
}

enum err team_new(int threads, struct team **out, struct errmsg *msg) {
    *out = NULL;
    struct team *t = mem_alloc_aligned(1, sizeof *t);
    struct worker *workers = mem_alloc_aligned((size_t)threads, sizeof *workers);
    if (!t || !workers || thread_cond_init(&t->wake) != ERR_OK) {
        mem_free(workers);
        mem_free(t);
        return err_set(msg, ERR_NOMEM, "compute threads: no memory");
    }
    pthread_mutex_init(&t->mutex, NULL);
    t->workers = workers;
    t->threads = threads;
    t->caller_cpu = -1;
    if (sched_getaffinity(0, sizeof t->allowed, &t->allowed) == 0)
        t->cpus = CPU_COUNT(&t->allowed);
    for (int i = 1; i < threads; i++) {
        char name[16];
        snprintf(name, sizeof name, "compute-%d", i % 1000);
        struct thread_options options = {.name = name, .stack_bytes = STACK_BYTES};
        workers[i].team = t;
        workers[i].index = i;
        enum err e = thread_start(&workers[i].thread, &options, work, &workers[i], msg);
        if (e != ERR_OK) {
            team_free(t);
            return e;
        }
        t->started = i;
    }
    place_workers(t);
    *out = t;
    return ERR_OK;
}

void team_free(struct team *t) {
    if (!t)
        return;
    atomic_store(&t->stop, true);
    pthread_mutex_lock(&t->mutex);
    pthread_cond_broadcast(&t->wake);
    pthread_mutex_unlock(&t->mutex);
    for (int i = 1; i <= t->started; i++)
        pthread_join(t->workers[i].thread, NULL);
    pthread_cond_destroy(&t->wake);
    pthread_mutex_destroy(&t->mutex);
    mem_free(t->workers);
    mem_free(t);
}

int team_threads(const struct team *t) { return t->threads; }
