// See bpe_merges.h.
#include "tokenizer/bpe_merges.h"

#include "base/mem.h"

enum err bpe_merges_init(struct bpe_merges *t, size_t count, struct errmsg *msg) {
    size_t slots = 64;
    while (slots < 2 * count)
        slots *= 2;
    t->slots = mem_alloc_aligned(slots, sizeof *t->slots);
    t->filter = mem_calloc(BPE_FILTER_BITS / 64, sizeof *t->filter);
    t->bytes = mem_alloc((size_t)256 * 256, sizeof *t->bytes);
    if (!t->slots || !t->filter || !t->bytes || count > UINT32_MAX / 2)
        return err_set(msg, ERR_NOMEM, "no memory for %zu merges", count);
    t->mask = slots - 1;
    for (size_t i = 0; i < slots; i++)
        t->slots[i].left = -1;
    return ERR_OK;
}

void bpe_merges_free(struct bpe_merges *t) {
    mem_free(t->slots);
    mem_free(t->filter);
    mem_free(t->bytes);
    *t = (struct bpe_merges){0};
}

void bpe_merges_put(struct bpe_merges *t, int32_t left, int32_t right, uint32_t rank, int32_t id) {
    uint64_t hash = bpe_pair_hash(left, right);
    size_t i = (size_t)(hash >> 20) & t->mask, bit = bpe_filter_bit(hash);
    t->filter[bit / 64] |= (uint64_t)1 << bit % 64;
    while (t->slots[i].left >= 0 && (t->slots[i].left != left || t->slots[i].right != right))
        i = (i + 1) & t->mask;
    t->count += t->slots[i].left < 0;
    t->slots[i] = (struct bpe_merge){left, right, rank, id};
}

void bpe_merges_finish(struct bpe_merges *t, const int32_t byte_id[256]) {
    for (size_t i = 0; i < (size_t)256 * 256; i++)
        t->bytes[i] = bpe_pair_of(t, byte_id[i >> 8], byte_id[i & 0xFF]);
}
