// Lines of a file or of stdin, of any total size in constant memory. Role: cuts bytes into lines
// and checks that they are text (UTF-8, no NUL). What a line means is the caller's business.
// Waiting for a line can be given up: a read looks at `stop` five times a second. Thread rule: one
// thread at a time.
#ifndef TRINE_CLI_LINES_H
#define TRINE_CLI_LINES_H

#include "base/err.h"
#include "tokenizer/tokenizer.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum { LINES_MAX_BYTES = 64 << 20 }; // of one line

struct lines {
    const char *name; // for messages: the path, or "stdin"; borrowed
    size_t line;      // number of the line given last, from 1
    uint64_t bytes;   // consumed so far
    uint64_t size;    // of a regular file; 0: not known

    // Set by the caller after lines_open, both may be NULL.
    const atomic_bool *stop;                                // ERR_CANCELLED when it becomes true
    enum err (*before_wait)(void *ctx, struct errmsg *msg); // called before each read
    void *ctx;

    int fd;
    bool eof;
    char *data; // owned
    size_t cap, begin, end;
};

// path NULL or "-": stdin. A byte order mark at the start is skipped.
enum err lines_open(struct lines *l, const char *path, struct errmsg *msg) MUST_CHECK;
void lines_close(struct lines *l);

// Reads the next line, without its \n (and without a \r before it, unless keep_cr); *line is valid
// until the next call. *more false: the end. ERR_INVALID names "file:line" for a NUL or bytes that
// are not UTF-8; ERR_TOO_LARGE, ERR_IO, ERR_NOMEM, ERR_CANCELLED.
enum err lines_next(struct lines *l, bool keep_cr, struct text *line, bool *more,
                    struct errmsg *msg) MUST_CHECK;

#endif
