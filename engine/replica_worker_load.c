// What a model's load is sent from. A life gets the same files as the one before it, however its
// folder has changed meanwhile: their descriptors are kept for as long as the model is.
#include "engine/replica_worker_internal.h"

#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

void replica_worker_load_free(struct worker_load *l) {
    file_set_free(l->files);
    mem_free(l->bytes);
    *l = (struct worker_load){0};
}

static enum err keep_file(struct worker_load *l, const char *path, int fd, struct errmsg *msg) {
    struct stat st;
    int own = fcntl(fd, F_DUPFD_CLOEXEC, 3);
    if (own < 0)
        return err_set(msg, ERR_IO, "%s: %s", path, strerror(errno));
    if (fstat(own, &st) == 0 && st.st_size > 0)
        l->file_bytes += (size_t)st.st_size;
    return file_set_add(l->files, path, own, msg);
}

static enum err keep_files(const struct file_set *files, struct worker_load *l,
                           struct errmsg *msg) {
    size_t n = files ? file_set_count(files) : 0;
    enum err e = ERR_OK;
    if (!(l->files = file_set_new()))
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
    enum err e = wire_write_load(&p, spec, file_set_count(l->files), msg);
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
    const char *paths[CHANNEL_FDS];
    size_t n = 0;
    for (; n < CHANNEL_FDS && sent + n < file_set_count(l->files); n++)
        paths[n] = file_set_path(l->files, sent + n);
    n = wire_write_files(p, model, paths, n);
    for (size_t i = 0; i < n; i++)
        m->fds[i] = file_set_descriptor(l->files, sent + i);
    m->fd_count = n;
    return n;
}
