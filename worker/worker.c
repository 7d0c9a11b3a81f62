// See worker.h.
#include "worker/worker.h"

#include "base/crash.h"
#include "base/json.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/version.h"
#include "channel/spawner.h"
#include "engine/replica_local.h"
#include "engine/wire.h"
#include "worker/control.h"
#include "worker/work.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct worker_process {
    struct link link;
    struct tables tables;
    struct sandbox sandbox;
    const struct worker_device *kind;
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

static void close_door(struct worker_process *w, const struct worker_hooks *hooks) {
    struct errmsg msg = {0};
    struct sandbox_needs needs = {.door = w->kind->door, .socket = SPAWNER_SOCKET_FD};
    if (hooks) {
        needs.also = hooks->calls;
        needs.also_count = hooks->call_count;
    }
    if (sandbox_close(w->kind->program, &needs, &w->sandbox, &msg))
        link_end(WIRE_END_SYSTEM, "%s", msg.text);
}

// What it is, or why it cannot be that.
static void say_ready(struct worker_process *w, uint64_t sequence, const struct errmsg *why) {
    unsigned char payload[2048];
    struct pack_writer p = pack_writer_of(payload, sizeof payload);
    struct wire_ready ready = {0};
    if (why)
        ready.verdict = *why;
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
        say_ready(w, m.sequence, &msg);
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
    struct replica_feed feed = {.wait = feed_wait, .look = feed_look, .ctx = w};
    enum err e = w->kind->make(hello->threads, &w->device, msg);
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
        w->kind->free(w->device);
    region_free(w->link.region);
}

static int live(struct worker_process *w, const struct worker_settings *settings,
                const struct worker_hooks *hooks) {
    struct wire_hello hello;
    struct errmsg msg = {0};
    uint64_t sequence;
    tables_init(&w->tables);
    w->link.socket = SPAWNER_SOCKET_FD;
    w->link.hooks = hooks;
    w->link.in.most_fds = CHANNEL_FDS;
    enum err e = w->kind->open(settings, &msg);
    close_door(w, hooks);
    be_greeted(w, &hello, &sequence);
    if (!e && hooks && hooks->start)
        hooks->start(w->link.socket, w->link.region, w->link.life);
    if (!e)
        e = make(w, &hello, &msg);
    if (e) { // the parent is told too: it may be what its own caller waits for
        say_ready(w, sequence, &msg);
        link_end(link_end_of(e), "%s", msg.text);
    }
    say_ready(w, sequence, NULL);
    replica_local_drive(w->replica);
    if (!control_is_idle(w->control))
        _exit(WIRE_END_CLOSED); // in the middle of a load, which nobody waits for any more
    free_all(w);
    return WIRE_END_CLOSED;
}

// Its lines are written as the parent's are.
static void begin_log(int argc, char **argv) {
    enum log_level level = LOG_LEVEL_WARN;
    if (argc > 2)
        (void)log_level_read(argv[2], &level);
    log_init(level, argc > 3 && strcmp(argv[3], "json") == 0);
}

static struct worker_settings read_settings(int argc, char **argv) {
    struct worker_settings s = {.device = ""};
    for (int i = 4; i < argc; i++) {
        if (strncmp(argv[i], "device=", 7) == 0)
            s.device = argv[i] + 7;
        else if (strncmp(argv[i], "memory=", 7) == 0)
            s.memory = strtod(argv[i] + 7, NULL);
    }
    return s;
}

int worker_main(int argc, char **argv, const struct worker_device *device,
                const struct worker_hooks *hooks) {
    static struct worker_process w; // its buffer is larger than a stack's guard
    if (argc == 2 && strcmp(argv[1], "--probe") == 0 && device->probe)
        return device->probe();
    if (!has_parent()) {
        fprintf(stderr,
                "%s %s: computes for `trine serve`, which starts it; it is of no use by hand%s\n",
                device->program, version_number,
                device->probe ? ", but --probe says what there is" : "");
        return WIRE_END_BY_HAND;
    }
    mem_init();
    json_init();
    crash_install();
    begin_log(argc, argv);
    link_name(device->program);
    w.kind = device;
    struct worker_settings settings = read_settings(argc, argv);
    return live(&w, &settings, hooks);
}
