// See http_socket.h.
#define _GNU_SOURCE // accept4, ppoll
#include "service/http_socket.h"

#include "base/clock.h"
#include "base/fault.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { PARK_US = 500000, LINGER_US = 2000000, LINGER_QUIET_US = 500000, LISTENERS_MAX = 8 };

#define REFUSAL_BODY                                                                               \
    "{\"error\":{\"message\":\"too many connections; try again later\",\"type\":\"overloaded\","   \
    "\"param\":null,\"code\":\"too_many_connections\"}}"
_Static_assert(sizeof REFUSAL_BODY - 1 == 124, "the Content-Length below");
static const char refusal[] =
    "HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nContent-Length: 124\r\n"
    "Connection: close\r\nRetry-After: 1\r\n\r\n" REFUSAL_BODY;

static _Thread_local struct http_socket *attached;

// libc's names for what libcivetweb calls. They are labels because the headers' own declarations
// carry attributes (poll's array as write-only, accept's address as a union) that only fit libc.
int http_socket_accept(int listener, struct sockaddr *addr, socklen_t *addr_len) __asm__("accept");
int http_socket_poll(struct pollfd *fds, nfds_t n, int timeout_ms) __asm__("poll");
ssize_t http_socket_recv(int fd, void *bytes, size_t len, int flags) __asm__("recv");

void http_socket_attach(struct http_socket *s) { attached = s; }

// poll(2) itself is defined below, so the files here wait by ppoll. A negative timeout waits on.
static int wait_fds(struct pollfd *fds, nfds_t n, int64_t timeout_us) {
    struct timespec t = {.tv_sec = timeout_us / 1000000, .tv_nsec = timeout_us % 1000000 * 1000};
    return ppoll(fds, n, timeout_us < 0 ? NULL : &t, NULL);
}

enum err http_gate_open(struct http_gate *g, size_t limit, struct errmsg *msg) {
    *g = (struct http_gate){.stop_fd = -1, .spare_fd = -1};
    atomic_init(&g->limit, limit);
    if (fault_hit(FAULT_FILE))
        errno = EMFILE;
    else
        g->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (g->stop_fd < 0)
        return err_set(msg, ERR_IO, "cannot open an event: %s", strerror(errno));
    g->spare_fd = open("/dev/null", O_RDONLY | O_CLOEXEC); // without one only EMFILE is ruder
    return ERR_OK;
}

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
    g->spare_fd = g->stop_fd = -1;
}

void http_gate_stop(struct http_gate *g) { (void)eventfd_write(g->stop_fd, 1); }

static void refuse(struct http_gate *g, int fd, bool park) {
    atomic_fetch_add(&g->refused, 1);
    (void)send(fd, refusal, sizeof refusal - 1, MSG_NOSIGNAL | MSG_DONTWAIT);
    (void)shutdown(fd, SHUT_WR);
    if (!park) {
        close(fd);
        return;
    }
    if (g->parked_count == HTTP_PARKED_MAX)
        drop_parked(g, 1);
    g->parked[g->parked_count].fd = fd;
    g->parked[g->parked_count++].until_us = clock_now_us() + PARK_US;
}

// No file is left for a connection that is waiting to be accepted. Unless it is taken off the
// listener's queue, poll reports it again at once, for ever.
static void refuse_without_file(struct http_gate *g, int listener) {
    drop_parked(g, g->parked_count);
    if (g->spare_fd >= 0)
        close(g->spare_fd);
    int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd >= 0)
        refuse(g, fd, false);
    g->spare_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        struct timespec pause = {.tv_nsec = 20000000};
        nanosleep(&pause, NULL);
    }
}

int http_socket_accept(int listener, struct sockaddr *addr, socklen_t *addr_len) {
    struct http_socket *s = attached;
    if (!s || !s->acceptor)
        return accept4(listener, addr, addr_len, 0);
    struct http_gate *g = s->gate;
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
    if (atomic_load(&g->open) >= atomic_load(&g->limit)) {
        refuse(g, fd, true);
        errno = ECONNABORTED;
        return -1;
    }
    atomic_fetch_add(&g->open, 1);
    return fd;
}

static int wait_listeners(struct http_gate *g, struct pollfd *fds, nfds_t n, int timeout_ms) {
    int64_t now = clock_now_us();
    size_t due = 0;
    while (due < g->parked_count && g->parked[due].until_us <= now)
        due++;
    drop_parked(g, due);
    int64_t timeout_us = (int64_t)timeout_ms * 1000;
    if (g->parked_count && g->parked[0].until_us - now < timeout_us)
        timeout_us = g->parked[0].until_us - now;

    struct pollfd all[LISTENERS_MAX + 1];
    if (n > LISTENERS_MAX)
        return wait_fds(fds, n, timeout_us);
    memcpy(all, fds, n * sizeof *fds);
    all[n] = (struct pollfd){.fd = g->stop_fd, .events = POLLIN};
    int rc = wait_fds(all, n + 1, timeout_us);
    memcpy(fds, all, n * sizeof *fds);
    return rc > 0 && all[n].revents ? rc - 1 : rc;
}

static int wait_readable(struct http_socket *s, struct pollfd *fd) {
    s->fd = fd->fd;
    fd->revents = 0;
    if (s->phase == HTTP_PHASE_NONE || (s->phase == HTTP_PHASE_HEAD && s->scan.fault)) {
        errno = ECONNABORTED;
        return -1;
    }
    for (;;) {
        int64_t left_us = s->deadline_us - clock_now_us();
        if (left_us <= 0) {
            s->timed_out = true;
            errno = ETIMEDOUT;
            return -1;
        }
        struct pollfd both[2] = {{.fd = fd->fd, .events = fd->events},
                                 {.fd = s->gate->stop_fd, .events = POLLIN}};
        int rc = wait_fds(both, 2, left_us);
        if (rc < 0 && errno != EINTR)
            return -1;
        if (rc > 0 && both[1].revents) {
            s->stopped = true;
            errno = ECANCELED;
            return -1;
        }
        if (rc > 0) {
            fd->revents = both[0].revents;
            return 1;
        }
    }
}

int http_socket_poll(struct pollfd *fds, nfds_t n, int timeout_ms) {
    struct http_socket *s = attached;
    if (s && s->acceptor)
        return wait_listeners(s->gate, fds, n, timeout_ms);
    if (s && n == 1 && (fds->events & POLLIN))
        return wait_readable(s, fds);
    return wait_fds(fds, n, timeout_ms < 0 ? -1 : (int64_t)timeout_ms * 1000);
}

static void begin_head(struct http_socket *s) {
    s->phase = HTTP_PHASE_HEAD;
    s->first_byte_us = clock_now_us();
    s->deadline_us = s->first_byte_us + s->read_timeout_us;
}

ssize_t http_socket_recv(int fd, void *bytes, size_t len, int flags) {
    ssize_t n = recvfrom(fd, bytes, len, flags, NULL, NULL);
    struct http_socket *s = attached;
    if (!s || s->acceptor || fd != s->fd)
        return n;
    if (n <= 0) {
        s->ended = n == 0 || (errno != EAGAIN && errno != EINTR);
        return n;
    }
    if (s->phase == HTTP_PHASE_NEW)
        s->buffer = bytes;
    if (s->phase == HTTP_PHASE_NEW || s->phase == HTTP_PHASE_IDLE)
        begin_head(s);
    if (s->phase == HTTP_PHASE_HEAD) {
        s->head_full = (size_t)n == len;
        s->buffered = (size_t)((const char *)bytes + n - s->buffer);
        http_head_scan(&s->scan, s->buffer, s->buffered);
    }
    return n;
}

void http_socket_next(struct http_socket *s, size_t content_length, int64_t keep_alive_us) {
    // civetweb moves what came behind this request to its buffer's beginning, and may find a whole
    // head there without another recv: it is scanned where it lies now.
    size_t used = s->scan.at + content_length;
    const char *rest = s->buffer + (used < s->buffered ? used : s->buffered);
    s->buffered = used < s->buffered ? s->buffered - used : 0;
    s->scan = (struct http_scan){0};
    s->head_full = false;
    if (s->buffered) {
        begin_head(s);
        http_head_scan(&s->scan, rest, s->buffered);
    } else {
        s->phase = HTTP_PHASE_IDLE;
        s->deadline_us = clock_now_us() + keep_alive_us;
    }
}

bool http_socket_write(struct http_socket *s, struct iovec *parts, int count, int64_t deadline_us) {
    while (count > 0) {
        struct msghdr m = {.msg_iov = parts, .msg_iovlen = (size_t)count};
        ssize_t n = sendmsg(s->fd, &m, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno != EAGAIN)
            return false;
        if (n < 0) {
            int64_t left_us = deadline_us - clock_now_us();
            struct pollfd fd = {.fd = s->fd, .events = POLLOUT};
            if (left_us <= 0 || (wait_fds(&fd, 1, left_us) < 0 && errno != EINTR))
                return false;
            continue;
        }
        size_t sent = (size_t)n;
        while (count > 0 && sent >= parts->iov_len) {
            sent -= parts->iov_len;
            parts++;
            count--;
        }
        if (count > 0) {
            parts->iov_base = (char *)parts->iov_base + sent;
            parts->iov_len -= sent;
        }
    }
    return true;
}

void http_socket_linger(struct http_socket *s) {
    char dropped[4096];
    int64_t end_us = clock_now_us() + LINGER_US;
    if (shutdown(s->fd, SHUT_WR) != 0)
        return;
    for (;;) {
        int64_t left_us = end_us - clock_now_us();
        if (left_us <= 0)
            return;
        struct pollfd both[2] = {{.fd = s->fd, .events = POLLIN},
                                 {.fd = s->gate->stop_fd, .events = POLLIN}};
        int rc = wait_fds(both, 2, left_us < LINGER_QUIET_US ? left_us : LINGER_QUIET_US);
        if (rc <= 0 || both[1].revents)
            return;
        ssize_t n = recvfrom(s->fd, dropped, sizeof dropped, MSG_DONTWAIT, NULL, NULL);
        if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
            return;
    }
}
