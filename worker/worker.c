// See worker.h.
#include "worker/worker.h"

#include "base/crash.h"
#include "base/json.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/version.h"
#include "channel/spawner.h"
#include "compute/cpu/cpu.h"
#include "engine/replica_local.h"
#include "engine/wire.h"
#include "worker/control.h"
#include "worker/sandbox.h"
#include "worker/work.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct worker_process {
    struct link link;
    struct tables tables;
    struct sandbox sandbox;
    struct device *device;
    struct replica *replica;
    struct ticker *ticker;
    struct work *work;
    struct control_thread *control;
    bool closed; // the socket: this is the end
};

// ---- what comes

static void take(struct worker_process *w, struct channel_message *m) {
    if (control_takes(m->type))
        control_push(w->control, m);
    else if (m->type == WIRE_HELLO)
        link_end(WIRE_END_BROKEN_RULE, "from the parent: a second HELLO");
    else
        work_take(w->work, m);
}

// One message, or none; false: none came.
static bool receive(struct worker_process *w, bool wait) {
    struct channel_message m;
    bool came = !w->closed && link_receive(&w->link, wait, &m, &w->closed);
    if (came)
        take(w, &m);
    else if (w->closed)
        work_cancel_all(w->work);
    return came;
}

static bool feed_wait(void *ctx, int64_t until_us) {
    struct worker_process *w = ctx;
    if (until_us > 0 && !w->closed)
        link_wait(&w->link, until_us);
    (void)receive(w, until_us == 0);
    return !w->closed || work_is_in_hand(w->work); // which was cancelled, and is to be let go
}

static void feed_look(void *ctx) {
    while (receive(ctx, false))
        ;
}

// ---- how it comes up

// Whether the descriptors can be a parent's; the messages are what proves it.
static bool has_parent(void) {
    struct stat socket, region;
    return fstat(SPAWNER_SOCKET_FD, &socket) == 0 && S_ISSOCK(socket.st_mode) &&
           fstat(SPAWNER_REGION_FD, &region) == 0 && S_ISREG(region.st_mode);
}

// What a device loads by path has to be there before the door is closed: a library of BLAS, where
// the kernels for this processor need one. A device of one thread starts none.
static void load_libraries(void) {
    struct cpu_options one = {.threads = 1};
    struct device *d = NULL;
    struct errmsg msg = {0};
    enum err e = cpu_device_new(&one, &d, &msg);
    if (e)
        link_end(link_end_of(e), "%s", msg.text);
    cpu_device_free(d);
}

static void close_door(struct worker_process *w, const struct worker_hooks *hooks) {
    struct errmsg msg = {0};
    if (sandbox_close("trine-worker", SPAWNER_SOCKET_FD, hooks ? hooks->calls : NULL,
                      hooks ? hooks->call_count : 0, &w->sandbox, &msg))
        link_end(WIRE_END_SYSTEM, "%s", msg.text);
}

// What it is, or, where it does not go on, what build it is of.
static void say_ready(struct worker_process *w, uint64_t sequence) {
    unsigned char payload[1024];
    struct pack_writer p = pack_writer_of(payload, sizeof payload);
    struct wire_ready ready = {0};
    if (w->replica)
        ready.facts = *replica_facts(w->replica);
    ready.walls = (w->sandbox.privileges ? WIRE_WALL_PRIVILEGES : 0U) |
                  (w->sandbox.filter ? WIRE_WALL_CALLS : 0U) |
                  (w->sandbox.landlock ? WIRE_WALL_FILES : 0U);
    wire_write_ready(&p, &ready);
    struct channel_message m = {.type = WIRE_READY, .sequence = sequence, .payload = payload};
    m.payload_length = p.length;
    link_send(&w->link, &m, true);
}

// HELLO: how many threads, how large the region is. A parent of another build hears which this one
// is of: it is the one that people listen to.
static void be_greeted(struct worker_process *w, struct wire_hello *hello, uint64_t *sequence) {
    struct channel_message m;
    struct errmsg msg = {0};
    bool closed;
    if (!link_receive(&w->link, true, &m, &closed))
        _exit(WIRE_END_CLOSED);
    if (m.type != WIRE_HELLO)
        link_end(WIRE_END_BROKEN_RULE, "from the parent: %s before HELLO", wire_type_name(m.type));
    enum err e = wire_read_hello(&m, hello, &msg);
    w->link.life = m.life;
    *sequence = m.sequence;
    if (e == ERR_UNSUPPORTED) {
        say_ready(w, m.sequence);
        link_end(WIRE_END_BROKEN_RULE, "%s", msg.text);
    }
    if (!e)
        e = region_open(SPAWNER_REGION_FD, (size_t)hello->region_bytes, &w->link.region, &msg);
    if (e)
        link_end(link_end_of(e), "%s", msg.text);
}

// Of a model: each is open twice while it is loaded.
static size_t most_files(const struct worker_process *w) {
    size_t all = w->sandbox.files;
    return all > SANDBOX_OTHER_FILES ? (all - SANDBOX_OTHER_FILES) / 2 : 0;
}

static enum err make(struct worker_process *w, const struct wire_hello *hello, struct errmsg *msg) {
    struct cpu_options o = {.threads = (int)hello->threads};
    struct replica_feed feed = {.wait = feed_wait, .look = feed_look, .ctx = w};
    enum err e = cpu_device_new(&o, &w->device, msg);
    if (!e)
        e = replica_local_new_fed(w->device, &feed, &w->replica, msg);
    if (!e)
        e = ticker_new(&w->link, w->replica, &w->ticker, msg);
    if (!e)
        e = work_new(&w->link, &w->tables, &w->work, msg);
    if (!e)
        e = control_new(&w->link, w->replica, &w->tables, most_files(w), &w->control, msg);
    if (!e)
        work_attach(w->work, w->replica, w->ticker);
    return e;
}

static void free_all(struct worker_process *w) {
    ticker_free(w->ticker);
    control_free(w->control);
    replica_free(w->replica);
    work_free(w->work);
    tables_free(&w->tables);
    if (w->device)
        cpu_device_free(w->device);
    region_free(w->link.region);
}

static int live(struct worker_process *w, const struct worker_hooks *hooks) {
    struct wire_hello hello;
    struct errmsg msg = {0};
    uint64_t sequence;
    tables_init(&w->tables);
    w->link.socket = SPAWNER_SOCKET_FD;
    w->link.hooks = hooks;
    w->link.in.most_fds = CHANNEL_FDS;
    load_libraries();
    close_door(w, hooks);
    be_greeted(w, &hello, &sequence);
    if (hooks && hooks->start)
        hooks->start(w->link.socket, w->link.region, w->link.life);
    enum err e = make(w, &hello, &msg);
    if (e)
        link_end(link_end_of(e), "%s", msg.text);
    say_ready(w, sequence);
    replica_local_drive(w->replica);
    if (!control_is_idle(w->control))
        _exit(WIRE_END_CLOSED); // in the middle of a load, which nobody waits for any more
    free_all(w);
    return WIRE_END_CLOSED;
}

// Its lines are written as the parent's are: argv is the name, "main" or "quarantine", for ps, the
// least level, and "json" or "text".
static void begin_log(int argc, char **argv) {
    enum log_level level = LOG_LEVEL_WARN;
    if (argc > 2)
        (void)log_level_read(argv[2], &level);
    log_init(level, argc > 3 && strcmp(argv[3], "json") == 0);
}

int worker_main(int argc, char **argv, const struct worker_hooks *hooks) {
    static struct worker_process w; // its buffer is larger than a stack's guard
    if (!has_parent()) {
        fprintf(stderr,
                "trine-worker %s: computes for `trine serve --isolate`, which starts it; "
                "it is of no use by hand\n",
                version_number);
        return WIRE_END_BY_HAND;
    }
    mem_init();
    json_init();
    crash_install();
    begin_log(argc, argv);
    return live(&w, hooks);
}
