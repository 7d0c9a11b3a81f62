// See hub_check.h.
#include "hub/check.h"

#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct hub_hash {
    EVP_MD_CTX *ctx;
};

enum err hub_hash_start(enum hash_kind kind, uint64_t size, struct hub_hash **out,
                        struct errmsg *msg) {
    struct hub_hash *h = mem_calloc(1, sizeof *h);
    *out = NULL;
    if (!h) {
        err_set(msg, ERR_NOMEM, "no memory for a hash");
        return ERR_NOMEM;
    }
    h->ctx = EVP_MD_CTX_new();
    bool ok =
        h->ctx && EVP_DigestInit_ex(h->ctx, kind == HASH_SHA256 ? EVP_sha256() : EVP_sha1(), NULL);
    if (ok && kind == HASH_GIT_SHA1) {
        char head[40];
        int n = snprintf(head, sizeof head, "blob %" PRIu64, size);
        ok = hub_hash_feed(h, head, (size_t)n + 1); // git hashes the NUL too
    }
    if (!ok) {
        hub_hash_free(h);
        err_set(msg, ERR_INTERNAL, "libcrypto has no %s",
                kind == HASH_SHA256 ? "SHA-256" : "SHA-1");
        return ERR_INTERNAL; // static checks do not see through err_set
    }
    *out = h;
    return ERR_OK;
}

bool hub_hash_feed(struct hub_hash *h, const void *data, size_t n) {
    return EVP_DigestUpdate(h->ctx, data, n) == 1;
}

bool hub_hash_end(struct hub_hash *h, char hex[HASH_HEX_MAX]) {
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned n = 0;
    hex[0] = '\0';
    if (EVP_DigestFinal_ex(h->ctx, digest, &n) != 1 || 2 * n >= HASH_HEX_MAX)
        return false;
    for (unsigned i = 0; i < n; i++)
        snprintf(hex + 2 * i, 3, "%02x", digest[i]);
    return true;
}

void hub_hash_free(struct hub_hash *h) {
    if (h)
        EVP_MD_CTX_free(h->ctx);
    mem_free(h);
}

static enum err feed_from(int fd, const char *path, uint64_t upto, struct hub_hash *h,
                          struct errmsg *msg) {
    enum { BLOCK = 1 << 18 };
    char *block = mem_alloc(BLOCK, 1);
    enum err e = block ? ERR_OK : err_set(msg, ERR_NOMEM, "%s: no memory to check it", path);
    while (!e && upto) {
        ssize_t n = read(fd, block, upto < BLOCK ? (size_t)upto : BLOCK);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            e = err_set(msg, ERR_IO, "%s: cannot read: %s", path,
                        n < 0 ? strerror(errno) : "it is shorter than it was");
        else if (!hub_hash_feed(h, block, (size_t)n))
            e = err_set(msg, ERR_INTERNAL, "%s: libcrypto failed", path);
        else
            upto -= (uint64_t)n;
    }
    mem_free(block);
    return e;
}

enum err hub_hash_begin_file(const char *path, uint64_t upto, enum hash_kind kind, uint64_t size,
                             struct hub_hash **out, struct errmsg *msg) {
    enum err e = hub_hash_start(kind, size, out, msg);
    if (e || upto == 0)
        return e;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        e = err_set(msg, ERR_IO, "%s: cannot open: %s", path, strerror(errno));
    else
        e = feed_from(fd, path, upto, *out, msg);
    if (fd >= 0)
        close(fd);
    if (e) {
        hub_hash_free(*out);
        *out = NULL;
    }
    return e;
}

enum err hub_check_file(const char *path, enum hash_kind kind, uint64_t size, const char *hex,
                        bool *same, struct errmsg *msg) {
    struct stat st;
    *same = false;
    if (stat(path, &st) != 0 || !S_ISREG(st.st_mode) || (uint64_t)st.st_size != size)
        return ERR_OK;
    struct hub_hash *h;
    char got[HASH_HEX_MAX];
    enum err e = hub_hash_begin_file(path, size, kind, size, &h, msg);
    if (e)
        return e;
    if (!hub_hash_end(h, got))
        e = err_set(msg, ERR_INTERNAL, "%s: libcrypto failed", path);
    else
        *same = strcmp(got, hex) == 0;
    hub_hash_free(h);
    return e;
}
