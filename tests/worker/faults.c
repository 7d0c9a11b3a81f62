// trine-worker with faults: the program of worker/, with hooks at every boundary that make one
// fault of a kind that fault_plan.h lists, when TRINE_WORKER_FAULTS says so. Without that variable
// it is trine-worker. A piece of work is a batch or a step; of each life at most one gets a fault,
// but that one which must leave the process as it was (truncate) may be followed by others. Each
// fault is a line on stderr, before it happens:
//   fault: kind=kill-before-send life=3 at=17 completed=12 counts=1
// completed: pieces that this process has answered without an error. counts=1: at least one, so it
// was a healthy worker. With kind=probe there is a line for each thing that a thread could not do:
//   probe: thread=control tried=open refused=1
// Thread rule: hooks.h's.
#define _GNU_SOURCE // what the sandbox refuses, and what faults need
#include "tests/worker/faults.h"

#include "tests/worker/fault_plan.h"

#include "channel/channel.h"
#include "channel/region.h"
#include "channel/spawner.h"
#include "engine/wire.h"
#include "worker/link.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { FLOOD = 2000 };

static struct {
    struct fault_plan plan;
    uint64_t life;
    const struct region *region;
    uint64_t works;        // pieces of work that came
    uint64_t completed;    // pieces that were answered without an error
    enum fault_kind fault; // of the piece of work `sequence`
    uint64_t sequence;
    uint64_t at;          // its place in the life
    bool faulted;         // this life has had its fault
    enum fault_kind next; // before the next message is received
    bool load_fails;
} now;

// ---- telling

static void tell(enum fault_kind k, uint64_t at) {
    char line[160];
    int n =
        snprintf(line, sizeof line, "fault: kind=%s life=%llu at=%llu completed=%llu counts=%d\n",
                 fault_kind_name(k), (unsigned long long)now.life, (unsigned long long)at,
                 (unsigned long long)now.completed, now.completed > 0);
    (void)!write(STDERR_FILENO, line, (size_t)n); // one write: a line of several processes is whole
}

static void probe_one(const char *thread, const char *what, long rc) {
    char line[128];
    int n =
        snprintf(line, sizeof line, "probe: thread=%s tried=%s refused=%d\n", thread, what, rc < 0);
    (void)!write(STDERR_FILENO, line, (size_t)n);
}

static void probe(const char *thread) {
    char *none[] = {NULL};
    probe_one(thread, "open", open("/etc/passwd", O_RDONLY));
    probe_one(thread, "openself", open("/proc/self/exe", O_RDONLY));
    int made = open("/tmp/trine-worker-probe", O_WRONLY | O_CREAT, 0600);
    probe_one(thread, "create", made);
    if (made >= 0)
        unlink("/tmp/trine-worker-probe");
    probe_one(thread, "socket", socket(AF_INET, SOCK_STREAM, 0));
    probe_one(thread, "connect",
              connect(SPAWNER_SOCKET_FD, &(struct sockaddr){.sa_family = AF_INET},
                      sizeof(struct sockaddr)));
    probe_one(thread, "kill", kill(getppid(), 0));
    pid_t child = fork();
    if (child == 0)
        _exit(0);
    probe_one(thread, "fork", child);
    probe_one(thread, "execve", execve("/bin/true", none, none));
}

// ---- what faults do

static _Noreturn void die(void) {
    // its own number: what the sandbox leaves
    for (;;)
        syscall(SYS_tgkill, getpid(), (pid_t)syscall(SYS_gettid), SIGKILL);
}

static void stop_all(void) { syscall(SYS_tgkill, getpid(), (pid_t)syscall(SYS_gettid), SIGSTOP); }

static _Noreturn void hang(void) {
    for (;;) {
        struct timespec t = {.tv_sec = 3600};
        nanosleep(&t, NULL);
    }
}

static _Noreturn void scribble(void) {
    unsigned char *base = region_base(now.region);
    size_t size =
        region_size(now.region) < (size_t)1 << 20 ? region_size(now.region) : (size_t)1 << 20;
    uint64_t x = now.plan.seed * 2 + 1;
    for (;;) {
        for (size_t i = 0; i < size; i++)
            base[i] = (unsigned char)((x = x * 6364136223846793005U + 1442695040888963407U) >> 56);
        struct timespec t = {.tv_nsec = 1000000};
        nanosleep(&t, NULL);
    }
}

static void truncate_region(void) {
    if (ftruncate(SPAWNER_REGION_FD, 0) == 0) {
        fprintf(stderr, "fault: the region could be truncated\n");
        _exit(99);
    }
    fprintf(stderr, "fault: truncate refused: %s\n", strerror(errno));
}

static void send_half(const struct channel_message *m) {
    unsigned char header[CHANNEL_HEADER_BYTES];
    struct errmsg msg;
    struct iovec v = {.iov_base = header, .iov_len = sizeof header / 2};
    if (channel_encode(m, header, &msg) == ERR_OK)
        (void)sendmsg(SPAWNER_SOCKET_FD, &(struct msghdr){.msg_iov = &v, .msg_iovlen = 1},
                      MSG_NOSIGNAL);
}

static void send_more(const struct channel_message *m, int times) {
    struct errmsg msg;
    for (int i = 0; i < times; i++)
        if (channel_send(SPAWNER_SOCKET_FD, m, true, &msg))
            return;
}

// ---- at each boundary

static void start(int socket, const struct region *region, uint64_t life) {
    (void)socket;
    now.life = life;
    now.region = region;
    if (now.plan.probe) {
        probe("main");
        return;
    }
    enum fault_kind k = fault_plan_start(&now.plan, life);
    struct timespec t = {.tv_sec = now.plan.slow_ms / 1000,
                         .tv_nsec = now.plan.slow_ms % 1000 * 1000000L};
    if (k == FAULT_NONE)
        return;
    if (k != FAULT_SLOW_START)
        now.faulted = true;
    if (k != FAULT_MEMORY_LOAD)
        tell(k, 0);
    switch (k) {
    case FAULT_SLOW_START:
        nanosleep(&t, NULL);
        break;
    case FAULT_START_FAILS:
        _exit(1);
    case FAULT_MEMORY_START:
        link_end(WIRE_END_NO_MEMORY, "no memory (a fault of the test's)");
    default:
        now.load_fails = true;
        break;
    }
}

static enum err load(struct errmsg *msg) {
    if (now.plan.probe)
        probe("control");
    if (!now.load_fails)
        return ERR_OK;
    now.load_fails = false;
    tell(FAULT_MEMORY_LOAD, 0);
    return err_set(msg, ERR_NOMEM, "no memory for the model (a fault of the test's)");
}

// Of the message behind the answer to the piece of work: the socket is looked at in the middle of a
// forward as well, and when is a question of time.
static void receive(void) {
    enum fault_kind k = now.next;
    if (k == FAULT_NONE)
        return;
    now.next = FAULT_NONE;
    tell(k, now.at);
    if (k == FAULT_EXIT_BEFORE_RECEIVE)
        _exit(1);
    die();
}

static void received(const struct channel_message *m) {
    if (m->type != WIRE_ENCODE && m->type != WIRE_STEP)
        return;
    now.works++;
    if (now.faulted || now.plan.probe)
        return;
    enum fault_kind k = fault_plan_work(&now.plan, now.life, now.works, now.completed);
    if (k == FAULT_NONE)
        return;
    now.faulted = k != FAULT_TRUNCATE;
    now.at = now.works;
    now.sequence = m->sequence;
    switch (k) {
    case FAULT_EXIT_AFTER_RECEIVE:
        tell(k, now.at);
        _exit(1);
    case FAULT_KILL_AFTER_RECEIVE:
        tell(k, now.at);
        die();
    case FAULT_TRUNCATE:
        tell(k, now.at);
        truncate_region();
        return;
    default:
        now.fault = k;
        return;
    }
}

static void rows(uint64_t sequence, float *x, size_t count) {
    if (sequence != now.sequence || (now.fault != FAULT_NAN && now.fault != FAULT_NUMBERS))
        return;
    tell(now.fault, now.at);
    for (size_t i = 0; i < count; i++)
        x[i] = now.fault == FAULT_NAN ? NAN : x[i] * 1.5F + 0.25F;
    now.fault = FAULT_NONE;
}

static void drawn(uint64_t sequence, struct step *s) {
    if (sequence != now.sequence || (now.fault != FAULT_NAN && now.fault != FAULT_NUMBERS))
        return;
    tell(now.fault, now.at);
    for (size_t i = 0; i < s->logits; i++) {
        struct sampling_result *r = &s->results[i];
        if (now.fault == FAULT_NAN)
            r->logprob = NAN;
        else
            r->id = r->id > 0 ? r->id - 1 : 1;
        r->logprob = now.fault == FAULT_NAN ? NAN : r->logprob - 0.5F;
    }
    now.fault = FAULT_NONE;
}

static bool is_answer(const struct channel_message *m) {
    return (m->type == WIRE_BATCH_DONE || m->type == WIRE_STEP_DONE);
}

// Faults of a message are made in it; those behind it stay for `sent`.
static void send_faulty(struct channel_message *m) {
    if (!is_answer(m) || m->sequence != now.sequence || now.fault == FAULT_NONE)
        return;
    enum fault_kind k = now.fault;
    bool behind = k == FAULT_EXIT_BEFORE_RECEIVE || k == FAULT_KILL_BEFORE_RECEIVE ||
                  k == FAULT_EXIT_AFTER_SEND || k == FAULT_KILL_AFTER_SEND ||
                  k == FAULT_HANG_AFTER || k == FAULT_HANG_COMPUTE_AFTER || k == FAULT_TWICE ||
                  k == FAULT_FLOOD;
    if (behind)
        return;
    now.fault = FAULT_NONE;
    if (k == FAULT_NAN || k == FAULT_NUMBERS || (k == FAULT_CHECKSUM && m->bulk_length == 0))
        return; // an error was answered: there is nothing to be wrong
    tell(k, now.at);
    switch (k) {
    case FAULT_EXIT_BEFORE_SEND:
        _exit(1);
    case FAULT_KILL_BEFORE_SEND:
        die();
    case FAULT_HANG_BEFORE:
        stop_all();
        return;
    case FAULT_HANG_COMPUTE_BEFORE:
        hang();
    case FAULT_SCRIBBLE:
        scribble();
    case FAULT_CHECKSUM:
        m->bulk_checksum ^= 1;
        return;
    case FAULT_LIFE:
        m->life++;
        return;
    case FAULT_SEQUENCE:
        m->sequence += 1000000007;
        return;
    default: // FAULT_SHORT: the answer itself may come behind it
        send_half(m);
        return;
    }
}

static void sent(const struct channel_message *m) {
    if (m->type == WIRE_PROGRESS && now.plan.probe) {
        static atomic_bool once;
        if (!atomic_exchange(&once, true))
            probe("ticker");
        return;
    }
    if (!is_answer(m))
        return;
    struct pack_reader r = pack_reader_of(m->payload, m->payload_length);
    if (pack_get_u32(&r) == ERR_OK && !r.failed)
        now.completed++;
    if (m->sequence != now.sequence || now.fault == FAULT_NONE)
        return;
    enum fault_kind k = now.fault;
    now.fault = FAULT_NONE;
    if (k == FAULT_EXIT_BEFORE_RECEIVE || k == FAULT_KILL_BEFORE_RECEIVE) {
        now.next = k;
        return;
    }
    tell(k, now.at);
    switch (k) {
    case FAULT_EXIT_AFTER_SEND:
        _exit(1);
    case FAULT_KILL_AFTER_SEND:
        die();
    case FAULT_HANG_AFTER:
        stop_all();
        return;
    case FAULT_HANG_COMPUTE_AFTER:
        hang();
    case FAULT_TWICE:
        send_more(m, 1);
        return;
    default: // FAULT_FLOOD
        send_more(m, FLOOD);
        return;
    }
}

int worker_faults_main(int argc, char **argv, const struct worker_device *device) {
    static const int calls[] = {SYS_ftruncate, SYS_getppid};
    static const struct worker_hooks hooks = {
        .calls = calls,
        .call_count = sizeof calls / sizeof *calls,
        .start = start,
        .load = load,
        .receive = receive,
        .received = received,
        .rows = rows,
        .drawn = drawn,
        .send = send_faulty,
        .sent = sent,
    };
    const char *spec = getenv("TRINE_WORKER_FAULTS");
    char why[128];
    if (!spec || !*spec)
        return worker_main(argc, argv, device, NULL);
    if (!fault_plan_read(spec, &now.plan, why, sizeof why)) {
        fprintf(stderr, "TRINE_WORKER_FAULTS: what is %s?\n", why);
        return WIRE_END_BY_HAND;
    }
    bool quarantine = argc > 1 && strcmp(argv[1], "quarantine") == 0;
    return worker_main(argc, argv, device, quarantine && !now.plan.everywhere ? NULL : &hooks);
}
