// A growable byte buffer with a sticky error: append without checking each time, check once at the
// end (`failed`). Always NUL-terminated after the first append. Thread rule: one owner.
#ifndef TRINE_BASE_BUF_H
#define TRINE_BASE_BUF_H

#include "base/err.h"

#include <stdbool.h>

struct buf {
    char *data; // owned; NULL while empty
    size_t len, cap;
    bool failed; // an allocation failed; everything since is dropped
};

// Room for `more` further bytes (and a NUL); false, and failed set, when memory is out.
bool buf_reserve(struct buf *b, size_t more);
void buf_append(struct buf *b, const void *bytes, size_t n);
void buf_puts(struct buf *b, const char *s);
void buf_putc(struct buf *b, char c);
void buf_printf(struct buf *b, const char *fmt, ...) PRINTF_LIKE(2, 3);
void buf_reset(struct buf *b); // keeps the memory, clears len and failed
void buf_free(struct buf *b);
void buf_trim(struct buf *b, size_t bytes); // buf_free where it holds more than `bytes`

#endif
