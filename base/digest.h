// SHA-256 and SHA-1. Role: the one door to libcrypto. The caller decides what is hashed and how it
// is framed. Thread rule: a digest belongs to one thread.
#ifndef TRINE_BASE_DIGEST_H
#define TRINE_BASE_DIGEST_H

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum digest_kind { DIGEST_SHA256, DIGEST_SHA1 };

enum {
    DIGEST_SHA256_BYTES = 32,
    DIGEST_HEX_MAX = 65, // the digits of the longest, and a NUL
};

struct digest;

// *out is the caller's (digest_free). ERR_NOMEM, ERR_INTERNAL (libcrypto does not have the kind).
enum err digest_new(enum digest_kind kind, struct digest **out, struct errmsg *msg) MUST_CHECK;
// False when libcrypto failed.
bool digest_feed(struct digest *d, const void *data, size_t n);
// Lower-case hex digits of all that was fed; the digest can only be freed after it. False when
// libcrypto failed: hex is empty.
bool digest_end(struct digest *d, char hex[DIGEST_HEX_MAX]);
void digest_free(struct digest *d); // NULL is fine

// The SHA-256 of data. False when libcrypto failed (it has no memory).
bool digest_sha256(const void *data, size_t n, uint8_t out[DIGEST_SHA256_BYTES]);

#endif
