// See lines.h.
#include "cli/lines.h"

#include "base/fault.h"
#include "base/mem.h"
#include "base/utf8.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { CHUNK_BYTES = 256 << 10, POLL_MS = 200 };

enum err lines_open(struct lines *l, const char *path, struct errmsg *msg) {
    bool from_stdin = !path || strcmp(path, "-") == 0;
    *l = (struct lines){.name = from_stdin ? "stdin" : path, .fd = STDIN_FILENO};
    if (!from_stdin) {
        l->fd = fault_hit(FAULT_FILE) ? (errno = EIO, -1) : open(path, O_RDONLY | O_CLOEXEC);
        if (l->fd < 0)
            return err_set(msg, errno == ENOENT ? ERR_NOT_FOUND : ERR_IO, "%s: cannot open: %s",
                           path, strerror(errno));
    }
    struct stat st;
    if (fstat(l->fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_size > 0)
        l->size = (uint64_t)st.st_size;
    if (fstat(l->fd, &st) == 0 && S_ISDIR(st.st_mode)) {
        lines_close(l);
        return err_set(msg, ERR_INVALID, "%s: is a folder, not a file", path);
    }
    return ERR_OK;
}

void lines_close(struct lines *l) {
    if (l->fd > STDIN_FILENO)
        close(l->fd);
    mem_free(l->data);
    *l = (struct lines){.fd = -1};
}

// Reads more behind `end`, after moving what is unread to the front.
static enum err fill(struct lines *l, struct errmsg *msg) {
    if (l->begin) {
        memmove(l->data, l->data + l->begin, l->end - l->begin);
        l->end -= l->begin;
        l->begin = 0;
    }
    if (l->end == l->cap) {
        if (l->cap >= LINES_MAX_BYTES)
            return err_set(msg, ERR_TOO_LARGE, "%s:%zu: a line of more than %d MiB", l->name,
                           l->line + 1, LINES_MAX_BYTES >> 20);
        size_t cap = l->cap ? l->cap * 2 : CHUNK_BYTES;
        char *data = mem_realloc(l->data, cap, 1);
        if (!data)
            return err_set(msg, ERR_NOMEM, "%s:%zu: no memory for a line of over %zu bytes",
                           l->name, l->line + 1, l->cap);
        l->data = data;
        l->cap = cap;
    }
    if (l->before_wait) {
        enum err e = l->before_wait(l->ctx, msg);
        if (e)
            return e;
    }
    for (;;) {
        struct pollfd in = {.fd = l->fd, .events = POLLIN};
        int ready = poll(&in, 1, POLL_MS);
        if (l->stop && atomic_load(l->stop))
            return err_set(msg, ERR_CANCELLED, "interrupted");
        if (ready == 0 || (ready < 0 && errno == EINTR))
            continue;
        ssize_t n = fault_hit(FAULT_FILE) ? (errno = EIO, -1)
                                          : read(l->fd, l->data + l->end, l->cap - l->end);
        if (n < 0 && (errno == EINTR || errno == EAGAIN))
            continue;
        if (n < 0)
            return err_set(msg, ERR_IO, "%s: cannot read: %s", l->name, strerror(errno));
        l->end += (size_t)n;
        l->eof = n == 0;
        return ERR_OK;
    }
}

static enum err check_text(struct lines *l, struct text line, struct errmsg *msg) {
    size_t bad;
    const char *nul = memchr(line.bytes, '\0', line.len);
    if (nul)
        return err_set(msg, ERR_INVALID,
                       "%s:%zu: a NUL at byte %zu of the line; is this a text file?", l->name,
                       l->line, (size_t)(nul - line.bytes));
    if (!utf8_valid(line.bytes, line.len, &bad))
        return err_set(msg, ERR_INVALID,
                       "%s:%zu: not UTF-8 at byte %zu of the line (0x%02x); convert the file first",
                       l->name, l->line, bad, (unsigned char)line.bytes[bad]);
    return ERR_OK;
}

enum err lines_next(struct lines *l, bool keep_cr, struct text *line, bool *more,
                    struct errmsg *msg) {
    size_t seen = 0; // bytes from begin known to hold no newline
    const char *newline = NULL;
    *more = false;
    for (;;) {
        if (l->end - l->begin > seen)
            newline = memchr(l->data + l->begin + seen, '\n', l->end - l->begin - seen);
        if (newline || l->eof)
            break;
        seen = l->end - l->begin;
        enum err e = fill(l, msg);
        if (e)
            return e;
    }
    if (l->end == l->begin)
        return ERR_OK;
    char *at = l->data + l->begin;
    size_t len = newline ? (size_t)(newline - at) : l->end - l->begin;
    size_t taken = len + (newline != NULL);
    l->begin += taken;
    l->bytes += taken;
    l->line++;
    if (l->line == 1 && len >= 3 && memcmp(at, "\xef\xbb\xbf", 3) == 0) {
        at += 3;
        len -= 3;
    }
    if (!keep_cr && newline && len && at[len - 1] == '\r')
        len--;
    *line = (struct text){at, len};
    *more = true;
    return check_text(l, *line, msg);
}
