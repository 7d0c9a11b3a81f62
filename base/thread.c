// See thread.h.
#define _GNU_SOURCE // pthread_setname_np, gettid
#include "base/thread.h"

#include "base/clock.h"
#include "base/crash.h"
#include "base/fault.h"
#include "base/limits.h"
#include "base/mem.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

struct start {
    void *(*fn)(void *);
    void *arg;
    int nice;
    char name[16];
};

static void *trampoline(void *p) {
    struct start s = *(struct start *)p;
    mem_free(p);
    pthread_setname_np(pthread_self(), s.name);
    if (s.nice) // on Linux niceness belongs to the thread; a refusal costs only the priority
        (void)setpriority(PRIO_PROCESS, (id_t)gettid(), s.nice);
    char crash_stack[CRASH_STACK_BYTES];
    crash_thread_begin(s.name, crash_stack);
    void *result = s.fn(s.arg);
    crash_thread_end();
    return result;
}

enum err thread_start(pthread_t *thread, const struct thread_options *options, void *(*fn)(void *),
                      void *arg, struct errmsg *msg) {
    struct start *s = mem_calloc(1, sizeof *s);
    if (!s)
        return err_set(msg, ERR_NOMEM, "thread '%s': no memory", options->name);
    *s = (struct start){.fn = fn, .arg = arg, .nice = options->nice};
    snprintf(s->name, sizeof s->name, "%s", options->name);

    pthread_attr_t attr;
    pthread_attr_init(&attr);
    if (options->stack_bytes)
        pthread_attr_setstacksize(&attr, options->stack_bytes);
    sigset_t all, old;
    sigfillset(&all);
    crash_leave_signals(&all);
    pthread_sigmask(SIG_BLOCK, &all, &old);
    int rc = fault_hit(FAULT_THREAD) ? EAGAIN : pthread_create(thread, &attr, trampoline, s);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    pthread_attr_destroy(&attr);
    if (rc != 0) {
        char memory[LIMITS_WORDS]; // for its stack: there is one errno for both
        mem_free(s);
        return err_set(msg, ERR_IO, "thread '%s': cannot start: %s%s%s", options->name,
                       strerror(rc),
                       rc == EAGAIN ? " (the limit of threads: ulimit -u, pids.max)" : "",
                       rc == EAGAIN ? limits_words(LIMITS_MAPPED, memory) : "");
    }
    return ERR_OK;
}

enum err thread_cond_init(pthread_cond_t *cond) {
    pthread_condattr_t attr;
    if (pthread_condattr_init(&attr) != 0)
        return ERR_NOMEM;
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    int rc = pthread_cond_init(cond, &attr);
    pthread_condattr_destroy(&attr);
    return rc == 0 ? ERR_OK : ERR_NOMEM;
}

bool thread_cond_wait_until(pthread_cond_t *cond, pthread_mutex_t *mutex, int64_t deadline_us) {
    struct timespec t = {.tv_sec = deadline_us / 1000000, .tv_nsec = deadline_us % 1000000 * 1000};
    return pthread_cond_timedwait(cond, mutex, &t) != ETIMEDOUT;
}
