// See gate.h.
#define _GNU_SOURCE // accept4, ppoll
#include "service/http/gate.h"

#include "base/clock.h"
#include "base/fault.h"
#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
    PARK_US = 500000,
    LISTENERS_MAX = 8,
    FULL_NAP_US = 2000,
    FULL_US = 300000,          // so long a full server looks for room before it refuses
    QUIET_US = 200000,         // of the listeners before they close: a handshake's round trip
    CLOSING_MOST_US = 2000000, // where nothing keeps new connections out
    PATIENCE_STEP_US = 1000000,
    UNREAD_PATIENCE_US = 2000000, // with a reader that stands still while memory is short
};

#define REFUSAL_BODY                                                                               \
    "{\"error\":{\"message\":\"too many connections; try again later\",\"type\":\"unavailable\","  \
    "\"param\":null,\"code\":\"too_many_connections\"}}"
_Static_assert(sizeof REFUSAL_BODY - 1 == 125, "the Content-Length below");
static const char refusal[] =
    "HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nContent-Length: 125\r\n"
    "Connection: close\r\nRetry-After: 1\r\n\r\n" REFUSAL_BODY;

// --- holds ---

// A connection must have been of no use for this long before it is let go: a client that has just
// connected, or has just read an answer, is about to send.
static const int64_t least_us[] = {
    [HTTP_HOLD_SILENT] = 100000,
    [HTTP_HOLD_IDLE] = 50000,
    [HTTP_HOLD_LINGER] = 0,
    [HTTP_HOLD_HEAD] = 200000,
};

void http_hold_loosen(struct http_hold *h, enum http_hold_kind kind, int64_t since_us) {
    atomic_store(&h->kind, kind);
    atomic_store(&h->since_us, since_us);
    atomic_store(&h->state, HTTP_LOOSE);
}

bool http_hold_tighten(struct http_hold *h) {
    return atomic_exchange(&h->state, HTTP_HELD) == HTTP_LOOSE;
}

// Which connection goes first: one without a request, then one that has its answer, then one whose
// head is only coming.
static int rank(int kind) { return kind == HTTP_HOLD_LINGER ? 1 : kind == HTTP_HOLD_HEAD ? 2 : 0; }

static struct http_hold *find_least_used(const struct http_gate *g, bool idle_only) {
    struct http_hold *best = NULL;
    int best_rank = 0;
    int64_t best_since_us = 0, now = clock_now_us();
    for (size_t i = 0; i < g->hold_count; i++) {
        struct http_hold *h = g->holds[i];
        if (atomic_load(&h->state) != HTTP_LOOSE)
            continue;
        int kind = atomic_load(&h->kind), r = rank(kind);
        int64_t since_us = atomic_load(&h->since_us);
        if (now - since_us < least_us[kind] || (idle_only && r > 0))
            continue;
        if (!best || r < best_rank || (r == best_rank && since_us < best_since_us)) {
            best = h;
            best_rank = r;
            best_since_us = since_us;
        }
    }
    return best;
}

bool http_gate_make_room(struct http_gate *g, bool idle_only) {
    for (int i = 0; i < 4; i++) {
        struct http_hold *h = find_least_used(g, idle_only);
        if (!h)
            return false;
        int loose = HTTP_LOOSE;
        if (atomic_compare_exchange_strong(&h->state, &loose, HTTP_TAKEN)) {
            atomic_fetch_add(&g->let_go, 1);
            (void)eventfd_write(h->wake_fd, 1);
            return true;
        }
    }
    return false;
}

// --- the gate's life ---

static int open_event(void) {
    if (fault_hit(FAULT_FILE)) {
        errno = EMFILE;
        return -1;
    }
    return eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
}

enum err http_gate_open(struct http_gate *g, size_t limit, struct errmsg *msg) {
    *g = (struct http_gate){.spare_fd = -1};
    atomic_init(&g->limit, limit);
    atomic_init(&g->threads, limit + HTTP_SPARE);
    pthread_mutex_init(&g->lock, NULL);
    g->stop_fd = open_event();
    g->call_fd = g->stop_fd < 0 ? -1 : open_event();
    if (g->call_fd < 0)
        return err_set(msg, ERR_IO, "cannot open an event: %s", strerror(errno));
    g->spare_fd = open("/dev/null", O_RDONLY | O_CLOEXEC); // without one only EMFILE is ruder
    return ERR_OK;
}

// The lock is held, or nobody else has the gate.
static void drop_parked(struct http_gate *g, size_t count) {
    for (size_t i = 0; i < count; i++)
        close(g->parked[i].fd);
    g->parked_count -= count;
    memmove(g->parked, g->parked + count, g->parked_count * sizeof g->parked[0]);
}

void http_gate_close(struct http_gate *g) {
    drop_parked(g, g->parked_count);
    if (g->spare_fd >= 0)
        close(g->spare_fd);
    if (g->stop_fd >= 0)
        close(g->stop_fd);
    if (g->call_fd >= 0)
        close(g->call_fd);
    g->spare_fd = g->stop_fd = g->call_fd = -1;
    pthread_mutex_destroy(&g->lock);
}

void http_gate_stop(struct http_gate *g) { (void)eventfd_write(g->stop_fd, 1); }

void http_gate_shut(struct http_gate *g) {
    int open = HTTP_GATE_OPEN;
    if (atomic_compare_exchange_strong(&g->stage, &open, HTTP_GATE_CLOSING))
        (void)eventfd_write(g->call_fd, 1);
}

void http_gate_end_idle(struct http_gate *g, int64_t until_us) {
    atomic_store(&g->idle_until_us, until_us);
    for (size_t i = 0; i < g->hold_count; i++)
        (void)eventfd_write(g->holds[i]->wake_fd, 1);
}

// --- connections that are kept until they are read ---

// Takes the descriptor over.
static void park(struct http_gate *g, int fd) {
    pthread_mutex_lock(&g->lock);
    if (g->parked_count == HTTP_PARKED_MAX)
        drop_parked(g, 1);
    g->parked[g->parked_count].fd = fd;
    g->parked[g->parked_count++].until_us = clock_now_us() + PARK_US;
    pthread_mutex_unlock(&g->lock);
}

void http_gate_park(struct http_gate *g, int fd) {
    int kept = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    if (kept >= 0) // without a file left it is closed a little rudely
        park(g, kept);
}

size_t http_gate_parked(struct http_gate *g) {
    pthread_mutex_lock(&g->lock);
    size_t n = g->parked_count;
    pthread_mutex_unlock(&g->lock);
    return n;
}

// Drops the connections whose time is over. Returns how long until the next one's, at most
// timeout_us.
static int64_t drop_due(struct http_gate *g, int64_t timeout_us) {
    pthread_mutex_lock(&g->lock);
    int64_t now = clock_now_us();
    size_t due = 0;
    while (due < g->parked_count && g->parked[due].until_us <= now)
        due++;
    drop_parked(g, due);
    if (g->parked_count && g->parked[0].until_us - now < timeout_us)
        timeout_us = g->parked[0].until_us - now;
    pthread_mutex_unlock(&g->lock);
    return timeout_us;
}

int64_t http_gate_patience(const struct http_gate *g, int timeout_ms, int64_t taken_us) {
    int64_t most_us = (int64_t)timeout_ms * 1000;
    if (atomic_load(&g->unread) > g->unread_max && most_us > UNREAD_PATIENCE_US)
        most_us = UNREAD_PATIENCE_US;
    int64_t left_us = taken_us + most_us - clock_now_us();
    return left_us < PATIENCE_STEP_US ? left_us : PATIENCE_STEP_US;
}

// --- accepting ---

static void refuse(struct http_gate *g, int fd, bool keep) {
    atomic_fetch_add(&g->refused, 1);
    (void)send(fd, refusal, sizeof refusal - 1, MSG_NOSIGNAL | MSG_DONTWAIT);
    (void)shutdown(fd, SHUT_WR);
    if (keep)
        park(g, fd);
    else
        close(fd);
}

static void nap(int64_t us) {
    struct timespec t = {.tv_nsec = us * 1000};
    nanosleep(&t, NULL);
}

// There is no file left for a connection that is waiting to be accepted. It must be taken off the
// listener's queue, or poll reports it again at once, for ever.
static void refuse_without_file(struct http_gate *g, int listener) {
    pthread_mutex_lock(&g->lock);
    drop_parked(g, g->parked_count);
    pthread_mutex_unlock(&g->lock);
    if (g->spare_fd >= 0)
        close(g->spare_fd);
    int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd >= 0)
        refuse(g, fd, false);
    g->spare_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        nap(20000);
}

enum room { ROOM, ROOM_SOON, ROOM_NONE };

// At the limit another connection must go, or a spare thread must be free. A thread becomes free
// within a moment, because the busy ones are no more than the limit: so a short wait is worth it.
// This only looks: the newcomer may be gone again before it is accepted, and then nobody has to go
// for it.
static enum room look_for_room(struct http_gate *g) {
    size_t open = atomic_load(&g->open);
    if (open < atomic_load(&g->limit) || open < atomic_load(&g->threads) ||
        find_least_used(g, false)) {
        g->full_since_us = 0;
        return ROOM;
    }
    int64_t now = clock_now_us();
    if (!g->full_since_us)
        g->full_since_us = now;
    return now - g->full_since_us < FULL_US ? ROOM_SOON : ROOM_NONE;
}

// For a connection that has been accepted.
static bool take_room(struct http_gate *g) {
    size_t open = atomic_load(&g->open), limit = atomic_load(&g->limit);
    if (open > limit) // spare threads are held by silence: back to the limit
        (void)http_gate_make_room(g, true);
    return open < limit || http_gate_make_room(g, true) || open < atomic_load(&g->threads) ||
           http_gate_make_room(g, false);
}

// The room that was seen may be taken again: the connection that was to go has become busy
// meanwhile.
static bool enter(struct http_gate *g, int64_t patience_us) {
    int64_t until_us = clock_now_us() + patience_us;
    while (!take_room(g)) {
        if (clock_now_us() >= until_us)
            return false;
        nap(FULL_NAP_US);
    }
    return true;
}

int http_gate_accept(struct http_gate *g, int listener, struct sockaddr *addr, unsigned *addr_len) {
    enum room room = look_for_room(g);
    if (room == ROOM_SOON) {
        nap(FULL_NAP_US);
        errno = EAGAIN;
        return -1;
    }
    int fd = -1;
    if (fault_hit(FAULT_FILE))
        errno = EMFILE;
    else
        fd = accept4(listener, addr, addr_len, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0) {
        if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS)
            refuse_without_file(g, listener);
        return -1;
    }
    if (!enter(g, room == ROOM ? FULL_US : 0)) {
        refuse(g, fd, true);
        errno = ECONNABORTED;
        return -1;
    }
    atomic_fetch_add(&g->open, 1);
    return fd;
}

// --- closing the listeners ---

// From now on the listener answers no SYN: a client that connects tries again a second later and is
// refused then. Packets of handshakes that have begun pass, and so does everything else.
static bool drop_new(int listener) {
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_B | BPF_ABS, 13),    // TCP's flags
        BPF_STMT(BPF_ALU | BPF_AND | BPF_K, 0x12), // SYN and ACK
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0x02, 0, 1), BPF_STMT(BPF_RET | BPF_K, 0),
        BPF_STMT(BPF_RET | BPF_K, 0xffffffff),
    };
    struct sock_fprog program = {.len = sizeof code / sizeof *code, .filter = code};
    return setsockopt(listener, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program) == 0;
}

static void begin_closing(struct http_gate *g, const struct pollfd *fds, nfds_t n) {
    bool all = true;
    for (nfds_t i = 0; i < n; i++)
        all = drop_new(fds[i].fd) && all;
    if (!all)
        log_warn("http: this system has no packet filter for a listening socket (%s); who "
                 "connects in the moment that it closes is reset",
                 strerror(errno));
    g->quiet_until_us = clock_now_us() + QUIET_US;
    g->closing_until_us = clock_now_us() + CLOSING_MOST_US;
}

// shutdown and not close: the descriptor is civetweb's.
static void end_closing(struct http_gate *g, const struct pollfd *fds, nfds_t n) {
    for (nfds_t i = 0; i < n; i++)
        (void)shutdown(fds[i].fd, SHUT_RDWR);
    atomic_store(&g->stage, HTTP_GATE_CLOSED);
}

// Waits for connections, or for a change of what to wait for. Returns how many of fds are ready.
static int wait_listeners(struct http_gate *g, struct pollfd *fds, nfds_t n, int64_t timeout_us) {
    struct pollfd all[LISTENERS_MAX + 2] = {{.fd = g->stop_fd, .events = POLLIN},
                                            {.fd = g->call_fd, .events = POLLIN}};
    nfds_t count = atomic_load(&g->stage) == HTTP_GATE_CLOSED ? 0 : n;
    memcpy(all + 2, fds, count * sizeof *fds);
    struct timespec t = {.tv_sec = timeout_us / 1000000, .tv_nsec = timeout_us % 1000000 * 1000};
    int rc = ppoll(all, count + 2, &t, NULL), ready = 0;
    for (nfds_t i = 0; i < n; i++) {
        fds[i].revents = rc > 0 && i < count ? all[i + 2].revents : 0;
        ready += fds[i].revents != 0;
    }
    eventfd_t calls;
    if (rc > 0 && all[1].revents)
        (void)eventfd_read(g->call_fd, &calls);
    return rc < 0 ? rc : ready;
}

int http_gate_poll(struct http_gate *g, struct pollfd *fds, unsigned long n, int timeout_ms) {
    int64_t timeout_us = drop_due(g, timeout_ms < 0 ? 1000000 : (int64_t)timeout_ms * 1000);
    if (n > LISTENERS_MAX) {
        errno = EINVAL;
        return -1;
    }
    if (atomic_load(&g->stage) == HTTP_GATE_CLOSING) {
        if (!g->quiet_until_us)
            begin_closing(g, fds, n);
        int64_t end_us =
            g->quiet_until_us < g->closing_until_us ? g->quiet_until_us : g->closing_until_us;
        int64_t left_us = end_us - clock_now_us();
        timeout_us = left_us < timeout_us ? left_us : timeout_us;
    }
    int ready = wait_listeners(g, fds, n, timeout_us > 0 ? timeout_us : 0);
    if (!g->quiet_until_us || atomic_load(&g->stage) != HTTP_GATE_CLOSING)
        return ready;
    int64_t now = clock_now_us();
    if (ready > 0)
        g->quiet_until_us = now + QUIET_US;
    else if (now >= g->quiet_until_us)
        end_closing(g, fds, n);
    if (now >= g->closing_until_us && atomic_load(&g->stage) == HTTP_GATE_CLOSING)
        end_closing(g, fds, n);
    return ready;
}
