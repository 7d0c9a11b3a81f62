// What civetweb calls for connections and requests. See server.h and http.h. Of the room, this file
// and start.c alone include civetweb.h.
//
// civetweb accepts connections, reads heads and keeps a thread for each connection; begin_request
// (serve, below) does the rest of a request. What civetweb reads too leniently head.c refuses, and
// what it waits for too patiently socket.c cuts off. Answers are written past civetweb: head and
// body in one sendmsg, or as stream.c has them. No path reaches civetweb's own handlers or the file
// system.
#include "service/http/server.h"

#include "base/crash.h"
#include "base/log.h"
#include "service/http/chunks.h"

#include <civetweb.h>
#include <stdio.h>
#include <string.h>

enum {
    BODY_STEP = 16384,        // read first; then as much again as has arrived
    BODY_DISCARD = 65536,     // a refused body up to this is read, so the connection lives on
    KEEP_ALIVE_US = 75000000, // above the 60 s that proxies commonly keep idle connections
    PROBE_WRITE_MS = 2000,    // a probe's answer is small
};

_Static_assert(HTTP_MAX_HEADERS == MG_MAX_HEADERS, "an exchange holds all that civetweb splits");

static _Thread_local struct http_thread *self; // of civetweb's threads

// What the room answers by itself. Static text only: nothing of the request is ever echoed.
static const struct http_fault draining = {503, "draining", "the server is shutting down"};
static const struct http_fault crowded = {503, "too_many_connections",
                                          "too many connections; try again later"};
static const struct http_fault no_memory = {503, "out_of_memory", "the server is out of memory"};
static const struct http_fault too_slow = {408, "request_timeout",
                                           "the request did not arrive in time"};
static const struct http_fault bad_chunk = {400, "bad_chunk", "the chunked body is malformed"};
static const struct http_fault too_large = {413, "body_too_large",
                                            "the request body is over the server's limit"};
static const struct http_fault head_too_large = {431, "headers_too_large",
                                                 "the request head is over 16 KiB"};
static const struct http_fault bad_head = {400, "malformed_request", "the request is malformed"};
static const struct http_fault bad_version = {505, "http_version",
                                              "only HTTP/1.1 and HTTP/1.0 are supported"};
static const struct http_fault asterisk = {400, "bad_path", "the target '*' is for OPTIONS only"};
static const struct http_fault internal = {500, "internal", "internal error"};

static const char stands_still[] = "its reader has stopped taking it";

static void make_id(struct http_server *s, char id[40]) {
    // A bijection of a counter (splitmix64's last step): ids are unique and tell nothing.
    uint64_t z = s->id_salt + 0x9e3779b97f4a7c15u * (atomic_fetch_add(&s->id_next, 1) + 1);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    snprintf(id, 40, "req-%016llx", (unsigned long long)(z ^ (z >> 31)));
}

static bool id_is_sane(const char *id) {
    size_t n = strlen(id);
    return n > 0 && n < 40 &&
           strspn(id, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") == n;
}

static bool write_fault(struct http_thread *t, const struct http_fault *f, bool keep_alive) {
    struct http_server *s = t->server;
    if (f->status < 500 && f->status != 413)
        atomic_fetch_add(&s->bad_framing, 1);
    struct buf extra = {0};
    if (s->options.put_headers)
        s->options.put_headers(s->options.ctx, &t->x.request, &extra);
    bool written = http_reply_fault(&t->socket, &t->x.request, f, &extra, keep_alive,
                                    s->options.write_timeout_ms);
    buf_free(&extra);
    return written;
}

static void tell_cut(const struct http_thread *t, const char *why) {
    const struct http_options *o = &t->server->options;
    if (o->on_cut)
        o->on_cut(o->ctx, &t->x.request, why);
}

// False when the connection can be of no further use.
static bool write_response(struct http_thread *t, const struct http_response *p, bool keep_alive) {
    bool still = false;
    bool written = p->body.failed || p->headers.failed
                       ? write_fault(t, &no_memory, keep_alive)
                       : http_reply_write(&t->socket, &t->x.request, p, keep_alive,
                                          t->write_timeout_ms, &still);
    if (!written)
        atomic_fetch_add(&t->server->write_failed, 1);
    if (still)
        tell_cut(t, stands_still);
    return written;
}

// The connection ends here. Lingers, because bytes that the client is still sending would reset the
// connection before it has read the answer.
static void finish_connection(struct http_thread *t, struct mg_connection *conn, bool linger) {
    mg_disable_connection_keep_alive(conn);
    if (linger && t->socket.let_go)
        http_gate_park(&t->server->gate, t->socket.fd);
    else if (linger)
        http_socket_linger(&t->socket);
    t->socket.phase = HTTP_PHASE_NONE;
}

static int refuse(struct http_thread *t, struct mg_connection *conn, const struct http_fault *f) {
    bool written = write_fault(t, f, false);
    finish_connection(t, conn, written);
    return f->status;
}

// civetweb refused a request's head: answers in our own words instead. 0: handled.
static int on_http_error(struct mg_connection *conn, int status, const char *words) {
    struct http_thread *t = self;
    if (!t || t->socket.fd < 0)
        return 1;
    // Nothing of the request can be relied on, least of all the fields that are left from the one
    // before.
    t->x.request = (struct http_request){.method = "", .exchange = &t->x};
    t->x.field_count = 0;
    make_id(t->server, t->x.request.id);
    const struct http_fault *f = &bad_head;
    if (t->socket.stopped)
        f = &draining;
    else if (t->socket.timed_out)
        f = &too_slow;
    else if (t->socket.scan.fault)
        f = t->socket.scan.fault;
    else if (t->socket.head_full && strcmp(words, "Malformed message") == 0)
        f = &head_too_large;
    else if (status == 505)
        f = &bad_version;
    else if (status == 500)
        f = &internal;
    refuse(t, conn, f);
    return 0;
}

// Copies the head that civetweb has split into the exchange; NULL when all is well.
static const struct http_fault *take_head(struct http_thread *t, const struct mg_request_info *ri,
                                          struct http_framing *framing) {
    struct http_exchange *x = &t->x;
    struct http_request *r = &x->request;
    t->socket.phase = HTTP_PHASE_BODY;
    memcpy(x->method, t->socket.method, sizeof x->method);
    *r = (struct http_request){.method = x->method[0] ? x->method : ri->request_method,
                               .query = ri->query_string,
                               .body = "",
                               .arrived_us = t->socket.first_byte_us,
                               .exchange = x};
    x->field_count = (size_t)ri->num_headers;
    x->http10 = strcmp(ri->http_version, "1.0") == 0;
    for (size_t i = 0; i < x->field_count; i++)
        x->fields[i] = (struct http_field){ri->http_headers[i].name, ri->http_headers[i].value};
    const char *id = http_request_header(r, "x-request-id");
    if (id && id_is_sane(id))
        memcpy(r->id, id, strlen(id) + 1);
    else
        make_id(t->server, r->id);
    crash_work_on(r->id);

    if (t->socket.scan.fault || !t->socket.scan.whole)
        return t->socket.scan.fault ? t->socket.scan.fault : &internal;
    struct http_head head = {r->method, ri->http_version, x->fields, x->field_count};
    const struct http_fault *f = http_head_framing(&head, t->server->options.max_body, framing);
    if (f)
        return f;
    for (size_t i = 0; i < x->field_count; i++)
        http_head_trim((char *)x->fields[i].value);
    if (t->socket.asterisk) {
        r->path = "*";
        return strcmp(r->method, "OPTIONS") == 0 ? NULL : &asterisk;
    }
    // In civetweb's own buffer, where it would have decoded it itself (decode_url is off, because
    // it would cut the path at %00).
    char *path = (char *)ri->local_uri_raw;
    r->path = path;
    return http_head_decode_path(path);
}

// Why the body did not come.
static const struct http_fault *read_fault(const struct http_thread *t) {
    if (t->socket.stopped)
        return &draining;
    return t->socket.timed_out ? &too_slow : &bad_head;
}

// Memory grows with what has come, not with what was announced.
static bool reserve_body(struct buf *b, size_t most, size_t *step) {
    *step = b->len < BODY_STEP ? BODY_STEP : b->len;
    if (*step > most)
        *step = most;
    return buf_reserve(b, *step);
}

static const struct http_fault *read_sized(struct http_thread *t, struct mg_connection *conn,
                                           size_t content_length) {
    struct buf *b = &t->x.body;
    while (b->len < content_length) {
        size_t step;
        if (!reserve_body(b, content_length - b->len, &step))
            return &no_memory;
        int n = mg_read(conn, b->data + b->len, step);
        if (n <= 0)
            return read_fault(t);
        b->len += (size_t)n;
    }
    return NULL;
}

// Reads a chunked body past civetweb; its connection ends behind it.
static const struct http_fault *read_chunked(struct http_thread *t) {
    struct buf *b = &t->x.body;
    struct http_chunks chunks = {0};
    size_t max = t->server->options.max_body;
    while (!chunks.done) {
        size_t step;
        if (!reserve_body(b, SIZE_MAX, &step))
            return &no_memory;
        ssize_t n = http_socket_read(&t->socket, b->data + b->len, step);
        if (n <= 0)
            return read_fault(t);
        b->len += http_chunks_take(&chunks, b->data + b->len, (size_t)n);
        if (chunks.bad)
            return &bad_chunk;
        if (b->len > max || chunks.left > max - b->len)
            return &too_large;
    }
    return NULL;
}

// Reads the body into x->body. NULL when it is whole; socket.ended when its sender stopped short.
static const struct http_fault *read_body(struct http_thread *t, struct mg_connection *conn,
                                          const struct http_framing *framing) {
    struct buf *b = &t->x.body;
    const struct http_fault *f =
        framing->chunked ? read_chunked(t) : read_sized(t, conn, framing->content_length);
    if (!f && b->len) {
        b->data[b->len] = '\0';
        t->x.request.body = b->data;
        t->x.request.body_len = b->len;
    }
    return f;
}

// A connection ends with the next answer on it during a drain, so that its client looks for another
// server, and over the limit, so that a spare thread is free again. Not when the next request has
// come already: it would be lost.
static bool may_stay(struct http_thread *t) {
    struct http_server *s = t->server;
    bool ends =
        atomic_load(&s->draining) || atomic_load(&s->gate.open) > atomic_load(&s->gate.limit);
    return !ends || http_socket_has_more(&t->socket, t->x.body.len);
}

static bool exchange_stream(struct http_thread *t, bool keep_alive) {
    struct http_server *s = t->server;
    enum http_stream_end end = http_stream_run(&t->x, &t->socket, &keep_alive,
                                               s->options.write_timeout_ms, &s->abandoning);
    if (end == HTTP_STREAM_GONE)
        atomic_fetch_add(&s->client_gone, 1);
    if (end == HTTP_STREAM_TORN || end == HTTP_STREAM_CUT)
        atomic_fetch_add(&s->write_failed, 1);
    if (end != HTTP_STREAM_WHOLE && t->x.cut)
        tell_cut(t, t->x.cut == HTTP_CUT_SLOW     ? "its reader leaves too much of it waiting"
                    : t->x.cut == HTTP_CUT_MEMORY ? "no memory for a piece of it"
                    : t->x.cut == HTTP_CUT_STOP   ? "the service ends"
                                                  : stands_still);
    return end == HTTP_STREAM_WHOLE && keep_alive;
}

// Hands the request over and writes its answer; true when the connection can go on.
static bool exchange(struct http_thread *t, bool keep_alive) {
    struct http_server *s = t->server;
    s->options.handle(s->options.ctx, &t->x.request);
    if (!http_exchange_wait(&t->x, t->socket.fd, &s->abandoning)) {
        atomic_fetch_add(&s->client_gone, 1);
        return false;
    }
    keep_alive = keep_alive && may_stay(t);
    if (t->x.streaming)
        return exchange_stream(t, keep_alive);
    return write_response(t, &t->x.response, keep_alive) && keep_alive;
}

static void end_progress(struct http_server *s) {
    if (atomic_fetch_sub(&s->in_progress, 1) == 1 && atomic_load(&s->stopping)) {
        pthread_mutex_lock(&s->lock);
        pthread_cond_broadcast(&s->changed);
        pthread_mutex_unlock(&s->lock);
    }
}

// check_head refused the request. When a body is announced that is not worth reading, the answer
// goes out at once; otherwise it goes out behind the body, so that the connection can go on.
static int refuse_head(struct http_thread *t, struct mg_connection *conn,
                       const struct http_framing *framing) {
    const struct http_response *p = &t->x.response;
    bool keep = framing->keep_alive && !framing->expects_continue &&
                framing->content_length <= BODY_DISCARD && read_body(t, conn, framing) == NULL;
    int status = p->status;
    keep = keep && may_stay(t);
    bool written = write_response(t, p, keep);
    if (!written || !keep)
        finish_connection(t, conn, written);
    return status;
}

// Does what a whole head asks for.
static int serve_request(struct http_thread *t, struct mg_connection *conn,
                         const struct http_framing *framing) {
    struct http_server *s = t->server;
    atomic_fetch_add(&s->requests, 1);
    if (s->options.check_head) {
        struct http_response *refusal = &t->x.response;
        *refusal = (struct http_response){0};
        s->options.check_head(s->options.ctx, &t->x.request, framing->content_length, refusal);
        if (refusal->status)
            return refuse_head(t, conn, framing);
    }
    if (framing->expects_continue && (framing->chunked || framing->content_length)) {
        struct iovec go_on = {(char *)"HTTP/1.1 100 Continue\r\n\r\n", 25};
        bool still;
        if (!http_socket_write(&t->socket, &go_on, 1, t->socket.deadline_us,
                               s->options.write_timeout_ms, &still)) {
            finish_connection(t, conn, false);
            return 408;
        }
    }
    const struct http_fault *f = read_body(t, conn, framing);
    if (f && t->socket.ended) {
        // Shorter than announced: there is no request, and nobody to answer.
        atomic_fetch_add(&s->bad_framing, 1);
        finish_connection(t, conn, false);
        return f->status;
    }
    if (f)
        return refuse(t, conn, f);
    atomic_fetch_add(&s->in_progress, 1);
    bool late = atomic_load(&s->stopping); // after it was counted: a stop waits for this one or not
    bool alive = !late && exchange(t, framing->keep_alive);
    end_progress(s);
    if (late)
        return refuse(t, conn, &draining);
    bool reads = !atomic_load(&t->x.request.gone) || t->x.last; // it has last words to read
    if (!alive)
        finish_connection(t, conn, reads);
    return 200;
}

static int serve(struct http_thread *t, struct mg_connection *conn) {
    struct http_server *s = t->server;
    struct http_framing framing;
    const struct http_fault *f = take_head(t, mg_get_request_info(conn), &framing);
    if (f)
        return refuse(t, conn, f);
    bool probe = s->options.look && s->options.look(s->options.ctx, &t->x.request);
    t->write_timeout_ms = s->options.write_timeout_ms;
    if (probe) {
        if (t->write_timeout_ms > PROBE_WRITE_MS)
            t->write_timeout_ms = PROBE_WRITE_MS;
        return serve_request(t, conn, &framing);
    }
    int status;
    if (atomic_fetch_add(&s->busy, 1) < atomic_load(&s->gate.limit)) {
        status = serve_request(t, conn, &framing);
        atomic_fetch_sub(&s->busy, 1);
    } else {
        atomic_fetch_sub(&s->busy, 1);
        atomic_fetch_add(&s->gate.refused, 1);
        status = refuse(t, conn, &crowded);
    }
    return status;
}

static int on_begin_request(struct mg_connection *conn) {
    struct http_thread *t = self;
    if (!t || t->socket.fd < 0) {
        // The linker gave civetweb another poll than socket.c's: nothing can be guarded.
        log_error("http: libcivetweb does not call this program's poll; closing a connection");
        mg_disable_connection_keep_alive(conn);
        return 500;
    }
    int status = serve(t, conn);
    crash_work_back_to(0);
    if (t->socket.phase == HTTP_PHASE_BODY)
        http_socket_next(&t->socket, t->x.body.len, KEEP_ALIVE_US);
    http_exchange_clear(&t->x);
    return status;
}

static int on_connection(const struct mg_connection *conn, void **data) {
    (void)conn, (void)data;
    if (self)
        http_socket_begin(&self->socket);
    return 0;
}

static void on_connection_closed(const struct mg_connection *conn) {
    (void)conn;
    if (self) {
        self->socket.phase = HTTP_PHASE_NONE;
        self->socket.fd = -1;
        atomic_fetch_sub(&self->server->gate.open, 1);
    }
}

static void *on_thread(const struct mg_context *ctx, int kind) {
    struct http_server *s = mg_get_user_data(ctx);
    if (kind != 0 && kind != 1)
        return NULL;
    pthread_mutex_lock(&s->lock);
    self = kind == 0                              ? &s->acceptor
           : s->threads_started < s->thread_count ? &s->threads[s->threads_started++]
                                                  : NULL;
    pthread_cond_broadcast(&s->changed);
    pthread_mutex_unlock(&s->lock);
    http_socket_attach(self ? &self->socket : NULL);
    return NULL;
}

void http_callbacks(struct mg_callbacks *out) {
    *out = (struct mg_callbacks){.begin_request = on_begin_request,
                                 .http_error = on_http_error,
                                 .init_thread = on_thread,
                                 .init_connection = on_connection,
                                 .connection_closed = on_connection_closed};
}
