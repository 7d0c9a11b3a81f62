// Frames between two processes: a socketpair of SOCK_SEQPACKET, so that a message arrives whole or
// not at all, with a header of fixed form, a checksum over all of it, and descriptors beside it.
// Role: builds and checks frames, sends and receives them. It knows neither what types mean nor
// what a payload or a bulk block holds; bulk data lies in the region (region.h), whose place,
// length and checksum the header names.
// Both sides check every field of every frame: what breaks a rule is refused as a whole, and the
// descriptors that came with it are closed. docs/worker.md has the layout as a table.
// Thread rule: any number of threads may send on a socket, each frame stays whole; one receives.
#ifndef TRINE_CHANNEL_CHANNEL_H
#define TRINE_CHANNEL_CHANNEL_H

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    CHANNEL_VERSION = 1,
    CHANNEL_HEADER_BYTES = 64,
    CHANNEL_PAYLOAD_BYTES = 32 << 10, // at most in a frame; what is larger goes through the region
    CHANNEL_FRAME_BYTES = CHANNEL_HEADER_BYTES + CHANNEL_PAYLOAD_BYTES,
    CHANNEL_FDS = 32,        // descriptors beside a frame, at most
    CHANNEL_BULK_ALIGN = 64, // of every bulk_offset, so that arrays of any type may lie there
};

struct channel_message {
    uint16_t type;                // never 0; which there are is the user's table
    uint64_t life;                // never 0: of which process the frame speaks
    uint64_t sequence;            // names a request, and its answer
    uint64_t bulk_offset;         // in the region; a multiple of CHANNEL_BULK_ALIGN
    uint64_t bulk_length;         // 0: no bulk, then the two others are 0 too
    uint64_t bulk_checksum;       // channel_checksum of the bulk_length bytes
    const unsigned char *payload; // of a received one: in the buffer, until its next use
    size_t payload_length;
    int fds[CHANNEL_FDS]; // sent: borrowed. received: the caller's to close, all CLOEXEC
    size_t fd_count;
};

// Where frames are received. Zeroed it accepts no descriptors at all.
struct channel_buffer {
    size_t most_fds; // a frame with more is refused; at most CHANNEL_FDS
    unsigned char bytes[CHANNEL_FRAME_BYTES];
};

// A connected pair, both CLOEXEC. ERR_IO.
enum err channel_pair(int fds[2], struct errmsg *msg) MUST_CHECK;

// Sends one frame. wait: until the socket takes it; else ERR_OVERLOADED where it would block, and
// nothing was sent. ERR_LOST: the other side has closed. ERR_INTERNAL: the message breaks a rule of
// its struct. ERR_IO: anything else. Raises no SIGPIPE.
enum err channel_send(int fd, const struct channel_message *m, bool wait,
                      struct errmsg *msg) MUST_CHECK;

// Receives one frame. wait: until there is one; else ERR_OVERLOADED where there is none. ERR_LOST:
// the other side has closed and all that it sent was read (an empty message is taken for that too).
// ERR_INVALID: what came breaks a rule; no descriptor of it is left open, *out is zeroed, and
// nothing that the other side says can be trusted from here on.
enum err channel_receive(int fd, struct channel_buffer *buf, struct channel_message *out, bool wait,
                         struct errmsg *msg) MUST_CHECK;

// Closes what the message brought, and sets fd_count to 0.
void channel_close_fds(struct channel_message *m);

// XXH3, 64 bits, of n bytes: of bulk data. No secret is in it: it finds damage, not malice.
uint64_t channel_checksum(const void *bytes, size_t n);

// The two halves of a frame without a socket: for fuzzing, and for tests that break frames.
// Writes the header of m; its payload is read for the checksum. ERR_INTERNAL as channel_send.
enum err channel_encode(const struct channel_message *m, unsigned char header[CHANNEL_HEADER_BYTES],
                        struct errmsg *msg) MUST_CHECK;
// Reads a whole frame of n bytes that came with fd_count descriptors, which are the caller's to put
// into out->fds. ERR_INVALID and a zeroed *out where a rule is broken.
enum err channel_decode(const unsigned char *bytes, size_t n, size_t fd_count,
                        struct channel_message *out, struct errmsg *msg) MUST_CHECK;

#endif
