// See parts.h.
#include "cli/parts.h"

#include "base/fault.h"
#include "base/file.h"
#include "base/mem.h"
#include "base/utf8.h"
#include "cli/cli.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

enum { POLL_MS = 200, READ_BYTES = 64 << 10 };

static enum err read_stdin(size_t max, struct buf *out, struct errmsg *msg) {
    size_t begin = out->len;
    for (;;) {
        struct pollfd in = {.fd = STDIN_FILENO, .events = POLLIN};
        int ready = poll(&in, 1, POLL_MS);
        if (cli_interrupted())
            return err_set(msg, ERR_CANCELLED, "interrupted");
        if (ready == 0 || (ready < 0 && errno == EINTR))
            continue;
        if (!buf_reserve(out, READ_BYTES))
            return err_set(msg, ERR_NOMEM, "stdin: no memory for more than %zu bytes",
                           out->len - begin);
        ssize_t n = fault_hit(FAULT_FILE) ? (errno = EIO, -1)
                                          : read(STDIN_FILENO, out->data + out->len, READ_BYTES);
        if (n < 0 && (errno == EINTR || errno == EAGAIN))
            continue;
        if (n < 0)
            return err_set(msg, ERR_IO, "stdin: cannot read: %s", strerror(errno));
        if (n == 0)
            return ERR_OK;
        out->len += (size_t)n;
        out->data[out->len] = '\0';
        if (out->len - begin > max)
            return err_set(msg, ERR_TOO_LARGE, "stdin: more than %zu bytes", max);
    }
}

enum err cli_read_text(const char *path, size_t max, struct buf *out, struct errmsg *msg) {
    bool from_stdin = strcmp(path, "-") == 0;
    const char *name = from_stdin ? "stdin" : path;
    size_t begin = out->len, bad, len;
    char *data;
    enum err e = from_stdin ? read_stdin(max, out, msg) : file_read(path, max, &data, &len, msg);
    if (!e && !from_stdin) {
        buf_append(out, data, len);
        mem_free(data);
    }
    if (e)
        return e;
    if (out->failed)
        return err_set(msg, ERR_NOMEM, "%s: no memory for its text", name);
    const char *text = out->len > begin ? out->data + begin : "";
    const char *nul = memchr(text, '\0', out->len - begin);
    if (nul)
        return err_set(msg, ERR_INVALID, "%s: a NUL at byte %zu; is this a text file?", name,
                       (size_t)(nul - text));
    if (!utf8_valid(text, out->len - begin, &bad))
        return err_set(msg, ERR_INVALID, "%s: not UTF-8 at byte %zu", name, bad);
    return ERR_OK;
}

enum err cli_check_not_input(const char *output, const char *what, const char *input,
                             struct errmsg *msg) {
    struct stat in, out;
    bool from_stdin = strcmp(input, "-") == 0;
    int found = output ? stat(output, &out) : fstat(STDOUT_FILENO, &out);
    if (found == 0)
        found = from_stdin ? fstat(STDIN_FILENO, &in) : stat(input, &in);
    // a device does not store bytes: what is written to it is not what is read from it
    if (found != 0 || S_ISCHR(out.st_mode) || out.st_dev != in.st_dev || out.st_ino != in.st_ino)
        return ERR_OK;
    return err_set(msg, ERR_INVALID, "%s: the same file as the input %s, which it would overwrite",
                   what, from_stdin ? "stdin" : input);
}

const char *cli_ending(const char *path) {
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
    const char *dot = strrchr(name, '.');
    return dot && dot[1] ? dot : "";
}

bool cli_ending_is(const char *ending, const char *list) {
    size_t n = strlen(ending);
    for (const char *p = list; n > 0 && *p;) {
        size_t len = strcspn(p, "|");
        if (len == n && strncasecmp(p, ending, n) == 0)
            return true;
        p += len + (p[len] == '|');
    }
    return false;
}
