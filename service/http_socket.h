// The sockets under civetweb. Role: what civetweb 1.15 leaves out of its own socket handling is
// made good below it. libcivetweb calls accept, poll and recv through the dynamic linker, so the
// definitions of these three in http_socket.c are the ones it gets; on a thread that has not
// attached a http_socket they do what libc's do. On a server's threads they add:
//   accept  the connection limit (503 and close, never a stalled accept) and a way out of EMFILE,
//           where civetweb's loop would spin;
//   poll    one deadline for a whole head and body (civetweb starts its timer anew with each read),
//           and an end to every wait when the server stops;
//   recv    the first byte's time, the strict scan of a head while its bytes are as they came, and
//           whether a head filled civetweb's whole buffer.
// They also tell which fd a connection has, which civetweb does not.
// Thread rule: a http_socket belongs to its thread; a http_gate is shared by a server's threads.
#ifndef TRINE_SERVICE_HTTP_SOCKET_H
#define TRINE_SERVICE_HTTP_SOCKET_H

#include "service/http_head.h"

#include "base/err.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

enum { HTTP_PARKED_MAX = 32 };

struct http_gate {
    atomic_size_t open;  // connections accepted and not yet closed
    atomic_size_t limit; // a connection that would be the limit + 1st is refused
    atomic_ullong refused;
    int stop_fd; // an eventfd; once readable, the server's threads wait for nothing any more

    // The accepting thread's own: a file kept in reserve, to be given up for a moment when there
    // are no others, and refused connections that are kept until their client has read the 503
    // (closing one with unread bytes resets it, and the client never sees the answer).
    int spare_fd;
    struct {
        int fd;
        int64_t until_us;
    } parked[HTTP_PARKED_MAX];
    size_t parked_count;
};

enum http_phase {
    HTTP_PHASE_NONE, // no connection, or it is closing: every read ends at once
    HTTP_PHASE_NEW,  // accepted, nothing read yet
    HTTP_PHASE_IDLE, // kept alive between two requests
    HTTP_PHASE_HEAD, // reading a head; a fault in it ends the reading
    HTTP_PHASE_BODY, // the head is whole
};

struct http_socket {
    struct http_gate *gate;
    bool acceptor;           // this is the accepting thread: the rest is not used
    int64_t read_timeout_us; // from a request's first byte to the end of its body
    int fd;                  // -1 until the connection's first wait
    enum http_phase phase;
    int64_t deadline_us;   // no wait for bytes lasts beyond it
    int64_t first_byte_us; // of the request being read
    const char *buffer;    // where civetweb puts this thread's heads
    size_t buffered;       // bytes there: a head, and what came with it
    struct http_scan scan; // of the head there
    bool timed_out;        // the deadline passed while waiting
    bool stopped;          // the server stopped while waiting
    bool ended;            // the client closed or reset its side
    bool head_full;        // the last read filled the buffer
};

// ERR_IO. http_gate_close closes what it holds.
enum err http_gate_open(struct http_gate *g, size_t limit, struct errmsg *msg) MUST_CHECK;
void http_gate_close(struct http_gate *g);
// Ends every wait of the server's threads, now and from now on.
void http_gate_stop(struct http_gate *g);

// From now on the calling thread's accept, poll and recv go through s; NULL undoes it.
void http_socket_attach(struct http_socket *s);

// The request in the buffer has been answered, its body of content_length bytes read: the
// connection waits for the next one, at most keep_alive_us, or has some of it already.
void http_socket_next(struct http_socket *s, size_t content_length, int64_t keep_alive_us);

// Writes all parts in one call where the socket takes them; false when the client is gone or has
// not taken them by deadline_us. Changes parts.
bool http_socket_write(struct http_socket *s, struct iovec *parts, int count, int64_t deadline_us);

// Says that nothing more will be written, then reads and drops what the client still sends, for two
// seconds at most: closing over unread bytes would reset the connection, and the answer just
// written would be lost with it.
void http_socket_linger(struct http_socket *s);

#endif
