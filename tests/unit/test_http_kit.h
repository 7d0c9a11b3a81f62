// What the HTTP tests share: a server in this process with a small handler whose answers come from
// another thread, and a client that speaks raw bytes. Thread rule: client calls from the main
// thread. Routes: /echo (the body back), /see (what the handler was given), /big?N (N bytes), /now
// and /probe (answered before the handler returns), /hold (answered by kit_release), /gone
// (answered by its on_gone). Heads for /secret are refused with 401, for /small with 413 when over
// 100 bytes.
#ifndef TRINE_TESTS_TEST_HTTP_KIT_H
#define TRINE_TESTS_TEST_HTTP_KIT_H

#include "base/clock.h"
#include "base/thread.h"
#include "service/http/http.h"
#include "tests/check.h"
#include "tests/kit/await.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define KIT __attribute__((unused)) static

enum { KIT_QUEUE = 4096, KIT_ODD_US = 10000000, KIT_AWAIT_US = 30000000 };

static struct http_server *kit_server;
static atomic_int kit_handled, kit_gone_calls; // since the program's start
static atomic_int kit_odd_times;               // requests that say they arrived at another time
static pthread_mutex_t kit_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t kit_changed = PTHREAD_COND_INITIALIZER;
static struct http_request *kit_queue[KIT_QUEUE], *kit_holds[KIT_QUEUE];
static size_t kit_queued, kit_held;
static bool kit_ended;
static pthread_t kit_thread;

KIT void kit_sleep_ms(int ms) {
    struct timespec t = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000L};
    nanosleep(&t, NULL);
}

// --- time, as far as the machine had any for us ---
//
// Bars on how long something may take are held against a clock that stands still while the machine
// is busy with others: a thread of the lowest priority takes small steps, a short sleep and a
// little work, and what a step costs on a free machine is what it counts for. Under a sanitizer a
// bar is KIT_SLOW times as high.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
enum { KIT_SLOW = 4 };
#else
enum { KIT_SLOW = 1 };
#endif
enum { KIT_STEP_US = 4000, KIT_STEP_CPU_US = 200 };
static atomic_llong kit_steps;
static bool kit_stepping; // the main thread's

static int64_t kit_cpu_us(clockid_t clock) {
    struct timespec t;
    clock_gettime(clock, &t);
    return t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

static void *kit_take_steps(void *arg) {
    (void)arg;
    for (;;) {
        kit_sleep_ms((KIT_STEP_US - KIT_STEP_CPU_US) / 1000);
        int64_t begin_us = kit_cpu_us(CLOCK_THREAD_CPUTIME_ID);
        while (kit_cpu_us(CLOCK_THREAD_CPUTIME_ID) - begin_us < KIT_STEP_CPU_US)
            ;
        atomic_fetch_add(&kit_steps, 1);
    }
    return NULL;
}

KIT int64_t kit_time_us(void) {
    pthread_t thread;
    struct errmsg msg = {0};
    struct thread_options t = {.name = "steps", .nice = 19};
    if (!kit_stepping && thread_start(&thread, &t, kit_take_steps, NULL, &msg) == ERR_OK) {
        pthread_detach(thread);
        kit_stepping = true;
    }
    return atomic_load(&kit_steps) * KIT_STEP_US;
}

// True when no more than most_us have gone by since begin_us (of kit_time_us).
KIT bool kit_within(int64_t begin_us, int64_t most_us) {
    return kit_time_us() - begin_us < most_us * KIT_SLOW;
}

static void kit_answer(struct http_request *r) {
    struct http_response p = {.status = 200, .content_type = "text/plain"};
    if (strcmp(r->path, "/echo") == 0) {
        buf_append(&p.body, r->body, r->body_len);
    } else if (strcmp(r->path, "/big") == 0) {
        size_t n = r->query ? strtoul(r->query, NULL, 10) : 0;
        if (buf_reserve(&p.body, n)) {
            memset(p.body.data, 'x', n);
            p.body.len = n;
        }
    } else if (strcmp(r->path, "/see") == 0) {
        const char *color = http_request_header(r, "X-COLOR");
        buf_printf(&p.body, "method=%s path=%s query=%s body=%zu color=%s", r->method, r->path,
                   r->query ? r->query : "-", r->body_len, color ? color : "-");
        buf_puts(&p.headers, "x-extra: 1\r\n");
    } else {
        buf_puts(&p.body, "ok");
    }
    http_answer(r, &p);
}

static void *kit_answerer(void *arg) {
    (void)arg;
    pthread_mutex_lock(&kit_lock);
    for (;;) {
        while (kit_queued == 0 && !kit_ended)
            pthread_cond_wait(&kit_changed, &kit_lock);
        if (kit_queued == 0)
            break;
        struct http_request *r = kit_queue[--kit_queued];
        pthread_mutex_unlock(&kit_lock);
        kit_answer(r);
        pthread_mutex_lock(&kit_lock);
    }
    pthread_mutex_unlock(&kit_lock);
    return NULL;
}

static void kit_count_gone(struct http_request *r) {
    atomic_fetch_add(&kit_gone_calls, 1);
    if (strcmp(r->path, "/gone") == 0)
        kit_answer(r);
}

static void kit_handle(void *ctx, struct http_request *r) {
    (void)ctx;
    atomic_fetch_add(&kit_handled, 1);
    r->on_gone = kit_count_gone;
    int64_t age_us = clock_now_us() - r->arrived_us;
    if (age_us < 0 || age_us > KIT_ODD_US)
        atomic_fetch_add(&kit_odd_times, 1);
    if (strcmp(r->path, "/now") == 0 || strcmp(r->path, "/probe") == 0) {
        kit_answer(r);
        return;
    }
    pthread_mutex_lock(&kit_lock);
    if (strcmp(r->path, "/hold") == 0)
        kit_holds[kit_held++] = r;
    else if (strcmp(r->path, "/gone") != 0)
        kit_queue[kit_queued++] = r;
    pthread_cond_broadcast(&kit_changed);
    pthread_mutex_unlock(&kit_lock);
}

static void kit_check_head(void *ctx, struct http_request *r, size_t content_length,
                           struct http_response *refusal) {
    (void)ctx;
    if (strcmp(r->path, "/secret") == 0) {
        refusal->status = 401;
        buf_puts(&refusal->headers, "WWW-Authenticate: Bearer\r\n");
        buf_puts(&refusal->body, "{}");
    } else if (strcmp(r->path, "/small") == 0 && content_length > 100) {
        refusal->status = 413;
    }
}

KIT struct http_options kit_options(void) {
    return (struct http_options){.host = "127.0.0.1",
                                 .max_connections = 16,
                                 .max_body = 1 << 20,
                                 .read_timeout_ms = 10000,
                                 .write_timeout_ms = 10000,
                                 .check_head = kit_check_head,
                                 .handle = kit_handle};
}

KIT bool kit_start(struct http_options o) {
    struct errmsg msg = {0};
    CHECK_OK(http_start(&o, &kit_server, &msg), msg);
    if (!kit_server)
        return false;
    struct thread_options t = {.name = "answerer"};
    kit_ended = false;
    CHECK_OK(thread_start(&kit_thread, &t, kit_answerer, NULL, &msg), msg);
    return true;
}

// Waits for n requests to be held.
KIT bool kit_await_held(size_t n) {
    int64_t end_us = clock_now_us() + KIT_AWAIT_US;
    for (;;) {
        pthread_mutex_lock(&kit_lock);
        size_t held = kit_held;
        pthread_mutex_unlock(&kit_lock);
        if (held >= n || clock_now_us() > end_us)
            return held == n;
        kit_sleep_ms(1);
    }
}

KIT void kit_release(void) {
    pthread_mutex_lock(&kit_lock);
    memcpy(kit_queue + kit_queued, kit_holds, kit_held * sizeof kit_holds[0]);
    kit_queued += kit_held;
    kit_held = 0;
    pthread_cond_broadcast(&kit_changed);
    pthread_mutex_unlock(&kit_lock);
}

// One request out of those held, whose answer is the caller's business from now on.
KIT struct http_request *kit_take_held(void) {
    pthread_mutex_lock(&kit_lock);
    struct http_request *r = kit_held ? kit_holds[--kit_held] : NULL;
    pthread_mutex_unlock(&kit_lock);
    return r;
}

// Returns how long http_stop took, as kit_time_us has it.
KIT int64_t kit_stop(int64_t timeout_us) {
    int64_t begin_us = kit_time_us();
    http_stop(kit_server, timeout_us);
    int64_t took_us = (kit_time_us() - begin_us) / KIT_SLOW;
    pthread_mutex_lock(&kit_lock);
    kit_ended = true;
    pthread_cond_broadcast(&kit_changed);
    pthread_mutex_unlock(&kit_lock);
    pthread_join(kit_thread, NULL);
    kit_server = NULL;
    return took_us;
}

struct reply {
    int status; // 0: none came
    char head[4096];
    size_t body_len;
    char body[8192]; // its beginning, NUL behind
    bool keep_alive;
};

KIT int kit_dial_port(int port) {
    int fd = socket(AF_INET, SOCK_STREAM, 0), on = 1;
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((unsigned short)port)};
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (connect(fd, (struct sockaddr *)&a, sizeof a) != 0) {
        close(fd);
        return -1;
    }
    return fd;
}

KIT int kit_dial(void) { return kit_dial_port(http_port(kit_server)); }

// Stops quietly when the server has closed: the answer tells.
KIT void kit_send_n(int fd, const char *bytes, size_t n) {
    while (n > 0) {
        ssize_t sent = send(fd, bytes, n, MSG_NOSIGNAL);
        if (sent <= 0)
            return;
        bytes += sent;
        n -= (size_t)sent;
    }
}

KIT void kit_send(int fd, const char *bytes) { kit_send_n(fd, bytes, strlen(bytes)); }

// At most n bytes within the time left; 0 at the end of the stream, -1 on time-out or reset.
static ssize_t kit_read(int fd, char *bytes, size_t n, int64_t end_us) {
    int64_t left_us = end_us - clock_now_us();
    struct pollfd p = {.fd = fd, .events = POLLIN};
    if (left_us <= 0 || poll(&p, 1, (int)(left_us / 1000) + 1) <= 0) {
        errno = ETIMEDOUT;
        return -1;
    }
    return read(fd, bytes, n);
}

// Everything until `end` is seen, or the connection's end where that is NULL.
KIT bool kit_read_until(int fd, char *out, size_t size, const char *end) {
    size_t n = 0;
    int64_t end_us = clock_now_us() + KIT_AWAIT_US;
    for (out[0] = '\0'; n + 1 < size; out[n] = '\0') {
        if (end && strstr(out, end))
            return true;
        ssize_t got = kit_read(fd, out + n, 1, end_us);
        if (got <= 0)
            return got == 0 && !end;
        n++;
    }
    return end && strstr(out, end);
}

// A client that takes next to nothing of what it asks for: its receive buffer has so many bytes.
KIT int kit_dial_small(int bytes) {
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof bytes);
    struct sockaddr_in a = {.sin_family = AF_INET,
                            .sin_port = htons((unsigned short)http_port(kit_server))};
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    CHECK(connect(fd, (struct sockaddr *)&a, sizeof a) == 0);
    return fd;
}

// Writes to a stream whose reader stands still: until what waits still waits a while later, and not
// only for the socket's thread.
KIT void kit_fill(struct http_request *r) {
    static char bytes[65536];
    for (int i = 0; i < 200 && http_stream_write(r, "", 0) < 200000; i++) {
        while (http_stream_write(r, bytes, sizeof bytes) < 200000 && !atomic_load(&r->gone))
            kit_sleep_ms(2);
        kit_sleep_ms(50);
    }
}

// Reads one answer by its Content-Length (none for the answer to HEAD); its status, 0 for none.
KIT int kit_reply_to(int fd, struct reply *r, bool head_request, int timeout_ms) {
    int64_t end_us = clock_now_us() + (int64_t)timeout_ms * 1000;
    *r = (struct reply){0};
    size_t n = 0;
    while (n < 4 || memcmp(r->head + n - 4, "\r\n\r\n", 4) != 0) {
        if (n + 1 >= sizeof r->head || kit_read(fd, r->head + n, 1, end_us) != 1)
            return 0;
        n++;
    }
    r->status = atoi(r->head + strlen("HTTP/1.1 "));
    r->keep_alive = strstr(r->head, "\r\nConnection: keep-alive\r\n") != NULL;
    const char *length = strstr(r->head, "\r\nContent-Length: ");
    size_t want = length && !head_request ? strtoul(length + 18, NULL, 10) : 0;
    while (r->body_len < want) {
        char skipped[65536];
        size_t room = sizeof skipped < want - r->body_len ? sizeof skipped : want - r->body_len;
        ssize_t got = kit_read(fd, skipped, room, end_us);
        if (got <= 0)
            return r->status = 0;
        if (r->body_len < sizeof r->body - 1) {
            size_t kept = sizeof r->body - 1 - r->body_len;
            memcpy(r->body + r->body_len, skipped, (size_t)got < kept ? (size_t)got : kept);
        }
        r->body_len += (size_t)got;
    }
    return r->status;
}

KIT int kit_reply(int fd, struct reply *r) { return kit_reply_to(fd, r, false, 30000); }

// True when the server ends the connection within timeout_ms of kit_time_us, and sends nothing
// before.
KIT bool kit_closed(int fd, int timeout_ms) {
    char byte;
    int64_t begin_us = kit_time_us();
    ssize_t n;
    do
        n = kit_read(fd, &byte, 1, clock_now_us() + 20000);
    while (n < 0 && errno == ETIMEDOUT && kit_within(begin_us, (int64_t)timeout_ms * 1000));
    return n == 0 || (n < 0 && errno == ECONNRESET);
}

// Dials, sends, reads one answer; its status. When it is an error of http/ itself, its code is in
// *code (static until the next call) and the connection must end.
KIT int kit_ask(const char *bytes, size_t n, const char **code) {
    static char kept[64];
    struct reply r;
    int fd = kit_dial();
    kit_send_n(fd, bytes, n);
    kit_reply(fd, &r);
    const char *at = strstr(r.body, "\"code\":\"");
    snprintf(kept, sizeof kept, "%.*s", at ? (int)strcspn(at + 8, "\"") : 0, at ? at + 8 : "");
    *code = kept;
    if (at && (strstr(r.body, "\"param\":null") == NULL ||
               strstr(r.head, "Content-Type: application/json\r\n") == NULL ||
               strstr(r.head, "Connection: close\r\n") == NULL || !kit_closed(fd, 3000)))
        *code = "(not an error of ours, or the connection stayed open)";
    close(fd);
    return r.status;
}

#endif
