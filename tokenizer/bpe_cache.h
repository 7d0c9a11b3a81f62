// The words that a thread met lately and the pieces they became; most words of a text are among
// them. Role: a hash table whose buckets are two entries, each a cache line, the newer one first.
// Knows no model. A word's lines are prefetched when the word is made, some words before they are
// looked at.
// Thread rule: one owner.
#ifndef TRINE_TOKENIZER_BPE_CACHE_H
#define TRINE_TOKENIZER_BPE_CACHE_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define BPE_CACHE_LINES 32768 // 2 MiB
#define BPE_CACHE_WAYS 2
#define BPE_CACHE_WORD 15 // bytes of the longest word
#define BPE_CACHE_PIECES 3

struct bpe_cached {
    uint64_t key[2]; // the word, zeros behind it, its length in the last byte; 0: empty
    int32_t id[BPE_CACHE_PIECES];
    uint8_t end[BPE_CACHE_PIECES]; // pieces follow each other
    uint8_t count;
};

struct bpe_word {
    const char *s;
    size_t len;
    uint64_t key[2];
    struct bpe_cached *line; // [BPE_CACHE_WAYS]; NULL: too long to be in it
};

// The bytes [0, n), 1 <= n <= 8, as one number, with zeros above.
static inline uint64_t bpe_load(const char *s, size_t n) {
    uint64_t x = 0;
    uint32_t low, high;
    uint16_t first, last;
    if (n == 8) {
        memcpy(&x, s, 8);
    } else if (n >= 4) {
        memcpy(&low, s, 4);
        memcpy(&high, s + n - 4, 4);
        x = low | (uint64_t)high << 8 * (n - 4);
    } else if (n >= 2) {
        memcpy(&first, s, 2);
        memcpy(&last, s + n - 2, 2);
        x = first | (uint64_t)last << 8 * (n - 2);
    } else {
        x = (unsigned char)*s;
    }
    return x;
}

// Makes the key of the word s[0..len), len > 0. s must stay where it is; cache is [BPE_CACHE_LINES]
// lines.
static inline struct bpe_word bpe_word_of(struct bpe_cached *cache, const char *s, size_t len) {
    struct bpe_word word = {s, len, {0, 0}, NULL};
    if (len > BPE_CACHE_WORD)
        return word;
    word.key[0] = bpe_load(s, len < 8 ? len : 8);
    word.key[1] = (len > 8 ? bpe_load(s + 8, len - 8) : 0) | (uint64_t)len << 56;
    uint64_t h = word.key[0] * 0x9E3779B97F4A7C15u;
    h = (h ^ h >> 32 ^ word.key[1]) * 0xC2B2AE3D27D4EB4Fu;
    word.line = cache + (size_t)(h >> 40) % BPE_CACHE_LINES * BPE_CACHE_WAYS;
    __builtin_prefetch(word.line);
    return word;
}

// Looks the word up; NULL: it is not there.
static inline const struct bpe_cached *bpe_cache_find(const struct bpe_word *word) {
    for (size_t i = 0; word->line && i < BPE_CACHE_WAYS; i++)
        if (word->line[i].key[0] == word->key[0] && word->line[i].key[1] == word->key[1])
            return &word->line[i];
    return NULL;
}

// Makes room for the word and sets its key. The older entry of its bucket is gone.
static inline struct bpe_cached *bpe_cache_put(const struct bpe_word *word) {
    memmove(word->line + 1, word->line, (BPE_CACHE_WAYS - 1) * sizeof *word->line);
    memcpy(word->line[0].key, word->key, sizeof word->key);
    return &word->line[0];
}

#endif
