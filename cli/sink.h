// Where a command's data goes: a buffered file descriptor. Role: one write for many small appends;
// every failure names the file. Thread rule: one thread.
#ifndef TRINE_CLI_SINK_H
#define TRINE_CLI_SINK_H

#include "base/buf.h"
#include "base/err.h"

#include <stdatomic.h>
#include <stdint.h>

struct sink {
    int fd;
    const char *name; // for messages; borrowed
    // May be set after sink_init: a reader that takes nothing is given up (ERR_CANCELLED) when it
    // becomes true.
    const atomic_bool *stop;
    struct buf buf;   // append here, then sink_settle
    uint64_t written; // bytes handed to the system
};

// Begins on a descriptor; the caller keeps and closes it.
void sink_init(struct sink *s, int fd, const char *name);
// Writes when enough has gathered. ERR_IO ("x: cannot write: No space left on device"), ERR_NOMEM
// (an append failed).
enum err sink_settle(struct sink *s, struct errmsg *msg) MUST_CHECK;
// Writes everything.
enum err sink_flush(struct sink *s, struct errmsg *msg) MUST_CHECK;
void sink_free(struct sink *s);

#endif
