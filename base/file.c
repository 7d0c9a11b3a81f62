// See file.h.
#define _GNU_SOURCE // O_CLOEXEC and friends
#include "base/file.h"

#include "base/fault.h"
#include "base/file_set.h"
#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static enum err fail(struct errmsg *msg, const char *path, const char *what) {
    int e = errno;
    return err_set(msg, e == ENOENT ? ERR_NOT_FOUND : ERR_IO, "%s: cannot %s: %s", path, what,
                   strerror(e));
}

// A descriptor of the caller's; fd -1: it is not there.
static enum err copy_of(int fd, const char *path, int *out, struct errmsg *msg) {
    if (fd < 0)
        errno = ENOENT;
    *out = fd < 0 ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, 0);
    return *out < 0 ? fail(msg, path, "open") : ERR_OK;
}

static enum err open_path(const char *path, int *out, struct errmsg *msg) {
    *out = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); // a FIFO must not hang the program
    return *out < 0 ? fail(msg, path, "open") : ERR_OK;
}

// The set that knows the path, or is all that is known; NULL: the file system is asked.
static const struct file_set *set_of(const char *path) {
    const struct file_set *used = file_set_in_use(), *recorded = file_set_recorded();
    if (used)
        return used;
    return recorded && file_set_find(recorded, path) >= 0 ? recorded : NULL;
}

static enum err record(const char *path, int fd, struct errmsg *msg) {
    int own;
    enum err e = copy_of(fd, path, &own, msg);
    return e ? e : file_set_add(file_set_recorded(), path, own, msg);
}

static enum err open_regular(const char *path, int *fd, size_t *size, struct errmsg *msg) {
    if (fault_hit(FAULT_FILE)) {
        errno = EIO;
        return fail(msg, path, "open");
    }
    const struct file_set *set = set_of(path);
    int from = set ? file_set_find(set, path) : -1;
    enum err e = !set ? open_path(path, fd, msg) : copy_of(from, path, fd, msg);
    if (e)
        return e;
    struct stat st;
    if (fstat(*fd, &st) != 0)
        e = fail(msg, path, "stat");
    else if (!S_ISREG(st.st_mode))
        e = err_set(msg, ERR_INVALID, "%s: not a regular file", path);
    else if (!set && file_set_recorded())
        e = record(path, *fd, msg);
    if (e) {
        close(*fd);
        return e;
    }
    *size = (size_t)st.st_size;
    return ERR_OK;
}

// Reads `size` bytes from `offset`. A file that has become shorter since it was opened is an error.
static enum err read_all(int fd, const char *path, size_t offset, char *p, size_t size,
                         struct errmsg *msg) {
    size_t got = 0;
    while (got < size) {
        ssize_t n = fault_hit(FAULT_FILE) ? (errno = EIO, -1)
                                          : pread(fd, p + got, size - got, (off_t)(offset + got));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return fail(msg, path, "read");
        if (n == 0)
            return err_set(msg, ERR_IO, "%s: shrank while it was read (%zu of %zu bytes)", path,
                           got, size);
        got += (size_t)n;
    }
    return ERR_OK;
}

enum err file_read(const char *path, size_t max, char **data, size_t *len, struct errmsg *msg) {
    int fd = -1;
    size_t size = 0;
    enum err e = open_regular(path, &fd, &size, msg);
    if (e)
        return e;
    if (size > max) {
        close(fd);
        return err_set(msg, ERR_TOO_LARGE, "%s: %zu bytes, at most %zu are read", path, size, max);
    }
    char *p = mem_alloc(size + 1, 1);
    if (!p) {
        close(fd);
        return err_set(msg, ERR_NOMEM, "%s: no memory for %zu bytes", path, size);
    }
    e = read_all(fd, path, 0, p, size, msg);
    close(fd);
    if (e) {
        mem_free(p);
        return e;
    }
    p[size] = '\0';
    *data = p;
    *len = size;
    return ERR_OK;
}

enum err file_open(struct file *f, const char *path, struct errmsg *msg) {
    *f = (struct file){.fd = -1, .path = mem_strndup(path, strlen(path))};
    if (!f->path)
        return err_set(msg, ERR_NOMEM, "%s: no memory to open it", path);
    enum err e = open_regular(path, &f->fd, &f->size, msg);
    if (e) {
        mem_free(f->path);
        *f = (struct file){.fd = -1};
    }
    return e;
}

enum err file_read_at(const struct file *f, size_t offset, void *to, size_t n, struct errmsg *msg) {
    if (offset > f->size || n > f->size - offset)
        return err_set(msg, ERR_INTERNAL, "%s: %zu bytes at %zu of %zu were asked for", f->path, n,
                       offset, f->size);
    return read_all(f->fd, f->path, offset, to, n, msg);
}

void file_close(struct file *f) {
    if (!f->path)
        return;
    close(f->fd);
    mem_free(f->path);
    *f = (struct file){.fd = -1};
}

enum err file_map_open(struct file_map *map, const char *path, struct errmsg *msg) {
    *map = (struct file_map){0};
    int fd = -1;
    size_t size = 0;
    enum err e = open_regular(path, &fd, &size, msg);
    if (e)
        return e;
    if (size > 0) {
        void *p = fault_hit(FAULT_FILE) ? (errno = EIO, MAP_FAILED)
                                        : mmap(NULL, size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (p == MAP_FAILED)
            e = fail(msg, path, "map");
        else
            *map = (struct file_map){p, size};
    }
    close(fd);
    return e;
}

void file_map_close(struct file_map *map) {
    if (map->data)
        munmap((void *)(uintptr_t)map->data, map->size);
    *map = (struct file_map){0};
}

bool file_exists(const char *path) {
    const struct file_set *set = file_set_in_use();
    struct stat st;
    if (set)
        return file_set_find(set, path) >= 0 || file_set_has_folder(set, path);
    return stat(path, &st) == 0;
}

bool file_is_dir(const char *path) {
    const struct file_set *set = file_set_in_use();
    struct stat st;
    if (set)
        return file_set_has_folder(set, path);
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

static enum err write_all(int fd, const char *path, const char *p, size_t len, struct errmsg *msg) {
    while (len) {
        ssize_t n = fault_hit(FAULT_FILE) ? (errno = ENOSPC, -1) : write(fd, p, len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return fail(msg, path, "write");
        p += n;
        len -= (size_t)n;
    }
    return fsync(fd) == 0 ? ERR_OK : fail(msg, path, "sync");
}

enum err file_write_atomic(const char *path, const void *data, size_t len, struct errmsg *msg) {
    size_t n = strlen(path);
    char *tmp = mem_alloc(n + 32, 1);
    if (!tmp)
        return err_set(msg, ERR_NOMEM, "%s: no memory to write it", path);
    snprintf(tmp, n + 32, "%s.tmp.%ld", path, (long)getpid());
    enum err e = ERR_OK;
    int fd = fault_hit(FAULT_FILE) ? (errno = EIO, -1)
                                   : open(tmp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (fd < 0) {
        e = fail(msg, tmp, "create");
    } else {
        e = write_all(fd, tmp, data, len, msg);
        if (close(fd) != 0 && !e)
            e = fail(msg, tmp, "close");
        if (!e && rename(tmp, path) != 0)
            e = fail(msg, path, "rename onto");
        if (e)
            unlink(tmp);
    }
    mem_free(tmp);
    return e;
}

char *file_join(const char *dir, const char *name) {
    size_t a = strlen(dir), b = strlen(name);
    char *p = mem_alloc(a + b + 2, 1);
    if (p)
        snprintf(p, a + b + 2, "%s/%s", dir, name);
    return p;
}

enum err file_make_dirs(const char *path, struct errmsg *msg) {
    char *p = mem_strndup(path, strlen(path));
    if (!p)
        return err_set(msg, ERR_NOMEM, "%s: no memory", path);
    enum err e = ERR_OK;
    for (char *at = p + 1; !e; at++) {
        char c = *at;
        if (c != '/' && c != '\0')
            continue;
        *at = '\0';
        if (mkdir(p, 0755) != 0 && errno != EEXIST)
            e = fail(msg, p, "create directory");
        *at = c;
        if (c == '\0')
            break;
    }
    mem_free(p);
    return e;
}
