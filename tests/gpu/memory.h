// Memory of the emulated GPU: poisoned, guarded and closed. Role: what alloc and alloc_host give.
// An allocation holds NaNs (as f32, bf16 and f16; large numbers as integers), lies 256 bytes
// aligned and no better, with guard bytes on both sides. Under the address sanitizer device memory
// is closed to everybody; opening takes exactly what an operation said. Thread rule: the emulated
// GPU's lock.
#ifndef TRINE_TESTS_GPU_MEMORY_H
#define TRINE_TESTS_GPU_MEMORY_H

#include "tests/gpu/order.h"

enum { MEMORY_POISON = 0x7fbd }; // 16 bits of it

struct region {
    unsigned char *data;
    size_t bytes;
    struct gpu *gpu;
    bool host;
    struct order_map *order; // device memory's
    struct order_clock used; // host memory's: by which copies
    void *map;               // with the guards
    size_t map_bytes;
};

// NULL where the system has none. A region is found by any address within, or at its end.
struct region *region_new(struct gpu *g, size_t bytes, bool host);
void region_free(struct region *r);
struct region *region_at(const void *p);
struct region *region_of_gpu(const struct gpu *g); // one of g's, or NULL

// Whether both guards stand; all of them, or what lies next to the memory.
bool region_guarded(const struct region *r, bool all);

// Pieces of memory in use, which may overlap. Role: what copies work with of the host's memory.
struct spans; // memory.cpp's
struct spans *spans_new(void);
void spans_free(struct spans *s);
void spans_add(struct spans *s, const void *p, size_t bytes);
void spans_remove(struct spans *s, const void *p, size_t bytes); // one that was added
bool spans_meet(const struct spans *s, const void *p, size_t bytes);

void memory_poison(void *p, size_t bytes); // with the NaNs
void memory_open(const void *p, size_t bytes);
// Closing leaves bytes open that share 8 with open ones; `whole` closes those too.
void memory_close(const void *p, size_t bytes, bool whole);

#endif
