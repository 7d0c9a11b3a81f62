// See worker_driver.h.
#define _GNU_SOURCE // readlink of this program, pipe2
#include "tests/kit/worker_driver.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/file_set.h"
#include "base/mem.h"
#include "channel/spawner.h"
#include "engine/model_files.h"
#include "engine/wire_spec.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

void driver_find_program(const char *name, char *to, size_t room) {
    char self[4096] = {0};
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    for (int up = 0; n > 0 && up < 3; up++) { // build/tests/unit/test_x
        char *slash = strrchr(self, '/');
        if (slash)
            *slash = '\0';
    }
    snprintf(to, room, "%s/%s", self, name);
}

static _Noreturn void become(const char *program, const int fds[2], int words, const char *faults) {
    char *argv[] = {"trine-worker", "main", NULL};
    // 3 and 4 may be one another's: both go out of the way first
    int socket = fcntl(fds[0], F_DUPFD, 64), region = fcntl(fds[1], F_DUPFD, 64);
    dup2(words, STDERR_FILENO);
    dup2(socket, SPAWNER_SOCKET_FD);
    dup2(region, SPAWNER_REGION_FD);
    for (int fd = SPAWNER_REGION_FD + 1; fd < 256; fd++)
        close(fd);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    // the thread sanitizer waits for a second at each end, in case that threads still race
    char options[512];
    const char *given = getenv("TSAN_OPTIONS");
    snprintf(options, sizeof options, "%s:atexit_sleep_ms=50", given ? given : "");
    setenv("TSAN_OPTIONS", options, 1);
    if (faults)
        setenv("TRINE_WORKER_FAULTS", faults, 1);
    else
        unsetenv("TRINE_WORKER_FAULTS");
    execv(program, argv);
    perror(program);
    _exit(127);
}

bool driver_start(struct worker_driver *d, const char *program, size_t region_bytes,
                  const char *faults) {
    int pair[2], words[2];
    struct errmsg msg = {0};
    memset(d, 0, sizeof *d);
    if (channel_pair(pair, &msg) || region_new(region_bytes, &d->region, &msg) ||
        pipe2(words, O_CLOEXEC)) {
        fprintf(stderr, "driver: %s\n", msg.text);
        return false;
    }
    region_space_init(&d->space, region_size(d->region));
    d->socket = pair[0];
    d->words = words[0];
    int child[2] = {pair[1], region_fd(d->region)};
    d->pid = fork();
    if (d->pid == 0)
        become(program, child, words[1], faults);
    close(pair[1]);
    close(words[1]);
    return d->pid > 0;
}

// ---- messages

uint64_t driver_send(struct worker_driver *d, uint16_t type, const struct pack_writer *w,
                     const int *fds, size_t fd_count) {
    struct errmsg msg = {0};
    struct channel_message m = {.type = type, .life = DRIVER_LIFE, .sequence = ++d->sequence};
    if (w) {
        m.payload = w->bytes;
        m.payload_length = w->length;
    }
    for (; m.fd_count < fd_count; m.fd_count++)
        m.fds[m.fd_count] = fds[m.fd_count];
    if ((w && w->failed) || channel_send(d->socket, &m, true, &msg))
        fprintf(stderr, "driver: %s: %s\n", wire_type_name(type), msg.text);
    return m.sequence;
}

bool driver_receive(struct worker_driver *d) {
    struct errmsg msg = {0};
    for (;;) {
        enum err e = channel_receive(d->socket, &d->in, &d->last, true, &msg);
        if (!e)
            e = wire_check_message(&d->last, false, &msg);
        if (e) {
            if (e != ERR_LOST)
                fprintf(stderr, "driver: %s\n", msg.text);
            return false;
        }
        if (d->last.type != WIRE_PROGRESS)
            return true;
        struct replica_stats before = d->progress;
        d->progresses++;
        if (wire_read_progress(&d->last, &before, INT64_MAX / 2, clock_now_us(), &d->progress,
                               &msg)) {
            fprintf(stderr, "driver: %s\n", msg.text);
            return false;
        }
    }
}

bool driver_greet(struct worker_driver *d, size_t threads, struct wire_ready *out) {
    unsigned char payload[256];
    struct errmsg msg = {0};
    struct pack_writer w = pack_writer_of(payload, sizeof payload);
    struct wire_hello hello = {.threads = threads, .region_bytes = region_size(d->region)};
    wire_write_hello(&w, &hello);
    driver_send(d, WIRE_HELLO, &w, NULL, 0);
    if (!driver_receive(d) || d->last.type != WIRE_READY)
        return false;
    if (!wire_read_ready(&d->last, out, &msg))
        return true;
    fprintf(stderr, "driver: %s\n", msg.text);
    return false;
}

enum err driver_ask(struct worker_driver *d, uint16_t type, const struct pack_writer *w,
                    uint64_t values[WIRE_VALUES], struct errmsg *msg) {
    struct wire_answer a;
    uint64_t sequence = driver_send(d, type, w, NULL, 0);
    if (!driver_receive(d))
        return err_set(msg, ERR_LOST, "the worker is gone");
    if (d->last.type != WIRE_ANSWER || d->last.sequence != sequence)
        return err_set(msg, ERR_INVALID, "%s in answer to %s", wire_type_name(d->last.type),
                       wire_type_name(type));
    enum err e = wire_read_answer(&d->last, (enum wire_type)type, &a, msg);
    if (e)
        return e;
    if (values)
        memcpy(values, a.values, sizeof a.values);
    *msg = a.verdict;
    return a.verdict.code;
}

static int collect(struct worker_driver *d, char **words) {
    size_t room = 1 << 16, n = 0;
    char *text = mem_calloc(1, room);
    for (ssize_t r = 1; text && r > 0 && n<room - 1; n += r> 0 ? (size_t)r : 0)
        r = read(d->words, text + n, room - 1 - n);
    int status = 0;
    waitpid(d->pid, &status, 0);
    close(d->words);
    if (d->socket >= 0)
        close(d->socket);
    region_free(d->region);
    if (words)
        *words = text;
    else
        mem_free(text);
    return status;
}

int driver_end(struct worker_driver *d, char **words) {
    close(d->socket);
    d->socket = -1;
    return collect(d, words);
}

int driver_wait(struct worker_driver *d, char **words) { return collect(d, words); }

// ---- models

enum err driver_load(struct worker_driver *d, const struct model *m, struct errmsg *msg) {
    static unsigned char payload[CHANNEL_PAYLOAD_BYTES];
    struct replica_spec spec;
    struct file_set *files = NULL;
    model_spec(m, &spec);
    enum err e = model_files_open(m, &files, msg);
    size_t count = e ? 0 : file_set_count(files), sent = 0;
    while (!e && sent < count) {
        const char *paths[CHANNEL_FDS];
        int fds[CHANNEL_FDS];
        size_t n = 0;
        for (; n < CHANNEL_FDS && sent + n < count; n++) {
            paths[n] = file_set_path(files, sent + n);
            fds[n] = file_set_descriptor(files, sent + n);
        }
        struct pack_writer w = pack_writer_of(payload, sizeof payload);
        n = wire_write_files(&w, spec.model, paths, n);
        uint64_t sequence = driver_send(d, WIRE_FILES, &w, fds, n);
        if (!driver_receive(d) || d->last.type != WIRE_ANSWER || d->last.sequence != sequence)
            e = err_set(msg, ERR_LOST, "no answer to FILES");
        sent += n;
    }
    struct pack_writer w = pack_writer_of(payload, sizeof payload);
    if (!e)
        e = wire_write_load(&w, &spec, count, msg);
    file_set_free(files);
    return e ? e : driver_ask(d, WIRE_LOAD, &w, NULL, msg);
}

// ---- work

// Takes a block; the request's bytes are to be written at the address that is returned.
static unsigned char *take_block(struct worker_driver *d, size_t bytes, uint64_t *offset) {
    if (region_take(&d->space, bytes, offset)) {
        fprintf(stderr, "driver: the region is full\n");
        exit(1);
    }
    return region_base(d->region) + *offset;
}

static void send_bulk(struct worker_driver *d, uint16_t type, uint64_t sequence,
                      const struct pack_writer *w, uint64_t offset, size_t bytes) {
    struct errmsg msg = {0};
    struct channel_message m = {.type = type,
                                .life = DRIVER_LIFE,
                                .sequence = sequence,
                                .payload = w->bytes,
                                .payload_length = w->length};
    if (bytes) {
        m.bulk_offset = offset;
        m.bulk_length = bytes;
        m.bulk_checksum = channel_checksum(region_base(d->region) + offset, bytes);
    }
    if (channel_send(d->socket, &m, true, &msg))
        fprintf(stderr, "driver: %s: %s\n", wire_type_name(type), msg.text);
}

void driver_send_batch(struct worker_driver *d, const struct replica_batch *b, size_t dim,
                       struct driver_batch *out) {
    unsigned char payload[4096];
    struct errmsg msg = {0};
    struct pack_writer w = pack_writer_of(payload, sizeof payload);
    *out = (struct driver_batch){.sequence = ++d->sequence, .sent_us = clock_now_us()};
    if (wire_size_encode(b, dim, &out->block, &msg))
        fprintf(stderr, "driver: %s\n", msg.text);
    wire_write_encode(&w, b, take_block(d, out->block.bytes, &out->offset));
    send_bulk(d, WIRE_ENCODE, out->sequence, &w, out->offset, out->block.request);
}

enum err driver_read_batch(struct worker_driver *d, struct replica_batch *b,
                           const struct driver_batch *out, struct errmsg *msg) {
    const struct channel_message *m = &d->last;
    struct wire_done done = {0};
    if (m->type != WIRE_BATCH_DONE || m->sequence != out->sequence || m->life != DRIVER_LIFE)
        return err_set(msg, ERR_INVALID, "%s %llu of life %llu", wire_type_name(m->type),
                       (unsigned long long)m->sequence, (unsigned long long)m->life);
    enum err e = wire_check_answer(m, &out->block, out->offset, msg);
    if (!e)
        e = wire_read_batch_done(m, &out->block, out->sent_us, clock_now_us(), &done, msg);
    if (!e && m->bulk_length)
        e = region_copy_out(d->region, m->bulk_offset, m->bulk_length, m->bulk_checksum, b->rows,
                            msg);
    region_give(&d->space, out->offset);
    if (e)
        return e;
    *msg = done.verdict;
    return done.verdict.code;
}

void driver_send_step(struct worker_driver *d, const struct replica_step *s, bool draw,
                      struct driver_step *out) {
    unsigned char payload[4096];
    struct errmsg msg = {0};
    struct pack_writer w = pack_writer_of(payload, sizeof payload);
    *out = (struct driver_step){
        .sequence = ++d->sequence, .masks = UINT64_MAX, .sent_us = clock_now_us()};
    if (wire_size_step(s, &out->block, &msg))
        fprintf(stderr, "driver: %s\n", msg.text);
    wire_write_step(&w, s, draw, take_block(d, out->block.bytes, &out->offset));
    send_bulk(d, WIRE_STEP, out->sequence, &w, out->offset, out->block.request);
}

void driver_send_draw(struct worker_driver *d, const struct replica_step *s, size_t vocab,
                      struct driver_step *out) {
    unsigned char payload[4096];
    struct errmsg msg = {0};
    struct wire_block block;
    struct pack_writer w = pack_writer_of(payload, sizeof payload);
    if (wire_size_draw(s->step, vocab, &block, &msg))
        fprintf(stderr, "driver: %s\n", msg.text);
    unsigned char *at = block.bytes ? take_block(d, block.bytes, &out->masks) : NULL;
    wire_write_draw(&w, s->step, vocab, at);
    send_bulk(d, WIRE_DRAW, out->sequence, &w, block.bytes ? out->masks : 0, block.request);
}

enum err driver_read_step(struct worker_driver *d, struct replica_step *s, size_t vocab,
                          const struct driver_step *out, struct errmsg *msg) {
    const struct channel_message *m = &d->last;
    struct wire_done done = {0};
    unsigned char *copy = mem_alloc_aligned(out->block.answer, 1);
    if (m->type != WIRE_STEP_DONE || m->sequence != out->sequence || m->life != DRIVER_LIFE) {
        mem_free(copy);
        return err_set(msg, ERR_INVALID, "%s %llu of life %llu", wire_type_name(m->type),
                       (unsigned long long)m->sequence, (unsigned long long)m->life);
    }
    enum err e = wire_check_answer(m, &out->block, out->offset, msg);
    if (!e && m->bulk_length)
        e = region_copy_out(d->region, m->bulk_offset, m->bulk_length, m->bulk_checksum, copy, msg);
    if (!e)
        e = wire_read_step_done(m, copy, s->step, vocab, out->sent_us, clock_now_us(), &done, msg);
    region_give(&d->space, out->offset);
    if (out->masks != UINT64_MAX)
        region_give(&d->space, out->masks);
    mem_free(copy);
    if (e)
        return e;
    *msg = done.verdict;
    return done.verdict.code;
}
