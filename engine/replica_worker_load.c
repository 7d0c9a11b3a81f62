// What a model's load is sent from. A life gets the same files as the one before it, however its
// folder has changed meanwhile: their descriptors are kept for as long as the model is.
#include "engine/replica_worker_internal.h"

#include "base/mem.h"

void replica_worker_load_free(struct worker_load *l) {
    mem_free(l->bytes);
    *l = (struct worker_load){0};
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
    enum err e = keep_bytes(spec, out, msg);
    if (e)
        replica_worker_load_free(out);
    return e;
}

size_t replica_worker_load_write_files(const struct worker_load *l, uint64_t model, size_t sent,
                                       struct pack_writer *p, struct channel_message *m) {
    size_t n = wire_write_files(p, model, l->paths + sent, l->count - sent);
    for (size_t i = 0; i < n; i++)
        m->fds[i] = l->fds[sent + i];
    m->fd_count = n;
    return n;
}
