// See slab.h.
#include "compute/cpu/slab.h"

#include "base/mem.h"

#include <string.h>

enum { SLAB_BYTES = 8 << 20, SHARED_FROM = 256 << 10, SHARED_TO = 4 << 20, LINE = 64 };

struct slab {
    struct slab *next;
    char *data;
    size_t used, live; // bytes given out (they come back only all together), blocks in use
};

static struct slab *new_slab(struct slabs *s) {
    struct slab *one = mem_calloc(1, sizeof *one);
    if (!one)
        return NULL;
    one->data = mem_alloc_aligned(SLAB_BYTES, 1);
    if (!one->data) {
        mem_free(one);
        return NULL;
    }
    one->next = s->first;
    s->first = one;
    return one;
}

struct slab_block slab_alloc(struct slabs *s, size_t bytes) {
    if (bytes < SHARED_FROM || bytes >= SHARED_TO)
        return (struct slab_block){mem_alloc_aligned(bytes, 1), NULL};
    bytes = (bytes + LINE - 1) / LINE * LINE;
    struct slab *at = s->first;
    while (at && SLAB_BYTES - at->used < bytes)
        at = at->next;
    if (!at && !(at = new_slab(s)))
        return (struct slab_block){NULL, NULL};
    struct slab_block block = {at->data + at->used, at};
    at->used += bytes;
    at->live++;
    return block;
}

static void drop(struct slabs *s, struct slab *slab) {
    struct slab **link = &s->first;
    while (*link != slab)
        link = &(*link)->next;
    *link = slab->next;
    mem_free(slab->data);
    mem_free(slab);
}

void slab_free(struct slabs *s, struct slab_block block) {
    if (!block.slab) {
        mem_free(block.data);
        return;
    }
    if (--block.slab->live > 0)
        return;
    for (struct slab *other = s->first; other; other = other->next)
        if (other != block.slab && other->live == 0) {
            drop(s, block.slab);
            return;
        }
    memset(block.slab->data, 0, block.slab->used); // for its next user
    block.slab->used = 0;
}

void slab_free_all(struct slabs *s) {
    for (struct slab *at = s->first, *next; at; at = next) {
        next = at->next;
        if (at->live == 0)
            drop(s, at);
    }
}
