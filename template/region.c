// See region.h.
#include "template/region.h"

#include "base/mem.h"

#include <stdint.h>
#include <string.h>

enum { ALIGN = 16, FIRST_BLOCK = 16 << 10, LARGEST_BLOCK = 1 << 20 };

struct pool_block {
    struct pool_block *next;
    size_t padding; // so that what follows is aligned
};

static bool add_block(struct template_region *p, size_t need) {
    size_t size = p->total < FIRST_BLOCK ? FIRST_BLOCK : p->total;
    if (size > LARGEST_BLOCK)
        size = LARGEST_BLOCK;
    if (size < need)
        size = need;
    if (size > p->limit || p->total > p->limit - size) {
        size = need;
        if (size > p->limit || p->total > p->limit - size) {
            p->over_limit = true;
            return false;
        }
    }
    struct pool_block *b = mem_alloc(size + sizeof *b, 1);
    if (!b)
        return false;
    b->next = p->blocks;
    p->blocks = b;
    p->at = (char *)(b + 1);
    p->left = size;
    p->total += size;
    return true;
}

void *template_region_alloc(struct template_region *p, size_t count, size_t size) {
    size_t n;
    p->over_limit = false;
    if (mem_mul_overflows(count, size, &n) || n > SIZE_MAX / 2) {
        p->over_limit = true;
        return NULL;
    }
    n = (n + ALIGN - 1) / ALIGN * ALIGN;
    if (n == 0)
        n = ALIGN;
    if (n > p->left && !add_block(p, n))
        return NULL;
    void *out = p->at;
    p->at += n;
    p->left -= n;
    return memset(out, 0, n);
}

void template_region_free(struct template_region *p) {
    while (p->blocks) {
        struct pool_block *b = p->blocks;
        p->blocks = b->next;
        mem_free(b);
    }
    p->at = NULL;
    p->left = p->total = 0;
}
