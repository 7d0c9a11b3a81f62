// The table of merges, as its builder and its reader see it. Role: shared by the files of BPE only.
// Thread rule: pure functions.
#ifndef TRINE_TOKENIZER_BPE_MERGES_H
#define TRINE_TOKENIZER_BPE_MERGES_H

#include "tokenizer/bpe.h"

static inline uint64_t bpe_pair_hash(int32_t left, int32_t right) {
    uint64_t x = ((uint64_t)(uint32_t)left << 32 | (uint32_t)right) * 0x9E3779B97F4A7C15u;
    return (x ^ x >> 32) * 0xC2B2AE3D27D4EB4Fu;
}

static inline size_t bpe_filter_bit(uint64_t hash) {
    return (size_t)(hash >> 43) % BPE_FILTER_BITS;
}

// An empty slot ends a probe, and the table is at most half full.
static inline struct bpe_pair bpe_pair_of(const struct bpe *m, int32_t left, int32_t right) {
    uint64_t hash = bpe_pair_hash(left, right);
    size_t bit = bpe_filter_bit(hash);
    const struct bpe_pair none = {BPE_NO_RANK, -1};
    if (!(m->filter[bit / 64] >> bit % 64 & 1))
        return none;
    for (size_t i = (size_t)(hash >> 20) & m->mask;; i = (i + 1) & m->mask) {
        const struct bpe_merge *s = &m->merges[i];
        if (s->left == left && s->right == right)
            return (struct bpe_pair){s->rank, s->id};
        if (s->left < 0)
            return none;
    }
}

static inline struct bpe_pair bpe_pair_of_bytes(const struct bpe *m, char left, char right) {
    return m->bytes[(size_t)(unsigned char)left << 8 | (unsigned char)right];
}

#endif
