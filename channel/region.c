// See region.h.
#define _GNU_SOURCE // memfd_create, F_ADD_SEALS
#include "channel/region.h"

#include "base/fault.h"
#include "base/limits.h"
#include "base/mem.h"
#include "channel/channel.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#ifndef MFD_NOEXEC_SEAL // Linux 6.3; the kernel is asked, not the headers
#define MFD_NOEXEC_SEAL 0x0008U
#endif

enum { SEALS = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL };

struct region {
    unsigned char *base;
    size_t size;
    int fd;
};

static enum err fail(struct errmsg *msg, const char *what) {
    enum err e = errno == ENOSYS ? ERR_UNSUPPORTED : ERR_IO;
    return err_set(msg, e, "memory to share with a worker: %s: %s", what, strerror(errno));
}

// So many bytes are not to be had: by which limit, as far as it is the process's own.
static enum err refuse(struct errmsg *msg, size_t bytes, const char *what) {
    char limit[LIMITS_WORDS];
    bool file = errno == EFBIG;
    enum err e = file ? ERR_TOO_LARGE : errno == ENOMEM ? ERR_NOMEM : ERR_IO;
    return err_set(msg, e, "memory to share with a worker: %s of %zu KiB: %s%s", what,
                   (bytes + 1023) / 1024, strerror(errno),
                   limits_words(file ? LIMITS_FILE : LIMITS_MAPPED, limit));
}

// A fault that a test asks for, as the system would report it.
static bool injected(int as) {
    if (!fault_hit(FAULT_FILE))
        return false;
    errno = as;
    return true;
}

// Never to be executed, where the kernel knows that: some systems refuse memory that could be.
static int make(void) {
    int fd = memfd_create("trine-region", MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_NOEXEC_SEAL);
    if (fd < 0 && errno == EINVAL)
        fd = memfd_create("trine-region", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    return fd;
}

// Checks seals and size, then maps: in this order, since the seals make the size final.
static enum err open_checked(int fd, size_t bytes, struct region **out, struct errmsg *msg) {
    int seals = fcntl(fd, F_GET_SEALS);
    if (seals < 0 || (seals & SEALS) != SEALS)
        return err_set(msg, ERR_INVALID,
                       "memory to share with a worker is not sealed against shrinking and growing");
    if (seals & F_SEAL_WRITE)
        return err_set(msg, ERR_INVALID, "memory to share with a worker is sealed against writing");
    struct stat st;
    if (fstat(fd, &st) != 0)
        return fail(msg, "its size");
    if (st.st_size <= 0 || (bytes && (uint64_t)st.st_size != bytes))
        return err_set(msg, ERR_INVALID,
                       "memory to share with a worker has %lld bytes, not the %zu that were told",
                       (long long)st.st_size, bytes);
    struct region *r = mem_calloc(1, sizeof *r);
    if (!r)
        return err_set(msg, ERR_NOMEM, "memory to share with a worker: no memory for its handle");
    *r = (struct region){.fd = fd, .size = (size_t)st.st_size};
    void *p = injected(ENOMEM) ? MAP_FAILED
                               : mmap(NULL, r->size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (p == MAP_FAILED) {
        enum err e = refuse(msg, r->size, "a mapping");
        mem_free(r);
        return e;
    }
    r->base = p;
    *out = r;
    return ERR_OK;
}

enum err region_open(int fd, size_t bytes, struct region **out, struct errmsg *msg) {
    *out = NULL;
    return open_checked(fd, bytes, out, msg);
}

enum err region_new(size_t bytes, struct region **out, struct errmsg *msg) {
    *out = NULL;
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    if (bytes == 0 || bytes > PTRDIFF_MAX - page)
        return err_set(msg, ERR_INVALID, "memory to share with a worker: %zu bytes cannot be",
                       bytes);
    bytes = (bytes + page - 1) / page * page;
    int fd = injected(EMFILE) ? -1 : make();
    if (fd < 0)
        return fail(msg, "making it");
    enum err e = ERR_OK;
    if (injected(EFBIG) || ftruncate(fd, (off_t)bytes) != 0)
        e = refuse(msg, bytes, "a file");
    else if (injected(EINVAL) || fcntl(fd, F_ADD_SEALS, SEALS) != 0)
        e = fail(msg, "sealing it");
    else
        e = open_checked(fd, bytes, out, msg);
    if (e)
        close(fd);
    return e;
}

void region_free(struct region *r) {
    if (!r)
        return;
    (void)munmap(r->base, r->size);
    close(r->fd);
    mem_free(r);
}

unsigned char *region_base(const struct region *r) { return r->base; }
size_t region_size(const struct region *r) { return r->size; }
int region_fd(const struct region *r) { return r->fd; }

void *region_at(const struct region *r, uint64_t offset, uint64_t length) {
    if (offset > r->size || length > r->size - offset)
        return NULL;
    return r->base + offset;
}

enum err region_copy_out(const struct region *r, uint64_t offset, uint64_t length,
                         uint64_t checksum, void *to, struct errmsg *msg) {
    const void *from = region_at(r, offset, length);
    if (!from)
        return err_set(msg, ERR_INVALID, "bulk data of %llu bytes at %llu: the region has %zu",
                       (unsigned long long)length, (unsigned long long)offset, r->size);
    if (length)
        memcpy(to, from, length);
    if (length && channel_checksum(to, length) != checksum)
        return err_set(msg, ERR_INVALID, "the checksum of bulk data is wrong");
    return ERR_OK;
}
