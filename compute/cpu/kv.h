// The CPU's paged cache of keys and values. Role: its memory and where each number lies in it.
// A block holds all layers, one behind the other, so that memory is touched only for blocks that
// are used; in a layer each kv head has its keys as [head_dim][block_tokens] (the scores of
// neighbouring positions are then one vector), behind them its values as
// [block_tokens][causal_width(head_dim)].
// Thread rule: as compute/device.h's operations; distinct slots may be written by several threads.
#ifndef TRINE_COMPUTE_CPU_KV_H
#define TRINE_COMPUTE_CPU_KV_H

#include "compute/cpu/causal.h"
#include "compute/cpu/pages.h"
#include "compute/device.h"

struct kv_cache {
    struct kv_shape shape;
    const struct cpu_pages *pages; // of data; NULL: the system's
    char *data;
    size_t head_bytes;  // of one kv head of one layer of one block
    size_t values;      // bytes from its keys to its values
    size_t block_bytes; // of one block with all its layers
};

// Of one block with all its layers; 0 where kv_new refuses the shape.
size_t kv_block_bytes(const struct kv_shape *shape);
// ERR_INVALID, ERR_UNSUPPORTED, ERR_TOO_LARGE, ERR_NOMEM.
enum err kv_new(const struct kv_shape *shape, const struct cpu_pages *pages, struct kv_cache **out,
                struct errmsg *msg) MUST_CHECK;
void kv_free(struct kv_cache *kv); // NULL is fine

// Block 0's keys of a layer and kv head.
static inline char *kv_head(const struct kv_cache *kv, size_t layer, size_t head) {
    return kv->data + (layer * kv->shape.kv_heads + head) * kv->head_bytes;
}

// One position of one layer and kv head: k and v are head_dim floats.
void kv_put(const struct kv_cache *kv, const struct causal_kernels *kernels, size_t layer,
            size_t head, size_t slot, const float *k, const float *v);

#endif
