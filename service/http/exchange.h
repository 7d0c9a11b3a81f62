// One request and its answer: what a socket thread and a handler's threads share. Role:
// http_answer, http_request_header and the wait between them. No civetweb, no framing. Thread rule:
// an exchange belongs to its socket thread, which uses it for one request after another; only
// http_answer and the stream's functions are called by other threads.
#ifndef TRINE_SERVICE_HTTP_EXCHANGE_H
#define TRINE_SERVICE_HTTP_EXCHANGE_H

#include "service/http/head.h"
#include "service/http/message.h"
#include "service/http/socket.h"

#include <pthread.h>

struct http_exchange {
    struct http_request request;
    struct http_field fields[HTTP_MAX_HEADERS]; // borrowed from the head's buffer
    size_t field_count;
    char method[HTTP_METHOD_MOST]; // of the request, where civetweb was shown another
    struct buf body;
    struct http_response response; // valid once answered or streaming

    // on_gone is called with the lock held, so that it never runs beside or after http_answer; it
    // is recursive, because a handler may answer from on_gone.
    pthread_mutex_t lock;
    bool answered, waiting; // waiting: the socket thread sleeps on wake_fd
    int wake_fd;

    // A stream (stream.c). All but http10 is guarded by the lock.
    bool http10; // its client knows no chunks
    bool streaming, ended;
    enum http_cut cut;  // why nothing more is taken
    bool last;          // but for the words that say so, which are in `pending`
    bool broken;        // it must not look whole
    size_t largest;     // piece so far
    struct buf pending; // framed, not yet taken over by the socket thread
    size_t unsent;      // taken over and not yet written

    // http_watch_quiet; guarded by the lock.
    int64_t quiet_us; // 0: nobody watches
    void (*on_quiet)(struct http_request *r);
    int64_t said_us; // when something was last written, or on_quiet called
};

// ERR_IO when no file is left.
enum err http_exchange_init(struct http_exchange *x, struct errmsg *msg) MUST_CHECK;
void http_exchange_free(struct http_exchange *x);

// Sleeps until the request is answered or its stream begins. When the client goes away meanwhile (a
// reset, or both directions closed, which is noticed within some seconds), or *abandoned becomes
// true, it sets request.gone, calls on_gone and goes on waiting. False when that happened.
bool http_exchange_wait(struct http_exchange *x, int client_fd, const atomic_bool *abandoned);
// Writes a stream that has begun, until it has ended and everything is written. When the client
// goes away meanwhile: as above. Sets *keep_alive to false when the connection must end.
enum http_stream_end {
    HTTP_STREAM_WHOLE,
    HTTP_STREAM_CUT,  // shorter than it was to be, which its last words say; the handler was told
    HTTP_STREAM_GONE, // and its handler was told so
    HTTP_STREAM_TORN, // it had ended, but not all of it could be written
};
enum http_stream_end http_stream_run(struct http_exchange *x, struct http_socket *k,
                                     bool *keep_alive, int timeout_ms,
                                     const atomic_bool *abandoned);
// The lock is held. The client is gone: tells the handler.
void http_exchange_lose(struct http_exchange *x);
// The lock is held. How long until on_quiet is to be called, at least 0; -1: nobody watches.
int64_t http_exchange_quiet_us(const struct http_exchange *x);
// The lock is held. Calls it where it is time.
void http_exchange_tell_quiet(struct http_exchange *x);
// Makes a wait look at *abandoned.
void http_exchange_wake(struct http_exchange *x);
// Frees what the last request has left.
void http_exchange_clear(struct http_exchange *x);

// The head of an answer, its own fields and those of the response, with the blank line behind it.
// False when memory is out.
enum http_body { HTTP_BODY_WHOLE, HTTP_BODY_CHUNKED, HTTP_BODY_UNTIL_CLOSE };
bool http_reply_head(const struct http_request *r, const struct http_response *p, bool keep_alive,
                     enum http_body body, struct buf *out);
// Writes head and body in one call if the socket takes them. False when the client is gone, when it
// has not taken them within timeout_ms and a time in proportion to their size, or when it took no
// byte for as long as http_gate_patience says; *still tells that it was one of the last two.
bool http_reply_write(struct http_socket *k, const struct http_request *r,
                      const struct http_response *p, bool keep_alive, int timeout_ms, bool *still);
// The same for a refusal made of static text, as JSON, with further header lines.
bool http_reply_fault(struct http_socket *k, const struct http_request *r,
                      const struct http_fault *f, struct buf *headers, bool keep_alive,
                      int timeout_ms);

#endif
