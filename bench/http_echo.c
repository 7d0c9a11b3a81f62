// What the HTTP layer costs: servers that answer every POST with the same bytes, to be loaded with
// http_load. `handoff` is the service's own layer with the answer given by another thread, as the
// service does it; `inline` the same with the answer given on the socket thread; `epoll` the least
// that a server can do: one thread, no checks, head and body in one send.
// Usage: http_echo handoff|inline|epoll PORT BYTES SECONDS   (loopback; PORT is printed when ready)
#include "base/clock.h"
#include "base/thread.h"
#include "service/http/http.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { MAX_BYTES = 1 << 20, MAX_SECONDS = 600, MAX_WAITING = 1024, MAX_FDS = 4096 };

static char answer[MAX_BYTES];
static size_t answer_bytes;

static struct {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct http_request *waiting[MAX_WAITING];
    size_t head, tail;
    bool ended;
} line = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

static void reply(struct http_request *r) {
    struct http_response p = {.status = 200, .content_type = "application/json"};
    buf_append(&p.body, answer, answer_bytes);
    http_answer(r, &p);
}

static void handle_inline(void *ctx, struct http_request *r) {
    (void)ctx;
    reply(r);
}

static void handle_handoff(void *ctx, struct http_request *r) {
    (void)ctx;
    pthread_mutex_lock(&line.lock);
    line.waiting[line.head++ % MAX_WAITING] = r;
    pthread_cond_signal(&line.changed);
    pthread_mutex_unlock(&line.lock);
}

static void *answerer(void *arg) {
    (void)arg;
    pthread_mutex_lock(&line.lock);
    for (;;) {
        while (line.head == line.tail && !line.ended)
            pthread_cond_wait(&line.changed, &line.lock);
        if (line.head == line.tail)
            break;
        struct http_request *r = line.waiting[line.tail++ % MAX_WAITING];
        pthread_mutex_unlock(&line.lock);
        reply(r);
        pthread_mutex_lock(&line.lock);
    }
    pthread_mutex_unlock(&line.lock);
    return NULL;
}

static void sleep_s(int seconds) {
    struct timespec t = {.tv_sec = seconds};
    while (nanosleep(&t, &t) != 0 && errno == EINTR) {
    }
}

static int serve_ours(bool handoff, int port, int seconds) {
    struct http_options o = {.host = "127.0.0.1",
                             .port = port,
                             .max_connections = MAX_WAITING,
                             .max_body = 32 << 20,
                             .read_timeout_ms = 30000,
                             .write_timeout_ms = 10000,
                             .handle = handoff ? handle_handoff : handle_inline};
    struct http_server *s;
    struct errmsg msg;
    pthread_t thread;
    struct thread_options t = {.name = "answerer"};
    if (http_start(&o, &s, &msg) != ERR_OK ||
        thread_start(&thread, &t, answerer, NULL, &msg) != ERR_OK) {
        fprintf(stderr, "http_echo: %s\n", msg.text);
        return 1;
    }
    printf("%d\n", http_port(s));
    fflush(stdout);
    sleep_s(seconds);
    http_stop(s, 2000000);
    pthread_mutex_lock(&line.lock);
    line.ended = true;
    pthread_cond_broadcast(&line.changed);
    pthread_mutex_unlock(&line.lock);
    pthread_join(thread, NULL);
    return 0;
}

// Enough HTTP for http_load's requests: the head's end, then Content-Length's bytes.
struct peer {
    char bytes[16384];
    size_t len;
};

static void answer_peer(int fd, struct peer *p, const char *head, size_t head_len) {
    p->bytes[p->len] = '\0';
    const char *end = strstr(p->bytes, "\r\n\r\n");
    const char *length = strstr(p->bytes, "Content-Length: ");
    if (!end)
        return;
    size_t body = length && length < end ? strtoul(length + 16, NULL, 10) : 0;
    if (p->len < (size_t)(end + 4 - p->bytes) + body)
        return;
    p->len = 0;
    struct iovec parts[2] = {{(char *)head, head_len}, {answer, answer_bytes}};
    struct msghdr m = {.msg_iov = parts, .msg_iovlen = 2};
    (void)sendmsg(fd, &m, MSG_NOSIGNAL);
}

static int serve_epoll(int port, int seconds) {
    static struct peer *peers[MAX_FDS];
    int listener = socket(AF_INET, SOCK_STREAM, 0), on = 1, ep = epoll_create1(0);
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t len = sizeof a;
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(listener, (struct sockaddr *)&a, sizeof a) != 0 || listen(listener, 1024) != 0 ||
        getsockname(listener, (struct sockaddr *)&a, &len) != 0) {
        perror("http_echo");
        return 1;
    }
    printf("%d\n", ntohs(a.sin_port));
    fflush(stdout);
    char head[256];
    int head_len = snprintf(head, sizeof head,
                            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
                            "Connection: keep-alive\r\nContent-Length: %zu\r\n\r\n",
                            answer_bytes);
    struct epoll_event e = {.events = EPOLLIN, .data.fd = listener};
    epoll_ctl(ep, EPOLL_CTL_ADD, listener, &e);
    int64_t end_us = clock_now_us() + (int64_t)seconds * 1000000;
    while (clock_now_us() < end_us) {
        struct epoll_event events[256];
        int n = epoll_wait(ep, events, 256, 200);
        for (int i = 0; i < n; i++) {
            int fd = events[i].data.fd;
            if (fd == listener) {
                int client = accept(listener, NULL, NULL);
                if (client < 0 || client >= MAX_FDS)
                    continue;
                setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
                peers[client] = peers[client] ? peers[client] : calloc(1, sizeof(struct peer));
                e = (struct epoll_event){.events = EPOLLIN, .data.fd = client};
                epoll_ctl(ep, EPOLL_CTL_ADD, client, &e);
                continue;
            }
            struct peer *p = peers[fd];
            ssize_t got = recv(fd, p->bytes + p->len, sizeof p->bytes - 1 - p->len, 0);
            if (got <= 0) {
                p->len = 0;
                close(fd);
                continue;
            }
            p->len += (size_t)got;
            answer_peer(fd, p, head, (size_t)head_len);
        }
    }
    return 0;
}

int main(int argc, char **argv) {
    int port = argc == 5 ? atoi(argv[2]) : -1, seconds = argc == 5 ? atoi(argv[4]) : 0;
    answer_bytes = argc == 5 ? strtoul(argv[3], NULL, 10) : 0;
    if (port < 0 || seconds < 1 || seconds > MAX_SECONDS || answer_bytes > MAX_BYTES) {
        fprintf(stderr, "usage: http_echo handoff|inline|epoll PORT BYTES SECONDS\n");
        return 2;
    }
    signal(SIGPIPE, SIG_IGN);
    memset(answer, '1', answer_bytes);
    if (strcmp(argv[1], "epoll") == 0)
        return serve_epoll(port, seconds);
    return serve_ours(strcmp(argv[1], "handoff") == 0, port, seconds);
}
