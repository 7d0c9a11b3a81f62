// What a model's load is sent from. A life gets the same files as the one before it, however its
// folder has changed meanwhile: their descriptors are kept for as long as the model is.
#include "engine/replica_worker_internal.h"

#include "base/file_set.h"
#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

void replica_worker_load_free(struct worker_load *l) {
    for (size_t i = 0; i < l->count; i++) {
        close(l->fds[i]);
        mem_free(l->paths[i]);
    }
    mem_free(l->paths);
    mem_free(l->fds);
    mem_free(l->bytes);
    *l = (struct worker_load){0};
}

static enum err keep_file(struct worker_load *l, const char *path, int fd, struct errmsg *msg) {
    struct stat st;
    char *copy = mem_strndup(path, strlen(path));
    int own = fcntl(fd, F_DUPFD_CLOEXEC, 3);
    if (!copy || own < 0) {
        int why = errno;
        if (own >= 0)
            close(own);
        mem_free(copy);
        return copy ? err_set(msg, ERR_IO, "%s: %s", path, strerror(why))
                    : err_set(msg, ERR_NOMEM, "%s: no memory", path);
    }
    if (fstat(own, &st) == 0 && st.st_size > 0)
        l->file_bytes += (size_t)st.st_size;
    l->paths[l->count] = copy;
    l->fds[l->count++] = own;
    return ERR_OK;
}

static enum err keep_files(const struct file_set *files, struct worker_load *l,
                           struct errmsg *msg) {
    size_t n = files ? file_set_count(files) : 0;
    enum err e = ERR_OK;
    if (n == 0)
        return ERR_OK;
    l->paths = mem_calloc(n, sizeof(char *));
    l->fds = mem_calloc(n, sizeof *l->fds);
    if (!l->paths || !l->fds)
        return err_set(msg, ERR_NOMEM, "no memory for a model's files");
    for (size_t i = 0; i < n && !e; i++)
        e = keep_file(l, file_set_path(files, i), file_set_descriptor(files, i), msg);
    return e;
}

static enum err keep_bytes(const struct replica_spec *spec, struct worker_load *l,
                           struct errmsg *msg) {
    unsigned char *room = mem_alloc(CHANNEL_PAYLOAD_BYTES, 1);
    if (!room)
        return err_set(msg, ERR_NOMEM, "%s: no memory", spec->path);
    struct pack_writer p = pack_writer_of(room, CHANNEL_PAYLOAD_BYTES);
    enum err e = wire_write_load(&p, spec, l->count, msg);
    if (!e && p.failed)
        e = err_set(msg, ERR_TOO_LARGE, "%s: more than a worker can be told of a model",
                    spec->path);
    unsigned char *fitted = e ? NULL : mem_realloc(room, p.length ? p.length : 1, 1);
    l->bytes = fitted ? fitted : room;
    l->length = p.length;
    return e;
}

enum err replica_worker_load_keep(const struct replica_spec *spec, struct worker_load *out,
                                  struct errmsg *msg) {
    *out = (struct worker_load){0};
    enum err e = keep_files(spec->sources, out, msg);
    if (!e)
        e = keep_bytes(spec, out, msg);
    if (e)
        replica_worker_load_free(out);
    return e;
}

size_t replica_worker_load_write_files(const struct worker_load *l, uint64_t model, size_t sent,
                                       struct pack_writer *p, struct channel_message *m) {
    size_t n = wire_write_files(p, model, (const char *const *)l->paths + sent, l->count - sent);
    for (size_t i = 0; i < n; i++)
        m->fds[i] = l->fds[sent + i];
    m->fd_count = n;
    return n;
}
