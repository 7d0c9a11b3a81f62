// See crash.h. Everything that the handler calls is async-signal-safe, but for backtrace and
// backtrace_symbols_fd: the first loads a library at its first call, which is made at the start,
// and neither allocates after that.
#define _GNU_SOURCE // sigaltstack, backtrace, strsignal's names
#include "base/crash.h"

#include "base/version.h"

#include <execinfo.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1
#endif
#endif
#ifndef SANITIZED
#define SANITIZED 0
#endif

enum { FRAMES = 64, OWN_FRAMES = 1, LINE_BYTES = 512 };

static const struct {
    int number;
    const char *name;
} signals[] = {{SIGSEGV, "SIGSEGV"},
               {SIGBUS, "SIGBUS"},
               {SIGFPE, "SIGFPE"},
               {SIGILL, "SIGILL"},
               {SIGABRT, "SIGABRT"}};
enum { SIGNALS = sizeof signals / sizeof *signals };

struct note {
    char ids[CRASH_IDS][CRASH_ID_BYTES];
    unsigned count; // of all, those that found no room included
    char thread[16];
};

static _Thread_local struct note mine;
static struct note *_Atomic notes[CRASH_THREADS]; // of thread.c's threads
static atomic_bool installed, reporting;
static _Thread_local volatile sig_atomic_t telling; // this thread reports

// ---- notes

unsigned crash_work_on(const char *id) {
    unsigned before = mine.count;
    if (!id)
        return before;
    if (before < CRASH_IDS) {
        size_t n = strnlen(id, CRASH_ID_BYTES - 1);
        memcpy(mine.ids[before], id, n);
        mine.ids[before][n] = '\0';
    }
    mine.count++;
    return before;
}

void crash_work_back_to(unsigned before) { mine.count = before; }

void crash_thread_begin(const char *name, char stack[CRASH_STACK_BYTES]) {
    if (!atomic_load(&installed))
        return;
    strncpy(mine.thread, name, sizeof mine.thread - 1);
    for (size_t i = 0; i < CRASH_THREADS; i++) {
        struct note *none = NULL;
        if (atomic_compare_exchange_strong(&notes[i], &none, &mine))
            break;
    }
    stack_t other = {.ss_sp = stack, .ss_size = CRASH_STACK_BYTES};
    (void)sigaltstack(&other, NULL); // without it only an overflow goes untold
}

void crash_thread_end(void) {
    if (!atomic_load(&installed))
        return;
    stack_t none = {.ss_flags = SS_DISABLE};
    (void)sigaltstack(&none, NULL);
    for (size_t i = 0; i < CRASH_THREADS; i++) {
        struct note *own = &mine;
        if (atomic_compare_exchange_strong(&notes[i], &own, NULL))
            break;
    }
}

void crash_leave_signals(sigset_t *set) {
    for (size_t i = 0; i < SIGNALS; i++)
        sigdelset(set, signals[i].number);
}

// ---- the report

struct crash_line {
    char bytes[LINE_BYTES];
    size_t len;
};

// Another thread may be writing what is read here: nothing is taken for a string, and only what an
// id may hold is shown.
static void put(struct crash_line *l, const char *s, size_t most) {
    for (size_t i = 0; i < most && s[i] > ' ' - 1 && s[i] < 0x7f && l->len < sizeof l->bytes - 1;
         i++)
        l->bytes[l->len++] = s[i];
}

static void put_words(struct crash_line *l, const char *s) { put(l, s, LINE_BYTES); }

static void put_number(struct crash_line *l, uintptr_t n, unsigned base) {
    char digits[32];
    size_t i = sizeof digits;
    do
        digits[--i] = "0123456789abcdef"[n % base];
    while (n /= base);
    put(l, digits + i, sizeof digits - i);
}

static void flush(struct crash_line *l) {
    l->bytes[l->len++] = '\n';
    ssize_t n = write(STDERR_FILENO, l->bytes, l->len);
    (void)n; // who does not read it does not get it
    l->len = 0;
}

static void tell_signal(struct crash_line *l, int number, const siginfo_t *info) {
    char thread[17] = {0};
    put_words(l, "trine crashed: ");
    for (size_t i = 0; i < SIGNALS; i++)
        if (signals[i].number == number)
            put_words(l, signals[i].name);
    if (info->si_code > 0) { // the kernel's, about an address; else a process sent it
        put_words(l, " at address 0x");
        put_number(l, (uintptr_t)info->si_addr, 16);
    } else {
        put_words(l, " sent by process ");
        put_number(l, (uintptr_t)info->si_pid, 10);
    }
    put_words(l, ", thread ");
    if (prctl(PR_GET_NAME, thread) == 0)
        put_words(l, thread);
    put_words(l, "; version ");
    put_words(l, version_number);
    put_words(l, ", commit ");
    put_words(l, version_commit);
    flush(l);
}

static void tell_note(struct crash_line *l, const struct note *note, bool own) {
    unsigned count = note->count, shown = count < CRASH_IDS ? count : CRASH_IDS;
    if (count == 0)
        return;
    put_words(l, own ? "this thread" : "thread ");
    if (!own)
        put(l, note->thread, sizeof note->thread);
    put_words(l, " worked on");
    for (unsigned i = 0; i < shown; i++) {
        put_words(l, " ");
        put(l, note->ids[i], CRASH_ID_BYTES);
    }
    if (count > shown) {
        put_words(l, " and ");
        put_number(l, count - shown, 10);
        put_words(l, " more");
    }
    flush(l);
}

static void tell_stack(struct crash_line *l) {
    void *frames[FRAMES];
    int n = backtrace(frames, FRAMES);
    put_words(l, "stack (tools/where.sh gives functions and lines):");
    flush(l);
    if (n > OWN_FRAMES)
        backtrace_symbols_fd(frames + OWN_FRAMES, n - OWN_FRAMES, STDERR_FILENO);
}

static void on_crash(int number, siginfo_t *info, void *context) {
    (void)context;
    if (telling) { // the report itself crashed, by another signal: no more of it
        (void)raise(number);
        return;
    }
    while (atomic_exchange(&reporting, true)) // one thread's crash is told; it ends the others
        pause();
    telling = true;
    int flags = fcntl(STDERR_FILENO, F_GETFL);
    (void)fcntl(STDERR_FILENO, F_SETFL, flags | O_NONBLOCK); // a full pipe must not hold the end up
    struct crash_line line;
    line.len = 0;
    tell_signal(&line, number, info);
    tell_note(&line, &mine, true);
    for (size_t i = 0; i < CRASH_THREADS; i++) {
        const struct note *note = atomic_load(&notes[i]);
        if (note && note != &mine)
            tell_note(&line, note, false);
    }
    tell_stack(&line);
    if (flags >= 0)
        (void)fcntl(STDERR_FILENO, F_SETFL, flags);
    (void)raise(number); // SA_RESETHAND: ends the process, with a core, once this has returned
}

void crash_install(void) {
    if (SANITIZED)
        return;
    void *first[1];
    (void)backtrace(first, 1);
    static char stack[CRASH_STACK_BYTES];
    atomic_store(&installed, true);
    crash_thread_begin("main", stack);
    struct sigaction a = {.sa_sigaction = on_crash,
                          .sa_flags = (int)(SA_SIGINFO | SA_ONSTACK | SA_RESETHAND)};
    sigemptyset(&a.sa_mask);
    for (size_t i = 0; i < SIGNALS; i++)
        (void)sigaction(signals[i].number, &a, NULL);
}
