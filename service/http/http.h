// HTTP on civetweb: framing, limits and sockets. Role: the server as the rest of the program sees
// it: its options, its start and its stop; message.h has the requests and their answers. Of the
// room, callbacks.c and start.c alone know civetweb. civetweb's threads read a request whole, check
// its framing (FAULTS 14-26), hand it over, sleep until it is answered or its client is gone, and
// write the answer. They never parse JSON, tokenize or compute.
// Thread rule: the handler is called on a socket thread and must return at once.
#ifndef TRINE_SERVICE_HTTP_HTTP_H
#define TRINE_SERVICE_HTTP_HTTP_H

#include "base/buf.h"
#include "base/err.h"
#include "service/http/message.h"

#include <stdbool.h>
#include <stdint.h>

struct http_server;

struct http_options {
    const char *host;
    int port; // 0: a free one is picked
    // At the limit a new connection takes the place of the one that has been idle the longest. When
    // none is idle, probes on the new connection are answered, and everything else with 503.
    size_t max_connections;
    size_t max_body;      // bytes; over it 413 before reading
    size_t max_unread;    // bytes of answers waiting for readers; 0: 256 MiB (http_is_unread)
    int read_timeout_ms;  // head and body must be whole within it (408 or close)
    int write_timeout_ms; // for an answer; for each wait for a stream's reader
    // Called on a socket thread before the body is read: a refusal whose status is not 0 is the
    // answer (404, 405, 401, 415, 429, 503). content_length is 0 for a chunked body, which max_body
    // alone limits. May be NULL.
    void (*check_head)(void *ctx, struct http_request *r, size_t content_length,
                       struct http_response *refusal);
    // The first look at a whole head, before check_head and on the same socket thread: what it
    // finds the path to be it may keep in r->route. True when the request is answered even if all
    // connections are busy: it must be answered before handle returns. NULL: none is.
    bool (*look)(void *ctx, struct http_request *r);
    // Header lines for what the room answers by itself (400, 408, 413, 503 ...); the request may
    // have no method and no header fields. May be NULL.
    void (*put_headers)(void *ctx, const struct http_request *r, struct buf *out);
    void (*handle)(void *ctx, struct http_request *r);
    // An answer was not delivered whole, for a reason of the server's; for the log. Called on a
    // socket thread; may be NULL.
    void (*on_cut)(void *ctx, const struct http_request *r, const char *why);
    void *ctx;
};

struct http_stats {
    uint64_t requests, refused_connections, let_go_connections, bad_framing, client_gone,
        write_failed;
    size_t open_connections, unread_bytes; // of answers that wait for their readers
};

// ERR_IO names the address ("cannot listen on 127.0.0.1:8080: Address already in use").
enum err http_start(const struct http_options *options, struct http_server **out,
                    struct errmsg *msg) MUST_CHECK;
// Does all that http_start does except for the port and the threads, and undoes it again: is the
// address one, and are there files for that many connections.
enum err http_try(const struct http_options *options, struct errmsg *msg) MUST_CHECK;
int http_port(const struct http_server *s);

// Every answer from now on ends its connection; all else goes on.
void http_drain_begin(struct http_server *s);
// Refuses new connections, but answers what comes on those that are there: what waits to be
// accepted, what is half read, and a next request. A connection ends with its next answer, or when
// it has been silent for a second. False when some were left at until_us. Blocks.
bool http_drain(struct http_server *s, int64_t until_us);
size_t http_in_progress(const struct http_server *s);
// Waits until no request is in progress (at most timeout_us), then closes everything and frees.
// Requests that are still unanswered are told that their client is gone. If some are not answered
// within two seconds of that, they and the server are left as they are, because the process is
// about to end.
void http_stop(struct http_server *s, int64_t timeout_us);

// True when more than max_unread bytes wait for their readers: no further work should be accepted.
// Only then are readers that stand still given up after two seconds.
bool http_is_unread(const struct http_server *s);
struct http_stats http_read_stats(const struct http_server *s);

#endif
