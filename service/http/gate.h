// Which connections are let in, and which must go. Role: the accepting thread's part of the sockets
// under civetweb (socket.h): the connection limit, room for one more, a way out of EMFILE where
// civetweb's loop would spin, and closing the listeners without losing the connections that wait in
// them. Knows descriptors, not what is said on them.
//
// There are HTTP_SPARE threads more than the limit allows connections. At the limit a new
// connection, once it is accepted, takes the place of the one that has been of least use for the
// longest time. When all are busy it gets a spare thread, on which callbacks.c answers probes and
// refuses the rest. Only the thread that has a connection lets it go (struct http_hold): a silent
// or idle connection never while bytes of it have come, and one whose head has been coming for a
// while only after a 408. Thread rule: a gate is shared by a server's threads; fields that are the
// accepting thread's own say so.
#ifndef TRINE_SERVICE_HTTP_GATE_H
#define TRINE_SERVICE_HTTP_GATE_H

#include "base/err.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { HTTP_SPARE = 8, HTTP_PARKED_MAX = 64 };

// What a thread does that waits on a connection which may be let go.
enum http_hold_kind {
    HTTP_HOLD_SILENT, // nothing has ever come
    HTTP_HOLD_IDLE,   // between two requests
    HTTP_HOLD_LINGER, // all is written, the client has yet to close
    HTTP_HOLD_HEAD,   // a head is coming, slowly
};

// A thread's hold on its connection. The accepting thread can take a connection away only while the
// thread waits. Both exchange `state` atomically, so exactly one of them has the connection.
struct http_hold {
    atomic_int state; // HTTP_HELD, HTTP_LOOSE (waiting), HTTP_TAKEN (to be let go)
    atomic_int kind;  // enum http_hold_kind, while loose
    atomic_llong since_us;
    int wake_fd; // an eventfd that ends the wait
};
enum { HTTP_HELD, HTTP_LOOSE, HTTP_TAKEN };

void http_hold_loosen(struct http_hold *h, enum http_hold_kind kind, int64_t since_us);
// False when the connection was taken away meanwhile. Either way it is held again.
bool http_hold_tighten(struct http_hold *h);

enum http_gate_stage {
    HTTP_GATE_OPEN,
    HTTP_GATE_CLOSING, // no new connection comes, those that had come are still accepted
    HTTP_GATE_CLOSED,
};

struct http_gate {
    atomic_size_t open;    // connections accepted and not yet closed
    atomic_size_t limit;   // of connections
    atomic_size_t threads; // that there are for them
    atomic_ullong refused, let_go;
    atomic_size_t unread; // bytes of answers that wait for their readers
    size_t unread_max;    // over it memory is short
    int stop_fd; // an eventfd; once readable, the server's threads wait for nothing any more
    struct http_hold **holds; // [hold_count], of the threads
    size_t hold_count;

    atomic_int stage;           // enum http_gate_stage
    atomic_llong idle_until_us; // 0: as long as they like
    int call_fd;                // an eventfd that makes the accepting thread look at `stage`

    // Refused or left connections that are kept until their client has read what was written
    // (closing one with unread bytes resets it, and the client never sees the answer).
    pthread_mutex_t lock;
    struct {
        int fd;
        int64_t until_us;
    } parked[HTTP_PARKED_MAX];
    size_t parked_count;

    // The accepting thread's own: a file kept in reserve, to be given up for a moment when there
    // are no others; since when there is no room; and the closing's times.
    int spare_fd;
    int64_t full_since_us, quiet_until_us, closing_until_us;
};

// ERR_IO. http_gate_close closes what it holds.
enum err http_gate_open(struct http_gate *g, size_t limit, struct errmsg *msg) MUST_CHECK;
void http_gate_close(struct http_gate *g);
// Ends every wait of the server's threads, now and from now on.
void http_gate_stop(struct http_gate *g);

// Refuses new connections from some moment on, and has everything accepted that was connected
// before: the listeners drop whatever would begin a connection, are emptied until they have been
// quiet for a while, and only then closed (closing one resets what waits in it). `stage` says how
// far it is.
void http_gate_shut(struct http_gate *g);
// How long, in microseconds, to wait for a reader that last took something at taken_us: timeout_ms
// in all, less when much is unread; at most a second at a time. 0 or less: no longer.
int64_t http_gate_patience(const struct http_gate *g, int timeout_ms, int64_t taken_us);
// Connections on which nothing happens end at until_us.
void http_gate_end_idle(struct http_gate *g, int64_t until_us);

// Makes one connection go for another; false when there is none to let go. idle_only: only one
// without a request and without an answer.
bool http_gate_make_room(struct http_gate *g, bool idle_only);
// Keeps a finished connection open for a while, so that its thread need not wait with closing it.
void http_gate_park(struct http_gate *g, int fd);
size_t http_gate_parked(struct http_gate *g);

// The accepting thread's accept and poll.
struct sockaddr;
struct pollfd;
int http_gate_accept(struct http_gate *g, int listener, struct sockaddr *addr, unsigned *addr_len);
int http_gate_poll(struct http_gate *g, struct pollfd *fds, unsigned long n, int timeout_ms);

#endif
