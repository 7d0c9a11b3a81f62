// API keys: read from a file of hashes, compared in constant time. Role: says whether a presented
// key is one of ours; the keys themselves are never kept, logged or shown.
// The file has one line a key: name:sha256hex[:role[:weight]], role user or admin (user when
// absent), weight 1 to 1000 (1); empty lines and lines that begin with # are skipped. One key
// stands on one line only. Thread rule: immutable after load, any thread.
#ifndef TRINE_SERVICE_KEYS_H
#define TRINE_SERVICE_KEYS_H

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct keys;

struct keys_key {
    char name[64];
    uint8_t hash[32]; // SHA-256 of the key's bytes
    bool admin;
    int weight;     // its share beside other keys that have work, in proportion
    uint64_t owner; // of the hash, never 0: two keys of one name are two owners
    size_t line;    // of the file, from 1
};

// ERR_NOT_FOUND, ERR_IO, ERR_INVALID (file and line; a file without any key is refused too),
// ERR_NOMEM.
enum err keys_load(const char *path, struct keys **out, struct errmsg *msg) MUST_CHECK;
void keys_free(struct keys *k); // NULL is fine

// The key that this text is; NULL: none. Its time does not depend on which key matched or on how
// many bytes of a hash agreed.
const struct keys_key *keys_match(const struct keys *k, const char *text, size_t len);

#endif
