// The start and the stop of http.h's server: the address, civetweb's threads, and what stops them.
#include "service/http/http.h"

#include "base/clock.h"
#include "base/crash.h"
#include "base/fault.h"
#include "base/log.h"
#include "base/thread.h"
#include "service/http/server.h"

#include <arpa/inet.h>
#include <civetweb.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

enum {
    HEAD_BYTES = 16384,           // a head's limit: civetweb's buffer for one connection
    WORKER_START_US = 10000000,   // all of civetweb's threads have started within it
    PARKED_US = 600000,           // at stop: for the clients of refused connections
    CANCELLED_ANSWER_US = 2000000 // at stop: from on_gone to the answers
};

static int on_message(const struct mg_connection *conn, const char *words) {
    struct http_server *s = mg_get_user_data(mg_get_context(conn));
    pthread_mutex_lock(&s->lock);
    // The first message is the cause ("cannot bind to ..."); the others are its consequences.
    if (!s->complaint[0])
        snprintf(s->complaint, sizeof s->complaint, "%s", words);
    if (strstr(words, "Cannot start worker thread"))
        s->thread_missing = true;
    pthread_mutex_unlock(&s->lock);
    log_debug("civetweb: %s", words);
    return 1;
}

static struct mg_context *start_civetweb(struct http_server *s) {
    const struct http_options *o = &s->options;
    char address[300], threads[24], day[] = "86400000", head[24];
    bool v6 = strchr(o->host, ':') != NULL;
    const char *host = strcmp(o->host, "localhost") == 0 ? "127.0.0.1" : o->host;
    snprintf(address, sizeof address, v6 ? "[%s]:%d" : "%s:%d", host, o->port);
    snprintf(threads, sizeof threads, "%zu", s->thread_count);
    snprintf(head, sizeof head, "%d", HEAD_BYTES);
    const char *options[] = {"listening_ports", address, "num_threads", threads,
                             // never full, for accept lets no more connections in than threads
                             "connection_queue", threads, "listen_backlog", "1024", "tcp_nodelay",
                             "1", "enable_keep_alive", "yes",
                             // socket.c's deadlines come first
                             "request_timeout_ms", day, "keep_alive_timeout_ms", day,
                             "max_request_size", head, "decode_url", "no",
                             "enable_auth_domain_check", "no", "enable_directory_listing", "no",
                             NULL};
    struct mg_callbacks callbacks;
    http_callbacks(&callbacks);
    callbacks.log_message = on_message;
    struct mg_init_data init = {
        .callbacks = &callbacks, .user_data = s, .configuration_options = options};
    // civetweb's threads take no signals (main does), but for those that a fault of their own
    // sends.
    sigset_t all, old;
    sigfillset(&all);
    crash_leave_signals(&all);
    pthread_sigmask(SIG_BLOCK, &all, &old);
    struct mg_context *ctx = mg_start2(&init, NULL);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    return ctx;
}

// Waits for civetweb's threads, so that each connection let in has one that will read it.
static void await_threads(struct http_server *s) {
    int64_t deadline_us = clock_now_us() + WORKER_START_US;
    pthread_mutex_lock(&s->lock);
    while (s->threads_started < s->thread_count) {
        // When some could not be started, those that were show up at once.
        int64_t until_us = s->thread_missing ? clock_now_us() + 200000 : deadline_us;
        if (!thread_cond_wait_until(&s->changed, &s->lock, until_us))
            break;
    }
    size_t started = s->threads_started;
    pthread_mutex_unlock(&s->lock);
    if (started < s->thread_count) {
        log_event(LOG_LEVEL_WARN, "thread_limit",
                  LOG_FIELDS(log_size("threads", started), log_size("wanted", s->thread_count)),
                  "http: only %zu of %zu connection threads could be started; raise the limit of "
                  "threads (ulimit -u, pids.max) or lower --max-connections",
                  started, s->thread_count);
        atomic_store(&s->gate.threads, started);
        atomic_store(&s->gate.limit, started > 2 * HTTP_SPARE ? started - HTTP_SPARE
                                     : started > 1            ? started / 2
                                                              : started);
    }
}

// "cannot bind to 127.0.0.1:80: 13 (Permission denied)" -> "Permission denied"
static void cause_of(const char *complaint, char *out, size_t size) {
    const char *open = strrchr(complaint, '(');
    const char *close_at = open ? strrchr(open, ')') : NULL;
    if (open && close_at)
        snprintf(out, size, "%.*s", (int)(close_at - open - 1), open + 1);
    else
        snprintf(out, size, "%s", complaint[0] ? complaint : "unknown cause");
}

// civetweb reads an IPv4 address with sscanf, so that 256.0.0.0 would be 0.0.0.0, every interface.
static enum err check_host(const char *host, struct errmsg *msg) {
    unsigned char address[16];
    if (!host || !*host)
        return err_set(msg, ERR_INVALID, "cannot listen: no address given");
    if (inet_pton(AF_INET, host, address) == 1 || strcmp(host, "localhost") == 0)
        return ERR_OK;
    if (inet_pton(AF_INET6, host, address) != 1)
        return err_set(msg, ERR_INVALID,
                       "cannot listen on '%s': not an address (as 127.0.0.1, 0.0.0.0 or ::1)",
                       host);
    if (!mg_check_feature(MG_FEATURES_IPV6))
        return err_set(msg, ERR_UNSUPPORTED,
                       "cannot listen on %s: this system's libcivetweb is built without IPv6",
                       host);
    return ERR_OK;
}

static enum err check_options(const struct http_options *options, struct errmsg *msg) {
    enum err bad = check_host(options->host, msg);
    if (bad)
        return bad;
    if (options->port < 0 || options->port > 65535)
        return err_set(msg, ERR_INVALID, "cannot listen on port %d", options->port);
    if (options->max_connections < 1 || options->max_connections > 16384)
        return err_set(msg, ERR_INVALID, "max_connections must be 1 to 16384, not %zu",
                       options->max_connections);
    return ERR_OK;
}

enum err http_try(const struct http_options *options, struct errmsg *msg) {
    struct http_server *s = NULL;
    enum err e = check_options(options, msg);
    if (!e)
        e = http_server_new(options, &s, msg);
    if (!e)
        http_server_free(s);
    return e;
}

enum err http_start(const struct http_options *options, struct http_server **out,
                    struct errmsg *msg) {
    *out = NULL;
    enum err bad = check_options(options, msg);
    if (bad)
        return bad;
    struct http_server *s = NULL;
    enum err e = http_server_new(options, &s, msg);
    if (e != ERR_OK)
        return e;
    mg_init_library(0);
    if (fault_hit(FAULT_THREAD))
        snprintf(s->complaint, sizeof s->complaint, "(%s)", strerror(EAGAIN));
    else
        s->civetweb = start_civetweb(s);
    if (!s->civetweb) {
        char cause[200];
        cause_of(s->complaint, cause, sizeof cause);
        mg_exit_library();
        http_server_free(s);
        return err_set(msg, ERR_IO, "cannot listen on %s:%d: %s", options->host, options->port,
                       cause);
    }
    await_threads(s);
    struct mg_server_port port;
    s->port = mg_get_server_ports(s->civetweb, 1, &port) == 1 ? port.port : options->port;
    *out = s;
    return ERR_OK;
}

void http_stop(struct http_server *s, int64_t timeout_us) {
    atomic_store(&s->draining, true);
    atomic_store(&s->stopping, true);
    if (!http_server_await(s, timeout_us)) {
        // Their clients will get no answer; their handlers are told so, and must still give one.
        atomic_store(&s->abandoning, true);
        for (size_t i = 0; i < s->exchanges_ready; i++)
            http_exchange_wake(&s->threads[i].x);
        if (!http_server_await(s, CANCELLED_ANSWER_US)) {
            // A handler still holds a request; it must not be freed under its hands.
            log_event(LOG_LEVEL_ERROR, "unanswered",
                      LOG_FIELDS(log_size("requests", http_in_progress(s))),
                      "http: %zu requests were never answered; their memory is left behind",
                      http_in_progress(s));
            return;
        }
    }
    // what was refused last is still being read
    for (int64_t until_us = clock_now_us() + PARKED_US;
         http_gate_parked(&s->gate) && clock_now_us() < until_us;)
        http_server_nap();
    http_gate_stop(&s->gate); // before mg_stop, which would wait for idle connections' polls
    mg_stop(s->civetweb);
    mg_exit_library();
    http_server_free(s);
}
