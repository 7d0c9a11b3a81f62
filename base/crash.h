// What a crash leaves behind: the signal, the version, the thread, the requests that the threads
// worked on, and a stack, on stderr; then the process ends by the signal, as it would have.
// Role: the handler, and each thread's note of what it works on. The handler takes no lock and no
// memory, and never waits for stderr's reader. A sanitizer's build leaves all of it to the
// sanitizer, but for the notes. Thread rule: crash_install once, in main, before any thread; a note
// is its thread's own.
#ifndef TRINE_BASE_CRASH_H
#define TRINE_BASE_CRASH_H

#include <signal.h>
#include <stddef.h>

enum {
    CRASH_ID_BYTES = 40,          // of a request's name, NUL included; a longer one is cut
    CRASH_IDS = 16,               // that a thread names; more are counted
    CRASH_THREADS = 256,          // whose notes another's crash shows
    CRASH_STACK_BYTES = 32 << 10, // that the handler needs of its own: a stack may have run over
};

// Takes SIGSEGV, SIGBUS, SIGFPE, SIGILL and SIGABRT.
void crash_install(void);
// Takes those out of a set of signals that a thread is to block: a blocked fault ends the process
// without a word.
void crash_leave_signals(sigset_t *set);

// thread.c calls them in each of its threads, first and last. `stack` is the thread's as long as it
// lives.
void crash_thread_begin(const char *name, char stack[CRASH_STACK_BYTES]);
void crash_thread_end(void);

// This thread works on the request of that x-request-id too; copied. NULL: nothing is noted.
// Returns how many it worked on before.
unsigned crash_work_on(const char *id);
// Back to what it worked on when there were so many; 0: to nothing.
void crash_work_back_to(unsigned before);

#endif
