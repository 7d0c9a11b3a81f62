// The WordPiece model: a word becomes the longest pieces that spell it, from the left, or unk.
// Role: words to pieces, with a cache per thread. Knows no normalizer, and no offsets but those in
// its word. Source followed: huggingface/tokenizers, models/wordpiece/mod.rs (tokenize). Thread
// rule: the model is immutable after load; a wordpiece_work belongs to one thread.
#ifndef TRINE_TOKENIZER_WORDPIECE_H
#define TRINE_TOKENIZER_WORDPIECE_H

#include "base/json.h"
#include "tokenizer/vocab.h"

struct wordpiece {
    struct vocab vocab;
    char *prefix; // owned: "##" before what continues a word
    size_t prefix_len;
    uint64_t prefix_hash;
    size_t max_chars; // a longer word is unk
    int32_t unk;
};

struct wordpiece_piece {
    int32_t id;
    uint32_t end; // bytes of the word up to and with this piece
};

#define WORD_CACHE_SLOTS 4096
#define WORD_CACHE_KEY 24
#define WORD_CACHE_PIECES 6

// One cache line: a word of at most 24 bytes and at most 6 pieces.
struct wordpiece_cached {
    uint64_t hash;
    uint8_t len, count; // len 0: empty
    uint8_t end[WORD_CACHE_PIECES];
    int32_t id[WORD_CACHE_PIECES];
    char key[WORD_CACHE_KEY];
};

struct wordpiece_work {
    struct wordpiece_cached *cache; // [WORD_CACHE_SLOTS]
    uint64_t *hashes;               // [longest piece + 1] of a word's prefixes
    struct wordpiece_piece *pieces;
    size_t count, cap;
};

// The model section of tokenizer.json. ERR_INVALID, ERR_NOMEM; free it in either case.
enum err wordpiece_parse(const cJSON *json, struct wordpiece *out, struct errmsg *msg) MUST_CHECK;
void wordpiece_free(struct wordpiece *m);

enum err wordpiece_work_init(struct wordpiece_work *w, const struct wordpiece *m) MUST_CHECK;
void wordpiece_work_free(struct wordpiece_work *w);

// Writes the pieces of word[0..len), len >= 1, to w->pieces[0..count). hash is vocab_hash of the
// word. ERR_NOMEM.
enum err wordpiece_encode(const struct wordpiece *m, struct wordpiece_work *w, const char *word,
                          size_t len, uint64_t hash) MUST_CHECK;

#endif
