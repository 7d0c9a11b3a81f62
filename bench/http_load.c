// A load generator for HTTP on this machine: keep-alive connections, one request in flight on each,
// from one thread. Role: req/s and latency percentiles of a server, ours or a peer's; it judges
// nothing but the status. It speaks to loopback addresses only and always ends: at most 1,024
// connections, 10 million requests, 600 seconds.
// Usage: http_load --url http://127.0.0.1:8080/path [--connections N] [--requests N | --seconds S]
//                  [--body FILE | --lines FILE --template '{"input":%s}'] [--header 'name: value']
//                  [--json]
// --lines makes one request of each line: %s in the template becomes the line as a JSON string.
// Exit: 0, 1 when any request failed or was not answered with 200, 2 for a wrong usage.
#include "base/buf.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/json.h"
#include "base/mem.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    MAX_CONNECTIONS = 1024,
    MAX_REQUESTS = 10000000,
    MAX_SECONDS = 600,
    HEAD_MAX = 8192,
    ANSWER_TIMEOUT_US = 120000000,
};

struct options {
    char host[64], path[512];
    int port;
    size_t connections, requests;
    double seconds;
    const char *body_file, *lines_file, *template;
    struct buf headers;
    bool json;
};

struct payloads {
    struct buf *all; // [count] whole requests, head and body
    size_t count;
};

struct connection {
    int fd;
    bool awaits_room; // epoll also watches for room to send
    size_t sent;      // of its request
    const struct buf *request;
    int64_t begin_us;
    char head[HEAD_MAX]; // of the answer, until it is whole
    size_t head_len, body_left;
    bool head_whole, closing;
    int status;
};

struct run {
    const struct options *options;
    struct payloads payloads;
    struct sockaddr_in address;
    struct connection *connections;
    int epoll;
    size_t started, finished, in_flight, not_200, failed;
    uint64_t answer_bytes;
    uint32_t *latency_us; // [finished]
    size_t latency_cap;
    int64_t end_us; // no request starts after it
};

static void usage(const char *why) {
    fprintf(stderr,
            "http_load: %s\nusage: http_load --url http://127.0.0.1:8080/path [--connections N] "
            "[--requests N | --seconds S]\n    [--body FILE | --lines FILE --template "
            "'{\"input\":%%s}'] [--header 'name: value'] [--json]\n",
            why);
    exit(2);
}

static void parse_url(const char *url, struct options *o) {
    int port = 80, used = 0;
    if (sscanf(url, "http://%63[0-9a-zA-Z.]%n", o->host, &used) != 1)
        usage("--url must be http://HOST[:PORT]/PATH");
    const char *rest = url + used;
    if (*rest == ':') {
        char *end;
        long p = strtol(rest + 1, &end, 10);
        port = p > 0 && p < 65536 ? (int)p : 0;
        rest = end;
    }
    if (port == 0 || (*rest && *rest != '/'))
        usage("--url must be http://HOST[:PORT]/PATH");
    o->port = port;
    snprintf(o->path, sizeof o->path, "%s", *rest ? rest : "/");
    if (strcmp(o->host, "localhost") == 0)
        snprintf(o->host, sizeof o->host, "127.0.0.1");
    if (strncmp(o->host, "127.", 4) != 0)
        usage("only loopback addresses (127.x.x.x, localhost)");
}

static void parse_options(int argc, char **argv, struct options *o) {
    *o = (struct options){.connections = 1};
    for (int i = 1; i < argc; i++) {
        const char *name = argv[i];
        if (strcmp(name, "--json") == 0) {
            o->json = true;
            continue;
        }
        const char *value = ++i < argc ? argv[i] : NULL;
        if (!value)
            usage("an option lacks its value");
        if (strcmp(name, "--url") == 0)
            parse_url(value, o);
        else if (strcmp(name, "--connections") == 0)
            o->connections = strtoul(value, NULL, 10);
        else if (strcmp(name, "--requests") == 0)
            o->requests = strtoul(value, NULL, 10);
        else if (strcmp(name, "--seconds") == 0)
            o->seconds = strtod(value, NULL);
        else if (strcmp(name, "--body") == 0)
            o->body_file = value;
        else if (strcmp(name, "--lines") == 0)
            o->lines_file = value;
        else if (strcmp(name, "--template") == 0)
            o->template = value;
        else if (strcmp(name, "--header") == 0)
            buf_printf(&o->headers, "%s\r\n", value);
        else
            usage(name);
    }
    if (!o->port)
        usage("--url is missing");
    if (o->connections < 1 || o->connections > MAX_CONNECTIONS)
        usage("--connections must be 1 to 1024");
    if (o->requests == 0 && o->seconds <= 0)
        o->seconds = 5;
    if (o->requests > MAX_REQUESTS || o->seconds > MAX_SECONDS || o->seconds < 0)
        usage("at most 10000000 requests and 600 seconds");
    if (!o->lines_file != !o->template || (o->lines_file && o->body_file))
        usage("give --body FILE, or --lines FILE with --template TEXT, or neither");
    if (o->template && !strstr(o->template, "%s"))
        usage("--template needs a %s");
}

static bool add_payload(const struct options *o, struct payloads *p, const char *body, size_t n) {
    struct buf *all = mem_realloc(p->all, p->count + 1, sizeof *all);
    if (!all)
        return false;
    p->all = all;
    struct buf *b = &p->all[p->count];
    *b = (struct buf){0};
    buf_printf(b, "%s %s HTTP/1.1\r\nHost: %s:%d\r\n", body ? "POST" : "GET", o->path, o->host,
               o->port);
    if (body)
        buf_printf(b, "Content-Type: application/json\r\nContent-Length: %zu\r\n", n);
    if (o->headers.len)
        buf_append(b, o->headers.data, o->headers.len);
    buf_puts(b, "\r\n");
    if (body)
        buf_append(b, body, n);
    p->count++;
    return !b->failed;
}

static bool make_payloads(const struct options *o, struct payloads *p) {
    if (!o->body_file && !o->lines_file)
        return add_payload(o, p, NULL, 0);
    struct errmsg msg = {0};
    char *text;
    size_t len;
    if (file_read(o->lines_file ? o->lines_file : o->body_file, (size_t)1 << 30, &text, &len,
                  &msg) != ERR_OK) {
        fprintf(stderr, "http_load: %s\n", msg.text);
        return false;
    }
    bool ok = true;
    if (o->body_file) {
        ok = add_payload(o, p, text, len);
    } else {
        const char *hole = strstr(o->template, "%s");
        for (size_t at = 0; ok && at < len && p->count < MAX_REQUESTS;) {
            size_t n = strcspn(text + at, "\r\n");
            struct buf body = {0};
            buf_append(&body, o->template, (size_t)(hole - o->template));
            json_quote(&body, text + at, n);
            buf_puts(&body, hole + 2);
            if (n > 0)
                ok = !body.failed && add_payload(o, p, body.data, body.len);
            buf_free(&body);
            at += n + 1;
        }
    }
    mem_free(text);
    if (ok && p->count == 0)
        fprintf(stderr, "http_load: no line in %s\n", o->lines_file);
    return ok && p->count > 0;
}

static bool dial(struct run *r, struct connection *c) {
    int on = 1;
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (c->fd < 0)
        return false;
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (connect(c->fd, (struct sockaddr *)&r->address, sizeof r->address) != 0 ||
        fcntl(c->fd, F_SETFL, O_NONBLOCK) != 0) {
        close(c->fd);
        c->fd = -1;
        return false;
    }
    c->awaits_room = false;
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = c};
    return epoll_ctl(r->epoll, EPOLL_CTL_ADD, c->fd, &e) == 0;
}

static void push(struct run *r, struct connection *c) {
    while (c->sent < c->request->len) {
        ssize_t n =
            send(c->fd, c->request->data + c->sent, c->request->len - c->sent, MSG_NOSIGNAL);
        if (n <= 0)
            break;
        c->sent += (size_t)n;
    }
    bool more = c->sent < c->request->len && errno == EAGAIN;
    if (more == c->awaits_room)
        return;
    struct epoll_event e = {.events = EPOLLIN | (more ? EPOLLOUT : 0), .data.ptr = c};
    if (epoll_ctl(r->epoll, EPOLL_CTL_MOD, c->fd, &e) == 0)
        c->awaits_room = more;
}

// False when there is nothing left to start.
static bool start_request(struct run *r, struct connection *c) {
    int64_t now_us = clock_now_us();
    if ((r->options->requests && r->started >= r->options->requests) || now_us >= r->end_us ||
        r->started >= MAX_REQUESTS)
        return false;
    if (c->fd < 0 && !dial(r, c)) {
        r->started++;
        r->failed++;
        return false; // this connection has ended; the others go on
    }
    r->in_flight += c->request == NULL;
    c->request = &r->payloads.all[r->started++ % r->payloads.count];
    c->sent = c->head_len = c->body_left = 0;
    c->head_whole = c->closing = false;
    c->begin_us = now_us;
    push(r, c);
    return true;
}

static void drop(struct run *r, struct connection *c) {
    if (c->fd >= 0)
        close(c->fd);
    r->in_flight -= c->request != NULL;
    c->fd = -1;
    c->request = NULL;
}

static void finish_request(struct run *r, struct connection *c) {
    int64_t took_us = clock_now_us() - c->begin_us;
    if (r->finished == r->latency_cap) {
        size_t cap = r->latency_cap ? r->latency_cap * 2 : 65536;
        uint32_t *grown = mem_realloc(r->latency_us, cap, sizeof *grown);
        if (!grown) {
            fprintf(stderr, "http_load: out of memory\n");
            exit(1);
        }
        r->latency_us = grown;
        r->latency_cap = cap;
    }
    r->latency_us[r->finished++] = (uint32_t)took_us;
    r->not_200 += c->status != 200;
    if (c->closing)
        drop(r, c);
    if (!start_request(r, c))
        drop(r, c);
}

static void fail_request(struct run *r, struct connection *c) {
    r->failed++;
    drop(r, c);
    (void)start_request(r, c);
}

// The head has ended at c->head_len.
static bool read_head(struct connection *c) {
    c->head[c->head_len] = '\0';
    c->head_whole = true;
    if (strncmp(c->head, "HTTP/1.1 ", 9) != 0)
        return false;
    c->status = atoi(c->head + 9);
    bool has_length = false;
    for (char *line = strstr(c->head, "\r\n"); line; line = strstr(line + 2, "\r\n")) {
        if (strncasecmp(line + 2, "content-length:", 15) == 0) {
            c->body_left = strtoul(line + 17, NULL, 10);
            has_length = true;
        } else if (strncasecmp(line + 2, "connection: close", 17) == 0) {
            c->closing = true;
        }
    }
    return has_length;
}

// True when the answer is whole; *ok false when the connection is of no use.
static bool pull(struct run *r, struct connection *c, bool *ok) {
    static char bytes[1 << 18];
    for (;;) {
        ssize_t n = recv(c->fd, bytes, sizeof bytes, 0);
        if (n <= 0) {
            *ok = n < 0 && errno == EAGAIN;
            return false;
        }
        r->answer_bytes += (uint64_t)n;
        size_t at = 0, len = (size_t)n;
        while (!c->head_whole && at < len) {
            if (c->head_len + 1 >= HEAD_MAX) {
                *ok = false;
                return false;
            }
            c->head[c->head_len++] = bytes[at++];
            if (c->head_len >= 4 && memcmp(c->head + c->head_len - 4, "\r\n\r\n", 4) == 0 &&
                !read_head(c)) {
                *ok = false;
                return false;
            }
        }
        if (!c->head_whole)
            continue;
        if (len - at > c->body_left) {
            *ok = false; // more than was announced
            return false;
        }
        c->body_left -= len - at;
        if (c->body_left == 0)
            return true;
    }
}

// False when nothing happened for a while.
static bool serve_events(struct run *r) {
    struct epoll_event events[256];
    int n = epoll_wait(r->epoll, events, 256, 100);
    for (int i = 0; i < n; i++) {
        struct connection *c = events[i].data.ptr;
        if (!c->request)
            continue;
        if (events[i].events & EPOLLOUT)
            push(r, c);
        bool ok = true;
        if (!(events[i].events & ~(uint32_t)EPOLLOUT))
            continue;
        if (pull(r, c, &ok))
            finish_request(r, c);
        else if (!ok)
            fail_request(r, c);
    }
    return n != 0;
}

static void fail_late(struct run *r) {
    int64_t late_us = clock_now_us() - ANSWER_TIMEOUT_US;
    for (size_t i = 0; i < r->options->connections; i++)
        if (r->connections[i].request && r->connections[i].begin_us < late_us)
            fail_request(r, &r->connections[i]);
}

static int by_value(const void *a, const void *b) {
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static double percentile_ms(const struct run *r, double share) {
    if (r->finished == 0)
        return 0;
    size_t at = (size_t)((double)(r->finished - 1) * share);
    return r->latency_us[at] / 1000.0;
}

static void report(struct run *r, double seconds, double cpu_seconds) {
    qsort(r->latency_us, r->finished, sizeof *r->latency_us, by_value);
    double p50 = percentile_ms(r, .5), p90 = percentile_ms(r, .9), p99 = percentile_ms(r, .99),
           most = percentile_ms(r, 1), rate = (double)r->finished / seconds,
           cpu = 100 * cpu_seconds / seconds;
    if (r->options->json)
        printf("{\"connections\":%zu,\"requests\":%zu,\"seconds\":%.3f,\"req_per_s\":%.1f,"
               "\"p50_ms\":%.3f,\"p90_ms\":%.3f,\"p99_ms\":%.3f,\"max_ms\":%.3f,\"not_200\":%zu,"
               "\"failed\":%zu,\"answer_mb_per_s\":%.1f,\"client_cpu_percent\":%.0f}\n",
               r->options->connections, r->finished, seconds, rate, p50, p90, p99, most, r->not_200,
               r->failed, (double)r->answer_bytes / 1e6 / seconds, cpu);
    else
        printf("%zu connections, %zu requests in %.2f s: %.0f req/s, p50 %.3f p90 %.3f p99 %.3f "
               "max %.3f ms, %zu not 200, %zu failed, %.1f MB/s, own CPU %.0f %%\n",
               r->options->connections, r->finished, seconds, rate, p50, p90, p99, most, r->not_200,
               r->failed, (double)r->answer_bytes / 1e6 / seconds, cpu);
}

static double own_cpu_seconds(void) {
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
           (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

int main(int argc, char **argv) {
    struct options o;
    parse_options(argc, argv, &o);
    struct run r = {.options = &o, .epoll = epoll_create1(EPOLL_CLOEXEC)};
    r.address = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons((uint16_t)o.port)};
    if (inet_pton(AF_INET, o.host, &r.address.sin_addr) != 1)
        usage("the host is not an address");
    if (!make_payloads(&o, &r.payloads))
        return 1;
    r.connections = mem_calloc(o.connections, sizeof *r.connections);
    if (!r.connections || r.epoll < 0) {
        fprintf(stderr, "http_load: cannot start: %s\n", strerror(errno));
        return 1;
    }
    double cpu = own_cpu_seconds();
    int64_t begin_us = clock_now_us();
    r.end_us = begin_us + (int64_t)(1e6 * (o.seconds > 0 ? o.seconds : MAX_SECONDS));
    for (size_t i = 0; i < o.connections; i++) {
        r.connections[i].fd = -1;
        (void)start_request(&r, &r.connections[i]);
    }
    while (r.in_flight > 0)
        if (!serve_events(&r))
            fail_late(&r);
    report(&r, (double)(clock_now_us() - begin_us) / 1e6, own_cpu_seconds() - cpu);
    for (size_t i = 0; i < r.payloads.count; i++)
        buf_free(&r.payloads.all[i]);
    mem_free(r.payloads.all);
    mem_free(r.connections);
    mem_free(r.latency_us);
    buf_free(&o.headers);
    close(r.epoll);
    return r.failed || r.not_200 || r.finished == 0 ? 1 : 0;
}
