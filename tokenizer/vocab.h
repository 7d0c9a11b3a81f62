// Pieces and ids, both ways: spelling -> id by hash, id -> spelling by table.
// Role: the dictionary of every model here. Lookups take a hash that the caller built up byte by
// byte, so that all prefixes of a word cost one pass. Thread rule: immutable once filled.
#ifndef TRINE_TOKENIZER_VOCAB_H
#define TRINE_TOKENIZER_VOCAB_H

#include "base/json.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define VOCAB_ID_MAX 16777215 // ids above are refused: the tables are indexed by id

struct vocab_slot {
    uint32_t tag;
    int32_t id; // -1: empty
};

struct vocab {
    char *blob;         // spellings, each with a NUL behind
    uint32_t *at, *len; // [size] into blob; at is UINT32_MAX where an id has no piece
    size_t size;        // highest id + 1
    size_t count, used, blob_cap;
    size_t longest; // bytes of the longest piece
    struct vocab_slot *slots;
    size_t mask;
};

// Room for `count` pieces of `bytes` bytes together, with ids from 0 to max_id. ERR_NOMEM.
enum err vocab_init(struct vocab *v, size_t count, size_t bytes, size_t max_id) MUST_CHECK;
// Fills it from an object of pieces and ids (a model section). ERR_INVALID names the piece,
// ERR_NOMEM; free it in either case.
enum err vocab_parse(const cJSON *json, struct vocab *v, struct errmsg *msg) MUST_CHECK;
void vocab_free(struct vocab *v);
// Adds a piece, within what vocab_init was told. False when the id or the spelling is there
// already.
bool vocab_add(struct vocab *v, const char *piece, size_t len, int32_t id);

#define VOCAB_HASH_START 0xcbf29ce484222325u
static inline uint64_t vocab_hash_step(uint64_t h, unsigned char byte) {
    return (h ^ byte) * 0x100000001b3u;
}
uint64_t vocab_hash(uint64_t h, const char *s, size_t len);

// The id spelled prefix + s, -1 when there is none; hash is over prefix and s together.
int32_t vocab_find(const struct vocab *v, uint64_t hash, const char *prefix, size_t prefix_len,
                   const char *s, size_t len);
// As above without a prefix, hashing by itself.
int32_t vocab_id(const struct vocab *v, const char *piece, size_t len);
// NULL for an id without a piece.
const char *vocab_piece(const struct vocab *v, int32_t id);

#endif
