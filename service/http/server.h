// What an HTTP server is made of. Role: shared by callbacks.c (requests), start.c (start and stop)
// and server.c, which has its memory, its exchanges and its draining: no civetweb and no requests.
// Thread rule: a thread's part belongs to that thread, counters are atomic, and what the lock
// guards says so.
#ifndef TRINE_SERVICE_HTTP_SERVER_H
#define TRINE_SERVICE_HTTP_SERVER_H

#include "service/http/exchange.h"
#include "service/http/http.h"

#include <pthread.h>

struct http_thread {
    struct http_server *server;
    struct http_socket socket;
    struct http_exchange x;
    int write_timeout_ms; // of the request being answered
};

struct http_server {
    struct http_options options;
    struct mg_context *civetweb; // start.c's
    struct http_gate gate;
    int port;
    uint64_t id_salt;
    atomic_ullong id_next;
    atomic_ullong requests, bad_framing, client_gone, write_failed;
    atomic_size_t in_progress;
    atomic_size_t busy; // connections with a request whose head is whole, probes left out
    atomic_bool draining, stopping, abandoning;

    struct http_thread acceptor, *threads; // [thread_count]
    struct http_hold **holds;              // theirs
    size_t thread_count;                   // HTTP_SPARE more than connections
    size_t exchanges_ready;                // of threads, those whose lock and wake_fd are there

    pthread_mutex_t lock; // for the four below
    pthread_cond_t changed;
    size_t threads_started;
    bool thread_missing; // civetweb could not start all that it was asked for
    char complaint[200]; // civetweb's last message while starting
};

// Makes everything but civetweb, from checked options. ERR_NOMEM, ERR_IO.
enum err http_server_new(const struct http_options *options, struct http_server **out,
                         struct errmsg *msg) MUST_CHECK;
// Call it when none of its threads runs any more.
void http_server_free(struct http_server *s);
// Waits until no request is in progress; false when some still are after timeout_us.
bool http_server_await(struct http_server *s, int64_t timeout_us);
// Sleeps a few milliseconds, between two looks at something.
void http_server_nap(void);

// What civetweb calls for connections and requests. callbacks.c.
struct mg_callbacks;
void http_callbacks(struct mg_callbacks *out);

#endif
