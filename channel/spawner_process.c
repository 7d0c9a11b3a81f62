// The spawner's process: answers one request after the other until its socket closes, then takes
// its children with it. Thread rule: it has one thread.
#define _GNU_SOURCE // dup3, environ
#include "channel/spawner_internal.h"

#include "base/clock.h"
#include "channel/channel.h"
#include "channel/pack.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

enum { OWN_FD = 3, ENTRIES = 256, ANSWER_BYTES = 1024 };

// Its children that were not reaped. Only these are killed and reaped, so a number that the system
// has given to another process is never touched.
struct child {
    pid_t pid;      // 0: a free place
    bool abandoned; // could not be started, nobody was told of it: reaped when it can be
};

struct process {
    int socket;
    struct child children[SPAWNER_CHILDREN];
    char *environment[ENTRIES]; // what children see
    struct channel_buffer in;
    char words[CHANNEL_PAYLOAD_BYTES + 1]; // the strings of a request
    char *argv[SPAWNER_ARGUMENTS + 1];
};

static struct child *find(struct process *p, int64_t pid) {
    for (size_t i = 0; pid > 0 && i < SPAWNER_CHILDREN; i++)
        if (p->children[i].pid == pid && !p->children[i].abandoned)
            return &p->children[i];
    return NULL;
}

static void reap_abandoned(struct process *p) {
    for (size_t i = 0; i < SPAWNER_CHILDREN; i++) {
        struct child *c = &p->children[i];
        if (c->pid && c->abandoned && waitpid(c->pid, NULL, WNOHANG) != 0)
            *c = (struct child){0};
    }
}

// The next string of a request, kept in p->words.
static char *next_word(struct process *p, struct pack_reader *r, size_t *used) {
    char *word = p->words + *used;
    pack_get_string(r, word, sizeof p->words - *used);
    *used += strlen(word) + 1;
    return word;
}

static enum err spawn(struct process *p, const struct channel_message *m, struct pack_reader *r,
                      struct spawner_answer *a, struct errmsg *msg) {
    size_t used = 0;
    const char *program = next_word(p, r, &used);
    uint32_t count = pack_get_below(r, SPAWNER_ARGUMENTS + 1);
    for (uint32_t i = 0; i < count && !r->failed; i++)
        p->argv[i] = next_word(p, r, &used);
    p->argv[count] = NULL;
    if (!pack_done(r) || count == 0 || m->fd_count != 2)
        return err_set(msg, ERR_INVALID, "the spawner does not understand what it is to start");
    reap_abandoned(p);
    struct child *place = NULL;
    for (size_t i = 0; !place && i < SPAWNER_CHILDREN; i++)
        if (p->children[i].pid == 0)
            place = &p->children[i];
    if (!place)
        return err_set(msg, ERR_OVERLOADED, "%s: %d processes are there already", program,
                       SPAWNER_CHILDREN);
    enum err e = spawner_exec(program, p->argv, p->environment, m->fds, &a->pid, msg);
    *place = (struct child){.pid = a->pid, .abandoned = e != ERR_OK};
    return e;
}

static enum err kill_child(struct process *p, struct pack_reader *r, struct errmsg *msg) {
    int64_t pid = pack_get_i64(r);
    int32_t number = pack_get_i32(r);
    struct child *c = find(p, pid);
    if (!pack_done(r) || !c)
        return err_set(msg, ERR_NOT_FOUND, "process %lld is no child that is there",
                       (long long)pid);
    // What it may have started itself is in its group, whose number stays while it is not reaped.
    if (number == SIGKILL)
        (void)kill(-c->pid, number);
    if (kill(c->pid, number) != 0)
        return err_set(msg, ERR_IO, "process %lld: signal %d: %s", (long long)pid, (int)number,
                       strerror(errno));
    return ERR_OK;
}

static enum err reap(struct process *p, struct pack_reader *r, struct spawner_answer *a,
                     struct errmsg *msg) {
    int64_t pid = pack_get_i64(r);
    struct child *c = find(p, pid);
    if (!pack_done(r) || !c)
        return err_set(msg, ERR_NOT_FOUND, "process %lld is no child that is there",
                       (long long)pid);
    siginfo_t ended = {0};
    if (waitid(P_PID, (id_t)c->pid, &ended, WEXITED | WNOHANG | WNOWAIT) != 0)
        return err_set(msg, ERR_IO, "process %lld: %s", (long long)pid, strerror(errno));
    if (ended.si_pid == 0)
        return ERR_OK;
    // What it may have started goes with it. While it is not reaped its group's number is its own.
    (void)kill(-c->pid, SIGKILL);
    if (waitpid(c->pid, &a->status, 0) != c->pid)
        return err_set(msg, ERR_IO, "process %lld: %s", (long long)pid, strerror(errno));
    a->gone = true;
    *c = (struct child){0};
    return ERR_OK;
}

static enum err answer_one(struct process *p, struct channel_message *m) {
    struct pack_reader r = pack_reader_of(m->payload, m->payload_length);
    struct spawner_answer a = {0};
    struct errmsg msg = {0};
    enum err e = m->type == SPAWNER_SPAWN  ? spawn(p, m, &r, &a, &msg)
                 : m->type == SPAWNER_KILL ? kill_child(p, &r, &msg)
                 : m->type == SPAWNER_REAP ? reap(p, &r, &a, &msg)
                                           : err_set(&msg, ERR_INVALID, "no such request");
    unsigned char bytes[ANSWER_BYTES];
    struct pack_writer w = pack_writer_of(bytes, sizeof bytes);
    pack_put_u32(&w, e);
    pack_put_string(&w, msg.text);
    pack_put_i64(&w, e ? 0 : a.pid);
    pack_put_bool(&w, a.gone);
    pack_put_i32(&w, a.status);
    struct channel_message answer = {.type = SPAWNER_ANSWER,
                                     .life = SPAWNER_LIFE,
                                     .sequence = m->sequence,
                                     .payload = bytes,
                                     .payload_length = w.length};
    return channel_send(p->socket, &answer, true, NULL);
}

// No child may stay. One that cannot be killed (it hangs in a driver) is not waited for for ever.
static void end_children(struct process *p) {
    for (size_t i = 0; i < SPAWNER_CHILDREN; i++)
        if (p->children[i].pid) {
            (void)kill(-p->children[i].pid, SIGKILL);
            (void)kill(p->children[i].pid, SIGKILL);
        }
    int64_t until = clock_now_us() + SPAWNER_END_US;
    for (bool left = true; left && clock_now_us() < until;) {
        left = false;
        for (size_t i = 0; i < SPAWNER_CHILDREN; i++) {
            struct child *c = &p->children[i];
            if (c->pid && waitpid(c->pid, NULL, WNOHANG) != 0)
                *c = (struct child){0};
            left = left || c->pid;
        }
        if (left)
            (void)poll(NULL, 0, 2);
    }
}

// The signals that are sent to a service's or a terminal's processes together do not end it: its
// end is the end of its socket, behind all that is still asked of it.
static const int ignored[] = {SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGPIPE, SIGUSR1, SIGUSR2};

// Keeps the socket and stderr. Standard input and output are nothing, for children too.
static bool settle_fds(int socket) {
    int null = open("/dev/null", O_RDWR);
    if (null < 0 || dup2(null, STDIN_FILENO) < 0 || dup2(null, STDOUT_FILENO) < 0)
        return false;
    if (fcntl(STDERR_FILENO, F_GETFD) < 0 && dup2(null, STDERR_FILENO) < 0)
        return false;
    if (socket != OWN_FD && dup3(socket, OWN_FD, O_CLOEXEC) < 0)
        return false;
    spawner_close_from(OWN_FD + 1);
    return true;
}

_Noreturn void spawner_process(int socket, pid_t parent) {
    static struct process process;
    struct process *p = &process;
    // Out of the shell's group, but not out of its session: the kernel shares CPUs out by sessions
    // (autogroup), and a worker in one of its own waits at each wake-up until the sessions beside
    // it have had their slices: three times a batch's time on a busy machine.
    (void)setpgid(0, 0);
    (void)prctl(PR_SET_NAME, "trine-spawner");
    // Between the fork and this call the parent may have ended, and no signal comes any more.
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || getppid() != parent)
        _exit(1);
    spawner_set_signals(ignored, sizeof ignored / sizeof *ignored);
    if (!settle_fds(socket))
        _exit(1);
    p->socket = OWN_FD;
    p->in.most_fds = 2;
    spawner_env_filter(environ, p->environment, ENTRIES);
    enum err e = ERR_OK;
    while (!e) {
        struct channel_message m;
        e = channel_receive(p->socket, &p->in, &m, true, NULL);
        if (!e)
            e = answer_one(p, &m);
        channel_close_fds(&m);
    }
    end_children(p);
    _exit(e == ERR_LOST ? 0 : 1);
}
