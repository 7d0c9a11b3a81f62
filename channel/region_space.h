// Which parts of a region are taken. Role: the parent's list of blocks, beside the region and never
// in it, so that the worker cannot touch it. First fit: what is used stays at the beginning, where
// pages have been touched before and lie in the cache. No allocation; a walk over the blocks that
// are out, of which there are as many as batches in flight.
// Thread rule: one owner, or under the owner's mutex.
#ifndef TRINE_CHANNEL_REGION_SPACE_H
#define TRINE_CHANNEL_REGION_SPACE_H

#include "base/err.h"

#include <stddef.h>
#include <stdint.h>

enum {
    REGION_ALIGN = 64,   // of every offset, and every block's length is rounded up to it
    REGION_BLOCKS = 256, // that may be out at once
};

struct region_space {
    size_t size, used; // bytes, of all and of the blocks that are out
    size_t count;
    struct region_block {
        uint64_t offset, length;
    } blocks[REGION_BLOCKS]; // by offset
};

void region_space_init(struct region_space *s, size_t size); // all of it free
// Takes bytes (0 counts as 1) at the first place where they fit. ERR_OVERLOADED: not now, but when
// others have been given back; ERR_TOO_LARGE: never.
enum err region_take(struct region_space *s, size_t bytes, uint64_t *offset) MUST_CHECK;
// Gives a block back that region_take gave; any other offset is a programmer's error (assert).
void region_give(struct region_space *s, uint64_t offset);

#endif
