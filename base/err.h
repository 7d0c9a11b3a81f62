// Errors as values: one list of codes and a message buffer that names the thing and what to do.
// Role: every fallible function returns `enum err` and takes a `struct errmsg *` last (it may be
// NULL where the caller has no use for the words). Nothing here prints or exits.
// Thread rule: an errmsg belongs to its caller; no shared state.
#ifndef TRINE_BASE_ERR_H
#define TRINE_BASE_ERR_H

#include <stdarg.h>
#include <stddef.h>

#define MUST_CHECK __attribute__((warn_unused_result))
#define PRINTF_LIKE(fmt_at, args_at) __attribute__((format(printf, fmt_at, args_at)))

enum err {
    ERR_OK = 0,
    ERR_NOMEM,       // an allocation failed
    ERR_IO,          // the operating system refused a read, write, open or thread
    ERR_INVALID,     // input from outside breaks its contract
    ERR_UNSUPPORTED, // well formed, but nothing here can do it; the message says what is supported
    ERR_NOT_FOUND,   // a file, tensor, model or route that is not there
    ERR_TOO_LARGE,   // over a configured or structural limit
    ERR_OVERLOADED,  // the queue is full
    ERR_UNAVAILABLE, // loading or draining
    ERR_CANCELLED,   // the one who asked is gone
    ERR_DEADLINE,    // its time passed before work began
    ERR_NONFINITE,   // a result is NaN or Inf
    ERR_LOST,        // the device that had it is gone: the same work can be given again
    ERR_INTERNAL,    // our fault
    ERR_COUNT,
};

struct errmsg {
    enum err code;
    char text[512];
};

// Formats the message (one line of valid UTF-8: control characters become '?'; cut at the buffer,
// behind a whole character) and returns `code`, so that a failing function can
// `return err_set(msg, ERR_INVALID, "...")`. msg may be NULL.
enum err err_set(struct errmsg *msg, enum err code, const char *fmt, ...) PRINTF_LIKE(3, 4);
enum err err_vset(struct errmsg *msg, enum err code, const char *fmt, va_list ap) PRINTF_LIKE(3, 0);

// Puts "prefix: " before the words already in msg (a file's name, say); returns msg's code.
enum err err_prefix(struct errmsg *msg, enum err code, const char *fmt, ...) PRINTF_LIKE(3, 4);

// A stable lower-case name of a code ("invalid", "overloaded").
const char *err_name(enum err code);

#endif
