// See sink.h.
#include "cli/sink.h"

#include "base/fault.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

// A pipe that is ready takes PIPE_BYTES without blocking (POSIX: PIPE_BUF).
enum { SETTLE_BYTES = 64 << 10, PIPE_BYTES = 4096, POLL_MS = 200 };

void sink_init(struct sink *s, int fd, const char *name) {
    *s = (struct sink){.fd = fd, .name = name};
}

static enum err wait_for_reader(const struct sink *s, struct errmsg *msg) {
    for (;;) {
        struct pollfd out = {.fd = s->fd, .events = POLLOUT};
        int ready = poll(&out, 1, POLL_MS);
        if (ready > 0 || (ready < 0 && errno != EINTR))
            return ERR_OK; // what is wrong is for write to say
        if (atomic_load(s->stop))
            return err_set(msg, ERR_CANCELLED, "interrupted");
    }
}

enum err sink_flush(struct sink *s, struct errmsg *msg) {
    if (s->buf.failed)
        return err_set(msg, ERR_NOMEM, "%s: no memory for what is to be written", s->name);
    size_t at = 0;
    enum err e = ERR_OK;
    while (at < s->buf.len) {
        size_t most = s->buf.len - at;
        if (s->stop && (e = wait_for_reader(s, msg)))
            break;
        if (s->stop && most > PIPE_BYTES)
            most = PIPE_BYTES;
        ssize_t n =
            fault_hit(FAULT_FILE) ? (errno = ENOSPC, -1) : write(s->fd, s->buf.data + at, most);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN) { // someone else made the pipe non-blocking
            struct pollfd out = {.fd = s->fd, .events = POLLOUT};
            (void)poll(&out, 1, -1);
            continue;
        }
        if (n < 0) {
            e = err_set(msg, ERR_IO, "%s: cannot write: %s", s->name, strerror(errno));
            break;
        }
        at += (size_t)n;
        s->written += (size_t)n;
    }
    if (at)
        memmove(s->buf.data, s->buf.data + at, s->buf.len - at); // a later try goes on from here
    s->buf.len -= at;
    return e;
}

enum err sink_settle(struct sink *s, struct errmsg *msg) {
    return s->buf.failed || s->buf.len >= SETTLE_BYTES ? sink_flush(s, msg) : ERR_OK;
}

void sink_free(struct sink *s) { buf_free(&s->buf); }
