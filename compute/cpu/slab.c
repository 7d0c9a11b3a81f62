// See slab.h.
#include "compute/cpu/slab.h"

#include "base/mem.h"
#include "base/poison.h"
#include "compute/cpu/share.h"

#include <string.h>

enum { SLAB_BYTES = 8 << 20, SHARED_FROM = 256 << 10, SHARED_TO = 4 << 20, LINE = 64 };

struct slab {
    struct slab *next;
    char *data;
    size_t used, live; // bytes given out (they come back only all together), blocks in use
};

static void *take(struct slab_list *s, size_t bytes) {
    return s->pages ? s->pages->take(s->pages->ctx, bytes) : mem_alloc_aligned(bytes, 1);
}

static void give(struct slab_list *s, void *p, size_t bytes) {
    if (s->pages)
        s->pages->give(s->pages->ctx, p, bytes);
    else
        mem_free(p);
}

static struct slab *new_slab(struct slab_list *s) {
    struct slab *one = mem_calloc(1, sizeof *one);
    if (!one)
        return NULL;
    one->data = take(s, SLAB_BYTES);
    if (!one->data) {
        mem_free(one);
        return NULL;
    }
    poison(one->data, SLAB_BYTES);
    one->next = s->first;
    s->first = one;
    return one;
}

struct slab_block slab_alloc(struct slab_list *s, size_t bytes) {
    if (bytes < SHARED_FROM || bytes >= SHARED_TO)
        return (struct slab_block){take(s, bytes), NULL, bytes};
    size_t taken = round_up(bytes, LINE) + POISON_GAP;
    struct slab *at = s->first;
    while (at && SLAB_BYTES - at->used < taken)
        at = at->next;
    if (!at && !(at = new_slab(s)))
        return (struct slab_block){NULL, NULL, 0};
    struct slab_block block = {at->data + at->used, at, bytes};
    unpoison(block.data, bytes);
    at->used += taken;
    at->live++;
    return block;
}

static void drop(struct slab_list *s, struct slab *slab) {
    struct slab **link = &s->first;
    while (*link != slab)
        link = &(*link)->next;
    *link = slab->next;
    unpoison(slab->data, SLAB_BYTES);
    give(s, slab->data, SLAB_BYTES);
    mem_free(slab);
}

void slab_free(struct slab_list *s, struct slab_block block) {
    if (!block.slab) {
        if (block.data)
            give(s, block.data, block.bytes);
        return;
    }
    poison(block.data, block.bytes);
    if (--block.slab->live > 0)
        return;
    for (struct slab *other = s->first; other; other = other->next)
        if (other != block.slab && other->live == 0) {
            drop(s, block.slab);
            return;
        }
    unpoison(block.slab->data, block.slab->used);
    memset(block.slab->data, 0, block.slab->used); // for its next user
    poison(block.slab->data, block.slab->used);
    block.slab->used = 0;
}

void slab_free_all(struct slab_list *s) {
    for (struct slab *at = s->first, *next; at; at = next) {
        next = at->next;
        if (at->live == 0)
            drop(s, at);
    }
}
