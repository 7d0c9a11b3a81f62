// A fork and an exec, with what a child is given and what is taken from it (spawner.h has the
// list). Thread rule: the spawner's one thread, so that between fork and exec anything may be
// called.
#define _GNU_SOURCE // pipe2, dup3, close_range
#include "channel/spawner_internal.h"

#include "base/clock.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    REPORT_FD = SPAWNER_REGION_FD + 1, // where the child says why it could not be; CLOEXEC
    HIGH_FD = REPORT_FD + 1,           // above all that are put in their places
    MORE_OOM = 300,                    // of 1000: see below
    REAP_TRIES = 100,                  // of a millisecond, for what failed before its exec
};

// What the child says when a step of it fails.
struct report {
    int step, error;
};
enum { STEP_PARENT, STEP_RIGHTS, STEP_FDS, STEP_EXEC };
static const char *const steps[] = {"the spawner has ended", "no new privileges", "its descriptors",
                                    "executing it"};

void spawner_close_from(int first) {
    if (close_range((unsigned)first, ~0U, 0) == 0)
        return;
    // a kernel before 5.9: what is open is read, then closed
    DIR *dir = opendir("/proc/self/fd");
    if (!dir)
        return;
    int own = dirfd(dir);
    for (struct dirent *entry; (entry = readdir(dir));) {
        int fd = (int)strtol(entry->d_name, NULL, 10);
        if (entry->d_name[0] != '.' && fd >= first && fd != own)
            close(fd);
    }
    closedir(dir);
}

// When memory is out the system ends a process, and it shall be this one, whose end costs nobody
// an answer, rather than the one that has the clients' sockets. Raising the number is everybody's
// right; a refusal costs only the preference.
static void offer_to_oom(void) {
    int fd = open("/proc/self/oom_score_adj", O_RDWR | O_CLOEXEC);
    if (fd < 0)
        return;
    char text[16] = "";
    ssize_t n = read(fd, text, sizeof text - 1);
    long now = n > 0 ? strtol(text, NULL, 10) : 0;
    int length = snprintf(text, sizeof text, "%ld", now + MORE_OOM < 1000 ? now + MORE_OOM : 1000);
    n = pwrite(fd, text, (size_t)length, 0);
    (void)n;
    close(fd);
}

void spawner_set_signals(const int *ignored, size_t count) {
    for (int i = 1; i < NSIG; i++)
        (void)signal(i, SIG_DFL); // KILL, STOP and what the C library keeps refuse
    for (size_t i = 0; i < count; i++)
        (void)signal(ignored[i], SIG_IGN);
    sigset_t none;
    sigemptyset(&none);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
}

// Socket, region and the report to 3, 4 and 5, nothing above. Numbers may overlap, so all go up
// first.
static bool place_fds(const int fds[2], int report) {
    int socket = fcntl(fds[0], F_DUPFD_CLOEXEC, HIGH_FD);
    int region = fcntl(fds[1], F_DUPFD_CLOEXEC, HIGH_FD);
    int said = fcntl(report, F_DUPFD_CLOEXEC, HIGH_FD);
    if (socket < 0 || region < 0 || said < 0 || dup2(socket, SPAWNER_SOCKET_FD) < 0 ||
        dup2(region, SPAWNER_REGION_FD) < 0 || dup3(said, REPORT_FD, O_CLOEXEC) < 0)
        return false;
    spawner_close_from(REPORT_FD + 1);
    return true;
}

static _Noreturn void become(const char *program, char *const *argv, char *const *environment,
                             const int fds[2], int report, pid_t spawner) {
    struct report r = {.step = STEP_PARENT};
    (void)setpgid(0, 0);
    // Between the fork and this call the spawner may have ended, and no signal comes any more.
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || getppid() != spawner)
        goto failed;
    r.step = STEP_RIGHTS;
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
        goto failed;
    offer_to_oom();
    static const int ignored[] = {SIGHUP, SIGINT, SIGTERM, SIGPIPE};
    spawner_set_signals(ignored, sizeof ignored / sizeof *ignored);
    r.step = STEP_FDS;
    if (!place_fds(fds, report))
        goto failed;
    report = REPORT_FD;
    r.step = STEP_EXEC;
    execve(program, argv, environment);
failed:
    r.error = errno;
    ssize_t n = write(report, &r, sizeof r);
    (void)n; // who does not read it has ended
    _exit(127);
}

// Waits until the child has executed the program (the pipe closes), or says why not.
enum exec_outcome { STARTED, REFUSED, TOO_SLOW };
static enum exec_outcome await(int fd, struct report *r) {
    int64_t until = clock_now_us() + SPAWNER_EXEC_US;
    for (;;) {
        int64_t left = until - clock_now_us();
        if (left <= 0)
            return TOO_SLOW;
        struct pollfd p = {.fd = fd, .events = POLLIN};
        if (poll(&p, 1, (int)(left / 1000 + 1)) <= 0)
            continue;
        ssize_t n = read(fd, r, sizeof *r);
        if (n == (ssize_t)sizeof *r)
            return REFUSED;
        if (n == 0)
            return STARTED; // or killed before: then it is reaped as what it is
        if (errno != EINTR)
            return TOO_SLOW;
    }
}

// Reaps what has ended or is about to; false where it is still there.
static bool reap_soon(pid_t pid) {
    for (int i = 0; i < REAP_TRIES; i++) {
        pid_t got = waitpid(pid, NULL, WNOHANG);
        if (got == pid || (got < 0 && errno == ECHILD))
            return true;
        (void)poll(NULL, 0, 1);
    }
    return false;
}

enum err spawner_exec(const char *program, char *const *argv, char *const *environment,
                      const int fds[2], pid_t *pid, struct errmsg *msg) {
    *pid = 0;
    int report[2];
    if (pipe2(report, O_CLOEXEC) != 0)
        return err_set(msg, ERR_IO, "%s: cannot make a pipe: %s", program, strerror(errno));
    pid_t spawner = getpid();
    pid_t child = fork();
    if (child == 0)
        become(program, argv, environment, fds, report[1], spawner);
    int e = errno;
    close(report[1]);
    if (child < 0) {
        close(report[0]);
        return err_set(msg, e == ENOMEM ? ERR_NOMEM : ERR_IO, "%s: cannot fork: %s", program,
                       strerror(e));
    }
    struct report r = {0};
    enum exec_outcome outcome = await(report[0], &r);
    close(report[0]);
    if (outcome == STARTED) {
        *pid = child;
        return ERR_OK;
    }
    (void)kill(child, SIGKILL);
    if (!reap_soon(child))
        *pid = child;
    if (outcome == TOO_SLOW)
        return err_set(msg, ERR_IO, "%s: not started within %d s", program,
                       SPAWNER_EXEC_US / 1000000);
    bool is_none = r.step == STEP_EXEC && (r.error == ENOENT || r.error == ENOTDIR ||
                                           r.error == EACCES || r.error == ENOEXEC);
    bool known = r.step >= STEP_PARENT && r.step <= STEP_EXEC;
    return err_set(msg, is_none ? ERR_NOT_FOUND : ERR_IO, "%s: cannot be started: %s: %s", program,
                   known ? steps[r.step] : "?", strerror(r.error));
}
