// A bump arena of one fixed block: a worker's workspace, sized once, reset per batch.
// Role: gives a forward pass all its scratch without a malloc. It never grows; asking for more than
// it holds gives NULL. A large one holds only the pages that were used so far. Thread rule: one
// thread at a time.
#ifndef TRINE_BASE_ARENA_H
#define TRINE_BASE_ARENA_H

#include "base/err.h"

struct arena {
    char *base;
    size_t size, used;
};

// Owns `size` bytes until arena_free. ERR_NOMEM.
enum err arena_init(struct arena *a, size_t size) MUST_CHECK;
void arena_free(struct arena *a);
void arena_reset(struct arena *a);

// 64-byte aligned, contents undefined; NULL when it does not fit or the product overflows.
void *arena_alloc(struct arena *a, size_t count, size_t size) MUST_CHECK;

// The bytes that arena_alloc(count, size) takes from the arena, alignment included (and under
// AddressSanitizer the gap behind each block, see poison.h): what a planner adds up. SIZE_MAX on
// overflow.
size_t arena_cost(size_t count, size_t size);

#endif
