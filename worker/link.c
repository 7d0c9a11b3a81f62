// See link.h.
#define _GNU_SOURCE // ppoll
#include "worker/link.h"

#include "base/clock.h"
#include "base/log.h"
#include "engine/wire.h"

#include <poll.h>
#include <unistd.h>

static const char *name = "trine-worker";

void link_name(const char *program) { name = program; }

void link_end(enum wire_end how, const char *fmt, ...) {
    struct errmsg words;
    va_list ap;
    va_start(ap, fmt);
    (void)err_vset(&words, ERR_INTERNAL, fmt, ap);
    va_end(ap);
    log_event(LOG_LEVEL_ERROR, "worker_ends", LOG_FIELDS(log_int("status", (int)how)), "%s: %s",
              name, words.text);
    _exit((int)how); // other threads compute, load or wait: nothing of theirs is run down
}

enum wire_end link_end_of(enum err e) {
    switch (e) {
    case ERR_NOMEM:
        return WIRE_END_NO_MEMORY;
    case ERR_UNSUPPORTED:
    case ERR_NOT_FOUND:
        return WIRE_END_NO_DEVICE;
    case ERR_INVALID:
        return WIRE_END_BROKEN_RULE;
    default:
        return WIRE_END_SYSTEM;
    }
}

void link_wait(const struct link *l, int64_t until_us) {
    int64_t left = until_us - clock_now_us();
    struct pollfd p = {.fd = l->socket, .events = POLLIN};
    struct timespec t = {.tv_sec = left / 1000000, .tv_nsec = left % 1000000 * 1000};
    if (left > 0)
        (void)ppoll(&p, 1, &t, NULL);
}

bool link_receive(struct link *l, bool wait, struct channel_message *out, bool *closed) {
    const struct worker_hooks *h = l->hooks;
    struct errmsg msg = {0};
    *closed = false;
    if (h && h->receive)
        h->receive();
    enum err e = channel_receive(l->socket, &l->in, out, wait, &msg);
    *closed = e == ERR_LOST;
    if (e == ERR_LOST || e == ERR_OVERLOADED)
        return false;
    if (!e)
        e = wire_check_message(out, true, &msg);
    if (e)
        link_end(e == ERR_INVALID ? WIRE_END_BROKEN_RULE : WIRE_END_SYSTEM, "from the parent: %s",
                 msg.text);
    if (l->life && out->life != l->life)
        link_end(WIRE_END_BROKEN_RULE, "from the parent: %s of another life",
                 wire_type_name(out->type));
    if (h && h->received)
        h->received(out);
    return true;
}

void link_send(struct link *l, struct channel_message *m, bool wait) {
    const struct worker_hooks *h = l->hooks;
    struct errmsg msg = {0};
    m->life = l->life;
    if (m->bulk_length)
        m->bulk_checksum =
            channel_checksum(region_base(l->region) + m->bulk_offset, (size_t)m->bulk_length);
    if (h && h->send)
        h->send(m);
    enum err e = channel_send(l->socket, m, wait, &msg);
    if (e && e != ERR_LOST && e != ERR_OVERLOADED)
        link_end(WIRE_END_SYSTEM, "%s cannot be sent: %s", wire_type_name(m->type), msg.text);
    if (h && h->sent)
        h->sent(m);
}
