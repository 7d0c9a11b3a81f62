// Memory of one compiled template or of one rendering. It is handed out in order, grows by blocks
// up to a limit, and is freed as a whole. Thread rule: one owner.
#ifndef TRINE_TEMPLATE_REGION_H
#define TRINE_TEMPLATE_REGION_H

#include "base/err.h"

#include <stdbool.h>

struct pool_block;

struct template_region {
    struct pool_block *blocks;
    char *at;
    size_t left;         // of the block in use
    size_t total, limit; // bytes of all blocks
    bool over_limit;     // why the last allocation gave NULL: the limit, else memory
};

// Zeroed, 16-byte aligned; NULL over the limit, when memory is out or the product overflows.
void *template_region_alloc(struct template_region *p, size_t count, size_t size) MUST_CHECK;
void template_region_free(struct template_region *p);

#endif
