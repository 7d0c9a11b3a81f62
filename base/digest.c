// See digest.h.
#include "base/digest.h"

#include "base/mem.h"

#include <openssl/evp.h>
#include <stdio.h>

struct digest {
    EVP_MD_CTX *ctx;
};

enum err digest_new(enum digest_kind kind, struct digest **out, struct errmsg *msg) {
    struct digest *d = mem_calloc(1, sizeof *d);
    *out = NULL;
    if (!d) {
        err_set(msg, ERR_NOMEM, "no memory for a hash");
        return ERR_NOMEM;
    }
    bool sha256 = kind == DIGEST_SHA256;
    d->ctx = EVP_MD_CTX_new();
    if (!d->ctx || !EVP_DigestInit_ex(d->ctx, sha256 ? EVP_sha256() : EVP_sha1(), NULL)) {
        digest_free(d);
        err_set(msg, ERR_INTERNAL, "libcrypto has no %s", sha256 ? "SHA-256" : "SHA-1");
        return ERR_INTERNAL; // static checks do not see through err_set
    }
    *out = d;
    return ERR_OK;
}

bool digest_feed(struct digest *d, const void *data, size_t n) {
    return EVP_DigestUpdate(d->ctx, data, n) == 1;
}

bool digest_end(struct digest *d, char hex[DIGEST_HEX_MAX]) {
    unsigned char bytes[EVP_MAX_MD_SIZE];
    unsigned n = 0;
    hex[0] = '\0';
    if (EVP_DigestFinal_ex(d->ctx, bytes, &n) != 1 || 2 * n >= DIGEST_HEX_MAX)
        return false;
    for (unsigned i = 0; i < n; i++)
        snprintf(hex + 2 * i, 3, "%02x", bytes[i]);
    return true;
}

void digest_free(struct digest *d) {
    if (d)
        EVP_MD_CTX_free(d->ctx);
    mem_free(d);
}

bool digest_sha256(const void *data, size_t n, uint8_t out[DIGEST_SHA256_BYTES]) {
    return EVP_Digest(data, n, out, NULL, EVP_sha256(), NULL) == 1;
}
