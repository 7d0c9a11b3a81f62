// Parts of a file on their way into a prepared weight. Role: what every device does with them: the
// checks of weight_prepare, and reading in pieces. A file is read by pread into memory that stays
// in a cache, and not mapped: a mapping of a file that is truncated meanwhile ends the process, and
// reading all of it first needs as much fresh memory again, which takes longer to get than the
// reading. Thread rule: pure functions; any thread.
#ifndef TRINE_COMPUTE_WEIGHT_PARTS_H
#define TRINE_COMPUTE_WEIGHT_PARTS_H

#include "compute/device.h"

// Shapes, ranks and dtypes, as weight_prepare says; the sum of the parts' rows (VECTOR: 1), and
// their columns. ERR_INVALID, ERR_UNSUPPORTED, ERR_TOO_LARGE.
enum err weight_parts_check(enum weight_kind kind, const struct weight_part *parts, size_t n,
                            size_t *rows, size_t *cols, struct errmsg *msg) MUST_CHECK;

// Bytes of n values from a block's begin on.
static inline size_t weight_stored_bytes(enum dtype t, size_t n) {
    return n / dtype_block(t) * dtype_block_bytes(t);
}
// Values [at, at + n) of t as they are stored: *out is t's own memory, or scratch, which has room
// for them. ERR_IO: the file was cut short.
enum err weight_read_stored(const struct tensor *t, size_t at, size_t n, void *scratch,
                            const unsigned char **out, struct errmsg *msg) MUST_CHECK;

// The row of a part that becomes its row r (struct weight_part).
size_t weight_source_row(size_t interleaved_head_dim, size_t r);

// The first of n values of a block type, which begin with a block, whose block has a scale that is
// not finite (the block's first); n when there is none.
size_t weight_blocks_bad(enum dtype t, const unsigned char *src, size_t n);

#endif
