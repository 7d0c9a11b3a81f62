// The spawner: what a child is given and what is kept from it, how it ends, and what becomes of all
// of them when one of the processes is killed. The program is its own child: with an argument it
// does what that says (tests/kit/told_child.h). With threads, for the thread sanitizer.
#define _GNU_SOURCE // pipe2
#include "base/thread.h"
#include "channel/channel.h"
#include "channel/region.h"
#include "channel/spawner.h"
#include "tests/check.h"
#include "tests/kit/await.h"
#include "tests/kit/processes.h"
#include "tests/kit/told_child.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

static char self[4096];

// ---- its children

struct started {
    pid_t pid;
    int socket; // ours
};

static struct region *region;
static struct channel_buffer buf;

static enum err start(struct spawner *s, const char *program, const char *const *argv,
                      struct started *out, struct errmsg *msg) {
    int pair[2];
    enum err e = channel_pair(pair, msg);
    if (e)
        return e;
    e = spawner_spawn(s, program, argv, pair[1], region_fd(region), &out->pid, msg);
    close(pair[1]);
    out->socket = pair[0];
    if (e)
        close(pair[0]);
    return e;
}

static struct started must_start(struct spawner *s, const char *first, const char *second) {
    const char *argv[] = {"child", first, second, NULL};
    struct started c = {.socket = -1};
    struct errmsg msg = {0};
    CHECK_OK(start(s, self, argv, &c, &msg), msg);
    return c;
}

// The next frame, or the end: ERR_OVERLOADED where there is neither.
static enum err receive(int socket, struct channel_buffer *in, struct channel_message *m,
                        struct errmsg *msg) {
    struct pollfd p = {.fd = socket, .events = POLLIN};
    (void)poll(&p, 1, AWAIT_US / 1000);
    return channel_receive(socket, in, m, false, msg);
}

// What a child tells next.
static const char *heard(const struct started *c) {
    static char text[CHANNEL_PAYLOAD_BYTES + 1];
    struct channel_message m;
    struct errmsg msg = {0};
    enum err e = receive(c->socket, &buf, &m, &msg);
    CHECK_OK(e, msg);
    if (e)
        return "";
    memcpy(text, m.payload, m.payload_length);
    text[m.payload_length] = '\0';
    return text;
}

static int reap(struct spawner *s, pid_t pid) {
    int status = -1;
    bool gone = false;
    enum err e;
    struct errmsg msg = {0};
    WAIT_UNTIL((e = spawner_reap(s, pid, &status, &gone, &msg)) || gone);
    CHECK_OK(e, msg);
    CHECK(e || gone);
    return e ? -1 : status;
}

static void end(struct spawner *s, struct started *c) {
    struct errmsg msg = {0};
    CHECK_OK(spawner_kill(s, c->pid, SIGKILL, &msg), msg);
    (void)reap(s, c->pid);
    close(c->socket);
}

// ---- what a child is given

static void test_given(struct spawner *s) {
    struct started c = must_start(s, "--fds", "--rights");
    const char *fds = heard(&c);
    const char *want = "0 /dev/null\n1 /dev/null\n2 ";
    CHECK(strncmp(fds, want, strlen(want)) == 0);
    const char *line = strstr(fds, "\n3 ");
    CHECK(line && strcmp(line, "\n3 socket:\n4 /memfd:trine-region (deleted)\n") == 0);
    if (check_failed)
        fprintf(stderr, "%s", fds);
    CHECK_STR(heard(&c), "no new privileges 1, at the parent's end 9, own group 1");
    CHECK_INT(reap(s, c.pid), 0);
    close(c.socket);

    c = must_start(s, "--environment", "");
    const char *environment = heard(&c);
    CHECK(strstr(environment, "TRINE_CPU=generic\n"));
    CHECK(strstr(environment, "TRINE_WORKER_FAULTS=seed:1\n"));
    CHECK(strstr(environment, "OPENBLAS_NUM_THREADS=1\n"));
    CHECK(strstr(environment, "XSAN_OPTIONS=a=b\n"));
    CHECK(!strstr(environment, "secret"));
    CHECK(!strstr(environment, "PATH=/") || strstr(environment, "LD_LIBRARY_PATH=/"));
    CHECK_STR(heard(&c), "");
    (void)reap(s, c.pid);
    close(c.socket);

    c = must_start(s, "--signals", "--exit=3");
    CHECK_STR(heard(&c), "ignored 1\nignored 2\nignored 13\nignored 15\n");
    char words[64];
    spawner_status_words(reap(s, c.pid), words, sizeof words);
    CHECK_STR(words, "exit status 3");
    close(c.socket);

    memcpy(region_base(region), "hello", 5);
    c = must_start(s, "--region", "an argument, \"as it is\"\n$HOME");
    CHECK_STR(heard(&c), "hello");
    CHECK(memcmp(region_base(region), "child", 5) == 0);
    CHECK_STR(heard(&c), "an argument, \"as it is\"\n$HOME");
    (void)reap(s, c.pid);
    close(c.socket);
}

// Whatever numbers the descriptors have here and there, the child's are 3 and 4.
static void test_numbers(struct spawner *s) {
    int pair[2], filler[40];
    struct errmsg msg = {0};
    for (size_t i = 0; i < 40; i++)
        filler[i] = open("/dev/null", O_RDONLY); // without CLOEXEC, on purpose
    CHECK_OK(channel_pair(pair, &msg), msg);
    const char *argv[] = {"child", "--fds", NULL};
    struct started c = {.socket = pair[0]};
    CHECK_OK(spawner_spawn(s, self, argv, pair[1], region_fd(region), &c.pid, &msg), msg);
    close(pair[1]);
    const char *line = strstr(heard(&c), "\n3 ");
    CHECK(line && strcmp(line, "\n3 socket:\n4 /memfd:trine-region (deleted)\n") == 0);
    (void)reap(s, c.pid);
    close(c.socket);
    for (size_t i = 0; i < 40; i++)
        close(filler[i]);
}

// ---- how it ends

static void test_ends(struct spawner *s) {
    struct errmsg msg = {0};
    int status;
    bool gone;
    // by its socket
    struct started c = must_start(s, "here", "--wait");
    CHECK_STR(heard(&c), "here");
    CHECK_OK(spawner_reap(s, c.pid, &status, &gone, &msg), msg);
    CHECK(!gone);
    close(c.socket);
    CHECK_INT(reap(s, c.pid), 0);
    // once reaped it is nobody's
    CHECK_INT(spawner_reap(s, c.pid, &status, &gone, &msg), ERR_NOT_FOUND);
    CHECK_INT(spawner_kill(s, c.pid, SIGKILL, &msg), ERR_NOT_FOUND);
    CHECK_INT(spawner_kill(s, getpid(), SIGKILL, &msg), ERR_NOT_FOUND);
    CHECK_INT(spawner_kill(s, 0, SIGKILL, &msg), ERR_NOT_FOUND);
    CHECK_INT(spawner_kill(s, -1, SIGKILL, &msg), ERR_NOT_FOUND);
    CHECK_INT(spawner_reap(s, -1, &status, &gone, &msg), ERR_NOT_FOUND);
    // by a signal, though it ignores what a terminal sends; its end is seen at the socket
    c = must_start(s, "here", "--deaf");
    CHECK_STR(heard(&c), "here");
    CHECK_OK(spawner_kill(s, c.pid, SIGTERM, &msg), msg);
    CHECK_OK(spawner_kill(s, c.pid, SIGINT, &msg), msg);
    CHECK_OK(spawner_kill(s, c.pid, SIGHUP, &msg), msg);
    CHECK_OK(spawner_reap(s, c.pid, &status, &gone, &msg), msg);
    CHECK(!gone);
    CHECK_OK(spawner_kill(s, c.pid, SIGKILL, &msg), msg);
    struct channel_message m;
    CHECK_INT(receive(c.socket, &buf, &m, &msg), ERR_LOST);
    char words[160];
    spawner_status_words(reap(s, c.pid), words, sizeof words);
    CHECK_STR(words, "signal 9 (Killed)");
    spawner_status_words(SIGSYS, words, sizeof words); // which says nothing to most people
    CHECK(strstr(words, "SystemCallFilter=") != NULL);
    close(c.socket);
    // with what it has started: killed, and ended by itself
    for (int by_itself = 0; by_itself < 2; by_itself++) {
        c = must_start(s, "--grandchild", by_itself ? "--exit=0" : "--deaf");
        pid_t grandchild = (pid_t)atoi(heard(&c));
        CHECK(grandchild > 0);
        if (!by_itself)
            CHECK_OK(spawner_kill(s, c.pid, SIGKILL, &msg), msg);
        (void)reap(s, c.pid);
        AWAIT(process_is_gone(grandchild));
        close(c.socket);
    }
}

static void test_failures(struct spawner *s) {
    struct errmsg msg = {0};
    struct started c;
    const char *argv[] = {"child", "--exit=0", NULL};
    CHECK_INT(start(s, "/no/such/program", argv, &c, &msg), ERR_NOT_FOUND);
    CHECK(strstr(msg.text, "/no/such/program: cannot be started: executing it: No such file"));
    CHECK_INT(start(s, "/dev/null", argv, &c, &msg), ERR_NOT_FOUND);
    CHECK(strstr(msg.text, "/dev/null: cannot be started: executing it: Permission denied"));
    CHECK_INT(start(s, "/", argv, &c, &msg), ERR_NOT_FOUND);
    const char *none[] = {NULL};
    CHECK_INT(start(s, self, none, &c, &msg), ERR_INTERNAL);
    static char longest[CHANNEL_PAYLOAD_BYTES];
    memset(longest, 'a', sizeof longest - 1);
    const char *too_long[] = {"child", longest, NULL};
    CHECK_INT(start(s, self, too_long, &c, &msg), ERR_TOO_LARGE);
    static const char *many[300];
    for (size_t i = 0; i < 299; i++)
        many[i] = "a";
    CHECK_INT(start(s, self, many, &c, &msg), ERR_TOO_LARGE);
    CHECK_INT(spawner_spawn(s, self, argv, -1, region_fd(region), &c.pid, &msg), ERR_IO);
    // a failure keeps no place: far more of them than there are places
    for (int i = 0; i < 2 * SPAWNER_CHILDREN; i++)
        CHECK_INT(start(s, "/no/such/program", argv, &c, &msg), ERR_NOT_FOUND);
    // all places, and one more
    struct started all[SPAWNER_CHILDREN];
    for (int i = 0; i < SPAWNER_CHILDREN; i++)
        all[i] = must_start(s, "--wait", "");
    CHECK_INT(start(s, self, argv, &c, &msg), ERR_OVERLOADED);
    for (int i = 0; i < SPAWNER_CHILDREN; i++)
        end(s, &all[i]);
    c = must_start(s, "again", "");
    CHECK_STR(heard(&c), "again");
    (void)reap(s, c.pid);
    close(c.socket);
}

// ---- several threads

static void *start_some(void *arg) {
    struct spawner *s = arg;
    struct channel_buffer *in = calloc(1, sizeof *in);
    struct errmsg msg;
    const char *argv[] = {"child", "here", "--deaf", NULL};
    size_t good = 0;
    for (int i = 0; in && i < 5; i++) {
        struct started c;
        struct channel_message m;
        if (start(s, self, argv, &c, &msg))
            continue;
        bool told = receive(c.socket, in, &m, &msg) == ERR_OK;
        int status = 0;
        bool gone = false;
        bool killed = spawner_kill(s, c.pid, SIGKILL, &msg) == ERR_OK;
        while (killed && !gone && !spawner_reap(s, c.pid, &status, &gone, &msg))
            await_nap();
        good += told && gone && WIFSIGNALED(status);
        close(c.socket);
    }
    free(in);
    return (void *)good;
}

static void test_threads(struct spawner *s) {
    pthread_t threads[3];
    struct errmsg msg = {0};
    for (int i = 0; i < 3; i++)
        CHECK_OK(thread_start(&threads[i], &(struct thread_options){.name = "starter"}, start_some,
                              s, &msg),
                 msg);
    for (int i = 0; i < 3; i++) {
        void *good;
        pthread_join(threads[i], &good);
        CHECK_INT((size_t)good, 5);
    }
}

// ---- orphans

// A process with a spawner and a child of it; what it says of them comes through a pipe.
struct family {
    pid_t parent, spawner, child;
};

static struct family make_family(void) {
    int told[2];
    struct family f = {0};
    if (!CHECK(pipe2(told, O_CLOEXEC) == 0))
        return f;
    f.parent = fork();
    if (f.parent == 0) {
        struct spawner *s;
        struct errmsg msg = {0};
        struct started c = {0};
        const char *argv[] = {"child", "here", "--deaf", NULL};
        struct channel_message m;
        if (spawner_start(&s, &msg) || start(s, self, argv, &c, &msg) ||
            receive(c.socket, &buf, &m, &msg))
            _exit(1);
        f = (struct family){getpid(), spawner_pid(s), c.pid};
        if (write(told[1], &f, sizeof f) != (ssize_t)sizeof f)
            _exit(1);
        alarm(300);
        for (;;)
            pause();
    }
    close(told[1]);
    CHECK(read(told[0], &f, sizeof f) == (ssize_t)sizeof f);
    close(told[0]);
    return f;
}

static void test_orphans(void) {
    enum { PARENT = 1, SPAWNER = 2, STOPPED = 4 };
    static const int ways[] = {PARENT, SPAWNER, PARENT | SPAWNER, PARENT | STOPPED};
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
        struct family f = make_family();
        CHECK(!process_is_gone(f.parent) && !process_is_gone(f.spawner) &&
              !process_is_gone(f.child));
        if (ways[i] & STOPPED)
            kill(f.spawner, SIGSTOP);
        if (ways[i] & SPAWNER)
            kill(f.spawner, SIGKILL);
        if (ways[i] & PARENT)
            kill(f.parent, SIGKILL);
        AWAIT(process_is_gone(f.spawner));
        AWAIT(process_is_gone(f.child));
        kill(f.parent, SIGKILL);
        CHECK_INT(waitpid(f.parent, NULL, 0), f.parent);
    }
}

// ---- the spawner itself

static void test_signals(void) {
    struct spawner *s;
    struct errmsg msg = {0};
    CHECK_OK(spawner_start(&s, &msg), msg);
    struct started c = must_start(s, "here", "--wait");
    CHECK_STR(heard(&c), "here");
    static const int sent[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGPIPE};
    for (size_t i = 0; i < sizeof sent / sizeof *sent; i++)
        kill(spawner_pid(s), sent[i]);
    CHECK(getpgid(spawner_pid(s)) != getpgrp());
    struct started d = must_start(s, "still", "--wait");
    CHECK_STR(heard(&d), "still");
    // what is there when it stops goes with it
    spawner_stop(s);
    CHECK(process_is_gone(c.pid) && process_is_gone(d.pid));
    struct channel_message m;
    CHECK_INT(receive(c.socket, &buf, &m, &msg), ERR_LOST);
    close(c.socket);
    close(d.socket);
}

// A spawner that is dead, or hangs, refuses: at once, or after the limit; and nothing hangs.
static void test_lost(void) {
    for (int hung = 0; hung < 2; hung++) {
        struct spawner *s;
        struct errmsg msg = {0};
        CHECK_OK(spawner_start(&s, &msg), msg);
        struct started c = must_start(s, "here", "--deaf");
        CHECK_STR(heard(&c), "here");
        pid_t spawner = spawner_pid(s);
        if (hung)
            spawner_set_limit(s, 50000);
        kill(spawner, hung ? SIGSTOP : SIGKILL);
        int status;
        bool gone;
        CHECK_INT(spawner_reap(s, c.pid, &status, &gone, &msg), ERR_UNAVAILABLE);
        CHECK(strstr(msg.text, hung ? "does not answer" : "has ended"));
        CHECK_INT(spawner_kill(s, c.pid, SIGKILL, &msg), ERR_UNAVAILABLE);
        const char *argv[] = {"child", NULL};
        struct started none;
        CHECK_INT(start(s, self, argv, &none, &msg), ERR_UNAVAILABLE);
        // its children are gone with it
        struct channel_message m;
        CHECK_INT(receive(c.socket, &buf, &m, &msg), ERR_LOST);
        close(c.socket);
        spawner_stop(s);
        CHECK(process_is_gone(spawner));
    }
}

// It is a small process: what it has of its own is little, whatever this process has.
static void test_size(struct spawner *s) {
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
    char path[64], line[256];
    snprintf(path, sizeof path, "/proc/%d/smaps_rollup", (int)spawner_pid(s));
    FILE *f = fopen(path, "r");
    long kib = 0, n;
    while (f && fgets(line, sizeof line, f))
        if (sscanf(line, "Private_Clean: %ld", &n) == 1 ||
            sscanf(line, "Private_Dirty: %ld", &n) == 1)
            kib += n;
    if (f)
        fclose(f);
    CHECK(f && kib > 0 && kib < 2048);
#else
    (void)s;
#endif
}

int main(int argc, char **argv, char **environment) {
    if (argc > 1)
        return told_child(argc, argv, environment);
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    CHECK(n > 0);
    // to be passed on, and to be kept
    setenv("TRINE_CPU", "generic", 1);
    setenv("TRINE_WORKER_FAULTS", "seed:1", 1);
    setenv("OPENBLAS_NUM_THREADS", "1", 1);
    setenv("XSAN_OPTIONS", "a=b", 1);
    setenv("HF_TOKEN", "secret", 1);
    setenv("TRINE_API_KEY", "secret", 1);
    setenv("TRINE_CPUX", "secret", 1);
    setenv("MY_OPENBLAS_X", "secret", 1);
    setenv("LD_PRELOAD_X", "secret", 1);
    // what a child must not inherit
    signal(SIGUSR1, SIG_IGN);
    signal(SIGPIPE, SIG_IGN);
    sigset_t some, before;
    sigemptyset(&some);
    sigaddset(&some, SIGUSR2);
    sigprocmask(SIG_BLOCK, &some, &before);

    struct spawner *s;
    struct errmsg msg = {0};
    size_t fds = own_descriptors();
    CHECK_OK(region_new(1 << 20, &region, &msg), msg);
    CHECK_OK(spawner_start(&s, &msg), msg);
    sigprocmask(SIG_SETMASK, &before, NULL);
    size_t with_both = own_descriptors();
    CHECK_INT(with_both, fds + 2);
    test_given(s);
    test_numbers(s);
    test_ends(s);
    test_failures(s);
    test_size(s);
    test_signals();
    test_lost();
    test_orphans();
    test_threads(s);
    CHECK_INT(own_descriptors(), with_both);
    pid_t spawner = spawner_pid(s);
    spawner_stop(s);
    spawner_stop(NULL);
    CHECK(process_is_gone(spawner));
    CHECK_INT(kill(spawner, 0), -1); // reaped, too
    region_free(region);
    CHECK_INT(own_descriptors(), fds);
    return check_done();
}
