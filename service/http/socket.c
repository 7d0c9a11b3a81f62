// See socket.h.
#define _GNU_SOURCE // accept4, ppoll
#include "service/http/socket.h"

#include "base/clock.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { LINGER_US = 2000000, LINGER_QUIET_US = 500000 };

// Sent on a connection that is closed between two requests. A request that is sent at that very
// moment then finds an answer instead of a reset, which would leave open what became of it. RFC
// 9110, 15.5.9, has this status for it; clients that look at an idle connection before they use it
// see that it is closed.
#define FAREWELL_BODY                                                                              \
    "{\"error\":{\"message\":\"the idle connection was closed; send the request again on a new "   \
    "one\",\"type\":\"unavailable\",\"param\":null,\"code\":\"idle_connection_closed\"}}"
_Static_assert(sizeof FAREWELL_BODY - 1 == 157, "the Content-Length below");
static const char farewell[] =
    "HTTP/1.1 408 Request Timeout\r\nContent-Type: application/json\r\nContent-Length: 157\r\n"
    "Connection: close\r\n\r\n" FAREWELL_BODY;

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

int http_socket_accept(int listener, struct sockaddr *addr, socklen_t *addr_len) {
    struct http_socket *s = attached;
    if (!s || !s->acceptor)
        return accept4(listener, addr, addr_len, 0);
    return http_gate_accept(s->gate, listener, addr, addr_len);
}

void http_socket_begin(struct http_socket *s) {
    s->fd = -1;
    s->phase = HTTP_PHASE_NEW;
    s->since_us = clock_now_us();
    s->deadline_us = s->since_us + s->read_timeout_us;
    s->timed_out = s->stopped = s->ended = s->head_full = s->let_go = false;
    s->scan = (struct http_scan){0};
}

static bool is_idle(const struct http_socket *s) {
    return s->phase == HTTP_PHASE_NEW || s->phase == HTTP_PHASE_IDLE;
}

// The latest time at which the wait ends.
static int64_t end_of_wait(const struct http_socket *s) {
    int64_t idle_us = atomic_load(&s->gate->idle_until_us);
    return is_idle(s) && idle_us && idle_us < s->deadline_us ? idle_us : s->deadline_us;
}

// Sleeps until bytes come, *stop is set, or until_us; the poll's result. While it sleeps the
// connection may be taken away: *taken.
static int sleep_loose(struct http_socket *s, short events, int64_t until_us, short *revents,
                       bool *stop, bool *taken) {
    static const enum http_hold_kind kinds[] = {[HTTP_PHASE_NEW] = HTTP_HOLD_SILENT,
                                                [HTTP_PHASE_IDLE] = HTTP_HOLD_IDLE,
                                                [HTTP_PHASE_HEAD] = HTTP_HOLD_HEAD};
    bool loose = is_idle(s) || s->phase == HTTP_PHASE_HEAD;
    struct pollfd fds[3] = {{.fd = s->fd, .events = events},
                            {.fd = s->gate->stop_fd, .events = POLLIN},
                            {.fd = s->hold.wake_fd, .events = POLLIN}};
    if (loose)
        http_hold_loosen(&s->hold, kinds[s->phase],
                         s->phase == HTTP_PHASE_HEAD ? s->first_byte_us : s->since_us);
    int64_t left_us = until_us - clock_now_us();
    int rc = wait_fds(fds, 3, left_us > 0 ? left_us : 0);
    *taken = loose && !http_hold_tighten(&s->hold);
    eventfd_t count;
    if (rc > 0 && fds[2].revents)
        (void)eventfd_read(s->hold.wake_fd, &count);
    *revents = rc > 0 ? fds[0].revents : 0;
    *stop = rc > 0 && fds[1].revents;
    return rc;
}

// Ends an idle connection, unless bytes have come in the last moment. A drain has the time to see
// that the client notices; when the thread is wanted for another connection, the gate keeps the
// socket.
static bool say_farewell(struct http_socket *s, bool hurry) {
    char byte;
    if (recvfrom(s->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT, NULL, NULL) > 0)
        return false;
    if (s->phase == HTTP_PHASE_IDLE)
        (void)send(s->fd, farewell, sizeof farewell - 1, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (hurry) {
        (void)shutdown(s->fd, SHUT_WR);
        http_gate_park(s->gate, s->fd);
    } else {
        http_socket_linger(s);
    }
    return true;
}

static int wait_readable(struct http_socket *s, struct pollfd *fd) {
    s->fd = fd->fd;
    fd->revents = 0;
    if (s->phase == HTTP_PHASE_NONE || (s->phase == HTTP_PHASE_HEAD && s->scan.fault)) {
        errno = ECONNABORTED;
        return -1;
    }
    for (;;) {
        int64_t until_us = end_of_wait(s);
        bool stop, taken;
        int rc = sleep_loose(s, fd->events, until_us, &fd->revents, &stop, &taken);
        if (rc < 0 && errno != EINTR)
            return -1;
        if (stop) {
            s->stopped = true;
            errno = ECANCELED;
            return -1;
        }
        if (fd->revents) {
            if (taken) // too late for this one
                (void)http_gate_make_room(s->gate, false);
            return 1;
        }
        bool over = clock_now_us() >= until_us && until_us == end_of_wait(s);
        if (!taken && !over)
            continue;
        // a silent connection whose time is over just ends
        bool parts =
            s->phase == HTTP_PHASE_IDLE || (is_idle(s) && (taken || until_us < s->deadline_us));
        if (parts && !say_farewell(s, taken)) {
            if (taken)
                (void)http_gate_make_room(s->gate, false);
            continue;
        }
        s->let_go = taken;
        s->timed_out = true;
        errno = ETIMEDOUT;
        return -1;
    }
}

int http_socket_poll(struct pollfd *fds, nfds_t n, int timeout_ms) {
    struct http_socket *s = attached;
    if (s && s->acceptor)
        return http_gate_poll(s->gate, fds, n, timeout_ms);
    if (s && n == 1 && (fds->events & POLLIN))
        return wait_readable(s, fds);
    return wait_fds(fds, n, timeout_ms < 0 ? -1 : (int64_t)timeout_ms * 1000);
}

// Scans on in a head, and rewrites its target to the form that civetweb knows.
static void scan_head(struct http_socket *s, char *bytes, size_t n) {
    bool had_line = s->scan.request_line;
    http_head_scan(&s->scan, bytes, n);
    if (s->scan.request_line && !had_line && !s->scan.fault) {
        s->scan.fault = http_head_origin_form(bytes, n, &s->asterisk);
        http_head_hide_method(bytes, n, s->method); // last: it moves nothing, but blanks come in
    }
}

static void begin_head(struct http_socket *s) {
    s->asterisk = false;
    s->method[0] = '\0';
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
        scan_head(s, s->buffer, s->buffered);
    }
    return n;
}

void http_socket_next(struct http_socket *s, size_t content_length, int64_t keep_alive_us) {
    // civetweb moves what came behind this request to its buffer's beginning, and may find a whole
    // head there without another recv: it is scanned where it lies now.
    size_t used = s->scan.at + content_length;
    char *rest = s->buffer + (used < s->buffered ? used : s->buffered);
    s->buffered = used < s->buffered ? s->buffered - used : 0;
    s->scan = (struct http_scan){0};
    s->head_full = false;
    if (s->buffered) {
        begin_head(s);
        scan_head(s, rest, s->buffered);
    } else {
        s->phase = HTTP_PHASE_IDLE;
        s->since_us = clock_now_us();
        s->deadline_us = s->since_us + keep_alive_us;
    }
}

bool http_socket_has_more(const struct http_socket *s, size_t content_length) {
    char byte;
    return s->buffered > s->scan.at + content_length ||
           recvfrom(s->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT, NULL, NULL) > 0;
}

ssize_t http_socket_read(struct http_socket *s, char *bytes, size_t len) {
    if (s->scan.at < s->buffered) {
        size_t rest = s->buffered - s->scan.at, n = rest < len ? rest : len;
        memcpy(bytes, s->buffer + s->scan.at, n);
        s->scan.at += n;
        return (ssize_t)n;
    }
    for (;;) {
        struct pollfd fd = {.fd = s->fd, .events = POLLIN};
        if (wait_readable(s, &fd) < 0)
            return -1;
        ssize_t n = http_socket_recv(s->fd, bytes, len, MSG_DONTWAIT);
        if (n >= 0 || (errno != EAGAIN && errno != EINTR))
            return n;
    }
}

// Removes the first `sent` bytes from the parts; returns how many parts are left.
static int skip_parts(struct iovec **parts, int count, size_t sent) {
    while (count > 0 && sent >= (*parts)->iov_len) {
        sent -= (*parts)->iov_len;
        ++*parts;
        count--;
    }
    if (count > 0) {
        (*parts)->iov_base = (char *)(*parts)->iov_base + sent;
        (*parts)->iov_len -= sent;
    }
    return count;
}

// Waits for room in the socket; false when it is not worth waiting any more.
static bool await_room(struct http_socket *s, int64_t deadline_us, int timeout_ms,
                       int64_t taken_us) {
    int64_t left_us = http_gate_patience(s->gate, timeout_ms, taken_us);
    int64_t to_deadline_us = deadline_us - clock_now_us();
    left_us = to_deadline_us < left_us ? to_deadline_us : left_us;
    struct pollfd fd = {.fd = s->fd, .events = POLLOUT};
    return left_us > 0 && (wait_fds(&fd, 1, left_us) >= 0 || errno == EINTR);
}

bool http_socket_write(struct http_socket *s, struct iovec *parts, int count, int64_t deadline_us,
                       int timeout_ms, bool *still) {
    int64_t taken_us = clock_now_us();
    size_t unread = 0; // of the gate's sum, from the first wait on
    bool waited = false;
    *still = false;
    while (count > 0) {
        struct msghdr m = {.msg_iov = parts, .msg_iovlen = (size_t)count};
        ssize_t n = sendmsg(s->fd, &m, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno != EAGAIN)
            break;
        if (n < 0) {
            for (int i = 0; i < count && !waited; i++)
                unread += parts[i].iov_len;
            if (!waited)
                atomic_fetch_add(&s->gate->unread, unread);
            waited = true;
            *still = !await_room(s, deadline_us, timeout_ms, taken_us);
            if (*still)
                break;
            continue;
        }
        taken_us = clock_now_us();
        count = skip_parts(&parts, count, (size_t)n);
        if (waited) {
            atomic_fetch_sub(&s->gate->unread, (size_t)n);
            unread -= (size_t)n;
        }
    }
    atomic_fetch_sub(&s->gate->unread, unread);
    return count == 0;
}

void http_socket_linger(struct http_socket *s) {
    char dropped[4096];
    int64_t begin_us = clock_now_us(), end_us = begin_us + LINGER_US;
    if (shutdown(s->fd, SHUT_WR) != 0)
        return;
    for (;;) {
        int64_t left_us = end_us - clock_now_us();
        if (left_us <= 0)
            return;
        struct pollfd both[2] = {{.fd = s->fd, .events = POLLIN},
                                 {.fd = s->hold.wake_fd, .events = POLLIN}};
        http_hold_loosen(&s->hold, HTTP_HOLD_LINGER, begin_us);
        int rc = wait_fds(both, 2, left_us < LINGER_QUIET_US ? left_us : LINGER_QUIET_US);
        if (!http_hold_tighten(&s->hold)) {
            http_gate_park(s->gate, s->fd);
            return;
        }
        eventfd_t count;
        if (rc > 0 && both[1].revents)
            (void)eventfd_read(s->hold.wake_fd, &count);
        if (rc < 0 && errno == EINTR)
            continue;
        if (rc <= 0)
            return;
        if (!both[0].revents)
            continue;
        ssize_t n = recvfrom(s->fd, dropped, sizeof dropped, MSG_DONTWAIT, NULL, NULL);
        if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
            return;
    }
}
