// See exchange.h.
#define _GNU_SOURCE // ppoll
#include "service/http/exchange.h"

#include "base/clock.h"
#include "base/fault.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <strings.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { FIN_ASK_US = 1000000 };

enum err http_exchange_init(struct http_exchange *x, struct errmsg *msg) {
    int fd = -1;
    if (fault_hit(FAULT_FILE))
        errno = EMFILE;
    else
        fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (fd < 0)
        return err_set(msg, ERR_IO, "cannot open an event for a connection: %s", strerror(errno));
    *x = (struct http_exchange){.wake_fd = fd};
    pthread_mutexattr_t recursive;
    pthread_mutexattr_init(&recursive);
    pthread_mutexattr_settype(&recursive, PTHREAD_MUTEX_RECURSIVE);
    pthread_mutex_init(&x->lock, &recursive);
    pthread_mutexattr_destroy(&recursive);
    return ERR_OK;
}

void http_exchange_free(struct http_exchange *x) {
    http_exchange_clear(x);
    pthread_mutex_destroy(&x->lock);
    close(x->wake_fd);
}

void http_exchange_clear(struct http_exchange *x) {
    buf_free(&x->body);
    buf_free(&x->response.headers);
    buf_free(&x->response.body);
    buf_free(&x->pending);
    x->field_count = 0;
    x->answered = x->streaming = x->ended = x->broken = x->last = false;
    x->cut = HTTP_CUT_NOT;
    x->quiet_us = 0;
    x->on_quiet = NULL;
}

const char *http_request_header(const struct http_request *r, const char *name) {
    const struct http_exchange *x = r->exchange;
    for (size_t i = 0; i < x->field_count; i++)
        if (strcasecmp(x->fields[i].name, name) == 0)
            return x->fields[i].value;
    return NULL;
}

void http_answer(struct http_request *r, struct http_response *response) {
    struct http_exchange *x = r->exchange;
    pthread_mutex_lock(&x->lock);
    x->response = *response;
    *response = (struct http_response){0};
    x->answered = true;
    if (x->waiting) // within the lock: once it is free the exchange is the next request's
        (void)eventfd_write(x->wake_fd, 1);
    pthread_mutex_unlock(&x->lock);
}

void http_exchange_lose(struct http_exchange *x) {
    struct http_request *r = &x->request;
    atomic_store(&r->gone, true);
    if (r->on_gone)
        r->on_gone(r);
}

void http_watch_quiet(struct http_request *r, int quiet_ms,
                      void (*on_quiet)(struct http_request *r)) {
    struct http_exchange *x = r->exchange;
    pthread_mutex_lock(&x->lock);
    x->quiet_us = (int64_t)quiet_ms * 1000;
    x->on_quiet = on_quiet;
    x->said_us = clock_now_us();
    if (x->waiting) // for longer, it may be
        (void)eventfd_write(x->wake_fd, 1);
    pthread_mutex_unlock(&x->lock);
}

int64_t http_exchange_quiet_us(const struct http_exchange *x) {
    if (x->quiet_us == 0)
        return -1;
    int64_t left = x->said_us + x->quiet_us - clock_now_us();
    return left > 0 ? left : 0;
}

void http_exchange_tell_quiet(struct http_exchange *x) {
    if (x->answered || x->ended || x->cut || http_exchange_quiet_us(x) != 0)
        return;
    x->said_us = clock_now_us();
    x->on_quiet(&x->request);
}

void http_exchange_wake(struct http_exchange *x) {
    pthread_mutex_lock(&x->lock);
    if (x->waiting)
        (void)eventfd_write(x->wake_fd, 1);
    pthread_mutex_unlock(&x->lock);
}

// A client that has sent a FIN may have closed one direction and still wait for its answer, or may
// have closed both. Only writing tells them apart, because a closed socket answers with a reset. So
// a client of HTTP/1.1, which accepts any number of 100 Continue, is sent one when its answer takes
// long.
struct fin_watch {
    enum { FIN_UNSEEN, FIN_SEEN, FIN_ASKED } state;
    int64_t ask_us;
};

// The time until there is something to do though nothing has happened; NULL: none.
static struct timespec *next_look(const struct fin_watch *f, int64_t quiet_us, struct timespec *t) {
    int64_t fin_us = f->ask_us - clock_now_us(), left = quiet_us;
    fin_us = fin_us > 0 ? fin_us : 0;
    if (f->state == FIN_SEEN && (left < 0 || fin_us < left))
        left = fin_us;
    *t = (struct timespec){.tv_sec = left / 1000000, .tv_nsec = left % 1000000 * 1000};
    return left < 0 ? NULL : t;
}

static void fin_look(struct fin_watch *f, int client_fd, short revents) {
    static const char ask[] = "HTTP/1.1 100 Continue\r\n\r\n";
    if (f->state == FIN_UNSEEN && revents & POLLRDHUP) {
        *f = (struct fin_watch){FIN_SEEN, clock_now_us() + FIN_ASK_US};
    } else if (f->state == FIN_SEEN && clock_now_us() >= f->ask_us) {
        f->state = FIN_ASKED;
        (void)send(client_fd, ask, sizeof ask - 1, MSG_DONTWAIT | MSG_NOSIGNAL); // polled next
    }
}

bool http_exchange_wait(struct http_exchange *x, int client_fd, const atomic_bool *abandoned) {
    bool there = true;
    struct fin_watch fin = {.state = x->http10 ? FIN_ASKED : FIN_UNSEEN};
    pthread_mutex_lock(&x->lock);
    while (!x->answered && !(x->streaming && there)) {
        x->waiting = true;
        struct timespec time, *until = next_look(&fin, http_exchange_quiet_us(x), &time);
        pthread_mutex_unlock(&x->lock);
        // Does not wait for bytes to read, which would be a next request: the socket then reports
        // errors, a reset, the closing of both directions and, once, the client's FIN.
        struct pollfd fds[2] = {
            {.fd = x->wake_fd, .events = POLLIN},
            {.fd = client_fd, .events = fin.state == FIN_UNSEEN ? POLLRDHUP : 0}};
        int rc = ppoll(fds, there ? 2 : 1, there ? until : NULL, NULL);
        eventfd_t count;
        if (rc > 0 && fds[0].revents)
            (void)eventfd_read(x->wake_fd, &count);
        bool lost = rc > 0 && there && (fds[1].revents & ~POLLRDHUP);
        if (there && !lost)
            fin_look(&fin, client_fd, rc > 0 ? fds[1].revents : 0);
        pthread_mutex_lock(&x->lock);
        x->waiting = false;
        if (!x->answered && !x->streaming && there && (lost || atomic_load(abandoned))) {
            there = false;
            http_exchange_lose(x);
        }
        if (there && !x->streaming)
            http_exchange_tell_quiet(x);
    }
    pthread_mutex_unlock(&x->lock);
    return there;
}
