// The byte-level BPE model: the bytes of a word are merged in pairs until no pair is in the table;
// the pair of lowest rank goes first, among equals the leftmost.
// Role: words (raw bytes) to pieces, with a cache per thread. Knows no normalizer, no pattern and
// no offsets but those in its word. Short words are merged by a plain loop, longer ones with a heap
// over a linked list: n log n, never quadratic.
// Source followed: huggingface/tokenizers, models/bpe/model.rs (merge_word, tokenize), word.rs.
// Thread rule: the model is immutable after load; a bpe_work belongs to one thread.
#ifndef TRINE_TOKENIZER_BPE_H
#define TRINE_TOKENIZER_BPE_H

#include "base/json.h"
#include "tokenizer/bpe_cache.h"
#include "tokenizer/bpe_merges.h"
#include "tokenizer/vocab.h"

struct bpe {
    struct vocab vocab;   // spelled in the byte-level alphabet
    int32_t byte_id[256]; // -1: the vocabulary lacks it; such a byte is unk, or is dropped
    bool every_byte;      // none is -1
    struct bpe_merges merges;
    int32_t unk;        // -1: none
    bool fuse_unk;      // unknown bytes in a row are one token
    bool ignore_merges; // a word that is a piece is taken whole
};

struct bpe_piece {
    int32_t id;
    uint32_t begin, end; // bytes of the word; they may overlap where bytes were dropped
};

#define BPE_WHOLE_MAX 512 // bytes of the longest piece where merges are ignored

struct bpe_symbol {
    int32_t id; // -1: gone into the one before it
    uint32_t rank;
    int32_t merged; // what it and the next become, at that rank
    uint32_t prev, next, len;
};

struct bpe_work {
    struct bpe_cached *cache; // [BPE_CACHE_LINES][BPE_CACHE_WAYS]
    struct bpe_symbol *symbols;
    size_t symbol_cap;
    uint64_t *heap; // rank, position
    size_t heap_len, heap_cap;
    struct bpe_piece *pieces;
    size_t count, cap;
};

// The model section of tokenizer.json. ERR_INVALID (naming the token of a merge that is not in the
// vocabulary), ERR_UNSUPPORTED, ERR_NOMEM; free it in either case.
enum err bpe_parse(const cJSON *json, struct bpe *out, struct errmsg *msg) MUST_CHECK;
void bpe_free(struct bpe *m);

enum err bpe_work_init(struct bpe_work *w) MUST_CHECK;
void bpe_work_free(struct bpe_work *w);

// Writes the pieces of a word of less than 4 GiB to w->pieces[0..count). The word was made by
// bpe_word_of with w->cache. ERR_NOMEM.
enum err bpe_encode(const struct bpe *m, struct bpe_work *w,
                    const struct bpe_word *word) MUST_CHECK;

#endif
