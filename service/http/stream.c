// Answers whose body is written as it comes. See http.h (http_stream_begin) and exchange.h.
// Writers append framed pieces to a buffer; the socket thread takes the buffer over as a whole,
// writes what the socket takes, and sleeps until there is more, the client is gone or it is over.
#define _GNU_SOURCE // ppoll
#include "service/http/exchange.h"

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

// The lock is held. Takes a piece as a whole or not at all, so that what is written is well framed.
static bool append(struct http_exchange *x, const void *bytes, size_t n) {
    size_t before = x->pending.len;
    if (!x->http10)
        buf_printf(&x->pending, "%zx\r\n", n);
    buf_append(&x->pending, bytes, n);
    if (!x->http10)
        buf_puts(&x->pending, "\r\n");
    if (!x->pending.failed)
        return true;
    x->pending.failed = false;
    x->pending.len = before;
    return false;
}

// The lock is held.
static void put(struct http_exchange *x, const void *bytes, size_t n) {
    if (n == 0 || x->cut || atomic_load(&x->request.gone))
        return;
    // The largest piece may wait, and as much again as is allowed: a reader that is slow with one
    // large piece has done nothing wrong.
    if (x->pending.len + x->unsent > HTTP_STREAM_PENDING + x->largest)
        x->cut = HTTP_CUT_SLOW;
    else if (!append(x, bytes, n))
        x->cut = HTTP_CUT_MEMORY;
    x->largest = n > x->largest ? n : x->largest;
    x->said_us = clock_now_us();
}

void http_stream_begin(struct http_request *r, struct http_response *head) {
    struct http_exchange *x = r->exchange;
    pthread_mutex_lock(&x->lock);
    x->response = *head;
    *head = (struct http_response){0};
    x->streaming = true;
    x->unsent = x->largest = 0;
    x->cut = x->response.headers.failed || x->response.body.failed ? HTTP_CUT_MEMORY : HTTP_CUT_NOT;
    put(x, x->response.body.data, x->response.body.len);
    wake(x);
    pthread_mutex_unlock(&x->lock);
}

size_t http_stream_write(struct http_request *r, const void *bytes, size_t n) {
    struct http_exchange *x = r->exchange;
    pthread_mutex_lock(&x->lock);
    put(x, bytes, n);
    size_t left = x->pending.len + x->unsent;
    wake(x);
    pthread_mutex_unlock(&x->lock);
    return left;
}

enum http_cut http_stream_cut(struct http_request *r) {
    struct http_exchange *x = r->exchange;
    pthread_mutex_lock(&x->lock);
    enum http_cut cut = x->cut;
    pthread_mutex_unlock(&x->lock);
    return cut;
}

void http_stream_last(struct http_request *r, const void *bytes, size_t n) {
    struct http_exchange *x = r->exchange;
    pthread_mutex_lock(&x->lock);
    bool written = n > 0 && append(x, bytes, n);
    x->last = x->last || written;
    if (!written && !x->cut)
        x->cut = HTTP_CUT_MEMORY;
    pthread_mutex_unlock(&x->lock);
}

void http_stream_end(struct http_request *r) {
    struct http_exchange *x = r->exchange;
    pthread_mutex_lock(&x->lock);
    // one that was cut, and does not say so itself, must not look whole
    x->broken = x->cut && !x->last;
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
    size_t counted;    // in the gate's sum
    int64_t taken_us;  // when the reader last took something
    bool full;         // the socket takes no more now
    bool stands_still; // and has not for too long
};

// Writes what the socket takes; false when the client is gone.
static bool send_some(struct sending *s, int fd) {
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
        s->taken_us = clock_now_us();
    }
    return true;
}

// Sleeps until it is woken, until the socket takes more, or for a while: quiet_us where that is not
// negative and the reader has all. False when the client is gone.
static bool sleep_until(struct sending *s, const struct http_socket *k, int wake_fd, int timeout_ms,
                        int64_t quiet_us) {
    struct pollfd fds[2] = {{.fd = wake_fd, .events = POLLIN},
                            {.fd = k->fd, .events = s->full ? POLLOUT : 0}};
    int64_t left_us = quiet_us;
    if (s->full) {
        left_us = http_gate_patience(k->gate, timeout_ms, s->taken_us);
        if (left_us <= 0) {
            s->stands_still = true;
            return false;
        }
    }
    struct timespec left = {.tv_sec = left_us / 1000000, .tv_nsec = left_us % 1000000 * 1000};
    int rc = ppoll(fds, 2, left_us < 0 ? NULL : &left, NULL);
    eventfd_t count;
    if (rc > 0 && fds[0].revents)
        (void)eventfd_read(wake_fd, &count);
    return rc <= 0 || !(fds[1].revents & ~POLLOUT);
}

// The lock is held. From now on nothing is written; the handler still has to end its stream.
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

static void take_over(struct http_exchange *x, struct sending *s) {
    struct buf empty = s->bytes;
    buf_reset(&empty);
    s->bytes = x->pending;
    x->pending = empty;
    s->at = 0;
    s->taken_us = clock_now_us();
}

// Writes what the socket takes now; true when nothing is left.
static bool flush(struct http_exchange *x, struct sending *s, int fd) {
    for (;;) {
        if (!send_some(s, fd) || s->full)
            return false;
        if (x->pending.len == 0)
            return true;
        take_over(x, s);
    }
}

// Keeps the server's sum of bytes that wait for their readers.
static void count_unread(const struct http_exchange *x, struct sending *s, struct http_gate *g) {
    size_t now = s->bytes.len - s->at + x->pending.len;
    atomic_fetch_add(&g->unread, now - s->counted); // modulo, so it may be less
    s->counted = now;
}

enum http_stream_end http_stream_run(struct http_exchange *x, struct http_socket *k,
                                     bool *keep_alive, int timeout_ms,
                                     const atomic_bool *abandoned) {
    struct sending s = {.taken_us = clock_now_us()};
    bool there = true, whole = false, told = false;
    pthread_mutex_lock(&x->lock);
    *keep_alive = *keep_alive && !x->http10;
    if (!http_reply_head(&x->request, &x->response, *keep_alive,
                         x->http10 ? HTTP_BODY_UNTIL_CLOSE : HTTP_BODY_CHUNKED, &s.bytes)) {
        buf_reset(&s.bytes);
        there = false;
        x->cut = HTTP_CUT_MEMORY;
    }
    for (;;) {
        if (there && s.at == s.bytes.len && x->pending.len > 0)
            take_over(x, &s);
        if (x->cut && there && !told && !x->ended) { // the handler has its last words yet
            told = true;
            http_exchange_lose(x);
        }
        bool sent = s.at == s.bytes.len, idle = sent || s.full;
        whole = x->ended && sent && x->pending.len == 0;
        if (whole || !there || atomic_load(abandoned))
            break;
        x->unsent = s.bytes.len - s.at;
        x->waiting = idle;
        count_unread(x, &s, k->gate);
        int64_t quiet_us = x->ended || x->cut ? -1 : http_exchange_quiet_us(x);
        pthread_mutex_unlock(&x->lock);
        there = !idle || sleep_until(&s, k, x->wake_fd, timeout_ms, quiet_us);
        there = there && send_some(&s, k->fd);
        pthread_mutex_lock(&x->lock);
        x->waiting = false;
        if (there && s.at == s.bytes.len && x->pending.len == 0)
            http_exchange_tell_quiet(x);
    }
    bool stopped = !whole && there;
    if (s.stands_still || (stopped && !x->cut))
        x->cut = s.stands_still ? HTTP_CUT_STILL : HTTP_CUT_STOP;
    bool gone = !x->ended && !stopped;
    if (!x->ended) {
        if (!told)
            http_exchange_lose(x); // which may end the stream itself
        await_end(x);
    }
    if (stopped) // the last words, as far as the socket takes them at once
        whole = flush(x, &s, k->fd);
    enum http_stream_end end = gone                  ? HTTP_STREAM_GONE
                               : !whole || x->broken ? HTTP_STREAM_TORN
                               : x->cut              ? HTTP_STREAM_CUT
                                                     : HTTP_STREAM_WHOLE;
    atomic_fetch_sub(&k->gate->unread, s.counted);
    pthread_mutex_unlock(&x->lock);
    buf_free(&s.bytes);
    return end;
}
