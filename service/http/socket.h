// The sockets under civetweb. Role: adds, below civetweb 1.15, what its own socket handling lacks.
// libcivetweb calls accept, poll and recv through the dynamic linker, so it gets the definitions of
// these three in socket.c. On a thread that has not attached a http_socket they do what libc's do.
// On a server's threads they add:
//   accept  and the accepting thread's poll: see gate.h;
//   poll    one deadline for a whole head and body (civetweb starts its timer anew with each read),
//           an end to every wait when the server stops, and to an idle one when its connection
//           must make room;
//   recv    the time of the first byte, the strict scan of a head while its bytes are as they came,
//           and whether a head filled civetweb's whole buffer.
// They also tell which fd a connection has, which civetweb does not.
// Thread rule: a http_socket belongs to its thread; the gate reads and takes only its hold.
#ifndef TRINE_SERVICE_HTTP_SOCKET_H
#define TRINE_SERVICE_HTTP_SOCKET_H

#include "service/http/gate.h"
#include "service/http/head.h"

#include "base/err.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

enum http_phase {
    HTTP_PHASE_NONE, // no connection, or it is closing: every read ends at once
    HTTP_PHASE_NEW,  // accepted, nothing read yet
    HTTP_PHASE_IDLE, // kept alive between two requests
    HTTP_PHASE_HEAD, // reading a head; a fault in it ends the reading
    HTTP_PHASE_BODY, // the head is whole
};

struct http_socket {
    struct http_gate *gate;
    struct http_hold hold;
    bool acceptor;           // this is the accepting thread: the rest is not used
    int64_t read_timeout_us; // from a request's first byte to the end of its body
    int fd;                  // -1 until the connection's first wait
    enum http_phase phase;
    int64_t deadline_us;           // no wait for bytes lasts beyond it
    int64_t since_us;              // accepted, or idle
    int64_t first_byte_us;         // of the request being read
    char *buffer;                  // where civetweb puts this thread's heads
    size_t buffered;               // bytes there: a head, and what came with it
    struct http_scan scan;         // of the head there
    bool asterisk;                 // its target was "*"
    char method[HTTP_METHOD_MOST]; // by http_head_hide_method
    bool timed_out;                // the deadline passed while waiting
    bool stopped;                  // the server stopped while waiting
    bool ended;                    // the client closed or reset its side
    bool head_full;                // the last read filled the buffer
    bool let_go;                   // it had to make room
};

// From now on the calling thread's accept, poll and recv go through s; NULL undoes it.
void http_socket_attach(struct http_socket *s);

// The request in the buffer, with its body of content_length bytes, has been read and answered: the
// connection waits for the next one, at most keep_alive_us, or has some of it already.
void http_socket_next(struct http_socket *s, size_t content_length, int64_t keep_alive_us);

// True when the client has sent more than the request in the buffer with its body of content_length
// bytes: a next request is there already.
bool http_socket_has_more(const struct http_socket *s, size_t content_length);

// A connection has been accepted.
void http_socket_begin(struct http_socket *s);

// Reads what follows the head, as recv would: first what has come already, then what comes. For a
// body that civetweb must not read, on a connection that ends with it.
ssize_t http_socket_read(struct http_socket *s, char *bytes, size_t len);

// Writes all parts in one call if the socket takes them. False when the client is gone, has not
// taken them by deadline_us, or took nothing for timeout_ms (http_gate_patience); *still tells that
// it was one of the last two. Changes parts.
bool http_socket_write(struct http_socket *s, struct iovec *parts, int count, int64_t deadline_us,
                       int timeout_ms, bool *still);

// Says that nothing more will be written, then reads and drops what the client still sends, for two
// seconds at most, or half a second without a byte: closing over unread bytes would reset the
// connection, and the answer just written would be lost with it.
void http_socket_linger(struct http_socket *s);

#endif
