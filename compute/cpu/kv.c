// See kv.h.
#include "compute/cpu/kv.h"

#include "base/mem.h"

#include <string.h>

static enum err check_shape(const struct kv_shape *s, struct errmsg *msg) {
    if (s->dtype != DTYPE_F32 && s->dtype != DTYPE_F16)
        return err_set(msg, ERR_UNSUPPORTED, "a cache of %s: there are f32 and f16",
                       dtype_name(s->dtype));
    if (s->layers == 0 || s->kv_heads == 0 || s->head_dim == 0 || s->blocks == 0)
        return err_set(msg, ERR_INVALID,
                       "a cache of %zu layers, %zu heads of %zu, %zu blocks: none may be 0",
                       s->layers, s->kv_heads, s->head_dim, s->blocks);
    if (s->head_dim > CAUSAL_MAX_HEAD_DIM)
        return err_set(msg, ERR_UNSUPPORTED, "a cache for heads of %zu, at most %d", s->head_dim,
                       CAUSAL_MAX_HEAD_DIM);
    if (s->block_tokens == 0 || s->block_tokens % CAUSAL_ALIGN || s->block_tokens > INT32_MAX)
        return err_set(msg, ERR_INVALID,
                       "cache blocks of %zu positions: a multiple of %d is needed", s->block_tokens,
                       CAUSAL_ALIGN);
    return ERR_OK;
}

// Also that slots fit their int32.
static bool sizes(struct kv_cache *kv, size_t *bytes) {
    const struct kv_shape *s = &kv->shape;
    size_t size = dtype_size(s->dtype), per_position, slots;
    kv->values = s->block_tokens * s->head_dim * size;
    per_position = (s->head_dim + causal_width(s->head_dim)) * size;
    return !mem_mul_overflows(s->block_tokens, per_position, &kv->head_bytes) &&
           !mem_mul_overflows(kv->head_bytes, s->kv_heads, &kv->block_bytes) &&
           !mem_mul_overflows(kv->block_bytes, s->layers, &kv->block_bytes) &&
           !mem_mul_overflows(kv->block_bytes, s->blocks, bytes) &&
           !mem_mul_overflows(s->blocks, s->block_tokens, &slots) && slots <= INT32_MAX;
}

size_t kv_block_bytes(const struct kv_shape *shape) {
    struct kv_cache kv = {.shape = *shape};
    size_t bytes;
    return check_shape(shape, NULL) == ERR_OK && sizes(&kv, &bytes) ? kv.block_bytes : 0;
}

enum err kv_new(const struct kv_shape *shape, const struct cpu_pages *pages, struct kv_cache **out,
                struct errmsg *msg) {
    *out = NULL;
    enum err e = check_shape(shape, msg);
    if (e != ERR_OK)
        return e;
    struct kv_cache *kv = mem_calloc(1, sizeof *kv);
    if (!kv)
        return err_set(msg, ERR_NOMEM, "no memory for a cache");
    kv->shape = *shape;
    kv->pages = pages;
    size_t bytes = 0;
    if (!sizes(kv, &bytes)) {
        mem_free(kv);
        return err_set(msg, ERR_TOO_LARGE, "a cache of %zu blocks of %zu positions", shape->blocks,
                       shape->block_tokens);
    }
    kv->data = pages ? pages->take(pages->ctx, bytes) : mem_map(bytes, 1);
    if (!kv->data) {
        mem_free(kv);
        return err_set(msg, ERR_NOMEM, "no memory for a cache of %zu bytes", bytes);
    }
    *out = kv;
    return ERR_OK;
}

void kv_free(struct kv_cache *kv) {
    if (!kv)
        return;
    size_t bytes = kv->shape.blocks * kv->block_bytes;
    if (kv->pages)
        kv->pages->give(kv->pages->ctx, kv->data, bytes);
    else
        mem_unmap(kv->data, bytes, 1);
    mem_free(kv);
}

void kv_put(const struct kv_cache *kv, const struct causal_kernels *kernels, size_t layer,
            size_t head, size_t slot, const float *k, const float *v) {
    size_t tokens = kv->shape.block_tokens, hd = kv->shape.head_dim, at = slot % tokens;
    char *block = kv_head(kv, layer, head) + slot / tokens * kv->block_bytes;
    if (kv->shape.dtype == DTYPE_F32) {
        float *keys = (float *)(void *)block;
        for (size_t d = 0; d < hd; d++)
            keys[d * tokens + at] = k[d];
        float *values = (float *)(void *)(block + kv->values);
        memcpy(values + at * causal_width(hd), v, hd * sizeof *v);
        return;
    }
    uint16_t half[CAUSAL_MAX_HEAD_DIM], *keys = (uint16_t *)(void *)block;
    kernels->to_f16(k, half, hd);
    for (size_t d = 0; d < hd; d++)
        keys[d * tokens + at] = half[d];
    uint16_t *values = (uint16_t *)(void *)(block + kv->values);
    kernels->to_f16(v, values + at * causal_width(hd), hd);
}
