// See model_files.h. The files are found by reading them as replica_model_load does (the same
// functions in the same order) while what is opened is recorded: so the two cannot part.
#include "engine/model_files.h"

#include "pooling/pooler.h"
#include "weights/weights.h"

static enum err read_all(const struct model *m, struct errmsg *msg) {
    struct weights *w;
    enum err e = weights_open(m->files, &w, msg);
    if (e)
        return e;
    weights_close(w);
    if (m->task != TASK_EMBED || m->pools_plainly)
        return ERR_OK;
    return pooling_open_files(m->path, msg);
}

enum err model_files_open(const struct model *m, struct file_set **out, struct errmsg *msg) {
    struct file_set *s = *out = file_set_new();
    if (!s)
        return err_set(msg, ERR_NOMEM, "%s: no memory for a list of its files", m->path);
    struct file_set *before = file_set_record(s);
    enum err e = read_all(m, msg);
    (void)file_set_record(before);
    if (e) {
        file_set_free(s);
        *out = NULL;
    }
    return e;
}
