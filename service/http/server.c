// See server.h.
#include "service/http/server.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/thread.h"

#include <sys/random.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

enum {
    IDLE_DRAIN_US = 1000000, // so long a drain waits for a request on an idle connection
    UNREAD_MAX = 256 << 20
};

static enum err make_exchanges(struct http_server *s, struct errmsg *msg) {
    s->thread_count = s->options.max_connections + HTTP_SPARE;
    s->threads = mem_calloc(s->thread_count, sizeof *s->threads);
    s->holds = mem_calloc(s->thread_count, sizeof(struct http_hold *));
    if (!s->threads || !s->holds)
        return err_set(msg, ERR_NOMEM, "no memory for %zu connections", s->options.max_connections);
    for (size_t i = 0; i < s->thread_count; i++) {
        struct http_thread *t = &s->threads[i];
        t->server = s;
        t->socket =
            (struct http_socket){.gate = &s->gate,
                                 .fd = -1,
                                 .read_timeout_us = (int64_t)s->options.read_timeout_ms * 1000};
        enum err e = http_exchange_init(&t->x, msg);
        if (e != ERR_OK) {
            struct errmsg why = *msg;
            return err_set(msg, e,
                           "%s (number %zu of %zu); raise the limit of files (ulimit -n) or lower "
                           "--max-connections",
                           why.text, i + 1, s->thread_count);
        }
        t->socket.hold.wake_fd = t->x.wake_fd;
        s->holds[i] = &t->socket.hold;
        s->exchanges_ready++;
    }
    s->gate.holds = s->holds;
    s->gate.hold_count = s->thread_count;
    return ERR_OK;
}

void http_server_free(struct http_server *s) {
    for (size_t i = 0; i < s->exchanges_ready; i++)
        http_exchange_free(&s->threads[i].x);
    mem_free(s->threads);
    mem_free(s->holds);
    http_gate_close(&s->gate);
    pthread_cond_destroy(&s->changed);
    pthread_mutex_destroy(&s->lock);
    mem_free(s);
}

// A connection takes two files (its socket and its thread's event). The soft limit is often 1,024
// for the sake of programs that use select(2); this one may raise it.
static void raise_file_limit(size_t connections) {
    struct rlimit files;
    rlim_t need = 2 * (rlim_t)(connections + HTTP_SPARE) + HTTP_PARKED_MAX + 256;
    if (getrlimit(RLIMIT_NOFILE, &files) != 0 || files.rlim_cur >= need)
        return;
    files.rlim_cur = need < files.rlim_max ? need : files.rlim_max;
    (void)setrlimit(RLIMIT_NOFILE, &files);
    if (files.rlim_cur < need)
        log_event(LOG_LEVEL_WARN, "file_limit",
                  LOG_FIELDS(log_size("connections", connections), log_int("files", (int64_t)need),
                             log_int("limit", (int64_t)files.rlim_cur)),
                  "http: %zu connections need %llu files, the limit is %llu; raise it (ulimit -n) "
                  "or lower --max-connections",
                  connections, (unsigned long long)need, (unsigned long long)files.rlim_cur);
}

enum err http_server_new(const struct http_options *options, struct http_server **out,
                         struct errmsg *msg) {
    raise_file_limit(options->max_connections);
    *out = NULL;
    struct http_server *s = mem_calloc(1, sizeof *s);
    if (!s)
        return err_set(msg, ERR_NOMEM, "no memory for the HTTP server");
    s->options = *options;
    if (getrandom(&s->id_salt, sizeof s->id_salt, 0) != sizeof s->id_salt)
        s->id_salt = (uint64_t)clock_now_us() ^ (uint64_t)getpid() << 32;
    pthread_mutex_init(&s->lock, NULL);
    enum err e = thread_cond_init(&s->changed);
    if (e != ERR_OK) {
        pthread_mutex_destroy(&s->lock);
        mem_free(s);
        return err_set(msg, e, "no memory for the HTTP server");
    }
    e = http_gate_open(&s->gate, options->max_connections, msg);
    s->gate.unread_max = options->max_unread ? options->max_unread : UNREAD_MAX;
    if (e == ERR_OK)
        e = make_exchanges(s, msg);
    if (e != ERR_OK) {
        http_server_free(s);
        return e;
    }
    s->acceptor.server = s;
    s->acceptor.socket = (struct http_socket){.gate = &s->gate, .acceptor = true, .fd = -1};
    *out = s;
    return ERR_OK;
}

int http_port(const struct http_server *s) { return s->port; }

void http_drain_begin(struct http_server *s) { atomic_store(&s->draining, true); }

void http_server_nap(void) {
    struct timespec t = {.tv_nsec = 5000000};
    nanosleep(&t, NULL);
}

bool http_drain(struct http_server *s, int64_t until_us) {
    struct http_gate *g = &s->gate;
    http_drain_begin(s);
    http_gate_shut(g);
    while (atomic_load(&g->stage) != HTTP_GATE_CLOSED && clock_now_us() < until_us)
        http_server_nap();
    // No connection comes any more. Those that are here end with their next answer, or after a
    // while without a request.
    int64_t idle_us = clock_now_us() + IDLE_DRAIN_US;
    http_gate_end_idle(g, idle_us < until_us ? idle_us : until_us);
    while (atomic_load(&g->open) > 0 && clock_now_us() < until_us)
        http_server_nap();
    return atomic_load(&g->open) == 0;
}

size_t http_in_progress(const struct http_server *s) { return atomic_load(&s->in_progress); }

bool http_server_await(struct http_server *s, int64_t timeout_us) {
    int64_t deadline_us = clock_now_us() + timeout_us;
    pthread_mutex_lock(&s->lock);
    while (atomic_load(&s->in_progress) > 0)
        if (!thread_cond_wait_until(&s->changed, &s->lock, deadline_us))
            break;
    pthread_mutex_unlock(&s->lock);
    return atomic_load(&s->in_progress) == 0;
}

bool http_is_unread(const struct http_server *s) {
    return atomic_load(&s->gate.unread) > s->gate.unread_max;
}

struct http_stats http_read_stats(const struct http_server *s) {
    return (struct http_stats){.requests = atomic_load(&s->requests),
                               .refused_connections = atomic_load(&s->gate.refused),
                               .bad_framing = atomic_load(&s->bad_framing),
                               .let_go_connections = atomic_load(&s->gate.let_go),
                               .client_gone = atomic_load(&s->client_gone),
                               .write_failed = atomic_load(&s->write_failed),
                               .open_connections = atomic_load(&s->gate.open),
                               .unread_bytes = atomic_load(&s->gate.unread)};
}
