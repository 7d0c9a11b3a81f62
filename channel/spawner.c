// See spawner.h: the side of the process that has the threads.
#define _GNU_SOURCE // F_DUPFD_CLOEXEC
#include "channel/spawner_internal.h"

#include "base/clock.h"
#include "base/mem.h"
#include "channel/channel.h"
#include "channel/pack.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    LIMIT_US = 10000000,                // of a request
    STOP_US = SPAWNER_END_US + 2000000, // for the spawner to end its children and itself
    KILLED_US = 1000000,                // for the spawner to be gone once it is killed
    LEAST_FD = 3,                       // a process that was started without stdin has room there
};

struct spawner {
    pthread_mutex_t mutex; // one request at a time; guards what follows
    int fd;
    pid_t pid;
    bool reaped; // pid may be another's by now
    bool lost;   // no request is sent any more
    int64_t limit_us;
    uint64_t sequence;
    struct channel_buffer in;
    unsigned char out[CHANNEL_PAYLOAD_BYTES];
};

static void move_up(int *fd) {
    if (*fd >= LEAST_FD)
        return;
    int up = fcntl(*fd, F_DUPFD_CLOEXEC, LEAST_FD);
    if (up >= 0) {
        close(*fd);
        *fd = up;
    }
}

enum err spawner_start(struct spawner **out, struct errmsg *msg) {
    *out = NULL;
    struct spawner *s = mem_calloc(1, sizeof *s);
    if (!s)
        return err_set(msg, ERR_NOMEM, "the spawner: no memory");
    *s = (struct spawner){.limit_us = LIMIT_US};
    int fds[2];
    enum err e = channel_pair(fds, msg);
    if (e) {
        mem_free(s);
        return err_prefix(msg, e, "the spawner");
    }
    move_up(&fds[0]);
    move_up(&fds[1]);
    pid_t self = getpid();
    s->pid = fork();
    if (s->pid == 0)
        spawner_process(fds[1], self);
    int error = errno;
    close(fds[1]);
    if (s->pid < 0) {
        close(fds[0]);
        mem_free(s);
        return err_set(msg, ERR_IO, "the spawner: cannot fork: %s", strerror(error));
    }
    s->fd = fds[0];
    pthread_mutex_init(&s->mutex, NULL);
    *out = s;
    return ERR_OK;
}

// Whether the spawner is gone and reaped.
static bool reaped(struct spawner *s) {
    if (!s->reaped) {
        pid_t got = waitpid(s->pid, NULL, WNOHANG);
        s->reaped = got == s->pid || (got < 0 && errno == ECHILD);
    }
    return s->reaped;
}

static bool reaped_within(struct spawner *s, int64_t us) {
    for (int64_t until = clock_now_us() + us; !reaped(s); (void)poll(NULL, 0, 2))
        if (clock_now_us() >= until)
            return false;
    return true;
}

// It has ended, or does not do what it must: nothing is asked of it any more, and the kernel ends
// its children with it. What hangs in it is not waited for.
static enum err lose(struct spawner *s, const char *why, struct errmsg *msg) {
    s->lost = true;
    if (!reaped(s))
        (void)kill(s->pid, SIGKILL);
    return err_set(msg, ERR_UNAVAILABLE,
                   "the spawner %s: no worker can be started, unless this program is started again",
                   why);
}

static enum err read_answer(struct spawner *s, const struct channel_message *m,
                            struct spawner_answer *a, struct errmsg *msg) {
    struct pack_reader r = pack_reader_of(m->payload, m->payload_length);
    struct errmsg said;
    a->code = (enum err)pack_get_below(&r, ERR_COUNT);
    pack_get_string(&r, said.text, sizeof said.text);
    a->pid = (pid_t)pack_get_i64(&r);
    a->gone = pack_get_bool(&r);
    a->status = pack_get_i32(&r);
    if (!pack_done(&r) || m->type != SPAWNER_ANSWER || m->sequence != s->sequence)
        return lose(s, "has answered something else", msg);
    return a->code ? err_set(msg, a->code, "%s", said.text) : ERR_OK;
}

static enum err ask_locked(struct spawner *s, struct channel_message *m, struct spawner_answer *a,
                           struct errmsg *msg) {
    if (s->lost)
        return lose(s, "has ended", msg);
    m->life = SPAWNER_LIFE;
    m->sequence = ++s->sequence;
    int64_t until = clock_now_us() + s->limit_us;
    enum err e = channel_send(s->fd, m, false, msg);
    if (e == ERR_LOST || e == ERR_OVERLOADED)
        return lose(s, e == ERR_LOST ? "has ended" : "does not answer", msg);
    if (e)
        return e;
    for (;;) {
        struct channel_message answer;
        e = channel_receive(s->fd, &s->in, &answer, false, msg);
        if (!e)
            return read_answer(s, &answer, a, msg);
        if (e != ERR_OVERLOADED)
            return lose(s, e == ERR_LOST ? "has ended" : "has answered something else", msg);
        int64_t left = until - clock_now_us();
        if (left <= 0)
            return lose(s, "does not answer", msg);
        struct pollfd p = {.fd = s->fd, .events = POLLIN};
        (void)poll(&p, 1, (int)(left / 1000 + 1));
    }
}

static enum err ask(struct spawner *s, uint16_t type, struct pack_writer *w, const int *fds,
                    struct spawner_answer *a, struct errmsg *msg) {
    struct channel_message m = {.type = type, .payload = w->bytes, .payload_length = w->length};
    if (fds) {
        m.fd_count = 2;
        memcpy(m.fds, fds, 2 * sizeof *fds);
    }
    return ask_locked(s, &m, a, msg);
}

enum err spawner_spawn(struct spawner *s, const char *program, const char *const *argv, int socket,
                       int region, pid_t *pid, struct errmsg *msg) {
    *pid = 0;
    uint32_t count = 0;
    while (argv[count])
        count++;
    pthread_mutex_lock(&s->mutex);
    struct pack_writer w = pack_writer_of(s->out, sizeof s->out);
    pack_put_string(&w, program);
    pack_put_u32(&w, count);
    for (uint32_t i = 0; i < count; i++)
        pack_put_string(&w, argv[i]);
    enum err e;
    struct spawner_answer a = {0};
    if (count == 0)
        e = err_set(msg, ERR_INTERNAL, "%s: a program's arguments begin with its name", program);
    else if (w.failed || count > SPAWNER_ARGUMENTS)
        e = err_set(msg, ERR_TOO_LARGE, "%s: at most %d arguments, of %d bytes together", program,
                    SPAWNER_ARGUMENTS, CHANNEL_PAYLOAD_BYTES);
    else
        e = ask(s, SPAWNER_SPAWN, &w, (int[]){socket, region}, &a, msg);
    pthread_mutex_unlock(&s->mutex);
    if (!e)
        *pid = a.pid;
    return e;
}

enum err spawner_kill(struct spawner *s, pid_t pid, int signal, struct errmsg *msg) {
    pthread_mutex_lock(&s->mutex);
    struct pack_writer w = pack_writer_of(s->out, sizeof s->out);
    pack_put_i64(&w, pid);
    pack_put_i32(&w, signal);
    struct spawner_answer a = {0};
    enum err e = ask(s, SPAWNER_KILL, &w, NULL, &a, msg);
    pthread_mutex_unlock(&s->mutex);
    return e;
}

enum err spawner_reap(struct spawner *s, pid_t pid, int *status, bool *gone, struct errmsg *msg) {
    *status = 0;
    *gone = false;
    pthread_mutex_lock(&s->mutex);
    struct pack_writer w = pack_writer_of(s->out, sizeof s->out);
    pack_put_i64(&w, pid);
    struct spawner_answer a = {0};
    enum err e = ask(s, SPAWNER_REAP, &w, NULL, &a, msg);
    pthread_mutex_unlock(&s->mutex);
    if (!e) {
        *status = a.status;
        *gone = a.gone;
    }
    return e;
}

void spawner_status_words(int status, char *to, size_t room) {
    if (WIFEXITED(status))
        snprintf(to, room, "exit status %d", WEXITSTATUS(status));
    else if (WIFSIGNALED(status))
        snprintf(to, room, "signal %d (%s)%s", WTERMSIG(status), strsignal(WTERMSIG(status)),
                 WTERMSIG(status) != SIGSYS
                     ? ""
                     : ", by a filter of system calls (SystemCallFilter=, a container's)");
    else
        snprintf(to, room, "status %d", status);
}

pid_t spawner_pid(const struct spawner *s) { return s->pid; }

void spawner_set_limit(struct spawner *s, int64_t limit_us) {
    pthread_mutex_lock(&s->mutex);
    s->limit_us = limit_us;
    pthread_mutex_unlock(&s->mutex);
}

void spawner_stop(struct spawner *s) {
    if (!s)
        return;
    close(s->fd);
    if (!reaped_within(s, s->lost ? 0 : STOP_US)) {
        (void)kill(s->pid, SIGKILL);
        (void)reaped_within(s, KILLED_US); // one that cannot be killed stays init's
    }
    pthread_mutex_destroy(&s->mutex);
    mem_free(s);
}
