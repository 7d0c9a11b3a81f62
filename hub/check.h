// The hub's content hashes: SHA-256 of LFS files, git's blob SHA-1 of all others.
// Role: knows what is hashed; base/digest.h hashes. Thread rule: a digest belongs to one thread.
#ifndef TRINE_HUB_CHECK_H
#define TRINE_HUB_CHECK_H

#include "base/digest.h"

#include <stdbool.h>
#include <stdint.h>

enum hub_hash_kind {
    HUB_HASH_SHA256,   // 64 hex digits, of the content
    HUB_HASH_GIT_SHA1, // 40 hex digits, of "blob <length>\0" and the content (git hash-object)
};

// size: the length of the whole content; git's hash begins with it. ERR_NOMEM.
enum err hub_hash_start(enum hub_hash_kind kind, uint64_t size, struct digest **out,
                        struct errmsg *msg) MUST_CHECK;

// Hashes the first `upto` bytes of a file (which may be longer) and leaves the digest open in *out,
// so that a resumed download can go on with it. The caller frees *out. ERR_IO when the file is
// shorter, ERR_NOMEM.
enum err hub_hash_begin_file(const char *path, uint64_t upto, enum hub_hash_kind kind,
                             uint64_t size, struct digest **out, struct errmsg *msg) MUST_CHECK;

// Sets *same to whether the file holds exactly `size` bytes with that hash. A file that does not
// exist is not the same.
enum err hub_check_file(const char *path, enum hub_hash_kind kind, uint64_t size, const char *hex,
                        bool *same, struct errmsg *msg) MUST_CHECK;

#endif
