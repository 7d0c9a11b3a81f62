// Answers whose body is written as it comes. See http.h (http_stream_begin) and http_exchange.h.
// Writers append framed pieces to a buffer; the socket thread takes the buffer over as a whole,
// writes what the socket takes, and sleeps until there is more, the client is gone or it is over.
#define _GNU_SOURCE // ppoll
#include "service/http_exchange.h"

#include "base/clock.h"

#include <errno.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <time.h>

static void wake(struct http_exchange *x) {
    if (x->waiting)
        (void)eventfd_write(x->wake_fd, 1);
}

// The lock is held.
static void append(struct http_exchange *x, const void *bytes, size_t n) {
    if (n == 0 || x->broken || atomic_load(&x->request.gone))
        return;
    if (!x->http10)
        buf_printf(&x->pending, "%zx\r\n", n);
    buf_append(&x->pending, bytes, n);
    if (!x->http10)
        buf_puts(&x->pending, "\r\n");
    if (x->pending.failed || x->pending.len + x->unsent > HTTP_STREAM_PENDING)
        x->broken = true;
}

void http_stream_begin(struct http_request *r, struct http_response *head) {
    struct http_exchange *x = r->exchange;
    pthread_mutex_lock(&x->lock);
    x->response = *head;
    *head = (struct http_response){0};
    x->streaming = true;
    x->unsent = 0;
    x->broken = x->response.headers.failed || x->response.body.failed;
    append(x, x->response.body.data, x->response.body.len);
    wake(x);
    pthread_mutex_unlock(&x->lock);
}

size_t http_stream_write(struct http_request *r, const void *bytes, size_t n) {
    struct http_exchange *x = r->exchange;
    pthread_mutex_lock(&x->lock);
    append(x, bytes, n);
    size_t left = x->pending.len + x->unsent;
    wake(x);
    pthread_mutex_unlock(&x->lock);
    return left;
}

void http_stream_end(struct http_request *r) {
    struct http_exchange *x = r->exchange;
    pthread_mutex_lock(&x->lock);
    if (!x->http10 && !x->broken)
        buf_puts(&x->pending, "0\r\n\r\n");
    if (x->pending.failed)
        x->broken = true;
    x->ended = x->answered = true;
    wake(x);
    pthread_mutex_unlock(&x->lock);
}

// The socket thread's side of a stream.
struct sending {
    struct buf bytes;
    size_t at;
    int64_t deadline_us; // no byte taken by then: the reader stands still
    bool full;           // the socket takes no more now
};

// Writes what the socket takes; false when the client is gone.
static bool send_some(struct sending *s, int fd, int timeout_ms) {
    s->full = false;
    while (s->at < s->bytes.len) {
        ssize_t n =
            send(fd, s->bytes.data + s->at, s->bytes.len - s->at, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            s->full = errno == EAGAIN;
            return s->full;
        }
        s->at += (size_t)n;
        s->deadline_us = clock_now_us() + (int64_t)timeout_ms * 1000;
    }
    return true;
}

// Sleeps until woken, until the socket takes more, or for the deadline; false when the client is
// gone.
static bool sleep_until(const struct sending *s, int wake_fd, int client_fd) {
    struct pollfd fds[2] = {{.fd = wake_fd, .events = POLLIN},
                            {.fd = client_fd, .events = s->full ? POLLOUT : 0}};
    struct timespec left = {0}, *timeout = NULL;
    if (s->full) {
        int64_t left_us = s->deadline_us - clock_now_us();
        if (left_us <= 0)
            return false;
        left = (struct timespec){.tv_sec = left_us / 1000000, .tv_nsec = left_us % 1000000 * 1000};
        timeout = &left;
    }
    int rc = ppoll(fds, 2, timeout, NULL);
    eventfd_t count;
    if (rc > 0 && fds[0].revents)
        (void)eventfd_read(wake_fd, &count);
    return rc <= 0 || !(fds[1].revents & ~POLLOUT);
}

// The lock is held. Nothing is written any more; the handler still has to end its stream.
static void await_end(struct http_exchange *x) {
    while (!x->ended) {
        x->waiting = true;
        pthread_mutex_unlock(&x->lock);
        struct pollfd fd = {.fd = x->wake_fd, .events = POLLIN};
        eventfd_t count;
        if (ppoll(&fd, 1, NULL, NULL) > 0)
            (void)eventfd_read(x->wake_fd, &count);
        pthread_mutex_lock(&x->lock);
        x->waiting = false;
    }
}

static void take_over(struct http_exchange *x, struct sending *s, int timeout_ms) {
    struct buf empty = s->bytes;
    buf_reset(&empty);
    s->bytes = x->pending;
    x->pending = empty;
    s->at = 0;
    s->deadline_us = clock_now_us() + (int64_t)timeout_ms * 1000;
}

enum http_stream_end http_stream_run(struct http_exchange *x, struct http_socket *k,
                                     bool *keep_alive, int timeout_ms,
                                     const atomic_bool *abandoned) {
    struct sending s = {.deadline_us = clock_now_us() + (int64_t)timeout_ms * 1000};
    bool there = true, whole = false;
    pthread_mutex_lock(&x->lock);
    *keep_alive = *keep_alive && !x->http10;
    if (!http_reply_head(&x->request, &x->response, *keep_alive,
                         x->http10 ? HTTP_BODY_UNTIL_CLOSE : HTTP_BODY_CHUNKED, &s.bytes))
        x->broken = true;
    for (;;) {
        if (there && s.at == s.bytes.len && x->pending.len > 0 && !x->broken)
            take_over(x, &s, timeout_ms);
        bool sent = s.at == s.bytes.len, idle = sent || s.full;
        whole = x->ended && sent && x->pending.len == 0 && !x->broken;
        if (whole || !there || x->broken || atomic_load(abandoned))
            break;
        x->unsent = s.bytes.len - s.at;
        x->waiting = idle;
        pthread_mutex_unlock(&x->lock);
        there = !idle || sleep_until(&s, x->wake_fd, k->fd);
        there = there && send_some(&s, k->fd, timeout_ms);
        pthread_mutex_lock(&x->lock);
        x->waiting = false;
    }
    enum http_stream_end end = whole ? HTTP_STREAM_WHOLE : HTTP_STREAM_TORN;
    if (!x->ended) {
        end = HTTP_STREAM_GONE;
        http_exchange_lose(x); // which may end the stream itself
        await_end(x);
    }
    pthread_mutex_unlock(&x->lock);
    buf_free(&s.bytes);
    return end;
}
