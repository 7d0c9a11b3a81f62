// The table of merges: what two neighbouring symbols become, and at which rank. Open addressing,
// with two short cuts in front of it: a filter that fits a core's cache, and a plain table of the
// pairs of bytes. Thread rule: immutable once filled.
#ifndef TRINE_TOKENIZER_BPE_MERGES_H
#define TRINE_TOKENIZER_BPE_MERGES_H

#include "base/err.h"

#include <stddef.h>
#include <stdint.h>

struct bpe_merge {
    int32_t left, right; // left < 0: empty
    uint32_t rank;
    int32_t id; // what the two become
};

#define BPE_NO_RANK UINT32_MAX

// What two symbols become.
struct bpe_pair {
    uint32_t rank; // BPE_NO_RANK: they do not merge
    int32_t id;
};

#define BPE_FILTER_BITS ((size_t)1 << 21) // a quarter of a megabyte, to stay in a core's cache

struct bpe_merges {
    struct bpe_pair *bytes;  // [256][256] of two bytes: most of what a new word asks for
    struct bpe_merge *slots; // [mask + 1], at most half full
    size_t mask, count;
    uint64_t *filter; // bits: where one is not set, `slots` need not be asked
};

// Room for `count` merges, none of them there yet. ERR_NOMEM; free it in either case.
enum err bpe_merges_init(struct bpe_merges *t, size_t count, struct errmsg *msg) MUST_CHECK;
void bpe_merges_free(struct bpe_merges *t);
// As in Hugging Face, a pair that comes again takes the later rank.
void bpe_merges_put(struct bpe_merges *t, int32_t left, int32_t right, uint32_t rank, int32_t id);
// Fills `bytes`, when all are in. byte_id: of each byte, below 0 where it has none.
void bpe_merges_finish(struct bpe_merges *t, const int32_t byte_id[256]);

static inline uint64_t bpe_pair_hash(int32_t left, int32_t right) {
    uint64_t x = ((uint64_t)(uint32_t)left << 32 | (uint32_t)right) * 0x9E3779B97F4A7C15u;
    return (x ^ x >> 32) * 0xC2B2AE3D27D4EB4Fu;
}

static inline size_t bpe_filter_bit(uint64_t hash) {
    return (size_t)(hash >> 43) % BPE_FILTER_BITS;
}

// An empty slot ends a probe, and the table is at most half full.
static inline struct bpe_pair bpe_pair_of(const struct bpe_merges *t, int32_t left, int32_t right) {
    uint64_t hash = bpe_pair_hash(left, right);
    size_t bit = bpe_filter_bit(hash);
    const struct bpe_pair none = {BPE_NO_RANK, -1};
    if (!(t->filter[bit / 64] >> bit % 64 & 1))
        return none;
    for (size_t i = (size_t)(hash >> 20) & t->mask;; i = (i + 1) & t->mask) {
        const struct bpe_merge *s = &t->slots[i];
        if (s->left == left && s->right == right)
            return (struct bpe_pair){s->rank, s->id};
        if (s->left < 0)
            return none;
    }
}

static inline struct bpe_pair bpe_pair_of_bytes(const struct bpe_merges *t, char left, char right) {
    return t->bytes[(size_t)(unsigned char)left << 8 | (unsigned char)right];
}

#endif
