// A bump arena of one fixed block: a worker's workspace, sized once and reset for each batch.
// Role: gives a forward pass all its scratch memory without a malloc. It never grows: asking for
// more than it holds returns NULL. Of a large arena only the pages that have been used take memory.
// Thread rule: one thread at a time.
#ifndef TRINE_BASE_ARENA_H
#define TRINE_BASE_ARENA_H

#include "base/err.h"

#include <stdbool.h>

struct arena {
    char *base;
    size_t size, used;
    bool elsewhere; // memory that this program does not touch, a GPU's: nothing is marked in it
};

// Owns `size` bytes until arena_free. ERR_NOMEM.
enum err arena_init(struct arena *a, size_t size) MUST_CHECK;
void arena_free(struct arena *a);
void arena_reset(struct arena *a);

// 64-byte aligned, contents undefined; NULL when it does not fit or the product overflows.
void *arena_alloc(struct arena *a, size_t count, size_t size) MUST_CHECK;

// How many bytes arena_alloc(count, size) takes from the arena, with alignment (and, under
// AddressSanitizer, the gap behind each block: poison.h). For planning an arena's size. SIZE_MAX on
// overflow.
size_t arena_cost(size_t count, size_t size);

#endif
