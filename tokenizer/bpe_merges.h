// The table of merges, as its builder and its reader see it. Role: shared by the files of BPE only.
// Thread rule: pure functions.
#ifndef TRINE_TOKENIZER_BPE_MERGES_H
#define TRINE_TOKENIZER_BPE_MERGES_H

#include "tokenizer/bpe.h"

static inline size_t bpe_merge_home(const struct bpe *m, int32_t left, int32_t right) {
    uint64_t x = (uint64_t)(uint32_t)left << 32 | (uint32_t)right;
    x *= 0x9E3779B97F4A7C15u;
    return (size_t)(x >> 32 ^ x >> 15) & m->mask;
}

// NULL: the two do not merge. An empty slot ends a probe, and the table is at most half full.
static inline const struct bpe_merge *bpe_merge_of(const struct bpe *m, int32_t left,
                                                   int32_t right) {
    for (size_t i = bpe_merge_home(m, left, right);; i = (i + 1) & m->mask) {
        const struct bpe_merge *s = &m->merges[i];
        if (s->left == left && s->right == right)
            return s;
        if (s->left < 0)
            return NULL;
    }
}

#endif
