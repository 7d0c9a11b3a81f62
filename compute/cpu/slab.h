// Memory for weights, in huge pages. Role: weights of a few hundred kilobytes to 4 MiB (most of a
// small encoder's) share blocks of 8 MiB, since each alone would lie in 4 KiB pages: a page fault
// each at load, and more of them than the TLB holds in every forward pass. Larger ones have blocks
// of their own (mem_alloc_aligned asks for huge pages then), smaller ones are not worth it.
// What a slab has beyond its blocks is in no weight's bytes: up to 8 MiB less the last of them.
// Thread rule: one thread at a time.
#ifndef TRINE_COMPUTE_CPU_SLAB_H
#define TRINE_COMPUTE_CPU_SLAB_H

#include "compute/cpu/pages.h"

struct slab;

// Zeroed is a good start; every block freed is a good end.
struct slab_list {
    struct slab *first;
    const struct cpu_pages *pages; // NULL: the system's
};

struct slab_block {
    void *data;        // 64-byte aligned, zero at first; NULL when memory is out
    struct slab *slab; // shared with others, or NULL
    size_t bytes;      // as asked for
};

struct slab_block slab_alloc(struct slab_list *s, size_t bytes);
void slab_free(struct slab_list *s, struct slab_block block);
// Lets go the one empty slab that is kept for the next weight.
void slab_free_all(struct slab_list *s);

#endif
