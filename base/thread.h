// Threads: named, with a chosen stack and niceness, creation injectable (fault.h, FAULT_THREAD).
// Mutexes and conditions are pthreads' own. Thread rule: any thread.
#ifndef TRINE_BASE_THREAD_H
#define TRINE_BASE_THREAD_H

#include "base/err.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

struct thread_options {
    const char *name;   // at most 15 characters, shown by ps and perf; copied
    size_t stack_bytes; // 0: the system's default
    int nice;           // 0: the process's own; above 0 yields the CPU to compute
};

// Starts fn(arg) on a joinable thread with all signals blocked (main alone takes them), but for
// those that a fault of its own sends (crash.h).
enum err thread_start(pthread_t *thread, const struct thread_options *options, void *(*fn)(void *),
                      void *arg, struct errmsg *msg) MUST_CHECK;

// Condition variables wait on the monotonic clock: initialises one with that attribute.
enum err thread_cond_init(pthread_cond_t *cond) MUST_CHECK;
// Waits until signalled or clock_now_us() reaches deadline_us; false on time-out. mutex is held.
bool thread_cond_wait_until(pthread_cond_t *cond, pthread_mutex_t *mutex, int64_t deadline_us);

#endif
