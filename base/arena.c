// See arena.h.
#include "base/arena.h"

#include "base/mem.h"
#include "base/poison.h"

#include <stdint.h>

enum {
    ALIGN = 64,
    MAPPED = 8 << 20, // from here on pages cost nothing until a batch reaches them
};

enum err arena_init(struct arena *a, size_t size) {
    a->base = size < MAPPED ? mem_alloc_aligned(size, 1) : mem_map(size, 1);
    a->size = a->base ? size : 0;
    a->used = 0;
    a->elsewhere = false;
    return a->base ? ERR_OK : ERR_NOMEM;
}

void arena_free(struct arena *a) {
    unpoison(a->base, a->size); // the addresses may be another's next
    if (a->size < MAPPED)
        mem_free(a->base);
    else
        mem_unmap(a->base, a->size, 1);
    *a = (struct arena){0};
}

void arena_reset(struct arena *a) {
    if (!a->elsewhere)
        poison(a->base, a->used);
    a->used = 0;
}

size_t arena_cost(size_t count, size_t size) {
    size_t bytes;
    if (mem_mul_overflows(count, size, &bytes) || bytes > SIZE_MAX - ALIGN - POISON_GAP)
        return SIZE_MAX;
    if (bytes == 0) // what a model does without: no block, no border
        return 0;
    return (bytes + ALIGN - 1) / ALIGN * ALIGN + POISON_GAP;
}

void *arena_alloc(struct arena *a, size_t count, size_t size) {
    size_t cost = arena_cost(count, size);
    if (cost > a->size - a->used)
        return NULL;
    char *p = a->base + a->used;
    a->used += cost;
    if (!a->elsewhere) {
        unpoison(p, count * size);
        poison(p + count * size, cost - count * size);
    }
    return p;
}
