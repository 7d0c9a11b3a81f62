// See kv_blocks.h. Blocks live in one array; a block is free, held, or kept. Kept ones form a list,
// least recently used first: a chain is released from its end, so a block never stands before the
// ones that continue it. Published blocks are found by a hash of (owner, parent, tokens).
#include "engine/kv_blocks.h"

#include "base/mem.h"

#include <stdbool.h>
#include <string.h>

struct kv_block {
    uint32_t references;
    int32_t parent; // published: the block before it, or KV_NO_BLOCK
    uint64_t owner, hash;
    bool published;
    int32_t bucket_next;  // published: the next one of its bucket
    int32_t older, newer; // kept: neighbours in the list; free: `older` links the free list
};

struct kv_blocks {
    size_t count, block_tokens;
    struct kv_block *blocks; // [count]
    int32_t *tokens;         // [count, block_tokens] of published blocks
    int32_t *buckets;        // [bucket_mask + 1] heads
    size_t bucket_mask;
    int32_t free;           // head of the free list
    int32_t oldest, newest; // of the kept list
    size_t free_count, kept_count;
};

enum err kv_blocks_new(size_t blocks, size_t block_tokens, struct kv_blocks **out,
                       struct errmsg *msg) {
    *out = NULL;
    struct kv_blocks *b = mem_calloc(1, sizeof *b);
    size_t buckets = 16, values;
    while (buckets < blocks && buckets < SIZE_MAX / 4)
        buckets *= 2;
    if (b && blocks <= INT32_MAX && !mem_mul_overflows(blocks, block_tokens, &values)) {
        *b = (struct kv_blocks){.count = blocks,
                                .block_tokens = block_tokens,
                                .bucket_mask = buckets - 1,
                                .free = KV_NO_BLOCK,
                                .oldest = KV_NO_BLOCK,
                                .newest = KV_NO_BLOCK,
                                .free_count = blocks};
        b->blocks = mem_calloc(blocks, sizeof *b->blocks);
        b->tokens = mem_alloc(values, sizeof *b->tokens);
        b->buckets = mem_alloc(buckets, sizeof *b->buckets);
    }
    if (!b || !b->blocks || !b->tokens || !b->buckets) {
        kv_blocks_free(b);
        return err_set(msg, ERR_NOMEM, "no memory for the list of %zu KV blocks", blocks);
    }
    for (size_t i = 0; i < buckets; i++)
        b->buckets[i] = KV_NO_BLOCK;
    for (size_t i = blocks; i-- > 0;) { // block 0 is given first
        b->blocks[i].older = b->free;
        b->free = (int32_t)i;
    }
    *out = b;
    return ERR_OK;
}

void kv_blocks_free(struct kv_blocks *b) {
    if (!b)
        return;
    mem_free(b->blocks);
    mem_free(b->tokens);
    mem_free(b->buckets);
    mem_free(b);
}

size_t kv_blocks_room(const struct kv_blocks *b) { return b->free_count + b->kept_count; }
size_t kv_blocks_kept(const struct kv_blocks *b) { return b->kept_count; }
size_t kv_blocks_held(const struct kv_blocks *b) {
    return b->count - b->free_count - b->kept_count;
}

// ---- the kept list

static void keep(struct kv_blocks *b, int32_t i) {
    struct kv_block *block = &b->blocks[i];
    block->older = b->newest;
    block->newer = KV_NO_BLOCK;
    if (b->newest != KV_NO_BLOCK)
        b->blocks[b->newest].newer = i;
    else
        b->oldest = i;
    b->newest = i;
    b->kept_count++;
}

static void unkeep(struct kv_blocks *b, int32_t i) {
    const struct kv_block *block = &b->blocks[i];
    if (block->older != KV_NO_BLOCK)
        b->blocks[block->older].newer = block->newer;
    else
        b->oldest = block->newer;
    if (block->newer != KV_NO_BLOCK)
        b->blocks[block->newer].older = block->older;
    else
        b->newest = block->older;
    b->kept_count--;
}

// ---- the index of published blocks

static uint64_t mix(uint64_t h, uint64_t x) {
    h = (h ^ x) * 0x9e3779b97f4a7c15U;
    return h ^ (h >> 32);
}

static uint64_t hash_of(const struct kv_blocks *b, uint64_t owner, int32_t parent,
                        const int32_t *tokens) {
    uint64_t h = mix(mix(0x51ed270b, owner), (uint32_t)parent);
    for (size_t i = 0; i < b->block_tokens; i++)
        h = mix(h, (uint32_t)tokens[i]);
    return h;
}

static int32_t find(const struct kv_blocks *b, uint64_t hash, uint64_t owner, int32_t parent,
                    const int32_t *tokens) {
    int32_t i = b->buckets[hash & b->bucket_mask];
    for (; i != KV_NO_BLOCK; i = b->blocks[i].bucket_next) {
        const struct kv_block *block = &b->blocks[i];
        if (block->hash == hash && block->owner == owner && block->parent == parent &&
            memcmp(b->tokens + (size_t)i * b->block_tokens, tokens,
                   b->block_tokens * sizeof *tokens) == 0)
            return i;
    }
    return KV_NO_BLOCK;
}

static void unpublish(struct kv_blocks *b, int32_t i) {
    struct kv_block *block = &b->blocks[i];
    int32_t *at = &b->buckets[block->hash & b->bucket_mask];
    while (*at != i)
        at = &b->blocks[*at].bucket_next;
    *at = block->bucket_next;
    block->published = false;
}

// ---- references

static void hold(struct kv_blocks *b, int32_t i) {
    if (b->blocks[i].references++ == 0)
        unkeep(b, i);
}

static void let_go(struct kv_blocks *b, int32_t i) {
    struct kv_block *block = &b->blocks[i];
    if (--block->references > 0)
        return;
    if (block->published) {
        keep(b, i);
        return;
    }
    block->older = b->free;
    b->free = i;
    b->free_count++;
}

int32_t kv_blocks_take(struct kv_blocks *b) {
    int32_t i = b->free;
    if (i != KV_NO_BLOCK) {
        b->free = b->blocks[i].older;
        b->free_count--;
    } else if (b->oldest != KV_NO_BLOCK) {
        i = b->oldest;
        unkeep(b, i);
        unpublish(b, i);
    } else {
        return KV_NO_BLOCK;
    }
    b->blocks[i].references = 1;
    return i;
}

size_t kv_blocks_match(struct kv_blocks *b, uint64_t owner, const int32_t *tokens, size_t n,
                       int32_t *chain) {
    size_t found = 0;
    int32_t parent = KV_NO_BLOCK;
    for (; (found + 1) * b->block_tokens <= n; found++) {
        const int32_t *part = tokens + found * b->block_tokens;
        int32_t i = find(b, hash_of(b, owner, parent, part), owner, parent, part);
        if (i == KV_NO_BLOCK)
            break;
        hold(b, i);
        chain[found] = parent = i;
    }
    return found;
}

int32_t kv_blocks_publish(struct kv_blocks *b, uint64_t owner, int32_t parent, int32_t block,
                          const int32_t *tokens) {
    uint64_t hash = hash_of(b, owner, parent, tokens);
    int32_t equal = find(b, hash, owner, parent, tokens);
    if (equal != KV_NO_BLOCK) {
        hold(b, equal);
        let_go(b, block);
        return equal;
    }
    struct kv_block *p = &b->blocks[block];
    p->published = true;
    p->owner = owner;
    p->parent = parent;
    p->hash = hash;
    p->bucket_next = b->buckets[hash & b->bucket_mask];
    b->buckets[hash & b->bucket_mask] = block;
    memcpy(b->tokens + (size_t)block * b->block_tokens, tokens, b->block_tokens * sizeof *tokens);
    return block;
}

void kv_blocks_release(struct kv_blocks *b, const int32_t *chain, size_t n) {
    while (n-- > 0)
        let_go(b, chain[n]);
}

void kv_blocks_forget(struct kv_blocks *b) {
    for (size_t i = 0; i <= b->bucket_mask; i++)
        b->buckets[i] = KV_NO_BLOCK;
    for (size_t i = 0; i < b->count; i++) {
        struct kv_block *block = &b->blocks[i];
        if (block->published && block->references == 0) {
            block->older = b->free;
            b->free = (int32_t)i;
            b->free_count++;
        }
        block->published = false;
    }
    b->oldest = b->newest = KV_NO_BLOCK;
    b->kept_count = 0;
}
