// Crashes of this program's own making, each in a child: a fault at an address, abort(), a stack
// that runs over, and who is named. A sanitizer's build has its own reports: there the notes alone
// run.
#define _GNU_SOURCE // pipes and waiting
#include "base/crash.h"

#include "base/thread.h"
#include "base/version.h"
#include "tests/check.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
enum { SANITIZED = 1 };
#else
enum { SANITIZED = 0 };
#endif

static volatile int sink;
static int *volatile nowhere; // NULL, and the compiler does not know

static void fault(void) {
    crash_work_on("req-one");
    *nowhere = 1;
}

static void give_up(void) { abort(); }

// The frame is read after the call, so that no compiler makes a loop of it.
static int deeper(volatile char *above) { // NOLINT(misc-no-recursion)
    volatile char frame[4096];
    frame[0] = (char)(above[0] + 1);
    int below = nowhere ? 0 : deeper(frame);
    return below + frame[0];
}

static void *run_over(void *arg) {
    (void)arg;
    crash_work_on("req-deep");
    volatile char top[1] = {0};
    sink = deeper(top);
    return NULL;
}

static void start_and_wait(void *(*fn)(void *)) {
    pthread_t thread;
    struct thread_options o = {.name = "deep", .stack_bytes = 256 << 10};
    struct errmsg msg = {0};
    if (thread_start(&thread, &o, fn, NULL, &msg) == ERR_OK)
        pthread_join(thread, NULL);
}

static void overflow(void) { start_and_wait(run_over); }

static void *fault_among_many(void *arg) {
    (void)arg;
    char id[64];
    unsigned before = 0;
    for (int i = 0; i < CRASH_IDS + 3; i++) {
        snprintf(id, sizeof id, "req-%d", i);
        before = crash_work_on(id);
    }
    crash_work_back_to(before); // all but the last
    crash_work_back_to(1);
    crash_work_on(NULL);
    crash_work_on("a-name-that-is-longer-than-any-that-http-lets-through");
    for (int i = 2; i < CRASH_IDS + 3; i++)
        crash_work_on("x");
    *nowhere = 1;
    return NULL;
}

static void many(void) { start_and_wait(fault_among_many); }

static void *end_at_once(void *arg) {
    (void)arg;
    crash_work_on("req-ended");
    return NULL;
}

static void ended(void) {
    start_and_wait(end_at_once);
    *nowhere = 1;
}

static void fault_again(int number) {
    (void)number;
    *nowhere = 1;
}

// A report that itself crashes, as one may in a heap or a stack that is broken: here where it
// writes.
static void crash_in_report(void) {
    int ends[2];
    if (pipe(ends) != 0)
        return;
    close(ends[0]);
    dup2(ends[1], STDERR_FILENO);
    signal(SIGPIPE, fault_again);
    alarm(60); // where it would wait for ever
    abort();
}

// What a child that does this writes to stderr; *signal_number: what ended it.
static void crash(void (*how)(void), char *said, size_t size, int *signal_number) {
    int ends[2];
    *said = '\0';
    *signal_number = 0;
    if (!CHECK(pipe(ends) == 0))
        return;
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        struct rlimit none = {0, 0};
        setrlimit(RLIMIT_CORE, &none);
        dup2(ends[1], STDERR_FILENO);
        crash_install();
        how();
        _exit(0);
    }
    close(ends[1]);
    size_t len = 0;
    for (ssize_t n; len < size - 1 && (n = read(ends[0], said + len, size - 1 - len)) > 0;)
        len += (size_t)n;
    said[len] = '\0';
    close(ends[0]);
    int status = 0;
    CHECK(waitpid(child, &status, 0) == child);
    *signal_number = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
}

static bool says(const char *said, const char *words) {
    bool found = strstr(said, words) != NULL;
    if (!found)
        fprintf(stderr, "    not said: %s\n    but: %s\n", words, said);
    return found;
}

static void test_ends(void) {
    char said[16384], version[64];
    int number;
    snprintf(version, sizeof version, "; version %s, commit %s\n", version_number, version_commit);
    crash(fault, said, sizeof said, &number);
    CHECK_INT(number, SIGSEGV);
    CHECK(says(said, "trine crashed: SIGSEGV at address 0x0, thread "));
    CHECK(says(said, version));
    CHECK(says(said, "\nthis thread worked on req-one\n"));
    CHECK(says(said, "(+0x"));
    crash(give_up, said, sizeof said, &number);
    CHECK_INT(number, SIGABRT);
    CHECK(says(said, "trine crashed: SIGABRT "));
    CHECK(says(said, "(+0x"));
    CHECK(strstr(said, "worked on") == NULL);
    crash(crash_in_report, said, sizeof said, &number);
    CHECK_INT(number, SIGSEGV);
}

static void test_overflow(void) {
    char said[16384];
    int number;
    crash(overflow, said, sizeof said, &number);
    CHECK_INT(number, SIGSEGV);
    CHECK(says(said, ", thread deep;"));
    CHECK(says(said, "\nthis thread worked on req-deep\n"));
    CHECK(says(said, "(+0x"));
}

static void test_notes(void) {
    char said[16384];
    int number;
    crash(many, said, sizeof said, &number);
    CHECK_INT(number, SIGSEGV);
    CHECK(says(said, "\nthis thread worked on req-0 a-name-that-is-longer-than-any-that-htt x x "));
    CHECK(says(said, " x and 3 more\n"));
    crash(ended, said, sizeof said, &number); // a thread that has ended is not named
    CHECK_INT(number, SIGSEGV);
    CHECK(strstr(said, "req-ended") == NULL);
}

int main(void) {
    CHECK_INT(crash_work_on("one"), 0);
    CHECK_INT(crash_work_on("two"), 1);
    crash_work_back_to(0);
    CHECK_INT(crash_work_on(NULL), 0);
    CHECK_INT(crash_work_on("three"), 0);
    crash_work_back_to(0);
    if (!SANITIZED) {
        test_ends();
        test_overflow();
        test_notes();
    }
    return check_done();
}
