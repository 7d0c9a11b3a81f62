// See check.h.
#include "hub/check.h"

#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum err hub_hash_start(enum hub_hash_kind kind, uint64_t size, struct digest **out,
                        struct errmsg *msg) {
    enum err e = digest_new(kind == HUB_HASH_SHA256 ? DIGEST_SHA256 : DIGEST_SHA1, out, msg);
    if (e || kind == HUB_HASH_SHA256)
        return e;
    char head[40];
    int n = snprintf(head, sizeof head, "blob %" PRIu64, size);
    if (digest_feed(*out, head, (size_t)n + 1)) // git hashes the NUL too
        return ERR_OK;
    digest_free(*out);
    *out = NULL;
    return err_set(msg, ERR_INTERNAL, "libcrypto failed");
}

static enum err feed_from(int fd, const char *path, uint64_t upto, struct digest *h,
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
        else if (!digest_feed(h, block, (size_t)n))
            e = err_set(msg, ERR_INTERNAL, "%s: libcrypto failed", path);
        else
            upto -= (uint64_t)n;
    }
    mem_free(block);
    return e;
}

enum err hub_hash_begin_file(const char *path, uint64_t upto, enum hub_hash_kind kind,
                             uint64_t size, struct digest **out, struct errmsg *msg) {
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
        digest_free(*out);
        *out = NULL;
    }
    return e;
}

enum err hub_check_file(const char *path, enum hub_hash_kind kind, uint64_t size, const char *hex,
                        bool *same, struct errmsg *msg) {
    struct stat st;
    *same = false;
    if (stat(path, &st) != 0 || !S_ISREG(st.st_mode) || (uint64_t)st.st_size != size)
        return ERR_OK;
    struct digest *h;
    char got[DIGEST_HEX_MAX];
    enum err e = hub_hash_begin_file(path, size, kind, size, &h, msg);
    if (e)
        return e;
    if (!digest_end(h, got))
        e = err_set(msg, ERR_INTERNAL, "%s: libcrypto failed", path);
    else
        *same = strcmp(got, hex) == 0;
    digest_free(h);
    return e;
}
