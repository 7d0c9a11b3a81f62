// A request that has been read, and the ways to answer it: head and body in one write, or a
// stream's pieces as they come. Role: what a handler sees of a connection. Thread rule: each
// request is answered exactly once, from any thread: by http_answer, or by http_stream_begin, any
// number of http_stream_write, and http_stream_end, one after the other.
#ifndef TRINE_SERVICE_HTTP_MESSAGE_H
#define TRINE_SERVICE_HTTP_MESSAGE_H

#include "base/buf.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { HTTP_MAX_HEADERS = 64 };

// A request that has been read whole; everything borrows until http_answer.
struct http_request {
    // path is decoded, without doubled or last slashes, or "*"; query may be NULL
    const char *method, *path, *query;
    const char *body; // [body_len], NUL behind
    size_t body_len;
    int64_t arrived_us; // monotonic: its first byte's time
    char id[40];        // x-request-id: the client's if it is sane, else made here
    void *ctx;          // the handler's own
    const void *route;  // its own, too: what it found the path to be (http.h, look)
    // Set (with on_gone called once, on a socket thread) when the client is gone: reset or closed
    // both ways, or a stream's reader that stands still; a half-close alone is not gone. on_gone
    // never runs beside http_answer or http_stream_end nor after they have returned, so what it
    // uses may be freed then; it may itself call them. The request must still be answered (a stream
    // ended); what it is answered is dropped.
    atomic_bool gone;
    void (*on_gone)(struct http_request *r); // set by the handler before it returns, or NULL
    struct http_exchange *exchange;          // exchange.c's own
};

// From now until the request is answered or its stream ended, on_quiet is called whenever nothing
// was written for quiet_ms, and again after as long: for who has a word that keeps a stream alive,
// or begins one with it. On a socket thread, which never calls it beside http_answer or
// http_stream_end nor after they have returned, nor while its reader still has bytes to take; it
// must be quick. Any thread; quiet_ms 0: never.
void http_watch_quiet(struct http_request *r, int quiet_ms,
                      void (*on_quiet)(struct http_request *r));

// NULL when absent. Case-insensitive name.
const char *http_request_header(const struct http_request *r, const char *name);

struct http_response {
    int status;
    const char *content_type; // static
    struct buf headers;       // further complete header lines, each ending \r\n; owned
    struct buf body;          // owned
};

// Takes the response's buffers over. Never blocks on the socket.
void http_answer(struct http_request *r, struct http_response *response);

// An answer whose body is written as it comes, in chunks (as it is, ending with the connection,
// for a client of HTTP/1.0). begin takes the head's buffers over; its body, where there is one, is
// the first piece. None of the three blocks on the socket.
void http_stream_begin(struct http_request *r, struct http_response *head);
// Returns how many bytes the client has not taken yet. A client that has not taken any for
// write_timeout_ms counts as gone. When a client leaves more than HTTP_STREAM_PENDING plus the
// largest piece waiting, or there is no memory for a piece, the stream is cut: on_gone tells the
// handler, what is written from then on is dropped, and what was taken before is still delivered.
enum { HTTP_STREAM_PENDING = 1 << 20 };
size_t http_stream_write(struct http_request *r, const void *bytes, size_t n);
enum http_cut {
    HTTP_CUT_NOT,
    HTTP_CUT_SLOW,   // too much waits for its reader
    HTTP_CUT_MEMORY, // there was none for a piece
    HTTP_CUT_STILL,  // its reader stands still
    HTTP_CUT_STOP,   // the server ends before it does
};
enum http_cut http_stream_cut(struct http_request *r);
// The last piece of a stream that ends early: it is taken even when the stream was cut. A cut
// stream that gets none ends without the last chunk.
void http_stream_last(struct http_request *r, const void *bytes, size_t n);
void http_stream_end(struct http_request *r);

#endif
