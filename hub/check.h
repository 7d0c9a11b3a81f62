// The hub's content hashes: sha256 of LFS files, git's blob SHA-1 of all others. Role: the one
// place that knows libcrypto. Thread rule: a hash belongs to one thread.
#ifndef TRINE_HUB_CHECK_H
#define TRINE_HUB_CHECK_H

#include "base/err.h"

#include <stdbool.h>
#include <stdint.h>

enum hash_kind {
    HASH_SHA256,   // 64 hex digits, of the content
    HASH_GIT_SHA1, // 40 hex digits, of "blob <length>\0" and the content (git hash-object)
};

enum { HASH_HEX_MAX = 65 };

struct hub_hash;

// size: the content's whole length, which git's hash begins with. ERR_NOMEM.
enum err hub_hash_start(enum hash_kind kind, uint64_t size, struct hub_hash **out,
                        struct errmsg *msg) MUST_CHECK;
// False when libcrypto failed.
bool hub_hash_feed(struct hub_hash *h, const void *data, size_t n);
// Lower-case hex digits of all that was fed; the hash can only be freed after it.
bool hub_hash_end(struct hub_hash *h, char hex[HASH_HEX_MAX]);
void hub_hash_free(struct hub_hash *h);

// Hashes `size` bytes of a file from its start (its own length does not matter beyond that) and
// leaves the state open in *out, so that a resumed download goes on with it. *out is the caller's.
// ERR_IO when the file is shorter, ERR_NOMEM.
enum err hub_hash_begin_file(const char *path, uint64_t upto, enum hash_kind kind, uint64_t size,
                             struct hub_hash **out, struct errmsg *msg) MUST_CHECK;

// True in *same when the file holds exactly `size` bytes with that hash; a file that is not there
// is not the same.
enum err hub_check_file(const char *path, enum hash_kind kind, uint64_t size, const char *hex,
                        bool *same, struct errmsg *msg) MUST_CHECK;

#endif
